/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VM's QEMU against one that was started on the destination: that of the rehearsal, and once more
 * the one that is to take the VM, whose backends are the real ones.
 */
#include "job-internal.h"

gboolean
gw_job_compare (GwJob *job, const GwInventory *there, GError **error)
{
    g_autoptr (GwInventory) here =
        gw_host_get_inventory (job->source.host, job->cancellable, error);
    if (here == NULL)
        return FALSE;
    const GwCheckResult *refusal = gw_check_compare (job->checks, here, there);
    return refusal == NULL || gw_fail (error, refusal->cause, "%s", refusal->text);
}

gboolean
gw_step_compare (GwJob *job, GwSide *blame, GError **error)
{
    *blame = GW_SIDE_DESTINATION;
    g_autoptr (GwInventory) there =
        gw_host_get_inventory (job->destination.host, job->cancellable, error);
    return there != NULL && gw_job_compare (job, there, error);
}
