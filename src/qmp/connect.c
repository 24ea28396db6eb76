/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a path to a client that is ready.  QEMU serves one client a socket: the next one that
 * connects is accepted by the kernel and waits in the queue of the socket (of length 1), where it
 * gets no greeting; the one after that does not even get there (EAGAIN).  Both mean "busy".
 */
#include "qmp-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define RETRY_MS 20 /* between two attempts to get into a full queue */

static gboolean
check_path (const char *path, struct sockaddr_un *ret_address, GError **error)
{
    struct stat st;
    if (strlen (path) >= sizeof ret_address->sun_path)
        return gw_fail (error, GW_CAUSE_QMP_CONNECT,
                        "the path '%s' is too long for a socket: %" G_GSIZE_FORMAT
                        " bytes, at most %" G_GSIZE_FORMAT,
                        path, strlen (path), sizeof ret_address->sun_path - 1);
    if (stat (path, &st) < 0)
        return gw_fail (error, GW_CAUSE_QMP_CONNECT, "cannot connect to '%s': %s", path,
                        g_strerror (errno));
    if (!S_ISSOCK (st.st_mode))
        return gw_fail (error, GW_CAUSE_QMP_CONNECT, "cannot connect to '%s': it is not a socket",
                        path);
    *ret_address = (struct sockaddr_un) { .sun_family = AF_UNIX };
    memcpy (ret_address->sun_path, path, strlen (path));
    return TRUE;
}

static gboolean
fail_busy (const GwQmp *qmp, guint waited_ms, GError **error)
{
    g_autofree char *listener =
        qmp->peer_pid > 0 ? g_strdup_printf (" The listener is process %d.", (int) qmp->peer_pid)
                          : g_strdup ("");
    return gw_fail (error, GW_CAUSE_QMP_BUSY,
                    "'%s' sent no greeting within %u ms: another client is connected, or QEMU "
                    "hangs.%s",
                    qmp->path, waited_ms, listener);
}

/* Waits for the retry; FALSE when the time is over or the cancellable fired. */
static gboolean
wait_for_room (const GwQmp *qmp, gint64 begin_us, gint64 deadline_us, GCancellable *cancellable,
               GError **error)
{
    gint64 now_us = g_get_monotonic_time ();
    if (now_us >= deadline_us)
        return fail_busy (qmp, (guint) ((now_us - begin_us) / 1000), error);
    return gw_wait_ms (qmp->context, RETRY_MS, cancellable, error);
}

/* The connected socket, or -1. */
static int
connect_socket (const GwQmp *qmp, gint64 deadline_us, GCancellable *cancellable, GError **error)
{
    struct sockaddr_un address;
    if (!check_path (qmp->path, &address, error))
        return -1;
    g_auto (GwFd) fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    gint64 begin_us = g_get_monotonic_time ();
    if (fd < 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "cannot make a socket: %s", g_strerror (errno));
        return -1;
    }
    while (connect (fd, (struct sockaddr *) &address, sizeof address) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN) {
            gw_fail (error, GW_CAUSE_QMP_CONNECT, "cannot connect to '%s': %s", qmp->path,
                     g_strerror (errno));
            return -1;
        }
        if (!wait_for_room (qmp, begin_us, deadline_us, cancellable, error))
            return -1;
    }
    return gw_fd_steal (&fd);
}

static gboolean
is_greeted (gpointer user_data)
{
    return ((GwQmp *) user_data)->state.state != GW_QMP_GREETING;
}

static gboolean
wait_greeting (GwQmp *qmp, gint64 deadline_us, GCancellable *cancellable, GError **error)
{
    g_autoptr (GError) fault = NULL;
    gint64 begin_us = g_get_monotonic_time ();
    gboolean is_in_time =
        gw_wait_until (qmp->context, is_greeted, qmp, deadline_us, cancellable, &fault);
    if (qmp->state.state == GW_QMP_CLOSED) {
        g_propagate_error (error, g_error_copy (qmp->why));
        return FALSE;
    }
    if (is_in_time)
        return TRUE;
    if (gw_error_get_cause (fault) != GW_CAUSE_TIMED_OUT) {
        g_propagate_prefixed_error (error, g_steal_pointer (&fault), "'%s': ", qmp->path);
        return FALSE;
    }
    guint waited_ms = (guint) ((g_get_monotonic_time () - begin_us) / 1000);
    if (qmp->frame.len == 0)
        return fail_busy (qmp, waited_ms, error);
    g_autofree char *quote =
        gw_qmp_quote (qmp->frame.data, qmp->frame.len, GW_QMP_FIRST_BYTES_MAX);
    return gw_fail (error, GW_CAUSE_QMP_NOT_QMP,
                    "'%s' sent no whole greeting within %u ms: its first bytes are '%s'", qmp->path,
                    waited_ms, quote);
}

