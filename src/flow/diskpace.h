/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * diskpace: whether copies of disks get anywhere.  Pure.
 *
 * Theory
 * ------
 * The flow says several times a second what is copied and what is left.  Both grow as the guest writes, so
 * that the difference is what the copies gain on it.  This is looked at in windows.  When six of them together
 * gained less than a fiftieth of what they carried, too little to be done within an hour, and the last three
 * less than a quarter (or it would only be the end of a burst), the guest writes as fast as it is copied.  A window in which nothing was carried
 * at all is a stalled one, and for those there is much more patience: QEMU may be looking for what there is
 * to copy.  Time without a link does not count.
 *
 * When the copies are in step, the rounds of the comparison are looked at the same way: what differs after
 * a round, because the guest wrote it meanwhile, must become less from round to round.
 */
#ifndef GW_DISKPACE_H
#define GW_DISKPACE_H

#include "base.h"

typedef struct {
    gint64 at_us;
    gint64 left_bytes, done_bytes; /* of all copies */
    gboolean is_in_step;           /* each of them: next to nothing is left */
    gboolean is_outage;            /* there is no link */
    guint rounds;                  /* of the comparison that have ended */
    gint64 differing;              /* chunks after the last of them */
    gint64 few;                    /* so many do not matter */
} GwDiskSample;

typedef enum {
    GW_DISK_PACE_GOOD,
    GW_DISK_PACE_HOPELESS, /* the guest writes as fast as they are copied */
    GW_DISK_PACE_STALLED,  /* nothing is copied any more */
} GwDiskPaceJudgement;

#define GW_DISK_PACE_WINDOWS 6

typedef struct {
    GwDiskSample start; /* of the window; at_us 0: none */
    struct {
        gint64 left_bytes, done_bytes, us;
    } ends[GW_DISK_PACE_WINDOWS + 1]; /* of windows, the oldest first; before them the start of the first */
    guint n_ends;
    guint n_stalled; /* windows in a row */
    guint rounds, n_hopeless_rounds;
    gint64 hopeless_round_us; /* the first of those in a row */
    gint64 least;             /* chunks that differed after any round since */
    gint64 now_us;
    gint64 copied_bps, written_bps; /* in those windows; by the guest */
} GwDiskPace;

/* `pace` begins as zeros. */
void gw_disk_pace_add (GwDiskPace *pace, const GwDiskSample *sample);
GwDiskPaceJudgement gw_disk_pace_judge (const GwDiskPace *pace);
/* Something was done about it: from here on it is looked at anew. */
void gw_disk_pace_restart (GwDiskPace *pace);

#endif
