/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keyed hash of a page.
 *
 * The guest chooses the pages, so a fast hash that it could know would let it make a changed page look
 * unchanged.  This is NH, the universal hash of UMAC (RFC 4418), over 64-bit words: the sum of
 * (m0 + k0) * (m1 + k1) over pairs of words, modulo 2^128, taken twice with the key shifted by a pair.
 * Two different pages collide with a probability of at most 2^-128 over the choice of the key, however
 * they were chosen, as long as nobody sees the key or the hashes.  The 256 bits are then folded into
 * 127 by an inner product modulo the prime 2^127 - 1 with four more secret numbers, which adds at most
 * 2^-127.
 */
#include "internal.h"

#include <string.h>

#define FOLD_WORDS 4
#define SHIFT 2 /* words between the keys of the two sums */
#define DIGEST 32

__extension__ typedef unsigned __int128 Wide;

#define PRIME ((((Wide) 1) << 127) - 1)

struct _GwRamKey {
    gsize n_words;           /* of a page */
    Wide fold[FOLD_WORDS];   /* less than PRIME */
    uint64_t words[];        /* n_words + SHIFT */
};

/* Fills `out` with HMAC-SHA256 (secret, label and counter). */
static void
derive (const uint8_t *secret, gsize secret_len, uint8_t *out, gsize len)
{
    static const char label[] = "godwit page hash";
    uint8_t count[4], digest[DIGEST];
    for (gsize at = 0; at < len; at += DIGEST) {
        gsize digest_len = sizeof digest;
        g_autoptr (GHmac) hmac = g_hmac_new (G_CHECKSUM_SHA256, secret, secret_len);
        gw_store_be32 (count, (uint32_t) (at / DIGEST));
        g_hmac_update (hmac, (const guchar *) label, sizeof label);
        g_hmac_update (hmac, count, sizeof count);
        g_hmac_get_digest (hmac, digest, &digest_len);
        memcpy (out + at, digest, MIN (len - at, sizeof digest));
    }
    explicit_bzero (digest, sizeof digest);
}

GwRamKey *
gw_ram_key_new (const uint8_t *secret, gsize len, uint32_t page_size)
{
    gsize n = page_size / sizeof (uint64_t);
    GwRamKey *key = g_malloc0 (sizeof *key + (n + SHIFT) * sizeof (uint64_t));
    gsize words = (n + SHIFT) * sizeof (uint64_t), total = words + sizeof key->fold;
    g_autofree uint8_t *stream = g_malloc (total);
    derive (secret, len, stream, total);
    memcpy (key->words, stream, words);
    memcpy (key->fold, stream + words, sizeof key->fold);
    for (guint i = 0; i < FOLD_WORDS; i++)
        key->fold[i] = (key->fold[i] & PRIME) % PRIME;
    key->n_words = n;
    explicit_bzero (stream, total);
    return key;
}

void
gw_ram_key_free (GwRamKey *key)
{
    if (key == NULL)
        return;
    explicit_bzero (key, sizeof *key + (key->n_words + SHIFT) * sizeof (uint64_t));
    g_free (key);
}

/* `x` modulo PRIME, but perhaps a little above it. */
static inline Wide
reduce (Wide x)
{
    return (x & PRIME) + (x >> 127);
}

/* `word` * `factor` modulo PRIME, in the same sense; `factor` is less than PRIME. */
static Wide
multiply (uint64_t word, Wide factor)
{
    Wide low = (Wide) word * (uint64_t) factor;
    Wide high = (Wide) word * (uint64_t) (factor >> 64);
    Wide upper = high >> 63, lower = (high & (((Wide) 1 << 63) - 1)) << 64;
    return reduce (reduce (reduce (low) + upper) + lower);
}

static GwRamHash
fold (const GwRamKey *key, Wide a, Wide b)
{
    const uint64_t words[FOLD_WORDS] = { (uint64_t) a, (uint64_t) (a >> 64), (uint64_t) b,
                                         (uint64_t) (b >> 64) };
    Wide sum = 0;
    for (guint i = 0; i < FOLD_WORDS; i++)
        sum = reduce (sum) + reduce (multiply (words[i], key->fold[i]));
    sum %= PRIME;
    return (GwRamHash){ (uint64_t) sum, (uint64_t) (sum >> 64) };
}

GwRamHash
gw_ram_hash (const GwRamKey *key, const uint8_t *page)
{
    const uint64_t *k = key->words;
    Wide first = 0, second = 0;
    for (gsize i = 0; i < key->n_words; i += 2) {
        uint64_t m[2];
        memcpy (m, page + i * sizeof (uint64_t), sizeof m);
        first += (Wide) (m[0] + k[i]) * (m[1] + k[i + 1]);
        second += (Wide) (m[0] + k[i + SHIFT]) * (m[1] + k[i + 1 + SHIFT]);
    }
    return fold (key, first, second);
}
