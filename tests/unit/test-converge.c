/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When the guest may be stopped for the switchover. */
#include "job-internal.h"

#define MB G_GINT64_CONSTANT (1000000)

static const struct {
    const char *what;
    gint64 remaining, rate, rounds, max_downtime_ms;
    gboolean can_switch;
} rows[] = {
    { "24 MB at 100 MB/s need 240 ms of 300, 60 are kept", 24 * MB, 100 * MB, 2, 300, TRUE },
    { "a little more does not fit", 25 * MB, 100 * MB, 2, 300, FALSE },
    { "the first round is never the last", 0, 100 * MB, 1, 300, FALSE },
    { "nothing is known of the rate", 1, 0, 2, 300, FALSE },
    { "nothing is left", 0, 1 * MB, 2, 300, TRUE },
    { "of a small allowance half is kept", 2 * MB, 100 * MB, 7, 40, TRUE },
    { "and not more", 3 * MB, 100 * MB, 7, 40, FALSE },
    { "one millisecond is allowed", MB / 10, 100 * MB, 7, 1, TRUE },
    { "large numbers do not overflow", G_MAXINT64, G_MAXINT64 / 10, 2, 2000000, TRUE },
};

static void
test_rows (void)
{
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        GwMigration m = { .remaining_bytes = rows[i].remaining,
                          .rate_bps = rows[i].rate,
                          .rounds = rows[i].rounds };
        g_test_message ("%s", rows[i].what);
        g_assert_cmpint (gw_converge_can_switch (&m, rows[i].max_downtime_ms), ==,
                         rows[i].can_switch);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/converge/rows", test_rows);
    return g_test_run ();
}
