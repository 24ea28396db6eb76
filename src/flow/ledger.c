/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The job in the journal of the host that coordinates it.  A check is not written, as it changes nothing; but
 * it says when the journal would not do.
 *
 * Before RELEASED a step that cannot be written is not entered, and the job ends with the guest where it is.
 * Afterwards the records decide, and a mark that is missing is worth a warning.
 */
#include "job-internal.h"

gboolean
gw_job_open_journal (GwJob *job, GError **error)
{
    if (job->plan->is_check_only && !gw_journal_exists (job->config->state_dir))
        return TRUE;
    g_autoptr (GwJournal) journal = gw_journal_open (job->config->state_dir, GW_JOURNAL_CHECKED, error);
    if (journal == NULL || job->plan->is_check_only)
        return journal != NULL;
    g_autoptr (JsonObject) plan = gw_struct_to_json (&gw_plan_type, job->plan);
    GwJournalJob row = { .job = job->id, .side = GW_SIDE_SOURCE, .vm = job->plan->vm, .uuid = "",
                         .peer = job->plan->destination, .plan = plan };
    gw_host_sign_job (&row);
    if (!gw_journal_begin_job (journal, &row, gw_host_process_is_alive, error))
        return FALSE;
    job->journal = g_steal_pointer (&journal);
    return TRUE;
}

gboolean
gw_job_name_in_journal (GwJob *job, const char *label, gint64 epoch, GError **error)
{
    GwJournalJob row = { .job = job->id, .side = GW_SIDE_SOURCE, .vm = label, .uuid = job->vm->uuid,
                         .epoch = epoch };
    /* what whoever finds it interrupted has to bring back (src/host/mend.c) */
    const GwJournalObject qemu = { .kind = job->vm->is_running ? "running" : "paused",
                                   .path = job->vm->qmp_path, .pid = job->vm->pid,
                                   .start_time = job->vm->start_time };
    gw_host_sign_job (&row);
    return job->journal == NULL ||
           (gw_journal_name_job (job->journal, &row, gw_host_process_is_alive, error) &&
            gw_journal_put_objects (job->journal, job->id, GW_SIDE_SOURCE, &qemu, 1, error));
}

gboolean
gw_job_mark_step (GwJob *job, const char *step, GError **error)
{
    g_autoptr (GError) failure = NULL;
    if (job->journal == NULL ||
        gw_journal_enter_step (job->journal, job->id, GW_SIDE_SOURCE, step, &failure))
        return TRUE;
    if (job->machine.state == GW_JOB_RUNNING) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return FALSE;
    }
    gw_job_warn (job, "step '%s': %s", step, failure->message);
    return TRUE;
}

gboolean
gw_job_goes_on (const GwJob *job)
{
    return job->machine.state == GW_JOB_UNDECIDED && job->in_postcopy && job->source_is_bound;
}

void
gw_job_close_journal (GwJob *job, const char *result, JsonObject *report)
{
    g_autoptr (GError) error = NULL;
    if (job->journal == NULL)
        return;
    if (gw_job_goes_on (job)) { /* with the next agent, or the next attempt of this one */
        g_clear_pointer (&job->journal, gw_journal_close);
        return;
    }
    /* whoever settles what is undecided has to find the QEMU again */
    gboolean is_over = job->machine.state != GW_JOB_UNDECIDED;
    if (!gw_journal_end_job (job->journal, job->id, GW_SIDE_SOURCE, result, report, &error) ||
        (is_over && !gw_journal_drop_objects (job->journal, job->id, GW_SIDE_SOURCE, &error)))
        g_warning ("cannot keep the report of job %s: %s; ignoring", job->id, error->message);
    gw_journal_tidy (job->journal);
    g_clear_pointer (&job->journal, gw_journal_close);
}
