/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The main stream's reader: whatever way a stream is cut, its records and its fault are the same,
 * and every record written again gives the same bytes. */
#include "test-stream-samples.h"

#define ROUNDS 40
#define DAMAGED 400

static GByteArray *
damaged_sample (Sample sample)
{
    GByteArray *stream = sample_new (sample);
    guint flips = (guint) g_test_rand_int_range (1, 4);
    for (guint i = 0; i < flips; i++) {
        guint at = (guint) g_test_rand_int_range (0, (gint32) stream->len);
        stream->data[at] ^= (uint8_t) (1u << g_test_rand_int_range (0, 8));
    }
    return stream;
}

static void
assert_same (const Log *a, const Log *b)
{
    g_assert_cmpstr (a->text->str, ==, b->text->str);
    g_assert_cmpstr (a->error != NULL ? a->error->message : "", ==,
                     b->error != NULL ? b->error->message : "");
    g_assert_cmpint (gw_error_get_cause (a->error), ==, gw_error_get_cause (b->error));
    g_assert_cmpmem (a->again->data, a->again->len, b->again->data, b->again->len);
}

static void
test_rewrites (gconstpointer user_data)
{
    Sample sample = (Sample) GPOINTER_TO_INT (user_data);
    g_autoptr (GByteArray) stream = sample_new (sample);
    GwStreamParams params;
    sample_params (sample, &params);
    g_autoptr (Log) log = read_stream (&params, stream->data, stream->len, 0);
    g_assert_no_error (log->error);
    g_assert_cmpmem (log->again->data, log->again->len, stream->data, stream->len);
}

static void
test_any_cut (gconstpointer user_data)
{
    Sample sample = (Sample) GPOINTER_TO_INT (user_data);
    g_autoptr (GByteArray) stream = sample_new (sample);
    GwStreamParams params;
    sample_params (sample, &params);
    g_autoptr (Log) whole = read_stream (&params, stream->data, stream->len, 0);
    for (guint i = 0; i < ROUNDS; i++) {
        g_autoptr (Log) cut = read_stream (&params, stream->data, stream->len, 1 + i * i);
        assert_same (whole, cut);
    }
}

static void
test_any_damage (gconstpointer user_data)
{
    Sample sample = (Sample) GPOINTER_TO_INT (user_data);
    GwStreamParams params;
    sample_params (sample, &params);
    for (guint i = 0; i < DAMAGED; i++) {
        g_autoptr (GByteArray) stream = damaged_sample (sample);
        g_autoptr (Log) whole = read_stream (&params, stream->data, stream->len, 0);
        g_autoptr (Log) cut = read_stream (&params, stream->data, stream->len, 1 + i % 64);
        assert_same (whole, cut);
        g_assert_cmpmem (whole->again->data, whole->again->len, stream->data, whole->again->len);
    }
}

/* A stream that ends anywhere but at its end is truncated, and never crashes the reader. */
static void
test_truncation (gconstpointer user_data)
{
    Sample sample = (Sample) GPOINTER_TO_INT (user_data);
    g_autoptr (GByteArray) stream = sample_new (sample);
    GwStreamParams params;
    sample_params (sample, &params);
    gboolean may_stop = params.kind != GW_STREAM_MAIN;
    for (gsize len = 0; len < stream->len; len++) {
        g_autoptr (Log) log = read_stream (&params, stream->data, len, 0);
        gboolean is_before_vmdesc = sample == SAMPLE_PLAIN && log->count[GW_STREAM_EOF] == 1;
        if (log->error == NULL)
            g_assert_true (may_stop || is_before_vmdesc);
        else
            g_assert_cmpint (gw_error_get_cause (log->error), ==, GW_CAUSE_STREAM_TRUNCATED);
    }
}

