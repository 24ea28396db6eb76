/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The report of a job whose agent died under it.  An agent that comes back within seconds knows whether the right to
 * start was given away, or goes on with the job.  Else the command knows how far the job was told to be, and that the VM is on the source for sure
 * as long as its memory was not being copied.
 */
#include "cli.h"

#include <string.h>

#define BACK_MS 5000      /* for an agent that is started again */
#define WAITING_MS 60000  /* for one whose job waits for it */
#define ASK_MS 200

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

/* By the phases of steps.def.  The last that was told is a while ago: from copying on it may be any later one. */
static gboolean
may_have_moved (const char *phase)
{
    static const char *const late[] = { "copying memory", "switching over", "handing over", "fetching memory", "verifying",
                                        "cleaning up", NULL };
    return g_strv_contains (late, phase);
}

typedef enum { LOST_SILENT, LOST_ALIVE, LOST_KEPT, LOST_RELEASED } Lost; /* nobody answers; it goes on; it does not */

/* Whether the right to start was given away: an agent that is back has it in its journal. */
static Lost
ask_journal (const char *address, const char *job)
{
    g_autoptr (JsonObject) params = gw_json_new ("job:s", job, "side:s", gw_side_name (GW_SIDE_SOURCE), NULL);
    g_autoptr (JsonObject) evidence = gw_cli_ask (address, GW_RPC_JOB_EVIDENCE, params, NULL);
    if (evidence == NULL || !gw_json_peek_bool (evidence, "known", FALSE) ||
        gw_json_peek_bool (evidence, "worked_on", FALSE)) /* it is being taken up, or settled */
        return LOST_SILENT;
    return g_strcmp0 (gw_json_peek_string (evidence, "record", ""), "none") != 0 ? LOST_RELEASED : LOST_KEPT;
}

static Lost
look (const char *address, const char *job, const char *phase)
{
    gboolean waits = strcmp (phase, "copying memory") == 0;
    gint64 deadline = gw_deadline_ms (waits ? WAITING_MS : BACK_MS);
    for (;;) {
        Lost lost = is_alive (address, job) ? LOST_ALIVE : ask_journal (address, job);
        if (lost != LOST_SILENT || g_get_monotonic_time () > deadline)
            return lost;
        (void) gw_wait_ms (g_main_context_default (), ASK_MS, NULL, NULL);
    }
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
    Lost lost = look (options->agent, job, phase);
    if (lost == LOST_ALIVE)
        return NULL;
    gboolean is_late = lost == LOST_SILENT ? may_have_moved (phase) : lost == LOST_RELEASED;
    GwCause cause = is_late ? GW_CAUSE_UNDECIDED : GW_CAUSE_AGENT_LOST;
    JsonObject *report = gw_json_new (
        "job:s", job, "vm:s", options->plan->vm, "uuid:s", "", "result:s",
        is_late ? "undecided" : "stayed", "runs_on:s", is_late ? "unknown" : "source", "exit:i",
        (gint64) gw_cause_get_info (cause)->exit_status, "destination:s", options->plan->destination,
        "cause:o", make_cause (phase, why), "warnings:v", warnings, NULL);
    json_object_set_array_member (report, "timeline", json_array_new ());
    return report;
}
