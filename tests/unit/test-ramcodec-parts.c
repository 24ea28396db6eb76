/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of the codec by themselves: hash, delta, index, cache, levels. */
#include "../../src/ramcodec/internal.h"

#include <string.h>

#define PAGE 4096u
#define SECRET ((const uint8_t *) "sixteen bytes ok")

static void
fill_random (GRand *rand, uint8_t *page)
{
    for (guint i = 0; i < PAGE; i++)
        page[i] = (uint8_t) g_rand_int (rand);
}

/* --- hash ---------------------------------------------------------------------------------------- */

static guint
count_bits (GwRamHash a, GwRamHash b)
{
    return (guint) (__builtin_popcountll (a.low ^ b.low) + __builtin_popcountll (a.high ^ b.high));
}

/* Every bit of the page counts, wherever it is, and changes about half of the hash. */
static void
test_hash_sees_every_word (void)
{
    g_autoptr (GwRamKey) key = gw_ram_key_new (SECRET, 16, PAGE);
    g_autoptr (GRand) rand = g_rand_new_with_seed (1);
    uint8_t page[PAGE];
    guint sum = 0;
    fill_random (rand, page);
    GwRamHash hash = gw_ram_hash (key, page);
    for (guint i = 0; i < PAGE * 8; i++) {
        page[i / 8] ^= (uint8_t) (1 << i % 8);
        guint bits = count_bits (hash, gw_ram_hash (key, page));
        g_assert_cmpuint (bits, >, 10);
        sum += bits;
        page[i / 8] ^= (uint8_t) (1 << i % 8);
    }
    g_assert_cmpuint (sum / (PAGE * 8), >, 58);
    g_assert_cmpuint (sum / (PAGE * 8), <, 69);
    g_assert_true (gw_ram_hash_equal (hash, gw_ram_hash (key, page)));
}

/* Words exchanged, and sums kept: what a plain sum of products would not see. */
static void
test_hash_sees_order (void)
{
    g_autoptr (GwRamKey) key = gw_ram_key_new (SECRET, 16, PAGE);
    uint8_t a[PAGE] = { 0 }, b[PAGE] = { 0 };
    for (guint i = 0; i < PAGE; i += 8) {
        memset (b, 0, sizeof b);
        b[i] = 1;
        g_assert_false (gw_ram_hash_equal (gw_ram_hash (key, a), gw_ram_hash (key, b)));
        memcpy (a, b, sizeof a);
    }
    memset (a, 0, sizeof a);
    memset (b, 0, sizeof b);
    a[7] = b[7 + 16] = 0x80; /* the top bit of one pair, or of the next */
    g_assert_false (gw_ram_hash_equal (gw_ram_hash (key, a), gw_ram_hash (key, b)));
}

static void
test_hash_is_keyed (void)
{
    g_autoptr (GwRamKey) one = gw_ram_key_new (SECRET, 16, PAGE);
    g_autoptr (GwRamKey) same = gw_ram_key_new (SECRET, 16, PAGE);
    g_autoptr (GwRamKey) other = gw_ram_key_new ((const uint8_t *) "sixteen bytes no", 16, PAGE);
    const uint8_t zero[PAGE] = { 0 };
    GwRamHash hash = gw_ram_hash (one, zero);
    g_assert_true (gw_ram_hash_equal (hash, gw_ram_hash (same, zero)));
    g_assert_cmpuint (count_bits (hash, gw_ram_hash (other, zero)), >, 30);
}

/* --- delta --------------------------------------------------------------------------------------- */

static void
test_delta_there_and_back (void)
{
    g_autoptr (GRand) rand = g_rand_new_with_seed (2);
    uint8_t base[PAGE], page[PAGE], runs[PAGE + 2], words[PAGE];
    gsize n_runs, n_words;
    for (guint i = 0; i < 3000; i++) {
        fill_random (rand, base);
        memcpy (page, base, PAGE);
        for (int k = g_rand_int_range (rand, 0, 40); k > 0; k--) {
            gsize at = (gsize) g_rand_int_range (rand, 0, PAGE);
            gsize len = (gsize) g_rand_int_range (rand, 1, i % 7 == 0 ? 3000 : 30);
            memset (page + at, (int) i, MIN (PAGE - at, len));
        }
        g_assert_true (gw_ram_delta_make (base, page, PAGE, PAGE, runs, &n_runs, words, &n_words));
        gsize taken_runs = n_runs, taken_words = n_words;
        g_assert_true (gw_ram_delta_apply (runs, &taken_runs, words, &taken_words, base, PAGE));
        g_assert_cmpmem (base, PAGE, page, PAGE);
        g_assert_cmpuint (taken_runs, ==, n_runs);
        g_assert_cmpuint (taken_words, ==, n_words);
    }
}

