/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations of the source: the running VM, its migration, and how it gets back to what it was. */
#include "host-internal.h"

#include <string.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CONNECT_MS 8000
#define CANCEL_MS 25000
#define STOP_MAX_MS 60000
#define QUIT_MS 10000
#define QUIT_ANSWER_MS 3000
#define RELEASE_MS 5000

/* --- adopting --------------------------------------------------------------------------------------------- */

/* "qmp:PATH", or the name of a VM that godwit launched here. */
static char *
find_monitor (LocalHost *local, const char *vm, GError **error)
{
    if (g_str_has_prefix (vm, "qmp:"))
        return g_strdup (vm + strlen ("qmp:"));
    g_autofree char *vm_dir = gw_vm_file_find (local->config, vm);
    if (vm_dir != NULL)
        return g_build_filename (vm_dir, "qmp.sock", NULL);
    gw_fail (error, GW_CAUSE_VM_NOT_FOUND, "no VM named '%s' was brought to this host by godwit", vm);
    return NULL;
}

static gboolean
on_source_exit (gpointer user_data)
{
    LocalHost *local = user_data;
    if (!local->is_quitting)
        gw_host_emit (&local->host, 0, "qemu-exit", gw_pid_watch_describe_end (local->qemu_watch));
    return G_SOURCE_REMOVE;
}

/* What the name of a disk's image leads to now may be another file than the one that QEMU has open. */
static void
forget_other_files (GwVm *vm)
{
    for (guint i = 0; i < vm->disks->len; i++) {
        GwDisk *disk = vm->disks->pdata[i];
        if (disk->path != NULL && !gw_procfs_has_open ((pid_t) vm->pid, disk->path))
            disk->st_dev = disk->st_ino = 0;
    }
}

JsonObject *
gw_local_adopt (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    const char *vm = gw_json_get_string (params, "vm", error);
    g_autofree char *path = vm != NULL ? find_monitor (local, vm, error) : NULL;
    if (path == NULL)
        return NULL;
    gw_local_drop_qemu (local);
    g_clear_pointer (&local->vm, gw_vm_free);
    if (!gw_local_connect_qmp (local, path, CONNECT_MS, cancellable, error))
        return NULL;
    local->vm = gw_adopt_vm (local->qmp, local->context, cancellable, error);
    if (local->vm == NULL)
        return NULL;
    forget_other_files (local->vm);
    g_free (local->vm_dir);
    local->vm_dir = gw_vm_file_find_launched (local->vm, &local->vm->epoch);
    local->qemu_watch =
        gw_pid_watch_new ((pid_t) local->vm->pid, local->context, on_source_exit, local);
    return gw_struct_to_json (&gw_vm_type, local->vm);
}

static gboolean
need_vm (LocalHost *local, GError **error)
{
    if (local->vm == NULL)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "no VM is adopted here");
    return TRUE;
}

JsonObject *
gw_local_derive (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    if (!need_vm (local, error))
        return NULL;
    g_auto (GStrv) maps = gw_json_peek_strv (params, "maps");
    g_autoptr (GwDerived) derived =
        gw_derive_command_line (local->vm, (const char *const *) maps, error);
    return derived != NULL ? gw_struct_to_json (&gw_derived_type, derived) : NULL;
}

/* --- the migration ------------------------------------------------------------------------------------------ */

/* What the migration changes, to be put back. */
static gboolean
remember_parameters (LocalHost *local, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonNode) parameters =
        gw_qmp_call (local->qmp, GW_QMP_QUERY_MIGRATE_PARAMETERS, NULL, cancellable, error);
    if (parameters == NULL)
        return FALSE;
    if (!JSON_NODE_HOLDS_OBJECT (parameters))
        return gw_fail (error, GW_CAUSE_QMP_INVALID,
                        "query-migrate-parameters: the reply is no object");
    JsonObject *now = json_node_get_object (parameters);
    local->old_parameters =
        gw_json_new ("downtime-limit:i", gw_json_peek_int (now, "downtime-limit", 300),
                     "max-bandwidth:i", gw_json_peek_int (now, "max-bandwidth", 0),
                     "max-postcopy-bandwidth:i", gw_json_peek_int (now, "max-postcopy-bandwidth", 0),
                     "cpu-throttle-initial:i", gw_json_peek_int (now, "cpu-throttle-initial", 20),
                     "cpu-throttle-increment:i", gw_json_peek_int (now, "cpu-throttle-increment", 10),
                     "max-cpu-throttle:i", gw_json_peek_int (now, "max-cpu-throttle", 99), NULL);
    return TRUE;
}

