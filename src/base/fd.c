/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base.h"

#include <unistd.h>

void
gw_fd_clear (GwFd *fd)
{
    if (*fd >= 0)
        (void) close (*fd); /* nothing can be done about an error here */
    *fd = -1;
}
