/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-internal.h"

#include <string.h>

/* --- states ---------------------------------------------------------------------------------------------- */

static const GwState out_states[] = {
    /* OPEN is a chunk; what the program writes waits behind it */
    [OUT_OPENING] = { "opening", BIT (OUT_FLOWING) | BIT (OUT_ENDING) | BIT (OUT_BROKEN),
                      GW_STATE_INITIAL },
    [OUT_FLOWING] = { "flowing", BIT (OUT_ENDING) | BIT (OUT_BROKEN), 0 },
    /* nothing more is taken from the program; the peer's ack ends it */
    [OUT_ENDING] = { "ending", BIT (OUT_ENDED) | BIT (OUT_BROKEN), 0 },
    [OUT_ENDED] = { "ended", 0, GW_STATE_FINAL },
    [OUT_BROKEN] = { "broken", 0, GW_STATE_FINAL | GW_STATE_FAILURE },
};
static const GwMachineTable out_table = { "lane-out", out_states, G_N_ELEMENTS (out_states) };

static const GwState in_states[] = {
    /* the limit is 1: nothing but OPEN */
    [IN_OFFERED] = { "offered", BIT (IN_FLOWING) | BIT (IN_BROKEN), GW_STATE_INITIAL },
    [IN_FLOWING] = { "flowing", BIT (IN_STOPPED) | BIT (IN_DRAINING) | BIT (IN_BROKEN), 0 },
    /* what comes is dropped; the peer's EOF ends it */
    [IN_STOPPED] = { "stopped", BIT (IN_ENDED) | BIT (IN_BROKEN), 0 },
    /* nothing more comes; the program ends it by taking the last byte */
    [IN_DRAINING] = { "draining", BIT (IN_ENDED) | BIT (IN_BROKEN), 0 },
    [IN_ENDED] = { "ended", 0, GW_STATE_FINAL },
    [IN_BROKEN] = { "broken", 0, GW_STATE_FINAL | GW_STATE_FAILURE },
};
static const GwMachineTable in_table = { "lane-in", in_states, G_N_ELEMENTS (in_states) };

static const char *const class_names[] = { "control", "return", "urgent", "device", "disk", "bulk" };
G_STATIC_ASSERT (G_N_ELEMENTS (class_names) == GW_N_CLASSES);

const char *
gw_link_class_name (guint class)
{
    return class < GW_N_CLASSES ? class_names[class] : "unknown";
}

GwLinkClass
gw_link_class_from_name (const char *name)
{
    guint i = 0;
    while (i < GW_N_CLASSES && strcmp (name, class_names[i]) != 0)
        i++;
    return i;
}

/* --- life ------------------------------------------------------------------------------------------------ */

/* Raises the window towards `bytes` as far as the memory allows: each lane that may yet be opened
 * must find its floor. */
static void
grow_window (GwSession *session, GwSessionLane *lane, gsize bytes)
{
    gsize kept = (GW_SESSION_LANES - session->n_lanes) * WINDOW_FLOOR;
    gsize most = session->in_budget - MIN (kept, session->in_budget);
    gsize left = most - MIN (session->in_reserved, most);
    gsize more = bytes > lane->window ? MIN (bytes - lane->window, left) : 0;
    lane->window += more;
    session->in_reserved += more;
}

GwSessionLane *
gw_lane_find (GwSession *session, uint16_t id)
{
    for (guint i = 0; i < session->n_lanes; i++)
        if (session->lanes[i]->id == id)
            return session->lanes[i];
    return NULL;
}

/* Ids: the source's lanes are even, the destination's odd, each counted up. */
GwSessionLane *
gw_lane_new (GwSession *session, const char *name, gsize len, gboolean is_ours)
{
    GwSessionLane *lane = g_new0 (GwSessionLane, 1);
    gboolean is_even = is_ours == (session->config.side == GW_SIDE_SOURCE);
    lane->index = session->n_opened[is_ours]++;
    lane->id = (uint16_t) (2 * lane->index + (is_even ? 0 : 1));
    memcpy (lane->name, name, MIN (len, GW_LINK_NAME_MAX));
    lane->is_ours = is_ours;
    lane->is_known = !is_ours;
    gw_machine_init (&lane->out, &out_table, NULL, NULL);
    gw_machine_init (&lane->in, &in_table, NULL, NULL);
    session->lanes[session->n_lanes++] = lane;
    lane->peer_limit = 1;
    lane->said_limit = 1;
    if (!is_ours)
        lane->end = lane->sent_end = lane->acked = 1; /* OPEN goes one way only */
    lane->next = lane->consumed = 1; /* theirs: OPEN has come */
    lane->window = WINDOW_FLOOR;
    session->in_reserved += WINDOW_FLOOR;
    return lane;
}

