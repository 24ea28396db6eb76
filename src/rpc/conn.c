/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

/* Reading and writing are done without blocking from sources on the context.  The end has two
 * steps, since a peer's last words may still lie in a buffer, and ssh tells its reason only when it
 * exits: FRESH or READY -> ENDING -> CLOSED (rpc-private.h). */

#define READ_BYTES (64 * 1024)
#define NAME_MAX_BYTES 300 /* of the peer's name in messages */

static const GwState states[] = {
    [GW_RPC_FRESH]
    = { "fresh", 1u << GW_RPC_READY | 1u << GW_RPC_ENDING | 1u << GW_RPC_CLOSED, GW_STATE_INITIAL },
    [GW_RPC_READY] = { "ready", 1u << GW_RPC_ENDING | 1u << GW_RPC_CLOSED, 0 },
    [GW_RPC_ENDING] = { "ending", 1u << GW_RPC_CLOSED, 0 },
    [GW_RPC_CLOSED] = { "closed", 0, GW_STATE_FINAL },
};
static const GwMachineTable conn_table = { "rpc", states, G_N_ELEMENTS (states) };

void
gw_rpc_drop_source (GSource **source)
{
    if (*source == NULL)
        return;
    g_source_destroy (*source);
    g_clear_pointer (source, g_source_unref);
}

GSource *
gw_rpc_conn_attach (GwRpc *rpc, GSource *source, GSourceFunc fn)
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
    gw_rpc_drop_source (&rpc->told_source);
    if (rpc->closed_fn == NULL)
        return G_SOURCE_REMOVE;
    rpc->dispatching++;
    rpc->closed_fn (rpc->why, rpc->closed_data);
    rpc->dispatching--;
    return G_SOURCE_REMOVE;
}

static void
close_stream (GwRpc *rpc)
{
    gw_rpc_drop_source (&rpc->read_source);
    gw_rpc_output_drop (rpc);
    if (rpc->stream != NULL)
        (void) g_io_stream_close (rpc->stream, NULL, NULL); /* it is of no use any more */
    g_clear_object (&rpc->stream);
}

static void
enter_closed (GwRpc *rpc)
{
    g_assert (rpc->why != NULL);
    gw_rpc_drop_source (&rpc->end_source);
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
    rpc->told_source = gw_rpc_conn_attach (rpc, g_idle_source_new (), on_tell_closed);
}

static void
finish_when_complete (GwRpc *rpc)
{
    gboolean is_settled
        = rpc->transport_ops == NULL || rpc->transport_ops->is_settled (rpc->transport);
    if (rpc->state.state == GW_RPC_ENDING && rpc->read_source == NULL && is_settled)
        finish (rpc);
}

static gboolean
on_ending_limit (gpointer user_data)
{
    finish (user_data);
    return G_SOURCE_REMOVE;
}

void
gw_rpc_conn_begin_ending (GwRpc *rpc, GError *why)
{
    if (!gw_rpc_is_open (rpc)) {
        g_error_free (why);
        return;
    }
    rpc->why = why;
    gw_machine_move (&rpc->state, GW_RPC_ENDING);
    gw_rpc_output_drop (rpc);
    rpc->end_source
        = gw_rpc_conn_attach (rpc, g_timeout_source_new (GW_RPC_ENDING_MS), on_ending_limit);
}

void
gw_rpc_conn_fail (GwRpc *rpc, GError *why)
{
    gw_rpc_conn_begin_ending (rpc, why);
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
    gw_rpc_conn_begin_ending (rpc, g_error_new (GW_ERROR, GW_CAUSE_AGENT_LOST,
                                                "the connection to %s ended", rpc->name));
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
    gssize n
        = g_pollable_input_stream_read_nonblocking (G_POLLABLE_INPUT_STREAM (stream),
                                                    rpc->read_buffer, READ_BYTES, NULL, &error);
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
    rpc->read_source
        = gw_rpc_conn_attach (rpc,
                              g_pollable_input_stream_create_source (G_POLLABLE_INPUT_STREAM (in),
                                                                     NULL),
                              G_SOURCE_FUNC (on_readable));
    gw_rpc_output_init (rpc);
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
    gw_rpc_drop_source (&rpc->told_source);
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
