/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Precopy, the turn, and what follows it. */
#include "job-internal.h"

#include <string.h>

#define PROGRESS_MS 250
#define SWITCHOVER_MS 120000 /* for the last memory and the device state to be sent and loaded */
#define ASK_MS 1000
#define START_MS 60000       /* for the destination to start */
#define SETTLE_DOWN_MS 60
#define QEMU_DOWNTIME_MS 2         /* QEMU itself switches over only when nearly nothing is left */
#define STOP_MIN_MS 1000           /* a stop is not given up earlier */

/* --- precopy ---------------------------------------------------------------------------------------------- */

static gboolean
is_status (const char *status, const char *const *list)
{
    return status != NULL && g_strv_contains (list, status);
}

static gboolean
has_left_precopy (gpointer user_data)
{
    static const char *const left[] = { "pre-switchover", "failed", "cancelled", "cancelling",
                                        "completed", NULL };
    return is_status (((GwJob *) user_data)->source_status, left);
}

static gboolean
read_migration (GwJob *job, GError **error)
{
    GwMigration *m = gw_host_get_migration (job->source.host, job->cancellable, error);
    if (m == NULL)
        return FALSE;
    gw_migration_free (job->migration);
    job->migration = m;
    return TRUE;
}

/* The migration ended where it should not have: QEMU's reason, and further words of it line by line. */
static gboolean
fail_migration (GwJob *job, GError **error)
{
    (void) read_migration (job, NULL);
    const char *words = job->migration != NULL ? job->migration->error_desc : NULL;
    if (words == NULL)
        words = "it gives no reason";
    g_autofree char *reason = g_strndup (words, strcspn (words, "\n"));
    GwSignKind kind =
        gw_words_tell_stream_end (reason) ? GW_SIGN_MIGRATION : GW_SIGN_MIGRATION_OWN;
    g_autofree char *text =
        g_strdup_printf ("QEMU gave the migration up ('%s'): %s", job->source_status, words);
    gw_job_add_sign (job, kind, GW_SIDE_SOURCE, 0, GW_CAUSE_MIGRATION_FAILED, text);
    return gw_job_fail_with_fault (job, error);
}

gboolean
gw_job_is_out_of_time (const GwJob *job)
{
    return job->plan->timeout_s > 0 &&
           g_get_real_time () - job->started_us > job->plan->timeout_s * G_USEC_PER_SEC;
}

static gboolean
fail_not_converged (GwJob *job, GError **error)
{
    const GwMigration *m = job->migration;
    g_autofree char *left = gw_text_bytes ((guint64) m->remaining_bytes);
    g_autofree char *dirty = gw_text_bytes ((guint64) m->dirty_bps);
    g_autofree char *rate = gw_text_bytes ((guint64) m->rate_bps);
    gint64 need_ms = m->rate_bps > 0 ? m->remaining_bytes * 1000 / m->rate_bps : -1;
    return gw_fail (error, GW_CAUSE_NOT_CONVERGED,
                    "not done within %" G_GINT64_FORMAT " s: the guest dirties %s/s, the link "
                    "carries %s/s, %s are left after %" G_GINT64_FORMAT
                    " rounds; they need %" G_GINT64_FORMAT " ms of downtime, %" G_GINT64_FORMAT
                    " are allowed",
                    job->plan->timeout_s, dirty, rate, left, m->rounds, need_ms,
                    job->plan->max_downtime_ms);
}

/* QEMU would stop the guest right after it has gone through its dirty pages, which holds the guest up
 * for as long as that takes (25 ms for 512 MiB under TCG), and then send what is left with its big
 * lock held, deaf to every command.  Stopped by us just after, the guest stands still for the sending
 * alone, QEMU keeps answering, and it never lets the guest run again by itself: this side decides. */
static gboolean
stop_guest (GwJob *job, const char *why, GError **error)
{
    job->is_stopping = TRUE;
    gw_job_note (job, GW_SIDE_SOURCE, "stopping", "%s", why);
    return gw_host_stop_guest (job->source.host, TRUE, job->cancellable, error);
}

