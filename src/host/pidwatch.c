/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <glib-unix.h>
#include <sys/syscall.h>
#include <unistd.h>

struct _GwPidWatch {
    GwFd fd;
    GSource *source;
    gboolean has_ended;
    GSourceFunc exit_fn;
    gpointer user_data;
};

static gboolean
on_readable (gint fd, GIOCondition condition, gpointer user_data)
{
    GwPidWatch *watch = user_data;
    watch->has_ended = TRUE;
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
    watch->fd = fd;
    watch->exit_fn = exit_fn;
    watch->user_data = user_data;
    watch->source = g_unix_fd_source_new (fd, G_IO_IN);
    g_source_set_callback (watch->source, G_SOURCE_FUNC (on_readable), watch, NULL);
    g_source_attach (watch->source, context);
    return watch;
}

gboolean
gw_pid_watch_is_running (const GwPidWatch *watch)
{
    return !watch->has_ended;
}

void
gw_pid_watch_free (GwPidWatch *watch)
{
    if (watch == NULL)
        return;
    g_source_destroy (watch->source);
    g_source_unref (watch->source);
    gw_fd_clear (&watch->fd);
    g_free (watch);
}
