/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* No state has a time limit of its own: a lane lives as long as QEMU likes, and the agent ends the
 * courier. */
#define BIT(state) (1u << (state))
static const GwState lane_states[] = {
    [GW_LANE_IDLE] = { "idle", BIT (GW_LANE_OPEN) | BIT (GW_LANE_BROKEN), GW_STATE_INITIAL },
    [GW_LANE_OPEN] = { "open",
                       BIT (GW_LANE_DRAINING) | BIT (GW_LANE_DEAF) | BIT (GW_LANE_ENDED) |
                           BIT (GW_LANE_BROKEN), 0 },
    [GW_LANE_DRAINING] = { "draining", BIT (GW_LANE_ENDED) | BIT (GW_LANE_BROKEN), 0 },
    [GW_LANE_DEAF] = { "deaf", BIT (GW_LANE_ENDED) | BIT (GW_LANE_BROKEN), 0 },
    [GW_LANE_ENDED] = { "ended", 0, GW_STATE_FINAL },
    [GW_LANE_BROKEN] = { "broken", 0, GW_STATE_FINAL | GW_STATE_FAILURE },
};
static const GwMachineTable lane_table = { "lane", lane_states, G_N_ELEMENTS (lane_states) };

void
gw_lane_init (GwLane *lane, const GwLaneOption *option)
{
    *lane = (GwLane){ .option = option, .listen_fd = -1, .fd = -1 };
    gw_machine_init (&lane->out, &lane_table, NULL, NULL);
    gw_machine_init (&lane->in, &lane_table, NULL, NULL);
}

void
gw_lane_clear (GwLane *lane)
{
    gw_lane_drop (lane);
    gw_fd_clear (&lane->fd);
    if (lane->listen_fd >= 0)
        (void) unlink (lane->option->path); /* the agent removes the directory in any case */
    gw_fd_clear (&lane->listen_fd);
}

static void
fill_address (struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    g_strlcpy (address->sun_path, path, sizeof address->sun_path);
}

/* QEMU may run as another user, and connecting takes the right to write: who may come is decided by
 * the job's directory, which is that user's alone. */
static int
bind_for_all (int fd, const struct sockaddr_un *address)
{
    mode_t mask = umask (0);
    int status = bind (fd, (const struct sockaddr *) address, sizeof *address);
    int saved = errno;
    (void) umask (mask); /* cannot fail */
    errno = saved;
    return status;
}

gboolean
gw_lane_listen (GwLane *lane, GError **error)
{
    struct sockaddr_un address;
    if (!lane->option->accepts)
        return TRUE;
    fill_address (&address, lane->option->path);
    g_auto (GwFd) fd = socket (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind_for_all (fd, &address) != 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "lane '%s': cannot listen at '%s': %s",
                        lane->option->name, lane->option->path, g_strerror (errno));
    lane->listen_fd = gw_fd_steal (&fd); /* from here on the path is ours to remove */
    if (listen (lane->listen_fd, 1) != 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "lane '%s': listen: %s", lane->option->name,
                        g_strerror (errno));
    return TRUE;
}

static void
open_with (GwLane *lane, int fd, uint16_t id)
{
    lane->fd = fd;
    lane->id = id;
    gw_machine_move (&lane->out, GW_LANE_OPEN);
    gw_machine_move (&lane->in, GW_LANE_OPEN);
}

GwLinkStep
gw_lane_accept (GwLane *lane, uint16_t id, GError **error)
{
    int fd = accept4 (lane->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
        return GW_LINK_AGAIN;
    if (fd < 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "lane '%s': accept: %s", lane->option->name,
                 g_strerror (errno));
        return GW_LINK_FAILED;
    }
    open_with (lane, fd, id);
    return GW_LINK_DONE;
}

gboolean
gw_lane_connect (GwLane *lane, uint16_t id, GError **error)
{
    struct sockaddr_un address;
    fill_address (&address, lane->option->path);
    g_auto (GwFd) fd = socket (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect (fd, (struct sockaddr *) &address, sizeof address) != 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "lane '%s': cannot connect to '%s': %s",
                        lane->option->name, lane->option->path, g_strerror (errno));
    open_with (lane, gw_fd_steal (&fd), id);
    return TRUE;
}

gssize
gw_lane_read (GwLane *lane, uint8_t *staging, guint n)
{
    struct iovec pieces[GW_LINK_BATCH];
    gssize len;
    g_assert (n > 0 && n <= GW_LINK_BATCH);
    for (guint i = 0; i < n; i++)
        pieces[i] = (struct iovec){ staging + i * GW_LINK_RECORD + GW_LINK_HEAD, GW_LINK_PAYLOAD };
    do
        len = readv (lane->fd, pieces, (int) n);
    while (len < 0 && errno == EINTR);
    return len;
}

/* --- inwards ---------------------------------------------------------------------------------------- */

gboolean
gw_lane_queue (GwLane *lane, GwLinkRecord *record)
{
    if (lane->n_queued == GW_LANE_QUEUE)
        return FALSE;
    lane->queue[(lane->first + lane->n_queued) % GW_LANE_QUEUE] = *record;
    lane->n_queued++;
    if (lane->n_queued == 1)
        lane->first_offset = GW_LINK_HEAD;
    *record = (GwLinkRecord){ 0 };
    return TRUE;
}

static void
drop_first (GwLane *lane)
{
    gw_link_record_clear (&lane->queue[lane->first]);
    lane->first = (lane->first + 1) % GW_LANE_QUEUE;
    lane->n_queued--;
    lane->first_offset = GW_LINK_HEAD;
}

/* Accounts for `n` written bytes. */
static void
advance (GwLane *lane, gsize n)
{
    lane->in_bytes += n;
    while (n > 0) {
        gsize left = lane->queue[lane->first].len - lane->first_offset;
        if (n < left) {
            lane->first_offset += n;
            return;
        }
        n -= left;
        drop_first (lane);
    }
}

static gssize
write_queue (GwLane *lane)
{
    struct iovec pieces[GW_LANE_QUEUE];
    for (guint i = 0; i < lane->n_queued; i++) {
        const GwLinkRecord *record = &lane->queue[(lane->first + i) % GW_LANE_QUEUE];
        gsize offset = i == 0 ? lane->first_offset : GW_LINK_HEAD;
        pieces[i] = (struct iovec){ (void *) (record->data + offset), record->len - offset };
    }
    struct msghdr message = { .msg_iov = pieces, .msg_iovlen = lane->n_queued };
    return sendmsg (lane->fd, &message, MSG_NOSIGNAL);
}

GwLinkStep
gw_lane_write (GwLane *lane)
{
    while (lane->n_queued > 0) {
        gssize n = write_queue (lane);
        if (n < 0 && errno == EAGAIN)
            return GW_LINK_AGAIN;
        if (n < 0 && errno != EINTR)
            return GW_LINK_FAILED;
        if (n > 0)
            advance (lane, (gsize) n);
    }
    return GW_LINK_DONE;
}

void
gw_lane_drop (GwLane *lane)
{
    while (lane->n_queued > 0)
        drop_first (lane);
}

/* --- figures ----------------------------------------------------------------------------------------- */

gsize
gw_lane_get_queued (const GwLane *lane)
{
    return (gsize) (lane->arrived_bytes - lane->in_bytes);
}

gboolean
gw_lane_has_ended (const GwLane *lane)
{
    return gw_machine_is_final (&lane->out) && gw_machine_is_final (&lane->in);
}

gboolean
gw_lane_is_clean (const GwLane *lane)
{
    return lane->out.state != GW_LANE_BROKEN && lane->in.state != GW_LANE_BROKEN;
}
