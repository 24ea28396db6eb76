/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations that prove copies: hashes of both sides, and at the source what was written since the last
 * look.
 *
 * The source's QEMU serves each copied disk, read-only, on a socket of the job.  A dirty bitmap a disk
 * collects what the guest writes.  A cut puts a fresh bitmap in its place and lists what the old one has;
 * a write between the two is in both, never in none.
 */
#include "host-internal.h"

#include <unistd.h>

#define HASHES_MAX 16384 /* in one answer */
#define ANSWER_MS 10000

struct _GwProof {
    char *socket;
    GPtrArray *nodes;  /* of the copied disks */
    GArray *sources;   /* GwDiskSource, strings owned */
    guint n_exported;  /* of the nodes */
    guint n_cuts;      /* names the bitmaps */
    gboolean has_server;
};

static char *
name_bitmap (const LocalHost *local, guint cut)
{
    return g_strdup_printf ("%s-%u", local->job, cut);
}

/* --- bitmaps and exports -------------------------------------------------------------------------------------- */

static gboolean
bitmap_command (LocalHost *local, GwQmpCommand command, guint disk, guint cut, GError **error)
{
    g_autofree char *name = name_bitmap (local, cut);
    JsonObject *args = gw_json_new ("node:s", local->proof->nodes->pdata[disk], "name:s", name, NULL);
    return gw_local_qmp (local, command, args, NULL, error);
}

static gboolean
add_export (LocalHost *local, guint disk, const char *id, const char *bitmap, GError **error)
{
    JsonObject *args = gw_json_new ("type:s", "nbd", "id:s", id, "node-name:s",
                                    local->proof->nodes->pdata[disk], "name:s", id, NULL);
    if (bitmap != NULL) {
        JsonArray *list = json_array_new ();
        json_array_add_string_element (list, bitmap);
        json_object_set_array_member (args, "bitmaps", list);
    }
    return gw_local_qmp (local, GW_QMP_BLOCK_EXPORT_ADD, args, NULL, error);
}

static void
remove_export (LocalHost *local, const char *id)
{
    JsonObject *args = gw_json_new ("id:s", id, "mode:s", "hard", NULL);
    (void) gw_local_qmp (local, GW_QMP_BLOCK_EXPORT_DEL, args, NULL, NULL); /* the server's end takes it too */
}

static gboolean
begin (LocalHost *local, GError **error)
{
    GwProof *proof = local->proof;
    proof->has_server = gw_local_start_nbd (local, proof->socket, error);
    for (guint i = 0; proof->has_server && i < proof->nodes->len; i++) {
        const char *id = g_array_index (proof->sources, GwDiskSource, i).export;
        if (!bitmap_command (local, GW_QMP_BLOCK_DIRTY_BITMAP_ADD, i, 0, error))
            return FALSE;
        proof->n_exported++;
        if (!add_export (local, i, id, NULL, error))
            return FALSE;
    }
    return proof->has_server;
}

JsonObject *
gw_local_begin_proof (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    g_autoptr (GwDiskPlans) plans = gw_struct_from_json (&gw_disk_plans_type, params, error);
    if (plans == NULL)
        return NULL;
    if (local->mirrors == NULL || local->proof != NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no disk is being copied");
        return NULL;
    }
    local->proof = g_new0 (GwProof, 1);
    local->proof->socket = g_build_filename (local->job_dir, "proof.sock", NULL);
    local->proof->nodes = g_ptr_array_new_with_free_func (g_free);
    local->proof->sources = gw_disk_sources_new ();
    for (guint i = 0; i < plans->disks->len; i++) {
        const GwDiskPlan *plan = plans->disks->pdata[i];
        if (!gw_disk_plan_is (plan, "copy"))
            continue;
        GwDiskSource source = { g_strdup (local->proof->socket),
                                g_strdup_printf ("%s-%u-r", local->job, local->proof->nodes->len),
                                plan->bytes };
        g_array_append_val (local->proof->sources, source);
        g_ptr_array_add (local->proof->nodes, g_strdup (plan->node));
    }
    return begin (local, error) ? json_object_new () : NULL;
}

/* --- what was written ------------------------------------------------------------------------------------------- */

static gboolean
list_dirty (LocalHost *local, guint disk, guint cut, GArray *runs, GError **error)
{
    g_autofree char *bitmap = name_bitmap (local, cut);
    g_autofree char *id = g_strdup_printf ("%s-%u-d", local->job, disk);
    GwDiskSource source = { local->proof->socket, id,
                            g_array_index (local->proof->sources, GwDiskSource, disk).bytes };
    if (!add_export (local, disk, id, bitmap, error))
        return FALSE;
    gboolean ok = gw_disk_list_dirty (&source, disk, bitmap, runs, error);
    remove_export (local, id);
    return ok;
}

