/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* src/rpc as client: against a server in another thread, and against peers that break the rules. */
#include "test-rpc-peers.h"

#include <fcntl.h>
#include <gio/gunixinputstream.h>
#include <gio/gunixoutputstream.h>
#include <string.h>
#include <unistd.h>

#define CALL_MS 200 /* for calls that are not answered */
#define HOUR_US (3600 * (gint64) G_USEC_PER_SEC)

static void
test_round_trip (void)
{
    g_auto (Served) served = { 0 };
    served_init (&served);
    g_autoptr (JsonObject) params = object_of ("{\"a\":[1,2.5,null,\"\\u00e9\\n\"]}");
    for (guint i = 0; i < 100; i++) {
        g_autoptr (GError) error = NULL;
        g_autoptr (JsonNode) result
            = gw_rpc_call (served.rpc, GW_RPC_HOST_FACTS, params, NULL, &error);
        g_assert_no_error (error);
        g_autofree char *text = text_of (result);
        g_assert_cmpstr (text, ==, "{\"a\":[1,2.5,null,\"\xc3\xa9\\n\"]}");
    }
    g_autoptr (JsonNode) empty = gw_rpc_call (served.rpc, GW_RPC_HOST_FACTS, NULL, NULL, NULL);
    g_autofree char *text = text_of (empty);
    g_assert_cmpstr (text, ==, "{}");
}

static void
test_hello_tells_the_peer (void)
{
    g_auto (Served) served = { 0 };
    served_init (&served);
    JsonObject *peer = gw_rpc_get_peer (served.rpc);
    g_assert_cmpint (json_object_get_int_member (peer, "protocol"), ==, GW_RPC_PROTOCOL);
    g_assert_cmpstr (json_object_get_string_member (peer, "version"), ==, GW_VERSION);
    g_assert_cmpstr (json_object_get_string_member (peer, "host"), ==, g_get_host_name ());
    g_autoptr (JsonObject) again = NULL;
    g_assert_true (gw_rpc_hello (served.rpc, "test", &again, NULL, NULL));
    g_assert_nonnull (again);
}

