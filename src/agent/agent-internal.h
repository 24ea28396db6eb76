/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GW_AGENT_INTERNAL_H
#define GW_AGENT_INTERNAL_H

#include "agent.h"
#include "host-service.h"

/* --- agent.c --------------------------------------------------------------------------------------------- */

/* Fires when the agent ends.  (borrowed) */
GCancellable *gw_agent_get_stopping (GwAgent *agent);
/* A thread begins and ends that gw_agent_stop() has to wait for. */
void gw_agent_enter_thread (GwAgent *agent);
void gw_agent_leave_thread (GwAgent *agent);
/* A job begins here, as far as there may be one more: GW_CAUSE_AGENT_FULL. */
gboolean gw_agent_enter_job (GwAgent *agent, GError **error);
void gw_agent_leave_job (GwAgent *agent);

/* --- peers.c: who comes over TLS ------------------------------------------------------------------------- */

typedef struct _GwPeers GwPeers;
/* Listens where the configuration says; NULL without an error: it says nowhere. */
GwPeers *gw_peers_new (GwAgent *agent, GError **error);
/* The agent is stopping: waits until nobody is accepted any more. */
void gw_peers_stop (GwPeers *peers);
/* When no connection is left.  NULL is fine. */
void gw_peers_free (GwPeers *peers);
/* Whether a peer's names are allowed: the one that is, or NULL with GW_CAUSE_PEER_REFUSED.  Pure. */
const char *gw_peers_find_name (const char *const *patterns, const char *const *names, GError **error);
/* Whether it comes from one of the networks; all when there are none.  Pure. */
gboolean gw_peers_is_from (const char *const *networks, GInetAddress *address);

/* --- room.c: how many of them ------------------------------------------------------------------------------ */

typedef struct _GwRoom GwRoom;
typedef struct _GwGuest GwGuest; /* a connection */
GwRoom *gw_room_new (guint max, guint per_address);
/* When no connection is left.  NULL is fine. */
void gw_room_free (GwRoom *room);
/* A stranger comes; another may be sent away for it: its socket is shut down.  NULL: there is no room. */
GwGuest *gw_room_enter (GwRoom *room, const char *address, GSocket *socket);
/* It has proved who it is.  FALSE: it was sent away, or there is no room. */
gboolean gw_room_let_in (GwRoom *room, GwGuest *guest);
/* Takes it. */
void gw_room_leave (GwRoom *room, GwGuest *guest);
/* For people.  (transfer full) */
char *gw_room_describe (GwRoom *room, const char *address);

/* --- authorise.c: what a peer may ask --------------------------------------------------------------------- */

gboolean gw_agent_may_ask (GwRpcMethod method, JsonObject *params, GError **error);

/* --- serve.c: one connection ----------------------------------------------------------------------- */

typedef struct {
    GwAgent *agent;
    GMainContext *context;
    GwRpc *rpc;
    GwHost *host;
    GCancellable *stopping; /* borrowed: the agent ends */
    const GwAgentPeer *peer; /* borrowed; NULL: of this host */
    gboolean has_job;        /* that counts as one of this agent */
} GwConnection;

/* --- requests.c: what an agent is asked besides the operations of a host ------------------------------ */

/* NULL when `method` is none of these, without an error; else as gw_host_call(). */
gboolean gw_agent_has_method (GwRpcMethod method);
JsonObject *gw_agent_call (GwConnection *connection, GwRpcMethod method, JsonObject *params,
                           GError **error);

#endif
