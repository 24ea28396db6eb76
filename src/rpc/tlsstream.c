/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A TLS session as a GIOStream that can be polled; the blocking calls of its two halves do not exist, and it is
 * used by one thread at a time. */
#include "tls.h"

struct _GwTlsStream {
    GIOStream parent;
    gnutls_session_t session; /* (owned) */
    gpointer credentials;     /* (owned) */
    GSocket *socket;          /* (owned) */
    GInputStream *in;         /* (owned) */
    GOutputStream *out;       /* (owned) */
};
G_DEFINE_TYPE (GwTlsStream, gw_tls_stream, G_TYPE_IO_STREAM)

typedef struct {
    GInputStream parent;
    GwTlsStream *tls; /* not owned: it owns us */
} GwTlsInput;
typedef GInputStreamClass GwTlsInputClass;

typedef struct {
    GOutputStream parent;
    GwTlsStream *tls; /* not owned */
} GwTlsOutput;
typedef GOutputStreamClass GwTlsOutputClass;

/* --- errors ------------------------------------------------------------------------------------------------ */

char *
gw_tls_describe (gnutls_session_t session, int rc)
{
    if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED || rc == GNUTLS_E_WARNING_ALERT_RECEIVED) {
        const char *alert = gnutls_alert_get_name (gnutls_alert_get (session));
        return g_strdup_printf ("the other side says: %s", alert != NULL ? alert : "an unknown alert");
    }
    if (rc == GNUTLS_E_PREMATURE_TERMINATION || rc == GNUTLS_E_PULL_ERROR || rc == GNUTLS_E_PUSH_ERROR)
        return g_strdup ("the connection was cut");
    return g_strdup (gnutls_strerror (rc));
}

static gssize
take_result (GwTlsStream *tls, gssize rc, GError **error)
{
    if (rc >= 0)
        return rc;
    if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED) {
        g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK, "would block");
        return -1;
    }
    g_autofree char *what = gw_tls_describe (tls->session, (int) rc);
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_FAILED, what);
    return -1;
}

static gboolean
check_open (GwTlsStream *tls, GError **error)
{
    if (tls != NULL && tls->session != NULL)
        return TRUE;
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_CLOSED, "the session is closed");
    return FALSE;
}

/* --- reading --------------------------------------------------------------------------------------------------- */

static gssize
read_blocking (GInputStream *stream, void *buffer, gsize count, GCancellable *cancellable, GError **error)
{
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED, "this stream does not block");
    return -1;
}

/* GnuTLS reads one record at a time from the socket.  Whoever gives room for a whole one leaves nothing behind that
 * the socket's poll would not tell of. */
static gssize
read_nonblocking (GPollableInputStream *stream, void *buffer, gsize count, GError **error)
{
    GwTlsStream *tls = ((GwTlsInput *) stream)->tls;
    if (!check_open (tls, error))
        return -1;
    g_assert (count >= GW_TLS_RECORD);
    return take_result (tls, gnutls_record_recv (tls->session, buffer, count), error);
}

static gboolean
is_readable (GPollableInputStream *stream)
{
    GwTlsStream *tls = ((GwTlsInput *) stream)->tls;
    return tls->socket == NULL || g_socket_condition_check (tls->socket, G_IO_IN) != 0;
}

static GSource *
make_source (gpointer stream, GwTlsStream *tls, GIOCondition condition, GCancellable *cancellable)
{
    g_autoptr (GSource) child = g_socket_create_source (tls->socket, condition, cancellable);
    return g_pollable_source_new_full (stream, child, NULL);
}

static GSource *
create_read_source (GPollableInputStream *stream, GCancellable *cancellable)
{
    return make_source (stream, ((GwTlsInput *) stream)->tls, G_IO_IN, cancellable);
}

static void
gw_tls_input_pollable_init (GPollableInputStreamInterface *iface)
{
    iface->is_readable = is_readable;
    iface->create_source = create_read_source;
    iface->read_nonblocking = read_nonblocking;
}

static GType gw_tls_input_get_type (void);
G_DEFINE_TYPE_WITH_CODE (GwTlsInput, gw_tls_input, G_TYPE_INPUT_STREAM,
                         G_IMPLEMENT_INTERFACE (G_TYPE_POLLABLE_INPUT_STREAM, gw_tls_input_pollable_init))

static void
gw_tls_input_class_init (GwTlsInputClass *class)
{
    class->read_fn = read_blocking;
}

static void
gw_tls_input_init (GwTlsInput *input)
{
}

/* --- writing --------------------------------------------------------------------------------------------------- */

