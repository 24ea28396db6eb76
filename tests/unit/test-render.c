/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lines that people and scripts read: progress, and reports in words. */
#include "test-cli-capture.h"

#include <string.h>

#define NB "\xc2\xa0" /* GLib's blank between a number and its unit */
#define START_US (G_GINT64_CONSTANT (1700000000) * G_USEC_PER_SEC)

static GwProgress
copying (void)
{
    return (GwProgress){
        .job = (char *) "gw-1", .vm = (char *) "web1", .phase = (char *) "copying memory",
        .at_us = START_US, .total_bytes = 4 << 20, .remaining_bytes = 1 << 20,
        .rate_bps = 3 << 20, .dirty_bps = 2048, .rounds = 2, .percent = 75, .eta_ms = 1001,
        .downtime_ms = 340,
    };
}

static void
assert_line (const GwProgress *progress, const char *expected)
{
    g_autofree char *line = gw_render_line (progress);
    g_assert_cmpstr (line, ==, expected);
}

static void
test_line (void)
{
    GwProgress p = copying ();
    assert_line (&p, "web1: copying memory   75%  1.0" NB "MiB left  3.0" NB "MiB/s  dirty 2.0" NB
                     "KiB/s  round 2  ETA 2 s  downtime ~340 ms");
    p.rounds = 1; /* nothing is known of the guest's writing yet */
    assert_line (&p, "web1: copying memory   75%  1.0" NB "MiB left  3.0" NB "MiB/s  ETA 2 s");
    p.eta_ms = p.percent = -1;
    assert_line (&p, "web1: copying memory  1.0" NB "MiB left  3.0" NB "MiB/s");
    p.note = (char *) "link down for 3 s";
    p.total_bytes = 0;
    assert_line (&p, "web1: copying memory  (link down for 3 s)");
    p = copying ();
    p.is_done = TRUE;
    p.phase = (char *) "done";
    assert_line (&p, "web1: done");
}

/* Names and notes cannot steer the terminal. */
static void
test_hostile_line (void)
{
    GwProgress p = { .vm = (char *) "a\033[2J\xff\nb", .phase = NULL, .note = (char *) "\rx" };
    assert_line (&p, "a\\x1b[2J\\xff b:   (\\x0dx)");
    GwProgress empty = { 0 };
    assert_line (&empty, ": ");
}

static void
test_plain (void)
{
    GwProgress p = copying ();
    GwRender *render = gw_render_new (GW_PROGRESS_PLAIN);
    Capture capture = capture_begin ();
    gw_render_show (render, &p);
    p.at_us += G_USEC_PER_SEC - 1; /* too soon */
    gw_render_show (render, &p);
    p.phase = (char *) "switching over"; /* a new phase is never too soon */
    gw_render_show (render, &p);
    p.at_us += G_USEC_PER_SEC;
    p.percent = -1;
    gw_render_show (render, &p);
    gw_render_say (render, "a %s", "word");
    gw_render_free (render);
    g_autofree char *said = capture_end (&capture);
    g_assert_cmpstr (said, ==,
                     "2023-11-14T22:13:20Z job=gw-1 vm=web1 phase=\"copying memory\" percent=75 "
                     "left_bytes=1048576 "
                     "rate_bps=3145728 dirty_bps=2048 round=2 eta_ms=1001 downtime_ms=340\n"
                     "2023-11-14T22:13:20Z job=gw-1 vm=web1 phase=\"switching over\" percent=75 "
                     "left_bytes=1048576 "
                     "rate_bps=3145728 dirty_bps=2048 round=2 eta_ms=1001 downtime_ms=340\n"
                     "2023-11-14T22:13:21Z job=gw-1 vm=web1 phase=\"switching over\" percent=-1 "
                     "left_bytes=1048576 "
                     "rate_bps=3145728 dirty_bps=2048 round=2 eta_ms=1001 downtime_ms=340\n"
                     "godwit: a word\n");
}

