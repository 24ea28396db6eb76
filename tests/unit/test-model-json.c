/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Single members of JSON, whole texts, and QEMU's reply to query-migrate. */
#include "model.h"

#include <string.h>

static void
assert_error (GError **error, GwCause cause, const char *part)
{
    g_assert_nonnull (*error);
    g_assert_cmpint (gw_error_get_cause (*error), ==, cause);
    if (strstr ((*error)->message, part) == NULL)
        g_error ("'%s' does not say '%s'", (*error)->message, part);
    g_clear_error (error);
}

static JsonObject *
parse (const char *text)
{
    g_autoptr (GError) error = NULL;
    JsonObject *object = gw_json_parse (text, -1, &error);
    g_assert_no_error (error);
    return object;
}

static void
test_get (void)
{
    GError *error = NULL;
    gint64 value = 42;
    g_autoptr (JsonObject) object = parse ("{\"s\":\"t\",\"i\":7,\"o\":{\"x\":1},\"n\":null}");
    g_assert_cmpstr (gw_json_get_string (object, "s", &error), ==, "t");
    g_assert_true (gw_json_get_int (object, "i", 7, 7, &value, &error));
    g_assert_cmpint (value, ==, 7);
    g_assert_nonnull (gw_json_get_object (object, "o", &error));
    g_assert_no_error (error);

    g_assert_null (gw_json_get_string (object, "i", &error));
    assert_error (&error, GW_CAUSE_RPC_INVALID, "member 'i' is not a string");
    g_assert_null (gw_json_get_string (object, "n", &error));
    assert_error (&error, GW_CAUSE_RPC_INVALID, "member 'n' is not a string");
    g_assert_null (gw_json_get_object (object, "s", &error));
    assert_error (&error, GW_CAUSE_RPC_INVALID, "member 's' is not an object");
    static const struct {
        const char *name;
        gint64 min, max;
    } bad[] = { { "i", 8, 9 }, { "i", 0, 6 }, { "s", 0, 9 }, { "nowhere", 0, 9 }, { "n", 0, 9 } };
    for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
        g_assert_false (
            gw_json_get_int (object, bad[i].name, bad[i].min, bad[i].max, &value, &error));
        assert_error (&error, GW_CAUSE_RPC_INVALID, "is not an integer from");
    }
    g_assert_cmpint (value, ==, 7);
}

static void
test_peek (void)
{
    g_autoptr (JsonObject) object =
        parse ("{\"s\":\"t\",\"i\":7,\"b\":true,\"v\":[\"a\",1,null,\"b\"],\"n\":null}");
    g_assert_cmpstr (gw_json_peek_string (object, "i", "else"), ==, "else");
    g_assert_cmpstr (gw_json_peek_string (object, "s", "else"), ==, "t");
    g_assert_cmpint (gw_json_peek_int (object, "s", -3), ==, -3);
    g_assert_cmpint (gw_json_peek_int (object, "i", -3), ==, 7);
    g_assert_true (gw_json_peek_bool (object, "b", FALSE));
    g_assert_true (gw_json_peek_bool (object, "i", TRUE));
    g_assert_null (gw_json_peek_object (object, "v"));
    g_assert_null (gw_json_peek_array (object, "n"));
    const char *const expected[] = { "a", "b", NULL }, *const none[] = { NULL };
    g_auto (GStrv) strv = gw_json_peek_strv (object, "v");
    g_auto (GStrv) missing = gw_json_peek_strv (object, "nowhere");
    g_assert_cmpstrv (strv, expected);
    g_assert_cmpstrv (missing, none);
}

