/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* RELEASED, STARTED and REFUSED as rows; which may follow which is src/host/records.c's to say. */
#include "journal-internal.h"

#include <string.h>

GStrv
gw_journal_get_records (GwJournal *journal, const char *job, GwSide side, GError **error)
{
    g_autoptr (JsonArray) rows = gw_journal_list_records (journal, job, side, error);
    if (rows == NULL)
        return NULL;
    guint n = json_array_get_length (rows);
    GStrv names = g_new0 (char *, n + 1);
    for (guint i = 0; i < n; i++)
        names[i] = g_strdup (
            gw_json_peek_string (json_array_get_object_element (rows, i), "record", ""));
    return names;
}

typedef struct {
    const char *job, *record, *vm;
    GwSide side;
    gint64 epoch;
    gboolean is_running; /* of "started": the guest is to run */
} Put;

/* What the record makes of the VM as this host knows it. */
static gboolean
change_owner (GwJournal *journal, const Put *put, GError **error)
{
    static const struct {
        const char *record, *owner;
        gint64 step; /* from the epoch before */
    } changes[] = { { "released", "released", 1 }, { "started", "here", 1 }, { "refused", "there", 0 } };
    for (guint i = 0; i < G_N_ELEMENTS (changes); i++) {
        const GwJournalVm vm = { .uuid = put->vm, .owner = changes[i].owner, .job = put->job,
                                 .epoch = put->epoch - 1 + changes[i].step };
        if (strcmp (changes[i].record, put->record) == 0)
            return gw_journal_put_vm (journal, &vm, error);
    }
    return TRUE;
}

static gboolean
put_record (GwJournal *journal, gconstpointer data, GError **error)
{
    const Put *put = data;
    g_auto (GStrv) before = gw_journal_get_records (journal, put->job, put->side, error);
    /* REFUSED takes nothing: it may be said of any epoch */
    gboolean is_taking = before != NULL && *before == NULL && strcmp (put->record, "refused") != 0;
    if (before == NULL || (is_taking && !gw_journal_check_epoch (journal, put->vm, put->epoch, put->job, error)))
        return FALSE;
    return gw_journal_use_epoch (journal, put->vm, put->epoch, error) &&
           gw_journal_run (journal, error, "INSERT INTO records VALUES (?1, ?2, (SELECT count (*) FROM records"
                           " WHERE job = ?1 AND side = ?2), ?3, ?4, ?5, ?6, ?7)", "sssisii", put->job,
                           gw_side_name (put->side), put->record, put->epoch, put->vm, g_get_real_time (),
                           (gint64) put->is_running) &&
           change_owner (journal, put, error);
}

gboolean
gw_journal_put_record (GwJournal *journal, const char *job, GwSide side, const char *record,
                       gint64 epoch, const char *vm, GError **error)
{
    const Put put = { job, record, vm, side, epoch, TRUE };
    (void) gw_point ("journal", record);
    return gw_journal_transact (journal, put_record, &put, error);
}

gboolean
gw_journal_put_started (GwJournal *journal, const char *job, gint64 epoch, const char *vm,
                        gboolean is_running, GError **error)
{
    const Put put = { job, "started", vm, GW_SIDE_DESTINATION, epoch, is_running };
    (void) gw_point ("journal", "started");
    return gw_journal_transact (journal, put_record, &put, error);
}
