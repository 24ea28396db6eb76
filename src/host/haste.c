/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The threads that a QEMU makes for its migration go before its guest.
 *
 * They have no names of their own (but with -name debug-threads=on), so they are those that were not there before `migrate`
 * was said and are when the migration is active.  One of another kind may be among them, a worker of the block layer say: all of
 * them are as they were once the migration has ended.  The guest's processors are older and stay as they are. */
#include "process.h"

#include <errno.h>
#include <sys/resource.h>

typedef struct {
    pid_t tid;
    int nice; /* before */
} Raised;

struct _GwHaste {
    pid_t pid;
    GArray *known;  /* of pid_t: threads of before */
    GArray *raised; /* Raised */
};

GwHaste *
gw_haste_new (pid_t pid)
{
    GwHaste *haste = g_new0 (GwHaste, 1);
    haste->pid = pid;
    haste->known = gw_priority_list_threads (pid);
    haste->raised = g_array_new (FALSE, FALSE, sizeof (Raised));
    return haste;
}

static gboolean
is_among (const GArray *threads, pid_t tid)
{
    for (guint i = 0; i < threads->len; i++)
        if (g_array_index (threads, pid_t, i) == tid)
            return TRUE;
    return FALSE;
}

void
gw_haste_begin (GwHaste *haste, gint64 nice)
{
    g_autoptr (GArray) now = gw_priority_list_threads (haste->pid);
    for (guint i = 0; nice != 0 && i < now->len; i++) {
        pid_t tid = g_array_index (now, pid_t, i);
        if (is_among (haste->known, tid))
            continue;
        g_array_append_val (haste->known, tid);
        errno = 0;
        const Raised raised = { tid, getpriority (PRIO_PROCESS, (id_t) tid) };
        if (errno == 0 && setpriority (PRIO_PROCESS, (id_t) tid, gw_priority_add (raised.nice, nice)) == 0)
            g_array_append_val (haste->raised, raised);
    }
}

void
gw_haste_free (GwHaste *haste)
{
    if (haste == NULL)
        return;
    g_autoptr (GArray) now = gw_priority_list_threads (haste->pid);
    for (guint i = 0; i < haste->raised->len; i++) {
        const Raised *raised = &g_array_index (haste->raised, Raised, i);
        if (is_among (now, raised->tid)) /* else the number may be another process's by now */
            (void) setpriority (PRIO_PROCESS, (id_t) raised->tid, raised->nice); /* it may end this very moment */
    }
    g_array_unref (haste->known);
    g_array_unref (haste->raised);
    g_free (haste);
}
