/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a move will take, for guests and links whose moves can be reckoned by hand. */
#include "predict.h"

#include <math.h>
#include <string.h>

#define MIB (1 << 20)

static const GwAllowance usual = { .max_downtime_ms = 300, .on_timeout = GW_LATE_POSTCOPY,
                                   .can_postcopy = TRUE, .state_bytes = 256 * 1024, .load_ms = 60 };
static const GwAllowance never = { .max_downtime_ms = 300, .timeout_s = 60, .on_timeout = GW_LATE_ABORT,
                                   .state_bytes = 256 * 1024, .load_ms = 60 };

/* What would be measured of a guest that writes `write` bytes/s spread over `spread`. */
static GwPredictInput
make_guest (double write, double spread)
{
    GwPredictInput input = { .ram_bytes = 1024ll * MIB, .filled_bytes = 500ll * MIB, .changed_us = 300000,
                             .rate_bps = 100ll * MIB, .rtt_us = 500, .state_bytes = 200000,
                             .load_us = 5000, .setup_ms = 1000, .is_running = TRUE };
    input.changed_bytes = spread > 0 ? (gint64) (spread * -expm1 (-write * 0.3 / spread)) : 0;
    input.later_us = 1500000;
    input.later_bytes = spread > 0 ? (gint64) (spread * -expm1 (-write * 1.5 / spread)) : 0;
    return input;
}

typedef struct {
    const char *what;
    double write_mib, spread_mib;
    const GwAllowance *allowance;
    GwDecision ends_by;
    gint64 total_ms[2], downtime_ms[2]; /* between */
} Row;

static const Row rows[] = {
    { "idle: one pass", 0, 0, &usual, GW_SWITCH, { 6000, 6500 }, { 20, 100 } },
    { "10 MiB/s: 48, 4.3 MiB and the rest", 10, 400, &usual, GW_SWITCH, { 6400, 7200 }, { 40, 300 } },
    { "always the same 4 MiB", 400, 4, &usual, GW_SWITCH, { 6000, 6500 }, { 30, 150 } },
    { "more than the link carries", 300, 400, &usual, GW_POSTCOPY, { 10000, 30000 }, { 20, 100 } },
    { "and no postcopy", 300, 400, &never, GW_GIVE_UP, { 55000, 70000 }, { 0, 0 } },
};

static void
test_rows (void)
{
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        const Row *row = &rows[i];
        GwPredictInput input = make_guest (row->write_mib * MIB, row->spread_mib * MIB);
        GwPrediction p = gw_predict (&input, row->allowance);
        g_autofree char *text = gw_prediction_tell (&p, row->allowance);
        g_test_message ("%s: %s", row->what, text);
        g_assert_cmpint (p.ends_by, ==, row->ends_by);
        g_assert_cmpint (p.total_ms.likely, >=, row->total_ms[0]);
        g_assert_cmpint (p.total_ms.likely, <=, row->total_ms[1]);
        g_assert_cmpint (p.downtime_ms.likely, >=, row->downtime_ms[0]);
        g_assert_cmpint (p.downtime_ms.likely, <=, row->downtime_ms[1]);
        g_assert_cmpint (p.confidence, ==, GW_CONFIDENCE_HIGH);
    }
}

/* Both numbers of a guest are found again from the two windows. */
static void
test_fit (void)
{
    static const double writes[] = { 1, 10, 100, 700 }, spreads[] = { 8, 50, 400 };
    for (guint i = 0; i < G_N_ELEMENTS (writes); i++) {
        for (guint k = 0; k < G_N_ELEMENTS (spreads); k++) {
            if (writes[i] > 5 * spreads[k]) /* within the first window it has written all of it */
                continue;
            GwPredictInput input = make_guest (writes[i] * MIB, spreads[k] * MIB);
            GwPrediction p = gw_predict (&input, &usual);
            g_assert_cmpfloat_with_epsilon ((double) p.write_bps, writes[i] * MIB, 0.1 * writes[i] * MIB);
            if (writes[i] > spreads[k] / 8) /* else it shows no end of what it writes to */
                g_assert_cmpfloat_with_epsilon ((double) p.spread_bytes, spreads[k] * MIB,
                                                0.1 * spreads[k] * MIB);
        }
    }
}

/* With the codec the first pass takes what is left of memory once compressed, and what is written again hardly
 * anything, as far as its memory goes. */
