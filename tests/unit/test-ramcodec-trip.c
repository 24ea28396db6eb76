/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From an encoder to a decoder: what arrives is what was sent, whatever is done to it on the way. */
#include "test-ramcodec-lane.h"
#include "test-stream-samples.h"

static void
assert_same_bytes (const Arrival *arrival, const uint8_t *data, gsize len)
{
    g_assert_cmpmem (arrival->out->data, arrival->out->len, data, len);
}

static Arrival
go (const Trip *trip, const Lane *lane)
{
    return trip_go (trip, lane->out->data, lane->out->len);
}

/* --- nothing is left out: the same bytes --------------------------------------------------------- */

static void
test_exact (void)
{
    static const gsize most[] = { 0, 1, 7, 4096, 70000, 3 << 20 };
    Lane lane;
    Trip trip;
    trip_init (&trip);
    trip.params.can_leave_out = FALSE;
    lane_init (&lane, 64, 3);
    lane_build (&lane, 4, FALSE);
    for (guint i = 0; i < G_N_ELEMENTS (most); i++) {
        trip.most = most[i];
        Arrival arrival = go (&trip, &lane);
        assert_same_bytes (&arrival, lane.out->data, lane.out->len);
        g_assert_false (arrival.is_passing);
        g_assert_cmpuint (arrival.counters.classes[GW_RAM_UNCHANGED].pages, ==, 0);
        g_assert_cmpuint (arrival.counters.classes[GW_RAM_DELTA].pages, >, 20);
        g_assert_cmpuint (arrival.counters.classes[GW_RAM_COPY].pages, >, 5);
        g_assert_cmpuint (arrival.counters.input, ==, lane.out->len);
        arrival_clear (&arrival);
    }
    lane_clear (&lane);
}

/* --- precopy: the same memory, the same everything else ------------------------------------------ */

static void
test_leaves_out (void)
{
    for (guint32 seed = 1; seed <= 8; seed++) {
        Lane lane;
        Trip trip;
        trip_init (&trip);
        trip.seed = seed;
        trip.flushes = seed % 2 == 0;
        trip.level = (int) seed % 3;
        lane_init (&lane, 50, seed);
        lane_build (&lane, 6, FALSE);
        Arrival arrival = go (&trip, &lane);
        assert_equivalent (lane.out, arrival.out);
        g_assert_cmpuint (arrival.counters.classes[GW_RAM_UNCHANGED].pages, >, 0);
        g_assert_cmpuint (arrival.out->len + arrival.counters.classes[GW_RAM_UNCHANGED].input, ==,
                          lane.out->len);
        g_assert_cmpuint (arrival.wire, <, lane.out->len);
        arrival_clear (&arrival);
        lane_clear (&lane);
    }
}

/* A record that changes what CONTINUE means is never left out. */
static void
test_keeps_names (void)
{
    Lane lane;
    Trip trip;
    trip_init (&trip);
    lane_init (&lane, 4, 1);
    lane_begin (&lane);
    for (guint pass = 0; pass < 3; pass++) {
        const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
        gw_stream_put_section (lane.out, GW_STREAM_BYTE_PART, &ram);
        for (guint page = 0; page < 8; page++) {
            memset (lane_get_page (&lane, page), (int) page / 2, LANE_PAGE);
            lane_send (&lane, page);
        }
        lane_end_part (&lane);
    }
    gw_stream_put_eof (lane.out);
    Arrival arrival = go (&trip, &lane);
    assert_equivalent (lane.out, arrival.out);
    /* Of the 16 records of later passes four name a block that was not the last. */
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_UNCHANGED].pages, ==, 12);
    arrival_clear (&arrival);
    lane_clear (&lane);
}

/* Of a device that is sent while the guest runs. */
static void
put_live_part (Lane *lane)
{
    const GwStreamSection vfio = { .id = 4, .version = 1, .name = (char *) "vfio" };
    gw_stream_put_section (lane->out, GW_STREAM_BYTE_START, &vfio);
    g_byte_array_append (lane->out, (const guint8 *) "~device~state", 13);
    gw_stream_put_footer (lane->out, 4);
}

