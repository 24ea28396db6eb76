/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-internal.h"

#include <string.h>

/* One question of gw_session_send(). */
typedef struct {
    GwSession *session;
    GwSessionPath *path;
    int number;
    gint64 now_us;
    GwSessionFrame *frame; /* the answer */
} Turn;

/* A control frame in the scratch area, whose payload is there already. */
static gboolean
say (Turn *turn, GwLinkFrame head)
{
    GwSession *session = turn->session;
    gw_link_frame_store (session->scratch, &head);
    *turn->frame = (GwSessionFrame){ .record = session->scratch,
                                     .len = GW_LINK_HEAD + head.length,
                                     .class = GW_CLASS_CONTROL };
    return TRUE;
}

/* --- acknowledgements --------------------------------------------------------------------------------------- */

static gsize
store_entry (uint8_t *entry, uint16_t lane, uint64_t ack, uint64_t limit)
{
    gw_store_be16 (entry, lane);
    gw_store_be64 (entry + 2, ack);
    gw_store_be64 (entry + 10, limit);
    return GW_LINK_ACK_ENTRY;
}

/* What of a lane of ours the peer does not know it must not hear of. */
static gsize
store_lanes (GwSession *session, uint8_t *payload)
{
    gsize len = 0;
    for (guint i = 0; i < session->n_lanes && len < GW_LINK_ACK_ENTRIES * GW_LINK_ACK_ENTRY; i++) {
        GwSessionLane *lane = session->lanes[i];
        if (!lane->must_ack || !lane->is_known)
            continue;
        lane->must_ack = FALSE;
        lane->said_limit = MAX (lane->said_limit, gw_lane_limit (lane));
        len += store_entry (payload + len, lane->id, lane->next, lane->said_limit);
    }
    return len;
}

static gsize
store_notes (GwSession *session, uint8_t *payload, gsize len)
{
    guint n_left = 0;
    for (guint i = 0; i < session->n_notes; i++) {
        GwNote *note = &session->notes[i];
        if (note->type != GW_LINK_ACK || len == GW_LINK_ACK_ENTRIES * GW_LINK_ACK_ENTRY)
            session->notes[n_left++] = *note;
        else
            len += store_entry (payload + len, note->lane, note->ack, note->ack);
    }
    session->n_notes = n_left;
    return len;
}

static gboolean
has_ack_note (const GwSession *session)
{
    for (guint i = 0; i < session->n_notes; i++)
        if (session->notes[i].type == GW_LINK_ACK)
            return TRUE;
    return FALSE;
}

/* An ack is due in time, or at once when a lane may go on, or its end was taken. */
static gboolean
is_ack_due (const Turn *turn)
{
    const GwSessionPath *path = turn->path;
    if (path->must_ack || (path->ack_at_us != 0 && turn->now_us >= path->ack_at_us) ||
        has_ack_note (turn->session))
        return TRUE;
    for (guint i = 0; i < turn->session->n_lanes; i++) {
        const GwSessionLane *lane = turn->session->lanes[i];
        if (lane->must_ack && lane->is_known &&
            gw_lane_limit (lane) - MIN (lane->said_limit, gw_lane_limit (lane)) >= lane->window / 4)
            return TRUE;
    }
    return FALSE;
}

static gboolean
say_ack (Turn *turn)
{
    GwSession *session = turn->session;
    GwSessionPath *path = turn->path;
    if (!is_ack_due (turn))
        return FALSE;
    gsize len = store_lanes (session, session->scratch + GW_LINK_HEAD);
    len = store_notes (session, session->scratch + GW_LINK_HEAD, len);
    path->must_ack = len == GW_LINK_ACK_ENTRIES * GW_LINK_ACK_ENTRY; /* there may be more */
    path->ack_bytes = 0;
    path->ack_at_us = 0;
    return say (turn, (GwLinkFrame){ .type = GW_LINK_ACK,
                                     .length = (uint32_t) len,
                                     .sequence = path->in_chunk_bytes });
}

/* --- other control -------------------------------------------------------------------------------------------- */

static gboolean
say_pong (Turn *turn)
{
    if (!turn->path->must_pong)
        return FALSE;
    turn->path->must_pong = FALSE;
    gw_store_be64 (turn->session->scratch + GW_LINK_HEAD, (uint64_t) turn->path->pong_t2);
    gw_store_be64 (turn->session->scratch + GW_LINK_HEAD + 8, (uint64_t) turn->now_us);
    return say (turn, (GwLinkFrame){ .type = GW_LINK_PONG,
                                     .length = 16,
                                     .sequence = turn->path->pong_t1 });
}

static gboolean
say_ping (Turn *turn)
{
    GwSessionPath *path = turn->path;
    if (!path->must_ping)
        return FALSE;
    path->must_ping = FALSE;
    path->ping_us = turn->now_us;
    if (path->ping_wait_us == 0)
        path->ping_wait_us = turn->now_us;
    return say (turn, (GwLinkFrame){ .type = GW_LINK_PING, .sequence = (uint64_t) turn->now_us });
}

static gboolean
say_text (Turn *turn, GwLinkFrame head, const char *text)
{
    head.length = text == NULL ? 0 : (uint32_t) MIN (strlen (text), GW_LINK_TEXT_MAX);
    if (head.length > 0)
        memcpy (turn->session->scratch + GW_LINK_HEAD, text, head.length);
    return say (turn, head);
}

