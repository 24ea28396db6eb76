/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copies of disks that get nowhere are told from those that are only slow, and those that are only watched. */
#include "diskpace.h"

#define MB ((gint64) 1000000)
#define STEP_US 250000

typedef struct {
    const char *name;
    gint64 bytes;            /* of the disk */
    double link, guest;      /* MB a second; the guest's go on for `guest_s` seconds */
    double guest_s;
    double outage_from, outage_to; /* seconds */
    gint64 scan_s;           /* QEMU looks for what there is to copy */
    GwDiskPaceJudgement judgement;
    double from_s, to_s;     /* when that was said; GOOD: it was in step then */
} World;

static const World worlds[] = {
    { "copied", 1000 * MB, 100, 0, 0, 0, 0, 0, GW_DISK_PACE_GOOD, 9, 11 },
    { "slow but steady", 1000 * MB, 10, 9, 1e9, 0, 0, 0, GW_DISK_PACE_GOOD, 900, 1010 },
    { "as fast as the link", 1000 * MB, 10, 9.9, 1e9, 0, 0, 0, GW_DISK_PACE_HOPELESS, 29, 36 },
    { "faster than the link", 1000 * MB, 10, 20, 1e9, 0, 0, 0, GW_DISK_PACE_HOPELESS, 29, 36 },
    { "little left of much that is written", 50 * MB, 10, 9.95, 1e9, 0, 0, 0, GW_DISK_PACE_GOOD, 850, 1000 },
    { "fast for a while", 1000 * MB, 50, 100, 20, 0, 0, 0, GW_DISK_PACE_GOOD, 50, 65 },
    { "an outage is no time", 1000 * MB, 100, 0, 0, 3, 600, 0, GW_DISK_PACE_GOOD, 605, 610 },
    { "a long search", 1000 * MB, 100, 0, 0, 0, 0, 200, GW_DISK_PACE_GOOD, 205, 215 },
    { "a full disk, written at random", 128 * MB, 8, 40, 1e9, 0, 0, 0, GW_DISK_PACE_HOPELESS, 29, 60 },
    { "a dead copy", 1000 * MB, 0, 0, 0, 0, 0, 0, GW_DISK_PACE_STALLED, 299, 310 },
    { "a dead copy and a writing guest", 1000 * MB, 0, 10, 1e9, 0, 0, 0, GW_DISK_PACE_STALLED, 299, 310 },
};

static void
test_world (gconstpointer data)
{
    const World *w = data;
    GwDiskPace pace = { 0 };
    GwDiskPaceJudgement judgement = GW_DISK_PACE_GOOD;
    double left = (double) w->bytes, done = 0, now = 0;
    gboolean is_in_step = FALSE;
    g_autoptr (GRand) rand = g_rand_new_with_seed (7);
    for (; now < 2000 && judgement == GW_DISK_PACE_GOOD && !is_in_step; now += STEP_US / 1e6) {
        gboolean is_outage = now >= w->outage_from && now < w->outage_to;
        double carried = is_outage || now < (double) w->scan_s ? 0 : w->link * MB * STEP_US / 1e6;
        carried = MIN (carried, left);
        done += carried;
        left += (now < w->guest_s ? w->guest * MB * STEP_US / 1e6 : 0) - carried;
        if (w->bytes == 128 * MB) /* what is left cannot be more than all, and comes and goes */
            left = g_rand_double_range (rand, 100 * MB, 126 * MB);
        is_in_step = left < 4 * MB;
        GwDiskSample sample = { .at_us = 1 + (gint64) (now * 1e6), .left_bytes = (gint64) left,
                                .done_bytes = (gint64) done, .is_in_step = is_in_step,
                                .is_outage = is_outage };
        gw_disk_pace_add (&pace, &sample);
        judgement = gw_disk_pace_judge (&pace);
    }
    g_assert_cmpint (judgement, ==, w->judgement);
    g_assert_cmpfloat (now, >=, w->from_s);
    g_assert_cmpfloat (now, <=, w->to_s);
}

/* The rates of a hopeless one are told to the user. */
static void
test_rates (void)
{
    GwDiskPace pace = { 0 };
    for (gint64 i = 0; i <= 24; i++) {
        GwDiskSample sample = { .at_us = 1 + i * STEP_US, .left_bytes = 500 * MB + i * 5 * MB,
                                .done_bytes = i * 2 * MB };
        gw_disk_pace_add (&pace, &sample);
    }
    g_assert_cmpint (pace.copied_bps, ==, 8 * MB);
    g_assert_cmpint (pace.written_bps, ==, 28 * MB);
}

/* --- rounds of the comparison --- */

/* `differing` after each round, which takes `round_s`; the last repeats.  The round in which it was given up,
 * 0: not in 60. */
static guint
follow_rounds (const gint64 *differing, guint n, gint64 round_s)
{
    GwDiskPace pace = { 0 };
    for (guint i = 0; i < 60; i++) {
        GwDiskSample sample = { .at_us = 1 + (i + 1) * round_s * G_USEC_PER_SEC, .is_in_step = TRUE,
                                .rounds = i + 1, .differing = differing[MIN (i, n - 1)], .few = 16 };
        gw_disk_pace_add (&pace, &sample);
        gw_disk_pace_add (&pace, &sample); /* the same round, looked at twice */
        if (gw_disk_pace_judge (&pace) == GW_DISK_PACE_HOPELESS)
            return i + 1;
    }
    return 0;
}

static void
test_rounds (void)
{
    static const gint64 falls[] = { 1000, 500, 200, 50, 10 };
    static const gint64 stays[] = { 300 };
    static const gint64 few[] = { 16 };
    static const gint64 moody[] = { 300, 300, 290, 300, 100, 90, 10 };
    g_assert_cmpuint (follow_rounds (falls, G_N_ELEMENTS (falls), 10), ==, 0);
    g_assert_cmpuint (follow_rounds (stays, G_N_ELEMENTS (stays), 10), ==, 7);
    g_assert_cmpuint (follow_rounds (stays, G_N_ELEMENTS (stays), 1), ==, 17); /* fifteen seconds at least */
    g_assert_cmpuint (follow_rounds (few, G_N_ELEMENTS (few), 10), ==, 0);
    g_assert_cmpuint (follow_rounds (moody, G_N_ELEMENTS (moody), 10), ==, 0);
}

static void
test_restart (void)
{
    GwDiskPace pace = { 0 };
    gint64 i = 0;
    for (; gw_disk_pace_judge (&pace) == GW_DISK_PACE_GOOD && i < 1000; i++) {
        GwDiskSample sample = { .at_us = 1 + i * STEP_US, .left_bytes = 500 * MB, .done_bytes = i * MB };
        gw_disk_pace_add (&pace, &sample);
    }
    g_assert_cmpint (gw_disk_pace_judge (&pace), ==, GW_DISK_PACE_HOPELESS);
    gw_disk_pace_restart (&pace);
    g_assert_cmpint (gw_disk_pace_judge (&pace), ==, GW_DISK_PACE_GOOD);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (worlds); i++) {
        g_autofree char *path = g_strconcat ("/diskpace/", worlds[i].name, NULL);
        g_test_add_data_func (path, &worlds[i], test_world);
    }
    g_test_add_func ("/diskpace/rates", test_rates);
    g_test_add_func ("/diskpace/rounds", test_rounds);
    g_test_add_func ("/diskpace/restart", test_restart);
    return g_test_run ();
}
