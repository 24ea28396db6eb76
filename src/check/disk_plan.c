/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of each disk: shared, copied, found again, or in the way.
 *
 * A rule looks at one disk and either decides or passes it on to the next.  What makes a disk
 * unfit for the other host at all stands first, then what proves that nothing needs to be copied, and
 * last what a copy needs.
 */
#include "check-internal.h"

#include <stdarg.h>
#include <string.h>

#define FREE_RESERVE ((gint64) 64 << 20) /* bytes of a file system that no copy may use */

typedef struct {
    const GwCheckInput *input;
    const GwDisk *disk;
    const GwPathFacts *here, *there; /* NULL: not known */
    GwDiskPlan *plan;
} Case;

/* --- deciding ------------------------------------------------------------------------------------------ */

static gboolean decide (const Case *c, const char *action, const char *format, ...) G_GNUC_PRINTF (3, 4);

static gboolean
decide (const Case *c, const char *action, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_free (c->plan->reason);
    c->plan->reason = g_strdup_vprintf (format, args);
    va_end (args);
    g_free (c->plan->action);
    c->plan->action = g_strdup (action);
    return TRUE;
}

static gboolean
refuse (const Case *c, GwCause cause)
{
    g_free (c->plan->cause);
    c->plan->cause = g_strdup (gw_cause_get_info (cause)->code);
    return TRUE;
}

#define REFUSE(c, cause, ...) (decide (c, "refuse", __VA_ARGS__) && refuse (c, cause))

/* --- facts ---------------------------------------------------------------------------------------------- */

static const char *
find_disk_proof (const Case *c)
{
    return gw_disk_find_proof (c->input, c->disk->st_dev, c->disk->st_ino, c->here, c->there);
}

static gboolean
wants (const Case *c, const char *mode)
{
    return strcmp (c->input->plan->disks, mode) == 0;
}

/* --- rules ------------------------------------------------------------------------------------------------ */

static gboolean
rule_remote (const Case *c)
{
    const char *url = c->disk->url;
    if (c->disk->path != NULL)
        return FALSE;
    if (gw_disk_is_null (c->disk))
        return decide (c, "shared", "it (%s) holds nothing", url != NULL ? url : "a null disk");
    if (wants (c, "copy") && !c->disk->is_read_only)
        return REFUSE (c, GW_CAUSE_DISK_FORMAT, "it (%s) cannot be copied: it is no local file",
                       url != NULL ? url : "no file");
    c->plan->is_unsure = TRUE;
    return decide (c, "shared", "it (%s) is taken as shared: both hosts must reach it",
                   url != NULL ? url : "no file");
}

/* QEMU's snapshot=on: a file in TMPDIR that was unlinked at once. */
static gboolean
rule_temporary (const Case *c)
{
    g_autofree char *base = g_path_get_basename (c->disk->path);
    if (c->disk->st_ino != 0 || !g_str_has_prefix (base, "vl.") ||
        strlen (base) != strlen ("vl.XXXXXX"))
        return FALSE;
    return REFUSE (c, GW_CAUSE_DISK_TEMPORARY,
                   "the guest's writes are in '%s', a temporary file that only the source's QEMU has",
                   c->disk->path);
}

static gboolean
rule_read_only (const Case *c)
{
    const char *path = c->plan->target, *proof = find_disk_proof (c);
    if (!c->disk->is_read_only)
        return FALSE;
    if (proof != NULL)
        return decide (c, "shared", "'%s', read-only, is the same on both hosts (%s)", path, proof);
    if (c->there == NULL) {
        c->plan->is_unsure = TRUE;
        return decide (c, "recreate",
                       "read-only; it is not known whether '%s' exists on the destination", path);
    }
    if (!c->there->exists)
        return REFUSE (c, GW_CAUSE_DISK_NOT_SHARED,
                       "read-only; '%s' does not exist on the destination", path);
    if (c->here != NULL && c->here->bytes != c->there->bytes)
        return REFUSE (c, GW_CAUSE_DISK_SMALL,
                       "read-only; '%s' has %" G_GINT64_FORMAT
                       " bytes on the destination, '%s' has %" G_GINT64_FORMAT " on the source",
                       path, c->there->bytes, c->disk->path, c->here->bytes);
    if (c->here == NULL || c->here->content == NULL || c->there->content == NULL) {
        c->plan->is_unsure = TRUE;
        return decide (c, "recreate", "read-only, and '%s' is there; its content was not compared", path);
    }
    if (strcmp (c->here->content, c->there->content) != 0)
        return REFUSE (c, GW_CAUSE_DISK_NOT_SHARED,
                       "read-only; '%s' on the destination is another medium: its content differs from "
                       "that of '%s' on the source (%s, %s)",
                       path, c->disk->path, c->there->content, c->here->content);
    return decide (c, "recreate", "read-only, and '%s' has the same content", path);
}

