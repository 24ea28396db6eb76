/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LAST_WORDS_MAX 1500

struct _GwProcess {
    GSubprocess *child; /* NULL: it is not ours */
    GwPidWatch *watch;  /* then this */
    GMainContext *context;
    pid_t pid;
    char *log_path;
    gboolean has_ended;
    GwOomWatch *oom;
    gboolean is_out_of_memory; /* it was killed for it */
    gboolean is_forgotten; /* freed by its owner; the callback frees the rest */
    GwProcessExitFn exit_fn;
    gpointer user_data;
};

/* What the child does before exec: only async-signal-safe calls. */
typedef struct {
    uid_t uid;
    gid_t gid;
    gboolean becomes_user;
    gboolean dies_with_us;
} ChildSetup;

static void
setup_child (gpointer user_data)
{
    const ChildSetup *setup = user_data;
    (void) setsid (); /* fails only for a session leader, which a fresh child is not */
    signal (SIGPIPE, SIG_DFL);
    gw_fd_make_table (); /* a QEMU opens two a virtqueue in the moment in which its guest starts */
    if (setup->becomes_user &&
        (setgroups (0, NULL) != 0 || setgid (setup->gid) != 0 || setuid (setup->uid) != 0))
        _exit (126);
    if (setup->dies_with_us && prctl (PR_SET_PDEATHSIG, SIGKILL) != 0) /* setuid() forgets it */
        _exit (126);
}

static gboolean
prepare_setup (const char *user, ChildSetup *setup, GError **error)
{
    char buffer[4096];
    struct passwd entry, *found = NULL;
    *setup = (ChildSetup) { 0 };
    if (user == NULL || geteuid () != 0)
        return TRUE;
    if (getpwnam_r (user, &entry, buffer, sizeof buffer, &found) != 0 || found == NULL)
        return gw_fail (error, GW_CAUSE_HOST_IO, "user '%s' does not exist on this host", user);
    *setup = (ChildSetup) { found->pw_uid, found->pw_gid, found->pw_uid != 0, FALSE };
    return TRUE;
}

static void
process_unref (GwProcess *process)
{
    g_clear_object (&process->child);
    gw_pid_watch_free (process->watch);
    g_main_context_unref (process->context);
    gw_oom_watch_free (process->oom);
    g_free (process->log_path);
    g_free (process);
}

static void
on_end (GObject *object, GAsyncResult *result, gpointer user_data)
{
    GwProcess *process = user_data;
    (void) g_subprocess_wait_finish (G_SUBPROCESS (object), result, NULL);
    process->has_ended = TRUE;
    process->is_out_of_memory = g_subprocess_get_if_signaled (process->child) &&
                                gw_oom_watch_has_killed (process->oom);
    if (process->is_forgotten)
        process_unref (process);
    else if (process->exit_fn != NULL)
        process->exit_fn (process, process->user_data);
}

static int
open_log (const char *path, GError **error)
{
    int fd = open (path != NULL ? path : "/dev/null",
                   O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (path != NULL ? O_NOFOLLOW : 0),
                   0600);
    if (fd < 0)
        gw_fail (error, GW_CAUSE_HOST_IO, "'%s': %s", path, g_strerror (errno));
    return fd;
}

static void
close_fds (const GwProcessSpec *spec)
{
    for (guint i = 0; i < spec->n_fds; i++)
        (void) close (spec->fds[i]);
}

static GSubprocess *
spawn (const GwProcessSpec *spec, ChildSetup *setup, int log_fd, GError **error)
{
    g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_NONE);
    if (spec->cwd != NULL)
        g_subprocess_launcher_set_cwd (launcher, spec->cwd);
    g_subprocess_launcher_set_child_setup (launcher, setup_child, setup, NULL);
    g_subprocess_launcher_take_fd (launcher, fcntl (log_fd, F_DUPFD_CLOEXEC, 3), STDOUT_FILENO);
    g_subprocess_launcher_take_fd (launcher, log_fd, STDERR_FILENO);
    g_subprocess_launcher_take_fd (launcher, open ("/dev/null", O_RDONLY | O_CLOEXEC),
                                   STDIN_FILENO);
    for (guint i = 0; i < spec->n_fds; i++)
        g_subprocess_launcher_take_fd (launcher, spec->fds[i], (int) i + 3);
    GSubprocess *child = g_subprocess_launcher_spawnv (launcher, spec->argv, error);
    if (child == NULL) {
        gw_error_adopt (error, GW_CAUSE_HOST_IO);
        g_prefix_error (error, "cannot start '%s': ", spec->argv[0]);
    }
    return child;
}

