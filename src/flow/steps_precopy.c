/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copying while the guest runs, and how that ends: converge.h decides, here it is done. */
#include "job-internal.h"

#include <string.h>

#define PROGRESS_MS 250
#define SWITCHOVER_MS 120000 /* for the rest, when it was forced */
#define QEMU_DOWNTIME_MS 2   /* QEMU itself switches over only when nearly nothing is left */
#define STOP_MIN_MS 1000     /* a stop is not given up earlier */
#define STATE_BYTES (256 * 1024) /* of the devices, and */
#define LOAD_MS 30               /* what they take to load, where no rehearsal has told */
#define TURN_MS 30               /* the records, the questions and the start between load and first instruction */

static gboolean
has_left_precopy (gpointer user_data)
{
    static const char *const left[] = { "pre-switchover", "failed", "cancelled", "cancelling",
                                        "completed", NULL };
    const char *status = ((GwJob *) user_data)->source_status;
    return status != NULL && g_strv_contains (left, status);
}

gboolean
gw_job_read_migration (GwJob *job, GError **error)
{
    GwMigration *m = gw_host_get_migration (job->source.host, job->is_past_turn ? NULL : job->cancellable,
                                            error);
    if (m == NULL)
        return FALSE;
    gw_migration_free (job->migration);
    job->migration = m;
    return TRUE;
}