static void
test_delta_has_a_limit (void)
{
    uint8_t base[PAGE] = { 0 }, page[PAGE], runs[PAGE + 2], words[PAGE];
    gsize n_runs = 77, n_words = 78;
    memset (page, 1, sizeof page);
    g_assert_false (gw_ram_delta_make (base, page, PAGE, 3072, runs, &n_runs, words, &n_words));
    g_assert_cmpuint (n_runs, ==, 77);
    g_assert_cmpuint (n_words, ==, 78);
    memset (page + 3072, 0, PAGE - 3072);
    g_assert_true (gw_ram_delta_make (base, page, PAGE, 3072, runs, &n_runs, words, &n_words));
    g_assert_cmpuint (n_words, ==, 3072);
    g_assert_cmpuint (n_runs, ==, 6); /* 255 words, 129 words, the end */
}

/* --- index --------------------------------------------------------------------------------------- */

static void
test_index_stays_in_budget (void)
{
    GwRamIndex index;
    guint n = 0;
    gw_ram_index_init (&index, 12, 100000);
    gw_ram_index_add_block (&index, 3, (uint64_t) 10000 * PAGE);
    gw_ram_index_add_block (&index, 4, UINT64_MAX); /* no room for its table */
    gw_ram_index_add_block (&index, UINT_MAX, PAGE);
    g_assert_null (gw_ram_index_get (&index, 4, 0, TRUE));
    g_assert_null (gw_ram_index_get (&index, 9, 0, TRUE));
    g_assert_null (gw_ram_index_get (&index, 3, 0, FALSE));
    for (guint i = 0; i < 10000; i++)
        n += gw_ram_index_get (&index, 3, (uint64_t) i * PAGE, TRUE) != NULL;
    g_assert_cmpuint (index.used_bytes, <=, 100000);
    g_assert_cmpuint (n, ==, 4096); /* four chunks of 24 KiB */
    g_assert_null (gw_ram_index_get (&index, 3, UINT64_MAX, TRUE));
    GwRamEntry *entry = gw_ram_index_get (&index, 3, 5 * PAGE, TRUE);
    g_assert_cmpuint (entry->state, ==, GW_RAM_NEVER);
    g_assert_cmpuint (entry->slot, ==, GW_RAM_NO_SLOT);
    g_assert_true (gw_ram_index_peek (&index, 3, 5 * PAGE) == entry);
    gw_ram_index_clear (&index);
}

/* --- slots ---------------------------------------------------------------------------------------- */

static GwRamStock
make_stock (uint64_t slabs)
{
    GwRamStock stock;
    gw_ram_stock_init (&stock, (slabs * 8 + 6) / 7 * GW_RAM_SLAB * PAGE, PAGE);
    return stock;
}

/* What was got ahead is used, what is too much for the slots goes, and without any they get their own. */
static void
test_slots_take_what_is_there (void)
{
    g_auto (GwRamStock) stock = make_stock (6);
    GwRamSlots slots;
    guint n = 0;
    while (gw_ram_stock_add (&stock))
        n++;
    g_assert_cmpuint (n, ==, 6);
    gw_ram_slots_init (&slots, 3 * GW_RAM_SLAB + 1, &stock);
    g_assert_cmpuint (stock.slabs->len, ==, 3);
    g_assert_false (gw_ram_stock_add (&stock));
    const uint8_t *last = g_ptr_array_index (stock.slabs, 2);
    g_assert_true (gw_ram_slots_fill (&slots, GW_RAM_SLAB) == last);
    g_assert_cmpuint (stock.slabs->len, ==, 2);
    g_assert_nonnull (gw_ram_slots_fill (&slots, 3 * GW_RAM_SLAB)); /* a slab of one page is none of these */
    g_assert_cmpuint (stock.slabs->len, ==, 2);
    for (guint i = 0; i <= 3 * GW_RAM_SLAB; i++)
        memset (gw_ram_slots_fill (&slots, i), (int) (i % 251), PAGE);
    g_assert_cmpuint (stock.slabs->len, ==, 0);
    for (guint i = 0; i <= 3 * GW_RAM_SLAB; i++)
        g_assert_cmpuint (gw_ram_slots_get (&slots, i)[PAGE - 1], ==, i % 251);
    g_assert_cmpuint (slots.used_bytes, ==, (3 * GW_RAM_SLAB + 1) * PAGE);
    gw_ram_slots_clear (&slots);
}

