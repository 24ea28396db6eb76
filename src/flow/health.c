/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the destination's QEMU and its agent answer.  The source's QEMU is asked for its progress all the
 * time; nobody asks the other one while it takes what comes, so one that stands still would hold the job up
 * until some far limit, and the guest with it.
 */
#include "job-internal.h"

#define PAUSE_MS 1000
#define RECOVERY_US (5 * G_USEC_PER_SEC)

/* The connection to the agent may go over the same network as the link: what the link survives is no fault of
 * the agent's.  TCP tries again in growing intervals, up to as long as it was cut off. */
static gboolean
was_cut_off (const GwJob *job)
{
    if (job->outage_us != 0)
        return TRUE;
    if (job->outages->len == 0)
        return FALSE;
    const GwOutage *last = &g_array_index (job->outages, GwOutage, job->outages->len - 1);
    return last->at_us + 2 * last->for_us + RECOVERY_US > job->health_asked_us;
}

static void
judge (GwJob *job, const GError *error)
{
    GwCause cause = gw_error_get_cause (error);
    if (cause == GW_CAUSE_QMP_TIMEOUT)
        gw_job_add_sign (job, GW_SIGN_QEMU_SILENT, GW_SIDE_DESTINATION, 0, cause, error->message);
    else if (cause == GW_CAUSE_RPC_TIMEOUT && !was_cut_off (job))
        gw_job_add_sign (job, GW_SIGN_AGENT_SILENT, GW_SIDE_DESTINATION, 0, cause, error->message);
    /* that one of them has ended is told without asking */
}

static gboolean
on_tick (gpointer user_data)
{
    GwJob *job = user_data;
    g_autoptr (GError) error = NULL;
    if (job->health_answer == NULL) {
        job->health_asked_us = g_get_real_time ();
        if (gw_host_is_open (job->destination.host))
            job->health_answer = gw_host_begin_get_run_state (job->destination.host);
        return G_SOURCE_CONTINUE;
    }
    if (!gw_host_pending_is_done (job->health_answer))
        return G_SOURCE_CONTINUE;
    g_autofree char *state =
        gw_host_finish_get_run_state (g_steal_pointer (&job->health_answer), &error);
    if (state == NULL)
        judge (job, error);
    return G_SOURCE_CONTINUE;
}

void
gw_job_start_health (GwJob *job)
{
    job->health = g_timeout_source_new (PAUSE_MS);
    g_source_set_callback (job->health, on_tick, job, NULL);
    g_source_attach (job->health, job->context);
}

void
gw_job_stop_health (GwJob *job)
{
    if (job->health == NULL)
        return;
    g_source_destroy (job->health);
    g_clear_pointer (&job->health, g_source_unref);
    g_clear_pointer (&job->health_answer, gw_host_pending_free);
}
