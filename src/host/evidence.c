/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For `godwit reconcile`: what this host knows of one side of a job, and what may be done here about it.
 *
 * The asker decides (src/flow/reconcile.h), perhaps on what has changed since.  So every act is checked again here, under
 * the lock of this side's record, and does nothing when the job is settled or worked on.
 */
#include "host-internal.h"

#include <string.h>

#define LOOK_MS 2000
#define LOCK_MS 30000

/* Reads what all requests have: job and side. */
static gboolean
take_wreck (LocalHost *local, JsonObject *params, GwWreck *ret_wreck, GError **error)
{
    const char *job = gw_json_get_string (params, "job", error);
    const char *side = job != NULL ? gw_json_get_string (params, "side", error) : NULL;
    if (side == NULL || !gw_local_need_journal (local, error))
        return FALSE;
    *ret_wreck = (GwWreck){ local->config, local->context, local->journal, job, gw_side_from_name (side) };
    if (!gw_job_id_is_valid (job) ||
        (ret_wreck->side != GW_SIDE_SOURCE && ret_wreck->side != GW_SIDE_DESTINATION))
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "the job's name or side is not valid");
    return gw_local_check_peer (local, job, error);
}

/* --- evidence ------------------------------------------------------------------------------------------------- */

static void
copy_row (JsonObject *evidence, JsonObject *row)
{
    static const char *const texts[] = { "vm", "uuid", "peer", "result" };
    for (guint i = 0; i < G_N_ELEMENTS (texts); i++)
        json_object_set_string_member (evidence, texts[i], gw_json_peek_string (row, texts[i], ""));
    json_object_set_int_member (evidence, "epoch", gw_json_peek_int (row, "epoch", 0));
}

/* The coordinator is started again.  A destination only waits for it, and whoever asks knows whether it lives. */
static gboolean
is_to_go_on (const GwWreck *wreck, JsonObject *row)
{
    return wreck->side == GW_SIDE_SOURCE && gw_wreck_waits (wreck, row);
}

/* Whether somebody works on it: its process lives, or may be replaced, or its record is locked just now. */
static gboolean
read_record (const GwWreck *wreck, JsonObject *row, JsonObject *evidence, GError **error)
{
    const GwRecordSpec spec = { wreck->journal, wreck->config->state_dir, wreck->job, wreck->side,
                                wreck->context };
    g_autoptr (GError) failure = NULL;
    g_autoptr (GwRecord) record = gw_record_open (&spec, LOOK_MS, &failure);
    gboolean is_locked = gw_error_get_cause (failure) == GW_CAUSE_TIMED_OUT;
    gboolean is_open = strcmp (gw_json_peek_string (row, "result", "none"), "") == 0;
    if (record == NULL && !is_locked) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return FALSE;
    }
    json_object_set_string_member (evidence, "record",
                                   gw_record_kind_name (record != NULL ? gw_record_get_kind (record)
                                                                       : GW_RECORD_NONE));
    json_object_set_boolean_member (evidence, "worked_on",
                                    is_locked || (is_open && (gw_host_job_is_worked_on (row) ||
                                                              is_to_go_on (wreck, row))));
    return TRUE;
}

JsonObject *
gw_local_get_evidence (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    GwWreck wreck;
    if (!take_wreck (local, params, &wreck, error))
        return NULL;
    g_autoptr (JsonObject) row = gw_wreck_find_row (&wreck, error);
    g_autoptr (JsonObject) evidence = json_object_new ();
    if (row == NULL || !read_record (&wreck, row, evidence, error))
        return NULL;
    json_object_set_boolean_member (evidence, "known", json_object_has_member (row, "job"));
    copy_row (evidence, row);
    /* a source that is settled has another story by now; a monitor that is in use would not answer */
    if (gw_json_peek_bool (evidence, "worked_on", FALSE))
        json_object_set_string_member (evidence, "qemu", "held");
    else if (wreck.side == GW_SIDE_DESTINATION || gw_wreck_is_open (row))
        gw_wreck_look (&wreck, evidence);
    return g_steal_pointer (&evidence);
}

/* --- acts -------------------------------------------------------------------------------------------------------- */

/* destination: REFUSED, unless it is decided.  Without a job of ours there is only the record. */
static const char *
refuse (LocalHost *local, const GwWreck *wreck, JsonObject *params, GError **error)
{
    static const GwMendTerms terms = { .lock_ms = LOCK_MS };
    if (gw_wreck_mend (wreck, &terms, error) == NULL)
        return NULL;
    g_autoptr (JsonObject) ask = gw_json_new ("job:s", wreck->job, "refuse:b", TRUE, NULL);
    g_autoptr (JsonObject) answer = gw_local_settle_record (local, ask, NULL, error);
    if (answer == NULL)
        return NULL;
    return strcmp (gw_json_peek_string (answer, "record", ""), "started") == 0 ? "started" : "refused";
}

static const char *
let_run (LocalHost *local, const GwWreck *wreck, JsonObject *params, GError **error)
{
    static const GwMendTerms terms = { .lock_ms = LOCK_MS };
    g_auto (GStrv) records = gw_journal_get_records (wreck->journal, wreck->job, wreck->side, error);
    guint n = records != NULL ? g_strv_length (records) : 0;
    if (records == NULL)
        return NULL;
    if (n == 0 || strcmp (records[n - 1], "started") != 0) {
        gw_fail (error, GW_CAUSE_UNDECIDED, "this host has not started job %s", wreck->job);
        return NULL;
    }
    return gw_wreck_mend (wreck, &terms, error);
}

