/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is written into the journal, and what it tells afterwards. */
#include "test-journal-dir.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOB "gw-0001"
#define UUID "2f5cd3f5-6f4b-4f3c-8a3e-0123456789ab"
#define NO_UUID "00000000-0000-0000-0000-000000000000"

static GwJournalJob
make_job (const char *job, GwSide side, const char *uuid)
{
    return (GwJournalJob) { .job = job, .side = side, .vm = "web1", .uuid = uuid, .epoch = 3,
                            .peer = "unix:/b", .pid = 7, .start_time = 70, .boot = "boot" };
}

static void
begin (GwJournal *journal, const char *job, GwSide side)
{
    g_autoptr (GError) error = NULL;
    const GwJournalJob row = make_job (job, side, UUID);
    gw_journal_begin_job (journal, &row, nobody_is_alive, &error);
    g_assert_no_error (error);
    gw_journal_name_job (journal, &row, nobody_is_alive, &error);
    g_assert_no_error (error);
}

static void
end (GwJournal *journal, const char *job, const char *result)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonObject) report = gw_json_new ("job:s", job, "result:s", result, NULL);
    json_object_set_array_member (report, "timeline", json_array_new ());
    gw_journal_end_job (journal, job, GW_SIDE_SOURCE, result, report, &error);
    g_assert_no_error (error);
}

static void
put (GwJournal *journal, GwSide side, const char *record, gint64 epoch)
{
    g_autoptr (GError) error = NULL;
    gw_journal_put_record (journal, JOB, side, record, epoch, UUID, &error);
    g_assert_no_error (error);
}

static JsonObject *
peek (JsonArray *list, guint index)
{
    g_assert_nonnull (list);
    g_assert_cmpuint (index, <, json_array_get_length (list));
    return json_array_get_object_element (list, index);
}

/* --- jobs -------------------------------------------------------------------------------------------- */

/* What an open job has seen so far is for who takes it up, and no report. */
static void
test_draft (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonObject) draft = gw_json_new ("stop_us:i", G_GINT64_CONSTANT (7), NULL);
    begin (journal, JOB, GW_SIDE_SOURCE);
    g_assert_true (gw_journal_put_draft (journal, JOB, draft, &error));
    g_assert_null (gw_journal_get_report (journal, JOB, NULL));
    g_autoptr (JsonArray) rows = gw_journal_list_jobs (journal, NULL, 10, NULL);
    g_assert_null (gw_json_peek_object (peek (rows, 0), "report"));
    g_autoptr (JsonObject) kept = gw_journal_get_kept (journal, JOB, &error);
    g_assert_no_error (error);
    g_assert_cmpint (gw_json_peek_int (gw_json_peek_object (kept, "draft"), "stop_us", 0), ==, 7);

    end (journal, JOB, "moved");
    g_assert_true (gw_journal_put_draft (journal, JOB, draft, NULL)); /* too late: nothing is changed */
    g_autoptr (JsonObject) report = gw_journal_get_report (journal, JOB, NULL);
    g_assert_cmpstr (gw_json_peek_string (report, "result", ""), ==, "moved");
    g_autoptr (JsonObject) over = gw_journal_get_kept (journal, JOB, NULL);
    g_assert_null (gw_json_peek_object (over, "draft"));
}

