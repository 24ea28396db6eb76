/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking up a job that an agent before this one has left (keep.c).  What it finds is checked as if it were a stranger's:
 * the job by its secret, QEMU and courier by pid, start time and what they were made with.
 */
#include "host-internal.h"

#include <string.h>
#include <unistd.h>

#define LOCK_MS 5000
#define ASK_MS 3000

/* --- the row -------------------------------------------------------------------------------------------------- */

/* With a record it is in postcopy: who asks says so, as only then there is anything to go on with. */
static gboolean
is_free (const GwWreck *wreck, JsonObject *row, GwRecordKind kind, GError **error)
{
    gboolean may = kind == GW_RECORD_NONE ? gw_json_peek_int (row, "grace_s", 0) > 0 : kind != GW_RECORD_REFUSED;
    if (strcmp (gw_json_peek_string (row, "result", "none"), "") != 0 || !may)
        return gw_fail (error, GW_CAUSE_NOT_ALLOWED, "job %s does not go on here", wreck->job);
    return !gw_host_job_is_worked_on (row) ||
           gw_fail (error, GW_CAUSE_VM_BUSY, "an agent works on job %s", wreck->job);
}

static void
take_record (LocalHost *local, const GwRecord *record)
{
    GwRecordKind kind = gw_record_get_kind (record);
    local->is_kept = TRUE;
    local->is_bound = kind != GW_RECORD_NONE;
    local->is_released = kind == GW_RECORD_RELEASED;
    local->is_started = kind == GW_RECORD_STARTED;
    local->is_owing = gw_record_is_to_run (record);
}

static void
take_row (LocalHost *local, const GwWreck *wreck, JsonObject *row)
{
    local->job = g_strdup (wreck->job);
    local->side = wreck->side;
    local->vm_name = g_strdup (gw_json_peek_string (row, "vm", ""));
    local->vm_uuid = g_strdup (gw_json_peek_string (row, "uuid", ""));
    local->epoch = gw_json_peek_int (row, "epoch", 0);
    local->grace_s = gw_json_peek_int (row, "grace_s", 0);
    local->job_dir = gw_directory_for_job (local->config, local->job, local->side);
    if (local->side == GW_SIDE_DESTINATION)
        local->vm_dir = gw_directory_for_vm (local->config, local->job);
    local->is_journaled = local->is_resumed = local->side == GW_SIDE_DESTINATION;
}

/* Under the lock of the record: who settles what nobody works on has it, too. */
static gboolean
take_job (LocalHost *local, const GwWreck *wreck, const char *token, GError **error)
{
    const GwRecordSpec spec = { wreck->journal, wreck->config->state_dir, wreck->job, wreck->side, wreck->context };
    GwJournalJob us = { .job = wreck->job, .side = wreck->side };
    g_autoptr (GwRecord) record = gw_record_open (&spec, LOCK_MS, error);
    g_autoptr (JsonObject) row = record != NULL ? gw_wreck_find_row (wreck, error) : NULL;
    gw_host_sign_job (&us);
    if (row == NULL || !is_free (wreck, row, gw_record_get_kind (record), error) ||
        !gw_journal_take_job (wreck->journal, &us, row, token, error))
        return FALSE;
    take_row (local, wreck, row);
    take_record (local, record);
    return TRUE;
}

/* --- courier and QEMU ------------------------------------------------------------------------------------------ */

static gboolean
find_courier (LocalHost *local, GError **error)
{
    g_autoptr (JsonArray) objects = gw_journal_list_objects (local->journal, local->job, local->side, error);
    const GwCourierSpec spec = { .host = &local->host, .config = local->config, .context = local->context,
                                 .job = local->job, .job_dir = local->job_dir, .side = local->side };
    for (guint i = 0; objects != NULL && i < json_array_get_length (objects); i++) {
        JsonObject *object = json_array_get_object_element (objects, i);
        if (strcmp (gw_json_peek_string (object, "kind", ""), "courier") == 0)
            local->courier = gw_courier_attach (&spec, gw_json_peek_string (object, "path", ""),
                                                (pid_t) gw_json_peek_int (object, "pid", 0),
                                                gw_json_peek_int (object, "start_time", 0), error);
    }
    if (local->courier != NULL && local->is_bound)
        return gw_local_bind (local, NULL, error);
    return local->courier != NULL;
}

