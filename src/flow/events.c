/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the hosts tell: into the timeline, and into faults where it ends the job. */
#include "job-internal.h"

#include <stdarg.h>
#include <string.h>

static void
fault_free (gpointer data)
{
    GwFault *fault = data;
    g_free (fault->text);
    g_free (fault);
}

void
gw_job_add_fault (GwJob *job, GwFaultKind kind, GwSide side, gint64 at_us, const GError *error)
{
    GwFault *fault = g_new0 (GwFault, 1);
    fault->kind = kind;
    fault->side = side;
    fault->at_us = at_us != 0 ? at_us : g_get_real_time ();
    fault->cause = gw_error_get_cause (error);
    fault->text = g_strdup (error->message);
    if (job->faults == NULL)
        job->faults = g_ptr_array_new_with_free_func (fault_free);
    g_ptr_array_add (job->faults, fault);
}

static void
add_fault (GwJobSide *side, GwFaultKind kind, gint64 at_us, GwCause cause, const char *text)
{
    g_autoptr (GError) error = g_error_new_literal (GW_ERROR, (int) cause, text);
    gw_job_add_fault (side->job, kind, side->side, at_us, error);
}

void
gw_job_note (GwJob *job, GwSide side, const char *event, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autofree char *detail = g_strdup_vprintf (format, args);
    va_end (args);
    gw_timeline_add (job->timeline, 0, side, event, detail);
}

void
gw_job_warn (GwJob *job, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    char *text = g_strdup_vprintf (format, args);
    va_end (args);
    g_ptr_array_add (job->warnings, text);
    gw_timeline_add (job->timeline, 0, GW_SIDE_NONE, "warning", text);
}

/* --- the meaning of events ----------------------------------------------------------------------------- */

static void
on_migration (GwJobSide *side, gint64 at_us, const char *detail)
{
    if (side->side != GW_SIDE_SOURCE)
        return;
    g_free (side->job->source_status);
    side->job->source_status = g_strdup (detail);
}

static void
on_stop (GwJobSide *side, gint64 at_us, const char *detail)
{
    if (side->side == GW_SIDE_SOURCE && side->job->setup_us != 0)
        side->job->stop_us = at_us;
}

static void
on_pass (GwJobSide *side, gint64 at_us, const char *detail)
{
    if (side->side == GW_SIDE_SOURCE)
        side->job->round++;
}

static void
on_resume (GwJobSide *side, gint64 at_us, const char *detail)
{
    if (side->side == GW_SIDE_DESTINATION)
        side->job->running_us = at_us;
    else if (side->side == GW_SIDE_SOURCE)
        side->job->stop_us = 0;
}

static void
on_shutdown (GwJobSide *side, gint64 at_us, const char *detail)
{
    if (side->side != GW_SIDE_SOURCE)
        return;
    g_autofree char *text = g_strdup_printf ("the guest ended (QEMU: %s)", detail);
    side->job->guest_is_off = TRUE;
    add_fault (side, GW_FAULT_GUEST_OFF, at_us, GW_CAUSE_GUEST_POWEROFF, text);
}

static void
on_source_exit (GwJobSide *side, gint64 at_us, const char *detail)
{
    side->job->source_is_gone = TRUE;
    add_fault (side, GW_FAULT_QEMU_KILLED, at_us, GW_CAUSE_SOURCE_LOST, detail);
}

/* A QEMU that cannot load its state says so and exits with status 1, as does one that cannot start. */
static void
on_destination_exit (GwJobSide *side, gint64 at_us, const char *detail)
{
    g_autofree char *text = g_strdup_printf ("the destination's QEMU %s", detail);
    gboolean is_own_error = strstr (detail, "exited with status 1") != NULL;
    GwCause cause = side->job->step <= GW_STEP_launch ? GW_CAUSE_LAUNCH_FAILED
                    : is_own_error                    ? GW_CAUSE_STATE_REJECTED
                                                      : GW_CAUSE_QEMU_DIED;
    add_fault (side, is_own_error ? GW_FAULT_QEMU_FAILED : GW_FAULT_QEMU_KILLED, at_us, cause, text);
}

