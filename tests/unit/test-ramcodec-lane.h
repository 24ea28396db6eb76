/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory lanes for the tests of ramcodec: a generator of streams that send pages again, a model of the
 * machine that loads them, and the way from an encoder through packing to a decoder.
 */
#ifndef GW_TEST_RAMCODEC_LANE_H
#define GW_TEST_RAMCODEC_LANE_H

#include "ramcodec.h"

#include <string.h>

#define LANE_PAGE 4096u
#define LANE_SECRET "sixteen bytes ok"

/* --- a guest that writes ------------------------------------------------------------------------- */

typedef struct {
    guint n_pages;    /* of each of two blocks */
    uint8_t *memory;  /* 2 * n_pages * LANE_PAGE */
    gboolean *is_sent; /* 2 * n_pages */
    GRand *rand;
    GByteArray *out;
    int block; /* the last named; -1: none */
} Lane;

static const char *const lane_blocks[] = { "pc.ram", "vga.vram" };

static inline void
lane_init (Lane *lane, guint n_pages, guint32 seed)
{
    *lane = (Lane){ .n_pages = n_pages, .block = -1, .rand = g_rand_new_with_seed (seed),
                    .out = g_byte_array_new (), .memory = g_malloc0 (2 * n_pages * LANE_PAGE),
                    .is_sent = g_new0 (gboolean, 2 * n_pages) };
}

static inline void
lane_clear (Lane *lane)
{
    g_rand_free (lane->rand);
    g_byte_array_unref (lane->out);
    g_free (lane->memory);
    g_free (lane->is_sent);
}

static inline uint8_t *
lane_get_page (Lane *lane, guint page)
{
    return lane->memory + (gsize) page * LANE_PAGE;
}

/* Writes to a page as guests do: nothing, a few words, all of it, zeros, or what another page holds. */
static inline void
lane_write (Lane *lane, guint page)
{
    uint8_t *p = lane_get_page (lane, page);
    guint way = (guint) g_rand_int_range (lane->rand, 0, 10);
    if (way < 5) {
        for (int i = g_rand_int_range (lane->rand, 0, 16); i > 0; i--)
            p[g_rand_int_range (lane->rand, 0, LANE_PAGE)]++;
    } else if (way < 7) {
        for (guint i = 0; i < LANE_PAGE; i++)
            p[i] = (uint8_t) g_rand_int (lane->rand);
    } else if (way == 7) {
        memset (p, 0, LANE_PAGE);
    } else if (way == 8) {
        guint other = (guint) g_rand_int_range (lane->rand, 0, 2 * (gint32) lane->n_pages);
        memmove (p, lane_get_page (lane, other), LANE_PAGE);
    } else {
        for (guint i = 0; i < LANE_PAGE; i++)
            p[i] = "the quick brown fox "[(i + page) % 20];
    }
}

static inline void
lane_send (Lane *lane, guint page)
{
    static const uint8_t zero[LANE_PAGE];
    int block = (int) (page / lane->n_pages);
    const uint8_t *p = lane_get_page (lane, page);
    gboolean is_zero = memcmp (p, zero, LANE_PAGE) == 0;
    gw_stream_put_ram_page (lane->out, block == lane->block ? NULL : lane_blocks[block],
                            (uint64_t) (page % lane->n_pages) * LANE_PAGE, is_zero ? NULL : p,
                            LANE_PAGE);
    lane->block = block;
    lane->is_sent[page] = TRUE;
}

static inline void
lane_end_part (Lane *lane)
{
    gw_stream_put_ram_flag (lane->out, GW_RAM_EOS);
    gw_stream_put_footer (lane->out, 2);
}

