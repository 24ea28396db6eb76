/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static GuestParams params;

static void
mount_all (void)
{
    static const struct {
        const char *type, *at;
    } mounts[] = { { "proc", "/proc" }, { "sysfs", "/sys" }, { "devtmpfs", "/dev" } };

    for (size_t i = 0; i < sizeof mounts / sizeof mounts[0]; i++) {
        (void) mkdir (mounts[i].at, 0755); /* is there already as a rule */
        if (mount (mounts[i].type, mounts[i].at, mounts[i].type, 0, NULL) < 0)
            guest_report ("E mount %s: %s", mounts[i].at, strerror (errno));
    }
}

static void
read_params (void)
{
    char line[2048] = "", bad[64];
    FILE *file = fopen ("/proc/cmdline", "re");

    if (file == NULL || fgets (line, sizeof line, file) == NULL)
        guest_report ("E cmdline: %s", strerror (errno));
    if (file != NULL)
        fclose (file);
    if (!guest_params_parse (line, &params, bad))
        guest_report ("E cmdline '%s'", bad);
}

static void
report_status (void)
{
    static unsigned long long seq;
    GuestMemoryStatus memory;

    guest_memory_get_status (&memory);
    guest_report ("S %s %llu checked=%llu rounds=%llu bad=%llu written=%llu disk=%llu dropped=%llu "
                  "late=%llu lost=%llu",
                  guest_boot_id (), ++seq, (unsigned long long) memory.checked,
                  (unsigned long long) memory.rounds, (unsigned long long) memory.bad,
                  (unsigned long long) memory.written, (unsigned long long) guest_disk_last (),
                  (unsigned long long) guest_tick_dropped (), (unsigned long long) guest_tick_late (),
                  (unsigned long long) guest_report_lost ());
}

/* Filling the memory takes a while, in which the report channel already works. */
static void *
run_load (void *data)
{
    if (!guest_memory_start (&params))
        guest_report ("E memory: cannot map %llu bytes",
                      (unsigned long long) (params.mem_bytes + params.fill_bytes));
    guest_disk_start (&params);
    guest_run_start (&params);
    return NULL;
}

int
main (void)
{
    struct sched_param priority = { .sched_priority = 20 };
    int report_fd, tick_fd;

    mount_all ();
    read_params ();
    guest_report ("BOOT %s %s", guest_boot_id (), GW_VERSION);
    guest_modules_load ();
    report_fd = guest_channel_open (params.report, "godwit.report", "/dev/ttyS0");
    tick_fd = guest_channel_open (params.tick, "godwit.tick", "/dev/ttyS1");
    if (tick_fd >= 0)
        guest_tick_start (tick_fd);
    else
        guest_report ("E tick: no channel");
    guest_agent_start ();
    guest_thread_start (run_load, NULL, 0, 0);
    guest_command_set_channel (report_fd);
    if (sched_setscheduler (0, SCHED_FIFO, &priority) < 0)
        guest_report ("E report: no real-time priority");
    guest_report_serve (report_fd, params.is_commanded ? guest_command : guest_command_refuse,
                        report_status);
}
