/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cli: the command `godwit`.
 *
 * Theory
 * ------
 * A command is a row of commands.def with a function that takes its own arguments and returns an
 * exit status, which is that of the process (godwit(1), "EXIT STATUS").  Standard output carries the result:
 * text for people, or with --json one object on the last line.  Standard error carries progress and
 * errors.  An error says what happened, where the VM is now, and what to do.
 *
 * `migrate` and `check` either ask an agent to run the job (--agent) or are the agent themselves: the
 * same GwAgent in this process, with a socket in the state directory, so that `godwit status` and
 * `godwit abort` reach the job from another terminal.
 */
#ifndef GW_CLI_H
#define GW_CLI_H

#include "agent.h"
#include "base.h"
#include "model.h"
#include "rpc.h"

/* --- main.c -------------------------------------------------------------------------------------------- */

typedef struct {
    const char *name, *usage, *summary;
    int (*run) (int argc, char **argv);
} GwCommand;

/* One function a row of commands.def. */
#define X(name, id, usage, summary) int gw_cli_##id (int argc, char **argv);
#include "commands.def"
#undef X

/* --- parse.c ------------------------------------------------------------------------------------------- */

/* Prints "godwit: ..." and the remedy of the cause on standard error; returns its exit status. */
int gw_cli_fail (const GError *error);

/* Parses the options of the command `name`; `*argc` and `*argv` then hold the other arguments, argv[0]
 * excluded, of which there must be `min` to `max`.  -1: go on; else return this exit status. */
int gw_cli_parse (const char *name, const GOptionEntry *entries, int *argc, char ***argv, int min,
                  int max);

/* --- options.c: the options of migrate and check ---------------------------------------------------------- */

typedef enum { GW_PROGRESS_AUTO, GW_PROGRESS_PLAIN, GW_PROGRESS_JSON, GW_PROGRESS_NONE } GwProgressMode;

typedef struct {
    GwPlan *plan;
    char *agent; /* "unix:PATH", NULL: this process coordinates */
    gboolean is_json, is_detached;
    GwProgressMode progress;
} GwRunOptions;

/* -1: go on; else return this exit status. */
int gw_cli_parse_run (const char *name, gboolean is_check, int argc, char **argv,
                      GwRunOptions *options);
void gw_run_options_clear (GwRunOptions *options);

/* --- render.c: progress on standard error ---------------------------------------------------------------------- */

typedef struct _GwRender GwRender;
GwRender *gw_render_new (GwProgressMode mode);
/* Any thread, one at a time. */
void gw_render_show (GwRender *render, const GwProgress *progress);
/* A line beside the progress. */
void gw_render_say (GwRender *render, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* Leaves the terminal on an empty line. */
void gw_render_free (GwRender *render);
/* The live line of a terminal.  Pure.  (transfer full) */
char *gw_render_line (const GwProgress *progress);

/* --- summary.c: a report for people ------------------------------------------------------------------------------ */

/* What happened, where the VM is, what to do; several lines.  Pure.  (transfer full) */
char *gw_summary_of_report (JsonObject *report);
/* The checks as a table; several lines.  Pure.  (transfer full) */
char *gw_summary_of_checks (JsonObject *report);
/* The whole story of a job, with its timeline.  Pure.  (transfer full) */
char *gw_summary_of_story (JsonObject *report);

/* What is known of a job without a report, from its journal; several lines.  Pure.  (transfer full) */
char *gw_summary_of_row (JsonObject *job);

/* --- query.c: what commands about jobs and VMs have in common -------------------------------------------------------- */

typedef struct {
    char *agent;
    gboolean is_json;
} GwQueryOptions;
void gw_query_options_clear (GwQueryOptions *options);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (GwQueryOptions, gw_query_options_clear)
/* As gw_cli_parse(), with the options that all of these have. */
int gw_cli_parse_query (const char *name, int *argc, char ***argv, int min, int max,
                        GwQueryOptions *options);
/* One question to one agent; its answer as an object.  (transfer full) */
JsonObject *gw_cli_ask (const char *address, GwRpcMethod method, JsonObject *params, GError **error);

/* --- client.c: asking agents ---------------------------------------------------------------------------------------- */

/* Connects to the agent `address` and shakes hands. */
GwRpc *gw_cli_connect (const char *address, GMainContext *context, GError **error);
/* The agents to ask: `given`, else GODWIT_AGENT, else the host's own and every command that
 * coordinates a job now.  Addresses.  (transfer full) */
GStrv gw_cli_list_agents (const char *given);
/* Directory for the sockets of commands that coordinate.  (transfer full) */
char *gw_cli_control_dir (const GwHostConfig *config);

/* --- lost.c: the end of a job whose agent died ----------------------------------------------------------------------- */

/* The report that nobody else can make any more; `phase` is the last that was told.  NULL when the agent
 * answers and has the job.  (transfer full) */
JsonObject *gw_cli_report_lost_agent (const GwRunOptions *options, const char *job, const char *phase,
                                      const GError *why);

#endif
