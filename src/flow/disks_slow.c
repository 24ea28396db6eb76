/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copies of disks that do not get in step: what is done about them, and when they are given up. */
#include "job-internal.h"

static GwDiskSample
look (const GwJob *job)
{
    gint64 total, rate;
    GwDiskSample sample = { .at_us = g_get_monotonic_time (),
                            .is_outage = job->outage_us != 0 || job->is_stopping };
    gw_job_sum_disks (job, &total, &sample.left_bytes, &rate);
    sample.done_bytes = total - sample.left_bytes;
    sample.is_in_step = gw_job_disks_are_in_step (job);
    gw_job_proof_add_pace (job, &sample);
    return sample;
}

/* --- holding the guest back ------------------------------------------------------------------------------------ */

/* Half of what it has now, but no less than the user allows; 0: it has that already. */
static gint64
choose_limit (const GwJob *job)
{
    gint64 least = job->plan->throttle_disks_bps;
    gint64 share = job->disk_pace.copied_bps / gw_disk_plans_count_copies (job->disks);
    gint64 limit = MAX ((job->disk_limit_bps > 0 ? job->disk_limit_bps : share) / 2, least);
    return limit == job->disk_limit_bps ? 0 : limit;
}

static gboolean
hold (GwJob *job, gint64 bps, gboolean *ret_done, GError **error)
{
    if (!gw_host_hold_disks (job->source.host, bps, ret_done, job->cancellable, error))
        return FALSE;
    if (*ret_done)
        gw_disk_pace_restart (&job->disk_pace);
    return TRUE;
}

/* First without a price for the guest, then with one, if the user allows it. */
static gboolean
hold_back (GwJob *job, gboolean *ret_done, GError **error)
{
    *ret_done = FALSE;
    if (!job->disks_were_held) {
        job->disks_were_held = TRUE;
        if (!hold (job, 0, ret_done, error))
            return FALSE;
        if (*ret_done)
            return TRUE;
    }
    gint64 limit = job->plan->throttle_disks_bps > 0 ? choose_limit (job) : 0;
    if (limit == 0)
        return TRUE;
    job->disk_limit_bps = limit;
    return hold (job, limit, ret_done, error);
}

/* --- giving up -------------------------------------------------------------------------------------------------- */

static gboolean
fail_hopeless (const GwJob *job, GError **error)
{
    gint64 total, left, rate;
    gw_job_sum_disks (job, &total, &left, &rate);
    g_autofree char *written = gw_text_bytes ((guint64) job->disk_pace.written_bps);
    g_autofree char *copied = gw_text_bytes ((guint64) job->disk_pace.copied_bps);
    g_autofree char *left_text = gw_text_bytes ((guint64) left);
    g_autofree char *limit = gw_text_bytes ((guint64) job->disk_limit_bps);
    gint64 after_s = (g_get_real_time () - job->started_us) / G_USEC_PER_SEC;
    return gw_fail (error, GW_CAUSE_NOT_CONVERGED,
                    "not done after %" G_GINT64_FORMAT " s: the guest writes %s/s to its disks, %s/s are "
                    "copied, and %s are left%s%s%s", after_s, written, copied, left_text,
                    job->disk_limit_bps > 0 ? ", though each may be written to with only "
                                            : "; allow it less with --throttle-disks, or take a faster link",
                    job->disk_limit_bps > 0 ? limit : "", job->disk_limit_bps > 0 ? "/s" : "");
}

/* The source's own disks may be what hangs. */
static gboolean
fail_stalled (GwJob *job, GError **error)
{
    gint64 total, left, rate;
    gw_job_sum_disks (job, &total, &left, &rate);
    return gw_fail (error, GW_CAUSE_DISK_SYNC,
                    "nothing of the disks is copied any more, with %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
                    " bytes left and the link up: a disk of the source or its copy hangs", left, total);
}

gboolean
gw_job_fail_slow_disks (GwJob *job, GError **error)
{
    gint64 total, left, rate;
    gw_job_sum_disks (job, &total, &left, &rate);
    g_autofree char *left_text = gw_text_bytes ((guint64) left);
    g_autofree char *rate_text = gw_text_bytes ((guint64) rate);
    return gw_fail (error, GW_CAUSE_NOT_CONVERGED,
                    "not done within %" G_GINT64_FORMAT
                    " s: %s of the disks are not copied, at %s/s they need %" G_GINT64_FORMAT " s more",
                    job->plan->timeout_s, left_text, rate_text, rate > 0 ? left / rate : -1);
}

/* Who gives a --timeout has said how long to hope. */
gboolean
gw_job_keep_disks_in_pace (GwJob *job, GError **error)
{
    gboolean is_done;
    GwDiskSample sample = look (job);
    gw_disk_pace_add (&job->disk_pace, &sample);
    switch (gw_disk_pace_judge (&job->disk_pace)) {
    case GW_DISK_PACE_HOPELESS:
        return hold_back (job, &is_done, error) &&
               (is_done || job->plan->timeout_s > 0 || fail_hopeless (job, error));
    case GW_DISK_PACE_STALLED:
        return fail_stalled (job, error);
    case GW_DISK_PACE_GOOD:
    default:
        return TRUE;
    }
}
