/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which address the source dials when. */
#include "redial.h"

#define MS G_GINT64_CONSTANT (1000)

/* Dials until there is nothing due; returns the set of addresses as bits. */
static guint
dial_all (GwRedial *redial, gint64 now_us)
{
    guint set = 0;
    int address;
    while ((address = gw_redial_next (redial, now_us)) >= 0)
        set |= 1u << address;
    return set;
}

static void
test_all_at_once (void)
{
    g_autoptr (GwRedial) redial = gw_redial_new (1, 1);
    for (int i = 0; i < 3; i++)
        g_assert_cmpint (gw_redial_add (redial, 0), ==, i);
    g_assert_cmpint (gw_redial_get_due (redial), ==, 0);
    g_assert_cmpuint (dial_all (redial, 0), ==, 7);
    gw_redial_up (redial, 1, 5 * MS);
    g_assert_false (gw_redial_is_wanted (redial));
    gw_redial_dropped (redial, 0);
    g_assert_cmpuint (dial_all (redial, 10000 * MS), ==, 0);
    g_assert_cmpint (gw_redial_get_due (redial), ==, G_MAXINT64);
}

/* A dial without an answer does not keep the next one waiting, but there is a bound. */
static void
test_silence (void)
{
    g_autoptr (GwRedial) redial = gw_redial_new (1, 1);
    gw_redial_add (redial, 0);
    for (int i = 0; i < GW_REDIAL_AT_ONCE; i++) {
        gint64 now_us = i * GW_REDIAL_AGAIN_MS * MS;
        g_assert_cmpint (gw_redial_get_due (redial), ==, now_us);
        g_assert_cmpint (gw_redial_next (redial, now_us), ==, 0);
        g_assert_cmpint (gw_redial_next (redial, now_us), ==, -1);
    }
    g_assert_cmpint (gw_redial_next (redial, 60000 * MS), ==, -1);
    gw_redial_dropped (redial, 0);
    g_assert_cmpint (gw_redial_next (redial, 60000 * MS), ==, 0);
}

/* The delay after a refusal doubles, within half of itself, up to its bound. */
static void
test_backoff (void)
{
    for (guint32 seed = 0; seed < 200; seed++) {
        g_autoptr (GwRedial) redial = gw_redial_new (1, seed);
        gint64 now_us = 0, most_ms = GW_REDIAL_FIRST_MS;
        gw_redial_add (redial, 0);
        for (int i = 0; i < 10; i++) {
            g_assert_cmpint (gw_redial_next (redial, now_us), ==, 0);
            gw_redial_failed (redial, 0, now_us);
            gint64 wait_us = gw_redial_get_due (redial) - now_us;
            g_assert_cmpint (wait_us, >=, most_ms * MS / 2);
            g_assert_cmpint (wait_us, <=, most_ms * MS);
            g_assert_cmpint (gw_redial_next (redial, now_us + wait_us - 1), ==, -1);
            now_us += wait_us;
            most_ms = MIN (2 * most_ms, GW_REDIAL_LAST_MS);
        }
    }
}

/* A path that lived is redialled soon, one that dies at once is not hammered. */
static void
test_after_a_path (void)
{
    for (int lives = 0; lives < 2; lives++) {
        g_autoptr (GwRedial) redial = gw_redial_new (1, 3);
        gint64 now_us = 0, wait_us = 0;
        gw_redial_add (redial, 0);
        for (int i = 0; i < 8; i++) {
            g_assert_cmpint (gw_redial_next (redial, now_us), ==, 0);
            gw_redial_up (redial, 0, now_us);
            now_us += lives ? GW_REDIAL_LAST_MS * MS : GW_REDIAL_OTHERS_MS * MS;
            gw_redial_down (redial, 0, now_us);
            wait_us = gw_redial_get_due (redial) - now_us;
            now_us += wait_us;
        }
        if (lives)
            g_assert_cmpint (wait_us, <=, GW_REDIAL_FIRST_MS * MS);
        else
            g_assert_cmpint (wait_us, >=, GW_REDIAL_LAST_MS * MS / 2);
    }
}

/* Several paths take several ways, also when one of the ways is gone. */
static void
test_two_ways (void)
{
    g_autoptr (GwRedial) redial = gw_redial_new (2, 1);
    gw_redial_add (redial, 0);
    gw_redial_add (redial, 0);
    g_assert_cmpuint (dial_all (redial, 0), ==, 3);
    gw_redial_up (redial, 0, MS);
    g_assert_true (gw_redial_is_wanted (redial));
    g_assert_cmpint (gw_redial_next (redial, 2 * MS), ==, -1); /* the other has its chance */
    gw_redial_failed (redial, 1, 2 * MS);
    gint64 later_us = (GW_REDIAL_OTHERS_MS + 1) * MS;
    g_assert_cmpint (gw_redial_next (redial, later_us), ==, 1);
    g_assert_cmpint (gw_redial_next (redial, later_us), ==, 0);
    gw_redial_up (redial, 0, later_us);
    g_assert_false (gw_redial_is_wanted (redial));
}

/* A path that is to be renewed counts no more, at once and only once. */
static void
test_renewal (void)
{
    g_autoptr (GwRedial) redial = gw_redial_new (1, 1);
    gw_redial_add (redial, 0);
    g_assert_cmpint (gw_redial_next (redial, 0), ==, 0);
    gw_redial_up (redial, 0, 0);
    gw_redial_retire (redial, 0, MS);
    g_assert_cmpint (gw_redial_next (redial, MS), ==, 0);
    gw_redial_up (redial, 0, 2 * MS);
    g_assert_false (gw_redial_is_wanted (redial));
}

static void
test_remove (void)
{
    g_autoptr (GwRedial) redial = gw_redial_new (1, 1);
    for (int i = 0; i < GW_REDIAL_ADDRESSES; i++)
        g_assert_cmpint (gw_redial_add (redial, 0), ==, i);
    g_assert_cmpint (gw_redial_add (redial, 0), ==, -1);
    g_assert_cmpuint (dial_all (redial, 0), ==, 0xffff);
    gw_redial_up (redial, 4, 0);
    gw_redial_remove (redial, 4);
    g_assert_true (gw_redial_is_wanted (redial));
    gw_redial_down (redial, 4, MS); /* what was out when it went */
    gw_redial_failed (redial, 4, MS);
    g_assert_cmpuint (dial_all (redial, GW_REDIAL_AGAIN_MS * MS), ==, 0xffff & ~(1u << 4));
    g_assert_cmpint (gw_redial_add (redial, 0), ==, 4);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/redial/all-at-once", test_all_at_once);
    g_test_add_func ("/redial/silence", test_silence);
    g_test_add_func ("/redial/backoff", test_backoff);
    g_test_add_func ("/redial/after-a-path", test_after_a_path);
    g_test_add_func ("/redial/two-ways", test_two_ways);
    g_test_add_func ("/redial/renewal", test_renewal);
    g_test_add_func ("/redial/remove", test_remove);
    return g_test_run ();
}
