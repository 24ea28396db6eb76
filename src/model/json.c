/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model.h"

#include <string.h>

static JsonNode *
get_value (JsonObject *object, const char *name, GType type)
{
    JsonNode *node = json_object_get_member (object, name);
    if (node == NULL || !JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != type)
        return NULL;
    return node;
}

const char *
gw_json_get_string (JsonObject *object, const char *name, GError **error)
{
    const char *value = gw_json_peek_string (object, name, NULL);
    if (value == NULL)
        gw_fail (error, GW_CAUSE_RPC_INVALID, "member '%s' is not a string", name);
    return value;
}

gboolean
gw_json_get_int (JsonObject *object, const char *name, gint64 min, gint64 max, gint64 *ret_value,
                 GError **error)
{
    JsonNode *node = get_value (object, name, G_TYPE_INT64);
    gint64 value = node != NULL ? json_node_get_int (node) : 0;
    if (node == NULL || value < min || value > max)
        return gw_fail (error, GW_CAUSE_RPC_INVALID,
                        "member '%s' is not an integer from %" G_GINT64_FORMAT
                        " to %" G_GINT64_FORMAT,
                        name, min, max);
    *ret_value = value;
    return TRUE;
}

JsonObject *
gw_json_get_object (JsonObject *object, const char *name, GError **error)
{
    JsonObject *value = gw_json_peek_object (object, name);
    if (value == NULL)
        gw_fail (error, GW_CAUSE_RPC_INVALID, "member '%s' is not an object", name);
    return value;
}

const char *
gw_json_peek_string (JsonObject *object, const char *name, const char *fallback)
{
    JsonNode *node = get_value (object, name, G_TYPE_STRING);
    if (node == NULL || strlen (json_node_get_string (node)) > GW_STRING_MAX)
        return fallback;
    return json_node_get_string (node);
}

gint64
gw_json_peek_int (JsonObject *object, const char *name, gint64 fallback)
{
    JsonNode *node = get_value (object, name, G_TYPE_INT64);
    return node != NULL ? json_node_get_int (node) : fallback;
}

gboolean
gw_json_peek_bool (JsonObject *object, const char *name, gboolean fallback)
{
    JsonNode *node = get_value (object, name, G_TYPE_BOOLEAN);
    return node != NULL ? json_node_get_boolean (node) : fallback;
}

JsonObject *
gw_json_peek_object (JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member (object, name);
    return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

JsonArray *
gw_json_peek_array (JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member (object, name);
    return node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
}

GStrv
gw_json_peek_strv (JsonObject *object, const char *name)
{
    JsonArray *array = gw_json_peek_array (object, name);
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    guint n = array != NULL ? MIN (json_array_get_length (array), GW_ARRAY_MAX) : 0;
    for (guint i = 0; i < n; i++) {
        JsonNode *node = json_array_get_element (array, i);
        if (JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING)
            g_strv_builder_add (builder, json_node_get_string (node));
    }
    return g_strv_builder_end (builder);
}

void
gw_json_set_strv (JsonObject *object, const char *name, const char *const *strv)
{
    JsonArray *array = json_array_new ();
    for (gsize i = 0; strv != NULL && strv[i] != NULL; i++)
        json_array_add_string_element (array, strv[i]);
    json_object_set_array_member (object, name, array);
}

static void
set_member (JsonObject *object, const char *name, char kind, va_list *args)
{
    switch (kind) {
    case 's': {
        const char *value = va_arg (*args, const char *);
        if (value != NULL)
            json_object_set_string_member (object, name, value);
        break;
    }
    case 'i':
        json_object_set_int_member (object, name, va_arg (*args, gint64));
        break;
    case 'b':
        json_object_set_boolean_member (object, name, va_arg (*args, gboolean));
        break;
    case 'o': {
        JsonObject *value = va_arg (*args, JsonObject *);
        if (value != NULL)
            json_object_set_object_member (object, name, value);
        break;
    }
    case 'v':
        gw_json_set_strv (object, name, va_arg (*args, const char *const *));
        break;
    case 'n':
        json_object_set_member (object, name, va_arg (*args, JsonNode *));
        break;
    default:
        g_assert_not_reached ();
    }
}

JsonObject *
gw_json_new (const char *first, ...)
{
    JsonObject *object = json_object_new ();
    va_list args;
    va_start (args, first);
    for (const char *spec = first; spec != NULL; spec = va_arg (args, const char *)) {
        const char *colon = strchr (spec, ':');
        g_assert (colon != NULL);
        g_autofree char *name = g_strndup (spec, (gsize) (colon - spec));
        set_member (object, name, colon[1], &args);
    }
    va_end (args);
    return object;
}

char *
gw_json_to_text (JsonObject *object, gboolean is_pretty)
{
    g_autoptr (JsonNode) node = json_node_alloc ();
    json_node_init_object (node, object);
    return json_to_string (node, is_pretty);
}

/* Looks at `text` before the JSON library does, which recurses for every level (without a bound before
 * its version 1.10).  It also reads comments and, as QEMU does, 'single quotes'; the former would hide
 * a level from this function and are refused, the latter have no escapes there. */
static gboolean
check_depth (const char *text, gsize len, GError **error)
{
    guint depth = 0;
    char quote = '\0'; /* the one that the string we are in began with */
    for (gsize i = 0; i < len; i++) {
        char c = text[i];
        if (quote == '"' && c == '\\')
            i++;
        else if (quote != '\0')
            quote = c == quote ? '\0' : quote;
        else if (c == '"' || c == '\'')
            quote = c;
        else if (c == '/')
            return gw_fail (error, GW_CAUSE_RPC_INVALID, "JSON with a comment at byte %zu", i);
        else if ((c == '{' || c == '[') && ++depth > GW_JSON_DEPTH_MAX)
            return gw_fail (error, GW_CAUSE_RPC_INVALID, "JSON is more than %u levels deep",
                            GW_JSON_DEPTH_MAX);
        else if ((c == '}' || c == ']') && depth > 0)
            depth--;
    }
    return TRUE;
}

JsonObject *
gw_json_parse (const char *text, gssize len, GError **error)
{
    g_autoptr (JsonParser) parser = json_parser_new ();
    if (!check_depth (text, len >= 0 ? (gsize) len : strlen (text), error))
        return NULL;
    if (!json_parser_load_from_data (parser, text, len, error)) {
        gw_error_adopt (error, GW_CAUSE_RPC_INVALID);
        return NULL;
    }
    JsonNode *root = json_parser_get_root (parser);
    if (root == NULL || !JSON_NODE_HOLDS_OBJECT (root)) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "not a JSON object");
        return NULL;
    }
    return json_object_ref (json_node_get_object (root));
}
