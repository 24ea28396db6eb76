/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory lane between two programs: through groups and the crew comes what makes the same memory. */
#include "ramlane.h"
#include "test-ramcodec-lane.h"

#define PASSES 6

typedef struct {
    const char *name;
    guint n_threads, n_pages;
    uint64_t memory_bytes;
    gboolean has_postcopy;
} Row;

static const Row rows[] = {
    { "/ram-lane/no-thread", 0, 600, 8 << 20, FALSE },
    { "/ram-lane/one-thread", 1, 600, 8 << 20, FALSE },
    { "/ram-lane/threads", 4, 1500, 8 << 20, FALSE },
    { "/ram-lane/little-memory", 2, 1500, 1 << 20, FALSE },
    { "/ram-lane/postcopy", 3, 1500, 8 << 20, TRUE },
};

static GwRamParams
make_params (uint64_t memory_bytes)
{
    return (GwRamParams){ .kind = GW_STREAM_MAIN, .page_size = LANE_PAGE, .memory_bytes = memory_bytes,
                          .can_leave_out = TRUE, .secret = (const uint8_t *) LANE_SECRET,
                          .secret_bytes = 16 };
}

/* --- both ends, with a wire of any size between -------------------------------------------------------- */

typedef struct {
    GwCrew *crew;
    GwRamOut *out;
    GwRamIn *in;
    GRand *rand;
    GByteArray *wire;    /* under way */
    GByteArray *arrived; /* what the program got */
    uint64_t sent;       /* bytes of the link */
} Way;

static void
way_init (Way *way, guint n_threads, uint64_t memory_bytes)
{
    GwRamParams params = make_params (memory_bytes);
    *way = (Way){ .crew = gw_crew_new (n_threads), .rand = g_rand_new_with_seed (n_threads + 1),
                  .wire = g_byte_array_new (), .arrived = g_byte_array_new () };
    way->out = gw_ram_out_new (way->crew, &params);
    way->in = gw_ram_in_new (way->crew, &params);
}

static void
way_clear (Way *way)
{
    gw_ram_out_free (way->out);
    gw_ram_in_free (way->in);
    gw_crew_free (way->crew);
    g_rand_free (way->rand);
    g_byte_array_unref (way->wire);
    g_byte_array_unref (way->arrived);
}

static gsize
draw (Way *way, gsize most)
{
    return (gsize) g_rand_int_range (way->rand, 1, (gint32) most + 1);
}

/* Some of `len` bytes, or all. */
static gsize
draw_part (Way *way, gsize len, gsize most)
{
    gsize drawn = draw (way, most);
    return MIN (len, drawn);
}

/* Some of what can leave leaves. */
static void
leave (Way *way)
{
    gsize len;
    const uint8_t *data = gw_ram_out_peek (way->out, &len);
    len = draw_part (way, len, 40000);
    if (len == 0)
        return;
    g_byte_array_append (way->wire, data, (guint) len);
    gw_ram_out_consume (way->out, len);
    way->sent += len;
}

static void
arrive (Way *way)
{
    g_autoptr (GError) error = NULL;
    const uint8_t *data;
    gsize taken, len;
    g_assert_true (gw_ram_in_put (way->in, way->wire->data, way->wire->len, &taken, &error));
    g_assert_no_error (error);
    if (taken > 0)
        g_byte_array_remove_range (way->wire, 0, (guint) taken);
    g_assert_true (gw_ram_in_peek (way->in, &data, &len, &error));
    g_assert_no_error (error);
    len = draw_part (way, len, 60000);
    if (len > 0) {
        g_byte_array_append (way->arrived, data, (guint) len);
        gw_ram_in_consume (way->in, len);
    }
}

static GwRamOutLink
draw_link (Way *way)
{
    return (GwRamOutLink){ .is_busy = g_rand_boolean (way->rand), .rate = 1e6 * (double) draw (way, 1000) };
}

static void
push (Way *way, const uint8_t *data, gsize len, gint64 now_us)
{
    GwRamOutLink link = draw_link (way);
    uint8_t *room;
    while ((room = gw_ram_out_get_room (way->out)) == NULL) {
        leave (way);
        arrive (way);
    }
    memcpy (room, data, len);
    gw_ram_out_push (way->out, len, &link, now_us);
}

