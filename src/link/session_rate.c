/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How fast a path is and how long, and the window that follows from it. */
#include "session-internal.h"

#define MARK_BYTES (32 * 1024)        /* between two marks */
#define RATE_PERIOD_US G_USEC_PER_SEC /* over which the greatest rate counts */
#define RATE_SPAN_US 25000            /* of one sample: shapers let a few ms through at once */
#define RTT_PERIOD_US (10 * G_USEC_PER_SEC)
#define DRAIN_MAX_US 200000
#define FLAT_ROUNDS 3

gint64
gw_path_min_rtt (const GwSessionPath *path)
{
    gint64 a = path->rtt_min[0], b = path->rtt_min[1];
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* The least round trip is that of two periods.  At the turn the queue that we build ourselves is let
 * run empty, or else it would be taken for a part of the way. */
static void
note_rtt (GwSessionPath *path, gint64 rtt_us, gint64 now_us)
{
    rtt_us = MAX (rtt_us, 1);
    if (now_us - path->rtt_turn_us >= RTT_PERIOD_US) {
        path->rtt_turn_us = now_us;
        path->rtt_min[1] = path->rtt_min[0];
        path->rtt_min[0] = 0;
        path->drain_until_us = now_us + MIN (gw_path_min_rtt (path) + 2 * ACK_US, DRAIN_MAX_US);
        path->must_ping = TRUE;
    }
    if (path->rtt_min[0] == 0 || rtt_us < path->rtt_min[0])
        path->rtt_min[0] = rtt_us;
}

static void
note_rate (GwSessionPath *path, uint64_t rate, gint64 now_us)
{
    if (path->was_limited && now_us - path->rate_turn_us >= RATE_PERIOD_US) {
        path->rate_turn_us = now_us;
        path->was_limited = FALSE;
        path->rate_max[1] = path->rate_max[0];
        path->rate_max[0] = 0;
    }
    path->rate_max[0] = MAX (path->rate_max[0], rate);
}

uint64_t
gw_path_rate (const GwSessionPath *path)
{
    return MAX (path->rate_max[0], path->rate_max[1]);
}

/* A round is what was in flight at its start.  The start of a path ends when the rate did not grow by
 * a quarter in three rounds; its greatest rates are of bursts and count no more then. */
static void
note_round (GwSessionPath *path, uint64_t rate)
{
    if (path->acked_chunk_bytes < path->round_end)
        return;
    path->round_end = path->out_chunk_bytes;
    if (gw_path_rate (path) >= path->full_rate + path->full_rate / 4) {
        path->full_rate = gw_path_rate (path);
        path->n_flat_rounds = 0;
    } else if (path->was_limited) {
        path->n_flat_rounds++;
        if (path->n_flat_rounds == FLAT_ROUNDS) {
            path->rate_max[0] = rate;
            path->rate_max[1] = 0;
        }
    }
}

static gboolean
is_starting (const GwSessionPath *path)
{
    return path->n_flat_rounds < FLAT_ROUNDS;
}

static void
start_span (GwSessionPath *path, gint64 now_us)
{
    path->span_us = now_us;
    path->span_bytes = path->acked_chunk_bytes;
}

/* Later a sample is what came in some milliseconds: over a single round trip the greatest would be that
 * of acks which were late together. */
static void
note_span (GwSessionPath *path, gint64 now_us)
{
    gint64 took_us = now_us - path->span_us;
    if (took_us < RATE_SPAN_US)
        return;
    note_rate (path, (path->acked_chunk_bytes - path->span_bytes) * G_USEC_PER_SEC /
                         (uint64_t) took_us, now_us);
    start_span (path, now_us);
}

void
gw_session_path_unacked (GwSession *session, int number, gsize bytes)
{
    GwSessionPath *path = &session->paths[number];
    path->is_told = TRUE;
    path->unacked_bytes = bytes;
    path->told_at = path->out_chunk_bytes;
}

void
gw_session_set_network_us (GwSession *session, guint us)
{
    session->network_us = CLAMP (us, GW_SESSION_NETWORK_US, GW_SESSION_LOOP_US);
}

void
gw_session_path_full (GwSession *session, int number)
{
    session->paths[number].was_limited = TRUE;
}

void
gw_path_sent_chunk (GwSessionPath *path, gsize len, gint64 now_us)
{
    if (path->out_chunk_bytes == path->acked_chunk_bytes) {
        path->delivered_us = now_us;
        start_span (path, now_us);
    }
    path->out_chunk_bytes += len;
    gboolean is_due = path->n_marks == 0 || path->out_chunk_bytes - path->last_mark >= MARK_BYTES;
    if (!is_due || path->n_marks == MARKS)
        return;
    path->last_mark = path->out_chunk_bytes;
    path->marks[(path->first_mark + path->n_marks++) % MARKS] =
        (GwMark){ .end = path->out_chunk_bytes,
                  .delivered = path->acked_chunk_bytes,
                  .sent_us = now_us,
                  .delivered_us = path->delivered_us };
}

void
gw_path_acknowledge (GwSessionPath *path, uint64_t bytes, gint64 now_us)
{
    if (bytes <= path->acked_chunk_bytes)
        return;
    path->acked_chunk_bytes = bytes;
    path->delivered_us = now_us;
    GwMark mark = { 0 };
    while (path->n_marks > 0 && path->marks[path->first_mark].end <= bytes) {
        mark = path->marks[path->first_mark];
        path->first_mark = (path->first_mark + 1) % MARKS;
        path->n_marks--;
    }
    if (!is_starting (path))
        note_span (path, now_us);
    if (mark.end == 0)
        return;
    note_rtt (path, now_us - mark.sent_us, now_us);
    if (!is_starting (path))
        return;
    uint64_t took_us = (uint64_t) MAX (now_us - mark.delivered_us, 1);
    uint64_t rate = (bytes - mark.delivered) * G_USEC_PER_SEC / took_us;
    note_rate (path, rate, now_us);
    note_round (path, rate);
    start_span (path, now_us);
}

gsize
gw_path_window (const GwSessionPath *path, gint64 queue_us, gint64 least_us, gint64 now_us)
{
    gint64 rtt_us = gw_path_min_rtt (path);
    gsize least = (gsize) least_us * WINDOW_PATH_RATE;
    if (is_starting (path)) /* twice as much each round */
        return MAX ((gsize) (gw_path_rate (path) / 1000 * (uint64_t) (rtt_us + queue_us) / 500),
                    2 * least);
    /* the quarter is for a way whose length varies: its window must not shrink with the rate that
     * the window itself allows */
    gint64 way_us = now_us < path->drain_until_us ? rtt_us * 3 / 4
                                                  : rtt_us + rtt_us / 4 + queue_us;
    return MAX ((gsize) (gw_path_rate (path) / 1000 * (uint64_t) way_us / 1000), least);
}

/* The clock is read off the sample of the least round trip, as the error is at most half of it. */
void
gw_path_pong (GwSession *session, GwSessionPath *path, const uint8_t *payload, gint64 now_us)
{
    uint64_t t1 = (uint64_t) path->ping_us, t2 = gw_load_be64 (payload);
    uint64_t t3 = gw_load_be64 (payload + 8), t4 = (uint64_t) now_us;
    gint64 whole_us = MAX (now_us - path->ping_us, 1);
    gint64 away_us = (gint64) (t3 - t2);
    gint64 rtt_us = away_us > 0 && away_us < whole_us ? whole_us - away_us : whole_us;
    path->rtt_us = (guint) MIN (rtt_us, G_MAXINT);
    path->samples[path->n_samples++ % SAMPLES] = path->rtt_us;
    note_rtt (path, rtt_us, now_us);
    if (path->clock_error_us < 0 || rtt_us / 2 < path->clock_error_us) {
        path->clock_error_us = rtt_us / 2;
        path->clock_offset_us = (gint64) (t2 - t1) / 2 + (gint64) (t3 - t4) / 2;
    }
    path->rtt_least = path->rtt_least == 0 ? path->rtt_us : MIN (path->rtt_least, path->rtt_us);
    if (session->probe_us != 0 && path->ping_us >= session->probe_us) {
        path->has_answered = TRUE;
        session->probe_worst_us = MAX (session->probe_worst_us, rtt_us);
    }
    path->ping_wait_us = path->ping_us = 0;
    path->next_ping_us = now_us + session->config.ping_ms * G_GINT64_CONSTANT (1000);
    gw_session_check_probe (session, now_us);
}
