/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the stream fuzzers share: the same input is pushed whole and in pieces, whose sizes come from
 * its first byte, and must give the same records or the same error.
 */
#ifndef GW_FUZZ_STREAM_COMMON_H
#define GW_FUZZ_STREAM_COMMON_H

#include "stream.h"

#include <string.h>

typedef struct {
    GChecksum *sum;   /* of all records */
    GByteArray *again; /* what they are when written */
    uint64_t next;    /* offset at which the next record must start */
} FuzzLog;

static inline void
fuzz_log_init (FuzzLog *log)
{
    *log = (FuzzLog){ g_checksum_new (G_CHECKSUM_MD5), g_byte_array_new (), 0 };
}

static inline void
fuzz_log_clear (FuzzLog *log)
{
    g_checksum_free (log->sum);
    g_byte_array_unref (log->again);
}

static inline void
fuzz_log_add (FuzzLog *log, unsigned type, uint64_t offset, uint64_t length)
{
    uint64_t words[3] = { type, offset, length };
    g_assert (offset == log->next);
    log->next = offset + length;
    g_checksum_update (log->sum, (const guchar *) words, sizeof words);
}

/* What was written again must be the beginning of the input. */
static inline void
fuzz_log_check (const FuzzLog *log, const uint8_t *data, size_t size)
{
    g_assert (log->again->len == log->next);
    g_assert (log->again->len <= size);
    g_assert (log->again->len == 0 || memcmp (log->again->data, data, log->again->len) == 0);
}

static inline void
fuzz_compare (FuzzLog *a, GError *first, FuzzLog *b, GError *second)
{
    g_assert ((first == NULL) == (second == NULL));
    if (first != NULL)
        g_assert (g_strcmp0 (first->message, second->message) == 0 && first->code == second->code);
    g_assert (strcmp (g_checksum_get_string (a->sum), g_checksum_get_string (b->sum)) == 0);
    g_assert (a->again->len == b->again->len);
}

#endif
