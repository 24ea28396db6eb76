/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECES 32           /* of one readv() or writev() */
#define RESET_MS 2000       /* for what the program wrote before its socket broke to arrive */
#define WRITES_A_TURN 16    /* a program that takes all at once does not keep the others waiting */

/* No state has a time limit of its own: a lane lives as long as QEMU likes, and the agent ends the
 * courier. */
#define BIT(state) (1u << (state))
static const GwState lane_states[] = {
    [GW_LANE_IDLE] = { "idle", BIT (GW_LANE_OPEN) | BIT (GW_LANE_BROKEN), GW_STATE_INITIAL },
    [GW_LANE_OPEN] = { "open", BIT (GW_LANE_DEAF) | BIT (GW_LANE_ENDED) | BIT (GW_LANE_BROKEN), 0 },
    [GW_LANE_DEAF] = { "deaf", BIT (GW_LANE_ENDED) | BIT (GW_LANE_BROKEN), 0 },
    [GW_LANE_ENDED] = { "ended", 0, GW_STATE_FINAL },
    [GW_LANE_BROKEN] = { "broken", 0, GW_STATE_FINAL | GW_STATE_FAILURE },
};
static const GwMachineTable lane_table = { "lane", lane_states, G_N_ELEMENTS (lane_states) };

GwLane *
gw_courier_lane_new (GwLaneGroup *group, GwSession *session, GwControl *control, GwCrew *crew)
{
    GwLane *lane = g_new0 (GwLane, 1);
    lane->group = group;
    lane->session = session;
    lane->control = control;
    lane->crew = crew;
    lane->due_us = G_MAXINT64;
    lane->index = group->n_opened++;
    lane->fd = -1;
    gw_machine_init (&lane->out, &lane_table, NULL, NULL);
    gw_machine_init (&lane->in, &lane_table, NULL, NULL);
    return lane;
}

void
gw_courier_lane_free (GwLane *lane)
{
    if (lane == NULL)
        return;
    gw_fd_clear (&lane->fd);
    gw_packer_free (lane->packer);
    gw_unpacker_free (lane->unpacker);
    gw_ram_out_free (lane->ram_out);
    gw_ram_in_free (lane->ram_in);
    g_clear_error (&lane->failure);
    g_free (lane->reset_why);
    g_free (lane);
}

GwLinkClass
gw_courier_lane_get_class (const GwLane *lane)
{
    const GwLaneOption *option = &lane->group->option;
    return option->classes[MIN (lane->index, option->n_classes - 1)];
}

void
gw_courier_lane_start (GwLane *lane, int fd, GwSessionLane *carried)
{
    lane->fd = fd;
    lane->carried = carried;
    if (lane->group->option.codec_bytes > 0)
        gw_courier_lane_start_codec (lane);
    else if (lane->group->option.is_packed && lane->group->option.accepts)
        lane->packer = gw_packer_new ();
    else if (lane->group->option.is_packed)
        lane->unpacker = gw_unpacker_new ();
    gw_machine_move (&lane->out, GW_LANE_OPEN);
    gw_machine_move (&lane->in, GW_LANE_OPEN);
    gw_control_say (lane->control, "lane-open", "lane", lane->group->option.name, "direction",
                    lane->group->option.accepts ? "out" : "in", NULL);
}

/* --- what is held between the program and the session ----------------------------------------------- */

/* Whether bytes outwards are not the session's yet. */
static gboolean
is_holding (const GwLane *lane)
{
    gsize pending = 0;
    if (lane->ram_out != NULL)
        return !gw_ram_out_is_empty (lane->ram_out);
    if (lane->packer != NULL)
        (void) gw_packer_peek (lane->packer, &pending);
    return pending > 0;
}

/* Of these, whether some could be now if it had room. */
static gboolean
has_ready (GwLane *lane)
{
    return lane->ram_out != NULL ? gw_courier_lane_has_ram_ready (lane) : is_holding (lane);
}

