/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whatever is found on both sides: nothing runs twice, and what can be settled is. */
#include "reconcile.h"

#include <string.h>

static gboolean
is_open (const GwEvidence *e)
{
    return e->source == GW_SOURCE_NONE || e->source == GW_SOURCE_RELEASED;
}

static gboolean
is_started (const GwEvidence *e)
{
    return e->destination == GW_DESTINATION_STARTED || e->destination == GW_DESTINATION_ARRIVED;
}

static gboolean
is_in (GwQemuState state, guint mask)
{
    return (mask >> state & 1) != 0;
}

#define Q(name) (1u << GW_QEMU_##name)

static char *
describe (const GwEvidence *e, const GwDecision *d)
{
    return g_strdup_printf ("source %d qemu %d, destination %d qemu %d, said %u, busy %d: %s, acts %d %d, needs %u (%s)",
                            e->source, e->source_qemu, e->destination, e->destination_qemu, e->statements,
                            e->is_worked_on, gw_outcome_name (d->outcome), d->source, d->destination, d->needs, d->why);
}

#define HOLDS(condition) \
    G_STMT_START { \
        if (!(condition)) { \
            g_autofree char *what = describe (e, d); \
            g_error ("not so: " #condition " with %s", what); \
        } \
    } G_STMT_END

typedef void (*CheckFn) (const GwEvidence *e, const GwDecision *d);

static void
check_all (CheckFn check)
{
    guint n = 0;
    for (guint i = 0; i < GW_N_SOURCES * GW_N_DESTINATIONS * GW_N_QEMUS * GW_N_QEMUS * 4 * 2; i++) {
        guint left = i;
        GwEvidence e = { .is_worked_on = left % 2 };
        e.statements = (left /= 2) % 4;
        e.destination_qemu = (GwQemuState) ((left /= 4) % GW_N_QEMUS);
        e.source_qemu = (GwQemuState) ((left /= GW_N_QEMUS) % GW_N_QEMUS);
        e.destination = (GwDestinationRecord) ((left /= GW_N_QEMUS) % GW_N_DESTINATIONS);
        e.source = (GwSourceRecord) (left / GW_N_DESTINATIONS);
        GwDecision d = gw_reconcile_decide (&e);
        check (&e, &d);
        n++;
    }
    g_assert_cmpuint (n, ==, 6 * 5 * 7 * 7 * 8);
}

/* --- nothing runs twice -------------------------------------------------------------------------------------- */

/* Whether the destination's copy cannot run: it has no right to, or will have none before anything else is done. */
static gboolean
is_harmless (const GwEvidence *e, const GwDecision *d)
{
    gboolean is_ended = d->destination == GW_ACT_REFUSE || d->destination == GW_ACT_END;
    if (e->destination == GW_DESTINATION_UNKNOWN)
        return e->source == GW_SOURCE_NONE || (e->statements & GW_DESTINATION_IS_DEAD) != 0;
    if (is_started (e))
        return e->destination_qemu == GW_QEMU_GONE && (e->statements & GW_DESTINATION_IS_DEAD) != 0;
    return is_ended && !is_in (e->destination_qemu, Q (RUNS) | Q (FETCHES));
}

static void
check_no_second_runner (const GwEvidence *e, const GwDecision *d)
{
    if (d->source == GW_ACT_RESUME) {
        HOLDS (is_open (e) && is_in (e->source_qemu, Q (STANDS) | Q (RUNS)));
        HOLDS (is_harmless (e, d));
        HOLDS (gw_reconcile_first (d) == GW_SIDE_DESTINATION);
    }
    if (d->destination == GW_ACT_RUN) {
        HOLDS (is_started (e));
        HOLDS (!is_open (e) || e->source_qemu != GW_QEMU_RUNS);
        HOLDS (!is_open (e) || d->source == GW_ACT_END); /* its copy, whatever it is in */
        HOLDS (!is_open (e) || gw_reconcile_first (d) == GW_SIDE_SOURCE);
        HOLDS (e->source != GW_SOURCE_STAYED);
    }
    HOLDS (d->source != GW_ACT_RUN && d->source != GW_ACT_REFUSE && d->destination != GW_ACT_RESUME);
}

/* --- nothing is ended that may be the last --------------------------------------------------------------------- */

static void
check_no_copy_is_lost (const GwEvidence *e, const GwDecision *d)
{
    if (d->source == GW_ACT_END && e->source_qemu != GW_QEMU_GONE) {
        HOLDS (is_open (e) && is_started (e));
        HOLDS (is_in (e->destination_qemu, Q (GONE) | Q (STANDS) | Q (RUNS)));
    }
    if (d->destination == GW_ACT_END || d->destination == GW_ACT_REFUSE)
        HOLDS (!is_in (e->destination_qemu, Q (RUNS) | Q (FETCHES)));
    if (d->destination == GW_ACT_END && is_started (e))
        HOLDS ((e->source == GW_SOURCE_STAYED || (e->statements & GW_DESTINATION_IS_DEAD) != 0) &&
               is_in (e->destination_qemu, Q (GONE) | Q (STANDS)));
    if (d->destination == GW_ACT_REFUSE && e->source == GW_SOURCE_UNKNOWN)
        HOLDS ((e->statements & GW_SOURCE_IS_DEAD) != 0);
}

/* --- once both hosts answer, there is an owner -------------------------------------------------------------------- */

static gboolean
is_contradictory (const GwEvidence *e)
{
    guint alive = Q (RUNS) | Q (FETCHES);
    gboolean runs_there = is_in (e->destination_qemu, alive);
    gboolean runs_here = is_open (e) && e->source_qemu == GW_QEMU_RUNS;
    return (runs_here && (runs_there || is_started (e))) || (runs_there && !is_started (e)) ||
           (runs_there && e->source == GW_SOURCE_STAYED) || (e->source == GW_SOURCE_MOVED && !is_started (e));
}

static void
check_owner (const GwEvidence *e, const GwDecision *d)
{
    guint vague = Q (DEAF) | Q (HELD) | Q (UNKNOWN) | Q (FETCHES);
    gboolean is_vague = is_in (e->destination_qemu, vague) || (is_open (e) && is_in (e->source_qemu, vague));
    gboolean has_both = e->source != GW_SOURCE_UNKNOWN && e->destination != GW_DESTINATION_UNKNOWN;
    if (has_both && !is_vague && !e->is_worked_on && !is_contradictory (e))
        HOLDS (d->outcome != GW_OUTCOME_UNDECIDED);
    if (is_started (e) && e->source != GW_SOURCE_STAYED && !is_contradictory (e))
        HOLDS (d->outcome != GW_OUTCOME_STAYED);
    if (e->destination == GW_DESTINATION_REFUSED || e->destination == GW_DESTINATION_NONE)
        HOLDS (d->outcome != GW_OUTCOME_MOVED);
}

/* What is said of a host that answers changes nothing, but where the journals and the QEMUs contradict each other. */
static void
check_statements (const GwEvidence *e, const GwDecision *d)
{
    GwEvidence silent = *e;
    silent.statements = 0;
    GwDecision other = gw_reconcile_decide (&silent);
    gboolean has_both = e->source != GW_SOURCE_UNKNOWN && e->destination != GW_DESTINATION_UNKNOWN;
    if (has_both && !is_contradictory (e))
        HOLDS (memcmp (&other, d, sizeof other) == 0);
    if (other.outcome != GW_OUTCOME_UNDECIDED)
        HOLDS (d->outcome == other.outcome || (e->source == GW_SOURCE_UNKNOWN && d->outcome == GW_OUTCOME_LOST));
}

/* --- undecided --------------------------------------------------------------------------------------------------- */

static void
check_undecided (const GwEvidence *e, const GwDecision *d)
{
    HOLDS (d->why != NULL && *d->why != '\0');
    if (d->outcome != GW_OUTCOME_UNDECIDED) {
        HOLDS (d->needs == 0);
        return;
    }
    HOLDS (d->source == GW_ACT_NONE && d->destination == GW_ACT_NONE);
    HOLDS (!e->is_worked_on || d->needs == 0);
    if (d->needs == 0)
        return;
    HOLDS ((d->needs & e->statements) == 0);
    GwEvidence said = *e;
    said.statements |= d->needs;
    GwDecision then = gw_reconcile_decide (&said);
    gboolean is_deaf = is_in (e->source_qemu, Q (DEAF) | Q (UNKNOWN) | Q (HELD) | Q (FETCHES));
    HOLDS (then.outcome != GW_OUTCOME_UNDECIDED || is_deaf);
}

/* One host that does not answer, and the other that says nothing strange: a person can decide. */
static void
check_way_out (const GwEvidence *e, const GwDecision *d)
{
    gboolean has_source = e->source == GW_SOURCE_RELEASED && is_in (e->source_qemu, Q (GONE) | Q (STANDS) | Q (RUNS));
    gboolean has_destination = e->destination == GW_DESTINATION_NONE && is_in (e->destination_qemu, Q (GONE) | Q (STANDS));
    if (e->is_worked_on || e->statements != 0)
        return;
    if (has_source && e->destination == GW_DESTINATION_UNKNOWN)
        HOLDS (d->needs == GW_DESTINATION_IS_DEAD);
    if (has_destination && e->source == GW_SOURCE_UNKNOWN)
        HOLDS (d->needs == GW_SOURCE_IS_DEAD);
}

/* --- again is nothing ---------------------------------------------------------------------------------------------- */

/* What both sides say when all acts have succeeded. */
static GwEvidence
carry_out (const GwEvidence *e, const GwDecision *d)
{
    GwEvidence next = *e;
    if (d->destination == GW_ACT_REFUSE || d->destination == GW_ACT_END) {
        next.destination = is_started (e) ? e->destination : GW_DESTINATION_REFUSED;
        next.destination_qemu = GW_QEMU_GONE;
    } else if (d->destination == GW_ACT_RUN) {
        next.destination = GW_DESTINATION_ARRIVED;
        next.destination_qemu = e->destination_qemu == GW_QEMU_STANDS ? GW_QEMU_RUNS : e->destination_qemu;
    }
    if (d->source == GW_ACT_RESUME)
        next.source = GW_SOURCE_STAYED;
    else if (d->source == GW_ACT_END)
        next.source = d->outcome == GW_OUTCOME_MOVED ? GW_SOURCE_MOVED : GW_SOURCE_LOST;
    return next;
}

static void
check_again (const GwEvidence *e, const GwDecision *d)
{
    if (d->outcome == GW_OUTCOME_UNDECIDED)
        return;
    GwEvidence next = carry_out (e, d);
    GwDecision again = gw_reconcile_decide (&next);
    HOLDS (again.outcome == d->outcome);
    HOLDS (again.source == GW_ACT_NONE);
    next = carry_out (&next, &again);
    GwDecision third = gw_reconcile_decide (&next);
    HOLDS (third.outcome == d->outcome && third.source == GW_ACT_NONE);
}

/* --- the cases of docs/handover.md ------------------------------------------------------------------------------------ */

static void
test_cases (void)
{
    static const struct {
        GwEvidence e;
        GwOutcome outcome;
        GwAct source, destination;
    } rows[] = {
        { { GW_SOURCE_RELEASED, GW_DESTINATION_STARTED, GW_QEMU_STANDS, GW_QEMU_STANDS, 0, FALSE },
          GW_OUTCOME_MOVED, GW_ACT_END, GW_ACT_RUN },
        { { GW_SOURCE_RELEASED, GW_DESTINATION_NONE, GW_QEMU_STANDS, GW_QEMU_STANDS, 0, FALSE },
          GW_OUTCOME_STAYED, GW_ACT_RESUME, GW_ACT_REFUSE },
        { { GW_SOURCE_RELEASED, GW_DESTINATION_REFUSED, GW_QEMU_STANDS, GW_QEMU_GONE, 0, FALSE },
          GW_OUTCOME_STAYED, GW_ACT_RESUME, GW_ACT_END },
        { { GW_SOURCE_NONE, GW_DESTINATION_UNKNOWN, GW_QEMU_STANDS, GW_QEMU_UNKNOWN, 0, FALSE },
          GW_OUTCOME_STAYED, GW_ACT_RESUME, GW_ACT_NONE },
        { { GW_SOURCE_RELEASED, GW_DESTINATION_UNKNOWN, GW_QEMU_STANDS, GW_QEMU_UNKNOWN, 0, FALSE },
          GW_OUTCOME_UNDECIDED, GW_ACT_NONE, GW_ACT_NONE },
        { { GW_SOURCE_UNKNOWN, GW_DESTINATION_STARTED, GW_QEMU_UNKNOWN, GW_QEMU_STANDS, 0, FALSE },
          GW_OUTCOME_MOVED, GW_ACT_NONE, GW_ACT_RUN },
        { { GW_SOURCE_RELEASED, GW_DESTINATION_STARTED, GW_QEMU_STANDS, GW_QEMU_FETCHES, 0, FALSE },
          GW_OUTCOME_UNDECIDED, GW_ACT_NONE, GW_ACT_NONE },
        { { GW_SOURCE_RELEASED, GW_DESTINATION_REFUSED, GW_QEMU_GONE, GW_QEMU_GONE, 0, FALSE },
          GW_OUTCOME_LOST, GW_ACT_END, GW_ACT_END },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        GwDecision d = gw_reconcile_decide (&rows[i].e);
        g_assert_cmpint (d.outcome, ==, rows[i].outcome);
        g_assert_cmpint (d.source, ==, rows[i].source);
        g_assert_cmpint (d.destination, ==, rows[i].destination);
    }
}

static void
test_all (gconstpointer check)
{
    check_all (*(const CheckFn *) check);
}

int
main (int argc, char **argv)
{
    static const struct {
        const char *name;
        CheckFn check;
    } checks[] = { { "/reconcile/no-second-runner", check_no_second_runner },
                   { "/reconcile/no-copy-is-lost", check_no_copy_is_lost },
                   { "/reconcile/owner", check_owner },
                   { "/reconcile/statements", check_statements },
                   { "/reconcile/undecided", check_undecided },
                   { "/reconcile/way-out", check_way_out },
                   { "/reconcile/again", check_again } };
    g_test_init (&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (checks); i++)
        g_test_add_data_func (checks[i].name, &checks[i].check, test_all);
    g_test_add_func ("/reconcile/cases", test_cases);
    return g_test_run ();
}
