/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "link.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Exactly one version, one cipher, PSK with an ephemeral exchange only.  GnuTLS takes no priorities
 * without signature algorithms; nothing here is ever signed, as there are no certificates. */
#define PRIORITY                                                                                   \
    "NONE:+VERS-TLS1.3:+AES-128-GCM:+AEAD:+SHA256:+ECDHE-PSK:+GROUP-X25519:+GROUP-SECP256R1:"      \
    "+SIGN-ALL"

#define RECORD_COST (GW_LINK_RECORD + 64)     /* a full record on the wire is at most this */
#define SMALL_COST 1024                       /* a control frame, or an alert */
#define SMALL_ROOM (16 * SMALL_COST)          /* kept for control beyond the batch */
#define OUT_SIZE (GW_LINK_BATCH * RECORD_COST + SMALL_ROOM)
#define IN_SIZE (256 * 1024)
#define NOTSENT_LOWAT (64 * 1024)
#define KEEPALIVE_IDLE_S 5
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT 5

struct _GwLinkKey {
    GwSide side;
    char *identity; /* of the PSK: protocol, version, job */
    uint8_t secret[GW_LINK_SECRET];
    gnutls_psk_client_credentials_t client; /* of the source, or NULL */
    gnutls_psk_server_credentials_t server; /* of the destination, or NULL */
};

struct _GwLinkTls {
    gnutls_session_t session;
    int fd;
    int io_errno;  /* of the last failed read or write; 0 for none, -1 for end of file */
    uint8_t *out;  /* OUT_SIZE bytes once started; [out_start, out_end) waits to be sent */
    gsize out_start, out_end;
    uint8_t *in;   /* IN_SIZE bytes once started; [in_start, in_end) waits to be decrypted */
    gsize in_start, in_end;
    GwLinkCounters counters;
};

/* --- credentials ------------------------------------------------------------------------------- */

/* GnuTLS asks the destination for the key of `identity`; it frees the copy. */
static int
find_key (gnutls_session_t session, const char *identity, gnutls_datum_t *ret_key)
{
    GwLinkKey *key = gnutls_session_get_ptr (session);
    if (g_strcmp0 (identity, key->identity) != 0)
        return -1;
    ret_key->data = gnutls_malloc (GW_LINK_SECRET);
    if (ret_key->data == NULL)
        return -1;
    memcpy (ret_key->data, key->secret, GW_LINK_SECRET);
    ret_key->size = GW_LINK_SECRET;
    return 0;
}

static int
make_credentials (GwLinkKey *key)
{
    int rc;
    if (key->side == GW_SIDE_SOURCE) {
        const gnutls_datum_t secret = { key->secret, GW_LINK_SECRET };
        rc = gnutls_psk_allocate_client_credentials (&key->client);
        if (rc == 0)
            rc = gnutls_psk_set_client_credentials (key->client, key->identity, &secret,
                                                    GNUTLS_PSK_KEY_RAW);
    } else {
        rc = gnutls_psk_allocate_server_credentials (&key->server);
        if (rc == 0)
            gnutls_psk_set_server_credentials_function (key->server, find_key);
    }
    return rc;
}

GwLinkKey *
gw_link_key_new (const uint8_t secret[static GW_LINK_SECRET], const char *job, GwSide side,
                 GError **error)
{
    g_autoptr (GwLinkKey) key = g_new0 (GwLinkKey, 1);
    key->side = side;
    key->identity = g_strdup_printf ("godwit-link/%d:%s", GW_LINK_VERSION, job);
    memcpy (key->secret, secret, GW_LINK_SECRET);
    int rc = make_credentials (key);
    if (rc != 0) {
        gw_fail (error, GW_CAUSE_INTERNAL, "GnuTLS takes no PSK: %s", gnutls_strerror (rc));
        return NULL;
    }
    return g_steal_pointer (&key);
}

