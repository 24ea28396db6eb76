/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The turn in precopy, and what follows it. */
#include "job-internal.h"

#include <string.h>

#define SWITCHOVER_MS 120000 /* for the last memory and the device state to be sent and loaded */
#define ASK_MS 1000
#define START_MS 60000       /* for the destination to start */
#define SETTLE_DOWN_MS 60

/* --- the turn ------------------------------------------------------------------------------------------------- */

/* From here on an abort comes too late. */
static gboolean
pass_turn (GwJob *job, GError **error)
{
    g_mutex_lock (&job->lock);
    gboolean is_aborted = g_cancellable_is_cancelled (job->cancellable);
    job->is_past_turn = !is_aborted;
    g_mutex_unlock (&job->lock);
    return !is_aborted || gw_fail (error, GW_CAUSE_ABORTED, "aborted before the switchover");
}

static gboolean
source_is_done (gpointer user_data)
{
    static const char *const done[] = { "completed", "failed", "cancelled", NULL };
    const char *status = ((GwJob *) user_data)->source_status;
    return status != NULL && g_strv_contains (done, status);
}

/* A QEMU that says nothing for a while is asked, so that one that stands still is noticed. */
static gboolean
wait_for_source (GwJob *job, GError **error)
{
    gint64 deadline = gw_deadline_ms (SWITCHOVER_MS);
    while (!source_is_done (job)) {
        g_autoptr (GError) failure = NULL;
        if (gw_job_wait (job, source_is_done, gw_deadline_ms (ASK_MS), &failure))
            break;
        if (gw_error_get_cause (failure) != GW_CAUSE_TIMED_OUT) {
            g_propagate_error (error, g_steal_pointer (&failure));
            return FALSE;
        }
        if (g_get_monotonic_time () > deadline)
            return gw_fail (error, GW_CAUSE_SWITCHOVER_TIMEOUT,
                            "the last step has not ended within %d ms (QEMU is in '%s')",
                            SWITCHOVER_MS, job->source_status);
        if (!gw_job_read_migration (job, error))
            return FALSE;
    }
    return TRUE;
}

/* QEMU sends the rest and hears from the other QEMU that it has loaded everything.  Until then it lets
 * its guest run again by itself when the connection fails (7.2: migration_iteration_finish()), so the
 * destination must not have the right to start before this is over. */
gboolean
gw_step_switchover (GwJob *job, GwSide *blame, GError **error)
{
    *blame = GW_SIDE_SOURCE;
    job->switchover_us = g_get_real_time ();
    if (!gw_job_finish_disks (job, blame, error) || !gw_job_prove_link (job, blame, error))
        return FALSE;
    if (job->is_postcopy_asked)
        return TRUE; /* QEMU waits in pre-switchover: what follows needs RELEASED */
    *blame = GW_SIDE_SOURCE;
    if (!gw_job_spool_link (job, error) ||
        !gw_host_continue (job->source.host, job->cancellable, error) ||
        !wait_for_source (job, error))
        return FALSE;
    if (strcmp (job->source_status, "completed") != 0)
        return gw_job_fail_migration (job, error);
    return gw_job_prove_ram (job, error);
}

static gboolean
is_start_answered (gpointer user_data)
{
    return gw_host_pending_is_done (((GwJob *) user_data)->start);
}

gboolean
gw_job_take_start (GwJob *job, gboolean *ret_started, GError **error)
{
    GwHostStart start;
    if (!gw_host_finish_start (g_steal_pointer (&job->start), &start, error))
        return FALSE;
    *ret_started = start.is_started;
    if (!start.is_started)
        return TRUE;
    if (start.running_us != 0)
        job->running_us = start.running_us - job->destination.clock_offset_us;
    gw_job_note (job, GW_SIDE_DESTINATION, "started", "epoch %" G_GINT64_FORMAT,
                 job->epoch);
    return TRUE;
}

/* The source's copy cannot run by itself any more.  RELEASED, then the destination's record decides. */
gboolean
gw_job_release (GwJob *job, GError **error)
{
    if (!pass_turn (job, error))
        return FALSE;
    /* the answer to this may be lost after the record was written: it counts as written */
    gw_machine_move (&job->machine, GW_JOB_RELEASED);
    if (!gw_host_put_released (job->source.host, NULL, error))
        return FALSE;
    gw_job_note (job, GW_SIDE_SOURCE, "released", "epoch %" G_GINT64_FORMAT, job->epoch);
    return TRUE;
}

gboolean
gw_step_handover (GwJob *job, GwSide *blame, GError **error)
{
    gboolean is_started;
    *blame = GW_SIDE_SOURCE;
    gw_job_stop_health (job);
    if (job->is_postcopy_asked)
        return gw_job_hand_over_in_postcopy (job, blame, error);
    if (!gw_job_release (job, error))
        return FALSE;
    *blame = GW_SIDE_DESTINATION;
    job->start =
        gw_host_begin_start (job->destination.host, job->vm->is_running, FALSE, START_MS);
    /* faults of the source or the link do not matter any more: the destination's record decides */
    if (!gw_wait_until (job->context, is_start_answered, job, gw_deadline_ms (START_MS + 10000),
                        NULL, error))
        return FALSE;
    return gw_job_take_start (job, &is_started, error);
}

/* --- after the handover: whatever fails is a warning -------------------------------------------------------------- */

