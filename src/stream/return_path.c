/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The return path: framed messages, and one bitmap that stands outside of its frame. */
#include "internal.h"

#include <string.h>

#define HEAD_BYTES 4u

struct _GwReturnReader {
    GwPush push;
    GwReturnSink sink;
    gpointer user_data;
    gsize max_bitmap_bytes;
    char block[256]; /* of the last REQ_PAGES_ID; "" when none */
};

typedef struct {
    unsigned number;
    gsize least, most;
} MessageRow;

static const MessageRow rows[] = {
#define X(id, number, name, least, most) { number, least, most },
#include "return_path.def"
#undef X
};

static gssize bad (GwReturnReader *r, GError **error, GwCause cause, gsize at, const char *format,
                   ...) G_GNUC_PRINTF (5, 6);

static gssize
bad (GwReturnReader *r, GError **error, GwCause cause, gsize at, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autofree char *what = g_strdup_vprintf (format, args);
    va_end (args);
    gw_fail (error, cause, "return path, offset %" G_GUINT64_FORMAT ": %s", r->push.offset + at,
             what);
    return GW_STEP_FAILED;
}

/* The bytes that follow the frame; GW_STEP_MORE, GW_STEP_FAILED or 1. */
static gssize
take_bitmap (GwReturnReader *r, const uint8_t *p, gsize avail, gsize *len, GwReturnRecord *record,
             GError **error)
{
    gsize head = *len + 8;
    if (avail < head)
        return gw_push_need (&r->push, head, head);
    uint64_t size = gw_load_be64 (p + *len);
    if (size == 0 || size % 8 != 0 || size > r->max_bitmap_bytes)
        return bad (r, error, GW_CAUSE_STREAM_LIMIT, *len,
                    "expected a bitmap of whole words, at most %zu bytes, found %" G_GUINT64_FORMAT,
                    r->max_bitmap_bytes, size);
    gsize total = head + (gsize) size + 8;
    if (avail < total)
        return gw_push_need (&r->push, total, total);
    if (gw_load_be64 (p + total - 8) != GW_RETURN_BITMAP_END)
        return bad (r, error, GW_CAUSE_STREAM_RETURN_PATH, total - 8,
                    "expected the bitmap's end mark, found 0x%016" G_GINT64_MODIFIER "x",
                    gw_load_be64 (p + total - 8));
    record->bitmap = p + head;
    record->bitmap_length = (gsize) size;
    *len = total;
    return 1;
}

/* The name at the end of a frame whose first `fixed` bytes and length byte are there. */
static gboolean
take_name (GwReturnReader *r, const uint8_t *payload, gsize len, gsize fixed, char out[static 256],
           GError **error)
{
    gsize n = payload[fixed];
    if (n == 0 || len != fixed + 1 + n || !gw_stream_is_printable (payload + fixed + 1, n))
        return bad (r, error, GW_CAUSE_STREAM_RETURN_PATH, HEAD_BYTES + fixed,
                    "expected a block name that fills the message, found %zu bytes of %zu", n,
                    len - fixed - 1)
               != GW_STEP_FAILED;
    gw_stream_copy_name (out, payload + fixed + 1, n);
    return TRUE;
}

static gboolean
take_request (GwReturnReader *r, const uint8_t *payload, gsize len, GwReturnRecord *record,
              GError **error)
{
    if (record->type == GW_RETURN_REQ_PAGES_ID && !take_name (r, payload, len, 12, r->block, error))
        return FALSE;
    if (r->block[0] == '\0')
        return bad (r, error, GW_CAUSE_STREAM_RETURN_PATH, 0,
                    "expected the block of a page request, found none so far")
               != GW_STEP_FAILED;
    record->start = gw_load_be64 (payload);
    record->wanted = gw_load_be32 (payload + 8);
    record->block = r->block;
    return TRUE;
}

static gssize
emit (GwReturnReader *r, GwReturnRecord *record, gsize len, GError **error)
{
    record->offset = r->push.offset;
    record->length = len;
    return r->sink (record, r->user_data, error) ? (gssize) len : GW_STEP_FAILED;
}

static gssize
step_message (GwReturnReader *r, const uint8_t *p, gsize avail, gsize len, GError **error)
{
    GwReturnRecord record = { .type = gw_load_be16 (p) };
    const uint8_t *payload = p + HEAD_BYTES;
    gsize total = HEAD_BYTES + len;
    char block[256];
    switch (record.type) {
    case GW_RETURN_REQ_PAGES_ID:
    case GW_RETURN_REQ_PAGES:
        if (!take_request (r, payload, len, &record, error))
            return GW_STEP_FAILED;
        break;
    case GW_RETURN_RECV_BITMAP:
        if (!take_name (r, payload, len, 0, block, error))
            return GW_STEP_FAILED;
        record.block = block;
        gssize taken = take_bitmap (r, p, avail, &total, &record, error);
        if (taken <= 0)
            return taken;
        break;
    case GW_RETURN_SWITCHOVER_ACK:
        break;
    default:
        record.value = gw_load_be32 (payload);
    }
    return emit (r, &record, total, error);
}

