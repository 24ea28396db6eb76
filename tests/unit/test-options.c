/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the words of migrate and check to a plan. */
#include "test-cli-capture.h"

#include <string.h>

/* Parses "migrate" and the words of `line`, separated by blanks; -1 when they are fine. `*ret_said`
 * gets what was printed. */
static int
parse (const char *line, gboolean is_check, GwRunOptions *options, char **ret_said)
{
    g_autofree char *all = g_strconcat (is_check ? "check " : "migrate ", line, NULL);
    g_auto (GStrv) words = g_strsplit (all, " ", -1);
    g_autofree char **argv = g_memdup2 (words, (g_strv_length (words) + 1) * sizeof *words);
    Capture capture = capture_begin ();
    int status = gw_cli_parse_run (is_check ? "check" : "migrate", is_check,
                                   (int) g_strv_length (words), argv, options);
    *ret_said = capture_end (&capture);
    return status;
}

static void
parse_well (const char *line, GwRunOptions *options)
{
    g_autofree char *said = NULL;
    *options = (GwRunOptions){ 0 };
    if (parse (line, FALSE, options, &said) != -1)
        g_error ("'%s': %s", line, said);
    g_assert_cmpstr (said, ==, "");
}

static void
test_defaults (void)
{
    GwRunOptions options;
    const char *const none[] = { NULL };
    g_autoptr (GwPlan) plan = gw_plan_new ();
    plan->vm = g_strdup ("web1");
    plan->destination = g_strdup ("ssh://root@hostb:2222");
    plan->data_addresses = g_strdupv ((char **) none);
    plan->maps = g_strdupv ((char **) none);
    parse_well ("web1 ssh://root@hostb:2222", &options);
    g_autoptr (JsonObject) expected = gw_struct_to_json (&gw_plan_type, plan);
    g_autoptr (JsonObject) json = gw_struct_to_json (&gw_plan_type, options.plan);
    g_autofree char *expected_text = gw_json_to_text (expected, FALSE);
    g_autofree char *text = gw_json_to_text (json, FALSE);
    g_assert_cmpstr (text, ==, expected_text);
    g_assert_true (options.agent == NULL && !options.is_json && !options.is_detached);
    g_assert_cmpint (options.progress, ==, GW_PROGRESS_AUTO);
    gw_run_options_clear (&options);
}

static void
test_all (void)
{
    GwRunOptions options;
    const char *const maps[] = { "/a=/b", "tap0=tap1", NULL };
    const char *const addresses[] = { "10.0.0.1", "::1", NULL };
    parse_well ("--max-downtime 50 qmp:/run/a.qmp --timeout=9 --on-timeout stop --postcopy never "
                "--max-bandwidth 1.5G --paths 8 --link-deadline 60 --data-address 10.0.0.1,::1 "
                "--map /a=/b --map tap0=tap1 --disks shared --codec off --guest-clock off --accept-risk x --no-rehearse "
                "--keep-source --json "
                "--progress json --agent unix:/run/g --detach unix:/d/../sock",
                &options);
    const GwPlan *plan = options.plan;
    g_assert_cmpstr (plan->vm, ==, "qmp:/run/a.qmp");
    g_assert_cmpstr (plan->destination, ==, "unix:/sock");
    g_assert_cmpint (plan->max_downtime_ms, ==, 50);
    g_assert_cmpint (plan->timeout_s, ==, 9);
    g_assert_cmpstr (plan->on_timeout, ==, "stop");
    g_assert_cmpstr (plan->postcopy, ==, "never");
    g_assert_cmpint (plan->max_bandwidth_bps, ==, 1610612736);
    g_assert_cmpint (plan->n_paths, ==, 8);
    g_assert_cmpint (plan->link_deadline_s, ==, 60);
    g_assert_cmpstrv (plan->data_addresses, addresses);
    g_assert_cmpstrv (plan->maps, maps);
    g_assert_cmpstr (plan->accepted_risks[0], ==, "x");
    g_assert_null (plan->accepted_risks[1]);
    g_assert_cmpstr (plan->disks, ==, "shared");
    g_assert_cmpstr (plan->codec, ==, "off");
    g_assert_cmpstr (plan->guest_clock, ==, "off");
    g_assert_true (!plan->is_rehearsed && plan->keeps_source && !plan->is_check_only);
    g_assert_cmpstr (options.agent, ==, "unix:/run/g");
    g_assert_true (options.is_json && options.is_detached);
    g_assert_cmpint (options.progress, ==, GW_PROGRESS_JSON);
    gw_run_options_clear (&options);
}

static void
test_bandwidth (void)
{
    static const struct {
        const char *text;
        gint64 bps;
    } rows[] = {
        { "0", 0 },                { "12500000", 12500000 },       { "100M", 104857600 },
        { "100m/s", 104857600 },   { "1K", 1024 },                 { "0.5k", 512 },
        { "1T", 1099511627776 },   { "7/s", 7 },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        GwRunOptions options;
        g_autofree char *line = g_strdup_printf ("a unix:/s --max-bandwidth %s", rows[i].text);
        parse_well (line, &options);
        g_assert_cmpint (options.plan->max_bandwidth_bps, ==, rows[i].bps);
        gw_run_options_clear (&options);
    }
}

static void
test_check (void)
{
    GwRunOptions options = { 0 };
    g_autofree char *said = NULL;
    g_assert_cmpint (parse ("a unix:/s", TRUE, &options, &said), ==, -1);
    g_assert_true (options.plan->is_check_only);
    gw_run_options_clear (&options);
}

