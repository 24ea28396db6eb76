/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What feeds a saved device state to the QEMU of a rehearsal.  It has a header of its own, because
 * the file behind it speaks of the stream's fields, and the others of the model's.
 */
#ifndef GW_REHEARSE_FEED_H
#define GW_REHEARSE_FEED_H

#include "base.h"

#include <gio/gio.h>

#define GW_REHEARSAL_PAGE_BYTES 4096u     /* of the target: x86 */
#define GW_REHEARSAL_PAGES_MAX 4096u      /* that a rehearsal may hold */
#define GW_REHEARSAL_STATE_MAX (64u << 20) /* bytes of device state */
#define GW_REHEARSAL_CHUNK_BYTES 48000u    /* of it in one text, which is then below GW_STRING_MAX */

typedef struct {
    const char *name;
    guint64 used_bytes;
} GwFeedBlock;

typedef struct {
    const char *machine;
    const GwFeedBlock *blocks;
    guint n_blocks;
    const guint8 *saved;
    gsize saved_length;
    gboolean has_postcopy;
} GwFeedSpec;

typedef struct _GwFeed GwFeed;

/* Speaks through the connected socket `fd` (transfer full); works in `context`. */
GwFeed *gw_feed_new (int fd, GMainContext *context);
void gw_feed_free (GwFeed *feed);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwFeed, gw_feed_free)
/* A page of guest memory (transfer none).  It is sent when QEMU asks for it, at once when it has.
 * FALSE when there are too many. */
gboolean gw_feed_add_page (GwFeed *feed, const char *block, guint64 offset,
                           const guint8 data[static GW_REHEARSAL_PAGE_BYTES], GError **error);
/* Begins to send; what `spec` points to is not needed afterwards. */
gboolean gw_feed_start (GwFeed *feed, const GwFeedSpec *spec, GError **error);
/* The next page that QEMU waits for and nobody has given; FALSE when there is none. */
gboolean gw_feed_get_wanted (const GwFeed *feed, const char **ret_block, guint64 *ret_offset);
/* Every device has loaded. */
gboolean gw_feed_is_loaded (const GwFeed *feed);
/* QEMU closed its end, or said that it failed. */
gboolean gw_feed_has_ended (const GwFeed *feed);
guint gw_feed_get_n_served (const GwFeed *feed);
/* From the first byte to the proof that all is loaded. */
gint64 gw_feed_get_load_us (const GwFeed *feed);

#endif
