/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside src/journal, ordered by owning file. */
#ifndef GW_JOURNAL_INTERNAL_H
#define GW_JOURNAL_INTERNAL_H

#include "journal.h"

#include <sqlite3.h>

struct _GwJournal {
    sqlite3 *db;
    char *path;
};

#define GW_JOURNAL_TEXT_MAX (8 * 1024 * 1024) /* bytes of one text: a report */
#define GW_JOURNAL_NAME_MAX 4096              /* bytes of any other text */
#define GW_JOURNAL_ROWS_MAX 10000             /* rows of one answer */

/* --- schema.c: the tables ------------------------------------------------------------------------------ */

#define GW_JOURNAL_APPLICATION_ID 0x67647774 /* "gdwt" */
/* Versions are counted from 1; 0 is an empty file. */
guint gw_schema_get_latest (void);
/* What makes version `version` of the one before it. */
const char *gw_schema_get_migration (guint version);
/* Text of all tables and indexes of a database: two with the same text have the same schema.  NULL on
 * failure.  (transfer full) */
char *gw_schema_describe (sqlite3 *db);
/* What gw_schema_describe() says of the latest version.  (transfer full) */
char *gw_schema_describe_latest (void);

/* --- query.c: statements and rows -------------------------------------------------------------------------- */

/* Sets `*error` from what SQLite said last.  Returns FALSE. */
gboolean gw_journal_fail (GwJournal *journal, GError **error);
/* A value in the journal is impossible.  Returns FALSE. */
gboolean gw_journal_fail_damaged (GwJournal *journal, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
/* `sql` with its parameters by `format`: s text (NULL is ""), i gint64. */
gboolean gw_journal_run (GwJournal *journal, GError **error, const char *sql, const char *format, ...);
sqlite3_stmt *gw_journal_query (GwJournal *journal, GError **error, const char *sql,
                                const char *format, ...);

typedef enum { GW_COLUMN_TEXT, GW_COLUMN_INT, GW_COLUMN_JSON } GwColumnKind;
typedef struct {
    const char *name;
    GwColumnKind kind;
    gint64 min, max; /* INT: of the value; TEXT, JSON: of its bytes */
} GwColumn;
/* All rows of a query as objects, column by column; a value out of its bounds is
 * GW_CAUSE_JOURNAL_DAMAGED.  A JSON column that is "" is left out.  Finalizes `stmt`.  (transfer full) */
JsonArray *gw_journal_collect (GwJournal *journal, sqlite3_stmt *stmt, const GwColumn *columns,
                               GError **error);

/* Does `work` in one transaction: all of it or nothing. */
typedef gboolean (*GwJournalWork) (GwJournal *journal, gconstpointer data, GError **error);
gboolean gw_journal_transact (GwJournal *journal, GwJournalWork work, gconstpointer data,
                              GError **error);
/* The same for what is of use as long as QEMU lives: the end of a process does not take it, a power cut
 * may, as it takes QEMU too.  No fdatasync(). */
gboolean gw_journal_transact_with_qemu (GwJournal *journal, GwJournalWork work, gconstpointer data,
                                        GError **error);

/* --- identity.c: whose journal it is ----------------------------------------------------------------------- */

/* Whether it belongs to this machine and this file; one that belongs to none does from now on. */
gboolean gw_journal_verify_host (GwJournal *journal, GError **error);

/* --- vms.c ---------------------------------------------------------------------------------------------------- */

/* Whether `uuid` names one VM and no other: QEMU's are all zero when none was given. */
gboolean gw_journal_is_identity (const char *uuid);
typedef struct {
    const char *uuid, *name, *owner, *peer, *job;
    gint64 epoch;
} GwJournalVm;
/* In the caller's transaction: GW_CAUSE_EPOCH_STALE when another job has a record of that epoch, or any of a later
 * one. */
gboolean gw_journal_check_epoch (GwJournal *journal, const char *uuid, gint64 epoch, const char *job,
                                 GError **error);
/* In the caller's transaction: no other job may use it any more. */
gboolean gw_journal_use_epoch (GwJournal *journal, const char *uuid, gint64 epoch, GError **error);
/* In the caller's transaction.  Texts that are NULL stay as they are.  A VM without identity is passed over. */
gboolean gw_journal_put_vm (GwJournal *journal, const GwJournalVm *vm, GError **error);

#endif
