/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of src/rpc know of each other, by owning file.  scan, frame and message are pure:
 * bytes in, structs out, no stream and no clock.
 */
#ifndef GW_RPC_PRIVATE_H
#define GW_RPC_PRIVATE_H

#include "rpc.h"

#define GW_RPC_HEADER_MAX 1024        /* bytes of a Content-Length header with its blank line */
#define GW_RPC_ENVELOPE_MAX (4 * 1024) /* bytes of a message around its params */
#define GW_RPC_TEXT_MAX 4000          /* bytes kept of what a peer says for people */
#define GW_RPC_ENDING_MS 2000         /* for last words after the stream broke */

/* --- scan.c ----------------------------------------------------------------------------------- */

/* Whether `text` is exactly one JSON object or array as RFC 8259 has it, in UTF-8, no deeper than
 * GW_RPC_DEPTH_MAX, without \u0000, with integers that fit gint64 and numbers that are finite.
 * FALSE with GW_CAUSE_RPC_INVALID.  Linear in `len`, constant memory. */
gboolean gw_rpc_scan_json (const char *text, gsize len, GError **error);

/* --- frame.c ---------------------------------------------------------------------------------- */

typedef enum {
    GW_RPC_FRAMING_UNKNOWN, /* nothing but white space has come yet */
    GW_RPC_FRAMING_LINES,
    GW_RPC_FRAMING_HEADER,
} GwRpcFraming;

/* Cuts a byte stream into messages.  Push what was read, then call next until it has none. */
typedef struct {
    GwRpcFraming framing;
    GByteArray *buffer;  /* (owned) */
    gsize begin;         /* first byte of the buffer that was not given out */
    gsize scanned;       /* the end that is looked for is not before this one */
    gsize body_bytes;    /* HEADER: length of the message at `begin`; 0: at a header */
} GwRpcFrame;

void gw_rpc_frame_init (GwRpcFrame *frame);
void gw_rpc_frame_clear (GwRpcFrame *frame);
/* At most a few hundred KiB at a time; next must have run dry before. */
void gw_rpc_frame_push (GwRpcFrame *frame, const guint8 *data, gsize len);
/* TRUE with the next message, which is valid until the next push, or with NULL when more bytes are
 * needed.  FALSE with GW_CAUSE_RPC_INVALID when the stream is not ours or a message is too big;
 * nothing can be read from it any more. */
gboolean gw_rpc_frame_next (GwRpcFrame *frame, const char **ret_text, gsize *ret_len,
                            GError **error);
/* Whether the stream is between two messages. */
gboolean gw_rpc_frame_is_empty (const GwRpcFrame *frame);
/* `text` as it goes over the wire.  (transfer full) */
GBytes *gw_rpc_frame_wrap (GwRpcFraming framing, const char *text, gsize len);

/* --- message.c -------------------------------------------------------------------------------- */

enum {
    GW_RPC_CODE_PARSE = -32700,
    GW_RPC_CODE_REQUEST = -32600,
    GW_RPC_CODE_METHOD = -32601,
    GW_RPC_CODE_PARAMS = -32602,
    GW_RPC_CODE_CAUSE = -32000,
};

typedef enum {
    GW_RPC_MESSAGE_INVALID,      /* id, is_answerable, error, code */
    GW_RPC_MESSAGE_REQUEST,      /* id, method, params */
    GW_RPC_MESSAGE_NOTIFICATION, /* method, params */
    GW_RPC_MESSAGE_RESULT,       /* id, result */
    GW_RPC_MESSAGE_ERROR,        /* id (-1: about the connection), error */
} GwRpcMessageKind;

typedef struct {
    GwRpcMessageKind kind;
    gint64 id; /* -1: none */
    GwRpcMethod method;
    JsonObject *params; /* (owned) */
    JsonNode *result;   /* (owned) */
    GError *error;      /* (owned) ERROR: what the peer says.  INVALID: what is wrong */
    int code;           /* INVALID: what to answer with */
    gboolean is_answerable;
} GwRpcMessage;

/* Reads one message.  FALSE with GW_CAUSE_RPC_INVALID only when `text` is no JSON; whatever else is
 * wrong makes the message INVALID. */
gboolean gw_rpc_message_parse (const char *text, gsize len, GwRpcMessage *ret_message,
                               GError **error);
void gw_rpc_message_clear (GwRpcMessage *message);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (GwRpcMessage, gw_rpc_message_clear)

/* The text of a message.  NULL with GW_CAUSE_RPC_INVALID when it breaks a limit that the peer
 * would refuse it for.  `id` -1 leaves it out of a request, and is null in an error.
 * (transfer full) */
char *gw_rpc_message_build_request (GwRpcMethod method, gint64 id, JsonObject *params,
                                    gsize *ret_len, GError **error);
char *gw_rpc_message_build_result (gint64 id, JsonNode *result, gsize *ret_len, GError **error);
char *gw_rpc_message_build_error (gint64 id, int code, const GError *why, gsize *ret_len);

/* Members that must be there and of that type.  FALSE/NULL with GW_CAUSE_RPC_INVALID. */
gboolean gw_rpc_object_get_int (JsonObject *object, const char *name, gint64 *ret_value,
                                GError **error);
const char *gw_rpc_object_get_string (JsonObject *object, const char *name, GError **error);

/* --- conn.c ----------------------------------------------------------------------------------- */

enum {
    GW_RPC_FRESH,  /* hello was not shaken: all but hello is refused.  Ends by hello */
    GW_RPC_READY,  /* everything may be sent and received */
    GW_RPC_ENDING, /* nothing can be sent; what had arrived is read, and the transport asked for its
                      last words.  `why` is set.  Ends within GW_RPC_ENDING_MS */
    GW_RPC_CLOSED, /* no stream, no source, no call under way.  `why` is set */
};

