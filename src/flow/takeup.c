/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The coordinator is started again: the source's agent, in a step that waits (away.c).
 *
 * It keeps its own side like the destination's: its courier has a lease, and its row of the journal a time of grace,
 * which ends with the step.  An agent that is told to end leaves such a job as it is; one that was killed cannot do
 * otherwise.  The next one finds the row, and with it plan and secret; QEMU, courier and what QEMU was set to are found
 * by the host (src/host/keep.c), and the destination is one whose agent is away.  What has happened before is in
 * the journal up to a few seconds before the end (draft.c); the rate of the link is measured anew.
 *
 * In postcopy it is the same with any job that was RELEASED here and whose QEMU is in postcopy, also one that a command
 * began: the destination is asked to start, which tells that it has, and then its memory is fetched to the end.
 */
#include "job-internal.h"

#include <string.h>

/* --- finding ----------------------------------------------------------------------------------------------- */

static GwJob *
new_from_row (const GwHostConfig *config, GwJournal *journal, JsonObject *row, gboolean in_postcopy, GError **error)
{
    const char *id = gw_json_peek_string (row, "job", "");
    g_autoptr (JsonObject) kept = gw_journal_get_kept (journal, id, error);
    JsonObject *text = kept != NULL ? gw_json_peek_object (kept, "plan") : NULL;
    g_autoptr (GwPlan) plan = text != NULL ? gw_struct_from_json (&gw_plan_type, text, error) : NULL;
    if (plan == NULL)
        return NULL;
    GwJob *job = gw_job_new (plan, config);
    g_free (job->id);
    job->id = g_strdup (id);
    job->token = g_strdup (gw_json_peek_string (kept, "token", ""));
    job->epoch = gw_json_peek_int (row, "epoch", 0);
    job->started_us = gw_json_peek_int (row, "began_us", 0);
    job->grace_s = gw_json_peek_int (row, "grace_s", 0);
    JsonObject *draft = gw_json_peek_object (kept, "draft");
    if (draft != NULL)
        gw_job_take_draft (job, draft);
    job->is_taken_up = TRUE;
    job->in_postcopy = in_postcopy;
    return job;
}

static gboolean
is_waiting (JsonObject *row)
{
    return strcmp (gw_json_peek_string (row, "side", ""), gw_side_name (GW_SIDE_SOURCE)) == 0 &&
           gw_json_peek_int (row, "grace_s", 0) > 0 && !gw_host_job_is_worked_on (row);
}

static GwJob *
find (const GwHostConfig *config, GwJournal *journal, JsonObject *row, GError **error)
{
    gboolean in_postcopy = gw_host_job_is_bound (config, journal, row);
    return in_postcopy || is_waiting (row) ? new_from_row (config, journal, row, in_postcopy, error) : NULL;
}

gboolean
gw_job_fetches (const GwJob *job)
{
    return job->is_taken_up && job->in_postcopy;
}

GPtrArray *
gw_job_find_waiting (const GwHostConfig *config, GError **error)
{
    g_autoptr (GwJournal) journal = gw_journal_open (config->state_dir, GW_JOURNAL_QUICK, error);
    g_autoptr (JsonArray) rows = journal != NULL ? gw_journal_list_open_jobs (journal, error) : NULL;
    g_autoptr (GPtrArray) jobs = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_job_unref);
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        g_autoptr (GError) failure = NULL;
        GwJob *job = find (config, journal, row, &failure);
        if (job != NULL)
            g_ptr_array_add (jobs, job);
        else if (failure != NULL)
            g_warning ("job %s does not go on: %s", gw_json_peek_string (row, "job", ""), failure->message);
    }
    return rows != NULL ? g_steal_pointer (&jobs) : NULL;
}

/* --- taking up ------------------------------------------------------------------------------------------------ */

static gboolean
has_capability (const GwVm *vm, const char *name)
{
    return vm->capabilities != NULL && g_strv_contains ((const char *const *) vm->capabilities, name);
}

#define ATTEMPT_MS 100 /* an attempt to recover takes longer */

static void
set_the_scene_in_postcopy (GwJob *job)
{
    gw_machine_move (&job->machine, GW_JOB_RELEASED);
    g_mutex_lock (&job->lock);
    job->is_past_turn = TRUE;
    g_mutex_unlock (&job->lock);
    job->step = GW_STEP_handover;
    job->is_postcopy_asked = job->is_bound = job->source_is_bound = job->is_kept = TRUE;
    job->postcopy_us = job->postcopy_us != 0 ? job->postcopy_us : g_get_real_time ();
    job->first_attempt = g_get_monotonic_time () / (1000 * ATTEMPT_MS); /* a wall clock may be set back */
    gw_job_let_leave (job, TRUE);
}

/* What the steps before would have left. */
static void
set_the_scene (GwJob *job, const GwHostResumed *resumed)
{
    job->step = GW_STEP_precopy;
    job->setup_us = job->setup_us != 0 ? job->setup_us : g_get_real_time ();
    job->source_status = g_strdup (resumed->migration != NULL ? resumed->migration : "none");
    job->needs_link = !resumed->has_courier;
    job->disks = gw_struct_new (&gw_disk_plans_type); /* a job that copies some does not wait */
    job->postcopy.is_on = has_capability (job->vm, "postcopy-ram");
    job->postcopy.has_preempt = has_capability (job->vm, "postcopy-preempt");
    job->is_bound = job->postcopy.is_on; /* the destination was asked for it */
    job->link_is_up = resumed->has_courier;
    if (job->in_postcopy)
        set_the_scene_in_postcopy (job);
    gw_job_note_away (job, GW_SIDE_SOURCE, "the agent of the source was started again");
}

gboolean
gw_job_take_up (GwJob *job, GError **error)
{
    g_autoptr (GwJournal) journal = gw_journal_open (job->config->state_dir, GW_JOURNAL_QUICK, error);
    g_auto (GwHostResumed) resumed = { 0 };
    if (journal == NULL)
        return FALSE;
    job->source.host = gw_host_new_local (job->config, job->context);
    gw_job_watch (&job->source);
    job->vm = gw_host_resume_source (job->source.host, job->id, job->token, &resumed, job->cancellable, error);
    if (job->vm == NULL)
        return FALSE;
    job->journal = g_steal_pointer (&journal);
    set_the_scene (job, &resumed);
    gw_job_note (job, GW_SIDE_SOURCE, "taken-up", "by the agent that was started again; QEMU is '%s'",
                 job->source_status);
    return TRUE;
}

/* --- leaving ------------------------------------------------------------------------------------------------------ */

void
gw_job_let_leave (GwJob *job, gboolean may)
{
    g_mutex_lock (&job->lock);
    job->may_leave = may && (job->in_postcopy ? job->source_is_bound && job->is_bound
                                              : job->source_grace_s > 0 && job->grace_s > 0);
    g_mutex_unlock (&job->lock);
}

gboolean
gw_job_leave (GwJob *job)
{
    g_mutex_lock (&job->lock);
    gboolean may = job->may_leave;
    if (may)
        g_atomic_int_set (&job->wants_leave, 1);
    g_mutex_unlock (&job->lock);
    return may;
}

gboolean
gw_job_has_left (GwJob *job, GError **error)
{
    /* with the guest stopped the end of the step is near, and waited for */
    if (!g_atomic_int_get (&job->wants_leave) || (job->is_stopping && !job->in_postcopy))
        return FALSE;
    job->has_left = TRUE;
    gw_job_write_draft (job);
    gw_host_set_leaving (job->source.host);
    return !gw_fail (error, GW_CAUSE_ABORTED, "the job waits for the next agent");
}
