/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is measured of a running guest before it is moved, while the job does other things. */
#include "guestram.h"

#include <string.h>

#define SAMPLES_A_GIB_MIN 128 /* what QEMU takes */
#define WITHIN_MS 4000        /* the second that it measures, and what a busy QEMU needs besides */
#define POLL_MS 50
#define MIB_MAX (1 << 30) /* a second */

/* QEMU reads them all at once: as many as for a GiB, however large the guest is. */
static gint64
choose_samples (const GwVm *vm)
{
    gint64 gib = MAX (vm->ram_bytes >> 30, 1);
    return MAX (GW_GUESTRAM_SAMPLES / gib, SAMPLES_A_GIB_MIN);
}

static void
begin_dirty_rate (LocalHost *local, GCancellable *cancellable)
{
    JsonObject *arguments = gw_json_new ("calc-time:i", G_GINT64_CONSTANT (1), "sample-pages:i",
                                         choose_samples (local->vm), NULL);
    local->is_measuring =
        gw_local_qmp (local, GW_QMP_CALC_DIRTY_RATE, arguments, cancellable, NULL);
}

JsonObject *
gw_local_begin_weighing (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                         GError **error)
{
    if (local->vm == NULL || local->qmp == NULL || local->ram != NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no VM is adopted here");
        return NULL;
    }
    g_autoptr (GError) why = NULL;
    local->ram = gw_guestram_start (local->vm->pid, local->vm->ram_blocks, &why);
    if (local->ram == NULL)
        begin_dirty_rate (local, cancellable);
    return gw_json_new ("why:s", why != NULL ? why->message : NULL, NULL);
}

/* Bytes of pages that changed within a second; -1: QEMU does not tell. */
static gint64
finish_dirty_rate (LocalHost *local, GCancellable *cancellable)
{
    gint64 deadline = gw_deadline_ms (WITHIN_MS);
    if (!local->is_measuring)
        begin_dirty_rate (local, cancellable);
    while (local->is_measuring && g_get_monotonic_time () < deadline) {
        g_autoptr (JsonNode) reply =
            gw_qmp_call (local->qmp, GW_QMP_QUERY_DIRTY_RATE, NULL, cancellable, NULL);
        JsonObject *rate = reply != NULL && JSON_NODE_HOLDS_OBJECT (reply)
                               ? json_node_get_object (reply)
                               : NULL;
        const char *status = rate != NULL ? gw_json_peek_string (rate, "status", "") : "";
        if (strcmp (status, "measured") == 0)
            return CLAMP (gw_json_peek_int (rate, "dirty-rate", 0), 0, MIB_MAX) << 20;
        if (strcmp (status, "measuring") != 0 ||
            !gw_wait_ms (local->context, POLL_MS, cancellable, NULL))
            break;
    }
    return -1;
}

/* What QEMU measured; how much is filled it does not tell. */
static JsonObject *
ask_qemu (LocalHost *local, GCancellable *cancellable)
{
    gint64 bytes = finish_dirty_rate (local, cancellable);
    local->is_measuring = FALSE;
    return gw_json_new ("ram_bytes:i", local->vm->ram_bytes, "filled_bytes:i", G_GINT64_CONSTANT (-1),
                        "changed_bytes:i", G_GINT64_CONSTANT (-1), "later_bytes:i", bytes,
                        "later_us:i", (gint64) G_USEC_PER_SEC, "packed_permille:i", G_GINT64_CONSTANT (-1),
                        "again_permille:i", G_GINT64_CONSTANT (-1), NULL);
}

JsonObject *
gw_local_finish_weighing (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                          GError **error)
{
    GwGuestRamFigures f = { 0 };
    if (local->vm == NULL || local->qmp == NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no VM is adopted here");
        return NULL;
    }
    if (local->ram == NULL || !gw_guestram_finish (g_steal_pointer (&local->ram), &f))
        return ask_qemu (local, cancellable);
    return gw_json_new ("ram_bytes:i", local->vm->ram_bytes, "filled_bytes:i", f.filled_bytes,
                        "changed_bytes:i", f.changed_bytes, "changed_us:i", f.changed_us,
                        "later_bytes:i", f.later_bytes, "later_us:i", f.later_us, "packed_permille:i",
                        f.packed_permille, "again_permille:i", f.again_permille, NULL);
}
