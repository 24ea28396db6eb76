/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* src/rpc as server: a bare peer is the client. */
#include "test-rpc-peers.h"

#include <string.h>

#define REQUEST(method, id) "{\"jsonrpc\":\"2.0\",\"method\":\"" method "\",\"id\":" id "}\n"
#define EVENT "{\"jsonrpc\":\"2.0\",\"method\":\"event\"}\n"
#define SHORT_MS 20 /* for what must not come */

static GwRpcRequest *
next_request (Bare *bare, GError **error)
{
    return gw_rpc_next_request (bare->rpc, gw_deadline_ms (TEST_MS), NULL, error);
}

/* Reads a line and looks for a part of it. */
static void
expect_line (Bare *bare, const char *part)
{
    g_autofree char *line = bare_read_line (bare);
    g_test_message ("%s", line);
    g_assert_nonnull (line);
    if (strstr (line, part) == NULL)
        g_error ("no '%s' in: %s", part, line);
}

static void
test_request_and_reply (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    bare_init (&bare);
    bare_hello (&bare);
    g_assert_cmpstr (json_object_get_string_member (gw_rpc_get_peer (bare.rpc), "program"), ==,
                     "test");
    bare_write (&bare,
                "{\"jsonrpc\":\"2.0\",\"method\":\"vm.list\",\"id\":5,\"params\":{\"a\":1}}\n");
    g_autoptr (GwRpcRequest) request = next_request (&bare, &error);
    g_assert_no_error (error);
    g_assert_cmpint (request->method, ==, GW_RPC_VM_LIST);
    g_assert_cmpint (request->id, ==, 5);
    g_assert_cmpint (json_object_get_int_member (request->params, "a"), ==, 1);
    g_assert_true (gw_rpc_reply (bare.rpc, request->id, NULL, NULL));
    g_autofree char *line = bare_read_line (&bare);
    g_assert_cmpstr (line, ==, "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{}}");
}

static void
test_error_replies (void)
{
    g_auto (Bare) bare = { 0 };
    bare_init (&bare);
    bare_hello (&bare);
    g_autoptr (GError) ours = g_error_new (GW_ERROR, GW_CAUSE_HOST_IO, "disk 'a' is full");
    g_assert_true (gw_rpc_reply_error (bare.rpc, 7, ours));
    g_autofree char *line = bare_read_line (&bare);
    g_assert_cmpstr (line, ==,
                     "{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-32000,\"message\":"
                     "\"disk 'a' is full\",\"data\":{\"cause\":\"host-io\"}}}");
    g_autoptr (GError) params = g_error_new (GW_ERROR, GW_CAUSE_RPC_INVALID, "no \"vm\"");
    g_assert_true (gw_rpc_reply_error (bare.rpc, 8, params));
    expect_line (&bare, "\"code\":-32602");
    g_autoptr (GError) foreign = g_error_new (G_IO_ERROR, G_IO_ERROR_FAILED, "oops");
    g_assert_true (gw_rpc_reply_error (bare.rpc, 9, foreign));
    expect_line (&bare, "\"cause\":\"internal\"");
}

/* A program in any language speaks to us over whatever pieces the network makes. */
static void
test_byte_by_byte (void)
{
    g_auto (Bare) bare = { 0 };
    bare_init (&bare);
    bare_hello (&bare);
    const char *text = REQUEST ("vm.list", "1") "\r\n" REQUEST ("job.list", "2");
    for (const char *p = text; *p != '\0'; p++) {
        const char one[] = { *p, '\0' };
        bare_write (&bare, one);
    }
    for (gint64 id = 1; id <= 2; id++) {
        g_autoptr (GwRpcRequest) request = next_request (&bare, NULL);
        g_assert_cmpint (request->id, ==, id);
    }
}

