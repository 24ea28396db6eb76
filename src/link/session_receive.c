/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-internal.h"

#include <string.h>

/* What a handler gets; it may steal the record. */
typedef struct {
    GwSession *session;
    GwSessionPath *path;
    GwSessionLane *lane; /* of the frame; NULL for one that is no more, or for frames of none */
    GwLinkFrame frame;
    const uint8_t *payload;
    GwLinkRecord *record;
    gint64 now_us;
} Arrival;

static gboolean
refuse (const Arrival *arrival, GError **error, const char *what)
{
    return gw_fail (error, GW_CAUSE_LINK_LOST, "a %s frame of lane %u at %" G_GUINT64_FORMAT ": %s",
                    gw_link_type_name (arrival->frame.type), arrival->frame.lane,
                    arrival->frame.sequence, what);
}

/* --- pieces ------------------------------------------------------------------------------------------ */

void
gw_piece_free (GwSession *session, GwPiece *piece)
{
    if (piece->record.packet == NULL) {
        gw_pool_give (&session->smalls, piece);
        return;
    }
    gw_link_record_clear (&piece->record);
    gw_pool_give (&session->pieces, piece);
}

/* A piece of the arrival: it takes the record over. */
static GwPiece *
take_piece (Arrival *arrival)
{
    GwPiece *piece = gw_pool_take (&arrival->session->pieces);
    *piece = (GwPiece){ .start = arrival->frame.sequence,
                        .len = arrival->frame.length,
                        .type = arrival->frame.type,
                        .record = *arrival->record };
    *arrival->record = (GwLinkRecord){ 0 };
    return piece;
}

static void
append_ready (GwSessionLane *lane, GwPiece *piece)
{
    piece->next = NULL;
    if (lane->ready_tail == NULL)
        lane->ready = piece;
    else
        lane->ready_tail->next = piece;
    lane->ready_tail = piece;
}

/* Small payloads share blocks: a peer that sends byte by byte must not cost a record a byte. */
static gboolean
copy_small (GwSession *session, GwSessionLane *lane, const GwPiece *piece)
{
    GwPiece *tail = lane->ready_tail;
    gboolean fits = tail != NULL && tail->record.packet == NULL &&
                    piece->len <= SMALL_BLOCK - tail->len;
    if (!fits && piece->len > SMALL_PAYLOAD)
        return FALSE;
    if (!fits) {
        tail = gw_pool_take (&session->smalls);
        *tail = (GwPiece){ .type = GW_LINK_DATA };
        append_ready (lane, tail);
    }
    memcpy (tail->block + tail->len, piece->record.data + GW_LINK_HEAD, piece->len);
    tail->len += piece->len;
    return TRUE;
}

/* The next in order. */
static void
deliver_data (GwSession *session, GwSessionLane *lane, GwPiece *piece)
{
    lane->next += piece->len;
    if (lane->in.state == IN_STOPPED) {
        lane->consumed = lane->next;
        lane->has_lost = TRUE;
        gw_piece_free (session, piece);
        return;
    }
    lane->ready_bytes += piece->len;
    session->in_bytes += piece->len;
    if (copy_small (session, lane, piece))
        gw_piece_free (session, piece);
    else
        append_ready (lane, piece);
}

static void
deliver_end (GwSession *session, GwSessionLane *lane, GwPiece *piece)
{
    gw_piece_free (session, piece);
    lane->next++;
    if (lane->in.state == IN_STOPPED || lane->ready_bytes == 0) {
        if (lane->in.state == IN_FLOWING)
            gw_machine_move (&lane->in, IN_DRAINING);
        gw_machine_move (&lane->in, IN_ENDED);
    } else {
        gw_machine_move (&lane->in, IN_DRAINING);
    }
    lane->must_stop = FALSE;
    gw_lane_check_over (session, lane);
}

static gboolean
is_open_inwards (const GwSessionLane *lane)
{
    return lane->in.state == IN_FLOWING || lane->in.state == IN_STOPPED;
}

/* Hands on what was held and is next now. */
static void
deliver_held (GwSession *session, GwSessionLane *lane)
{
    while (lane->held != NULL && lane->held->start == lane->next && is_open_inwards (lane)) {
        GwPiece *piece = lane->held;
        lane->held = piece->next;
        if (lane->held == NULL)
            lane->held_tail = NULL;
        lane->n_held--;
        lane->held_bytes -= piece->len;
        session->in_bytes -= piece->len;
        if (piece->type == GW_LINK_EOF)
            deliver_end (session, lane, piece);
        else
            deliver_data (session, lane, piece);
    }
}

static uint64_t
units_of (const GwPiece *piece)
{
    return piece->type == GW_LINK_EOF ? 1 : piece->len;
}

