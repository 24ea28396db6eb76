/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For godwitd only: the operations of host.h by the method of the message table, as they arrive from
 * a peer.
 */
#ifndef GW_HOST_SERVICE_H
#define GW_HOST_SERVICE_H

#include "host.h"
#include "rpc.h"

/* Does `method`, which must be an operation of a host.  `params` (transfer full) may be NULL.
 * (transfer full) */
JsonObject *gw_host_call (GwHost *host, GwRpcMethod method, JsonObject *params,
                          GCancellable *cancellable, GError **error);
/* Whether `method` is an operation of a host. */
gboolean gw_host_has_method (GwRpcMethod method);

#endif