/* The link has not kept to the rate it had: rather a later switchover than a longer downtime. */
static gboolean
bound_stop (GwJob *job, GError **error)
{
    gint64 for_ms = job->stop_us != 0 ? (g_get_real_time () - job->stop_us) / 1000 : 0;
    if (job->is_forced && for_ms > SWITCHOVER_MS)
        return gw_fail (error, GW_CAUSE_SWITCHOVER_TIMEOUT,
                        "the guest stood still for %" G_GINT64_FORMAT
                        " ms and the rest of its memory is still not over",
                        for_ms);
    if (job->is_forced || for_ms < MAX (2 * job->plan->max_downtime_ms, STOP_MIN_MS))
        return TRUE;
    gw_job_note (job, GW_SIDE_SOURCE, "runs-on", "the switchover would take too long: %"
                 G_GINT64_FORMAT " ms are over", for_ms);
    job->is_stopping = FALSE;
    return gw_host_stop_guest (job->source.host, FALSE, job->cancellable, error);
}

/* What --on-timeout says; TRUE: go on. */
static gboolean
handle_timeout (GwJob *job, GError **error)
{
    if (strcmp (job->plan->on_timeout, "stop") != 0)
        return fail_not_converged (job, error);
    job->is_forced = TRUE;
    return stop_guest (job, "out of time, and --on-timeout says stop", error);
}

static gboolean
steer_precopy (GwJob *job, gboolean is_new_round, GError **error)
{
    if (!job->vm->is_running)
        return TRUE;
    if (job->is_stopping)
        return bound_stop (job, error);
    if (is_new_round && gw_converge_can_switch (job->migration, job->plan->max_downtime_ms) &&
        gw_job_disks_can_switch (job))
        return stop_guest (job, "what is left fits into the allowed downtime", error);
    return !gw_job_is_out_of_time (job) || handle_timeout (job, error);
}

static gboolean
has_news (gpointer user_data)
{
    const GwJob *job = user_data;
    return job->round != job->seen_round || has_left_precopy (user_data);
}

static gboolean
wait_for_news (GwJob *job, GError **error)
{
    g_autoptr (GError) failure = NULL;
    if (gw_job_wait (job, has_news, gw_deadline_ms (PROGRESS_MS), &failure) ||
        gw_error_get_cause (failure) == GW_CAUSE_TIMED_OUT)
        return TRUE;
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
}

static gboolean
follow_precopy (GwJob *job, GError **error)
{
    while (!has_left_precopy (job)) {
        if (!wait_for_news (job, error))
            return FALSE;
        gboolean is_new_round = job->round != job->seen_round;
        job->seen_round = job->round;
        if (has_left_precopy (job))
            break;
        if (!read_migration (job, error) || !gw_job_look_at_disks (job, error) ||
            !steer_precopy (job, is_new_round, error))
            return FALSE;
        gw_job_report_progress (job, FALSE);
        gw_job_follow_clock (job);
    }
    if (strcmp (job->source_status, "pre-switchover") == 0)
        return TRUE;
    return fail_migration (job, error);
}

gboolean
gw_step_precopy (GwJob *job, GwSide *blame, GError **error)
{
    GwHostMigrate params = { QEMU_DOWNTIME_MS, job->plan->max_bandwidth_bps };
    *blame = GW_SIDE_SOURCE;
    g_clear_pointer (&job->source_status, g_free);
    job->setup_us = g_get_real_time ();
    return gw_host_migrate (job->source.host, &params, job->cancellable, error) &&
           follow_precopy (job, error);
}

void
gw_undo_precopy (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    if (job->source_is_gone || job->guest_is_off)
        return;
    if (!gw_host_undo_migration (job->source.host, NULL, &error))
        gw_job_warn (job, "the source could not be brought back by itself: %s", error->message);
}

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
    return is_status (((GwJob *) user_data)->source_status, done);
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
        if (!read_migration (job, error))
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
    *blame = GW_SIDE_SOURCE;
    if (!gw_host_continue (job->source.host, job->cancellable, error) ||
        !wait_for_source (job, error))
        return FALSE;
    return strcmp (job->source_status, "completed") == 0 || fail_migration (job, error);
}

