/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the destination's command line to that of a rehearsal: the same machine, CPU and devices, but
 * disks without content, networks that lead nowhere, character devices that swallow everything, RAM
 * that is not there before it is touched, no window and no other monitor.  What cannot be replaced
 * so that the devices stay what they are is an obstacle, and then there is no rehearsal.  Pure.
 */
#include "host-internal.h"

#include <string.h>

#define UNKNOWN_DISK_BYTES (G_GINT64_CONSTANT (1) << 30)
#define TAP_NAME "gwtry%d" /* the kernel puts a number there; gone with its QEMU */

typedef struct {
    const GwVm *vm;
    const GwDerived *derived;
    GPtrArray *options; /* GwOption, the result */
    GStrvBuilder *obstacles;
    guint n_hubs;
} Rehearse;

typedef void (*RewriteFn) (Rehearse *r, const GwOption *option);

static void
add (Rehearse *r, const char *name, const char *arg)
{
    g_ptr_array_add (r->options, gw_option_new (name, arg));
}

static void
add_opt (Rehearse *r, const char *name, const GwOptStr *opt)
{
    g_autofree char *arg = gw_optstr_to_text (opt);
    add (r, name, arg);
}

static void
add_obstacle (Rehearse *r, const char *option, const char *what)
{
    char *text = g_strdup_printf ("'%s %s' cannot be had a second time", option, what);
    g_strv_builder_add (r->obstacles, text);
    g_free (text);
}

static void
copy_keys (GwOptStr *to, const GwOptStr *from, const char *const *keys)
{
    for (guint i = 0; keys[i] != NULL; i++) {
        const char *value = gw_optstr_get (from, keys[i]);
        if (value != NULL)
            gw_optstr_set (to, keys[i], value);
    }
}

/* --- disks -------------------------------------------------------------------------------------- */

/* The size of the disk of a backend or node `name`, or behind `path` on the destination. */
static gint64
find_disk_bytes (const Rehearse *r, const char *name, const char *path)
{
    for (guint i = 0; path != NULL && i < r->derived->needs->len; i++) {
        const GwNeed *need = r->derived->needs->pdata[i];
        if (strcmp (need->path, path) == 0 && need->source_path != NULL) {
            path = need->source_path;
            break;
        }
    }
    for (guint i = 0; i < r->vm->disks->len; i++) {
        const GwDisk *disk = r->vm->disks->pdata[i];
        if ((name != NULL &&
             (g_strcmp0 (disk->device, name) == 0 || g_strcmp0 (disk->node, name) == 0)) ||
            (path != NULL && g_strcmp0 (disk->path, path) == 0))
            return disk->bytes;
    }
    return UNKNOWN_DISK_BYTES;
}

static gboolean
is_on (const char *value)
{
    return g_strcmp0 (value, "on") == 0 || g_strcmp0 (value, "true") == 0;
}

static void
rewrite_drive (Rehearse *r, const GwOption *option)
{
    static const char *const kept[] = { "if",    "id",       "index",  "bus",    "unit",
                                        "media", "readonly", "werror", "rerror", NULL };
    g_autoptr (GwOptStr) old = gw_optstr_parse (option->arg);
    g_autoptr (GwOptStr) opt = gw_optstr_parse ("");
    const char *file = gw_optstr_get (old, "file");
    if (file == NULL)
        file = gw_optstr_get (old, "file.filename");
    copy_keys (opt, old, kept);
    if (is_on (gw_optstr_get (old, "read-only")))
        gw_optstr_set (opt, "readonly", "on");
    if (file != NULL || gw_optstr_has (old, "driver") || gw_optstr_has (old, "file.driver")) {
        g_autofree char *bytes = g_strdup_printf (
            "%" G_GINT64_FORMAT, find_disk_bytes (r, gw_optstr_get (old, "id"), file));
        gw_optstr_set (opt, "format", "raw");
        gw_optstr_set (opt, "file.driver", "null-co");
        gw_optstr_set (opt, "file.size", bytes);
        gw_optstr_set (opt, "file.read-zeroes", "on");
    }
    add_opt (r, option->name, opt);
}

/* Each node by itself; what was below it in the graph is simply not used. */
static void
rewrite_blockdev (Rehearse *r, const GwOption *option)
{
    g_autoptr (GwOptStr) old = gw_optstr_parse (option->arg);
    const char *node = gw_optstr_get (old, "node-name");
    g_autoptr (JsonObject) json =
        *option->arg == '{' ? gw_json_parse (option->arg, -1, NULL) : NULL;
    gboolean is_read_only = is_on (gw_optstr_get (old, "read-only")) ||
                            (json != NULL && gw_json_peek_bool (json, "read-only", FALSE));
    g_autoptr (GwOptStr) opt = gw_optstr_parse ("driver=null-co");
    g_autofree char *bytes =
        g_strdup_printf ("%" G_GINT64_FORMAT, find_disk_bytes (r, node, NULL));
    if (node != NULL)
        gw_optstr_set (opt, "node-name", node);
    gw_optstr_set (opt, "size", bytes);
    gw_optstr_set (opt, "read-zeroes", "on");
    gw_optstr_set (opt, "read-only", is_read_only ? "on" : "off");
    add_opt (r, option->name, opt);
}

