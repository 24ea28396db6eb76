/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "path.h"

struct _GwLinkPath {
    GwSession *session; /* borrowed */
    GwLinkTls *tls;
    int number;
    gboolean has_more;      /* the last turn stopped at GW_PATH_RECORDS */
    gboolean is_shut;       /* our good-bye was said: nothing but what waits is sent */
    gboolean has_peer_left; /* its LEAVE came: the close that follows is no end of the peer */
};

GwLinkPath *
gw_link_path_new (GwSession *session, GwLinkTls *tls, guint serial, gint64 now_us)
{
    int number = gw_session_path_up (session, serial, now_us);
    if (number < 0) {
        gw_link_tls_free (tls);
        return NULL;
    }
    GwLinkPath *path = g_new0 (GwLinkPath, 1);
    path->session = session;
    path->tls = tls;
    path->number = number;
    path->has_more = TRUE; /* records may have come together with the hello */
    return path;
}

void
gw_link_path_free (GwLinkPath *path)
{
    if (path == NULL)
        return;
    gw_link_tls_free (path->tls);
    g_free (path);
}

int
gw_link_path_get_number (const GwLinkPath *path)
{
    return path->number;
}

const GwLinkTls *
gw_link_path_get_tls (const GwLinkPath *path)
{
    return path->tls;
}

gboolean
gw_link_path_has_more (const GwLinkPath *path)
{
    return path->has_more;
}

/* What the socket said after a good-bye or a LEAVE is no fault of the path. */
static GwLinkStep
take_end (GwLinkPath *path, GwLinkStep step, GError **error)
{
    if (step == GW_LINK_AGAIN)
        return GW_LINK_DONE;
    if (!path->has_peer_left)
        return step;
    g_clear_error (error);
    gw_fail (error, GW_CAUSE_LINK_LOST, "the other courier has left this path");
    return GW_LINK_FAILED;
}

GwLinkStep
gw_link_path_receive (GwLinkPath *path, gint64 now_us, GError **error)
{
    path->has_more = FALSE;
    for (guint i = 0; i < GW_PATH_RECORDS; i++) {
        GwLinkRecord record = { 0 };
        GwLinkStep step = gw_link_tls_receive (path->tls, &record, error);
        if (step != GW_LINK_DONE)
            return take_end (path, step, error);
        path->has_peer_left = record.len > 0 && record.data[0] == GW_LINK_LEAVE;
        if (!gw_session_receive (path->session, path->number, &record, now_us, error))
            return GW_LINK_FAILED;
    }
    path->has_more = TRUE;
    return GW_LINK_DONE;
}

/* Encrypts up to GW_LINK_BATCH full frames.  FALSE when GnuTLS failed. */
static gboolean
encrypt_batch (GwLinkPath *path, gint64 now_us, guint *ret_n, GError **error)
{
    GwSessionFrame frame;
    *ret_n = 0;
    gw_session_path_unacked (path->session, path->number, gw_link_tls_get_unacked (path->tls));
    while (gw_link_tls_get_room (path->tls) > 0 &&
           gw_session_send (path->session, path->number, now_us, &frame)) {
        if (!gw_link_tls_send (path->tls, frame.record, frame.len, error))
            return FALSE;
        ++*ret_n;
    }
    return TRUE;
}

GwLinkStep
gw_link_path_send (GwLinkPath *path, gint64 now_us, GError **error)
{
    GwLinkStep step = gw_link_tls_flush (path->tls, error);
    for (guint i = 0; i < GW_PATH_RECORDS && step == GW_LINK_DONE && !path->is_shut; i++) {
        guint n;
        if (!encrypt_batch (path, now_us, &n, error))
            return GW_LINK_FAILED;
        if (n == 0)
            break;
        step = gw_link_tls_flush (path->tls, error);
        path->has_more = path->has_more || i == GW_PATH_RECORDS - 1;
    }
    if (step == GW_LINK_AGAIN)
        gw_session_path_full (path->session, path->number);
    return step;
}

void
gw_link_path_shut (GwLinkPath *path)
{
    g_autoptr (GError) ignored = NULL; /* best effort: the peer notices the end of the socket too */
    if (path->is_shut)
        return;
    path->is_shut = TRUE;
    if (gw_link_tls_can_send_small (path->tls) && gw_link_tls_shut (path->tls, &ignored))
        (void) gw_link_tls_flush (path->tls, &ignored);
}
