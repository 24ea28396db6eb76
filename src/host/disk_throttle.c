/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operation of the source: the guest's writes to copied disks are held back.
 *
 * First, where QEMU can change that, each write goes to both from now on, so that the guest does not get
 * ahead of the copy.  Then its writes get a limit, in a throttle group of QEMU's with a name of ours.  A
 * disk that has limits of its own keeps them.
 */
#include "host-internal.h"

#include <string.h>

#define GROUP "gw-limit-"

/* A limit has one of these; they cannot all be used at the same time. */
static const char *const limits[] = { "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr" };

static gboolean
has_limit (JsonObject *inserted)
{
    for (guint i = 0; i < G_N_ELEMENTS (limits); i++)
        if (gw_json_peek_int (inserted, limits[i], 0) > 0)
            return TRUE;
    return FALSE;
}

static gboolean
is_our_limit (JsonObject *inserted)
{
    return g_str_has_prefix (gw_json_peek_string (inserted, "group", ""), GROUP);
}

/* `device` as QEMU's query-block has it; 0 bytes a second: no limit. */
static gboolean
set_limit (LocalHost *local, JsonObject *device, guint index, gint64 bps, GError **error)
{
    const char *path = gw_json_peek_string (device, "qdev", NULL);
    const char *name = gw_json_peek_string (device, "device", "");
    g_autofree char *group = g_strdup_printf (GROUP "%u", index);
    JsonObject *args = gw_json_new (path != NULL ? "id:s" : "device:s", path != NULL ? path : name,
                                    "group:s", group, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (limits); i++)
        json_object_set_int_member (args, limits[i], strcmp (limits[i], "bps_wr") == 0 ? bps : 0);
    return gw_local_qmp (local, GW_QMP_BLOCK_SET_IO_THROTTLE, args, NULL, error);
}

/* Empty when QEMU does not tell.  (transfer full) */
static JsonArray *
ask_devices (LocalHost *local)
{
    g_autoptr (JsonNode) reply =
        local->qmp != NULL ? gw_qmp_call (local->qmp, GW_QMP_QUERY_BLOCK, NULL, NULL, NULL) : NULL;
    return reply != NULL && JSON_NODE_HOLDS_ARRAY (reply) ? json_node_dup_array (reply) : json_array_new ();
}

/* One whose disk is copied has a mirror's filter for its node. */
static gboolean
limit_device (LocalHost *local, JsonObject *device, guint index, gint64 bps)
{
    JsonObject *inserted = gw_json_peek_object (device, "inserted");
    const char *node = inserted != NULL ? gw_json_peek_string (inserted, "node-name", "") : "";
    g_autofree char *filter = g_strdup_printf ("%s-", local->job);
    g_autoptr (GError) error = NULL;
    if (!g_str_has_prefix (node, filter) || !g_str_has_suffix (node, "-t-m"))
        return FALSE;
    if (has_limit (inserted) && !is_our_limit (inserted)) {
        gw_host_emit (&local->host, 0, "disk-limit", "a disk has limits of its own, and keeps them");
        return FALSE;
    }
    gboolean ok = set_limit (local, device, index, bps, &error);
    g_autofree char *detail = ok ? g_strdup_printf ("%" G_GINT64_FORMAT " bytes/s written at most", bps)
                                 : g_strdup_printf ("refused: %s", error->message);
    gw_host_emit (&local->host, 0, "disk-limit", detail);
    return ok;
}

/* {"bps"}, 0: no more than the change of mode.  {"done"}: whether that was anything. */
JsonObject *
gw_local_hold_disks (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 bps;
    if (!gw_json_get_int (params, "bps", 0, G_MAXINT64, &bps, error))
        return NULL;
    if (local->mirrors == NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no disk is being copied");
        return NULL;
    }
    if (bps == 0)
        return gw_json_new ("done:b", gw_mirror_set_block (local), NULL);
    g_autoptr (JsonArray) devices = ask_devices (local);
    gboolean is_done = FALSE;
    for (guint i = 0; i < json_array_get_length (devices); i++)
        is_done |= limit_device (local, json_array_get_object_element (devices, i), i, bps);
    return gw_json_new ("done:b", is_done, NULL);
}

void
gw_local_release_disks (LocalHost *local)
{
    g_autoptr (JsonArray) devices = ask_devices (local);
    for (guint i = 0; i < json_array_get_length (devices); i++) {
        JsonObject *device = json_array_get_object_element (devices, i);
        JsonObject *inserted = gw_json_peek_object (device, "inserted");
        if (inserted != NULL && is_our_limit (inserted))
            (void) set_limit (local, device, i, 0, NULL); /* it is gone with the disk, or with QEMU */
    }
}
