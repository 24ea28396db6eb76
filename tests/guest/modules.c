/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
load_module (const char *name)
{
    char path[128];
    int fd;

    (void) snprintf (path, sizeof path, "/modules/%s.ko", name);
    fd = open (path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall (SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
        guest_report ("E module %s: %s", name, strerror (errno));
    if (fd >= 0)
        close (fd);
}

void
guest_modules_load (void)
{
    char name[64];
    FILE *list = fopen ("/modules/list", "re");

    if (list == NULL)
        return; /* everything is built into the kernel */
    while (fscanf (list, "%63s", name) == 1)
        load_module (name);
    fclose (list);
}
