/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening the journal: whether it is one, and ours, and whole. */
#include "journal-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_MS 10000
#define POLL_US 10000
#define LOCK_NAME "open"

static char *
path_in (const char *state_dir)
{
    return g_build_filename (state_dir, "journal.db", NULL);
}

gboolean
gw_journal_exists (const char *state_dir)
{
    g_autofree char *path = path_in (state_dir);
    struct stat st;
    return lstat (path, &st) == 0;
}

/* --- the file ---------------------------------------------------------------------------------------- */

static gboolean
lock_directory (const char *state_dir, int *ret_fd, GError **error)
{
    gint64 deadline = gw_deadline_ms (BUSY_MS);
    for (;;) {
        if (!gw_journal_try_lock (state_dir, LOCK_NAME, ret_fd, error))
            return FALSE;
        if (*ret_fd >= 0)
            return TRUE;
        if (g_get_monotonic_time () > deadline)
            return gw_fail (error, GW_CAUSE_JOURNAL_IO,
                            "the journal in '%s' is being opened by another process for %d s", state_dir,
                            BUSY_MS / 1000);
        g_usleep (POLL_US);
    }
}

static gboolean
make_file (const char *path, GError **error)
{
    g_auto (GwFd) fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd >= 0 ||
           gw_fail (error, GW_CAUSE_JOURNAL_IO, "cannot make '%s': %s", path, g_strerror (errno));
}

/* Before records were in the journal they were files; what they decide must not be forgotten. */
static gboolean
has_old_records (const char *state_dir)
{
    g_autofree char *path = g_build_filename (state_dir, "records", NULL);
    g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
    return dir != NULL && g_dir_read_name (dir) != NULL;
}

static gboolean
prepare_file (const char *state_dir, const char *path, GError **error)
{
    struct stat st;
    if (lstat (path, &st) != 0) {
        if (errno != ENOENT)
            return gw_fail (error, GW_CAUSE_JOURNAL_IO, "'%s': %s", path, g_strerror (errno));
        if (has_old_records (state_dir))
            return gw_fail (error, GW_CAUSE_JOURNAL_OLD,
                            "'%s/records' holds ownership records of an older godwit", state_dir);
        return make_file (path, error);
    }
    if (!S_ISREG (st.st_mode))
        return gw_fail (error, GW_CAUSE_JOURNAL_DAMAGED, "'%s' is no regular file", path);
    if (st.st_uid != geteuid () && st.st_uid != 0)
        return gw_fail (error, GW_CAUSE_JOURNAL_DAMAGED, "'%s' belongs to user %u", path, st.st_uid);
    return TRUE;
}

/* --- what is in it --------------------------------------------------------------------------------------- */

/* Before anything of it is believed. */
static gboolean
connect_file (GwJournal *journal, GError **error)
{
    static const struct {
        int id, value;
    } limits[] = { { SQLITE_LIMIT_LENGTH, GW_JOURNAL_TEXT_MAX + 4096 },
                   { SQLITE_LIMIT_ATTACHED, 0 },
                   { SQLITE_LIMIT_TRIGGER_DEPTH, 0 } };
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2 (journal->path, &journal->db, flags, NULL) != SQLITE_OK)
        return gw_journal_fail (journal, error);
    for (guint i = 0; i < G_N_ELEMENTS (limits); i++)
        (void) sqlite3_limit (journal->db, limits[i].id, limits[i].value); /* returns the old one */
    (void) sqlite3_busy_timeout (journal->db, BUSY_MS); /* these three cannot fail */
    (void) sqlite3_db_config (journal->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void) sqlite3_db_config (journal->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (sqlite3_db_readonly (journal->db, "main") == 1)
        return gw_fail (error, GW_CAUSE_JOURNAL_IO, "journal '%s': its file system is read-only, or we may "
                        "not write the file", journal->path);
    return TRUE;
}

/* The number that a statement answers. */
static gboolean
ask_number (GwJournal *journal, const char *sql, gint64 *ret, GError **error)
{
    static const GwColumn columns[] = { { "number", GW_COLUMN_INT, G_MININT32, G_MAXUINT32 } };
    g_autoptr (JsonArray) rows =
        gw_journal_collect (journal, gw_journal_query (journal, error, sql, ""), columns, error);
    if (rows == NULL || json_array_get_length (rows) != 1)
        return rows == NULL ? FALSE : gw_journal_fail_damaged (journal, error, "'%s' has no answer", sql);
    *ret = gw_json_peek_int (json_array_get_object_element (rows, 0), "number", 0);
    return TRUE;
}

static gboolean
read_version (GwJournal *journal, gint64 *ret_version, GError **error)
{
    gint64 id, n_tables;
    if (!ask_number (journal, "PRAGMA user_version", ret_version, error) ||
        !ask_number (journal, "PRAGMA application_id", &id, error) ||
        !ask_number (journal, "SELECT count (*) FROM sqlite_schema", &n_tables, error))
        return FALSE;
    gboolean is_empty = *ret_version == 0 && id == 0 && n_tables == 0;
    if (!is_empty && (id != GW_JOURNAL_APPLICATION_ID || *ret_version < 1))
        return gw_journal_fail_damaged (journal, error, "it is a database of something else (id %"
                                        G_GINT64_FORMAT ", version %" G_GINT64_FORMAT ")", id, *ret_version);
    if (*ret_version > gw_schema_get_latest ())
        return gw_fail (error, GW_CAUSE_JOURNAL_NEWER, "journal '%s' has schema %" G_GINT64_FORMAT
                        "; this godwit knows %u", journal->path, *ret_version, gw_schema_get_latest ());
    return TRUE;
}