static gboolean
set_parameters (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 downtime_ms, bandwidth;
    if (!gw_json_get_int (params, "downtime_ms", 0, 2000000, &downtime_ms, error) ||
        !gw_json_get_int (params, "bandwidth_bps", 0, G_MAXINT64, &bandwidth, error))
        return FALSE;
    JsonObject *arguments = gw_json_new ("downtime-limit:i", downtime_ms, "max-bandwidth:i", bandwidth,
                                         "max-postcopy-bandwidth:i", bandwidth, NULL);
    /* QEMU throttles as it sees fit once it may: until we see fit, by one percent */
    if (gw_json_peek_bool (params, "throttle", FALSE)) {
        json_object_set_int_member (arguments, "cpu-throttle-initial", 1);
        json_object_set_int_member (arguments, "cpu-throttle-increment", 1);
        json_object_set_int_member (arguments, "max-cpu-throttle", 1);
    }
    return gw_local_qmp (local, GW_QMP_MIGRATE_SET_PARAMETERS, arguments, cancellable, error);
}

JsonObject *
gw_local_set_pace (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 bandwidth;
    if (!need_vm (local, error) || !gw_json_get_int (params, "bandwidth_bps", 0, G_MAXINT64, &bandwidth, error))
        return NULL;
    JsonObject *arguments = gw_json_new ("max-bandwidth:i", bandwidth, NULL);
    return gw_local_qmp (local, GW_QMP_MIGRATE_SET_PARAMETERS, arguments, cancellable, error) ? json_object_new ()
                                                                                              : NULL;
}

static guint
choose_capabilities (JsonObject *params)
{
    return (gw_json_peek_bool (params, "postcopy", FALSE) ? GW_CAPABILITY_POSTCOPY : 0u) |
           (gw_json_peek_bool (params, "preempt", FALSE) ? GW_CAPABILITY_PREEMPT : 0u) |
           (gw_json_peek_bool (params, "throttle", FALSE) ? GW_CAPABILITY_THROTTLE : 0u);
}

/* A device that cannot be migrated at all (vmstate "unmigratable") shows only here: QEMU 7.2 does not
 * list it among the blocked reasons. */
static gboolean
begin_migration (LocalHost *local, GCancellable *cancellable, GError **error)
{
    g_autofree char *uri = g_strdup_printf ("unix:%s/ram.sock", local->job_dir);
    GError *failure = NULL;
    if (gw_local_qmp (local, GW_QMP_MIGRATE, gw_json_new ("uri:s", uri, NULL), cancellable,
                      &failure))
        return TRUE;
    if (failure->code == GW_CAUSE_QMP_COMMAND && strstr (failure->message, "non-migratable") != NULL)
        failure->code = GW_CAUSE_MIGRATION_BLOCKED;
    g_propagate_error (error, failure);
    return FALSE;
}

JsonObject *
gw_local_migrate (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    if (!need_vm (local, error) || local->job_dir == NULL)
        return NULL;
    if (!remember_parameters (local, cancellable, error) || !gw_local_need_journal (local, error) ||
        !gw_journal_put_settings (local->journal, local->job, local->old_parameters, error) ||
        !gw_local_set_capabilities (local, choose_capabilities (params), cancellable, error) ||
        !set_parameters (local, params, cancellable, error))
        return NULL;
    g_clear_pointer (&local->haste, gw_haste_free);
    local->haste = gw_haste_new ((pid_t) local->vm->pid);
    return begin_migration (local, cancellable, error) ? json_object_new () : NULL;
}