static inline void
lane_begin (Lane *lane)
{
    const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
    GwStreamBlock blocks[2];
    const GwStreamBlock *list[] = { &blocks[0], &blocks[1] };
    for (guint i = 0; i < 2; i++)
        blocks[i] = (GwStreamBlock){ .name = (char *) lane_blocks[i],
                                     .used_length = (uint64_t) lane->n_pages * LANE_PAGE };
    gw_stream_put_header (lane->out);
    gw_stream_put_configuration (lane->out, "pc-q35-7.2");
    gw_stream_put_command (lane->out, GW_COMMAND_OPEN_RETURN_PATH, NULL, 0);
    gw_stream_put_ping (lane->out, 1);
    gw_stream_put_advise (lane->out, LANE_PAGE, LANE_PAGE);
    gw_stream_put_section (lane->out, GW_STREAM_BYTE_START, &ram);
    gw_stream_put_ram_list (lane->out, list, 2);
    lane_end_part (lane);
}

/* A pass in which each page is written to and sent with a chance of `percent`. */
static inline void
lane_pass (Lane *lane, guint percent, GwStreamByte type)
{
    const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
    gw_stream_put_section (lane->out, type, &ram);
    for (guint page = 0; page < 2 * lane->n_pages; page++) {
        if ((guint) g_rand_int_range (lane->rand, 0, 100) >= percent)
            continue;
        lane_write (lane, page);
        lane_send (lane, page);
    }
    lane_end_part (lane);
}

static inline void
lane_device (GByteArray *out, guint32 id)
{
    const GwStreamSection timer = { .id = id, .version = 1, .name = (char *) "timer" };
    gw_stream_put_section (out, GW_STREAM_BYTE_FULL, &timer);
    g_byte_array_append (out, (const guint8 *) "~device~state", 13);
    gw_stream_put_footer (out, id);
}

static inline void
lane_switch (Lane *lane)
{
    const GwStreamRange range = { 0, LANE_PAGE };
    g_autoptr (GByteArray) package = g_byte_array_new ();
    gw_stream_put_discard (lane->out, lane_blocks[0], &range, 1);
    gw_stream_put_command (package, GW_COMMAND_POSTCOPY_LISTEN, NULL, 0);
    lane_device (package, 4);
    gw_stream_put_command (package, GW_COMMAND_POSTCOPY_RUN, NULL, 0);
    gw_stream_put_packaged (lane->out, package->data, package->len);
}

/* Precopy of `passes`, then the end, or postcopy and a last pass. */
static inline void
lane_build (Lane *lane, guint passes, gboolean has_postcopy)
{
    lane_begin (lane);
    lane_pass (lane, 100, GW_STREAM_BYTE_PART);
    for (guint i = 1; i < passes; i++)
        lane_pass (lane, 30, GW_STREAM_BYTE_PART);
    if (has_postcopy)
        lane_switch (lane);
    lane_pass (lane, 20, GW_STREAM_BYTE_END);
    if (!has_postcopy)
        lane_device (lane->out, 4);
    gw_stream_put_eof (lane->out);
}

/* --- the machine that loads it ------------------------------------------------------------------- */

/* Memory as the far side has it, and a sum of everything that is not a precopy page. */
typedef struct {
    GHashTable *pages; /* "block/offset" -> GBytes; NULL: zero */
    GChecksum *rest;
    gboolean is_postcopy;
    gboolean is_exact; /* pages count for `rest` too */
} Loader;

static inline void
free_bytes (gpointer bytes)
{
    g_clear_pointer (&bytes, g_bytes_unref);
}

static inline void
loader_init (Loader *loader)
{
    *loader = (Loader){ g_hash_table_new_full (g_str_hash, g_str_equal, g_free, free_bytes),
                        g_checksum_new (G_CHECKSUM_SHA256), FALSE, FALSE };
}

static inline void
loader_clear (Loader *loader)
{
    g_hash_table_unref (loader->pages);
    g_checksum_free (loader->rest);
}

