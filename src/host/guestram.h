/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much there is to send of a guest's RAM, and how fast it changes, by samples.
 *
 * Theory
 * ------
 * QEMU's RAM blocks are mappings of its process, which /proc tells and lets us read.  A page that was
 * never touched, or holds zeros alone, costs the link nothing; of N pages picked evenly the share of
 * the others is known to about 1 / (2 sqrt N).  The same pages read again tell how many have changed
 * meanwhile; twice again, after a short and after a longer time, whether a guest writes all over its
 * memory or always to the same pages, and so how much is left after a round of any length.  (QEMU
 * measures the same over a whole second, in MiB: calc-dirty-rate, for a process that we may not read.)
 *
 * A part of the samples is kept and compressed, and compared word by word when it has changed: so it is known what the
 * RAM codec will make of memory, roughly, and of what the guest changes.
 *
 * A page that has no memory yet is not read: that would give it some.
 */
#ifndef GW_GUESTRAM_H
#define GW_GUESTRAM_H

#include "host-internal.h"

#define GW_GUESTRAM_SAMPLES 16384
#define GW_GUESTRAM_KEPT 1024 /* of these, compressed */
#define GW_GUESTRAM_WINDOW_MS 300

typedef struct {
    guint64 start;  /* in the process */
    guint64 length; /* bytes, a multiple of the page */
} GwGuestRange;

/* Where the RAM blocks `blocks` (GwRamBlock) of at least a MiB are, by the text of /proc/PID/maps, which
 * does not name them: for each the mapping of just its size, or else the smallest that holds it.  One
 * that is not found is left out.  Pure.  Array of GwGuestRange (transfer full). */
GArray *gw_guestram_find_ranges (const char *maps, const GPtrArray *blocks);

typedef struct {
    gint64 ram_bytes;     /* that were looked at */
    gint64 filled_bytes;  /* that hold something */
    gint64 changed_bytes, changed_us; /* that changed within the short time */
    gint64 later_bytes, later_us;     /* within the longer one */
    gint64 packed_permille;   /* of filled pages once compressed; -1: not known */
    gint64 again_permille;    /* of pages that changed what is new in them; -1: not known */
    gint64 n_samples;
} GwGuestRamFigures;

/* Reads samples now, again GW_GUESTRAM_WINDOW_MS later and when it is finished, in a thread of its own. */
/* NULL with GW_CAUSE_HOST_IO when the process cannot be read. */
GwGuestRam *gw_guestram_start (gint64 pid, const GPtrArray *blocks, GError **error);
/* Waits as long.  NULL is fine. */
void gw_guestram_free (GwGuestRam *ram);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwGuestRam, gw_guestram_free)
/* Waits for the last reading. Frees `ram`.  FALSE: nothing could be read. */
gboolean gw_guestram_finish (GwGuestRam *ram, GwGuestRamFigures *ret);

#endif
