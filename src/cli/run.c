/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate and check: a job in this process, or in an agent. */
#include "cli.h"

#include <glib-unix.h>
#include <stdio.h>

#define WATCH_MS (7u * 24 * 3600 * 1000) /* no job takes a week */

#define AGAIN_MS 200

typedef struct {
    const GwRunOptions *options;
    GwRender *render;
    GwRpcPending *watch;  /* with an agent */
    char *phase;          /* the last that it told; NULL: none */
    gint is_done;         /* atomic: set by the job's thread */
    gint n_signals;       /* seen by the handler */
    gint n_handled;
} Run;

/* --- signals ------------------------------------------------------------------------------------------- */

static gboolean
on_signal (gpointer user_data)
{
    ((Run *) user_data)->n_signals++;
    return G_SOURCE_CONTINUE;
}

static void
catch_signals (Run *run)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    for (guint i = 0; i < G_N_ELEMENTS (signals); i++)
        g_unix_signal_add (signals[i], on_signal, run);
}

static gboolean
is_done_or_signalled (gpointer user_data)
{
    Run *run = user_data;
    return run->n_signals > run->n_handled || g_atomic_int_get (&run->is_done) ||
           (run->watch != NULL && gw_rpc_pending_is_done (run->watch));
}

/* TRUE: the job is done; FALSE: a signal asks to abort it. */
static gboolean
wait_for_job (Run *run)
{
    (void) gw_wait_until (g_main_context_default (), is_done_or_signalled, run,
                          gw_deadline_ms (WATCH_MS), NULL, NULL);
    if (run->n_signals == run->n_handled)
        return TRUE;
    run->n_handled = run->n_signals;
    return FALSE;
}

/* `why` NULL: it was accepted. */
static void
say_abort (Run *run, const char *why)
{
    if (why == NULL)
        gw_render_say (run->render, "aborting; the VM stays on the source");
    else
        gw_render_say (run->render, "too late to abort: %s; finishing", why);
}

/* --- in this process ----------------------------------------------------------------------------------------- */

static void
on_progress (GwJob *job, const GwProgress *progress, gpointer user_data)
{
    Run *run = user_data;
    gw_render_show (run->render, progress);
    if (progress->is_done) {
        g_atomic_int_set (&run->is_done, 1);
        g_main_context_wakeup (NULL);
    }
}

/* So that `godwit status` and `godwit abort` reach the job.  Without it the job runs all the same. */
static void
open_control (Run *run, GwAgent *agent, GwJob *job)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwHostConfig) config = gw_agent_copy_config (agent);
    g_autofree char *dir = gw_cli_control_dir (config);
    g_autofree char *name = g_strconcat (gw_job_get_id (job), ".sock", NULL);
    g_autofree char *path = g_build_filename (dir, name, NULL);
    if (!run->options->plan->is_check_only && !gw_agent_listen (agent, path, 0600, &error))
        gw_render_say (run->render, "'godwit status' will not see this job: %s", error->message);
}

static JsonObject *
run_here (Run *run, GError **error)
{
    g_autoptr (GwHostConfig) config = gw_host_config_new (NULL);
    config->grace_s = 0; /* nobody starts a command again */
    if (!gw_host_make_directories (config, error))
        return NULL;
    g_autoptr (GwAgent) agent = gw_agent_new (config);
    catch_signals (run); /* before the job: nothing it starts may be lost to a signal */
    g_autoptr (GwJob) job =
        gw_agent_start_job (agent, run->options->plan, on_progress, run, error);
    if (job == NULL)
        return NULL;
    open_control (run, agent, job);
    while (!wait_for_job (run)) {
        g_autofree char *why = gw_job_abort (job) ? NULL : gw_job_explain_no_abort (job);
        say_abort (run, why);
    }
    gw_agent_stop (agent);
    return gw_job_get_report (job);
}

/* --- in an agent ------------------------------------------------------------------------------------------------ */

static void
on_notify (GwRpcMethod method, JsonObject *params, gpointer user_data)
{
    Run *run = user_data;
    g_autoptr (GwProgress) progress =
        method == GW_RPC_PROGRESS ? gw_struct_from_json (&gw_progress_type, params, NULL) : NULL;
    if (progress == NULL)
        return;
    gw_render_show (run->render, progress);
    g_free (run->phase);
    run->phase = g_strdup (progress->phase);
}

static char *
start_in_agent (Run *run, GwRpc *rpc, GError **error)
{
    g_autoptr (JsonObject) params = gw_json_new (
        "plan:o", gw_struct_to_json (&gw_plan_type, run->options->plan), NULL);
    g_autoptr (JsonNode) reply = gw_rpc_call (rpc, GW_RPC_JOB_RUN, params, NULL, error);
    if (reply == NULL)
        return NULL;
    return g_strdup (JSON_NODE_HOLDS_OBJECT (reply)
                         ? gw_json_peek_string (json_node_get_object (reply), "job", "?")
                         : "?");
}