/* More than a socket buffer, so both directions need several writes. */
static void
test_large_messages (void)
{
    g_auto (Served) served = { 0 };
    g_autoptr (GError) error = NULL;
    served_init (&served);
    g_autofree char *filler = g_strnfill (1000 * 1000, 'x');
    g_autoptr (JsonObject) params = json_object_new ();
    json_object_set_string_member (params, "a", filler);
    g_autoptr (JsonNode) echo = gw_rpc_call (served.rpc, GW_RPC_HOST_FACTS, params, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (strlen (json_object_get_string_member (json_node_get_object (echo), "a")), ==,
                      1000 * 1000);
    g_autoptr (JsonObject) ask = object_int ("bytes", 8 * 1000 * 1000);
    g_autoptr (JsonNode) large = gw_rpc_call (served.rpc, GW_RPC_REPORT_GET, ask, NULL, &error);
    g_assert_no_error (error);
    g_assert_nonnull (large);
    g_autoptr (JsonObject) ask_more = object_int ("bytes", GW_RPC_MESSAGE_MAX);
    g_assert_null (gw_rpc_call (served.rpc, GW_RPC_REPORT_GET, ask_more, NULL, &error));
    assert_cause (error, GW_CAUSE_RPC_INVALID, "do not fit");
}

static void
test_errors_keep_their_cause (void)
{
    g_auto (Served) served = { 0 };
    g_autoptr (GError) error = NULL;
    served_init (&served);
    g_assert_null (gw_rpc_call (served.rpc, GW_RPC_VM_LIST, NULL, NULL, &error));
    assert_cause (error, GW_CAUSE_LINK_LOST, "path 7 is gone");
    g_assert_cmpstr (error->message, ==, "path 7 is gone");
}

static void
test_two_pending (void)
{
    g_auto (Served) served = { 0 };
    g_autoptr (GError) error = NULL;
    served_init (&served);
    g_autoptr (GwRpcPending) first = gw_rpc_call_begin (served.rpc, GW_RPC_JOB_LIST, NULL, 0);
    g_autoptr (JsonNode) between = gw_rpc_call (served.rpc, GW_RPC_HOST_FACTS, NULL, NULL, &error);
    g_assert_no_error (error);
    g_assert_nonnull (between);
    g_assert_false (gw_rpc_pending_is_done (first));
    g_autoptr (JsonNode) second = gw_rpc_call (served.rpc, GW_RPC_REPORT_LIST, NULL, NULL, &error);
    g_assert_no_error (error);
    g_assert_nonnull (second);
    while (!gw_rpc_pending_is_done (first))
        g_main_context_iteration (served.context, TRUE);
    g_autoptr (JsonNode) late = gw_rpc_pending_finish (g_steal_pointer (&first), &error);
    g_assert_no_error (error);
    g_assert_nonnull (late);
}

static void
count_events (GwRpcMethod method, JsonObject *params, gpointer user_data)
{
    gint64 *next = user_data;
    g_assert_cmpint (method, ==, GW_RPC_EVENT);
    g_assert_cmpint (json_object_get_int_member (params, "i"), ==, *next);
    (*next)++;
}

static void
test_notifications_while_waiting (void)
{
    g_auto (Served) served = { 0 };
    g_autoptr (GError) error = NULL;
    gint64 next = 0;
    served_init (&served);
    gw_rpc_set_notify_fn (served.rpc, count_events, &next);
    g_autoptr (JsonObject) params = object_int ("n", 1000);
    g_autoptr (JsonNode) result = gw_rpc_call (served.rpc, GW_RPC_JOB_WATCH, params, NULL, &error);
    g_assert_no_error (error);
    g_assert_nonnull (result);
    g_assert_cmpint (next, ==, 1000);
}

static void
test_timeout (void)
{
    g_auto (Served) served = { 0 };
    g_autoptr (GError) error = NULL;
    served_init (&served);
    gint64 from_us = g_get_monotonic_time ();
    g_assert_null (
        gw_rpc_call_timeout (served.rpc, GW_RPC_JOB_STATUS, NULL, CALL_MS, NULL, &error));
    assert_cause (error, GW_CAUSE_RPC_TIMEOUT, "did not answer 'job.status' within 200 ms");
    g_assert_cmpint (g_get_monotonic_time () - from_us, >=, CALL_MS * 1000);
    g_assert_true (gw_rpc_is_open (served.rpc));
    g_clear_error (&error);
    g_autoptr (JsonNode) next = gw_rpc_call (served.rpc, GW_RPC_HOST_FACTS, NULL, NULL, &error);
    g_assert_no_error (error);
    g_assert_nonnull (next);
}

/* The answer to a call that nobody waits for any more must not be taken for another's. */
static void
test_late_answer (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    bare_init (&bare);
    g_assert_null (gw_rpc_call_timeout (bare.rpc, GW_RPC_JOB_STATUS, NULL, 10, NULL, NULL));
    gw_rpc_pending_free (gw_rpc_call_begin (bare.rpc, GW_RPC_JOB_LIST, NULL, 0));
    g_autoptr (GwRpcPending) third = gw_rpc_call_begin (bare.rpc, GW_RPC_VM_LIST, NULL, 0);
    bare_write (&bare, "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":\"first\"}\n"
                       "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"second\"}\n"
                       "{\"jsonrpc\":\"2.0\",\"id\":99,\"result\":\"never asked\"}\n");
    g_assert_false (gw_rpc_pending_is_done (third));
    bare_write (&bare, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"third\"}\n");
    g_assert_true (gw_rpc_pending_is_done (third));
    g_autoptr (JsonNode) result = gw_rpc_pending_finish (g_steal_pointer (&third), &error);
    g_assert_cmpstr (json_node_get_string (result), ==, "third");
}

static gboolean
cancel (gpointer user_data)
{
    g_cancellable_cancel (user_data);
    return G_SOURCE_REMOVE;
}

static void
test_cancel (void)
{
    g_auto (Served) served = { 0 };
    g_autoptr (GError) error = NULL;
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (GSource) soon = g_timeout_source_new (50);
    served_init (&served);
    g_source_set_callback (soon, cancel, cancellable, NULL);
    g_source_attach (soon, served.context);
    g_assert_null (gw_rpc_call (served.rpc, GW_RPC_JOB_STATUS, NULL, cancellable, &error));
    assert_cause (error, GW_CAUSE_ABORTED, "'job.status'");
    g_assert_cmpuint (g_hash_table_size (served.rpc->pending), ==, 0);
}

static void
count_closed (const GError *why, gpointer user_data)
{
    g_assert_cmpint (gw_error_get_cause (why), ==, GW_CAUSE_AGENT_LOST);
    (*(guint *) user_data)++;
}

static void
test_peer_closes_in_mid_call (void)
{
    g_auto (Served) served = { 0 };
    g_autoptr (GError) error = NULL;
    guint n_closed = 0;
    served_init (&served);
    gw_rpc_set_closed_fn (served.rpc, count_closed, &n_closed);
    g_autoptr (GwRpcPending) other = gw_rpc_call_begin (served.rpc, GW_RPC_JOB_STATUS, NULL, 0);
    g_assert_null (gw_rpc_call (served.rpc, GW_RPC_JOB_CLOSE, NULL, NULL, &error));
    assert_cause (error, GW_CAUSE_AGENT_LOST, "'job.close' got no answer: the connection to");
    g_assert_true (gw_rpc_pending_is_done (other));
    g_assert_false (gw_rpc_is_open (served.rpc));
    g_assert_cmpuint (n_closed, ==, 0); /* told from an iteration, not from inside the call */
    while (g_main_context_iteration (served.context, FALSE))
        ;
    g_assert_cmpuint (n_closed, ==, 1);
    g_clear_error (&error);
    g_assert_null (gw_rpc_call (served.rpc, GW_RPC_VM_LIST, NULL, NULL, &error));
    assert_cause (error, GW_CAUSE_AGENT_LOST, "'vm.list' got no answer");
    g_clear_error (&error);
    g_assert_false (gw_rpc_notify (served.rpc, GW_RPC_EVENT, NULL, &error));
    assert_cause (error, GW_CAUSE_AGENT_LOST, "");
}

/* A peer that answers and closes at once, before it reads what we send next: the answer counts. */
static void
test_last_words_are_read (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    bare_init (&bare);
    g_autoptr (GwRpcPending) call = gw_rpc_call_begin (bare.rpc, GW_RPC_VM_LIST, NULL, 0);
    const char answer[] = "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":\"last\"}\n";
    g_assert_cmpint (write (bare.fd, answer, strlen (answer)), ==, strlen (answer));
    g_autofree char *request = bare_read_line (&bare);
    g_assert_nonnull (request);
    bare_close (&bare);
    while (gw_rpc_notify (bare.rpc, GW_RPC_EVENT, NULL, NULL))
        ;
    bare_wait_closed (&bare);
    g_autoptr (JsonNode) result = gw_rpc_pending_finish (g_steal_pointer (&call), &error);
    g_assert_no_error (error);
    g_assert_cmpstr (json_node_get_string (result), ==, "last");
}

/* So does why we are refused, even if we learn first that nobody reads us. */
static void
test_last_verdict_is_read (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    const char verdict[]
        = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"not you\","
          "\"data\":{\"cause\":\"peer-refused\"}}}\n";
    bare_init (&bare);
    g_assert_cmpint (write (bare.fd, verdict, strlen (verdict)), ==, strlen (verdict));
    bare_close (&bare);
    g_assert_false (gw_rpc_hello (bare.rpc, "test", NULL, NULL, &error));
    assert_cause (error, GW_CAUSE_PEER_REFUSED, "not you");
}

static void
test_peer_that_does_not_read (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    guint n_closed = 0;
    guint64 sent = 0;
    bare_init (&bare);
    gw_rpc_set_closed_fn (bare.rpc, count_closed, &n_closed);
    g_autofree char *filler = g_strnfill (60 * 1000, 'x');
    g_autoptr (JsonObject) params = json_object_new ();
    json_object_set_string_member (params, "a", filler);
    while (gw_rpc_notify (bare.rpc, GW_RPC_EVENT, params, &error) && sent < 64 * 1024 * 1024)
        sent += 60 * 1000;
    assert_cause (error, GW_CAUSE_AGENT_LOST, "does not read");
    g_assert_cmpuint (sent, >, GW_RPC_QUEUE_MAX - 100 * 1000);
    g_assert_cmpuint (sent, <, GW_RPC_QUEUE_MAX + 1000 * 1000);
    bare_wait_closed (&bare);
    g_assert_cmpuint (n_closed, ==, 1);
}

/* --- pipes, whose flags are shared with others and stay as they are --- */

static GwRpc *
rpc_over_pipes (int in_fd, int out_fd, GMainContext *context)
{
    g_autoptr (GInputStream) in = g_unix_input_stream_new (in_fd, TRUE);
    g_autoptr (GOutputStream) out = g_unix_output_stream_new (out_fd, TRUE);
    g_autoptr (GIOStream) stream = g_simple_io_stream_new (in, out);
    return gw_rpc_new (stream, context);
}

/* A pipe that blocks and that nobody reads must not stop us. */
static void
test_full_pipe (void)
{
    g_autoptr (GMainContext) context = g_main_context_new ();
    g_autoptr (GError) error = NULL;
    int to[2], from[2];
    g_assert_cmpint (pipe2 (to, O_CLOEXEC), ==, 0);
    g_assert_cmpint (pipe2 (from, O_CLOEXEC), ==, 0);
    g_autoptr (GwRpc) rpc = rpc_over_pipes (from[0], to[1], context);
    g_autofree char *filler = g_strnfill (60 * 1000, 'x');
    g_autoptr (JsonObject) params = json_object_new ();
    json_object_set_string_member (params, "a", filler);
    gint64 from_us = g_get_monotonic_time ();
    for (guint i = 0; i < 10; i++)
        g_assert_true (gw_rpc_notify (rpc, GW_RPC_EVENT, params, NULL));
    g_assert_false (gw_rpc_flush (rpc, 50, &error));
    assert_cause (error, GW_CAUSE_RPC_TIMEOUT, "did not read");
    g_assert_cmpint (g_get_monotonic_time () - from_us, <, 5 * G_USEC_PER_SEC);
    g_assert_cmpint (fcntl (to[1], F_GETFL) & O_NONBLOCK, ==, 0);
    close (to[0]);
    close (from[1]);
}

/* In a process of its own, in which no socket has turned SIGPIPE off before. */
static void
test_broken_pipe (void)
{
    if (!g_test_subprocess ()) {
        g_test_trap_subprocess (NULL, 0, 0);
        g_test_trap_assert_passed ();
        return;
    }
    g_autoptr (GMainContext) context = g_main_context_new ();
    g_autoptr (GError) error = NULL;
    int to[2], from[2];
    g_assert_cmpint (pipe2 (to, O_CLOEXEC), ==, 0);
    g_assert_cmpint (pipe2 (from, O_CLOEXEC), ==, 0);
    g_autoptr (GwRpc) rpc = rpc_over_pipes (from[0], to[1], context);
    close (to[0]);
    g_assert_false (gw_rpc_notify (rpc, GW_RPC_EVENT, NULL, &error));
    assert_cause (error, GW_CAUSE_AGENT_LOST, "Broken pipe");
    close (from[1]);
}

static void
test_flush (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    bare_init (&bare);
    g_autofree char *filler = g_strnfill (60 * 1000, 'x');
    g_autoptr (JsonObject) params = json_object_new ();
    json_object_set_string_member (params, "a", filler);
    g_assert_true (gw_rpc_notify (bare.rpc, GW_RPC_EVENT, NULL, NULL));
    g_assert_true (gw_rpc_flush (bare.rpc, TEST_MS, NULL));
    for (guint i = 0; i < 50; i++)
        g_assert_true (gw_rpc_notify (bare.rpc, GW_RPC_EVENT, params, NULL));
    g_assert_false (gw_rpc_flush (bare.rpc, 50, &error));
    assert_cause (error, GW_CAUSE_RPC_TIMEOUT, "did not read");
    for (guint i = 0; i < 51; i++)
        g_free (bare_read_line (&bare));
    g_assert_true (gw_rpc_flush (bare.rpc, TEST_MS, NULL));
    bare_close (&bare);
    g_clear_error (&error);
    bare_wait_closed (&bare);
    g_assert_false (gw_rpc_flush (bare.rpc, TEST_MS, &error));
    assert_cause (error, GW_CAUSE_AGENT_LOST, "");
}

static void
test_own_close (void)
{
    g_auto (Served) served = { 0 };
    g_autoptr (GError) error = NULL;
    guint n_closed = 0;
    served_init (&served);
    gw_rpc_set_closed_fn (served.rpc, count_closed, &n_closed);
    g_autoptr (GwRpcPending) call = gw_rpc_call_begin (served.rpc, GW_RPC_JOB_STATUS, NULL, 0);
    gw_rpc_close (served.rpc);
    gw_rpc_close (served.rpc);
    g_assert_true (gw_rpc_pending_is_done (call));
    g_assert_null (gw_rpc_pending_finish (g_steal_pointer (&call), &error));
    assert_cause (error, GW_CAUSE_AGENT_LOST, "closed here");
    while (g_main_context_iteration (served.context, FALSE))
        ;
    g_assert_cmpuint (n_closed, ==, 0);
}

static void
test_call_outlives_connection (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    bare_init (&bare);
    g_autoptr (GwRpcPending) call = gw_rpc_call_begin (bare.rpc, GW_RPC_JOB_STATUS, NULL, 0);
    g_clear_pointer (&bare.rpc, gw_rpc_free);
    g_assert_true (gw_rpc_pending_is_done (call));
    g_assert_null (gw_rpc_pending_finish (g_steal_pointer (&call), &error));
    assert_cause (error, GW_CAUSE_AGENT_LOST, "");
}

/* --- peers that break the rules --- */

static void
check_bad_answer (const char *answer, GwCause cause, const char *in_message)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    bare_init (&bare);
    g_autoptr (GwRpcPending) call = gw_rpc_call_begin (bare.rpc, GW_RPC_HELLO, NULL, 0);
    bare_write (&bare, answer);
    if (!gw_rpc_pending_is_done (call))
        bare_close (&bare);
    while (!gw_rpc_pending_is_done (call))
        g_main_context_iteration (bare.context, TRUE);
    g_assert_null (gw_rpc_pending_finish (g_steal_pointer (&call), &error));
    assert_cause (error, cause, in_message);
    g_assert_null (gw_rpc_get_peer (bare.rpc));
}

