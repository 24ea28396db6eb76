/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a job has left on this host whose process has ended.  What the journal says is checked first: a process must be
 * the one of that start time and, where godwit launched it, name the job's directory in its command line; a file must be
 * the very one that was made; and directories are those of the job's name, whatever path is written.
 */
#include "host-internal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define END_MS 10000
#define POLL_MS 10

/* --- its QEMU ---------------------------------------------------------------------------------------------- */

static gboolean
names_directory (pid_t pid, const char *directory)
{
    g_auto (GStrv) argv = gw_procfs_read_argv (pid, NULL);
    g_autofree char *line = argv != NULL ? g_strjoinv (" ", argv) : NULL;
    return line != NULL && strstr (line, directory) != NULL;
}

static gboolean
is_qemu (const GwWreck *wreck, const char *kind)
{
    return wreck->side == GW_SIDE_SOURCE ? strcmp (kind, "running") == 0 || strcmp (kind, "paused") == 0
                                         : strcmp (kind, "process") == 0;
}

/* It was about to be started, and the agent ended before it had written which process that is. */
static void
find_by_option (const char *option, const char *value, GwWreckQemu *process)
{
    if (process->pid != 0)
        return;
    process->pid = gw_procfs_find (option, value);
    process->start_time = process->pid != 0 ? gw_procfs_get_start_time ((pid_t) process->pid) : 0;
}

/* Of a destination whose job is closed there is only the VM's own file. */
static void
find_by_file (const GwWreck *wreck, GwWreckQemu *qemu)
{
    g_autofree char *vm_dir = gw_directory_for_vm (wreck->config, wreck->job);
    qemu->is_known = TRUE; /* without the file there is none */
    gw_vm_file_get_process (vm_dir, &qemu->pid, &qemu->start_time);
}

gboolean
gw_wreck_find_qemu (const GwWreck *wreck, GwWreckQemu *ret_qemu, GError **error)
{
    g_autofree char *vm_dir = gw_directory_for_vm (wreck->config, wreck->job);
    g_autoptr (JsonArray) objects =
        gw_journal_list_objects (wreck->journal, wreck->job, wreck->side, error);
    GwWreckQemu qemu = { 0 };
    for (guint i = 0; objects != NULL && i < json_array_get_length (objects); i++) {
        JsonObject *object = json_array_get_object_element (objects, i);
        const char *kind = gw_json_peek_string (object, "kind", "");
        if (!is_qemu (wreck, kind))
            continue;
        g_free (qemu.monitor);
        qemu = (GwWreckQemu){ .is_known = TRUE, .was_running = strcmp (kind, "paused") != 0,
                              .pid = gw_json_peek_int (object, "pid", 0),
                              .start_time = gw_json_peek_int (object, "start_time", 0),
                              .monitor = g_strdup (gw_json_peek_string (object, "path", "")) };
    }
    if (wreck->side == GW_SIDE_DESTINATION) {
        g_autofree char *monitor = gw_local_describe_monitor (vm_dir);
        if (qemu.is_known)
            find_by_option ("-chardev", monitor, &qemu);
        else
            find_by_file (wreck, &qemu);
        g_free (qemu.monitor);
        qemu.monitor = g_build_filename (vm_dir, "qmp.sock", NULL);
    }
    qemu.is_alive = gw_host_process_is_alive (qemu.pid, qemu.start_time) &&
                    (wreck->side == GW_SIDE_SOURCE || names_directory ((pid_t) qemu.pid, vm_dir));
    *ret_qemu = qemu;
    return objects != NULL;
}

void
gw_wreck_qemu_clear (GwWreckQemu *qemu)
{
    g_free (qemu->monitor);
}

gboolean
gw_wreck_kill (const GwWreck *wreck, const GwWreckQemu *qemu, GError **error)
{
    gint64 deadline = gw_deadline_ms (END_MS);
    g_auto (GwFd) fd = qemu->is_alive ? (int) syscall (SYS_pidfd_open, (pid_t) qemu->pid, 0) : -1;
    if (fd < 0 || !gw_host_process_is_alive (qemu->pid, qemu->start_time))
        return TRUE; /* it has ended, or is another one by now */
    (void) syscall (SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0); /* whether it helped is seen below */
    while (gw_host_process_is_alive (qemu->pid, qemu->start_time)) {
        if (g_get_monotonic_time () > deadline)
            return gw_fail (error, GW_CAUSE_QMP_TIMEOUT, "its QEMU (pid %" G_GINT64_FORMAT ") does not end",
                            qemu->pid);
        (void) gw_wait_ms (wreck->context, POLL_MS, NULL, NULL);
    }
    return TRUE;
}

