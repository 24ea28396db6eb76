/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the courier and its dialer say to each other: a question is the text of a target in one packet,
 * the answer an errno and, when that is 0, the socket. */
#ifndef GW_DIALER_H
#define GW_DIALER_H

#include <glib.h>

/* FALSE when the other end has gone. */
gboolean gw_dialer_send (int fd, int failure, int passed);
/* Blocks.  FALSE when the other end has gone.  `ret_passed` is -1 without a socket. */
gboolean gw_dialer_receive (int fd, int *ret_failure, int *ret_passed);

#endif
