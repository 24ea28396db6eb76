/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * flow: the job, from the first question to the verdict.
 *
 * Theory
 * ------
 * A job moves one VM from a source host to a destination host, both seen through host.h.  It is a
 * table of steps (steps.def), each with something to do and something that undoes it.  The runner
 * enters them one after the other; when one fails, the undo functions of all that were entered run
 * in reverse order, and the VM is on the source as it was.
 *
 * The turn.  `switchover` sends the rest with the guest stopped and ends when the source's QEMU is
 * `completed`: the other QEMU has loaded everything, and the source's copy does not run again by
 * itself, whatever breaks.  `handover` begins with the source's durable RELEASED: from then on the
 * destination may start the VM, and only the destination's record says whether it did.  STARTED: the
 * job goes on to the end, and whatever fails after it is a warning.  REFUSED: the VM is undone back to
 * the source.  No answer, after asking again for a while: undecided; both sides stay as they are
 * (docs/handover.md).
 *
 * Postcopy.  When precopy would not end within what the user allowed (converge.h), QEMU goes over to
 * postcopy.  The guest is stopped, QEMU waits in pre-switchover, RELEASED is written, and only then may
 * QEMU send the device state; the destination writes STARTED when all devices are loaded, before its
 * `cont`.  From there both QEMUs hold memory that the other has not.  The step `postcopy` lasts until
 * the destination has everything.  A broken link is the link's business; when a courier or a socket of
 * QEMU ends, both QEMUs wait in postcopy-paused, and recover.c makes new couriers and recovers them, again
 * and again.  Nothing is cancelled there: a QEMU that ends takes the guest with it (state lost).
 *
 * States of a job, by the state kit: planned, running, released, then moved (in postcopy: started, then
 * moved or lost), or undoing and stayed, or undecided.
 *
 * Restarts.  In a step that steps.def says `waits` an agent may end, and the next one goes on with the job: the
 * destination's (away.c), and the one that coordinates (takeup.c).  docs/restart.md has the whole.
 *
 * Faults.  The hosts tell events while the job works: QEMU ended, the link broke, the guest powered
 * off.  Those that may end the job are collected as signs with side and time, and a QEMU or agent that
 * tells nothing is asked (health.c).  Since one fault makes others, a job that meets one waits a moment for
 * the rest, and the verdict (verdict.h, pure) finds the first.  The report tells the story in the order of
 * cause and effect.
 *
 * Threads.  gw_job_run() blocks in a thread of its own, with a GMainContext of its own, and owns
 * the job meanwhile.  gw_job_abort(), gw_job_get_progress() and gw_job_get_report() may be called
 * from any thread.
 */
#ifndef GW_FLOW_H
#define GW_FLOW_H

#include "base.h"
#include "host.h"
#include "model.h"

typedef struct _GwJob GwJob;

/* A job for `plan` on the hosts that it names; the source is this host.  (transfer full) */
GwJob *gw_job_new (const GwPlan *plan, const GwHostConfig *config);
GwJob *gw_job_ref (GwJob *job);
void gw_job_unref (GwJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwJob, gw_job_unref)

const char *gw_job_get_id (const GwJob *job);
/* The VM as the plan names it. */
const char *gw_job_get_vm (const GwJob *job);

/* Called in the job's thread about four times a second and at each change of phase. */
typedef void (*GwJobProgressFn) (GwJob *job, const GwProgress *progress, gpointer user_data);
void gw_job_set_progress_fn (GwJob *job, GwJobProgressFn fn, gpointer user_data);

/* Runs the job to its end.  Blocks.  The report is kept in the job and, unless the plan was only to
 * check, in this host's journal. */
void gw_job_run (GwJob *job);

/* Asks the job to end and leave the VM on the source.  FALSE when it is past the turn. */
gboolean gw_job_abort (GwJob *job);

/* This agent ends, and the next one is to go on with the job; FALSE when it cannot. */
gboolean gw_job_leave (GwJob *job);
/* Those that an agent before this one has left so: array of GwJob, for gw_job_run().  (transfer full) */
GPtrArray *gw_job_find_waiting (const GwHostConfig *config, GError **error);
/* Whether one of these is in postcopy, where the guest needs somebody to go on; what waits in precopy is the next agent's. */
gboolean gw_job_fetches (const GwJob *job);

/* Why gw_job_abort() said no.  (transfer full) */
char *gw_job_explain_no_abort (GwJob *job);
/* Asks the job to go over to postcopy now.  FALSE with the reason (transfer full) when it cannot. */
gboolean gw_job_ask_postcopy (GwJob *job, char **ret_why);

/* The last progress.  (transfer full) */
GwProgress *gw_job_get_progress (GwJob *job);
/* The report, NULL until the job is done.  (transfer full) */
JsonObject *gw_job_get_report (GwJob *job);

/* --- history.c: jobs and VMs, from the journal -------------------------------------------------------- */

/* The report of `job`, or else what the journal knows of it: the object of gw_history_list() with "steps" and
 * "records".  NULL with GW_CAUSE_HOST_IO when there is none.  (transfer full) */
JsonObject *gw_report_load (const GwHostConfig *config, const char *job, GError **error);
#define GW_HISTORY_MAX 100
/* The newest `max` jobs, newest first, of all VMs or (name or uuid) of one: {"reports": those that were
 * coordinated here and have ended, without their timelines; "jobs": all, {"job","side","vm","uuid","epoch",
 * "destination","state" ("running", "interrupted": its process is gone, "ended"),"result","step" (the last, unless
 * it has ended),"started","ended","cause"}}.  (transfer full) */
JsonObject *gw_history_list (const GwHostConfig *config, const char *vm, guint max, GError **error);
/* The same of both sides of `job`, or (NULL) of all jobs that have to be settled, however old, without reports. */
JsonObject *gw_history_find (const GwHostConfig *config, const char *job, GError **error);
/* {"vms": those of gw_host_list_vms() with their "owner", "known": the others of the journal}.  (transfer full) */
JsonObject *gw_history_list_vms (const GwHostConfig *config, GError **error);

#endif
