/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Peers that come over TLS: accepted one thread a listener, shaken hands with and served one thread a peer. */
#include "agent-internal.h"

#include <string.h>

#define RETRY_MS 50   /* after a failed accept: out of descriptors, perhaps */
#define LINES_MAX 10  /* a second about connections that are not served, of each kind */

/* Why a connection is not served. */
typedef enum { GW_REFUSAL_NO_ROOM, GW_REFUSAL_NETWORK, GW_REFUSAL_PEER, GW_N_REFUSALS } GwRefusal;

typedef struct {
    GwPeers *peers;
    GSocket *socket; /* (owned) */
    GThread *thread;
} Listener;

struct _GwPeers {
    GwAgent *agent;
    GPtrArray *listeners; /* Listener */

    GwRoom *room;

    GMutex lock; /* guards the rest */
    struct {
        guint n_silent, n_lines; /* since the last line; in this second */
        gint64 second_us;
    } refusals[GW_N_REFUSALS];
};

/* --- who may come ------------------------------------------------------------------------------------------- */

const char *
gw_peers_find_name (const char *const *patterns, const char *const *names, GError **error)
{
    for (gsize p = 0; patterns[p] != NULL; p++) {
        g_autofree char *pattern = g_ascii_strdown (patterns[p], -1);
        for (gsize n = 0; names[n] != NULL; n++)
            if (g_pattern_match_simple (pattern, names[n]))
                return names[n];
    }
    g_autofree char *list = g_strjoinv ("', '", (char **) names);
    if (*names == NULL)
        gw_fail (error, GW_CAUSE_PEER_REFUSED, "the peer's certificate names no host");
    else
        gw_fail (error, GW_CAUSE_PEER_REFUSED, "'%s' is not among the peers that the configuration allows", list);
    return NULL;
}

/* The IPv4 address that an IPv6 socket shows as ::ffff:192.0.2.1.  (transfer full) */
static GInetAddress *
unmap (GInetAddress *address)
{
    static const guint8 prefix[12] = { [10] = 0xff, [11] = 0xff };
    const guint8 *bytes = g_inet_address_to_bytes (address);
    if (g_inet_address_get_family (address) == G_SOCKET_FAMILY_IPV6 && memcmp (bytes, prefix, sizeof prefix) == 0)
        return g_inet_address_new_from_bytes (bytes + sizeof prefix, G_SOCKET_FAMILY_IPV4);
    return g_object_ref (address);
}

gboolean
gw_peers_is_from (const char *const *networks, GInetAddress *address)
{
    for (gsize i = 0; networks[i] != NULL; i++) {
        g_autoptr (GInetAddressMask) mask = g_inet_address_mask_new_from_string (networks[i], NULL);
        if (mask != NULL && g_inet_address_mask_matches (mask, address))
            return TRUE;
    }
    return *networks == NULL;
}

/* --- telling ---------------------------------------------------------------------------------------------------- */

/* Thousands a second must not become thousands of lines. */
static void
tell (GwPeers *peers, GwRefusal refusal, const char *address, const char *why)
{
    g_mutex_lock (&peers->lock);
    gint64 now_us = g_get_monotonic_time ();
    if (now_us - peers->refusals[refusal].second_us > G_USEC_PER_SEC) {
        peers->refusals[refusal].second_us = now_us;
        peers->refusals[refusal].n_lines = 0;
    }
    gboolean is_due = ++peers->refusals[refusal].n_lines <= LINES_MAX;
    guint n = peers->refusals[refusal].n_silent;
    peers->refusals[refusal].n_silent = is_due ? 0 : n + 1;
    g_mutex_unlock (&peers->lock);
    g_autofree char *more = n > 0 ? g_strdup_printf (" (and %u such connections before)", n) : g_strdup ("");
    if (is_due)
        g_log (NULL, refusal == GW_REFUSAL_NO_ROOM ? G_LOG_LEVEL_WARNING : G_LOG_LEVEL_MESSAGE,
               "peer at %s is refused: %s%s", address, why, more);
}

