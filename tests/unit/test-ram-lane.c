/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory lane between two programs: through groups and the crew comes what makes the same memory. */
#include "test-ram-way.h"

#include <sys/mman.h>
#include <unistd.h>

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
    for (gsize done = 0, most; done < len; done += most) {
        uint8_t *room = gw_ram_out_get_room (way->out, &most);
        g_assert_cmpuint (most, <=, GW_RAM_OUT_ROOM);
        most = room != NULL ? MIN (most, len - done) : 0;
        leave (way);
        arrive (way);
        if (most == 0)
            continue;
        memcpy (room, data + done, most);
        gw_ram_out_push (way->out, most, &link, now_us);
    }
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

/* What waits in the open group has not arrived with the one before. */
static void
test_credit_of_an_open_group (void)
{
    Lane lane;
    Way way;
    GwRamOutCounters counters;
    gsize len;
    lane_init (&lane, 800, 3);
    lane_build (&lane, PASSES, FALSE);
    way_init (&way, 0, 8 << 20);
    for (gsize at = 0; at < lane.out->len / 3; at += GW_RAM_OUT_ROOM) {
        push (&way, lane.out->data + at, GW_RAM_OUT_ROOM, 1000);
        do {
            leave (&way);
            arrive (&way);
            (void) gw_ram_out_peek (way.out, &len);
        } while (len > 0 || way.wire->len > 0 || !gw_ram_in_is_empty (way.in));
        gw_ram_out_note_acked (way.out, way.sent);
        gw_ram_out_get_counters (way.out, &counters);
        g_assert_cmpuint (counters.acked_input, <=,
                          way.arrived->len + counters.encoder.classes[GW_RAM_UNCHANGED].input);
    }
    g_assert_false (gw_ram_out_is_empty (way.out));
    g_assert_cmpuint (counters.acked_input, >, 0);
    way_clear (&way);
    lane_clear (&lane);
}

/* --- comparison ------------------------------------------------------------------------------------------ */

static void
check_memory (Way *way, const Lane *lane, guint n_pages, GwRamCheckResult *ret)
{
    GwRamCheckBlock block = { g_strdup (lane_blocks[0]), 0, n_pages * LANE_PAGE };
    GArray *blocks = g_array_new (FALSE, FALSE, sizeof block);
    int fd = memfd_create ("ram", MFD_CLOEXEC);
    gint64 deadline = gw_deadline_ms (20000);
    g_array_append_val (blocks, block);
    g_assert_cmpint (write (fd, lane->memory, lane->n_pages * LANE_PAGE), ==, lane->n_pages * LANE_PAGE);
    GwRamCheck *check = gw_ram_check_start (way->crew, way->out, fd, blocks);
    while (!gw_ram_check_is_done (check)) {
        g_assert_cmpint (g_get_monotonic_time (), <, deadline);
        g_usleep (1000);
    }
    gw_ram_check_get_result (check, ret);
    g_assert_cmpstr (ret->named, ==, ret->different > 0 ? "pc.ram+0x3000" : "");
    gw_ram_check_free (check);
}

