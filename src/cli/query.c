/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Questions to agents: status, abort, postcopy and explain. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

void
gw_query_options_clear (GwQueryOptions *options)
{
    g_free (options->agent);
}

int
gw_cli_parse_query (const char *name, int *argc, char ***argv, int min, int max,
                    GwQueryOptions *options)
{
    const GOptionEntry entries[] = {
        { "agent", 0, 0, G_OPTION_ARG_STRING, &options->agent, "Ask this agent (GODWIT_AGENT)",
          "unix:PATH" },
        { "json", 0, 0, G_OPTION_ARG_NONE, &options->is_json, "Print JSON", NULL },
        { NULL, 0, 0, 0, NULL, NULL, NULL },
    };
    return gw_cli_parse (name, entries, argc, argv, min, max);
}

JsonObject *
gw_cli_ask (const char *address, GwRpcMethod method, JsonObject *params, GError **error)
{
    g_autoptr (GwRpc) rpc = gw_cli_connect (address, g_main_context_default (), error);
    if (rpc == NULL)
        return NULL;
    g_autoptr (JsonNode) reply = gw_rpc_call (rpc, method, params, NULL, error);
    if (reply == NULL)
        return NULL;
    return JSON_NODE_HOLDS_OBJECT (reply) ? json_object_ref (json_node_get_object (reply))
                                          : json_object_new ();
}

/* One question about a job to one agent. */
static JsonObject *
ask (const char *address, GwRpcMethod method, const char *job, GError **error)
{
    g_autoptr (JsonObject) params = gw_json_new ("job:s", job, NULL);
    return gw_cli_ask (address, method, params, error);
}

/* Asks every agent and puts the arrays `member` of their answers into one.  An agent that was named
 * must answer; of the others those that do not are passed over. */
static JsonArray *
collect (const GwQueryOptions *options, GwRpcMethod method, const char *job, const char *member,
         GError **error)
{
    g_autoptr (JsonArray) all = json_array_new ();
    g_auto (GStrv) agents = gw_cli_list_agents (options->agent);
    gboolean is_named = options->agent != NULL || g_getenv ("GODWIT_AGENT") != NULL;
    for (gsize i = 0; agents[i] != NULL; i++) {
        g_autoptr (GError) failure = NULL;
        g_autoptr (JsonObject) answer = ask (agents[i], method, job, &failure);
        JsonArray *part = answer != NULL ? gw_json_peek_array (answer, member) : NULL;
        if (answer == NULL && is_named) {
            g_propagate_error (error, g_steal_pointer (&failure));
            return NULL;
        }
        for (guint k = 0; part != NULL && k < json_array_get_length (part); k++)
            json_array_add_element (all, json_node_copy (json_array_get_element (part, k)));
    }
    return g_steal_pointer (&all);
}

static void
print_json (const char *member, JsonArray *list)
{
    g_autoptr (JsonObject) object = json_object_new ();
    json_object_set_array_member (object, member, json_array_ref (list));
    g_autofree char *text = gw_json_to_text (object, FALSE);
    printf ("%s\n", text);
}

/* --- status ------------------------------------------------------------------------------------------------ */

static void
print_jobs (JsonArray *list)
{
    for (guint i = 0; i < json_array_get_length (list); i++) {
        g_autoptr (GwProgress) progress = gw_struct_from_json (
            &gw_progress_type, json_array_get_object_element (list, i), NULL);
        g_autofree char *line = progress != NULL ? gw_render_line (progress) : g_strdup ("?");
        printf ("%s  %s\n", progress != NULL ? progress->job : "?", line);
    }
}

static JsonObject *
get_report (const GwQueryOptions *options, const char *job, GError **error)
{
    const char *agent = options->agent != NULL ? options->agent : g_getenv ("GODWIT_AGENT");
    if (agent != NULL)
        return ask (agent, GW_RPC_REPORT_GET, job, error);
    g_autoptr (GwHostConfig) config = gw_host_config_new (NULL);
    return gw_report_load (config, job, error);
}

/* A job that does not run any more. */
static int
print_ended (const GwQueryOptions *options, const char *job)
{
    g_autoptr (JsonObject) report = get_report (options, job, NULL);
    const char *result = report != NULL ? gw_json_peek_string (report, "result", "") : NULL;
    if (result == NULL) {
        fprintf (stderr, "godwit: no job '%s' runs here, and none is known here\n", job);
        return 3;
    }
    if (*result == '\0')
        result = gw_json_peek_string (report, "state", "?");
    if (options->is_json) {
        g_autoptr (JsonObject) answer = gw_json_new ("ended:o", gw_json_new (
            "job:s", job, "vm:s", gw_json_peek_string (report, "vm", ""), "result:s", result, NULL), NULL);
        json_object_set_array_member (answer, "jobs", json_array_new ());
        g_autofree char *text = gw_json_to_text (answer, FALSE);
        printf ("%s\n", text);
    } else {
        printf ("%s  %s: %s; 'godwit explain %s' tells more\n", job, gw_json_peek_string (report, "vm", ""),
                result, job);
    }
    return 0;
}

