/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ssh speaks to us over one socket pair as its standard input and output, and over a pipe as its
 * standard error.  It is the leader of a session of its own: Ctrl-C in the terminal must not kill
 * the connection over which the job is ended in good order, and a signal to its process group also
 * reaches the helpers that it started.  Its end is awaited through a pidfd, so nothing depends on
 * SIGCHLD, and it is reaped here and nowhere else. */

#define STDERR_KEEP_BYTES 2000
#define STDERR_KEEP_LINES 6
#define END_BY_ITSELF_MS 1000 /* after its input ended; then SIGTERM */
#define END_BY_TERM_MS 500    /* then SIGKILL */
#define END_BY_KILL_MS 300
#define EXIT_NOT_FOUND 127 /* a shell's, for a command that is not there */

typedef struct {
    GwRpc *rpc;    /* (not owned) its owner */
    char *command; /* (owned) for messages */
    GPid pid;
    GwFd pidfd;
    GwFd stderr_fd;
    GSource *exit_source;   /* (owned) */
    GSource *stderr_source; /* (owned) */
    GString *words;         /* (owned) the end of its standard error */
    gboolean is_reaped;     /* then `status` is what waitpid said */
    int status;
} Ssh;

/* --- the command line --- */

#define ALIVE_S 5
#define PATIENCE_MIN_S 30

static void
add_options (GPtrArray *argv, const GwRpcAddress *address)
{
    static const char *const options[] = {
        "-oBatchMode=yes",     /* never ask: nobody is there to answer */
        "-oConnectTimeout=10", /* seconds */
    };
    guint patience_s = MAX (address->patience_s, PATIENCE_MIN_S);
    for (guint i = 0; i < G_N_ELEMENTS (options); i++)
        g_ptr_array_add (argv, g_strdup (options[i]));
    g_ptr_array_add (argv, g_strdup_printf ("-oServerAliveInterval=%u", ALIVE_S));
    g_ptr_array_add (argv, g_strdup_printf ("-oServerAliveCountMax=%u", patience_s / ALIVE_S));
    g_ptr_array_add (argv, g_strdup ("-T"));
    if (address->port != 0) {
        g_ptr_array_add (argv, g_strdup ("-p"));
        g_ptr_array_add (argv, g_strdup_printf ("%u", address->port));
    }
    if (address->user != NULL) {
        g_ptr_array_add (argv, g_strdup ("-l"));
        g_ptr_array_add (argv, g_strdup (address->user));
    }
}

static char **
build_argv (const GwRpcAddress *address, const char *remote, GError **error)
{
    const char *program = g_getenv ("GODWIT_SSH");
    g_auto (GStrv) words = NULL;
    if (!g_shell_parse_argv (program != NULL ? program : "ssh", NULL, &words, error)) {
        (void) gw_error_adopt (error, GW_CAUSE_SSH_FAILED);
        g_prefix_error (error, "GODWIT_SSH is not a command line: ");
        return NULL;
    }
    g_autoptr (GPtrArray) argv = g_ptr_array_new_with_free_func (g_free);
    for (guint i = 0; words[i] != NULL; i++)
        g_ptr_array_add (argv, g_strdup (words[i]));
    add_options (argv, address);
    g_ptr_array_add (argv, g_strdup ("--"));
    g_ptr_array_add (argv, g_strdup (address->host));
    g_ptr_array_add (argv, g_strdup (remote));
    g_ptr_array_add (argv, NULL);
    return (char **) g_ptr_array_steal (argv, NULL);
}

static gboolean
needs_quotes (const char *word)
{
    for (const char *p = word; *p != '\0'; p++)
        if (!g_ascii_isalnum (*p) && strchr ("-_./=@:%+,", *p) == NULL)
            return TRUE;
    return word[0] == '\0';
}

/* The command as a person can run it. */
static char *
show_argv (char *const *argv)
{
    GString *out = g_string_new (NULL);
    for (guint i = 0; argv[i] != NULL; i++) {
        g_autofree char *word
            = needs_quotes (argv[i]) ? g_shell_quote (argv[i]) : g_strdup (argv[i]);
        g_string_append_printf (out, "%s%s", i > 0 ? " " : "", word);
    }
    return g_string_free (out, FALSE);
}

/* --- its last words --- */

