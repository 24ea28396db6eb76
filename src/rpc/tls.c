/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who is at the other end: certificates in QEMU's layout, the handshake, and what is asked of the peer's. */
#include "tls.h"

#include <gnutls/x509.h>
#include <arpa/inet.h>
#include <string.h>

#define PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3"
#define HANDSHAKE_MS 10000 /* of a client */
#define REFUSAL_MS 1000    /* for the peer to hear why */
#define DRAIN_READS 64
#define NAMES_MAX 64       /* of a certificate */
#define NAME_BYTES_MAX 255

/* --- our own certificates ------------------------------------------------------------------------------------- */

static gboolean
check_file (const char *path, GError **error)
{
    g_autoptr (GMappedFile) file = g_mapped_file_new (path, FALSE, error);
    return file != NULL || gw_error_adopt (error, GW_CAUSE_CERTIFICATE);
}

static gboolean
fail_file (const char *path, int rc, GError **error)
{
    return gw_fail (error, GW_CAUSE_CERTIFICATE, "'%s': %s", path, gnutls_strerror (rc));
}

static gboolean
load_files (gnutls_certificate_credentials_t credentials, const char *dir, gboolean is_server, GError **error)
{
    g_autofree char *ca = g_build_filename (dir, "ca-cert.pem", NULL);
    g_autofree char *crl = g_build_filename (dir, "ca-crl.pem", NULL);
    g_autofree char *cert = g_build_filename (dir, is_server ? "server-cert.pem" : "client-cert.pem", NULL);
    g_autofree char *key = g_build_filename (dir, is_server ? "server-key.pem" : "client-key.pem", NULL);
    if (!check_file (ca, error) || !check_file (cert, error) || !check_file (key, error))
        return FALSE;
    int rc = gnutls_certificate_set_x509_trust_file (credentials, ca, GNUTLS_X509_FMT_PEM);
    if (rc <= 0)
        return fail_file (ca, rc == 0 ? GNUTLS_E_NO_CERTIFICATE_FOUND : rc, error);
    rc = gnutls_certificate_set_x509_key_file (credentials, cert, key, GNUTLS_X509_FMT_PEM);
    if (rc < 0)
        return fail_file (cert, rc, error);
    if (!g_file_test (crl, G_FILE_TEST_EXISTS))
        return TRUE;
    rc = gnutls_certificate_set_x509_crl_file (credentials, crl, GNUTLS_X509_FMT_PEM);
    return rc > 0 || fail_file (crl, rc == 0 ? GNUTLS_E_NO_CERTIFICATE_FOUND : rc, error);
}

static gnutls_certificate_credentials_t
load_credentials (const char *dir, gboolean is_server, GError **error)
{
    gnutls_certificate_credentials_t credentials = NULL;
    if (gnutls_certificate_allocate_credentials (&credentials) < 0) {
        gw_fail (error, GW_CAUSE_INTERNAL, "GnuTLS has no memory");
        return NULL;
    }
    if (load_files (credentials, dir, is_server, error))
        return credentials;
    gnutls_certificate_free_credentials (credentials);
    return NULL;
}

gboolean
gw_rpc_check_certificates (const char *dir, GError **error)
{
    gnutls_certificate_credentials_t credentials = load_credentials (dir, TRUE, error);
    if (credentials == NULL)
        return FALSE;
    gnutls_certificate_free_credentials (credentials);
    return TRUE;
}

/* --- the handshake ----------------------------------------------------------------------------------------------- */

static gboolean
on_ready (GSocket *socket, GIOCondition condition, gpointer user_data)
{
    *(gboolean *) user_data = TRUE;
    return G_SOURCE_CONTINUE;
}

static gboolean
is_ready (gpointer user_data)
{
    return *(const gboolean *) user_data;
}

