/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the VM as it runs to the command line that makes the same VM on another host.
 *
 * The source's own command line is the base, because QEMU cannot tell all that was asked of it.
 * What it does not say, or says in words that another QEMU may read differently, comes from the
 * running VM: the machine type with its version, the address of every device, devices and backends
 * that came or went at run time.  What names a resource of the host goes through the path map.
 * Pure.
 */
#include "derive.h"

#include <string.h>

/* --- paths ------------------------------------------------------------------------------------- */

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

static void
add_need (GwDerive *d, const char *kind, const char *source_path, const char *path)
{
    GwNeed *need = g_new0 (GwNeed, 1);
    need->kind = g_strdup (kind);
    need->path = g_strdup (path);
    need->source_path = g_strdup (source_path);
    g_ptr_array_add (d->out->needs, need);
}

/* The path for the destination: absolute and mapped.  A bare name (a firmware file that QEMU looks
 * up in its own directories) stays unless a map names it.  NULL: `path` is no local path. */
static char *
move_path (GwDerive *d, const char *option, const char *kind, const char *path, gboolean is_lookup)
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
        add_need (d, kind, absolute, mapped != NULL ? mapped : absolute);
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
    return move_path (visit->derive, visit->option->name, visit->kind, value,
                      strcmp (key, "romfile") == 0);
}

void
gw_derive_move_keys (GwDerive *d, const GwOption *option, GwOptStr *opt, const char *kind)
{
    KeyVisit visit = { d, option, kind };
    gw_optstr_visit (opt, visit_key, &visit);
}

/* A server that waits for its first client would keep the destination's QEMU from starting. */
static void
do_not_wait (GwDerive *d, const GwOption *option, GwOptStr *opt)
{
    const char *server = gw_optstr_get (opt, "server");
    gboolean is_server = (server != NULL && strcmp (server, "off") != 0) ||
                         gw_optstr_has_flag (opt, "server");
    const char *wait = gw_optstr_get (opt, "wait");
    gboolean waits = wait != NULL ? strcmp (wait, "off") != 0 : !gw_optstr_has_flag (opt, "nowait");
    if (!is_server || !waits)
        return;
    gw_optstr_remove_flag (opt, "wait");
    gw_optstr_set (opt, "wait", "off");
    gw_derive_add_rewrite (d, option->name, "wait=on", "wait=off", "nobody is connected yet");
}

static gboolean
is_gone (GwDerive *d, const GwOption *option, const char *id, const char *const *present)
{
    if (id == NULL || (present != NULL && g_strv_contains (present, id)))
        return FALSE;
    gw_derive_add_rewrite (d, option->name, id, "", "removed from the VM at run time");
    return TRUE;
}

static gboolean
is_chardev_gone (GwDerive *d, const GwOption *option, const char *id)
{
    for (guint i = 0; i < d->vm->chardevs->len; i++)
        if (g_strcmp0 (((GwChardev *) d->vm->chardevs->pdata[i])->label, id) == 0)
            return FALSE;
    return is_gone (d, option, id, NULL);
}

static gboolean
refuse_fd (const GwOption *option, const GwOptStr *opt, GError **error)
{
    static const char *const keys[] = { "fd", "fds", "vhostfd", "vhostfds", "sock_fd" };
    for (guint i = 0; i < G_N_ELEMENTS (keys); i++)
        if (gw_optstr_has (opt, keys[i]))
            return gw_fail (error, GW_CAUSE_OPTION_UNSUPPORTED,
                            "'%s %s': a file descriptor (%s=) of the source's parent process "
                            "cannot be had on another host",
                            option->name, option->arg, keys[i]);
    return TRUE;
}

/* --- devices ------------------------------------------------------------------------------------- */

static const GwDevice *
find_device (const GwVm *vm, const char *id, const char *path)
{
    for (guint i = 0; i < vm->devices->len; i++) {
        const GwDevice *device = vm->devices->pdata[i];
        if (id != NULL ? g_strcmp0 (device->id, id) == 0 : strcmp (device->path, path) == 0)
            return device;
    }
    return NULL;
}

/* QEMU numbers the devices that have no id as it makes them: first the plain ones and those of
 * -virtfs as they stand, then the disks of -drive if=virtio, then the devices in JSON (qemu_init()
 * and qemu_create_cli_devices() of 7.2). */
