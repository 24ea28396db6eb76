/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pure parts of a rehearsal: the command line of the throw-away QEMU, what it has for devices,
 * and where guest memory is. */
#include "rehearse.h"

#include <string.h>

static GwVm *
vm_new (void)
{
    GwVm *vm = gw_struct_new (&gw_vm_type);
    GwDisk *disk = g_new0 (GwDisk, 1);
    disk->device = g_strdup ("d0");
    disk->path = g_strdup ("/images/a.qcow2");
    disk->bytes = 12345678;
    g_ptr_array_add (vm->disks, disk);
    GwRamBlock *block = g_new0 (GwRamBlock, 1);
    block->name = g_strdup ("/machine/pc.ram");
    g_ptr_array_add (vm->ram_blocks, block);
    return vm;
}

/* The options that become of `text` (options and arguments between blanks), between blanks. */
static char *
rewrite (const char *text, char **ret_obstacles)
{
    g_autoptr (GwVm) vm = vm_new ();
    g_autoptr (GwDerived) derived = gw_struct_new (&gw_derived_type);
    g_autoptr (GError) error = NULL;
    g_auto (GStrv) obstacles = NULL;
    derived->argv = g_strsplit (text, " ", -1);
    GwNeed *need = g_new0 (GwNeed, 1);
    need->kind = g_strdup ("image");
    need->path = g_strdup ("/moved/a.qcow2");
    need->source_path = g_strdup ("/images/a.qcow2");
    g_ptr_array_add (derived->needs, need);
    g_auto (GStrv) argv = gw_derive_rehearsal (vm, derived, &obstacles, &error);
    g_assert_no_error (error);
    *ret_obstacles = g_strjoinv ("; ", obstacles);
    return g_strjoinv (" ", argv);
}

#define TAIL " -display none -monitor none"

static void
test_rewrites (void)
{
    static const struct {
        const char *from, *to;
    } cases[] = {
        { "-m 512 -cpu qemu64", "-m 512 -cpu qemu64" },
        { "-drive file=/moved/a.qcow2,if=virtio,format=qcow2,cache=none",
          "-drive if=virtio,format=raw,file.driver=null-co,file.size=12345678,file.read-zeroes=on" },
        { "-drive if=ide,media=cdrom,id=cd", "-drive if=ide,id=cd,media=cdrom" },
        { "-blockdev driver=file,node-name=d0,filename=/x,read-only=on",
          "-blockdev driver=null-co,node-name=d0,size=12345678,read-zeroes=on,read-only=on" },
        { "-netdev tap,id=n0,ifname=tap7,queues=4,vhost=on",
          "-netdev tap,queues=4,ifname=gwtry%d,script=no,downscript=no,id=n0" },
        { "-netdev user,id=n0,hostfwd=tcp::2222-:22", "-netdev user,restrict=on,id=n0" },
        { "-netdev socket,id=n0,listen=:1234", "-netdev hubport,hubid=1000,id=n0" },
        { "-chardev socket,id=c,path=/s,server=on", "-chardev null,id=c" },
        { "-serial unix:/s,server=on", "-serial null" },
        { "-serial chardev:c", "-serial chardev:c" },
        { "-object memory-backend-file,id=m,size=1G,mem-path=/dev/hugepages,prealloc=on,share=on",
          "-object memory-backend-ram,id=m,size=1G,reserve=off" },
        { "-object rng-random,id=r,filename=/dev/urandom",
          "-object rng-random,id=r,filename=/dev/urandom" },
        { "-vnc :1 -qmp unix:/q,server=on -pidfile /p -mem-prealloc", "" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
        g_autofree char *obstacles = NULL;
        g_autofree char *got = rewrite (cases[i].from, &obstacles);
        g_autofree char *want = g_strconcat (cases[i].to, TAIL, NULL);
        g_assert_cmpstr (got, ==, *cases[i].to != '\0' ? want : want + 1);
        g_assert_cmpstr (obstacles, ==, "");
    }
}

static void
test_obstacles (void)
{
    static const char *const cases[] = {
        "-device vfio-pci,host=01:00.0", "-device vhost-user-fs-pci,chardev=c",
        "-netdev vhost-user,id=n,chardev=c", "-tpmdev emulator,id=t,chardev=c", "-readconfig /f",
    };
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
        g_autofree char *obstacles = NULL;
        g_autofree char *got = rewrite (cases[i], &obstacles);
        g_assert_nonnull (got);
        g_assert_cmpstr (obstacles, !=, "");
    }
}

static void
test_ram_map (void)
{
    static const char text[] =
        "FlatView #0\r\n AS \"I/O\", root: io\r\n"
        "  0000000000000000-0000000000000fff (prio 0, ram): pc.ram @0000000000770000\r\n"
        "FlatView #1\r\n AS \"memory\", root: system\r\n AS \"cpu-memory-0\", root: system\r\n"
        "  0000000000000000-00000000000bffff (prio 0, ram): pc.ram\r\n"
        "  00000000000c0000-00000000000c0fff (prio 0, rom): pc.ram @00000000000c0000\r\n"
        "  00000000febc0000-00000000febc001f (prio 0, i/o): msix-table\r\n"
        "  0000000100000000-000000017fffffff (prio 0, ram): pc.ram @0000000080000000 KVM\r\n";
    g_autoptr (GwVm) vm = vm_new ();
    g_autoptr (GArray) map = gw_parse_ram_map (text);
    const char *block;
    guint64 address = 0, offset = 0;
    g_assert_cmpuint (map->len, ==, 3);
    g_assert_true (gw_ram_map_find_address (map, "/machine/pc.ram", 0x80001000, &address));
    g_assert_cmphex (address, ==, 0x100001000);
    g_assert_true (gw_ram_map_find_page (map, vm, 0xc0000, &block, &offset));
    g_assert_cmpstr (block, ==, "/machine/pc.ram");
    g_assert_cmphex (offset, ==, 0xc0000);
    g_assert_false (gw_ram_map_find_page (map, vm, 0xfebc0000, &block, &offset));
    g_assert_false (gw_ram_map_find_address (map, "pc.bios", 0, &address));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/rehearse/rewrites", test_rewrites);
    g_test_add_func ("/rehearse/obstacles", test_obstacles);
    g_test_add_func ("/rehearse/ram-map", test_ram_map);
    return g_test_run ();
}
