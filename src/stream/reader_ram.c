/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* RAM sections: the block list and the page records.  step_ram is the hot path of the courier. */
#include "internal.h"

#include <string.h>

#define MAPPED_VERSION 1u
#define MAPPED_BYTES 28u
#define XBZRLE_ENCODING 0x01u

/* --- blocks ------------------------------------------------------------------------------------ */

GwStreamBlock *
gw_reader_add_block (GwStreamReader *r, const char *name, gsize len)
{
    if (r->blocks->len >= GW_STREAM_BLOCKS_MAX)
        return NULL;
    GwStreamBlock *block = g_new0 (GwStreamBlock, 1);
    block->index = r->blocks->len;
    block->name = g_strndup (name, len);
    block->name_length = len;
    g_ptr_array_add (r->blocks, block);
    g_hash_table_insert (r->block_names, block->name, block);
    return block;
}

gboolean
gw_stream_reader_add_block (GwStreamReader *r, const char *name, uint64_t used_length,
                            GError **error)
{
    GwStreamBlock *block = gw_reader_add_block (r, name, strlen (name));
    if (block == NULL)
        return gw_fail (error, GW_CAUSE_STREAM_LIMIT, "expected at most %u RAM blocks",
                        GW_STREAM_BLOCKS_MAX);
    block->used_length = used_length;
    return TRUE;
}

/* The block with that name.  Channels that never show a block list learn the names as they come. */
static const GwStreamBlock *
find_block (GwStreamReader *r, const uint8_t *p, gsize len)
{
    char name[256];
    if (r->block != NULL && r->block->name_length == len && memcmp (r->block->name, p, len) == 0)
        return r->block;
    if (memchr (p, '\0', len) != NULL)
        return NULL;
    gw_stream_copy_name (name, p, len);
    const GwStreamBlock *block = g_hash_table_lookup (r->block_names, name);
    if (block == NULL && r->params.kind != GW_STREAM_MAIN && len > 0
        && gw_stream_is_printable (p, len))
        block = gw_reader_add_block (r, name, len);
    return block;
}

/* --- pages ------------------------------------------------------------------------------------- */

/* A page record's parts: where its payload starts, how long it is, what it is. */
typedef struct {
    GwStreamRecord record;
    gsize head;    /* bytes before the payload */
    gsize payload; /* bytes of it */
} PageRecord;

static gboolean
take_block (GwStreamReader *r, const uint8_t *p, PageRecord *page, GError **error)
{
    const GwStreamBlock *block = r->block;
    if (!page->record.ram.is_continued) {
        block = find_block (r, p + 9, p[8]);
        page->head += 1 + (gsize) p[8];
    }
    if (block == NULL) {
        g_autofree char *name = page->record.ram.is_continued
                                    ? g_strdup ("none yet")
                                    : gw_text_clean ((const char *) p + 9, p[8], 255);
        gw_reader_bad (r, error, GW_CAUSE_STREAM_BLOCK, 8, "expected a known RAM block, found '%s'",
                       name);
        return FALSE;
    }
    if (block->used_length > 0
        && (page->record.ram.offset >= block->used_length
            || block->used_length - page->record.ram.offset <= r->page_mask)) {
        gw_reader_bad (r, error, GW_CAUSE_STREAM_BLOCK, 0,
                       "expected a page within the 0x%" G_GINT64_MODIFIER
                       "x bytes of block '%s', found offset 0x%" G_GINT64_MODIFIER "x",
                       block->used_length, block->name, page->record.ram.offset);
        return FALSE;
    }
    page->record.ram.block = block;
    return TRUE;
}

/* Bytes between the block's name and the payload. */
static gsize
extra_head (uint64_t flags)
{
    switch (flags) {
    case GW_RAM_ZERO:
        return 1;
    case GW_RAM_XBZRLE:
        return 3;
    case GW_RAM_COMPRESS:
        return 4;
    default:
        return 0;
    }
}

