/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Devices of the command line, and those that came or went at run time. */
#include "test-derive-vm.h"

#define MACHINE "-machine pc-q35-7.2"

static void
assert_line (const GwVm *vm, const char *expected)
{
    g_autofree char *line = derive_line (vm, "/img=/there", NULL);
    g_assert_cmpstr (line, ==, expected);
}

/* Where the VM has it, unless the command line says so itself. */
static void
test_pins (void)
{
    g_autoptr (GwVm) vm =
        vm_new ("-device e1000,id=a,romfile=/img/r -device e1000,id=b,addr=0x7 "
                "-device {\"driver\":\"e1000\",\"id\":\"c\"} -device x,id=d,romfile=r");
    vm_add_device (vm, "a", "e1000", "pcie.0", "addr=02.0 bus=pcie.0 mac=52:54:00:00:00:01");
    vm_add_device (vm, "b", "e1000", "pcie.0", "addr=07.0 bus=pcie.0");
    vm_add_device (vm, "c", "e1000", "pcie.0", "addr=03.0 nr=1");
    vm_add_device (vm, "d", "x", NULL, "");
    assert_line (vm, MACHINE
                 " -device e1000,id=a,romfile=/there/r,addr=02.0,bus=pcie.0,mac=52:54:00:00:00:01"
                 " -device e1000,id=b,addr=0x7,bus=pcie.0"
                 " -device {\"driver\":\"e1000\",\"id\":\"c\",\"addr\":\"03.0\",\"nr\":1}"
                 " -device x,id=d,romfile=r");
}

static void
test_removed (void)
{
    g_autoptr (GwVm) vm =
        vm_new ("-device e1000,id=a,netdev=gone -device e1000,id=b -netdev tap,id=gone,fd=3");
    vm_add_device (vm, "b", "e1000", NULL, "addr=04.0");
    g_autoptr (GwDerived) derived = NULL;
    g_autofree char *line = derive_line (vm, NULL, &derived);
    g_assert_cmpstr (line, ==, MACHINE " -device e1000,id=b,addr=04.0");
    const GwRewrite *rewrite = derived->rewrites->pdata[0];
    g_assert_cmpstr (rewrite->from, ==, "e1000,id=a,netdev=gone");
    g_assert_cmpstr (rewrite->to, ==, "");
}

/* The numbers as QEMU 7.2 gives them for just this command line. */
static void
test_anonymous (void)
{
    g_autoptr (GwVm) vm =
        vm_new ("-drive if=virtio,file=/v -device {\"driver\":\"virtio-balloon-pci\"} "
                "-virtfs local,path=/p,mount_tag=a -device virtio-rng-pci "
                "-device usb-tablet,id=t -device e1000");
    vm_add_device (vm, "#0", "virtio-9p-pci", "pcie.0", "addr=01.0");
    vm_add_device (vm, "#1", "virtio-rng-pci", "pcie.0", "addr=02.0");
    vm_add_device (vm, "#2", "e1000", "pcie.0", "addr=03.0");
    vm_add_device (vm, "#3", "virtio-blk-pci", "pcie.0", "addr=04.0");
    vm_add_device (vm, "#4", "virtio-balloon-pci", "pcie.0", "addr=05.0");
    vm_add_device (vm, "t", "usb-tablet", NULL, "port=1");
    vm_add_device (vm, "#5", "virtio-rng-pci", "rp1", "bus=rp1")->is_hotplugged = TRUE;
    assert_line (
        vm, MACHINE
        " -drive if=virtio,file=/v -device {\"driver\":\"virtio-balloon-pci\",\"addr\":\"05.0\"}"
        " -virtfs local,path=/p,mount_tag=a -device virtio-rng-pci,addr=02.0"
        " -device usb-tablet,id=t,port=1 -device e1000,addr=03.0"
        " -device virtio-rng-pci,bus=rp1");
}

static void
test_anonymous_removed (void)
{
    g_autoptr (GwVm) vm = vm_new ("-device a -device b -device c");
    vm_add_device (vm, "#0", "a", NULL, "addr=01.0");
    vm_add_device (vm, "#2", "c", NULL, "addr=03.0");
    assert_line (vm, MACHINE " -device a,addr=01.0 -device c,addr=03.0");
}

