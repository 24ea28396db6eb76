/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the journal tells. */
#include "journal-internal.h"

static const GwColumn job_columns[] = { { "job", GW_COLUMN_TEXT, 1, 64 },
                                        { "side", GW_COLUMN_TEXT, 1, 16 },
                                        { "vm", GW_COLUMN_TEXT, 0, GW_JOURNAL_NAME_MAX },
                                        { "uuid", GW_COLUMN_TEXT, 0, GW_JOURNAL_NAME_MAX },
                                        { "epoch", GW_COLUMN_INT, 0, G_MAXINT32 },
                                        { "peer", GW_COLUMN_TEXT, 0, GW_JOURNAL_NAME_MAX },
                                        { "result", GW_COLUMN_TEXT, 0, 16 },
                                        { "pid", GW_COLUMN_INT, 0, G_MAXINT32 },
                                        { "start_time", GW_COLUMN_INT, 0, G_MAXINT64 },
                                        { "boot", GW_COLUMN_TEXT, 0, 64 },
                                        { "began_us", GW_COLUMN_INT, 0, G_MAXINT64 },
                                        { "ended_us", GW_COLUMN_INT, 0, G_MAXINT64 },
                                        { "grace_s", GW_COLUMN_INT, 0, G_MAXINT32 },
                                        { "away_us", GW_COLUMN_INT, 0, G_MAXINT64 },
                                        { "report", GW_COLUMN_JSON, 0, GW_JOURNAL_TEXT_MAX } };
static const GwColumn step_columns[] = { { "step", GW_COLUMN_TEXT, 1, 64 },
                                         { "entered_us", GW_COLUMN_INT, 0, G_MAXINT64 },
                                         { "left_us", GW_COLUMN_INT, 0, G_MAXINT64 } };
static const GwColumn record_columns[] = { { "record", GW_COLUMN_TEXT, 1, 16 },
                                           { "epoch", GW_COLUMN_INT, 0, G_MAXINT32 },
                                           { "vm", GW_COLUMN_TEXT, 0, GW_JOURNAL_NAME_MAX },
                                           { "at_us", GW_COLUMN_INT, 0, G_MAXINT64 },
                                           { "run", GW_COLUMN_INT, 0, 1 } };
static const GwColumn vm_columns[] = { { "uuid", GW_COLUMN_TEXT, 1, GW_JOURNAL_NAME_MAX },
                                       { "name", GW_COLUMN_TEXT, 0, GW_JOURNAL_NAME_MAX },
                                       { "epoch", GW_COLUMN_INT, 0, G_MAXINT32 },
                                       { "owner", GW_COLUMN_TEXT, 1, 16 },
                                       { "peer", GW_COLUMN_TEXT, 0, GW_JOURNAL_NAME_MAX },
                                       { "job", GW_COLUMN_TEXT, 0, 64 },
                                       { "at_us", GW_COLUMN_INT, 0, G_MAXINT64 } };

JsonObject *
gw_journal_get_report (GwJournal *journal, const char *job, GError **error)
{
    static const GwColumn columns[] = { { "report", GW_COLUMN_JSON, 0, GW_JOURNAL_TEXT_MAX } };
    sqlite3_stmt *stmt = gw_journal_query (
        journal, error, "SELECT report FROM jobs WHERE job = ?1 AND side = 'source' AND ended_us <> 0", "s", job);
    g_autoptr (JsonArray) rows = gw_journal_collect (journal, stmt, columns, error);
    if (rows == NULL)
        return NULL;
    JsonObject *report =
        json_array_get_length (rows) > 0
            ? gw_json_peek_object (json_array_get_object_element (rows, 0), "report") : NULL;
    if (report == NULL)
        gw_fail (error, GW_CAUSE_HOST_IO, "there is no report of a job '%s' on this host", job);
    return report != NULL ? json_object_ref (report) : NULL;
}

#define SELECT_JOB \
    "SELECT job, side, vm, uuid, epoch, peer, result, pid, start_time, boot, began_us, ended_us, grace_s, away_us," \
    " CASE ended_us WHEN 0 THEN '' ELSE report END FROM jobs" /* of an open one it is a draft */

JsonArray *
gw_journal_find_job (GwJournal *journal, const char *job, GError **error)
{
    sqlite3_stmt *stmt = gw_journal_query (journal, error, SELECT_JOB " WHERE job = ?1 ORDER BY side", "s", job);
    return gw_journal_collect (journal, stmt, job_columns, error);
}

JsonArray *
gw_journal_list_open_jobs (GwJournal *journal, GError **error)
{
    sqlite3_stmt *stmt =
        gw_journal_query (journal, error, SELECT_JOB " WHERE ended_us = 0 ORDER BY began_us", "");
    return gw_journal_collect (journal, stmt, job_columns, error);
}

JsonArray *
gw_journal_list_unsettled_jobs (GwJournal *journal, GError **error)
{
    sqlite3_stmt *stmt = gw_journal_query (
        journal, error, SELECT_JOB " WHERE ended_us = 0 OR result = 'undecided' ORDER BY began_us", "");
    return gw_journal_collect (journal, stmt, job_columns, error);
}

JsonArray *
gw_journal_list_jobs (GwJournal *journal, const char *vm, guint max, GError **error)
{
    sqlite3_stmt *stmt = gw_journal_query (
        journal, error, SELECT_JOB " WHERE ?1 = '' OR vm = ?1 OR uuid = ?1 ORDER BY began_us DESC, job LIMIT ?2",
        "si", vm, (gint64) max);
    JsonArray *rows = gw_journal_collect (journal, stmt, job_columns, error);
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *report = gw_json_peek_object (json_array_get_object_element (rows, i), "report");
        if (report != NULL)
            json_object_remove_member (report, "timeline");
    }
    return rows;
}

JsonArray *
gw_journal_list_steps (GwJournal *journal, const char *job, GwSide side, GError **error)
{
    sqlite3_stmt *stmt = gw_journal_query (
        journal, error, "SELECT step, entered_us, left_us FROM steps WHERE job = ?1 AND side = ?2 ORDER BY"
        " number", "ss", job, gw_side_name (side));
    return gw_journal_collect (journal, stmt, step_columns, error);
}

JsonArray *
gw_journal_list_records (GwJournal *journal, const char *job, GwSide side, GError **error)
{
    sqlite3_stmt *stmt = gw_journal_query (
        journal, error, "SELECT record, epoch, vm, at_us, run FROM records WHERE job = ?1 AND side = ?2 ORDER BY"
        " number", "ss", job, gw_side_name (side));
    g_autoptr (JsonArray) rows = gw_journal_collect (journal, stmt, record_columns, error);
    if (rows != NULL && json_array_get_length (rows) > GW_JOURNAL_RECORDS_MAX) {
        gw_journal_fail_damaged (journal, error, "job %s has more than %d records", job,
                                 GW_JOURNAL_RECORDS_MAX);
        return NULL;
    }
    return g_steal_pointer (&rows);
}

JsonArray *
gw_journal_list_vms (GwJournal *journal, GError **error)
{
    sqlite3_stmt *stmt = gw_journal_query (
        journal, error, "SELECT uuid, name, epoch, owner, peer, job, at_us FROM vms ORDER BY name, uuid", "");
    return gw_journal_collect (journal, stmt, vm_columns, error);
}
