/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim.h"

#include <stdio.h>
#include <string.h>

/* --- randomness: xorshift64* ------------------------------------------------------------------------ */

uint64_t
sim_random (SimRandom *random)
{
    random->state ^= random->state >> 12;
    random->state ^= random->state << 25;
    random->state ^= random->state >> 27;
    return random->state * 0x2545f4914f6cdd1du;
}

uint64_t
sim_between (SimRandom *random, uint64_t least, uint64_t most)
{
    return most <= least ? least : least + (sim_random (random) >> 11) % (most - least + 1);
}

gboolean
sim_chance (SimRandom *random, guint percent)
{
    return sim_between (random, 0, 99) < percent;
}

/* --- what happened ------------------------------------------------------------------------------------ */

void
sim_trace (SimWorld *world, int end, const char *format, ...)
{
    va_list args;
    if (!world->is_traced)
        return;
    va_start (args, format);
    g_autofree char *text = g_strdup_vprintf (format, args);
    va_end (args);
    printf ("%10.3f ms  %c  %s\n", (double) world->now_us / 1000, end == 0 ? 'S' : 'D', text);
}

void
sim_fail (SimWorld *world, const char *format, ...)
{
    va_list args;
    if (world->failure[0] != '\0')
        return;
    va_start (args, format);
    g_vsnprintf (world->failure, sizeof world->failure, format, args);
    va_end (args);
}

gint64
sim_clock (const SimWorld *world, int end)
{
    return world->now_us + (end == 0 ? 0 : CLOCK_US);
}

/* --- the world ------------------------------------------------------------------------------------------- */

void
sim_world_init (SimWorld *world, uint64_t seed, gboolean is_traced)
{
    *world = (SimWorld){ .seed = seed, .is_traced = is_traced, .now_us = 1000000 };
    SimRandom *random = &world->random;
    random->state = (seed + 1) * 0x9e3779b97f4a7c15u;
    (void) sim_random (random); /* the first is poor */
    world->config = (GwSessionConfig){ .memory_bytes = 4 << 20,
                                       .silence_ms = 2000,
                                       .ping_ms = 250,
                                       .renew_bytes = GW_LINK_REKEY_BYTES,
                                       .renew_records = GW_LINK_REKEY_RECORDS };
    if (sim_chance (random, 30))
        world->config.memory_bytes = 64 << 20;
    if (sim_chance (random, 25))
        world->config.renew_bytes = sim_between (random, 20000, 400000);
    if (sim_chance (random, 10))
        world->config.renew_records = sim_between (random, 20, 500);
    world->n_wanted = (guint) sim_between (random, 1, 3);
    world->faults = (guint) sim_between (random, 0, 63);
    if (sim_chance (random, 70))
        world->faults &= ~(1u << 4);
    world->is_doomed = sim_chance (random, 4);
    world->config.deadline_ms = world->is_doomed ? 5000 : 0;
    for (int i = 0; i < 2; i++) {
        world->config.side = i == 0 ? GW_SIDE_SOURCE : GW_SIDE_DESTINATION;
        world->end[i] = gw_session_new (&world->config);
    }
    world->fault_at_us = world->now_us + (gint64) sim_between (random, 0, 500000);
    sim_programs_init (world);
}

void
sim_world_clear (SimWorld *world)
{
    sim_net_clear (world);
    for (int i = 0; i < 2; i++)
        gw_session_free (world->end[i]);
}

static void
take_event (SimWorld *world, int end, const GwSessionEvent *event)
{
    sim_trace (world, end, "event %d, path %d, %s", event->type, event->path, event->text);
    sim_programs_event (world, end, event);
    SimWire *wire = event->path < 0 ? NULL : sim_net_find (world, end, event->path);
    if (event->type == GW_SESSION_PATH_DEAD && wire != NULL)
        sim_net_drop (world, wire, end, event->text);
    if (event->type == GW_SESSION_PATH_LEFT && wire != NULL)
        sim_net_close (world, wire, end, "left");
    if (event->type == GW_SESSION_PATH_WANTED && end == 0)
        world->dial_at_us = world->now_us + 1;
    if (event->type == GW_SESSION_PATH_WANTED && end == 0)
        sim_net_dial (world);
    if (event->type == GW_SESSION_OVER) {
        world->is_over[end] = TRUE;
        world->is_clean[end] = event->is_clean;
        for (guint i = 0; i < MAX_WIRES; i++)
            if (world->wires[i].is_used && world->wires[i].path[end] >= 0)
                sim_net_close (world, &world->wires[i], end, "over");
    }
    if (event->type == GW_SESSION_EXPIRED)
        world->has_expired[end] = TRUE;
}

