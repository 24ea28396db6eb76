/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "reconcile.h"

#define S(name) (1u << GW_SOURCE_##name)
#define D(name) (1u << GW_DESTINATION_##name)
#define Q(name) (1u << GW_QEMU_##name)
#define ANY (~0u)
#define OPEN (S (NONE) | S (RELEASED))
#define SETTLED (S (STAYED) | S (MOVED) | S (LOST))
#define OURS (D (STARTED) | D (ARRIVED)) /* the destination's */
#define THEIRS (D (NONE) | D (REFUSED))
#define ALIVE (Q (RUNS) | Q (FETCHES))
#define IDLE (Q (GONE) | Q (STANDS) | Q (DEAF) | Q (HELD)) /* without the right to run, it does not */

/* A row holds when every mask holds what was found, and all its statements were made. */
typedef struct {
    guint sources, destinations, source_qemus, destination_qemus, statements;
    GwDecision decision;
} Row;

#define MOVED(source, destination, why) { GW_OUTCOME_MOVED, GW_ACT_##source, GW_ACT_##destination, 0, why }
#define STAYED(source, destination, why) { GW_OUTCOME_STAYED, GW_ACT_##source, GW_ACT_##destination, 0, why }
#define LOST(source, destination, why) { GW_OUTCOME_LOST, GW_ACT_##source, GW_ACT_##destination, 0, why }
#define UNDECIDED(needs, why) { GW_OUTCOME_UNDECIDED, GW_ACT_NONE, GW_ACT_NONE, needs, why }

#define BY_HAND "; somebody let it run by hand, and only that person knows which one is to be ended: end it, and " \
                "run this again"
#define DEAF "does not answer on its monitor, so it cannot be told whether the guest runs in it; when it answers " \
             "again, or has ended, run this again"

