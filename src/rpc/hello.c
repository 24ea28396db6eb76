/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

#include <unistd.h>

#define FIELD_MAX 255 /* bytes of a name or version that we repeat in a message */

JsonObject *
gw_rpc_hello_build (const char *program)
{
    JsonObject *hello = json_object_new ();
    json_object_set_int_member (hello, "protocol", GW_RPC_PROTOCOL);
    json_object_set_string_member (hello, "program", program);
    json_object_set_string_member (hello, "version", GW_VERSION);
    json_object_set_string_member (hello, "host", g_get_host_name ());
    json_object_set_int_member (hello, "pid", getpid ());
    return hello;
}

/* All fields there and of their type? */
static gboolean
check_fields (JsonObject *hello, gint64 *ret_protocol, GError **error)
{
    gint64 pid;
    return gw_rpc_object_get_int (hello, "protocol", ret_protocol, error)
           && gw_rpc_object_get_string (hello, "program", error) != NULL
           && gw_rpc_object_get_string (hello, "version", error) != NULL
           && gw_rpc_object_get_string (hello, "host", error) != NULL
           && gw_rpc_object_get_int (hello, "pid", &pid, error);
}

static void
set_peer (GwRpc *rpc, JsonObject *hello)
{
    g_clear_pointer (&rpc->peer, json_object_unref);
    rpc->peer = json_object_ref (hello);
    if (rpc->state.state == GW_RPC_FRESH)
        gw_machine_move (&rpc->state, GW_RPC_READY);
}

static char *
clean_field (JsonObject *hello, const char *name)
{
    return gw_text_clean (json_object_get_string_member (hello, name), -1, FIELD_MAX);
}

static gboolean
fail_mismatch (GwRpc *rpc, JsonObject *hello, gint64 protocol, GError **error)
{
    g_autofree char *program = clean_field (hello, "program");
    g_autofree char *version = clean_field (hello, "version");
    g_autofree char *host = clean_field (hello, "host");
    return gw_fail (error, GW_CAUSE_PROTOCOL_MISMATCH,
                    "%s is %s %s on host '%s' and speaks protocol %" G_GINT64_FORMAT
                    ", this is godwit " GW_VERSION " and speaks protocol %d",
                    rpc->name, program, version, host, protocol, GW_RPC_PROTOCOL);
}

gboolean
gw_rpc_hello_take_answer (GwRpc *rpc, JsonNode *result, GError **error)
{
    gint64 protocol;
    if (!JSON_NODE_HOLDS_OBJECT (result))
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "the answer to hello is not an object");
    JsonObject *hello = json_node_get_object (result);
    if (!check_fields (hello, &protocol, error)) {
        g_prefix_error (error, "the answer of %s to hello: ", rpc->name);
        return FALSE;
    }
    if (protocol != GW_RPC_PROTOCOL)
        return fail_mismatch (rpc, hello, protocol, error);
    set_peer (rpc, hello);
    return TRUE;
}

gboolean
gw_rpc_hello_take_request (GwRpc *rpc, JsonObject *params, GError **error)
{
    gint64 protocol;
    if (!check_fields (params, &protocol, error)) {
        g_prefix_error (error, "hello: ");
        return FALSE;
    }
    if (protocol == GW_RPC_PROTOCOL)
        set_peer (rpc, params);
    return TRUE;
}
