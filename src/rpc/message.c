/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

#include <string.h>

static const GwRpcMethodInfo method_table[] = {
#define X(id, name, kind, max_params_bytes, timeout_ms)                                            \
    [GW_RPC_##id] = { name, GW_RPC_KIND_##kind, max_params_bytes, timeout_ms },
#include "messages.def"
#undef X
};
G_STATIC_ASSERT (G_N_ELEMENTS (method_table) == GW_N_RPC_METHODS);

const GwRpcMethodInfo *
gw_rpc_method_get_info (GwRpcMethod method)
{
    g_assert ((guint) method < GW_N_RPC_METHODS);
    return &method_table[method];
}

GwRpcMethod
gw_rpc_method_from_name (const char *name)
{
    for (guint i = 0; i < GW_N_RPC_METHODS; i++)
        if (g_strcmp0 (method_table[i].name, name) == 0)
            return (GwRpcMethod) i;
    return GW_N_RPC_METHODS;
}

/* --- members --- */

static gboolean
is_value_of (JsonNode *node, GType type)
{
    return node != NULL && JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == type;
}

gboolean
gw_rpc_object_get_int (JsonObject *object, const char *name, gint64 *ret_value, GError **error)
{
    JsonNode *node = json_object_get_member (object, name);
    if (!is_value_of (node, G_TYPE_INT64))
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "\"%s\" is missing or not an integer", name);
    *ret_value = json_node_get_int (node);
    return TRUE;
}

const char *
gw_rpc_object_get_string (JsonObject *object, const char *name, GError **error)
{
    JsonNode *node = json_object_get_member (object, name);
    if (is_value_of (node, G_TYPE_STRING))
        return json_node_get_string (node);
    (void) gw_fail (error, GW_CAUSE_RPC_INVALID, "\"%s\" is missing or not a string", name);
    return NULL;
}

/* --- reading --- */

/* Makes `message` INVALID.  A request is answered, and so is what nobody can tell from one; a
 * notification never is. */
static void set_invalid (GwRpcMessage *message, int code, gboolean is_answerable,
                         const char *format, ...) G_GNUC_PRINTF (4, 5);

static void
set_invalid (GwRpcMessage *message, int code, gboolean is_answerable, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    message->kind = GW_RPC_MESSAGE_INVALID;
    message->code = code;
    message->is_answerable = is_answerable;
    GwCause cause = code == GW_RPC_CODE_METHOD ? GW_CAUSE_UNSUPPORTED : GW_CAUSE_RPC_INVALID;
    message->error = g_error_new_valist (GW_ERROR, (int) cause, format, args);
    va_end (args);
}

/* What a peer that knows no causes means by its code. */
static GwCause
cause_of_code (gint64 code)
{
    switch (code) {
    case GW_RPC_CODE_METHOD:
        return GW_CAUSE_UNSUPPORTED;
    case GW_RPC_CODE_PARSE:
    case GW_RPC_CODE_REQUEST:
    case GW_RPC_CODE_PARAMS:
        return GW_CAUSE_RPC_INVALID;
    default:
        return GW_CAUSE_INTERNAL;
    }
}

/* data.cause, or NULL. */
static const char *
find_cause (JsonObject *error_object)
{
    JsonNode *data = json_object_get_member (error_object, "data");
    if (data == NULL || !JSON_NODE_HOLDS_OBJECT (data))
        return NULL;
    return gw_rpc_object_get_string (json_node_get_object (data), "cause", NULL);
}

static GError *
read_error_object (JsonNode *node)
{
    gint64 code;
    const char *text = NULL;
    JsonObject *object = JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
    if (object != NULL && gw_rpc_object_get_int (object, "code", &code, NULL))
        text = gw_rpc_object_get_string (object, "message", NULL);
    if (text == NULL)
        return g_error_new (GW_ERROR, GW_CAUSE_RPC_INVALID, "the peer answered a malformed error");
    g_autofree char *said = gw_text_clean (text, -1, GW_RPC_TEXT_MAX);
    const char *name = find_cause (object);
    if (name == NULL)
        return g_error_new_literal (GW_ERROR, (int) cause_of_code (code), said);
    GwCause cause = gw_cause_from_code (name);
    if (cause != GW_CAUSE_NONE)
        return g_error_new_literal (GW_ERROR, (int) cause, said);
    g_autofree char *clean_name = gw_text_clean (name, -1, 100);
    return g_error_new (GW_ERROR, GW_CAUSE_INTERNAL, "%s (cause '%s')", said, clean_name);
}

