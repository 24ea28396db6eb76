/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "verdict.h"

#include <string.h>

static const struct {
    const char *phrase;
    GwCause cause;
} meanings[] = {
#define X(phrase, cause) { phrase, GW_CAUSE_##cause },
#include "words.def"
#undef X
};

/* Causes that say what happened but not why: words may say more. */
static const GwCause general[] = { GW_CAUSE_HOST_IO,        GW_CAUSE_LAUNCH_FAILED,
                                   GW_CAUSE_QEMU_DIED,      GW_CAUSE_SOURCE_LOST,
                                   GW_CAUSE_MIGRATION_FAILED, GW_CAUSE_START_REFUSED,
                                   GW_CAUSE_DISK_ERROR,     GW_CAUSE_COURIER_DIED };

/* Many devices of QEMU refuse a state with -1, which is "Operation not permitted". */
static gboolean
may_refine (GwCause cause, GwCause to)
{
    if (cause == GW_CAUSE_STATE_REJECTED)
        return to == GW_CAUSE_OUT_OF_MEMORY || to == GW_CAUSE_DISK_FULL;
    for (guint i = 0; i < G_N_ELEMENTS (general); i++)
        if (general[i] == cause)
            return TRUE;
    return FALSE;
}

GwCause
gw_words_refine_cause (GwCause cause, const char *words)
{
    for (guint i = 0; words != NULL && i < G_N_ELEMENTS (meanings); i++)
        if (strstr (words, meanings[i].phrase) != NULL && may_refine (cause, meanings[i].cause))
            return meanings[i].cause;
    return cause;
}

gboolean
gw_words_tell_stream_end (const char *words)
{
    /* a load that fails with EIO found the end of the stream (qemu_fill_buffer() of QEMU 7.2); what QEMU
     * does not like in it gives EINVAL or another */
    static const char *const phrases[] = { "load of migration failed: Input/output error",
                                           "failed: -5", "Not a migration stream", "Connection reset by peer",
                                           "Broken pipe", "Unable to write to socket",
                                           "Unable to read from socket", "Channel error",
                                           "it gives no reason" };
    for (guint i = 0; words != NULL && i < G_N_ELEMENTS (phrases); i++)
        if (strstr (words, phrases[i]) != NULL)
            return TRUE;
    return FALSE;
}

GStrv
gw_words_split (const char *text, guint max)
{
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    g_autoptr (GPtrArray) kept = g_ptr_array_new ();
    for (gsize i = 0; lines[i] != NULL; i++)
        if (*g_strstrip (lines[i]) != '\0')
            g_ptr_array_add (kept, lines[i]);
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    for (guint i = kept->len > max ? kept->len - max : 0; i < kept->len; i++)
        g_strv_builder_add (builder, kept->pdata[i]);
    return g_strv_builder_end (builder);
}
