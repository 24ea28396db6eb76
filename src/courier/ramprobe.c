/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ramlane.h"

#define GATHER_MAX_US 60000                  /* for pages that shrink to nothing */
#define SEND_MAX_US 1000000                  /* a link that is waited for so long tells its rate by itself, */
#define LEAST_BYTES (GW_RAM_PROBE_BYTES / 2) /* and fewer tell nothing */

enum { PROBE_READY, PROBE_GATHERING, PROBE_SENDING, PROBE_OVER };

#define M(state) (1u << PROBE_##state)
static const GwState states[] = {
    [PROBE_READY] = { "ready", M (GATHERING) | M (OVER), GW_STATE_INITIAL },
    [PROBE_GATHERING] = { "gathering", M (SENDING) | M (OVER), 0 },
    [PROBE_SENDING] = { "sending", M (OVER), 0 },
    [PROBE_OVER] = { "over", 0, GW_STATE_FINAL },
};
static const GwMachineTable table = { "ram-probe", states, G_N_ELEMENTS (states) };

void
gw_ram_probe_init (GwRamProbe *probe)
{
    *probe = (GwRamProbe){ 0 };
    gw_machine_init (&probe->machine, &table, NULL, NULL);
}

void
gw_ram_probe_cancel (GwRamProbe *probe)
{
    if (gw_machine_can (&probe->machine, PROBE_OVER))
        gw_machine_move (&probe->machine, PROBE_OVER);
}

static void
begin_to_gather (GwRamProbe *probe, gint64 now_us)
{
    gw_machine_move (&probe->machine, PROBE_GATHERING);
    probe->since_us = now_us;
}

static void
begin_to_send (GwRamProbe *probe, gsize bytes, uint64_t given, gint64 now_us)
{
    gw_machine_move (&probe->machine, bytes >= LEAST_BYTES ? PROBE_SENDING : PROBE_OVER);
    probe->since_us = now_us;
    probe->bytes = bytes;
    probe->until = given + bytes;
}

gint64
gw_ram_probe_hold (GwRamProbe *probe, const GwRamOutReady *ready, uint64_t given, gint64 now_us)
{
    if (probe->machine.state == PROBE_READY && ready->has_pages)
        begin_to_gather (probe, now_us);
    if (probe->machine.state != PROBE_GATHERING)
        return 0;
    gint64 until_us = probe->since_us + GATHER_MAX_US;
    if (ready->bytes < GW_RAM_PROBE_BYTES && ready->may_wait && now_us < until_us)
        return until_us;
    begin_to_send (probe, ready->bytes, given, now_us);
    return 0;
}

gboolean
gw_ram_probe_is_holding (const GwRamProbe *probe)
{
    return probe->machine.state == PROBE_GATHERING;
}

gboolean
gw_ram_probe_note (GwRamProbe *probe, uint64_t left, gint64 now_us)
{
    gint64 took_us = MAX (now_us - probe->since_us, 1);
    gboolean is_late = took_us > SEND_MAX_US;
    if (probe->machine.state != PROBE_SENDING || (left < probe->until && !is_late))
        return FALSE;
    gw_machine_move (&probe->machine, PROBE_OVER);
    if (is_late)
        return FALSE;
    probe->rate = (double) probe->bytes * G_USEC_PER_SEC / (double) took_us;
    return TRUE;
}

gboolean
gw_ram_probe_is_over (const GwRamProbe *probe)
{
    return probe->machine.state == PROBE_OVER;
}