static GwAnonymous
anonymous_kind (const GwOption *option)
{
    g_autoptr (GwOptStr) opt = option->arg != NULL ? gw_optstr_parse (option->arg) : NULL;
    if (strcmp (option->info->name, "virtfs") == 0)
        return GW_ANONYMOUS_PLAIN;
    if (option->info->action == GW_OPTION_DRIVE)
        return g_strcmp0 (gw_optstr_get (opt, "if"), "virtio") == 0 ? GW_ANONYMOUS_DRIVE
                                                                    : GW_ANONYMOUS_NONE;
    if (option->info->action != GW_OPTION_DEVICE || gw_optstr_get (opt, "id") != NULL)
        return GW_ANONYMOUS_NONE;
    return *option->arg == '{' ? GW_ANONYMOUS_JSON : GW_ANONYMOUS_PLAIN;
}

/* The number with which each kind begins. */
static void
number_anonymous (GwDerive *d, const GPtrArray *options)
{
    guint count[GW_N_ANONYMOUS] = { 0 };
    for (guint i = 0; i < options->len; i++)
        count[anonymous_kind (options->pdata[i])]++;
    for (guint kind = GW_ANONYMOUS_PLAIN; kind < GW_N_ANONYMOUS; kind++) {
        d->next_anonymous[kind] = d->n_anonymous;
        d->n_anonymous += count[kind];
    }
}

static void
add_pins (GwDerive *d, const GwOption *option, GwOptStr *opt, const GwDevice *device)
{
    for (gsize i = 0; device->pins != NULL && device->pins[i] != NULL; i++) {
        const char *equals = strchr (device->pins[i], '=');
        g_autofree char *key = g_strndup (device->pins[i], (gsize) (equals - device->pins[i]));
        if (gw_optstr_has (opt, key))
            continue;
        gw_optstr_set (opt, key, equals + 1);
        gw_derive_add_rewrite (d, option->name, device->id != NULL ? device->id : device->type,
                               device->pins[i], "pinned to where the VM has it");
    }
}

/* `index` is that of a device without an id. */
static GwOptStr *
derive_device (GwDerive *d, const GwOption *option, guint index, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    const char *id = gw_optstr_get (opt, "id");
    g_autofree char *path = NULL;
    if (id == NULL)
        path = g_strdup_printf ("/machine/peripheral-anon/device[%u]", index);
    const GwDevice *device = find_device (d->vm, id, path);
    if (device == NULL || device->is_hotplugged) { /* another one may have come by the same id */
        gw_derive_add_rewrite (d, option->name, option->arg, "", "removed from the VM at run time");
        return NULL;
    }
    if (!refuse_fd (option, opt, error))
        return NULL;
    add_pins (d, option, opt, device);
    gw_derive_move_keys (d, option, opt, "input");
    return g_steal_pointer (&opt);
}

static GwOptStr *
derive_machine (GwDerive *d, const GwOption *option)
{
    GwOptStr *opt = gw_optstr_parse (option->arg);
    const char *type = gw_optstr_get_first (opt, "type");
    if (type == NULL)
        return opt;
    d->has_machine = TRUE;
    if (strcmp (type, d->vm->machine) != 0) {
        gw_derive_add_rewrite (d, option->name, type, d->vm->machine,
                               "machine type pinned to its version");
        gw_optstr_set_first (opt, "type", d->vm->machine);
    }
    return opt;
}

/* --- backends -------------------------------------------------------------------------------------- */

static GwOptStr *
derive_drive (GwDerive *d, const GwOption *option)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    const char *id = gw_optstr_get (opt, "id");
    gboolean is_backend = g_strcmp0 (gw_optstr_get (opt, "if"), "none") == 0;
    if (is_backend && is_gone (d, option, id, (const char *const *) d->vm->block_names))
        return NULL;
    gw_derive_move_keys (d, option, opt, "image");
    return g_steal_pointer (&opt);
}

static GwOptStr *
derive_blockdev (GwDerive *d, const GwOption *option)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    if (is_gone (d, option, gw_optstr_get (opt, "node-name"),
                 (const char *const *) d->vm->block_names))
        return NULL;
    gw_derive_move_keys (d, option, opt, "image");
    return g_steal_pointer (&opt);
}

