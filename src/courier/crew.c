/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crew.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    GwCrew *crew;
    GThread *thread;
    GCond work; /* there is a task for it, or the end */
    gboolean is_idle;
} Worker;

struct _GwCrew {
    Worker workers[GW_CREW_MAX];
    guint n_threads;
    GwRamPacker *packer; /* of the loop, for when there is no thread */
    GwFd event_fd;       /* -1: none, and then no threads either */
    GMutex lock;         /* guards what follows, and who is idle */
    GCond done;          /* a task is, or a thread is idle for the first time */
    GQueue tasks;        /* GwCrewTask, not begun */
    guint n_ready;
    guint n_looking;     /* threads that are done with one, and have not looked for the next */
    gboolean is_ending;
};

/* Of this thread: what a way of packing costs, and not how long others had the processor meanwhile. */
static gint64
get_worked_us (void)
{
    struct timespec now = { 0, 0 };
    (void) clock_gettime (CLOCK_THREAD_CPUTIME_ID, &now); /* cannot fail */
    return (gint64) now.tv_sec * G_USEC_PER_SEC + now.tv_nsec / 1000;
}

static void
pack (GwRamPacker *packer, GwCrewTask *task)
{
    if (task->chain != NULL) /* FALSE, of both: as large as before */
        (void) gw_ram_chain_pack (task->chain->chain, packer, task->group);
    else
        (void) gw_ram_pack (packer, task->group, gw_ram_ways[task->way].level);
}

static void
unpack (GwRamPacker *packer, GwCrewTask *task)
{
    if (task->chain != NULL) /* the error says it */
        (void) gw_ram_chain_unpack (task->chain->chain, packer, task->group, &task->error);
    else
        (void) gw_ram_unpack (packer, task->group, &task->error);
}

static void
do_task (GwRamPacker *packer, GwCrewTask *task)
{
    gint64 begin_us = get_worked_us ();
    if (task->run != NULL)
        task->run (task->data);
    else if (task->is_packing)
        pack (packer, task);
    else
        unpack (packer, task);
    task->took_us = get_worked_us () - begin_us;
}

/* --- threads ------------------------------------------------------------------------------------- */

/* It looks about the machine when a thread first asks it; later that would be refused. */
static void
ask_allocator (void)
{
    void *volatile memory = g_malloc (4096);
    g_free (memory);
}

/* The first one that may be done now; of a chain, only when no other one is under way. */
static GList *
find_task (GwCrew *crew)
{
    for (GList *l = crew->tasks.head; l != NULL; l = l->next) {
        const GwCrewTask *task = l->data;
        if (task->chain == NULL || !task->chain->is_busy)
            return l;
    }
    return NULL;
}

/* The first idle thread, should there be something for it: so one group of a chain after the other is done by the same thread,
 * whose processor has the chain's memory at hand. */
static void
wake (GwCrew *crew)
{
    guint i = 0;
    if (crew->n_looking > 0)
        return; /* it does so in its turn */
    while (i < crew->n_threads && !crew->workers[i].is_idle)
        i++;
    if (i == crew->n_threads || find_task (crew) == NULL)
        return;
    crew->workers[i].is_idle = FALSE;
    g_cond_signal (&crew->workers[i].work);
}

static GwCrewTask *
take_task (GwCrew *crew)
{
    GList *link = find_task (crew);
    if (link == NULL)
        return NULL;
    GwCrewTask *task = link->data;
    if (task->chain != NULL)
        task->chain->is_busy = TRUE;
    g_queue_delete_link (&crew->tasks, link);
    wake (crew); /* nobody is told that a chain is free, but who makes it so, and that one may have found something else */
    return task;
}

static void
say_done (GwCrew *crew, GwCrewTask *task)
{
    static const uint64_t one = 1;
    g_mutex_lock (&crew->lock);
    if (task->chain != NULL)
        task->chain->is_busy = FALSE;
    crew->n_looking++;
    g_atomic_int_set (&task->state, GW_CREW_DONE);
    g_cond_broadcast (&crew->done);
    g_mutex_unlock (&crew->lock);
    (void) !write (crew->event_fd, &one, sizeof one); /* fails only when it is readable anyway */
}

