/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The report of a job: the JSON object that godwit(1) promises. */
#include "job-internal.h"

#include <string.h>

#define EVIDENCE_LINES 20

static gint64
since_start_ms (const GwJob *job, gint64 at_us)
{
    return (at_us - job->started_us) / 1000;
}

/* --- cause ------------------------------------------------------------------------------------------------ */

/* One line of a sign that is not the cause. */
static char *
describe_other (const GwSign *sign, const GwSign *cause)
{
    g_auto (GStrv) lines = gw_words_split (sign->text, EVIDENCE_LINES);
    g_autofree char *text = g_strjoinv (" / ", lines);
    return g_strdup_printf ("%s, on the %s: %s", sign->at_us < cause->at_us ? "before" : "then",
                            gw_side_name (sign->side), text);
}

/* Both couriers say the same of their link. */
static gboolean
is_told (const GPtrArray *signs, guint index)
{
    const GwSign *sign = signs->pdata[index];
    for (guint i = 0; i < index; i++)
        if (strcmp (((const GwSign *) signs->pdata[i])->text, sign->text) == 0)
            return TRUE;
    return FALSE;
}

/* What the cause is, with QEMU's own words line by line; then what else went wrong, in order. */
static GStrv
collect_evidence (const GwJob *job)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    g_auto (GStrv) own = gw_words_split (job->verdict->text, EVIDENCE_LINES);
    g_strv_builder_addv (builder, (const char **) own);
    for (guint i = 0; i < job->signs->len; i++) {
        const GwSign *sign = job->signs->pdata[i];
        if (strcmp (sign->text, job->verdict->text) == 0 || is_told (job->signs, i))
            continue;
        g_autofree char *line = describe_other (sign, job->verdict);
        g_strv_builder_add (builder, line);
    }
    return g_strv_builder_end (builder);
}

static JsonObject *
make_cause (const GwJob *job)
{
    const GwCauseInfo *info = gw_cause_get_info (job->verdict->cause);
    g_auto (GStrv) evidence = collect_evidence (job);
    return gw_json_new ("code:s", info->code, "title:s", info->title, "side:s",
                        gw_side_name (job->verdict->side), "at_ms:i",
                        since_start_ms (job, job->verdict->at_us), "message:s", job->verdict->text,
                        "evidence:v", evidence, "remedy:s", info->remedy, NULL);
}

/* --- outcome ------------------------------------------------------------------------------------------------ */

const char *
gw_job_result_name (const GwJob *job)
{
    return job->machine.state == GW_JOB_MOVED       ? "moved"
           : job->machine.state == GW_JOB_UNDECIDED ? "undecided"
           : job->machine.state == GW_JOB_LOST      ? "lost"
                                                    : "stayed";
}

static const char *
runs_on (const GwJob *job)
{
    if (job->machine.state == GW_JOB_MOVED)
        return job->destination_is_gone ? "nowhere" : "destination";
    if (job->machine.state == GW_JOB_UNDECIDED)
        return "unknown";
    if (job->machine.state == GW_JOB_LOST)
        return "nowhere";
    return job->source_is_gone || job->guest_is_off ? "nowhere" : "source";
}

/* Whether the verdict is the word of a check. */
static gboolean
is_refused (const GwJob *job)
{
    const GwCheckResult *refusal = job->checks != NULL ? gw_check_find_refusal (job->checks) : NULL;
    return refusal != NULL && refusal->cause == job->verdict->cause;
}

/* A refusal after something was touched is a failure; what QEMU refuses by itself before it does
 * anything touched nothing. */
static int
exit_status (const GwJob *job)
{
    if (job->machine.state == GW_JOB_MOVED)
        return job->warnings->len > 0 ? 4 : 0;
    if (job->machine.state == GW_JOB_UNDECIDED)
        return gw_cause_get_info (GW_CAUSE_UNDECIDED)->exit_status;
    if (job->verdict == NULL)
        return 0; /* a check that found nothing against it */
    int status = gw_cause_get_info (job->verdict->cause)->exit_status;
    if (job->plan->is_check_only && status == 3 && is_refused (job))
        return 2;
    gboolean is_late = job->step > GW_STEP_probe && job->step != GW_STEP_compare &&
                       job->verdict->cause != GW_CAUSE_MIGRATION_BLOCKED;
    return is_late && (status == 2 || status == 8) ? 3 : status;
}

/* --- parts ---------------------------------------------------------------------------------------------------- */

static JsonArray *
make_rewrites (const GwJob *job)
{
    JsonArray *list = json_array_new ();
    for (guint i = 0; job->derived != NULL && i < job->derived->rewrites->len; i++) {
        const GwRewrite *rewrite = job->derived->rewrites->pdata[i];
        json_array_add_object_element (
            list, gw_json_new ("option:s", rewrite->option, "from:s", rewrite->from, "to:s",
                               rewrite->to, "why:s", rewrite->why, NULL));
    }
    return list;
}

