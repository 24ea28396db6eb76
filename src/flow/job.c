/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The job and its runner. */
#include "job-internal.h"

#include <string.h>

static const GwState states[] = {
    [GW_JOB_PLANNED] = { "planned", 1u << GW_JOB_RUNNING, GW_STATE_INITIAL },
    [GW_JOB_RUNNING] = { "running",
                         1u << GW_JOB_RELEASED | 1u << GW_JOB_UNDOING | 1u << GW_JOB_STAYED, 0 },
    [GW_JOB_RELEASED] = { "released",
                          1u << GW_JOB_MOVED | 1u << GW_JOB_STARTED | 1u << GW_JOB_UNDOING |
                              1u << GW_JOB_UNDECIDED,
                          0 },
    [GW_JOB_STARTED] = { "started",
                         1u << GW_JOB_MOVED | 1u << GW_JOB_LOST | 1u << GW_JOB_UNDECIDED, 0 },
    [GW_JOB_UNDOING] = { "undoing", 1u << GW_JOB_STAYED, 0 },
    [GW_JOB_MOVED] = { "moved", 0, GW_STATE_FINAL },
    [GW_JOB_STAYED] = { "stayed", 0, GW_STATE_FINAL | GW_STATE_FAILURE },
    [GW_JOB_UNDECIDED] = { "undecided", 0, GW_STATE_FINAL | GW_STATE_FAILURE },
    [GW_JOB_LOST] = { "lost", 0, GW_STATE_FINAL | GW_STATE_FAILURE },
};
static const GwMachineTable table = { "job", states, G_N_ELEMENTS (states) };

static void
undo_none (GwJob *job)
{
}

#define gw_undo_none undo_none
static const struct {
    const char *name;
    gboolean (*run) (GwJob *job, GwSide *blame, GError **error);
    void (*undo) (GwJob *job);
} steps[] = {
#define X(id, name, phase, undo, away) { name, gw_step_##id, gw_undo_##undo },
#include "steps.def"
#undef X
};
G_STATIC_ASSERT (G_N_ELEMENTS (steps) == GW_N_STEPS);

/* --- making and freeing -------------------------------------------------------------------------------- */

GwJob *
gw_job_new (const GwPlan *plan, const GwHostConfig *config)
{
    GwJob *job = g_new0 (GwJob, 1);
    g_autoptr (JsonObject) copy = gw_struct_to_json (&gw_plan_type, plan);
    job->refs = 1;
    job->id = g_strdup_printf ("gw-%08x", g_random_int ());
    job->plan = gw_struct_from_json (&gw_plan_type, copy, NULL);
    g_assert (job->plan != NULL);
    job->config = gw_host_config_copy (config);
    job->cancellable = g_cancellable_new ();
    job->timeline = gw_timeline_new ();
    job->blocktime_ms = -1;
    job->outages = g_array_new (FALSE, FALSE, sizeof (GwOutage));
    job->warnings = g_ptr_array_new_with_free_func (g_free);
    job->source = (GwJobSide) { .job = job, .side = GW_SIDE_SOURCE };
    job->destination = (GwJobSide) { .job = job, .side = GW_SIDE_DESTINATION };
    g_mutex_init (&job->lock);
    gw_machine_init (&job->machine, &table, NULL, NULL);
    return job;
}

GwJob *
gw_job_ref (GwJob *job)
{
    g_atomic_int_inc (&job->refs);
    return job;
}

static void
free_facts (GwJob *job)
{
    gw_vm_free (job->vm);
    gw_derived_free (job->derived);
    gw_host_facts_free (job->source_facts);
    gw_host_facts_free (job->destination_facts);
    gw_migration_free (job->migration);
    gw_disk_plans_free (job->disks);
    gw_mirrors_free (job->mirrors);
    gw_job_proof_free (job->proof);
    g_clear_pointer (&job->checks, g_ptr_array_unref);
    g_clear_pointer (&job->signs, g_ptr_array_unref);
    g_clear_pointer (&job->rehearsal, json_object_unref);
    g_clear_pointer (&job->probe, json_object_unref);
    g_clear_pointer (&job->prediction, json_object_unref);
    g_array_unref (job->outages);
    g_clear_pointer (&job->link, json_object_unref);
    g_clear_pointer (&job->page_waits, json_object_unref);
    g_ptr_array_unref (job->warnings);
    g_strfreev (job->link_addresses);
    g_free (job->source_status);
    g_free (job->destination_status);
    g_free (job->recovery);
    g_free (job->token);
    g_free (job->away_why);
    g_free (job->lost_courier.text);
    g_free (job->arrived_state);
    g_clear_pointer (&job->old_checks, json_array_unref);
    g_free (job->final_state);
    g_free (job->guest_clock.why);
    g_free (job->trial_trouble.text);
}

void
gw_job_unref (GwJob *job)
{
    if (job == NULL || !g_atomic_int_dec_and_test (&job->refs))
        return;
    free_facts (job);
    gw_plan_free (job->plan);
    gw_host_config_free (job->config);
    gw_progress_free (job->progress);
    g_clear_pointer (&job->report, json_object_unref);
    gw_timeline_free (job->timeline);
    g_object_unref (job->cancellable);
    g_mutex_clear (&job->lock);
    g_free (job->id);
    g_free (job);
}

