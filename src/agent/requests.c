/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent-internal.h"

#define WATCH_MS 200

typedef JsonObject *(*Handler) (GwConnection *connection, JsonObject *params, GError **error);

static GwJob *
find_job (GwConnection *connection, JsonObject *params, GError **error)
{
    const char *id = gw_json_get_string (params, "job", error);
    GwJob *job = id != NULL ? gw_agent_find_job (connection->agent, id) : NULL;
    if (id != NULL && job == NULL)
        gw_fail (error, GW_CAUSE_HOST_IO, "no job '%s' runs here", id);
    return job;
}

static JsonObject *
run_job (GwConnection *connection, JsonObject *params, GError **error)
{
    JsonObject *object = gw_json_get_object (params, "plan", error);
    g_autoptr (GwPlan) plan =
        object != NULL ? gw_struct_from_json (&gw_plan_type, object, error) : NULL;
    if (plan == NULL)
        return NULL;
    g_autoptr (GwJob) job = gw_agent_start_job (connection->agent, plan, NULL, NULL, error);
    return job != NULL ? gw_json_new ("job:s", gw_job_get_id (job), NULL) : NULL;
}

static JsonObject *
progress_to_json (GwJob *job)
{
    g_autoptr (GwProgress) progress = gw_job_get_progress (job);
    return gw_struct_to_json (&gw_progress_type, progress);
}

static JsonObject *
list_status (GwConnection *connection, JsonObject *params, GError **error)
{
    const char *id = gw_json_peek_string (params, "job", NULL);
    g_autoptr (GPtrArray) jobs = gw_agent_list_jobs (connection->agent);
    JsonArray *list = json_array_new ();
    for (guint i = 0; i < jobs->len; i++) {
        JsonObject *status = progress_to_json (jobs->pdata[i]);
        gboolean is_wanted = id != NULL ? g_strcmp0 (id, gw_job_get_id (jobs->pdata[i])) == 0
                                        : !gw_json_peek_bool (status, "is_done", FALSE);
        if (is_wanted)
            json_array_add_object_element (list, status);
        else
            json_object_unref (status);
    }
    JsonObject *result = json_object_new ();
    json_object_set_array_member (result, "jobs", list);
    return result;
}

/* Progress as notifications while the job runs; the answer is its report. */
static JsonObject *
watch_job (GwConnection *connection, JsonObject *params, GError **error)
{
    g_autoptr (GwJob) job = find_job (connection, params, error);
    if (job == NULL)
        return NULL;
    for (;;) {
        JsonObject *report = gw_job_get_report (job);
        g_autoptr (JsonObject) progress = progress_to_json (job);
        if (report != NULL)
            return report;
        if (!gw_rpc_notify (connection->rpc, GW_RPC_PROGRESS, progress, error) ||
            !gw_wait_ms (connection->context, WATCH_MS, connection->stopping, error))
            return NULL;
    }
}

static JsonObject *
abort_job (GwConnection *connection, JsonObject *params, GError **error)
{
    g_autoptr (GwJob) job = find_job (connection, params, error);
    if (job == NULL)
        return NULL;
    gboolean is_accepted = gw_job_abort (job);
    g_autofree char *why = is_accepted ? NULL : gw_job_explain_no_abort (job);
    return gw_json_new ("accepted:b", is_accepted, "why:s", why, NULL);
}

static JsonObject *
ask_postcopy (GwConnection *connection, JsonObject *params, GError **error)
{
    g_autoptr (GwJob) job = find_job (connection, params, error);
    g_autofree char *why = NULL;
    if (job == NULL)
        return NULL;
    gboolean is_accepted = gw_job_ask_postcopy (job, &why);
    return gw_json_new ("accepted:b", is_accepted, "why:s", why, NULL);
}

static JsonObject *
list_vms (GwConnection *connection, JsonObject *params, GError **error)
{
    g_autoptr (GwHostConfig) config = gw_agent_copy_config (connection->agent);
    return gw_history_list_vms (config, error);
}

static JsonObject *
get_report (GwConnection *connection, JsonObject *params, GError **error)
{
    const char *id = gw_json_get_string (params, "job", error);
    g_autoptr (GwHostConfig) config = gw_agent_copy_config (connection->agent);
    return id != NULL ? gw_report_load (config, id, error) : NULL;
}

static JsonObject *
list_reports (GwConnection *connection, JsonObject *params, GError **error)
{
    g_autoptr (GwHostConfig) config = gw_agent_copy_config (connection->agent);
    const char *job = gw_json_peek_string (params, "job", NULL);
    if (job != NULL || gw_json_peek_bool (params, "unsettled", FALSE))
        return gw_history_find (config, job, error);
    return gw_history_list (config, gw_json_peek_string (params, "vm", NULL), GW_HISTORY_MAX, error);
}

static const Handler handlers[GW_N_RPC_METHODS] = {
    [GW_RPC_JOB_RUN] = run_job,        [GW_RPC_JOB_STATUS] = list_status,
    [GW_RPC_JOB_WATCH] = watch_job,    [GW_RPC_JOB_ABORT] = abort_job,
    [GW_RPC_JOB_POSTCOPY] = ask_postcopy,
    [GW_RPC_VM_LIST] = list_vms,       [GW_RPC_REPORT_GET] = get_report,
    [GW_RPC_REPORT_LIST] = list_reports,
};

gboolean
gw_agent_has_method (GwRpcMethod method)
{
    return method < GW_N_RPC_METHODS && handlers[method] != NULL;
}

JsonObject *
gw_agent_call (GwConnection *connection, GwRpcMethod method, JsonObject *params, GError **error)
{
    return handlers[method](connection, params, error);
}
