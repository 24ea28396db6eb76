/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The destination's agent is started again in the middle of a job.
 *
 * In the steps that steps.def marks `waits` neither QEMU nor the couriers need an agent: bytes flow, and no question is
 * open whose loss would matter (the last one asked is asked again, or of no interest).  Before the first of them the
 * destination is asked to keep the job (src/host/keep.c), under a secret that this job makes.  When the connection to
 * its agent breaks then, that is no fault: the job connects again, as often as the time of grace allows, and takes
 * itself up there.  Until that has worked nothing is begun that needs the destination: the guest is not stopped.  So that
 * QEMU does not come to the end of its memory meanwhile, and stop it by itself, the source sends it slowly when little
 * is left.  When the guest stands all the same, or nobody answers in time, the job fails as it does in all other steps,
 * and the guest stays where it is.
 *
 * In postcopy, from RELEASED on, the same is done in any job, and once the destination has STARTED without an end: bytes
 * flow, both QEMUs are needed, and there is nothing else that could be done.  A courier that ends meanwhile is replaced when
 * the agent is back.  When the source's QEMU has sent everything and nobody comes, the job ends undecided, and whoever asks
 * the destination later finds that it has moved.
 */
#include "job-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define GRACE_S 60
#define PAUSE_MS 500
#define TOKEN_BYTES 32
#define HOLD_BYTES (4 * 1024 * 1024) /* or what a second carries: that little must not be all that is left */
#define HOLD_BPS 10000 /* QEMU looks ten times a second, and sends a page more than it may: 40 KiB/s */
#define GIVE_BACK_MS 3000

static const gboolean waits[] = {
#define gw_away_waits TRUE
#define gw_away_ends FALSE
#define X(id, name, phase, undo, away) gw_away_##away,
#include "steps.def"
#undef X
};
G_STATIC_ASSERT (G_N_ELEMENTS (waits) == GW_N_STEPS);

/* --- keeping ---------------------------------------------------------------------------------------------- */

static char *
make_token (void)
{
    uint8_t bytes[TOKEN_BYTES];
    GString *text = g_string_new (NULL);
    if (getrandom (bytes, sizeof bytes, 0) != (ssize_t) sizeof bytes)
        g_error ("no random numbers: %s", g_strerror (errno));
    for (guint i = 0; i < sizeof bytes; i++)
        g_string_append_printf (text, "%02x", bytes[i]);
    explicit_bzero (bytes, sizeof bytes);
    return g_string_free (text, FALSE);
}

static gboolean
has_copies (const GwJob *job)
{
    return job->disks != NULL && gw_disk_plans_count_copies (job->disks) > 0;
}

/* Of the coordinator's own side; a command has no grace, and what copies disks is in nobody else's hands. */
static gboolean
keep_source (GwJob *job, GError **error)
{
    GwHostKeep keep = { .token = job->token, .grace_s = has_copies (job) ? 0 : job->config->grace_s,
                        .in_postcopy = job->postcopy.is_on };
    if (keep.grace_s == 0 && !keep.in_postcopy)
        return TRUE;
    gboolean ok = gw_host_keep_job (job->source.host, &keep, job->cancellable, error);
    job->source_grace_s = ok ? keep.grace_s : 0;
    job->source_is_bound = ok && keep.in_postcopy;
    g_free (keep.why);
    return ok;
}

static gboolean
keep_destination (GwJob *job, char **ret_why, GError **error)
{
    GwHostKeep keep = { .token = job->token, .grace_s = GRACE_S, .is_coordinator = job->source_grace_s > 0,
                        .in_postcopy = job->postcopy.is_on };
    if (!gw_host_keep_job (job->destination.host, &keep, job->cancellable, error))
        return FALSE;
    job->grace_s = keep.grace_s;
    job->is_bound = keep.in_postcopy;
    *ret_why = keep.why;
    return TRUE;
}

/* At the destination that lasts, also when the job was taken up since; at the source for a step. */
void
gw_job_keep (GwJob *job, GwStep step)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GError) failure = NULL;
    g_autofree char *why = NULL;
    if (!waits[step] || job->machine.state != GW_JOB_RUNNING)
        return;
    if (job->token == NULL)
        job->token = make_token ();
    if (!keep_source (job, &error))
        gw_job_note (job, GW_SIDE_SOURCE, "not-kept", "%s", error->message);
    if (job->is_kept)
        return;
    job->is_kept = TRUE;
    if (!job->is_taken_up && !keep_destination (job, &why, &failure))
        why = g_strdup (failure->message);
    if (job->grace_s > 0)
        gw_job_note (job, GW_SIDE_DESTINATION, "kept", "its agent may be away for %" G_GINT64_FORMAT " s",
                     job->grace_s);
    else
        gw_job_note (job, GW_SIDE_DESTINATION, "not-kept", "%s", why != NULL ? why : "no reason given");
}

