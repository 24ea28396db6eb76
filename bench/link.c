/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-link: what the link costs, and how long an urgent message takes beside bulk.
 *
 * Throughput.  A process writes into the lane's unix socket, two couriers carry it over one path on the
 * loopback address, this process reads it; in turn with that a bare GnuTLS sender and receiver
 * (link_bare.c) pass the same bytes in records of the same size.  Prints the pairs and the ratio.
 *
 * Urgency.  Between two network namespaces (bench/link.py makes them and shapes the link) bulk fills the
 * path from the source, while a message of a page goes through a lane of class urgent every few
 * milliseconds.  Each carries the time of its writing, and all processes read one clock: the figures
 * are one way, from write() here to the last read() there.
 */
#include "link-bench.h"
#include "test-courier-rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECRET "0123456789abcdef0123456789abcdef"
#define BLOCK (256 * 1024) /* of one read() or write() of the local programs */
#define PAGE 4096
#define EVERY_US 4000 /* an urgent message */
#define WARM_UP 100   /* messages not counted: the path finds its rate */

static struct {
    int mib, pairs, seconds;
    char *source, *destination, *address; /* namespaces, and an address of the destination's */
} options = { .mib = 1024, .pairs = 5, .seconds = 10 };

/* --- local programs --------------------------------------------------------------------------------- */

GPid
bench_write (int fd, gsize len)
{
    pid_t pid = fork ();
    g_assert_cmpint (pid, >=, 0);
    if (pid > 0)
        return pid;
    g_autofree uint8_t *bytes = g_malloc (BLOCK);
    memset (bytes, 0x5a, BLOCK);
    for (gsize done = 0; done < len;) {
        gssize n = send (fd, bytes, MIN (BLOCK, len - done), MSG_NOSIGNAL);
        if (n <= 0)
            _exit (1);
        done += (gsize) n;
    }
    _exit (shutdown (fd, SHUT_WR) != 0);
}

gsize
bench_read (int fd)
{
    g_autofree uint8_t *bytes = g_malloc (BLOCK);
    gsize done = 0;
    gssize n;
    while ((n = recv (fd, bytes, BLOCK, 0)) > 0)
        done += (gsize) n;
    g_assert_cmpint (n, ==, 0);
    return done;
}

void
bench_wait (GPid pid)
{
    int status;
    g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
    g_assert_true (WIFEXITED (status) && WEXITSTATUS (status) == 0);
}

/* Seconds of processor time of a process so far. */
static double
get_cpu (pid_t pid)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/stat", (int) pid);
    g_autofree char *text = NULL;
    unsigned long user = 0, system = 0;
    if (g_file_get_contents (path, &text, NULL, NULL))
        (void) sscanf (strrchr (text, ')') + 1,
                       "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %lu", &user, &system);
    return (double) (user + system) / (double) sysconf (_SC_CLK_TCK);
}

/* --- throughput ---------------------------------------------------------------------------------------- */

static void
end_rig (Rig *rig)
{
    g_free (rig_expect (&rig->source, "\"event\":\"done\""));
    g_free (rig_expect (&rig->destination, "\"event\":\"done\""));
    g_assert_cmpint (rig_wait (&rig->source), ==, 0);
    g_assert_cmpint (rig_wait (&rig->destination), ==, 0);
    rig_clear (rig);
}

/* Seconds; `ret_cpu` of the source's and the destination's courier. */
static double
carry (gsize len, double ret_cpu[static 2])
{
    Rig rig;
    int a, b;
    rig_init (&rig);
    rig_start_both (&rig);
    rig_open_lane (&rig, &a, &b);
    gint64 began_us = g_get_monotonic_time ();
    GPid writer = bench_write (a, len);
    g_assert_cmpint (shutdown (b, SHUT_WR), ==, 0);
    g_assert_cmpuint (bench_read (b), ==, len);
    double seconds = (double) (g_get_monotonic_time () - began_us) / G_USEC_PER_SEC;
    ret_cpu[0] = get_cpu (rig.source.pid);
    ret_cpu[1] = get_cpu (rig.destination.pid);
    bench_wait (writer);
    close (a);
    close (b);
    end_rig (&rig);
    return seconds;
}

static int
compare_double (const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return x < y ? -1 : x > y;
}

