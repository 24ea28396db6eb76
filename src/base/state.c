/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base.h"

static void
check_table (const GwMachineTable *table)
{
    g_assert (table->n_states > 0 && table->n_states <= 32);
    uint32_t all = table->n_states == 32 ? UINT32_MAX : (1u << table->n_states) - 1;
    uint32_t reached = 1u; /* state 0 is the initial one */
    g_assert (table->states[0].flags & GW_STATE_INITIAL);
    for (guint round = 0; round < table->n_states; round++)
        for (guint i = 0; i < table->n_states; i++)
            if (reached & (1u << i))
                reached |= table->states[i].next;
    for (guint i = 0; i < table->n_states; i++) {
        const GwState *state = &table->states[i];
        g_assert (state->name != NULL && (state->next & ~all) == 0);
        g_assert (i == 0 || !(state->flags & GW_STATE_INITIAL));
        g_assert (((state->flags & GW_STATE_FINAL) != 0) == (state->next == 0));
    }
    g_assert (reached == all);
}

void
gw_machine_init (GwMachine *machine, const GwMachineTable *table, GwMachineTrace trace,
                 gpointer trace_data)
{
    check_table (table);
    *machine = (GwMachine) { .table = table, .trace = trace, .trace_data = trace_data };
}

gboolean
gw_machine_can (const GwMachine *machine, guint to)
{
    return to < machine->table->n_states &&
           (machine->table->states[machine->state].next & (1u << to)) != 0;
}

void
gw_machine_move (GwMachine *machine, guint to)
{
    guint from = machine->state;
    if (!gw_machine_can (machine, to))
        g_error ("%s: move from '%s' to state %u is not allowed", machine->table->name,
                 machine->table->states[from].name, to);
    machine->state = to;
    if (machine->trace != NULL)
        machine->trace (machine->table->name, machine->table->states[from].name,
                        machine->table->states[to].name, machine->trace_data);
}

const char *
gw_machine_state_name (const GwMachine *machine)
{
    return machine->table->states[machine->state].name;
}

gboolean
gw_machine_is_final (const GwMachine *machine)
{
    return (machine->table->states[machine->state].flags & GW_STATE_FINAL) != 0;
}
