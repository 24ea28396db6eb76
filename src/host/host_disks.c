/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The types of the operations on disks that are copied. */
#include "host-internal.h"

#include <string.h>

#define HASH_DIGITS 16

gboolean
gw_host_make_images (GwHost *host, const GwDiskPlans *plans, const char *user,
                     GCancellable *cancellable, GError **error)
{
    JsonObject *params = gw_struct_to_json (&gw_disk_plans_type, plans);
    if (user != NULL)
        json_object_set_string_member (params, "user", user);
    return gw_host_call_plain (host, GW_RPC_DISK_IMAGES, params, cancellable, error);
}

gboolean
gw_host_probe_disks (GwHost *host, const GwDiskPlans *plans, guint within_ms, GCancellable *cancellable,
                     GError **error)
{
    JsonObject *params = gw_struct_to_json (&gw_disk_plans_type, plans);
    json_object_set_int_member (params, "within_ms", within_ms);
    return gw_host_call_plain (host, GW_RPC_DISK_PROBE, params, cancellable, error);
}

gboolean
gw_host_start_mirrors (GwHost *host, const GwDiskPlans *plans, gint64 speed_bps,
                       GCancellable *cancellable, GError **error)
{
    JsonObject *params = gw_struct_to_json (&gw_disk_plans_type, plans);
    json_object_set_int_member (params, "speed_bps", speed_bps);
    return gw_host_call_plain (host, GW_RPC_DISK_MIRROR, params, cancellable, error);
}

GwMirrors *
gw_host_get_mirrors (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_struct (host, GW_RPC_DISK_PROGRESS, NULL, &gw_mirrors_type, cancellable, error);
}

gboolean
gw_host_hold_disks (GwHost *host, gint64 bps, gboolean *ret_done, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_DISK_HOLD, gw_json_new ("bps:i", bps, NULL), cancellable, error);
    if (result == NULL)
        return FALSE;
    *ret_done = gw_json_peek_bool (result, "done", FALSE);
    return TRUE;
}

gboolean
gw_host_finish_mirrors (GwHost *host, guint within_ms, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_DISK_FINISH, gw_json_new ("within_ms:i", (gint64) within_ms, NULL),
                       cancellable, error);
}

gboolean
gw_host_close_images (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_DISK_CLOSE, NULL, cancellable, error);
}

gboolean
gw_host_begin_proof (GwHost *host, const GwDiskPlans *plans, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_PROOF_BEGIN, gw_struct_to_json (&gw_disk_plans_type, plans),
                       cancellable, error);
}

GArray *
gw_host_cut_proof (GwHost *host, const GArray *disks, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) result = gw_host_call (host, GW_RPC_PROOF_CUT, NULL, cancellable, error);
    return result != NULL ? gw_chunk_runs_from_json (gw_json_peek_array (result, "runs"), disks, error)
                          : NULL;
}

gboolean
gw_host_hash_disks (GwHost *host, const GArray *runs, guint64 seed, gboolean sends,
                    GCancellable *cancellable, GError **error)
{
    JsonObject *params = gw_json_new ("seed:i", (gint64) seed, "sends:b", sends, NULL);
    json_object_set_array_member (params, "runs", gw_chunk_runs_to_json (runs));
    return gw_host_call_plain (host, GW_RPC_PROOF_HASH, params, cancellable, error);
}

gboolean
gw_host_get_hashes (GwHost *host, gint64 most, GArray *hashes, gboolean *ret_is_done,
                    GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_PROOF_GET, gw_json_new ("from:i", (gint64) hashes->len, NULL),
                      cancellable, error);
    if (result == NULL)
        return FALSE;
    const char *words = gw_json_peek_string (result, "error", NULL);
    const char *text = gw_json_peek_string (result, "hashes", "");
    gsize n = strlen (text) / HASH_DIGITS;
    if ((gint64) (hashes->len + n) > most)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "more hashes than the %" G_GINT64_FORMAT
                        " that were asked for", most);
    for (gsize i = 0; i < n; i++) {
        g_autofree char *digits = g_strndup (text + i * HASH_DIGITS, HASH_DIGITS);
        guint64 hash = g_ascii_strtoull (digits, NULL, 16);
        g_array_append_val (hashes, hash);
    }
    *ret_is_done = gw_json_peek_bool (result, "done", FALSE);
    return words == NULL || gw_fail (error, GW_CAUSE_DISK_SYNC, "%s", words);
}

gboolean
gw_host_end_proof (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_PROOF_END, NULL, cancellable, error);
}

gboolean
gw_host_undo_mirrors (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_DISK_UNDO, NULL, cancellable, error);
}
