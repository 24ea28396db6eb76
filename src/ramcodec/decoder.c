/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decoder: operations back into the bytes of the lane. */
#include "internal.h"

#include <string.h>

struct _GwRamDecoder {
    GwRamStock stock;
    GwRamSlots slots;
    uint32_t page_size;
    unsigned page_bits;
    uint32_t number; /* of the next group */
    GError *failed;  /* the first error, for ever */
};

/* What is left of a part. */
typedef struct {
    const uint8_t *p;
    gsize left;
} Part;

typedef struct {
    GwRamDecoder *decoder;
    Part part[GW_RAM_N_PARTS];
    GwRamPlace place;
    uint8_t *out;   /* the next byte of output */
    gsize out_left;
} Run;

/* An operation, read but not done. */
typedef struct {
    uint8_t bits;
    uint32_t from, keep;
    uint64_t offset;
    const uint8_t *name;
    uint8_t name_length;
} Op;

GwRamDecoder *
gw_ram_decoder_new (const GwRamParams *params)
{
    GwRamDecoder *decoder = g_new0 (GwRamDecoder, 1);
    uint64_t slots = params->memory_bytes / params->page_size;
    decoder->page_size = params->page_size;
    decoder->page_bits = (unsigned) g_bit_storage (params->page_size) - 1;
    g_assert (params->page_size == 1u << decoder->page_bits);
    gw_ram_stock_init (&decoder->stock, params->memory_bytes, params->page_size);
    gw_ram_slots_init (&decoder->slots, (uint32_t) MIN (slots, INT32_MAX), &decoder->stock);
    return decoder;
}

gboolean
gw_ram_decoder_stock_up (GwRamDecoder *decoder)
{
    return decoder->slots.used_bytes == 0 && gw_ram_stock_add (&decoder->stock);
}

void
gw_ram_decoder_free (GwRamDecoder *decoder)
{
    if (decoder == NULL)
        return;
    gw_ram_slots_clear (&decoder->slots);
    gw_ram_stock_clear (&decoder->stock);
    g_clear_error (&decoder->failed);
    g_free (decoder);
}

uint64_t
gw_ram_decoder_get_memory (const GwRamDecoder *decoder)
{
    return decoder->slots.used_bytes;
}

/* --- reading --------------------------------------------------------------------------------------- */

/* The next `len` bytes of a part; NULL when there are fewer. */
static const uint8_t *
take (Run *run, GwRamPart which, gsize len)
{
    Part *part = &run->part[which];
    const uint8_t *p = part->p;
    if (part->left < len)
        return NULL;
    part->p += len;
    part->left -= len;
    return p;
}

static gboolean
take_varint (Run *run, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t *p = take (run, GW_RAM_PART_OPS, 1);
        if (p == NULL || (shift == 63 && *p > 1))
            return FALSE;
        value |= (uint64_t) (*p & 0x7f) << shift;
        if ((*p & 0x80) == 0) {
            *ret_value = value;
            return TRUE;
        }
    }
    return FALSE;
}

/* A number that is told as its difference from what was expected. */
static gboolean
take_near (Run *run, uint64_t expected, uint64_t *ret_value)
{
    uint64_t value;
    if (!take_varint (run, &value))
        return FALSE;
    *ret_value = expected + ((value >> 1) ^ ((value & 1) != 0 ? UINT64_MAX : 0));
    return TRUE;
}

/* A slot that the decoder can have. */
static gboolean
take_slot (Run *run, gboolean is_told, uint32_t expected, uint32_t *ret_slot)
{
    uint64_t slot = expected;
    if ((is_told && !take_near (run, expected, &slot)) || slot >= run->decoder->slots.limit)
        return FALSE;
    *ret_slot = (uint32_t) slot;
    return TRUE;
}

static gboolean
take_slots (Run *run, Op *op)
{
    uint8_t kind = op->bits & GW_RAM_OP_KIND;
    uint32_t expected = run->place.slot;
    op->from = op->keep = GW_RAM_NO_SLOT;
    if (kind == GW_RAM_OP_COPY || kind == GW_RAM_OP_DELTA) {
        if (!take_slot (run, (op->bits & GW_RAM_OP_FROM) != 0, expected, &op->from))
            return FALSE;
        expected = op->from;
        run->place.slot = op->from + 1;
    }
    uint8_t keep = op->bits & (GW_RAM_OP_KEEP | GW_RAM_OP_KEEP_AT);
    if (keep == 0)
        return TRUE;
    if (keep == (GW_RAM_OP_KEEP | GW_RAM_OP_KEEP_AT))
        return FALSE;
    if (!take_slot (run, (op->bits & GW_RAM_OP_KEEP_AT) != 0, expected, &op->keep))
        return FALSE;
    run->place.slot = op->keep + 1;
    return TRUE;
}

