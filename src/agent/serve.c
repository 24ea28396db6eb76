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

static void
end_job (GwConnection *connection)
{
    if (connection->has_job)
        gw_agent_leave_job (connection->agent);
    connection->has_job = FALSE;
}

/* A job counts from its opening to its end, or to that of the connection. */
static JsonObject *
open_job (GwConnection *connection, GwRpcMethod method, JsonObject *params, GError **error)
{
    gboolean is_new = !connection->has_job;
    if (is_new && !gw_agent_enter_job (connection->agent, error)) {
        json_object_unref (params);
        return NULL;
    }
    connection->has_job = TRUE;
    JsonObject *result = gw_host_call (connection->host, method, params, NULL, error);
    if (result == NULL && is_new)
        end_job (connection);
    return result;
}

static JsonObject *
call_host (GwConnection *connection, GwRpcMethod method, JsonObject *params, GError **error)
{
    if (method == GW_RPC_JOB_OPEN || method == GW_RPC_JOB_RESUME)
        return open_job (connection, method, params, error);
    JsonObject *result = gw_host_call (connection->host, method, params, NULL, error);
    if (method == GW_RPC_JOB_CLOSE && result != NULL)
        end_job (connection);
    return result;
}

static JsonObject *
handle (GwConnection *connection, GwRpcRequest *request, GError **error)
{
    if (connection->peer != NULL && !gw_agent_may_ask (request->method, request->params, error))
        return NULL;
    JsonObject *params = json_object_ref (request->params);
    (void) gw_point ("request", gw_rpc_method_get_info (request->method)->name);
    /* The host's operations are not cut short when the agent stops: each has its time limit, and
     * a start under way must come to its end. */
    if (gw_host_has_method (request->method))
        return call_host (connection, request->method, params, error);
    g_autoptr (JsonObject) owned = params;
    if (gw_agent_has_method (request->method))
        return gw_agent_call (connection, request->method, owned, error);
    gw_fail (error, GW_CAUSE_RPC_INVALID, "this agent does not do '%s'",
             gw_rpc_method_get_info (request->method)->name);
    return NULL;
}

/* What the configuration forbids is told to the one who runs this host too. */
static void
log_refusal (const GwConnection *connection, GwRpcMethod method, const GError *error)
{
    GwCause cause = gw_error_get_cause (error);
    const char *asked = gw_rpc_method_get_info (method)->name;
    if (cause != GW_CAUSE_NOT_ALLOWED && cause != GW_CAUSE_AGENT_FULL && cause != GW_CAUSE_BINARY_MISSING)
        return;
    if (connection->peer != NULL)
        g_message ("peer '%s' at %s: '%s' is refused: %s", connection->peer->name, connection->peer->address, asked,
                   error->message);
    else
        g_message ("'%s' is refused: %s", asked, error->message);
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
        log_refusal (connection, request->method, error);
        (void) gw_rpc_reply_error (connection->rpc, request->id, error);
        return TRUE;
    }
    g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), result);
    (void) gw_rpc_reply (connection->rpc, request->id, node, NULL); /* as for notifications */
    return TRUE;
}

static gboolean
has_said_hello_or_ended (gpointer user_data)
{
    const GwRpc *rpc = user_data;
    return gw_rpc_get_peer (rpc) != NULL || !gw_rpc_is_open (rpc);
}

/* A peer that is let in and then says nothing is not kept. */
static gboolean
wait_for_hello (GwConnection *connection, gint64 limit_s)
{
    if (connection->peer == NULL)
        return TRUE;
    gw_rpc_set_name (connection->rpc, connection->peer->name);
    gw_host_set_reached_at (connection->host, connection->peer->reached_at);
    gw_host_set_peer (connection->host, connection->peer->name);
    return gw_wait_until (connection->context, has_said_hello_or_ended, connection->rpc,
                          gw_deadline_ms ((guint) limit_s * 1000), connection->stopping, NULL);
}

static void
serve_requests (GwConnection *connection)
{
    for (;;) {
        g_autoptr (GwRpcRequest) request =
            gw_rpc_next_request (connection->rpc, G_MAXINT64, connection->stopping, NULL);
        if (request == NULL || !answer (connection, request))
            return;
    }
}

void
gw_agent_serve (GwAgent *agent, GIOStream *stream, const GwAgentPeer *peer)
{
    g_autoptr (GMainContext) context = g_main_context_new ();
    g_autoptr (GwHostConfig) config = gw_agent_copy_config (agent);
    g_main_context_push_thread_default (context);
    GwConnection connection = { .agent = agent,
                                .context = context,
                                .rpc = gw_rpc_new (stream, context),
                                .host = gw_host_new_local (config, context),
                                .stopping = gw_agent_get_stopping (agent),
                                .peer = peer };
    gw_host_set_event_fn (connection.host, on_event, &connection);
    if (wait_for_hello (&connection, config->handshake_s))
        serve_requests (&connection);
    (void) gw_rpc_flush (connection.rpc, 1000, NULL);
    if (g_cancellable_is_cancelled (connection.stopping))
        gw_host_set_leaving (connection.host);
    gw_host_free (connection.host);
    end_job (&connection);
    gw_rpc_free (connection.rpc);
    g_main_context_pop_thread_default (context);
}
