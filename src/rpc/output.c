/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

#include <gio/gunixoutputstream.h>
#include <limits.h>
#include <signal.h>

/* Messages wait in a queue that is bounded in bytes.  They are written at once as far as there is
 * room, so that an answer leaves even if its sender does not iterate the context for a while; the
 * rest is written from a source, which exists only while something waits. */

void
gw_rpc_output_init (GwRpc *rpc)
{
    GOutputStream *out = g_io_stream_get_output_stream (rpc->stream);
    /* A pipe that is not O_NONBLOCK (and whose flags others share) takes PIPE_BUF bytes without
     * blocking once poll(2) calls it writable, and no byte more for certain. */
    rpc->out_chunk_max = G_IS_UNIX_OUTPUT_STREAM (out) ? PIPE_BUF : G_MAXSSIZE;
    if (G_IS_UNIX_OUTPUT_STREAM (out))
        (void) signal (SIGPIPE, SIG_IGN); /* cannot fail for this signal */
}

void
gw_rpc_output_drop (GwRpc *rpc)
{
    gw_rpc_drop_source (&rpc->write_source);
    g_queue_clear_full (&rpc->out, (GDestroyNotify) g_bytes_unref);
    rpc->out_first_offset = rpc->out_bytes = 0;
}

static gboolean on_writable (GObject *stream, gpointer user_data);

static void
want_to_write (GwRpc *rpc)
{
    if (rpc->write_source != NULL)
        return;
    GPollableOutputStream *out
        = G_POLLABLE_OUTPUT_STREAM (g_io_stream_get_output_stream (rpc->stream));
    rpc->write_source = gw_rpc_conn_attach (rpc, g_pollable_output_stream_create_source (out, NULL),
                                            G_SOURCE_FUNC (on_writable));
}

/* Bytes of the first in the queue that were written. */
static void
advance (GwRpc *rpc, gsize n)
{
    GBytes *first = g_queue_peek_head (&rpc->out);
    rpc->out_bytes -= n;
    rpc->out_first_offset += n;
    if (rpc->out_first_offset < g_bytes_get_size (first))
        return;
    g_bytes_unref (g_queue_pop_head (&rpc->out));
    rpc->out_first_offset = 0;
}

static gssize
write_once (GwRpc *rpc, GError **error)
{
    gsize size;
    const guint8 *data = g_bytes_get_data (g_queue_peek_head (&rpc->out), &size);
    size = MIN (size - rpc->out_first_offset, rpc->out_chunk_max);
    GPollableOutputStream *out
        = G_POLLABLE_OUTPUT_STREAM (g_io_stream_get_output_stream (rpc->stream));
    return g_pollable_output_stream_write_nonblocking (out, data + rpc->out_first_offset, size,
                                                       NULL, error);
}

static void
write_some (GwRpc *rpc)
{
    g_autoptr (GError) error = NULL;
    while (rpc->out_bytes > 0) {
        gssize n = write_once (rpc, &error);
        if (n < 0)
            break;
        advance (rpc, (gsize) n);
    }
    if (error == NULL)
        gw_rpc_drop_source (&rpc->write_source);
    else if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
        want_to_write (rpc);
    else
        gw_rpc_conn_begin_ending (rpc, g_error_new (GW_ERROR, GW_CAUSE_AGENT_LOST,
                                                    "the connection to %s broke: %s", rpc->name,
                                                    error->message));
}

static gboolean
on_writable (GObject *stream, gpointer user_data)
{
    write_some (user_data);
    return G_SOURCE_CONTINUE;
}

static gboolean
fail_not_open (GwRpc *rpc, GError **error)
{
    g_propagate_error (error, g_error_copy (rpc->why));
    return FALSE;
}

gboolean
gw_rpc_output_send (GwRpc *rpc, char *text, gsize len, GError **error)
{
    g_autofree char *owned = text;
    if (!gw_rpc_is_open (rpc))
        return fail_not_open (rpc, error);
    GBytes *bytes = gw_rpc_frame_wrap (rpc->frame.framing, owned, len);
    g_queue_push_tail (&rpc->out, bytes);
    rpc->out_bytes += g_bytes_get_size (bytes);
    write_some (rpc);
    if (rpc->out_bytes > GW_RPC_QUEUE_MAX)
        gw_rpc_conn_fail (rpc, g_error_new (GW_ERROR, GW_CAUSE_AGENT_LOST,
                                            "%s does not read: %zu bytes wait for it", rpc->name,
                                            rpc->out_bytes));
    return gw_rpc_is_open (rpc) ? TRUE : fail_not_open (rpc, error);
}

gboolean
gw_rpc_notify (GwRpc *rpc, GwRpcMethod method, JsonObject *params, GError **error)
{
    gsize len;
    char *text = gw_rpc_message_build_request (method, -1, params, &len, error);
    return text != NULL && gw_rpc_output_send (rpc, text, len, error);
}

static gboolean
is_flushed (gpointer user_data)
{
    const GwRpc *rpc = user_data;
    return rpc->out_bytes == 0 || !gw_rpc_is_open (rpc);
}

gboolean
gw_rpc_flush (GwRpc *rpc, guint timeout_ms, GError **error)
{
    if (!gw_wait_until (rpc->context, is_flushed, rpc, gw_deadline_ms (timeout_ms), NULL, NULL))
        return gw_fail (error, GW_CAUSE_RPC_TIMEOUT,
                        "%s did not read %zu bytes that wait for it within %u ms", rpc->name,
                        rpc->out_bytes, timeout_ms);
    return gw_rpc_is_open (rpc) ? TRUE : fail_not_open (rpc, error);
}