static gboolean
say_lane_state (Turn *turn)
{
    for (guint i = 0; i < turn->session->n_lanes; i++) {
        GwSessionLane *lane = turn->session->lanes[i];
        if (!lane->is_known)
            continue;
        if (lane->must_reset) {
            lane->must_reset = FALSE;
            return say_text (turn, (GwLinkFrame){ .type = GW_LINK_RESET, .lane = lane->id },
                             lane->why);
        }
        if (lane->must_stop) {
            lane->must_stop = FALSE;
            return say (turn, (GwLinkFrame){ .type = GW_LINK_STOP, .lane = lane->id });
        }
    }
    return FALSE;
}

/* Notes that are no acks: RESETs of lanes that are no more. */
static gboolean
say_note (Turn *turn)
{
    GwSession *session = turn->session;
    for (guint i = 0; i < session->n_notes; i++) {
        GwNote note = session->notes[i];
        if (note.type == GW_LINK_ACK)
            continue;
        session->notes[i] = session->notes[--session->n_notes];
        return say_text (turn, (GwLinkFrame){ .type = note.type,
                                              .flags = note.flags,
                                              .lane = note.lane }, note.why);
    }
    return FALSE;
}

/* Also on a path that comes up when we are over: the last BYE may have been lost. */
static gboolean
say_bye (Turn *turn)
{
    GwSession *session = turn->session;
    if (!session->must_bye || session->machine.state == SESSION_ACTIVE || session->n_lanes > 0)
        return FALSE;
    session->must_bye = FALSE;
    session->has_said_bye = TRUE;
    session->has_said_seen = session->peer_bye;
    uint8_t flags = (session->is_unclean ? GW_LINK_UNCLEAN : 0) |
                    (session->peer_bye ? GW_LINK_SEEN : 0);
    say (turn, (GwLinkFrame){ .type = GW_LINK_BYE, .flags = flags });
    gw_session_check_over (session);
    return TRUE;
}

static gboolean
say_leave (Turn *turn)
{
    if (turn->path->machine.state != PATH_LEAVING ||
        gw_path_count_staying (turn->session, turn->number) == 0)
        return FALSE;
    gw_machine_move (&turn->path->machine, PATH_LEFT);
    say (turn, (GwLinkFrame){ .type = GW_LINK_LEAVE });
    gw_path_check_left (turn->session, turn->number);
    return TRUE;
}

/* --- lanes ------------------------------------------------------------------------------------------------------ */

static gboolean
may_carry (const Turn *turn, guint class, gsize len)
{
    GwSessionPath *path = turn->path;
    if (class < GW_CLASS_DISK)
        return TRUE;
    gsize flight = path->out_chunk_bytes - path->acked_chunk_bytes;
    gsize unacked = path->unacked_bytes + (gsize) (path->out_chunk_bytes - path->told_at);
    gint64 flight_us = path->is_told ? GW_SESSION_LOOP_US : GW_SESSION_QUEUE_US;
    if (flight == 0)
        return TRUE;
    if (flight + len <= gw_path_window (path, flight_us, flight_us, turn->now_us) &&
        (!path->is_told || unacked + len <= gw_path_window (path, turn->session->network_us,
                                                            GW_SESSION_NETWORK_US, turn->now_us)))
        return TRUE;
    path->was_limited = TRUE;
    return FALSE;
}

/* Twice what calls for a successor. */
static gboolean
is_worn_out (const Turn *turn)
{
    const GwSessionConfig *config = &turn->session->config;
    return turn->path->out_bytes / 2 >= config->renew_bytes ||
           turn->path->out_records / 2 >= config->renew_records;
}

/* The first lane of the class, from the turn on, that has a chunk to send. */
static gboolean
say_class (Turn *turn, guint class)
{
    GwSession *session = turn->session;
    for (guint i = 1; i <= session->n_lanes; i++) {
        guint at = (session->turn[class] + i) % session->n_lanes;
        GwSessionLane *lane = session->lanes[at];
        if (lane->class != class)
            continue;
        GwChunk *chunk = gw_chunk_next (session, lane);
        if (chunk == NULL)
            continue;
        if (!may_carry (turn, class, chunk->len))
            return FALSE;
        session->turn[class] = at;
        gw_chunk_sent (session, lane, chunk, turn->number);
        gw_path_sent_chunk (turn->path, chunk->len, turn->now_us);
        *turn->frame = (GwSessionFrame){ .record = chunk->frame,
                                         .len = chunk->len,
                                         .class = (GwLinkClass) class };
        return TRUE;
    }
    return FALSE;
}

static gboolean
say_chunk (Turn *turn)
{
    if (is_worn_out (turn))
        return FALSE;
    for (guint class = 0; class < GW_N_CLASSES; class++)
        if (say_class (turn, class))
            return TRUE;
    return FALSE;
}

/* In the order in which they go. */
static gboolean (*const sayings[]) (Turn *turn) = {
    say_ack, say_pong, say_ping, say_note, say_lane_state, say_bye, say_leave, say_chunk,
};

gboolean
gw_session_send (GwSession *session, int number, gint64 now_us, GwSessionFrame *ret_frame)
{
    Turn turn = { session, &session->paths[number], number, now_us, ret_frame };
    if (!gw_path_can_send (turn.path) || session->machine.state == SESSION_EXPIRED)
        return FALSE;
    for (guint i = 0; i < G_N_ELEMENTS (sayings); i++)
        if (sayings[i] (&turn)) {
            turn.path->out_bytes += ret_frame->len;
            turn.path->out_records++;
            gw_path_check_renewal (session, number);
            return TRUE;
        }
    return FALSE;
}
