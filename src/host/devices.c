/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The devices of a running VM: what they are, where exactly they sit, and which came at run time.
 *
 * QEMU keeps what -device and device_add made below /machine/peripheral (with an id) and
 * /machine/peripheral-anon ("device[N]", N counting all that had no id; qdev-monitor.c of 7.2).
 */
#include "host-internal.h"

#include <string.h>

/* Properties that say where a device sits.  Asked of every device; most have only a few. */
typedef enum { PIN_PCI_ADDRESS, PIN_NUMBER, PIN_TEXT, PIN_BUS, PIN_FLAG, PIN_PRESENCE } PinKind;

typedef struct {
    const char *property;
    PinKind kind;
} PinRule;

enum { ASK_BUS, ASK_HOTPLUGGED, ASK_MULTIFUNCTION, ASK_ADDR, ASK_PORT, ASK_NR, ASK_CHANNEL,
       ASK_SCSI_ID, ASK_LUN, ASK_MAC, N_ASKS };

static const PinRule rules[N_ASKS] = {
    [ASK_BUS] = { "parent_bus", PIN_BUS },
    [ASK_HOTPLUGGED] = { "hotplugged", PIN_FLAG },
    [ASK_MULTIFUNCTION] = { "multifunction", PIN_PRESENCE }, /* a PCI device */
    [ASK_ADDR] = { "addr", PIN_PCI_ADDRESS },
    [ASK_PORT] = { "port", PIN_TEXT },
    [ASK_NR] = { "nr", PIN_NUMBER },
    [ASK_CHANNEL] = { "channel", PIN_NUMBER },
    [ASK_SCSI_ID] = { "scsi-id", PIN_NUMBER },
    [ASK_LUN] = { "lun", PIN_NUMBER },
    [ASK_MAC] = { "mac", PIN_TEXT },
};

typedef struct {
    GwDevice *device; /* borrowed from the VM */
    JsonNode *answers[N_ASKS];
    GPtrArray *properties; /* Property, of a hot-plugged device */
} Probe;

typedef struct {
    char *name, *type;
    JsonNode *fallback, *value; /* NULL: none */
} Property;

static void
property_free (gpointer data)
{
    Property *property = data;
    g_free (property->name);
    g_free (property->type);
    g_clear_pointer (&property->fallback, json_node_unref);
    g_clear_pointer (&property->value, json_node_unref);
    g_free (property);
}

static void
probe_free (gpointer data)
{
    Probe *probe = data;
    for (guint i = 0; i < N_ASKS; i++)
        g_clear_pointer (&probe->answers[i], json_node_unref);
    g_clear_pointer (&probe->properties, g_ptr_array_unref);
    g_free (probe);
}

/* --- values ---------------------------------------------------------------------------------------- */

static gboolean
holds (JsonNode *node, GType type)
{
    return node != NULL && JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == type;
}

static gboolean
is_set (const Probe *probe, guint ask)
{
    return holds (probe->answers[ask], G_TYPE_BOOLEAN) &&
           json_node_get_boolean (probe->answers[ask]);
}

/* The id behind a link.  A link to anything else, such as the backend that a device made for itself,
 * has no name that an option could give. */
static char *
link_to_id (const char *path)
{
    static const char *const parents[] = { "/objects/", "/machine/peripheral/" };
    for (guint i = 0; i < G_N_ELEMENTS (parents); i++) {
        gsize len = strlen (parents[i]);
        if (strncmp (path, parents[i], len) == 0 && strchr (path + len, '/') == NULL)
            return g_strdup (path + len);
    }
    return NULL;
}

/* A property's value as the text of an option; NULL when it has none. */
static char *
value_to_text (JsonNode *value, const char *type)
{
    if (holds (value, G_TYPE_BOOLEAN))
        return g_strdup (json_node_get_boolean (value) ? "on" : "off");
    if (holds (value, G_TYPE_INT64))
        return g_str_has_prefix (type, "uint")
                   ? g_strdup_printf ("%" G_GUINT64_FORMAT, (guint64) json_node_get_int (value))
                   : g_strdup_printf ("%" G_GINT64_FORMAT, json_node_get_int (value));
    if (!holds (value, G_TYPE_STRING) || *json_node_get_string (value) == '\0')
        return NULL;
    const char *text = json_node_get_string (value);
    return g_str_has_prefix (type, "link<") ? link_to_id (text) : g_strdup (text);
}

static void
add_pin (GStrvBuilder *pins, const char *key, const char *value)
{
    g_autofree char *pin = g_strdup_printf ("%s=%s", key, value);
    g_strv_builder_add (pins, pin);
}

/* --- where a device sits ------------------------------------------------------------------------------ */

static gboolean
is_pci (const Probe *probe)
{
    return holds (probe->answers[ASK_ADDR], G_TYPE_INT64) &&
           json_node_get_int (probe->answers[ASK_ADDR]) >= 0 &&
           json_node_get_int (probe->answers[ASK_ADDR]) < 256 &&
           probe->answers[ASK_MULTIFUNCTION] != NULL;
}

