/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

#include <gio/gunixoutputstream.h>
#include <limits.h>
#include <signal.h>

/* Reading and writing are done without blocking from sources on the context.  The end has two
 * steps, since a peer's last words may still lie in a buffer, and ssh tells its reason only when it
 * exits: FRESH or READY -> ENDING -> CLOSED (rpc-private.h). */

#define READ_BYTES (64 * 1024)
#define NAME_MAX_BYTES 300 /* of the peer's name in messages */

static const GwState states[] = {
    [GW_RPC_FRESH] = { "fresh", 1u << GW_RPC_READY | 1u << GW_RPC_ENDING | 1u << GW_RPC_CLOSED,
                       GW_STATE_INITIAL },
    [GW_RPC_READY] = { "ready", 1u << GW_RPC_ENDING | 1u << GW_RPC_CLOSED, 0 },
    [GW_RPC_ENDING] = { "ending", 1u << GW_RPC_CLOSED, 0 },
    [GW_RPC_CLOSED] = { "closed", 0, GW_STATE_FINAL },
};
static const GwMachineTable conn_table = { "rpc", states, G_N_ELEMENTS (states) };

static void
drop_source (GSource **source)
{
    if (*source == NULL)
        return;
    g_source_destroy (*source);
    g_clear_pointer (source, g_source_unref);
}

static GSource *
attach (GwRpc *rpc, GSource *source, GSourceFunc fn)
{
    g_source_set_callback (source, fn, rpc, NULL);
    g_source_attach (source, rpc->context);
    return source;
}

gboolean
gw_rpc_is_open (const GwRpc *rpc)
{
    return rpc->state.state == GW_RPC_FRESH || rpc->state.state == GW_RPC_READY;
}

/* --- the end --- */

static gboolean
on_tell_closed (gpointer user_data)
{
    GwRpc *rpc = user_data;
    drop_source (&rpc->told_source);
    if (rpc->closed_fn == NULL)
        return G_SOURCE_REMOVE;
    rpc->dispatching++;
    rpc->closed_fn (rpc->why, rpc->closed_data);
    rpc->dispatching--;
    return G_SOURCE_REMOVE;
}

static void
drop_output (GwRpc *rpc)
{
    drop_source (&rpc->write_source);
    g_queue_clear_full (&rpc->out, (GDestroyNotify) g_bytes_unref);
    rpc->out_first_offset = rpc->out_bytes = 0;
}

static void
close_stream (GwRpc *rpc)
{
    drop_source (&rpc->read_source);
    drop_output (rpc);
    if (rpc->stream != NULL)
        (void) g_io_stream_close (rpc->stream, NULL, NULL); /* it is of no use any more */
    g_clear_object (&rpc->stream);
}

static void
enter_closed (GwRpc *rpc)
{
    g_assert (rpc->why != NULL);
    drop_source (&rpc->end_source);
    close_stream (rpc);
    gw_machine_move (&rpc->state, GW_RPC_CLOSED);
    gw_rpc_call_fail_all (rpc);
    gw_rpc_server_drop_requests (rpc);
}

/* ENDING is over: the transport has told what it knows, or had its time. */
static void
finish (GwRpc *rpc)
{
    GError *better = NULL;
    if (rpc->transport_ops != NULL)
        better = rpc->transport_ops->explain (rpc->transport, rpc->why, rpc->peer != NULL);
    if (better != NULL) {
        g_error_free (rpc->why);
        rpc->why = better;
    }
    enter_closed (rpc);
    rpc->told_source = attach (rpc, g_idle_source_new (), on_tell_closed);
}

static void
finish_when_complete (GwRpc *rpc)
{
    gboolean is_settled = rpc->transport_ops == NULL
                          || rpc->transport_ops->is_settled (rpc->transport);
    if (rpc->state.state == GW_RPC_ENDING && rpc->read_source == NULL && is_settled)
        finish (rpc);
}

static gboolean
on_ending_limit (gpointer user_data)
{
    finish (user_data);
    return G_SOURCE_REMOVE;
}

/* Nothing can be sent any more; what the peer said before is still read.  Takes `why`. */
static void
begin_ending (GwRpc *rpc, GError *why)
{
    if (!gw_rpc_is_open (rpc)) {
        g_error_free (why);
        return;
    }
    rpc->why = why;
    gw_machine_move (&rpc->state, GW_RPC_ENDING);
    drop_output (rpc);
    rpc->end_source = attach (rpc, g_timeout_source_new (GW_RPC_ENDING_MS), on_ending_limit);
}

void
gw_rpc_conn_fail (GwRpc *rpc, GError *why)
{
    begin_ending (rpc, why);
    close_stream (rpc);
    finish_when_complete (rpc);
}

