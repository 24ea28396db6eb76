/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-courier and its connections: whom it takes, what they cost, who makes them. */
#include "test-courier-proxy.h"
#include "test-courier-rig.h"

#include <glib-unix.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECRET "0123456789abcdef0123456789abcdef"
#define MIB ((gsize) 1 << 20)
#define RECONNECTS 1000
#define RECONNECTS_BEFORE 200 /* the first of them fill pools and caches */
#define SPOOL (64 * MIB)

static void
expect (RigSide *side, const char *text)
{
    g_free (rig_expect (side, text));
}

static void
start (Rig *rig, const char *const *source, const char *const *destination)
{
    rig_start (rig, GW_SIDE_DESTINATION, SECRET, GW_LINK_SECRET, destination);
    expect (&rig->destination, "\"event\":\"ready\"");
    rig_start (rig, GW_SIDE_SOURCE, SECRET, GW_LINK_SECRET, source);
    expect (&rig->source, "\"event\":\"ready\"");
}

/* Both ways on an open lane, which stays open. */
static void
pass (int a, int b, gsize len)
{
    static guint32 seed;
    GThread *there = rig_write (a, ++seed, len, FALSE);
    g_assert_cmpuint (rig_read (b, seed, len), ==, len);
    g_thread_join (there);
    GThread *back = rig_write (b, ++seed, len, FALSE);
    g_assert_cmpuint (rig_read (a, seed, len), ==, len);
    g_thread_join (back);
}

static void
end_lane (int a, int b)
{
    char byte;
    g_assert_cmpint (shutdown (a, SHUT_WR), ==, 0);
    g_assert_cmpint (shutdown (b, SHUT_WR), ==, 0);
    g_assert_cmpint (recv (a, &byte, 1, 0), ==, 0);
    g_assert_cmpint (recv (b, &byte, 1, 0), ==, 0);
    close (a);
    close (b);
}

static void
end_both (Rig *rig)
{
    expect (&rig->source, "\"event\":\"done\"");
    expect (&rig->destination, "\"event\":\"done\"");
    g_assert_cmpint (rig_wait (&rig->source), ==, 0);
    g_assert_cmpint (rig_wait (&rig->destination), ==, 0);
}

/* --- hellos ---------------------------------------------------------------------------------------------- */

static void
wait_for (const GwLinkTls *tls)
{
    struct pollfd p = { .fd = gw_link_tls_get_fd (tls), .events = gw_link_tls_get_events (tls) };
    g_assert_cmpint (poll (&p, 1, RIG_WAIT_MS), ==, 1);
}

/* A connection with the right secret that says `hello`.  TRUE when the destination answers. */
static gboolean
say_hello (const Rig *rig, GwLinkKey *key, const GwLinkHello *hello, GwLinkTls **ret_tls)
{
    uint8_t bytes[GW_LINK_HELLO_MAX];
    GwLinkRecord record = { 0 };
    GwLinkStep step;
    int fd = rig_connect_tcp (rig);
    g_assert_true (g_unix_set_fd_nonblocking (fd, TRUE, NULL));
    GwLinkTls *tls = gw_link_tls_new (key, fd, NULL);
    while ((step = gw_link_tls_handshake (tls, NULL)) == GW_LINK_AGAIN)
        wait_for (tls);
    g_assert_cmpint (step, ==, GW_LINK_DONE);
    gw_link_tls_start (tls);
    g_assert_true (gw_link_tls_send (tls, bytes, gw_link_hello_store (bytes, hello), NULL));
    g_assert_cmpint (gw_link_tls_flush (tls, NULL), ==, GW_LINK_DONE);
    while ((step = gw_link_tls_receive (tls, &record, NULL)) == GW_LINK_AGAIN)
        wait_for (tls);
    gboolean is_answered = step == GW_LINK_DONE && record.data[0] == GW_LINK_HELLO;
    gw_link_record_clear (&record);
    *ret_tls = tls;
    return is_answered;
}

/* What the courier writes to its standard error, from its start on. */
static int
start_destination_logged (Rig *rig)
{
    const char *extra[] = { "--silence", "20000", NULL };
    int log = memfd_create ("log", MFD_CLOEXEC), saved = dup (STDERR_FILENO);
    g_assert_cmpint (dup2 (log, STDERR_FILENO), ==, STDERR_FILENO);
    rig_start (rig, GW_SIDE_DESTINATION, SECRET, GW_LINK_SECRET, extra);
    g_assert_cmpint (dup2 (saved, STDERR_FILENO), ==, STDERR_FILENO);
    close (saved);
    expect (&rig->destination, "\"event\":\"ready\"");
    return log;
}

