/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much work on pages a link is worth. */
#include "test-ram-way.h"

/* Sends a pass over all pages, each 256 KiB in a time, and says how many pages were light so far. */
static uint64_t
send_pass (Way *way, Lane *lane, const GwRamOutLink *link, gint64 step_us, gint64 *now_us)
{
    GwRamOutCounters counters;
    lane_pass (lane, 100, GW_STREAM_BYTE_PART);
    for (gsize at = 0, len; at < lane->out->len; at += len) {
        gsize room_len, ready;
        uint8_t *room = gw_ram_out_get_room (way->out, &room_len);
        len = MIN (lane->out->len - at, room_len);
        memcpy (room, lane->out->data + at, len);
        gw_ram_out_push (way->out, len, link, *now_us += step_us);
        while (gw_ram_out_peek (way->out, &ready) != NULL && ready > 0)
            gw_ram_out_consume (way->out, ready);
    }
    g_byte_array_set_size (lane->out, 0);
    gw_ram_out_get_counters (way->out, &counters);
    return counters.encoder.light;
}

/* While nobody waits for the link, pages are not worth any work; as soon as somebody does, they are, but for a link
 * that is fast all the time. */
static void
test_light (void)
{
    static const GwRamOutLink free_link = { FALSE, 1e9 }, slow = { TRUE, 40e6 }, fast = { TRUE, 1.2e9 };
    gint64 now_us = 1000;
    Lane lane;
    Way way;
    ends_init (&lane, &way);
    uint64_t first = send_pass (&way, &lane, &free_link, 200, &now_us);
    g_assert_cmpuint (first, >, 300); /* not at once */
    g_assert_cmpuint (first, <, 6000);
    g_assert_cmpuint (send_pass (&way, &lane, &slow, 200, &now_us), ==, first);
    uint64_t last = first;
    for (guint i = 0; i < 6; i++) /* it has been wrong once, and what the link takes is to be seen first: not at once */
        last = send_pass (&way, &lane, &fast, 200, &now_us);
    g_assert_cmpuint (last, >, first);
    for (guint i = 0; i < 3; i++)
        last = send_pass (&way, &lane, &fast, 5000, &now_us); /* it slows down */
    g_assert_cmpuint (send_pass (&way, &lane, &fast, 5000, &now_us), ==, last);
    ends_clear (&lane, &way);
}

/* One that took so much when it was asked, though it is waited for now and then: what it takes over a while is not known yet. */
static void
test_fast_link_is_light_soon (void)
{
    static const GwRamOutLink fast = { TRUE, 1e9 };
    gint64 now_us = 1000;
    Lane lane;
    Way way;
    ends_init (&lane, &way);
    g_assert_cmpuint (send_pass (&way, &lane, &fast, 200, &now_us), >, 300);
    ends_clear (&lane, &way);
}

/* That nobody waits for it is the couriers' being late; one of which nothing is known is taken for slow. */
static void
test_slow_link_is_never_light (gconstpointer data)
{
    const GwRamOutLink slow = { FALSE, 1e6 * GPOINTER_TO_INT (data) };
    GwRamOutCounters counters;
    gint64 now_us = 1000;
    Lane lane;
    Way way;
    ends_init (&lane, &way);
    for (guint i = 0; i < 3; i++)
        g_assert_cmpuint (send_pass (&way, &lane, &slow, 200, &now_us), ==, 0);
    gw_ram_out_get_counters (way.out, &counters);
    g_assert_cmpuint (counters.groups, >, 100);
    g_assert_cmpuint (counters.packed_groups, >=, counters.groups - 3); /* what is there between two passes is small */
    ends_clear (&lane, &way);
}

/* Bytes of the link that a pass takes; `is_late`: what is ready leaves when the program has asked for room in vain. */
static uint64_t
weigh_pass (gboolean is_late)
{
    static const GwRamOutLink link = { FALSE, 12e6 };
    GwRamOutCounters counters;
    Lane lane;
    Way way;
    ends_init (&lane, &way);
    lane_pass (&lane, 100, GW_STREAM_BYTE_PART);
    for (gsize at = 0, len, ready; at < lane.out->len; at += len) {
        uint8_t *room = gw_ram_out_get_room (way.out, &len);
        len = MIN (lane.out->len - at, len);
        memcpy (room, lane.out->data + at, len);
        gw_ram_out_push (way.out, len, &link, 1000);
        if (is_late)
            (void) gw_ram_out_get_room (way.out, &ready);
        while (gw_ram_out_peek (way.out, &ready) != NULL && ready > 0)
            gw_ram_out_consume (way.out, ready);
    }
    gw_ram_out_get_counters (way.out, &counters);
    ends_clear (&lane, &way);
    return counters.wire;
}

/* The link is what is waited for where it keeps the program's next bytes from being read, though it may be idle when a group comes. */
static void
test_link_is_waited_for (void)
{
    uint64_t soon = weigh_pass (FALSE), late = weigh_pass (TRUE);
    g_test_message ("%" G_GUINT64_FORMAT " bytes, and %" G_GUINT64_FORMAT " with more effort", soon, late);
    g_assert_cmpuint (late, <, soon - soon / 200);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/ram-lane/light", test_light);
    g_test_add_func ("/ram-lane/fast", test_fast_link_is_light_soon);
    g_test_add_data_func ("/ram-lane/slow", GINT_TO_POINTER (40), test_slow_link_is_never_light);
    g_test_add_data_func ("/ram-lane/not-known", GINT_TO_POINTER (0), test_slow_link_is_never_light);
    g_test_add_func ("/ram-lane/waited-for", test_link_is_waited_for);
    return g_test_run ();
}
