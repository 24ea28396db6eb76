/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reconcile: who owns the VM of a job that nobody works on any more, and what may be done about it.
 *
 * Theory
 * ------
 * What can be known are two records, two QEMUs, and what the operator says of a host that does not answer.
 * gw_reconcile_decide() is a pure table over these.  Its argument is that of docs/handover.md:
 *
 * 1. The destination's record decides.  STARTED: the VM is the destination's, and the source's copy, which does not run
 *    by itself, is dead.  REFUSED: it is the source's, and nothing ran at the destination.
 * 2. A destination without a record may not start by itself any more than one with REFUSED, once it is told to refuse;
 *    whether it had started by then is in its answer.  So the answer "no record" becomes one of the two.
 * 3. A source that never wrote RELEASED has given the right to nobody, and keeps its VM whatever the destination says.
 * 4. A source that wrote RELEASED and whose destination does not answer cannot know.  Only a person can: that the guest
 *    did not run there, and never will.
 * 5. The destination alone may go on with what it has STARTED.  Without a record it could refuse; but when the source
 *    is gone, too, what it has loaded may be the last copy, so a person says that the source is dead first.
 * 6. A copy ends before the other one is started, and nothing is started while the other's QEMU does not answer.
 * 7. Both run, or one without the right: somebody let it run by hand.  Nobody but that person can say which one is to
 *    be believed.
 *
 * A job that is settled on one side stays so: no act undoes an end.
 */
#ifndef GW_RECONCILE_H
#define GW_RECONCILE_H

#include "base.h"
#include "host.h"

/* What the source's journal says. */
typedef enum {
    GW_SOURCE_UNKNOWN, /* no answer, or never heard of the job */
    GW_SOURCE_NONE,    /* the job is open, and nobody was given the right */
    GW_SOURCE_RELEASED,
    GW_SOURCE_STAYED, /* settled */
    GW_SOURCE_MOVED,  /* settled */
    GW_SOURCE_LOST,   /* settled */
    GW_N_SOURCES
} GwSourceRecord;

typedef enum {
    GW_DESTINATION_UNKNOWN, /* the same */
    GW_DESTINATION_NONE,
    GW_DESTINATION_STARTED,
    GW_DESTINATION_ARRIVED, /* STARTED, and the job is closed there */
    GW_DESTINATION_REFUSED,
    GW_N_DESTINATIONS
} GwDestinationRecord;

typedef enum {
    GW_QEMU_UNKNOWN,
    GW_QEMU_GONE,
    GW_QEMU_STANDS,
    GW_QEMU_RUNS,    /* source: untouched counts as this */
    GW_QEMU_FETCHES, /* destination: runs in postcopy, and lacks memory */
    GW_QEMU_DEAF,    /* its monitor does not answer */
    GW_QEMU_HELD,    /* destination: an agent there works on the job */
    GW_N_QEMUS
} GwQemuState;

/* What the operator says of a host. */
enum { GW_SOURCE_IS_DEAD = 1, GW_DESTINATION_IS_DEAD = 2 };

typedef struct {
    GwSourceRecord source;
    GwDestinationRecord destination;
    GwQemuState source_qemu, destination_qemu;
    guint statements;
    gboolean is_worked_on; /* by the process that began it */
} GwEvidence;

typedef enum { GW_OUTCOME_MOVED, GW_OUTCOME_STAYED, GW_OUTCOME_LOST, GW_OUTCOME_UNDECIDED } GwOutcome;
typedef enum { GW_ACT_NONE, GW_ACT_REFUSE, GW_ACT_RUN, GW_ACT_RESUME, GW_ACT_END } GwAct;

typedef struct {
    GwOutcome outcome;
    GwAct source, destination; /* in the order that gw_reconcile_first() says; END of a lost source only closes it */
    guint needs;               /* undecided: statements that would decide it; 0: none would */
    const char *why;           /* a sentence; static */
} GwDecision;

/* --- reconcile_table.c ---------------------------------------------------------------------------------------- */

/* Pure.  After REFUSE the destination's answer may be STARTED: then it is decided anew. */
GwDecision gw_reconcile_decide (const GwEvidence *evidence);
/* The side whose act comes first.  Pure. */
GwSide gw_reconcile_first (const GwDecision *decision);
const char *gw_outcome_name (GwOutcome outcome);

/* --- reconcile.c ------------------------------------------------------------------------------------------------ */

typedef struct {
    const char *job;
    GwHost *source, *destination;         /* NULL: that host does not answer */
    const char *source_why, *destination_why; /* then why */
    const char *source_name, *destination_name; /* for people */
    guint statements;
    GCancellable *cancellable; /* NULL: never; what is under way on another host goes on there */
} GwReconcile;

/* Asks, decides, does, and asks again, until it is settled or cannot be: {"job","vm","result","runs_on","why","exit",
 * "needs","source","destination","done"}; docs in godwit(1).  Blocks.  (transfer full) */
JsonObject *gw_reconcile_job (const GwReconcile *reconcile);

#endif