#define ANSWER "{\"jsonrpc\":\"2.0\",\"id\":0,"

static void
test_bad_answers (void)
{
    static const struct {
        const char *answer;
        GwCause cause;
        const char *in_message;
    } cases[] = {
        { "SSH-2.0-OpenSSH_9.2\r\n", GW_CAUSE_RPC_INVALID, "it says: 'SSH-2.0-OpenSSH_9.2" },
        { "{\"jsonrpc\":\n", GW_CAUSE_RPC_INVALID, "not JSON" },
        { "{\"jsonrpc\":\"2.0\",", GW_CAUSE_AGENT_LOST, "in the middle of a message" },
        { "Content-Length: 99999999\r\n\r\n", GW_CAUSE_RPC_INVALID, "99999999 bytes" },
        { ANSWER "\"result\":7}\n", GW_CAUSE_RPC_INVALID, "not an object" },
        { ANSWER "\"result\":{}}\n", GW_CAUSE_RPC_INVALID, "\"protocol\" is missing" },
        { ANSWER "\"result\":{\"protocol\":1,\"program\":[]}}\n", GW_CAUSE_RPC_INVALID,
          "\"program\" is missing or not a string" },
        { ANSWER "\"result\":{\"protocol\":2,\"program\":\"godwitd\",\"version\":\"0.9.1\","
                 "\"host\":\"hostb\",\"pid\":7}}\n",
          GW_CAUSE_PROTOCOL_MISMATCH,
          "godwitd 0.9.1 on host 'hostb' and speaks protocol 2, this is godwit " GW_VERSION
          " and speaks protocol 1" },
        { "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"not you\","
          "\"data\":{\"cause\":\"peer-refused\"}}}\n",
          GW_CAUSE_PEER_REFUSED, "ended the connection: not you" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
        check_bad_answer (cases[i].answer, cases[i].cause, cases[i].in_message);
}

/* Silence and hanging up before hello are all the same: there is no agent. */
static void
test_hello_unreachable (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    bare_init (&bare);
    g_assert_false (gw_rpc_hello_within (bare.rpc, "test", CALL_MS, NULL, NULL, &error));
    assert_cause (error, GW_CAUSE_DESTINATION_UNREACHABLE, "did not answer 'hello' within 200 ms");
    bare_close (&bare);
    g_clear_error (&error);
    g_assert_false (gw_rpc_hello (bare.rpc, "test", NULL, NULL, &error));
    assert_cause (error, GW_CAUSE_DESTINATION_UNREACHABLE, "the connection to the peer broke");
}

/* An answer that makes no sense is dropped; the call then ends by its time limit. */
static void
test_nonsense_is_dropped (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    bare_init (&bare);
    g_autoptr (GwRpcPending) call = gw_rpc_call_begin (bare.rpc, GW_RPC_VM_LIST, NULL, CALL_MS);
    bare_write (&bare, ANSWER "\"result\":1,\"error\":{}}\n"
                              "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":1}\n"
                              "{\"jsonrpc\":\"2.0\",\"method\":\"no.such\"}\n");
    g_assert_true (gw_rpc_is_open (bare.rpc));
    while (!gw_rpc_pending_is_done (call))
        g_main_context_iteration (bare.context, TRUE);
    g_assert_null (gw_rpc_pending_finish (g_steal_pointer (&call), &error));
    assert_cause (error, GW_CAUSE_RPC_TIMEOUT, "");
}

static void
test_params_too_big (void)
{
    g_auto (Served) served = { 0 };
    g_autoptr (GError) error = NULL;
    served_init (&served);
    g_autofree char *filler = g_strnfill (1100 * 1000, 'x');
    g_autoptr (JsonObject) params = json_object_new ();
    json_object_set_string_member (params, "a", filler);
    g_assert_null (gw_rpc_call (served.rpc, GW_RPC_HOST_FACTS, params, NULL, &error));
    assert_cause (error, GW_CAUSE_RPC_INVALID, "'host.facts'");
    g_assert_true (gw_rpc_is_open (served.rpc));
}

/* --- clock --- */

static void
test_clock_offset (void)
{
    g_auto (Served) served = { 0 };
    g_autoptr (GError) error = NULL;
    gint64 offset_us, rtt_us;
    served_init (&served);
    gw_rpc_get_clock_offset (served.rpc, &offset_us, &rtt_us, &error);
    g_assert_no_error (error);
    g_assert_cmpint (rtt_us, >, 0);
    g_assert_cmpint (rtt_us, <, G_USEC_PER_SEC);
    /* the same clock: what is off is at most half the round trip */
    g_assert_cmpint (ABS (offset_us), <=, rtt_us / 2 + 1000);
    g_assert_true (gw_rpc_get_clock_offset (served.rpc, NULL, NULL, NULL));
}

/* A peer whose clock is an hour ahead, and whose answers are slow but for one. */
static gpointer
answer_pings (gpointer user_data)
{
    const Bare *bare = user_data;
    for (guint i = 0; i < 5; i++) {
        char request[200];
        g_assert_cmpint (read (bare->fd, request, sizeof request), >, 0);
        gint64 now_us = g_get_real_time () + HOUR_US;
        if (i != 2)
            g_usleep (50 * 1000);
        g_autofree char *answer = g_strdup_printf (
            "{\"jsonrpc\":\"2.0\",\"id\":%u,\"result\":{\"now_us\":%" G_GINT64_FORMAT "}}\n", i,
            now_us);
        g_assert_cmpint (write (bare->fd, answer, strlen (answer)), >, 0);
    }
    return NULL;
}

static void
test_clock_offset_of_the_quickest (void)
{
    g_auto (Bare) bare = { 0 };
    g_autoptr (GError) error = NULL;
    gint64 offset_us, rtt_us;
    bare_init (&bare);
    GThread *thread = g_thread_new ("pings", answer_pings, &bare);
    gw_rpc_get_clock_offset (bare.rpc, &offset_us, &rtt_us, &error);
    g_assert_no_error (error);
    g_thread_join (thread);
    g_assert_cmpint (rtt_us, <, 50 * 1000);
    g_assert_cmpint (ABS (offset_us - HOUR_US), <=, rtt_us / 2 + 1000);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/rpc/client/round-trip", test_round_trip);
    g_test_add_func ("/rpc/client/hello", test_hello_tells_the_peer);
    g_test_add_func ("/rpc/client/large-messages", test_large_messages);
    g_test_add_func ("/rpc/client/errors", test_errors_keep_their_cause);
    g_test_add_func ("/rpc/client/two-pending", test_two_pending);
    g_test_add_func ("/rpc/client/notifications", test_notifications_while_waiting);
    g_test_add_func ("/rpc/client/timeout", test_timeout);
    g_test_add_func ("/rpc/client/late-answer", test_late_answer);
    g_test_add_func ("/rpc/client/cancel", test_cancel);
    g_test_add_func ("/rpc/client/peer-closes", test_peer_closes_in_mid_call);
    g_test_add_func ("/rpc/client/last-words", test_last_words_are_read);
    g_test_add_func ("/rpc/client/last-verdict", test_last_verdict_is_read);
    g_test_add_func ("/rpc/client/full-pipe", test_full_pipe);
    g_test_add_func ("/rpc/client/broken-pipe", test_broken_pipe);
    g_test_add_func ("/rpc/client/peer-does-not-read", test_peer_that_does_not_read);
    g_test_add_func ("/rpc/client/flush", test_flush);
    g_test_add_func ("/rpc/client/own-close", test_own_close);
    g_test_add_func ("/rpc/client/call-outlives-connection", test_call_outlives_connection);
    g_test_add_func ("/rpc/client/bad-answers", test_bad_answers);
    g_test_add_func ("/rpc/client/hello-unreachable", test_hello_unreachable);
    g_test_add_func ("/rpc/client/nonsense", test_nonsense_is_dropped);
    g_test_add_func ("/rpc/client/params-too-big", test_params_too_big);
    g_test_add_func ("/rpc/client/clock-offset", test_clock_offset);
    g_test_add_func ("/rpc/client/clock-offset-quickest", test_clock_offset_of_the_quickest);
    return g_test_run ();
}
