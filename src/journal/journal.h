/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * journal: what a host must still know when every process of godwit on it has died.
 *
 * Theory
 * ------
 * One SQLite file a state directory, `journal.db`, shared by the agent, by one-job agents (`--stdio`)
 * and by commands that coordinate a job themselves.  docs/journal.md has the schema and the reasons.
 *
 * Durable before the act.  A function that writes returns TRUE when the change is on the disk: the
 * file is in WAL mode with synchronous=FULL, so each costs one fdatasync().  Whoever acts on something
 * writes it first.  The marks of a job's steps are the exception: they outlive the process at once,
 * but a power cut may take the last of them, and with them the QEMU that they were about.
 *
 * Whoever opens the journal looks at it as at a foreign file: it must be ours by its application id and
 * owner, of a schema that we know (an older one is brought up to date, a newer one refused), and its
 * tables must be the very ones that we make: no trigger, view or column more.  It must belong to this machine
 * and be no copy.  Every text and number
 * that is read has bounds, in one table of columns a query.  What does not fit is GW_CAUSE_JOURNAL_DAMAGED
 * and nothing is guessed.
 *
 * Several writers.  Transactions last for milliseconds; who finds the journal locked waits, ten seconds at most.
 * A lock on something for longer than a transaction, as the decision about a job's record needs it, is one
 * byte of `journal.lock` (gw_journal_try_lock()), which the kernel gives back when its process ends.
 *
 * A GwJournal belongs to one thread.  Functions block for as long as the disk does.
 */
#ifndef GW_JOURNAL_H
#define GW_JOURNAL_H

#include "base.h"
#include "model.h"

typedef struct _GwJournal GwJournal;

/* --- journal.c: opening -------------------------------------------------------------------------- */

typedef enum {
    GW_JOURNAL_QUICK, /* its pages are looked at as they are needed */
    GW_JOURNAL_CHECKED, /* all of it is checked first: for the start of a program */
} GwJournalCare;

/* The journal of `state_dir`, made if there is none.  GW_CAUSE_JOURNAL_IO, GW_CAUSE_JOURNAL_DAMAGED or
 * GW_CAUSE_JOURNAL_NEWER. */
GwJournal *gw_journal_open (const char *state_dir, GwJournalCare care, GError **error);
void gw_journal_close (GwJournal *journal); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwJournal, gw_journal_close)
/* Whether there is one. */
gboolean gw_journal_exists (const char *state_dir);
/* Moves what was written from the log into the file, as far as nobody reads it.  After a job, not in it. */
void gw_journal_tidy (GwJournal *journal);

/* --- lock.c ---------------------------------------------------------------------------------------- */

/* Takes the lock `name` of the state directory: `*ret_fd` holds it until it is closed, -1: another one has
 * it.  FALSE with GW_CAUSE_JOURNAL_IO. */
gboolean gw_journal_try_lock (const char *state_dir, const char *name, int *ret_fd, GError **error);

/* --- jobs.c ---------------------------------------------------------------------------------------- */

#define GW_JOURNAL_JOBS_KEPT 300 /* ended jobs, with their reports; their records stay for ever */
#define GW_JOURNAL_DAYS_KEPT 180

typedef struct {
    const char *job;
    GwSide side;
    const char *vm, *uuid; /* "" when they are not known yet */
    gint64 epoch;          /* that the destination will own; 0: not known yet */
    const char *peer;      /* source: the destination as the plan has it; destination: the name of the peer that
                              opened it, "" for this host's own people */
    JsonObject *plan;      /* NULL: none */
    gint64 pid, start_time; /* the process that works on it */
    const char *boot;       /* the kernel's id of this boot */
} GwJournalJob;

/* Tells whether a process of this boot still runs. */
typedef gboolean (*GwJournalAliveFn) (gint64 pid, gint64 start_time);

/* A job begins here.  GW_CAUSE_VM_BUSY when another one, whose process lives, has this VM on that side;
 * GW_CAUSE_EPOCH_STALE when a record has its epoch or a later one; GW_CAUSE_RPC_INVALID when there was a job of
 * that name. */
gboolean gw_journal_begin_job (GwJournal *journal, const GwJournalJob *job, GwJournalAliveFn is_alive,
                               GError **error);
/* What is known of it by now: vm, uuid, epoch; the same refusals. */
gboolean gw_journal_name_job (GwJournal *journal, const GwJournalJob *job, GwJournalAliveFn is_alive,
                              GError **error);
/* What the job found set in the source's QEMU, before it sets anything else.  What it was; an empty object: nothing
 * was written.  (transfer full) */
gboolean gw_journal_put_settings (GwJournal *journal, const char *job, JsonObject *settings, GError **error);
JsonObject *gw_journal_get_settings (GwJournal *journal, const char *job, GError **error);
/* The job enters `step` ("undo NAME": takes it back), and has left the one before; its grace is over. */
gboolean gw_journal_enter_step (GwJournal *journal, const char *job, GwSide side, const char *step,
                                GError **error);
/* The job is over: `result` "moved", "stayed", "undecided", "lost"; destination: "arrived", "refused".
 * `report` NULL: none.  Jobs that are too old are forgotten. */
gboolean gw_journal_end_job (GwJournal *journal, const char *job, GwSide side, const char *result,
                             JsonObject *report, GError **error);
/* There was nothing in it worth to be kept. */
gboolean gw_journal_forget_job (GwJournal *journal, const char *job, GwSide side, GError **error);

/* --- takeover.c: a job goes on in another process ------------------------------------------------------ */

/* Whoever has `token` (a destination's journal keeps a hash of it) may take the job up within `grace_s` after its process has
 * ended; 0: nobody. */