static gboolean
wait_for_socket (GwTlsStream *tls, GMainContext *context, gint64 deadline_us, GCancellable *cancellable,
                 GError **error)
{
    gboolean is_there = FALSE;
    gboolean is_write = gnutls_record_get_direction (gw_tls_stream_get_session (tls)) != 0;
    GSource *source = g_socket_create_source (gw_tls_stream_get_socket (tls), is_write ? G_IO_OUT : G_IO_IN, NULL);
    g_source_set_callback (source, G_SOURCE_FUNC (on_ready), &is_there, NULL);
    g_source_attach (source, context);
    gboolean ok = gw_wait_until (context, is_ready, &is_there, deadline_us, cancellable, error);
    gw_rpc_drop_source (&source);
    return ok;
}

static gboolean
shake_hands (GwTlsStream *tls, GMainContext *context, gint64 deadline_us, GCancellable *cancellable, GError **error)
{
    gnutls_session_t session = gw_tls_stream_get_session (tls);
    int rc;
    while ((rc = gnutls_handshake (session)) < 0) {
        if (gnutls_error_is_fatal (rc)) {
            (void) gnutls_alert_send_appropriate (session, rc); /* it may be gone */
            g_autofree char *what = gw_tls_describe (session, rc);
            return gw_fail (error, GW_CAUSE_PEER_REFUSED, "no TLS 1.3 session came about: %s", what);
        }
        if ((rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED) &&
            !wait_for_socket (tls, context, deadline_us, cancellable, error))
            return FALSE;
    }
    return TRUE;
}

static GwTlsStream *
make_stream (GSocket *socket, const char *dir, gboolean is_server, GError **error)
{
    gnutls_session_t session = NULL;
    gnutls_certificate_credentials_t credentials = load_credentials (dir, is_server, error);
    if (credentials == NULL)
        return NULL;
    unsigned flags = (is_server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
                     GNUTLS_NO_TICKETS;
    int rc = gnutls_init (&session, flags);
    if (rc == 0)
        rc = gnutls_priority_set_direct (session, PRIORITY, NULL);
    if (rc == 0)
        rc = gnutls_credentials_set (session, GNUTLS_CRD_CERTIFICATE, credentials);
    if (rc != 0) {
        g_clear_pointer (&session, gnutls_deinit);
        gnutls_certificate_free_credentials (credentials);
        gw_fail (error, GW_CAUSE_INTERNAL, "GnuTLS makes no session: %s", gnutls_strerror (rc));
        return NULL;
    }
    g_socket_set_blocking (socket, FALSE);
    gnutls_transport_set_int (session, g_socket_get_fd (socket));
    return gw_tls_stream_new (socket, session, credentials);
}

/* --- the peer's certificate ----------------------------------------------------------------------------------------- */

static gboolean
check_chain (gnutls_session_t session, const char *purpose, char **ret_why)
{
    gnutls_typed_vdata_st data = { GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *) (gpointer) purpose, 0 };
    gnutls_datum_t text = { NULL, 0 };
    unsigned status = 0;
    int rc = gnutls_certificate_verify_peers (session, &data, 1, &status);
    if (rc == GNUTLS_E_NO_CERTIFICATE_FOUND)
        *ret_why = g_strdup ("it has sent no certificate");
    else if (rc < 0)
        *ret_why = g_strdup (gnutls_strerror (rc));
    else if (status != 0 && gnutls_certificate_verification_status_print (status, GNUTLS_CRT_X509, &text, 0) == 0)
        *ret_why = g_strstrip (g_strndup ((char *) text.data, text.size));
    else if (status != 0)
        *ret_why = g_strdup ("it is not good");
    gnutls_free (text.data);
    return rc == 0 && status == 0;
}

static gnutls_x509_crt_t
get_certificate (gnutls_session_t session)
{
    unsigned n = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers (session, &n);
    gnutls_x509_crt_t crt = NULL;
    if (chain == NULL || n == 0 || gnutls_x509_crt_init (&crt) < 0)
        return NULL;
    if (gnutls_x509_crt_import (crt, &chain[0], GNUTLS_X509_FMT_DER) == 0)
        return crt;
    gnutls_x509_crt_deinit (crt);
    return NULL;
}

