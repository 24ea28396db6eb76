/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connecting to a stand-in that greets, negotiates or fails to in every way there is. */
#include "test-qmp-client.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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
};

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (tests); i++)
        g_test_add_func (tests[i].path, tests[i].fn);
    return g_test_run ();
}
