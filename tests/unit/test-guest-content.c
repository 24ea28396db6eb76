/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <gio/gio.h>
#include <string.h>

typedef uint64_t Words[GUEST_PAGE_WORDS];

static GuestPage
page_of (GuestKind kind, uint32_t index, uint32_t generation)
{
    return (GuestPage){ .address = 0x7f0000000000u + (uint64_t) index * GUEST_PAGE_BYTES,
                        .seed = 1,
                        .index = index,
                        .generation = generation,
                        .kind = kind };
}

static guint
count_differences (const uint64_t *a, const uint64_t *b)
{
    guint n = 0;

    for (int i = 0; i < GUEST_PAGE_WORDS; i++)
        n += a[i] != b[i];
    return n;
}

static void
test_follows_from_identity (void)
{
    for (int kind = 0; kind < GUEST_N_KINDS; kind++) {
        Words first, again, other;
        GuestPage page = page_of ((GuestKind) kind, 7, 3);

        memset (again, 0xee, sizeof again);
        guest_content_make (&page, first);
        guest_content_make (&page, again);
        g_assert_cmpmem (first, sizeof first, again, sizeof again);
        page.index = 8;
        page.address += GUEST_PAGE_BYTES;
        guest_content_make (&page, other);
        g_assert_cmpuint (count_differences (first, other), >, 0);
    }
}

/* How much of a page changes from one generation to the next is what the kinds are for. */
static void
test_generations_differ (void)
{
    static const guint least[GUEST_N_KINDS] = { 5, 18, 480, 500, 18 };
    static const guint most[GUEST_N_KINDS] = { 5, 18, 509, 509, 18 };

    for (int kind = 0; kind < GUEST_N_KINDS; kind++) {
        for (guint generation = 1; generation < 6; generation++) {
            Words before, after;
            GuestPage page = page_of ((GuestKind) kind, 100, generation);

            guest_content_make (&page, before);
            page.generation++;
            guest_content_make (&page, after);
            g_assert_cmpuint (count_differences (before, after), >=, least[kind]);
            g_assert_cmpuint (count_differences (before, after), <=, most[kind]);
        }
    }
}

/* Step by step is the same as made at once. */
static void
test_steps (void)
{
    static const GuestKind kinds[] = { GUEST_SMALL, GUEST_HEAP };

    for (gsize i = 0; i < G_N_ELEMENTS (kinds); i++) {
        Words stepped, made;
        GuestPage page = page_of (kinds[i], 1234, 7);

        g_assert_true (guest_content_is_small (kinds[i]));
        guest_content_make (&page, stepped);
        for (int n = 0; n < 3; n++) {
            page.generation++;
            guest_content_step (&page, stepped);
            guest_content_make (&page, made);
            g_assert_cmpmem (stepped, sizeof stepped, made, sizeof made);
        }
    }
}

static void
test_even_zero_page_is_zero (void)
{
    static const Words zero;
    Words words;
    GuestPage page = page_of (GUEST_ZERO, 5, 2);

    memset (words, 0xee, sizeof words);
    guest_content_make (&page, words);
    g_assert_cmpmem (words, sizeof words, zero, sizeof zero);
    page.generation++;
    guest_content_make (&page, words);
    g_assert_cmpuint (count_differences (words, zero), ==, 5);
}

/* Bytes that 64 pages of a kind have after zlib, as a share of what they had before. */
static double
compressed_share (GuestKind kind)
{
    g_autoptr (GConverter) zlib =
        G_CONVERTER (g_zlib_compressor_new (G_ZLIB_COMPRESSOR_FORMAT_RAW, 1));
    g_autoptr (GOutputStream) sink = g_memory_output_stream_new_resizable ();
    g_autoptr (GOutputStream) stream = g_converter_output_stream_new (sink, zlib);
    GError *error = NULL;

    for (uint32_t i = 0; i < 64; i++) {
        Words words;
        GuestPage page = page_of (kind, i, 1);

        guest_content_make (&page, words);
        g_output_stream_write_all (stream, words, sizeof words, NULL, NULL, &error);
        g_assert_no_error (error);
    }
    g_output_stream_close (stream, NULL, &error);
    g_assert_no_error (error);
    return (double) g_memory_output_stream_get_data_size (G_MEMORY_OUTPUT_STREAM (sink)) /
           (64.0 * GUEST_PAGE_BYTES);
}

