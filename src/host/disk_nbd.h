/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk_nbd: the client of an NBD export on a unix socket, with a deadline for everything.
 *
 * libnbd's handle belongs to the thread that uses it.  A request that is given up stays with the handle, and its
 * buffer with it: close the handle before the buffer goes.
 */
#ifndef GW_DISK_NBD_H
#define GW_DISK_NBD_H

#include "disks.h"

#include <libnbd.h>

#define GW_NBD_SILENT_MS 30000 /* a server that says nothing for so long hangs */

typedef gboolean (*GwNbdStopFn) (gpointer user_data);

/* With the metadata context `context`, if the server has it.  NULL with GW_CAUSE_DISK_SYNC.  (transfer full, nbd_close()) */
struct nbd_handle *gw_nbd_connect (const GwDiskSource *source, const char *context, GError **error);
/* Until the request `cookie` has been answered, or `stop` (may be NULL) says so.  FALSE with libnbd's words, or when it took
 * too long. */
gboolean gw_nbd_wait (struct nbd_handle *nbd, gint64 cookie, gint64 deadline, GwNbdStopFn stop,
                      gpointer user_data, GError **error);

#endif
