/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What devices a QEMU has, as lines that can be compared between two QEMUs: every device with its
 * bus and place ("pcie.0 virtio-net-pci 'net0' addr=02.0"), and the feature words of the processor.
 * Devices of the board that sit on no such bus differ between versions of QEMU without harm and are
 * left out.
 */
#include "rehearse.h"

#include <string.h>

#define DEPTH_MAX 32
#define LINES_MAX 20000u

typedef struct {
    guint indent;
    char *name;      /* of a bus */
    gboolean counts; /* devices on it are compared */
} Level;

typedef struct {
    Level levels[DEPTH_MAX];
    guint depth;
    GString *device; /* the line of the device being read; empty: none that counts */
    GPtrArray *lines;
} Tree;

static void
end_device (Tree *tree)
{
    if (tree->device->len > 0 && tree->lines->len < LINES_MAX)
        g_ptr_array_add (tree->lines, g_strdup (tree->device->str));
    g_string_truncate (tree->device, 0);
}

static void
pop_to (Tree *tree, guint indent)
{
    while (tree->depth > 0 && tree->levels[tree->depth - 1].indent >= indent)
        g_free (tree->levels[--tree->depth].name);
}

static void
begin_bus (Tree *tree, guint indent, const char *name)
{
    end_device (tree);
    pop_to (tree, indent);
    if (tree->depth < DEPTH_MAX)
        tree->levels[tree->depth++] =
            (Level) { indent, g_strdup (name), strcmp (name, "main-system-bus") != 0 };
}

/* "virtio-net-pci, id \"net0\"" */
static void
begin_device (Tree *tree, guint indent, const char *text)
{
    end_device (tree);
    while (tree->depth > 0 && tree->levels[tree->depth - 1].indent >= indent)
        g_free (tree->levels[--tree->depth].name);
    const Level *bus = tree->depth > 0 ? &tree->levels[tree->depth - 1] : NULL;
    if (bus == NULL || !bus->counts)
        return;
    const char *comma = strstr (text, ", id ");
    gsize len = comma != NULL ? (gsize) (comma - text) : strlen (text);
    const char *id = comma != NULL ? comma + strlen (", id ") : "\"\"";
    g_string_printf (tree->device, "%.*s %s on %s", (int) len, text,
                     strcmp (id, "\"\"") != 0 ? id : "without id", bus->name);
}

/* Properties that say where on its bus a device is. */
static void
add_property (Tree *tree, const char *text)
{
    static const char *const places[] = { "addr = ",    "nr = ",   "port = ", "scsi-id = ",
                                          "lun = ",     "unit = ", "iobase = ", "channel = " };
    for (guint i = 0; tree->device->len > 0 && i < G_N_ELEMENTS (places); i++)
        if (g_str_has_prefix (text, places[i]))
            g_string_append_printf (tree->device, " %s", text);
    const char *pci_id = g_str_has_prefix (text, "class ") ? strstr (text, "pci id ") : NULL;
    if (tree->device->len > 0 && pci_id != NULL)
        g_string_append_printf (tree->device, " %s", pci_id);
}

static void
take_line (Tree *tree, const char *line)
{
    gsize indent = strspn (line, " ");
    const char *text = line + indent;
    if (g_str_has_prefix (text, "bus: "))
        begin_bus (tree, (guint) indent, text + strlen ("bus: "));
    else if (g_str_has_prefix (text, "dev: "))
        begin_device (tree, (guint) indent, text + strlen ("dev: "));
    else
        add_property (tree, text);
}

GStrv
gw_parse_qtree (const char *text)
{
    Tree tree = { .device = g_string_new (NULL), .lines = g_ptr_array_new () };
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++)
        take_line (&tree, g_strchomp (lines[i]));
    end_device (&tree);
    pop_to (&tree, 0);
    g_string_free (tree.device, TRUE);
    g_ptr_array_add (tree.lines, NULL);
    return (GStrv) g_ptr_array_free (tree.lines, FALSE);
}

