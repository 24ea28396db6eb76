/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The QMP client against a stand-in that says what no QEMU would: every error and every order. */
#include "base.h"
#include "test-qmp-server.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifndef HAS_ASAN
#define HAS_ASAN 0
#endif

#define LIMIT_MS 20000

static GwQmp *
connect_to (Server *server)
{
    g_autoptr (GError) error = NULL;
    GwQmp *qmp = gw_qmp_connect (server_path (server), NULL, LIMIT_MS, NULL, &error);
    g_assert_no_error (error);
    g_assert_true (gw_qmp_is_open (qmp));
    return qmp;
}

static void
assert_error (GError *error, GwCause cause, const char *part)
{
    g_assert_nonnull (error);
    g_test_message ("%s", error->message);
    g_assert_cmpint (gw_error_get_cause (error), ==, cause);
    if (strstr (error->message, part) == NULL)
        g_error ("'%s' is not in '%s'", part, error->message);
}

/* Connecting fails so. */
static void
assert_no_connection (const char *path, guint timeout_ms, GwCause cause, const char *part)
{
    g_autoptr (GError) error = NULL;
    gint64 begin_us = g_get_monotonic_time ();
    g_assert_null (gw_qmp_connect (path, NULL, timeout_ms, NULL, &error));
    assert_error (error, cause, part);
    g_assert_cmpint (g_get_monotonic_time () - begin_us, <, 10 * G_USEC_PER_SEC);
}

/* A call fails so. */
static void
assert_call_fails (GwQmp *qmp, GwQmpCommand command, guint timeout_ms, GwCause cause,
                   const char *part)
{
    g_autoptr (GError) error = NULL;
    g_assert_null (gw_qmp_call_timeout (qmp, command, NULL, timeout_ms, NULL, &error));
    assert_error (error, cause, part);
}

static void
assert_call_works (GwQmp *qmp, GwQmpCommand command)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonNode) reply = gw_qmp_call_timeout (qmp, command, NULL, LIMIT_MS, NULL, &error);
    g_assert_no_error (error);
    g_assert_true (JSON_NODE_HOLDS_OBJECT (reply));
}

/* Hears one command and answers it with an empty object. */
static void
serve (Server *server, const char *name)
{
    g_auto (Heard) heard = server_hear (server);
    g_assert_cmpstr (heard.name, ==, name);
    server_answer (server, &heard, "{\"return\": {}, \"id\": %d}\r\n");
}

/* --- connecting ------------------------------------------------------------------------------ */

static void
test_no_path (void)
{
    g_autofree char *longest = g_strnfill (200, 'x');
    assert_no_connection ("/nonexistent/qmp", 1000, GW_CAUSE_QMP_CONNECT, "'/nonexistent/qmp'");
    assert_no_connection ("/dev/null", 1000, GW_CAUSE_QMP_CONNECT, "not a socket");
    assert_no_connection (longest, 1000, GW_CAUSE_QMP_CONNECT, "too long");
}

static void
test_refused (void)
{
    g_autoptr (Server) server = server_new ();
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strcpy (address.sun_path, server_path (server));
    g_auto (GwFd) fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_no_errno (bind (fd, (struct sockaddr *) &address, sizeof address));
    assert_no_connection (server_path (server), 1000, GW_CAUSE_QMP_CONNECT, "refused");
}

static void
test_busy (void)
{
    g_autoptr (Server) server = server_new ();
    server_listen (server, 4);
    g_autofree char *pid = g_strdup_printf ("process %d", (int) getpid ());
    assert_no_connection (server_path (server), 200, GW_CAUSE_QMP_BUSY, pid);
}

static void
test_busy_in_time (void)
{
    g_autoptr (Server) server = server_new ();
    server_listen (server, 4);
    gint64 begin_us = g_get_monotonic_time ();
    assert_no_connection (server_path (server), 60000, GW_CAUSE_QMP_BUSY, "no greeting");
    g_assert_cmpint (g_get_monotonic_time () - begin_us, >=, GW_QMP_GREETING_MS * 1000);
}