static void
judge (GwJob *job, const GwHostSettled *settled)
{
    gboolean is_running = strcmp (job->final_state, "running") == 0;
    if (job->vm->is_running && !is_running)
        gw_job_warn (job, "the VM is '%s' on the destination, it was 'running' on the source",
                     job->final_state);
    if (settled->block_errors > 0)
        gw_job_warn (job, "the VM's disks gave %" G_GINT64_FORMAT " errors on the destination",
                     settled->block_errors);
    /* an idle guest may well sleep for a second, so this is for those who look for a reason */
    gw_job_note (job, GW_SIDE_DESTINATION, "settled",
                 "'%s', its processors worked for %" G_GINT64_FORMAT " us", job->final_state,
                 settled->vcpu_us);
}

/* The VM has moved, and ended there at once. */
static void
find_end (GwJob *job)
{
    job->verdict = job->signs->pdata[gw_verdict_find_first (job->signs)];
    gw_job_warn (job, "the VM has moved and does not run any more: %s", job->verdict->text);
}

/* Its agent has closed the job already: there is nobody who could watch the VM for us. */
static gboolean
take_arrival (GwJob *job)
{
    if (job->arrived_state == NULL)
        return FALSE;
    job->verified_us = g_get_real_time ();
    job->final_state = g_strdup (job->arrived_state);
    judge (job, &(GwHostSettled){ 0 });
    return TRUE;
}

gboolean
gw_step_verify (GwJob *job, GwSide *blame, GError **error)
{
    g_autoptr (GError) failure = NULL;
    GwHostSettled settled = { 0 };
    if (take_arrival (job))
        return TRUE;
    job->verified_us = g_get_real_time ();
    /* The guest's first instructions want the processors and the disks for themselves: on a small or
     * busy host the cleanup of a large QEMU would make the stop longer that is just ending. */
    (void) gw_wait_ms (job->context, SETTLE_DOWN_MS, NULL, NULL);
    gw_job_set_guest_clock (job);
    guint ms = job->vm->is_running ? (guint) job->plan->settle_s * 1000 : 0;
    gboolean ok = gw_host_settle (job->destination.host, ms, &settled, NULL, &failure);
    if (ok) {
        job->final_state = settled.run_state;
        job->blocktime_ms = settled.blocktime_ms;
    }
    if (job->destination_is_gone)
        find_end (job);
    else if (ok)
        judge (job, &settled);
    else
        gw_job_warn (job, "the destination does not tell the VM's state: %s", failure->message);
    return TRUE;
}

/* What the lanes nbd-0, nbd-1 ... say of `key`. */
static gint64
sum_of_disks (JsonObject *lanes, const char *key)
{
    gint64 bytes = 0;
    g_autoptr (GList) names = lanes != NULL ? json_object_get_members (lanes) : NULL;
    for (GList *name = names; name != NULL; name = name->next)
        if (g_str_has_prefix (name->data, "nbd-"))
            bytes += gw_json_peek_int (gw_json_peek_object (lanes, name->data), key, 0);
    return bytes;
}

static JsonObject *
peek_ram (JsonObject *stats)
{
    JsonObject *lanes = stats != NULL ? gw_json_peek_object (stats, "lanes") : NULL;
    return lanes != NULL ? gw_json_peek_object (lanes, "ram") : NULL;
}

/* Of several couriers, one after the other, the one that saw most counts. */
static void
read_page_waits (GwJob *job)
{
    g_autoptr (JsonObject) stats = gw_host_get_courier_stats (job->destination.host, NULL, NULL);
    JsonObject *ram = peek_ram (stats);
    JsonObject *waits = ram != NULL ? gw_json_peek_object (ram, "page_waits") : NULL;
    if (waits == NULL ||
        (job->page_waits != NULL && gw_json_peek_int (job->page_waits, "answered", 0) >=
                                        gw_json_peek_int (waits, "answered", 0)))
        return;
    g_clear_pointer (&job->page_waits, json_object_unref);
    job->page_waits = json_object_ref (waits);
}

void
gw_job_read_counters (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    if (job->in_postcopy)
        read_page_waits (job);
    g_autoptr (JsonObject) stats = gw_host_get_courier_stats (job->source.host, NULL, &error);
    if (stats == NULL) {
        gw_job_note (job, GW_SIDE_SOURCE, "no-counters", "%s", error->message);
        return;
    }
    JsonObject *ram = peek_ram (stats);
    job->wire_bytes += gw_json_peek_int (stats, "wire_out_bytes", 0) +
                       gw_json_peek_int (stats, "wire_in_bytes", 0);
    JsonObject *lanes = gw_json_peek_object (stats, "lanes");
    job->disk_bytes += sum_of_disks (lanes, "out_bytes");
    job->disk_plain_bytes += sum_of_disks (lanes, job->disks_are_packed ? "plain_bytes" : "out_bytes");
    if (ram != NULL)
        gw_job_take_codec (job, ram);
    gw_job_take_link (job, stats);
}

static void
finish_source (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    (void) gw_job_read_migration (job, NULL);
    if (job->plan->keeps_source) {
        gw_job_note (job, GW_SIDE_SOURCE, "source-kept", "stopped, as --keep-source says");
        return;
    }
    if (!job->source_is_gone && !gw_host_quit_source (job->source.host, NULL, &error))
        gw_job_warn (job, "the source's copy did not end: %s; it is stopped and must not be run",
                     error->message);
}

gboolean
gw_step_cleanup (GwJob *job, GwSide *blame, GError **error)
{
    GwJobSide *const sides[] = { &job->destination, &job->source };
    gw_job_read_counters (job);
    finish_source (job);
    job->link_is_up = FALSE;
    for (guint i = 0; i < G_N_ELEMENTS (sides); i++) {
        g_autoptr (GError) failure = NULL;
        if (!gw_host_close_job (sides[i]->host, NULL, &failure))
            gw_job_warn (job, "%s: cleaning up: %s", gw_side_name (sides[i]->side),
                         failure->message);
    }
    return TRUE;
}
