/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * Lines wait in a ring.  Only the serving thread takes from it; the lock guards the ring and is held
 * for the time of a copy.  While the host has not connected, the channel takes nothing and says so
 * by POLLHUP, which would make poll() return at once for ever: then we look again after a while.
 */
#define RING_BYTES (1 << 17)
#define HANGUP_WAIT_US 2000
#define STATUS_NS 1000000000LL

static struct {
    pthread_mutex_t lock;
    char ring[RING_BYTES];
    size_t head, tail; /* head: next byte to write; tail: next to send; both only grow */
    uint64_t lost;
    int wake_fd;
} report = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake_fd = -1 };

const char *
guest_boot_id (void)
{
    static char id[9];
    FILE *file;

    if (id[0] != '\0')
        return id;
    file = fopen ("/proc/sys/kernel/random/boot_id", "re");
    if (file == NULL || fscanf (file, "%8[0-9a-f]", id) != 1)
        strcpy (id, "00000000");
    if (file != NULL)
        fclose (file);
    return id;
}

static void
wake (void)
{
    uint64_t one = 1;

    if (report.wake_fd >= 0 && write (report.wake_fd, &one, sizeof one) < 0)
        return; /* it is awake already */
}

void
guest_report (const char *format, ...)
{
    char line[GUEST_LINE_MAX];
    va_list args;
    int len;

    va_start (args, format);
    len = vsnprintf (line, sizeof line - 1, format, args);
    va_end (args);
    if (len < 0)
        return;
    if (len > (int) sizeof line - 2)
        len = (int) sizeof line - 2;
    line[len++] = '\n';

    pthread_mutex_lock (&report.lock);
    if (report.head - report.tail + (size_t) len > RING_BYTES)
        report.lost++;
    else
        for (int i = 0; i < len; i++)
            report.ring[report.head++ % RING_BYTES] = line[i];
    pthread_mutex_unlock (&report.lock);
    wake ();
}

uint64_t
guest_report_lost (void)
{
    return report.lost;
}

/* Sends what the channel takes.  True when it is all gone. */
static bool
drain (int fd)
{
    for (;;) {
        size_t head, from, len;
        ssize_t sent;

        pthread_mutex_lock (&report.lock);
        head = report.head;
        pthread_mutex_unlock (&report.lock);
        from = report.tail % RING_BYTES;
        len = head - report.tail;
        if (len == 0)
            return true;
        if (len > RING_BYTES - from)
            len = RING_BYTES - from;
        sent = write (fd, report.ring + from, len);
        if (sent <= 0)
            return false;
        pthread_mutex_lock (&report.lock);
        report.tail += (size_t) sent;
        pthread_mutex_unlock (&report.lock);
    }
}

/* Reads what the host sent and hands over complete lines; a line that is too long is cut off. */
static void
receive (int fd, void (*command) (char *line))
{
    static char line[GUEST_LINE_MAX];
    static size_t len;
    char chunk[256];
    ssize_t got = read (fd, chunk, sizeof chunk);

    for (ssize_t i = 0; i < got; i++) {
        if (chunk[i] == '\n') {
            line[len] = '\0';
            len = 0;
            command (line);
        } else if (len < sizeof line - 1) {
            line[len++] = chunk[i];
        }
    }
}

void
guest_report_serve (int fd, void (*command) (char *line), void (*status) (void))
{
    int64_t next_ns = guest_now_ns () + STATUS_NS;
    uint64_t count;

    report.wake_fd = eventfd (0, EFD_NONBLOCK | EFD_CLOEXEC);
    for (;;) {
        bool is_empty = drain (fd);
        struct pollfd polled[] = { { .fd = fd, .events = is_empty ? POLLIN : POLLIN | POLLOUT },
                                   { .fd = report.wake_fd, .events = POLLIN } };
        int64_t left_ns = next_ns - guest_now_ns ();

        (void) poll (polled, 2, left_ns > 0 ? (int) (left_ns / 1000000) + 1 : 0);
        if (read (report.wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
            usleep (HANGUP_WAIT_US); /* no wake-ups, so look now and then */
        if (polled[0].revents & POLLIN)
            receive (fd, command);
        if (polled[0].revents & (POLLHUP | POLLERR))
            usleep (HANGUP_WAIT_US);
        if (guest_now_ns () >= next_ns) {
            next_ns += STATUS_NS;
            status ();
        }
    }
}

void
guest_report_flush (int fd, unsigned ms)
{
    for (unsigned i = 0; i < ms && !drain (fd); i++)
        usleep (1000);
}
