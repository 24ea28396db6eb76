/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job-internal.h"

static const char *const phases[] = {
#define X(id, name, phase, undo) phase,
#include "steps.def"
#undef X
};

/* Time to send what is left while the guest goes on dirtying. */
static gint64
estimate_eta_ms (const GwMigration *m)
{
    gint64 net = m->rate_bps - m->dirty_bps;
    if (m->rate_bps <= 0 || net <= 0)
        return -1;
    return (gint64) ((double) m->remaining_bytes / (double) net * 1000.0);
}

static gint64
estimate_downtime_ms (const GwMigration *m)
{
    if (m->rate_bps <= 0)
        return -1;
    return (gint64) ((double) m->remaining_bytes / (double) m->rate_bps * 1000.0);
}

static void
add_migration (GwProgress *progress, const GwMigration *m)
{
    progress->total_bytes = m->total_bytes;
    progress->remaining_bytes = m->remaining_bytes;
    progress->transferred_bytes = m->transferred_bytes;
    progress->rate_bps = m->rate_bps;
    progress->dirty_bps = m->dirty_bps;
    progress->rounds = m->rounds;
    progress->eta_ms = estimate_eta_ms (m);
    progress->downtime_ms = estimate_downtime_ms (m);
    if (m->total_bytes > 0)
        progress->percent = CLAMP (100 - m->remaining_bytes * 100 / m->total_bytes, 0, 100);
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
        add_migration (progress, job->migration);
    gw_job_add_disk_progress (job, progress);
    progress->note = is_done ? NULL : gw_job_describe_outage (job, progress->at_us);
    if (progress->note == NULL && !is_done)
        progress->note = gw_job_describe_disks (job);
    if (job->progress_fn != NULL)
        job->progress_fn (job, progress, job->progress_data);
    g_mutex_lock (&job->lock);
    GwProgress *old = job->progress;
    job->progress = progress;
    g_mutex_unlock (&job->lock);
    gw_progress_free (old);
}
