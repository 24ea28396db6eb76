/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a decoder does with groups that no encoder made. */
#include "test-ramcodec-lane.h"

#define HEAD GW_RAM_HEAD

/* A group by hand: four parts, and what it says about itself. */
typedef struct {
    const char *parts[4];
    gsize lengths[4];
    guint32 output;
    guint32 number;
    guint8 version, flags, urgency, page_bits;
} Fake;

static GByteArray *
fake_new (const Fake *fake)
{
    GByteArray *out = g_byte_array_new ();
    guint32 body = 0;
    g_byte_array_set_size (out, HEAD);
    memset (out->data, 0, HEAD);
    for (guint i = 0; i < 4; i++) {
        gw_store_be32 (out->data + 8 + 4 * i, (guint32) fake->lengths[i]);
        body += (guint32) fake->lengths[i];
    }
    out->data[0] = fake->version;
    out->data[1] = fake->flags;
    out->data[2] = fake->urgency;
    out->data[3] = fake->page_bits;
    gw_store_be32 (out->data + 4, body);
    gw_store_be32 (out->data + 24, fake->output);
    gw_store_be32 (out->data + 28, fake->number);
    for (guint i = 0; i < 4; i++)
        g_byte_array_append (out, (const guint8 *) fake->parts[i], (guint) fake->lengths[i]);
    return out;
}

static Fake
fake_ops (const char *ops, gsize len, guint32 output)
{
    return (Fake){ .parts = { "", "", "", ops }, .lengths = { 0, 0, 0, len }, .output = output,
                   .version = 1, .page_bits = 12 };
}

/* Gives the group to `decoder`; the cause of the refusal, or NONE. */
static GwCause
give (GwRamDecoder *decoder, const Fake *fake, GByteArray *out)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GByteArray) bytes = fake_new (fake);
    g_autoptr (GwRamPacker) packer = gw_ram_packer_new ();
    g_autoptr (GwRamGroup) group = gw_ram_group_load (bytes->data, bytes->len, &error);
    guint before = out->len;
    if (group != NULL && gw_ram_unpack (packer, group, &error))
        (void) gw_ram_decoder_apply (decoder, group, out, &error); /* the error is the answer */
    g_assert_true (error == NULL || out->len == before);
    return gw_error_get_cause (error);
}

static GwCause
give_once (const Fake *fake)
{
    Trip trip;
    trip_init (&trip);
    trip.params.memory_bytes = 100 * LANE_PAGE;
    g_autoptr (GwRamDecoder) decoder = gw_ram_decoder_new (&trip.params);
    g_autoptr (GByteArray) out = g_byte_array_new ();
    return give (decoder, fake, out);
}

#define OK GW_CAUSE_NONE
#define BAD GW_CAUSE_CODEC_INVALID