/* The process behind the stream, if there is one. */
typedef struct {
    /* Has said its last words; until then gw_rpc_conn_transport_settled() is owed. */
    gboolean (*is_settled) (gpointer transport);
    /* A better reason than `why` for the end, or NULL.  (transfer full) */
    GError *(*explain) (gpointer transport, const GError *why, gboolean had_hello);
    void (*free) (gpointer transport);
} GwRpcTransportOps;

struct _GwRpc {
    GwMachine state;
    GMainContext *context; /* (owned) */
    GIOStream *stream;     /* (owned) NULL when closed */
    char *name;            /* (owned) */
    GError *why;           /* (owned) ENDING, CLOSED */
    guint dispatching;     /* callbacks of the user on the stack */

    GwRpcFrame frame;
    guint8 *read_buffer;    /* (owned) */
    GSource *read_source;   /* (owned) NULL: the peer's side has ended */
    GQueue out;             /* of GBytes (owned); the first may be partly written */
    gsize out_first_offset; /* bytes of the first that were written */
    gsize out_bytes;        /* all that waits */
    gsize out_chunk_max;    /* bytes that one write may be given without blocking */
    GSource *write_source;  /* (owned) there is something to write and no room */
    GSource *end_source;    /* (owned) ENDING: its limit */
    GSource *told_source;   /* (owned) CLOSED: closed_fn is to be called */

    const GwRpcTransportOps *transport_ops; /* NULL: none */
    gpointer transport;                     /* (owned) */

    GHashTable *pending; /* (owned) id -> GwRpcPending (not owned) */
    gint64 next_id;
    GQueue requests;  /* of GwRpcRequest (owned) */
    JsonObject *peer; /* (owned) NULL: before hello */

    GwRpcNotifyFn notify_fn;
    gpointer notify_data;
    GwRpcClosedFn closed_fn;
    gpointer closed_data;
};

/* Takes ownership of `transport`. */
void gw_rpc_conn_set_transport (GwRpc *rpc, const GwRpcTransportOps *ops, gpointer transport);
/* The transport has ended by itself; nothing can be sent any more. */
void gw_rpc_conn_transport_settled (GwRpc *rpc);
/* Nothing can be sent any more because of `why` (taken); what the peer said before is read. */
void gw_rpc_conn_begin_ending (GwRpc *rpc, GError *why);
/* Ends the connection with `why` (taken): nothing more is read. */
void gw_rpc_conn_fail (GwRpc *rpc, GError *why);
/* Takes `source` and calls `fn` with the connection.  Returns it. */
GSource *gw_rpc_conn_attach (GwRpc *rpc, GSource *source, GSourceFunc fn);
/* Destroys `*source` if there is one. */
void gw_rpc_drop_source (GSource **source);

/* --- output.c --------------------------------------------------------------------------------- */

void gw_rpc_output_init (GwRpc *rpc);
/* Forgets what waits. */
void gw_rpc_output_drop (GwRpc *rpc);
/* Queues a message (takes `text`) and writes what can be written at once. */
gboolean gw_rpc_output_send (GwRpc *rpc, char *text, gsize len, GError **error);

/* --- call.c ----------------------------------------------------------------------------------- */

/* gw_rpc_hello() with a time limit. */
gboolean gw_rpc_hello_within (GwRpc *rpc, const char *program, guint timeout_ms,
                              JsonObject **ret_peer, GCancellable *cancellable, GError **error);
/* A reply came: RESULT or ERROR with an id.  Steals from `message`. */
void gw_rpc_call_take_reply (GwRpc *rpc, GwRpcMessage *message);
/* The connection is closed: every call under way ends with `rpc->why`. */
void gw_rpc_call_fail_all (GwRpc *rpc);

/* --- hello.c ---------------------------------------------------------------------------------- */

/* What this program says of itself.  (transfer full) */
JsonObject *gw_rpc_hello_build (const char *program);
/* The server answered our hello: remembers the peer.  FALSE with GW_CAUSE_PROTOCOL_MISMATCH. */
gboolean gw_rpc_hello_take_answer (GwRpc *rpc, JsonNode *result, GError **error);
/* A client said hello: remembers it.  FALSE with GW_CAUSE_RPC_INVALID when a field is missing.
 * Another protocol number is no error here, but leaves the connection FRESH. */
gboolean gw_rpc_hello_take_request (GwRpc *rpc, JsonObject *params, GError **error);

/* --- server.c --------------------------------------------------------------------------------- */

/* A request or a notification came.  Steals from `message`. */
void gw_rpc_server_take_request (GwRpc *rpc, GwRpcMessage *message);
void gw_rpc_server_take_notification (GwRpc *rpc, GwRpcMessage *message);
/* Answers with an error of the given JSON-RPC code. */
gboolean gw_rpc_server_send_error (GwRpc *rpc, gint64 id, int code, const GError *why);
/* The connection is closed: nobody waits for answers. */
void gw_rpc_server_drop_requests (GwRpc *rpc);

/* --- tcp.c, tls.c ----------------------------------------------------------------------------- */

/* NULL with GW_CAUSE_DESTINATION_UNREACHABLE.  Blocks. */
GSocketConnection *gw_rpc_dial (const GwRpcAddress *address, GMainContext *context,
                                GCancellable *cancellable, GError **error);
GwRpc *gw_rpc_connect_tls (const GwRpcAddress *address, GMainContext *context,
                           GCancellable *cancellable, GError **error);

/* --- listen.c --------------------------------------------------------------------------------- */

/* Whether `path` fits into a unix socket's address; FALSE with `cause`. */
gboolean gw_rpc_check_unix_path (const char *path, GwCause cause, GError **error);

#endif