void
gw_link_key_free (GwLinkKey *key)
{
    if (key == NULL)
        return;
    if (key->client != NULL)
        gnutls_psk_free_client_credentials (key->client);
    if (key->server != NULL)
        gnutls_psk_free_server_credentials (key->server);
    explicit_bzero (key->secret, sizeof key->secret);
    g_free (key->identity);
    g_free (key);
}

/* --- the socket below GnuTLS ------------------------------------------------------------------- */

/* Counts what a recv() or send() did; notes why it failed, for GnuTLS and for the error's text. */
static gssize
note_io (GwLinkTls *tls, gssize n, gboolean is_read)
{
    if (n > 0) {
        *(is_read ? &tls->counters.in_bytes : &tls->counters.out_bytes) += (uint64_t) n;
    } else if (n == 0) {
        tls->io_errno = -1;
    } else {
        if (errno != EAGAIN && errno != EINTR)
            tls->io_errno = errno;
        if (tls->session != NULL)
            gnutls_transport_set_errno (tls->session, errno);
    }
    return n;
}

static gssize
pull (gnutls_transport_ptr_t data, void *buffer, size_t len)
{
    GwLinkTls *tls = data;
    if (tls->in == NULL)
        return note_io (tls, recv (tls->fd, buffer, len, 0), TRUE);
    if (tls->in_start == tls->in_end) {
        gssize n = note_io (tls, recv (tls->fd, tls->in, IN_SIZE, 0), TRUE);
        if (n <= 0)
            return n;
        tls->in_start = 0;
        tls->in_end = (gsize) n;
    }
    len = MIN (len, tls->in_end - tls->in_start);
    memcpy (buffer, tls->in + tls->in_start, len);
    tls->in_start += len;
    return (gssize) len;
}

/* GnuTLS would ask the kernel whether bytes are there; ours may be in the buffer. */
static int
pull_timeout (gnutls_transport_ptr_t data, unsigned int ms)
{
    GwLinkTls *tls = data;
    struct pollfd p = { .fd = tls->fd, .events = POLLIN };
    return tls->in_start < tls->in_end ? 1 : poll (&p, 1, 0);
}

static gssize
push (gnutls_transport_ptr_t data, const void *bytes, size_t len)
{
    GwLinkTls *tls = data;
    if (tls->out == NULL)
        return note_io (tls, send (tls->fd, bytes, len, MSG_NOSIGNAL), FALSE);
    g_assert (len <= OUT_SIZE - tls->out_end);
    memcpy (tls->out + tls->out_end, bytes, len);
    tls->out_end += len;
    return (gssize) len;
}

/* --- session ------------------------------------------------------------------------------------ */

static int
make_session (GwLinkTls *tls, GwLinkKey *key)
{
    gboolean is_client = key->side == GW_SIDE_SOURCE;
    unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS |
                     GNUTLS_NO_AUTO_SEND_TICKET | GNUTLS_NO_AUTO_REKEY;
    int rc = gnutls_init (&tls->session, flags | (is_client ? GNUTLS_CLIENT : GNUTLS_SERVER));
    if (rc == 0)
        rc = gnutls_priority_set_direct (tls->session, PRIORITY, NULL);
    if (rc == 0)
        rc = gnutls_credentials_set (tls->session, GNUTLS_CRD_PSK,
                                     is_client ? (void *) key->client : (void *) key->server);
    if (rc != 0)
        return rc;
    gnutls_session_set_ptr (tls->session, key);
    gnutls_handshake_set_timeout (tls->session, GNUTLS_INDEFINITE_TIMEOUT); /* the caller's */
    gnutls_transport_set_ptr (tls->session, tls);
    gnutls_transport_set_pull_function (tls->session, pull);
    gnutls_transport_set_pull_timeout_function (tls->session, pull_timeout);
    gnutls_transport_set_push_function (tls->session, push);
    return 0;
}

