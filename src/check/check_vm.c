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

/* cpu_physical_memory_sync_dirty_bitmap() of QEMU before 9.0 takes a short way for blocks that begin and end
 * at multiples of 64 pages, and does not reset the TLB of TCG there (fixed by 03bfc2188f). */
void
gw_check_tcg_dirty (const GwCheckInput *input, GwCheckSink *sink)
{
    const GwVm *vm = input->vm;
    if (g_strcmp0 (vm->accel, "tcg") != 0 || vm->version_major >= 9 ||
        vm->ram_bytes % (256 * 1024) != 0)
        gw_check_add (sink, GW_VERDICT_OK, "not concerned");
    else
        gw_check_add (sink, GW_VERDICT_WARNING,
                      "QEMU %" G_GINT64_FORMAT ".%" G_GINT64_FORMAT " under TCG can lose dirty pages "
                      "of a busy guest whose RAM (%" G_GINT64_FORMAT " bytes) is a multiple of 256 "
                      "KiB; KVM is not concerned",
                      vm->version_major, vm->version_minor, vm->ram_bytes);
}
