/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <string.h>

struct _GwRecord {
    GwJournal *journal; /* borrowed */
    GwFd lock;
    char *job;
    GwSide side;
    GwMachine machine; /* states are GwRecordKind */
    gboolean is_running; /* started: the guest is to run */
};

/* A source writes only RELEASED.  A destination writes STARTED or REFUSED; a STARTED whose QEMU
 * refused to run is taken back while the lock is held, so nobody has seen it (docs/handover.md). */
static const GwState states[] = {
    [GW_RECORD_NONE] = { "none",
                         1u << GW_RECORD_RELEASED | 1u << GW_RECORD_STARTED |
                             1u << GW_RECORD_REFUSED,
                         GW_STATE_INITIAL },
    [GW_RECORD_RELEASED] = { "released", 0, GW_STATE_FINAL },
    [GW_RECORD_STARTED] = { "started", 1u << GW_RECORD_REFUSED, 0 },
    [GW_RECORD_REFUSED] = { "refused", 0, GW_STATE_FINAL },
};
static const GwMachineTable table = { "record", states, G_N_ELEMENTS (states) };

const char *
gw_record_kind_name (GwRecordKind kind)
{
    g_assert ((guint) kind < G_N_ELEMENTS (states));
    return states[kind].name;
}

gboolean
gw_record_kind_from_name (const char *name, GwRecordKind *ret_kind, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS (states); i++) {
        if (strcmp (states[i].name, name) == 0) {
            *ret_kind = (GwRecordKind) i;
            return TRUE;
        }
    }
    return gw_fail (error, GW_CAUSE_RPC_INVALID, "'%s' is no record", name);
}

static gboolean
lock (GwRecord *record, const char *state_dir, GMainContext *context, guint timeout_ms, GError **error)
{
    gint64 deadline = gw_deadline_ms (timeout_ms);
    g_autofree char *name = g_strdup_printf ("%s-%s", record->job, gw_side_name (record->side));
    for (;;) {
        if (!gw_journal_try_lock (state_dir, name, &record->lock, error))
            return FALSE;
        if (record->lock >= 0)
            return TRUE;
        if (g_get_monotonic_time () > deadline)
            return gw_fail (error, GW_CAUSE_TIMED_OUT,
                            "the record '%s' is locked: the job is being decided by another process", name);
        (void) gw_wait_ms (context, 20, NULL, NULL);
    }
}

static gboolean
replay (GwRecord *record, GError **error)
{
    g_autoptr (JsonArray) rows = gw_journal_list_records (record->journal, record->job, record->side, error);
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        const char *name = gw_json_peek_string (row, "record", "");
        GwRecordKind kind;
        if (!gw_record_kind_from_name (name, &kind, NULL) || !gw_machine_can (&record->machine, kind))
            return gw_fail (error, GW_CAUSE_JOURNAL_DAMAGED, "the journal's records of job %s are damaged: '%s' "
                            "after '%s'", record->job, name, gw_machine_state_name (&record->machine));
        gw_machine_move (&record->machine, kind);
        record->is_running = gw_json_peek_int (row, "run", 1) != 0;
    }
    return rows != NULL;
}

GwRecord *
gw_record_open (const GwRecordSpec *spec, guint timeout_ms, GError **error)
{
    g_assert (gw_job_id_is_valid (spec->job));
    g_autoptr (GwRecord) record = g_new0 (GwRecord, 1);
    record->lock = -1;
    record->journal = spec->journal;
    record->job = g_strdup (spec->job);
    record->side = spec->side;
    gw_machine_init (&record->machine, &table, NULL, NULL);
    if (!lock (record, spec->state_dir, spec->context, timeout_ms, error) || !replay (record, error))
        return NULL;
    return g_steal_pointer (&record);
}

GwRecordKind
gw_record_get_kind (const GwRecord *record)
{
    return (GwRecordKind) record->machine.state;
}

gboolean
gw_record_is_to_run (const GwRecord *record)
{
    return gw_record_get_kind (record) == GW_RECORD_STARTED && record->is_running;
}

gboolean
gw_record_start (GwRecord *record, gint64 epoch, const char *vm, gboolean is_running, GError **error)
{
    g_assert (gw_machine_can (&record->machine, GW_RECORD_STARTED) && record->side == GW_SIDE_DESTINATION);
    if (!gw_journal_put_started (record->journal, record->job, epoch, vm, is_running, error)) {
        g_prefix_error (error, "cannot write 'started': ");
        return FALSE;
    }
    record->is_running = is_running;
    gw_machine_move (&record->machine, GW_RECORD_STARTED);
    return TRUE;
}

gboolean
gw_record_append (GwRecord *record, GwRecordKind kind, gint64 epoch, const char *vm, GError **error)
{
    g_assert (gw_machine_can (&record->machine, kind));
    if (!gw_journal_put_record (record->journal, record->job, record->side, gw_record_kind_name (kind), epoch,
                                vm, error)) {
        g_prefix_error (error, "cannot write '%s': ", gw_record_kind_name (kind));
        return FALSE;
    }
    record->is_running = TRUE; /* of STARTED: the guest is to run */
    gw_machine_move (&record->machine, kind);
    return TRUE;
}

void
gw_record_close (GwRecord *record)
{
    if (record == NULL)
        return;
    gw_fd_clear (&record->lock); /* and the lock with it */
    g_free (record->job);
    g_free (record);
}
