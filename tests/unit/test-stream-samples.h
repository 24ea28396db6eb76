/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small streams of every kind, built with the writer, for the tests of stream. */
#ifndef GW_TEST_STREAM_SAMPLES_H
#define GW_TEST_STREAM_SAMPLES_H

#include "stream.h"

#include <string.h>

#define PAGE 1024u /* small pages, small samples */

typedef enum {
    SAMPLE_PLAIN,    /* every RAM record, two devices, vmdesc */
    SAMPLE_POSTCOPY, /* a page-size word, discard, package */
    SAMPLE_SHARED,   /* ignore-shared, uuid, page bits */
    SAMPLE_BITMAP,
    SAMPLE_MAPPED,
    SAMPLE_SAVED,    /* as xen-save-devices-state: no configuration, no RAM, no vmdesc */
    SAMPLE_RECOVERY,
    SAMPLE_PREEMPT,
    N_SAMPLES
} Sample;

static inline void
put (GByteArray *out, const void *data, gsize len)
{
    g_byte_array_append (out, data, (guint) len);
}

static inline void
put_number (GByteArray *out, uint64_t v, gsize bytes)
{
    for (gsize i = bytes; i > 0; i--)
        put (out, &(uint8_t){ (uint8_t) (v >> (8 * (i - 1))) }, 1);
}

static inline void
put_text (GByteArray *out, const char *text)
{
    put_number (out, strlen (text), 1);
    put (out, text, strlen (text));
}

static inline void
put_start (GByteArray *out, GwStreamByte type, uint32_t id, const char *name, uint32_t version)
{
    GwStreamSection section = { .id = id, .version = version, .name = (char *) name };
    gw_stream_put_section (out, type, &section);
}

static inline void
put_device (GByteArray *out, uint32_t id, const char *name, const void *body, gsize len)
{
    put_start (out, GW_STREAM_BYTE_FULL, id, name, 1);
    put (out, body, len);
    gw_stream_put_footer (out, id);
}

static inline void
put_eos (GByteArray *out, uint32_t id)
{
    gw_stream_put_ram_flag (out, GW_RAM_EOS);
    gw_stream_put_footer (out, id);
}

static inline void
put_ram_start (GByteArray *out, GwStreamBlock *blocks, unsigned n)
{
    const GwStreamBlock *list[4];
    for (unsigned i = 0; i < n; i++)
        list[i] = &blocks[i];
    put_start (out, GW_STREAM_BYTE_START, 2, "ram", 4);
    gw_stream_put_ram_list (out, list, n);
    put_eos (out, 2);
}

static inline const uint8_t *
sample_page (void)
{
    static uint8_t page[PAGE];
    for (unsigned i = 0; i < PAGE; i++)
        page[i] = (uint8_t) (i * 7);
    return page;
}

/* The timer's body: an int64, two structures of a uint16, a subsection of a bool. */
#define TIMER_BODY "\0\0\0\0\0\0\0\5" "\0\1" "\0\2" "\5\7timer/q\0\0\0\1\1"
#define TIMER_BYTES (sizeof TIMER_BODY - 1)
#define TIMER_JSON                                                                                 \
    "{\"name\":\"timer\",\"instance_id\":0,\"vmsd_name\":\"timer\",\"version\":1,\"fields\":["     \
    "{\"name\":\"a\",\"type\":\"int64\",\"size\":8},{\"name\":\"b\",\"array_len\":2,"              \
    "\"type\":\"struct\",\"struct\":{\"vmsd_name\":\"s\",\"version\":1,\"fields\":["               \
    "{\"name\":\"x\",\"type\":\"uint16\",\"size\":2}]},\"size\":2}],\"subsections\":["             \
    "{\"vmsd_name\":\"timer/q\",\"version\":1,\"fields\":[{\"name\":\"k\",\"type\":\"bool\","      \
    "\"size\":1}]}]}"
#define EMPTY_JSON "{\"name\":\"empty\",\"instance_id\":0,\"fields\":[]}"
#define PLAIN_JSON "{\"page_size\":1024,\"devices\":[" TIMER_JSON "," EMPTY_JSON "]}"

static inline void
put_plain (GByteArray *out)
{
    GwStreamBlock blocks[] = { { .name = (char *) "pc.ram", .used_length = 6 * PAGE },
                               { .name = (char *) "vga", .used_length = 2 * PAGE } };
    gw_stream_put_header (out);
    gw_stream_put_configuration (out, "pc-7.2");
    put_ram_start (out, blocks, 2);
    put_start (out, GW_STREAM_BYTE_PART, 2, NULL, 0);
    gw_stream_put_ram_page (out, "pc.ram", 0, sample_page (), PAGE);
    gw_stream_put_ram_page (out, NULL, PAGE, NULL, PAGE);
    put_number (out, 0 | GW_RAM_XBZRLE, 8);
    put_text (out, "vga");
    put (out, "\1\0\4\2\2ab", 7);
    put_number (out, PAGE | GW_RAM_COMPRESS | GW_RAM_CONTINUE, 8);
    put (out, "\0\0\0\5zzzzz", 9);
    gw_stream_put_ram_flag (out, GW_RAM_FLUSH);
    put_eos (out, 2);
    put_start (out, GW_STREAM_BYTE_END, 2, NULL, 0);
    put_eos (out, 2);
    put_device (out, 4, "timer", TIMER_BODY, TIMER_BYTES);
    put_device (out, 5, "empty", "", 0);
    gw_stream_put_eof (out);
    gw_stream_put_vmdesc (out, PLAIN_JSON, strlen (PLAIN_JSON));
}

