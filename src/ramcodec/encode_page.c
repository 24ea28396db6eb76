/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The encoder: a page into an operation. */
#include "encode.h"

static void
count (GwRamEncoder *e, GwRamClass class, const GwStreamRecord *record, gsize output)
{
    GwRamGain *gain = &e->counters.classes[class];
    gain->pages++;
    gain->input += record->length;
    gain->output += output;
}

static gboolean
may_leave_out (const GwRamEncoder *e, const GwStreamRecord *record)
{
    return e->machine.state == GW_ENCODE_PRECOPY && e->params.can_leave_out && e->has_ram
           && record->ram.block == e->out_block;
}

static uint64_t
owner_of (const GwStreamRecord *record)
{
    return (uint64_t) record->ram.block->index << 48 | record->ram.offset / record->page_size;
}

static GwRamOp
make_op (const GwStreamRecord *record, uint8_t kind)
{
    return (GwRamOp){ .kind = kind, .is_named = !record->ram.is_continued,
                      .block = record->ram.block, .offset = record->ram.offset,
                      .from = GW_RAM_NO_SLOT, .keep = GW_RAM_NO_SLOT, .page = record->data };
}

/* Where the page of `op` is to be kept, and keeps it there. */
static void
keep_page (GwRamEncoder *e, const GwStreamRecord *record, GwRamEntry *entry, GwRamHash hash,
           GwRamOp *op)
{
    gboolean is_again = entry != NULL && entry->state != GW_RAM_NEVER;
    uint64_t owner = owner_of (record);
    uint32_t slot = entry != NULL ? entry->slot : GW_RAM_NO_SLOT;
    if (gw_ram_cache_is_owner (e->cache, slot, owner))
        gw_ram_cache_touch (e->cache, slot);
    else
        slot = gw_ram_cache_claim (e->cache, is_again, e->builder.number);
    if (slot == GW_RAM_NO_SLOT
        || !gw_ram_cache_put (e->cache, slot, owner, hash, record->data))
        return;
    op->keep = slot;
    if (entry != NULL)
        entry->slot = slot;
}

/* Makes a delta of the page from the slot where its past may be. */
static gboolean
try_delta (GwRamEncoder *e, const GwStreamRecord *record, const GwRamEntry *entry, GwRamOp *op)
{
    const uint8_t *past = entry != NULL ? gw_ram_cache_get (e->cache, entry->slot) : NULL;
    gsize size = e->params.page_size;
    if (past == NULL
        || !gw_ram_delta_make (past, record->data, size, size - size / 4, e->runs, &op->runs_len,
                               e->words, &op->words_len))
        return FALSE;
    op->kind = GW_RAM_OP_DELTA;
    op->from = entry->slot;
    op->runs = e->runs;
    op->words = e->words;
    return TRUE;
}

/* Chooses the operation for a page whose content is not what was sent last. */
static GwRamClass
choose (GwRamEncoder *e, const GwStreamRecord *record, GwRamEntry *entry, GwRamHash hash, GwRamOp *op)
{
    gboolean is_again = entry != NULL && entry->state != GW_RAM_NEVER;
    GwRamClass literal = is_again ? GW_RAM_AGAIN : GW_RAM_FIRST;
    if (e->cache == NULL)
        return literal;
    uint32_t same = gw_ram_cache_find (e->cache, hash, record->data);
    if (same != GW_RAM_NO_SLOT) {
        op->kind = GW_RAM_OP_COPY;
        op->from = same;
        gw_ram_cache_touch (e->cache, same);
        if (entry != NULL)
            entry->slot = same;
        return GW_RAM_COPY;
    }
    gboolean is_delta = try_delta (e, record, entry, op);
    keep_page (e, record, entry, hash, op);
    return is_delta ? GW_RAM_DELTA : literal;
}

static void
encode_literal (GwRamEncoder *e, const GwStreamRecord *record)
{
    GwRamOp op = make_op (record, GW_RAM_OP_LITERAL);
    count (e, GW_RAM_FIRST, record, gw_ram_builder_put_page (&e->builder, &op));
}