static void
test_job (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    begin (journal, JOB, GW_SIDE_SOURCE);
    g_autoptr (JsonArray) open = gw_journal_list_jobs (journal, NULL, 10, NULL);
    g_assert_cmpstr (gw_json_peek_string (peek (open, 0), "result", NULL), ==, "");
    g_assert_null (gw_json_peek_object (peek (open, 0), "report"));
    g_assert_null (gw_journal_get_report (journal, JOB, NULL));
    end (journal, JOB, "moved");

    g_autoptr (GwJournal) again = dir_open (dir);
    g_autoptr (JsonArray) list = gw_journal_list_jobs (again, NULL, 10, NULL);
    JsonObject *job = peek (list, 0);
    g_assert_cmpuint (json_array_get_length (list), ==, 1);
    g_assert_cmpstr (gw_json_peek_string (job, "job", NULL), ==, JOB);
    g_assert_cmpstr (gw_json_peek_string (job, "side", NULL), ==, "source");
    g_assert_cmpstr (gw_json_peek_string (job, "vm", NULL), ==, "web1");
    g_assert_cmpstr (gw_json_peek_string (job, "peer", NULL), ==, "unix:/b");
    g_assert_cmpstr (gw_json_peek_string (job, "result", NULL), ==, "moved");
    g_assert_cmpint (gw_json_peek_int (job, "epoch", 0), ==, 3);
    g_assert_cmpint (gw_json_peek_int (job, "ended_us", 0), >=, gw_json_peek_int (job, "began_us", 0));
    g_assert_false (json_object_has_member (gw_json_peek_object (job, "report"), "timeline"));
    g_autoptr (JsonObject) report = gw_journal_get_report (again, JOB, NULL);
    g_assert_true (json_object_has_member (report, "timeline"));
}

static void
test_filter (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    begin (journal, JOB, GW_SIDE_SOURCE);
    static const struct {
        const char *vm;
        guint n;
    } filters[] = { { NULL, 1 }, { "web1", 1 }, { UUID, 1 }, { "web", 0 }, { "' OR 1 = 1 --", 0 } };
    for (guint i = 0; i < G_N_ELEMENTS (filters); i++) {
        g_autoptr (JsonArray) list = gw_journal_list_jobs (journal, filters[i].vm, 10, NULL);
        g_assert_cmpuint (json_array_get_length (list), ==, filters[i].n);
    }
}

/* A job that was here before, whatever a repeated message says. */
static void
test_twice (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    g_autoptr (GError) error = NULL;
    const GwJournalJob row = make_job (JOB, GW_SIDE_DESTINATION, UUID);
    begin (journal, JOB, GW_SIDE_DESTINATION);
    begin (journal, JOB, GW_SIDE_SOURCE); /* its other side */
    g_assert_false (gw_journal_begin_job (journal, &row, nobody_is_alive, &error));
    assert_error (&error, GW_CAUSE_RPC_INVALID, JOB);
}

/* Another process goes on with a job: the one that knows its token, once, and only in the place of the one it saw. */
static void
test_take_over (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    GwJournalJob us = make_job (JOB, GW_SIDE_DESTINATION, UUID);
    begin (journal, JOB, GW_SIDE_DESTINATION);
    g_autoptr (JsonArray) before = gw_journal_find_job (journal, JOB, NULL);
    us.pid = 4711;
    g_autoptr (GError) error = NULL;
    g_assert_false (gw_journal_take_job (journal, &us, peek (before, 0), "", &error));
    assert_error (&error, GW_CAUSE_NOT_ALLOWED, JOB); /* it was never kept */
    g_assert_true (gw_journal_keep_job (journal, JOB, GW_SIDE_DESTINATION, "secret", 60, NULL));
    g_autofree char *known = dir_ask (dir, "SELECT count (*) FROM jobs WHERE token = 'secret'");
    g_assert_cmpstr (known, ==, "0");
    g_assert_false (gw_journal_take_job (journal, &us, peek (before, 0), "another", &error));
    assert_error (&error, GW_CAUSE_NOT_ALLOWED, JOB);
    g_assert_true (gw_journal_leave_job (journal, JOB, GW_SIDE_DESTINATION, 4712, NULL)); /* not the one of the row */
    g_assert_true (gw_journal_take_job (journal, &us, peek (before, 0), "secret", NULL));
    us.pid = 4712;
    g_assert_false (gw_journal_take_job (journal, &us, peek (before, 0), "secret", &error));
    assert_error (&error, GW_CAUSE_VM_BUSY, JOB);
    g_assert_true (gw_journal_leave_job (journal, JOB, GW_SIDE_DESTINATION, 4711, NULL));
    g_autoptr (JsonArray) left = gw_journal_find_job (journal, JOB, NULL);
    g_assert_cmpint (gw_json_peek_int (peek (left, 0), "pid", -1), ==, 0);
    g_assert_cmpint (gw_json_peek_int (peek (left, 0), "grace_s", -1), ==, 60);
    g_assert_cmpint (gw_json_peek_int (peek (left, 0), "away_us", 0), >, 0);
    g_assert_true (gw_journal_take_job (journal, &us, peek (left, 0), "secret", NULL));
    g_autoptr (JsonArray) taken = gw_journal_find_job (journal, JOB, NULL);
    g_assert_cmpint (gw_json_peek_int (peek (taken, 0), "pid", -1), ==, 4712);
    g_assert_cmpint (gw_json_peek_int (peek (taken, 0), "away_us", -1), ==, 0);
}