static gboolean
cut_disk (LocalHost *local, guint disk, guint cut, GArray *runs, GError **error)
{
    gboolean ok = bitmap_command (local, GW_QMP_BLOCK_DIRTY_BITMAP_ADD, disk, cut + 1, error) &&
                  bitmap_command (local, GW_QMP_BLOCK_DIRTY_BITMAP_DISABLE, disk, cut, error) &&
                  list_dirty (local, disk, cut, runs, error);
    if (!ok)
        return FALSE;
    /* an export goes a moment after QEMU said so */
    gint64 deadline = gw_deadline_ms (ANSWER_MS);
    while (!bitmap_command (local, GW_QMP_BLOCK_DIRTY_BITMAP_REMOVE, disk, cut, NULL))
        if (g_get_monotonic_time () > deadline || !gw_wait_ms (local->context, 2, NULL, NULL))
            return gw_fail (error, GW_CAUSE_DISK_SYNC, "QEMU does not let go of a dirty bitmap");
    return TRUE;
}

JsonObject *
gw_local_cut_proof (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    g_autoptr (GArray) runs = g_array_new (FALSE, FALSE, sizeof (GwChunkRun));
    if (local->proof == NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no copy is being proven");
        return NULL;
    }
    guint cut = local->proof->n_cuts++;
    for (guint i = 0; i < local->proof->nodes->len; i++)
        if (!cut_disk (local, i, cut, runs, error))
            return NULL;
    gw_chunk_runs_merge (runs, GW_CHUNK_RUNS_MAX);
    JsonObject *result = json_object_new ();
    json_object_set_array_member (result, "runs", gw_chunk_runs_to_json (runs));
    return result;
}

/* --- hashes ---------------------------------------------------------------------------------------------------------- */

/* The images of the destination are where their servers listen. */
static GArray *
find_sources (LocalHost *local, GError **error)
{
    if (local->side == GW_SIDE_SOURCE && local->proof != NULL)
        return g_array_ref (local->proof->sources);
    if (local->side == GW_SIDE_DESTINATION && local->exports != NULL)
        return gw_exports_list (local->exports);
    gw_fail (error, GW_CAUSE_RPC_INVALID, "no copy is being proven");
    return NULL;
}

static GArray *
take_runs (JsonObject *params, const GArray *sources, GError **error)
{
    g_autoptr (GArray) disks = gw_chunk_disks_new (NULL);
    for (guint i = 0; i < sources->len; i++)
        gw_chunk_disks_add (disks, g_array_index (sources, GwDiskSource, i).bytes);
    return gw_chunk_runs_from_json (gw_json_peek_array (params, "runs"), disks, error);
}

/* The lanes to the destination's images. */
static GArray *
list_targets (const LocalHost *local, const GArray *sources)
{
    GArray *targets = gw_disk_sources_new ();
    for (guint i = 0; i < sources->len; i++) {
        GwDiskSource target = { gw_disk_socket (local->job_dir, i), g_strdup (GW_DISK_EXPORT),
                                g_array_index (sources, GwDiskSource, i).bytes };
        g_array_append_val (targets, target);
    }
    return targets;
}

JsonObject *
gw_local_hash_disks (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 seed;
    g_autoptr (GArray) sources = find_sources (local, error);
    if (sources == NULL || !gw_json_get_int (params, "seed", G_MININT64, G_MAXINT64, &seed, error))
        return NULL;
    g_autoptr (GArray) runs = take_runs (params, sources, error);
    if (runs == NULL)
        return NULL;
    gboolean sends = local->side == GW_SIDE_SOURCE && gw_json_peek_bool (params, "sends", FALSE);
    g_autoptr (GArray) targets = sends ? list_targets (local, sources) : NULL;
    gw_hash_work_free (local->hashing);
    local->hashing = gw_hash_work_new (sources, targets, runs, (guint64) seed);
    return json_object_new ();
}

JsonObject *
gw_local_get_hashes (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 from;
    if (local->hashing == NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no copy is being proven");
        return NULL;
    }
    if (!gw_json_get_int (params, "from", 0, G_MAXINT64, &from, error))
        return NULL;
    return gw_hash_work_get (local->hashing, from, HASHES_MAX);
}

/* --- the end ------------------------------------------------------------------------------------------------------------ */

static void
remove_from_qemu (LocalHost *local)
{
    GwProof *proof = local->proof;
    for (guint i = 0; i < proof->n_exported; i++)
        remove_export (local, g_array_index (proof->sources, GwDiskSource, i).export);
    if (proof->has_server)
        (void) gw_local_qmp (local, GW_QMP_NBD_SERVER_STOP, NULL, NULL, NULL);
    for (guint i = 0; i < proof->n_exported; i++) {
        /* after a cut that failed both may be there */
        if (proof->n_cuts > 0)
            (void) bitmap_command (local, GW_QMP_BLOCK_DIRTY_BITMAP_REMOVE, i, proof->n_cuts - 1, NULL);
        (void) bitmap_command (local, GW_QMP_BLOCK_DIRTY_BITMAP_REMOVE, i, proof->n_cuts, NULL);
    }
}

void
gw_local_drop_proof (LocalHost *local)
{
    g_clear_pointer (&local->hashing, gw_hash_work_free);
    if (local->proof == NULL)
        return;
    if (local->qmp != NULL && !local->is_quitting)
        remove_from_qemu (local);
    (void) unlink (local->proof->socket);
    g_ptr_array_unref (local->proof->nodes);
    g_array_unref (local->proof->sources);
    g_free (local->proof->socket);
    g_clear_pointer (&local->proof, g_free);
}

JsonObject *
gw_local_end_proof (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gw_local_drop_proof (local);
    return json_object_new ();
}