/* A relative path is that of this process, not of the one that will run the job. */
static void
test_relative_paths (void)
{
    GwRunOptions options;
    g_autofree char *cwd = g_get_current_dir ();
    g_autofree char *vm = g_strconcat ("qmp:", cwd, "/vm.qmp", NULL);
    g_autofree char *destination = g_strconcat ("unix:", cwd, "/b.sock", NULL);
    parse_well ("-- qmp:vm.qmp unix:./b.sock", &options);
    g_assert_cmpstr (options.plan->vm, ==, vm);
    g_assert_cmpstr (options.plan->destination, ==, destination);
    gw_run_options_clear (&options);
}

static void
test_agent (void)
{
    GwRunOptions options;
    g_setenv ("GODWIT_AGENT", "unix:/from/environment", TRUE);
    parse_well ("a unix:/s --detach", &options);
    g_assert_cmpstr (options.agent, ==, "unix:/from/environment");
    gw_run_options_clear (&options);
    parse_well ("a unix:/s --agent unix:/given", &options);
    g_assert_cmpstr (options.agent, ==, "unix:/given");
    gw_run_options_clear (&options);
    g_setenv ("GODWIT_AGENT", "", TRUE);
    parse_well ("a unix:/s", &options);
    g_assert_null (options.agent);
    gw_run_options_clear (&options);
    g_unsetenv ("GODWIT_AGENT");
}

static void
test_usage (void)
{
    static const struct {
        const char *line, *part;
    } rows[] = {
        {"a", "an argument is missing"},
        {"a unix:/s c", "too many arguments"},
        {"a unix:/s --nope", "Unknown option --nope"},
        {"a unix:/s --timeout x", "x"},
        {"a nowhere:x", "nowhere:x"},
        {"qmp: unix:/s", "VM 'qmp:' is not qmp:PATH or a name"},
        {"a unix:/s --max-downtime 0", "--max-downtime 0 is not from 1 to 2000000"},
        {"a unix:/s --max-downtime 2000001", "--max-downtime 2000001"},
        {"a unix:/s --timeout -1", "--timeout -1 is not from 0 to 31536000"},
        {"a unix:/s --paths -1", "--paths -1 is not from 1 to 8"},
        {"a unix:/s --paths 9", "--paths 9"},
        {"a unix:/s --on-timeout never",
         "--on-timeout 'never' is not postcopy|throttle|stop|abort"},
        {"a unix:/s --postcopy maybe", "--postcopy 'maybe' is not auto|never|now"},
        {"a unix:/s --disks move", "--disks 'move' is not auto|copy|shared"},
        {"a unix:/s --codec on", "--codec 'on' is not auto|off"},
        {"a unix:/s --progress loud", "--progress 'loud' is not auto|plain|json|none"},
        {"a unix:/s --map /a", "--map '/a' is not SOURCE=DESTINATION"},
        {"a unix:/s --map =/a", "--map '=/a'"},
        {"a unix:/s --map /a=", "--map '/a='"},
        {"a unix:/s --max-bandwidth fast", "--max-bandwidth 'fast' is not a number of bytes"},
        {"a unix:/s --max-bandwidth -5", "'-5'"},
        {"a unix:/s --max-bandwidth nan", "'nan'"},
        {"a unix:/s --max-bandwidth inf", "'inf'"},
        {"a unix:/s --max-bandwidth 1e18k", "'1e18k'"},
        {"a unix:/s --max-bandwidth 100MB", "'100MB'"},
        {"a unix:/s --max-bandwidth M", "'M'"},
        {"a unix:/s --detach", "--detach needs --agent"},
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        GwRunOptions options = { 0 };
        g_autofree char *said = NULL;
        int status = parse (rows[i].line, FALSE, &options, &said);
        gw_run_options_clear (&options);
        if (status != 1)
            g_error ("%s: status %d", rows[i].line, status);
        if (strstr (said, rows[i].part) == NULL)
            g_error ("'%s' does not say '%s'", said, rows[i].part);
        g_assert_true (g_str_has_prefix (said, "godwit: "));
        g_assert_true (g_str_has_suffix (said, "\nTry 'godwit migrate --help'.\n"));
    }
}

static void
test_fail (void)
{
    for (int cause = GW_CAUSE_NONE + 1; cause < GW_N_CAUSES; cause++) {
        const GwCauseInfo *info = gw_cause_get_info ((GwCause) cause);
        g_autoptr (GError) error = NULL;
        gw_fail (&error, (GwCause) cause, "what happened");
        Capture capture = capture_begin ();
        int status = gw_cli_fail (error);
        g_autofree char *said = capture_end (&capture);
        g_autofree char *remedy = g_strdup_printf ("What to do: %s\n", info->remedy);
        g_autofree char *expected =
            g_strconcat ("godwit: what happened\n", info->exit_status != 1 ? remedy : "", NULL);
        g_assert_cmpint (status, ==, info->exit_status);
        g_assert_cmpstr (said, ==, expected);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_unsetenv ("GODWIT_AGENT");
    g_test_add_func ("/options/defaults", test_defaults);
    g_test_add_func ("/options/all", test_all);
    g_test_add_func ("/options/bandwidth", test_bandwidth);
    g_test_add_func ("/options/check", test_check);
    g_test_add_func ("/options/relative-paths", test_relative_paths);
    g_test_add_func ("/options/agent", test_agent);
    g_test_add_func ("/options/usage", test_usage);
    g_test_add_func ("/options/fail", test_fail);
    return g_test_run ();
}