/* --- cache --------------------------------------------------------------------------------------- */

static void
test_cache_finds_content (void)
{
    g_autoptr (GwRamKey) key = gw_ram_key_new (SECRET, 16, PAGE);
    g_auto (GwRamStock) stock = make_stock (0);
    g_autoptr (GwRamCache) cache = gw_ram_cache_new (100, &stock);
    g_autoptr (GRand) rand = g_rand_new_with_seed (3);
    g_autofree uint8_t *pages = g_malloc (300 * PAGE);
    guint n_found = 0;
    for (guint i = 0; i < 300; i++) {
        fill_random (rand, pages + i * PAGE);
        uint32_t slot = gw_ram_cache_claim (cache, FALSE, 0);
        g_assert_true ((slot < 100) == (i < 100)); /* what is new takes no other's place */
        if (slot == GW_RAM_NO_SLOT)
            continue;
        g_assert_true (gw_ram_cache_put (cache, slot, i, gw_ram_hash (key, pages + i * PAGE),
                                         pages + i * PAGE));
        g_assert_true (gw_ram_cache_is_owner (cache, slot, i));
    }
    for (guint i = 0; i < 300; i++) {
        const uint8_t *page = pages + i * PAGE;
        uint32_t slot = gw_ram_cache_find (cache, gw_ram_hash (key, page), page);
        if (slot == GW_RAM_NO_SLOT)
            continue;
        n_found++;
        g_assert_cmpmem (gw_ram_cache_get (cache, slot), PAGE, page, PAGE);
    }
    g_assert_cmpuint (n_found, ==, 100); /* the first hundred */
    g_assert_cmpuint (gw_ram_cache_get_bytes (cache), <=, 100 * gw_ram_cache_measure (PAGE));
}

/* The same hash is not enough. */
static void
test_cache_compares (void)
{
    g_auto (GwRamStock) stock = make_stock (0);
    g_autoptr (GwRamCache) cache = gw_ram_cache_new (4, &stock);
    uint8_t a[PAGE] = { 1 }, b[PAGE] = { 2 };
    GwRamHash hash = { 5, 5 };
    g_assert_true (gw_ram_cache_put (cache, gw_ram_cache_claim (cache, FALSE, 0), 0, hash, a));
    g_assert_cmpuint (gw_ram_cache_find (cache, hash, a), ==, 0);
    g_assert_cmpuint (gw_ram_cache_find (cache, hash, b), ==, GW_RAM_NO_SLOT);
}

/* A pass over memory pushes out nothing, and what is used again not what was, too. */
static void
test_cache_keeps_what_is_used (void)
{
    g_auto (GwRamStock) stock = make_stock (0);
    g_autoptr (GwRamCache) cache = gw_ram_cache_new (64, &stock);
    const uint8_t page[PAGE] = { 0 };
    for (guint i = 0; i < 64; i++) {
        uint32_t slot = gw_ram_cache_claim (cache, i >= 32, 0);
        g_assert_true (gw_ram_cache_put (cache, slot, i, (GwRamHash){ i, 0 }, page));
    }
    for (guint i = 1000; i < 5000; i++)
        g_assert_cmpuint (gw_ram_cache_claim (cache, FALSE, 0), ==, GW_RAM_NO_SLOT);
    for (guint i = 5000; i < 5036; i++) {
        uint32_t slot = gw_ram_cache_claim (cache, TRUE, 0);
        g_assert_true ((slot != GW_RAM_NO_SLOT) == (i < 5032));
        if (slot != GW_RAM_NO_SLOT)
            g_assert_true (gw_ram_cache_put (cache, slot, i, (GwRamHash){ i, 0 }, page));
    }
    for (uint32_t slot = 0; slot < 64; slot++)
        g_assert_true (gw_ram_cache_is_owner (cache, slot, slot) == (slot >= 32));
}