static void
test_codec (void)
{
    GwPredictInput input = make_guest (300.0 * MIB, 400.0 * MIB);
    input.rate_bps = 40 * MIB;
    input.packed_permille = 400;
    input.again_permille = 40;
    GwPrediction without = gw_predict (&input, &usual);
    g_assert_cmpint (without.ends_by, ==, GW_POSTCOPY);
    input.codec_bytes = 1000ll * MIB;
    GwPrediction with = gw_predict (&input, &usual);
    g_assert_cmpint (with.ends_by, ==, GW_SWITCH);
    g_assert_cmpint (with.total_ms.likely, >, 1000 + 5000); /* 500 MiB of which 200 are left */
    g_assert_cmpint (with.total_ms.likely, <, 1000 + 9000);
    input.codec_bytes = 40 * MIB; /* a tenth of what it writes to */
    GwPrediction little = gw_predict (&input, &usual);
    g_assert_cmpint (little.ends_by, ==, GW_POSTCOPY);
    g_assert_cmpint (little.total_ms.likely, <, without.total_ms.likely);
    input.rate_bps = 2000ll * MIB; /* of a link that is faster than the codec it takes nothing */
    GwPrediction fast = gw_predict (&input, &usual);
    input.codec_bytes = 0;
    g_assert_cmpint (fast.total_ms.likely, ==, gw_predict (&input, &usual).total_ms.likely);
}

static void
test_paused (void)
{
    GwPredictInput input = make_guest (0, 0);
    input.is_running = FALSE;
    GwPrediction p = gw_predict (&input, &usual);
    g_assert_cmpint (p.downtime_ms.likely, ==, 0);
    g_assert_cmpint (p.downtime_ms.high, ==, 0);
    g_assert_cmpint (p.total_ms.likely, >, 6000);
}

static void
test_disks (void)
{
    GwPredictInput input = make_guest (0, 0);
    GwPrediction without = gw_predict (&input, &usual);
    input.disk_bytes = 1000ll * MIB;
    GwPrediction with = gw_predict (&input, &usual);
    g_assert_cmpint (with.total_ms.likely - without.total_ms.likely, >=, 10000);
    g_assert_cmpint (with.total_ms.likely - without.total_ms.likely, <=, 10500);
    g_assert_cmpint (with.downtime_ms.likely, >, without.downtime_ms.likely);
}

static void
test_unknown (void)
{
    GwPredictInput input = make_guest (10.0 * MIB, 400.0 * MIB);
    input.filled_bytes = input.changed_bytes = input.load_us = input.state_bytes = -1;
    input.changed_us = 0;
    GwPrediction p = gw_predict (&input, &usual);
    g_assert_cmpint (p.confidence, !=, GW_CONFIDENCE_HIGH);
    g_assert_cmpint (p.total_ms.high, >, 11000); /* all of the RAM */
    g_assert_cmpint (p.total_ms.low, <, 6000);   /* a third of it */
}

/* Near the edge the outcome is not sure. */
static void
test_edge (void)
{
    guint n_low = 0;
    for (double write = 20; write < 300; write += 10) {
        GwPredictInput input = make_guest (write * MIB, 450.0 * MIB);
        n_low += gw_predict (&input, &usual).confidence == GW_CONFIDENCE_LOW;
    }
    g_assert_cmpuint (n_low, >, 0);
    g_assert_cmpuint (n_low, <, 20);
}

/* Whatever was measured, it ends, with a range around what is likely. */
static void
test_anything (void)
{
    guint32 seed = g_test_rand_int ();
    g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
    static const gint64 values[] = { -1, 0, 1, 4096, 10 * MIB, 1ll << 40, G_MAXINT64 / 4 };
    g_test_message ("seed %u", seed);
    for (guint i = 0; i < 300; i++) {
#define ANY values[g_rand_int_range (rand, 0, G_N_ELEMENTS (values))]
        GwPredictInput input = { .ram_bytes = ANY, .filled_bytes = ANY, .changed_bytes = ANY,
                                 .changed_us = ANY, .later_bytes = ANY, .later_us = ANY, .rate_bps = ANY,
                                 .rtt_us = ANY, .disk_bytes = ANY, .state_bytes = ANY, .load_us = ANY,
                                 .packed_permille = ANY, .again_permille = ANY, .codec_bytes = ANY,
                                 .setup_ms = ANY, .is_running = g_rand_boolean (rand) };
        GwPrediction p = gw_predict (&input, g_rand_boolean (rand) ? &usual : &never);
        g_assert_cmpint (p.total_ms.low, <=, p.total_ms.likely);
        g_assert_cmpint (p.total_ms.likely, <=, p.total_ms.high);
        g_assert_cmpint (p.downtime_ms.low, <=, p.downtime_ms.likely);
        g_assert_cmpint (p.downtime_ms.likely, <=, p.downtime_ms.high);
        g_assert_cmpint (p.downtime_ms.low, >=, 0);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/predict/rows", test_rows);
    g_test_add_func ("/predict/fit", test_fit);
    g_test_add_func ("/predict/codec", test_codec);
    g_test_add_func ("/predict/paused", test_paused);
    g_test_add_func ("/predict/disks", test_disks);
    g_test_add_func ("/predict/unknown", test_unknown);
    g_test_add_func ("/predict/edge", test_edge);
    g_test_add_func ("/predict/anything", test_anything);
    return g_test_run ();
}
