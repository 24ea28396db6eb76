/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test-courier-rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK 40000
#define FDS 4 /* of a courier's, from 3 */

/* --- sockets --------------------------------------------------------------------------------------- */

static void
limit_waits (int fd)
{
    struct timeval limit = { .tv_sec = RIG_WAIT_MS / 1000 };
    g_assert_cmpint (setsockopt (fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), ==, 0);
    g_assert_cmpint (setsockopt (fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), ==, 0);
}

static struct sockaddr_un
unix_address (const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_assert_cmpuint (g_strlcpy (address.sun_path, path, sizeof address.sun_path), <,
                      sizeof address.sun_path);
    return address;
}

int
rig_listen_unix (const char *path)
{
    struct sockaddr_un address = unix_address (path);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (bind (fd, (struct sockaddr *) &address, sizeof address), ==, 0);
    g_assert_cmpint (listen (fd, 4), ==, 0);
    limit_waits (fd);
    return fd;
}

int
rig_connect_unix (const char *path)
{
    struct sockaddr_un address = unix_address (path);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (connect (fd, (struct sockaddr *) &address, sizeof address), ==, 0);
    limit_waits (fd);
    return fd;
}

static int
listen_tcp (guint *ret_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (bind (fd, (struct sockaddr *) &address, sizeof address), ==, 0);
    g_assert_cmpint (listen (fd, 128), ==, 0);
    g_assert_cmpint (getsockname (fd, (struct sockaddr *) &address, &len), ==, 0);
    *ret_port = ntohs (address.sin_port);
    return fd;
}

int
rig_connect_tcp (const Rig *rig)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons ((uint16_t) rig->port),
                                   .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
    int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (connect (fd, (struct sockaddr *) &address, sizeof address), ==, 0);
    limit_waits (fd);
    return fd;
}

/* --- rig ------------------------------------------------------------------------------------------- */

void
rig_init (Rig *rig)
{
    *rig = (Rig){ .dir = g_dir_make_tmp ("gw-courier-XXXXXX", NULL) };
    rig->path[0] = g_build_filename (rig->dir, "out.sock", NULL);
    rig->path[1] = g_build_filename (rig->dir, "in.sock", NULL);
    rig->listener = listen_tcp (&rig->port);
    rig->incoming = rig_listen_unix (rig->path[1]);
    rig->source.control = rig->destination.control = -1;
    rig->source.allow = rig->destination.allow = -1;
}

static void
side_clear (RigSide *side)
{
    if (side->pid != 0) {
        (void) kill (side->pid, SIGKILL);
        (void) waitpid (side->pid, NULL, 0);
    }
    gw_fd_clear (&side->control);
    gw_fd_clear (&side->allow);
    if (side->lines != NULL)
        g_string_free (side->lines, TRUE);
}

void
rig_clear (Rig *rig)
{
    side_clear (&rig->source);
    side_clear (&rig->destination);
    gw_fd_clear (&rig->listener);
    gw_fd_clear (&rig->incoming);
    (void) g_unlink (rig->path[1]);
    (void) g_unlink (rig->path[0]); /* a killed courier leaves it */
    g_assert_cmpint (g_rmdir (rig->dir), ==, 0);
    g_free (rig->path[0]);
    g_free (rig->path[1]);
    g_free (rig->dir);
}

static int
make_secret (const char *secret, gsize len)
{
    int fd = memfd_create ("secret", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    g_assert_cmpint (write (fd, secret, len), ==, len);
    g_assert_cmpint (
        fcntl (fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL), ==, 0);
    return fd;
}

/* The arguments of a courier, whose descriptors are 3 (control), 4 (secret), 5 (listener) and 6 (what
 * its dialer may make). */
static char **
make_argv (const Rig *rig, GwSide side, const char *const *extra)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    g_strv_builder_add_many (builder, g_getenv ("GW_COURIER"), "--side", gw_side_name (side),
                             "--control-fd", "3", "--secret-fd", "4", "--dialer-fd", "6", "--job",
                             "test-1", NULL);
    g_autofree char *address = g_strdup_printf ("127.0.0.1:%u", rig->port);
    g_autofree char *lane = g_strdup_printf (
        "ram=%s:%s%s", side == GW_SIDE_SOURCE ? "accept" : "connect", rig->path[side - 1],
        rig->words != NULL ? rig->words : "");
    if (side == GW_SIDE_SOURCE)
        g_strv_builder_add_many (builder, "--connect", address, "--lane", lane, NULL);
    else
        g_strv_builder_add_many (builder, "--listen-fd", "5", "--lane", lane, NULL);
    if (extra != NULL)
        g_strv_builder_addv (builder, (const char **) extra);
    return g_strv_builder_end (builder);
}

