/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commands on their way.  A request is owned by exactly one queue: `waiting` until the window has a
 * place, `sent` until QEMU answers, `done` when it ended without an answer and must still be told.
 * The alarm is a source of the context that tells these, so that no callback is ever called from
 * within gw_qmp_send(), and that ends requests whose time is over.  A request in `sent` that was
 * given up stays there, with no callback, until its late reply comes.
 */
#include "qmp-internal.h"

#include <string.h>

#define WORDS_MAX 2000      /* bytes of QEMU's words kept */
#define CLASS_MAX 64

void
gw_qmp_request_free (GwQmpRequest *request)
{
    gw_fd_clear (&request->fd);
    g_clear_error (&request->failure);
    g_free (request->text);
    g_free (request);
}

static const char *
request_name (const GwQmpRequest *request)
{
    return gw_qmp_command_get_info (request->command)->name;
}

static void
call_back (GwQmp *qmp, GwQmpRequest *request, JsonNode *reply, const GError *error)
{
    GwQmpReplyFn fn = g_steal_pointer (&request->fn);
    if (fn == NULL)
        return;
    qmp->n_callbacks++;
    fn (reply, error, request->user_data);
    qmp->n_callbacks--;
}

GError *
gw_qmp_requests_copy_why (const GwQmp *qmp, GwQmpCommand command)
{
    GError *error = g_error_copy (qmp->why);
    g_prefix_error (&error, "%s: ", gw_qmp_command_get_info (command)->name);
    return error;
}

/* --- the alarm ------------------------------------------------------------------------------ */

static gboolean
dispatch_alarm (GSource *source, GSourceFunc callback, gpointer user_data)
{
    g_source_set_ready_time (source, -1);
    return callback (user_data);
}

static GSourceFuncs alarm_funcs = { .dispatch = dispatch_alarm };

static gint64
next_deadline (const GQueue *requests, gint64 soonest_us)
{
    for (GList *l = requests->head; l != NULL; l = l->next) {
        const GwQmpRequest *request = l->data;
        soonest_us = MIN (soonest_us, request->deadline_us);
    }
    return soonest_us;
}

static gboolean
must_report_end (const GwQmp *qmp)
{
    return qmp->state.state == GW_QMP_CLOSED && qmp->closed_fn != NULL && !qmp->is_reported;
}

void
gw_qmp_requests_set_alarm (GwQmp *qmp)
{
    if (qmp->alarm == NULL)
        return;
    gint64 soonest_us = next_deadline (&qmp->sent, next_deadline (&qmp->waiting, G_MAXINT64));
    gboolean is_closed = qmp->state.state == GW_QMP_CLOSED;
    if (!g_queue_is_empty (&qmp->done) || must_report_end (qmp))
        soonest_us = 0;
    if (is_closed && (!g_queue_is_empty (&qmp->sent) || !g_queue_is_empty (&qmp->waiting)))
        soonest_us = 0;
    g_source_set_ready_time (qmp->alarm, soonest_us == G_MAXINT64 ? -1 : soonest_us);
}

/* The end of the connection is the answer to a `quit` that QEMU has got. */
static gboolean
is_quit_done (const GwQmp *qmp, const GwQmpRequest *request)
{
    return request->command == GW_QMP_QUIT && request->len > 0 &&
           request->written == request->len &&
           gw_error_get_cause (qmp->why) == GW_CAUSE_QMP_GONE;
}

static void
end_with_connection (GwQmp *qmp, GQueue *requests)
{
    GwQmpRequest *request;
    while ((request = g_queue_pop_head (requests)) != NULL) {
        if (!is_quit_done (qmp, request))
            request->failure = gw_qmp_requests_copy_why (qmp, request->command);
        g_queue_push_tail (&qmp->done, request);
    }
}

static void
end_all (GwQmp *qmp)
{
    g_queue_clear (&qmp->outgoing);
    end_with_connection (qmp, &qmp->sent);
    end_with_connection (qmp, &qmp->waiting);
}

