/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "notify.h"

#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <unistd.h>

#define WATCHDOG_MAX_S 3600
#define PATH_MAX_BYTES 107 /* of a unix socket */

/* The manager's socket: a path, or "@" and a name of the abstract ones. */
static GSocketAddress *
get_manager (void)
{
    const char *path = g_getenv ("NOTIFY_SOCKET");
    if (path == NULL || (*path != '/' && *path != '@') || strlen (path) > PATH_MAX_BYTES)
        return NULL;
    return *path == '/' ? g_unix_socket_address_new (path)
                        : g_unix_socket_address_new_with_type (path + 1, -1, G_UNIX_SOCKET_ADDRESS_ABSTRACT);
}

static void
tell_manager (const char *words)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GSocketAddress) manager = get_manager ();
    if (manager == NULL)
        return;
    g_autoptr (GSocket) socket = g_socket_new (G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_DATAGRAM,
                                               G_SOCKET_PROTOCOL_DEFAULT, &error);
    if (socket == NULL || g_socket_send_to (socket, manager, words, strlen (words), NULL, &error) < 0)
        g_warning ("cannot tell the service manager '%s': %s; ignoring", words, error->message);
}

static gboolean
on_watchdog (gpointer agent)
{
    g_ptr_array_unref (gw_agent_list_jobs (agent)); /* waits for its lock */
    tell_manager ("WATCHDOG=1");
    return G_SOURCE_CONTINUE;
}

/* Twice in the time that the manager gives; 0: it does not watch us. */
static guint
get_watchdog_ms (void)
{
    const char *text = g_getenv ("WATCHDOG_USEC"), *of = g_getenv ("WATCHDOG_PID");
    guint64 us = 0, pid = (guint64) getpid ();
    if (text == NULL || !g_ascii_string_to_unsigned (text, 10, 1000, (guint64) WATCHDOG_MAX_S * G_USEC_PER_SEC, &us, NULL))
        return 0;
    if (of != NULL && (!g_ascii_string_to_unsigned (of, 10, 1, G_MAXINT32, &pid, NULL) || pid != (guint64) getpid ()))
        return 0;
    return (guint) MAX (us / 2000, 1);
}

void
gw_notify_ready (GwAgent *agent)
{
    guint watchdog_ms = get_watchdog_ms ();
    tell_manager ("READY=1\nSTATUS=Serving");
    if (watchdog_ms > 0)
        g_timeout_add (watchdog_ms, on_watchdog, agent);
}

void
gw_notify_reloading (void)
{
    g_autofree char *words = g_strdup_printf ("RELOADING=1\nMONOTONIC_USEC=%" G_GINT64_FORMAT, g_get_monotonic_time ());
    tell_manager (words);
}

void
gw_notify_reloaded (void)
{
    tell_manager ("READY=1\nSTATUS=Serving");
}

void
gw_notify_stopping (void)
{
    tell_manager ("STOPPING=1\nSTATUS=Ending jobs and connections");
}
