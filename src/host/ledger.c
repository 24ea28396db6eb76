/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a host writes into its journal about the job that is open on a connection. */
#include "host-internal.h"

#include <string.h>
#include <unistd.h>

#define LOCK_MS 5000
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* The boot, and the namespace in which our process ids count: "UUID pid:[NUMBER]". */
static gpointer
read_boot_id (gpointer unused)
{
    g_autofree char *space = g_file_read_link ("/proc/self/ns/pid", NULL);
    g_autofree char *boot = NULL;
    if (!g_file_get_contents (BOOT_ID, &boot, NULL, NULL))
        boot = g_strdup (""); /* then every boot looks alike, and only pid and start time tell */
    return g_strdup_printf ("%s %s", g_strstrip (boot), space != NULL ? space : "");
}

/* Of two texts of read_boot_id(). */
static gboolean
is_same_boot (const char *a, const char *b)
{
    return strcspn (a, " ") == strcspn (b, " ") && strncmp (a, b, strcspn (a, " ")) == 0;
}

void
gw_host_sign_job (GwJournalJob *job)
{
    static GOnce once = G_ONCE_INIT;
    job->pid = getpid ();
    job->start_time = gw_procfs_get_start_time (getpid ());
    job->boot = g_once (&once, read_boot_id, NULL);
}

gboolean
gw_host_process_is_alive (gint64 pid, gint64 start_time)
{
    return pid > 0 && start_time > 0 && gw_procfs_get_start_time ((pid_t) pid) == start_time;
}

gboolean
gw_host_job_is_worked_on (JsonObject *row)
{
    GwJournalJob us = { 0 };
    gw_host_sign_job (&us);
    const char *boot = gw_json_peek_string (row, "boot", "");
    if (strcmp (boot, us.boot) != 0)
        return is_same_boot (boot, us.boot); /* in another container: its process cannot be seen from here */
    return gw_host_process_is_alive (gw_json_peek_int (row, "pid", 0),
                                     gw_json_peek_int (row, "start_time", 0));
}

gboolean
gw_local_need_journal (LocalHost *local, GError **error)
{
    if (local->journal == NULL)
        local->journal = gw_journal_open (local->config->state_dir, GW_JOURNAL_QUICK, error);
    return local->journal != NULL;
}

/* --- the open job ---------------------------------------------------------------------------------------- */

/* The source's is its coordinator's, who is in this process too. */
gboolean
gw_local_journal_job (LocalHost *local, GError **error)
{
    if (!gw_local_need_journal (local, error))
        return FALSE;
    if (local->side == GW_SIDE_SOURCE)
        return TRUE;
    g_autofree char *vm_dir = gw_directory_for_vm (local->config, local->job);
    const GwJournalObject directories[] = { { .kind = "directory", .path = local->job_dir },
                                            { .kind = "directory", .path = vm_dir } };
    GwJournalJob job = { .job = local->job, .side = local->side, .vm = local->vm_name,
                         .uuid = local->vm_uuid, .epoch = local->epoch, .peer = local->peer };
    gw_host_sign_job (&job);
    if (!gw_local_end_waiting (local, error) || !gw_journal_begin_job (local->journal, &job, gw_host_process_is_alive,
                                                                          error))
        return FALSE;
    local->is_journaled = TRUE;
    return gw_journal_put_objects (local->journal, local->job, local->side, directories,
                                   G_N_ELEMENTS (directories), error);
}

gboolean
gw_local_journal_qemu (LocalHost *local, GError **error)
{
    pid_t pid = local->qemu != NULL ? gw_process_get_pid (local->qemu) : 0;
    const GwJournalObject qemu = { .kind = "process", .path = local->vm_dir, .pid = pid,
                                   .start_time = pid != 0 ? gw_procfs_get_start_time (pid) : 0 };
    return gw_journal_put_objects (local->journal, local->job, local->side, &qemu, 1, error);
}

/* "" when the job left nothing that anybody will ask for. */
static const char *
find_result (LocalHost *local, GError **error)
{
    g_auto (GStrv) records = gw_journal_get_records (local->journal, local->job, local->side, error);
    guint n = records != NULL ? g_strv_length (records) : 0;
    if (records == NULL)
        return NULL;
    return n == 0 ? "" : strcmp (records[n - 1], "started") == 0 ? "arrived" : "refused";
}

/* A job that had a QEMU here was perhaps released: whoever asks later must not take this host for one that never heard
 * of it.  The QEMU is gone by now. */
static gboolean
refuse (LocalHost *local, GError **error)
{
    g_autoptr (GwRecord) record = gw_local_open_record (local, local->job, local->side, LOCK_MS, error);
    return record != NULL &&
           (gw_record_get_kind (record) != GW_RECORD_NONE ||
            gw_record_append (record, GW_RECORD_REFUSED, local->epoch, local->vm_uuid, error));
}

static gboolean
end_job (LocalHost *local, GError **error)
{
    const char *result = find_result (local, error);
    if (result != NULL && *result == '\0' && local->qemu != NULL)
        result = refuse (local, error) ? find_result (local, error) : NULL;
    if (result == NULL)
        return FALSE;
    if (*result == '\0')
        return gw_journal_forget_job (local->journal, local->job, local->side, error);
    return gw_journal_end_job (local->journal, local->job, local->side, result, NULL, error) &&
           gw_journal_drop_objects (local->journal, local->job, local->side, error);
}

void
gw_local_journal_end (LocalHost *local)
{
    g_autoptr (GError) error = NULL;
    if (local->is_journaled && !end_job (local, &error))
        g_warning ("job %s: %s; it stays open in the journal", local->job, error->message);
    if (local->is_journaled)
        gw_journal_tidy (local->journal);
    local->is_journaled = FALSE;
    g_clear_pointer (&local->journal, gw_journal_close); /* who asks later opens it again */
}

/* --- its record ----------------------------------------------------------------------------------------------- */

GwRecord *
gw_local_open_record (LocalHost *local, const char *job, GwSide side, guint timeout_ms, GError **error)
{
    if (!gw_local_need_journal (local, error))
        return NULL;
    const GwRecordSpec spec = { local->journal, local->config->state_dir, job, side, local->context };
    return gw_record_open (&spec, timeout_ms, error);
}

JsonObject *
gw_local_get_epoch (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 epoch;
    const char *uuid = gw_json_get_string (params, "uuid", error);
    if (uuid == NULL || !gw_local_need_journal (local, error) ||
        !gw_journal_get_epoch (local->journal, uuid, &epoch, error))
        return NULL;
    JsonObject *result = gw_json_new ("epoch:i", epoch, NULL);
    g_autoptr (JsonObject) vm = gw_journal_find_owner (local->journal, uuid, NULL); /* it was read just now */
    const char *owner = vm != NULL ? gw_json_peek_string (vm, "owner", "") : "";
    if (local->peer == NULL && (strcmp (owner, "released") == 0 || strcmp (owner, "undecided") == 0))
        json_object_set_string_member (result, "held_by", gw_json_peek_string (vm, "job", "?"));
    return result;
}
