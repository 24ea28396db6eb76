/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection: its states, reading, writing and its end.  Callbacks may free the client, so
 * every source callback holds a reference while it runs.
 */
#include "qmp-internal.h"

#include <gio/gunixfdmessage.h>

#define GREETING_MAX (64u << 10) /* bytes; QEMU's has about 150 */
#define READ_SIZE (64u << 10)    /* bytes taken in one go of the loop */
#define PACKAGE_MAX 60           /* bytes of the version's package kept */

static const GwState client_states[] = {
    [GW_QMP_CONNECTING] = { "connecting", 1u << GW_QMP_GREETING | 1u << GW_QMP_CLOSED,
                            GW_STATE_INITIAL },
    [GW_QMP_GREETING] = { "greeting", 1u << GW_QMP_NEGOTIATING | 1u << GW_QMP_CLOSED, 0 },
    [GW_QMP_NEGOTIATING] = { "negotiating", 1u << GW_QMP_READY | 1u << GW_QMP_CLOSED, 0 },
    [GW_QMP_READY] = { "ready", 1u << GW_QMP_CLOSED, 0 },
    [GW_QMP_CLOSED] = { "closed", 0, GW_STATE_FINAL },
};

static const GwMachineTable client_table = { "qmp", client_states, G_N_ELEMENTS (client_states) };

static void
trace_move (const char *machine, const char *from, const char *to, gpointer user_data)
{
    const GwQmp *qmp = user_data;
    g_debug ("'%s': %s -> %s", qmp->path, from, to);
}

/* --- life ----------------------------------------------------------------------------------- */

GwQmp *
gw_qmp_client_new (const char *path, GMainContext *context)
{
    GwQmp *qmp = g_new0 (GwQmp, 1);
    qmp->n_refs = 1;
    qmp->context = g_main_context_ref (context != NULL ? context : g_main_context_default ());
    qmp->path = g_strdup (path);
    qmp->peer_uid = (uid_t) -1;
    gw_machine_init (&qmp->state, &client_table, trace_move, qmp);
    gw_qmp_frame_init (&qmp->frame, GREETING_MAX);
    gw_qmp_requests_init (qmp);
    return qmp;
}

GwQmp *
gw_qmp_client_ref (GwQmp *qmp)
{
    qmp->n_refs++;
    return qmp;
}

void
gw_qmp_client_unref (GwQmp *qmp)
{
    if (--qmp->n_refs > 0)
        return;
    g_assert (qmp->is_freed);
    gw_qmp_frame_clear (&qmp->frame);
    g_clear_object (&qmp->socket);
    g_clear_object (&qmp->connection);
    g_clear_error (&qmp->why);
    g_free (qmp->version.package);
    g_free (qmp->path);
    g_main_context_unref (qmp->context);
    g_free (qmp);
}

static void
detach (GSource **source)
{
    if (*source != NULL)
        g_source_destroy (*source);
    g_clear_pointer (source, g_source_unref);
}

void
gw_qmp_client_close (GwQmp *qmp, GError *why)
{
    if (qmp->state.state == GW_QMP_CLOSED) {
        g_error_free (why);
        return;
    }
    g_debug ("'%s': closing: %s", qmp->path, why->message);
    gw_machine_move (&qmp->state, GW_QMP_CLOSED);
    qmp->why = why;
    detach (&qmp->readable);
    detach (&qmp->writable);
    if (qmp->socket != NULL)
        (void) g_socket_close (qmp->socket, NULL); /* nothing can be done about an error here */
    gw_qmp_requests_set_alarm (qmp);
}

void
gw_qmp_free (GwQmp *qmp)
{
    if (qmp == NULL)
        return;
    g_assert (!qmp->is_freed);
    qmp->is_freed = TRUE;
    gw_qmp_client_close (qmp, g_error_new (GW_ERROR, GW_CAUSE_ABORTED,
                                           "the connection to the monitor '%s' was given up",
                                           qmp->path));
    qmp->event_fn = NULL;
    qmp->closed_fn = NULL;
    gw_qmp_requests_clear (qmp);
    gw_qmp_client_unref (qmp);
}

/* --- what comes in -------------------------------------------------------------------------- */

static void
close_with (GwQmp *qmp, GwCause cause, const char *what, const char *detail)
{
    gw_qmp_client_close (qmp, g_error_new (GW_ERROR, (int) cause, "'%s' %s%s%s", qmp->path, what,
                                           *detail != '\0' ? ": " : "", detail));
}

