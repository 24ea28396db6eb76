/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pack.h"

#include <string.h>
#include <zstd.h>

#define LEVEL 1
#define SMALL_BYTES 512 /* a request without data, or nearly: not worth it */
#define SKIP_MAX 32     /* blocks that are not tried after some that did not get smaller */

enum { KIND_RAW, KIND_ZSTD, N_KINDS };

struct _GwPacker {
    ZSTD_CCtx *zstd;
    uint8_t plain[GW_PACK_HEAD + GW_PACK_BLOCK]; /* a raw block needs no copy */
    uint8_t packed[GW_PACK_HEAD + GW_PACK_BLOCK];
    const uint8_t *pending;
    gsize n_pending;
    guint skip, n_skip; /* blocks that are not tried: next time, and still */
};

struct _GwUnpacker {
    ZSTD_DCtx *zstd;
    uint8_t block[GW_PACK_HEAD + GW_PACK_BLOCK];
    gsize n_block; /* bytes of it that have come */
    uint8_t plain[GW_PACK_BLOCK];
    const uint8_t *pending;
    gsize n_pending;
};

/* --- outwards ------------------------------------------------------------------------------------ */

GwPacker *
gw_packer_new (void)
{
    GwPacker *packer = g_new0 (GwPacker, 1);
    packer->zstd = ZSTD_createCCtx ();
    packer->pending = packer->plain;
    return packer;
}

void
gw_packer_free (GwPacker *packer)
{
    if (packer != NULL)
        (void) ZSTD_freeCCtx (packer->zstd); /* always 0 */
    g_free (packer);
}

uint8_t *
gw_packer_get_room (GwPacker *packer)
{
    g_assert (packer->n_pending == 0);
    return packer->plain + GW_PACK_HEAD;
}

static void
put_head (uint8_t *block, guint kind, gsize payload, gsize plain)
{
    gw_store_be32 (block, (uint32_t) payload);
    block[0] = (uint8_t) kind;
    gw_store_be32 (block + 4, (uint32_t) plain);
}

/* Bytes of the payload; 0 when it does not pay. */
static gsize
compress (GwPacker *packer, gsize len)
{
    if (packer->n_skip > 0) {
        packer->n_skip--;
        return 0;
    }
    gsize n = ZSTD_compressCCtx (packer->zstd, packer->packed + GW_PACK_HEAD, len - len / 16,
                                 packer->plain + GW_PACK_HEAD, len, LEVEL);
    gboolean pays = !ZSTD_isError (n);
    packer->skip = pays ? 0 : MIN (packer->skip * 2 + 1, SKIP_MAX);
    packer->n_skip = packer->skip;
    return pays ? n : 0;
}

void
gw_packer_pack (GwPacker *packer, gsize len, gboolean may_compress)
{
    g_assert (packer->n_pending == 0 && len > 0 && len <= GW_PACK_BLOCK);
    gboolean is_tried = may_compress && len >= SMALL_BYTES && packer->zstd != NULL;
    gsize n = is_tried ? compress (packer, len) : 0;
    uint8_t *block = n > 0 ? packer->packed : packer->plain;
    put_head (block, n > 0 ? KIND_ZSTD : KIND_RAW, n > 0 ? n : len, len);
    packer->pending = block;
    packer->n_pending = GW_PACK_HEAD + (n > 0 ? n : len);
}

const uint8_t *
gw_packer_peek (const GwPacker *packer, gsize *ret_len)
{
    *ret_len = packer->n_pending;
    return packer->pending;
}

void
gw_packer_consume (GwPacker *packer, gsize len)
{
    g_assert (len <= packer->n_pending);
    packer->pending += len;
    packer->n_pending -= len;
}

/* --- inwards ------------------------------------------------------------------------------------- */

GwUnpacker *
gw_unpacker_new (void)
{
    GwUnpacker *unpacker = g_new0 (GwUnpacker, 1);
    unpacker->zstd = ZSTD_createDCtx ();
    unpacker->pending = unpacker->plain;
    return unpacker;
}

void
gw_unpacker_free (GwUnpacker *unpacker)
{
    if (unpacker != NULL)
        (void) ZSTD_freeDCtx (unpacker->zstd); /* always 0 */
    g_free (unpacker);
}

typedef struct {
    guint kind;
    gsize payload, plain;
} Head;

static Head
read_head (const GwUnpacker *unpacker)
{
    return (Head) { unpacker->block[0], gw_load_be32 (unpacker->block) & 0xffffff,
                    gw_load_be32 (unpacker->block + 4) };
}

static gboolean
check_head (const Head *head, GError **error)
{
    gboolean fits = head->plain >= 1 && head->plain <= GW_PACK_BLOCK && head->payload >= 1 &&
                    (head->kind == KIND_RAW ? head->payload == head->plain
                                            : head->payload < head->plain);
    if (head->kind < N_KINDS && fits)
        return TRUE;
    return gw_fail (error, GW_CAUSE_LINK_LOST,
                    "a packed block of kind %u has %" G_GSIZE_FORMAT " bytes for %" G_GSIZE_FORMAT,
                    head->kind, head->payload, head->plain);
}

static gboolean
unpack (GwUnpacker *unpacker, const Head *head, GError **error)
{
    const uint8_t *payload = unpacker->block + GW_PACK_HEAD;
    unpacker->n_block = 0;
    unpacker->pending = payload;
    if (head->kind == KIND_ZSTD) {
        gsize n = ZSTD_decompressDCtx (unpacker->zstd, unpacker->plain, head->plain, payload,
                                       head->payload);
        if (ZSTD_isError (n) || n != head->plain)
            return gw_fail (error, GW_CAUSE_LINK_LOST, "a packed block is damaged: %s",
                            ZSTD_isError (n) ? ZSTD_getErrorName (n) : "it is too short");
        unpacker->pending = unpacker->plain;
    }
    unpacker->n_pending = head->plain;
    return TRUE;
}

/* Appends until the block has `wanted` bytes. */
static void
append (GwUnpacker *unpacker, gsize wanted, const uint8_t *data, gsize len, gsize *taken)
{
    gsize n = MIN (wanted - unpacker->n_block, len - *taken);
    memcpy (unpacker->block + unpacker->n_block, data + *taken, n);
    unpacker->n_block += n;
    *taken += n;
}

gboolean
gw_unpacker_put (GwUnpacker *unpacker, const uint8_t *data, gsize len, gsize *ret_taken,
                 GError **error)
{
    *ret_taken = 0;
    if (unpacker->n_pending > 0)
        return TRUE;
    if (unpacker->n_block < GW_PACK_HEAD)
        append (unpacker, GW_PACK_HEAD, data, len, ret_taken);
    if (unpacker->n_block < GW_PACK_HEAD)
        return TRUE;
    Head head = read_head (unpacker);
    if (!check_head (&head, error))
        return FALSE;
    append (unpacker, GW_PACK_HEAD + head.payload, data, len, ret_taken);
    return unpacker->n_block < GW_PACK_HEAD + head.payload || unpack (unpacker, &head, error);
}

const uint8_t *
gw_unpacker_peek (const GwUnpacker *unpacker, gsize *ret_len)
{
    *ret_len = unpacker->n_pending;
    return unpacker->pending;
}

void
gw_unpacker_consume (GwUnpacker *unpacker, gsize len)
{
    g_assert (len <= unpacker->n_pending);
    unpacker->pending += len;
    unpacker->n_pending -= len;
}

gboolean
gw_unpacker_is_between_blocks (const GwUnpacker *unpacker)
{
    return unpacker->n_block == 0;
}
