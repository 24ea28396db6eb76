/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs whose process has ended: what can be decided alone is, and nothing of anybody else is touched. */
#include "test-host-dir.h"

#include "test-db.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
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

/* A QEMU without a machine, in which a guest would run. */
static pid_t
start_qemu (const char *vm_dir, const char *option)
{
    g_autofree char *socket = g_build_filename (vm_dir, "qmp.sock", NULL);
    g_autofree char *qmp = g_strdup_printf ("unix:%s,server=on,wait=off", socket);
    gint64 deadline = gw_deadline_ms (10000);
    pid_t child = fork ();
    g_assert_cmpint (child, >=, 0);
    if (child == 0) {
        execlp ("qemu-system-x86_64", "qemu", "-machine", "none", "-nodefaults", "-display", "none", "-qmp", qmp,
                option, NULL);
        _exit (1);
    }
    while (!g_file_test (socket, G_FILE_TEST_EXISTS) && g_get_monotonic_time () < deadline)
        g_usleep (10000);
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
    wreck->qemu = word != NULL && *word == '-' ? start_qemu (wreck->vm_dir, word)
                                               : start_process (word != NULL ? word : wreck->vm_dir);
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

/* --- images ------------------------------------------------------------------------------------------------ */

/* An image of the job, which knows its inode or (0) not; what `name` would be for the file itself. */
static void
journal_image (const Dir *dir, const char *kind, const char *name, gboolean has_inode)
{
    g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, NULL);
    g_autofree char *path = dir_path (dir, name);
    struct stat st;
    g_assert_no_errno (stat (path, &st));
    const GwJournalObject object = { .kind = kind, .path = path, .dev = has_inode ? (gint64) st.st_dev : 0,
                                     .ino = has_inode ? (gint64) st.st_ino : 0 };
    g_assert_true (gw_journal_put_objects (journal, JOB, GW_SIDE_DESTINATION, &object, 1, NULL));
}

static guint
sweep (const Dir *dir, GwSweep how)
{
    g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, NULL);
    g_autoptr (JsonArray) told = json_array_new ();
    g_assert_true (gw_quarantine_sweep (journal, how, told, NULL));
    return json_array_get_length (told);
}

/* They are kept for a day, and what was put aside for them comes back. */
static void
test_images (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    dir_write (dir, "d.img", "new", 3);
    dir_write (dir, "d.img.before-" JOB, "older", 5);
    journal_image (dir, "image", "d.img", TRUE);
    journal_image (dir, "aside", "d.img.before-" JOB, TRUE);
    mend (dir);
    g_autofree char *image = dir_path (dir, "d.img"), *kept = dir_path (dir, ".godwit-quarantine/" JOB "-d.img");
    struct stat st;
    g_assert_no_errno (stat (image, &st));
    g_assert_cmpint (st.st_size, ==, 5);
    g_assert_no_errno (stat (kept, &st));
    g_assert_cmpint (st.st_size, ==, 3);
    mend (dir);
    g_assert_cmpuint (sweep (dir, GW_SWEEP_DRY), ==, 1);
    g_assert_cmpuint (sweep (dir, GW_SWEEP_OVER), ==, 1);
    g_assert_true (is_there (kept));
    g_assert_cmpuint (sweep (dir, GW_SWEEP_ALL), ==, 1);
    g_assert_false (is_there (kept));
    g_assert_cmpuint (sweep (dir, GW_SWEEP_DRY), ==, 0);
}

/* Somebody has put another file there, or it never came to be the job's. */
static void
test_other_images (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    dir_write (dir, "d.img", "new", 3);
    dir_write (dir, "e.img", "no name on it", 13);
    journal_image (dir, "image", "d.img", TRUE);
    journal_image (dir, "image", "e.img", FALSE);
    g_autofree char *image = dir_path (dir, "d.img"), *aside = dir_path (dir, "aside.img");
    g_autofree char *other = dir_path (dir, "e.img");
    g_assert_no_errno (rename (image, aside)); /* keeps the inode from being used again */
    dir_write (dir, "d.img", "somebody's", 10);
    mend (dir);
    g_assert_true (is_there (image) && is_there (other) && is_there (aside));
    g_assert_cmpuint (sweep (dir, GW_SWEEP_DRY), ==, 0);
}

