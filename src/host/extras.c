/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Backends that were added at run time and that a hot-plugged device uses.
 *
 * QEMU does not keep the words of object-add, netdev_add, chardev-add and blockdev-add, so they are
 * put together again from what it tells about the result.  What cannot be told for certain is
 * refused (device-underivable) rather than guessed.
 */
#include "host-internal.h"

#include <string.h>

typedef struct {
    GwQmp *qmp;
    GwVm *vm;
    const char *info_network;
    GCancellable *cancellable;
    GHashTable *known;     /* ids that the command line has or that were described already */
    GStrvBuilder *extras;
} Extras;

/* Object types and those of their properties that make one. */
static const struct {
    const char *type, *properties;
} object_types[] = {
    { "rng-random", "filename" },
    { "rng-builtin", "" },
    { "iothread", "poll-max-ns poll-grow poll-shrink aio-max-batch" },
    { "memory-backend-ram", "size share prealloc" },
    { "memory-backend-file", "size share prealloc mem-path pmem" },
    { "memory-backend-memfd", "size share prealloc hugetlb hugetlbsize" },
    { "cryptodev-backend-builtin", "queues" },
    { "can-bus", "" },
};

static gboolean
underivable (GError **error, const char *what, const char *id, const char *why)
{
    return gw_fail (error, GW_CAUSE_DEVICE_UNDERIVABLE,
                    "%s '%s' was added at run time and cannot be described for another host: %s",
                    what, id, why);
}

static void
add_extra (Extras *x, const char *option, const char *arg)
{
    g_strv_builder_add (x->extras, option);
    g_strv_builder_add (x->extras, arg);
}

/* --- objects ---------------------------------------------------------------------------------------- */

static char *
ask_property (Extras *x, const char *path, const char *property, GError **error)
{
    g_autoptr (JsonObject) arguments =
        gw_json_new ("path:s", path, "property:s", property, NULL);
    g_autoptr (JsonNode) reply =
        gw_qmp_call (x->qmp, GW_QMP_QOM_GET, arguments, x->cancellable, error);
    if (reply == NULL || !JSON_NODE_HOLDS_VALUE (reply))
        return NULL;
    GType type = json_node_get_value_type (reply);
    if (type == G_TYPE_STRING)
        return g_strdup (json_node_get_string (reply));
    if (type == G_TYPE_BOOLEAN)
        return g_strdup (json_node_get_boolean (reply) ? "on" : "off");
    return g_strdup_printf ("%" G_GUINT64_FORMAT, (guint64) json_node_get_int (reply));
}

static const char *
object_properties (const char *type)
{
    for (guint i = 0; i < G_N_ELEMENTS (object_types); i++)
        if (g_strcmp0 (object_types[i].type, type) == 0)
            return object_types[i].properties;
    return NULL;
}

static gboolean
describe_object (Extras *x, const char *id, GError **error)
{
    g_autofree char *path = g_strdup_printf ("/objects/%s", id);
    g_autofree char *type = ask_property (x, path, "type", error);
    if (type == NULL)
        return FALSE;
    const char *properties = object_properties (type);
    if (properties == NULL)
        return underivable (error, type, id, "objects of this type are not known to godwit");
    g_autoptr (GwOptStr) opt = gw_optstr_parse (type);
    gw_optstr_set (opt, "id", id);
    g_auto (GStrv) names = g_strsplit (properties, " ", -1);
    for (gsize i = 0; names[i] != NULL; i++) {
        if (*names[i] == '\0')
            continue;
        g_autofree char *value = ask_property (x, path, names[i], NULL);
        if (value != NULL && *value != '\0')
            gw_optstr_set (opt, names[i], value);
    }
    g_autofree char *arg = gw_optstr_to_text (opt);
    add_extra (x, "-object", arg);
    return TRUE;
}

/* --- netdevs ------------------------------------------------------------------------------------------ */

/* "n0: index=0,type=user,net=10.0.2.0,restrict=off" of HMP's info network */
static char *
find_netdev_line (const char *info, const char *id)
{
    g_auto (GStrv) lines = g_strsplit (info, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        const char *p = lines[i] + strspn (lines[i], " \\");
        gsize len = strlen (id);
        if (strncmp (p, id, len) == 0 && g_str_has_prefix (p + len, ": "))
            return g_strstrip (g_strdup (p + len + 2));
    }
    return NULL;
}

static gboolean
describe_netdev (Extras *x, const char *id, GError **error)
{
    g_autofree char *line = find_netdev_line (x->info_network, id);
    if (line == NULL)
        return underivable (error, "netdev", id, "QEMU does not list it");
    g_autoptr (GwOptStr) seen = gw_optstr_parse (line);
    const char *type = gw_optstr_get (seen, "type");
    g_autoptr (GwOptStr) opt = gw_optstr_parse (type != NULL ? type : "");
    gw_optstr_set (opt, "id", id);
    if (g_strcmp0 (type, "tap") == 0 && gw_optstr_has (seen, "ifname")) {
        gw_optstr_set (opt, "ifname", gw_optstr_get (seen, "ifname"));
        gw_optstr_set (opt, "script", "no");
        gw_optstr_set (opt, "downscript", "no");
    } else if (g_strcmp0 (type, "user") == 0) {
        if (g_strcmp0 (gw_optstr_get (seen, "restrict"), "on") == 0)
            gw_optstr_set (opt, "restrict", "on");
    } else {
        return underivable (error, "netdev", id, line);
    }
    g_autofree char *arg = gw_optstr_to_text (opt);
    add_extra (x, "-netdev", arg);
    return TRUE;
}

