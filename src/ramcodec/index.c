/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was last sent for each page: an array a block, in chunks that are allocated when first used. */
#include "internal.h"

#define CHUNK 1024u /* entries */
#define CHUNK_BYTES (CHUNK * sizeof (GwRamEntry))

typedef struct {
    uint64_t n_chunks;
    GwRamEntry *chunks[];
} Block;

static void
free_block (gpointer data)
{
    Block *block = data;
    if (block == NULL)
        return;
    for (uint64_t i = 0; i < block->n_chunks; i++)
        g_free (block->chunks[i]);
    g_free (block);
}

void
gw_ram_index_init (GwRamIndex *index, unsigned page_bits, uint64_t max_bytes)
{
    *index = (GwRamIndex){ .blocks = g_ptr_array_new_with_free_func (free_block),
                           .max_bytes = max_bytes, .page_bits = page_bits };
}

void
gw_ram_index_clear (GwRamIndex *index)
{
    g_clear_pointer (&index->blocks, g_ptr_array_unref);
    index->used_bytes = 0;
}

static uint64_t
count_chunks (unsigned page_bits, uint64_t bytes)
{
    uint64_t pages = (bytes >> page_bits) + ((bytes & (((uint64_t) 1 << page_bits) - 1)) != 0);
    return (pages + CHUNK - 1) / CHUNK;
}

uint64_t
gw_ram_index_measure (unsigned page_bits, uint64_t bytes)
{
    return count_chunks (page_bits, bytes) * (CHUNK_BYTES + sizeof (GwRamEntry *));
}

/* FALSE when `bytes` more would be too much. */
static gboolean
charge (GwRamIndex *index, uint64_t bytes)
{
    if (bytes > index->max_bytes - index->used_bytes)
        return FALSE;
    index->used_bytes += bytes;
    return TRUE;
}

void
gw_ram_index_add_block (GwRamIndex *index, unsigned number, uint64_t used_length)
{
    uint64_t n = count_chunks (index->page_bits, used_length);
    uint64_t room = (index->max_bytes - index->used_bytes) / sizeof (GwRamEntry *);
    if (number >= GW_STREAM_BLOCKS_MAX)
        return;
    while (index->blocks->len <= number)
        g_ptr_array_add (index->blocks, NULL);
    if (n == 0 || n > room || index->blocks->pdata[number] != NULL)
        return;
    Block *block = g_try_malloc0 (sizeof *block + n * sizeof (GwRamEntry *));
    if (block == NULL || !charge (index, n * sizeof (GwRamEntry *))) {
        g_free (block);
        return;
    }
    block->n_chunks = n;
    index->blocks->pdata[number] = block;
}

/* Where the pointer to the chunk of a page is, or NULL. */
static GwRamEntry **
find_chunk (const GwRamIndex *index, unsigned number, uint64_t page)
{
    if (number >= index->blocks->len)
        return NULL;
    Block *block = g_ptr_array_index (index->blocks, number);
    return block != NULL && page / CHUNK < block->n_chunks ? &block->chunks[page / CHUNK] : NULL;
}

static GwRamEntry *
new_chunk (GwRamIndex *index)
{
    if (CHUNK_BYTES > index->max_bytes - index->used_bytes)
        return NULL;
    GwRamEntry *chunk = g_try_malloc0 (CHUNK_BYTES);
    if (chunk == NULL)
        return NULL;
    index->used_bytes += CHUNK_BYTES;
    for (guint i = 0; i < CHUNK; i++)
        chunk[i].slot = GW_RAM_NO_SLOT;
    return chunk;
}

GwRamEntry *
gw_ram_index_get (GwRamIndex *index, unsigned number, uint64_t offset, gboolean creates)
{
    uint64_t page = offset >> index->page_bits;
    GwRamEntry **chunk = find_chunk (index, number, page);
    if (chunk == NULL)
        return NULL;
    if (*chunk == NULL && creates)
        *chunk = new_chunk (index);
    return *chunk != NULL ? *chunk + page % CHUNK : NULL;
}

const GwRamEntry *
gw_ram_index_peek (const GwRamIndex *index, unsigned number, uint64_t offset)
{
    uint64_t page = offset >> index->page_bits;
    GwRamEntry **chunk = find_chunk (index, number, page);
    return chunk != NULL && *chunk != NULL ? *chunk + page % CHUNK : NULL;
}