/* After a device's section nothing is left out: its end was a guess. */
static void
test_device_ends_leaving_out (gconstpointer is_live)
{
    Lane lane;
    Trip trip;
    trip_init (&trip);
    lane_init (&lane, 8, 1);
    lane_begin (&lane);
    lane_pass (&lane, 100, GW_STREAM_BYTE_PART);
    if (is_live != NULL)
        put_live_part (&lane);
    else
        lane_device (lane.out, 4);
    for (guint i = 0; i < 2; i++) {
        const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
        gw_stream_put_section (lane.out, GW_STREAM_BYTE_PART, &ram);
        for (guint page = 0; page < 16; page++)
            lane_send (&lane, page);
        lane_end_part (&lane);
    }
    gw_stream_put_eof (lane.out);
    Arrival arrival = go (&trip, &lane);
    assert_same_bytes (&arrival, lane.out->data, lane.out->len);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_UNCHANGED].pages, ==, 0);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_COPY].pages, >, 10);
    arrival_clear (&arrival);
    lane_clear (&lane);
}

/* --- light ---------------------------------------------------------------------------------------- */

typedef struct {
    GwRamEncoder *encoder;
    GwRamDecoder *decoder;
    GwRamPacker *packer;
    Arrival arrival;
} Line;

static void
line_init (Line *line, const Trip *trip)
{
    *line = (Line){ gw_ram_encoder_new (&trip->params), gw_ram_decoder_new (&trip->params),
                    gw_ram_packer_new (), { .out = g_byte_array_new () } };
}

static void
line_clear (Line *line)
{
    gw_ram_encoder_free (line->encoder);
    gw_ram_decoder_free (line->decoder);
    gw_ram_packer_free (line->packer);
    arrival_clear (&line->arrival);
}

static void
line_push (Line *line, const Trip *trip, const GByteArray *bytes, guint from)
{
    gw_ram_encoder_push (line->encoder, bytes->data + from, bytes->len - from);
    gw_ram_encoder_flush (line->encoder);
    carry_groups (trip, line->encoder, line->packer, line->decoder, &line->arrival);
    gw_ram_encoder_get_counters (line->encoder, &line->arrival.counters);
}

/* Pages that were sent lightly are never left out, whatever went before; what was known of them long ago still
 * serves for deltas. */
static void
test_light (void)
{
    static const gboolean is_light[] = { FALSE, TRUE, FALSE, TRUE, TRUE, FALSE, FALSE, TRUE, FALSE };
    const GwRamGain *classes;
    Lane lane;
    Line line;
    Trip trip;
    trip_init (&trip);
    line_init (&line, &trip);
    lane_init (&lane, 60, 5);
    lane_begin (&lane);
    line_push (&line, &trip, lane.out, 0);
    classes = line.arrival.counters.classes;
    for (guint pass = 0; pass < G_N_ELEMENTS (is_light); pass++) {
        guint from = lane.out->len;
        uint64_t unchanged = classes[GW_RAM_UNCHANGED].pages, light = line.arrival.counters.light;
        gw_ram_encoder_set_light (line.encoder, is_light[pass]);
        lane_pass (&lane, 60, GW_STREAM_BYTE_PART);
        line_push (&line, &trip, lane.out, from);
        g_assert_cmpuint (line.arrival.counters.light > light, ==, is_light[pass]);
        if (pass == G_N_ELEMENTS (is_light) - 3)
            g_assert_cmpuint (classes[GW_RAM_UNCHANGED].pages, >, unchanged);
    }
    gw_stream_put_eof (lane.out);
    line_push (&line, &trip, lane.out, lane.out->len - 1);
    assert_equivalent (lane.out, line.arrival.out);
    g_assert_cmpuint (classes[GW_RAM_DELTA].pages, >, 20);
    g_assert_cmpuint (classes[GW_RAM_AGAIN].pages, >, 20);
    line_clear (&line);
    lane_clear (&lane);
}

