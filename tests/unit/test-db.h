/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal of a test's state directory, past the code that keeps it. */
#ifndef TEST_DB_H
#define TEST_DB_H

#include <sqlite3.h>

static inline sqlite3 *
dir_connect (const Dir *dir)
{
    g_autofree char *path = dir_path (dir, "journal.db");
    sqlite3 *db = NULL;
    g_assert_cmpint (sqlite3_open (path, &db), ==, SQLITE_OK);
    return db;
}

/* Changes the journal behind its back. */
static inline void
dir_edit (const Dir *dir, const char *sql)
{
    sqlite3 *db = dir_connect (dir);
    g_assert_cmpint (sqlite3_exec (db, sql, NULL, NULL, NULL), ==, SQLITE_OK);
    g_assert_cmpint (sqlite3_close (db), ==, SQLITE_OK);
}

#endif
