/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test-qmp-client.h"

#include <string.h>

GwQmp *
connect_to (Server *server)
{
    g_autoptr (GError) error = NULL;
    GwQmp *qmp = gw_qmp_connect (server_path (server), NULL, LIMIT_MS, NULL, &error);
    g_assert_no_error (error);
    g_assert_true (gw_qmp_is_open (qmp));
    return qmp;
}

void
assert_error (const GError *error, GwCause cause, const char *part)
{
    g_assert_nonnull (error);
    g_test_message ("%s", error->message);
    g_assert_cmpint (gw_error_get_cause (error), ==, cause);
    if (strstr (error->message, part) == NULL)
        g_error ("'%s' is not in '%s'", part, error->message);
}

void
assert_call_fails (GwQmp *qmp, GwQmpCommand command, guint timeout_ms, GwCause cause,
                   const char *part)
{
    g_autoptr (GError) error = NULL;
    g_assert_null (gw_qmp_call_timeout (qmp, command, NULL, timeout_ms, NULL, &error));
    assert_error (error, cause, part);
}

void
assert_call_works (GwQmp *qmp, GwQmpCommand command)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonNode) reply = gw_qmp_call_timeout (qmp, command, NULL, LIMIT_MS, NULL, &error);
    g_assert_no_error (error);
    g_assert_true (JSON_NODE_HOLDS_OBJECT (reply));
}

void
serve (Server *server, const char *name)
{
    g_auto (Heard) heard = server_hear (server);
    g_assert_cmpstr (heard.name, ==, name);
    server_answer (server, &heard, "{\"return\": {}, \"id\": %d}\r\n");
}

gboolean
cancel_it (gpointer user_data)
{
    g_cancellable_cancel (user_data);
    return G_SOURCE_REMOVE;
}

static void
log_event (const char *event, JsonObject *data, gint64 at_us, gpointer user_data)
{
    Log *log = user_data;
    g_string_append_printf (log->log, "%s(%u) ", event, json_object_get_size (data));
    log->at_us = at_us;
    g_clear_pointer (&log->qmp, gw_qmp_free);
}

void
log_reply (JsonNode *reply, const GError *error, gpointer user_data)
{
    Log *log = user_data;
    g_assert_true ((reply == NULL) == (error != NULL));
    g_autofree char *text = reply != NULL ? json_to_string (reply, FALSE) : NULL;
    const char *code = gw_cause_get_info (gw_error_get_cause (error))->code;
    g_string_append_printf (log->log, "%s ", reply != NULL ? text : code);
    g_clear_pointer (&log->qmp, gw_qmp_free);
}

static void
log_closed (const GError *why, gpointer user_data)
{
    Log *log = user_data;
    g_string_append_printf (log->log, "closed:%s ",
                            gw_cause_get_info (gw_error_get_cause (why))->code);
    g_clear_pointer (&log->qmp, gw_qmp_free);
}

static gboolean
log_has (gpointer user_data)
{
    const gpointer *pair = user_data;
    return strstr (((Log *) pair[0])->log->str, pair[1]) != NULL;
}

void
wait_for_log (Log *log, const char *part)
{
    g_autoptr (GError) error = NULL;
    gpointer pair[] = { log, (gpointer) part };
    if (!gw_wait_until (NULL, log_has, pair, gw_deadline_ms (LIMIT_MS), NULL, &error))
        g_error ("'%s' did not come: '%s'", part, log->log->str);
}

void
log_init (Log *log, GwQmp *qmp)
{
    *log = (Log) { .log = g_string_new (NULL) };
    gw_qmp_set_event_fn (qmp, log_event, log);
    gw_qmp_set_closed_fn (qmp, log_closed, log);
}

void
log_clear (Log *log)
{
    g_string_free (log->log, TRUE);
}