void
gw_rpc_conn_set_transport (GwRpc *rpc, const GwRpcTransportOps *ops, gpointer transport)
{
    rpc->transport_ops = ops;
    rpc->transport = transport;
}

void
gw_rpc_conn_transport_settled (GwRpc *rpc)
{
    begin_ending (rpc, g_error_new (GW_ERROR, GW_CAUSE_AGENT_LOST, "the connection to %s ended",
                                    rpc->name));
    finish_when_complete (rpc);
}

void
gw_rpc_close (GwRpc *rpc)
{
    if (rpc->state.state == GW_RPC_CLOSED)
        return;
    g_clear_error (&rpc->why);
    rpc->why = g_error_new (GW_ERROR, GW_CAUSE_AGENT_LOST, "the connection to %s was closed here",
                            rpc->name);
    enter_closed (rpc);
}

/* --- writing --- */

static gboolean on_writable (GObject *stream, gpointer user_data);

static void
want_to_write (GwRpc *rpc)
{
    if (rpc->write_source != NULL)
        return;
    GPollableOutputStream *out
        = G_POLLABLE_OUTPUT_STREAM (g_io_stream_get_output_stream (rpc->stream));
    rpc->write_source = attach (rpc, g_pollable_output_stream_create_source (out, NULL),
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
        drop_source (&rpc->write_source);
    else if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
        want_to_write (rpc);
    else
        begin_ending (rpc, g_error_new (GW_ERROR, GW_CAUSE_AGENT_LOST,
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
gw_rpc_conn_send (GwRpc *rpc, char *text, gsize len, GError **error)
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
    return text != NULL && gw_rpc_conn_send (rpc, text, len, error);
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

/* --- reading --- */

/* The peer says something about the connection as a whole, such as why it refuses us. */
static void
take_verdict (GwRpc *rpc, GwRpcMessage *message)
{
    GError *why = g_steal_pointer (&message->error);
    g_prefix_error (&why, "%s ended the connection: ", rpc->name);
    if (rpc->state.state == GW_RPC_ENDING) {
        g_error_free (rpc->why);
        rpc->why = g_error_copy (why);
    }
    gw_rpc_conn_fail (rpc, why);
}

static void
take_message (GwRpc *rpc, GwRpcMessage *message)
{
    switch (message->kind) {
    case GW_RPC_MESSAGE_REQUEST:
        gw_rpc_server_take_request (rpc, message);
        break;
    case GW_RPC_MESSAGE_NOTIFICATION:
        gw_rpc_server_take_notification (rpc, message);
        break;
    case GW_RPC_MESSAGE_RESULT:
        gw_rpc_call_take_reply (rpc, message);
        break;
    case GW_RPC_MESSAGE_ERROR:
        if (message->id >= 0)
            gw_rpc_call_take_reply (rpc, message);
        else
            take_verdict (rpc, message);
        break;
    case GW_RPC_MESSAGE_INVALID:
        g_debug ("rpc: %s sent an invalid message: %s", rpc->name, message->error->message);
        if (message->is_answerable)
            (void) gw_rpc_server_send_error (rpc, message->id, message->code, message->error);
        break;
    }
}

/* The stream makes no sense any more: tells the peer and ends.  Takes `why`. */
static void
fail_malformed (GwRpc *rpc, GError *why)
{
    (void) gw_rpc_server_send_error (rpc, -1, GW_RPC_CODE_PARSE, why); /* as far as it is read */
    g_prefix_error (&why, "%s: ", rpc->name);
    gw_rpc_conn_fail (rpc, why);
}

static void
take_messages (GwRpc *rpc)
{
    GError *error = NULL;
    const char *text;
    gsize len;
    while (rpc->read_source != NULL) {
        g_auto (GwRpcMessage) message = { 0 };
        if (!gw_rpc_frame_next (&rpc->frame, &text, &len, &error))
            break;
        if (text == NULL)
            return;
        if (!gw_rpc_message_parse (text, len, &message, &error))
            break;
        take_message (rpc, &message);
    }
    if (error != NULL)
        fail_malformed (rpc, error);
}

static void
take_end_of_stream (GwRpc *rpc, const GError *error)
{
    const char *where = gw_rpc_frame_is_empty (&rpc->frame) ? "" : " in the middle of a message";
    gw_rpc_conn_fail (rpc, error == NULL
                               ? g_error_new (GW_ERROR, GW_CAUSE_AGENT_LOST,
                                              "the connection to %s ended%s", rpc->name, where)
                               : g_error_new (GW_ERROR, GW_CAUSE_AGENT_LOST,
                                              "the connection to %s broke%s: %s", rpc->name, where,
                                              error->message));
}

static gboolean
on_readable (GObject *stream, gpointer user_data)
{
    GwRpc *rpc = user_data;
    g_autoptr (GError) error = NULL;
    gssize n = g_pollable_input_stream_read_nonblocking (G_POLLABLE_INPUT_STREAM (stream),
                                                         rpc->read_buffer, READ_BYTES, NULL,
                                                         &error);
    if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
        return G_SOURCE_CONTINUE;
    if (n <= 0) {
        take_end_of_stream (rpc, error);
        return G_SOURCE_REMOVE;
    }
    gw_rpc_frame_push (&rpc->frame, rpc->read_buffer, (gsize) n);
    take_messages (rpc);
    return rpc->read_source != NULL ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/* --- birth and death --- */

static gboolean
can_poll (GIOStream *stream)
{
    GInputStream *in = g_io_stream_get_input_stream (stream);
    GOutputStream *out = g_io_stream_get_output_stream (stream);
    return G_IS_POLLABLE_INPUT_STREAM (in) && G_IS_POLLABLE_OUTPUT_STREAM (out)
           && g_pollable_input_stream_can_poll (G_POLLABLE_INPUT_STREAM (in))
           && g_pollable_output_stream_can_poll (G_POLLABLE_OUTPUT_STREAM (out));
}

static void
start_io (GwRpc *rpc)
{
    GInputStream *in = g_io_stream_get_input_stream (rpc->stream);
    GOutputStream *out = g_io_stream_get_output_stream (rpc->stream);
    rpc->read_source
        = attach (rpc, g_pollable_input_stream_create_source (G_POLLABLE_INPUT_STREAM (in), NULL),
                  G_SOURCE_FUNC (on_readable));
    /* A pipe that is not O_NONBLOCK (and whose flags others share) takes PIPE_BUF bytes without
     * blocking once poll(2) calls it writable, and no byte more for certain. */
    rpc->out_chunk_max = G_IS_UNIX_OUTPUT_STREAM (out) ? PIPE_BUF : G_MAXSSIZE;
    if (G_IS_UNIX_OUTPUT_STREAM (out))
        (void) signal (SIGPIPE, SIG_IGN); /* cannot fail for this signal */
}

GwRpc *
gw_rpc_new (GIOStream *stream, GMainContext *context)
{
    GwRpc *rpc = g_new0 (GwRpc, 1);
    gw_machine_init (&rpc->state, &conn_table, NULL, NULL);
    rpc->context = g_main_context_ref (context != NULL ? context : g_main_context_default ());
    rpc->stream = g_object_ref (stream);
    rpc->name = g_strdup ("the peer");
    gw_rpc_frame_init (&rpc->frame);
    rpc->read_buffer = g_malloc (READ_BYTES);
    rpc->pending = g_hash_table_new (g_int64_hash, g_int64_equal);
    if (can_poll (stream))
        start_io (rpc);
    else
        gw_rpc_conn_fail (rpc, g_error_new (GW_ERROR, GW_CAUSE_AGENT_LOST,
                                            "the connection is neither a socket nor a pipe"));
    return rpc;
}

void
gw_rpc_free (GwRpc *rpc)
{
    if (rpc == NULL)
        return;
    g_assert (rpc->dispatching == 0);
    gw_rpc_close (rpc);
    drop_source (&rpc->told_source);
    if (rpc->transport_ops != NULL)
        rpc->transport_ops->free (rpc->transport);
    g_queue_clear_full (&rpc->requests, (GDestroyNotify) gw_rpc_request_free);
    g_hash_table_unref (rpc->pending);
    g_clear_pointer (&rpc->peer, json_object_unref);
    gw_rpc_frame_clear (&rpc->frame);
    g_free (rpc->read_buffer);
    g_clear_error (&rpc->why);
    g_free (rpc->name);
    g_main_context_unref (rpc->context);
    g_free (rpc);
}

void
gw_rpc_set_notify_fn (GwRpc *rpc, GwRpcNotifyFn fn, gpointer user_data)
{
    rpc->notify_fn = fn;
    rpc->notify_data = user_data;
}

void
gw_rpc_set_closed_fn (GwRpc *rpc, GwRpcClosedFn fn, gpointer user_data)
{
    rpc->closed_fn = fn;
    rpc->closed_data = user_data;
}

const char *
gw_rpc_get_name (const GwRpc *rpc)
{
    return rpc->name;
}

void
gw_rpc_set_name (GwRpc *rpc, const char *name)
{
    char *clean = gw_text_clean (name, -1, NAME_MAX_BYTES);
    g_free (rpc->name);
    rpc->name = clean;
}

JsonObject *
gw_rpc_get_peer (const GwRpc *rpc)
{
    return rpc->peer;
}
