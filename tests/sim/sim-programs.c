/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The programs at the lanes' ends: they write what can be checked, and check what they read. */
#include "sim.h"

#include <stdlib.h>

static uint8_t
byte_at (const SimWorld *world, guint lane, int writer, gsize offset)
{
    uint64_t x = offset * 0x9e3779b97f4a7c15u + world->seed * 31 + lane * 7 + (guint) writer;
    return (uint8_t) ((x ^ (x >> 29)) >> 16);
}

static void
init_flow (SimWorld *world, SimFlow *flow)
{
    SimRandom *random = &world->random;
    flow->total = (gsize) sim_between (random, 0, sim_chance (random, 50) ? 300000 : 5000);
    if (sim_chance (random, 3))
        flow->total *= 20;
    flow->pace_us = sim_chance (random, 50) ? 0 : (guint) sim_between (random, 10, 5000);
    flow->chunk = (guint) sim_between (random, flow->total / 500 + 1, 60000);
    flow->read_us = sim_chance (random, 60) ? 0 : (guint) sim_between (random, 10, 20000);
    flow->read_chunk = (guint) sim_between (random, flow->total / 200 + 1, 100000);
    flow->read_at_us = sim_chance (random, 10) ? (gint64) sim_between (random, 1, 15000000) : 0;
    flow->stop_at = sim_chance (random, 7) ? (gsize) sim_between (random, 0, flow->total) : SIZE_MAX;
    flow->is_endless = flow->stop_at != SIZE_MAX && sim_chance (random, 50);
}

void
sim_programs_init (SimWorld *world)
{
    SimRandom *random = &world->random;
    world->n_lanes = (guint) sim_between (random, 1, MAX_LANES);
    for (guint i = 0; i < world->n_lanes; i++) {
        SimLane *lane = &world->lanes[i];
        lane->opener = sim_chance (random, 30);
        lane->open_at_us = world->now_us + (gint64) sim_between (random, 0, 3000000);
        if (sim_chance (random, 8)) {
            lane->reset_at_us = lane->open_at_us + (gint64) sim_between (random, 0, 3000000);
            lane->resetter = sim_chance (random, 50);
        }
        lane->spool = sim_chance (random, 10) ? (gsize) sim_between (random, 1, 40) * 16384 : 0;
        world->spools += lane->spool;
        init_flow (world, &lane->flow[0]);
        init_flow (world, &lane->flow[1]);
    }
}

/* --- writing and reading ----------------------------------------------------------------------------- */

static void
write_some (SimWorld *world, guint number, int end)
{
    SimLane *lane = &world->lanes[number];
    SimFlow *flow = &lane->flow[end];
    struct iovec pieces[4];
    if (flow->has_ended || world->now_us < flow->write_at_us)
        return;
    gsize left = MIN (flow->total - flow->written, flow->chunk), done = 0;
    guint n = left == 0 ? 0 : gw_session_reserve (world->end[end], lane->lane[end], pieces, 4);
    for (guint i = 0; i < n; i++) {
        gsize part = MIN (pieces[i].iov_len, left - done);
        for (gsize k = 0; k < part; k++)
            ((uint8_t *) pieces[i].iov_base)[k] =
                byte_at (world, number, end, flow->written + done + k);
        done += part;
    }
    if (n > 0)
        gw_session_commit (world->end[end], lane->lane[end], done);
    flow->written += done;
    flow->write_at_us = world->now_us + flow->pace_us;
    if (flow->written == flow->total && !flow->is_endless) {
        flow->has_ended = TRUE;
        gw_session_end (world->end[end], lane->lane[end]);
    }
}

static void
check_bytes (SimWorld *world, guint number, int writer, const struct iovec *piece, gsize len)
{
    SimFlow *flow = &world->lanes[number].flow[writer];
    for (gsize k = 0; k < len; k++)
        if (((const uint8_t *) piece->iov_base)[k] !=
            byte_at (world, number, writer, flow->read + k)) {
            sim_fail (world, "lane %u from end %d: wrong byte at %zu", number, writer,
                      flow->read + k);
            return;
        }
    if (flow->read + len > flow->written)
        sim_fail (world, "lane %u from end %d: more bytes than were written", number, writer);
}

static void
read_some (SimWorld *world, guint number, int end)
{
    SimLane *lane = &world->lanes[number];
    SimFlow *flow = &lane->flow[!end];
    struct iovec pieces[3];
    if (flow->has_stopped || world->now_us < flow->read_at_us)
        return;
    if (flow->read >= flow->stop_at) {
        flow->has_stopped = lane->is_dirty = TRUE;
        gw_session_stop (world->end[end], lane->lane[end]);
        return;
    }
    guint n = gw_session_peek (world->end[end], lane->lane[end], pieces, 3);
    gsize left = flow->read_chunk, done = 0;
    for (guint i = 0; i < n && left > done; i++) {
        gsize part = MIN (pieces[i].iov_len, left - done);
        check_bytes (world, number, !end, &pieces[i], part);
        flow->read += part;
        done += part;
    }
    gw_session_consume (world->end[end], lane->lane[end], done);
    world->n_bytes += done;
    flow->read_at_us = world->now_us + flow->read_us;
}

