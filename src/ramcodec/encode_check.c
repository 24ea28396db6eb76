/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The encoder's index as proof of what was sent. */
#include "encode.h"

#include <string.h>

static const GwStreamBlock *
find_block (const GwRamEncoder *e, const char *name)
{
    unsigned n = gw_stream_reader_get_n_blocks (e->reader);
    for (unsigned i = 0; i < n; i++) {
        const GwStreamBlock *block = gw_stream_reader_get_block (e->reader, i);
        if (strcmp (block->name, name) == 0)
            return block;
    }
    return NULL;
}

static gboolean
is_zero (const uint8_t *page, gsize len)
{
    return page[0] == 0 && memcmp (page, page + 1, len - 1) == 0;
}

GwRamVerdict
gw_ram_encoder_check (const GwRamEncoder *e, const char *name, uint64_t offset, const uint8_t *page)
{
    const GwStreamBlock *block = e->key != NULL ? find_block (e, name) : NULL;
    const GwRamEntry *entry = block != NULL ? gw_ram_index_peek (&e->index, block->index, offset)
                                            : NULL;
    gboolean is_same;
    if (entry == NULL || entry->state == GW_RAM_NEVER || entry->state == GW_RAM_LOST)
        return GW_RAM_UNKNOWN;
    if (entry->state == GW_RAM_ZEROED)
        is_same = is_zero (page, e->params.page_size);
    else
        is_same = gw_ram_hash_equal (entry->hash, gw_ram_hash (e->key, page));
    return is_same ? GW_RAM_SAME : GW_RAM_DIFFERENT;
}
