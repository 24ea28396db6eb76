/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A multifd channel: an init packet, then packets of pages (or of device state). */
#include "internal.h"

#include <string.h>

#define HEAD_BYTES 12u        /* magic, version, flags: tells how long the packet is */
#define OFFSETS_AT 320u       /* in a packet: be64 for each page */
#define NAME_AT 64u
#define DEVICE_HEAD_BYTES 276u
#define DEVICE_MAX (1u << 30) /* bytes of device state in one packet */

typedef enum { NEXT_INIT, NEXT_PACKET, NEXT_PAGES, NEXT_PIECES } Next;

struct _GwMultifdReader {
    GwPush push;
    GwMultifdSink sink;
    gpointer user_data;
    gsize page_size;
    gsize packet_bytes;     /* of a packet without its payload */
    uint8_t *head;          /* the last packet, for the records of its payload; packet_bytes */
    GwMachine machine;
    GwMultifdRecord parent; /* the last packet's record */
    unsigned page;          /* PAGES: index of the next */
    uint64_t left;          /* PIECES: bytes */
    GwMultifdRecordType piece_type;
};

#define N(state) (1u << NEXT_##state)
static const GwState states[] = {
    [NEXT_INIT] = { "init", N (PACKET), GW_STATE_INITIAL },
    [NEXT_PACKET] = { "packet", N (PAGES) | N (PIECES), 0 },
    [NEXT_PAGES] = { "pages", N (PACKET), 0 },
    [NEXT_PIECES] = { "pieces", N (PACKET), 0 },
};
static const GwMachineTable table = { "multifd-reader", states, G_N_ELEMENTS (states) };

static gssize bad (GwMultifdReader *r, GError **error, GwCause cause, gsize at, const char *format,
                   ...) G_GNUC_PRINTF (5, 6);

static gssize
bad (GwMultifdReader *r, GError **error, GwCause cause, gsize at, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autofree char *what = g_strdup_vprintf (format, args);
    va_end (args);
    gw_fail (error, cause, "multifd channel, offset %" G_GUINT64_FORMAT ": %s",
             r->push.offset + at, what);
    return GW_STEP_FAILED;
}

static gssize
emit (GwMultifdReader *r, GwMultifdRecord *record, GwMultifdRecordType type, gsize len,
      GError **error)
{
    record->type = type;
    record->offset = r->push.offset;
    record->length = len;
    return r->sink (record, r->user_data, error) ? (gssize) len : GW_STEP_FAILED;
}

static gssize
need (GwMultifdReader *r, gsize bytes)
{
    return gw_push_need (&r->push, bytes, bytes);
}

/* --- packets ----------------------------------------------------------------------------------- */

static gboolean
check_magic (GwMultifdReader *r, const uint8_t *p, GError **error)
{
    if (gw_load_be32 (p) == GW_MULTIFD_MAGIC && gw_load_be32 (p + 4) == GW_MULTIFD_VERSION)
        return TRUE;
    bad (r, error, GW_CAUSE_STREAM_MULTIFD, 0,
         "expected magic 0x%08x and version %u, found 0x%08x and %u", GW_MULTIFD_MAGIC,
         GW_MULTIFD_VERSION, gw_load_be32 (p), gw_load_be32 (p + 4));
    return FALSE;
}

static gssize
step_init (GwMultifdReader *r, const uint8_t *p, gsize avail, GError **error)
{
    GwMultifdRecord record = { 0 };
    if (avail < GW_MULTIFD_INIT_BYTES)
        return need (r, GW_MULTIFD_INIT_BYTES);
    if (!check_magic (r, p, error))
        return GW_STEP_FAILED;
    record.uuid = p + 8;
    record.channel = p[24];
    record.data = p;
    record.data_length = GW_MULTIFD_INIT_BYTES;
    gw_machine_move (&r->machine, NEXT_PACKET);
    return emit (r, &record, GW_MULTIFD_INIT, GW_MULTIFD_INIT_BYTES, error);
}

