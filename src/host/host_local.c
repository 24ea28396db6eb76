/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host, in this process: the table of operations and what both sides share. */
#include "guestram.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROBE_MAX_MS 3600000

/* --- operations of both sides ------------------------------------------------------------------------------ */

/* The program of the VM, which may be run here again: it is in a directory that is allowed, and the file of
 * that name is still the one that runs (a package may have replaced it).  NULL: there is none.  (transfer
 * full) */
static char *
find_program_of_vm (const LocalHost *local)
{
    g_autofree char *name = g_path_get_basename (local->vm->binary);
    g_autofree char *path = gw_find_qemu (local->config, name, NULL);
    g_autofree char *exe = g_strdup_printf ("/proc/%" G_GINT64_FORMAT "/exe", local->vm->pid);
    struct stat running, named;
    if (path == NULL || stat (exe, &running) != 0 || stat (path, &named) != 0 ||
        running.st_dev != named.st_dev || running.st_ino != named.st_ino)
        return NULL;
    return g_steal_pointer (&path);
}

/* On the destination those of the machine type that is asked for, on the source those of the VM. */
static void
add_vm_states (LocalHost *local, GwHostFacts *facts, const char *machine)
{
    g_autofree char *program = local->vm != NULL ? find_program_of_vm (local) : NULL;
    if (program != NULL)
        gw_add_vm_states (facts, local->config, local->context, program, local->vm->machine);
    else if (local->vm == NULL && machine != NULL && facts->machines != NULL &&
             g_strv_contains ((const char *const *) facts->machines, machine))
        gw_add_vm_states (facts, local->config, local->context, NULL, machine);
}

static JsonObject *
read_facts (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    g_auto (GStrv) paths = gw_json_peek_strv (params, "paths");
    g_autoptr (GwHostFacts) facts =
        gw_read_host_facts (local->config, local->context, gw_json_peek_string (params, "qemu", NULL),
                            (const char *const *) paths, cancellable);
    add_vm_states (local, facts, gw_json_peek_string (params, "machine", NULL));
    return gw_struct_to_json (&gw_host_facts_type, facts);
}

static gboolean
take_job (LocalHost *local, JsonObject *params, GError **error)
{
    const char *job = gw_json_get_string (params, "job", error);
    const char *vm = job != NULL ? gw_json_get_string (params, "vm", error) : NULL;
    const char *uuid = vm != NULL ? gw_json_get_string (params, "uuid", error) : NULL;
    if (uuid == NULL || !gw_json_get_int (params, "epoch", 1, G_MAXINT32, &local->epoch, error))
        return FALSE;
    local->side = gw_side_from_name (gw_json_peek_string (params, "side", NULL));
    if (!gw_job_id_is_valid (job) ||
        (local->side != GW_SIDE_SOURCE && local->side != GW_SIDE_DESTINATION))
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "the job's name or side is not valid");
    local->job = g_strdup (job);
    local->vm_name = g_strdup (vm);
    local->vm_uuid = g_strdup (uuid);
    return TRUE;
}

static JsonObject *
open_job (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    if (local->job != NULL) {
        gw_fail (error, GW_CAUSE_VM_BUSY, "job %s is open on this connection", local->job);
        return NULL;
    }
    if (!take_job (local, params, error))
        return NULL;
    local->job_dir = gw_directory_for_job (local->config, local->job, local->side);
    const char *user = local->vm != NULL ? local->vm->user : NULL;
    if (!gw_local_journal_job (local, error) || !gw_directory_make (local->job_dir, user, error)) {
        gw_local_journal_end (local);
        g_clear_pointer (&local->job_dir, g_free);
        g_clear_pointer (&local->job, g_free);
        return NULL;
    }
    return json_object_new ();
}

static gboolean
need_job (LocalHost *local, GwSide side, GError **error)
{
    if (local->job_dir == NULL || (side != GW_SIDE_NONE && local->side != side))
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "no job is open here for that");
    return TRUE;
}

