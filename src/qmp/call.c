/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sending and calling: what the owner of a client asks for becomes a request (request.c). */
#include "qmp-internal.h"

#include <fcntl.h>
#include <string.h>

#define QUOTE_MAX 200       /* bytes of a command shown */
#define WAIT_MARGIN_MS 1000 /* a call waits that much longer than the alarm, which ends it */

/* What is to be sent. */
typedef struct {
    GwQmpCommand command;
    JsonObject *arguments;
    guint limit_ms;
    gboolean wants_oob;
    int fd;
    GwQmpReplyFn fn;
    gpointer user_data;
} Order;

static gboolean
check_can_send (const GwQmp *qmp, GwQmpCommand command, GError **error)
{
    const GwQmpCommandInfo *info = gw_qmp_command_get_info (command);
    const GwQmpVersion *version = &qmp->version;
    if (qmp->state.state == GW_QMP_CLOSED) {
        g_propagate_error (error, gw_qmp_requests_copy_why (qmp, command));
        return FALSE;
    }
    if (!gw_qmp_has_command (qmp, command))
        return gw_fail (error, GW_CAUSE_QEMU_TOO_OLD,
                        "%s: needs QEMU %d.%d, and '%s' is QEMU %d.%d.%d", info->name, info->major,
                        info->minor, qmp->path, version->major, version->minor, version->micro);
    if (qmp->waiting.length + qmp->sent.length >= GW_QMP_QUEUE_MAX)
        return gw_fail (error, GW_CAUSE_QMP_TIMEOUT,
                        "%s: not sent, because %u earlier commands have no answer", info->name,
                        qmp->waiting.length + qmp->sent.length);
    return TRUE;
}

static GwQmpRequest *
request_new (GwQmp *qmp, const Order *order)
{
    const GwQmpCommandInfo *info = gw_qmp_command_get_info (order->command);
    GwQmpRequest *request = g_new0 (GwQmpRequest, 1);
    request->command = order->command;
    request->fd = -1;
    request->is_oob = order->wants_oob && qmp->has_oob && (info->flags & GW_QMP_OOB) != 0;
    request->limit_ms = order->limit_ms;
    request->deadline_us = gw_deadline_ms (order->limit_ms);
    request->fn = order->fn;
    request->user_data = order->user_data;
    return request;
}

static gboolean
prepare (GwQmp *qmp, GwQmpRequest *request, const Order *order, GError **error)
{
    if (!check_can_send (qmp, order->command, error))
        return FALSE;
    const char *name = gw_qmp_command_get_info (order->command)->name;
    if (order->fd >= 0 && (request->fd = fcntl (order->fd, F_DUPFD_CLOEXEC, 3)) < 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "%s: cannot duplicate file descriptor %d: %s",
                        name, order->fd, g_strerror (errno));
    request->id = ++qmp->last_id;
    request->text = gw_qmp_message_build (name, order->arguments, request->is_oob, request->id);
    request->len = strlen (request->text);
    /* QEMU answers what it cannot parse without an id, and several times. */
    if (!g_utf8_validate (request->text, (gssize) request->len, NULL)) {
        g_autofree char *quote = gw_qmp_quote (request->text, request->len, QUOTE_MAX);
        return gw_fail (error, GW_CAUSE_UNSUPPORTED,
                        "%s: not sent, because QMP takes only UTF-8 and this is not: '%s'", name,
                        quote);
    }
    return TRUE;
}

static GwQmpRequest *
submit (GwQmp *qmp, const Order *order)
{
    g_assert (!qmp->is_freed);
    GwQmpRequest *request = request_new (qmp, order);
    (void) prepare (qmp, request, order, &request->failure); /* told by the alarm */
    gw_qmp_requests_add (qmp, request);
    return request;
}

void
gw_qmp_send (GwQmp *qmp, GwQmpCommand command, JsonObject *arguments, GwQmpReplyFn fn,
             gpointer user_data)
{
    Order order = { .command = command, .arguments = arguments, .fd = -1, .fn = fn,
                    .limit_ms = gw_qmp_command_get_info (command)->limit_ms,
                    .user_data = user_data };
    (void) submit (qmp, &order); /* owned by a queue */
}

