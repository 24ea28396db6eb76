/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a connection to a stand-in: gone, invalid, too big, given up inside a callback. */
#include "test-qmp-client.h"

#include <string.h>
#include <sys/resource.h>

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
    gw_wait_ms (NULL, 20, NULL, NULL); /* nothing comes twice */
    g_assert_cmpstr (log.log->str, ==,
                     "SHUTDOWN(0) qmp-gone closed:qmp-gone qmp-gone ");
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
deaf_script (Server *server)
{
    server_welcome (server);
    server_hear_end (server);
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
        server_start (server, free_script);
        g_autoptr (GwQmp) qmp = connect_to (server);
        server_hide (server);
        gw_qmp_set_event_fn (qmp, call_again, qmp);
        gw_qmp_send (qmp, GW_QMP_CONT, NULL, NULL, NULL);
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
