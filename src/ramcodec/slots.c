/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages by number.  Memory is taken as slots are filled, GW_RAM_SLAB of them at once. */
#include "internal.h"

G_STATIC_ASSERT (GW_RAM_SLAB == 64); /* a word of `filled` is a slab */

void
gw_ram_slots_init (GwRamSlots *slots, uint32_t limit, uint32_t page_size)
{
    *slots = (GwRamSlots){ .limit = limit, .page_size = page_size };
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
        slots->slabs[slab] = g_try_malloc (bytes);
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
