/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The report of a job whose agent died under it.  The command knows how far the job was told to be.  Until
 * the switchover the VM is on the source for sure, as nobody else was given the right to start it.
 */
#include "cli.h"

#include <string.h>

/* Whether the agent answers and still has the job: then only the connection broke. */
static gboolean
is_alive (const char *address, const char *job)
{
    g_autoptr (GwRpc) rpc = gw_cli_connect (address, g_main_context_default (), NULL);
    g_autoptr (JsonObject) params = gw_json_new ("job:s", job, NULL);
    g_autoptr (JsonNode) reply =
        rpc != NULL ? gw_rpc_call (rpc, GW_RPC_JOB_STATUS, params, NULL, NULL) : NULL;
    JsonArray *jobs = reply != NULL && JSON_NODE_HOLDS_OBJECT (reply)
                          ? gw_json_peek_array (json_node_get_object (reply), "jobs")
                          : NULL;
    return jobs != NULL && json_array_get_length (jobs) > 0;
}

/* By the phases of steps.def. */
static gboolean
may_have_moved (const char *phase)
{
    static const char *const late[] = { "switching over", "handing over", "fetching memory", "verifying",
                                        "cleaning up", NULL };
    return g_strv_contains (late, phase);
}

static JsonObject *
make_cause (const char *phase, const GError *why)
{
    const GwCauseInfo *info = gw_cause_get_info (GW_CAUSE_AGENT_LOST);
    g_autofree char *text =
        g_strdup_printf ("the source's agent is gone; it was '%s': %s", phase, why->message);
    const char *const evidence[] = { text, NULL };
    return gw_json_new ("code:s", info->code, "title:s", info->title, "side:s", "source", "at_ms:i",
                        (gint64) 0, "message:s", text, "evidence:v", evidence, "remedy:s",
                        info->remedy, NULL);
}

JsonObject *
gw_cli_report_lost_agent (const GwRunOptions *options, const char *job, const char *phase,
                          const GError *why)
{
    static const char *const warnings[] = {
        "the guest may stand still: see 'query-status' of its QEMU; 'cont' lets it go on when the VM is on "
        "the source", NULL };
    gboolean is_late = may_have_moved (phase);
    GwCause cause = is_late ? GW_CAUSE_UNDECIDED : GW_CAUSE_AGENT_LOST;
    if (is_alive (options->agent, job))
        return NULL;
    JsonObject *report = gw_json_new (
        "job:s", job, "vm:s", options->plan->vm, "uuid:s", "", "result:s",
        is_late ? "undecided" : "stayed", "runs_on:s", is_late ? "unknown" : "source", "exit:i",
        (gint64) gw_cause_get_info (cause)->exit_status, "destination:s", options->plan->destination,
        "cause:o", make_cause (phase, why), "warnings:v", warnings, NULL);
    json_object_set_array_member (report, "timeline", json_array_new ());
    return report;
}