/* The sink's error ends the reading at any record, for ever. */
static void
test_sink_fails (gconstpointer user_data)
{
    Sample sample = (Sample) GPOINTER_TO_INT (user_data);
    g_autoptr (GByteArray) stream = sample_new (sample);
    GwStreamParams params;
    sample_params (sample, &params);
    for (guint at = 1;; at++) {
        g_autoptr (Log) log = log_new ();
        log->fail_at = at;
        g_autoptr (GwStreamReader) reader = gw_stream_reader_new (&params, log_record, log);
        g_autoptr (GError) again = NULL;
        if (gw_stream_reader_push (reader, stream->data, stream->len, &log->error)
            && gw_stream_reader_finish (reader, &log->error))
            break;
        g_assert_error (log->error, GW_ERROR, GW_CAUSE_ABORTED);
        g_assert_false (gw_stream_reader_push (reader, stream->data, 1, &again));
        g_assert_error (again, GW_ERROR, GW_CAUSE_ABORTED);
        g_clear_error (&again);
        g_assert_false (gw_stream_reader_finish (reader, &again));
    }
}

/* --- records ------------------------------------------------------------------------------------ */

typedef struct {
    guint pages, zero, xbzrle, compressed, blocks, discards, pings;
    gboolean saw_device, saw_word, saw_address, saw_bits, saw_uuid;
} Seen;

static gboolean
look (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    Seen *seen = user_data;
    switch (record->type) {
    case GW_STREAM_CONFIGURATION:
        g_assert_cmpint (record->configuration.machine[0], !=, '\0');
        break;
    case GW_STREAM_CONFIG_PAGE_BITS:
        g_assert_cmpuint (record->configuration.page_bits, ==, 10);
        break;
    case GW_STREAM_CONFIG_UUID:
        seen->saw_uuid = memcmp (record->data, "0123456789abcdef", 16) == 0;
        break;
    case GW_STREAM_DEVICE:
        seen->saw_device |= record->data_length == TIMER_BYTES;
        break;
    case GW_STREAM_RAM_BLOCK:
        seen->blocks++;
        seen->saw_word |= record->block->has_page_size && record->block->page_size == 2 << 20;
        seen->saw_address |= record->block->has_address && record->block->address == 77;
        break;
    case GW_STREAM_RAM_ZERO:
        seen->zero++;
        g_assert_cmpuint (record->ram.offset, ==, PAGE);
        g_assert_cmpuint (record->ram.fill, ==, 0);
        break;
    case GW_STREAM_RAM_PAGE:
        seen->pages++;
        g_assert_cmpmem (record->data, record->data_length, sample_page (), PAGE);
        break;
    case GW_STREAM_RAM_XBZRLE:
        seen->xbzrle++;
        g_assert_cmpmem (record->data, record->data_length, "\2\2ab", 4);
        g_assert_cmpstr (record->ram.block->name, ==, "vga");
        break;
    case GW_STREAM_RAM_COMPRESSED:
        seen->compressed++;
        g_assert_true (record->ram.is_continued);
        g_assert_cmpstr (record->ram.block->name, ==, "vga");
        break;
    case GW_STREAM_BITMAP:
        if (record->bitmap.flags & GW_BITMAP_BITS) {
            seen->saw_bits = TRUE;
            g_assert_cmpstr (record->bitmap.node, ==, "d1");
            g_assert_cmpuint (record->bitmap.n_sectors, ==, 128);
        }
        break;
    case GW_STREAM_COMMAND:
        seen->pings += record->command.number == GW_COMMAND_PING;
        if (record->command.number == GW_COMMAND_POSTCOPY_RAM_DISCARD) {
            seen->discards += record->command.n_ranges;
            g_assert_cmpuint (record->command.ranges[0].length, ==, PAGE);
        }
        break;
    default:
        break;
    }
    return TRUE;
}