static JsonObject *
negotiation (const GwQmp *qmp)
{
    JsonArray *enable = json_array_new ();
    if (qmp->offers_oob)
        json_array_add_string_element (enable, "oob");
    JsonObject *arguments = json_object_new ();
    json_object_set_array_member (arguments, "enable", enable);
    return arguments;
}

static gboolean
negotiate (GwQmp *qmp, gint64 deadline_us, GCancellable *cancellable, GError **error)
{
    /* Before 2.12 the command took no arguments. */
    g_autoptr (JsonObject) arguments = qmp->offers_oob ? negotiation (qmp) : NULL;
    g_autoptr (JsonNode) reply =
        gw_qmp_call_timeout (qmp, GW_QMP_QMP_CAPABILITIES, arguments,
                             gw_deadline_left_ms (deadline_us), cancellable, error);
    if (reply == NULL)
        return FALSE;
    qmp->has_oob = qmp->offers_oob;
    gw_machine_move (&qmp->state, GW_QMP_READY);
    return TRUE;
}

static gboolean
handshake (GwQmp *qmp, gint64 greeting_us, gint64 deadline_us, GCancellable *cancellable,
           GError **error)
{
    return wait_greeting (qmp, greeting_us, cancellable, error) &&
           negotiate (qmp, deadline_us, cancellable, error);
}

GwQmp *
gw_qmp_connect (const char *path, GMainContext *context, guint timeout_ms,
                GCancellable *cancellable, GError **error)
{
    g_autoptr (GwQmp) qmp = gw_qmp_client_new (path, context);
    gint64 deadline_us = gw_deadline_ms (timeout_ms);
    gint64 greeting_us = MIN (deadline_us, gw_deadline_ms (GW_QMP_GREETING_MS));
    g_auto (GwFd) fd = connect_socket (qmp, greeting_us, cancellable, error);
    if (fd < 0)
        return NULL;
    g_autoptr (GSocket) socket = g_socket_new_from_fd (fd, error);
    if (socket == NULL) {
        (void) gw_error_adopt (error, GW_CAUSE_QMP_CONNECT); /* always FALSE */
        return NULL;
    }
    (void) gw_fd_steal (&fd); /* the socket has it now */
    gw_qmp_client_attach (qmp, socket);
    if (!handshake (qmp, greeting_us, deadline_us, cancellable, error))
        return NULL;
    return g_steal_pointer (&qmp);
}

static char *
remote_path (GSocketConnection *connection)
{
    g_autoptr (GSocketAddress) address = g_socket_connection_get_remote_address (connection, NULL);
    if (!G_IS_UNIX_SOCKET_ADDRESS (address))
        return g_strdup ("");
    return g_strdup (g_unix_socket_address_get_path (G_UNIX_SOCKET_ADDRESS (address)));
}

GwQmp *
gw_qmp_new_for_connection (GSocketConnection *connection, GMainContext *context, guint timeout_ms,
                           GCancellable *cancellable, GError **error)
{
    g_autofree char *path = remote_path (connection);
    g_autoptr (GwQmp) qmp = gw_qmp_client_new (path, context);
    gint64 deadline_us = gw_deadline_ms (timeout_ms);
    gint64 greeting_us = MIN (deadline_us, gw_deadline_ms (GW_QMP_GREETING_MS));
    qmp->connection = g_object_ref (G_OBJECT (connection));
    gw_qmp_client_attach (qmp, g_socket_connection_get_socket (connection));
    if (!handshake (qmp, greeting_us, deadline_us, cancellable, error))
        return NULL;
    return g_steal_pointer (&qmp);
}
