/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The monitor of this host's QEMU: its events by the names that the job has for them, and its commands. */
#include "host-internal.h"

#include <string.h>

/* QMP events that the job wants to know, and what it calls them. */
static const struct {
    const char *qmp, *event, *member; /* member of the data that becomes the detail */
} event_names[] = {
    { "MIGRATION", "migration", "status" },
    { "MIGRATION_PASS", "pass", "pass" },
    { "STOP", "stop", NULL },
    { "RESUME", "resume", NULL },
    { "SHUTDOWN", "shutdown", "reason" },
    { "RESET", "reset", "reason" },
    { "GUEST_PANICKED", "panic", "action" },
    { "BLOCK_JOB_ERROR", "disk-error", "operation" },
    { "BLOCK_JOB_READY", "disk-ready", "device" },
    { "WATCHDOG", "watchdog", "action" },
};

static char *
member_to_text (JsonObject *data, const char *member)
{
    JsonNode *node = member != NULL ? json_object_get_member (data, member) : NULL;
    if (node == NULL || !JSON_NODE_HOLDS_VALUE (node))
        return g_strdup ("");
    if (json_node_get_value_type (node) == G_TYPE_STRING)
        return g_strdup (json_node_get_string (node));
    return g_strdup_printf ("%" G_GINT64_FORMAT, json_node_get_int (node));
}

/* Of the source: "active" is said by the thread that migrates. */
static void
hasten (LocalHost *local, const char *status)
{
    static const char *const ends[] = { "completed", "failed", "cancelled", NULL };
    if (strcmp (status, "active") == 0)
        gw_haste_begin (local->haste, local->config->nice);
    else if (g_strv_contains (ends, status))
        g_clear_pointer (&local->haste, gw_haste_free);
}

static void
note_event (LocalHost *local, const char *event, const char *detail, gint64 at_us)
{
    local->n_block_errors += strcmp (event, "block-error") == 0;
    if (strcmp (event, "stop") == 0)
        local->stopped_us = at_us;
    else if (strcmp (event, "resume") == 0)
        local->resumed_us = at_us;
    if (strcmp (event, "migration") != 0)
        return;
    g_free (local->migration_status);
    local->migration_status = g_strdup (detail);
    if (strcmp (detail, "completed") == 0)
        local->loaded_us = at_us;
    if (local->haste != NULL)
        hasten (local, detail);
}

/* A QEMU that listens for its recovery says "setup", and is in postcopy-paused all the same. */
static gboolean
is_misleading (const LocalHost *local, const char *event, const char *detail)
{
    return strcmp (event, "migration") == 0 && strcmp (detail, "setup") == 0 &&
           gw_status_is_postcopy (local->migration_status);
}

/* "write of 'disk0': No space left on device", and whether the guest was stopped by it. */
static void
tell_block_error (LocalHost *local, JsonObject *data, gint64 at_us)
{
    const char *device = gw_json_peek_string (data, "device", "");
    const char *node = gw_json_peek_string (data, "node-name", "");
    gboolean is_full = gw_json_peek_bool (data, "nospace", FALSE);
    gboolean is_stop = strcmp (gw_json_peek_string (data, "action", ""), "stop") == 0;
    g_autofree char *detail = g_strdup_printf (
        "%s of '%s': %s", gw_json_peek_string (data, "operation", "access"),
        *device != '\0' ? device : node,
        is_full ? "No space left on device" : gw_json_peek_string (data, "reason", "no reason given"));
    local->n_block_errors++;
    gw_host_emit (&local->host, at_us, is_stop ? "block-stop" : "block-error", detail);
}

static void
on_qmp_event (const char *event, JsonObject *data, gint64 at_us, gpointer user_data)
{
    LocalHost *local = user_data;
    if (strcmp (event, "BLOCK_IO_ERROR") == 0)
        tell_block_error (local, data, at_us);
    for (guint i = 0; i < G_N_ELEMENTS (event_names); i++) {
        if (strcmp (event_names[i].qmp, event) != 0)
            continue;
        g_autofree char *detail = member_to_text (data, event_names[i].member);
        if (is_misleading (local, event_names[i].event, detail))
            continue;
        note_event (local, event_names[i].event, detail, at_us);
        gw_host_emit (&local->host, at_us, event_names[i].event, detail);
    }
}

static void
on_qmp_closed (const GError *why, gpointer user_data)
{
    LocalHost *local = user_data;
    if (!local->is_quitting)
        gw_host_emit (&local->host, 0, "qmp-closed", why->message);
}

gboolean
gw_local_connect_qmp (LocalHost *local, const char *path, guint timeout_ms,
                      GCancellable *cancellable, GError **error)
{
    local->qmp = gw_qmp_connect (path, local->context, timeout_ms, cancellable, error);
    if (local->qmp == NULL)
        return FALSE;
    gw_qmp_set_event_fn (local->qmp, on_qmp_event, local);
    gw_qmp_set_closed_fn (local->qmp, on_qmp_closed, local);
    return TRUE;
}

gboolean
gw_local_qmp (LocalHost *local, GwQmpCommand command, JsonObject *arguments,
              GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) owned = arguments;
    if (local->qmp == NULL)
        return gw_fail (error, GW_CAUSE_QMP_GONE, "there is no QEMU to ask");
    g_autoptr (JsonNode) reply = gw_qmp_call (local->qmp, command, owned, cancellable, error);
    return reply != NULL;
}

GwMigration *
gw_local_query_migrate (LocalHost *local, GCancellable *cancellable, GError **error)
{
    if (local->qmp == NULL) {
        gw_fail (error, GW_CAUSE_QMP_GONE, "there is no QEMU to ask");
        return NULL;
    }
    g_autoptr (JsonNode) reply =
        gw_qmp_call (local->qmp, GW_QMP_QUERY_MIGRATE, NULL, cancellable, error);
    if (reply == NULL)
        return NULL;
    if (!JSON_NODE_HOLDS_OBJECT (reply)) {
        gw_fail (error, GW_CAUSE_QMP_INVALID, "query-migrate: the reply is no object");
        return NULL;
    }
    return gw_migration_from_qmp (json_node_get_object (reply));
}

char *
gw_local_describe_qemu (LocalHost *local)
{
    if (local->qemu != NULL)
        return gw_process_describe_end (local->qemu);
    return g_strdup (local->qemu_watch != NULL ? gw_pid_watch_describe_end (local->qemu_watch)
                                               : "still runs");
}

void
gw_local_drop_qemu (LocalHost *local)
{
    g_clear_pointer (&local->qmp, gw_qmp_free);
    g_clear_pointer (&local->qemu_watch, gw_pid_watch_free);
}
