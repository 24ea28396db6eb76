/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Disks: a VM whose disks are not the same on the other host must not start there. */
#include "check-internal.h"

#include <string.h>

void
gw_check_disks (const GwCheckInput *input, GwCheckSink *sink)
{
    g_autoptr (GwDiskPlans) plans = gw_check_plan_disks (input);
    if (plans->disks->len == 0)
        gw_check_add (sink, GW_VERDICT_OK, "the VM has no disks");
    for (guint i = 0; i < plans->disks->len; i++) {
        const GwDiskPlan *plan = plans->disks->pdata[i];
        GwVerdict verdict = plan->is_unsure ? GW_VERDICT_WARNING : GW_VERDICT_OK;
        if (gw_disk_plan_is (plan, "refuse"))
            gw_check_add_cause (sink, gw_cause_from_code (plan->cause), "disk '%s': %s", plan->name,
                                plan->reason);
        else
            gw_check_add (sink, verdict, "disk '%s': %s", plan->name, plan->reason);
    }
}

/* Whether the image at `path` is below a disk that is copied with all that is in it. */
static gboolean
is_copied_too (const GwCheckInput *input, const GwDiskPlans *plans, const char *path)
{
    for (guint i = 0; i < plans->disks->len; i++) {
        const GwDiskPlan *plan = plans->disks->pdata[i];
        const GPtrArray *chain = ((const GwDisk *) input->vm->disks->pdata[i])->backing;
        if (!gw_disk_plan_is (plan, "copy") || plan->backing != NULL)
            continue;
        for (guint k = 0; chain != NULL && k < chain->len; k++)
            if (g_strcmp0 (((const GwBacking *) chain->pdata[k])->path, path) == 0)
                return TRUE;
    }
    return FALSE;
}

void
gw_check_backing (const GwCheckInput *input, GwCheckSink *sink)
{
    const GPtrArray *needs = input->derived->needs, *paths = input->destination->paths;
    g_autoptr (GwDiskPlans) plans = gw_check_plan_disks (input);
    guint n = 0, before = sink->results->len;
    for (guint i = 0; i < needs->len; i++) {
        const GwNeed *need = needs->pdata[i];
        if (strcmp (need->kind, "backing") != 0 || is_copied_too (input, plans, need->source_path))
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
        const GwPathFacts *there = NULL;
        const GwNeed *need = disk->path != NULL && !disk->is_read_only
                                 ? gw_disk_find_need (input, disk->path, &there)
                                 : NULL;
        for (guint k = 0; there != NULL && k < there->holders->len; k++) {
            const GwLockHolder *holder = there->holders->pdata[k];
            if (!is_own (input, holder))
                gw_check_add (sink, GW_VERDICT_REFUSED,
                              "'%s', disk '%s' of the VM (pid %" G_GINT64_FORMAT "), is locked on the "
                              "destination by process %" G_GINT64_FORMAT " (%s)",
                              need->path, disk->path, input->vm->pid, holder->pid, holder->name);
        }
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "nobody else on the destination holds a disk of the VM");
}
