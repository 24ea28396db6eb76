/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Page requests and the pages that answer them, as the destination's courier sees both. */
#include "courier.h"
#include "stream.h"

#define PAGE GW_PAGE_WAIT_BYTES

typedef GwPageWaits Waits;

static void
ask (Waits *waits, const char *block, uint64_t start, uint32_t wanted, gint64 at_us)
{
    g_autoptr (GByteArray) bytes = g_byte_array_new ();
    GwReturnRecord record = { .type = block != NULL ? GW_RETURN_REQ_PAGES_ID : GW_RETURN_REQ_PAGES,
                              .start = start, .wanted = wanted, .block = block };
    gw_return_put_record (bytes, &record);
    gw_page_waits_take_requests (waits, bytes->data, bytes->len, at_us);
}

/* A page by the connection for urgent ones, in two pieces. */
static void
bring (Waits *waits, const char *block, uint64_t offset, gint64 at_us)
{
    uint8_t page[PAGE] = { 1 };
    g_autoptr (GByteArray) bytes = g_byte_array_new ();
    gw_stream_put_ram_page (bytes, block, offset, page, sizeof page);
    gw_page_waits_take_pages (waits, 1, bytes->data, 100, at_us - 1);
    gw_page_waits_take_pages (waits, 1, bytes->data + 100, bytes->len - 100, at_us);
}

static GwPageWaitCounters
look (const Waits *waits)
{
    GwPageWaitCounters counters;
    gw_page_waits_get_counters (waits, &counters);
    return counters;
}

static void
test_answers (void)
{
    g_autoptr (GwPageWaits) waits = gw_page_waits_new ();
    ask (waits, "pc.ram", 0, PAGE, 1000);
    ask (waits, NULL, PAGE, PAGE, 1010);  /* of the same block */
    ask (waits, NULL, 0, PAGE, 1020);     /* again: another processor wants it too */
    bring (waits, "vga.vram", 0, 1100);   /* nobody asked for that */
    g_assert_cmpint (look (waits).answered, ==, 0);
    bring (waits, "pc.ram", 0, 1300);
    bring (waits, NULL, PAGE, 1410);
    bring (waits, NULL, PAGE, 1500);      /* a second time: it answers nothing */
    GwPageWaitCounters counters = look (waits);
    g_assert_cmpint (counters.requests, ==, 3);
    g_assert_cmpint (counters.answered, ==, 2);
    g_assert_cmpint (counters.sum_us, ==, 300 + 400);
    g_assert_cmpint (counters.max_us, ==, 400);
}

/* What more blocks than any VM has ask for is counted and not waited for. */
static void
test_too_many_blocks (void)
{
    g_autoptr (GwPageWaits) waits = gw_page_waits_new ();
    for (guint i = 0; i < 5000; i++) {
        g_autofree char *name = g_strdup_printf ("block %u", i);
        ask (waits, name, 0, PAGE, 1000);
    }
    bring (waits, "block 4999", 0, 1100);
    g_assert_cmpint (look (waits).answered, ==, 0);
    bring (waits, "block 0", 0, 1100);
    g_assert_cmpint (look (waits).requests, ==, 5000);
    g_assert_cmpint (look (waits).answered, ==, 1);
}

/* It is there when its last part is. */
static void
test_huge_page (void)
{
    g_autoptr (GwPageWaits) waits = gw_page_waits_new ();
    ask (waits, "ram", 0, 3 * PAGE, 0);
    for (guint i = 0; i < 3; i++) {
        g_assert_cmpint (look (waits).answered, ==, 0);
        bring (waits, "ram", i * PAGE, 100 * (i + 1));
    }
    g_assert_cmpint (look (waits).max_us, ==, 300);
}