/* After fork(): nothing here allocates. */
static void
become_courier (char **argv, const int fds[static FDS])
{
    int high[FDS];
    for (int i = 0; i < FDS; i++)
        high[i] = fds[i] < 0 ? -1 : fcntl (fds[i], F_DUPFD_CLOEXEC, 20);
    for (int i = 0; i < FDS; i++)
        if (high[i] >= 0)
            (void) dup2 (high[i], 3 + i);
    (void) execv (argv[0], argv);
    _exit (127);
}

/* Returns the courier's end. */
static int
make_pair (int *ret_ours)
{
    int pair[2];
    g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    *ret_ours = pair[0];
    return pair[1];
}

void
rig_start (Rig *rig, GwSide side, const char *secret, gsize len, const char *const *extra)
{
    g_auto (GStrv) argv = make_argv (rig, side, extra);
    RigSide *started = side == GW_SIDE_SOURCE ? &rig->source : &rig->destination;
    g_auto (GwFd) secret_fd = make_secret (secret, len);
    g_auto (GwFd) control = make_pair (&started->control);
    g_auto (GwFd) allow = make_pair (&started->allow);
    const int listener = side == GW_SIDE_SOURCE ? -1 : rig->listener;
    const int fds[FDS] = { control, secret_fd, listener, allow };
    started->lines = g_string_new (NULL);
    started->pid = fork ();
    if (started->pid == 0)
        become_courier (argv, fds);
    g_assert_cmpint (started->pid, >, 0);
}

void
rig_start_both (Rig *rig)
{
    static const char secret[] = "0123456789abcdef0123456789abcdef";
    rig_start (rig, GW_SIDE_DESTINATION, secret, GW_LINK_SECRET, NULL);
    g_free (rig_expect (&rig->destination, "\"event\":\"ready\""));
    rig_start (rig, GW_SIDE_SOURCE, secret, GW_LINK_SECRET, NULL);
    g_free (rig_expect (&rig->source, "\"event\":\"connected\",\"peer\":\"127.0.0.1:"));
    g_free (rig_expect (&rig->source, "\"event\":\"ready\""));
    g_free (rig_expect (&rig->destination, "\"event\":\"connected\""));
}