static void
expect_logged (int log, const char *text)
{
    char bytes[8192] = "";
    g_assert_cmpint (pread (log, bytes, sizeof bytes - 1, 0), >=, 0);
    if (strstr (bytes, text) == NULL)
        g_error ("the log has no '%s': %s", text, bytes);
}

/* With the right secret, but not new, or not of this session. */
static void
test_stale_hello (void)
{
    static const struct {
        uint32_t epoch, serial;
        uint8_t session;
        const char *says; /* in the log; NULL: it is taken */
    } rows[] = {
        { 0, 5, 1, NULL },
        { 0, 5, 1, "the peer's hello is stale: path 5, when path 5 was there already" },
        { 0, 4, 1, "the peer's hello is stale: path 4, when path 5 was there already" },
        { 0, 6, 2, "the peer has lost its session" },
        { 1, 6, 1, "the peer is at epoch 1, not 0" },
        { 0, 6, 1, NULL },
    };
    Rig rig;
    GwLinkTls *paths[G_N_ELEMENTS (rows)];
    rig_init (&rig);
    int log = start_destination_logged (&rig);
    GwLinkKey *key = gw_link_key_new ((const uint8_t *) SECRET, "test-1", GW_SIDE_SOURCE, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        GwLinkHello hello = { .side = GW_SIDE_SOURCE, .epoch = rows[i].epoch,
                              .serial = rows[i].serial, .job = "test-1" };
        memset (hello.session, rows[i].session, sizeof hello.session);
        g_assert_cmpint (say_hello (&rig, key, &hello, &paths[i]), ==, rows[i].says == NULL);
        if (rows[i].says != NULL)
            expect_logged (log, rows[i].says);
    }
    expect (&rig.destination, "\"event\":\"path-up\",\"path\":5");
    expect (&rig.destination, "\"event\":\"path-up\",\"path\":6");
    rig_command (&rig.destination, "stats");
    expect (&rig.destination, "\"refused_hellos\":4");
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        gw_link_tls_free (paths[i]);
    gw_link_key_free (key);
    close (log);
    rig_clear (&rig);
}

/* --- reconnects ------------------------------------------------------------------------------------------- */

typedef struct {
    guint n_fds, n_threads;
    gsize rss_kib;
} Footprint;

static gsize
read_status (pid_t pid, const char *key)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/status", (int) pid);
    g_autofree char *text = NULL;
    g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
    const char *at = strstr (text, key);
    g_assert_nonnull (at);
    return (gsize) g_ascii_strtoull (at + strlen (key) + 1, NULL, 10);
}

static Footprint
get_footprint (pid_t pid)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/fd", (int) pid);
    g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
    Footprint footprint = { .n_threads = (guint) read_status (pid, "\nThreads:"),
                            .rss_kib = read_status (pid, "\nVmRSS:") };
    g_assert_nonnull (dir);
    while (g_dir_read_name (dir) != NULL)
        footprint.n_fds++;
    return footprint;
}

static void
forget_events (RigSide *side)
{
    rig_drain (side);
    g_string_truncate (side->lines, 0);
}

/* A reset; then the address is given anew, so that its backoff is not waited for. */
static void
reconnect (Rig *rig, Proxy *proxy)
{
    g_autofree char *remove =
        g_strdup_printf ("{\"command\":\"path-remove\",\"address\":\"127.0.0.1:%u\"}", proxy->port);
    g_autofree char *add =
        g_strdup_printf ("{\"command\":\"path-add\",\"address\":\"127.0.0.1:%u\"}", proxy->port);
    forget_events (&rig->source);
    forget_events (&rig->destination);
    proxy_order (proxy, PROXY_RESET);
    expect (&rig->source, "\"event\":\"path-down\"");
    rig_say (&rig->source, remove);
    rig_say (&rig->source, add);
    expect (&rig->source, "\"event\":\"path-up\"");
    expect (&rig->destination, "\"event\":\"path-up\"");
}

static void
compare (const char *name, Footprint before, Footprint after)
{
    g_test_message ("%s: %u and %u descriptors, %u and %u threads, %zu and %zu KiB resident", name,
                    before.n_fds, after.n_fds, before.n_threads, after.n_threads, before.rss_kib,
                    after.rss_kib);
    g_assert_cmpuint (after.n_fds, ==, before.n_fds);
    g_assert_cmpuint (after.n_threads, ==, before.n_threads);
    /* half a KiB a path, of 300 KiB of buffers and a TLS session; a sanitizer keeps what was freed, so there its own check for leaks has to do */
    if (g_getenv ("ASAN_OPTIONS") == NULL)
        g_assert_cmpuint (after.rss_kib, <=, before.rss_kib + 512);
}

