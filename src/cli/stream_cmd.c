/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit stream inspect|check|diff: the grammar. */
#include "stream_cmd.h"

#include <string.h>

static const struct {
    const char *name;
    int (*run) (int argc, char **argv);
} commands[] = {
    { "inspect", gw_cli_stream_inspect },
    { "check", gw_cli_stream_check },
    { "diff", gw_cli_stream_diff },
};

int
gw_cli_stream_fail (const GError *error)
{
    g_printerr ("godwit stream: %s\n", error->message);
    return gw_cause_get_info (gw_error_get_cause (error))->exit_status;
}

gboolean
gw_cli_stream_parse (const GOptionEntry *entries, const char *operands, int *argc, char ***argv,
                     GError **error)
{
    g_autoptr (GOptionContext) context = g_option_context_new (operands);
    g_option_context_add_main_entries (context, entries, NULL);
    if (g_option_context_parse (context, argc, argv, error))
        return TRUE;
    return gw_error_adopt (error, GW_CAUSE_USAGE);
}

int
gw_cli_stream (int argc, char **argv)
{
    g_autoptr (GError) error = NULL;
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp (name, "--help") == 0 || strcmp (name, "-h") == 0) {
        g_print ("Usage:\n  godwit stream inspect|check|diff [OPTION...] FILE...\n\n"
                 "Look into recorded migration streams; see godwit-stream(1).\n"
                 "'godwit stream COMMAND --help' shows the options of each.\n");
        return 0;
    }
    for (gsize i = 0; i < G_N_ELEMENTS (commands); i++)
        if (strcmp (commands[i].name, name) == 0)
            return commands[i].run (argc - 1, argv + 1);
    gw_fail (&error, GW_CAUSE_USAGE, *name != '\0' ? "expected inspect, check or diff, found '%s'"
                                                   : "inspect, check or diff is missing%s", name);
    return gw_cli_stream_fail (error);
}