static inline void
put_postcopy (GByteArray *out)
{
    g_autoptr (GByteArray) package = g_byte_array_new ();
    const GwStreamRange ranges[] = { { 0, PAGE }, { PAGE, PAGE } };
    GwStreamBlock blocks[] = {
        { .name = (char *) "a", .used_length = 2 * PAGE },
        { .name = (char *) "b", .used_length = 2 * PAGE, .has_page_size = TRUE, .page_size = 2 << 20 },
        { .name = (char *) "c", .used_length = 2 * PAGE, .has_page_size = TRUE, .page_size = 2 << 20 },
    };
    gw_stream_put_header (out);
    gw_stream_put_configuration (out, "pc-7.2");
    gw_stream_put_command (out, GW_COMMAND_OPEN_RETURN_PATH, NULL, 0);
    gw_stream_put_ping (out, 1);
    gw_stream_put_advise (out, 4096, PAGE);
    put_ram_start (out, blocks, 3);
    put_start (out, GW_STREAM_BYTE_PART, 2, NULL, 0);
    gw_stream_put_ram_page (out, "a", 0, sample_page (), PAGE);
    put_eos (out, 2);
    gw_stream_put_discard (out, "a", ranges, 2);
    gw_stream_put_discard (out, "b", ranges, 1);
    gw_stream_put_ping (out, 2);
    gw_stream_put_command (package, GW_COMMAND_POSTCOPY_LISTEN, NULL, 0);
    put_device (package, 4, "timer", TIMER_BODY, TIMER_BYTES);
    gw_stream_put_ping (package, 3);
    gw_stream_put_command (package, GW_COMMAND_POSTCOPY_RUN, NULL, 0);
    gw_stream_put_packaged (out, package->data, package->len);
    gw_stream_put_ping (out, 4);
    put_start (out, GW_STREAM_BYTE_END, 2, NULL, 0);
    gw_stream_put_ram_page (out, NULL, 0, sample_page (), PAGE);
    put_eos (out, 2);
    gw_stream_put_eof (out);
}

static inline void
put_config_part (GByteArray *out, const char *name, const void *body, gsize len)
{
    put_number (out, GW_STREAM_BYTE_SUBSECTION, 1);
    put_text (out, name);
    put_number (out, 1, 4);
    put (out, body, len);
}

static inline void
put_shared (GByteArray *out)
{
    GwStreamBlock block = { .name = (char *) "a", .used_length = PAGE, .has_address = TRUE,
                            .address = 77 };
    gw_stream_put_header (out);
    gw_stream_put_configuration (out, "virt-7.2");
    put_config_part (out, "configuration/target-page-bits", "\0\0\0\12", 4);
    put_config_part (out, "configuration/capabilities", "\0\0\0\2\17x-ignore-shared\1z", 22);
    put_config_part (out, "configuration/uuid", "0123456789abcdef", 16);
    put_ram_start (out, &block, 1);
    gw_stream_put_eof (out);
}

static inline void
put_bitmaps (GByteArray *out)
{
    gw_stream_put_header (out);
    gw_stream_put_configuration (out, "pc-7.2");
    gw_stream_put_command (out, GW_COMMAND_POSTCOPY_ADVISE, NULL, 0);
    put_start (out, GW_STREAM_BYTE_START, 3, "dirty-bitmap", 1);
    put (out, "\x1c\2d1\2b0\0\1\0\0\1" "\1", 13);
    gw_stream_put_footer (out, 3);
    put_start (out, GW_STREAM_BYTE_PART, 3, NULL, 0);
    put (out, "\x40\0\0\0\0\0\0\0\0\0\0\0\200" "\0\0\0\0\0\0\0\40", 21);
    put (out, sample_page (), 32);
    put (out, "\x46\2b1\0\0\0\0\0\0\0\200\0\0\0\200" "\x20" "\1", 18);
    gw_stream_put_footer (out, 3);
    gw_stream_put_eof (out);
}

