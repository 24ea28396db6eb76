/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The types of the operations by which a job outlives its agents: from C to parameters, from results to C. */
#include "host-internal.h"

gboolean
gw_host_keep_job (GwHost *host, GwHostKeep *keep, GCancellable *cancellable, GError **error)
{
    JsonObject *params = gw_json_new ("token:s", keep->token, "grace_s:i", keep->grace_s, "coordinator:b",
                                      keep->is_coordinator, "postcopy:b", keep->in_postcopy, NULL);
    g_autoptr (JsonObject) result = gw_host_call (host, GW_RPC_JOB_KEEP, params, cancellable, error);
    if (result == NULL)
        return FALSE;
    gint64 granted_s = gw_json_peek_int (result, "grace_s", 0);
    keep->grace_s = CLAMP (granted_s, 0, keep->grace_s);
    keep->in_postcopy = gw_json_peek_bool (result, "postcopy", FALSE);
    keep->why = g_strdup (gw_json_peek_string (result, "why", NULL));
    return TRUE;
}

static JsonObject *
resume_params (const char *job, GwSide side, const char *token)
{
    return gw_json_new ("job:s", job, "side:s", gw_side_name (side), "token:s", token, NULL);
}

void
gw_host_resumed_clear (GwHostResumed *resumed)
{
    g_clear_pointer (&resumed->migration, g_free);
}

static void
take_resumed (JsonObject *result, GwHostResumed *ret)
{
    *ret = (GwHostResumed) { gw_json_peek_bool (result, "courier", TRUE),
                             g_strdup (gw_json_peek_string (result, "migration", NULL)) };
}

gboolean
gw_host_resume_job (GwHost *host, const char *job, const char *token, gboolean is_coordinator,
                    const GwHostImages *images, GwHostResumed *ret_resumed, GCancellable *cancellable, GError **error)
{
    JsonObject *params = resume_params (job, GW_SIDE_DESTINATION, token);
    JsonObject *object = images != NULL ? gw_struct_to_json (&gw_disk_plans_type, images->plans) : NULL;
    if (object != NULL && images->user != NULL)
        json_object_set_string_member (object, "user", images->user);
    if (object != NULL)
        json_object_set_object_member (params, "images", object);
    json_object_set_boolean_member (params, "coordinator", is_coordinator);
    g_autoptr (JsonObject) result = gw_host_call (host, GW_RPC_JOB_RESUME, params, cancellable, error);
    if (result != NULL)
        take_resumed (result, ret_resumed);
    return result != NULL;
}

GwVm *
gw_host_resume_source (GwHost *host, const char *job, const char *token, GwHostResumed *ret_resumed,
                       GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_JOB_RESUME, resume_params (job, GW_SIDE_SOURCE, token), cancellable, error);
    JsonObject *object = result != NULL ? gw_json_get_object (result, "vm", error) : NULL;
    g_autoptr (GwVm) vm = object != NULL ? gw_struct_from_json (&gw_vm_type, object, error) : NULL;
    if (vm != NULL)
        take_resumed (result, ret_resumed);
    return g_steal_pointer (&vm);
}

gboolean
gw_host_set_pace (GwHost *host, gint64 bandwidth_bps, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_QEMU_PACE, gw_json_new ("bandwidth_bps:i", bandwidth_bps, NULL),
                               cancellable, error);
}
