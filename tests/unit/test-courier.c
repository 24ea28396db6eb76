/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-courier as a process: what it carries, how it ends, what it refuses. */
#include "test-courier-rig.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECRET "0123456789abcdef0123456789abcdef"
#define MIB ((gsize) 1 << 20)

/* --- carrying ------------------------------------------------------------------------------------ */

/* Both directions at once, each with its own end. */
static void
test_both_ways (void)
{
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    GThread *out = rig_write (a, 1, 30 * MIB + 1, TRUE);
    GThread *back = rig_write (b, 2, 20 * MIB + 7, TRUE);
    GThread *read_back = rig_read_thread (a, 2);
    g_assert_cmpuint (rig_read (b, 1, G_MAXSIZE), ==, 30 * MIB + 1);
    g_assert_cmpuint (GPOINTER_TO_SIZE (g_thread_join (read_back)), ==, 20 * MIB + 7);
    g_thread_join (out);
    g_thread_join (back);
    rig_hear (&rig.source, "\"event\":\"lane-open\",\"lane\":\"ram\",\"direction\":\"out\"");
    rig_hear (&rig.destination, "\"event\":\"lane-open\",\"lane\":\"ram\",\"direction\":\"in\"");
    for (int i = 0; i < 2; i++) {
        RigSide *side = i == 0 ? &rig.source : &rig.destination;
        rig_hear (side, "\"event\":\"lane-eof\",\"lane\":\"ram\",\"direction\":\"out\"");
        rig_hear (side, "\"event\":\"lane-eof\",\"lane\":\"ram\",\"direction\":\"in\"");
    }
    rig_expect_done (&rig);
    g_assert_false (g_file_test (rig.path[0], G_FILE_TEST_EXISTS));
    rig_close (&rig, a, b);
}

/* Either end may shut its direction down first; the other direction goes on. */
static void
test_half_close (gconstpointer data)
{
    gboolean source_first = GPOINTER_TO_INT (data);
    Rig rig;
    int fds[2];
    rig_init (&rig);
    rig_start_both (&rig);
    rig_open_lane (&rig, &fds[0], &fds[1]);
    int first = fds[!source_first], second = fds[source_first];
    g_thread_join (rig_write (first, 3, 1000, TRUE));
    g_assert_cmpuint (rig_read (second, 3, G_MAXSIZE), ==, 1000);
    GThread *writer = rig_write (second, 4, 5 * MIB, TRUE);
    g_assert_cmpuint (rig_read (first, 4, G_MAXSIZE), ==, 5 * MIB);
    g_assert_cmpuint (GPOINTER_TO_SIZE (g_thread_join (writer)), ==, 5 * MIB);
    rig_expect_done (&rig);
    close (fds[0]);
    close (fds[1]);
    rig_clear (&rig);
}

/* The order in which QEMU ends a migration: the destination closes first, with nothing unread. */
static void
test_destination_closes (void)
{
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    g_thread_join (rig_write (a, 5, 100000, FALSE));
    g_assert_cmpuint (rig_read (b, 5, 100000), ==, 100000);
    g_thread_join (rig_write (b, 6, 12, FALSE));
    close (b);
    g_assert_cmpuint (rig_read (a, 6, G_MAXSIZE), ==, 12);
    rig_expect_closed (a);
    close (a);
    rig_expect_done (&rig);
    rig_clear (&rig);
}

/* QEMU killed with unread bytes: the far program's socket is closed too, what it said before is
 * delivered, and nobody says "done". */
