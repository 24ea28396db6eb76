/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replays recorded streams: reads them in chunks of odd sizes, writes every record again and
 * compares, and rebuilds the guest's RAM from them (the last page wins).
 *
 *   test-stream-replay [--out DIR] [--main FILE] [--preempt FILE] [--return FILE] [--multifd FILE]...
 *
 * Prints a line a file: name, bytes, SHA-256 of the file, SHA-256 of what was written again; exit
 * status 1 when they differ or the stream is not valid.  With --out, each RAM block is written to
 * DIR/NAME, with '/' as '_'.
 *
 * Pages of several channels are put in order by rounds: within a round no page is sent twice, and a
 * round ends with SYNC on each multifd channel and with FLUSH (or, before 8.1, with EOS) on the
 * main one.
 */
#include "stream.h"

#include <string.h>
#include <zstd.h>

typedef struct {
    uint8_t *bytes;
    gsize len;
} Image;

typedef struct {
    GHashTable *images; /* name -> Image */
    GPtrArray *patches; /* of Patch: pages that wait to be put in order; NULL without multifd */
    gboolean keeps_ram;
    gboolean has_flush;
} Ram;

typedef struct {
    Ram *ram;
    GByteArray *again;
    GChecksum *sum;
    uint64_t next_offset;
    ZSTD_DStream *zstd;
    GByteArray *packed; /* the payload of the packet that is being collected */
    guint n_eos, n_flush;
    gboolean ends_round; /* the last packet had SYNC */
} Replay;

typedef struct {
    guint round, round_by_flush;
    char *block;
    uint64_t offset;
    uint8_t *page; /* NULL: zero */
} Patch;

static void
add_patch (Replay *replay, const char *block, uint64_t offset, const uint8_t *page)
{
    Patch *patch = g_new0 (Patch, 1);
    patch->round = replay->n_eos;
    patch->round_by_flush = replay->n_flush;
    patch->block = g_strdup (block);
    patch->offset = offset;
    patch->page = page != NULL ? g_memdup2 (page, 4096) : NULL;
    g_ptr_array_add (replay->ram->patches, patch);
}

static Image *
get_image (Ram *ram, const char *name)
{
    return g_hash_table_lookup (ram->images, name);
}

static void
set_page (Ram *ram, const char *name, uint64_t offset, const uint8_t *page)
{
    Image *image = get_image (ram, name);
    if (!ram->keeps_ram || image == NULL)
        return;
    g_assert_cmpuint (offset + 4096, <=, image->len);
    if (page != NULL)
        memcpy (image->bytes + offset, page, 4096);
    else
        memset (image->bytes + offset, 0, 4096);
}

static void
discard (Ram *ram, const GwStreamRecord *record)
{
    Image *image = get_image (ram, record->command.block);
    for (unsigned i = 0; ram->keeps_ram && i < record->command.n_ranges; i++) {
        const GwStreamRange *range = &record->command.ranges[i];
        g_assert_nonnull (image);
        g_assert_cmpuint (range->start + range->length, <=, image->len);
        memset (image->bytes + range->start, 0xdd, range->length);
    }
}

static void
add_image (Ram *ram, const GwStreamBlock *block)
{
    Image *image = g_new0 (Image, 1);
    image->len = block->used_length;
    image->bytes = g_malloc0 (image->len);
    g_hash_table_insert (ram->images, g_strdup (block->name), image);
}

static void
flush_again (Replay *replay)
{
    g_checksum_update (replay->sum, replay->again->data, replay->again->len);
    g_byte_array_set_size (replay->again, 0);
}

static gboolean
on_record (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    Replay *replay = user_data;
    Ram *ram = replay->ram;
    g_assert_cmpuint (record->offset, ==, replay->next_offset);
    replay->next_offset += record->length;
    gsize before = replay->again->len;
    gw_stream_put_record (replay->again, record);
    g_assert_cmpuint (replay->again->len - before, ==, record->length);
    if (replay->again->len > 1 << 20)
        flush_again (replay);
    switch (record->type) {
    case GW_STREAM_RAM_BLOCK:
        if (ram->keeps_ram)
            add_image (ram, record->block);
        break;
    case GW_STREAM_RAM_ZERO:
    case GW_STREAM_RAM_PAGE:
        if (ram->patches != NULL)
            add_patch (replay, record->ram.block->name, record->ram.offset,
                       record->data_length > 0 ? record->data : NULL);
        else
            set_page (ram, record->ram.block->name, record->ram.offset,
                      record->data_length > 0 ? record->data : NULL);
        break;
    case GW_STREAM_RAM_EOS:
        replay->n_eos++;
        break;
    case GW_STREAM_RAM_FLUSH:
        replay->n_flush++;
        ram->has_flush = TRUE;
        break;
    case GW_STREAM_RAM_XBZRLE:
        if (ram->keeps_ram)
            return gw_xbzrle_apply (record->data, record->data_length,
                                    get_image (ram, record->ram.block->name)->bytes
                                        + record->ram.offset,
                                    4096, error);
        break;
    case GW_STREAM_COMMAND:
        if (record->command.number == GW_COMMAND_POSTCOPY_RAM_DISCARD)
            discard (ram, record);
        break;
    default:
        break;
    }
    return TRUE;
}

