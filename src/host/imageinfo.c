/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The image of a disk: how to make another one like it. */
#include "host-internal.h"

#include <string.h>

#define BACKING_MAX 200 /* images below each other */

/* QEMU nests the image below in the image above. */
static void
read_backing (GwDisk *disk, JsonObject *image)
{
    disk->backing = g_ptr_array_new ();
    while (image != NULL && disk->backing->len < BACKING_MAX) {
        const char *name = gw_json_peek_string (image, "backing-filename", NULL);
        const char *path = gw_json_peek_string (image, "full-backing-filename", name);
        JsonObject *below = gw_json_peek_object (image, "backing-image");
        disk->allocated_bytes += CLAMP (gw_json_peek_int (image, "actual-size", 0), 0, G_MAXINT64 >> 8);
        if (name != NULL) {
            GwBacking *backing = g_new0 (GwBacking, 1);
            backing->name = g_strdup (name);
            backing->path = g_strdup (path);
            backing->format = g_strdup (
                below != NULL ? gw_json_peek_string (below, "format", NULL)
                              : gw_json_peek_string (image, "backing-filename-format", NULL));
            g_ptr_array_add (disk->backing, backing);
        }
        image = below;
    }
}

/* What of "format-specific" a new image must have too; the rest (lazy refcounts, their width) would
 * make no difference to anybody. */
static char *
qcow2_options (JsonObject *image, JsonObject *data)
{
    const char *compression = gw_json_peek_string (data, "compression-type", "zlib");
    gboolean has_other = strcmp (compression, "zlib") != 0;
    return g_strdup_printf ("compat=%s,cluster_size=%" G_GINT64_FORMAT ",lazy_refcounts=%s%s%s%s",
                            gw_json_peek_string (data, "compat", "1.1"),
                            gw_json_peek_int (image, "cluster-size", 65536),
                            gw_json_peek_bool (data, "lazy-refcounts", FALSE) ? "on" : "off",
                            gw_json_peek_bool (data, "extended-l2", FALSE) ? ",extended_l2=on" : "",
                            has_other ? ",compression_type=" : "", has_other ? compression : "");
}

static void
read_format (GwDisk *disk, JsonObject *image)
{
    JsonObject *specific = gw_json_peek_object (image, "format-specific");
    JsonObject *data = specific != NULL ? gw_json_peek_object (specific, "data") : NULL;
    gboolean is_raw = strcmp (disk->driver, "raw") == 0;
    if (gw_json_peek_bool (image, "encrypted", FALSE))
        disk->obstacle = g_strdup ("its image is encrypted");
    else if (is_raw)
        return;
    else if (strcmp (disk->driver, "qcow2") != 0 || data == NULL)
        disk->obstacle = g_strdup_printf ("its image is of the format '%s'", disk->driver);
    else if (gw_json_peek_string (data, "data-file", NULL) != NULL)
        disk->obstacle = g_strdup ("its image keeps the data in another file");
    else if (gw_json_peek_bool (data, "corrupt", FALSE))
        disk->obstacle = g_strdup ("its image is marked as corrupt");
    else
        disk->options = qcow2_options (image, data);
}

void
gw_disk_read_image (GwDisk *disk, JsonObject *image)
{
    read_backing (disk, image);
    if (image == NULL)
        return;
    disk->bytes = MAX (gw_json_peek_int (image, "virtual-size", 0), 0);
    read_format (disk, image);
}
