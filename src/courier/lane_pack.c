/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A lane whose bytes go in blocks (pack.h): between the program's socket, the block and the session. */
#include "courier.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PIECES 32
#define BLOCKS_A_TURN 4

/* --- outwards ------------------------------------------------------------------------------------ */

/* Bytes outwards that the session has no room for. */
static gsize
get_pending (const GwLane *lane)
{
    gsize pending;
    (void) gw_packer_peek (lane->packer, &pending);
    return pending;
}

gsize
gw_courier_copy_to_pieces (const uint8_t *data, gsize len, const struct iovec *pieces, guint n)
{
    gsize copied = 0;
    for (guint i = 0; i < n && copied < len; i++) {
        gsize part = MIN (pieces[i].iov_len, len - copied);
        memcpy (pieces[i].iov_base, data + copied, part);
        copied += part;
    }
    return copied;
}

void
gw_courier_lane_flush_packed (GwLane *lane)
{
    struct iovec pieces[PIECES];
    gsize len;
    const uint8_t *data;
    while ((data = gw_packer_peek (lane->packer, &len)), len > 0) {
        guint n = gw_session_reserve (lane->session, lane->carried, pieces, PIECES);
        gsize copied = gw_courier_copy_to_pieces (data, len, pieces, n);
        gw_session_commit (lane->session, lane->carried, copied);
        gw_packer_consume (lane->packer, copied);
        lane->is_full = copied == 0;
        if (copied == 0)
            return;
    }
}

/* The program is faster than the link: what waits here may as well be made smaller. */
static gboolean
has_to_wait (const GwLane *lane)
{
    GwLaneCounters counters;
    gw_session_lane_get_counters (lane->carried, &counters);
    return counters.unsent_bytes > 0;
}

gssize
gw_courier_lane_read_packed (GwLane *lane)
{
    gssize len;
    gw_courier_lane_flush_packed (lane);
    if (get_pending (lane) > 0)
        return 1;
    do
        len = read (lane->fd, gw_packer_get_room (lane->packer), GW_PACK_BLOCK);
    while (len < 0 && errno == EINTR);
    if (len <= 0)
        return len;
    lane->plain_bytes += (uint64_t) len;
    gw_packer_pack (lane->packer, (gsize) len, has_to_wait (lane));
    gw_courier_lane_flush_packed (lane);
    return len;
}

/* --- inwards ------------------------------------------------------------------------------------- */

/* The last bytes of a block stay with the session until the program has taken all of it: the lane does
 * not end before. */
static gboolean
take_block (GwLane *lane, GError **error)
{
    struct iovec piece;
    gsize taken, n_pending;
    while (gw_session_peek (lane->session, lane->carried, &piece, 1) > 0) {
        if (!gw_unpacker_put (lane->unpacker, piece.iov_base, piece.iov_len, &taken, error))
            return FALSE;
        (void) gw_unpacker_peek (lane->unpacker, &n_pending);
        if (n_pending > 0) {
            lane->in_debt = taken;
            return TRUE;
        }
        gw_session_consume (lane->session, lane->carried, taken);
    }
    return TRUE;
}

/* DONE when the block is the program's, AGAIN, or FAILED: it reads no more. */
static GwLinkStep
give_block (GwLane *lane)
{
    gsize len, n;
    const uint8_t *data;
    while ((data = gw_unpacker_peek (lane->unpacker, &len)), len > 0) {
        GwLinkStep step = gw_courier_lane_give (lane, data, len, &n);
        if (step != GW_LINK_DONE)
            return step;
        gw_unpacker_consume (lane->unpacker, n);
    }
    gw_session_consume (lane->session, lane->carried, lane->in_debt);
    lane->in_debt = 0;
    return GW_LINK_DONE;
}

/* Of what the peer sent: no fault of the local program's. */
static GwLinkStep
refuse (GwLane *lane, const GError *error)
{
    gw_session_reset (lane->session, lane->carried, error->message);
    gw_courier_lane_break (lane);
    return GW_LINK_DONE;
}

GwLinkStep
gw_courier_lane_write_unpacked (GwLane *lane)
{
    g_autoptr (GError) error = NULL;
    for (guint i = 0; i < BLOCKS_A_TURN; i++) {
        if (lane->in_debt == 0 && !take_block (lane, &error))
            return refuse (lane, error);
        if (lane->in_debt == 0 && gw_session_is_at_end (lane->carried) &&
            !gw_unpacker_is_between_blocks (lane->unpacker)) {
            (void) gw_fail (&error, GW_CAUSE_LINK_LOST, "the lane ended within a block");
            return refuse (lane, error);
        }
        if (lane->in_debt == 0)
            return GW_LINK_DONE;
        GwLinkStep step = give_block (lane);
        if (step != GW_LINK_DONE)
            return step;
    }
    return GW_LINK_AGAIN;
}