static void
step_lane (SimWorld *world, guint number)
{
    SimLane *lane = &world->lanes[number];
    int opener = (int) lane->opener;
    if (lane->lane[opener] == NULL && !lane->is_over[opener] && world->now_us >= lane->open_at_us) {
        g_autofree char *name = g_strdup_printf ("%u", number);
        lane->lane[opener] = gw_session_open (world->end[opener], name,
                                              (GwLinkClass) sim_between (&world->random, 1, 5),
                                              NULL);
        gw_session_spool (world->end[opener], lane->lane[opener], lane->spool);
    }
    for (int end = 0; end < 2; end++) {
        if (lane->lane[end] == NULL)
            continue;
        if (lane->reset_at_us != 0 && (int) lane->resetter == end &&
            world->now_us >= lane->reset_at_us) {
            lane->reset_at_us = 0;
            lane->is_dirty = TRUE;
            sim_trace (world, end, "resets lane %u", number);
            gw_session_reset (world->end[end], lane->lane[end], "as it was told");
        }
        write_some (world, number, end);
        read_some (world, number, end);
    }
}

void
sim_programs_step (SimWorld *world)
{
    for (guint i = 0; i < world->n_lanes; i++)
        step_lane (world, i);
    for (int end = 0; end < 2; end++) {
        gboolean is_done = !world->has_finished[end];
        for (guint i = 0; i < world->n_lanes; i++)
            is_done = is_done && (world->lanes[i].is_over[end] ||
                                  (world->lanes[i].opener != (guint) end &&
                                   world->lanes[i].lane[end] == NULL));
        if (!is_done)
            continue;
        world->has_finished[end] = TRUE;
        gw_session_finish (world->end[end]);
    }
}

/* --- events --------------------------------------------------------------------------------------------- */

static int
find_lane (const SimWorld *world, int end, const GwSessionLane *lane)
{
    int i = 0;
    while (i < MAX_LANES && world->lanes[i].lane[end] != lane)
        i++;
    g_assert (i < MAX_LANES);
    return i;
}

static void
end_lane (SimWorld *world, int end, int number)
{
    SimLane *lane = &world->lanes[number];
    SimFlow *flow = &lane->flow[!end];
    GwSessionLane *gone = lane->lane[end];
    if (!lane->is_dirty && (flow->read != flow->total || !gw_session_is_at_end (gone)))
        sim_fail (world, "lane %d: end %d read %zu of %zu bytes", number, end, flow->read,
                  flow->total);
    lane->lane[end] = NULL;
    lane->is_over[end] = TRUE;
    gw_session_close (world->end[end], gone);
}

void
sim_programs_event (SimWorld *world, int end, const GwSessionEvent *event)
{
    if (event->type == GW_SESSION_LANE_OFFERED) {
        int number = atoi (gw_session_lane_name (event->lane));
        SimLane *lane = &world->lanes[number];
        lane->lane[end] = event->lane;
        gw_session_accept (world->end[end], event->lane,
                           (GwLinkClass) sim_between (&world->random, 1, 5), NULL);
        gw_session_spool (world->end[end], event->lane, lane->spool);
    } else if (event->type == GW_SESSION_LANE_OVER) {
        end_lane (world, end, find_lane (world, end, event->lane));
    } else if (event->type == GW_SESSION_LANE_RESET || event->type == GW_SESSION_LANE_STOPPED) {
        if (!world->lanes[find_lane (world, end, event->lane)].is_dirty)
            sim_fail (world, "end %d: a lane is reset or stopped that nobody touched", end);
    }
}

gint64
sim_programs_next (const SimWorld *world)
{
    gint64 next_us = G_MAXINT64;
    for (guint i = 0; i < world->n_lanes; i++) {
        const SimLane *lane = &world->lanes[i];
        if (lane->lane[lane->opener] == NULL && !lane->is_over[lane->opener])
            next_us = MIN (next_us, lane->open_at_us);
        for (int end = 0; end < 2; end++) {
            if (lane->lane[end] == NULL)
                continue;
            if (lane->flow[end].write_at_us > world->now_us)
                next_us = MIN (next_us, lane->flow[end].write_at_us);
            if (lane->flow[!end].read_at_us > world->now_us)
                next_us = MIN (next_us, lane->flow[!end].read_at_us);
            if (lane->reset_at_us > world->now_us)
                next_us = MIN (next_us, lane->reset_at_us);
        }
    }
    return next_us;
}