/* Holds what came too early, in order. */
static gboolean
hold (Arrival *arrival, GError **error)
{
    GwSessionLane *lane = arrival->lane;
    uint64_t start = arrival->frame.sequence;
    uint64_t end = start + (arrival->frame.type == GW_LINK_EOF ? 1 : arrival->frame.length);
    GwPiece **at = &lane->held;
    GwPiece *before = NULL;
    if (lane->held_tail != NULL && lane->held_tail->start < start) {
        before = lane->held_tail;
        at = &before->next;
    }
    while (*at != NULL && (*at)->start < start) {
        before = *at;
        at = &before->next;
    }
    if (*at != NULL && (*at)->start == start && (*at)->type == arrival->frame.type &&
        (*at)->len == arrival->frame.length) {
        lane->counters.duplicate_bytes += arrival->frame.length;
        return TRUE;
    }
    if ((before != NULL && before->start + units_of (before) > start) ||
        (*at != NULL && (*at)->start < end))
        return refuse (arrival, error, "it overlaps with another");
    if ((before != NULL && before->type == GW_LINK_EOF) ||
        (*at != NULL && arrival->frame.type == GW_LINK_EOF))
        return refuse (arrival, error, "the end is not the last");
    if (lane->n_held >= FLIGHT_CHUNKS)
        return refuse (arrival, error, "too many came out of order");
    GwPiece *piece = take_piece (arrival);
    piece->next = *at;
    *at = piece;
    if (piece->next == NULL)
        lane->held_tail = piece;
    lane->n_held++;
    lane->held_bytes += piece->len;
    arrival->session->in_bytes += piece->len;
    return TRUE;
}

/* --- chunks ----------------------------------------------------------------------------------------------- */

/* Bytes of chunks count for the path whatever becomes of them. */
static void
count_chunk (Arrival *arrival)
{
    GwSessionPath *path = arrival->path;
    path->in_chunk_bytes += GW_LINK_HEAD + arrival->frame.length;
    path->ack_bytes += GW_LINK_HEAD + arrival->frame.length;
    if (path->ack_bytes >= ACK_BYTES || arrival->frame.type != GW_LINK_DATA)
        path->ack_at_us = arrival->now_us;
    else if (path->ack_at_us == 0)
        path->ack_at_us = arrival->now_us + ACK_US;
}

/* For a lane that is no more everything is acknowledged. */
static gboolean
answer_past (Arrival *arrival)
{
    uint64_t units = arrival->frame.type == GW_LINK_DATA ? arrival->frame.length : 1;
    gw_session_note (arrival->session, (GwNote){ .type = GW_LINK_ACK,
                                                 .lane = arrival->frame.lane,
                                                 .ack = arrival->frame.sequence + units });
    return TRUE;
}

static gboolean
take_open (Arrival *arrival, GError **error)
{
    GwSession *session = arrival->session;
    gboolean is_even = session->config.side == GW_SIDE_DESTINATION;
    uint32_t index = arrival->frame.lane / 2;
    if ((arrival->frame.lane % 2 == 0) != is_even || arrival->frame.sequence != 0)
        return refuse (arrival, error, "it is not the peer's to open");
    count_chunk (arrival);
    if (arrival->lane != NULL) {
        arrival->lane->must_ack = TRUE;
        return TRUE;
    }
    GwNote no = { .type = GW_LINK_RESET, .lane = arrival->frame.lane };
    if (index + 1 == session->refused) {
        gw_session_note (session, no);
        return TRUE;
    }
    if (index < session->n_opened[FALSE])
        return answer_past (arrival); /* it came late: the lane has ended here, and in order */
    if (index > session->n_opened[FALSE] || session->peer_bye)
        return refuse (arrival, error, "it is out of turn");
    if (memchr (arrival->payload, 0, arrival->frame.length) != NULL)
        return refuse (arrival, error, "its name has a zero byte");
    if (session->n_lanes == GW_SESSION_LANES) {
        session->refused = ++session->n_opened[FALSE];
        no.why = "too many lanes are open";
        gw_session_note (session, no);
        session->is_unclean = TRUE;
        return TRUE;
    }
    GwSessionLane *lane = gw_lane_new (session, (const char *) arrival->payload,
                                       arrival->frame.length, FALSE);
    lane->must_ack = TRUE;
    gw_session_emit (session, GW_SESSION_LANE_OFFERED)->lane = lane;
    return TRUE;
}

