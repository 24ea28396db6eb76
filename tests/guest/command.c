/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

static int report_fd = -1;

static bool
set_dirty (const char *value)
{
    uint64_t bps;

    if (!guest_parse_size (value, &bps))
        return false;
    guest_memory_set_dirty (bps);
    return true;
}

static bool
set_content (const char *value)
{
    GuestKind kind = guest_kind_from_name (value);

    if (kind == GUEST_N_KINDS)
        return false;
    guest_memory_set_kind (kind);
    return true;
}

static bool
pause_writer (const char *value)
{
    guest_memory_set_paused (true);
    return true;
}

static bool
resume_writer (const char *value)
{
    guest_memory_set_paused (false);
    return true;
}

static bool
end (const char *line, int how)
{
    guest_report ("OK %s", line);
    guest_report_flush (report_fd, 500);
    sync ();
    (void) reboot (how); /* returns only when it is refused */
    return false;
}

static bool
end_reboot (const char *value)
{
    return end ("reboot", RB_AUTOBOOT);
}

static bool
end_poweroff (const char *value)
{
    return end ("poweroff", RB_POWER_OFF);
}

static const struct {
    const char *name;
    bool (*act) (const char *value);
} commands[] = {
    { "dirty",    set_dirty     },
    { "content",  set_content   },
    { "pause",    pause_writer  },
    { "resume",   resume_writer },
    { "reboot",   end_reboot    },
    { "poweroff", end_poweroff  },
};

void
guest_command_set_channel (int fd)
{
    report_fd = fd;
}

void
guest_command_refuse (char *line)
{
    guest_report ("? %s", line);
}

void
guest_command (char *line)
{
    size_t len = strcspn (line, " ");
    const char *value = line[len] != '\0' ? line + len + 1 : "";

    if (strcmp (line, "check") == 0) {
        guest_memory_request_check ();
        return; /* the checker answers when it is done */
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strlen (commands[i].name) == len && strncmp (line, commands[i].name, len) == 0) {
            guest_report (commands[i].act (value) ? "OK %s" : "? %s", line);
            return;
        }
    }
    guest_command_refuse (line);
}
