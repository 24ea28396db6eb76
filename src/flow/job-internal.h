/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside src/flow, ordered by owning file. */
#ifndef GW_JOB_INTERNAL_H
#define GW_JOB_INTERNAL_H

#include "check.h"
#include "converge.h"
#include "diskpace.h"
#include "flow.h"
#include "verdict.h"

typedef enum {
    GW_JOB_PLANNED,
    GW_JOB_RUNNING,
    GW_JOB_RELEASED,
    GW_JOB_STARTED, /* in postcopy: runs at the destination, not all of its memory is there */
    GW_JOB_UNDOING,
    GW_JOB_MOVED,
    GW_JOB_STAYED,
    GW_JOB_UNDECIDED,
    GW_JOB_LOST,
} GwJobState;

typedef enum {
#define X(id, name, phase, undo, away) GW_STEP_##id,
#include "steps.def"
#undef X
    GW_N_STEPS
} GwStep;

/* One side of the job, for the callback of its host. */
typedef struct {
    GwJob *job;
    GwSide side;
    GwHost *host;
    gint64 clock_offset_us; /* that host's clock minus ours */
    gint64 clock_error_us;  /* by how much that may be wrong */
} GwJobSide;

/* What broke first in a trial of the link; no text: nothing. */
typedef struct {
    GwCause cause;
    GwSide side;
    char *text;
} GwLinkTrouble;

#define GW_JOB_CODEC_CLASSES 7

/* Sums over all couriers of the job. */
typedef struct {
    gboolean is_on;
    gint64 in_bytes, out_bytes; /* of QEMU, of the link */
    gint64 memory_bytes;        /* of the source's index and cache, at most */
    struct {
        gint64 pages, in_bytes, out_bytes; /* out: before compression */
    } classes[GW_JOB_CODEC_CLASSES];
} GwJobCodec;

struct _GwJob {
    int refs; /* atomic */
    char *id;
    GwPlan *plan;
    GwHostConfig *config;
    GCancellable *cancellable; /* the user's abort; not looked at after the turn */

    GMutex lock; /* guards progress, report, is_past_turn, has_postcopy, may_leave */
    GwProgress *progress;
    JsonObject *report;
    gboolean is_past_turn;
    gboolean has_postcopy; /* the user may ask for it now */
    gint wants_postcopy;   /* atomic: the user did */
    gboolean may_leave;    /* this agent may end, and the next one goes on */
    gint wants_leave;      /* atomic: it does */

    /* from here on: the job's thread only */
    GMainContext *context;
    GwJournal *journal; /* NULL: nothing of it is written */
    GwJobProgressFn progress_fn;
    gpointer progress_data;
    GwMachine machine; /* GwJobState */
    GwStep step;
    GwTimeline *timeline;
    gint64 started_us; /* wall clock */
    gint64 verified_us; /* all of the VM is there and runs; what follows is watching; 0: not so far */
    gint64 ended_us;

    GwJobSide source, destination;
    GwVm *vm;
    gint64 epoch; /* that the destination will own */
    GwDerived *derived;
    GwHostFacts *source_facts, *destination_facts;
    GPtrArray *checks; /* GwCheckResult */
    JsonObject *probe;     /* what the report says of the link that a check tried; NULL: nothing */
    JsonObject *prediction; /* the same; NULL: there was none */
    gint64 launch_us; /* that the throw-away QEMU of the rehearsal took to start; 0: not known */
    JsonObject *rehearsal; /* what the report says of it; NULL: there was none */
    GwDiskPlans *disks; /* what becomes of each; NULL before the check */
    GwMirrors *mirrors; /* the last that was read; NULL: none */
    struct _GwJobProof *proof; /* NULL: the copies are not compared */
    gboolean disks_are_equal;  /* that was proven */
    gboolean disks_are_packed; /* on their way, where it pays */
    gint64 disk_plain_bytes;   /* what went into their lanes; disk_bytes came out */
    gboolean disks_are_done;   /* every copy is complete, and its image closed */
    gboolean disk_read_failed; /* QEMU said that it cannot read a disk that it copies */
    gint64 disk_bytes;         /* that the link carried for them */
    GStrv link_addresses;
    uint8_t secret[GW_HOST_SECRET_BYTES];
    GwHostPending *start; /* the destination's start under way */