static void
fail_timeout (const GwQmp *qmp, const GwQmpRequest *request, gboolean is_sent, GError **error)
{
    const char *name = request_name (request);
    if (is_sent)
        gw_fail (error, GW_CAUSE_QMP_TIMEOUT, "%s: QEMU gave no answer within %u ms", name,
                 request->limit_ms);
    else
        gw_fail (error, GW_CAUSE_QMP_TIMEOUT,
                 "%s: not sent within %u ms, because %u earlier commands have no answer", name,
                 request->limit_ms, qmp->sent.length);
}

/* An entry for `done` that takes the callback over.  What QEMU has got stays in `sent`. */
static GwQmpRequest *
split_off (GwQmpRequest *request)
{
    GwQmpRequest *done = g_new0 (GwQmpRequest, 1);
    done->command = request->command;
    done->fd = -1;
    done->fn = g_steal_pointer (&request->fn);
    done->user_data = request->user_data;
    request->deadline_us = G_MAXINT64;
    return done;
}

static void
end_overdue (GwQmp *qmp, GQueue *requests, gboolean is_sent)
{
    gint64 now_us = g_get_monotonic_time ();
    for (GList *l = requests->head, *next; l != NULL; l = next) {
        GwQmpRequest *request = l->data;
        next = l->next;
        if (request->deadline_us > now_us)
            continue;
        GwQmpRequest *done = split_off (request);
        fail_timeout (qmp, request, is_sent, &done->failure);
        g_queue_push_tail (&qmp->done, done);
        if (!is_sent) {
            g_queue_delete_link (requests, l);
            gw_qmp_request_free (request);
        }
    }
}

static void
tell (GwQmp *qmp, GwQmpRequest *request)
{
    g_autoptr (JsonNode) reply = NULL;
    if (request->failure == NULL)
        reply = json_node_init_object (json_node_alloc (), json_object_new ());
    call_back (qmp, request, reply, request->failure);
    gw_qmp_request_free (request);
}

/* Only what is there now: a callback that sends again would keep it going for ever. */
static void
tell_done (GwQmp *qmp)
{
    GwQmpRequest *request;
    guint n = qmp->done.length;
    for (; n > 0 && (request = g_queue_pop_head (&qmp->done)) != NULL; n--)
        tell (qmp, request);
}

static gboolean
on_alarm (gpointer user_data)
{
    GwQmp *qmp = gw_qmp_client_ref (user_data);
    if (qmp->state.state == GW_QMP_CLOSED)
        end_all (qmp);
    end_overdue (qmp, &qmp->waiting, FALSE);
    end_overdue (qmp, &qmp->sent, TRUE);
    tell_done (qmp);
    if (must_report_end (qmp) && g_queue_is_empty (&qmp->done)) {
        qmp->is_reported = TRUE;
        qmp->n_callbacks++;
        qmp->closed_fn (qmp->why, qmp->closed_data);
        qmp->n_callbacks--;
    }
    gw_qmp_requests_set_alarm (qmp);
    gw_qmp_client_unref (qmp);
    return G_SOURCE_CONTINUE;
}

void
gw_qmp_requests_init (GwQmp *qmp)
{
    qmp->alarm = g_source_new (&alarm_funcs, sizeof (GSource));
    g_source_set_callback (qmp->alarm, on_alarm, qmp, NULL);
    g_source_attach (qmp->alarm, qmp->context);
}

void
gw_qmp_requests_clear (GwQmp *qmp)
{
    g_source_destroy (qmp->alarm);
    g_clear_pointer (&qmp->alarm, g_source_unref);
    end_all (qmp);
    tell_done (qmp);
}

/* --- answers -------------------------------------------------------------------------------- */

static gboolean
is_answer (const GwQmpRequest *request, const GwQmpMessage *message)
{
    return message->has_id && request->id == message->id && request->written == request->len;
}

