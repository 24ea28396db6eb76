/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A check tries the link out: whether the hosts connect for data, how long a round trip takes and how
 * much it carries. */
#include "job-internal.h"

#define PROBE_MS 1000

typedef struct {
    gint64 rtt_us, bytes, us;
} Measured;

static gboolean
carry (GwJob *job, Measured *measured, GError **error)
{
    if (!gw_host_start_sink (job->destination.host, job->cancellable, error))
        return FALSE;
    gboolean is_pushed = gw_host_push (job->source.host, job->cancellable, error);
    g_autoptr (JsonObject) read =
        gw_host_finish_sink (job->destination.host, NULL, is_pushed ? error : NULL);
    if (!is_pushed || read == NULL)
        return FALSE;
    measured->bytes = gw_json_peek_int (read, "bytes", 0);
    measured->us = gw_json_peek_int (read, "us", 0);
    return TRUE;
}

static gboolean
measure (GwJob *job, Measured *measured, GwSide *blame, GError **error)
{
    if (!gw_job_connect_link (job, blame, error))
        return FALSE;
    *blame = GW_SIDE_LINK;
    return gw_host_probe_link (job->source.host, PROBE_MS, &measured->rtt_us, job->cancellable, error) &&
           carry (job, measured, error);
}

static void
conclude (GwJob *job, const Measured *m)
{
    gint64 rate_bps = m->us > 0 ? m->bytes * G_USEC_PER_SEC / m->us : 0;
    g_autofree char *rate = gw_text_bytes ((guint64) rate_bps);
    g_autofree char *text = g_strdup_printf (
        "the hosts connect (%s), a round trip takes %.1f ms, and about %s a second pass",
        job->link_addresses[0], (double) m->rtt_us / 1000, rate);
    job->probe = gw_json_new ("rtt_us:i", m->rtt_us, "rate_bps:i", rate_bps, "bytes:i", m->bytes, NULL);
    gw_check_append (job->checks, "link", GW_VERDICT_OK, GW_CAUSE_NONE, text);
}

gboolean
gw_step_probe (GwJob *job, GwSide *blame, GError **error)
{
    Measured measured = { 0, 0, 0 };
    g_autoptr (GError) failure = NULL;
    if (!job->plan->is_check_only)
        return TRUE; /* the move finds it out at once */
    gboolean ok = measure (job, &measured, blame, &failure);
    job->link_is_up = FALSE; /* an end of the couriers is no fault from here on */
    (void) gw_host_stop_courier (job->source.host, NULL, NULL); /* closing the job ends them too */
    (void) gw_host_stop_courier (job->destination.host, NULL, NULL);
    if (ok) {
        conclude (job, &measured);
        return TRUE;
    }
    if (gw_error_get_cause (failure) != GW_CAUSE_ABORTED)
        gw_check_append (job->checks, "link", GW_VERDICT_REFUSED, gw_error_get_cause (failure),
                         failure->message);
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
}
