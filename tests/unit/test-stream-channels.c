/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The return path, multifd channels, XBZRLE and the filter. */
#include "test-stream-samples.h"

/* --- a reader of any channel, in pieces ----------------------------------------------------------- */

typedef struct {
    GString *text;
    GByteArray *again;
    guint n, fail_at;
    GError *error;
} Notes;

static void
notes_clear (Notes *notes)
{
    if (notes->text != NULL)
        g_string_free (notes->text, TRUE);
    g_clear_pointer (&notes->again, g_byte_array_unref);
    g_clear_error (&notes->error);
    *notes = (Notes){ 0 };
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Notes, notes_clear)

static gboolean
note (Notes *notes, const char *line, uint64_t offset, GError **error)
{
    if (++notes->n == notes->fail_at)
        return gw_fail (error, GW_CAUSE_ABORTED, "enough");
    g_assert_cmpuint (offset, ==, notes->again->len);
    g_string_append (notes->text, line);
    return TRUE;
}

static gboolean
on_message (const GwReturnRecord *r, gpointer user_data, GError **error)
{
    Notes *notes = user_data;
    g_autofree char *line = g_strdup_printf ("%s %u %" G_GUINT64_FORMAT " %u %s %zu\n",
                                             gw_return_message_name (r->type), r->value, r->start,
                                             r->wanted, r->block != NULL ? r->block : "-",
                                             r->bitmap_length);
    if (!note (notes, line, r->offset, error))
        return FALSE;
    gw_return_put_record (notes->again, r);
    return TRUE;
}

static gboolean
on_packet (const GwMultifdRecord *r, gpointer user_data, GError **error)
{
    static const char *const names[] = { "init", "packet", "page", "payload", "device", "data" };
    Notes *notes = user_data;
    g_autofree char *line = g_strdup_printf ("%s %zu at %" G_GUINT64_FORMAT " %u+%u flags %x\n",
                                             names[r->type], r->data_length, r->page_offset,
                                             r->packet.n_normal, r->packet.n_zero, r->packet.flags);
    if (!note (notes, line, r->offset, error))
        return FALSE;
    gw_multifd_put_record (notes->again, r);
    return TRUE;
}

static void
read_channel (gboolean is_multifd, const uint8_t *data, gsize len, gsize most, Notes *notes)
{
    GwStreamParams params;
    gw_stream_params_init (&params);
    params.page_size = PAGE;
    params.max_bitmap_bytes = 64;
    guint fail_at = notes->fail_at;
    notes_clear (notes);
    *notes = (Notes){ g_string_new (NULL), g_byte_array_new (), 0, fail_at, NULL };
    g_autoptr (GwReturnReader) back = gw_return_reader_new (&params, on_message, notes);
    g_autoptr (GwMultifdReader) multifd = gw_multifd_reader_new (&params, on_packet, notes);
    while (len > 0) {
        gsize piece = most == 0 ? len : (gsize) g_test_rand_int_range (1, (gint32) most + 1);
        gsize n = MIN (len, piece);
        if (!(is_multifd ? gw_multifd_reader_push (multifd, data, n, &notes->error)
                         : gw_return_reader_push (back, data, n, &notes->error)))
            break;
        data += n;
        len -= n;
    }
    g_autoptr (GError) last = NULL;
    if (is_multifd ? !gw_multifd_reader_finish (multifd, &last)
                   : !gw_return_reader_finish (back, &last)) {
        if (notes->error == NULL)
            notes->error = g_steal_pointer (&last);
        else
            g_assert_cmpstr (notes->error->message, ==, last->message); /* for ever */
    }
    if (notes->error == NULL)
        g_assert_cmpuint (is_multifd ? gw_multifd_reader_get_offset (multifd)
                                     : gw_return_reader_get_offset (back), ==, notes->again->len);
}

static GByteArray *
return_sample (void)
{
    GByteArray *out = g_byte_array_new ();
    const GwReturnRecord records[] = {
        { .type = GW_RETURN_PONG, .value = 1 },
        { .type = GW_RETURN_REQ_PAGES_ID, .start = 8192, .wanted = 4096, .block = "pc.ram" },
        { .type = GW_RETURN_REQ_PAGES, .start = 4096, .wanted = 4096, .block = "pc.ram" },
        { .type = GW_RETURN_RECV_BITMAP, .block = "vga", .bitmap = sample_page (), .bitmap_length = 16 },
        { .type = GW_RETURN_RESUME_ACK, .value = 1 },
        { .type = GW_RETURN_SWITCHOVER_ACK },
        { .type = GW_RETURN_SHUT, .value = 0 },
    };
    for (gsize i = 0; i < G_N_ELEMENTS (records); i++)
        gw_return_put_record (out, &records[i]);
    return out;
}

