/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

G_STATIC_ASSERT (GW_RPC_UNIX_PATH_MAX < sizeof (((struct sockaddr_un *) NULL)->sun_path));

gboolean
gw_rpc_check_unix_path (const char *path, GwCause cause, GError **error)
{
    gsize len = strlen (path);
    if (len == 0)
        return gw_fail (error, cause, "the path of the unix socket is missing");
    if (len > GW_RPC_UNIX_PATH_MAX)
        return gw_fail (error, cause,
                        "the path '%s' has %zu bytes, a unix socket's path has at most %d", path,
                        len, GW_RPC_UNIX_PATH_MAX);
    return TRUE;
}

/* --- the path --- */

/* Does a server answer at `path`?  A full backlog is one too. */
static gboolean
is_live (const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    memcpy (address.sun_path, path, strlen (path)); /* checked, and the rest is zero */
    g_auto (GwFd) fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return TRUE; /* not known: do not remove it */
    return connect (fd, (struct sockaddr *) &address, sizeof address) == 0
           || (errno != ECONNREFUSED && errno != ENOENT);
}

/* Makes room at `path`: a socket without a server is what a killed one leaves behind. */
static gboolean
remove_stale (const char *path, GError **error)
{
    struct stat info;
    if (lstat (path, &info) < 0 && errno == ENOENT)
        return TRUE;
    if (!S_ISSOCK (info.st_mode))
        return gw_fail (error, GW_CAUSE_HOST_IO, "'%s' exists and is not a socket", path);
    if (is_live (path))
        return gw_fail (error, GW_CAUSE_HOST_IO, "a server listens on '%s' already", path);
    if (unlink (path) < 0 && errno != ENOENT)
        return gw_fail (error, GW_CAUSE_HOST_IO, "cannot remove the stale socket '%s': %s", path,
                        g_strerror (errno));
    return TRUE;
}

static gboolean
bind_and_listen (GSocket *socket, const char *path, guint mode, GError **error)
{
    g_autoptr (GSocketAddress) address = g_unix_socket_address_new (path);
    if (!g_socket_bind (socket, address, FALSE, error))
        return FALSE;
    /* between bind and listen nobody can connect, so the bits are right before the first client */
    if (chmod (path, mode) < 0) {
        g_set_error (error, G_IO_ERROR, g_io_error_from_errno (errno), "%s", g_strerror (errno));
        return FALSE;
    }
    g_socket_set_listen_backlog (socket, BACKLOG);
    return g_socket_listen (socket, error);
}

GSocket *
gw_rpc_listen_unix (const char *path, guint mode, GError **error)
{
    if (!gw_rpc_check_unix_path (path, GW_CAUSE_HOST_IO, error) || !remove_stale (path, error))
        return NULL;
    g_autoptr (GSocket) socket = g_socket_new (G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM,
                                               G_SOCKET_PROTOCOL_DEFAULT, error);
    if (socket != NULL && bind_and_listen (socket, path, mode, error)) {
        g_socket_set_blocking (socket, FALSE);
        return g_steal_pointer (&socket);
    }
    (void) gw_error_adopt (error, GW_CAUSE_HOST_IO);
    g_prefix_error (error, "cannot listen on '%s': ", path);
    return NULL;
}

/* --- clients --- */

gboolean
gw_rpc_check_peer (GSocketConnection *connection, GError **error)
{
    g_autoptr (GCredentials) peer
        = g_socket_get_credentials (g_socket_connection_get_socket (connection), error);
    uid_t uid = peer != NULL ? g_credentials_get_unix_user (peer, error) : (uid_t) -1;
    if (uid == (uid_t) -1)
        return gw_error_adopt (error, GW_CAUSE_PEER_REFUSED);
    if (uid == 0 || uid == geteuid ())
        return TRUE;
    return gw_fail (error, GW_CAUSE_PEER_REFUSED,
                    "user %u (process %d) is refused: this agent serves user %u and root only",
                    (guint) uid, (int) g_credentials_get_unix_pid (peer, NULL), (guint) geteuid ());
}

/* One line that says why, as far as the socket takes it at once. */
static void
tell_refused (GSocket *client, const GError *why)
{
    gsize len;
    g_autofree char *text = gw_rpc_message_build_error (-1, GW_RPC_CODE_CAUSE, why, &len);
    g_autoptr (GBytes) line = gw_rpc_frame_wrap (GW_RPC_FRAMING_LINES, text, len);
    gsize size;
    const char *data = g_bytes_get_data (line, &size);
    (void) g_socket_send_with_blocking (client, data, size, FALSE, NULL, NULL); /* best effort */
}

static gboolean
is_acceptable (gpointer user_data)
{
    return g_socket_condition_check (user_data, G_IO_IN) != 0;
}

static gboolean
on_acceptable (GSocket *socket, GIOCondition condition, gpointer user_data)
{
    return G_SOURCE_CONTINUE;
}

/* Iterates `context` until a client is there. */
static gboolean
wait_for_client (GSocket *listener, GMainContext *context, gint64 deadline_us,
                 GCancellable *cancellable, GError **error)
{
    GSource *source = g_socket_create_source (listener, G_IO_IN, NULL);
    g_source_set_callback (source, G_SOURCE_FUNC (on_acceptable), NULL, NULL);
    g_source_attach (source, context);
    gboolean ok = gw_wait_until (context, is_acceptable, listener, deadline_us, cancellable, error);
    g_source_destroy (source);
    g_source_unref (source);
    if (!ok)
        g_prefix_error (error, "waiting for a client: ");
    return ok;
}

GSocket *
gw_rpc_accept_socket (GSocket *listener, GMainContext *context, gint64 deadline_us,
                      GCancellable *cancellable, GError **error)
{
    if (!wait_for_client (listener, context, deadline_us, cancellable, error))
        return NULL;
    GSocket *client = g_socket_accept (listener, NULL, error);
    if (client == NULL) {
        (void) gw_error_adopt (error, GW_CAUSE_HOST_IO);
        g_prefix_error (error, "cannot accept a client: ");
    }
    return client;
}

GSocketConnection *
gw_rpc_accept (GSocket *listener, GMainContext *context, gint64 deadline_us,
               GCancellable *cancellable, GError **error)
{
    g_autoptr (GSocket) client
        = gw_rpc_accept_socket (listener, context, deadline_us, cancellable, error);
    if (client == NULL)
        return NULL;
    g_autoptr (GSocketConnection) connection
        = g_socket_connection_factory_create_connection (client);
    g_autoptr (GError) why = NULL;
    if (gw_rpc_check_peer (connection, &why))
        return g_steal_pointer (&connection);
    tell_refused (client, why);
    g_propagate_error (error, g_steal_pointer (&why));
    return NULL;
}