static gssize
write_blocking (GOutputStream *stream, const void *buffer, gsize count, GCancellable *cancellable, GError **error)
{
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED, "this stream does not block");
    return -1;
}

/* A record that would block is kept by GnuTLS and goes out with the next call, which must be for the same bytes: the
 * queue of output.c begins with them until they are written. */
static gssize
write_nonblocking (GPollableOutputStream *stream, const void *buffer, gsize count, GError **error)
{
    GwTlsStream *tls = ((GwTlsOutput *) stream)->tls;
    if (!check_open (tls, error))
        return -1;
    return take_result (tls, gnutls_record_send (tls->session, buffer, MIN (count, GW_TLS_RECORD)), error);
}

static gboolean
is_writable (GPollableOutputStream *stream)
{
    GwTlsStream *tls = ((GwTlsOutput *) stream)->tls;
    return tls->socket == NULL || g_socket_condition_check (tls->socket, G_IO_OUT) != 0;
}

static GSource *
create_write_source (GPollableOutputStream *stream, GCancellable *cancellable)
{
    return make_source (stream, ((GwTlsOutput *) stream)->tls, G_IO_OUT, cancellable);
}

static void
gw_tls_output_pollable_init (GPollableOutputStreamInterface *iface)
{
    iface->is_writable = is_writable;
    iface->create_source = create_write_source;
    iface->write_nonblocking = write_nonblocking;
}

static GType gw_tls_output_get_type (void);
G_DEFINE_TYPE_WITH_CODE (GwTlsOutput, gw_tls_output, G_TYPE_OUTPUT_STREAM,
                         G_IMPLEMENT_INTERFACE (G_TYPE_POLLABLE_OUTPUT_STREAM, gw_tls_output_pollable_init))

static void
gw_tls_output_class_init (GwTlsOutputClass *class)
{
    class->write_fn = write_blocking;
}

static void
gw_tls_output_init (GwTlsOutput *output)
{
}

/* --- the stream -------------------------------------------------------------------------------------------------- */

static GInputStream *
get_input (GIOStream *stream)
{
    return GW_TLS_STREAM (stream)->in;
}

static GOutputStream *
get_output (GIOStream *stream)
{
    return GW_TLS_STREAM (stream)->out;
}

static gboolean
close_stream (GIOStream *stream, GCancellable *cancellable, GError **error)
{
    GwTlsStream *tls = GW_TLS_STREAM (stream);
    if (tls->session != NULL) {
        (void) gnutls_bye (tls->session, GNUTLS_SHUT_WR); /* as far as the socket takes it at once */
        gnutls_deinit (g_steal_pointer (&tls->session));
    }
    return tls->socket == NULL || g_socket_close (tls->socket, error);
}

static void
finalize (GObject *object)
{
    GwTlsStream *tls = GW_TLS_STREAM (object);
    ((GwTlsInput *) tls->in)->tls = NULL;
    ((GwTlsOutput *) tls->out)->tls = NULL;
    g_object_unref (tls->in);
    g_object_unref (tls->out);
    g_clear_pointer (&tls->session, gnutls_deinit);
    g_clear_pointer (&tls->credentials, gnutls_certificate_free_credentials);
    g_clear_object (&tls->socket);
    G_OBJECT_CLASS (gw_tls_stream_parent_class)->finalize (object);
}

static void
gw_tls_stream_class_init (GwTlsStreamClass *class)
{
    G_OBJECT_CLASS (class)->finalize = finalize;
    G_IO_STREAM_CLASS (class)->get_input_stream = get_input;
    G_IO_STREAM_CLASS (class)->get_output_stream = get_output;
    G_IO_STREAM_CLASS (class)->close_fn = close_stream;
}

static void
gw_tls_stream_init (GwTlsStream *tls)
{
    tls->in = g_object_new (gw_tls_input_get_type (), NULL);
    tls->out = g_object_new (gw_tls_output_get_type (), NULL);
    ((GwTlsInput *) tls->in)->tls = tls;
    ((GwTlsOutput *) tls->out)->tls = tls;
}

GwTlsStream *
gw_tls_stream_new (GSocket *socket, gnutls_session_t session, gnutls_certificate_credentials_t credentials)
{
    GwTlsStream *tls = g_object_new (gw_tls_stream_get_type (), NULL);
    tls->socket = g_object_ref (socket);
    tls->session = session;
    tls->credentials = credentials;
    return tls;
}

gnutls_session_t
gw_tls_stream_get_session (GwTlsStream *tls)
{
    return tls->session;
}

GSocket *
gw_tls_stream_get_socket (GwTlsStream *tls)
{
    return tls->socket;
}