const char *
gw_job_get_id (const GwJob *job)
{
    return job->id;
}

const char *
gw_job_get_vm (const GwJob *job)
{
    return job->plan->vm;
}

void
gw_job_set_progress_fn (GwJob *job, GwJobProgressFn fn, gpointer user_data)
{
    job->progress_fn = fn;
    job->progress_data = user_data;
}

/* --- from other threads ----------------------------------------------------------------------------------- */

gboolean
gw_job_abort (GwJob *job)
{
    g_mutex_lock (&job->lock);
    gboolean can = !job->is_past_turn;
    if (can)
        g_cancellable_cancel (job->cancellable);
    g_mutex_unlock (&job->lock);
    return can;
}

gboolean
gw_job_ask_postcopy (GwJob *job, char **ret_why)
{
    g_mutex_lock (&job->lock);
    gboolean can = job->has_postcopy && !job->is_past_turn;
    const char *phase = job->progress != NULL ? job->progress->phase : "queued";
    *ret_why = can ? NULL
                   : g_strdup_printf ("it is at '%s', and goes over to postcopy only while memory is "
                                      "copied, where both QEMUs can and --postcopy is not never",
                                      phase);
    if (can)
        g_atomic_int_set (&job->wants_postcopy, 1);
    g_mutex_unlock (&job->lock);
    return can;
}

char *
gw_job_explain_no_abort (GwJob *job)
{
    g_mutex_lock (&job->lock);
    const char *phase = job->progress != NULL ? job->progress->phase : "";
    gboolean is_postcopy = strcmp (phase, gw_job_phase_of (GW_STEP_postcopy)) == 0;
    g_mutex_unlock (&job->lock);
    return g_strdup (is_postcopy
                         ? "the guest runs at the destination already and fetches the rest of its "
                           "memory from the source: ending that now would lose it"
                         : "the switchover is under way or over");
}

GwProgress *
gw_job_get_progress (GwJob *job)
{
    g_mutex_lock (&job->lock);
    g_autoptr (JsonObject) copy =
        job->progress != NULL ? gw_struct_to_json (&gw_progress_type, job->progress)
                              : gw_json_new ("job:s", job->id, "phase:s", "queued", NULL);
    g_mutex_unlock (&job->lock);
    return gw_struct_from_json (&gw_progress_type, copy, NULL);
}

JsonObject *
gw_job_get_report (GwJob *job)
{
    g_mutex_lock (&job->lock);
    JsonObject *report = job->report != NULL ? json_object_ref (job->report) : NULL;
    g_mutex_unlock (&job->lock);
    return report;
}

/* --- the runner ---------------------------------------------------------------------------------------------- */

static gboolean
run_steps (GwJob *job, GwStep from, GwStep to, GwSide *blame, GError **error)
{
    for (guint i = from; i <= to; i++) {
        job->step = (GwStep) i;
        gw_job_note (job, GW_SIDE_NONE, "step", "%s", steps[i].name);
        *blame = GW_SIDE_SOURCE;
        if (!gw_job_mark_step (job, steps[i].name, error))
            return FALSE;
        gw_job_keep (job, (GwStep) i);
        gw_job_write_draft (job);
        gw_job_report_progress (job, FALSE); /* what may be asked of the step may be from now on */
        if (!steps[i].run (job, blame, error))
            return FALSE;
    }
    return TRUE;
}

/* Everything that was entered is taken back, the last first. */
static void
undo (GwJob *job)
{
    gw_machine_move (&job->machine, GW_JOB_UNDOING);
    g_clear_pointer (&job->start, gw_host_pending_free);
    for (guint i = job->step + 1; i > 0; i--) {
        if (steps[i - 1].undo == undo_none)
            continue;
        gw_job_note (job, GW_SIDE_NONE, "undo", "%s", steps[i - 1].name);
        g_autofree char *mark = g_strconcat ("undo ", steps[i - 1].name, NULL);
        (void) gw_job_mark_step (job, mark, NULL); /* it only warns: what was done must be undone */
        steps[i - 1].undo (job);
    }
    gw_machine_move (&job->machine, GW_JOB_STAYED);
}

/* Not all of the guest's memory may be there yet, and until it is, both QEMUs are needed. */
static void
finish_postcopy (GwJob *job)
{
    GwSide blame = GW_SIDE_DESTINATION;
    g_autoptr (GError) error = NULL;
    gw_machine_move (&job->machine, GW_JOB_STARTED);
    gw_job_look_for_loss (job);
    if (run_steps (job, GW_STEP_postcopy, GW_STEP_postcopy, &blame, &error)) {
        gw_machine_move (&job->machine, GW_JOB_MOVED);
        return;
    }
    if (job->has_left)
        return;
    gw_job_tell_away (job, "");
    gw_job_find_verdict (job, blame, error);
    gboolean is_lost = job->verdict->cause == GW_CAUSE_GUEST_LOST ||
                       job->verdict->cause == GW_CAUSE_GUEST_POWEROFF;
    gw_machine_move (&job->machine, is_lost ? GW_JOB_LOST : GW_JOB_UNDECIDED);
    gw_job_warn (job, "the QEMU of the %s is left as it is, and waits for the other one; it can only be "
                 "ended", job->verdict->side == GW_SIDE_SOURCE ? "destination" : "source");
    if (is_lost)
        gw_undo_close_jobs (job);
}