GwLinkTls *
gw_link_tls_new (GwLinkKey *key, int fd, GError **error)
{
    g_autoptr (GwLinkTls) tls = g_new0 (GwLinkTls, 1);
    tls->fd = fd;
    int rc = make_session (tls, key);
    if (rc != 0) {
        gw_fail (error, GW_CAUSE_INTERNAL, "GnuTLS makes no session: %s", gnutls_strerror (rc));
        return NULL;
    }
    return g_steal_pointer (&tls);
}

void
gw_link_tls_free (GwLinkTls *tls)
{
    if (tls == NULL)
        return;
    if (tls->session != NULL)
        gnutls_deinit (tls->session);
    gw_fd_clear (&tls->fd);
    g_free (tls->out);
    g_free (tls->in);
    g_free (tls);
}

int
gw_link_tls_get_fd (const GwLinkTls *tls)
{
    return tls->fd;
}

short
gw_link_tls_get_events (const GwLinkTls *tls)
{
    gboolean is_writing = tls->out == NULL ? gnutls_record_get_direction (tls->session) == 1
                                           : tls->out_start < tls->out_end;
    return (short) (POLLIN | (is_writing ? POLLOUT : 0));
}

/* --- handshake ---------------------------------------------------------------------------------- */

/* What TLS says, or what the socket below it said. */
static const char *
describe (const GwLinkTls *tls, int rc)
{
    if (tls->io_errno > 0)
        return g_strerror (tls->io_errno);
    if (tls->io_errno < 0 || rc == GNUTLS_E_PREMATURE_TERMINATION)
        return "the other end closed it";
    if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
        return gnutls_alert_get_name (gnutls_alert_get (tls->session));
    return gnutls_strerror (rc);
}

GwLinkStep
gw_link_tls_handshake (GwLinkTls *tls, GError **error)
{
    int rc;
    do
        rc = gnutls_handshake (tls->session);
    while (rc == GNUTLS_E_INTERRUPTED || rc == GNUTLS_E_WARNING_ALERT_RECEIVED);
    if (rc == 0)
        return GW_LINK_DONE;
    if (rc == GNUTLS_E_AGAIN)
        return GW_LINK_AGAIN;
    if (tls->io_errno == 0) {
        (void) gnutls_alert_send_appropriate (tls->session, rc); /* the peer may not be TLS at all */
        gw_fail (error, GW_CAUSE_LINK_AUTH, "TLS handshake: %s", describe (tls, rc));
    } else {
        gw_fail (error, GW_CAUSE_LINK_CONNECT, "TLS handshake: %s", describe (tls, rc));
    }
    return GW_LINK_FAILED;
}

void
gw_link_tls_start (GwLinkTls *tls)
{
    g_assert (tls->out == NULL);
    tls->out = g_malloc (OUT_SIZE);
    tls->in = g_malloc (IN_SIZE);
}

/* --- records ------------------------------------------------------------------------------------ */

/* A path that GnuTLS or the kernel gave up. */
static GwLinkStep
lose (const GwLinkTls *tls, int rc, GError **error)
{
    gw_fail (error, GW_CAUSE_LINK_LOST, "the connection broke: %s (sent %" G_GUINT64_FORMAT
             " bytes, received %" G_GUINT64_FORMAT ")",
             describe (tls, rc), tls->counters.out_bytes, tls->counters.in_bytes);
    return GW_LINK_FAILED;
}

guint
gw_link_tls_get_room (const GwLinkTls *tls)
{
    gsize used = tls->out_end - tls->out_start + SMALL_ROOM;
    return used >= OUT_SIZE ? 0 : (guint) ((OUT_SIZE - used) / RECORD_COST);
}

gboolean
gw_link_tls_can_send_small (const GwLinkTls *tls)
{
    /* twice: GnuTLS answers a key update that the peer asks for, before what is sent */
    return OUT_SIZE - (tls->out_end - tls->out_start) >= 2 * SMALL_COST;
}

static void
compact (GwLinkTls *tls)
{
    if (tls->out_start == 0)
        return;
    memmove (tls->out, tls->out + tls->out_start, tls->out_end - tls->out_start);
    tls->out_end -= tls->out_start;
    tls->out_start = 0;
}

