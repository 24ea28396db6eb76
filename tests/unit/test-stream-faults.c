/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each fault of the main stream is refused by its cause, with the offset and what was expected. */
#include "test-stream-samples.h"

#define CAUSE(name) GW_CAUSE_STREAM_##name

/* In `sample`, the first `find` becomes `put`, which has the same length. */
typedef struct {
    Sample sample;
    const char *find;
    const char *put;
    gsize len;
    GwCause cause;
    const char *says; /* part of the message */
} Fault;

#define B(find, put) find, put, sizeof put - 1

static const Fault faults[] = {
    /* header and configuration */
    { SAMPLE_PLAIN, B ("QEVM", "QEVN"), CAUSE (MAGIC), "offset 0: expected the magic 0x5145564d" },
    { SAMPLE_PLAIN, B ("QEVM\0\0\0\3", "QEVM\0\0\0\2"), CAUSE (MAGIC), "version 3, found 2" },
    { SAMPLE_PLAIN, B ("\7\0\0\0\6pc", "\7\0\0\0\0pc"), CAUSE (CONFIGURATION), "1 to 256" },
    { SAMPLE_PLAIN, B ("\7\0\0\0\6pc", "\7\0\0\1\1pc"), CAUSE (CONFIGURATION), "found 257" },
    { SAMPLE_PLAIN, B ("pc-7.2", "pc\0007.2"), CAUSE (CONFIGURATION), "pc\\x007.2" },
    { SAMPLE_SHARED, B ("page-bits\0\0\0\1", "page-bits\0\0\0\2"), CAUSE (CONFIGURATION),
      "version 1 of a subsection, found 2" },
    { SAMPLE_SHARED, B ("\1\0\0\0\12", "\1\0\0\0\1"), CAUSE (CONFIGURATION), "found 1" },
    { SAMPLE_SHARED, B ("\1\0\0\0\12", "\1\0\0\0\21"), CAUSE (CONFIGURATION), "found 17" },
    { SAMPLE_SHARED, B ("\0\0\0\2\17x", "\0\0\377\2\17x"), CAUSE (LIMIT), "256 capabilities" },
    { SAMPLE_SHARED, B ("configuration/uuid", "configuration/uuxd"), CAUSE (CONFIGURATION),
      "found 'configuration/uuxd'" },
    /* types and sections */
    { SAMPLE_PLAIN, B ("\1\0\0\0\2\3ram", "\11\0\0\0\2\3ram"), CAUSE (TYPE), "found 0x09" },
    { SAMPLE_PLAIN, B ("\1\0\0\0\2\3ram", "\5\0\0\0\2\3ram"), CAUSE (LIMIT), NULL },
    { SAMPLE_SAVED, B ("\4\0\0\0\4", "\7\0\0\0\4"), CAUSE (CONFIGURATION), NULL },
    { SAMPLE_PLAIN, B ("\2\0\0\0\2", "\2\0\0\0\77"), CAUSE (SECTION), "found 63" },
    { SAMPLE_PLAIN, B ("\2\0\0\0\2", "\6\0\0\0\2"), CAUSE (ORDER), "found type 0x06" },
    { SAMPLE_PLAIN, B ("\2\0\0\0\2", "\176\0\0\0\2"), CAUSE (ORDER), "found type 0x7e" },
    { SAMPLE_PLAIN, B ("\4\0\0\0\4\5timer", "\4\0\0\0\2\5timer"), CAUSE (SECTION), "found 2 again" },
    { SAMPLE_PLAIN, B ("\4\0\0\0\4\5timer", "\4\0\0\0\4\0timer"), CAUSE (SECTION), "a name" },
    { SAMPLE_PLAIN, B ("\4\0\0\0\4\5timer", "\4\0\0\0\4\5t\001mer"), CAUSE (SECTION), "printable" },
    { SAMPLE_PLAIN, B ("timer\0\0\0\0\0\0\0\1", "timer\0\0\0\0\1\0\0\1"), CAUSE (SECTION),
      "version of at most" },
    { SAMPLE_PLAIN, B ("ram\0\0\0\0\0\0\0\4", "ram\0\0\0\0\0\0\0\5"), CAUSE (RAM), "version 4" },
    { SAMPLE_PLAIN, B ("\176\0\0\0\2", "\177\0\0\0\2"), CAUSE (FOOTER), "footer (0x7e), found 0x7f" },
    { SAMPLE_PLAIN, B ("\176\0\0\0\2", "\176\0\0\0\3"), CAUSE (FOOTER), "id 2, found that of 3" },
    /* RAM: the page size is 1024, 0x400 */
    { SAMPLE_PLAIN, B ("\0\0\0\0\0\0\0\10\6pc.ram", "\0\0\0\0\0\0\0\1\6pc.ram"), CAUSE (RAM),
      "flags 0x001" },
    { SAMPLE_PLAIN, B ("\0\0\0\0\0\0\0\10\6pc.ram", "\0\0\0\0\0\0\0\200\6pc.ram"), CAUSE (RAM),
      "flags 0x080" },
    { SAMPLE_PLAIN, B ("\0\0\0\0\0\0\0\10\6pc.ram", "\0\0\0\0\0\0\0\12\6pc.ram"), CAUSE (RAM),
      "flags 0x00a" },
    { SAMPLE_PLAIN, B ("\0\0\0\0\0\0\0\10\6pc.ram", "\0\0\0\0\0\0\0\4\6pc.ram"), CAUSE (ORDER),
      "second block list" },
    { SAMPLE_PLAIN, B ("\0\0\0\0\0\0\0\10\6pc.ram", "\0\0\0\0\0\0\0\10\6pc.rom"), CAUSE (BLOCK),
      "found 'pc.rom'" },
    { SAMPLE_PLAIN, B ("\0\0\0\0\0\0\0\10\6pc.ram", "\0\0\0\0\0\0\0\10\6pc\0ram"), CAUSE (BLOCK),
      "found 'pc\\x00ram'" },
    { SAMPLE_PLAIN, B ("\0\0\0\0\0\0\0\10\6pc.ram", "\0\0\0\0\0\0\0\50\6pc.ram"), CAUSE (BLOCK),
      "found 'none yet'" },
    { SAMPLE_PLAIN, B ("\0\0\0\0\0\0\0\10\6pc.ram", "\0\0\0\0\0\0\30\10\6pc.ram"), CAUSE (BLOCK),
      "0x1800 bytes of block 'pc.ram', found offset 0x1800" },
    { SAMPLE_PLAIN, B ("\0\0\0\0\0\0\0\20\176", "\0\0\0\0\0\0\0\60\176"), CAUSE (RAM), "0x030" },
    { SAMPLE_PLAIN, B ("\0\0\0\0\0\0\0\20\176", "\0\0\0\0\0\0\4\20\176"), CAUSE (RAM), "0x010" },
    { SAMPLE_PLAIN, B ("vga\1\0\4\2\2ab", "vga\2\0\4\2\2ab"), CAUSE (XBZRLE), "found 0x02" },
    { SAMPLE_PLAIN, B ("vga\1\0\4\2\2ab", "vga\1\4\1\2\2ab"), CAUSE (LIMIT), "found 1025" },
    { SAMPLE_PLAIN, B ("\0\0\0\5zzzzz", "\1\0\0\5zzzzz"), CAUSE (LIMIT), "found 16777221" },
    /* the block list */
    { SAMPLE_PLAIN, B ("\6pc.ram\0\0\0\0", "\6pc.ram\1\0\0\0"), CAUSE (BLOCK), "whole pages" },
    { SAMPLE_PLAIN, B ("\6pc.ram\0\0\0\0\0\0\30\0", "\6pc.ram\0\0\0\0\0\0\30\1"), CAUSE (BLOCK),
      "whole pages" },
    { SAMPLE_PLAIN, B ("\3vga\0\0\0\0", "\0vga\0\0\0\0"), CAUSE (BLOCK), "2048 bytes of RAM are" },
    { SAMPLE_PLAIN, B ("\6pc.ram\0\0\0\0", "\6pc\001ram\0\0\0\0"), CAUSE (BLOCK), "printable" },
    { SAMPLE_POSTCOPY, B ("\1b\0\0\0\0", "\1a\0\0\0\0"), CAUSE (BLOCK), "found 'a' again" },
    { SAMPLE_POSTCOPY, B ("\0\0\0\0\0\40\0\0\1c", "\0\0\0\0\0\60\0\0\1c"), CAUSE (BLOCK), NULL },
    { SAMPLE_MAPPED, B ("\0\0\0\1\0\0\0\0\0\0\4\0", "\0\0\0\2\0\0\0\0\0\0\4\0"), CAUSE (RAM),
      "mapped-ram header, found 2" },
    { SAMPLE_MAPPED, B ("\0\0\0\1\0\0\0\0\0\0\4\0", "\0\0\0\1\0\0\0\0\0\0\10\0"), CAUSE (RAM),
      "page size 1024, found 2048" },
    { SAMPLE_MAPPED, B ("\0\0\4\0\0\0\0\0\0\0\0", "\0\0\4\0\1\0\0\0\0\0\0"), CAUSE (RAM),
      "a bitmap and pages after" },
    /* dirty bitmaps */
    { SAMPLE_BITMAP, B ("\x1c\2d1", "\x9c\2d1"), CAUSE (BITMAP), "found 0x9c" },
    { SAMPLE_BITMAP, B ("\x1c\2d1", "\x1d\2d1"), CAUSE (BITMAP), "found 0x1d" },
    { SAMPLE_BITMAP, B ("\x1c\2d1", "\x1e\2d1"), CAUSE (BITMAP), "found 0x1e" },
    { SAMPLE_BITMAP, B ("\x1c\2d1", "\x3c\2d1"), CAUSE (BITMAP), "found 0x3c" },
    { SAMPLE_BITMAP, B ("\x1c\2d1", "\x0c\2d1"), CAUSE (BITMAP), "found 0x0c" },
    { SAMPLE_BITMAP, B ("\x1c\2d1\2b0", "\x1c\2d\0\2b0"), CAUSE (BITMAP), "bytes that are none" },
    { SAMPLE_BITMAP, B ("\x1c\2d1\2b0", "\x1c\2d1\0b0"), CAUSE (BITMAP), "0 bytes that are none" },
    { SAMPLE_BITMAP, B ("\x1c\2d1\2b0", "\x20\2d1\2b0"), CAUSE (BITMAP), "found none" },
    { SAMPLE_BITMAP, B ("\0\0\0\0\0\0\0\40", "\0\0\1\0\0\0\0\40"), CAUSE (LIMIT), "10240 bytes" },
    { SAMPLE_BITMAP, B ("\0\0\0\0\0\0\0\40", "\0\0\0\0\0\0\0\0"), CAUSE (LIMIT), "found 0" },
    /* commands */
    { SAMPLE_POSTCOPY, B ("\10\0\2\0\4", "\10\0\2\0\5"), CAUSE (COMMAND), "2 ('ping') of 5" },
    { SAMPLE_POSTCOPY, B ("\10\0\2\0\4", "\10\0\0\0\4"), CAUSE (COMMAND), "0 ('unknown')" },
    { SAMPLE_POSTCOPY, B ("\10\0\2\0\4", "\10\0\14\0\4"), CAUSE (COMMAND), "12 ('unknown')" },
    { SAMPLE_POSTCOPY, B ("\10\0\1\0\0", "\10\0\10\0\0"), CAUSE (ORDER),
      "expected 'open-return-path' first, found 'ping'" },
    { SAMPLE_POSTCOPY, B ("\10\0\3\0\20", "\10\0\3\0\17"), CAUSE (COMMAND), "of 15 bytes" },
    { SAMPLE_POSTCOPY, B ("\10\0\1\0\0", "\10\0\4\0\0"), CAUSE (ORDER), "state 'none'" },
    { SAMPLE_POSTCOPY, B ("\10\0\4\0\0", "\10\0\5\0\0"), CAUSE (ORDER), "state 'discard'" },
    { SAMPLE_POSTCOPY, B ("\0\1a\0\0", "\1\1a\0\0"), CAUSE (COMMAND), "form of" },
    { SAMPLE_POSTCOPY, B ("\0\1a\0\0", "\0\0a\0\0"), CAUSE (COMMAND), "form of" },
    { SAMPLE_POSTCOPY, B ("\0\1a\0\0\0", "\0\1\1\0\0\0"), CAUSE (COMMAND), "form of" },
    { SAMPLE_POSTCOPY, B ("\0\1a\0\0", "\0\1a\1\0"), CAUSE (COMMAND), "form of" },
    { SAMPLE_POSTCOPY, B ("\0\1a\0\0", "\0\2a\0\0"), CAUSE (COMMAND), "form of" },
    { SAMPLE_POSTCOPY, B ("\10\0\4\0\0", "\10\0\10\0\0"), CAUSE (ORDER), "'postcopy-run'" },
    { SAMPLE_POSTCOPY, B ("\10\0\5\0\0", "\0\0\5\0\0"), CAUSE (ORDER), "end mark in a package" },
    { SAMPLE_RECOVERY, B ("\10\0\12\0\2\1a", "\10\0\12\0\2\2a"), CAUSE (COMMAND), "form of" },
    { SAMPLE_RECOVERY, B ("\10\0\12\0\2\1a", "\10\0\12\0\2\1\1"), CAUSE (COMMAND), "form of" },
    /* the end */
    { SAMPLE_PLAIN, B ("\0\6\0\0", "\0\7\0\0"), CAUSE (TRUNCATED), "state device" },
    { SAMPLE_PLAIN, B ("\6\0\0\1", "\6\177\0\1"), CAUSE (TRUNCATED), "state device" },
    { SAMPLE_PLAIN, B ("{\"page_size\"", "{\"page_siz\0\""), CAUSE (VMDESC), "no text" },
    { SAMPLE_PLAIN, B ("devices", "devixes"), CAUSE (VMDESC), "a list of devices, found none" },
    { SAMPLE_PLAIN, B ("\"timer\"", "\"timex\""), CAUSE (VMDESC),
      "expected section 'timex' instance 0, found 'timer' instance 0" },
    { SAMPLE_PLAIN, B ("instance_id\":0", "instance_id\":1"), CAUSE (VMDESC), "instance 1, found" },
    { SAMPLE_PLAIN, B ("instance_id\":0", "instance_ix\":0"), CAUSE (VMDESC), "name and an" },
    { SAMPLE_PREEMPT, B ("\0\0\0\0\0\0\0\10\1a", "\0\0\0\0\0\0\4\4\1a"), CAUSE (ORDER), "block list" },
    { SAMPLE_PREEMPT, B ("\0\0\0\0\0\0\0\10\1a", "\0\0\0\0\0\0\0\10\1\1"), CAUSE (BLOCK), "\\x01" },
};

