/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_NS 1000000LL

static struct {
    int fd;
    _Atomic uint64_t dropped; /* lines that the channel did not take */
    _Atomic uint64_t late;    /* periods that were skipped because the thread came too late */
} tick;

static void
sleep_until (int64_t at_ns)
{
    struct timespec at = { .tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000 };

    while (clock_nanosleep (CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
        continue;
}

/* A number is used up only when its line has left, so that the host can tell a line lost on the way
 * (a missing number) from one that was never sent.  A line is short enough to be taken whole or not
 * at all by a virtio-serial port; a serial line may take a part, then the rest follows. */
static void
send_tick (uint64_t *seq)
{
    static char line[48];
    static size_t len, sent;
    ssize_t got;

    if (sent == len) {
        len = (size_t) snprintf (line, sizeof line, "T %s %llu\n", guest_boot_id (),
                                 (unsigned long long) *seq);
        sent = 0;
    }
    got = write (tick.fd, line + sent, len - sent);
    if (got <= 0) {
        if (sent == 0)
            len = 0;
        atomic_fetch_add (&tick.dropped, 1);
        return;
    }
    sent += (size_t) got;
    if (sent == len)
        ++*seq;
}

static void *
run_tick (void *data)
{
    uint64_t seq = 1;
    int64_t next_ns = guest_now_ns ();

    for (;;) {
        int64_t behind_ns;

        next_ns += PERIOD_NS;
        behind_ns = guest_now_ns () - next_ns;
        if (behind_ns > PERIOD_NS) {
            atomic_fetch_add (&tick.late, (uint64_t) (behind_ns / PERIOD_NS));
            next_ns += behind_ns / PERIOD_NS * PERIOD_NS;
        }
        sleep_until (next_ns);
        send_tick (&seq);
    }
    return NULL;
}

void
guest_tick_start (int fd)
{
    tick.fd = fd;
    guest_thread_start (run_tick, NULL, 50, 0);
}

uint64_t
guest_tick_dropped (void)
{
    return tick.dropped;
}

uint64_t
guest_tick_late (void)
{
    return tick.late;
}