static inline void
put_mapped (GByteArray *out)
{
    uint8_t area[64 + PAGE] = { 1 };
    GwStreamBlock block = { .name = (char *) "a", .used_length = PAGE };
    const GwStreamBlock *list[] = { &block };
    gw_stream_put_header (out);
    gw_stream_put_configuration (out, "pc-9.0");
    put_config_part (out, "configuration/capabilities", "\0\0\0\1\12mapped-ram", 15);
    put_start (out, GW_STREAM_BYTE_START, 2, "ram", 4);
    gw_stream_put_ram_list (out, list, 1);
    put_number (out, 1, 4);
    put_number (out, PAGE, 8);
    put_number (out, out->len + 16, 8);
    put_number (out, out->len + 8 + 64, 8);
    put (out, area, sizeof area);
    put_eos (out, 2);
    gw_stream_put_eof (out);
}

static inline void
put_saved (GByteArray *out)
{
    gw_stream_put_header (out);
    put_device (out, 4, "timer", TIMER_BODY, TIMER_BYTES);
    put_device (out, 5, "0000:00:02.0/virtio-net", "~\0\0\0\5~~\0\0\0\5\4", 12);
    gw_stream_put_eof (out);
}

static inline void
put_recovery (GByteArray *out)
{
    gw_stream_put_command (out, GW_COMMAND_RECV_BITMAP, (const uint8_t *) "\1a", 2);
    gw_stream_put_command (out, GW_COMMAND_POSTCOPY_RESUME, NULL, 0);
    put_device (out, 9, "x", "abc", 3);
}

static inline void
put_preempt (GByteArray *out)
{
    gw_stream_put_ram_page (out, "a", 0, sample_page (), PAGE);
    gw_stream_put_ram_page (out, NULL, PAGE, NULL, PAGE);
    gw_stream_put_ram_flag (out, GW_RAM_EOS);
}

static inline GByteArray *
sample_new (Sample sample)
{
    static void (*const build[]) (GByteArray *out) = {
        [SAMPLE_PLAIN] = put_plain,     [SAMPLE_POSTCOPY] = put_postcopy,
        [SAMPLE_SHARED] = put_shared,   [SAMPLE_BITMAP] = put_bitmaps,
        [SAMPLE_MAPPED] = put_mapped,   [SAMPLE_SAVED] = put_saved,
        [SAMPLE_RECOVERY] = put_recovery, [SAMPLE_PREEMPT] = put_preempt,
    };
    GByteArray *out = g_byte_array_new ();
    build[sample](out);
    return out;
}

static inline void
sample_params (Sample sample, GwStreamParams *params)
{
    gw_stream_params_init (params);
    params->page_size = PAGE;
    params->kind = sample == SAMPLE_RECOVERY  ? GW_STREAM_SECTIONS
                   : sample == SAMPLE_PREEMPT ? GW_STREAM_PREEMPT
                                              : GW_STREAM_MAIN;
}

/* --- reading it back ---------------------------------------------------------------------------- */

/* What a reader said: a line a record, then the error. */
typedef struct {
    GString *text;
    GByteArray *again;
    guint count[GW_STREAM_N_RECORDS];
    guint fail_at; /* the sink fails at this record; 0: never */
    guint n;
    GError *error;
} Log;

static inline Log *
log_new (void)
{
    Log *log = g_new0 (Log, 1);
    log->text = g_string_new (NULL);
    log->again = g_byte_array_new ();
    return log;
}

static inline void
log_free (Log *log)
{
    g_string_free (log->text, TRUE);
    g_byte_array_unref (log->again);
    g_clear_error (&log->error);
    g_free (log);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Log, log_free)

static inline gboolean
log_record (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    Log *log = user_data;
    if (++log->n == log->fail_at)
        return gw_fail (error, GW_CAUSE_ABORTED, "enough");
    g_string_append_printf (log->text, "%s depth %u at %" G_GUINT64_FORMAT " length %" G_GUINT64_FORMAT
                            " section %s data %zu\n", gw_stream_record_name (record->type),
                            record->depth, record->offset, record->length,
                            record->section != NULL ? record->section->name : "-",
                            record->data_length);
    log->count[record->type]++;
    g_assert_cmpuint (record->offset, ==, log->again->len);
    gw_stream_put_record (log->again, record);
    g_assert_cmpuint (record->offset + record->length, ==, log->again->len);
    return TRUE;
}

/* Pushes `stream` in pieces of 1 to `most` bytes (0: whole) and ends it. */
static inline Log *
read_stream (const GwStreamParams *params, const uint8_t *data, gsize len, gsize most)
{
    Log *log = log_new ();
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (params, log_record, log);
    while (len > 0) {
        gsize piece = most == 0 ? len : (gsize) g_test_rand_int_range (1, (gint32) most + 1);
        gsize n = MIN (len, piece);
        if (!gw_stream_reader_push (reader, data, n, &log->error))
            return log;
        data += n;
        len -= n;
    }
    (void) gw_stream_reader_finish (reader, &log->error);
    return log;
}

#endif