JsonObject *
gw_local_continue (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    return gw_local_qmp (local, GW_QMP_MIGRATE_CONTINUE,
                         gw_json_new ("state:s", "pre-switchover", NULL), cancellable, error)
               ? json_object_new ()
               : NULL;
}

JsonObject *
gw_local_put_released (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                       GError **error)
{
    if (!need_vm (local, error) || local->job == NULL)
        return NULL;
    g_autoptr (GwRecord) record = gw_local_open_record (local, local->job, GW_SIDE_SOURCE, RELEASE_MS,
                                                        error);
    if (record == NULL)
        return NULL;
    local->is_released = TRUE; /* one that fails may have been written all the same */
    if (gw_record_get_kind (record) != GW_RECORD_NONE) {
        gw_fail (error, GW_CAUSE_HOST_IO, "job %s was released before", local->job);
        return NULL;
    }
    if (!gw_record_append (record, GW_RECORD_RELEASED, local->epoch, local->vm_uuid, error))
        return NULL;
    (void) gw_point ("released", "written");
    return json_object_new ();
}

/* --- undoing --------------------------------------------------------------------------------------------------- */

/* Every status but these means that a migration is under way; newer QEMUs have more of them. */
static gboolean
is_over (const char *status)
{
    static const char *const over[] = { "none", "cancelled", "failed", "completed", NULL };
    return status == NULL || g_strv_contains (over, status);
}

static gboolean
cancel_migration (LocalHost *local, GCancellable *cancellable, GError **error)
{
    gint64 deadline = gw_deadline_ms (CANCEL_MS);
    for (gboolean is_told = FALSE;; is_told = TRUE) {
        gw_local_free_deaf_qemu (local);
        g_autoptr (GwMigration) m = gw_local_query_migrate (local, cancellable, error);
        if (m == NULL)
            return FALSE;
        if (is_over (m->status))
            return TRUE;
        if (!is_told && !gw_local_qmp (local, GW_QMP_MIGRATE_CANCEL, NULL, cancellable, error))
            return FALSE;
        if (g_get_monotonic_time () > deadline)
            return gw_fail (error, GW_CAUSE_QMP_TIMEOUT,
                            "QEMU was told to cancel the migration and is still '%s'", m->status);
        (void) gw_wait_ms (local->context, 20, NULL, NULL);
    }
}

static void
restore_settings (LocalHost *local, GCancellable *cancellable)
{
    gw_local_restore_capabilities (local);
    if (local->old_parameters != NULL)
        (void) gw_local_qmp (local, GW_QMP_MIGRATE_SET_PARAMETERS,
                             json_object_ref (local->old_parameters), cancellable, NULL);
    g_clear_pointer (&local->old_parameters, json_object_unref);
}

static gboolean
ask_running (LocalHost *local, gboolean *ret_running, char **ret_state, GCancellable *cancellable,
             GError **error)
{
    g_autoptr (JsonNode) reply =
        gw_qmp_call (local->qmp, GW_QMP_QUERY_STATUS, NULL, cancellable, error);
    if (reply == NULL)
        return FALSE;
    if (!JSON_NODE_HOLDS_OBJECT (reply))
        return gw_fail (error, GW_CAUSE_QMP_INVALID, "query-status: the reply is no object");
    *ret_running = gw_json_peek_bool (json_node_get_object (reply), "running", FALSE);
    *ret_state = g_strdup (gw_json_peek_string (json_node_get_object (reply), "status", "unknown"));
    return TRUE;
}

/* The guest goes on if it ran when it was adopted, unless it ended or its disk stopped it meanwhile: that is for
 * whoever mends the disk. */
static gboolean
let_run (LocalHost *local, GCancellable *cancellable, GError **error)
{
    gboolean is_running = FALSE;
    g_autofree char *state = NULL;
    if (!local->vm->is_running)
        return TRUE;
    if (!ask_running (local, &is_running, &state, cancellable, error))
        return FALSE;
    static const char *const left_alone[] = { "shutdown", "guest-panicked", "io-error", NULL };
    if (is_running || g_strv_contains (left_alone, state))
        return TRUE;
    return gw_local_qmp (local, GW_QMP_CONT, NULL, cancellable, error);
}

