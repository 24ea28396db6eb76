/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operation of the source: whether every disk of the VM answers.
 *
 * QEMU drains and flushes all disks when it stops the guest, in its main loop: a disk that hangs, and be
 * it one that the guest does not use, would keep the guest stopped and QEMU deaf.  So each is read and
 * flushed while the guest runs, through an NBD export, where QEMU waits for nobody.
 */
#include "host-internal.h"

#include <string.h>
#include <unistd.h>

#define CLOSE_MS 3000 /* for the exports to go */
#define WAKE_MS 8000  /* for the first answer: a disk may have to spin up */
#define N_TRIES 2     /* for answers in time after that: a busy host may keep a good disk waiting once */

static void
remove_exports (LocalHost *local, const GPtrArray *ids)
{
    for (guint i = 0; i < ids->len; i++)
        (void) gw_local_qmp (local, GW_QMP_BLOCK_EXPORT_DEL,
                             gw_json_new ("id:s", ids->pdata[i], "mode:s", "hard", NULL), NULL, NULL);
}

static gboolean
has_exports (LocalHost *local)
{
    g_autoptr (JsonNode) reply =
        gw_qmp_call (local->qmp, GW_QMP_QUERY_BLOCK_EXPORTS, NULL, NULL, NULL);
    return reply != NULL && JSON_NODE_HOLDS_ARRAY (reply) &&
           json_array_get_length (json_node_get_array (reply)) > 0;
}

/* QEMU would wait in its main loop for a request that hangs: then its server stays. */
static void
end (LocalHost *local, const GPtrArray *ids)
{
    gint64 deadline = gw_deadline_ms (CLOSE_MS);
    remove_exports (local, ids);
    while (has_exports (local) && g_get_monotonic_time () < deadline)
        (void) gw_wait_ms (local->context, 5, NULL, NULL);
    if (has_exports (local))
        gw_host_emit (&local->host, 0, "disk-server-stays", "QEMU still waits for a disk that hangs");
    else
        (void) gw_local_qmp (local, GW_QMP_NBD_SERVER_STOP, NULL, NULL, NULL);
}

/* A server without an export, which serves nobody, is what a job left that a hanging disk kept from
 * stopping it. */
gboolean
gw_local_start_nbd (LocalHost *local, const char *socket, GError **error)
{
    for (gboolean is_retry = FALSE;; is_retry = TRUE) {
        g_autoptr (GError) failure = NULL;
        JsonObject *data = gw_json_new ("path:s", socket, NULL);
        JsonObject *address = gw_json_new ("type:s", "unix", "data:o", data, NULL);
        if (gw_local_qmp (local, GW_QMP_NBD_SERVER_START, gw_json_new ("addr:o", address, NULL), NULL,
                          &failure))
            return TRUE;
        if (is_retry || has_exports (local) ||
            !gw_local_qmp (local, GW_QMP_NBD_SERVER_STOP, NULL, NULL, NULL)) {
            g_propagate_error (error, g_steal_pointer (&failure));
            return FALSE;
        }
    }
}

/* Whether the disk is awake and answers in within_ms; @error is always set where it does not. */
static gboolean
try_disk (const GwDiskSource *source, guint within_ms, GError **error)
{
    gint64 start_us = g_get_monotonic_time ();
    if (!gw_disk_probe (source, MAX (WAKE_MS, within_ms), error))
        return FALSE;
    gboolean ok = g_get_monotonic_time () - start_us <= (gint64) within_ms * 1000;
    for (guint i = 0; i < N_TRIES && !ok; i++) {
        g_clear_error (error);
        ok = gw_disk_probe (source, within_ms, error);
    }
    return ok;
}

static gboolean
probe_one (LocalHost *local, const GwDiskPlan *plan, const char *socket, GPtrArray *ids, guint within_ms,
           GError **error)
{
    char *id = g_strdup_printf ("%s-%u-p", local->job, ids->len);
    GwDiskSource source = { (char *) socket, id, plan->bytes };
    g_ptr_array_add (ids, id);
    JsonObject *args = gw_json_new ("type:s", "nbd", "id:s", id, "node-name:s", plan->node, "name:s", id, NULL);
    g_autoptr (GError) failure = NULL;
    if (gw_local_qmp (local, GW_QMP_BLOCK_EXPORT_ADD, args, NULL, &failure) &&
        try_disk (&source, within_ms, &failure))
        return TRUE;
    return gw_fail (error, GW_CAUSE_DISK_DEAD, "disk '%s' does not answer as it should, within %u ms: %s",
                    plan->name, within_ms, failure->message);
}

static gboolean
probe_all (LocalHost *local, const GwDiskPlans *plans, guint within_ms, GError **error)
{
    g_autofree char *socket = g_build_filename (local->job_dir, "probe.sock", NULL);
    g_autoptr (GPtrArray) ids = g_ptr_array_new_with_free_func (g_free);
    g_autoptr (GError) failure = NULL;
    if (!gw_local_start_nbd (local, socket, &failure)) {
        gw_host_emit (&local->host, 0, "disks-not-probed", failure->message);
        return TRUE;
    }
    gboolean ok = TRUE;
    for (guint i = 0; ok && i < plans->disks->len; i++) {
        const GwDiskPlan *plan = plans->disks->pdata[i];
        if (plan->node != NULL && plan->bytes > 0)
            ok = probe_one (local, plan, socket, ids, within_ms, error);
    }
    end (local, ids);
    (void) unlink (socket); /* QEMU has, unless its server stays */
    return ok;
}

JsonObject *
gw_local_probe_disks (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 within_ms;
    g_autoptr (GwDiskPlans) plans = gw_struct_from_json (&gw_disk_plans_type, params, error);
    if (plans == NULL || !gw_json_get_int (params, "within_ms", 1, 60000, &within_ms, error))
        return NULL;
    if (local->vm == NULL || local->job_dir == NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no VM is open here whose disks could be probed");
        return NULL;
    }
    if (has_exports (local)) {
        gw_host_emit (&local->host, 0, "disks-not-probed", "QEMU serves exports of somebody else");
        return json_object_new ();
    }
    return probe_all (local, plans, (guint) within_ms, error) ? json_object_new () : NULL;
}