static void
test_json (void)
{
    g_autoptr (GError) error = NULL;
    GwProgress p = copying ();
    GwRender *render = gw_render_new (GW_PROGRESS_JSON);
    Capture capture = capture_begin ();
    gw_render_show (render, &p);
    gw_render_free (render);
    g_autofree char *said = capture_end (&capture);
    g_assert_true (strchr (said, '\n') == said + strlen (said) - 1);
    g_autoptr (JsonObject) object = gw_json_parse (said, -1, &error);
    g_assert_no_error (error);
    g_autoptr (GwProgress) again = gw_struct_from_json (&gw_progress_type, object, &error);
    g_assert_no_error (error);
    g_assert_cmpint (again->remaining_bytes, ==, p.remaining_bytes);
    g_assert_cmpstr (again->phase, ==, p.phase);
}

static void
test_none (void)
{
    GwProgress p = copying ();
    Capture capture = capture_begin ();
    GwRender *render = gw_render_new (GW_PROGRESS_NONE);
    gw_render_show (render, &p);
    gw_render_free (render);
    GwRender *automatic = gw_render_new (GW_PROGRESS_AUTO); /* no terminal here: plain */
    gw_render_show (automatic, &p);
    gw_render_free (automatic);
    gw_render_free (NULL);
    g_autofree char *said = capture_end (&capture);
    g_assert_true (g_str_has_prefix (said, "2023-11-14T22:13:20Z job=gw-1"));
}

/* --- reports ------------------------------------------------------------------------------------------ */

typedef char *(*Summary) (JsonObject *report);

static void
assert_summary (Summary summary, const char *json, const char *expected)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonObject) report = gw_json_parse (json, -1, &error);
    g_assert_no_error (error);
    g_autofree char *text = summary (report);
    g_assert_cmpstr (text, ==, expected);
}

#define CAUSE                                                                                      \
    "\"cause\":{\"code\":\"link-lost\",\"title\":\"the data link broke\",\"side\":\"link\","       \
    "\"evidence\":[\"reset\",\"then, on the source: x\"],\"remedy\":\"Check it.\"}"

static void
test_report (void)
{
    assert_summary (
        gw_summary_of_report,
        "{\"job\":\"gw-1\",\"vm\":\"web1\",\"result\":\"moved\",\"runs_on\":\"destination\","
        "\"state\":\"running\",\"destination\":\"unix:/b\",\"total_ms\":12345,"
        "\"downtime_ms\":87,\"rounds\":3,\"wire_bytes\":1536,\"cause\":null,"
        "\"guest_clock\":{\"agent\":true,\"behind_ms\":88,\"corrected\":true,\"left_ms\":0},"
        "\"warnings\":[\"the courier stays\"]}",
        "web1 has moved: it is 'running' on unix:/b\n"
        "  total 12.3 s, downtime 87 ms, 3 rounds, 1.5" NB "KiB over the link\n"
        "  the guest's clock was 88 ms behind, and was set\n"
        "  warning: the courier stays\n"
        "  job gw-1\n");
    assert_summary (
        gw_summary_of_report,
        "{\"job\":\"gw-1\",\"vm\":\"web1\",\"uuid\":\"u\",\"result\":\"stayed\",\"runs_on\":\"source\"," CAUSE "}",
        "web1 did not move: it is on the source, as before\n"
        "  why: the data link broke (link-lost, link)\n"
        "       reset\n"
        "       then, on the source: x\n"
        "  what to do: Check it.\n"
        "  job gw-1\n");
    assert_summary (
        gw_summary_of_report,
        "{\"job\":\"gw-1\",\"vm\":\"web1\",\"result\":\"stayed\",\"runs_on\":\"nowhere\"}",
        "web1 did not move, and does not run any more\n  job gw-1\n");
    assert_summary (
        gw_summary_of_report,
        "{\"job\":\"gw-1\",\"vm\":\"web1\",\"result\":\"undecided\",\"runs_on\":\"unknown\"}",
        "web1 is stopped on the source; it is not known whether the destination started "
        "it\n  job gw-1\n");
    assert_summary (gw_summary_of_report, "{\"cause\":{\"code\":\"aborted\",\"side\":\"none\"}}",
                    "the VM did not move: nothing was done to it\n"
                    "  why:  (aborted)\n  what to do: \n  job ?\n");
}

