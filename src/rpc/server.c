/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

void
gw_rpc_request_free (GwRpcRequest *request)
{
    if (request == NULL)
        return;
    json_object_unref (request->params);
    g_free (request);
}

/* --- answers --- */

gboolean
gw_rpc_server_send_error (GwRpc *rpc, gint64 id, int code, const GError *why)
{
    gsize len;
    char *text = gw_rpc_message_build_error (id, code, why, &len);
    return gw_rpc_output_send (rpc, text, len, NULL);
}

gboolean
gw_rpc_reply_error (GwRpc *rpc, gint64 id, const GError *why)
{
    g_assert (id >= 0);
    /* a handler that finds fault with the message itself speaks of the params */
    gboolean is_params = gw_error_get_cause (why) == GW_CAUSE_RPC_INVALID;
    return gw_rpc_server_send_error (rpc, id, is_params ? GW_RPC_CODE_PARAMS : GW_RPC_CODE_CAUSE,
                                     why);
}

gboolean
gw_rpc_reply (GwRpc *rpc, gint64 id, JsonNode *result, GError **error)
{
    g_assert (id >= 0);
    gsize len;
    g_autoptr (GError) why = NULL;
    char *text = gw_rpc_message_build_result (id, result, &len, &why);
    if (text != NULL)
        return gw_rpc_output_send (rpc, text, len, error);
    (void) gw_rpc_server_send_error (rpc, id, GW_RPC_CODE_CAUSE, why); /* `why` is what counts */
    g_propagate_error (error, g_steal_pointer (&why));
    return FALSE;
}

static void
reply_object (GwRpc *rpc, gint64 id, JsonObject *result)
{
    g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
    json_node_take_object (node, result);
    (void) gw_rpc_reply (rpc, id, node, NULL); /* an end of the connection is noticed elsewhere */
}

static void refuse (GwRpc *rpc, gint64 id, int code, const char *format, ...) G_GNUC_PRINTF (4, 5);

static void
refuse (GwRpc *rpc, gint64 id, int code, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autoptr (GError) why
        = g_error_new_valist (GW_ERROR, (int) GW_CAUSE_RPC_INVALID, format, args);
    va_end (args);
    (void) gw_rpc_server_send_error (rpc, id, code, why); /* the same */
}

/* --- what is answered here --- */

static void
answer_hello (GwRpc *rpc, const GwRpcMessage *message)
{
    g_autoptr (GError) error = NULL;
    if (!gw_rpc_hello_take_request (rpc, message->params, &error)) {
        (void) gw_rpc_server_send_error (rpc, message->id, GW_RPC_CODE_PARAMS, error);
        return;
    }
    const char *path = g_get_prgname (); /* argv[0], which may hold a directory */
    g_autofree char *program = path != NULL ? g_path_get_basename (path) : g_strdup ("godwitd");
    reply_object (rpc, message->id, gw_rpc_hello_build (program));
}

static void
answer_ping (GwRpc *rpc, const GwRpcMessage *message)
{
    JsonObject *result = json_object_new ();
    json_object_set_int_member (result, "now_us", g_get_real_time ());
    reply_object (rpc, message->id, result);
}

/* --- the queue --- */

static void
push_request (GwRpc *rpc, GwRpcMessage *message)
{
    GwRpcRequest *request = g_new0 (GwRpcRequest, 1);
    request->method = message->method;
    request->params = g_steal_pointer (&message->params);
    request->id = message->id;
    g_queue_push_tail (&rpc->requests, request);
}

static gboolean
is_queue_full (GwRpc *rpc)
{
    return g_queue_get_length (&rpc->requests) >= GW_RPC_REQUESTS_MAX;
}

void
gw_rpc_server_take_request (GwRpc *rpc, GwRpcMessage *message)
{
    const char *name = gw_rpc_method_get_info (message->method)->name;
    if (message->method == GW_RPC_HELLO)
        answer_hello (rpc, message);
    else if (rpc->state.state == GW_RPC_FRESH)
        refuse (rpc, message->id, GW_RPC_CODE_REQUEST, "'%s' came before a hello of protocol %d",
                name, GW_RPC_PROTOCOL);
    else if (message->method == GW_RPC_PING)
        answer_ping (rpc, message);
    else if (is_queue_full (rpc))
        refuse (rpc, message->id, GW_RPC_CODE_CAUSE,
                "'%s' is refused: %d requests of this connection wait already", name,
                GW_RPC_REQUESTS_MAX);
    else
        push_request (rpc, message);
}

void
gw_rpc_server_take_notification (GwRpc *rpc, GwRpcMessage *message)
{
    const char *name = gw_rpc_method_get_info (message->method)->name;
    if (rpc->state.state == GW_RPC_FRESH) {
        g_debug ("rpc: '%s' from %s came before hello, ignoring", name, rpc->name);
    } else if (rpc->notify_fn != NULL) {
        rpc->dispatching++;
        rpc->notify_fn (message->method, message->params, rpc->notify_data);
        rpc->dispatching--;
    } else if (is_queue_full (rpc)) {
        g_debug ("rpc: nobody takes '%s' from %s, ignoring", name, rpc->name);
    } else {
        message->id = -1;
        push_request (rpc, message);
    }
}

void
gw_rpc_server_drop_requests (GwRpc *rpc)
{
    for (GList *l = rpc->requests.head, *next; l != NULL; l = next) {
        GwRpcRequest *request = l->data;
        next = l->next;
        if (request->id < 0)
            continue;
        gw_rpc_request_free (request);
        g_queue_delete_link (&rpc->requests, l);
    }
}

static gboolean
has_request_or_end (gpointer user_data)
{
    const GwRpc *rpc = user_data;
    return rpc->requests.length > 0 || rpc->state.state == GW_RPC_CLOSED;
}

GwRpcRequest *
gw_rpc_next_request (GwRpc *rpc, gint64 deadline_us, GCancellable *cancellable, GError **error)
{
    if (!gw_wait_until (rpc->context, has_request_or_end, rpc, deadline_us, cancellable, error)) {
        g_prefix_error (error, "waiting for a request of %s: ", rpc->name);
        return NULL;
    }
    GwRpcRequest *request = g_queue_pop_head (&rpc->requests);
    if (request == NULL)
        g_propagate_error (error, g_error_copy (rpc->why));
    return request;
}
