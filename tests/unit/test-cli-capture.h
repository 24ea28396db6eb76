/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a function prints on standard error. */
#ifndef TEST_CLI_CAPTURE_H
#define TEST_CLI_CAPTURE_H

#include "cli.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    int saved, memory;
} Capture;

static inline Capture
capture_begin (void)
{
    Capture c = { dup (STDERR_FILENO), memfd_create ("stderr", MFD_CLOEXEC) };
    g_assert_cmpint (c.saved, >=, 0);
    g_assert_no_errno (dup2 (c.memory, STDERR_FILENO));
    return c;
}

/* (transfer full) */
static inline char *
capture_end (Capture *c)
{
    fflush (stderr);
    g_assert_no_errno (dup2 (c->saved, STDERR_FILENO));
    off_t len = lseek (c->memory, 0, SEEK_END);
    char *text = g_malloc0 ((gsize) len + 1);
    g_assert_cmpint (pread (c->memory, text, (size_t) len, 0), ==, len);
    close (c->saved);
    close (c->memory);
    return text;
}

#endif
