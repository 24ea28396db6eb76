/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs of this host that nobody works on any more: their process ended before they did.
 *
 * A destination decides alone.  Without a record it may not start the VM, so its QEMU, in which the guest never ran,
 * ends, what the job made goes, and REFUSED is written, after which whoever asks is answered.  With STARTED the VM
 * is ours and stays.  What the journal says is checked first: a process must be the one of that start time and name the
 * job's directory in its command line, a file must be the very one that was made, and directories are those of the
 * job's name, whatever path is written.
 *
 * A source's VM goes on as long as RELEASED was not written: its migration is cancelled, and the guest runs if it
 * ran.  After RELEASED only the destination can tell.
 */
#include "host-internal.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOCK_MS 100 /* who holds it is deciding, and ends the job himself */
#define END_MS 10000
#define POLL_MS 10

typedef struct {
    const GwHostConfig *config;
    GMainContext *context;
    GwJournal *journal;
    const char *job;
    GwSide side;
    gboolean is_first; /* look at them: what cannot be settled is said once */
} Mend;

/* --- what the job made ---------------------------------------------------------------------------------- */

static gboolean
names_directory (pid_t pid, const char *directory)
{
    g_auto (GStrv) argv = gw_procfs_read_argv (pid, NULL);
    g_autofree char *line = argv != NULL ? g_strjoinv (" ", argv) : NULL;
    return line != NULL && strstr (line, directory) != NULL;
}

/* FALSE: it is there still. */
static gboolean
end_process (const Mend *mend, JsonObject *object)
{
    g_autofree char *vm_dir = gw_directory_for_vm (mend->config, mend->job);
    pid_t pid = (pid_t) gw_json_peek_int (object, "pid", 0);
    gint64 start_time = gw_json_peek_int (object, "start_time", 0);
    gint64 deadline = gw_deadline_ms (END_MS);
    g_auto (GwFd) fd = pid > 0 ? (int) syscall (SYS_pidfd_open, pid, 0) : -1;
    if (fd < 0 || !gw_host_process_is_alive (pid, start_time) || !names_directory (pid, vm_dir))
        return TRUE; /* it has ended, or is another one by now */
    (void) syscall (SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0); /* whether it helped is seen below */
    while (gw_host_process_is_alive (pid, start_time)) {
        if (g_get_monotonic_time () > deadline)
            return FALSE;
        (void) gw_wait_ms (mend->context, POLL_MS, NULL, NULL);
    }
    return TRUE;
}

/* As gw_created_remove(): what has changed since is still the same file. */
static void
remove_file (JsonObject *object)
{
    const char *path = gw_json_peek_string (object, "path", "");
    gint64 ino = gw_json_peek_int (object, "ino", 0);
    struct stat st;
    if (ino != 0 && lstat (path, &st) == 0 && (S_ISSOCK (st.st_mode) || S_ISREG (st.st_mode)) &&
        (gint64) st.st_ino == ino && (gint64) st.st_dev == gw_json_peek_int (object, "dev", 0))
        (void) unlink (path); /* what stays is only a name */
}

static void
remove_directories (const Mend *mend, gboolean also_of_vm)
{
    g_autofree char *job_dir = gw_directory_for_job (mend->config, mend->job, mend->side);
    g_autofree char *vm_dir = gw_directory_for_vm (mend->config, mend->job);
    gw_directory_remove (job_dir);
    if (also_of_vm)
        gw_directory_remove (vm_dir);
}

/* The guest never ran in it.  FALSE: something is there that could still run. */
static gboolean
take_apart (const Mend *mend, GError **error)
{
    g_autoptr (JsonArray) objects =
        gw_journal_list_objects (mend->journal, mend->job, mend->side, error);
    for (guint i = 0; objects != NULL && i < json_array_get_length (objects); i++) {
        JsonObject *object = json_array_get_object_element (objects, i);
        const char *kind = gw_json_peek_string (object, "kind", "");
        if (strcmp (kind, "process") == 0 && !end_process (mend, object))
            return gw_fail (error, GW_CAUSE_QMP_TIMEOUT, "its QEMU (pid %" G_GINT64_FORMAT ") does not end",
                            gw_json_peek_int (object, "pid", 0));
        if (strcmp (kind, "file") == 0)
            remove_file (object);
    }
    if (objects != NULL)
        remove_directories (mend, TRUE);
    return objects != NULL;
}

/* --- the VM of a source ------------------------------------------------------------------------------------ */

/* As it was when the job began: no migration, and running if it ran.  Limits of its migration that the job changed
 * keep the job's values; the next job sets its own. */
