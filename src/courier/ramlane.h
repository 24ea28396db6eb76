/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ramlane: the bytes of a lane with guest memory as groups of the RAM codec, compressed by the crew.
 *
 * Theory
 * ------
 * Outwards.  What the program writes goes through the encoder; each full group becomes a task with the
 * level that suits the link, and leaves in its turn once it is done.  An open group leaves as soon as
 * QEMU may wait for an answer to what it holds, else GW_RAM_OUT_WAIT_US after its first byte.  No more is
 * read while as many groups are under way as the crew can have use for, or 3 ms of the link wait for it: so
 * the memory is that of the encoder and of these groups, whatever the link does, and nobody waits long behind
 * pages that nobody waits for.
 *
 * On a link that takes less than 180 MB/s when first asked (ramprobe.c), or of which nothing is known, all groups are compressed.
 * On a faster one they are as long as it is waited for at least now and then: a moment in which the crew was slower is no
 * reason to send one as it is.
 * After some MiB of pages as they are for which nobody did, or on a link that is about as fast as the encoder, pages are not
 * even hashed (ramcodec.h: light), until the link is waited for again; then the same takes twice as many.  A group of urgent
 * pages is never compressed.
 *
 * One thread can pack a chain (ramcodec.h), so no more than one of its groups waits for another.
 *
 * Credit.  A byte of the link may stand for a hundred of the program's.  So that others can tell how much
 * of the guest's memory has arrived, each group has a mark: the program's bytes that are in it and in those
 * before, and what was left out so far.  Once the link's bytes of the group are acknowledged, so is all that.
 *
 * Inwards.  Groups are gathered, decompressed in any order, and applied in theirs.  What does not decode
 * is an error for ever.
 *
 * The link below gives every byte once and in order, whatever its paths do; so neither side starts anew
 * when a path does.
 *
 * Of the loop's thread.  No I/O and no clock but those of the crew.
 */
#ifndef GW_RAMLANE_H
#define GW_RAMLANE_H

#include "crew.h"

#define GW_RAM_OUT_ROOM (256u << 10)  /* bytes of the program taken at once, at most */
#define GW_RAM_OUT_WAIT_US 3000       /* of an open group for company */

/* --- ram_out.c ------------------------------------------------------------------------------------ */

typedef struct {
    gboolean is_busy; /* what was given to it has not all left */
    double rate;      /* bytes a second; 0: not known */
} GwRamOutLink;

typedef struct {
    GwRamCounters encoder;
    uint64_t plain, wire;   /* bytes of groups before and after packing */
    uint64_t groups, packed_groups;
    uint64_t acked_input;   /* bytes of the program that arrived; needs gw_ram_out_note_acked() */
} GwRamOutCounters;

typedef struct _GwRamOut GwRamOut;

/* `crew` must outlive it.  `params` is copied. */
GwRamOut *gw_ram_out_new (GwCrew *crew, const GwRamParams *params);
void gw_ram_out_free (GwRamOut *out);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRamOut, gw_ram_out_free)

/* As gw_ram_encoder_stock_up(). */
gboolean gw_ram_out_stock_up (GwRamOut *out);
/* `*ret_len` bytes (at most GW_RAM_OUT_ROOM) to put the program's into; NULL while too much is under way. */
uint8_t *gw_ram_out_get_room (GwRamOut *out, gsize *ret_len);
/* The guest runs at the other side, and waits for pages. */
gboolean gw_ram_out_is_late (const GwRamOut *out);
/* Takes the first `len` of them. */
void gw_ram_out_push (GwRamOut *out, gsize len, const GwRamOutLink *link, gint64 now_us);
/* The program's last byte has come. */
void gw_ram_out_finish (GwRamOut *out, const GwRamOutLink *link);
/* Closes an open group whose time has come.  Returns when to call again, G_MAXINT64 for not. */
gint64 gw_ram_out_tick (GwRamOut *out, const GwRamOutLink *link, gint64 now_us);
/* What can leave now; 0 bytes when nothing can. */
const uint8_t *gw_ram_out_peek (GwRamOut *out, gsize *ret_len);
void gw_ram_out_consume (GwRamOut *out, gsize len);
/* Whether nothing that was pushed is still here. */
gboolean gw_ram_out_is_empty (const GwRamOut *out);
/* Of all bytes consumed, the first `wire` have arrived. */
void gw_ram_out_note_acked (GwRamOut *out, uint64_t wire);
void gw_ram_out_get_counters (const GwRamOut *out, GwRamOutCounters *ret);
/* Why everything passes as it is from some place on; NULL while that is not so. */
const GError *gw_ram_out_get_fault (const GwRamOut *out);

/* What could leave now but for who holds it back. */
typedef struct {
    gsize bytes;        /* packed, as far as they are to be */
    gboolean has_pages; /* with groups of pages as they are among them, or about to be */
    gboolean may_wait;  /* QEMU waits for none of it */
} GwRamOutReady;

