/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* list and history: what the journal tells, a line an entry, its columns divided by blanks. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

/* The answer of an agent that is named, else what is in this user's own state directory. */
static JsonObject *
get_answer (const GwQueryOptions *options, GwRpcMethod method, const char *vm, GError **error)
{
    const char *agent = options->agent != NULL ? options->agent : g_getenv ("GODWIT_AGENT");
    g_autoptr (JsonObject) params = gw_json_new ("vm:s", vm, NULL);
    if (agent != NULL && *agent != '\0')
        return gw_cli_ask (agent, method, params, error);
    g_autoptr (GwHostConfig) config = gw_host_config_new (NULL);
    return method == GW_RPC_VM_LIST ? gw_history_list_vms (config, error)
                                    : gw_history_list (config, vm, GW_HISTORY_MAX, error);
}

static void
print_object (JsonObject *object)
{
    g_autofree char *text = gw_json_to_text (object, FALSE);
    printf ("%s\n", text);
}

/* Calls `print` for each object of a list; how many there were. */
static guint
print_each (JsonObject *answer, const char *member, void (*print) (JsonObject *entry))
{
    JsonArray *list = gw_json_peek_array (answer, member);
    guint n = list != NULL ? json_array_get_length (list) : 0;
    for (guint i = 0; i < n; i++) {
        JsonNode *node = json_array_get_element (list, i);
        if (JSON_NODE_HOLDS_OBJECT (node))
            print (json_node_get_object (node));
    }
    return n;
}

/* --- list ---------------------------------------------------------------------------------------------- */

static void
print_vm (JsonObject *vm)
{
    g_autofree char *name = gw_text_clean (gw_json_peek_string (vm, "name", ""), -1, 200);
    printf ("%-24s pid %-8" G_GINT64_FORMAT " epoch %-4" G_GINT64_FORMAT " qmp:%s\n", name,
            gw_json_peek_int (vm, "pid", 0), gw_json_peek_int (vm, "epoch", 0),
            gw_json_peek_string (vm, "qmp", ""));
}

static void
print_known (JsonObject *vm)
{
    const char *name = gw_json_peek_string (vm, "name", "");
    g_autofree char *label =
        gw_text_clean (*name != '\0' ? name : gw_json_peek_string (vm, "uuid", ""), -1, 200);
    g_autofree char *peer = gw_text_clean (gw_json_peek_string (vm, "peer", ""), -1, 200);
    printf ("%-24s %-12s epoch %-4" G_GINT64_FORMAT " %s\n", label, gw_json_peek_string (vm, "owner", ""),
            gw_json_peek_int (vm, "epoch", 0), *peer != '\0' ? peer : "-");
}

int
gw_cli_list (int argc, char **argv)
{
    g_auto (GwQueryOptions) options = { 0 };
    g_autoptr (GError) error = NULL;
    int status = gw_cli_parse_query ("list", &argc, &argv, 0, 0, &options);
    if (status >= 0)
        return status;
    g_autoptr (JsonObject) answer = get_answer (&options, GW_RPC_VM_LIST, NULL, &error);
    if (answer == NULL)
        return gw_cli_fail (error);
    if (options.is_json) {
        print_object (answer);
        return 0;
    }
    if (print_each (answer, "vms", print_vm) + print_each (answer, "known", print_known) == 0)
        printf ("no VM was brought to this host by godwit, or taken from it\n");
    return 0;
}

/* --- history ---------------------------------------------------------------------------------------------- */

static void
print_job (JsonObject *job)
{
    const char *result = gw_json_peek_string (job, "result", "");
    const char *state = gw_json_peek_string (job, "state", "ended");
    const char *destination = gw_json_peek_string (job, "destination", "");
    const char *cause = gw_json_peek_string (job, "cause", gw_json_peek_string (job, "step", ""));
    g_autofree char *vm = gw_text_clean (gw_json_peek_string (job, "vm", ""), -1, 200);
    g_autofree char *peer = gw_text_clean (destination, -1, 200);
    printf ("%s  %-12s %-16s %-11s %s%s%s\n", gw_json_peek_string (job, "started", ""),
            gw_json_peek_string (job, "job", ""), *vm != '\0' ? vm : "-",
            strcmp (state, "ended") == 0 ? result : state, *peer != '\0' ? peer : "-",
            *cause != '\0' ? "  " : "", cause);
}

int
gw_cli_history (int argc, char **argv)
{
    g_auto (GwQueryOptions) options = { 0 };
    g_autoptr (GError) error = NULL;
    int status = gw_cli_parse_query ("history", &argc, &argv, 0, 1, &options);
    if (status >= 0)
        return status;
    g_autoptr (JsonObject) answer =
        get_answer (&options, GW_RPC_REPORT_LIST, argc > 0 ? argv[0] : NULL, &error);
    if (answer == NULL)
        return gw_cli_fail (error);
    if (options.is_json)
        print_object (answer);
    else if (print_each (answer, "jobs", print_job) == 0)
        printf ("no job is known here\n");
    return 0;
}

/* --- a job that left no report ------------------------------------------------------------------------------ */

static void
add_list (GString *text, JsonObject *job, const char *member, const char *name, const char *time)
{
    JsonArray *list = gw_json_peek_array (job, member);
    for (guint i = 0; list != NULL && i < json_array_get_length (list); i++) {
        JsonNode *node = json_array_get_element (list, i);
        JsonObject *entry = JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
        gint64 at_us = entry != NULL ? gw_json_peek_int (entry, time, 0) : 0;
        g_autoptr (GDateTime) at = g_date_time_new_from_unix_utc (at_us / G_USEC_PER_SEC);
        g_autofree char *when = at != NULL ? g_date_time_format_iso8601 (at) : g_strdup ("?");
        if (entry != NULL)
            g_string_append_printf (text, "  %s  %s\n", when, gw_json_peek_string (entry, name, "?"));
    }
}

char *
gw_summary_of_row (JsonObject *job)
{
    const char *state = gw_json_peek_string (job, "state", "ended");
    const char *step = gw_json_peek_string (job, "step", NULL);
    gboolean is_ended = strcmp (state, "ended") == 0;
    GString *text = g_string_new (NULL);
    g_string_append_printf (text, "job %s of VM '%s' (epoch %" G_GINT64_FORMAT "), this host is the %s: %s",
                            gw_json_peek_string (job, "job", "?"), gw_json_peek_string (job, "vm", "?"),
                            gw_json_peek_int (job, "epoch", 0), gw_json_peek_string (job, "side", "?"),
                            is_ended ? gw_json_peek_string (job, "result", "?") : state);
    g_string_append_printf (text, "%s%s%s\n", step != NULL ? " in step '" : "", step != NULL ? step : "",
                            step != NULL ? "'" : "");
    if (strcmp (state, "interrupted") == 0)
        g_string_append (text, "Its process ended before it did; nobody works on it any more.\n");
    g_string_append (text, "Records:\n");
    add_list (text, job, "records", "record", "at_us");
    g_string_append (text, "Steps:\n");
    add_list (text, job, "steps", "step", "entered_us");
    return g_string_free (text, FALSE);
}