/* What QEMU does with the path of a character device of that backend. */
static const char *
chardev_need_kind (const GwOptStr *opt, const char *backend)
{
    if (g_strcmp0 (backend, "file") == 0)
        return "file";
    if (g_strcmp0 (backend, "socket") != 0)
        return "input";
    const char *server = gw_optstr_get (opt, "server");
    gboolean is_server = server != NULL ? strcmp (server, "off") != 0
                                        : gw_optstr_has_flag (opt, "server");
    return is_server ? "socket" : "peer";
}

static GwOptStr *
derive_chardev (GwDerive *d, const GwOption *option, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    const char *id = gw_optstr_get (opt, "id");
    if (id != NULL && g_str_has_prefix (id, "godwit-"))
        return NULL; /* our own monitor of an earlier move */
    if (is_chardev_gone (d, option, id) || !refuse_fd (option, opt, error))
        return NULL;
    const char *backend = gw_optstr_get_first (opt, "backend");
    gw_derive_move_keys (d, option, opt, chardev_need_kind (opt, backend));
    do_not_wait (d, option, opt);
    /* the directory may be shared: keep what is there */
    if (g_strcmp0 (backend, "file") == 0 && !gw_optstr_has (opt, "append"))
        gw_optstr_set (opt, "append", "on");
    if (gw_optstr_has (opt, "logfile") && !gw_optstr_has (opt, "logappend"))
        gw_optstr_set (opt, "logappend", "on");
    return g_steal_pointer (&opt);
}

/* A tap that no script makes, and the bridge of a helper, must be there before QEMU is. */
static void
need_interface (GwDerive *d, const GwOption *option, const GwOptStr *opt)
{
    g_autoptr (GwOptStr) before = gw_optstr_parse (option->arg);
    const char *type = gw_optstr_get_first (opt, "type");
    const char *script = gw_optstr_get (opt, "script");
    gboolean is_bridge = g_strcmp0 (type, "bridge") == 0;
    const char *key = is_bridge || gw_optstr_has (opt, "helper") ? "br" : "ifname";
    const char *from = gw_optstr_get (before, key), *to = gw_optstr_get (opt, key);
    if (strcmp (key, "br") == 0)
        add_need (d, "bridge", from != NULL ? from : "br0", to != NULL ? to : "br0");
    else if (g_strcmp0 (type, "tap") == 0 && to != NULL && g_strcmp0 (script, "no") == 0)
        add_need (d, "tap", from, to);
}

static GwOptStr *
derive_netdev (GwDerive *d, const GwOption *option, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    gboolean is_netdev = strcmp (option->info->name, "netdev") == 0;
    if (is_netdev && is_gone (d, option, gw_optstr_get (opt, "id"),
                              (const char *const *) d->vm->netdevs))
        return NULL;
    if (!refuse_fd (option, opt, error))
        return NULL;
    gw_derive_move_keys (d, option, opt, "input");
    need_interface (d, option, opt);
    return g_steal_pointer (&opt);
}

static GwOptStr *
derive_object (GwDerive *d, const GwOption *option, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    if (is_gone (d, option, gw_optstr_get (opt, "id"), (const char *const *) d->vm->objects) ||
        !refuse_fd (option, opt, error))
        return NULL;
    gw_derive_move_keys (d, option, opt, "input");
    return g_steal_pointer (&opt);
}

static GwOptStr *
derive_keyed (GwDerive *d, const GwOption *option, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    if (!refuse_fd (option, opt, error))
        return NULL;
    gw_derive_move_keys (d, option, opt, "input");
    return g_steal_pointer (&opt);
}

static GwOptStr *
derive_mon (const GwOption *option)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    const char *chardev = gw_optstr_get_first (opt, "chardev");
    if (chardev != NULL && g_str_has_prefix (chardev, "godwit-"))
        return NULL;
    return g_steal_pointer (&opt);
}

/* Old style character devices that have a path or options; QEMU takes what follows "file:" and
 * "pipe:" as it stands. */