static gboolean
is_scsi (const Probe *probe)
{
    return holds (probe->answers[ASK_SCSI_ID], G_TYPE_INT64) &&
           holds (probe->answers[ASK_LUN], G_TYPE_INT64) &&
           holds (probe->answers[ASK_CHANNEL], G_TYPE_INT64);
}

static gboolean
is_virtio_serial_port (const Probe *probe)
{
    return strcmp (probe->device->type, "virtserialport") == 0 ||
           strcmp (probe->device->type, "virtconsole") == 0;
}

static void
pin_number (GStrvBuilder *pins, const Probe *probe, guint ask)
{
    g_autofree char *text = value_to_text (probe->answers[ask], "int32");
    if (text != NULL)
        add_pin (pins, rules[ask].property, text);
}

static void
pin_place (GStrvBuilder *pins, const Probe *probe)
{
    gboolean is_placed = TRUE;
    if (is_pci (probe)) {
        gint64 devfn = json_node_get_int (probe->answers[ASK_ADDR]);
        g_autofree char *addr = g_strdup_printf ("%02x.%x", (int) devfn >> 3, (int) devfn & 7);
        add_pin (pins, "addr", addr);
    } else if (is_scsi (probe)) {
        pin_number (pins, probe, ASK_CHANNEL);
        pin_number (pins, probe, ASK_SCSI_ID);
        pin_number (pins, probe, ASK_LUN);
    } else if (is_virtio_serial_port (probe)) {
        pin_number (pins, probe, ASK_NR);
    } else {
        is_placed = g_str_has_prefix (probe->device->type, "usb-") && probe->device->bus != NULL;
        if (is_placed && holds (probe->answers[ASK_PORT], G_TYPE_STRING))
            pin_number (pins, probe, ASK_PORT);
    }
    if (is_placed && probe->device->bus != NULL)
        add_pin (pins, "bus", probe->device->bus);
    if (holds (probe->answers[ASK_MAC], G_TYPE_STRING))
        pin_number (pins, probe, ASK_MAC);
}

/* QEMU has no word for properties that can be read only.  Those that have no default and are one of
 * these are: of a USB device, a bridge, a memory device (its size is that of its memdev). */
static gboolean
is_read_only (const Property *property)
{
    static const char *const names[] = { "attached", "busnr", "size", NULL };
    return property->fallback == NULL && g_strv_contains (names, property->name);
}

/* Whether pin_place() has said it.  The "addr" of a memory device is another thing. */
static gboolean
is_place (const Probe *probe, const char *name)
{
    static const char *const places[] = { "bus", "channel", "scsi-id", "lun", "nr", "mac", "port",
                                          NULL };
    return g_strv_contains (places, name) || (strcmp (name, "addr") == 0 && is_pci (probe));
}

/* Every property of a hot-plugged device that is not at its default. */
static void
pin_properties (GStrvBuilder *pins, const Probe *probe)
{
    for (guint i = 0; probe->properties != NULL && i < probe->properties->len; i++) {
        const Property *property = probe->properties->pdata[i];
        if (is_place (probe, property->name) || is_read_only (property) || property->value == NULL)
            continue;
        if (property->fallback != NULL && json_node_equal (property->fallback, property->value))
            continue;
        g_autofree char *text = value_to_text (property->value, property->type);
        if (text != NULL)
            add_pin (pins, property->name, text);
    }
}

static void
finish_probe (Probe *probe)
{
    GwDevice *device = probe->device;
    if (holds (probe->answers[ASK_BUS], G_TYPE_STRING)) {
        const char *slash = strrchr (json_node_get_string (probe->answers[ASK_BUS]), '/');
        if (slash != NULL && strcmp (slash, "/main-system-bus") != 0)
            device->bus = g_strdup (slash + 1);
    }
    g_autoptr (GStrvBuilder) pins = g_strv_builder_new ();
    pin_place (pins, probe);
    if (device->is_hotplugged)
        pin_properties (pins, probe);
    device->pins = g_strv_builder_end (pins);
}

/* --- asking ---------------------------------------------------------------------------------------------- */

/* "child<virtio-net-pci>" -> "virtio-net-pci" */
static char *
child_type (const char *type)
{
    if (!g_str_has_prefix (type, "child<") || !g_str_has_suffix (type, ">"))
        return NULL;
    return g_strndup (type + strlen ("child<"), strlen (type) - strlen ("child<>"));
}

