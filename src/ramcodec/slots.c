/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages by number.  Memory is taken as slots are filled, GW_RAM_SLAB of them at once. */
#include "internal.h"

G_STATIC_ASSERT (GW_RAM_SLAB == 64); /* a word of `filled` is a slab */

#define STOCK_SHARE 7 / 8 /* of the memory; the rest is for what keeps account of it */
#define TOUCH_BYTES 4096u /* no page of the kernel is smaller */

/* --- ahead of need ------------------------------------------------------------------------------- */

void
gw_ram_stock_init (GwRamStock *stock, uint64_t memory_bytes, uint32_t page_size)
{
    uint64_t slabs = memory_bytes / page_size / GW_RAM_SLAB;
    *stock = (GwRamStock){ .slabs = g_ptr_array_new_with_free_func (g_free), .page_size = page_size };
    stock->limit = (guint) MIN (slabs * STOCK_SHARE, G_MAXINT32);
}

void
gw_ram_stock_clear (GwRamStock *stock)
{
    g_clear_pointer (&stock->slabs, g_ptr_array_unref);
}

gboolean
gw_ram_stock_add (GwRamStock *stock)
{
    gsize bytes = (gsize) GW_RAM_SLAB * stock->page_size;
    if (stock->slabs->len >= stock->limit)
        return FALSE;
    uint8_t *slab = g_try_malloc (bytes);
    if (slab == NULL)
        return FALSE;
    for (gsize at = 0; at < bytes; at += TOUCH_BYTES)
        ((volatile uint8_t *) slab)[at] = 0;
    g_ptr_array_add (stock->slabs, slab);
    return TRUE;
}

void
gw_ram_stock_trim (GwRamStock *stock, guint limit)
{
    stock->limit = MIN (stock->limit, limit);
    if (stock->slabs->len > stock->limit)
        g_ptr_array_set_size (stock->slabs, (gint) stock->limit);
}

static uint8_t *
take_slab (GwRamSlots *slots, gsize bytes)
{
    GPtrArray *ready = slots->stock->slabs;
    gboolean is_whole = bytes == (gsize) GW_RAM_SLAB * slots->page_size;
    return is_whole && ready->len > 0 ? g_ptr_array_steal_index_fast (ready, ready->len - 1) : g_try_malloc (bytes);
}

/* --- pages ---------------------------------------------------------------------------------------- */

void
gw_ram_slots_init (GwRamSlots *slots, uint32_t limit, GwRamStock *stock)
{
    *slots = (GwRamSlots){ .limit = limit, .page_size = stock->page_size, .stock = stock };
    gw_ram_stock_trim (stock, limit / GW_RAM_SLAB);
    if (limit == 0)
        return;
    guint n = limit / GW_RAM_SLAB + 1;
    slots->slabs = g_try_new0 (uint8_t *, n);
    slots->filled = g_try_new0 (uint64_t, n);
    if (slots->slabs == NULL || slots->filled == NULL)
        gw_ram_slots_clear (slots);
}

void
gw_ram_slots_clear (GwRamSlots *slots)
{
    for (uint32_t i = 0; slots->slabs != NULL && i <= slots->limit / GW_RAM_SLAB; i++)
        g_free (slots->slabs[i]);
    g_clear_pointer (&slots->slabs, g_free);
    g_clear_pointer (&slots->filled, g_free);
    slots->limit = 0;
    slots->used_bytes = 0;
}

uint8_t *
gw_ram_slots_fill (GwRamSlots *slots, uint32_t slot)
{
    uint32_t slab = slot / GW_RAM_SLAB;
    if (slot >= slots->limit)
        return NULL;
    if (slots->slabs[slab] == NULL) {
        gsize bytes = (gsize) MIN (GW_RAM_SLAB, slots->limit - slab * GW_RAM_SLAB) * slots->page_size;
        slots->slabs[slab] = take_slab (slots, bytes);
        if (slots->slabs[slab] == NULL)
            return NULL;
        slots->used_bytes += bytes;
    }
    slots->filled[slab] |= (uint64_t) 1 << slot % GW_RAM_SLAB;
    return slots->slabs[slab] + (gsize) (slot % GW_RAM_SLAB) * slots->page_size;
}

const uint8_t *
gw_ram_slots_get (const GwRamSlots *slots, uint32_t slot)
{
    uint32_t slab = slot / GW_RAM_SLAB;
    if (slot >= slots->limit || (slots->filled[slab] >> slot % GW_RAM_SLAB & 1) == 0)
        return NULL;
    return slots->slabs[slab] + (gsize) (slot % GW_RAM_SLAB) * slots->page_size;
}