void
gw_lane_free (GwSession *session, GwSessionLane *lane)
{
    guint i = 0;
    while (session->lanes[i] != lane)
        i++;
    session->lanes[i] = session->lanes[--session->n_lanes];
    lane->is_known = TRUE; /* so that nothing is kept for it */
    gw_lane_break (session, lane);
    session->in_reserved -= lane->window;
    g_free (lane->why);
    g_free (lane);
}

GwSessionLane *
gw_session_open (GwSession *session, const char *name, GwLinkClass class, gpointer user_data)
{
    if (session->n_lanes == GW_SESSION_LANES || session->machine.state != SESSION_ACTIVE ||
        session->n_opened[TRUE] > UINT16_MAX / 2)
        return NULL;
    GwSessionLane *lane = gw_lane_new (session, name, strlen (name), TRUE);
    lane->class = class;
    lane->user_data = user_data;
    gw_machine_move (&lane->in, IN_FLOWING);
    grow_window (session, lane, GW_SESSION_WINDOW_MIN);
    gw_chunk_append_unit (lane, GW_LINK_OPEN);
    return lane;
}

void
gw_session_accept (GwSession *session, GwSessionLane *lane, GwLinkClass class, gpointer user_data)
{
    lane->class = class;
    lane->user_data = user_data;
    if (lane->in.state != IN_OFFERED) /* reset by the peer meanwhile */
        return;
    gw_machine_move (&lane->in, IN_FLOWING);
    gw_machine_move (&lane->out, OUT_FLOWING);
    grow_window (session, lane, GW_SESSION_WINDOW_MIN);
    lane->must_ack = TRUE;
}

void
gw_lane_known (GwSession *session, GwSessionLane *lane)
{
    if (lane->is_known)
        return;
    lane->is_known = TRUE;
    session->n_known = lane->index + 1;
    lane->must_ack = TRUE; /* the peer may write, too */
}

void
gw_lane_accepted (GwSession *session, GwSessionLane *lane)
{
    if (lane->is_accepted || !lane->is_ours || gw_machine_is_final (&lane->out))
        return;
    lane->is_accepted = TRUE;
    if (lane->out.state == OUT_OPENING)
        gw_machine_move (&lane->out, OUT_FLOWING);
    gw_session_emit (session, GW_SESSION_LANE_ACCEPTED)->lane = lane;
}

/* --- outwards ----------------------------------------------------------------------------------------------- */

static gboolean
takes_bytes (const GwSessionLane *lane)
{
    return lane->out.state == OUT_FLOWING ||
           (lane->out.state == OUT_OPENING && lane->is_ours);
}

static void
give_spare_back (GwSession *session, GwSessionLane *lane)
{
    while (lane->spare != NULL) {
        GwChunk *chunk = lane->spare;
        lane->spare = chunk->next;
        gw_chunk_free (session, lane, chunk);
    }
    lane->is_tail_reserved = FALSE;
}

static gboolean
has_tail_room (const GwSessionLane *lane)
{
    const GwChunk *tail = lane->tail;
    return tail != NULL && tail->type == GW_LINK_DATA && !tail->was_sent &&
           tail->len < GW_LINK_RECORD;
}

guint
gw_session_reserve (GwSession *session, GwSessionLane *lane, struct iovec *pieces, guint n)
{
    guint count = 0;
    give_spare_back (session, lane);
    if (!takes_bytes (lane))
        return 0;
    if (n > 0 && has_tail_room (lane)) {
        GwChunk *tail = lane->tail;
        pieces[count++] = (struct iovec){ tail->frame + tail->len, GW_LINK_RECORD - tail->len };
        lane->is_tail_reserved = TRUE;
    }
    for (GwChunk **end = &lane->spare; count < n; end = &(*end)->next, count++) {
        *end = gw_chunk_new (session, lane, (gsize) count * GW_LINK_PAYLOAD);
        if (*end == NULL)
            break;
        pieces[count] = (struct iovec){ (*end)->frame + GW_LINK_HEAD, GW_LINK_PAYLOAD };
    }
    return count;
}

