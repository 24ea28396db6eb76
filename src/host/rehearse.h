/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rehearsal: the device state of the running VM, loaded into a throw-away QEMU on the real
 * destination before anything moves.
 *
 * The source stops the guest for the few milliseconds that xen-save-devices-state takes, and reads
 * in the same stop the pages of the virtio rings that are in use, since their indexes must fit to
 * the saved state.  `stop`, the save, the reads and `cont` reach QEMU in one write, and a process
 * that only holds the monitor's socket sees to it that QEMU works them off also when this process
 * ends: so the guest runs on whatever happens here, and the stop does not depend on the network.
 *
 * The destination's QEMU gets that state by way of postcopy, and asks for the pages that loading
 * touches.  Those of the rings have come with the state; for another, which is as good as always a
 * page that never changes, the source is asked while the guest runs.
 */
#ifndef GW_REHEARSE_H
#define GW_REHEARSE_H

#include "host-internal.h"
#include "rehearse_feed.h"

/* --- rehearse_ram.c ------------------------------------------------------------------------------ */

typedef struct {
    guint64 first, last; /* guest-physical addresses */
    guint64 offset;      /* of the first in its region */
    char *region;
} GwRamRange;

typedef struct {
    guint64 address; /* guest-physical, of the page */
    gboolean is_busy; /* of a queue that the guest has used */
} GwRingPage;

/* What `info mtree -f` says: GwRamRange.  Pure. */
GArray *gw_parse_ram_map (const char *mtree);
gboolean gw_ram_map_find_address (const GArray *map, const char *block, guint64 offset,
                                  guint64 *ret_address);
/* `*ret_block` is borrowed from `vm`. */
gboolean gw_ram_map_find_page (const GArray *map, const GwVm *vm, guint64 address,
                               const char **ret_block, guint64 *ret_offset);
/* The pages of virtio's rings that loading reads: GwRingPage; empty when this QEMU cannot tell. */
GArray *gw_find_rings (GwQmp *qmp, GMainContext *context, GCancellable *cancellable,
                       GError **error);

#endif