static gboolean
replace (GByteArray *stream, const Fault *fault)
{
    for (gsize i = 0; i + fault->len <= stream->len; i++)
        if (memcmp (stream->data + i, fault->find, fault->len) == 0) {
            memcpy (stream->data + i, fault->put, fault->len);
            return TRUE;
        }
    return FALSE;
}

static void
test_table (void)
{
    for (gsize i = 0; i < G_N_ELEMENTS (faults); i++) {
        const Fault *fault = &faults[i];
        g_autoptr (GByteArray) stream = sample_new (fault->sample);
        GwStreamParams params;
        sample_params (fault->sample, &params);
        g_test_message ("fault %zu: %s", i, fault->says != NULL ? fault->says : "");
        g_assert_true (replace (stream, fault));
        for (guint most = 0; most < 8; most++) {
            g_autoptr (Log) log = read_stream (&params, stream->data, stream->len, most);
            if (fault->says == NULL) {
                g_assert_nonnull (log->error);
                continue;
            }
            g_assert_nonnull (log->error);
            g_test_message ("%s", log->error->message);
            g_assert_error (log->error, GW_ERROR, (int) fault->cause);
            g_assert_nonnull (strstr (log->error->message, fault->says));
            g_assert_nonnull (strstr (log->error->message, "offset "));
        }
    }
}

