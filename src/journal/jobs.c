/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs: begun, on their way, over, forgotten. */
#include "journal-internal.h"

#include <string.h>

#define DAY_US (G_GINT64_CONSTANT (86400) * G_USEC_PER_SEC)

typedef struct {
    const GwJournalJob *job;
    GwJournalAliveFn is_alive;
} Begin;

/* --- beginning ------------------------------------------------------------------------------------------ */

static const GwColumn holder_columns[] = { { "job", GW_COLUMN_TEXT, 1, 64 },
                                           { "pid", GW_COLUMN_INT, 0, G_MAXINT32 },
                                           { "start_time", GW_COLUMN_INT, 0, G_MAXINT64 } };

/* Another job on this side has the VM, and its process lives. */
static gboolean
claim (GwJournal *journal, const Begin *begin, GError **error)
{
    const GwJournalJob *job = begin->job;
    if (!gw_journal_is_identity (job->uuid))
        return TRUE;
    sqlite3_stmt *stmt = gw_journal_query (
        journal, error, "SELECT job, pid, start_time FROM jobs WHERE uuid = ?1 AND side = ?2 AND"
        " ended_us = 0 AND job <> ?3 AND boot = ?4", "ssss", job->uuid, gw_side_name (job->side), job->job,
        job->boot);
    g_autoptr (JsonArray) rows = gw_journal_collect (journal, stmt, holder_columns, error);
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        gint64 pid = gw_json_peek_int (row, "pid", 0);
        if (begin->is_alive (pid, gw_json_peek_int (row, "start_time", 0)))
            return gw_fail (error, GW_CAUSE_VM_BUSY, "'%s' is in the hands of job %s (process %" G_GINT64_FORMAT
                            ") on this host", job->vm, gw_json_peek_string (row, "job", ""), pid);
    }
    return rows != NULL;
}

/* A repeated message begins nothing anew: rows of jobs are forgotten some day, records are not. */
static gboolean
is_new (GwJournal *journal, const GwJournalJob *job, GError **error)
{
    g_auto (GStrv) records = gw_journal_get_records (journal, job->job, job->side, error);
    if (records == NULL)
        return FALSE;
    return *records == NULL ||
           gw_fail (error, GW_CAUSE_RPC_INVALID, "job %s was decided on this host before", job->job);
}

static gboolean
begin_job (GwJournal *journal, gconstpointer data, GError **error)
{
    const Begin *begin = data;
    const GwJournalJob *job = begin->job;
    g_autofree char *plan = job->plan != NULL ? gw_json_to_text (job->plan, FALSE) : NULL;
    if (!claim (journal, begin, error) || !is_new (journal, job, error) ||
        (job->epoch > 0 && !gw_journal_check_epoch (journal, job->uuid, job->epoch, job->job, error)))
        return FALSE;
    if (!gw_journal_run (journal, error,
                         "INSERT INTO jobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, '', '', '', '',"
                         " 0, 0) ON CONFLICT DO NOTHING", "ssssissiisi", job->job, gw_side_name (job->side), job->vm,
                         job->uuid, job->epoch, job->peer, plan, job->pid, job->start_time, job->boot,
                         g_get_real_time ()))
        return FALSE;
    return sqlite3_changes (journal->db) == 1 ||
           gw_fail (error, GW_CAUSE_RPC_INVALID, "there was a job %s on this host before", job->job);
}

gboolean
gw_journal_begin_job (GwJournal *journal, const GwJournalJob *job, GwJournalAliveFn is_alive,
                      GError **error)
{
    const Begin begin = { job, is_alive };
    (void) gw_point ("journal", "begin");
    return gw_journal_transact (journal, begin_job, &begin, error);
}

static gboolean
name_job (GwJournal *journal, gconstpointer data, GError **error)
{
    const Begin *begin = data;
    const GwJournalJob *job = begin->job;
    /* the destination owns nothing before STARTED */
    const GwJournalVm vm = { job->uuid, job->vm, "here", "", job->job, job->epoch - 1 };
    return claim (journal, begin, error) &&
           gw_journal_check_epoch (journal, job->uuid, job->epoch, job->job, error) &&
           gw_journal_run (journal, error, "UPDATE jobs SET vm = ?3, uuid = ?4, epoch = ?5 WHERE job = ?1 AND"
                           " side = ?2", "ssssi", job->job, gw_side_name (job->side), job->vm, job->uuid,
                           job->epoch) &&
           (job->side != GW_SIDE_SOURCE || gw_journal_put_vm (journal, &vm, error));
}