/* It may come among the others: then it waits behind them, and that counts. */
static void
test_main_stream (void)
{
    g_autoptr (GwPageWaits) waits = gw_page_waits_new ();
    g_autoptr (GByteArray) bytes = g_byte_array_new ();
    GwStreamBlock block = { .name = (char *) "ram", .name_length = 3, .used_length = 8 * PAGE };
    const GwStreamBlock *blocks[] = { &block };
    GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
    uint8_t page[PAGE] = { 1 };
    gw_stream_put_header (bytes);
    gw_stream_put_configuration (bytes, "pc-q35-7.2");
    gw_stream_put_section (bytes, GW_STREAM_BYTE_START, &ram);
    gw_stream_put_ram_list (bytes, blocks, 1);
    gw_stream_put_ram_flag (bytes, GW_RAM_EOS);
    gw_stream_put_footer (bytes, 2);
    gw_stream_put_section (bytes, GW_STREAM_BYTE_PART, &ram);
    gw_page_waits_take_pages (waits, 0, bytes->data, bytes->len, 0);
    g_byte_array_set_size (bytes, 0);
    ask (waits, "ram", PAGE, PAGE, 10);
    gw_stream_put_ram_page (bytes, "ram", 0, page, sizeof page);
    gw_stream_put_ram_page (bytes, NULL, PAGE, page, sizeof page);
    gw_page_waits_take_pages (waits, 0, bytes->data, bytes->len, 60);
    g_assert_cmpint (look (waits).answered, ==, 1);
    g_assert_cmpint (look (waits).max_us, ==, 50);
}

/* Within an eighth, and never more than the longest. */
static void
test_shares (void)
{
    g_autoptr (GwPageWaits) waits = gw_page_waits_new ();
    for (guint i = 1; i <= 1000; i++) {
        ask (waits, "ram", (uint64_t) i * PAGE, PAGE, 0);
        bring (waits, "ram", (uint64_t) i * PAGE, i * 10);
    }
    GwPageWaitCounters counters = look (waits);
    g_assert_cmpint (counters.p50_us, >=, 5000);
    g_assert_cmpint (counters.p50_us, <=, 5000 * 9 / 8);
    g_assert_cmpint (counters.p99_us, >=, 9900);
    g_assert_cmpint (counters.p99_us, <=, 10000);
    g_assert_cmpint (counters.max_us, ==, 10000);
}

static void
test_nonsense (void)
{
    g_autoptr (GwPageWaits) waits = gw_page_waits_new ();
    uint8_t bytes[64];
    memset (bytes, 0xee, sizeof bytes);
    for (guint i = 0; i < 3; i++) {
        gw_page_waits_take_requests (waits, bytes, sizeof bytes, i);
        for (guint channel = 0; channel < 3; channel++)
            gw_page_waits_take_pages (waits, channel, bytes, sizeof bytes, i);
    }
    g_assert_cmpint (look (waits).requests, ==, 0);
    g_assert_cmpint (look (waits).p99_us, ==, 0);
}

/* The table is bounded, whatever a QEMU asks for. */
static void
test_many (void)
{
    g_autoptr (GwPageWaits) waits = gw_page_waits_new ();
    for (guint i = 0; i < 70000; i++)
        ask (waits, "ram", (uint64_t) i * PAGE, PAGE, 0);
    g_assert_cmpint (look (waits).requests, ==, 70000);
    bring (waits, "ram", 69999ull * PAGE, 10);
    g_assert_cmpint (look (waits).answered, ==, 0);
    bring (waits, "ram", 0, 10);
    g_assert_cmpint (look (waits).answered, ==, 1);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/page-waits/answers", test_answers);
    g_test_add_func ("/page-waits/too-many-blocks", test_too_many_blocks);
    g_test_add_func ("/page-waits/huge-page", test_huge_page);
    g_test_add_func ("/page-waits/main-stream", test_main_stream);
    g_test_add_func ("/page-waits/shares", test_shares);
    g_test_add_func ("/page-waits/nonsense", test_nonsense);
    g_test_add_func ("/page-waits/many", test_many);
    return g_test_run ();
}
