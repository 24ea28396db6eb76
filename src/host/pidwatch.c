/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <glib-unix.h>
#include <sys/syscall.h>
#include <unistd.h>

struct _GwPidWatch {
    pid_t pid;
    GwFd fd;
    GwFd words;        /* its standard error, -1: not a file */
    gint64 words_from; /* what is older is not about us */
    GwOomWatch *oom;
    GSource *source;
    char *ending; /* NULL while it runs */
    GSourceFunc exit_fn;
    gpointer user_data;
};

char *
gw_pid_watch_read_words (const GwPidWatch *watch)
{
    return gw_ending_read_words (watch->words, watch->words_from);
}

/* Asked at once: its parent may take the status away at any moment. */
static gboolean
on_readable (gint fd, GIOCondition condition, gpointer user_data)
{
    GwPidWatch *watch = user_data;
    int status = gw_ending_read_status (watch->pid, watch->fd);
    g_autofree char *words = gw_pid_watch_read_words (watch);
    watch->ending = gw_ending_describe (status, gw_oom_watch_has_killed (watch->oom), words);
    (void) watch->exit_fn (watch->user_data);
    return G_SOURCE_REMOVE;
}

GwPidWatch *
gw_pid_watch_new (pid_t pid, GMainContext *context, GSourceFunc exit_fn, gpointer user_data)
{
    int fd = (int) syscall (SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return NULL;
    GwPidWatch *watch = g_new0 (GwPidWatch, 1);
    watch->pid = pid;
    watch->fd = fd;
    watch->words = gw_ending_open_stderr (pid, &watch->words_from);
    watch->oom = gw_oom_watch_new (pid);
    watch->exit_fn = exit_fn;
    watch->user_data = user_data;
    watch->source = g_unix_fd_source_new (fd, G_IO_IN);
    g_source_set_callback (watch->source, G_SOURCE_FUNC (on_readable), watch, NULL);
    g_source_attach (watch->source, context);
    return watch;
}

void
gw_pid_watch_signal (const GwPidWatch *watch, int number)
{
    (void) syscall (SYS_pidfd_send_signal, watch->fd, number, NULL, 0); /* one that is gone needs none */
}

gboolean
gw_pid_watch_is_running (const GwPidWatch *watch)
{
    return watch->ending == NULL;
}

const char *
gw_pid_watch_describe_end (const GwPidWatch *watch)
{
    return watch->ending != NULL ? watch->ending : "still runs";
}

void
gw_pid_watch_free (GwPidWatch *watch)
{
    if (watch == NULL)
        return;
    g_source_destroy (watch->source);
    g_source_unref (watch->source);
    gw_oom_watch_free (watch->oom);
    gw_fd_clear (&watch->words);
    gw_fd_clear (&watch->fd);
    g_free (watch->ending);
    g_free (watch);
}
