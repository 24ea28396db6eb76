/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The proof that copied disks are equal.
 *
 * First every chunk of every disk is hashed on both sides, in the mirror's wake, while the guest runs.
 * What differs was being written, or is wrong; it goes into the next round, together with what the guest
 * has written since.  The rounds become short.  The last one runs with the guest stopped and the mirrors
 * ended: it must find no difference, and then there is none, because every chunk was equal at some time
 * after its last write.
 *
 * Of a copy that is resumed, what differs is sent by the source's agent, beside the mirror, which only
 * carries what the guest writes.  The two may overtake each other; the next round sees that too.
 */
#include "job-internal.h"

#include <string.h>

#define POLL_MS 5
/* For the last round, in which the guest stands still: this many times the allowed downtime, within bounds.
 * Mostly it takes milliseconds; a disk that answers after seconds is not worth the guest's waiting for it. */
#define LAST_SHARE 16
#define LAST_MIN_MS 5000
#define LAST_MAX_MS 20000
#define FULL_MS 3600000      /* ... when it was asked to look at everything again */
#define FEW 16               /* chunks that differ and do not matter yet, if they are soon read */
#define SHARE 4              /* of the allowed downtime, for reading them */
#define LONG_US (2 * G_USEC_PER_SEC) /* a round; the time of a shorter one is rather that of asking for it */
#define PAUSE_US (G_USEC_PER_SEC) /* between rounds while the guest runs */

struct _GwJobProof {
    guint64 seed;
    GArray *runs;    /* GwChunkRun: of this round */
    GArray *here, *there; /* guint64: hashes that have come */
    GArray *next;    /* GwChunkRun: those that differed, sorted */
    gint64 n_chunks; /* of this round */
    gint64 begun_us; /* this round, or the one before */
    gint64 ended_us; /* of the round before, 0: one is under way */
    gint64 longest_us, chunk_us; /* of the rounds that took long, the longest, and each of its chunks */
    guint n_rounds;  /* ended */
    gint64 n_compared, n_last;
    gboolean here_is_done, there_is_done;
    gboolean is_unsure;  /* whether the sides began this round: the network was silent */
    gboolean is_sending; /* what differed is on its way; the round is over when it has arrived */
    GArray *disks;       /* gint64: chunks of each that is copied */
    GArray *sent;        /* gint64: of each, how many */
};

void
gw_job_proof_free (GwJobProof *proof)
{
    if (proof == NULL)
        return;
    g_array_unref (proof->runs);
    g_array_unref (proof->next);
    g_array_unref (proof->here);
    g_array_unref (proof->there);
    g_array_unref (proof->disks);
    g_array_unref (proof->sent);
    g_free (proof);
}

/* --- one round ----------------------------------------------------------------------------------------------- */

static gboolean
ask_sides (GwJob *job, GError **error)
{
    GwJobProof *proof = job->proof;
    g_array_set_size (proof->here, 0);
    g_array_set_size (proof->there, 0);
    proof->here_is_done = proof->there_is_done = FALSE;
    proof->begun_us = g_get_monotonic_time ();
    proof->ended_us = 0;
    proof->is_unsure = TRUE;
    if (!gw_host_hash_disks (job->destination.host, proof->runs, proof->seed, FALSE, NULL, error) ||
        !gw_host_hash_disks (job->source.host, proof->runs, proof->seed, FALSE, NULL, error))
        return FALSE;
    proof->is_unsure = FALSE;
    return TRUE;
}

static gboolean
start_round (GwJob *job, GError **error)
{
    GwJobProof *proof = job->proof;
    gw_chunk_runs_merge (proof->runs, GW_CHUNK_RUNS_MAX);
    proof->n_chunks = gw_chunk_runs_count (proof->runs);
    g_array_set_size (proof->next, 0);
    return ask_sides (job, error);
}