/* One VM on one side is in one job, as long as that one's process lives. */
static void
test_claim (void)
{
    static const struct {
        const char *uuid, *boot;
        GwSide side;
        GwJournalAliveFn is_alive;
        gboolean is_ended, is_refused;
    } rows[] = {
        { UUID, "boot", GW_SIDE_SOURCE, all_are_alive, FALSE, TRUE },
        { UUID, "boot", GW_SIDE_SOURCE, nobody_is_alive, FALSE, FALSE },
        { UUID, "later", GW_SIDE_SOURCE, all_are_alive, FALSE, FALSE },
        { UUID, "boot", GW_SIDE_DESTINATION, all_are_alive, FALSE, FALSE },
        { UUID, "boot", GW_SIDE_SOURCE, all_are_alive, TRUE, FALSE },
        { "another", "boot", GW_SIDE_SOURCE, all_are_alive, FALSE, FALSE },
        { NO_UUID, "boot", GW_SIDE_SOURCE, all_are_alive, FALSE, FALSE },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (Dir) dir = dir_new ();
        g_autoptr (GwJournal) journal = dir_open (dir);
        g_autoptr (GError) error = NULL;
        begin (journal, JOB, GW_SIDE_SOURCE);
        if (rows[i].is_ended)
            end (journal, JOB, "stayed");
        GwJournalJob row = make_job ("gw-0002", rows[i].side, rows[i].uuid);
        row.boot = rows[i].boot;
        g_assert_true (gw_journal_begin_job (journal, &row, rows[i].is_alive, &error) !=
                       rows[i].is_refused);
        if (rows[i].is_refused)
            assert_error (&error, GW_CAUSE_VM_BUSY, JOB);
    }
}

static void
test_forget (void)
{
    g_autoptr (Dir) dir = dir_new ();
    dir_fill (dir);
    g_autoptr (GwJournal) journal = dir_open (dir);
    g_assert_true (gw_journal_forget_job (journal, "gw-1", GW_SIDE_DESTINATION, NULL));
    static const char *const tables[] = { "jobs", "steps", "objects" };
    for (guint i = 0; i < G_N_ELEMENTS (tables); i++) {
        g_autofree char *sql = g_strdup_printf ("SELECT group_concat (side) FROM %s", tables[i]);
        g_autofree char *left = dir_ask (dir, sql);
        g_assert_cmpstr (left, ==, "source");
    }
    g_autofree char *records = dir_ask (dir, "SELECT count (*) FROM records");
    g_assert_cmpstr (records, ==, "2");
}

/* --- steps ----------------------------------------------------------------------------------------------- */

