/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The encoder: the lane's bytes through the stream's reader, each page into an operation. */
#include "internal.h"

#include <string.h>

#define SMALL_BLOCKS 16u        /* RAM blocks for whose rounding up the index has room */

enum {
    GW_ENCODE_PRECOPY,  /* everything is allowed */
    GW_ENCODE_CLOSING,  /* a device section was seen: nothing is left out any more */
    GW_ENCODE_POSTCOPY, /* zero and literal only */
    GW_ENCODE_PASSING,  /* the reader does not understand the lane: raw bytes only */
};

#define M(state) (1u << GW_ENCODE_##state)
static const GwState states[] = {
    [GW_ENCODE_PRECOPY] = { "precopy", M (CLOSING) | M (POSTCOPY) | M (PASSING), GW_STATE_INITIAL },
    [GW_ENCODE_CLOSING] = { "closing", M (POSTCOPY) | M (PASSING), 0 },
    [GW_ENCODE_POSTCOPY] = { "postcopy", M (PASSING), 0 },
    [GW_ENCODE_PASSING] = { "passing", 0, GW_STATE_FINAL },
};
static const GwMachineTable table = { "ram-encoder", states, G_N_ELEMENTS (states) };

static const char *const class_names[] = {
    [GW_RAM_ZERO_PAGE] = "zero", [GW_RAM_UNCHANGED] = "unchanged", [GW_RAM_COPY] = "copy",
    [GW_RAM_DELTA] = "delta",    [GW_RAM_FIRST] = "first",         [GW_RAM_AGAIN] = "again",
    [GW_RAM_OTHER] = "other",
};
G_STATIC_ASSERT (G_N_ELEMENTS (class_names) == GW_RAM_N_CLASSES);

struct _GwRamEncoder {
    GwRamParams params;
    GwMachine machine;
    GwStreamReader *reader;
    GError *fault;

    uint64_t passed;     /* offset of the first byte that is in no group */
    GByteArray *held;    /* bytes from there up to the chunk */
    const uint8_t *data; /* the chunk */
    uint64_t base;       /* its offset */
    gboolean is_light;
    gboolean has_control; /* the chunk had records that QEMU's other side may answer */

    gboolean has_ram;              /* the block list was seen */
    const GwStreamBlock *out_block; /* the last named */
    GwRamKey *key;
    GwRamIndex index;
    GwRamCache *cache; /* NULL: none */
    uint8_t *runs, *words; /* scratch of a delta, a page each */

    GwRamBuilder builder;
    GwRamCounters counters;
};

const char *
gw_ram_class_name (GwRamClass class)
{
    return (unsigned) class < GW_RAM_N_CLASSES ? class_names[class] : "unknown";
}

uint64_t
gw_ram_default_memory (uint64_t guest_bytes)
{
    return MIN (guest_bytes / 4, GW_RAM_MEMORY_MAX);
}

/* --- bytes that are not pages -------------------------------------------------------------------- */

/* Raw bytes up to `offset`, from what is held and from the chunk. */
static void
pass_until (GwRamEncoder *e, uint64_t offset)
{
    if (e->passed < offset && e->passed < e->base) {
        gsize n = (gsize) (MIN (offset, e->base) - e->passed);
        gsize at = e->held->len - (gsize) (e->base - e->passed);
        gw_ram_builder_put_raw (&e->builder, e->held->data + at, n);
        e->counters.raw += n;
        e->passed += n;
    }
    if (e->passed < offset) {
        gsize n = (gsize) (offset - e->passed);
        gw_ram_builder_put_raw (&e->builder, e->data + (e->passed - e->base), n);
        e->counters.raw += n;
        e->passed += n;
    }
}

/* Keeps what neither a group nor the caller will have. */
static void
hold_rest (GwRamEncoder *e, gsize len)
{
    uint64_t end = e->base + len;
    if (e->passed < e->base) {
        g_byte_array_append (e->held, e->data, (guint) len);
        return;
    }
    g_byte_array_set_size (e->held, 0);
    g_byte_array_append (e->held, e->data + (e->passed - e->base), (guint) (end - e->passed));
}

/* --- pages ----------------------------------------------------------------------------------------- */

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

