/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a coordinator that was killed left among the disks of the source's QEMU: mirrors, their nodes, exports, dirty
 * bitmaps, limits.  They have the names of jobs, and whatever is in use refuses to go.
 */
#include "host-internal.h"

#include <string.h>

#define CANCEL_MS 8000 /* for mirrors to end; their link is gone */
#define POLL_MS 10

/* "gw-12345678-0", "gw-12345678-0-t": of any job. */
static gboolean
is_ours (const char *name, const char *suffix)
{
    return g_str_has_prefix (name, "gw-") && g_str_has_suffix (name, suffix);
}

typedef void (*EachFn) (LocalHost *local, JsonObject *entry);

/* How many entries of the answer have in `member` a name of ours; `fn` (NULL: nothing) is called for each. */
static guint
for_each (LocalHost *local, GwQmpCommand command, JsonObject *args, const char *member, const char *suffix, EachFn fn)
{
    g_autoptr (JsonObject) owned = args;
    g_autoptr (JsonNode) reply = gw_qmp_call (local->qmp, command, owned, NULL, NULL);
    JsonArray *list = reply != NULL && JSON_NODE_HOLDS_ARRAY (reply) ? json_node_get_array (reply) : NULL;
    guint n = 0;
    for (guint i = 0; list != NULL && i < json_array_get_length (list); i++) {
        JsonObject *entry = json_array_get_object_element (list, i);
        if (!is_ours (gw_json_peek_string (entry, member, ""), suffix))
            continue;
        n++;
        if (fn != NULL)
            fn (local, entry);
    }
    return n;
}

/* --- mirrors -------------------------------------------------------------------------------------------------- */

static void
dismiss (LocalHost *local, JsonObject *job)
{
    const char *id = gw_json_peek_string (job, "id", "");
    if (strcmp (gw_json_peek_string (job, "status", ""), "concluded") == 0)
        (void) gw_local_qmp (local, GW_QMP_JOB_DISMISS, gw_json_new ("id:s", id, NULL), NULL, NULL);
}

static void
cancel (LocalHost *local, JsonObject *job)
{
    const char *id = gw_json_peek_string (job, "id", "");
    if (strcmp (gw_json_peek_string (job, "status", ""), "concluded") != 0)
        (void) gw_local_qmp (local, GW_QMP_BLOCK_JOB_CANCEL, gw_json_new ("device:s", id, "force:b", TRUE, NULL),
                             NULL, NULL);
}

static void
remove_node (LocalHost *local, JsonObject *node)
{
    const char *name = gw_json_peek_string (node, "node-name", "");
    (void) gw_local_qmp (local, GW_QMP_BLOCKDEV_DEL, gw_json_new ("node-name:s", name, NULL), NULL, NULL);
}

void
gw_local_sweep_mirrors (LocalHost *local)
{
    (void) for_each (local, GW_QMP_QUERY_JOBS, NULL, "id", "", dismiss);
    (void) for_each (local, GW_QMP_QUERY_NAMED_BLOCK_NODES, gw_json_new ("flat:b", TRUE, NULL), "node-name", "-t",
                     remove_node);
    gw_local_release_disks (local);
}

/* --- the comparison --------------------------------------------------------------------------------------------- */

static void
remove_export (LocalHost *local, JsonObject *export)
{
    JsonObject *args = gw_json_new ("id:s", gw_json_peek_string (export, "id", ""), "mode:s", "hard", NULL);
    (void) gw_local_qmp (local, GW_QMP_BLOCK_EXPORT_DEL, args, NULL, NULL);
}

static void
remove_bitmaps (LocalHost *local, JsonObject *node)
{
    JsonArray *list = gw_json_peek_array (node, "dirty-bitmaps");
    for (guint i = 0; list != NULL && i < json_array_get_length (list); i++) {
        const char *name = gw_json_peek_string (json_array_get_object_element (list, i), "name", "");
        JsonObject *args = is_ours (name, "") ? gw_json_new ("node:s", gw_json_peek_string (node, "node-name", ""),
                                                            "name:s", name, NULL) : NULL;
        if (args != NULL)
            (void) gw_local_qmp (local, GW_QMP_BLOCK_DIRTY_BITMAP_REMOVE, args, NULL, NULL);
    }
}

/* Bitmaps are on nodes of anybody's. */
static void
remove_all_bitmaps (LocalHost *local)
{
    g_autoptr (JsonObject) flat = gw_json_new ("flat:b", TRUE, NULL);
    g_autoptr (JsonNode) reply = gw_qmp_call (local->qmp, GW_QMP_QUERY_NAMED_BLOCK_NODES, flat, NULL, NULL);
    JsonArray *list = reply != NULL && JSON_NODE_HOLDS_ARRAY (reply) ? json_node_get_array (reply) : NULL;
    for (guint i = 0; list != NULL && i < json_array_get_length (list); i++)
        remove_bitmaps (local, json_array_get_object_element (list, i));
}

static guint
count_exports (LocalHost *local)
{
    g_autoptr (JsonNode) reply = gw_qmp_call (local->qmp, GW_QMP_QUERY_BLOCK_EXPORTS, NULL, NULL, NULL);
    return reply != NULL && JSON_NODE_HOLDS_ARRAY (reply) ? json_array_get_length (json_node_get_array (reply)) : 1;
}

static void
end_comparison (LocalHost *local)
{
    gint64 deadline = gw_deadline_ms (CANCEL_MS);
    if (for_each (local, GW_QMP_QUERY_BLOCK_EXPORTS, NULL, "id", "", remove_export) == 0)
        return;
    while (count_exports (local) > 0 && g_get_monotonic_time () < deadline) /* it goes a moment later */
        (void) gw_wait_ms (local->context, POLL_MS, NULL, NULL);
    if (count_exports (local) == 0)
        (void) gw_local_qmp (local, GW_QMP_NBD_SERVER_STOP, NULL, NULL, NULL);
}

gboolean
gw_local_sweep_disks (LocalHost *local, GError **error)
{
    gint64 deadline = gw_deadline_ms (CANCEL_MS);
    (void) for_each (local, GW_QMP_QUERY_JOBS, NULL, "id", "", cancel);
    do {
        gw_local_sweep_mirrors (local);
        if (for_each (local, GW_QMP_QUERY_JOBS, NULL, "id", "", NULL) == 0) {
            end_comparison (local);
            remove_all_bitmaps (local);
            return TRUE;
        }
        (void) gw_wait_ms (local->context, POLL_MS, NULL, NULL);
    } while (g_get_monotonic_time () < deadline);
    return gw_fail (error, GW_CAUSE_DISK_SYNC, "QEMU does not end the mirrors of a job whose process has ended");
}