static void
test_busy_queue (void)
{
    g_autoptr (Server) server = server_new ();
    server_listen (server, 0);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strcpy (address.sun_path, server_path (server));
    g_auto (GwFd) first = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    g_assert_no_errno (connect (first, (struct sockaddr *) &address, sizeof address));
    assert_no_connection (server_path (server), 200, GW_CAUSE_QMP_BUSY, "another client");
}

static void
hmp_script (Server *server)
{
    server_say (server, "QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ");
    server_hear_end (server);
}

static void
other_json_script (Server *server)
{
    server_say (server, "{\"jsonrpc\": \"2.0\"}\r\n");
    server_hear_end (server);
}

static void
event_first_script (Server *server)
{
    server_say (server, "{\"event\": \"STOP\"}\r\n");
    server_hear_end (server);
}

static void
half_greeting_script (Server *server)
{
    server_say (server, "{\"QMP\": {\"version\"");
    server_hear_end (server);
}

static void
cut_greeting_script (Server *server)
{
    server_say (server, "{\"QMP\": \x1b");
}

static void
endless_greeting_script (Server *server)
{
    g_autofree char *text = g_strnfill (70000, 'x');
    server_say (server, "{\"QMP\": \"");
    server_say (server, text);
    server_hear_end (server);
}

static void
silent_end_script (Server *server)
{
}