static void
test_reset (gconstpointer data)
{
    gboolean source_dies = GPOINTER_TO_INT (data);
    Rig rig;
    int fds[2];
    rig_init (&rig);
    rig_start_both (&rig);
    rig_open_lane (&rig, &fds[0], &fds[1]);
    int dies = fds[!source_dies], stays = fds[source_dies];
    g_thread_join (rig_write (stays, 7, 1000, FALSE));
    g_thread_join (rig_write (dies, 8, 500, FALSE));
    struct pollfd p = { .fd = dies, .events = POLLIN };
    g_assert_cmpint (poll (&p, 1, RIG_WAIT_MS), ==, 1); /* so that bytes are unread */
    close (dies);
    g_assert_cmpuint (rig_read (stays, 8, G_MAXSIZE), ==, 500);
    rig_expect_closed (stays);
    for (int i = 0; i < 2; i++) {
        RigSide *side = i == 0 ? &rig.source : &rig.destination;
        rig_hear (side, "\"event\":\"lane-closed\",\"lane\":\"ram\",\"direction\":\"out\"");
        rig_hear (side, "\"event\":\"lane-closed\",\"lane\":\"ram\",\"direction\":\"in\"");
        rig_command (side, "stats"); /* it is still there */
        rig_hear (side, "\"event\":\"stats\"");
        g_assert_null (strstr (side->lines->str, "\"done\""));
    }
    for (int i = 0; i < 2; i++) {
        RigSide *side = i == 0 ? &rig.source : &rig.destination;
        rig_command (side, "quit");
        g_assert_cmpint (rig_wait (side), ==, 0);
    }
    close (stays);
    rig_clear (&rig);
}

/* A destination's QEMU that reads slowly holds the source's QEMU back within known bounds. */
static void
test_slow_reader (void)
{
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    g_autofree char *zeros = g_malloc0 (65536);
    gsize taken = 0;
    struct pollfd p = { .fd = a, .events = POLLOUT };
    while (poll (&p, 1, 300) == 1) {
        gssize n = send (a, zeros, 65536, MSG_DONTWAIT | MSG_NOSIGNAL);
        g_assert_true (n > 0 || errno == EAGAIN);
        taken += n > 0 ? (gsize) n : 0;
        g_assert_cmpuint (taken, <, 20 * MIB); /* mostly the kernel's receive buffer */
    }
    close (a);
    gssize n;
    while ((n = recv (b, zeros, 65536, 0)) > 0)
        taken -= (gsize) n;
    g_assert_cmpuint (taken, ==, 0);
    close (b);
    rig_expect_done (&rig);
    rig_clear (&rig);
}

static gpointer
write_zeros (gpointer data)
{
    g_autofree char *zeros = g_malloc0 (MIB);
    for (gsize done = 0; done < 256; done++)
        for (gsize part = 0; part < MIB;) {
            gssize n = send (GPOINTER_TO_INT (data), zeros, MIB - part, MSG_NOSIGNAL);
            if (n <= 0)
                return NULL;
            part += (gsize) n;
        }
    return data;
}

/* Full queues that empty at once, again and again: the courier never waits for an event that does
 * not come. */
static void
test_full_speed (void)
{
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    g_autofree char *bytes = g_malloc (MIB);
    GThread *writer = g_thread_new ("zeros", write_zeros, GINT_TO_POINTER (a));
    for (gsize left = 256 * MIB; left > 0;) {
        gssize n = recv (b, bytes, MIN (left, MIB), 0);
        g_assert_cmpint (n, >, 0);
        left -= (gsize) n;
    }
    g_assert_nonnull (g_thread_join (writer));
    close (a);
    close (b);
    rig_expect_done (&rig);
    rig_clear (&rig);
}

/* A program that stops to read, but goes on to write: the far one cannot write any more. */
static void
test_stopped_reader (void)
{
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    g_assert_cmpint (shutdown (b, SHUT_RD), ==, 0);
    GThread *writer = rig_write (a, 1, 500 * MIB, FALSE);
    g_assert_cmpuint (GPOINTER_TO_SIZE (g_thread_join (writer)), <, 20 * MIB);
    rig_hear (&rig.destination, "\"event\":\"lane-closed\",\"lane\":\"ram\",\"direction\":\"in\"");
    g_thread_join (rig_write (b, 2, 3000, TRUE));
    g_assert_cmpuint (rig_read (a, 2, G_MAXSIZE), ==, 3000);
    rig_close (&rig, a, b);
}

/* Writes of one byte arrive one by one, in order, without waiting for more. */
static void
test_single_bytes (void)
{
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    for (int i = 0; i < 500; i++) {
        uint8_t byte = (uint8_t) i, got = 0;
        g_assert_cmpint (send (i % 2 != 0 ? a : b, &byte, 1, 0), ==, 1);
        g_assert_cmpint (recv (i % 2 != 0 ? b : a, &got, 1, 0), ==, 1);
        g_assert_cmpint (got, ==, byte);
    }
    close (a);
    close (b);
    rig_expect_done (&rig);
    rig_clear (&rig);
}

