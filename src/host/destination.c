/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations of the destination: a QEMU that waits for the state, and the right to start it. */
#include "host-internal.h"

#include <string.h>

#define LAUNCH_MS 45000
#define CONNECT_MS 5000 /* one try; a QEMU that is still starting may greet and then say nothing */
#define RECORD_MS 30000

static gboolean
need_job (LocalHost *local, GError **error)
{
    if (local->job_dir == NULL || local->side != GW_SIDE_DESTINATION)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "no job is open here as destination");
    return TRUE;
}

/* --- launching ------------------------------------------------------------------------------------------------ */

static void
on_qemu_exit (GwProcess *process, gpointer user_data)
{
    LocalHost *local = user_data;
    if (local->is_quitting)
        return;
    g_autofree char *how = gw_process_describe_end (process);
    gw_host_emit (&local->host, 0, "qemu-exit", how);
}

/* What godwit adds: nothing runs before it says so, and it has a monitor of its own. */
static GStrv
complete_argv (LocalHost *local, const char *program, const char *const *argv)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    g_autofree char *chardev = g_strdup_printf (
        "socket,id=godwit-qmp,path=%s/qmp.sock,server=on,wait=off", local->vm_dir);
    const char *const ours[] = { "-S",      "-incoming", "defer", "-chardev",
                                 chardev,   "-mon",      "chardev=godwit-qmp,mode=control", NULL };
    g_strv_builder_add (builder, program);
    g_strv_builder_addv (builder, (const char **) argv);
    g_strv_builder_addv (builder, (const char **) ours);
    return g_strv_builder_end (builder);
}

/* Whether QEMU becomes another user by itself, after it has opened its files: -runas, and from 9.1 on
 * -run-with user=.  It must then start as the user that the agent is. */
gboolean
gw_qemu_changes_user (const char *const *argv)
{
    g_autoptr (GPtrArray) options = gw_cmdline_parse (argv, NULL);
    for (guint i = 0; options != NULL && i < options->len; i++) {
        const GwOption *option = options->pdata[i];
        const char *name = option->name + strspn (option->name, "-");
        if (strcmp (name, "runas") == 0)
            return TRUE;
        if (strcmp (name, "run-with") != 0 || option->arg == NULL)
            continue;
        g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
        if (gw_optstr_has (opt, "user"))
            return TRUE;
    }
    return FALSE;
}

static gboolean
spawn_qemu (LocalHost *local, JsonObject *params, GError **error)
{
    g_autofree char *program =
        gw_find_qemu (local->config, gw_json_peek_string (params, "qemu", NULL), error);
    if (program == NULL)
        return FALSE;
    g_auto (GStrv) given = gw_json_peek_strv (params, "argv");
    g_auto (GStrv) creates = gw_json_peek_strv (params, "creates");
    g_auto (GStrv) argv = complete_argv (local, program, (const char *const *) given);
    g_autofree char *log = g_build_filename (local->vm_dir, "qemu.log", NULL);
    const char *cwd = gw_json_peek_string (params, "cwd", "/");
    GwProcessSpec spec = {
        .argv = (const char *const *) argv,
        .cwd = g_file_test (cwd, G_FILE_TEST_IS_DIR) ? cwd : "/", /* paths are absolute anyway */
        .log_path = log,
        .user = gw_qemu_changes_user ((const char *const *) argv)
                    ? NULL
                    : gw_json_peek_string (params, "user", NULL),
    };
    local->created = gw_created_new ((const char *const *) creates);
    local->qemu = gw_process_spawn (&spec, local->context, on_qemu_exit, local, error);
    return local->qemu != NULL;
}

static gboolean
launch_failed (LocalHost *local, GError **error)
{
    g_autofree char *how = gw_process_describe_end (local->qemu);
    return gw_fail (error, GW_CAUSE_LAUNCH_FAILED, "the destination's QEMU %s", how);
}

/* QEMU opens its monitor early and answers it late, and may end at any time in between. */
static gboolean
wait_for_monitor (LocalHost *local, GCancellable *cancellable, GError **error)
{
    g_autofree char *path = g_build_filename (local->vm_dir, "qmp.sock", NULL);
    gint64 deadline = gw_deadline_ms (LAUNCH_MS);
    for (;;) {
        g_autoptr (GError) failure = NULL;
        if (gw_local_connect_qmp (local, path,
                                  MIN (gw_deadline_left_ms (deadline), CONNECT_MS), cancellable,
                                  &failure))
            return TRUE;
        if (gw_error_get_cause (failure) == GW_CAUSE_ABORTED) {
            g_propagate_error (error, g_steal_pointer (&failure));
            return FALSE;
        }
        (void) gw_process_wait (local->qemu, 5, NULL);
        if (!gw_process_is_running (local->qemu))
            return launch_failed (local, error);
        if (g_get_monotonic_time () > deadline)
            return gw_fail (error, GW_CAUSE_LAUNCH_FAILED,
                            "the destination's QEMU runs but its monitor does not answer: %s",
                            failure->message);
    }
}

