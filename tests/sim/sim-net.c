/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim.h"

#include <string.h>

static void
record_free (gpointer data)
{
    SimRecord *record = data;
    g_free (record->bytes);
    g_free (record);
}

static void
wire_clear (SimWire *wire)
{
    for (int i = 0; i < 2; i++)
        g_queue_clear_full (&wire->queue[i], record_free);
    memset (wire, 0, sizeof *wire);
}

void
sim_net_clear (SimWorld *world)
{
    for (guint i = 0; i < MAX_WIRES; i++)
        wire_clear (&world->wires[i]);
}

SimWire *
sim_net_find (SimWorld *world, int end, int path)
{
    for (guint i = 0; i < MAX_WIRES; i++)
        if (world->wires[i].is_used && world->wires[i].path[end] == path)
            return &world->wires[i];
    return NULL;
}

guint
sim_net_count (const SimWorld *world)
{
    guint n = 0;
    for (guint i = 0; i < MAX_WIRES; i++)
        n += world->wires[i].is_used;
    return n;
}

void
sim_net_dial (SimWorld *world)
{
    guint i = 0;
    while (i < MAX_WIRES && world->wires[i].is_used)
        i++;
    /* also when one end is over: the courier still connects while it parts, so that its last word comes */
    if (i == MAX_WIRES || (world->is_doomed && world->now_us >= CALM_US))
        return;
    SimWire *wire = &world->wires[i];
    SimRandom *random = &world->random;
    *wire = (SimWire){ .is_used = TRUE, .serial = ++world->n_serial, .path = { -1, -1 } };
    wire->latency_us = (gint64) sim_between (random, 20, sim_chance (random, 30) ? 50000 : 2000);
    wire->rate = sim_between (random, 1, sim_chance (random, 30) ? 4 : 400) * 1000000;
    wire->socket = (gsize) sim_between (random, 16, 512) * 1024;
    for (int end = 0; end < 2; end++)
        wire->up_us[end] = world->now_us + (gint64) sim_between (random, 0, 3) * wire->latency_us + 1;
}

/* --- ends ---------------------------------------------------------------------------------------- */

/* The end learns that the connection is over. */
static void
take_down (SimWorld *world, SimWire *wire, int end, const char *why)
{
    int path = wire->path[end];
    wire->up_us[end] = wire->down_us[end] = 0;
    wire->path[end] = -1;
    if (path >= 0) {
        sim_trace (world, end, "path %u down: %s", wire->serial, why);
        gw_session_path_down (world->end[end], path, why, sim_clock (world, end));
    }
    int other = !end;
    if (wire->path[other] < 0 && wire->up_us[other] == 0)
        wire_clear (wire);
    else if (wire->down_us[other] == 0 && !wire->is_cut[end])
        wire->down_us[other] = world->now_us + wire->latency_us +
                               (gint64) sim_between (&world->random, 0, 50000);
}

void
sim_net_drop (SimWorld *world, SimWire *wire, int end, const char *why)
{
    take_down (world, wire, end, why);
}

/* What was sent before still arrives, unless it is lost. */
void
sim_net_close (SimWorld *world, SimWire *wire, int end, const char *why)
{
    const SimRecord *last = g_queue_peek_tail (&wire->queue[end]);
    gint64 down_us = last == NULL ? world->now_us : last->arrive_us;
    if (wire->down_us[!end] == 0 && !wire->is_cut[end])
        wire->down_us[!end] = MAX (MAX (down_us, wire->stall_us[end]),
                                   world->now_us + wire->latency_us) + 1;
    take_down (world, wire, end, why);
}

/* --- records --------------------------------------------------------------------------------------- */

static void
push_record (SimWorld *world, SimWire *wire, int from, const GwSessionFrame *frame)
{
    SimRecord *record = g_new0 (SimRecord, 1);
    gint64 start_us = MAX (wire->free_us[from], world->now_us);
    wire->free_us[from] = start_us + (gint64) (frame->len * G_USEC_PER_SEC / wire->rate);
    record->bytes = g_memdup2 (frame->record, frame->len);
    record->len = frame->len;
    record->arrive_us = wire->free_us[from] + wire->latency_us;
    g_queue_push_tail (&wire->queue[from], record);
    wire->queued[from] += record->len;
    world->n_frames++;
    GwLinkFrame head;
    if (world->is_traced && gw_link_frame_load (frame->record, frame->len, &head, NULL))
        sim_trace (world, from, "path %u sends %s lane %u at %" G_GUINT64_FORMAT " len %u flags %u",
                   wire->serial, gw_link_type_name (head.type), head.lane, head.sequence,
                   head.length, head.flags);
}