static void
test_steps (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    static const char *const steps[] = { "connect", "adopt", "undo adopt" };
    begin (journal, JOB, GW_SIDE_SOURCE);
    for (guint i = 0; i < G_N_ELEMENTS (steps); i++)
        g_assert_true (gw_journal_enter_step (journal, JOB, GW_SIDE_SOURCE, steps[i], NULL));
    g_autoptr (JsonArray) list = gw_journal_list_steps (journal, JOB, GW_SIDE_SOURCE, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (steps); i++) {
        g_assert_cmpstr (gw_json_peek_string (peek (list, i), "step", NULL), ==, steps[i]);
        g_assert_cmpint (gw_json_peek_int (peek (list, i), "left_us", -1) > 0, ==, i < 2);
    }
    end (journal, JOB, "stayed");
    g_autoptr (JsonArray) over = gw_journal_list_steps (journal, JOB, GW_SIDE_SOURCE, NULL);
    g_assert_cmpint (gw_json_peek_int (peek (over, 2), "left_us", 0), >, 0);
}

/* A mark is not waited for, what follows is: 2 is FULL. */
static void
test_sync (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    begin (journal, JOB, GW_SIDE_SOURCE);
    g_assert_true (gw_journal_enter_step (journal, JOB, GW_SIDE_SOURCE, "connect", NULL));
    static const GwColumn columns[] = { { "mode", GW_COLUMN_INT, 0, 3 } };
    g_autoptr (JsonArray) rows = gw_journal_collect (
        journal, gw_journal_query (journal, NULL, "PRAGMA synchronous", ""), columns, NULL);
    g_assert_cmpint (gw_json_peek_int (peek (rows, 0), "mode", 0), ==, 2);
}

/* A step that was entered is known when the process is killed in it. */
static void
test_killed_in_step (void)
{
    g_autoptr (Dir) dir = dir_new ();
    pid_t child = fork ();
    g_assert_cmpint (child, >=, 0);
    if (child == 0) {
        GwJournal *journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, NULL);
        begin (journal, JOB, GW_SIDE_SOURCE);
        if (gw_journal_enter_step (journal, JOB, GW_SIDE_SOURCE, "precopy", NULL))
            (void) kill (getpid (), SIGKILL);
        _exit (1);
    }
    int status = 0;
    g_assert_cmpint (waitpid (child, &status, 0), ==, child);
    g_assert_true (WIFSIGNALED (status));
    g_autoptr (GwJournal) journal = dir_open (dir);
    g_autoptr (JsonArray) list = gw_journal_list_steps (journal, JOB, GW_SIDE_SOURCE, NULL);
    g_assert_cmpstr (gw_json_peek_string (peek (list, 0), "step", NULL), ==, "precopy");
}

/* --- who owns the VM ----------------------------------------------------------------------------------------- */

static void
assert_vm (GwJournal *journal, const char *owner, gint64 epoch)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonArray) vms = gw_journal_list_vms (journal, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (gw_json_peek_string (peek (vms, 0), "owner", NULL), ==, owner);
    g_assert_cmpint (gw_json_peek_int (peek (vms, 0), "epoch", -1), ==, epoch);
}

static void
test_owner_at_source (void)
{
    static const struct {
        const char *result, *owner;
        gint64 epoch;
    } rows[] = { { "moved", "there", 3 }, { "stayed", "here", 2 }, { "undecided", "undecided", 3 },
                 { "lost", "nobody", 3 } };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (Dir) dir = dir_new ();
        g_autoptr (GwJournal) journal = dir_open (dir);
        begin (journal, JOB, GW_SIDE_SOURCE);
        assert_vm (journal, "here", 2);
        put (journal, GW_SIDE_SOURCE, "released", 3);
        assert_vm (journal, "released", 3);
        end (journal, JOB, rows[i].result);
        assert_vm (journal, rows[i].owner, rows[i].epoch);
    }
}

