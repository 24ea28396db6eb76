/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmp: the client of QEMU's machine protocol.
 *
 * Theory
 * ------
 * A GwQmp is one connection to one QEMU.  It belongs to the thread that owns its GMainContext: all
 * functions are called there, and all callbacks are called there, from sources of that context.
 *
 * States.  connecting -> greeting -> negotiating -> ready -> closed, by the state kit; every state
 * may end in closed, and closed is final.  What gw_qmp_connect() returns is ready.  Whoever wants
 * to talk again after the connection ended makes a new GwQmp.
 *
 * Reading.  What QEMU sends is cut into messages by a scanner that looks at every byte once, in
 * whatever pieces it arrives, and holds at most GW_QMP_MESSAGE_MAX bytes.  The scanner refuses what
 * is no JSON, is nested too deep or holds too many values, before the JSON library (which has no
 * such limits) sees it.  A message that is refused closes the connection: after it nothing can be
 * trusted.
 *
 * Commands.  Only commands with a row in commands.def can be sent.  The row has the least QEMU
 * version, the time limit of the reply and whether QEMU takes the command out of band.  A command
 * that this QEMU does not have is refused here, without asking QEMU.  Replies are matched by id;
 * replies with an unknown id are ignored.  When the time limit passes, the command fails and the
 * connection stays usable: the late reply is ignored.
 *
 * Window.  QEMU reads nothing more, not even out-of-band commands, while it has 8 commands queued
 * (QMP_REQ_QUEUE_LEN_MAX of its monitor/qmp.c, 2.12 to 10.x).  So at most GW_QMP_WINDOW in-band
 * commands are on their way at a time, further ones wait here, and `yank` still gets through when
 * QEMU's main loop hangs.  A command that was given up (time limit, cancelled) keeps its place in
 * the window until QEMU answers it.
 *
 * Numbers.  QEMU writes unsigned 64-bit numbers; json-glib reads them into gint64.  A value above
 * INT64_MAX therefore arrives negative and is right again after a cast to guint64.
 *
 * Errors, by cause:
 *   qmp-connect   the path is missing, not a socket, or nobody listens there; closed unused
 *   qmp-busy      accepted by the kernel, but no greeting: another client holds the monitor
 *   qmp-not-qmp   the first bytes are no QMP greeting; they are quoted
 *   qmp-gone      the connection ended while it was in use; the command is named
 *   qmp-invalid   not JSON, not the shape of a QMP message, or nested too deep
 *   qmp-too-big   a message over GW_QMP_MESSAGE_MAX bytes or GW_QMP_VALUES_MAX values
 *   qmp-timeout   no reply within the limit; the command and the limit are named
 *   qmp-command   QEMU's own error: "command: Class: words of QEMU"
 *   qemu-too-old  refused here: the version of this QEMU is below that of the row
 *   aborted       the GCancellable fired, or the GwQmp was freed
 *   unsupported   an argument is not UTF-8; QEMU's answers to such a text cannot be matched
 *   host-io       the file descriptor to send is not open
 */
#ifndef GW_QMP_H
#define GW_QMP_H

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <sys/types.h>

#define GW_QMP_MESSAGE_MAX (64u << 20) /* bytes of one message */
#define GW_QMP_VALUES_MAX (1u << 20)   /* values in one message */
#define GW_QMP_DEPTH_MAX 1024          /* brackets open at once; the limit of QEMU's own parser */
#define GW_QMP_WINDOW 7                /* in-band commands on their way to QEMU at once */
#define GW_QMP_QUEUE_MAX 256           /* commands that wait for a place in the window */
#define GW_QMP_GREETING_MS 3000        /* a QEMU that is free greets at once */

typedef enum {
#define X(id, name, major, minor, limit_ms, flags) GW_QMP_##id,
#include "commands.def"
#undef X
    GW_N_QMP_COMMANDS
} GwQmpCommand;

enum {
    GW_QMP_OOB = 1 << 0,      /* QEMU takes it out of band too (`allow-oob` in its schema) */
    GW_QMP_OPTIONAL = 1 << 1, /* a QEMU that is new enough may lack it: other target or build */
};

typedef struct {
    const char *name;
    int major, minor; /* the least version of QEMU that has it */
    guint limit_ms;   /* for the reply */
    guint flags;
} GwQmpCommandInfo;

typedef struct {
    int major, minor, micro;
    char *package; /* "Debian 1:7.2+dfsg-7", may be "" */
} GwQmpVersion;

typedef struct _GwQmp GwQmp;

/* The row of `command`; never NULL. */
const GwQmpCommandInfo *gw_qmp_command_get_info (GwQmpCommand command);

/* Connects to the unix socket `path`, reads the greeting and negotiates the capabilities, with
 * out-of-band execution where QEMU offers it.  All of it within `timeout_ms`, and the greeting
 * within GW_QMP_GREETING_MS.  `context` NULL is the default one.  Blocks, iterating `context`. */
GwQmp *gw_qmp_connect (const char *path, GMainContext *context, guint timeout_ms,
                       GCancellable *cancellable, GError **error);

/* The same on a socket that is connected already (transfer none: a reference is taken). */
GwQmp *gw_qmp_new_for_connection (GSocketConnection *connection, GMainContext *context,
                                  guint timeout_ms, GCancellable *cancellable, GError **error);

