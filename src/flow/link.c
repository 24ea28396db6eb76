/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The link as the job sees it: its outages, and the proof that it needs before the last step. */
#include "job-internal.h"

#include <string.h>

/* With the guest stopped a longer outage costs more than another attempt: this many times the allowed
 * downtime, within these bounds.  Silence is noticed after 2 s, so that much comes on top. */
#define SWITCHOVER_SHARE 4
#define SWITCHOVER_MIN_S 2
#define SWITCHOVER_MAX_S 10
/* Least time for the proof: a busy link of long way still answers. */
#define PROBE_MIN_MS 1000
#define PROBE_TURN_MS 2000
#define PATIENCE_SLACK_S 60

/* --- what the couriers say ------------------------------------------------------------------------------- */

static void
on_outage (GwJob *job, gint64 at_us, JsonObject *message)
{
    job->outage_us = at_us;
    gw_job_report_progress (job, FALSE);
}

static void
on_resumed (GwJob *job, gint64 at_us, JsonObject *message)
{
    gint64 for_us = gw_json_peek_int (message, "for_ms", 0) * 1000;
    GwOutage outage = { at_us - for_us, for_us };
    g_array_append_val (job->outages, outage);
    job->outage_us = 0;
    gw_job_report_progress (job, FALSE);
}

static void
on_path_up (GwJob *job, gint64 at_us, JsonObject *message)
{
    job->n_paths++;
    job->max_paths = MAX (job->max_paths, job->n_paths);
}

static void
on_path_down (GwJob *job, gint64 at_us, JsonObject *message)
{
    job->n_paths -= job->n_paths > 0;
}

/* What is connected goes on; the next path that breaks is not replaced. */
static void
on_dialer_lost (GwJob *job, gint64 at_us, JsonObject *message)
{
    gw_job_add_sign (job, GW_SIGN_DIALER_LOST, GW_SIDE_SOURCE, at_us, GW_CAUSE_COURIER_DIED,
                     "the source's courier has lost its child that makes connections");
}

static const struct {
    const char *event;
    void (*fn) (GwJob *job, gint64 at_us, JsonObject *message);
} meanings[] = {
    { "dialer-lost", on_dialer_lost },
    { "outage", on_outage },
    { "resumed", on_resumed },
    { "path-up", on_path_up },
    { "path-down", on_path_down },
};

/* "path 1, peer 198.18.1.2:4000, reason reset" */
static char *
describe (JsonObject *message)
{
    GString *out = g_string_new (NULL);
    g_autoptr (GList) members = json_object_get_members (message);
    for (GList *m = members; m != NULL; m = m->next) {
        JsonNode *node = json_object_get_member (message, m->data);
        if (strcmp (m->data, "event") == 0 || !JSON_NODE_HOLDS_VALUE (node))
            continue;
        g_string_append_printf (out, "%s%s ", out->len > 0 ? ", " : "", (const char *) m->data);
        if (json_node_get_value_type (node) == G_TYPE_STRING)
            g_string_append (out, json_node_get_string (node));
        else
            g_string_append_printf (out, "%" G_GINT64_FORMAT, json_node_get_int (node));
    }
    return g_string_free (out, FALSE);
}

/* Of the link the source's courier tells; what the other one says of it reaches us late, or twice. */
void
gw_job_on_courier (GwJobSide *side, gint64 at_us, const char *detail)
{
    g_autoptr (JsonObject) message = gw_json_parse (detail, -1, NULL);
    if (message == NULL)
        return;
    const char *event = gw_json_peek_string (message, "event", "courier");
    g_autofree char *text = describe (message);
    gw_timeline_add (side->job->timeline, at_us, side->side, event, text);
    for (guint i = 0; side->side == GW_SIDE_SOURCE && i < G_N_ELEMENTS (meanings); i++)
        if (strcmp (meanings[i].event, event) == 0)
            meanings[i].fn (side->job, at_us, message);
}

/* --- the clocks ------------------------------------------------------------------------------------------- */

#define CLOCK_PAUSE_US (10 * G_USEC_PER_SEC)

/* The best estimate of the paths that are up.  Over the link it is measured all the time; the agent's answer
 * at the start is good until then. */
static void
take_clock (GwJob *job, JsonArray *paths)
{
    gint64 best_us = G_MAXINT64;
    for (guint i = 0; paths != NULL && i < json_array_get_length (paths); i++) {
        JsonObject *path = json_array_get_object_element (paths, i);
        gint64 error_us = gw_json_peek_int (path, "clock_error_us", -1);
        if (error_us < 0 || error_us >= best_us)
            continue;
        best_us = error_us;
        job->destination.clock_offset_us = gw_json_peek_int (path, "clock_offset_us", 0);
        job->destination.clock_error_us = error_us;
    }
}

void
gw_job_follow_clock (GwJob *job)
{
    gint64 now_us = g_get_monotonic_time ();
    if (now_us - job->clock_us < CLOCK_PAUSE_US || job->outage_us != 0)
        return;
    job->clock_us = now_us;
    g_autoptr (JsonObject) stats =
        gw_host_get_courier_stats (job->source.host, job->cancellable, NULL);
    if (stats != NULL)
        take_clock (job, gw_json_peek_array (stats, "paths"));
}

/* --- what people are told ---------------------------------------------------------------------------------- */

