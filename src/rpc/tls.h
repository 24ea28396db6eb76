/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TLS inside src/rpc: tlsstream.c is the stream, tls.c who is at its ends. */
#ifndef GW_RPC_TLS_H
#define GW_RPC_TLS_H

#include "rpc-private.h"

#include <gnutls/gnutls.h>

#define GW_TLS_RECORD (16 * 1024) /* the most bytes of one record */

#define GW_TYPE_TLS_STREAM (gw_tls_stream_get_type ())
G_DECLARE_FINAL_TYPE (GwTlsStream, gw_tls_stream, GW, TLS_STREAM, GIOStream)

/* Over a socket (takes a ref) that does not block.  Takes the session and what it stands on. */
GwTlsStream *gw_tls_stream_new (GSocket *socket, gnutls_session_t session,
                                gnutls_certificate_credentials_t credentials);
gnutls_session_t gw_tls_stream_get_session (GwTlsStream *tls); /* NULL when closed */
GSocket *gw_tls_stream_get_socket (GwTlsStream *tls);
/* What GnuTLS's `rc` means, for people.  (transfer full) */
char *gw_tls_describe (gnutls_session_t session, int rc);

#endif
