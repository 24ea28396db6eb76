/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

/*
 * One mapping holds the rewritten region and, behind it, the filled one.  What each page must hold
 * stands in a second mapping.  A page and its entry are touched only under the page's lock; the
 * locks are shared by pages whose numbers agree modulo N_LOCKS, which keeps them few, and writer
 * and checker hold one for the time of one page only.
 */
#define N_LOCKS 64
#define SLICE_MS 4
#define MAX_REPORTS 20 /* bad pages named; all are counted */

typedef struct {
    uint32_t generation;
    uint32_t kind;
} Entry;

static struct {
    GuestParams params;
    uint64_t *words;   /* n_pages pages */
    Entry *entries;    /* n_pages */
    uint32_t n_pages;
    uint32_t n_dirty;  /* pages of the rewritten region, the first ones */
    pthread_mutex_t locks[N_LOCKS];
    _Atomic uint64_t dirty_bps, kind, checked, rounds, bad, written;
    _Atomic bool is_paused, is_check_wanted;
} memory;

static GuestPage
describe (uint32_t index)
{
    const Entry *entry = &memory.entries[index];

    return (GuestPage){ .address = (uintptr_t) (memory.words + (size_t) index * GUEST_PAGE_WORDS),
                        .seed = memory.params.seed,
                        .index = index,
                        .generation = entry->generation,
                        .kind = (GuestKind) entry->kind };
}

/* The caller holds the lock of `page`. */
static void
complain (const char *who, const GuestPage *page, const uint64_t *wanted, const uint64_t *found)
{
    char text[GUEST_LINE_MAX - 20];

    if (atomic_fetch_add (&memory.bad, 1) >= MAX_REPORTS)
        return;
    guest_content_explain (page, wanted, found, text, sizeof text);
    guest_report ("E memory %s %s", who, text);
}

/* Verifies page `index`. */
static void
check_page (uint32_t index)
{
    static uint64_t wanted[GUEST_PAGE_WORDS]; /* the checker's own */
    const uint64_t *found = memory.words + (size_t) index * GUEST_PAGE_WORDS;
    pthread_mutex_t *lock = &memory.locks[index % N_LOCKS];
    GuestPage page;

    pthread_mutex_lock (lock);
    page = describe (index);
    guest_content_make (&page, wanted);
    if (memcmp (wanted, found, GUEST_PAGE_BYTES) != 0)
        complain ("check", &page, wanted, found);
    pthread_mutex_unlock (lock);
    atomic_fetch_add (&memory.checked, 1);
}

/* Only words that differ are stored, so that a small change is small for whoever tracks dirty pages by
 * content.  The caller holds the lock of `page`. */
static void
store_page (const GuestPage *page, uint64_t *words)
{
    static uint64_t wanted[GUEST_PAGE_WORDS]; /* the writer's own */

    guest_content_make (page, wanted);
    for (int i = 0; i < GUEST_PAGE_WORDS; i++)
        if (words[i] != wanted[i])
            words[i] = wanted[i];
}

/* Takes page `index` to its next generation. */
static void
rewrite_page (uint32_t index, GuestKind kind)
{
    uint64_t *words = memory.words + (size_t) index * GUEST_PAGE_WORDS;
    pthread_mutex_t *lock = &memory.locks[index % N_LOCKS];
    Entry *entry = &memory.entries[index];
    bool is_step;
    GuestPage page;

    pthread_mutex_lock (lock);
    is_step = entry->kind == kind && guest_content_is_small (kind);
    *entry = (Entry){ entry->generation + 1, kind };
    page = describe (index);
    if (is_step)
        guest_content_step (&page, words);
    else
        store_page (&page, words);
    pthread_mutex_unlock (lock);
    atomic_fetch_add (&memory.written, 1);
}

static uint32_t
choose_page (uint64_t *state, uint32_t last)
{
    if (memory.params.is_random)
        return (uint32_t) ((guest_random (state) >> 32) * memory.n_dirty >> 32);
    return last + 1 < memory.n_dirty ? last + 1 : 0;
}

