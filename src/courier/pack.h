/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pack: the bytes of a lane in blocks, each compressed where that pays.
 *
 * Theory
 * ------
 * A block is what one read of the program's socket gave, so nothing waits for more to come: a pipe that
 * runs dry is flushed by itself.  Blocks do not depend on each other; the memory of both sides is
 * two blocks and zstd's tables for one, whatever the peer sends.
 *
 *     0 raw, 1 zstd (1)   length of the payload (3)   length when unpacked (4)   payload ...
 *
 * A block is compressed only when its sender says that the link is what everybody waits for, and sent
 * as it is when that saves less than a sixteenth.  After blocks that did not get smaller a growing
 * number of others is not tried.
 *
 * Pure.
 */
#ifndef GW_PACK_H
#define GW_PACK_H

#include "base.h"

#define GW_PACK_HEAD 8u
#define GW_PACK_BLOCK (128u << 10) /* bytes of the program in a block, at most */

/* --- outwards ------------------------------------------------------------------------------------ */

typedef struct _GwPacker GwPacker;

GwPacker *gw_packer_new (void);
void gw_packer_free (GwPacker *packer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwPacker, gw_packer_free)

/* GW_PACK_BLOCK bytes to put the program's bytes into, while nothing is pending. */
uint8_t *gw_packer_get_room (GwPacker *packer);
/* Makes a block of the first `len` of them, 1 to GW_PACK_BLOCK. */
void gw_packer_pack (GwPacker *packer, gsize len, gboolean may_compress);
/* What is to be sent; 0 bytes when nothing is. */
const uint8_t *gw_packer_peek (const GwPacker *packer, gsize *ret_len);
void gw_packer_consume (GwPacker *packer, gsize len);

/* --- inwards ------------------------------------------------------------------------------------- */

typedef struct _GwUnpacker GwUnpacker;

GwUnpacker *gw_unpacker_new (void);
void gw_unpacker_free (GwUnpacker *unpacker);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwUnpacker, gw_unpacker_free)

/* Takes bytes that arrived, up to the end of a block, and says how many; none while bytes for the program
 * are pending.  FALSE with GW_CAUSE_LINK_LOST when they are no block: nothing more can be taken then. */
gboolean gw_unpacker_put (GwUnpacker *unpacker, const uint8_t *data, gsize len, gsize *ret_taken,
                          GError **error);
/* What the program gets; 0 bytes when nothing is pending. */
const uint8_t *gw_unpacker_peek (const GwUnpacker *unpacker, gsize *ret_len);
void gw_unpacker_consume (GwUnpacker *unpacker, gsize len);
/* Whether no block has begun and not ended. */
gboolean gw_unpacker_is_between_blocks (const GwUnpacker *unpacker);

#endif
