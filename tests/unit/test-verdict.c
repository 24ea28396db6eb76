/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which of several faults caused the others, in whatever order they were told. */
#include "flow.h"

#define MAX_FAULTS 4

typedef struct {
    const char *what;
    GwFault faults[MAX_FAULTS]; /* the first one is the cause; at_us 0 ends the list */
} Row;

#define FAULT(k, ms) { .kind = GW_FAULT_##k, .at_us = (ms) * 1000 }

static const Row rows[] = {
    {"one alone", {FAULT (MIGRATION, 1000)}},
    {"a killed QEMU breaks the link and the migration",
     {FAULT (QEMU_KILLED, 1010), FAULT (LINK, 1000), FAULT (MIGRATION, 1005), FAULT (STEP, 1001)}},
    {"a killed courier makes the QEMU behind it fail",
     {FAULT (COURIER_EXIT, 1050), FAULT (QEMU_FAILED, 1000), FAULT (LINK, 1040)}},
    {"a link that broke makes QEMU fail, though its courier says so later",
     {FAULT (LINK, 1001), FAULT (QEMU_FAILED, 1000)}},
    {"a link that broke before makes QEMU fail",
     {FAULT (LINK, 1000), FAULT (QEMU_FAILED, 1021), FAULT (MIGRATION, 1010)}},
    {"a QEMU that cannot load makes the other one's migration fail",
     {FAULT (QEMU_FAILED, 1020), FAULT (MIGRATION, 1010)}},
    {"an agent that is lost after QEMU failed is no cause of it",
     {FAULT (QEMU_FAILED, 1000), FAULT (AGENT_LOST, 1500)}},
    {"so does an agent that is lost", {FAULT (AGENT_LOST, 1000), FAULT (QEMU_FAILED, 1500)}},
    {"a lost agent before the link, whichever came first",
     {FAULT (AGENT_LOST, 1100), FAULT (LINK, 1000)}},
    {"of two alike the earlier", {FAULT (LINK, 1000), FAULT (LINK, 1001), FAULT (LINK, 1002)}},
    {"of two consequences the cause stays",
     {FAULT (LINK, 1000), FAULT (QEMU_FAILED, 1100), FAULT (QEMU_FAILED, 1200)}},
    {"the guest powered off, and QEMU ended",
     {FAULT (GUEST_OFF, 1010), FAULT (QEMU_KILLED, 1020), FAULT (QEMU_FAILED, 1000)}},
    {"the user ended it, whatever broke then",
     {FAULT (ABORT, 2000), FAULT (QEMU_KILLED, 1000), FAULT (GUEST_OFF, 1500), FAULT (LINK, 1999)}},
    {"a step that failed before QEMU's own word", {FAULT (STEP, 1010), FAULT (MIGRATION, 1000)}},
    {"a killed QEMU is no consequence of a link", {FAULT (QEMU_KILLED, 5000), FAULT (LINK, 1000)}},
};

static void
assert_first (const Row *row, const GwFault *const *order, guint n)
{
    g_autoptr (GPtrArray) faults = g_ptr_array_new ();
    for (guint i = 0; i < n; i++)
        g_ptr_array_add (faults, (gpointer) order[i]);
    guint first = gw_verdict_find_first (faults);
    if (first >= n || order[first] != &row->faults[0])
        g_error ("%s: fault of kind %d is taken for the cause", row->what, order[first]->kind);
}

/* All orders of the first `n` of `order`, by Heap's algorithm. */
static void
permute (const Row *row, const GwFault **order, guint n, guint n_all)
{
    if (n <= 1) {
        assert_first (row, order, n_all);
        return;
    }
    for (guint i = 0; i < n; i++) {
        permute (row, order, n - 1, n_all);
        guint k = n % 2 == 0 ? i : 0;
        const GwFault *swapped = order[k];
        order[k] = order[n - 1];
        order[n - 1] = swapped;
    }
}

static void
test_orders (void)
{
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        const GwFault *order[MAX_FAULTS];
        guint n = 0;
        while (n < MAX_FAULTS && rows[i].faults[n].at_us != 0) {
            order[n] = &rows[i].faults[n];
            n++;
        }
        permute (&rows[i], order, n, n);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/verdict/orders", test_orders);
    return g_test_run ();
}
