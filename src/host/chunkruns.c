/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs of chunks: how few they can be made, and how they stand in messages. */
#include "host-internal.h"

/* The last chunk may be a part of one. */
void
gw_chunk_disks_add (GArray *disks, gint64 bytes)
{
    gint64 n = bytes / GW_CHUNK_BYTES + (bytes % GW_CHUNK_BYTES != 0);
    g_array_append_val (disks, n);
}

GArray *
gw_chunk_disks_new (const GwDiskPlans *plans)
{
    GArray *disks = g_array_new (FALSE, FALSE, sizeof (gint64));
    for (guint i = 0; plans != NULL && i < plans->disks->len; i++) {
        const GwDiskPlan *plan = plans->disks->pdata[i];
        if (gw_disk_plan_is (plan, "copy"))
            gw_chunk_disks_add (disks, plan->bytes);
    }
    return disks;
}

GArray *
gw_chunk_runs_new (const GArray *disks)
{
    GArray *runs = g_array_new (FALSE, FALSE, sizeof (GwChunkRun));
    for (guint i = 0; disks != NULL && i < disks->len; i++)
        gw_chunk_runs_add (runs, i, 0, g_array_index (disks, gint64, i));
    return runs;
}

void
gw_chunk_runs_add (GArray *runs, guint disk, gint64 first, gint64 count)
{
    GwChunkRun *last = runs->len > 0 ? &g_array_index (runs, GwChunkRun, runs->len - 1) : NULL;
    GwChunkRun run = { disk, first, count };
    if (last != NULL && last->disk == disk && first >= last->first && first <= last->first + last->count)
        last->count = MAX (last->count, first + count - last->first);
    else
        g_array_append_val (runs, run);
}

static gint
by_place (gconstpointer a, gconstpointer b)
{
    const GwChunkRun *x = a, *y = b;
    if (x->disk != y->disk)
        return x->disk < y->disk ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

/* Of sorted runs; between those that become one there are at most `gap` chunks. */
static void
join (GArray *runs, gint64 gap)
{
    guint n = 0;
    for (guint i = 0; i < runs->len; i++) {
        GwChunkRun run = g_array_index (runs, GwChunkRun, i);
        GwChunkRun *last = n > 0 ? &g_array_index (runs, GwChunkRun, n - 1) : NULL;
        if (last != NULL && last->disk == run.disk && run.first <= last->first + last->count + gap)
            last->count = MAX (last->count, run.first + run.count - last->first);
        else
            g_array_index (runs, GwChunkRun, n++) = run;
    }
    g_array_set_size (runs, n);
}

void
gw_chunk_runs_merge (GArray *runs, guint most)
{
    g_array_sort (runs, by_place);
    join (runs, 0);
    for (gint64 gap = 1; runs->len > most && gap <= GW_CHUNKS_MAX; gap *= 2)
        join (runs, gap);
}

gint64
gw_chunk_runs_count (const GArray *runs)
{
    gint64 count = 0;
    for (guint i = 0; i < runs->len; i++)
        count += g_array_index (runs, GwChunkRun, i).count;
    return count;
}

/* --- messages ----------------------------------------------------------------------------------------------- */

JsonArray *
gw_chunk_runs_to_json (const GArray *runs)
{
    JsonArray *list = json_array_new ();
    for (guint i = 0; i < runs->len; i++) {
        const GwChunkRun *run = &g_array_index (runs, GwChunkRun, i);
        json_array_add_int_element (list, run->disk);
        json_array_add_int_element (list, run->first);
        json_array_add_int_element (list, run->count);
    }
    return list;
}

/* -1: it is no number, or outside of 0 to `max`. */
static gint64
get_number (JsonArray *list, guint index, gint64 max)
{
    JsonNode *node = json_array_get_element (list, index);
    gint64 value = JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_INT64
                       ? json_node_get_int (node)
                       : -1;
    return value <= max ? value : -1;
}

static gboolean
take_run (JsonArray *list, guint index, const GArray *disks, GwChunkRun *ret_run)
{
    gint64 disk = get_number (list, index, (gint64) disks->len - 1);
    gint64 size = disk >= 0 ? g_array_index (disks, gint64, disk) : -1;
    *ret_run = (GwChunkRun) { (guint) disk, get_number (list, index + 1, size),
                              get_number (list, index + 2, size) };
    return disk >= 0 && ret_run->first >= 0 && ret_run->count >= 0 &&
           ret_run->count <= size - ret_run->first;
}

static gboolean
fail_list (GError **error, const char *what, guint at)
{
    return gw_fail (error, GW_CAUSE_RPC_INVALID, "runs of chunks: %s (%u)", what, at);
}

GArray *
gw_chunk_runs_from_json (JsonArray *list, const GArray *disks, GError **error)
{
    guint n = list != NULL ? json_array_get_length (list) / 3 : 0;
    g_autoptr (GArray) runs = g_array_new (FALSE, FALSE, sizeof (GwChunkRun));
    g_autoptr (GArray) left = g_array_copy ((GArray *) disks);
    gboolean ok = list != NULL && n <= GW_CHUNK_RUNS_MAX && json_array_get_length (list) == 3 * n;
    if (!ok)
        fail_list (error, "no list, or too many", n);
    for (guint i = 0; ok && i < n; i++) {
        GwChunkRun run;
        ok = take_run (list, 3 * i, disks, &run) || fail_list (error, "one is outside of the disks", i);
        if (!ok)
            break;
        g_array_append_val (runs, run);
        g_array_index (left, gint64, run.disk) -= run.count;
        ok = g_array_index (left, gint64, run.disk) >= 0 ||
             fail_list (error, "they are more than the disk has", i);
    }
    return ok ? g_steal_pointer (&runs) : NULL;
}
