/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Page requests of postcopy, and how long they take.
 *
 * A guest at the destination that touches a page which has not come waits for it.  Its QEMU asks for the
 * page on the return path, and this courier sees both that and, some time later, the page on its way to
 * that QEMU: on the connection for urgent pages, or among the others.  What lies between is the time of
 * the two couriers, the network and the QEMU at the source.  Not in it is what the destination's QEMU
 * needs to notice the guest's fault and to put the page in its place.
 *
 * A stream is followed from its first byte.  One that begins elsewhere, as after a recovery, or that is
 * none of QEMU's 4 KiB pages, is left alone from the first byte that makes no sense.
 */
#include "courier.h"
#include "stream.h"

#define WAITING_MAX 65536u /* requests at once */
#define BLOCKS_MAX 4096u
#define SECTION_MAX (64u << 20)
#define OFFSET_BITS 48
#define STEPS 8u           /* buckets of the histogram to a factor of two */
#define BUCKETS (STEPS * 40u)

enum { CHANNEL_MAIN, CHANNEL_URGENT, N_CHANNELS };

/* A page that was asked for.  The key of the table is the first member. */
typedef struct {
    gint64 page;
    gint64 at_us;
} Request;

typedef struct {
    GwPageWaits *waits;
    GwStreamReader *reader; /* NULL: not begun, or given up */
    gboolean is_given_up;
    const GwStreamBlock *block; /* that `number` belongs to */
    gint64 number;
} Channel;

struct _GwPageWaits {
    GwReturnReader *requests; /* NULL: given up */
    Channel channels[N_CHANNELS];
    GHashTable *blocks;  /* name to number */
    GHashTable *waiting; /* set of Request */
    gint64 now_us;
    GwPageWaitCounters counters;
    guint64 buckets[BUCKETS];
};

/* --- figures ---------------------------------------------------------------------------------------- */

static guint
find_bucket (guint64 us)
{
    if (us < STEPS)
        return (guint) us;
    guint octave = 63 - (guint) __builtin_clzll (us);
    guint bucket = (octave - 2) * STEPS + (guint) (us >> (octave - 3) & (STEPS - 1));
    return MIN (bucket, BUCKETS - 1);
}

/* The most that belongs to the bucket. */
static gint64
get_edge (guint bucket)
{
    if (bucket < STEPS)
        return bucket;
    guint octave = bucket / STEPS + 2;
    return ((gint64) (STEPS + bucket % STEPS + 1) << (octave - 3)) - 1;
}

static gint64
get_share (const GwPageWaits *waits, guint percent)
{
    guint64 seen = 0;
    for (guint i = 0; i < BUCKETS; i++) {
        seen += waits->buckets[i];
        if (seen > 0 && seen * 100 >= waits->counters.answered * percent)
            return MIN (get_edge (i), waits->counters.max_us);
    }
    return 0;
}

void
gw_page_waits_get_counters (const GwPageWaits *waits, GwPageWaitCounters *ret_counters)
{
    *ret_counters = waits->counters;
    ret_counters->p50_us = get_share (waits, 50);
    ret_counters->p99_us = get_share (waits, 99);
}

/* --- pages ---------------------------------------------------------------------------------------------- */

/* -1: there are too many. */
static gint64
find_block (GwPageWaits *waits, const char *name)
{
    gpointer number;
    if (name == NULL)
        return -1;
    if (g_hash_table_lookup_extended (waits->blocks, name, NULL, &number))
        return GPOINTER_TO_INT (number);
    guint n = g_hash_table_size (waits->blocks);
    if (n >= BLOCKS_MAX)
        return -1;
    g_hash_table_insert (waits->blocks, g_strdup (name), GINT_TO_POINTER ((int) n));
    return n;
}

static gint64
make_page (gint64 block, uint64_t offset)
{
    return block << OFFSET_BITS | (gint64) (offset / GW_STREAM_PAGE_MIN);
}