static void
on_qemu_exit (GwJobSide *side, gint64 at_us, const char *detail)
{
    if (side->side == GW_SIDE_SOURCE)
        on_source_exit (side, at_us, detail);
    else
        on_destination_exit (side, at_us, detail);
}

/* "CAUSE: message" */
static void
on_courier_failed (GwJobSide *side, gint64 at_us, const char *detail)
{
    const char *colon = strstr (detail, ": ");
    g_autofree char *code = colon != NULL ? g_strndup (detail, (gsize) (colon - detail)) : NULL;
    GwCause cause = gw_cause_from_code (code);
    GwJobSide link = { side->job, GW_SIDE_LINK, NULL, 0 };
    add_fault (&link, GW_FAULT_LINK, at_us, cause != GW_CAUSE_NONE ? cause : GW_CAUSE_LINK_LOST,
               colon != NULL ? colon + 2 : detail);
}

static void
on_courier_exit (GwJobSide *side, gint64 at_us, const char *detail)
{
    if (side->job->link_is_up)
        add_fault (side, GW_FAULT_COURIER_EXIT, at_us, GW_CAUSE_COURIER_DIED, detail);
}

static void
on_agent_lost (GwJobSide *side, gint64 at_us, const char *detail)
{
    add_fault (side, GW_FAULT_AGENT_LOST, at_us, GW_CAUSE_AGENT_LOST, detail);
}

static void
on_disk_error (GwJobSide *side, gint64 at_us, const char *detail)
{
    if (side->side == GW_SIDE_SOURCE && strcmp (detail, "read") == 0)
        side->job->disk_read_failed = TRUE;
}

static void
on_disk_server_exit (GwJobSide *side, gint64 at_us, const char *detail)
{
    g_autofree char *text = g_strdup_printf ("the server of a disk's image (qemu-nbd) %s", detail);
    add_fault (side, GW_FAULT_QEMU_KILLED, at_us, GW_CAUSE_DISK_IMAGE, text);
}

static const struct {
    const char *event;
    void (*fn) (GwJobSide *side, gint64 at_us, const char *detail);
} meanings[] = {
    { "migration", on_migration },         { "stop", on_stop },
    { "resume", on_resume },               { "pass", on_pass },
    { "shutdown", on_shutdown },           { "qemu-exit", on_qemu_exit },
    { "courier-failed", on_courier_failed }, { "courier-exit", on_courier_exit },
    { "disk-error", on_disk_error },       { "disk-server-exit", on_disk_server_exit },
    { "agent-lost", on_agent_lost },       { "courier", gw_job_on_courier },
};

static void
on_event (GwHost *host, gint64 at_us, const char *event, const char *detail, gpointer user_data)
{
    GwJobSide *side = user_data;
    gint64 ours_us = at_us - side->clock_offset_us;
    gw_timeline_add (side->job->timeline, ours_us, side->side, event, detail);
    for (guint i = 0; i < G_N_ELEMENTS (meanings); i++)
        if (strcmp (meanings[i].event, event) == 0)
            meanings[i].fn (side, ours_us, detail);
}

void
gw_job_watch (GwJobSide *side)
{
    gw_host_set_event_fn (side->host, on_event, side);
}

/* --- waiting --------------------------------------------------------------------------------------------- */

typedef struct {
    GwJob *job;
    GwWaitFn done;
} JobWait;

static gboolean
done_or_fault (gpointer user_data)
{
    JobWait *wait = user_data;
    return wait->job->faults != NULL || wait->done (wait->job);
}

/* The runner waits for the faults that follow before it decides (find_verdict()). */
static gboolean
fail_with_fault (GwJob *job, GError **error)
{
    const GwFault *fault = job->faults->pdata[gw_verdict_find_first (job->faults)];
    return gw_fail (error, fault->cause, "%s", fault->text);
}

gboolean
gw_job_wait (GwJob *job, GwWaitFn done, gint64 deadline_us, GError **error)
{
    JobWait wait = { job, done };
    GCancellable *cancellable = job->is_past_turn ? NULL : job->cancellable;
    if (!gw_wait_until (job->context, done_or_fault, &wait, deadline_us, cancellable, error))
        return FALSE;
    return job->faults == NULL || fail_with_fault (job, error);
}
