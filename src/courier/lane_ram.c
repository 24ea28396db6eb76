/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A lane whose bytes go through the RAM codec: between the program's socket, ramlane.h and the session. */
#include "courier.h"

#include <errno.h>
#include <sys/random.h>
#include <unistd.h>

#define PIECES 32

/* The first connection of a migration is its main one, all others are for urgent pages. */
static GwStreamKind
choose_kind (const GwLane *lane)
{
    if (lane->index > 0)
        return GW_STREAM_PREEMPT;
    return lane->group->option.is_resumed ? GW_STREAM_SECTIONS : GW_STREAM_MAIN;
}

void
gw_courier_lane_start_codec (GwLane *lane)
{
    uint8_t secret[GW_RAM_SECRET_MIN];
    /* hashes are for this process alone, and so is their key */
    gboolean has_secret = getrandom (secret, sizeof secret, 0) == (ssize_t) sizeof secret;
    GwStreamKind kind = choose_kind (lane);
    gboolean has_memory = kind == GW_STREAM_MAIN && has_secret;
    const GwRamParams params = {
        .kind = kind,
        .page_size = GW_PAGE_WAIT_BYTES,
        .memory_bytes = has_memory ? (uint64_t) lane->group->option.codec_bytes : 0,
        .can_leave_out = TRUE,
        .keeps_proof = lane->group->option.is_verified,
        .secret = secret,
        .secret_bytes = sizeof secret,
    };
    if (lane->group->option.accepts)
        lane->ram_out = gw_ram_out_new (lane->crew, &params);
    else
        lane->ram_in = gw_ram_in_new (lane->crew, &params);
    explicit_bzero (secret, sizeof secret);
    gw_ram_probe_init (&lane->probe);
    if (kind != GW_STREAM_MAIN)
        gw_ram_probe_cancel (&lane->probe);
}

gboolean
gw_courier_lane_stock_up (GwLane *lane)
{
    if (lane->ram_out != NULL)
        return gw_ram_out_stock_up (lane->ram_out);
    return lane->ram_in != NULL && gw_ram_in_stock_up (lane->ram_in);
}

/* --- outwards ------------------------------------------------------------------------------------ */

static double
get_rate (const GwLane *lane)
{
    double rate = 0;
    if (lane->probe.rate > 0 || !gw_ram_probe_is_over (&lane->probe))
        return lane->probe.rate;
    for (int i = 0; i < GW_SESSION_PATHS; i++) {
        GwPathCounters path;
        if (gw_session_path_get_counters (lane->session, i, &path))
            rate += (double) path.rate;
    }
    return rate;
}

/* The link is busy while bytes of this lane have not left: what waits here may as well be made smaller. */
static GwRamOutLink
look_at_link (const GwLane *lane)
{
    GwLaneCounters counters;
    gw_session_lane_get_counters (lane->carried, &counters);
    return (GwRamOutLink){ .is_busy = lane->is_full || counters.unsent_bytes > 0, .rate = get_rate (lane) };
}

gboolean
gw_courier_lane_has_ram_room (GwLane *lane)
{
    gsize most;
    return !lane->is_ending && gw_ram_out_get_room (lane->ram_out, &most) != NULL;
}

gboolean
gw_courier_lane_has_ram_ready (GwLane *lane)
{
    gsize len;
    (void) gw_ram_out_peek (lane->ram_out, &len);
    return len > 0 && !gw_ram_probe_is_holding (&lane->probe);
}

gssize
gw_courier_lane_read_ram (GwLane *lane)
{
    gsize most;
    uint8_t *room = lane->is_ending ? NULL : gw_ram_out_get_room (lane->ram_out, &most);
    gssize len;
    if (room == NULL)
        return 1;
    do
        len = read (lane->fd, room, most);
    while (len < 0 && errno == EINTR);
    if (len <= 0)
        return len;
    GwRamOutLink link = look_at_link (lane);
    /* between two turns pages are compared for a millisecond or two */
    if (lane->index == 0)
        gw_session_set_network_us (lane->session, gw_ram_out_is_late (lane->ram_out) ? GW_SESSION_NETWORK_US
                                                                                     : GW_SESSION_NETWORK_BUSY_US);
    lane->plain_bytes += (uint64_t) len;
    gw_ram_out_push (lane->ram_out, (gsize) len, &link, g_get_monotonic_time ());
    (void) gw_courier_lane_flush_ram (lane); /* asked again before anybody waits */
    return len;
}

void
gw_courier_lane_finish_ram (GwLane *lane)
{
    GwRamOutLink link = look_at_link (lane);
    lane->is_ending = TRUE;
    gw_ram_out_finish (lane->ram_out, &link);
}

/* Until when nothing leaves; 0: it may. */
static gint64
hold (GwLane *lane, gint64 now_us)
{
    GwLaneCounters counters;
    GwRamOutReady ready;
    if (gw_ram_probe_is_over (&lane->probe))
        return 0;
    gw_session_lane_get_counters (lane->carried, &counters);
    if (gw_ram_probe_note (&lane->probe, counters.acked_bytes + counters.unacked_bytes, now_us))
        gw_control_say_format (lane->control, "{\"event\":\"link-rate\",\"lane\":\"%s\",\"bytes_s\":%.0f}", lane->group->option.name,
                               lane->probe.rate);
    gw_ram_out_get_ready (lane->ram_out, &ready);
    ready.may_wait = ready.may_wait && !lane->is_ending;
    uint64_t given = counters.acked_bytes + counters.unacked_bytes + counters.unsent_bytes;
    gint64 until_us = gw_ram_probe_hold (&lane->probe, &ready, given, now_us);
    gw_ram_out_set_held (lane->ram_out, until_us > 0 ? GW_RAM_PROBE_BYTES : 0);
    return until_us;
}

