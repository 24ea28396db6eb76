/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Groups that are packed, by themselves and one after the other with a memory of those before. */
#include "internal.h"

#include <string.h>

#define BYTES 100000

/* --- groups ------------------------------------------------------------------------------------------------ */

static GwRamGroup *
make_group (const uint8_t *data, gsize len)
{
    GwRamBuilder builder;
    gw_ram_builder_init (&builder, 12);
    gw_ram_builder_put_raw (&builder, data, len);
    gw_ram_builder_close (&builder);
    GwRamGroup *group = g_queue_pop_head (&builder.done);
    gw_ram_builder_clear (&builder);
    return group;
}

/* By `seed`: alike for alike ones.  Each byte has `bits` that are drawn. */
static GwRamGroup *
draw_group (guint seed, guint bits)
{
    g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
    g_autofree uint8_t *data = g_malloc (BYTES);
    for (gsize i = 0; i < BYTES; i++)
        data[i] = (uint8_t) (g_rand_int (rand) & ((1u << bits) - 1));
    return make_group (data, BYTES);
}

/* What travels, as the far side makes a group of it. */
static GwRamGroup *
carry (const GwRamGroup *group)
{
    gsize len;
    g_autoptr (GError) error = NULL;
    const uint8_t *bytes = gw_ram_group_get_bytes (group, &len);
    GwRamGroup *there = gw_ram_group_load (bytes, len, &error);
    g_assert_no_error (error);
    return there;
}

