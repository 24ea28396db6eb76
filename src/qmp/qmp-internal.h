/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qmp: what the files of this folder share.  For src/qmp, its test and its fuzzer only. */
#ifndef GW_QMP_INTERNAL_H
#define GW_QMP_INTERNAL_H

#include "base.h"
#include "qmp.h"

/* --- frame.c: the stream of bytes, cut into messages.  Pure. ---------------------------------- */

typedef enum { GW_QMP_FRAME_MORE, GW_QMP_FRAME_MESSAGE, GW_QMP_FRAME_BAD } GwQmpFrameStatus;

typedef struct {
    char *data; /* the message so far, `len` bytes of `size` (owned) */
    gsize len, size;
    gsize max;           /* bytes a message may have */
    guint values, depth; /* of the message so far */
    guint at;            /* where the scanner stands, see frame.c */
    guint hex_left;      /* digits of \uXXXX still to come */
    gboolean is_first;   /* no message has ended yet */
    gboolean is_pretty;  /* QEMU was asked for messages of many lines (pretty=on) */
    guint8 is_object[GW_QMP_DEPTH_MAX / 8]; /* one bit a level: opened by { and not by [ */
} GwQmpFrame;

void gw_qmp_frame_init (GwQmpFrame *frame, gsize max);
void gw_qmp_frame_clear (GwQmpFrame *frame);

/* Takes bytes until a message is complete or `len` are used up; `*ret_used` says how many.  After
 * GW_QMP_FRAME_MESSAGE the message is in data and len until the next call.  After GW_QMP_FRAME_BAD
 * (qmp-invalid, qmp-too-big) data and len hold the beginning, and the frame may only be cleared. */
GwQmpFrameStatus gw_qmp_frame_feed (GwQmpFrame *frame, const char *bytes, gsize len,
                                    gsize *ret_used, GError **error);

/* --- message.c: what a message says.  Pure. --------------------------------------------------- */

typedef enum {
    GW_QMP_MESSAGE_GREETING,
    GW_QMP_MESSAGE_EVENT,
    GW_QMP_MESSAGE_RETURN,
    GW_QMP_MESSAGE_ERROR,
} GwQmpMessageType;

typedef struct {
    GwQmpMessageType type;
    JsonNode *root;    /* owned; what follows points into it */
    JsonObject *data;  /* event: NULL when it has none */
    const char *name;  /* event: its name; error: its class */
    const char *words; /* error: the description; greeting: the package */
    JsonNode *value;   /* return */
    gint64 at_us;      /* event */
    gboolean has_id;   /* return, error: an id that is a number */
    gint64 id;
    int version[3]; /* greeting: major, minor, micro */
    gboolean has_oob;
} GwQmpMessage;

/* FALSE with qmp-invalid when it is not JSON or not a message of QMP. */
gboolean gw_qmp_message_parse (const char *text, gsize len, GwQmpMessage *ret_message,
                               GError **error);
void gw_qmp_message_clear (GwQmpMessage *message);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (GwQmpMessage, gw_qmp_message_clear)

#define GW_QMP_FIRST_BYTES_MAX 60 /* shown of something that is no greeting */

/* At most `max` bytes of what QEMU said, cleaned and on one line.  (transfer full) */
char *gw_qmp_quote (const char *text, gsize len, gsize max);

/* The text of a command, with the line's end.  (transfer full) */
char *gw_qmp_message_build (const char *name, JsonObject *arguments, gboolean is_oob, gint64 id);

/* --- client.c: one connection ----------------------------------------------------------------- */

enum {
    GW_QMP_CONNECTING,  /* no socket yet.  Ends: the socket is attached */
    GW_QMP_GREETING,    /* waits for the first message.  Ends: greeting, or GW_QMP_GREETING_MS */
    GW_QMP_NEGOTIATING, /* version and offers are known; only qmp_capabilities may be sent */
    GW_QMP_READY,       /* everything may be called.  Ends with the connection */
    GW_QMP_CLOSED,      /* `why` says why; only errors are given out */
};

