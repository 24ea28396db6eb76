/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The destination's right to start: the state is loaded, the record is written, the guest runs. */
#include "host-internal.h"

#include <string.h>

#define RECORD_MS 30000
#define ASK_MS 2     /* between two looks at a QEMU that loads in postcopy */
#define RUN_MS 10000 /* for `cont` in postcopy, which may wait for pages */
#define END_MS 2000  /* for a QEMU that closed its monitor to have ended */

static gboolean
need_job (LocalHost *local, GError **error)
{
    if (local->job_dir == NULL || local->side != GW_SIDE_DESTINATION)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "no job is open here as destination");
    return TRUE;
}

/* --- loading ------------------------------------------------------------------------------------------------ */

static gboolean
is_loaded_or_lost (gpointer user_data)
{
    LocalHost *local = user_data;
    return !gw_process_is_running (local->qemu) || local->loaded_us != 0 ||
           g_strcmp0 (local->migration_status, "failed") == 0;
}

/* QEMU's own words for why it could not load: its log, and from 9.1 on also error-desc. */
static gboolean
load_failed (LocalHost *local, GError **error)
{
    (void) gw_process_wait (local->qemu, 2000, NULL); /* it ends after a failed load */
    g_autofree char *how = gw_process_describe_end (local->qemu);
    return gw_fail (error,
                    gw_ending_tells_rejection (how) ? GW_CAUSE_STATE_REJECTED : GW_CAUSE_QEMU_DIED,
                    "the destination's QEMU %s", how);
}

static gboolean
wait_loaded (LocalHost *local, guint timeout_ms, GCancellable *cancellable, GError **error)
{
    if (!gw_wait_until (local->context, is_loaded_or_lost, local, gw_deadline_ms (timeout_ms),
                        cancellable, NULL))
        return gw_fail (error, GW_CAUSE_SWITCHOVER_TIMEOUT,
                        "the destination's QEMU has not loaded the state within %u ms (it is '%s')",
                        timeout_ms,
                        local->migration_status != NULL ? local->migration_status : "setup");
    if (local->loaded_us != 0 && gw_process_is_running (local->qemu))
        return TRUE;
    return load_failed (local, error);
}

/* --- loading in postcopy ------------------------------------------------------------------------------------- */

/* QEMU leaves `inmigrate` in the moment in which all devices are loaded
 * (loadvm_postcopy_handle_run_bh()); no event tells that.  While it loads it does not answer. */
static void
on_run_state (JsonNode *reply, const GError *error, gpointer user_data)
{
    LocalHost *local = user_data;
    local->is_asked = FALSE;
    if (reply == NULL || !JSON_NODE_HOLDS_OBJECT (reply))
        return;
    const char *state = gw_json_peek_string (json_node_get_object (reply), "status", "inmigrate");
    if (strcmp (state, "inmigrate") != 0 && local->loaded_us == 0)
        local->loaded_us = g_get_real_time ();
}

static gboolean
has_broken (const LocalHost *local)
{
    return g_strcmp0 (local->migration_status, "postcopy-paused") == 0;
}

static void
ask_run_state (LocalHost *local)
{
    if (local->is_asked || !gw_status_is_postcopy (local->migration_status) || local->qmp == NULL)
        return;
    local->is_asked = TRUE;
    gw_qmp_send (local->qmp, GW_QMP_QUERY_STATUS, NULL, on_run_state, local);
}

/* `*ret_loaded` FALSE: not yet, and nothing is lost. */
static gboolean
wait_loaded_in_postcopy (LocalHost *local, guint timeout_ms, gboolean *ret_loaded, GError **error)
{
    gint64 deadline = gw_deadline_ms (timeout_ms);
    while (!is_loaded_or_lost (local) && !has_broken (local) && g_get_monotonic_time () < deadline) {
        ask_run_state (local);
        (void) gw_wait_ms (local->context, ASK_MS, NULL, NULL);
    }
    *ret_loaded = local->loaded_us != 0 && gw_process_is_running (local->qemu);
    return *ret_loaded || !is_loaded_or_lost (local) || load_failed (local, error);
}