static gboolean
take_place (Run *run, Op *op)
{
    uint64_t page = run->place.page;
    if ((op->bits & GW_RAM_OP_JUMP) != 0 && !take_near (run, page, &page))
        return FALSE;
    if (page > UINT64_MAX >> run->decoder->page_bits)
        return FALSE;
    op->offset = page << run->decoder->page_bits;
    run->place.page = page + 1;
    if ((op->bits & GW_RAM_OP_NAMED) == 0)
        return TRUE;
    const uint8_t *length = take (run, GW_RAM_PART_OPS, 1);
    op->name = length != NULL ? take (run, GW_RAM_PART_OPS, *length) : NULL;
    if (op->name == NULL)
        return FALSE;
    op->name_length = *length;
    return TRUE;
}

/* --- writing --------------------------------------------------------------------------------------- */

/* Room for `len` bytes of output; NULL when the head did not say so. */
static uint8_t *
emit (Run *run, gsize len)
{
    uint8_t *p = run->out;
    if (run->out_left < len)
        return NULL;
    run->out += len;
    run->out_left -= len;
    return p;
}

static gboolean
do_raw (Run *run)
{
    uint64_t len;
    if (!take_varint (run, &len) || len == 0 || len > GW_RAM_GROUP_MAX)
        return FALSE;
    const uint8_t *from = take (run, GW_RAM_PART_LITERALS, (gsize) len);
    uint8_t *to = from != NULL ? emit (run, (gsize) len) : NULL;
    if (to == NULL)
        return FALSE;
    memcpy (to, from, (gsize) len);
    return TRUE;
}

static gboolean
emit_head (Run *run, const Op *op, uint64_t flag)
{
    gboolean is_named = op->name != NULL;
    uint8_t *to = emit (run, 8 + (is_named ? 1 + (gsize) op->name_length : 0));
    if (to == NULL)
        return FALSE;
    gw_store_be64 (to, op->offset | flag | (is_named ? 0 : GW_RAM_CONTINUE));
    if (is_named) {
        to[8] = op->name_length;
        memcpy (to + 9, op->name, op->name_length);
    }
    return TRUE;
}

static gboolean
emit_zero (Run *run, const Op *op)
{
    uint8_t *fill = emit_head (run, op, GW_RAM_ZERO) ? emit (run, 1) : NULL;
    if (fill == NULL || op->keep != GW_RAM_NO_SLOT)
        return FALSE;
    *fill = 0;
    return TRUE;
}

/* The page's bytes to `to`. */
static gboolean
make_page (Run *run, const Op *op, uint8_t *to)
{
    gsize size = run->decoder->page_size;
    const uint8_t *base = op->from != GW_RAM_NO_SLOT
                              ? gw_ram_slots_get (&run->decoder->slots, op->from)
                              : take (run, GW_RAM_PART_LITERALS, size);
    if (base == NULL)
        return FALSE;
    memcpy (to, base, size);
    if ((op->bits & GW_RAM_OP_KIND) != GW_RAM_OP_DELTA)
        return TRUE;
    Part *runs = &run->part[GW_RAM_PART_RUNS], *words = &run->part[GW_RAM_PART_WORDS];
    gsize n_runs = runs->left, n_words = words->left;
    if (!gw_ram_delta_apply (runs->p, &n_runs, words->p, &n_words, to, size))
        return FALSE;
    take (run, GW_RAM_PART_RUNS, n_runs);
    take (run, GW_RAM_PART_WORDS, n_words);
    return TRUE;
}

static gboolean
emit_page (Run *run, const Op *op)
{
    gsize size = run->decoder->page_size;
    uint8_t *to = emit_head (run, op, GW_RAM_PAGE) ? emit (run, size) : NULL;
    if (to == NULL || !make_page (run, op, to))
        return FALSE;
    if (op->keep == GW_RAM_NO_SLOT)
        return TRUE;
    uint8_t *slot = gw_ram_slots_fill (&run->decoder->slots, op->keep);
    if (slot == NULL)
        return FALSE;
    memcpy (slot, to, size);
    return TRUE;
}

