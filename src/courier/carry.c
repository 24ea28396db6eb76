/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define RECORDS_A_TURN 32 /* taken from the link before the lanes get their turn */

#define BIT(state) (1u << (state))
static const GwState carry_states[] = {
    [GW_CARRY_ACTIVE] = { "active", BIT (GW_CARRY_LEAVING), GW_STATE_INITIAL },
    [GW_CARRY_LEAVING] = { "leaving", BIT (GW_CARRY_OVER), 0 },
    [GW_CARRY_OVER] = { "over", 0, GW_STATE_FINAL },
};
static const GwMachineTable carry_table = { "carry", carry_states, G_N_ELEMENTS (carry_states) };

gboolean
gw_carry_init (GwCarry *carry, const GwCourierOptions *options, GwControl *control, GError **error)
{
    *carry = (GwCarry){ .control = control, .side = options->side };
    gw_machine_init (&carry->machine, &carry_table, NULL, NULL);
    carry->staging = g_malloc (GW_LINK_BATCH * GW_LINK_RECORD);
    for (guint i = 0; i < options->lanes->len; i++) {
        gw_lane_init (&carry->lanes[i], &g_array_index (options->lanes, GwLaneOption, i));
        carry->n_lanes++;
        if (!gw_lane_listen (&carry->lanes[i], error))
            return FALSE;
    }
    return TRUE;
}

void
gw_carry_clear (GwCarry *carry)
{
    gw_link_record_clear (&carry->held);
    for (guint i = 0; i < carry->n_lanes; i++)
        gw_lane_clear (&carry->lanes[i]);
    carry->n_lanes = 0;
    g_clear_pointer (&carry->tls, gw_link_tls_free);
    g_clear_pointer (&carry->staging, g_free);
}

void
gw_carry_start (GwCarry *carry, GwLinkTls *tls)
{
    carry->tls = tls;
    carry->has_more = TRUE; /* records may have come together with the hello */
}

/* --- frames and events -------------------------------------------------------------------------------- */

/* Sends a frame without data.  `text` may be NULL. */
static gboolean
send_small (GwCarry *carry, GwLinkFrame frame, const char *text, GError **error)
{
    uint8_t record[GW_LINK_HEAD + 256];
    frame.length = text == NULL ? 0 : (uint32_t) MIN (strlen (text), 200);
    if (!gw_link_tls_can_send_small (carry->tls))
        return gw_fail (error, GW_CAUSE_LINK_LOST, "the other courier asks but does not read");
    gw_link_frame_store (record, &frame);
    if (frame.length > 0)
        memcpy (record + GW_LINK_HEAD, text, frame.length);
    return gw_link_tls_send (carry->tls, record, GW_LINK_HEAD + frame.length, error);
}

/* Ends one direction of a lane, `to` ENDED or BROKEN, and says so once. */
static void
end_direction (GwCarry *carry, GwLane *lane, GwMachine *direction, guint to)
{
    if (gw_machine_is_final (direction))
        return;
    gw_machine_move (direction, to);
    carry->is_unclean = carry->is_unclean || to == GW_LANE_BROKEN;
    gw_control_say (carry->control, to == GW_LANE_ENDED ? "lane-eof" : "lane-closed", "lane",
                    lane->option->name, "direction", direction == &lane->out ? "out" : "in", NULL);
}

static void
close_if_ended (GwLane *lane)
{
    if (gw_lane_has_ended (lane))
        gw_fd_clear (&lane->fd);
}

static void
break_lane (GwCarry *carry, GwLane *lane)
{
    gw_lane_drop (lane);
    end_direction (carry, lane, &lane->out, GW_LANE_BROKEN);
    end_direction (carry, lane, &lane->in, GW_LANE_BROKEN);
    close_if_ended (lane);
}

