/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For `godwit cleanup`: what jobs that died have left on this host, and what becomes of it. */
#include "host-internal.h"

#include <string.h>

/* What taking the job apart would do, as far as it is there. */
static gboolean
tell_objects (const GwWreck *wreck, JsonArray *told, GError **error)
{
    g_autoptr (JsonArray) objects = gw_journal_list_objects (wreck->journal, wreck->job, wreck->side, error);
    for (guint i = 0; objects != NULL && i < json_array_get_length (objects); i++) {
        JsonObject *object = json_array_get_object_element (objects, i);
        const char *kind = gw_json_peek_string (object, "kind", "");
        const char *path = gw_json_peek_string (object, "path", "");
        if (strcmp (kind, GW_OBJECT_QUARANTINE) != 0)
            json_array_add_object_element (
                told, gw_json_new ("job:s", wreck->job, "kind:s", kind, "path:s", path, "action:s", "would be settled",
                                   NULL));
    }
    return objects != NULL;
}

static gboolean
tell_jobs (const GwWreck *all, JsonArray *told, GError **error)
{
    g_autoptr (JsonArray) rows = gw_journal_list_open_jobs (all->journal, error);
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        const GwWreck wreck = { all->config, all->context, all->journal, gw_json_peek_string (row, "job", ""),
                                gw_side_from_name (gw_json_peek_string (row, "side", "")) };
        if (!gw_host_job_is_worked_on (row) && !tell_objects (&wreck, told, error))
            return FALSE;
    }
    return rows != NULL;
}

JsonObject *
gw_local_cleanup (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gboolean is_dry = gw_json_peek_bool (params, "dry_run", FALSE);
    GwSweep how = is_dry ? GW_SWEEP_DRY : gw_json_peek_bool (params, "now", FALSE) ? GW_SWEEP_ALL : GW_SWEEP_OVER;
    g_autoptr (JsonArray) told = json_array_new ();
    if (!gw_local_need_journal (local, error))
        return NULL;
    const GwWreck all = { .config = local->config, .context = local->context, .journal = local->journal };
    gboolean ok = is_dry ? tell_jobs (&all, told, error)
                         : gw_host_mend (local->config, local->context, GW_JOURNAL_QUICK, error);
    if (!ok || !gw_quarantine_sweep (local->journal, how, told, error))
        return NULL;
    JsonObject *answer = json_object_new ();
    json_object_set_array_member (answer, "files", g_steal_pointer (&told));
    return answer;
}