static gboolean
launch (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    const char *user = gw_json_peek_string (params, "user", NULL);
    GwHostJob job = { local->job, local->side, local->vm_name, local->vm_uuid, local->epoch };
    local->vm_dir = gw_directory_for_vm (local->config, local->job);
    return gw_directory_make (local->vm_dir, user, error) &&
           gw_directory_make (local->job_dir, user, error) && spawn_qemu (local, params, error) &&
           gw_vm_file_write (local->vm_dir, &job, gw_process_get_pid (local->qemu), error) &&
           wait_for_monitor (local, cancellable, error);
}

JsonObject *
gw_local_launch (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    if (!need_job (local, error))
        return NULL;
    if (local->qemu != NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "the job has a QEMU");
        return NULL;
    }
    gboolean ok = launch (local, params, cancellable, error);
    if (local->created != NULL)
        gw_created_note (local->created); /* a launch that failed may have made some of it */
    if (!ok)
        return NULL;
    return gw_json_new ("pid:i", (gint64) gw_process_get_pid (local->qemu), NULL);
}

JsonObject *
gw_local_set_incoming (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                       GError **error)
{
    if (!need_job (local, error) || !gw_local_set_capabilities (local, cancellable, error))
        return NULL;
    g_autofree char *uri = g_strdup_printf ("unix:%s/ram.sock", local->job_dir);
    if (!gw_local_qmp (local, GW_QMP_MIGRATE_INCOMING, gw_json_new ("uri:s", uri, NULL),
                       cancellable, error))
        return NULL;
    return json_object_new ();
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

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
    GwCause cause = strstr (how, "killed by signal") != NULL || strstr (how, "status 0") != NULL
                        ? GW_CAUSE_QEMU_DIED
                        : GW_CAUSE_STATE_REJECTED;
    return gw_fail (error, cause, "the destination's QEMU %s", how);
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

static gboolean
run_guest (LocalHost *local, GError **error)
{
    g_autoptr (GError) failure = NULL;
    if (gw_local_qmp (local, GW_QMP_CONT, NULL, NULL, &failure)) {
        /* the RESUME event comes before the devices are told and the processors run (vm_start() of
         * QEMU 7.2); the answer comes after */
        local->running_us = g_get_real_time ();
        return TRUE;
    }
    return gw_fail (error, GW_CAUSE_START_REFUSED,
                    "the destination's QEMU loaded the state but does not run it: %s",
                    failure->message);
}

/* STARTED, then `cont`.  The record stays locked until the outcome is known, so a STARTED that is
 * taken back was never seen by anyone. */
static gboolean
start_locked (LocalHost *local, GwRecord *record, gboolean is_running, gint64 *ret_started_us,
              GError **error)
{
    if (gw_record_get_kind (record) != GW_RECORD_NONE) {
        gw_local_destroy_launched (local);
        return gw_fail (error, GW_CAUSE_START_REFUSED, "job %s was %s before", local->job,
                        gw_record_kind_name (gw_record_get_kind (record)));
    }
    if (!gw_record_append (record, GW_RECORD_STARTED, local->epoch, local->vm_uuid, error)) {
        refuse (local, record);
        return FALSE;
    }
    *ret_started_us = g_get_real_time ();
    if (is_running && !run_guest (local, error)) {
        refuse (local, record);
        return FALSE;
    }
    local->is_started = TRUE;
    return TRUE;
}

JsonObject *
gw_local_start (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 timeout_ms, started_us = 0;
    if (!need_job (local, error) || local->qemu == NULL ||
        !gw_json_get_int (params, "timeout_ms", 1, 3600000, &timeout_ms, error))
        return NULL;
    g_autoptr (GError) failure = NULL;
    gboolean is_loaded = wait_loaded (local, (guint) timeout_ms, cancellable, &failure);
    g_autoptr (GwRecord) record = gw_record_open (local->config, local->job, GW_SIDE_DESTINATION,
                                                  local->context, RECORD_MS, error);
    if (record == NULL) {
        gw_local_destroy_launched (local);
        return NULL;
    }
    if (!is_loaded) {
        refuse (local, record);
        g_propagate_error (error, g_steal_pointer (&failure));
        return NULL;
    }
    if (!start_locked (local, record, gw_json_peek_bool (params, "run", TRUE), &started_us, error))
        return NULL;
    return gw_json_new ("loaded_us:i", local->loaded_us, "started_us:i", started_us, "running_us:i",
                        local->running_us, NULL);
}

/* --- the record, for whoever asks ------------------------------------------------------------------------------------ */

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
    g_autoptr (GwRecord) record = gw_record_open (local->config, job, GW_SIDE_DESTINATION,
                                                  local->context, RECORD_MS, error);
    if (record == NULL)
        return NULL;
    /* A QEMU of this job that another connection holds cannot start any more: its STARTED needs the
     * record to be undecided. */
    if (gw_record_get_kind (record) == GW_RECORD_NONE && gw_json_peek_bool (params, "refuse", FALSE) &&
        !gw_record_append (record, GW_RECORD_REFUSED, local->epoch, local->vm_uuid, error))
        return NULL;
    return gw_json_new ("record:s", gw_record_kind_name (gw_record_get_kind (record)), NULL);
}