static gboolean
is_resumed (const GwJob *job, guint disk)
{
    for (guint i = 0, k = 0; i < job->disks->disks->len; i++) {
        const GwDiskPlan *plan = job->disks->disks->pdata[i];
        if (gw_disk_plan_is (plan, "copy") && k++ == disk)
            return plan->resumes;
    }
    return FALSE;
}

/* What differed and belongs to a copy that is resumed. */
static gboolean
start_sending (GwJob *job, GError **error)
{
    GwJobProof *proof = job->proof;
    g_array_set_size (proof->runs, 0);
    for (guint i = 0; i < proof->next->len; i++) {
        const GwChunkRun *run = &g_array_index (proof->next, GwChunkRun, i);
        if (is_resumed (job, run->disk))
            g_array_append_vals (proof->runs, run, 1);
    }
    if (proof->runs->len == 0)
        return TRUE;
    gw_chunk_runs_merge (proof->runs, GW_CHUNK_RUNS_MAX);
    proof->n_chunks = gw_chunk_runs_count (proof->runs);
    for (guint i = 0; i < proof->runs->len; i++) {
        const GwChunkRun *run = &g_array_index (proof->runs, GwChunkRun, i);
        g_array_index (proof->sent, gint64, run->disk) += run->count;
    }
    proof->is_sending = TRUE;
    proof->ended_us = 0;
    proof->here_is_done = FALSE;
    g_array_set_size (proof->here, 0);
    return gw_host_hash_disks (job->source.host, proof->runs, proof->seed, TRUE, NULL, error);
}

/* What differed, and what was written since the round before began. */
static gboolean
start_next_round (GwJob *job, GError **error)
{
    g_autoptr (GArray) written = gw_host_cut_proof (job->source.host, job->proof->disks, NULL, error);
    if (written == NULL)
        return FALSE;
    g_array_set_size (job->proof->runs, 0);
    if (written->len > 0)
        g_array_append_vals (job->proof->runs, written->data, written->len);
    if (job->proof->next->len > 0)
        g_array_append_vals (job->proof->runs, job->proof->next->data, job->proof->next->len);
    return start_round (job, error);
}

static void
end_round (GwJobProof *proof)
{
    guint index = 0;
    for (guint i = 0; i < proof->runs->len; i++) {
        const GwChunkRun *run = &g_array_index (proof->runs, GwChunkRun, i);
        for (gint64 k = 0; k < run->count; k++, index++) {
            if (g_array_index (proof->here, guint64, index) != g_array_index (proof->there, guint64, index))
                gw_chunk_runs_add (proof->next, run->disk, run->first + k, 1);
        }
    }
    proof->n_rounds++;
    proof->n_compared += proof->n_chunks;
    proof->n_last = proof->n_chunks;
    proof->ended_us = g_get_monotonic_time ();
    gint64 took_us = proof->ended_us - proof->begun_us;
    if (proof->n_chunks > 0 && took_us > proof->longest_us) {
        proof->longest_us = took_us;
        proof->chunk_us = took_us / proof->n_chunks;
    }
}

/* Takes what has come; TRUE also when the round goes on. */
static gboolean
advance (GwJob *job, GError **error)
{
    GwJobProof *proof = job->proof;
    if (proof->ended_us != 0)
        return TRUE;
    if (proof->is_unsure)
        return ask_sides (job, error);
    if (!proof->here_is_done &&
        !gw_host_get_hashes (job->source.host, proof->n_chunks, proof->here, &proof->here_is_done, NULL, error))
        return FALSE;
    if (proof->is_sending) {
        proof->is_sending = !proof->here_is_done;
        proof->ended_us = proof->here_is_done ? g_get_monotonic_time () : 0;
        return TRUE;
    }
    if (!proof->there_is_done &&
        !gw_host_get_hashes (job->destination.host, proof->n_chunks, proof->there, &proof->there_is_done,
                             NULL, error))
        return FALSE;
    if (!proof->here_is_done || !proof->there_is_done)
        return TRUE;
    if (proof->here->len != proof->n_chunks || proof->there->len != proof->n_chunks)
        return gw_fail (error, GW_CAUSE_DISK_SYNC,
                        "the comparison of the disks is not whole: %u and %u hashes of %" G_GINT64_FORMAT,
                        proof->here->len, proof->there->len, proof->n_chunks);
    end_round (proof);
    return start_sending (job, error);
}