static gboolean
check_counts (GwMultifdReader *r, const GwMultifdPacket *packet, GError **error)
{
    uint64_t most = GW_MULTIFD_PACKET_BYTES / r->page_size;
    uint64_t n = (uint64_t) packet->n_normal + packet->n_zero;
    uint32_t method = packet->flags & GW_MULTIFD_METHOD_MASK;
    if (packet->flags & ~(uint32_t) (GW_MULTIFD_SYNC | GW_MULTIFD_METHOD_MASK))
        bad (r, error, GW_CAUSE_STREAM_MULTIFD, 8, "expected known flags, found 0x%x",
             packet->flags);
    else if ((method & (method - 1)) != 0)
        bad (r, error, GW_CAUSE_STREAM_MULTIFD, 8, "expected one compression, found 0x%x", method);
    else if (packet->pages_alloc > most || n > packet->pages_alloc)
        bad (r, error, GW_CAUSE_STREAM_LIMIT, 12,
             "expected at most %" G_GUINT64_FORMAT " pages, found room for %u and %u + %u pages",
             most, packet->pages_alloc, packet->n_normal, packet->n_zero);
    else if (n > 0 && memchr (packet->block, '\0', GW_MULTIFD_NAME_BYTES) == NULL)
        bad (r, error, GW_CAUSE_STREAM_MULTIFD, NAME_AT, "expected a terminated block name");
    else if (packet->n_normal > 0 && method != GW_MULTIFD_NONE
             && packet->next_size > 2 * GW_MULTIFD_PACKET_BYTES)
        bad (r, error, GW_CAUSE_STREAM_LIMIT, 20, "expected at most %u bytes of pages, found %u",
             2 * GW_MULTIFD_PACKET_BYTES, packet->next_size);
    else
        return TRUE;
    return FALSE;
}

/* What follows the packet.  Counts decide: before 9.2 the other fields of an empty packet are left
 * over from an earlier one. */
static void
expect_payload (GwMultifdReader *r, const GwMultifdPacket *packet)
{
    r->page = 0;
    r->left = packet->next_size;
    r->piece_type = GW_MULTIFD_PAYLOAD;
    if (packet->n_normal == 0)
        return;
    if ((packet->flags & GW_MULTIFD_METHOD_MASK) == GW_MULTIFD_NONE)
        gw_machine_move (&r->machine, NEXT_PAGES);
    else if (packet->next_size > 0)
        gw_machine_move (&r->machine, NEXT_PIECES);
}

static gssize
step_pages_packet (GwMultifdReader *r, const uint8_t *p, gsize avail, GError **error)
{
    if (avail < r->packet_bytes)
        return need (r, r->packet_bytes);
    memcpy (r->head, p, r->packet_bytes);
    GwMultifdPacket packet = {
        .flags = gw_load_be32 (p + 8),
        .pages_alloc = gw_load_be32 (p + 12),
        .n_normal = gw_load_be32 (p + 16),
        .next_size = gw_load_be32 (p + 20),
        .number = gw_load_be64 (p + 24),
        .n_zero = gw_load_be32 (p + 32),
        .head = r->head,
        .block = (const char *) r->head + NAME_AT,
    };
    if (!check_counts (r, &packet, error))
        return GW_STEP_FAILED;
    r->parent = (GwMultifdRecord){ .packet = packet };
    r->parent.data = r->head;
    r->parent.data_length = r->packet_bytes;
    expect_payload (r, &packet);
    GwMultifdRecord record = r->parent;
    return emit (r, &record, GW_MULTIFD_PACKET, r->packet_bytes, error);
}

static gssize
step_device_packet (GwMultifdReader *r, const uint8_t *p, gsize avail, GError **error)
{
    GwMultifdRecord record = { 0 };
    if (avail < DEVICE_HEAD_BYTES)
        return need (r, DEVICE_HEAD_BYTES);
    uint32_t size = gw_load_be32 (p + DEVICE_HEAD_BYTES - 4);
    if (memchr (p + HEAD_BYTES, '\0', GW_MULTIFD_NAME_BYTES) == NULL)
        return bad (r, error, GW_CAUSE_STREAM_MULTIFD, HEAD_BYTES,
                    "expected a terminated section name");
    if (size > DEVICE_MAX)
        return bad (r, error, GW_CAUSE_STREAM_LIMIT, DEVICE_HEAD_BYTES - 4,
                    "expected at most %u bytes of device state, found %u", DEVICE_MAX, size);
    record.device = (const char *) p + HEAD_BYTES;
    record.instance = gw_load_be32 (p + DEVICE_HEAD_BYTES - 8);
    record.data = p;
    record.data_length = DEVICE_HEAD_BYTES;
    r->parent = (GwMultifdRecord){ 0 };
    r->left = size;
    r->piece_type = GW_MULTIFD_DEVICE_DATA;
    if (size > 0)
        gw_machine_move (&r->machine, NEXT_PIECES);
    return emit (r, &record, GW_MULTIFD_DEVICE, DEVICE_HEAD_BYTES, error);
}

static gssize
step_packet (GwMultifdReader *r, const uint8_t *p, gsize avail, GError **error)
{
    if (avail < HEAD_BYTES)
        return need (r, HEAD_BYTES);
    if (!check_magic (r, p, error))
        return GW_STEP_FAILED;
    uint32_t flags = gw_load_be32 (p + 8);
    if (flags == GW_MULTIFD_DEVICE_STATE)
        return step_device_packet (r, p, avail, error);
    return step_pages_packet (r, p, avail, error);
}

/* --- payloads ---------------------------------------------------------------------------------- */