/* The message names the section with its number and instance. */
static void
test_message_names_the_section (void)
{
    const Fault fault = { SAMPLE_PLAIN, B ("\3vga\0\0\0\0", "\0vga\0\0\0\0"), 0, NULL };
    g_autoptr (GByteArray) stream = sample_new (SAMPLE_PLAIN);
    GwStreamParams params;
    sample_params (SAMPLE_PLAIN, &params);
    g_assert_true (replace (stream, &fault));
    g_autoptr (Log) log = read_stream (&params, stream->data, stream->len, 0);
    g_assert_true (g_str_has_prefix (log->error->message,
                                     "offset 59, section 'ram' (id 2, instance 0): expected "));
}

static Log *
read_built (GByteArray *out)
{
    GwStreamParams params;
    sample_params (SAMPLE_PLAIN, &params);
    return read_stream (&params, out->data, out->len, 0);
}

static void
test_other_machine (void)
{
    g_autoptr (GByteArray) stream = sample_new (SAMPLE_PLAIN);
    GwStreamParams params;
    sample_params (SAMPLE_PLAIN, &params);
    params.machine = "pc-7.2.1"; /* a prefix of it was sent: QEMU takes that */
    g_autoptr (Log) prefix = read_stream (&params, stream->data, stream->len, 0);
    g_assert_no_error (prefix->error);
    params.machine = "pc-8.0";
    g_autoptr (Log) log = read_stream (&params, stream->data, stream->len, 0);
    g_assert_error (log->error, GW_ERROR, GW_CAUSE_STREAM_CONFIGURATION);
    g_assert_nonnull (strstr (log->error->message, "'pc-8.0', found 'pc-7.2'"));
}