static void
put_init (GByteArray *out)
{
    put_number (out, GW_MULTIFD_MAGIC, 4);
    put_number (out, GW_MULTIFD_VERSION, 4);
    put (out, "0123456789abcdef\1", 17);
    for (int i = 0; i < 39; i++)
        put_number (out, 0, 1);
}

/* Counts are of pages; `size` is next_packet_size. */
static void
put_packet (GByteArray *out, uint32_t flags, uint32_t alloc, uint32_t normal, uint32_t zero,
            uint32_t size)
{
    char name[GW_MULTIFD_NAME_BYTES] = "pc.ram";
    put_number (out, GW_MULTIFD_MAGIC, 4);
    put_number (out, GW_MULTIFD_VERSION, 4);
    put_number (out, flags, 4);
    put_number (out, alloc, 4);
    put_number (out, normal, 4);
    put_number (out, size, 4);
    put_number (out, 7, 8);
    put_number (out, zero, 4);
    for (int i = 0; i < 28; i++)
        put_number (out, 0, 1);
    put (out, name, sizeof name);
    for (uint64_t i = 0; i < GW_MULTIFD_PACKET_BYTES / PAGE; i++)
        put_number (out, i * PAGE, 8);
}

static void
put_zeros (GByteArray *out, gsize n)
{
    g_autofree uint8_t *zeros = g_malloc0 (n);
    put (out, zeros, n);
}

static GByteArray *
multifd_sample (void)
{
    GByteArray *out = g_byte_array_new ();
    put_init (out);
    put_packet (out, GW_MULTIFD_SYNC, 512, 2, 1, 0);
    put_zeros (out, 2 * PAGE);
    put_packet (out, GW_MULTIFD_ZSTD, 512, 3, 0, 70000);
    put_zeros (out, 70000);
    put_packet (out, GW_MULTIFD_ZLIB, 512, 0, 2, 999); /* stale size */
    put_packet (out, GW_MULTIFD_ZLIB, 512, 1, 0, 0);
    put_packet (out, GW_MULTIFD_SYNC, 0, 0, 0, 0);
    put_number (out, GW_MULTIFD_MAGIC, 4);
    put_number (out, GW_MULTIFD_VERSION, 4);
    put_number (out, GW_MULTIFD_DEVICE_STATE, 4);
    put (out, "vfio", 4);
    put_zeros (out, 252);
    put_number (out, 3, 4);
    put_number (out, 40, 4);
    put_zeros (out, 40);
    return out;
}

/* --- both ------------------------------------------------------------------------------------------ */

static void
test_any_cut (gconstpointer user_data)
{
    gboolean is_multifd = GPOINTER_TO_INT (user_data);
    g_autoptr (GByteArray) stream = is_multifd ? multifd_sample () : return_sample ();
    g_auto (Notes) whole = { 0 }, cut = { 0 };
    read_channel (is_multifd, stream->data, stream->len, 0, &whole);
    g_assert_no_error (whole.error);
    g_assert_cmpmem (whole.again->data, whole.again->len, stream->data, stream->len);
    for (gsize most = 1; most < 5000; most += most / 4 + 1) {
        read_channel (is_multifd, stream->data, stream->len, most, &cut);
        g_assert_no_error (cut.error);
        g_assert_cmpstr (whole.text->str, ==, cut.text->str);
    }
}

static void
test_any_damage (gconstpointer user_data)
{
    gboolean is_multifd = GPOINTER_TO_INT (user_data);
    g_auto (Notes) whole = { 0 }, cut = { 0 };
    for (int i = 0; i < 200; i++) {
        g_autoptr (GByteArray) stream = is_multifd ? multifd_sample () : return_sample ();
        guint at = (guint) g_test_rand_int_range (0, (gint32) stream->len);
        stream->data[at] ^= (uint8_t) (1u << g_test_rand_int_range (0, 8));
        read_channel (is_multifd, stream->data, stream->len, 0, &whole);
        read_channel (is_multifd, stream->data, stream->len, 999, &cut);
        g_assert_cmpstr (whole.text->str, ==, cut.text->str);
        g_assert_cmpstr (whole.error != NULL ? whole.error->message : "", ==,
                         cut.error != NULL ? cut.error->message : "");
    }
}