/* DATA and EOF. */
static gboolean
take_chunk (Arrival *arrival, GError **error)
{
    GwSessionLane *lane = arrival->lane;
    uint64_t start = arrival->frame.sequence;
    uint64_t units = arrival->frame.type == GW_LINK_EOF ? 1 : arrival->frame.length;
    if (lane == NULL) {
        count_chunk (arrival);
        return start > INT64_MAX ? refuse (arrival, error, "nobody is there")
                                 : answer_past (arrival);
    }
    if (start > lane->said_limit || units > lane->said_limit - start)
        return refuse (arrival, error, "it is beyond the limit");
    if (start < lane->next && start + units > lane->next && lane->in.state != IN_BROKEN)
        return refuse (arrival, error, "it was cut in another way before");
    count_chunk (arrival);
    lane->must_ack = TRUE;
    if (lane->in.state == IN_BROKEN)
        return TRUE;
    if (start < lane->next) {
        lane->counters.duplicate_bytes += arrival->frame.length;
        return TRUE;
    }
    if (!is_open_inwards (lane))
        return refuse (arrival, error, "it comes after the end");
    if (start > lane->next)
        return hold (arrival, error);
    if (lane->held != NULL && lane->held->start < start + units)
        return refuse (arrival, error, "it overlaps with another");
    if (arrival->frame.type == GW_LINK_EOF) {
        if (lane->held != NULL)
            return refuse (arrival, error, "the end is not the last");
        deliver_end (arrival->session, lane, take_piece (arrival));
        return TRUE;
    }
    deliver_data (arrival->session, lane, take_piece (arrival));
    deliver_held (arrival->session, lane);
    gw_lane_measure (arrival->session, lane, arrival->now_us);
    gw_session_note_memory (arrival->session);
    return TRUE;
}

/* --- states of lanes ------------------------------------------------------------------------------------------ */

static gboolean
take_stop (Arrival *arrival, GError **error)
{
    GwSessionLane *lane = arrival->lane;
    if (lane == NULL)
        return TRUE;
    if (!lane->is_ours && lane->in.state == IN_OFFERED)
        return refuse (arrival, error, "the lane is not accepted");
    gw_lane_known (arrival->session, lane);
    gw_lane_accepted (arrival->session, lane);
    gw_lane_stopped (arrival->session, lane);
    return TRUE;
}

static gboolean
take_reset (Arrival *arrival, GError **error)
{
    GwSession *session = arrival->session;
    GwSessionLane *lane = arrival->lane;
    gboolean is_answer = (arrival->frame.flags & GW_LINK_ANSWER) != 0;
    if (!is_answer)
        gw_session_note (session, (GwNote){ .type = GW_LINK_RESET,
                                            .flags = GW_LINK_ANSWER,
                                            .lane = arrival->frame.lane });
    if (lane == NULL)
        return TRUE;
    if (is_answer && !lane->is_reset_by_us && !lane->is_over)
        return refuse (arrival, error, "it answers nothing");
    if (lane->is_over)
        return TRUE;
    gw_lane_known (session, lane);
    if (!lane->is_reset_by_us) {
        GwSessionEvent *event = gw_session_emit (session, GW_SESSION_LANE_RESET);
        g_autofree char *text = gw_text_clean ((const char *) arrival->payload,
                                               arrival->frame.length, GW_LINK_TEXT_MAX);
        event->lane = lane;
        g_strlcpy (event->text, text, sizeof event->text);
    }
    lane->is_reset_by_us = lane->must_reset = FALSE;
    lane->has_lost = TRUE;
    gw_lane_break (session, lane);
    gw_lane_check_over (session, lane);
    return TRUE;
}

static gboolean
take_entry (Arrival *arrival, const uint8_t *entry, GError **error)
{
    GwSession *session = arrival->session;
    uint16_t id = gw_load_be16 (entry);
    uint64_t ack = gw_load_be64 (entry + 2), limit = gw_load_be64 (entry + 10);
    GwSessionLane *lane = gw_lane_find (session, id);
    gboolean is_ours = (id % 2 == 0) == (session->config.side == GW_SIDE_SOURCE);
    if (lane == NULL)
        return id / 2 < session->n_opened[is_ours] ||
               refuse (arrival, error, "it acknowledges a lane that was never opened");
    if (ack > lane->sent_end)
        return refuse (arrival, error, "it acknowledges what was not sent");
    if (ack > 0 && lane->is_ours)
        gw_lane_known (session, lane);
    if (!gw_chunk_acknowledge (session, lane, ack))
        return refuse (arrival, error, "it acknowledges a part of a chunk");
    lane->peer_limit = MAX (lane->peer_limit, MIN (limit, INT64_MAX));
    if (lane->peer_limit > 1 && lane->is_known)
        gw_lane_accepted (session, lane);
    if (lane->out.state == OUT_ENDING && lane->head == NULL) {
        gw_machine_move (&lane->out, OUT_ENDED);
        gw_lane_check_over (session, lane);
    }
    return TRUE;
}

static gboolean
take_ack (Arrival *arrival, GError **error)
{
    if (arrival->frame.sequence > arrival->path->out_chunk_bytes)
        return refuse (arrival, error, "it acknowledges more than the path has carried");
    gw_path_acknowledge (arrival->path, arrival->frame.sequence, arrival->now_us);
    for (guint i = 0; i < arrival->frame.length; i += GW_LINK_ACK_ENTRY)
        if (!take_entry (arrival, arrival->payload + i, error))
            return FALSE;
    return TRUE;
}

