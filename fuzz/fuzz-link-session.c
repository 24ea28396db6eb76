/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A session that receives whatever a peer may send.  The input is a row of {path and action, length,
 * record}; between the records the session is asked for frames, its lanes are read and closed, and time
 * goes on.  Nothing may abort, leak, or hold more than the bound of memory.
 */
#include "session.h"

#include <string.h>

#define MEMORY (4 << 20)

typedef struct {
    GwSession *session;
    int path[2];
    gint64 now_us;
    GwSessionLane *lanes[GW_SESSION_LANES];
} Fuzz;

static void
release (gpointer memory)
{
    g_free (memory);
}

static void
take_events (Fuzz *fuzz)
{
    GwSessionEvent event;
    while (gw_session_next_event (fuzz->session, &event)) {
        guint i = 0;
        while (i < GW_SESSION_LANES && fuzz->lanes[i] != event.lane)
            i++;
        if (event.type == GW_SESSION_LANE_OFFERED) {
            for (i = 0; fuzz->lanes[i] != NULL; i++)
                ;
            fuzz->lanes[i] = event.lane;
            gw_session_accept (fuzz->session, event.lane, GW_CLASS_BULK, NULL);
        } else if (event.type == GW_SESSION_LANE_OVER) {
            fuzz->lanes[i] = NULL;
            gw_session_close (fuzz->session, event.lane);
        } else if (event.type == GW_SESSION_PATH_LEFT || event.type == GW_SESSION_PATH_DEAD) {
            int which = fuzz->path[1] == event.path;
            gw_session_path_down (fuzz->session, event.path, event.text, fuzz->now_us);
            fuzz->path[which] = gw_session_path_up (fuzz->session, 9, fuzz->now_us);
        }
    }
}

static void
use_lane (Fuzz *fuzz, GwSessionLane *lane, guint action)
{
    struct iovec piece;
    if (action == 1 && gw_session_peek (fuzz->session, lane, &piece, 1) == 1)
        gw_session_consume (fuzz->session, lane, piece.iov_len);
    else if (action == 2 && gw_session_reserve (fuzz->session, lane, &piece, 1) == 1)
        gw_session_commit (fuzz->session, lane, MIN (piece.iov_len, 100));
    else if (action == 3)
        gw_session_end (fuzz->session, lane);
    else if (action == 4)
        gw_session_stop (fuzz->session, lane);
    else if (action == 5)
        gw_session_reset (fuzz->session, lane, "fuzz");
}

static void
act (Fuzz *fuzz, guint action)
{
    GwSessionFrame frame;
    for (guint i = 0; i < GW_SESSION_LANES && action < 6; i++)
        if (fuzz->lanes[i] != NULL)
            use_lane (fuzz, fuzz->lanes[i], action);
    if (action == 6)
        gw_session_finish (fuzz->session);
    for (guint i = 0; i < 2 && action == 7; i++)
        while (gw_session_send (fuzz->session, fuzz->path[i], fuzz->now_us, &frame))
            g_assert (frame.len >= GW_LINK_HEAD && frame.len <= GW_LINK_RECORD);
    fuzz->now_us += action == 8 ? 3000000 : 700;
    (void) gw_session_tick (fuzz->session, fuzz->now_us); /* time goes on by itself */
    take_events (fuzz);
}

static void
receive (Fuzz *fuzz, int which, const uint8_t *bytes, gsize len)
{
    g_autoptr (GError) error = NULL;
    uint8_t *copy = g_memdup2 (bytes, len);
    GwLinkRecord record = { copy, release, copy, len };
    if (gw_session_receive (fuzz->session, fuzz->path[which], &record, fuzz->now_us, &error))
        return;
    g_assert (error != NULL);
    gw_session_path_down (fuzz->session, fuzz->path[which], error->message, fuzz->now_us);
    fuzz->path[which] = gw_session_path_up (fuzz->session, 9, fuzz->now_us);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    GwSessionConfig config = { .side = GW_SIDE_DESTINATION,
                               .memory_bytes = MEMORY,
                               .silence_ms = 2000,
                               .ping_ms = 250,
                               .renew_bytes = 100000,
                               .renew_records = 1000 };
    Fuzz fuzz = { .session = gw_session_new (&config), .now_us = 1000000 };
    for (int i = 0; i < 2; i++)
        fuzz.path[i] = gw_session_path_up (fuzz.session, (guint) i, fuzz.now_us);
    fuzz.lanes[0] = gw_session_open (fuzz.session, "ours", GW_CLASS_RETURN, NULL);
    act (&fuzz, 7);
    while (size >= 3) {
        gsize len = MIN (gw_load_be16 (data + 1), size - 3);
        receive (&fuzz, data[0] & 1, data + 3, len);
        take_events (&fuzz);
        act (&fuzz, data[0] >> 1 & 15);
        data += 3 + len;
        size -= 3 + len;
    }
    GwSessionCounters counters;
    gw_session_get_counters (fuzz.session, &counters);
    g_assert (counters.memory_peak_bytes <= MEMORY);
    gw_session_free (fuzz.session);
    return 0;
}