/* A light page, then itself again, is sent again: its hash was not made. */
static void
test_light_page_is_not_left_out (void)
{
    for (guint keeps = 0; keeps < 2; keeps++) {
        const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
        Lane lane;
        Line line;
        Trip trip;
        trip_init (&trip);
        trip.params.keeps_proof = keeps;
        line_init (&line, &trip);
        lane_init (&lane, 8, 1);
        lane_begin (&lane);
        gw_stream_put_section (lane.out, GW_STREAM_BYTE_PART, &ram);
        memset (lane_get_page (&lane, 2), 0x55, LANE_PAGE);
        lane_send (&lane, 1);
        lane_send (&lane, 2); /* known */
        line_push (&line, &trip, lane.out, 0);
        guint from = lane.out->len;
        gw_ram_encoder_set_light (line.encoder, TRUE);
        memset (lane_get_page (&lane, 2), 0x66, LANE_PAGE);
        lane_send (&lane, 2); /* light */
        line_push (&line, &trip, lane.out, from);
        g_assert_cmpuint (gw_ram_encoder_check (line.encoder, "pc.ram", 2 * LANE_PAGE, lane_get_page (&lane, 2)), ==,
                          keeps ? GW_RAM_SAME : GW_RAM_UNKNOWN);
        from = lane.out->len;
        gw_ram_encoder_set_light (line.encoder, FALSE);
        memset (lane_get_page (&lane, 2), 0x55, LANE_PAGE);
        lane_send (&lane, 2); /* as it was known first */
        lane_end_part (&lane);
        gw_stream_put_eof (lane.out);
        line_push (&line, &trip, lane.out, from);
        assert_equivalent (lane.out, line.arrival.out);
        g_assert_cmpuint (line.arrival.counters.classes[GW_RAM_UNCHANGED].pages, ==, 0);
        line_clear (&line);
        lane_clear (&lane);
    }
}

/* --- postcopy ------------------------------------------------------------------------------------ */

static void
test_postcopy (void)
{
    for (guint32 seed = 1; seed <= 6; seed++) {
        Lane lane;
        Trip trip;
        trip_init (&trip);
        trip.seed = seed;
        trip.most = seed == 1 ? 0 : 20000;
        lane_init (&lane, 60, seed);
        lane_build (&lane, 4, TRUE);
        Arrival arrival = go (&trip, &lane);
        assert_equivalent (lane.out, arrival.out);
        g_assert_cmpuint (arrival.n_urgent, >, 1);
        g_assert_cmpuint (arrival.urgent_most, <=, GW_RAM_URGENT_MAX);
        arrival_clear (&arrival);
        lane_clear (&lane);
    }
}

/* Each of the commands that end precopy ends leaving out, by itself. */
static void
test_switches (void)
{
    const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
    const GwStreamRange range = { 0, LANE_PAGE };
    for (guint i = 0; i < 4; i++) {
        Lane lane;
        Trip trip;
        trip_init (&trip);
        lane_init (&lane, 8, 1);
        lane_begin (&lane);
        lane_pass (&lane, 100, GW_STREAM_BYTE_PART);
        if (i == 1)
            gw_stream_put_discard (lane.out, lane_blocks[0], &range, 1);
        if (i == 2)
            gw_stream_put_command (lane.out, GW_COMMAND_POSTCOPY_LISTEN, NULL, 0);
        if (i == 3)
            gw_stream_put_command (lane.out, GW_COMMAND_ENABLE_COLO, NULL, 0);
        gw_stream_put_section (lane.out, GW_STREAM_BYTE_PART, &ram);
        for (guint page = 0; page < 16; page++)
            lane_send (&lane, page);
        lane_end_part (&lane);
        gw_stream_put_eof (lane.out);
        Arrival arrival = go (&trip, &lane);
        g_assert_cmpuint (arrival.counters.classes[GW_RAM_UNCHANGED].pages, ==, i == 0 ? 14 : 0);
        if (i > 0)
            assert_same_bytes (&arrival, lane.out->data, lane.out->len);
        arrival_clear (&arrival);
        lane_clear (&lane);
    }
}