    GPtrArray *signs;     /* GwSign */
    GPtrArray *warnings;  /* char * */
    char *source_status, *destination_status; /* QEMU's migration statuses */
    gboolean guest_is_off;
    gboolean source_is_gone, destination_is_gone; /* the QEMU of that side has ended */
    gboolean is_stopping; /* the guest was told to stand still for the switchover */
    gboolean is_forced;   /* ... and not to run on because it takes long */
    guint round, seen_round; /* of QEMU's precopy: the last that began, the last that was judged */
    GwDiskPace disk_pace;
    gint64 disk_limit_bps;    /* for the guest's writes to each copied disk; 0: none */
    gboolean disks_were_held; /* each write goes to both, where QEMU could change that */
    GwConverge converge;
    GwEstimate estimate;      /* of the last look */
    GwHostPostcopy postcopy;  /* what both QEMUs are set up for */
    gboolean is_postcopy_asked; /* QEMU was told to */
    gboolean in_postcopy;     /* ... and may go on from pre-switchover: no fault of the link ends the job */
    gboolean needs_link;      /* in postcopy: a courier is gone */
    gboolean is_resuming;     /* the source's QEMU was told to, and has said nothing of it yet */
    gint64 postcopy_us;       /* when QEMU went over to it */
    GwGuestClock guest_clock; /* at the source; what became of it at the destination */
    gboolean has_asked_clock, has_guest_clock;
    gint64 guest_clock_behind_us; /* when it had moved */
    gint64 blocktime_ms;      /* all virtual processors waited for pages; -1: not known */
    gint64 n_recoveries, n_attempts, n_failed; /* those that succeeded; all; failed since then */
    char *recovery;           /* what is being done, for people; NULL: nothing */
    struct {
        GwSide side;
        gint64 at_us; /* 0: none */
        char *text;
    } lost_courier;           /* in postcopy: the first that ended since the link was made; a fault only if that is not mended */
    gboolean is_trial;        /* of the link: an end of its couriers concerns that alone */
    GwLinkTrouble trial_trouble;
    char *token;          /* with which the destination's next agent gives the job back; NULL: not asked so far */
    gboolean is_kept;     /* that was asked for */
    gint64 grace_s;       /* how long there may be none; 0: not at all */
    gint64 source_grace_s; /* likewise for this agent */
    gboolean is_bound, source_is_bound; /* in postcopy there may be none however long; likewise */
    char *arrived_state;   /* while there was none, the destination's agent found all memory there: the guest's state */
    guint draft_events;    /* that the last draft had */
    gint64 draft_due_us;   /* monotonic: of the next */
    JsonArray *old_checks; /* those that an agent before this one made; NULL: none */
    gint64 first_attempt;  /* to recover; those of agents before this one, since the host was booted, have lower numbers */
    gboolean is_taken_up; /* an agent before this one began it */
    gboolean has_left;    /* it is left to the next one */
    gint64 away_us;       /* wall clock: since when there is none; 0: there is one */
    gint64 away_until_us, next_try_us; /* monotonic */
    GwSide away_side; /* whose agent ended */
    char *away_why;
    gboolean is_held;     /* memory is sent slowly */
    gboolean link_is_up; /* couriers are connected: their end counts */
    gint64 clock_us;     /* monotonic: when the clocks were compared last */
    gint64 outage_us;    /* our clock: since when no path is up; 0: one is */
    GArray *outages;     /* GwOutage: those that are over */
    JsonObject *link;    /* the source courier's counters; NULL: not known */
    JsonObject *page_waits; /* what the destination's courier saw of requested pages; NULL: nothing */
    guint n_paths, max_paths; /* up now, and at most at once */

