/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job-internal.h"

static const char *const phases[] = {
#define X(id, name, phase, undo, away) phase,
#include "steps.def"
#undef X
};

const char *
gw_job_phase_of (GwStep step)
{
    return phases[step];
}

/* Time to send what is left while the guest goes on dirtying. */
static gint64
estimate_eta_ms (const GwMigration *m)
{
    gint64 net = m->rate_bps - m->dirty_bps;
    if (m->rate_bps <= 0 || net <= 0)
        return -1;
    return (gint64) ((double) m->remaining_bytes / (double) net * 1000.0);
}

static void
add_migration (GwProgress *progress, const GwJob *job)
{
    const GwMigration *m = job->migration;
    progress->total_bytes = m->total_bytes;
    progress->remaining_bytes = m->remaining_bytes;
    progress->transferred_bytes = m->transferred_bytes;
    progress->rate_bps = m->rate_bps;
    progress->dirty_bps = m->dirty_bps;
    progress->rounds = m->rounds;
    progress->eta_ms = estimate_eta_ms (m);
    progress->downtime_ms = job->in_postcopy ? -1 : job->estimate.downtime_ms;
    if (m->total_bytes > 0)
        progress->percent = CLAMP (100 - m->remaining_bytes * 100 / m->total_bytes, 0, 100);
}

static char *
describe (const GwJob *job, gint64 now_us)
{
    if (job->recovery != NULL)
        return g_strdup (job->recovery);
    if (gw_job_is_away (job))
        return g_strdup_printf ("the destination's agent is away, memory is %s on",
                                job->in_postcopy ? "fetched" : "copied");
    char *outage = gw_job_describe_outage (job, now_us);
    return outage != NULL ? outage : gw_job_describe_disks (job);
}

void
gw_job_report_progress (GwJob *job, gboolean is_done)
{
    GwProgress *progress = gw_struct_new (&gw_progress_type);
    progress->job = g_strdup (job->id);
    progress->vm = job->vm != NULL ? gw_vm_get_label (job->vm) : g_strdup (job->plan->vm);
    progress->phase = g_strdup (is_done ? "done" : phases[job->step]);
    progress->at_us = g_get_real_time ();
    progress->elapsed_ms = (progress->at_us - job->started_us) / 1000;
    progress->percent = progress->eta_ms = progress->downtime_ms = -1;
    progress->is_done = is_done;
    if (job->migration != NULL)
        add_migration (progress, job);
    gw_job_add_disk_progress (job, progress);
    if (!is_done)
        progress->note = describe (job, progress->at_us);
    if (job->progress_fn != NULL)
        job->progress_fn (job, progress, job->progress_data);
    g_mutex_lock (&job->lock);
    GwProgress *old = job->progress;
    job->progress = progress;
    g_mutex_unlock (&job->lock);
    gw_progress_free (old);
}
