/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <errno.h>
#include <sys/socket.h>

#define LINGER_MS 300 /* for the other courier to close as well */
#define DRAIN_TURNS 16

void
gw_paths_add (GwCourier *courier, GwMet *met)
{
    gint64 now_us = g_get_monotonic_time ();
    GwLinkPath *made =
        gw_link_path_new (courier->session, g_steal_pointer (&met->tls), met->serial, now_us);
    if (made == NULL) {
        gw_dial_path_down (courier->dial, met->address);
        g_free (met->peer);
        g_free (met->local);
        return;
    }
    GwCourierPath *path = &courier->paths[gw_link_path_get_number (made)];
    *path = (GwCourierPath){ .path = made, .peer = met->peer, .local = met->local,
                             .address = met->address, .serial = met->serial, .up_us = now_us, .is_new = TRUE,
                             .peer_wall_clock_us = met->wall_clock_us };
    gw_control_say_of_path (courier->control, "path-up", path->serial, "peer", path->peer, "local",
                            path->local, NULL);
}

static GwCourierPath *
get_path (GwCourier *courier, int number)
{
    g_assert (number >= 0 && number < GW_SESSION_PATHS);
    return courier->paths[number].path != NULL ? &courier->paths[number] : NULL;
}

/* Forgets it; the session has been told. */
static void
forget (GwCourier *courier, GwCourierPath *path)
{
    const GwLinkCounters *wire = gw_link_tls_get_counters (gw_link_path_get_tls (path->path));
    courier->wire_out_bytes += wire->out_bytes;
    courier->wire_in_bytes += wire->in_bytes;
    gw_link_path_free (path->path);
    g_free (path->peer);
    g_free (path->local);
    *path = (GwCourierPath){ .path = NULL };
}

static void
say_down (GwCourier *courier, const GwCourierPath *path, const char *reason)
{
    gw_control_say_of_path (courier->control, "path-down", path->serial, "peer", path->peer,
                            "reason", reason, NULL);
}

void
gw_paths_end (GwCourier *courier, int number, const char *reason)
{
    GwCourierPath *path = get_path (courier, number);
    if (path == NULL)
        return;
    gw_session_path_down (courier->session, number, reason, g_get_monotonic_time ());
    if (!path->is_retired)
        gw_dial_path_down (courier->dial, path->address);
    say_down (courier, path, reason);
    forget (courier, path);
}

void
gw_paths_retire (GwCourier *courier, int number)
{
    GwCourierPath *path = get_path (courier, number);
    if (path == NULL || path->is_retired)
        return;
    path->is_retired = TRUE;
    gw_dial_path_retire (courier->dial, path->address);
}

void
gw_paths_leave (GwCourier *courier, int address)
{
    for (int i = 0; i < GW_SESSION_PATHS; i++)
        if (courier->paths[i].path != NULL && courier->paths[i].address == address) {
            courier->paths[i].is_retired = TRUE; /* the redial has forgotten it already */
            gw_session_path_leave (courier->session, i, g_get_monotonic_time ());
        }
}

void
gw_paths_fill (GwCourier *courier, GwPolls *polls)
{
    for (guint i = 0; i < GW_SESSION_PATHS; i++) {
        GwCourierPath *path = &courier->paths[i];
        if (path->path == NULL)
            continue;
        const GwLinkTls *tls = gw_link_path_get_tls (path->path);
        short events = gw_link_tls_get_events (tls);
        if (path->has_peer_left)
            events &= (short) ~POLLIN;
        path->place = gw_polls_add (polls, events == 0 ? -1 : gw_link_tls_get_fd (tls), events);
        if (gw_link_path_has_more (path->path))
            gw_polls_add_due (polls, 0);
    }
}

static void
fail_path (GwCourier *courier, int number, GError *error)
{
    gw_paths_end (courier, number, error->message);
    g_error_free (error);
}

static void
receive_one (GwCourier *courier, int number)
{
    GError *error = NULL;
    GwLinkPath *path = courier->paths[number].path;
    GwLinkStep step = gw_link_path_receive (path, g_get_monotonic_time (), &error);
    if (step == GW_LINK_FAILED)
        fail_path (courier, number, error);
    if (step == GW_LINK_CLOSED) /* what we still have to say can be sent */
        courier->paths[number].has_peer_left = courier->has_peer_left = TRUE;
}