    gint64 stop_us, running_us;  /* our clock: guest stopped at the source, runs at the destination */
    gint64 setup_us, switchover_us; /* when RAM began to flow; when the guest stopped */
    GwMigration *migration;      /* the last that was read */
    gint64 guest_bytes, wire_bytes;
    GwJobCodec codec;
    JsonObject *ram_proof; /* what the report says of the comparison of memory; NULL: there was none */
    char *final_state; /* run state at the destination */
    const GwSign *verdict; /* borrowed from signs; NULL: none */
    GSource *health;             /* while the destination's QEMU is asked; NULL: it is not */
    GwHostPending *health_answer; /* NULL: nothing is asked */
    gint64 health_asked_us;      /* wall clock */
};

/* --- codec.c: memory on its way through the RAM codec -------------------------------------------------- */

/* What each side of it may use for a job's couriers; 0: none is wanted. */
gint64 gw_job_get_codec_bytes (const GwJob *job);
/* Of the RAM lane's counters: how much of what QEMU wrote has arrived, and how much is on its way.  FALSE when
 * there is no codec: then the link's own bytes are QEMU's. */
gboolean gw_job_peek_credit (JsonObject *ram, gint64 *ret_acked, gint64 *ret_queued);
/* At the end of a courier: adds its counters. */
void gw_job_take_codec (GwJob *job, JsonObject *ram);
/* --verify ram or all. */
gboolean gw_job_wants_ram_proof (const GwJob *job);
/* FALSE when that needs the codec and there is none. */
gboolean gw_job_can_prove_ram (const GwJob *job, gint64 codec_bytes, GError **error);
/* What the comparison adds to the downtime. */
gint64 gw_job_estimate_proof_ms (const GwJob *job);
/* QEMU has sent everything and stands still, and has not been released: nothing was lost. */
gboolean gw_job_prove_ram (GwJob *job, GError **error);
/* For the report.  (transfer full) */
JsonObject *gw_job_report_codec (const GwJob *job);

/* --- away.c: the destination's agent is started again ------------------------------------------------------ */

/* Before `step`: asks the destination to keep the job, if the step is one that waits. */
void gw_job_keep (GwJob *job, GwStep step);
/* Whether the loss of the destination's agent is no fault now; then it is noted. */
gboolean gw_job_may_wait (const GwJob *job);
/* `side`: whose agent ended, and is to blame if the job cannot be kept alive for that. */
void gw_job_note_away (GwJob *job, GwSide side, const char *why);
gboolean gw_job_is_away (const GwJob *job);
/* Notes that it is away when `error` says so, and that is no fault now. */
gboolean gw_job_is_lost_for_now (GwJob *job, const GError *error);
/* Now and then while it is away: tries to go on with the next agent.  FALSE with the fault when that is over. */
gboolean gw_job_regain (GwJob *job, GError **error);
/* The guest stands still: there is no time to wait for it any more. */
gboolean gw_job_need_destination (GwJob *job, GError **error);
/* The job has failed: that the agent is away is one of the signs. */
void gw_job_tell_away (GwJob *job, const char *more);
/* The job has failed in postcopy: so is that a courier ended, which was to be mended. */
void gw_job_tell_courier (GwJob *job);
/* The job is undone: takes it up once more, so that it can be closed. */
void gw_job_give_back (GwJob *job);

/* --- takeup.c: this agent is started again ------------------------------------------------------------------ */

/* In place of all steps before the memory's; `in_postcopy` then, of all before postcopy's.  FALSE: the job is none of
 * ours. */
gboolean gw_job_take_up (GwJob *job, GError **error);
/* From now on this agent may end, or not any more. */
void gw_job_let_leave (GwJob *job, gboolean may);
/* draft.c: what has happened so far, for that one; now, or if it is time again. */
void gw_job_write_draft (GwJob *job);
void gw_job_follow_draft (GwJob *job);
void gw_job_take_draft (GwJob *job, JsonObject *draft);
/* It ends, and the job is left as it is: TRUE with an error that ends the step. */
gboolean gw_job_has_left (GwJob *job, GError **error);

