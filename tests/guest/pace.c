/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL
#define CAP_NS (50 * 1000000LL)
#define UNPACED_UNITS 64 /* worked off between two looks at the rate when there is no limit */

typedef struct {
    void *(*run) (void *);
    void *data;
    int fifo, nice;
} Start;

static void *
thread_main (void *data)
{
    Start start = *(Start *) data;
    struct sched_param param = { .sched_priority = start.fifo };

    free (data);
    if (start.fifo > 0 && sched_setscheduler (0, SCHED_FIFO, &param) < 0)
        guest_report ("E thread: no real-time priority");
    if (start.fifo == 0 && setpriority (PRIO_PROCESS, (id_t) syscall (SYS_gettid), start.nice) < 0)
        guest_report ("E thread: no priority %d", start.nice);
    return start.run (start.data);
}

void
guest_thread_start (void *(*run) (void *), void *data, int fifo, int nice)
{
    Start *start = malloc (sizeof *start);
    pthread_t thread;

    if (start == NULL)
        abort ();
    *start = (Start){ run, data, fifo, nice };
    if (pthread_create (&thread, NULL, thread_main, start) != 0)
        abort ();
    pthread_detach (thread);
}

int64_t
guest_now_ns (void)
{
    struct timespec now;

    clock_gettime (CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

void
guest_pace_init (GuestPace *pace, uint64_t unit)
{
    *pace = (GuestPace){ .last_ns = guest_now_ns (), .unit = unit };
}

uint64_t
guest_pace_wait (GuestPace *pace, uint64_t rate, unsigned slice_ms)
{
    struct timespec slice = { .tv_nsec = (long) slice_ms * 1000000 };
    int64_t now, passed_ns;
    unsigned __int128 allowance, cap;

    if (rate == UINT64_MAX)
        return pace->unit * UNPACED_UNITS;
    nanosleep (&slice, NULL);
    now = guest_now_ns ();
    passed_ns = now - pace->last_ns;
    pace->last_ns = now;
    cap = (unsigned __int128) rate * CAP_NS;
    if (cap < (unsigned __int128) pace->unit * NS_PER_S)
        cap = (unsigned __int128) pace->unit * NS_PER_S;
    allowance = pace->allowance + (unsigned __int128) rate * (uint64_t) passed_ns;
    if (allowance > cap)
        allowance = cap;
    cap = allowance / NS_PER_S / pace->unit * pace->unit; /* taken now */
    pace->allowance = (uint64_t) (allowance - cap * NS_PER_S);
    return (uint64_t) cap;
}
