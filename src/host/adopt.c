/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The facts of a running VM, from its QEMU (QMP, QOM, HMP where there is nothing else) and /proc. */
#include "host-internal.h"

#include <string.h>
#include <sys/stat.h>

/* The answers to what is asked in one go; NULL where QEMU refused. */
typedef struct {
    JsonNode *name, *uuid, *status, *machine, *machines, *cpus, *kvm, *memory, *block, *nodes,
        *chardevs, *migrate, *capabilities, *parameters, *objects, *ramblock, *network,
        *qtree;
} Answers;

static void
answers_clear (Answers *a)
{
    JsonNode **all = (JsonNode **) a;
    for (gsize i = 0; i < sizeof *a / sizeof *all; i++)
        g_clear_pointer (&all[i], json_node_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Answers, answers_clear)

static gboolean
ask_all (GwQmp *qmp, GMainContext *context, Answers *a, GCancellable *cancellable, GError **error)
{
    GwQmpSet *set = gw_qmp_set_new (qmp);
    gw_qmp_set_ask (set, GW_QMP_QUERY_NAME, NULL, gw_qmp_keep_answer, &a->name);
    gw_qmp_set_ask (set, GW_QMP_QUERY_UUID, NULL, gw_qmp_keep_answer, &a->uuid);
    gw_qmp_set_ask (set, GW_QMP_QUERY_STATUS, NULL, gw_qmp_keep_answer, &a->status);
    gw_qmp_set_ask (set, GW_QMP_QOM_GET, gw_json_new ("path:s", "/machine", "property:s", "type", NULL),
                    gw_qmp_keep_answer, &a->machine);
    gw_qmp_set_ask (set, GW_QMP_QUERY_CPUS_FAST, NULL, gw_qmp_keep_answer, &a->cpus);
    gw_qmp_set_ask (set, GW_QMP_QUERY_KVM, NULL, gw_qmp_keep_answer, &a->kvm);
    gw_qmp_set_ask (set, GW_QMP_QUERY_MEMORY_SIZE_SUMMARY, NULL, gw_qmp_keep_answer, &a->memory);
    gw_qmp_set_ask (set, GW_QMP_QUERY_BLOCK, NULL, gw_qmp_keep_answer, &a->block);
    gw_qmp_set_ask (set, GW_QMP_QUERY_NAMED_BLOCK_NODES, gw_json_new ("flat:b", TRUE, NULL),
                    gw_qmp_keep_answer, &a->nodes);
    gw_qmp_set_ask (set, GW_QMP_QUERY_CHARDEV, NULL, gw_qmp_keep_answer, &a->chardevs);
    gw_qmp_set_ask (set, GW_QMP_QUERY_MIGRATE, NULL, gw_qmp_keep_answer, &a->migrate);
    gw_qmp_set_ask (set, GW_QMP_QUERY_MIGRATE_CAPABILITIES, NULL, gw_qmp_keep_answer, &a->capabilities);
    gw_qmp_set_ask (set, GW_QMP_QUERY_MIGRATE_PARAMETERS, NULL, gw_qmp_keep_answer, &a->parameters);
    gw_qmp_set_ask (set, GW_QMP_QOM_LIST, gw_json_new ("path:s", "/objects", NULL), gw_qmp_keep_answer,
                    &a->objects);
    gw_qmp_set_ask (set, GW_QMP_HUMAN_MONITOR_COMMAND,
                    gw_json_new ("command-line:s", "info qtree", NULL), gw_qmp_keep_answer, &a->qtree);
    gw_qmp_set_ask (set, GW_QMP_HUMAN_MONITOR_COMMAND,
                    gw_json_new ("command-line:s", "info ramblock", NULL), gw_qmp_keep_answer, &a->ramblock);
    gw_qmp_set_ask (set, GW_QMP_HUMAN_MONITOR_COMMAND,
                    gw_json_new ("command-line:s", "info network", NULL), gw_qmp_keep_answer, &a->network);
    return gw_qmp_set_finish (set, context, cancellable, error);
}

static JsonObject *
as_object (JsonNode *node)
{
    return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static const char *
object_text (JsonNode *node, const char *name)
{
    JsonObject *object = as_object (node);
    return object != NULL ? gw_json_peek_string (object, name, NULL) : NULL;
}

/* --- parsers of HMP's output ------------------------------------------------------------------------- */

/* "  pc.ram    4 KiB  0x0000000000000000 0x0000000004000000 0x0000000004000000"; a name may hold
 * blanks, and QEMU 8.2 and newer go on with an address and "rw" or "ro". */
#define RAMBLOCK_LINE                                                                              \
    "^\\s*(\\S.*?)\\s+(\\d+) ([KMG]?)i?B\\s+0x[0-9a-f]+ 0x([0-9a-f]+) 0x([0-9a-f]+)"                  \
    "( 0x[0-9a-f]+ +r[ow])?\\s*$"

static gint64
match_number (const GMatchInfo *match, gint group, guint base)
{
    g_autofree char *text = g_match_info_fetch (match, group);
    return MAX (g_ascii_strtoll (text, NULL, base), 0);
}

static GwRamBlock *
parse_ramblock (const GRegex *regex, const char *line)
{
    g_autoptr (GMatchInfo) match = NULL;
    if (!g_regex_match (regex, line, 0, &match))
        return NULL;
    g_autofree char *unit = g_match_info_fetch (match, 3);
    guint shift = *unit == 'K' ? 10 : *unit == 'M' ? 20 : *unit == 'G' ? 30 : 0;
    GwRamBlock *block = g_new0 (GwRamBlock, 1);
    block->name = g_match_info_fetch (match, 1);
    block->page_bytes = MIN (match_number (match, 2, 10), G_MAXINT32) << shift;
    block->used_bytes = match_number (match, 4, 16);
    block->max_bytes = match_number (match, 5, 16);
    return block;
}

GPtrArray *
gw_adopt_parse_ramblocks (const char *text)
{
    GPtrArray *blocks = g_ptr_array_new ();
    g_autoptr (GRegex) regex = g_regex_new (RAMBLOCK_LINE, G_REGEX_RAW, 0, NULL);
    g_assert (regex != NULL);
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        GwRamBlock *block = parse_ramblock (regex, lines[i]);
        if (block != NULL)
            g_ptr_array_add (blocks, block);
    }
    return blocks;
}

/* "n0: index=0,type=user,..."; below a hub's heading " \ PORT", " \ PORT: n0: index=0,type=user,..."
 * or " \ PORT: e1000.0: index=0,type=nic,...", where PORT is a netdev too.  A NIC is none. */
static void
add_netdevs (GStrvBuilder *builder, const char *line)
{
    const char *start = line + strspn (line, " \\");
    const char *info = strstr (start, ": index=");
    if (info == NULL && !g_str_has_prefix (line, " \\ "))
        return;
    gsize len = info != NULL ? (gsize) (info - start) : strlen (start);
    g_autofree char *text = g_strndup (start, len);
    g_auto (GStrv) names = g_strsplit (g_strchomp (text), ": ", -1);
    gsize n = g_strv_length (names);
    if (info != NULL && strstr (info, "type=nic") != NULL)
        n--;
    for (gsize i = 0; i < n; i++)
        g_strv_builder_add (builder, names[i]);
}

GStrv
gw_adopt_parse_netdevs (const char *text)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++)
        add_netdevs (builder, lines[i]);
    return g_strv_builder_end (builder);
}

