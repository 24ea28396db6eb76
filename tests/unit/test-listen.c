/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The destination's data socket, and the addresses at which it says to be. */
#include "host-internal.h"

#include <string.h>

/* Connects to "ADDRESS:PORT". */
static gboolean
can_connect (const char *candidate)
{
    g_autoptr (GSocketClient) client = g_socket_client_new ();
    g_socket_client_set_timeout (client, 5);
    g_autoptr (GSocketConnection) connection =
        g_socket_client_connect_to_host (client, candidate, 1, NULL, NULL);
    return connection != NULL;
}

static void
test_one (void)
{
    static const char *const addresses[] = { "127.0.0.1", NULL };
    g_autoptr (GError) error = NULL;
    g_auto (GStrv) candidates = NULL;
    g_autoptr (GArray) fds = gw_data_listen (addresses, NULL, &candidates, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (fds->len, ==, 1);
    g_assert_cmpuint (g_strv_length (candidates), ==, 1);
    g_assert_true (g_str_has_prefix (candidates[0], "127.0.0.1:"));
    g_assert_cmpint (atoi (candidates[0] + strlen ("127.0.0.1:")), >, 0);
    g_assert_true (can_connect (candidates[0]));
}

static void
test_one_of_ipv6 (void)
{
    static const char *const addresses[] = { "::1", NULL };
    g_autoptr (GError) error = NULL;
    g_auto (GStrv) candidates = NULL;
    g_autoptr (GArray) fds = gw_data_listen (addresses, NULL, &candidates, &error);
    if (fds == NULL) {
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_HOST_IO);
        g_test_skip ("no IPv6 on this host");
        return;
    }
    g_assert_true (g_str_has_prefix (candidates[0], "[::1]:"));
    g_assert_true (can_connect (candidates[0]));
}

/* A socket each, and none elsewhere. */
static void
test_several (void)
{
    static const char *const addresses[] = { "127.0.0.3", "127.0.0.2", NULL };
    g_autoptr (GError) error = NULL;
    g_auto (GStrv) candidates = NULL;
    g_autoptr (GArray) fds = gw_data_listen (addresses, NULL, &candidates, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (fds->len, ==, 2);
    g_assert_cmpuint (g_strv_length (candidates), ==, 2);
    g_assert_true (g_str_has_prefix (candidates[0], "127.0.0.3:"));
    g_assert_true (g_str_has_prefix (candidates[1], "127.0.0.2:"));
    g_assert_true (can_connect (candidates[0]) && can_connect (candidates[1]));
    g_autofree char *elsewhere =
        g_strdup_printf ("127.0.0.1:%s", candidates[0] + strlen ("127.0.0.3:"));
    g_assert_false (can_connect (elsewhere));
}

/* Loopback comes last, after the address by which the peer's ssh came; none stands there twice. */
static void
test_own (void)
{
    static const char *const none[] = { NULL };
    g_autoptr (GError) error = NULL;
    g_auto (GStrv) candidates = NULL;
    g_setenv ("SSH_CONNECTION", "192.0.2.1 4711 192.0.2.9 22", TRUE);
    g_autoptr (GArray) fds = gw_data_listen (none, NULL, &candidates, &error);
    g_unsetenv ("SSH_CONNECTION");
    g_assert_no_error (error);
    g_assert_cmpuint (fds->len, ==, 1);
    guint n = g_strv_length (candidates);
    g_assert_cmpuint (n, >=, 2);
    g_assert_true (g_str_has_prefix (candidates[0], "192.0.2.9:"));
    gboolean is_loopback = FALSE;
    for (guint i = 0; i < n; i++) {
        gboolean is_this = g_str_has_prefix (candidates[i], "127.") ||
                           g_str_has_prefix (candidates[i], "[::1]:");
        g_assert_true (is_this || !is_loopback);
        is_loopback = is_this;
        for (guint k = 0; k < i; k++)
            g_assert_cmpstr (candidates[i], !=, candidates[k]);
    }
    g_assert_true (is_loopback && can_connect (candidates[n - 1]));
}

static void
test_bad (void)
{
    static const struct {
        const char *address;
        GwCause cause;
    } rows[] = {
        { "localhost", GW_CAUSE_USAGE },       { "", GW_CAUSE_USAGE },
        { "127.0.0.1:80", GW_CAUSE_USAGE },    { "[::1]", GW_CAUSE_USAGE },
        { "192.0.2.7", GW_CAUSE_HOST_IO },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        const char *const addresses[] = { rows[i].address, NULL };
        g_autoptr (GError) error = NULL;
        g_auto (GStrv) candidates = NULL;
        g_autofree char *part = g_strdup_printf ("'%s'", rows[i].address);
        g_assert_null (gw_data_listen (addresses, NULL, &candidates, &error));
        g_assert_cmpint (gw_error_get_cause (error), ==, rows[i].cause);
        g_assert_nonnull (strstr (error->message, part));
        g_assert_null (candidates);
    }
}

/* One that cannot be had spoils the others, and there is a bound. */
static void
test_bad_among_others (void)
{
    const char *const some[] = { "127.0.0.1", "192.0.2.7", NULL };
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    for (guint i = 0; i <= GW_DATA_ADDRESSES; i++)
        g_strv_builder_add (builder, "127.0.0.1");
    g_auto (GStrv) many = g_strv_builder_end (builder);
    g_auto (GStrv) candidates = NULL;
    g_autoptr (GError) error = NULL;
    g_assert_null (gw_data_listen (some, NULL, &candidates, &error));
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_HOST_IO);
    g_clear_error (&error);
    g_assert_null (gw_data_listen ((const char *const *) many, NULL, &candidates, &error));
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_USAGE);
    g_assert_null (candidates);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/listen/one", test_one);
    g_test_add_func ("/listen/one-of-ipv6", test_one_of_ipv6);
    g_test_add_func ("/listen/several", test_several);
    g_test_add_func ("/listen/own", test_own);
    g_test_add_func ("/listen/bad", test_bad);
    g_test_add_func ("/listen/bad-among-others", test_bad_among_others);
    return g_test_run ();
}