/* Buses before what sits on them, backends before both, paths moved. */
static void
test_hotplugged (void)
{
    g_autoptr (GwVm) vm = vm_new ("-device pcie-root-port,id=rp");
    vm_add_device (vm, "disk", "scsi-hd", "ctl.0", "drive=d0 bus=ctl.0")->is_hotplugged = TRUE;
    vm_add_device (vm, "port", "virtserialport", "ser.0", "nr=2 bus=ser.0")->is_hotplugged = TRUE;
    vm_add_device (vm, "ser", "virtio-serial-pci", "br", "bus=br")->is_hotplugged = TRUE;
    vm_add_device (vm, "ctl", "virtio-scsi-pci", "rp", "bus=rp romfile=/img/rom")->is_hotplugged =
        TRUE;
    vm_add_device (vm, "br", "pci-bridge", "rp2", "")->is_hotplugged = TRUE;
    vm_add_device (vm, "rp", "pcie-root-port", "pcie.0", "addr=02.0");
    vm->extras = words ("-drive if=none,id=d0,file=/img/d -netdev user,id=n0 "
                        "-chardev socket,id=c0,path=/c");
    assert_line (
        vm, MACHINE
        " -device pcie-root-port,id=rp,addr=02.0 -drive if=none,id=d0,file=/there/d"
        " -netdev user,id=n0 -chardev socket,id=c0,path=/c"
        " -device virtio-scsi-pci,id=ctl,bus=rp,romfile=/there/rom"
        " -device pci-bridge,id=br -device scsi-hd,id=disk,drive=d0,bus=ctl.0"
        " -device virtio-serial-pci,id=ser,bus=br -device virtserialport,id=port,nr=2,bus=ser.0");
}

/* Removed, and another one plugged under the same id: the new one is meant. */
static void
test_same_id_again (void)
{
    g_autoptr (GwVm) vm = vm_new ("-device e1000,id=a,addr=3 -device virtio-rng-pci,id=b");
    vm_add_device (vm, "a", "virtio-net-pci", "pcie.0", "addr=05.0 bus=pcie.0")->is_hotplugged =
        TRUE;
    vm_add_device (vm, "b", "virtio-rng-pci", "pcie.0", "");
    assert_line (vm, MACHINE " -device virtio-rng-pci,id=b"
                 " -device virtio-net-pci,id=a,addr=05.0,bus=pcie.0");
}

static void
test_circle (void)
{
    g_autoptr (GwVm) vm = vm_new ("");
    vm_add_device (vm, "a", "x", "b.0", "")->is_hotplugged = TRUE;
    vm_add_device (vm, "b", "x", "a.0", "")->is_hotplugged = TRUE;
    vm_add_device (vm, "c", "x", "c.0", "")->is_hotplugged = TRUE;
    assert_underivable (vm, NULL, GW_CAUSE_DEVICE_UNDERIVABLE, "'/machine/peripheral/a'");
}

static void
test_refused (void)
{
    g_autoptr (GwVm) vm = vm_new ("-device vhost-vsock-pci,id=v,vhostfd=4");
    vm_add_device (vm, "v", "vhost-vsock-pci", NULL, "");
    assert_underivable (vm, NULL, GW_CAUSE_OPTION_UNSUPPORTED, "(vhostfd=)");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/derive/devices/pins", test_pins);
    g_test_add_func ("/derive/devices/removed", test_removed);
    g_test_add_func ("/derive/devices/anonymous", test_anonymous);
    g_test_add_func ("/derive/devices/anonymous-removed", test_anonymous_removed);
    g_test_add_func ("/derive/devices/hotplugged", test_hotplugged);
    g_test_add_func ("/derive/devices/same-id-again", test_same_id_again);
    g_test_add_func ("/derive/devices/circle", test_circle);
    g_test_add_func ("/derive/devices/refused", test_refused);
    return g_test_run ();
}