static void
look_at (Sample sample, Seen *seen)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GByteArray) stream = sample_new (sample);
    GwStreamParams params;
    sample_params (sample, &params);
    *seen = (Seen){ 0 };
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (&params, look, seen);
    g_assert_true (gw_stream_reader_push (reader, stream->data, stream->len, &error));
    g_assert_true (gw_stream_reader_finish (reader, &error));
    g_assert_cmpuint (gw_stream_reader_get_offset (reader), ==, stream->len);
    g_assert_cmpuint (gw_stream_reader_get_page_size (reader), ==, PAGE);
    g_assert_null (gw_stream_reader_get_section (reader));
    g_assert_cmpint (gw_stream_reader_is_complete (reader), ==, params.kind == GW_STREAM_MAIN);
    for (unsigned i = 0; i < gw_stream_reader_get_n_blocks (reader); i++)
        g_assert_cmpuint (gw_stream_reader_get_block (reader, i)->index, ==, i);
    g_assert_null (gw_stream_reader_get_block (reader, 99));
}

static void
test_records (void)
{
    Seen seen;
    look_at (SAMPLE_PLAIN, &seen);
    g_assert_cmpuint (seen.pages, ==, 1);
    g_assert_cmpuint (seen.zero, ==, 1);
    g_assert_cmpuint (seen.xbzrle, ==, 1);
    g_assert_cmpuint (seen.compressed, ==, 1);
    g_assert_cmpuint (seen.blocks, ==, 2);
    g_assert_true (seen.saw_device);
    look_at (SAMPLE_POSTCOPY, &seen);
    g_assert_cmpuint (seen.discards, ==, 3);
    g_assert_cmpuint (seen.pings, ==, 4);
    g_assert_cmpuint (seen.blocks, ==, 3);
    g_assert_true (seen.saw_word && seen.saw_device);
    look_at (SAMPLE_SHARED, &seen);
    g_assert_true (seen.saw_address && seen.saw_uuid);
    look_at (SAMPLE_BITMAP, &seen);
    g_assert_true (seen.saw_bits);
    look_at (SAMPLE_PREEMPT, &seen);
    g_assert_cmpuint (seen.pages, ==, 1);
    look_at (SAMPLE_RECOVERY, &seen);
    look_at (SAMPLE_MAPPED, &seen);
    look_at (SAMPLE_SAVED, &seen);
}

/* --- slices ------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *start, *end;
    guint inside;
} Chunk;

static gboolean
count_slices (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    Chunk *chunk = user_data;
    if (record->type == GW_STREAM_RAM_PAGE)
        chunk->inside += record->data >= chunk->start && record->data + PAGE <= chunk->end;
    return TRUE;
}

static void
test_pages_are_slices_of_the_chunk (void)
{
    g_autoptr (GByteArray) stream = sample_new (SAMPLE_PLAIN);
    GwStreamParams params;
    sample_params (SAMPLE_PLAIN, &params);
    Chunk chunk = { stream->data, stream->data + stream->len, 0 };
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (&params, count_slices, &chunk);
    /* Even after a record crossed the border of the first chunk. */
    g_assert_true (gw_stream_reader_push (reader, stream->data, 50, NULL));
    g_assert_true (gw_stream_reader_push (reader, stream->data + 50, stream->len - 50, NULL));
    g_assert_cmpuint (chunk.inside, ==, 1);
}

static void
test_holds_ram (void)
{
    g_autoptr (GByteArray) stream = g_byte_array_new ();
    GwStreamParams params;
    g_autoptr (Log) log = log_new ();
    sample_params (SAMPLE_PREEMPT, &params);
    gw_stream_put_ram_page (stream, "a", 0, sample_page (), PAGE);
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (&params, log_record, log);
    g_assert_true (gw_stream_reader_add_block (reader, "a", PAGE, NULL));
    g_assert_false (gw_stream_reader_holds_ram (reader));
    g_assert_true (gw_stream_reader_push (reader, stream->data, 100, NULL));
    g_assert_true (gw_stream_reader_holds_ram (reader));
    g_assert_cmpuint (gw_stream_reader_get_offset (reader), ==, 0);
    g_assert_true (gw_stream_reader_push (reader, stream->data + 100, stream->len - 100, NULL));
    g_assert_false (gw_stream_reader_holds_ram (reader));
    g_assert_false (gw_stream_reader_is_complete (reader));
}

