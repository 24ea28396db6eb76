/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words in which two pages differ.
 *
 * Runs: pairs of bytes (same, different), each a number of 8-byte words, until a pair (0, 0).  A run of
 * more than 255 words is told in several pairs; what follows the last pair is the same in both.  Words:
 * the exclusive or of the words that differ, in order.
 */
#include "internal.h"

#include <string.h>

#define WORD sizeof (uint64_t)
#define LONG 8u /* words that are looked at together */

static inline uint64_t
load (const uint8_t *page, gsize word)
{
    uint64_t value;
    memcpy (&value, page + word * WORD, WORD);
    return value;
}

/* The first word from `at` in which they differ, or `n`. */
static gsize
skip_same (const uint8_t *base, const uint8_t *page, gsize at, gsize n)
{
    while (at + LONG <= n && memcmp (base + at * WORD, page + at * WORD, LONG * WORD) == 0)
        at += LONG;
    while (at < n && load (base, at) == load (page, at))
        at++;
    return at;
}

gboolean
gw_ram_delta_make (const uint8_t *base, const uint8_t *page, gsize page_size, gsize most,
                   uint8_t *runs, gsize *ret_runs, uint8_t *words, gsize *ret_words)
{
    gsize n = page_size / WORD, n_runs = 0, n_words = 0;
    gsize at = 0, from = 0;
    while ((at = skip_same (base, page, at, n)) < n) {
        gsize same = at - from, first = at;
        while (at < n && at - first < 255 && load (base, at) != load (page, at)) {
            uint64_t word = load (base, at) ^ load (page, at);
            if (n_words + WORD > most)
                return FALSE;
            memcpy (words + n_words, &word, WORD);
            n_words += WORD;
            at++;
        }
        for (; same > 255; same -= 255) {
            if (n_runs + 2 > most)
                return FALSE;
            runs[n_runs++] = 255;
            runs[n_runs++] = 0;
        }
        if (n_runs + 4 > most)
            return FALSE;
        runs[n_runs++] = (uint8_t) same;
        runs[n_runs++] = (uint8_t) (at - first);
        from = at;
    }
    runs[n_runs++] = 0;
    runs[n_runs++] = 0;
    *ret_runs = n_runs;
    *ret_words = n_words;
    return TRUE;
}

gboolean
gw_ram_delta_apply (const uint8_t *runs, gsize *runs_len, const uint8_t *words, gsize *words_len,
                    uint8_t *page, gsize page_size)
{
    gsize n = page_size / WORD, at = 0, run = 0, word = 0;
    for (;;) {
        if (*runs_len - run < 2)
            return FALSE;
        gsize same = runs[run], different = runs[run + 1];
        run += 2;
        if (same == 0 && different == 0)
            break;
        if (same + different > n - at || different > (*words_len - word) / WORD)
            return FALSE;
        at += same;
        for (gsize i = 0; i < different; i++, at++, word += WORD) {
            uint64_t value = load (page, at) ^ load (words + word, 0);
            memcpy (page + at * WORD, &value, WORD);
        }
    }
    *runs_len = run;
    *words_len = word;
    return TRUE;
}