static void
test_nested_package (void)
{
    g_autoptr (GByteArray) inner = g_byte_array_new (), outer = g_byte_array_new ();
    g_autoptr (GByteArray) out = g_byte_array_new ();
    gw_stream_put_command (inner, GW_COMMAND_ENABLE_COLO, NULL, 0);
    gw_stream_put_packaged (outer, inner->data, inner->len);
    gw_stream_put_header (out);
    gw_stream_put_packaged (out, outer->data, outer->len);
    g_autoptr (Log) log = read_built (out);
    g_assert_error (log->error, GW_ERROR, GW_CAUSE_STREAM_ORDER);
    g_assert_nonnull (strstr (log->error->message, "no package within a package"));
}

static void
test_package_cuts_a_section (void)
{
    static const struct {
        const char *bytes;
        gsize len;
    } cuts[] = { { "\4\0\0\0\7", 5 }, { "\4\0\0\0\7\1x\0\0\0\0\0\0\0\1abc", 18 },
                 { "\10\0\2\0\4\0\0", 7 }, { "\1\0\0\0\7\3ram\0\0\0\0\0\0\0\4", 17 } };
    for (gsize i = 0; i < G_N_ELEMENTS (cuts); i++) {
        g_autoptr (GByteArray) out = g_byte_array_new ();
        gw_stream_put_header (out);
        gw_stream_put_packaged (out, (const uint8_t *) cuts[i].bytes, cuts[i].len);
        gw_stream_put_eof (out);
        g_autoptr (Log) log = read_built (out);
        g_assert_error (log->error, GW_ERROR, GW_CAUSE_STREAM_TRUNCATED);
        g_assert_nonnull (strstr (log->error->message, "the package"));
    }
}