/* The local socket is of no more use; the far program shall know. */
static gboolean
reset_lane (GwCarry *carry, GwLane *lane, const char *why, GError **error)
{
    break_lane (carry, lane);
    return send_small (carry, (GwLinkFrame){ .type = GW_LINK_RESET, .lane = lane->id }, why, error);
}

static void
say_open (GwCarry *carry, GwLane *lane)
{
    gw_control_say (carry->control, "lane-open", "lane", lane->option->name, "direction",
                    lane->option->accepts ? "out" : "in", NULL);
}

/* --- outwards ------------------------------------------------------------------------------------------ */

/* Lane ids of the source are even, those of the destination odd. */
static gboolean
accept_lane (GwCarry *carry, GwLane *lane, GError **error)
{
    uint16_t id = (uint16_t) (2 * carry->n_opened + (carry->side == GW_SIDE_DESTINATION ? 1 : 0));
    GwLinkStep step = gw_lane_accept (lane, id, error);
    if (step != GW_LINK_DONE)
        return step == GW_LINK_AGAIN;
    carry->n_opened++;
    say_open (carry, lane);
    return send_small (carry, (GwLinkFrame){ .type = GW_LINK_OPEN, .lane = id }, lane->option->name,
                       error);
}

/* Frames and encrypts `len` bytes that gw_lane_read() staged. */
static gboolean
send_staged (GwCarry *carry, GwLane *lane, gsize len, GError **error)
{
    for (uint8_t *record = carry->staging; len > 0; record += GW_LINK_RECORD) {
        GwLinkFrame frame = { .type = GW_LINK_DATA,
                              .lane = lane->id,
                              .length = (uint32_t) MIN (len, GW_LINK_PAYLOAD),
                              .sequence = lane->out_bytes };
        gw_link_frame_store (record, &frame);
        if (!gw_link_tls_send (carry->tls, record, GW_LINK_HEAD + frame.length, error))
            return FALSE;
        lane->out_bytes += frame.length;
        len -= frame.length;
    }
    return TRUE;
}

/* Ends the direction, `to` ENDED or BROKEN, here and there. */
static gboolean
end_out (GwCarry *carry, GwLane *lane, guint to, GError **error)
{
    end_direction (carry, lane, &lane->out, to);
    close_if_ended (lane);
    return send_small (carry,
                       (GwLinkFrame){ .type = GW_LINK_EOF,
                                      .lane = lane->id,
                                      .sequence = lane->out_bytes },
                       NULL, error);
}

static gboolean
read_lane (GwCarry *carry, GwLane *lane, GError **error)
{
    guint room = gw_link_tls_get_room (carry->tls);
    if (room == 0)
        return TRUE;
    gssize n = gw_lane_read (lane, carry->staging, room);
    if (n > 0)
        return send_staged (carry, lane, (gsize) n, error);
    if (n == 0)
        return end_out (carry, lane, GW_LANE_ENDED, error);
    return errno == EAGAIN || reset_lane (carry, lane, g_strerror (errno), error);
}

/* --- inwards ------------------------------------------------------------------------------------------- */

/* The local program reads no more. */
static gboolean
deafen (GwCarry *carry, GwLane *lane, GError **error)
{
    if (lane->in.state != GW_LANE_OPEN && lane->in.state != GW_LANE_DRAINING)
        return TRUE;
    gboolean is_lossy = lane->n_queued > 0;
    gboolean was_open = lane->in.state == GW_LANE_OPEN;
    gw_lane_drop (lane);
    if (is_lossy)
        end_direction (carry, lane, &lane->in, GW_LANE_BROKEN);
    else
        gw_machine_move (&lane->in, GW_LANE_DEAF);
    close_if_ended (lane);
    return !was_open || send_small (carry, (GwLinkFrame){ .type = GW_LINK_STOP, .lane = lane->id },
                                    NULL, error);
}