static void
test_checks (void)
{
    assert_summary (
        gw_summary_of_checks,
        "{\"vm\":\"web1\",\"rewrites\":[{\"option\":\"-hda\",\"from\":\"/a\",\"to\":\"/b\","
        "\"why\":\"--map\"},{\"option\":\"-netdev\",\"from\":\"n0\",\"to\":\"\",\"why\":\"gone\"}],"
        "\"checks\":[{\"check\":\"vm-state\",\"verdict\":\"ok\",\"text\":\"the VM is 'running'\"}],"
        "\"cause\":null}",
        "plan     -hda      /a -> /b (--map)\n"
        "plan     -netdev   n0 -> left out (gone)\n"
        "ok       vm-state           the VM is 'running'\n"
        "web1 can move; nothing was touched\n");
    assert_summary (gw_summary_of_checks,
                    "{\"vm\":\"web1\",\"checks\":[{\"check\":\"memory\",\"verdict\":\"refused\","
                    "\"text\":\"short\"}]," CAUSE "}",
                    "refused  memory             short\n"
                    "web1 cannot move; nothing was touched\n"
                    "  why: the data link broke (link-lost, link)\n"
                    "       reset\n"
                    "       then, on the source: x\n"
                    "  what to do: Check it.\n");
}

static void
test_story (void)
{
    assert_summary (
        gw_summary_of_story,
        "{\"job\":\"gw-1\",\"vm\":\"web1\",\"uuid\":\"u\",\"result\":\"stayed\",\"runs_on\":\"source\","
        "\"started\":\"2023-11-14T22:13:20Z\",\"timeline\":[{\"at_ms\":7,\"side\":\"source\","
        "\"event\":\"stop\",\"detail\":\"d\"},{\"at_ms\":-12,\"side\":\"destination\","
        "\"event\":\"qemu-exit\",\"detail\":\"\"}]}",
        "web1 did not move: it is on the source, as before\n"
        "  job gw-1\n"
        "What happened (ms since 2023-11-14T22:13:20Z):\n"
        "       7  source      stop           d\n"
        "     -12  destination qemu-exit      \n");
    assert_summary (
        gw_summary_of_story,
        "{\"job\":\"gw-1\",\"vm\":\"web1\",\"result\":\"moved\",\"runs_on\":\"nowhere\","
        "\"destination\":\"b\",\"started\":\"t\",\"cause\":{\"code\":\"qemu-died\",\"side\":\"source\","
        "\"message\":\"QEMU was killed\\ny\"},\"timeline\":[{\"at_ms\":7,\"side\":\"source\",\"event\":\"step\",\"detail\":\"d\"},"
        "{\"at_ms\":7,\"side\":\"source\",\"event\":\"qemu-exit\",\"detail\":\"was killed\\ny\"}]}",
        "web1 has moved to b, and does not run any more\n"
        "  total 0.0 s, downtime 0 ms, 0 rounds, 0 bytes over the link\n"
        "  why:  (qemu-died, source)\n  what to do: \n  job gw-1\n"
        "What happened (ms since t; > is the first fault):\n"
        "       7  source      step           d\n"
        ">      7  source      qemu-exit      was killed\n"
        "                                     y\n");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/render/line", test_line);
    g_test_add_func ("/render/hostile-line", test_hostile_line);
    g_test_add_func ("/render/plain", test_plain);
    g_test_add_func ("/render/json", test_json);
    g_test_add_func ("/render/none", test_none);
    g_test_add_func ("/summary/report", test_report);
    g_test_add_func ("/summary/checks", test_checks);
    g_test_add_func ("/summary/story", test_story);
    return g_test_run ();
}
