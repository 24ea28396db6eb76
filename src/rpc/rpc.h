/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rpc: how godwit programs talk: JSON-RPC 2.0 over any byte stream.
 *
 * Theory
 * ------
 * Connection.  A GwRpc is one connection in either role.  A client connects (gw_rpc_connect()),
 * says hello (gw_rpc_hello()) and calls; a server accepts (gw_rpc_listen_unix(), gw_rpc_accept())
 * or takes its standard input and output (`godwitd --stdio`), wraps the stream with gw_rpc_new()
 * and works through gw_rpc_next_request().  Both may send notifications at any time.
 *
 * Threads.  A GwRpc belongs to the thread that iterates its `context`, and only that thread may
 * call its functions.  Everything arrives by iterating the context: the functions that block do so
 * themselves, with a deadline, and may not be called from a source callback (base.h, "Waiting").
 * Callbacks (notify, closed) run inside such an iteration; they may send, reply, begin a call and
 * close, but not block and not free the GwRpc.
 *
 * Messages.  A method is a row of messages.def: name, direction, most bytes of params, time limit.
 * Params are always an object.  Request ids are integers from 0 on.  Batches are refused.
 *
 * Framing.  One message a line, or LSP's "Content-Length: N\r\n\r\n" before each; the first byte
 * that the peer sends shows which, and we answer in kind.  We begin with lines.  A message is at
 * most GW_RPC_MESSAGE_MAX bytes, GW_RPC_DEPTH_MAX levels and GW_RPC_VALUES_MAX values; that is
 * checked before the text reaches json-glib, along with everything else that JSON forbids and
 * json-glib tolerates (comments, single quotes, several values, control characters, lone
 * surrogates).
 *
 * Hello.  The first request must be "hello"; until then a server refuses all others.  Both sides
 * send {"protocol":1,"program":"godwit","version":"0.1.0","host":"hosta","pid":4711}.  A server
 * answers "hello" and "ping" by itself whenever its context is iterated.
 *
 * Errors.  A handler's GError goes over the wire as code -32000 with {"cause": CODE} in `data` and
 * comes out of the caller's function as the same GW_ERROR code and message.  The codes of the
 * specification are used for what they name: -32700 text that is no JSON (which also ends the
 * connection), -32600 not a request, -32601 unknown method, -32602 bad params.
 *
 * Bounds.  At most GW_RPC_REQUESTS_MAX requests wait for gw_rpc_next_request(), later ones are
 * answered with an error.  At most GW_RPC_QUEUE_MAX bytes wait for a peer that does not read; one
 * more closes the connection.
 *
 * End.  A connection ends once, with a reason: every call under way fails with it, and
 * GwRpcClosedFn is told.  A connection that ends in use gives GW_CAUSE_AGENT_LOST; a peer that
 * breaks the rules gives GW_CAUSE_RPC_INVALID.  Before hello was answered nothing is in use: a peer
 * that ends or stays silent gives GW_CAUSE_DESTINATION_UNREACHABLE, or GW_CAUSE_SSH_FAILED with the
 * last words of ssh.
 *
 * Peers.  godwit://HOST is an agent behind TCP and TLS 1.3, in which both sides have certificates, in
 * the files that QEMU's tls-creds-x509 names.  The client checks that the server's names HOST; the
 * server finishes the handshake whatever the client's is and then, instead of serving, says why not
 * inside the session, since an alert of TLS could not.  Files are read for each connection, so that
 * renewed ones are used at once.
 *
 * Environment.  GODWIT_CERTIFICATES is the directory of the certificates with which we connect
 * (/etc/godwit/pki).  GODWIT_SSH is the ssh command line, split like a shell does (default "ssh"): for
 * instance "ssh -F /etc/godwit/ssh_config -i /etc/godwit/key".  Options of ours follow it.
 * GODWIT_REMOTE_AGENT is the command that ssh runs on the far side (default "godwitd --stdio").
 */
#ifndef GW_RPC_H
#define GW_RPC_H

#include "base.h"

#include <json-glib/json-glib.h>

#define GW_RPC_PROTOCOL 1
#define GW_RPC_MESSAGE_MAX (8 * 1024 * 1024) /* bytes of one message */
#define GW_RPC_DEPTH_MAX 32                  /* objects and arrays inside each other */
#define GW_RPC_VALUES_MAX (256 * 1024)       /* values and keys of one message */
#define GW_RPC_QUEUE_MAX (16 * 1024 * 1024)  /* bytes that wait for the peer to read */
#define GW_RPC_REQUESTS_MAX 64               /* requests that wait to be handled */
#define GW_RPC_UNIX_PATH_MAX 107             /* bytes of a unix socket's path */
#define GW_RPC_PORT 16518                    /* of an agent, for godwit://HOST */
#define GW_RPC_PATIENCE_S 30                 /* with a silent network */
#define GW_RPC_CERTIFICATES "/etc/godwit/pki"

