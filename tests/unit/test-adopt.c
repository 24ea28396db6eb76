/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What QEMU's human monitor prints, in the words of several versions. */
#include "host-internal.h"

static void
free_block (gpointer data)
{
    GwRamBlock *block = data;
    g_free (block->name);
    g_free (block);
}

static void
assert_blocks (const char *text, const GwRamBlock *expected, guint n_expected)
{
    g_autoptr (GPtrArray) blocks = gw_adopt_parse_ramblocks (text);
    g_ptr_array_set_free_func (blocks, free_block);
    g_assert_cmpuint (blocks->len, ==, n_expected);
    for (guint i = 0; i < n_expected; i++) {
        const GwRamBlock *block = blocks->pdata[i];
        g_assert_cmpstr (block->name, ==, expected[i].name);
        g_assert_cmpint (block->page_bytes, ==, expected[i].page_bytes);
        g_assert_cmpint (block->used_bytes, ==, expected[i].used_bytes);
        g_assert_cmpint (block->max_bytes, ==, expected[i].max_bytes);
    }
}

static void
test_ramblocks (void)
{
    static const GwRamBlock expected[] = {
        { (char *) "pc.ram", 0x4000000, 0x8000000, 4096 },
        { (char *) "/rom@etc/acpi/tables", 0x20000, 0x200000, 4096 },
        { (char *) "a  name 4 KiB with 0x10 blanks", 1, 2, 2 * 1024 * 1024 },
        { (char *) "huge", 0x40000000, 0x40000000, 1024 * 1024 * 1024 },
    };
    assert_blocks ("              Block Name    PSize              Offset               Used       "
                   "       Total\r\n"
                   "                  pc.ram    4 KiB  0x0000000000000000 0x0000000004000000 "
                   "0x0000000008000000\r\n"
                   "    /rom@etc/acpi/tables    4 KiB  0x00000000040c0000 0x0000000000020000 "
                   "0x0000000000200000\r\n"
                   "a  name 4 KiB with 0x10 blanks    2 MiB  0x0000000000000010 0x0000000000000001 "
                   "0x0000000000000002\r\n"
                   "                    huge    1 GiB  0x0000000000000000 0x0000000040000000 "
                   "0x0000000040000000\r\n",
                   expected, G_N_ELEMENTS (expected));
}

/* 8.2 and newer have two columns more. */
static void
test_ramblocks_of_new_qemu (void)
{
    static const GwRamBlock expected[] = {
        { (char *) "pc.ram", 0x4000000, 0x4000000, 4096 },
        { (char *) "pc.bios", 0x40000, 0x40000, 4096 },
    };
    assert_blocks ("              Block Name    PSize              Offset               Used       "
                   "       Total"
                   "                HVA  RO\n"
                   "                  pc.ram    4 KiB  0x0000000000000000 0x0000000004000000 "
                   "0x0000000004000000"
                   " 0x00007f3ac8000000  rw\n"
                   "                 pc.bios    4 KiB  0x0000000004000000 0x0000000000040000 "
                   "0x0000000000040000"
                   " 0x00007f3acc600000  ro\n",
                   expected, G_N_ELEMENTS (expected));
}

static void
test_ramblocks_damaged (void)
{
    static const char *const texts[] = {
        "", "\n\n", "x", "pc.ram 4 KiB 0x1 0x2", "pc.ram 4 KiB 1 2 3", "pc.ram KiB 0x1 0x2 0x3",
        "  4 KiB 0x1 0x2 0x3", "unknown command: 'info ramblock'", "a 4 KiB 0x1 0x2 0x3 0x4 0x5",
    };
    for (guint i = 0; i < G_N_ELEMENTS (texts); i++)
        assert_blocks (texts[i], NULL, 0);
    static const GwRamBlock bounded[] = {
        { (char *) "a", G_MAXINT64, G_MAXINT64, (gint64) G_MAXINT32 << 30 },
    };
    assert_blocks ("a 99999999999999999999 GiB 0x0 0xffffffffffffffff 0xfffffffffffffffffff",
                   bounded, 1);
}

static void
assert_netdevs (const char *text, const char *expected)
{
    g_auto (GStrv) ids = gw_adopt_parse_netdevs (text);
    g_autofree char *line = g_strjoinv (" ", ids);
    g_assert_cmpstr (line, ==, expected);
}

static void
test_netdevs (void)
{
    assert_netdevs ("e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56\r\n"
                    " \\ n0: index=0,type=user,net=10.0.2.0,restrict=off\r\n"
                    "nic2: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:57\r\n"
                    "n2: index=0,type=tap,ifname=tap0,script=no,downscript=no\r\n"
                    "n2: index=1,type=tap,ifname=tap0,script=no,downscript=no\r\n",
                    "n0 n2 n2");
    assert_netdevs ("", "");
    assert_netdevs ("unknown command: 'info network'\n", "");
}

/* As QEMU 7.2 prints two hubs. */
static void
test_netdevs_of_hubs (void)
{
    assert_netdevs ("hub 3\r\n"
                    " \\ h9\r\n"
                    "hub 0\r\n"
                    " \\ h1: e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56\r\n"
                    " \\ h0: n0: index=0,type=user,net=10.0.2.0,restrict=off\r\n"
                    "n2: index=0,type=user,net=10.0.2.0,restrict=off\r\n",
                    "h9 h1 h0 n0 n2");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/adopt/ramblocks", test_ramblocks);
    g_test_add_func ("/adopt/ramblocks-of-new-qemu", test_ramblocks_of_new_qemu);
    g_test_add_func ("/adopt/ramblocks-damaged", test_ramblocks_damaged);
    g_test_add_func ("/adopt/netdevs", test_netdevs);
    g_test_add_func ("/adopt/netdevs-of-hubs", test_netdevs_of_hubs);
    return g_test_run ();
}
