/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How hard to compress.
 *
 * With a way of ratio r (packed by plain bytes) and rate s (plain bytes a second and core), the lane
 * goes at min (s * cores, link / r) plain bytes a second; a chain has one core; without compression it goes at the
 * link's rate.  The way that goes fastest wins, and among those within CLOSE of it the cheapest, which is the
 * first of them.  Ratios and rates are averages of the last groups; a level that was not tried for
 * PROBE_EVERY groups is tried again.
 *
 * All that is worth its errors where packing and the link are about as fast.  On a slow link every byte that is left out counts,
 * and what is compared are not rates, which change with what the pages hold, but who waits for whom: nothing is lost
 * by the work of a crew that would wait for the link anyway.
 *
 * After a group that no level made smaller, 1, 2, 4 ... PAUSE_MAX
 * groups are not tried at all.
 */
#include "internal.h"

#define CLOSE 0.95
#define PROBE_EVERY 128u
#define PAUSE_MAX 64u
#define WEIGHT 0.25  /* of the newest group in an average */
#define NO_GAIN 0.98
#define CALM 16u      /* groups in a row, before more effort is made; twice as many each time that it was too much */
#define CALM_MAX 256u
#define STRAIN 8u     /* more groups for which the crew was waited for than for which the link was, before less is */
#define USUAL 4u      /* the way when nothing is known */

const GwRamWay gw_ram_ways[GW_RAM_N_LEVELS] = {
    { GW_RAM_LEVEL_NONE, -1 }, { -5, -1 }, { -1, -1 }, { 1, -1 }, { 1, 0 }, { 2, 1 }, { 3, -1 }, { 3, 2 }, { 6, 3 },
};

static const guint efforts[] = { 4, 5, 7, 8 }; /* ways, chains all of them */

static double
estimate_rate (const GwRamLevels *levels, guint way, double link_rate, double cores)
{
    const GwRamLevel *level = &levels->levels[way];
    return MIN (level->rate * (gw_ram_ways[way].chain < 0 ? cores : MIN (cores, 1)), link_rate / level->ratio);
}

/* A way that should be tried to know what it does; 0 for none. */
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
        best = MAX (best, estimate_rate (levels, i, link_rate, cores));
    if (link_rate >= CLOSE * best)
        return 0;
    for (guint i = 1; i < GW_RAM_N_LEVELS; i++)
        if (estimate_rate (levels, i, link_rate, cores) >= CLOSE * best)
            return i;
    return 0;
}

static gboolean
is_paused (GwRamLevels *levels)
{
    if (levels->skipped >= levels->pause)
        return FALSE;
    levels->skipped++;
    return TRUE;
}

/* Pages that shrink to nothing leave the link idle for some groups, whatever the effort: that alone is no strain. */
static void
note_waits (GwRamLevels *levels, gboolean is_link_waited_for, gboolean is_crew_waited_for)
{
    levels->calm = is_link_waited_for ? levels->calm + 1 : 0;
    if (is_link_waited_for)
        levels->strain -= MIN (levels->strain, 1u);
    else if (is_crew_waited_for)
        levels->strain = MIN (levels->strain + 1, STRAIN);
}

guint
gw_ram_levels_press (GwRamLevels *levels, gboolean is_link_waited_for, gboolean is_crew_waited_for)
{
    if (is_paused (levels))
        return 0;
    note_waits (levels, is_link_waited_for, is_crew_waited_for);
    if (levels->calm >= MAX (levels->calm_least, CALM) && levels->effort + 1 < G_N_ELEMENTS (efforts)) {
        levels->effort++;
        levels->calm = 0;
    } else if (levels->strain >= STRAIN && levels->effort > 0) {
        levels->effort--;
        levels->strain = 0;
        levels->calm_least = MIN (MAX (levels->calm_least, CALM) * 2, CALM_MAX);
    }
    return efforts[levels->effort];
}

guint
gw_ram_levels_choose (GwRamLevels *levels, double link_rate, double cores)
{
    for (guint i = 1; i < GW_RAM_N_LEVELS; i++)
        levels->levels[i].age++;
    if (is_paused (levels))
        return 0;
    if (link_rate <= 0 || cores <= 0)
        return USUAL;
    guint index = find_probe (levels);
    if (index == 0)
        index = find_best (levels, link_rate, cores);
    levels->levels[index].is_old |= levels->levels[index].age >= PROBE_EVERY;
    levels->levels[index].age = 0;
    return index;
}

static void
average (double *value, double newest)
{
    *value = *value > 0 ? *value + WEIGHT * (newest - *value) : newest;
}

void
gw_ram_levels_note (GwRamLevels *levels, guint way, gsize plain, gsize packed, gint64 cpu_us)
{
    if (way == 0 || plain == 0 || packed == 0)
        return;
    double ratio = (double) packed / (double) plain;
    GwRamLevel *known = &levels->levels[way];
    if (known->is_old)
        known->ratio = known->rate = 0;
    known->is_old = FALSE;
    average (&known->ratio, ratio);
    average (&known->rate, (double) plain * 1e6 / (double) MAX (cpu_us, 1));
    levels->skipped = 0;
    levels->pause = ratio < NO_GAIN ? 0 : MIN (PAUSE_MAX, MAX (1u, levels->pause * 2));
}
