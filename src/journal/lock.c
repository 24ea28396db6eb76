/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks that last longer than a transaction: one byte each of a file that is never written. */
#include "journal-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Two names on the same byte would only wait for each other. */
static off_t
byte_of (const char *name)
{
    g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
    guint8 digest[32];
    gsize len = sizeof digest;
    g_checksum_update (sum, (const guchar *) name, -1);
    g_checksum_get_digest (sum, digest, &len);
    return (off_t) (gw_load_be64 (digest) >> 2); /* a file's greatest offset is 2^63 - 1 */
}

gboolean
gw_journal_try_lock (const char *state_dir, const char *name, int *ret_fd, GError **error)
{
    g_autofree char *path = g_build_filename (state_dir, "journal.lock", NULL);
    g_auto (GwFd) fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return gw_fail (error, GW_CAUSE_JOURNAL_IO, "'%s': %s", path, g_strerror (errno));
    /* of the open file, not of the process: it counts between threads too */
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte_of (name),
                          .l_len = 1 };
    gboolean is_ours = fcntl (fd, F_OFD_SETLK, &lock) == 0;
    if (!is_ours && errno != EAGAIN && errno != EACCES)
        return gw_fail (error, GW_CAUSE_JOURNAL_IO, "cannot lock '%s': %s", path, g_strerror (errno));
    *ret_fd = is_ours ? gw_fd_steal (&fd) : -1;
    return TRUE;
}