/* Who may write beside the image says where it goes, if a link is taken for the quarantine. */
static void
test_planted_link (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    g_autofree char *image = dir_path (dir, "d.img"), *target = dir_path (dir, "elsewhere");
    g_autofree char *link = dir_path (dir, ".godwit-quarantine"), *moved = dir_path (dir, "elsewhere/" JOB "-d.img");
    dir_write (dir, "d.img", "new", 3);
    journal_image (dir, "image", "d.img", TRUE);
    g_assert_no_errno (symlink (target, link));
    g_test_expect_message (NULL, G_LOG_LEVEL_WARNING, "*as a directory*stays open*");
    mend (dir);
    g_test_assert_expected_messages ();
    g_assert_true (is_there (image) && !is_there (moved));
    g_assert_cmpuint (sweep (dir, GW_SWEEP_DRY), ==, 0);
}

/* FALSE: this file system has no such thing, or we have no right to it. */
static gboolean
set_immutable (const char *path, int flag)
{
    g_auto (GwFd) fd = open (path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && ioctl (fd, FS_IOC_SETFLAGS, &flag) == 0;
}

/* It stays, and the others go. */
static void
test_unremovable (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    dir_write (dir, "d.img", "new", 3);
    dir_write (dir, "e.img", "too", 3);
    journal_image (dir, "image", "d.img", TRUE);
    journal_image (dir, "image", "e.img", TRUE);
    mend (dir);
    g_autofree char *first = dir_path (dir, ".godwit-quarantine/" JOB "-d.img");
    g_autofree char *second = dir_path (dir, ".godwit-quarantine/" JOB "-e.img");
    if (!set_immutable (first, FS_IMMUTABLE_FL)) {
        g_test_skip ("needs a file that cannot be removed (chattr +i)");
        return;
    }
    g_assert_cmpuint (sweep (dir, GW_SWEEP_ALL), ==, 2);
    gboolean stays = is_there (first) && !is_there (second);
    g_assert_true (set_immutable (first, 0));
    g_assert_true (stays);
    g_assert_cmpuint (sweep (dir, GW_SWEEP_ALL), ==, 1);
    g_assert_false (is_there (first));
}

/* A day later it goes, unless another file is there. */
static void
test_day (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    dir_write (dir, "d.img", "new", 3);
    journal_image (dir, "image", "d.img", TRUE);
    mend (dir);
    g_autofree char *path = dir_path (dir, "journal.db");
    g_autofree char *kept = dir_path (dir, ".godwit-quarantine/" JOB "-d.img");
    sqlite3 *db = NULL;
    g_assert_true (is_there (kept));
    g_assert_cmpint (sqlite3_open (path, &db), ==, SQLITE_OK);
    g_assert_cmpint (sqlite3_exec (db, "UPDATE objects SET changed_ns = changed_ns - 86401000000000", NULL, NULL, NULL),
                     ==, SQLITE_OK);
    g_assert_cmpint (sqlite3_close (db), ==, SQLITE_OK);
    mend (dir);
    g_assert_false (is_there (kept));
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
    g_test_add_func ("/mend/images", test_images);
    g_test_add_func ("/mend/other-images", test_other_images);
    g_test_add_func ("/mend/planted-link", test_planted_link);
    g_test_add_func ("/mend/unremovable", test_unremovable);
    g_test_add_func ("/mend/day", test_day);
    g_test_add_func ("/mend/end", test_end);
    g_test_add_func ("/mend/source", test_source);
    return g_test_run ();
}
