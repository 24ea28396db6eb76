/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG_WAIT_MS 5000 /* for a server that is too busy to accept */
#define BACKLOG_RETRY_MS 20

static gboolean
fail_unreachable (const char *path, const char *what, GError **error)
{
    return gw_fail (error, GW_CAUSE_DESTINATION_UNREACHABLE, "no agent at 'unix:%s': %s", path,
                    what);
}

/* connect(2) says ECONNREFUSED for a plain file too, so look first. */
static gboolean
check_socket_file (const char *path, GError **error)
{
    struct stat info;
    if (!gw_rpc_check_unix_path (path, GW_CAUSE_DESTINATION_UNREACHABLE, error))
        return FALSE;
    if (stat (path, &info) < 0)
        return fail_unreachable (path,
                                 errno == ENOENT ? "the path does not exist" : g_strerror (errno),
                                 error);
    if (!S_ISSOCK (info.st_mode))
        return fail_unreachable (path, "the path is not a socket", error);
    return TRUE;
}

/* Connects `fd`, which does not block; retries while the server's backlog is full. */
static gboolean
connect_fd (int fd, const char *path, GMainContext *context, GCancellable *cancellable,
            GError **error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    gint64 deadline_us = gw_deadline_ms (BACKLOG_WAIT_MS);
    memcpy (address.sun_path, path, strlen (path)); /* checked, and the rest is zero */
    while (connect (fd, (struct sockaddr *) &address, sizeof address) < 0) {
        int reason = errno;
        if (reason == ECONNREFUSED)
            return fail_unreachable (path, "nobody listens on that socket", error);
        if (reason != EAGAIN && reason != EINTR)
            return fail_unreachable (path, g_strerror (reason), error);
        if (gw_deadline_left_ms (deadline_us) == 0)
            return fail_unreachable (path, "the server does not accept connections", error);
        if (!gw_wait_ms (context, BACKLOG_RETRY_MS, cancellable, error))
            return FALSE;
    }
    return TRUE;
}

GwRpc *
gw_rpc_connect_unix (const char *path, GMainContext *context, GCancellable *cancellable,
                     GError **error)
{
    if (!check_socket_file (path, error))
        return NULL;
    g_auto (GwFd) fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        (void) gw_fail (error, GW_CAUSE_HOST_IO, "cannot make a socket: %s", g_strerror (errno));
        return NULL;
    }
    if (!connect_fd (fd, path, context, cancellable, error))
        return NULL;
    g_autoptr (GSocket) socket = g_socket_new_from_fd (fd, error);
    if (socket == NULL) {
        (void) gw_error_adopt (error, GW_CAUSE_HOST_IO);
        return NULL;
    }
    (void) gw_fd_steal (&fd); /* the GSocket's now */
    g_autoptr (GSocketConnection) connection
        = g_socket_connection_factory_create_connection (socket);
    GwRpc *rpc = gw_rpc_new (G_IO_STREAM (connection), context);
    g_autofree char *name = g_strconcat ("unix:", path, NULL);
    gw_rpc_set_name (rpc, name);
    return rpc;
}

GwRpc *
gw_rpc_connect (const GwRpcAddress *address, GMainContext *context, GCancellable *cancellable,
                GError **error)
{
    switch (address->kind) {
    case GW_DEST_UNIX:
        return gw_rpc_connect_unix (address->path, context, cancellable, error);
    case GW_DEST_SSH:
        return gw_rpc_connect_ssh (address, context, cancellable, error);
    case GW_DEST_GODWIT:
        return gw_rpc_connect_tls (address, context, cancellable, error);
    }
    g_assert_not_reached ();
}