/* An alternative name as text; NULL for one that names no host. */
static char *
name_to_text (int type, const char *data, size_t len)
{
    char text[INET6_ADDRSTRLEN];
    if (type == GNUTLS_SAN_IPADDRESS && (len == 4 || len == 16))
        return g_strdup (inet_ntop (len == 4 ? AF_INET : AF_INET6, data, text, sizeof text));
    if (type != GNUTLS_SAN_DNSNAME || memchr (data, '\0', len) != NULL || memchr (data, '*', len) != NULL)
        return NULL;
    g_autofree char *name = g_strndup (data, len);
    return g_ascii_strdown (name, -1);
}

/* The alternative names; of a certificate without any the common one, as QEMU's manual makes those of clients. */
static GStrv
list_names (gnutls_x509_crt_t crt)
{
    g_autoptr (GStrvBuilder) names = g_strv_builder_new ();
    char data[NAME_BYTES_MAX + 1];
    guint n = 0;
    for (unsigned i = 0; i < NAMES_MAX; i++) {
        size_t len = NAME_BYTES_MAX;
        int type = gnutls_x509_crt_get_subject_alt_name (crt, i, data, &len, NULL);
        if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            break;
        n++;
        g_autofree char *name = type >= 0 ? name_to_text (type, data, len) : NULL;
        if (name != NULL)
            g_strv_builder_add (names, name);
    }
    size_t len = NAME_BYTES_MAX;
    if (n == 0 && gnutls_x509_crt_get_dn_by_oid (crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, data, &len) == 0) {
        g_autofree char *name = name_to_text (GNUTLS_SAN_DNSNAME, data, len);
        if (name != NULL)
            g_strv_builder_add (names, name);
    }
    return g_strv_builder_end (names);
}

/* --- the two ends ------------------------------------------------------------------------------------------------------ */

GIOStream *
gw_rpc_accept_tls (GSocket *socket, const char *certificates, GMainContext *context, gint64 deadline_us,
                   GCancellable *cancellable, GError **error)
{
    g_autoptr (GwTlsStream) tls = make_stream (socket, certificates, TRUE, error);
    if (tls == NULL)
        return NULL;
    gnutls_certificate_server_set_request (gw_tls_stream_get_session (tls), GNUTLS_CERT_REQUEST);
    if (!shake_hands (tls, context, deadline_us, cancellable, error))
        return NULL;
    return G_IO_STREAM (g_steal_pointer (&tls));
}

gboolean
gw_rpc_identify_peer (GIOStream *stream, GStrv *ret_names, GError **error)
{
    gnutls_session_t session = gw_tls_stream_get_session (GW_TLS_STREAM (stream));
    g_autofree char *why = NULL;
    if (!check_chain (session, GNUTLS_KP_TLS_WWW_CLIENT, &why))
        return gw_fail (error, GW_CAUSE_PEER_REFUSED, "the peer's certificate: %s", why);
    gnutls_x509_crt_t crt = get_certificate (session);
    if (crt == NULL)
        return gw_fail (error, GW_CAUSE_PEER_REFUSED, "the peer's certificate cannot be read");
    *ret_names = list_names (crt);
    gnutls_x509_crt_deinit (crt);
    return TRUE;
}

/* What it has sent by now is read, or its end would be a reset that overtakes our words. */
static void
drain (GSocket *socket)
{
    char buffer[4096];
    gint64 deadline_us = gw_deadline_ms (REFUSAL_MS);
    (void) g_socket_shutdown (socket, FALSE, TRUE, NULL);
    for (guint i = 0; i < DRAIN_READS; i++) {
        gint64 left_us = (gint64) gw_deadline_left_ms (deadline_us) * 1000;
        if (!g_socket_condition_timed_wait (socket, G_IO_IN, MAX (left_us, 1), NULL, NULL) ||
            g_socket_receive (socket, buffer, sizeof buffer, NULL, NULL) <= 0)
            return;
    }
}