/* Something else than a greeting has come. */
static void
close_no_greeting (GwQmp *qmp)
{
    g_autofree char *quote =
        gw_qmp_quote (qmp->frame.data, qmp->frame.len, GW_QMP_FIRST_BYTES_MAX);
    g_autofree char *detail = g_strdup_printf ("its first bytes are '%s'", quote);
    close_with (qmp, GW_CAUSE_QMP_NOT_QMP, "does not greet as a QMP monitor does", detail);
}

/* What was read is not valid; takes `why`. */
static void
close_invalid (GwQmp *qmp, GError *why)
{
    if (qmp->state.state != GW_QMP_GREETING) {
        g_prefix_error (&why, "'%s': ", qmp->path);
        gw_qmp_client_close (qmp, why);
        return;
    }
    g_error_free (why);
    close_no_greeting (qmp);
}

static void
close_ended (GwQmp *qmp, const char *detail)
{
    if (qmp->state.state != GW_QMP_GREETING)
        close_with (qmp, GW_CAUSE_QMP_GONE, "was closed by QEMU", detail);
    else if (qmp->frame.len > 0)
        close_no_greeting (qmp);
    else
        close_with (qmp, GW_CAUSE_QMP_CONNECT, "closed the connection without a greeting", detail);
}

static void
take_greeting (GwQmp *qmp, const GwQmpMessage *message)
{
    if (message->type != GW_QMP_MESSAGE_GREETING) {
        close_no_greeting (qmp);
        return;
    }
    qmp->version = (GwQmpVersion) { message->version[0], message->version[1], message->version[2],
                                    gw_text_clean (message->words, -1, PACKAGE_MAX) };
    qmp->offers_oob = message->has_oob;
    qmp->frame.max = GW_QMP_MESSAGE_MAX;
    gw_machine_move (&qmp->state, GW_QMP_NEGOTIATING);
}

static void
deliver_event (GwQmp *qmp, const GwQmpMessage *message)
{
    g_autoptr (JsonObject) empty = json_object_new ();
    g_debug ("'%s': event %s", qmp->path, message->name);
    if (qmp->event_fn == NULL)
        return;
    qmp->n_callbacks++;
    qmp->event_fn (message->name, message->data != NULL ? message->data : empty, message->at_us,
                   qmp->event_data);
    qmp->n_callbacks--;
}

static void
take_message (GwQmp *qmp, const GwQmpMessage *message)
{
    if (qmp->state.state == GW_QMP_GREETING)
        take_greeting (qmp, message);
    else if (message->type == GW_QMP_MESSAGE_EVENT)
        deliver_event (qmp, message);
    else if (message->type == GW_QMP_MESSAGE_GREETING)
        close_with (qmp, GW_CAUSE_QMP_INVALID, "greets a second time", "");
    else if (!gw_qmp_requests_answer (qmp, message))
        g_debug ("'%s': a reply that nothing waits for is ignored", qmp->path);
}

static void
take_bytes (GwQmp *qmp, const char *bytes, gsize len)
{
    while (len > 0 && qmp->state.state != GW_QMP_CLOSED) {
        GError *why = NULL;
        gsize used = 0;
        GwQmpFrameStatus status = gw_qmp_frame_feed (&qmp->frame, bytes, len, &used, &why);
        bytes += used;
        len -= used;
        if (status == GW_QMP_FRAME_MORE)
            continue;
        g_auto (GwQmpMessage) message = { 0 };
        if (status == GW_QMP_FRAME_BAD ||
            !gw_qmp_message_parse (qmp->frame.data, qmp->frame.len, &message, &why))
            close_invalid (qmp, why);
        else
            take_message (qmp, &message);
    }
}

