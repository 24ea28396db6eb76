/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The VM by itself. */
#include "check-internal.h"

#include <string.h>

void
gw_check_vm_state (const GwCheckInput *input, GwCheckSink *sink)
{
    static const char *const movable[] = { "running", "paused", "suspended", "prelaunch",
                                           "io-error", "watchdog", "debug", NULL };
    const char *state = input->vm->run_state;
    if (g_strv_contains (movable, state))
        gw_check_add (sink, GW_VERDICT_OK, "the VM is '%s'", state);
    else
        gw_check_add (sink, GW_VERDICT_REFUSED, "the VM is '%s'; only a running or paused one can "
                      "move", state);
}

void
gw_check_vm_busy (const GwCheckInput *input, GwCheckSink *sink)
{
    static const char *const idle[] = { "none", "completed", "failed", "cancelled", NULL };
    const char *status = input->vm->migration_status;
    if (status == NULL || g_strv_contains (idle, status))
        gw_check_add (sink, GW_VERDICT_OK, "no other migration is under way");
    else
        gw_check_add (sink, GW_VERDICT_REFUSED, "QEMU has a migration under way: it is '%s'",
                      status);
}

void
gw_check_blockers (const GwCheckInput *input, GwCheckSink *sink)
{
    GStrv reasons = input->vm->blocked_reasons;
    if (reasons == NULL || reasons[0] == NULL)
        gw_check_add (sink, GW_VERDICT_OK, "QEMU has nothing against a migration");
    for (gsize i = 0; reasons != NULL && reasons[i] != NULL; i++)
        gw_check_add (sink, GW_VERDICT_REFUSED, "QEMU says: %s", reasons[i]);
}