static gboolean
bring_back (const Mend *mend, JsonObject *object, GError **error)
{
    g_autofree char *vm = g_strconcat ("qmp:", gw_json_peek_string (object, "path", ""), NULL);
    g_autoptr (GwHost) host = gw_host_new_local (mend->config, mend->context);
    LocalHost *local = (LocalHost *) host;
    g_autoptr (GwVm) found = gw_host_adopt (host, vm, NULL, error);
    if (found == NULL)
        return FALSE;
    if (found->pid != gw_json_peek_int (object, "pid", 0) ||
        found->start_time != gw_json_peek_int (object, "start_time", 0))
        return gw_fail (error, GW_CAUSE_VM_NOT_FOUND, "another QEMU answers at '%s' by now",
                        gw_json_peek_string (object, "path", ""));
    local->vm->is_running = strcmp (gw_json_peek_string (object, "kind", ""), "running") == 0;
    return gw_host_undo_migration (host, NULL, error) &&
           gw_local_clear_capabilities (local, (const char *const *) found->capabilities, error);
}

/* Its result; NULL: it cannot be told. */
static const char *
mend_vm (const Mend *mend, GError **error)
{
    g_autoptr (JsonArray) objects =
        gw_journal_list_objects (mend->journal, mend->job, mend->side, error);
    if (objects == NULL)
        return NULL;
    if (json_array_get_length (objects) == 0)
        return "stayed"; /* nothing was done to it */
    JsonObject *object = json_array_get_object_element (objects, 0);
    if (!gw_host_process_is_alive (gw_json_peek_int (object, "pid", 0),
                                   gw_json_peek_int (object, "start_time", 0)))
        return "lost";
    return bring_back (mend, object, error) ? "stayed" : NULL;
}

/* --- one job ---------------------------------------------------------------------------------------------- */

static gboolean
end_in_journal (const Mend *mend, const char *result, GError **error)
{
    return gw_journal_end_job (mend->journal, mend->job, mend->side, result, NULL, error) &&
           gw_journal_drop_objects (mend->journal, mend->job, mend->side, error);
}

/* QEMU is gone before REFUSED is written. */
static gboolean
mend_destination (const Mend *mend, JsonObject *row, GError **error)
{
    const GwRecordSpec spec = { mend->journal, mend->config->state_dir, mend->job, mend->side,
                                mend->context };
    g_autoptr (GwRecord) record = gw_record_open (&spec, LOCK_MS, error);
    if (record == NULL)
        return FALSE;
    if (gw_record_get_kind (record) == GW_RECORD_STARTED) {
        remove_directories (mend, FALSE);
        return end_in_journal (mend, "arrived", error);
    }
    if (!take_apart (mend, error))
        return FALSE;
    if (gw_record_get_kind (record) == GW_RECORD_NONE &&
        !gw_record_append (record, GW_RECORD_REFUSED, gw_json_peek_int (row, "epoch", 0),
                           gw_json_peek_string (row, "uuid", ""), error))
        return FALSE;
    return end_in_journal (mend, "refused", error);
}

/* Nobody has the right to start it elsewhere as long as RELEASED is not written, and nobody is left who could. */
static gboolean
mend_source (const Mend *mend, GError **error)
{
    const GwRecordSpec spec = { mend->journal, mend->config->state_dir, mend->job, mend->side,
                                mend->context };
    g_autoptr (GwRecord) record = gw_record_open (&spec, LOCK_MS, error);
    if (record == NULL)
        return FALSE;
    if (gw_record_get_kind (record) != GW_RECORD_NONE)
        return gw_fail (error, GW_CAUSE_UNDECIDED, "the destination got the right to start the VM, and has to be "
                        "asked whether it did");
    const char *result = mend_vm (mend, error);
    if (result == NULL)
        return FALSE;
    remove_directories (mend, FALSE);
    return end_in_journal (mend, result, error);
}

static void
mend_job (Mend *mend, JsonObject *row)
{
    g_autoptr (GError) error = NULL;
    mend->job = gw_json_peek_string (row, "job", "");
    mend->side = gw_side_from_name (gw_json_peek_string (row, "side", ""));
    if (!gw_job_id_is_valid (mend->job) || gw_host_job_is_worked_on (row))
        return;
    gboolean ok = mend->side == GW_SIDE_SOURCE ? mend_source (mend, &error)
                                               : mend_destination (mend, row, &error);
    if (ok)
        g_message ("job %s, whose process has ended, was settled", mend->job);
    else
        g_log (NULL, mend->is_first ? G_LOG_LEVEL_WARNING : G_LOG_LEVEL_DEBUG,
               "job %s, whose process has ended: %s; it stays open", mend->job, error->message);
}

gboolean
gw_host_mend (const GwHostConfig *config, GMainContext *context, GwJournalCare care, GError **error)
{
    g_autoptr (GwJournal) journal = gw_journal_open (config->state_dir, care, error);
    g_autoptr (JsonArray) rows = journal != NULL ? gw_journal_list_open_jobs (journal, error) : NULL;
    Mend mend = { .config = config, .context = context, .journal = journal,
                  .is_first = care == GW_JOURNAL_CHECKED };
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++)
        mend_job (&mend, json_array_get_object_element (rows, i));
    return rows != NULL;
}
