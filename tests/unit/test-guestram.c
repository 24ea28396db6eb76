/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding a guest's RAM in a process, and samples of what is in it: of this very process. */
#include "guestram.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define MIB (1 << 20)

static GPtrArray *
make_blocks (const gint64 *bytes, guint n)
{
    GPtrArray *blocks = g_ptr_array_new_with_free_func (g_free);
    for (guint i = 0; i < n; i++) {
        GwRamBlock *block = g_new0 (GwRamBlock, 1);
        block->used_bytes = bytes[i];
        g_ptr_array_add (blocks, block);
    }
    return blocks;
}

static void
test_ranges (void)
{
    static const char maps[] =
        "55e0c0000000-55e0c1000000 r-xp 00000000 08:01 1 /usr/bin/qemu-system-x86_64\n"
        "7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \n"
        "7f1000000000-7f1020000000 ---p 00000000 00:00 0 \n"
        "7f2000000000-7f2020000000 rw-p 00000000 00:00 0 \n"
        "7f3000000000-7f3020200000 rw-p 00000000 00:00 0 \n"
        "7f4000000000-7f4020000000 rw-s 00000000 00:01 7 /memfd:ram1 (deleted)\n"
        "a line of something else\n"
        "7f5000000000-7f4000000000 rw-p 00000000 00:00 0 \n";
    static const gint64 bytes[] = { 0x20000000, 0x40000, 0x20000000, 0x20000000, 0x400000, 0x7000000000 };
    static const guint64 starts[] = { 0x7f2000000000, 0x7f4000000000, 0x7f3000000000, 0x7f0000000000 };
    g_autoptr (GPtrArray) blocks = make_blocks (bytes, G_N_ELEMENTS (bytes));
    g_autoptr (GArray) ranges = gw_guestram_find_ranges (maps, blocks);
    g_assert_cmpuint (ranges->len, ==, G_N_ELEMENTS (starts));
    for (guint i = 0; i < ranges->len; i++) {
        const GwGuestRange *range = &g_array_index (ranges, GwGuestRange, i);
        g_assert_cmphex (range->start, ==, starts[i]);
        g_assert_cmpuint (range->length, ==, i == 3 ? 0x400000 : 0x20000000);
    }
}

static void
test_garbage (void)
{
    static const gint64 bytes[] = { 0x20000000 };
    g_autoptr (GPtrArray) blocks = make_blocks (bytes, 1);
    static const char *const texts[] = { "", "\n\n", "7f-", "zz-yy rw-p", "7f2000000000-7f2020000000" };
    for (guint i = 0; i < G_N_ELEMENTS (texts); i++) {
        g_autoptr (GArray) ranges = gw_guestram_find_ranges (texts[i], blocks);
        g_assert_cmpuint (ranges->len, ==, 0);
    }
}

#define RAM_MIB 123 /* no other mapping of this process is as large */

static void
fill (char *ram, guint64 first_page, guint64 n_pages, char with)
{
    for (guint64 i = first_page; i < first_page + n_pages; i++)
        memset (ram + i * PAGE_BYTES, with, PAGE_BYTES);
}

static void
assert_near (gint64 value, gint64 wanted, gint64 within)
{
    g_assert_cmpint (value, >=, wanted - within);
    g_assert_cmpint (value, <=, wanted + within);
}

/* A quarter is full, a quarter was touched and holds zeros, half was never touched; an eighth is
 * rewritten within the window. */
static void
test_samples (void)
{
    gint64 bytes = (gint64) RAM_MIB * MIB;
    guint64 n = (guint64) bytes / PAGE_BYTES;
    g_autoptr (GPtrArray) blocks = make_blocks (&bytes, 1);
    g_autoptr (GError) error = NULL;
    GwGuestRamFigures f;
    char *ram = mmap (NULL, (gsize) bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert_true (ram != MAP_FAILED);
    fill (ram, 0, n / 4, 'a');
    fill (ram, n / 4, n / 4, 0);
    GwGuestRam *samples = gw_guestram_start (getpid (), blocks, &error);
    g_assert_no_error (error);
    g_usleep (GW_GUESTRAM_WINDOW_MS * 1000 / 2);
    fill (ram, 0, n / 8, 'b');
    g_usleep (GW_GUESTRAM_WINDOW_MS * 2000); /* a busy machine reads slowly */
    fill (ram, n / 8, n / 16, 'b');
    fill (ram, 3 * n / 4, n / 16, 'b');
    g_assert_true (gw_guestram_finish (samples, &f));
    g_assert_cmpint (f.ram_bytes, ==, bytes);
    g_assert_cmpint (f.n_samples, ==, GW_GUESTRAM_SAMPLES);
    assert_near (f.filled_bytes, bytes / 4, bytes / 100);
    assert_near (f.changed_bytes, bytes / 8, bytes / 100);
    assert_near (f.later_bytes, bytes / 4, bytes / 100);
    assert_near (f.packed_permille, 5, 5);
    assert_near (f.again_permille, 1000, 0); /* all words of those that changed */
    g_assert_cmpint (f.later_us, >, f.changed_us);
    g_assert_cmpint (f.changed_us, >=, GW_GUESTRAM_WINDOW_MS * 1000 - 1000);
    unsigned char has[1];
    g_assert_cmpint (mincore (ram + bytes - PAGE_BYTES, PAGE_BYTES, has), ==, 0);
    g_assert_cmpint (has[0] & 1, ==, 0); /* looking at it has given it no memory */
    g_assert_cmpint (munmap (ram, (gsize) bytes), ==, 0);
}

/* A word of each page is another one, in pages of which nothing can be left out. */
static void
test_small_changes (void)
{
    gint64 bytes = (gint64) RAM_MIB * MIB;
    gsize n = (gsize) bytes / sizeof (guint32);
    g_autoptr (GPtrArray) blocks = make_blocks (&bytes, 1);
    g_autoptr (GRand) rand = g_rand_new_with_seed (3);
    g_autoptr (GError) error = NULL;
    GwGuestRamFigures f;
    guint32 *ram = mmap (NULL, (gsize) bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert_true (ram != MAP_FAILED);
    for (gsize i = 0; i < n; i++)
        ram[i] = g_rand_int (rand);
    GwGuestRam *samples = gw_guestram_start (getpid (), blocks, &error);
    g_assert_no_error (error);
    g_usleep (GW_GUESTRAM_WINDOW_MS * 1000 + 200000);
    for (gsize i = 0; i < n; i += PAGE_BYTES / sizeof *ram)
        ram[i]++;
    g_assert_true (gw_guestram_finish (samples, &f));
    assert_near (f.filled_bytes, bytes, bytes / 100);
    assert_near (f.packed_permille, 1000, 5);
    assert_near (f.again_permille, 5, 2);
    g_assert_cmpint (munmap (ram, (gsize) bytes), ==, 0);
}

static void
test_no_process (void)
{
    gint64 bytes = MIB;
    g_autoptr (GPtrArray) blocks = make_blocks (&bytes, 1);
    g_autoptr (GError) error = NULL;
    g_assert_null (gw_guestram_start (0x7fffffff, blocks, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_HOST_IO);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/guestram/ranges", test_ranges);
    g_test_add_func ("/guestram/garbage", test_garbage);
    g_test_add_func ("/guestram/samples", test_samples);
    g_test_add_func ("/guestram/small-changes", test_small_changes);
    g_test_add_func ("/guestram/no-process", test_no_process);
    return g_test_run ();
}