void
gw_rpc_refuse_peer (GIOStream *stream, const GError *why)
{
    GwTlsStream *tls = GW_TLS_STREAM (stream);
    gnutls_session_t session = gw_tls_stream_get_session (tls);
    gsize len, size;
    g_autofree char *text = gw_rpc_message_build_error (-1, GW_RPC_CODE_CAUSE, why, &len);
    g_autoptr (GBytes) line = gw_rpc_frame_wrap (GW_RPC_FRAMING_LINES, text, len);
    const char *data = g_bytes_get_data (line, &size);
    (void) gnutls_record_send (session, data, size); /* there is room: it is the first that is sent */
    (void) gnutls_bye (session, GNUTLS_SHUT_WR);
    drain (gw_tls_stream_get_socket (tls));
}

/* Whether it is the host that we meant. */
static gboolean
check_server (GwTlsStream *tls, const GwRpcAddress *address, GError **error)
{
    gnutls_session_t session = gw_tls_stream_get_session (tls);
    g_autofree char *why = NULL;
    if (!check_chain (session, GNUTLS_KP_TLS_WWW_SERVER, &why))
        return gw_fail (error, GW_CAUSE_PEER_UNTRUSTED, "the certificate of '%s': %s", address->text, why);
    gnutls_x509_crt_t crt = get_certificate (session);
    if (crt == NULL)
        return gw_fail (error, GW_CAUSE_PEER_UNTRUSTED, "the certificate of '%s' cannot be read", address->text);
    gboolean ok = gnutls_x509_crt_check_hostname (crt, address->host) != 0;
    g_auto (GStrv) names = list_names (crt);
    gnutls_x509_crt_deinit (crt);
    if (ok)
        return TRUE;
    g_autofree char *list = g_strjoinv ("', '", names);
    return gw_fail (error, GW_CAUSE_PEER_UNTRUSTED, "the certificate of '%s' is for '%s', not for '%s'",
                    address->text, list, address->host);
}

/* Why there is no session, as the client has to see it. */
static void
blame_server (const GwRpcAddress *address, GError **error)
{
    GwCause cause = gw_error_get_cause (*error);
    if (cause == GW_CAUSE_TIMED_OUT || cause == GW_CAUSE_PEER_REFUSED) {
        g_autofree char *said = g_strdup ((*error)->message);
        g_clear_error (error);
        gw_fail (error, GW_CAUSE_DESTINATION_UNREACHABLE,
                 "'%s' accepted a connection and then did not speak TLS: %s; an agent with as many connections as its "
                 "limits allow does so, and its log says it",
                 address->text, said);
    }
}

GwRpc *
gw_rpc_connect_tls (const GwRpcAddress *address, GMainContext *context, GCancellable *cancellable, GError **error)
{
    const char *dir = g_getenv ("GODWIT_CERTIFICATES");
    GError *why = NULL;
    g_autoptr (GSocketConnection) connection = gw_rpc_dial (address, context, cancellable, error);
    if (connection == NULL)
        return NULL;
    GSocket *socket = g_socket_connection_get_socket (connection);
    gw_rpc_tune_tcp (socket, address->patience_s != 0 ? address->patience_s : GW_RPC_PATIENCE_S);
    g_autoptr (GwTlsStream) tls = make_stream (socket, dir != NULL ? dir : GW_RPC_CERTIFICATES, FALSE, error);
    if (tls == NULL)
        return NULL;
    if (!shake_hands (tls, context, gw_deadline_ms (HANDSHAKE_MS), cancellable, &why)) {
        blame_server (address, &why);
        g_propagate_error (error, why);
        return NULL;
    }
    if (!check_server (tls, address, error)) {
        (void) gnutls_alert_send (gw_tls_stream_get_session (tls), GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE);
        return NULL;
    }
    GwRpc *rpc = gw_rpc_new (G_IO_STREAM (tls), context);
    gw_rpc_set_name (rpc, address->text);
    /* its last reference closes the socket */
    g_object_set_data_full (G_OBJECT (tls), "connection", g_steal_pointer (&connection), g_object_unref);
    return rpc;
}
