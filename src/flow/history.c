/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs as the journal tells of them. */
#include "flow.h"

#include <string.h>

JsonObject *
gw_report_load (const GwHostConfig *config, const char *job, GError **error)
{
    if (!gw_journal_exists (config->state_dir)) {
        gw_fail (error, GW_CAUSE_HOST_IO, "there is no report of a job '%s' on this host", job);
        return NULL;
    }
    g_autoptr (GwJournal) journal = gw_journal_open (config->state_dir, GW_JOURNAL_QUICK, error);
    return journal != NULL ? gw_journal_get_report (journal, job, error) : NULL;
}

JsonArray *
gw_report_list (const GwHostConfig *config, guint max, GError **error)
{
    if (!gw_journal_exists (config->state_dir))
        return json_array_new ();
    g_autoptr (GwJournal) journal = gw_journal_open (config->state_dir, GW_JOURNAL_QUICK, error);
    g_autoptr (JsonArray) jobs =
        journal != NULL ? gw_journal_list_jobs (journal, NULL, max, error) : NULL;
    if (jobs == NULL)
        return NULL;
    JsonArray *list = json_array_new ();
    for (guint i = 0; i < json_array_get_length (jobs); i++) {
        JsonObject *report =
            gw_json_peek_object (json_array_get_object_element (jobs, i), "report");
        if (report != NULL)
            json_array_add_object_element (list, json_object_ref (report));
    }
    return list;
}