static gboolean
on_message (const GwReturnRecord *record, gpointer user_data, GError **error)
{
    Replay *replay = user_data;
    g_assert_cmpuint (record->offset, ==, replay->next_offset);
    replay->next_offset += record->length;
    gw_return_put_record (replay->again, record);
    return TRUE;
}

/* --- multifd ------------------------------------------------------------------------------------ */

static void
unpack (Replay *replay, const GwMultifdPacket *packet)
{
    g_assert_cmpuint (packet->flags & GW_MULTIFD_METHOD_MASK, ==, GW_MULTIFD_ZSTD);
    ZSTD_inBuffer in = { replay->packed->data, replay->packed->len, 0 };
    for (unsigned i = 0; i < packet->n_normal; i++) {
        uint8_t page[4096];
        ZSTD_outBuffer out = { page, sizeof page, 0 };
        while (out.pos < out.size) {
            gsize left = ZSTD_decompressStream (replay->zstd, &out, &in);
            g_assert_false (ZSTD_isError (left));
        }
        add_patch (replay, packet->block, gw_multifd_packet_get_page (packet, i), page);
    }
    g_byte_array_set_size (replay->packed, 0);
}

static gboolean
on_multifd (const GwMultifdRecord *record, gpointer user_data, GError **error)
{
    Replay *replay = user_data;
    const GwMultifdPacket *packet = &record->packet;
    g_assert_cmpuint (record->offset, ==, replay->next_offset);
    replay->next_offset += record->length;
    gw_multifd_put_record (replay->again, record);
    if (replay->again->len > 1 << 20)
        flush_again (replay);
    if (record->type == GW_MULTIFD_PACKET) {
        replay->n_eos += replay->ends_round;
        replay->n_flush = replay->n_eos;
        replay->ends_round = packet->flags & GW_MULTIFD_SYNC;
        for (unsigned i = 0; i < packet->n_zero; i++)
            add_patch (replay, packet->block,
                       gw_multifd_packet_get_page (packet, packet->n_normal + i), NULL);
    } else if (record->type == GW_MULTIFD_PAGE) {
        add_patch (replay, packet->block, record->page_offset, record->data);
    } else if (record->type == GW_MULTIFD_PAYLOAD) {
        g_byte_array_append (replay->packed, record->data, (guint) record->data_length);
        if (replay->packed->len == packet->next_size)
            unpack (replay, packet);
    }
    return TRUE;
}

/* --- files -------------------------------------------------------------------------------------- */

typedef gboolean (*PushFn) (gpointer reader, const uint8_t *data, gsize len, GError **error);

static gboolean
push_all (PushFn push, gpointer reader, const char *bytes, gsize len, GError **error)
{
    static const gsize sizes[] = { 32768, 1, 4096, 4105, 7, 131072, 3, 65536 };
    gsize done = 0;
    for (gsize i = 0; done < len; i++) {
        gsize n = MIN (sizes[i % G_N_ELEMENTS (sizes)], len - done);
        if (!push (reader, (const uint8_t *) bytes + done, n, error))
            return FALSE;
        done += n;
    }
    return TRUE;
}

static void
die (const char *path, GError *error)
{
    g_printerr ("%s: %s: %s\n", path, gw_cause_get_info (gw_error_get_cause (error))->code,
                error->message);
    exit (1);
}

static void
report (const char *path, const char *bytes, gsize len, Replay *replay)
{
    g_autofree char *sum = g_compute_checksum_for_data (G_CHECKSUM_SHA256, (const guchar *) bytes,
                                                        len);
    flush_again (replay);
    const char *again = g_checksum_get_string (replay->sum);
    g_print ("%s %zu %s %s\n", path, len, sum, again);
    if (strcmp (sum, again) != 0)
        exit (1);
}

static void
init_replay (Replay *replay, Ram *ram)
{
    *replay = (Replay){ .ram = ram, .again = g_byte_array_new (),
                        .sum = g_checksum_new (G_CHECKSUM_SHA256),
                        .zstd = ZSTD_createDStream (), .packed = g_byte_array_new () };
}

