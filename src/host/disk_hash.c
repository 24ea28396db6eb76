/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hashes of a disk's content, read over NBD by a thread of its own: at the source from the running QEMU,
 * at the destination from the server of the image.
 *
 * A disk is a row of chunks.  A chunk of nothing but zeroes has the hash 0, whether it is stored or a
 * hole, so that sparse images need not be read.  The next few chunks are asked for while one is hashed.  The
 * thread owns its connections and buffers; `lock` guards hashes, error, is_done and is_stopped.
 */
#include "disk_nbd.h"
#include "host-internal.h"

#include <string.h>
#include <xxhash.h>

#define EXTENT_MAX ((gint64) 1 << 30)
#define AHEAD 4u /* chunks that are under way */

struct _GwHashWork {
    GArray *sources; /* GwDiskSource, not changed any more */
    GArray *targets; /* the same, where to write what was read; NULL: nowhere */
    GArray *runs; /* GwChunkRun */
    guint64 seed;
    GThread *thread;
    GMutex lock;
    GArray *hashes; /* guint64, in the order of the runs */
    char *error;
    gboolean is_done, is_stopped;
};

typedef struct {
    gint64 len;
    uint32_t flags;
} Extent;

/* A chunk that was asked for. */
typedef struct {
    uint8_t *buffer; /* GW_CHUNK_BYTES */
    gint64 at, cookie;
    gsize len;
    gboolean is_hole; /* nothing is read */
} Slot;

typedef struct {
    struct nbd_handle *nbd, *target;
    Slot slots[AHEAD]; /* the Nth chunk is in slot N % AHEAD */
    guint n_begun, n_done;
    guint run;    /* of the next chunk to be asked for, */
    gint64 index; /* and its place there */
    gint64 bytes;
    Extent extent;     /* a request that is given up may still write to it */
    gint64 extent_end; /* of the last extent asked for; the cursor is inside it */
    gboolean is_zero, has_extents;
} Reader;

static gboolean
wait_command (struct nbd_handle *nbd, gint64 cookie, GwNbdStopFn stop, gpointer user_data, GError **error)
{
    return gw_nbd_wait (nbd, cookie, gw_deadline_ms (GW_NBD_SILENT_MS), stop, user_data, error);
}

/* --- dirty chunks ---------------------------------------------------------------------------------------------- */

typedef struct {
    GArray *runs;
    guint disk;
    gint64 at; /* where the next extent begins */
} DirtyScan;

static void
add_dirty (DirtyScan *scan, gint64 end)
{
    gint64 first = scan->at / GW_CHUNK_BYTES;
    gw_chunk_runs_add (scan->runs, scan->disk, first, (end + GW_CHUNK_BYTES - 1) / GW_CHUNK_BYTES - first);
}

static int
on_dirty (void *user_data, const char *context, uint64_t offset, uint32_t *entries, size_t n, int *error)
{
    DirtyScan *scan = user_data;
    for (size_t i = 0; i + 1 < n; i += 2) {
        gint64 end = scan->at + entries[i];
        if ((entries[i + 1] & 1) != 0) /* bit 0 of a "qemu:dirty-bitmap" */
            add_dirty (scan, end);
        scan->at = end;
    }
    return 0;
}

gboolean
gw_disk_list_dirty (const GwDiskSource *source, guint disk, const char *bitmap, GArray *runs,
                    GError **error)
{
    g_autofree char *context = g_strconcat ("qemu:dirty-bitmap:", bitmap, NULL);
    struct nbd_handle *nbd = gw_nbd_connect (source, context, error);
    DirtyScan scan = { runs, disk, 0 };
    gboolean ok = nbd != NULL;
    while (ok && scan.at < source->bytes) {
        gint64 before = scan.at;
        nbd_extent_callback callback = { .callback = on_dirty, .user_data = &scan };
        gint64 cookie = nbd_aio_block_status (nbd, (uint64_t) MIN (source->bytes - before, EXTENT_MAX),
                                              (uint64_t) before, callback, NBD_NULL_COMPLETION, 0);
        ok = wait_command (nbd, cookie, NULL, NULL, error) &&
             (scan.at > before ||
              gw_fail (error, GW_CAUSE_DISK_SYNC, "QEMU does not tell what was written (bitmap '%s')",
                       bitmap));
    }
    nbd_close (nbd);
    return ok;
}

/* --- hashing -------------------------------------------------------------------------------------------------------- */

static gboolean
must_stop (gpointer user_data)
{
    GwHashWork *work = user_data;
    g_mutex_lock (&work->lock);
    gboolean is_stopped = work->is_stopped;
    g_mutex_unlock (&work->lock);
    return is_stopped;
}

static int
on_extent (void *user_data, const char *context, uint64_t offset, uint32_t *entries, size_t n, int *error)
{
    Extent *extent = user_data;
    if (n >= 2 && extent->len == 0)
        *extent = (Extent) { entries[0], entries[1] };
    return 0;
}