/* The destination has STARTED. */
static void
finish (GwJob *job)
{
    GwSide blame = GW_SIDE_NONE;
    if (job->in_postcopy)
        finish_postcopy (job);
    else
        gw_machine_move (&job->machine, GW_JOB_MOVED);
    if (job->machine.state == GW_JOB_MOVED)
        (void) run_steps (job, GW_STEP_verify, GW_STEP_cleanup, &blame, NULL); /* they only warn */
}

/* RELEASED is written: the destination's record decides. */
static void
settle (GwJob *job)
{
    GwRecordKind kind = GW_RECORD_NONE;
    g_autoptr (GError) error = NULL;
    if (!gw_job_settle (job, &kind, &error)) {
        gw_job_warn (job, "the destination does not answer: %s", error->message);
        gw_machine_move (&job->machine, GW_JOB_UNDECIDED);
        return;
    }
    if (kind == GW_RECORD_REFUSED) {
        undo (job);
        return;
    }
    gw_job_warn (job, "the destination started the VM, but its answer was lost: %s",
                 job->verdict->text);
    finish (job);
}

static void
conclude_failure (GwJob *job, GwSide blame, const GError *error)
{
    gw_job_stop_health (job);
    gw_job_tell_away (job, "");
    gw_job_find_verdict (job, blame, error);
    if (job->machine.state == GW_JOB_RELEASED)
        settle (job);
    else
        undo (job);
}

static gboolean
go_on (GwJob *job, GwSide *blame, GError **error)
{
    if (!job->in_postcopy)
        return run_steps (job, GW_STEP_precopy, GW_STEP_handover, blame, error);
    *blame = GW_SIDE_DESTINATION;
    return gw_job_await_start (job, error);
}

/* What cannot be taken up is somebody else's by now.  A job that was released is settled by the records. */
static void
leave_alone (GwJob *job)
{
    if (job->in_postcopy && job->machine.state == GW_JOB_RUNNING)
        gw_machine_move (&job->machine, GW_JOB_RELEASED);
    gw_machine_move (&job->machine, job->in_postcopy ? GW_JOB_UNDECIDED : GW_JOB_STAYED);
}

/* From the memory on. */
static void
work_on (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    GwSide blame = GW_SIDE_SOURCE;
    if (!gw_job_take_up (job, &error)) {
        g_autoptr (GError) lost = NULL;
        (void) gw_fail (&lost, GW_CAUSE_AGENT_LOST, "the source's agent ended, and the next one cannot go on: %s",
                        error->message);
        gw_job_find_verdict (job, blame, lost);
        leave_alone (job);
    } else if (go_on (job, &blame, &error))
        finish (job);
    else if (!job->has_left)
        conclude_failure (job, blame, error);
}

static void
work (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    GwSide blame = GW_SIDE_NONE;
    GwStep last = job->plan->is_check_only ? GW_STEP_probe : GW_STEP_handover;
    if (!gw_job_open_journal (job, &error))
        conclude_failure (job, GW_SIDE_SOURCE, error);
    else if (!run_steps (job, GW_STEP_connect, last, &blame, &error)) {
        if (!job->has_left)
            conclude_failure (job, blame, error);
    } else if (job->plan->is_check_only)
        undo (job);
    else
        finish (job);
}

static void
publish_report (GwJob *job)
{
    job->ended_us = g_get_real_time ();
    JsonObject *report = gw_job_make_report (job);
    gw_job_close_journal (job, gw_job_result_name (job), report);
    g_mutex_lock (&job->lock);
    job->report = report;
    job->is_past_turn = TRUE; /* nothing is left to abort */
    g_mutex_unlock (&job->lock);
}

void
gw_job_run (GwJob *job)
{
    job->context = g_main_context_new ();
    if (!job->is_taken_up)
        job->started_us = g_get_real_time ();
    g_main_context_push_thread_default (job->context);
    gw_machine_move (&job->machine, GW_JOB_RUNNING);
    if (job->is_taken_up)
        work_on (job);
    else
        work (job);
    gw_job_stop_health (job);
    g_clear_pointer (&job->start, gw_host_pending_free);
    g_clear_pointer (&job->source.host, gw_host_free);
    g_clear_pointer (&job->destination.host, gw_host_free);
    if (!job->has_left) {
        publish_report (job);
        gw_job_report_progress (job, TRUE);
    }
    g_clear_pointer (&job->journal, gw_journal_close);
    g_main_context_pop_thread_default (job->context);
    g_clear_pointer (&job->context, g_main_context_unref);
}