/* -hda IMAGE and the like, and an image without an option. */
static void
rewrite_image (Rehearse *r, const GwOption *option)
{
    g_autofree char *arg = g_strdup_printf (
        "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"null-co\",\"read-zeroes\":true,"
        "\"size\":%" G_GINT64_FORMAT "}}",
        find_disk_bytes (r, NULL, option->arg));
    if (*option->name != '\0')
        add (r, option->name, arg);
    else
        add (r, "-hda", arg);
}

/* --- networks ------------------------------------------------------------------------------------- */

/* Whether the guest was offered checksums and segments depends on the backend, so a tap stays one:
 * a new one, without address or bridge. */
static void
set_backend (Rehearse *r, GwOptStr *opt, const char *type, const GwOptStr *old, gboolean is_netdev)
{
    static const char *const of_tap[] = { "queues", "vnet_hdr", "sndbuf", NULL };
    if (strcmp (type, "tap") == 0 || strcmp (type, "bridge") == 0) {
        gw_optstr_set_first (opt, "type", "tap");
        copy_keys (opt, old, of_tap);
        gw_optstr_set (opt, "ifname", TAP_NAME);
        gw_optstr_set (opt, "script", "no");
        gw_optstr_set (opt, "downscript", "no");
    } else if (strcmp (type, "user") == 0 || !is_netdev) {
        gw_optstr_set_first (opt, "type", "user");
        gw_optstr_set (opt, "restrict", "on");
    } else {
        g_autofree char *hub = g_strdup_printf ("%u", 1000 + r->n_hubs++);
        gw_optstr_set_first (opt, "type", "hubport");
        gw_optstr_set (opt, "hubid", hub);
    }
}

static void
rewrite_netdev (Rehearse *r, const GwOption *option)
{
    static const char *const kept[] = { "id",    "model", "mac",  "macaddr",
                                        "addr", "vectors", "name", NULL };
    g_autoptr (GwOptStr) old = gw_optstr_parse (option->arg);
    g_autoptr (GwOptStr) opt = gw_optstr_parse ("type");
    const char *type = gw_optstr_get_first (old, "type");
    gboolean is_netdev = strcmp (option->info->name, "netdev") == 0;
    if (type == NULL || strcmp (type, "none") == 0 || strcmp (type, "nic") == 0) {
        add (r, option->name, option->arg);
        return;
    }
    if (g_str_has_prefix (type, "vhost-")) {
        add_obstacle (r, option->name, option->arg);
        return;
    }
    set_backend (r, opt, type, old, is_netdev);
    copy_keys (opt, old, kept);
    add_opt (r, option->name, opt);
}

/* --- everything else that leads out of QEMU -------------------------------------------------------- */

static void
rewrite_chardev (Rehearse *r, const GwOption *option)
{
    static const char *const kept[] = { "id", "mux", NULL };
    g_autoptr (GwOptStr) old = gw_optstr_parse (option->arg);
    g_autoptr (GwOptStr) opt = gw_optstr_parse ("null");
    copy_keys (opt, old, kept);
    add_opt (r, option->name, opt);
}

static void
rewrite_charspec (Rehearse *r, const GwOption *option)
{
    gboolean stays = strcmp (option->arg, "none") == 0 || g_str_has_prefix (option->arg, "chardev:");
    add (r, option->name, stays ? option->arg : "null");
}

static void
rewrite_audiodev (Rehearse *r, const GwOption *option)
{
    static const char *const kept[] = { "id", NULL };
    g_autoptr (GwOptStr) old = gw_optstr_parse (option->arg);
    g_autoptr (GwOptStr) opt = gw_optstr_parse ("none");
    copy_keys (opt, old, kept);
    add_opt (r, option->name, opt);
}

/* Memory of the same name and size, which nothing reserves. */
static void
rewrite_memory (Rehearse *r, const GwOption *option, const GwOptStr *old)
{
    static const char *const kept[] = { "id", "size", "x-use-canonical-path-for-ramblock-id", NULL };
    g_autoptr (GwOptStr) opt = gw_optstr_parse ("memory-backend-ram");
    copy_keys (opt, old, kept);
    if (!gw_optstr_has (opt, "size")) { /* a number in JSON */
        g_autoptr (JsonObject) json = gw_json_parse (option->arg, -1, NULL);
        g_autofree char *bytes = g_strdup_printf (
            "%" G_GINT64_FORMAT, json != NULL ? gw_json_peek_int (json, "size", 0) : 0);
        gw_optstr_set (opt, "size", bytes);
    }
    gw_optstr_set (opt, "reserve", "off");
    add_opt (r, option->name, opt);
}