static inline gboolean
loader_on_record (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    Loader *loader = user_data;
    gboolean is_page = record->type == GW_STREAM_RAM_PAGE || record->type == GW_STREAM_RAM_ZERO;
    if (is_page) {
        char *key = g_strdup_printf ("%s/%" G_GINT64_MODIFIER "x", record->ram.block->name,
                                     record->ram.offset);
        g_hash_table_insert (loader->pages, key, record->type == GW_STREAM_RAM_ZERO
                             ? NULL : g_bytes_new (record->data, record->data_length));
    }
    loader->is_postcopy |= record->type == GW_STREAM_COMMAND
                           && record->command.number == GW_COMMAND_POSTCOPY_RAM_DISCARD;
    if (!is_page || loader->is_postcopy || loader->is_exact) {
        g_autoptr (GByteArray) bytes = g_byte_array_new ();
        gw_stream_put_record (bytes, record);
        g_checksum_update (loader->rest, bytes->data, bytes->len);
    }
    return TRUE;
}

static inline void
loader_load (Loader *loader, const uint8_t *data, gsize len)
{
    g_autoptr (GError) error = NULL;
    GwStreamParams params;
    gw_stream_params_init (&params);
    params.checks_vmdesc = FALSE;
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (&params, loader_on_record, loader);
    gw_stream_reader_push (reader, data, len, &error);
    g_assert_no_error (error);
    gw_stream_reader_finish (reader, &error);
    g_assert_no_error (error);
}

/* Both streams make the same memory, and say the same in everything but precopy pages. */
static inline void
assert_equivalent (const GByteArray *a, const GByteArray *b)
{
    Loader x, y;
    GHashTableIter iter;
    gpointer key, value, other;
    loader_init (&x);
    loader_init (&y);
    loader_load (&x, a->data, a->len);
    loader_load (&y, b->data, b->len);
    g_assert_cmpstr (g_checksum_get_string (x.rest), ==, g_checksum_get_string (y.rest));
    g_assert_cmpuint (g_hash_table_size (x.pages), ==, g_hash_table_size (y.pages));
    g_hash_table_iter_init (&iter, x.pages);
    while (g_hash_table_iter_next (&iter, &key, &value)) {
        g_assert_true (g_hash_table_lookup_extended (y.pages, key, NULL, &other));
        g_assert_true ((value == NULL) == (other == NULL));
        g_assert_true (value == NULL || g_bytes_equal (value, other));
    }
    loader_clear (&x);
    loader_clear (&y);
}

/* --- there and back ------------------------------------------------------------------------------ */

typedef struct {
    GwRamParams params;
    gsize most;      /* bytes of a push are 1 to `most`; 0: all at once */
    int level;
    gboolean is_chained; /* two of three groups are packed in a chain */
    gboolean flushes; /* after each push */
    gboolean stocks_up; /* memory is got before the first page */
    guint32 seed;
} Trip;

typedef struct {
    GByteArray *out;
    GwRamCounters counters;
    gsize wire, n_groups, n_urgent;
    gsize urgent_most; /* the longest output of an urgent group */
    uint64_t decoder_memory;
    gboolean is_passing;
} Arrival;

static inline void
trip_init (Trip *trip)
{
    *trip = (Trip){ .params = { .kind = GW_STREAM_MAIN, .page_size = LANE_PAGE,
                                .memory_bytes = 8 << 20, .can_leave_out = TRUE,
                                .secret = (const uint8_t *) LANE_SECRET, .secret_bytes = 16 },
                    .most = 100000, .level = 1, .seed = 1 };
}

static inline void
arrival_clear (Arrival *arrival)
{
    g_byte_array_unref (arrival->out);
}

typedef struct {
    GwRamEncoder *encoder;
    GwRamDecoder *decoder;
    GwRamPacker *packer;
    GwRamChain *there, *here;
} TripEnds;

static inline void
trip_ends_init (TripEnds *ends, const Trip *trip)
{
    *ends = (TripEnds){ gw_ram_encoder_new (&trip->params), gw_ram_decoder_new (&trip->params), gw_ram_packer_new (),
                        gw_ram_chain_new (3, 1), gw_ram_chain_new (3, GW_RAM_LEVEL_NONE) };
}

static inline void
trip_ends_clear (TripEnds *ends)
{
    gw_ram_encoder_free (ends->encoder);
    gw_ram_decoder_free (ends->decoder);
    gw_ram_packer_free (ends->packer);
    gw_ram_chain_free (ends->there);
    gw_ram_chain_free (ends->here);
}