static void
tell_no_room (GwPeers *peers, const char *address)
{
    g_autofree char *words = gw_room_describe (peers->room, address);
    g_autofree char *why = g_strconcat ("no room: ", words, NULL);
    tell (peers, GW_REFUSAL_NO_ROOM, address, why);
}

/* --- one peer ------------------------------------------------------------------------------------------------- */

typedef struct {
    GwPeers *peers;
    GSocket *socket; /* (owned) */
    char *address, *reached_at;
    GwGuest *guest;
} PeerThread;

static void
peer_thread_free (PeerThread *thread)
{
    g_object_unref (thread->socket);
    g_free (thread->address);
    g_free (thread->reached_at);
    g_free (thread);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PeerThread, peer_thread_free)

/* The name under which the peer is served; else it has been told why it is not.  (transfer full) */
static char *
let_in (const GwHostConfig *config, GIOStream *stream, GError **error)
{
    g_auto (GStrv) names = NULL;
    GError *why = NULL;
    const char *name = gw_rpc_identify_peer (stream, &names, &why)
                           ? gw_peers_find_name ((const char *const *) config->peer_names,
                                                 (const char *const *) names, &why)
                           : NULL;
    if (name != NULL)
        return g_strdup (name);
    gw_rpc_refuse_peer (stream, why);
    g_propagate_error (error, why);
    return NULL;
}

static void
serve (PeerThread *thread)
{
    GwPeers *peers = thread->peers;
    g_autoptr (GwHostConfig) config = gw_agent_copy_config (peers->agent);
    g_autoptr (GError) error = NULL;
    g_autoptr (GMainContext) context = g_main_context_new ();
    gint64 deadline_us = gw_deadline_ms ((guint) config->handshake_s * 1000);
    gw_rpc_tune_tcp (thread->socket, (guint) config->silence_s);
    g_autoptr (GIOStream) stream = gw_rpc_accept_tls (thread->socket, config->certificates, context, deadline_us,
                                                      gw_agent_get_stopping (peers->agent), &error);
    g_autofree char *name = stream != NULL ? let_in (config, stream, &error) : NULL;
    if (name == NULL) {
        if (gw_error_get_cause (error) != GW_CAUSE_ABORTED)
            tell (peers, GW_REFUSAL_PEER, thread->address, error->message);
        return;
    }
    if (!gw_room_let_in (peers->room, thread->guest)) {
        tell_no_room (peers, thread->address);
        return;
    }
    const GwAgentPeer peer = { name, thread->address, thread->reached_at };
    g_message ("peer '%s' at %s is served", name, thread->address);
    gw_agent_serve (peers->agent, stream, &peer);
    g_message ("peer '%s' at %s has ended", name, thread->address);
}

static gpointer
serve_peer (gpointer user_data)
{
    g_autoptr (PeerThread) thread = user_data;
    GwAgent *agent = thread->peers->agent;
    serve (thread);
    (void) g_socket_close (thread->socket, NULL); /* it may be closed already */
    gw_room_leave (thread->peers->room, thread->guest);
    gw_agent_leave_thread (agent);
    return NULL;
}

/* --- accepting -------------------------------------------------------------------------------------------------- */

static char *
address_to_text (GSocketAddress *address, GInetAddress **ret_address)
{
    if (address == NULL || !G_IS_INET_SOCKET_ADDRESS (address))
        return NULL;
    g_autoptr (GInetAddress) plain = unmap (g_inet_socket_address_get_address (G_INET_SOCKET_ADDRESS (address)));
    char *text = g_inet_address_to_string (plain);
    if (ret_address != NULL)
        *ret_address = g_steal_pointer (&plain);
    return text;
}

