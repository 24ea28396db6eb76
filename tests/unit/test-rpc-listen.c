/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* src/rpc over unix sockets: listening, stale and live sockets, who may connect, what cannot be
 * reached. */
#include "test-rpc-peers.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NOBODY 65534

typedef struct {
    char *dir;
    char *path; /* of a socket in it */
    GMainContext *context;
    GSocket *listener;
    GThread *thread; /* serves one client */
} Place;

static void
place_init (Place *place)
{
    g_autoptr (GError) error = NULL;
    place->dir = g_dir_make_tmp ("test-rpc-XXXXXX", &error);
    g_assert_no_error (error);
    place->path = g_build_filename (place->dir, "s", NULL);
    place->context = g_main_context_new ();
}

static void
place_clear (Place *place)
{
    if (place->thread != NULL)
        g_thread_join (place->thread);
    g_clear_object (&place->listener);
    (void) g_unlink (place->path); /* some tests leave nothing */
    g_assert_cmpint (g_rmdir (place->dir), ==, 0);
    g_free (place->path);
    g_free (place->dir);
    g_main_context_unref (place->context);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Place, place_clear)

static void
place_listen (Place *place)
{
    g_autoptr (GError) error = NULL;
    place->listener = gw_rpc_listen_unix (place->path, 0600, &error);
    g_assert_no_error (error);
}

static gpointer
accept_thread (gpointer user_data)
{
    Place *place = user_data;
    g_autoptr (GError) error = NULL;
    g_autoptr (GMainContext) context = g_main_context_new ();
    g_autoptr (GSocketConnection) client
        = gw_rpc_accept (place->listener, context, gw_deadline_ms (TEST_MS), NULL, &error);
    g_assert_no_error (error);
    serve (G_IO_STREAM (client), context);
    return NULL;
}

static void
test_connect (void)
{
    g_auto (Place) place = { 0 };
    g_autoptr (GError) error = NULL;
    place_init (&place);
    place_listen (&place);
    struct stat info;
    g_assert_cmpint (stat (place.path, &info), ==, 0);
    g_assert_cmpint (info.st_mode & 07777, ==, 0600);
    place.thread = g_thread_new ("accept", accept_thread, &place);
    g_autofree char *text = g_strconcat ("unix:", place.path, NULL);
    g_autoptr (GwRpcAddress) address = gw_rpc_address_parse (text, NULL);
    g_autoptr (GwRpc) rpc = gw_rpc_connect (address, place.context, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (gw_rpc_get_name (rpc), ==, text);
    g_assert_true (gw_rpc_hello (rpc, "test", NULL, NULL, &error));
    g_assert_no_error (error);
    g_autoptr (JsonNode) result = gw_rpc_call (rpc, GW_RPC_HOST_FACTS, NULL, NULL, &error);
    g_assert_no_error (error);
    g_assert_nonnull (result);
}

static void
expect_unreachable (Place *place, const char *path, const char *in_message)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwRpc) rpc = gw_rpc_connect_unix (path, place->context, NULL, &error);
    g_assert_null (rpc);
    assert_cause (error, GW_CAUSE_DESTINATION_UNREACHABLE, in_message);
}

static void
test_unreachable (void)
{
    g_auto (Place) place = { 0 };
    place_init (&place);
    expect_unreachable (&place, place.path, "does not exist");
    expect_unreachable (&place, place.dir, "is not a socket");
    g_assert_true (g_file_set_contents (place.path, "", 0, NULL));
    expect_unreachable (&place, place.path, "is not a socket");
    g_unlink (place.path);
    place_listen (&place);
    g_clear_object (&place.listener);
    expect_unreachable (&place, place.path, "nobody listens");
    g_autofree char *longer = g_strnfill (GW_RPC_UNIX_PATH_MAX + 1, 'p');
    expect_unreachable (&place, longer, "at most 107");
}

/* Port 1 of the loopback: nobody listens there. */
static void
test_nobody_at_port (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwRpcAddress) address = gw_rpc_address_parse ("godwit://127.0.0.1:1", NULL);
    g_assert_null (gw_rpc_connect (address, g_main_context_default (), NULL, &error));
    assert_cause (error, GW_CAUSE_DESTINATION_UNREACHABLE, "godwit://127.0.0.1:1");
}

static void
test_stale_socket (void)
{
    g_auto (Place) place = { 0 };
    place_init (&place);
    place_listen (&place);
    g_clear_object (&place.listener); /* the path stays */
    g_assert_true (g_file_test (place.path, G_FILE_TEST_EXISTS));
    place_listen (&place);
    g_assert_nonnull (place.listener);
}

static void
expect_no_listener (const char *path, const char *in_message)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GSocket) listener = gw_rpc_listen_unix (path, 0600, &error);
    g_assert_null (listener);
    assert_cause (error, GW_CAUSE_HOST_IO, in_message);
}

static void
test_live_socket (void)
{
    g_auto (Place) place = { 0 };
    g_autoptr (GError) error = NULL;
    place_init (&place);
    place_listen (&place);
    expect_no_listener (place.path, "listens on");
    /* and the live server goes on: the one who looked has hung up, the next is served */
    g_autoptr (GSocketConnection) gone
        = gw_rpc_accept (place.listener, place.context, gw_deadline_ms (TEST_MS), NULL, NULL);
    g_assert_nonnull (gone);
    place.thread = g_thread_new ("accept", accept_thread, &place);
    g_autoptr (GwRpc) rpc = gw_rpc_connect_unix (place.path, place.context, NULL, &error);
    g_assert_no_error (error);
    g_assert_true (gw_rpc_hello (rpc, "test", NULL, NULL, &error));
}