/* Gives the session what it has room for.  Returns when to come again without being called. */
static gint64
flush (GwLane *lane)
{
    if (lane->ram_out != NULL)
        return gw_courier_lane_flush_ram (lane);
    if (lane->packer != NULL && !lane->is_full)
        gw_courier_lane_flush_packed (lane);
    return G_MAXINT64;
}

/* --- ends ------------------------------------------------------------------------------------------- */

/* Ends one direction, `to` ENDED or BROKEN, and says so once. */
static void
end_direction (GwLane *lane, GwMachine *direction, guint to)
{
    if (gw_machine_is_final (direction) || !gw_machine_can (direction, to))
        return;
    gw_machine_move (direction, to);
    gw_control_say (lane->control, to == GW_LANE_ENDED ? "lane-eof" : "lane-closed", "lane",
                    lane->group->option.name, "direction", direction == &lane->out ? "out" : "in",
                    NULL);
    if (gw_courier_lane_has_ended (lane))
        gw_fd_clear (&lane->fd);
}

void
gw_courier_lane_break (GwLane *lane)
{
    end_direction (lane, &lane->out, GW_LANE_BROKEN);
    end_direction (lane, &lane->in, GW_LANE_BROKEN);
}

/* The local socket is of no more use.  The far program shall know, but first have what ours said:
 * a reset overtakes everything. */
static void
start_reset (GwLane *lane, const char *why)
{
    lane->reset_why = g_strdup (why);
    lane->reset_us = gw_deadline_ms (RESET_MS);
}

static void
go_on_with_reset (GwLane *lane)
{
    GwLaneCounters counters;
    gw_session_lane_get_counters (lane->carried, &counters);
    if ((counters.unsent_bytes + counters.unacked_bytes > 0 || is_holding (lane)) &&
        g_get_monotonic_time () < lane->reset_us)
        return;
    gw_session_reset (lane->session, lane->carried, lane->reset_why);
    gw_courier_lane_break (lane);
    g_clear_pointer (&lane->reset_why, g_free);
}

static void
end_out (GwLane *lane, guint to)
{
    gw_session_end (lane->session, lane->carried);
    end_direction (lane, &lane->out, to);
}

/* The local program reads no more. */
static void
deafen (GwLane *lane)
{
    struct iovec piece;
    if (lane->in.state != GW_LANE_OPEN)
        return;
    gboolean is_lossy = gw_session_peek (lane->session, lane->carried, &piece, 1) > 0 ||
                        lane->in_debt > 0;
    gw_session_stop (lane->session, lane->carried);
    if (is_lossy)
        end_direction (lane, &lane->in, GW_LANE_BROKEN);
    else
        gw_machine_move (&lane->in, GW_LANE_DEAF);
}

/* --- what is seen on the way ----------------------------------------------------------------------- */

/* The return path is that of the first connection. */
static void
note_requests (GwLane *lane, const struct iovec *pieces, gsize len)
{
    GwPageWaits *waits = lane->group->waits;
    gint64 now_us = g_get_monotonic_time ();
    if (waits == NULL || lane->index != 0)
        return;
    for (guint i = 0; len > 0; i++) {
        gsize one = MIN (len, pieces[i].iov_len);
        gw_page_waits_take_requests (waits, pieces[i].iov_base, one, now_us);
        len -= one;
    }
}

void
gw_courier_lane_note_pages (GwLane *lane, const struct iovec *pieces, gsize len)
{
    GwPageWaits *waits = lane->group->waits;
    gint64 now_us = g_get_monotonic_time ();
    if (waits == NULL)
        return;
    for (guint i = 0; len > 0; i++) {
        gsize one = MIN (len, pieces[i].iov_len);
        gw_page_waits_take_pages (waits, lane->index, pieces[i].iov_base, one, now_us);
        len -= one;
    }
}

