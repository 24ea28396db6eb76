/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cleanup: what jobs that died have left on this host. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    char *agent;
    gboolean is_json, is_dry, is_now;
} Options;

static void
options_clear (Options *options)
{
    g_free (options->agent);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Options, options_clear)

static int
parse (int *argc, char ***argv, Options *options)
{
    const GOptionEntry entries[] = {
        { "agent", 0, 0, G_OPTION_ARG_STRING, &options->agent, "Let this agent do it (GODWIT_AGENT)", "unix:PATH" },
        { "dry-run", 0, 0, G_OPTION_ARG_NONE, &options->is_dry, "Only say what would be done", NULL },
        { "now", 0, 0, G_OPTION_ARG_NONE, &options->is_now, "Do not keep images for a day", NULL },
        { "json", 0, 0, G_OPTION_ARG_NONE, &options->is_json, "Print JSON", NULL },
        { NULL, 0, 0, 0, NULL, NULL, NULL },
    };
    return gw_cli_parse ("cleanup", entries, argc, argv, 0, 0);
}

static JsonObject *
clean_up (const Options *options, GError **error)
{
    const char *agent = options->agent != NULL ? options->agent : g_getenv ("GODWIT_AGENT");
    g_autoptr (GwHost) host = NULL;
    if (agent != NULL && *agent != '\0') {
        host = gw_host_open_remote (agent, 0, g_main_context_default (), NULL, error);
    } else {
        g_autoptr (GwHostConfig) config = gw_host_config_new (NULL);
        host = gw_host_new_local (config, g_main_context_default ());
    }
    return host != NULL ? gw_host_cleanup (host, options->is_dry, options->is_now, NULL, error) : NULL;
}

static void
print_file (JsonObject *file)
{
    g_autofree char *path = gw_text_clean (gw_json_peek_string (file, "path", ""), -1, 1000);
    gint64 until_us = gw_json_peek_int (file, "until_us", 0), bytes = gw_json_peek_int (file, "bytes", -1);
    g_autofree char *size = bytes >= 0 ? gw_text_bytes ((guint64) bytes) : g_strdup ("-");
    g_autoptr (GDateTime) until = until_us > 0 ? g_date_time_new_from_unix_utc (until_us / G_USEC_PER_SEC) : NULL;
    g_autofree char *when = until != NULL ? g_date_time_format_iso8601 (until) : NULL;
    printf ("%-12s %-18s %-10s %s%s%s\n", gw_json_peek_string (file, "job", "?"),
            gw_json_peek_string (file, "action", "?"), size, path, when != NULL ? "  until " : "",
            when != NULL ? when : "");
}

int
gw_cli_cleanup (int argc, char **argv)
{
    g_auto (Options) options = { 0 };
    g_autoptr (GError) error = NULL;
    int status = parse (&argc, &argv, &options);
    if (status >= 0)
        return status;
    g_autoptr (JsonObject) answer = clean_up (&options, &error);
    if (answer == NULL)
        return gw_cli_fail (error);
    JsonArray *files = gw_json_peek_array (answer, "files");
    guint n = files != NULL ? json_array_get_length (files) : 0;
    g_autofree char *text = options.is_json ? gw_json_to_text (answer, FALSE) : NULL;
    if (options.is_json)
        printf ("%s\n", text);
    else if (n == 0)
        printf ("jobs that died have left nothing here\n");
    for (guint i = 0; i < n && !options.is_json; i++) {
        JsonNode *node = json_array_get_element (files, i);
        if (JSON_NODE_HOLDS_OBJECT (node))
            print_file (json_node_get_object (node));
    }
    return 0;
}
