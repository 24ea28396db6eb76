/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Disks that are copied: from the first block until both copies stand still and are equal. */
#include "job-internal.h"

#include <string.h>

#define POLL_MS 250
#define LINK_MS 1000        /* for a round trip before the copies start */
/* For a disk to answer, while the guest runs: QEMU drains each several times while the guest stands still. */
#define PROBE_SHARE 4
#define PROBE_MIN_MS 1500
#define PROBE_MAX_MS 3000
#define FINISH_MIN_MS 2000  /* for the rest of the disks, with the guest stopped */
#define FINISH_MAX_MS 10000
#define BEHIND_BYTES (4 << 20)
#define SHARE 2             /* of the allowed downtime, what the disks may take: one in so many */

static gboolean
has_copies (const GwJob *job)
{
    return gw_disk_plans_count_copies (job->disks) > 0;
}

/* Before anything stops the guest, and be it for a moment: QEMU flushes its disks then. */
gboolean
gw_step_ask_disks (GwJob *job, GwSide *blame, GError **error)
{
    gint64 allowed_ms = PROBE_SHARE * job->plan->max_downtime_ms;
    gint64 within_ms = CLAMP (allowed_ms, PROBE_MIN_MS, PROBE_MAX_MS);
    *blame = GW_SIDE_SOURCE;
    return job->disks->disks->len == 0 ||
           gw_host_probe_disks (job->source.host, job->disks, (guint) within_ms, job->cancellable, error);
}

gboolean
gw_step_images (GwJob *job, GwSide *blame, GError **error)
{
    *blame = GW_SIDE_DESTINATION;
    if (!has_copies (job))
        return TRUE;
    gw_job_note (job, GW_SIDE_DESTINATION, "disks", "%u to be copied",
                 gw_disk_plans_count_copies (job->disks));
    return gw_host_make_images (job->destination.host, job->disks, job->vm->user, job->cancellable,
                                error);
}

/* --- looking ---------------------------------------------------------------------------------------------- */

/* "read" was the source's disk, "write" the destination's; without either, whoever served it has gone. */
static GwSide
failing_side (const GwJob *job)
{
    return job->disk_read_failed ? GW_SIDE_SOURCE : GW_SIDE_DESTINATION;
}

static gboolean
fail_copy (GwJob *job, const GwMirror *mirror, GError **error)
{
    g_autoptr (GError) failure = NULL;
    GwSide side = failing_side (job);
    gw_fail (&failure, GW_CAUSE_DISK_COPY, "disk '%s': its copy failed at the %s: %s", mirror->name,
             gw_side_name (side), mirror->error != NULL ? mirror->error : "QEMU gives no reason");
    gw_job_add_sign (job, GW_SIGN_DISK_COPY, side, 0, GW_CAUSE_DISK_COPY, failure->message);
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
}

/* The link was taken from copies that held QEMU up: what others say of that comes from it. */
static gboolean
fail_stuck (GwJob *job, GError *failure, GError **error)
{
    GwCause cause = gw_error_get_cause (failure);
    if (cause == GW_CAUSE_DISK_SYNC || cause == GW_CAUSE_DISK_DEAD)
        gw_job_add_sign (job, GW_SIGN_DISK_STUCK,
                         cause == GW_CAUSE_DISK_DEAD ? GW_SIDE_SOURCE : GW_SIDE_DESTINATION, 0, cause,
                         failure->message);
    g_propagate_error (error, failure);
    return FALSE;
}

gboolean
gw_job_look_at_disks (GwJob *job, GError **error)
{
    if (!has_copies (job) || job->disks_are_done)
        return TRUE;
    GError *failure = NULL;
    GwMirrors *mirrors = gw_host_get_mirrors (job->source.host, job->cancellable, &failure);
    if (mirrors == NULL)
        return fail_stuck (job, failure, error);
    gw_mirrors_free (job->mirrors);
    job->mirrors = mirrors;
    for (guint i = 0; i < mirrors->mirrors->len; i++) {
        const GwMirror *mirror = mirrors->mirrors->pdata[i];
        if (strcmp (mirror->status, "concluded") == 0 || strcmp (mirror->status, "aborting") == 0)
            return fail_copy (job, mirror, error);
    }
    return gw_job_go_on_with_proof (job, error) && gw_job_keep_disks_in_pace (job, error);
}

static gboolean
are_ready (const GwJob *job)
{
    for (guint i = 0; i < job->mirrors->mirrors->len; i++)
        if (strcmp (((const GwMirror *) job->mirrors->mirrors->pdata[i])->status, "ready") != 0)
            return FALSE;
    return TRUE;
}

void
gw_job_sum_disks (const GwJob *job, gint64 *ret_total, gint64 *ret_left, gint64 *ret_rate)
{
    *ret_total = *ret_left = *ret_rate = 0;
    for (guint i = 0; job->mirrors != NULL && i < job->mirrors->mirrors->len; i++) {
        const GwMirror *mirror = job->mirrors->mirrors->pdata[i];
        *ret_total += mirror->total_bytes;
        *ret_left += mirror->total_bytes - mirror->done_bytes;
        *ret_rate += MAX (mirror->rate_bps, 0);
    }
}

