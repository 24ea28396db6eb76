/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Postcopy of either side's QEMU, and its recovery.
 *
 * In postcopy the destination's main loop may wait in a device for a page of the guest, for as long as
 * no link brings it.  So whatever must work then is sent out of band, and the state is known from
 * events, which QEMU sends from the threads in which it changes.
 */
#include "host-internal.h"

#include <string.h>

#define PAUSE_MS 5000

gboolean
gw_status_is_postcopy (const char *status)
{
    return status != NULL && g_str_has_prefix (status, "postcopy-");
}

JsonObject *
gw_local_throttle (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    JsonObject *arguments = gw_json_new ("cpu-throttle-initial:i", G_GINT64_CONSTANT (20),
                                         "cpu-throttle-increment:i", G_GINT64_CONSTANT (10),
                                         "max-cpu-throttle:i", G_GINT64_CONSTANT (99), NULL);
    return gw_local_qmp (local, GW_QMP_MIGRATE_SET_PARAMETERS, arguments, cancellable, error)
               ? json_object_new ()
               : NULL;
}

JsonObject *
gw_local_start_postcopy (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                         GError **error)
{
    return gw_local_bind (local, cancellable, error) && /* before RELEASED */
                   gw_local_qmp (local, GW_QMP_MIGRATE_START_POSTCOPY, NULL, cancellable, error)
               ? json_object_new ()
               : NULL;
}

/* --- recovery ----------------------------------------------------------------------------------------------- */

static gboolean
is_paused (gpointer user_data)
{
    const LocalHost *local = user_data;
    return !gw_status_is_postcopy (local->migration_status) ||
           strcmp (local->migration_status, "postcopy-paused") == 0;
}

/* A QEMU notices only what its socket tells: the end of its courier has, or the command does.  7.2 takes
 * it in postcopy-active alone, and has no need of it elsewhere but for a hang that nothing ends
 * (fixed in 8.2); that it was refused shows in the state. */
gboolean
gw_local_pause_postcopy (LocalHost *local, GCancellable *cancellable, GError **error)
{
    g_autoptr (GError) refusal = NULL;
    if (!gw_status_is_postcopy (local->migration_status))
        return gw_fail (error, GW_CAUSE_MIGRATION_FAILED, "QEMU is '%s', not in postcopy",
                        local->migration_status != NULL ? local->migration_status : "none");
    if (is_paused (local))
        return TRUE;
    g_autoptr (JsonNode) reply =
        gw_qmp_call_oob (local->qmp, GW_QMP_MIGRATE_PAUSE, NULL, cancellable, &refusal);
    if (!gw_wait_until (local->context, is_paused, local, gw_deadline_ms (PAUSE_MS), cancellable, NULL))
        return gw_fail (error, GW_CAUSE_QMP_TIMEOUT, "QEMU does not leave '%s': %s",
                        local->migration_status, reply != NULL ? "no reason" : refusal->message);
    return TRUE;
}

static gboolean
listen_again (LocalHost *local, const char *uri, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) arguments = gw_json_new ("uri:s", uri, NULL);
    g_autoptr (JsonNode) reply =
        gw_qmp_call_oob (local->qmp, GW_QMP_MIGRATE_RECOVER, arguments, cancellable, error);
    return reply != NULL;
}

JsonObject *
gw_local_recover (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 attempt;
    if (local->job_dir == NULL || local->qmp == NULL ||
        !gw_json_get_int (params, "attempt", 1, G_MAXINT32, &attempt, error)) {
        if (error != NULL && *error == NULL)
            gw_fail (error, GW_CAUSE_RPC_INVALID, "no job is open here with a QEMU");
        return NULL;
    }
    g_autofree char *path = gw_courier_ram_path (local->job_dir, attempt);
    g_autofree char *uri = g_strconcat ("unix:", path, NULL);
    if (!gw_local_pause_postcopy (local, cancellable, error))
        return NULL;
    gboolean ok = local->side == GW_SIDE_DESTINATION
                      ? listen_again (local, uri, cancellable, error)
                      : gw_local_qmp (local, GW_QMP_MIGRATE,
                                      gw_json_new ("uri:s", uri, "resume:b", TRUE, NULL),
                                      cancellable, error);
    return ok ? json_object_new () : NULL;
}