/* --- away --------------------------------------------------------------------------------------------------- */

gboolean
gw_job_may_wait (const GwJob *job)
{
    if (job->in_postcopy)
        return job->is_bound && (job->machine.state == GW_JOB_RELEASED || job->machine.state == GW_JOB_STARTED);
    return waits[job->step] && job->grace_s > 0 && job->machine.state == GW_JOB_RUNNING && !job->is_stopping;
}

void
gw_job_note_away (GwJob *job, GwSide side, const char *why)
{
    gint64 grace_s = job->in_postcopy ? GRACE_S : job->grace_s;
    if (gw_job_is_away (job))
        return;
    job->away_us = g_get_real_time ();
    job->away_until_us = g_get_monotonic_time () + grace_s * G_USEC_PER_SEC;
    job->next_try_us = 0;
    job->away_side = side;
    g_free (job->away_why);
    job->away_why = g_strdup (why);
    gw_job_note (job, GW_SIDE_DESTINATION, "agent-away", "%s", why);
}

gboolean
gw_job_is_away (const GwJob *job)
{
    return job->away_us != 0;
}

/* The answer to a request may come before the event that tells the end of the connection. */
gboolean
gw_job_is_lost_for_now (GwJob *job, const GError *error)
{
    if (gw_error_get_cause (error) == GW_CAUSE_AGENT_LOST && gw_job_may_wait (job))
        gw_job_note_away (job, GW_SIDE_DESTINATION, error->message);
    return gw_job_is_away (job);
}

void
gw_job_tell_away (GwJob *job, const char *more)
{
    g_autofree char *text = g_strdup_printf ("%s%s%s", job->away_why, *more != '\0' ? "; " : "", more);
    gboolean is_known = gw_job_has_sign (job, GW_SIGN_AGENT_LOST) || gw_job_has_sign (job, GW_SIGN_GUEST_LOST);
    if (gw_job_is_away (job) && !is_known)
        gw_job_add_sign (job, GW_SIGN_AGENT_LOST, job->away_side, job->away_us, GW_CAUSE_AGENT_LOST, text);
}

/* Little is left: QEMU shall not come to the end of it. */
static void
hold_memory (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    const GwMigration *m = job->migration;
    gboolean is_under_way = m != NULL && g_strcmp0 (m->status, "active") == 0 && m->total_bytes > 0;
    if (job->is_held || !is_under_way || m->remaining_bytes > MAX (HOLD_BYTES, m->rate_bps))
        return;
    job->is_held = gw_host_set_pace (job->source.host, HOLD_BPS, job->cancellable, &error);
    gw_job_note (job, GW_SIDE_SOURCE, "held", "%s", job->is_held ? "memory goes slowly" : error->message);
}

static void
let_go (GwJob *job)
{
    g_autoptr (GError) error = NULL;
    if (job->is_held && !gw_host_set_pace (job->source.host, job->plan->max_bandwidth_bps, job->cancellable, &error))
        gw_job_warn (job, "memory goes on slowly: %s", error->message);
    job->is_held = FALSE;
}

/* --- coming back ---------------------------------------------------------------------------------------------- */

/* What was told while nobody listened.  A QEMU that was about to listen for its recovery says "setup". */
static void
catch_up (GwJob *job, const GwHostResumed *resumed)
{
    if (!job->in_postcopy || resumed->migration == NULL)
        return;
    g_free (job->destination_status);
    job->destination_status =
        g_strdup (strcmp (resumed->migration, "setup") == 0 ? "postcopy-paused" : resumed->migration);
    job->needs_link |= !resumed->has_courier;
}

/* The job is closed there: QEMU has fetched everything, or has ended. */
static void
look_what_became (GwJob *job, GwHost *host)
{
    g_autoptr (JsonObject) seen = gw_host_get_evidence (host, job->id, GW_SIDE_DESTINATION, NULL, NULL);
    if (seen == NULL || strcmp (gw_json_peek_string (seen, "result", ""), "arrived") != 0)
        return;
    job->destination_is_gone = strcmp (gw_json_peek_string (seen, "qemu", ""), "gone") == 0;
    if (strcmp (gw_json_peek_string (seen, "migration", ""), "completed") != 0)
        return;
    g_free (job->destination_status);
    job->destination_status = g_strdup ("completed");
    g_free (job->arrived_state);
    job->arrived_state = g_strdup (gw_json_peek_string (seen, "run_state", "unknown"));
}

static void
replace_destination (GwJob *job, GwHost *host)
{
    g_clear_pointer (&job->health_answer, gw_host_pending_free);
    g_clear_pointer (&job->start, gw_host_pending_free);
    gw_host_free (job->destination.host);
    job->destination.host = host;
    gw_job_watch (&job->destination);
}