/* Of a huge page the last part counts.  The first request is the one that somebody waits for longest. */
static gboolean
take_request (const GwReturnRecord *record, gpointer user_data, GError **error)
{
    GwPageWaits *waits = user_data;
    if (record->type != GW_RETURN_REQ_PAGES && record->type != GW_RETURN_REQ_PAGES_ID)
        return TRUE;
    gint64 block = find_block (waits, record->block);
    uint32_t last = record->wanted > GW_PAGE_WAIT_BYTES ? record->wanted - GW_PAGE_WAIT_BYTES : 0;
    waits->counters.requests++;
    if (block < 0 || record->start >= 1ull << OFFSET_BITS ||
        g_hash_table_size (waits->waiting) >= WAITING_MAX)
        return TRUE;
    Request request = { make_page (block, record->start + last), waits->now_us };
    if (!g_hash_table_contains (waits->waiting, &request))
        g_hash_table_add (waits->waiting, g_memdup2 (&request, sizeof request));
    return TRUE;
}

static void
count (GwPageWaits *waits, gint64 us)
{
    waits->counters.answered++;
    waits->counters.sum_us += us;
    waits->counters.max_us = MAX (waits->counters.max_us, us);
    waits->buckets[find_bucket ((guint64) us)]++;
}

static gboolean
take_record (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    Channel *channel = user_data;
    GwPageWaits *waits = channel->waits;
    if ((record->type != GW_STREAM_RAM_PAGE && record->type != GW_STREAM_RAM_ZERO) ||
        g_hash_table_size (waits->waiting) == 0)
        return TRUE;
    if (channel->block != record->ram.block) {
        channel->block = record->ram.block;
        channel->number = find_block (waits, channel->block->name);
    }
    if (channel->number < 0)
        return TRUE;
    gint64 page = make_page (channel->number, record->ram.offset);
    const Request *request = g_hash_table_lookup (waits->waiting, &page);
    if (request == NULL)
        return TRUE;
    count (waits, MAX (waits->now_us - request->at_us, 0));
    g_hash_table_remove (waits->waiting, &page);
    return TRUE;
}

/* --- bytes ----------------------------------------------------------------------------------------------- */

static GwStreamParams
get_params (GwStreamKind kind)
{
    GwStreamParams params;
    gw_stream_params_init (&params);
    params.kind = kind;
    params.page_size = GW_PAGE_WAIT_BYTES;
    params.checks_vmdesc = FALSE;
    params.max_section_bytes = SECTION_MAX;
    return params;
}

GwPageWaits *
gw_page_waits_new (void)
{
    GwPageWaits *waits = g_new0 (GwPageWaits, 1);
    GwStreamParams params = get_params (GW_STREAM_MAIN);
    waits->requests = gw_return_reader_new (&params, take_request, waits);
    waits->blocks = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    waits->waiting = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
    return waits;
}

void
gw_page_waits_free (GwPageWaits *waits)
{
    if (waits == NULL)
        return;
    g_clear_pointer (&waits->requests, gw_return_reader_free);
    for (guint i = 0; i < N_CHANNELS; i++)
        g_clear_pointer (&waits->channels[i].reader, gw_stream_reader_free);
    g_hash_table_unref (waits->blocks);
    g_hash_table_unref (waits->waiting);
    g_free (waits);
}

void
gw_page_waits_take_requests (GwPageWaits *waits, const uint8_t *data, gsize len, gint64 now_us)
{
    waits->now_us = now_us;
    if (waits->requests != NULL && !gw_return_reader_push (waits->requests, data, len, NULL))
        g_clear_pointer (&waits->requests, gw_return_reader_free);
}

void
gw_page_waits_take_pages (GwPageWaits *waits, guint number, const uint8_t *data, gsize len,
                          gint64 now_us)
{
    if (number >= N_CHANNELS || waits->channels[number].is_given_up)
        return;
    Channel *channel = &waits->channels[number];
    if (channel->reader == NULL) {
        GwStreamParams params =
            get_params (number == CHANNEL_MAIN ? GW_STREAM_MAIN : GW_STREAM_PREEMPT);
        channel->waits = waits;
        channel->reader = gw_stream_reader_new (&params, take_record, channel);
    }
    waits->now_us = now_us;
    if (gw_stream_reader_push (channel->reader, data, len, NULL))
        return;
    channel->is_given_up = TRUE;
    g_clear_pointer (&channel->reader, gw_stream_reader_free);
}
