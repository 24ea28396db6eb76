/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs whose process has ended: what can be decided alone is, and nothing of anybody else is touched. */
#include "test-host-dir.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOB "gw-0001"
#define UUID "2f5cd3f5-6f4b-4f3c-8a3e-0123456789ab"
#define GONE 1 /* a pid that runs, and started at another time */

/* What a job of the destination has made. */
typedef struct {
    char *job_dir, *vm_dir, *file;
    pid_t qemu;
} Wreck;

static void
wreck_clear (Wreck *wreck)
{
    int status;
    (void) kill (wreck->qemu, SIGKILL); /* it may have ended, and waits for us then */
    g_assert_cmpint (waitpid (wreck->qemu, &status, 0), ==, wreck->qemu);
    g_free (wreck->job_dir);
    g_free (wreck->vm_dir);
    g_free (wreck->file);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Wreck, wreck_clear)

/* Stands for a QEMU: a process with `word` in its command line, and no child of its own. */
static pid_t
start_process (const char *word)
{
    int ready[2];
    char byte;
    g_assert_no_errno (pipe2 (ready, O_CLOEXEC));
    pid_t child = fork ();
    g_assert_cmpint (child, >=, 0);
    if (child == 0) {
        execlp ("sleep", word, "60", NULL);
        _exit (1);
    }
    close (ready[1]);
    g_assert_cmpint (read (ready[0], &byte, 1), ==, 0); /* it has become the other program */
    close (ready[0]);
    return child;
}

static void
journal_objects (const Dir *dir, GwJournal *journal, const Wreck *wreck)
{
    struct stat st;
    g_assert_no_errno (stat (wreck->file, &st));
    const GwJournalObject objects[] = {
        { .kind = "process", .path = wreck->vm_dir, .pid = wreck->qemu,
          .start_time = gw_procfs_get_start_time (wreck->qemu) },
        { .kind = "file", .path = wreck->file, .dev = (gint64) st.st_dev, .ino = (gint64) st.st_ino },
        { .kind = "directory", .path = dir->path }, /* a lie: nothing but the job's own is removed */
    };
    g_assert_true (gw_journal_put_objects (journal, JOB, GW_SIDE_DESTINATION, objects,
                                           G_N_ELEMENTS (objects), NULL));
}

/* A job on which process `pid` worked; 0: this one. */
static void
make_wreck (const Dir *dir, Wreck *wreck, pid_t pid, const char *record, const char *word)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, &error);
    g_assert_no_error (error);
    GwJournalJob job = { .job = JOB, .side = GW_SIDE_DESTINATION, .vm = "web1", .uuid = UUID, .epoch = 3 };
    wreck->job_dir = gw_directory_for_job (dir->config, JOB, GW_SIDE_DESTINATION);
    wreck->vm_dir = gw_directory_for_vm (dir->config, JOB);
    wreck->file = dir_path (dir, "made.sock");
    g_assert_true (gw_directory_make (wreck->job_dir, NULL, NULL));
    g_assert_true (gw_directory_make (wreck->vm_dir, NULL, NULL));
    dir_write (dir, "made.sock", "x", 1);
    wreck->qemu = start_process (word != NULL ? word : wreck->vm_dir);
    gw_host_sign_job (&job);
    job.pid = pid != 0 ? pid : job.pid;
    gw_journal_begin_job (journal, &job, gw_host_process_is_alive, &error);
    g_assert_no_error (error);
    journal_objects (dir, journal, wreck);
    if (record != NULL)
        gw_journal_put_record (journal, JOB, GW_SIDE_DESTINATION, record, 3, UUID, &error);
    g_assert_no_error (error);
}

static void
mend (const Dir *dir)
{
    g_autoptr (GError) error = NULL;
    gw_host_mend (dir->config, dir->context, GW_JOURNAL_CHECKED, &error);
    g_assert_no_error (error);
}

static void
assert_state (const Dir *dir, const char *result, const char *record)
{
    g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_CHECKED, NULL);
    g_autoptr (JsonArray) rows = gw_journal_find_job (journal, JOB, NULL);
    g_auto (GStrv) records = gw_journal_get_records (journal, JOB, GW_SIDE_DESTINATION, NULL);
    g_autofree char *text = g_strjoinv (" ", records);
    g_assert_cmpstr (gw_json_peek_string (json_array_get_object_element (rows, 0), "result", NULL), ==,
                     result);
    g_assert_cmpstr (text, ==, record);
}

static gboolean
is_there (const char *path)
{
    return g_file_test (path, G_FILE_TEST_EXISTS);
}

static gboolean
is_alive (const Wreck *wreck)
{
    return gw_procfs_get_start_time (wreck->qemu) != 0;
}

/* --- no record: taken apart, and refused for ever -------------------------------------------------------- */

static void
test_undecided (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    mend (dir);
    g_assert_false (is_alive (&wreck));
    g_assert_false (is_there (wreck.file));
    g_assert_false (is_there (wreck.job_dir));
    g_assert_false (is_there (wreck.vm_dir));
    g_assert_true (is_there (dir->path));
    assert_state (dir, "refused", "refused");
    mend (dir); /* again is nothing */
    assert_state (dir, "refused", "refused");
}

static void
test_refused (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, "refused", NULL);
    mend (dir);
    g_assert_false (is_alive (&wreck));
    assert_state (dir, "refused", "refused");
}

