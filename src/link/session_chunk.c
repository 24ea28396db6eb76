/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-internal.h"

#include <string.h>

/* --- memory -------------------------------------------------------------------------------------------- */

/* One block is always left for each lane, so that no lane waits for the reader of another; of the
 * rest a quarter is kept for classes above DISK. */
static gboolean
has_block (const GwSession *session, const GwSessionLane *lane)
{
    guint shared = session->max_out_blocks - GW_SESSION_LANES;
    if (lane->n_blocks == 0)
        return TRUE;
    return session->out_blocks < (lane->class >= GW_CLASS_DISK ? shared - shared / 4 : shared);
}

GwChunk *
gw_chunk_new (GwSession *session, GwSessionLane *lane, gsize more)
{
    gboolean is_ahead = lane->unsent_bytes + more >= GW_SESSION_UNSENT;
    gboolean is_spooled = is_ahead || !has_block (session, lane);
    if (is_spooled && lane->spool_used + GW_LINK_PAYLOAD > lane->spool_bytes)
        return NULL;
    GwChunk *chunk = gw_pool_take (&session->chunks);
    memset (chunk, 0, sizeof *chunk);
    chunk->type = GW_LINK_DATA;
    chunk->len = GW_LINK_HEAD;
    chunk->path = CHUNK_WAITS;
    chunk->is_spooled = is_spooled;
    if (is_spooled) {
        lane->spool_used += GW_LINK_PAYLOAD;
        session->spooled_bytes += GW_LINK_PAYLOAD;
    } else {
        lane->n_blocks++;
        session->out_blocks++;
    }
    gw_session_note_memory (session);
    return chunk;
}

void
gw_chunk_free (GwSession *session, GwSessionLane *lane, GwChunk *chunk)
{
    if (chunk->path >= 0 && chunk->path < GW_SESSION_PATHS)
        session->paths[chunk->path].n_chunks--;
    if (chunk->was_sent)
        lane->n_flight--;
    else
        lane->unsent_bytes -= chunk->type == GW_LINK_DATA ? chunk->units : 0;
    if (chunk->type != GW_LINK_DATA) {
        g_free (chunk);
        return;
    }
    if (chunk->is_spooled) {
        lane->spool_used -= GW_LINK_PAYLOAD;
        session->spooled_bytes -= GW_LINK_PAYLOAD;
    } else {
        lane->n_blocks--;
        session->out_blocks--;
    }
    gw_pool_give (&session->chunks, chunk);
}

/* --- the list ------------------------------------------------------------------------------------------ */

void
gw_chunk_append (GwSessionLane *lane, GwChunk *chunk)
{
    chunk->next = NULL;
    chunk->start = lane->end;
    lane->end += chunk->units;
    if (chunk->type == GW_LINK_DATA)
        lane->unsent_bytes += chunk->units;
    if (lane->tail == NULL)
        lane->head = chunk;
    else
        lane->tail->next = chunk;
    lane->tail = chunk;
    if (lane->cursor == NULL)
        lane->cursor = chunk;
}

void
gw_chunk_append_unit (GwSessionLane *lane, GwLinkType type)
{
    gsize payload = type == GW_LINK_OPEN ? strlen (lane->name) : 0;
    GwChunk *chunk = g_malloc0 (sizeof *chunk + GW_LINK_HEAD + payload);
    chunk->type = (uint8_t) type;
    chunk->path = CHUNK_WAITS;
    chunk->units = 1;
    chunk->len = (uint32_t) (GW_LINK_HEAD + payload);
    if (payload > 0)
        memcpy (chunk->frame + GW_LINK_HEAD, lane->name, payload);
    gw_chunk_append (lane, chunk);
}

static void
find_cursor (GwSessionLane *lane, GwChunk *from)
{
    while (from != NULL && from->path != CHUNK_WAITS)
        from = from->next;
    lane->cursor = from;
}

gboolean
gw_chunk_acknowledge (GwSession *session, GwSessionLane *lane, uint64_t ack)
{
    while (lane->head != NULL && lane->head->start + lane->head->units <= ack) {
        GwChunk *chunk = lane->head;
        lane->head = chunk->next;
        if (lane->head == NULL)
            lane->tail = NULL;
        if (lane->cursor == chunk)
            find_cursor (lane, chunk->next);
        if (chunk->type == GW_LINK_DATA)
            lane->counters.acked_bytes += chunk->units;
        gw_chunk_free (session, lane, chunk);
    }
    if (lane->head != NULL && lane->head->start < ack)
        return FALSE;
    lane->acked = MAX (lane->acked, ack);
    return TRUE;
}

void
gw_chunk_truncate (GwSession *session, GwSessionLane *lane)
{
    GwChunk *last = NULL, *chunk = lane->head;
    for (; chunk != NULL && chunk->was_sent; chunk = chunk->next)
        last = chunk;
    while (chunk != NULL) {
        GwChunk *next = chunk->next;
        lane->end -= chunk->units;
        lane->has_lost = lane->has_lost || chunk->type == GW_LINK_DATA;
        gw_chunk_free (session, lane, chunk);
        chunk = next;
    }
    lane->tail = last;
    if (last == NULL)
        lane->head = NULL;
    else
        last->next = NULL;
    find_cursor (lane, lane->head);
}

