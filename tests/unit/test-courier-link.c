/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-courier while its connections break: the local programs notice nothing. */
#include "test-courier-rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECRET "0123456789abcdef0123456789abcdef"
#define MIB ((gsize) 1 << 20)
#define PAIRS 32

/* A TCP proxy in front of the destination; one thread. */
typedef struct {
    int listener;
    guint port, target;
    int pairs[PAIRS][2];
    guint n_pairs;
    gint must_reset, must_end; /* atomic */
    guint n_resets;
    GThread *thread;
} Proxy;

static void
proxy_accept (Proxy *proxy)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons ((uint16_t) proxy->target),
                                   .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
    int near = accept4 (proxy->listener, NULL, NULL, SOCK_CLOEXEC);
    int far = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (near, >=, 0);
    g_assert_cmpuint (proxy->n_pairs, <, PAIRS);
    g_assert_cmpint (connect (far, (struct sockaddr *) &address, sizeof address), ==, 0);
    proxy->pairs[proxy->n_pairs][0] = near;
    proxy->pairs[proxy->n_pairs++][1] = far;
}

static void
proxy_drop (Proxy *proxy, guint i)
{
    const struct linger at_once = { 1, 0 };
    for (int end = 0; end < 2; end++) {
        (void) setsockopt (proxy->pairs[i][end], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close (proxy->pairs[i][end]); /* by a reset */
    }
    memmove (proxy->pairs[i], proxy->pairs[i + 1], (--proxy->n_pairs - i) * sizeof proxy->pairs[0]);
}

/* FALSE at the end of the connection. */
static gboolean
proxy_copy (int from, int to)
{
    char bytes[65536];
    gssize n = recv (from, bytes, sizeof bytes, MSG_DONTWAIT);
    for (gssize done = 0; done < n;) {
        struct pollfd p = { .fd = to, .events = POLLOUT };
        gssize part = poll (&p, 1, 1000) == 1
                          ? send (to, bytes + done, (gsize) (n - done), MSG_NOSIGNAL | MSG_DONTWAIT)
                          : -1;
        if (part < 0)
            return FALSE;
        done += part;
    }
    return n > 0;
}

static void
proxy_turn (Proxy *proxy)
{
    struct pollfd polls[1 + 2 * PAIRS] = { { .fd = proxy->listener, .events = POLLIN } };
    guint n = proxy->n_pairs;
    for (guint i = 0; i < 2 * n; i++)
        polls[1 + i] = (struct pollfd){ .fd = proxy->pairs[i / 2][i % 2], .events = POLLIN };
    (void) poll (polls, 1 + 2 * n, 10);
    for (guint i = n; i-- > 0;) {
        gboolean is_alive = TRUE;
        for (guint end = 0; end < 2; end++)
            if (polls[1 + 2 * i + end].revents != 0)
                is_alive = is_alive && proxy_copy (proxy->pairs[i][end], proxy->pairs[i][!end]);
        if (!is_alive)
            proxy_drop (proxy, i);
    }
    if (polls[0].revents != 0)
        proxy_accept (proxy);
    if (g_atomic_int_compare_and_exchange (&proxy->must_reset, 1, 0))
        while (proxy->n_pairs > 0)
            proxy_drop (proxy, 0);
}

static gpointer
proxy_thread (gpointer data)
{
    Proxy *proxy = data;
    while (!g_atomic_int_get (&proxy->must_end))
        proxy_turn (proxy);
    while (proxy->n_pairs > 0)
        proxy_drop (proxy, 0);
    return NULL;
}

static void
proxy_start (Proxy *proxy, guint target)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    *proxy = (Proxy){ .target = target, .listener = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    g_assert_cmpint (bind (proxy->listener, (struct sockaddr *) &address, len), ==, 0);
    g_assert_cmpint (listen (proxy->listener, 16), ==, 0);
    g_assert_cmpint (getsockname (proxy->listener, (struct sockaddr *) &address, &len), ==, 0);
    proxy->port = ntohs (address.sin_port);
    proxy->thread = g_thread_new ("proxy", proxy_thread, proxy);
}

static void
proxy_end (Proxy *proxy)
{
    g_atomic_int_set (&proxy->must_end, 1);
    g_thread_join (proxy->thread);
    close (proxy->listener);
}

/* --- tests ------------------------------------------------------------------------------------------ */

static void
start (Rig *rig, const char *const *source, const char *const *destination)
{
    rig_start (rig, GW_SIDE_DESTINATION, SECRET, GW_LINK_SECRET, destination);
    g_free (rig_expect (&rig->destination, "\"event\":\"ready\""));
    rig_start (rig, GW_SIDE_SOURCE, SECRET, GW_LINK_SECRET, source);
    g_free (rig_expect (&rig->source, "\"event\":\"ready\""));
}

/* Both directions at once, compared by SHA-256; ends both couriers in order. */
static void
carry (Rig *rig, gsize bytes, Proxy *proxy)
{
    int a, b;
    rig_open_lane (rig, &a, &b);
    GThread *writers[] = { rig_write (a, 1, bytes, TRUE), rig_write (b, 2, bytes, TRUE) };
    GThread *readers[] = { rig_read_thread (a, 2), rig_read_thread (b, 1) };
    for (guint i = 0; proxy != NULL && i < 10; i++) {
        g_usleep (60000); /* in the middle of it, wherever that is */
        g_atomic_int_set (&proxy->must_reset, 1);
    }
    for (guint i = 0; i < 2; i++) {
        g_assert_cmpuint (GPOINTER_TO_SIZE (g_thread_join (readers[i])), ==, bytes);
        g_thread_join (writers[i]);
    }
    for (guint i = 0; i < 2; i++) {
        RigSide *side = i == 0 ? &rig->source : &rig->destination;
        g_free (rig_expect (side, "\"event\":\"done\""));
        g_assert_cmpint (rig_wait (side), ==, 0);
    }
    close (a);
    close (b);
}

static void
test_resets (void)
{
    Rig rig;
    Proxy proxy;
    rig_init (&rig);
    proxy_start (&proxy, rig.port);
    g_autofree char *address = g_strdup_printf ("127.0.0.1:%u", proxy.port);
    const char *source[] = { "--connect", address, NULL };
    start (&rig, source, NULL);
    carry (&rig, 60 * MIB, &proxy);
    g_free (rig_expect (&rig.source, "\"event\":\"path-down\""));
    g_free (rig_expect (&rig.source, "\"event\":\"outage\""));
    g_free (rig_expect (&rig.source, "\"event\":\"resumed\""));
    proxy_end (&proxy);
    rig_clear (&rig);
}

static void
test_renewals (void)
{
    Rig rig;
    const char *extra[] = { "--renew", "1048576", NULL };
    rig_init (&rig);
    start (&rig, extra, extra);
    carry (&rig, 64 * MIB, NULL);
    for (guint i = 0; i < 20; i++)
        g_free (rig_expect (&rig.source, "\"event\":\"renewed\""));
    rig_clear (&rig);
}

static void
test_several_paths (void)
{
    Rig rig;
    const char *extra[] = { "--paths", "3", NULL };
    rig_init (&rig);
    start (&rig, extra, NULL);
    for (guint i = 0; i < 3; i++)
        g_free (rig_expect (&rig.destination, "\"event\":\"path-up\""));
    carry (&rig, 30 * MIB, NULL);
    rig_clear (&rig);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/courier-link/resets", test_resets);
    g_test_add_func ("/courier-link/renewals", test_renewals);
    g_test_add_func ("/courier-link/several-paths", test_several_paths);
    return g_test_run ();
}
