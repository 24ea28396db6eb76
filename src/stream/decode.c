/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device section's body as a tree of fields, by the vmdesc's description of it. */
#include "internal.h"

#include <string.h>

#define FIELDS_MAX 2000000u /* nodes of one tree: an array's length is a foreign number */

typedef struct {
    const uint8_t *body;
    gsize len, pos;
    guint n_fields;
} Decoder;

/* --- nodes ------------------------------------------------------------------------------------- */

GwField *
gw_field_new (const char *name, const char *type, GwFieldKind kind, gsize offset, gsize size)
{
    GwField *field = g_new0 (GwField, 1);
    field->name = g_strdup (name);
    field->type = g_strdup (type);
    field->kind = kind;
    field->offset = offset;
    field->size = size;
    return field;
}

void
gw_field_free (GwField *field)
{
    if (field == NULL)
        return;
    g_clear_pointer (&field->children, g_ptr_array_unref);
    g_free (field->name);
    g_free (field->type);
    g_free (field->text);
    g_free (field);
}

GwField *
gw_field_add (GwField *parent, GwField *child)
{
    if (parent->children == NULL)
        parent->children = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_field_free);
    g_ptr_array_add (parent->children, child);
    return child;
}

void
gw_field_add_text (GwField *parent, const char *name, const char *format, ...)
{
    va_list args;
    GwField *child = gw_field_new (name, "text", GW_FIELD_TEXT, parent->offset, 0);
    va_start (args, format);
    child->text = g_strdup_vprintf (format, args);
    va_end (args);
    gw_field_add (parent, child);
}

uint64_t
gw_stream_load (const uint8_t *p, gsize size)
{
    uint64_t v = 0;
    for (gsize i = 0; i < size; i++)
        v = v << 8 | p[i];
    return v;
}

GwField *
gw_field_add_number (GwField *parent, const char *name, const uint8_t *body, gsize offset,
                     gsize size)
{
    GwField *child = gw_field_new (name, "uint", GW_FIELD_UNSIGNED, offset, size);
    child->value = gw_stream_load (body + offset, size);
    return gw_field_add (parent, child);
}

GwField *
gw_field_add_buffer (GwField *parent, const char *name, const uint8_t *body, gsize offset,
                     gsize size)
{
    GwField *child = gw_field_new (name, "buffer", GW_FIELD_BUFFER, offset, size);
    child->data = body + offset;
    return gw_field_add (parent, child);
}

const GwField *
gw_field_get_child (const GwField *field, const char *name)
{
    for (guint i = 0; field->children != NULL && i < field->children->len; i++) {
        const GwField *child = g_ptr_array_index (field->children, i);
        if (strcmp (child->name, name) == 0)
            return child;
    }
    return NULL;
}

/* --- leaves ------------------------------------------------------------------------------------ */

static const struct {
    const char *type;
    GwFieldKind kind;
    gsize size;
} types[] = {
    { "bool", GW_FIELD_BOOL, 1 },
    { "int8", GW_FIELD_SIGNED, 1 },
    { "int16", GW_FIELD_SIGNED, 2 },
    { "int32", GW_FIELD_SIGNED, 4 },
    { "int32 equal", GW_FIELD_SIGNED, 4 },
    { "int32 le", GW_FIELD_SIGNED, 4 },
    { "int64", GW_FIELD_SIGNED, 8 },
    { "int64 equal", GW_FIELD_SIGNED, 8 },
    { "timer", GW_FIELD_SIGNED, 8 },
    { "uint8", GW_FIELD_UNSIGNED, 1 },
    { "uint8 equal", GW_FIELD_UNSIGNED, 1 },
    { "uint16", GW_FIELD_UNSIGNED, 2 },
    { "uint16 equal", GW_FIELD_UNSIGNED, 2 },
    { "uint32", GW_FIELD_UNSIGNED, 4 },
    { "uint32 equal", GW_FIELD_UNSIGNED, 4 },
    { "uint64", GW_FIELD_UNSIGNED, 8 },
    { "uint64 equal", GW_FIELD_UNSIGNED, 8 },
    { "float64", GW_FIELD_UNSIGNED, 8 },
    { "nullptr", GW_FIELD_NULL, 1 },
};