void
rig_open_lane (Rig *rig, int *ret_source, int *ret_destination)
{
    *ret_source = rig_connect_unix (rig->path[0]);
    *ret_destination = accept4 (rig->incoming, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint (*ret_destination, >=, 0);
    limit_waits (*ret_destination);
}

/* --- the agent's part ------------------------------------------------------------------------------- */

/* The first line with `text`, taken out of `lines`; NULL when there is none. */
static char *
take_line (GString *lines, const char *text)
{
    for (char *line = lines->str, *end; (end = strchr (line, '\n')) != NULL; line = end + 1) {
        g_autofree char *copy = g_strndup (line, (gsize) (end - line));
        if (strstr (copy, text) == NULL)
            continue;
        g_string_erase (lines, line - lines->str, end + 1 - line);
        return g_steal_pointer (&copy);
    }
    return NULL;
}

void
rig_drain (RigSide *side)
{
    char bytes[4096];
    gssize n;
    while ((n = recv (side->control, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        g_string_append_len (side->lines, bytes, n);
}

char *
rig_expect (RigSide *side, const char *text)
{
    gint64 deadline_us = gw_deadline_ms (RIG_WAIT_MS);
    char *line;
    while ((line = take_line (side->lines, text)) == NULL) {
        char bytes[4096];
        struct pollfd p = { .fd = side->control, .events = POLLIN };
        gssize n = 0;
        if (poll (&p, 1, (int) gw_deadline_left_ms (deadline_us)) == 1)
            n = recv (side->control, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n <= 0)
            g_error ("no event with '%s'; have: %s", text, side->lines->str);
        g_string_append_len (side->lines, bytes, n);
    }
    return line;
}

static void
send_line (int fd, const char *line)
{
    g_autofree char *whole = g_strdup_printf ("%s\n", line);
    g_assert_cmpint (send (fd, whole, strlen (whole), MSG_NOSIGNAL), ==, strlen (whole));
}

void
rig_say (RigSide *side, const char *line)
{
    send_line (side->control, line);
}

void
rig_allow (RigSide *side, const char *target)
{
    send_line (side->allow, target);
}

void
rig_command (RigSide *side, const char *command)
{
    g_autofree char *line = g_strdup_printf ("{\"command\":\"%s\"}", command);
    rig_say (side, line);
}

int
rig_wait (RigSide *side)
{
    gint64 deadline_us = gw_deadline_ms (RIG_WAIT_MS);
    int status = 0;
    pid_t pid;
    while ((pid = waitpid (side->pid, &status, WNOHANG)) == 0) {
        g_assert_cmpuint (gw_deadline_left_ms (deadline_us), >, 0);
        g_usleep (2000);
    }
    g_assert_cmpint (pid, ==, side->pid);
    side->pid = 0;
    return WIFEXITED (status) ? WEXITSTATUS (status) : 128 + WTERMSIG (status);
}

/* --- bytes -------------------------------------------------------------------------------------------- */

/* What a thread writes or reads. */
typedef struct {
    int fd;
    guint32 seed;
    gsize len;
    gboolean shuts_down;
} Job;

void
rig_make_bytes (guint32 *state, uint8_t *bytes, gsize len)
{
    for (gsize i = 0; i < len; i++) {
        *state = *state * 1664525u + 1013904223u;
        bytes[i] = (uint8_t) (*state >> 24);
    }
}

static gpointer
write_thread (gpointer data)
{
    g_autofree Job *writer = data;
    g_autofree uint8_t *bytes = g_malloc (CHUNK);
    for (gsize done = 0; done < writer->len;) {
        gsize len = MIN (CHUNK, writer->len - done);
        rig_make_bytes (&writer->seed, bytes, len);
        for (gsize part = 0; part < len;) {
            gssize n = send (writer->fd, bytes + part, len - part, MSG_NOSIGNAL);
            if (n <= 0)
                return GSIZE_TO_POINTER (done + part);
            part += (gsize) n;
        }
        done += len;
    }
    if (writer->shuts_down)
        g_assert_cmpint (shutdown (writer->fd, SHUT_WR), ==, 0);
    return GSIZE_TO_POINTER (writer->len);
}

GThread *
rig_write (int fd, guint32 seed, gsize len, gboolean shuts_down)
{
    Job *writer = g_new (Job, 1);
    *writer = (Job){ fd, seed, len, shuts_down };
    return g_thread_new ("writer", write_thread, writer);
}

static char *
expected_sum (guint32 seed, gsize len)
{
    g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
    g_autofree uint8_t *bytes = g_malloc (CHUNK);
    for (gsize done = 0; done < len; done += MIN (CHUNK, len - done)) {
        gsize n = MIN (CHUNK, len - done);
        rig_make_bytes (&seed, bytes, n);
        g_checksum_update (sum, bytes, (gssize) n);
    }
    return g_strdup (g_checksum_get_string (sum));
}

gsize
rig_read (int fd, guint32 seed, gsize len)
{
    g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
    g_autofree uint8_t *bytes = g_malloc (CHUNK);
    gsize done = 0;
    gssize n = 1;
    while (done < len && (n = recv (fd, bytes, MIN (CHUNK, len - done), 0)) > 0) {
        g_checksum_update (sum, bytes, n);
        done += (gsize) n;
    }
    if (n < 0)
        g_test_message ("read: %s", g_strerror (errno));
    g_assert_cmpint (n, >=, 0);
    g_autofree char *expected = expected_sum (seed, done);
    g_assert_cmpstr (g_checksum_get_string (sum), ==, expected);
    return done;
}

static gpointer
read_thread (gpointer data)
{
    g_autofree Job *reader = data;
    return GSIZE_TO_POINTER (rig_read (reader->fd, reader->seed, G_MAXSIZE));
}

GThread *
rig_read_thread (int fd, guint32 seed)
{
    Job *reader = g_new (Job, 1);
    *reader = (Job){ .fd = fd, .seed = seed };
    return g_thread_new ("reader", read_thread, reader);
}

void
rig_open (Rig *rig, int *ret_source, int *ret_destination)
{
    rig_init (rig);
    rig_start_both (rig);
    rig_open_lane (rig, ret_source, ret_destination);
}

void
rig_close (Rig *rig, int source, int destination)
{
    close (source);
    close (destination);
    rig_clear (rig);
}

/* --- how it ends ---------------------------------------------------------------------------------- */

void
rig_hear (RigSide *side, const char *text)
{
    g_free (rig_expect (side, text));
}

void
rig_expect_done (Rig *rig)
{
    rig_hear (&rig->source, "\"event\":\"done\"");
    rig_hear (&rig->destination, "\"event\":\"done\"");
    g_assert_cmpint (rig_wait (&rig->source), ==, 0);
    g_assert_cmpint (rig_wait (&rig->destination), ==, 0);
}

void
rig_expect_failed (RigSide *side, const char *cause)
{
    g_autofree char *text = g_strdup_printf ("\"event\":\"failed\",\"cause\":\"%s\"", cause);
    rig_hear (side, text);
    g_assert_cmpint (rig_wait (side), ==, 3);
}

void
rig_expect_closed (int fd)
{
    char byte;
    gssize n = recv (fd, &byte, 1, 0);
    g_assert_true (n == 0 || (n < 0 && errno == ECONNRESET));
    struct pollfd p = { .fd = fd, .events = 0 };
    g_assert_cmpint (poll (&p, 1, RIG_WAIT_MS), ==, 1);
    g_assert_cmpint (send (fd, "x", 1, MSG_NOSIGNAL), ==, -1);
    g_assert_cmpint (errno, ==, EPIPE);
}
