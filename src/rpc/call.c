/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

#define N_PINGS 5
#define WAIT_SLACK_MS 1000 /* a call ends by its own timer; the wait around it is a second net */

/* In the connection's table from begin until it is done; `rpc` is NULL afterwards. */
struct _GwRpcPending {
    GwRpc *rpc; /* (not owned) NULL: done */
    gint64 id;
    GwRpcMethod method;
    guint timeout_ms;
    GSource *timer;   /* (owned) */
    JsonNode *result; /* (owned) done well */
    GError *error;    /* (owned) done badly */
};

static void
detach (GwRpcPending *pending)
{
    if (pending->timer != NULL)
        g_source_destroy (pending->timer);
    g_clear_pointer (&pending->timer, g_source_unref);
    if (pending->rpc != NULL)
        g_hash_table_remove (pending->rpc->pending, &pending->id);
    pending->rpc = NULL;
}

/* Takes one of the two. */
static void
set_done (GwRpcPending *pending, JsonNode *result, GError *error)
{
    g_assert ((result == NULL) != (error == NULL));
    detach (pending);
    pending->result = result;
    pending->error = error;
}

static gboolean
on_timeout (gpointer user_data)
{
    GwRpcPending *pending = user_data;
    const char *method = gw_rpc_method_get_info (pending->method)->name;
    set_done (pending, NULL,
              g_error_new (GW_ERROR, GW_CAUSE_RPC_TIMEOUT, "%s did not answer '%s' within %u ms",
                           pending->rpc->name, method, pending->timeout_ms));
    return G_SOURCE_REMOVE;
}

static void
start_timer (GwRpcPending *pending)
{
    pending->timer = g_timeout_source_new (pending->timeout_ms);
    g_source_set_callback (pending->timer, on_timeout, pending, NULL);
    g_source_attach (pending->timer, pending->rpc->context);
}

static GError *
lost_error (const GwRpcPending *pending, const GError *why)
{
    GError *error = g_error_copy (why);
    if (pending->method != GW_RPC_HELLO)
        g_prefix_error (&error,
                        "'%s' got no answer: ", gw_rpc_method_get_info (pending->method)->name);
    return error;
}

/* While the connection is ENDING the call is not sent, but waits for the reason like the others. */
static void
send_request (GwRpcPending *pending, JsonObject *params)
{
    GwRpc *rpc = pending->rpc;
    GError *error = NULL;
    gsize len;
    char *text = gw_rpc_message_build_request (pending->method, pending->id, params, &len, &error);
    if (text == NULL)
        set_done (pending, NULL, error);
    else
        (void) gw_rpc_output_send (rpc, text, len, NULL); /* ends `pending`, at once or soon */
}

GwRpcPending *
gw_rpc_call_begin (GwRpc *rpc, GwRpcMethod method, JsonObject *params, guint timeout_ms)
{
    GwRpcPending *pending = g_new0 (GwRpcPending, 1);
    pending->rpc = rpc;
    pending->method = method;
    pending->timeout_ms = timeout_ms > 0 ? timeout_ms : gw_rpc_method_get_info (method)->timeout_ms;
    pending->id = rpc->next_id++;
    g_hash_table_insert (rpc->pending, &pending->id, pending);
    if (rpc->state.state == GW_RPC_CLOSED) {
        set_done (pending, NULL, lost_error (pending, rpc->why));
        return pending;
    }
    start_timer (pending);
    send_request (pending, params);
    return pending;
}

gboolean
gw_rpc_pending_is_done (const GwRpcPending *pending)
{
    return pending->rpc == NULL;
}

JsonNode *
gw_rpc_pending_finish (GwRpcPending *pending, GError **error)
{
    g_assert (gw_rpc_pending_is_done (pending));
    JsonNode *result = g_steal_pointer (&pending->result);
    if (result == NULL)
        g_propagate_error (error, g_steal_pointer (&pending->error));
    gw_rpc_pending_free (pending);
    return result;
}

void
gw_rpc_pending_free (GwRpcPending *pending)
{
    if (pending == NULL)
        return;
    detach (pending);
    g_clear_pointer (&pending->result, json_node_unref);
    g_clear_error (&pending->error);
    g_free (pending);
}

void
gw_rpc_call_take_reply (GwRpc *rpc, GwRpcMessage *message)
{
    GError *error = NULL;
    GwRpcPending *pending = g_hash_table_lookup (rpc->pending, &message->id);
    if (pending == NULL) {
        g_debug ("rpc: %s answered call %" G_GINT64_FORMAT ", which nobody waits for", rpc->name,
                 message->id);
        return;
    }
    if (message->kind == GW_RPC_MESSAGE_ERROR)
        set_done (pending, NULL, g_steal_pointer (&message->error));
    else if (pending->method == GW_RPC_HELLO
             && !gw_rpc_hello_take_answer (rpc, message->result, &error))
        set_done (pending, NULL, error);
    else
        set_done (pending, g_steal_pointer (&message->result), NULL);
}

