/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is decided about guests that write while they are copied: a world of rounds in which a guest
 * with a working set dirties random pages of it, and tables of single looks. */
#include "converge.h"

#include <math.h>
#include <string.h>

#define MB 1e6
#define STEP_US 250000

static const GwAllowance plain = { .max_downtime_ms = 300, .on_timeout = GW_LATE_POSTCOPY,
                                   .can_postcopy = TRUE, .state_bytes = 256 * 1024, .load_ms = 60 };

/* --- a world --------------------------------------------------------------------------------------------------- */

typedef struct {
    double ram, set, dirty, link; /* bytes, bytes a second */
    double noise;                 /* of the link's rate, a share */
    double outage_at, outage_for; /* seconds */
    double stall_at, stall_for;
} World;

typedef struct {
    GwDecision decision;
    double at_s, left;
    guint round;
    GwEstimate estimate;
    char *why;
} Ending;

typedef struct {
    const World *world;
    GwAllowance allowance;
    GwConverge converge;
    GRand *rand;
    double now, left, dirtied_for, acked, throttle;
    guint round;
} Run;

static gboolean
is_within (double now, double at, double length)
{
    return length > 0 && now >= at && now < at + length;
}

static GwSample
look (const Run *run, gboolean is_start, gboolean is_still)
{
    const World *w = run->world;
    return (GwSample) { .at_us = (gint64) (run->now * 1e6),
                        .round = run->round,
                        .is_start = is_start,
                        .is_outage = is_within (run->now, w->outage_at, w->outage_for),
                        .left_bytes = (gint64) run->left,
                        .dirty_bps = (gint64) (w->dirty * (1 - run->throttle)),
                        .acked_bytes = (gint64) run->acked,
                        .queued_bytes = is_still ? 500000 : 200000,
                        .rtt_us = 1000,
                        .throttle_percent = (gint64) (run->throttle * 100) };
}

/* Distinct bytes that random writes over the set touch. */
static double
dirtied (const Run *run)
{
    double written = run->world->dirty * (1 - run->throttle) * run->dirtied_for;
    return run->world->set > 0 ? run->world->set * (1 - exp (-written / run->world->set)) : 0;
}

static GwDecision
decide (Run *run, gboolean is_start, gboolean is_still, GwEstimate *estimate)
{
    GwSample sample = look (run, is_start, is_still);
    gw_converge_add (&run->converge, &run->allowance, &sample);
    GwDecision decision = gw_converge_decide (&run->converge, &run->allowance, estimate);
    if (decision == GW_THROTTLE) {
        gw_converge_note_throttle (&run->converge);
        run->throttle = 0.2;
        return GW_GO_ON;
    }
    return decision;
}

/* One look later; TRUE when a round began. */
static gboolean
advance (Run *run, gboolean *ret_still)
{
    const World *w = run->world;
    double rate = w->link * (1 + w->noise * (g_rand_double (run->rand) * 2 - 1));
    double step = STEP_US / 1e6;
    *ret_still = is_within (run->now, w->outage_at, w->outage_for) ||
                 is_within (run->now, w->stall_at, w->stall_for);
    double sent = *ret_still ? 0 : MIN (rate * step, run->left);
    if (!*ret_still && rate > 0)
        step = MIN (step, sent / rate + 1e-6);
    run->now += step;
    run->dirtied_for += step;
    run->acked += sent;
    run->left -= sent;
    if (run->left > 0.5)
        return FALSE;
    run->left = dirtied (run);
    run->dirtied_for = 0;
    run->round++;
    if (run->throttle > 0 && run->round % 2 == 0)
        run->throttle = MIN (run->throttle + 0.1, 0.99);
    return TRUE;
}

static Ending
simulate (const World *world, const GwAllowance *allowance, guint seed)
{
    Run run = { .world = world, .allowance = *allowance, .left = world->ram, .round = 1,
                .rand = g_rand_new_with_seed (seed) };
    Ending ending = { GW_GO_ON, 0, 0, 0, { 0 }, NULL };
    gboolean is_start = TRUE, is_still = FALSE;
    while (ending.decision == GW_GO_ON && run.now < 3600) {
        ending.decision = decide (&run, is_start, is_still, &ending.estimate);
        if (ending.decision == GW_GO_ON)
            is_start = advance (&run, &is_still);
    }
    ending.at_s = run.now;
    ending.left = run.left;
    ending.round = run.round;
    ending.why = gw_converge_explain (&run.converge, allowance);
    g_rand_free (run.rand);
    return ending;
}

