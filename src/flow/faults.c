/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The signs of faults, and the verdict when the job has failed. */
#include "job-internal.h"

#include <string.h>

/* Signs that belong together arrive within this time of the first ... */
#define GATHER_MS 400
/* ... and when all of them are only consequences, something is still to come. */
#define GATHER_MORE_MS 1600

void
gw_job_add_sign (GwJob *job, GwSignKind kind, GwSide side, gint64 at_us, GwCause cause,
                 const char *text)
{
    gboolean is_theirs = at_us != 0 && side == GW_SIDE_DESTINATION;
    if (job->signs == NULL)
        job->signs = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_sign_free);
    g_ptr_array_add (job->signs, gw_sign_new (kind, side, at_us != 0 ? at_us : g_get_real_time (),
                                              is_theirs ? job->destination.clock_error_us : 0,
                                              gw_words_refine_cause (cause, text), text));
}

gboolean
gw_job_has_fault (const GwJob *job)
{
    for (guint i = 0; job->signs != NULL && i < job->signs->len; i++)
        if (gw_sign_is_fault (((const GwSign *) job->signs->pdata[i])->kind))
            return TRUE;
    return FALSE;
}

gboolean
gw_job_has_sign (const GwJob *job, GwSignKind kind)
{
    for (guint i = 0; job->signs != NULL && i < job->signs->len; i++)
        if (((const GwSign *) job->signs->pdata[i])->kind == kind)
            return TRUE;
    return FALSE;
}

gboolean
gw_job_fail_with_fault (GwJob *job, GError **error)
{
    const GwSign *sign = job->signs->pdata[gw_verdict_find_first (job->signs)];
    return gw_fail (error, sign->cause, "%s", sign->text);
}

/* "exited with status 1; its last words: ...", as src/host describes it. */
GwSignKind
gw_job_kind_of_exit (const char *how)
{
    gboolean has_status = strstr (how, "exited with status ") != NULL &&
                          strstr (how, "exited with status 0") == NULL;
    if (!has_status)
        return GW_SIGN_QEMU_KILLED;
    return gw_words_tell_stream_end (how) ? GW_SIGN_QEMU_STARVED : GW_SIGN_QEMU_REJECTED;
}

/* --- the failing step ------------------------------------------------------------------------------------ */

/* What a step met that is a sign of its own; the rest is a STEP. */
static const struct {
    GwCause cause;
    GwSignKind kind;
} step_kinds[] = {
    { GW_CAUSE_ABORTED, GW_SIGN_ABORT },
    { GW_CAUSE_QMP_TIMEOUT, GW_SIGN_QEMU_SILENT },
    { GW_CAUSE_RPC_TIMEOUT, GW_SIGN_AGENT_SILENT },
    { GW_CAUSE_AGENT_LOST, GW_SIGN_AGENT_LOST },
    { GW_CAUSE_COURIER_DIED, GW_SIGN_COURIER_EXIT },
    { GW_CAUSE_LINK_LOST, GW_SIGN_LINK_LOST },
};

static GwSignKind
kind_of_step (GwCause cause)
{
    for (guint i = 0; i < G_N_ELEMENTS (step_kinds); i++)
        if (step_kinds[i].cause == cause)
            return step_kinds[i].kind;
    return GW_SIGN_STEP;
}

/* The failing step is one more sign, unless it only passed on one that is known. */
static void
add_step (GwJob *job, GwSide blame, const GError *error)
{
    GwCause cause = gw_error_get_cause (error);
    GwSignKind kind = kind_of_step (cause);
    for (guint i = 0; job->signs != NULL && i < job->signs->len; i++) {
        const GwSign *known = job->signs->pdata[i];
        if (strcmp (known->text, error->message) == 0 ||
            (known->kind == kind && kind != GW_SIGN_STEP && known->side == blame))
            return;
    }
    if (kind == GW_SIGN_ABORT)
        blame = GW_SIDE_NONE;
    gw_job_add_sign (job, kind, blame, 0, cause, error->message);
}

/* --- the verdict -------------------------------------------------------------------------------------------- */

/* What the job lives with, but what failed may have failed of. */
static void
add_outage (GwJob *job)
{
    if (job->outage_us == 0 || gw_job_has_sign (job, GW_SIGN_LINK_LOST) ||
        gw_job_has_sign (job, GW_SIGN_OUTAGE))
        return;
    g_autofree char *text =
        g_strdup_printf ("no path of the link has been up for %" G_GINT64_FORMAT " ms",
                         (g_get_real_time () - job->outage_us) / 1000);
    gw_job_add_sign (job, GW_SIGN_OUTAGE, GW_SIDE_LINK, job->outage_us, GW_CAUSE_LINK_LOST, text);
}

/* A monitor that was closed, a QEMU that starved: somebody did that. */
static gboolean
is_consequence (const GwSign *sign)
{
    return sign->kind == GW_SIGN_QEMU_STARVED || sign->kind == GW_SIGN_MIGRATION ||
           (sign->kind == GW_SIGN_STEP && sign->cause == GW_CAUSE_QMP_GONE);
}

static gboolean
has_cause (gpointer user_data)
{
    const GPtrArray *signs = ((const GwJob *) user_data)->signs;
    return !is_consequence (signs->pdata[gw_verdict_find_first (signs)]);
}

void
gw_job_find_verdict (GwJob *job, GwSide blame, const GError *error)
{
    add_step (job, blame, error);
    gw_job_tell_courier (job);
    if (gw_error_get_cause (error) != GW_CAUSE_ABORTED && job->step > GW_STEP_probe) {
        (void) gw_wait_ms (job->context, GATHER_MS, NULL, NULL);
        (void) gw_wait_until (job->context, has_cause, job, gw_deadline_ms (GATHER_MORE_MS), NULL,
                              NULL);
    }
    gw_job_tell_courier (job);
    add_outage (job);
    job->verdict = job->signs->pdata[gw_verdict_find_first (job->signs)];
    gw_verdict_order (job->signs);
    gw_job_note (job, job->verdict->side, "failed", "%s: %s",
                 gw_cause_get_info (job->verdict->cause)->code, job->verdict->text);
}
