/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static void
add_candidate (GPtrArray *list, const char *address)
{
    for (guint i = 0; i < list->len; i++)
        if (strcmp (list->pdata[i], address) == 0)
            return;
    g_ptr_array_add (list, g_strdup (address));
}

/* The address on which the peer's ssh reached us: the best guess of all. */
static void
add_ssh_address (GPtrArray *list)
{
    const char *connection = g_getenv ("SSH_CONNECTION"); /* client port server port */
    g_auto (GStrv) words = g_strsplit (connection != NULL ? connection : "", " ", -1);
    if (g_strv_length (words) == 4)
        add_candidate (list, words[2]);
}

static gboolean
is_useful (const struct ifaddrs *entry, gboolean want_loopback)
{
    if (entry->ifa_addr == NULL || !(entry->ifa_flags & IFF_UP))
        return FALSE;
    if (((entry->ifa_flags & IFF_LOOPBACK) != 0) != want_loopback)
        return FALSE;
    if (entry->ifa_addr->sa_family == AF_INET)
        return TRUE;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) entry->ifa_addr;
    return entry->ifa_addr->sa_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL (&in6->sin6_addr);
}

static void
add_interface_addresses (GPtrArray *list, const struct ifaddrs *all, gboolean want_loopback)
{
    for (const struct ifaddrs *entry = all; entry != NULL; entry = entry->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        if (!is_useful (entry, want_loopback))
            continue;
        const void *raw = entry->ifa_addr->sa_family == AF_INET
                              ? (const void *) &((struct sockaddr_in *) entry->ifa_addr)->sin_addr
                              : &((struct sockaddr_in6 *) entry->ifa_addr)->sin6_addr;
        if (inet_ntop (entry->ifa_addr->sa_family, raw, text, sizeof text) != NULL)
            add_candidate (list, text);
    }
}

/* Our addresses, the likely ones first; loopback last, for two agents on one host. */
static GPtrArray *
list_own_addresses (const char *reached_at)
{
    GPtrArray *list = g_ptr_array_new_with_free_func (g_free);
    struct ifaddrs *all = NULL;
    if (reached_at != NULL)
        add_candidate (list, reached_at);
    add_ssh_address (list);
    if (getifaddrs (&all) != 0)
        return list;
    add_interface_addresses (list, all, FALSE);
    add_interface_addresses (list, all, TRUE);
    freeifaddrs (all);
    return list;
}

static socklen_t
make_sockaddr (const char *address, struct sockaddr_storage *ss)
{
    struct sockaddr_in *in = (struct sockaddr_in *) ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) ss;
    memset (ss, 0, sizeof *ss);
    if (inet_pton (AF_INET, address, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        return sizeof *in;
    }
    if (inet_pton (AF_INET6, address, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        return sizeof *in6;
    }
    return 0;
}

static int
bind_and_listen (const struct sockaddr_storage *ss, socklen_t len)
{
    int off = 0;
    int fd = socket (ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (ss->ss_family == AF_INET6)
        (void) setsockopt (fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind (fd, (const struct sockaddr *) ss, len) == 0 && listen (fd, 16) == 0)
        return fd;
    int saved = errno;
    gw_fd_clear (&fd);
    errno = saved;
    return -1;
}

/* On all addresses, of both families where IPv6 exists. */
static int
listen_anywhere (void)
{
    struct sockaddr_storage ss;
    int fd = bind_and_listen (&ss, make_sockaddr ("::", &ss));
    return fd >= 0 ? fd : bind_and_listen (&ss, make_sockaddr ("0.0.0.0", &ss));
}

static int
listen_on (const char *address, GError **error)
{
    struct sockaddr_storage ss;
    socklen_t len = make_sockaddr (address, &ss);
    if (len == 0) {
        gw_fail (error, GW_CAUSE_USAGE, "data address '%s' is not an IPv4 or IPv6 address",
                 address);
        return -1;
    }
    int fd = bind_and_listen (&ss, len);
    if (fd < 0)
        gw_fail (error, GW_CAUSE_HOST_IO, "cannot listen on data address '%s': %s", address,
                 g_strerror (errno));
    return fd;
}

static void
clear_fd (gpointer fd)
{
    gw_fd_clear (fd);
}

static guint16
get_port (int fd)
{
    struct sockaddr_storage ss = { 0 };
    socklen_t len = sizeof ss;
    (void) getsockname (fd, (struct sockaddr *) &ss, &len); /* cannot fail on a bound socket */
    return ntohs (ss.ss_family == AF_INET ? ((struct sockaddr_in *) &ss)->sin_port
                                          : ((struct sockaddr_in6 *) &ss)->sin6_port);
}

static void
tell_candidate (GStrvBuilder *builder, const char *address, int fd)
{
    g_autofree char *text = g_strdup_printf (strchr (address, ':') != NULL ? "[%s]:%u" : "%s:%u",
                                             address, get_port (fd));
    g_strv_builder_add (builder, text);
}

static gboolean
listen_on_all (const char *reached_at, GStrvBuilder *builder, GArray *fds, GError **error)
{
    int fd = listen_anywhere ();
    if (fd < 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "cannot listen for data: %s", g_strerror (errno));
    g_array_append_val (fds, fd);
    g_autoptr (GPtrArray) own = list_own_addresses (reached_at);
    for (guint i = 0; i < own->len; i++)
        tell_candidate (builder, own->pdata[i], fd);
    return TRUE;
}

static gboolean
listen_on_each (const char *const *addresses, GStrvBuilder *builder, GArray *fds, GError **error)
{
    for (guint i = 0; addresses[i] != NULL; i++) {
        int fd = listen_on (addresses[i], error);
        if (fd < 0)
            return FALSE;
        g_array_append_val (fds, fd);
        tell_candidate (builder, addresses[i], fd);
    }
    return TRUE;
}

GArray *
gw_data_listen (const char *const *addresses, const char *reached_at, GStrv *ret_candidates, GError **error)
{
    guint n = addresses != NULL ? g_strv_length ((char **) addresses) : 0;
    g_autoptr (GArray) fds = g_array_new (FALSE, FALSE, sizeof (int));
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    g_array_set_clear_func (fds, clear_fd);
    if (n > GW_DATA_ADDRESSES) {
        gw_fail (error, GW_CAUSE_USAGE, "%u data addresses are more than %d", n, GW_DATA_ADDRESSES);
        return NULL;
    }
    if (!(n == 0 ? listen_on_all (reached_at, builder, fds, error)
                 : listen_on_each (addresses, builder, fds, error)))
        return NULL;
    *ret_candidates = g_strv_builder_end (builder);
    return g_steal_pointer (&fds);
}
