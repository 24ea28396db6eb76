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

/* Facts of the disk's file here, NULL when there are none. */
static const GwPathFacts *
find_here (const GwCheckInput *input, const GwDisk *disk)
{
    for (guint i = 0; i < input->source->paths->len; i++) {
        const GwPathFacts *here = input->source->paths->pdata[i];
        if (g_strcmp0 (here->path, disk->path) == 0)
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

/* How it is proven that both hosts have the same image; NULL: it is not.  A path proves nothing. */
static const char *
find_proof (const GwCheckInput *input, const GwDisk *disk, const GwPathFacts *here,
            const GwPathFacts *there)
{
    gboolean is_inode = disk->st_ino != 0 && there->st_ino == disk->st_ino;
    if (!there->exists)
        return NULL;
    if (here != NULL && here->device_identity != NULL && here->bytes == there->bytes &&
        g_strcmp0 (here->device_identity, there->device_identity) == 0)
        return "by the identity of the device";
    if (there->has_token && (is_inode || (here != NULL && has_same_name (here, there))))
        return "a token that the source wrote beside it was read on the destination";
    if (is_inode && there->st_dev == disk->st_dev &&
        g_strcmp0 (input->source->boot_id, input->destination->boot_id) == 0)
        return "by device and inode, on one machine";
    return NULL;
}

/* QEMU's null drivers; a node with options has no name of its own but "json:{...}". */
static gboolean
is_null_disk (const GwDisk *disk)
{
    static const char *const drivers[] = { "null-co", "null-aio", NULL };
    if (g_strv_contains (drivers, disk->driver))
        return TRUE;
    return disk->url != NULL && (g_str_has_prefix (disk->url, "null-co:") ||
                                 g_str_has_prefix (disk->url, "null-aio:"));
}

static void
check_remote (const GwDisk *disk, const char *name, GwCheckSink *sink)
{
    gboolean is_null = is_null_disk (disk);
    gw_check_add (sink, is_null ? GW_VERDICT_OK : GW_VERDICT_WARNING,
                  is_null ? "disk '%s' (%s) holds nothing"
                          : "disk '%s' (%s) is taken as shared: both hosts must reach it",
                  name, disk->url != NULL ? disk->url : "no file");
}

/* QEMU's snapshot=on: a file in TMPDIR that was unlinked at once. */
static gboolean
is_temporary (const GwDisk *disk)
{
    g_autofree char *base = g_path_get_basename (disk->path);
    return disk->st_ino == 0 && g_str_has_prefix (base, "vl.") && strlen (base) == strlen ("vl.XXXXXX");
}

/* Of a raw image every byte is the guest's.  Whether something was said. */
static gboolean
refuse_small (const GwCheckInput *input, const GwDisk *disk, const char *name, GwCheckSink *sink)
{
    const char *path = disk->path;
    const GwPathFacts *there = find_there (input, disk, &path), *here = find_here (input, disk);
    if (g_strcmp0 (disk->driver, "raw") != 0 || there == NULL || here == NULL || !there->exists ||
        here->bytes == 0 || there->bytes >= here->bytes)
        return FALSE;
    gw_check_add_cause (sink, GW_CAUSE_DISK_SMALL,
                        "disk '%s': '%s' has %" G_GINT64_FORMAT " bytes on the destination, '%s' has %"
                        G_GINT64_FORMAT " on the source",
                        name, path, there->bytes, disk->path, here->bytes);
    return TRUE;
}

/* What no word of the user's makes right. */
static gboolean
refuse_disk (const GwCheckInput *input, const GwDisk *disk, const char *name, GwCheckSink *sink)
{
    if (is_temporary (disk))
        gw_check_add_cause (sink, GW_CAUSE_DISK_TEMPORARY,
                            "disk '%s': the guest's writes are in '%s', a temporary file that only the "
                            "source's QEMU has",
                            name, disk->path);
    else if (disk->is_unflushed && !disk->is_read_only)
        gw_check_add_cause (sink, GW_CAUSE_DISK_CACHE,
                            "disk '%s': '%s' has cache=unsafe, QEMU never flushes it", name, disk->path);
    else
        return refuse_small (input, disk, name, sink);
    return TRUE;
}

static void
check_writable (const GwCheckInput *input, const GwDisk *disk, const char *name, GwCheckSink *sink)
{
    const char *path = disk->path;
    const GwPathFacts *there = find_there (input, disk, &path);
    const char *proof =
        there != NULL ? find_proof (input, disk, find_here (input, disk), there) : NULL;
    if (proof != NULL && strcmp (input->plan->disks, "copy") == 0)
        gw_check_add_cause (sink, GW_CAUSE_DISK_ONTO_ITSELF,
                            "disk '%s': '%s' on the destination is the source's '%s' (%s)", name, path,
                            disk->path, proof);
    else if (proof != NULL)
        gw_check_add (sink, GW_VERDICT_OK, "disk '%s': '%s' is the same on both hosts (%s)", name, path,
                      proof);
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
        else if (refuse_disk (input, disk, name, sink))
            continue;
        else if (disk->is_read_only)
            check_read_only (input, disk, name, sink);
        else
            check_writable (input, disk, name, sink);
    }
}

void
gw_check_backing (const GwCheckInput *input, GwCheckSink *sink)
{
    const GPtrArray *needs = input->derived->needs, *paths = input->destination->paths;
    guint n = 0, before = sink->results->len;
    for (guint i = 0; i < needs->len; i++) {
        const GwNeed *need = needs->pdata[i];
        if (strcmp (need->kind, "backing") != 0)
            continue;
        n++;
        if (i < paths->len && !((const GwPathFacts *) paths->pdata[i])->exists)
            gw_check_add (sink, GW_VERDICT_REFUSED,
                          "a disk is built on '%s', and '%s' does not exist on the destination",
                          need->source_path, need->path);
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "%u images below the disks, none is missing", n);
}

/* The VM's own QEMU holds locks on its disks; on one machine they are seen as the destination's too. */
static gboolean
is_own (const GwCheckInput *input, const GwLockHolder *holder)
{
    return holder->pid == input->vm->pid &&
           g_strcmp0 (input->source->boot_id, input->destination->boot_id) == 0;
}

void
gw_check_locks (const GwCheckInput *input, GwCheckSink *sink)
{
    guint before = sink->results->len;
    for (guint i = 0; i < input->vm->disks->len; i++) {
        const GwDisk *disk = input->vm->disks->pdata[i];
        const char *path = disk->path;
        const GwPathFacts *there =
            disk->path != NULL && !disk->is_read_only ? find_there (input, disk, &path) : NULL;
        for (guint k = 0; there != NULL && k < there->holders->len; k++) {
            const GwLockHolder *holder = there->holders->pdata[k];
            if (!is_own (input, holder))
                gw_check_add (sink, GW_VERDICT_REFUSED,
                              "'%s', disk '%s' of the VM (pid %" G_GINT64_FORMAT "), is locked on the "
                              "destination by process %" G_GINT64_FORMAT " (%s)",
                              path, disk->path, input->vm->pid, holder->pid, holder->name);
        }
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "nobody else on the destination holds a disk of the VM");
}
