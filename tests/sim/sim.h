/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sim-link: two sessions over a simulated network.
 *
 * Theory
 * ------
 * A schedule is made from one seed: how many paths, how fast, how long, which lanes with how many
 * bytes each way, who reads slowly, stops or resets, and when which path suffers what.  A simulated
 * path is a queue of records in each direction with a latency, a rate and a bounded socket.  The
 * faults end at CALM_US; from then on everything must come to its end within PATIENCE_US.
 *
 * What must hold: the bytes that a program reads are the bytes that the other wrote, in order, and at
 * the end of file all of them; no session holds more memory than it may; nothing stands still; and at
 * the end both sides are over, with the same verdict, and hold nothing.
 *
 * A record that is lost, doubled or put before another on a path that goes on is something that TCP
 * and TLS never do.  It may end the path, or do no harm; a lost one ends the path later, as TLS sees
 * it with the next record.
 */
#ifndef GW_SIM_H
#define GW_SIM_H

#include "session.h"

#define CALM_US (20 * G_USEC_PER_SEC)
#define PATIENCE_US (120 * G_USEC_PER_SEC)
#define CLOCK_US 77777777 /* the destination's session clock is ahead by as much */
#define MAX_WIRES 12
#define MAX_LANES 6

/* --- sim-world.c ------------------------------------------------------------------------------- */

typedef struct {
    uint64_t state;
} SimRandom;

uint64_t sim_random (SimRandom *random);
uint64_t sim_between (SimRandom *random, uint64_t least, uint64_t most);
gboolean sim_chance (SimRandom *random, guint percent);

typedef struct {
    uint8_t *bytes;
    gsize len;
    gint64 arrive_us;
} SimRecord;

/* One connection.  Index 0 of pairs is the source's end, or the direction away from it. */
typedef struct {
    gboolean is_used;
    guint serial;
    int path[2];         /* -1: that end has no path (yet, or any more) */
    gint64 up_us[2];     /* when that end learns that it is up; 0 once it did */
    gint64 down_us[2];   /* when that end learns of its end; 0 for never */
    gboolean is_cut[2];  /* nothing arrives any more in that direction */
    gint64 stall_us[2];  /* nothing arrives before */
    GQueue queue[2];     /* SimRecord */
    gsize queued[2];     /* bytes */
    gint64 free_us[2];   /* when the wire is free */
    gint64 latency_us;
    uint64_t rate; /* bytes a second */
    gsize socket;  /* bytes that a direction takes */
} SimWire;

typedef struct {
    gsize total, written, read;
    guint pace_us, chunk;      /* of the writer */
    guint read_us, read_chunk; /* of the reader */
    gint64 write_at_us, read_at_us;
    gsize stop_at;             /* the reader stops after as many bytes; SIZE_MAX for never */
    gboolean has_ended, has_stopped;
    gboolean is_endless; /* the writer ends only when it is stopped */
} SimFlow;

typedef struct {
    guint opener;
    gint64 open_at_us;
    gint64 reset_at_us; /* 0 for never */
    guint resetter;
    GwSessionLane *lane[2];
    gboolean is_over[2];
    gboolean is_dirty; /* stopped or reset */
    gsize spool;
    SimFlow flow[2]; /* by the writing end */
} SimLane;

typedef struct {
    uint64_t seed;
    SimRandom random;
    gboolean is_traced;
    gint64 now_us;
    GwSession *end[2];
    GwSessionConfig config;
    gsize spools;
    SimWire wires[MAX_WIRES];
    guint n_serial, n_wanted; /* paths that the dialer keeps up */
    gint64 dial_at_us, fault_at_us;
    guint faults; /* mask of the kinds that this schedule has */
    gboolean is_doomed; /* all paths go for good at CALM_US */
    SimLane lanes[MAX_LANES];
    guint n_lanes;
    gboolean has_finished[2], is_over[2], is_clean[2], has_expired[2];
    uint64_t n_frames, n_faults, n_bytes;
    char failure[300];
} SimWorld;

void sim_world_init (SimWorld *world, uint64_t seed, gboolean is_traced);
void sim_world_clear (SimWorld *world);
/* Runs it to its end.  FALSE with the reason in `failure`. */
gboolean sim_world_run (SimWorld *world);
void sim_trace (SimWorld *world, int end, const char *format, ...) G_GNUC_PRINTF (3, 4);
/* Notes the first failure. */
void sim_fail (SimWorld *world, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* The session clock of an end. */
gint64 sim_clock (const SimWorld *world, int end);

/* --- sim-net.c ----------------------------------------------------------------------------------- */

void sim_net_dial (SimWorld *world);
void sim_net_receive (SimWorld *world);
void sim_net_send (SimWorld *world);
void sim_net_fault (SimWorld *world);
/* That end gives the path up; the other learns it later. */
void sim_net_drop (SimWorld *world, SimWire *wire, int end, const char *why);
/* As the courier does: in order. */
void sim_net_close (SimWorld *world, SimWire *wire, int end, const char *why);
SimWire *sim_net_find (SimWorld *world, int end, int path);
guint sim_net_count (const SimWorld *world);
gint64 sim_net_next (const SimWorld *world);
void sim_net_clear (SimWorld *world);

/* --- sim-programs.c -------------------------------------------------------------------------------- */

void sim_programs_init (SimWorld *world);
void sim_programs_step (SimWorld *world);
void sim_programs_event (SimWorld *world, int end, const GwSessionEvent *event);
gint64 sim_programs_next (const SimWorld *world);

#endif
