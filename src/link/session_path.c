/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-internal.h"

#include <stdlib.h>
#include <string.h>

#define USABLE (BIT (PATH_UP) | BIT (PATH_WANTING) | BIT (PATH_LEAVING))

static const GwState path_states[] = {
    [PATH_DOWN] = { "down", BIT (PATH_UP), GW_STATE_INITIAL },
    [PATH_UP] = { "up", BIT (PATH_WANTING) | BIT (PATH_LEAVING) | BIT (PATH_DEAD) | BIT (PATH_DOWN),
                  0 },
    /* used up: event PATH_WANTED was given; the next path that comes up is its successor */
    [PATH_WANTING] = { "wanting", BIT (PATH_LEAVING) | BIT (PATH_DEAD) | BIT (PATH_DOWN), 0 },
    /* says LEAVE as soon as another path is up */
    [PATH_LEAVING] = { "leaving", BIT (PATH_LEFT) | BIT (PATH_DEAD) | BIT (PATH_DOWN), 0 },
    /* waits for the peer's LEAVE and for the acks of what it carried */
    [PATH_LEFT] = { "left", BIT (PATH_OVER) | BIT (PATH_DEAD) | BIT (PATH_DOWN), 0 },
    [PATH_OVER] = { "over", BIT (PATH_DOWN), 0 },
    [PATH_DEAD] = { "dead", BIT (PATH_DOWN), 0 },
};
static const GwMachineTable path_table = { "path", path_states, G_N_ELEMENTS (path_states) };

gboolean
gw_path_can_send (const GwSessionPath *path)
{
    return path->machine.table != NULL && (USABLE & BIT (path->machine.state)) != 0;
}

guint
gw_path_count (const GwSession *session, int except)
{
    guint n = 0;
    for (int i = 0; i < GW_SESSION_PATHS; i++)
        if (i != except && gw_path_can_send (&session->paths[i]))
            n++;
    return n;
}

guint
gw_path_count_staying (const GwSession *session, int except)
{
    guint n = 0;
    for (int i = 0; i < GW_SESSION_PATHS; i++) {
        const GwSessionPath *path = &session->paths[i];
        if (i != except && gw_path_can_send (path) && path->machine.state != PATH_LEAVING)
            n++;
    }
    return n;
}

/* --- life -------------------------------------------------------------------------------------------------- */

/* Whatever the peer may have missed is said again. */
static void
say_again (GwSession *session)
{
    for (guint i = 0; i < session->n_lanes; i++) {
        GwSessionLane *lane = session->lanes[i];
        lane->must_ack = TRUE;
        lane->must_stop = lane->in.state == IN_STOPPED;
        lane->must_reset = lane->is_reset_by_us;
    }
    for (guint i = 0; i < GW_SESSION_PATHS; i++)
        session->paths[i].must_ack = TRUE;
    session->must_bye = session->must_bye || session->has_said_bye;
}

static void
end_outage (GwSession *session, gint64 now_us)
{
    if (session->outage_us == 0)
        return;
    GwSessionEvent *event = gw_session_emit (session, GW_SESSION_RESUMED);
    event->duration_us = now_us - session->outage_us;
    event->bytes = session->outage_bytes;
    session->counters.outage_us += (uint64_t) event->duration_us;
    session->outage_us = 0;
    session->outage_bytes = 0;
}

/* The first path that wants a successor has it now. */
static void
succeed (GwSession *session)
{
    for (guint i = 0; i < GW_SESSION_PATHS; i++) {
        GwMachine *machine = &session->paths[i].machine;
        if (machine->table == NULL || machine->state != PATH_WANTING)
            continue;
        gw_machine_move (machine, PATH_LEAVING);
        return;
    }
}

int
gw_session_path_up (GwSession *session, guint serial, gint64 now_us)
{
    int number = 0;
    while (number < GW_SESSION_PATHS && session->paths[number].machine.table != NULL &&
           session->paths[number].machine.state != PATH_DOWN)
        number++;
    if (number == GW_SESSION_PATHS)
        return -1;
    succeed (session);
    GwSessionPath *path = &session->paths[number];
    memset (path, 0, sizeof *path);
    gw_machine_init (&path->machine, &path_table, NULL, NULL);
    gw_machine_move (&path->machine, PATH_UP);
    path->serial = serial;
    path->must_ack = path->must_ping = TRUE;
    path->clock_error_us = -1;
    path->heard_us = path->rtt_turn_us = path->rate_turn_us = path->ping_wait_us = now_us;
    session->counters.paths++;
    say_again (session);
    end_outage (session, now_us);
    return number;
}

/* A path that both have left in order has delivered all; what is not acknowledged yet is only sent
 * again if that does not come. */
static void
recover (GwSession *session, int number, gint64 now_us)
{
    GwSessionPath *path = &session->paths[number];
    gboolean is_left = (path->machine.state == PATH_LEFT || path->machine.state == PATH_OVER) &&
                       path->has_peer_left;
    if (!is_left) {
        session->outage_bytes += gw_chunk_requeue (session, number, TRUE);
        return;
    }
    if (path->n_chunks == 0)
        return;
    gw_chunk_move (session, number, CHUNK_LIMBO);
    if (session->limbo_at_us == 0)
        session->limbo_at_us = now_us + session->config.silence_ms * G_GINT64_CONSTANT (1000);
}

