/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pure part of the QMP client: cutting bytes into messages, what a message says, the table. */
#include "qmp-internal.h"

#include <string.h>
#include <time.h>

/* Feeds `text` in pieces of `piece` bytes; returns the messages, one a line, then the error. */
static char *
cut (const char *text, gsize len, gsize piece, gsize max)
{
    GwQmpFrame frame;
    g_autoptr (GError) error = NULL;
    GString *out = g_string_new (NULL);
    gw_qmp_frame_init (&frame, max);
    for (gsize at = 0; at < len && error == NULL;) {
        gsize used = 0;
        gsize n = MIN (piece, len - at);
        GwQmpFrameStatus status = gw_qmp_frame_feed (&frame, text + at, n, &used, &error);
        g_assert_cmpint (used, <=, n);
        at += used;
        if (status == GW_QMP_FRAME_MESSAGE)
            g_string_append_printf (out, "%.*s\n", (int) frame.len, frame.data);
        g_assert_true ((status == GW_QMP_FRAME_BAD) == (error != NULL));
    }
    if (error != NULL)
        g_string_append (out, gw_cause_get_info (gw_error_get_cause (error))->code);
    gw_qmp_frame_clear (&frame);
    return g_string_free (out, FALSE);
}

static void
assert_cut (const char *text, const char *expected)
{
    for (gsize piece = 1; piece <= strlen (text); piece++) {
        g_autofree char *got = cut (text, strlen (text), piece, 4096);
        g_assert_cmpstr (got, ==, expected);
    }
}

static void
test_cut (void)
{
    assert_cut ("{}\r\n", "{}\n");
    assert_cut ("{} {\"a\": [1, {}]}\r\n\r\n{}", "{}\n{\"a\": [1, {}]}\n{}\n");
    assert_cut ("{\"a\": \"}]\\\"{\\\\\"}\r\n{}", "{\"a\": \"}]\\\"{\\\\\"}\n{}\n");
    assert_cut ("{\"a\": \"\\u00e9\\n\"}\r\n", "{\"a\": \"\\u00e9\\n\"}\n");
    assert_cut ("{}\r\n{\"a\": ", "{}\n");
}

static void
test_cut_pretty (void)
{
    assert_cut ("{\n  \"a\": [\r\n1]\n}\r\n{\r\n}", "{\n  \"a\": [\r\n1]\n}\n{\r\n}\n");
    /* A QEMU that writes one message a line: what a line leaves open is broken. */
    assert_cut ("{}\r\n{\"return\": {\r\n", "{}\nqmp-invalid");
    assert_cut ("{}\r\n{\"return\": {}\n}", "{}\nqmp-invalid");
}

static void
test_refuse (void)
{
    static const char *const texts[] = {
        "QEMU 7.2", "[]", "\"a\"", "1", "}", "{]", "{[}", "{[[]}", "{'a': 1}", "{/*\"*/}", "{#",
        "{\"a\": \"\n\"}", "{\"a\": \"\\q\"}", "{\"a\": \"\\u12\"", "{\"a\": \"\\u\"", "{\x01",
        "{\"a\" = $1}", "{\xc3", "{A", "{\"\x1f",
    };
    for (guint i = 0; i < G_N_ELEMENTS (texts); i++)
        assert_cut (texts[i], "qmp-invalid");
    for (gsize piece = 1; piece < 8; piece++) {
        g_autofree char *got = cut ("{\0}", 3, piece, 64);
        g_assert_cmpstr (got, ==, "qmp-invalid");
    }
}

static void
test_refuse_says_where (void)
{
    const char *text = "{}\r\n{\"return\": {\"name\": 'x'}}\r\n";
    GwQmpFrame frame;
    g_autoptr (GError) error = NULL;
    gsize used;
    gw_qmp_frame_init (&frame, 4096);
    g_assert_cmpint (gw_qmp_frame_feed (&frame, text, strlen (text), &used, &error), ==,
                     GW_QMP_FRAME_MESSAGE);
    g_assert_cmpint (gw_qmp_frame_feed (&frame, text + used, strlen (text) - used, &used, &error),
                     ==, GW_QMP_FRAME_BAD);
    g_assert_nonnull (strstr (error->message, "at byte 20"));
    g_assert_nonnull (strstr (error->message, "'{\"return\": {\"name\": 'x'}}"));
    gw_qmp_frame_clear (&frame);
}