static gboolean
write_lane (GwCarry *carry, GwLane *lane, GError **error)
{
    GwLinkStep step = gw_lane_write (lane);
    if (step == GW_LINK_FAILED)
        return deafen (carry, lane, error);
    if (step == GW_LINK_DONE && lane->in.state == GW_LANE_DRAINING) {
        (void) shutdown (lane->fd, SHUT_WR); /* fails only when the program has gone: the same end */
        end_direction (carry, lane, &lane->in, GW_LANE_ENDED);
        close_if_ended (lane);
    }
    return TRUE;
}

static GwLane *
find_lane (GwCarry *carry, uint16_t id)
{
    for (guint i = 0; i < carry->n_lanes; i++)
        if (carry->lanes[i].out.state != GW_LANE_IDLE && carry->lanes[i].id == id)
            return &carry->lanes[i];
    return NULL;
}

static GwLane *
find_idle_lane (GwCarry *carry, const uint8_t *name, gsize len)
{
    for (guint i = 0; i < carry->n_lanes; i++) {
        GwLane *lane = &carry->lanes[i];
        if (!lane->option->accepts && lane->out.state == GW_LANE_IDLE &&
            strlen (lane->option->name) == len && memcmp (lane->option->name, name, len) == 0)
            return lane;
    }
    return NULL;
}

static gboolean
take_open (GwCarry *carry, const GwLinkFrame *frame, const GwLinkRecord *record, GError **error)
{
    g_autoptr (GError) local = NULL;
    if (find_lane (carry, frame->lane) != NULL || frame->lane % 2 == (carry->side != GW_SIDE_SOURCE))
        return gw_fail (error, GW_CAUSE_LINK_LOST, "the other courier opened lane %u wrongly",
                        frame->lane);
    GwLane *lane = find_idle_lane (carry, record->data + GW_LINK_HEAD, frame->length);
    if (lane == NULL)
        return send_small (carry, (GwLinkFrame){ .type = GW_LINK_RESET, .lane = frame->lane },
                           "there is no such lane", error);
    if (gw_lane_connect (lane, frame->lane, &local)) {
        say_open (carry, lane);
        return TRUE;
    }
    lane->id = frame->lane;
    gw_control_say (carry->control, "lane-failed", "lane", lane->option->name, "message",
                    local->message, NULL);
    return reset_lane (carry, lane, "the local program does not accept connections", error);
}

/* Data or EOF continue exactly where the lane is. */
static gboolean
check_sequence (const GwLane *lane, const GwLinkFrame *frame, GError **error)
{
    if (frame->sequence == lane->arrived_bytes)
        return TRUE;
    return gw_fail (error, GW_CAUSE_LINK_LOST,
                    "lane '%s': a frame for byte %" G_GUINT64_FORMAT " came at byte %" G_GUINT64_FORMAT,
                    lane->option->name, frame->sequence, lane->arrived_bytes);
}

/* AGAIN when the lane's queue is full. */
static GwLinkStep
take_data (GwCarry *carry, GwLane *lane, const GwLinkFrame *frame, GwLinkRecord *record,
           GError **error)
{
    if (!check_sequence (lane, frame, error))
        return GW_LINK_FAILED;
    if (lane->in.state == GW_LANE_DRAINING || lane->in.state == GW_LANE_ENDED) {
        gw_fail (error, GW_CAUSE_LINK_LOST, "lane '%s': data after its end", lane->option->name);
        return GW_LINK_FAILED;
    }
    if (lane->in.state == GW_LANE_OPEN && !gw_lane_queue (lane, record))
        return GW_LINK_AGAIN;
    if (lane->in.state != GW_LANE_OPEN) { /* nobody reads; sent before our STOP or RESET arrived */
        end_direction (carry, lane, &lane->in, GW_LANE_BROKEN);
        lane->in_bytes += frame->length;
    }
    lane->arrived_bytes += frame->length;
    return GW_LINK_DONE;
}

