/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VM of a job whose process has ended, by its QEMU's monitor: how it is, and how it gets back to what it was, goes on
 * where it has arrived, or ends.  Whether any of that may be done is for the caller to say.
 */
#include "host-internal.h"

#include <string.h>

#define CONNECT_MS 3000
#define ASK_MS 3000
#define QUIT_MS 3000
#define END_MS 10000
#define POLL_MS 10

/* --- looking ------------------------------------------------------------------------------------------------ */

static gboolean
connect_to (LocalHost *local, const GwWreckQemu *qemu, GError **error)
{
    if (!gw_local_connect_qmp (local, qemu->monitor, CONNECT_MS, NULL, error))
        return FALSE;
    return gw_qmp_get_peer_pid (local->qmp) == qemu->pid ||
           gw_fail (error, GW_CAUSE_VM_NOT_FOUND, "another QEMU answers at '%s' by now", qemu->monitor);
}

/* A member of the answer; "" when there is none.  NULL: it does not answer.  (transfer full) */
static char *
ask_text (LocalHost *local, GwQmpCommand command, GError **error)
{
    g_autoptr (JsonNode) reply = gw_qmp_call_timeout (local->qmp, command, NULL, ASK_MS, NULL, error);
    if (reply == NULL)
        return NULL;
    return g_strdup (JSON_NODE_HOLDS_OBJECT (reply)
                         ? gw_json_peek_string (json_node_get_object (reply), "status", "") : "");
}

/* A destination's guest that was stopped by something of its own has run. */
static const char *
name_state (const GwWreck *wreck, const char *run_state, const char *migration)
{
    static const char *const waiting[] = { "inmigrate", "paused", "prelaunch", NULL };
    gboolean is_source = wreck->side == GW_SIDE_SOURCE;
    if (!is_source && gw_status_is_postcopy (migration))
        return "fetches";
    if (is_source)
        return strcmp (run_state, "running") == 0 ? "runs" : "stands";
    return g_strv_contains (waiting, run_state) ? "stands" : "runs";
}

static gboolean
look (const GwWreck *wreck, const GwWreckQemu *qemu, JsonObject *evidence, GError **error)
{
    g_autoptr (GwHost) host = gw_host_new_local (wreck->config, wreck->context);
    LocalHost *local = (LocalHost *) host;
    if (!connect_to (local, qemu, error))
        return FALSE;
    g_autofree char *run_state = ask_text (local, GW_QMP_QUERY_STATUS, error);
    g_autofree char *migration = run_state != NULL ? ask_text (local, GW_QMP_QUERY_MIGRATE, error) : NULL;
    if (migration == NULL)
        return FALSE;
    json_object_set_string_member (evidence, "qemu", name_state (wreck, run_state, migration));
    json_object_set_string_member (evidence, "run_state", run_state);
    json_object_set_string_member (evidence, "migration", migration);
    return TRUE;
}

void
gw_wreck_look (const GwWreck *wreck, JsonObject *evidence)
{
    g_auto (GwWreckQemu) qemu = { 0 };
    g_autoptr (GError) error = NULL;
    if (!gw_wreck_find_qemu (wreck, &qemu, &error))
        return;
    json_object_set_int_member (evidence, "pid", qemu.pid);
    if (!qemu.is_known)
        json_object_set_string_member (evidence, "qemu", "untouched");
    else if (!qemu.is_alive)
        json_object_set_string_member (evidence, "qemu", "gone");
    else if (!look (wreck, &qemu, evidence, &error)) {
        json_object_set_string_member (evidence, "qemu", "deaf");
        json_object_set_string_member (evidence, "why", error->message);
    }
}

/* --- at the source -------------------------------------------------------------------------------------------- */

/* What a new connection has not heard: an event would have told. */
static gboolean
catch_up (LocalHost *local, GError **error)
{
    g_autofree char *status = ask_text (local, GW_QMP_QUERY_MIGRATE, error);
    if (status == NULL)
        return FALSE;
    g_free (local->migration_status);
    local->migration_status = *status != '\0' ? g_steal_pointer (&status) : NULL;
    return TRUE;
}