/* `*ret_why` (transfer full) NULL: it was accepted. */
static gboolean
abort_in_agent (const char *address, const char *job, char **ret_why, GError **error)
{
    g_autoptr (GwRpc) rpc = gw_cli_connect (address, g_main_context_default (), error);
    g_autoptr (JsonObject) params = gw_json_new ("job:s", job, NULL);
    g_autoptr (JsonNode) reply =
        rpc != NULL ? gw_rpc_call (rpc, GW_RPC_JOB_ABORT, params, NULL, error) : NULL;
    if (reply == NULL)
        return FALSE;
    JsonObject *answer = JSON_NODE_HOLDS_OBJECT (reply) ? json_node_get_object (reply) : NULL;
    gboolean is_accepted = answer != NULL && gw_json_peek_bool (answer, "accepted", FALSE);
    const char *why = answer != NULL ? gw_json_peek_string (answer, "why", "it is over") : "no answer";
    *ret_why = is_accepted ? NULL : g_strdup (why);
    return TRUE;
}

/* NULL with the reason: the connection broke. */
static JsonObject *
watch_once (Run *run, GwRpc *rpc, const char *job, GError **error)
{
    g_autoptr (JsonObject) params = gw_json_new ("job:s", job, NULL);
    gw_rpc_set_notify_fn (rpc, on_notify, run);
    run->watch = gw_rpc_call_begin (rpc, GW_RPC_JOB_WATCH, params, WATCH_MS);
    while (!wait_for_job (run)) {
        g_autofree char *why = NULL;
        g_autoptr (GError) failure = NULL;
        if (abort_in_agent (run->options->agent, job, &why, &failure))
            say_abort (run, why);
        else
            gw_render_say (run->render, "cannot abort: %s", failure->message);
    }
    g_autoptr (JsonNode) reply = gw_rpc_pending_finish (g_steal_pointer (&run->watch), error);
    return reply != NULL && JSON_NODE_HOLDS_OBJECT (reply) ? json_object_ref (json_node_get_object (reply)) : NULL;
}

/* The job goes on in an agent that was started again, and this command watches it there; how often is bounded by what an
 * agent takes to start. */
static JsonObject *
watch_in_agent (Run *run, GwRpc *first, const char *job, GError **error)
{
    g_autoptr (GwRpc) next = NULL;
    for (GwRpc *rpc = first;; rpc = next) {
        g_autoptr (GError) why = NULL;
        JsonObject *report = watch_once (run, rpc, job, &why);
        if (report != NULL || why == NULL)
            return report;
        report = gw_cli_report_lost_agent (run->options, job, run->phase != NULL ? run->phase : "queued", why);
        if (report != NULL)
            return report;
        g_clear_pointer (&next, gw_rpc_free);
        (void) gw_wait_ms (g_main_context_default (), AGAIN_MS, NULL, NULL);
        next = gw_cli_connect (run->options->agent, g_main_context_default (), NULL);
        if (next == NULL) {
            g_propagate_prefixed_error (error, g_steal_pointer (&why),
                                        "job %s goes on without this command ('godwit status'): ", job);
            return NULL;
        }
        gw_render_say (run->render, "the source's agent was started again, and goes on with the job");
    }
}

static JsonObject *
run_in_agent (Run *run, GError **error)
{
    g_autoptr (GwRpc) rpc =
        gw_cli_connect (run->options->agent, g_main_context_default (), error);
    if (rpc == NULL) {
        g_prefix_error (error, "the source's agent '%s': ", run->options->agent);
        return NULL;
    }
    catch_signals (run);
    g_autofree char *job = start_in_agent (run, rpc, error);
    if (job == NULL)
        return NULL;
    if (!run->options->is_detached)
        return watch_in_agent (run, rpc, job, error);
    return gw_json_new ("job:s", job, "exit:i", (gint64) 0, "is_detached:b", TRUE, NULL);
}

/* --- the commands -------------------------------------------------------------------------------------------------- */

static void
print_report (const GwRunOptions *options, JsonObject *report)
{
    g_autofree char *text = NULL;
    if (options->is_json)
        text = gw_json_to_text (report, FALSE);
    else if (options->is_detached)
        text = g_strdup (gw_json_peek_string (report, "job", "?"));
    else
        text = options->plan->is_check_only ? gw_summary_of_checks (report)
                                            : gw_summary_of_report (report);
    /* what people have to act on goes where errors go */
    gboolean is_bad = !options->is_json && gw_json_peek_int (report, "exit", 3) != 0;
    fprintf (is_bad ? stderr : stdout, "%s%s", text, g_str_has_suffix (text, "\n") ? "" : "\n");
}

static int
run_command (const char *name, gboolean is_check, int argc, char **argv)
{
    GwRunOptions options = { 0 };
    g_autoptr (GError) error = NULL;
    int status = gw_cli_parse_run (name, is_check, argc, argv, &options);
    if (status < 0) {
        Run run = { .options = &options, .render = gw_render_new (options.progress) };
        g_autoptr (JsonObject) report =
            options.agent != NULL ? run_in_agent (&run, &error) : run_here (&run, &error);
        gw_render_free (run.render);
        g_free (run.phase);
        if (report != NULL) {
            print_report (&options, report);
            status = (int) gw_json_peek_int (report, "exit", 3);
        } else {
            status = gw_cli_fail (error);
        }
    }
    gw_run_options_clear (&options);
    return status;
}

int
gw_cli_migrate (int argc, char **argv)
{
    return run_command ("migrate", FALSE, argc, argv);
}

int
gw_cli_check (int argc, char **argv)
{
    return run_command ("check", TRUE, argc, argv);
}
