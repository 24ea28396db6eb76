/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal as a file: made, brought up to date, and refused when it is not what godwit wrote. */
#include "test-journal-dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- made ------------------------------------------------------------------------------------------- */

static void
test_new (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autofree char *path = dir_path (dir, "journal.db");
    struct stat st;
    g_assert_false (gw_journal_exists (dir->path));
    gw_journal_close (dir_open (dir));
    g_assert_true (gw_journal_exists (dir->path));
    g_assert_no_errno (stat (path, &st));
    g_assert_cmpuint (st.st_mode & 0777, ==, 0600);
    gw_journal_close (dir_open (dir));
    g_autofree char *mode = dir_ask (dir, "PRAGMA journal_mode");
    g_assert_cmpstr (mode, ==, "wal");
    g_autofree char *version = dir_ask (dir, "PRAGMA user_version");
    g_autofree char *migrations = dir_ask (dir, "SELECT count (*) FROM migrations");
    g_assert_cmpstr (version, ==, migrations);
}

/* Every process that comes at once finds the same journal. */
static void
test_made_by_many (void)
{
    enum { MANY = 8 };
    g_autoptr (Dir) dir = dir_new ();
    pid_t children[MANY];
    for (int i = 0; i < MANY; i++) {
        children[i] = fork ();
        g_assert_cmpint (children[i], >=, 0);
        if (children[i] == 0) {
            g_autofree char *job = g_strdup_printf ("gw-%d", i);
            g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_CHECKED, NULL);
            gboolean ok = journal != NULL;
            for (int k = 0; ok && k < 5; k++)
                ok = gw_journal_put_record (journal, job, GW_SIDE_SOURCE, "released", k, "", NULL);
            _exit (ok ? 0 : 1);
        }
    }
    for (int i = 0; i < MANY; i++) {
        int status = 0;
        g_assert_cmpint (waitpid (children[i], &status, 0), ==, children[i]);
        g_assert_true (WIFEXITED (status) && WEXITSTATUS (status) == 0);
    }
    g_autofree char *count = dir_ask (dir, "SELECT count (*) FROM records");
    g_assert_cmpstr (count, ==, "40");
}

/* --- refused ------------------------------------------------------------------------------------------ */

static void
assert_refused (const Dir *dir, GwCause cause, const char *words)
{
    g_autoptr (GError) error = NULL;
    g_assert_null (gw_journal_open (dir->path, GW_JOURNAL_CHECKED, &error));
    assert_error (&error, cause, words);
}