static void
test_truncation (gconstpointer user_data)
{
    gboolean is_multifd = GPOINTER_TO_INT (user_data);
    g_autoptr (GByteArray) stream = is_multifd ? multifd_sample () : return_sample ();
    g_auto (Notes) notes = { 0 };
    guint valid = 0;
    for (gsize len = 0; len < stream->len; len += is_multifd ? 16 : 1) {
        read_channel (is_multifd, stream->data, len, 0, &notes);
        valid += notes.error == NULL;
        if (notes.error != NULL)
            g_assert_error (notes.error, GW_ERROR, GW_CAUSE_STREAM_TRUNCATED);
    }
    g_assert_cmpuint (valid, ==, 7);
}

static void
test_sink_fails (gconstpointer user_data)
{
    gboolean is_multifd = GPOINTER_TO_INT (user_data);
    g_autoptr (GByteArray) stream = is_multifd ? multifd_sample () : return_sample ();
    g_auto (Notes) notes = { 0 };
    for (guint at = 1; at <= 7; at++) {
        notes.fail_at = at;
        read_channel (is_multifd, stream->data, stream->len, 0, &notes);
        g_assert_error (notes.error, GW_ERROR, GW_CAUSE_ABORTED);
    }
}

/* --- the return path --------------------------------------------------------------------------------- */

static void
test_messages (void)
{
    g_autoptr (GByteArray) stream = return_sample ();
    g_auto (Notes) notes = { 0 };
    read_channel (FALSE, stream->data, stream->len, 0, &notes);
    g_assert_cmpstr (notes.text->str, ==,
                     "pong 1 0 0 - 0\n"
                     "req-pages-id 0 8192 4096 pc.ram 0\n"
                     "req-pages 0 4096 4096 pc.ram 0\n"
                     "recv-bitmap 0 0 0 vga 16\n"
                     "resume-ack 1 0 0 - 0\n"
                     "switchover-ack 0 0 0 - 0\n"
                     "shut 0 0 0 - 0\n");
}

static void
test_message_faults (void)
{
    static const struct {
        const char *bytes;
        gsize len;
        GwCause cause;
    } rows[] = {
        { "\0\0\0\0", 4, GW_CAUSE_STREAM_RETURN_PATH },
        { "\0\10\0\0", 4, GW_CAUSE_STREAM_RETURN_PATH },
        { "\0\2\0\3", 4, GW_CAUSE_STREAM_RETURN_PATH },
        { "\0\2\0\5", 4, GW_CAUSE_STREAM_RETURN_PATH },
        { "\0\4\0\14\0\0\0\0\0\0\0\0\0\0\0\0", 16, GW_CAUSE_STREAM_RETURN_PATH }, /* no block yet */
        { "\0\3\0\16\0\0\0\0\0\0\0\0\0\0\0\0\0a", 18, GW_CAUSE_STREAM_RETURN_PATH },
        { "\0\3\0\16\0\0\0\0\0\0\0\0\0\0\0\0\2a", 18, GW_CAUSE_STREAM_RETURN_PATH },
        { "\0\3\0\16\0\0\0\0\0\0\0\0\0\0\0\0\1\1", 18, GW_CAUSE_STREAM_RETURN_PATH },
        { "\0\5\0\2\2a", 6, GW_CAUSE_STREAM_RETURN_PATH },
        { "\0\5\0\2\1a\0\0\0\0\0\0\0\0", 14, GW_CAUSE_STREAM_LIMIT },
        { "\0\5\0\2\1a\0\0\0\0\0\0\0\11", 14, GW_CAUSE_STREAM_LIMIT },
        { "\0\5\0\2\1a\1\0\0\0\0\0\0\10", 14, GW_CAUSE_STREAM_LIMIT },
        { "\0\5\0\2\1a\0\0\0\0\0\0\0\10" "12345678" "\1\43\105\147\211\253\315\356", 30,
          GW_CAUSE_STREAM_RETURN_PATH },
    };
    g_auto (Notes) notes = { 0 };
    for (gsize i = 0; i < G_N_ELEMENTS (rows); i++) {
        read_channel (FALSE, (const uint8_t *) rows[i].bytes, rows[i].len, 0, &notes);
        g_assert_error (notes.error, GW_ERROR, (int) rows[i].cause);
        g_assert_true (g_str_has_prefix (notes.error->message, "return path, offset "));
    }
}

