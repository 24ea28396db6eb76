/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs of this host that nobody works on any more: their process ended before they did.
 *
 * A destination decides alone.  Without a record it may not start the VM, so its QEMU, in which the guest never ran,
 * ends, what the job made goes, and REFUSED is written, after which whoever asks is answered.  With STARTED the VM
 * is ours and stays; the record also says whether it is to run, and a guest that still stands is told to.
 *
 * A destination's job may wait for its next agent for a while (keep.c).
 *
 * A source's VM goes on as long as RELEASED was not written: its migration is cancelled, and the guest runs if it
 * ran.  After RELEASED only the destination can tell, and whoever has its REFUSED says so in GwMendTerms.
 */
#include "host-internal.h"

#define LOCK_MS 100 /* who holds it is deciding, and ends the job himself */

/* QEMU is gone before REFUSED is written. */
static const char *
mend_destination (const GwWreck *wreck, GwRecord *record, JsonObject *row, GError **error)
{
    if (gw_record_get_kind (record) == GW_RECORD_STARTED) {
        if (!gw_wreck_let_run (wreck, gw_record_is_to_run (record), error) || !gw_wreck_put_away (wreck, TRUE, error))
            return NULL;
        gw_wreck_remove_directories (wreck, FALSE);
        return gw_wreck_close (wreck, "arrived", error) ? "arrived" : NULL;
    }
    if (!gw_wreck_take_apart (wreck, error) ||
        (gw_record_get_kind (record) == GW_RECORD_NONE &&
         !gw_record_append (record, GW_RECORD_REFUSED, gw_json_peek_int (row, "epoch", 0),
                            gw_json_peek_string (row, "uuid", ""), error)))
        return NULL;
    return gw_wreck_close (wreck, "refused", error) ? "refused" : NULL;
}

/* Nobody has the right to start it elsewhere as long as RELEASED is not written, and nobody is left who could. */
static const char *
mend_source (const GwWreck *wreck, const GwMendTerms *terms, GwRecord *record, GError **error)
{
    if (gw_record_get_kind (record) != GW_RECORD_NONE && !terms->is_refused) {
        gw_fail (error, GW_CAUSE_UNDECIDED, "the destination got the right to start the VM, and has to be asked "
                 "whether it did");
        return NULL;
    }
    const char *result = gw_wreck_bring_back (wreck, error);
    if (result == NULL || !gw_wreck_put_away (wreck, FALSE, error))
        return NULL;
    gw_wreck_remove_directories (wreck, FALSE);
    return gw_wreck_close (wreck, result, error) ? result : NULL;
}

/* What is looked at without the lock may be another's to settle, who has by now. */
const char *
gw_wreck_mend (const GwWreck *wreck, const GwMendTerms *terms, GError **error)
{
    const GwRecordSpec spec = { wreck->journal, wreck->config->state_dir, wreck->job, wreck->side,
                                wreck->context };
    g_autoptr (GwRecord) record = gw_record_open (&spec, terms->lock_ms, error);
    g_autoptr (JsonObject) row = record != NULL ? gw_wreck_find_row (wreck, error) : NULL;
    if (row == NULL)
        return NULL;
    if (!gw_wreck_is_open (row) || gw_host_job_is_worked_on (row) || (!terms->is_now && gw_wreck_waits (wreck, row)))
        return "settled";
    return wreck->side == GW_SIDE_SOURCE ? mend_source (wreck, terms, record, error)
                                         : mend_destination (wreck, record, row, error);
}

static void
mend_job (const GwWreck *wreck, JsonObject *row, gboolean is_first)
{
    static const GwMendTerms terms = { .lock_ms = LOCK_MS };
    g_autoptr (GError) error = NULL;
    if (!gw_job_id_is_valid (wreck->job) || gw_host_job_is_worked_on (row) || gw_wreck_waits (wreck, row))
        return;
    if (gw_wreck_mend (wreck, &terms, &error) != NULL)
        g_message ("job %s, whose process has ended, was settled", wreck->job);
    else
        g_log (NULL, is_first ? G_LOG_LEVEL_WARNING : G_LOG_LEVEL_DEBUG,
               "job %s, whose process has ended: %s; it stays open", wreck->job, error->message);
}

gboolean
gw_host_mend (const GwHostConfig *config, GMainContext *context, GwJournalCare care, GError **error)
{
    g_autoptr (GwJournal) journal = gw_journal_open (config->state_dir, care, error);
    g_autoptr (JsonArray) rows = journal != NULL ? gw_journal_list_open_jobs (journal, error) : NULL;
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        const GwWreck wreck = { config, context, journal, gw_json_peek_string (row, "job", ""),
                                gw_side_from_name (gw_json_peek_string (row, "side", "")) };
        mend_job (&wreck, row, care == GW_JOURNAL_CHECKED); /* what cannot be settled is said once */
    }
    return rows != NULL && gw_quarantine_sweep (journal, GW_SWEEP_OVER, NULL, error);
}
