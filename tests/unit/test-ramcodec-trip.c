/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From an encoder to a decoder: what arrives is what was sent, whatever is done to it on the way. */
#include "test-ramcodec-lane.h"

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
        Arrival arrival = trip_carry (&trip, &lane);
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
        trip.is_chained = seed % 3 == 0;
        lane_init (&lane, 50, seed);
        lane_build (&lane, 6, FALSE);
        Arrival arrival = trip_carry (&trip, &lane);
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
    Arrival arrival = trip_carry (&trip, &lane);
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
    Arrival arrival = trip_carry (&trip, &lane);
    assert_same_bytes (&arrival, lane.out->data, lane.out->len);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_UNCHANGED].pages, ==, 0);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_COPY].pages, >, 10);
    arrival_clear (&arrival);
    lane_clear (&lane);
}

/* --- light ---------------------------------------------------------------------------------------- */

typedef struct {
    TripEnds ends;
    Arrival arrival;
} Line;

static void
line_init (Line *line, const Trip *trip)
{
    trip_ends_init (&line->ends, trip);
    line->arrival = (Arrival){ .out = g_byte_array_new () };
}

static void
line_clear (Line *line)
{
    trip_ends_clear (&line->ends);
    arrival_clear (&line->arrival);
}

static void
line_push (Line *line, const Trip *trip, const GByteArray *bytes, guint from)
{
    gw_ram_encoder_push (line->ends.encoder, bytes->data + from, bytes->len - from);
    gw_ram_encoder_flush (line->ends.encoder);
    carry_groups (trip, &line->ends, &line->arrival);
    gw_ram_encoder_get_counters (line->ends.encoder, &line->arrival.counters);
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
        gw_ram_encoder_set_light (line.ends.encoder, is_light[pass]);
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
        gw_ram_encoder_set_light (line.ends.encoder, TRUE);
        memset (lane_get_page (&lane, 2), 0x66, LANE_PAGE);
        lane_send (&lane, 2); /* light */
        line_push (&line, &trip, lane.out, from);
        g_assert_cmpuint (gw_ram_encoder_check (line.ends.encoder, "pc.ram", 2 * LANE_PAGE, lane_get_page (&lane, 2)), ==,
                          keeps ? GW_RAM_SAME : GW_RAM_UNKNOWN);
        from = lane.out->len;
        gw_ram_encoder_set_light (line.ends.encoder, FALSE);
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
        Arrival arrival = trip_carry (&trip, &lane);
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
        Arrival arrival = trip_carry (&trip, &lane);
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
    Arrival arrival = trip_carry (&trip, &lane);
    assert_same_bytes (&arrival, lane.out->data, lane.out->len);
    g_assert_cmpuint (arrival.counters.classes[GW_RAM_FIRST].pages, >, 15);
    g_assert_cmpuint (arrival.counters.raw, <, 200);
    g_assert_cmpuint (arrival.n_urgent, ==, arrival.n_groups);
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
    g_test_add_func ("/ramcodec/trip/other-lanes", test_other_lanes);
    g_test_add_func ("/ramcodec/trip/recovery", test_recovery);
    g_test_add_func ("/ramcodec/trip/urgency", test_urgency);
    g_test_add_func ("/ramcodec/trip/check", test_check);
    return g_test_run ();
}
