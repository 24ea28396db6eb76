/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A journal in a state directory of its own, and a second way into it. */
#ifndef TEST_JOURNAL_DIR_H
#define TEST_JOURNAL_DIR_H

#include "test-state-dir.h"

#include "journal-internal.h"

#include "test-db.h"

static inline GwJournal *
dir_open (const Dir *dir)
{
    g_autoptr (GError) error = NULL;
    GwJournal *journal = gw_journal_open (dir->path, GW_JOURNAL_CHECKED, &error);
    g_assert_no_error (error);
    return journal;
}

/* The first value of the first row, NULL for none.  (transfer full) */
static inline char *
dir_ask (const Dir *dir, const char *sql)
{
    sqlite3 *db = dir_connect (dir);
    sqlite3_stmt *stmt = NULL;
    g_assert_cmpint (sqlite3_prepare_v2 (db, sql, -1, &stmt, NULL), ==, SQLITE_OK);
    char *text = sqlite3_step (stmt) == SQLITE_ROW
                     ? g_strdup ((const char *) sqlite3_column_text (stmt, 0)) : NULL;
    g_assert_cmpint (sqlite3_finalize (stmt), ==, SQLITE_OK);
    g_assert_cmpint (sqlite3_close (db), ==, SQLITE_OK);
    return text;
}

static inline gboolean
nobody_is_alive (gint64 pid, gint64 start_time)
{
    return FALSE;
}

static inline gboolean
all_are_alive (gint64 pid, gint64 start_time)
{
    return TRUE;
}

#define DIR_UUID "a-uuid"

/* A job of every kind, "gw-1" on both sides. */
static inline void
dir_fill (const Dir *dir)
{
    g_autoptr (GwJournal) journal = dir_open (dir);
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonObject) report = gw_json_new ("job:s", "gw-1", "result:s", "moved", NULL);
    const GwJournalObject object = { .kind = "file", .path = "/x", .ino = 5 };
    static const GwSide sides[] = { GW_SIDE_SOURCE, GW_SIDE_DESTINATION };
    for (guint i = 0; i < G_N_ELEMENTS (sides); i++) {
        GwJournalJob job = { .job = "gw-1", .side = sides[i], .vm = "web1", .uuid = DIR_UUID, .epoch = 1,
                             .peer = "unix:/b", .pid = 1, .start_time = 1, .boot = "boot" };
        gw_journal_begin_job (journal, &job, nobody_is_alive, &error);
        g_assert_no_error (error);
        gw_journal_enter_step (journal, "gw-1", sides[i], "connect", &error);
        gw_journal_put_objects (journal, "gw-1", sides[i], &object, 1, &error);
        gw_journal_put_record (journal, "gw-1", sides[i],
                               sides[i] == GW_SIDE_SOURCE ? "released" : "started", 1, DIR_UUID, &error);
        g_assert_no_error (error);
    }
    gw_journal_end_job (journal, "gw-1", GW_SIDE_SOURCE, "moved", report, &error);
    g_assert_no_error (error);
}

#endif