/* "  dev: virtio-net-pci, id \"net0\"": each type once. */
GStrv
gw_adopt_parse_qtree (const char *text)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        const char *line = g_strchug (lines[i]);
        if (!g_str_has_prefix (line, "dev: "))
            continue;
        const char *type = line + strlen ("dev: ");
        char *name = g_strndup (type, strcspn (type, ","));
        if (g_hash_table_add (seen, name)) /* it takes the name in either case */
            g_strv_builder_add (builder, name);
    }
    return g_strv_builder_end (builder);
}

/* --- disks -------------------------------------------------------------------------------------------- */

static void
read_identity (GwDisk *disk)
{
    struct stat st;
    if (disk->path == NULL || stat (disk->path, &st) != 0)
        return;
    disk->st_dev = (gint64) (S_ISBLK (st.st_mode) ? st.st_rdev : st.st_dev);
    disk->st_ino = (gint64) (S_ISBLK (st.st_mode) ? 1 : st.st_ino);
}

/* "json:{"driver":"qcow2","file":{"driver":"file","filename":"/a"},...}", which QEMU says where a name
 * does not tell all: the local file, or NULL.  (transfer full) */
static char *
find_file_in_json (const char *filename)
{
    if (!g_str_has_prefix (filename, "json:"))
        return NULL;
    g_autoptr (JsonObject) object = gw_json_parse (filename + strlen ("json:"), -1, NULL);
    JsonObject *at = object;
    while (at != NULL && gw_json_peek_object (at, "file") != NULL)
        at = gw_json_peek_object (at, "file");
    const char *driver = at != NULL ? gw_json_peek_string (at, "driver", "") : "";
    gboolean is_local = strcmp (driver, "file") == 0 || strcmp (driver, "host_device") == 0;
    return is_local ? g_strdup (gw_json_peek_string (at, "filename", NULL)) : NULL;
}