static char *
nested (guint depth)
{
    GString *text = g_string_new ("{\"a\": ");
    for (guint i = 1; i < depth; i++)
        g_string_append_c (text, '[');
    for (guint i = 1; i < depth; i++)
        g_string_append_c (text, ']');
    g_string_append (text, "}\r\n");
    return g_string_free (text, FALSE);
}

static void
test_depth (void)
{
    g_autofree char *deepest = nested (GW_QMP_DEPTH_MAX);
    g_autofree char *deeper = nested (GW_QMP_DEPTH_MAX + 1);
    g_autofree char *good = cut (deepest, strlen (deepest), 7, 1 << 20);
    g_autofree char *bad = cut (deeper, strlen (deeper), 7, 1 << 20);
    g_assert_true (g_str_has_prefix (good, "{\"a\": [["));
    g_assert_cmpstr (bad, ==, "qmp-invalid");

    g_auto (GwQmpMessage) message = { 0 };
    g_autoptr (GError) error = NULL;
    g_autofree char *reply =
        g_strdup_printf ("{\"return\": %.*s}", (int) strlen (deepest) - 2, deepest);
    g_assert_true (gw_qmp_message_parse (reply, strlen (reply), &message, &error));
}

static void
test_size (void)
{
    static const char fits[] = "{\"a\": \"12345678\"}{}";
    static const char over[] = "{\"a\": \"123456789\"}";
    for (gsize piece = 1; piece < 20; piece++) {
        g_autofree char *good = cut (fits, strlen (fits), piece, 17);
        g_autofree char *bad = cut (over, strlen (over), piece, 17);
        g_assert_cmpstr (good, ==, "{\"a\": \"12345678\"}\n{}\n");
        g_assert_cmpstr (bad, ==, "qmp-too-big");
    }
}

static void
test_values (void)
{
    g_autoptr (GString) text = g_string_new ("{\"a\": [0");
    for (guint i = 0; i <= GW_QMP_VALUES_MAX; i++)
        g_string_append (text, ",0");
    g_string_append (text, "]}");
    g_autofree char *got = cut (text->str, text->len, 65536, GW_QMP_MESSAGE_MAX);
    g_assert_cmpstr (got, ==, "qmp-too-big");
}

/* CPU time of this thread that a message of `len` bytes takes, in pieces as they come. */
static double
cost (gsize len)
{
    g_autofree char *piece = g_malloc (65536);
    memset (piece, 'x', 65536);
    GwQmpFrame frame;
    gsize used;
    struct timespec a, b;
    gw_qmp_frame_init (&frame, GW_QMP_MESSAGE_MAX);
    clock_gettime (CLOCK_THREAD_CPUTIME_ID, &a);
    g_assert_cmpint (gw_qmp_frame_feed (&frame, "{\"a\": \"", 7, &used, NULL), ==,
                     GW_QMP_FRAME_MORE);
    for (gsize n = 0; n < len; n += 65536)
        g_assert_cmpint (gw_qmp_frame_feed (&frame, piece, 65536, &used, NULL), ==,
                         GW_QMP_FRAME_MORE);
    g_assert_cmpint (gw_qmp_frame_feed (&frame, "\"}", 2, &used, NULL), ==, GW_QMP_FRAME_MESSAGE);
    clock_gettime (CLOCK_THREAD_CPUTIME_ID, &b);
    gw_qmp_frame_clear (&frame);
    return (double) (b.tv_sec - a.tv_sec) + (double) (b.tv_nsec - a.tv_nsec) / 1e9;
}

