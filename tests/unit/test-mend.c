/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs whose process has ended: what can be decided alone is, and nothing of anybody else is touched. */
#include "test-wreck.h"

#include "test-db.h"

#include <sys/prctl.h>

/* Stands for a program that was started with this option. */
static pid_t
start_option (const char *option, const char *value)
{
    pid_t child = fork ();
    g_assert_cmpint (child, >=, 0);
    if (child == 0) {
        (void) prctl (PR_SET_PDEATHSIG, SIGKILL); /* if the test fails */
        execlp ("sh", "sh", "-c", "kill -STOP $$", option, value, NULL);
        _exit (1);
    }
    while (gw_procfs_find (option, value) != child)
        g_usleep (1000);
    return child;
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

/* QEMU was started, and its agent killed before it had written the pid. */
static void
test_not_written (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, "another");
    g_autofree char *monitor = gw_local_describe_monitor (wreck.vm_dir);
    g_auto (Wreck) qemu = { .qemu = start_option ("-chardev", monitor) };
    g_autofree char *socket = g_build_filename (wreck.job_dir, "disk0.sock", NULL);
    g_auto (Wreck) server = { .qemu = start_option ("--socket", socket) };
    g_auto (Wreck) other = { .qemu = start_option ("--socket", wreck.file) }; /* the job is not in its name */
    g_autofree char *insert = g_strdup_printf (
        "INSERT INTO objects SELECT job, side, 'server', value, 0, 0, 0, 0, 0 FROM objects, (SELECT '%s' AS value"
        " UNION SELECT '%s') WHERE kind = 'process'", socket, wreck.file);
    dir_edit (dir, "UPDATE objects SET pid = 0, start_time = 0 WHERE kind = 'process'");
    dir_edit (dir, insert);
    mend (dir);
    g_assert_false (is_alive (&qemu) || is_alive (&server));
    g_assert_true (is_alive (&other) && is_alive (&wreck));
    g_assert_false (is_there (wreck.vm_dir));
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

/* --- what waits for its next agent ------------------------------------------------------------------------- */

/* Its courier, with a lease. */
static pid_t
keep (const Dir *dir)
{
    g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, NULL);
    g_autofree char *path = dir_path (dir, "lease.sock");
    dir_write (dir, "lease.sock", "", 0);
    pid_t pid = start_process (JOB);
    const GwJournalObject courier = { .kind = "courier", .path = path, .pid = pid,
                                      .start_time = gw_procfs_get_start_time (pid) };
    g_assert_true (gw_journal_put_objects (journal, JOB, GW_SIDE_DESTINATION, &courier, 1, NULL));
    g_assert_true (gw_journal_keep_job (journal, JOB, GW_SIDE_DESTINATION, "secret", 60, NULL));
    return pid;
}

/* As long as the grace lasts, which begins when it is seen that the process is gone. */
static void
test_waits (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    g_auto (Wreck) courier = { .qemu = keep (dir) };
    g_autofree char *lease = dir_path (dir, "lease.sock");
    for (guint i = 0; i < 2; i++) {
        mend (dir);
        g_assert_true (is_alive (&wreck) && is_alive (&courier));
        g_assert_true (is_there (wreck.vm_dir) && is_there (wreck.file) && is_there (lease));
        assert_state (dir, "", "");
    }
    dir_edit (dir, "UPDATE jobs SET away_us = away_us - 50000000 WHERE away_us > 0");
    mend (dir);
    g_assert_true (is_alive (&wreck));
    dir_edit (dir, "UPDATE jobs SET away_us = away_us - 20000000");
    mend (dir);
    g_assert_false (is_alive (&wreck) || is_alive (&courier));
    g_assert_false (is_there (wreck.vm_dir) || is_there (wreck.file) || is_there (lease));
    assert_state (dir, "refused", "refused");
}

/* Not with a record, and not for a QEMU that is gone. */
static void
test_waits_no_longer (void)
{
    for (guint i = 0; i < 2; i++) {
        g_autoptr (Dir) dir = dir_new ();
        g_auto (Wreck) wreck = { 0 };
        make_wreck (dir, &wreck, GONE, i == 0 ? "refused" : NULL, i == 0 ? NULL : "another");
        g_auto (Wreck) courier = { .qemu = keep (dir) };
        mend (dir);
        g_assert_false (is_alive (&courier));
        assert_state (dir, "refused", "refused");
    }
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

/* --- an asker who says that the source has its VM back ----------------------------------------------------------- */

/* The VM had arrived, and its job was closed. */
static void
close_row (const Dir *dir)
{
    g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, NULL);
    g_assert_true (gw_journal_end_job (journal, JOB, GW_SIDE_DESTINATION, "arrived", NULL, NULL));
}

static void
test_end (void)
{
    static const struct {
        const char *record, *word; /* NULL: one that does not answer */
        gboolean is_closed;
        const char *result; /* NULL: it may run here */
    } rows[] = {
        { "started", "-no-reboot", TRUE, NULL }, { "started", "-no-reboot", FALSE, NULL },
        { "started", NULL, TRUE, NULL },         { NULL, NULL, FALSE, NULL },
        { "started", "-S", TRUE, "ended" },      { "started", "-S", FALSE, "ended" },
        { "started", "another", TRUE, "ended" }, { "refused", NULL, FALSE, "refused" },
    };
    g_autofree char *qemu = g_find_program_in_path ("qemu-system-x86_64");
    if (qemu == NULL) {
        g_test_skip ("needs qemu-system-x86_64");
        return;
    }
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (Dir) dir = dir_new ();
        g_auto (Wreck) wreck = { 0 };
        g_autoptr (GError) error = NULL;
        make_wreck (dir, &wreck, GONE, rows[i].record, rows[i].word);
        if (rows[i].is_closed)
            close_row (dir);
        g_autoptr (GwHost) host = gw_host_new_local (dir->config, dir->context);
        g_autofree char *result =
            gw_host_reconcile (host, JOB, GW_SIDE_DESTINATION, "end", "stayed", NULL, &error);
        gboolean has_ended = rows[i].result != NULL && g_strcmp0 (rows[i].word, "another") != 0;
        g_assert_cmpstr (result, ==, rows[i].result);
        g_assert_true (result != NULL || gw_error_get_cause (error) == GW_CAUSE_UNDECIDED);
        g_assert_cmpint (is_alive (&wreck), ==, !has_ended);
        g_assert_cmpint (is_there (wreck.vm_dir), ==, result == NULL);
        assert_state (dir, rows[i].is_closed || g_strcmp0 (result, "ended") == 0 ? "arrived"
                           : result != NULL ? result : "", rows[i].record != NULL ? rows[i].record : "");
    }
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
    g_test_add_func ("/mend/not-written", test_not_written);
    g_test_add_func ("/mend/refused", test_refused);
    g_test_add_func ("/mend/started", test_started);
    g_test_add_func ("/mend/started-and-gone", test_started_and_gone);
    g_test_add_func ("/mend/worked-on", test_worked_on);
    g_test_add_func ("/mend/others", test_others);
    g_test_add_func ("/mend/waits", test_waits);
    g_test_add_func ("/mend/waits-no-longer", test_waits_no_longer);
    g_test_add_func ("/mend/elsewhere", test_elsewhere);
    g_test_add_func ("/mend/locked", test_locked);
    g_test_add_func ("/mend/end", test_end);
    g_test_add_func ("/mend/source", test_source);
    return g_test_run ();
}
