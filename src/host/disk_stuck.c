/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QEMU that waits for the copies of its disks.
 *
 * To stop its guest, to end a mirror and to give a migration up, QEMU waits in its main loop, deaf, for every
 * write and flush that is under way, and a mirror's go over the link to the other host.  If nothing comes
 * back from there the guest would stand still for as long as the link may be down.  Without a courier they
 * fail at once, and with them the copies; QEMU goes on, and so may the guest.
 */
#include "host-internal.h"

#define ANSWER_MS 4000

static gboolean
does_answer (LocalHost *local)
{
    g_autoptr (JsonNode) reply =
        local->qmp != NULL
            ? gw_qmp_call_timeout (local->qmp, GW_QMP_QUERY_STATUS, NULL, ANSWER_MS, NULL, NULL)
            : NULL;
    return reply != NULL;
}

void
gw_local_free_deaf_qemu (LocalHost *local)
{
    if (local->mirrors != NULL && local->courier != NULL && !does_answer (local))
        g_clear_pointer (&local->courier, gw_courier_free);
}

gboolean
gw_local_give_copies_up (LocalHost *local, const char *what, guint within_ms, GError **error)
{
    g_clear_pointer (&local->courier, gw_courier_free);
    if (!does_answer (local))
        return gw_fail (error, GW_CAUSE_DISK_DEAD,
                        "%s: QEMU waits for a disk of the source that does not answer", what);
    return gw_fail (error, GW_CAUSE_DISK_SYNC,
                    "%s within %u ms: the last writes do not arrive in the copies of the disks", what,
                    within_ms);
}
