/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Statements, and rows that are believed only within bounds. */
#include "journal-internal.h"

#include <string.h>

gboolean
gw_journal_fail (GwJournal *journal, GError **error)
{
    int code = sqlite3_errcode (journal->db) & 0xff, number = sqlite3_system_errno (journal->db);
    gboolean is_system = number != 0 && (code == SQLITE_IOERR || code == SQLITE_CANTOPEN);
    const char *words = code == SQLITE_BUSY ? "another process has held it for ten seconds"
                                            : sqlite3_errmsg (journal->db);
    gboolean is_damage = code == SQLITE_CORRUPT || code == SQLITE_NOTADB ||
                         code == SQLITE_MISMATCH || code == SQLITE_TOOBIG;
    return gw_fail (error, is_damage ? GW_CAUSE_JOURNAL_DAMAGED : GW_CAUSE_JOURNAL_IO,
                    "journal '%s': %s%s%s", journal->path, words, is_system ? ": " : "",
                    is_system ? g_strerror (number) : "");
}

gboolean
gw_journal_fail_damaged (GwJournal *journal, GError **error, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autofree char *words = g_strdup_vprintf (format, args);
    va_end (args);
    return gw_fail (error, GW_CAUSE_JOURNAL_DAMAGED, "journal '%s' is damaged: %s", journal->path,
                    words);
}

static sqlite3_stmt *
prepare (GwJournal *journal, const char *sql, const char *format, va_list args)
{
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2 (journal->db, sql, -1, &stmt, NULL);
    for (int i = 1; code == SQLITE_OK && format[i - 1] != '\0'; i++) {
        g_assert (format[i - 1] == 's' || format[i - 1] == 'i');
        if (format[i - 1] == 'i') {
            code = sqlite3_bind_int64 (stmt, i, va_arg (args, gint64));
            continue;
        }
        const char *text = va_arg (args, const char *);
        code = sqlite3_bind_text (stmt, i, text != NULL ? text : "", -1, SQLITE_TRANSIENT);
    }
    if (code == SQLITE_OK)
        return stmt;
    (void) sqlite3_finalize (stmt); /* its words are those of the failure above */
    return NULL;
}

sqlite3_stmt *
gw_journal_query (GwJournal *journal, GError **error, const char *sql, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    sqlite3_stmt *stmt = prepare (journal, sql, format, args);
    va_end (args);
    if (stmt == NULL)
        gw_journal_fail (journal, error);
    return stmt;
}

gboolean
gw_journal_run (GwJournal *journal, GError **error, const char *sql, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    sqlite3_stmt *stmt = prepare (journal, sql, format, args);
    va_end (args);
    int code = stmt != NULL ? sqlite3_step (stmt) : SQLITE_ERROR;
    gboolean ok = code == SQLITE_DONE || code == SQLITE_ROW || gw_journal_fail (journal, error);
    (void) sqlite3_finalize (stmt); /* repeats what the step said */
    return ok;
}

/* --- rows ------------------------------------------------------------------------------------------- */

static gboolean
add_int (GwJournal *journal, sqlite3_stmt *stmt, int i, const GwColumn *column, JsonObject *row,
         GError **error)
{
    gint64 value = sqlite3_column_int64 (stmt, i);
    if (sqlite3_column_type (stmt, i) != SQLITE_INTEGER || value < column->min || value > column->max)
        return gw_journal_fail_damaged (journal, error, "'%s' is no number from %" G_GINT64_FORMAT
                                        " to %" G_GINT64_FORMAT, column->name, column->min, column->max);
    json_object_set_int_member (row, column->name, value);
    return TRUE;
}

static gboolean
add_text (GwJournal *journal, sqlite3_stmt *stmt, int i, const GwColumn *column, JsonObject *row,
          GError **error)
{
    gboolean is_text = sqlite3_column_type (stmt, i) == SQLITE_TEXT;
    const char *text = is_text ? (const char *) sqlite3_column_text (stmt, i) : NULL;
    gint64 len = sqlite3_column_bytes (stmt, i);
    if (text == NULL || len < column->min || len > column->max ||
        !g_utf8_validate (text, (gssize) len, NULL)) /* a zero byte is not valid here */
        return gw_journal_fail_damaged (journal, error, "'%s' is no text of %" G_GINT64_FORMAT " to %"
                                        G_GINT64_FORMAT " bytes", column->name, column->min, column->max);
    if (column->kind == GW_COLUMN_TEXT) {
        json_object_set_string_member (row, column->name, text);
        return TRUE;
    }
    g_autoptr (GError) failure = NULL;
    JsonObject *object = len > 0 ? gw_json_parse (text, (gssize) len, &failure) : NULL;
    if (failure != NULL)
        return gw_journal_fail_damaged (journal, error, "'%s': %s", column->name, failure->message);
    if (object != NULL)
        json_object_set_object_member (row, column->name, object);
    return TRUE;
}

static JsonObject *
read_row (GwJournal *journal, sqlite3_stmt *stmt, const GwColumn *columns, GError **error)
{
    g_autoptr (JsonObject) row = json_object_new ();
    for (int i = 0; i < sqlite3_column_count (stmt); i++) {
        g_assert (columns[i].name != NULL);
        gboolean ok = columns[i].kind == GW_COLUMN_INT
                          ? add_int (journal, stmt, i, &columns[i], row, error)
                          : add_text (journal, stmt, i, &columns[i], row, error);
        if (!ok)
            return NULL;
    }
    return g_steal_pointer (&row);
}

JsonArray *
gw_journal_collect (GwJournal *journal, sqlite3_stmt *stmt, const GwColumn *columns, GError **error)
{
    g_autoptr (JsonArray) rows = stmt != NULL ? json_array_new () : NULL;
    gboolean ok = stmt != NULL;
    int code = SQLITE_DONE;
    while (ok && (code = sqlite3_step (stmt)) == SQLITE_ROW) {
        JsonObject *row = read_row (journal, stmt, columns, error);
        ok = row != NULL;
        if (ok)
            json_array_add_object_element (rows, row);
        if (ok && json_array_get_length (rows) > GW_JOURNAL_ROWS_MAX)
            ok = gw_journal_fail_damaged (journal, error, "more than %d rows", GW_JOURNAL_ROWS_MAX);
    }
    if (ok && code != SQLITE_DONE)
        ok = gw_journal_fail (journal, error);
    (void) sqlite3_finalize (stmt); /* repeats what the last step said */
    return ok ? g_steal_pointer (&rows) : NULL;
}

/* --- transactions ------------------------------------------------------------------------------------- */

gboolean
gw_journal_transact (GwJournal *journal, GwJournalWork work, gconstpointer data, GError **error)
{
    if (!gw_journal_run (journal, error, "BEGIN IMMEDIATE", ""))
        return FALSE;
    if (work (journal, data, error) && gw_journal_run (journal, error, "COMMIT", ""))
        return TRUE;
    /* some failures have rolled it back already; that there is nothing left to roll back is no failure */
    (void) sqlite3_exec (journal->db, "ROLLBACK", NULL, NULL, NULL);
    return FALSE;
}

gboolean
gw_journal_transact_with_qemu (GwJournal *journal, GwJournalWork work, gconstpointer data, GError **error)
{
    gboolean ok = gw_journal_run (journal, error, "PRAGMA synchronous = NORMAL", "") &&
                  gw_journal_transact (journal, work, data, error);
    return gw_journal_run (journal, ok ? error : NULL, "PRAGMA synchronous = FULL", "") && ok;
}
