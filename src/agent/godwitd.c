/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwitd: the host agent, as a daemon or (--stdio) for one job over ssh. */
#include "agent.h"
#include "notify.h"

#include <gio/gunixinputstream.h>
#include <gio/gunixoutputstream.h>
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_MS 5000 /* until chores are done for the first time */

typedef struct {
    const GwHostConfig *config;
    GCancellable *stopping;
    GwAgent *agent;
} Mender;

typedef struct {
    char *socket, *state, *config;
    char **data_addresses;
    gboolean is_stdio, shows_version;
} Options;

static gboolean
parse_options (int argc, char **argv, Options *options, GError **error)
{
    char *addresses = NULL;
    const GOptionEntry entries[] = {
        { "socket", 0, 0, G_OPTION_ARG_FILENAME, &options->socket,
          "Serve on the unix socket PATH (" GW_HOST_SOCKET ")", "PATH" },
        { "state", 0, 0, G_OPTION_ARG_FILENAME, &options->state,
          "Keep jobs and the journal in DIR (/var/lib/godwit)", "DIR" },
        { "data-address", 0, 0, G_OPTION_ARG_STRING, &addresses,
          "Receive VMs on these addresses only (all)", "ADDR[,ADDR]" },
        { "config", 0, 0, G_OPTION_ARG_FILENAME, &options->config,
          "Read this configuration file (root: " GW_HOST_CONFIG_FILE ")", "FILE" },
        { "stdio", 0, 0, G_OPTION_ARG_NONE, &options->is_stdio,
          "Serve one peer on standard input and output", NULL },
        { "version", 0, 0, G_OPTION_ARG_NONE, &options->shows_version, "Print the version", NULL },
        { NULL, 0, 0, 0, NULL, NULL, NULL },
    };
    g_autoptr (GOptionContext) context = g_option_context_new (NULL);
    g_option_context_set_summary (context, "The host agent of godwit: receives and sends VMs.");
    g_option_context_set_description (context, "See godwitd(8).\n");
    g_option_context_add_main_entries (context, entries, NULL);
    if (!g_option_context_parse (context, &argc, &argv, error))
        return gw_error_adopt (error, GW_CAUSE_USAGE);
    options->data_addresses = addresses != NULL ? g_strsplit (addresses, ",", -1) : NULL;
    g_free (addresses);
    if (argc > 1)
        return gw_fail (error, GW_CAUSE_USAGE, "'%s' is not an option", argv[1]);
    if (options->is_stdio && options->socket != NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "--stdio and --socket exclude each other");
    return TRUE;
}

static void
options_clear (Options *options)
{
    g_free (options->socket);
    g_free (options->state);
    g_free (options->config);
    g_strfreev (options->data_addresses);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Options, options_clear)

static GwHostConfig *
make_config (const Options *options, GError **error)
{
    g_autoptr (GwHostConfig) config = gw_host_config_new (NULL);
    if (!(options->config != NULL ? gw_host_config_load (config, options->config, error)
                                  : gw_host_config_load_default (config, error)))
        return NULL;
    if (options->state != NULL)
        gw_host_config_set_state_dir (config, options->state);
    if (options->data_addresses != NULL) {
        g_strfreev (config->data_addresses);
        config->data_addresses = g_strdupv (options->data_addresses);
    }
    if (options->is_stdio)
        config->grace_s = 0; /* nobody starts it again, or would take apart what is left */
    if (options->socket != NULL) {
        g_free (config->socket);
        config->socket = g_strdup (options->socket);
    }
    return g_steal_pointer (&config);
}

typedef struct {
    GwAgent *agent;
    const Options *options;
} Server;

/* A file that is wrong changes nothing. */
static gboolean
on_hangup (gpointer user_data)
{
    const Server *server = user_data;
    g_autoptr (GError) error = NULL;
    gw_notify_reloading ();
    g_autoptr (GwHostConfig) fresh = make_config (server->options, &error);
    if (fresh != NULL && gw_agent_set_config (server->agent, fresh, &error))
        g_message ("the configuration was read again, and holds for new connections and jobs");
    else
        g_warning ("the configuration was read again, and is refused: %s; it stays as it was", error->message);
    gw_notify_reloaded ();
    return G_SOURCE_CONTINUE;
}

static gboolean
on_signal (gpointer user_data)
{
    g_main_loop_quit (user_data);
    return G_SOURCE_CONTINUE;
}

/* Commands and one-job agents on the same journal may be killed at any time. */
static void
mend (const Mender *mender, GMainContext *context)
{
    g_autoptr (GError) error = NULL;
    if (!gw_host_mend (mender->config, context, GW_JOURNAL_QUICK, &error))
        g_debug ("%s", error->message);
}

static void
settle (const Mender *mender, GMainContext *context)
{
    gw_agent_take_up_jobs (mender->agent); /* of commands that ended in postcopy */
    gw_agent_settle (mender->config, context, mender->stopping);
}

/* Each in a thread of its own: a host that does not answer holds up nothing else. */
static const struct {
    const char *name;
    guint every_ms;
    void (*work) (const Mender *mender, GMainContext *context);
} chores[] = {
    { "mender", 5000, mend },     /* looks at jobs that nobody works on any more */
    { "settler", 30000, settle }, /* asks other hosts about them */
};