static gboolean
list_children (GwQmp *qmp, const char *path, gboolean have_ids, GwVm *vm, GCancellable *cancellable,
               GError **error)
{
    g_autoptr (JsonObject) arguments = gw_json_new ("path:s", path, NULL);
    g_autoptr (JsonNode) reply = gw_qmp_call (qmp, GW_QMP_QOM_LIST, arguments, cancellable, error);
    if (reply == NULL)
        return FALSE;
    JsonArray *list = JSON_NODE_HOLDS_ARRAY (reply) ? json_node_get_array (reply) : NULL;
    for (guint i = 0; list != NULL && i < json_array_get_length (list); i++) {
        JsonObject *item = json_array_get_object_element (list, i);
        const char *name = gw_json_peek_string (item, "name", "");
        g_autofree char *type = child_type (gw_json_peek_string (item, "type", ""));
        if (type == NULL)
            continue;
        GwDevice *device = g_new0 (GwDevice, 1);
        device->path = g_strdup_printf ("%s/%s", path, name);
        device->id = have_ids ? g_strdup (name) : NULL;
        device->type = g_steal_pointer (&type);
        g_ptr_array_add (vm->devices, device);
    }
    return TRUE;
}

static gboolean
ask_places (GwQmp *qmp, GMainContext *context, GPtrArray *probes, GCancellable *cancellable,
            GError **error)
{
    GwQmpSet *set = gw_qmp_set_new (qmp);
    for (guint i = 0; i < probes->len; i++) {
        Probe *probe = probes->pdata[i];
        for (guint ask = 0; ask < N_ASKS; ask++)
            gw_qmp_set_ask (set, GW_QMP_QOM_GET,
                            gw_json_new ("path:s", probe->device->path, "property:s",
                                         rules[ask].property, NULL),
                            gw_qmp_keep_answer, &probe->answers[ask]);
        /* keep below the client's queue bound */
        if (!gw_qmp_set_finish (set, context, cancellable, error))
            return FALSE;
        set = gw_qmp_set_new (qmp);
        probe->device->is_hotplugged = is_set (probe, ASK_HOTPLUGGED);
    }
    return gw_qmp_set_finish (set, context, cancellable, error);
}

static void
list_properties (Probe *probe, JsonNode *reply)
{
    JsonArray *list = JSON_NODE_HOLDS_ARRAY (reply) ? json_node_get_array (reply) : NULL;
    probe->properties = g_ptr_array_new_with_free_func (property_free);
    for (guint i = 0; list != NULL && i < json_array_get_length (list); i++) {
        JsonObject *item = json_array_get_object_element (list, i);
        const char *type = gw_json_peek_string (item, "type", "");
        if (g_str_has_prefix (type, "child<"))
            continue; /* a part of the device, which nobody can set */
        Property *property = g_new0 (Property, 1);
        property->name = g_strdup (gw_json_peek_string (item, "name", ""));
        property->type = g_strdup (type);
        if (json_object_has_member (item, "default-value"))
            property->fallback = json_node_ref (json_object_get_member (item, "default-value"));
        g_ptr_array_add (probe->properties, property);
    }
}

static gboolean
ask_properties (GwQmp *qmp, GMainContext *context, Probe *probe, GCancellable *cancellable,
                GError **error)
{
    g_autoptr (JsonObject) arguments = gw_json_new ("typename:s", probe->device->type, NULL);
    g_autoptr (JsonNode) reply =
        gw_qmp_call (qmp, GW_QMP_DEVICE_LIST_PROPERTIES, arguments, cancellable, error);
    if (reply == NULL)
        return FALSE;
    list_properties (probe, reply);
    for (guint i = 0; i < probe->properties->len; ) {
        GwQmpSet *set = gw_qmp_set_new (qmp);
        for (guint n = 0; n < 100 && i < probe->properties->len; n++, i++) {
            Property *property = probe->properties->pdata[i];
            gw_qmp_set_ask (set, GW_QMP_QOM_GET,
                            gw_json_new ("path:s", probe->device->path, "property:s",
                                         property->name, NULL),
                            gw_qmp_keep_answer, &property->value);
        }
        if (!gw_qmp_set_finish (set, context, cancellable, error))
            return FALSE;
    }
    return TRUE;
}

gboolean
gw_adopt_devices (GwQmp *qmp, GMainContext *context, GwVm *vm, GCancellable *cancellable,
                  GError **error)
{
    if (!list_children (qmp, "/machine/peripheral", TRUE, vm, cancellable, error) ||
        !list_children (qmp, "/machine/peripheral-anon", FALSE, vm, cancellable, error))
        return FALSE;
    g_autoptr (GPtrArray) probes = g_ptr_array_new_with_free_func (probe_free);
    for (guint i = 0; i < vm->devices->len; i++) {
        Probe *probe = g_new0 (Probe, 1);
        probe->device = vm->devices->pdata[i];
        g_ptr_array_add (probes, probe);
    }
    if (!ask_places (qmp, context, probes, cancellable, error))
        return FALSE;
    for (guint i = 0; i < probes->len; i++) {
        Probe *probe = probes->pdata[i];
        if (probe->device->is_hotplugged &&
            !ask_properties (qmp, context, probe, cancellable, error))
            return FALSE;
        finish_probe (probe);
    }
    return TRUE;
}
