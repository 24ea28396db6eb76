/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the kernel schedules the thread that carries bytes.
 *
 * In postcopy a guest stands still until the page it touched has gone through two couriers, and each passes
 * a request on in some ten microseconds of work.  What makes it wait is the turn that another runnable thread has at that
 * moment: up to a base slice, about 3 ms.  A thread that asks for short slices gets its turns sooner, and no
 * more of the processor than before (EEVDF since Linux 6.12, linux/sched/syscalls.c: sched_runtime of an ordinary
 * task is its slice, 0.1 to 100 ms).  Older kernels take the call and ignore the slice.  Threads made
 * later, which compress, get the usual slices (SCHED_FLAG_RESET_ON_FORK). */
#include "courier.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS 100000
#define RESET_ON_FORK 1 /* SCHED_FLAG_RESET_ON_FORK; linux/sched.h does not go with <sched.h> */

/* sched_setattr(2): the first version of struct sched_attr, which glibc 2.36 does not have */
typedef struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
} GwSchedAttr;

void
gw_courier_schedule (void)
{
    GwSchedAttr attr = { .size = sizeof attr,
                         .policy = SCHED_OTHER,
                         .flags = RESET_ON_FORK,
                         .nice = getpriority (PRIO_PROCESS, 0),
                         .runtime_ns = SLICE_NS };
    (void) syscall (SYS_sched_setattr, 0, &attr, 0); /* best effort: requests only wait longer without */
}
