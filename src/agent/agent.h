/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent: godwitd, and the same inside the command when it coordinates a job itself.
 *
 * Theory
 * ------
 * An agent serves connections (a unix socket, TLS over TCP, or its standard input and output) and runs jobs.
 *
 * Each connection is one thread with a GMainContext of its own, an RPC connection and a local host
 * (host.h).  Operations of the host are done there, one after the other; what happens on the host
 * goes back as "event" notifications.  When the connection ends, so does its host: a job that it
 * opened is closed, and a QEMU that it launched is destroyed unless it was started (the record says
 * REFUSED then).  A start that is under way when the peer goes away is finished first.
 *
 * Peers.  Who comes over the unix socket or ssh is this host's root, or as good, and may ask for
 * everything.  A peer that comes over TLS (peers.c) has a name from its certificate.  It may ask only
 * for what the coordinator of a job asks of the job's destination, and the host's allow-lists hold for
 * it (host/allow.c).  Connections of peers are bounded in all and for each address, before and after
 * the handshake; those of this host have a bound of their own, so that no flood locks the host out.
 *
 * Each job that runs here (as the source's coordinator) is one thread too.  Connections ask for its
 * progress, abort it, and fetch its report, but only through the functions of flow.h that may be
 * called from other threads.  The table of jobs is guarded by a lock that is never held while
 * anything is waited for.
 */
#ifndef GW_AGENT_H
#define GW_AGENT_H

#include "base.h"
#include "flow.h"
#include "host.h"

#define GW_AGENT_CONNECTIONS_MAX 64
#define GW_AGENT_JOBS_KEPT 100 /* finished jobs that are remembered; their reports are on disk */

typedef struct _GwAgent GwAgent;

GwAgent *gw_agent_new (const GwHostConfig *config);
/* Ends all connections and jobs first (gw_agent_stop()).  NULL is fine. */
void gw_agent_free (GwAgent *agent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwAgent, gw_agent_free)

/* As it is now; any thread.  (transfer full) */
GwHostConfig *gw_agent_copy_config (GwAgent *agent);
/* The agent goes on with `fresh`, except for what it has acted on at its start.  Connections and jobs keep what they began
 * with.  GW_CAUSE_USAGE: it goes on as before. */
gboolean gw_agent_set_config (GwAgent *agent, const GwHostConfig *fresh, GError **error);

/* Starts a job in a thread of its own.  NULL with GW_CAUSE_VM_BUSY when this agent moves that VM
 * already.  (transfer full) */
GwJob *gw_agent_start_job (GwAgent *agent, const GwPlan *plan, GwJobProgressFn fn,
                           gpointer user_data, GError **error);
GwJob *gw_agent_find_job (GwAgent *agent, const char *id); /* (transfer full) or NULL */
GPtrArray *gw_agent_list_jobs (GwAgent *agent);            /* GwJob, (transfer full) */

/* Listens on `path` (removed again by gw_agent_stop()) and serves in threads from now on. */
gboolean gw_agent_listen (GwAgent *agent, const char *path, guint mode, GError **error);
/* Listens for peers on all addresses that the configuration names, with its certificates. */
gboolean gw_agent_listen_peers (GwAgent *agent, GError **error);

/* A peer that came over TLS. */
typedef struct {
    const char *name;       /* of its certificate, the one that is allowed */
    const char *address;    /* from where it came */
    const char *reached_at; /* where it found us */
} GwAgentPeer;

/* Serves one connection over `stream` in this thread until it ends; `peer` NULL: one of this host. */
void gw_agent_serve (GwAgent *agent, GIOStream *stream, const GwAgentPeer *peer);

/* Settles jobs of this host whose right to start was given away and that nobody works on, as far as their destinations
 * answer (settle.c).  Blocks for as long as they take. */
void gw_agent_settle (const GwHostConfig *config, GMainContext *context, GCancellable *stopping);

/* Goes on with the jobs that the agent before this one has left so, or a command in postcopy. */
void gw_agent_take_up_jobs (GwAgent *agent);

/* Leaves the jobs to the next agent that can go on without one, aborts the others that can be aborted, ends all
 * connections, and waits for both. */
void gw_agent_stop (GwAgent *agent);

#endif
