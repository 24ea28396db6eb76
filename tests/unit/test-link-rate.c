/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session's window on a shaped way: bulk fills it, and the queue stays short. */
#include "session.h"

#define STEP_US 20
#define WAY_US 40                /* each direction */
#define BURST (500 * 1024)      /* the shaper lets through at once what it has saved up */
#define SOCKET (300 * 1024)     /* what the socket takes before it is full */
#define SECONDS 6
#define KNOWN_US 1500000 /* half a second after the start */

typedef struct {
    GwLinkRecord record;
    gint64 due_us;
} Flying;

typedef struct {
    const char *name;
    guint rate;           /* bytes a microsecond */
    gint64 near_every_us; /* the near courier has a turn that often, once it knows the way, */
    gint64 far_every_us;  /* and the far one */
    guint network_us;     /* that the near one asked for; 0: not */
    gsize most_bytes;     /* that may wait before the shaper in the end */
} Row;

static const Row rows[] = {
    { "/link-rate/shaped", 100, STEP_US, STEP_US, 0, 192 * 1024 },
    /* a window of one millisecond would be a quarter of what passes */
    { "/link-rate/far-courier-waits", 600, STEP_US, 4000, 0, SOCKET + GW_LINK_RECORD },
    /* half a millisecond would be a quarter of what passes between two turns */
    { "/link-rate/near-courier-works", 100, 2000, STEP_US, GW_SESSION_NETWORK_BUSY_US, SOCKET + GW_LINK_RECORD },
};

typedef struct {
    const Row *row;
    GwSession *ends[2];
    int path[2];
    gint64 now_us;
    GQueue socket, ways[2]; /* Flying */
    gsize socket_bytes;
    gint64 tokens;
} World;

static Flying *
copy_frame (const GwSessionFrame *frame)
{
    Flying *flying = g_new0 (Flying, 1);
    uint8_t *copy = g_memdup2 (frame->record, frame->len);
    flying->record = (GwLinkRecord){ .packet = copy, .release = g_free, .data = copy,
                                     .len = frame->len };
    return flying;
}

static void
land (World *world, int from)
{
    GQueue *way = &world->ways[from];
    while (!g_queue_is_empty (way) && ((Flying *) way->head->data)->due_us <= world->now_us) {
        g_autofree Flying *flying = g_queue_pop_head (way);
        g_assert_true (gw_session_receive (world->ends[!from], world->path[!from], &flying->record,
                                           world->now_us, NULL));
    }
}

/* The shaper: from the socket to the way. */
static void
drain_socket (World *world)
{
    world->tokens = MIN (world->tokens + (gint64) world->row->rate * STEP_US, BURST);
    while (!g_queue_is_empty (&world->socket)) {
        Flying *flying = world->socket.head->data;
        if (world->tokens < (gint64) flying->record.len)
            return;
        world->tokens -= (gint64) flying->record.len;
        world->socket_bytes -= flying->record.len;
        flying->due_us = world->now_us + WAY_US;
        g_queue_push_tail (&world->ways[0], g_queue_pop_head (&world->socket));
    }
}

/* What the far kernel has not acknowledged: all but what waits there for the courier. */
static gsize
get_unacked (const World *world)
{
    gsize bytes = world->socket_bytes;
    for (GList *link = world->ways[0].tail; link != NULL; link = link->prev) {
        const Flying *flying = link->data;
        if (flying->due_us <= world->now_us)
            break;
        bytes += flying->record.len;
    }
    return bytes;
}

static void
send_bulk (World *world)
{
    GwSessionFrame frame;
    gw_session_path_unacked (world->ends[0], world->path[0], get_unacked (world));
    while (world->socket_bytes < SOCKET) {
        if (!gw_session_send (world->ends[0], world->path[0], world->now_us, &frame))
            return;
        world->socket_bytes += frame.len;
        g_queue_push_tail (&world->socket, copy_frame (&frame));
    }
    gw_session_path_full (world->ends[0], world->path[0]);
}

static void
send_back (World *world)
{
    GwSessionFrame frame;
    while (gw_session_send (world->ends[1], world->path[1], world->now_us, &frame)) {
        Flying *flying = copy_frame (&frame);
        flying->due_us = world->now_us + WAY_US;
        g_queue_push_tail (&world->ways[1], flying);
    }
}

static void
write_all (World *world, GwSessionLane *out)
{
    struct iovec pieces[16];
    gsize len = 0;
    guint n = gw_session_reserve (world->ends[0], out, pieces, G_N_ELEMENTS (pieces));
    for (guint i = 0; i < n; i++)
        len += pieces[i].iov_len;
    gw_session_commit (world->ends[0], out, len);
}