static gssize
step_return (gpointer reader, const uint8_t *p, gsize avail, GError **error)
{
    GwReturnReader *r = reader;
    if (avail < HEAD_BYTES)
        return gw_push_need (&r->push, HEAD_BYTES, HEAD_BYTES);
    unsigned type = gw_load_be16 (p);
    gsize len = gw_load_be16 (p + 2);
    if (type < 1 || type > G_N_ELEMENTS (rows))
        return bad (r, error, GW_CAUSE_STREAM_RETURN_PATH, 0,
                    "expected a message of type 1 to %zu, found %u", G_N_ELEMENTS (rows), type);
    const MessageRow *row = &rows[type - 1];
    if (len < row->least || len > row->most)
        return bad (r, error, GW_CAUSE_STREAM_RETURN_PATH, 2,
                    "expected '%s' of %zu to %zu bytes, found %zu", gw_return_message_name (type),
                    row->least, row->most, len);
    if (avail < HEAD_BYTES + len)
        return gw_push_need (&r->push, HEAD_BYTES + len, HEAD_BYTES + len);
    return step_message (r, p, avail, len, error);
}

GwReturnReader *
gw_return_reader_new (const GwStreamParams *params, GwReturnSink sink, gpointer user_data)
{
    GwReturnReader *r = g_new0 (GwReturnReader, 1);
    r->sink = sink;
    r->user_data = user_data;
    r->max_bitmap_bytes = params->max_bitmap_bytes;
    gw_push_init (&r->push, step_return, r);
    return r;
}

void
gw_return_reader_free (GwReturnReader *r)
{
    if (r == NULL)
        return;
    gw_push_clear (&r->push);
    g_free (r);
}

gboolean
gw_return_reader_push (GwReturnReader *r, const uint8_t *data, gsize len, GError **error)
{
    return gw_push_feed (&r->push, data, len, error);
}

gboolean
gw_return_reader_finish (GwReturnReader *r, GError **error)
{
    if (r->push.failed == NULL && r->push.carry->len > 0)
        bad (r, &r->push.failed, GW_CAUSE_STREAM_TRUNCATED, r->push.carry->len,
             "expected %zu bytes of a message, found only %u", r->push.need, r->push.carry->len);
    if (r->push.failed == NULL)
        return TRUE;
    g_propagate_error (error, g_error_copy (r->push.failed));
    return FALSE;
}

uint64_t
gw_return_reader_get_offset (const GwReturnReader *r)
{
    return r->push.offset;
}

/* --- writing ----------------------------------------------------------------------------------- */

static gsize
payload_length (const GwReturnRecord *record)
{
    switch (record->type) {
    case GW_RETURN_REQ_PAGES_ID:
        return 13 + strlen (record->block);
    case GW_RETURN_REQ_PAGES:
        return 12;
    case GW_RETURN_RECV_BITMAP:
        return 1 + strlen (record->block);
    case GW_RETURN_SWITCHOVER_ACK:
        return 0;
    default:
        return 4;
    }
}

static void
put_name (uint8_t *p, const char *name)
{
    p[0] = (uint8_t) strlen (name);
    memcpy (p + 1, name, p[0]);
}

static void
put_bitmap (GByteArray *out, const GwReturnRecord *record)
{
    uint8_t word[8];
    gw_store_be64 (word, record->bitmap_length);
    g_byte_array_append (out, word, 8);
    g_byte_array_append (out, record->bitmap, (guint) record->bitmap_length);
    gw_store_be64 (word, GW_RETURN_BITMAP_END);
    g_byte_array_append (out, word, 8);
}

void
gw_return_put_record (GByteArray *out, const GwReturnRecord *record)
{
    uint8_t frame[HEAD_BYTES + 512];
    gsize len = payload_length (record);
    g_assert (len <= 512);
    gw_store_be16 (frame, record->type);
    gw_store_be16 (frame + 2, (uint16_t) len);
    if (record->type == GW_RETURN_REQ_PAGES_ID || record->type == GW_RETURN_REQ_PAGES) {
        gw_store_be64 (frame + HEAD_BYTES, record->start);
        gw_store_be32 (frame + HEAD_BYTES + 8, record->wanted);
    } else if (len == 4 && record->type != GW_RETURN_RECV_BITMAP) {
        gw_store_be32 (frame + HEAD_BYTES, record->value);
    }
    if (record->type == GW_RETURN_REQ_PAGES_ID)
        put_name (frame + HEAD_BYTES + 12, record->block);
    if (record->type == GW_RETURN_RECV_BITMAP)
        put_name (frame + HEAD_BYTES, record->block);
    g_byte_array_append (out, frame, (guint) (HEAD_BYTES + len));
    if (record->type == GW_RETURN_RECV_BITMAP)
        put_bitmap (out, record);
}
