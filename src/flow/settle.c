/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * After RELEASED only the destination's record tells whether the VM was started.  The question
 * carries a refusal with it: a destination that has not started writes REFUSED first, so that the answer is
 * final in both cases.  It is asked again over new connections for a while.
 */
#include "job-internal.h"

#define SETTLE_MS 30000
#define PAUSE_MS 1000

static gboolean
ask (GwHost *host, GwJob *job, GwRecordKind *ret_kind, GError **error)
{
    GwRecordKind kind;
    if (!gw_host_settle_record (host, job->id, TRUE, &kind, NULL, error))
        return FALSE;
    if (kind != GW_RECORD_STARTED && kind != GW_RECORD_REFUSED)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "the destination's record is '%s'",
                        gw_record_kind_name (kind));
    *ret_kind = kind;
    return TRUE;
}

/* A new connection: the old agent process may be gone, its records are not. */
static gboolean
ask_again (GwJob *job, GwRecordKind *ret_kind, GError **error)
{
    GwHost *host = gw_host_open_remote (job->plan->destination, 0, job->context, NULL, error);
    if (host == NULL)
        return FALSE;
    gboolean ok = ask (host, job, ret_kind, error);
    /* the job goes on with the host that answers */
    if (ok) {
        g_clear_pointer (&job->start, gw_host_pending_free);
        gw_host_free (job->destination.host);
        job->destination.host = host;
        gw_job_watch (&job->destination);
        if (job->in_postcopy && *ret_kind == GW_RECORD_STARTED)
            gw_job_note_away (job, GW_SIDE_DESTINATION, "the connection to it was lost"); /* this one has no job so far */
    } else {
        gw_host_free (host);
    }
    return ok;
}

gboolean
gw_job_settle (GwJob *job, GwRecordKind *ret_kind, GError **error)
{
    gint64 deadline = gw_deadline_ms (SETTLE_MS);
    for (;;) {
        g_autoptr (GError) failure = NULL;
        /* an agent that is still busy with the start answers on another connection only */
        gboolean is_free = job->start == NULL || gw_host_pending_is_done (job->start);
        gboolean is_open = job->destination.host != NULL && gw_host_is_open (job->destination.host);
        gboolean ok = is_free && is_open
                          ? ask (job->destination.host, job, ret_kind, &failure)
                          : ask_again (job, ret_kind, &failure);
        if (ok) {
            gw_job_note (job, GW_SIDE_DESTINATION, "settled", "%s",
                         gw_record_kind_name (*ret_kind));
            return TRUE;
        }
        gw_job_note (job, GW_SIDE_DESTINATION, "no-answer", "%s", failure->message);
        if (g_get_monotonic_time () > deadline) {
            g_propagate_error (error, g_steal_pointer (&failure));
            return FALSE;
        }
        (void) gw_wait_ms (job->context, PAUSE_MS, NULL, NULL);
    }
}
