/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of ramcodec share, ordered by the file that owns it. */
#ifndef GW_RAMCODEC_INTERNAL_H
#define GW_RAMCODEC_INTERNAL_H

#include "ramcodec.h"

/* --- hash.c: the keyed hash of a page ------------------------------------------------------------- */

typedef struct {
    uint64_t low, high;
} GwRamHash;

typedef struct _GwRamKey GwRamKey;

/* A key for pages of `page_size` bytes, made from the secret. */
GwRamKey *gw_ram_key_new (const uint8_t *secret, gsize len, uint32_t page_size);
void gw_ram_key_free (GwRamKey *key);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRamKey, gw_ram_key_free)
GwRamHash gw_ram_hash (const GwRamKey *key, const uint8_t *page);

static inline gboolean
gw_ram_hash_equal (GwRamHash a, GwRamHash b)
{
    return a.low == b.low && a.high == b.high;
}

/* --- index.c: what was last sent for each page ----------------------------------------------------- */

#define GW_RAM_NO_SLOT UINT32_MAX

enum {
    GW_RAM_NEVER,  /* nothing was sent */
    GW_RAM_LOST,   /* something was sent, but not in a way that could be followed */
    GW_RAM_ZEROED, /* a zero page */
    GW_RAM_KNOWN,  /* a page with that hash */
};

typedef struct {
    GwRamHash hash; /* KNOWN */
    uint32_t slot;  /* where content like it may be; or NO_SLOT */
    uint32_t state;
} GwRamEntry;

typedef struct {
    GPtrArray *blocks; /* Block; owned, one of each number of src/stream, NULL where none */
    uint64_t used_bytes, max_bytes;
    unsigned page_bits;
} GwRamIndex;

void gw_ram_index_init (GwRamIndex *index, unsigned page_bits, uint64_t max_bytes);
void gw_ram_index_clear (GwRamIndex *index);
/* Bytes of an index of `bytes` of guest memory. */
uint64_t gw_ram_index_measure (unsigned page_bits, uint64_t bytes);
/* Makes room for the entries of a block; without room its pages have none. */
void gw_ram_index_add_block (GwRamIndex *index, unsigned block, uint64_t used_length);
/* The entry of a page; NULL where there is no room, or (`creates` FALSE) nothing was sent. */
GwRamEntry *gw_ram_index_get (GwRamIndex *index, unsigned block, uint64_t offset, gboolean creates);
const GwRamEntry *gw_ram_index_peek (const GwRamIndex *index, unsigned block, uint64_t offset);

/* --- slots.c: pages by number, on both sides -------------------------------------------------------- */

#define GW_RAM_SLAB 64u /* slots that are allocated together */

/* Slabs that were got before they are needed. */
typedef struct {
    GPtrArray *slabs; /* uint8_t of GW_RAM_SLAB pages, each page of which the kernel has given */
    guint limit;
    uint32_t page_size;
} GwRamStock;

void gw_ram_stock_init (GwRamStock *stock, uint64_t memory_bytes, uint32_t page_size);
void gw_ram_stock_clear (GwRamStock *stock);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (GwRamStock, gw_ram_stock_clear)
/* One more.  FALSE when it has enough, or there is no memory. */
gboolean gw_ram_stock_add (GwRamStock *stock);
/* No more than `limit` slabs from now on. */
void gw_ram_stock_trim (GwRamStock *stock, guint limit);

typedef struct {
    GwRamStock *stock; /* borrowed */
    uint8_t **slabs;   /* n_slabs; NULL where no slot was filled */
    uint64_t *filled;  /* a bit a slot */
    uint32_t limit;    /* slots */
    uint32_t page_size;
    uint64_t used_bytes;
} GwRamSlots;

/* `stock` must outlive them, and is cut down to what they can have. */
void gw_ram_slots_init (GwRamSlots *slots, uint32_t limit, GwRamStock *stock);
void gw_ram_slots_clear (GwRamSlots *slots);
/* The page to be written; NULL when there is no such slot or no memory. */
uint8_t *gw_ram_slots_fill (GwRamSlots *slots, uint32_t slot);
/* The page that is there; NULL when there is none. */
const uint8_t *gw_ram_slots_get (const GwRamSlots *slots, uint32_t slot);

/* --- cache.c: the encoder's choice of slots ---------------------------------------------------------- */

typedef struct _GwRamCache GwRamCache;

