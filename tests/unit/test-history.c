/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the journal tells about jobs and VMs, for list, history and explain. */
#include "test-host-dir.h"

#include "flow.h"

#define UUID "2f5cd3f5-6f4b-4f3c-8a3e-0123456789ab"

static void
add_job (const Dir *dir, const char *id, GwSide side, gint64 pid, const char *result)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, &error);
    g_autoptr (JsonObject) report = gw_json_new (
        "job:s", id, "result:s", result, "cause:o", gw_json_new ("code:s", "link-lost", NULL), NULL);
    GwJournalJob job = { .job = id, .side = side, .vm = "web1", .uuid = UUID, .epoch = 3,
                         .peer = side == GW_SIDE_SOURCE ? "unix:/b" : "" };
    g_assert_no_error (error);
    gw_host_sign_job (&job);
    job.pid = pid != 0 ? pid : job.pid;
    gw_journal_begin_job (journal, &job, gw_host_process_is_alive, &error);
    g_assert_no_error (error);
    if (side == GW_SIDE_SOURCE)
        gw_journal_name_job (journal, &job, gw_host_process_is_alive, &error);
    gw_journal_enter_step (journal, id, side, "precopy", &error);
    if (result != NULL)
        gw_journal_end_job (journal, id, side, result, side == GW_SIDE_SOURCE ? report : NULL, &error);
    g_assert_no_error (error);
}

static JsonObject *
history (const Dir *dir, const char *vm)
{
    g_autoptr (GError) error = NULL;
    JsonObject *answer = gw_history_list (dir->config, vm, 10, &error);
    g_assert_no_error (error);
    return answer;
}

static void
assert_job (JsonObject *answer, guint index, const char *member, const char *value)
{
    JsonObject *job = json_array_get_object_element (gw_json_peek_array (answer, "jobs"), index);
    g_assert_cmpstr (gw_json_peek_string (job, member, NULL), ==, value);
}

static void
test_nothing (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonObject) answer = history (dir, NULL);
    g_assert_cmpuint (json_array_get_length (gw_json_peek_array (answer, "jobs")), ==, 0);
    g_autoptr (JsonObject) vms = gw_history_list_vms (dir->config, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (json_array_get_length (gw_json_peek_array (vms, "known")), ==, 0);
    g_assert_null (gw_report_load (dir->config, "gw-1", &error));
    assert_error (&error, GW_CAUSE_HOST_IO, "gw-1");
    g_assert_false (gw_journal_exists (dir->path)); /* to ask makes none */
}

static void
test_states (void)
{
    static const struct {
        gint64 pid;
        const char *result, *state;
    } rows[] = { { 0, NULL, "running" }, { 1, NULL, "interrupted" }, { 0, "stayed", "ended" } };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (Dir) dir = dir_new ();
        add_job (dir, "gw-1", GW_SIDE_SOURCE, rows[i].pid, rows[i].result);
        g_autoptr (JsonObject) answer = history (dir, NULL);
        gboolean is_ended = rows[i].result != NULL;
        assert_job (answer, 0, "state", rows[i].state);
        assert_job (answer, 0, "step", is_ended ? NULL : "precopy");
        assert_job (answer, 0, "cause", is_ended ? "link-lost" : NULL);
        g_assert_cmpuint (json_array_get_length (gw_json_peek_array (answer, "reports")), ==, is_ended);
    }
}

static void
test_filter (void)
{
    g_autoptr (Dir) dir = dir_new ();
    add_job (dir, "gw-1", GW_SIDE_SOURCE, 0, "moved");
    g_autoptr (JsonObject) same = history (dir, UUID);
    g_autoptr (JsonObject) other = history (dir, "web2");
    assert_job (same, 0, "job", "gw-1");
    g_assert_cmpuint (json_array_get_length (gw_json_peek_array (other, "jobs")), ==, 0);
}

/* However many have come and gone since. */
static void
test_unsettled (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    add_job (dir, "gw-old", GW_SIDE_SOURCE, 1, "undecided");
    add_job (dir, "gw-dead", GW_SIDE_DESTINATION, 1, NULL);
    for (guint i = 0; i <= GW_HISTORY_MAX; i++) {
        g_autofree char *id = g_strdup_printf ("gw-%u", i);
        add_job (dir, id, GW_SIDE_DESTINATION, 1, "refused");
    }
    g_autoptr (JsonObject) answer = gw_history_find (dir->config, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (json_array_get_length (gw_json_peek_array (answer, "jobs")), ==, 2);
    assert_job (answer, 0, "job", "gw-old");
    assert_job (answer, 1, "state", "interrupted");
    g_autoptr (JsonObject) one = gw_history_find (dir->config, "gw-old", &error);
    g_assert_no_error (error);
    assert_job (one, 0, "result", "undecided");
}

/* Who asks about a job gets its report, or else what there is. */
static void
test_explain (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    add_job (dir, "gw-1", GW_SIDE_SOURCE, 0, "moved");
    add_job (dir, "gw-2", GW_SIDE_DESTINATION, 1, NULL);
    g_autoptr (JsonObject) report = gw_report_load (dir->config, "gw-1", &error);
    g_assert_no_error (error);
    g_assert_false (json_object_has_member (report, "steps"));
    g_autoptr (JsonObject) row = gw_report_load (dir->config, "gw-2", &error);
    g_assert_no_error (error);
    g_assert_cmpstr (gw_json_peek_string (row, "state", NULL), ==, "interrupted");
    g_assert_cmpuint (json_array_get_length (gw_json_peek_array (row, "steps")), ==, 1);
    g_assert_null (gw_report_load (dir->config, "gw-3", &error));
    assert_error (&error, GW_CAUSE_HOST_IO, "gw-3");
}

static void
test_vms (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    add_job (dir, "gw-1", GW_SIDE_SOURCE, 0, "moved");
    g_autoptr (JsonObject) answer = gw_history_list_vms (dir->config, &error);
    g_assert_no_error (error);
    JsonObject *vm = json_array_get_object_element (gw_json_peek_array (answer, "known"), 0);
    g_assert_cmpstr (gw_json_peek_string (vm, "name", NULL), ==, "web1");
    g_assert_cmpstr (gw_json_peek_string (vm, "owner", NULL), ==, "there");
    g_assert_cmpstr (gw_json_peek_string (vm, "peer", NULL), ==, "unix:/b");
    g_assert_cmpint (gw_json_peek_int (vm, "epoch", 0), ==, 3);
}

/* A journal that cannot be believed is an error, and not an empty list. */
static void
test_damaged (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    dir_write (dir, "journal.db", "this is no database, whatever its name says", -1);
    g_assert_null (gw_history_list (dir->config, NULL, 10, &error));
    assert_error (&error, GW_CAUSE_JOURNAL_DAMAGED, "journal.db");
    g_assert_null (gw_history_list_vms (dir->config, &error));
    assert_error (&error, GW_CAUSE_JOURNAL_DAMAGED, "journal.db");
    g_assert_null (gw_report_load (dir->config, "gw-1", &error));
    assert_error (&error, GW_CAUSE_JOURNAL_DAMAGED, "journal.db");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/history/nothing", test_nothing);
    g_test_add_func ("/history/states", test_states);
    g_test_add_func ("/history/filter", test_filter);
    g_test_add_func ("/history/unsettled", test_unsettled);
    g_test_add_func ("/history/explain", test_explain);
    g_test_add_func ("/history/vms", test_vms);
    g_test_add_func ("/history/damaged", test_damaged);
    return g_test_run ();
}
