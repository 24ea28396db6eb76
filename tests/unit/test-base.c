/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The base folder: catalogue rows, state kit, timeline order and bounds, waiting, text. */
#include "base.h"

#include <string.h>

static void
test_causes (void)
{
    for (int i = GW_CAUSE_NONE + 1; i < GW_N_CAUSES; i++) {
        const GwCauseInfo *info = gw_cause_get_info ((GwCause) i);
        g_assert_cmpint (gw_cause_from_code (info->code), ==, i);
        g_assert_true (strlen (info->title) > 0 && strlen (info->meaning) > 0);
        g_assert_true (strlen (info->remedy) > 0);
        g_assert_cmpint (info->exit_status, >=, 1);
        g_assert_cmpint (info->exit_status, <=, 8);
        g_assert_cmpint (info->exit_status, !=, 4);
    }
    g_assert_cmpint (gw_cause_from_code ("no-such-cause"), ==, GW_CAUSE_NONE);
    g_assert_cmpint (gw_cause_from_code (NULL), ==, GW_CAUSE_NONE);
    g_assert_cmpstr (gw_cause_get_info ((GwCause) 9999)->code, ==, "internal");
}

static void
test_errors (void)
{
    g_autoptr (GError) error = NULL;
    g_assert_false (gw_fail (&error, GW_CAUSE_LINK_LOST, "path %d", 7));
    g_assert_cmpstr (error->message, ==, "path 7");
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_LINK_LOST);
    g_assert_false (gw_error_adopt (&error, GW_CAUSE_INTERNAL));
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_LINK_LOST);

    g_autoptr (GError) foreign = g_error_new (G_IO_ERROR, G_IO_ERROR_FAILED, "disk");
    g_assert_cmpint (gw_error_get_cause (foreign), ==, GW_CAUSE_INTERNAL);
    gw_error_adopt (&foreign, GW_CAUSE_HOST_IO);
    g_assert_cmpint (gw_error_get_cause (foreign), ==, GW_CAUSE_HOST_IO);
    g_assert_cmpstr (foreign->message, ==, "disk");
}

enum { ST_A, ST_B, ST_C };
static const GwState states[] = {
    [ST_A] = { "a", 1u << ST_B, GW_STATE_INITIAL },
    [ST_B] = { "b", 1u << ST_A | 1u << ST_C, 0 },
    [ST_C] = { "c", 0, GW_STATE_FINAL },
};
static const GwMachineTable table = { "test", states, G_N_ELEMENTS (states) };

static void
count_move (const char *machine, const char *from, const char *to, gpointer user_data)
{
    (*(int *) user_data)++;
}

static void
test_states (void)
{
    GwMachine m;
    int moves = 0;
    gw_machine_init (&m, &table, count_move, &moves);
    g_assert_false (gw_machine_can (&m, ST_C));
    g_assert_false (gw_machine_can (&m, 99));
    gw_machine_move (&m, ST_B);
    gw_machine_move (&m, ST_C);
    g_assert_cmpint (moves, ==, 2);
    g_assert_true (gw_machine_is_final (&m));
    g_assert_cmpstr (gw_machine_state_name (&m), ==, "c");
}

static void
test_illegal_move (void)
{
    if (g_test_subprocess ()) {
        GwMachine m;
        gw_machine_init (&m, &table, NULL, NULL);
        gw_machine_move (&m, ST_C);
        return;
    }
    g_test_trap_subprocess (NULL, 0, 0);
    g_test_trap_assert_failed ();
    g_test_trap_assert_stderr ("*test: move from 'a' to state 2 is not allowed*");
}

static void
test_timeline (void)
{
    g_autoptr (GwTimeline) t = gw_timeline_new ();
    gw_timeline_add (t, 20, GW_SIDE_SOURCE, "later", "x\001y");
    gw_timeline_add (t, 10, GW_SIDE_DESTINATION, "earlier", NULL);
    g_assert_cmpstr (gw_timeline_get (t, 0)->event, ==, "earlier");
    g_assert_cmpstr (gw_timeline_get (t, 1)->detail, ==, "x\\x01y");
    for (int i = 0; i < GW_TIMELINE_MAX + 5; i++)
        gw_timeline_add (t, 30, GW_SIDE_LINK, "flood", "");
    g_assert_cmpuint (gw_timeline_get_length (t), ==, GW_TIMELINE_MAX);
    g_assert_cmpuint (gw_timeline_get_dropped (t), ==, 7);
}

static gboolean
is_set (gpointer user_data)
{
    return *(gboolean *) user_data;
}

static gboolean
set (gpointer user_data)
{
    *(gboolean *) user_data = TRUE;
    return G_SOURCE_REMOVE;
}

static void
test_wait (void)
{
    g_autoptr (GMainContext) context = g_main_context_new ();
    g_autoptr (GError) error = NULL;
    gboolean flag = FALSE;

    g_assert_false (gw_wait_until (context, is_set, &flag, gw_deadline_ms (20), NULL, &error));
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_TIMED_OUT);
    g_clear_error (&error);

    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_cancellable_cancel (cancellable);
    g_assert_false (
        gw_wait_until (context, is_set, &flag, gw_deadline_ms (5000), cancellable, &error));
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_ABORTED);
    g_clear_error (&error);

    g_autoptr (GSource) source = g_idle_source_new ();
    g_source_set_callback (source, set, &flag, NULL);
    g_source_attach (source, context);
    g_assert_true (gw_wait_until (context, is_set, &flag, gw_deadline_ms (5000), NULL, &error));
    g_assert_no_error (error);
}

static void
test_text (void)
{
    g_autofree char *a = gw_text_clean ("gr\xc3\xbc\xc3\x9f\xff", -1, 100);
    g_assert_cmpstr (a, ==, "gr\xc3\xbc\xc3\x9f\\xff");
    g_autofree char *b = gw_text_clean ("0123456789", -1, 4);
    g_assert_cmpstr (b, ==, "0123...");
    g_autofree char *c = gw_text_clean ("a\0b", 3, 10);
    g_assert_cmpstr (c, ==, "a\\x00b");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/base/causes", test_causes);
    g_test_add_func ("/base/errors", test_errors);
    g_test_add_func ("/base/states", test_states);
    g_test_add_func ("/base/illegal-move", test_illegal_move);
    g_test_add_func ("/base/timeline", test_timeline);
    g_test_add_func ("/base/wait", test_wait);
    g_test_add_func ("/base/text", test_text);
    return g_test_run ();
}
