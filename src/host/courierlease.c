/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A courier that outlives its agent.  The agent makes the socket at which the next one finds it, in a directory that
 * nobody else writes to, and hands it over with the lease; the courier itself can make none.
 */
#include "courierctl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MS 2000

char *
gw_courier_lease_path (const GwHostConfig *config, const char *job, GwSide side)
{
    g_autofree char *name = g_strconcat (job, side == GW_SIDE_SOURCE ? "-src.sock" : "-dst.sock", NULL);
    return g_build_filename (config->runtime_dir, "leases", name, NULL);
}

static gboolean
has_lease (gpointer user_data)
{
    const GwCourierControl *courier = user_data;
    return courier->is_leased || courier->refusal != NULL || courier->is_ended;
}

/* To what was sent just before, whose answer cannot have been read yet. */
static gboolean
await_lease (GwCourierControl *courier, GCancellable *cancellable, GError **error)
{
    courier->is_leased = FALSE;
    g_clear_pointer (&courier->refusal, g_free);
    if (!gw_wait_until (courier->context, has_lease, courier, gw_deadline_ms (ANSWER_MS), cancellable, error))
        return FALSE;
    return courier->is_leased || gw_fail (error, GW_CAUSE_COURIER_DIED, "the courier %s",
                                          courier->refusal != NULL ? courier->refusal : "has ended");
}

gboolean
gw_courier_lease (GwCourierControl *courier, const char *path, gint64 seconds, GCancellable *cancellable,
                  GError **error)
{
    g_autoptr (GSocket) socket = gw_rpc_listen_unix (path, 0600, error);
    if (socket == NULL)
        return FALSE;
    g_autoptr (JsonObject) command = gw_json_new ("command:s", "lease", "seconds:i", seconds, NULL);
    gw_courier_send_with_fd (courier, command, g_socket_get_fd (socket));
    return await_lease (courier, cancellable, error);
}

gboolean
gw_courier_extend (GwCourierControl *courier, gint64 seconds, GCancellable *cancellable, GError **error)
{
    gw_courier_send (courier, gw_json_new ("command:s", "lease", "seconds:i", seconds, NULL));
    return await_lease (courier, cancellable, error);
}

static int
connect_to (const char *path, GError **error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_auto (GwFd) fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || g_strlcpy (address.sun_path, path, sizeof address.sun_path) >= sizeof address.sun_path ||
        connect (fd, (const struct sockaddr *) &address, sizeof address) != 0) {
        gw_fail (error, GW_CAUSE_COURIER_DIED, "the courier is not there any more ('%s': %s)", path,
                 g_strerror (errno));
        return -1;
    }
    return gw_fd_steal (&fd);
}

GwCourierControl *
gw_courier_attach (const GwCourierSpec *spec, const char *path, pid_t pid, gint64 start_time, GError **error)
{
    int fd = connect_to (path, error);
    if (fd < 0)
        return NULL;
    g_autofree char *log = g_build_filename (spec->job_dir, "courier.log", NULL);
    GwCourierControl *courier = gw_courier_new (spec, fd);
    courier->process = gw_process_adopt (pid, start_time, log, spec->context, gw_courier_on_exit, courier);
    courier->is_ready = TRUE;
    g_autoptr (JsonObject) stats =
        courier->process != NULL ? gw_courier_get_stats (courier, NULL, error) : NULL;
    if (stats != NULL)
        return courier;
    if (courier->process == NULL)
        gw_fail (error, GW_CAUSE_COURIER_DIED, "the courier (pid %d) has ended", (int) pid);
    gw_courier_free (courier);
    return NULL;
}
