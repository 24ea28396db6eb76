/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CMDLINE_MAX (1024 * 1024)

static char *
proc_path (pid_t pid, const char *name)
{
    return g_strdup_printf ("/proc/%d/%s", (int) pid, name);
}

gint64
gw_procfs_get_start_time (pid_t pid)
{
    g_autofree char *path = proc_path (pid, "stat");
    g_autofree char *text = NULL;
    if (!g_file_get_contents (path, &text, NULL, NULL))
        return 0;
    /* the second field is a name in brackets that may hold anything; field 22 counts after it */
    const char *p = strrchr (text, ')');
    /* a zombie has ended; its parent has only not looked yet */
    if (p != NULL && p[1] == ' ' && (p[2] == 'Z' || p[2] == 'X'))
        return 0;
    for (int field = 2; p != NULL && field < 22; field++) {
        p = strchr (p, ' ');
        if (p != NULL)
            p++;
    }
    return p != NULL ? g_ascii_strtoll (p, NULL, 10) : 0;
}

static gboolean
read_link (pid_t pid, const char *name, char **ret_target, GError **error)
{
    g_autofree char *path = proc_path (pid, name);
    *ret_target = g_file_read_link (path, error);
    if (*ret_target == NULL)
        return gw_error_adopt (error, GW_CAUSE_HOST_IO);
    if (g_str_has_suffix (*ret_target, " (deleted)")) /* the package was upgraded meanwhile */
        (*ret_target)[strlen (*ret_target) - strlen (" (deleted)")] = '\0';
    return TRUE;
}

GStrv
gw_procfs_read_argv (pid_t pid, GError **error)
{
    g_autofree char *path = proc_path (pid, "cmdline");
    g_autofree char *text = NULL;
    gsize len = 0;
    if (!g_file_get_contents (path, &text, &len, error)) {
        gw_error_adopt (error, GW_CAUSE_HOST_IO);
        return NULL;
    }
    if (len == 0 || len > CMDLINE_MAX) {
        gw_fail (error, GW_CAUSE_HOST_IO, "%s holds %" G_GSIZE_FORMAT " bytes", path, len);
        return NULL;
    }
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    for (gsize at = 0; at < len; at += strlen (text + at) + 1)
        g_strv_builder_add (builder, text + at);
    return g_strv_builder_end (builder);
}

static gboolean
has_option (pid_t pid, const char *option, const char *value)
{
    g_auto (GStrv) argv = gw_procfs_read_argv (pid, NULL);
    for (guint i = 0; argv != NULL && argv[i] != NULL && argv[i + 1] != NULL; i++)
        if (strcmp (argv[i], option) == 0 && strcmp (argv[i + 1], value) == 0)
            return TRUE;
    return FALSE;
}

pid_t
gw_procfs_find (const char *option, const char *value)
{
    g_autoptr (GDir) processes = g_dir_open ("/proc", 0, NULL);
    const char *name;
    while (processes != NULL && (name = g_dir_read_name (processes)) != NULL) {
        pid_t pid = (pid_t) g_ascii_strtoull (name, NULL, 10); /* 0 for what is no process */
        if (pid > 0 && pid != getpid () && has_option (pid, option, value))
            return pid;
    }
    return 0;
}

/* The user that QEMU runs as now, which -runas may have changed. */
static gboolean
read_user (pid_t pid, GwVm *vm, GError **error)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d", (int) pid);
    struct stat st;
    if (stat (path, &st) != 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "%s: %s", path, g_strerror (errno));
    vm->uid = st.st_uid;
    char buffer[4096];
    struct passwd entry, *found = NULL;
    if (getpwuid_r (st.st_uid, &entry, buffer, sizeof buffer, &found) == 0 && found != NULL)
        vm->user = g_strdup (found->pw_name);
    return TRUE;
}

gboolean
gw_procfs_has_open (pid_t pid, const char *file)
{
    g_autofree char *directory = proc_path (pid, "fd");
    g_autoptr (GDir) fds = g_dir_open (directory, 0, NULL);
    const char *name;
    struct stat st, other;
    if (fds == NULL)
        return TRUE;
    if (stat (file, &st) != 0)
        return FALSE;
    while ((name = g_dir_read_name (fds)) != NULL) {
        g_autofree char *link = g_build_filename (directory, name, NULL);
        if (stat (link, &other) == 0 && other.st_ino == st.st_ino && other.st_dev == st.st_dev)
            return TRUE;
    }
    return FALSE;
}

gboolean
gw_procfs_read_process (pid_t pid, GwVm *vm, GError **error)
{
    vm->pid = pid;
    vm->start_time = gw_procfs_get_start_time (pid);
    return read_link (pid, "exe", &vm->binary, error) && read_link (pid, "cwd", &vm->cwd, error) &&
           (vm->argv = gw_procfs_read_argv (pid, error)) != NULL && read_user (pid, vm, error);
}
