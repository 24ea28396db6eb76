/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations of the destination: a QEMU that waits for the state, and the right to start it. */
#include "allow.h"
#include "host-internal.h"

#include <string.h>

#define LAUNCH_MS 45000
#define CONNECT_MS 5000 /* one try; a QEMU that is still starting may greet and then say nothing */

static gboolean
need_job (LocalHost *local, GError **error)
{
    if (local->job_dir == NULL || local->side != GW_SIDE_DESTINATION)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "no job is open here as destination");
    return TRUE;
}

/* --- launching ------------------------------------------------------------------------------------------------ */

void
gw_local_on_qemu_exit (GwProcess *process, gpointer user_data)
{
    LocalHost *local = user_data;
    if (local->is_quitting)
        return;
    g_autofree char *how = gw_process_describe_end (process);
    gw_host_emit (&local->host, 0, "qemu-exit", how);
}

char *
gw_local_describe_monitor (const char *vm_dir)
{
    return g_strdup_printf ("socket,id=godwit-qmp,path=%s/qmp.sock,server=on,wait=off", vm_dir);
}

/* What godwit adds: nothing runs before it says so, and it has a monitor of its own. */
static GStrv
complete_argv (LocalHost *local, const char *program, const char *const *argv)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    g_autofree char *chardev = gw_local_describe_monitor (local->vm_dir);
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

/* What it makes is removed again when it does not start. */
static gboolean
allow_created (LocalHost *local, const char *const *paths, GError **error)
{
    for (gsize i = 0; gw_host_config_is_confined (local->config) && paths[i] != NULL; i++)
        if (!gw_allow_path (local->config, GW_ALLOW_SOCKET, paths[i], error))
            return FALSE;
    return TRUE;
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
    const char *user = gw_json_peek_string (params, "user", NULL);
    if (!gw_allow_launch (local->config, (const char *const *) given, user, error) ||
        !allow_created (local, (const char *const *) creates, error))
        return FALSE;
    g_auto (GStrv) argv = complete_argv (local, program, (const char *const *) given);
    g_autofree char *log = g_build_filename (local->vm_dir, "qemu.log", NULL);
    GwProcessSpec spec = {
        .argv = (const char *const *) argv,
        .cwd = gw_allow_choose_cwd (local->config, gw_json_peek_string (params, "cwd", "/"), local->vm_dir),
        .log_path = log,
        .user = gw_qemu_changes_user ((const char *const *) argv) ? NULL : user,
    };
    local->created = gw_created_new ((const char *const *) creates);
    if (!gw_created_write (local->created, local->journal, local->job, error) || !gw_local_journal_qemu (local, error))
        return FALSE;
    local->qemu = gw_process_spawn (&spec, local->context, gw_local_on_qemu_exit, local, error);
    return local->qemu != NULL && gw_local_journal_qemu (local, error);
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
    if (!ok || !gw_created_write (local->created, local->journal, local->job, error))
        return NULL;
    return gw_json_new ("pid:i", (gint64) gw_process_get_pid (local->qemu), NULL);
}

/* What is asked for, as far as this QEMU has it: it looks itself whether its kernel lets it handle page
 * faults (7.2: postcopy_ram_supported_by_host()).  `*ret_why` says why it is less. */
static gboolean
choose_capabilities (LocalHost *local, JsonObject *params, guint *ret_which, char **ret_why,
                     GCancellable *cancellable, GError **error)
{
    guint which = 0;
    if (gw_json_peek_bool (params, "postcopy", FALSE)) {
        g_autoptr (GError) failure = NULL;
        which = GW_CAPABILITY_POSTCOPY | GW_CAPABILITY_BLOCKTIME;
        if (gw_json_peek_bool (params, "preempt", FALSE))
            which |= GW_CAPABILITY_PREEMPT;
        *ret_which = which;
        if (gw_local_set_capabilities (local, which, cancellable, &failure))
            return TRUE;
        *ret_why = g_strdup (failure->message);
    }
    *ret_which = 0;
    return gw_local_set_capabilities (local, 0, cancellable, error);
}

JsonObject *
gw_local_set_incoming (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                       GError **error)
{
    g_autofree char *why = NULL;
    guint which = 0;
    if (!need_job (local, error) ||
        !choose_capabilities (local, params, &which, &why, cancellable, error))
        return NULL;
    g_autofree char *uri = g_strdup_printf ("unix:%s/ram.sock", local->job_dir);
    if (!gw_local_qmp (local, GW_QMP_MIGRATE_INCOMING, gw_json_new ("uri:s", uri, NULL),
                       cancellable, error))
        return NULL;
    gw_priority_set (gw_process_get_pid (local->qemu), local->config->nice);
    return gw_json_new ("postcopy:b", (which & GW_CAPABILITY_POSTCOPY) != 0, "preempt:b",
                        (which & GW_CAPABILITY_PREEMPT) != 0, "why:s", why, NULL);
}
