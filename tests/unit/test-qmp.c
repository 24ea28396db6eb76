/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calling a stand-in: replies and events in every order and piece, time limits, the window. */
#include "test-qmp-client.h"

#include <string.h>
#include <unistd.h>

/* --- replies --------------------------------------------------------------------------------- */

static void
values_script (Server *server)
{
    static const char *const values[] = {
        "{\"return\": [1, {\"a\": null}], \"id\": %d}\r\n",
        "{\"return\": \"\\u00e9\", \"id\": %d}\r\n",
        "{\"return\": 18446744073709551615, \"id\": %d}\r\n",
        "{\"id\": %d, \"return\": null}\n",
    };
    server_welcome (server);
    for (guint i = 0; i < G_N_ELEMENTS (values); i++) {
        g_auto (Heard) heard = server_hear (server);
        g_assert_cmpstr (json_object_get_string_member (heard.arguments, "path"), ==, "/x");
        server_answer (server, &heard, values[i]);
    }
    server_hear_end (server);
}

static void
test_values (void)
{
    static const char *const expected[] = { "[1,{\"a\":null}]", "\"\xc3\xa9\"", "-1", "null" };
    g_autoptr (Server) server = server_new ();
    server_start (server, values_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_autoptr (JsonObject) arguments = json_object_new ();
    json_object_set_string_member (arguments, "path", "/x");
    for (guint i = 0; i < G_N_ELEMENTS (expected); i++) {
        g_autoptr (GError) error = NULL;
        g_autoptr (JsonNode) reply = gw_qmp_call (qmp, GW_QMP_QOM_GET, arguments, NULL, &error);
        g_assert_no_error (error);
        g_autofree char *text = json_to_string (reply, FALSE);
        g_assert_cmpstr (text, ==, expected[i]);
    }
}

static void
drip_script (Server *server)
{
    server_welcome (server);
    g_auto (Heard) heard = server_hear (server);
    g_autofree char *text =
        g_strdup_printf ("{\"event\": \"RESUME\"}\r\n{\"return\": {\"a\": \"}\\\"\"}, \"id\": %d}"
                         "\r\n{\"event\": \"STOP\"}\r\n", (int) heard.id);
    server_drip (server, text);
    server_hear_end (server);
}

static void
test_byte_by_byte (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, drip_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
}

static void
plain_refusal_script (Server *server)
{
    server_welcome (server);
    g_auto (Heard) first = server_hear (server);
    server_answer (server, &first, "{\"id\": %d, \"error\": {\"class\": \"DeviceNotActive\", "
                                   "\"desc\": \"no \\u001b[1m balloon\"}}\r\n");
    serve (server, "query-status");
    server_hear_end (server);
}

static void
test_refused_command (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, plain_refusal_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_autoptr (GError) error = NULL;
    g_assert_null (gw_qmp_call (qmp, GW_QMP_STOP, NULL, NULL, &error));
    assert_error (error, GW_CAUSE_QMP_COMMAND, "stop: DeviceNotActive: no \\x1b[1m balloon");
    g_prefix_error (&error, "source: ");
    g_assert_cmpstr (gw_qmp_get_error_class (error), ==, "DeviceNotActive");
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
}

static void
events_script (Server *server)
{
    server_welcome (server);
    serve (server, "query-name"); /* the client is ready to take events */
    server_say (server, "{\"event\": \"A\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}"
                        "\r\n");
    g_auto (Heard) heard = server_hear (server);
    server_say (server, "{\"event\": \"B\", \"data\": {\"x\": 1, \"y\": 2}}\r\n{\"return\": 1, "
                        "\"id\": 4711}\r\n{\"return\": 2}\r\n{\"return\": 3, \"id\": \"1\"}\r\n");
    server_answer (server, &heard, "{\"return\": {}, \"id\": %d}\r\n{\"event\": \"C\"}\r\n");
    server_hear_end (server);
}

static void
test_events (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, events_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_auto (Log) log;
    log_init (&log, qmp);
    assert_call_works (qmp, GW_QMP_QUERY_NAME);
    wait_for_log (&log, "A(0)");
    g_assert_cmpint (log.at_us, ==, 1000002);
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
    wait_for_log (&log, "A(0) B(2) C(0)");
    g_assert_cmpint (log.at_us, ==, 0);
}

static void
two_script (Server *server)
{
    server_welcome (server);
    g_auto (Heard) first = server_hear (server);
    g_auto (Heard) second = server_hear (server);
    g_auto (Heard) third = server_hear (server);
    g_assert_cmpstr (first.name, ==, "query-name");
    server_answer (server, &second, "{\"return\": \"second\", \"id\": %d}\r\n");
    server_answer (server, &third, "{\"return\": {}, \"id\": %d}\r\n");
    server_answer (server, &first, "{\"return\": \"first\", \"id\": %d}\r\n");
    server_hear_end (server);
}

static void
test_two_in_flight (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, two_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_auto (Log) log;
    log_init (&log, qmp);
    gw_qmp_send (qmp, GW_QMP_QUERY_NAME, NULL, log_reply, &log);
    gw_qmp_send (qmp, GW_QMP_QUERY_UUID, NULL, log_reply, &log);
    gw_qmp_send (qmp, GW_QMP_BLOCKDEV_SET_ACTIVE, NULL, log_reply, &log);
    g_assert_cmpstr (log.log->str, ==, ""); /* never from within gw_qmp_send() */
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
    wait_for_log (&log, "\"first\" ");
    g_assert_cmpstr (log.log->str, ==, "qemu-too-old \"second\" \"first\" ");
}

/* --- time limits, cancelling ----------------------------------------------------------------- */

static void
late_script (Server *server)
{
    server_welcome (server);
    g_auto (Heard) slow = server_hear (server);
    g_auto (Heard) next = server_hear (server);
    server_answer (server, &slow, "{\"return\": \"late\", \"id\": %d}\r\n");
    server_answer (server, &next, "{\"return\": {}, \"id\": %d}\r\n");
    serve (server, "query-status");
    server_hear_end (server);
}

static void
test_timeout (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, late_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    assert_call_fails (qmp, GW_QMP_QUERY_MIGRATE, 100, GW_CAUSE_QMP_TIMEOUT,
                       "query-migrate: QEMU gave no answer within 100 ms");
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
}

static void
test_cancelled (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, late_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (GError) error = NULL;
    g_timeout_add (50, cancel_it, cancellable);
    g_assert_null (gw_qmp_call (qmp, GW_QMP_STOP, NULL, cancellable, &error));
    assert_error (error, GW_CAUSE_ABORTED, "stop: ");
    g_clear_error (&error);
    g_assert_null (gw_qmp_call (qmp, GW_QMP_CONT, NULL, cancellable, &error));
    assert_error (error, GW_CAUSE_ABORTED, "cont: "); /* and it was not sent */
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
}

static void
window_script (Server *server)
{
    Heard heard[GW_QMP_WINDOW + 1];
    server_welcome (server);
    for (guint i = 0; i < GW_QMP_WINDOW; i++)
        heard[i] = server_hear (server);
    g_auto (Heard) yank = server_hear (server);
    g_assert_true (yank.is_oob);
    server_answer (server, &yank, "{\"return\": [], \"id\": %d}\r\n");
    g_assert_true (server_hears_nothing (server, 100));
    server_answer (server, &heard[0], "{\"return\": 0, \"id\": %d}\r\n");
    heard[GW_QMP_WINDOW] = server_hear (server);
    for (guint i = 1; i <= GW_QMP_WINDOW; i++) {
        server_answer (server, &heard[i], "{\"return\": 1, \"id\": %d}\r\n");
    }
    for (guint i = 0; i <= GW_QMP_WINDOW; i++)
        heard_clear (&heard[i]);
    serve (server, "query-status");
    server_hear_end (server);
}

static void
test_window (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, window_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_autoptr (GError) error = NULL;
    g_auto (Log) log;
    log_init (&log, qmp);
    for (guint i = 0; i < GW_QMP_WINDOW - 1; i++)
        assert_call_fails (qmp, GW_QMP_STOP, 1, GW_CAUSE_QMP_TIMEOUT, "no answer within 1 ms");
    gw_qmp_send (qmp, GW_QMP_STOP, NULL, log_reply, &log);
    gw_qmp_send (qmp, GW_QMP_CONT, NULL, log_reply, &log);
    assert_call_fails (qmp, GW_QMP_QUIT, 1, GW_CAUSE_QMP_TIMEOUT, "7 earlier commands");
    g_autoptr (JsonNode) reply = gw_qmp_call_oob (qmp, GW_QMP_QUERY_YANK, NULL, NULL, &error);
    g_assert_no_error (error);
    g_assert_true (JSON_NODE_HOLDS_ARRAY (reply));
    wait_for_log (&log, "1 1 ");
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
}

static void
deaf_script (Server *server)
{
    server_welcome (server);
    server_hear_end (server);
}

static void
test_queue_is_bounded (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, deaf_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    for (guint i = 0; i < GW_QMP_QUEUE_MAX; i++)
        gw_qmp_send (qmp, GW_QMP_STOP, NULL, NULL, NULL);
    assert_call_fails (qmp, GW_QMP_CONT, LIMIT_MS, GW_CAUSE_QMP_TIMEOUT,
                       "cont: not sent, because 256 earlier");
}

static void
plain_oob_script (Server *server)
{
    server_welcome (server);
    g_auto (Heard) heard = server_hear (server);
    g_assert_false (heard.is_oob); /* its row does not allow it */
    server_answer (server, &heard, "{\"return\": {}, \"id\": %d}\r\n");
    server_hear_end (server);
}

static void
test_oob_not_allowed (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, plain_oob_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_autoptr (JsonNode) reply = gw_qmp_call_oob (qmp, GW_QMP_STOP, NULL, NULL, NULL);
    g_assert_nonnull (reply);
}

static void
oob_window_script (Server *server)
{
    server_welcome (server);
    for (guint i = 0; i < GW_QMP_WINDOW + 1; i++)
        server_skip (server);
    serve (server, "query-status");
    server_hear_end (server);
}

static void
test_oob_takes_no_place (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, oob_window_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    for (guint i = 0; i < GW_QMP_WINDOW + 1; i++) {
        g_autoptr (GCancellable) cancellable = g_cancellable_new ();
        g_autoptr (GError) error = NULL;
        g_timeout_add (10, cancel_it, cancellable);
        g_assert_null (gw_qmp_call_oob (qmp, GW_QMP_YANK, NULL, cancellable, &error));
        assert_error (error, GW_CAUSE_ABORTED, "yank: ");
    }
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
}

/* Large enough that no socket buffer holds it. */
#define LARGE (8u << 20)

static void
large_script (Server *server)
{
    server_welcome (server);
    g_usleep (100000); /* the client fills the socket meanwhile */
    g_auto (Heard) heard = server_hear (server);
    g_assert_cmpint (strlen (json_object_get_string_member (heard.arguments, "x")), ==, LARGE);
    server_answer (server, &heard, "{\"return\": {}, \"id\": %d}\r\n");
    serve (server, "query-status");
    server_hear_end (server);
}

static void
test_large_command (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, large_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_autofree char *x = g_strnfill (LARGE, 'x');
    g_autoptr (JsonObject) arguments = json_object_new ();
    json_object_set_string_member (arguments, "x", x);
    g_auto (Log) log;
    log_init (&log, qmp);
    gw_qmp_send (qmp, GW_QMP_QOM_SET, arguments, log_reply, &log);
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
    g_assert_cmpstr (log.log->str, ==, "{} ");
}

static void
fd_script (Server *server)
{
    server_welcome (server);
    g_auto (Heard) heard = server_hear (server);
    g_auto (GwFd) fd = server_take_fd (server);
    g_assert_cmpint (write (fd, "x", 1), ==, 1);
    gw_fd_clear (&fd);
    server_answer (server, &heard, "{\"return\": {}, \"id\": %d}\r\n");
    serve (server, "query-status");
    g_assert_cmpint (server_take_fd (server), ==, -1);
    server_hear_end (server);
}

static void
test_fd (void)
{
    g_autoptr (Server) server = server_new ();
    g_autoptr (GError) error = NULL;
    int ends[2];
    char byte = 0;
    server_start (server, fd_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_assert_no_errno (pipe (ends));
    g_autoptr (JsonNode) reply = gw_qmp_call_fd (qmp, GW_QMP_GETFD, NULL, ends[1], NULL, &error);
    g_assert_no_error (error);
    g_assert_nonnull (reply);
    (void) close (ends[1]);
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
    g_assert_cmpint (read (ends[0], &byte, 1), ==, 1);
    g_assert_cmpint (read (ends[0], &byte, 1), ==, 0); /* nobody kept the other end */
    (void) close (ends[0]);
    g_assert_null (gw_qmp_call_fd (qmp, GW_QMP_GETFD, NULL, G_MAXINT, NULL, &error));
    assert_error (error, GW_CAUSE_HOST_IO, "getfd: cannot duplicate");
}

static void
large_fd_script (Server *server)
{
    server_welcome (server);
    g_usleep (100000); /* the client fills the socket meanwhile */
    serve (server, "add-fd");
    g_assert_cmpint (server_count_fds (server), ==, 1);
    server_hear_end (server);
}

static void
test_large_fd (void)
{
    g_autoptr (Server) server = server_new ();
    g_autoptr (GError) error = NULL;
    server_start (server, large_fd_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_autofree char *x = g_strnfill (LARGE, 'x');
    g_autoptr (JsonObject) arguments = json_object_new ();
    json_object_set_string_member (arguments, "opaque", x);
    g_autoptr (JsonNode) reply =
        gw_qmp_call_fd (qmp, GW_QMP_ADD_FD, arguments, STDIN_FILENO, NULL, &error);
    g_assert_no_error (error);
    g_assert_nonnull (reply);
}

static const struct {
    const char *path;
    GTestFunc fn;
} tests[] = {
    { "/qmp/call/values", test_values },
    { "/qmp/call/byte-by-byte", test_byte_by_byte },
    { "/qmp/call/refused", test_refused_command },
    { "/qmp/call/events", test_events },
    { "/qmp/call/two-in-flight", test_two_in_flight },
    { "/qmp/call/timeout", test_timeout },
    { "/qmp/call/cancelled", test_cancelled },
    { "/qmp/call/window", test_window },
    { "/qmp/call/queue-is-bounded", test_queue_is_bounded },
    { "/qmp/call/oob-not-allowed", test_oob_not_allowed },
    { "/qmp/call/oob-takes-no-place", test_oob_takes_no_place },
    { "/qmp/call/large-command", test_large_command },
    { "/qmp/call/fd", test_fd },
    { "/qmp/call/large-fd", test_large_fd },
};

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (tests); i++)
        g_test_add_func (tests[i].path, tests[i].fn);
    return g_test_run ();
}
