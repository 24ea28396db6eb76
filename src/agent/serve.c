/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One connection to the agent. */
#include "agent-internal.h"

static void
on_event (GwHost *host, gint64 at_us, const char *event, const char *detail, gpointer user_data)
{
    GwConnection *connection = user_data;
    g_autoptr (JsonObject) params =
        gw_json_new ("at_us:i", at_us, "event:s", event, "detail:s", detail, NULL);
    /* a peer that is gone is noticed by the next request */
    (void) gw_rpc_notify (connection->rpc, GW_RPC_EVENT, params, NULL);
}

static JsonObject *
handle (GwConnection *connection, GwRpcRequest *request, GError **error)
{
    JsonObject *params = json_object_ref (request->params);
    (void) gw_point ("request", gw_rpc_method_get_info (request->method)->name);
    /* The host's operations are not cut short when the agent stops: each has its time limit, and
     * a start under way must come to its end. */
    if (gw_host_has_method (request->method))
        return gw_host_call (connection->host, request->method, params, NULL, error);
    g_autoptr (JsonObject) owned = params;
    if (gw_agent_has_method (request->method))
        return gw_agent_call (connection, request->method, owned, error);
    gw_fail (error, GW_CAUSE_RPC_INVALID, "this agent does not do '%s'",
             gw_rpc_method_get_info (request->method)->name);
    return NULL;
}

/* FALSE: a test wants the answer to be lost, and the connection with it. */
static gboolean
answer (GwConnection *connection, GwRpcRequest *request)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonObject) result = handle (connection, request, &error);
    if (gw_point ("reply", gw_rpc_method_get_info (request->method)->name))
        return FALSE;
    if (request->id < 0)
        return TRUE;
    if (result == NULL && error == NULL)
        gw_fail (&error, GW_CAUSE_RPC_INVALID, "'%s' is not possible now",
                 gw_rpc_method_get_info (request->method)->name);
    if (result == NULL) {
        (void) gw_rpc_reply_error (connection->rpc, request->id, error);
        return TRUE;
    }
    g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), result);
    (void) gw_rpc_reply (connection->rpc, request->id, node, NULL); /* as for notifications */
    return TRUE;
}

void
gw_agent_serve (GwAgent *agent, GIOStream *stream)
{
    g_autoptr (GMainContext) context = g_main_context_new ();
    g_main_context_push_thread_default (context);
    GwConnection connection = { .agent = agent,
                                .context = context,
                                .rpc = gw_rpc_new (stream, context),
                                .host = gw_host_new_local (gw_agent_get_config (agent), context),
                                .stopping = gw_agent_get_stopping (agent) };
    gw_host_set_event_fn (connection.host, on_event, &connection);
    for (;;) {
        g_autoptr (GwRpcRequest) request =
            gw_rpc_next_request (connection.rpc, G_MAXINT64, connection.stopping, NULL);
        if (request == NULL || !answer (&connection, request))
            break;
    }
    (void) gw_rpc_flush (connection.rpc, 1000, NULL);
    gw_host_free (connection.host);
    gw_rpc_free (connection.rpc);
    g_main_context_pop_thread_default (context);
}