GwLinkStep
gw_courier_lane_give (GwLane *lane, const uint8_t *data, gsize len, gsize *ret_given)
{
    gssize n = send (lane->fd, data, len, MSG_NOSIGNAL);
    *ret_given = 0;
    if (n < 0 && errno != EINTR)
        return errno == EAGAIN ? GW_LINK_AGAIN : GW_LINK_FAILED;
    if (n <= 0)
        return GW_LINK_DONE;
    const struct iovec piece = { (void *) data, (gsize) n };
    lane->in_bytes += (uint64_t) n;
    gw_courier_lane_note_pages (lane, &piece, (gsize) n);
    *ret_given = (gsize) n;
    return GW_LINK_DONE;
}

/* --- outwards ------------------------------------------------------------------------------------------ */

/* Returns what readv() did, 1 when there was no room for anything. */
static gssize
read_some (GwLane *lane)
{
    struct iovec pieces[PIECES];
    guint n = gw_session_reserve (lane->session, lane->carried, pieces, PIECES);
    lane->is_full = n == 0;
    if (n == 0)
        return 1;
    gssize len;
    do
        len = readv (lane->fd, pieces, (int) n);
    while (len < 0 && errno == EINTR);
    int saved = errno;
    if (len > 0)
        note_requests (lane, pieces, (gsize) len);
    gw_session_commit (lane->session, lane->carried, len > 0 ? (gsize) len : 0);
    errno = saved;
    return len;
}

static gssize
read_in_its_way (GwLane *lane)
{
    if (lane->ram_out != NULL)
        return gw_courier_lane_read_ram (lane);
    return lane->packer != NULL ? gw_courier_lane_read_packed (lane) : read_some (lane);
}

/* What the program wrote to its end may still be on its way to the session. */
static void
finish_out (GwLane *lane)
{
    if (lane->reset_why != NULL)
        return;
    if (lane->is_ending && lane->out.state == GW_LANE_OPEN && !is_holding (lane))
        end_out (lane, GW_LANE_ENDED);
    /* first what it wrote to the end, which also tells a reset; a write meanwhile would say EPIPE */
    if (lane->has_hung_up && gw_machine_is_final (&lane->out))
        deafen (lane);
}

static void
read_out (GwLane *lane)
{
    gssize n = read_in_its_way (lane);
    int saved = errno;
    if (n > 0 || (n < 0 && saved == EAGAIN))
        return;
    if (lane->ram_out != NULL)
        gw_courier_lane_finish_ram (lane);
    lane->is_ending = TRUE;
    if (n < 0)
        start_reset (lane, g_strerror (saved));
    else
        finish_out (lane);
}

void
gw_courier_lane_read (GwLane *lane, short events)
{
    if (lane->carried == NULL || lane->fd < 0)
        return;
    if (lane->reset_why != NULL)
        return;
    gboolean has_hung_up = (events & (POLLHUP | POLLERR)) != 0;
    if (lane->out.state == GW_LANE_OPEN && !lane->is_ending && ((events & POLLIN) != 0 || has_hung_up))
        read_out (lane);
    lane->has_hung_up = lane->has_hung_up || has_hung_up;
    finish_out (lane);
}

/* Throws away what the program wrote and nobody will read; left in the socket it would turn the end
 * of the other direction into a reset.  Returns whether there was any. */