static void
test_text_compresses_three_times (void)
{
    double text = compressed_share (GUEST_TEXT), noise = compressed_share (GUEST_RANDOM);

    g_test_message ("zlib level 1 leaves %.3f of text, %.3f of random", text, noise);
    g_assert_cmpfloat (text, >, 0.25);
    g_assert_cmpfloat (text, <, 0.42);
    g_assert_cmpfloat (noise, >, 0.99);
}

static void
test_heap_compresses_nearly_to_half (void)
{
    double heap = compressed_share (GUEST_HEAP);

    g_test_message ("zlib level 1 leaves %.3f of heap", heap);
    g_assert_cmpfloat (heap, >, 0.5);
    g_assert_cmpfloat (heap, <, 0.75);
}

static void
assert_verdict (const GuestPage *page, const uint64_t *found, const char *verdict)
{
    char text[GUEST_LINE_MAX];
    Words wanted;
    g_autofree char *is = g_strdup_printf ("is=%s ", verdict);

    guest_content_make (page, wanted);
    guest_content_explain (page, wanted, found, text, sizeof text);
    g_test_message ("%s", text);
    g_assert_nonnull (strstr (text, is));
    g_assert_nonnull (strstr (text, "page=9 "));
}

/* A migration can bring back an older page, another page, a mixture or nothing. */
static void
test_explains_what_is_wrong (void)
{
    GuestPage page = page_of (GUEST_TEXT, 9, 4), old = page_of (GUEST_TEXT, 9, 3),
              foreign = page_of (GUEST_TEXT, 10, 4);
    Words words = { 0 };

    assert_verdict (&page, words, "zero");
    guest_content_make (&old, words);
    assert_verdict (&page, words, "old");
    guest_content_make (&page, words + 0);
    words[300] ^= 1;
    assert_verdict (&page, words, "torn");
    guest_content_make (&foreign, words);
    assert_verdict (&page, words, "foreign");
}

static void
test_parameters (void)
{
    GuestParams params;
    char bad[64];

    g_assert_true (guest_params_parse ("quiet gw.mem=256M gw.dirty=20M/s gw.content=small "
                                       "gw.order=sequential gw.tick=/dev/ttyS1 gw.check=max gw.cmd=none\n",
                                       &params, bad));
    g_assert_cmpuint (params.mem_bytes, ==, 256u << 20);
    g_assert_cmpuint (params.dirty_bps, ==, 20u << 20);
    g_assert_cmpuint (params.check_bps, ==, UINT64_MAX);
    g_assert_cmpuint (params.content, ==, GUEST_SMALL);
    g_assert_cmpuint (params.fill_content, ==, GUEST_TEXT);
    g_assert_cmpuint (params.is_random, ==, 0);
    g_assert_cmpuint (params.is_commanded, ==, 0);
    g_assert_cmpstr (params.tick, ==, "/dev/ttyS1");
    g_assert_cmpstr (params.report, ==, "");
}

static void
test_parameters_refused (void)
{
    static const char *const lines[] = { "gw.mem=12X",       "gw.content=jpeg", "gw.order=up",
                                         "gw.unknown=1",     "gw.mem=",         "gw.mem=-1",
                                         "gw.mem=99999999T", "gw.dirty=1M/h",   "gw.mem",
                                         "gw.cmd=all" };

    for (gsize i = 0; i < G_N_ELEMENTS (lines); i++) {
        g_autofree char *line = g_strdup_printf ("quiet %s panic=1", lines[i]);
        GuestParams params;
        char bad[64] = "";

        g_assert_false (guest_params_parse (line, &params, bad));
        g_assert_cmpstr (bad, ==, lines[i]);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/guest/content/follows-from-identity", test_follows_from_identity);
    g_test_add_func ("/guest/content/generations-differ", test_generations_differ);
    g_test_add_func ("/guest/content/even-zero-page-is-zero", test_even_zero_page_is_zero);
    g_test_add_func ("/guest/content/text-compresses", test_text_compresses_three_times);
    g_test_add_func ("/guest/content/steps", test_steps);
    g_test_add_func ("/guest/content/heap-compresses", test_heap_compresses_nearly_to_half);
    g_test_add_func ("/guest/content/explains", test_explains_what_is_wrong);
    g_test_add_func ("/guest/params/parsed", test_parameters);
    g_test_add_func ("/guest/params/refused", test_parameters_refused);
    return g_test_run ();
}