/* The id member: TRUE and -1 when it is missing or null. */
static gboolean
read_id (JsonObject *root, gint64 *ret_id)
{
    JsonNode *node = json_object_get_member (root, "id");
    *ret_id = -1;
    if (node == NULL || JSON_NODE_HOLDS_NULL (node))
        return TRUE;
    if (!is_value_of (node, G_TYPE_INT64) || json_node_get_int (node) < 0)
        return FALSE;
    *ret_id = json_node_get_int (node);
    return TRUE;
}

static gboolean
read_params (JsonObject *root, GwRpcMessage *message, gboolean is_request)
{
    JsonNode *node = json_object_get_member (root, "params");
    if (node != NULL && !JSON_NODE_HOLDS_OBJECT (node)) {
        set_invalid (message, GW_RPC_CODE_PARAMS, is_request, "'%s': params must be an object",
                     method_table[message->method].name);
        return FALSE;
    }
    message->params
        = node != NULL ? json_object_ref (json_node_get_object (node)) : json_object_new ();
    return TRUE;
}

/* Limits of the method's row. */
static gboolean
check_row (GwRpcMessage *message, gsize text_bytes, gboolean is_request)
{
    const GwRpcMethodInfo *info = &method_table[message->method];
    GwRpcKind kind = is_request ? GW_RPC_KIND_REQUEST : GW_RPC_KIND_NOTIFY;
    if ((info->kind & kind) == 0) {
        set_invalid (message, GW_RPC_CODE_REQUEST, is_request, "'%s' is not a %s", info->name,
                     is_request ? "request" : "notification");
        return FALSE;
    }
    if (text_bytes > info->max_params_bytes + GW_RPC_ENVELOPE_MAX) {
        set_invalid (message, GW_RPC_CODE_PARAMS, is_request,
                     "'%s' has %zu bytes of params, at most %zu are accepted", info->name,
                     text_bytes, info->max_params_bytes);
        return FALSE;
    }
    return TRUE;
}

static void
read_call (JsonObject *root, GwRpcMessage *message, gsize text_bytes)
{
    gboolean is_request = json_object_has_member (root, "id");
    const char *name = gw_rpc_object_get_string (root, "method", NULL);
    if (name == NULL) {
        set_invalid (message, GW_RPC_CODE_REQUEST, TRUE, "\"method\" is not a string");
        return;
    }
    if (is_request && (!read_id (root, &message->id) || message->id < 0)) {
        set_invalid (message, GW_RPC_CODE_REQUEST, TRUE, "\"id\" is not an integer from 0 on");
        return;
    }
    message->method = gw_rpc_method_from_name (name);
    if (message->method == GW_N_RPC_METHODS) {
        g_autofree char *clean_name = gw_text_clean (name, -1, 100);
        set_invalid (message, GW_RPC_CODE_METHOD, is_request,
                     "godwit " GW_VERSION " knows no method '%s'", clean_name);
        return;
    }
    if (check_row (message, text_bytes, is_request) && read_params (root, message, is_request))
        message->kind = is_request ? GW_RPC_MESSAGE_REQUEST : GW_RPC_MESSAGE_NOTIFICATION;
}

static void
read_reply (JsonObject *root, GwRpcMessage *message)
{
    JsonNode *result = json_object_get_member (root, "result");
    JsonNode *failure = json_object_get_member (root, "error");
    if ((result == NULL) == (failure == NULL)) {
        /* neither is no request either, and that is how it is answered; both is a bad answer */
        set_invalid (message, GW_RPC_CODE_REQUEST, result == NULL,
                     "a message needs \"method\", or one of \"result\" and \"error\"");
        return;
    }
    if (!read_id (root, &message->id) || (message->id < 0 && result != NULL)) {
        set_invalid (message, GW_RPC_CODE_REQUEST, FALSE, "an answer without a usable \"id\"");
        return;
    }
    message->kind = result != NULL ? GW_RPC_MESSAGE_RESULT : GW_RPC_MESSAGE_ERROR;
    if (result != NULL)
        message->result = json_node_copy (result);
    else
        message->error = read_error_object (failure);
}

static void
read_message (JsonNode *root, GwRpcMessage *message, gsize text_bytes)
{
    if (!JSON_NODE_HOLDS_OBJECT (root)) {
        set_invalid (message, GW_RPC_CODE_REQUEST, TRUE, "batches are not supported");
        return;
    }
    JsonObject *object = json_node_get_object (root);
    if (g_strcmp0 (gw_rpc_object_get_string (object, "jsonrpc", NULL), "2.0") != 0)
        set_invalid (message, GW_RPC_CODE_REQUEST, TRUE, "\"jsonrpc\" is not \"2.0\"");
    else if (json_object_has_member (object, "method"))
        read_call (object, message, text_bytes);
    else
        read_reply (object, message);
}