static void
check_end (SimWorld *world, int end)
{
    GwSessionCounters counters;
    gw_session_get_counters (world->end[end], &counters);
    gsize most = MAX (world->config.memory_bytes, 4 << 20) + world->spools;
    if (counters.memory_bytes > most)
        sim_fail (world, "end %d holds %zu bytes", end, counters.memory_bytes);
    for (int i = 0; i < GW_SESSION_PATHS; i++) {
        GwPathCounters path;
        gint64 truth_us = end == 0 ? CLOCK_US : -CLOCK_US;
        if (gw_session_path_get_counters (world->end[end], i, &path) && path.clock_error_us >= 0 &&
            ABS (path.clock_offset_us - truth_us) > path.clock_error_us + 2)
            sim_fail (world, "end %d: the clock is off by more than it says", end);
    }
}

static gint64
run_ends (SimWorld *world)
{
    gint64 next_us = G_MAXINT64;
    for (int end = 0; end < 2; end++) {
        GwSessionEvent event;
        gint64 tick_us = gw_session_tick (world->end[end], sim_clock (world, end));
        if (tick_us != G_MAXINT64)
            next_us = MIN (next_us, tick_us - (end == 0 ? 0 : CLOCK_US));
        while (gw_session_next_event (world->end[end], &event))
            take_event (world, end, &event);
        check_end (world, end);
    }
    return next_us;
}

static void
run_dialer (SimWorld *world)
{
    if (world->now_us < world->dial_at_us)
        return;
    if (sim_net_count (world) < world->n_wanted)
        sim_net_dial (world);
    gint64 most_us = sim_chance (&world->random, 5) && world->now_us < CALM_US ? 3000000 : 200000;
    world->dial_at_us = world->now_us + (gint64) sim_between (&world->random, 1000, (uint64_t) most_us);
}

static void
run_faults (SimWorld *world)
{
    if (world->now_us < world->fault_at_us || world->now_us >= CALM_US)
        return;
    sim_net_fault (world);
    guint64 most_us = sim_chance (&world->random, 50) ? 20000 : 2000000;
    world->fault_at_us = world->now_us + (gint64) sim_between (&world->random, 100, most_us);
}

/* All paths go at once, for good. */
static void
run_doom (SimWorld *world)
{
    if (!world->is_doomed || world->now_us < CALM_US)
        return;
    for (guint i = 0; i < MAX_WIRES; i++)
        for (int end = 0; end < 2; end++)
            if (world->wires[i].is_used && world->wires[i].path[end] >= 0)
                sim_net_drop (world, &world->wires[i], end, "doom");
}

static gboolean
is_finished (const SimWorld *world)
{
    return (world->is_over[0] || world->has_expired[0]) &&
           (world->is_over[1] || world->has_expired[1]);
}

static void
check_verdict (SimWorld *world)
{
    gboolean is_dirty = FALSE;
    for (guint i = 0; i < world->n_lanes; i++)
        is_dirty = is_dirty || world->lanes[i].is_dirty;
    for (int end = 0; end < 2; end++) {
        if (world->has_expired[end] && !world->is_doomed)
            sim_fail (world, "end %d expired", end);
        if (world->is_over[end] && !is_dirty && !world->is_clean[end])
            sim_fail (world, "end %d is unclean without reason", end);
        GwSessionCounters counters;
        gw_session_get_counters (world->end[end], &counters);
        if (world->is_over[end] && counters.memory_bytes > 0)
            sim_fail (world, "end %d holds %zu bytes at its end", end, counters.memory_bytes);
    }
}

gboolean
sim_world_run (SimWorld *world)
{
    guint64 n_turns = 0;
    while (!is_finished (world) && world->failure[0] == '\0') {
        run_dialer (world);
        run_faults (world);
        run_doom (world);
        gboolean is_eager = sim_chance (&world->random, 50); /* sends before it looks at events */
        sim_programs_step (world);
        sim_net_receive (world);
        if (is_eager)
            sim_net_send (world);
        gint64 next_us = run_ends (world);
        if (!is_eager)
            sim_net_send (world);
        gint64 others_us[] = { sim_net_next (world), sim_programs_next (world), world->dial_at_us,
                               world->now_us < CALM_US ? world->fault_at_us : G_MAXINT64,
                               world->now_us + 50000 };
        for (guint i = 0; i < G_N_ELEMENTS (others_us); i++)
            next_us = MIN (next_us, others_us[i]);
        world->now_us = MAX (world->now_us + 20, next_us);
        if (world->now_us > CALM_US + PATIENCE_US || ++n_turns > 3000000)
            sim_fail (world, "it stands still: over %d %d", world->is_over[0], world->is_over[1]);
    }
    check_verdict (world);
    return world->failure[0] == '\0';
}
