/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages the encoder keeps.
 *
 * Each slot has a merit, 0 to MERIT_MAX: 0 for a page seen once, more for one that was sent again, one
 * up for each use.  While there are free slots every page gets one.  Then a hand goes round: a page that
 * wants a slot looks at the one under the hand and takes it if its merit is 0.  Otherwise it goes
 * without; a page seen once then moves the hand, and every DENIALS-th page that was sent again lowers that
 * merit by one and moves it.  So a pass over all of memory does not push out what is written again and again, and a
 * working set of up to DENIALS + 1 times the cache keeps a part of itself in it instead of chasing
 * itself through.
 */
#include "internal.h"

#include <string.h>

#define MERIT_MAX 2
#define DENIALS 4

typedef struct {
    uint64_t owner; /* the page that may change it in place */
    uint64_t hash;
    uint32_t next;  /* in its bucket */
    uint8_t merit;
    uint8_t is_used;
} Slot;

struct _GwRamCache {
    GwRamSlots slots;
    Slot *info;        /* slots.limit */
    uint32_t *buckets; /* bucket_mask + 1: slot or NO_SLOT */
    uint32_t bucket_mask;
    uint32_t n_claimed; /* slots below were claimed once */
    uint32_t hand;
    uint32_t n_denied;
};

uint64_t
gw_ram_cache_measure (uint32_t page_size)
{
    return page_size + sizeof (Slot) + 2 * sizeof (uint32_t) + 1; /* buckets: at most two a slot */
}

static uint32_t
count_buckets (uint32_t limit)
{
    uint32_t n = 1;
    while (n < limit && n < 1u << 30)
        n *= 2;
    return n;
}

GwRamCache *
gw_ram_cache_new (uint32_t limit, uint32_t page_size)
{
    uint32_t n = count_buckets (limit);
    if (limit == 0)
        return NULL;
    g_autoptr (GwRamCache) cache = g_new0 (GwRamCache, 1);
    gw_ram_slots_init (&cache->slots, limit, page_size);
    cache->info = g_try_new0 (Slot, limit);
    cache->buckets = g_try_new (uint32_t, n);
    if (cache->slots.limit == 0 || cache->info == NULL || cache->buckets == NULL)
        return NULL;
    memset (cache->buckets, 0xff, (gsize) n * sizeof *cache->buckets);
    cache->bucket_mask = n - 1;
    return g_steal_pointer (&cache);
}

void
gw_ram_cache_free (GwRamCache *cache)
{
    if (cache == NULL)
        return;
    gw_ram_slots_clear (&cache->slots);
    g_free (cache->info);
    g_free (cache->buckets);
    g_free (cache);
}

uint32_t
gw_ram_cache_find (const GwRamCache *cache, GwRamHash hash, const uint8_t *page)
{
    uint32_t slot = cache->buckets[hash.low & cache->bucket_mask];
    for (; slot != GW_RAM_NO_SLOT; slot = cache->info[slot].next)
        if (cache->info[slot].hash == hash.low
            && memcmp (gw_ram_slots_get (&cache->slots, slot), page, cache->slots.page_size) == 0)
            return slot;
    return GW_RAM_NO_SLOT;
}

const uint8_t *
gw_ram_cache_get (const GwRamCache *cache, uint32_t slot)
{
    return gw_ram_slots_get (&cache->slots, slot);
}

gboolean
gw_ram_cache_is_owner (const GwRamCache *cache, uint32_t slot, uint64_t owner)
{
    return slot < cache->slots.limit && cache->info[slot].is_used
           && cache->info[slot].owner == owner;
}

/* A page that is new takes no other's slot: QEMU goes through memory in order, so that of two new ones that came
 * earlier is needed earlier. */
uint32_t
gw_ram_cache_claim (GwRamCache *cache, gboolean is_hot)
{
    if (cache->n_claimed < cache->slots.limit) {
        cache->info[cache->n_claimed].merit = is_hot ? 1 : 0;
        return cache->n_claimed++;
    }
    if (!is_hot)
        return GW_RAM_NO_SLOT;
    uint32_t slot = cache->hand;
    gboolean is_taken = cache->info[slot].merit == 0;
    if (is_taken)
        cache->info[slot].merit = 1;
    else if (++cache->n_denied % DENIALS != 0)
        return GW_RAM_NO_SLOT;
    else
        cache->info[slot].merit--;
    cache->hand = (cache->hand + 1) % cache->slots.limit;
    return is_taken ? slot : GW_RAM_NO_SLOT;
}

void
gw_ram_cache_touch (GwRamCache *cache, uint32_t slot)
{
    if (cache->info[slot].merit < MERIT_MAX)
        cache->info[slot].merit++;
}

static void
unlink_slot (GwRamCache *cache, uint32_t slot)
{
    uint32_t *link = &cache->buckets[cache->info[slot].hash & cache->bucket_mask];
    while (*link != slot)
        link = &cache->info[*link].next;
    *link = cache->info[slot].next;
}

gboolean
gw_ram_cache_put (GwRamCache *cache, uint32_t slot, uint64_t owner, GwRamHash hash,
                  const uint8_t *page)
{
    Slot *info = &cache->info[slot];
    uint8_t *bytes = gw_ram_slots_fill (&cache->slots, slot);
    if (bytes == NULL)
        return FALSE;
    if (info->is_used)
        unlink_slot (cache, slot);
    memcpy (bytes, page, cache->slots.page_size);
    uint32_t *bucket = &cache->buckets[hash.low & cache->bucket_mask];
    *info = (Slot){ owner, hash.low, *bucket, info->merit, TRUE };
    *bucket = slot;
    return TRUE;
}

uint64_t
gw_ram_cache_get_bytes (const GwRamCache *cache)
{
    uint64_t fixed = (uint64_t) cache->slots.limit * (sizeof (Slot) + 1)
                     + ((uint64_t) cache->bucket_mask + 1) * sizeof (uint32_t);
    return cache->slots.used_bytes + fixed;
}
