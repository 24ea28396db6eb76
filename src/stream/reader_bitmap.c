/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chunks of section "dirty-bitmap" (migration/block-dirty-bitmap.c). */
#include "internal.h"

#include <string.h>

/* One of these is what a chunk is about; EOS stands alone. */
#define KINDS (GW_BITMAP_START | GW_BITMAP_COMPLETE | GW_BITMAP_BITS)

static gboolean
flags_are_valid (unsigned flags)
{
    unsigned kind = flags & KINDS;
    if (flags & GW_BITMAP_EXTENDED)
        return FALSE;
    if (flags & GW_BITMAP_EOS)
        return flags == GW_BITMAP_EOS;
    if ((flags & GW_BITMAP_ZEROES) && kind != GW_BITMAP_BITS)
        return FALSE;
    return kind != 0 && (kind & (kind - 1)) == 0;
}

/* The name at `p + *pos` when `is_there`; GW_STEP_MORE or 1. */
static gssize
take_name (GwStreamReader *r, const uint8_t *p, gsize avail, gboolean is_there, gsize *pos)
{
    if (!is_there)
        return 1;
    if (avail < *pos + 1)
        return gw_reader_need (r, *pos + 1);
    gsize end = *pos + 1 + p[*pos];
    if (avail < end)
        return gw_reader_need (r, end);
    *pos = end;
    return 1;
}

static gssize
take_start (GwStreamReader *r, const uint8_t *p, gsize avail, gsize *pos, GwStreamRecord *record)
{
    if (avail < *pos + 5)
        return gw_reader_need (r, *pos + 5);
    record->bitmap.granularity = gw_load_be32 (p + *pos);
    record->bitmap.start_flags = p[*pos + 4];
    *pos += 5;
    return 1;
}

static gssize
take_bits (GwStreamReader *r, const uint8_t *p, gsize avail, gsize *pos, GwStreamRecord *record,
           GError **error)
{
    gboolean has_bytes = (record->bitmap.flags & GW_BITMAP_ZEROES) == 0;
    gsize need = *pos + 12 + (has_bytes ? 8 : 0);
    if (avail < need)
        return gw_reader_need (r, need);
    record->bitmap.start_sector = gw_load_be64 (p + *pos);
    record->bitmap.n_sectors = gw_load_be32 (p + *pos + 8);
    *pos = need;
    if (!has_bytes)
        return 1;
    uint64_t size = gw_load_be64 (p + need - 8);
    if (size == 0 || size > GW_STREAM_BITMAP_CHUNK_MAX)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_LIMIT, need - 8,
                              "expected 1 to %u bytes of bitmap, found %" G_GUINT64_FORMAT,
                              GW_STREAM_BITMAP_CHUNK_MAX, size);
    if (avail < need + size)
        return gw_reader_need (r, need + (gsize) size);
    record->data = p + need;
    record->data_length = (gsize) size;
    *pos = need + (gsize) size;
    return 1;
}

static gssize
take_body (GwStreamReader *r, const uint8_t *p, gsize avail, gsize *pos, GwStreamRecord *record,
           GError **error)
{
    if (record->bitmap.flags & GW_BITMAP_START)
        return take_start (r, p, avail, pos, record);
    if (record->bitmap.flags & GW_BITMAP_BITS)
        return take_bits (r, p, avail, pos, record, error);
    return 1;
}

/* A name's length byte is at `p + *pos`.  Names are UTF-8, so that only NUL is impossible. */
static gboolean
keep_name (GwStreamReader *r, const uint8_t *p, gsize *pos, char out[static 256], GError **error)
{
    gsize n = p[*pos];
    if (n == 0 || memchr (p + *pos + 1, '\0', n) != NULL) {
        gw_reader_bad (r, error, GW_CAUSE_STREAM_BITMAP, *pos,
                       "expected the name of a node or bitmap, found %zu bytes that are none", n);
        return FALSE;
    }
    gw_stream_copy_name (out, p + *pos + 1, n);
    *pos += 1 + n;
    return TRUE;
}

static gboolean
keep_names (GwStreamReader *r, const uint8_t *p, unsigned flags, GError **error)
{
    gsize pos = 1;
    if ((flags & GW_BITMAP_DEVICE_NAME) && !keep_name (r, p, &pos, r->bitmap_node, error))
        return FALSE;
    if ((flags & GW_BITMAP_BITMAP_NAME) && !keep_name (r, p, &pos, r->bitmap_name, error))
        return FALSE;
    if (flags == GW_BITMAP_EOS || (r->bitmap_node[0] != '\0' && r->bitmap_name[0] != '\0'))
        return TRUE;
    gw_reader_bad (r, error, GW_CAUSE_STREAM_BITMAP, 0,
                   "expected the names of a node and a bitmap, found none (flags 0x%02x)", flags);
    return FALSE;
}

gssize
gw_reader_step_bitmap (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    GwStreamRecord record = { .bitmap.flags = p[0] };
    unsigned flags = p[0];
    gsize pos = 1;
    gssize taken;
    if (!flags_are_valid (flags))
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_BITMAP, 0,
                              "expected the flags of a bitmap chunk, found 0x%02x", flags);
    if ((taken = take_name (r, p, avail, flags & GW_BITMAP_DEVICE_NAME, &pos)) <= 0
        || (taken = take_name (r, p, avail, flags & GW_BITMAP_BITMAP_NAME, &pos)) <= 0
        || (taken = take_body (r, p, avail, &pos, &record, error)) <= 0)
        return taken;
    if (!keep_names (r, p, flags, error))
        return GW_STEP_FAILED;
    record.bitmap.node = r->bitmap_node;
    record.bitmap.name = r->bitmap_name;
    gssize emitted = gw_reader_emit (r, &record, GW_STREAM_BITMAP, pos, error);
    if (flags == GW_BITMAP_EOS)
        gw_reader_end_body (r);
    return emitted;
}
