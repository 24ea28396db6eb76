/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The blocks of RAM of both QEMUs.  What counts is QEMU's ram_load(): a block by its name, and the length
 * that the source uses, which the destination takes only where it can resize the block. */
#include "check-internal.h"

#include <string.h>

static const GwRamBlock *
find_block (const GwInventory *inventory, const char *name)
{
    for (guint i = 0; i < inventory->ram_blocks->len; i++) {
        const GwRamBlock *block = inventory->ram_blocks->pdata[i];
        if (strcmp (block->name, name) == 0)
            return block;
    }
    return NULL;
}

/* "0000:00:02.0/virtio-net-pci.rom", "pc.bios", "pc.rom", "/rom@etc/acpi/tables" */
static gboolean
is_rom (const GwRamBlock *block)
{
    return g_str_has_suffix (block->name, ".rom") || g_str_has_suffix (block->name, ".bios") ||
           g_str_has_prefix (block->name, "/rom@");
}

/* Those that the firmware's tables are in grow with the guest's configuration. */
static gboolean
fits (const GwRamBlock *here, const GwRamBlock *there)
{
    gboolean is_resizable = g_str_has_prefix (here->name, "/rom@") ||
                            there->used_bytes < there->max_bytes || here->used_bytes < here->max_bytes;
    return is_resizable ? here->used_bytes <= there->max_bytes : here->used_bytes == there->used_bytes;
}

static void
compare_block (const GwRamBlock *here, const GwRamBlock *there, GwCheckSink *sink, guint *n)
{
    if (there == NULL)
        gw_compare_refuse (sink, n, "the VM has '%s' of %" G_GINT64_FORMAT
                           " bytes, which the destination has not", here->name, here->used_bytes);
    else if (!fits (here, there))
        gw_compare_refuse (sink, n, "'%s' has %" G_GINT64_FORMAT " bytes (at most %" G_GINT64_FORMAT
                           ") in the VM and %" G_GINT64_FORMAT " (at most %" G_GINT64_FORMAT
                           ") on the destination", here->name, here->used_bytes, here->max_bytes,
                           there->used_bytes, there->max_bytes);
    else if (here->page_bytes != there->page_bytes)
        gw_compare_refuse (sink, n, "'%s' lies in pages of %" G_GINT64_FORMAT
                           " bytes in the VM and of %" G_GINT64_FORMAT " on the destination",
                           here->name, here->page_bytes, there->page_bytes);
}

static void
compare_blocks (const GwComparison *c, gboolean of_roms, const char *what, GwCheckSink *sink)
{
    guint n = 0, n_seen = 0;
    for (guint i = 0; i < c->source->ram_blocks->len; i++) {
        const GwRamBlock *here = c->source->ram_blocks->pdata[i];
        if (is_rom (here) != of_roms)
            continue;
        compare_block (here, find_block (c->destination, here->name), sink, &n);
        n_seen++;
    }
    for (guint i = 0; i < c->destination->ram_blocks->len; i++) {
        const GwRamBlock *there = c->destination->ram_blocks->pdata[i];
        if (is_rom (there) == of_roms && find_block (c->source, there->name) == NULL)
            gw_compare_refuse (sink, &n, "the destination has '%s' of %" G_GINT64_FORMAT
                               " bytes, which the VM has not", there->name, there->used_bytes);
    }
    if (n == 0)
        gw_check_add (sink, GW_VERDICT_OK, "%u %s, as long on both sides", n_seen, what);
}

void
gw_compare_ram_blocks (const GwComparison *c, GwCheckSink *sink)
{
    compare_blocks (c, FALSE, "blocks of RAM", sink);
}

void
gw_compare_roms (const GwComparison *c, GwCheckSink *sink)
{
    compare_blocks (c, TRUE, "ROMs and tables of the firmware", sink);
}