/* The payload's length, from the head that is all there; FALSE with an error. */
static gboolean
take_length (GwStreamReader *r, const uint8_t *p, uint64_t flags, PageRecord *page, GError **error)
{
    gsize page_size = (gsize) r->page_mask + 1;
    gsize most = page_size;
    page->payload = flags == GW_RAM_PAGE ? page_size : 0;
    if (flags == GW_RAM_XBZRLE) {
        if (p[page->head - 3] != XBZRLE_ENCODING) {
            gw_reader_bad (r, error, GW_CAUSE_STREAM_XBZRLE, page->head - 3,
                           "expected encoding 0x01, found 0x%02x", p[page->head - 3]);
            return FALSE;
        }
        page->payload = gw_load_be16 (p + page->head - 2);
    } else if (flags == GW_RAM_COMPRESS) {
        page->payload = gw_load_be32 (p + page->head - 4);
        most = page_size + page_size / 1000 + 64; /* zlib's bound, generously */
    }
    if (page->payload <= most)
        return TRUE;
    gw_reader_bad (r, error, GW_CAUSE_STREAM_LIMIT, page->head,
                   "expected at most %zu bytes for a page, found %zu", most, page->payload);
    return FALSE;
}

static GwStreamRecordType
page_type (uint64_t flags)
{
    switch (flags) {
    case GW_RAM_ZERO:
        return GW_STREAM_RAM_ZERO;
    case GW_RAM_XBZRLE:
        return GW_STREAM_RAM_XBZRLE;
    case GW_RAM_COMPRESS:
        return GW_STREAM_RAM_COMPRESSED;
    default:
        return GW_STREAM_RAM_PAGE;
    }
}

static gssize
step_page (GwStreamReader *r, const uint8_t *p, gsize avail, uint64_t word, GError **error)
{
    PageRecord page = { .head = 8 };
    uint64_t flags = word & r->page_mask & ~(uint64_t) GW_RAM_CONTINUE;
    page.record.ram.offset = word & ~(uint64_t) r->page_mask;
    page.record.ram.is_continued = (word & GW_RAM_CONTINUE) != 0;
    gsize names = page.record.ram.is_continued ? 0 : 1;
    if (avail < 8 + names)
        return gw_reader_need (r, 8 + names);
    gsize head = 8 + names + (names > 0 ? p[8] : 0) + extra_head (flags);
    if (avail < head)
        return gw_reader_need (r, head);
    if (!take_block (r, p, &page, error))
        return GW_STEP_FAILED;
    page.head = head;
    if (!take_length (r, p, flags, &page, error))
        return GW_STEP_FAILED;
    if (avail < head + page.payload)
        return gw_reader_need (r, head + page.payload);
    if (flags == GW_RAM_ZERO)
        page.record.ram.fill = p[head - 1];
    page.record.data = p + head;
    page.record.data_length = page.payload;
    r->block = page.record.ram.block;
    return gw_reader_emit (r, &page.record, page_type (flags), head + page.payload, error);
}

/* --- bare records ------------------------------------------------------------------------------ */

static gssize
step_list (GwStreamReader *r, uint64_t total, GError **error)
{
    GwStreamRecord record = { .ram.total = total };
    if (r->params.kind == GW_STREAM_PREEMPT)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_ORDER, 0,
                              "expected a page, found a block list");
    if (r->blocks->len > 0 && r->params.kind == GW_STREAM_MAIN)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_ORDER, 0,
                              "expected a page, found a second block list");
    r->left_bytes = total;
    if (total > 0)
        gw_machine_move (&r->machine, GW_READ_RAM_BLOCKS);
    return gw_reader_emit (r, &record, GW_STREAM_RAM_LIST, 8, error);
}

static gssize
step_eos (GwStreamReader *r, GError **error)
{
    GwStreamRecord record = { 0 };
    gssize emitted = gw_reader_emit (r, &record, GW_STREAM_RAM_EOS, 8, error);
    if (r->params.kind != GW_STREAM_PREEMPT)
        gw_reader_end_body (r);
    return emitted;
}