/* --- multifd ----------------------------------------------------------------------------------------- */

static void
test_packets (void)
{
    g_autoptr (GByteArray) stream = multifd_sample ();
    g_auto (Notes) notes = { 0 };
    read_channel (TRUE, stream->data, stream->len, 0, &notes);
    g_assert_cmpstr (notes.text->str, ==,
                     "init 64 at 0 0+0 flags 0\n"
                     "packet 4416 at 0 2+1 flags 1\n"
                     "page 1024 at 0 2+1 flags 1\n"
                     "page 1024 at 1024 2+1 flags 1\n"
                     "packet 4416 at 0 3+0 flags 4\n"
                     "payload 65536 at 0 3+0 flags 4\n"
                     "payload 4464 at 0 3+0 flags 4\n"
                     "packet 4416 at 0 0+2 flags 2\n"
                     "packet 4416 at 0 1+0 flags 2\n"
                     "packet 4416 at 0 0+0 flags 1\n"
                     "device 276 at 0 0+0 flags 0\n"
                     "data 40 at 0 0+0 flags 0\n");
}

static void
test_packet_faults (void)
{
    static const struct {
        uint32_t flags, alloc, normal, zero, size;
        GwCause cause;
    } rows[] = {
        { 0x80, 512, 0, 0, 0, GW_CAUSE_STREAM_MULTIFD },
        { GW_MULTIFD_ZLIB | GW_MULTIFD_ZSTD, 512, 0, 0, 0, GW_CAUSE_STREAM_MULTIFD },
        { 0, 513, 0, 0, 0, GW_CAUSE_STREAM_LIMIT },
        { 0, 512, 512, 1, 0, GW_CAUSE_STREAM_LIMIT },
        { 0, 512, G_MAXUINT32, 1, 0, GW_CAUSE_STREAM_LIMIT },
        { 0, 10, 11, 0, 0, GW_CAUSE_STREAM_LIMIT },
        { GW_MULTIFD_ZSTD, 512, 1, 0, 2 * GW_MULTIFD_PACKET_BYTES + 1, GW_CAUSE_STREAM_LIMIT },
    };
    g_auto (Notes) notes = { 0 };
    for (gsize i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GByteArray) out = g_byte_array_new ();
        put_init (out);
        put_packet (out, rows[i].flags, rows[i].alloc, rows[i].normal, rows[i].zero, rows[i].size);
        read_channel (TRUE, out->data, out->len, 0, &notes);
        g_assert_error (notes.error, GW_ERROR, (int) rows[i].cause);
        g_assert_true (g_str_has_prefix (notes.error->message, "multifd channel, offset "));
    }
}

/* A byte of a valid channel at `at` becomes `byte` for `n` bytes. */
static void
assert_fault_at (gsize at, uint8_t byte, gsize n, GwCause cause)
{
    g_autoptr (GByteArray) out = multifd_sample ();
    g_auto (Notes) notes = { 0 };
    memset (out->data + at, byte, n);
    read_channel (TRUE, out->data, out->len, 0, &notes);
    g_assert_error (notes.error, GW_ERROR, (int) cause);
}

static void
test_packet_bytes (void)
{
    g_autoptr (GByteArray) sample = multifd_sample ();
    gsize device = sample->len - 40 - 276;
    assert_fault_at (0, 0, 1, GW_CAUSE_STREAM_MULTIFD);       /* magic of the init */
    assert_fault_at (7, 2, 1, GW_CAUSE_STREAM_MULTIFD);       /* version */
    assert_fault_at (64, 0, 1, GW_CAUSE_STREAM_MULTIFD);      /* magic of a packet */
    assert_fault_at (64 + 64, 'x', 256, GW_CAUSE_STREAM_MULTIFD); /* name without an end */
    assert_fault_at (device + 12, 'x', 256, GW_CAUSE_STREAM_MULTIFD);
    assert_fault_at (device + 272, 0xff, 1, GW_CAUSE_STREAM_LIMIT);
}

/* A packet of device state may be empty. */
static void
test_empty_device_packet (void)
{
    g_autoptr (GByteArray) out = multifd_sample ();
    g_auto (Notes) notes = { 0 };
    g_byte_array_set_size (out, out->len - 40);
    out->data[out->len - 1] = 0;
    read_channel (TRUE, out->data, out->len, 0, &notes);
    g_assert_no_error (notes.error);
}