void
gw_paths_receive (GwCourier *courier, const GwPolls *polls)
{
    for (int i = 0; i < GW_SESSION_PATHS; i++) {
        const GwCourierPath *path = &courier->paths[i];
        if (path->path == NULL || path->has_peer_left)
            continue;
        gboolean is_readable = path->is_new || (gw_polls_get (polls, path->place) & ~POLLOUT) != 0;
        courier->paths[i].is_new = FALSE;
        if (is_readable || gw_link_path_has_more (path->path))
            receive_one (courier, i);
    }
}

uint64_t
gw_paths_get_activity (const GwCourier *courier)
{
    uint64_t sum = 0;
    for (guint i = 0; i < GW_SESSION_PATHS; i++) {
        if (courier->paths[i].path == NULL)
            continue;
        const GwLinkCounters *wire =
            gw_link_tls_get_counters (gw_link_path_get_tls (courier->paths[i].path));
        sum += 1 + wire->out_records + wire->in_records;
    }
    return sum;
}

/* Nobody reads any more: what the other courier said before that, its good-bye perhaps, comes first. */
static void
fail_sending (GwCourier *courier, int number, GError *error)
{
    GwCourierPath *path = &courier->paths[number];
    do
        receive_one (courier, number);
    while (path->path != NULL && !path->has_peer_left && gw_link_path_has_more (path->path));
    if (path->path != NULL)
        gw_paths_end (courier, number,
                      path->has_peer_left ? "the other courier has left" : error->message);
    g_error_free (error);
}

void
gw_paths_send (GwCourier *courier)
{
    for (int i = 0; i < GW_SESSION_PATHS; i++) {
        GError *error = NULL;
        GwLinkPath *path = courier->paths[i].path;
        if (path != NULL &&
            gw_link_path_send (path, g_get_monotonic_time (), &error) == GW_LINK_FAILED)
            fail_sending (courier, i, error);
    }
}

void
gw_paths_shut (GwCourier *courier)
{
    for (guint i = 0; i < GW_SESSION_PATHS; i++)
        if (courier->paths[i].path != NULL)
            gw_link_path_shut (courier->paths[i].path);
}

/* FALSE when nothing more comes from `fd`. */
static gboolean
drain (int fd)
{
    char bytes[65536];
    gssize n = 1;
    for (guint i = 0; i < DRAIN_TURNS && n > 0; i++)
        n = recv (fd, bytes, sizeof bytes, MSG_DONTWAIT);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* A socket that is closed with something unread sends a reset, and that may reach the other courier
 * before it has read our good-bye: then the end looks like an outage. */
void
gw_paths_linger (GwCourier *courier)
{
    struct pollfd polls[GW_SESSION_PATHS];
    guint n = 0;
    gint64 deadline_us = gw_deadline_ms (LINGER_MS);
    for (guint i = 0; i < GW_SESSION_PATHS; i++) {
        const GwLinkPath *path = courier->paths[i].path;
        if (path == NULL || courier->paths[i].has_peer_left)
            continue;
        polls[n] = (struct pollfd){ gw_link_tls_get_fd (gw_link_path_get_tls (path)), POLLIN, 0 };
        (void) shutdown (polls[n++].fd, SHUT_WR); /* fails only when it is over already */
    }
    for (guint left = n; left > 0 && gw_deadline_left_ms (deadline_us) > 0;) {
        (void) poll (polls, n, (int) gw_deadline_left_ms (deadline_us));
        for (guint i = 0; i < n; i++)
            if (polls[i].fd >= 0 && polls[i].revents != 0 && !drain (polls[i].fd)) {
                polls[i].fd = -1;
                left--;
            }
    }
}

guint
gw_paths_count (const GwCourier *courier)
{
    guint n = 0;
    for (guint i = 0; i < GW_SESSION_PATHS; i++)
        n += courier->paths[i].path != NULL;
    return n;
}

void
gw_paths_clear (GwCourier *courier)
{
    for (guint i = 0; i < GW_SESSION_PATHS; i++)
        if (courier->paths[i].path != NULL)
            forget (courier, &courier->paths[i]);
}