typedef struct {
    GwQmpCommand command;
    gint64 id;
    char *text; /* owned */
    gsize len;
    gsize written; /* bytes of text that the socket has taken */
    GwFd fd;       /* goes with the first byte, -1 when there is none (owned) */
    gboolean is_oob;
    guint limit_ms;
    gint64 deadline_us;
    GError *failure; /* owned; in `done`: what to tell, NULL is success with an empty object */
    GwQmpReplyFn fn; /* NULL when nobody waits: nobody ever did, or the request was given up */
    gpointer user_data;
} GwQmpRequest;

struct _GwQmp {
    guint n_refs; /* of the owner, and of each function on the stack that may run callbacks */
    GMainContext *context; /* owned */
    GObject *connection; /* owned; keeps `socket` when it is somebody else's.  NULL otherwise */
    GSocket *socket;     /* owned; NULL before it is attached */
    GSource *readable;   /* owned; NULL when not attached */
    GSource *writable;   /* owned; NULL when there is nothing to write */
    GSource *alarm;      /* owned; deadlines, and what is told later: see request.c */
    GwMachine state;
    GError *why;         /* owned; set in GW_QMP_CLOSED */
    gboolean is_freed;
    gboolean is_reported; /* the closed function was called */
    guint n_callbacks;    /* callbacks of this client on the stack */
    char *path;
    pid_t peer_pid;
    uid_t peer_uid;
    GwQmpVersion version;
    gboolean offers_oob; /* in the greeting */
    gboolean has_oob;    /* negotiated */
    GwQmpFrame frame;
    gint64 last_id;
    GQueue waiting;  /* GwQmpRequest, owned: for a place in the window */
    GQueue sent;     /* GwQmpRequest, owned: given to the socket, not answered; oldest first */
    GQueue outgoing; /* GwQmpRequest of `sent` that are not wholly written yet */
    GQueue done;     /* GwQmpRequest, owned: ended without an answer of QEMU, to be told */
    GwQmpEventFn event_fn;
    gpointer event_data;
    GwQmpClosedFn closed_fn;
    gpointer closed_data;
};

/* A client in GW_QMP_CONNECTING; `context` may be NULL. */
GwQmp *gw_qmp_client_new (const char *path, GMainContext *context);
/* Gives it its socket (a reference is taken) and waits for the greeting: GW_QMP_GREETING. */
void gw_qmp_client_attach (GwQmp *qmp, GSocket *socket);
GwQmp *gw_qmp_client_ref (GwQmp *qmp);
void gw_qmp_client_unref (GwQmp *qmp);
/* Ends the connection; the requests on their way are told later, by the alarm.  Takes `why`. */
void gw_qmp_client_close (GwQmp *qmp, GError *why);
/* Writes what `outgoing` holds, as far as the socket takes it. */
void gw_qmp_client_flush (GwQmp *qmp);

/* --- request.c: commands on their way --------------------------------------------------------- */

void gw_qmp_requests_init (GwQmp *qmp);
/* Takes the request: into the window or to wait for it, or to be told when it has a failure. */
void gw_qmp_requests_add (GwQmp *qmp, GwQmpRequest *request);
/* Takes `n` requests (GwQmpRequest) into the window, full or not, as one piece of text. */
void gw_qmp_requests_add_batch (GwQmp *qmp, GwQmpRequest *const *requests, guint n);
void gw_qmp_request_free (GwQmpRequest *request);
/* Nobody waits for it any more; its callback is not called. */
void gw_qmp_requests_give_up (GwQmp *qmp, GwQmpRequest *request);
/* The reason of the end, for that command.  (transfer full) */
GError *gw_qmp_requests_copy_why (const GwQmp *qmp, GwQmpCommand command);
/* Tells every request the client's `why`, and destroys the alarm.  For gw_qmp_free(). */
void gw_qmp_requests_clear (GwQmp *qmp);
/* A reply has come.  FALSE when no request waits for it. */
gboolean gw_qmp_requests_answer (GwQmp *qmp, const GwQmpMessage *message);
/* Makes the alarm ring at the next deadline, or at once when there is something to tell. */
void gw_qmp_requests_set_alarm (GwQmp *qmp);

#endif
