/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TCP below the TLS of godwit://: where to, from where, and for how long it may be silent. */
#include "rpc-private.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#define DIAL_MS 15000
#define DIAL_END_MS 2000 /* for a dial that was cancelled */
#define PEERS_BACKLOG 256

gboolean
gw_rpc_endpoint_parse (const char *text, char **ret_address, guint16 *ret_port)
{
    g_autofree char *host = NULL;
    guint64 port = GW_RPC_PORT;
    const char *colon = strrchr (text, ':');
    gboolean has_port = *text == '[' || (colon != NULL && strchr (text, ':') == colon);
    const char *end = *text == '[' ? strchr (text, ']') : colon;
    if (has_port && end == NULL)
        return FALSE;
    const char *rest = has_port ? end + (*text == '[' ? 1 : 0) : "";
    host = !has_port ? g_strdup (text) : *text == '[' ? g_strndup (text + 1, (gsize) (end - text - 1))
                                                      : g_strndup (text, (gsize) (end - text));
    if (*rest != '\0' && (*rest != ':' || !g_ascii_string_to_unsigned (rest + 1, 10, 1, G_MAXUINT16, &port, NULL)))
        return FALSE;
    g_autoptr (GInetAddress) address = g_inet_address_new_from_string (host);
    if (address == NULL)
        return FALSE;
    if (ret_address != NULL)
        *ret_address = g_steal_pointer (&host);
    if (ret_port != NULL)
        *ret_port = (guint16) port;
    return TRUE;
}

GSocket *
gw_rpc_listen_tcp (const char *endpoint, GError **error)
{
    g_autofree char *text = NULL;
    guint16 port = 0;
    if (!gw_rpc_endpoint_parse (endpoint, &text, &port)) {
        gw_fail (error, GW_CAUSE_USAGE, "'%s' is no IP address to listen on", endpoint);
        return NULL;
    }
    g_autoptr (GSocketAddress) address = g_inet_socket_address_new_from_string (text, port);
    g_autoptr (GSocket) socket = g_socket_new (g_socket_address_get_family (address), G_SOCKET_TYPE_STREAM,
                                               G_SOCKET_PROTOCOL_TCP, error);
    if (socket != NULL) {
        g_socket_set_blocking (socket, FALSE);
        g_socket_set_listen_backlog (socket, PEERS_BACKLOG);
    }
    if (socket != NULL && g_socket_bind (socket, address, TRUE, error) && g_socket_listen (socket, error))
        return g_steal_pointer (&socket);
    gw_error_adopt (error, GW_CAUSE_HOST_IO);
    g_prefix_error (error, "cannot listen on '%s': ", endpoint);
    return NULL;
}

/* Whether the peer is there is asked in its silence too, so that no connection lasts for ever. */
void
gw_rpc_tune_tcp (GSocket *socket, guint silence_s)
{
    gint step_s = (gint) CLAMP (silence_s / 4, 1, 32767);
    g_socket_set_keepalive (socket, TRUE);
    /* one that is not known to this kernel leaves its default */
    (void) g_socket_set_option (socket, IPPROTO_TCP, TCP_KEEPIDLE, step_s, NULL);
    (void) g_socket_set_option (socket, IPPROTO_TCP, TCP_KEEPINTVL, step_s, NULL);
    (void) g_socket_set_option (socket, IPPROTO_TCP, TCP_KEEPCNT, 3, NULL);
    (void) g_socket_set_option (socket, IPPROTO_TCP, TCP_USER_TIMEOUT, (gint) MIN (silence_s, 2000000) * 1000, NULL);
    (void) g_socket_set_option (socket, IPPROTO_TCP, TCP_NODELAY, 1, NULL);
}

/* --- connecting ------------------------------------------------------------------------------------------ */

typedef struct {
    GSocketConnection *connection;
    GError *error;
    gboolean is_done;
} Dial;

static void
on_dialled (GObject *client, GAsyncResult *result, gpointer user_data)
{
    Dial *dial = user_data;
    dial->connection = g_socket_client_connect_to_host_finish (G_SOCKET_CLIENT (client), result, &dial->error);
    dial->is_done = TRUE;
}

static gboolean
is_dialled (gpointer user_data)
{
    return ((const Dial *) user_data)->is_done;
}

/* Waits for it, or ends it: the callback has come when this returns. */
static gboolean
wait_dialled (Dial *dial, GMainContext *context, GCancellable *own, GCancellable *cancellable, GError **error)
{
    if (gw_wait_until (context, is_dialled, dial, gw_deadline_ms (DIAL_MS), cancellable, error))
        return TRUE;
    g_cancellable_cancel (own);
    gboolean has_ended = gw_wait_until (context, is_dialled, dial, gw_deadline_ms (DIAL_END_MS), NULL, NULL);
    g_assert (has_ended); /* a cancelled task of GIO's ends in the next iteration */
    return FALSE;
}

GSocketConnection *
gw_rpc_dial (const GwRpcAddress *address, GMainContext *context, GCancellable *cancellable, GError **error)
{
    g_autoptr (GSocketClient) client = g_socket_client_new ();
    g_autoptr (GCancellable) own = g_cancellable_new ();
    Dial dial = { 0 };
    g_autoptr (GError) why = NULL;
    g_socket_client_set_enable_proxy (client, FALSE);
    g_main_context_push_thread_default (context);
    g_socket_client_connect_to_host_async (client, address->host, address->port != 0 ? address->port : GW_RPC_PORT,
                                           own, on_dialled, &dial);
    gboolean ok = wait_dialled (&dial, context, own, cancellable, &why);
    g_main_context_pop_thread_default (context);
    if (ok && dial.connection != NULL)
        return dial.connection;
    g_clear_object (&dial.connection);
    if (gw_error_get_cause (why) == GW_CAUSE_ABORTED)
        g_propagate_error (error, g_steal_pointer (&why));
    else
        gw_fail (error, GW_CAUSE_DESTINATION_UNREACHABLE, "no agent at '%s': %s", address->text,
                 ok ? dial.error->message : "nothing answers there within 15 s");
    g_clear_error (&dial.error);
    return NULL;
}