/* --- levels -------------------------------------------------------------------------------------- */

/* What a level does, in the units of the link's rate. */
typedef struct {
    double ratio[GW_RAM_N_LEVELS], rate[GW_RAM_N_LEVELS];
} World;

static void
live (GwRamLevels *levels, const World *world, double link_rate, double cores, guint *ret_counts)
{
    memset (ret_counts, 0, GW_RAM_N_LEVELS * sizeof *ret_counts);
    for (guint i = 0; i < 3000; i++) {
        guint k = gw_ram_levels_choose (levels, link_rate, cores);
        ret_counts[k]++;
        gw_ram_levels_note (levels, k, 500000, (gsize) (500000 * world->ratio[k]),
                            k == 0 ? 0 : (gint64) (500000 / world->rate[k] * 1e6));
    }
}

static void
test_levels_follow_the_link (void)
{
    static const World text = { { 1, 0.5, 0.42, 0.36, 0.31, 0.3, 0.33, 0.29, 0.27 },
                                { 0, 900e6, 700e6, 500e6, 450e6, 380e6, 230e6, 260e6, 90e6 } };
    static const struct {
        double link_rate, cores;
        guint expected;
    } rows[] = {
        { 12e6, 1, 8 },   /* 100 Mbit/s: the best ratio, */
        { 38e6, 2, 5 },   /* 300 Mbit/s: 6 takes more than a core, and 3 does no better */
        { 125e6, 1, 4 },  /* 1 Gbit/s: 2 would take more than a core */
        { 125e6, 2, 4 },  /* a chain has no more than one */
        { 1250e6, 1, 0 }, /* 10 Gbit/s: one core cannot keep up */
        { 1250e6, 2, 1 },
        { 5000e6, 2, 0 },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        GwRamLevels levels = { 0 };
        guint counts[GW_RAM_N_LEVELS];
        g_test_message ("row %u", i);
        live (&levels, &text, rows[i].link_rate, rows[i].cores, counts);
        g_assert_cmpuint (counts[rows[i].expected], >, 2700);
    }
}

/* What does not shrink is hardly tried, and what begins to shrink is. */
static void
test_levels_stop_trying (void)
{
    static const World noise = { { 1, 1, 1, 1, 1, 1, 1, 1, 1 }, { 0, 4e9, 4e9, 4e9, 4e9, 3e9, 2e9, 2e9, 1e9 } };
    static const World text = { { 1, 0.5, 0.42, 0.36, 0.31, 0.3, 0.33, 0.29, 0.27 },
                                { 0, 900e6, 700e6, 500e6, 450e6, 380e6, 230e6, 260e6, 90e6 } };
    GwRamLevels levels = { 0 };
    guint counts[GW_RAM_N_LEVELS];
    live (&levels, &noise, 12e6, 1, counts);
    g_assert_cmpuint (counts[0], >, 2900);
    live (&levels, &text, 12e6, 1, counts);
    g_assert_cmpuint (counts[8], >, 2000);
    g_assert_cmpint (gw_ram_ways[gw_ram_levels_choose (&(GwRamLevels){ 0 }, 0, 0)].level, ==, 1);
}

/* So many groups for which the link, the crew, both or nobody was waited for; the way of the last. */
static const GwRamWay *
press (GwRamLevels *levels, guint n, gboolean link, gboolean crew)
{
    guint way = 0;
    for (guint i = 0; i < n; i++) {
        way = gw_ram_levels_press (levels, link, crew);
        gw_ram_levels_note (levels, way, 500000, 200000, 1000);
    }
    return &gw_ram_ways[way];
}