GwProcess *
gw_process_spawn (const GwProcessSpec *spec, GMainContext *context, GwProcessExitFn exit_fn,
                  gpointer user_data, GError **error)
{
    ChildSetup setup;
    int log_fd = -1;
    if (!prepare_setup (spec->user, &setup, error) ||
        (log_fd = open_log (spec->log_path, error)) < 0) {
        close_fds (spec);
        return NULL;
    }
    setup.dies_with_us = spec->dies_with_us;
    /* the callback of the wait below must come in our context */
    g_main_context_push_thread_default (context);
    GSubprocess *child = spawn (spec, &setup, log_fd, error);
    GwProcess *process = NULL;
    if (child != NULL) {
        process = g_new0 (GwProcess, 1);
        process->child = child;
        process->context = g_main_context_ref (context);
        const char *id = g_subprocess_get_identifier (child); /* NULL: it has ended already */
        process->pid = id != NULL ? (pid_t) g_ascii_strtoll (id, NULL, 10) : 0;
        process->oom = gw_oom_watch_new (process->pid);
        process->log_path = g_strdup (spec->log_path);
        process->exit_fn = exit_fn;
        process->user_data = user_data;
        g_subprocess_wait_async (child, NULL, on_end, process);
    }
    g_main_context_pop_thread_default (context);
    return process;
}

static gboolean
on_adopted_end (gpointer user_data)
{
    GwProcess *process = user_data;
    process->has_ended = TRUE;
    if (process->exit_fn != NULL)
        process->exit_fn (process, process->user_data);
    return G_SOURCE_REMOVE;
}

GwProcess *
gw_process_adopt (pid_t pid, gint64 start_time, const char *log_path, GMainContext *context,
                  GwProcessExitFn exit_fn, gpointer user_data)
{
    g_autofree GwProcess *process = g_new0 (GwProcess, 1);
    g_autofree char *log = g_strdup (log_path);
    process->watch = gw_pid_watch_new (pid, context, on_adopted_end, process);
    if (process->watch == NULL)
        return NULL;
    if (gw_procfs_get_start_time (pid) != start_time) { /* looked at once the process cannot change any more */
        gw_pid_watch_free (process->watch);
        return NULL;
    }
    process->context = g_main_context_ref (context);
    process->pid = pid;
    process->oom = gw_oom_watch_new (pid);
    process->log_path = g_steal_pointer (&log);
    process->exit_fn = exit_fn;
    process->user_data = user_data;
    return g_steal_pointer (&process);
}

gboolean
gw_process_is_running (const GwProcess *process)
{
    return !process->has_ended;
}

pid_t
gw_process_get_pid (const GwProcess *process)
{
    return process->pid;
}

char *
gw_process_read_log (const char *log_path, gsize max)
{
    g_autofree char *text = NULL;
    gsize len = 0;
    if (log_path == NULL || !g_file_get_contents (log_path, &text, &len, NULL))
        return g_strdup ("");
    gsize from = len > max ? len - max : 0;
    char *clean = gw_text_clean (text + from, (gssize) (len - from), 4 * max);
    return g_strchomp (clean);
}

char *
gw_process_describe_end (const GwProcess *process)
{
    g_autofree char *words = gw_process_read_log (process->log_path, LAST_WORDS_MAX);
    if (process->has_ended && process->child == NULL)
        return g_strdup (gw_pid_watch_describe_end (process->watch));
    if (!process->has_ended)
        return *words != '\0' ? g_strdup_printf ("still runs; its last words: %s", words)
                              : g_strdup ("still runs");
    return gw_ending_describe (g_subprocess_get_status (process->child), process->is_out_of_memory,
                               words);
}

static gboolean
has_ended (gpointer user_data)
{
    return ((GwProcess *) user_data)->has_ended;
}

gboolean
gw_process_wait (GwProcess *process, guint timeout_ms, GError **error)
{
    return gw_wait_until (process->context, has_ended, process, gw_deadline_ms (timeout_ms), NULL,
                          error);
}

static void
send_signal (GwProcess *process, int number)
{
    if (process->has_ended)
        return;
    if (process->child != NULL)
        g_subprocess_send_signal (process->child, number);
    else
        gw_pid_watch_signal (process->watch, number);
}

void
gw_process_terminate (GwProcess *process)
{
    send_signal (process, SIGTERM);
}

void
gw_process_stop (GwProcess *process, guint grace_ms)
{
    if (process->has_ended)
        return;
    gw_process_terminate (process);
    if (gw_process_wait (process, grace_ms, NULL))
        return;
    send_signal (process, SIGKILL);
    (void) gw_process_wait (process, 10000, NULL); /* a process in an uninterruptible wait stays */
}

void
gw_process_free (GwProcess *process)
{
    if (process == NULL)
        return;
    process->exit_fn = NULL;
    if (process->has_ended || process->child == NULL)
        process_unref (process);
    else
        process->is_forgotten = TRUE;
}