static JsonObject *
make_postcopy (const GwJob *job)
{
    JsonObject *postcopy =
        gw_json_new ("at_ms:i", since_start_ms (job, job->postcopy_us), "preempt:b",
                     job->postcopy.has_preempt, "requests:i",
                     job->migration != NULL ? job->migration->postcopy_requests : 0, "recoveries:i",
                     job->n_recoveries, "attempts:i", job->n_attempts, "blocktime_ms:i",
                     job->blocktime_ms, NULL);
    if (job->page_waits != NULL)
        json_object_set_object_member (postcopy, "page_waits", json_object_ref (job->page_waits));
    else
        json_object_set_null_member (postcopy, "page_waits");
    return postcopy;
}

static void
add_figures (const GwJob *job, JsonObject *report)
{
    gboolean has_moved = job->machine.state == GW_JOB_MOVED;
    gint64 downtime_us = has_moved && job->vm->is_running && job->stop_us != 0 &&
                                 job->running_us > job->stop_us
                             ? job->running_us - job->stop_us
                             : 0;
    gint64 over_us = has_moved && job->verified_us != 0 ? job->verified_us : job->ended_us;
    json_object_set_int_member (report, "total_ms", since_start_ms (job, over_us));
    json_object_set_int_member (report, "settle_ms", (job->ended_us - over_us) / 1000);
    json_object_set_int_member (report, "downtime_ms", (downtime_us + 500) / 1000);
    json_object_set_int_member (report, "setup_ms",
                                job->setup_us != 0 ? since_start_ms (job, job->setup_us) : 0);
    json_object_set_int_member (report, "rounds", job->migration != NULL ? job->migration->rounds : 0);
    json_object_set_int_member (report, "guest_bytes", job->guest_bytes);
    json_object_set_int_member (report, "wire_bytes", job->wire_bytes);
    json_object_set_int_member (report, "disk_bytes", job->disk_bytes);
    json_object_set_int_member (report, "paths",
                                MAX (job->max_paths, job->link_addresses != NULL ? 1u : 0u));
    json_object_set_array_member (report, "outages", gw_job_list_outages (job));
    if (job->link != NULL)
        json_object_set_object_member (report, "link", json_object_ref (job->link));
    else
        json_object_set_null_member (report, "link");
    if (job->in_postcopy)
        json_object_set_object_member (report, "postcopy", make_postcopy (job));
    else
        json_object_set_null_member (report, "postcopy");
    json_object_set_member (report, "guest_clock", gw_job_report_guest_clock (job));
    json_object_set_object_member (report, "codec", gw_job_report_codec (job));
    if (job->ram_proof != NULL)
        json_object_set_object_member (report, "ram_proof", json_object_ref (job->ram_proof));
    else
        json_object_set_null_member (report, "ram_proof");
}

static void
add_lists (const GwJob *job, JsonObject *report)
{
    json_object_set_array_member (report, "disks", gw_job_list_disks (job));
    json_object_set_array_member (report, "checks", job->old_checks != NULL ? json_array_ref (job->old_checks)
                                                                            : gw_check_to_json (job->checks));
    if (job->prediction != NULL)
        json_object_set_object_member (report, "prediction", json_object_ref (job->prediction));
    else
        json_object_set_null_member (report, "prediction");
    if (job->probe != NULL)
        json_object_set_object_member (report, "probe", json_object_ref (job->probe));
    if (job->rehearsal != NULL)
        json_object_set_object_member (report, "rehearsal", json_object_ref (job->rehearsal));
    else
        json_object_set_null_member (report, "rehearsal");
    if (job->verdict != NULL && (job->machine.state != GW_JOB_MOVED || job->destination_is_gone))
        json_object_set_object_member (report, "cause", make_cause (job));
    else
        json_object_set_null_member (report, "cause");
    g_ptr_array_add (job->warnings, NULL);
    gw_json_set_strv (report, "warnings", (const char *const *) job->warnings->pdata);
    g_ptr_array_set_size (job->warnings, (int) job->warnings->len - 1);
    json_object_set_array_member (report, "rewrites", make_rewrites (job));
    json_object_set_array_member (report, "timeline", gw_job_tell_story (job));
}

JsonObject *
gw_job_make_report (GwJob *job)
{
    g_autofree char *label = job->vm != NULL ? gw_vm_get_label (job->vm) : g_strdup (job->plan->vm);
    g_autoptr (GDateTime) started = g_date_time_new_from_unix_utc (job->started_us / G_USEC_PER_SEC);
    g_autofree char *started_text = g_date_time_format_iso8601 (started);
    JsonObject *report = gw_json_new (
        "job:s", job->id, "vm:s", label, "uuid:s", job->vm != NULL ? job->vm->uuid : NULL,
        "result:s", gw_job_result_name (job), "runs_on:s", runs_on (job),
        "exit:i", (gint64) exit_status (job), "mode:s",
        job->in_postcopy ? "postcopy" : "precopy", "started:s", started_text,
        "destination:s", job->plan->destination, "state:s", job->final_state, NULL);
    add_figures (job, report);
    add_lists (job, report);
    return report;
}
