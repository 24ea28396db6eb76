/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-courier and its agent: what it tells, and what it does when the agent goes. */
#include "test-courier-rig.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB ((gsize) 1 << 20)

static gint64
number_after (const char *json, const char *key)
{
    const char *at = strstr (json, key);
    g_assert_nonnull (at);
    return g_ascii_strtoll (at + strlen (key), NULL, 10);
}

static void
test_stats_and_probe (void)
{
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    g_thread_join (rig_write (a, 1, 123456, FALSE));
    g_assert_cmpuint (rig_read (b, 1, 123456), ==, 123456);
    rig_command (&rig.source, "probe");
    g_autofree char *probe = rig_expect (&rig.source, "\"event\":\"probe\"");
    g_assert_cmpint (number_after (probe, "\"rtt_us\":"), >, 0);
    rig_command (&rig.source, "stats");
    rig_command (&rig.destination, "stats");
    g_autofree char *out = rig_expect (&rig.source, "\"event\":\"stats\"");
    g_autofree char *in = rig_expect (&rig.destination, "\"event\":\"stats\"");
    g_assert_cmpint (number_after (out, "\"ram\":{\"out_bytes\":"), ==, 123456);
    g_assert_cmpint (number_after (in, "\"in_bytes\":"), ==, 123456);
    g_assert_cmpint (number_after (in, "\"queued_bytes\":"), ==, 0);
    g_assert_cmpint (number_after (out, "\"wire_out_bytes\":"), >, 123456);
    g_assert_cmpint (number_after (out, "\"wire_out_bytes\":"), <, 140000);
    rig_command (&rig.source, "dance");
    rig_hear (&rig.source, "\"event\":\"unknown-command\",\"command\":\"dance\"");
    rig_close (&rig, a, b);
}

/* How the agent ends a courier, and what the other one says then. */
static void
test_agent_ends (gconstpointer data)
{
    int how = GPOINTER_TO_INT (data);
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    if (how == 0)
        rig_command (&rig.source, "quit");
    else if (how == 1)
        gw_fd_clear (&rig.source.control);
    else if (how == 2)
        g_assert_cmpint (kill (rig.source.pid, SIGTERM), ==, 0);
    else
        g_assert_cmpint (send (rig.source.control, "{]\n", 3, 0), ==, 3);
    g_assert_cmpint (rig_wait (&rig.source), ==, how == 0 ? 0 : 3);
    rig_expect_failed (&rig.destination, "link-lost");
    rig_expect_closed (a);
    rig_expect_closed (b);
    g_assert_false (g_file_test (rig.path[0], G_FILE_TEST_EXISTS));
    rig_close (&rig, a, b);
}

/* Gives the source's courier a lease; returns the path at which its next agent finds it. */
static char *
lease (Rig *rig, guint seconds)
{
    char *path = g_build_filename (rig->dir, "lease.sock", NULL);
    g_autofree char *line = g_strdup_printf ("{\"command\":\"lease\",\"seconds\":%u}\n", seconds);
    g_auto (GwFd) listener = rig_listen_unix (path);
    union {
        char bytes[CMSG_SPACE (sizeof (int))];
        struct cmsghdr align;
    } extra = { 0 };
    struct iovec piece = { line, strlen (line) };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = extra.bytes,
                              .msg_controllen = sizeof extra.bytes };
    struct cmsghdr *head = CMSG_FIRSTHDR (&message);
    *head = (struct cmsghdr) { CMSG_LEN (sizeof (int)), SOL_SOCKET, SCM_RIGHTS };
    memcpy (CMSG_DATA (head), &listener, sizeof (int));
    g_assert_cmpint (sendmsg (rig->source.control, &message, MSG_NOSIGNAL), ==, (gssize) strlen (line));
    rig_hear (&rig->source, "\"event\":\"leased\"");
    return path;
}