/* --- message.c: the message table ------------------------------------------------------------- */

typedef enum {
#define X(id, name, kind, max_params_bytes, timeout_ms) GW_RPC_##id,
#include "messages.def"
#undef X
    GW_N_RPC_METHODS
} GwRpcMethod;

typedef enum {
    GW_RPC_KIND_REQUEST = 1 << 0,
    GW_RPC_KIND_NOTIFY = 1 << 1,
    GW_RPC_KIND_BOTH = GW_RPC_KIND_REQUEST | GW_RPC_KIND_NOTIFY,
} GwRpcKind;

typedef struct {
    const char *name;
    GwRpcKind kind;
    gsize max_params_bytes;
    guint timeout_ms;
} GwRpcMethodInfo;

/* The row of `method`, which must be one. */
const GwRpcMethodInfo *gw_rpc_method_get_info (GwRpcMethod method);
/* The method with that name, or GW_N_RPC_METHODS. */
GwRpcMethod gw_rpc_method_from_name (const char *name);

/* --- conn.c: one connection ------------------------------------------------------------------- */

typedef struct _GwRpc GwRpc;

/* `why` is never NULL and lives as long as the call. */
typedef void (*GwRpcClosedFn) (const GError *why, gpointer user_data);
/* `params` is never NULL and lives as long as the call; take a ref to keep it. */
typedef void (*GwRpcNotifyFn) (GwRpcMethod method, JsonObject *params, gpointer user_data);

/* A connection over `stream` (takes a ref; closes it in the end), which must be made of sockets,
 * pipes or TLS over them: over anything else the connection is born closed.  `context` NULL means
 * the default one.  SIGPIPE is ignored from here on, as GSocket does.  (transfer full) */
GwRpc *gw_rpc_new (GIOStream *stream, GMainContext *context);

/* Closes and frees, and ends the connection's ssh within two seconds if there is one; what is
 * queued and not yet written is lost (gw_rpc_flush()).  NULL is fine. */
void gw_rpc_free (GwRpc *rpc);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRpc, gw_rpc_free)

/* Ends the connection from our side; calls under way fail with GW_CAUSE_AGENT_LOST.
 * GwRpcClosedFn is not called for it.  Closing twice is fine. */
void gw_rpc_close (GwRpc *rpc);
gboolean gw_rpc_is_open (const GwRpc *rpc);

/* Waits until everything queued was handed to the operating system.  Blocks.  FALSE with
 * GW_CAUSE_RPC_TIMEOUT, or the reason of the end. */
gboolean gw_rpc_flush (GwRpc *rpc, guint timeout_ms, GError **error);

/* Sends a notification without waiting.  `params` (borrowed) NULL means {}.  FALSE with the reason
 * of the end, or with GW_CAUSE_RPC_INVALID when params break the limit of the row. */
gboolean gw_rpc_notify (GwRpc *rpc, GwRpcMethod method, JsonObject *params, GError **error);

/* Who gets the notifications that the peer sends.  Without one they come out of
 * gw_rpc_next_request() with id -1, as far as its queue has room. */
void gw_rpc_set_notify_fn (GwRpc *rpc, GwRpcNotifyFn fn, gpointer user_data);

/* Who is told, once and from an iteration of the context, that the connection ended by the peer or
 * by a fault. */
void gw_rpc_set_closed_fn (GwRpc *rpc, GwRpcClosedFn fn, gpointer user_data);

/* How messages call the peer: "unix:/run/godwitd.sock", "ssh://hostb"; default "the peer". */
const char *gw_rpc_get_name (const GwRpc *rpc);
void gw_rpc_set_name (GwRpc *rpc, const char *name);

/* The peer's hello: protocol, program, version, host, pid, checked for presence and type.  NULL
 * before it.  (borrowed) */
JsonObject *gw_rpc_get_peer (const GwRpc *rpc);

/* --- connect.c, ssh.c, address.c: where to ---------------------------------------------------- */

typedef enum { GW_DEST_UNIX, GW_DEST_SSH, GW_DEST_GODWIT } GwDestKind;

typedef struct {
    GwDestKind kind;
    char *path;   /* UNIX; else NULL */
    char *user;   /* SSH, may be NULL: ssh's own choice */
    char *host;   /* SSH, GODWIT; IPv6 without brackets */
    guint16 port; /* SSH, GODWIT; 0: the default one */
    guint patience_s; /* SSH, GODWIT: a network that is silent for this long is dead; 0: 30 */
    char *text;   /* as it was given, for messages */
} GwRpcAddress;

