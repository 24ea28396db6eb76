/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A job that goes on when its agent is started again.
 *
 * While memory is copied nothing but the couriers and both QEMUs is needed, and they need no agent.  The coordinator
 * asks for that (job.keep) with a secret of its own, of which the journal has a hash: the courier gets a lease, and the
 * job a time of grace.  When this process ends then, by a signal or for good, QEMU and courier stay.  The next agent
 * finds a row whose process has ended; until the grace is over it leaves the job alone.  The coordinator comes again
 * (job.resume), with the secret and, over TLS, under the same name: the row gets the new process in the place of the one
 * that has ended, so that of two agents one is too late; QEMU and courier are found by pid and start time, and by sockets
 * that only this user can have made.  From there on it is as if nothing had been.
 *
 * The source's agent, when it coordinates the job, keeps its side in the same way, and says so to the destination's,
 * which then also waits when the connection ends without a word (src/flow/takeup.c).  A command that coordinates a job is
 * not started again.
 *
 * Postcopy.  From STARTED on each QEMU has memory that the other has not, and ending anything loses the guest.  So there
 * the job is kept however it began: by a command, without a grace, with copied disks (which are complete by then).  The
 * couriers' lease becomes a long one (gw_local_bind()), and a job that is RELEASED or STARTED is left, not closed, whatever
 * ends.  Without anybody QEMU fetches its memory to the end, and the agents of both sides see that then.
 *
 * Nobody comes: the courier ends by itself, QEMU with it, and the job is settled like any other that nobody works on
 * (mend.c).  A record ends the waiting, and so does a new job of the same peer for the same VM.
 *
 * Copied disks.  The servers of the destination's images go on, too, and the next agent there finds them by the journal.  The
 * source's agent has more in its hands (mirrors, bitmaps, the comparison), and its end ends such a job.
 *
 * Not kept while memory is copied: a job of an agent that ssh started for it, as there is nobody to take it apart in time.
 */
#include "host-internal.h"

#include <string.h>
#include <unistd.h>

#define LOCK_MS 5000
#define BOUND_S (24 * 3600) /* of a courier in postcopy, which ends by itself when all memory has come */

/* --- keeping ----------------------------------------------------------------------------------------------- */

static const char *
why_not (const LocalHost *local)
{
    if (local->config->grace_s == 0)
        return "its agent is for this job alone, or its configuration says so";
    return local->mirrors != NULL ? "disks are copied" : NULL;
}

gboolean
gw_local_lease_courier (LocalHost *local, GCancellable *cancellable, GError **error)
{
    g_autofree char *path = gw_courier_lease_path (local->config, local->job, local->side);
    g_autofree char *directory = g_path_get_dirname (path);
    pid_t pid = gw_process_get_pid (gw_courier_get_process (local->courier));
    const GwJournalObject courier = { .kind = "courier", .path = path, .pid = pid,
                                      .start_time = gw_procfs_get_start_time (pid) };
    return gw_directory_make (directory, NULL, error) && /* a command has no agent that did */
           gw_journal_put_objects (local->journal, local->job, local->side, &courier, 1, error) &&
           gw_courier_lease (local->courier, path, local->is_bound ? BOUND_S : local->grace_s, cancellable, error);
}

static gboolean
keep (LocalHost *local, const char *token, gint64 grace_s, GCancellable *cancellable, GError **error)
{
    gboolean is_new = !local->is_kept; /* else the courier has its lease */
    local->grace_s = grace_s;
    local->is_kept = (!is_new || gw_local_lease_courier (local, cancellable, error)) &&
                     gw_journal_keep_job (local->journal, local->job, local->side, token, grace_s, error);
    if (local->is_kept)
        return TRUE;
    g_autofree char *path = gw_courier_lease_path (local->config, local->job, local->side);
    (void) unlink (path); /* a courier that stands still may get the lease yet, but nobody comes for it */
    return FALSE;
}

static gboolean
is_ready (const LocalHost *local)
{
    gboolean has_qemu = local->side == GW_SIDE_SOURCE ? local->vm != NULL : local->is_journaled && local->qemu != NULL;
    return local->job_dir != NULL && has_qemu && local->courier != NULL;
}