static void
finish (Way *way)
{
    GwRamOutLink link = draw_link (way);
    gint64 deadline = gw_deadline_ms (20000);
    gw_ram_out_finish (way->out, &link);
    while (!gw_ram_out_is_empty (way->out) || way->wire->len > 0 || !gw_ram_in_is_empty (way->in)) {
        g_assert_cmpint (g_get_monotonic_time (), <, deadline);
        leave (way);
        arrive (way);
    }
    g_assert_true (gw_ram_in_is_between_groups (way->in));
}

static void
carry (Way *way, const GByteArray *stream)
{
    gint64 now_us = 1000;
    for (gsize at = 0; at < stream->len; now_us += 500) {
        gsize len = draw_part (way, stream->len - at, GW_RAM_OUT_ROOM);
        push (way, stream->data + at, len, now_us);
        at += len;
        leave (way);
        arrive (way);
    }
    finish (way);
}

static void
test_row (gconstpointer data)
{
    const Row *row = data;
    Lane lane;
    Way way;
    lane_init (&lane, row->n_pages, 7);
    lane_build (&lane, PASSES, row->has_postcopy);
    way_init (&way, row->n_threads, row->memory_bytes);
    carry (&way, lane.out);
    g_assert_null (gw_ram_out_get_fault (way.out));
    assert_equivalent (lane.out, way.arrived);
    if (!row->has_postcopy && row->memory_bytes > 1 << 20)
        g_assert_cmpuint (way.sent, <, lane.out->len / 10 * 6);
    way_clear (&way);
    lane_clear (&lane);
}

/* --- credit ---------------------------------------------------------------------------------------------- */

/* What has arrived never runs ahead of the link, and in the end is everything. */
static void
test_credit (void)
{
    Lane lane;
    Way way;
    GwRamOutCounters counters;
    uint64_t last = 0;
    lane_init (&lane, 800, 3);
    lane_build (&lane, PASSES, FALSE);
    way_init (&way, 2, 8 << 20);
    carry (&way, lane.out);
    for (uint64_t acked = 0; acked < way.sent; acked += way.sent / 13 + 1) {
        gw_ram_out_note_acked (way.out, acked);
        gw_ram_out_get_counters (way.out, &counters);
        g_assert_cmpuint (counters.acked_input, >=, last);
        g_assert_cmpuint (counters.acked_input, <, lane.out->len);
        last = counters.acked_input;
    }
    g_assert_cmpuint (last, >, 0);
    gw_ram_out_note_acked (way.out, way.sent);
    gw_ram_out_get_counters (way.out, &counters);
    g_assert_cmpuint (counters.acked_input, ==, lane.out->len);
    g_assert_cmpuint (counters.encoder.input, ==, lane.out->len);
    g_assert_cmpuint (counters.wire, ==, way.sent);
    way_clear (&way);
    lane_clear (&lane);
}

/* --- time and room ------------------------------------------------------------------------------------------ */

static void
test_open_group_waits (void)
{
    Lane lane;
    Way way;
    GwRamOutLink link = { 0 };
    gsize len;
    lane_init (&lane, 40, 3);
    lane_begin (&lane);
    way_init (&way, 0, 8 << 20);
    push (&way, lane.out->data, lane.out->len, 1000);
    (void) gw_ram_out_peek (way.out, &len);
    g_assert_cmpuint (len, >, 0); /* QEMU waits for the pong: not a moment */
    finish (&way);
    g_byte_array_set_size (lane.out, 0);
    for (guint i = 0; i < 20; i++)
        lane_send (&lane, i);
    const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
    g_autoptr (GByteArray) part = g_byte_array_new ();
    gw_stream_put_section (part, GW_STREAM_BYTE_PART, &ram);
    g_byte_array_append (part, lane.out->data, lane.out->len);
    push (&way, part->data, part->len, 50000);
    (void) gw_ram_out_peek (way.out, &len);
    g_assert_cmpuint (len, ==, 0);
    g_assert_cmpint (gw_ram_out_tick (way.out, &link, 50001), ==, 50000 + GW_RAM_OUT_WAIT_US);
    g_assert_cmpint (gw_ram_out_tick (way.out, &link, 50000 + GW_RAM_OUT_WAIT_US), ==, G_MAXINT64);
    (void) gw_ram_out_peek (way.out, &len);
    g_assert_cmpuint (len, >, 0);
    way_clear (&way);
    lane_clear (&lane);
}

