/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The types of the operations: from C to parameters, from results to C. */
#include "host-internal.h"

#define START_SLACK_MS 20000 /* beyond the load: the records, and the guest's first instruction */

JsonObject *
gw_host_call (GwHost *host, GwRpcMethod method, JsonObject *params, GCancellable *cancellable,
              GError **error)
{
    g_autoptr (JsonObject) owned = params != NULL ? params : json_object_new ();
    const char *name = gw_rpc_method_get_info (method)->name;
    (void) gw_point ("call", name);
    JsonObject *result = host->ops->call (host, method, owned, cancellable, error);
    (void) gw_point ("return", name);
    return result;
}

gboolean
gw_host_call_plain (GwHost *host, GwRpcMethod method, JsonObject *params, GCancellable *cancellable,
                    GError **error)
{
    g_autoptr (JsonObject) result = gw_host_call (host, method, params, cancellable, error);
    return result != NULL;
}

gpointer
gw_host_call_struct (GwHost *host, GwRpcMethod method, JsonObject *params, const GwStructType *type,
                     GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) result = gw_host_call (host, method, params, cancellable, error);
    return result != NULL ? gw_struct_from_json (type, result, error) : NULL;
}

void
gw_host_free (GwHost *host)
{
    if (host != NULL)
        host->ops->free (host);
}

void
gw_host_set_event_fn (GwHost *host, GwHostEventFn fn, gpointer user_data)
{
    host->event_fn = fn;
    host->event_data = user_data;
}

void
gw_host_emit (GwHost *host, gint64 at_us, const char *event, const char *detail)
{
    if (host->event_fn != NULL)
        host->event_fn (host, at_us != 0 ? at_us : g_get_real_time (), event,
                        detail != NULL ? detail : "", host->event_data);
}

gboolean
gw_host_is_open (const GwHost *host)
{
    return host->ops->is_open (host);
}

const char *
gw_host_get_name (const GwHost *host)
{
    return host->name;
}

gboolean
gw_host_get_clock_offset (GwHost *host, gint64 *ret_offset_us, gint64 *ret_error_us,
                          GError **error)
{
    return host->ops->get_clock_offset (host, ret_offset_us, ret_error_us, error);
}

GwVm *
gw_host_adopt (GwHost *host, const char *vm, GCancellable *cancellable, GError **error)
{
    return gw_host_call_struct (host, GW_RPC_VM_ADOPT, gw_json_new ("vm:s", vm, NULL), &gw_vm_type,
                        cancellable, error);
}

GwDerived *
gw_host_derive (GwHost *host, const char *const *maps, GCancellable *cancellable, GError **error)
{
    return gw_host_call_struct (host, GW_RPC_VM_DERIVE, gw_json_new ("maps:v", maps, NULL),
                        &gw_derived_type, cancellable, error);
}

GwHostFacts *
gw_host_get_facts (GwHost *host, const char *qemu, const char *machine, const char *const *paths,
                   GCancellable *cancellable, GError **error)
{
    return gw_host_call_struct (host, GW_RPC_HOST_FACTS,
                        gw_json_new ("qemu:s", qemu, "machine:s", machine, "paths:v", paths, NULL),
                        &gw_host_facts_type, cancellable, error);
}

static GStrv
call_list (GwHost *host, GwRpcMethod method, JsonObject *params, const char *member,
           GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) result = gw_host_call (host, method, params, cancellable, error);
    return result != NULL ? gw_json_peek_strv (result, member) : NULL;
}

GStrv
gw_host_put_tokens (GwHost *host, const char *job, const char *const *images, GCancellable *cancellable,
                    GError **error)
{
    return call_list (host, GW_RPC_TOKEN_PUT, gw_json_new ("job:s", job, "paths:v", images, NULL), "tokens",
                      cancellable, error);
}

GStrv
gw_host_find_tokens (GwHost *host, const char *const *images, const char *const *tokens,
                     GCancellable *cancellable, GError **error)
{
    return call_list (host, GW_RPC_TOKEN_FIND,
                      gw_json_new ("paths:v", images, "tokens:v", tokens, NULL), "found",
                      cancellable, error);
}

GStrv
gw_host_read_contents (GwHost *host, const char *const *paths, GCancellable *cancellable, GError **error)
{
    return call_list (host, GW_RPC_DISK_CONTENTS, gw_json_new ("paths:v", paths, NULL), "contents",
                      cancellable, error);
}

gboolean
gw_host_drop_tokens (GwHost *host, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_TOKEN_DROP, NULL, NULL, error);
}

GwInventory *
gw_host_get_inventory (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_struct (host, GW_RPC_QEMU_INVENTORY, NULL, &gw_inventory_type, cancellable, error);
}