static GwFieldKind
leaf_kind (const char *type, gsize size)
{
    for (gsize i = 0; i < G_N_ELEMENTS (types); i++)
        if (types[i].size == size && strcmp (types[i].type, type) == 0)
            return types[i].kind;
    return GW_FIELD_BUFFER;
}

static void
fill_leaf (Decoder *d, GwField *field)
{
    const uint8_t *p = d->body + field->offset;
    if (field->kind == GW_FIELD_BUFFER) {
        field->data = p;
        if (strcmp (field->type, "pci config") == 0)
            gw_decode_pci_config (field);
        else if (strcmp (field->type, "virtio") == 0)
            gw_decode_virtio (field, d->body);
        return;
    }
    field->value = gw_stream_load (p, field->size);
    if (field->kind == GW_FIELD_SIGNED && field->size < 8
        && field->value >> (8 * field->size - 1) != 0)
        field->value |= ~UINT64_C (0) << (8 * field->size);
}

/* --- structures -------------------------------------------------------------------------------- */

static gboolean decode_body (Decoder *d, GwField *parent, JsonObject *object, GError **error);

static gboolean
is_short (Decoder *d, gsize size, const char *name, GError **error)
{
    if (size <= d->len - d->pos && ++d->n_fields <= FIELDS_MAX)
        return FALSE;
    gw_fail (error, GW_CAUSE_STREAM_VMDESC,
             "field '%s' at byte %zu: expected %zu bytes, found %zu (%u fields so far)", name, d->pos,
             size, d->len - d->pos, d->n_fields);
    return TRUE;
}

/* "tmp" and "vstruct" have the description of their content in themselves. */
static JsonObject *
get_struct (JsonObject *field, const char *type)
{
    if (strcmp (type, "struct") == 0)
        return gw_stream_json_get_object (field, "struct");
    if ((strcmp (type, "tmp") == 0 || strcmp (type, "vstruct") == 0)
        && gw_stream_json_get_array (field, "fields") != NULL)
        return field;
    return NULL;
}

static gboolean
decode_one (Decoder *d, GwField *parent, JsonObject *object, gsize size, GError **error)
{
    const char *name = gw_stream_json_get_string (object, "name");
    const char *type = gw_stream_json_get_string (object, "type");
    if (name == NULL || type == NULL)
        return gw_fail (error, GW_CAUSE_STREAM_VMDESC, "byte %zu: expected a named, typed field",
                        d->pos);
    if (is_short (d, size, name, error))
        return FALSE;
    JsonObject *inner = get_struct (object, type);
    GwFieldKind kind = inner != NULL ? GW_FIELD_STRUCT : leaf_kind (type, size);
    GwField *field = gw_field_add (parent, gw_field_new (name, type, kind, d->pos, size));
    if (inner == NULL) {
        fill_leaf (d, field);
        d->pos += size;
        return TRUE;
    }
    if (!decode_body (d, field, inner, error))
        return FALSE;
    if (d->pos == field->offset + size)
        return TRUE;
    return gw_fail (error, GW_CAUSE_STREAM_VMDESC,
                    "structure '%s' at byte %zu: expected %zu bytes, found fields of %zu", name,
                    field->offset, size, d->pos - field->offset);
}

/* Elements of an array come as one field with array_len, or as fields with an index, or mixed; QEMU
 * 10.0 leaves the index out where only one element is left.  NULL: the field is not of an array. */
static GwField *
get_array_node (GwField *parent, JsonObject *object, const char *name, gsize offset)
{
    guint n = parent->children != NULL ? parent->children->len : 0;
    GwField *last = n > 0 ? g_ptr_array_index (parent->children, n - 1) : NULL;
    if (last != NULL && last->kind == GW_FIELD_ARRAY && strcmp (last->name, name) == 0)
        return last;
    if (!json_object_has_member (object, "array_len") && !json_object_has_member (object, "index"))
        return NULL;
    return gw_field_add (parent, gw_field_new (name, "array", GW_FIELD_ARRAY, offset, 0));
}

