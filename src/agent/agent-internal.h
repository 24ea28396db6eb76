/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GW_AGENT_INTERNAL_H
#define GW_AGENT_INTERNAL_H

#include "agent.h"
#include "host-service.h"

/* --- agent.c --------------------------------------------------------------------------------------------- */

/* Fires when the agent ends.  (borrowed) */
GCancellable *gw_agent_get_stopping (GwAgent *agent);

/* --- serve.c: one connection ----------------------------------------------------------------------- */

typedef struct {
    GwAgent *agent;
    GMainContext *context;
    GwRpc *rpc;
    GwHost *host;
    GCancellable *stopping; /* borrowed: the agent ends */
} GwConnection;

/* --- requests.c: what an agent is asked besides the operations of a host ------------------------------ */

/* NULL when `method` is none of these, without an error; else as gw_host_call(). */
gboolean gw_agent_has_method (GwRpcMethod method);
JsonObject *gw_agent_call (GwConnection *connection, GwRpcMethod method, JsonObject *params,
                           GError **error);

#endif
