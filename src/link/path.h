/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * path: the pump between one TLS session and the link's session.
 *
 * Theory
 * ------
 * A path is made of a GwLinkTls on which both hellos were exchanged.  The pump takes records from it
 * to the session, and frames from the session to it for as long as the socket takes them.  Nothing
 * waits encrypted but GW_LINK_BATCH full records, and in the socket no more than TCP_NOTSENT_LOWAT is
 * unsent: what comes next is decided by the session as late as possible, so an urgent byte never
 * queues behind a megabyte of bulk.
 *
 * The end.  The session may let a path go (GW_SESSION_PATH_LEFT); then it is closed in order.  An
 * orderly close without that says that the peer's courier has ended: GW_LINK_CLOSED.  Anything else
 * is a path that broke.  In each case the caller tells the session by gw_session_path_down().
 */
#ifndef GW_PATH_H
#define GW_PATH_H

#include "session.h"

#define GW_PATH_RECORDS 64 /* taken at once */

typedef struct _GwLinkPath GwLinkPath;

/* `tls` (transfer full) becomes a path of `session`, which must outlive it.  NULL when there are too
 * many; `tls` is freed then. */
GwLinkPath *gw_link_path_new (GwSession *session, GwLinkTls *tls, guint serial, gint64 now_us);
/* Closes the socket at once; does not tell the session. */
void gw_link_path_free (GwLinkPath *path);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwLinkPath, gw_link_path_free)

/* Its number in the session. */
int gw_link_path_get_number (const GwLinkPath *path);
const GwLinkTls *gw_link_path_get_tls (const GwLinkPath *path);

/* TRUE when records wait that poll() does not see. */
gboolean gw_link_path_has_more (const GwLinkPath *path);

/* Takes up to GW_PATH_RECORDS records.  DONE; CLOSED: the peer's courier has ended; FAILED with
 * GW_CAUSE_LINK_LOST. */
GwLinkStep gw_link_path_receive (GwLinkPath *path, gint64 now_us, GError **error);

/* Sends what the session has for it while the socket takes it.  DONE, AGAIN or FAILED. */
GwLinkStep gw_link_path_send (GwLinkPath *path, gint64 now_us, GError **error);

/* Says good-bye in order, as far as the socket takes it at once. */
void gw_link_path_shut (GwLinkPath *path);

#endif
