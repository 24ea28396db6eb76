/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all commands share: their options and how they fail. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *usage, *summary;
} commands[] = {
#define X(name, id, usage, summary) { name, usage, summary },
#include "commands.def"
#undef X
};

int
gw_cli_fail (const GError *error)
{
    const GwCauseInfo *info = gw_cause_get_info (gw_error_get_cause (error));
    fprintf (stderr, "godwit: %s\n", error->message);
    if (info->exit_status != 1)
        fprintf (stderr, "What to do: %s\n", info->remedy);
    return info->exit_status;
}

static int
usage_error (const char *name, const char *message)
{
    fprintf (stderr, "godwit: %s: %s\nTry 'godwit %s --help'.\n", name, message, name);
    return gw_cause_get_info (GW_CAUSE_USAGE)->exit_status;
}

static GOptionContext *
new_context (const char *name, const GOptionEntry *entries)
{
    guint i = 0;
    while (i < G_N_ELEMENTS (commands) && strcmp (commands[i].name, name) != 0)
        i++;
    g_assert (i < G_N_ELEMENTS (commands));
    g_autofree char *parameters = g_strdup (commands[i].usage);
    char *end = strstr (parameters, " [OPTION...]"); /* GOption adds it */
    if (end != NULL)
        *end = '\0';
    GOptionContext *context = g_option_context_new (parameters);
    g_option_context_set_summary (context, commands[i].summary);
    g_option_context_add_main_entries (context, entries, NULL);
    return context;
}

int
gw_cli_parse (const char *name, const GOptionEntry *entries, int *argc, char ***argv, int min,
              int max)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *title = g_strdup_printf ("godwit %s", name);
    g_set_prgname (title);
    g_autoptr (GOptionContext) context = new_context (name, entries);
    if (!g_option_context_parse (context, argc, argv, &error))
        return usage_error (name, error->message);
    g_set_prgname ("godwit");
    (*argc)--;
    (*argv)++;
    if (*argc > 0 && strcmp ((*argv)[0], "--") == 0) {
        (*argc)--;
        (*argv)++;
    }
    if (*argc < min)
        return usage_error (name, "an argument is missing");
    if (*argc > max)
        return usage_error (name, "too many arguments");
    return -1;
}