JsonObject *
gw_local_keep (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 wanted_s;
    const char *token = gw_json_get_string (params, "token", error);
    if (token == NULL || !gw_json_get_int (params, "grace_s", 0, 3600, &wanted_s, error))
        return NULL;
    if (!is_ready (local) || strlen (token) < 32) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no job is open here that could be kept");
        return NULL;
    }
    if (!gw_local_need_journal (local, error))
        return NULL;
    const char *why = why_not (local);
    gint64 grace_s = why == NULL ? MIN (wanted_s, local->config->grace_s) : 0;
    gboolean in_postcopy = gw_json_peek_bool (params, "postcopy", FALSE);
    if ((grace_s > 0 || in_postcopy) && !keep (local, token, grace_s, cancellable, error))
        return NULL;
    local->waits_for_peer = gw_json_peek_bool (params, "coordinator", FALSE);
    return gw_json_new ("grace_s:i", grace_s, "postcopy:b", in_postcopy, "why:s", why, NULL);
}

/* --- leaving --------------------------------------------------------------------------------------------------- */

gboolean
gw_local_bind (LocalHost *local, GCancellable *cancellable, GError **error)
{
    gboolean ok = !local->is_kept || local->courier == NULL ||
                  gw_courier_extend (local->courier, BOUND_S, cancellable, error);
    local->is_bound = local->is_kept;
    return ok;
}

/* All of the guest is here, or it never left the other side: then nobody needs what is left. */
static gboolean
is_in_the_middle (const LocalHost *local)
{
    return local->is_bound && (local->is_started ? gw_status_is_postcopy (local->migration_status)
                                                 : local->is_released);
}

gboolean
gw_local_may_leave (const LocalHost *local)
{
    gboolean has_qemu = local->side == GW_SIDE_SOURCE || (local->qemu != NULL && gw_process_is_running (local->qemu));
    /* a destination that has loaded the devices is past the steps that wait */
    gboolean may_wait = (local->is_leaving || local->waits_for_peer) && local->grace_s > 0 && !local->is_started &&
                        local->loaded_us == 0 && local->courier != NULL;
    return local->job_dir != NULL && has_qemu && (may_wait || is_in_the_middle (local));
}

void
gw_local_leave (LocalHost *local)
{
    g_autoptr (GError) error = NULL;
    g_clear_pointer (&local->courier, gw_courier_forget);
    g_clear_pointer (&local->exports, gw_exports_forget);
    g_clear_pointer (&local->mirrors, gw_mirror_set_free);
    gw_local_drop_qemu (local); /* its monitor serves one at a time */
    local->is_journaled = FALSE;
    if (!gw_journal_leave_job (local->journal, local->job, local->side, getpid (), &error))
        g_warning ("job %s: %s; the next agent sees that this one has ended", local->job, error->message);
    if (is_in_the_middle (local))
        g_message ("job %s goes on without this agent: the guest fetches its memory", local->job);
    else
        g_message ("job %s waits for the next agent of the %s, %" G_GINT64_FORMAT " s at most", local->job,
                   local->is_leaving ? gw_side_name (local->side) : "source", local->grace_s);
}

/* --- who asks ------------------------------------------------------------------------------------------------ */

gboolean
gw_local_check_peer (LocalHost *local, const char *job, GError **error)
{
    if (local->peer == NULL)
        return TRUE;
    if (!gw_local_need_journal (local, error))
        return FALSE;
    g_autoptr (JsonArray) rows = gw_journal_find_job (local->journal, job, error);
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        if (strcmp (gw_json_peek_string (row, "side", ""), gw_side_name (GW_SIDE_DESTINATION)) == 0 &&
            strcmp (gw_json_peek_string (row, "peer", ""), local->peer) != 0)
            return gw_fail (error, GW_CAUSE_NOT_ALLOWED, "job %s is not one of peer '%s'", job, local->peer);
    }
    return rows != NULL;
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