static gboolean
take_eof (GwCarry *carry, GwLane *lane, const GwLinkFrame *frame, GError **error)
{
    if (!check_sequence (lane, frame, error))
        return FALSE;
    if (lane->in.state == GW_LANE_DEAF)
        end_direction (carry, lane, &lane->in, GW_LANE_ENDED);
    else if (lane->in.state == GW_LANE_OPEN)
        gw_machine_move (&lane->in, GW_LANE_DRAINING);
    close_if_ended (lane);
    return TRUE;
}

/* Throws away what the program wrote and nobody will read; left in the socket it would turn the end
 * of the other direction into a reset.  Returns whether there was any. */
static gboolean
discard_unread (GwCarry *carry, GwLane *lane)
{
    gboolean is_lossy = FALSE;
    while (gw_lane_read (lane, carry->staging, GW_LINK_BATCH) > 0)
        is_lossy = TRUE;
    return is_lossy;
}

/* The far program reads no more: ours shall get EPIPE.  What it wrote before and nobody read is
 * lost, which makes the end unclean. */
static gboolean
take_stop (GwCarry *carry, GwLane *lane, GError **error)
{
    if (lane->out.state != GW_LANE_OPEN)
        return TRUE;
    (void) shutdown (lane->fd, SHUT_RD); /* fails only when the program has gone: the same end */
    gboolean is_lossy = discard_unread (carry, lane);
    return end_out (carry, lane, is_lossy ? GW_LANE_BROKEN : GW_LANE_ENDED, error);
}

/* --- the link -------------------------------------------------------------------------------------------- */

static GwLinkStep
take_lane_frame (GwCarry *carry, const GwLinkFrame *frame, GwLinkRecord *record, GError **error)
{
    GwLane *lane = find_lane (carry, frame->lane);
    gboolean ok = TRUE;
    if (frame->type == GW_LINK_OPEN)
        ok = take_open (carry, frame, record, error);
    else if (lane == NULL)
        ok = frame->type == GW_LINK_RESET || /* refused by both sides at once */
             gw_fail (error, GW_CAUSE_LINK_LOST, "a %s frame for lane %u, which is not open",
                      gw_link_type_name (frame->type), frame->lane);
    else if (frame->type == GW_LINK_DATA)
        return take_data (carry, lane, frame, record, error);
    else if (frame->type == GW_LINK_EOF)
        ok = take_eof (carry, lane, frame, error);
    else if (frame->type == GW_LINK_STOP)
        ok = take_stop (carry, lane, error);
    else {
        (void) gw_lane_write (lane); /* a last chance for what arrived before the reset */
        break_lane (carry, lane);
    }
    return ok ? GW_LINK_DONE : GW_LINK_FAILED;
}

static void
take_pong (GwCarry *carry, const GwLinkFrame *frame)
{
    if (carry->probe_us == 0 || frame->sequence != carry->probe_token)
        return;
    g_autofree char *json =
        g_strdup_printf ("{\"event\":\"probe\",\"rtt_us\":%" G_GINT64_FORMAT "}",
                         g_get_monotonic_time () - carry->probe_us);
    gw_control_say_json (carry->control, json);
    carry->probe_us = 0;
}

static GwLinkStep
take_record (GwCarry *carry, GwLinkRecord *record, GError **error)
{
    GwLinkFrame frame;
    if (!gw_link_frame_load (record->data, record->len, &frame, error))
        return GW_LINK_FAILED;
    switch (frame.type) {
    case GW_LINK_PING:
        if (carry->machine.state != GW_CARRY_ACTIVE)
            return GW_LINK_DONE; /* BYE was our last frame */
        frame.type = GW_LINK_PONG;
        return send_small (carry, frame, NULL, error) ? GW_LINK_DONE : GW_LINK_FAILED;
    case GW_LINK_PONG:
        take_pong (carry, &frame);
        return GW_LINK_DONE;
    case GW_LINK_BYE:
        carry->peer_left = TRUE;
        carry->is_unclean = carry->is_unclean || (frame.flags & GW_LINK_UNCLEAN) != 0;
        return GW_LINK_DONE;
    case GW_LINK_HELLO:
        gw_fail (error, GW_CAUSE_LINK_LOST, "a second hello");
        return GW_LINK_FAILED;
    default:
        return take_lane_frame (carry, &frame, record, error);
    }
}

