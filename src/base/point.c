/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Points at which a test may stop a program: GODWIT_POINT is "ACTION=KIND:NAME=FILE", or "note==FILE".
 *
 *   note  each point that is reached becomes a line of FILE
 *   stop  the process writes its pid into FILE and stops (SIGSTOP) when it reaches the point for the first time
 *   drop  the same point is where an answer is lost: gw_point() is TRUE once, and FILE is written
 *
 * They are always there: what is tested is what is used.  Without the variable each is one comparison, and who can
 * set the environment of a process can stop it anyway.
 */
#include "base.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    enum { POINT_NONE, POINT_NOTE, POINT_STOP, POINT_DROP } action;
    char *name, *file;
    gint n_reached; /* atomic */
} Order;

static gpointer
read_order (gpointer unused)
{
    static const char *const actions[] = { [POINT_NOTE] = "note", [POINT_STOP] = "stop", [POINT_DROP] = "drop" };
    Order *order = g_new0 (Order, 1);
    const char *text = g_getenv ("GODWIT_POINT");
    g_auto (GStrv) parts = text != NULL ? g_strsplit (text, "=", 3) : NULL;
    if (parts == NULL || g_strv_length (parts) != 3)
        return order;
    for (guint i = POINT_NOTE; i < G_N_ELEMENTS (actions); i++)
        if (strcmp (parts[0], actions[i]) == 0)
            order->action = i;
    order->name = g_strdup (parts[1]);
    order->file = g_strdup (parts[2]);
    return order;
}

/* One line, by one write: several processes may share the file. */
static void
note (const Order *order, const char *name)
{
    g_autofree char *line = g_strdup_printf ("%d %s\n", (int) getpid (), name);
    g_auto (GwFd) fd = open (order->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void) !write (fd, line, strlen (line)); /* a test that misses it says so */
}

gboolean
gw_point (const char *kind, const char *name)
{
    static GOnce once = G_ONCE_INIT;
    Order *order = g_once (&once, read_order, NULL);
    if (order->action == POINT_NONE)
        return FALSE;
    g_autofree char *point = g_strconcat (kind, ":", name, NULL);
    if (order->action == POINT_NOTE)
        note (order, point);
    if (order->action == POINT_NOTE || strcmp (point, order->name) != 0 ||
        g_atomic_int_add (&order->n_reached, 1) != 0)
        return FALSE;
    note (order, point);
    if (order->action == POINT_STOP)
        (void) raise (SIGSTOP);
    return order->action == POINT_DROP;
}
