/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ramcodec: the page-aware codec of the lanes that carry guest memory.
 *
 * Theory
 * ------
 * An encoder takes the bytes of one lane as QEMU writes them, cut anywhere, and gives *groups*; a
 * decoder takes the groups in order and gives the bytes again.  docs/ram-codec.md has every byte.
 *
 * What is encoded.  The encoder reads the lane with the reader of src/stream.  A record of a page is
 * turned into one operation; everything else, and everything that the reader does not understand,
 * travels as raw bytes.  A page is
 *   - zero: QEMU's own record, in one byte;
 *   - unchanged: it was sent before with this very content.  Nothing is sent at all, the record is
 *     missing at the far side.  This is the only way in which the output differs from the input;
 *   - a copy of a page that is in the cache;
 *   - a delta: the words in which it differs from a page in the cache, mostly its own past;
 *   - literal: its bytes.
 *
 * When a page may be left out.  The far side must hold the content and must not lose it: in precopy
 * only, and only when no other lane carries pages (multifd).  A record that names its block is left
 * out only if it names the one that was named last; so the state that CONTINUE refers to is the same
 * before and after, and whatever follows can stay as it is.  From the first device section after the
 * start of RAM nothing is left out either: the length of such a section is a guess of the reader, and
 * a guest that can make it guess wrong must not be able to make bytes vanish.
 *
 * Equality.  Unchanged is decided by a keyed 128-bit hash of each page's last content (hash.c); copy
 * by comparison.  The key comes from the job's secret and the hashes never leave the process.
 *
 * The cache.  Both sides have the same numbered slots of one page each.  The encoder alone decides:
 * an operation says in which slot its page is kept, and from which slot it is made.  What is in a slot
 * is only ever used as bytes to start from, so a bad choice costs bytes, never correctness.  A page that compresses
 * well is worth less of a slot, since it costs little to send it again; of that the caller tells the encoder.
 *
 * Groups.  A group is a head and a body, bounded by GW_RAM_GROUP_MAX bytes of output and of body, and
 * depends on nothing but the slots.  Packing (compressing) a group and unpacking it need neither
 * encoder nor decoder, so any number of workers can do that; only the order of the groups matters.
 *
 * Chains.  A group that is packed by itself finds only what is alike within it.  Groups of a chain are packed one
 * after the other with a memory of 4 MiB (level 1: one), which makes them smaller by a tenth or more, but by one worker
 * at a time.  Each chain has a level of its own, so trying another one does not break it off.
 *
 *     lane -> gw_ram_encoder_push() -> groups -> gw_ram_pack() in workers -> link
 *     link -> gw_ram_group_load() -> gw_ram_unpack() in workers -> gw_ram_decoder_apply() -> lane
 *
 * When to flush.  Pages gather until a group is full.  When the lane is idle the caller asks
 * gw_ram_encoder_get_waiting(): BULK may wait some milliseconds for company, CONTROL and URGENT may
 * not, because QEMU waits for an answer to what they hold.
 *
 * Light.  Hashing, comparing and keeping pages costs about as much as sending them where the link is fast.  The caller
 * may say that it is: pages then travel as raw bytes with what is between them and are forgotten, until it says
 * otherwise.  A page that was sent like that counts as one of which nothing is known.
 *
 * Postcopy.  The first discard, or the command LISTEN, ends precopy for the codec: from there on
 * groups are URGENT, hold at most GW_RAM_URGENT_MAX bytes, and know only zero and literal.  The urgent
 * lane (preempt) begins like that, and so does a lane after a recovery.
 *
 * Memory.  `memory_bytes` of both sides is one number: the encoder's index and slots fit into it, and
 * no slot has a number that would not fit into the decoder's.  Whatever does not fit is sent as if it
 * were new.  Groups come on top; their number is the caller's affair.  Some of it may be got from the kernel
 * before there are pages, when nobody waits (gw_ram_encoder_stock_up()).
 *
 * Proof.  Each group carries a digest of the bytes that the encoder was given for it and does not leave out;
 * the decoder makes its own of what it gives.  So a mistake in any part between them, or a slot that is
 * not alike on both sides, ends the lane and not in the guest's memory.  (Against damage on the way there is
 * the link's encryption.)
 *
 * Trust.  The decoder bounds everything: sizes of a head before a byte is taken, output before it is
 * written, slots to those that were filled in this session.  A wrong byte is GW_CAUSE_CODEC_INVALID,
 * now and ever after.
 *
 * Nothing here does I/O, reads a clock or starts a thread.  An encoder, a decoder, a packer and a
 * group each belong to one thread at a time.
 */
