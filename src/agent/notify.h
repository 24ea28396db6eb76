/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the service manager is told: sd_notify(3) as a protocol, which is a datagram with a few words. */
#ifndef GW_NOTIFY_H
#define GW_NOTIFY_H

#include "agent.h"

/* Without a service manager (no NOTIFY_SOCKET) all of these do nothing.  Called by the thread of the default context.
 * After gw_notify_ready() the watchdog, if the manager asked for one, is told from that context that the agent is
 * alive, as long as the agent's lock can be had. */
void gw_notify_ready (GwAgent *agent);
void gw_notify_stopping (void);
/* Its configuration is being read again; and has been, or was refused: gw_notify_reloaded(). */
void gw_notify_reloading (void);
void gw_notify_reloaded (void);

#endif
