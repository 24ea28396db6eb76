/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * A file system on the disk, so that there is something that a disk which lost a write, or got two in the wrong
 * order, is inconsistent in.  With each record a file is made anew: written, synced, renamed over the one of
 * FILES numbers ago, and its directory synced.  tests/rig/disk.py reads them from the image.
 */
#define MOUNT "/fs"
#define FILES 64
#define FILE_BYTES (12 * 1024)

static bool has_files;

bool
guest_files_mount (const char *device)
{
    (void) mkdir (MOUNT, 0755);
    has_files = mount (device, MOUNT, "ext4", MS_NOATIME, NULL) == 0 &&
                (mkdir (MOUNT "/files", 0755) == 0 || errno == EEXIST);
    if (!has_files)
        guest_report ("E files %s: %s", device, strerror (errno));
    return has_files;
}

static bool
write_synced (const char *path, const void *record, size_t bytes)
{
    int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool is_good = fd >= 0;

    for (size_t at = 0; is_good && at < FILE_BYTES; at += bytes)
        is_good = write (fd, record, bytes) == (ssize_t) bytes;
    is_good = is_good && fsync (fd) == 0;
    if (fd >= 0)
        close (fd);
    return is_good;
}

static bool
sync_directory (void)
{
    int fd = open (MOUNT "/files", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_good = fd >= 0 && fsync (fd) == 0;

    if (fd >= 0)
        close (fd);
    return is_good;
}

bool
guest_files_write (uint64_t number, const void *record, size_t bytes)
{
    char path[64];

    if (!has_files)
        return true;
    (void) snprintf (path, sizeof path, MOUNT "/files/%llu", (unsigned long long) number % FILES);
    if (write_synced (MOUNT "/files/new", record, bytes) && rename (MOUNT "/files/new", path) == 0 &&
        sync_directory ())
        return true;
    guest_report ("E files number=%llu: %s", (unsigned long long) number, strerror (errno));
    return false;
}
