/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "diskpace.h"

#include <string.h>

#define WINDOW_US (5 * G_USEC_PER_SEC)
#define GAIN_SHARE 50         /* of what is carried, one part in so many must be gained */
#define HOPE_US (3600.0 * G_USEC_PER_SEC) /* or all be done in this time */
#define LAST_WINDOWS 3        /* ... and in these of them */
#define LAST_SHARE 4
#define PATIENCE_STALLED 60
#define ROUND_GAIN 0.85       /* a round that leaves more than this of the least gains nothing */
#define PATIENCE_ROUNDS 6
#define PATIENCE_US (15 * G_USEC_PER_SEC) /* for those rounds, which may be short */

/* --- windows -------------------------------------------------------------------------------------------------- */

static void
add_end (GwDiskPace *pace, const GwDiskSample *now, gint64 us)
{
    if (pace->n_ends == G_N_ELEMENTS (pace->ends))
        memmove (pace->ends, pace->ends + 1, --pace->n_ends * sizeof pace->ends[0]);
    pace->ends[pace->n_ends].left_bytes = now->left_bytes;
    pace->ends[pace->n_ends].done_bytes = now->done_bytes;
    pace->ends[pace->n_ends++].us = us;
}

/* Of the last `n` windows, of which there are so many: bytes gained, and carried. */
static gint64
get_gain (const GwDiskPace *pace, guint n, gint64 *ret_copied)
{
    guint last = pace->n_ends - 1;
    *ret_copied = pace->ends[last].done_bytes - pace->ends[last - n].done_bytes;
    return pace->ends[last - n].left_bytes - pace->ends[last].left_bytes;
}

static void
measure (GwDiskPace *pace)
{
    gint64 copied, us = 0;
    gint64 gained = get_gain (pace, pace->n_ends - 1, &copied);
    for (guint i = 1; i < pace->n_ends; i++)
        us += pace->ends[i].us;
    pace->copied_bps = (gint64) ((double) copied * G_USEC_PER_SEC / (double) us);
    pace->written_bps = (gint64) ((double) MAX (copied - gained, 0) * G_USEC_PER_SEC / (double) us);
}

static void
end_window (GwDiskPace *pace, const GwDiskSample *now)
{
    gboolean is_stalled = now->done_bytes <= pace->start.done_bytes;
    pace->n_stalled = is_stalled ? pace->n_stalled + 1 : 0;
    if (!is_stalled) {
        if (pace->n_ends == 0)
            add_end (pace, &pace->start, 0);
        add_end (pace, now, now->at_us - pace->start.at_us);
        measure (pace);
    }
    pace->start = *now;
}

/* Little is enough where little is left. */
static gboolean
ends_in_time (const GwDiskPace *pace, gint64 gained)
{
    gint64 us = 0;
    for (guint i = 1; i < pace->n_ends; i++)
        us += pace->ends[i].us;
    return gained > 0 &&
           (double) pace->ends[pace->n_ends - 1].left_bytes / (double) gained * (double) us < HOPE_US;
}

static gboolean
gains_nothing (const GwDiskPace *pace)
{
    gint64 copied, copied_last;
    if (pace->n_ends < G_N_ELEMENTS (pace->ends))
        return FALSE;
    gint64 gained = get_gain (pace, GW_DISK_PACE_WINDOWS, &copied);
    return gained <= copied / GAIN_SHARE && !ends_in_time (pace, gained) &&
           get_gain (pace, LAST_WINDOWS, &copied_last) <= copied_last / LAST_SHARE;
}

static void
look_at_windows (GwDiskPace *pace, const GwDiskSample *now)
{
    if (now->is_in_step) {
        pace->start.at_us = 0;
        pace->n_stalled = pace->n_ends = 0;
    } else if (now->is_outage) {
        pace->start.at_us = 0;
    } else if (pace->start.at_us == 0) {
        pace->start = *now;
    } else if (now->at_us - pace->start.at_us >= WINDOW_US) {
        end_window (pace, now);
    }
}

/* --- rounds --------------------------------------------------------------------------------------------------- */

static void
end_round (GwDiskPace *pace, const GwDiskSample *now)
{
    gboolean is_first = pace->rounds == 0 || pace->least == 0;
    gboolean gains = is_first || now->differing <= now->few ||
                     (double) now->differing < (double) pace->least * ROUND_GAIN;
    pace->n_hopeless_rounds = gains ? 0 : pace->n_hopeless_rounds + 1;
    if (pace->n_hopeless_rounds == 1)
        pace->hopeless_round_us = now->at_us;
    pace->least = is_first ? now->differing : MIN (pace->least, now->differing);
    pace->rounds = now->rounds;
}

void
gw_disk_pace_add (GwDiskPace *pace, const GwDiskSample *sample)
{
    look_at_windows (pace, sample);
    if (sample->rounds > pace->rounds)
        end_round (pace, sample);
    if (pace->n_hopeless_rounds > 0 && sample->is_outage)
        pace->hopeless_round_us = sample->at_us;
    pace->now_us = sample->at_us;
}

GwDiskPaceJudgement
gw_disk_pace_judge (const GwDiskPace *pace)
{
    if (pace->n_stalled >= PATIENCE_STALLED)
        return GW_DISK_PACE_STALLED;
    if (gains_nothing (pace) ||
        (pace->n_hopeless_rounds >= PATIENCE_ROUNDS && pace->now_us - pace->hopeless_round_us >= PATIENCE_US))
        return GW_DISK_PACE_HOPELESS;
    return GW_DISK_PACE_GOOD;
}

void
gw_disk_pace_restart (GwDiskPace *pace)
{
    pace->start.at_us = 0;
    pace->n_ends = pace->n_stalled = pace->n_hopeless_rounds = 0;
    pace->least = 0;
}
