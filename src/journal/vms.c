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
    return gw_journal_run (journal, error, "INSERT INTO vms VALUES (?1, '', 0, 'there', '', '', 0)"
                           " ON CONFLICT DO NOTHING", "s", uuid);
}

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