void
gw_chunk_drop_all (GwSession *session, GwSessionLane *lane)
{
    GwChunk *lists[] = { lane->head, lane->spare };
    lane->head = lane->tail = lane->cursor = lane->spare = NULL;
    lane->is_tail_reserved = FALSE;
    for (guint i = 0; i < G_N_ELEMENTS (lists); i++)
        for (GwChunk *chunk = lists[i], *next; chunk != NULL; chunk = next) {
            next = chunk->next;
            gw_chunk_free (session, lane, chunk);
        }
}

/* The peer must hear of the lane before it can hear that it is over. */
void
gw_chunk_keep_open (GwSession *session, GwSessionLane *lane)
{
    GwChunk *open = lane->head;
    g_assert (open != NULL && open->type == GW_LINK_OPEN);
    lane->head = open->next;
    gw_chunk_drop_all (session, lane);
    open->next = NULL;
    lane->head = lane->tail = open;
    lane->end = 1;
    find_cursor (lane, open);
}

/* An end that is not acknowledged is sent again whichever path has gone, for that path may have
 * carried the acknowledgement, and who has taken the end may have forgotten the lane. */
static uint64_t
requeue_lane (GwSession *session, GwSessionLane *lane, int path, gboolean has_lost)
{
    uint64_t bytes = 0;
    for (GwChunk *chunk = lane->head; chunk != NULL; chunk = chunk->next) {
        gboolean is_end = has_lost && chunk->type == GW_LINK_EOF && chunk->path != CHUNK_WAITS;
        if (chunk->path != path && !is_end)
            continue;
        if (chunk->path < GW_SESSION_PATHS)
            session->paths[chunk->path].n_chunks--;
        chunk->path = CHUNK_WAITS;
        if (chunk->type == GW_LINK_DATA)
            bytes += chunk->units;
    }
    find_cursor (lane, lane->head);
    return bytes;
}

uint64_t
gw_chunk_requeue (GwSession *session, int path, gboolean has_lost)
{
    uint64_t bytes = 0;
    for (guint i = 0; i < session->n_lanes; i++) {
        uint64_t lane_bytes = requeue_lane (session, session->lanes[i], path, has_lost);
        session->lanes[i]->counters.resent_bytes += lane_bytes;
        bytes += lane_bytes;
    }
    session->counters.resent_bytes += bytes;
    return bytes;
}

static void
remind (GwSession *session, GwChunk *chunk)
{
    if (chunk->is_overdue) {
        if (chunk->path < GW_SESSION_PATHS)
            session->paths[chunk->path].n_chunks--;
        chunk->path = CHUNK_WAITS;
    }
    chunk->is_overdue = !chunk->is_overdue;
}

gboolean
gw_chunk_remind (GwSession *session, GwSessionLane *lane)
{
    GwChunk *const ends[] = { lane->head, lane->tail == lane->head ? NULL : lane->tail };
    gboolean is_out = FALSE;
    for (guint i = 0; i < G_N_ELEMENTS (ends); i++) {
        if (ends[i] == NULL || ends[i]->type == GW_LINK_DATA || ends[i]->path == CHUNK_WAITS)
            continue;
        remind (session, ends[i]);
        is_out = TRUE;
    }
    find_cursor (lane, lane->head);
    return is_out;
}

void
gw_chunk_move (GwSession *session, int from, int to)
{
    for (guint i = 0; i < session->n_lanes; i++)
        for (GwChunk *chunk = session->lanes[i]->head; chunk != NULL; chunk = chunk->next)
            if (chunk->path == from)
                chunk->path = to;
    session->paths[from].n_chunks = 0;
}

/* OPENs go one after the other, so that the peer sees them in order over any paths. */
GwChunk *
gw_chunk_next (const GwSession *session, const GwSessionLane *lane)
{
    GwChunk *chunk = lane->cursor;
    if (chunk == NULL || chunk->start + chunk->units > lane->peer_limit)
        return NULL;
    if (chunk->type == GW_LINK_OPEN && lane->index != session->n_known)
        return NULL;
    if (!chunk->was_sent && lane->n_flight >= FLIGHT_CHUNKS)
        return NULL;
    return chunk;
}

void
gw_chunk_sent (GwSession *session, GwSessionLane *lane, GwChunk *chunk, int path)
{
    g_assert (chunk->path == CHUNK_WAITS);
    if (!chunk->was_sent) {
        GwLinkFrame head = { .type = chunk->type,
                             .lane = lane->id,
                             .length = chunk->len - GW_LINK_HEAD,
                             .sequence = chunk->start };
        gw_link_frame_store (chunk->frame, &head);
        chunk->was_sent = TRUE;
        lane->n_flight++;
        if (chunk->type == GW_LINK_DATA)
            lane->unsent_bytes -= chunk->units;
        lane->sent_end = chunk->start + chunk->units;
    }
    chunk->path = path;
    chunk->is_overdue = FALSE;
    session->paths[path].n_chunks++;
    find_cursor (lane, chunk->next);
}
