/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

/*
 * Record n lies in slot n modulo the number of slots, little endian: magic, n, the slot, 0, then 60
 * words that follow from n.  The whole content is compared on reading back, so there is no checksum.
 * tests/rig/disk.py reads the same layout from the image.
 *
 * After each write one other slot is read back and compared with what was written there last, so
 * that a disk that is older than the guest's memory is noticed.
 *
 * Records are small; for a guest that writes many bytes each may come with a piece of bulk, somewhere
 * behind the records.  Nobody reads it back here.
 */
#define RECORD_BYTES 512
#define RECORD_WORDS (RECORD_BYTES / 8)
#define MAGIC 0x64726f6365727767u /* "gwrecord" */
#define BUFFER_BYTES 4096         /* of O_DIRECT, whatever the sector size */
#define BULK_BYTES_MAX (1u << 20)
#define SLICE_MS 4

static struct {
    int fd;
    uint64_t rate, n_slots;
    uint64_t first;        /* first number of this boot */
    _Atomic uint64_t last; /* last number that is on the disk; 0 is none */
    uint64_t *buffer;      /* aligned, one record */
    uint64_t bulk_bytes, bulk_first, n_bulk; /* of a piece; where the pieces begin; how many fit */
    uint64_t *bulk;        /* aligned, one piece; NULL: none */
} disk;

static void
make_record (uint64_t number, uint64_t words[static RECORD_WORDS])
{
    uint64_t state = number * 0x9e3779b97f4a7c15u | 1;

    words[0] = MAGIC;
    words[1] = number;
    words[2] = number % disk.n_slots;
    words[3] = 0;
    for (int i = 4; i < RECORD_WORDS; i++)
        words[i] = guest_random (&state);
}

static bool
read_slot (uint64_t slot)
{
    return pread (disk.fd, disk.buffer, RECORD_BYTES, (off_t) (slot * RECORD_BYTES)) ==
           RECORD_BYTES;
}

/* Finds the greatest number on the disk; the records go on behind it. */
static uint64_t
find_last (void)
{
    uint64_t wanted[RECORD_WORDS], last = 0;

    for (uint64_t slot = 0; slot < disk.n_slots; slot++) {
        if (!read_slot (slot)) {
            guest_report ("E disk read slot=%llu: %s", (unsigned long long) slot, strerror (errno));
            return last;
        }
        if (disk.buffer[0] != MAGIC)
            continue;
        make_record (disk.buffer[1], wanted);
        if (memcmp (wanted, disk.buffer, RECORD_BYTES) != 0 || disk.buffer[2] != slot)
            guest_report ("E disk damaged slot=%llu number=%llu", (unsigned long long) slot,
                          (unsigned long long) disk.buffer[1]);
        else if (disk.buffer[1] > last)
            last = disk.buffer[1];
    }
    return last;
}

static bool
write_record (uint64_t number)
{
    make_record (number, disk.buffer);
    if (pwrite (disk.fd, disk.buffer, RECORD_BYTES,
                (off_t) (number % disk.n_slots * RECORD_BYTES)) == RECORD_BYTES)
        return true;
    guest_report ("E disk write number=%llu: %s", (unsigned long long) number, strerror (errno));
    return false;
}

/* Each piece differs from the one before it in every block. */
static bool
write_bulk (uint64_t number)
{
    if (disk.bulk == NULL)
        return true;
    for (uint64_t i = 0; i < disk.bulk_bytes / sizeof *disk.bulk; i += RECORD_WORDS)
        disk.bulk[i] = number;
    if (pwrite (disk.fd, disk.bulk, disk.bulk_bytes,
                (off_t) (disk.bulk_first + number % disk.n_bulk * disk.bulk_bytes)) ==
        (ssize_t) disk.bulk_bytes)
        return true;
    guest_report ("E disk bulk number=%llu: %s", (unsigned long long) number, strerror (errno));
    return false;
}

