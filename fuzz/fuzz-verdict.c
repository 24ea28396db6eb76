/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any signs in any order: there is a verdict, it is a fault, it does not depend on the order of telling, and
 * the story is in order of time.  Eight bytes a sign: kind, side, error, time; the rest is QEMU's words. */
#include "verdict.h"

#include <string.h>

#define SIGN_BYTES 8
#define SIGNS_MAX 24

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static GPtrArray *
read_signs (const uint8_t *data, size_t size, gboolean *ret_has_cause)
{
    GPtrArray *signs = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_sign_free);
    for (size_t at = 1; at + SIGN_BYTES <= size && signs->len < data[0] % SIGNS_MAX; at += SIGN_BYTES) {
        GwSignKind kind = (GwSignKind) (data[at] % GW_N_SIGNS);
        gint64 at_us = (gint64) gw_load_be32 (data + at + 4) * 16;
        *ret_has_cause |= gw_sign_can_be_cause (kind);
        g_ptr_array_add (signs, gw_sign_new (kind, (GwSide) (data[at + 1] % 4), at_us,
                                             gw_load_be16 (data + at + 2) * 100, 0, ""));
    }
    return signs;
}

static void
reverse (GPtrArray *signs)
{
    for (guint i = 0; i < signs->len / 2; i++) {
        gpointer swapped = signs->pdata[i];
        signs->pdata[i] = signs->pdata[signs->len - 1 - i];
        signs->pdata[signs->len - 1 - i] = swapped;
    }
}

static void
check_verdict (GPtrArray *signs)
{
    const GwSign *first = signs->pdata[gw_verdict_find_first (signs)];
    g_assert (gw_sign_can_be_cause (first->kind));
    reverse (signs);
    const GwSign *again = signs->pdata[gw_verdict_find_first (signs)];
    g_assert (again->kind == first->kind && again->side == first->side &&
              again->at_us == first->at_us);
}

static void
check_order (GPtrArray *signs)
{
    gw_verdict_order (signs);
    for (guint i = 1; i < signs->len; i++)
        g_assert (((GwSign *) signs->pdata[i - 1])->at_us <= ((GwSign *) signs->pdata[i])->at_us);
}

static void
check_words (const uint8_t *data, size_t size)
{
    g_autofree char *words = gw_text_clean ((const char *) data, (gssize) size, 4096);
    (void) gw_words_tell_stream_end (words);
    (void) gw_words_refine_cause (GW_CAUSE_QEMU_DIED, words);
    g_auto (GStrv) lines = gw_words_split (words, 5);
    g_assert (g_strv_length (lines) <= 5);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    gboolean has_cause = FALSE;
    if (size == 0)
        return 0;
    g_autoptr (GPtrArray) signs = read_signs (data, size, &has_cause);
    if (has_cause)
        check_verdict (signs);
    check_order (signs);
    check_words (data, size);
    return 0;
}