static const struct {
    const char *prefix;
    gboolean has_path, has_options;
} charspecs[] = {
    { "unix:", TRUE, TRUE },   { "file:", TRUE, FALSE },   { "pipe:", TRUE, FALSE },
    { "tcp:", FALSE, TRUE },   { "telnet:", FALSE, TRUE }, { "tn3270:", FALSE, TRUE },
    { "websocket:", FALSE, TRUE },
};

static char *
derive_charspec_path (GwDerive *d, const GwOption *option, const char *prefix, const char *path)
{
    char *moved = move_path (d, option->name, *prefix == 'f' ? "file" : "input", path, FALSE);
    return moved != NULL ? moved : g_strdup (path);
}

static char *
derive_charspec_options (GwDerive *d, const GwOption *option, gboolean has_path, const char *text)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (text);
    const char *path = has_path ? gw_optstr_get_first (opt, "path") : NULL;
    gboolean is_vnc = strcmp (option->info->name, "vnc") == 0; /* always a server */
    g_autofree char *moved =
        path != NULL
            ? move_path (d, option->name, is_vnc ? "socket" : chardev_need_kind (opt, "socket"),
                         path, FALSE)
            : NULL;
    if (moved != NULL)
        gw_optstr_set_first (opt, "path", moved);
    do_not_wait (d, option, opt);
    return gw_optstr_to_text (opt);
}

/* "unix:PATH,server=on,wait=off", "mon:telnet::4444,server=on", "file:PATH" ... */
static char *
derive_charspec (GwDerive *d, const GwOption *option)
{
    gsize at = g_str_has_prefix (option->arg, "mon:") ? strlen ("mon:") : 0;
    for (guint i = 0; i < G_N_ELEMENTS (charspecs); i++) {
        if (!g_str_has_prefix (option->arg + at, charspecs[i].prefix))
            continue;
        at += strlen (charspecs[i].prefix);
        g_autofree char *head = g_strndup (option->arg, at);
        g_autofree char *rest =
            charspecs[i].has_options
                ? derive_charspec_options (d, option, charspecs[i].has_path, option->arg + at)
                : derive_charspec_path (d, option, charspecs[i].prefix, option->arg + at);
        return g_strconcat (head, rest, NULL);
    }
    return g_strdup (option->arg);
}

/* --- the whole --------------------------------------------------------------------------------------- */

void
gw_derive_keep (GwDerive *d, const GwOption *option, const char *arg)
{
    g_ptr_array_add (d->options, gw_option_new (option->name, arg));
}

static void
keep_opt (GwDerive *d, const GwOption *option, GwOptStr *opt)
{
    if (opt == NULL)
        return; /* left out */
    g_autofree char *arg = gw_optstr_to_text (opt);
    gw_derive_keep (d, option, arg);
    gw_optstr_free (opt);
}

static void
keep_path (GwDerive *d, const GwOption *option, const char *kind)
{
    g_autofree char *moved = move_path (d, option->name, kind, option->arg,
                                        strcmp (option->info->name, "bios") == 0 ||
                                            strcmp (option->info->name, "option-rom") == 0);
    gw_derive_keep (d, option, moved != NULL ? moved : option->arg);
}

static void
keep_display (GwDerive *d, const GwOption *option)
{
    static const char *const windows[] = { "gtk", "sdl", "curses", "cocoa", "spice-app", NULL };
    g_auto (GStrv) parts = option->arg != NULL ? g_strsplit (option->arg, ",", 2) : NULL;
    if (parts != NULL && (parts[0] == NULL || !g_strv_contains (windows, parts[0]))) {
        gw_derive_keep (d, option, option->arg);
        return;
    }
    gw_derive_add_rewrite (d, option->name, option->arg != NULL ? option->arg : "", "-display none",
                           "a window of the source's screen");
    g_ptr_array_add (d->options, gw_option_new ("-display", "none"));
}

