/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disk_nbd.h"
#include "host-internal.h"

#define SLICE_MS 100 /* between two looks at whether to stop */

gboolean
gw_nbd_wait (struct nbd_handle *nbd, gint64 cookie, gint64 deadline, GwNbdStopFn stop, gpointer user_data,
            GError **error)
{
    while (cookie >= 0) {
        int state = nbd_aio_command_completed (nbd, (uint64_t) cookie);
        if (state > 0)
            return TRUE;
        if (state < 0 || nbd_poll (nbd, SLICE_MS) < 0)
            break;
        if ((stop != NULL && stop (user_data)) || g_get_monotonic_time () > deadline)
            return gw_fail (error, GW_CAUSE_DISK_SYNC, "the server of the disk does not answer");
    }
    return gw_fail (error, GW_CAUSE_DISK_SYNC, "the server of the disk: %s", nbd_get_error ());
}

struct nbd_handle *
gw_nbd_connect (const GwDiskSource *source, const char *context, GError **error)
{
    struct nbd_handle *nbd = nbd_create ();
    if (nbd != NULL && nbd_set_export_name (nbd, source->export) == 0 &&
        nbd_add_meta_context (nbd, context) == 0 && nbd_aio_connect_unix (nbd, source->socket) == 0) {
        gint64 deadline = gw_deadline_ms (GW_NBD_SILENT_MS);
        while (nbd_aio_is_connecting (nbd) > 0 && g_get_monotonic_time () < deadline &&
               nbd_poll (nbd, SLICE_MS) >= 0)
            ;
        if (nbd_aio_is_ready (nbd) > 0)
            return nbd;
    }
    gw_fail (error, GW_CAUSE_DISK_SYNC, "cannot read export '%s' at '%s': %s", source->export,
             source->socket, nbd_get_error () != NULL ? nbd_get_error () : "no answer");
    nbd_close (nbd);
    return NULL;
}
