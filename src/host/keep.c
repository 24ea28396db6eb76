/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A job that goes on when its agent is started again.
 *
 * While memory is copied nothing but the couriers and both QEMUs is needed, and they need no agent.  The coordinator
 * asks for that (job.keep) with a secret of its own, of which the journal has a hash: the courier gets a lease, and the
 * job a time of grace.  When this process ends then, by a signal or for good, QEMU and courier stay.  The next agent
 * finds a row whose process has ended; until the grace is over it leaves the job alone.  The coordinator comes again
 * (job.resume), with the secret and, over TLS, under the same name: the row gets the new process in the place of the one
 * that has ended, so that of two agents one is too late; QEMU and courier are found by pid and start time, and by sockets
 * that only this user can have made.  From there on it is as if nothing had been.
 *
 * The source's agent, when it coordinates the job, keeps its side in the same way, and says so to the destination's,
 * which then also waits when the connection ends without a word (src/flow/takeup.c).  A command that coordinates a job is
 * not started again.
 *
 * Nobody comes: the courier ends by itself, QEMU with it, and the job is settled like any other that nobody works on
 * (mend.c).  A record ends the waiting, and so does a new job of the same peer for the same VM.
 *
 * Not kept: a job of an agent that ssh started for it, as there is nobody to take it apart in time; one with copied
 * disks, whose servers the next agent would not know.
 */
#include "host-internal.h"

#include <string.h>
#include <unistd.h>

#define LOCK_MS 5000
#define ASK_MS 3000

/* --- keeping ----------------------------------------------------------------------------------------------- */

static const char *
why_not (const LocalHost *local)
{
    if (local->config->grace_s == 0)
        return "its agent is for this job alone, or its configuration says so";
    return local->exports != NULL || local->mirrors != NULL ? "disks are copied" : NULL;
}

static gboolean
keep (LocalHost *local, const char *token, gint64 grace_s, GCancellable *cancellable, GError **error)
{
    g_autofree char *path = gw_courier_lease_path (local->config, local->job, local->side);
    pid_t pid = gw_process_get_pid (gw_courier_get_process (local->courier));
    if (local->grace_s > 0) /* the courier has its lease */
        return gw_journal_keep_job (local->journal, local->job, local->side, token, grace_s, error);
    const GwJournalObject courier = { .kind = "courier", .path = path, .pid = pid,
                                      .start_time = gw_procfs_get_start_time (pid) };
    return gw_journal_put_objects (local->journal, local->job, local->side, &courier, 1, error) &&
           gw_courier_lease (local->courier, path, grace_s, cancellable, error) &&
           gw_journal_keep_job (local->journal, local->job, local->side, token, grace_s, error);
}

static gboolean
is_ready (const LocalHost *local)
{
    gboolean has_qemu = local->side == GW_SIDE_SOURCE ? local->vm != NULL : local->is_journaled && local->qemu != NULL;
    return local->job_dir != NULL && has_qemu && local->courier != NULL;
}

JsonObject *
gw_local_keep (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 wanted_s;
    const char *token = gw_json_get_string (params, "token", error);
    if (token == NULL || !gw_json_get_int (params, "grace_s", 1, 3600, &wanted_s, error))
        return NULL;
    if (!is_ready (local) || strlen (token) < 32) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no job is open here that could be kept");
        return NULL;
    }
    if (!gw_local_need_journal (local, error))
        return NULL;
    const char *why = why_not (local);
    gint64 grace_s = why == NULL ? MIN (wanted_s, local->config->grace_s) : 0;
    if (grace_s > 0 && !keep (local, token, grace_s, cancellable, error))
        return NULL;
    local->grace_s = grace_s;
    local->waits_for_peer = gw_json_peek_bool (params, "coordinator", FALSE);
    return gw_json_new ("grace_s:i", grace_s, "why:s", why, NULL);
}

/* --- leaving --------------------------------------------------------------------------------------------------- */

gboolean
gw_local_may_leave (const LocalHost *local)
{
    gboolean has_qemu = local->side == GW_SIDE_SOURCE || (local->qemu != NULL && gw_process_is_running (local->qemu));
    return (local->is_leaving || local->waits_for_peer) && local->grace_s > 0 && local->job_dir != NULL &&
           !local->is_started && local->courier != NULL && has_qemu;
}

void
gw_local_leave (LocalHost *local)
{
    g_autoptr (GError) error = NULL;
    g_clear_pointer (&local->courier, gw_courier_forget);
    gw_local_drop_qemu (local); /* its monitor serves one at a time */
    local->is_journaled = FALSE;
    if (!gw_journal_leave_job (local->journal, local->job, local->side, getpid (), &error))
        g_warning ("job %s: %s; the next agent sees that this one has ended", local->job, error->message);
    g_message ("job %s waits for the next agent of the %s, %" G_GINT64_FORMAT " s at most", local->job,
               local->is_leaving ? gw_side_name (local->side) : "source", local->grace_s);
}

/* --- taking up ---------------------------------------------------------------------------------------------- */