/* Whether everything up to `end` reads as zeroes without being read. */
static gboolean
is_hole (GwHashWork *work, Reader *reader, gint64 at, gint64 end)
{
    if (reader->has_extents && reader->extent_end <= at) {
        Extent *extent = &reader->extent;
        *extent = (Extent) { 0, 0 };
        nbd_extent_callback callback = { .callback = on_extent, .user_data = extent };
        gint64 cookie = nbd_aio_block_status (reader->nbd,
                                              (uint64_t) MIN (reader->bytes - at, EXTENT_MAX),
                                              (uint64_t) at, callback, NBD_NULL_COMPLETION, 0);
        reader->has_extents = wait_command (reader->nbd, cookie, must_stop, work, NULL) && extent->len > 0;
        reader->extent_end = at + extent->len;
        reader->is_zero = (extent->flags & LIBNBD_STATE_ZERO) != 0;
    }
    return reader->has_extents && reader->is_zero && reader->extent_end >= end;
}

static gboolean
is_all_zero (const uint8_t *data, gsize len)
{
    return len == 0 || (data[0] == 0 && memcmp (data, data + 1, len - 1) == 0);
}

/* What is there is replaced; `data` NULL: zeroes. */
static gboolean
write_chunk (GwHashWork *work, Reader *reader, gint64 at, const uint8_t *data, gsize len, GError **error)
{
    if (reader->target == NULL)
        return TRUE;
    gint64 cookie =
        data != NULL
            ? nbd_aio_pwrite (reader->target, data, len, (uint64_t) at, NBD_NULL_COMPLETION, 0)
            : nbd_aio_zero (reader->target, len, (uint64_t) at, NBD_NULL_COMPLETION, 0);
    return wait_command (reader->target, cookie, must_stop, work, error);
}

/* Asks for a chunk; finish_chunk() waits for it. */
static gboolean
begin_chunk (GwHashWork *work, Reader *reader, Slot *slot, gint64 chunk, GError **error)
{
    gint64 at = chunk * GW_CHUNK_BYTES, end = MIN (at + GW_CHUNK_BYTES, reader->bytes);
    if (at >= end)
        return gw_fail (error, GW_CAUSE_DISK_SYNC, "chunk %" G_GINT64_FORMAT " is behind the disk's end",
                        chunk);
    slot->at = at;
    slot->len = (gsize) (end - at);
    slot->is_hole = is_hole (work, reader, at, end);
    if (!slot->is_hole)
        slot->cookie =
            nbd_aio_pread (reader->nbd, slot->buffer, slot->len, (uint64_t) at, NBD_NULL_COMPLETION, 0);
    return TRUE;
}

static gboolean
finish_chunk (GwHashWork *work, Reader *reader, const Slot *slot, guint64 *ret_hash, GError **error)
{
    *ret_hash = 0;
    if (slot->is_hole)
        return write_chunk (work, reader, slot->at, NULL, slot->len, error);
    if (!wait_command (reader->nbd, slot->cookie, must_stop, work, error))
        return FALSE;
    if (!is_all_zero (slot->buffer, slot->len))
        *ret_hash = XXH3_64bits_withSeed (slot->buffer, slot->len, work->seed) | 1; /* never 0 */
    return write_chunk (work, reader, slot->at, slot->buffer, slot->len, error);
}

static void
close_reader (Reader *reader)
{
    nbd_close (reader->nbd);
    nbd_close (reader->target);
    reader->nbd = reader->target = NULL;
}

static void
init_reader (Reader *reader)
{
    *reader = (Reader) { 0 };
    for (guint i = 0; i < AHEAD; i++)
        reader->slots[i].buffer = g_malloc (GW_CHUNK_BYTES);
}

/* The buffers go after the connections, see disk_nbd.h. */
static void
clear_reader (Reader *reader)
{
    close_reader (reader);
    for (guint i = 0; i < AHEAD; i++)
        g_free (reader->slots[i].buffer);
}