static double
median (double *values, guint n)
{
    qsort (values, n, sizeof *values, compare_double);
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void
measure_throughput (void)
{
    guint n = (guint) options.pairs;
    gsize len = (gsize) options.mib * MIB;
    g_autofree double *ratios = g_new0 (double, n);
    (void) g_print ("| pair | bare GnuTLS MiB/s | link MiB/s | ratio | source's cpu s/GiB "
                    "| destination's cpu s/GiB |\n| --- | --- | --- | --- | --- | --- |\n");
    for (guint i = 0; i < n; i++) {
        double cpu[2], bare = 0, link;
        if (i % 2 == 0)
            bare = bench_bare (len);
        link = carry (len, cpu);
        if (i % 2 == 1)
            bare = bench_bare (len);
        ratios[i] = bare / link;
        (void) g_print ("| %u | %.0f | %.0f | %.2f | %.2f | %.2f |\n", i + 1, options.mib / bare,
                        options.mib / link, ratios[i], cpu[0] * 1024 / options.mib,
                        cpu[1] * 1024 / options.mib);
    }
    (void) g_print ("ratio, median of %u: %.2f\n", n, median (ratios, n));
}

/* --- urgency ------------------------------------------------------------------------------------------- */

static void
enter (const char *netns)
{
    g_autofree char *path = g_build_filename ("/run/netns", netns, NULL);
    g_auto (GwFd) fd = open (path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns (fd, CLONE_NEWNET) != 0)
        g_error ("network namespace '%s': %s", netns, g_strerror (errno));
}

/* Both couriers, each in its namespace, with a lane "urgent" beside "ram".  Returns where it listens. */
static int
start_between (Rig *rig, char *paths[static 2])
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons ((uint16_t) rig->port) };
    paths[0] = g_build_filename (rig->dir, "urgent-out.sock", NULL);
    paths[1] = g_build_filename (rig->dir, "urgent-in.sock", NULL);
    int incoming = rig_listen_unix (paths[1]);
    g_autofree char *out = g_strdup_printf ("urgent=accept:%s:class=urgent", paths[0]);
    g_autofree char *in = g_strdup_printf ("urgent=connect:%s:class=return", paths[1]);
    g_autofree char *target = g_strdup_printf ("%s:%u", options.address, rig->port);
    const char *source[] = { "--lane", out, "--connect", target, NULL };
    const char *destination[] = { "--lane", in, NULL };
    enter (options.destination);
    gw_fd_clear (&rig->listener);
    rig->listener = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (inet_pton (AF_INET, options.address, &address.sin_addr), ==, 1);
    g_assert_cmpint (bind (rig->listener, (struct sockaddr *) &address, sizeof address), ==, 0);
    g_assert_cmpint (listen (rig->listener, 16), ==, 0);
    rig_start (rig, GW_SIDE_DESTINATION, SECRET, GW_LINK_SECRET, destination);
    g_free (rig_expect (&rig->destination, "\"event\":\"ready\""));
    enter (options.source);
    rig_start (rig, GW_SIDE_SOURCE, SECRET, GW_LINK_SECRET, source);
    g_free (rig_expect (&rig->source, "\"event\":\"ready\""));
    return incoming;
}

/* A child that writes `n` stamped messages. */
static GPid
send_urgent (int fd, guint n)
{
    uint8_t page[PAGE] = { 0 };
    pid_t pid = fork ();
    g_assert_cmpint (pid, >=, 0);
    if (pid > 0)
        return pid;
    for (guint i = 0; i < n; i++) {
        g_usleep (EVERY_US);
        gw_store_be64 (page, (uint64_t) g_get_monotonic_time ());
        if (send (fd, page, PAGE, MSG_NOSIGNAL) != PAGE)
            _exit (1);
    }
    _exit (shutdown (fd, SHUT_WR) != 0);
}

/* Writes until it is killed. */
static GPid
send_bulk (int fd)
{
    return bench_write (fd, G_MAXSIZE);
}

/* A child that reads bulk; it ends with the lane. */
static GPid
take_bulk (int fd)
{
    pid_t pid = fork ();
    g_assert_cmpint (pid, >=, 0);
    if (pid > 0)
        return pid;
    (void) bench_read (fd);
    _exit (0);
}

static void
receive_urgent (int fd, double *ret_us, guint n)
{
    uint8_t page[PAGE];
    for (guint i = 0; i < n; i++) {
        g_assert_cmpint (recv (fd, page, PAGE, MSG_WAITALL), ==, PAGE);
        ret_us[i] = (double) (g_get_monotonic_time () - (gint64) gw_load_be64 (page));
    }
}

/* The number of `key` after the text `from` in the counters of a side. */
static uint64_t
get_counter (RigSide *side, const char *from, const char *key)
{
    rig_command (side, "stats");
    g_autofree char *line = rig_expect (side, "\"event\":\"stats\"");
    g_autofree char *quoted = g_strdup_printf ("\"%s\":", key);
    const char *at = strstr (line, from);
    at = at != NULL ? strstr (at, quoted) : NULL;
    g_assert_nonnull (at);
    return g_ascii_strtoull (at + strlen (quoted), NULL, 10);
}

