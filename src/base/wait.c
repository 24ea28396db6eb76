/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base.h"

static gboolean
on_ready (gpointer user_data)
{
    return G_SOURCE_REMOVE;
}

static gboolean
on_cancelled (GCancellable *cancellable, gpointer user_data)
{
    return G_SOURCE_REMOVE;
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

static GSource *
attach_cancellable (GMainContext *context, GCancellable *cancellable)
{
    if (cancellable == NULL)
        return NULL;
    GSource *source = g_cancellable_source_new (cancellable);
    g_source_set_callback (source, G_SOURCE_FUNC (on_cancelled), NULL, NULL);
    g_source_attach (source, context);
    return source;
}

static void
detach (GSource *source)
{
    if (source == NULL)
        return;
    g_source_destroy (source);
    g_source_unref (source);
}

gboolean
gw_wait_until (GMainContext *context, GwWaitFn done, gpointer user_data, gint64 deadline_us,
               GCancellable *cancellable, GError **error)
{
    GSource *timer = attach_deadline (context, deadline_us);
    GSource *cancel = attach_cancellable (context, cancellable);
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
    detach (timer);
    detach (cancel);
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