static gsize
fill_tail (GwSessionLane *lane, gsize bytes)
{
    GwChunk *tail = lane->tail;
    gsize part = MIN (bytes, GW_LINK_RECORD - tail->len);
    g_assert (!tail->was_sent);
    tail->len += (uint32_t) part;
    tail->units += (uint32_t) part;
    lane->end += part;
    lane->unsent_bytes += part;
    return part;
}

void
gw_session_commit (GwSession *session, GwSessionLane *lane, gsize bytes)
{
    if (!takes_bytes (lane)) {
        lane->has_lost = lane->has_lost || bytes > 0;
        give_spare_back (session, lane);
        return;
    }
    lane->counters.out_bytes += bytes;
    if (lane->is_tail_reserved)
        bytes -= fill_tail (lane, bytes);
    while (bytes > 0) {
        GwChunk *chunk = lane->spare;
        g_assert (chunk != NULL);
        lane->spare = chunk->next;
        chunk->units = (uint32_t) MIN (bytes, GW_LINK_PAYLOAD);
        chunk->len = GW_LINK_HEAD + chunk->units;
        gw_chunk_append (lane, chunk);
        bytes -= chunk->units;
    }
    give_spare_back (session, lane);
}

void
gw_session_end (GwSession *session, GwSessionLane *lane)
{
    give_spare_back (session, lane);
    if (!takes_bytes (lane))
        return;
    gw_machine_move (&lane->out, OUT_ENDING);
    gw_chunk_append_unit (lane, GW_LINK_EOF);
}

/* What was never sent need not be any more; the end comes right after what was. */
void
gw_lane_stopped (GwSession *session, GwSessionLane *lane)
{
    give_spare_back (session, lane);
    if (lane->out.state != OUT_FLOWING && lane->out.state != OUT_ENDING)
        return;
    gboolean was_flowing = lane->out.state == OUT_FLOWING;
    GwChunk *last = lane->tail;
    if (was_flowing || (last != NULL && !last->was_sent)) {
        gw_chunk_truncate (session, lane);
        gw_chunk_append_unit (lane, GW_LINK_EOF);
    }
    if (!was_flowing)
        return;
    gw_machine_move (&lane->out, OUT_ENDING);
    gw_session_emit (session, GW_SESSION_LANE_STOPPED)->lane = lane;
}

void
gw_session_spool (GwSession *session, GwSessionLane *lane, gsize bytes)
{
    lane->spool_bytes = bytes;
}

/* --- inwards ------------------------------------------------------------------------------------------------- */

uint64_t
gw_lane_limit (const GwSessionLane *lane)
{
    return lane->in.state == IN_OFFERED ? 1 : lane->consumed + lane->window;
}

/* Once a round trip: the window becomes twice what came. */
void
gw_lane_measure (GwSession *session, GwSessionLane *lane, gint64 now_us)
{
    gint64 round_us = ACK_US;
    if (now_us - lane->round_us < round_us)
        return;
    for (guint i = 0; i < GW_SESSION_PATHS; i++)
        if (gw_path_can_send (&session->paths[i]))
            round_us = MAX (round_us, gw_path_min_rtt (&session->paths[i]));
    if (now_us - lane->round_us < round_us)
        return;
    if (lane->round_us != 0)
        grow_window (session, lane, 2 * (gsize) (lane->next - lane->round_next));
    lane->round_us = now_us;
    lane->round_next = lane->next;
}

guint
gw_session_peek (GwSession *session, GwSessionLane *lane, struct iovec *pieces, guint n)
{
    guint count = 0;
    for (GwPiece *piece = lane->ready; piece != NULL && count < n; piece = piece->next) {
        const uint8_t *bytes = piece->record.packet == NULL ? piece->block
                                                            : piece->record.data + GW_LINK_HEAD;
        pieces[count++] = (struct iovec){ (void *) (bytes + piece->taken),
                                          piece->len - piece->taken };
    }
    return count;
}

static void
take_bytes (GwSession *session, GwSessionLane *lane, gsize bytes)
{
    g_assert (bytes <= lane->ready_bytes);
    lane->ready_bytes -= bytes;
    session->in_bytes -= bytes;
    lane->consumed += bytes;
    while (bytes > 0) {
        GwPiece *piece = lane->ready;
        gsize part = MIN (bytes, piece->len - piece->taken);
        piece->taken += (uint32_t) part;
        bytes -= part;
        if (piece->taken < piece->len)
            break;
        lane->ready = piece->next;
        if (lane->ready == NULL)
            lane->ready_tail = NULL;
        gw_piece_free (session, piece);
    }
}

