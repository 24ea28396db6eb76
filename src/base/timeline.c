/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base.h"

struct _GwTimeline {
    GPtrArray *events; /* GwEvent, owned */
    guint dropped;
};

static void
event_free (gpointer data)
{
    GwEvent *event = data;
    g_free (event->event);
    g_free (event->detail);
    g_free (event);
}

GwTimeline *
gw_timeline_new (void)
{
    GwTimeline *timeline = g_new0 (GwTimeline, 1);
    timeline->events = g_ptr_array_new_with_free_func (event_free);
    return timeline;
}

void
gw_timeline_free (GwTimeline *timeline)
{
    if (timeline == NULL)
        return;
    g_ptr_array_unref (timeline->events);
    g_free (timeline);
}

void
gw_timeline_add (GwTimeline *timeline, gint64 at_us, GwSide side, const char *event,
                 const char *detail)
{
    if (timeline->events->len >= GW_TIMELINE_MAX) {
        timeline->dropped++;
        return;
    }
    GwEvent *e = g_new0 (GwEvent, 1);
    e->at_us = at_us != 0 ? at_us : g_get_real_time ();
    e->side = side;
    e->event = gw_text_clean (event, -1, 64);
    e->detail = gw_text_clean (detail != NULL ? detail : "", -1, GW_DETAIL_MAX);

    /* Events of the other host arrive a moment late: keep the list in order of time. */
    guint at = timeline->events->len;
    while (at > 0 && ((GwEvent *) timeline->events->pdata[at - 1])->at_us > e->at_us)
        at--;
    g_ptr_array_insert (timeline->events, (int) at, e);
}

guint
gw_timeline_get_length (const GwTimeline *timeline)
{
    return timeline->events->len;
}

const GwEvent *
gw_timeline_get (const GwTimeline *timeline, guint index)
{
    g_assert (index < timeline->events->len);
    return timeline->events->pdata[index];
}

guint
gw_timeline_get_dropped (const GwTimeline *timeline)
{
    return timeline->dropped;
}