/* The urgent lane and a lane after a recovery know nothing of before. */
static void
test_other_lanes (void)
{
    g_autoptr (GByteArray) preempt = g_byte_array_new ();
    uint8_t page[LANE_PAGE];
    Trip trip;
    trip_init (&trip);
    trip.params.kind = GW_STREAM_PREEMPT;
    memset (page, 'x', sizeof page);
    for (guint i = 0; i < 40; i++)
        gw_stream_put_ram_page (preempt, i % 9 == 0 ? lane_blocks[i % 2] : NULL,
                                (uint64_t) (i * 5 % 7) * LANE_PAGE, i % 4 == 0 ? NULL : page,
                                LANE_PAGE);
    Arrival arrival = trip_go (&trip, preempt->data, preempt->len);
    assert_same_bytes (&arrival, preempt->data, preempt->len);
    g_assert_cmpuint (arrival.n_urgent, ==, arrival.n_groups);
    g_assert_cmpuint (arrival.counters.index_bytes + arrival.counters.cache_bytes, ==, 0);
    g_assert_cmpuint (arrival.wire, <, preempt->len / 8);
    arrival_clear (&arrival);
}

/* After a recovery new couriers carry parts of the section of RAM that began on another connection. */
static void
test_recovery (void)
{
    Lane lane;
    Trip trip;
    const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
    trip_init (&trip);
    trip.params.kind = GW_STREAM_SECTIONS;
    trip.params.memory_bytes = 0;
    lane_init (&lane, 10, 5);
    gw_stream_put_command (lane.out, GW_COMMAND_RECV_BITMAP, (const uint8_t *) "\6pc.ram", 7);
    gw_stream_put_command (lane.out, GW_COMMAND_POSTCOPY_RESUME, NULL, 0);
    gw_stream_put_section (lane.out, GW_STREAM_BYTE_PART, &ram);
    for (guint i = 0; i < 20; i++) {
        lane_write (&lane, i);
        lane_send (&lane, i);
    }
    lane_end_part (&lane);
    Arrival arrival = go (&trip, &lane);
    assert_same_bytes (&arrival, lane.out->data, lane.out->len);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_FIRST].pages, >, 15);
    g_assert_cmpuint (arrival.counters.raw, <, 200);
    g_assert_cmpuint (arrival.n_urgent, ==, arrival.n_groups);
    arrival_clear (&arrival);
    lane_clear (&lane);
}

/* --- what is not understood ---------------------------------------------------------------------- */

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
        Arrival arrival = go (&trip, &lane);
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
    Arrival arrival = go (&trip, &lane);
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
    Arrival arrival = go (&trip, &lane);
    assert_same_bytes (&arrival, lane.out->data, lane.out->len);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_OTHER].pages, ==, 1);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_COPY].pages, ==, 1);
    arrival_clear (&arrival);
    lane_clear (&lane);
}

/* --- memory -------------------------------------------------------------------------------------- */

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
        lane_init (&lane, 200, 11);
        lane_build (&lane, 5, FALSE);
        Arrival arrival = go (&trip, &lane);
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
    gw_stream_put_eof (lane.out);
    Arrival arrival = go (&trip, &lane);
    assert_equivalent (lane.out, arrival.out);
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
    gw_stream_put_eof (lane.out);
    Arrival arrival = go (&trip, &lane);
    assert_equivalent (lane.out, arrival.out);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_DELTA].pages, >, 250);
    g_assert_cmpuint (arrival.counters.index_bytes + arrival.counters.cache_bytes, <=, trip.params.memory_bytes);
    g_assert_cmpuint (arrival.decoder_memory, <=, trip.params.memory_bytes);
    arrival_clear (&arrival);
    lane_clear (&lane);
}

/* --- what the caller learns ---------------------------------------------------------------------- */

static void
test_urgency (void)
{
    Lane lane;
    Trip trip;
    GwRamUrgency urgency;
    trip_init (&trip);
    lane_init (&lane, 8, 2);
    g_autoptr (GwRamEncoder) encoder = gw_ram_encoder_new (&trip.params);
    g_assert_false (gw_ram_encoder_get_waiting (encoder, &urgency));
    lane_begin (&lane);
    gw_ram_encoder_push (encoder, lane.out->data, lane.out->len);
    g_assert_true (gw_ram_encoder_get_waiting (encoder, &urgency));
    g_assert_cmpint (urgency, ==, GW_RAM_CONTROL);
    gw_ram_encoder_flush (encoder);
    g_assert_false (gw_ram_encoder_get_waiting (encoder, &urgency));
    g_byte_array_set_size (lane.out, 0);
    lane_pass (&lane, 100, GW_STREAM_BYTE_PART);
    gw_ram_encoder_push (encoder, lane.out->data, lane.out->len);
    g_assert_true (gw_ram_encoder_get_waiting (encoder, &urgency));
    g_assert_cmpint (urgency, ==, GW_RAM_BULK);
    g_byte_array_set_size (lane.out, 0);
    gw_stream_put_ping (lane.out, 2);
    gw_ram_encoder_push (encoder, lane.out->data, lane.out->len);
    g_assert_true (gw_ram_encoder_get_waiting (encoder, &urgency));
    g_assert_cmpint (urgency, ==, GW_RAM_CONTROL);
    lane_clear (&lane);
}