static JsonObject *
start_courier (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    if (!need_job (local, GW_SIDE_NONE, error))
        return NULL;
    if (local->courier != NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "the job has a courier");
        return NULL;
    }
    g_auto (GStrv) given = gw_json_peek_strv (params, "addresses");
    g_auto (GStrv) candidates = NULL;
    gboolean is_listening = local->side == GW_SIDE_DESTINATION;
    GStrv addresses = is_listening && *given == NULL ? local->config->data_addresses : given;
    GwCourierSpec spec = {
        .host = &local->host,
        .config = local->config,
        .context = local->context,
        .job = local->job,
        .job_dir = local->job_dir,
        .side = local->side,
        .secret_hex = gw_json_peek_string (params, "secret", NULL),
        .addresses = (const char *const *) addresses,
        .is_packed = gw_json_peek_bool (params, "pack", FALSE),
        .codec_bytes = gw_codec_bound (gw_json_peek_int (params, "codec_bytes", 0)),
        .is_verified = local->side == GW_SIDE_SOURCE && gw_json_peek_bool (params, "verify", FALSE),
        .reached_at = local->reached_at,
    };
    if (!gw_json_get_int (params, "paths", 1, 8, &spec.n_paths, error) ||
        !gw_json_get_int (params, "deadline_s", 1, 31536000, &spec.deadline_s, error) ||
        !gw_json_get_int (params, "attempt", 0, G_MAXINT32, &spec.attempt, error) ||
        !gw_json_get_int (params, "disks", 0, 32, &spec.n_disks, error))
        return NULL;
    local->courier = gw_courier_start (&spec, &candidates, cancellable, error);
    if (local->courier == NULL || (local->is_kept && !gw_local_lease_courier (local, cancellable, error)))
        return NULL;
    return gw_json_new ("addresses:v", candidates, "pack:b", spec.is_packed, "codec_bytes:i",
                        spec.codec_bytes, NULL);
}

static gboolean
need_courier (LocalHost *local, GError **error)
{
    return local->courier != NULL || gw_fail (error, GW_CAUSE_COURIER_DIED, "there is no courier");
}

static JsonObject *
get_courier_stats (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    return need_courier (local, error) ? gw_courier_get_stats (local->courier, cancellable, error)
                                       : NULL;
}

static JsonObject *
probe_courier (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 within_ms, rtt_us = 0;
    if (!need_courier (local, error) ||
        !gw_json_get_int (params, "within_ms", 1, PROBE_MAX_MS, &within_ms, error) ||
        !gw_courier_probe (local->courier, (guint) within_ms, &rtt_us, cancellable, error))
        return NULL;
    return gw_json_new ("rtt_us:i", rtt_us, NULL);
}

static JsonObject *
spool_courier (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 deadline_s;
    if (!need_courier (local, error) ||
        !gw_json_get_int (params, "deadline_s", 1, 31536000, &deadline_s, error) ||
        !gw_courier_spool (local->courier, cancellable, error))
        return NULL;
    gw_courier_set_deadline (local->courier, deadline_s);
    return json_object_new ();
}

static JsonObject *
stop_courier (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    g_clear_pointer (&local->courier, gw_courier_free);
    return json_object_new ();
}

/* QEMU 7.2 says the reason for most failures to its standard error only, or nowhere.  The first line stays the
 * one of query-migrate: the others may be about something else. */
static void
complete_reason (LocalHost *local, GwMigration *migration)
{
    g_autofree char *words =
        local->qemu_watch != NULL ? gw_pid_watch_read_words (local->qemu_watch) : g_strdup ("");
    g_autofree char *disks =
        local->vm != NULL ? gw_disks_describe_trouble (local->vm) : g_strdup ("");
    const char *reason =
        migration->error_desc != NULL ? migration->error_desc : "it gives no reason";
    char *all = g_strconcat (reason, *disks != '\0' ? "\n" : "", disks, *words != '\0' ? "\n" : "",
                             words, NULL);
    g_free (migration->error_desc);
    migration->error_desc = all;
}

