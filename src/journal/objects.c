/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a job made on this host, with what tells it from a thing that took its name later. */
#include "journal-internal.h"

typedef struct {
    const char *job;
    GwSide side;
    const GwJournalObject *objects;
    gsize n_objects;
} Put;

static gboolean
put_object (GwJournal *journal, const Put *put, const GwJournalObject *object, GError **error)
{
    return gw_journal_run (journal, error, "INSERT OR REPLACE INTO objects VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,"
                           " ?8, ?9)", "ssssiiiii", put->job, gw_side_name (put->side), object->kind,
                           object->path, object->dev, object->ino, object->changed_ns, object->pid,
                           object->start_time);
}

static gboolean
put_objects (GwJournal *journal, gconstpointer data, GError **error)
{
    const Put *put = data;
    for (gsize i = 0; i < put->n_objects; i++)
        if (!put_object (journal, put, &put->objects[i], error))
            return FALSE;
    return TRUE;
}

gboolean
gw_journal_put_objects (GwJournal *journal, const char *job, GwSide side,
                        const GwJournalObject *objects, gsize n_objects, GError **error)
{
    const Put put = { job, side, objects, n_objects };
    if (n_objects > 0)
        (void) gw_point ("object", objects[0].kind);
    return n_objects == 0 || gw_journal_transact (journal, put_objects, &put, error);
}

gboolean
gw_journal_drop_objects (GwJournal *journal, const char *job, GwSide side, GError **error)
{
    return gw_journal_run (journal, error, "DELETE FROM objects WHERE job = ?1 AND side = ?2 AND kind <> ?3", "sss",
                           job, gw_side_name (side), GW_OBJECT_QUARANTINE);
}

gboolean
gw_journal_drop_object (GwJournal *journal, const char *job, GwSide side, const char *kind, const char *path,
                        GError **error)
{
    return gw_journal_run (journal, error, "DELETE FROM objects WHERE job = ?1 AND side = ?2 AND kind = ?3 AND"
                           " path = ?4", "ssss", job, gw_side_name (side), kind, path);
}

static const GwColumn columns[] = { { "kind", GW_COLUMN_TEXT, 1, 32 },
                                    { "path", GW_COLUMN_TEXT, 1, GW_JOURNAL_NAME_MAX },
                                    { "dev", GW_COLUMN_INT, G_MININT64, G_MAXINT64 },
                                    { "ino", GW_COLUMN_INT, G_MININT64, G_MAXINT64 },
                                    { "changed_ns", GW_COLUMN_INT, 0, G_MAXINT64 },
                                    { "pid", GW_COLUMN_INT, 0, G_MAXINT32 },
                                    { "start_time", GW_COLUMN_INT, 0, G_MAXINT64 } };

JsonArray *
gw_journal_list_objects (GwJournal *journal, const char *job, GwSide side, GError **error)
{
    sqlite3_stmt *stmt = gw_journal_query (
        journal, error, "SELECT kind, path, dev, ino, changed_ns, pid, start_time FROM objects WHERE job = ?1"
        " AND side = ?2", "ss", job, gw_side_name (side));
    return gw_journal_collect (journal, stmt, columns, error);
}

static const GwColumn kind_columns[] = { { "job", GW_COLUMN_TEXT, 1, 64 },
                                         { "side", GW_COLUMN_TEXT, 1, 16 },
                                         { "path", GW_COLUMN_TEXT, 1, GW_JOURNAL_NAME_MAX },
                                         { "dev", GW_COLUMN_INT, G_MININT64, G_MAXINT64 },
                                         { "ino", GW_COLUMN_INT, G_MININT64, G_MAXINT64 },
                                         { "changed_ns", GW_COLUMN_INT, 0, G_MAXINT64 } };

JsonArray *
gw_journal_list_kind (GwJournal *journal, const char *kind, GError **error)
{
    sqlite3_stmt *stmt = gw_journal_query (
        journal, error, "SELECT job, side, path, dev, ino, changed_ns FROM objects WHERE kind = ?1 ORDER BY"
        " changed_ns", "s", kind);
    return gw_journal_collect (journal, stmt, kind_columns, error);
}