/* The text that a statement answers first, "" for none.  (transfer full) */
static char *
ask_text (GwJournal *journal, const char *sql, GError **error)
{
    static const GwColumn columns[] = { { "text", GW_COLUMN_TEXT, 0, GW_JOURNAL_NAME_MAX } };
    g_autoptr (JsonArray) rows =
        gw_journal_collect (journal, gw_journal_query (journal, error, sql, ""), columns, error);
    if (rows == NULL)
        return NULL;
    return g_strdup (json_array_get_length (rows) > 0
                         ? gw_json_peek_string (json_array_get_object_element (rows, 0), "text", "")
                         : "");
}

static gboolean
set_modes (GwJournal *journal, GError **error)
{
    static const char *const pragmas[] = {
        "PRAGMA synchronous = FULL", "PRAGMA cell_size_check = ON", "PRAGMA temp_store = MEMORY",
        "PRAGMA wal_autocheckpoint = 0", /* not in the middle of a switchover: gw_journal_tidy() */
    };
    g_autofree char *mode = ask_text (journal, "PRAGMA journal_mode = WAL", error);
    if (mode == NULL)
        return FALSE;
    if (strcmp (mode, "wal") != 0)
        return gw_fail (error, GW_CAUSE_JOURNAL_IO, "journal '%s': its file system has no shared memory for "
                        "it (mode '%s')", journal->path, mode);
    for (guint i = 0; i < G_N_ELEMENTS (pragmas); i++)
        if (!gw_journal_run (journal, error, pragmas[i], ""))
            return FALSE;
    return TRUE;
}

static gboolean
migrate_by (GwJournal *journal, gconstpointer data, GError **error)
{
    for (guint version = *(const guint *) data + 1; version <= gw_schema_get_latest (); version++) {
        g_autofree char *finish = g_strdup_printf (
            "INSERT INTO migrations VALUES (%u, %" G_GINT64_FORMAT "); PRAGMA user_version = %u;"
            "PRAGMA application_id = %d", version, g_get_real_time (), version, GW_JOURNAL_APPLICATION_ID);
        if (sqlite3_exec (journal->db, gw_schema_get_migration (version), NULL, NULL, NULL) != SQLITE_OK ||
            sqlite3_exec (journal->db, finish, NULL, NULL, NULL) != SQLITE_OK)
            return gw_journal_fail (journal, error);
    }
    return TRUE;
}

/* With the lock of the directory held. */
static gboolean
bring_up_to_date (GwJournal *journal, GError **error)
{
    gint64 version;
    if (!read_version (journal, &version, error) || !set_modes (journal, error))
        return FALSE;
    guint from = (guint) version;
    return from == gw_schema_get_latest () || gw_journal_transact (journal, migrate_by, &from, error);
}

static gboolean
verify_schema (GwJournal *journal, GError **error)
{
    g_autofree char *wanted = gw_schema_describe_latest ();
    g_autofree char *found = gw_schema_describe (journal->db);
    if (found == NULL)
        return gw_journal_fail (journal, error);
    return strcmp (found, wanted) == 0 ||
           gw_journal_fail_damaged (journal, error, "its tables are not those of schema %u",
                                    gw_schema_get_latest ());
}

static gboolean
verify_pages (GwJournal *journal, GError **error)
{
    g_autofree char *verdict = ask_text (journal, "PRAGMA integrity_check (1)", error);
    if (verdict == NULL)
        return FALSE;
    return strcmp (verdict, "ok") == 0 || gw_journal_fail_damaged (journal, error, "%s", verdict);
}

static gboolean
open_locked (GwJournal *journal, const char *state_dir, GError **error)
{
    return prepare_file (state_dir, journal->path, error) && connect_file (journal, error) &&
           bring_up_to_date (journal, error);
}

GwJournal *
gw_journal_open (const char *state_dir, GwJournalCare care, GError **error)
{
    g_auto (GwFd) lock = -1;
    if (g_mkdir_with_parents (state_dir, 0711) != 0) {
        gw_fail (error, GW_CAUSE_JOURNAL_IO, "cannot make directory '%s': %s", state_dir,
                 g_strerror (errno));
        return NULL;
    }
    if (!lock_directory (state_dir, &lock, error))
        return NULL;
    g_autoptr (GwJournal) journal = g_new0 (GwJournal, 1);
    journal->path = path_in (state_dir);
    if (!open_locked (journal, state_dir, error))
        return NULL;
    gw_fd_clear (&lock);
    if (!verify_schema (journal, error) ||
        (care == GW_JOURNAL_CHECKED && !verify_pages (journal, error)) ||
        !gw_journal_verify_host (journal, error))
        return NULL;
    return g_steal_pointer (&journal);
}

void
gw_journal_tidy (GwJournal *journal)
{
    /* what cannot be moved now is moved the next time, or when the last connection is closed */
    (void) sqlite3_wal_checkpoint_v2 (journal->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

void
gw_journal_close (GwJournal *journal)
{
    if (journal == NULL)
        return;
    int code = sqlite3_close (journal->db); /* NULL is fine */
    g_assert (code == SQLITE_OK);           /* every statement was finalized */
    g_free (journal->path);
    g_free (journal);
}
