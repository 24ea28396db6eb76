/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * converge: what to do about a guest that writes while it is copied.  Pure.
 *
 * Theory
 * ------
 * The flow looks at the migration several times a second, and at once when QEMU begins a round, and
 * gives what it sees (GwSample) to a GwConverge, which keeps a window of it.  gw_converge_decide() is a
 * function of that window and of what the user allowed (GwAllowance) alone.
 *
 * Rate.  Bytes of the RAM lane that the far courier acknowledged, over the time in which there was
 * something to acknowledge.  Time without any path does not count, nor does a stall: a time in which
 * something was under way and not one byte was acknowledged.  Neither leads to a decision.  From the third round on
 * the first pass does not count either: where memory is encoded, pages that are sent again go faster.
 *
 * Downtime.  What is left of the RAM, what QEMU has written and nobody acknowledged, the device state
 * and two round trips, at that rate, and the load at the destination.  Only what is left at the
 * beginning of a round is true: QEMU looks for what the guest has dirtied only then.  So the guest is
 * stopped only there.
 *
 * Ceiling.  While each round leaves much less than the one before, only a third of the allowed downtime
 * is used; when the next round would gain little, all of it but for a twelfth, since an estimate is not
 * exact and the user's number is a promise.  From the moment on in which the guest may be stopped, rounds that
 * together take a tenth of the time before are made in any case if the guest writes less than three quarters of what
 * the link carries: they shorten the stop, and lengthen nothing by much.
 *
 * Hopeless is a guest of whose memory two whole rounds together took less than a seventh off, with more
 * left than the ceiling takes.  One such round may be noise.  That the rest grew says nothing: guests
 * have moods.
 */
#ifndef GW_CONVERGE_H
#define GW_CONVERGE_H

#include "base.h"

typedef enum { GW_LATE_POSTCOPY, GW_LATE_THROTTLE, GW_LATE_STOP, GW_LATE_ABORT } GwLate;

/* What the user and the two QEMUs allow. */
typedef struct {
    gint64 max_downtime_ms;
    gint64 timeout_s;     /* 0: none */
    GwLate on_timeout;
    gboolean can_postcopy; /* both QEMUs are set up for it, and it was not forbidden */
    gboolean is_postcopy_wanted; /* as soon as there is something to send */
    gint64 state_bytes;   /* of the devices */
    gint64 load_ms;       /* the destination loads, is handed over to, and starts */
} GwAllowance;

typedef struct {
    gint64 at_us;     /* since the job began */
    gint64 round;     /* of QEMU */
    gboolean is_start; /* the round began just now */
    gboolean is_outage;
    gint64 left_bytes;
    gint64 dirty_bps; /* of the last round, by QEMU */
    gint64 qemu_bps;  /* by QEMU, for as long as the couriers do not know */
    gint64 acked_bytes, queued_bytes; /* of the RAM lane: acknowledged so far; on the way */
    gint64 rtt_us;
    gint64 throttle_percent;
} GwSample;

typedef enum {
    GW_GO_ON,
    GW_SWITCH,   /* stop the guest and send the rest */
    GW_FORCE,    /* the same, however long it takes */
    GW_POSTCOPY,
    GW_THROTTLE, /* slow the guest down, more and more */
    GW_GIVE_UP,
} GwDecision;

typedef struct {
    gint64 rate_bps;    /* 0: not known */
    gint64 downtime_ms; /* if it switched now; -1: not known */
    gint64 need_ms;     /* the least of any round; -1: not known */
    gint64 dirty_bps;   /* the median of the last rounds */
    gboolean is_stalled;
    gboolean is_hopeless;
} GwEstimate;

#define GW_CONVERGE_SAMPLES 40 /* for the rate: ten seconds at four a second */
#define GW_CONVERGE_ROUNDS 16

typedef struct {
    GwSample samples[GW_CONVERGE_SAMPLES]; /* a ring */
    guint n_samples;                       /* that ever came */
    struct {
        gint64 need_ms, send_ms, dirty_bps; /* need: send, and what does not depend on the guest */
    } rounds[GW_CONVERGE_ROUNDS]; /* their beginnings, the oldest first */
    guint n_rounds;
    gint64 least_ms; /* of all rounds; 0: none was measured */
    gint64 possible_us; /* when the guest could first have been stopped; 0: never */
    gint64 hopeless_us; /* since when; 0: not */
    gint64 n_hopeless;  /* rounds since then */
    gboolean is_throttled;
} GwConverge;

/* `converge` begins as zeros. */
void gw_converge_add (GwConverge *converge, const GwAllowance *allowance, const GwSample *sample);
/* After the first sample.  `ret_estimate` is always filled. */
GwDecision gw_converge_decide (const GwConverge *converge, const GwAllowance *allowance,
                               GwEstimate *ret_estimate);
/* After GW_THROTTLE was obeyed. */
void gw_converge_note_throttle (GwConverge *converge);
/* The figures and what would help, for the user.  (transfer full) */
char *gw_converge_explain (const GwConverge *converge, const GwAllowance *allowance);

GwLate gw_late_from_name (const char *name);

#endif
