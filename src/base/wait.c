/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base.h"

static gboolean
on_ready (gpointer user_data)
{
    return G_SOURCE_REMOVE;
}

/* In whatever thread cancels.  (g_cancellable_source_new() would do, but GLib 2.74 sometimes leaks it
 * when it is destroyed while another thread cancels.) */
static void
on_cancelled (GCancellable *cancellable, gpointer user_data)
{
    g_main_context_wakeup (user_data);
}

/* A source that makes an iteration of `context` return at `deadline_us`. */
static GSource *
attach_deadline (GMainContext *context, gint64 deadline_us)
{
    GSource *source = g_timeout_source_new (0);
    g_source_set_ready_time (source, deadline_us);
    g_source_set_callback (source, on_ready, NULL, NULL);
    g_source_attach (source, context);
    return source;
}

gboolean
gw_wait_until (GMainContext *context, GwWaitFn done, gpointer user_data, gint64 deadline_us,
               GCancellable *cancellable, GError **error)
{
    GSource *timer = attach_deadline (context, deadline_us);
    gulong handler =
        cancellable != NULL
            ? g_cancellable_connect (cancellable, G_CALLBACK (on_cancelled), context, NULL)
            : 0;
    gboolean ok;
    while (!(ok = done (user_data))) {
        if (g_cancellable_is_cancelled (cancellable)) {
            gw_fail (error, GW_CAUSE_ABORTED, "aborted while waiting");
            break;
        }
        if (g_get_monotonic_time () >= deadline_us) {
            gw_fail (error, GW_CAUSE_TIMED_OUT, "no answer within the time limit");
            break;
        }
        g_main_context_iteration (context, TRUE);
    }
    if (handler != 0)
        g_cancellable_disconnect (cancellable, handler);
    g_source_destroy (timer);
    g_source_unref (timer);
    return ok;
}

static gboolean
never (gpointer user_data)
{
    return FALSE;
}

gboolean
gw_wait_ms (GMainContext *context, guint ms, GCancellable *cancellable, GError **error)
{
    (void) gw_wait_until (context, never, NULL, gw_deadline_ms (ms), cancellable, NULL);
    if (g_cancellable_is_cancelled (cancellable))
        return gw_fail (error, GW_CAUSE_ABORTED, "aborted while waiting");
    return TRUE;
}

gint64
gw_deadline_ms (guint ms)
{
    return g_get_monotonic_time () + (gint64) ms * 1000;
}

guint
gw_deadline_left_ms (gint64 deadline_us)
{
    gint64 left = deadline_us - g_get_monotonic_time ();
    return left > 0 ? (guint) MIN (left / 1000, G_MAXUINT) : 0;
}
