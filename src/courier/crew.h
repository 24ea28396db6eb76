/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * crew: threads that compress, decompress and compare for the loop.
 *
 * Theory
 * ------
 * The courier has one loop and does everything in it, but for what takes longest by far: zstd.  A task is
 * one group of the RAM codec (ramcodec.h), which depends on nothing else, so any thread may do it (or a part of
 * the comparison of memory, ramcheck.c); groups of a chain are done one after the other, by whatever thread, which is the
 * first one that is idle.  The loop keeps the tasks in order and takes the first one's result once it is done.  A done task
 * makes the descriptor readable, so that the loop's poll() returns.
 *
 * The threads are made before the courier locks itself in, and have what they need of the allocator by
 * then.  Without any thread a task is done where it is handed in.
 */
#ifndef GW_CREW_H
#define GW_CREW_H

#include "ramcodec.h"

#define GW_CREW_MAX 4u /* threads: the loop itself cannot feed more */

typedef struct _GwCrew GwCrew;

/* Its tasks are done one after the other, in the order in which they were handed in. */
typedef struct {
    GwRamChain *chain;
    gboolean is_busy; /* the crew's */
} GwCrewChain;

enum { GW_CREW_IDLE, GW_CREW_BUSY, GW_CREW_DONE }; /* of a task: not handed in, under way, done */

typedef struct {
    GwRamGroup *group; /* owned; the crew's from gw_crew_submit() until it is done */
    gboolean is_packing;
    void (*run) (gpointer data); /* in place of a group; else NULL */
    gpointer data;
    guint way;         /* of packing */
    GwCrewChain *chain; /* borrowed; of packing and unpacking; NULL: the group is packed by itself */
    uint64_t mark;     /* the caller's */
    GError *error;     /* of unpacking */
    gsize plain;       /* bytes of the group before packing */
    gint64 took_us;    /* of a processor */
    gint state;        /* atomic */
} GwCrewTask;

/* `n` threads, at most GW_CREW_MAX; fewer when there can be no more. */
GwCrew *gw_crew_new (guint n);
/* No task may be under way. */
void gw_crew_free (GwCrew *crew);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwCrew, gw_crew_free)
guint gw_crew_get_n_threads (const GwCrew *crew);

/* Readable once a task is done, until gw_crew_note(). */
int gw_crew_get_fd (const GwCrew *crew);
void gw_crew_note (GwCrew *crew);

/* Of a group (transfer full) a task that is not handed in yet. */
GwCrewTask *gw_crew_task_new (GwRamGroup *group);
/* The same of a function. */
GwCrewTask *gw_crew_task_new_run (void (*run) (gpointer data), gpointer data);
/* Waits for its end if it is under way: milliseconds. */
void gw_crew_task_free (GwCrew *crew, GwCrewTask *task);
void gw_crew_submit (GwCrew *crew, GwCrewTask *task);
gboolean gw_crew_task_is_done (const GwCrewTask *task);

#endif