static void
test_edited (void)
{
    static const struct {
        const char *sql;
        GwCause cause;
        const char *words;
    } edits[] = {
        { "PRAGMA user_version = 1000", GW_CAUSE_JOURNAL_NEWER, "has schema 1000" },
        { "PRAGMA user_version = -1", GW_CAUSE_JOURNAL_DAMAGED, "something else" },
        { "PRAGMA application_id = 5", GW_CAUSE_JOURNAL_DAMAGED, "something else" },
        { "DROP TABLE steps", GW_CAUSE_JOURNAL_DAMAGED, "tables" },
        { "CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM records; END",
          GW_CAUSE_JOURNAL_DAMAGED, "tables" },
        { "CREATE VIEW v AS SELECT 1", GW_CAUSE_JOURNAL_DAMAGED, "tables" },
        { "ALTER TABLE vms ADD COLUMN more TEXT", GW_CAUSE_JOURNAL_DAMAGED, "tables" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (edits); i++) {
        g_autoptr (Dir) dir = dir_new ();
        gw_journal_close (dir_open (dir));
        dir_edit (dir, edits[i].sql);
        assert_refused (dir, edits[i].cause, edits[i].words);
    }
}

/* A newer one is not touched. */
static void
test_newer_stays (void)
{
    g_autoptr (Dir) dir = dir_new ();
    gsize before_len, after_len;
    gw_journal_close (dir_open (dir));
    dir_edit (dir, "PRAGMA user_version = 1000");
    g_autofree char *before = dir_read (dir, "journal.db", &before_len);
    assert_refused (dir, GW_CAUSE_JOURNAL_NEWER, "1000");
    g_autofree char *after = dir_read (dir, "journal.db", &after_len);
    g_assert_cmpmem (before, before_len, after, after_len);
}

/* Writes into the file that is there. */
static void
overwrite (const Dir *dir, const char *text, gsize len)
{
    g_autofree char *path = dir_path (dir, "journal.db");
    g_auto (GwFd) fd = open (path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    g_assert_cmpint (write (fd, text, len), ==, (gssize) len);
}

/* Bytes that are not what was written, wherever they are: an error, or (in pages that are not used) none, but
 * never a crash and never another record. */
static void
test_garbled (void)
{
    g_autoptr (Dir) dir = dir_new ();
    gsize len;
    guint n_refused = 0, n_rounds = 0;
    dir_fill (dir);
    g_autofree char *text = dir_read (dir, "journal.db", &len);
    for (gsize at = 0; at < len; at += 509, n_rounds++) {
        g_autoptr (GError) error = NULL;
        g_autofree char *bad = g_memdup2 (text, len);
        for (gsize i = at; i < MIN (at + 40, len); i++)
            bad[i] = (char) ~bad[i];
        overwrite (dir, bad, len);
        g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_CHECKED, &error);
        g_auto (GStrv) records =
            journal != NULL ? gw_journal_get_records (journal, "gw-1", GW_SIDE_DESTINATION, &error) : NULL;
        n_refused += error != NULL;
        if (error == NULL)
            g_assert_true (g_strv_contains ((const char *const *) records, "started"));
    }
    g_assert_cmpuint (n_refused, >, 3);
    g_test_message ("%u of %u refused", n_refused, n_rounds);
}

static void
test_truncated (void)
{
    g_autoptr (Dir) whole = dir_new ();
    gsize len;
    dir_fill (whole);
    g_autofree char *text = dir_read (whole, "journal.db", &len);
    static const double parts[] = { 0.01, 0.3, 0.6, 0.9 };
    for (guint i = 0; i < G_N_ELEMENTS (parts); i++) {
        overwrite (whole, text, (gsize) ((double) len * parts[i]));
        assert_refused (whole, GW_CAUSE_JOURNAL_DAMAGED, "journal");
    }
}

static void
test_not_a_database (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autofree char *noise = g_strnfill (5000, 'x');
    dir_write (dir, "journal.db", noise, -1);
    assert_refused (dir, GW_CAUSE_JOURNAL_DAMAGED, "not a database");
}

static void
test_not_a_file (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autofree char *path = dir_path (dir, "journal.db");
    g_autofree char *target = dir_path (dir, "target");
    g_assert_no_errno (symlink (target, path));
    assert_refused (dir, GW_CAUSE_JOURNAL_DAMAGED, "no regular file");
    g_assert_false (g_file_test (target, G_FILE_TEST_EXISTS));
    g_assert_no_errno (unlink (path));
    g_assert_no_errno (mkdir (path, 0700));
    assert_refused (dir, GW_CAUSE_JOURNAL_DAMAGED, "no regular file");
}

/* A copy lacks what the original has written since, wherever it is. */
static void
test_copied (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (Dir) other = dir_new ();
    g_autoptr (GError) error = NULL;
    gsize len;
    dir_fill (dir);
    g_autofree char *text = dir_read (dir, "journal.db", &len);
    dir_write (other, "journal.db", text, (gssize) len);
    assert_refused (other, GW_CAUSE_JOURNAL_FOREIGN, "is a copy");
    g_assert_null (gw_journal_open (other->path, GW_JOURNAL_QUICK, &error));
    assert_error (&error, GW_CAUSE_JOURNAL_FOREIGN, "is a copy");
    dir_edit (dir, "UPDATE host SET machine = 'another'");
    assert_refused (dir, GW_CAUSE_JOURNAL_FOREIGN, "belongs to machine 'another'");
    /* the operator says that it is the only one */
    dir_edit (other, "DELETE FROM host");
    gw_journal_close (dir_open (other));
    gw_journal_close (dir_open (other));
}

/* One of schema 1 is brought up to date, and what it says holds. */
static void
test_older (void)
{
    g_autoptr (Dir) dir = dir_new ();
    dir_fill (dir);
    dir_edit (dir, "DROP TABLE host; ALTER TABLE vms DROP COLUMN seen; ALTER TABLE records DROP COLUMN run;"
              "ALTER TABLE jobs DROP COLUMN settings; ALTER TABLE jobs DROP COLUMN token;"
              "ALTER TABLE jobs DROP COLUMN grace_s; ALTER TABLE jobs DROP COLUMN away_us; DELETE FROM migrations WHERE version > 1;"
              "PRAGMA user_version = 1");
    g_autoptr (GwJournal) journal = dir_open (dir);
    gint64 epoch = 0;
    g_assert_true (gw_journal_get_epoch (journal, DIR_UUID, &epoch, NULL));
    g_assert_cmpint (epoch, ==, 1);
    g_auto (GStrv) records = gw_journal_get_records (journal, "gw-1", GW_SIDE_DESTINATION, NULL);
    g_assert_cmpstr (records[0], ==, "started");
    g_autofree char *migrations = dir_ask (dir, "SELECT group_concat (version) FROM migrations");
    g_assert_cmpstr (migrations, ==, "1,2,3,4");
}

/* What older files say about who owns a VM is not passed over. */
static void
test_old_records (void)
{
    g_autoptr (Dir) dir = dir_new ();
    dir_write (dir, "records/gw-1-destination", "{}\n", -1);
    assert_refused (dir, GW_CAUSE_JOURNAL_OLD, "records");
    g_assert_false (gw_journal_exists (dir->path));
}

static void
test_no_directory (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    dir_write (dir, "file", "", -1);
    g_autofree char *below = dir_path (dir, "file");
    g_autofree char *state = g_build_filename (below, "state", NULL);
    g_assert_null (gw_journal_open (state, GW_JOURNAL_QUICK, &error));
    assert_error (&error, GW_CAUSE_JOURNAL_IO, "directory");
}

/* --- values out of bounds ---------------------------------------------------------------------------------- */

static void
test_values (void)
{
    static const char *const edits[] = {
        "UPDATE jobs SET epoch = -1",
        "UPDATE jobs SET epoch = 9223372036854775807",
        "UPDATE jobs SET side = '' WHERE side = 'source'",
        "UPDATE jobs SET result = 'a result that is much too long for one'",
        "UPDATE jobs SET vm = printf ('%.5000c', 'x')",
        "UPDATE jobs SET vm = CAST (x'c328' AS TEXT)",
        "UPDATE jobs SET vm = CAST (x'610062' AS TEXT)",
        "UPDATE jobs SET report = '{'",
        "UPDATE jobs SET report = '[]'",
        "UPDATE jobs SET pid = 1 << 40",
        "UPDATE jobs SET began_us = -5",
    };
    for (guint i = 0; i < G_N_ELEMENTS (edits); i++) {
        g_autoptr (Dir) dir = dir_new ();
        g_autoptr (GError) error = NULL;
        dir_fill (dir);
        dir_edit (dir, edits[i]);
        g_autoptr (GwJournal) journal = dir_open (dir);
        g_assert_null (gw_journal_list_jobs (journal, NULL, 10, &error));
        assert_error (&error, GW_CAUSE_JOURNAL_DAMAGED, "is damaged");
    }
}

/* --- several writers ---------------------------------------------------------------------------------------- */

static gpointer
hold_for_a_moment (gpointer data)
{
    sqlite3 *db = data;
    g_usleep (150 * 1000);
    g_assert_cmpint (sqlite3_exec (db, "COMMIT", NULL, NULL, NULL), ==, SQLITE_OK);
    return NULL;
}

static void
test_busy (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    g_autoptr (GwJournal) journal = dir_open (dir);
    sqlite3 *db = dir_connect (dir);
    g_assert_cmpint (sqlite3_exec (db, "BEGIN IMMEDIATE", NULL, NULL, NULL), ==, SQLITE_OK);
    gint64 begin_us = g_get_monotonic_time ();
    GThread *thread = g_thread_new ("holder", hold_for_a_moment, db);
    g_assert_true (
        gw_journal_put_record (journal, "gw-1", GW_SIDE_SOURCE, "released", 1, "", &error));
    g_assert_no_error (error);
    g_assert_cmpint (g_get_monotonic_time () - begin_us, >=, 100 * 1000);
    g_thread_join (thread);
    g_assert_cmpint (sqlite3_close (db), ==, SQLITE_OK);
}

static void
test_lock (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (GwFd) first = -1;
    g_auto (GwFd) second = -1;
    g_auto (GwFd) other = -1;
    g_assert_true (gw_journal_try_lock (dir->path, "a", &first, NULL));
    g_assert_true (gw_journal_try_lock (dir->path, "a", &second, NULL));
    g_assert_true (gw_journal_try_lock (dir->path, "b", &other, NULL));
    g_assert_cmpint (first, >=, 0);
    g_assert_cmpint (second, ==, -1);
    g_assert_cmpint (other, >=, 0);
    gw_fd_clear (&first);
    g_assert_true (gw_journal_try_lock (dir->path, "a", &second, NULL));
    g_assert_cmpint (second, >=, 0);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/journal-file/new", test_new);
    g_test_add_func ("/journal-file/made-by-many", test_made_by_many);
    g_test_add_func ("/journal-file/edited", test_edited);
    g_test_add_func ("/journal-file/newer-stays", test_newer_stays);
    g_test_add_func ("/journal-file/garbled", test_garbled);
    g_test_add_func ("/journal-file/truncated", test_truncated);
    g_test_add_func ("/journal-file/not-a-database", test_not_a_database);
    g_test_add_func ("/journal-file/not-a-file", test_not_a_file);
    g_test_add_func ("/journal-file/copied", test_copied);
    g_test_add_func ("/journal-file/older", test_older);
    g_test_add_func ("/journal-file/old-records", test_old_records);
    g_test_add_func ("/journal-file/no-directory", test_no_directory);
    g_test_add_func ("/journal-file/values", test_values);
    g_test_add_func ("/journal-file/busy", test_busy);
    g_test_add_func ("/journal-file/lock", test_lock);
    return g_test_run ();
}