gboolean
gw_job_fail_migration (GwJob *job, GError **error)
{
    (void) gw_job_read_migration (job, NULL);
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

/* --- what is seen ------------------------------------------------------------------------------------------- */

/* A rehearsal that did not come to its end says 0. */
static gint64
get_rehearsed (const GwJob *job, const char *name, gint64 otherwise)
{
    gint64 value = job->rehearsal != NULL ? gw_json_peek_int (job->rehearsal, name, 0) : 0;
    return value > 0 ? value : otherwise;
}

GwAllowance
gw_job_get_allowance (const GwJob *job)
{
    const GwPlan *plan = job->plan;
    return (GwAllowance) {
        .max_downtime_ms = plan->max_downtime_ms,
        .timeout_s = plan->timeout_s,
        .on_timeout = gw_late_from_name (plan->on_timeout),
        .can_postcopy = job->postcopy.is_on,
        .is_postcopy_wanted = strcmp (plan->postcopy, "now") == 0 ||
                              g_atomic_int_get (&job->wants_postcopy),
        .state_bytes = get_rehearsed (job, "state_bytes", STATE_BYTES),
        .load_ms = get_rehearsed (job, "load_us", LOAD_MS * 1000) / 1000 + TURN_MS +
                   gw_job_estimate_proof_ms (job),
    };
}

/* Without the courier's figures QEMU's own rate has to do. */
static void
add_link (GwJob *job, GwSample *sample)
{
    g_autoptr (JsonObject) stats =
        gw_host_get_courier_stats (job->source.host, job->cancellable, NULL);
    JsonObject *lanes = stats != NULL ? gw_json_peek_object (stats, "lanes") : NULL;
    JsonObject *ram = lanes != NULL ? gw_json_peek_object (lanes, "ram") : NULL;
    if (ram == NULL)
        return;
    sample->rtt_us = gw_json_peek_int (stats, "rtt_us", 0);
    if (gw_job_peek_credit (ram, &sample->acked_bytes, &sample->queued_bytes))
        return;
    sample->queued_bytes = gw_json_peek_int (ram, "unsent_bytes", 0) +
                           gw_json_peek_int (ram, "unacked_bytes", 0);
    sample->acked_bytes = gw_json_peek_int (ram, "out_bytes", 0) - sample->queued_bytes;
}

static GwDecision
look (GwJob *job, const GwAllowance *allowance, gboolean is_new_round)
{
    const GwMigration *m = job->migration;
    GwSample sample = {
        .at_us = g_get_real_time () - job->started_us,
        .round = m->rounds,
        .is_start = is_new_round,
        .is_outage = job->outage_us != 0,
        .left_bytes = m->remaining_bytes,
        .dirty_bps = m->dirty_bps,
        .qemu_bps = m->rate_bps,
        .throttle_percent = m->throttle_percent,
    };
    add_link (job, &sample);
    gw_converge_add (&job->converge, allowance, &sample);
    return gw_converge_decide (&job->converge, allowance, &job->estimate);
}

/* --- what is done -------------------------------------------------------------------------------------------- */

/* QEMU would stop the guest right after it has gone through its dirty pages, which holds the guest up
 * for as long as that takes (25 ms for 512 MiB under TCG), and then send what is left with its big
 * lock held, deaf to every command.  Stopped by us just after, the guest stands still for the sending
 * alone, QEMU keeps answering, and it never lets the guest run again by itself: this side decides. */
static gboolean
stop_guest (GwJob *job, const char *why, GError **error)
{
    job->is_stopping = TRUE;
    gw_job_note (job, GW_SIDE_SOURCE, "stopping",
                 "%s: %" G_GINT64_FORMAT " ms expected, the link carries %" G_GINT64_FORMAT " bytes/s",
                 why, job->estimate.downtime_ms, job->estimate.rate_bps);
    return gw_job_stop_guest (job, error);
}

static gboolean
force (GwJob *job, GError **error)
{
    job->is_forced = TRUE;
    return stop_guest (job, "out of time, and --on-timeout says stop", error);
}

/* The same stop, and QEMU then waits in pre-switchover within the iteration that it is in. */
static gboolean
go_postcopy (GwJob *job, GError **error)
{
    job->is_postcopy_asked = TRUE;
    return stop_guest (job, "going over to postcopy", error) &&
           gw_host_start_postcopy (job->source.host, job->cancellable, error);
}

static gboolean
throttle (GwJob *job, GError **error)
{
    gw_job_note (job, GW_SIDE_SOURCE, "throttling", "the guest dirties more than the link carries");
    gw_converge_note_throttle (&job->converge);
    return gw_host_throttle (job->source.host, job->cancellable, error);
}

static gboolean
give_up (GwJob *job, const GwAllowance *allowance, GError **error)
{
    g_autofree char *why = gw_converge_explain (&job->converge, allowance);
    gint64 after_s = (g_get_real_time () - job->started_us) / G_USEC_PER_SEC;
    return gw_fail (error, GW_CAUSE_NOT_CONVERGED,
                    "not done after %" G_GINT64_FORMAT " s and %" G_GINT64_FORMAT " rounds: %s", after_s,
                    job->migration->rounds, why);
}

/* Until the disks are in step nothing is gained by a stop: their rest would be added to it. */
static gboolean
await_disks (GwJob *job, GError **error)
{
    return !gw_job_is_out_of_time (job) || gw_job_fail_slow_disks (job, error);
}

static gboolean
obey (GwJob *job, GwDecision decision, const GwAllowance *allowance, GError **error)
{
    if ((decision == GW_SWITCH || decision == GW_POSTCOPY) && !gw_job_disks_can_switch (job))
        return await_disks (job, error);
    switch (decision) {
    case GW_SWITCH:
        return stop_guest (job, "what is left fits into the allowed downtime", error);
    case GW_FORCE:
        return force (job, error);
    case GW_POSTCOPY:
        return go_postcopy (job, error);
    case GW_THROTTLE:
        return throttle (job, error);
    case GW_GIVE_UP:
        return give_up (job, allowance, error);
    case GW_GO_ON:
    default:
        return TRUE;
    }
}

/* The link has not kept to the rate it had: rather a later switchover than a longer downtime.  QEMU
 * forgets no order to go over to postcopy, so there the attempt ends instead. */
static gboolean
bound_stop (GwJob *job, GError **error)
{
    gint64 for_ms = job->stop_us != 0 ? (g_get_real_time () - job->stop_us) / 1000 : 0;
    gint64 limit_ms = job->is_forced ? SWITCHOVER_MS
                                     : MAX (2 * job->plan->max_downtime_ms, STOP_MIN_MS);
    if (for_ms < limit_ms)
        return TRUE;
    if (job->is_forced || job->is_postcopy_asked)
        return gw_fail (error, GW_CAUSE_SWITCHOVER_TIMEOUT,
                        "the guest stood still for %" G_GINT64_FORMAT
                        " ms and QEMU has not come to the switchover",
                        for_ms);
    gw_job_note (job, GW_SIDE_SOURCE, "runs-on", "the switchover would take too long: %"
                 G_GINT64_FORMAT " ms are over", for_ms);
    g_autoptr (GError) failure = NULL;
    job->is_stopping = !gw_host_stop_guest (job->source.host, FALSE, gw_job_get_disk_limit_ms (job),
                                            job->cancellable, &failure);
    if (!job->is_stopping || has_left_precopy (job)) /* QEMU was faster, and lets nothing run there */
        return TRUE;
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
}

static gboolean
steer (GwJob *job, gboolean is_new_round, GError **error)
{
    static const char *const not_begun[] = { "none", "setup", "wait-unplug", NULL };
    if (!job->vm->is_running || g_strv_contains (not_begun, job->migration->status))
        return TRUE;
    if (job->is_stopping)
        return bound_stop (job, error);
    if (gw_job_is_away (job))
        return TRUE; /* nothing is begun that needs it */
    GwAllowance allowance = gw_job_get_allowance (job);
    return obey (job, look (job, &allowance, is_new_round), &allowance, error);
}

/* --- following ------------------------------------------------------------------------------------------------ */

/* Nothing was tried yet. */
static gboolean
is_newly_away (const GwJob *job)
{
    return gw_job_is_away (job) && job->next_try_us == 0;
}

static gboolean
has_news (gpointer user_data)
{
    const GwJob *job = user_data;
    return job->round != job->seen_round || has_left_precopy (user_data) || is_newly_away (job);
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
follow (GwJob *job, GError **error)
{
    while (!has_left_precopy (job)) {
        if (!wait_for_news (job, error) || gw_job_has_left (job, error))
            return FALSE;
        gboolean is_new_round = job->round != job->seen_round;
        job->seen_round = job->round;
        if (has_left_precopy (job))
            break;
        if (!gw_job_read_migration (job, error) || !gw_job_look_at_disks (job, error) ||
            !gw_job_regain (job, error) || !steer (job, is_new_round, error))
            return FALSE;
        gw_job_report_progress (job, FALSE);
        gw_job_follow_clock (job);
        gw_job_follow_draft (job);
    }
    if (strcmp (job->source_status, "pre-switchover") == 0)
        return gw_job_need_destination (job, error);
    return gw_job_fail_migration (job, error);
}

static void
let_user_ask (GwJob *job, gboolean may)
{
    g_mutex_lock (&job->lock);
    job->has_postcopy = may;
    g_mutex_unlock (&job->lock);
}

static gboolean
begin (GwJob *job, GError **error)
{
    GwHostMigrate params = { QEMU_DOWNTIME_MS, job->plan->max_bandwidth_bps, job->postcopy,
                             strcmp (job->plan->on_timeout, "throttle") == 0 };
    if (!job->is_taken_up)
        return gw_host_migrate (job->source.host, &params, job->cancellable, error);
    return strcmp (job->source_status, "none") != 0 ||
           gw_fail (error, GW_CAUSE_AGENT_LOST, "the source's agent ended before it had told QEMU to migrate");
}

gboolean
gw_step_precopy (GwJob *job, GwSide *blame, GError **error)
{
    *blame = GW_SIDE_SOURCE;
    if (!job->is_taken_up) {
        g_clear_pointer (&job->source_status, g_free);
        job->setup_us = g_get_real_time ();
    }
    gw_job_let_leave (job, TRUE);
    let_user_ask (job, job->postcopy.is_on); /* the phase is seen already; it is done when QEMU is under way */
    gboolean ok = begin (job, error) && follow (job, error);
    let_user_ask (job, FALSE);
    gw_job_let_leave (job, FALSE);
    return ok;
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
