/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The decoder on groups that nobody made.  The first byte chooses the page size, the budget and whether
 * the heads are put right in what would otherwise end the run at once (version, page size, number).
 */
#include "ramcodec.h"

#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* Takes one group off the input; FALSE when it is no group or is refused. */
static gboolean
run_group (GwRamDecoder *decoder, GwRamPacker *packer, GwRamChain *const *chains, const uint8_t *bytes, gsize len,
           GByteArray *out)
{
    guint before = out->len;
    g_autoptr (GwRamGroup) group = gw_ram_group_load (bytes, len, NULL);
    g_assert (group != NULL); /* the head was measured */
    gboolean ok = gw_ram_group_is_chained (group)
                      ? gw_ram_chain_unpack (chains[gw_ram_group_get_chain (group)], packer, group, NULL)
                      : gw_ram_unpack (packer, group, NULL);
    if (!ok)
        return FALSE;
    gboolean is_done = gw_ram_decoder_apply (decoder, group, out, NULL);
    g_assert (out->len - before == (is_done ? gw_ram_group_get_output (group) : 0));
    return is_done;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    guint8 page_bits = (data[0] & 1) ? 10 : 12;
    gboolean puts_right = (data[0] & 2) != 0;
    GwRamParams params = { .page_size = 1u << page_bits, .memory_bytes = (data[0] >> 2) * 4096u };
    g_autoptr (GwRamDecoder) decoder = gw_ram_decoder_new (&params);
    g_autoptr (GwRamPacker) packer = gw_ram_packer_new ();
    g_autoptr (GwRamChain) first = gw_ram_chain_new (0, 0), second = gw_ram_chain_new (1, 0);
    g_autoptr (GwRamChain) third = gw_ram_chain_new (2, 0), fourth = gw_ram_chain_new (3, 0);
    GwRamChain *const chains[GW_RAM_CHAINS] = { first, second, third, fourth };
    g_autoptr (GByteArray) out = g_byte_array_new ();
    g_autofree uint8_t *bytes = g_memdup2 (data + 1, size - 1);
    gsize at = 0, len;
    for (guint32 number = 0; size - 1 - at >= GW_RAM_HEAD; number++, at += len) {
        if (puts_right) {
            bytes[at] = 1;
            bytes[at + 3] = page_bits;
            gw_store_be32 (bytes + at + 28, number);
            gw_store_be64 (bytes + at + 32, 0);
        }
        if (!gw_ram_group_measure (bytes + at, &len, NULL) || len > size - 1 - at
            || !run_group (decoder, packer, chains, bytes + at, len, out))
            break;
        g_assert (gw_ram_decoder_get_memory (decoder) <= params.memory_bytes);
        if (out->len > 4 << 20)
            g_byte_array_set_size (out, 0);
    }
    return 0;
}