void
gw_session_path_down (GwSession *session, int number, const char *reason, gint64 now_us)
{
    GwSessionPath *path = &session->paths[number];
    g_assert (path->machine.table != NULL && path->machine.state != PATH_DOWN);
    if (session->outage_us == 0)
        session->outage_bytes = 0;
    recover (session, number, now_us);
    gw_machine_move (&path->machine, PATH_DOWN);
    g_assert (path->n_chunks == 0);
    say_again (session);
    gw_session_check_outage (session, now_us);
    gw_session_check_probe (session, now_us);
}

void
gw_session_path_leave (GwSession *session, int number, gint64 now_us)
{
    GwMachine *machine = &session->paths[number].machine;
    if (gw_machine_can (machine, PATH_LEAVING))
        gw_machine_move (machine, PATH_LEAVING);
}

/* One direction has carried what its keys may. */
static gboolean
is_used_up (const GwSession *session, const GwSessionPath *path)
{
    return MAX (path->out_bytes, path->in_bytes) >= session->config.renew_bytes ||
           MAX (path->out_records, path->in_records) >= session->config.renew_records;
}

void
gw_path_check_left (GwSession *session, int number)
{
    GwSessionPath *path = &session->paths[number];
    if (path->machine.table == NULL || path->machine.state != PATH_LEFT || !path->has_peer_left ||
        path->n_chunks > 0)
        return;
    gw_machine_move (&path->machine, PATH_OVER);
    session->counters.renewals += is_used_up (session, path);
    gw_session_emit (session, GW_SESSION_PATH_LEFT)->path = number;
}

void
gw_path_check_renewal (GwSession *session, int number)
{
    GwSessionPath *path = &session->paths[number];
    if (path->machine.state != PATH_UP || !is_used_up (session, path))
        return;
    gw_machine_move (&path->machine, PATH_WANTING);
    gw_session_emit (session, GW_SESSION_PATH_WANTED)->path = number;
}

/* --- time -------------------------------------------------------------------------------------------------- */

/* Pings when it is time; finds it dead when nothing was heard since. */
static gint64
tick_path (GwSession *session, int number, gint64 now_us)
{
    GwSessionPath *path = &session->paths[number];
    gint64 silence_us = session->config.silence_ms * G_GINT64_CONSTANT (1000);
    if (path->ping_wait_us == 0 && now_us >= path->next_ping_us) {
        path->ping_wait_us = now_us;
        path->must_ping = TRUE;
    }
    if (path->ping_wait_us == 0)
        return path->next_ping_us;
    gint64 dead_us = MAX (path->ping_wait_us, path->heard_us) + silence_us;
    if (now_us < dead_us)
        return dead_us;
    gw_machine_move (&path->machine, PATH_DEAD);
    GwSessionEvent *event = gw_session_emit (session, GW_SESSION_PATH_DEAD);
    event->path = number;
    g_snprintf (event->text, sizeof event->text, "silent for %u ms", session->config.silence_ms);
    if (session->outage_us == 0)
        session->outage_bytes = 0;
    gw_session_check_outage (session, now_us);
    return G_MAXINT64;
}

/* A path that we have left and the peer has not: it must say so in time. */
static gboolean
is_watched (const GwSessionPath *path)
{
    return gw_path_can_send (path) ||
           (path->machine.table != NULL && path->machine.state == PATH_LEFT);
}

gint64
gw_paths_tick (GwSession *session, gint64 now_us)
{
    gint64 next_us = G_MAXINT64;
    for (int i = 0; i < GW_SESSION_PATHS; i++) {
        GwSessionPath *path = &session->paths[i];
        if (!is_watched (path))
            continue;
        gint64 path_us = tick_path (session, i, now_us);
        next_us = MIN (next_us, path_us);
        if (gw_path_can_send (path) && path->ack_at_us != 0)
            next_us = MIN (next_us, path->ack_at_us);
        if (path->drain_until_us > now_us)
            next_us = MIN (next_us, path->drain_until_us);
    }
    if (session->limbo_at_us != 0 && now_us >= session->limbo_at_us) {
        session->limbo_at_us = 0;
        gw_chunk_requeue (session, CHUNK_LIMBO, TRUE);
    }
    return session->limbo_at_us == 0 ? next_us : MIN (next_us, session->limbo_at_us);
}

/* --- figures ----------------------------------------------------------------------------------------------- */

static int
compare_guint (const void *a, const void *b)
{
    guint x = *(const guint *) a, y = *(const guint *) b;
    return x < y ? -1 : x > y;
}

gboolean
gw_session_path_get_counters (const GwSession *session, int number, GwPathCounters *ret_counters)
{
    const GwSessionPath *path = &session->paths[number];
    if (path->machine.table == NULL || path->machine.state == PATH_DOWN)
        return FALSE;
    guint sorted[SAMPLES], n = MIN (path->n_samples, SAMPLES);
    memcpy (sorted, path->samples, n * sizeof sorted[0]);
    qsort (sorted, n, sizeof sorted[0], compare_guint);
    *ret_counters = (GwPathCounters){
        .out_bytes = path->out_bytes,
        .in_bytes = path->in_bytes,
        .out_records = path->out_records,
        .in_records = path->in_records,
        .rtt_us = path->rtt_us,
        .min_rtt_us = path->rtt_least,
        .p50_rtt_us = n == 0 ? 0 : sorted[n / 2],
        .p99_rtt_us = n == 0 ? 0 : sorted[n * 99 / 100],
        .clock_offset_us = path->clock_offset_us,
        .clock_error_us = path->clock_error_us,
        .rate = gw_path_rate (path),
        .flight_bytes = path->out_chunk_bytes - path->acked_chunk_bytes,
        .serial = path->serial,
    };
    return TRUE;
}