static void
test_reconnects (void)
{
    Rig rig;
    Proxy proxy;
    int a, b;
    rig_init (&rig);
    proxy_start (&proxy, rig.port);
    g_autofree char *address = g_strdup_printf ("127.0.0.1:%u", proxy.port);
    const char *source[] = { "--connect", address, NULL };
    start (&rig, source, NULL);
    rig_open_lane (&rig, &a, &b);
    pass (a, b, 16 * MIB);
    for (guint i = 0; i < RECONNECTS_BEFORE; i++)
        reconnect (&rig, &proxy);
    Footprint before[] = { get_footprint (rig.source.pid), get_footprint (rig.destination.pid) };
    for (guint i = 0; i < RECONNECTS; i++) {
        reconnect (&rig, &proxy);
        pass (a, b, 100);
    }
    compare ("source", before[0], get_footprint (rig.source.pid));
    compare ("destination", before[1], get_footprint (rig.destination.pid));
    end_lane (a, b);
    end_both (&rig);
    proxy_end (&proxy);
    rig_clear (&rig);
}

/* --- spool ------------------------------------------------------------------------------------------------- */

/* Writes without ever finding the socket full for long.  Returns the longest wait in ms. */
static guint
write_unblocked (int fd, guint32 seed, gsize len)
{
    guint worst_ms = 0;
    g_autofree uint8_t *bytes = g_malloc (MIB);
    for (gsize done = 0; done < len; done += MIB) {
        rig_make_bytes (&seed, bytes, MIB);
        gint64 began_us = g_get_monotonic_time ();
        for (gsize part = 0; part < MIB;) {
            gssize n = send (fd, bytes + part, MIB - part, MSG_NOSIGNAL);
            g_assert_cmpint (n, >, 0);
            part += (gsize) n;
        }
        worst_ms = MAX (worst_ms, (guint) ((g_get_monotonic_time () - began_us) / 1000));
    }
    return worst_ms;
}

/* From the switchover on QEMU writes holding its lock: it must not wait for a link that is stalled. */
static void
test_spool (void)
{
    Rig rig;
    Proxy proxy;
    int a, b;
    rig_init (&rig);
    proxy_start (&proxy, rig.port);
    g_autofree char *address = g_strdup_printf ("127.0.0.1:%u", proxy.port);
    const char *source[] = { "--connect", address, "--memory", "4194304", "--spool", "134217728",
                             NULL };
    start (&rig, source, NULL);
    rig_open_lane (&rig, &a, &b);
    pass (a, b, MIB);
    proxy_order (&proxy, PROXY_STALL);
    proxy_order_new (&proxy, PROXY_STALL);
    rig_command (&rig.source, "spool");
    expect (&rig.source, "\"event\":\"spooling\"");
    guint worst_ms = write_unblocked (a, 77, SPOOL);
    g_test_message ("%zu MiB written, %u ms at most for one of them", SPOOL / MIB, worst_ms);
    g_assert_cmpuint (worst_ms, <, 1000);
    proxy_order_new (&proxy, PROXY_PASS);
    g_assert_cmpuint (rig_read (b, 77, SPOOL), ==, SPOOL);
    end_lane (a, b);
    end_both (&rig);
    proxy_end (&proxy);
    rig_clear (&rig);
}

/* --- the dialer ---------------------------------------------------------------------------------------------- */

static pid_t
find_dialer (pid_t courier)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/task/%d/children", (int) courier,
                                             (int) courier);
    g_autofree char *text = NULL;
    g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
    return (pid_t) g_ascii_strtoll (text, NULL, 10);
}

/* Without it nothing new can be made, and the courier itself may not do it; what is there goes on. */
static void
test_dialer_killed (void)
{
    Rig rig;
    Proxy proxy;
    int a, b;
    rig_init (&rig);
    proxy_start (&proxy, rig.port);
    g_autofree char *address = g_strdup_printf ("127.0.0.1:%u", proxy.port);
    const char *source[] = { "--connect", address, "--deadline", "1", NULL };
    start (&rig, source, NULL);
    rig_open_lane (&rig, &a, &b);
    pass (a, b, MIB);
    pid_t dialer = find_dialer (rig.source.pid);
    g_assert_cmpint (dialer, >, 1);
    g_assert_cmpint (kill (dialer, SIGKILL), ==, 0);
    expect (&rig.source, "\"event\":\"dialer-lost\"");
    pass (a, b, 8 * MIB);
    g_autofree char *sandbox = rig_expect (&rig.source, "\"event\":\"sandbox\"");
    if (strstr (sandbox, "\"seccomp\":\"on\"") != NULL) { /* not with a sanitizer */
        g_assert_cmpuint (read_status (rig.source.pid, "\nNoNewPrivs:"), ==, 1);
        g_assert_cmpuint (read_status (rig.source.pid, "\nSeccomp:"), ==, 2); /* a filter */
    }
    proxy_order (&proxy, PROXY_RESET);
    expect (&rig.source, "\"event\":\"path-down\"");
    expect (&rig.source, "\"event\":\"failed\",\"cause\":\"link-lost\"");
    g_assert_cmpint (rig_wait (&rig.source), ==, 3);
    close (a);
    close (b);
    proxy_end (&proxy);
    rig_clear (&rig);
}

