/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Both ends of a memory lane in one process. */
#ifndef GW_TEST_RAM_WAY_H
#define GW_TEST_RAM_WAY_H

#include "ramlane.h"
#include "test-ramcodec-lane.h"

static inline GwRamParams
make_params (uint64_t memory_bytes)
{
    return (GwRamParams){ .kind = GW_STREAM_MAIN, .page_size = LANE_PAGE, .memory_bytes = memory_bytes,
                          .can_leave_out = TRUE, .secret = (const uint8_t *) LANE_SECRET,
                          .secret_bytes = 16 };
}

/* --- both ends, with a wire of any size between -------------------------------------------------------- */

typedef struct {
    GwCrew *crew;
    GwRamOut *out;
    GwRamIn *in;
    GRand *rand;
    GByteArray *wire;    /* under way */
    GByteArray *arrived; /* what the program got */
    uint64_t sent;       /* bytes of the link */
} Way;

static inline void
way_init (Way *way, guint n_threads, uint64_t memory_bytes)
{
    GwRamParams params = make_params (memory_bytes);
    *way = (Way){ .crew = gw_crew_new (n_threads), .rand = g_rand_new_with_seed (n_threads + 1),
                  .wire = g_byte_array_new (), .arrived = g_byte_array_new () };
    way->out = gw_ram_out_new (way->crew, &params);
    way->in = gw_ram_in_new (way->crew, &params);
}

static inline void
way_clear (Way *way)
{
    gw_ram_out_free (way->out);
    gw_ram_in_free (way->in);
    gw_crew_free (way->crew);
    g_rand_free (way->rand);
    g_byte_array_unref (way->wire);
    g_byte_array_unref (way->arrived);
}

/* 47 MiB in each pass, of which three quarters are sent as they are in the first, and a way that packs at once. */
static inline void
ends_init (Lane *lane, Way *way)
{
    lane_init (lane, 6000, 3);
    lane_begin (lane);
    way_init (way, 0, 8 << 20);
}

static inline void
ends_clear (Lane *lane, Way *way)
{
    way_clear (way);
    lane_clear (lane);
}

#endif