/* Closes the connection.  Callbacks of commands on their way are called with the cause `aborted`
 * before this returns; the closed function is not called.  May be called in a callback, and then a
 * call that waits below it on the stack fails with `aborted`.  NULL is fine. */
void gw_qmp_free (GwQmp *qmp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwQmp, gw_qmp_free)

/* Sends `command` and blocks, iterating the context (so events are delivered meanwhile), until the
 * reply, the time limit of the row, cancellation or the end of the connection.  `arguments`
 * (transfer none) may be NULL.  Returns the "return" value, of any JSON type (transfer full).
 * `quit` succeeds with an empty object when QEMU closes the connection in place of an answer.
 * Not to be called in a callback of this folder; gw_qmp_send() may. */
JsonNode *gw_qmp_call (GwQmp *qmp, GwQmpCommand command, JsonObject *arguments,
                       GCancellable *cancellable, GError **error);

/* The same with another limit than the row's. */
JsonNode *gw_qmp_call_timeout (GwQmp *qmp, GwQmpCommand command, JsonObject *arguments,
                               guint timeout_ms, GCancellable *cancellable, GError **error);

/* The same, out of band where QEMU offers that and the row allows it, else in band.  Out of band
 * overtakes whatever waits, and is answered even when QEMU's main loop hangs. */
JsonNode *gw_qmp_call_oob (GwQmp *qmp, GwQmpCommand command, JsonObject *arguments,
                           GCancellable *cancellable, GError **error);

/* The same, with the file descriptor `fd` (transfer none) for `getfd` and `add-fd`. */
JsonNode *gw_qmp_call_fd (GwQmp *qmp, GwQmpCommand command, JsonObject *arguments, int fd,
                          GCancellable *cancellable, GError **error);

/* `reply` (transfer none) is NULL when `error` is set, and the other way round. */
typedef void (*GwQmpReplyFn) (JsonNode *reply, const GError *error, gpointer user_data);

/* Sends without waiting.  `fn` (may be NULL) is called exactly once, later, from the context or
 * from gw_qmp_free(), with the reply or what went wrong; also when the command was refused here.
 * The row's time limit holds.  A callback that gets the cause `aborted` must not send again. */
void gw_qmp_send (GwQmp *qmp, GwQmpCommand command, JsonObject *arguments, GwQmpReplyFn fn,
                  gpointer user_data);

typedef struct {
    GwQmpCommand command;
    JsonObject *arguments; /* (transfer none), may be NULL */
    GwQmpReplyFn fn;
    gpointer user_data;
} GwQmpOrder;

#define GW_QMP_BATCH_MAX 64

/* Sends `n` commands, at most GW_QMP_BATCH_MAX, in one write, past the window: QEMU gets all of them
 * or none, whatever becomes of this process, and works them off in order.  (That it does so also
 * when this process ends takes another one that holds the socket: gw_qmp_dup_socket().)  FALSE when
 * one of them cannot be sent, and then none was and no callback comes. */
gboolean gw_qmp_send_batch (GwQmp *qmp, const GwQmpOrder *orders, guint n, GError **error);
/* A duplicate of the connection's descriptor, -1 when it is closed.  (transfer full) */
int gw_qmp_dup_socket (const GwQmp *qmp);

/* `data` is never NULL (transfer none); `at_us` is QEMU's own time stamp: wall clock of its host,
 * microseconds since 1970, 0 when the event has none.  Events that come while there is no function
 * are not kept: set it first, then ask QEMU for the state. */
typedef void (*GwQmpEventFn) (const char *event, JsonObject *data, gint64 at_us,
                              gpointer user_data);
void gw_qmp_set_event_fn (GwQmp *qmp, GwQmpEventFn fn, gpointer user_data);

/* Called once, from the context, when the connection ends by itself: after the callbacks of the
 * commands that were on their way.  Not called by gw_qmp_free(). */
typedef void (*GwQmpClosedFn) (const GError *why, gpointer user_data);
void gw_qmp_set_closed_fn (GwQmp *qmp, GwQmpClosedFn fn, gpointer user_data);

gboolean gw_qmp_is_open (const GwQmp *qmp);
const GwQmpVersion *gw_qmp_get_version (const GwQmp *qmp);
gboolean gw_qmp_has_version (const GwQmp *qmp, int major, int minor);
/* Whether this QEMU is new enough for `command`; see GW_QMP_OPTIONAL. */
gboolean gw_qmp_has_command (const GwQmp *qmp, GwQmpCommand command);
/* Whether out-of-band execution was negotiated. */
gboolean gw_qmp_has_oob (const GwQmp *qmp);

/* The process that listens on the socket, which is QEMU unless somebody else opened the socket for
 * it; 0 and (uid_t) -1 when the socket is no unix socket. */
pid_t gw_qmp_get_peer_pid (const GwQmp *qmp);
uid_t gw_qmp_get_peer_uid (const GwQmp *qmp);

/* The path of the socket; "" when it has none.  Never NULL. */
const char *gw_qmp_get_path (const GwQmp *qmp);

/* QEMU's class ("GenericError", "CommandNotFound", "DeviceNotActive", "DeviceNotFound",
 * "KVMMissingCap") of an error that a call of this folder returned; NULL for every other error.  It
 * is read from the message, "command: Class: words", so it survives g_prefix_error() and a trip as
 * text.  A class that QMP does not define is given as "GenericError".  Static string. */
const char *gw_qmp_get_error_class (const GError *error);

#endif