static gboolean
open_reader (GwHashWork *work, Reader *reader, guint disk, GError **error)
{
    const GwDiskSource *source = &g_array_index (work->sources, GwDiskSource, disk);
    close_reader (reader);
    reader->nbd = gw_nbd_connect (source, LIBNBD_CONTEXT_BASE_ALLOCATION, error);
    if (reader->nbd == NULL)
        return FALSE;
    if (work->targets != NULL) {
        const GwDiskSource *target = &g_array_index (work->targets, GwDiskSource, disk);
        reader->target = gw_nbd_connect (target, LIBNBD_CONTEXT_BASE_ALLOCATION, error);
        if (reader->target == NULL)
            return FALSE;
    }
    reader->bytes = MIN (source->bytes, nbd_get_size (reader->nbd));
    reader->has_extents = nbd_can_meta_context (reader->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
    return TRUE;
}

/* Asks for the next chunks of the runs before `end`, as many as may be under way. */
static gboolean
begin_chunks (GwHashWork *work, Reader *reader, guint end, GError **error)
{
    while (reader->run < end && reader->n_begun - reader->n_done < AHEAD) {
        const GwChunkRun *run = &g_array_index (work->runs, GwChunkRun, reader->run);
        Slot *slot = &reader->slots[reader->n_begun % AHEAD];
        if (reader->index == 0)
            reader->extent_end = 0; /* what was written since may have filled a hole */
        if (reader->index < run->count) {
            if (!begin_chunk (work, reader, slot, run->first + reader->index++, error))
                return FALSE;
            reader->n_begun++;
        } else {
            reader->run++;
            reader->index = 0;
        }
    }
    return TRUE;
}

/* The runs up to `end`, which are of one disk. */
static gboolean
hash_disk (GwHashWork *work, Reader *reader, guint end, GError **error)
{
    guint64 hash;
    while (begin_chunks (work, reader, end, error)) {
        if (reader->n_done == reader->n_begun)
            return TRUE;
        if (must_stop (work) ||
            !finish_chunk (work, reader, &reader->slots[reader->n_done++ % AHEAD], &hash, error))
            return FALSE;
        g_mutex_lock (&work->lock);
        g_array_append_val (work->hashes, hash);
        g_mutex_unlock (&work->lock);
    }
    return FALSE;
}

static guint
find_end_of_disk (const GwHashWork *work, guint begin)
{
    guint end = begin, disk = g_array_index (work->runs, GwChunkRun, begin).disk;
    while (end < work->runs->len && g_array_index (work->runs, GwChunkRun, end).disk == disk)
        end++;
    return end;
}

static gpointer
run_work (gpointer user_data)
{
    GwHashWork *work = user_data;
    g_autoptr (GError) error = NULL;
    gboolean ok = TRUE;
    Reader reader;
    init_reader (&reader);
    while (ok && reader.run < work->runs->len) {
        guint disk = g_array_index (work->runs, GwChunkRun, reader.run).disk;
        ok = open_reader (work, &reader, disk, &error) &&
             hash_disk (work, &reader, find_end_of_disk (work, reader.run), &error);
    }
    clear_reader (&reader);
    g_mutex_lock (&work->lock);
    work->error = error != NULL ? g_strdup (error->message) : NULL;
    work->is_done = TRUE;
    g_mutex_unlock (&work->lock);
    return NULL;
}

static void
clear_source (gpointer data)
{
    GwDiskSource *source = data;
    g_free (source->socket);
    g_free (source->export);
}

GArray *
gw_disk_sources_new (void)
{
    GArray *sources = g_array_new (FALSE, FALSE, sizeof (GwDiskSource));
    g_array_set_clear_func (sources, clear_source);
    return sources;
}

/* --- the work as others see it ------------------------------------------------------------------------------------------ */

GwHashWork *
gw_hash_work_new (GArray *sources, GArray *targets, const GArray *runs, guint64 seed)
{
    GwHashWork *work = g_new0 (GwHashWork, 1);
    work->sources = g_array_ref (sources);
    work->targets = targets != NULL ? g_array_ref (targets) : NULL;
    work->runs = g_array_new (FALSE, FALSE, sizeof (GwChunkRun));
    if (runs->len > 0)
        g_array_append_vals (work->runs, runs->data, runs->len);
    work->hashes = g_array_new (FALSE, FALSE, sizeof (guint64));
    work->seed = seed;
    g_mutex_init (&work->lock);
    work->thread = g_thread_new ("disk-hash", run_work, work);
    return work;
}

JsonObject *
gw_hash_work_get (GwHashWork *work, gint64 from, guint max)
{
    g_autoptr (GString) text = g_string_new (NULL);
    g_mutex_lock (&work->lock);
    gint64 end = MIN (from + max, (gint64) work->hashes->len);
    for (gint64 i = from; i < end; i++)
        g_string_append_printf (text, "%016" G_GINT64_MODIFIER "x",
                                g_array_index (work->hashes, guint64, i));
    JsonObject *result = gw_json_new ("done:b", work->is_done && end >= (gint64) work->hashes->len,
                                      "error:s", work->error, "hashes:s", text->str, NULL);
    g_mutex_unlock (&work->lock);
    return result;
}

void
gw_hash_work_free (GwHashWork *work)
{
    if (work == NULL)
        return;
    g_mutex_lock (&work->lock);
    work->is_stopped = TRUE;
    g_mutex_unlock (&work->lock);
    g_thread_join (work->thread);
    g_array_unref (work->sources);
    g_clear_pointer (&work->targets, g_array_unref);
    g_array_unref (work->runs);
    g_array_unref (work->hashes);
    g_mutex_clear (&work->lock);
    g_free (work->error);
    g_free (work);
}
