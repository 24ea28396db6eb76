/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The typed functions of host.h about jobs that nobody works on. */
#include "host-internal.h"

JsonObject *
gw_host_get_evidence (GwHost *host, const char *job, GwSide side, GCancellable *cancellable, GError **error)
{
    return gw_host_call (host, GW_RPC_JOB_EVIDENCE, gw_json_new ("job:s", job, "side:s", gw_side_name (side), NULL),
                         cancellable, error);
}

char *
gw_host_reconcile (GwHost *host, const char *job, GwSide side, const char *act, const char *proof,
                   GCancellable *cancellable, GError **error)
{
    JsonObject *params =
        gw_json_new ("job:s", job, "side:s", gw_side_name (side), "act:s", act, "proof:s", proof, NULL);
    g_autoptr (JsonObject) answer = gw_host_call (host, GW_RPC_JOB_RECONCILE, params, cancellable, error);
    return answer != NULL ? g_strdup (gw_json_get_string (answer, "result", error)) : NULL;
}

JsonObject *
gw_host_cleanup (GwHost *host, gboolean is_dry, gboolean is_now, GCancellable *cancellable, GError **error)
{
    return gw_host_call (host, GW_RPC_CLEANUP, gw_json_new ("dry_run:b", is_dry, "now:b", is_now, NULL), cancellable,
                         error);
}
