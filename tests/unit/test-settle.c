/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The agent asks by itself about jobs that were never settled: of hosts that are gone, mute, or stop in the middle. */
#include "test-host-dir.h"

#include "agent-internal.h"

#include <stdlib.h>
#include <unistd.h>

#define UUID "2f5cd3f5-6f4b-4f3c-8a3e-0123456789ab"
#define SOON_MS 3000 /* much less than any question may take */

typedef enum {
    CLOSES, /* whoever comes is sent away */
    MUTE,   /* does not even say hello */
    GREETS, /* says hello, and nothing else */
} Manner;

/* What is behind the address of a destination. */
typedef struct {
    Manner manner;
    char *path, *address;
    GSocket *listener;
    GCancellable *ending;
    GThread *thread;
    gint n_dialled, n_asked; /* atomic: connections, and lines that came over them */
} Host;

static void
greet (GSocketConnection *connection, const char *question)
{
    const char *id = strstr (question, "\"id\":");
    g_assert_nonnull (id);
    g_autofree char *answer = g_strdup_printf (
        "{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":{\"protocol\":%d,\"program\":\"test\",\"version\":\"0\","
        "\"host\":\"b\",\"pid\":1}}\n", atoi (id + strlen ("\"id\":")), GW_RPC_PROTOCOL);
    GOutputStream *out = g_io_stream_get_output_stream (G_IO_STREAM (connection));
    g_assert_true (g_output_stream_write_all (out, answer, strlen (answer), NULL, NULL, NULL));
}

/* Until the other end goes, or the test ends. */
static void
listen_to (Host *host, GSocketConnection *connection)
{
    GInputStream *in = g_io_stream_get_input_stream (G_IO_STREAM (connection));
    g_autoptr (GDataInputStream) lines = g_data_input_stream_new (in);
    for (;;) {
        g_autofree char *line = g_data_input_stream_read_line (lines, NULL, host->ending, NULL);
        if (line == NULL)
            return;
        if (g_atomic_int_add (&host->n_asked, 1) == 0 && host->manner == GREETS)
            greet (connection, line);
    }
}

static gpointer
run_host (gpointer user_data)
{
    Host *host = user_data;
    for (;;) {
        g_autoptr (GSocket) socket = g_socket_accept (host->listener, host->ending, NULL);
        if (socket == NULL)
            return NULL;
        g_atomic_int_inc (&host->n_dialled);
        g_autoptr (GSocketConnection) connection = g_socket_connection_factory_create_connection (socket);
        if (host->manner != CLOSES)
            listen_to (host, connection);
    }
}

static Host *
host_new (const Dir *dir, const char *name, Manner manner)
{
    g_autoptr (GError) error = NULL;
    Host *host = g_new0 (Host, 1);
    host->manner = manner;
    host->path = dir_path (dir, name);
    host->address = g_strconcat ("unix:", host->path, NULL);
    host->listener = gw_rpc_listen_unix (host->path, 0600, &error);
    g_assert_no_error (error);
    g_socket_set_blocking (host->listener, TRUE);
    host->ending = g_cancellable_new ();
    host->thread = g_thread_new ("host", run_host, host);
    return host;
}

static void
host_free (Host *host)
{
    g_cancellable_cancel (host->ending);
    g_thread_join (host->thread);
    g_object_unref (host->listener);
    g_object_unref (host->ending);
    g_assert_no_errno (unlink (host->path));
    g_free (host->path);
    g_free (host->address);
    g_free (host);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Host, host_free)

/* A job of the source that ended without an answer. */
static void
add_undecided (const Dir *dir, const char *id, gint64 epoch, const char *destination)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, &error);
    g_assert_no_error (error);
    GwJournalJob job = { .job = id, .side = GW_SIDE_SOURCE, .vm = "web1", .uuid = UUID, .epoch = epoch,
                         .peer = destination };
    gw_host_sign_job (&job);
    g_assert_true (gw_journal_begin_job (journal, &job, gw_host_process_is_alive, &error));
    g_assert_true (gw_journal_put_record (journal, id, GW_SIDE_SOURCE, "released", epoch, UUID, &error));
    g_assert_true (gw_journal_end_job (journal, id, GW_SIDE_SOURCE, "undecided", NULL, &error));
}

static void
assert_undecided (const Dir *dir, guint n)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonObject) answer = gw_history_find (dir->config, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (json_array_get_length (gw_json_peek_array (answer, "jobs")), ==, n);
}

/* A host that does not answer is not asked about its next job in the same round; others are. */
static void
test_dials_a_dead_host_once_a_round (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GCancellable) stopping = g_cancellable_new ();
    g_autoptr (Host) dead = host_new (dir, "dead.sock", CLOSES), other = host_new (dir, "other.sock", CLOSES);
    add_undecided (dir, "gw-1", 1, dead->address);
    add_undecided (dir, "gw-2", 2, dead->address);
    add_undecided (dir, "gw-3", 3, other->address);
    add_undecided (dir, "gw-4", 4, dead->address);
    for (gint round = 1; round <= 2; round++) {
        gw_agent_settle (dir->config, dir->context, stopping);
        g_assert_cmpint (g_atomic_int_get (&dead->n_dialled), ==, round);
        g_assert_cmpint (g_atomic_int_get (&other->n_dialled), ==, round);
    }
    assert_undecided (dir, 4);
}

typedef struct {
    Host *host;
    GCancellable *stopping;
    gint n_asked; /* what it has been asked when the agent is told to end */
} Ending;

static gpointer
end_agent (gpointer user_data)
{
    Ending *ending = user_data;
    gint64 deadline = gw_deadline_ms (10000);
    while (g_atomic_int_get (&ending->host->n_asked) < ending->n_asked && g_get_monotonic_time () < deadline)
        g_usleep (1000);
    g_cancellable_cancel (ending->stopping);
    return NULL;
}

/* An agent that is told to end does not wait for a host that is silent, nor asks the next one. */
static void
test_ends_in_the_middle_of_a_question (void)
{
    static const struct {
        Manner manner;
        gint n_asked;
    } table[] = { { MUTE, 1 }, { GREETS, 2 } };
    for (guint i = 0; i < G_N_ELEMENTS (table); i++) {
        g_autoptr (Dir) dir = dir_new ();
        g_autoptr (GCancellable) stopping = g_cancellable_new ();
        g_autoptr (Host) silent = host_new (dir, "silent.sock", table[i].manner);
        g_autoptr (Host) next = host_new (dir, "next.sock", CLOSES);
        Ending ending = { silent, stopping, table[i].n_asked };
        add_undecided (dir, "gw-1", 1, silent->address);
        add_undecided (dir, "gw-2", 2, next->address);
        GThread *thread = g_thread_new ("end", end_agent, &ending);
        gint64 began_us = g_get_monotonic_time ();
        gw_agent_settle (dir->config, dir->context, stopping);
        g_assert_cmpint (g_get_monotonic_time () - began_us, <, SOON_MS * 1000);
        g_thread_join (thread);
        g_assert_cmpint (g_atomic_int_get (&silent->n_asked), ==, table[i].n_asked);
        g_assert_cmpint (g_atomic_int_get (&next->n_dialled), ==, 0);
        assert_undecided (dir, 2);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/settle/dials-a-dead-host-once-a-round", test_dials_a_dead_host_once_a_round);
    g_test_add_func ("/settle/ends-in-the-middle-of-a-question", test_ends_in_the_middle_of_a_question);
    return g_test_run ();
}