gboolean
gw_host_open_job (GwHost *host, const GwHostJob *job, GCancellable *cancellable, GError **error)
{
    JsonObject *params =
        gw_json_new ("job:s", job->job, "side:s", gw_side_name (job->side), "vm:s", job->vm,
                     "uuid:s", job->uuid, "epoch:i", job->epoch, NULL);
    return gw_host_call_plain (host, GW_RPC_JOB_OPEN, params, cancellable, error);
}

static GStrv
list_created (const GwDerived *derived)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    for (guint i = 0; i < derived->needs->len; i++) {
        const GwNeed *need = derived->needs->pdata[i];
        if (g_strcmp0 (need->kind, "socket") == 0 || g_strcmp0 (need->kind, "file") == 0)
            g_strv_builder_add (builder, need->path);
    }
    return g_strv_builder_end (builder);
}

gboolean
gw_host_launch (GwHost *host, const GwVm *vm, const GwDerived *derived, GCancellable *cancellable,
                GError **error)
{
    g_autofree char *program = g_path_get_basename (vm->binary);
    g_auto (GStrv) creates = list_created (derived);
    JsonObject *params = gw_json_new ("qemu:s", program, "cwd:s", vm->cwd, "user:s", vm->user,
                                      "argv:v", derived->argv, "creates:v", creates, NULL);
    return gw_host_call_plain (host, GW_RPC_QEMU_LAUNCH, params, cancellable, error);
}

static char *
secret_to_hex (const uint8_t secret[static GW_HOST_SECRET_BYTES])
{
    char *hex = g_malloc0 (2 * GW_HOST_SECRET_BYTES + 1);
    for (guint i = 0; i < GW_HOST_SECRET_BYTES; i++)
        g_snprintf (hex + 2 * i, 3, "%02x", secret[i]);
    return hex;
}

static JsonObject *
link_params (const GwHostLink *link)
{
    g_autofree char *hex = secret_to_hex (link->secret);
    return gw_json_new ("secret:s", hex, "addresses:v", link->addresses, "paths:i", link->n_paths,
                        "deadline_s:i", link->deadline_s, "attempt:i", link->attempt, "disks:i",
                        link->n_disks, "pack:b", link->is_packed, "codec_bytes:i",
                        link->codec_bytes, "verify:b", link->is_verified, NULL);
}

gboolean
gw_host_accept_courier (GwHost *host, GwHostLink *link, GStrv *ret_addresses,
                        GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_COURIER_START, link_params (link), cancellable, error);
    if (result == NULL)
        return FALSE;
    *ret_addresses = gw_json_peek_strv (result, "addresses");
    link->is_packed = gw_json_peek_bool (result, "pack", FALSE);
    gint64 codec_bytes = gw_json_peek_int (result, "codec_bytes", 0);
    link->codec_bytes = CLAMP (codec_bytes, 0, link->codec_bytes);
    return TRUE;
}

gboolean
gw_host_connect_courier (GwHost *host, const GwHostLink *link, GCancellable *cancellable,
                         GError **error)
{
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_COURIER_START, link_params (link), cancellable, error);
    if (result == NULL)
        return FALSE;
    return link->codec_bytes == 0 || gw_json_peek_int (result, "codec_bytes", 0) > 0 ||
           gw_fail (error, GW_CAUSE_MEMORY_SHORT,
                    "the RAM codec has no memory here, and the other side was told that it is used; --codec off "
                    "does without");
}

gboolean
gw_host_probe_link (GwHost *host, guint within_ms, gint64 *ret_rtt_us, GCancellable *cancellable,
                    GError **error)
{
    JsonObject *params = gw_json_new ("within_ms:i", (gint64) within_ms, NULL);
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_COURIER_PROBE, params, cancellable, error);
    if (result == NULL)
        return FALSE;
    *ret_rtt_us = gw_json_peek_int (result, "rtt_us", 0);
    return TRUE;
}

gboolean
gw_host_start_sink (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_LINK_SINK, NULL, cancellable, error);
}

JsonObject *
gw_host_begin_weighing (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call (host, GW_RPC_MEMORY_WEIGH, NULL, cancellable, error);
}

JsonObject *
gw_host_finish_weighing (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call (host, GW_RPC_MEMORY_WEIGHT, NULL, cancellable, error);
}

gboolean
gw_host_push (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_LINK_PUSH, NULL, cancellable, error);
}

JsonObject *
gw_host_finish_sink (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call (host, GW_RPC_LINK_SUNK, NULL, cancellable, error);
}

gboolean
gw_host_spool_link (GwHost *host, gint64 deadline_s, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_COURIER_SPOOL, gw_json_new ("deadline_s:i", deadline_s, NULL),
                       cancellable, error);
}

JsonObject *
gw_host_verify_ram (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call (host, GW_RPC_COURIER_VERIFY, NULL, cancellable, error);
}