gssize
gw_reader_step_ram (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    GwStreamRecord record = { 0 };
    if (avail < 8)
        return gw_reader_need (r, 8);
    uint64_t word = gw_load_be64 (p);
    uint64_t flags = word & r->page_mask;
    switch (flags & ~(uint64_t) GW_RAM_CONTINUE) {
    case GW_RAM_PAGE:
    case GW_RAM_ZERO:
    case GW_RAM_XBZRLE:
    case GW_RAM_COMPRESS:
        return step_page (r, p, avail, word, error);
    default:
        break;
    }
    if (flags == GW_RAM_MEM_SIZE)
        return step_list (r, word - flags, error);
    if (word == GW_RAM_EOS)
        return step_eos (r, error);
    if (word == GW_RAM_FLUSH)
        return gw_reader_emit (r, &record, GW_STREAM_RAM_FLUSH, 8, error);
    return gw_reader_bad (r, error, GW_CAUSE_STREAM_RAM, 0,
                          "expected a RAM record, found flags 0x%03x of 0x%016" G_GINT64_MODIFIER
                          "x", (unsigned) flags, word);
}

/* --- the block list ---------------------------------------------------------------------------- */

static gboolean
is_page_size (const GwStreamReader *r, uint64_t word)
{
    return word != 0 && (word & r->page_mask) == 0 && (word & (word - 1)) == 0;
}

/* Is there a page-size word at `p`?  What else can stand there is a name, which is not empty, or,
 * after the last block, a RAM record, which has a flag.  1 yes, 0 no, -1 more bytes would tell. */
static int
has_page_size (const GwStreamReader *r, const uint8_t *p, gsize avail, uint64_t left)
{
    if (!r->has_page_sizes)
        return 0;
    if (avail == 0)
        return -1;
    if (left > 0 && p[0] != 0)
        return 0;
    return avail < 8 ? -1 : is_page_size (r, gw_load_be64 (p));
}

static gboolean
check_mapped (GwStreamReader *r, const uint8_t *p, gsize at, const GwStreamBlock *block,
              GError **error)
{
    uint64_t end, after = r->push.offset + at + MAPPED_BYTES;
    uint32_t version = gw_load_be32 (p);
    if (version != MAPPED_VERSION)
        gw_reader_bad (r, error, GW_CAUSE_STREAM_RAM, at,
                       "expected version %u of a mapped-ram header, found %u", MAPPED_VERSION,
                       version);
    else if (gw_load_be64 (p + 4) != (uint64_t) r->page_mask + 1)
        gw_reader_bad (r, error, GW_CAUSE_STREAM_RAM, at + 4,
                       "expected page size %u, found %" G_GUINT64_FORMAT, r->page_mask + 1,
                       gw_load_be64 (p + 4));
    else if (block->pages_offset > 0
             && (block->bitmap_offset < after || block->pages_offset < block->bitmap_offset
                 || !g_uint64_checked_add (&end, block->pages_offset, block->used_length)))
        gw_reader_bad (r, error, GW_CAUSE_STREAM_RAM, at + 12,
                       "expected a bitmap and pages after offset %" G_GUINT64_FORMAT
                       ", found %" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT,
                       after, block->bitmap_offset, block->pages_offset);
    else
        return TRUE;
    return FALSE;
}

/* The optional words at `p + *pos`.  GW_STEP_MORE, GW_STEP_FAILED, or 1. */
static gssize
take_words (GwStreamReader *r, const uint8_t *p, gsize avail, GwStreamBlock *block, gsize *pos,
            GError **error)
{
    int sized = has_page_size (r, p + *pos, avail - *pos, r->left_bytes - block->used_length);
    if (sized < 0)
        return gw_reader_need (r, avail == *pos ? *pos + 1 : *pos + 8);
    block->has_page_size = sized > 0;
    block->has_address = r->has_ignore_shared;
    block->has_mapped = r->has_mapped_ram;
    gsize need = *pos + (block->has_page_size ? 8 : 0) + (block->has_address ? 8 : 0)
                 + (block->has_mapped ? MAPPED_BYTES : 0);
    if (avail < need)
        return gw_reader_need (r, need);
    if (block->has_page_size) {
        block->page_size = gw_load_be64 (p + *pos);
        *pos += 8;
    }
    if (block->has_address) {
        block->address = gw_load_be64 (p + *pos);
        *pos += 8;
    }
    if (!block->has_mapped)
        return 1;
    block->bitmap_offset = gw_load_be64 (p + *pos + 12);
    block->pages_offset = gw_load_be64 (p + *pos + 20);
    if (!check_mapped (r, p + *pos, *pos, block, error))
        return GW_STEP_FAILED;
    *pos += MAPPED_BYTES;
    return 1;
}