/* In postcopy the coordinator makes new ones where one has ended. */
static gboolean
has_courier_if_needed (LocalHost *local, GError **error)
{
    g_autoptr (GError) failure = NULL;
    if (find_courier (local, &failure) || local->is_bound)
        return TRUE;
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
}

/* What a new connection to its monitor has not heard. */
static gboolean
catch_up (LocalHost *local, GError **error)
{
    g_autoptr (JsonNode) reply =
        gw_qmp_call_timeout (local->qmp, GW_QMP_QUERY_MIGRATE, NULL, ASK_MS, NULL, error);
    if (reply == NULL)
        return FALSE;
    JsonObject *state = JSON_NODE_HOLDS_OBJECT (reply) ? json_node_get_object (reply) : NULL;
    const char *status = state != NULL ? gw_json_peek_string (state, "status", "none") : "none";
    g_free (local->migration_status);
    local->migration_status = strcmp (status, "none") != 0 ? g_strdup (status) : NULL;
    return TRUE;
}

static gboolean
find_launched (LocalHost *local, const GwWreckQemu *qemu, GError **error)
{
    g_autofree char *log = g_build_filename (local->vm_dir, "qemu.log", NULL);
    local->qemu = qemu->is_alive ? gw_process_adopt ((pid_t) qemu->pid, qemu->start_time, log, local->context,
                                                     gw_local_on_qemu_exit, local) : NULL;
    if (local->qemu == NULL)
        return gw_fail (error, GW_CAUSE_QEMU_DIED, "the destination's QEMU has ended while there was no agent");
    return gw_local_connect_qmp (local, qemu->monitor, ASK_MS, NULL, error);
}

/* With what is to be put back in it when the migration is undone. */
static gboolean
find_adopted (LocalHost *local, const GwWreckQemu *qemu, GError **error)
{
    g_autofree char *name = g_strconcat ("qmp:", qemu->monitor, NULL);
    g_autoptr (JsonObject) params = gw_json_new ("vm:s", name, NULL);
    g_autoptr (JsonObject) found = gw_local_adopt (local, params, NULL, error);
    if (found == NULL)
        return FALSE;
    if (local->vm->pid != qemu->pid || local->vm->start_time != qemu->start_time)
        return gw_fail (error, GW_CAUSE_VM_NOT_FOUND, "another QEMU answers at '%s' by now", qemu->monitor);
    if (!local->is_released && qemu->was_running && !local->vm->is_running)
        return gw_fail (error, GW_CAUSE_VM_STATE, "the guest stood still already for the switchover");
    local->vm->is_running = qemu->was_running;
    local->old_parameters = gw_journal_get_settings (local->journal, local->job, error);
    return local->old_parameters != NULL && gw_local_assume_capabilities (local, error);
}

static gboolean
find_qemu (LocalHost *local, const GwWreck *wreck, GError **error)
{
    g_auto (GwWreckQemu) qemu = { 0 };
    if (!gw_wreck_find_qemu (wreck, &qemu, error))
        return FALSE;
    gboolean ok = local->side == GW_SIDE_SOURCE ? find_adopted (local, &qemu, error)
                                                : find_launched (local, &qemu, error);
    return ok && catch_up (local, error);
}

/* The coordinator says which they are, unless they are complete. */
static gboolean
find_images (LocalHost *local, JsonObject *params, GError **error)
{
    JsonObject *images = gw_json_peek_object (params, "images");
    return images == NULL || local->is_bound || gw_local_adopt_images (local, images, error);
}

/* --- a guest that was to run ---------------------------------------------------------------------------------- */

static void
on_owed_cont (JsonNode *reply, const GError *error, gpointer user_data)
{
    LocalHost *local = user_data;
    local->is_asked = FALSE;
    if (reply != NULL)
        local->is_owing = FALSE;
    else if (gw_error_get_cause (error) != GW_CAUSE_ABORTED)
        g_warning ("job %s: QEMU does not run the guest that was to run: %s", local->job, error->message);
}