/* "unix:PATH", "ssh://[USER@]HOST[:PORT]", "godwit://HOST[:PORT]", IPv6 in brackets.  NULL with
 * GW_CAUSE_USAGE for anything else; names that ssh could take for an option or a shell for more
 * than a word are refused.  (transfer full) */
GwRpcAddress *gw_rpc_address_parse (const char *text, GError **error);
void gw_rpc_address_free (GwRpcAddress *address);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRpcAddress, gw_rpc_address_free)

/* Connects to `address`.  godwit:// gives GW_CAUSE_CERTIFICATE when ours are not there or not good, and
 * GW_CAUSE_PEER_UNTRUSTED when the agent's is not that of the host.  Blocks.  (transfer full) */
GwRpc *gw_rpc_connect (const GwRpcAddress *address, GMainContext *context,
                       GCancellable *cancellable, GError **error);

/* Connects to a unix socket.  NULL with GW_CAUSE_DESTINATION_UNREACHABLE: missing, not a socket,
 * nobody listens, no permission.  Blocks for five seconds at most (a full backlog). */
GwRpc *gw_rpc_connect_unix (const char *path, GMainContext *context, GCancellable *cancellable,
                            GError **error);

/* Starts ssh to `address` in a session of its own (Ctrl-C does not reach it).  Returns as soon as
 * ssh runs; whether it arrives shows in gw_rpc_hello().  NULL with GW_CAUSE_SSH_FAILED. */
GwRpc *gw_rpc_connect_ssh (const GwRpcAddress *address, GMainContext *context,
                           GCancellable *cancellable, GError **error);

/* --- call.c: the client ----------------------------------------------------------------------- */

/* Shakes hands as client under the name `program`.  `*ret_peer` (may be NULL) gets what the server
 * says of itself (transfer full).  FALSE with GW_CAUSE_PROTOCOL_MISMATCH, GW_CAUSE_PEER_REFUSED,
 * GW_CAUSE_DESTINATION_UNREACHABLE (no answer), GW_CAUSE_SSH_FAILED, or GW_CAUSE_RPC_INVALID when
 * something else answers.  Blocks. */
gboolean gw_rpc_hello (GwRpc *rpc, const char *program, JsonObject **ret_peer,
                       GCancellable *cancellable, GError **error);

/* Calls `method` and waits for its result within the row's time limit.  `params` (borrowed) NULL
 * means {}.  NULL with the peer's own error, GW_CAUSE_RPC_TIMEOUT, GW_CAUSE_AGENT_LOST,
 * GW_CAUSE_RPC_INVALID, GW_CAUSE_ABORTED when `cancellable` fired.  Whether the peer did what was
 * asked is not known after the last four.  Blocks.  (transfer full) */
JsonNode *gw_rpc_call (GwRpc *rpc, GwRpcMethod method, JsonObject *params,
                       GCancellable *cancellable, GError **error);
/* The same with another time limit; 0 means the row's. */
JsonNode *gw_rpc_call_timeout (GwRpc *rpc, GwRpcMethod method, JsonObject *params,
                               guint timeout_ms, GCancellable *cancellable, GError **error);

/* A call under way, for who waits for several things at once.  It may outlive the GwRpc, which
 * ends it. */
typedef struct _GwRpcPending GwRpcPending;

/* Sends a request and returns at once; never NULL.  An error comes out of finish.
 * `timeout_ms` 0 means the row's limit. */
GwRpcPending *gw_rpc_call_begin (GwRpc *rpc, GwRpcMethod method, JsonObject *params,
                                 guint timeout_ms);
/* Answered, failed or out of time; turns true while the context is iterated. */
gboolean gw_rpc_pending_is_done (const GwRpcPending *pending);
/* The outcome of a call that is done, as gw_rpc_call() gives it; frees `pending`.
 * (transfer full) */
JsonNode *gw_rpc_pending_finish (GwRpcPending *pending, GError **error);
/* Forgets the call; its answer will be dropped.  NULL is fine. */
void gw_rpc_pending_free (GwRpcPending *pending);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRpcPending, gw_rpc_pending_free)

/* The peer's wall clock minus ours, by the quickest of five pings, good to half of its round trip
 * time.  Each `ret_` may be NULL.  Blocks. */
gboolean gw_rpc_get_clock_offset (GwRpc *rpc, gint64 *ret_offset_us, gint64 *ret_rtt_us,
                                  GError **error);

/* --- server.c --------------------------------------------------------------------------------- */

typedef struct {
    GwRpcMethod method;
    JsonObject *params; /* never NULL; freed with the request */
    gint64 id;          /* for the reply; -1: a notification, which has none */
} GwRpcRequest;

