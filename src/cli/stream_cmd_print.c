/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fields and summaries as text and as JSON. */
#include "stream_cmd.h"

#include <string.h>

#define TEXT_BYTES 32u /* of a buffer, in a tree */

/* --- values ------------------------------------------------------------------------------------- */

static char *
buffer_text (const GwField *field, gsize max_bytes)
{
    GString *text = g_string_new (NULL);
    gsize n = MIN (field->size, max_bytes);
    for (gsize i = 0; i < n; i++)
        g_string_append_printf (text, "%s%02x", i > 0 ? " " : "", field->data[i]);
    if (n < field->size)
        g_string_append_printf (text, " .. (%zu bytes)", field->size);
    return g_string_free (text, FALSE);
}

char *
gw_field_to_text (const GwField *field, gsize max_bytes)
{
    switch (field->kind) {
    case GW_FIELD_UNSIGNED:
        return g_strdup_printf ("0x%0*" G_GINT64_MODIFIER "x", (int) field->size * 2, field->value);
    case GW_FIELD_SIGNED:
        return g_strdup_printf ("%" G_GINT64_FORMAT, (gint64) field->value);
    case GW_FIELD_BOOL:
        return g_strdup (field->value != 0 ? "true" : "false");
    case GW_FIELD_NULL:
        return g_strdup ("nullptr");
    case GW_FIELD_BUFFER:
        return buffer_text (field, max_bytes);
    case GW_FIELD_TEXT:
        return g_strdup (field->text);
    case GW_FIELD_SUBSECTION:
        return g_strdup_printf ("version %" G_GUINT64_FORMAT, field->value);
    case GW_FIELD_STRUCT:
    case GW_FIELD_ARRAY:
    default:
        return g_strdup ("");
    }
}

void
gw_field_print (const GwField *field, unsigned indent)
{
    g_autofree char *value = gw_field_to_text (field, TEXT_BYTES);
    g_print ("%*s%s%s%s%s%s%s\n", (int) indent, "", field->name, *value != '\0' ? " = " : ":", value,
             field->kind != GW_FIELD_TEXT && field->text != NULL ? " (" : "",
             field->kind != GW_FIELD_TEXT && field->text != NULL ? field->text : "",
             field->kind != GW_FIELD_TEXT && field->text != NULL ? ")" : "");
    for (guint i = 0; field->children != NULL && i < field->children->len; i++)
        gw_field_print (g_ptr_array_index (field->children, i), indent + 2);
}

/* --- JSON --------------------------------------------------------------------------------------- */

static void
add_string (JsonBuilder *b, const char *name, const char *value)
{
    g_autofree char *clean = gw_text_clean (value, -1, 1 << 20);
    json_builder_set_member_name (b, name);
    json_builder_add_string_value (b, clean);
}

/* json-glib's integers are signed: larger ones are strings. */
static void
add_uint (JsonBuilder *b, const char *name, uint64_t value)
{
    g_autofree char *text = g_strdup_printf ("%" G_GUINT64_FORMAT, value);
    json_builder_set_member_name (b, name);
    if (value <= G_MAXINT64)
        json_builder_add_int_value (b, (gint64) value);
    else
        json_builder_add_string_value (b, text);
}

static void
add_value (JsonBuilder *b, const GwField *field)
{
    g_autofree char *text = gw_field_to_text (field, G_MAXSIZE);
    switch (field->kind) {
    case GW_FIELD_UNSIGNED:
        add_uint (b, "value", field->value);
        break;
    case GW_FIELD_SIGNED:
        json_builder_set_member_name (b, "value");
        json_builder_add_int_value (b, (gint64) field->value);
        break;
    case GW_FIELD_BOOL:
        json_builder_set_member_name (b, "value");
        json_builder_add_boolean_value (b, field->value != 0);
        break;
    case GW_FIELD_NULL:
        json_builder_set_member_name (b, "value");
        json_builder_add_null_value (b);
        break;
    case GW_FIELD_BUFFER:
    case GW_FIELD_TEXT:
        add_string (b, "value", text);
        break;
    case GW_FIELD_SUBSECTION:
        add_uint (b, "version", field->value);
        break;
    case GW_FIELD_STRUCT:
    case GW_FIELD_ARRAY:
    default:
        break;
    }
}

static void
add_field (JsonBuilder *b, const GwField *field)
{
    json_builder_begin_object (b);
    add_string (b, "name", field->name);
    add_string (b, "type", field->type);
    add_uint (b, "offset", field->offset);
    add_uint (b, "size", field->size);
    add_value (b, field);
    if (field->children != NULL) {
        json_builder_set_member_name (b, field->kind == GW_FIELD_ARRAY ? "elements" : "fields");
        json_builder_begin_array (b);
        for (guint i = 0; i < field->children->len; i++)
            add_field (b, g_ptr_array_index (field->children, i));
        json_builder_end_array (b);
    }
    json_builder_end_object (b);
}

