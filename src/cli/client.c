/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli.h"

#include <string.h>

GwRpc *
gw_cli_connect (const char *address, GMainContext *context, GError **error)
{
    g_autoptr (GwRpcAddress) parsed = gw_rpc_address_parse (address, error);
    if (parsed == NULL)
        return NULL;
    g_autoptr (GwRpc) rpc = gw_rpc_connect (parsed, context, NULL, error);
    if (rpc == NULL || !gw_rpc_hello (rpc, "godwit", NULL, NULL, error))
        return NULL;
    return g_steal_pointer (&rpc);
}

char *
gw_cli_control_dir (const GwHostConfig *config)
{
    return g_build_filename (config->runtime_dir, "control", NULL);
}

static void
add_commands (GStrvBuilder *builder)
{
    g_autoptr (GwHostConfig) config = gw_host_config_new (NULL);
    g_autofree char *path = gw_cli_control_dir (config);
    g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
        g_autofree char *address = g_strdup_printf ("unix:%s/%s", path, name);
        g_strv_builder_add (builder, address);
    }
}

GStrv
gw_cli_list_agents (const char *given)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    const char *agent = given != NULL ? given : g_getenv ("GODWIT_AGENT");
    if (agent != NULL && *agent != '\0') {
        g_strv_builder_add (builder, agent);
        return g_strv_builder_end (builder);
    }
    if (g_file_test (GW_HOST_SOCKET, G_FILE_TEST_EXISTS))
        g_strv_builder_add (builder, "unix:" GW_HOST_SOCKET);
    add_commands (builder);
    return g_strv_builder_end (builder);
}