static void
test_not_qmp (void)
{
    static const struct {
        ServerScript script;
        GwCause cause;
        const char *part;
    } rows[] = {
        { hmp_script, GW_CAUSE_QMP_NOT_QMP, "'QEMU 7.2.22 monitor" },
        { other_json_script, GW_CAUSE_QMP_NOT_QMP, "jsonrpc" },
        { event_first_script, GW_CAUSE_QMP_NOT_QMP, "STOP" },
        { half_greeting_script, GW_CAUSE_QMP_NOT_QMP, "{\"QMP\": {\"version\"" },
        { cut_greeting_script, GW_CAUSE_QMP_NOT_QMP, "\\x1b" },
        { endless_greeting_script, GW_CAUSE_QMP_NOT_QMP, "{\"QMP\": \"xxx" },
        { silent_end_script, GW_CAUSE_QMP_CONNECT, "without a greeting" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (Server) server = server_new ();
        server_start (server, rows[i].script);
        assert_no_connection (server_path (server), 500, rows[i].cause, rows[i].part);
    }
}

static gboolean
cancel_it (gpointer user_data)
{
    g_cancellable_cancel (user_data);
    return G_SOURCE_REMOVE;
}

static void
test_connect_cancelled (void)
{
    g_autoptr (Server) server = server_new ();
    server_listen (server, 4);
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (GError) error = NULL;
    g_timeout_add (50, cancel_it, cancellable);
    g_assert_null (gw_qmp_connect (server_path (server), NULL, LIMIT_MS, cancellable, &error));
    assert_error (error, GW_CAUSE_ABORTED, server_path (server));
}

static void
refusing_script (Server *server)
{
    server_say (server, server_greeting);
    g_auto (Heard) heard = server_hear (server);
    server_answer (server, &heard,
                   "{\"id\": %d, \"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\r\n");
}

static void
leaving_script (Server *server)
{
    server_say (server, server_greeting);
    server_skip (server);
}

static void
mute_script (Server *server)
{
    server_say (server, server_greeting);
    server_hear_end (server);
}

static void
test_no_negotiation (void)
{
    static const struct {
        ServerScript script;
        GwCause cause;
        const char *part;
    } rows[] = {
        { refusing_script, GW_CAUSE_QMP_COMMAND, "qmp_capabilities: GenericError: no" },
        { leaving_script, GW_CAUSE_QMP_GONE, "qmp_capabilities: " },
        { mute_script, GW_CAUSE_QMP_TIMEOUT, "qmp_capabilities: " },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (Server) server = server_new ();
        server_start (server, rows[i].script);
        assert_no_connection (server_path (server), 500, rows[i].cause, rows[i].part);
    }
}

static void
ready_script (Server *server)
{
    server_drip (server, server_greeting);
    g_auto (Heard) heard = server_hear (server);
    JsonArray *enable = json_object_get_array_member (heard.arguments, "enable");
    g_assert_cmpstr (json_array_get_string_element (enable, 0), ==, "oob");
    server_answer (server, &heard, "{\"return\": {}, \"id\": %d}\r\n");
    server_hear_end (server);
}

static void
test_ready (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, ready_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_assert_cmpint (gw_qmp_get_peer_pid (qmp), ==, getpid ());
    g_assert_cmpint (gw_qmp_get_peer_uid (qmp), ==, getuid ());
    g_assert_cmpstr (gw_qmp_get_path (qmp), ==, server_path (server));
    g_assert_cmpint (gw_qmp_get_version (qmp)->micro, ==, 22);
    g_assert_cmpstr (gw_qmp_get_version (qmp)->package, ==, "Debian 1:7.2");
    g_assert_true (gw_qmp_has_version (qmp, 7, 2) && gw_qmp_has_version (qmp, 6, 9));
    g_assert_false (gw_qmp_has_version (qmp, 7, 3) || gw_qmp_has_version (qmp, 8, 0));
    g_assert_true (gw_qmp_has_command (qmp, GW_QMP_YANK));
    g_assert_false (gw_qmp_has_command (qmp, GW_QMP_BLOCKDEV_SET_ACTIVE));
    g_assert_true (gw_qmp_has_oob (qmp));
}

static void
old_script (Server *server)
{
    server_say (server, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 11, "
                        "\"major\": 2}}, \"capabilities\": []}}\r\n");
    g_auto (Heard) heard = server_hear (server);
    g_assert_null (heard.arguments);
    server_answer (server, &heard, "{\"return\": {}, \"id\": %d}\r\n");
    server_hear_end (server);
}

static void
test_old (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, old_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_assert_false (gw_qmp_has_oob (qmp));
    assert_call_fails (qmp, GW_QMP_QUERY_JOBS, 1000, GW_CAUSE_QEMU_TOO_OLD,
                       "query-jobs: needs QEMU 3.0");
    assert_call_fails (qmp, GW_QMP_YANK, 1000, GW_CAUSE_QEMU_TOO_OLD, "2.11.0");
    g_assert_true (gw_qmp_is_open (qmp));
}

static void
one_call_script (Server *server)
{
    server_welcome (server);
    serve (server, "query-status");
    server_hear_end (server);
}

static void
test_own_connection (void)
{
    g_autoptr (Server) server = server_new ();
    g_autoptr (GError) error = NULL;
    server_start (server, one_call_script);
    g_autoptr (GSocketAddress) address = g_unix_socket_address_new (server_path (server));
    g_autoptr (GSocketClient) client = g_socket_client_new ();
    g_autoptr (GSocketConnection) connection =
        g_socket_client_connect (client, G_SOCKET_CONNECTABLE (address), NULL, &error);
    g_assert_no_error (error);
    g_autoptr (GwQmp) qmp = gw_qmp_new_for_connection (connection, NULL, LIMIT_MS, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (gw_qmp_get_path (qmp), ==, server_path (server));
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
}

static gpointer
call_in_thread (gpointer data)
{
    g_autoptr (GMainContext) context = g_main_context_new ();
    g_autoptr (GwQmp) qmp = gw_qmp_connect (server_path (data), context, LIMIT_MS, NULL, NULL);
    g_assert_nonnull (qmp);
    assert_call_works (qmp, GW_QMP_QUERY_STATUS);
    return NULL;
}

static void
test_own_context (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, one_call_script);
    g_thread_join (g_thread_new ("caller", call_in_thread, server));
}

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

typedef struct {
    GString *log;
    gint64 at_us;
    GwQmp *qmp; /* freed by the callback when set */
} Log;

static void
log_event (const char *event, JsonObject *data, gint64 at_us, gpointer user_data)
{
    Log *log = user_data;
    g_string_append_printf (log->log, "%s(%u) ", event, json_object_get_size (data));
    log->at_us = at_us;
    g_clear_pointer (&log->qmp, gw_qmp_free);
}

static void
log_reply (JsonNode *reply, const GError *error, gpointer user_data)
{
    Log *log = user_data;
    g_assert_true ((reply == NULL) == (error != NULL));
    g_autofree char *text = reply != NULL ? json_to_string (reply, FALSE) : NULL;
    const char *code = gw_cause_get_info (gw_error_get_cause (error))->code;
    g_string_append_printf (log->log, "%s ", reply != NULL ? text : code);
    g_clear_pointer (&log->qmp, gw_qmp_free);
}

static void
log_closed (const GError *why, gpointer user_data)
{
    Log *log = user_data;
    g_string_append_printf (log->log, "closed:%s ",
                            gw_cause_get_info (gw_error_get_cause (why))->code);
    g_clear_pointer (&log->qmp, gw_qmp_free);
}

static gboolean
log_has (gpointer user_data)
{
    const gpointer *pair = user_data;
    return strstr (((Log *) pair[0])->log->str, pair[1]) != NULL;
}

static void
wait_for_log (Log *log, const char *part)
{
    g_autoptr (GError) error = NULL;
    gpointer pair[] = { log, (gpointer) part };
    if (!gw_wait_until (NULL, log_has, pair, gw_deadline_ms (LIMIT_MS), NULL, &error))
        g_error ("'%s' did not come: '%s'", part, log->log->str);
}

static void
log_init (Log *log, GwQmp *qmp)
{
    *log = (Log) { .log = g_string_new (NULL) };
    gw_qmp_set_event_fn (qmp, log_event, log);
    gw_qmp_set_closed_fn (qmp, log_closed, log);
}

static void
log_clear (Log *log)
{
    g_string_free (log->log, TRUE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Log, log_clear)

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

/* --- the end of the connection --------------------------------------------------------------- */

static void
gone_script (Server *server)
{
    server_welcome (server);
    server_skip (server);
    server_say (server, "{\"event\": \"SHUTDOWN\"}\r\n{\"ret");
}

static void
test_gone (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, gone_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_auto (Log) log;
    log_init (&log, qmp);
    gw_qmp_send (qmp, GW_QMP_QUERY_NAME, NULL, log_reply, &log);
    assert_call_fails (qmp, GW_QMP_MIGRATE, LIMIT_MS, GW_CAUSE_QMP_GONE, "migrate: ");
    wait_for_log (&log, "closed");
    g_assert_cmpstr (log.log->str, ==, "SHUTDOWN(0) qmp-gone closed:qmp-gone ");
    g_assert_false (gw_qmp_is_open (qmp));
    assert_call_fails (qmp, GW_QMP_STOP, LIMIT_MS, GW_CAUSE_QMP_GONE, "stop: ");
    gw_qmp_send (qmp, GW_QMP_CONT, NULL, log_reply, &log);
    wait_for_log (&log, "closed:qmp-gone qmp-gone ");
}

static void
test_closed_is_told_late (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, gone_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    assert_call_fails (qmp, GW_QMP_MIGRATE, LIMIT_MS, GW_CAUSE_QMP_GONE, "migrate: ");
    g_auto (Log) log;
    log_init (&log, qmp); /* only now does anybody want to know */
    wait_for_log (&log, "closed:qmp-gone");
}

static void
test_quit (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, gone_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    g_auto (Log) log;
    log_init (&log, qmp);
    assert_call_works (qmp, GW_QMP_QUIT);
    assert_call_fails (qmp, GW_QMP_QUIT, LIMIT_MS, GW_CAUSE_QMP_GONE, "quit: ");
    wait_for_log (&log, "closed:qmp-gone");
}

/* What is said after one command was heard. */
static const char *bad_text;

static void
bad_script (Server *server)
{
    server_welcome (server);
    server_skip (server);
    server_say (server, bad_text);
    server_hear_end (server);
}

static void
test_invalid (void)
{
    GString *deep = g_string_new ("{\"return\": ");
    for (guint i = 0; i < 100000; i++)
        g_string_append (deep, "[");
    const struct {
        const char *text, *part;
    } rows[] = {
        { "{\"return\": {\"a\": tru}, \"id\": 2}\r\n", "invalid: 1:20: " },
        { "{\"return\": }\r\n", "invalid" },
        { "{\"return\": {\r\n", "at byte 12" },
        { "warning: no\r\n{\"return\": {}}\r\n", "'warning: no" },
        { "{\"id\": 2}\r\n", "none of QMP's: '{\"id\": 2}'" },
        { "{\"error\": 1, \"id\": 2}\r\n", "no class" },
        { "{\"event\": [], \"id\": 2}\r\n", "event has no name" },
        { deep->str, "nested too deep" },
        { server_greeting, "second time" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (Server) server = server_new ();
        bad_text = rows[i].text;
        server_start (server, bad_script);
        g_autoptr (GwQmp) qmp = connect_to (server);
        assert_call_fails (qmp, GW_QMP_QUERY_PCI, LIMIT_MS, GW_CAUSE_QMP_INVALID, rows[i].part);
        assert_call_fails (qmp, GW_QMP_STOP, LIMIT_MS, GW_CAUSE_QMP_INVALID, "stop: ");
        g_assert_false (gw_qmp_is_open (qmp));
    }
    g_string_free (deep, TRUE);
}

static void
say_large (Server *server, gsize megabytes)
{
    g_autofree char *piece = g_strnfill (1 << 20, 'x');
    for (gsize i = 0; i < megabytes; i++)
        server_say (server, piece);
}

static void
too_big_script (Server *server)
{
    server_welcome (server);
    g_auto (Heard) heard = server_hear (server);
    server_say (server, "{\"return\": \"");
    say_large (server, 100);
    server_answer (server, &heard, "\", \"id\": %d}\r\n");
}

static glong
peak_kib (void)
{
    struct rusage usage;
    g_assert_no_errno (getrusage (RUSAGE_SELF, &usage));
    return usage.ru_maxrss;
}

static void
test_too_big (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, too_big_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    glong before = peak_kib ();
    assert_call_fails (qmp, GW_QMP_QUERY_PCI, LIMIT_MS, GW_CAUSE_QMP_TOO_BIG, "67108864 bytes");
    glong more = peak_kib () - before;
    g_test_message ("%ld KiB more", more);
    if (!HAS_ASAN)
        g_assert_cmpint (more, <, 80 << 10);
}

static void
just_fits_script (Server *server)
{
    server_welcome (server);
    g_auto (Heard) heard = server_hear (server);
    server_say (server, "{\"return\": {\"x\": \"");
    say_large (server, 50);
    server_answer (server, &heard, "\"}, \"id\": %d}\r\n");
    server_hear_end (server);
}

static void
test_50_mb (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, just_fits_script);
    g_autoptr (GwQmp) qmp = connect_to (server);
    gint64 begin_us = g_get_monotonic_time ();
    assert_call_works (qmp, GW_QMP_QUERY_PCI);
    g_test_message ("%.2f s", (double) (g_get_monotonic_time () - begin_us) / 1e6);
}

/* --- freeing --------------------------------------------------------------------------------- */

static void
free_script (Server *server)
{
    server_welcome (server);
    g_auto (Heard) heard = server_hear (server);
    server_say (server, "{\"event\": \"A\"}\r\n{\"event\": \"B\"}\r\n");
    server_answer (server, &heard, "{\"return\": 1, \"id\": %d}\r\n{\"event\": \"C\"}\r\n");
}

static void
test_free_in_event (void)
{
    g_autoptr (Server) server = server_new ();
    g_autoptr (GError) error = NULL;
    server_start (server, free_script);
    GwQmp *qmp = connect_to (server);
    g_auto (Log) log;
    log_init (&log, qmp);
    log.qmp = qmp;
    g_assert_null (gw_qmp_call (qmp, GW_QMP_STOP, NULL, NULL, &error));
    assert_error (error, GW_CAUSE_ABORTED, "stop: ");
    g_assert_cmpstr (log.log->str, ==, "A(0) ");
}

static void
test_free_in_reply (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, free_script);
    GwQmp *qmp = connect_to (server);
    g_auto (Log) log = { .log = g_string_new (NULL), .qmp = qmp };
    gw_qmp_send (qmp, GW_QMP_STOP, NULL, log_reply, &log);
    gw_qmp_send (qmp, GW_QMP_CONT, NULL, log_reply, &log);
    wait_for_log (&log, "aborted");
    g_assert_cmpstr (log.log->str, ==, "1 aborted ");
}

static void
test_free_in_closed (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, gone_script);
    GwQmp *qmp = connect_to (server);
    g_auto (Log) log;
    log_init (&log, qmp);
    gw_qmp_send (qmp, GW_QMP_STOP, NULL, NULL, NULL);
    gw_qmp_set_event_fn (qmp, NULL, NULL);
    log.qmp = qmp;
    wait_for_log (&log, "closed");
    g_assert_cmpstr (log.log->str, ==, "closed:qmp-gone ");
}

