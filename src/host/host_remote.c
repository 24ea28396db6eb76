/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host behind another godwitd. */
#include "host-internal.h"

typedef struct {
    GwHost host;
    GwRpc *rpc;
} RemoteHost;

static JsonObject *
remote_call (GwHost *host, GwRpcMethod method, JsonObject *params, GCancellable *cancellable,
             GError **error)
{
    RemoteHost *remote = (RemoteHost *) host;
    g_autoptr (JsonNode) result = gw_rpc_call (remote->rpc, method, params, cancellable, error);
    if (result == NULL)
        return NULL;
    if (!JSON_NODE_HOLDS_OBJECT (result)) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "%s: the answer to %s is no object", host->name,
                 gw_rpc_method_get_info (method)->name);
        return NULL;
    }
    return json_object_ref (json_node_get_object (result));
}

static void
remote_begin (GwHost *host, GwRpcMethod method, JsonObject *params, guint timeout_ms,
              GwHostPending *pending)
{
    RemoteHost *remote = (RemoteHost *) host;
    pending->rpc = gw_rpc_call_begin (remote->rpc, method, params, timeout_ms);
}

static gboolean
remote_is_open (const GwHost *host)
{
    return gw_rpc_is_open (((const RemoteHost *) host)->rpc);
}

static gboolean
remote_get_clock_offset (GwHost *host, gint64 *ret_offset_us, gint64 *ret_error_us,
                         GError **error)
{
    gint64 rtt_us = 0;
    if (!gw_rpc_get_clock_offset (((RemoteHost *) host)->rpc, ret_offset_us, &rtt_us, error))
        return FALSE;
    *ret_error_us = rtt_us / 2;
    return TRUE;
}

static void
remote_free (GwHost *host)
{
    RemoteHost *remote = (RemoteHost *) host;
    gw_rpc_free (remote->rpc);
    g_free (host->name);
    g_free (remote);
}

static void
on_notify (GwRpcMethod method, JsonObject *params, gpointer user_data)
{
    if (method == GW_RPC_EVENT)
        gw_host_emit (user_data, gw_json_peek_int (params, "at_us", 0),
                      gw_json_peek_string (params, "event", "unknown"),
                      gw_json_peek_string (params, "detail", ""));
}

static void
on_closed (const GError *why, gpointer user_data)
{
    gw_host_emit (user_data, 0, "agent-lost", why->message);
}

static const GwHostOps remote_ops = {
    .call = remote_call,
    .begin = remote_begin,
    .is_open = remote_is_open,
    .get_clock_offset = remote_get_clock_offset,
    .free = remote_free,
};

GwHost *
gw_host_open_remote (const char *address, guint patience_s, GMainContext *context,
                     GCancellable *cancellable, GError **error)
{
    g_autoptr (GwRpcAddress) parsed = gw_rpc_address_parse (address, error);
    if (parsed == NULL)
        return NULL;
    parsed->patience_s = patience_s;
    g_autoptr (GwRpc) rpc = gw_rpc_connect (parsed, context, cancellable, error);
    if (rpc == NULL || !gw_rpc_hello (rpc, "godwit", NULL, cancellable, error))
        return NULL;
    RemoteHost *remote = g_new0 (RemoteHost, 1);
    remote->host.ops = &remote_ops;
    remote->host.name = g_strdup (address);
    remote->rpc = g_steal_pointer (&rpc);
    gw_rpc_set_notify_fn (remote->rpc, on_notify, remote);
    gw_rpc_set_closed_fn (remote->rpc, on_closed, remote);
    return &remote->host;
}
