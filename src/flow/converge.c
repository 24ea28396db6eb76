/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job-internal.h"

/* Device state, its load, the handover and the start come on top of the RAM. */
#define RESERVE_MS 60

gboolean
gw_converge_can_switch (const GwMigration *m, gint64 max_downtime_ms)
{
    gint64 allowed_ms = MAX (max_downtime_ms - RESERVE_MS, (max_downtime_ms + 1) / 2);
    return m->rate_bps > 0 && m->rounds > 1 &&
           m->remaining_bytes / allowed_ms <= m->rate_bps / 1000;
}
