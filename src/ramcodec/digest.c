/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Of a group's output.  It finds our mistakes, not those that somebody makes on purpose: so it need not be
 * keyed, and is to be fast. */
#include "internal.h"

#include <xxhash.h>

struct _GwRamDigest {
    XXH3_state_t *state;
};

GwRamDigest *
gw_ram_digest_new (void)
{
    GwRamDigest *digest = g_new0 (GwRamDigest, 1);
    digest->state = XXH3_createState ();
    g_assert (digest->state != NULL); /* as all small memory */
    (void) XXH3_64bits_reset (digest->state); /* fails for NULL alone, as the others do */
    return digest;
}

void
gw_ram_digest_free (GwRamDigest *digest)
{
    if (digest == NULL)
        return;
    (void) XXH3_freeState (digest->state);
    g_free (digest);
}

void
gw_ram_digest_add (GwRamDigest *digest, const uint8_t *data, gsize len)
{
    (void) XXH3_64bits_update (digest->state, data, len);
}

static uint64_t
avoid_zero (XXH64_hash_t hash)
{
    return hash != 0 ? hash : 1;
}

uint64_t
gw_ram_digest_take (GwRamDigest *digest)
{
    XXH64_hash_t hash = XXH3_64bits_digest (digest->state);
    (void) XXH3_64bits_reset (digest->state);
    return avoid_zero (hash);
}

uint64_t
gw_ram_digest_of (const uint8_t *data, gsize len)
{
    return avoid_zero (XXH3_64bits (data, len));
}