static gboolean
fail_late (const GwJobProof *proof, GError **error)
{
    return gw_fail (error, GW_CAUSE_DISK_SYNC,
                    "the comparison of the disks takes too long: in round %u the source has read %u and the "
                    "destination %u of %" G_GINT64_FORMAT " MiB",
                    proof->n_rounds + 1, proof->here->len, proof->there->len, proof->n_chunks);
}

static gboolean
finish_round (GwJob *job, gint64 deadline_us, GError **error)
{
    while (job->proof->ended_us == 0) {
        if (!advance (job, error))
            return FALSE;
        if (gw_job_has_fault (job))
            return gw_job_wait (job, NULL, 0, error);
        if (g_get_monotonic_time () > deadline_us)
            return fail_late (job->proof, error);
        if (job->proof->ended_us == 0)
            (void) gw_wait_ms (job->context, POLL_MS, NULL, NULL);
    }
    return TRUE;
}

/* --- while the guest runs, and after ---------------------------------------------------------------------------- */

gboolean
gw_job_start_proof (GwJob *job, GError **error)
{
    if (strcmp (job->plan->verify, "none") == 0)
        return TRUE;
    job->proof = g_new0 (GwJobProof, 1);
    job->proof->longest_us = LONG_US;
    job->proof->seed = (guint64) g_random_int () << 32 | g_random_int ();
    job->proof->disks = gw_chunk_disks_new (job->disks);
    job->proof->runs = gw_chunk_runs_new (job->proof->disks);
    job->proof->next = gw_chunk_runs_new (NULL);
    job->proof->sent = g_array_new (FALSE, TRUE, sizeof (gint64));
    g_array_set_size (job->proof->sent, job->proof->disks->len);
    job->proof->here = g_array_new (FALSE, FALSE, sizeof (guint64));
    job->proof->there = g_array_new (FALSE, FALSE, sizeof (guint64));
    return gw_host_begin_proof (job->source.host, job->disks, job->cancellable, error) &&
           start_round (job, error);
}

/* A network that is silent only delays it: the agent of the other side answers later. */
gboolean
gw_job_go_on_with_proof (GwJob *job, GError **error)
{
    GwJobProof *proof = job->proof;
    g_autoptr (GError) failure = NULL;
    if (proof == NULL || job->disks_are_done || job->is_stopping || job->outage_us != 0 || gw_job_is_away (job))
        return TRUE;
    gboolean is_due = proof->ended_us != 0 && g_get_monotonic_time () - proof->ended_us > PAUSE_US;
    if (is_due ? start_next_round (job, &failure) : advance (job, &failure))
        return TRUE;
    if (gw_error_get_cause (failure) == GW_CAUSE_RPC_TIMEOUT || gw_job_is_lost_for_now (job, failure))
        return TRUE;
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
}

void
gw_job_repeat_proof (GwJob *job)
{
    if (job->proof != NULL && job->proof->ended_us == 0 && !job->proof->is_sending)
        job->proof->is_unsure = TRUE;
}

gboolean
gw_job_proof_has_round (const GwJob *job)
{
    return job->proof == NULL || job->proof->n_rounds > 0;
}

/* Of a disk that is slow to read they are fewer. */
static gint64
get_few (const GwJob *job)
{
    gint64 may_take_us = job->plan->max_downtime_ms * 1000 / SHARE;
    gint64 in_time = may_take_us / MAX (job->proof->chunk_us, 1);
    return CLAMP (in_time, 1, FEW);
}