gboolean
gw_rpc_message_parse (const char *text, gsize len, GwRpcMessage *ret_message, GError **error)
{
    if (!gw_rpc_scan_json (text, len, error))
        return FALSE;
    g_autoptr (JsonParser) parser = json_parser_new ();
    if (!json_parser_load_from_data (parser, text, (gssize) len, error))
        return gw_error_adopt (error, GW_CAUSE_RPC_INVALID);
    *ret_message = (GwRpcMessage){ .id = -1, .method = GW_N_RPC_METHODS };
    read_message (json_parser_get_root (parser), ret_message, len);
    return TRUE;
}

void
gw_rpc_message_clear (GwRpcMessage *message)
{
    g_clear_pointer (&message->params, json_object_unref);
    g_clear_pointer (&message->result, json_node_unref);
    g_clear_error (&message->error);
}

/* --- writing --- */

static JsonObject *
new_envelope (void)
{
    JsonObject *envelope = json_object_new ();
    json_object_set_string_member (envelope, "jsonrpc", "2.0");
    return envelope;
}

/* Takes `envelope`.  What the peer would refuse is refused here, where it can be put right: bytes
 * that are not UTF-8, too many levels, and doubles like 1e22, which json-glib 1.6 writes so that
 * they are no JSON ("1e+22.0"). */
static char *
generate (JsonObject *envelope, gsize *ret_len, GError **error)
{
    g_autoptr (JsonNode) root = json_node_new (JSON_NODE_OBJECT);
    json_node_take_object (root, envelope);
    g_autoptr (JsonGenerator) generator = json_generator_new ();
    json_generator_set_root (generator, root);
    g_autofree char *text = json_generator_to_data (generator, ret_len);
    if (*ret_len > GW_RPC_MESSAGE_MAX) {
        (void) gw_fail (error, GW_CAUSE_RPC_INVALID, "%zu bytes do not fit into a message of %d",
                        *ret_len, GW_RPC_MESSAGE_MAX);
        return NULL;
    }
    if (!gw_rpc_scan_json (text, *ret_len, error))
        return NULL;
    return g_steal_pointer (&text);
}

char *
gw_rpc_message_build_request (GwRpcMethod method, gint64 id, JsonObject *params, gsize *ret_len,
                              GError **error)
{
    const GwRpcMethodInfo *info = gw_rpc_method_get_info (method);
    g_assert ((info->kind & (id >= 0 ? GW_RPC_KIND_REQUEST : GW_RPC_KIND_NOTIFY)) != 0);
    JsonObject *envelope = new_envelope ();
    json_object_set_string_member (envelope, "method", info->name);
    if (id >= 0)
        json_object_set_int_member (envelope, "id", id);
    json_object_set_object_member (envelope, "params",
                                   params != NULL ? json_object_ref (params) : json_object_new ());
    g_autofree char *text = generate (envelope, ret_len, error);
    if (text == NULL) {
        g_prefix_error (error, "cannot send '%s': ", info->name);
        return NULL;
    }
    if (*ret_len > info->max_params_bytes + GW_RPC_ENVELOPE_MAX) {
        (void) gw_fail (error, GW_CAUSE_RPC_INVALID,
                        "cannot send '%s': %zu bytes of params are more than its limit of %zu",
                        info->name, *ret_len, info->max_params_bytes);
        return NULL;
    }
    return g_steal_pointer (&text);
}

char *
gw_rpc_message_build_result (gint64 id, JsonNode *result, gsize *ret_len, GError **error)
{
    JsonObject *envelope = new_envelope ();
    json_object_set_int_member (envelope, "id", id);
    if (result != NULL)
        json_object_set_member (envelope, "result", json_node_copy (result));
    else
        json_object_set_object_member (envelope, "result", json_object_new ());
    char *text = generate (envelope, ret_len, error);
    if (text == NULL)
        g_prefix_error (error, "cannot send a result: ");
    return text;
}

char *
gw_rpc_message_build_error (gint64 id, int code, const GError *why, gsize *ret_len)
{
    JsonObject *data = json_object_new ();
    json_object_set_string_member (data, "cause",
                                   gw_cause_get_info (gw_error_get_cause (why))->code);
    g_autofree char *said = gw_text_clean (why->message, -1, GW_RPC_TEXT_MAX);
    JsonObject *failure = json_object_new ();
    json_object_set_int_member (failure, "code", code);
    json_object_set_string_member (failure, "message", said);
    json_object_set_object_member (failure, "data", data);
    JsonObject *envelope = new_envelope ();
    if (id >= 0)
        json_object_set_int_member (envelope, "id", id);
    else
        json_object_set_null_member (envelope, "id");
    json_object_set_object_member (envelope, "error", failure);
    char *text = generate (envelope, ret_len, NULL);
    g_assert (text != NULL); /* a few KiB of clean text */
    return text;
}