/* QEMU flushes nothing, so what the source wrote may never arrive in a file that both open. */
static gboolean
refuse_unflushed (const Case *c)
{
    return c->disk->is_unflushed &&
           REFUSE (c, GW_CAUSE_DISK_CACHE, "'%s' has cache=unsafe, QEMU never flushes it",
                   c->disk->path);
}

/* Of a raw image every byte is the guest's. */
static gboolean
refuse_small (const Case *c)
{
    if (g_strcmp0 (c->disk->driver, "raw") != 0 || c->there == NULL || c->here == NULL ||
        !c->there->exists || c->here->bytes == 0 || c->there->bytes >= c->here->bytes)
        return FALSE;
    return REFUSE (c, GW_CAUSE_DISK_SMALL,
                   "'%s' has %" G_GINT64_FORMAT " bytes on the destination, '%s' has %" G_GINT64_FORMAT
                   " on the source",
                   c->plan->target, c->there->bytes, c->disk->path, c->here->bytes);
}

static gboolean
rule_proven_shared (const Case *c)
{
    const char *proof = find_disk_proof (c);
    if (proof == NULL)
        return FALSE;
    if (wants (c, "copy"))
        return REFUSE (c, GW_CAUSE_DISK_ONTO_ITSELF,
                       "'%s' on the destination is the source's '%s' (%s)", c->plan->target,
                       c->disk->path, proof);
    return refuse_unflushed (c) || decide (c, "shared", "'%s' is the same on both hosts (%s)",
                                           c->plan->target, proof);
}

static gboolean
rule_user_says_shared (const Case *c)
{
    if (!wants (c, "shared"))
        return FALSE;
    if (c->there != NULL && c->there->is_partial)
        return REFUSE (c, GW_CAUSE_DISK_NOT_SHARED,
                       "'%s' on the destination is a copy that was not finished (--resume-disks)",
                       c->plan->target);
    return refuse_unflushed (c) || refuse_small (c) ||
           decide (c, "shared", "shared, as --disks shared says");
}

/* --- copying ------------------------------------------------------------------------------------------------ */

static gboolean
rule_format (const Case *c)
{
    if (c->disk->obstacle != NULL)
        return REFUSE (c, GW_CAUSE_DISK_FORMAT, "it cannot be copied: %s", c->disk->obstacle);
    if (c->disk->node == NULL || c->disk->bytes == 0)
        return REFUSE (c, GW_CAUSE_DISK_FORMAT, "it cannot be copied: QEMU does not tell its %s",
                       c->disk->bytes == 0 ? "size" : "node");
    return FALSE;
}

static gboolean
rule_target_exists (const Case *c)
{
    if (c->there == NULL)
        return REFUSE (c, GW_CAUSE_DISK_NOT_SHARED,
                       "'%s' on the destination is not proven to be the source's '%s'; nothing is "
                       "known of it",
                       c->plan->target, c->disk->path);
    if (!c->there->exists)
        return FALSE;
    if (c->there->is_partial) { /* of ours, and of no use to anybody else */
        c->plan->resumes = c->input->plan->resumes_disks;
        c->plan->overwrites = !c->plan->resumes;
        return FALSE;
    }
    if (!c->input->plan->overwrites_images)
        return REFUSE (c, GW_CAUSE_DISK_NOT_SHARED,
                       "'%s' on the destination is not proven to be the source's '%s', and a copy "
                       "would replace it (--overwrite-images)",
                       c->plan->target, c->disk->path);
    c->plan->overwrites = TRUE;
    if (!c->there->is_device || g_strcmp0 (c->disk->driver, "raw") != 0 ||
        c->there->bytes == c->disk->bytes)
        return FALSE;
    return REFUSE (c, GW_CAUSE_DISK_SMALL,
                   "block device '%s' has %" G_GINT64_FORMAT
                   " bytes on the destination, the guest's disk has %" G_GINT64_FORMAT,
                   c->plan->target, c->there->bytes, c->disk->bytes);
}

static gboolean
rule_directory (const Case *c)
{
    g_autofree char *directory = g_path_get_dirname (c->plan->target);
    if (!c->there->has_directory)
        return REFUSE (c, GW_CAUSE_DISK_SPACE, "there is no directory '%s' on the destination",
                       directory);
    if (!c->there->takes_images)
        return REFUSE (c, GW_CAUSE_DISK_SPACE,
                       "the destination's configuration ([disks] directories) takes no images in '%s'",
                       directory);
    return FALSE;
}

/* What the copies that were planned before take of the same file system. */
static gint64
taken_before (const Case *c, const GwDiskPlans *plans)
{
    gint64 bytes = 0;
    for (guint i = 0; i < plans->disks->len; i++) {
        const GwDiskPlan *other = plans->disks->pdata[i];
        const GwPathFacts *there = NULL;
        if (!gw_disk_plan_is (other, "copy"))
            continue;
        (void) gw_disk_find_need (c->input, other->path, &there); /* there stays NULL when there is none */
        if (there != NULL && there->fs_dev == c->there->fs_dev && !there->is_device)
            bytes += other->allocated_bytes;
    }
    return bytes;
}