/* What the last round would have to read besides what is written until then. */
static gint64
count_left (const GwJobProof *proof)
{
    gint64 n_read = MIN (proof->here->len, proof->there->len);
    return gw_chunk_runs_count (proof->next) + (proof->ended_us == 0 ? proof->n_chunks - n_read : 0);
}

gboolean
gw_job_proof_can_switch (const GwJob *job)
{
    return job->proof == NULL || (job->proof->n_rounds > 0 && !job->proof->is_sending &&
                                  count_left (job->proof) <= get_few (job));
}

void
gw_job_proof_add_pace (const GwJob *job, GwDiskSample *sample)
{
    sample->rounds = job->proof != NULL ? job->proof->n_rounds : 0;
    sample->differing = sample->rounds > 0 ? gw_chunk_runs_count (job->proof->next) : 0;
    sample->few = job->proof != NULL ? get_few (job) : FEW;
}

gint64
gw_job_proof_get_sent (const GwJob *job, guint disk)
{
    return job->proof != NULL && disk < job->proof->sent->len
               ? g_array_index (job->proof->sent, gint64, disk) * GW_CHUNK_BYTES
               : 0;
}

static gboolean
fail_different (GwJob *job, GError **error)
{
    const GwChunkRun *first = &g_array_index (job->proof->next, GwChunkRun, 0);
    const GwMirror *mirror = first->disk < job->mirrors->mirrors->len
                                 ? job->mirrors->mirrors->pdata[first->disk]
                                 : NULL;
    return gw_fail (error, GW_CAUSE_DISK_DIFFERS,
                    "disk '%s': the copy differs from the disk in %" G_GINT64_FORMAT " MiB, first at byte %" G_GINT64_FORMAT,
                    mirror != NULL ? mirror->name : "?", gw_chunk_runs_count (job->proof->next),
                    first->first * GW_CHUNK_BYTES);
}

/* The guest stands still, and every write has arrived. */
static gboolean
compare_last (GwJob *job, GError **error)
{
    gboolean is_full = strcmp (job->plan->verify, "full") == 0 || strcmp (job->plan->verify, "all") == 0;
    gint64 allowed_ms = LAST_SHARE * job->plan->max_downtime_ms;
    gint64 last_ms = CLAMP (allowed_ms, LAST_MIN_MS, LAST_MAX_MS);
    gint64 deadline =
        gw_deadline_ms (is_full || !job->vm->is_running ? FULL_MS : (guint) last_ms);
    if (!finish_round (job, deadline, error))
        return FALSE;
    if (is_full) {
        g_array_unref (job->proof->next);
        job->proof->next = gw_chunk_runs_new (job->proof->disks);
    }
    if (!start_next_round (job, error) || !finish_round (job, deadline, error))
        return FALSE;
    /* what was sent just now was not looked at again */
    return job->proof->next->len == 0 ||
           (start_next_round (job, error) && finish_round (job, deadline, error));
}

gboolean
gw_job_finish_proof (GwJob *job, GError **error)
{
    gint64 started_us = g_get_monotonic_time ();
    if (job->proof == NULL)
        return TRUE;
    if (!compare_last (job, error))
        return FALSE;
    if (job->proof->next->len > 0)
        return fail_different (job, error);
    gw_job_note (job, GW_SIDE_NONE, "disks-equal",
                 "%" G_GINT64_FORMAT " MiB compared in %u rounds, the last %" G_GINT64_FORMAT
                 " MiB with the guest stopped in %" G_GINT64_FORMAT " ms",
                 job->proof->n_compared, job->proof->n_rounds, job->proof->n_last,
                 (g_get_monotonic_time () - started_us) / 1000);
    job->disks_are_equal = TRUE;
    return gw_host_end_proof (job->source.host, NULL, error) &&
           gw_host_end_proof (job->destination.host, NULL, error);
}