/* --- the sweep ---------------------------------------------------------------------------------------------------- */

static const struct {
    double q;
    double set; /* MB */
    GwDecision auto_, never_abort;
} sweep[] = {
    { 0, 64, GW_SWITCH, GW_SWITCH },       { 0.1, 64, GW_SWITCH, GW_SWITCH },
    { 0.5, 64, GW_SWITCH, GW_SWITCH },     { 0.9, 64, GW_SWITCH, GW_SWITCH },
    { 1.5, 64, GW_POSTCOPY, GW_GIVE_UP },  { 5, 64, GW_POSTCOPY, GW_GIVE_UP },
    /* a working set that fits into the downtime is no matter */
    { 1.5, 2, GW_SWITCH, GW_SWITCH },      { 5, 2, GW_SWITCH, GW_SWITCH },
};

static void
check_end (const char *what, double q, const World *world, const GwAllowance *allowance,
           const Ending *ending, GwDecision expected)
{
    g_test_message ("%s q %.1f: decision %d after %.1f s in round %u, %.1f MB left, %" G_GINT64_FORMAT
                    " ms expected", what, q, ending->decision, ending->at_s, ending->round,
                    ending->left / MB, ending->estimate.downtime_ms);
    g_assert_cmpint (ending->decision, ==, expected);
    double need_s = ending->left / world->link;
    if (ending->decision == GW_SWITCH)
        g_assert_cmpfloat (need_s * 1000 + (double) allowance->load_ms, <=,
                           (double) allowance->max_downtime_ms * 1.02);
}

static void
run_sweep (double link, double noise)
{
    GwAllowance never = plain;
    never.can_postcopy = FALSE;
    never.on_timeout = GW_LATE_ABORT;
    for (guint i = 0; i < G_N_ELEMENTS (sweep); i++) {
        World world = { .ram = 200 * MB, .set = sweep[i].set * MB, .dirty = sweep[i].q * link,
                        .link = link, .noise = noise };
        if (sweep[i].q >= 0.9 && sweep[i].set > 10)
            world.set = 64 * link / 12.5; /* as large beside any link */
        world.ram = MAX (world.ram, 2 * world.set);
        Ending a = simulate (&world, &plain, i), n = simulate (&world, &never, i);
        check_end ("auto", sweep[i].q, &world, &plain, &a, sweep[i].auto_);
        check_end ("never", sweep[i].q, &world, &never, &n, sweep[i].never_abort);
        g_free (a.why);
        g_free (n.why);
    }
}

static void
test_sweep (void)
{
    run_sweep (12.5 * MB, 0);
    run_sweep (37.5 * MB, 0);
}

static void
test_sweep_with_noise (void)
{
    run_sweep (12.5 * MB, 0.01);
}

/* --- what is no reason ------------------------------------------------------------------------------------------------ */

static void
test_outage_decides_nothing (void)
{
    World world = { .ram = 200 * MB, .set = 64 * MB, .dirty = 3 * MB, .link = 12.5 * MB };
    Ending quiet = simulate (&world, &plain, 1);
    world.outage_at = 10;
    world.outage_for = 60;
    Ending cut = simulate (&world, &plain, 1);
    g_assert_cmpint (quiet.decision, ==, GW_SWITCH);
    g_assert_cmpint (cut.decision, ==, GW_SWITCH);
    g_assert_cmpfloat (fabs (cut.at_s - quiet.at_s - 60), <, 15);
    g_assert_cmpint (ABS (cut.estimate.rate_bps - quiet.estimate.rate_bps), <, (gint64) MB);
    g_free (quiet.why);
    g_free (cut.why);
}

