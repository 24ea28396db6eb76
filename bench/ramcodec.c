/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the codec of memory lanes gains, and what it costs, on recorded or made-up streams in memory.
 *
 *   bench-ramcodec [--level N] [--memory MIB] [--chunk KIB] FILE...   main streams of QEMU
 *   bench-ramcodec [...] --pages FILE...                              memory of a guest, as QEMU's pmemsave writes it; 2 GiB at most
 *   bench-ramcodec [...] random|words|text                            256 MiB, and four passes again
 *
 * With --chained groups go on where the last one ended, as they do on a slow link, else each is packed by itself.
 * Each stream is encoded in one thread, packed, unpacked and decoded, each step timed by itself with
 * the processor time of the thread.  Rates are bytes a second and core, of the lane, but for packing, which is
 * asked for what is left of them; a GB is 10^9.
 * `memcpy` is the same run's baseline.  The decoded bytes must be the stream's, less what was left out.
 */
#include "ramcodec.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE 4096u
#define MADE_PAGES 65536u
#define MADE_PASSES 5u
#define MEMORY_PAGES 524288u /* a GByteArray holds no more than twice as much */

static gint level = 1, memory_mib = -1, chunk_kib = 64;
static gboolean is_chained, is_memory;

static gint64
cpu_ns (void)
{
    struct timespec now;
    clock_gettime (CLOCK_THREAD_CPUTIME_ID, &now);
    return (gint64) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- made-up streams ------------------------------------------------------------------------------ */

static uint64_t
next_random (uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The content of a page in a pass: 16 words of random content change, or all of it. */
static void
make_page (const char *kind, uint8_t *page, guint number, guint pass)
{
    uint64_t state = 88172645463325252u + number * 2654435761u;
    if (strcmp (kind, "random") == 0)
        state += pass * 1000003u;
    for (guint i = 0; i < PAGE; i += 8) {
        uint64_t word = next_random (&state);
        memcpy (page + i, &word, 8);
    }
    if (strcmp (kind, "text") == 0)
        for (guint i = 0; i < PAGE; i++)
            page[i] = (uint8_t) ("etaoin shrdlu etaoin cmfwyp"[page[i] % 27]);
    for (guint i = 0; i < 16 && strcmp (kind, "random") != 0; i++)
        page[i * 256 + number % 32 * 8] = (uint8_t) (page[i * 256] + pass);
}

static const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };

static GByteArray *
begin_stream (guint pages, guint passes)
{
    const GwStreamBlock block = { .name = (char *) "pc.ram", .used_length = (uint64_t) pages * PAGE };
    const GwStreamBlock *list[] = { &block };
    GByteArray *out = g_byte_array_sized_new (passes * pages * (PAGE + 9));
    gw_stream_put_header (out);
    gw_stream_put_section (out, GW_STREAM_BYTE_START, &ram);
    gw_stream_put_ram_list (out, list, 1);
    return out;
}

/* The `i`th of a stream. */
static void
put_page (GByteArray *out, guint i, guint number, const uint8_t *page)
{
    if (i % 4000 == 0) {
        gw_stream_put_ram_flag (out, GW_RAM_EOS);
        gw_stream_put_footer (out, ram.id);
        gw_stream_put_section (out, GW_STREAM_BYTE_PART, &ram);
    }
    gw_stream_put_ram_page (out, i == 0 ? "pc.ram" : NULL, (uint64_t) number * PAGE, page, PAGE);
}

static GBytes *
end_stream (GByteArray *out)
{
    gw_stream_put_ram_flag (out, GW_RAM_EOS);
    gw_stream_put_footer (out, ram.id);
    gw_stream_put_eof (out);
    return g_byte_array_free_to_bytes (out);
}

static GBytes *
make_stream (const char *kind)
{
    GByteArray *out = begin_stream (MADE_PAGES, MADE_PASSES);
    uint8_t page[PAGE];
    for (guint i = 0; i < MADE_PASSES * MADE_PAGES; i++) {
        make_page (kind, page, i % MADE_PAGES, i / MADE_PAGES);
        put_page (out, i, i % MADE_PAGES, page);
    }
    return end_stream (out);
}

/* QEMU's first pass over it: all pages, but those of zeros. */
static GBytes *
make_memory_stream (const uint8_t *memory, gsize len)
{
    static const uint8_t zeros[PAGE];
    guint pages = (guint) (len / PAGE);
    GByteArray *out = begin_stream (pages, 1);
    for (guint i = 0, number = 0; number < pages; number++)
        if (memcmp (memory + (gsize) number * PAGE, zeros, PAGE) != 0)
            put_page (out, i++, number, memory + (gsize) number * PAGE);
    return end_stream (out);
}

static GBytes *
open_stream (const char *name, GError **error)
{
    static const char *const kinds[] = { "random", "words", "text" };
    for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
        if (strcmp (name, kinds[i]) == 0)
            return make_stream (name);
    g_autofree char *data = NULL;
    gsize len;
    if (!g_file_get_contents (name, &data, &len, error))
        return NULL;
    if (is_memory && len / PAGE > MEMORY_PAGES) {
        g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "more than 2 GiB");
        return NULL;
    }
    return is_memory ? make_memory_stream ((const uint8_t *) data, len) : g_bytes_new_take (g_steal_pointer (&data), len);
}

