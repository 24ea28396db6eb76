/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The argument of an option, and the list of options: parsed as QEMU parses them, written back as
 * they were. */
#include "host-internal.h"

#include <string.h>

/* --- arguments ------------------------------------------------------------------------------------- */

static void
test_round_trip (void)
{
    static const char *const texts[] = {
        "", "q35", "a=b", "q35,accel=tcg,usb=on", "file=/a,,b.img,if=none", "/a,,b,,,,c,key=,,",
        "user,id=n0,hostfwd=tcp::22-:22", "=x", "k=", ",k=v", "server,nowait", "/dev/x=y,k=v",
        "{\"driver\":\"e1000\",\"id\":\"n\",\"multifunction\":true,\"addr\":3}", "{broken",
    };
    for (guint i = 0; i < G_N_ELEMENTS (texts); i++) {
        g_autoptr (GwOptStr) opt = gw_optstr_parse (texts[i]);
        g_autofree char *text = gw_optstr_to_text (opt);
        g_assert_cmpstr (text, ==, texts[i]);
    }
}

static void
test_get (void)
{
    static const struct {
        const char *text, *key, *value;
    } rows[] = {
        { "file=/a,,b,if=none", "file", "/a,b" },
        { "file=/a,,b,if=none", "if", "none" },
        { "k=1,k=2,x=9", "k", "2" },
        { "k=a=b", "k", "a=b" },
        { "k=", "k", "" },
        { "k", "k", NULL },
        { "/k=v", "k", NULL },
        { "file.filename=/x", "file.filename", "/x" },
        { "file.filename=/x", "filename", NULL },
        { "xk=1", "k", NULL },
        { "{\"k\":\"v\",\"n\":1}", "k", "v" },
        { "{\"k\":\"v\",\"n\":1}", "n", NULL },
        { "{'k':'v'}", "k", "v" },
        { "", "k", NULL },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GwOptStr) opt = gw_optstr_parse (rows[i].text);
        g_assert_cmpstr (gw_optstr_get (opt, rows[i].key), ==, rows[i].value);
    }
    g_autoptr (GwOptStr) json = gw_optstr_parse ("{\"n\":1}");
    g_autoptr (GwOptStr) pairs = gw_optstr_parse ("flag,n=1");
    g_assert_true (gw_optstr_has (json, "n") && gw_optstr_has (pairs, "n"));
    g_assert_false (gw_optstr_has (json, "flag") || gw_optstr_has (pairs, "flag"));
}

static void
test_first (void)
{
    static const struct {
        const char *text, *first, *after; /* after "type" was set to "new,x" */
    } rows[] = {
        { "q35,accel=tcg", "q35", "new,,x,accel=tcg" },
        { "type=q35,accel=tcg", "q35", "type=new,,x,accel=tcg" },
        { "accel=tcg,type=q35", "q35", "accel=tcg,type=new,,x" },
        { "accel=tcg", NULL, "accel=tcg,type=new,,x" },
        { "", NULL, "type=new,,x" },
        { "{\"type\":\"q35\"}", "q35", "{\"type\":\"new,x\"}" },
        { "{\"a\":1}", NULL, "{\"a\":1,\"type\":\"new,x\"}" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GwOptStr) opt = gw_optstr_parse (rows[i].text);
        g_assert_cmpstr (gw_optstr_get_first (opt, "type"), ==, rows[i].first);
        gw_optstr_set_first (opt, "type", "new,x");
        g_autofree char *text = gw_optstr_to_text (opt);
        g_assert_cmpstr (text, ==, rows[i].after);
    }
}

/* In JSON a number is a number, but a PCI address is a string of digits. */
static void
test_set (void)
{
    g_autoptr (GwOptStr) pairs = gw_optstr_parse ("e1000,nr=1,nr=2");
    gw_optstr_set (pairs, "nr", "7");
    gw_optstr_set (pairs, "bus", "pci,0");
    g_autofree char *text = gw_optstr_to_text (pairs);
    g_assert_cmpstr (text, ==, "e1000,nr=1,nr=7,bus=pci,,0");
    g_autoptr (GwOptStr) json = gw_optstr_parse ("{\"driver\":\"x\"}");
    gw_optstr_set (json, "nr", "7");
    gw_optstr_set (json, "addr", "10");
    gw_optstr_set (json, "port", "1");
    gw_optstr_set (json, "bus", "pcie.0");
    g_autofree char *other = gw_optstr_to_text (json);
    g_assert_cmpstr (other, ==, "{\"driver\":\"x\",\"nr\":7,\"addr\":\"10\",\"port\":\"1\","
                                "\"bus\":\"pcie.0\"}");
}

static void
test_flags (void)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse ("socket,server,nowait,path=server,server");
    g_assert_true (gw_optstr_has_flag (opt, "server") && gw_optstr_has_flag (opt, "nowait"));
    g_assert_false (gw_optstr_has_flag (opt, "wait") || gw_optstr_has_flag (opt, "path"));
    gw_optstr_remove_flag (opt, "server");
    gw_optstr_remove_flag (opt, "path");
    g_autofree char *text = gw_optstr_to_text (opt);
    g_assert_cmpstr (text, ==, "socket,nowait,path=server");
    g_autoptr (GwOptStr) json = gw_optstr_parse ("{\"server\":true}");
    g_assert_false (gw_optstr_has_flag (json, "server"));
    gw_optstr_remove_flag (json, "server");
}

