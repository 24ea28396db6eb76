/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* src/rpc, what needs no stream: the JSON scan, both framings, messages both ways, addresses. */
#include "rpc-private.h"

#include <string.h>

/* --- scan --- */

static gboolean
scans (const char *text)
{
    g_autoptr (GError) error = NULL;
    gboolean ok = gw_rpc_scan_json (text, strlen (text), &error);
    g_assert_true (ok == (error == NULL));
    if (error != NULL)
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_RPC_INVALID);
    return ok;
}

static void
test_scan_accepts (void)
{
    static const char *const good[] = {
        "{}", "[]", " {\t\"a\" :\r\n1 } ", "[1,-0,0.5,1e3,-1.25E-2,true,false,null,\"\"]",
        "{\"a\":{\"b\":[{},[]]}}", "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"]",
        "[9223372036854775807,-9223372036854775808]", "[\"h\xc3\xa9\"]", "[\"// no comment\"]",
    };
    for (guint i = 0; i < G_N_ELEMENTS (good); i++)
        if (!scans (good[i]))
            g_error ("refused: %s", good[i]);
}

static void
test_scan_refuses (void)
{
    static const char *const bad[] = {
        "", " ", "1", "\"a\"", "null", "{", "[", "}", "{]", "[}", "{}{}", "{} x", "[1 2]", "[1,]",
        "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{'a':1}", "{1:1}", "[01]", "[+1]",
        "[1.]", "[.5]", "[1e]", "[-]", "[0x10]", "[NaN]", "[tru]", "[truex]", "[\"\\x\"]",
        "[\"\\u12g4\"]", "[\"\\u0000\"]", "[\"\\ud800\"]", "[\"\\udc00\"]", "[\"\\ud800\\u0041\"]",
        "[\"\\ud800\\", "[\"a\nb\"]", "[\"a\x01\"]", "[\"", "[\"\\", "[\"\\u1", "[\"\xff\"]",
        "[\"\xc3\"]", "/* c */{}", "[1]//", "var x = {};", "[9223372036854775808]",
        "[-9223372036854775809]", "[1e999]", "{}\x01",
        "[0.00000000000000000000000000000000000000000000000000000000000000001]",
    };
    for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
        if (scans (bad[i]))
            g_error ("accepted: %s", bad[i]);
    g_assert_false (gw_rpc_scan_json ("{}\0", 3, NULL));
    g_assert_false (gw_rpc_scan_json ("[\"\0\"]", 5, NULL));
}

/* `depth` brackets around nothing; objects and arrays in turn. */
static char *
nest (guint depth)
{
    GString *text = g_string_new (NULL);
    for (guint i = 0; i < depth; i++)
        g_string_append (text, i % 2 == 0 ? "[" : "{\"a\":");
    if (depth % 2 == 0)
        g_string_append (text, "1");
    for (guint i = depth; i-- > 0;)
        g_string_append (text, i % 2 == 0 ? "]" : "}");
    return g_string_free (text, FALSE);
}

static void
test_scan_depth (void)
{
    g_autofree char *deepest = nest (GW_RPC_DEPTH_MAX);
    g_autofree char *too_deep = nest (GW_RPC_DEPTH_MAX + 1);
    g_autofree char *absurd = nest (100000);
    g_autoptr (GError) error = NULL;
    g_assert_true (scans (deepest));
    g_assert_false (scans (absurd));
    g_assert_false (gw_rpc_scan_json (too_deep, strlen (too_deep), &error));
    g_assert_nonnull (strstr (error->message, "deeper than 32"));
}

/* [0,0,...]: a value costs two bytes here and a hundred times that in memory. */
static void
test_scan_values (void)
{
    gsize len = 2 * (gsize) GW_RPC_VALUES_MAX + 1;
    g_autofree char *text = g_malloc (len);
    for (gsize i = 0; i < len; i += 2)
        memcpy (text + i, ",0", MIN (2, len - i));
    text[0] = '[';
    text[len - 1] = ']';
    g_autoptr (GError) error = NULL;
    g_assert_false (gw_rpc_scan_json (text, len, &error));
    g_assert_nonnull (strstr (error->message, "more than 262144 values"));
    text[len - 3] = ']';
    g_assert_true (gw_rpc_scan_json (text, len - 2, NULL));
}