static void
test_empty_package (void)
{
    g_autoptr (GByteArray) out = g_byte_array_new ();
    gw_stream_put_header (out);
    gw_stream_put_command (out, GW_COMMAND_PACKAGED, (const uint8_t *) "\0\0\0\0", 4);
    g_autoptr (Log) log = read_built (out);
    g_assert_error (log->error, GW_ERROR, GW_CAUSE_STREAM_LIMIT);
}

static void
test_part_of_a_full_section (void)
{
    g_autoptr (GByteArray) out = g_byte_array_new ();
    gw_stream_put_header (out);
    put_device (out, 4, "a", "x", 1);
    put_device (out, 5, "b", "x", 1);
    put_start (out, GW_STREAM_BYTE_PART, 4, NULL, 0);
    g_autoptr (Log) log = read_built (out);
    g_assert_nonnull (log->error);
    out->data[out->len - 1] = 5;
    gw_stream_put_ram_flag (out, 0);
    g_autoptr (GByteArray) bare = g_byte_array_new ();
    gw_stream_put_header (bare);
    gw_stream_put_command (bare, GW_COMMAND_ENABLE_COLO, NULL, 0);
    put_device (bare, 4, "a", "x", 1);
    gw_stream_put_command (bare, GW_COMMAND_ENABLE_COLO, NULL, 0);
    put_start (bare, GW_STREAM_BYTE_PART, 4, NULL, 0);
    g_autoptr (Log) part = read_built (bare);
    g_assert_error (part->error, GW_ERROR, GW_CAUSE_STREAM_ORDER);
    g_assert_nonnull (strstr (part->error->message, "found one of 'a' (id 4)"));
}