static void
send_all (SimWorld *world, SimWire *wire, int end)
{
    GwSessionFrame frame;
    while (wire->path[end] >= 0 && wire->queued[end] < wire->socket &&
           gw_session_send (world->end[end], wire->path[end], sim_clock (world, end), &frame)) {
        if (frame.len > GW_LINK_RECORD)
            sim_fail (world, "a frame of %zu bytes", frame.len);
        push_record (world, wire, end, &frame);
    }
}

static void
release (gpointer memory)
{
    g_free (memory);
}

/* Gives the end what has arrived for it. */
static void
receive_all (SimWorld *world, SimWire *wire, int end)
{
    GQueue *queue = &wire->queue[!end];
    for (;;) {
        SimRecord *record = g_queue_peek_head (queue);
        if (record == NULL || wire->path[end] < 0 || wire->is_cut[!end] ||
            MAX (record->arrive_us, wire->stall_us[!end]) > world->now_us)
            return;
        g_queue_pop_head (queue);
        wire->queued[!end] -= record->len;
        GwLinkRecord arrived = { record->bytes, release, record->bytes, record->len };
        g_autoptr (GError) error = NULL;
        g_free (record);
        if (gw_session_receive (world->end[end], wire->path[end], &arrived, sim_clock (world, end),
                                &error))
            continue;
        sim_trace (world, end, "path %u refuses: %s", wire->serial, error->message);
        if ((world->faults & (1u << 4)) == 0)
            sim_fail (world, "end %d refuses a frame of an honest peer: %s", end, error->message);
        take_down (world, wire, end, error->message);
        return;
    }
}

static void
step_wire (SimWorld *world, SimWire *wire)
{
    for (int end = 0; end < 2 && wire->is_used; end++) {
        if (wire->up_us[end] != 0 && wire->up_us[end] <= world->now_us) {
            wire->up_us[end] = 0;
            wire->path[end] = gw_session_path_up (world->end[end], wire->serial,
                                                  sim_clock (world, end));
            sim_trace (world, end, "path %u up", wire->serial);
        }
        if (wire->path[end] >= 0)
            receive_all (world, wire, end);
        if (wire->is_used && wire->down_us[end] != 0 && wire->down_us[end] <= world->now_us &&
            wire->up_us[end] == 0)
            take_down (world, wire, end, "closed");
    }
}

void
sim_net_receive (SimWorld *world)
{
    for (guint i = 0; i < MAX_WIRES; i++)
        if (world->wires[i].is_used)
            step_wire (world, &world->wires[i]);
}

void
sim_net_send (SimWorld *world)
{
    for (guint i = 0; i < MAX_WIRES; i++)
        for (int end = 0; end < 2; end++)
            if (world->wires[i].is_used && world->wires[i].path[end] >= 0)
                send_all (world, &world->wires[i], end);
}

static gint64
earliest (gint64 a, gint64 b)
{
    return b != 0 && b < a ? b : a;
}

gint64
sim_net_next (const SimWorld *world)
{
    gint64 next_us = G_MAXINT64;
    for (guint i = 0; i < MAX_WIRES; i++) {
        const SimWire *wire = &world->wires[i];
        if (!wire->is_used)
            continue;
        for (int end = 0; end < 2; end++) {
            const SimRecord *record = g_queue_peek_head ((GQueue *) &wire->queue[!end]);
            next_us = earliest (next_us, wire->up_us[end]);
            next_us = earliest (next_us, wire->down_us[end]);
            if (record != NULL && wire->path[end] >= 0 && !wire->is_cut[!end])
                next_us = earliest (next_us, MAX (record->arrive_us, wire->stall_us[!end]));
        }
    }
    return next_us;
}

/* --- faults ------------------------------------------------------------------------------------------ */