/* --- events.c --------------------------------------------------------------------------------------- */

/* Follows the events of one side. */
void gw_job_watch (GwJobSide *side);
/* The guest was started in postcopy: a QEMU that had ended before that takes it along too. */
void gw_job_look_for_loss (GwJob *job);
void gw_job_note (GwJob *job, GwSide side, const char *event, const char *format, ...)
    G_GNUC_PRINTF (4, 5);
void gw_job_warn (GwJob *job, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* Waits until `done` or a fault; FALSE with the fault's error (or ABORTED, TIMED_OUT). */
gboolean gw_job_wait (GwJob *job, GwWaitFn done, gint64 deadline_us, GError **error);

/* --- faults.c: signs and the verdict ------------------------------------------------------------------ */

/* `at_us` by our clock, 0 for now. */
void gw_job_add_sign (GwJob *job, GwSignKind kind, GwSide side, gint64 at_us, GwCause cause,
                      const char *text);
gboolean gw_job_has_fault (const GwJob *job);
gboolean gw_job_has_sign (const GwJob *job, GwSignKind kind);
/* FALSE with the error of what is the first fault so far. */
gboolean gw_job_fail_with_fault (GwJob *job, GError **error);
/* The end of the job's steps was `error`: waits for what it is a consequence of, and sets
 * `job->verdict`. */
void gw_job_find_verdict (GwJob *job, GwSide blame, const GError *error);
/* QEMU's exit as a sign. */
GwSignKind gw_job_kind_of_exit (const char *how);

/* --- health.c: whether the destination answers ---------------------------------------------------------- */

/* Asks the destination's QEMU every second from now on; silence becomes a fault. */
void gw_job_start_health (GwJob *job);
void gw_job_stop_health (GwJob *job);

/* --- guestclock.c --------------------------------------------------------------------------------- */

/* Before the guest is stopped, and when it runs at the destination.  A guest without an agent is a note. */
void gw_job_read_guest_clock (GwJob *job);
void gw_job_set_guest_clock (GwJob *job);
/* Of the report: {agent, why?, behind_ms?, corrected?, left_ms?}, or null.  (transfer full) */
JsonNode *gw_job_report_guest_clock (const GwJob *job);

/* --- link.c: the link as the job sees it -------------------------------------------------------------- */

typedef struct {
    gint64 at_us, for_us; /* our clock */
} GwOutage;

/* What the courier of a side says of its link; into the timeline too. */
void gw_job_on_courier (GwJobSide *side, gint64 at_us, const char *detail);
/* Compares the clocks over the link, now and then. */
void gw_job_follow_clock (GwJob *job);
/* The side to blame when something with the courier of `side` fails with `cause`. */
GwSide gw_job_blame_cause (GwSide side, GwCause cause);
/* "link down for 3 s, guest unaffected", NULL while it is up.  (transfer full) */
char *gw_job_describe_outage (const GwJob *job, gint64 now_us);
/* How long the network may be silent before the connection to the destination's agent is dead. */
guint gw_job_link_patience_s (const GwJob *job);
/* The guest is stopped for the switchover: a round trip over the link within the downtime allowed, or
 * it must go on.  Spooled, nothing that happens to the link then stops QEMU in its last step. */
gboolean gw_job_prove_link (GwJob *job, GwSide *blame, GError **error);
gboolean gw_job_spool_link (GwJob *job, GError **error);
/* Keeps what the report says of the link. */
void gw_job_take_link (GwJob *job, JsonObject *stats);
/* For the report; the one that lasts included. */
JsonArray *gw_job_list_outages (const GwJob *job);

/* --- probe.c ---------------------------------------------------------------------------------------------- */

typedef struct {
    gint64 rtt_us, bytes, us;
} GwLinkTrial;

/* Connects couriers, sends as much as passes in a moment, and ends them again. */
gboolean gw_job_try_link (GwJob *job, GwLinkTrial *ret, GwSide *blame, GError **error);

/* --- steps_predict.c -------------------------------------------------------------------------------------- */

/* Puts the prediction among the checks and into the report, from what was measured so far. */
void gw_job_predict (GwJob *job, const GwLinkTrial *trial);
/* --- disks.c: disks that are copied ---------------------------------------------------------------------- */

/* Reads how far the copies are; FALSE when one has failed. */
gboolean gw_job_look_at_disks (GwJob *job, GError **error);
/* Whether what is left of them fits into a stop: READY was, in step is. */
gboolean gw_job_disks_can_switch (const GwJob *job);
/* "disk0 40%, disk1 running behind by 12.0 MiB", NULL when there is nothing to say.  (transfer full) */
char *gw_job_describe_disks (const GwJob *job);
void gw_job_add_disk_progress (const GwJob *job, GwProgress *progress);
gboolean gw_job_disks_are_in_step (const GwJob *job);
/* Of all that are copied: bytes, bytes left, bytes a second. */
void gw_job_sum_disks (const GwJob *job, gint64 *ret_total, gint64 *ret_left, gint64 *ret_rate);

/* --- disks_slow.c -------------------------------------------------------------------------------------- */

/* After each look at them.  A guest that they cannot follow is held back as far as the user allows; fails
 * when that does not help either. */
gboolean gw_job_keep_disks_in_pace (GwJob *job, GError **error);
/* They are not in step in the time allowed.  FALSE. */
gboolean gw_job_fail_slow_disks (GwJob *job, GError **error);

/* --- disks.c again: the end ----------------------------------------------------------------------------- */

/* How long copies of disks may keep the guest stopped, once before the switchover and once in it. */
guint gw_job_get_disk_limit_ms (const GwJob *job);
/* Stops the guest, which the copies of disks may keep QEMU from: then it runs on, and the job has failed. */
gboolean gw_job_stop_guest (GwJob *job, GError **error);
/* The guest stands still: the rest is copied, the copies end and their images are closed. */
gboolean gw_job_finish_disks (GwJob *job, GwSide *blame, GError **error);
/* For the report. */
JsonArray *gw_job_list_disks (const GwJob *job);

/* --- proof.c: whether the copies are equal --------------------------------------------------------------- */

typedef struct _GwJobProof GwJobProof;
void gw_job_proof_free (GwJobProof *proof);
/* Once the copies are in step: begins to compare them. */
gboolean gw_job_start_proof (GwJob *job, GError **error);
gboolean gw_job_go_on_with_proof (GwJob *job, GError **error);
/* The destination has forgotten what it was to read: the round begins again. */
void gw_job_repeat_proof (GwJob *job);
/* Whether every chunk has been compared once. */
gboolean gw_job_proof_has_round (const GwJob *job);
/* Whether only little is left to compare with the guest stopped. */
gboolean gw_job_proof_can_switch (const GwJob *job);
/* How its rounds go. */
void gw_job_proof_add_pace (const GwJob *job, GwDiskSample *sample);
/* Bytes of a resumed copy, one of those that are copied, that differed and were sent. */
gint64 gw_job_proof_get_sent (const GwJob *job, guint disk);
/* The guest stands still and the mirrors have ended: compares the rest.  GW_CAUSE_DISK_DIFFERS. */
gboolean gw_job_finish_proof (GwJob *job, GError **error);

/* --- progress.c ---------------------------------------------------------------------------------------- */

/* The phase for people. */
const char *gw_job_phase_of (GwStep step);
/* Tells the phase of the current step, and what `job->migration` says. */
void gw_job_report_progress (GwJob *job, gboolean is_done);

/* --- steps_prepare.c ---------------------------------------------------------------------------------- */

/* A new pair of couriers with a secret of their own.  `*blame`: whose could not be started. */
gboolean gw_job_start_couriers (GwJob *job, gint64 attempt, GCancellable *cancellable, GwSide *blame,
                                GError **error);
/* The first pair; blames the link for what is the link's. */
gboolean gw_job_connect_link (GwJob *job, GwSide *blame, GError **error);

/* --- steps_precopy.c ---------------------------------------------------------------------------------- */

gboolean gw_job_read_migration (GwJob *job, GError **error);
/* Of --timeout. */
gboolean gw_job_is_out_of_time (const GwJob *job);
/* The migration ended where it should not have: QEMU's reason, and further words of it line by line.
 * FALSE. */
gboolean gw_job_fail_migration (GwJob *job, GError **error);

/* --- steps_move.c -------------------------------------------------------------------------------------- */

/* RELEASED; from here on an abort comes too late. */
gboolean gw_job_release (GwJob *job, GError **error);
/* The answer to job->start. */
gboolean gw_job_take_start (GwJob *job, gboolean *ret_started, GError **error);
/* Adds what the source's courier has carried. */
void gw_job_read_counters (GwJob *job);

/* --- steps_postcopy.c ---------------------------------------------------------------------------------- */

gboolean gw_job_hand_over_in_postcopy (GwJob *job, GwSide *blame, GError **error);
/* What follows RELEASED: until the destination has STARTED. */
gboolean gw_job_await_start (GwJob *job, GError **error);

/* --- recover.c ------------------------------------------------------------------------------------------- */

/* In postcopy: whether QEMU or a courier has lost its connection. */
gboolean gw_job_needs_recovery (const GwJob *job);
/* One attempt to give both QEMUs a new connection, with a pause before it when the last one failed. */
gboolean gw_job_try_recovery (GwJob *job, GError **error);

/* --- steps -------------------------------------------------------------------------------------------------- */

/* The side that a failing step blames when no fault says otherwise. */
#define X(id, name, phase, undo, away) gboolean gw_step_##id (GwJob *job, GwSide *blame, GError **error);
#include "steps.def"
#undef X

void gw_undo_close_jobs (GwJob *job);
void gw_undo_precopy (GwJob *job);
void gw_undo_disks (GwJob *job);

/* --- compare.c ---------------------------------------------------------------------------------------------------- */

/* Compares the VM's QEMU with one of the destination and puts the results among the checks; FALSE with
 * the first refusal. */
gboolean gw_job_compare (GwJob *job, const GwInventory *there, GError **error);

/* --- shared.c ----------------------------------------------------------------------------------------------------- */

/* Writes, reads and removes tokens beside the images, for destination_facts. */
gboolean gw_job_try_tokens (GwJob *job, GError **error);
/* Compares what is in read-only media, for the facts of both sides. */
gboolean gw_job_compare_media (GwJob *job, GError **error);

/* What the policy is given. */
GwAllowance gw_job_get_allowance (const GwJob *job);

/* --- settle.c ---------------------------------------------------------------------------------------------------- */

/* Asks the destination for its record until it answers: STARTED or REFUSED.  FALSE: no answer. */
gboolean gw_job_settle (GwJob *job, GwRecordKind *ret_kind, GError **error);

/* --- story.c -----------------------------------------------------------------------------------------------------------*/

/* The timeline in the order of time and of cause and effect. */
JsonArray *gw_job_tell_story (const GwJob *job);

/* --- report.c ------------------------------------------------------------------------------------------------------- */

JsonObject *gw_job_make_report (GwJob *job);
/* "moved", "stayed", "undecided" or "lost". */
const char *gw_job_result_name (const GwJob *job);

/* --- ledger.c: the job in the journal ------------------------------------------------------------------------------- */

/* Before anything is done.  All of these do nothing for a check. */
gboolean gw_job_open_journal (GwJob *job, GError **error);
/* The VM is known. */
gboolean gw_job_name_in_journal (GwJob *job, const char *label, gint64 epoch, GError **error);
/* `step` is about to be entered, and the one before was left.  FALSE: it must not be. */
gboolean gw_job_mark_step (GwJob *job, const char *step, GError **error);
/* It is undecided with the guest's memory on both hosts: its row stays open, as time alone may not be enough. */
gboolean gw_job_goes_on (const GwJob *job);
/* Ends its row, unless it goes on. */
void gw_job_close_journal (GwJob *job, const char *result, JsonObject *report);

#endif