static void
test_section_without_end (void)
{
    g_autoptr (GByteArray) out = g_byte_array_new ();
    g_autofree uint8_t *zeros = g_malloc0 (5000);
    GwStreamParams params;
    gw_stream_params_init (&params);
    params.max_section_bytes = 1000;
    gw_stream_put_header (out);
    put_start (out, GW_STREAM_BYTE_FULL, 4, "a", 1);
    put (out, zeros, 5000);
    for (guint most = 0; most < 5; most++) {
        g_autoptr (Log) log = read_stream (&params, out->data, out->len, most * 300);
        g_assert_error (log->error, GW_ERROR, GW_CAUSE_STREAM_LIMIT);
        g_assert_nonnull (strstr (log->error->message, "footer within 1000 bytes"));
    }
}

static void
test_too_many_sections (void)
{
    g_autoptr (GByteArray) out = g_byte_array_new ();
    gw_stream_put_header (out);
    for (uint32_t i = 0; i <= GW_STREAM_SECTIONS_MAX; i++)
        put_device (out, i, "a", "x", 1);
    gw_stream_put_eof (out);
    g_autoptr (Log) log = read_built (out);
    g_assert_error (log->error, GW_ERROR, GW_CAUSE_STREAM_LIMIT);
}

static void
test_too_many_blocks (void)
{
    g_autoptr (GByteArray) out = g_byte_array_new ();
    GwStreamParams params;
    g_autoptr (GError) error = NULL;
    gw_stream_put_header (out);
    put_start (out, GW_STREAM_BYTE_START, 2, "ram", 4);
    put_number (out, (uint64_t) PAGE * 2 * GW_STREAM_BLOCKS_MAX | GW_RAM_MEM_SIZE, 8);
    for (unsigned i = 0; i <= GW_STREAM_BLOCKS_MAX; i++) {
        g_autofree char *name = g_strdup_printf ("b%u", i);
        put_text (out, name);
        put_number (out, PAGE, 8);
    }
    g_autoptr (Log) log = read_built (out);
    g_assert_error (log->error, GW_ERROR, GW_CAUSE_STREAM_LIMIT);
    sample_params (SAMPLE_PREEMPT, &params);
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (&params, log_record, log);
    for (unsigned i = 0; i < GW_STREAM_BLOCKS_MAX; i++)
        g_assert_true (gw_stream_reader_add_block (reader, "b", 0, &error));
    g_assert_false (gw_stream_reader_add_block (reader, "b", 0, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_STREAM_LIMIT);
}

/* After an end mark that is sure, as it follows RAM. */
static void
test_after_the_end (void)
{
    static const struct {
        const char *bytes;
        gsize len;
        GwCause cause;
    } rows[] = {
        { "\7", 1, GW_CAUSE_STREAM_TRAILING },
        { "\0", 1, GW_CAUSE_STREAM_TRAILING },
        { "\6", 1, GW_CAUSE_STREAM_TRUNCATED },
        { "\6\177\0\0\0", 5, GW_CAUSE_STREAM_LIMIT },
        { "\6\0\0\0\1[", 6, GW_CAUSE_STREAM_VMDESC },
        { "\6\0\0\0\0", 5, GW_CAUSE_STREAM_VMDESC },
        { "\6\0\0\0\2[]", 7, GW_CAUSE_STREAM_VMDESC },
        { "\6\0\0\0\16{\"devices\":[]}x", 20, GW_CAUSE_STREAM_TRAILING },
    };
    for (gsize i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GByteArray) stream = sample_new (SAMPLE_SHARED);
        put (stream, rows[i].bytes, rows[i].len);
        g_autoptr (Log) log = read_built (stream);
        g_assert_error (log->error, GW_ERROR, (int) rows[i].cause);
    }
}

