/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model.h"

#include <string.h>

#define AT(type, data, field) ((type *) ((char *) (data) + (field)->offset))
#define AT_CONST(type, data, field) ((type const *) ((const char *) (data) + (field)->offset))

gpointer
gw_struct_new (const GwStructType *type)
{
    gpointer data = g_malloc0 (type->size);
    for (guint i = 0; i < type->n_fields; i++)
        if (type->fields[i].kind == GW_FIELD_ARRAY)
            *AT (GPtrArray *, data, &type->fields[i]) = g_ptr_array_new ();
    return data;
}

static void
field_clear (const GwField *field, gpointer data)
{
    switch (field->kind) {
    case GW_FIELD_STR:
        g_free (*AT (char *, data, field));
        break;
    case GW_FIELD_STRV:
        g_strfreev (*AT (GStrv, data, field));
        break;
    case GW_FIELD_ARRAY: {
        GPtrArray *array = *AT (GPtrArray *, data, field);
        for (guint i = 0; array != NULL && i < array->len; i++)
            gw_struct_free (field->type, array->pdata[i]);
        if (array != NULL)
            g_ptr_array_unref (array);
        break;
    }
    case GW_FIELD_OBJECT:
        gw_struct_free (field->type, *AT (gpointer, data, field));
        break;
    case GW_FIELD_INT:
    case GW_FIELD_BOOL:
        break;
    }
}

void
gw_struct_free (const GwStructType *type, gpointer data)
{
    if (data == NULL)
        return;
    for (guint i = 0; i < type->n_fields; i++)
        field_clear (&type->fields[i], data);
    g_free (data);
}

static JsonArray *
array_to_json (const GwField *field, GPtrArray *array)
{
    JsonArray *out = json_array_new ();
    for (guint i = 0; array != NULL && i < array->len; i++)
        json_array_add_object_element (out, gw_struct_to_json (field->type, array->pdata[i]));
    return out;
}

static void
field_to_json (const GwField *field, gconstpointer data, JsonObject *out)
{
    switch (field->kind) {
    case GW_FIELD_STR:
        if (*AT_CONST (char *, data, field) != NULL)
            json_object_set_string_member (out, field->name, *AT_CONST (char *, data, field));
        break;
    case GW_FIELD_STRV:
        gw_json_set_strv (out, field->name, (const char *const *) *AT_CONST (GStrv, data, field));
        break;
    case GW_FIELD_INT:
        json_object_set_int_member (out, field->name, *AT_CONST (gint64, data, field));
        break;
    case GW_FIELD_BOOL:
        json_object_set_boolean_member (out, field->name, *AT_CONST (gboolean, data, field));
        break;
    case GW_FIELD_ARRAY:
        json_object_set_array_member (out, field->name,
                                      array_to_json (field, *AT_CONST (GPtrArray *, data, field)));
        break;
    case GW_FIELD_OBJECT:
        if (*AT_CONST (gpointer, data, field) == NULL)
            json_object_set_null_member (out, field->name);
        else
            json_object_set_object_member (
                out, field->name,
                gw_struct_to_json (field->type, *AT_CONST (gpointer, data, field)));
        break;
    }
}

JsonObject *
gw_struct_to_json (const GwStructType *type, gconstpointer data)
{
    JsonObject *out = json_object_new ();
    for (guint i = 0; i < type->n_fields; i++)
        field_to_json (&type->fields[i], data, out);
    return out;
}

/* What a member must be for its field; the reader's errors say it. */
static gboolean
bad_member (const GwStructType *type, const GwField *field, const char *expected, GError **error)
{
    return gw_fail (error, GW_CAUSE_RPC_INVALID, "%s: member '%s' is not %s", type->name,
                    field->name, expected);
}

static gboolean
is_string (JsonNode *node)
{
    return JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING &&
           strlen (json_node_get_string (node)) <= GW_STRING_MAX;
}

