/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

static const GwCommand commands[] = {
#define X(name, id, usage, summary) { name, usage, summary, gw_cli_##id },
#include "commands.def"
#undef X
};

static const GwCommand *
find_command (const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS (commands); i++)
        if (strcmp (commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void
print_help (void)
{
    printf ("Usage: godwit COMMAND [ARGUMENTS]\n\n"
            "Moves running QEMU virtual machines between hosts without stopping them.\n\nCommands:\n");
    for (guint i = 0; i < G_N_ELEMENTS (commands); i++)
        printf ("  %-8s %-22s %s\n", commands[i].name, commands[i].usage, commands[i].summary);
    printf ("\n"
            "  VM    qmp:PATH, the QMP unix socket of a running QEMU, or the name of a VM that godwit\n"
            "        brought to this host\n"
            "  DEST  unix:PATH, the socket of an agent, or ssh://[USER@]HOST[:PORT]\n\n"
            "'godwit COMMAND --help' shows the options of a command; godwit(1) has the rest.\n");
}

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

int
gw_cli_parse (const char *name, const GOptionEntry *entries, int *argc, char ***argv, int min,
              int max)
{
    const GwCommand *command = find_command (name);
    g_autoptr (GError) error = NULL;
    g_autofree char *parameters = g_strdup_printf ("%s", command->usage);
    char *end = strstr (parameters, " [OPTION...]");
    if (end != NULL)
        *end = '\0';
    g_autofree char *title = g_strdup_printf ("godwit %s", name);
    g_set_prgname (title);
    g_autoptr (GOptionContext) context = g_option_context_new (parameters);
    g_option_context_set_summary (context, command->summary);
    g_option_context_add_main_entries (context, entries, NULL);
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

int
main (int argc, char **argv)
{
    setlocale (LC_ALL, "");
    if (argc < 2) {
        print_help ();
        return gw_cause_get_info (GW_CAUSE_USAGE)->exit_status;
    }
    if (strcmp (argv[1], "--help") == 0 || strcmp (argv[1], "-h") == 0 ||
        strcmp (argv[1], "help") == 0) {
        print_help ();
        return 0;
    }
    if (strcmp (argv[1], "--version") == 0) {
        printf ("godwit %s\n", GW_VERSION);
        return 0;
    }
    const GwCommand *command = find_command (argv[1]);
    if (command == NULL) {
        fprintf (stderr, "godwit: '%s' is not a command; see 'godwit --help'\n", argv[1]);
        return gw_cause_get_info (GW_CAUSE_USAGE)->exit_status;
    }
    return command->run (argc - 1, argv + 1);
}
