/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether the image of a disk is the same on both hosts. */
#include "check-internal.h"

#include <string.h>

const GwNeed *
gw_disk_find_need (const GwCheckInput *input, const char *path, const GwPathFacts **ret_there)
{
    *ret_there = NULL;
    for (guint i = 0; i < input->derived->needs->len; i++) {
        const GwNeed *need = input->derived->needs->pdata[i];
        if ((strcmp (need->kind, "image") != 0 && strcmp (need->kind, "backing") != 0) ||
            g_strcmp0 (need->source_path, path) != 0)
            continue;
        *ret_there = i < input->destination->paths->len ? input->destination->paths->pdata[i] : NULL;
        return need;
    }
    return NULL;
}

const GwPathFacts *
gw_disk_find_here (const GwCheckInput *input, const char *path)
{
    for (guint i = 0; i < input->source->paths->len; i++) {
        const GwPathFacts *here = input->source->paths->pdata[i];
        if (g_strcmp0 (here->path, path) == 0)
            return here;
    }
    return NULL;
}

static gboolean
has_same_name (const GwPathFacts *here, const GwPathFacts *there)
{
    if (here->real_path == NULL || there->real_path == NULL)
        return FALSE;
    g_autofree char *a = g_path_get_basename (here->real_path);
    g_autofree char *b = g_path_get_basename (there->real_path);
    return strcmp (a, b) == 0;
}

const char *
gw_disk_find_proof (const GwCheckInput *input, gint64 st_dev, gint64 st_ino, const GwPathFacts *here,
                    const GwPathFacts *there)
{
    if (there == NULL || !there->exists)
        return NULL;
    gboolean is_inode = st_ino != 0 && there->st_ino == st_ino;
    gboolean has_token = there->has_token && !there->is_device; /* beside a device it says nothing of it */
    if (here != NULL && here->device_identity != NULL && here->bytes == there->bytes &&
        g_strcmp0 (here->device_identity, there->device_identity) == 0)
        return "by the identity of the device";
    if (has_token && (is_inode || (here != NULL && has_same_name (here, there))))
        return "a token that the source wrote beside it was read on the destination";
    if (is_inode && there->st_dev == st_dev &&
        g_strcmp0 (input->source->boot_id, input->destination->boot_id) == 0)
        return "by device and inode, on one machine";
    return NULL;
}

gboolean
gw_disk_is_null (const GwDisk *disk)
{
    static const char *const drivers[] = { "null-co", "null-aio", NULL };
    if (disk->driver != NULL && g_strv_contains (drivers, disk->driver))
        return TRUE;
    return disk->url != NULL && (g_str_has_prefix (disk->url, "null-co:") ||
                                 g_str_has_prefix (disk->url, "null-aio:"));
}
