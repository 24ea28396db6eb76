/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sim-link --seeds FROM-TO | --seed N [--trace] */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t n_frames, n_faults, n_bytes;

static gboolean
run_seed (uint64_t seed, gboolean is_traced)
{
    g_autofree SimWorld *world = g_new0 (SimWorld, 1);
    sim_world_init (world, seed, is_traced);
    gboolean ok = sim_world_run (world);
    if (!ok)
        printf ("seed %" G_GUINT64_FORMAT ": %s (at %" G_GINT64_FORMAT " ms)\n", seed,
                world->failure, world->now_us / 1000);
    n_frames += world->n_frames;
    n_faults += world->n_faults;
    n_bytes += world->n_bytes;
    sim_world_clear (world);
    return ok;
}

int
main (int argc, char **argv)
{
    g_autofree char *seeds = NULL;
    gint64 from = 1, to = 100, seed = 0;
    gboolean is_traced = FALSE;
    const GOptionEntry entries[] = {
        { "seeds", 0, 0, G_OPTION_ARG_STRING, &seeds, "run them all", "FROM-TO" },
        { "seed", 0, 0, G_OPTION_ARG_INT64, &seed, "run this one", "N" },
        { "trace", 0, 0, G_OPTION_ARG_NONE, &is_traced, "say what happens", NULL },
        G_OPTION_ENTRY_NULL
    };
    g_autoptr (GOptionContext) context = g_option_context_new (NULL);
    g_autoptr (GError) error = NULL;
    g_option_context_add_main_entries (context, entries, NULL);
    if (!g_option_context_parse (context, &argc, &argv, &error) ||
        (seeds != NULL && sscanf (seeds, "%" G_GINT64_FORMAT "-%" G_GINT64_FORMAT, &from, &to) != 2)) {
        fprintf (stderr, "sim-link: %s\n", error != NULL ? error->message : "--seeds FROM-TO");
        return 2;
    }
    if (seed != 0)
        from = to = seed;
    guint n_failed = 0;
    for (gint64 i = from; i <= to && n_failed < 20; i++)
        n_failed += !run_seed ((uint64_t) i, is_traced);
    printf ("%" G_GINT64_FORMAT " schedules: %" G_GUINT64_FORMAT " frames, %" G_GUINT64_FORMAT
            " faults, %" G_GUINT64_FORMAT " bytes read; %u failed\n",
            to - from + 1, n_frames, n_faults, n_bytes, n_failed);
    return n_failed == 0 ? 0 : 1;
}
