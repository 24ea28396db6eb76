/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test-qmp-server.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LIMIT_MS 20000 /* of every wait in a script */

struct _Server {
    char *directory, *path;
    int listener, client;
    int fd; /* received last */
    guint n_fds;
    GString *input;
    ServerScript script;
    GThread *thread;
};

const char server_greeting[] =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \"package\": "
    "\"Debian 1:7.2\"}, \"capabilities\": [\"oob\"]}}\r\n";

Server *
server_new (void)
{
    Server *server = g_new0 (Server, 1);
    server->directory = g_dir_make_tmp ("godwit-qmp-XXXXXX", NULL);
    g_assert_nonnull (server->directory);
    server->path = g_build_filename (server->directory, "qmp", NULL);
    server->listener = server->client = server->fd = -1;
    server->input = g_string_new (NULL);
    return server;
}

const char *
server_path (const Server *server)
{
    return server->path;
}

void
server_join (Server *server)
{
    g_clear_pointer (&server->thread, g_thread_join);
}

static void
close_fd (int *fd)
{
    if (*fd >= 0)
        (void) close (*fd);
    *fd = -1;
}

void
server_hide (Server *server)
{
    (void) g_unlink (server->path); /* either may be gone already */
    (void) g_rmdir (server->directory);
}

void
server_free (Server *server)
{
    server_join (server);
    close_fd (&server->client);
    close_fd (&server->listener);
    close_fd (&server->fd);
    server_hide (server);
    g_string_free (server->input, TRUE);
    g_free (server->directory);
    g_free (server->path);
    g_free (server);
}

void
server_listen (Server *server, int backlog)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_assert_cmpint (strlen (server->path), <, sizeof address.sun_path);
    strcpy (address.sun_path, server->path);
    server->listener = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (server->listener, >=, 0);
    g_assert_no_errno (bind (server->listener, (struct sockaddr *) &address, sizeof address));
    g_assert_no_errno (listen (server->listener, backlog));
}

static gboolean
is_ready (int fd, short events, int ms)
{
    struct pollfd poll_fd = { .fd = fd, .events = events };
    return poll (&poll_fd, 1, ms) > 0;
}

static gpointer
play (gpointer data)
{
    Server *server = data;
    g_assert_true (is_ready (server->listener, POLLIN, LIMIT_MS));
    server->client = accept4 (server->listener, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint (server->client, >=, 0);
    server->script (server);
    close_fd (&server->client);
    return NULL;
}

void
server_start (Server *server, ServerScript script)
{
    server_listen (server, 8);
    server->script = script;
    server->thread = g_thread_new ("server", play, server);
}

void
server_say_bytes (Server *server, const char *bytes, gsize len)
{
    while (len > 0) {
        g_assert_true (is_ready (server->client, POLLOUT, LIMIT_MS));
        gssize n = send (server->client, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return; /* the client has seen enough */
        g_assert_cmpint (n, >, 0);
        bytes += n;
        len -= (gsize) n;
    }
}

void
server_say (Server *server, const char *text)
{
    server_say_bytes (server, text, strlen (text));
}

void
server_drip (Server *server, const char *text)
{
    for (; *text != '\0'; text++)
        server_say_bytes (server, text, 1);
}

void
server_answer (Server *server, const Heard *heard, const char *format)
{
    g_autofree char *id = g_strdup_printf ("%" G_GINT64_FORMAT, heard->id);
    g_auto (GStrv) parts = g_strsplit (format, "%d", 2);
    g_autofree char *text = g_strjoinv (id, parts);
    server_say (server, text);
}

static gsize
receive (Server *server)
{
    char bytes[65536];
    char control[CMSG_SPACE (sizeof (int))];
    struct iovec vector = { bytes, sizeof bytes };
    struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control,
                              .msg_controllen = sizeof control };
    gssize n = recvmsg (server->client, &message, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return 0;
    struct cmsghdr *with = CMSG_FIRSTHDR (&message);
    if (with != NULL && with->cmsg_type == SCM_RIGHTS) {
        close_fd (&server->fd);
        memcpy (&server->fd, CMSG_DATA (with), sizeof (int));
        server->n_fds++;
    }
    g_string_append_len (server->input, bytes, n);
    return (gsize) n;
}

Heard
server_hear (Server *server)
{
    char *end;
    gsize seen = 0;
    while ((end = strchr (server->input->str + seen, '\n')) == NULL) {
        seen = server->input->len;
        g_assert_true (is_ready (server->client, POLLIN, LIMIT_MS));
        g_assert_cmpint (receive (server), >, 0);
    }
    gsize len = (gsize) (end - server->input->str) + 1;
    g_autoptr (JsonParser) parser = json_parser_new ();
    g_assert_true (json_parser_load_from_data (parser, server->input->str, (gssize) len, NULL));
    g_string_erase (server->input, 0, (gssize) len);

    Heard heard = { .root = json_parser_steal_root (parser) };
    JsonObject *object = json_node_get_object (heard.root);
    heard.is_oob = json_object_has_member (object, "exec-oob");
    heard.name = json_object_get_string_member (object, heard.is_oob ? "exec-oob" : "execute");
    heard.id = json_object_get_int_member (object, "id");
    if (json_object_has_member (object, "arguments"))
        heard.arguments = json_object_get_object_member (object, "arguments");
    return heard;
}

void
heard_clear (Heard *heard)
{
    g_clear_pointer (&heard->root, json_node_unref);
}

void
server_skip (Server *server)
{
    Heard heard = server_hear (server);
    heard_clear (&heard);
}

gboolean
server_hears_nothing (Server *server, int ms)
{
    return server->input->len == 0 && !is_ready (server->client, POLLIN, ms);
}

void
server_hear_end (Server *server)
{
    while (is_ready (server->client, POLLIN, LIMIT_MS))
        if (receive (server) == 0)
            return;
    g_assert_not_reached ();
}

int
server_take_fd (Server *server)
{
    int fd = server->fd;
    server->fd = -1;
    return fd;
}

guint
server_count_fds (const Server *server)
{
    return server->n_fds;
}

void
server_welcome (Server *server)
{
    server_say (server, server_greeting);
    g_auto (Heard) heard = server_hear (server);
    g_assert_cmpstr (heard.name, ==, "qmp_capabilities");
    server_answer (server, &heard, "{\"return\": {}, \"id\": %d}\r\n");
}