static void
test_operations (void)
{
    static const struct {
        const char *ops;
        gsize len;
        guint32 output;
        GwCause cause;
    } rows[] = {
        { "", 0, 0, OK },
        { "\x01", 1, 9, OK },                          /* zero */
        { "\x01\x01", 2, 18, OK },
        { "\x09\x03" "abc", 5, 13, OK },               /* named */
        { "\x11\x02", 2, 9, OK },                      /* jump */
        { "\x01", 1, 10, BAD },                        /* less output than said */
        { "\x01", 1, 8, BAD },                         /* more */
        { "\x01\x01", 2, 9, BAD },
        { "\x05", 1, 9, BAD },                         /* no such kind */
        { "\x07", 1, 9, BAD },
        { "\x41", 1, 9, BAD },                         /* a zero page is not kept */
        { "\x21\x02", 2, 9, BAD },
        { "\x09\x04" "abc", 5, 14, BAD },              /* a name that is not there */
        { "\x09", 1, 9, BAD },
        { "\x11", 1, 9, BAD },                         /* a jump that is not there */
        { "\x11\x80", 2, 9, BAD },
        { "\x11\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, 9, BAD }, /* too long a number */
        { "\x11\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, 9, BAD }, /* outside of any block */
        { "\x00\x01", 2, 1, BAD },                     /* raw without bytes */
        { "\x00\x00", 2, 0, BAD },                     /* raw of nothing */
        { "\x10\x01", 2, 1, BAD },                     /* raw with a jump */
        { "\x02", 1, 4104, BAD },                      /* literal without a page */
        { "\x03", 1, 4104, BAD },                      /* copy of an empty slot */
        { "\x23\x06", 2, 4104, BAD },
        { "\x04", 1, 4104, BAD },                      /* delta from an empty slot */
        { "\x23\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, 4104, BAD },
        { "\x23\x80\x80\x80\x80\x10", 6, 4104, BAD },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        Fake fake = fake_ops (rows[i].ops, rows[i].len, rows[i].output);
        g_test_message ("row %u", i);
        g_assert_cmpint (give_once (&fake), ==, rows[i].cause);
    }
}

static void
test_heads (void)
{
    static const struct {
        Fake fake;
        GwCause cause;
    } rows[] = {
        { { .version = 1, .page_bits = 12 }, OK },
        { { .version = 1, .page_bits = 12, .urgency = 2 }, OK },
        { { .version = 0, .page_bits = 12 }, BAD },
        { { .version = 2, .page_bits = 12 }, BAD },
        { { .version = 1, .page_bits = 12, .flags = 2 }, BAD },
        { { .version = 1, .page_bits = 12, .flags = 1 }, BAD }, /* packed into as much */
        { { .version = 1, .page_bits = 12, .urgency = 3 }, BAD },
        { { .version = 1, .page_bits = 16 }, BAD },
        { { .version = 1, .page_bits = 12, .number = 1 }, BAD },
        { { .version = 1, .page_bits = 12, .output = GW_RAM_GROUP_MAX + 1 }, BAD },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        Fake fake = rows[i].fake;
        for (guint k = 0; k < 4; k++)
            fake.parts[k] = "";
        g_test_message ("row %u", i);
        g_assert_cmpint (give_once (&fake), ==, rows[i].cause);
    }
}

/* Sizes are refused before anything is taken for them. */
static void
test_sizes (void)
{
    uint8_t head[HEAD];
    gsize len = 77;
    for (guint at = 4; at < 28; at += 4) {
        g_autoptr (GError) error = NULL;
        memset (head, 0, sizeof head);
        head[0] = 1;
        head[3] = 12;
        gw_store_be32 (head + at, 0xffffffff);
        g_assert_false (gw_ram_group_measure (head, &len, &error));
        g_assert_error (error, GW_ERROR, BAD);
        g_assert_cmpuint (len, ==, 77);
    }
}

/* Slots beyond the budget, and what a delta may do. */
static void
test_slots_and_deltas (void)
{
    static char page[LANE_PAGE];
    static const struct {
        const char *ops, *runs, *words;
        gsize n_ops, n_runs, n_words;
        GwCause cause;
    } rows[] = {
        { "\x42\x03", "", "", 2, 0, 0, BAD },              /* copies slot 1, which is empty */
        { "\x42\x23\x01", "", "", 3, 0, 0, OK },           /* copies slot 0 */
        { "\x42\x24\x01", "\0\0", "", 3, 2, 0, OK },       /* a delta of nothing */
        { "\x42\x64\x01", "\2\1\0\0", "abcdefgh", 3, 4, 8, OK },
        { "\x42\x64\x01", "\2\1", "abcdefgh", 3, 2, 8, BAD }, /* without end */
        { "\x42\x64\x01", "\2\1\0\0", "abcdefg", 3, 4, 7, BAD },
        { "\x42\x64\x01", "\377\0\377\0\2\1\0\0", "abcdefgh", 3, 8, 8, BAD }, /* leaves the page */
        { "\x42\x64\x01", "\377\0\377\0\1\1\0\0", "abcdefgh", 3, 8, 8, OK },
        { "\x42\x24\x01", "\0\0\0\0", "", 3, 4, 0, BAD },  /* runs left over */
        { "\x42\x64\x01", "\0\0", "abcdefgh", 3, 2, 8, BAD }, /* words left over */
        { "\xc2\x02\x23\x01", "", "", 4, 0, 0, BAD },      /* kept in two ways */
        { "\x82\xc6\x01\x23\x01", "", "", 5, 0, 0, OK },   /* kept in slot 99, the last */
        { "\x82\xc8\x01\x23\x01", "", "", 5, 0, 0, BAD },  /* in slot 100 */
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        Fake fake = { .parts = { page, rows[i].words, rows[i].runs, rows[i].ops },
                      .lengths = { LANE_PAGE, rows[i].n_words, rows[i].n_runs, rows[i].n_ops },
                      .output = 2 * (8 + LANE_PAGE), .version = 1, .page_bits = 12 };
        g_test_message ("row %u", i);
        g_assert_cmpint (give_once (&fake), ==, rows[i].cause);
    }
}

/* Output is bounded by what the head says, not by what the operations would give. */
static void
test_output (void)
{
    static const char page[LANE_PAGE];
    static const guint32 outputs[] = { 0, 7, 8, 9, 4103, 4105, GW_RAM_GROUP_MAX };
    for (guint i = 0; i < G_N_ELEMENTS (outputs); i++) {
        Fake fake = { .parts = { page, "", "", "\x02" }, .lengths = { LANE_PAGE, 0, 0, 1 },
                      .output = outputs[i], .version = 1, .page_bits = 12 };
        g_assert_cmpint (give_once (&fake), ==, BAD);
        fake.parts[3] = "\x00\x80\x20";
        fake.lengths[3] = 3;
        g_assert_cmpint (give_once (&fake), ==, BAD);
    }
}

/* The first error is for ever. */
static void
test_stays_failed (void)
{
    Trip trip;
    Fake good = fake_ops ("\x01", 1, 9), bad = fake_ops ("\x01", 1, 8);
    trip_init (&trip);
    g_autoptr (GwRamDecoder) decoder = gw_ram_decoder_new (&trip.params);
    g_autoptr (GByteArray) out = g_byte_array_new ();
    g_assert_cmpint (give (decoder, &good, out), ==, OK);
    good.number = bad.number = 1;
    g_assert_cmpint (give (decoder, &bad, out), ==, BAD);
    g_assert_cmpint (give (decoder, &good, out), ==, BAD);
    good.number = 2;
    g_assert_cmpint (give (decoder, &good, out), ==, BAD);
    g_assert_cmpuint (out->len, ==, 9);
}

/* Packed groups whose bytes were changed: an error, or at least nothing outside of its bounds. */
static void
test_broken_packing (void)
{
    Lane lane;
    Trip trip;
    g_autoptr (GRand) rand = g_rand_new_with_seed (5);
    g_autoptr (GwRamPacker) packer = gw_ram_packer_new ();
    guint n_refused = 0;
    gsize len;
    trip_init (&trip);
    lane_init (&lane, 20, 3);
    lane_build (&lane, 3, FALSE);
    g_autoptr (GwRamEncoder) encoder = gw_ram_encoder_new (&trip.params);
    gw_ram_encoder_push (encoder, lane.out->data, lane.out->len);
    gw_ram_encoder_finish (encoder);
    g_autoptr (GwRamGroup) group = gw_ram_encoder_take (encoder);
    g_assert_true (gw_ram_pack (packer, group, 1));
    g_assert_true (gw_ram_group_is_packed (group));
    const uint8_t *bytes = gw_ram_group_get_bytes (group, &len);
    for (guint i = 0; i < 2000; i++) {
        g_autoptr (GError) error = NULL;
        g_autoptr (GByteArray) out = g_byte_array_new ();
        g_autofree uint8_t *copy = g_memdup2 (bytes, len);
        g_autoptr (GwRamDecoder) decoder = gw_ram_decoder_new (&trip.params);
        copy[g_rand_int_range (rand, 0, i % 2 == 0 ? (gint32) HEAD : (gint32) len)] ^=
            (uint8_t) g_rand_int_range (rand, 1, 256);
        g_autoptr (GwRamGroup) broken = gw_ram_group_load (copy, len, &error);
        if (broken != NULL && gw_ram_unpack (packer, broken, &error))
            (void) gw_ram_decoder_apply (decoder, broken, out, &error); /* counted below */
        n_refused += error != NULL;
        g_assert_cmpuint (out->len, <=, GW_RAM_GROUP_MAX);
    }
    g_assert_cmpuint (n_refused, >, 1000);
    lane_clear (&lane);
}

static void
test_short (void)
{
    uint8_t bytes[HEAD + 1] = { 1, 0, 0, 12 };
    for (gsize len = 0; len <= sizeof bytes; len++) {
        g_autoptr (GError) error = NULL;
        g_autoptr (GwRamGroup) group = gw_ram_group_load (bytes, len, &error);
        g_assert_true ((group != NULL) == (len == HEAD));
        g_assert_true (group != NULL || g_error_matches (error, GW_ERROR, BAD));
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/ramcodec/hostile/operations", test_operations);
    g_test_add_func ("/ramcodec/hostile/heads", test_heads);
    g_test_add_func ("/ramcodec/hostile/sizes", test_sizes);
    g_test_add_func ("/ramcodec/hostile/slots-and-deltas", test_slots_and_deltas);
    g_test_add_func ("/ramcodec/hostile/output", test_output);
    g_test_add_func ("/ramcodec/hostile/stays-failed", test_stays_failed);
    g_test_add_func ("/ramcodec/hostile/broken-packing", test_broken_packing);
    g_test_add_func ("/ramcodec/hostile/short", test_short);
    return g_test_run ();
}
