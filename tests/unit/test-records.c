/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ownership records: what was written holds for ever, what was not written whole never counts. */
#include "test-host-dir.h"

#include "test-db.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOB "gw-0001"

/* One process's view of the journal. */
typedef struct {
    GwJournal *journal;
    GwRecord *record;
} Open;

static void
open_clear (Open *open)
{
    gw_record_close (open->record);
    gw_journal_close (open->journal);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Open, open_clear)

static gboolean
open_side (const Dir *dir, GwSide side, guint timeout_ms, Open *ret, GError **error)
{
    ret->journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, error);
    if (ret->journal == NULL)
        return FALSE;
    const GwRecordSpec spec = { ret->journal, dir->path, JOB, side, dir->context };
    ret->record = gw_record_open (&spec, timeout_ms, error);
    return ret->record != NULL;
}

/* The journal says `kind`, to whoever opens it. */
static void
assert_kind (const Dir *dir, GwRecordKind kind)
{
    g_autoptr (GError) error = NULL;
    g_auto (Open) open = { 0 };
    (void) open_side (dir, GW_SIDE_DESTINATION, 1000, &open, &error);
    g_assert_no_error (error);
    g_assert_cmpint (gw_record_get_kind (open.record), ==, kind);
}

static void
append (const Dir *dir, GwRecordKind kind)
{
    g_autoptr (GError) error = NULL;
    g_auto (Open) open = { 0 };
    (void) open_side (dir, GW_SIDE_DESTINATION, 1000, &open, &error);
    g_assert_no_error (error);
    g_assert_true (gw_record_append (open.record, kind, 3, "a-uuid", &error));
    g_assert_no_error (error);
    g_assert_cmpint (gw_record_get_kind (open.record), ==, kind);
}

static void
test_kinds (void)
{
    for (int kind = GW_RECORD_RELEASED; kind <= GW_RECORD_REFUSED; kind++) {
        g_autoptr (Dir) dir = dir_new ();
        g_autoptr (GError) error = NULL;
        assert_kind (dir, GW_RECORD_NONE);
        append (dir, (GwRecordKind) kind);
        assert_kind (dir, (GwRecordKind) kind);
        g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_CHECKED, &error);
        g_assert_no_error (error);
        g_autoptr (JsonArray) rows =
            gw_journal_list_records (journal, JOB, GW_SIDE_DESTINATION, &error);
        g_assert_cmpuint (json_array_get_length (rows), ==, 1);
        JsonObject *row = json_array_get_object_element (rows, 0);
        g_assert_cmpstr (gw_json_peek_string (row, "record", NULL), ==,
                         gw_record_kind_name ((GwRecordKind) kind));
        g_assert_cmpint (gw_json_peek_int (row, "epoch", 0), ==, 3);
        g_assert_cmpstr (gw_json_peek_string (row, "vm", NULL), ==, "a-uuid");
        g_assert_cmpint (gw_json_peek_int (row, "at_us", 0), >, 0);
    }
}

static void
test_names (void)
{
    g_autoptr (GError) error = NULL;
    GwRecordKind kind;
    for (int i = GW_RECORD_NONE; i <= GW_RECORD_REFUSED; i++) {
        g_assert_true (
            gw_record_kind_from_name (gw_record_kind_name ((GwRecordKind) i), &kind, &error));
        g_assert_cmpint (kind, ==, i);
    }
    g_assert_false (gw_record_kind_from_name ("Started", &kind, &error));
    assert_error (&error, GW_CAUSE_RPC_INVALID, "'Started'");
}

/* The two sides of a job on one host are two records. */
static void
test_sides (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    append (dir, GW_RECORD_STARTED);
    g_auto (Open) open = { 0 };
    (void) open_side (dir, GW_SIDE_SOURCE, 1000, &open, &error);
    g_assert_no_error (error);
    g_assert_cmpint (gw_record_get_kind (open.record), ==, GW_RECORD_NONE);
}

static void
test_refused_after_started (void)
{
    g_autoptr (Dir) dir = dir_new ();
    append (dir, GW_RECORD_STARTED);
    append (dir, GW_RECORD_REFUSED);
    assert_kind (dir, GW_RECORD_REFUSED);
}

/* No other move exists: an attempt is our own mistake and ends the process. */
static void
test_illegal_moves (void)
{
    static const struct {
        GwRecordKind first, second;
    } moves[] = {
        { GW_RECORD_REFUSED, GW_RECORD_STARTED },
        { GW_RECORD_RELEASED, GW_RECORD_STARTED },
        { GW_RECORD_STARTED, GW_RECORD_STARTED },
        { GW_RECORD_STARTED, GW_RECORD_NONE },
    };
    for (guint i = 0; i < G_N_ELEMENTS (moves); i++) {
        g_autoptr (Dir) dir = dir_new ();
        append (dir, moves[i].first);
        pid_t child = fork ();
        g_assert_cmpint (child, >=, 0);
        if (child == 0) {
            const struct rlimit no_core = { 0, 0 };
            int null = open ("/dev/null", O_WRONLY | O_CLOEXEC);
            g_assert_no_errno (setrlimit (RLIMIT_CORE, &no_core));
            g_assert_no_errno (dup2 (null, STDOUT_FILENO));
            g_assert_no_errno (dup2 (null, STDERR_FILENO));
            append (dir, moves[i].second);
            _exit (0);
        }
        int status = 0;
        g_assert_cmpint (waitpid (child, &status, 0), ==, child);
        g_assert_true (WIFSIGNALED (status));
        assert_kind (dir, moves[i].first);
    }
}