/* The last one; "" for none, NULL: not known.  (transfer full) */
static char *
find_record (const GwWreck *wreck)
{
    g_auto (GStrv) records = gw_journal_get_records (wreck->journal, wreck->job, wreck->side, NULL);
    guint n = records != NULL ? g_strv_length (records) : 0;
    return records == NULL ? NULL : g_strdup (n > 0 ? records[n - 1] : "");
}

/* Whether the guest's memory comes in postcopy. */
static gboolean
fetches (const GwWreck *wreck)
{
    g_autoptr (JsonObject) now = json_object_new ();
    gw_wreck_look (wreck, now);
    return strcmp (gw_json_peek_string (now, "qemu", ""), "fetches") == 0;
}

gboolean
gw_wreck_waits (const GwWreck *wreck, JsonObject *row)
{
    gint64 grace_us = gw_json_peek_int (row, "grace_s", 0) * G_USEC_PER_SEC;
    gint64 away_us = gw_json_peek_int (row, "away_us", 0);
    g_autofree char *record = find_record (wreck);
    g_auto (GwWreckQemu) qemu = { 0 };
    if (gw_host_job_is_worked_on (row) || !gw_wreck_find_qemu (wreck, &qemu, NULL) || !qemu.is_alive)
        return FALSE;
    if (g_strcmp0 (record, "started") == 0)
        return fetches (wreck);
    if (grace_us == 0 || g_strcmp0 (record, "") != 0)
        return FALSE;
    if (away_us != 0)
        return g_get_real_time () - away_us < grace_us;
    /* it was killed: the grace begins when that is seen */
    return gw_journal_leave_job (wreck->journal, wreck->job, wreck->side, gw_json_peek_int (row, "pid", 0), NULL);
}

gboolean
gw_host_job_is_bound (const GwHostConfig *config, GwJournal *journal, JsonObject *row)
{
    g_autoptr (GMainContext) context = g_main_context_new ();
    g_autoptr (JsonObject) now = json_object_new ();
    const GwWreck wreck = { config, context, journal, gw_json_peek_string (row, "job", ""), GW_SIDE_SOURCE };
    g_autofree char *record = find_record (&wreck);
    if (strcmp (gw_json_peek_string (row, "side", ""), gw_side_name (wreck.side)) != 0 ||
        g_strcmp0 (record, "released") != 0 || gw_host_job_is_worked_on (row))
        return FALSE;
    g_main_context_push_thread_default (context);
    gw_wreck_look (&wreck, now);
    g_main_context_pop_thread_default (context);
    return gw_status_is_postcopy (gw_json_peek_string (now, "migration", ""));
}

static gboolean
is_of_vm (const LocalHost *local, JsonObject *row)
{
    const char *uuid = local->vm_uuid;
    return strspn (uuid, "0-") != strlen (uuid) && strcmp (gw_json_peek_string (row, "uuid", ""), uuid) == 0 &&
           strcmp (gw_json_peek_string (row, "side", ""), gw_side_name (local->side)) == 0 &&
           strcmp (gw_json_peek_string (row, "job", ""), local->job) != 0;
}

gboolean
gw_local_end_waiting (LocalHost *local, GError **error)
{
    static const GwMendTerms terms = { .lock_ms = LOCK_MS, .is_now = TRUE };
    g_autoptr (JsonArray) rows = gw_journal_list_open_jobs (local->journal, error);
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        const GwWreck wreck = { local->config, local->context, local->journal, gw_json_peek_string (row, "job", ""),
                                local->side };
        if (!is_of_vm (local, row) || !gw_wreck_waits (&wreck, row))
            continue;
        if (g_strcmp0 (gw_json_peek_string (row, "peer", ""), local->peer != NULL ? local->peer : "") != 0)
            return gw_fail (error, GW_CAUSE_VM_BUSY, "'%s' is in the hands of job %s, whose agent was ended just now",
                            local->vm_name, wreck.job);
        if (gw_wreck_mend (&wreck, &terms, error) == NULL)
            return FALSE;
    }
    return rows != NULL;
}
