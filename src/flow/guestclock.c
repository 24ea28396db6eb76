/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's clock over the move.  What it showed beside the source's clock while the guest ran there
 * is what it is to show afterwards, also if that was wrong on purpose: a move takes only its own time back.
 * Clocks of hosts that cannot be told apart count as the same.
 */
#include "job-internal.h"

#include <stdlib.h>
#include <string.h>

void
gw_job_read_guest_clock (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    GwGuestClock *clock = &job->guest_clock;
    if (!job->vm->is_running || strcmp (job->plan->guest_clock, "off") == 0)
        return;
    if (!gw_host_ask_guest_clock (job->source.host, FALSE, 0, clock, job->cancellable, &error))
        clock->why = g_strdup (error->message);
    job->has_asked_clock = TRUE;
    if (clock->has_answered)
        gw_job_note (job, GW_SIDE_SOURCE, "guest-clock", "%+.1f ms beside the host's",
                     (double) clock->offset_us / 1000);
    else
        gw_job_note (job, GW_SIDE_SOURCE, "guest-clock", "not known, the guest agent: %s", clock->why);
}

static gint64
get_aim_us (const GwJob *job)
{
    gint64 apart_us = job->destination.clock_offset_us;
    return job->guest_clock.offset_us -
           (llabs (apart_us) > job->destination.clock_error_us ? apart_us : 0);
}

/* Whatever fails here, the VM has moved. */
void
gw_job_set_guest_clock (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    GwGuestClock there = { 0 };
    if (!job->guest_clock.has_answered)
        return;
    gint64 aim_us = get_aim_us (job);
    if (!gw_host_ask_guest_clock (job->destination.host, TRUE, aim_us, &there, NULL, &error))
        there.why = g_strdup (error->message);
    g_free (job->guest_clock.why);
    job->guest_clock.why = there.why;
    if (there.has_answered) {
        job->has_guest_clock = TRUE;
        job->guest_clock_behind_us = aim_us - there.offset_us;
        job->guest_clock.left_us = there.left_us;
        job->guest_clock.is_set = there.is_set;
    }
    const char *became = there.is_set ? "set" : there.why != NULL ? there.why : "left as it is";
    gw_job_note (job, GW_SIDE_DESTINATION, "guest-clock", "%.1f ms behind: %s",
                 (double) job->guest_clock_behind_us / 1000, became);
}

JsonNode *
gw_job_report_guest_clock (const GwJob *job)
{
    JsonNode *node = json_node_new (JSON_NODE_NULL);
    const GwGuestClock *clock = &job->guest_clock;
    if (!job->has_asked_clock)
        return node;
    JsonObject *report = gw_json_new ("agent:b", clock->has_answered, "why:s", clock->why, NULL);
    if (job->has_guest_clock) {
        json_object_set_int_member (report, "behind_ms", job->guest_clock_behind_us / 1000);
        json_object_set_boolean_member (report, "corrected", clock->is_set);
        json_object_set_int_member (report, "left_ms", clock->left_us / 1000);
    }
    json_node_init_object (node, report);
    json_object_unref (report);
    return node;
}
