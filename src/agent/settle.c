/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What `godwit reconcile` does, by the agent itself: a guest of this host that stands still because its coordinator died
 * after RELEASED goes on, or its copy ends, as soon as the destination answers.  No person is asked: what needs one stays.
 */
#include "agent-internal.h"
#include "reconcile.h"

#include <string.h>

/* FALSE: the destination does not answer. */
static gboolean
settle (const GwHostConfig *config, GMainContext *context, JsonObject *row, GCancellable *stopping)
{
    const char *address = gw_json_peek_string (row, "destination", "");
    g_autoptr (GError) error = NULL;
    g_autoptr (GwHost) here = gw_host_new_local (config, context);
    g_autoptr (GwHost) there = gw_host_open_remote (address, 0, context, stopping, &error);
    const GwReconcile spec = { .job = gw_json_peek_string (row, "job", ""), .source = here, .destination = there,
                               .destination_why = error != NULL ? error->message : NULL,
                               .source_name = "this host", .destination_name = address,
                               .cancellable = stopping };
    if (there == NULL)
        return FALSE; /* nothing is learned; what this host can settle alone is settled (mend.c) */
    g_autoptr (JsonObject) report = gw_reconcile_job (&spec);
    if (strcmp (gw_json_peek_string (report, "result", ""), "undecided") != 0)
        g_message ("job %s was settled: %s; %s", spec.job, gw_json_peek_string (report, "result", ""),
                   gw_json_peek_string (report, "why", ""));
    return TRUE;
}

void
gw_agent_settle (const GwHostConfig *config, GMainContext *context, GCancellable *stopping)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonObject) answer = gw_history_find (config, NULL, &error);
    g_autoptr (GHashTable) silent = g_hash_table_new (g_str_hash, g_str_equal); /* addresses, borrowed */
    JsonArray *rows = answer != NULL ? gw_json_peek_array (answer, "jobs") : NULL;
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        const char *address = gw_json_peek_string (row, "destination", "");
        gboolean is_source = strcmp (gw_json_peek_string (row, "side", ""), "source") == 0;
        if (is_source && !g_cancellable_is_cancelled (stopping) && !g_hash_table_contains (silent, address) &&
            !settle (config, context, row, stopping))
            g_hash_table_add (silent, (gpointer) address);
    }
}