/* --- xbzrle ------------------------------------------------------------------------------------------ */

static void
test_xbzrle (void)
{
    static const struct {
        const char *data;
        gsize len;
        const char *page; /* of 300 times 'o'; NULL: refused */
        gsize changed, n;
    } rows[] = {
        { "", 0, "", 0, 0 },
        { "\0\2ab", 4, "ab", 0, 2 },
        { "\2\3abc", 5, "abc", 2, 3 },
        { "\200\2\1x", 4, "x", 256, 1 },       /* a run of two bytes: 256 */
        { "\0\1a\1\1b", 6, "aob", 0, 3 },
        { "\2", 1, NULL, 0, 0 },               /* no second run */
        { "\200", 1, NULL, 0, 0 },             /* half a number */
        { "\200\200\1\1x", 5, NULL, 0, 0 },    /* three bytes of number */
        { "\2\0", 2, NULL, 0, 0 },             /* nothing new */
        { "\0\1a\0\1b", 6, NULL, 0, 0 },       /* nothing between */
        { "\2\3ab", 4, NULL, 0, 0 },           /* data ends */
        { "\254\2\1x", 4, NULL, 0, 0 },        /* 300: at the page's end */
        { "\255\2\1x", 4, NULL, 0, 0 },        /* beyond it */
        { "\253\2\2xy", 5, NULL, 0, 0 },       /* the new bytes leave it */
    };
    for (gsize i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GError) error = NULL;
        uint8_t page[300];
        memset (page, 'o', sizeof page);
        gboolean ok = gw_xbzrle_apply ((const uint8_t *) rows[i].data, rows[i].len, page,
                                       sizeof page, &error);
        g_test_message ("row %zu: %s", i, ok ? "" : error->message);
        g_assert_cmpint (ok, ==, rows[i].page != NULL);
        if (!ok)
            g_assert_error (error, GW_ERROR, GW_CAUSE_STREAM_XBZRLE);
        else
            g_assert_cmpmem (page + rows[i].changed, rows[i].n, rows[i].page, rows[i].n);
    }
}

/* --- the filter -------------------------------------------------------------------------------------- */

static GByteArray *
filtered (Sample sample, const GwStreamFilterRules *rules, unsigned n_left_out)
{
    g_autoptr (GByteArray) stream = sample_new (sample);
    GByteArray *out = g_byte_array_new ();
    g_autoptr (GError) error = NULL;
    GwStreamParams params;
    sample_params (sample, &params);
    g_autoptr (GwStreamFilter) filter = gw_stream_filter_new (&params, rules, out);
    for (guint i = 0; i < stream->len; i++)
        g_assert_true (gw_stream_filter_push (filter, stream->data + i, 1, &error));
    g_assert_true (gw_stream_filter_finish (filter, &error));
    g_assert_cmpuint (gw_stream_filter_get_n_left_out (filter), ==, n_left_out);
    g_autoptr (Log) log = read_stream (&params, out->data, out->len, 0);
    g_assert_no_error (log->error);
    return out;
}

static void
test_filter_copies (void)
{
    const GwStreamFilterRules nothing = { NULL, NULL };
    for (int i = 0; i < N_SAMPLES; i++) {
        g_autoptr (GByteArray) stream = sample_new ((Sample) i);
        g_autoptr (GByteArray) out = filtered ((Sample) i, &nothing, 0);
        g_assert_cmpmem (out->data, out->len, stream->data, stream->len);
    }
}

static void
test_filter_inserts_the_configuration (void)
{
    const GwStreamFilterRules rules = { "pc-q35-7.2", NULL };
    g_autoptr (GByteArray) saved = sample_new (SAMPLE_SAVED);
    g_autoptr (GByteArray) out = filtered (SAMPLE_SAVED, &rules, 0);
    g_assert_cmpuint (out->len, ==, saved->len + 5 + 10);
    g_assert_cmpmem (out->data + 8, 15, "\7\0\0\0\12pc-q35-7.2", 15);
    g_autoptr (GByteArray) plain = sample_new (SAMPLE_PLAIN);
    g_autoptr (GByteArray) has_one = filtered (SAMPLE_PLAIN, &rules, 0);
    g_assert_cmpmem (has_one->data, has_one->len, plain->data, plain->len);
}