static GwQmpRequest *
take_answered (GwQmp *qmp, const GwQmpMessage *message)
{
    for (GList *l = qmp->sent.head; l != NULL; l = l->next) {
        GwQmpRequest *request = l->data;
        if (!is_answer (request, message))
            continue;
        g_queue_delete_link (&qmp->sent, l);
        return request;
    }
    return NULL;
}

static GError *
error_of_qemu (const GwQmpRequest *request, const GwQmpMessage *message)
{
    g_autofree char *class = gw_qmp_quote (message->name, strlen (message->name), CLASS_MAX);
    g_autofree char *words = gw_qmp_quote (message->words, strlen (message->words), WORDS_MAX);
    GError *error = NULL;
    gw_fail (&error, GW_CAUSE_QMP_COMMAND, "%s: %s: %s", request_name (request), class, words);
    return error;
}

/* --- sending -------------------------------------------------------------------------------- */

static guint
count_in_window (const GwQmp *qmp)
{
    guint n = 0;
    for (GList *l = qmp->sent.head; l != NULL; l = l->next)
        n += !((GwQmpRequest *) l->data)->is_oob;
    return n;
}

static void
hand_over (GwQmp *qmp, GwQmpRequest *request)
{
    g_queue_push_tail (&qmp->sent, request);
    g_queue_push_tail (&qmp->outgoing, request);
}

static void
fill_window (GwQmp *qmp)
{
    if (qmp->state.state == GW_QMP_CLOSED)
        return;
    guint n = count_in_window (qmp);
    for (; n < GW_QMP_WINDOW && !g_queue_is_empty (&qmp->waiting); n++)
        hand_over (qmp, g_queue_pop_head (&qmp->waiting));
    gw_qmp_client_flush (qmp);
}

gboolean
gw_qmp_requests_answer (GwQmp *qmp, const GwQmpMessage *message)
{
    GwQmpRequest *request = take_answered (qmp, message);
    if (request == NULL)
        return FALSE;
    fill_window (qmp);
    gw_qmp_requests_set_alarm (qmp);
    if (message->type == GW_QMP_MESSAGE_ERROR) {
        g_autoptr (GError) error = error_of_qemu (request, message);
        call_back (qmp, request, NULL, error);
    } else {
        call_back (qmp, request, message->value, NULL);
    }
    gw_qmp_request_free (request);
    return TRUE;
}

void
gw_qmp_requests_add (GwQmp *qmp, GwQmpRequest *request)
{
    if (request->failure != NULL)
        g_queue_push_tail (&qmp->done, request);
    else if (request->is_oob)
        hand_over (qmp, request);
    else
        g_queue_push_tail (&qmp->waiting, request);
    fill_window (qmp);
    gw_qmp_requests_set_alarm (qmp);
}

/* The first carries the text of all of them. */
void
gw_qmp_requests_add_batch (GwQmp *qmp, GwQmpRequest *const *requests, guint n)
{
    g_autoptr (GString) text = g_string_new (NULL);
    for (guint i = 0; i < n; i++) {
        g_string_append (text, requests[i]->text);
        g_clear_pointer (&requests[i]->text, g_free);
        requests[i]->len = 0;
        g_queue_push_tail (&qmp->sent, requests[i]);
    }
    requests[0]->len = text->len;
    requests[0]->text = g_string_free (g_steal_pointer (&text), FALSE);
    g_queue_push_tail (&qmp->outgoing, requests[0]);
    gw_qmp_client_flush (qmp);
    gw_qmp_requests_set_alarm (qmp);
}

void
gw_qmp_requests_give_up (GwQmp *qmp, GwQmpRequest *request)
{
    request->fn = NULL;
    request->deadline_us = G_MAXINT64;
    if (g_queue_remove (&qmp->waiting, request))
        gw_qmp_request_free (request);
}