/* A link that takes nothing stops the reading soon, whatever is read. */
static void
test_bound (void)
{
    Way way;
    GwRamOutLink link = { .is_busy = TRUE, .rate = 1e6 };
    guint n = 0;
    uint8_t *room;
    way_init (&way, 4, 8 << 20);
    while ((room = gw_ram_out_get_room (way.out)) != NULL) {
        for (gsize i = 0; i < GW_RAM_OUT_ROOM; i++)
            room[i] = (uint8_t) g_rand_int (way.rand);
        gw_ram_out_push (way.out, GW_RAM_OUT_ROOM, &link, 1000);
        g_assert_cmpuint (++n, <, 40);
    }
    g_assert_nonnull (gw_ram_out_get_fault (way.out)); /* no migration at all: as it is */
    way_clear (&way);
}

/* --- damage ------------------------------------------------------------------------------------------------- */

/* Whether the far side refuses; then it goes on refusing. */
static gboolean
take_damaged (const GByteArray *wire, guint at, guint bit)
{
    g_autoptr (GwCrew) crew = gw_crew_new (1);
    GwRamParams params = make_params (8 << 20);
    g_autoptr (GwRamIn) in = gw_ram_in_new (crew, &params);
    g_autoptr (GError) error = NULL;
    gsize taken = 0, done = 0, len = 0;
    const uint8_t *data;
    gint64 deadline = gw_deadline_ms (20000);
    wire->data[at] ^= (uint8_t) (1u << bit);
    gboolean ok = TRUE;
    while (ok && (done < wire->len || !gw_ram_in_is_empty (in))) {
        g_assert_cmpint (g_get_monotonic_time (), <, deadline);
        ok = gw_ram_in_put (in, wire->data + done, wire->len - done, &taken, &error) &&
             gw_ram_in_peek (in, &data, &len, &error);
        done += taken;
        if (ok)
            gw_ram_in_consume (in, len);
    }
    wire->data[at] ^= (uint8_t) (1u << bit);
    if (ok)
        return FALSE;
    g_assert_error (error, GW_ERROR, GW_CAUSE_CODEC_INVALID);
    g_assert_false (gw_ram_in_peek (in, &data, &len, NULL));
    g_assert_false (gw_ram_in_put (in, wire->data, 1, &taken, NULL));
    return TRUE;
}

static void
test_damage (void)
{
    Lane lane;
    Way way;
    lane_init (&lane, 60, 3);
    GwRamOutLink link = { 0 };
    lane_build (&lane, 3, FALSE);
    way_init (&way, 0, 8 << 20);
    push (&way, lane.out->data, MIN (lane.out->len, GW_RAM_OUT_ROOM), 1000);
    gw_ram_out_finish (way.out, &link);
    while (!gw_ram_out_is_empty (way.out))
        leave (&way);
    g_assert_cmpuint (way.wire->len, >, 1000);
    for (guint i = 0; i < GW_RAM_HEAD * 8; i++)
        (void) take_damaged (way.wire, i / 8, i % 8); /* its urgency is only for who schedules */
    for (guint i = 0; i < 200; i++) {
        guint at = GW_RAM_HEAD + (guint) draw (&way, way.wire->len - GW_RAM_HEAD) - 1;
        g_assert_true (take_damaged (way.wire, at, i % 8));
    }
    way_clear (&way);
    lane_clear (&lane);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        g_test_add_data_func (rows[i].name, &rows[i], test_row);
    g_test_add_func ("/ram-lane/credit", test_credit);
    g_test_add_func ("/ram-lane/open-group-waits", test_open_group_waits);
    g_test_add_func ("/ram-lane/bound", test_bound);
    g_test_add_func ("/ram-lane/damage", test_damage);
    return g_test_run ();
}
