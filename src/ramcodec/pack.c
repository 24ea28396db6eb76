/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compressing the body of a group by itself. */
#include "internal.h"

#include <string.h>
#include <zstd.h>

struct _GwRamPacker {
    ZSTD_CCtx *compressor;     /* made when first needed */
    ZSTD_DCtx *decompressor;
    uint8_t *scratch;          /* scratch_size; swapped with the bytes of groups */
    gsize scratch_size;
};

GwRamPacker *
gw_ram_packer_new (void)
{
    return g_new0 (GwRamPacker, 1);
}

void
gw_ram_packer_free (GwRamPacker *packer)
{
    if (packer == NULL)
        return;
    ZSTD_freeCCtx (packer->compressor);
    ZSTD_freeDCtx (packer->decompressor);
    g_free (packer->scratch);
    g_free (packer);
}

uint8_t *
gw_ram_packer_reserve (GwRamPacker *packer, gsize body)
{
    gsize size = GW_RAM_HEAD + body;
    if (packer->scratch_size < size) {
        g_free (packer->scratch);
        packer->scratch = g_malloc (size);
        packer->scratch_size = size;
    }
    return packer->scratch + GW_RAM_HEAD;
}

void
gw_ram_packer_swap (GwRamPacker *packer, GwRamGroup *group, gsize body, uint8_t flags)
{
    uint8_t *bytes = group->bytes;
    gsize size = group->size;
    group->bytes = packer->scratch;
    group->size = packer->scratch_size;
    packer->scratch = bytes;
    packer->scratch_size = size;
    group->head.flags = flags;
    group->head.body = (uint32_t) body;
    gw_ram_group_seal (group);
}

void
gw_ram_group_shrink (GwRamGroup *group)
{
    if (group->len > group->size / 2)
        return;
    group->bytes = g_realloc (group->bytes, group->len);
    group->size = group->len;
}

gboolean
gw_ram_pack (GwRamPacker *packer, GwRamGroup *group, int level)
{
    gsize plain = group->head.body;
    if (level == GW_RAM_LEVEL_NONE || gw_ram_group_is_packed (group) || plain < GW_RAM_PACK_LEAST)
        return FALSE;
    if (packer->compressor == NULL)
        packer->compressor = ZSTD_createCCtx ();
    if (packer->compressor == NULL)
        return FALSE;
    gsize room = gw_ram_pack_get_room (plain);
    size_t n = ZSTD_compressCCtx (packer->compressor, gw_ram_packer_reserve (packer, room), room,
                                  group->bytes + GW_RAM_HEAD, plain,
                                  CLAMP (level, GW_RAM_LEVEL_LEAST, GW_RAM_LEVEL_MOST));
    if (ZSTD_isError (n))
        return FALSE;
    gw_ram_packer_swap (packer, group, n, group->head.flags | GW_RAM_PACKED);
    gw_ram_group_shrink (group);
    return TRUE;
}

gboolean
gw_ram_unpack (GwRamPacker *packer, GwRamGroup *group, GError **error)
{
    gsize plain = gw_ram_head_get_plain (&group->head);
    if (!gw_ram_group_is_packed (group))
        return TRUE;
    if (gw_ram_group_is_chained (group))
        return gw_fail (error, GW_CAUSE_CODEC_INVALID, "group %u needs its chain", group->head.number);
    if (packer->decompressor == NULL)
        packer->decompressor = ZSTD_createDCtx ();
    if (packer->decompressor == NULL)
        return gw_fail (error, GW_CAUSE_CODEC_INVALID, "group %u: no memory to unpack %zu bytes",
                        group->head.number, plain);
    size_t n = ZSTD_decompressDCtx (packer->decompressor, gw_ram_packer_reserve (packer, plain), plain,
                                    group->bytes + GW_RAM_HEAD, group->head.body);
    if (ZSTD_isError (n) || n != plain)
        return gw_fail (error, GW_CAUSE_CODEC_INVALID, "group %u: expected %zu bytes unpacked: %s",
                        group->head.number, plain,
                        ZSTD_isError (n) ? ZSTD_getErrorName (n) : "there are fewer");
    gw_ram_packer_swap (packer, group, plain, group->head.flags & (uint8_t) ~GW_RAM_PACKED);
    return TRUE;
}