/* The way back from postcopy needs a place for its socket. */
static gboolean
prepare (const GwWreck *wreck, LocalHost *local, const GwWreckQemu *qemu, GError **error)
{
    local->vm->is_running = qemu->was_running;
    local->old_parameters = gw_journal_get_settings (wreck->journal, wreck->job, error);
    if (local->old_parameters == NULL)
        return FALSE;
    local->job_dir = gw_directory_for_job (wreck->config, wreck->job, wreck->side);
    return gw_directory_make (local->job_dir, local->vm->user, error) && catch_up (local, error);
}

static gboolean
bring_back (const GwWreck *wreck, const GwWreckQemu *qemu, GError **error)
{
    g_autofree char *vm = g_strconcat ("qmp:", qemu->monitor, NULL);
    g_autoptr (GwHost) host = gw_host_new_local (wreck->config, wreck->context);
    LocalHost *local = (LocalHost *) host;
    g_autoptr (GwVm) found = gw_host_adopt (host, vm, NULL, error);
    if (found == NULL)
        return FALSE;
    if (found->pid != qemu->pid || found->start_time != qemu->start_time)
        return gw_fail (error, GW_CAUSE_VM_NOT_FOUND, "another QEMU answers at '%s' by now", qemu->monitor);
    return prepare (wreck, local, qemu, error) && gw_local_sweep_disks (local, error) &&
           gw_host_undo_migration (host, NULL, error) &&
           gw_local_clear_capabilities (local, (const char *const *) found->capabilities, error);
}

const char *
gw_wreck_bring_back (const GwWreck *wreck, GError **error)
{
    g_auto (GwWreckQemu) qemu = { 0 };
    if (!gw_wreck_find_qemu (wreck, &qemu, error))
        return NULL;
    if (!qemu.is_known)
        return "stayed"; /* nothing was done to it */
    if (!qemu.is_alive)
        return "lost";
    return bring_back (wreck, &qemu, error) ? "stayed" : NULL;
}

gboolean
gw_wreck_end_vm (const GwWreck *wreck, GError **error)
{
    g_auto (GwWreckQemu) qemu = { 0 };
    if (!gw_wreck_find_qemu (wreck, &qemu, error))
        return FALSE;
    if (!qemu.is_alive)
        return TRUE;
    g_autoptr (GwHost) host = gw_host_new_local (wreck->config, wreck->context);
    LocalHost *local = (LocalHost *) host;
    gint64 deadline = gw_deadline_ms (END_MS);
    g_autoptr (JsonNode) reply =
        connect_to (local, &qemu, NULL)
            ? gw_qmp_call_timeout (local->qmp, GW_QMP_QUIT, NULL, QUIT_MS, NULL, NULL) : NULL;
    while (reply != NULL && gw_host_process_is_alive (qemu.pid, qemu.start_time) &&
           g_get_monotonic_time () < deadline)
        (void) gw_wait_ms (wreck->context, POLL_MS, NULL, NULL);
    return gw_wreck_kill (wreck, &qemu, error); /* one that does not answer, or does not end */
}

/* --- at the destination ------------------------------------------------------------------------------------------ */

/* A guest that was on its way in postcopy waits for pages, whatever is said to it. */
static gboolean
let_run (const GwWreck *wreck, const GwWreckQemu *qemu, gboolean is_to_run, GError **error)
{
    g_autoptr (GwHost) host = gw_host_new_local (wreck->config, wreck->context);
    LocalHost *local = (LocalHost *) host;
    g_autoptr (JsonObject) evidence = json_object_new ();
    if (!look (wreck, qemu, evidence, error) || !connect_to (local, qemu, error))
        return FALSE;
    const char *state = gw_json_peek_string (evidence, "qemu", "");
    if (strcmp (state, "fetches") == 0)
        return gw_fail (error, GW_CAUSE_VM_BUSY, "the guest fetches its memory from the source, and nothing is touched");
    (void) gw_local_reset_capabilities (local, NULL); /* or its next migration by hand would stand still */
    return !is_to_run || strcmp (state, "stands") != 0 || gw_local_qmp (local, GW_QMP_CONT, NULL, NULL, error);
}

gboolean
gw_wreck_let_run (const GwWreck *wreck, gboolean is_to_run, GError **error)
{
    g_auto (GwWreckQemu) qemu = { 0 };
    return gw_wreck_find_qemu (wreck, &qemu, error) &&
           (!qemu.is_alive || let_run (wreck, &qemu, is_to_run, error));
}