JsonNode *
gw_field_to_json (const GwField *field)
{
    g_autoptr (JsonBuilder) b = json_builder_new ();
    add_field (b, field);
    return json_builder_get_root (b);
}

void
gw_stream_json_add_error (JsonBuilder *b, const GError *error)
{
    json_builder_set_member_name (b, "error");
    if (error == NULL) {
        json_builder_add_null_value (b);
        return;
    }
    json_builder_begin_object (b);
    add_string (b, "code", gw_cause_get_info (gw_error_get_cause (error))->code);
    add_string (b, "message", error->message);
    json_builder_end_object (b);
}

static void
add_item (JsonBuilder *b, const GwStreamSummary *s, const GwStreamItem *item)
{
    json_builder_begin_object (b);
    add_string (b, "kind", item->type == GW_ITEM_COMMAND ? "command" : "section");
    add_uint (b, "offset", item->offset);
    add_uint (b, "length", item->length);
    add_uint (b, "depth", item->depth);
    if (item->type == GW_ITEM_COMMAND) {
        add_string (b, "command", item->text);
    } else {
        add_string (b, "name", item->section->name);
        add_uint (b, "id", item->section->id);
        add_uint (b, "instance", item->section->instance);
        add_uint (b, "version", item->section->version);
    }
    if (item->body != NULL) {
        g_autoptr (GwField) field = gw_stream_item_decode (s, item);
        json_builder_set_member_name (b, "fields");
        json_builder_begin_array (b);
        for (guint i = 0; field->children != NULL && i < field->children->len; i++)
            add_field (b, g_ptr_array_index (field->children, i));
        json_builder_end_array (b);
    }
    json_builder_end_object (b);
}

static void
add_blocks (JsonBuilder *b, const GwStreamSummary *s)
{
    json_builder_set_member_name (b, "ram");
    json_builder_begin_array (b);
    for (guint i = 0; i < s->blocks->len; i++) {
        const GwStreamBlockSum *sum = g_ptr_array_index (s->blocks, i);
        json_builder_begin_object (b);
        add_string (b, "block", sum->block->name);
        add_uint (b, "bytes", sum->block->used_length);
        add_uint (b, "pages", sum->normal);
        add_uint (b, "zero", sum->zero);
        add_uint (b, "xbzrle", sum->xbzrle);
        add_uint (b, "compressed", sum->compressed);
        json_builder_end_object (b);
    }
    json_builder_end_array (b);
}

static void
add_bitmaps (JsonBuilder *b, const GwStreamSummary *s)
{
    json_builder_set_member_name (b, "bitmaps");
    json_builder_begin_array (b);
    for (guint i = 0; i < s->bitmaps->len; i++) {
        const GwStreamBitmapSum *sum = g_ptr_array_index (s->bitmaps, i);
        json_builder_begin_object (b);
        add_string (b, "node", sum->node);
        add_string (b, "name", sum->name);
        add_uint (b, "granularity", sum->granularity);
        add_uint (b, "chunks", sum->chunks);
        json_builder_end_object (b);
    }
    json_builder_end_array (b);
}

JsonNode *
gw_summary_to_json (const GwStreamSummary *s, const char *only)
{
    g_autoptr (JsonBuilder) b = json_builder_new ();
    json_builder_begin_object (b);
    add_string (b, "file", s->file);
    json_builder_set_member_name (b, "valid");
    json_builder_add_boolean_value (b, s->error == NULL);
    gw_stream_json_add_error (b, s->error);
    add_uint (b, "bytes", s->bytes);
    add_uint (b, "records", s->n_records);
    add_uint (b, "page_size", gw_stream_reader_get_page_size (s->reader));
    add_string (b, "machine", s->machine != NULL ? s->machine : "");
    add_blocks (b, s);
    add_uint (b, "ram_parts", s->n_parts);
    add_uint (b, "ram_flushes", s->n_flushes);
    add_bitmaps (b, s);
    json_builder_set_member_name (b, "items");
    json_builder_begin_array (b);
    for (guint i = 0; i < s->items->len; i++) {
        const GwStreamItem *item = g_ptr_array_index (s->items, i);
        if (only == NULL || (item->section != NULL && strstr (item->section->name, only) != NULL))
            add_item (b, s, item);
    }
    json_builder_end_array (b);
    add_uint (b, "vmdesc_bytes", s->json != NULL ? g_bytes_get_size (s->json) : 0);
    json_builder_end_object (b);
    return json_builder_get_root (b);
}

void
gw_stream_json_print (JsonNode *root)
{
    g_autoptr (JsonGenerator) generator = json_generator_new ();
    json_generator_set_root (generator, root);
    json_generator_set_pretty (generator, TRUE);
    g_autofree char *text = json_generator_to_data (generator, NULL);
    g_print ("%s\n", text);
    json_node_unref (root);
}
