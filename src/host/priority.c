/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How urgent the kernel takes the processes of a job.
 *
 * While a VM moves, its bytes go through four processes, each of which works some ten microseconds to some milliseconds and then
 * waits for the next one.  On a host without idle processors each of these turns waits behind the guests', and the guest
 * that moves writes on meanwhile: fair shares make the migration long, not the guests fast.  What they take is little
 * and soon over, so they go first.
 *
 * A nice value counts within a group only.  Where the kernel makes groups of sessions (sched(7), the autogroup feature), each of
 * these processes is a session and a group of its own, with a nice value of its own in /proc/PID/autogroup.  Both are set. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOOKS_MAX 4 /* for threads that a thread with the old value makes meanwhile */

GArray *
gw_priority_list_threads (pid_t pid)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/task", (int) pid);
    g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
    GArray *threads = g_array_new (FALSE, FALSE, sizeof (pid_t));
    const char *name;
    while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
        pid_t tid = (pid_t) g_ascii_strtoull (name, NULL, 10);
        g_array_append_val (threads, tid);
    }
    return threads;
}

/* Returns whether a thread had another value. */
static gboolean
set_threads (pid_t pid, int nice)
{
    g_autoptr (GArray) threads = gw_priority_list_threads (pid);
    gboolean has_set = FALSE;
    for (guint i = 0; i < threads->len; i++) {
        id_t tid = (id_t) g_array_index (threads, pid_t, i);
        errno = 0;
        int was = getpriority (PRIO_PROCESS, tid);
        if (errno == 0 && was != nice && setpriority (PRIO_PROCESS, tid, nice) == 0)
            has_set = TRUE;
    }
    return has_set;
}

/* Of a session that is the process's own: no other is touched. */
static void
set_group (pid_t pid, int nice)
{
    if (getsid (pid) != pid)
        return;
    g_autofree char *path = g_strdup_printf ("/proc/%d/autogroup", (int) pid);
    g_autofree char *text = g_strdup_printf ("%d\n", nice);
    g_auto (GwFd) fd = open (path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0)
        (void) !write (fd, text, strlen (text)); /* best effort: it is only slower without */
}

static void
set (pid_t pid, int threads, int group)
{
    for (guint i = 0; i < LOOKS_MAX && set_threads (pid, threads); i++)
        continue;
    set_group (pid, group);
}

int
gw_priority_add (int ours, gint64 nice)
{
    return (int) CLAMP (ours + nice, GW_NICE_MIN, GW_NICE_MAX);
}

void
gw_priority_set (pid_t pid, gint64 nice)
{
    if (nice != 0)
        set (pid, gw_priority_add (getpriority (PRIO_PROCESS, (id_t) getpid ()), nice), (int) nice);
}

void
gw_priority_reset (pid_t pid)
{
    set (pid, getpriority (PRIO_PROCESS, (id_t) getpid ()), 0);
}