/* --- crashes --------------------------------------------------------------------------------------- */

/* A process that is killed right after it was told that the record is written. */
static void
test_killed_after (void)
{
    g_autoptr (Dir) dir = dir_new ();
    pid_t child = fork ();
    g_assert_cmpint (child, >=, 0);
    if (child == 0) {
        Open open = { 0 };
        if (!open_side (dir, GW_SIDE_DESTINATION, 1000, &open, NULL) ||
            !gw_record_append (open.record, GW_RECORD_STARTED, 1, "vm", NULL))
            _exit (1);
        (void) kill (getpid (), SIGKILL);
    }
    int status = 0;
    g_assert_cmpint (waitpid (child, &status, 0), ==, child);
    g_assert_true (WIFSIGNALED (status));
    assert_kind (dir, GW_RECORD_STARTED); /* and the lock is free again */
}

/* Rows that nobody wrote: nobody may start or refuse on such ground. */
static void
test_damaged (void)
{
    static const char *const edits[] = {
        "UPDATE records SET record = 'gone'",
        "UPDATE records SET record = ''",
        "UPDATE records SET record = 'none'",
        "UPDATE records SET record = CAST (x'ff' AS TEXT)",
        "UPDATE records SET epoch = -1",
        "UPDATE records SET at_us = -1",
        "UPDATE records SET vm = printf ('%.5000c', 'x')",
        "INSERT INTO records VALUES ('gw-0001', 'destination', 1, 'started', 1, '', 1, 1)",
        ("INSERT INTO records VALUES ('gw-0001', 'destination', 1, 'refused', 1, '', 1, 1),"
         " ('gw-0001', 'destination', 2, 'started', 1, '', 1, 1)"),
    };
    for (guint i = 0; i < G_N_ELEMENTS (edits); i++) {
        g_autoptr (Dir) dir = dir_new ();
        g_autoptr (GError) error = NULL;
        g_auto (Open) open = { 0 };
        append (dir, GW_RECORD_STARTED);
        dir_edit (dir, edits[i]);
        g_assert_false (open_side (dir, GW_SIDE_DESTINATION, 1000, &open, &error));
        assert_error (&error, GW_CAUSE_JOURNAL_DAMAGED, "damaged");
    }
}

/* --- the lock ------------------------------------------------------------------------------------ */

/* A process that holds the lock of the record until the returned descriptor is closed. */
static int
hold_lock (const Dir *dir, pid_t *ret_child)
{
    int ready[2], stop[2];
    char byte = 'x';
    g_assert_no_errno (pipe2 (ready, O_CLOEXEC));
    g_assert_no_errno (pipe2 (stop, O_CLOEXEC));
    *ret_child = fork ();
    g_assert_cmpint (*ret_child, >=, 0);
    if (*ret_child == 0) {
        close (stop[1]);
        Open open = { 0 };
        if (!open_side (dir, GW_SIDE_DESTINATION, 1000, &open, NULL) || write (ready[1], &byte, 1) != 1)
            _exit (1);
        (void) !read (stop[0], &byte, 1);
        if (!gw_record_append (open.record, GW_RECORD_STARTED, 1, "vm", NULL))
            _exit (1);
        _exit (0); /* the end of the process is the end of the lock */
    }
    close (ready[1]);
    close (stop[0]);
    g_assert_cmpint (read (ready[0], &byte, 1), ==, 1);
    close (ready[0]);
    return stop[1];
}

static gboolean
let_go (gpointer user_data)
{
    gw_fd_clear (user_data);
    return G_SOURCE_REMOVE;
}

static void
test_lock (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    pid_t child;
    g_auto (GwFd) fd = hold_lock (dir, &child);
    gint64 begin_us = g_get_monotonic_time ();
    g_auto (Open) vain = { 0 }, open = { 0 };
    g_assert_false (open_side (dir, GW_SIDE_DESTINATION, 100, &vain, &error));
    assert_error (&error, GW_CAUSE_TIMED_OUT, "is locked");
    g_assert_cmpint (g_get_monotonic_time () - begin_us, >=, 100 * 1000);

    /* the second asker waits for the outcome, and its context goes on meanwhile */
    g_autoptr (GSource) source = g_timeout_source_new (50);
    g_source_set_callback (source, let_go, &fd, NULL);
    g_source_attach (source, dir->context);
    (void) open_side (dir, GW_SIDE_DESTINATION, 30000, &open, &error);
    g_assert_no_error (error);
    g_assert_cmpint (gw_record_get_kind (open.record), ==, GW_RECORD_STARTED);
    int status = 0;
    g_assert_cmpint (waitpid (child, &status, 0), ==, child);
    g_assert_true (WIFEXITED (status) && WEXITSTATUS (status) == 0);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/records/kinds", test_kinds);
    g_test_add_func ("/records/names", test_names);
    g_test_add_func ("/records/sides", test_sides);
    g_test_add_func ("/records/refused-after-started", test_refused_after_started);
    g_test_add_func ("/records/illegal-moves", test_illegal_moves);
    g_test_add_func ("/records/killed-after", test_killed_after);
    g_test_add_func ("/records/damaged", test_damaged);
    g_test_add_func ("/records/lock", test_lock);
    return g_test_run ();
}
