/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base.h"

#include <fcntl.h>
#include <unistd.h>

#define TABLE_FDS 1024 /* the usual soft limit of processes */

void
gw_fd_clear (GwFd *fd)
{
    if (*fd >= 0)
        (void) close (*fd); /* nothing can be done about an error here */
    *fd = -1;
}

void
gw_fd_make_table (void)
{
    int fd = -1;
    /* a number that is not below the limit is refused */
    for (int least = TABLE_FDS - 1; fd < 0 && least > 64; least /= 2)
        fd = fcntl (STDERR_FILENO, F_DUPFD_CLOEXEC, least);
    gw_fd_clear (&fd);
}