static void
test_header_framing (void)
{
    g_auto (Bare) bare = { 0 };
    bare_init (&bare);
    const char *hello
        = "{\"jsonrpc\":\"2.0\",\"method\":\"hello\",\"id\":0,\"params\":{\"protocol\":1,"
          "\"program\":\"editor\",\"version\":\"9\",\"host\":\"h\",\"pid\":1}}";
    g_autofree char *text
        = g_strdup_printf ("Content-Length: %zu\r\n\r\n%s", strlen (hello), hello);
    bare_write (&bare, text);
    g_autofree char *header = bare_read_line (&bare);
    g_autofree char *blank = bare_read_line (&bare);
    guint64 length;
    g_assert_true (g_str_has_prefix (header, "Content-Length: ")
                   && g_str_has_suffix (header, "\r"));
    g_assert_cmpstr (blank, ==, "\r");
    header[strlen (header) - 1] = '\0';
    g_assert_true (g_ascii_string_to_unsigned (header + 16, 10, 1, 4096, &length, NULL));
    char body[4096];
    g_assert_cmpint (read (bare.fd, body, sizeof body), ==, (gssize) length);
    g_assert_cmpint (body[length - 1], ==, '}');
}

static void
test_before_hello (void)
{
    g_auto (Bare) bare = { 0 };
    bare_init (&bare);
    bare_write (&bare, REQUEST ("vm.list", "1") REQUEST ("ping", "2") EVENT);
    expect_line (&bare, "'vm.list' came before a hello");
    expect_line (&bare, "'ping' came before a hello");
    g_autoptr (GError) error = NULL;
    g_assert_null (gw_rpc_next_request (bare.rpc, gw_deadline_ms (SHORT_MS), NULL, &error));
    assert_cause (error, GW_CAUSE_TIMED_OUT, "waiting for a request");
    bare_hello (&bare);
    bare_write (&bare, REQUEST ("ping", "3"));
    expect_line (&bare, "\"now_us\":");
}

/* A client of another protocol learns which we speak, and nothing else works. */
static void
test_hello_of_other_protocol (void)
{
    g_auto (Bare) bare = { 0 };
    bare_init (&bare);
    bare_write (&bare,
                "{\"jsonrpc\":\"2.0\",\"method\":\"hello\",\"id\":0,\"params\":{\"protocol\":2,"
                "\"program\":\"test\",\"version\":\"9\",\"host\":\"h\",\"pid\":1}}\n");
    expect_line (&bare, "\"protocol\":1");
    bare_write (&bare, REQUEST ("vm.list", "1"));
    expect_line (&bare, "-32600");
    bare_write (&bare, "{\"jsonrpc\":\"2.0\",\"method\":\"hello\",\"id\":2,\"params\":{}}\n");
    expect_line (&bare, "\"code\":-32602");
    g_assert_null (gw_rpc_get_peer (bare.rpc));
}

static void
test_specified_errors (void)
{
    g_auto (Bare) bare = { 0 };
    bare_init (&bare);
    bare_hello (&bare);
    bare_write (&bare, REQUEST ("no.such", "1") REQUEST ("event", "2"));
    bare_write (&bare, REQUEST ("ping", "\"x\""));
    bare_write (&bare, "[{\"a\":1}]\n");
    bare_write (&bare,
                "{\"jsonrpc\":\"2.0\",\"method\":\"vm.list\",\"id\":5,\"params\":[]}\n");
    expect_line (&bare, "\"id\":1,\"error\":{\"code\":-32601");
    expect_line (&bare, "\"id\":2,\"error\":{\"code\":-32600");
    expect_line (&bare, "\"id\":null,\"error\":{\"code\":-32600");
    expect_line (&bare, "batches are not supported");
    expect_line (&bare, "\"id\":5,\"error\":{\"code\":-32602");
    g_assert_true (gw_rpc_is_open (bare.rpc));
}

static void
keep_error (const GError *why, gpointer user_data)
{
    GError **kept = user_data;
    g_assert_null (*kept);
    *kept = g_error_copy (why);
}