static gboolean
check_block (GwStreamReader *r, const uint8_t *p, gsize n, GError **error)
{
    char name[256];
    gw_stream_copy_name (name, p + 1, n);
    uint64_t used = gw_load_be64 (p + 1 + n);
    if (!gw_stream_is_printable (p + 1, n))
        gw_reader_bad (r, error, GW_CAUSE_STREAM_BLOCK, 1, "expected a printable block name");
    else if (g_hash_table_contains (r->block_names, name))
        gw_reader_bad (r, error, GW_CAUSE_STREAM_BLOCK, 1,
                       "expected a new RAM block, found '%s' again", name);
    else if (used > r->left_bytes || (used & r->page_mask) != 0)
        gw_reader_bad (r, error, GW_CAUSE_STREAM_BLOCK, 1 + n,
                       "expected whole pages, at most %" G_GUINT64_FORMAT " bytes, found %"
                       G_GUINT64_FORMAT " in block '%s'", r->left_bytes, used, name);
    else
        return TRUE;
    return FALSE;
}

static gssize
emit_block (GwStreamReader *r, const uint8_t *name, gsize n, const GwStreamBlock *found,
            gsize len, GError **error)
{
    GwStreamRecord record = { 0 };
    GwStreamBlock *block = gw_reader_add_block (r, (const char *) name, n);
    if (block == NULL)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_LIMIT, 0, "expected at most %u RAM blocks",
                              GW_STREAM_BLOCKS_MAX);
    char *own_name = block->name;
    unsigned index = block->index;
    *block = *found;
    block->name = own_name;
    block->name_length = n;
    block->index = index;
    record.block = block;
    r->left_bytes -= block->used_length;
    if (block->has_mapped && block->pages_offset > 0) {
        r->mapped_end = block->pages_offset + block->used_length;
        gw_machine_move (&r->machine, GW_READ_RAM_MAPPED);
    } else if (r->left_bytes == 0) {
        gw_machine_move (&r->machine, GW_READ_RAM);
    }
    return gw_reader_emit (r, &record, GW_STREAM_RAM_BLOCK, len, error);
}

gssize
gw_reader_step_ram_block (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    GwStreamBlock block = { 0 };
    gsize n = p[0], pos = 1 + n + 8;
    if (n == 0)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_BLOCK, 0,
                              "expected the name of a RAM block (%" G_GUINT64_FORMAT
                              " bytes of RAM are still to be named), found none", r->left_bytes);
    if (avail < pos)
        return gw_reader_need (r, pos);
    if (!check_block (r, p, n, error))
        return GW_STEP_FAILED;
    block.used_length = gw_load_be64 (p + 1 + n);
    gssize taken = take_words (r, p, avail, &block, &pos, error);
    if (taken <= 0)
        return taken;
    return emit_block (r, p + 1, n, &block, pos, error);
}

/* The file's bytes from a mapped block's header to the end of its pages, in pieces that do not
 * depend on how they were pushed. */
gssize
gw_reader_step_mapped (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    GwStreamRecord record = { 0 };
    uint64_t left = r->mapped_end - r->push.offset;
    gsize len = (gsize) MIN (left, (uint64_t) r->page_mask + 1);
    if (avail < len)
        return gw_reader_need (r, len);
    record.ram.block = g_ptr_array_index (r->blocks, r->blocks->len - 1);
    record.ram.offset = r->push.offset;
    record.data = p;
    record.data_length = len;
    gssize emitted = gw_reader_emit (r, &record, GW_STREAM_RAM_MAPPED, len, error);
    if (left > len)
        return emitted;
    gw_machine_move (&r->machine, GW_READ_RAM_BLOCKS);
    if (r->left_bytes == 0)
        gw_machine_move (&r->machine, GW_READ_RAM);
    return emitted;
}
