/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest agent: where it is, and what a guest may say in its name. */
#include "guestagent.h"

#include <string.h>

#define QTREE \
    "bus: pcie.0\n  dev: virtio-serial-pci, id \"ports\"\n    bus: virtio-bus\n" \
    "      dev: virtserialport, id \"\"\n        name = \"godwit.tick\"\n        chardev = \"tick\"\n" \
    "      dev: virtserialport, id \"qga\"\n        chardev = \"agent0\"\r\n        nr = 3 (0x3)\r\n" \
    "        name = \"%s\"\r\n      dev: virtconsole, id \"\"\n        chardev = \"last\"\n"

static void
test_chardev (void)
{
    g_autofree char *with = g_strdup_printf (QTREE, "org.qemu.guest_agent.0");
    g_autofree char *without = g_strdup_printf (QTREE, "com.example");
    g_autofree char *found = gw_guest_agent_find_chardev (with);
    g_assert_cmpstr (found, ==, "agent0");
    g_assert_null (gw_guest_agent_find_chardev (without));
    g_assert_null (gw_guest_agent_find_chardev ("dev: virtserialport"));
    g_assert_null (gw_guest_agent_find_chardev (NULL));
}

static void
test_socket (void)
{
    static const struct {
        const char *filename;
        gboolean is_open;
        const char *path;
    } cases[] = {
        { "disconnected:unix:/run/a,b.sock,server=on", TRUE, "/run/a,b.sock" },
        { "disconnected:unix:/run/a.sock,server=on", FALSE, NULL },
        { "disconnected:unix:/run/a.sock", TRUE, NULL },
        { "disconnected:unix:a.sock,server=on", TRUE, NULL },
        { "unix:/run/a.sock,server=on", TRUE, NULL },
        { "disconnected:tcp:127.0.0.1:1,server=on", TRUE, NULL },
        { "pty", TRUE, NULL },
    };
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
        const char *why = NULL;
        g_autoptr (JsonArray) list = json_array_new ();
        json_array_add_string_element (list, "no object");
        json_array_add_object_element (list, gw_json_new ("label:s", "x", "filename:s", cases[i].filename,
                                                          "frontend-open:b", cases[i].is_open, NULL));
        g_autofree char *path = gw_guest_agent_find_socket (list, "x", &why);
        g_assert_cmpstr (path, ==, cases[i].path);
        g_assert_nonnull (why);
        g_assert_null (gw_guest_agent_find_socket (list, "y", &why));
    }
}

static GByteArray *
bytes_of (const char *text)
{
    return g_byte_array_append (g_byte_array_new (), (const guint8 *) text, (guint) strlen (text));
}

static void
test_lines (void)
{
    g_autoptr (GByteArray) buffer = bytes_of ("{\"error\": 1}\n\xff\xff{\"return\": 7}\n{\"return\": 8}\nrest");
    g_autofree char *first = gw_guest_agent_take_line (buffer, TRUE);
    g_autofree char *second = gw_guest_agent_take_line (buffer, FALSE);
    g_assert_cmpstr (first, ==, "{\"return\": 7}");
    g_assert_cmpstr (second, ==, "{\"return\": 8}");
    g_assert_null (gw_guest_agent_take_line (buffer, FALSE));
    g_assert_cmpuint (buffer->len, ==, 4);
    g_autoptr (GByteArray) old = bytes_of ("{\"return\": 1}\n");
    g_assert_null (gw_guest_agent_take_line (old, TRUE));
    g_autofree char *flood = g_strnfill (3 * GW_GUEST_AGENT_LINE_MAX, 'x');
    g_autoptr (GByteArray) endless = bytes_of (flood);
    g_assert_null (gw_guest_agent_take_line (endless, FALSE));
    g_assert_cmpuint (endless->len, ==, 0);
}

static void
test_numbers (void)
{
    gint64 number = 0;
    g_assert_true (gw_guest_agent_read_number ("{\"return\": 1700000000000000000}", &number));
    g_assert_cmpint (number, ==, G_GINT64_CONSTANT (1700000000000000000));
    static const char *const bad[] = { "", "7", "[]", "{\"return\": \"7\"}", "{\"return\": {}}",
                                       "{\"error\": {\"class\": \"CommandNotFound\"}}", "{\"return\"" };
    for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
        g_assert_false (gw_guest_agent_read_number (bad[i], &number));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/guestagent/chardev", test_chardev);
    g_test_add_func ("/guestagent/socket", test_socket);
    g_test_add_func ("/guestagent/lines", test_lines);
    g_test_add_func ("/guestagent/numbers", test_numbers);
    return g_test_run ();
}