/* --- what the job made ---------------------------------------------------------------------------------- */

/* As gw_created_remove(): what has changed since is still the same file. */
static void
remove_file (JsonObject *object)
{
    const char *path = gw_json_peek_string (object, "path", "");
    gint64 ino = gw_json_peek_int (object, "ino", 0);
    struct stat st;
    if (ino != 0 && lstat (path, &st) == 0 && (S_ISSOCK (st.st_mode) || S_ISREG (st.st_mode)) &&
        (gint64) st.st_ino == ino && (gint64) st.st_dev == gw_json_peek_int (object, "dev", 0))
        (void) unlink (path); /* what stays is only a name */
}

/* It was made, and the job died before it had written which file that is: it has the job's name on it. */
static void
complete_identity (const GwWreck *wreck, JsonObject *object)
{
    struct stat st;
    if (gw_json_peek_int (object, "ino", 0) != 0 ||
        !gw_image_is_of (gw_json_peek_string (object, "path", ""), wreck->job, &st))
        return;
    json_object_set_int_member (object, "dev", (gint64) st.st_dev);
    json_object_set_int_member (object, "ino", (gint64) st.st_ino);
}

static gboolean
put_image_away (const GwWreck *wreck, JsonObject *object, GError **error)
{
    complete_identity (wreck, object);
    return gw_wreck_quarantine (wreck, object, error);
}

static gboolean
keep_partial (const GwWreck *wreck, JsonObject *object, GError **error)
{
    struct stat st;
    complete_identity (wreck, object);
    if (gw_object_is_at (object, &st))
        gw_image_keep_partial (gw_json_peek_string (object, "path", ""));
    return TRUE;
}

/* "PATH.before-JOB": the file that was to be replaced gets its name back, if that is free. */
static gboolean
bring_aside_back (const GwWreck *wreck, JsonObject *object, GError **error)
{
    const char *path = gw_json_peek_string (object, "path", "");
    g_autofree char *suffix = g_strconcat (".before-", wreck->job, NULL);
    struct stat st;
    if (!gw_object_is_at (object, &st) || !g_str_has_suffix (path, suffix))
        return TRUE;
    g_autofree char *name = g_strndup (path, strlen (path) - strlen (suffix));
    (void) renameat2 (AT_FDCWD, path, AT_FDCWD, name, RENAME_NOREPLACE); /* else it keeps its other name */
    return TRUE;
}

static gboolean
remove_made_file (const GwWreck *wreck, JsonObject *object, GError **error)
{
    remove_file (object);
    return TRUE;
}

static gboolean
remove_token (const GwWreck *wreck, JsonObject *object, GError **error)
{
    gw_token_remove (object);
    return TRUE;
}

/* It ends by itself when its lease does; QEMU has ended, or needs it. */
static gboolean
end_courier (const GwWreck *wreck, JsonObject *object, GError **error)
{
    gint64 pid = gw_json_peek_int (object, "pid", 0);
    const GwWreckQemu courier = { .pid = pid, .start_time = gw_json_peek_int (object, "start_time", 0),
                                  .is_alive = names_directory ((pid_t) pid, wreck->job) };
    (void) unlink (gw_json_peek_string (object, "path", "")); /* perhaps it was never made */
    return gw_wreck_kill (wreck, &courier, error);
}

/* Before its image is touched. */
static gboolean
end_server (const GwWreck *wreck, JsonObject *object, GError **error)
{
    GwWreckQemu server = { .pid = gw_json_peek_int (object, "pid", 0),
                           .start_time = gw_json_peek_int (object, "start_time", 0) };
    find_by_option ("--socket", gw_json_peek_string (object, "path", ""), &server);
    server.is_alive = server.pid != 0 && names_directory ((pid_t) server.pid, wreck->job);
    return gw_wreck_kill (wreck, &server, error);
}

static gboolean
forget_courier (const GwWreck *wreck, JsonObject *object, GError **error)
{
    (void) unlink (gw_json_peek_string (object, "path", "")); /* as above */
    return TRUE;
}