static void
add_lane (RigSide *side, const char *target, const char *name, const char *verb, const char *path)
{
    g_autofree char *line = g_strdup_printf ("{\"command\":\"lane\",\"spec\":\"%s=%s:%s\"}", name,
                                             verb, path);
    rig_say (side, line);
    if (target == NULL)
        return;
    expect (side, "\"event\":\"refused\",\"command\":\"lane\"");
    rig_allow (side, target);
    rig_say (side, line);
    expect (side, "\"event\":\"ok\",\"command\":\"lane\"");
}

/* A lane that the command line did not name: refused, until the agent allows its socket. */
static void
test_lane_added (void)
{
    Rig rig;
    int a, b;
    rig_init (&rig);
    rig_start_both (&rig);
    g_autofree char *out = g_build_filename (rig.dir, "nbd-out.sock", NULL);
    g_autofree char *in = g_build_filename (rig.dir, "nbd-in.sock", NULL);
    g_autofree char *accept_it = g_strdup_printf ("accept %s", out);
    g_autofree char *connect_it = g_strdup_printf ("connect %s", in);
    g_auto (GwFd) incoming = rig_listen_unix (in);
    rig_open_lane (&rig, &a, &b);
    rig_allow (&rig.destination, connect_it); /* it is asked for when the lane opens */
    add_lane (&rig.destination, NULL, "nbd-0", "connect", in);
    expect (&rig.destination, "\"event\":\"ok\",\"command\":\"lane\"");
    add_lane (&rig.source, accept_it, "nbd-0", "accept", out);
    int c = rig_connect_unix (out), d = accept (incoming, NULL, NULL);
    g_assert_cmpint (d, >=, 0);
    pass (c, d, 3 * MIB);
    pass (a, b, MIB);
    end_lane (c, d);
    end_lane (a, b);
    end_both (&rig);
    g_assert_cmpint (g_unlink (in), ==, 0);
    rig_clear (&rig);
}

static void
say_address (RigSide *side, const char *command, guint port)
{
    g_autofree char *line = g_strdup_printf (
        "{\"command\":\"%s\",\"address\":\"127.0.0.1:%u\"}", command, port);
    g_autofree char *ok = g_strdup_printf ("\"event\":\"ok\",\"command\":\"%s\"", command);
    rig_say (side, line);
    expect (side, ok);
}

/* The link moves to an address that the command line did not name, and QEMU does not notice. */
static void
test_address_added (void)
{
    Rig rig;
    Proxy proxy;
    int a, b;
    rig_init (&rig);
    proxy_start (&proxy, rig.port);
    rig_start_both (&rig);
    rig_open_lane (&rig, &a, &b);
    g_autofree char *target = g_strdup_printf ("tcp 127.0.0.1:%u", proxy.port);
    rig_allow (&rig.source, target);
    GThread *writer = rig_write (a, 9, 40 * MIB, FALSE);
    say_address (&rig.source, "path-add", proxy.port);
    say_address (&rig.source, "path-remove", rig.port);
    expect (&rig.source, "\"event\":\"path-down\"");
    g_assert_cmpuint (rig_read (b, 9, 40 * MIB), ==, 40 * MIB);
    g_thread_join (writer);
    pass (a, b, MIB);
    g_assert_cmpint (g_atomic_int_get (&proxy.n_accepted), ==, 1);
    rig_command (&rig.source, "stats");
    g_autofree char *stats = rig_expect (&rig.source, "\"event\":\"stats\"");
    g_assert_nonnull (strstr (stats, "\"outage_count\":0"));
    g_assert_nonnull (strstr (stats, "\"resent_bytes\":0"));
    end_lane (a, b);
    end_both (&rig);
    proxy_end (&proxy);
    rig_clear (&rig);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/courier-paths/stale-hello", test_stale_hello);
    g_test_add_func ("/courier-paths/reconnects", test_reconnects);
    g_test_add_func ("/courier-paths/spool", test_spool);
    g_test_add_func ("/courier-paths/dialer-killed", test_dialer_killed);
    g_test_add_func ("/courier-paths/lane-added", test_lane_added);
    g_test_add_func ("/courier-paths/address-added", test_address_added);
    return g_test_run ();
}
