/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The open group: operations are added until it is full. */
#include "internal.h"

#include <string.h>

#define OP_MOST 300u /* bytes of an operation without its page: kind, name, four varints */

void
gw_ram_builder_init (GwRamBuilder *b, unsigned page_bits)
{
    *b = (GwRamBuilder){ .page_bits = page_bits, .most = GW_RAM_GROUP_MAX };
    for (guint i = GW_RAM_PART_LITERALS + 1; i < GW_RAM_N_PARTS; i++)
        b->part[i] = g_byte_array_new ();
    b->digest = gw_ram_digest_new ();
    g_queue_init (&b->done);
}

void
gw_ram_builder_clear (GwRamBuilder *b)
{
    g_clear_pointer (&b->group, gw_ram_group_free);
    g_clear_pointer (&b->digest, gw_ram_digest_free);
    for (guint i = GW_RAM_PART_LITERALS + 1; i < GW_RAM_N_PARTS; i++)
        g_clear_pointer (&b->part[i], g_byte_array_unref);
    g_queue_clear_full (&b->done, (GDestroyNotify) gw_ram_group_free);
}

/* Puts the parts behind the literals and makes the group ready to go. */
void
gw_ram_builder_close (GwRamBuilder *b)
{
    GwRamGroup *group = g_steal_pointer (&b->group);
    if (group == NULL)
        return;
    group->head.part[GW_RAM_PART_LITERALS] = (uint32_t) (group->len - GW_RAM_HEAD);
    for (guint i = GW_RAM_PART_LITERALS + 1; i < GW_RAM_N_PARTS; i++) {
        if (b->part[i]->len > 0) /* an array that never had a byte has none to point at */
            memcpy (group->bytes + group->len, b->part[i]->data, b->part[i]->len);
        group->len += b->part[i]->len;
        group->head.part[i] = b->part[i]->len;
        g_byte_array_set_size (b->part[i], 0);
    }
    group->plain = group->len;
    group->head.body = (uint32_t) (group->len - GW_RAM_HEAD);
    group->head.urgency = (uint8_t) b->urgency;
    group->head.page_bits = (uint8_t) b->page_bits;
    group->head.number = b->number++;
    group->head.digest = gw_ram_digest_take (b->digest);
    gw_ram_group_seal (group);
    if (group->len < group->size / 2) {
        group->bytes = g_realloc (group->bytes, group->len);
        group->size = group->len;
    }
    g_queue_push_tail (&b->done, group);
    b->done_bytes += group->len;
    b->urgency = b->most < GW_RAM_GROUP_MAX ? GW_RAM_URGENT : GW_RAM_BULK;
}

static gsize
count_body (const GwRamBuilder *b)
{
    gsize sum = b->group->len - GW_RAM_HEAD;
    for (guint i = GW_RAM_PART_LITERALS + 1; i < GW_RAM_N_PARTS; i++)
        sum += b->part[i]->len;
    return sum;
}

/* An open group with room for an operation of so many bytes of body and output. */
static GwRamGroup *
open_group (GwRamBuilder *b, gsize body, gsize output)
{
    if (b->group != NULL && (b->group->head.output + output > b->most
                             || count_body (b) + body + OP_MOST > GW_RAM_GROUP_MAX))
        gw_ram_builder_close (b);
    if (b->group == NULL) {
        gsize most = MAX (b->most, GW_STREAM_PAGE_MAX) + OP_MOST;
        b->group = gw_ram_group_new (GW_RAM_HEAD + MIN (most * 2, GW_RAM_GROUP_MAX));
        b->place = (GwRamPlace){ 0 };
    }
    return b->group;
}

static void
add_literal (GwRamGroup *group, const uint8_t *data, gsize len)
{
    memcpy (group->bytes + group->len, data, len);
    group->len += len;
}

static gsize
store_varint (uint8_t *p, uint64_t value)
{
    gsize n = 0;
    for (; value >= 0x80; value >>= 7)
        p[n++] = (uint8_t) (value | 0x80);
    p[n++] = (uint8_t) value;
    return n;
}

/* The difference as a number without sign: 0, -1, 1, -2... are 0, 1, 2, 3... */
static uint64_t
zigzag (uint64_t value, uint64_t expected)
{
    uint64_t difference = value - expected;
    return (difference << 1) ^ ((difference >> 63) != 0 ? UINT64_MAX : 0);
}