/* --- chardevs ------------------------------------------------------------------------------------------ */

static gboolean
describe_chardev (Extras *x, const char *id, GError **error)
{
    const char *filename = NULL;
    for (guint i = 0; i < x->vm->chardevs->len; i++) {
        const GwChardev *chardev = x->vm->chardevs->pdata[i];
        if (g_strcmp0 (chardev->label, id) == 0)
            filename = chardev->filename;
    }
    if (filename == NULL)
        return underivable (error, "chardev", id, "QEMU does not list it");
    if (g_str_has_prefix (filename, "disconnected:"))
        filename += strlen ("disconnected:");
    g_autofree char *arg = NULL;
    if (strcmp (filename, "null") == 0)
        arg = g_strdup_printf ("null,id=%s", id);
    else if (g_str_has_prefix (filename, "unix:"))
        arg = g_strdup_printf ("socket,id=%s,path=%s%s", id, filename + strlen ("unix:"),
                               strstr (filename, ",server=on") != NULL ? ",wait=off" : "");
    else
        return underivable (error, "chardev", id, filename);
    add_extra (x, "-chardev", arg);
    return TRUE;
}

/* --- disks ---------------------------------------------------------------------------------------------- */

static const GwDisk *
find_disk (const GwVm *vm, const char *name)
{
    for (guint i = 0; i < vm->disks->len; i++) {
        const GwDisk *disk = vm->disks->pdata[i];
        if (g_strcmp0 (disk->device, name) == 0 || g_strcmp0 (disk->node, name) == 0)
            return disk;
    }
    return NULL;
}

static gboolean
describe_drive (Extras *x, const char *id, GError **error)
{
    const GwDisk *disk = find_disk (x->vm, id);
    if (disk == NULL || disk->path == NULL)
        return underivable (error, "disk", id,
                            disk != NULL && disk->url != NULL ? disk->url : "it is no local file");
    g_autoptr (GwOptStr) opt = gw_optstr_parse ("");
    gboolean is_backend = g_strcmp0 (disk->device, id) == 0;
    if (is_backend) {
        gw_optstr_set (opt, "if", "none");
        gw_optstr_set (opt, "id", id);
        gw_optstr_set (opt, "file", disk->path);
        gw_optstr_set (opt, "format", disk->driver);
        gw_optstr_set (opt, "readonly", disk->is_read_only ? "on" : "off");
    } else {
        gboolean is_protocol = strcmp (disk->driver, "file") == 0;
        gw_optstr_set (opt, "driver", disk->driver);
        gw_optstr_set (opt, "node-name", id);
        gw_optstr_set (opt, "read-only", disk->is_read_only ? "on" : "off");
        if (!is_protocol)
            gw_optstr_set (opt, "file.driver", "file");
        gw_optstr_set (opt, is_protocol ? "filename" : "file.filename", disk->path);
    }
    g_autofree char *arg = gw_optstr_to_text (opt);
    add_extra (x, is_backend ? "-drive" : "-blockdev", arg);
    return TRUE;
}

/* --- which ------------------------------------------------------------------------------------------------ */

/* Properties of devices that name a backend. */
static const struct {
    const char *property;
    gboolean (*describe) (Extras *x, const char *id, GError **error);
} references[] = {
    { "rng", describe_object },      { "memdev", describe_object }, { "iothread", describe_object },
    { "cryptodev", describe_object }, { "netdev", describe_netdev }, { "chardev", describe_chardev },
    { "drive", describe_drive },
};

static gboolean
describe_reference (Extras *x, const char *pin, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS (references); i++) {
        gsize len = strlen (references[i].property);
        if (strncmp (pin, references[i].property, len) != 0 || pin[len] != '=')
            continue;
        if (!g_hash_table_add (x->known, g_strdup (pin + len + 1)))
            return TRUE;
        return references[i].describe (x, pin + len + 1, error);
    }
    return TRUE;
}

/* Ids and node names of the options that the VM was started with. */
static gboolean
collect_known (GwVm *vm, GHashTable *known, GError **error)
{
    g_autoptr (GPtrArray) options =
        gw_cmdline_parse ((const char *const *) vm->argv, error);
    if (options == NULL)
        return FALSE;
    for (guint i = 0; i < options->len; i++) {
        const GwOption *option = options->pdata[i];
        if (option->arg == NULL)
            continue;
        g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
        const char *id = gw_optstr_get (opt, "id");
        const char *node = gw_optstr_get (opt, "node-name");
        if (id != NULL)
            g_hash_table_add (known, g_strdup (id));
        if (node != NULL)
            g_hash_table_add (known, g_strdup (node));
    }
    return TRUE;
}

gboolean
gw_adopt_extras (GwQmp *qmp, GMainContext *context, GwVm *vm, const char *info_network,
                 GCancellable *cancellable, GError **error)
{
    g_autoptr (GHashTable) known = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr (GStrvBuilder) extras = g_strv_builder_new ();
    Extras x = { qmp, vm, info_network, cancellable, known, extras };
    if (!collect_known (vm, known, error))
        return FALSE;
    for (guint i = 0; i < vm->devices->len; i++) {
        const GwDevice *device = vm->devices->pdata[i];
        for (gsize k = 0; device->is_hotplugged && device->pins[k] != NULL; k++)
            if (!describe_reference (&x, device->pins[k], error))
                return FALSE;
    }
    vm->extras = g_strv_builder_end (extras);
    return TRUE;
}
