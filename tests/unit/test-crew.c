/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which threads of the crew work. */
#include "crew.h"

#include <poll.h>

#define THREADS 3
#define LIMIT_MS 10000
#define SPIN_US 1000

typedef struct {
    GThread *by;
    gint *n_begun; /* atomic; NULL: ends at once, else once so many have begun */
    gint all;
} Work;

static void
do_work (gpointer data)
{
    Work *work = data;
    work->by = g_thread_self ();
    if (work->n_begun == NULL)
        return;
    g_atomic_int_inc (work->n_begun);
    for (guint i = 0; i < LIMIT_MS && g_atomic_int_get (work->n_begun) < work->all; i++)
        g_usleep (1000);
}

static void
wait_done (GwCrew *crew, GwCrewTask *task)
{
    struct pollfd p = { .fd = gw_crew_get_fd (crew), .events = POLLIN };
    while (!gw_crew_task_is_done (task)) {
        g_assert_cmpint (poll (&p, 1, LIMIT_MS), ==, 1);
        gw_crew_note (crew);
    }
    gw_crew_task_free (crew, task);
}

static void
submit (GwCrew *crew, Work *work, GwCrewTask **ret_task)
{
    *ret_task = gw_crew_task_new_run (do_work, work);
    gw_crew_submit (crew, *ret_task);
}

/* One task after the other is done by one thread, whose processor has at hand what they share. */
static void
test_one_after_the_other (void)
{
    GwCrew *crew = gw_crew_new (THREADS);
    GThread *last = NULL;
    guint n_changes = 0;
    for (guint i = 0; i < 500; i++) {
        Work work = { 0 };
        GwCrewTask *task;
        submit (crew, &work, &task);
        for (gint64 end_us = g_get_monotonic_time () + SPIN_US; !gw_crew_task_is_done (task) && g_get_monotonic_time () < end_us;)
            continue; /* the next one is there before the thread has looked for it, or after */
        wait_done (crew, task);
        n_changes += last != NULL && work.by != last;
        last = work.by;
        if (i % 50 == 0)
            g_usleep (2000); /* it is idle, and no longer about to look */
    }
    g_assert_cmpuint (n_changes, ==, 0);
    gw_crew_free (crew);
}

/* Each waits for all others: none is left to a thread that is at work. */
static void
test_all_at_once (void)
{
    GwCrew *crew = gw_crew_new (THREADS);
    for (guint turn = 0; turn < 200; turn++) {
        Work works[THREADS];
        GwCrewTask *tasks[THREADS];
        gint n_begun = 0;
        for (guint i = 0; i < THREADS; i++) {
            works[i] = (Work){ .n_begun = &n_begun, .all = THREADS };
            submit (crew, &works[i], &tasks[i]);
        }
        for (guint i = 0; i < THREADS; i++)
            wait_done (crew, tasks[i]);
        g_assert_cmpint (n_begun, ==, THREADS);
        g_assert_true (works[0].by != works[1].by && works[1].by != works[2].by && works[0].by != works[2].by);
    }
    gw_crew_free (crew);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/crew/one-after-the-other", test_one_after_the_other);
    g_test_add_func ("/crew/all-at-once", test_all_at_once);
    return g_test_run ();
}
