/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The codec's memory: its bound, and which pages have a place in it. */
#include "test-ramcodec-lane.h"

/* The stream ends, and what arrives makes the same memory within the bound. */
static Arrival
end (const Trip *trip, Lane *lane)
{
    gw_stream_put_eof (lane->out);
    Arrival arrival = trip_carry (trip, lane);
    assert_equivalent (lane->out, arrival.out);
    g_assert_cmpuint (arrival.counters.index_bytes + arrival.counters.cache_bytes, <=, trip->params.memory_bytes);
    g_assert_cmpuint (arrival.decoder_memory, <=, trip->params.memory_bytes);
    return arrival;
}

static void
test_budgets (void)
{
    static const uint64_t budgets[] = { 0, 1, 4096, 20000, 30000, 60000, 100000, 300000, 1 << 20,
                                        4 << 20 };
    gsize first = 0, last = 0;
    for (guint i = 0; i < G_N_ELEMENTS (budgets); i++) {
        Lane lane;
        Trip trip;
        trip_init (&trip);
        trip.params.memory_bytes = budgets[i];
        trip.stocks_up = i % 2 == 1;
        lane_init (&lane, 200, 11);
        lane_build (&lane, 5, FALSE);
        Arrival arrival = trip_carry (&trip, &lane);
        assert_equivalent (lane.out, arrival.out);
        g_assert_cmpuint (arrival.counters.index_bytes + arrival.counters.cache_bytes, <=,
                          budgets[i]);
        g_assert_cmpuint (arrival.decoder_memory, <=, budgets[i]);
        last = arrival.wire;
        first = i == 0 ? last : first;
        arrival_clear (&arrival);
        lane_clear (&lane);
    }
    g_assert_cmpuint (last, <, first - first / 4);
}

/* A working set larger than the cache keeps a part of itself in it. */
static void
test_cache_resists_cycles (void)
{
    Lane lane;
    Trip trip;
    trip_init (&trip);
    trip.params.memory_bytes = 400 * LANE_PAGE;
    lane_init (&lane, 250, 1);
    lane_begin (&lane);
    for (guint pass = 0; pass < 12; pass++) {
        const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
        gw_stream_put_section (lane.out, GW_STREAM_BYTE_PART, &ram);
        for (guint page = 0; page < 500; page++) {
            uint8_t *p = lane_get_page (&lane, page);
            for (guint i = 0; pass == 0 && i < LANE_PAGE; i++)
                p[i] = (uint8_t) g_rand_int (lane.rand);
            p[pass * 16]++;
            lane_send (&lane, page);
        }
        lane_end_part (&lane);
    }
    Arrival arrival = end (&trip, &lane);
    /* The cache has room for about 380 of 500; a third of all would be less than half of that. */
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_DELTA].pages, >, 11 * 500 / 3);
    arrival_clear (&arrival);
    lane_clear (&lane);
}

/* Pages that shrink make room for those that do not: of 300 and 400 with room for about 380, most of the 400 are
 * deltas when they are written again. */
static void
test_cache_keeps_what_is_worth_it (void)
{
    Lane lane;
    Trip trip;
    trip_init (&trip);
    trip.params.memory_bytes = 400 * LANE_PAGE;
    lane_init (&lane, 350, 1);
    lane_begin (&lane);
    for (guint pass = 0; pass < 2; pass++) {
        const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
        gw_stream_put_section (lane.out, GW_STREAM_BYTE_PART, &ram);
        for (guint page = pass == 0 ? 0 : 300; page < 700; page++) {
            uint8_t *p = lane_get_page (&lane, page);
            for (guint i = 0; pass == 0 && i < LANE_PAGE; i++)
                p[i] = page < 300 ? (uint8_t) (i % 37 + page) : (uint8_t) g_rand_int (lane.rand);
            p[16] = (uint8_t) pass;
            lane_send (&lane, page);
        }
        lane_end_part (&lane);
    }
    Arrival arrival = end (&trip, &lane);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_DELTA].pages, >, 250);
    arrival_clear (&arrival);
    lane_clear (&lane);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/ramcodec/memory/budgets", test_budgets);
    g_test_add_func ("/ramcodec/memory/cache-resists-cycles", test_cache_resists_cycles);
    g_test_add_func ("/ramcodec/memory/cache-keeps-worth", test_cache_keeps_what_is_worth_it);
    return g_test_run ();
}