static JsonObject *
get_migration (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    g_autoptr (GwMigration) migration = gw_local_query_migrate (local, cancellable, error);
    if (migration != NULL && g_strcmp0 (migration->status, "failed") == 0)
        complete_reason (local, migration);
    return migration != NULL ? gw_struct_to_json (&gw_migration_type, migration) : NULL;
}

/* What another agent had made for it. */
static void
put_away (LocalHost *local, gboolean has_arrived)
{
    const GwWreck wreck = { local->config, local->context, local->journal, local->job, local->side };
    g_autoptr (GError) error = NULL;
    if (local->journal != NULL && !gw_wreck_put_away (&wreck, has_arrived, &error))
        g_warning ("job %s: %s; ignoring", local->job, error->message);
}

void
gw_local_destroy_launched (LocalHost *local)
{
    local->is_quitting = TRUE;
    g_clear_pointer (&local->qmp, gw_qmp_free);
    if (local->qemu != NULL)
        gw_process_stop (local->qemu, 500);
    if (local->created != NULL)
        gw_created_remove (local->created);
    if (local->is_resumed)
        put_away (local, FALSE);
    if (local->vm_dir != NULL)
        gw_directory_remove (local->vm_dir);
}

/* What they were before is not known any more. */
static void
leave_arrived (LocalHost *local)
{
    if (local->qmp != NULL)
        (void) gw_local_reset_capabilities (local, NULL); /* as below */
    put_away (local, TRUE);
}

static void
drop_lease_socket (LocalHost *local)
{
    g_autofree char *path = gw_courier_lease_path (local->config, local->job, local->side);
    (void) unlink (path); /* it may never have been made */
    local->grace_s = 0;
    local->is_kept = FALSE;
}

static JsonObject *
close_job (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    g_clear_pointer (&local->courier, gw_courier_free);
    g_clear_pointer (&local->sink, gw_link_sink_free);
    g_clear_pointer (&local->ram, gw_guestram_free);
    gw_local_drop_rehearsal (local);
    gw_local_drop_proof (local);
    /* Only this connection's QEMU could have started; whoever asks later is answered REFUSED (ledger.c). */
    if (local->side == GW_SIDE_DESTINATION && local->job != NULL && !local->is_started)
        gw_local_destroy_launched (local);
    else if (local->is_started && local->is_resumed)
        leave_arrived (local);
    else if (local->is_started)
        gw_local_restore_capabilities (local); /* or its next migration by hand would stand still */
    if (local->exports != NULL && local->is_started)
        gw_exports_keep (g_steal_pointer (&local->exports));
    g_clear_pointer (&local->exports, gw_exports_free);
    g_clear_pointer (&local->mirrors, gw_mirror_set_free);
    if (local->is_kept)
        drop_lease_socket (local);
    if (local->job_dir != NULL)
        gw_directory_remove (local->job_dir);
    g_clear_pointer (&local->job_dir, g_free);
    gw_local_journal_end (local);
    return json_object_new ();
}

/* --- the table ----------------------------------------------------------------------------------------------- */

