/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compressing groups that go on where the last one ended.  With pack.c the only file that knows zstd.
 *
 * All groups of a chain are one zstd frame that is flushed at the end of each and never ends, so a group finds what is alike in
 * what came before it, 4 MiB or with level 1 one.  Of the files of a Debian, by pages, 168 MB become 56.0 MB with level 1, and
 * 61.7 MB group by group.
 * The price is order: one group of a chain after the other, on both sides. */
#include "internal.h"

#include <zstd.h>

/* What zstd's own level 1 remembers, 2^14 places of 7 bytes or more, is for half a megabyte.  Twice that, of 6 bytes, finds what is
 * alike in a megabyte, and this much stays in a processor's own cache while other processes take turns on it.  Level 2 is the same
 * search with as many places as half of such a cache holds, and finds more than zstd's own level 2; level 3 looks for two lengths
 * in as little, for two thirds of the time of zstd's own. */
typedef struct {
    int level;
    int strategy, window_log, hash_log, chain_log, match;
} Tuning;

static const Tuning tunings[] = {
    { 1, ZSTD_fast, 20, 15, 0, 6 },
    { 2, ZSTD_fast, GW_RAM_CHAIN_WINDOW_LOG, 17, 0, 6 },
    { 3, ZSTD_dfast, GW_RAM_CHAIN_WINDOW_LOG, 17, 14, 5 },
};

struct _GwRamChain {
    guint number;
    int level;
    gboolean is_begun; /* the last group of it went on, or began it */
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
};

GwRamChain *
gw_ram_chain_new (guint number, int level)
{
    GwRamChain *chain = g_new0 (GwRamChain, 1);
    g_assert (number < GW_RAM_CHAINS);
    chain->number = number;
    chain->level = level;
    return chain;
}

void
gw_ram_chain_free (GwRamChain *chain)
{
    if (chain == NULL)
        return;
    ZSTD_freeCCtx (chain->compressor);
    ZSTD_freeDCtx (chain->decompressor);
    g_free (chain);
}

/* --- outwards ------------------------------------------------------------------------------------ */

/* All values are within their bounds; 0 leaves it to zstd. */
static void
tune (ZSTD_CCtx *compressor, const Tuning *tuning)
{
    (void) ZSTD_CCtx_setParameter (compressor, ZSTD_c_strategy, tuning->strategy);
    (void) ZSTD_CCtx_setParameter (compressor, ZSTD_c_windowLog, tuning->window_log);
    (void) ZSTD_CCtx_setParameter (compressor, ZSTD_c_hashLog, tuning->hash_log);
    (void) ZSTD_CCtx_setParameter (compressor, ZSTD_c_chainLog, tuning->chain_log);
    (void) ZSTD_CCtx_setParameter (compressor, ZSTD_c_minMatch, tuning->match);
}

static gboolean
need_compressor (GwRamChain *chain)
{
    if (chain->compressor != NULL)
        return TRUE;
    chain->compressor = ZSTD_createCCtx ();
    if (chain->compressor == NULL)
        return FALSE;
    (void) ZSTD_CCtx_setParameter (chain->compressor, ZSTD_c_compressionLevel, chain->level);
    (void) ZSTD_CCtx_setParameter (chain->compressor, ZSTD_c_windowLog, GW_RAM_CHAIN_WINDOW_LOG);
    for (guint i = 0; i < G_N_ELEMENTS (tunings); i++)
        if (tunings[i].level == chain->level)
            tune (chain->compressor, &tunings[i]);
    return TRUE;
}

/* The far side will not have what the compressor has seen. */
static gboolean
break_off (GwRamChain *chain)
{
    (void) ZSTD_CCtx_reset (chain->compressor, ZSTD_reset_session_only); /* cannot fail */
    chain->is_begun = FALSE;
    return FALSE;
}

gboolean
gw_ram_chain_pack (GwRamChain *chain, GwRamPacker *packer, GwRamGroup *group)
{
    gsize plain = group->head.body;
    if (gw_ram_group_is_packed (group) || plain < GW_RAM_PACK_LEAST || !need_compressor (chain))
        return FALSE;
    gsize room = gw_ram_pack_get_room (plain);
    ZSTD_inBuffer in = { group->bytes + GW_RAM_HEAD, plain, 0 };
    ZSTD_outBuffer out = { gw_ram_packer_reserve (packer, room), room, 0 };
    if (ZSTD_compressStream2 (chain->compressor, &out, &in, ZSTD_e_flush) != 0) /* an error, or more than there is room */
        return break_off (chain);
    guint flags = GW_RAM_PACKED | GW_RAM_CHAINED | chain->number << GW_RAM_CHAIN_SHIFT;
    gw_ram_packer_swap (packer, group, out.pos,
                        (uint8_t) (group->head.flags | flags | (chain->is_begun ? 0u : GW_RAM_BEGINS)));
    gw_ram_group_shrink (group);
    chain->is_begun = TRUE;
    return TRUE;
}

/* --- inwards ------------------------------------------------------------------------------------- */

static gboolean
need_decompressor (GwRamChain *chain)
{
    if (chain->decompressor != NULL)
        return TRUE;
    chain->decompressor = ZSTD_createDCtx ();
    /* what the peer says of the window is not believed */
    return chain->decompressor != NULL &&
           !ZSTD_isError (ZSTD_DCtx_setParameter (chain->decompressor, ZSTD_d_windowLogMax, GW_RAM_CHAIN_WINDOW_LOG));
}

/* Why it is not right; NULL when it is.  `out` has room for a byte too many. */
static const char *
decompress (GwRamChain *chain, ZSTD_inBuffer *in, ZSTD_outBuffer *out)
{
    while (in->pos < in->size) {
        size_t before = in->pos, made = out->pos;
        size_t n = ZSTD_decompressStream (chain->decompressor, out, in);
        if (ZSTD_isError (n))
            return ZSTD_getErrorName (n);
        if (in->pos == before && out->pos == made)
            return "there are more";
    }
    return out->pos == out->size - 1 ? NULL : out->pos < out->size ? "there are fewer" : "there are more";
}

gboolean
gw_ram_chain_unpack (GwRamChain *chain, GwRamPacker *packer, GwRamGroup *group, GError **error)
{
    gsize plain = gw_ram_head_get_plain (&group->head);
    gboolean begins = (group->head.flags & GW_RAM_BEGINS) != 0;
    g_assert (gw_ram_group_is_chained (group));
    if (!begins && !chain->is_begun)
        return gw_fail (error, GW_CAUSE_CODEC_INVALID, "group %u goes on with chain %u, which has not begun",
                        group->head.number, chain->number);
    if (!need_decompressor (chain))
        return gw_fail (error, GW_CAUSE_CODEC_INVALID, "group %u: no memory to unpack %zu bytes", group->head.number, plain);
    if (begins)
        (void) ZSTD_DCtx_reset (chain->decompressor, ZSTD_reset_session_only); /* cannot fail */
    ZSTD_inBuffer in = { group->bytes + GW_RAM_HEAD, group->head.body, 0 };
    ZSTD_outBuffer out = { gw_ram_packer_reserve (packer, plain + 1), plain + 1, 0 };
    const char *why = decompress (chain, &in, &out);
    chain->is_begun = why == NULL;
    if (why != NULL)
        return gw_fail (error, GW_CAUSE_CODEC_INVALID, "group %u of chain %u: expected %zu bytes unpacked: %s",
                        group->head.number, chain->number, plain, why);
    gw_ram_packer_swap (packer, group, plain, group->head.flags & (uint8_t) ~GW_RAM_PACKING);
    return TRUE;
}