/* --- recovery ----------------------------------------------------------------------------------- */

static void
test_reconnect_keeps_sections_and_blocks (void)
{
    g_autoptr (GByteArray) first = sample_new (SAMPLE_POSTCOPY);
    g_autoptr (GByteArray) second = g_byte_array_new ();
    GwStreamParams params;
    g_autoptr (Log) log = log_new ();
    g_autoptr (GError) error = NULL;
    sample_params (SAMPLE_POSTCOPY, &params);
    params.kind = GW_STREAM_MAIN;
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (&params, log_record, log);
    g_assert_true (gw_stream_reader_push (reader, first->data, first->len - 30, &error));
    gw_stream_reader_reconnect (reader);
    g_byte_array_set_size (log->again, 0);
    gw_stream_put_command (second, GW_COMMAND_POSTCOPY_RESUME, NULL, 0);
    put_start (second, GW_STREAM_BYTE_END, 2, NULL, 0);
    gw_stream_put_ram_page (second, "b", PAGE, sample_page (), PAGE);
    put_eos (second, 2);
    gw_stream_put_eof (second);
    g_assert_true (gw_stream_reader_push (reader, second->data, second->len, &error));
    g_assert_true (gw_stream_reader_finish (reader, &error));
    g_assert_true (gw_stream_reader_is_complete (reader));
    g_assert_cmpuint (gw_stream_reader_get_offset (reader), ==, second->len);
}