static void *
run_writer (void *data)
{
    uint64_t state = memory.params.seed + 1;
    uint32_t index = 0;
    GuestPace pace;

    guest_pace_init (&pace, GUEST_PAGE_BYTES);
    for (;;) {
        uint64_t allowed = guest_pace_wait (&pace, memory.dirty_bps, SLICE_MS);
        for (uint64_t i = 0; i < allowed / GUEST_PAGE_BYTES && !memory.is_paused; i++) {
            index = choose_page (&state, index);
            rewrite_page (index, (GuestKind) memory.kind);
        }
    }
    return NULL;
}

/* Answers the host's "check": every page, as fast as it goes. */
static void
check_all (void)
{
    for (uint32_t i = 0; i < memory.n_pages; i++)
        check_page (i);
    atomic_fetch_add (&memory.rounds, 1);
    guest_report ("CHECKED rounds=%llu bad=%llu", (unsigned long long) memory.rounds,
                  (unsigned long long) memory.bad);
}

static void *
run_checker (void *data)
{
    uint32_t index = 0;
    GuestPace pace;

    guest_pace_init (&pace, GUEST_PAGE_BYTES);
    for (;;) {
        uint64_t allowed = guest_pace_wait (&pace, memory.params.check_bps, SLICE_MS);
        for (uint64_t i = 0; i < allowed / GUEST_PAGE_BYTES && !memory.is_check_wanted; i++) {
            check_page (index);
            index = (index + 1) % memory.n_pages;
            if (index == 0)
                atomic_fetch_add (&memory.rounds, 1);
        }
        if (atomic_exchange (&memory.is_check_wanted, false))
            check_all ();
    }
    return NULL;
}

static void *
map (size_t bytes)
{
    void *at = mmap (NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return at == MAP_FAILED ? NULL : at;
}

/* Generation 0 of a page of the zero kind need not be touched, but is: the page must be there. */
static void
fill (uint32_t index, GuestKind kind)
{
    GuestPage page;

    memory.entries[index] = (Entry){ 0, kind };
    page = describe (index);
    guest_content_make (&page, memory.words + (size_t) index * GUEST_PAGE_WORDS);
}

bool
guest_memory_start (const GuestParams *params)
{
    uint64_t n_dirty = params->mem_bytes / GUEST_PAGE_BYTES;
    uint64_t n_pages = n_dirty + params->fill_bytes / GUEST_PAGE_BYTES;

    if (n_dirty == 0 || n_pages > UINT32_MAX)
        return false;
    memory.params = *params;
    memory.n_dirty = (uint32_t) n_dirty;
    memory.n_pages = (uint32_t) n_pages;
    memory.words = map (n_pages * GUEST_PAGE_BYTES);
    memory.entries = map (n_pages * sizeof (Entry));
    if (memory.words == NULL || memory.entries == NULL)
        return false;
    memory.dirty_bps = params->dirty_bps;
    memory.kind = params->content;
    for (int i = 0; i < N_LOCKS; i++)
        pthread_mutex_init (&memory.locks[i], NULL);
    for (uint32_t i = 0; i < memory.n_pages; i++)
        fill (i, (GuestKind) (i < memory.n_dirty ? params->content : params->fill_content));
    guest_report ("READY %s pages=%u", guest_boot_id (), memory.n_pages);
    guest_thread_start (run_writer, NULL, 0, 5);
    guest_thread_start (run_checker, NULL, 0, 10);
    return true;
}

void
guest_memory_set_dirty (uint64_t bps)
{
    memory.dirty_bps = bps;
}

void
guest_memory_set_kind (GuestKind kind)
{
    memory.kind = kind;
}

void
guest_memory_set_paused (bool is_paused)
{
    memory.is_paused = is_paused;
}

void
guest_memory_request_check (void)
{
    memory.is_check_wanted = true;
}

void
guest_memory_get_status (GuestMemoryStatus *ret_status)
{
    *ret_status = (GuestMemoryStatus){ .checked = memory.checked,
                                       .rounds = memory.rounds,
                                       .bad = memory.bad,
                                       .written = memory.written };
}