/* The first that holds counts. */
static const Row rows[] = {
    /* both run, or the wrong one */
    { OPEN, ANY, Q (RUNS), ALIVE, 0, UNDECIDED (0, "the guest runs on both hosts" BY_HAND) },
    { S (STAYED), ANY, ANY, ALIVE, 0,
      UNDECIDED (0, "the source has settled that the VM stays, and the guest runs at the destination" BY_HAND) },
    { ANY, THEIRS, ANY, ALIVE, 0,
      UNDECIDED (0, "the guest runs at the destination, which has not started it" BY_HAND) },
    { S (MOVED), THEIRS, ANY, ANY, 0,
      UNDECIDED (0, "the source has settled that the VM moved, and the destination has not started it: one of the "
                    "journals is not that of this job") },

    /* the destination has started it */
    { S (STAYED), OURS, ANY, Q (HELD), 0, UNDECIDED (0, "the destination's agent works on the job just now") },
    { S (STAYED), OURS, ANY, Q (DEAF), 0, UNDECIDED (0, "the source has its VM back, and the destination's QEMU " DEAF) },
    { S (STAYED), OURS, ANY, ANY, 0,
      STAYED (NONE, END, "the source has its VM back by the operator's word; the copy at the destination is dead") },
    { S (LOST), OURS, ANY, ANY, 0, LOST (NONE, NONE, "the guest was lost") },
    { ANY, OURS, ANY, Q (HELD), 0, UNDECIDED (0, "the destination's agent works on the job just now") },
    { ANY, OURS, ANY, Q (DEAF), 0, UNDECIDED (0, "the destination has started the VM, and its QEMU " DEAF) },
    { OPEN, OURS, Q (GONE), Q (FETCHES), 0,
      LOST (END, NONE, "the guest went over in postcopy, and the source's QEMU ended with memory that is nowhere "
                       "else") },
    { OPEN | S (UNKNOWN), OURS, ANY, Q (FETCHES), 0,
      UNDECIDED (0, "the destination owns the VM, and the rest of its memory is at the source: both QEMUs are needed, "
                    "and nothing is ended; an agent of the source goes on with it by itself, or 'godwit reconcile' there") },
    { OPEN, OURS, Q (RUNS), Q (GONE), GW_DESTINATION_IS_DEAD,
      STAYED (RESUME, END, "the operator says that the VM belongs to the source, where it runs") },
    { OPEN, OURS, Q (RUNS), Q (GONE), 0,
      UNDECIDED (GW_DESTINATION_IS_DEAD,
                 "the destination has started the VM, its QEMU has ended, and the guest runs at the source" BY_HAND) },
    { OPEN, OURS, Q (RUNS), ANY, 0,
      UNDECIDED (0, "the destination has started the VM, and the guest runs at the source" BY_HAND) },
    { OPEN, OURS, ANY, Q (GONE), 0,
      MOVED (END, RUN, "the destination has started the VM, and its QEMU has ended there since") },
    { OPEN, OURS, ANY, ANY, 0, MOVED (END, RUN, "the destination has started the VM") },
    { S (UNKNOWN), OURS, ANY, ANY, 0,
      MOVED (NONE, RUN, "the destination has started the VM; the source's copy does not run by itself, and ends when "
                        "its host can be asked") },
    { S (MOVED), OURS, ANY, ANY, 0, MOVED (NONE, RUN, "the destination has started the VM") },

    /* the destination has not, and never will */
    { OPEN, THEIRS, Q (DEAF), ANY, 0, UNDECIDED (0, "the VM is the source's, whose QEMU " DEAF) },
    { OPEN, D (REFUSED), Q (GONE), IDLE, 0,
      LOST (END, END, "the destination has refused the VM, and the source's QEMU has ended") },
    { OPEN, D (REFUSED), ANY, IDLE, 0, STAYED (RESUME, END, "the destination has refused the VM") },
    { S (UNKNOWN), D (REFUSED), ANY, IDLE, GW_SOURCE_IS_DEAD,
      LOST (NONE, END, "the destination has refused the VM, and the operator says that the source is dead") },
    { S (UNKNOWN), D (REFUSED), ANY, IDLE, 0,
      STAYED (NONE, END, "the destination has refused the VM: it is the source's, which has to be asked how it is") },
    { S (STAYED), D (REFUSED), ANY, IDLE, 0, STAYED (NONE, END, "the destination has refused the VM") },
    { S (LOST), D (REFUSED), ANY, IDLE, 0, LOST (NONE, END, "the source's QEMU has ended") },
    { S (UNKNOWN), D (NONE), ANY, IDLE, GW_SOURCE_IS_DEAD,
      LOST (NONE, REFUSE, "the destination may not start the VM, and the operator says that the source is dead") },
    { S (UNKNOWN), D (NONE), ANY, IDLE, 0,
      UNDECIDED (GW_SOURCE_IS_DEAD, "the destination has not started the VM, and the source cannot be asked whether it "
                                    "may") },
    { OPEN, D (NONE), Q (GONE), IDLE, 0,
      LOST (END, REFUSE, "the destination has not started the VM, and the source's QEMU has ended") },
    { OPEN, D (NONE), ANY, IDLE, 0, STAYED (RESUME, REFUSE, "the destination has not started the VM, and refuses it") },
    { S (STAYED), D (NONE), ANY, IDLE, 0, STAYED (NONE, REFUSE, "the source has settled that the VM stays") },
    { S (LOST), D (NONE), ANY, IDLE, 0, LOST (NONE, REFUSE, "the source's QEMU has ended") },

    /* the destination does not answer */
    { S (NONE), D (UNKNOWN), Q (DEAF), ANY, 0, UNDECIDED (0, "the VM is the source's, whose QEMU " DEAF) },
    { S (NONE), D (UNKNOWN), Q (GONE), ANY, 0,
      LOST (END, NONE, "nobody was given the right to start the VM elsewhere, and the source's QEMU has ended") },
    { S (NONE), D (UNKNOWN), ANY, ANY, 0,
      STAYED (RESUME, NONE, "nobody was given the right to start the VM elsewhere") },
    { S (RELEASED), D (UNKNOWN), Q (DEAF), ANY, GW_DESTINATION_IS_DEAD,
      UNDECIDED (0, "the VM is the source's by the operator's word, and its QEMU " DEAF) },
    { S (RELEASED), D (UNKNOWN), Q (GONE), ANY, GW_DESTINATION_IS_DEAD,
      LOST (END, NONE, "the operator says that the destination is dead, and the source's QEMU has ended") },
    { S (RELEASED), D (UNKNOWN), ANY, ANY, GW_DESTINATION_IS_DEAD,
      STAYED (RESUME, NONE, "the operator says that the guest did not run at the destination, and never will") },
    { S (RELEASED), D (UNKNOWN), ANY, ANY, 0,
      UNDECIDED (GW_DESTINATION_IS_DEAD, "the destination was given the right to start the VM, and cannot be asked "
                                         "whether it did") },
    { S (STAYED), D (UNKNOWN), ANY, ANY, 0, STAYED (NONE, NONE, "the source has settled it") },
    { S (MOVED), D (UNKNOWN), ANY, ANY, 0, MOVED (NONE, NONE, "the source has settled it") },
    { S (LOST), D (UNKNOWN), ANY, ANY, 0, LOST (NONE, NONE, "the source has settled it") },
};