/* At most `limit` slots; fewer when memory is short.  `stock` must outlive it.  NULL for none. */
GwRamCache *gw_ram_cache_new (uint32_t limit, GwRamStock *stock);
void gw_ram_cache_free (GwRamCache *cache);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRamCache, gw_ram_cache_free)
/* Bytes of a slot with all that belongs to it. */
uint64_t gw_ram_cache_measure (uint32_t page_size);
/* A slot that has this very content, or NO_SLOT. */
uint32_t gw_ram_cache_find (const GwRamCache *cache, GwRamHash hash, const uint8_t *page);
const uint8_t *gw_ram_cache_get (const GwRamCache *cache, uint32_t slot);
gboolean gw_ram_cache_is_owner (const GwRamCache *cache, uint32_t slot, uint64_t owner);
/* A slot for a page of the group, sent before (`is_hot`) or not; NO_SLOT when none is worth it. */
uint32_t gw_ram_cache_claim (GwRamCache *cache, gboolean is_hot, uint32_t group);
/* What packing has made of a group with pages. */
void gw_ram_cache_note_group (GwRamCache *cache, uint32_t group, uint32_t plain, uint32_t packed);
/* The slot's page was used again. */
void gw_ram_cache_touch (GwRamCache *cache, uint32_t slot);
/* Keeps the page in a slot that was claimed, or is `owner`'s already.  FALSE without memory. */
gboolean gw_ram_cache_put (GwRamCache *cache, uint32_t slot, uint64_t owner, GwRamHash hash,
                           const uint8_t *page);
uint64_t gw_ram_cache_get_bytes (const GwRamCache *cache);

/* --- delta.c: the words in which two pages differ ------------------------------------------------------ */

/* Writes runs to `runs` and words to `words`; returns FALSE when either would be longer than
 * `most` bytes.  Lengths are returned. */
gboolean gw_ram_delta_make (const uint8_t *base, const uint8_t *page, gsize page_size, gsize most,
                            uint8_t *runs, gsize *ret_runs, uint8_t *words, gsize *ret_words);
/* Applies runs and words to `page`, which holds the base.  Takes from both, at most what `*runs_len`
 * and `*words_len` say, and returns in them what was taken.  FALSE when they do not fit a page. */
gboolean gw_ram_delta_apply (const uint8_t *runs, gsize *runs_len, const uint8_t *words,
                             gsize *words_len, uint8_t *page, gsize page_size);

/* --- group.c ------------------------------------------------------------------------------------------- */

#define GW_RAM_VERSION 1u

enum { /* flags of a head */
    GW_RAM_PACKED = 1 << 0,
    GW_RAM_CHAINED = 1 << 1, /* ... as a part of a chain, */
    GW_RAM_BEGINS = 1 << 2,  /* ... its first, */
    GW_RAM_CHAIN_SHIFT = 4,  /* ... and which: two bits */
    GW_RAM_CHAIN_BITS = 3 << GW_RAM_CHAIN_SHIFT,
    GW_RAM_PACKING = GW_RAM_PACKED | GW_RAM_CHAINED | GW_RAM_BEGINS | GW_RAM_CHAIN_BITS,
};
G_STATIC_ASSERT (GW_RAM_CHAINS == (GW_RAM_CHAIN_BITS >> GW_RAM_CHAIN_SHIFT) + 1);

/* The parts of a body, in order. */
typedef enum {
    GW_RAM_PART_LITERALS, /* pages and raw bytes */
    GW_RAM_PART_WORDS,    /* of deltas */
    GW_RAM_PART_RUNS,     /* of deltas */
    GW_RAM_PART_OPS,
    GW_RAM_N_PARTS
} GwRamPart;

typedef struct {
    uint8_t flags, urgency, page_bits;
    uint32_t body;    /* bytes that follow the head */
    uint32_t part[GW_RAM_N_PARTS];
    uint32_t output;
    uint32_t number;  /* of the group, from 0, modulo 2^32 */
    uint64_t digest;  /* of the output; 0: none */
} GwRamHeadFields;

struct _GwRamGroup {
    GwRamHeadFields head;
    gsize plain;    /* bytes before packing */
    gsize len, size; /* of `bytes`, used and allocated */
    uint8_t *bytes; /* head and body */
};

