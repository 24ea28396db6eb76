/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What QEMU's human monitor says (info qtree, network, ramblock, mtree), and /proc of its mappings:
 * texts for people, of any version.  Each parser gets the whole input. */
#include "guestram.h"
#include "inventory.h"
#include "rehearse.h"

#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
parse_tree (const char *text)
{
    g_autoptr (GwInventory) inventory = gw_struct_new (&gw_inventory_type);
    g_autoptr (GPtrArray) netdevs = gw_parse_qtree (text, inventory->parts);
    gw_count_netdev_queues (text, netdevs);
    for (guint i = 0; i < inventory->parts->len; i++)
        g_assert_nonnull (((GwPart *) inventory->parts->pdata[i])->type);
}

static void
parse_memory (const char *text)
{
    g_autoptr (GwInventory) inventory = gw_struct_new (&gw_inventory_type); /* frees the blocks */
    g_ptr_array_unref (inventory->ram_blocks);
    inventory->ram_blocks = gw_adopt_parse_ramblocks (text);
    g_autoptr (GArray) ranges = gw_guestram_find_ranges (text, inventory->ram_blocks);
    for (guint i = 0; i < ranges->len; i++) {
        const GwGuestRange *range = &g_array_index (ranges, GwGuestRange, i);
        g_assert_cmpuint (range->length, >=, 1 << 20);
        g_assert_cmpuint (range->start + range->length, >, range->start);
    }
    g_autoptr (GArray) map = gw_parse_ram_map (text);
    guint64 address;
    (void) gw_ram_map_find_address (map, "pc.ram", 4096, &address);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup ((const char *) data, size);
    parse_tree (text);
    parse_memory (text);
    return 0;
}