typedef struct {
    const Mender *mender;
    guint chore;
} Worker;

static gpointer
work_on (gpointer user_data)
{
    const Worker *worker = user_data;
    g_autoptr (GMainContext) context = g_main_context_new ();
    guint wait_ms = FIRST_MS;
    g_main_context_push_thread_default (context);
    while (gw_wait_ms (context, wait_ms, worker->mender->stopping, NULL)) {
        chores[worker->chore].work (worker->mender, context);
        wait_ms = chores[worker->chore].every_ms;
    }
    g_main_context_pop_thread_default (context);
    return NULL;
}

static gboolean
listen (GwAgent *agent, GError **error)
{
    g_autoptr (GwHostConfig) config = gw_agent_copy_config (agent);
    if (!gw_agent_listen (agent, config->socket, 0600, error) || !gw_agent_listen_peers (agent, error))
        return FALSE;
    g_message ("godwitd %s serves on %s", GW_VERSION, config->socket);
    for (gsize i = 0; config->listen[i] != NULL; i++)
        g_message ("godwitd %s serves peers on %s", GW_VERSION, config->listen[i]);
    return TRUE;
}

static gboolean
serve_socket (GwAgent *agent, const Options *options, GError **error)
{
    Server server = { agent, options };
    g_autoptr (GwHostConfig) config = gw_agent_copy_config (agent);
    g_autoptr (GMainLoop) loop = g_main_loop_new (NULL, FALSE);
    g_autoptr (GCancellable) stopping = g_cancellable_new ();
    Mender mender = { config, stopping, agent }; /* of which directories it is, which does not change */
    if (!listen (agent, error))
        return FALSE;
    g_unix_signal_add (SIGTERM, on_signal, loop);
    g_unix_signal_add (SIGINT, on_signal, loop);
    g_unix_signal_add (SIGHUP, on_hangup, &server);
    gw_agent_take_up_jobs (agent);
    gw_notify_ready (agent);
    GThread *threads[G_N_ELEMENTS (chores)];
    Worker workers[G_N_ELEMENTS (chores)];
    for (guint i = 0; i < G_N_ELEMENTS (chores); i++) {
        workers[i] = (Worker) { &mender, i };
        threads[i] = g_thread_new (chores[i].name, work_on, &workers[i]);
    }
    g_main_loop_run (loop);
    gw_notify_stopping ();
    g_cancellable_cancel (stopping);
    for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
        g_thread_join (threads[i]);
    return TRUE;
}

/* Standard output belongs to the protocol: whatever else is printed goes to standard error. */
static void
serve_stdio (GwAgent *agent)
{
    int in = dup (STDIN_FILENO), out = dup (STDOUT_FILENO);
    (void) dup2 (STDERR_FILENO, STDOUT_FILENO);
    g_autoptr (GInputStream) input = g_unix_input_stream_new (in, TRUE);
    g_autoptr (GOutputStream) output = g_unix_output_stream_new (out, TRUE);
    g_autoptr (GIOStream) stream = g_simple_io_stream_new (input, output);
    gw_agent_serve (agent, stream, NULL);
}

/* One line an entry, on standard error, whatever the level: standard output may be the protocol's. */
static GLogWriterOutput
write_log (GLogLevelFlags level, const GLogField *fields, gsize n_fields, gpointer user_data)
{
    if (level & G_LOG_LEVEL_DEBUG && g_getenv ("G_MESSAGES_DEBUG") == NULL)
        return G_LOG_WRITER_HANDLED;
    for (gsize i = 0; i < n_fields; i++)
        if (g_strcmp0 (fields[i].key, "MESSAGE") == 0)
            fprintf (stderr, "godwitd: %s\n", (const char *) fields[i].value);
    return G_LOG_WRITER_HANDLED;
}

static int
fail (const GError *error)
{
    fprintf (stderr, "godwitd: %s\n", error->message);
    return gw_cause_get_info (gw_error_get_cause (error))->exit_status;
}

int
main (int argc, char **argv)
{
    g_auto (Options) options = { 0 };
    g_autoptr (GError) error = NULL;
    g_autoptr (GwHostConfig) config = NULL;
    g_log_set_writer_func (write_log, NULL, NULL);
    gw_fd_make_table ();
    if (!parse_options (argc, argv, &options, &error))
        return fail (error);
    if (options.shows_version) {
        printf ("godwitd %s\n", GW_VERSION);
        return 0;
    }
    if ((config = make_config (&options, &error)) == NULL ||
        !gw_host_mend (config, g_main_context_default (), GW_JOURNAL_CHECKED, &error) ||
        !gw_host_make_directories (config, &error))
        return fail (error);
    /* jobs of this agent go to peers with the same certificates; no thread runs yet */
    g_setenv ("GODWIT_CERTIFICATES", config->certificates, FALSE);
    g_autoptr (GwAgent) agent = gw_agent_new (config);
    if (options.is_stdio)
        serve_stdio (agent);
    else if (!serve_socket (agent, &options, &error))
        return fail (error);
    return 0;
}