static gboolean
connect_again (GwJob *job, GError **error)
{
    g_auto (GwHostResumed) resumed = { 0 };
    gboolean has_images = has_copies (job) && !job->disks_are_done;
    const GwHostImages images = { job->disks, job->vm->user };
    GCancellable *cancellable = job->in_postcopy ? NULL : job->cancellable;
    g_autoptr (GwHost) host = gw_host_open_remote (job->plan->destination, gw_job_link_patience_s (job), job->context,
                                                   cancellable, error);
    if (host == NULL)
        return FALSE;
    if (!gw_host_resume_job (host, job->id, job->token, job->source_grace_s > 0, has_images ? &images : NULL, &resumed,
                             cancellable, error)) {
        if (job->in_postcopy)
            look_what_became (job, host);
        if (job->arrived_state == NULL)
            return FALSE;
        g_clear_error (error);
    }
    replace_destination (job, g_steal_pointer (&host));
    catch_up (job, &resumed);
    return gw_host_is_open (job->destination.host) || /* it went before it was watched */
           gw_fail (error, GW_CAUSE_AGENT_LOST, "the next agent has ended, too");
}

/* An agent that is not there, or an old one that has not ended: it may yet be otherwise. */
static gboolean
is_passing (const GError *error)
{
    static const GwCause lasting[] = { GW_CAUSE_NOT_ALLOWED, GW_CAUSE_QEMU_DIED,    GW_CAUSE_COURIER_DIED,
                                       GW_CAUSE_ABORTED,     GW_CAUSE_RPC_INVALID, GW_CAUSE_PROTOCOL_MISMATCH,
                                       GW_CAUSE_DISK_IMAGE };
    for (guint i = 0; i < G_N_ELEMENTS (lasting); i++)
        if (lasting[i] == gw_error_get_cause (error))
            return FALSE;
    return TRUE;
}

static void
end_away (GwJob *job)
{
    gint64 for_ms = (g_get_real_time () - job->away_us) / 1000;
    job->away_us = 0;
    if (job->health == NULL && !job->in_postcopy)
        gw_job_start_health (job);
    gw_job_repeat_proof (job);
    gw_job_note (job, GW_SIDE_DESTINATION, "agent-back", "after %" G_GINT64_FORMAT " ms", for_ms);
    let_go (job);
}

/* With the guest at the destination there is no end to it, as long as there is something to fetch. */
static gboolean
has_time (const GwJob *job)
{
    gboolean is_bound = job->machine.state == GW_JOB_STARTED && !job->source_is_gone && !job->destination_is_gone &&
                        g_strcmp0 (job->source_status, "completed") != 0;
    return is_bound || g_get_monotonic_time () < job->away_until_us;
}

gboolean
gw_job_regain (GwJob *job, GError **error)
{
    g_autoptr (GError) failure = NULL;
    if (!gw_job_is_away (job))
        return TRUE;
    if (!job->in_postcopy)
        hold_memory (job);
    if (g_get_monotonic_time () < job->next_try_us)
        return TRUE;
    job->next_try_us = gw_deadline_ms (PAUSE_MS);
    if (connect_again (job, &failure)) {
        end_away (job);
        return TRUE;
    }
    if (is_passing (failure) && has_time (job))
        return TRUE;
    gw_job_look_for_loss (job);
    if (gw_job_has_sign (job, GW_SIGN_GUEST_LOST))
        return gw_job_fail_with_fault (job, error);
    if (gw_error_get_cause (failure) == GW_CAUSE_ABORTED) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return FALSE;
    }
    job->away_side = GW_SIDE_DESTINATION; /* which had its time, whoever ended first */
    gw_job_tell_away (job, failure->message);
    return gw_job_fail_with_fault (job, error);
}

gboolean
gw_job_need_destination (GwJob *job, GError **error)
{
    if (!gw_job_is_away (job))
        return TRUE;
    gw_job_tell_away (job, "QEMU has come to the end of the guest's memory meanwhile");
    return gw_job_fail_with_fault (job, error);
}

/* What is kept there would wait in vain, and the VM's next job with it. */
void
gw_job_give_back (GwJob *job)
{
    gint64 deadline = gw_deadline_ms (GIVE_BACK_MS);
    /* asked for is enough: the answer may have been lost */
    if (job->token == NULL || (job->destination.host != NULL && gw_host_is_open (job->destination.host)))
        return;
    g_autoptr (GCancellable) users = g_steal_pointer (&job->cancellable); /* who aborts wants this too */
    job->cancellable = g_cancellable_new ();
    for (;;) {
        g_autoptr (GError) error = NULL;
        gboolean ok = connect_again (job, &error);
        if (ok || !is_passing (error) || g_get_monotonic_time () > deadline)
            break;
        (void) gw_wait_ms (job->context, PAUSE_MS, NULL, NULL);
    }
    g_object_unref (job->cancellable);
    job->cancellable = g_steal_pointer (&users);
}