static void
test_reconnect_of_the_urgent_channel (void)
{
    g_autoptr (GByteArray) stream = sample_new (SAMPLE_PREEMPT);
    GwStreamParams params;
    g_autoptr (Log) log = log_new ();
    g_autoptr (GError) error = NULL;
    sample_params (SAMPLE_PREEMPT, &params);
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (&params, log_record, log);
    g_assert_true (gw_stream_reader_push (reader, stream->data, stream->len, &error));
    gw_stream_reader_reconnect (reader);
    uint8_t word[8];
    gw_store_be64 (word, GW_RAM_ZERO | GW_RAM_CONTINUE); /* no block is named yet */
    g_assert_true (gw_stream_reader_push (reader, word, 8, &error)
                   && !gw_stream_reader_push (reader, word, 8, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_STREAM_BLOCK);
}

/* --- device sections ---------------------------------------------------------------------------- */

/* A body that has its own footer and what may follow it, as a guest could write there. */
static GByteArray *
misleading_stream (gboolean has_vmdesc)
{
    GByteArray *out = g_byte_array_new ();
    gw_stream_put_header (out);
    put_device (out, 4, "a", "xx\x7e\0\0\0\4\4\0\0\0\7\1b\0\0\0\0\0\0\0\1yy", 24);
    gw_stream_put_eof (out);
    const char *json = "{\"devices\":[{\"name\":\"a\",\"instance_id\":0,\"fields\":["
                       "{\"name\":\"x\",\"type\":\"buffer\",\"size\":24}]}]}";
    if (has_vmdesc)
        gw_stream_put_vmdesc (out, json, strlen (json));
    return out;
}

static void
test_a_guest_cannot_mislead_unseen (void)
{
    g_autoptr (GByteArray) stream = misleading_stream (TRUE);
    GwStreamParams params;
    gw_stream_params_init (&params);
    g_autoptr (Log) misled = read_stream (&params, stream->data, stream->len, 0);
    g_assert_nonnull (misled->error);
    g_autoptr (GwVmdesc) vmdesc = gw_vmdesc_find (stream->data, stream->len);
    g_assert_nonnull (vmdesc);
    params.vmdesc = vmdesc;
    g_autoptr (Log) told = read_stream (&params, stream->data, stream->len, 0);
    g_assert_no_error (told->error);
    g_assert_nonnull (strstr (told->text->str, "data 24"));
    for (guint i = 1; i < 30; i++) {
        g_autoptr (Log) cut = read_stream (&params, stream->data, stream->len, i);
        assert_same (told, cut);
    }
}

static void
test_wrong_length_of_a_given_vmdesc (void)
{
    g_autoptr (GByteArray) stream = misleading_stream (FALSE);
    GwStreamParams params;
    gw_stream_params_init (&params);
    const char *json = "{\"devices\":[{\"name\":\"a\",\"instance_id\":0,\"fields\":["
                       "{\"name\":\"x\",\"type\":\"buffer\",\"size\":9}]}]}";
    g_autoptr (GwVmdesc) vmdesc = gw_vmdesc_parse (json, strlen (json), NULL);
    params.vmdesc = vmdesc;
    g_autoptr (Log) log = read_stream (&params, stream->data, stream->len, 0);
    g_assert_error (log->error, GW_ERROR, GW_CAUSE_STREAM_FOOTER);
}

/* send-section-footer=off: RAM needs none, devices need a vmdesc. */
static void
test_no_footers (void)
{
    g_autoptr (GByteArray) out = g_byte_array_new ();
    GwStreamParams params;
    gw_stream_params_init (&params);
    params.has_footers = FALSE;
    gw_stream_put_header (out);
    put_start (out, GW_STREAM_BYTE_FULL, 4, "timer", 1);
    put (out, TIMER_BODY, TIMER_BYTES);
    put_start (out, GW_STREAM_BYTE_FULL, 5, "empty", 1);
    put_start (out, GW_STREAM_BYTE_START, 2, "ram", 4);
    gw_stream_put_ram_list (out, NULL, 0);
    gw_stream_put_ram_flag (out, GW_RAM_EOS);
    gw_stream_put_eof (out);
    gw_stream_put_vmdesc (out, PLAIN_JSON, strlen (PLAIN_JSON));
    g_autoptr (Log) blind = read_stream (&params, out->data, out->len, 0);
    g_assert_error (blind->error, GW_ERROR, GW_CAUSE_STREAM_SECTION);
    g_autoptr (GwVmdesc) vmdesc = gw_vmdesc_find (out->data, out->len);
    params.vmdesc = vmdesc;
    for (guint i = 0; i < 30; i++) {
        g_autoptr (Log) log = read_stream (&params, out->data, out->len, i);
        g_assert_no_error (log->error);
        g_assert_cmpuint (log->count[GW_STREAM_DEVICE], ==, 2);
    }
}

/* Every beginning that may follow a device section, and what only looks like one. */
static void
test_successors (void)
{
    static const struct {
        const char *bytes;
        gsize len;
        gboolean is_successor;
    } rows[] = {
        { "\4\0\0\0\7\1b\0\0\0\0\0\0\0\1", 15, TRUE },
        { "\1\0\0\0\7\1b\0\0\0\0\0\0\0\1", 15, TRUE },
        { "\4\0\0\0\4\1b\0\0\0\0\0\0\0\1", 15, FALSE },   /* its own number */
        { "\4\0\0\0\7\0b\0\0\0\0\0\0\0\1", 15, FALSE },   /* no name */
        { "\4\0\0\0\7\1\1\0\0\0\0\0\0\0\1", 15, FALSE },  /* not printable */
        { "\4\0\0\0\7\1b\0\0\0\0\1\0\0\1", 15, FALSE },   /* absurd version */
        { "\2\0\0\0\3", 5, TRUE },                        /* the iterator of this stream */
        { "\3\0\0\0\3", 5, TRUE },
        { "\2\0\0\0\4", 5, FALSE },
        { "\2\0\0\0\77", 5, FALSE },
        { "\10\0\2\0\4", 5, TRUE },
        { "\10\0\2\0\5", 5, FALSE },
        { "\10\0\77\0\4", 5, FALSE },
        { "\0\6\0\0\0\1{", 7, TRUE },
        { "\0\6\177\0\0\1{", 7, FALSE },
        { "\0\6\0\0\0\1x", 7, FALSE },
        { "\0\1", 2, FALSE },
        { "\5", 1, FALSE },
    };
    for (gsize i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GByteArray) out = g_byte_array_new ();
        GwStreamParams params;
        gw_stream_params_init (&params);
        gw_stream_put_header (out);
        put_start (out, GW_STREAM_BYTE_START, 3, "vfio", 1);
        put (out, "s", 1);
        gw_stream_put_footer (out, 3);
        put_start (out, GW_STREAM_BYTE_FULL, 4, "a", 1);
        put (out, "x\x7e\0\0\0\4", 6);
        put (out, rows[i].bytes, rows[i].len);
        for (guint most = 0; most < 4; most++) {
            g_autoptr (Log) log = read_stream (&params, out->data, out->len, most);
            g_assert_cmpuint (log->count[GW_STREAM_DEVICE], ==, rows[i].is_successor ? 2 : 1);
        }
    }
}

