/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The courier's waiting: it ends at its time, and is never refused for one that has just passed. */
#include "courier.h"

#include <sys/prctl.h>
#include <unistd.h>

#define TURNS 100000

/* A time that passes while it is looked at: once in a hundred thousand turns it made the wait negative. */
static void
test_just_past (void)
{
    GwPolls polls;
    g_assert_cmpint (prctl (PR_SET_TIMERSLACK, 1, 0, 0, 0), ==, 0); /* each wait takes 50 us more else */
    gw_polls_init (&polls);
    for (guint i = 0; i < TURNS; i++) {
        g_autoptr (GError) error = NULL;
        gw_polls_reset (&polls);
        gw_polls_add_due (&polls, g_get_monotonic_time () + i % 2);
        g_assert_true (gw_polls_wait (&polls, &error));
        g_assert_no_error (error);
    }
    gw_polls_clear (&polls);
}

static void
test_times (void)
{
    static const gint64 waits_us[] = { G_MININT64 / 2, -1, 0, 1, 999, 20000 };
    GwPolls polls;
    gw_polls_init (&polls);
    for (guint i = 0; i < G_N_ELEMENTS (waits_us); i++) {
        g_autoptr (GError) error = NULL;
        gint64 begin_us = g_get_monotonic_time ();
        gw_polls_reset (&polls);
        gw_polls_add_due (&polls, begin_us + waits_us[i]);
        g_assert_true (gw_polls_wait (&polls, &error));
        g_assert_cmpint (g_get_monotonic_time () - begin_us, >=, waits_us[i]);
    }
    gw_polls_clear (&polls);
}

/* Without a time it waits for what it was given. */
static void
test_descriptor (void)
{
    int ends[2];
    GwPolls polls;
    g_autoptr (GError) error = NULL;
    g_assert_cmpint (pipe (ends), ==, 0);
    g_assert_cmpint (write (ends[1], "x", 1), ==, 1);
    gw_polls_init (&polls);
    guint place = gw_polls_add (&polls, ends[0], POLLIN);
    g_assert_true (gw_polls_wait (&polls, &error));
    g_assert_cmpint (gw_polls_get (&polls, place), ==, POLLIN);
    gw_polls_clear (&polls);
    (void) close (ends[0]);
    (void) close (ends[1]);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/courier-polls/just-past", test_just_past);
    g_test_add_func ("/courier-polls/times", test_times);
    g_test_add_func ("/courier-polls/descriptor", test_descriptor);
    return g_test_run ();
}