/* A second lane that opens from the destination's end, as NBD does in a pull. */
static void
test_two_lanes (void)
{
    Rig rig;
    int a, b;
    rig_init (&rig);
    g_autofree char *near_path = g_build_filename (rig.dir, "near.sock", NULL);
    g_autofree char *far_path = g_build_filename (rig.dir, "far.sock", NULL);
    g_autofree char *near_lane = g_strdup_printf ("nbd-0=connect:%s", near_path);
    g_autofree char *far_lane = g_strdup_printf ("nbd-0=accept:%s", far_path);
    const char *near_extra[] = { "--lane", near_lane, NULL }, *far_extra[] = { "--lane", far_lane, NULL };
    g_auto (GwFd) server = rig_listen_unix (near_path);
    rig_start (&rig, GW_SIDE_DESTINATION, SECRET, GW_LINK_SECRET, far_extra);
    rig_hear (&rig.destination, "\"event\":\"ready\"");
    rig_start (&rig, GW_SIDE_SOURCE, SECRET, GW_LINK_SECRET, near_extra);
    rig_hear (&rig.source, "\"event\":\"ready\"");
    int far = rig_connect_unix (far_path);
    int near = accept (server, NULL, NULL);
    rig_open_lane (&rig, &a, &b);
    GThread *writers[] = { rig_write (a, 1, 5 * MIB, TRUE), rig_write (b, 2, 4 * MIB, TRUE),
                           rig_write (far, 3, 3 * MIB, TRUE), rig_write (near, 4, 2 * MIB, TRUE) };
    GThread *readers[] = { rig_read_thread (b, 1), rig_read_thread (a, 2), rig_read_thread (near, 3),
                           rig_read_thread (far, 4) };
    for (guint i = 0; i < 4; i++)
        g_assert_cmpuint (GPOINTER_TO_SIZE (g_thread_join (readers[i])), ==, (5 - i) * MIB);
    for (guint i = 0; i < 4; i++)
        g_thread_join (writers[i]);
    rig_expect_done (&rig);
    const int fds[] = { a, b, near, far };
    for (guint i = 0; i < 4; i++)
        close (fds[i]);
    g_assert_false (g_file_test (far_path, G_FILE_TEST_EXISTS));
    g_unlink (near_path);
    rig_clear (&rig);
}

static void
test_nobody_listens (void)
{
    Rig rig;
    rig_init (&rig);
    rig_start_both (&rig);
    g_assert_cmpint (g_unlink (rig.path[1]), ==, 0);
    int a = rig_connect_unix (rig.path[0]);
    rig_expect_closed (a);
    rig_hear (&rig.destination, "\"event\":\"lane-failed\",\"lane\":\"ram\"");
    rig_hear (&rig.source, "\"event\":\"lane-closed\",\"lane\":\"ram\",\"direction\":\"out\"");
    close (a);
    rig_clear (&rig);
}

/* --- link ------------------------------------------------------------------------------------------ */

static void
test_peer_killed (void)
{
    Rig rig;
    int a, b;
    rig_open (&rig, &a, &b);
    GThread *writer = rig_write (a, 1, 100 * MIB, FALSE);
    g_assert_cmpuint (rig_read (b, 1, MIB), ==, MIB);
    g_assert_cmpint (kill (rig.destination.pid, SIGKILL), ==, 0);
    rig_hear (&rig.source, "\"event\":\"outage\""); /* it might come back */
    rig_say (&rig.source, "{\"command\":\"deadline\",\"seconds\":1}");
    rig_expect_failed (&rig.source, "link-lost");
    g_assert_cmpuint (GPOINTER_TO_SIZE (g_thread_join (writer)), <, 100 * MIB);
    rig_expect_closed (a);
    rig_close (&rig, a, b);
}

/* Who lacks the secret is told apart from who is not there; the destination goes on waiting. */
static void
test_wrong_secret (void)
{
    Rig rig;
    rig_init (&rig);
    rig_start (&rig, GW_SIDE_DESTINATION, SECRET, GW_LINK_SECRET, NULL);
    rig_hear (&rig.destination, "\"event\":\"ready\"");
    rig_start (&rig, GW_SIDE_SOURCE, "X" SECRET, GW_LINK_SECRET, NULL);
    rig_expect_failed (&rig.source, "link-auth");
    gw_fd_clear (&rig.source.control);
    g_string_free (rig.source.lines, TRUE);
    rig_start (&rig, GW_SIDE_SOURCE, SECRET, GW_LINK_SECRET, NULL);
    rig_hear (&rig.source, "\"event\":\"ready\"");
    rig_clear (&rig);
}

