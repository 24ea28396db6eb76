/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flow.h"

/*
 * What can only be a cause stands before what may be a consequence.  QEMU_FAILED is both: a QEMU that
 * cannot load its state exits with an error, and so does one whose connection ends.  It counts as a
 * cause unless the link broke: couriers carry the end of a QEMU as the end of its lane, so a broken
 * link never follows from it, whichever was told first.  An agent that was lost counts only before it.
 */
#define CLOCK_SLACK_US 20000

static guint
rank (GwFaultKind kind)
{
    static const guint ranks[] = {
        [GW_FAULT_ABORT] = 0,        [GW_FAULT_GUEST_OFF] = 1,  [GW_FAULT_QEMU_KILLED] = 2,
        [GW_FAULT_COURIER_EXIT] = 3, [GW_FAULT_QEMU_FAILED] = 4, [GW_FAULT_AGENT_LOST] = 5,
        [GW_FAULT_LINK] = 6,         [GW_FAULT_STEP] = 7,       [GW_FAULT_MIGRATION] = 8,
    };
    return ranks[kind];
}

/* A broken link that was noticed before this QEMU failed explains the failure. */
static gboolean
is_consequence (const GPtrArray *faults, const GwFault *fault)
{
    for (guint i = 0; fault->kind == GW_FAULT_QEMU_FAILED && i < faults->len; i++) {
        const GwFault *other = faults->pdata[i];
        if (other->kind == GW_FAULT_LINK ||
            (other->kind == GW_FAULT_AGENT_LOST && other->at_us + CLOCK_SLACK_US < fault->at_us))
            return TRUE;
    }
    return FALSE;
}

static gboolean
is_before (const GwFault *a, gboolean a_follows, const GwFault *b, gboolean b_follows)
{
    if (a_follows != b_follows)
        return b_follows;
    if (rank (a->kind) != rank (b->kind))
        return rank (a->kind) < rank (b->kind);
    return a->at_us < b->at_us;
}

guint
gw_verdict_find_first (const GPtrArray *faults)
{
    g_assert (faults->len > 0);
    guint best = 0;
    for (guint i = 1; i < faults->len; i++)
        if (is_before (faults->pdata[i], is_consequence (faults, faults->pdata[i]),
                       faults->pdata[best], is_consequence (faults, faults->pdata[best])))
            best = i;
    return best;
}