/* --- frame --- */

/* Feeds `text` in pieces of `step` bytes and joins the messages with '|', errors as "!". */
static char *
split (const char *text, gsize len, gsize step)
{
    GString *out = g_string_new (NULL);
    GwRpcFrame frame;
    gboolean ok = TRUE;
    gw_rpc_frame_init (&frame);
    for (gsize i = 0; i < len && ok; i += step) {
        const char *message;
        gsize n;
        gw_rpc_frame_push (&frame, (const guint8 *) text + i, MIN (step, len - i));
        while ((ok = gw_rpc_frame_next (&frame, &message, &n, NULL)) && message != NULL) {
            g_string_append_len (out, message, (gssize) n);
            g_string_append_c (out, '|');
        }
    }
    if (!ok)
        g_string_append_c (out, '!');
    else if (!gw_rpc_frame_is_empty (&frame))
        g_string_append (out, "...");
    gw_rpc_frame_clear (&frame);
    return g_string_free (out, FALSE);
}

static void
test_frame_table (void)
{
    static const struct {
        const char *in;
        const char *out;
    } cases[] = {
        { "", "" },
        { "{}\n", "{}|" },
        { "\r\n \n{}\r\n\n[1]\n", "{}\r|[1]|" },
        { "{\"a\":1}\n{", "{\"a\":1}|..." },
        { "{}\ngarbage\n", "{}|garbage|" },
        { "hello\n", "!" },
        { "\x16\x03\x01", "!" },
        { "Content-Length: 2\r\n\r\n{}Content-Length: 3\r\n\r\n[1]", "{}|[1]|" },
        { "content-length:2\r\nContent-Type: application/json\r\n\r\n{}", "{}|" },
        { "Content-Type: x\r\nContent-Length:  4 \r\n\r\n{\n\n}", "{\n\n}|" },
        { "Content-Length: 4\r\n\r\n{}", "..." },
        { "Content-Length: 0\r\n\r\n", "!" },
        { "Content-Length: -1\r\n\r\n", "!" },
        { "Content-Length: 0x10\r\n\r\n", "!" },
        { "Content-Length: 99999999999999999999\r\n\r\n", "!" },
        { "Content-Length: 8388609\r\n\r\n", "!" },
        { "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "!" },
        { "Content-Length 2\r\n\r\n{}", "!" },
        { "Content-Type: x\r\n\r\n{}", "!" },
        { "Connection refused by the bastion\r\n\r\n", "!" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
        gsize len = strlen (cases[i].in);
        static const gsize steps[] = { 1, 2, 3, 7, 1000 };
        for (guint k = 0; k < G_N_ELEMENTS (steps); k++) {
            g_autofree char *out = split (cases[i].in, len, steps[k]);
            g_assert_cmpstr (out, ==, cases[i].out);
        }
    }
    g_autofree char *nul = split ("Content-Length: 2\0\r\n\r\n{}", 24, 24);
    g_assert_cmpstr (nul, ==, "!");
}

static void
test_frame_bounds (void)
{
    gsize len = GW_RPC_MESSAGE_MAX + 2;
    g_autofree char *text = g_malloc (len);
    memset (text, ' ', len);
    text[0] = '{';
    text[GW_RPC_MESSAGE_MAX - 1] = '}';
    text[GW_RPC_MESSAGE_MAX] = '\n';
    text[GW_RPC_MESSAGE_MAX + 1] = '\n';
    g_autofree char *largest = split (text, len, 65536);
    g_assert_cmpuint (strlen (largest), ==, GW_RPC_MESSAGE_MAX + 1);
    text[GW_RPC_MESSAGE_MAX] = ' ';
    g_autofree char *too_big = split (text, len, 65536);
    g_assert_cmpstr (too_big, ==, "!");
    memset (text, 'C', GW_RPC_HEADER_MAX + 1);
    g_autofree char *long_header = split (text, GW_RPC_HEADER_MAX + 1, 100);
    g_assert_cmpstr (long_header, ==, "!");
}

/* A message of 8 MiB that comes byte by byte costs one look at each byte, not one at all so far. */
static void
test_frame_is_linear (void)
{
    gsize len = GW_RPC_MESSAGE_MAX;
    g_autofree char *text = g_malloc (len);
    memset (text, '[', len);
    text[len - 1] = '\n';
    gint64 from_us = g_get_monotonic_time ();
    g_autofree char *out = split (text, len, 1);
    g_assert_cmpuint (strlen (out), ==, len);
    /* 0.3 s measured; a quadratic splitter needs hours */
    g_assert_cmpint (g_get_monotonic_time () - from_us, <, 60 * G_USEC_PER_SEC);
}

static void
test_frame_wrap (void)
{
    g_autoptr (GBytes) line = gw_rpc_frame_wrap (GW_RPC_FRAMING_UNKNOWN, "{}", 2);
    g_autoptr (GBytes) header = gw_rpc_frame_wrap (GW_RPC_FRAMING_HEADER, "{}", 2);
    g_autoptr (GBytes) want_line = g_bytes_new_static ("{}\n", 3);
    g_autoptr (GBytes) want_header = g_bytes_new_static ("Content-Length: 2\r\n\r\n{}", 23);
    g_assert_true (g_bytes_equal (line, want_line));
    g_assert_true (g_bytes_equal (header, want_header));
}

/* --- message --- */

#define RPC "{\"jsonrpc\":\"2.0\","

static void
test_message_table (void)
{
    static const struct {
        const char *text;
        GwRpcMessageKind kind;
        int code; /* INVALID */
        gint64 id;
        gboolean is_answerable;
    } cases[] = {
        { RPC "\"method\":\"ping\",\"id\":7}", GW_RPC_MESSAGE_REQUEST, 0, 7, FALSE },
        { RPC "\"method\":\"ping\",\"id\":0,\"params\":{}}", GW_RPC_MESSAGE_REQUEST, 0, 0, FALSE },
        { RPC "\"method\":\"event\"}", GW_RPC_MESSAGE_NOTIFICATION, 0, -1, FALSE },
        { RPC "\"id\":1,\"result\":null}", GW_RPC_MESSAGE_RESULT, 0, 1, FALSE },
        { RPC "\"id\":1,\"error\":{\"code\":1,\"message\":\"\"}}", GW_RPC_MESSAGE_ERROR, 0, 1,
          FALSE },
        { RPC "\"id\":null,\"error\":{\"code\":1,\"message\":\"\"}}", GW_RPC_MESSAGE_ERROR, 0, -1,
          FALSE },
        { "[]", GW_RPC_MESSAGE_INVALID, -32600, -1, TRUE },
        { "{}", GW_RPC_MESSAGE_INVALID, -32600, -1, TRUE },
        { "{\"jsonrpc\":\"1.0\",\"method\":\"ping\",\"id\":7}", GW_RPC_MESSAGE_INVALID, -32600, -1,
          TRUE },
        { RPC "\"id\":1}", GW_RPC_MESSAGE_INVALID, -32600, -1, TRUE },
        { RPC "\"method\":5,\"id\":1}", GW_RPC_MESSAGE_INVALID, -32600, -1, TRUE },
        { RPC "\"method\":\"ping\",\"id\":-1}", GW_RPC_MESSAGE_INVALID, -32600, -1, TRUE },
        { RPC "\"method\":\"ping\",\"id\":null}", GW_RPC_MESSAGE_INVALID, -32600, -1, TRUE },
        { RPC "\"method\":\"ping\",\"id\":1.5}", GW_RPC_MESSAGE_INVALID, -32600, -1, TRUE },
        { RPC "\"method\":\"ping\",\"id\":\"a\"}", GW_RPC_MESSAGE_INVALID, -32600, -1, TRUE },
        { RPC "\"method\":\"event\",\"id\":3}", GW_RPC_MESSAGE_INVALID, -32600, 3, TRUE },
        { RPC "\"method\":\"no.such\",\"id\":4}", GW_RPC_MESSAGE_INVALID, -32601, 4, TRUE },
        { RPC "\"method\":\"no.such\"}", GW_RPC_MESSAGE_INVALID, -32601, -1, FALSE },
        { RPC "\"method\":\"ping\"}", GW_RPC_MESSAGE_INVALID, -32600, -1, FALSE },
        { RPC "\"method\":\"ping\",\"id\":5,\"params\":[]}", GW_RPC_MESSAGE_INVALID, -32602, 5,
          TRUE },
        { RPC "\"method\":\"event\",\"params\":1}", GW_RPC_MESSAGE_INVALID, -32602, -1, FALSE },
        { RPC "\"id\":1,\"result\":1,\"error\":{}}", GW_RPC_MESSAGE_INVALID, -32600, -1, FALSE },
        { RPC "\"id\":null,\"result\":1}", GW_RPC_MESSAGE_INVALID, -32600, -1, FALSE },
    };
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
        g_auto (GwRpcMessage) message = { 0 };
        gsize len = strlen (cases[i].text);
        g_assert_true (gw_rpc_message_parse (cases[i].text, len, &message, NULL));
        g_test_message ("%s", cases[i].text);
        g_assert_cmpint (message.kind, ==, cases[i].kind);
        g_assert_cmpint (message.code, ==, cases[i].code);
        g_assert_cmpint (message.id, ==, cases[i].id);
        g_assert_true (message.is_answerable == cases[i].is_answerable);
        g_assert_true ((message.error != NULL)
                       == (message.kind == GW_RPC_MESSAGE_ERROR
                           || message.kind == GW_RPC_MESSAGE_INVALID));
    }
}

static void
test_message_errors (void)
{
    static const struct {
        const char *error;
        GwCause cause;
        const char *message;
    } cases[] = {
        { "{\"code\":-32000,\"message\":\"gone\",\"data\":{\"cause\":\"link-lost\"}}",
          GW_CAUSE_LINK_LOST, "gone" },
        { "{\"code\":-32000,\"message\":\"gone\",\"data\":{\"cause\":\"from-2090\"}}",
          GW_CAUSE_INTERNAL, "gone (cause 'from-2090')" },
        { "{\"code\":-32601,\"message\":\"what\"}", GW_CAUSE_UNSUPPORTED, "what" },
        { "{\"code\":-32602,\"message\":\"what\"}", GW_CAUSE_RPC_INVALID, "what" },
        { "{\"code\":-32603,\"message\":\"what\",\"data\":7}", GW_CAUSE_INTERNAL, "what" },
        { "{\"code\":1,\"message\":\"a\\u0007b\"}", GW_CAUSE_INTERNAL, "a\\x07b" },
        { "{\"code\":1}", GW_CAUSE_RPC_INVALID, "the peer answered a malformed error" },
        { "7", GW_CAUSE_RPC_INVALID, "the peer answered a malformed error" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
        g_auto (GwRpcMessage) message = { 0 };
        g_autofree char *text = g_strdup_printf (RPC "\"id\":1,\"error\":%s}", cases[i].error);
        g_assert_true (gw_rpc_message_parse (text, strlen (text), &message, NULL));
        g_assert_cmpint (gw_error_get_cause (message.error), ==, cases[i].cause);
        g_assert_cmpstr (message.error->message, ==, cases[i].message);
    }
}

/* All causes survive the way over the wire. */
static void
test_message_error_round_trip (void)
{
    for (int cause = GW_CAUSE_NONE + 1; cause < GW_N_CAUSES; cause++) {
        g_auto (GwRpcMessage) message = { 0 };
        g_autoptr (GError) why = g_error_new (GW_ERROR, cause, "it \"is\" \n %d", cause);
        gsize len;
        g_autofree char *text = gw_rpc_message_build_error (42, GW_RPC_CODE_CAUSE, why, &len);
        g_assert_true (gw_rpc_message_parse (text, len, &message, NULL));
        g_assert_cmpint (message.kind, ==, GW_RPC_MESSAGE_ERROR);
        g_assert_cmpint (message.id, ==, 42);
        g_assert_cmpint (gw_error_get_cause (message.error), ==, cause);
        g_assert_cmpstr (message.error->message, ==, why->message);
    }
}

static void
test_message_table_of_methods (void)
{
    for (guint i = 0; i < GW_N_RPC_METHODS; i++) {
        const GwRpcMethodInfo *info = gw_rpc_method_get_info ((GwRpcMethod) i);
        g_assert_cmpint (gw_rpc_method_from_name (info->name), ==, i);
        g_assert_true ((info->kind & GW_RPC_KIND_REQUEST) == 0 || info->timeout_ms > 0);
        g_assert_cmpuint (info->max_params_bytes, >, 0);
        g_assert_cmpuint (info->max_params_bytes + GW_RPC_ENVELOPE_MAX, <, GW_RPC_MESSAGE_MAX);
    }
    g_assert_cmpint (gw_rpc_method_from_name ("no.such"), ==, GW_N_RPC_METHODS);
    g_assert_cmpint (gw_rpc_method_from_name (NULL), ==, GW_N_RPC_METHODS);
}

static JsonObject *
object_with (const char *name, gsize n_bytes)
{
    g_autofree char *text = g_strnfill (n_bytes, 'x');
    JsonObject *object = json_object_new ();
    json_object_set_string_member (object, name, text);
    return object;
}

static void
test_message_limits_of_sender (void)
{
    gsize len;
    g_autoptr (GError) error = NULL;
    gsize max = gw_rpc_method_get_info (GW_RPC_EVENT)->max_params_bytes;
    g_autoptr (JsonObject) fits = object_with ("a", max - 100);
    g_autofree char *text = gw_rpc_message_build_request (GW_RPC_EVENT, -1, fits, &len, NULL);
    g_assert_nonnull (text);
    g_autoptr (JsonObject) too_big = object_with ("a", max + GW_RPC_ENVELOPE_MAX);
    g_assert_null (gw_rpc_message_build_request (GW_RPC_EVENT, -1, too_big, &len, &error));
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_RPC_INVALID);
    g_assert_nonnull (strstr (error->message, "'event'"));

    g_autoptr (JsonObject) not_text = json_object_new ();
    json_object_set_string_member (not_text, "path", "\xff\xfe");
    g_clear_error (&error);
    g_assert_null (gw_rpc_message_build_request (GW_RPC_EVENT, -1, not_text, &len, &error));
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_RPC_INVALID);
}

