/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the encoder does not understand arrives byte for byte: samples, damage, other page sizes, XBZRLE. */
#include "test-ramcodec-lane.h"
#include "test-stream-samples.h"

static void
test_samples (void)
{
    for (Sample sample = 0; sample < N_SAMPLES; sample++) {
        g_autoptr (GByteArray) stream = sample_new (sample);
        for (gsize most = 0; most < 30; most++) {
            GwStreamParams params;
            Trip trip;
            trip_init (&trip);
            sample_params (sample, &params);
            trip.params.kind = params.kind;
            trip.params.page_size = params.page_size;
            trip.most = most;
            Arrival arrival = trip_go (&trip, stream->data, stream->len);
            assert_same_bytes (&arrival, stream->data, stream->len);
            arrival_clear (&arrival);
        }
    }
}

/* Changed and cut streams: from the first fault on every byte passes as it is. */
static void
test_mutated (void)
{
    Lane lane;
    Trip trip;
    g_autoptr (GRand) rand = g_rand_new_with_seed (99);
    trip_init (&trip);
    trip.params.can_leave_out = FALSE;
    lane_init (&lane, 12, 7);
    lane_build (&lane, 3, FALSE);
    guint n_passing = 0;
    for (guint i = 0; i < 400; i++) {
        g_autofree uint8_t *copy = g_memdup2 (lane.out->data, lane.out->len);
        gsize len = lane.out->len - (gsize) g_rand_int_range (rand, 0, 5000);
        for (int k = g_rand_int_range (rand, 1, 4); k > 0; k--) {
            /* Near the head of a record more often than not. */
            gsize at = (gsize) g_rand_int_range (rand, 0, (gint32) len);
            copy[at] = (uint8_t) (copy[at] ^ (1 << g_rand_int_range (rand, 0, 8)));
            gsize head = 200 + (gsize) g_rand_int_range (rand, 0, 20) * (LANE_PAGE + 8);
            copy[MIN (head, len - 1)] ^= (uint8_t) g_rand_int_range (rand, 0, 2);
        }
        trip.seed = i;
        trip.most = i % 3 == 0 ? 50 : 9000;
        Arrival arrival = trip_go (&trip, copy, len);
        assert_same_bytes (&arrival, copy, len);
        n_passing += arrival.is_passing;
        arrival_clear (&arrival);
    }
    g_assert_cmpuint (n_passing, >, 5);
    g_assert_cmpuint (n_passing, <, 400);
    lane_clear (&lane);
}

/* The configuration may say another page size than the caller: such pages are raw. */
static void
test_page_bits (void)
{
    GwStreamBlock block = { .name = (char *) "a", .used_length = 8 * LANE_PAGE };
    uint8_t page[LANE_PAGE];
    Trip trip;
    g_autoptr (GByteArray) stream = g_byte_array_new ();
    trip_init (&trip);
    trip.params.page_size = 1024;
    memset (page, 'x', sizeof page);
    gw_stream_put_header (stream);
    gw_stream_put_configuration (stream, "virt-7.2");
    put_config_part (stream, "configuration/target-page-bits", "\0\0\0\14", 4);
    put_ram_start (stream, &block, 1);
    put_start (stream, GW_STREAM_BYTE_PART, 2, NULL, 0);
    for (guint i = 0; i < 12; i++)
        gw_stream_put_ram_page (stream, i == 0 ? "a" : NULL, (uint64_t) (i % 6) * LANE_PAGE,
                                i % 3 == 0 ? NULL : page, LANE_PAGE);
    put_eos (stream, 2);
    gw_stream_put_eof (stream);
    Arrival arrival = trip_go (&trip, stream->data, stream->len);
    assert_same_bytes (&arrival, stream->data, stream->len);
    g_assert_false (arrival.is_passing);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_OTHER].pages, ==, 12);
    arrival_clear (&arrival);
}

/* Behind the block list the reader must look eight bytes ahead to know whether a page-size word
 * follows; these bytes are passed on meanwhile, and may be the head of a page. */
static void
test_page_after_list (void)
{
    static const gsize most[] = { 0, 1, 3, 9 };
    for (guint i = 0; i < G_N_ELEMENTS (most); i++) {
        const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
        const GwStreamBlock block = { .name = (char *) "pc.ram", .used_length = 4 * LANE_PAGE };
        const GwStreamBlock *list[] = { &block };
        Lane lane;
        Trip trip;
        trip_init (&trip);
        trip.most = most[i];
        lane_init (&lane, 4, 1);
        memset (lane.memory, 'x', 2 * LANE_PAGE);
        gw_stream_put_header (lane.out);
        gw_stream_put_advise (lane.out, LANE_PAGE, LANE_PAGE);
        gw_stream_put_section (lane.out, GW_STREAM_BYTE_START, &ram);
        gw_stream_put_ram_list (lane.out, list, 1);
        lane_send (&lane, 1);
        lane_send (&lane, 0);
        lane_end_part (&lane);
        gw_stream_put_eof (lane.out);
        Arrival arrival = trip_carry (&trip, &lane);
        assert_same_bytes (&arrival, lane.out->data, lane.out->len);
        g_assert_false (arrival.is_passing);
        arrival_clear (&arrival);
        lane_clear (&lane);
    }
}

static void
test_other_page_size (void)
{
    Lane lane;
    Trip trip;
    trip_init (&trip);
    trip.params.page_size = 16384;
    lane_init (&lane, 10, 1);
    lane_build (&lane, 2, FALSE);
    Arrival arrival = trip_carry (&trip, &lane);
    assert_same_bytes (&arrival, lane.out->data, lane.out->len);
    arrival_clear (&arrival);
    lane_clear (&lane);
}

/* XBZRLE pages travel as they are, and the page is not taken for what it was before. */
static void
test_xbzrle (void)
{
    const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
    Lane lane;
    Trip trip;
    uint8_t head[8];
    trip_init (&trip);
    lane_init (&lane, 4, 1);
    lane_begin (&lane);
    gw_stream_put_section (lane.out, GW_STREAM_BYTE_PART, &ram);
    memset (lane.memory, 'a', LANE_PAGE);
    lane_send (&lane, 0);
    gw_store_be64 (head, GW_RAM_XBZRLE | GW_RAM_CONTINUE);
    g_byte_array_append (lane.out, head, sizeof head);
    g_byte_array_append (lane.out, (const guint8 *) "\1\0\3\0\1b", 6);
    lane_send (&lane, 0); /* back to what it was: must not be left out */
    lane_end_part (&lane);
    gw_stream_put_eof (lane.out);
    Arrival arrival = trip_carry (&trip, &lane);
    assert_same_bytes (&arrival, lane.out->data, lane.out->len);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_OTHER].pages, ==, 1);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_COPY].pages, ==, 1);
    arrival_clear (&arrival);
    lane_clear (&lane);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/ramcodec/odd/samples", test_samples);
    g_test_add_func ("/ramcodec/odd/mutated", test_mutated);
    g_test_add_func ("/ramcodec/odd/page-bits", test_page_bits);
    g_test_add_func ("/ramcodec/odd/page-after-list", test_page_after_list);
    g_test_add_func ("/ramcodec/odd/other-page-size", test_other_page_size);
    g_test_add_func ("/ramcodec/odd/xbzrle", test_xbzrle);
    return g_test_run ();
}
