/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the hosts tell: into the timeline, and into faults where it ends the job. */
#include "job-internal.h"

#include <stdarg.h>
#include <string.h>

/* With the side's own time. */
static void
add_sign (GwJobSide *side, GwSignKind kind, gint64 at_us, GwCause cause, const char *text)
{
    gw_job_add_sign (side->job, kind, side->side, at_us, cause, text);
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
    char **status = side->side == GW_SIDE_SOURCE ? &side->job->source_status
                                                 : &side->job->destination_status;
    g_free (*status);
    *status = g_strdup (detail);
    if (side->side == GW_SIDE_SOURCE && strcmp (detail, "postcopy-paused") != 0)
        side->job->is_resuming = FALSE;
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

/* In postcopy each QEMU has memory of the guest that the other has not. */
static gboolean
is_guest_lost (const GwJob *job)
{
    return job->machine.state == GW_JOB_STARTED &&
           g_strcmp0 (job->destination_status, "completed") != 0;
}

/* What else is told of an end is no second loss. */
static void
add_loss (GwJobSide *side, gint64 at_us, const char *detail)
{
    const GwJob *job = side->job;
    g_autofree char *left =
        gw_text_bytes (job->migration != NULL ? (guint64) job->migration->remaining_bytes : 0);
    g_autofree char *text = g_strdup_printf (
        "the guest is lost: it ran at the destination, about %s of its memory were still at the source "
        "only, and the %s's QEMU %s",
        left, gw_side_name (side->side), detail);
    if (!gw_job_has_sign (job, GW_SIGN_GUEST_LOST))
        add_sign (side, GW_SIGN_GUEST_LOST, at_us, GW_CAUSE_GUEST_LOST, text);
}

void
gw_job_look_for_loss (GwJob *job)
{
    if (is_guest_lost (job) && job->source_is_gone)
        add_loss (&job->source, 0, "has ended");
    else if (is_guest_lost (job) && job->destination_is_gone)
        add_loss (&job->destination, 0, "has ended");
}

static void
on_told_to_end (GwJobSide *side, gint64 at_us, const char *detail)
{
    gboolean is_source = side->side == GW_SIDE_SOURCE;
    g_autofree char *how = g_strdup_printf ("was told to end (%s)", detail);
    g_autofree char *text = g_strdup_printf ("the %s's QEMU %s", gw_side_name (side->side), how);
    if (is_guest_lost (side->job))
        add_loss (side, at_us, how);
    else
        add_sign (side, GW_SIGN_QEMU_KILLED, at_us,
                  is_source ? GW_CAUSE_SOURCE_LOST : GW_CAUSE_QEMU_DIED, text);
}

/* "guest-shutdown" and the like are the guest's; "host-signal", "host-qmp-quit" somebody's on the host. */
static void
on_shutdown (GwJobSide *side, gint64 at_us, const char *detail)
{
    if (side->side != GW_SIDE_SOURCE && !side->job->in_postcopy)
        return;
    side->job->guest_is_off = TRUE;
    if (g_str_has_prefix (detail, "host-")) {
        on_told_to_end (side, at_us, detail);
        return;
    }
    g_autofree char *text = g_strdup_printf ("the guest ended (QEMU: %s)", detail);
    add_sign (side, GW_SIGN_GUEST_OFF, at_us, GW_CAUSE_GUEST_POWEROFF, text);
}

static void
on_source_exit (GwJobSide *side, gint64 at_us, const char *detail)
{
    g_autofree char *text = g_strdup_printf ("the source's QEMU %s", detail);
    side->job->source_is_gone = TRUE;
    if (side->job->in_postcopy && g_strcmp0 (side->job->destination_status, "completed") == 0)
        return;
    if (is_guest_lost (side->job)) {
        add_loss (side, at_us, detail);
        return;
    }
    GwSignKind kind = gw_job_kind_of_exit (detail);
    add_sign (side, kind == GW_SIGN_QEMU_STARVED ? GW_SIGN_QEMU_REJECTED : kind, at_us,
              GW_CAUSE_SOURCE_LOST, text);
}

/* A QEMU that cannot load its state says so and exits with status 1, as does one that cannot start. */
static void
on_destination_exit (GwJobSide *side, gint64 at_us, const char *detail)
{
    g_autofree char *text = g_strdup_printf ("the destination's QEMU %s", detail);
    GwSignKind kind = gw_job_kind_of_exit (detail);
    GwCause cause = side->job->step <= GW_STEP_launch ? GW_CAUSE_LAUNCH_FAILED
                    : kind == GW_SIGN_QEMU_KILLED     ? GW_CAUSE_QEMU_DIED
                                                      : GW_CAUSE_STATE_REJECTED;
    side->job->destination_is_gone = TRUE;
    if (is_guest_lost (side->job))
        add_loss (side, at_us, detail);
    else
        add_sign (side, kind, at_us, cause, text);
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
/* The first of a trial of the link, whose couriers are for that alone. */
static void
keep_trouble (GwJobSide *side, GwCause cause, const char *text)
{
    GwLinkTrouble *trouble = &side->job->trial_trouble;
    if (trouble->text != NULL)
        return;
    *trouble = (GwLinkTrouble) { cause, gw_job_blame_cause (side->side, cause), g_strdup (text) };
}

static void
on_courier_failed (GwJobSide *side, gint64 at_us, const char *detail)
{
    const char *colon = strstr (detail, ": ");
    g_autofree char *code = colon != NULL ? g_strndup (detail, (gsize) (colon - detail)) : NULL;
    GwCause cause = gw_cause_from_code (code);
    const char *text = colon != NULL ? colon + 2 : detail;
    GwJob *job = side->job;
    if (cause == GW_CAUSE_NONE)
        cause = GW_CAUSE_LINK_LOST;
    if (job->is_trial) {
        keep_trouble (side, cause, text);
        return;
    }
    job->needs_link = TRUE;
    if (job->in_postcopy)
        return; /* what is lost with it is sent again (recover.c) */
    if (cause == GW_CAUSE_LINK_LOST) /* it was lost when its last path was */
        gw_job_add_sign (job, GW_SIGN_LINK_LOST, GW_SIDE_LINK,
                         job->outage_us != 0 ? job->outage_us : at_us, cause, text);
    else
        gw_job_add_sign (job, GW_SIGN_COURIER_FAILED, gw_job_blame_cause (side->side, cause), at_us,
                         cause, text);
}

void
gw_job_tell_courier (GwJob *job)
{
    if (job->lost_courier.at_us != 0)
        gw_job_add_sign (job, GW_SIGN_COURIER_EXIT, job->lost_courier.side, job->lost_courier.at_us, GW_CAUSE_COURIER_DIED,
                         job->lost_courier.text);
    job->lost_courier.at_us = 0;
}

static void
keep_lost_courier (GwJobSide *side, gint64 at_us, const char *text)
{
    if (side->job->lost_courier.at_us != 0)
        return;
    side->job->lost_courier.side = side->side;
    side->job->lost_courier.at_us = at_us;
    g_free (side->job->lost_courier.text);
    side->job->lost_courier.text = g_strdup (text);
}

static void
on_courier_exit (GwJobSide *side, gint64 at_us, const char *detail)
{
    g_autofree char *text =
        g_strdup_printf ("the %s's courier %s", gw_side_name (side->side), detail);
    if (side->job->is_trial) {
        keep_trouble (side, GW_CAUSE_COURIER_DIED, text);
        return;
    }
    side->job->needs_link = TRUE;
    if (side->job->link_is_up && side->job->in_postcopy)
        keep_lost_courier (side, at_us, text);
    else if (side->job->link_is_up)
        add_sign (side, GW_SIGN_COURIER_EXIT, at_us, GW_CAUSE_COURIER_DIED, text);
}

static void
on_agent_lost (GwJobSide *side, gint64 at_us, const char *detail)
{
    if (side->side == GW_SIDE_DESTINATION && gw_job_may_wait (side->job))
        gw_job_note_away (side->job, GW_SIDE_DESTINATION, detail);
    else
        add_sign (side, GW_SIGN_AGENT_LOST, 0, GW_CAUSE_AGENT_LOST, detail);
}

/* The guest stands still because its disk fails: moving it would not help it.  In postcopy its memory must
 * come all the same. */
static void
on_block_stop (GwJobSide *side, gint64 at_us, const char *detail)
{
    g_autofree char *text = g_strdup_printf ("QEMU stopped the guest: %s", detail);
    add_sign (side, side->job->in_postcopy ? GW_SIGN_DISK_NOTE : GW_SIGN_DISK, at_us, GW_CAUSE_DISK_ERROR, text);
}

static void
on_block_error (GwJobSide *side, gint64 at_us, const char *detail)
{
    g_autofree char *text = g_strdup_printf ("QEMU told the guest: %s", detail);
    add_sign (side, GW_SIGN_DISK_NOTE, at_us, GW_CAUSE_DISK_ERROR, text);
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
    add_sign (side, GW_SIGN_DISK_SERVER, at_us, GW_CAUSE_DISK_IMAGE, text);
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
    { "block-stop", on_block_stop },       { "block-error", on_block_error },
};

static void
on_event (GwHost *host, gint64 at_us, const char *event, const char *detail, gpointer user_data)
{
    GwJobSide *side = user_data;
    /* that an agent is lost is noticed here */
    gboolean is_ours = strcmp (event, "agent-lost") == 0;
    gint64 ours_us = is_ours ? at_us : at_us - side->clock_offset_us;
    if (strcmp (event, "courier") != 0) /* what a courier says goes in by its own names */
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
    return gw_job_has_fault (wait->job) || wait->done (wait->job);
}

gboolean
gw_job_wait (GwJob *job, GwWaitFn done, gint64 deadline_us, GError **error)
{
    JobWait wait = { job, done };
    GCancellable *cancellable = job->is_past_turn ? NULL : job->cancellable;
    if (!gw_wait_until (job->context, done_or_fault, &wait, deadline_us, cancellable, error))
        return FALSE;
    return !gw_job_has_fault (job) || gw_job_fail_with_fault (job, error);
}