static gboolean
stop_guest (LocalHost *local, guint within_ms, GError **error)
{
    g_autoptr (GError) failure = NULL;
    g_autoptr (JsonNode) reply =
        gw_qmp_call_timeout (local->qmp, GW_QMP_STOP, NULL, within_ms, NULL, &failure);
    if (reply != NULL)
        return TRUE;
    if (local->mirrors == NULL || gw_error_get_cause (failure) != GW_CAUSE_QMP_TIMEOUT) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return FALSE;
    }
    (void) gw_local_give_copies_up (local, "the guest could not be stopped", within_ms, error);
    (void) let_run (local, NULL, NULL); /* where it cannot yet, the undo does it */
    return FALSE;
}

JsonObject *
gw_local_stop_guest (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                     GError **error)
{
    gint64 within_ms;
    if (!need_vm (local, error) || !gw_json_get_int (params, "within_ms", 1, STOP_MAX_MS, &within_ms, error))
        return NULL;
    gboolean ok = gw_json_peek_bool (params, "stopped", TRUE)
                      ? stop_guest (local, (guint) within_ms, error)
                      : let_run (local, cancellable, error);
    return ok ? json_object_new () : NULL;
}

JsonObject *
gw_local_undo_migration (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                         GError **error)
{
    if (!need_vm (local, error))
        return NULL;
    /* In its last step QEMU holds its big lock while it writes, and answers nothing if the link takes
     * nothing: it goes on when its socket closes. */
    if (g_strcmp0 (local->migration_status, "device") == 0)
        g_clear_pointer (&local->courier, gw_courier_free);
    gboolean ok = gw_status_is_postcopy (local->migration_status)
                      ? gw_local_rescue (local, cancellable, error)
                      : cancel_migration (local, cancellable, error);
    if (!ok)
        return NULL;
    restore_settings (local, cancellable);
    return let_run (local, cancellable, error) ? json_object_new () : NULL;
}

/* --- the end of the source's copy -------------------------------------------------------------------------------- */

static gboolean
has_ended (gpointer user_data)
{
    LocalHost *local = user_data;
    return gw_procfs_get_start_time ((pid_t) local->vm->pid) != local->vm->start_time;
}

/* Polls too, for kernels without pidfd. */
static gboolean
wait_for_end (LocalHost *local, guint timeout_ms)
{
    gint64 deadline = gw_deadline_ms (timeout_ms);
    while (!has_ended (local)) {
        if (g_get_monotonic_time () > deadline)
            return FALSE;
        (void) gw_wait_ms (local->context, 5, NULL, NULL);
    }
    return TRUE;
}

/* By pid and start time, so that it cannot be another process. */
static void
kill_source (LocalHost *local)
{
    g_auto (GwFd) fd = (int) syscall (SYS_pidfd_open, (pid_t) local->vm->pid, 0);
    if (fd >= 0 && !has_ended (local))
        (void) syscall (SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
}

JsonObject *
gw_local_quit_source (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                      GError **error)
{
    if (!need_vm (local, error))
        return NULL;
    local->is_quitting = TRUE;
    /* a QEMU that is gone already or does not answer is seen below */
    g_autoptr (JsonNode) reply =
        local->qmp != NULL
            ? gw_qmp_call_timeout (local->qmp, GW_QMP_QUIT, NULL, QUIT_ANSWER_MS, cancellable, NULL)
            : NULL;
    if (!wait_for_end (local, reply != NULL ? QUIT_MS : 0)) {
        kill_source (local);
        if (!wait_for_end (local, QUIT_MS)) {
            gw_fail (error, GW_CAUSE_QMP_TIMEOUT,
                     "the source's QEMU (pid %" G_GINT64_FORMAT ") does not end", local->vm->pid);
            return NULL;
        }
    }
    if (local->vm_dir != NULL)
        gw_directory_remove (local->vm_dir);
    return json_object_new ();
}