#ifndef GW_RAMCODEC_H
#define GW_RAMCODEC_H

#include "stream.h"

#define GW_RAM_HEAD 40u                    /* bytes of a group's head */
#define GW_RAM_GROUP_MAX (512u * 1024u)    /* bytes of output, and of body, of one group */
#define GW_RAM_URGENT_MAX (32u * 1024u)    /* the encoder's own bound in postcopy */
#define GW_RAM_SECRET_MIN 16u              /* bytes of a secret */
#define GW_RAM_MEMORY_MAX (G_GUINT64_CONSTANT (1) << 30) /* what more memory would not help */

typedef struct {
    GwStreamKind kind;       /* MAIN, or what begins in postcopy: PREEMPT, SECTIONS (recovery) */
    uint32_t page_size;      /* of the target */
    uint64_t memory_bytes;   /* for index and slots; 0: none.  The decoder's is at least this */
    gboolean can_leave_out;  /* no other lane carries pages */
    gboolean keeps_proof;    /* encoder: gw_ram_encoder_check() will be asked, so light pages are hashed too */
    const uint8_t *secret;   /* encoder: of the job; copied */
    gsize secret_bytes;      /* at least GW_RAM_SECRET_MIN */
} GwRamParams;

/* A quarter of `guest_bytes`, at most GW_RAM_MEMORY_MAX. */
uint64_t gw_ram_default_memory (uint64_t guest_bytes);

/* --- group.c ------------------------------------------------------------------------------------ */

typedef enum {
    GW_RAM_BULK,    /* pages of precopy, and the marks of sections between them */
    GW_RAM_CONTROL, /* also bytes that QEMU's other side may wait for */
    GW_RAM_URGENT,  /* postcopy */
} GwRamUrgency;

typedef struct _GwRamGroup GwRamGroup;

void gw_ram_group_free (GwRamGroup *group);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRamGroup, gw_ram_group_free)

/* Head and body, as they travel; valid until the group is packed, unpacked or freed. */
const uint8_t *gw_ram_group_get_bytes (const GwRamGroup *group, gsize *ret_len);
GwRamUrgency gw_ram_group_get_urgency (const GwRamGroup *group);
/* Bytes of the lane that it stands for once decoded. */
gsize gw_ram_group_get_output (const GwRamGroup *group);
/* Bytes of head and body before packing. */
gsize gw_ram_group_get_plain (const GwRamGroup *group);
gboolean gw_ram_group_is_packed (const GwRamGroup *group);

/* The length of the group that begins with `head`; GW_RAM_HEAD to GW_RAM_HEAD + GW_RAM_GROUP_MAX.
 * FALSE with GW_CAUSE_CODEC_INVALID when it is no such head. */
gboolean gw_ram_group_measure (const uint8_t head[static GW_RAM_HEAD], gsize *ret_len,
                               GError **error);
/* A group of the `len` bytes that gw_ram_group_measure() said; copied.  NULL with
 * GW_CAUSE_CODEC_INVALID. */
GwRamGroup *gw_ram_group_load (const uint8_t *data, gsize len, GError **error);
/* The same of one that comes in pieces: first its head, */
GwRamGroup *gw_ram_group_begin (const uint8_t head[static GW_RAM_HEAD], GError **error);
/* then the rest.  Returns how many of the `len` bytes it took: it takes no more than it needs. */
gsize gw_ram_group_fill (GwRamGroup *group, const uint8_t *data, gsize len);
/* Only a whole one may be unpacked or applied. */
gboolean gw_ram_group_is_whole (const GwRamGroup *group);

/* --- pack.c: what workers do ---------------------------------------------------------------------- */

#define GW_RAM_LEVEL_NONE 0
#define GW_RAM_LEVEL_LEAST (-7)
#define GW_RAM_LEVEL_MOST 9

