/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reconcile: settles jobs that nobody works on any more, or says what would settle them. */
#include "cli.h"
#include "reconcile.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    char *agent, *source, *destination;
    gboolean is_json, source_is_dead, destination_is_dead;
} Options;

static void
options_clear (Options *options)
{
    g_free (options->agent);
    g_free (options->source);
    g_free (options->destination);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Options, options_clear)

static int
parse (int *argc, char ***argv, Options *options)
{
    const GOptionEntry entries[] = {
        { "agent", 0, 0, G_OPTION_ARG_STRING, &options->agent, "This host's agent (GODWIT_AGENT)", "unix:PATH" },
        { "source", 0, 0, G_OPTION_ARG_STRING, &options->source, "Ask the source there, when this host is the destination",
          "HOST" },
        { "destination", 0, 0, G_OPTION_ARG_STRING, &options->destination,
          "Ask the destination there, not where the job was meant to go", "HOST" },
        { "source-is-dead", 0, 0, G_OPTION_ARG_NONE, &options->source_is_dead,
          "I know that the guest does not run at the source, and never will again", NULL },
        { "destination-is-dead", 0, 0, G_OPTION_ARG_NONE, &options->destination_is_dead,
          "I know that the guest did not run at the destination, and never will", NULL },
        { "json", 0, 0, G_OPTION_ARG_NONE, &options->is_json, "Print JSON", NULL },
        { NULL, 0, 0, 0, NULL, NULL, NULL },
    };
    int status = gw_cli_parse ("reconcile", entries, argc, argv, 0, 1);
    if (options->agent == NULL && g_getenv ("GODWIT_AGENT") != NULL && *g_getenv ("GODWIT_AGENT") != '\0')
        options->agent = g_strdup (g_getenv ("GODWIT_AGENT"));
    return status;
}

/* --- which jobs ----------------------------------------------------------------------------------------------- */

/* The rows of this host's journal: of `job`, or (NULL) of all that have to be settled. */
static JsonArray *
list_jobs (const Options *options, const char *job, GError **error)
{
    g_autoptr (GwHostConfig) config = gw_host_config_new (NULL);
    g_autoptr (JsonObject) which = gw_json_new ("job:s", job, "unsettled:b", job == NULL, NULL);
    g_autoptr (JsonObject) answer = options->agent != NULL
                                        ? gw_cli_ask (options->agent, GW_RPC_REPORT_LIST, which, error)
                                        : gw_history_find (config, job, error);
    JsonArray *list = answer != NULL ? gw_json_peek_array (answer, "jobs") : NULL;
    return answer == NULL ? NULL : list != NULL ? json_array_ref (list) : json_array_new ();
}

/* A host that has both sides of a job is asked as its source. */
static gboolean
has_source_row (JsonArray *rows, const char *job)
{
    for (guint i = 0; i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        if (strcmp (gw_json_peek_string (row, "job", ""), job) == 0 &&
            strcmp (gw_json_peek_string (row, "side", ""), "source") == 0)
            return TRUE;
    }
    return FALSE;
}

/* --- one job ---------------------------------------------------------------------------------------------------- */

static GwHost *
open_here (const Options *options, GError **error)
{
    if (options->agent != NULL)
        return gw_host_open_remote (options->agent, 0, g_main_context_default (), NULL, error);
    g_autoptr (GwHostConfig) config = gw_host_config_new (NULL);
    return gw_host_new_local (config, g_main_context_default ());
}

static GwHost *
open_there (const char *address, GError **error)
{
    if (address != NULL && *address != '\0')
        return gw_host_open_remote (address, 0, g_main_context_default (), NULL, error);
    gw_fail (error, GW_CAUSE_USAGE, "its address is not known here; run this on that host, or say --source");
    return NULL;
}

/* The guest's memory is on both hosts: nothing is to be decided, the rest of it has to be fetched.  An agent sees to that
 * by itself.  Not when somebody knows that one of the hosts is dead. */
static void
go_on (const Options *options, const char *job)
{
    g_autoptr (GwHostConfig) config = gw_host_config_new (NULL);
    config->grace_s = 0; /* as with any command */
    gboolean is_ours = options->agent == NULL && !options->source_is_dead && !options->destination_is_dead;
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) jobs = is_ours ? gw_job_find_waiting (config, &error) : NULL;
    if (error != NULL)
        fprintf (stderr, "godwit: job %s: %s\n", job, error->message);
    for (guint i = 0; jobs != NULL && i < jobs->len; i++) {
        if (strcmp (gw_job_get_id (jobs->pdata[i]), job) != 0 || !gw_job_fetches (jobs->pdata[i]))
            continue;
        fprintf (stderr, "godwit: job %s: the guest fetches its memory; waiting for the end of it\n", job);
        gw_job_run (jobs->pdata[i]);
    }
}

static JsonObject *
reconcile (const Options *options, JsonObject *row)
{
    const char *job = gw_json_peek_string (row, "job", ""), *meant = gw_json_peek_string (row, "destination", "");
    gboolean is_source = strcmp (gw_json_peek_string (row, "side", ""), "source") == 0;
    const char *address = !is_source ? options->source
                          : options->destination != NULL ? options->destination : meant;
    g_autoptr (GError) here_error = NULL;
    g_autoptr (GError) there_error = NULL;
    if (is_source)
        go_on (options, job);
    g_autoptr (GwHost) here = open_here (options, &here_error);
    g_autoptr (GwHost) there = open_there (address, &there_error);
    const char *here_why = here_error != NULL ? here_error->message : NULL;
    const char *there_why = there_error != NULL ? there_error->message : NULL;
    const char *here_name = options->agent != NULL ? options->agent : "this host";
    const char *there_name = address != NULL && *address != '\0' ? address : "?";
    const GwReconcile spec = {
        .job = job,
        .source = is_source ? here : there,
        .destination = is_source ? there : here,
        .source_why = is_source ? here_why : there_why,
        .destination_why = is_source ? there_why : here_why,
        .source_name = is_source ? here_name : there_name,
        .destination_name = is_source ? there_name : here_name,
        .statements = (options->source_is_dead ? GW_SOURCE_IS_DEAD : 0u) |
                      (options->destination_is_dead ? GW_DESTINATION_IS_DEAD : 0u),
    };
    return gw_reconcile_job (&spec);
}