gboolean
gw_local_check_peer (LocalHost *local, const char *job, GError **error)
{
    if (local->peer == NULL)
        return TRUE;
    if (!gw_local_need_journal (local, error))
        return FALSE;
    g_autoptr (JsonArray) rows = gw_journal_find_job (local->journal, job, error);
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        if (strcmp (gw_json_peek_string (row, "side", ""), gw_side_name (GW_SIDE_DESTINATION)) == 0 &&
            strcmp (gw_json_peek_string (row, "peer", ""), local->peer) != 0)
            return gw_fail (error, GW_CAUSE_NOT_ALLOWED, "job %s is not one of peer '%s'", job, local->peer);
    }
    return rows != NULL;
}

static gboolean
is_free (const GwWreck *wreck, JsonObject *row, GwRecord *record, GError **error)
{
    if (strcmp (gw_json_peek_string (row, "result", "none"), "") != 0 ||
        gw_record_get_kind (record) != GW_RECORD_NONE || gw_json_peek_int (row, "grace_s", 0) == 0)
        return gw_fail (error, GW_CAUSE_NOT_ALLOWED, "job %s does not go on here", wreck->job);
    return !gw_host_job_is_worked_on (row) ||
           gw_fail (error, GW_CAUSE_VM_BUSY, "an agent works on job %s", wreck->job);
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
    if (row == NULL || !is_free (wreck, row, record, error) ||
        !gw_journal_take_job (wreck->journal, &us, row, token, error))
        return FALSE;
    take_row (local, wreck, row);
    return TRUE;
}

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
    return local->courier != NULL;
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
    if (qemu->was_running && !local->vm->is_running)
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

/* The job is ours, and cannot go on. */
static void
give_up (LocalHost *local, const GwWreck *wreck)
{
    static const GwMendTerms terms = { .lock_ms = LOCK_MS, .is_now = TRUE };
    g_autoptr (GError) error = NULL;
    local->is_journaled = FALSE;
    g_clear_pointer (&local->courier, gw_courier_free);
    gw_local_drop_qemu (local);
    g_clear_pointer (&local->qemu, gw_process_free);
    g_clear_pointer (&local->vm, gw_vm_free);
    g_clear_pointer (&local->job_dir, g_free);
    g_clear_pointer (&local->job, g_free);
    if (!gw_journal_leave_job (wreck->journal, wreck->job, wreck->side, getpid (), &error) ||
        gw_wreck_mend (wreck, &terms, &error) == NULL)
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
    if (!find_qemu (local, &wreck, error) || !find_courier (local, error)) {
        give_up (local, &wreck);
        return NULL;
    }
    g_message ("job %s goes on in this agent", name);
    JsonObject *result = gw_json_new ("migration:s", local->migration_status, NULL);
    if (local->vm != NULL)
        json_object_set_object_member (result, "vm", gw_struct_to_json (&gw_vm_type, local->vm));
    return result;
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

static gboolean
has_record (const GwWreck *wreck)
{
    g_auto (GStrv) records = gw_journal_get_records (wreck->journal, wreck->job, wreck->side, NULL);
    return records == NULL || *records != NULL;
}

gboolean
gw_wreck_waits (const GwWreck *wreck, JsonObject *row)
{
    gint64 grace_us = gw_json_peek_int (row, "grace_s", 0) * G_USEC_PER_SEC;
    gint64 away_us = gw_json_peek_int (row, "away_us", 0);
    g_auto (GwWreckQemu) qemu = { 0 };
    if (grace_us == 0 || gw_host_job_is_worked_on (row) || has_record (wreck) ||
        !gw_wreck_find_qemu (wreck, &qemu, NULL) || !qemu.is_alive)
        return FALSE;
    if (away_us != 0)
        return g_get_real_time () - away_us < grace_us;
    /* it was killed: the grace begins when that is seen */
    return gw_journal_leave_job (wreck->journal, wreck->job, wreck->side, gw_json_peek_int (row, "pid", 0), NULL);
}

static gboolean
is_of_vm (const LocalHost *local, JsonObject *row)
{
    const char *uuid = local->vm_uuid;
    return strspn (uuid, "0-") != strlen (uuid) && strcmp (gw_json_peek_string (row, "uuid", ""), uuid) == 0 &&
           strcmp (gw_json_peek_string (row, "side", ""), gw_side_name (local->side)) == 0 &&
           strcmp (gw_json_peek_string (row, "job", ""), local->job) != 0;
}

gboolean
gw_local_end_waiting (LocalHost *local, GError **error)
{
    static const GwMendTerms terms = { .lock_ms = LOCK_MS, .is_now = TRUE };
    g_autoptr (JsonArray) rows = gw_journal_list_open_jobs (local->journal, error);
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        const GwWreck wreck = { local->config, local->context, local->journal, gw_json_peek_string (row, "job", ""),
                                local->side };
        if (!is_of_vm (local, row) || !gw_wreck_waits (&wreck, row))
            continue;
        if (g_strcmp0 (gw_json_peek_string (row, "peer", ""), local->peer != NULL ? local->peer : "") != 0)
            return gw_fail (error, GW_CAUSE_VM_BUSY, "'%s' is in the hands of job %s, whose agent was ended just now",
                            local->vm_name, wreck.job);
        if (gw_wreck_mend (&wreck, &terms, error) == NULL)
            return FALSE;
    }
    return rows != NULL;
}