/* --- running --------------------------------------------------------------------------------------------------- */

/* The guest never ran here and never will: REFUSED, after its QEMU is gone. */
static void
refuse (LocalHost *local, GwRecord *record)
{
    g_autoptr (GError) error = NULL;
    gw_local_destroy_launched (local);
    if (gw_record_get_kind (record) != GW_RECORD_REFUSED &&
        !gw_record_append (record, GW_RECORD_REFUSED, local->epoch, local->vm_uuid, &error))
        g_warning ("job %s: cannot record REFUSED: %s", local->job, error->message);
}

static void
on_cont (JsonNode *reply, const GError *error, gpointer user_data)
{
    LocalHost *local = user_data;
    local->is_answered = TRUE;
    /* the RESUME event comes before the devices are told and the processors run (vm_start() of
     * QEMU 7.2); the answer comes after */
    if (reply != NULL)
        local->running_us = g_get_real_time ();
    else if (local->refusal == NULL)
        local->refusal = g_error_copy (error);
}

static gboolean
is_cont_settled (gpointer user_data)
{
    const LocalHost *local = user_data;
    return local->is_answered || has_broken (local) || !gw_process_is_running (local->qemu);
}

static gboolean
has_ended (gpointer user_data)
{
    return !gw_process_is_running (((const LocalHost *) user_data)->qemu);
}

/* In postcopy its answer may have to wait for pages that come when the link is back; the guest then runs,
 * or will.  Only QEMU's own no means that it never does. */
static gboolean
run_guest (LocalHost *local, gboolean in_postcopy, GError **error)
{
    g_clear_error (&local->refusal);
    local->is_answered = FALSE;
    gw_qmp_send (local->qmp, GW_QMP_CONT, NULL, on_cont, local);
    guint limit_ms = in_postcopy ? RUN_MS : gw_qmp_command_get_info (GW_QMP_CONT)->limit_ms + 1000;
    (void) gw_wait_until (local->context, is_cont_settled, local, gw_deadline_ms (limit_ms), NULL,
                          NULL);
    if (local->running_us != 0)
        return TRUE;
    if (in_postcopy && gw_error_get_cause (local->refusal) != GW_CAUSE_QMP_COMMAND)
        return TRUE;
    if (gw_error_get_cause (local->refusal) == GW_CAUSE_QMP_GONE) /* then so is QEMU: how is told by its end */
        (void) gw_wait_until (local->context, has_ended, local, gw_deadline_ms (END_MS), NULL, NULL);
    return gw_fail (error, GW_CAUSE_START_REFUSED,
                    "the destination's QEMU loaded the state but does not run it: %s",
                    local->refusal != NULL ? local->refusal->message : "it has ended");
}

/* STARTED, then `cont`.  The record stays locked until the outcome is known, so a STARTED that is
 * taken back was never seen by anyone. */
static gboolean
start_locked (LocalHost *local, GwRecord *record, JsonObject *params, gint64 *ret_started_us,
              GError **error)
{
    if (gw_record_get_kind (record) != GW_RECORD_NONE) {
        gw_local_destroy_launched (local);
        return gw_fail (error, GW_CAUSE_START_REFUSED, "job %s was %s before", local->job,
                        gw_record_kind_name (gw_record_get_kind (record)));
    }
    gboolean is_running = gw_json_peek_bool (params, "run", TRUE);
    if (!gw_record_start (record, local->epoch, local->vm_uuid, is_running, error)) {
        refuse (local, record);
        return FALSE;
    }
    *ret_started_us = g_get_real_time ();
    (void) gw_point ("started", "written");
    gw_priority_reset (gw_process_get_pid (local->qemu)); /* from here on it is a guest among others */
    if (is_running &&
        !run_guest (local, gw_json_peek_bool (params, "in_postcopy", FALSE), error)) {
        refuse (local, record);
        return FALSE;
    }
    local->is_started = TRUE;
    (void) gw_point ("started", "runs");
    return TRUE;
}

