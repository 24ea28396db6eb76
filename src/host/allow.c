/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "allow.h"

#include "cmdline.h"
#include "host-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- where a path leads -------------------------------------------------------------------------------------- */

/* The kernel's name of what `path` leads to; NULL with errno when it is not there. */
static char *
ask_kernel (const char *path)
{
    g_auto (GwFd) fd = open (path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    g_autofree char *link = g_strdup_printf ("/proc/self/fd/%d", fd);
    char *name = g_file_read_link (link, NULL);
    if (name == NULL)
        errno = EIO;
    return name;
}

static gboolean
is_link (const char *path)
{
    struct stat st;
    return lstat (path, &st) == 0 && S_ISLNK (st.st_mode);
}

static gboolean
has_dots (const char *path)
{
    g_auto (GStrv) parts = g_strsplit (path, "/", -1);
    return g_strv_contains ((const char *const *) parts, "..") || g_strv_contains ((const char *const *) parts, ".");
}

/* What is not there yet is judged by the nearest directory that is. */
char *
gw_allow_resolve (const char *path)
{
    if (!g_path_is_absolute (path) || has_dots (path) || strlen (path) >= PATH_MAX)
        return NULL;
    g_autofree char *known = g_strdup (path);
    g_autoptr (GString) rest = g_string_new (NULL);
    for (;;) {
        g_autofree char *real = ask_kernel (known);
        if (real != NULL)
            return rest->len == 0 ? g_steal_pointer (&real)
                                  : g_strconcat (strcmp (real, "/") == 0 ? "" : real, rest->str, NULL);
        if (errno != ENOENT || is_link (known) || strcmp (known, "/") == 0)
            return NULL;
        g_autofree char *base = g_path_get_basename (known);
        g_autofree char *above = g_path_get_dirname (known);
        g_string_prepend (rest, base);
        g_string_prepend_c (rest, '/');
        g_free (known);
        known = g_steal_pointer (&above);
    }
}

static gboolean
is_below (const char *real, char *const *dirs)
{
    for (gsize i = 0; dirs[i] != NULL; i++) {
        g_autofree char *allowed = gw_allow_resolve (dirs[i]);
        gsize len = allowed != NULL ? strlen (allowed) : 0;
        if (len > 0 && strncmp (real, allowed, len) == 0 &&
            (real[len] == '\0' || real[len] == '/' || allowed[len - 1] == '/'))
            return TRUE;
    }
    return FALSE;
}

/* --- paths --------------------------------------------------------------------------------------------------- */

static const char *const harmless_files[] = { "/dev/null", "/dev/random", "/dev/urandom", NULL };

static const char *const kind_names[] = {
    [GW_ALLOW_IMAGE] = "[disks] directories",
    [GW_ALLOW_BASE] = "[disks] or [files] directories",
    [GW_ALLOW_SOCKET] = "[sockets] directories",
    [GW_ALLOW_FILE] = "[files] directories",
};

static gboolean
is_allowed (const GwHostConfig *config, GwAllowKind kind, const char *real)
{
    switch (kind) {
    case GW_ALLOW_IMAGE:
        return is_below (real, config->image_dirs);
    case GW_ALLOW_BASE:
        return is_below (real, config->image_dirs) || is_allowed (config, GW_ALLOW_FILE, real);
    case GW_ALLOW_SOCKET:
        return config->socket_dirs == NULL || is_below (real, config->socket_dirs);
    case GW_ALLOW_FILE:
        return config->file_dirs == NULL || is_below (real, config->file_dirs) ||
               g_strv_contains (harmless_files, real);
    }
    return FALSE;
}

gboolean
gw_allow_path (const GwHostConfig *config, GwAllowKind kind, const char *path, GError **error)
{
    g_autofree char *real = gw_allow_resolve (path);
    if (real != NULL && is_allowed (config, kind, real))
        return TRUE;
    g_autofree char *clean = gw_text_clean (path, -1, 300);
    gboolean is_elsewhere = real != NULL && strcmp (real, path) != 0;
    g_autofree char *leads = is_elsewhere ? g_strdup_printf (", which is '%s',", real) : g_strdup ("");
    return gw_fail (error, GW_CAUSE_NOT_ALLOWED, "'%s'%s is not below %s of this host's configuration", clean, leads,
                    kind_names[kind]);
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

static gboolean
matches (char *const *patterns, const char *name)
{
    for (gsize i = 0; patterns[i] != NULL; i++)
        if (g_pattern_match_simple (patterns[i], name))
            return TRUE;
    return FALSE;
}

gboolean
gw_allow_knows (const GwHostConfig *config, const char *path)
{
    if (strchr (path, '/') == NULL)
        return matches (config->interfaces, path);
    g_autofree char *real = gw_allow_resolve (path);
    return real != NULL && (is_allowed (config, GW_ALLOW_BASE, real) || is_allowed (config, GW_ALLOW_SOCKET, real));
}

gboolean
gw_allow_interface (const GwHostConfig *config, const char *name, GError **error)
{
    g_autofree char *clean = gw_text_clean (name, -1, 100);
    return (strchr (name, '/') == NULL && matches (config->interfaces, name)) ||
           gw_fail (error, GW_CAUSE_NOT_ALLOWED, "[networks] interfaces of this host's configuration has no '%s'",
                    clean);
}

gboolean
gw_allow_helper (const GwHostConfig *config, const char *path, GError **error)
{
    g_autofree char *clean = gw_text_clean (path, -1, 300);
    return g_strv_contains ((const char *const *) config->qemu_helpers, path) ||
           gw_fail (error, GW_CAUSE_NOT_ALLOWED,
                    "[qemu] helpers of this host's configuration has no '%s', which QEMU would start", clean);
}

gboolean
gw_allow_user (const GwHostConfig *config, const char *user, GError **error)
{
    const char *name = user != NULL ? user : g_get_user_name ();
    if (geteuid () != 0 || (config->qemu_users == NULL && !gw_host_config_is_confined (config)))
        return TRUE;
    gboolean is_ok = config->qemu_users != NULL ? g_strv_contains ((const char *const *) config->qemu_users, name)
                                                : strcmp (name, "root") != 0;
    g_autofree char *clean = gw_text_clean (name, -1, 100);
    return is_ok || gw_fail (error, GW_CAUSE_NOT_ALLOWED,
                             "[qemu] users of this host's configuration lets no QEMU run as '%s'", clean);
}

gboolean
gw_allow_direct (const GwHostConfig *config, const char *what, GError **error)
{
    g_autofree char *clean = gw_text_clean (what, -1, 300);
    return config->is_direct ||
           gw_fail (error, GW_CAUSE_NOT_ALLOWED,
                    "'%s' would use the network by itself, and [networks] direct of this host's configuration is false",
                    clean);
}

gboolean
gw_allow_image_options (const GwHostConfig *config, const char *options, GError **error)
{
    static const char *const harmless[] = { "compat", "cluster_size", "extended_l2", "lazy_refcounts",
                                            "refcount_bits", "compression_type", "preallocation", NULL };
    g_auto (GStrv) list = g_strsplit (options != NULL ? options : "", ",", -1);
    for (gsize i = 0; gw_host_config_is_confined (config) && list[i] != NULL; i++) {
        g_autofree char *key = g_strndup (list[i], strcspn (list[i], "="));
        if (!g_strv_contains (harmless, key))
            return gw_fail (error, GW_CAUSE_NOT_ALLOWED, "'%s' is no option with which this host makes images", key);
    }
    return TRUE;
}

const char *
gw_allow_choose_cwd (const GwHostConfig *config, const char *cwd, const char *own)
{
    if (gw_host_config_is_confined (config))
        return own;
    return g_file_test (cwd, G_FILE_TEST_IS_DIR) ? cwd : "/"; /* paths are absolute anyway */
}
