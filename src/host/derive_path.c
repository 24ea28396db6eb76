/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths of a command line that is being derived: mapped, made absolute, and noted as what the
 * destination must have. */
#include "derive.h"

#include <string.h>

/* `path` under the longest of the maps that fits a whole leading part of it; NULL if none does. */
static char *
apply_maps (const char *const *maps, const char *path)
{
    char *best = NULL;
    gsize best_len = 0;
    for (gsize i = 0; maps != NULL && maps[i] != NULL; i++) {
        const char *equals = strchr (maps[i], '=');
        gsize len = equals != NULL ? (gsize) (equals - maps[i]) : 0;
        if (len == 0 || len < best_len || strncmp (path, maps[i], len) != 0)
            continue;
        if (path[len] != '\0' && path[len] != '/' && maps[i][len - 1] != '/')
            continue;
        g_free (best);
        best = g_strconcat (equals + 1, path + len, NULL);
        best_len = len;
    }
    return best;
}

/* "nbd:...", "rbd:...", "null-co://": a protocol, not a path.  "file:" is taken off. */
static const char *
local_path (const char *path)
{
    if (g_str_has_prefix (path, "file:"))
        return path + strlen ("file:");
    const char *colon = strchr (path, ':');
    const char *slash = strchr (path, '/');
    if (*path == '\0' || (colon != NULL && (slash == NULL || colon < slash)))
        return NULL;
    return path;
}

void
gw_derive_add_rewrite (GwDerive *d, const char *option, const char *from, const char *to,
                       const char *why)
{
    GwRewrite *rewrite = g_new0 (GwRewrite, 1);
    rewrite->option = g_strdup (option);
    rewrite->from = g_strdup (from);
    rewrite->to = g_strdup (to);
    rewrite->why = g_strdup (why);
    g_ptr_array_add (d->out->rewrites, rewrite);
}

void
gw_derive_add_need (GwDerive *d, const char *kind, const char *source_path, const char *path)
{
    GwNeed *need = g_new0 (GwNeed, 1);
    need->kind = g_strdup (kind);
    need->path = g_strdup (path);
    need->source_path = g_strdup (source_path);
    g_ptr_array_add (d->out->needs, need);
}

/* The path for the destination: absolute and mapped.  A bare name (a firmware file that QEMU looks
 * up in its own directories) stays unless a map names it.  NULL: `path` is no local path. */
char *
gw_derive_move_path (GwDerive *d, const char *option, const char *kind, const char *path,
                     gboolean is_lookup)
{
    const char *local = local_path (path);
    if (local == NULL)
        return NULL;
    gboolean is_bare = is_lookup && strchr (local, '/') == NULL;
    g_autofree char *absolute = g_path_is_absolute (local) || is_bare
                                    ? g_strdup (local)
                                    : g_build_filename (d->vm->cwd, local, NULL);
    char *mapped = apply_maps (d->maps, absolute);
    if (mapped != NULL)
        gw_derive_add_rewrite (d, option, path, mapped, "--map");
    else if (strcmp (absolute, path) != 0)
        gw_derive_add_rewrite (d, option, path, absolute, "made absolute");
    if (!is_bare)
        gw_derive_add_need (d, kind, absolute, mapped != NULL ? mapped : absolute);
    return mapped != NULL ? mapped : g_steal_pointer (&absolute);
}

/* --- options with keys ------------------------------------------------------------------------- */

typedef struct {
    GwDerive *derive;
    const GwOption *option;
    const char *kind;
} KeyVisit;

static gboolean
is_key (const char *keys, const char *key)
{
    g_auto (GStrv) list = g_strsplit (keys, " ", -1);
    return g_strv_contains ((const char *const *) list, key);
}

static char *
visit_key (const char *key, const char *value, gpointer user_data)
{
    KeyVisit *visit = user_data;
    if (!is_key (visit->option->info->keys, key) || strcmp (value, "no") == 0)
        return NULL;
    if (strcmp (key, "ifname") == 0 || strcmp (key, "br") == 0) { /* names, not paths */
        char *mapped = apply_maps (visit->derive->maps, value);
        if (mapped != NULL)
            gw_derive_add_rewrite (visit->derive, visit->option->name, value, mapped, "--map");
        return mapped;
    }
    if (strcmp (key, "addr") == 0 && *value != '/') /* a network address, or a socket's path */
        return NULL;
    return gw_derive_move_path (visit->derive, visit->option->name, visit->kind, value,
                                strcmp (key, "romfile") == 0);
}

void
gw_derive_move_keys (GwDerive *d, const GwOption *option, GwOptStr *opt, const char *kind)
{
    KeyVisit visit = { d, option, kind };
    gw_optstr_visit (opt, visit_key, &visit);
}

/* --- the images below a disk ---------------------------------------------------------------------- */

static const GwNeed *
find_need (const GwDerive *d, const char *source_path)
{
    for (guint i = 0; i < d->out->needs->len; i++) {
        const GwNeed *need = d->out->needs->pdata[i];
        if (g_strcmp0 (need->source_path, source_path) == 0)
            return need;
    }
    return NULL;
}

/* The images below a disk, which QEMU opens by the name that stands in the image above.  One that the
 * command line names itself is among the needs already. */
void
gw_derive_need_backing (GwDerive *d, const GwDisk *disk)
{
    const GwNeed *top = disk->path != NULL ? find_need (d, disk->path) : NULL;
    g_autofree char *above = g_strdup (top != NULL ? top->path : disk->path);
    for (guint i = 0; above != NULL && disk->backing != NULL && i < disk->backing->len; i++) {
        const GwBacking *backing = disk->backing->pdata[i];
        const char *name = local_path (backing->name);
        const GwNeed *known = find_need (d, backing->path);
        if (name == NULL)
            return;
        g_autofree char *directory = g_path_get_dirname (above);
        g_free (above);
        above = known != NULL ? g_strdup (known->path) : g_canonicalize_filename (name, directory);
        if (known == NULL)
            gw_derive_add_need (d, "backing", backing->path, above);
    }
}

/* --- the maps ------------------------------------------------------------------------------------ */

gboolean
gw_derive_check_maps (const char *const *maps, GError **error)
{
    for (gsize i = 0; maps != NULL && maps[i] != NULL; i++) {
        const char *equals = strchr (maps[i], '=');
        if (equals == NULL || equals == maps[i] || equals[1] == '\0')
            return gw_fail (error, GW_CAUSE_USAGE, "--map '%s' is not SOURCE=DESTINATION", maps[i]);
        if (*maps[i] == '/' && equals[1] != '/')
            return gw_fail (error, GW_CAUSE_USAGE, "--map '%s': '%s' is not an absolute path",
                            maps[i], equals + 1);
    }
    return TRUE;
}