static void
test_new (void)
{
    const char *const list[] = { "x", "y", NULL };
    g_autoptr (JsonObject) object = gw_json_new (
        "s:s", "t", "none:s", NULL, "i:i", G_MININT64, "b:b", FALSE, "o:o",
        gw_json_new ("k:i", (gint64) 1, NULL), "no:o", NULL, "v:v", list, "e:v", NULL, "n:n",
        json_node_init_null (json_node_alloc ()), NULL);
    g_autofree char *text = gw_json_to_text (object, FALSE);
    g_assert_cmpstr (text, ==,
                     "{\"s\":\"t\",\"i\":-9223372036854775808,\"b\":false,\"o\":{\"k\":1},"
                     "\"v\":[\"x\",\"y\"],\"e\":[],\"n\":null}");
}

static void
test_bad_texts (void)
{
    static const char *const texts[] = { "", "[]", "1", "\"x\"", "{", "{\"a\":}", "null", "{} x",
                                         "\xff{}" };
    for (guint i = 0; i < G_N_ELEMENTS (texts); i++) {
        g_autoptr (GError) error = NULL;
        g_assert_null (gw_json_parse (texts[i], -1, &error));
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_RPC_INVALID);
    }
    g_autoptr (JsonObject) cut = gw_json_parse ("{\"a\":1}garbage", 7, NULL);
    g_assert_cmpint (gw_json_peek_int (cut, "a", 0), ==, 1);
}

/* The JSON library reads nested values by recursion: a deep text must not reach it. */
static void
test_deep_texts (void)
{
    GError *error = NULL;
    GString *text = g_string_new (
        "{\"brackets in a string\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[\",\"a\":");
    for (guint i = 1; i < GW_JSON_DEPTH_MAX; i++)
        g_string_append_c (text, '[');
    for (guint i = 1; i < GW_JSON_DEPTH_MAX; i++)
        g_string_append_c (text, ']');
    g_string_append_c (text, '}');
    g_autoptr (JsonObject) deepest = gw_json_parse (text->str, -1, &error);
    g_assert_no_error (error);
    g_assert_nonnull (deepest);
    g_string_assign (text, "{\"a\":");
    for (guint i = 0; i < GW_JSON_DEPTH_MAX; i++)
        g_string_append_c (text, '[');
    g_assert_null (gw_json_parse (text->str, -1, &error));
    assert_error (&error, GW_CAUSE_RPC_INVALID, "deep");
    for (guint i = 0; i < 1000 * 1000; i++)
        g_string_append (text, "{\"a\":");
    g_assert_null (gw_json_parse (text->str, -1, &error));
    assert_error (&error, GW_CAUSE_RPC_INVALID, "deep");
    g_string_free (text, TRUE);
}

/* What opens a string in one reader and not in the other would hide the levels that follow. */
static void
test_hidden_depth (void)
{
    static const char *const heads[] = { "{/*\"*/\"a\":", "{'a\"':", "{'a\\':'\"',\"b\":" };
    for (guint i = 0; i < G_N_ELEMENTS (heads); i++) {
        GError *error = NULL;
        GString *text = g_string_new (heads[i]);
        for (guint k = 0; k < 1000 * 1000; k++)
            g_string_append_c (text, '[');
        g_assert_null (gw_json_parse (text->str, -1, &error));
        assert_error (&error, GW_CAUSE_RPC_INVALID, i == 0 ? "comment at byte 1" : "deep");
        g_string_free (text, TRUE);
    }
    g_autoptr (JsonObject) object = parse ("{'driver':'e1000','path':\"//*x\"}");
    g_assert_cmpstr (gw_json_peek_string (object, "driver", NULL), ==, "e1000");
    g_assert_cmpstr (gw_json_peek_string (object, "path", NULL), ==, "//*x");
}

/* --- query-migrate ----------------------------------------------------------------------------------- */

