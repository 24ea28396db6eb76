/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operation of either side: what is in a read-only medium.
 *
 * Two media are one when they have the same size and the same content.  All of it is hashed when that is little;
 * of a larger one the beginning, the end and pieces all over it, which tells media apart that were not made to
 * deceive.  Whoever asks may have a VM with the same file as a medium, and only of such files anything is told.
 */
#include "allow.h"
#include "host-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define PIECE_BYTES ((gint64) 1 << 20)
#define WHOLE_BYTES ((gint64) 1 << 30) /* so much is read of any medium at most */
#define READ_MS 40000 /* for all that are asked for at once */

typedef struct {
    int fd;
    gint64 bytes, deadline_us;
    GCancellable *cancellable;
    XXH3_state_t *state;
    guint8 *buffer; /* PIECE_BYTES */
} Medium;

static gboolean
add_piece (Medium *medium, gint64 at)
{
    gint64 len = MIN (medium->bytes - at, PIECE_BYTES), done = 0;
    while (done < len) {
        ssize_t n = pread (medium->fd, medium->buffer + done, (size_t) (len - done), at + done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return FALSE;
        done += n;
    }
    (void) XXH3_128bits_update (medium->state, medium->buffer, (size_t) len); /* cannot fail */
    return g_get_monotonic_time () <= medium->deadline_us &&
           !g_cancellable_is_cancelled (medium->cancellable);
}

/* As many pieces as may be read, at equal distances; the last one ends where the medium does. */
static gboolean
add_all (Medium *medium)
{
    gint64 n = (MIN (medium->bytes, WHOLE_BYTES) + PIECE_BYTES - 1) / PIECE_BYTES;
    gint64 last = MAX (medium->bytes - PIECE_BYTES, 0);
    for (gint64 i = 0; i < n; i++) {
        gint64 at = medium->bytes <= WHOLE_BYTES ? i * PIECE_BYTES
                                                 : (gint64) ((double) last / (double) (n - 1) * (double) i);
        if (!add_piece (medium, at))
            return FALSE;
    }
    return TRUE;
}

/* 0: not a medium, or not to be read */
static gint64
find_size (int fd)
{
    struct stat st;
    if (fd < 0 || fstat (fd, &st) != 0 || (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode)))
        return 0;
    return MAX ((gint64) lseek (fd, 0, SEEK_END), 0);
}

/* "" when it cannot be told in time. (transfer full) */
static char *
read_content (const char *path, gint64 deadline_us, GCancellable *cancellable)
{
    g_auto (GwFd) fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    gint64 bytes = find_size (fd);
    if (bytes == 0)
        return g_strdup ("");
    g_autofree guint8 *buffer = g_malloc (PIECE_BYTES);
    Medium medium = { fd, bytes, deadline_us, cancellable, XXH3_createState (), buffer };
    (void) XXH3_128bits_reset (medium.state); /* cannot fail */
    gboolean ok = add_all (&medium);
    XXH128_hash_t hash = XXH3_128bits_digest (medium.state);
    (void) XXH3_freeState (medium.state);
    return ok ? g_strdup_printf ("%016" G_GINT64_MODIFIER "x%016" G_GINT64_MODIFIER "x", (guint64) hash.high64,
                                 (guint64) hash.low64)
              : g_strdup ("");
}

JsonObject *
gw_local_read_contents (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    g_auto (GStrv) paths = gw_json_peek_strv (params, "paths");
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    gint64 deadline_us = gw_deadline_ms (READ_MS);
    for (gsize i = 0; paths[i] != NULL; i++) {
        gboolean is_told = !gw_host_config_is_confined (local->config) ||
                           gw_allow_path (local->config, GW_ALLOW_BASE, paths[i], NULL);
        g_autofree char *content = is_told ? read_content (paths[i], deadline_us, cancellable) : g_strdup ("");
        g_strv_builder_add (builder, content);
    }
    g_auto (GStrv) contents = g_strv_builder_end (builder);
    return gw_json_new ("contents:v", contents, NULL);
}