void gw_rpc_request_free (GwRpcRequest *request);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRpcRequest, gw_rpc_request_free)

/* The next request of the peer, in the order of arrival.  While one is handled the others wait.
 * When the connection ends, waiting requests are dropped, since nobody can hear the answer; waiting
 * notifications are still given out.  NULL with GW_CAUSE_TIMED_OUT at `deadline_us` (monotonic),
 * GW_CAUSE_ABORTED, or the reason of the end: GW_CAUSE_AGENT_LOST when the peer closed.  Blocks.
 * (transfer full) */
GwRpcRequest *gw_rpc_next_request (GwRpc *rpc, gint64 deadline_us, GCancellable *cancellable,
                                   GError **error);

/* Answers request `id`.  `result` (borrowed) NULL means {}.  A result that does not fit into a
 * message is answered with an error in its place, and FALSE is returned.  Does not block. */
gboolean gw_rpc_reply (GwRpc *rpc, gint64 id, JsonNode *result, GError **error);
/* Answers with an error; one of a foreign domain goes as GW_CAUSE_INTERNAL.  A closed connection is
 * no error: the caller learns of it elsewhere.  Returns whether it was sent. */
gboolean gw_rpc_reply_error (GwRpc *rpc, gint64 id, const GError *why);

/* --- listen.c --------------------------------------------------------------------------------- */

/* A listening unix socket at `path` with permission bits `mode`.  A socket that nobody listens on
 * is removed first; NULL with GW_CAUSE_HOST_IO when a live server answers there, something else
 * has that name, or the path is too long.  (transfer full); unlink(2) the path when done. */
GSocket *gw_rpc_listen_unix (const char *path, guint mode, GError **error);

/* Waits for a client, whoever it is.  NULL with GW_CAUSE_TIMED_OUT, GW_CAUSE_ABORTED,
 * GW_CAUSE_HOST_IO.  Blocks, iterating `context`.  (transfer full) */
GSocket *gw_rpc_accept_socket (GSocket *listener, GMainContext *context, gint64 deadline_us,
                               GCancellable *cancellable, GError **error);
/* Waits for a client, checks it with gw_rpc_check_peer() and returns its connection.  A client that
 * is refused is told so, and the error is GW_CAUSE_PEER_REFUSED: log it and go on.  NULL also with
 * GW_CAUSE_TIMED_OUT, GW_CAUSE_ABORTED, GW_CAUSE_HOST_IO.  Blocks, iterating `context`.
 * (transfer full) */
GSocketConnection *gw_rpc_accept (GSocket *listener, GMainContext *context, gint64 deadline_us,
                                  GCancellable *cancellable, GError **error);

/* Whether the process at the other end is root's or of our own user (SO_PEERCRED); FALSE with
 * GW_CAUSE_PEER_REFUSED. */
gboolean gw_rpc_check_peer (GSocketConnection *connection, GError **error);

/* --- tcp.c, tls.c: agents that serve other hosts ------------------------------------------------ */

/* "ADDRESS", "ADDRESS:PORT", "[V6]:PORT".  Both `ret_` may be NULL. */
gboolean gw_rpc_endpoint_parse (const char *text, char **ret_address, guint16 *ret_port);
/* A listening TCP socket.  NULL with GW_CAUSE_HOST_IO.  (transfer full) */
GSocket *gw_rpc_listen_tcp (const char *endpoint, GError **error);
/* From now on a peer that is silent for so long is looked for, and gone when it does not answer. */
void gw_rpc_tune_tcp (GSocket *socket, guint silence_s);

/* Whether the directory has what a server needs.  FALSE with GW_CAUSE_CERTIFICATE. */
gboolean gw_rpc_check_certificates (const char *dir, GError **error);
/* Shakes hands as server with whoever has connected.  NULL with GW_CAUSE_PEER_REFUSED,
 * GW_CAUSE_TIMED_OUT, GW_CAUSE_CERTIFICATE.  Blocks, iterating `context`.  (transfer full) */
GIOStream *gw_rpc_accept_tls (GSocket *socket, const char *certificates, GMainContext *context,
                              gint64 deadline_us, GCancellable *cancellable, GError **error);
/* The hosts that the client's certificate names.  FALSE with GW_CAUSE_PEER_REFUSED when it has none, or
 * one that our authority did not sign, that has ended or is not for this. */
gboolean gw_rpc_identify_peer (GIOStream *stream, GStrv *ret_names, GError **error);
/* Tells the client why it is not served.  Blocks for a second at most. */
void gw_rpc_refuse_peer (GIOStream *stream, const GError *why);

#endif