static void
test_check (void)
{
    Lane lane;
    Trip trip;
    uint8_t page[LANE_PAGE];
    trip_init (&trip);
    lane_init (&lane, 16, 4);
    lane_begin (&lane);
    lane_pass (&lane, 60, GW_STREAM_BYTE_PART);
    lane_pass (&lane, 60, GW_STREAM_BYTE_PART);
    g_autoptr (GwRamEncoder) encoder = gw_ram_encoder_new (&trip.params);
    gw_ram_encoder_push (encoder, lane.out->data, lane.out->len);
    for (guint i = 0; i < 32; i++) {
        const char *block = lane_blocks[i / 16];
        uint64_t offset = (uint64_t) (i % 16) * LANE_PAGE;
        GwRamVerdict expected = lane.is_sent[i] ? GW_RAM_SAME : GW_RAM_UNKNOWN;
        memcpy (page, lane_get_page (&lane, i), LANE_PAGE);
        g_assert_cmpint (gw_ram_encoder_check (encoder, block, offset, page), ==, expected);
        page[77] ^= 4;
        expected = lane.is_sent[i] ? GW_RAM_DIFFERENT : GW_RAM_UNKNOWN;
        g_assert_cmpint (gw_ram_encoder_check (encoder, block, offset, page), ==, expected);
    }
    g_assert_cmpint (gw_ram_encoder_check (encoder, "nothing", 0, page), ==, GW_RAM_UNKNOWN);
    lane_clear (&lane);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/ramcodec/trip/exact", test_exact);
    g_test_add_func ("/ramcodec/trip/leaves-out", test_leaves_out);
    g_test_add_func ("/ramcodec/trip/keeps-names", test_keeps_names);
    g_test_add_data_func ("/ramcodec/trip/device-ends-leaving-out", NULL, test_device_ends_leaving_out);
    g_test_add_data_func ("/ramcodec/trip/live-device-ends-leaving-out", "live", test_device_ends_leaving_out);
    g_test_add_func ("/ramcodec/trip/light", test_light);
    g_test_add_func ("/ramcodec/trip/light-page-is-not-left-out", test_light_page_is_not_left_out);
    g_test_add_func ("/ramcodec/trip/postcopy", test_postcopy);
    g_test_add_func ("/ramcodec/trip/switches", test_switches);
    g_test_add_func ("/ramcodec/trip/page-bits", test_page_bits);
    g_test_add_func ("/ramcodec/trip/page-after-list", test_page_after_list);
    g_test_add_func ("/ramcodec/trip/other-lanes", test_other_lanes);
    g_test_add_func ("/ramcodec/trip/recovery", test_recovery);
    g_test_add_func ("/ramcodec/trip/samples", test_samples);
    g_test_add_func ("/ramcodec/trip/mutated", test_mutated);
    g_test_add_func ("/ramcodec/trip/other-page-size", test_other_page_size);
    g_test_add_func ("/ramcodec/trip/xbzrle", test_xbzrle);
    g_test_add_func ("/ramcodec/trip/budgets", test_budgets);
    g_test_add_func ("/ramcodec/trip/cache-resists-cycles", test_cache_resists_cycles);
    g_test_add_func ("/ramcodec/trip/cache-keeps-worth", test_cache_keeps_what_is_worth_it);
    g_test_add_func ("/ramcodec/trip/urgency", test_urgency);
    g_test_add_func ("/ramcodec/trip/check", test_check);
    return g_test_run ();
}