/* --- a run ------------------------------------------------------------------------------------------ */

typedef struct {
    GwRamEncoder *encoder;
    GwRamDecoder *decoder;
    GwRamPacker *packer;
    GwRamChain *chain, *chain_there; /* NULL: each group by itself */
    GByteArray *out;
    uint64_t plain, wire, decoded, groups;
    gint64 encode_ns, pack_ns, unpack_ns, decode_ns;
} Run;

static gboolean
unpack (Run *run, GwRamGroup *there, GError **error)
{
    return gw_ram_group_is_chained (there) ? gw_ram_chain_unpack (run->chain_there, run->packer, there, error)
                                           : gw_ram_unpack (run->packer, there, error);
}

static gboolean
carry (Run *run, GwRamGroup *group, GError **error)
{
    gsize len;
    run->plain += gw_ram_group_get_plain (group);
    gint64 start = cpu_ns ();
    if (run->chain != NULL)
        gw_ram_chain_pack (run->chain, run->packer, group);
    else
        gw_ram_pack (run->packer, group, level);
    run->pack_ns += cpu_ns () - start;
    const uint8_t *bytes = gw_ram_group_get_bytes (group, &len);
    run->wire += len;
    run->groups++;
    g_autoptr (GwRamGroup) there = gw_ram_group_load (bytes, len, error);
    if (there == NULL)
        return FALSE;
    start = cpu_ns ();
    gboolean is_good = unpack (run, there, error);
    run->unpack_ns += cpu_ns () - start;
    if (!is_good)
        return FALSE;
    g_byte_array_set_size (run->out, 0);
    start = cpu_ns ();
    is_good = gw_ram_decoder_apply (run->decoder, there, run->out, error);
    run->decode_ns += cpu_ns () - start;
    run->decoded += run->out->len;
    return is_good;
}

static gboolean
push (Run *run, const uint8_t *data, gsize len, GError **error)
{
    gint64 start = cpu_ns ();
    if (data != NULL)
        gw_ram_encoder_push (run->encoder, data, len);
    else
        gw_ram_encoder_finish (run->encoder);
    run->encode_ns += cpu_ns () - start;
    for (;;) {
        g_autoptr (GwRamGroup) group = gw_ram_encoder_take (run->encoder);
        if (group == NULL)
            return TRUE;
        if (!carry (run, group, error))
            return FALSE;
    }
}

/* What the RAM of a stream's guest is: the total of its block list. */
static gboolean
on_record (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    uint64_t *total = user_data;
    if (record->type != GW_STREAM_RAM_LIST)
        return TRUE;
    *total = record->ram.total;
    return gw_fail (error, GW_CAUSE_ABORTED, "enough");
}

static uint64_t
find_memory (const uint8_t *data, gsize len)
{
    uint64_t total = 0;
    GwStreamParams params;
    gw_stream_params_init (&params);
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (&params, on_record, &total);
    (void) gw_stream_reader_push (reader, data, len, NULL); /* ends with the list, or finds none */
    return memory_mib >= 0 ? (uint64_t) memory_mib << 20 : gw_ram_default_memory (total);
}

static double
copy_rate (const uint8_t *data, gsize len)
{
    g_autofree uint8_t *to = g_malloc (len);
    memset (to, 1, len);
    gint64 start = cpu_ns ();
    memcpy (to, data, len);
    return (double) len / (double) (cpu_ns () - start);
}

static void
print_rate (const char *what, gint64 ns, gsize len)
{
    g_print ("  %-8s %6.2f GB/s  %5.2f s/GiB\n", what, (double) len / (double) MAX (ns, 1),
             (double) ns * 1.073741824 / (double) len);
}