static void
test_linear (void)
{
    double small = cost (4u << 20);
    double large = cost (50u << 20);
    g_test_message ("4 MiB: %.4f s, 50 MiB: %.4f s", small, large);
    g_assert_cmpfloat (large, <, 12.5 * 5 * small + 0.05); /* quadratic would be 156 times */
}

/* --- messages --- */

static void
test_greeting (void)
{
    static const char text[] =
        "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 3, \"minor\": 0, \"major\": 10},"
        "\"package\": \"p\"}, \"capabilities\": [7, \"oob\", {}]}}";
    g_auto (GwQmpMessage) message = { 0 };
    g_assert_true (gw_qmp_message_parse (text, strlen (text), &message, NULL));
    g_assert_cmpint (message.type, ==, GW_QMP_MESSAGE_GREETING);
    g_assert_cmpint (message.version[0], ==, 10);
    g_assert_cmpint (message.version[1], ==, 0);
    g_assert_cmpint (message.version[2], ==, 3);
    g_assert_cmpstr (message.words, ==, "p");
    g_assert_true (message.has_oob);
}

static void
test_event (void)
{
    static const struct {
        const char *text;
        gint64 at_us;
        gboolean has_data;
    } rows[] = {
        { "{\"timestamp\": {\"seconds\": 17, \"microseconds\": 5}, \"event\": \"STOP\"}", 17000005,
          FALSE },
        { "{\"timestamp\": {\"seconds\": -1, \"microseconds\": -1}, \"event\": \"STOP\"}", 0,
          FALSE },
        { "{\"timestamp\": {\"seconds\": 9223372036854775807, \"microseconds\": 0},"
          " \"event\": \"STOP\"}", 0, FALSE },
        { "{\"event\": \"STOP\", \"data\": {\"a\": 1}, \"timestamp\": 3}", 0, TRUE },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_auto (GwQmpMessage) message = { 0 };
        g_assert_true (gw_qmp_message_parse (rows[i].text, strlen (rows[i].text), &message, NULL));
        g_assert_cmpint (message.type, ==, GW_QMP_MESSAGE_EVENT);
        g_assert_cmpstr (message.name, ==, "STOP");
        g_assert_cmpint (message.at_us, ==, rows[i].at_us);
        g_assert_true ((message.data != NULL) == rows[i].has_data);
    }
}

static void
test_reply (void)
{
    static const char good[] = "{\"return\": [1], \"id\": 7}";
    static const char bad[] = "{\"id\": \"x\", \"error\": {\"class\": \"C\", \"desc\": \"d\"}}";
    g_auto (GwQmpMessage) message = { 0 };
    g_assert_true (gw_qmp_message_parse (good, strlen (good), &message, NULL));
    g_assert_cmpint (message.type, ==, GW_QMP_MESSAGE_RETURN);
    g_assert_true (message.has_id && message.id == 7);
    g_assert_true (JSON_NODE_HOLDS_ARRAY (message.value));
    gw_qmp_message_clear (&message);
    message = (GwQmpMessage) { 0 };
    g_assert_true (gw_qmp_message_parse (bad, strlen (bad), &message, NULL));
    g_assert_cmpint (message.type, ==, GW_QMP_MESSAGE_ERROR);
    g_assert_false (message.has_id);
    g_assert_cmpstr (message.name, ==, "C");
    g_assert_cmpstr (message.words, ==, "d");
}

static void
test_wrong_shape (void)
{
    static const char *const texts[] = {
        "", "{", "{}", "[]", "1", "null", "{\"id\": 1}", "{\"a\" 1}", "{\"return\": tru}",
        "{\"error\": {}}", "{\"error\": \"x\"}", "{\"error\": {\"class\": 1, \"desc\": \"x\"}}",
        "{\"error\": {\"class\": \"x\"}}", "{\"event\": 1}", "{\"event\": {}}",
        "{\"event\": \"X\", \"data\": []}", "{\"QMP\": 1}", "{\"QMP\": {}}",
        "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 1, \"minor\": 2}}}}",
        "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 1, \"minor\": 2, \"major\": \"7\"}}}}",
        "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 1, \"minor\": 2, \"major\": -7}}}}",
        "{\"event\": \"\xff\"}", "{\"return\": \"\\ud800\"}",
    };
    for (guint i = 0; i < G_N_ELEMENTS (texts); i++) {
        GwQmpMessage message;
        g_autoptr (GError) error = NULL;
        g_assert_false (gw_qmp_message_parse (texts[i], strlen (texts[i]), &message, &error));
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_QMP_INVALID);
    }
}