JsonObject *
gw_host_get_courier_stats (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call (host, GW_RPC_COURIER_STATUS, NULL, cancellable, error);
}

gboolean
gw_host_stop_courier (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_COURIER_STOP, NULL, cancellable, error);
}

gboolean
gw_host_set_incoming (GwHost *host, GwHostPostcopy *postcopy, char **ret_why,
                      GCancellable *cancellable, GError **error)
{
    JsonObject *params = gw_json_new ("postcopy:b", postcopy->is_on, "preempt:b",
                                      postcopy->has_preempt, NULL);
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_QEMU_INCOMING, params, cancellable, error);
    if (result == NULL)
        return FALSE;
    postcopy->is_on = gw_json_peek_bool (result, "postcopy", FALSE);
    postcopy->has_preempt = gw_json_peek_bool (result, "preempt", FALSE);
    *ret_why = g_strdup (gw_json_peek_string (result, "why", NULL));
    return TRUE;
}

gboolean
gw_host_migrate (GwHost *host, const GwHostMigrate *params, GCancellable *cancellable,
                 GError **error)
{
    return gw_host_call_plain (host, GW_RPC_QEMU_MIGRATE,
                       gw_json_new ("downtime_ms:i", params->downtime_ms, "bandwidth_bps:i",
                                    params->bandwidth_bps, "postcopy:b", params->postcopy.is_on,
                                    "preempt:b", params->postcopy.has_preempt, "throttle:b",
                                    params->can_throttle, NULL),
                       cancellable, error);
}

gboolean
gw_host_throttle (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_QEMU_THROTTLE, NULL, cancellable, error);
}

gboolean
gw_host_start_postcopy (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_QEMU_POSTCOPY, NULL, cancellable, error);
}

gboolean
gw_host_recover (GwHost *host, gint64 attempt, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_QEMU_RECOVER, gw_json_new ("attempt:i", attempt, NULL),
                       cancellable, error);
}

gboolean
gw_host_stop_guest (GwHost *host, gboolean is_stopped, guint within_ms, GCancellable *cancellable,
                    GError **error)
{
    JsonObject *params = gw_json_new ("stopped:b", is_stopped, "within_ms:i", (gint64) within_ms, NULL);
    return gw_host_call_plain (host, GW_RPC_QEMU_STOP, params, cancellable, error);
}

GwMigration *
gw_host_get_migration (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_struct (host, GW_RPC_QEMU_PROGRESS, NULL, &gw_migration_type, cancellable, error);
}

gboolean
gw_host_continue (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_QEMU_CONTINUE, NULL, cancellable, error);
}

gboolean
gw_host_undo_migration (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_QEMU_RESUME, NULL, cancellable, error);
}

gboolean
gw_host_quit_source (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_QEMU_QUIT, NULL, cancellable, error);
}

gboolean
gw_host_put_released (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_RECORD_PUT, NULL, cancellable, error);
}

GwHostPending *
gw_host_begin_start (GwHost *host, gboolean is_running, gboolean in_postcopy, guint timeout_ms)
{
    g_autoptr (JsonObject) params = gw_json_new ("run:b", is_running, "in_postcopy:b", in_postcopy,
                                                 "timeout_ms:i", (gint64) timeout_ms, NULL);
    GwHostPending *pending = g_new0 (GwHostPending, 1);
    (void) gw_point ("call", "handover.start");
    host->ops->begin (host, GW_RPC_HANDOVER_START, params, timeout_ms + START_SLACK_MS, pending);
    return pending;
}

gboolean
gw_host_pending_is_done (const GwHostPending *pending)
{
    return pending->rpc == NULL || gw_rpc_pending_is_done (pending->rpc);
}

static JsonObject *
pending_take_result (GwHostPending *pending, GError **error)
{
    if (pending->rpc != NULL) {
        g_autoptr (JsonNode) node =
            gw_rpc_pending_finish (g_steal_pointer (&pending->rpc), error);
        return node != NULL && JSON_NODE_HOLDS_OBJECT (node)
                   ? json_object_ref (json_node_get_object (node))
                   : NULL;
    }
    if (pending->error != NULL)
        g_propagate_error (error, g_steal_pointer (&pending->error));
    return g_steal_pointer (&pending->result);
}

/* Frees `pending`. */
static JsonObject *
pending_finish (GwHostPending *pending, GError **error)
{
    GError *failure = NULL;
    JsonObject *result = pending_take_result (pending, &failure);
    gw_host_pending_free (pending);
    if (result == NULL && failure == NULL)
        gw_fail (&failure, GW_CAUSE_RPC_INVALID, "the answer is no object");
    if (failure != NULL)
        g_propagate_error (error, failure);
    return result;
}