static void
test_owner_at_destination (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    begin (journal, JOB, GW_SIDE_DESTINATION);
    g_autoptr (JsonArray) none = gw_journal_list_vms (journal, NULL);
    g_assert_cmpuint (json_array_get_length (none), ==, 0);
    put (journal, GW_SIDE_DESTINATION, "started", 3);
    assert_vm (journal, "here", 3);
    put (journal, GW_SIDE_DESTINATION, "refused", 3);
    assert_vm (journal, "there", 2);
    g_auto (GStrv) records = gw_journal_get_records (journal, JOB, GW_SIDE_DESTINATION, NULL);
    g_autofree char *text = g_strjoinv (" ", records);
    g_assert_cmpstr (text, ==, "started refused");
}

/* An epoch is used up by one job, whoever comes with it later: an old message, or a second host. */
static void
test_epochs (void)
{
    static const struct {
        gint64 epoch;
        gboolean is_over;
    } rows[] = { { 2, TRUE }, { 3, TRUE }, { 4, FALSE } };
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    gint64 seen = -1;
    g_assert_true (gw_journal_get_epoch (journal, UUID, &seen, NULL));
    g_assert_cmpint (seen, ==, 0);
    begin (journal, JOB, GW_SIDE_DESTINATION);
    put (journal, GW_SIDE_DESTINATION, "started", 3);
    put (journal, GW_SIDE_DESTINATION, "refused", 3); /* what the job itself says of its epoch */
    g_assert_true (gw_journal_get_epoch (journal, UUID, &seen, NULL));
    g_assert_cmpint (seen, ==, 3);
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GError) error = NULL;
        g_autofree char *id = g_strdup_printf ("gw-%u", i);
        GwJournalJob row = make_job (id, GW_SIDE_DESTINATION, UUID);
        row.epoch = rows[i].epoch;
        g_assert_true (gw_journal_begin_job (journal, &row, nobody_is_alive, &error) != rows[i].is_over);
        if (rows[i].is_over)
            assert_error (&error, GW_CAUSE_EPOCH_STALE, "is over");
        /* and the same for who gets as far as the record */
        g_assert_true (gw_journal_put_record (journal, id, GW_SIDE_DESTINATION, "started", row.epoch, UUID,
                                              &error) != rows[i].is_over);
        if (rows[i].is_over)
            assert_error (&error, GW_CAUSE_EPOCH_STALE, "is over");
    }
    assert_vm (journal, "here", 4);
}

/* Two jobs with one epoch: the first that gives the right away is the only one. */
static void
test_released_twice (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    g_autoptr (GError) error = NULL;
    put (journal, GW_SIDE_SOURCE, "released", 3);
    g_assert_false (gw_journal_put_record (journal, "gw-0002", GW_SIDE_SOURCE, "released", 3, UUID, &error));
    assert_error (&error, GW_CAUSE_EPOCH_STALE, JOB);
    /* its other side, on the same host */
    put (journal, GW_SIDE_DESTINATION, "started", 3);
}

/* The row of a job is forgotten some day, its record is not. */
static void
test_repeated_after_long (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    g_autoptr (GError) error = NULL;
    begin (journal, JOB, GW_SIDE_DESTINATION);
    gw_journal_put_record (journal, JOB, GW_SIDE_DESTINATION, "refused", 3, "", &error);
    g_assert_no_error (error);
    g_assert_true (gw_journal_forget_job (journal, JOB, GW_SIDE_DESTINATION, &error));
    const GwJournalJob row = make_job (JOB, GW_SIDE_DESTINATION, UUID);
    g_assert_false (gw_journal_begin_job (journal, &row, nobody_is_alive, &error));
    assert_error (&error, GW_CAUSE_RPC_INVALID, "decided");
}

/* Source and destination are one host: where the VM is is the destination's to say. */
static void
test_one_host (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    begin (journal, JOB, GW_SIDE_SOURCE);
    put (journal, GW_SIDE_SOURCE, "released", 3);
    put (journal, GW_SIDE_DESTINATION, "started", 3);
    end (journal, JOB, "moved");
    assert_vm (journal, "here", 3);
}