static void
assert_refused (GwRamChain *chain, GwRamPacker *packer, GwRamGroup *group)
{
    g_autoptr (GError) error = NULL;
    g_assert_false (gw_ram_chain_unpack (chain, packer, group, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_CODEC_INVALID);
}

static void
assert_unpacks (GwRamChain *chain, GwRamPacker *packer, GwRamGroup *group, const GwRamGroup *twin)
{
    g_autoptr (GError) error = NULL;
    g_assert_true (gw_ram_chain_unpack (chain, packer, group, &error));
    g_assert_no_error (error);
    g_assert_cmpmem (group->bytes, group->len, twin->bytes, twin->len);
}

/* --- by itself --------------------------------------------------------------------------------------------- */

static GwRamGroup *
raw_group (gsize len, gboolean is_random)
{
    g_autoptr (GRand) rand = g_rand_new_with_seed (1);
    g_autofree uint8_t *data = g_malloc (len);
    for (gsize i = 0; i < len; i++)
        data[i] = is_random ? (uint8_t) g_rand_int (rand) : (uint8_t) (i / 100);
    return make_group (data, len);
}

static void
test_pack (void)
{
    g_autoptr (GwRamPacker) packer = gw_ram_packer_new ();
    for (int level = GW_RAM_LEVEL_LEAST - 1; level <= GW_RAM_LEVEL_MOST + 1; level++) {
        g_autoptr (GwRamGroup) group = raw_group (100000, FALSE);
        g_autoptr (GwRamGroup) noise = raw_group (100000, TRUE);
        g_autoptr (GwRamGroup) twin = raw_group (100000, FALSE);
        g_autoptr (GError) error = NULL;
        g_assert_true (gw_ram_pack (packer, group, level) == (level != GW_RAM_LEVEL_NONE));
        g_assert_false (gw_ram_pack (packer, group, level)); /* not twice */
        g_assert_false (gw_ram_pack (packer, noise, level));
        g_assert_cmpuint (noise->len, ==, noise->plain);
        g_assert_cmpuint (group->plain, ==, twin->len);
        g_assert_true (gw_ram_unpack (packer, group, &error));
        g_assert_no_error (error);
        g_assert_cmpmem (group->bytes, group->len, twin->bytes, twin->len);
    }
}

/* A packed body that holds more or less than its head says. */
static void
test_unpack_is_exact (void)
{
    g_autoptr (GwRamPacker) packer = gw_ram_packer_new ();
    for (int by = -1; by <= 1; by++) {
        g_autoptr (GwRamGroup) group = raw_group (5000, FALSE);
        g_autoptr (GError) error = NULL;
        g_assert_true (gw_ram_pack (packer, group, 1));
        group->head.part[GW_RAM_PART_LITERALS] += (uint32_t) by;
        g_assert_true (gw_ram_unpack (packer, group, &error) == (by == 0));
        g_assert_true (by == 0 || g_error_matches (error, GW_ERROR, GW_CAUSE_CODEC_INVALID));
    }
}

/* --- there and back ------------------------------------------------------------------------------------------- */

typedef struct {
    GwRamPacker *packer;
    GwRamChain *out[GW_RAM_CHAINS], *in[GW_RAM_CHAINS];
} Ends;

static void
ends_init (Ends *ends)
{
    static const int levels[GW_RAM_CHAINS] = { 1, 2, 3, 6 };
    ends->packer = gw_ram_packer_new ();
    for (guint i = 0; i < GW_RAM_CHAINS; i++) {
        ends->out[i] = gw_ram_chain_new (i, levels[i]);
        ends->in[i] = gw_ram_chain_new (i, GW_RAM_LEVEL_NONE);
    }
}

static void
ends_clear (Ends *ends)
{
    for (guint i = 0; i < GW_RAM_CHAINS; i++) {
        gw_ram_chain_free (ends->out[i]);
        gw_ram_chain_free (ends->in[i]);
    }
    gw_ram_packer_free (ends->packer);
}

/* Bytes that it took. */
static gsize
trip_of (Ends *ends, guint chain, guint seed, guint bits)
{
    g_autoptr (GwRamGroup) group = draw_group (seed, bits), twin = draw_group (seed, bits);
    g_assert_true (gw_ram_chain_pack (ends->out[chain], ends->packer, group));
    g_assert_false (gw_ram_chain_pack (ends->out[chain], ends->packer, group)); /* not twice */
    g_autoptr (GwRamGroup) there = carry (group);
    g_assert_true (gw_ram_group_is_chained (there));
    g_assert_cmpuint (gw_ram_group_get_chain (there), ==, chain);
    assert_unpacks (ends->in[chain], ends->packer, there, twin);
    g_assert_false (gw_ram_group_is_chained (there));
    return group->len;
}

static gsize
trip (Ends *ends, guint chain, guint seed)
{
    return trip_of (ends, chain, seed, 4);
}

/* A group that was there before is found as long as the chain's window has it, and two chains know nothing of each other. */
static void
check_remembers (guint chain, guint n_within, guint n_beyond)
{
    Ends ends;
    ends_init (&ends);
    gsize first = trip (&ends, chain, 1);
    g_assert_cmpuint (first, >, BYTES / 3);
    g_assert_cmpuint (trip (&ends, (chain + 1) % GW_RAM_CHAINS, 1), >, BYTES / 3);
    g_assert_cmpuint (trip (&ends, chain, 1), <, first / 50);
    for (guint i = 0; i < n_within; i++) /* of zeros, which leave no trace in what it remembers */
        g_assert_cmpuint (trip_of (&ends, chain, 1, 0), <, 200);
    g_assert_cmpuint (trip (&ends, chain, 1), <, first / 50);
    for (guint i = 0; i < n_beyond; i++)
        g_assert_cmpuint (trip_of (&ends, chain, 1, 0), <, 200);
    g_assert_cmpuint (trip (&ends, chain, 1), >, BYTES / 3);
    ends_clear (&ends);
}

/* A chain of level 1 has 1 MiB, any other 4. */
static void
test_remembers (void)
{
    check_remembers (0, 8, 11);
    for (guint chain = 1; chain < GW_RAM_CHAINS; chain++)
        check_remembers (chain, 39, 43);
}

/* What does not get smaller stays as it is, and the chain begins anew. */
static void
test_breaks_off (void)
{
    Ends ends;
    ends_init (&ends);
    gsize first = trip (&ends, 0, 1);
    g_autoptr (GwRamGroup) noise = draw_group (2, 8), twin = draw_group (2, 8);
    g_assert_false (gw_ram_chain_pack (ends.out[0], ends.packer, noise));
    g_assert_cmpmem (noise->bytes, noise->len, twin->bytes, twin->len);
    g_assert_cmpuint (trip (&ends, 0, 1), >=, first);
    g_assert_cmpuint (trip (&ends, 0, 1), <, first / 50);
    g_autoptr (GwRamGroup) small = make_group ((const uint8_t *) "x", 1);
    g_assert_false (gw_ram_chain_pack (ends.out[0], ends.packer, small));
    g_assert_cmpuint (trip (&ends, 0, 1), <, first / 50); /* it was not even tried */
    ends_clear (&ends);
}

/* --- what is refused -------------------------------------------------------------------------------------------- */

/* Three groups of one chain, packed. */
static void
pack_three (Ends *ends, GwRamGroup *ret[static 3])
{
    for (guint i = 0; i < 3; i++) {
        g_autoptr (GwRamGroup) group = draw_group (i, 4);
        g_assert_true (gw_ram_chain_pack (ends->out[0], ends->packer, group));
        ret[i] = carry (group);
    }
}

static void
test_order (void)
{
    Ends ends;
    GwRamGroup *groups[3];
    ends_init (&ends);
    pack_three (&ends, groups);
    assert_refused (ends.in[0], ends.packer, groups[1]); /* it has not begun */
    g_autoptr (GwRamGroup) twin = draw_group (0, 4);
    assert_unpacks (ends.in[0], ends.packer, groups[0], twin);
    g_autoptr (GError) error = NULL;
    if (gw_ram_chain_unpack (ends.in[0], ends.packer, groups[2], &error)) { /* zstd may not see it; the digest does */
        g_autoptr (GwRamGroup) wanted = draw_group (2, 4);
        g_assert_true (memcmp (groups[2]->bytes, wanted->bytes, wanted->len) != 0);
    }
    g_clear_error (&error);
    g_assert_false (gw_ram_unpack (ends.packer, groups[1], &error)); /* nor by itself */
    g_assert_error (error, GW_ERROR, GW_CAUSE_CODEC_INVALID);
    for (guint i = 0; i < 3; i++)
        gw_ram_group_free (groups[i]);
    ends_clear (&ends);
}

/* More or less in it than its head says. */
static void
test_is_exact (void)
{
    for (int by = -1; by <= 1; by++) {
        Ends ends;
        GwRamGroup *groups[3];
        g_autoptr (GwRamGroup) twin = draw_group (0, 4);
        ends_init (&ends);
        pack_three (&ends, groups);
        groups[0]->head.part[GW_RAM_PART_LITERALS] += (uint32_t) by;
        if (by == 0)
            assert_unpacks (ends.in[0], ends.packer, groups[0], twin);
        else
            assert_refused (ends.in[0], ends.packer, groups[0]);
        if (by != 0) /* and then it has not begun */
            assert_refused (ends.in[0], ends.packer, groups[1]);
        for (guint i = 0; i < 3; i++)
            gw_ram_group_free (groups[i]);
        ends_clear (&ends);
    }
}

/* Room is made for the window that both know, not for one that a peer asks for. */
static void
test_window_is_bounded (void)
{
    static const struct {
        uint8_t window; /* of a frame's head: the exponent less 10, times 8 */
        gboolean is_good;
    } rows[] = { { (GW_RAM_CHAIN_WINDOW_LOG - 10) << 3, TRUE },
                 { (GW_RAM_CHAIN_WINDOW_LOG - 10) << 3 | 1, FALSE },
                 { (31 - 10) << 3, FALSE } };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        Ends ends;
        /* magic, no size, the window; a last block that repeats one byte 1,000 times */
        const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, rows[i].window, 0x43, 0x1f, 0x00, 'x' };
        g_autofree uint8_t *plain = g_malloc (1000);
        ends_init (&ends);
        memset (plain, 'x', 1000);
        g_autoptr (GwRamGroup) group = make_group (plain, 1000), twin = make_group (plain, 1000);
        gsize ops = group->head.part[GW_RAM_PART_OPS];
        group->head.part[GW_RAM_PART_OPS] = 0; /* only the bytes are of interest */
        memcpy (gw_ram_packer_reserve (ends.packer, sizeof frame), frame, sizeof frame);
        gw_ram_packer_swap (ends.packer, group, sizeof frame, GW_RAM_PACKED | GW_RAM_CHAINED | GW_RAM_BEGINS);
        if (!rows[i].is_good)
            assert_refused (ends.in[0], ends.packer, group);
        else {
            g_assert_true (gw_ram_chain_unpack (ends.in[0], ends.packer, group, NULL));
            g_assert_cmpmem (group->bytes + GW_RAM_HEAD, group->len - GW_RAM_HEAD, twin->bytes + GW_RAM_HEAD,
                             twin->len - GW_RAM_HEAD - ops);
        }
        ends_clear (&ends);
    }
}

