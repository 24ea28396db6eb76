/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base.h"

#include <string.h>

/* Characters of more than one byte are kept when they are valid and printable. */
static gsize
printable_length (const char *p, gsize left)
{
    gunichar c = g_utf8_get_char_validated (p, (gssize) left);
    if (c == (gunichar) -1 || c == (gunichar) -2)
        return 0;
    if (c == '\n' || c == '\t')
        return 1;
    return g_unichar_isprint (c) ? (gsize) (g_utf8_next_char (p) - p) : 0;
}

char *
gw_text_clean (const char *text, gssize len, gsize max)
{
    gsize left = len >= 0 ? (gsize) len : strlen (text);
    GString *out = g_string_sized_new (MIN (left, max) + 1);
    while (left > 0 && out->len < max) {
        gsize n = printable_length (text, left);
        if (n > 0) {
            g_string_append_len (out, text, (gssize) n);
        } else {
            g_string_append_printf (out, "\\x%02x", (guchar) *text);
            n = 1;
        }
        text += n;
        left -= n;
    }
    if (left > 0)
        g_string_append (out, "...");
    return g_string_free (out, FALSE);
}

char *
gw_text_bytes (guint64 bytes)
{
    return g_format_size_full (bytes, G_FORMAT_SIZE_IEC_UNITS);
}
