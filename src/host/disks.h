/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copied disks inside src/host: the images, the copies under way, and the proof that both are equal. */
#ifndef GW_DISKS_H
#define GW_DISKS_H

#include "host-service.h"

/* --- images.c, exports.c: what the destination gets disks into ----------------------------------------------------- */

#define GW_DISK_EXPORT "godwit" /* name of an image's NBD export, the only one on its socket */

/* Whether the configuration lets an image be made at `path`. */
gboolean gw_images_are_allowed_at (const GwHostConfig *config, const char *path);
/* Whether it is a copy that was not finished, and kept. */
gboolean gw_image_is_partial (const char *path);
/* Path of the socket of the disk that is copied as number `index`, on either side.  (transfer full) */
char *gw_disk_socket (const char *job_dir, guint index);

typedef struct _GwImage GwImage;
typedef struct {
    const GwHostConfig *config;
    GMainContext *context;
    const char *job, *job_dir, *user; /* user who will open it, NULL: we */
    const GwDiskPlan *plan;
    GwJournal *journal; /* NULL: nothing is written */
} GwImageSpec;
/* Makes an empty image of the very size and format; a file that it may replace steps aside.  NULL with
 * GW_CAUSE_DISK_IMAGE or GW_CAUSE_DISK_SPACE, and nothing is left of it. */
GwImage *gw_image_new (const GwImageSpec *spec, GError **error);
/* The one that an agent before this one made for the same job, whose objects in the journal are `objects`. */
GwImage *gw_image_adopt (const GwImageSpec *spec, JsonArray *objects, GError **error);
/* Frees `image`, and nothing else happens. */
void gw_image_forget (GwImage *image);
/* Frees `image`, whose file stays; the one that it replaced goes. */
void gw_image_keep (GwImage *image);
/* Frees `image` and removes its file, unless the plan keeps it for another try; the one that it replaced
 * comes back. */
void gw_image_discard (GwImage *image);
void gw_image_push_out (const GwImage *image);
/* All of it is on the storage, and from now on it is a disk like any other. */
gboolean gw_image_complete (const GwImage *image, GError **error);

struct stat;
/* Whether the file has that job's name on it: it is an image that the job made, and is not complete. */
gboolean gw_image_is_of (const char *path, const char *job, struct stat *ret_st);
/* The partial copy may be resumed by another job. */
void gw_image_keep_partial (const char *path);

typedef struct _GwExports GwExports;
/* Where the images can be read: an array of GwDiskSource.  (transfer full) */
GArray *gw_exports_list (const GwExports *exports);
/* Frees `exports`; servers and images go on without this agent. */
void gw_exports_forget (GwExports *exports);
/* Frees `exports` and keeps the images. */
void gw_exports_keep (GwExports *exports);
/* Frees `exports`, which ends the servers and removes the images.  NULL is fine. */
void gw_exports_free (GwExports *exports);

/* --- mirror.c: the source's copies under way --------------------------------------------------------------------------- */

typedef struct _GwMirrorSet GwMirrorSet;
void gw_mirror_set_free (GwMirrorSet *set);

/* --- disk_hash.c, proof.c: whether a copy is equal ------------------------------------------------------------------------- */

typedef struct {
    char *socket, *export; /* of an NBD server */
    gint64 bytes;
} GwDiskSource;

/* Appends the chunks of one more disk. */
void gw_chunk_disks_add (GArray *disks, gint64 bytes);
/* Runs as messages have them: disk, first, count, disk, first, count ...  (transfer full) */
JsonArray *gw_chunk_runs_to_json (const GArray *runs);
/* The way back, from a peer: RPC_INVALID when they are too many, leave the `disks` (of gint64: chunks of
 * each), or are more than a disk has.  (transfer full) */
GArray *gw_chunk_runs_from_json (JsonArray *list, const GArray *disks, GError **error);
/* An empty array of GwDiskSource.  (transfer full) */
GArray *gw_disk_sources_new (void);
/* Appends what the dirty bitmap, which the export has, says of it.  Blocks for at most half a minute. */
gboolean gw_disk_list_dirty (const GwDiskSource *source, guint disk, const char *bitmap, GArray *runs,
                             GError **error);

/* Reads the first sector, flushes, and reads one that holds data if there is any.  FALSE with GW_CAUSE_DISK_SYNC
 * also when all of that takes longer. */
gboolean gw_disk_probe (const GwDiskSource *source, guint within_ms, GError **error);

typedef struct _GwHashWork GwHashWork;
/* Begins to hash `runs` (of GwChunkRun) in a thread; with `targets`, which may be NULL, it also writes
 * each chunk there. */
GwHashWork *gw_hash_work_new (GArray *sources, GArray *targets, const GArray *runs, guint64 seed);
/* {"done","error","hashes"} from hash `from` on, 16 hexadecimal digits each.  (transfer full) */
JsonObject *gw_hash_work_get (GwHashWork *work, gint64 from, guint max);
/* Waits for the thread, which stops within a tenth of a second.  NULL is fine. */
void gw_hash_work_free (GwHashWork *work);

typedef struct _GwProof GwProof;

#endif