void gw_ram_out_get_ready (const GwRamOut *out, GwRamOutReady *ret);
/* What is ready is held back until it is `most` bytes; 0: it is not. */
void gw_ram_out_set_held (GwRamOut *out, gsize most);

/* The content of `page` of a block against what was last sent of it.  From any thread, while nothing is pushed. */
GwRamVerdict gw_ram_out_check (const GwRamOut *out, const char *block, uint64_t offset, const uint8_t *page);

/* --- ramprobe.c: what the link takes, asked once -------------------------------------------------------------- */

/* Where compressing is slower than the link, nobody ever waits for it, and how fast it is shows nowhere: what leaves is as fast
 * as what is made, and a group at a time goes at once through any shaper.  So the first packed groups of pages are held back until
 * they are more than a shaper lets through, and go all at once.  Nothing more is sent for that, and it takes some 20 ms in which the
 * crew goes on.  Seen so on two busy processors: 37.5 MB/s of 300 Mbit/s, 130 to 151 of 1 Gbit/s, 210 to 650 where nothing is
 * shaped. */

#define GW_RAM_PROBE_BYTES (4u << 20) /* three times what a shaper of 1 Gbit/s lets through in 10 ms */

typedef struct {
    GwMachine machine;
    gint64 since_us; /* of its state */
    uint64_t bytes, until; /* that go at once; of the lane, with them */
    double rate;     /* bytes a second; 0: not known */
} GwRamProbe;

void gw_ram_probe_init (GwRamProbe *probe);
/* There is nothing to ask. */
void gw_ram_probe_cancel (GwRamProbe *probe);
/* Until when what is ready is held back, if no more comes; 0: it is not.  `given`: bytes of the lane that the link has had. */
gint64 gw_ram_probe_hold (GwRamProbe *probe, const GwRamOutReady *ready, uint64_t given, gint64 now_us);
gboolean gw_ram_probe_is_holding (const GwRamProbe *probe);
/* So many bytes of the lane have left.  TRUE when the rate is known by that. */
gboolean gw_ram_probe_note (GwRamProbe *probe, uint64_t left, gint64 now_us);
gboolean gw_ram_probe_is_over (const GwRamProbe *probe);

/* --- ramcheck.c: memory against what was sent of it ------------------------------------------------- */

#define GW_RAM_CHECK_BLOCKS 64u
#define GW_RAM_CHECK_NAMED 8u /* pages that are named */

typedef struct {
    char *name;              /* of the RAM block */
    uint64_t address, bytes; /* in the other process */
} GwRamCheckBlock;

typedef struct {
    uint64_t pages, different, unknown, unread; /* unknown: not followed.  unread: not to be had */
    gint64 took_us;
    const char *named; /* "pc.ram+0x1f000 ..." of some that differ */
} GwRamCheckResult;

typedef struct _GwRamCheck GwRamCheck;

/* Begins to read the blocks (of GwRamCheckBlock; transfer full) from `memory_fd` (transfer full), in all threads
 * of the crew.  Nothing is pushed into `out` before its end. */
GwRamCheck *gw_ram_check_start (GwCrew *crew, const GwRamOut *out, int memory_fd, GArray *blocks);
/* Waits for its end. */
void gw_ram_check_free (GwRamCheck *check);
gboolean gw_ram_check_is_done (const GwRamCheck *check);
void gw_ram_check_get_result (const GwRamCheck *check, GwRamCheckResult *ret);

/* --- ram_in.c ------------------------------------------------------------------------------------- */

typedef struct _GwRamIn GwRamIn;

GwRamIn *gw_ram_in_new (GwCrew *crew, const GwRamParams *params);
void gw_ram_in_free (GwRamIn *in);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRamIn, gw_ram_in_free)

/* As gw_ram_encoder_stock_up(). */
gboolean gw_ram_in_stock_up (GwRamIn *in);
/* Takes bytes that arrived, as far as there is room, and says how many.  FALSE with
 * GW_CAUSE_CODEC_INVALID, now and ever after. */
gboolean gw_ram_in_put (GwRamIn *in, const uint8_t *data, gsize len, gsize *ret_taken, GError **error);
/* What the program gets now; `*ret_len` 0 when nothing can be given.  FALSE as above. */
gboolean gw_ram_in_peek (GwRamIn *in, const uint8_t **ret_data, gsize *ret_len, GError **error);
void gw_ram_in_consume (GwRamIn *in, gsize len);
/* Whether every whole group that was put has been consumed. */
gboolean gw_ram_in_is_empty (const GwRamIn *in);
/* Whether no group has begun and not ended. */
gboolean gw_ram_in_is_between_groups (const GwRamIn *in);

#endif
