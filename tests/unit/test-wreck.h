/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a job has left whose process has ended, for the tests of mend.c and of the quarantine. */
#ifndef TEST_WRECK_H
#define TEST_WRECK_H

#include "test-host-dir.h"

#include <fcntl.h>
#include <signal.h>
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

static inline void
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
static inline pid_t
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

/* A QEMU without a machine, in which a guest would run. */
static inline pid_t
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

static inline void
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
static inline void
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

static inline void
mend (const Dir *dir)
{
    g_autoptr (GError) error = NULL;
    gw_host_mend (dir->config, dir->context, GW_JOURNAL_CHECKED, &error);
    g_assert_no_error (error);
}

static inline void
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

static inline gboolean
is_there (const char *path)
{
    return g_file_test (path, G_FILE_TEST_EXISTS);
}

static inline gboolean
is_alive (const Wreck *wreck)
{
    return gw_procfs_get_start_time (wreck->qemu) != 0;
}

#endif
