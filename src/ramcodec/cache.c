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
 *
 * What a slot saves is what its page would be once compressed.  The pages that filled the slots one after the other
 * make runs, and of each run it becomes known what its groups shrank to.  Once there is no free slot, a
 * page seen once takes that of another one in the run that shrank most, if pages do not shrink nearly as much now.
 */
#include "internal.h"

#include <string.h>

#define MERIT_MAX 2
#define DENIALS 4
#define RUN_LEAST 32u  /* slots of a run, at least: so there are not too many */
#define WORTH_MAX 255u /* of a page that does not shrink */
#define WORTH_SHARE(worth) ((worth) * 3 / 4) /* what shrinks to less may go */
#define RECENT_BYTES (4u << 20)              /* over which it is known how much pages shrink now */

typedef struct {
    uint64_t owner; /* the page that may change it in place */
    uint64_t hash;
    uint32_t next;  /* in its bucket */
    uint8_t merit;
    uint8_t is_used;
} Slot;

/* Slots from `first` on that were first filled by pages of the groups `from` to `to`. */
typedef struct {
    uint32_t first, n;
    uint32_t from, to;
    uint64_t plain, packed; /* of these groups, as far as it is known */
    gboolean is_used_up;
} Run;

struct _GwRamCache {
    GwRamSlots slots;
    Slot *info;        /* slots.limit */
    uint32_t *buckets; /* bucket_mask + 1: slot or NO_SLOT */
    uint32_t bucket_mask;
    uint32_t n_claimed; /* slots below were claimed once */
    uint32_t hand;
    uint32_t n_denied;
    Run *runs;          /* n_runs, by number of groups */
    uint32_t n_runs, max_runs;
    uint64_t recent_plain, recent_packed; /* of the last groups */
    uint32_t victim;    /* the run that gives up slots; or NO_SLOT: to be looked for */
    uint32_t victim_at; /* slots of it below were looked at */
};

uint64_t
gw_ram_cache_measure (uint32_t page_size)
{
    /* buckets: at most two a slot */
    return page_size + sizeof (Slot) + 2 * sizeof (uint32_t) + 1 + sizeof (Run) / RUN_LEAST + 1;
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
gw_ram_cache_new (uint32_t limit, GwRamStock *stock)
{
    uint32_t n = count_buckets (limit);
    if (limit == 0)
        return NULL;
    g_autoptr (GwRamCache) cache = g_new0 (GwRamCache, 1);
    gw_ram_slots_init (&cache->slots, limit, stock);
    cache->info = g_try_new0 (Slot, limit);
    cache->buckets = g_try_new (uint32_t, n);
    cache->max_runs = limit / RUN_LEAST;
    cache->runs = g_try_new (Run, MAX (cache->max_runs, 1));
    cache->victim = GW_RAM_NO_SLOT;
    if (cache->slots.limit == 0 || cache->info == NULL || cache->buckets == NULL ||
        cache->runs == NULL)
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
    g_free (cache->runs);
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

/* --- runs --------------------------------------------------------------------------------------------- */

static void
add_to_run (GwRamCache *cache, uint32_t slot, uint32_t group)
{
    Run *last = cache->n_runs > 0 ? &cache->runs[cache->n_runs - 1] : NULL;
    gboolean is_new = last == NULL || (last->n >= RUN_LEAST && last->to != group);
    if (is_new && cache->n_runs < cache->max_runs) {
        last = &cache->runs[cache->n_runs++];
        *last = (Run){ .first = slot, .from = group };
    }
    if (last == NULL)
        return; /* a cache as small as that does without */
    last->n++;
    last->to = group;
}

/* Groups become known in order, a few after they were made: the run is among the last. */
static Run *
find_run (GwRamCache *cache, uint32_t group)
{
    for (uint32_t i = cache->n_runs; i > 0; i--) {
        Run *run = &cache->runs[i - 1];
        if (run->from <= group)
            return group <= run->to ? run : NULL;
    }
    return NULL;
}

void
gw_ram_cache_note_group (GwRamCache *cache, uint32_t group, uint32_t plain, uint32_t packed)
{
    Run *run = find_run (cache, group);
    cache->recent_plain += plain;
    cache->recent_packed += packed;
    if (cache->recent_plain > RECENT_BYTES) {
        cache->recent_plain /= 2;
        cache->recent_packed /= 2;
    }
    if (run == NULL)
        return;
    run->plain += plain;
    run->packed += packed;
    cache->victim = GW_RAM_NO_SLOT;
}

static guint
get_worth (uint64_t plain, uint64_t packed)
{
    return plain > 0 ? (guint) MIN (packed * WORTH_MAX / plain, WORTH_MAX) : WORTH_MAX;
}

static void
find_victim (GwRamCache *cache)
{
    guint least = WORTH_MAX + 1;
    for (uint32_t i = 0; i < cache->n_runs; i++) {
        const Run *run = &cache->runs[i];
        guint worth = get_worth (run->plain, run->packed);
        if (run->is_used_up || worth >= least)
            continue;
        least = worth;
        cache->victim = i;
        cache->victim_at = run->first;
    }
}

/* A slot whose page would cost little to be sent again; NO_SLOT when there is none. */
static uint32_t
take_worthless (GwRamCache *cache)
{
    guint recent = get_worth (cache->recent_plain, cache->recent_packed);
    for (guint tries = 0; tries < 2; tries++) {
        if (cache->victim == GW_RAM_NO_SLOT)
            find_victim (cache);
        if (cache->victim == GW_RAM_NO_SLOT)
            break;
        Run *run = &cache->runs[cache->victim];
        if (get_worth (run->plain, run->packed) >= WORTH_SHARE (recent))
            break;
        while (cache->victim_at < run->first + run->n)
            if (cache->info[cache->victim_at++].merit == 0)
                return cache->victim_at - 1;
        run->is_used_up = TRUE;
        cache->victim = GW_RAM_NO_SLOT;
    }
    return GW_RAM_NO_SLOT;
}

/* --- slots -------------------------------------------------------------------------------------------- */

/* A page that is new takes no slot of another one that is worth as much: QEMU goes through memory in order, so that of
 * two new ones that came earlier is needed earlier. */
uint32_t
gw_ram_cache_claim (GwRamCache *cache, gboolean is_hot, uint32_t group)
{
    if (cache->n_claimed < cache->slots.limit) {
        cache->info[cache->n_claimed].merit = is_hot ? 1 : 0;
        add_to_run (cache, cache->n_claimed, group);
        return cache->n_claimed++;
    }
    if (!is_hot)
        return take_worthless (cache);
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
                     + ((uint64_t) cache->bucket_mask + 1) * sizeof (uint32_t)
                     + (uint64_t) cache->max_runs * sizeof (Run);
    return cache->slots.used_bytes + fixed;
}
