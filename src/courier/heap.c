/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The heap of a process that allocates all the time, and that may open no file any more.
 *
 * GnuTLS allocates and frees a buffer a record.  With glibc's defaults the heap's top is given back to the kernel and
 * faulted in again each time: 0.57 instead of 0.2 s of system time a GiB received.
 *
 * Before it makes the heap of a thread smaller, glibc looks at /proc/sys/vm/overcommit_memory (shrink_heap() in malloc/arena.c
 * of 2.36): in the sandbox that is the end of the courier, killed by SIGSYS in the moment in which it frees what threads have
 * allocated.  So it never does. */
#include "courier.h"

#include <malloc.h>

#define MAPPED_BYTES (16 * 1024 * 1024) /* from so many on, a block is a mapping of its own */

void
gw_courier_keep_heap (void)
{
    (void) mallopt (M_TRIM_THRESHOLD, G_MAXINT);
    (void) mallopt (M_TOP_PAD, MAPPED_BYTES / 8); /* best effort: it is only slower without */
    (void) mallopt (M_MMAP_THRESHOLD, MAPPED_BYTES);
}