static JsonObject *
start_or_refuse (LocalHost *local, JsonObject *params, GError *failure, GError **error)
{
    gint64 started_us = 0;
    g_autoptr (GwRecord) record = gw_local_open_record (local, local->job, GW_SIDE_DESTINATION,
                                                        RECORD_MS, error);
    if (record == NULL) {
        gw_local_destroy_launched (local);
        return NULL;
    }
    if (failure != NULL) {
        refuse (local, record);
        g_propagate_error (error, g_error_copy (failure));
        return NULL;
    }
    if (!start_locked (local, record, params, &started_us, error))
        return NULL;
    return gw_json_new ("started:b", TRUE, "loaded_us:i", local->loaded_us, "started_us:i",
                        started_us, "running_us:i", local->running_us, NULL);
}

static gboolean
owes_nothing (gpointer user_data)
{
    return !((const LocalHost *) user_data)->is_owing;
}

/* By an agent before this one, whose answer was lost.  Should the guest not run yet, it is let run first: who asks does so
 * again. */
static JsonObject *
tell_started (LocalHost *local, guint timeout_ms, GCancellable *cancellable)
{
    gw_local_let_run (local);
    if (!gw_wait_until (local->context, owes_nothing, local, gw_deadline_ms (timeout_ms), cancellable, NULL))
        return gw_json_new ("started:b", FALSE, NULL);
    return gw_json_new ("started:b", TRUE, "loaded_us:i", local->loaded_us, "started_us:i", G_GINT64_CONSTANT (0),
                        "running_us:i", local->running_us, NULL);
}

JsonObject *
gw_local_start (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 timeout_ms;
    gboolean is_loaded = TRUE;
    g_autoptr (GError) failure = NULL;
    if (!need_job (local, error) || local->qemu == NULL ||
        !gw_json_get_int (params, "timeout_ms", 1, 3600000, &timeout_ms, error))
        return NULL;
    if (local->is_started && local->is_resumed)
        return tell_started (local, (guint) timeout_ms, cancellable);
    if (gw_json_peek_bool (params, "in_postcopy", FALSE)) {
        if (!local->is_bound && !gw_local_bind (local, cancellable, &failure))
            g_warning ("job %s: %s; its memory comes as long as this agent lives", local->job, failure->message);
        g_clear_error (&failure);
        (void) wait_loaded_in_postcopy (local, (guint) timeout_ms, &is_loaded, &failure);
    } else
        (void) wait_loaded (local, (guint) timeout_ms, cancellable, &failure);
    if (!is_loaded && failure == NULL)
        return gw_json_new ("started:b", FALSE, NULL);
    return start_or_refuse (local, params, failure, error);
}

/* --- the record, for whoever asks ------------------------------------------------------------------------------------ */

/* A QEMU of this job that another connection holds cannot start any more: its STARTED needs the record to be undecided.
 * One that waits for its next agent ends first. */
static gboolean
refuse_undecided (LocalHost *local, const char *job, GwRecord *record, GError **error)
{
    const GwWreck wreck = { local->config, local->context, local->journal, job, GW_SIDE_DESTINATION };
    g_autoptr (JsonObject) row = gw_wreck_find_row (&wreck, error);
    if (row == NULL || (gw_wreck_waits (&wreck, row) && !gw_wreck_take_apart (&wreck, error)))
        return FALSE;
    return gw_record_append (record, GW_RECORD_REFUSED, local->epoch, local->vm_uuid, error);
}

JsonObject *
gw_local_settle_record (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                        GError **error)
{
    const char *job = gw_json_get_string (params, "job", error);
    if (job == NULL)
        return NULL;
    if (!gw_job_id_is_valid (job)) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "'%s' is not the name of a job", job);
        return NULL;
    }
    if (!gw_local_check_peer (local, job, error))
        return NULL;
    g_autoptr (GwRecord) record = gw_local_open_record (local, job, GW_SIDE_DESTINATION, RECORD_MS, error);
    if (record == NULL)
        return NULL;
    if (gw_record_get_kind (record) == GW_RECORD_NONE && gw_json_peek_bool (params, "refuse", FALSE) &&
        !refuse_undecided (local, job, record, error))
        return NULL;
    return gw_json_new ("record:s", gw_record_kind_name (gw_record_get_kind (record)), NULL);
}
