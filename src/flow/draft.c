/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a job has seen so far, for the agent that takes it up: in the journal of its coordinator, in the place of the report
 * that it has not yet.  An agent that is told to end writes it then; as one may be killed, it is also written with each
 * step, and every few seconds in those that wait.  What happened since the last time is lost with the process.
 */
#include "job-internal.h"

#include <string.h>

#define PAUSE_MS 5000

static const struct {
    const char *name;
    gsize offset;
} figures[] = {
#define FIGURE(member) { #member, G_STRUCT_OFFSET (GwJob, member) }
    FIGURE (setup_us), FIGURE (stop_us), FIGURE (running_us), FIGURE (switchover_us), FIGURE (postcopy_us),
#undef FIGURE
};

static gint64 *
at (GwJob *job, guint i)
{
    return (gint64 *) ((char *) job + figures[i].offset);
}

/* --- writing ------------------------------------------------------------------------------------------------- */

static JsonArray *
tell_events (const GwJob *job)
{
    JsonArray *list = json_array_new ();
    for (guint i = 0; i < gw_timeline_get_length (job->timeline); i++) {
        const GwEvent *event = gw_timeline_get (job->timeline, i);
        json_array_add_object_element (list, gw_json_new ("at_us:i", event->at_us, "side:s", gw_side_name (event->side),
                                                          "event:s", event->event, "detail:s", event->detail, NULL));
    }
    return list;
}

static JsonObject *
make (GwJob *job)
{
    JsonObject *draft = json_object_new ();
    const struct {
        const char *name;
        JsonObject *object;
    } parts[] = { { "rehearsal", job->rehearsal }, { "prediction", job->prediction }, { "probe", job->probe } };
    for (guint i = 0; i < G_N_ELEMENTS (parts); i++)
        if (parts[i].object != NULL)
            json_object_set_object_member (draft, parts[i].name, json_object_ref (parts[i].object));
    for (guint i = 0; i < G_N_ELEMENTS (figures); i++)
        json_object_set_int_member (draft, figures[i].name, *at (job, i));
    json_object_set_array_member (draft, "checks", job->old_checks != NULL ? json_array_ref (job->old_checks)
                                                                           : gw_check_to_json (job->checks));
    json_object_set_array_member (draft, "timeline", tell_events (job));
    return draft;
}

void
gw_job_write_draft (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    gboolean is_kept = job->source_grace_s > 0 || job->source_is_bound;
    gboolean is_standing = job->is_stopping && job->step < GW_STEP_postcopy; /* the guest, whose time is dear */
    guint n_events = gw_timeline_get_length (job->timeline) + gw_timeline_get_dropped (job->timeline);
    if (job->journal == NULL || !is_kept || is_standing || job->draft_events == n_events)
        return;
    g_autoptr (JsonObject) draft = make (job);
    job->draft_events = n_events;
    job->draft_due_us = gw_deadline_ms (PAUSE_MS);
    if (!gw_journal_put_draft (job->journal, job->id, draft, &error))
        g_debug ("job %s: %s; the next agent will not know what happened so far", job->id, error->message);
}

void
gw_job_follow_draft (GwJob *job)
{
    if (g_get_monotonic_time () >= job->draft_due_us)
        gw_job_write_draft (job);
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

static void
take_events (GwJob *job, JsonArray *list)
{
    for (guint i = 0; list != NULL && i < json_array_get_length (list) && i < GW_TIMELINE_MAX; i++) {
        JsonNode *node = json_array_get_element (list, i);
        JsonObject *event = JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
        if (event != NULL)
            gw_timeline_add (job->timeline, gw_json_peek_int (event, "at_us", 0),
                             gw_side_from_name (gw_json_peek_string (event, "side", "")),
                             gw_json_peek_string (event, "event", ""), gw_json_peek_string (event, "detail", ""));
    }
}

static JsonObject *
take_part (JsonObject *draft, const char *name)
{
    JsonObject *part = gw_json_peek_object (draft, name);
    return part != NULL ? json_object_ref (part) : NULL;
}

void
gw_job_take_draft (GwJob *job, JsonObject *draft)
{
    JsonArray *checks = gw_json_peek_array (draft, "checks");
    for (guint i = 0; i < G_N_ELEMENTS (figures); i++)
        *at (job, i) = MAX (gw_json_peek_int (draft, figures[i].name, 0), 0);
    job->rehearsal = take_part (draft, "rehearsal");
    job->prediction = take_part (draft, "prediction");
    job->probe = take_part (draft, "probe");
    job->old_checks = checks != NULL ? json_array_ref (checks) : NULL;
    take_events (job, gw_json_peek_array (draft, "timeline"));
}