/* What ends within a group is no end of the stream, also where nothing else is left to be done. */
static void
test_ends_within_a_group (void)
{
    int a, b;
    Rig rig;
    rig_init (&rig);
    rig.words = ":codec=8388608";
    rig_start (&rig, GW_SIDE_DESTINATION, SECRET, GW_LINK_SECRET, NULL);
    rig_hear (&rig.destination, "\"event\":\"ready\"");
    rig.words = NULL;
    rig_start (&rig, GW_SIDE_SOURCE, SECRET, GW_LINK_SECRET, NULL);
    rig_hear (&rig.source, "\"event\":\"ready\"");
    rig_open_lane (&rig, &a, &b);
    g_assert_cmpint (shutdown (b, SHUT_WR), ==, 0);
    g_assert_cmpuint (rig_read (a, 1, G_MAXSIZE), ==, 0);
    g_assert_cmpint (send (a, "\1", 1, MSG_NOSIGNAL), ==, 1);
    g_assert_cmpint (shutdown (a, SHUT_WR), ==, 0);
    rig_expect_failed (&rig.destination, "codec-invalid");
    rig_close (&rig, a, b);
}

static void
test_no_listener (void)
{
    Rig rig;
    rig_init (&rig);
    gw_fd_clear (&rig.listener);
    gint64 before_us = g_get_monotonic_time ();
    rig_start (&rig, GW_SIDE_SOURCE, SECRET, GW_LINK_SECRET, NULL);
    rig_expect_failed (&rig.source, "link-connect");
    g_assert_cmpint (g_get_monotonic_time () - before_us, <, 5 * G_USEC_PER_SEC);
    rig_clear (&rig);
}

/* Of several addresses one that works is enough. */
static void
test_second_address (void)
{
    Rig rig;
    int a, b;
    rig_init (&rig);
    g_autofree char *list = g_strdup_printf ("127.0.0.1:1,[::1]:1,127.0.0.1:%u", rig.port);
    const char *extra[] = { "--connect", list, NULL };
    rig_start (&rig, GW_SIDE_DESTINATION, SECRET, GW_LINK_SECRET, NULL);
    rig_start (&rig, GW_SIDE_SOURCE, SECRET, GW_LINK_SECRET, extra);
    rig_hear (&rig.source, "\"event\":\"ready\"");
    rig_open_lane (&rig, &a, &b);
    close (a);
    close (b);
    rig_expect_done (&rig);
    rig_clear (&rig);
}