static uint64_t
get_bulk_bytes (Rig *rig)
{
    return get_counter (&rig->destination, "\"ram\":", "in_bytes");
}

/* What the source's session thinks of the path, which makes its window. */
static void
say_path (Rig *rig)
{
    static const char *const keys[] = { "rate_bps", "min_rtt_us", "p50_rtt_us", "p99_rtt_us",
                                        "flight_bytes" };
    for (guint i = 0; i < G_N_ELEMENTS (keys); i++)
        (void) g_print ("%s %" G_GUINT64_FORMAT "%s", keys[i],
                        get_counter (&rig->source, "\"paths\":[", keys[i]),
                        i + 1 < G_N_ELEMENTS (keys) ? ", " : "\n");
}

static void
say_urgency (double *took_us, guint n, double mbit)
{
    qsort (took_us, n, sizeof *took_us, compare_double);
    (void) g_print ("urgent messages of %d bytes, one way, %u of them beside %.0f Mbit/s of bulk:\n"
                    "p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, worst %.2f ms\n",
                    PAGE, n, mbit, took_us[n / 2] / 1000, took_us[n * 99 / 100] / 1000,
                    took_us[n * 999 / 1000] / 1000, took_us[n - 1] / 1000);
}

static void
measure_urgency (void)
{
    Rig rig;
    int a, b;
    char *paths[2];
    guint n = (guint) options.seconds * (G_USEC_PER_SEC / EVERY_US) + WARM_UP;
    g_autofree double *took_us = g_new0 (double, n);
    rig_init (&rig);
    int incoming = start_between (&rig, paths);
    rig_open_lane (&rig, &a, &b);
    int urgent_out = rig_connect_unix (paths[0]);
    int urgent_in = accept (incoming, NULL, NULL);
    GPid bulk = send_bulk (a), taker = take_bulk (b);
    GPid urgent = send_urgent (urgent_out, n);
    receive_urgent (urgent_in, took_us, WARM_UP);
    gint64 began_us = g_get_monotonic_time ();
    uint64_t before = get_bulk_bytes (&rig);
    receive_urgent (urgent_in, took_us, n - WARM_UP);
    double mbit = (double) (get_bulk_bytes (&rig) - before) * 8 /
                  (double) (g_get_monotonic_time () - began_us);
    say_urgency (took_us, n - WARM_UP, mbit);
    say_path (&rig);
    const GPid ours[] = { bulk, taker, urgent };
    for (guint i = 0; i < G_N_ELEMENTS (ours); i++) {
        (void) kill (ours[i], SIGKILL);
        (void) waitpid (ours[i], NULL, 0);
    }
    rig_command (&rig.source, "quit");
    rig_command (&rig.destination, "quit");
    (void) rig_wait (&rig.source);
    (void) rig_wait (&rig.destination);
    (void) unlink (paths[1]);
    rig_clear (&rig);
}

/* --- command line ---------------------------------------------------------------------------------------- */

static void
parse (int argc, char **argv)
{
    static const GOptionEntry entries[] = {
        { "mib", 0, 0, G_OPTION_ARG_INT, &options.mib, "MiB of each measurement", "N" },
        { "pairs", 0, 0, G_OPTION_ARG_INT, &options.pairs, "Measurements", "N" },
        { "seconds", 0, 0, G_OPTION_ARG_INT, &options.seconds, "Of urgent messages", "N" },
        { "source", 0, 0, G_OPTION_ARG_STRING, &options.source, "Namespace: measure urgency", "NAME" },
        { "destination", 0, 0, G_OPTION_ARG_STRING, &options.destination, "Namespace", "NAME" },
        { "address", 0, 0, G_OPTION_ARG_STRING, &options.address, "Of the destination", "ADDR" },
        G_OPTION_ENTRY_NULL
    };
    g_autoptr (GOptionContext) context = g_option_context_new (NULL);
    g_autoptr (GError) error = NULL;
    g_option_context_set_summary (context, "GW_COURIER names the courier's program.");
    g_option_context_add_main_entries (context, entries, NULL);
    if (!g_option_context_parse (context, &argc, &argv, &error))
        g_error ("%s", error->message);
    if (g_getenv ("GW_COURIER") == NULL || options.mib < 1 || options.pairs < 1 ||
        options.seconds < 1 || (options.source != NULL && options.address == NULL))
        g_error ("GW_COURIER or an option is missing; see --help");
}

int
main (int argc, char **argv)
{
    parse (argc, argv);
    (void) signal (SIGPIPE, SIG_IGN);
    if (options.source != NULL)
        measure_urgency ();
    else
        measure_throughput ();
    return 0;
}
