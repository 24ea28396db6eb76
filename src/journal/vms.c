/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where each VM is, as far as this host knows. */
#include "journal-internal.h"

#include <string.h>

gboolean
gw_journal_is_identity (const char *uuid)
{
    return uuid != NULL && strspn (uuid, "0-") != strlen (uuid);
}

/* Its row, to be changed; the name may come later or never. */
static gboolean
have_vm (GwJournal *journal, const char *uuid, GError **error)
{
    return gw_journal_run (journal, error, "INSERT INTO vms VALUES (?1, '', 0, 'there', '', '', 0, 0)"
                           " ON CONFLICT DO NOTHING", "s", uuid);
}

/* --- which epochs are used up ----------------------------------------------------------------------------- */

JsonObject *
gw_journal_find_owner (GwJournal *journal, const char *uuid, GError **error)
{
    static const GwColumn columns[] = { { "seen", GW_COLUMN_INT, 0, G_MAXINT32 },
                                        { "job", GW_COLUMN_TEXT, 0, 64 },
                                        { "owner", GW_COLUMN_TEXT, 1, 16 } };
    if (!gw_journal_is_identity (uuid))
        return json_object_new ();
    g_autoptr (JsonArray) rows = gw_journal_collect (
        journal, gw_journal_query (journal, error, "SELECT seen, job, owner FROM vms WHERE uuid = ?1", "s", uuid),
        columns, error);
    if (rows == NULL)
        return NULL;
    return json_array_get_length (rows) > 0
               ? json_object_ref (json_array_get_object_element (rows, 0)) : json_object_new ();
}

gboolean
gw_journal_get_epoch (GwJournal *journal, const char *uuid, gint64 *ret_epoch, GError **error)
{
    g_autoptr (JsonObject) row = gw_journal_find_owner (journal, uuid, error);
    if (row != NULL)
        *ret_epoch = gw_json_peek_int (row, "seen", 0);
    return row != NULL;
}

/* Both sides of one job may be on one host: they have the same epoch. */
gboolean
gw_journal_check_epoch (GwJournal *journal, const char *uuid, gint64 epoch, const char *job,
                        GError **error)
{
    g_autoptr (JsonObject) row = gw_journal_find_owner (journal, uuid, error);
    if (row == NULL)
        return FALSE;
    gint64 seen = gw_json_peek_int (row, "seen", -1);
    gboolean is_own = seen == epoch && strcmp (gw_json_peek_string (row, "job", ""), job) == 0;
    return seen < epoch || is_own ||
           gw_fail (error, GW_CAUSE_EPOCH_STALE, "epoch %" G_GINT64_FORMAT " of VM %s is over: this host has a "
                    "record of epoch %" G_GINT64_FORMAT " (job %s)", epoch, uuid, seen,
                    gw_json_peek_string (row, "job", ""));
}

gboolean
gw_journal_use_epoch (GwJournal *journal, const char *uuid, gint64 epoch, GError **error)
{
    return !gw_journal_is_identity (uuid) ||
           (have_vm (journal, uuid, error) &&
            gw_journal_run (journal, error, "UPDATE vms SET seen = max (seen, ?2) WHERE uuid = ?1", "si", uuid,
                            epoch));
}

/* --- where it is ------------------------------------------------------------------------------------------ */

gboolean
gw_journal_put_vm (GwJournal *journal, const GwJournalVm *vm, GError **error)
{
    if (!gw_journal_is_identity (vm->uuid))
        return TRUE;
    return have_vm (journal, vm->uuid, error) &&
           gw_journal_run (journal, error, "UPDATE vms SET owner = ?2, job = ?3, epoch = ?4, at_us = ?5"
                           " WHERE uuid = ?1", "sssii", vm->uuid, vm->owner, vm->job, vm->epoch,
                           g_get_real_time ()) &&
           (vm->name == NULL || gw_journal_run (journal, error, "UPDATE vms SET name = ?2 WHERE uuid = ?1", "ss",
                                                vm->uuid, vm->name)) &&
           (vm->peer == NULL || gw_journal_run (journal, error, "UPDATE vms SET peer = ?2 WHERE uuid = ?1", "ss",
                                                vm->uuid, vm->peer));
}