static void
print_run (const Run *run, const char *name, const uint8_t *data, gsize len, uint64_t memory)
{
    GwRamCounters counters;
    gw_ram_encoder_get_counters (run->encoder, &counters);
    g_print ("%s: %.1f MB of lane, memory %.1f MiB, level %d%s\n", name, (double) len / 1e6, (double) memory / 1048576, level,
             run->chain != NULL ? ", chained" : "");
    for (guint i = 0; i < GW_RAM_N_CLASSES; i++)
        if (counters.classes[i].pages > 0)
            g_print ("  %-10s %8" G_GUINT64_FORMAT " pages %9.2f MB -> %8.2f MB\n",
                     gw_ram_class_name (i), counters.classes[i].pages,
                     (double) counters.classes[i].input / 1e6,
                     (double) counters.classes[i].output / 1e6);
    g_print ("  raw bytes %.3f MB; groups %" G_GUINT64_FORMAT " of %.1f KB\n",
             (double) counters.raw / 1e6, run->groups, (double) run->wire / 1e3 / run->groups);
    g_print ("  plain %.2f MB, wire %.2f MB: %.4f of the lane\n", (double) run->plain / 1e6,
             (double) run->wire / 1e6, (double) run->wire / (double) len);
    g_print ("  %-8s %6.2f GB/s\n", "memcpy", copy_rate (data, len));
    print_rate ("encode", run->encode_ns, len);
    print_rate ("pack", run->pack_ns, run->plain);
    print_rate ("unpack", run->unpack_ns, run->plain);
    print_rate ("decode", run->decode_ns, len);
    g_print ("  index %.1f MB, cache %.1f MB, decoder's slots %.1f MB\n",
             (double) counters.index_bytes / 1e6, (double) counters.cache_bytes / 1e6,
             (double) gw_ram_decoder_get_memory (run->decoder) / 1e6);
    const GError *fault = gw_ram_encoder_get_fault (run->encoder);
    if (fault != NULL)
        g_print ("  passing: %s\n", fault->message);
    if (run->decoded + counters.classes[GW_RAM_UNCHANGED].input != len)
        g_error ("%s: %" G_GUINT64_FORMAT " bytes came out", name, run->decoded);
}

static gboolean
bench (const char *name, GError **error)
{
    gsize len;
    g_autoptr (GBytes) stream = open_stream (name, error);
    if (stream == NULL)
        return FALSE;
    const uint8_t *data = g_bytes_get_data (stream, &len);
    GwRamParams params = { .kind = GW_STREAM_MAIN, .page_size = PAGE, .can_leave_out = TRUE,
                           .memory_bytes = find_memory (data, len),
                           .secret = (const uint8_t *) "sixteen bytes ok", .secret_bytes = 16 };
    g_autoptr (GwRamEncoder) encoder = gw_ram_encoder_new (&params);
    g_autoptr (GwRamDecoder) decoder = gw_ram_decoder_new (&params);
    g_autoptr (GwRamPacker) packer = gw_ram_packer_new ();
    g_autoptr (GByteArray) out = g_byte_array_sized_new (GW_RAM_GROUP_MAX);
    g_autoptr (GwRamChain) chain = is_chained ? gw_ram_chain_new (0, level) : NULL;
    g_autoptr (GwRamChain) chain_there = is_chained ? gw_ram_chain_new (0, GW_RAM_LEVEL_NONE) : NULL;
    Run run = { .encoder = encoder, .decoder = decoder, .packer = packer, .chain = chain, .chain_there = chain_there, .out = out };
    gsize chunk = (gsize) chunk_kib << 10;
    for (gsize at = 0; at < len; at += chunk)
        if (!push (&run, data + at, MIN (chunk, len - at), error))
            return FALSE;
    if (!push (&run, NULL, 0, error))
        return FALSE;
    print_run (&run, name, data, len, params.memory_bytes);
    return TRUE;
}

int
main (int argc, char **argv)
{
    const GOptionEntry entries[] = {
        { "level", 0, 0, G_OPTION_ARG_INT, &level, "zstd's level, 0 for none (1)", "N" },
        { "memory", 0, 0, G_OPTION_ARG_INT, &memory_mib, "a quarter of the guest's", "MIB" },
        { "chained", 0, 0, G_OPTION_ARG_NONE, &is_chained, "groups go on where the last one ended", NULL },
        { "pages", 0, 0, G_OPTION_ARG_NONE, &is_memory, "FILE is memory, not a stream", NULL },
        { "chunk", 0, 0, G_OPTION_ARG_INT, &chunk_kib, "of a push (64)", "KIB" },
        G_OPTION_ENTRY_NULL
    };
    g_autoptr (GError) error = NULL;
    g_autoptr (GOptionContext) context = g_option_context_new ("FILE|random|words|text...");
    g_option_context_add_main_entries (context, entries, NULL);
    if (!g_option_context_parse (context, &argc, &argv, &error) || argc < 2 || chunk_kib < 1 ||
        (is_chained && (level < 1 || level > GW_RAM_LEVEL_MOST))) {
        g_printerr ("bench-ramcodec: %s\n", error != NULL ? error->message : "no stream, or no such level");
        return 1;
    }
    for (int i = 1; i < argc; i++)
        if (!bench (argv[i], &error)) {
            g_printerr ("bench-ramcodec: %s: %s\n", argv[i], error->message);
            return 1;
        }
    return 0;
}