/* Its bytes go with those around it, as they are.  What is in the entry's slot stays something to start from. */
static void
note_lightly (GwRamEncoder *e, const GwStreamRecord *record, GwRamEntry *entry)
{
    gboolean is_again = entry != NULL && entry->state != GW_RAM_NEVER;
    count (e, is_again ? GW_RAM_AGAIN : GW_RAM_FIRST, record, (gsize) record->length);
    e->counters.light++;
    e->light_bytes += record->length;
    if (entry == NULL)
        return;
    entry->state = e->params.keeps_proof ? GW_RAM_KNOWN : GW_RAM_LOST;
    if (e->params.keeps_proof)
        entry->hash = gw_ram_hash (e->key, record->data);
}

static void
encode_known (GwRamEncoder *e, const GwStreamRecord *record, GwRamEntry *entry)
{
    GwRamOp op = make_op (record, GW_RAM_OP_LITERAL);
    GwRamHash hash = gw_ram_hash (e->key, record->data);
    GwRamClass class = GW_RAM_UNCHANGED;
    gsize output = 0;
    gboolean is_same = entry != NULL && entry->state == GW_RAM_KNOWN
                       && gw_ram_hash_equal (entry->hash, hash);
    if (!is_same || !may_leave_out (e, record)) {
        class = choose (e, record, entry, hash, &op);
        output = gw_ram_builder_put_page (&e->builder, &op);
    }
    count (e, class, record, output);
    if (entry != NULL) {
        entry->hash = hash;
        entry->state = GW_RAM_KNOWN;
    }
}

static GwRamEntry *
get_entry (GwRamEncoder *e, const GwStreamRecord *record)
{
    gboolean is_followed = e->key != NULL && e->machine.state != GW_ENCODE_POSTCOPY;
    return is_followed ? gw_ram_index_get (&e->index, record->ram.block->index, record->ram.offset, TRUE) : NULL;
}

static void
encode_page (GwRamEncoder *e, const GwStreamRecord *record)
{
    if (e->key == NULL || e->machine.state == GW_ENCODE_POSTCOPY)
        encode_literal (e, record);
    else
        encode_known (e, record, get_entry (e, record));
}

static void
encode_zero (GwRamEncoder *e, const GwStreamRecord *record)
{
    GwRamOp op = make_op (record, GW_RAM_OP_ZERO);
    GwRamEntry *entry = get_entry (e, record);
    if (entry != NULL && entry->state == GW_RAM_ZEROED && may_leave_out (e, record)) {
        count (e, GW_RAM_UNCHANGED, record, 0);
        return;
    }
    count (e, GW_RAM_ZERO_PAGE, record, gw_ram_builder_put_page (&e->builder, &op));
    if (entry != NULL)
        entry->state = GW_RAM_ZEROED;
}

/* A page that goes as raw bytes: its content is not followed. */
static void
lose_page (GwRamEncoder *e, const GwStreamRecord *record)
{
    GwRamEntry *entry = e->key == NULL ? NULL
                                       : gw_ram_index_get (&e->index, record->ram.block->index,
                                                           record->ram.offset, TRUE);
    if (entry != NULL)
        entry->state = GW_RAM_LOST;
    count (e, GW_RAM_OTHER, record, (gsize) record->length);
}

static gboolean
is_light (const GwRamEncoder *e, const GwStreamRecord *record)
{
    return e->is_light && e->key != NULL && e->machine.state != GW_ENCODE_POSTCOPY &&
           record->type == GW_STREAM_RAM_PAGE;
}

void
gw_ram_encoder_take_page (GwRamEncoder *e, const GwStreamRecord *record)
{
    gboolean is_ours = record->type == GW_STREAM_RAM_PAGE
                       || (record->type == GW_STREAM_RAM_ZERO && record->ram.fill == 0);
    /* Where a device section ended late, the page may have begun among bytes passed already. */
    if (!is_ours || record->page_size != e->params.page_size || record->offset < e->passed) {
        lose_page (e, record);
    } else if (is_light (e, record)) {
        note_lightly (e, record, get_entry (e, record));
    } else {
        gw_ram_encoder_pass_until (e, record->offset);
        if (record->type == GW_STREAM_RAM_PAGE)
            encode_page (e, record);
        else
            encode_zero (e, record);
        e->passed = record->offset + record->length;
    }
    e->out_block = record->ram.block;
}