void
gw_rpc_call_fail_all (GwRpc *rpc)
{
    g_autoptr (GList) all = g_hash_table_get_values (rpc->pending);
    for (GList *l = all; l != NULL; l = l->next)
        set_done (l->data, NULL, lost_error (l->data, rpc->why));
}

/* --- calls that wait --- */

static gboolean
is_done (gpointer user_data)
{
    return gw_rpc_pending_is_done (user_data);
}

JsonNode *
gw_rpc_call_timeout (GwRpc *rpc, GwRpcMethod method, JsonObject *params, guint timeout_ms,
                     GCancellable *cancellable, GError **error)
{
    g_autoptr (GwRpcPending) pending = gw_rpc_call_begin (rpc, method, params, timeout_ms);
    gint64 deadline_us = gw_deadline_ms (pending->timeout_ms) + WAIT_SLACK_MS * 1000;
    if (!gw_wait_until (rpc->context, is_done, pending, deadline_us, cancellable, error)) {
        g_prefix_error (error, "'%s': ", gw_rpc_method_get_info (method)->name);
        return NULL;
    }
    return gw_rpc_pending_finish (g_steal_pointer (&pending), error);
}

JsonNode *
gw_rpc_call (GwRpc *rpc, GwRpcMethod method, JsonObject *params, GCancellable *cancellable,
             GError **error)
{
    return gw_rpc_call_timeout (rpc, method, params, 0, cancellable, error);
}

/* Before hello was answered nothing was lost: nobody was reached.  Takes `error`. */
static GError *
as_unreachable (GwRpc *rpc, GError *error)
{
    GwCause cause = gw_error_get_cause (error);
    GError *better = NULL;
    if (cause == GW_CAUSE_RPC_TIMEOUT && rpc->transport_ops != NULL)
        better = rpc->transport_ops->explain (rpc->transport, error, FALSE);
    if (better != NULL) {
        g_error_free (error);
        return better;
    }
    if (cause == GW_CAUSE_RPC_TIMEOUT || cause == GW_CAUSE_AGENT_LOST)
        error->code = GW_CAUSE_DESTINATION_UNREACHABLE;
    return error;
}

gboolean
gw_rpc_hello_within (GwRpc *rpc, const char *program, guint timeout_ms, JsonObject **ret_peer,
                     GCancellable *cancellable, GError **error)
{
    GError *why = NULL;
    g_autoptr (JsonObject) params = gw_rpc_hello_build (program);
    g_autoptr (JsonNode) result
        = gw_rpc_call_timeout (rpc, GW_RPC_HELLO, params, timeout_ms, cancellable, &why);
    if (result == NULL) {
        g_propagate_error (error, as_unreachable (rpc, why));
        return FALSE;
    }
    if (ret_peer != NULL)
        *ret_peer = json_object_ref (json_node_get_object (result));
    return TRUE;
}

gboolean
gw_rpc_hello (GwRpc *rpc, const char *program, JsonObject **ret_peer, GCancellable *cancellable,
              GError **error)
{
    return gw_rpc_hello_within (rpc, program, 0, ret_peer, cancellable, error);
}

/* One exchange.  The peer read its clock somewhere between our two readings; the middle is off by
 * half the round trip time at most. */
static gboolean
ping (GwRpc *rpc, gint64 *ret_offset_us, gint64 *ret_rtt_us, GError **error)
{
    gint64 peer_us;
    gint64 real_us = g_get_real_time ();
    gint64 from_us = g_get_monotonic_time ();
    g_autoptr (JsonNode) result = gw_rpc_call (rpc, GW_RPC_PING, NULL, NULL, error);
    gint64 rtt_us = g_get_monotonic_time () - from_us;
    if (result == NULL)
        return FALSE;
    if (!JSON_NODE_HOLDS_OBJECT (result))
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "the answer to ping is not an object");
    if (!gw_rpc_object_get_int (json_node_get_object (result), "now_us", &peer_us, error))
        return FALSE;
    if (peer_us < 0)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "the answer to ping is before 1970");
    *ret_offset_us = peer_us - (real_us + rtt_us / 2);
    *ret_rtt_us = rtt_us;
    return TRUE;
}

gboolean
gw_rpc_get_clock_offset (GwRpc *rpc, gint64 *ret_offset_us, gint64 *ret_rtt_us, GError **error)
{
    gint64 best_offset_us = 0;
    gint64 best_rtt_us = G_MAXINT64;
    for (guint i = 0; i < N_PINGS; i++) {
        gint64 offset_us = 0;
        gint64 rtt_us = 0;
        if (!ping (rpc, &offset_us, &rtt_us, error))
            return FALSE;
        if (rtt_us >= best_rtt_us)
            continue;
        best_offset_us = offset_us;
        best_rtt_us = rtt_us;
    }
    if (ret_offset_us != NULL)
        *ret_offset_us = best_offset_us;
    if (ret_rtt_us != NULL)
        *ret_rtt_us = best_rtt_us;
    return TRUE;
}