/* What is in the entry's slot stays something to start from. */
static void
encode_lightly (GwRamEncoder *e, const GwStreamRecord *record, GwRamEntry *entry)
{
    GwRamOp op = make_op (record, GW_RAM_OP_LITERAL);
    gboolean is_again = entry != NULL && entry->state != GW_RAM_NEVER;
    gsize output = gw_ram_builder_put_page (&e->builder, &op);
    count (e, is_again ? GW_RAM_AGAIN : GW_RAM_FIRST, record, output);
    e->counters.light++;
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

static void
encode_page (GwRamEncoder *e, const GwStreamRecord *record)
{
    if (e->key == NULL || e->machine.state == GW_ENCODE_POSTCOPY) {
        encode_literal (e, record);
        return;
    }
    GwRamEntry *entry = gw_ram_index_get (&e->index, record->ram.block->index, record->ram.offset, TRUE);
    if (e->is_light)
        encode_lightly (e, record, entry);
    else
        encode_known (e, record, entry);
}

static void
encode_zero (GwRamEncoder *e, const GwStreamRecord *record)
{
    GwRamOp op = make_op (record, GW_RAM_OP_ZERO);
    gboolean is_plain = e->key == NULL || e->machine.state == GW_ENCODE_POSTCOPY;
    GwRamEntry *entry = is_plain ? NULL
                                 : gw_ram_index_get (&e->index, record->ram.block->index,
                                                     record->ram.offset, TRUE);
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

static void
on_page (GwRamEncoder *e, const GwStreamRecord *record)
{
    gboolean is_ours = record->type == GW_STREAM_RAM_PAGE
                       || (record->type == GW_STREAM_RAM_ZERO && record->ram.fill == 0);
    /* Where a device section ended late, the page may have begun among bytes passed already. */
    if (!is_ours || record->page_size != e->params.page_size || record->offset < e->passed) {
        lose_page (e, record);
    } else {
        pass_until (e, record->offset);
        if (record->type == GW_STREAM_RAM_PAGE)
            encode_page (e, record);
        else
            encode_zero (e, record);
        e->passed = record->offset + record->length;
    }
    e->out_block = record->ram.block;
}

/* --- everything else ------------------------------------------------------------------------------- */

/* Memory is shared out when the size of the guest is known: first the index, then the cache. */
static void
on_list (GwRamEncoder *e, const GwStreamRecord *record)
{
    unsigned page_bits = e->builder.page_bits;
    uint64_t memory = e->params.memory_bytes;
    e->has_ram = TRUE;
    if (e->key == NULL || e->machine.state != GW_ENCODE_PRECOPY)
        return;
    uint64_t spare = gw_ram_index_measure (page_bits, 1) * SMALL_BLOCKS;
    uint64_t index = MIN (gw_ram_index_measure (page_bits, record->ram.total)
                              + MIN (spare, memory / 16),
                          memory / 2);
    uint64_t slots = (memory - index) / gw_ram_cache_measure (e->params.page_size);
    gw_ram_index_clear (&e->index);
    gw_ram_index_init (&e->index, page_bits, index);
    gw_ram_cache_free (e->cache);
    e->cache = gw_ram_cache_new ((uint32_t) MIN (slots, INT32_MAX), e->params.page_size);
}

/* Where it ends is the reader's guess, and what lies in it can be the guest's choice. */
static gboolean
is_guessed (const GwStreamSection *section)
{
    return !section->is_iterator
           || (strcmp (section->name, "ram") != 0 && strcmp (section->name, "dirty-bitmap") != 0);
}

static void
on_section (GwRamEncoder *e, const GwStreamRecord *record)
{
    e->has_control |= record->section_type != GW_STREAM_BYTE_PART;
    if (e->machine.state == GW_ENCODE_PRECOPY && e->has_ram && is_guessed (record->section))
        gw_machine_move (&e->machine, GW_ENCODE_CLOSING);
}

static void
begin_postcopy (GwRamEncoder *e)
{
    gw_ram_builder_close (&e->builder);
    e->builder.most = GW_RAM_URGENT_MAX;
    e->builder.urgency = GW_RAM_URGENT;
    gw_machine_move (&e->machine, GW_ENCODE_POSTCOPY);
}

static void
on_command (GwRamEncoder *e, const GwStreamRecord *record)
{
    uint16_t number = record->command.number;
    gboolean ends_precopy = number == GW_COMMAND_POSTCOPY_RAM_DISCARD
                            || number == GW_COMMAND_POSTCOPY_LISTEN
                            || number == GW_COMMAND_ENABLE_COLO;
    e->has_control = TRUE;
    if (ends_precopy && e->machine.state < GW_ENCODE_POSTCOPY)
        begin_postcopy (e);
}

static gboolean
on_record (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    GwRamEncoder *e = user_data;
    switch (record->type) {
    case GW_STREAM_RAM_PAGE:
    case GW_STREAM_RAM_ZERO:
    case GW_STREAM_RAM_XBZRLE:
    case GW_STREAM_RAM_COMPRESSED:
        on_page (e, record);
        break;
    case GW_STREAM_RAM_LIST:
        on_list (e, record);
        break;
    case GW_STREAM_RAM_BLOCK:
        if (e->key != NULL)
            gw_ram_index_add_block (&e->index, record->block->index, record->block->used_length);
        break;
    case GW_STREAM_SECTION:
        on_section (e, record);
        break;
    case GW_STREAM_COMMAND:
        on_command (e, record);
        break;
    case GW_STREAM_RAM_EOS:
    case GW_STREAM_RAM_FLUSH:
    case GW_STREAM_FOOTER:
        break;
    default:
        e->has_control = TRUE;
        break;
    }
    return TRUE;
}

/* --- life ------------------------------------------------------------------------------------------- */

static void
start_reader (GwRamEncoder *e)
{
    GwStreamParams params;
    gw_stream_params_init (&params);
    params.kind = e->params.kind;
    params.page_size = e->params.page_size;
    params.checks_vmdesc = FALSE;
    e->reader = gw_stream_reader_new (&params, on_record, e);
}

GwRamEncoder *
gw_ram_encoder_new (const GwRamParams *params)
{
    GwRamEncoder *e = g_new0 (GwRamEncoder, 1);
    unsigned page_bits = (unsigned) g_bit_storage (params->page_size) - 1;
    g_assert (params->page_size == 1u << page_bits);
    g_assert (params->memory_bytes == 0 || params->secret_bytes >= GW_RAM_SECRET_MIN);
    e->params = *params;
    e->params.secret = NULL;
    e->held = g_byte_array_new ();
    if (params->memory_bytes > 0 && params->kind == GW_STREAM_MAIN) {
        e->key = gw_ram_key_new (params->secret, params->secret_bytes, params->page_size);
        e->runs = g_malloc (params->page_size + 2);
        e->words = g_malloc (params->page_size);
    }
    gw_ram_index_init (&e->index, page_bits, 0);
    gw_ram_builder_init (&e->builder, page_bits);
    gw_machine_init (&e->machine, &table, NULL, NULL);
    start_reader (e);
    if (params->kind != GW_STREAM_MAIN)
        begin_postcopy (e);
    return e;
}

void
gw_ram_encoder_free (GwRamEncoder *e)
{
    if (e == NULL)
        return;
    gw_ram_builder_clear (&e->builder);
    gw_ram_cache_free (e->cache);
    gw_ram_index_clear (&e->index);
    gw_ram_key_free (e->key);
    gw_stream_reader_free (e->reader);
    g_byte_array_unref (e->held);
    g_clear_error (&e->fault);
    g_free (e->runs);
    g_free (e->words);
    g_free (e);
}

/* From the first byte that the reader did not cover on, everything is raw. */
static void
begin_passing (GwRamEncoder *e)
{
    gw_machine_move (&e->machine, GW_ENCODE_PASSING);
    e->has_control = TRUE;
}

void
gw_ram_encoder_set_light (GwRamEncoder *e, gboolean is_light)
{
    e->is_light = is_light;
}

void
gw_ram_encoder_push (GwRamEncoder *e, const uint8_t *data, gsize len)
{
    e->data = data;
    e->has_control = FALSE;
    e->counters.input += len;
    if (e->machine.state != GW_ENCODE_PASSING
        && !gw_stream_reader_push (e->reader, data, len, &e->fault))
        begin_passing (e);
    uint64_t end = e->base + len;
    gboolean is_whole = e->machine.state == GW_ENCODE_PASSING
                        || !gw_stream_reader_holds_ram (e->reader);
    e->has_control |= is_whole && gw_stream_reader_get_offset (e->reader) < end;
    pass_until (e, is_whole ? end : gw_stream_reader_get_offset (e->reader));
    hold_rest (e, len);
    if (e->has_control && e->builder.group != NULL)
        gw_ram_builder_raise (&e->builder, GW_RAM_CONTROL);
    e->base = end;
    e->data = NULL;
}

const GError *
gw_ram_encoder_get_fault (const GwRamEncoder *e)
{
    return e->fault;
}

GwRamGroup *
gw_ram_encoder_take (GwRamEncoder *e)
{
    GwRamGroup *group = g_queue_pop_head (&e->builder.done);
    if (group != NULL)
        e->builder.done_bytes -= group->len;
    return group;
}

/* Groups of deltas say nothing about what pages are worth. */
void
gw_ram_encoder_note_packed (GwRamEncoder *e, const GwRamGroup *group)
{
    gsize plain = gw_ram_head_get_plain (&group->head);
    if (e->cache != NULL && group->head.part[GW_RAM_PART_LITERALS] > plain / 2)
        gw_ram_cache_note_group (e->cache, group->head.number, (uint32_t) plain, group->head.body);
}

gboolean
gw_ram_encoder_get_waiting (const GwRamEncoder *e, GwRamUrgency *ret_urgency)
{
    if (e->builder.group == NULL)
        return FALSE;
    *ret_urgency = e->builder.urgency;
    return TRUE;
}

void
gw_ram_encoder_flush (GwRamEncoder *e)
{
    gw_ram_builder_close (&e->builder);
}

void
gw_ram_encoder_finish (GwRamEncoder *e)
{
    pass_until (e, e->base);
    g_byte_array_set_size (e->held, 0);
    gw_ram_builder_close (&e->builder);
}

/* --- figures ------------------------------------------------------------------------------------------ */

void
gw_ram_encoder_get_counters (const GwRamEncoder *e, GwRamCounters *ret_counters)
{
    *ret_counters = e->counters;
    ret_counters->index_bytes = e->index.used_bytes;
    ret_counters->cache_bytes = e->cache != NULL ? gw_ram_cache_get_bytes (e->cache) : 0;
}

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
