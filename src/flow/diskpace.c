/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "diskpace.h"

#define WINDOW_US (5 * G_USEC_PER_SEC)
#define GAIN_SHARE 50         /* of what is carried, one part in so many must be gained */
#define PATIENCE_WINDOWS 6    /* hopeless ones */
#define PATIENCE_STALLED 60
#define ROUND_GAIN 0.85       /* a round that leaves more than this of the least gains nothing */
#define PATIENCE_ROUNDS 6
#define PATIENCE_US (15 * G_USEC_PER_SEC) /* for those rounds, which may be short */

/* --- windows -------------------------------------------------------------------------------------------------- */

static void
end_window (GwDiskPace *pace, const GwDiskSample *now)
{
    gint64 copied = now->done_bytes - pace->start.done_bytes;
    gint64 gained = pace->start.left_bytes - now->left_bytes;
    double s = (double) (now->at_us - pace->start.at_us) / G_USEC_PER_SEC;
    gboolean is_stalled = copied <= 0;
    gboolean is_hopeless = !is_stalled && gained <= copied / GAIN_SHARE;
    pace->n_stalled = is_stalled ? pace->n_stalled + 1 : 0;
    pace->n_hopeless = is_hopeless ? pace->n_hopeless + 1 : 0;
    pace->copied_bps = (gint64) ((double) MAX (copied, 0) / s);
    pace->written_bps = (gint64) ((double) MAX (copied - gained, 0) / s);
    pace->start = *now;
}

static void
look_at_windows (GwDiskPace *pace, const GwDiskSample *now)
{
    if (now->is_in_step) {
        pace->start.at_us = 0;
        pace->n_stalled = pace->n_hopeless = 0;
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
    if (pace->n_hopeless >= PATIENCE_WINDOWS ||
        (pace->n_hopeless_rounds >= PATIENCE_ROUNDS && pace->now_us - pace->hopeless_round_us >= PATIENCE_US))
        return GW_DISK_PACE_HOPELESS;
    return GW_DISK_PACE_GOOD;
}

void
gw_disk_pace_restart (GwDiskPace *pace)
{
    pace->start.at_us = 0;
    pace->n_hopeless = pace->n_stalled = pace->n_hopeless_rounds = 0;
    pace->least = 0;
}