static const GwLocalHandler handlers[GW_N_RPC_METHODS] = {
    [GW_RPC_HOST_FACTS] = read_facts,
    [GW_RPC_TOKEN_PUT] = gw_local_put_tokens,
    [GW_RPC_TOKEN_FIND] = gw_local_find_tokens,
    [GW_RPC_TOKEN_DROP] = gw_local_drop_tokens,
    [GW_RPC_DISK_CONTENTS] = gw_local_read_contents,
    [GW_RPC_VM_ADOPT] = gw_local_adopt,
    [GW_RPC_VM_DERIVE] = gw_local_derive,
    [GW_RPC_JOB_OPEN] = open_job,
    [GW_RPC_JOB_KEEP] = gw_local_keep,
    [GW_RPC_JOB_RESUME] = gw_local_resume_job,
    [GW_RPC_QEMU_PACE] = gw_local_set_pace,
    [GW_RPC_QEMU_LAUNCH] = gw_local_launch,
    [GW_RPC_QEMU_INCOMING] = gw_local_set_incoming,
    [GW_RPC_QEMU_MIGRATE] = gw_local_migrate,
    [GW_RPC_QEMU_PROGRESS] = get_migration,
    [GW_RPC_QEMU_STOP] = gw_local_stop_guest,
    [GW_RPC_QEMU_CONTINUE] = gw_local_continue,
    [GW_RPC_QEMU_RESUME] = gw_local_undo_migration,
    [GW_RPC_QEMU_QUIT] = gw_local_quit_source,
    [GW_RPC_QEMU_POSTCOPY] = gw_local_start_postcopy,
    [GW_RPC_QEMU_THROTTLE] = gw_local_throttle,
    [GW_RPC_QEMU_RECOVER] = gw_local_recover,
    [GW_RPC_QEMU_VERIFY] = gw_local_get_run_state,
    [GW_RPC_QEMU_SETTLE] = gw_local_settle,
    [GW_RPC_GUEST_CLOCK] = gw_local_guest_clock,
    [GW_RPC_MEMORY_WEIGH] = gw_local_begin_weighing,
    [GW_RPC_MEMORY_WEIGHT] = gw_local_finish_weighing,
    [GW_RPC_DISK_IMAGES] = gw_local_make_images,
    [GW_RPC_DISK_CLOSE] = gw_local_close_images,
    [GW_RPC_DISK_MIRROR] = gw_local_start_mirrors,
    [GW_RPC_DISK_PROGRESS] = gw_local_get_mirrors,
    [GW_RPC_DISK_HOLD] = gw_local_hold_disks,
    [GW_RPC_DISK_FINISH] = gw_local_finish_mirrors,
    [GW_RPC_DISK_UNDO] = gw_local_undo_mirrors,
    [GW_RPC_DISK_PROBE] = gw_local_probe_disks,
    [GW_RPC_PROOF_BEGIN] = gw_local_begin_proof,
    [GW_RPC_PROOF_CUT] = gw_local_cut_proof,
    [GW_RPC_PROOF_HASH] = gw_local_hash_disks,
    [GW_RPC_PROOF_GET] = gw_local_get_hashes,
    [GW_RPC_PROOF_END] = gw_local_end_proof,
    [GW_RPC_COURIER_START] = start_courier,
    [GW_RPC_COURIER_STOP] = stop_courier,
    [GW_RPC_COURIER_STATUS] = get_courier_stats,
    [GW_RPC_COURIER_PROBE] = probe_courier,
    [GW_RPC_COURIER_SPOOL] = spool_courier,
    [GW_RPC_LINK_SINK] = gw_local_start_sink,
    [GW_RPC_LINK_PUSH] = gw_local_push,
    [GW_RPC_COURIER_VERIFY] = gw_local_verify_ram,
    [GW_RPC_LINK_SUNK] = gw_local_finish_sink,
    [GW_RPC_EPOCH_GET] = gw_local_get_epoch,
    [GW_RPC_RECORD_PUT] = gw_local_put_released,
    [GW_RPC_RECORD_GET] = gw_local_settle_record,
    [GW_RPC_HANDOVER_START] = gw_local_start,
    [GW_RPC_CLEANUP] = gw_local_cleanup,
    [GW_RPC_JOB_EVIDENCE] = gw_local_get_evidence,
    [GW_RPC_JOB_RECONCILE] = gw_local_reconcile,
    [GW_RPC_QEMU_INVENTORY] = gw_local_take_inventory,
    [GW_RPC_REHEARSE_SAVE] = gw_local_rehearse_save,
    [GW_RPC_REHEARSE_READ] = gw_local_rehearse_read,
    [GW_RPC_REHEARSE_LAUNCH] = gw_local_rehearse_launch,
    [GW_RPC_REHEARSE_PUT] = gw_local_rehearse_put,
    [GW_RPC_REHEARSE_LOAD] = gw_local_rehearse_load,
    [GW_RPC_REHEARSE_END] = gw_local_rehearse_end,
    [GW_RPC_JOB_CLOSE] = close_job,
};

