/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recovery of postcopy.
 *
 * Both QEMUs wait in postcopy-paused, or one does not know yet that its connection is gone.  An attempt
 * ends both couriers, which closes whatever socket is still open, makes a new pair with a new secret, has
 * the destination's QEMU listen and the source's resume, and waits until both are back.  It may fail at any
 * point, also because a courier or a socket ends meanwhile; the next one begins from the start.  There
 * is no limit to the number: the guest's memory is on both hosts, and there is nothing better to do.
 */
#include "job-internal.h"

#include <string.h>

#define RESUME_MS 15000
#define PAUSE_FIRST_MS 250
#define PAUSE_MAX_MS 5000

static gboolean
is (const char *status, const char *name)
{
    return g_strcmp0 (status, name) == 0;
}

gboolean
gw_job_needs_recovery (const GwJob *job)
{
    if (!job->in_postcopy || is (job->destination_status, "completed"))
        return FALSE;
    return job->needs_link || is (job->source_status, "postcopy-paused") ||
           is (job->destination_status, "postcopy-paused");
}

/* The sockets of an attempt have it in their names. */
static gint64
number (const GwJob *job)
{
    return job->first_attempt + job->n_attempts;
}

static void
say (GwJob *job, const char *what)
{
    g_free (job->recovery);
    job->recovery = g_strdup_printf (
        "source %s, destination %s: %s, attempt %" G_GINT64_FORMAT "; the guest waits for pages",
        job->source_status, job->destination_status, what, job->n_attempts);
    gw_job_note (job, GW_SIDE_LINK, "recovering", "%s", job->recovery);
    gw_job_report_progress (job, FALSE);
}

/* The counters of a courier end with it. */
static void
stop_couriers (GwJob *job)
{
    GwJobSide *const sides[] = { &job->source, &job->destination };
    gw_job_read_counters (job);
    job->link_is_up = FALSE;
    for (guint i = 0; i < G_N_ELEMENTS (sides); i++) {
        g_autoptr (GError) error = NULL;
        if (!gw_host_stop_courier (sides[i]->host, NULL, &error))
            gw_job_note (job, sides[i]->side, "no-stop", "%s", error->message);
    }
    job->outage_us = 0;
    job->n_paths = 0;
    job->needs_link = FALSE;
}

static gboolean
has_settled (gpointer user_data)
{
    const GwJob *job = user_data;
    gboolean is_back = is (job->source_status, "postcopy-active") &&
                       is (job->destination_status, "postcopy-active");
    gboolean has_failed = job->needs_link || (!job->is_resuming &&
                                              is (job->source_status, "postcopy-paused") &&
                                              is (job->destination_status, "postcopy-paused"));
    return is_back || has_failed || gw_job_has_fault (job) ||
           is (job->destination_status, "completed") || is (job->source_status, "completed");
}

static gboolean
await_resume (GwJob *job, GError **error)
{
    (void) gw_wait_until (job->context, has_settled, job, gw_deadline_ms (RESUME_MS), NULL, NULL);
    if (is (job->destination_status, "completed") || is (job->source_status, "completed"))
        return TRUE;
    if (!gw_job_needs_recovery (job) && is (job->source_status, "postcopy-active"))
        return TRUE;
    return gw_fail (error, GW_CAUSE_MIGRATION_FAILED,
                    "the source's QEMU is '%s', the destination's '%s'", job->source_status,
                    job->destination_status);
}

/* QEMU answers before its events tell that it has left postcopy-paused: that status must not be taken for
 * the one that the resume leads to. */
static gboolean
resume (GwJob *job, GError **error)
{
    if (!gw_host_recover (job->destination.host, number (job), NULL, error)) {
        g_prefix_error (error, "the destination: ");
        return FALSE;
    }
    job->is_resuming = TRUE;
    if (!gw_host_recover (job->source.host, number (job), NULL, error)) {
        g_prefix_error (error, "the source: ");
        return FALSE;
    }
    return await_resume (job, error);
}

static gboolean
attempt (GwJob *job, GError **error)
{
    GwSide blame;
    if (is (job->source_status, "failed") || is (job->source_status, "cancelled"))
        return gw_fail (error, GW_CAUSE_MIGRATION_FAILED, "the source's QEMU has given up: '%s'",
                        job->source_status);
    say (job, "making a new link");
    stop_couriers (job);
    if (!gw_job_start_couriers (job, number (job), NULL, &blame, error))
        return FALSE;
    say (job, "resuming");
    return resume (job, error);
}

gboolean
gw_job_try_recovery (GwJob *job, GError **error)
{
    guint in_a_row = (guint) MIN (job->n_failed, 10);
    if (in_a_row > 0)
        (void) gw_wait_ms (job->context, MIN (PAUSE_FIRST_MS << (in_a_row - 1), PAUSE_MAX_MS), NULL,
                           NULL);
    if (gw_job_has_fault (job) || is (job->destination_status, "completed"))
        return TRUE;
    job->n_attempts++;
    gboolean ok = attempt (job, error);
    job->needs_link = job->needs_link || (!ok && !job->link_is_up);
    job->n_failed = ok ? 0 : job->n_failed + 1;
    job->n_recoveries += ok;
    if (ok)
        job->lost_courier.at_us = 0;
    g_clear_pointer (&job->recovery, g_free);
    if (ok)
        gw_job_note (job, GW_SIDE_LINK, "recovered", "after %" G_GINT64_FORMAT " attempts in all",
                     job->n_attempts);
    return ok;
}
