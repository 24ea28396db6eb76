/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How hard to compress.
 *
 * With a level of ratio r (packed by plain bytes) and rate s (plain bytes a second and core), the lane
 * goes at min (s * cores, link / r) plain bytes a second; without compression it goes at the link's
 * rate.  The level that goes fastest wins, and among those within CLOSE of it the cheapest, which is the
 * first of them.  Ratios and rates are averages of the last groups; a level that was not tried for
 * PROBE_EVERY groups is tried again.  After a group that no level made smaller, 1, 2, 4 ... PAUSE_MAX
 * groups are not tried at all.
 */
#include "internal.h"

#define CLOSE 0.95
#define PROBE_EVERY 128u
#define PAUSE_MAX 64u
#define WEIGHT 0.25  /* of the newest group in an average */
#define NO_GAIN 0.98
#define USUAL 3u      /* index of the level when nothing is known */

static const int level_numbers[] = { GW_RAM_LEVEL_NONE, -5, -1, 1, 3 };
G_STATIC_ASSERT (G_N_ELEMENTS (level_numbers) == GW_RAM_N_LEVELS);

static double
estimate_rate (const GwRamLevel *level, double link_rate, double cores)
{
    return MIN (level->rate * cores, link_rate / level->ratio);
}

/* The index of a level that should be tried to know what it does; 0 for none. */
static guint
find_probe (const GwRamLevels *levels)
{
    guint oldest = 0;
    for (guint i = GW_RAM_N_LEVELS - 1; i > 0; i--) {
        if (levels->levels[i].ratio <= 0)
            return i;
        if (levels->levels[i].age >= PROBE_EVERY && levels->levels[i].age > levels->levels[oldest].age)
            oldest = i;
    }
    return oldest;
}

static guint
find_best (const GwRamLevels *levels, double link_rate, double cores)
{
    double best = link_rate;
    for (guint i = 1; i < GW_RAM_N_LEVELS; i++)
        best = MAX (best, estimate_rate (&levels->levels[i], link_rate, cores));
    if (link_rate >= CLOSE * best)
        return 0;
    for (guint i = 1; i < GW_RAM_N_LEVELS; i++)
        if (estimate_rate (&levels->levels[i], link_rate, cores) >= CLOSE * best)
            return i;
    return 0;
}

int
gw_ram_levels_choose (GwRamLevels *levels, double link_rate, double cores)
{
    for (guint i = 1; i < GW_RAM_N_LEVELS; i++)
        levels->levels[i].age++;
    if (levels->skipped < levels->pause) {
        levels->skipped++;
        return GW_RAM_LEVEL_NONE;
    }
    if (link_rate <= 0 || cores <= 0)
        return level_numbers[USUAL];
    guint index = find_probe (levels);
    if (index == 0)
        index = find_best (levels, link_rate, cores);
    levels->levels[index].age = 0;
    return level_numbers[index];
}

static void
average (double *value, double newest)
{
    *value = *value > 0 ? *value + WEIGHT * (newest - *value) : newest;
}

void
gw_ram_levels_note (GwRamLevels *levels, int level, gsize plain, gsize packed, gint64 cpu_us)
{
    guint index = 0;
    for (guint i = 1; i < GW_RAM_N_LEVELS; i++)
        if (level_numbers[i] == level)
            index = i;
    if (index == 0 || plain == 0 || packed == 0)
        return;
    double ratio = (double) packed / (double) plain;
    average (&levels->levels[index].ratio, ratio);
    average (&levels->levels[index].rate, (double) plain * 1e6 / (double) MAX (cpu_us, 1));
    levels->skipped = 0;
    levels->pause = ratio < NO_GAIN ? 0 : MIN (PAUSE_MAX, MAX (1u, levels->pause * 2));
}