/* Reads what is there.  FALSE at the end. */
static gboolean
read_words (Ssh *ssh)
{
    char buffer[4096];
    for (;;) {
        gssize n = read (ssh->stderr_fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        g_string_append_len (ssh->words, buffer, n);
        if (ssh->words->len > STDERR_KEEP_BYTES)
            g_string_erase (ssh->words, 0, (gssize) (ssh->words->len - STDERR_KEEP_BYTES));
    }
}

static gboolean
on_stderr (gint fd, GIOCondition condition, gpointer user_data)
{
    Ssh *ssh = user_data;
    if (read_words (ssh))
        return G_SOURCE_CONTINUE;
    gw_rpc_drop_source (&ssh->stderr_source);
    return G_SOURCE_REMOVE;
}

/* The last lines in one.  ssh ends its own with a carriage return. */
static char *
last_words (const Ssh *ssh)
{
    g_autofree char *text = g_strdelimit (g_strndup (ssh->words->str, ssh->words->len), "\r", ' ');
    g_autofree char *clean = g_strstrip (gw_text_clean (text, -1, GW_RPC_TEXT_MAX));
    g_auto (GStrv) lines = g_strsplit (clean, "\n", -1);
    guint n = g_strv_length (lines);
    char **from = lines + (n > STDERR_KEEP_LINES ? n - STDERR_KEEP_LINES : 0);
    for (char **line = from; *line != NULL; line++)
        g_strchomp (*line);
    return g_strjoinv (" / ", from);
}

static char *
describe_status (const Ssh *ssh)
{
    if (!ssh->is_reaped)
        return g_strdup_printf ("has not ended (process %d)", ssh->pid);
    if (WIFSIGNALED (ssh->status))
        return g_strdup_printf ("was killed by signal %d", WTERMSIG (ssh->status));
    return g_strdup_printf ("ended with exit status %d", WEXITSTATUS (ssh->status));
}

/* --- its end --- */

static void
signal_group (const Ssh *ssh, int signal_number)
{
    if (!ssh->is_reaped)
        (void) kill (-ssh->pid, signal_number); /* ESRCH: nobody is left, which is what we want */
}

/* Waits for the end at most `ms`, without iterating anything. */
static void
reap (Ssh *ssh, int ms)
{
    gint64 deadline_us = gw_deadline_ms ((guint) ms);
    struct pollfd fd = { .fd = ssh->pidfd, .events = POLLIN };
    siginfo_t info = { 0 };
    while (!ssh->is_reaped && poll (&fd, 1, (int) gw_deadline_left_ms (deadline_us)) < 0)
        if (errno != EINTR)
            return;
    if (ssh->is_reaped || waitid (P_PID, (id_t) ssh->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0
        || info.si_pid == 0)
        return;
    /* While the leader is not reaped its process group cannot be anybody else's. */
    signal_group (ssh, SIGTERM);
    ssh->is_reaped = waitpid (ssh->pid, &ssh->status, WNOHANG) == ssh->pid;
}

static gboolean
on_exit_of_ssh (gint fd, GIOCondition condition, gpointer user_data)
{
    Ssh *ssh = user_data;
    reap (ssh, 0);
    if (!ssh->is_reaped)
        return G_SOURCE_CONTINUE;
    gw_rpc_drop_source (&ssh->exit_source);
    (void) read_words (
        ssh); /* a helper of ssh may hold the pipe open, so do not wait for its end */
    gw_rpc_drop_source (&ssh->stderr_source);
    gw_rpc_conn_transport_settled (ssh->rpc);
    return G_SOURCE_REMOVE;
}

static gboolean
ssh_is_settled (gpointer transport)
{
    const Ssh *ssh = transport;
    return ssh->is_reaped;
}

static const char *
hint_for (const Ssh *ssh, const GError *why)
{
    if (ssh->is_reaped && WIFEXITED (ssh->status) && WEXITSTATUS (ssh->status) == EXIT_NOT_FOUND)
        return "; godwit is not installed there, or not on the PATH of a non-interactive shell";
    if (gw_error_get_cause (why) == GW_CAUSE_RPC_INVALID)
        return "; the startup files of the remote shell must print nothing";
    return "";
}

/* Before hello whatever went wrong is ssh's doing, unless the agent itself refused us. */
static GError *
ssh_explain (gpointer transport, const GError *why, gboolean had_hello)
{
    const Ssh *ssh = transport;
    g_autofree char *status = describe_status (ssh);
    g_autofree char *words = last_words (ssh);
    const char *says = words[0] != '\0' ? words : "nothing";
    GwCause cause = gw_error_get_cause (why);
    if (had_hello)
        return g_error_new (GW_ERROR, (int) cause, "%s; ssh %s and said: %s", why->message, status,
                            says);
    if (cause != GW_CAUSE_AGENT_LOST && cause != GW_CAUSE_RPC_INVALID
        && cause != GW_CAUSE_RPC_TIMEOUT)
        return NULL;
    g_autofree char *silence = g_strdup_printf ("no agent answers at %s", ssh->rpc->name);
    const char *what = cause == GW_CAUSE_AGENT_LOST ? silence : why->message;
    return g_error_new (GW_ERROR, GW_CAUSE_SSH_FAILED,
                        "%s; ssh %s and said: %s%s; the command was: %s", what, status, says,
                        hint_for (ssh, why), ssh->command);
}

static void
ssh_free (gpointer transport)
{
    Ssh *ssh = transport;
    gw_rpc_drop_source (&ssh->exit_source);
    gw_rpc_drop_source (&ssh->stderr_source);
    gw_fd_clear (&ssh->stderr_fd);
    reap (ssh, END_BY_ITSELF_MS);
    signal_group (ssh, SIGTERM);
    reap (ssh, END_BY_TERM_MS);
    signal_group (ssh, SIGKILL);
    reap (ssh, END_BY_KILL_MS);
    gw_fd_clear (&ssh->pidfd);
    g_string_free (ssh->words, TRUE);
    g_free (ssh->command);
    g_free (ssh);
}

static const GwRpcTransportOps ssh_ops = { ssh_is_settled, ssh_explain, ssh_free };

/* --- its start --- */

static void
lead_session (gpointer user_data)
{
    (void) setsid (); /* in the child, which is no leader yet: cannot fail */
}

/* Runs `argv` with `stdio_fd` as input and output.  `*ret_stderr` reads its standard error. */
static gboolean
spawn (char **argv, int stdio_fd, GPid *ret_pid, GwFd *ret_stderr, GError **error)
{
    int ends[2];
    if (pipe2 (ends, O_CLOEXEC) < 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "cannot make a pipe: %s", g_strerror (errno));
    g_auto (GwFd) read_end = ends[0];
    g_auto (GwFd) write_end = ends[1];
    if (!g_unix_set_fd_nonblocking (read_end, TRUE, error)
        || !g_spawn_async_with_pipes_and_fds (NULL, (const char *const *) argv, NULL,
                                              G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                                              lead_session, NULL, stdio_fd, stdio_fd, write_end,
                                              NULL, NULL, 0, ret_pid, NULL, NULL, NULL, error))
        return gw_error_adopt (error, GW_CAUSE_SSH_FAILED);
    *ret_stderr = gw_fd_steal (&read_end);
    return TRUE;
}

/* Takes the process.  NULL with an error when it cannot be watched. */
static Ssh *
new_ssh (GPid pid, int stderr_fd, const char *command, GError **error)
{
    Ssh *ssh = g_new0 (Ssh, 1);
    ssh->command = g_strdup (command);
    ssh->pid = pid;
    ssh->pidfd = (int) syscall (SYS_pidfd_open, pid, 0);
    ssh->stderr_fd = stderr_fd;
    ssh->words = g_string_new (NULL);
    if (ssh->pidfd >= 0)
        return ssh;
    (void) gw_fail (error, GW_CAUSE_SSH_FAILED, "cannot watch process %d (pidfd_open): %s", pid,
                    g_strerror (errno));
    ssh_free (ssh);
    return NULL;
}

static void
watch (Ssh *ssh, GMainContext *context)
{
    ssh->exit_source = g_unix_fd_source_new (ssh->pidfd, G_IO_IN);
    g_source_set_callback (ssh->exit_source, G_SOURCE_FUNC (on_exit_of_ssh), ssh, NULL);
    g_source_attach (ssh->exit_source, context);
    ssh->stderr_source = g_unix_fd_source_new (ssh->stderr_fd, G_IO_IN | G_IO_HUP);
    g_source_set_callback (ssh->stderr_source, G_SOURCE_FUNC (on_stderr), ssh, NULL);
    g_source_attach (ssh->stderr_source, context);
}

/* Starts the process.  NULL with an error. */
static Ssh *
start_ssh (const GwRpcAddress *address, int stdio_fd, GError **error)
{
    const char *remote = g_getenv ("GODWIT_REMOTE_AGENT");
    remote = remote != NULL ? remote : "godwitd --stdio";
    g_auto (GStrv) argv = build_argv (address, remote, error);
    if (argv == NULL)
        return NULL;
    g_autofree char *command = show_argv (argv);
    GPid pid;
    g_auto (GwFd) stderr_fd = -1;
    if (!spawn (argv, stdio_fd, &pid, &stderr_fd, error)) {
        g_prefix_error (error, "cannot run '%s': ", command);
        return NULL;
    }
    return new_ssh (pid, gw_fd_steal (&stderr_fd), command, error);
}

GwRpc *
gw_rpc_connect_ssh (const GwRpcAddress *address, GMainContext *context, GCancellable *cancellable,
                    GError **error)
{
    int ends[2];
    g_assert (address->kind == GW_DEST_SSH);
    if (g_cancellable_is_cancelled (cancellable)) {
        (void) gw_fail (error, GW_CAUSE_ABORTED, "aborted before ssh was started");
        return NULL;
    }
    if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        (void) gw_fail (error, GW_CAUSE_HOST_IO, "cannot make a socket pair: %s",
                        g_strerror (errno));
        return NULL;
    }
    g_auto (GwFd) theirs = ends[1];
    g_autoptr (GSocket) ours = g_socket_new_from_fd (ends[0], NULL);
    g_assert (ours != NULL); /* a stream socket of our own making */
    Ssh *ssh = start_ssh (address, theirs, error);
    if (ssh == NULL)
        return NULL;
    g_autoptr (GSocketConnection) stream = g_socket_connection_factory_create_connection (ours);
    ssh->rpc = gw_rpc_new (G_IO_STREAM (stream), context);
    gw_rpc_set_name (ssh->rpc, address->text);
    gw_rpc_conn_set_transport (ssh->rpc, &ssh_ops, ssh);
    watch (ssh, ssh->rpc->context);
    return ssh->rpc;
}