static void
test_free_in_failure (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, gone_script);
    GwQmp *qmp = connect_to (server);
    g_auto (Log) log;
    log_init (&log, qmp);
    gw_qmp_set_event_fn (qmp, NULL, NULL);
    gw_qmp_send (qmp, GW_QMP_STOP, NULL, log_reply, &log);
    gw_qmp_send (qmp, GW_QMP_CONT, NULL, log_reply, &log);
    log.qmp = qmp;
    wait_for_log (&log, "qmp-gone qmp-gone");
    g_assert_null (strstr (log.log->str, "closed"));
}

static void
test_free_tells (void)
{
    g_autoptr (Server) server = server_new ();
    server_start (server, deaf_script);
    GwQmp *qmp = connect_to (server);
    g_auto (Log) log;
    log_init (&log, qmp);
    for (guint i = 0; i < GW_QMP_WINDOW + 2; i++)
        gw_qmp_send (qmp, GW_QMP_QUIT, NULL, log_reply, &log);
    gw_qmp_send (qmp, GW_QMP_BLOCKDEV_SET_ACTIVE, NULL, log_reply, &log);
    gw_qmp_free (qmp);
    g_assert_cmpstr (log.log->str, ==,
                     "qemu-too-old aborted aborted aborted aborted aborted aborted aborted aborted "
                     "aborted ");
    gw_qmp_free (NULL);
}