static void
test_stall_decides_nothing (void)
{
    World world = { .ram = 200 * MB, .set = 64 * MB, .dirty = 60 * MB, .link = 12.5 * MB,
                    .stall_at = 3, .stall_for = 30 };
    GwAllowance now = plain;
    now.is_postcopy_wanted = TRUE;
    Run run = { .world = &world, .allowance = now, .left = world.ram, .round = 1, .now = 3.1,
                .rand = g_rand_new_with_seed (1) };
    GwEstimate estimate;
    gboolean is_still = TRUE;
    for (guint i = 0; i < 4; i++) { /* the first look cannot know */
        GwSample sample = look (&run, FALSE, TRUE);
        gw_converge_add (&run.converge, &now, &sample);
        (void) advance (&run, &is_still);
    }
    g_assert_cmpint (gw_converge_decide (&run.converge, &now, &estimate), ==, GW_GO_ON);
    g_assert_true (estimate.is_stalled);
    g_rand_free (run.rand);
}

/* One round that left more than the one before is a mood. */
static void
test_that_the_rest_grew_says_nothing (void)
{
    static const double left[] = { 20, 10, 14, 7, 0.1 };
    GwConverge converge = { 0 };
    GwEstimate estimate;
    gint64 acked = 0, at_us = 0;
    for (guint i = 0; i < G_N_ELEMENTS (left); i++) {
        GwSample sample = { .at_us = at_us, .round = i + 2, .is_start = TRUE,
                            .left_bytes = (gint64) (left[i] * MB), .acked_bytes = acked,
                            .queued_bytes = 1000, .dirty_bps = 5 * (gint64) MB };
        gw_converge_add (&converge, &plain, &sample);
        g_assert_cmpint (gw_converge_decide (&converge, &plain, &estimate), ==,
                         i + 1 < G_N_ELEMENTS (left) ? GW_GO_ON : GW_SWITCH);
        acked += (gint64) (left[i] * MB);
        at_us += (gint64) (left[i] / 12.5 * 1e6);
    }
}

/* Where the next round takes next to nothing, the downtime that the user allows is not used. */
static void
test_cheap_rounds (void)
{
    static const struct {
        double from_s, dirty; /* MB/s */
        double left[4];       /* MB, at 100 MB/s */
        guint end;            /* the look that says switch */
    } rows[] = {
        { 10, 10, { 200, 8, 2, 0.5 }, 3 },
        { 10, 10, { 200, 8, 0.8, 0 }, 2 },
        { 10, 60, { 200, 8, 9, 0.5 }, 3 },   /* one that gains nothing is a mood */
        { 10, 80, { 200, 8, 2, 0.5 }, 1 },   /* the next would leave much */
        { 1, 10, { 200, 20, 20, 0.5 }, 2 },  /* two would be felt */
        { 1, 10, { 200, 20, 8, 0.5 }, 3 },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        GwConverge converge = { 0 };
        double acked = 0, at_s = rows[i].from_s;
        for (guint n = 0; n <= rows[i].end; n++) {
            GwEstimate estimate;
            GwSample sample = { .at_us = (gint64) (at_s * 1e6), .round = n + 2, .is_start = TRUE,
                                .left_bytes = (gint64) (rows[i].left[n] * MB), .acked_bytes = (gint64) (acked * MB),
                                .queued_bytes = 1000, .dirty_bps = (gint64) (rows[i].dirty * MB),
                                .qemu_bps = 100 * (gint64) MB };
            gw_converge_add (&converge, &plain, &sample);
            g_assert_cmpint (gw_converge_decide (&converge, &plain, &estimate), ==,
                             n == rows[i].end ? GW_SWITCH : GW_GO_ON);
            acked += rows[i].left[n];
            at_s += rows[i].left[n] / 100;
        }
    }
}

/* Pages that are sent again are encoded to less: what the first pass carried is no measure for them, as soon as
 * there is another one. */