static void
test_build (void)
{
    g_autoptr (JsonObject) arguments = json_object_new ();
    json_object_set_string_member (arguments, "path", "a\"\n");
    g_autofree char *plain = gw_qmp_message_build ("stop", NULL, FALSE, 3);
    g_autofree char *oob = gw_qmp_message_build ("yank", arguments, TRUE, 4);
    g_assert_cmpstr (plain, ==, "{\"execute\":\"stop\",\"id\":3}\r\n");
    g_assert_cmpstr (oob, ==,
                     "{\"exec-oob\":\"yank\",\"arguments\":{\"path\":\"a\\\"\\n\"},\"id\":4}\r\n");
}

/* --- the table and the classes of errors --- */

static void
test_table (void)
{
    g_autoptr (GHashTable) names = g_hash_table_new (g_str_hash, g_str_equal);
    for (int i = 0; i < GW_N_QMP_COMMANDS; i++) {
        const GwQmpCommandInfo *info = gw_qmp_command_get_info ((GwQmpCommand) i);
        g_assert_true (g_hash_table_add (names, (gpointer) info->name));
        g_assert_cmpint (info->limit_ms, >=, 1000);
        g_assert_true (info->major > 0 || info->minor >= 13);
    }
    const GwQmpCommandInfo *yank = gw_qmp_command_get_info (GW_QMP_YANK);
    g_assert_cmpstr (yank->name, ==, "yank");
    g_assert_true (yank->flags & GW_QMP_OOB);
}

static void
test_error_class (void)
{
    static const struct {
        GwCause cause;
        const char *message, *class;
    } rows[] = {
        { GW_CAUSE_QMP_COMMAND, "stop: GenericError: no", "GenericError" },
        { GW_CAUSE_QMP_COMMAND, "host a: x: CommandNotFound: GenericError: no", "CommandNotFound" },
        { GW_CAUSE_QMP_COMMAND, "x: DeviceNotFound: : DeviceNotActive: ", "DeviceNotFound" },
        { GW_CAUSE_QMP_COMMAND, "stop: NewClass: no", "GenericError" },
        { GW_CAUSE_QMP_GONE, "stop: CommandNotFound: no", NULL },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GError) error =
            g_error_new_literal (GW_ERROR, (int) rows[i].cause, rows[i].message);
        g_assert_cmpstr (gw_qmp_get_error_class (error), ==, rows[i].class);
    }
    g_assert_null (gw_qmp_get_error_class (NULL));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/qmp/frame/cut", test_cut);
    g_test_add_func ("/qmp/frame/cut-pretty", test_cut_pretty);
    g_test_add_func ("/qmp/frame/refuse", test_refuse);
    g_test_add_func ("/qmp/frame/refuse-says-where", test_refuse_says_where);
    g_test_add_func ("/qmp/frame/depth", test_depth);
    g_test_add_func ("/qmp/frame/size", test_size);
    g_test_add_func ("/qmp/frame/values", test_values);
    g_test_add_func ("/qmp/frame/linear", test_linear);
    g_test_add_func ("/qmp/message/greeting", test_greeting);
    g_test_add_func ("/qmp/message/event", test_event);
    g_test_add_func ("/qmp/message/reply", test_reply);
    g_test_add_func ("/qmp/message/wrong-shape", test_wrong_shape);
    g_test_add_func ("/qmp/message/build", test_build);
    g_test_add_func ("/qmp/table", test_table);
    g_test_add_func ("/qmp/error-class", test_error_class);
    return g_test_run ();
}
