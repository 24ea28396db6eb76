/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A check tries the link out: whether the hosts connect for data, how long a round trip takes and how
 * much it carries. */
#include "job-internal.h"

#define PROBE_MS 1000

static gboolean
carry (GwJob *job, GwLinkTrial *trial, GError **error)
{
    if (!gw_host_start_sink (job->destination.host, job->cancellable, error))
        return FALSE;
    gboolean is_pushed = gw_host_push (job->source.host, job->cancellable, error);
    g_autoptr (JsonObject) read =
        gw_host_finish_sink (job->destination.host, NULL, is_pushed ? error : NULL);
    if (!is_pushed || read == NULL)
        return FALSE;
    trial->bytes = gw_json_peek_int (read, "bytes", 0);
    trial->us = gw_json_peek_int (read, "us", 0);
    return TRUE;
}

static gboolean
measure (GwJob *job, GwLinkTrial *trial, GwSide *blame, GError **error)
{
    if (!gw_job_connect_link (job, blame, error))
        return FALSE;
    *blame = GW_SIDE_LINK;
    return gw_host_probe_link (job->source.host, PROBE_MS, &trial->rtt_us, job->cancellable, error) &&
           carry (job, trial, error);
}

/* What broke comes before what did not work because of it. */
static gboolean
tell_trouble (const GwJob *job, GwSide *blame, GError **error)
{
    const GwLinkTrouble *trouble = &job->trial_trouble;
    gboolean is_aborted = error != NULL && *error != NULL && gw_error_get_cause (*error) == GW_CAUSE_ABORTED;
    if (trouble->text == NULL || is_aborted)
        return TRUE;
    g_clear_error (error);
    *blame = trouble->side;
    return gw_fail (error, trouble->cause, "while the link was tried: %s", trouble->text);
}

/* The couriers that are not needed any more end with the job directory at the latest. */
static void
end_trial (GwJob *job)
{
    (void) gw_host_stop_courier (job->source.host, NULL, NULL);
    (void) gw_host_stop_courier (job->destination.host, NULL, NULL);
    job->is_trial = job->link_is_up = FALSE;
    job->n_paths = 0;
}

gboolean
gw_job_try_link (GwJob *job, GwLinkTrial *ret, GwSide *blame, GError **error)
{
    *ret = (GwLinkTrial) { 0, 0, 0 };
    job->is_trial = TRUE;
    g_clear_pointer (&job->trial_trouble.text, g_free);
    gboolean ok = measure (job, ret, blame, error);
    ok = tell_trouble (job, blame, error) && ok;
    end_trial (job); /* whose end is no trouble: the courier that is stopped last misses the other */
    return ok;
}

static void
conclude (GwJob *job, const GwLinkTrial *trial)
{
    gint64 rate_bps = trial->us > 0 ? trial->bytes * G_USEC_PER_SEC / trial->us : 0;
    g_autofree char *rate = gw_text_bytes ((guint64) rate_bps);
    g_autofree char *text = g_strdup_printf (
        "the hosts connect (%s), a round trip takes %.1f ms, and about %s a second pass",
        job->link_addresses[0], (double) trial->rtt_us / 1000, rate);
    job->probe = gw_json_new ("rtt_us:i", trial->rtt_us, "rate_bps:i", rate_bps, "bytes:i",
                              trial->bytes, NULL);
    gw_check_append (job->checks, "link", GW_VERDICT_OK, GW_CAUSE_NONE, text);
    gw_job_predict (job, trial);
}

gboolean
gw_step_probe (GwJob *job, GwSide *blame, GError **error)
{
    GwLinkTrial trial;
    g_autoptr (GError) failure = NULL;
    if (!job->plan->is_check_only)
        return TRUE; /* the step `couriers` does it */
    if (gw_job_try_link (job, &trial, blame, &failure)) {
        conclude (job, &trial);
        return TRUE;
    }
    if (gw_error_get_cause (failure) != GW_CAUSE_ABORTED)
        gw_check_append (job->checks, "link", GW_VERDICT_REFUSED, gw_error_get_cause (failure),
                         failure->message);
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
}
