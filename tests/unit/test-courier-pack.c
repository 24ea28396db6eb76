/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blocks of a lane: what goes in comes out, smaller where it may be, and what is no block is refused. */
#include "pack.h"

#include <string.h>

#define MIB ((gsize) 1 << 20)

typedef enum { RANDOM, TEXT, ZERO, MIXED } Content;

static void
make (uint8_t *bytes, gsize len, Content content, GRand *rand)
{
    for (gsize i = 0; i < len; i++) {
        gboolean is_random = content == RANDOM || (content == MIXED && (i >> 18) % 2 == 0);
        bytes[i] = is_random         ? (uint8_t) g_rand_int (rand)
                   : content == ZERO ? 0
                                     : (uint8_t) "the quick brown fox "[i * i % 7 + i % 13];
    }
}

static gsize
draw (GRand *rand, gsize most, gsize left)
{
    gsize drawn = (gsize) g_rand_int_range (rand, 1, (gint32) most + 1);
    return MIN (drawn, left);
}

/* Packs `plain` in blocks of random sizes; returns what went over the link. */
static GByteArray *
pack (const uint8_t *plain, gsize len, gboolean may_compress, GRand *rand)
{
    g_autoptr (GwPacker) packer = gw_packer_new ();
    GByteArray *wire = g_byte_array_new ();
    for (gsize at = 0; at < len;) {
        gsize n = draw (rand, GW_PACK_BLOCK, len - at);
        memcpy (gw_packer_get_room (packer), plain + at, n);
        gw_packer_pack (packer, n, may_compress);
        gsize pending;
        const uint8_t *data;
        while ((data = gw_packer_peek (packer, &pending)), pending > 0) {
            gsize part = draw (rand, 20000, pending);
            g_byte_array_append (wire, data, (guint) part);
            gw_packer_consume (packer, part);
        }
        at += n;
    }
    return wire;
}

static void
take_pending (GwUnpacker *unpacker, GByteArray *plain)
{
    gsize len;
    const uint8_t *data = gw_unpacker_peek (unpacker, &len);
    if (len > 0)
        g_byte_array_append (plain, data, (guint) len);
    gw_unpacker_consume (unpacker, len);
}

static GByteArray *
unpack (const GByteArray *wire, GRand *rand)
{
    g_autoptr (GwUnpacker) unpacker = gw_unpacker_new ();
    GByteArray *plain = g_byte_array_new ();
    for (gsize at = 0; at < wire->len;) {
        GError *error = NULL;
        gsize taken, len = draw (rand, 20000, wire->len - at);
        g_assert_true (gw_unpacker_put (unpacker, wire->data + at, len, &taken, &error));
        g_assert_no_error (error);
        at += taken;
        take_pending (unpacker, plain);
    }
    g_assert_true (gw_unpacker_is_between_blocks (unpacker));
    return plain;
}

/* What goes in comes out; returns the bytes on the link. */
static gsize
carry (Content content, gboolean may_compress)
{
    g_autoptr (GRand) rand = g_rand_new_with_seed (g_test_rand_int_range (0, G_MAXINT32));
    gsize len = 4 * MIB + 77;
    g_autofree uint8_t *bytes = g_malloc (len);
    make (bytes, len, content, rand);
    g_autoptr (GByteArray) wire = pack (bytes, len, may_compress, rand);
    g_autoptr (GByteArray) plain = unpack (wire, rand);
    g_assert_cmpmem (plain->data, plain->len, bytes, len);
    return wire->len;
}

/* The least of a few: where the places of what pays lie is random, and now and then none is tried. */
static gsize
carry_mixed (void)
{
    gsize least = G_MAXSIZE;
    for (guint i = 0; i < 6; i++) {
        gsize len = carry (MIXED, TRUE);
        least = MIN (least, len);
    }
    return least;
}

static void
test_round_trip (void)
{
    g_assert_cmpuint (carry (TEXT, TRUE), <, MIB);
    g_assert_cmpuint (carry (ZERO, TRUE), <, MIB / 16);
    g_assert_cmpuint (carry_mixed (), <, 4 * MIB); /* it is tried again after what did not pay */
    g_assert_cmpuint (carry (RANDOM, TRUE), <, 4 * MIB + MIB / 64);
    g_assert_cmpuint (carry (TEXT, FALSE), >, 4 * MIB);
}

static void
assert_refused (const uint8_t *data, gsize len)
{
    g_autoptr (GwUnpacker) unpacker = gw_unpacker_new ();
    g_autoptr (GError) error = NULL;
    gsize taken;
    g_assert_false (gw_unpacker_put (unpacker, data, len, &taken, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_LINK_LOST);
    gw_unpacker_peek (unpacker, &len);
    g_assert_cmpuint (len, ==, 0);
}

static void
test_heads (void)
{
    static const uint8_t heads[][GW_PACK_HEAD] = {
        { 2, 0, 0, 1, 0, 0, 0, 2 },    /* no such kind */
        { 0, 0, 0, 0, 0, 0, 0, 0 },    /* empty */
        { 0, 0, 0, 2, 0, 0, 0, 3 },    /* raw of two lengths */
        { 0, 2, 0, 1, 0, 2, 0, 1 },    /* a byte too long */
        { 1, 0, 0, 3, 0, 0, 0, 3 },    /* not smaller */
        { 1, 0, 0, 1, 0, 2, 0, 1 },    /* becomes too long */
        { 1, 0, 0, 1, 0xff, 0, 0, 0 }, /* far too long */
    };
    for (guint i = 0; i < G_N_ELEMENTS (heads); i++)
        assert_refused (heads[i], GW_PACK_HEAD);
}

/* Every bit of a compressed block that is spoiled is either noticed, or changes no length. */
static void
test_damage (void)
{
    g_autoptr (GwPacker) packer = gw_packer_new ();
    gsize len, n_refused = 0;
    memset (gw_packer_get_room (packer), 'x', 5000);
    gw_packer_pack (packer, 5000, TRUE);
    const uint8_t *data = gw_packer_peek (packer, &len);
    g_assert_cmpuint (len, <, 200);
    for (gsize bit = 0; bit < 8 * len; bit++) {
        g_autoptr (GwUnpacker) unpacker = gw_unpacker_new ();
        g_autofree uint8_t *spoiled = g_memdup2 (data, len);
        gsize taken, n = 0;
        spoiled[bit / 8] ^= (uint8_t) (1u << bit % 8);
        gboolean ok = gw_unpacker_put (unpacker, spoiled, len, &taken, NULL);
        (void) gw_unpacker_peek (unpacker, &n);
        g_assert_true (n == 0 || (ok && (n == 5000 || bit < 8 * GW_PACK_HEAD)));
        n_refused += !ok;
    }
    g_assert_cmpuint (n_refused, >, 4 * len);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/courier-pack/round-trip", test_round_trip);
    g_test_add_func ("/courier-pack/heads", test_heads);
    g_test_add_func ("/courier-pack/damage", test_damage);
    return g_test_run ();
}