/* A VM without an identity is no VM that one could find again. */
static void
test_no_identity (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    static const char *const uuids[] = { NO_UUID, "" };
    for (guint i = 0; i < G_N_ELEMENTS (uuids); i++) {
        g_autoptr (GError) error = NULL;
        gw_journal_put_record (journal, uuids[i], GW_SIDE_DESTINATION, "started", 1, uuids[i], &error);
        g_assert_no_error (error);
    }
    g_autoptr (JsonArray) vms = gw_journal_list_vms (journal, NULL);
    g_assert_cmpuint (json_array_get_length (vms), ==, 0);
}

/* --- objects --------------------------------------------------------------------------------------------------- */

static void
test_objects (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    GwJournalObject objects[] = { { .kind = "file", .path = "/a" }, { .kind = "file", .path = "/b" } };
    g_assert_true (gw_journal_put_objects (journal, JOB, GW_SIDE_DESTINATION, objects, 2, NULL));
    objects[0].ino = 17;
    g_assert_true (gw_journal_put_objects (journal, JOB, GW_SIDE_DESTINATION, objects, 1, NULL));
    g_autoptr (JsonArray) list = gw_journal_list_objects (journal, JOB, GW_SIDE_DESTINATION, NULL);
    g_assert_cmpuint (json_array_get_length (list), ==, 2);
    g_assert_cmpint (gw_json_peek_int (peek (list, 0), "ino", 0), ==, 17);
    g_assert_cmpint (gw_json_peek_int (peek (list, 1), "ino", 1), ==, 0);
    g_assert_true (gw_journal_drop_objects (journal, JOB, GW_SIDE_DESTINATION, NULL));
    g_autoptr (JsonArray) none = gw_journal_list_objects (journal, JOB, GW_SIDE_DESTINATION, NULL);
    g_assert_cmpuint (json_array_get_length (none), ==, 0);
}

/* --- what is forgotten ------------------------------------------------------------------------------------------- */

static void
test_prune (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    begin (journal, "gw-old", GW_SIDE_SOURCE);
    end (journal, "gw-old", "moved");
    begin (journal, "gw-torn", GW_SIDE_SOURCE); /* never ended */
    begin (journal, "gw-undecided", GW_SIDE_SOURCE);
    end (journal, "gw-undecided", "undecided");
    begin (journal, JOB, GW_SIDE_SOURCE);
    g_assert_true (gw_journal_enter_step (journal, "gw-old", GW_SIDE_SOURCE, "connect", NULL));
    gw_journal_put_record (journal, "gw-old", GW_SIDE_SOURCE, "released", 3, UUID, NULL);
    dir_edit (dir, "UPDATE jobs SET began_us = 1, ended_us = ended_us > 0 WHERE job <> 'gw-0001'");
    end (journal, JOB, "moved");
    g_autofree char *jobs = dir_ask (dir, "SELECT group_concat (job, ' ') FROM (SELECT job FROM jobs ORDER BY job)");
    g_assert_cmpstr (jobs, ==, "gw-0001 gw-torn gw-undecided");
    g_autofree char *steps = dir_ask (dir, "SELECT count (*) FROM steps WHERE job = 'gw-old'");
    g_assert_cmpstr (steps, ==, "0");
    g_autofree char *records = dir_ask (dir, "SELECT count (*) FROM records WHERE job = 'gw-old'");
    g_assert_cmpstr (records, ==, "1"); /* for ever: somebody may still ask */
}

static void
test_prune_many (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    begin (journal, JOB, GW_SIDE_SOURCE);
    dir_edit (dir, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
              "INSERT INTO jobs SELECT 'gw-n' || i, side, vm, uuid, epoch, peer, plan, pid, start_time, boot, "
              "began_us - i, began_us, 'moved', '', '', '', 0, 0 FROM n, jobs WHERE job = 'gw-0001'");
    end (journal, JOB, "moved");
    g_autofree char *count = dir_ask (dir, "SELECT count (*) FROM jobs");
    g_assert_cmpint (atoi (count), ==, GW_JOURNAL_JOBS_KEPT);
    g_autofree char *newest = dir_ask (dir, "SELECT job FROM jobs ORDER BY began_us DESC LIMIT 1");
    g_assert_cmpstr (newest, ==, JOB);
}