typedef struct _GwRamPacker GwRamPacker;

/* What one worker needs to pack and unpack. */
GwRamPacker *gw_ram_packer_new (void);
void gw_ram_packer_free (GwRamPacker *packer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRamPacker, gw_ram_packer_free)

/* Compresses the group's body with zstd's `level` and says whether that made it smaller; a group of
 * which it did not stays as it is.  `level` NONE does nothing. */
gboolean gw_ram_pack (GwRamPacker *packer, GwRamGroup *group, int level);
/* Undoes it; a group that is not packed stays as it is.  FALSE with GW_CAUSE_CODEC_INVALID. */
gboolean gw_ram_unpack (GwRamPacker *packer, GwRamGroup *group, GError **error);

/* --- chain.c: groups that go on where the last one ended ------------------------------------------- */

#define GW_RAM_CHAINS 4u
#define GW_RAM_CHAIN_WINDOW_LOG 22u /* of the bytes that it remembers */

typedef struct _GwRamChain GwRamChain;

/* Both sides have one of each number that is used; `level` (1 to GW_RAM_LEVEL_MOST) is of the packing side. */
GwRamChain *gw_ram_chain_new (guint number, int level);
void gw_ram_chain_free (GwRamChain *chain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRamChain, gw_ram_chain_free)
/* As gw_ram_pack() and gw_ram_unpack(), of the groups of a chain in their order, by one worker after the other.  A group
 * that stays as it is ends the chain, and the next one begins it anew. */
gboolean gw_ram_chain_pack (GwRamChain *chain, GwRamPacker *packer, GwRamGroup *group);
gboolean gw_ram_chain_unpack (GwRamChain *chain, GwRamPacker *packer, GwRamGroup *group, GError **error);
gboolean gw_ram_group_is_chained (const GwRamGroup *group);
/* Of one that is. */
guint gw_ram_group_get_chain (const GwRamGroup *group);

/* --- level.c: how hard to try --------------------------------------------------------------------- */

typedef struct {
    int level;
    int chain; /* its number; -1: each group by itself */
} GwRamWay;

typedef struct {
    double ratio;  /* packed bytes by plain bytes, 1 is no gain; 0 is not known */
    double rate;   /* plain bytes a second and core; 0 is not known */
    uint32_t age;  /* groups since it was last tried */
    gboolean is_old; /* what is known is of long ago: what comes next counts alone */
} GwRamLevel;

#define GW_RAM_N_LEVELS 9
extern const GwRamWay gw_ram_ways[GW_RAM_N_LEVELS]; /* by what they cost; the first does nothing */

/* What is known of each way.  The caller's; zero to begin with. */
typedef struct {
    GwRamLevel levels[GW_RAM_N_LEVELS];
    uint32_t pause, skipped; /* groups not to try after attempts without gain; how many were */
    uint32_t effort, calm;   /* of gw_ram_levels_press(): which, for how many groups the link was waited for, */
    uint32_t calm_least;     /* how many it takes for more effort, */
    uint32_t strain;         /* and for how many more the crew was */
} GwRamLevels;

/* The way for the next group, its place in gw_ram_ways, when the link takes `link_rate` bytes a second and `cores`
 * workers are free: the one that carries most plain bytes a second, and of those that do alike the first.  A chain
 * has one worker.  0 of either means not known. */
guint gw_ram_levels_choose (GwRamLevels *levels, double link_rate, double cores);
/* Likewise for a link that is slower than any way: always in a chain, and with more effort as long as the link is waited
 * for, with less when the crew is more often. */
guint gw_ram_levels_press (GwRamLevels *levels, gboolean is_link_waited_for, gboolean is_crew_waited_for);
/* What came of it: `plain` bytes became `packed` in `cpu_us` of a worker. */
void gw_ram_levels_note (GwRamLevels *levels, guint way, gsize plain, gsize packed, gint64 cpu_us);

/* --- encoder.c ------------------------------------------------------------------------------------ */