gboolean
gw_host_has_method (GwRpcMethod method)
{
    return method < GW_N_RPC_METHODS && handlers[method] != NULL;
}

static JsonObject *
local_call (GwHost *host, GwRpcMethod method, JsonObject *params, GCancellable *cancellable,
            GError **error)
{
    g_assert (gw_host_has_method (method));
    return handlers[method]((LocalHost *) host, params, cancellable, error);
}

static void
local_begin (GwHost *host, GwRpcMethod method, JsonObject *params, guint timeout_ms,
             GwHostPending *pending)
{
    pending->result = local_call (host, method, params, NULL, &pending->error);
}

static gboolean
local_is_open (const GwHost *host)
{
    return TRUE;
}

static gboolean
local_get_clock_offset (GwHost *host, gint64 *ret_offset_us, gint64 *ret_error_us,
                        GError **error)
{
    *ret_offset_us = *ret_error_us = 0;
    return TRUE;
}

static void
local_free (GwHost *host)
{
    LocalHost *local = (LocalHost *) host;
    host->event_fn = NULL;
    if (gw_local_may_leave (local))
        gw_local_leave (local);
    else
        json_object_unref (close_job (local, NULL, NULL, NULL));
    gw_local_drop_token_files (local);
    gw_local_drop_qemu (local);
    g_clear_pointer (&local->qemu, gw_process_free);
    g_clear_pointer (&local->created, gw_created_free);
    gw_journal_close (local->journal);
    gw_vm_free (local->vm);
    gw_host_config_free (local->config);
    g_main_context_unref (local->context);
    g_clear_pointer (&local->haste, gw_haste_free);
    g_clear_pointer (&local->old_capabilities, json_array_unref);
    g_clear_pointer (&local->old_parameters, json_object_unref);
    g_clear_error (&local->refusal);
    g_free (local->migration_status);
    g_free (local->reached_at);
    g_free (local->peer);
    g_free (local->vm_dir);
    g_free (local->vm_name);
    g_free (local->vm_uuid);
    g_free (local->job);
    g_free (host->name);
    g_free (local);
}

static const GwHostOps local_ops = {
    .call = local_call,
    .begin = local_begin,
    .is_open = local_is_open,
    .get_clock_offset = local_get_clock_offset,
    .free = local_free,
};

GwHost *
gw_host_new_local (const GwHostConfig *config, GMainContext *context)
{
    LocalHost *local = g_new0 (LocalHost, 1);
    local->host.ops = &local_ops;
    local->host.name = g_strdup (g_get_host_name ());
    local->context = g_main_context_ref (context);
    local->config = gw_host_config_copy (config);
    return &local->host;
}

void
gw_host_set_reached_at (GwHost *host, const char *address)
{
    LocalHost *local = (LocalHost *) host;
    g_assert (host->ops == &local_ops);
    g_free (local->reached_at);
    local->reached_at = g_strdup (address);
}

void
gw_host_set_peer (GwHost *host, const char *name)
{
    LocalHost *local = (LocalHost *) host;
    g_assert (host->ops == &local_ops);
    g_free (local->peer);
    local->peer = g_strdup (name);
}

void
gw_host_set_leaving (GwHost *host)
{
    g_assert (host->ops == &local_ops);
    ((LocalHost *) host)->is_leaving = TRUE;
}