static void
test_flags (void)
{
    static const struct {
        uint8_t flags;
        gboolean is_good;
    } rows[] = {
        { GW_RAM_PACKED, TRUE },
        { GW_RAM_PACKED | GW_RAM_CHAINED, TRUE },
        { GW_RAM_PACKED | GW_RAM_CHAINED | GW_RAM_BEGINS | 3 << GW_RAM_CHAIN_SHIFT, TRUE },
        { GW_RAM_PACKED | GW_RAM_BEGINS, FALSE },
        { GW_RAM_PACKED | 1 << GW_RAM_CHAIN_SHIFT, FALSE },
        { GW_RAM_CHAINED, FALSE },
        { GW_RAM_PACKED | 1 << 3, FALSE },
        { GW_RAM_PACKED | GW_RAM_CHAINED | 1 << 6, FALSE },
    };
    g_autoptr (GwRamPacker) packer = gw_ram_packer_new ();
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GwRamGroup) group = draw_group (1, 4);
        g_autoptr (GError) error = NULL;
        gsize len;
        g_assert_true (gw_ram_pack (packer, group, 1));
        group->head.flags = rows[i].flags;
        gw_ram_group_seal (group);
        g_assert_true (gw_ram_group_measure (group->bytes, &len, &error) == rows[i].is_good);
        g_assert_true (rows[i].is_good || g_error_matches (error, GW_ERROR, GW_CAUSE_CODEC_INVALID));
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/ramcodec/pack", test_pack);
    g_test_add_func ("/ramcodec/unpack", test_unpack_is_exact);
    g_test_add_func ("/ramcodec/chain/remembers", test_remembers);
    g_test_add_func ("/ramcodec/chain/breaks-off", test_breaks_off);
    g_test_add_func ("/ramcodec/chain/order", test_order);
    g_test_add_func ("/ramcodec/chain/exact", test_is_exact);
    g_test_add_func ("/ramcodec/chain/window", test_window_is_bounded);
    g_test_add_func ("/ramcodec/chain/flags", test_flags);
    return g_test_run ();
}
