/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs and VMs as the journal of a host tells of them. */
#include "flow.h"

#include <string.h>

/* NULL without an error: there is none yet. */
static GwJournal *
open_existing (const GwHostConfig *config, GError **error)
{
    return gw_journal_exists (config->state_dir)
               ? gw_journal_open (config->state_dir, GW_JOURNAL_QUICK, error) : NULL;
}

/* --- jobs -------------------------------------------------------------------------------------------- */

static char *
format_time (gint64 at_us)
{
    g_autoptr (GDateTime) time = g_date_time_new_from_unix_utc (at_us / G_USEC_PER_SEC);
    return time != NULL ? g_date_time_format_iso8601 (time) : g_strdup ("");
}

/* Whether somebody still works on it. */
static const char *
state_of (JsonObject *job)
{
    if (gw_json_peek_int (job, "ended_us", 0) > 0)
        return "ended";
    return gw_host_job_is_worked_on (job) ? "running" : "interrupted";
}

static char *
find_last_step (JsonArray *steps)
{
    guint n = json_array_get_length (steps);
    return n > 0 ? g_strdup (gw_json_peek_string (json_array_get_object_element (steps, n - 1), "step", ""))
                 : NULL;
}

/* A row for people and scripts.  Its report, if any, says the cause. */
static JsonObject *
describe_job (GwJournal *journal, JsonObject *row, GError **error)
{
    const char *id = gw_json_peek_string (row, "job", ""), *side = gw_json_peek_string (row, "side", "");
    JsonObject *report = gw_json_peek_object (row, "report");
    JsonObject *cause = report != NULL ? gw_json_peek_object (report, "cause") : NULL;
    gint64 ended_us = gw_json_peek_int (row, "ended_us", 0);
    gboolean is_source = strcmp (side, gw_side_name (GW_SIDE_SOURCE)) == 0;
    g_autoptr (JsonArray) steps = gw_journal_list_steps (journal, id, gw_side_from_name (side), error);
    if (steps == NULL)
        return NULL;
    g_autofree char *step = ended_us == 0 ? find_last_step (steps) : NULL;
    g_autofree char *began = format_time (gw_json_peek_int (row, "began_us", 0));
    g_autofree char *ended = ended_us > 0 ? format_time (ended_us) : NULL;
    return gw_json_new ("job:s", id, "side:s", side, "vm:s", gw_json_peek_string (row, "vm", ""), "uuid:s",
                        gw_json_peek_string (row, "uuid", ""), "epoch:i", gw_json_peek_int (row, "epoch", 0),
                        "destination:s", is_source ? gw_json_peek_string (row, "peer", "") : "", "state:s",
                        state_of (row),
                        "result:s", gw_json_peek_string (row, "result", ""), "step:s", step, "started:s", began,
                        "ended:s", ended, "cause:s", cause != NULL ? gw_json_peek_string (cause, "code", "") : NULL,
                        NULL);
}

static gboolean
add_jobs (GwJournal *journal, JsonArray *rows, JsonArray *reports, JsonArray *jobs, GError **error)
{
    for (guint i = 0; i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        JsonObject *report = gw_json_peek_object (row, "report");
        JsonObject *job = describe_job (journal, row, error);
        if (job == NULL)
            return FALSE;
        json_array_add_object_element (jobs, job);
        if (report != NULL)
            json_array_add_object_element (reports, json_object_ref (report));
    }
    return TRUE;
}

static JsonObject *
pair_of (const char *first, JsonArray *first_list, const char *second, JsonArray *second_list)
{
    JsonObject *object = json_object_new ();
    json_object_set_array_member (object, first, json_array_ref (first_list));
    json_object_set_array_member (object, second, json_array_ref (second_list));
    return object;
}

JsonObject *
gw_history_list (const GwHostConfig *config, const char *vm, guint max, GError **error)
{
    g_autoptr (GError) failure = NULL;
    g_autoptr (JsonArray) reports = json_array_new ();
    g_autoptr (JsonArray) jobs = json_array_new ();
    g_autoptr (GwJournal) journal = open_existing (config, &failure);
    g_autoptr (JsonArray) rows =
        journal != NULL ? gw_journal_list_jobs (journal, vm, max, &failure) : NULL;
    if ((rows != NULL && !add_jobs (journal, rows, reports, jobs, &failure)) || failure != NULL) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return NULL;
    }
    return pair_of ("reports", reports, "jobs", jobs);
}

static gboolean
is_unsettled (JsonObject *job)
{
    return strcmp (gw_json_peek_string (job, "state", ""), "interrupted") == 0 ||
           strcmp (gw_json_peek_string (job, "result", ""), "undecided") == 0;
}

