/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether the server of a disk, and the storage behind it, answers in time. */
#include "disk_nbd.h"
#include "host-internal.h"

#define SECTOR_BYTES 512
#define LOOKED_AT_BYTES (G_GINT64_CONSTANT (1) << 30)

/* What requests that are given up may still write to: it outlives the handle. */
typedef struct {
    struct nbd_handle *nbd;
    gint64 bytes, deadline_us;
    gint64 at;         /* where the next extent begins */
    gint64 data_bytes; /* in the extents seen so far */
    gint64 chosen;
    char sector[SECTOR_BYTES];
} Probe;

static gint64
random_below (gint64 bound)
{
    return (gint64) (g_random_double () * (double) bound);
}

static int
on_extents (void *user_data, const char *context, uint64_t offset, uint32_t *entries, size_t n, int *error)
{
    Probe *probe = user_data;
    for (size_t i = 0; i + 1 < n; i += 2) {
        gint64 len = entries[i];
        gboolean is_data = (entries[i + 1] & LIBNBD_STATE_ZERO) == 0;
        probe->data_bytes += is_data ? len : 0;
        if (is_data && random_below (probe->data_bytes) < len)
            probe->chosen = probe->at + random_below (len);
        probe->at += len;
    }
    return 0;
}

static gboolean
await (Probe *probe, gint64 cookie, GError **error)
{
    return gw_nbd_wait (probe->nbd, cookie, probe->deadline_us, NULL, NULL, error);
}

/* Adds what lies after `from` to the choice. */
static void
scan_data (Probe *probe, gint64 from)
{
    guint64 bytes = (guint64) MIN (probe->bytes - from, LOOKED_AT_BYTES);
    nbd_extent_callback callback = { .callback = on_extents, .user_data = probe };
    probe->at = from;
    (void) await (probe, nbd_aio_block_status (probe->nbd, bytes, (guint64) from, callback,
                                               NBD_NULL_COMPLETION, 0),
                  NULL);
}

/* Some sector that lies on the disk itself: QEMU answers for a hole by itself, and the first one may well be in
 * a cache. */
static gint64
choose_sector (Probe *probe)
{
    gint64 n_sectors = probe->bytes / SECTOR_BYTES;
    gint64 from = random_below (n_sectors) * SECTOR_BYTES;
    probe->chosen = from;
    if (n_sectors > 0 && nbd_can_meta_context (probe->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0) {
        scan_data (probe, from);
        if (probe->data_bytes == 0)
            scan_data (probe, 0);
    }
    gint64 sector = probe->chosen / SECTOR_BYTES;
    return CLAMP (sector, 0, MAX (n_sectors - 1, 0)) * SECTOR_BYTES;
}

static gboolean
read_sector (Probe *probe, gint64 at, GError **error)
{
    gsize len = (gsize) MIN (probe->bytes, SECTOR_BYTES);
    return await (probe, nbd_aio_pread (probe->nbd, probe->sector, len, (guint64) at, NBD_NULL_COMPLETION, 0),
                  error);
}

static gboolean
flush (Probe *probe, GError **error)
{
    return nbd_can_flush (probe->nbd) <= 0 ||
           await (probe, nbd_aio_flush (probe->nbd, NBD_NULL_COMPLETION, 0), error);
}

/* One that cannot be read is an answer too, after which QEMU's server hangs up; a copy of the disk will tell. */
static gboolean
read_some_sector (Probe *probe, GError **error)
{
    g_autoptr (GError) failure = NULL;
    if (read_sector (probe, choose_sector (probe), &failure) || g_get_monotonic_time () <= probe->deadline_us)
        return TRUE;
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
}

gboolean
gw_disk_probe (const GwDiskSource *source, guint within_ms, GError **error)
{
    Probe probe = { .bytes = source->bytes, .deadline_us = gw_deadline_ms (within_ms) };
    probe.nbd = gw_nbd_connect (source, LIBNBD_CONTEXT_BASE_ALLOCATION, error);
    gboolean ok = probe.nbd != NULL && read_sector (&probe, 0, error) && flush (&probe, error) &&
                  read_some_sector (&probe, error);
    nbd_close (probe.nbd);
    return ok;
}