static void
on_state (JsonNode *reply, const GError *error, gpointer user_data)
{
    LocalHost *local = user_data;
    const char *state = reply != NULL && JSON_NODE_HOLDS_OBJECT (reply)
                            ? gw_json_peek_string (json_node_get_object (reply), "status", "") : "";
    local->is_asked = FALSE;
    if (strcmp (state, "paused") == 0 || strcmp (state, "prelaunch") == 0) {
        local->is_asked = TRUE;
        gw_qmp_send (local->qmp, GW_QMP_CONT, NULL, on_owed_cont, local);
    } else if (*state != '\0')
        local->is_owing = FALSE;
}

/* In postcopy the answers may have to wait for pages. */
void
gw_local_let_run (LocalHost *local)
{
    if (!local->is_owing || local->is_asked || local->qmp == NULL)
        return;
    local->is_asked = TRUE;
    gw_qmp_send (local->qmp, GW_QMP_QUERY_STATUS, NULL, on_state, local);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* A QEMU in postcopy that did not answer may wait for a page, and is asked again. */
static gboolean
is_passing (const LocalHost *local, const GError *error)
{
    GwCause cause = gw_error_get_cause (error);
    return local->is_bound && (cause == GW_CAUSE_QMP_TIMEOUT || cause == GW_CAUSE_QMP_GONE);
}

/* The job is ours, and cannot go on: `error` says why. */
static void
give_up (LocalHost *local, const GwWreck *wreck, const GError *why)
{
    static const GwMendTerms terms = { .lock_ms = LOCK_MS, .is_now = TRUE };
    g_autoptr (GError) error = NULL;
    gboolean is_left = is_passing (local, why); /* for another attempt */
    local->is_journaled = FALSE;
    g_clear_pointer (&local->courier, local->is_bound ? gw_courier_forget : gw_courier_free);
    gw_local_drop_qemu (local);
    g_clear_pointer (&local->qemu, gw_process_free);
    g_clear_pointer (&local->vm, gw_vm_free);
    g_clear_pointer (&local->old_parameters, json_object_unref);
    char **const texts[] = { &local->job_dir, &local->vm_dir, &local->vm_name, &local->vm_uuid,
                             &local->migration_status, &local->job };
    for (guint i = 0; i < G_N_ELEMENTS (texts); i++) /* the next job on this connection has nothing to do with it */
        g_clear_pointer (texts[i], g_free);
    local->grace_s = local->epoch = 0;
    local->is_kept = local->is_bound = local->is_released = local->is_started = local->is_resumed = FALSE;
    local->is_owing = FALSE;
    if (!gw_journal_leave_job (wreck->journal, wreck->job, wreck->side, getpid (), &error) ||
        (!is_left && gw_wreck_mend (wreck, &terms, &error) == NULL))
        g_warning ("job %s: %s; it stays open", wreck->job, error->message);
}

JsonObject *
gw_local_resume_job (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    const char *job = gw_json_get_string (params, "job", error);
    const char *token = job != NULL ? gw_json_get_string (params, "token", error) : NULL;
    if (token == NULL || !gw_local_need_journal (local, error))
        return NULL;
    if (local->job != NULL || !gw_job_id_is_valid (job)) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no job can be taken up on this connection");
        return NULL;
    }
    g_autofree char *name = g_strdup (job);
    const GwWreck wreck = { local->config, local->context, local->journal, name,
                            gw_side_from_name (gw_json_peek_string (params, "side", "destination")) };
    if (!gw_local_check_peer (local, name, error) || !take_job (local, &wreck, token, error))
        return NULL;
    GError *failure = NULL;
    if (!find_qemu (local, &wreck, &failure) || !has_courier_if_needed (local, &failure) ||
        !find_images (local, params, &failure)) {
        give_up (local, &wreck, failure);
        g_propagate_error (error, failure);
        return NULL;
    }
    local->waits_for_peer = gw_json_peek_bool (params, "coordinator", FALSE);
    gw_local_let_run (local);
    g_message ("job %s goes on in this agent", name);
    JsonObject *result = gw_json_new ("migration:s", local->migration_status, "courier:b",
                                      local->courier != NULL, NULL);
    if (local->vm != NULL)
        json_object_set_object_member (result, "vm", gw_struct_to_json (&gw_vm_type, local->vm));
    return result;
}