static gboolean
decode_field (Decoder *d, GwField *parent, JsonNode *node, GError **error)
{
    JsonObject *object = JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
    const char *name = object != NULL ? gw_stream_json_get_string (object, "name") : NULL;
    uint64_t size, n = 1;
    if (name == NULL || !gw_stream_json_get_uint (object, "size", G_MAXUINT32, &size)
        || (json_object_has_member (object, "array_len")
            && !gw_stream_json_get_uint (object, "array_len", FIELDS_MAX, &n)))
        return gw_fail (error, GW_CAUSE_STREAM_VMDESC, "byte %zu: expected a field with a size",
                        d->pos);
    GwField *array = get_array_node (parent, object, name, d->pos);
    if (array == NULL)
        return decode_one (d, parent, object, (gsize) size, error);
    for (uint64_t i = 0; i < n; i++)
        if (!decode_one (d, array, object, (gsize) size, error))
            return FALSE;
    array->size = d->pos - array->offset;
    return TRUE;
}

static gboolean
decode_subsection (Decoder *d, GwField *parent, JsonNode *node, GError **error)
{
    JsonObject *object = JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
    const char *name = object != NULL ? gw_stream_json_get_string (object, "vmsd_name") : NULL;
    if (name == NULL)
        return gw_fail (error, GW_CAUSE_STREAM_VMDESC, "byte %zu: expected a subsection's name",
                        d->pos);
    gsize n = strlen (name), head = 2 + n + 4;
    if (is_short (d, head, name, error))
        return FALSE;
    const uint8_t *p = d->body + d->pos;
    if (p[0] != GW_STREAM_BYTE_SUBSECTION || p[1] != n || memcmp (p + 2, name, n) != 0)
        return gw_fail (error, GW_CAUSE_STREAM_VMDESC,
                        "byte %zu: expected subsection '%s', found 0x%02x 0x%02x", d->pos, name,
                        p[0], p[1]);
    GwField *field = gw_field_add (parent, gw_field_new (name, "subsection", GW_FIELD_SUBSECTION,
                                                         d->pos, 0));
    field->value = gw_load_be32 (p + 2 + n);
    d->pos += head;
    if (!decode_body (d, field, object, error))
        return FALSE;
    field->size = d->pos - field->offset;
    return TRUE;
}

static gboolean
decode_body (Decoder *d, GwField *parent, JsonObject *object, GError **error)
{
    JsonArray *fields = gw_stream_json_get_array (object, "fields");
    JsonArray *subsections = gw_stream_json_get_array (object, "subsections");
    for (guint i = 0; fields != NULL && i < json_array_get_length (fields); i++)
        if (!decode_field (d, parent, json_array_get_element (fields, i), error))
            return FALSE;
    for (guint i = 0; subsections != NULL && i < json_array_get_length (subsections); i++)
        if (!decode_subsection (d, parent, json_array_get_element (subsections, i), error))
            return FALSE;
    return TRUE;
}

GwField *
gw_stream_decode (const GwVmdescDevice *device, const char *name, const uint8_t *body, gsize len,
                  GError **error)
{
    Decoder d = { .body = body, .len = len };
    g_autoptr (GwField) root = gw_field_new (name, "section", GW_FIELD_STRUCT, 0, len);
    if (device == NULL) {
        gw_field_add_buffer (root, "data", body, 0, len);
        return g_steal_pointer (&root);
    }
    if (!decode_body (&d, root, device->object, error))
        return NULL;
    if (d.pos == len)
        return g_steal_pointer (&root);
    gw_fail (error, GW_CAUSE_STREAM_VMDESC,
             "section '%s': expected %zu bytes, found fields of %zu", name, len, d.pos);
    return NULL;
}