/* What is in flight is lost from some record on. */
static void
lose_tail (SimWorld *world, SimWire *wire, int from)
{
    guint n = g_queue_get_length (&wire->queue[from]);
    guint kept = (guint) sim_between (&world->random, 0, n);
    while (g_queue_get_length (&wire->queue[from]) > kept) {
        SimRecord *record = g_queue_pop_tail (&wire->queue[from]);
        wire->queued[from] -= record->len;
        record_free (record);
    }
}

static void
fault_death (SimWorld *world, SimWire *wire)
{
    gboolean is_silent = sim_chance (&world->random, 30);
    for (int end = 0; end < 2; end++) {
        lose_tail (world, wire, end);
        if (is_silent)
            wire->is_cut[end] = TRUE;
        else
            wire->down_us[end] = world->now_us + (gint64) sim_between (&world->random, 1, 300000);
        wire->socket = is_silent ? wire->socket : 0; /* nothing more goes in */
    }
}

static void
fault_one_way (SimWorld *world, SimWire *wire)
{
    wire->is_cut[sim_chance (&world->random, 50)] = TRUE;
}

static void
fault_stall (SimWorld *world, SimWire *wire)
{
    gint64 until_us = world->now_us + (gint64) sim_between (&world->random, 1000, 5000000);
    guint which = (guint) sim_between (&world->random, 1, 3);
    for (int i = 0; i < 2; i++)
        if (which & (1u << i))
            wire->stall_us[i] = until_us;
}

/* An integrity failure: the receiving end closes. */
static void
fault_corrupt (SimWorld *world, SimWire *wire)
{
    int end = sim_chance (&world->random, 50);
    if (wire->path[end] >= 0)
        take_down (world, wire, end, "a bad record");
}

/* What TCP never does: a record is lost, doubled, or goes before another. */
static void
fault_records (SimWorld *world, SimWire *wire)
{
    int from = sim_chance (&world->random, 50);
    GQueue *queue = &wire->queue[from];
    guint n = g_queue_get_length (queue), kind = (guint) sim_between (&world->random, 0, 2);
    if (n < 2)
        return;
    guint at = (guint) sim_between (&world->random, 0, n - 2);
    SimRecord *record = g_queue_pop_nth (queue, at);
    sim_trace (world, from, "path %u fault: record %u, kind %u", wire->serial, at, kind);
    if (kind == 0) { /* TLS sees the gap with the next record */
        wire->queued[from] -= record->len;
        record_free (record);
        wire->down_us[!from] = world->now_us + (gint64) sim_between (&world->random, 1, 500000);
        return;
    }
    g_queue_push_nth (queue, record, (int) at + (kind == 2));
    if (kind == 1) {
        SimRecord *twin = g_memdup2 (record, sizeof *record);
        twin->bytes = g_memdup2 (record->bytes, record->len);
        wire->queued[from] += twin->len;
        g_queue_push_nth (queue, twin, (int) at + 1);
    }
}

static void
fault_leave (SimWorld *world, SimWire *wire)
{
    int end = sim_chance (&world->random, 50);
    if (wire->path[end] < 0)
        return;
    gw_session_path_leave (world->end[end], wire->path[end], sim_clock (world, end));
    world->dial_at_us = world->now_us + (gint64) sim_between (&world->random, 0, 100000);
    world->n_wanted++;
}

static const struct {
    void (*strike) (SimWorld *world, SimWire *wire);
    const char *name;
} faults[] = {
    { fault_death, "death" },     { fault_one_way, "one way" }, { fault_stall, "stall" },
    { fault_corrupt, "corrupt" }, { fault_records, "records" }, { fault_leave, "leave" },
};

void
sim_net_fault (SimWorld *world)
{
    guint kind = (guint) sim_between (&world->random, 0, G_N_ELEMENTS (faults) - 1);
    SimWire *wire = &world->wires[sim_between (&world->random, 0, MAX_WIRES - 1)];
    for (guint i = 0; i < MAX_WIRES && !wire->is_used; i++)
        wire = &world->wires[i];
    if (!wire->is_used || (world->faults & (1u << kind)) == 0)
        return;
    sim_trace (world, 0, "fault on path %u: %s", wire->serial, faults[kind].name);
    world->n_faults++;
    faults[kind].strike (world, wire);
}