/* On a slow link always a chain; more effort while the link is waited for, less when the crew is more often. */
static void
test_levels_press (void)
{
    GwRamLevels levels = { 0 };
    g_assert_cmpint (press (&levels, 100, FALSE, FALSE)->level, ==, 1);
    g_assert_cmpint (press (&levels, 1, FALSE, FALSE)->chain, >=, 0);
    g_assert_cmpint (press (&levels, 15, TRUE, FALSE)->level, ==, 1);
    g_assert_cmpint (press (&levels, 1, FALSE, TRUE)->level, ==, 1); /* a moment in which it was not starts the count again */
    g_assert_cmpint (press (&levels, 15, TRUE, TRUE)->level, ==, 1);
    g_assert_cmpint (press (&levels, 1, TRUE, FALSE)->level, ==, 2);
    g_assert_cmpint (press (&levels, 16, TRUE, TRUE)->level, ==, 3);
    g_assert_cmpint (press (&levels, 16, TRUE, TRUE)->level, ==, 6);
    g_assert_cmpint (press (&levels, 100, TRUE, TRUE)->level, ==, 6);
    g_assert_cmpint (press (&levels, 8, FALSE, TRUE)->level, ==, 3);
    g_assert_cmpint (press (&levels, 31, TRUE, TRUE)->level, ==, 3); /* it was too much: twice as long */
    g_assert_cmpint (press (&levels, 1, TRUE, TRUE)->level, ==, 6);
    for (guint i = 0; i < 40; i++) {
        (void) press (&levels, 8, FALSE, TRUE);
        (void) press (&levels, 256, TRUE, FALSE);
    }
    g_assert_cmpint (press (&levels, 8, FALSE, TRUE)->level, <, 6);
    g_assert_cmpint (press (&levels, 256, TRUE, TRUE)->level, ==, 6); /* and not for ever */
    gw_ram_levels_note (&levels, 8, 500000, 500000, 1000);
    g_assert_cmpint (press (&levels, 1, TRUE, TRUE)->level, ==, GW_RAM_LEVEL_NONE); /* what does not shrink */
    g_assert_cmpint (press (&levels, 1, TRUE, TRUE)->level, ==, 6);
}

/* Some groups that shrink to nothing, and the link is idle: that is no reason for less effort. */
static void
test_levels_bear_strain (void)
{
    GwRamLevels levels = { 0 };
    (void) press (&levels, 48, TRUE, FALSE);
    for (guint i = 0; i < 20; i++) {
        g_assert_cmpint (press (&levels, 7, FALSE, TRUE)->level, ==, 6);
        g_assert_cmpint (press (&levels, 100, FALSE, FALSE)->level, ==, 6);
        g_assert_cmpint (press (&levels, 7, TRUE, TRUE)->level, ==, 6);
    }
    for (guint i = 0; i < 6; i++) { /* the crew twice as often as the link */
        g_assert_cmpint (press (&levels, 2, FALSE, TRUE)->level, ==, 6);
        g_assert_cmpint (press (&levels, 1, TRUE, TRUE)->level, ==, 6);
    }
    g_assert_cmpint (press (&levels, 2, FALSE, TRUE)->level, ==, 3);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/ramcodec/hash/every-word", test_hash_sees_every_word);
    g_test_add_func ("/ramcodec/hash/order", test_hash_sees_order);
    g_test_add_func ("/ramcodec/hash/keyed", test_hash_is_keyed);
    g_test_add_func ("/ramcodec/delta/there-and-back", test_delta_there_and_back);
    g_test_add_func ("/ramcodec/delta/limit", test_delta_has_a_limit);
    g_test_add_func ("/ramcodec/index/budget", test_index_stays_in_budget);
    g_test_add_func ("/ramcodec/slots/stock", test_slots_take_what_is_there);
    g_test_add_func ("/ramcodec/cache/finds", test_cache_finds_content);
    g_test_add_func ("/ramcodec/cache/compares", test_cache_compares);
    g_test_add_func ("/ramcodec/cache/keeps", test_cache_keeps_what_is_used);
    g_test_add_func ("/ramcodec/levels/link", test_levels_follow_the_link);
    g_test_add_func ("/ramcodec/levels/stop", test_levels_stop_trying);
    g_test_add_func ("/ramcodec/levels/press", test_levels_press);
    g_test_add_func ("/ramcodec/levels/strain", test_levels_bear_strain);
    return g_test_run ();
}