gboolean gw_journal_keep_job (GwJournal *journal, const char *job, GwSide side, const char *token, gint64 grace_s,
                              GError **error);
/* The process `pid` does not work on it any more, and the grace begins, if it has not begun. */
gboolean gw_journal_leave_job (GwJournal *journal, const char *job, GwSide side, gint64 pid, GError **error);
/* The process of `us` works on the job of that name and side instead of the one of `row`, which has ended.
 * GW_CAUSE_NOT_ALLOWED: the token is another one; GW_CAUSE_VM_BUSY: somebody else was faster. */
gboolean gw_journal_take_job (GwJournal *journal, const GwJournalJob *us, JsonObject *row, const char *token,
                              GError **error);

/* Of an open job at the source: what has happened so far, in the place of its report. */
gboolean gw_journal_put_draft (GwJournal *journal, const char *job, JsonObject *draft, GError **error);
/* What the source's next agent needs: {"plan","token","draft"}.  (transfer full) */
JsonObject *gw_journal_get_kept (GwJournal *journal, const char *job, GError **error);

/* --- vms.c: epochs --------------------------------------------------------------------------------------- */

/* The greatest epoch of VM `uuid` that this host has a record of, 0: none. */
gboolean gw_journal_get_epoch (GwJournal *journal, const char *uuid, gint64 *ret_epoch, GError **error);

/* Who has VM `uuid` as far as this host knows: {"owner","job","seen"} (owner "here", "released", "there", "undecided", "nobody");
 * an empty object when it was never here.  (transfer full) */
JsonObject *gw_journal_find_owner (GwJournal *journal, const char *uuid, GError **error);

/* --- records.c: who may start ------------------------------------------------------------------------ */

#define GW_JOURNAL_RECORDS_MAX 8 /* of one job and side */

/* Their names in the order of writing.  (transfer full) */
GStrv gw_journal_get_records (GwJournal *journal, const char *job, GwSide side, GError **error);
/* Adds one; the VM's owner and epoch change with it.  The first of a job needs an epoch that no record has had:
 * GW_CAUSE_EPOCH_STALE. */
gboolean gw_journal_put_record (GwJournal *journal, const char *job, GwSide side, const char *record,
                                gint64 epoch, const char *vm, GError **error);
/* The destination's STARTED of a guest that is to run, or to stand still as it did at the source. */
gboolean gw_journal_put_started (GwJournal *journal, const char *job, gint64 epoch, const char *vm,
                                 gboolean is_running, GError **error);

/* --- objects.c: what a job makes --------------------------------------------------------------------- */

/* A thing that exists, or will: what it is that may be removed, and nothing that took its place. */
typedef struct {
    const char *kind; /* "file", "directory", "process", "courier", "server", "image", "kept-image", "aside", "token", "quarantine" */
    const char *path; /* process: the program */
    gint64 dev, ino, changed_ns; /* 0: not made so far */
    gint64 pid, start_time;      /* of a process */
} GwJournalObject;

/* Adds them, or changes those of the same kind and path, all or none. */
gboolean gw_journal_put_objects (GwJournal *journal, const char *job, GwSide side,
                                 const GwJournalObject *objects, gsize n_objects, GError **error);
/* A file that outlives its job for a day. */
#define GW_OBJECT_QUARANTINE "quarantine"
/* All of them are gone, or are not the job's any more; but for what is in quarantine. */
gboolean gw_journal_drop_objects (GwJournal *journal, const char *job, GwSide side, GError **error);
gboolean gw_journal_drop_object (GwJournal *journal, const char *job, GwSide side, const char *kind, const char *path,
                                 GError **error);
/* Those of a kind, of all jobs: {"job","side","path","dev","ino","changed_ns"}.  (transfer full) */
JsonArray *gw_journal_list_kind (GwJournal *journal, const char *kind, GError **error);
/* As {"kind","path","dev","ino","changed_ns","pid","start_time"}.  (transfer full) */
JsonArray *gw_journal_list_objects (GwJournal *journal, const char *job, GwSide side, GError **error);

/* --- history.c ------------------------------------------------------------------------------------------ */

/* The report of a job that was coordinated here and has ended; NULL with GW_CAUSE_HOST_IO when there is
 * none.  (transfer full) */
JsonObject *gw_journal_get_report (GwJournal *journal, const char *job, GError **error);
/* The newest `max` jobs, newest first, of all VMs or (name or uuid) of one: {"job","side","vm","uuid","epoch",
 * "peer","result" ("" while it is open),"pid","start_time","boot","began_us","ended_us","grace_s","away_us"}, and
 * "report", without its timeline, where there is one.  (transfer full) */
JsonArray *gw_journal_list_jobs (GwJournal *journal, const char *vm, guint max, GError **error);
/* Both sides of one job, in the same form.  (transfer full) */
JsonArray *gw_journal_find_job (GwJournal *journal, const char *job, GError **error);
/* Those that have not ended, in the same form.  (transfer full) */
JsonArray *gw_journal_list_open_jobs (GwJournal *journal, GError **error);
/* Those, and the undecided, however old.  (transfer full) */
JsonArray *gw_journal_list_unsettled_jobs (GwJournal *journal, GError **error);
/* The steps of a job: {"step","entered_us","left_us" (0: it never did)}.  (transfer full) */
JsonArray *gw_journal_list_steps (GwJournal *journal, const char *job, GwSide side, GError **error);
/* The records of a job: {"record","epoch","vm","at_us","run"}.  (transfer full) */
JsonArray *gw_journal_list_records (GwJournal *journal, const char *job, GwSide side, GError **error);
/* The VMs: {"uuid","name","epoch","owner","peer","job","at_us"}.  (transfer full) */
JsonArray *gw_journal_list_vms (GwJournal *journal, GError **error);

#endif