static void
test_filter_leaves_out (void)
{
    const char *const names[] = { "timer", "virtio-net", "ram", NULL };
    const GwStreamFilterRules rules = { NULL, names };
    GwStreamParams params;
    g_autoptr (GByteArray) plain = filtered (SAMPLE_PLAIN, &rules, 1);
    sample_params (SAMPLE_PLAIN, &params);
    g_autoptr (Log) log = read_stream (&params, plain->data, plain->len, 0);
    g_assert_null (strstr (log->text->str, "timer"));
    g_assert_nonnull (strstr (log->text->str, "section empty"));
    g_assert_cmpuint (log->count[GW_STREAM_VMDESC], ==, 0);
    g_assert_cmpuint (log->count[GW_STREAM_RAM_PAGE], ==, 1);
    g_autoptr (GByteArray) saved = filtered (SAMPLE_SAVED, &rules, 2);
    g_assert_cmpuint (saved->len, ==, 9);
    g_autoptr (GByteArray) postcopy = filtered (SAMPLE_POSTCOPY, &rules, 1);
    g_autoptr (Log) inside = read_stream (&params, postcopy->data, postcopy->len, 0);
    g_assert_cmpuint (inside->count[GW_STREAM_PACKAGE_END], ==, 1);
    g_assert_cmpuint (inside->count[GW_STREAM_DEVICE], ==, 0);
}

static void
test_filter_fails_as_the_reader_does (void)
{
    const GwStreamFilterRules nothing = { NULL, NULL };
    g_autoptr (GByteArray) out = g_byte_array_new ();
    g_autoptr (GError) error = NULL;
    GwStreamParams params;
    sample_params (SAMPLE_PLAIN, &params);
    g_autoptr (GwStreamFilter) filter = gw_stream_filter_new (&params, &nothing, out);
    g_assert_false (gw_stream_filter_push (filter, (const uint8_t *) "12345678", 8, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_STREAM_MAGIC);
    g_clear_error (&error);
    g_assert_false (gw_stream_filter_finish (filter, &error));
    gw_stream_filter_free (NULL);
    gw_stream_reader_free (NULL);
    gw_return_reader_free (NULL);
    gw_multifd_reader_free (NULL);
}

/* A package whose only section is left out vanishes. */
static void
test_filter_empties_a_package (void)
{
    const char *const names[] = { "timer", NULL };
    const GwStreamFilterRules rules = { NULL, names };
    g_autoptr (GByteArray) package = g_byte_array_new (), in = g_byte_array_new ();
    g_autoptr (GByteArray) out = g_byte_array_new ();
    g_autoptr (GError) error = NULL;
    GwStreamParams params;
    sample_params (SAMPLE_PLAIN, &params);
    put_device (package, 4, "timer", TIMER_BODY, TIMER_BYTES);
    gw_stream_put_header (in);
    gw_stream_put_packaged (in, package->data, package->len);
    gw_stream_put_eof (in);
    g_autoptr (GwStreamFilter) filter = gw_stream_filter_new (&params, &rules, out);
    g_assert_true (gw_stream_filter_push (filter, in->data, in->len, &error));
    g_assert_cmpuint (out->len, ==, 9);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    for (int i = 0; i < 2; i++) {
        gconstpointer data = GINT_TO_POINTER (i);
        g_test_add_data_func (i ? "/multifd/any-cut" : "/return/any-cut", data, test_any_cut);
        g_test_add_data_func (i ? "/multifd/damage" : "/return/damage", data, test_any_damage);
        g_test_add_data_func (i ? "/multifd/truncation" : "/return/truncation", data,
                              test_truncation);
        g_test_add_data_func (i ? "/multifd/sink" : "/return/sink", data, test_sink_fails);
    }
    g_test_add_func ("/return/messages", test_messages);
    g_test_add_func ("/return/faults", test_message_faults);
    g_test_add_func ("/multifd/packets", test_packets);
    g_test_add_func ("/multifd/faults", test_packet_faults);
    g_test_add_func ("/multifd/bytes", test_packet_bytes);
    g_test_add_func ("/multifd/empty-device", test_empty_device_packet);
    g_test_add_func ("/xbzrle", test_xbzrle);
    g_test_add_func ("/filter/copies", test_filter_copies);
    g_test_add_func ("/filter/configuration", test_filter_inserts_the_configuration);
    g_test_add_func ("/filter/leaves-out", test_filter_leaves_out);
    g_test_add_func ("/filter/fails", test_filter_fails_as_the_reader_does);
    g_test_add_func ("/filter/empty-package", test_filter_empties_a_package);
    return g_test_run ();
}