static gpointer
work (gpointer user_data)
{
    Worker *worker = user_data;
    GwCrew *crew = worker->crew;
    g_autoptr (GwRamPacker) packer = gw_ram_packer_new ();
    ask_allocator ();
    g_mutex_lock (&crew->lock);
    crew->n_ready++;
    g_cond_broadcast (&crew->done);
    while (!crew->is_ending) {
        GwCrewTask *task = take_task (crew);
        if (task == NULL) {
            worker->is_idle = TRUE;
            g_cond_wait (&worker->work, &crew->lock);
            worker->is_idle = FALSE;
            continue;
        }
        g_mutex_unlock (&crew->lock);
        do_task (packer, task);
        say_done (crew, task);
        g_mutex_lock (&crew->lock);
        crew->n_looking--;
    }
    g_mutex_unlock (&crew->lock);
    return NULL;
}

GwCrew *
gw_crew_new (guint n)
{
    GwCrew *crew = g_new0 (GwCrew, 1);
    g_mutex_init (&crew->lock);
    g_cond_init (&crew->done);
    g_queue_init (&crew->tasks);
    crew->packer = gw_ram_packer_new ();
    crew->event_fd = n > 0 ? eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    for (guint i = 0; crew->event_fd >= 0 && i < MIN (n, GW_CREW_MAX); i++) {
        Worker *worker = &crew->workers[i];
        worker->crew = crew;
        g_cond_init (&worker->work);
        worker->thread = g_thread_try_new ("ram", work, worker, NULL);
        if (worker->thread == NULL) {
            g_cond_clear (&worker->work);
            break;
        }
        crew->n_threads++;
    }
    g_mutex_lock (&crew->lock);
    while (crew->n_ready < crew->n_threads)
        g_cond_wait (&crew->done, &crew->lock);
    g_mutex_unlock (&crew->lock);
    return crew;
}

void
gw_crew_free (GwCrew *crew)
{
    if (crew == NULL)
        return;
    g_mutex_lock (&crew->lock);
    g_assert (g_queue_is_empty (&crew->tasks));
    crew->is_ending = TRUE;
    for (guint i = 0; i < crew->n_threads; i++)
        g_cond_signal (&crew->workers[i].work);
    g_mutex_unlock (&crew->lock);
    for (guint i = 0; i < crew->n_threads; i++) {
        (void) g_thread_join (crew->workers[i].thread);
        g_cond_clear (&crew->workers[i].work);
    }
    gw_ram_packer_free (crew->packer);
    gw_fd_clear (&crew->event_fd);
    g_cond_clear (&crew->done);
    g_mutex_clear (&crew->lock);
    g_free (crew);
}

guint
gw_crew_get_n_threads (const GwCrew *crew)
{
    return crew->n_threads;
}

/* --- the loop's side ----------------------------------------------------------------------------- */

int
gw_crew_get_fd (const GwCrew *crew)
{
    return crew->event_fd;
}

void
gw_crew_note (GwCrew *crew)
{
    uint64_t count;
    (void) !read (crew->event_fd, &count, sizeof count); /* nothing there is as good */
}

GwCrewTask *
gw_crew_task_new (GwRamGroup *group)
{
    GwCrewTask *task = g_new0 (GwCrewTask, 1);
    task->group = group;
    task->plain = gw_ram_group_get_plain (group);
    return task;
}

GwCrewTask *
gw_crew_task_new_run (void (*run) (gpointer data), gpointer data)
{
    GwCrewTask *task = g_new0 (GwCrewTask, 1);
    task->run = run;
    task->data = data;
    return task;
}

void
gw_crew_task_free (GwCrew *crew, GwCrewTask *task)
{
    g_mutex_lock (&crew->lock);
    if (!g_queue_remove (&crew->tasks, task))
        while (g_atomic_int_get (&task->state) == GW_CREW_BUSY)
            g_cond_wait (&crew->done, &crew->lock);
    g_mutex_unlock (&crew->lock);
    gw_ram_group_free (task->group);
    g_clear_error (&task->error);
    g_free (task);
}

void
gw_crew_submit (GwCrew *crew, GwCrewTask *task)
{
    if (crew->n_threads == 0) {
        do_task (crew->packer, task);
        g_atomic_int_set (&task->state, GW_CREW_DONE);
        return;
    }
    g_atomic_int_set (&task->state, GW_CREW_BUSY);
    g_mutex_lock (&crew->lock);
    g_queue_push_tail (&crew->tasks, task);
    wake (crew);
    g_mutex_unlock (&crew->lock);
}

gboolean
gw_crew_task_is_done (const GwCrewTask *task)
{
    return g_atomic_int_get (&task->state) == GW_CREW_DONE;
}