static gboolean
on_readable (GSocket *socket, GIOCondition condition, gpointer user_data)
{
    GwQmp *qmp = gw_qmp_client_ref (user_data);
    g_autoptr (GError) error = NULL;
    char bytes[READ_SIZE];
    gssize n = g_socket_receive (socket, bytes, sizeof bytes, NULL, &error);
    if (n > 0)
        take_bytes (qmp, bytes, (gsize) n);
    else if (n == 0)
        close_ended (qmp, "");
    else if (!g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
        close_ended (qmp, error->message);
    gw_qmp_client_unref (qmp);
    return G_SOURCE_CONTINUE; /* closing has destroyed the source */
}

/* --- what goes out -------------------------------------------------------------------------- */

static gssize
write_some (GwQmp *qmp, GwQmpRequest *request, GError **error)
{
    GOutputVector vector = { request->text + request->written, request->len - request->written };
    g_autoptr (GSocketControlMessage) with_fd = NULL;
    if (request->fd >= 0) {
        with_fd = g_unix_fd_message_new ();
        if (!g_unix_fd_message_append_fd (G_UNIX_FD_MESSAGE (with_fd), request->fd, error))
            return -1;
    }
    gssize n = g_socket_send_message (qmp->socket, NULL, &vector, 1, &with_fd, with_fd != NULL,
                                      G_SOCKET_MSG_NONE, NULL, error);
    if (n > 0)
        gw_fd_clear (&request->fd);
    return n;
}

static gboolean
on_writable (GSocket *socket, GIOCondition condition, gpointer user_data)
{
    gw_qmp_client_flush (user_data);
    return G_SOURCE_CONTINUE; /* flushing has destroyed the source when it is done */
}

static GSource *
watch (GwQmp *qmp, GIOCondition condition, GSocketSourceFunc fn)
{
    GSource *source = g_socket_create_source (qmp->socket, condition, NULL);
    g_source_set_callback (source, G_SOURCE_FUNC (fn), qmp, NULL);
    g_source_attach (source, qmp->context);
    return source;
}

void
gw_qmp_client_flush (GwQmp *qmp)
{
    g_autoptr (GError) error = NULL;
    GwQmpRequest *request;
    while ((request = g_queue_peek_head (&qmp->outgoing)) != NULL && error == NULL) {
        gssize n = write_some (qmp, request, &error);
        if (n > 0)
            request->written += (gsize) n;
        if (request->written == request->len)
            (void) g_queue_pop_head (&qmp->outgoing); /* stays in `sent` */
    }
    if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        if (qmp->writable == NULL)
            qmp->writable = watch (qmp, G_IO_OUT, on_writable);
        return;
    }
    detach (&qmp->writable);
    /* QEMU may have said something before it went: the reader comes to the end and closes. */
    if (error != NULL) {
        g_debug ("'%s': cannot write: %s", qmp->path, error->message);
        g_queue_clear (&qmp->outgoing);
    }
}

void
gw_qmp_client_attach (GwQmp *qmp, GSocket *socket)
{
    qmp->socket = g_object_ref (socket);
    g_socket_set_blocking (socket, FALSE);
    g_autoptr (GCredentials) peer = g_socket_get_credentials (socket, NULL);
    if (peer != NULL) {
        qmp->peer_pid = MAX (g_credentials_get_unix_pid (peer, NULL), 0);
        qmp->peer_uid = g_credentials_get_unix_user (peer, NULL);
    }
    gw_machine_move (&qmp->state, GW_QMP_GREETING);
    qmp->readable = watch (qmp, G_IO_IN, on_readable);
}

/* --- what the owner asks -------------------------------------------------------------------- */

void
gw_qmp_set_event_fn (GwQmp *qmp, GwQmpEventFn fn, gpointer user_data)
{
    qmp->event_fn = fn;
    qmp->event_data = user_data;
}

void
gw_qmp_set_closed_fn (GwQmp *qmp, GwQmpClosedFn fn, gpointer user_data)
{
    qmp->closed_fn = fn;
    qmp->closed_data = user_data;
    gw_qmp_requests_set_alarm (qmp);
}

gboolean
gw_qmp_is_open (const GwQmp *qmp)
{
    return qmp->state.state == GW_QMP_READY;
}

const GwQmpVersion *
gw_qmp_get_version (const GwQmp *qmp)
{
    return &qmp->version;
}

gboolean
gw_qmp_has_version (const GwQmp *qmp, int major, int minor)
{
    const GwQmpVersion *version = &qmp->version;
    return version->major > major || (version->major == major && version->minor >= minor);
}

gboolean
gw_qmp_has_command (const GwQmp *qmp, GwQmpCommand command)
{
    const GwQmpCommandInfo *info = gw_qmp_command_get_info (command);
    return gw_qmp_has_version (qmp, info->major, info->minor);
}

gboolean
gw_qmp_has_oob (const GwQmp *qmp)
{
    return qmp->has_oob;
}

pid_t
gw_qmp_get_peer_pid (const GwQmp *qmp)
{
    return qmp->peer_pid;
}

uid_t
gw_qmp_get_peer_uid (const GwQmp *qmp)
{
    return qmp->peer_uid;
}

const char *
gw_qmp_get_path (const GwQmp *qmp)
{
    return qmp->path;
}
