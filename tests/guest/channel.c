/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define PORTS "/sys/class/virtio-ports"
#define PORT_WAIT_MS 2000 /* ports get their names by control messages, after the driver is up */

static bool
has_name (const char *port, const char *name)
{
    char path[300], text[64] = "";
    FILE *file;

    (void) snprintf (path, sizeof path, PORTS "/%s/name", port);
    file = fopen (path, "re");
    if (file == NULL)
        return false;
    if (fgets (text, sizeof text, file) == NULL)
        text[0] = '\0';
    fclose (file);
    text[strcspn (text, "\n")] = '\0';
    return strcmp (text, name) == 0;
}

bool
guest_channel_find (const char *name, char *device, size_t size)
{
    DIR *dir = opendir (PORTS);
    struct dirent *entry;
    bool is_found = false;

    if (dir == NULL)
        return false;
    while (!is_found && (entry = readdir (dir)) != NULL) {
        is_found = has_name (entry->d_name, name);
        if (is_found)
            (void) snprintf (device, size, "/dev/%s", entry->d_name);
    }
    closedir (dir);
    return is_found;
}

/* A serial line must not change our bytes or echo the host's. */
static void
make_raw (int fd)
{
    struct termios attributes;

    if (tcgetattr (fd, &attributes) < 0)
        return; /* no serial line */
    cfmakeraw (&attributes);
    cfsetspeed (&attributes, B115200);
    (void) tcsetattr (fd, TCSANOW, &attributes); /* a line that cannot be set is used as it is */
}

int
guest_channel_open (const char *device, const char *name, const char *fallback)
{
    char path[300];
    int fd;

    (void) snprintf (path, sizeof path, "%s", device);
    if (path[0] == '\0') {
        bool is_found = guest_channel_find (name, path, sizeof path);
        for (int i = 0; !is_found && i < PORT_WAIT_MS && access (PORTS, F_OK) == 0; i += 10) {
            usleep (10000);
            is_found = guest_channel_find (name, path, sizeof path);
        }
        if (!is_found)
            (void) snprintf (path, sizeof path, "%s", fallback);
    }
    fd = open (path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        make_raw (fd);
    return fd;
}
