/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is measured for the prediction, and what it says. */
#include "job-internal.h"
#include "predict.h"

#include <string.h>

#define REST_MS 120   /* the couriers again, and both QEMUs are told */
#define LAUNCH_MS 500 /* of a QEMU, when there was no rehearsal */

gboolean
gw_step_weigh (GwJob *job, GwSide *blame, GError **error)
{
    *blame = GW_SIDE_SOURCE;
    if (!job->plan->is_rehearsed && !job->plan->is_check_only)
        return TRUE;
    g_autoptr (JsonObject) begun =
        gw_host_begin_weighing (job->source.host, job->cancellable, error);
    if (begun == NULL)
        return FALSE;
    const char *why = gw_json_peek_string (begun, "why", NULL);
    if (why != NULL)
        gw_job_note (job, GW_SIDE_SOURCE, "memory-not-read", "%s", why);
    return TRUE;
}

static gint64
get_setup_ms (const GwJob *job)
{
    gint64 so_far_ms = (g_get_real_time () - job->started_us) / 1000;
    gint64 launch_ms = job->launch_us > 0 ? job->launch_us / 1000 : LAUNCH_MS;
    return so_far_ms + REST_MS + (job->plan->is_check_only ? launch_ms : 0);
}

/* What the images of disks that are copied take here; what is not allocated is not sent. */
static gint64
count_disk_bytes (const GwJob *job)
{
    gint64 bytes = 0;
    for (guint i = 0; job->disks != NULL && i < job->disks->disks->len; i++) {
        const GwDiskPlan *plan = job->disks->disks->pdata[i];
        if (gw_disk_plan_is (plan, "copy") && !plan->resumes)
            bytes += plan->allocated_bytes > 0 ? MIN (plan->allocated_bytes, plan->bytes) : plan->bytes;
    }
    return bytes;
}

static GwPredictInput
make_input (const GwJob *job, JsonObject *weight, const GwLinkTrial *trial)
{
    JsonObject *rehearsal = job->rehearsal;
    gboolean is_rehearsed =
        rehearsal != NULL && strcmp (gw_json_peek_string (rehearsal, "result", ""), "done") == 0;
    return (GwPredictInput) {
        .ram_bytes = job->vm->ram_bytes,
        .filled_bytes = gw_json_peek_int (weight, "filled_bytes", -1),
        .changed_bytes = gw_json_peek_int (weight, "changed_bytes", -1),
        .changed_us = gw_json_peek_int (weight, "changed_us", 0),
        .later_bytes = gw_json_peek_int (weight, "later_bytes", -1),
        .later_us = gw_json_peek_int (weight, "later_us", 0),
        .rate_bps = trial->us > 0 ? trial->bytes * G_USEC_PER_SEC / trial->us : 0,
        .rtt_us = trial->rtt_us,
        .state_bytes = is_rehearsed ? gw_json_peek_int (rehearsal, "state_bytes", -1) : -1,
        .load_us = is_rehearsed ? gw_json_peek_int (rehearsal, "load_us", -1) : -1,
        .packed_permille = gw_json_peek_int (weight, "packed_permille", -1),
        .again_permille = gw_json_peek_int (weight, "again_permille", -1),
        .codec_bytes = gw_job_get_codec_bytes (job),
        .proof_ms = gw_job_estimate_proof_ms (job),
        .disk_bytes = count_disk_bytes (job),
        .setup_ms = get_setup_ms (job),
        .is_running = job->vm->is_running,
    };
}

static JsonObject *
to_json (const GwPrediction *p, const GwPredictInput *input, const char *text)
{
    return gw_json_new (
        "total_ms:i", p->total_ms.likely, "total_low_ms:i", p->total_ms.low, "total_high_ms:i",
        p->total_ms.high, "downtime_ms:i", p->downtime_ms.likely, "downtime_low_ms:i",
        p->downtime_ms.low, "downtime_high_ms:i", p->downtime_ms.high, "confidence:s",
        gw_confidence_name (p->confidence), "converges:b", p->ends_by == GW_SWITCH, "mode:s",
        p->ends_by == GW_POSTCOPY  ? "postcopy"
        : p->ends_by == GW_GIVE_UP ? "none"
                                   : "precopy",
        "text:s", text, "disk_bytes:i", input->disk_bytes, "filled_bytes:i", input->filled_bytes, "write_bps:i", p->write_bps,
        "spread_bytes:i", p->spread_bytes, "changed_bytes:i", input->changed_bytes, "changed_us:i", input->changed_us,
        "later_bytes:i", input->later_bytes, "later_us:i", input->later_us, "rate_bps:i", input->rate_bps,
        "codec_bytes:i", input->codec_bytes, "packed_permille:i", input->packed_permille, "again_permille:i",
        input->again_permille, NULL);
}

void
gw_job_predict (GwJob *job, const GwLinkTrial *trial)
{
    g_autoptr (JsonObject) weight =
        gw_host_finish_weighing (job->source.host, job->cancellable, NULL);
    if (weight == NULL)
        return;
    GwPredictInput input = make_input (job, weight, trial);
    GwAllowance allowance = gw_job_get_allowance (job);
    allowance.can_postcopy = job->vm->is_running && strcmp (job->plan->postcopy, "never") != 0 &&
                             job->destination_facts->has_userfaultfd;
    if (job->plan->max_bandwidth_bps > 0)
        input.rate_bps = MIN (input.rate_bps, job->plan->max_bandwidth_bps);
    if (input.rate_bps <= 0 || input.ram_bytes <= 0)
        return;
    GwPrediction p = gw_predict (&input, &allowance);
    g_autofree char *text = gw_prediction_tell (&p, &allowance);
    gboolean is_bad = p.ends_by == GW_GIVE_UP || p.ends_by == GW_FORCE;
    job->prediction = to_json (&p, &input, text);
    gw_check_append (job->checks, "prediction", is_bad ? GW_VERDICT_WARNING : GW_VERDICT_OK,
                     GW_CAUSE_NONE, text);
    gw_job_note (job, GW_SIDE_NONE, "prediction", "%s", text);
}