/* More strangers than there are places, some silent, some talking: the source still gets in. */
static void
test_flood (void)
{
    enum { STRANGERS = 100 };
    Rig rig;
    int strangers[STRANGERS], a, b;
    rig_init (&rig);
    rig_start (&rig, GW_SIDE_DESTINATION, SECRET, GW_LINK_SECRET, NULL);
    rig_hear (&rig.destination, "\"event\":\"ready\"");
    for (int i = 0; i < STRANGERS; i++) {
        strangers[i] = rig_connect_tcp (&rig);
        if (i % 3 == 0)
            g_assert_cmpint (send (strangers[i], "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL), ==, 18);
    }
    rig_start (&rig, GW_SIDE_SOURCE, SECRET, GW_LINK_SECRET, NULL);
    rig_hear (&rig.source, "\"event\":\"ready\"");
    rig_open_lane (&rig, &a, &b);
    g_thread_join (rig_write (a, 1, 100000, TRUE));
    g_assert_cmpuint (rig_read (b, 1, G_MAXSIZE), ==, 100000);
    for (int i = 0; i < STRANGERS; i++) {
        struct pollfd p = { .fd = strangers[i], .events = POLLIN };
        g_assert_cmpint (poll (&p, 1, RIG_WAIT_MS), ==, 1); /* dropped, all of them */
        close (strangers[i]);
    }
    close (a);
    close (b);
    rig_expect_done (&rig);
    rig_clear (&rig);
}

/* --- command line ----------------------------------------------------------------------------------- */

static void
test_usage (void)
{
    static const struct {
        const char *extra[5];
        gsize secret_len;
    } rows[] = {
        { { NULL }, GW_LINK_SECRET - 1 },
        { { NULL }, GW_LINK_SECRET + 1 },
        { { "--side", "middle" }, GW_LINK_SECRET },
        { { "--side", "destination" }, GW_LINK_SECRET },
        { { "--job", "a/b" }, GW_LINK_SECRET },
        { { "--job", "" }, GW_LINK_SECRET },
        { { "--connect", "localhost:80" }, GW_LINK_SECRET },
        { { "--connect", "127.0.0.1" }, GW_LINK_SECRET },
        { { "--connect", "127.0.0.1:70000" }, GW_LINK_SECRET },
        { { "--lane", "ram=accept:/x" }, GW_LINK_SECRET }, /* twice */
        { { "--lane", "nbd" }, GW_LINK_SECRET },
        { { "--lane", "nbd=watch:/x" }, GW_LINK_SECRET },
        { { "--lane", "=accept:/x" }, GW_LINK_SECRET },
        { { "--lane", "x=accept:/x:verify" }, GW_LINK_SECRET },
        { { "--lane", "x=accept:/x:resumed" }, GW_LINK_SECRET },
        { { "--lane", "x=accept:/x:pack:codec=8388608" }, GW_LINK_SECRET },
        { { "--memory", "lots" }, GW_LINK_SECRET },
        { { "--memory", "1" }, GW_LINK_SECRET },
        { { "--control-fd", "99" }, GW_LINK_SECRET },
        { { "--control-fd", "4" }, GW_LINK_SECRET },
        { { "--listen-fd", "3" }, GW_LINK_SECRET },
        { { "--nonsense" }, GW_LINK_SECRET },
        { { "nonsense" }, GW_LINK_SECRET },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        Rig rig;
        rig_init (&rig);
        rig_start (&rig, GW_SIDE_SOURCE, SECRET "!", rows[i].secret_len, rows[i].extra);
        g_test_message ("row %u", i);
        g_assert_cmpint (rig_wait (&rig.source), ==, 2);
        g_assert_false (g_file_test (rig.path[0], G_FILE_TEST_EXISTS));
        rig_clear (&rig);
    }
}

/* A lane's path that is taken is left alone. */
static void
test_path_taken (void)
{
    Rig rig;
    rig_init (&rig);
    int other = rig_listen_unix (rig.path[0]);
    rig_start (&rig, GW_SIDE_SOURCE, SECRET, GW_LINK_SECRET, NULL);
    rig_expect_failed (&rig.source, "host-io");
    g_assert_true (g_file_test (rig.path[0], G_FILE_TEST_EXISTS));
    close (other);
    rig_clear (&rig);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/courier/both-ways", test_both_ways);
    g_test_add_data_func ("/courier/half-close/source", GINT_TO_POINTER (1), test_half_close);
    g_test_add_data_func ("/courier/half-close/destination", GINT_TO_POINTER (0), test_half_close);
    g_test_add_func ("/courier/destination-closes", test_destination_closes);
    g_test_add_data_func ("/courier/reset/source", GINT_TO_POINTER (1), test_reset);
    g_test_add_data_func ("/courier/reset/destination", GINT_TO_POINTER (0), test_reset);
    g_test_add_func ("/courier/slow-reader", test_slow_reader);
    g_test_add_func ("/courier/full-speed", test_full_speed);
    g_test_add_func ("/courier/stopped-reader", test_stopped_reader);
    g_test_add_func ("/courier/single-bytes", test_single_bytes);
    g_test_add_func ("/courier/two-lanes", test_two_lanes);
    g_test_add_func ("/courier/nobody-listens", test_nobody_listens);
    g_test_add_func ("/courier/peer-killed", test_peer_killed);
    g_test_add_func ("/courier/wrong-secret", test_wrong_secret);
    g_test_add_func ("/courier/ends-within-a-group", test_ends_within_a_group);
    g_test_add_func ("/courier/no-listener", test_no_listener);
    g_test_add_func ("/courier/second-address", test_second_address);
    g_test_add_func ("/courier/flood", test_flood);
    g_test_add_func ("/courier/usage", test_usage);
    g_test_add_func ("/courier/path-taken", test_path_taken);
    return g_test_run ();
}
