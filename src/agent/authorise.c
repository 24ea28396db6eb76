/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a peer may ask: what the coordinator of a job asks of the job's destination. */
#include "agent-internal.h"

/* What is not here is for this host's own people: to take hold of its VMs, to run jobs here, to read its history. */
static const gboolean is_for_peers[GW_N_RPC_METHODS] = {
    [GW_RPC_HOST_FACTS] = TRUE,      [GW_RPC_TOKEN_FIND] = TRUE,      [GW_RPC_EPOCH_GET] = TRUE,
    [GW_RPC_JOB_OPEN] = TRUE,        [GW_RPC_JOB_CLOSE] = TRUE,       [GW_RPC_QEMU_LAUNCH] = TRUE,
    [GW_RPC_JOB_KEEP] = TRUE,        [GW_RPC_JOB_RESUME] = TRUE,
    [GW_RPC_QEMU_INCOMING] = TRUE,   [GW_RPC_QEMU_PROGRESS] = TRUE,   [GW_RPC_QEMU_VERIFY] = TRUE,
    [GW_RPC_QEMU_SETTLE] = TRUE,     [GW_RPC_QEMU_RECOVER] = TRUE,    [GW_RPC_QEMU_INVENTORY] = TRUE,
    [GW_RPC_GUEST_CLOCK] = TRUE,     [GW_RPC_DISK_IMAGES] = TRUE,     [GW_RPC_DISK_CLOSE] = TRUE,
    [GW_RPC_PROOF_HASH] = TRUE,      [GW_RPC_PROOF_GET] = TRUE,       [GW_RPC_PROOF_END] = TRUE,
    [GW_RPC_COURIER_START] = TRUE,   [GW_RPC_COURIER_STOP] = TRUE,    [GW_RPC_COURIER_STATUS] = TRUE,
    [GW_RPC_COURIER_PROBE] = TRUE,   [GW_RPC_LINK_SINK] = TRUE,       [GW_RPC_LINK_SUNK] = TRUE,
    [GW_RPC_RECORD_GET] = TRUE,      [GW_RPC_HANDOVER_START] = TRUE,  [GW_RPC_REHEARSE_LAUNCH] = TRUE,
    [GW_RPC_JOB_EVIDENCE] = TRUE,    [GW_RPC_JOB_RECONCILE] = TRUE,  [GW_RPC_DISK_CONTENTS] = TRUE,
    [GW_RPC_REHEARSE_PUT] = TRUE,    [GW_RPC_REHEARSE_LOAD] = TRUE,   [GW_RPC_REHEARSE_END] = TRUE,
};

gboolean
gw_agent_may_ask (GwRpcMethod method, JsonObject *params, GError **error)
{
    const char *name = gw_rpc_method_get_info (method)->name;
    if (!is_for_peers[method])
        return gw_fail (error, GW_CAUSE_NOT_ALLOWED, "'%s' is not for peers", name);
    gboolean has_side = method == GW_RPC_JOB_OPEN || method == GW_RPC_JOB_EVIDENCE || method == GW_RPC_JOB_RECONCILE ||
                        method == GW_RPC_JOB_RESUME;
    GwSide side = has_side ? gw_side_from_name (gw_json_peek_string (params, "side", NULL)) : GW_SIDE_DESTINATION;
    return side == GW_SIDE_DESTINATION ||
           gw_fail (error, GW_CAUSE_NOT_ALLOWED, "'%s': a peer may ask this host as a job's destination only", name);
}