char *
gw_job_describe_outage (const GwJob *job, gint64 now_us)
{
    if (job->outage_us == 0)
        return NULL;
    gint64 seconds = MAX (now_us - job->outage_us, 0) / G_USEC_PER_SEC;
    return g_strdup_printf ("link down for %" G_GINT64_FORMAT " s, %s", seconds,
                            job->step < GW_STEP_switchover  ? "guest unaffected"
                            : job->step == GW_STEP_postcopy ? "guest waits for pages"
                                                            : "guest stopped");
}

static void
add_outage (JsonArray *list, const GwJob *job, const GwOutage *outage)
{
    json_array_add_object_element (
        list, gw_json_new ("at_ms:i", (outage->at_us - job->started_us) / 1000, "for_ms:i",
                           outage->for_us / 1000, NULL));
}

JsonArray *
gw_job_list_outages (const GwJob *job)
{
    JsonArray *list = json_array_new ();
    for (guint i = 0; i < job->outages->len; i++)
        add_outage (list, job, &g_array_index (job->outages, GwOutage, i));
    if (job->outage_us != 0) {
        GwOutage last = { job->outage_us, job->ended_us - job->outage_us };
        add_outage (list, job, &last);
    }
    return list;
}

/* Of the courier's counters those of the link as a whole; godwit-courier(8) says what they count. */
static const char *const figures[] = { "resent_bytes", "renewals", "paths_seen", "queued_bytes",
                                       "memory_bytes", "memory_peak_bytes", "outage_count",
                                       "outage_ms", "refused_hellos", "dropped_connections" };

void
gw_job_take_link (GwJob *job, JsonObject *stats)
{
    JsonArray *paths = gw_json_peek_array (stats, "paths");
    JsonObject *lanes = gw_json_peek_object (stats, "lanes");
    g_clear_pointer (&job->link, json_object_unref);
    job->link = json_object_new ();
    for (guint i = 0; i < G_N_ELEMENTS (figures); i++)
        json_object_set_int_member (job->link, figures[i], gw_json_peek_int (stats, figures[i], 0));
    json_object_set_object_member (job->link, "lanes",
                                   lanes != NULL ? json_object_ref (lanes) : json_object_new ());
    json_object_set_array_member (job->link, "paths",
                                  paths != NULL ? json_array_ref (paths) : json_array_new ());
}

/* --- whose fault ------------------------------------------------------------------------------------------------ */

/* That the hosts do not reach each other is nobody's. */
GwSide
gw_job_blame_cause (GwSide side, GwCause cause)
{
    gboolean is_links = cause == GW_CAUSE_LINK_CONNECT || cause == GW_CAUSE_LINK_LOST ||
                        cause == GW_CAUSE_LINK_AUTH || cause == GW_CAUSE_DATA_ADDRESS;
    return is_links ? GW_SIDE_LINK : side;
}

/* --- limits and proof ------------------------------------------------------------------------------------------ */

guint
gw_job_link_patience_s (const GwJob *job)
{
    return (guint) MIN (job->plan->link_deadline_s + PATIENCE_SLACK_S, G_MAXINT);
}

static gboolean
is_always (gpointer job)
{
    return TRUE;
}

/* In turns, as a fault of another kind (a QEMU or courier that died) makes the answer needless. */
static gboolean
probe (GwJob *job, gint64 *ret_rtt_us, GError **error)
{
    guint within_ms = (guint) MAX (job->plan->max_downtime_ms, PROBE_MIN_MS);
    gint64 deadline_us = gw_deadline_ms (within_ms);
    for (;;) {
        g_autoptr (GError) failure = NULL;
        guint left_ms = gw_deadline_left_ms (deadline_us);
        left_ms = MAX (left_ms, 1);
        if (gw_host_probe_link (job->source.host, MIN (left_ms, PROBE_TURN_MS), ret_rtt_us,
                                job->cancellable, &failure))
            return TRUE;
        if (gw_error_get_cause (failure) != GW_CAUSE_LINK_LOST) {
            g_propagate_error (error, g_steal_pointer (&failure));
            return FALSE;
        }
        if (!gw_job_wait (job, is_always, G_MAXINT64, error))
            return FALSE;
        if (left_ms <= PROBE_TURN_MS)
            return gw_fail (error, GW_CAUSE_LINK_LOST, "the link did not answer within %u ms",
                            within_ms);
    }
}

gboolean
gw_job_prove_link (GwJob *job, GwSide *blame, GError **error)
{
    gint64 rtt_us = 0;
    *blame = GW_SIDE_SOURCE;
    if (!probe (job, &rtt_us, error)) {
        *blame = gw_job_blame_cause (GW_SIDE_SOURCE, gw_error_get_cause (*error));
        g_prefix_error (error, "the guest was stopped for the switchover, but ");
        return FALSE;
    }
    gw_job_note (job, GW_SIDE_LINK, "proved", "round trip %" G_GINT64_FORMAT " us", rtt_us);
    return TRUE;
}

gboolean
gw_job_spool_link (GwJob *job, GError **error)
{
    gint64 allowed_s = SWITCHOVER_SHARE * job->plan->max_downtime_ms / 1000;
    gint64 deadline_s = CLAMP (allowed_s, SWITCHOVER_MIN_S, SWITCHOVER_MAX_S);
    return gw_host_spool_link (job->source.host, MIN (job->plan->link_deadline_s, deadline_s),
                               job->cancellable, error);
}
