/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the link takes, asked once (ramprobe.c), beside links of which it is known. */
#include "ramlane.h"

#define STEP_US 500

/* A shaper, and what it lets through at once. */
typedef struct {
    const char *name;
    double rate, at_once;
} Link;

static const Link links[] = {
    { "/ram-probe/300-mbit", 37.5e6, 375e3 },
    { "/ram-probe/1-gbit", 125e6, 1.25e6 },
    { "/ram-probe/1-gbit-as-it-is", 125e6, 0 },
    { "/ram-probe/10-gbit", 1250e6, 2e6 },
};

/* What is made at `made` bytes a second leaves as the probe and the link allow; the rate that it tells. */
static double
ask (const Link *link, double made, uint64_t *ret_given_first)
{
    GwRamProbe probe;
    double left = 0, tokens = link->at_once;
    uint64_t there = 0, given = 0;
    *ret_given_first = 0;
    gw_ram_probe_init (&probe);
    for (gint64 now_us = 1000; !gw_ram_probe_is_over (&probe); now_us += STEP_US) {
        g_assert_cmpint (now_us, <, 2 * G_USEC_PER_SEC);
        there += (uint64_t) (made * STEP_US / 1e6);
        const GwRamOutReady ready = { .bytes = there - given, .has_pages = TRUE, .may_wait = TRUE };
        gboolean is_held = gw_ram_probe_hold (&probe, &ready, given, now_us) > 0;
        g_assert_true (is_held == gw_ram_probe_is_holding (&probe));
        if (!is_held)
            given = there;
        if (*ret_given_first == 0)
            *ret_given_first = given;
        tokens = MIN (tokens + link->rate * STEP_US / 1e6, MAX (link->at_once, link->rate * STEP_US / 1e6));
        double goes = MIN (tokens, (double) given - left);
        left += goes;
        tokens -= goes;
        (void) gw_ram_probe_note (&probe, (uint64_t) left, now_us + STEP_US);
    }
    return probe.rate;
}

/* A crew that makes 80 MB/s is slower than most of them: what it is given tells one from the other nevertheless. */
static void
test_link (gconstpointer data)
{
    const Link *link = data;
    uint64_t first;
    double rate = ask (link, 80e6, &first);
    g_assert_cmpuint (first, >=, GW_RAM_PROBE_BYTES);
    g_assert_cmpfloat (rate, >=, link->rate * 0.7);
    g_assert_cmpfloat (rate, <=, link->rate * 1.45);
}

/* Nothing is held for long, and of next to nothing no rate is told.  Nor is it where the link is waited for anyway. */
static void
test_too_few (void)
{
    static const Link very_slow = { "10 Mbit/s", 1.25e6, 12500 };
    uint64_t first;
    g_assert_cmpfloat (ask (&links[0], 10e6, &first), ==, 0);
    g_assert_cmpuint (first, <, 1 << 20);
    g_assert_cmpfloat (ask (&very_slow, 80e6, &first), ==, 0);
    g_assert_cmpuint (first, >=, GW_RAM_PROBE_BYTES);
}

/* Where QEMU waits for something, and where there are no pages, nothing is held. */
static void
test_who_waits (void)
{
    const GwRamOutReady control = { .bytes = 3000 }, pages = { 500000, TRUE, TRUE }, urgent = { 600000, TRUE, FALSE };
    GwRamProbe probe;
    gw_ram_probe_init (&probe);
    g_assert_cmpint (gw_ram_probe_hold (&probe, &control, 0, 1000), ==, 0);
    g_assert_cmpint (gw_ram_probe_hold (&probe, &pages, 3000, 2000), >, 2000);
    g_assert_true (gw_ram_probe_is_holding (&probe));
    g_assert_cmpint (gw_ram_probe_hold (&probe, &urgent, 3000, 3000), ==, 0);
    g_assert_true (gw_ram_probe_is_over (&probe));
    g_assert_cmpint (gw_ram_probe_hold (&probe, &pages, 700000, 4000), ==, 0);
    gw_ram_probe_init (&probe);
    gw_ram_probe_cancel (&probe);
    g_assert_cmpint (gw_ram_probe_hold (&probe, &pages, 0, 1000), ==, 0);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (links); i++)
        g_test_add_data_func (links[i].name, &links[i], test_link);
    g_test_add_func ("/ram-probe/too-few", test_too_few);
    g_test_add_func ("/ram-probe/who-waits", test_who_waits);
    return g_test_run ();
}