/* A file name of QEMU's is a path unless it begins with a protocol. */
static void
set_location (GwDisk *disk, const char *filename, const char *cwd)
{
    g_autofree char *local = find_file_in_json (filename);
    if (local != NULL)
        filename = local;
    if (g_str_has_prefix (filename, "file:"))
        filename += strlen ("file:");
    const char *colon = strchr (filename, ':');
    const char *slash = strchr (filename, '/');
    gboolean is_url = colon != NULL && (slash == NULL || colon < slash);
    if (is_url || *filename == '\0')
        disk->url = g_strdup (filename);
    else
        disk->path = g_path_is_absolute (filename) ? g_strdup (filename)
                                                   : g_build_filename (cwd, filename, NULL);
    read_identity (disk);
}

static GwDisk *
disk_new (JsonObject *inserted, const char *device, const GwVm *vm)
{
    GwDisk *disk = g_new0 (GwDisk, 1);
    JsonObject *image = gw_json_peek_object (inserted, "image");
    JsonObject *cache = gw_json_peek_object (inserted, "cache");
    disk->device = g_strdup (device);
    disk->node = g_strdup (gw_json_peek_string (inserted, "node-name", NULL));
    disk->driver = g_strdup (gw_json_peek_string (inserted, "drv", "raw"));
    disk->is_read_only = gw_json_peek_bool (inserted, "ro", FALSE);
    disk->is_unflushed = cache != NULL && gw_json_peek_bool (cache, "no-flush", FALSE);
    gw_disk_read_image (disk, image);
    const char *filename = image != NULL ? gw_json_peek_string (image, "filename", NULL) : NULL;
    set_location (disk, filename != NULL ? filename : gw_json_peek_string (inserted, "file", ""),
                  vm->cwd);
    return disk;
}

static void
read_disks (GwVm *vm, const Answers *a)
{
    g_autoptr (GStrvBuilder) names = g_strv_builder_new ();
    JsonArray *list = gw_qmp_answer_array (a->block);
    for (guint i = 0; list != NULL && i < json_array_get_length (list); i++) {
        JsonObject *item = json_array_get_object_element (list, i);
        JsonObject *inserted = gw_json_peek_object (item, "inserted");
        const char *device = gw_json_peek_string (item, "device", "");
        if (*device != '\0')
            g_strv_builder_add (names, device);
        if (inserted != NULL)
            g_ptr_array_add (vm->disks, disk_new (inserted, device, vm));
    }
    list = gw_qmp_answer_array (a->nodes);
    for (guint i = 0; list != NULL && i < json_array_get_length (list); i++)
        g_strv_builder_add (names, gw_json_peek_string (json_array_get_object_element (list, i),
                                                        "node-name", ""));
    vm->block_names = g_strv_builder_end (names);
}

/* --- the rest -------------------------------------------------------------------------------------------- */

static void
read_chardevs (GwVm *vm, const Answers *a)
{
    JsonArray *list = gw_qmp_answer_array (a->chardevs);
    for (guint i = 0; list != NULL && i < json_array_get_length (list); i++) {
        JsonObject *item = json_array_get_object_element (list, i);
        GwChardev *chardev = g_new0 (GwChardev, 1);
        chardev->label = g_strdup (gw_json_peek_string (item, "label", ""));
        chardev->filename = g_strdup (gw_json_peek_string (item, "filename", ""));
        g_ptr_array_add (vm->chardevs, chardev);
    }
}

static void
read_objects (GwVm *vm, const Answers *a)
{
    g_autoptr (GStrvBuilder) ids = g_strv_builder_new ();
    JsonArray *list = gw_qmp_answer_array (a->objects);
    for (guint i = 0; list != NULL && i < json_array_get_length (list); i++) {
        JsonObject *item = json_array_get_object_element (list, i);
        if (g_str_has_prefix (gw_json_peek_string (item, "type", ""), "child<"))
            g_strv_builder_add (ids, gw_json_peek_string (item, "name", ""));
    }
    vm->objects = g_strv_builder_end (ids);
}

static void
read_memory (GwVm *vm, const Answers *a)
{
    JsonObject *memory = as_object (a->memory);
    if (memory != NULL)
        vm->ram_bytes = gw_json_peek_int (memory, "base-memory", 0) +
                        gw_json_peek_int (memory, "plugged-memory", 0);
    g_ptr_array_unref (vm->ram_blocks);
    vm->ram_blocks = gw_adopt_parse_ramblocks (gw_qmp_answer_text (a->ramblock));
}

static void
read_state (GwVm *vm, const Answers *a)
{
    JsonObject *status = as_object (a->status);
    JsonObject *migrate = as_object (a->migrate);
    vm->run_state = g_strdup (status != NULL ? gw_json_peek_string (status, "status", "unknown")
                                             : "unknown");
    vm->is_running = status != NULL && gw_json_peek_bool (status, "running", FALSE);
    if (migrate == NULL)
        return;
    vm->migration_status = g_strdup (gw_json_peek_string (migrate, "status", NULL));
    vm->blocked_reasons = gw_json_peek_strv (migrate, "blocked-reasons");
}