static void
test_trailing_bytes (void)
{
    g_autoptr (GByteArray) stream = sample_new (SAMPLE_PLAIN);
    g_autoptr (GByteArray) saved = sample_new (SAMPLE_SAVED);
    put (stream, "x", 1);
    g_autoptr (Log) log = read_built (stream);
    g_assert_error (log->error, GW_ERROR, GW_CAUSE_STREAM_TRAILING);
    put (saved, "xyz", 3); /* then the footer before it is none */
    g_autoptr (Log) other = read_built (saved);
    g_assert_nonnull (other->error);
}

static void
test_more_devices_than_described (void)
{
    g_autoptr (GByteArray) out = g_byte_array_new ();
    const char *json = "{\"devices\":[]}";
    gw_stream_put_header (out);
    put_device (out, 4, "a", "x", 1);
    gw_stream_put_eof (out);
    gw_stream_put_vmdesc (out, json, strlen (json));
    g_autoptr (Log) log = read_built (out);
    g_assert_error (log->error, GW_ERROR, GW_CAUSE_STREAM_VMDESC);
    g_assert_nonnull (strstr (log->error->message, "expected 0 devices, found 1 sections"));
    GwStreamParams params;
    sample_params (SAMPLE_PLAIN, &params);
    params.checks_vmdesc = FALSE;
    g_autoptr (Log) unchecked = read_stream (&params, out->data, out->len, 0);
    g_assert_no_error (unchecked->error);
}

static void
test_names (void)
{
    g_assert_cmpstr (gw_stream_record_name (GW_STREAM_RAM_PAGE), ==, "ram-page");
    g_assert_cmpstr (gw_stream_record_name (GW_STREAM_N_RECORDS), ==, "unknown");
    g_assert_cmpstr (gw_stream_command_name (GW_COMMAND_SWITCHOVER_START), ==, "switchover-start");
    g_assert_cmpstr (gw_return_message_name (GW_RETURN_SHUT), ==, "shut");
    g_assert_cmpstr (gw_return_message_name (0), ==, "unknown");
    g_assert_cmpstr (gw_return_message_name (8), ==, "unknown");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/faults/table", test_table);
    g_test_add_func ("/faults/message", test_message_names_the_section);
    g_test_add_func ("/faults/other-machine", test_other_machine);
    g_test_add_func ("/faults/nested-package", test_nested_package);
    g_test_add_func ("/faults/package-cuts-a-section", test_package_cuts_a_section);
    g_test_add_func ("/faults/empty-package", test_empty_package);
    g_test_add_func ("/faults/part-of-a-full-section", test_part_of_a_full_section);
    g_test_add_func ("/faults/section-without-end", test_section_without_end);
    g_test_add_func ("/faults/too-many-sections", test_too_many_sections);
    g_test_add_func ("/faults/too-many-blocks", test_too_many_blocks);
    g_test_add_func ("/faults/after-the-end", test_after_the_end);
    g_test_add_func ("/faults/trailing", test_trailing_bytes);
    g_test_add_func ("/faults/more-devices", test_more_devices_than_described);
    g_test_add_func ("/faults/names", test_names);
    return g_test_run ();
}