gint64
gw_courier_lane_flush_ram (GwLane *lane)
{
    struct iovec pieces[PIECES];
    GwRamOutLink link = look_at_link (lane);
    gint64 now_us = g_get_monotonic_time (), due_us = gw_ram_out_tick (lane->ram_out, &link, now_us);
    gint64 held_until_us = hold (lane, now_us);
    gsize len;
    const uint8_t *data;
    if (held_until_us > 0)
        return MIN (due_us, held_until_us);
    while (!lane->is_full && (data = gw_ram_out_peek (lane->ram_out, &len), len > 0)) {
        guint n = gw_session_reserve (lane->session, lane->carried, pieces, PIECES);
        gsize copied = gw_courier_copy_to_pieces (data, len, pieces, n);
        gw_session_commit (lane->session, lane->carried, copied);
        gw_ram_out_consume (lane->ram_out, copied);
        lane->is_full = copied == 0;
    }
    return due_us;
}

static void
add_gain (GwRamGain *sum, const GwRamGain *gain)
{
    sum->pages += gain->pages;
    sum->input += gain->input;
    sum->output += gain->output;
}

void
gw_courier_lane_add_codec (GwLane *lane, GwRamOutCounters *sum)
{
    GwLaneCounters counters;
    GwRamOutCounters codec;
    if (lane->ram_out == NULL)
        return;
    gw_session_lane_get_counters (lane->carried, &counters);
    gw_ram_out_note_acked (lane->ram_out, counters.acked_bytes);
    gw_ram_out_get_counters (lane->ram_out, &codec);
    sum->plain += codec.plain;
    sum->wire += codec.wire;
    sum->groups += codec.groups;
    sum->packed_groups += codec.packed_groups;
    sum->acked_input += codec.acked_input;
    sum->encoder.input += codec.encoder.input;
    sum->encoder.light += codec.encoder.light;
    sum->encoder.index_bytes += codec.encoder.index_bytes;
    sum->encoder.cache_bytes += codec.encoder.cache_bytes;
    for (guint i = 0; i < GW_RAM_N_CLASSES; i++)
        add_gain (&sum->encoder.classes[i], &codec.encoder.classes[i]);
}

/* --- inwards ------------------------------------------------------------------------------------- */

/* Gives the codec what has arrived, as far as it takes it.  The last byte stays with the session until the
 * program has everything: the lane does not end before. */
static gboolean
gather (GwLane *lane, GError **error)
{
    struct iovec pieces[PIECES];
    gsize total, taken;
    do {
        guint n = gw_session_peek (lane->session, lane->carried, pieces, PIECES);
        gsize skip = lane->in_debt;
        total = 0;
        for (guint i = 0; i < n; i++) {
            gsize known = MIN (skip, pieces[i].iov_len), len = pieces[i].iov_len - known;
            skip -= known;
            if (!gw_ram_in_put (lane->ram_in, (uint8_t *) pieces[i].iov_base + known, len, &taken, error))
                return FALSE;
            total += taken;
            if (taken < len)
                break;
        }
        if (total > 0) {
            gw_session_consume (lane->session, lane->carried, lane->in_debt + total - 1);
            lane->in_debt = 1;
        }
    } while (total > 0);
    return TRUE;
}

/* DONE when nothing is left that could be given, AGAIN, or FAILED: the program reads no more, or
 * (`*error`) there is nothing right to be given. */
static GwLinkStep
give (GwLane *lane, GError **error)
{
    const uint8_t *data;
    gsize len;
    if (!gw_ram_in_peek (lane->ram_in, &data, &len, error))
        return GW_LINK_FAILED;
    while (len > 0) {
        gsize n;
        GwLinkStep step = gw_courier_lane_give (lane, data, len, &n);
        if (step != GW_LINK_DONE)
            return step;
        gw_ram_in_consume (lane->ram_in, n);
        if (!gw_ram_in_peek (lane->ram_in, &data, &len, error))
            return GW_LINK_FAILED;
    }
    return GW_LINK_DONE;
}

/* The program has everything. */
static gboolean
settle (GwLane *lane, GError **error)
{
    gw_session_consume (lane->session, lane->carried, lane->in_debt);
    lane->in_debt = 0;
    return !gw_session_is_at_end (lane->carried) || gw_ram_in_is_between_groups (lane->ram_in) ||
           gw_fail (error, GW_CAUSE_CODEC_INVALID, "it ended within a group");
}

/* Of what the peer sent: no fault of the local program's.  It gets nothing more, and its socket stays open
 * until the courier has said why. */
static GwLinkStep
refuse (GwLane *lane, GError *error)
{
    lane->failure = error;
    g_prefix_error (&lane->failure, "lane '%s': ", lane->group->option.name);
    return GW_LINK_DONE;
}

GwLinkStep
gw_courier_lane_write_ram (GwLane *lane)
{
    GError *error = NULL;
    struct iovec piece;
    if (lane->failure != NULL)
        return GW_LINK_DONE;
    if (!gather (lane, &error))
        return refuse (lane, error);
    GwLinkStep step = give (lane, &error);
    if (error == NULL && step == GW_LINK_DONE && gw_ram_in_is_empty (lane->ram_in))
        (void) settle (lane, &error);
    if (error != NULL)
        return refuse (lane, error);
    gboolean has_more = lane->in_debt == 0 &&
                        gw_session_peek (lane->session, lane->carried, &piece, 1) > 0;
    return step == GW_LINK_DONE && has_more ? GW_LINK_AGAIN : step;
}