gboolean
gw_job_disks_are_in_step (const GwJob *job)
{
    gint64 total, left, rate;
    gw_job_sum_disks (job, &total, &left, &rate);
    return are_ready (job) && left <= BEHIND_BYTES;
}

gboolean
gw_job_disks_can_switch (const GwJob *job)
{
    gint64 total, left, rate;
    if (!has_copies (job) || job->disks_are_done)
        return TRUE;
    gw_job_sum_disks (job, &total, &left, &rate);
    gint64 pace = MAX (rate, job->migration != NULL ? job->migration->rate_bps : 0);
    return are_ready (job) && gw_job_proof_can_switch (job) &&
           (left <= BEHIND_BYTES ||
            (pace > 0 && left / pace * 1000 <= job->plan->max_downtime_ms / SHARE));
}

char *
gw_job_describe_disks (const GwJob *job)
{
    g_autoptr (GString) text = g_string_new (NULL);
    for (guint i = 0; job->mirrors != NULL && !job->disks_are_done && i < job->mirrors->mirrors->len; i++) {
        const GwMirror *mirror = job->mirrors->mirrors->pdata[i];
        gint64 left = mirror->total_bytes - mirror->done_bytes;
        g_autofree char *left_text = gw_text_bytes ((guint64) left);
        if (strcmp (mirror->status, "ready") != 0)
            g_string_append_printf (text, "%s%s %" G_GINT64_FORMAT "%%", i > 0 ? ", " : "", mirror->name,
                                    mirror->total_bytes > 0 ? mirror->done_bytes * 100 / mirror->total_bytes
                                                            : 0);
        else
            g_string_append_printf (text, "%s%s %s%s", i > 0 ? ", " : "", mirror->name,
                                    left > BEHIND_BYTES ? "running behind by " : "in step",
                                    left > BEHIND_BYTES ? left_text : "");
    }
    return text->len > 0 ? g_strdup (text->str) : NULL;
}

void
gw_job_add_disk_progress (const GwJob *job, GwProgress *progress)
{
    for (guint i = 0; job->mirrors != NULL && i < job->mirrors->mirrors->len; i++) {
        const GwMirror *mirror = job->mirrors->mirrors->pdata[i];
        GwMirror *copy = g_new0 (GwMirror, 1);
        *copy = *mirror;
        copy->name = g_strdup (mirror->name);
        copy->status = g_strdup (mirror->status);
        copy->error = g_strdup (mirror->error);
        g_ptr_array_add (progress->disks, copy);
    }
    if (job->step != GW_STEP_disks)
        return;
    gw_job_sum_disks (job, &progress->total_bytes, &progress->remaining_bytes, &progress->rate_bps);
    progress->transferred_bytes = progress->total_bytes - progress->remaining_bytes;
    if (progress->total_bytes > 0)
        progress->percent = (gint64) ((double) progress->transferred_bytes * 100.0 /
                                      (double) progress->total_bytes);
    if (progress->rate_bps > 0)
        progress->eta_ms = (gint64) ((double) progress->remaining_bytes * 1000.0 /
                                     (double) progress->rate_bps);
}

/* --- copying -------------------------------------------------------------------------------------------------- */

static gboolean
never (gpointer user_data)
{
    return FALSE;
}

static gboolean
wait_a_while (GwJob *job, GError **error)
{
    g_autoptr (GError) failure = NULL;
    if (gw_job_wait (job, never, gw_deadline_ms (POLL_MS), &failure) ||
        gw_error_get_cause (failure) == GW_CAUSE_TIMED_OUT)
        return TRUE;
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
}

/* QEMU waits for the other end in its main loop while it opens the target: only on a link that is up.
 * One that is down for too long ends the job as a fault. */
static gboolean
wait_for_link (GwJob *job, GError **error)
{
    for (;;) {
        gint64 rtt_us;
        g_autoptr (GError) failure = NULL;
        if (gw_host_probe_link (job->source.host, LINK_MS, &rtt_us, job->cancellable, &failure))
            return TRUE;
        if (gw_error_get_cause (failure) != GW_CAUSE_LINK_LOST || gw_job_has_fault (job)) {
            g_propagate_error (error, g_steal_pointer (&failure));
            return FALSE;
        }
        gw_job_report_progress (job, FALSE);
        if (!wait_a_while (job, error))
            return FALSE;
    }
}

static gboolean
start_copies (GwJob *job, GwSide *blame, GError **error)
{
    gint64 n = gw_disk_plans_count_copies (job->disks);
    *blame = GW_SIDE_LINK;
    if (!wait_for_link (job, error))
        return FALSE;
    *blame = GW_SIDE_SOURCE;
    return gw_host_start_mirrors (job->source.host, job->disks, job->plan->max_bandwidth_bps / n,
                                  job->cancellable, error);
}

