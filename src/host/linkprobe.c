/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the link carries: before QEMU is at its ends, the source writes into the lane for a moment and
 * the destination reads.  The bytes take the way that the VM's memory will take, both couriers, TLS
 * and the network, and the destination's clock measures between its first and its last.
 */
#include "host-internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_MS 5000  /* until the first byte */
#define READ_MS 1500   /* from then on: what is still in the couriers is not waited for */
#define WRITE_MS 300
#define WRITE_BYTES_MAX (64u << 20)
#define CHUNK_BYTES (128u << 10)

struct _GwLinkSink {
    GThread *thread;
    int listener;
    char *path;
    gint64 bytes, first_us, last_us;
};

static gboolean
set_address (struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un) { .sun_family = AF_UNIX };
    if (strlen (path) >= sizeof address->sun_path)
        return FALSE;
    memcpy (address->sun_path, path, strlen (path));
    return TRUE;
}

static gboolean
wait_for (int fd, short events, gint64 deadline_us)
{
    struct pollfd poll_fd = { fd, events, 0 };
    gint64 left_ms = (deadline_us - g_get_monotonic_time ()) / 1000;
    return left_ms > 0 && poll (&poll_fd, 1, (int) left_ms) > 0;
}

/* --- the destination ------------------------------------------------------------------------------- */

static gpointer
read_all (gpointer user_data)
{
    struct _GwLinkSink *sink = user_data;
    g_autofree char *buffer = g_malloc (CHUNK_BYTES);
    gint64 deadline = g_get_monotonic_time () + FIRST_MS * 1000;
    g_auto (GwFd) fd = wait_for (sink->listener, POLLIN, deadline)
                           ? accept4 (sink->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)
                           : -1;
    while (fd >= 0 && wait_for (fd, POLLIN, deadline)) {
        ssize_t n = read (fd, buffer, CHUNK_BYTES);
        if (n <= 0)
            break;
        sink->last_us = g_get_monotonic_time ();
        if (sink->first_us == 0) {
            sink->first_us = sink->last_us;
            deadline = sink->first_us + READ_MS * 1000;
            continue; /* how long these were under way is not known */
        }
        sink->bytes += n;
    }
    return NULL;
}

void
gw_link_sink_free (GwLinkSink *sink)
{
    if (sink == NULL)
        return;
    if (sink->thread != NULL)
        g_thread_join (sink->thread); /* at most FIRST_MS + READ_MS */
    if (sink->listener >= 0)
        (void) close (sink->listener);
    (void) unlink (sink->path);
    g_free (sink->path);
    g_free (sink);
}

JsonObject *
gw_local_start_sink (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    struct sockaddr_un address;
    if (local->job_dir == NULL || local->side != GW_SIDE_DESTINATION || local->sink != NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no job is open here as destination");
        return NULL;
    }
    GwLinkSink *sink = g_new0 (GwLinkSink, 1);
    local->sink = sink;
    sink->path = g_build_filename (local->job_dir, "ram.sock", NULL);
    sink->listener = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sink->listener < 0 || !set_address (&address, sink->path) ||
        bind (sink->listener, (struct sockaddr *) &address, sizeof address) != 0 ||
        listen (sink->listener, 1) != 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "'%s': %s", sink->path, g_strerror (errno));
        g_clear_pointer (&local->sink, gw_link_sink_free);
        return NULL;
    }
    sink->thread = g_thread_new ("link-sink", read_all, sink);
    return json_object_new ();
}

JsonObject *
gw_local_finish_sink (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    if (local->sink == NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "nothing is read here");
        return NULL;
    }
    g_thread_join (g_steal_pointer (&local->sink->thread));
    JsonObject *result =
        gw_json_new ("bytes:i", local->sink->bytes, "us:i",
                     local->sink->last_us - local->sink->first_us, NULL);
    g_clear_pointer (&local->sink, gw_link_sink_free);
    return result;
}

/* --- the source -------------------------------------------------------------------------------------- */

typedef struct {
    int fd;
    GMainContext *context; /* of who waits */
    gboolean is_done;      /* atomic */
} Push;

static gpointer
write_all (gpointer user_data)
{
    Push *push = user_data;
    g_autofree char *buffer = g_malloc0 (CHUNK_BYTES);
    gint64 deadline = g_get_monotonic_time () + WRITE_MS * 1000;
    gsize written = 0;
    while (written < WRITE_BYTES_MAX && wait_for (push->fd, POLLOUT, deadline)) {
        ssize_t n = send (push->fd, buffer, CHUNK_BYTES, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0 && errno != EAGAIN)
            break;
        written += n > 0 ? (gsize) n : 0;
    }
    (void) shutdown (push->fd, SHUT_WR);
    deadline = g_get_monotonic_time () + (FIRST_MS + READ_MS) * 1000;
    (void) wait_for (push->fd, POLLIN, deadline); /* the other end has read all of it, or enough */
    g_atomic_int_set (&push->is_done, TRUE);
    g_main_context_wakeup (push->context);
    return NULL;
}

static gboolean
is_pushed (gpointer user_data)
{
    return g_atomic_int_get (&((Push *) user_data)->is_done);
}

JsonObject *
gw_local_push (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    struct sockaddr_un address;
    if (local->job_dir == NULL || local->side != GW_SIDE_SOURCE || local->courier == NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no courier is here as source");
        return NULL;
    }
    g_autofree char *path = g_build_filename (local->job_dir, "ram.sock", NULL);
    g_auto (GwFd) fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || !set_address (&address, path) ||
        connect (fd, (struct sockaddr *) &address, sizeof address) != 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "'%s': %s", path, g_strerror (errno));
        return NULL;
    }
    Push push = { fd, local->context, FALSE };
    GThread *thread = g_thread_new ("link-push", write_all, &push);
    gboolean ok = gw_wait_until (local->context, is_pushed, &push, gw_deadline_ms (FIRST_MS + READ_MS + 2 * WRITE_MS), cancellable,
                                 error);
    (void) shutdown (fd, SHUT_RDWR); /* it waits no more */
    g_thread_join (thread);
    return ok ? json_object_new () : NULL;
}