/* The next record: the one that is held, or a new one. */
static GwLinkStep
receive_record (GwCarry *carry, GError **error)
{
    if (carry->held.packet != NULL)
        return GW_LINK_DONE;
    GwLinkStep step = gw_link_tls_receive (carry->tls, &carry->held, error);
    if (step == GW_LINK_CLOSED)
        gw_fail (error, GW_CAUSE_LINK_LOST, "the other courier left before the lanes had ended");
    return step;
}

static gboolean
receive (GwCarry *carry, GError **error)
{
    carry->has_more = FALSE;
    for (guint i = 0; i < RECORDS_A_TURN && !carry->peer_left; i++) {
        GwLinkStep step = receive_record (carry, error);
        if (step == GW_LINK_DONE)
            step = take_record (carry, &carry->held, error);
        if (step == GW_LINK_AGAIN)
            return TRUE;
        gw_link_record_clear (&carry->held); /* empty when a lane took it */
        if (step != GW_LINK_DONE)
            return FALSE;
    }
    carry->has_more = !carry->peer_left;
    return TRUE;
}

/* --- turns ------------------------------------------------------------------------------------------------ */

static struct pollfd
fill_lane (const GwCarry *carry, const GwLane *lane)
{
    struct pollfd entry = { .fd = -1 };
    if (lane->out.state == GW_LANE_IDLE) {
        entry.fd = lane->listen_fd;
        entry.events = POLLIN;
        return entry;
    }
    if (lane->out.state == GW_LANE_OPEN && gw_link_tls_get_room (carry->tls) > 0)
        entry.events |= POLLIN;
    if (lane->n_queued > 0)
        entry.events |= POLLOUT;
    gboolean is_deaf = lane->has_hung_up && lane->in.state == GW_LANE_OPEN &&
                       gw_machine_is_final (&lane->out);
    if (entry.events != 0 || !lane->has_hung_up || is_deaf)
        entry.fd = lane->fd;
    return entry;
}

void
gw_carry_fill (const GwCarry *carry, struct pollfd *ret_polls, int *timeout_ms)
{
    for (guint i = 0; i < GW_CARRY_POLLS; i++)
        ret_polls[i] = (struct pollfd){ .fd = -1 };
    if (carry->tls == NULL || carry->machine.state == GW_CARRY_OVER)
        return;
    short events = gw_link_tls_get_events (carry->tls);
    if (carry->held.packet != NULL || carry->peer_left)
        events &= (short) ~POLLIN;
    if (events != 0)
        ret_polls[0] = (struct pollfd){ .fd = gw_link_tls_get_fd (carry->tls), .events = events };
    for (guint i = 0; i < carry->n_lanes; i++)
        ret_polls[1 + i] = fill_lane (carry, &carry->lanes[i]);
    if (carry->has_more)
        *timeout_ms = 0;
    else if (carry->machine.state == GW_CARRY_LEAVING)
        *timeout_ms = (int) gw_deadline_left_ms (carry->leave_deadline_us) + 1;
}

