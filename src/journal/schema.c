/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tables, version by version.  A migration that was released is never changed: the next one follows. */
#include "journal-internal.h"

static const char *const migrations[] = {
    /* 1 */
    "CREATE TABLE vms (uuid TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, epoch INTEGER NOT NULL,"
    " owner TEXT NOT NULL, peer TEXT NOT NULL, job TEXT NOT NULL, at_us INTEGER NOT NULL)"
    " STRICT, WITHOUT ROWID;"
    "CREATE TABLE jobs (job TEXT NOT NULL, side TEXT NOT NULL, vm TEXT NOT NULL, uuid TEXT NOT NULL,"
    " epoch INTEGER NOT NULL, peer TEXT NOT NULL, plan TEXT NOT NULL, pid INTEGER NOT NULL,"
    " start_time INTEGER NOT NULL, boot TEXT NOT NULL, began_us INTEGER NOT NULL, ended_us INTEGER NOT NULL,"
    " result TEXT NOT NULL, report TEXT NOT NULL, PRIMARY KEY (job, side)) STRICT;"
    "CREATE INDEX jobs_by_time ON jobs (began_us);"
    "CREATE TABLE steps (job TEXT NOT NULL, side TEXT NOT NULL, number INTEGER NOT NULL,"
    " step TEXT NOT NULL, entered_us INTEGER NOT NULL, left_us INTEGER NOT NULL,"
    " PRIMARY KEY (job, side, number)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE records (job TEXT NOT NULL, side TEXT NOT NULL, number INTEGER NOT NULL,"
    " record TEXT NOT NULL, epoch INTEGER NOT NULL, vm TEXT NOT NULL, at_us INTEGER NOT NULL,"
    " PRIMARY KEY (job, side, number)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE objects (job TEXT NOT NULL, side TEXT NOT NULL, kind TEXT NOT NULL, path TEXT NOT NULL,"
    " dev INTEGER NOT NULL, ino INTEGER NOT NULL, changed_ns INTEGER NOT NULL, pid INTEGER NOT NULL,"
    " start_time INTEGER NOT NULL, PRIMARY KEY (job, side, kind, path)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE migrations (version INTEGER NOT NULL PRIMARY KEY, at_us INTEGER NOT NULL) STRICT;",
    /* 2: which epochs are used up, and where this journal belongs */
    "ALTER TABLE vms ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;"
    "UPDATE vms SET seen = epoch;"
    "CREATE TABLE host (number INTEGER NOT NULL PRIMARY KEY CHECK (number = 1), machine TEXT NOT NULL,"
    " ino INTEGER NOT NULL) STRICT;",
    /* 3: whether the guest is to run that was started; what a job found set in the source's QEMU */
    ("ALTER TABLE records ADD COLUMN run INTEGER NOT NULL DEFAULT 1;"
     "ALTER TABLE jobs ADD COLUMN settings TEXT NOT NULL DEFAULT '';"),
    /* 4: who may take a job up again whose process has ended, how long it waits for that, and since when */
    ("ALTER TABLE jobs ADD COLUMN token TEXT NOT NULL DEFAULT '';"
     "ALTER TABLE jobs ADD COLUMN grace_s INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE jobs ADD COLUMN away_us INTEGER NOT NULL DEFAULT 0;"),
};

guint
gw_schema_get_latest (void)
{
    return G_N_ELEMENTS (migrations);
}

const char *
gw_schema_get_migration (guint version)
{
    g_assert (version >= 1 && version <= G_N_ELEMENTS (migrations));
    return migrations[version - 1];
}

char *
gw_schema_describe (sqlite3 *db)
{
    sqlite3_stmt *stmt = NULL;
    GString *text = g_string_new (NULL);
    int code = sqlite3_prepare_v2 (
        db, "SELECT type, name, tbl_name, ifnull (sql, '') FROM sqlite_schema ORDER BY type, name", -1,
        &stmt, NULL);
    while (code == SQLITE_OK && (code = sqlite3_step (stmt)) == SQLITE_ROW) {
        for (int i = 0; i < 4; i++)
            g_string_append_printf (text, "%s|", (const char *) sqlite3_column_text (stmt, i));
        code = text->len < GW_JOURNAL_TEXT_MAX ? SQLITE_OK : SQLITE_TOOBIG;
    }
    (void) sqlite3_finalize (stmt); /* repeats what the last step said */
    return g_string_free (text, code != SQLITE_DONE);
}

char *
gw_schema_describe_latest (void)
{
    sqlite3 *db = NULL;
    g_assert (sqlite3_open (":memory:", &db) == SQLITE_OK);
    for (guint i = 0; i < G_N_ELEMENTS (migrations); i++)
        g_assert (sqlite3_exec (db, migrations[i], NULL, NULL, NULL) == SQLITE_OK);
    char *text = gw_schema_describe (db);
    g_assert (text != NULL);
    (void) sqlite3_close (db); /* nothing is open in it */
    return text;
}