static inline void
pack_group (const Trip *trip, const TripEnds *ends, GwRamGroup *group, gsize number)
{
    if (trip->is_chained && number % 3 < 2)
        gw_ram_chain_pack (ends->there, ends->packer, group);
    else
        gw_ram_pack (ends->packer, group, trip->level);
}

static inline void
unpack_group (const TripEnds *ends, GwRamGroup *group, GError **error)
{
    if (gw_ram_group_is_chained (group))
        gw_ram_chain_unpack (ends->here, ends->packer, group, error);
    else
        gw_ram_unpack (ends->packer, group, error);
}

static inline void
carry_group (const Trip *trip, const TripEnds *ends, GwRamGroup *group, Arrival *arrival)
{
    g_autoptr (GError) error = NULL;
    gsize len, measured;
    pack_group (trip, ends, group, arrival->n_groups);
    const uint8_t *bytes = gw_ram_group_get_bytes (group, &len);
    gw_ram_group_measure (bytes, &measured, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (measured, ==, len);
    g_autoptr (GwRamGroup) there = gw_ram_group_load (bytes, len, &error);
    g_assert_no_error (error);
    unpack_group (ends, there, &error);
    g_assert_no_error (error);
    gw_ram_decoder_apply (ends->decoder, there, arrival->out, &error);
    g_assert_no_error (error);
    arrival->wire += len;
    arrival->n_groups++;
    if (gw_ram_group_get_urgency (group) == GW_RAM_URGENT) {
        arrival->n_urgent++;
        arrival->urgent_most = MAX (arrival->urgent_most, gw_ram_group_get_output (group));
    }
}

static inline void
carry_groups (const Trip *trip, const TripEnds *ends, Arrival *arrival)
{
    GwRamGroup *group;
    while ((group = gw_ram_encoder_take (ends->encoder)) != NULL) {
        carry_group (trip, ends, group, arrival);
        gw_ram_encoder_note_packed (ends->encoder, group);
        gw_ram_group_free (group);
    }
}

static inline void
push_pieces (const Trip *trip, const TripEnds *ends, const uint8_t *data, gsize len, Arrival *arrival)
{
    g_autoptr (GRand) rand = g_rand_new_with_seed (trip->seed);
    while (len > 0) {
        gsize piece = trip->most == 0 ? len
                                      : (gsize) g_rand_int_range (rand, 1, (gint32) trip->most + 1);
        gsize n = MIN (len, piece);
        gw_ram_encoder_push (ends->encoder, data, n);
        if (trip->flushes)
            gw_ram_encoder_flush (ends->encoder);
        carry_groups (trip, ends, arrival);
        data += n;
        len -= n;
    }
}

static inline Arrival
trip_go (const Trip *trip, const uint8_t *data, gsize len)
{
    Arrival arrival = { .out = g_byte_array_new () };
    TripEnds ends;
    trip_ends_init (&ends, trip);
    while (trip->stocks_up && gw_ram_encoder_stock_up (ends.encoder))
        (void) gw_ram_decoder_stock_up (ends.decoder);
    push_pieces (trip, &ends, data, len, &arrival);
    if (trip->stocks_up)
        g_assert_false (gw_ram_encoder_stock_up (ends.encoder)); /* it has the pages by now */
    gw_ram_encoder_finish (ends.encoder);
    carry_groups (trip, &ends, &arrival);
    gw_ram_encoder_get_counters (ends.encoder, &arrival.counters);
    arrival.decoder_memory = gw_ram_decoder_get_memory (ends.decoder);
    arrival.is_passing = gw_ram_encoder_get_fault (ends.encoder) != NULL;
    trip_ends_clear (&ends);
    return arrival;
}

static inline Arrival
trip_carry (const Trip *trip, const Lane *lane)
{
    return trip_go (trip, lane->out->data, lane->out->len);
}

static inline void
assert_same_bytes (const Arrival *arrival, const uint8_t *data, gsize len)
{
    g_assert_cmpmem (arrival->out->data, arrival->out->len, data, len);
}

#endif
