/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `info qtree` and `info network` say about the devices of a QEMU. */
#include "inventory.h"

static const char qtree[] = "bus: main-system-bus\r\n"
                            "  type System\r\n"
                            "  dev: q35-pcihost, id \"\"\r\n"
                            "    bus: pcie.0\r\n"
                            "      type PCIE\r\n"
                            "      dev: virtio-net-pci, id \"net0\"\r\n"
                            "        vectors = 6 (0x6)\r\n"
                            "        addr = 02.0\r\n"
                            "        class Ethernet controller, addr 00:02.0, pci id 1af4:1000 (sub 1af4:0001)\r\n"
                            "        bus: virtio-bus\r\n"
                            "          type virtio-pci-bus\r\n"
                            "          dev: virtio-net-device, id \"\"\r\n"
                            "            netdev = \"n0\"\r\n"
                            "      dev: virtio-scsi-pci, id \"scsi0\"\r\n"
                            "        vectors = 4294967295 (0xffffffff)\r\n"
                            "        addr = 03.0\r\n"
                            "        bus: virtio-bus\r\n"
                            "          dev: virtio-scsi-device, id \"\"\r\n"
                            "            num_queues = 3 (0x3)\r\n"
                            "            bus: scsi0.0\r\n"
                            "              type SCSI\r\n"
                            "              dev: scsi-hd, id \"\"\r\n"
                            "                channel = 0 (0x0)\r\n"
                            "                scsi-id = 1 (0x1)\r\n"
                            "                lun = 2 (0x2)\r\n"
                            "      dev: e1000, id \"net1\"\r\n"
                            "        netdev = \"\"\r\n"
                            "        addr = 04.0\r\n"
                            "  dev: hpet, id \"\"\r\n"
                            "    addr = 9.9\r\n";

static const char network[] = "net0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56\r\n"
                              " \\ n0: index=0,type=tap,fd=20\r\n"
                              "net0: index=1,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56\r\n"
                              " \\ n0: index=1,type=tap,fd=21\r\n"
                              "n01: index=0,type=user\r\n";

static const GwPart *
part (const GwInventory *inventory, guint i)
{
    g_assert_cmpuint (i, <, inventory->parts->len);
    return inventory->parts->pdata[i];
}

static void
test_parts (void)
{
    g_autoptr (GwInventory) inventory = gw_struct_new (&gw_inventory_type);
    g_autoptr (GPtrArray) netdevs = gw_parse_qtree (qtree, inventory->parts);
    g_assert_nonnull (netdevs);
    g_assert_cmpuint (inventory->parts->len, ==, 6); /* without what is on the board */
    const GwPart *net = part (inventory, 0), *disk = part (inventory, 4);
    g_assert_cmpstr (net->type, ==, "virtio-net-pci");
    g_assert_cmpstr (net->id, ==, "net0");
    g_assert_cmpstr (net->bus, ==, "pcie.0");
    g_assert_cmpstr (net->place, ==, "addr = 02.0");
    g_assert_cmpstr (net->model, ==, "1af4:1000");
    g_assert_null (disk->id);
    g_assert_cmpstr (disk->bus, ==, "scsi0.0");
    g_assert_cmpstr (disk->place, ==, "channel = 0 (0x0) scsi-id = 1 (0x1) lun = 2 (0x2)");
}

/* They belong to the device that has the name, whichever half says them. */
static void
test_queues_and_vectors (void)
{
    g_autoptr (GwInventory) inventory = gw_struct_new (&gw_inventory_type);
    g_autoptr (GPtrArray) netdevs = gw_parse_qtree (qtree, inventory->parts);
    gw_count_netdev_queues (network, netdevs);
    g_assert_cmpint (part (inventory, 0)->n_queues, ==, 2);
    g_assert_cmpint (part (inventory, 0)->n_vectors, ==, 6);
    g_assert_cmpint (part (inventory, 2)->n_queues, ==, 3);
    g_assert_cmpint (part (inventory, 2)->n_vectors, ==, -1);
    g_assert_cmpint (part (inventory, 5)->n_queues, ==, -1);
}

static void
test_foreign_text (void)
{
    static const char *const texts[] = { "", "dev: x", "  addr = 3", "bus: a\nbus: b\n  dev: ",
                                         "bus: virtio-bus\n  dev: d, id \"\n   vectors = x\n netdev = \"" };
    for (guint i = 0; i < G_N_ELEMENTS (texts); i++) {
        g_autoptr (GwInventory) inventory = gw_struct_new (&gw_inventory_type);
        g_autoptr (GPtrArray) netdevs = gw_parse_qtree (texts[i], inventory->parts);
        gw_count_netdev_queues (texts[i], netdevs);
        g_assert_cmpuint (inventory->parts->len, <=, 1);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/qtree/parts", test_parts);
    g_test_add_func ("/qtree/queues-and-vectors", test_queues_and_vectors);
    g_test_add_func ("/qtree/foreign-text", test_foreign_text);
    return g_test_run ();
}