gboolean
gw_journal_name_job (GwJournal *journal, const GwJournalJob *job, GwJournalAliveFn is_alive,
                     GError **error)
{
    const Begin begin = { job, is_alive };
    (void) gw_point ("journal", "name");
    return gw_journal_transact (journal, name_job, &begin, error);
}

/* What it found set in the source's QEMU, for whoever has to put it back. */
typedef struct {
    const char *job, *text;
} Settings;

static gboolean
put_settings (GwJournal *journal, gconstpointer data, GError **error)
{
    const Settings *settings = data;
    return gw_journal_run (journal, error, "UPDATE jobs SET settings = ?2 WHERE job = ?1 AND side = 'source'", "ss",
                           settings->job, settings->text);
}

gboolean
gw_journal_put_settings (GwJournal *journal, const char *job, JsonObject *settings, GError **error)
{
    g_autofree char *text = gw_json_to_text (settings, FALSE);
    const Settings data = { job, text };
    (void) gw_point ("journal", "settings");
    return gw_journal_transact (journal, put_settings, &data, error);
}

JsonObject *
gw_journal_get_settings (GwJournal *journal, const char *job, GError **error)
{
    static const GwColumn columns[] = { { "settings", GW_COLUMN_JSON, 0, GW_JOURNAL_NAME_MAX } };
    sqlite3_stmt *stmt = gw_journal_query (
        journal, error, "SELECT settings FROM jobs WHERE job = ?1 AND side = 'source'", "s", job);
    g_autoptr (JsonArray) rows = gw_journal_collect (journal, stmt, columns, error);
    if (rows == NULL)
        return NULL;
    JsonObject *found = json_array_get_length (rows) > 0
                            ? gw_json_peek_object (json_array_get_object_element (rows, 0), "settings") : NULL;
    return found != NULL ? json_object_ref (found) : json_object_new ();
}

/* --- on its way ------------------------------------------------------------------------------------------- */

typedef struct {
    const char *job, *step;
    GwSide side;
} Mark;

static gboolean
enter_step (GwJournal *journal, gconstpointer data, GError **error)
{
    const Mark *mark = data;
    const char *side = gw_side_name (mark->side);
    gint64 now = g_get_real_time ();
    return gw_journal_run (journal, error, "UPDATE steps SET left_us = ?3 WHERE job = ?1 AND side = ?2 AND"
                           " left_us = 0", "ssi", mark->job, side, now) &&
           gw_journal_run (journal, error, "UPDATE jobs SET grace_s = 0 WHERE job = ?1 AND side = ?2 AND grace_s > 0",
                           "ss", mark->job, side) &&
           gw_journal_run (journal, error, "INSERT INTO steps VALUES (?1, ?2, (SELECT count (*) FROM steps"
                           " WHERE job = ?1 AND side = ?2), ?3, ?4, 0)", "sssi", mark->job, side, mark->step,
                           now);
}

gboolean
gw_journal_enter_step (GwJournal *journal, const char *job, GwSide side, const char *step,
                       GError **error)
{
    const Mark mark = { job, step, side };
    (void) gw_point ("step", step);
    return gw_journal_transact_with_qemu (journal, enter_step, &mark, error);
}

