/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ownership records: what was written holds for ever, what was not written whole never counts. */
#include "test-host-dir.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOB "gw-0001"
#define FILE_DST "records/" JOB "-destination"

static GwRecord *
open_record (const Dir *dir, GError **error)
{
    return gw_record_open (dir->config, JOB, GW_SIDE_DESTINATION, dir->context, 1000, error);
}

/* The file says `kind`, to whoever opens it. */
static void
assert_kind (const Dir *dir, GwRecordKind kind)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwRecord) record = open_record (dir, &error);
    g_assert_no_error (error);
    g_assert_cmpint (gw_record_get_kind (record), ==, kind);
}

static void
append (const Dir *dir, GwRecordKind kind)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwRecord) record = open_record (dir, &error);
    g_assert_no_error (error);
    g_assert_true (gw_record_append (record, kind, 3, "a-uuid", &error));
    g_assert_no_error (error);
    g_assert_cmpint (gw_record_get_kind (record), ==, kind);
}

static void
test_kinds (void)
{
    for (int kind = GW_RECORD_RELEASED; kind <= GW_RECORD_REFUSED; kind++) {
        g_autoptr (Dir) dir = dir_new ();
        assert_kind (dir, GW_RECORD_NONE);
        append (dir, (GwRecordKind) kind);
        assert_kind (dir, (GwRecordKind) kind);
        g_autofree char *text = dir_read (dir, FILE_DST, NULL);
        g_assert_true (g_str_has_suffix (text, "\n"));
        g_autoptr (JsonObject) line = gw_json_parse (text, -1, NULL);
        g_assert_cmpstr (gw_json_peek_string (line, "record", NULL), ==,
                         gw_record_kind_name ((GwRecordKind) kind));
        g_assert_cmpint (gw_json_peek_int (line, "epoch", 0), ==, 3);
        g_assert_cmpstr (gw_json_peek_string (line, "vm", NULL), ==, "a-uuid");
        g_assert_cmpint (gw_json_peek_int (line, "at_us", 0), >, 0);
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
    g_autoptr (GwRecord) source =
        gw_record_open (dir->config, JOB, GW_SIDE_SOURCE, dir->context, 1000, &error);
    g_assert_no_error (error);
    g_assert_cmpint (gw_record_get_kind (source), ==, GW_RECORD_NONE);
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

/* What a crash can leave behind the last whole line. */
static void
test_torn_line (void)
{
    static const struct {
        const char *text;
        gssize len;
    } tails[] = { { "{\"record\":\"refu", -1 }, { "\0\0\0\0", 4 }, { "{\"rec\0\0\0", 8 },
                  { "{\"record\":\"refused\"}", -1 } };
    const char *head = "{\"record\":\"started\"}\n";
    for (guint i = 0; i < 2 * G_N_ELEMENTS (tails); i++) {
        g_autoptr (Dir) dir = dir_new ();
        gboolean is_first = i >= G_N_ELEMENTS (tails); /* the very first line is torn */
        gsize tail = i % G_N_ELEMENTS (tails);
        GString *text = g_string_new (is_first ? "" : head);
        g_string_append_len (text, tails[tail].text,
                             tails[tail].len < 0 ? (gssize)strlen (tails[tail].text)
                                                 : tails[tail].len);
        dir_write (dir, FILE_DST, text->str, (gssize) text->len);
        g_string_free (text, TRUE);
        assert_kind (dir, is_first ? GW_RECORD_NONE : GW_RECORD_STARTED);
        gsize len;
        g_autofree char *rest = dir_read (dir, FILE_DST, &len);
        g_assert_cmpstr (rest, ==, is_first ? "" : head);
        g_assert_cmpuint (len, ==, strlen (rest));
        append (dir, GW_RECORD_REFUSED);
        assert_kind (dir, GW_RECORD_REFUSED);
    }
}

/* A whole line that is not a record: nobody may start or refuse on such ground. */
static void
test_damaged (void)
{
    static const struct {
        const char *text;
        gssize len;
    } files[] = {
        { "\n", -1 },
        { "hello\n", -1 },
        { "{\"record\":\"started\"}\nhello\n", -1 },
        { "{\"record\":\"gone\"}\n", -1 },
        { "{\"record\":1}\n", -1 },
        { "{}\n", -1 },
        { "{\"record\":\"none\"}\n", -1 },
        { "{\"record\":\"refused\"}\n{\"record\":\"started\"}\n", -1 },
        { "{\"record\":\"started\"}\n{\"record\":\"started\"}\n", -1 },
        { "\0\0\0\0{\"record\":\"started\"}\n", 25 },
        { "{\"record\":\"started\"}\n\0\0\n", 24 },
    };
    for (guint i = 0; i < G_N_ELEMENTS (files); i++) {
        g_autoptr (Dir) dir = dir_new ();
        g_autoptr (GError) error = NULL;
        dir_write (dir, FILE_DST, files[i].text, files[i].len);
        g_assert_null (open_record (dir, &error));
        assert_error (&error, GW_CAUSE_HOST_IO, "is damaged");
    }
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    g_autofree char *big = g_strnfill (64 * 1024 + 1, ' ');
    dir_write (dir, FILE_DST, big, -1);
    g_assert_null (open_record (dir, &error));
    assert_error (&error, GW_CAUSE_HOST_IO, "65537 bytes");
}

static void
test_no_symlink (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    g_autofree char *link = dir_path (dir, FILE_DST);
    g_autofree char *target = dir_path (dir, "target");
    g_assert_no_errno (symlink (target, link));
    g_assert_null (open_record (dir, &error));
    assert_error (&error, GW_CAUSE_HOST_IO, JOB);
    g_assert_false (g_file_test (target, G_FILE_TEST_EXISTS));
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
        GwRecord *record = open_record (dir, NULL);
        if (record == NULL || write (ready[1], &byte, 1) != 1)
            _exit (1);
        (void) !read (stop[0], &byte, 1);
        if (!gw_record_append (record, GW_RECORD_STARTED, 1, "vm", NULL))
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
    g_assert_null (
        gw_record_open (dir->config, JOB, GW_SIDE_DESTINATION, dir->context, 100, &error));
    assert_error (&error, GW_CAUSE_TIMED_OUT, "is locked");
    g_assert_cmpint (g_get_monotonic_time () - begin_us, >=, 100 * 1000);

    /* the second asker waits for the outcome, and its context goes on meanwhile */
    g_autoptr (GSource) source = g_timeout_source_new (50);
    g_source_set_callback (source, let_go, &fd, NULL);
    g_source_attach (source, dir->context);
    g_autoptr (GwRecord) record =
        gw_record_open (dir->config, JOB, GW_SIDE_DESTINATION, dir->context, 30000, &error);
    g_assert_no_error (error);
    g_assert_cmpint (gw_record_get_kind (record), ==, GW_RECORD_STARTED);
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
    g_test_add_func ("/records/torn-line", test_torn_line);
    g_test_add_func ("/records/damaged", test_damaged);
    g_test_add_func ("/records/no-symlink", test_no_symlink);
    g_test_add_func ("/records/lock", test_lock);
    return g_test_run ();
}