void
gw_ram_builder_put_raw (GwRamBuilder *b, const uint8_t *data, gsize len)
{
    while (len > 0) {
        uint8_t op[16] = { GW_RAM_OP_RAW };
        GwRamGroup *group = open_group (b, 1, 1);
        gsize room = GW_RAM_GROUP_MAX - OP_MOST - count_body (b);
        gsize n = MIN (len, MIN (b->most - group->head.output, room));
        gsize op_len = 1 + store_varint (op + 1, n);
        g_byte_array_append (b->part[GW_RAM_PART_OPS], op, (guint) op_len);
        add_literal (group, data, n);
        gw_ram_digest_add (b->digest, data, n);
        group->head.output += (uint32_t) n;
        data += n;
        len -= n;
    }
}

/* The part of an operation that says where its page comes from and where it is kept. */
static gsize
store_slots (GwRamBuilder *b, const GwRamOp *op, uint8_t *bytes)
{
    uint32_t expected = b->place.slot;
    gsize n = 0;
    if (op->from != GW_RAM_NO_SLOT) {
        if (op->from != expected) {
            bytes[0] |= GW_RAM_OP_FROM;
            n += store_varint (bytes + 1 + n, zigzag (op->from, expected));
        }
        expected = op->from;
        b->place.slot = op->from + 1;
    }
    if (op->keep != GW_RAM_NO_SLOT) {
        bytes[0] |= op->keep == expected ? GW_RAM_OP_KEEP : GW_RAM_OP_KEEP_AT;
        if (op->keep != expected)
            n += store_varint (bytes + 1 + n, zigzag (op->keep, expected));
        b->place.slot = op->keep + 1;
    }
    return n;
}

/* Writes the operation to `bytes` (OP_MOST) and returns its length. */
static gsize
store_op (GwRamBuilder *b, const GwRamOp *op, uint8_t *bytes)
{
    uint64_t page = op->offset >> b->page_bits;
    bytes[0] = op->kind;
    gsize n = 1 + store_slots (b, op, bytes);
    if (page != b->place.page) {
        bytes[0] |= GW_RAM_OP_JUMP;
        n += store_varint (bytes + n, zigzag (page, b->place.page));
    }
    b->place.page = page + 1;
    if (op->is_named) {
        bytes[0] |= GW_RAM_OP_NAMED;
        bytes[n++] = (uint8_t) op->block->name_length;
        memcpy (bytes + n, op->block->name, op->block->name_length);
        n += op->block->name_length;
    }
    return n;
}

/* The record as QEMU wrote it, whatever it is turned into. */
static void
digest_page (GwRamBuilder *b, const GwRamOp *op)
{
    gboolean is_zero = op->kind == GW_RAM_OP_ZERO;
    uint8_t head[9] = { 0 };
    gw_store_be64 (head, op->offset | (is_zero ? GW_RAM_ZERO : GW_RAM_PAGE) |
                             (op->is_named ? 0 : GW_RAM_CONTINUE));
    head[8] = op->is_named ? (uint8_t) op->block->name_length : 0;
    gw_ram_digest_add (b->digest, head, op->is_named ? 9 : 8);
    if (op->is_named)
        gw_ram_digest_add (b->digest, (const uint8_t *) op->block->name, op->block->name_length);
    if (is_zero)
        gw_ram_digest_add (b->digest, (const uint8_t *) "", 1);
    else
        gw_ram_digest_add (b->digest, op->page, (gsize) 1 << b->page_bits);
}

gsize
gw_ram_builder_put_page (GwRamBuilder *b, const GwRamOp *op)
{
    uint8_t bytes[OP_MOST];
    gsize page_size = (gsize) 1 << b->page_bits;
    gsize payload = op->kind == GW_RAM_OP_LITERAL ? page_size : op->runs_len + op->words_len;
    gsize output = 8 + (op->is_named ? 1 + op->block->name_length : 0)
                   + (op->kind == GW_RAM_OP_ZERO ? 1 : page_size);
    GwRamGroup *group = open_group (b, payload, output);
    gsize n = store_op (b, op, bytes);
    digest_page (b, op);
    g_byte_array_append (b->part[GW_RAM_PART_OPS], bytes, (guint) n);
    if (op->kind == GW_RAM_OP_LITERAL)
        add_literal (group, op->page, page_size);
    if (op->kind == GW_RAM_OP_DELTA) {
        g_byte_array_append (b->part[GW_RAM_PART_RUNS], op->runs, (guint) op->runs_len);
        g_byte_array_append (b->part[GW_RAM_PART_WORDS], op->words, (guint) op->words_len);
    }
    group->head.output += (uint32_t) output;
    return n + payload;
}

void
gw_ram_builder_raise (GwRamBuilder *b, GwRamUrgency urgency)
{
    b->urgency = MAX (b->urgency, urgency);
}