gboolean
gw_derive_option (GwDerive *d, const GwOption *option, GError **error)
{
    GError *failure = NULL;
    guint index = d->next_anonymous[anonymous_kind (option)]++;
    switch (option->info->action) {
    case GW_OPTION_KEEP:
    case GW_OPTION_FLAG:
        gw_derive_keep (d, option, option->arg);
        break;
    case GW_OPTION_DROP:
    case GW_OPTION_DROP_FLAG:
        break;
    case GW_OPTION_PATH:
        keep_path (d, option, "input");
        break;
    case GW_OPTION_CREATES:
        keep_path (d, option, "file");
        break;
    case GW_OPTION_IMAGE:
        keep_path (d, option, "image");
        break;
    case GW_OPTION_KEYED:
        keep_opt (d, option, derive_keyed (d, option, &failure));
        break;
    case GW_OPTION_MACHINE:
        keep_opt (d, option, derive_machine (d, option));
        break;
    case GW_OPTION_DEVICE:
        keep_opt (d, option, derive_device (d, option, index, &failure));
        break;
    case GW_OPTION_DRIVE:
        keep_opt (d, option, derive_drive (d, option));
        break;
    case GW_OPTION_BLOCKDEV:
        keep_opt (d, option, derive_blockdev (d, option));
        break;
    case GW_OPTION_CHARDEV:
        keep_opt (d, option, derive_chardev (d, option, &failure));
        break;
    case GW_OPTION_NETDEV:
        keep_opt (d, option, derive_netdev (d, option, &failure));
        break;
    case GW_OPTION_OBJECT:
        keep_opt (d, option, derive_object (d, option, &failure));
        break;
    case GW_OPTION_MON:
        keep_opt (d, option, derive_mon (option));
        break;
    case GW_OPTION_CHARSPEC: {
        g_autofree char *arg = derive_charspec (d, option);
        gw_derive_keep (d, option, arg);
        break;
    }
    case GW_OPTION_DISPLAY:
    case GW_OPTION_DISPLAY_FLAG:
        keep_display (d, option);
        break;
    case GW_OPTION_REFUSE:
    case GW_OPTION_REFUSE_FLAG:
        gw_fail (&failure, GW_CAUSE_OPTION_UNSUPPORTED,
                 "the VM was started with '%s', which cannot be carried to another host",
                 option->name);
        break;
    }
    if (failure != NULL)
        g_propagate_error (error, failure);
    return failure == NULL;
}

static gboolean
check_maps (const char *const *maps, GError **error)
{
    for (gsize i = 0; maps != NULL && maps[i] != NULL; i++) {
        const char *equals = strchr (maps[i], '=');
        if (equals == NULL || equals == maps[i] || equals[1] == '\0')
            return gw_fail (error, GW_CAUSE_USAGE, "--map '%s' is not SOURCE=DESTINATION",
                            maps[i]);
        if (*maps[i] == '/' && equals[1] != '/')
            return gw_fail (error, GW_CAUSE_USAGE, "--map '%s': '%s' is not an absolute path",
                            maps[i], equals + 1);
    }
    return TRUE;
}

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
static void
need_backing (GwDerive *d, const GwDisk *disk)
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
            add_need (d, "backing", backing->path, above);
    }
}

static gboolean
derive_all (GwDerive *d, const GPtrArray *options, GError **error)
{
    number_anonymous (d, options);
    for (guint i = 0; i < options->len; i++)
        if (!gw_derive_option (d, options->pdata[i], error))
            return FALSE;
    if (!d->has_machine) {
        gw_derive_add_rewrite (d, "-machine", "", d->vm->machine,
                               "QEMU's default, pinned to its version");
        g_ptr_array_insert (d->options, 0, gw_option_new ("-machine", d->vm->machine));
    }
    if (!gw_derive_add_hotplugged (d, error))
        return FALSE;
    for (guint i = 0; i < d->vm->disks->len; i++)
        need_backing (d, d->vm->disks->pdata[i]);
    return TRUE;
}

GwDerived *
gw_derive_command_line (const GwVm *vm, const char *const *maps, GError **error)
{
    if (!check_maps (maps, error))
        return NULL;
    g_autoptr (GPtrArray) options = gw_cmdline_parse ((const char *const *) vm->argv, error);
    if (options == NULL)
        return NULL;
    g_autoptr (GwDerived) out = gw_struct_new (&gw_derived_type);
    g_autoptr (GPtrArray) result = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_option_free);
    GwDerive d = { .vm = vm, .maps = maps, .options = result, .out = out };
    if (!derive_all (&d, options, error))
        return NULL;
    out->argv = gw_cmdline_to_argv (result);
    return g_steal_pointer (&out);
}
