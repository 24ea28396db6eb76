/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test-courier-proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURN_MS 10

/* Or else each of its small writes waits for the acknowledgement of the one before. */
static void
pass_at_once (int fd)
{
    const int one = 1;
    g_assert_cmpint (setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), ==, 0);
}

static void
accept_one (Proxy *proxy)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons ((uint16_t) proxy->target),
                                   .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
    int near = accept4 (proxy->listener, NULL, NULL, SOCK_CLOEXEC);
    int far = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (near, >=, 0);
    g_assert_cmpuint (proxy->n_pairs, <, PROXY_PAIRS);
    g_assert_cmpint (connect (far, (struct sockaddr *) &address, sizeof address), ==, 0);
    pass_at_once (near);
    pass_at_once (far);
    proxy->pairs[proxy->n_pairs++] =
        (ProxyPair){ near, far, (ProxyFault) g_atomic_int_get (&proxy->new_fault) };
    g_atomic_int_inc (&proxy->n_accepted);
}

static void
reset (int fd)
{
    const struct linger at_once = { 1, 0 };
    (void) setsockopt (fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close (fd);
}

static void
drop (Proxy *proxy, guint i)
{
    reset (proxy->pairs[i].near);
    reset (proxy->pairs[i].far);
    proxy->pairs[i] = proxy->pairs[--proxy->n_pairs];
}

/* FALSE at the end of the connection. */
static gboolean
send_all (int fd, const char *bytes, gssize len)
{
    for (gssize done = 0; done < len;) {
        struct pollfd p = { .fd = fd, .events = POLLOUT };
        gssize n = poll (&p, 1, 1000) == 1
                       ? send (fd, bytes + done, (gsize) (len - done), MSG_NOSIGNAL | MSG_DONTWAIT)
                       : -1;
        if (n < 0)
            return FALSE;
        done += n;
    }
    return TRUE;
}

static gboolean
copy (ProxyPair *pair, gboolean is_from_near)
{
    char bytes[65536];
    gssize n = recv (is_from_near ? pair->near : pair->far, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n <= 0)
        return FALSE;
    if (is_from_near && pair->fault == PROXY_ONE_WAY)
        return TRUE;
    if (is_from_near && pair->fault == PROXY_FLIP) {
        bytes[n / 2] ^= 0x10;
        pair->fault = PROXY_PASS;
    }
    return send_all (is_from_near ? pair->far : pair->near, bytes, n);
}

static void
obey (Proxy *proxy)
{
    gint order = g_atomic_int_get (&proxy->order);
    if (order == 0)
        return;
    for (guint i = proxy->n_pairs; i-- > 0;) {
        proxy->pairs[i].fault = (ProxyFault) (order - 1);
        if (proxy->pairs[i].fault == PROXY_RESET)
            drop (proxy, i);
    }
    g_atomic_int_set (&proxy->order, 0);
}

/* One that is stalled is not read, but it may hang up. */
static gboolean
serve (ProxyPair *pair, const struct pollfd *polls)
{
    if (pair->fault == PROXY_STALL)
        return ((polls[0].revents | polls[1].revents) & (POLLHUP | POLLERR)) == 0;
    return (polls[0].revents == 0 || copy (pair, TRUE)) &&
           (polls[1].revents == 0 || copy (pair, FALSE));
}

static void
turn (Proxy *proxy)
{
    struct pollfd polls[1 + 2 * PROXY_PAIRS] = { { .fd = proxy->listener, .events = POLLIN } };
    guint n = proxy->n_pairs;
    for (guint i = 0; i < n; i++) {
        const ProxyPair *pair = &proxy->pairs[i];
        short events = pair->fault == PROXY_STALL ? 0 : POLLIN;
        polls[1 + 2 * i] = (struct pollfd){ .fd = pair->near, .events = events };
        polls[2 + 2 * i] = (struct pollfd){ .fd = pair->far, .events = events };
    }
    (void) poll (polls, 1 + 2 * n, TURN_MS);
    for (guint i = n; i-- > 0;)
        if (!serve (&proxy->pairs[i], &polls[1 + 2 * i]))
            drop (proxy, i);
    if (polls[0].revents != 0)
        accept_one (proxy);
    obey (proxy);
}

static gpointer
run (gpointer data)
{
    Proxy *proxy = data;
    while (!g_atomic_int_get (&proxy->must_end))
        turn (proxy);
    while (proxy->n_pairs > 0)
        drop (proxy, 0);
    return NULL;
}

void
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
    proxy->thread = g_thread_new ("proxy", run, proxy);
}

void
proxy_end (Proxy *proxy)
{
    g_atomic_int_set (&proxy->must_end, 1);
    g_thread_join (proxy->thread);
    close (proxy->listener);
}

void
proxy_order (Proxy *proxy, ProxyFault fault)
{
    g_atomic_int_set (&proxy->order, 1 + (gint) fault);
    while (g_atomic_int_get (&proxy->order) != 0) /* the thread takes it within TURN_MS */
        g_usleep (1000);
}

void
proxy_order_new (Proxy *proxy, ProxyFault fault)
{
    g_atomic_int_set (&proxy->new_fault, (gint) fault);
}