/* In this order: what was put aside comes back when its name is free. */
static const struct {
    const char *kind;
    gboolean (*undo) (const GwWreck *wreck, JsonObject *object, GError **error);
    gboolean (*keep) (const GwWreck *wreck, JsonObject *object, GError **error); /* the VM has arrived */
} kinds[] = {
    { "courier", end_courier, forget_courier },
    { "server", end_server, end_server },
    { "file", remove_made_file, NULL },
    { "token", remove_token, remove_token },
    { "image", put_image_away, NULL },
    { "kept-image", keep_partial, NULL },
    { "aside", bring_aside_back, gw_wreck_quarantine },
};

gboolean
gw_wreck_put_away (const GwWreck *wreck, gboolean has_arrived, GError **error)
{
    g_autoptr (JsonArray) objects =
        gw_journal_list_objects (wreck->journal, wreck->job, wreck->side, error);
    gboolean ok = objects != NULL;
    for (guint k = 0; ok && k < G_N_ELEMENTS (kinds); k++) {
        for (guint i = 0; ok && i < json_array_get_length (objects); i++) {
            JsonObject *object = json_array_get_object_element (objects, i);
            gboolean (*act) (const GwWreck *, JsonObject *, GError **) = has_arrived ? kinds[k].keep : kinds[k].undo;
            if (act != NULL && strcmp (gw_json_peek_string (object, "kind", ""), kinds[k].kind) == 0)
                ok = act (wreck, object, error);
        }
    }
    return ok;
}

void
gw_wreck_remove_directories (const GwWreck *wreck, gboolean also_of_vm)
{
    g_autofree char *job_dir = gw_directory_for_job (wreck->config, wreck->job, wreck->side);
    g_autofree char *vm_dir = gw_directory_for_vm (wreck->config, wreck->job);
    gw_directory_remove (job_dir);
    if (also_of_vm)
        gw_directory_remove (vm_dir);
}

gboolean
gw_wreck_take_apart (const GwWreck *wreck, GError **error)
{
    g_auto (GwWreckQemu) qemu = { 0 };
    if (!gw_wreck_find_qemu (wreck, &qemu, error) || !gw_wreck_kill (wreck, &qemu, error) ||
        !gw_wreck_put_away (wreck, FALSE, error))
        return FALSE;
    gw_wreck_remove_directories (wreck, TRUE);
    return TRUE;
}

/* --- its row -------------------------------------------------------------------------------------------------- */

JsonObject *
gw_wreck_find_row (const GwWreck *wreck, GError **error)
{
    g_autoptr (JsonArray) rows = gw_journal_find_job (wreck->journal, wreck->job, error);
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        if (strcmp (gw_json_peek_string (row, "side", ""), gw_side_name (wreck->side)) == 0)
            return json_object_ref (row);
    }
    return rows != NULL ? json_object_new () : NULL;
}

gboolean
gw_wreck_is_open (JsonObject *row)
{
    const char *result = gw_json_peek_string (row, "result", NULL);
    return result != NULL && (*result == '\0' || strcmp (result, "undecided") == 0);
}

/* What its coordinator told of it when it was undecided; the end is known now. */
static JsonObject *
amend_report (const GwWreck *wreck, const char *result)
{
    static const struct {
        const char *result, *runs_on, *words;
    } ends[] = { { "moved", "destination", "it was settled later: the destination has started the VM" },
                 { "stayed", "source", "it was settled later: the VM stays on the source" },
                 { "lost", "nowhere", "it was settled later: its QEMUs are gone" } };
    JsonObject *report = wreck->side == GW_SIDE_SOURCE
                             ? gw_journal_get_report (wreck->journal, wreck->job, NULL) : NULL;
    for (guint i = 0; report != NULL && i < G_N_ELEMENTS (ends); i++) {
        JsonArray *warnings = gw_json_peek_array (report, "warnings");
        if (strcmp (ends[i].result, result) != 0)
            continue;
        json_object_set_string_member (report, "result", result);
        json_object_set_string_member (report, "runs_on", ends[i].runs_on);
        if (warnings != NULL)
            json_array_add_string_element (warnings, ends[i].words);
    }
    return report;
}

gboolean
gw_wreck_close (const GwWreck *wreck, const char *result, GError **error)
{
    g_autoptr (JsonObject) report = amend_report (wreck, result);
    return gw_journal_end_job (wreck->journal, wreck->job, wreck->side, result, report, error) &&
           gw_journal_drop_objects (wreck->journal, wreck->job, wreck->side, error);
}