static gboolean
turn_lane (GwCarry *carry, GwLane *lane, short revents, GError **error)
{
    if (lane->out.state == GW_LANE_IDLE)
        return (revents & POLLIN) == 0 || accept_lane (carry, lane, error);
    if (lane->n_queued > 0 && (revents & POLLOUT) != 0 && !write_lane (carry, lane, error))
        return FALSE;
    if (lane->out.state == GW_LANE_OPEN && (revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
        !read_lane (carry, lane, error))
        return FALSE;
    if ((revents & (POLLHUP | POLLERR)) != 0)
        lane->has_hung_up = TRUE;
    /* first what it wrote to the end, which also tells a reset; a write meanwhile would say EPIPE */
    if (lane->has_hung_up && gw_machine_is_final (&lane->out))
        return deafen (carry, lane, error);
    return TRUE;
}

/* What arrived in this turn goes on at once; only what does not fit waits for poll(). */
static gboolean
write_arrived (GwCarry *carry, GError **error)
{
    gboolean is_full = FALSE;
    for (guint i = 0; i < carry->n_lanes; i++) {
        GwLane *lane = &carry->lanes[i];
        gboolean is_waiting = lane->n_queued > 0 || lane->in.state == GW_LANE_DRAINING;
        if (is_waiting && !write_lane (carry, lane, error))
            return FALSE;
        is_full = is_full || lane->n_queued == GW_LANE_QUEUE;
    }
    /* the record that was held fits now, and no poll() would say so */
    carry->has_more = carry->has_more || (carry->held.packet != NULL && !is_full);
    return TRUE;
}

static gboolean
leave_if_ended (GwCarry *carry, GError **error)
{
    gboolean is_clean = TRUE;
    for (guint i = 0; i < carry->n_lanes; i++) {
        if (!gw_lane_has_ended (&carry->lanes[i]))
            return TRUE;
        is_clean = is_clean && gw_lane_is_clean (&carry->lanes[i]);
    }
    if (carry->machine.state == GW_CARRY_ACTIVE) {
        GwLinkFrame bye = { .type = GW_LINK_BYE, .flags = is_clean ? 0 : GW_LINK_UNCLEAN };
        gw_machine_move (&carry->machine, GW_CARRY_LEAVING);
        carry->leave_deadline_us = gw_deadline_ms (GW_CARRY_LEAVE_MS);
        return send_small (carry, bye, NULL, error);
    }
    if (carry->machine.state == GW_CARRY_LEAVING && gw_deadline_left_ms (carry->leave_deadline_us) == 0)
        return gw_fail (error, GW_CAUSE_LINK_LOST, "the other courier did not end within %d s",
                        GW_CARRY_LEAVE_MS / 1000);
    return TRUE;
}

gboolean
gw_carry_turn (GwCarry *carry, const struct pollfd *polls, GError **error)
{
    if (carry->tls == NULL || carry->machine.state == GW_CARRY_OVER)
        return TRUE;
    for (guint i = 0; i < carry->n_lanes; i++)
        if (!turn_lane (carry, &carry->lanes[i], polls[1 + i].revents, error))
            return FALSE;
    gboolean is_readable = (polls[0].revents & ~POLLOUT) != 0;
    if ((is_readable || carry->has_more || carry->held.packet != NULL) &&
        (!receive (carry, error) || !write_arrived (carry, error)))
        return FALSE;
    if (!leave_if_ended (carry, error))
        return FALSE;
    GwLinkStep step = gw_link_tls_flush (carry->tls, error);
    if (step == GW_LINK_DONE && carry->machine.state == GW_CARRY_LEAVING && carry->peer_left)
        gw_machine_move (&carry->machine, GW_CARRY_OVER);
    return step != GW_LINK_FAILED;
}

gboolean
gw_carry_probe (GwCarry *carry, GError **error)
{
    if (carry->probe_us != 0 || carry->tls == NULL || carry->machine.state != GW_CARRY_ACTIVE)
        return TRUE;
    carry->probe_us = g_get_monotonic_time ();
    carry->probe_token++;
    return send_small (carry,
                       (GwLinkFrame){ .type = GW_LINK_PING, .sequence = carry->probe_token }, NULL,
                       error);
}

void
gw_carry_abandon (GwCarry *carry)
{
    g_autoptr (GError) ignored = NULL;
    if (carry->tls == NULL || !gw_link_tls_can_send_small (carry->tls))
        return;
    if (gw_link_tls_shut (carry->tls, &ignored))
        (void) gw_link_tls_flush (carry->tls, &ignored); /* best effort: the process ends */
}