static void
test_first_pass_is_no_measure (void)
{
    static const struct {
        guint round;
        gboolean is_start;
        double seconds, rate; /* until the next */
        double expected;      /* MB/s, here */
    } looks[] = {
        { 1, FALSE, 1, 12.5, 0 },    { 1, FALSE, 1, 12.5, 12.5 }, { 1, FALSE, 0.5, 12.5, 12.5 },
        { 2, TRUE, 0.2, 50, 12.5 }, /* nothing was sent again yet */
        { 3, TRUE, 0.2, 50, 23 }, /* that was too short by itself */
        { 4, TRUE, 0.2, 50, 50 },    { 4, FALSE, 0.2, 50, 50 },
    };
    GwConverge converge = { 0 };
    GwEstimate estimate;
    double acked = 0, at_s = 0;
    for (guint i = 0; i < G_N_ELEMENTS (looks); i++) {
        GwSample sample = { .at_us = (gint64) (at_s * 1e6), .round = looks[i].round, .is_start = looks[i].is_start,
                            .left_bytes = 100 * (gint64) MB, .acked_bytes = (gint64) (acked * MB),
                            .queued_bytes = 1000, .dirty_bps = 5 * (gint64) MB };
        gw_converge_add (&converge, &plain, &sample);
        (void) gw_converge_decide (&converge, &plain, &estimate);
        g_assert_cmpfloat (fabs ((double) estimate.rate_bps / MB - looks[i].expected), <, 3);
        acked += looks[i].seconds * looks[i].rate;
        at_s += looks[i].seconds;
    }
}

/* --- time is up ---------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *what;
    GwLate late;
    gboolean can_postcopy;
    double from_s, to_s;
    GwDecision decision;
} timeouts[] = {
    { "postcopy", GW_LATE_POSTCOPY, TRUE, 8, 8.5, GW_POSTCOPY },
    { "postcopy where there is none", GW_LATE_POSTCOPY, FALSE, 8, 8.5, GW_GIVE_UP },
    { "abort", GW_LATE_ABORT, FALSE, 8, 8.5, GW_GIVE_UP },
    { "stop", GW_LATE_STOP, FALSE, 8, 8.5, GW_FORCE },
    { "throttle converges", GW_LATE_THROTTLE, FALSE, 9, 3000, GW_SWITCH },
};

static void
test_timeouts (void)
{
    World world = { .ram = 200 * MB, .set = 64 * MB, .dirty = 20 * MB, .link = 12.5 * MB };
    for (guint i = 0; i < G_N_ELEMENTS (timeouts); i++) {
        GwAllowance allowance = plain;
        allowance.timeout_s = timeouts[i].late == GW_LATE_THROTTLE ? 0 : 8;
        allowance.on_timeout = timeouts[i].late;
        allowance.can_postcopy = timeouts[i].can_postcopy;
        Ending end = simulate (&world, &allowance, i);
        check_end (timeouts[i].what, 1.6, &world, &allowance, &end, timeouts[i].decision);
        g_assert_cmpfloat (end.at_s, >=, timeouts[i].from_s);
        g_assert_cmpfloat (end.at_s, <=, timeouts[i].to_s);
        g_free (end.why);
    }
}

static void
test_an_outage_does_not_hold_up_a_timeout (void)
{
    World world = { .ram = 200 * MB, .set = 64 * MB, .dirty = 20 * MB, .link = 12.5 * MB,
                    .outage_at = 5, .outage_for = 30 };
    GwAllowance allowance = plain;
    allowance.timeout_s = 8;
    Ending postcopy = simulate (&world, &allowance, 1);
    g_assert_cmpint (postcopy.decision, ==, GW_POSTCOPY);
    g_assert_cmpfloat (postcopy.at_s, >=, 35); /* when the link is back */
    allowance.on_timeout = GW_LATE_ABORT;
    Ending aborted = simulate (&world, &allowance, 1);
    g_assert_cmpint (aborted.decision, ==, GW_GIVE_UP);
    g_assert_cmpfloat (aborted.at_s, <, 9);
    g_free (postcopy.why);
    g_free (aborted.why);
}

static void
test_throttled_in_vain (void)
{
    /* one percent of this guest is too much still */
    World world = { .ram = 800 * MB, .set = 400 * MB, .dirty = 5000 * MB, .link = 12.5 * MB };
    GwAllowance allowance = plain;
    allowance.can_postcopy = FALSE;
    allowance.on_timeout = GW_LATE_THROTTLE;
    Ending end = simulate (&world, &allowance, 1);
    g_assert_cmpint (end.decision, ==, GW_GIVE_UP);
    g_free (end.why);
}