static const Row silent = { ANY, ANY, ANY, ANY, 0,
                            UNDECIDED (0, "neither host can be asked: run this again when one of them answers") };
static const Row busy = { ANY, ANY, ANY, ANY, 0,
                          UNDECIDED (0, "the job is worked on: see 'godwit status', end it with 'godwit abort'") };

static gboolean
holds (const Row *row, const GwEvidence *e)
{
    return (row->sources >> e->source & 1) && (row->destinations >> e->destination & 1) &&
           (row->source_qemus >> e->source_qemu & 1) && (row->destination_qemus >> e->destination_qemu & 1) &&
           (row->statements & ~e->statements) == 0;
}

/* Of a side that does not answer, or whose QEMU is nobody's business any more, nothing is known; a QEMU of which
 * nothing is told may be anything. */
static GwEvidence
normalise (const GwEvidence *evidence)
{
    GwEvidence e = *evidence;
    gboolean is_open = (OPEN >> e.source & 1) != 0;
    if (!is_open)
        e.source_qemu = GW_QEMU_UNKNOWN;
    else if (e.source_qemu == GW_QEMU_UNKNOWN || e.source_qemu == GW_QEMU_HELD || e.source_qemu == GW_QEMU_FETCHES)
        e.source_qemu = GW_QEMU_DEAF;
    if (e.destination == GW_DESTINATION_UNKNOWN)
        e.destination_qemu = GW_QEMU_UNKNOWN;
    else if (e.destination_qemu == GW_QEMU_UNKNOWN)
        e.destination_qemu = GW_QEMU_DEAF;
    return e;
}

GwDecision
gw_reconcile_decide (const GwEvidence *evidence)
{
    GwEvidence e = normalise (evidence);
    if (e.is_worked_on)
        return busy.decision;
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        if (holds (&rows[i], &e))
            return rows[i].decision;
    return silent.decision;
}

/* What ends, or refuses, comes before what runs. */
GwSide
gw_reconcile_first (const GwDecision *decision)
{
    return decision->source == GW_ACT_END && decision->destination == GW_ACT_RUN ? GW_SIDE_SOURCE
                                                                                 : GW_SIDE_DESTINATION;
}

const char *
gw_outcome_name (GwOutcome outcome)
{
    static const char *const names[] = { "moved", "stayed", "lost", "undecided" };
    g_assert ((guint) outcome < G_N_ELEMENTS (names));
    return names[outcome];
}
