/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Disks: a VM whose disks are not the same on the other host must not start there. */
#include "check-internal.h"

#include <string.h>

/* What the destination sees at the path that `disk` will have there; NULL when it is no local path. */
static const GwPathFacts *
find_there (const GwCheckInput *input, const GwDisk *disk, const char **ret_path)
{
    for (guint i = 0; i < input->derived->needs->len; i++) {
        const GwNeed *need = input->derived->needs->pdata[i];
        if (strcmp (need->kind, "image") != 0 || g_strcmp0 (need->source_path, disk->path) != 0)
            continue;
        *ret_path = need->path;
        return i < input->destination->paths->len ? input->destination->paths->pdata[i] : NULL;
    }
    return NULL;
}

/* One machine, one file: proven.  Between machines nothing but the user's word counts in this
 * version. */
static gboolean
is_same_file (const GwCheckInput *input, const GwDisk *disk, const GwPathFacts *there)
{
    return g_strcmp0 (input->source->boot_id, input->destination->boot_id) == 0 &&
           there->exists && disk->st_ino != 0 && there->st_ino == disk->st_ino &&
           there->st_dev == disk->st_dev;
}

static void
check_remote (const GwDisk *disk, const char *name, GwCheckSink *sink)
{
    gboolean is_null = disk->url != NULL && (g_str_has_prefix (disk->url, "null-co:") ||
                                             g_str_has_prefix (disk->url, "null-aio:"));
    gw_check_add (sink, is_null ? GW_VERDICT_OK : GW_VERDICT_WARNING,
                  is_null ? "disk '%s' (%s) holds nothing"
                          : "disk '%s' (%s) is taken as shared: both hosts must reach it",
                  name, disk->url != NULL ? disk->url : "no file");
}

static void
check_writable (const GwCheckInput *input, const GwDisk *disk, const char *name, GwCheckSink *sink)
{
    const char *path = disk->path;
    const GwPathFacts *there = find_there (input, disk, &path);
    if (there != NULL && is_same_file (input, disk, there))
        gw_check_add (sink, GW_VERDICT_OK, "disk '%s': '%s' is the same file on both hosts", name,
                      path);
    else if (strcmp (input->plan->disks, "shared") == 0)
        gw_check_add (sink, GW_VERDICT_OK, "disk '%s': shared, as --disks shared says", name);
    else if (there != NULL && !there->exists)
        gw_check_add (sink, GW_VERDICT_REFUSED, "disk '%s': '%s' does not exist on the destination",
                      name, path);
    else
        gw_check_add (sink, GW_VERDICT_REFUSED,
                      "disk '%s': '%s' on the destination is not proven to be the source's '%s'",
                      name, path, disk->path);
}

static void
check_read_only (const GwCheckInput *input, const GwDisk *disk, const char *name, GwCheckSink *sink)
{
    const char *path = disk->path;
    const GwPathFacts *there = find_there (input, disk, &path);
    if (there != NULL && !there->exists)
        gw_check_add (sink, GW_VERDICT_REFUSED,
                      "read-only disk '%s': '%s' does not exist on the destination", name, path);
    else if (there == NULL)
        gw_check_add (sink, GW_VERDICT_WARNING,
                      "read-only disk '%s': it is not known whether '%s' exists on the destination",
                      name, path);
    else
        gw_check_add (sink, GW_VERDICT_OK, "read-only disk '%s': '%s' is there", name, path);
}

void
gw_check_disks (const GwCheckInput *input, GwCheckSink *sink)
{
    if (input->vm->disks->len == 0)
        gw_check_add (sink, GW_VERDICT_OK, "the VM has no disks");
    for (guint i = 0; i < input->vm->disks->len; i++) {
        const GwDisk *disk = input->vm->disks->pdata[i];
        const char *name = *disk->device != '\0' ? disk->device
                           : disk->node != NULL  ? disk->node
                                                 : "unnamed";
        if (disk->path == NULL)
            check_remote (disk, name, sink);
        else if (disk->is_read_only)
            check_read_only (input, disk, name, sink);
        else
            check_writable (input, disk, name, sink);
    }
}
