/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as a memory lane, through encoder and decoder and back: the same bytes come out, or as many
 * less as the encoder says that it left out.  The first byte chooses the kind of the lane, the budget,
 * how the bytes are cut and whether groups are packed.  Seeds are lanes, as the stream's fuzzers have
 * them.
 */
#include "ramcodec.h"

#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

typedef struct {
    GwRamEncoder *encoder;
    GwRamDecoder *decoder;
    GwRamPacker *packer;
    GwRamChain *there, *here; /* NULL: each group by itself */
    GByteArray *out;
    int level;
} Trip;

static void
pack (Trip *trip, GwRamGroup *group)
{
    if (trip->there != NULL)
        gw_ram_chain_pack (trip->there, trip->packer, group);
    else
        gw_ram_pack (trip->packer, group, trip->level);
}

static gboolean
unpack (Trip *trip, GwRamGroup *group, GError **error)
{
    return gw_ram_group_is_chained (group) ? gw_ram_chain_unpack (trip->here, trip->packer, group, error)
                                           : gw_ram_unpack (trip->packer, group, error);
}

static void
carry (Trip *trip)
{
    gsize len, measured;
    for (;;) {
        g_autoptr (GError) error = NULL;
        g_autoptr (GwRamGroup) group = gw_ram_encoder_take (trip->encoder);
        if (group == NULL)
            return;
        pack (trip, group);
        gw_ram_encoder_note_packed (trip->encoder, group);
        const uint8_t *bytes = gw_ram_group_get_bytes (group, &len);
        g_assert (gw_ram_group_measure (bytes, &measured, &error) && measured == len);
        g_autoptr (GwRamGroup) there = gw_ram_group_load (bytes, len, &error);
        if (there == NULL || !unpack (trip, there, &error)
            || !gw_ram_decoder_apply (trip->decoder, there, trip->out, &error))
            g_error ("%s", error->message);
    }
}

static void
run (const GwRamParams *params, const uint8_t *data, size_t size, size_t piece, int level, gboolean is_chained)
{
    g_autoptr (GwRamEncoder) encoder = gw_ram_encoder_new (params);
    g_autoptr (GwRamDecoder) decoder = gw_ram_decoder_new (params);
    g_autoptr (GwRamPacker) packer = gw_ram_packer_new ();
    g_autoptr (GByteArray) out = g_byte_array_new ();
    g_autoptr (GwRamChain) there = is_chained ? gw_ram_chain_new (1, level) : NULL;
    g_autoptr (GwRamChain) here = is_chained ? gw_ram_chain_new (1, level) : NULL;
    Trip trip = { encoder, decoder, packer, there, here, out, level };
    GwRamCounters counters;
    for (size_t at = 0; at < size; at += piece) {
        gw_ram_encoder_push (encoder, data + at, MIN (piece, size - at));
        if (piece % 3 == 0)
            gw_ram_encoder_flush (encoder);
        carry (&trip);
    }
    gw_ram_encoder_finish (encoder);
    carry (&trip);
    gw_ram_encoder_get_counters (encoder, &counters);
    g_assert (counters.index_bytes + counters.cache_bytes <= params->memory_bytes);
    g_assert (out->len + counters.classes[GW_RAM_UNCHANGED].input == size);
    if (!params->can_leave_out)
        g_assert (out->len == size && (size == 0 || memcmp (out->data, data, size) == 0));
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    static const GwStreamKind kinds[] = { GW_STREAM_MAIN, GW_STREAM_MAIN, GW_STREAM_SECTIONS,
                                          GW_STREAM_PREEMPT };
    if (size < 1)
        return 0;
    uint8_t choice = data[0];
    GwRamParams params = { .kind = kinds[choice & 3], .page_size = 1024,
                           .memory_bytes = (choice & 4) ? 200000 : 60000,
                           .can_leave_out = (choice & 8) != 0,
                           .secret = (const uint8_t *) "sixteen bytes ok", .secret_bytes = 16 };
    size_t piece = (choice & 16) ? 1 + (choice >> 5) * 37u : 4096;
    run (&params, data + 1, size - 1, piece, (choice & 32) ? 1 : GW_RAM_LEVEL_NONE,
         (choice & 96) == 96);
    return 0;
}