static void
read_main (const char *path, GwStreamKind kind, Ram *ram)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *bytes = NULL;
    gsize len;
    Replay replay;
    GwStreamParams params;
    gw_stream_params_init (&params);
    params.kind = kind;
    init_replay (&replay, ram);
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (&params, on_record, &replay);
    if (!g_file_get_contents (path, &bytes, &len, &error)
        || !push_all ((PushFn) gw_stream_reader_push, reader, bytes, len, &error)
        || !gw_stream_reader_finish (reader, &error))
        die (path, error);
    report (path, bytes, len, &replay);
}

static void
read_return (const char *path)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *bytes = NULL;
    gsize len;
    Replay replay;
    GwStreamParams params;
    gw_stream_params_init (&params);
    init_replay (&replay, NULL);
    g_autoptr (GwReturnReader) reader = gw_return_reader_new (&params, on_message, &replay);
    if (!g_file_get_contents (path, &bytes, &len, &error)
        || !push_all ((PushFn) gw_return_reader_push, reader, bytes, len, &error)
        || !gw_return_reader_finish (reader, &error))
        die (path, error);
    report (path, bytes, len, &replay);
}

static void
read_multifd (const char *path, Ram *ram)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *bytes = NULL;
    gsize len;
    Replay replay;
    GwStreamParams params;
    gw_stream_params_init (&params);
    init_replay (&replay, ram);
    g_autoptr (GwMultifdReader) reader = gw_multifd_reader_new (&params, on_multifd, &replay);
    if (!g_file_get_contents (path, &bytes, &len, &error)
        || !push_all ((PushFn) gw_multifd_reader_push, reader, bytes, len, &error)
        || !gw_multifd_reader_finish (reader, &error))
        die (path, error);
    report (path, bytes, len, &replay);
}

static gboolean by_flush;

static gint
compare_patches (gconstpointer a, gconstpointer b)
{
    const Patch *x = *(Patch *const *) a, *y = *(Patch *const *) b;
    guint i = by_flush ? x->round_by_flush : x->round;
    guint j = by_flush ? y->round_by_flush : y->round;
    return i < j ? -1 : i > j;
}

static void
apply_patches (Ram *ram)
{
    by_flush = ram->has_flush;
    g_ptr_array_sort (ram->patches, compare_patches); /* a stable merge sort */
    for (guint i = 0; i < ram->patches->len; i++) {
        const Patch *patch = g_ptr_array_index (ram->patches, i);
        set_page (ram, patch->block, patch->offset, patch->page);
    }
}

static void
write_images (Ram *ram, const char *directory)
{
    GHashTableIter iter;
    gpointer name, value;
    g_hash_table_iter_init (&iter, ram->images);
    while (g_hash_table_iter_next (&iter, &name, &value)) {
        g_autoptr (GError) error = NULL;
        Image *image = value;
        g_autofree char *file = g_strdelimit (g_strdup (name), "/", '_');
        g_autofree char *path = g_build_filename (directory, file, NULL);
        if (!g_file_set_contents (path, (const char *) image->bytes, (gssize) image->len, &error))
            die (path, error);
    }
}

int
main (int argc, char **argv)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *out = NULL, *main_file = NULL, *preempt = NULL, *back = NULL;
    g_auto (GStrv) multifd = NULL;
    const GOptionEntry options[] = {
        { "out", 0, 0, G_OPTION_ARG_FILENAME, &out, "write the RAM there", "DIR" },
        { "main", 0, 0, G_OPTION_ARG_FILENAME, &main_file, "the main stream", "FILE" },
        { "preempt", 0, 0, G_OPTION_ARG_FILENAME, &preempt, "the urgent channel", "FILE" },
        { "return", 0, 0, G_OPTION_ARG_FILENAME, &back, "the return path", "FILE" },
        { "multifd", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &multifd, "a multifd channel", "FILE" },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };
    g_autoptr (GOptionContext) context = g_option_context_new (NULL);
    g_option_context_add_main_entries (context, options, NULL);
    if (!g_option_context_parse (context, &argc, &argv, &error))
        die (argv[0], error);
    Ram ram = { .images = g_hash_table_new (g_str_hash, g_str_equal), .keeps_ram = out != NULL };
    ram.patches = multifd != NULL ? g_ptr_array_new () : NULL;
    if (main_file != NULL)
        read_main (main_file, GW_STREAM_MAIN, &ram);
    if (preempt != NULL)
        read_main (preempt, GW_STREAM_PREEMPT, &ram);
    if (back != NULL)
        read_return (back);
    for (gsize i = 0; multifd != NULL && multifd[i] != NULL; i++)
        read_multifd (multifd[i], &ram);
    if (ram.patches != NULL)
        apply_patches (&ram);
    if (out != NULL)
        write_images (&ram, out);
    return 0;
}
