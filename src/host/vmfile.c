/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vms/JOB/vm.json: a VM that godwit launched on this host.  A file whose process is gone, or is
 * another one by now (pid and start time), is the remains of a VM that ended; whoever comes across it removes
 * its directory.
 */
#include "host-internal.h"

gboolean
gw_vm_file_write (const char *vm_dir, const GwHostJob *job, pid_t pid, GError **error)
{
    g_autofree char *path = g_build_filename (vm_dir, "vm.json", NULL);
    g_autoptr (JsonObject) object =
        gw_json_new ("job:s", job->job, "name:s", job->vm, "uuid:s", job->uuid, "epoch:i",
                     job->epoch, "pid:i", (gint64) pid, "start_time:i",
                     gw_procfs_get_start_time (pid), NULL);
    g_autofree char *text = gw_json_to_text (object, TRUE);
    if (!g_file_set_contents_full (path, text, -1,
                                   G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                   0600, error))
        return gw_error_adopt (error, GW_CAUSE_HOST_IO);
    return TRUE;
}

static JsonObject *
read_file (const char *vm_dir)
{
    g_autofree char *path = g_build_filename (vm_dir, "vm.json", NULL);
    g_autofree char *text = NULL;
    gsize len;
    if (!g_file_get_contents (path, &text, &len, NULL) || len > 64 * 1024)
        return NULL;
    return gw_json_parse (text, (gssize) len, NULL);
}

static gboolean
is_alive (JsonObject *vm)
{
    gint64 pid = gw_json_peek_int (vm, "pid", 0);
    gint64 start = gw_json_peek_int (vm, "start_time", 0);
    return pid > 0 && pid <= G_MAXINT32 && start > 0 &&
           gw_procfs_get_start_time ((pid_t) pid) == start;
}

/* Calls `fn` for each live VM until it returns TRUE; gives that VM's directory. */
typedef gboolean (*VmFn) (JsonObject *vm, const char *vm_dir, gpointer user_data);

static char *
walk (const GwHostConfig *config, VmFn fn, gpointer user_data)
{
    g_autofree char *top = g_build_filename (config->runtime_dir, "vms", NULL);
    g_autoptr (GDir) dir = g_dir_open (top, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
        g_autofree char *vm_dir = g_build_filename (top, name, NULL);
        g_autoptr (JsonObject) vm = read_file (vm_dir);
        if (vm == NULL)
            continue; /* being launched just now */
        if (!is_alive (vm))
            gw_directory_remove (vm_dir);
        else if (fn (vm, vm_dir, user_data))
            return g_steal_pointer (&vm_dir);
    }
    return NULL;
}

static gboolean
has_name (JsonObject *vm, const char *vm_dir, gpointer user_data)
{
    return g_strcmp0 (gw_json_peek_string (vm, "name", NULL), user_data) == 0 ||
           g_strcmp0 (gw_json_peek_string (vm, "uuid", NULL), user_data) == 0 ||
           g_strcmp0 (gw_json_peek_string (vm, "job", NULL), user_data) == 0;
}

char *
gw_vm_file_find (const GwHostConfig *config, const char *name)
{
    return walk (config, has_name, (gpointer) name);
}

void
gw_vm_file_get_process (const char *vm_dir, gint64 *ret_pid, gint64 *ret_start_time)
{
    g_autoptr (JsonObject) vm = read_file (vm_dir);
    gint64 pid = vm != NULL ? gw_json_peek_int (vm, "pid", 0) : 0;
    *ret_pid = pid > 0 && pid <= G_MAXINT32 ? pid : 0;
    *ret_start_time = vm != NULL ? gw_json_peek_int (vm, "start_time", 0) : 0;
}

/* The monitor that godwit gave the VM lies in the VM's directory, whichever agent launched it. */
static char *
find_own_monitor (const GwVm *vm)
{
    g_autoptr (GPtrArray) options = gw_cmdline_parse ((const char *const *) vm->argv, NULL);
    for (guint i = 0; options != NULL && i < options->len; i++) {
        const GwOption *option = options->pdata[i];
        if (option->info->action != GW_OPTION_CHARDEV)
            continue;
        g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
        if (g_strcmp0 (gw_optstr_get (opt, "id"), "godwit-qmp") == 0)
            return g_strdup (gw_optstr_get (opt, "path"));
    }
    return NULL;
}

char *
gw_vm_file_find_launched (const GwVm *vm, gint64 *ret_epoch)
{
    g_autofree char *monitor = find_own_monitor (vm);
    g_autofree char *vm_dir = monitor != NULL ? g_path_get_dirname (monitor) : NULL;
    g_autoptr (JsonObject) file = vm_dir != NULL ? read_file (vm_dir) : NULL;
    *ret_epoch = 0;
    if (file == NULL || gw_json_peek_int (file, "pid", 0) != vm->pid ||
        gw_json_peek_int (file, "start_time", 0) != vm->start_time)
        return NULL;
    *ret_epoch = MAX (gw_json_peek_int (file, "epoch", 0), 0);
    return g_steal_pointer (&vm_dir);
}

static gboolean
add_to_list (JsonObject *vm, const char *vm_dir, gpointer user_data)
{
    g_autofree char *qmp = g_build_filename (vm_dir, "qmp.sock", NULL);
    json_array_add_object_element (
        user_data, gw_json_new ("job:s", gw_json_peek_string (vm, "job", ""), "name:s",
                                gw_json_peek_string (vm, "name", ""), "uuid:s",
                                gw_json_peek_string (vm, "uuid", ""), "epoch:i",
                                gw_json_peek_int (vm, "epoch", 0), "pid:i",
                                gw_json_peek_int (vm, "pid", 0), "qmp:s", qmp, NULL));
    return FALSE;
}

JsonArray *
gw_host_list_vms (const GwHostConfig *config)
{
    JsonArray *list = json_array_new ();
    g_free (walk (config, add_to_list, list));
    return list;
}