/* What may follow each kind of operation. */
static const uint8_t may_follow[] = {
    [GW_RAM_OP_RAW] = 0,
    [GW_RAM_OP_ZERO] = GW_RAM_OP_NAMED | GW_RAM_OP_JUMP,
    [GW_RAM_OP_LITERAL] = GW_RAM_OP_NAMED | GW_RAM_OP_JUMP | GW_RAM_OP_KEEP | GW_RAM_OP_KEEP_AT,
    [GW_RAM_OP_COPY] = GW_RAM_OP_NAMED | GW_RAM_OP_JUMP | GW_RAM_OP_FROM,
    [GW_RAM_OP_DELTA] = GW_RAM_OP_NAMED | GW_RAM_OP_JUMP | GW_RAM_OP_FROM | GW_RAM_OP_KEEP
                        | GW_RAM_OP_KEEP_AT,
};

static gboolean
do_op (Run *run)
{
    Op op = { .bits = *take (run, GW_RAM_PART_OPS, 1) };
    uint8_t kind = op.bits & GW_RAM_OP_KIND;
    if (kind >= G_N_ELEMENTS (may_follow)
        || (op.bits & ~GW_RAM_OP_KIND & ~may_follow[kind]) != 0)
        return FALSE;
    if (kind == GW_RAM_OP_RAW)
        return do_raw (run);
    if (!take_slots (run, &op) || !take_place (run, &op))
        return FALSE;
    return kind == GW_RAM_OP_ZERO ? emit_zero (run, &op) : emit_page (run, &op);
}

/* --- a group --------------------------------------------------------------------------------------- */

static gboolean
check_group (const GwRamDecoder *decoder, const GwRamGroup *group, GError **error)
{
    const GwRamHeadFields *head = &group->head;
    if (head->number == decoder->number && head->page_bits == decoder->page_bits
        && (head->flags & GW_RAM_PACKED) == 0)
        return TRUE;
    return gw_fail (error, GW_CAUSE_CODEC_INVALID,
                    "expected group %u of pages of 2^%u bytes, unpacked, found group %u of 2^%u, "
                    "flags 0x%02x",
                    decoder->number, decoder->page_bits, head->number, head->page_bits, head->flags);
}

/* Every operation is done, every part is used up, and the output is as long as was said. */
static gboolean
run_group (Run *run, const GwRamGroup *group, GError **error)
{
    const uint8_t *begin = run->part[GW_RAM_PART_OPS].p;
    while (run->part[GW_RAM_PART_OPS].left > 0) {
        const uint8_t *at = run->part[GW_RAM_PART_OPS].p;
        if (!do_op (run))
            return gw_fail (error, GW_CAUSE_CODEC_INVALID,
                            "group %u: operation 0x%02x at byte %zu of %u cannot be done",
                            group->head.number, *at, (gsize) (at - begin),
                            group->head.part[GW_RAM_PART_OPS]);
    }
    gsize left = run->out_left;
    for (guint i = 0; i < GW_RAM_N_PARTS; i++)
        left += run->part[i].left;
    return left == 0 || gw_fail (error, GW_CAUSE_CODEC_INVALID,
                                 "group %u: %zu bytes are left over, %zu of them of output",
                                 group->head.number, left, run->out_left);
}

static gboolean
apply (GwRamDecoder *decoder, const GwRamGroup *group, uint8_t *out, GError **error)
{
    Run run = { .decoder = decoder, .out = out, .out_left = group->head.output };
    const uint8_t *p = group->bytes + GW_RAM_HEAD;
    if (!check_group (decoder, group, error))
        return FALSE;
    for (guint i = 0; i < GW_RAM_N_PARTS; i++) {
        run.part[i] = (Part){ p, group->head.part[i] };
        p += group->head.part[i];
    }
    decoder->number++;
    if (!run_group (&run, group, error))
        return FALSE;
    uint64_t digest = group->head.digest;
    return digest == 0 || gw_ram_digest_of (out, group->head.output) == digest ||
           gw_fail (error, GW_CAUSE_CODEC_INVALID,
                    "group %u: what it gives is not what was put into it", group->head.number);
}

gboolean
gw_ram_decoder_apply (GwRamDecoder *decoder, const GwRamGroup *group, GByteArray *out,
                      GError **error)
{
    guint before = out->len;
    if (decoder->failed == NULL) {
        g_byte_array_set_size (out, before + group->head.output);
        uint8_t *to = out->data != NULL ? out->data + before : NULL;
        if (apply (decoder, group, to, &decoder->failed))
            return TRUE;
        g_byte_array_set_size (out, before);
    }
    g_propagate_error (error, g_error_copy (decoder->failed));
    return FALSE;
}
