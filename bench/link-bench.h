/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of bench-link share; link.c says what it measures. */
#ifndef GW_BENCH_LINK_H
#define GW_BENCH_LINK_H

#include "link.h"

#define MIB ((gsize) 1 << 20)

/* A child process that writes `len` bytes to `fd` and shuts it down; waits with blocking writes. */
GPid bench_write (int fd, gsize len);
/* Reads up to the end of file.  Returns how many bytes there were. */
gsize bench_read (int fd);
/* Waits for a child, which must end well. */
void bench_wait (GPid pid);

/* link_bare.c: `len` bytes from a process that only encrypts to one that only decrypts, over TCP on the
 * loopback address, in records of GW_LINK_RECORD.  Returns the seconds. */
double bench_bare (gsize len);

#endif