/* The receiver has the same limit, for peers that do not keep to it. */
static void
test_message_limits_of_receiver (void)
{
    gsize max = gw_rpc_method_get_info (GW_RPC_EVENT)->max_params_bytes;
    g_autofree char *filler = g_strnfill (max + GW_RPC_ENVELOPE_MAX, 'x');
    g_autofree char *text
        = g_strdup_printf (RPC "\"method\":\"event\",\"params\":{\"a\":\"%s\"}}", filler);
    g_auto (GwRpcMessage) message = { 0 };
    g_assert_true (gw_rpc_message_parse (text, strlen (text), &message, NULL));
    g_assert_cmpint (message.kind, ==, GW_RPC_MESSAGE_INVALID);
    g_assert_cmpint (message.code, ==, GW_RPC_CODE_PARAMS);
    g_assert_false (message.is_answerable);
}

/* --- address --- */

static void
test_address_good (void)
{
    static const struct {
        const char *text;
        GwDestKind kind;
        const char *path, *user, *host;
        guint16 port;
    } cases[] = {
        { "unix:/run/godwitd.sock", GW_DEST_UNIX, "/run/godwitd.sock", NULL, NULL, 0 },
        { "unix:here", GW_DEST_UNIX, "here", NULL, NULL, 0 },
        { "ssh://hostb", GW_DEST_SSH, NULL, NULL, "hostb", 0 },
        { "ssh://root@host-b.example.org:2222", GW_DEST_SSH, NULL, "root", "host-b.example.org",
          2222 },
        { "ssh://[2001:db8::1]", GW_DEST_SSH, NULL, NULL, "2001:db8::1", 0 },
        { "ssh://vm_admin@[fe80::1%eth0]:22", GW_DEST_SSH, NULL, "vm_admin", "fe80::1%eth0", 22 },
        { "ssh://10.0.0.1:65535", GW_DEST_SSH, NULL, NULL, "10.0.0.1", 65535 },
        { "godwit://hostb", GW_DEST_GODWIT, NULL, NULL, "hostb", 0 },
        { "godwit://[::1]:1", GW_DEST_GODWIT, NULL, NULL, "::1", 1 },
    };
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
        g_autoptr (GError) error = NULL;
        g_autoptr (GwRpcAddress) address = gw_rpc_address_parse (cases[i].text, &error);
        g_assert_no_error (error);
        g_assert_cmpint (address->kind, ==, cases[i].kind);
        g_assert_cmpstr (address->path, ==, cases[i].path);
        g_assert_cmpstr (address->user, ==, cases[i].user);
        g_assert_cmpstr (address->host, ==, cases[i].host);
        g_assert_cmpuint (address->port, ==, cases[i].port);
        g_assert_cmpstr (address->text, ==, cases[i].text);
    }
}

