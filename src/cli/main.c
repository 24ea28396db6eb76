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
        printf ("  %-9s %-22s %s\n", commands[i].name, commands[i].usage, commands[i].summary);
    printf ("\n"
            "  VM    qmp:PATH, the QMP unix socket of a running QEMU, or the name of a VM that godwit\n"
            "        brought to this host\n"
            "  DEST  unix:PATH, the socket of an agent, ssh://[USER@]HOST[:PORT] or\n"
            "        godwit://HOST[:PORT], an agent over mutual TLS\n\n"
            "'godwit COMMAND --help' shows the options of a command; godwit(1) has the rest.\n");
}

int
main (int argc, char **argv)
{
    setlocale (LC_ALL, "");
    gw_fd_make_table ();
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