typedef enum {
    GW_RAM_ZERO_PAGE,
    GW_RAM_UNCHANGED, /* left out */
    GW_RAM_COPY,
    GW_RAM_DELTA,
    GW_RAM_FIRST,     /* literal; not sent before, or not known to be */
    GW_RAM_AGAIN,     /* literal; sent before */
    GW_RAM_OTHER,     /* a page that QEMU encoded itself; raw */
    GW_RAM_N_CLASSES
} GwRamClass;

const char *gw_ram_class_name (GwRamClass class); /* "zero", "unchanged"... */

typedef struct {
    uint64_t pages;  /* records of this class */
    uint64_t input;  /* their bytes in the lane */
    uint64_t output; /* their bytes in groups, before packing */
} GwRamGain;

typedef struct {
    GwRamGain classes[GW_RAM_N_CLASSES];
    uint64_t input;        /* bytes pushed */
    uint64_t raw;          /* of these, not of pages */
    uint64_t light;        /* pages sent lightly */
    uint64_t index_bytes, cache_bytes; /* memory in use */
} GwRamCounters;

typedef struct _GwRamEncoder GwRamEncoder;

GwRamEncoder *gw_ram_encoder_new (const GwRamParams *params);
void gw_ram_encoder_free (GwRamEncoder *encoder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRamEncoder, gw_ram_encoder_free)

/* Gets some of the memory that pages will need from the kernel, for whoever has nothing to do before they come: 256 KiB, a
 * tenth of a millisecond.  FALSE when it has enough or there are pages already. */
gboolean gw_ram_encoder_stock_up (GwRamEncoder *encoder);
/* Whether the next pages are worth no work. */
void gw_ram_encoder_set_light (GwRamEncoder *encoder, gboolean is_light);
/* Takes bytes of the lane.  What it does not understand it passes on, so it cannot fail. */
void gw_ram_encoder_push (GwRamEncoder *encoder, const uint8_t *data, gsize len);
/* Why everything passes as raw bytes from some place on; NULL while that is not so. */
const GError *gw_ram_encoder_get_fault (const GwRamEncoder *encoder);
/* The next full group (transfer full); NULL when there is none. */
GwRamGroup *gw_ram_encoder_take (GwRamEncoder *encoder);
/* What packing, which was tried, has made of a group taken earlier: it tells what is worth keeping. */
void gw_ram_encoder_note_packed (GwRamEncoder *encoder, const GwRamGroup *group);
/* Whether a group is open, and how urgent it is. */
gboolean gw_ram_encoder_get_waiting (const GwRamEncoder *encoder, GwRamUrgency *ret_urgency);
/* Closes the open group, full or not. */
void gw_ram_encoder_flush (GwRamEncoder *encoder);
/* The lane has ended: passes on the beginning of a record that will not come, and flushes. */
void gw_ram_encoder_finish (GwRamEncoder *encoder);

void gw_ram_encoder_get_counters (const GwRamEncoder *encoder, GwRamCounters *ret_counters);

typedef enum { GW_RAM_UNKNOWN, GW_RAM_SAME, GW_RAM_DIFFERENT } GwRamVerdict;

/* Whether `page` is what was last sent for `offset` of the block. */
GwRamVerdict gw_ram_encoder_check (const GwRamEncoder *encoder, const char *block, uint64_t offset,
                                   const uint8_t *page);

/* --- decoder.c ------------------------------------------------------------------------------------ */

typedef struct _GwRamDecoder GwRamDecoder;

/* Of `params` only page_size and memory_bytes are used. */
GwRamDecoder *gw_ram_decoder_new (const GwRamParams *params);
void gw_ram_decoder_free (GwRamDecoder *decoder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRamDecoder, gw_ram_decoder_free)

/* As gw_ram_encoder_stock_up(). */
gboolean gw_ram_decoder_stock_up (GwRamDecoder *decoder);
/* Appends the bytes of the next group, which is not packed, to `out`: at most GW_RAM_GROUP_MAX.
 * FALSE with GW_CAUSE_CODEC_INVALID, now and ever after; `out` is then as it was. */
gboolean gw_ram_decoder_apply (GwRamDecoder *decoder, const GwRamGroup *group, GByteArray *out,
                               GError **error);
uint64_t gw_ram_decoder_get_memory (const GwRamDecoder *decoder); /* bytes of slots in use */

#endif