static gboolean
prepare_batch (GwQmp *qmp, const GwQmpOrder *orders, guint n, GwQmpRequest **requests,
               GError **error)
{
    gboolean ok = TRUE;
    for (guint i = 0; i < n && ok; i++) {
        Order order = { .command = orders[i].command, .arguments = orders[i].arguments, .fd = -1,
                        .limit_ms = gw_qmp_command_get_info (orders[i].command)->limit_ms,
                        .fn = orders[i].fn, .user_data = orders[i].user_data };
        requests[i] = request_new (qmp, &order);
        ok = prepare (qmp, requests[i], &order, error);
    }
    return ok;
}

gboolean
gw_qmp_send_batch (GwQmp *qmp, const GwQmpOrder *orders, guint n, GError **error)
{
    GwQmpRequest *requests[GW_QMP_BATCH_MAX] = { NULL };
    g_assert (!qmp->is_freed && n > 0 && n <= GW_QMP_BATCH_MAX);
    if (prepare_batch (qmp, orders, n, requests, error)) {
        gw_qmp_requests_add_batch (qmp, requests, n);
        return TRUE;
    }
    for (guint i = 0; i < n && requests[i] != NULL; i++)
        gw_qmp_request_free (requests[i]);
    return FALSE;
}

int
gw_qmp_dup_socket (const GwQmp *qmp)
{
    if (qmp->state.state == GW_QMP_CLOSED)
        return -1;
    return fcntl (g_socket_get_fd (qmp->socket), F_DUPFD_CLOEXEC, 3);
}

typedef struct {
    gboolean is_done;
    JsonNode *reply;
    GError *error;
} Waiter;

static void
on_reply (JsonNode *reply, const GError *error, gpointer user_data)
{
    Waiter *waiter = user_data;
    waiter->is_done = TRUE;
    waiter->reply = reply != NULL ? json_node_copy (reply) : NULL;
    waiter->error = error != NULL ? g_error_copy (error) : NULL;
}

static gboolean
is_done (gpointer user_data)
{
    return ((Waiter *) user_data)->is_done;
}

static JsonNode *
call (GwQmp *qmp, Order *order, GCancellable *cancellable, GError **error)
{
    const char *name = gw_qmp_command_get_info (order->command)->name;
    g_assert (qmp->n_callbacks == 0);
    if (g_cancellable_is_cancelled (cancellable)) {
        gw_fail (error, GW_CAUSE_ABORTED, "%s: aborted before it was sent", name);
        return NULL;
    }
    Waiter waiter = { 0 };
    order->fn = on_reply;
    order->user_data = &waiter;
    (void) gw_qmp_client_ref (qmp); /* given back below */
    GwQmpRequest *request = submit (qmp, order);
    gint64 deadline_us = gw_deadline_ms (order->limit_ms) + WAIT_MARGIN_MS * 1000;
    if (!gw_wait_until (qmp->context, is_done, &waiter, deadline_us, cancellable, &waiter.error)) {
        g_prefix_error (&waiter.error, "%s: ", name);
        gw_qmp_requests_give_up (qmp, request);
    }
    gw_qmp_client_unref (qmp);
    if (waiter.error != NULL)
        g_propagate_error (error, waiter.error);
    return waiter.reply;
}

JsonNode *
gw_qmp_call_timeout (GwQmp *qmp, GwQmpCommand command, JsonObject *arguments, guint timeout_ms,
                     GCancellable *cancellable, GError **error)
{
    Order order = { .command = command, .arguments = arguments, .limit_ms = timeout_ms, .fd = -1 };
    return call (qmp, &order, cancellable, error);
}

JsonNode *
gw_qmp_call (GwQmp *qmp, GwQmpCommand command, JsonObject *arguments, GCancellable *cancellable,
             GError **error)
{
    guint limit_ms = gw_qmp_command_get_info (command)->limit_ms;
    return gw_qmp_call_timeout (qmp, command, arguments, limit_ms, cancellable, error);
}

JsonNode *
gw_qmp_call_oob (GwQmp *qmp, GwQmpCommand command, JsonObject *arguments, GCancellable *cancellable,
                 GError **error)
{
    Order order = { .command = command, .arguments = arguments, .wants_oob = TRUE, .fd = -1,
                    .limit_ms = gw_qmp_command_get_info (command)->limit_ms };
    return call (qmp, &order, cancellable, error);
}

JsonNode *
gw_qmp_call_fd (GwQmp *qmp, GwQmpCommand command, JsonObject *arguments, int fd,
                GCancellable *cancellable, GError **error)
{
    Order order = { .command = command, .arguments = arguments, .fd = fd,
                    .limit_ms = gw_qmp_command_get_info (command)->limit_ms };
    return call (qmp, &order, cancellable, error);
}
