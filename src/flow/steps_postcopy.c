/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The turn in postcopy, and the time in which the guest's memory is on both hosts. */
#include "job-internal.h"

#include <string.h>

#define TURN_MS 2000      /* one look at a destination that loads */
#define LOAD_SLACK_S 60   /* for the load, beyond what the link may be down */
#define ANSWER_MS 60000   /* for the agent to answer such a look */
#define PROGRESS_MS 250
#define CUT_OFF_US (5 * G_USEC_PER_SEC)

static gboolean
is_start_answered (gpointer user_data)
{
    return gw_host_pending_is_done (((GwJob *) user_data)->start);
}

/* One look: is it loaded, and then started?  FALSE: it is refused, or nobody knows. */
static gboolean
try_start (GwJob *job, gboolean *ret_started, GError **error)
{
    job->start = gw_host_begin_start (job->destination.host, job->vm->is_running, TRUE, TURN_MS);
    return gw_wait_until (job->context, is_start_answered, job, gw_deadline_ms (ANSWER_MS), NULL,
                          error) &&
           gw_job_take_start (job, ret_started, error);
}

/* What broke is mended, as later.  What cannot be mended shows in the destination's next answer: a QEMU there that lost
 * its stream before it was in postcopy ends. */
static void
mend (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    if (gw_job_needs_recovery (job) && !gw_job_is_away (job) && !gw_job_try_recovery (job, &error))
        gw_job_note (job, GW_SIDE_LINK, "not-recovered", "%s", error->message);
}

static gboolean
is_never (gpointer job)
{
    return FALSE;
}

/* One look, when there is somebody who can look; FALSE ends it. */
static gboolean
look_for_start (GwJob *job, gboolean *ret_started, GError **error)
{
    g_autoptr (GError) failure = NULL;
    if (gw_job_is_away (job)) {
        (void) gw_wait_until (job->context, is_never, job, gw_deadline_ms (PROGRESS_MS), NULL, NULL);
        return gw_job_regain (job, error);
    }
    if (try_start (job, ret_started, &failure) || gw_job_is_lost_for_now (job, failure))
        return TRUE;
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
}

/* A courier ended before the destination's QEMU was in postcopy: then there is nothing that could be recovered, and what has
 * not come by now does not come. */
static gboolean
is_cut_off (const GwJob *job)
{
    const char *status = job->destination_status; /* NULL: not heard so far */
    return job->lost_courier.at_us != 0 && status != NULL && !g_str_has_prefix (status, "postcopy-") &&
           g_get_real_time () - job->lost_courier.at_us > CUT_OFF_US;
}

gboolean
gw_job_await_start (GwJob *job, GError **error)
{
    gint64 deadline =
        g_get_monotonic_time () + (job->plan->link_deadline_s + LOAD_SLACK_S) * G_USEC_PER_SEC;
    gboolean is_started = FALSE;
    while (!is_started) {
        if (gw_job_has_left (job, error) || !look_for_start (job, &is_started, error))
            return FALSE;
        if (is_started || job->arrived_state != NULL)
            break;
        if (gw_job_has_fault (job))
            return gw_job_fail_with_fault (job, error);
        if (is_cut_off (job))
            return gw_fail (error, GW_CAUSE_COURIER_DIED, "%s", job->lost_courier.text);
        if (g_get_monotonic_time () > deadline)
            return gw_fail (error, GW_CAUSE_SWITCHOVER_TIMEOUT,
                            "the destination's QEMU has not loaded the devices (it is '%s')",
                            job->destination_status);
        mend (job);
        gw_job_report_progress (job, FALSE);
    }
    return TRUE;
}

/* QEMU stands in pre-switchover with a guest that was stopped before, so it will not run it by itself
 * whatever happens.  With RELEASED written it may send the devices: the destination has the right to
 * start as soon as they are loaded. */
gboolean
gw_job_hand_over_in_postcopy (GwJob *job, GwSide *blame, GError **error)
{
    *blame = GW_SIDE_SOURCE;
    if (!gw_job_release (job, error))
        return FALSE;
    job->in_postcopy = TRUE;
    gw_job_let_leave (job, TRUE); /* as soon as the destination has STARTED */
    job->postcopy_us = g_get_real_time ();
    if (!gw_host_continue (job->source.host, NULL, error))
        return FALSE;
    *blame = GW_SIDE_DESTINATION;
    return gw_job_await_start (job, error);
}

/* --- both have memory that the other has not ----------------------------------------------------------------------- */

static gboolean
is_fetched (gpointer user_data)
{
    const GwJob *job = user_data;
    return g_strcmp0 (job->destination_status, "completed") == 0;
}

static gboolean
has_news (gpointer user_data)
{
    const GwJob *job = user_data;
    gboolean can_mend = gw_job_needs_recovery (job) && !gw_job_is_away (job);
    return is_fetched (user_data) || gw_job_has_fault (job) || can_mend;
}

/* The source's QEMU answers at once or hangs for a while; what it says is for people only. */
static void
tell (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    if (!gw_job_read_migration (job, &error))
        gw_job_note (job, GW_SIDE_SOURCE, "no-answer", "%s", error->message);
    gw_job_report_progress (job, FALSE);
}

gboolean
gw_step_postcopy (GwJob *job, GwSide *blame, GError **error)
{
    *blame = GW_SIDE_DESTINATION;
    while (!is_fetched (job)) {
        (void) gw_wait_until (job->context, has_news, job, gw_deadline_ms (PROGRESS_MS), NULL, NULL);
        if (is_fetched (job))
            break;
        if (gw_job_has_left (job, error))
            return FALSE;
        if (gw_job_has_fault (job))
            return gw_job_fail_with_fault (job, error);
        if (!gw_job_regain (job, error))
            return FALSE;
        if (gw_job_needs_recovery (job) && !gw_job_is_away (job))
            mend (job);
        else
            tell (job);
        gw_job_follow_draft (job);
    }
    gw_job_note (job, GW_SIDE_DESTINATION, "fetched", "all of the guest's memory");
    return TRUE;
}