static gboolean
is_start_answered (gpointer user_data)
{
    return gw_host_pending_is_done (((GwJob *) user_data)->start);
}

static gboolean
take_start (GwJob *job, GError **error)
{
    GwHostStart start;
    if (!gw_host_finish_start (g_steal_pointer (&job->start), &start, error))
        return FALSE;
    if (start.running_us != 0)
        job->running_us = start.running_us - job->destination.clock_offset_us;
    gw_job_note (job, GW_SIDE_DESTINATION, "started", "epoch %" G_GINT64_FORMAT,
                 job->vm->epoch + 1);
    return TRUE;
}

/* The source's copy cannot run by itself any more.  RELEASED, then the destination's record decides. */
static gboolean
release (GwJob *job, GError **error)
{
    if (!pass_turn (job, error))
        return FALSE;
    /* the answer to this may be lost after the record was written: it counts as written */
    gw_machine_move (&job->machine, GW_JOB_RELEASED);
    if (!gw_host_put_released (job->source.host, NULL, error))
        return FALSE;
    gw_job_note (job, GW_SIDE_SOURCE, "released", "epoch %" G_GINT64_FORMAT, job->vm->epoch + 1);
    return TRUE;
}

gboolean
gw_step_handover (GwJob *job, GwSide *blame, GError **error)
{
    *blame = GW_SIDE_SOURCE;
    gw_job_stop_health (job);
    if (!release (job, error))
        return FALSE;
    *blame = GW_SIDE_DESTINATION;
    job->start = gw_host_begin_start (job->destination.host, job->vm->is_running, START_MS);
    /* faults of the source or the link do not matter any more: the destination's record decides */
    if (!gw_wait_until (job->context, is_start_answered, job, gw_deadline_ms (START_MS + 10000),
                        NULL, error))
        return FALSE;
    return take_start (job, error);
}

/* --- after the handover: whatever fails is a warning -------------------------------------------------------------- */

/* The VM has moved, and ended there at once. */
static void
find_end (GwJob *job)
{
    job->verdict = job->signs->pdata[gw_verdict_find_first (job->signs)];
    gw_job_warn (job, "the VM has moved and does not run any more: %s", job->verdict->text);
}

gboolean
gw_step_verify (GwJob *job, GwSide *blame, GError **error)
{
    g_autoptr (GError) failure = NULL;
    /* The guest's first instructions want the processors and the disks for themselves: on a small or
     * busy host the cleanup of a large QEMU would make the stop longer that is just ending. */
    (void) gw_wait_ms (job->context, SETTLE_DOWN_MS, NULL, NULL);
    job->final_state = gw_host_get_run_state (job->destination.host, NULL, &failure);
    if (job->destination_is_gone)
        find_end (job);
    else if (job->final_state == NULL)
        gw_job_warn (job, "the destination does not tell the VM's state: %s", failure->message);
    else if (job->vm->is_running && strcmp (job->final_state, "running") != 0)
        gw_job_warn (job, "the VM is '%s' on the destination, it was 'running' on the source",
                     job->final_state);
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

static void
read_counters (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonObject) stats = gw_host_get_courier_stats (job->source.host, NULL, &error);
    if (stats == NULL) {
        gw_job_note (job, GW_SIDE_SOURCE, "no-counters", "%s", error->message);
        return;
    }
    JsonObject *lanes = gw_json_peek_object (stats, "lanes");
    JsonObject *ram = lanes != NULL ? gw_json_peek_object (lanes, "ram") : NULL;
    job->wire_bytes = gw_json_peek_int (stats, "wire_out_bytes", 0) +
                      gw_json_peek_int (stats, "wire_in_bytes", 0);
    job->disk_bytes = sum_of_disks (lanes, "out_bytes");
    job->disk_plain_bytes = job->disks_are_packed ? sum_of_disks (lanes, "plain_bytes") : job->disk_bytes;
    job->guest_bytes = ram != NULL ? gw_json_peek_int (ram, "out_bytes", 0) : 0;
    gw_job_take_link (job, stats);
}

static void
finish_source (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    (void) read_migration (job, NULL);
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
    read_counters (job);
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
