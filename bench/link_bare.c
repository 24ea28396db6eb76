/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The baseline: GnuTLS as its manual has it, with blocking sockets and the link's cipher and records. */
#include "link-bench.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PRIORITY                                                                                   \
    "NONE:+VERS-TLS1.3:+AES-128-GCM:+AEAD:+SHA256:+ECDHE-PSK:+GROUP-X25519:+SIGN-ALL"

static const gnutls_datum_t secret = { (unsigned char *) "0123456789abcdef0123456789abcdef", 32 };

/* Whatever GnuTLS refuses ends the measurement. */
static gssize
must (gssize rc)
{
    if (rc < 0)
        g_error ("GnuTLS: %s", gnutls_strerror ((int) rc));
    return rc;
}

static int
find_key (gnutls_session_t session, const char *identity, gnutls_datum_t *ret_key)
{
    ret_key->data = gnutls_malloc (secret.size);
    ret_key->size = secret.size;
    memcpy (ret_key->data, secret.data, secret.size);
    return 0;
}

static gnutls_session_t
shake_hands (int fd, gboolean is_client)
{
    gnutls_session_t session;
    gnutls_psk_client_credentials_t client;
    gnutls_psk_server_credentials_t server;
    must (gnutls_init (&session, (is_client ? GNUTLS_CLIENT : GNUTLS_SERVER) | GNUTLS_NO_TICKETS));
    must (gnutls_priority_set_direct (session, PRIORITY, NULL));
    if (is_client) {
        must (gnutls_psk_allocate_client_credentials (&client));
        must (gnutls_psk_set_client_credentials (client, "bench", &secret, GNUTLS_PSK_KEY_RAW));
        must (gnutls_credentials_set (session, GNUTLS_CRD_PSK, client));
    } else {
        must (gnutls_psk_allocate_server_credentials (&server));
        gnutls_psk_set_server_credentials_function (server, find_key);
        must (gnutls_credentials_set (session, GNUTLS_CRD_PSK, server));
    }
    gnutls_transport_set_int (session, fd);
    must (gnutls_handshake (session));
    return session; /* lives as long as the process that made it */
}

static G_NORETURN void
send_all (int fd, gsize len)
{
    char byte;
    g_autofree uint8_t *bytes = g_malloc (GW_LINK_RECORD);
    memset (bytes, 0x5a, GW_LINK_RECORD);
    gnutls_session_t session = shake_hands (fd, TRUE);
    must (gnutls_record_recv (session, &byte, 1)); /* the receiver's clock runs */
    for (gsize done = 0; done < len; done += GW_LINK_RECORD)
        must (gnutls_record_send (session, bytes, MIN (GW_LINK_RECORD, len - done)));
    must (gnutls_bye (session, GNUTLS_SHUT_WR));
    _exit (0);
}

static double
receive_all (int fd, gsize len)
{
    g_autofree uint8_t *bytes = g_malloc (GW_LINK_RECORD);
    gnutls_session_t session = shake_hands (fd, FALSE);
    gint64 began_us = g_get_monotonic_time ();
    must (gnutls_record_send (session, "!", 1));
    gsize done = 0, n;
    while ((n = (gsize) must (gnutls_record_recv (session, bytes, GW_LINK_RECORD))) > 0)
        done += n;
    g_assert_cmpuint (done, ==, len);
    double seconds = (double) (g_get_monotonic_time () - began_us) / G_USEC_PER_SEC;
    gnutls_deinit (session);
    return seconds;
}

static void
connect_pair (int ret_fds[static 2])
{
    const int one = 1;
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    g_auto (GwFd) listener = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (bind (listener, (struct sockaddr *) &address, len), ==, 0);
    g_assert_cmpint (listen (listener, 1), ==, 0);
    g_assert_cmpint (getsockname (listener, (struct sockaddr *) &address, &len), ==, 0);
    ret_fds[0] = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (connect (ret_fds[0], (struct sockaddr *) &address, len), ==, 0);
    ret_fds[1] = accept (listener, NULL, NULL);
    for (int i = 0; i < 2; i++)
        g_assert_cmpint (setsockopt (ret_fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), ==, 0);
}

double
bench_bare (gsize len)
{
    int fds[2];
    connect_pair (fds);
    pid_t pid = fork ();
    g_assert_cmpint (pid, >=, 0);
    if (pid == 0)
        send_all (fds[0], len);
    close (fds[0]);
    double seconds = receive_all (fds[1], len);
    close (fds[1]);
    bench_wait (pid);
    return seconds;
}