/* An empty group with `size` bytes allocated. */
GwRamGroup *gw_ram_group_new (gsize size);
/* XXH3 of 64 bits; never 0. */
typedef struct _GwRamDigest GwRamDigest;
GwRamDigest *gw_ram_digest_new (void);
void gw_ram_digest_free (GwRamDigest *digest);
void gw_ram_digest_add (GwRamDigest *digest, const uint8_t *data, gsize len);
/* Of all that was added since the last time. */
uint64_t gw_ram_digest_take (GwRamDigest *digest);
uint64_t gw_ram_digest_of (const uint8_t *data, gsize len);

/* Writes the head into the bytes. */
void gw_ram_group_seal (GwRamGroup *group);
gsize gw_ram_head_get_plain (const GwRamHeadFields *head); /* sum of the parts */

/* An operation is a byte: its kind and what follows it. */
enum {
    GW_RAM_OP_RAW = 0,     /* varint: bytes of LITERALS that are the lane's */
    GW_RAM_OP_ZERO = 1,
    GW_RAM_OP_LITERAL = 2, /* a page of LITERALS */
    GW_RAM_OP_COPY = 3,    /* the page in slot FROM */
    GW_RAM_OP_DELTA = 4,   /* the page in slot FROM with a delta */
    GW_RAM_OP_KIND = 0x07,
    GW_RAM_OP_NAMED = 1 << 3, /* u8 n, name: the record names its block */
    GW_RAM_OP_JUMP = 1 << 4,  /* varint zigzag: pages from the place expected, that after the last */
    GW_RAM_OP_FROM = 1 << 5,  /* varint zigzag: FROM differs from the place expected */
    GW_RAM_OP_KEEP = 1 << 6,  /* kept in the slot expected */
    GW_RAM_OP_KEEP_AT = 1 << 7, /* varint zigzag: kept in a slot that differs from it */
};

/* What the operations of a group are told relative to: alike on both sides, 0 at its beginning. */
typedef struct {
    uint64_t page; /* number of the page after the last */
    uint32_t slot; /* the slot after the last one used */
} GwRamPlace;

/* --- pack.c ---------------------------------------------------------------------------------------------- */

#define GW_RAM_PACK_LEAST 64u /* bytes of body that are worth a try */

/* Bytes for what packing makes of so many: without room for a gain of a 64th the attempt ends early. */
static inline gsize
gw_ram_pack_get_room (gsize plain)
{
    return plain - plain / 64 - 1;
}

/* Room for so many bytes of a body. */
uint8_t *gw_ram_packer_reserve (GwRamPacker *packer, gsize body);
/* Makes the `body` bytes that are there those of the group. */
void gw_ram_packer_swap (GwRamPacker *packer, GwRamGroup *group, gsize body, uint8_t flags);
/* A packed group waits in queues: it must not hold the memory of a full one. */
void gw_ram_group_shrink (GwRamGroup *group);

/* --- build.c: an open group ------------------------------------------------------------------------------ */

typedef struct {
    GwRamGroup *group;  /* its LITERALS are in place; NULL when none is open */
    GwRamDigest *digest; /* of the open group's output, as it came */
    GByteArray *part[GW_RAM_N_PARTS]; /* of the others */
    GwRamPlace place;
    uint32_t number;    /* of the next group */
    unsigned page_bits;
    GwRamUrgency urgency; /* of the open group */
    gsize most;           /* bytes of output of a group */
    GQueue done;          /* GwRamGroup */
    gsize done_bytes;
} GwRamBuilder;

typedef struct {
    uint8_t kind;
    gboolean is_named;
    const GwStreamBlock *block;
    uint64_t offset;
    uint32_t from, keep;  /* slots or NO_SLOT */
    const uint8_t *page;  /* what it is to become; not of ZERO */
    const uint8_t *runs, *words; /* DELTA */
    gsize runs_len, words_len;
} GwRamOp;

void gw_ram_builder_init (GwRamBuilder *builder, unsigned page_bits);
void gw_ram_builder_clear (GwRamBuilder *builder);
void gw_ram_builder_put_raw (GwRamBuilder *builder, const uint8_t *data, gsize len);
/* Adds an operation on a page; returns the bytes that it took. */
gsize gw_ram_builder_put_page (GwRamBuilder *builder, const GwRamOp *op);
void gw_ram_builder_raise (GwRamBuilder *builder, GwRamUrgency urgency);
void gw_ram_builder_close (GwRamBuilder *builder);

#endif
