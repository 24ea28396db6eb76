/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The child that makes sockets for the courier; see courier.h. */
#include "courier.h"
#include "dialer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TARGETS_MAX 1024

typedef struct {
    int fd;               /* of the courier */
    GwFd agent_fd;        /* more targets come here; -1 for none */
    GHashTable *allowed;  /* set of text */
    GPtrArray *made;      /* paths that were bound here */
    char line[GW_COURIER_TARGET_MAX];
    gsize line_len;
} Child;

/* --- what it may make -------------------------------------------------------------------------------- */

static void
allow (Child *child, const char *target)
{
    if (g_hash_table_size (child->allowed) < TARGETS_MAX)
        (void) g_hash_table_add (child->allowed, g_strdup (target)); /* twice is once */
}

static void
allow_options (Child *child, const GwCourierOptions *options)
{
    for (guint i = 0; i < options->addresses->len; i++) {
        const char *text = g_ptr_array_index (options->addresses, i);
        g_autofree char *target = g_strdup_printf ("tcp %s", text);
        allow (child, target);
    }
    for (guint i = 0; i < options->lanes->len; i++) {
        g_autofree char *target =
            gw_lane_option_target (&g_array_index (options->lanes, GwLaneOption, i));
        allow (child, target);
    }
}

static void
take_agent_lines (Child *child)
{
    char *newline;
    while ((newline = memchr (child->line, '\n', child->line_len)) != NULL) {
        *newline = '\0';
        allow (child, child->line);
        child->line_len -= (gsize) (newline + 1 - child->line);
        memmove (child->line, newline + 1, child->line_len);
    }
}

/* The agent's end of this socket only ends what it may still allow. */
static void
read_agent (Child *child)
{
    gssize n = 1;
    while (n > 0 && child->line_len < sizeof child->line) {
        n = recv (child->agent_fd, child->line + child->line_len,
                  sizeof child->line - child->line_len, MSG_DONTWAIT);
        if (n > 0)
            child->line_len += (gsize) n;
        take_agent_lines (child);
    }
    if (n == 0 || child->line_len == sizeof child->line)
        gw_fd_clear (&child->agent_fd);
}

/* --- sockets ------------------------------------------------------------------------------------------ */

/* QEMU may run as another user, and connecting takes the right to write: who may come is decided by
 * the job's directory, which is that user's alone. */
static gboolean
listen_at (Child *child, int fd, const struct sockaddr_un *address)
{
    mode_t mask = umask (0);
    int status = bind (fd, (const struct sockaddr *) address, sizeof *address);
    int saved = errno;
    (void) umask (mask); /* cannot fail */
    errno = saved;
    if (status != 0)
        return FALSE;
    g_ptr_array_add (child->made, g_strdup (address->sun_path)); /* ours to remove from here on */
    return listen (fd, GW_SESSION_LANES) == 0;
}

static int
open_unix (Child *child, const char *path, gboolean listens)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (g_strlcpy (address.sun_path, path, sizeof address.sun_path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    gboolean ok = fd >= 0 &&
                  (listens ? listen_at (child, fd, &address)
                           : connect (fd, (struct sockaddr *) &address, sizeof address) == 0);
    int saved = errno;
    if (!ok && fd >= 0)
        (void) close (fd);
    errno = saved;
    return ok ? fd : -1;
}

static int
open_tcp (const char *text)
{
    struct sockaddr_storage native;
    g_autofree char *canonical = NULL;
    g_autoptr (GSocketAddress) address = gw_courier_address_parse (text, &canonical, NULL);
    errno = EINVAL;
    if (address == NULL || !g_socket_address_to_native (address, &native, sizeof native, NULL))
        return -1;
    int fd = socket (native.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len = (socklen_t) g_socket_address_get_native_size (address);
    if (fd < 0 || connect (fd, (struct sockaddr *) &native, len) == 0 || errno == EINPROGRESS)
        return fd;
    int saved = errno;
    (void) close (fd);
    errno = saved;
    return -1;
}

/* Returns a socket, or -1 with errno. */
static int
open_target (Child *child, const char *target)
{
    if (!g_hash_table_contains (child->allowed, target)) {
        errno = EACCES;
        return -1;
    }
    if (g_str_has_prefix (target, "tcp "))
        return open_tcp (target + strlen ("tcp "));
    if (g_str_has_prefix (target, "connect "))
        return open_unix (child, target + strlen ("connect "), FALSE);
    if (g_str_has_prefix (target, "accept "))
        return open_unix (child, target + strlen ("accept "), TRUE);
    errno = EINVAL;
    return -1;
}

/* --- questions ------------------------------------------------------------------------------------------ */

/* FALSE when the courier has gone. */
static gboolean
answer (Child *child)
{
    char target[GW_COURIER_TARGET_MAX];
    gssize n = recv (child->fd, target, sizeof target - 1, 0);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    target[n] = '\0';
    if (child->agent_fd >= 0)
        read_agent (child); /* what the agent allowed before it told the courier */
    g_auto (GwFd) made = open_target (child, target);
    return gw_dialer_send (child->fd, made < 0 ? errno : 0, made);
}

static void
serve (Child *child)
{
    for (;;) {
        struct pollfd polls[] = { { .fd = child->fd, .events = POLLIN },
                                  { .fd = child->agent_fd, .events = POLLIN } };
        if (poll (polls, G_N_ELEMENTS (polls), -1) < 0 && errno != EINTR)
            return;
        if (polls[1].revents != 0)
            read_agent (child);
        if (polls[0].revents != 0 && !answer (child))
            return;
    }
}

/* Whatever the courier was given is the courier's alone: the agent shall see the end of its sockets. */
static void
close_others (int keep_a, int keep_b)
{
    int low = MIN (keep_a, keep_b), high = MAX (keep_a, keep_b);
    if (low < 0)
        low = high;
    (void) close_range (STDERR_FILENO + 1, (guint) low - 1, 0);
    if (high > low + 1)
        (void) close_range ((guint) low + 1, (guint) high - 1, 0);
    (void) close_range ((guint) high + 1, ~0u, 0);
}

/* In a list of processes it is not to be taken for the courier. */
static void
rename_process (const GwCourierOptions *options)
{
    static const char name[] = "godwit-dialer";
    memset (options->title, 0, options->title_size);
    memcpy (options->title, name, MIN (options->title_size, strlen (name)));
    (void) prctl (PR_SET_NAME, name); /* cannot fail */
}

_Noreturn void
gw_dialer_child_run (const GwCourierOptions *options, int fd)
{
    Child child = { .fd = fd, .agent_fd = options->dialer_fd,
                    .allowed = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL),
                    .made = g_ptr_array_new_with_free_func (g_free) };
    (void) signal (SIGTERM, SIG_IGN); /* it ends with the courier */
    (void) signal (SIGINT, SIG_IGN);
    (void) signal (SIGPIPE, SIG_IGN);
    rename_process (options);
    (void) prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    close_others (fd, options->dialer_fd);
    allow_options (&child, options);
    serve (&child);
    for (guint i = 0; i < child.made->len; i++)
        (void) unlink (g_ptr_array_index (child.made, i)); /* the agent removes the directory anyway */
    g_hash_table_unref (child.allowed);
    g_ptr_array_unref (child.made);
    _exit (0);
}