/* --- paths and the whole ---------------------------------------------------------------------------------------- */

static gboolean
take_ping (Arrival *arrival, GError **error)
{
    arrival->path->must_pong = TRUE;
    arrival->path->pong_t1 = arrival->frame.sequence;
    arrival->path->pong_t2 = arrival->now_us;
    return TRUE;
}

static gboolean
take_pong (Arrival *arrival, GError **error)
{
    GwSessionPath *path = arrival->path;
    if (path->ping_us != 0 && arrival->frame.sequence == (uint64_t) path->ping_us)
        gw_path_pong (arrival->session, path, arrival->payload, arrival->now_us);
    return TRUE;
}

static gboolean
take_bye (Arrival *arrival, GError **error)
{
    GwSession *session = arrival->session;
    gboolean is_seen = (arrival->frame.flags & GW_LINK_SEEN) != 0;
    if (is_seen && !session->has_said_bye)
        return refuse (arrival, error, "it has seen what was not said");
    if (!session->peer_bye || (is_seen && !session->peer_seen))
        session->must_bye = TRUE;
    session->peer_bye = TRUE;
    session->peer_seen = session->peer_seen || is_seen;
    session->peer_unclean = session->peer_unclean ||
                            (arrival->frame.flags & GW_LINK_UNCLEAN) != 0;
    gw_session_check_bye (session);
    return TRUE;
}

static gboolean
take_leave (Arrival *arrival, GError **error)
{
    GwMachine *machine = &arrival->path->machine;
    if (arrival->path->has_peer_left)
        return refuse (arrival, error, "it was left before");
    arrival->path->has_peer_left = TRUE;
    if (gw_machine_can (machine, PATH_LEAVING))
        gw_machine_move (machine, PATH_LEAVING);
    return TRUE;
}

static gboolean
take_hello (Arrival *arrival, GError **error)
{
    return refuse (arrival, error, "it was said before");
}

static const struct {
    gboolean (*take) (Arrival *arrival, GError **error);
    gboolean has_lane; /* which must be open, or have been */
} handlers[] = {
    [GW_LINK_HELLO] = { take_hello, FALSE }, [GW_LINK_OPEN] = { take_open, FALSE },
    [GW_LINK_DATA] = { take_chunk, TRUE },   [GW_LINK_EOF] = { take_chunk, TRUE },
    [GW_LINK_STOP] = { take_stop, TRUE },    [GW_LINK_RESET] = { take_reset, TRUE },
    [GW_LINK_PING] = { take_ping, FALSE },   [GW_LINK_PONG] = { take_pong, FALSE },
    [GW_LINK_BYE] = { take_bye, FALSE },     [GW_LINK_ACK] = { take_ack, FALSE },
    [GW_LINK_LEAVE] = { take_leave, FALSE },
};
G_STATIC_ASSERT (G_N_ELEMENTS (handlers) == GW_LINK_N_TYPES);

static gboolean
dispatch (Arrival *arrival, GError **error)
{
    GwSession *session = arrival->session;
    uint16_t id = arrival->frame.lane;
    gboolean is_ours = (id % 2 == 0) == (session->config.side == GW_SIDE_SOURCE);
    if (arrival->path->has_peer_left)
        return refuse (arrival, error, "it comes after LEAVE");
    if (session->has_too_many_notes)
        return refuse (arrival, error, "the peer asks more than it hears");
    arrival->lane = gw_lane_find (session, id);
    if (handlers[arrival->frame.type].has_lane && arrival->lane == NULL &&
        id / 2 >= session->n_opened[is_ours])
        return refuse (arrival, error, "the lane was never opened");
    return handlers[arrival->frame.type].take (arrival, error);
}

gboolean
gw_session_receive (GwSession *session, int path_number, GwLinkRecord *record, gint64 now_us,
                    GError **error)
{
    GwSessionPath *path = &session->paths[path_number];
    Arrival arrival = { .session = session, .path = path, .record = record, .now_us = now_us };
    gboolean is_good = path->machine.state == PATH_DEAD ||
                       session->machine.state == SESSION_EXPIRED;
    if (!is_good && gw_link_frame_load (record->data, record->len, &arrival.frame, error)) {
        arrival.payload = record->data + GW_LINK_HEAD;
        path->in_bytes += record->len;
        path->in_records++;
        path->heard_us = now_us;
        is_good = dispatch (&arrival, error);
        gw_path_check_renewal (session, path_number);
    }
    gw_link_record_clear (record); /* empty when it was taken over */
    for (int i = 0; i < GW_SESSION_PATHS; i++)
        gw_path_check_left (session, i);
    return is_good;
}