/* One that this host has refused never runs.  Of one that it has started the asker may have old news, or none: it ends
 * only when the guest does not run in it, which is looked at here. */
static gboolean
may_end (const GwWreck *wreck, GwRecordKind kind, JsonObject *params, GError **error)
{
    g_autoptr (JsonObject) now = json_object_new ();
    gboolean has_stayed = strcmp (gw_json_peek_string (params, "proof", ""), "stayed") == 0;
    if (kind == GW_RECORD_STARTED && has_stayed)
        gw_wreck_look (wreck, now);
    const char *qemu = gw_json_peek_string (now, "qemu", "");
    return kind == GW_RECORD_REFUSED || strcmp (qemu, "gone") == 0 || strcmp (qemu, "stands") == 0 ||
           gw_fail (error, GW_CAUSE_UNDECIDED, "the VM of job %s may run here", wreck->job);
}

/* destination: a copy that nobody may run.  It is when this host has REFUSED, or the source has its VM back by the
 * operator's word.  A VM that had arrived has arrived, whatever became of it. */
static const char *
end_copy (LocalHost *local, const GwWreck *wreck, JsonObject *params, GError **error)
{
    const GwRecordSpec spec = { wreck->journal, wreck->config->state_dir, wreck->job, wreck->side,
                                wreck->context };
    g_autoptr (GwRecord) record = gw_record_open (&spec, LOCK_MS, error);
    g_autoptr (JsonObject) row = record != NULL ? gw_wreck_find_row (wreck, error) : NULL;
    if (row == NULL)
        return NULL;
    gboolean is_started = gw_record_get_kind (record) == GW_RECORD_STARTED;
    gboolean is_closed = !gw_wreck_is_open (row); /* or there is none */
    if (!is_closed && gw_host_job_is_worked_on (row))
        return "settled"; /* whoever does ends it */
    if (!may_end (wreck, gw_record_get_kind (record), params, error) || !gw_wreck_take_apart (wreck, error) ||
        (!is_closed && !gw_wreck_close (wreck, is_started ? "arrived" : "refused", error)))
        return NULL;
    return is_started ? "ended" : "refused";
}

static const char *
resume (LocalHost *local, const GwWreck *wreck, JsonObject *params, GError **error)
{
    const char *proof = gw_json_peek_string (params, "proof", "");
    const GwMendTerms terms = { .lock_ms = LOCK_MS, .is_refused = strcmp (proof, "refused") == 0 ||
                                                                  strcmp (proof, "destination-is-dead") == 0 };
    return gw_wreck_mend (wreck, &terms, error);
}

/* source: its copy ends, for the destination has STARTED ("proof"), or its QEMU is gone anyway. */
static const char *
end_source (LocalHost *local, const GwWreck *wreck, JsonObject *params, GError **error)
{
    const GwRecordSpec spec = { wreck->journal, wreck->config->state_dir, wreck->job, wreck->side,
                                wreck->context };
    g_autoptr (GwRecord) record = gw_record_open (&spec, LOCK_MS, error);
    g_autoptr (JsonObject) row = record != NULL ? gw_wreck_find_row (wreck, error) : NULL;
    gboolean is_moved = strcmp (gw_json_peek_string (params, "proof", ""), "started") == 0;
    g_auto (GwWreckQemu) qemu = { 0 };
    if (row == NULL || !gw_wreck_find_qemu (wreck, &qemu, error))
        return NULL;
    if (!gw_wreck_is_open (row) || gw_host_job_is_worked_on (row))
        return "settled";
    if (!is_moved && qemu.is_alive) {
        gw_fail (error, GW_CAUSE_UNDECIDED, "the VM of job %s is still here", wreck->job);
        return NULL;
    }
    if (!gw_wreck_end_vm (wreck, error) || !gw_wreck_put_away (wreck, FALSE, error))
        return NULL;
    gw_wreck_remove_directories (wreck, FALSE);
    return gw_wreck_close (wreck, is_moved ? "moved" : "lost", error) ? is_moved ? "moved" : "lost" : NULL;
}

static const struct {
    const char *name;
    GwSide side;
    const char *(*run) (LocalHost *local, const GwWreck *wreck, JsonObject *params, GError **error);
} acts[] = {
    { "refuse", GW_SIDE_DESTINATION, refuse }, { "run", GW_SIDE_DESTINATION, let_run },
    { "end", GW_SIDE_DESTINATION, end_copy },  { "resume", GW_SIDE_SOURCE, resume },
    { "end", GW_SIDE_SOURCE, end_source },
};

JsonObject *
gw_local_reconcile (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    GwWreck wreck;
    const char *name = gw_json_get_string (params, "act", error);
    if (name == NULL || !take_wreck (local, params, &wreck, error))
        return NULL;
    for (guint i = 0; i < G_N_ELEMENTS (acts); i++) {
        if (strcmp (acts[i].name, name) != 0 || acts[i].side != wreck.side)
            continue;
        const char *result = acts[i].run (local, &wreck, params, error);
        return result != NULL ? gw_json_new ("result:s", result, NULL) : NULL;
    }
    gw_fail (error, GW_CAUSE_RPC_INVALID, "'%s' is nothing that the %s does", name, gw_side_name (wreck.side));
    return NULL;
}