/* --- what stays ------------------------------------------------------------------------------------------- */

/* Nobody can say to it that it is to run: that is tried again. */
static void
test_started (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, "started", NULL);
    g_test_expect_message (NULL, G_LOG_LEVEL_WARNING, "*cannot connect*stays open*");
    mend (dir);
    g_test_assert_expected_messages ();
    g_assert_true (is_alive (&wreck));
    g_assert_true (is_there (wreck.vm_dir) && is_there (wreck.file));
    assert_state (dir, "", "started");
}

/* It ran here, and has ended since. */
static void
test_started_and_gone (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, "started", "another");
    mend (dir);
    g_assert_true (is_alive (&wreck)); /* somebody else's */
    g_assert_true (is_there (wreck.file));
    g_assert_false (is_there (wreck.job_dir));
    assert_state (dir, "arrived", "started");
}

static void
test_worked_on (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, 0, NULL, NULL);
    mend (dir);
    g_assert_true (is_alive (&wreck));
    g_assert_true (is_there (wreck.vm_dir) && is_there (wreck.file) && is_there (wreck.job_dir));
    assert_state (dir, "", "");
}

/* Another program has the number by now, and another file the name. */
static void
test_others (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, "another");
    g_autofree char *aside = dir_path (dir, "aside");
    g_assert_no_errno (rename (wreck.file, aside)); /* keeps the inode from being used again */
    dir_write (dir, "made.sock", "y", 1);
    mend (dir);
    g_assert_true (is_alive (&wreck));
    g_assert_true (is_there (wreck.file));
    g_assert_false (is_there (wreck.vm_dir));
    assert_state (dir, "refused", "refused");
}

/* In another container, whose processes have numbers of their own. */
static void
test_elsewhere (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    g_autofree char *path = dir_path (dir, "journal.db");
    sqlite3 *db = NULL;
    g_assert_cmpint (sqlite3_open (path, &db), ==, SQLITE_OK);
    g_assert_cmpint (sqlite3_exec (db, "UPDATE jobs SET boot = substr (boot, 1, instr (boot, ' ')) || 'pid:[1]'",
                                   NULL, NULL, NULL), ==, SQLITE_OK);
    g_assert_cmpint (sqlite3_close (db), ==, SQLITE_OK);
    mend (dir);
    g_assert_true (is_alive (&wreck) && is_there (wreck.vm_dir));
    assert_state (dir, "", "");
}

/* The outcome is being decided: nobody else touches it. */
static void
test_locked (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    g_auto (GwFd) lock = -1;
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    g_assert_true (gw_journal_try_lock (dir->path, JOB "-destination", &lock, NULL));
    g_test_expect_message (NULL, G_LOG_LEVEL_WARNING, "*is locked*");
    mend (dir);
    g_test_assert_expected_messages ();
    g_assert_true (is_alive (&wreck) && is_there (wreck.vm_dir));
    assert_state (dir, "", "");
}

/* --- a source, whose QEMU does not answer ------------------------------------------------------------------- */

static void
test_source (void)
{
    static const struct {
        gboolean has_qemu, is_alive;
        const char *record, *result, *words;
    } rows[] = {
        { FALSE, FALSE, NULL, "stayed", NULL },
        { TRUE, FALSE, NULL, "lost", NULL },
        { TRUE, TRUE, NULL, "", "*stays open*" },
        { TRUE, FALSE, "released", "", "*stays open*" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (Dir) dir = dir_new ();
        g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, NULL);
        GwJournalJob job = { .job = JOB, .side = GW_SIDE_SOURCE, .vm = "web1", .uuid = UUID, .epoch = 3 };
        const GwJournalObject qemu = { .kind = "running", .path = "/nowhere/qmp.sock", .pid = getpid (),
                                       .start_time = gw_procfs_get_start_time (getpid ()) - !rows[i].is_alive };
        gw_host_sign_job (&job);
        job.pid = GONE;
        g_assert_true (gw_journal_begin_job (journal, &job, gw_host_process_is_alive, NULL));
        g_assert_true (gw_journal_put_objects (journal, JOB, GW_SIDE_SOURCE, &qemu, rows[i].has_qemu, NULL));
        if (rows[i].record != NULL)
            gw_journal_put_record (journal, JOB, GW_SIDE_SOURCE, rows[i].record, 3, UUID, NULL);
        if (rows[i].words != NULL)
            g_test_expect_message (NULL, G_LOG_LEVEL_WARNING, rows[i].words);
        mend (dir);
        g_test_assert_expected_messages ();
        g_autoptr (JsonArray) found = gw_journal_find_job (journal, JOB, NULL);
        g_assert_cmpstr (gw_json_peek_string (json_array_get_object_element (found, 0), "result", NULL), ==,
                         rows[i].result);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/mend/undecided", test_undecided);
    g_test_add_func ("/mend/refused", test_refused);
    g_test_add_func ("/mend/started", test_started);
    g_test_add_func ("/mend/started-and-gone", test_started_and_gone);
    g_test_add_func ("/mend/worked-on", test_worked_on);
    g_test_add_func ("/mend/others", test_others);
    g_test_add_func ("/mend/elsewhere", test_elsewhere);
    g_test_add_func ("/mend/locked", test_locked);
    g_test_add_func ("/mend/source", test_source);
    return g_test_run ();
}