static void
take_client (GwPeers *peers, GSocket *client)
{
    g_autoptr (GSocketAddress) remote = g_socket_get_remote_address (client, NULL);
    g_autoptr (GSocketAddress) local = g_socket_get_local_address (client, NULL);
    g_autoptr (GInetAddress) from = NULL;
    g_autoptr (GwHostConfig) config = gw_agent_copy_config (peers->agent);
    g_autofree char *address = address_to_text (remote, &from);
    if (address == NULL) /* it has gone already */
        return;
    if (!gw_peers_is_from ((const char *const *) config->peer_networks, from)) {
        tell (peers, GW_REFUSAL_NETWORK, address, "its network is not among [peers] networks");
        return;
    }
    GwGuest *guest = gw_room_enter (peers->room, address, client);
    if (guest == NULL) {
        tell_no_room (peers, address);
        return;
    }
    PeerThread *thread = g_new0 (PeerThread, 1);
    *thread = (PeerThread) { peers, g_object_ref (client), g_steal_pointer (&address), address_to_text (local, NULL), guest };
    gw_agent_enter_thread (peers->agent);
    g_thread_unref (g_thread_new ("peer", serve_peer, thread));
}

static gpointer
accept_peers (gpointer user_data)
{
    Listener *listener = user_data;
    GCancellable *stopping = gw_agent_get_stopping (listener->peers->agent);
    g_autoptr (GMainContext) context = g_main_context_new ();
    while (!g_cancellable_is_cancelled (stopping)) {
        g_autoptr (GError) error = NULL;
        g_autoptr (GSocket) client =
            gw_rpc_accept_socket (listener->socket, context, G_MAXINT64, stopping, &error);
        if (client != NULL) {
            take_client (listener->peers, client);
        } else if (gw_error_get_cause (error) != GW_CAUSE_ABORTED) {
            g_warning ("%s", error->message);
            (void) gw_wait_ms (context, RETRY_MS, stopping, NULL);
        }
    }
    return NULL;
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

static void
listener_free (gpointer data)
{
    Listener *listener = data;
    g_object_unref (listener->socket);
    g_free (listener);
}

static gboolean
add_listener (GwPeers *peers, const char *endpoint, GError **error)
{
    GSocket *socket = gw_rpc_listen_tcp (endpoint, error);
    if (socket == NULL)
        return FALSE;
    Listener *listener = g_new0 (Listener, 1);
    listener->peers = peers;
    listener->socket = socket;
    g_ptr_array_add (peers->listeners, listener);
    return TRUE;
}

static gboolean
open_listeners (GwPeers *peers, const GwHostConfig *config, GError **error)
{
    for (gsize i = 0; config->listen[i] != NULL; i++)
        if (!add_listener (peers, config->listen[i], error))
            return FALSE;
    return gw_rpc_check_certificates (config->certificates, error);
}

GwPeers *
gw_peers_new (GwAgent *agent, GError **error)
{
    g_autoptr (GwHostConfig) config = gw_agent_copy_config (agent);
    if (*config->listen == NULL)
        return NULL;
    GwPeers *peers = g_new0 (GwPeers, 1);
    peers->agent = agent;
    peers->listeners = g_ptr_array_new_with_free_func (listener_free);
    peers->room = gw_room_new ((guint) config->connections, (guint) config->per_address);
    g_mutex_init (&peers->lock);
    if (!open_listeners (peers, config, error)) {
        gw_peers_free (peers);
        return NULL;
    }
    for (guint i = 0; i < peers->listeners->len; i++) {
        Listener *listener = peers->listeners->pdata[i];
        listener->thread = g_thread_new ("peers", accept_peers, listener);
    }
    return peers;
}

void
gw_peers_stop (GwPeers *peers)
{
    for (guint i = 0; i < peers->listeners->len; i++) {
        Listener *listener = peers->listeners->pdata[i];
        if (listener->thread != NULL)
            g_thread_join (g_steal_pointer (&listener->thread));
    }
}

void
gw_peers_free (GwPeers *peers)
{
    if (peers == NULL)
        return;
    g_ptr_array_unref (peers->listeners);
    gw_room_free (peers->room);
    g_mutex_clear (&peers->lock);
    g_free (peers);
}