/* --- for people -------------------------------------------------------------------------------------------------- */

static char *
get_cell (JsonObject *report, const char *side, const char *member)
{
    JsonObject *told = gw_json_peek_object (report, side);
    gboolean is_answer = told != NULL && gw_json_peek_bool (told, "answers", FALSE);
    const char *text = told != NULL ? gw_json_peek_string (told, member, NULL) : NULL;
    if (strcmp (member, "record") == 0 && !is_answer)
        text = "no answer";
    else if (strcmp (member, "record") == 0 && !gw_json_peek_bool (told, "known", FALSE))
        text = "knows nothing of it";
    else if (strcmp (member, "result") == 0 && is_answer && g_strcmp0 (text, "") == 0)
        text = "open";
    return gw_text_clean (text != NULL && *text != '\0' ? text : "-", -1, 60);
}

static void
print_table (JsonObject *report)
{
    static const struct {
        const char *title, *member;
    } rows[] = { { "", "host" },           { "record", "record" },         { "job there", "result" },
                 { "QEMU", "qemu" },       { "guest", "run_state" }, { "its migration", "migration" },
                 { "why", "why" } };
    printf ("  %-14s %-28s %s\n", "", "source", "destination");
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autofree char *source = get_cell (report, "source", rows[i].member);
        g_autofree char *destination = get_cell (report, "destination", rows[i].member);
        if (strcmp (source, "-") != 0 || strcmp (destination, "-") != 0)
            printf ("  %-14s %-28s %s\n", rows[i].title, source, destination);
    }
}

static void
print_list (JsonObject *report, const char *member, const char *title, const char *(*explain) (const char *item))
{
    g_auto (GStrv) items = gw_json_peek_strv (report, member);
    for (gsize i = 0; items[i] != NULL; i++)
        printf ("  %s: %s%s\n", title, items[i], explain != NULL ? explain (items[i]) : "");
}

static const char *
explain_statement (const char *option)
{
    return strcmp (option, "--source-is-dead") == 0
               ? ", when you know that the guest does not run at the source and never will again (its QEMU has ended, "
                 "its host is off for good)"
               : ", when you know that the guest did not run at the destination, wrote nothing to its disks there, and "
                 "never will (its QEMU has ended, its host is off for good)";
}

static void
print_report (JsonObject *report)
{
    const char *result = gw_json_peek_string (report, "result", "?");
    const char *failure = gw_json_peek_string (report, "failure", NULL);
    g_autofree char *vm = gw_text_clean (gw_json_peek_string (report, "vm", ""), -1, 200);
    printf ("job %s of VM '%s': %s, the VM is on: %s\n", gw_json_peek_string (report, "job", "?"), vm, result,
            gw_json_peek_string (report, "runs_on", "?"));
    print_table (report);
    printf ("  because: %s\n", gw_json_peek_string (report, "why", "?"));
    print_list (report, "done", "done", NULL);
    if (failure != NULL)
        printf ("  failed: %s\n", failure);
    print_list (report, "needs", "to decide it, say", explain_statement);
}

/* --- the command --------------------------------------------------------------------------------------------------- */

static int
reconcile_all (const Options *options, JsonArray *rows, JsonArray *reports)
{
    int status = 0;
    for (guint i = 0; i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        const char *id = gw_json_peek_string (row, "job", "");
        gboolean is_source = strcmp (gw_json_peek_string (row, "side", ""), "source") == 0;
        if (!is_source && has_source_row (rows, id))
            continue;
        JsonObject *report = reconcile (options, row);
        int exit = (int) gw_json_peek_int (report, "exit", 6);
        status = exit != 0 ? exit : status;
        if (!options->is_json)
            print_report (report);
        json_array_add_object_element (reports, report);
    }
    return status;
}

int
gw_cli_reconcile (int argc, char **argv)
{
    g_auto (Options) options = { 0 };
    g_autoptr (GError) error = NULL;
    int status = parse (&argc, &argv, &options);
    if (status >= 0)
        return status;
    const char *job = argc > 0 ? argv[0] : NULL;
    g_autoptr (JsonArray) rows = list_jobs (&options, job, &error);
    if (rows == NULL)
        return gw_cli_fail (error);
    JsonArray *reports = json_array_new ();
    g_autoptr (JsonObject) answer = json_object_new ();
    json_object_set_array_member (answer, "jobs", reports);
    status = reconcile_all (&options, rows, reports);
    if (job != NULL && json_array_get_length (reports) == 0) {
        fprintf (stderr, "godwit: no job '%s' is known here; see 'godwit history'\n", job);
        return gw_cause_get_info (GW_CAUSE_USAGE)->exit_status;
    }
    json_object_set_int_member (answer, "exit", status);
    g_autofree char *text = options.is_json ? gw_json_to_text (answer, FALSE) : NULL;
    if (options.is_json)
        printf ("%s\n", text);
    else if (json_array_get_length (reports) == 0)
        printf ("no job has to be settled here\n");
    return status;
}