static void
read_migration_settings (GwVm *vm, const Answers *a)
{
    g_autoptr (GStrvBuilder) on = g_strv_builder_new ();
    JsonArray *list = gw_qmp_answer_array (a->capabilities);
    JsonObject *parameters = as_object (a->parameters);
    for (guint i = 0; list != NULL && i < json_array_get_length (list); i++) {
        JsonObject *item = json_array_get_object_element (list, i);
        if (gw_json_peek_bool (item, "state", FALSE))
            g_strv_builder_add (on, gw_json_peek_string (item, "capability", ""));
    }
    vm->capabilities = g_strv_builder_end (on);
    vm->tls_creds = g_strdup (
        parameters != NULL ? gw_json_peek_string (parameters, "tls-creds", NULL) : NULL);
}

static void
read_cpu (GwQmp *qmp, GwVm *vm, const Answers *a, GCancellable *cancellable)
{
    JsonArray *cpus = gw_qmp_answer_array (a->cpus);
    JsonObject *kvm = as_object (a->kvm);
    vm->n_cpus = cpus != NULL ? MAX ((gint64) json_array_get_length (cpus), 1) : 1;
    vm->accel = g_strdup (kvm != NULL && gw_json_peek_bool (kvm, "enabled", FALSE) ? "kvm" : "tcg");
    if (cpus == NULL || json_array_get_length (cpus) == 0)
        return;
    const char *path =
        gw_json_peek_string (json_array_get_object_element (cpus, 0), "qom-path", "");
    g_autoptr (JsonObject) arguments = gw_json_new ("path:s", path, "property:s", "type", NULL);
    g_autoptr (JsonNode) type = gw_qmp_call (qmp, GW_QMP_QOM_GET, arguments, cancellable, NULL);
    vm->cpu_type = g_strdup (gw_qmp_answer_text (type));
}

/* "pc-q35-7.2-machine" -> "pc-q35-7.2" */
static gboolean
read_machine (GwVm *vm, const Answers *a, GError **error)
{
    const char *type = gw_qmp_answer_text (a->machine);
    if (!g_str_has_suffix (type, "-machine"))
        return gw_fail (error, GW_CAUSE_QMP_INVALID, "QEMU gives '%s' as the type of its machine",
                        type);
    vm->machine = g_strndup (type, strlen (type) - strlen ("-machine"));
    return TRUE;
}

static void
read_version (GwQmp *qmp, GwVm *vm)
{
    const GwQmpVersion *version = gw_qmp_get_version (qmp);
    vm->version_major = version->major;
    vm->version_minor = version->minor;
    vm->version_micro = version->micro;
    vm->version_package = g_strdup (version->package);
}

GwVm *
gw_adopt_vm (GwQmp *qmp, GMainContext *context, GCancellable *cancellable, GError **error)
{
    g_autoptr (GwVm) vm = gw_struct_new (&gw_vm_type);
    g_auto (Answers) a = { 0 };
    pid_t pid = gw_qmp_get_peer_pid (qmp);
    if (pid <= 0) {
        gw_fail (error, GW_CAUSE_QMP_CONNECT,
                 "'%s': the kernel does not tell which process listens there",
                 gw_qmp_get_path (qmp));
        return NULL;
    }
    vm->qmp_path = g_strdup (gw_qmp_get_path (qmp));
    read_version (qmp, vm);
    if (!gw_procfs_read_process (pid, vm, error) ||
        !ask_all (qmp, context, &a, cancellable, error) || !read_machine (vm, &a, error))
        return NULL;
    vm->name = g_strdup (object_text (a.name, "name"));
    const char *uuid = object_text (a.uuid, "UUID");
    vm->uuid = g_strdup (uuid != NULL ? uuid : "00000000-0000-0000-0000-000000000000");
    read_state (vm, &a);
    read_migration_settings (vm, &a);
    read_memory (vm, &a);
    read_disks (vm, &a);
    read_chardevs (vm, &a);
    read_objects (vm, &a);
    vm->netdevs = gw_adopt_parse_netdevs (gw_qmp_answer_text (a.network));
    vm->device_types = gw_adopt_parse_qtree (gw_qmp_answer_text (a.qtree));
    read_cpu (qmp, vm, &a, cancellable);
    if (!gw_adopt_devices (qmp, context, vm, cancellable, error) ||
        !gw_adopt_extras (qmp, context, vm, gw_qmp_answer_text (a.network), cancellable, error))
        return NULL;
    return g_steal_pointer (&vm);
}
