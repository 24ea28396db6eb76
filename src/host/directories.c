/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

gboolean
gw_job_id_is_valid (const char *job)
{
    gsize len = job != NULL ? strlen (job) : 0;
    return len > 0 && len <= 64 && g_ascii_isalnum (*job) &&
           strspn (job, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == len;
}

char *
gw_directory_for_job (const GwHostConfig *config, const char *job, GwSide side)
{
    g_autofree char *name = g_strconcat (job, side == GW_SIDE_SOURCE ? "-src" : "-dst", NULL);
    return g_build_filename (config->runtime_dir, "jobs", name, NULL);
}

GStrv
gw_directory_list_jobs (const GwHostConfig *config)
{
    g_autoptr (GStrvBuilder) names = g_strv_builder_new ();
    g_autofree char *path = g_build_filename (config->runtime_dir, "jobs", NULL);
    g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
    const char *name;
    guint n = 0;
    while (dir != NULL && n++ < GW_ARRAY_MAX && (name = g_dir_read_name (dir)) != NULL)
        g_strv_builder_add (names, name);
    return g_strv_builder_end (names);
}

char *
gw_directory_for_vm (const GwHostConfig *config, const char *job)
{
    return g_build_filename (config->runtime_dir, "vms", job, NULL);
}

static gboolean
give_to (const char *path, const char *user, GError **error)
{
    char buffer[4096];
    struct passwd entry, *found = NULL;
    if (user == NULL || geteuid () != 0)
        return TRUE;
    if (getpwnam_r (user, &entry, buffer, sizeof buffer, &found) != 0 || found == NULL)
        return gw_fail (error, GW_CAUSE_HOST_IO,
                        "the VM's QEMU runs as user '%s', who does not exist on this host", user);
    if (chown (path, found->pw_uid, found->pw_gid) != 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "'%s': %s", path, g_strerror (errno));
    return TRUE;
}

gboolean
gw_directory_make (const char *path, const char *user, GError **error)
{
    g_autofree char *parent = g_path_get_dirname (path);
    /* QEMU may run as another user and must be able to pass through */
    if (g_mkdir_with_parents (parent, 0711) != 0 || (mkdir (path, 0700) != 0 && errno != EEXIST))
        return gw_fail (error, GW_CAUSE_HOST_IO, "cannot make directory '%s': %s", path,
                        g_strerror (errno));
    return give_to (path, user, error);
}

gboolean
gw_host_make_directories (const GwHostConfig *config, GError **error)
{
    static const char *const below_runtime[] = { "jobs", "vms", "control", "leases" };
    static const char *const below_state[] = { "qemu" };
    for (guint i = 0; i < G_N_ELEMENTS (below_runtime); i++) {
        g_autofree char *path = g_build_filename (config->runtime_dir, below_runtime[i], NULL);
        if (g_mkdir_with_parents (path, 0711) != 0)
            return gw_fail (error, GW_CAUSE_HOST_IO, "cannot make directory '%s': %s", path,
                            g_strerror (errno));
    }
    for (guint i = 0; i < G_N_ELEMENTS (below_state); i++) {
        g_autofree char *path = g_build_filename (config->state_dir, below_state[i], NULL);
        if (!gw_directory_make (path, NULL, error))
            return FALSE;
    }
    return TRUE;
}

void
gw_directory_remove (const char *path)
{
    g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
        g_autofree char *file = g_build_filename (path, name, NULL);
        (void) unlink (file); /* what stays keeps the directory, and that is seen below */
    }
    if (rmdir (path) != 0 && errno != ENOENT)
        g_warning ("cannot remove '%s': %s; ignoring", path, g_strerror (errno));
}