/* --- over ------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *job, *result;
    GwSide side;
    JsonObject *report;
} End;

static const GwColumn named_columns[] = { { "vm", GW_COLUMN_TEXT, 0, GW_JOURNAL_NAME_MAX },
                                          { "uuid", GW_COLUMN_TEXT, 0, GW_JOURNAL_NAME_MAX },
                                          { "peer", GW_COLUMN_TEXT, 0, GW_JOURNAL_NAME_MAX },
                                          { "epoch", GW_COLUMN_INT, 0, G_MAXINT32 } };

/* Where the source's VM is, now that its job is over. */
static gboolean
settle_vm (GwJournal *journal, const End *end, GError **error)
{
    static const struct {
        const char *result, *owner;
        gint64 step; /* from the epoch before */
    } outcomes[] = { { "moved", "there", 1 }, { "stayed", "here", 0 }, { "undecided", "undecided", 1 },
                     { "lost", "nobody", 1 } };
    sqlite3_stmt *stmt =
        gw_journal_query (journal, error, "SELECT vm, uuid, peer, epoch FROM jobs WHERE job = ?1 AND side = ?2",
                          "ss", end->job, gw_side_name (end->side));
    g_autoptr (JsonArray) rows = gw_journal_collect (journal, stmt, named_columns, error);
    g_auto (GStrv) there = gw_journal_get_records (journal, end->job, GW_SIDE_DESTINATION, error);
    if (rows == NULL || there == NULL)
        return FALSE;
    JsonObject *row = json_array_get_length (rows) > 0 ? json_array_get_object_element (rows, 0) : NULL;
    /* it never knew its VM, or the destination is this host, too, and has said where it is */
    if (row == NULL || gw_json_peek_int (row, "epoch", 0) == 0 || *there != NULL)
        return TRUE;
    for (guint i = 0; i < G_N_ELEMENTS (outcomes); i++) {
        if (strcmp (outcomes[i].result, end->result) != 0)
            continue;
        gboolean is_away = strcmp (outcomes[i].owner, "here") != 0;
        const GwJournalVm vm = { .uuid = gw_json_peek_string (row, "uuid", ""),
                                 .name = gw_json_peek_string (row, "vm", ""),
                                 .owner = outcomes[i].owner,
                                 .peer = is_away ? gw_json_peek_string (row, "peer", "") : "",
                                 .job = end->job,
                                 .epoch = gw_json_peek_int (row, "epoch", 0) - 1 + outcomes[i].step };
        return gw_journal_put_vm (journal, &vm, error);
    }
    return TRUE;
}

/* Those that are open or undecided stay. */
static gboolean
prune (GwJournal *journal, GError **error)
{
    gint64 since = g_get_real_time () - GW_JOURNAL_DAYS_KEPT * DAY_US;
    return gw_journal_run (journal, error, "DELETE FROM jobs WHERE ended_us > 0 AND result <> 'undecided' AND"
                           " (ended_us < ?1 OR began_us < (SELECT began_us FROM jobs ORDER BY began_us DESC"
                           " LIMIT 1 OFFSET ?2))", "ii", since, (gint64) (GW_JOURNAL_JOBS_KEPT - 1)) &&
           gw_journal_run (journal, error, "DELETE FROM steps WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE"
                           " jobs.job = steps.job AND jobs.side = steps.side)", "");
}

static gboolean
end_job (GwJournal *journal, gconstpointer data, GError **error)
{
    const End *end = data;
    const char *side = gw_side_name (end->side);
    gint64 now = g_get_real_time ();
    g_autofree char *text = end->report != NULL ? gw_json_to_text (end->report, FALSE) : NULL;
    return gw_journal_run (journal, error, "UPDATE jobs SET ended_us = ?3, result = ?4, report = ?5, token = ''"
                           " WHERE job = ?1 AND side = ?2", "ssiss", end->job, side, now, end->result, text) &&
           gw_journal_run (journal, error, "UPDATE steps SET left_us = ?3 WHERE job = ?1 AND side = ?2 AND"
                           " left_us = 0", "ssi", end->job, side, now) &&
           (end->side != GW_SIDE_SOURCE || settle_vm (journal, end, error)) && prune (journal, error);
}

gboolean
gw_journal_end_job (GwJournal *journal, const char *job, GwSide side, const char *result,
                    JsonObject *report, GError **error)
{
    const End end = { job, result, side, report };
    (void) gw_point ("journal", "end");
    return gw_journal_transact (journal, end_job, &end, error);
}

static gboolean
forget_job (GwJournal *journal, gconstpointer data, GError **error)
{
    const Mark *mark = data;
    const char *side = gw_side_name (mark->side);
    return gw_journal_run (journal, error, "DELETE FROM steps WHERE job = ?1 AND side = ?2", "ss", mark->job,
                           side) &&
           gw_journal_run (journal, error, "DELETE FROM objects WHERE job = ?1 AND side = ?2 AND kind <> ?3", "sss",
                           mark->job, side, GW_OBJECT_QUARANTINE) &&
           gw_journal_run (journal, error, "DELETE FROM jobs WHERE job = ?1 AND side = ?2", "ss", mark->job,
                           side);
}

gboolean
gw_journal_forget_job (GwJournal *journal, const char *job, GwSide side, GError **error)
{
    const Mark mark = { job, NULL, side };
    return gw_journal_transact (journal, forget_job, &mark, error);
}