static void
check_drained (GwSession *session, GwSessionLane *lane)
{
    if (lane->in.state == IN_DRAINING && lane->ready_bytes == 0)
        gw_machine_move (&lane->in, IN_ENDED);
    gw_lane_check_over (session, lane);
}

void
gw_session_consume (GwSession *session, GwSessionLane *lane, gsize bytes)
{
    if (bytes == 0 || gw_machine_is_final (&lane->in))
        return;
    take_bytes (session, lane, bytes);
    lane->counters.in_bytes += bytes;
    if (gw_lane_limit (lane) - lane->said_limit >= lane->window / 4)
        lane->must_ack = TRUE;
    check_drained (session, lane);
}

gboolean
gw_session_is_at_end (const GwSessionLane *lane)
{
    return lane->in.state == IN_ENDED;
}

void
gw_session_stop (GwSession *session, GwSessionLane *lane)
{
    if (lane->in.state != IN_FLOWING && lane->in.state != IN_DRAINING)
        return;
    lane->has_lost = lane->has_lost || lane->ready_bytes > 0;
    take_bytes (session, lane, lane->ready_bytes);
    if (lane->in.state == IN_FLOWING) {
        gw_machine_move (&lane->in, IN_STOPPED);
        lane->must_stop = TRUE;
        lane->must_ack = TRUE;
    }
    check_drained (session, lane);
}

/* --- the end --------------------------------------------------------------------------------------------------- */

static void
drop_pieces (GwSession *session, GwPiece **list)
{
    while (*list != NULL) {
        GwPiece *piece = *list;
        *list = piece->next;
        gw_piece_free (session, piece);
    }
}

void
gw_lane_break (GwSession *session, GwSessionLane *lane)
{
    if (lane->is_known)
        gw_chunk_drop_all (session, lane);
    else
        gw_chunk_keep_open (session, lane);
    session->in_bytes -= lane->ready_bytes + lane->held_bytes;
    lane->ready_bytes = lane->held_bytes = 0;
    lane->n_held = 0;
    drop_pieces (session, &lane->ready);
    drop_pieces (session, &lane->held);
    lane->ready_tail = lane->held_tail = NULL;
    lane->must_stop = FALSE;
    if (!gw_machine_is_final (&lane->out))
        gw_machine_move (&lane->out, OUT_BROKEN);
    if (!gw_machine_is_final (&lane->in))
        gw_machine_move (&lane->in, IN_BROKEN);
}

void
gw_session_reset (GwSession *session, GwSessionLane *lane, const char *why)
{
    if (lane->is_over || lane->is_reset_by_us)
        return;
    gw_lane_break (session, lane);
    lane->has_lost = TRUE;
    lane->is_reset_by_us = lane->must_reset = TRUE;
    lane->why = g_strndup (why, GW_LINK_TEXT_MAX);
}

void
gw_lane_check_over (GwSession *session, GwSessionLane *lane)
{
    if (lane->is_over || lane->is_reset_by_us || !gw_machine_is_final (&lane->out) ||
        !gw_machine_is_final (&lane->in))
        return;
    lane->is_over = TRUE;
    session->is_unclean = session->is_unclean || lane->has_lost;
    gw_session_emit (session, GW_SESSION_LANE_OVER)->lane = lane;
}

/* The last acknowledgement is left behind as a note: the peer waits for it. */
void
gw_session_close (GwSession *session, GwSessionLane *lane)
{
    g_assert (lane->is_over);
    if (lane->must_ack)
        gw_session_note (session, (GwNote){ .type = GW_LINK_ACK,
                                            .lane = lane->id,
                                            .ack = lane->next });
    gw_lane_free (session, lane);
    gw_session_check_bye (session);
}

/* --- figures --------------------------------------------------------------------------------------------------- */

const char *
gw_session_lane_name (const GwSessionLane *lane)
{
    return lane->name;
}

gpointer
gw_session_lane_data (const GwSessionLane *lane)
{
    return lane->user_data;
}

void
gw_session_lane_set_class (GwSession *session, GwSessionLane *lane, GwLinkClass class)
{
    lane->class = class;
}

void
gw_session_lane_get_counters (const GwSessionLane *lane, GwLaneCounters *ret_counters)
{
    *ret_counters = lane->counters;
    ret_counters->unsent_bytes = lane->unsent_bytes;
    ret_counters->unacked_bytes = lane->sent_end - MIN (lane->acked, lane->sent_end);
    ret_counters->waiting_bytes = lane->ready_bytes + lane->held_bytes;
}
