/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first moments of a VM that has arrived: switches learn where it is, and it is watched. */
#include "host-internal.h"

#include <stdio.h>

#define SETTLE_MAX_MS GW_HOST_SETTLE_MAX_MS

/* QEMU announces by itself when it has loaded, which may be before the network lets anything through
 * and, in postcopy, long before the guest runs.  A machine without interfaces says nothing. */
static void
announce (LocalHost *local, GCancellable *cancellable)
{
    JsonObject *arguments =
        gw_json_new ("initial:i", G_GINT64_CONSTANT (50), "max:i", G_GINT64_CONSTANT (550), "rounds:i",
                     G_GINT64_CONSTANT (5), "step:i", G_GINT64_CONSTANT (100), NULL);
    g_autoptr (GError) error = NULL;
    if (!gw_local_qmp (local, GW_QMP_ANNOUNCE_SELF, arguments, cancellable, &error))
        gw_host_emit (&local->host, 0, "not-announced", error->message);
    else
        gw_host_emit (&local->host, 0, "announced", "its interfaces, five times");
}

/* Nanoseconds on a processor: the first number of schedstat. */
static gint64
read_thread_ns (pid_t pid, gint64 thread)
{
    g_autofree char *path = g_strdup_printf (
        "/proc/%d/task/%" G_GINT64_FORMAT "/schedstat", (int) pid, thread);
    g_autofree char *text = NULL;
    if (!g_file_get_contents (path, &text, NULL, NULL))
        return -1;
    return (gint64) g_ascii_strtoull (text, NULL, 10);
}

/* -1: not known. */
static gint64
read_vcpu_us (LocalHost *local, GCancellable *cancellable)
{
    g_autoptr (JsonNode) reply =
        gw_qmp_call (local->qmp, GW_QMP_QUERY_CPUS_FAST, NULL, cancellable, NULL);
    gint64 sum = 0;
    if (reply == NULL || !JSON_NODE_HOLDS_ARRAY (reply) || local->qemu == NULL)
        return -1;
    JsonArray *cpus = json_node_get_array (reply);
    for (guint i = 0; i < json_array_get_length (cpus); i++) {
        JsonObject *cpu = json_array_get_object_element (cpus, i);
        gint64 ns = read_thread_ns (gw_process_get_pid (local->qemu),
                                    gw_json_peek_int (cpu, "thread-id", 0));
        if (ns < 0)
            return -1;
        sum += ns / 1000;
    }
    return sum;
}

/* QEMU keeps this after the migration; -1 when there was no postcopy. */
static gint64
read_blocktime_ms (LocalHost *local, GCancellable *cancellable)
{
    g_autoptr (JsonNode) reply =
        gw_qmp_call (local->qmp, GW_QMP_QUERY_MIGRATE, NULL, cancellable, NULL);
    return reply != NULL && JSON_NODE_HOLDS_OBJECT (reply)
               ? gw_json_peek_int (json_node_get_object (reply), "postcopy-blocktime", -1)
               : -1;
}

static char *
read_run_state (LocalHost *local, GCancellable *cancellable, GError **error)
{
    if (local->qmp == NULL) {
        gw_fail (error, GW_CAUSE_QMP_GONE, "there is no QEMU to ask");
        return NULL;
    }
    g_autoptr (JsonNode) reply =
        gw_qmp_call (local->qmp, GW_QMP_QUERY_STATUS, NULL, cancellable, error);
    if (reply == NULL)
        return NULL;
    return g_strdup (JSON_NODE_HOLDS_OBJECT (reply)
                         ? gw_json_peek_string (json_node_get_object (reply), "status", "unknown")
                         : "unknown");
}

JsonObject *
gw_local_get_run_state (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                        GError **error)
{
    g_autofree char *state = read_run_state (local, cancellable, error);
    return state != NULL ? gw_json_new ("run_state:s", state, NULL) : NULL;
}

JsonObject *
gw_local_settle (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 ms;
    if (local->qmp == NULL) {
        gw_fail (error, GW_CAUSE_QMP_GONE, "there is no QEMU to ask");
        return NULL;
    }
    if (!gw_json_get_int (params, "ms", 0, SETTLE_MAX_MS, &ms, error))
        return NULL;
    announce (local, cancellable);
    gint64 before_us = ms > 0 ? read_vcpu_us (local, cancellable) : -1;
    if (!gw_wait_ms (local->context, (guint) ms, cancellable, error))
        return NULL;
    gint64 after_us = before_us >= 0 ? read_vcpu_us (local, cancellable) : -1;
    g_autofree char *state = read_run_state (local, cancellable, error);
    if (state == NULL)
        return NULL;
    gint64 used_us = after_us >= 0 ? after_us - before_us : G_GINT64_CONSTANT (-1);
    return gw_json_new ("run_state:s", state, "vcpu_us:i", used_us, "block_errors:i",
                        local->n_block_errors, "blocktime_ms:i",
                        read_blocktime_ms (local, cancellable), NULL);
}