static void
test_postcopy_at_once (void)
{
    World world = { .ram = 200 * MB, .set = 64 * MB, .dirty = 1 * MB, .link = 12.5 * MB };
    GwAllowance allowance = plain;
    allowance.is_postcopy_wanted = TRUE;
    Ending end = simulate (&world, &allowance, 1);
    g_assert_cmpint (end.decision, ==, GW_POSTCOPY);
    g_assert_cmpfloat (end.at_s, <, 1);
    g_free (end.why);
}

/* --- words -------------------------------------------------------------------------------------------------------------------- */

static void
test_explanation (void)
{
    World world = { .ram = 2000 * MB, .set = 283 * MB, .dirty = 210 * MB, .link = 118 * MB };
    GwAllowance allowance = plain;
    allowance.can_postcopy = FALSE;
    Ending end = simulate (&world, &allowance, 1);
    g_test_message ("%s", end.why);
    g_assert_cmpint (end.decision, ==, GW_GIVE_UP);
    g_assert_true (g_pattern_match_simple ("*dirties 200.3?MiB/s*link carries 112.??MiB/s*needs ?.? s of "
                                           "downtime, 300 ms*--max-downtime ?*00, or --postcopy auto",
                                           end.why));
    /* and it is true */
    guint64 need_ms = g_ascii_strtoull (strstr (end.why, "--max-downtime ") + 15, NULL, 10);
    allowance.max_downtime_ms = (gint64) need_ms;
    Ending allowed = simulate (&world, &allowance, 1);
    g_assert_cmpint (allowed.decision, ==, GW_SWITCH);
    g_free (end.why);
    g_free (allowed.why);
}

/* --- single looks ---------------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *what;
    gint64 left, rate, round, max_downtime_ms;
    gboolean can_switch;
} rows[] = {
    { "21 MB at 100 MB/s need 214 ms of 300, 60 are for the rest and 25 are a margin", 21400000, 100000000, 2, 300, TRUE },
    { "a little more does not fit", 21700000, 100000000, 2, 300, FALSE },
    { "the first round is never the last", 0, 100000000, 1, 300, FALSE },
    { "nothing is known of the rate", 1, 0, 2, 300, FALSE },
    { "nothing is left", 0, 1000000, 2, 300, TRUE },
    { "of a small allowance half is kept", 1600000, 100000000, 7, 40, TRUE },
    { "and not more", 3000000, 100000000, 7, 40, FALSE },
    { "large numbers do not overflow", G_MAXINT64 / 4, G_MAXINT64 / 10, 2, 2000000, TRUE },
    { "nor do they at a crawl", G_MAXINT64 / 4, 1, 2, 2000000, FALSE },
};

static void
test_rows (void)
{
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        GwConverge converge = { 0 };
        GwEstimate estimate;
        GwAllowance allowance = plain;
        allowance.max_downtime_ms = rows[i].max_downtime_ms;
        allowance.state_bytes = 0;
        GwSample sample = { .round = rows[i].round, .is_start = TRUE, .left_bytes = rows[i].left,
                            .qemu_bps = rows[i].rate, .dirty_bps = rows[i].rate };
        g_test_message ("%s", rows[i].what);
        gw_converge_add (&converge, &allowance, &sample);
        g_assert_cmpint (gw_converge_decide (&converge, &allowance, &estimate), ==,
                         rows[i].can_switch ? GW_SWITCH : GW_GO_ON);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/converge/rows", test_rows);
    g_test_add_func ("/converge/sweep", test_sweep);
    g_test_add_func ("/converge/sweep-with-noise", test_sweep_with_noise);
    g_test_add_func ("/converge/outage", test_outage_decides_nothing);
    g_test_add_func ("/converge/stall", test_stall_decides_nothing);
    g_test_add_func ("/converge/mood", test_that_the_rest_grew_says_nothing);
    g_test_add_func ("/converge/first-pass", test_first_pass_is_no_measure);
    g_test_add_func ("/converge/cheap-rounds", test_cheap_rounds);
    g_test_add_func ("/converge/timeouts", test_timeouts);
    g_test_add_func ("/converge/timeout-in-outage", test_an_outage_does_not_hold_up_a_timeout);
    g_test_add_func ("/converge/throttled-in-vain", test_throttled_in_vain);
    g_test_add_func ("/converge/postcopy-at-once", test_postcopy_at_once);
    g_test_add_func ("/converge/explanation", test_explanation);
    return g_test_run ();
}