/* Reads back the record that lies `behind` numbers back, if this boot has written it. */
static void
verify_earlier (uint64_t last, uint64_t behind)
{
    uint64_t wanted[RECORD_WORDS];

    if (last - disk.first < behind)
        return;
    make_record (last - behind, wanted);
    if (!read_slot (wanted[2]))
        guest_report ("E disk read number=%llu: %s", (unsigned long long) (last - behind),
                      strerror (errno));
    else if (memcmp (wanted, disk.buffer, RECORD_BYTES) != 0)
        guest_report ("E disk slot=%llu holds number=%llu, wanted %llu",
                      (unsigned long long) wanted[2], (unsigned long long) disk.buffer[1],
                      (unsigned long long) (last - behind));
}

static void *
run_disk (void *data)
{
    uint64_t state = 88172645463325252u;
    GuestPace pace;

    guest_pace_init (&pace, 1);
    for (;;) {
        uint64_t allowed = guest_pace_wait (&pace, disk.rate, SLICE_MS);
        for (uint64_t i = 0; i < allowed; i++) {
            if (!write_bulk (disk.last + 1) || !write_record (disk.last + 1) ||
                !guest_files_write (disk.last + 1, disk.buffer, RECORD_BYTES))
                return NULL;
            disk.last++;
            guest_report ("D %llu", (unsigned long long) disk.last);
            verify_earlier (disk.last, guest_random (&state) % disk.n_slots);
        }
    }
    return NULL;
}

/* Random bytes, so that nothing on the way makes them fewer. */
static void
prepare_bulk (uint64_t piece_bytes, uint64_t disk_bytes)
{
    uint64_t state = 0x9e3779b97f4a7c15u;
    void *bulk;

    disk.bulk_first = disk.n_slots * RECORD_BYTES;
    disk.bulk_bytes = piece_bytes - piece_bytes % BUFFER_BYTES;
    if (disk.bulk_bytes == 0 || disk.bulk_bytes > BULK_BYTES_MAX ||
        disk_bytes < disk.bulk_first + disk.bulk_bytes ||
        posix_memalign (&bulk, BUFFER_BYTES, disk.bulk_bytes) != 0)
        return;
    disk.n_bulk = (disk_bytes - disk.bulk_first) / disk.bulk_bytes;
    disk.bulk = bulk;
    for (uint64_t i = 0; i < disk.bulk_bytes / sizeof *disk.bulk; i++)
        disk.bulk[i] = guest_random (&state);
}

static bool
get_size (uint64_t *ret_bytes)
{
    struct stat st;

    if (ioctl (disk.fd, BLKGETSIZE64, ret_bytes) == 0)
        return true;
    if (fstat (disk.fd, &st) < 0)
        return false;
    *ret_bytes = (uint64_t) st.st_size;
    return true;
}

static bool
prepare (const GuestParams *params, const char *path)
{
    uint64_t bytes = 0, all_bytes;
    void *buffer;

    disk.fd = open (path, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
    if (disk.fd < 0 || !get_size (&bytes) ||
        posix_memalign (&buffer, BUFFER_BYTES, BUFFER_BYTES) != 0)
        return false;
    all_bytes = bytes;
    if (params->diskspan_bytes < bytes)
        bytes = params->diskspan_bytes;
    disk.buffer = buffer;
    disk.rate = params->diskrate;
    disk.n_slots = bytes / RECORD_BYTES;
    prepare_bulk (params->diskbulk_bytes, all_bytes);
    return disk.n_slots > 0;
}

void
guest_disk_start (const GuestParams *params)
{
    const char *path = params->disk[0] != '\0' ? params->disk : "/dev/vda";

    if (params->diskrate == 0 || (params->fs[0] != '\0' && !guest_files_mount (params->fs)))
        return;
    if (!prepare (params, path)) {
        guest_report ("E disk %s: %s", path, strerror (errno));
        return;
    }
    disk.last = find_last ();
    disk.first = disk.last + 1;
    guest_report ("DISK slots=%llu last=%llu", (unsigned long long) disk.n_slots,
                  (unsigned long long) disk.last);
    guest_thread_start (run_disk, NULL, 0, 0);
}

uint64_t
guest_disk_last (void)
{
    return disk.last;
}