/* A footer that begins within what looks like one: every byte of the number is the footer's type. */
static void
test_footer_within_a_footer (void)
{
    g_autoptr (GByteArray) out = g_byte_array_new ();
    GwStreamParams params;
    gw_stream_params_init (&params);
    gw_stream_put_header (out);
    put_device (out, 0x7e7e7e7e, "a", "ab~~", 4);
    put_device (out, 5, "b", "x", 1);
    gw_stream_put_eof (out);
    for (guint most = 0; most < 9; most++) {
        g_autoptr (Log) log = read_stream (&params, out->data, out->len, most);
        g_assert_no_error (log->error);
        g_assert_nonnull (strstr (log->text->str, "section a data 4"));
    }
}

int
main (int argc, char **argv)
{
    static const char *const names[] = { "plain", "postcopy", "shared", "bitmap",
                                         "mapped", "saved", "recovery", "preempt" };
    g_test_init (&argc, &argv, NULL);
    G_STATIC_ASSERT (G_N_ELEMENTS (names) == N_SAMPLES);
    for (int i = 0; i < N_SAMPLES; i++) {
        g_autofree char *rewrites = g_strdup_printf ("/stream/%s/rewrites", names[i]);
        g_autofree char *cut = g_strdup_printf ("/stream/%s/any-cut", names[i]);
        g_autofree char *damage = g_strdup_printf ("/stream/%s/any-damage", names[i]);
        g_autofree char *truncation = g_strdup_printf ("/stream/%s/truncation", names[i]);
        g_autofree char *sink = g_strdup_printf ("/stream/%s/sink-fails", names[i]);
        g_test_add_data_func (rewrites, GINT_TO_POINTER (i), test_rewrites);
        g_test_add_data_func (cut, GINT_TO_POINTER (i), test_any_cut);
        g_test_add_data_func (damage, GINT_TO_POINTER (i), test_any_damage);
        g_test_add_data_func (truncation, GINT_TO_POINTER (i), test_truncation);
        g_test_add_data_func (sink, GINT_TO_POINTER (i), test_sink_fails);
    }
    g_test_add_func ("/stream/records", test_records);
    g_test_add_func ("/stream/slices", test_pages_are_slices_of_the_chunk);
    g_test_add_func ("/stream/holds-ram", test_holds_ram);
    g_test_add_func ("/stream/reconnect", test_reconnect_keeps_sections_and_blocks);
    g_test_add_func ("/stream/reconnect-urgent", test_reconnect_of_the_urgent_channel);
    g_test_add_func ("/stream/misleading", test_a_guest_cannot_mislead_unseen);
    g_test_add_func ("/stream/wrong-length", test_wrong_length_of_a_given_vmdesc);
    g_test_add_func ("/stream/no-footers", test_no_footers);
    g_test_add_func ("/stream/footer-within", test_footer_within_a_footer);
    g_test_add_func ("/stream/successors", test_successors);
    return g_test_run ();
}
