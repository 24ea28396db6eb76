/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The encoder: its life, the bytes that are no pages, and the groups that come out. */
#include "encode.h"

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

void
gw_ram_encoder_pass_until (GwRamEncoder *e, uint64_t offset)
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

/* --- life ------------------------------------------------------------------------------------------- */

static void
start_reader (GwRamEncoder *e)
{
    GwStreamParams params;
    gw_stream_params_init (&params);
    params.kind = e->params.kind;
    params.page_size = e->params.page_size;
    params.checks_vmdesc = FALSE;
    e->reader = gw_stream_reader_new (&params, gw_ram_encoder_take_record, e);
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
    gw_ram_stock_init (&e->stock, e->key != NULL ? params->memory_bytes : 0, params->page_size);
    gw_ram_builder_init (&e->builder, page_bits);
    gw_machine_init (&e->machine, &table, NULL, NULL);
    start_reader (e);
    if (params->kind != GW_STREAM_MAIN)
        gw_ram_encoder_begin_postcopy (e);
    return e;
}

gboolean
gw_ram_encoder_stock_up (GwRamEncoder *e)
{
    return !e->has_ram && gw_ram_stock_add (&e->stock);
}

void
gw_ram_encoder_free (GwRamEncoder *e)
{
    if (e == NULL)
        return;
    gw_ram_builder_clear (&e->builder);
    gw_ram_cache_free (e->cache);
    gw_ram_stock_clear (&e->stock);
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
    gw_ram_encoder_pass_until (e, is_whole ? end : gw_stream_reader_get_offset (e->reader));
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
    gw_ram_encoder_pass_until (e, e->base);
    g_byte_array_set_size (e->held, 0);
    gw_ram_builder_close (&e->builder);
}

/* --- figures ------------------------------------------------------------------------------------------ */

void
gw_ram_encoder_get_counters (const GwRamEncoder *e, GwRamCounters *ret_counters)
{
    *ret_counters = e->counters;
    ret_counters->raw -= e->light_bytes;
    ret_counters->index_bytes = e->index.used_bytes;
    ret_counters->cache_bytes = e->cache != NULL ? gw_ram_cache_get_bytes (e->cache) : 0;
}