/* Bytes flow on, what the courier says is kept, and the next agent is obeyed; a second one waits its turn. */
static void
test_lease (void)
{
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    g_autofree char *path = lease (&rig, 60);
    gw_fd_clear (&rig.source.control);
    GThread *writer = rig_write (a, 1, 20 * MIB, FALSE);
    g_assert_cmpuint (rig_read (b, 1, 20 * MIB), ==, 20 * MIB);
    g_thread_join (writer);
    g_assert_cmpint (kill (rig.destination.pid, SIGKILL), ==, 0); /* the source has something to say */
    g_assert_cmpint (rig_wait (&rig.destination), ==, 128 + SIGKILL);
    g_usleep (300000);
    rig.source.control = rig_connect_unix (path);
    rig_hear (&rig.source, "\"event\":\"outage\"");
    rig_command (&rig.source, "quit");
    g_assert_cmpint (rig_wait (&rig.source), ==, 0);
    (void) unlink (path);
    rig_close (&rig, a, b);
}

static void
test_next_agent (void)
{
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    g_autofree char *path = lease (&rig, 60);
    for (guint i = 0; i < 3; i++) {
        gw_fd_clear (&rig.source.control);
        rig.source.control = rig_connect_unix (path);
        rig_command (&rig.source, "stats");
        rig_hear (&rig.source, "\"event\":\"stats\"");
    }
    g_auto (GwFd) second = rig_connect_unix (path);
    g_assert_cmpint (send (second, "{\"command\":\"quit\"}\n", 19, MSG_NOSIGNAL), ==, 19);
    rig_command (&rig.source, "stats"); /* it was not heard */
    rig_hear (&rig.source, "\"event\":\"stats\"");
    gw_fd_clear (&rig.source.control);
    g_assert_cmpint (rig_wait (&rig.source), ==, 0);
    (void) unlink (path);
    rig_close (&rig, a, b);
}

static void
test_lease_runs_out (void)
{
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    g_autofree char *path = lease (&rig, 1);
    gint64 before_us = g_get_monotonic_time ();
    gw_fd_clear (&rig.source.control);
    g_assert_cmpint (rig_wait (&rig.source), ==, 3);
    g_assert_cmpint (g_get_monotonic_time () - before_us, >, G_USEC_PER_SEC / 2);
    rig_expect_failed (&rig.destination, "link-lost");
    rig_expect_closed (a);
    (void) unlink (path);
    rig_close (&rig, a, b);
}

/* What is on its way to a courier that quits must not keep its good-bye from arriving. */
static void
test_quits_while_it_receives (void)
{
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    GThread *writer = rig_write (b, 1, 400 * MIB, FALSE);
    GThread *reader = rig_read_thread (a, 1);
    g_usleep (100000);
    rig_command (&rig.source, "quit");
    g_assert_cmpint (rig_wait (&rig.source), ==, 0);
    rig_expect_failed (&rig.destination, "link-lost");
    g_assert_cmpuint (GPOINTER_TO_SIZE (g_thread_join (writer)), <, 400 * MIB);
    g_assert_cmpuint (GPOINTER_TO_SIZE (g_thread_join (reader)), <, 400 * MIB);
    rig_close (&rig, a, b);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/courier/stats-and-probe", test_stats_and_probe);
    g_test_add_data_func ("/courier/agent/quit", GINT_TO_POINTER (0), test_agent_ends);
    g_test_add_data_func ("/courier/agent/gone", GINT_TO_POINTER (1), test_agent_ends);
    g_test_add_data_func ("/courier/agent/sigterm", GINT_TO_POINTER (2), test_agent_ends);
    g_test_add_data_func ("/courier/agent/garbage", GINT_TO_POINTER (3), test_agent_ends);
    g_test_add_func ("/courier/lease", test_lease);
    g_test_add_func ("/courier/lease-next-agent", test_next_agent);
    g_test_add_func ("/courier/lease-runs-out", test_lease_runs_out);
    g_test_add_func ("/courier/agent/quit-while-receiving", test_quits_while_it_receives);
    return g_test_run ();
}
