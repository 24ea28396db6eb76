/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <errno.h>

void
gw_polls_init (GwPolls *polls)
{
    polls->entries = g_array_new (FALSE, FALSE, sizeof (struct pollfd));
    gw_polls_reset (polls);
}

void
gw_polls_clear (GwPolls *polls)
{
    g_clear_pointer (&polls->entries, g_array_unref);
}

void
gw_polls_reset (GwPolls *polls)
{
    g_array_set_size (polls->entries, 0);
    polls->due_us = G_MAXINT64;
}

guint
gw_polls_add (GwPolls *polls, int fd, short events)
{
    const struct pollfd entry = { .fd = fd, .events = events };
    g_array_append_val (polls->entries, entry);
    return polls->entries->len - 1;
}

void
gw_polls_add_due (GwPolls *polls, gint64 due_us)
{
    polls->due_us = MIN (polls->due_us, due_us);
}

short
gw_polls_get (const GwPolls *polls, guint place)
{
    g_assert (place < polls->entries->len);
    return g_array_index (polls->entries, struct pollfd, place).revents;
}

/* Fractions of a millisecond count: a path may wait for less than that before it sends again. */
gboolean
gw_polls_wait (GwPolls *polls, GError **error)
{
    gint64 now_us = g_get_monotonic_time (); /* once: MAX() looks twice, and the second may be past it */
    gint64 left_us = MAX (polls->due_us - now_us, 0);
    const struct timespec limit = { .tv_sec = left_us / G_USEC_PER_SEC,
                                    .tv_nsec = left_us % G_USEC_PER_SEC * 1000 };
    int n = ppoll ((struct pollfd *) (gpointer) polls->entries->data, polls->entries->len,
                   polls->due_us == G_MAXINT64 ? NULL : &limit, NULL);
    polls->is_quiet = n == 0;
    if (n >= 0)
        return TRUE;
    if (errno != EINTR)
        return gw_fail (error, GW_CAUSE_INTERNAL, "poll: %s", g_strerror (errno));
    for (guint i = 0; i < polls->entries->len; i++)
        g_array_index (polls->entries, struct pollfd, i).revents = 0;
    return TRUE;
}