static gboolean
discard_unread (GwLane *lane)
{
    char bytes[4096];
    gboolean is_lossy = FALSE;
    while (recv (lane->fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        is_lossy = TRUE;
    return is_lossy;
}

void
gw_courier_lane_stop (GwLane *lane)
{
    if (lane->out.state != GW_LANE_OPEN)
        return;
    (void) shutdown (lane->fd, SHUT_RD); /* fails only when the program has gone: the same end */
    gboolean is_lossy = is_holding (lane);
    end_out (lane, discard_unread (lane) || is_lossy ? GW_LANE_BROKEN : GW_LANE_ENDED);
}

/* --- inwards ------------------------------------------------------------------------------------------- */

/* DONE when nothing waits, AGAIN, or FAILED: the program reads no more. */
static GwLinkStep
write_some (GwLane *lane)
{
    struct iovec pieces[PIECES];
    guint n;
    for (guint i = 0; i < WRITES_A_TURN; i++) {
        n = gw_session_peek (lane->session, lane->carried, pieces, PIECES);
        if (n == 0)
            return GW_LINK_DONE;
        struct msghdr message = { .msg_iov = pieces, .msg_iovlen = n };
        gssize len = sendmsg (lane->fd, &message, MSG_NOSIGNAL);
        if (len < 0 && errno == EAGAIN)
            return GW_LINK_AGAIN;
        if (len < 0 && errno != EINTR)
            return GW_LINK_FAILED;
        if (len > 0) {
            lane->in_bytes += (uint64_t) len;
            gw_courier_lane_note_pages (lane, pieces, (gsize) len);
            gw_session_consume (lane->session, lane->carried, (gsize) len);
        }
    }
    return GW_LINK_AGAIN;
}

static GwLinkStep
write_in_its_way (GwLane *lane)
{
    if (lane->ram_in != NULL)
        return gw_courier_lane_write_ram (lane);
    return lane->unpacker != NULL ? gw_courier_lane_write_unpacked (lane) : write_some (lane);
}

/* Every byte before the peer's end has gone to the program, or was dropped for want of a reader. */
static void
finish_in (GwLane *lane)
{
    if (lane->in.state == GW_LANE_OPEN)
        (void) shutdown (lane->fd, SHUT_WR); /* fails only when the program has gone: the same end */
    end_direction (lane, &lane->in, GW_LANE_ENDED);
}

void
gw_courier_lane_write (GwLane *lane)
{
    lane->due_us = G_MAXINT64;
    if (lane->carried != NULL && lane->out.state == GW_LANE_OPEN)
        lane->due_us = flush (lane);
    if (lane->carried != NULL)
        finish_out (lane);
    if (lane->carried != NULL && lane->reset_why != NULL)
        go_on_with_reset (lane);
    if (lane->carried == NULL || gw_machine_is_final (&lane->in) || lane->reset_why != NULL)
        return;
    if (lane->in.state == GW_LANE_OPEN) {
        GwLinkStep step = write_in_its_way (lane);
        lane->is_held = step == GW_LINK_AGAIN;
        if (lane->failure != NULL)
            return; /* its socket stays open until the courier has said why */
        if (step == GW_LINK_FAILED)
            deafen (lane);
    }
    if (!gw_machine_is_final (&lane->in) && gw_session_is_at_end (lane->carried))
        finish_in (lane);
}

/* --- waiting ------------------------------------------------------------------------------------------- */

void
gw_courier_lane_fill (GwLane *lane, GwPolls *polls)
{
    short events = 0;
    if (lane->reset_why != NULL) {
        gw_polls_add_due (polls, lane->reset_us);
        lane->place = gw_polls_add (polls, -1, 0);
        return;
    }
    gboolean has_room = lane->ram_out != NULL ? gw_courier_lane_has_ram_room (lane) : !lane->is_full;
    if (lane->out.state == GW_LANE_OPEN && !lane->is_ending && has_room)
        events |= POLLIN;
    if (lane->is_held)
        events |= POLLOUT;
    if (lane->out.state == GW_LANE_OPEN && !lane->is_full && has_ready (lane))
        gw_polls_add_due (polls, 0); /* the session has room again for what no poll() tells of */
    gw_polls_add_due (polls, lane->due_us);
    /* a socket that has hung up is ready for ever: look only for what can be done */
    gboolean is_of_interest = events != 0 || !lane->has_hung_up;
    lane->place = gw_polls_add (polls, is_of_interest ? lane->fd : -1, events);
}

gboolean
gw_courier_lane_has_ended (const GwLane *lane)
{
    return gw_machine_is_final (&lane->out) && gw_machine_is_final (&lane->in);
}

gboolean
gw_courier_lane_is_clean (const GwLane *lane)
{
    return lane->out.state != GW_LANE_BROKEN && lane->in.state != GW_LANE_BROKEN;
}
