/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs that outlive the process that works on them.  Each change names the process that it replaces, so of two that
 * want the same job one finds that nothing was changed.
 */
#include "journal-internal.h"

#include <string.h>

/* The source has to tell it again; the destination only compares. */
static char *
seal (GwSide side, const char *token)
{
    return side == GW_SIDE_SOURCE ? g_strdup (token) : g_compute_checksum_for_string (G_CHECKSUM_SHA256, token, -1);
}

typedef struct {
    const GwJournalJob *us;
    const char *job, *side, *token;
    gint64 grace_s, pid, start_time;
} Take;

static gboolean
keep_job (GwJournal *journal, gconstpointer data, GError **error)
{
    const Take *take = data;
    return gw_journal_run (journal, error, "UPDATE jobs SET token = ?3, grace_s = ?4, away_us = 0 WHERE job = ?1 AND"
                           " side = ?2 AND ended_us = 0", "sssi", take->job, take->side, take->token, take->grace_s);
}

gboolean
gw_journal_keep_job (GwJournal *journal, const char *job, GwSide side, const char *token, gint64 grace_s,
                     GError **error)
{
    g_autofree char *sum = seal (side, token);
    const Take take = { .job = job, .side = gw_side_name (side), .token = sum, .grace_s = grace_s };
    (void) gw_point ("journal", "keep");
    return gw_journal_transact (journal, keep_job, &take, error);
}

static gboolean
leave_job (GwJournal *journal, gconstpointer data, GError **error)
{
    const Take *take = data;
    return gw_journal_run (journal, error, "UPDATE jobs SET pid = 0, start_time = 0, away_us = ?4 WHERE job = ?1 AND"
                           " side = ?2 AND pid = ?3 AND away_us = 0 AND ended_us = 0", "ssii", take->job, take->side,
                           take->pid, g_get_real_time ());
}

gboolean
gw_journal_leave_job (GwJournal *journal, const char *job, GwSide side, gint64 pid, GError **error)
{
    const Take take = { .job = job, .side = gw_side_name (side), .pid = pid };
    (void) gw_point ("journal", "leave");
    return gw_journal_transact (journal, leave_job, &take, error);
}

static gboolean
has_token (GwJournal *journal, const Take *take, GError **error)
{
    static const GwColumn columns[] = { { "token", GW_COLUMN_TEXT, 0, GW_JOURNAL_NAME_MAX } };
    g_autoptr (JsonArray) rows = gw_journal_collect (
        journal, gw_journal_query (journal, error, "SELECT token FROM jobs WHERE job = ?1 AND side = ?2", "ss",
                                   take->job, take->side), columns, error);
    if (rows == NULL)
        return FALSE;
    const char *known = json_array_get_length (rows) > 0
                            ? gw_json_peek_string (json_array_get_object_element (rows, 0), "token", "") : "";
    return (*known != '\0' && strcmp (known, take->token) == 0) ||
           gw_fail (error, GW_CAUSE_NOT_ALLOWED, "job %s does not go on here for who asks", take->job);
}

static gboolean
take_job (GwJournal *journal, gconstpointer data, GError **error)
{
    const Take *take = data;
    if (!has_token (journal, take, error) ||
        !gw_journal_run (journal, error, "UPDATE jobs SET pid = ?3, start_time = ?4, boot = ?5, away_us = 0 WHERE"
                         " job = ?1 AND side = ?2 AND ended_us = 0 AND pid = ?6 AND start_time = ?7", "ssiisii",
                         take->job, take->side, take->us->pid, take->us->start_time, take->us->boot, take->pid,
                         take->start_time))
        return FALSE;
    return sqlite3_changes (journal->db) == 1 ||
           gw_fail (error, GW_CAUSE_VM_BUSY, "somebody else has taken job %s up", take->job);
}

gboolean
gw_journal_take_job (GwJournal *journal, const GwJournalJob *us, JsonObject *row, const char *token, GError **error)
{
    g_autofree char *sum = seal (us->side, token);
    const Take take = { .us = us, .job = us->job, .side = gw_side_name (us->side), .token = sum,
                        .pid = gw_json_peek_int (row, "pid", 0),
                        .start_time = gw_json_peek_int (row, "start_time", 0) };
    (void) gw_point ("journal", "take");
    return gw_journal_transact (journal, take_job, &take, error);
}

typedef struct {
    const char *job, *text;
} Draft;

static gboolean
put_draft (GwJournal *journal, gconstpointer data, GError **error)
{
    const Draft *draft = data;
    return gw_journal_run (journal, error, "UPDATE jobs SET report = ?2 WHERE job = ?1 AND side = 'source' AND"
                           " ended_us = 0", "ss", draft->job, draft->text);
}

gboolean
gw_journal_put_draft (GwJournal *journal, const char *job, JsonObject *object, GError **error)
{
    g_autofree char *text = gw_json_to_text (object, FALSE);
    const Draft draft = { job, text };
    return gw_journal_transact_with_qemu (journal, put_draft, &draft, error);
}

JsonObject *
gw_journal_get_kept (GwJournal *journal, const char *job, GError **error)
{
    static const GwColumn columns[] = { { "plan", GW_COLUMN_JSON, 0, GW_JOURNAL_TEXT_MAX },
                                        { "token", GW_COLUMN_TEXT, 0, GW_JOURNAL_NAME_MAX },
                                        { "draft", GW_COLUMN_JSON, 0, GW_JOURNAL_TEXT_MAX } };
    sqlite3_stmt *stmt = gw_journal_query (
        journal, error, "SELECT plan, token, CASE ended_us WHEN 0 THEN report ELSE '' END FROM jobs WHERE job = ?1 AND side = 'source'", "s", job);
    g_autoptr (JsonArray) rows = gw_journal_collect (journal, stmt, columns, error);
    if (rows == NULL)
        return NULL;
    return json_array_get_length (rows) > 0
               ? json_object_ref (json_array_get_object_element (rows, 0)) : json_object_new ();
}
