/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is inside a QEMU, in a shape that can be compared with what is inside another: on the source,
 * in the throw-away QEMU of a rehearsal, and in the one that was launched to take the VM.
 */
#ifndef GW_INVENTORY_H
#define GW_INVENTORY_H

#include "host-internal.h"

/* --- qtree.c ------------------------------------------------------------------------------------- */

typedef struct {
    GwPart *part; /* a network card (borrowed) */
    char *name;   /* of what is behind it */
} GwPartNetdev;

/* Adds GwPart to `parts`; the names that its network cards give what is behind them are returned. Pure. */
GPtrArray *gw_parse_qtree (const char *text, GPtrArray *parts);
/* Gives cards the number of queues that `info network` tells. Pure. */
void gw_count_netdev_queues (const char *network, const GPtrArray *netdevs);

/* --- inventory.c --------------------------------------------------------------------------------- */

GwInventory *gw_read_inventory (GwQmp *qmp, GMainContext *context, GCancellable *cancellable,
                                GError **error);

#endif