static void
test_migration (void)
{
    g_autoptr (JsonObject) reply = parse (
        "{\"expected-downtime\":301,\"status\":\"active\",\"setup-time\":2,\"total-time\":1234,"
        "\"cpu-throttle-percentage\":20,\"error-desc\":\"why\",\"downtime\":9,\"ram\":{"
        "\"total\":134750208,\"postcopy-requests\":0,\"dirty-sync-count\":3,\"page-size\":4096,"
        "\"remaining\":1000,\"mbps\":800.5,\"transferred\":5000,\"normal-bytes\":4096,"
        "\"dirty-pages-rate\":10}}");
    g_autoptr (GwMigration) m = gw_migration_from_qmp (reply);
    g_assert_cmpstr (m->status, ==, "active");
    g_assert_cmpstr (m->error_desc, ==, "why");
    g_assert_cmpint (m->total_bytes, ==, 134750208);
    g_assert_cmpint (m->remaining_bytes, ==, 1000);
    g_assert_cmpint (m->transferred_bytes, ==, 5000);
    g_assert_cmpint (m->normal_bytes, ==, 4096);
    g_assert_cmpint (m->page_bytes, ==, 4096);
    g_assert_cmpint (m->rounds, ==, 3);
    g_assert_cmpint (m->dirty_bps, ==, 40960);
    g_assert_cmpint (m->rate_bps, ==, 100062500);
    g_assert_cmpint (m->expected_downtime_ms, ==, 301);
    g_assert_cmpint (m->downtime_ms, ==, 9);
    g_assert_cmpint (m->total_ms, ==, 1234);
    g_assert_cmpint (m->setup_ms, ==, 2);
    g_assert_cmpint (m->throttle_percent, ==, 20);
}

static void
test_migration_none (void)
{
    g_autoptr (JsonObject) empty = json_object_new ();
    g_autoptr (GwMigration) m = gw_migration_from_qmp (empty);
    g_assert_cmpstr (m->status, ==, "none");
    g_assert_null (m->error_desc);
    g_assert_cmpint (m->total_bytes, ==, 0);
}

/* What no QEMU says is 0, and what was read can be sent to a peer. */
static void
test_migration_odd (void)
{
    static const char *const replies[] = {
        "{\"status\":7,\"ram\":{\"total\":-1,\"mbps\":-5,\"dirty-pages-rate\":-2}}",
        "{\"ram\":{\"mbps\":1e300,\"dirty-pages-rate\":9223372036854775807,\"page-size\":4096}}",
        "{\"ram\":{\"mbps\":\"fast\",\"dirty-pages-rate\":9,\"page-size\":9223372036854775807}}",
        "{\"ram\":{\"mbps\":null},\"total-time\":-7,\"downtime\":1.5}",
        "{\"ram\":[]}",
    };
    for (guint i = 0; i < G_N_ELEMENTS (replies); i++) {
        g_autoptr (GError) error = NULL;
        g_autoptr (JsonObject) reply = parse (replies[i]);
        g_autoptr (GwMigration) m = gw_migration_from_qmp (reply);
        g_assert_cmpint (m->total_bytes + m->rate_bps + m->dirty_bps + m->total_ms, ==, 0);
        g_autoptr (JsonObject) json = gw_struct_to_json (&gw_migration_type, m);
        g_autoptr (GwMigration) again = gw_struct_from_json (&gw_migration_type, json, &error);
        g_assert_no_error (error);
        g_assert_nonnull (again);
    }
    g_autoptr (JsonObject) whole = parse ("{\"ram\":{\"mbps\":8}}");
    g_autoptr (GwMigration) m = gw_migration_from_qmp (whole);
    g_assert_cmpint (m->rate_bps, ==, 1000000);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/model/json/get", test_get);
    g_test_add_func ("/model/json/peek", test_peek);
    g_test_add_func ("/model/json/new", test_new);
    g_test_add_func ("/model/json/bad-texts", test_bad_texts);
    g_test_add_func ("/model/json/deep-texts", test_deep_texts);
    g_test_add_func ("/model/json/hidden-depth", test_hidden_depth);
    g_test_add_func ("/model/migration/qmp", test_migration);
    g_test_add_func ("/model/migration/none", test_migration_none);
    g_test_add_func ("/model/migration/odd", test_migration_odd);
    return g_test_run ();
}
