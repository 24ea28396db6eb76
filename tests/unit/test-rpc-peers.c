/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test-rpc-peers.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

GIOStream *
stream_of_fd (int fd)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GSocket) socket = g_socket_new_from_fd (fd, &error);
    g_assert_no_error (error);
    return G_IO_STREAM (g_socket_connection_factory_create_connection (socket));
}

static void
make_pair (int fds[static 2])
{
    g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
}

static GwRpc *
rpc_of_fd (int fd, GMainContext *context)
{
    g_autoptr (GIOStream) stream = stream_of_fd (fd);
    return gw_rpc_new (stream, context);
}

/* --- a bare peer --- */

void
bare_init (Bare *bare)
{
    int fds[2];
    make_pair (fds);
    bare->context = g_main_context_new ();
    bare->rpc = rpc_of_fd (fds[0], bare->context);
    bare->fd = fds[1];
}

void
bare_clear (Bare *bare)
{
    bare_close (bare);
    g_clear_pointer (&bare->rpc, gw_rpc_free);
    g_clear_pointer (&bare->context, g_main_context_unref);
}

void
bare_close (Bare *bare)
{
    if (bare->fd >= 0)
        close (bare->fd);
    bare->fd = -1;
}

void
bare_write (Bare *bare, const char *text)
{
    gsize len = strlen (text);
    while (len > 0) {
        gssize n = send (bare->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            g_assert_cmpint (errno, ==, EAGAIN);
        n = MAX (n, 0);
        text += n;
        len -= (gsize) n;
        bare_settle (bare);
    }
}

char *
bare_read_line (Bare *bare)
{
    GString *line = g_string_new (NULL);
    gint64 deadline_us = gw_deadline_ms (TEST_MS);
    for (;;) {
        char c;
        gssize n = recv (bare->fd, &c, 1, MSG_DONTWAIT);
        if (n == 1 && c == '\n')
            return g_string_free (line, FALSE);
        if (n == 1) {
            g_string_append_c (line, c);
        } else if (n == 0 || errno != EAGAIN) {
            g_string_free (line, TRUE);
            return NULL;
        } else {
            g_assert_cmpint (g_get_monotonic_time (), <, deadline_us);
            g_main_context_iteration (bare->context, FALSE);
        }
    }
}

void
bare_settle (Bare *bare)
{
    while (g_main_context_iteration (bare->context, FALSE))
        ;
}

static gboolean
is_closed (gpointer user_data)
{
    const GwRpc *rpc = user_data;
    return rpc->state.state == GW_RPC_CLOSED;
}

void
bare_wait_closed (Bare *bare)
{
    g_autoptr (GError) error = NULL;
    gw_wait_until (bare->context, is_closed, bare->rpc, gw_deadline_ms (TEST_MS), NULL, &error);
    g_assert_no_error (error);
    bare_settle (bare);
}

void
bare_hello (Bare *bare)
{
    bare_write (bare,
                "{\"jsonrpc\":\"2.0\",\"method\":\"hello\",\"id\":0,\"params\":{\"protocol\":1,"
                "\"program\":\"test\",\"version\":\"9\",\"host\":\"h\",\"pid\":1}}\n");
    g_autofree char *answer = bare_read_line (bare);
    g_assert_nonnull (strstr (answer, "\"protocol\":1"));
}

/* --- a server --- */

static void
reply_object (GwRpc *rpc, gint64 id, JsonObject *result)
{
    g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
    json_node_take_object (node, result);
    gw_rpc_reply (rpc, id, node, NULL);
}

static void
send_events (GwRpc *rpc, const GwRpcRequest *request)
{
    gint64 n = json_object_get_int_member (request->params, "n");
    for (gint64 i = 0; i < n; i++) {
        g_autoptr (JsonObject) event = object_int ("i", i);
        g_assert_true (gw_rpc_notify (rpc, GW_RPC_EVENT, event, NULL));
    }
    gw_rpc_reply (rpc, request->id, NULL, NULL);
}

static void
send_bytes (GwRpc *rpc, const GwRpcRequest *request)
{
    gint64 n = json_object_get_int_member (request->params, "bytes");
    g_autofree char *text = g_strnfill ((gsize) n, 'r');
    JsonObject *result = json_object_new ();
    json_object_set_string_member (result, "text", text);
    reply_object (rpc, request->id, result);
}

/* FALSE when there is nothing more to serve. */
static gboolean
handle (GwRpc *rpc, const GwRpcRequest *request, gint64 *held_id)
{
    g_autoptr (GError) lost = g_error_new (GW_ERROR, GW_CAUSE_LINK_LOST, "path 7 is gone");
    switch (request->method) {
    case GW_RPC_HOST_FACTS:
        reply_object (rpc, request->id, json_object_ref (request->params));
        return TRUE;
    case GW_RPC_VM_LIST:
        return gw_rpc_reply_error (rpc, request->id, lost);
    case GW_RPC_JOB_WATCH:
        send_events (rpc, request);
        return TRUE;
    case GW_RPC_JOB_LIST:
        *held_id = request->id;
        return TRUE;
    case GW_RPC_REPORT_LIST:
        gw_rpc_reply (rpc, request->id, NULL, NULL);
        return gw_rpc_reply (rpc, *held_id, NULL, NULL);
    case GW_RPC_REPORT_GET:
        send_bytes (rpc, request);
        return TRUE;
    case GW_RPC_JOB_ABORT:
        gw_rpc_reply (rpc, request->id, NULL, NULL);
        (void) gw_rpc_flush (rpc, TEST_MS, NULL);
        return FALSE;
    default:
        return request->method != GW_RPC_JOB_CLOSE;
    }
}

void
serve (GIOStream *stream, GMainContext *context)
{
    g_autoptr (GwRpc) rpc = gw_rpc_new (stream, context);
    gint64 held_id = 0;
    gboolean more = TRUE;
    while (more) {
        g_autoptr (GwRpcRequest) request
            = gw_rpc_next_request (rpc, gw_deadline_ms (TEST_MS), NULL, NULL);
        more = request != NULL && handle (rpc, request, &held_id);
    }
}

static gpointer
serve_thread (gpointer user_data)
{
    g_autoptr (GIOStream) stream = user_data;
    g_autoptr (GMainContext) context = g_main_context_new ();
    serve (stream, context);
    return NULL;
}

void
served_init (Served *served)
{
    int fds[2];
    g_autoptr (GError) error = NULL;
    make_pair (fds);
    served->context = g_main_context_new ();
    served->rpc = rpc_of_fd (fds[0], served->context);
    served->thread = g_thread_new ("server", serve_thread, stream_of_fd (fds[1]));
    gw_rpc_hello (served->rpc, "test", NULL, NULL, &error);
    g_assert_no_error (error);
}

void
served_clear (Served *served)
{
    g_clear_pointer (&served->rpc, gw_rpc_free);
    g_thread_join (served->thread);
    g_clear_pointer (&served->context, g_main_context_unref);
}

/* --- both --- */

JsonObject *
object_of (const char *json)
{
    g_autoptr (JsonNode) node = json_from_string (json, NULL);
    return json_node_dup_object (node);
}

JsonObject *
object_int (const char *name, gint64 value)
{
    JsonObject *object = json_object_new ();
    json_object_set_int_member (object, name, value);
    return object;
}

char *
text_of (JsonNode *node)
{
    g_assert_nonnull (node);
    return json_to_string (node, FALSE);
}

void
assert_cause (GError *error, GwCause cause, const char *in_message)
{
    g_assert_nonnull (error);
    g_test_message ("%s: %s", gw_cause_get_info (gw_error_get_cause (error))->code, error->message);
    g_assert_cmpstr (gw_cause_get_info (gw_error_get_cause (error))->code, ==,
                     gw_cause_get_info (cause)->code);
    if (strstr (error->message, in_message) == NULL)
        g_error ("'%s' is not in: %s", in_message, error->message);
}