static void
rewrite_object (Rehearse *r, const GwOption *option)
{
    static const char *const left_out[] = { "filter-", "colo-", "input-" };
    static const char *const obstacles[] = { "memory-backend-epc", "cryptodev-vhost", "can-host-",
                                             "dbus-vmstate",       "sev-",            "tdx-",
                                             "x-remote",           "x-vfio" };
    g_autoptr (GwOptStr) old = gw_optstr_parse (option->arg);
    const char *type = gw_optstr_get_first (old, "qom-type");
    for (guint i = 0; type != NULL && i < G_N_ELEMENTS (left_out); i++)
        if (g_str_has_prefix (type, left_out[i]))
            return;
    for (guint i = 0; type != NULL && i < G_N_ELEMENTS (obstacles); i++) {
        if (!g_str_has_prefix (type, obstacles[i]))
            continue;
        add_obstacle (r, option->name, option->arg);
        return;
    }
    if (type != NULL && g_str_has_prefix (type, "memory-backend-"))
        rewrite_memory (r, option, old);
    else
        add (r, option->name, option->arg);
}

/* Devices that hold something of their host which the device of the real destination will need. */
static void
rewrite_device (Rehearse *r, const GwOption *option)
{
    static const char *const obstacles[] = { "vhost-user", "vhost-scsi", "vhost-vdpa",
                                             "vfio-",      "usb-host",   "scsi-block",
                                             "scsi-generic", "qxl",      "ivshmem",
                                             "ccid-card-", "u2f-passthru" };
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    const char *type = gw_optstr_get_first (opt, "driver");
    for (guint i = 0; type != NULL && i < G_N_ELEMENTS (obstacles); i++)
        if (g_str_has_prefix (type, obstacles[i]))
            add_obstacle (r, option->name, type);
    add (r, option->name, option->arg);
}

static void
refuse (Rehearse *r, const GwOption *option)
{
    add_obstacle (r, option->name, option->arg != NULL ? option->arg : "");
}

static void
leave_out (Rehearse *r, const GwOption *option)
{
}

static const struct {
    const char *name;
    RewriteFn rewrite;
} rewrites[] = {
    { "drive", rewrite_drive },      { "blockdev", rewrite_blockdev }, { "hda", rewrite_image },
    { "hdb", rewrite_image },        { "hdc", rewrite_image },         { "hdd", rewrite_image },
    { "cdrom", rewrite_image },      { "fda", rewrite_image },         { "fdb", rewrite_image },
    { "pflash", rewrite_image },     { "sd", rewrite_image },          { "mtdblock", rewrite_image },
    { "", rewrite_image },           { "netdev", rewrite_netdev },     { "nic", rewrite_netdev },
    { "net", rewrite_netdev },       { "chardev", rewrite_chardev },   { "serial", rewrite_charspec },
    { "parallel", rewrite_charspec }, { "debugcon", rewrite_charspec },
    { "audiodev", rewrite_audiodev }, { "object", rewrite_object },    { "device", rewrite_device },
    { "tpmdev", refuse },            { "readconfig", refuse },         { "qmp", leave_out },
    { "qmp-pretty", leave_out },     { "mon", leave_out },             { "monitor", leave_out },
    { "gdb", leave_out },            { "s", leave_out },               { "vnc", leave_out },
    { "spice", leave_out },          { "display", leave_out },         { "nographic", leave_out },
    { "pidfile", leave_out },        { "D", leave_out },               { "trace", leave_out },
    { "mem-path", leave_out },       { "mem-prealloc", leave_out },    { "overcommit", leave_out },
};

static void
rewrite_option (Rehearse *r, const GwOption *option)
{
    for (guint i = 0; i < G_N_ELEMENTS (rewrites); i++) {
        if (strcmp (rewrites[i].name, option->info->name) != 0 ||
            (*option->info->name == '\0' && option->info->action != GW_OPTION_IMAGE))
            continue;
        rewrites[i].rewrite (r, option);
        return;
    }
    add (r, option->name, option->arg);
}

GStrv
gw_derive_rehearsal (const GwVm *vm, const GwDerived *derived, GStrv *ret_obstacles, GError **error)
{
    static const char *const program[] = { "", NULL };
    g_autoptr (GStrvBuilder) whole = g_strv_builder_new ();
    g_strv_builder_addv (whole, (const char **) program);
    g_strv_builder_addv (whole, (const char **) derived->argv);
    g_auto (GStrv) argv = g_strv_builder_end (whole);
    g_autoptr (GPtrArray) options = gw_cmdline_parse ((const char *const *) argv, error);
    if (options == NULL)
        return NULL;
    g_autoptr (GPtrArray) result = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_option_free);
    g_autoptr (GStrvBuilder) obstacles = g_strv_builder_new ();
    Rehearse r = { vm, derived, result, obstacles, 0 };
    for (guint i = 0; i < options->len; i++)
        rewrite_option (&r, options->pdata[i]);
    add (&r, "-display", "none");
    add (&r, "-monitor", "none");
    *ret_obstacles = g_strv_builder_end (obstacles);
    return gw_cmdline_to_argv (result);
}