gboolean
gw_host_finish_start (GwHostPending *pending, GwHostStart *ret_start, GError **error)
{
    g_autoptr (JsonObject) result = pending_finish (pending, error);
    (void) gw_point ("return", "handover.start");
    if (result == NULL)
        return FALSE;
    *ret_start = (GwHostStart) { gw_json_peek_bool (result, "started", FALSE),
                                 gw_json_peek_int (result, "loaded_us", 0),
                                 gw_json_peek_int (result, "started_us", 0),
                                 gw_json_peek_int (result, "running_us", 0) };
    return TRUE;
}

GwHostPending *
gw_host_begin_get_run_state (GwHost *host)
{
    g_autoptr (JsonObject) params = json_object_new ();
    GwHostPending *pending = g_new0 (GwHostPending, 1);
    host->ops->begin (host, GW_RPC_QEMU_VERIFY, params,
                      gw_rpc_method_get_info (GW_RPC_QEMU_VERIFY)->timeout_ms, pending);
    return pending;
}

char *
gw_host_finish_get_run_state (GwHostPending *pending, GError **error)
{
    g_autoptr (JsonObject) result = pending_finish (pending, error);
    return result != NULL ? g_strdup (gw_json_get_string (result, "run_state", error)) : NULL;
}

void
gw_host_pending_free (GwHostPending *pending)
{
    if (pending == NULL)
        return;
    gw_rpc_pending_free (pending->rpc);
    g_clear_pointer (&pending->result, json_object_unref);
    g_clear_error (&pending->error);
    g_free (pending);
}

gboolean
gw_host_settle_record (GwHost *host, const char *job, gboolean refuse, GwRecordKind *ret_kind,
                       GCancellable *cancellable, GError **error)
{
    JsonObject *params = gw_json_new ("job:s", job, "refuse:b", refuse, NULL);
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_RECORD_GET, params, cancellable, error);
    const char *name = result != NULL ? gw_json_get_string (result, "record", error) : NULL;
    if (name == NULL)
        return FALSE;
    return gw_record_kind_from_name (name, ret_kind, error);
}

gboolean
gw_host_get_epoch (GwHost *host, const char *uuid, gint64 *ret_epoch, char **ret_held_by,
                   GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_EPOCH_GET, gw_json_new ("uuid:s", uuid, NULL), cancellable, error);
    if (result == NULL || !gw_json_get_int (result, "epoch", 0, G_MAXINT32 - 1, ret_epoch, error))
        return FALSE;
    *ret_held_by = g_strdup (gw_json_peek_string (result, "held_by", NULL));
    return TRUE;
}

gboolean
gw_host_settle (GwHost *host, guint ms, GwHostSettled *ret_settled, GCancellable *cancellable,
                GError **error)
{
    JsonObject *params = gw_json_new ("ms:i", (gint64) ms, NULL);
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_QEMU_SETTLE, params, cancellable, error);
    const char *state = result != NULL ? gw_json_get_string (result, "run_state", error) : NULL;
    if (state == NULL)
        return FALSE;
    *ret_settled = (GwHostSettled) { g_strdup (state), gw_json_peek_int (result, "block_errors", 0),
                                     gw_json_peek_int (result, "vcpu_us", -1),
                                     gw_json_peek_int (result, "blocktime_ms", -1) };
    return TRUE;
}

gboolean
gw_host_ask_guest_clock (GwHost *host, gboolean sets, gint64 aim_us, GwGuestClock *ret_clock,
                         GCancellable *cancellable, GError **error)
{
    gint64 bounded_us = CLAMP (aim_us, -GW_GUEST_CLOCK_MAX_US, GW_GUEST_CLOCK_MAX_US);
    JsonObject *params = gw_json_new ("sets:b", sets, "aim_us:i", bounded_us, NULL);
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_GUEST_CLOCK, params, cancellable, error);
    if (result == NULL)
        return FALSE;
    gint64 offset_us = gw_json_peek_int (result, "offset_us", 0);
    gint64 left_us = gw_json_peek_int (result, "left_us", 0);
    *ret_clock = (GwGuestClock) {
        .has_answered = gw_json_peek_bool (result, "answers", FALSE),
        .offset_us = CLAMP (offset_us, -GW_GUEST_CLOCK_MAX_US, GW_GUEST_CLOCK_MAX_US),
        .is_set = gw_json_peek_bool (result, "is_set", FALSE),
        .left_us = CLAMP (left_us, -GW_GUEST_CLOCK_MAX_US, GW_GUEST_CLOCK_MAX_US),
        .why = g_strdup (gw_json_peek_string (result, "why", NULL)),
    };
    return TRUE;
}

gboolean
gw_host_close_job (GwHost *host, GCancellable *cancellable, GError **error)
{
    return gw_host_call_plain (host, GW_RPC_JOB_CLOSE, NULL, cancellable, error);
}