static void
check_malformed (const char *text, const char *in_message)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) why = NULL;
    g_autoptr (GError) error = NULL;
    bare_init (&bare);
    gw_rpc_set_closed_fn (bare.rpc, keep_error, &why);
    bare_hello (&bare);
    bare_write (&bare, text);
    expect_line (&bare, "\"id\":null,\"error\":{\"code\":-32700");
    g_assert_null (bare_read_line (&bare));
    bare_wait_closed (&bare);
    assert_cause (why, GW_CAUSE_RPC_INVALID, in_message);
    g_assert_null (next_request (&bare, &error));
    assert_cause (error, GW_CAUSE_RPC_INVALID, in_message);
}

static void
test_malformed_closes (void)
{
    GString *deep
        = g_string_new ("{\"jsonrpc\":\"2.0\",\"method\":\"vm.list\",\"id\":1,\"params\":");
    for (guint i = 0; i < GW_RPC_DEPTH_MAX; i++)
        g_string_append (deep, "[");
    g_string_append (deep, "\n");
    check_malformed ("{\"jsonrpc\":\"2.0\" \"method\":\"ping\"}\n", "unexpected character");
    check_malformed ("no json at all\n", "unexpected character");
    check_malformed ("{\"a\":\"\xff\"}\n", "not UTF-8");
    check_malformed (deep->str, "deeper than 32");
    g_string_free (deep, TRUE);
}

/* Refused as soon as it is known to be too big, and not after it has been stored. */
static void
test_too_big_closes (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) why = NULL;
    bare_init (&bare);
    gw_rpc_set_closed_fn (bare.rpc, keep_error, &why);
    bare_hello (&bare);
    g_autofree char *piece = g_strnfill (64 * 1024, ' ');
    piece[0] = '{';
    bare_write (&bare, piece);
    piece[0] = ' ';
    for (guint i = 1; i < GW_RPC_MESSAGE_MAX / (64 * 1024); i++)
        bare_write (&bare, piece);
    g_assert_true (gw_rpc_is_open (bare.rpc));
    bare_write (&bare, " ");
    expect_line (&bare, "\"code\":-32700");
    bare_wait_closed (&bare);
    assert_cause (why, GW_CAUSE_RPC_INVALID, "larger than the 8388608 accepted");
}

static void
test_queue_is_bounded (void)
{
    g_auto (Bare) bare = { 0 };
    bare_init (&bare);
    bare_hello (&bare);
    for (guint i = 1; i <= GW_RPC_REQUESTS_MAX + 2; i++) {
        g_autofree char *text = g_strdup_printf (REQUEST ("vm.list", "%u"), i);
        bare_write (&bare, text);
    }
    bare_write (&bare, EVENT);
    expect_line (&bare, "\"id\":65,");
    expect_line (&bare, "\"id\":66,");
    for (gint64 id = 1; id <= GW_RPC_REQUESTS_MAX; id++) {
        g_autoptr (GwRpcRequest) request = next_request (&bare, NULL);
        g_assert_cmpint (request->id, ==, id);
    }
    g_autoptr (GwRpcRequest) none
        = gw_rpc_next_request (bare.rpc, gw_deadline_ms (SHORT_MS), NULL, NULL);
    g_assert_null (none);
}

static void
count_events (GwRpcMethod method, JsonObject *params, gpointer user_data)
{
    (*(guint *) user_data)++;
}

static void
test_notifications_to_the_server (void)
{
    g_auto (Bare) bare = { 0 };
    guint n = 0;
    bare_init (&bare);
    bare_hello (&bare);
    bare_write (&bare, "{\"jsonrpc\":\"2.0\",\"method\":\"progress\"}\n");
    g_autoptr (GwRpcRequest) request = next_request (&bare, NULL);
    g_assert_cmpint (request->method, ==, GW_RPC_PROGRESS);
    g_assert_cmpint (request->id, ==, -1);
    gw_rpc_set_notify_fn (bare.rpc, count_events, &n);
    bare_write (&bare, EVENT);
    g_assert_cmpuint (n, ==, 1);
}