static gssize
step_page (GwMultifdReader *r, const uint8_t *p, gsize avail, GError **error)
{
    if (avail < r->page_size)
        return need (r, r->page_size);
    GwMultifdRecord record = r->parent;
    record.page_offset = gw_multifd_packet_get_page (&r->parent.packet, r->page);
    record.data = p;
    record.data_length = r->page_size;
    if (++r->page == r->parent.packet.n_normal)
        gw_machine_move (&r->machine, NEXT_PACKET);
    return emit (r, &record, GW_MULTIFD_PAGE, r->page_size, error);
}

static gssize
step_piece (GwMultifdReader *r, const uint8_t *p, gsize avail, GError **error)
{
    gsize len = (gsize) MIN (r->left, GW_MULTIFD_PIECE_BYTES);
    if (avail < len)
        return need (r, len);
    GwMultifdRecord record = r->parent;
    record.data = p;
    record.data_length = len;
    r->left -= len;
    if (r->left == 0)
        gw_machine_move (&r->machine, NEXT_PACKET);
    return emit (r, &record, r->piece_type, len, error);
}

static gssize
step_multifd (gpointer reader, const uint8_t *p, gsize avail, GError **error)
{
    GwMultifdReader *r = reader;
    switch ((Next) r->machine.state) {
    case NEXT_INIT:
        return step_init (r, p, avail, error);
    case NEXT_PAGES:
        return step_page (r, p, avail, error);
    case NEXT_PIECES:
        return step_piece (r, p, avail, error);
    case NEXT_PACKET:
    default:
        return step_packet (r, p, avail, error);
    }
}

/* --- life -------------------------------------------------------------------------------------- */

GwMultifdReader *
gw_multifd_reader_new (const GwStreamParams *params, GwMultifdSink sink, gpointer user_data)
{
    GwMultifdReader *r = g_new0 (GwMultifdReader, 1);
    r->sink = sink;
    r->user_data = user_data;
    r->page_size = params->page_size;
    r->packet_bytes = OFFSETS_AT + 8 * (GW_MULTIFD_PACKET_BYTES / r->page_size);
    r->head = g_malloc (r->packet_bytes);
    gw_machine_init (&r->machine, &table, NULL, NULL);
    gw_push_init (&r->push, step_multifd, r);
    return r;
}

void
gw_multifd_reader_free (GwMultifdReader *r)
{
    if (r == NULL)
        return;
    gw_push_clear (&r->push);
    g_free (r->head);
    g_free (r);
}

gboolean
gw_multifd_reader_push (GwMultifdReader *r, const uint8_t *data, gsize len, GError **error)
{
    return gw_push_feed (&r->push, data, len, error);
}

/* A sender closes its channels between packets; one that was never used ends before its init. */
gboolean
gw_multifd_reader_finish (GwMultifdReader *r, GError **error)
{
    gboolean is_between = r->machine.state == NEXT_PACKET
                          || (r->machine.state == NEXT_INIT && r->push.offset == 0);
    if (r->push.failed == NULL && (!is_between || r->push.carry->len > 0))
        bad (r, &r->push.failed, GW_CAUSE_STREAM_TRUNCATED, r->push.carry->len,
             "the channel ends within a packet (state %s, %u bytes of the record are there)",
             gw_machine_state_name (&r->machine), r->push.carry->len);
    if (r->push.failed == NULL)
        return TRUE;
    g_propagate_error (error, g_error_copy (r->push.failed));
    return FALSE;
}

uint64_t
gw_multifd_reader_get_offset (const GwMultifdReader *r)
{
    return r->push.offset;
}

uint64_t
gw_multifd_packet_get_page (const GwMultifdPacket *packet, unsigned index)
{
    g_assert (index < packet->n_normal + packet->n_zero);
    return gw_load_be64 (packet->head + OFFSETS_AT + 8 * (gsize) index);
}

static void
put_packet (uint8_t *p, const GwMultifdPacket *packet)
{
    gw_store_be32 (p + 8, packet->flags);
    gw_store_be32 (p + 12, packet->pages_alloc);
    gw_store_be32 (p + 16, packet->n_normal);
    gw_store_be32 (p + 20, packet->next_size);
    gw_store_be64 (p + 24, packet->number);
    gw_store_be32 (p + 32, packet->n_zero);
}

/* The head keeps what the record has no field for: reserved bytes, offsets, what was left over. */
void
gw_multifd_put_record (GByteArray *out, const GwMultifdRecord *record)
{
    guint at = out->len;
    g_byte_array_append (out, record->data, (guint) record->data_length);
    if (record->type == GW_MULTIFD_PACKET)
        put_packet (out->data + at, &record->packet);
    else if (record->type == GW_MULTIFD_INIT)
        out->data[at + 24] = record->channel;
}