static void
test_address_bad (void)
{
    static const char *const bad[] = {
        "", "hostb", "/run/x", "unix:", "unix", "http://hostb", "SSH://hostb", "ssh:hostb",
        "ssh://", "ssh://-oProxyCommand=id", "ssh://-lroot@hostb", "ssh://@hostb", "ssh://root@",
        "ssh://root@-hostb", "ssh://ro ot@hostb", "ssh://root;id@hostb", "ssh://a@b@hostb",
        "ssh://host b", "ssh://host$(id)", "ssh://host`id`", "ssh://host;id", "ssh://host/",
        "ssh://host\n", "ssh://h\xc3\xb6st", "ssh://hostb:", "ssh://hostb:0", "ssh://hostb:65536",
        "ssh://hostb:-1", "ssh://hostb:+1", "ssh://hostb:2x", "ssh://2001:db8::1", "ssh://[::1",
        "ssh://[]", "ssh://[::1]x", "ssh://[::1]:", "ssh://[hostb]", "ssh://[10.0.0.1]",
        "ssh://[fe80::1%]", "ssh://[fe80::1%-x]", "ssh://[fe80::1%a%b]", "godwit://",
        "godwit://u@hostb",
    };
    for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
        g_autoptr (GError) error = NULL;
        g_autoptr (GwRpcAddress) address = gw_rpc_address_parse (bad[i], &error);
        if (address != NULL)
            g_error ("accepted: %s", bad[i]);
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_USAGE);
    }
    g_autofree char *path = g_strnfill (GW_RPC_UNIX_PATH_MAX + 1, 'p');
    g_autofree char *text = g_strconcat ("unix:", path, NULL);
    g_autoptr (GError) error = NULL;
    g_assert_null (gw_rpc_address_parse (text, &error));
    g_assert_nonnull (strstr (error->message, "108 bytes"));
    text[strlen (text) - 1] = '\0';
    g_autoptr (GwRpcAddress) longest = gw_rpc_address_parse (text, NULL);
    g_assert_nonnull (longest);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/rpc/scan/accepts", test_scan_accepts);
    g_test_add_func ("/rpc/scan/refuses", test_scan_refuses);
    g_test_add_func ("/rpc/scan/depth", test_scan_depth);
    g_test_add_func ("/rpc/scan/values", test_scan_values);
    g_test_add_func ("/rpc/frame/table", test_frame_table);
    g_test_add_func ("/rpc/frame/bounds", test_frame_bounds);
    g_test_add_func ("/rpc/frame/is-linear", test_frame_is_linear);
    g_test_add_func ("/rpc/frame/wrap", test_frame_wrap);
    g_test_add_func ("/rpc/message/table", test_message_table);
    g_test_add_func ("/rpc/message/errors", test_message_errors);
    g_test_add_func ("/rpc/message/error-round-trip", test_message_error_round_trip);
    g_test_add_func ("/rpc/message/methods", test_message_table_of_methods);
    g_test_add_func ("/rpc/message/limits-of-sender", test_message_limits_of_sender);
    g_test_add_func ("/rpc/message/limits-of-receiver", test_message_limits_of_receiver);
    g_test_add_func ("/rpc/address/good", test_address_good);
    g_test_add_func ("/rpc/address/bad", test_address_bad);
    return g_test_run ();
}