static void
test_cannot_listen (void)
{
    g_auto (Place) place = { 0 };
    place_init (&place);
    g_autofree char *longer = g_strnfill (GW_RPC_UNIX_PATH_MAX + 1, 'p');
    expect_no_listener (longer, "108 bytes");
    expect_no_listener ("", "missing");
    g_autofree char *nowhere = g_build_filename (place.dir, "no", "s", NULL);
    expect_no_listener (nowhere, nowhere);
    g_assert_true (g_file_set_contents (place.path, "precious", -1, NULL));
    expect_no_listener (place.path, "is not a socket");
    g_assert_true (g_file_test (place.path, G_FILE_TEST_IS_REGULAR));
}

static void
test_accept_ends (void)
{
    g_auto (Place) place = { 0 };
    g_autoptr (GError) error = NULL;
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    place_init (&place);
    place_listen (&place);
    g_assert_null (
        gw_rpc_accept (place.listener, place.context, gw_deadline_ms (10), NULL, &error));
    assert_cause (error, GW_CAUSE_TIMED_OUT, "waiting for a client");
    g_clear_error (&error);
    g_cancellable_cancel (cancellable);
    g_assert_null (gw_rpc_accept (place.listener, place.context, gw_deadline_ms (TEST_MS),
                                  cancellable, &error));
    assert_cause (error, GW_CAUSE_ABORTED, "");
}

/* Connects as user `uid`: the kernel notes the effective user at connect(2). */
static int
connect_as (const char *path, uid_t uid)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_strlcpy (address.sun_path, path, sizeof address.sun_path);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (seteuid (uid), ==, 0);
    int failed = connect (fd, (struct sockaddr *) &address, sizeof address);
    g_assert_cmpint (seteuid (0), ==, 0);
    g_assert_cmpint (failed, ==, 0);
    return fd;
}

static void
test_peer_refused (void)
{
    if (geteuid () != 0) {
        g_test_skip ("needs root (sudo -E make test), to connect as somebody else");
        return;
    }
    g_auto (Place) place = { 0 };
    g_autoptr (GError) error = NULL;
    place_init (&place);
    place_listen (&place);
    g_assert_cmpint (chmod (place.dir, 0755), ==, 0);
    g_assert_cmpint (chmod (place.path, 0666), ==, 0);
    g_autoptr (GIOStream) stream = stream_of_fd (connect_as (place.path, NOBODY));
    g_autoptr (GwRpc) rpc = gw_rpc_new (stream, place.context);
    /* the client's hello is on its way already when it is refused */
    g_autoptr (GwRpcPending) hello = gw_rpc_call_begin (rpc, GW_RPC_HELLO, NULL, 0);
    g_assert_null (
        gw_rpc_accept (place.listener, place.context, gw_deadline_ms (TEST_MS), NULL, &error));
    assert_cause (error, GW_CAUSE_PEER_REFUSED, "user 65534");
    while (!gw_rpc_pending_is_done (hello))
        g_main_context_iteration (place.context, TRUE);
    g_clear_error (&error);
    g_assert_null (gw_rpc_pending_finish (g_steal_pointer (&hello), &error));
    assert_cause (error, GW_CAUSE_PEER_REFUSED, "ended the connection: user 65534");
}

/* A server that is not root serves root and itself. */
static void
test_peer_of_own_user (void)
{
    if (geteuid () != 0) {
        g_test_skip ("needs root (sudo -E make test), to be somebody else");
        return;
    }
    static const struct {
        uid_t server, client;
        gboolean is_served;
    } cases[] = { { NOBODY, NOBODY, TRUE },
                  { NOBODY, 0, TRUE },
                  { NOBODY, 1, FALSE },
                  { 0, 0, TRUE },
                  { 0, 1, FALSE } };
    g_auto (Place) place = { 0 };
    place_init (&place);
    place_listen (&place);
    g_assert_cmpint (chmod (place.dir, 0755), ==, 0);
    g_assert_cmpint (chmod (place.path, 0666), ==, 0);
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
        int fd = connect_as (place.path, cases[i].client);
        g_assert_cmpint (seteuid (cases[i].server), ==, 0);
        g_autoptr (GSocketConnection) client
            = gw_rpc_accept (place.listener, place.context, gw_deadline_ms (TEST_MS), NULL, NULL);
        g_assert_cmpint (seteuid (0), ==, 0);
        g_assert_true ((client != NULL) == cases[i].is_served);
        close (fd);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/rpc/listen/connect", test_connect);
    g_test_add_func ("/rpc/listen/unreachable", test_unreachable);
    g_test_add_func ("/rpc/listen/nobody-at-port", test_nobody_at_port);
    g_test_add_func ("/rpc/listen/stale-socket", test_stale_socket);
    g_test_add_func ("/rpc/listen/live-socket", test_live_socket);
    g_test_add_func ("/rpc/listen/cannot-listen", test_cannot_listen);
    g_test_add_func ("/rpc/listen/accept-ends", test_accept_ends);
    g_test_add_func ("/rpc/listen/peer-refused", test_peer_refused);
    g_test_add_func ("/rpc/listen/peer-of-own-user", test_peer_of_own_user);
    return g_test_run ();
}