/* A page that changed after it was sent is found and named; so is memory that is not there. */
static void
test_memory_is_compared (void)
{
    GwRamCheckResult result;
    Lane lane;
    Way way;
    lane_init (&lane, 64, 5);
    lane_build (&lane, PASSES, FALSE);
    way_init (&way, 2, 8 << 20);
    carry (&way, lane.out);
    check_memory (&way, &lane, 64, &result);
    g_assert_cmpuint (result.pages, ==, 64);
    g_assert_cmpuint (result.different + result.unknown + result.unread, ==, 0);
    lane.memory[3 * LANE_PAGE + 100] ^= 1;
    check_memory (&way, &lane, 66, &result);
    g_assert_cmpuint (result.pages, ==, 64);
    g_assert_cmpuint (result.different, ==, 1);
    g_assert_cmpuint (result.unread, ==, 2);
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

/* Now, or once the crew has done what it has. */
static uint8_t *
get_room (GwRamOut *out, gsize *ret_len)
{
    uint8_t *room;
    for (guint i = 0; (room = gw_ram_out_get_room (out, ret_len)) == NULL && i < 20; i++)
        g_usleep (5000);
    return room;
}

/* How many rooms are read for a link that takes nothing. */
static guint
count_rooms (const GwRamOutLink *link)
{
    Way way;
    guint n = 0;
    uint8_t *room;
    gsize len;
    way_init (&way, 4, 8 << 20);
    while ((room = get_room (way.out, &len)) != NULL) {
        for (gsize i = 0; i < len; i++)
            room[i] = (uint8_t) g_rand_int (way.rand);
        gw_ram_out_push (way.out, len, link, 1000);
        g_assert_cmpuint (++n, <, 40);
    }
    g_assert_nonnull (gw_ram_out_get_fault (way.out)); /* no migration at all: as it is */
    way_clear (&way);
    return n;
}

/* A link that takes nothing stops the reading soon, whatever is read: after what it carries in 3 ms, one group
 * or eight. */
static void
test_bound (void)
{
    const GwRamOutLink slow = { .rate = 1e6 }, fast = { .rate = 5e8 }, fastest = { .rate = 1e10 };
    const GwRamOutLink packing = { .is_busy = TRUE, .rate = 1e10 };
    guint most = count_rooms (&fastest);
    g_assert_cmpuint (count_rooms (&slow), <=, 3);
    g_assert_cmpuint (count_rooms (&fast), >=, 6);
    g_assert_cmpuint (count_rooms (&fast), <=, 8);
    g_assert_cmpuint (most, >=, 12);
    g_assert_cmpuint (count_rooms (&packing), <=, most);
}

/* What QEMU waits for may not wait, pages may; and while these are held back, more of them may be ready. */
static void
test_ready (void)
{
    static const GwRamOutLink link = { FALSE, 0 };
    GwRamOutReady ready;
    Lane lane;
    Way way;
    gsize usual = 0;
    ends_init (&lane, &way);
    push (&way, lane.out->data, lane.out->len, 1000);
    gw_ram_out_get_ready (way.out, &ready);
    g_assert_false (ready.has_pages || ready.may_wait); /* QEMU waits for the pong */
    finish (&way);
    g_byte_array_set_size (lane.out, 0);
    lane_pass (&lane, 100, GW_STREAM_BYTE_PART);
    for (gsize at = 0, len, held = 0; held <= 4 << 20; at += len) {
        uint8_t *room = gw_ram_out_get_room (way.out, &len);
        gw_ram_out_get_ready (way.out, &ready);
        g_assert_true (at == 0 || ready.may_wait);
        g_assert_cmpuint (ready.bytes, <=, held + GW_RAM_GROUP_MAX + GW_RAM_HEAD);
        if (room == NULL || ready.bytes > 3 << 20) {
            g_assert_true (ready.has_pages);
            usual = held == 0 ? ready.bytes : usual;
            held += 4 << 20;
            gw_ram_out_set_held (way.out, held);
            len = 0;
            continue;
        }
        len = MIN (len, lane.out->len - at);
        g_assert_cmpuint (len, >, 0);
        memcpy (room, lane.out->data + at, len);
        gw_ram_out_push (way.out, len, &link, 1000);
    }
    g_assert_cmpuint (usual, <, 1 << 20);
    g_assert_cmpuint (ready.bytes, >, 3 << 20);
    ends_clear (&lane, &way);
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
        return !gw_ram_in_is_between_groups (in); /* it waits for bytes that will never come */
    g_assert_error (error, GW_ERROR, GW_CAUSE_CODEC_INVALID);
    g_assert_false (gw_ram_in_peek (in, &data, &len, NULL));
    g_assert_false (gw_ram_in_put (in, wire->data, 1, &taken, NULL));
    return TRUE;
}

/* Of a head: how urgent it is, is for who schedules; and any chain will do for a group that begins one. */
static gboolean
is_harmless (const GByteArray *wire, guint at, guint bit)
{
    gboolean begins = (wire->data[1] & 0x04) != 0;
    return at == 2 || (at == 1 && begins && (bit == 4 || bit == 5));
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
        g_assert_true (take_damaged (way.wire, i / 8, i % 8) || is_harmless (way.wire, i / 8, i % 8));
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
    g_test_add_func ("/ram-lane/credit-of-an-open-group", test_credit_of_an_open_group);
    g_test_add_func ("/ram-lane/memory-is-compared", test_memory_is_compared);
    g_test_add_func ("/ram-lane/open-group-waits", test_open_group_waits);
    g_test_add_func ("/ram-lane/ready", test_ready);
    g_test_add_func ("/ram-lane/bound", test_bound);
    g_test_add_func ("/ram-lane/damage", test_damage);
    return g_test_run ();
}
