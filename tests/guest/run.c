/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define ROOT "/fs"

static void
become (const char *program, int out_fd)
{
    static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", home[] = "HOME=/tmp";
    char *const environment[] = { path, home, NULL };
    char *const argv[] = { (char *) program, NULL };

    (void) dup2 (out_fd, STDOUT_FILENO);
    if (chroot (ROOT) < 0 || chdir ("/") < 0 || execve (program, argv, environment) < 0)
        (void) dprintf (STDOUT_FILENO, "%s: %s\n", program, strerror (errno));
    _exit (127);
}

/* Reports what it says until it says no more. */
static void *
follow (void *data)
{
    FILE *lines = data;
    char line[200];

    while (fgets (line, sizeof line, lines) != NULL) {
        line[strcspn (line, "\n")] = '\0';
        guest_report ("RUN %s", line);
    }
    fclose (lines);
    guest_report ("E run: it has ended");
    return NULL;
}

void
guest_run_start (const GuestParams *params)
{
    int ends[2];
    pid_t pid;

    if (params->run[0] == '\0' || (params->diskrate == 0 && !guest_files_mount (params->fs)))
        return;
    if (mount ("devtmpfs", ROOT "/dev", "devtmpfs", 0, NULL) < 0 || pipe (ends) < 0) {
        guest_report ("E run: %s", strerror (errno));
        return;
    }
    pid = fork ();
    if (pid == 0)
        become (params->run, ends[1]);
    close (ends[1]);
    if (pid < 0)
        guest_report ("E run: %s", strerror (errno));
    else
        guest_thread_start (follow, fdopen (ends[0], "re"), 0, 0);
}