JsonObject *
gw_history_find (const GwHostConfig *config, const char *job, GError **error)
{
    g_autoptr (GError) failure = NULL;
    g_autoptr (JsonArray) none = json_array_new ();
    g_autoptr (JsonArray) jobs = json_array_new ();
    g_autoptr (GwJournal) journal = open_existing (config, &failure);
    g_autoptr (JsonArray) rows = journal == NULL ? NULL
                                 : job != NULL   ? gw_journal_find_job (journal, job, &failure)
                                                 : gw_journal_list_unsettled_jobs (journal, &failure);
    for (guint i = 0; rows != NULL && failure == NULL && i < json_array_get_length (rows); i++) {
        g_autoptr (JsonObject) row =
            describe_job (journal, json_array_get_object_element (rows, i), &failure);
        if (row != NULL && (job != NULL || is_unsettled (row)))
            json_array_add_object_element (jobs, g_steal_pointer (&row));
    }
    if (failure != NULL) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return NULL;
    }
    return pair_of ("reports", none, "jobs", jobs);
}

/* --- one job -------------------------------------------------------------------------------------------- */

/* What is known of a job that left no report here: it was the other host's, or nobody ended it. */
static JsonObject *
tell_without_report (GwJournal *journal, const char *job, GError **error)
{
    g_autoptr (JsonArray) rows = gw_journal_find_job (journal, job, error);
    gboolean is_known = rows != NULL && json_array_get_length (rows) > 0;
    JsonObject *row = is_known ? json_array_get_object_element (rows, 0) : NULL;
    if (rows != NULL && row == NULL)
        gw_fail (error, GW_CAUSE_HOST_IO, "there is no report of a job '%s' on this host", job);
    g_autoptr (JsonObject) told = row != NULL ? describe_job (journal, row, error) : NULL;
    if (told == NULL)
        return NULL;
    GwSide side = gw_side_from_name (gw_json_peek_string (row, "side", ""));
    JsonArray *steps = gw_journal_list_steps (journal, job, side, error);
    JsonArray *records = steps != NULL ? gw_journal_list_records (journal, job, side, error) : NULL;
    if (steps != NULL)
        json_object_set_array_member (told, "steps", steps);
    if (records == NULL)
        return NULL;
    json_object_set_array_member (told, "records", records);
    return g_steal_pointer (&told);
}

JsonObject *
gw_report_load (const GwHostConfig *config, const char *job, GError **error)
{
    g_autoptr (GError) failure = NULL;
    g_autoptr (GwJournal) journal = open_existing (config, &failure);
    if (journal == NULL && failure == NULL)
        gw_fail (&failure, GW_CAUSE_HOST_IO, "there is no report of a job '%s' on this host", job);
    JsonObject *report = journal != NULL ? gw_journal_get_report (journal, job, &failure) : NULL;
    if (report != NULL)
        return report;
    if (journal != NULL && gw_error_get_cause (failure) == GW_CAUSE_HOST_IO)
        return tell_without_report (journal, job, error);
    g_propagate_error (error, g_steal_pointer (&failure));
    return NULL;
}

/* --- VMs --------------------------------------------------------------------------------------------------- */

static gboolean
has_uuid (JsonArray *list, const char *uuid)
{
    for (guint i = 0; i < json_array_get_length (list); i++)
        if (strcmp (gw_json_peek_string (json_array_get_object_element (list, i), "uuid", ""), uuid) == 0)
            return TRUE;
    return FALSE;
}

/* A VM that runs here belongs here once its record says so. */
static gboolean
add_owner (GwJournal *journal, JsonObject *vm, GError **error)
{
    g_auto (GStrv) records = gw_journal_get_records (journal, gw_json_peek_string (vm, "job", ""),
                                                     GW_SIDE_DESTINATION, error);
    if (records == NULL)
        return FALSE;
    guint n = g_strv_length (records);
    gboolean is_ours = n > 0 && strcmp (records[n - 1], "started") == 0;
    json_object_set_string_member (vm, "owner", is_ours ? "here" : "arriving");
    return TRUE;
}

static gboolean
add_vms (GwJournal *journal, JsonArray *live, JsonArray *known, GError **error)
{
    g_autoptr (JsonArray) rows = gw_journal_list_vms (journal, error);
    for (guint i = 0; rows != NULL && i < json_array_get_length (rows); i++) {
        JsonObject *row = json_array_get_object_element (rows, i);
        if (!has_uuid (live, gw_json_peek_string (row, "uuid", "")))
            json_array_add_object_element (known, json_object_ref (row));
    }
    for (guint i = 0; rows != NULL && i < json_array_get_length (live); i++)
        if (!add_owner (journal, json_array_get_object_element (live, i), error))
            return FALSE;
    return rows != NULL;
}

JsonObject *
gw_history_list_vms (const GwHostConfig *config, GError **error)
{
    g_autoptr (GError) failure = NULL;
    g_autoptr (JsonArray) live = gw_host_list_vms (config);
    g_autoptr (JsonArray) known = json_array_new ();
    g_autoptr (GwJournal) journal = open_existing (config, &failure);
    if ((journal != NULL && !add_vms (journal, live, known, &failure)) || failure != NULL) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return NULL;
    }
    return pair_of ("vms", live, "known", known);
}
