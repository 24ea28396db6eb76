/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROGRAM "/usr/sbin/qemu-ga"

void
guest_agent_start (void)
{
    char device[300];
    pid_t pid;

    if (access (PROGRAM, X_OK) < 0 || !guest_channel_find ("org.qemu.guest_agent.0", device, sizeof device))
        return; /* this guest has none */
    (void) mkdir ("/run", 0755);
    pid = fork ();
    if (pid < 0)
        guest_report ("E agent: %s", strerror (errno));
    if (pid != 0)
        return;
    execl (PROGRAM, "qemu-ga", "-m", "virtio-serial", "-p", device, "-t", "/run", (char *) NULL);
    _exit (127);
}