static void
call_again (const char *event, JsonObject *data, gint64 at_us, gpointer user_data)
{
    (void) gw_qmp_call (user_data, GW_QMP_STOP, NULL, NULL, NULL); /* does not return */
}

static void
test_no_call_in_callback (void)
{
    if (g_test_subprocess ()) {
        g_autoptr (Server) server = server_new ();
        server_start (server, events_script);
        g_autoptr (GwQmp) qmp = connect_to (server);
        gw_qmp_set_event_fn (qmp, call_again, qmp);
        assert_call_works (qmp, GW_QMP_QUERY_NAME);
        gw_wait_ms (NULL, 5000, NULL, NULL);
        return;
    }
    g_test_trap_subprocess (NULL, 0, 0);
    g_test_trap_assert_failed ();
    g_test_trap_assert_stderr ("*n_callbacks*");
}

static const struct {
    const char *path;
    GTestFunc fn;
} tests[] = {
    { "/qmp/connect/no-path", test_no_path },
    { "/qmp/connect/refused", test_refused },
    { "/qmp/connect/busy", test_busy },
    { "/qmp/connect/busy-in-time", test_busy_in_time },
    { "/qmp/connect/busy-queue", test_busy_queue },
    { "/qmp/connect/not-qmp", test_not_qmp },
    { "/qmp/connect/cancelled", test_connect_cancelled },
    { "/qmp/connect/no-negotiation", test_no_negotiation },
    { "/qmp/connect/ready", test_ready },
    { "/qmp/connect/old", test_old },
    { "/qmp/connect/own-connection", test_own_connection },
    { "/qmp/connect/own-context", test_own_context },
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
    { "/qmp/call/large-command", test_large_command },
    { "/qmp/call/fd", test_fd },
    { "/qmp/end/gone", test_gone },
    { "/qmp/end/closed-is-told-late", test_closed_is_told_late },
    { "/qmp/end/quit", test_quit },
    { "/qmp/end/invalid", test_invalid },
    { "/qmp/end/too-big", test_too_big },
    { "/qmp/end/50-mb", test_50_mb },
    { "/qmp/free/in-event", test_free_in_event },
    { "/qmp/free/in-reply", test_free_in_reply },
    { "/qmp/free/in-closed", test_free_in_closed },
    { "/qmp/free/in-failure", test_free_in_failure },
    { "/qmp/free/tells", test_free_tells },
    { "/qmp/free/no-call-in-callback", test_no_call_in_callback },
};

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (tests); i++)
        g_test_add_func (tests[i].path, tests[i].fn);
    return g_test_run ();
}