/* --- the processor --------------------------------------------------------------------------------- */

static void
take_node (JsonNode *reply, gpointer user_data)
{
    JsonNode **slot = user_data;
    *slot = reply != NULL ? json_node_copy (reply) : NULL;
}

static char *
find_cpu_path (JsonNode *cpus)
{
    JsonArray *list = cpus != NULL && JSON_NODE_HOLDS_ARRAY (cpus) ? json_node_get_array (cpus) : NULL;
    if (list == NULL || json_array_get_length (list) == 0)
        return NULL;
    return g_strdup (gw_json_peek_string (json_array_get_object_element (list, 0), "qom-path", NULL));
}

/* "EAX=7 ECX=0 EBX: 0x..."; words without a bit are left out, an older QEMU does not know them. */
static GStrv
describe_features (JsonNode *words)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    JsonArray *list =
        words != NULL && JSON_NODE_HOLDS_ARRAY (words) ? json_node_get_array (words) : NULL;
    for (guint i = 0; list != NULL && i < json_array_get_length (list); i++) {
        JsonObject *word = json_array_get_object_element (list, i);
        guint64 bits = (guint64) gw_json_peek_int (word, "features", 0);
        if (bits == 0)
            continue;
        g_autofree char *text = g_strdup_printf (
            "cpuid 0x%" G_GINT64_MODIFIER "x/%" G_GINT64_FORMAT " %s=0x%" G_GINT64_MODIFIER "x",
            (guint64) gw_json_peek_int (word, "cpuid-input-eax", 0),
            gw_json_peek_int (word, "cpuid-input-ecx", 0),
            gw_json_peek_string (word, "cpuid-register", "?"), bits);
        g_strv_builder_add (builder, text);
    }
    return g_strv_builder_end (builder);
}

typedef struct {
    JsonNode *qtree, *cpus, *features;
} Picture;

static void
picture_clear (Picture *picture)
{
    g_clear_pointer (&picture->qtree, json_node_unref);
    g_clear_pointer (&picture->cpus, json_node_unref);
    g_clear_pointer (&picture->features, json_node_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Picture, picture_clear)

static gboolean
ask_picture (GwQmp *qmp, GMainContext *context, Picture *picture, GCancellable *cancellable,
             GError **error)
{
    GwQmpSet *set = gw_qmp_set_new (qmp);
    gw_qmp_set_ask (set, GW_QMP_HUMAN_MONITOR_COMMAND,
                    gw_json_new ("command-line:s", "info qtree", NULL), take_node, &picture->qtree);
    gw_qmp_set_ask (set, GW_QMP_QUERY_CPUS_FAST, NULL, take_node, &picture->cpus);
    if (!gw_qmp_set_finish (set, context, cancellable, error))
        return FALSE;
    g_autofree char *path = find_cpu_path (picture->cpus);
    if (path == NULL)
        return TRUE;
    set = gw_qmp_set_new (qmp);
    gw_qmp_set_ask (set, GW_QMP_QOM_GET,
                    gw_json_new ("path:s", path, "property:s", "feature-words", NULL), take_node,
                    &picture->features);
    return gw_qmp_set_finish (set, context, cancellable, error);
}

JsonObject *
gw_read_devices (GwQmp *qmp, GMainContext *context, GCancellable *cancellable, GError **error)
{
    g_auto (Picture) picture = { NULL, NULL, NULL };
    if (!ask_picture (qmp, context, &picture, cancellable, error))
        return NULL;
    const char *text = picture.qtree != NULL && JSON_NODE_HOLDS_VALUE (picture.qtree) &&
                               json_node_get_value_type (picture.qtree) == G_TYPE_STRING
                           ? json_node_get_string (picture.qtree)
                           : "";
    g_auto (GStrv) devices = gw_parse_qtree (text);
    g_auto (GStrv) cpu = describe_features (picture.features);
    return gw_json_new ("devices:v", devices, "cpu:v", cpu, NULL);
}
