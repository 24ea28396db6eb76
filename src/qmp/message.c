/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a message says.  The shapes are those of QEMU's docs/interop/qmp-spec: a greeting {"QMP"},
 * an event {"event", "data", "timestamp"}, a reply {"return", "id"} or {"error", "id"}.  Members
 * that are not known are skipped, a known one of another type makes the message invalid.
 */
#include "qmp-internal.h"

#include <string.h>

#define QUOTE_MAX 100          /* bytes of a message shown */
#define VERSION_PART_MAX 10000 /* of a version number */

char *
gw_qmp_quote (const char *text, gsize len, gsize max)
{
    while (len > 0 && g_ascii_isspace (text[len - 1]))
        len--;
    return g_strdelimit (gw_text_clean (text, (gssize) len, max), "\n\t", ' ');
}

static gboolean
fail_shape (const char *text, gsize len, const char *what, GError **error)
{
    g_autofree char *quote = gw_qmp_quote (text, len, QUOTE_MAX);
    return gw_fail (error, GW_CAUSE_QMP_INVALID, "%s: '%s'", what, quote);
}

/* --- members: NULL or FALSE when missing or of another type --- */

static JsonObject *
get_object (JsonObject *object, const char *name)
{
    JsonNode *node = object != NULL ? json_object_get_member (object, name) : NULL;
    return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static const char *
get_string (JsonObject *object, const char *name)
{
    JsonNode *node = object != NULL ? json_object_get_member (object, name) : NULL;
    if (node == NULL || !JSON_NODE_HOLDS_VALUE (node))
        return NULL;
    return json_node_get_value_type (node) == G_TYPE_STRING ? json_node_get_string (node) : NULL;
}

static gboolean
get_int (JsonObject *object, const char *name, gint64 min, gint64 max, gint64 *ret_value)
{
    JsonNode *node = object != NULL ? json_object_get_member (object, name) : NULL;
    if (node == NULL || !JSON_NODE_HOLDS_VALUE (node))
        return FALSE;
    if (json_node_get_value_type (node) != G_TYPE_INT64)
        return FALSE;
    gint64 value = json_node_get_int (node);
    if (value < min || value > max)
        return FALSE;
    *ret_value = value;
    return TRUE;
}

/* --- one function a shape --- */

static gboolean
offers_oob (JsonObject *greeting)
{
    JsonNode *node = json_object_get_member (greeting, "capabilities");
    if (node == NULL || !JSON_NODE_HOLDS_ARRAY (node))
        return FALSE;
    JsonArray *offers = json_node_get_array (node);
    for (guint i = 0; i < json_array_get_length (offers); i++) {
        JsonNode *offer = json_array_get_element (offers, i);
        if (json_node_get_value_type (offer) == G_TYPE_STRING &&
            g_strcmp0 (json_node_get_string (offer), "oob") == 0)
            return TRUE;
    }
    return FALSE;
}

/* These return what is wrong, or NULL. */
static const char *
read_greeting (JsonObject *root, GwQmpMessage *message)
{
    static const char *const parts[] = { "major", "minor", "micro" };
    JsonObject *greeting = get_object (root, "QMP");
    JsonObject *version = get_object (greeting, "version");
    JsonObject *numbers = get_object (version, "qemu");
    for (guint i = 0; i < G_N_ELEMENTS (parts); i++) {
        gint64 number;
        if (!get_int (numbers, parts[i], 0, VERSION_PART_MAX, &number))
            return "a QMP greeting has no version";
        message->version[i] = (int) number;
    }
    const char *package = get_string (version, "package");
    message->words = package != NULL ? package : "";
    message->has_oob = offers_oob (greeting);
    message->type = GW_QMP_MESSAGE_GREETING;
    return NULL;
}

static const char *
read_event (JsonObject *root, GwQmpMessage *message)
{
    message->name = get_string (root, "event");
    if (message->name == NULL)
        return "a QMP event has no name";
    message->data = get_object (root, "data");
    if (message->data == NULL && json_object_has_member (root, "data"))
        return "the data of a QMP event are no object";

    /* QEMU writes -1 for both when it cannot read its clock: no time stamp. */
    JsonObject *stamp = get_object (root, "timestamp");
    gint64 s, us;
    if (get_int (stamp, "seconds", 0, G_MAXINT64 / G_USEC_PER_SEC - 1, &s) &&
        get_int (stamp, "microseconds", 0, G_USEC_PER_SEC - 1, &us))
        message->at_us = s * G_USEC_PER_SEC + us;
    message->type = GW_QMP_MESSAGE_EVENT;
    return NULL;
}

static const char *
read_return (JsonObject *root, GwQmpMessage *message)
{
    message->value = json_object_get_member (root, "return");
    message->has_id = get_int (root, "id", G_MININT64, G_MAXINT64, &message->id);
    message->type = GW_QMP_MESSAGE_RETURN;
    return NULL;
}

static const char *
read_error (JsonObject *root, GwQmpMessage *message)
{
    JsonObject *object = get_object (root, "error");
    message->name = get_string (object, "class");
    message->words = get_string (object, "desc");
    if (message->name == NULL || message->words == NULL)
        return "a QMP error has no class or description";
    message->has_id = get_int (root, "id", G_MININT64, G_MAXINT64, &message->id);
    message->type = GW_QMP_MESSAGE_ERROR;
    return NULL;
}

static const struct {
    const char *member;
    const char *(*read) (JsonObject *root, GwQmpMessage *message);
} shapes[] = {
    { "return", read_return },
    { "error", read_error },
    { "event", read_event },
    { "QMP", read_greeting },
};

static const char *
classify (JsonObject *root, GwQmpMessage *message)
{
    for (guint i = 0; i < G_N_ELEMENTS (shapes); i++)
        if (json_object_has_member (root, shapes[i].member))
            return shapes[i].read (root, message);
    return "a message is none of QMP's";
}

static JsonNode *
parse_json (const char *text, gsize len, GError **error)
{
    g_autoptr (JsonParser) parser = json_parser_new ();
    g_autoptr (GError) fault = NULL;
    if (json_parser_load_from_data (parser, text, (gssize) len, &fault)) {
        JsonNode *root = json_parser_steal_root (parser);
        if (root != NULL && JSON_NODE_HOLDS_OBJECT (root))
            return root;
        g_clear_pointer (&root, json_node_unref);
    }
    const char *why = fault != NULL ? fault->message : "it is no object";
    if (g_str_has_prefix (why, "<data>:")) /* in place of a file's name; line and byte follow */
        why += strlen ("<data>:");
    g_autofree char *what = g_strdup_printf ("a QMP message is invalid: %s", why);
    (void) fail_shape (text, len, what, error); /* always FALSE */
    return NULL;
}

gboolean
gw_qmp_message_parse (const char *text, gsize len, GwQmpMessage *ret_message, GError **error)
{
    g_auto (GwQmpMessage) message = { .root = parse_json (text, len, error) };
    if (message.root == NULL)
        return FALSE;
    const char *what = classify (json_node_get_object (message.root), &message);
    if (what != NULL)
        return fail_shape (text, len, what, error);
    *ret_message = message;
    message.root = NULL;
    return TRUE;
}

void
gw_qmp_message_clear (GwQmpMessage *message)
{
    g_clear_pointer (&message->root, json_node_unref);
}

char *
gw_qmp_message_build (const char *name, JsonObject *arguments, gboolean is_oob, gint64 id)
{
    g_autoptr (JsonObject) root = json_object_new ();
    json_object_set_string_member (root, is_oob ? "exec-oob" : "execute", name);
    if (arguments != NULL)
        json_object_set_object_member (root, "arguments", json_object_ref (arguments));
    json_object_set_int_member (root, "id", id);
    g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), root);
    g_autofree char *json = json_to_string (node, FALSE);
    return g_strconcat (json, "\r\n", NULL);
}