/* QEMU's quotes, in which escapes mean the same. */
static void
test_single_quotes (void)
{
    static const struct {
        const char *text, *plain;
    } rows[] = {
        { "{'a':'b'}", "{\"a\":\"b\"}" },
        { "{'a':'\\u002fx\"y\\'z\\\\'}", "{\"a\":\"\\u002fx\\\"y'z\\\\\"}" },
        { "{\"a'b\":\"it\\'s \\\"\"}", "{\"a'b\":\"it's \\\"\"}" },
        { "{\"a\":\"not ended\\", "{\"a\":\"not ended\\" },
        { "{'a", "{\"a" },
        { "{\"a\":\"\\u0/x\\q\\u00e9\"}", "{\"a\":\"u0/xq\\u00e9\"}" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autofree char *plain = gw_optstr_to_plain_json (rows[i].text);
        g_assert_cmpstr (plain, ==, rows[i].plain);
    }
    g_autoptr (GwOptStr) opt = gw_optstr_parse ("{'filename':'\\u002fetc\\u002fx'}");
    g_assert_cmpstr (gw_optstr_get (opt, "filename"), ==, "/etc/x");
}

static char *
mark (const char *key, const char *value, gpointer user_data)
{
    return strcmp (key, "filename") == 0 ? g_strconcat ("<", value, ",>", NULL) : NULL;
}

static void
test_visit (void)
{
    static const struct {
        const char *before, *after;
    } rows[] = {
        {"filename=a,file.filename=b,name=c,filename",
         "filename=<a,,>,file.filename=<b,,>,name=c,filename"},
        {"{\"a\":{\"filename\":\"x\",\"n\":1},\"filename\":2,\"z.filename\":\"y\"}",
         "{\"a\":{\"filename\":\"<x,>\",\"n\":1},\"filename\":2,\"z.filename\":\"<y,>\"}"},
        {"{\"children\":[{\"filename\":\"x\"},\"ref\",[{\"filename\":\"y\"}]],\"filename\":[\"z\"]"
         "}",
         "{\"children\":[{\"filename\":\"<x,>\"},\"ref\",[{\"filename\":\"<y,>\"}]],"
         "\"filename\":[\"<z,>\"]}"},
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GwOptStr) opt = gw_optstr_parse (rows[i].before);
        gw_optstr_visit (opt, mark, NULL);
        g_autofree char *text = gw_optstr_to_text (opt);
        g_assert_cmpstr (text, ==, rows[i].after);
    }
}

/* --- the list of options ------------------------------------------------------------------------------ */

static void
test_cmdline (void)
{
    const char *const argv[] = { "/usr/bin/qemu", "-S",        "--device", "e1000", "disk.img",
                                 "-unknown",      "-argument", "-m",       "64",    "-nodefaults",
                                 NULL };
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) options = gw_cmdline_parse (argv, &error);
    g_assert_no_error (error);
    static const struct {
        const char *name, *arg;
        GwOptionAction action;
    } expected[] = {
        { "-S", NULL, GW_OPTION_DROP_FLAG },       { "--device", "e1000", GW_OPTION_DEVICE },
        { "", "disk.img", GW_OPTION_IMAGE },       { "-unknown", "-argument", GW_OPTION_KEEP },
        { "-m", "64", GW_OPTION_KEEP },            { "-nodefaults", NULL, GW_OPTION_FLAG },
    };
    g_assert_cmpuint (options->len, ==, G_N_ELEMENTS (expected));
    for (guint i = 0; i < options->len; i++) {
        const GwOption *option = options->pdata[i];
        g_assert_cmpstr (option->name, ==, expected[i].name);
        g_assert_cmpstr (option->arg, ==, expected[i].arg);
        g_assert_cmpint (option->info->action, ==, expected[i].action);
    }
    g_auto (GStrv) again = gw_cmdline_to_argv (options);
    g_assert_cmpstrv (again, argv + 1);
}

static void
test_cmdline_ends_early (void)
{
    const char *const argv[] = { "qemu", "-nodefaults", "-device", NULL }, *const none[] = { NULL };
    g_autoptr (GError) error = NULL;
    g_assert_null (gw_cmdline_parse (argv, &error));
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_OPTION_UNSUPPORTED);
    g_assert_nonnull (strstr (error->message, "'-device'"));
    g_autoptr (GPtrArray) empty = gw_cmdline_parse (none, NULL);
    g_assert_cmpuint (empty->len, ==, 0);
}

/* No row twice: the second would never be found. */
static void
test_option_table (void)
{
    static const char *const names[] = {
#define X(name, action, keys) name,
#include "options.def"
#undef X
    };
    for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
        g_assert_cmpstr (gw_option_get_info (names[i])->name, ==, names[i]);
        for (guint k = i + 1; k < G_N_ELEMENTS (names); k++)
            g_assert_cmpstr (names[i], !=, names[k]);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/optstr/round-trip", test_round_trip);
    g_test_add_func ("/optstr/get", test_get);
    g_test_add_func ("/optstr/first", test_first);
    g_test_add_func ("/optstr/set", test_set);
    g_test_add_func ("/optstr/flags", test_flags);
    g_test_add_func ("/optstr/visit", test_visit);
    g_test_add_func ("/optstr/single-quotes", test_single_quotes);
    g_test_add_func ("/cmdline/parse", test_cmdline);
    g_test_add_func ("/cmdline/ends-early", test_cmdline_ends_early);
    g_test_add_func ("/cmdline/table", test_option_table);
    return g_test_run ();
}