gboolean
gw_link_tls_send (GwLinkTls *tls, const uint8_t *record, gsize len, GError **error)
{
    g_assert (len > 0 && len <= GW_LINK_RECORD);
    compact (tls);
    gssize n = gnutls_record_send (tls->session, record, len);
    if (n < 0) {
        (void) lose (tls, (int) n, error); /* the error is set */
        return FALSE;
    }
    g_assert ((gsize) n == len);
    tls->counters.out_records++;
    return TRUE;
}

GwLinkStep
gw_link_tls_flush (GwLinkTls *tls, GError **error)
{
    while (tls->out_start < tls->out_end) {
        gssize n = note_io (tls,
                            send (tls->fd, tls->out + tls->out_start, tls->out_end - tls->out_start,
                                  MSG_NOSIGNAL),
                            FALSE);
        if (n < 0 && errno == EAGAIN)
            return GW_LINK_AGAIN;
        if (n < 0 && errno != EINTR)
            return lose (tls, GNUTLS_E_PUSH_ERROR, error);
        if (n > 0)
            tls->out_start += (gsize) n;
    }
    tls->out_start = tls->out_end = 0;
    return GW_LINK_DONE;
}

static void
release_packet (gpointer packet)
{
    gnutls_packet_deinit (packet);
}

GwLinkStep
gw_link_tls_receive (GwLinkTls *tls, GwLinkRecord *ret_record, GError **error)
{
    gnutls_packet_t packet = NULL;
    gssize n;
    do
        n = gnutls_record_recv_packet (tls->session, &packet);
    while (n == GNUTLS_E_INTERRUPTED);
    if (n == GNUTLS_E_AGAIN)
        return GW_LINK_AGAIN;
    if (n == 0 && packet == NULL)
        return GW_LINK_CLOSED;
    if (n < 0)
        return lose (tls, (int) n, error);
    gnutls_datum_t datum;
    gnutls_packet_get (packet, &datum, NULL);
    *ret_record = (GwLinkRecord){ .packet = packet,
                                   .release = release_packet,
                                   .data = datum.data,
                                   .len = datum.size };
    tls->counters.in_records++;
    return GW_LINK_DONE;
}

gboolean
gw_link_tls_shut (GwLinkTls *tls, GError **error)
{
    compact (tls);
    int rc = gnutls_bye (tls->session, GNUTLS_SHUT_WR);
    if (rc != 0)
        (void) lose (tls, rc, error); /* the error is set */
    return rc == 0;
}

/* --- figures ------------------------------------------------------------------------------------ */

const GwLinkCounters *
gw_link_tls_get_counters (const GwLinkTls *tls)
{
    return &tls->counters;
}

/* What waits here and what the socket says to `question`. */
static gsize
get_waiting (const GwLinkTls *tls, unsigned long question)
{
    int bytes = 0;
    if (ioctl (tls->fd, question, &bytes) != 0 || bytes < 0)
        bytes = 0;
    return tls->out_end - tls->out_start + (gsize) bytes;
}

gsize
gw_link_tls_get_queued (const GwLinkTls *tls)
{
    return get_waiting (tls, SIOCOUTQNSD);
}

gsize
gw_link_tls_get_unacked (const GwLinkTls *tls)
{
    return get_waiting (tls, SIOCOUTQ);
}

guint
gw_link_tls_get_rtt_us (const GwLinkTls *tls)
{
    struct tcp_info info = { 0 };
    socklen_t len = sizeof info;
    return getsockopt (tls->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 ? info.tcpi_rtt : 0;
}

void
gw_link_socket_tune (int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        { IPPROTO_TCP, TCP_NODELAY, 1 },
        { IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_LOWAT },
        { IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S },
        { IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S },
        { IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT },
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
    };
    for (guint i = 0; i < G_N_ELEMENTS (options); i++) /* best effort: each has a default to live with */
        (void) setsockopt (fd, options[i].level, options[i].name, &options[i].value, sizeof (int));
}