/* Nobody hears the answers of a client that has gone; what it told still counts. */
static void
test_client_leaves (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    bare_init (&bare);
    bare_hello (&bare);
    bare_write (&bare, REQUEST ("vm.list", "1") EVENT REQUEST ("job.list", "2"));
    bare_settle (&bare);
    bare_close (&bare);
    bare_wait_closed (&bare);
    g_autoptr (GwRpcRequest) told = next_request (&bare, &error);
    g_assert_no_error (error);
    g_assert_cmpint (told->method, ==, GW_RPC_EVENT);
    g_assert_null (next_request (&bare, &error));
    assert_cause (error, GW_CAUSE_AGENT_LOST, "ended");
    g_clear_error (&error);
    g_assert_false (gw_rpc_reply (bare.rpc, 1, NULL, &error));
    assert_cause (error, GW_CAUSE_AGENT_LOST, "ended");
    g_autoptr (GError) why = g_error_new (GW_ERROR, GW_CAUSE_HOST_IO, "x");
    g_assert_false (gw_rpc_reply_error (bare.rpc, 1, why));
}

static void
close_from_callback (GwRpcMethod method, JsonObject *params, gpointer user_data)
{
    gw_rpc_close (user_data);
}

static void
test_close_from_callback (void)
{
    g_auto (Bare) bare = { 0 };
    bare_init (&bare);
    bare_hello (&bare);
    gw_rpc_set_notify_fn (bare.rpc, close_from_callback, bare.rpc);
    bare_write (&bare, EVENT REQUEST ("ping", "1"));
    g_assert_false (gw_rpc_is_open (bare.rpc));
    g_assert_null (bare_read_line (&bare));
}

/* A result too large for a message is answered with an error: the client must not wait for ever. */
static void
test_result_too_large (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    bare_init (&bare);
    bare_hello (&bare);
    g_autofree char *filler = g_strnfill (GW_RPC_MESSAGE_MAX, 'x');
    g_autoptr (JsonNode) result = json_node_init_string (json_node_alloc (), filler);
    g_assert_false (gw_rpc_reply (bare.rpc, 3, result, &error));
    assert_cause (error, GW_CAUSE_RPC_INVALID, "do not fit");
    expect_line (&bare, "\"id\":3,\"error\"");
}

static void
test_stream_that_cannot_be_polled (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GMainContext) context = g_main_context_new ();
    g_autoptr (GFileIOStream) stream = NULL;
    g_autoptr (GFile) file = g_file_new_tmp ("test-rpc-XXXXXX", &stream, &error);
    g_assert_no_error (error);
    g_autoptr (GwRpc) rpc = gw_rpc_new (G_IO_STREAM (stream), context);
    g_assert_false (gw_rpc_is_open (rpc));
    g_assert_null (gw_rpc_next_request (rpc, gw_deadline_ms (TEST_MS), NULL, &error));
    assert_cause (error, GW_CAUSE_AGENT_LOST, "neither a socket nor a pipe");
    g_assert_true (g_file_delete (file, NULL, NULL));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/rpc/server/request-and-reply", test_request_and_reply);
    g_test_add_func ("/rpc/server/error-replies", test_error_replies);
    g_test_add_func ("/rpc/server/byte-by-byte", test_byte_by_byte);
    g_test_add_func ("/rpc/server/header-framing", test_header_framing);
    g_test_add_func ("/rpc/server/before-hello", test_before_hello);
    g_test_add_func ("/rpc/server/other-protocol", test_hello_of_other_protocol);
    g_test_add_func ("/rpc/server/specified-errors", test_specified_errors);
    g_test_add_func ("/rpc/server/malformed-closes", test_malformed_closes);
    g_test_add_func ("/rpc/server/too-big-closes", test_too_big_closes);
    g_test_add_func ("/rpc/server/queue-is-bounded", test_queue_is_bounded);
    g_test_add_func ("/rpc/server/notifications", test_notifications_to_the_server);
    g_test_add_func ("/rpc/server/client-leaves", test_client_leaves);
    g_test_add_func ("/rpc/server/close-from-callback", test_close_from_callback);
    g_test_add_func ("/rpc/server/result-too-large", test_result_too_large);
    g_test_add_func ("/rpc/server/cannot-poll", test_stream_that_cannot_be_polled);
    return g_test_run ();
}