static gboolean
is_any_resumed (const GwJob *job)
{
    for (guint i = 0; i < job->disks->disks->len; i++)
        if (((const GwDiskPlan *) job->disks->disks->pdata[i])->resumes)
            return TRUE;
    return FALSE;
}

/* QEMU stops a guest that dirties next to nothing by itself as soon as its memory has been sent: not before every
 * chunk has been compared once. */
static gboolean
may_send_memory (const GwJob *job)
{
    return is_any_resumed (job) ? gw_job_proof_can_switch (job) : gw_job_proof_has_round (job);
}

gboolean
gw_step_disks (GwJob *job, GwSide *blame, GError **error)
{
    if (!has_copies (job))
        return TRUE;
    if (!start_copies (job, blame, error))
        return FALSE;
    while (gw_job_look_at_disks (job, error)) {
        gw_job_report_progress (job, FALSE);
        *blame = GW_SIDE_SOURCE;
        if (!gw_job_regain (job, error))
            return FALSE;
        if (are_ready (job) && job->proof == NULL && !gw_job_is_away (job) && !gw_job_start_proof (job, error))
            return FALSE;
        if (are_ready (job) && !gw_job_is_away (job) && may_send_memory (job))
            return TRUE;
        if (gw_job_is_out_of_time (job))
            return gw_job_fail_slow_disks (job, error);
        if (!wait_a_while (job, error))
            return FALSE;
    }
    if (gw_error_get_cause (*error) != GW_CAUSE_NOT_CONVERGED) /* that is the guest's */
        *blame = failing_side (job);
    return FALSE;
}

/* --- the end ---------------------------------------------------------------------------------------------------- */

guint
gw_job_get_disk_limit_ms (const GwJob *job)
{
    return has_copies (job) ? (guint) CLAMP (4 * job->plan->max_downtime_ms, FINISH_MIN_MS, FINISH_MAX_MS)
                            : FINISH_MAX_MS;
}

gboolean
gw_job_stop_guest (GwJob *job, GError **error)
{
    GError *failure = NULL;
    return gw_host_stop_guest (job->source.host, TRUE, gw_job_get_disk_limit_ms (job), job->cancellable,
                               &failure) ||
           fail_stuck (job, failure, error);
}

gboolean
gw_job_finish_disks (GwJob *job, GwSide *blame, GError **error)
{
    guint within_ms = gw_job_get_disk_limit_ms (job);
    gint64 started_us = g_get_monotonic_time ();
    GError *failure = NULL;
    if (!has_copies (job))
        return TRUE;
    *blame = failing_side (job);
    if (!gw_host_finish_mirrors (job->source.host, within_ms, NULL, &failure))
        return fail_stuck (job, failure, error);
    *blame = GW_SIDE_DESTINATION;
    if (!gw_job_finish_proof (job, error))
        return FALSE;
    if (!gw_host_close_images (job->destination.host, NULL, error))
        return FALSE;
    job->disks_are_done = TRUE;
    gw_job_note (job, GW_SIDE_NONE, "disks-done", "%u copied, the last of it in %" G_GINT64_FORMAT " ms",
                 gw_disk_plans_count_copies (job->disks),
                 (g_get_monotonic_time () - started_us) / 1000);
    return TRUE;
}

void
gw_undo_disks (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    if (!has_copies (job) || job->source_is_gone)
        return;
    (void) gw_host_end_proof (job->source.host, NULL, NULL); /* it is in the way of nothing */
    if (!gw_host_undo_mirrors (job->source.host, NULL, &error))
        gw_job_warn (job, "the copying of the disks could not be ended: %s", error->message);
}

/* --- the report ---------------------------------------------------------------------------------------------------- */

JsonArray *
gw_job_list_disks (const GwJob *job)
{
    JsonArray *list = json_array_new ();
    for (guint i = 0, k = 0; job->disks != NULL && i < job->disks->disks->len; i++) {
        const GwDiskPlan *plan = job->disks->disks->pdata[i];
        const GwDisk *disk = job->vm->disks->pdata[i];
        JsonObject *object = gw_json_new (
            "device:s", disk->device, "node:s", disk->node, "path:s",
            disk->path != NULL ? disk->path : disk->url, "bytes:i", disk->bytes, "action:s", plan->action,
            "reason:s", plan->reason, NULL);
        json_array_add_object_element (list, object);
        if (!gw_disk_plan_is (plan, "copy"))
            continue;
        json_object_set_string_member (object, "target", plan->target);
        const GwMirror *mirror = job->mirrors != NULL && k < job->mirrors->mirrors->len
                                     ? job->mirrors->mirrors->pdata[k]
                                     : NULL;
        json_object_set_boolean_member (object, "resumed", plan->resumes);
        json_object_set_boolean_member (object, "equal", job->disks_are_equal);
        json_object_set_int_member (object, "copied_bytes",
                                    plan->resumes    ? gw_job_proof_get_sent (job, k)
                                    : mirror != NULL ? mirror->done_bytes
                                                     : 0);
        k++;
    }
    return list;
}
