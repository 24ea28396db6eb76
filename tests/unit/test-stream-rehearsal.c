/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stream around a saved device state: a reader takes it, and finds in it what QEMU needs. */
#include "stream.h"

#include <string.h>

typedef struct {
    GString *order; /* of records, by name */
    guint n_pages, n_devices;
    guint64 page_offset;
    uint8_t first_byte;
} Seen;

static gboolean
take (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    Seen *seen = user_data;
    if (record->type == GW_STREAM_COMMAND)
        g_string_append_printf (seen->order, "%s ", gw_stream_command_name (record->command.number));
    else if (record->type == GW_STREAM_DEVICE)
        seen->n_devices++;
    else if (record->type == GW_STREAM_RAM_PAGE) {
        seen->n_pages++;
        seen->page_offset = record->ram.offset;
        seen->first_byte = record->data[0];
    }
    return TRUE;
}

/* What xen-save-devices-state writes: header, FULL sections, end mark. */
static GByteArray *
saved_new (void)
{
    GByteArray *saved = g_byte_array_new ();
    GwStreamSection timer = { .id = 0, .version = 2, .name = (char *) "timer" };
    GwStreamSection net = { .id = 7, .version = 11, .name = (char *) "0000:00:03.0/virtio-net" };
    gw_stream_put_header (saved);
    gw_stream_put_section (saved, GW_STREAM_BYTE_FULL, &timer);
    g_byte_array_append (saved, (const guint8 *) "abcdefgh", 8);
    gw_stream_put_footer (saved, timer.id);
    gw_stream_put_section (saved, GW_STREAM_BYTE_FULL, &net);
    g_byte_array_append (saved, (const guint8 *) "ijkl", 4);
    gw_stream_put_footer (saved, net.id);
    gw_stream_put_eof (saved);
    return saved;
}

static const GwStreamBlock ram = { .name = (char *) "pc.ram", .used_length = 1 << 20 };
static const GwStreamBlock rom = { .name = (char *) "pc.bios", .used_length = 1 << 18 };
static const GwStreamBlock *const blocks[] = { &ram, &rom };

static GwStreamRehearsal
rehearsal_of (const GByteArray *saved)
{
    return (GwStreamRehearsal) { "pc-q35-7.2", blocks, 2, 4096, saved->data, saved->len };
}

static void
read_all (const GByteArray *stream, Seen *seen)
{
    GwStreamParams params;
    g_autoptr (GError) error = NULL;
    gw_stream_params_init (&params);
    params.machine = "pc-q35-7.2";
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (&params, take, seen);
    gw_stream_reader_push (reader, stream->data, stream->len, &error);
    g_assert_no_error (error);
}

static void
test_postcopy (void)
{
    g_autoptr (GByteArray) saved = saved_new ();
    g_autoptr (GByteArray) out = g_byte_array_new ();
    g_autoptr (GString) order = g_string_new (NULL);
    g_autoptr (GError) error = NULL;
    uint8_t data[4096] = { 42 };
    GwStreamPage page = { "pc.ram", 0xc0000, data };
    GwStreamRehearsal rehearsal = rehearsal_of (saved);
    Seen seen = { .order = order };
    g_assert_true (gw_stream_put_rehearsal_postcopy (out, &rehearsal, &error));
    gw_stream_put_rehearsal_pages (out, &page, 1, 4096);
    read_all (out, &seen);
    /* a discard between advise and listen, or QEMU 7.2 waits for ever */
    g_assert_cmpstr (order->str, ==,
                     "open-return-path ping postcopy-advise postcopy-ram-discard packaged "
                     "postcopy-listen ping postcopy-run ");
    g_assert_cmpuint (seen.n_devices, ==, 2);
    g_assert_cmpuint (seen.n_pages, ==, 1);
    g_assert_cmpuint (seen.page_offset, ==, 0xc0000);
    g_assert_cmpuint (seen.first_byte, ==, 42);
}

static void
test_precopy (void)
{
    g_autoptr (GByteArray) saved = saved_new ();
    g_autoptr (GByteArray) out = g_byte_array_new ();
    g_autoptr (GString) order = g_string_new (NULL);
    g_autoptr (GError) error = NULL;
    uint8_t data[4096] = { 7 };
    GwStreamPage pages[] = { { "pc.ram", 0, data }, { "pc.bios", 4096, data } };
    GwStreamRehearsal rehearsal = rehearsal_of (saved);
    Seen seen = { .order = order };
    g_assert_true (gw_stream_put_rehearsal_precopy (out, &rehearsal, pages, 2, &error));
    read_all (out, &seen);
    g_assert_cmpstr (order->str, ==, "open-return-path ping ping ");
    g_assert_cmpuint (seen.n_devices, ==, 2);
    g_assert_cmpuint (seen.n_pages, ==, 2);
}

static void
expect_cause (const GByteArray *saved, GwCause cause)
{
    g_autoptr (GByteArray) out = g_byte_array_new ();
    g_autoptr (GError) error = NULL;
    GwStreamRehearsal rehearsal = rehearsal_of (saved);
    g_assert_false (gw_stream_put_rehearsal_postcopy (out, &rehearsal, &error));
    g_assert_cmpint (gw_error_get_cause (error), ==, cause);
}

static void
test_broken_file (void)
{
    g_autoptr (GByteArray) saved = saved_new ();
    saved->data[saved->len - 1] = GW_STREAM_BYTE_FOOTER;
    expect_cause (saved, GW_CAUSE_STREAM_TRUNCATED);
    saved->data[0] = 'X';
    expect_cause (saved, GW_CAUSE_STREAM_MAGIC);
    g_byte_array_set_size (saved, 3);
    expect_cause (saved, GW_CAUSE_STREAM_MAGIC);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/stream/rehearsal/postcopy", test_postcopy);
    g_test_add_func ("/stream/rehearsal/precopy", test_precopy);
    g_test_add_func ("/stream/rehearsal/broken-file", test_broken_file);
    return g_test_run ();
}