int
gw_cli_status (int argc, char **argv)
{
    g_auto (GwQueryOptions) options = { 0 };
    g_autoptr (GError) error = NULL;
    int status = gw_cli_parse_query ("status", &argc, &argv, 0, 1, &options);
    if (status >= 0)
        return status;
    const char *job = argc > 0 ? argv[0] : NULL;
    g_autoptr (JsonArray) list = collect (&options, GW_RPC_JOB_STATUS, job, "jobs", &error);
    if (list == NULL)
        return gw_cli_fail (error);
    if (job != NULL && json_array_get_length (list) == 0)
        return print_ended (&options, job);
    if (options.is_json)
        print_json ("jobs", list);
    else if (json_array_get_length (list) == 0)
        printf ("no job runs here\n");
    else
        print_jobs (list);
    return 0;
}

/* --- abort, postcopy ------------------------------------------------------------------------------------------ */

/* What can be asked of a job that runs. */
typedef struct {
    const char *command;
    GwRpcMethod method;
    const char *done, *refused;
} Order;

static int
print_answer (const Order *order, const char *job, JsonObject *answer)
{
    if (gw_json_peek_bool (answer, "accepted", FALSE)) {
        printf ("job %s %s\n", job, order->done);
        return 0;
    }
    fprintf (stderr, "godwit: job %s %s: %s; 'godwit explain %s' tells how it ends\n", job,
             order->refused, gw_json_peek_string (answer, "why", "it is over"), job);
    return 3;
}

static int
give_order (const Order *order, int argc, char **argv)
{
    g_auto (GwQueryOptions) options = { 0 };
    int status = gw_cli_parse_query (order->command, &argc, &argv, 1, 1, &options);
    if (status >= 0)
        return status;
    g_auto (GStrv) agents = gw_cli_list_agents (options.agent);
    g_autoptr (GError) last = NULL;
    for (gsize i = 0; agents[i] != NULL; i++) {
        g_clear_error (&last);
        g_autoptr (JsonObject) answer = ask (agents[i], order->method, argv[0], &last);
        if (answer != NULL)
            return print_answer (order, argv[0], answer);
    }
    if (last != NULL)
        return gw_cli_fail (last);
    fprintf (stderr, "godwit: no job '%s' runs here; see 'godwit status' and 'godwit history'\n",
             argv[0]);
    return 3;
}

int
gw_cli_abort (int argc, char **argv)
{
    static const Order order = { "abort", GW_RPC_JOB_ABORT,
                                 "is being aborted; the VM stays on the source",
                                 "cannot be aborted any more" };
    return give_order (&order, argc, argv);
}

int
gw_cli_postcopy (int argc, char **argv)
{
    static const Order order = { "postcopy", GW_RPC_JOB_POSTCOPY, "goes over to postcopy",
                                 "does not go over to postcopy" };
    return give_order (&order, argc, argv);
}

/* --- explain ---------------------------------------------------------------------------------------------------- */

static void
print_cause (GwCause cause)
{
    const GwCauseInfo *info = gw_cause_get_info (cause);
    printf ("%s: %s\n\n%s\n\nWhat to do: %s\nExit status: %d\n", info->code, info->title,
            info->meaning, info->remedy, info->exit_status);
}

int
gw_cli_explain (int argc, char **argv)
{
    g_auto (GwQueryOptions) options = { 0 };
    g_autoptr (GError) error = NULL;
    int status = gw_cli_parse_query ("explain", &argc, &argv, 1, 1, &options);
    if (status >= 0)
        return status;
    GwCause cause = gw_cause_from_code (argv[0]);
    if (cause != GW_CAUSE_NONE) {
        print_cause (cause);
        return 0;
    }
    g_autoptr (JsonObject) report = get_report (&options, argv[0], &error);
    if (report == NULL) {
        fprintf (stderr, "godwit: '%s' is neither a cause nor a job that is known here: %s\n", argv[0],
                 error->message);
        return gw_cause_get_info (GW_CAUSE_USAGE)->exit_status;
    }
    gboolean is_row = json_object_has_member (report, "steps");
    g_autofree char *text = options.is_json ? gw_json_to_text (report, FALSE)
                            : is_row        ? gw_summary_of_row (report)
                                            : gw_summary_of_story (report);
    printf ("%s%s", text, options.is_json ? "\n" : "");
    return 0;
}
