/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as the blocks of a lane, in pieces: no more comes out than a block may hold, and nothing after
 * what was no block.  The first byte says how long the pieces are. */
#include "pack.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    g_autoptr (GwUnpacker) unpacker = gw_unpacker_new ();
    size_t piece = size > 0 ? (size_t) data[0] + 1 : 1;
    for (size_t at = 1; at < size;) {
        gsize taken, len;
        if (!gw_unpacker_put (unpacker, data + at, MIN (piece, size - at), &taken, NULL))
            return 0;
        const uint8_t *plain = gw_unpacker_peek (unpacker, &len);
        g_assert (len <= GW_PACK_BLOCK && (taken > 0 || len > 0));
        for (gsize i = 0, sum = 0; i < len; i++) {
            sum += plain[i]; /* all of it can be read */
            __asm__ volatile ("" : : "r" (sum));
        }
        gw_unpacker_consume (unpacker, len);
        at += taken;
    }
    return 0;
}
