/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The timeline as a story: what another event caused comes after it, whatever the clocks said. */
#include "job-internal.h"

#include <string.h>

/* Events that are signs.  Of QEMU's end and its migration the detail says which. */
static const struct {
    const char *event;
    GwSignKind kind;
} kinds[] = {
    { "shutdown", GW_SIGN_GUEST_OFF },         { "qmp-closed", GW_SIGN_MONITOR_CLOSED },
    { "courier-exit", GW_SIGN_COURIER_EXIT },  { "courier-failed", GW_SIGN_LINK_LOST },
    { "agent-lost", GW_SIGN_AGENT_LOST },      { "lane-eof", GW_SIGN_LANE_ENDED },
    { "lane-closed", GW_SIGN_LANE_ENDED },     { "path-down", GW_SIGN_PATH_DOWN },
    { "block-stop", GW_SIGN_DISK },            { "block-error", GW_SIGN_DISK_NOTE },
    { "disk-server-exit", GW_SIGN_DISK_SERVER }, { "disk-error", GW_SIGN_DISK_COPY },
    { "failed", GW_SIGN_STEP },
};

static GwSignKind
kind_of_event (const GwEvent *event)
{
    if (strcmp (event->event, "qemu-exit") == 0)
        return gw_job_kind_of_exit (event->detail);
    if (strcmp (event->event, "migration") == 0 && strcmp (event->detail, "failed") == 0)
        return GW_SIGN_MIGRATION;
    for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
        if (strcmp (kinds[i].event, event->event) == 0)
            return kinds[i].kind;
    return GW_SIGN_OTHER;
}

typedef struct {
    GwSign sign; /* first, to be ordered as one */
    const GwEvent *event;
} Line;

static GPtrArray *
make_lines (const GwJob *job)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func (g_free);
    for (guint i = 0; i < gw_timeline_get_length (job->timeline); i++) {
        Line *line = g_new0 (Line, 1);
        line->event = gw_timeline_get (job->timeline, i);
        line->sign.kind = kind_of_event (line->event);
        line->sign.side = line->event->side;
        line->sign.at_us = line->event->at_us;
        if (line->event->side == GW_SIDE_DESTINATION)
            line->sign.error_us = job->destination.clock_error_us;
        g_ptr_array_add (lines, line);
    }
    return lines;
}

JsonArray *
gw_job_tell_story (const GwJob *job)
{
    JsonArray *list = json_array_new ();
    g_autoptr (GPtrArray) lines = make_lines (job);
    gw_verdict_order (lines);
    for (guint i = 0; i < lines->len; i++) {
        const Line *line = lines->pdata[i];
        json_array_add_object_element (
            list, gw_json_new ("at_ms:i", (line->sign.at_us - job->started_us) / 1000, "side:s",
                               gw_side_name (line->event->side), "event:s", line->event->event,
                               "detail:s", line->event->detail, NULL));
    }
    return list;
}