static gboolean
strv_from_json (const GwStructType *type, const GwField *field, JsonNode *node, gpointer data,
                GError **error)
{
    if (!JSON_NODE_HOLDS_ARRAY (node) ||
        json_array_get_length (json_node_get_array (node)) > GW_ARRAY_MAX)
        return bad_member (type, field, "an array of strings", error);
    JsonArray *array = json_node_get_array (node);
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    for (guint i = 0; i < json_array_get_length (array); i++) {
        JsonNode *element = json_array_get_element (array, i);
        if (!is_string (element))
            return bad_member (type, field, "an array of strings", error);
        g_strv_builder_add (builder, json_node_get_string (element));
    }
    *AT (GStrv, data, field) = g_strv_builder_end (builder);
    return TRUE;
}

static gboolean
array_from_json (const GwStructType *type, const GwField *field, JsonNode *node, gpointer data,
                 GError **error)
{
    if (!JSON_NODE_HOLDS_ARRAY (node) ||
        json_array_get_length (json_node_get_array (node)) > GW_ARRAY_MAX)
        return bad_member (type, field, "an array", error);
    JsonArray *array = json_node_get_array (node);
    for (guint i = 0; i < json_array_get_length (array); i++) {
        JsonNode *element = json_array_get_element (array, i);
        if (!JSON_NODE_HOLDS_OBJECT (element))
            return bad_member (type, field, "an array of objects", error);
        gpointer item = gw_struct_from_json (field->type, json_node_get_object (element), error);
        if (item == NULL)
            return FALSE;
        g_ptr_array_add (*AT (GPtrArray *, data, field), item);
    }
    return TRUE;
}

static gboolean
int_from_json (const GwStructType *type, const GwField *field, JsonNode *node, gpointer data,
               GError **error)
{
    gint64 value;
    if (!JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_INT64 ||
        (value = json_node_get_int (node)) < field->min || value > field->max) {
        g_autofree char *range =
            g_strdup_printf ("an integer from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT,
                             field->min, field->max);
        return bad_member (type, field, range, error);
    }
    *AT (gint64, data, field) = value;
    return TRUE;
}

static gboolean
object_from_json (const GwStructType *type, const GwField *field, JsonNode *node, gpointer data,
                  GError **error)
{
    if (!JSON_NODE_HOLDS_OBJECT (node))
        return bad_member (type, field, "an object", error);
    gpointer item = gw_struct_from_json (field->type, json_node_get_object (node), error);
    *AT (gpointer, data, field) = item;
    return item != NULL;
}

static gboolean
field_from_json (const GwStructType *type, const GwField *field, JsonNode *node, gpointer data,
                 GError **error)
{
    switch (field->kind) {
    case GW_FIELD_STR:
        if (!is_string (node))
            return bad_member (type, field, "a string", error);
        *AT (char *, data, field) = g_strdup (json_node_get_string (node));
        return TRUE;
    case GW_FIELD_BOOL:
        if (!JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_BOOLEAN)
            return bad_member (type, field, "true or false", error);
        *AT (gboolean, data, field) = json_node_get_boolean (node);
        return TRUE;
    case GW_FIELD_INT:
        return int_from_json (type, field, node, data, error);
    case GW_FIELD_STRV:
        return strv_from_json (type, field, node, data, error);
    case GW_FIELD_ARRAY:
        return array_from_json (type, field, node, data, error);
    case GW_FIELD_OBJECT:
        return object_from_json (type, field, node, data, error);
    }
    g_assert_not_reached ();
}

gpointer
gw_struct_from_json (const GwStructType *type, JsonObject *object, GError **error)
{
    gpointer data = gw_struct_new (type);
    for (guint i = 0; i < type->n_fields; i++) {
        const GwField *field = &type->fields[i];
        JsonNode *node = json_object_get_member (object, field->name);
        gboolean is_missing = node == NULL || JSON_NODE_HOLDS_NULL (node);
        gboolean ok = is_missing ? !field->is_required || bad_member (type, field, "there", error)
                                 : field_from_json (type, field, node, data, error);
        if (!ok) {
            gw_struct_free (type, data);
            return NULL;
        }
    }
    return data;
}
