/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The description of the devices that follows a precopy stream. */
#include "internal.h"

#include <string.h>

struct _GwVmdesc {
    JsonNode *root;
    uint32_t page_size;
    GArray *devices; /* GwVmdescDevice */
    GHashTable *index; /* "name\ninstance" -> index + 1 */
};

/* --- JSON -------------------------------------------------------------------------------------- */

/* json-glib before 1.10 recurses without a limit. */
static gboolean
depth_is_sane (const char *json, gsize len)
{
    unsigned depth = 0;
    gboolean in_string = FALSE;
    for (gsize i = 0; i < len; i++) {
        char c = json[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = FALSE;
        } else if (c == '"') {
            in_string = TRUE;
        } else if (c == '{' || c == '[') {
            if (++depth > GW_STREAM_JSON_DEPTH_MAX)
                return FALSE;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return TRUE;
}

JsonNode *
gw_stream_parse_json (const char *json, gsize len, GError **error)
{
    g_autoptr (JsonParser) parser = json_parser_new_immutable ();
    if (!depth_is_sane (json, len)) {
        gw_fail (error, GW_CAUSE_STREAM_VMDESC, "expected JSON of at most %u levels, found more",
                 GW_STREAM_JSON_DEPTH_MAX);
        return NULL;
    }
    if (len == 0 || memchr (json, '\0', len) != NULL || !g_utf8_validate (json, (gssize) len, NULL)) {
        gw_fail (error, GW_CAUSE_STREAM_VMDESC, "expected JSON, found %zu bytes that are no text",
                 len);
        return NULL;
    }
    if (!json_parser_load_from_data (parser, json, (gssize) len, error)) {
        g_prefix_error (error, "expected JSON: ");
        gw_error_adopt (error, GW_CAUSE_STREAM_VMDESC);
        return NULL;
    }
    return json_parser_steal_root (parser);
}

/* --- sizes ------------------------------------------------------------------------------------- */

gboolean
gw_stream_json_get_uint (JsonObject *object, const char *name, uint64_t most, uint64_t *ret)
{
    JsonNode *node = json_object_get_member (object, name);
    if (node == NULL || !JSON_NODE_HOLDS_VALUE (node)
        || json_node_get_value_type (node) != G_TYPE_INT64)
        return FALSE;
    gint64 v = json_node_get_int (node);
    if (v < 0 || (uint64_t) v > most)
        return FALSE;
    *ret = (uint64_t) v;
    return TRUE;
}

const char *
gw_stream_json_get_string (JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member (object, name);
    if (node == NULL || !JSON_NODE_HOLDS_VALUE (node)
        || json_node_get_value_type (node) != G_TYPE_STRING)
        return NULL;
    return json_node_get_string (node);
}

JsonArray *
gw_stream_json_get_array (JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member (object, name);
    return node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
}

JsonObject *
gw_stream_json_get_object (JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member (object, name);
    return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static gboolean
add_field_size (JsonNode *node, uint64_t *size)
{
    uint64_t each, n = 1;
    if (!JSON_NODE_HOLDS_OBJECT (node))
        return FALSE;
    JsonObject *field = json_node_get_object (node);
    if (!gw_stream_json_get_uint (field, "size", G_MAXUINT32, &each))
        return FALSE;
    if (json_object_has_member (field, "array_len")
        && !gw_stream_json_get_uint (field, "array_len", G_MAXUINT32, &n))
        return FALSE;
    *size += each * n; /* both below 2^32 */
    return *size <= G_MAXUINT32;
}

static gboolean add_body_size (JsonObject *object, uint64_t *size);

static gboolean
add_subsection_size (JsonNode *node, uint64_t *size)
{
    if (!JSON_NODE_HOLDS_OBJECT (node))
        return FALSE;
    const char *name = gw_stream_json_get_string (json_node_get_object (node), "vmsd_name");
    if (name == NULL)
        return FALSE;
    *size += 1 + 1 + strlen (name) + 4;
    return add_body_size (json_node_get_object (node), size);
}

/* Fields, then subsections with their heads; FALSE when the description does not say. */
static gboolean
add_body_size (JsonObject *object, uint64_t *size)
{
    JsonArray *fields = gw_stream_json_get_array (object, "fields");
    JsonArray *subsections = gw_stream_json_get_array (object, "subsections");
    if (fields == NULL)
        return FALSE;
    for (guint i = 0; i < json_array_get_length (fields); i++)
        if (!add_field_size (json_array_get_element (fields, i), size))
            return FALSE;
    for (guint i = 0; subsections != NULL && i < json_array_get_length (subsections); i++)
        if (!add_subsection_size (json_array_get_element (subsections, i), size))
            return FALSE;
    return TRUE;
}

/* --- devices ----------------------------------------------------------------------------------- */

static char *
device_key (const char *name, uint32_t instance)
{
    return g_strdup_printf ("%s\n%u", name, instance);
}

static gboolean
add_device (GwVmdesc *vmdesc, JsonNode *node, GError **error)
{
    GwVmdescDevice device = { 0 };
    uint64_t instance, version = 0;
    if (!JSON_NODE_HOLDS_OBJECT (node))
        return gw_fail (error, GW_CAUSE_STREAM_VMDESC, "device %u: expected an object",
                        vmdesc->devices->len);
    device.object = json_node_get_object (node);
    device.name = gw_stream_json_get_string (device.object, "name");
    if (device.name == NULL || !gw_stream_json_get_uint (device.object, "instance_id", G_MAXUINT32, &instance))
        return gw_fail (error, GW_CAUSE_STREAM_VMDESC, "device %u: expected a name and an instance",
                        vmdesc->devices->len);
    if (vmdesc->devices->len >= GW_STREAM_SECTIONS_MAX)
        return gw_fail (error, GW_CAUSE_STREAM_LIMIT, "expected at most %u devices",
                        GW_STREAM_SECTIONS_MAX);
    (void) gw_stream_json_get_uint (device.object, "version", G_MAXUINT32, &version); /* not in old-style ones */
    device.instance = (uint32_t) instance;
    device.version = (uint32_t) version;
    device.has_size = add_body_size (device.object, &device.size);
    g_array_append_val (vmdesc->devices, device);
    g_hash_table_replace (vmdesc->index, device_key (device.name, device.instance),
                          GUINT_TO_POINTER (vmdesc->devices->len));
    return TRUE;
}

GwVmdesc *
gw_vmdesc_parse (const char *json, gsize len, GError **error)
{
    uint64_t page_size = 0;
    g_autoptr (GwVmdesc) vmdesc = g_new0 (GwVmdesc, 1);
    vmdesc->devices = g_array_new (FALSE, FALSE, sizeof (GwVmdescDevice));
    vmdesc->index = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    vmdesc->root = gw_stream_parse_json (json, len, error);
    if (vmdesc->root == NULL)
        return NULL;
    JsonArray *devices = JSON_NODE_HOLDS_OBJECT (vmdesc->root)
                             ? gw_stream_json_get_array (json_node_get_object (vmdesc->root), "devices")
                             : NULL;
    if (devices == NULL) {
        gw_fail (error, GW_CAUSE_STREAM_VMDESC, "expected a list of devices, found none");
        return NULL;
    }
    (void) gw_stream_json_get_uint (json_node_get_object (vmdesc->root), "page_size", GW_STREAM_PAGE_MAX,
                     &page_size); /* 0 says that it is not known */
    vmdesc->page_size = (uint32_t) page_size;
    for (guint i = 0; i < json_array_get_length (devices); i++)
        if (!add_device (vmdesc, json_array_get_element (devices, i), error))
            return NULL;
    return g_steal_pointer (&vmdesc);
}

/* The vmdesc is the last thing of a stream: 06, a length that reaches the end, and a brace. */
GwVmdesc *
gw_vmdesc_find (const uint8_t *data, gsize len)
{
    for (gsize at = 0; len >= 7 && at <= len - 7; at++) {
        const uint8_t *q = memchr (data + at, GW_STREAM_BYTE_VMDESC, len - 6 - at);
        if (q == NULL)
            return NULL;
        at = (gsize) (q - data);
        if (gw_load_be32 (q + 1) != len - at - 5 || q[5] != '{')
            continue;
        GwVmdesc *vmdesc = gw_vmdesc_parse ((const char *) q + 5, len - at - 5, NULL);
        if (vmdesc != NULL)
            return vmdesc;
    }
    return NULL;
}

void
gw_vmdesc_free (GwVmdesc *vmdesc)
{
    if (vmdesc == NULL)
        return;
    g_clear_pointer (&vmdesc->index, g_hash_table_unref);
    g_clear_pointer (&vmdesc->devices, g_array_unref);
    g_clear_pointer (&vmdesc->root, json_node_unref);
    g_free (vmdesc);
}

uint32_t
gw_vmdesc_get_page_size (const GwVmdesc *vmdesc)
{
    return vmdesc->page_size;
}

unsigned
gw_vmdesc_get_n_devices (const GwVmdesc *vmdesc)
{
    return vmdesc->devices->len;
}

const GwVmdescDevice *
gw_vmdesc_get_device (const GwVmdesc *vmdesc, unsigned index)
{
    return index < vmdesc->devices->len ? &g_array_index (vmdesc->devices, GwVmdescDevice, index)
                                        : NULL;
}

const GwVmdescDevice *
gw_vmdesc_find_device (const GwVmdesc *vmdesc, const char *name, uint32_t instance)
{
    g_autofree char *key = device_key (name, instance);
    guint found = GPOINTER_TO_UINT (g_hash_table_lookup (vmdesc->index, key));
    return found > 0 ? gw_vmdesc_get_device (vmdesc, found - 1) : NULL;
}
