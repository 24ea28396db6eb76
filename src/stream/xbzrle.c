/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* XBZRLE: runs of unchanged bytes and runs of new ones, applied onto the earlier page. */
#include "stream.h"

#include <string.h>

/* A ULEB128 of one or two bytes at `data + *pos`. */
static gboolean
take_run (const uint8_t *data, gsize len, gsize *pos, gsize *ret_run)
{
    if (*pos >= len)
        return FALSE;
    gsize run = data[(*pos)++];
    if (run & 0x80) {
        if (*pos >= len || (data[*pos] & 0x80))
            return FALSE;
        run = (run & 0x7f) | ((gsize) data[(*pos)++] << 7);
    }
    *ret_run = run;
    return TRUE;
}

gboolean
gw_xbzrle_apply (const uint8_t *data, gsize len, uint8_t *page, gsize page_size, GError **error)
{
    gsize pos = 0, at = 0;
    while (pos < len) {
        gsize start = pos, same, new;
        if (!take_run (data, len, &pos, &same) || (start > 0 && same == 0)
            || !take_run (data, len, &pos, &new) || new == 0)
            return gw_fail (error, GW_CAUSE_STREAM_XBZRLE,
                            "byte %zu of %zu: expected two run lengths, found none", start, len);
        if (same > page_size - at || new > page_size - at - same || new > len - pos)
            return gw_fail (error, GW_CAUSE_STREAM_XBZRLE,
                            "byte %zu of %zu: expected runs within a page of %zu bytes, found %zu "
                            "and %zu at %zu",
                            start, len, page_size, same, new, at);
        memcpy (page + at + same, data + pos, new);
        at += same + new;
        pos += new;
    }
    return TRUE;
}