/* --- what it costs, with -m perf ------------------------------------------------------------------------------- */

static gint
compare_times (gconstpointer a, gconstpointer b)
{
    return (*(const gint64 *) a > *(const gint64 *) b) - (*(const gint64 *) a < *(const gint64 *) b);
}

/* A line of a file of its own, as records were written before there was a journal. */
static void
append_line (const Dir *dir, guint i)
{
    g_autofree char *name = g_strdup_printf ("records-%u", i);
    g_autofree char *path = dir_path (dir, name);
    g_auto (GwFd) at = open (dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_auto (GwFd) fd = open (path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    g_assert_no_errno (fsync (at));
    g_assert_cmpint (write (fd, "{\"record\":\"started\"}\n", 21), ==, 21);
    g_assert_no_errno (fdatasync (fd));
}

static void
test_cost (void)
{
    enum { TIMES = 200 };
    static const char *const what[] = { "record", "step", "line of a file" };
    if (!g_test_perf ()) {
        g_test_skip ("only with -m perf");
        return;
    }
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GwJournal) journal = dir_open (dir);
    gint64 us[G_N_ELEMENTS (what)][TIMES];
    begin (journal, JOB, GW_SIDE_SOURCE);
    for (guint i = 0; i < TIMES * G_N_ELEMENTS (what); i++) {
        g_autofree char *job = g_strdup_printf ("gw-%u", i);
        gint64 before_us = g_get_monotonic_time ();
        if (i % 3 == 0)
            gw_journal_put_record (journal, job, GW_SIDE_SOURCE, "released", 1, UUID, NULL);
        else if (i % 3 == 1)
            gw_journal_enter_step (journal, JOB, GW_SIDE_SOURCE, "connect", NULL);
        else
            append_line (dir, i);
        us[i % 3][i / 3] = g_get_monotonic_time () - before_us;
    }
    for (guint k = 0; k < G_N_ELEMENTS (what); k++) {
        qsort (us[k], TIMES, sizeof us[k][0], compare_times);
        g_print ("%s: median %" G_GINT64_FORMAT " us, p99 %" G_GINT64_FORMAT " us\n", what[k],
                 us[k][TIMES / 2], us[k][TIMES * 99 / 100]);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/journal/job", test_job);
    g_test_add_func ("/journal/draft", test_draft);
    g_test_add_func ("/journal/filter", test_filter);
    g_test_add_func ("/journal/twice", test_twice);
    g_test_add_func ("/journal/claim", test_claim);
    g_test_add_func ("/journal/take-over", test_take_over);
    g_test_add_func ("/journal/forget", test_forget);
    g_test_add_func ("/journal/steps", test_steps);
    g_test_add_func ("/journal/sync", test_sync);
    g_test_add_func ("/journal/killed-in-step", test_killed_in_step);
    g_test_add_func ("/journal/owner-at-source", test_owner_at_source);
    g_test_add_func ("/journal/owner-at-destination", test_owner_at_destination);
    g_test_add_func ("/journal/epochs", test_epochs);
    g_test_add_func ("/journal/released-twice", test_released_twice);
    g_test_add_func ("/journal/repeated-after-long", test_repeated_after_long);
    g_test_add_func ("/journal/one-host", test_one_host);
    g_test_add_func ("/journal/no-identity", test_no_identity);
    g_test_add_func ("/journal/objects", test_objects);
    g_test_add_func ("/journal/prune", test_prune);
    g_test_add_func ("/journal/prune-many", test_prune_many);
    g_test_add_func ("/journal/cost", test_cost);
    return g_test_run ();
}