static void
read_all (World *world, GwSessionLane **in)
{
    struct iovec pieces[16];
    GwSessionEvent event;
    guint n;
    while (gw_session_next_event (world->ends[1], &event))
        if (event.type == GW_SESSION_LANE_OFFERED) {
            *in = event.lane;
            gw_session_accept (world->ends[1], *in, GW_CLASS_BULK, NULL);
        }
    while (*in != NULL &&
           (n = gw_session_peek (world->ends[1], *in, pieces, G_N_ELEMENTS (pieces))) > 0)
        for (guint i = 0; i < n; i++)
            gw_session_consume (world->ends[1], *in, pieces[i].iov_len);
}

static void
drop_all (GQueue *queue)
{
    Flying *flying;
    while ((flying = g_queue_pop_head (queue)) != NULL) {
        gw_link_record_clear (&flying->record);
        g_free (flying);
    }
}

static void
world_init (World *world, const Row *row)
{
    *world = (World){ .row = row, .now_us = 1000000, .tokens = BURST };
    for (int i = 0; i < 2; i++) {
        const GwSessionConfig config = { .side = i == 0 ? GW_SIDE_SOURCE : GW_SIDE_DESTINATION,
                                         .memory_bytes = 64 << 20, .silence_ms = 2000,
                                         .ping_ms = 250, .renew_bytes = GW_LINK_REKEY_BYTES,
                                         .renew_records = GW_LINK_REKEY_RECORDS };
        world->ends[i] = gw_session_new (&config);
        world->path[i] = gw_session_path_up (world->ends[i], 1, world->now_us);
        g_queue_init (&world->ways[i]);
    }
    g_queue_init (&world->socket);
    if (row->network_us > 0)
        gw_session_set_network_us (world->ends[0], row->network_us);
}

static void
world_clear (World *world)
{
    drop_all (&world->socket);
    for (int i = 0; i < 2; i++) {
        drop_all (&world->ways[i]);
        gw_session_free (world->ends[i]);
    }
}

static void
turn_near (World *world, GwSessionLane *out)
{
    write_all (world, out);
    (void) gw_session_tick (world->ends[0], world->now_us);
    land (world, 1);
    send_bulk (world);
}

static void
turn (World *world, GwSessionLane *out, GwSessionLane **in)
{
    if (world->now_us < KNOWN_US || world->now_us % world->row->near_every_us == 0)
        turn_near (world, out);
    drain_socket (world);
    if (world->now_us % world->row->far_every_us != 0)
        return;
    (void) gw_session_tick (world->ends[1], world->now_us);
    land (world, 0);
    read_all (world, in);
    send_back (world);
}

/* The rate that is found is the shaper's, not that of its bursts, though nothing but the socket limits
 * the beginning; the window is what fits the way and a millisecond; and all that passes is used. */
static void
test_rate (gconstpointer data)
{
    const Row *row = data;
    World world;
    GwPathCounters counters;
    GwLaneCounters lane;
    gsize most_bytes = 0;
    world_init (&world, row);
    GwSessionLane *out = gw_session_open (world.ends[0], "ram", GW_CLASS_BULK, NULL), *in = NULL;
    gint64 end_us = world.now_us + SECONDS * G_USEC_PER_SEC;
    for (; world.now_us < end_us; world.now_us += STEP_US) {
        turn (&world, out, &in);
        if (world.now_us > end_us - 2 * G_USEC_PER_SEC)
            most_bytes = MAX (most_bytes, world.socket_bytes);
    }
    g_assert_true (gw_session_path_get_counters (world.ends[0], world.path[0], &counters));
    gw_session_lane_get_counters (in, &lane);
    g_test_message ("rate %" G_GUINT64_FORMAT " bytes/s, at most %zu bytes before the shaper, "
                    "%" G_GUINT64_FORMAT " read",
                    counters.rate, most_bytes, lane.in_bytes);
    uint64_t rate = (uint64_t) row->rate * 1000000;
    g_assert_cmpuint (counters.rate, >=, rate / 10 * 9);
    g_assert_cmpuint (counters.rate, <=, rate / 10 * 12);
    g_assert_cmpuint (most_bytes, <=, row->most_bytes);
    g_assert_cmpuint (lane.in_bytes, >=, rate / 10 * 9 * SECONDS);
    world_clear (&world);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        g_test_add_data_func (rows[i].name, &rows[i], test_rate);
    return g_test_run ();
}