static gboolean
refuse_space (const Case *c, const GwDiskPlans *plans)
{
    gint64 free_bytes = c->there->free_bytes - taken_before (c, plans);
    if (c->there->is_device || free_bytes >= c->plan->allocated_bytes + FREE_RESERVE)
        return FALSE;
    g_autofree char *need = gw_text_bytes ((guint64) c->plan->allocated_bytes);
    g_autofree char *free_text = gw_text_bytes ((guint64) MAX (free_bytes, 0));
    return REFUSE (c, GW_CAUSE_DISK_SPACE,
                   "its copy needs %s and 64 MiB more for '%s', where %s are free", need,
                   c->plan->target, free_text);
}

/* The nearest image below that the destination's QEMU would open: by the name in the copy, or because
 * its command line names it.  The copy is built on it, and leaves out what is in it only when it is the
 * same file; built on none, it has everything. */
static gboolean
rule_backing (const Case *c)
{
    const GwPathFacts *there = NULL;
    const GwBacking *below =
        c->disk->backing != NULL && c->disk->backing->len > 0 ? c->disk->backing->pdata[0] : NULL;
    const GwNeed *need = below != NULL ? gw_disk_find_need (c->input, below->path, &there) : NULL;
    const GwPathFacts *here = below != NULL ? gw_disk_find_here (c->input, below->path) : NULL;
    if (need == NULL)
        return FALSE;
    gboolean is_named = strcmp (need->kind, "image") == 0;
    gboolean is_same_below =
        here != NULL && gw_disk_find_proof (c->input, here->st_dev, here->st_ino, here, there) != NULL;
    if (is_named && (there == NULL || !there->exists))
        return REFUSE (c, GW_CAUSE_BACKING_MISSING,
                       "it is built on '%s', and '%s' does not exist on the destination", below->path,
                       need->path);
    if (!is_named && !is_same_below)
        return FALSE;
    c->plan->backing = g_strdup (need->path);
    c->plan->backing_format = g_strdup (below->format != NULL ? below->format : "raw");
    c->plan->is_top = is_same_below;
    return FALSE;
}

static gboolean
decide_copy (const Case *c)
{
    g_autofree char *size = gw_text_bytes ((guint64) c->disk->bytes);
    g_autofree char *used = gw_text_bytes ((guint64) c->plan->allocated_bytes);
    const char *what = c->plan->is_top              ? " without the image below, which is the same file"
                       : c->disk->backing != NULL &&
                               c->disk->backing->len > 0 ? " with what is in the images below"
                                                    : "";
    c->plan->is_kept = c->input->plan->resumes_disks;
    return decide (c, "copy", "copied to '%s' (%s, %s in use)%s%s", c->plan->target, size, used, what,
                   c->plan->resumes      ? ", with what an earlier try left there"
                   : c->plan->overwrites ? ", in place of what is there"
                                         : "");
}

/* --- the plan -------------------------------------------------------------------------------------------------- */

static void
plan_disk (const Case *c, const GwDiskPlans *plans)
{
    static gboolean (*const rules[]) (const Case *) = {
        rule_remote,           rule_temporary,     rule_read_only, rule_proven_shared,
        rule_user_says_shared, rule_target_exists, rule_directory, rule_format,
        rule_backing,
    };
    for (guint i = 0; i < G_N_ELEMENTS (rules); i++)
        if (rules[i](c))
            return;
    if (!refuse_space (c, plans))
        (void) decide_copy (c);
}

static GwDiskPlan *
plan_new (const GwDisk *disk)
{
    GwDiskPlan *plan = g_new0 (GwDiskPlan, 1);
    plan->name = g_strdup (*disk->device != '\0' ? disk->device
                           : disk->node != NULL  ? disk->node
                                                 : "unnamed");
    plan->node = g_strdup (disk->node);
    plan->path = g_strdup (disk->path);
    plan->target = g_strdup (disk->path);
    plan->format = g_strdup (disk->driver);
    plan->options = g_strdup (disk->options);
    plan->bytes = disk->bytes;
    plan->allocated_bytes = disk->allocated_bytes;
    return plan;
}

GwDiskPlans *
gw_check_plan_disks (const GwCheckInput *input)
{
    GwDiskPlans *plans = gw_struct_new (&gw_disk_plans_type);
    for (guint i = 0; i < input->vm->disks->len; i++) {
        Case c = { .input = input, .disk = input->vm->disks->pdata[i] };
        c.plan = plan_new (c.disk);
        if (c.disk->path != NULL) {
            const GwNeed *need = gw_disk_find_need (input, c.disk->path, &c.there);
            c.here = gw_disk_find_here (input, c.disk->path);
            if (c.here != NULL && c.here->is_device) /* its driver does not know what is in use */
                c.plan->allocated_bytes = c.disk->bytes;
            if (need != NULL) {
                g_free (c.plan->target);
                c.plan->target = g_strdup (need->path);
            }
        }
        plan_disk (&c, plans);
        g_ptr_array_add (plans->disks, c.plan);
    }
    return plans;
}
