/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent-internal.h"

static void
test_names (void)
{
    static const char *const patterns[] = { "hosta.example.org", "*.Cluster.test", NULL };
    static const struct {
        const char *names[3], *found;
    } table[] = {
        { { "hosta.example.org" }, "hosta.example.org" },
        { { "other", "hosta.example.org" }, "hosta.example.org" },
        { { "n1.cluster.test" }, "n1.cluster.test" },
        { { "cluster.test" }, NULL },
        { { "hosta.example.org.evil" }, NULL },
        { { "xhosta.example.org" }, NULL },
        { { NULL }, NULL },
    };
    for (guint i = 0; i < G_N_ELEMENTS (table); i++) {
        g_autoptr (GError) error = NULL;
        g_assert_cmpstr (gw_peers_find_name (patterns, table[i].names, &error), ==, table[i].found);
        g_assert_true ((error == NULL) == (table[i].found != NULL));
        g_assert_true (error == NULL || gw_error_get_cause (error) == GW_CAUSE_PEER_REFUSED);
    }
}

static void
test_networks (void)
{
    static const char *const some[] = { "10.0.0.0/8", "fd00::/16", NULL }, *const none[] = { NULL };
    static const struct {
        const char *address;
        gboolean is_from;
    } table[] = { { "10.1.2.3", TRUE }, { "11.0.0.1", FALSE }, { "fd00::1", TRUE }, { "fe80::1", FALSE } };
    for (guint i = 0; i < G_N_ELEMENTS (table); i++) {
        g_autoptr (GInetAddress) address = g_inet_address_new_from_string (table[i].address);
        g_assert_cmpint (gw_peers_is_from (some, address), ==, table[i].is_from);
        g_assert_true (gw_peers_is_from (none, address));
    }
}

/* Whatever is added to the table of messages is for this host's own people until somebody says otherwise. */
static void
test_requests (void)
{
    static const GwRpcMethod own[] = { GW_RPC_VM_ADOPT,  GW_RPC_VM_DERIVE,   GW_RPC_TOKEN_PUT,  GW_RPC_QEMU_MIGRATE,
                                       GW_RPC_QEMU_QUIT, GW_RPC_QEMU_RESUME, GW_RPC_RECORD_PUT, GW_RPC_JOB_RUN,
                                       GW_RPC_JOB_ABORT, GW_RPC_VM_LIST,     GW_RPC_REPORT_GET, GW_RPC_JOB_STATUS };
    g_autoptr (JsonObject) params = gw_json_new ("side:s", "destination", NULL);
    g_autoptr (JsonObject) as_source = gw_json_new ("side:s", "source", NULL);
    g_autoptr (GError) error = NULL;
    for (guint i = 0; i < G_N_ELEMENTS (own); i++) {
        g_assert_false (gw_agent_may_ask (own[i], params, &error));
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_NOT_ALLOWED);
        g_clear_error (&error);
    }
    g_assert_true (gw_agent_may_ask (GW_RPC_JOB_OPEN, params, NULL));
    g_assert_false (gw_agent_may_ask (GW_RPC_JOB_OPEN, as_source, NULL));
    g_assert_true (gw_agent_may_ask (GW_RPC_QEMU_LAUNCH, params, NULL));
}

static void
test_endpoints (void)
{
    static const struct {
        const char *text, *address;
        guint16 port;
    } table[] = {
        { "192.0.2.1", "192.0.2.1", GW_RPC_PORT }, { "192.0.2.1:80", "192.0.2.1", 80 },
        { "::", "::", GW_RPC_PORT },               { "[::1]:99", "::1", 99 },
        { "[::1]", "::1", GW_RPC_PORT },           { "host", NULL, 0 },
        { "192.0.2.1:", NULL, 0 },                 { "192.0.2.1:65536", NULL, 0 },
        { "[::1", NULL, 0 },                       { "[::1]x", NULL, 0 },
        { "", NULL, 0 },
    };
    for (guint i = 0; i < G_N_ELEMENTS (table); i++) {
        g_autofree char *address = NULL;
        guint16 port = 0;
        g_assert_cmpint (gw_rpc_endpoint_parse (table[i].text, &address, &port), ==, table[i].address != NULL);
        g_assert_cmpstr (address, ==, table[i].address);
        g_assert_cmpuint (port, ==, table[i].port);
    }
}

/* --- room -------------------------------------------------------------------------------------------------------- */

/* Enters `n` from addresses that `format` makes of 0, 1, ... */
static void
crowd (GwRoom *room, GwGuest **guests, guint n, const char *format)
{
    for (guint i = 0; i < n; i++) {
        g_autofree char *address = g_strdup_printf ("%s%x", format, i / 16);
        guests[i] = gw_room_enter (room, address, NULL);
        g_assert_nonnull (guests[i]);
    }
}

static void
leave_all (GwRoom *room, GwGuest **guests, guint n)
{
    for (guint i = 0; i < n; i++)
        gw_room_leave (room, guests[i]);
}

/* Who says nothing takes no room of who does, however many addresses of one network he has. */
static void
test_strangers (void)
{
    static const char *const networks[] = { "127.0.0.", "2001:db8::" };
    for (guint i = 0; i < G_N_ELEMENTS (networks); i++) {
        GwRoom *room = gw_room_new (64, 16);
        GwGuest *silent[64], *more[64];
        crowd (room, silent, 64, networks[i]);
        GwGuest *good = gw_room_enter (room, "10.0.0.1", NULL);
        g_assert_nonnull (good);
        crowd (room, more, i == 0 ? 0 : 64, "2001:db8::1:");
        g_assert_true (gw_room_let_in (room, good));
        g_assert_false (gw_room_let_in (room, silent[0])); /* it was sent away */
        gw_room_leave (room, good);
        leave_all (room, silent, 64);
        leave_all (room, more, i == 0 ? 0 : 64);
        gw_room_free (room);
    }
}

static void
test_bounds (void)
{
    GwRoom *room = gw_room_new (4, 3);
    GwGuest *guests[4];
    for (guint i = 0; i < 3; i++) {
        guests[i] = gw_room_enter (room, "10.0.0.1", NULL);
        g_assert_true (gw_room_let_in (room, guests[i]));
    }
    g_assert_null (gw_room_enter (room, "10.0.0.1", NULL)); /* no more from there */
    guests[3] = gw_room_enter (room, "10.0.0.2", NULL);
    GwGuest *late = gw_room_enter (room, "10.0.0.3", NULL);
    g_assert_true (gw_room_let_in (room, guests[3]));
    g_assert_false (gw_room_let_in (room, late)); /* nor at all */
    g_assert_null (gw_room_enter (room, "10.0.0.4", NULL));
    gw_room_leave (room, guests[0]);
    g_assert_true (gw_room_let_in (room, late));
    gw_room_leave (room, late);
    leave_all (room, guests + 1, 3);
    gw_room_free (room);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/peers/names", test_names);
    g_test_add_func ("/peers/networks", test_networks);
    g_test_add_func ("/peers/requests", test_requests);
    g_test_add_func ("/peers/endpoints", test_endpoints);
    g_test_add_func ("/peers/strangers", test_strangers);
    g_test_add_func ("/peers/bounds", test_bounds);
    return g_test_run ();
}
