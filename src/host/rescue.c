/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way back from postcopy.
 *
 * Theory
 * ------
 * A source's QEMU that has gone over to postcopy does not go back: before 10.2 it cannot know whether the
 * destination's guest ran, so it offers recovery and nothing else; its `cont` is refused, and its
 * cancel, where it is not refused, leaves it hanging.  We do know: the destination's record says
 * REFUSED, and nothing ran there.  All of the guest is still here, stopped.
 *
 * So the migration is brought to its end: QEMU recovers it over a socket of ours and is told what a
 * destination would say that lacks nothing.  For each block of RAM it asks which pages have come
 * (RECV_BITMAP): all of them.  POSTCOPY_RESUME is acknowledged, and SHUT says that the destination is
 * content.  QEMU, with nothing left to send, ends its migration; from there `cont` takes the disks back and
 * runs the guest (migration.c: postcopy_do_resume(), ram.c: ram_dirty_bitmap_reload(), 7.2 to 10.2).  It
 * may say "failed" as well as "completed": an error of the connection that is gone may still be
 * on its books.  Either way it is over, and the guest is QEMU's own again.
 */
#include "host-internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RESCUE_MS 20000
#define TURN_MS 20
#define SOCKETS 3          /* the listening one, the main connection, the one for requested pages */
#define INPUT_MAX (1 << 20)
#define BITMAP_MAX ((gint64) 1 << 32) /* bytes: 128 TiB of RAM */

enum { TYPE_COMMAND = 0x08, COMMAND_RECV_BITMAP = 10, COMMAND_RESUME = 9 };
enum { REPLY_SHUT = 1, REPLY_RECV_BITMAP = 5, REPLY_RESUME_ACK = 6 };
#define BITMAP_END G_GUINT64_CONSTANT (0x0123456789abcdef)

typedef struct {
    LocalHost *local;
    GwFd fds[SOCKETS];
    guint n_fds;
    GByteArray *input; /* of the main connection, not yet understood */
    gint64 deadline_us;
    gint64 page_bytes;
    gboolean is_resumed;
} Rescue;

/* --- sockets -------------------------------------------------------------------------------------------------- */

static int
listen_at (const char *path, GError **error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_auto (GwFd) fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void) unlink (path); /* of an earlier try */
    if (fd < 0 || g_strlcpy (address.sun_path, path, sizeof address.sun_path) >= sizeof address.sun_path ||
        bind (fd, (struct sockaddr *) &address, sizeof address) != 0 || chmod (path, 0666) != 0 ||
        listen (fd, SOCKETS) != 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "cannot listen at '%s': %s", path, g_strerror (errno));
        return -1;
    }
    return gw_fd_steal (&fd);
}

static void
take_connection (Rescue *rescue)
{
    int fd = accept4 (rescue->fds[0], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0 && rescue->n_fds < SOCKETS)
        rescue->fds[rescue->n_fds++] = fd;
    else
        gw_fd_clear (&fd);
}

/* Once it has resumed, only the end of what it says is of interest. */
static void
take_bytes (Rescue *rescue, guint i)
{
    uint8_t bytes[65536];
    ssize_t n = read (rescue->fds[i], bytes, sizeof bytes);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        gw_fd_clear (&rescue->fds[i]);
    else if (n > 0 && i == 1 && !rescue->is_resumed)
        g_byte_array_append (rescue->input, bytes, (guint) n);
}

/* Moves what can be moved, for a moment, and QEMU's events with it. */
static void
turn (Rescue *rescue)
{
    struct pollfd polls[SOCKETS];
    guint n = rescue->n_fds;
    for (guint i = 0; i < n; i++)
        polls[i] = (struct pollfd) { .fd = rescue->fds[i], .events = POLLIN };
    int n_ready = poll (polls, n, TURN_MS);
    for (guint i = 0; n_ready > 0 && i < n; i++) {
        if (polls[i].revents != 0 && i == 0)
            take_connection (rescue);
        else if (polls[i].revents != 0)
            take_bytes (rescue, i);
    }
    while (g_main_context_iteration (rescue->local->context, FALSE))
        ;
}

static gboolean
is_late (const Rescue *rescue)
{
    return g_get_monotonic_time () > rescue->deadline_us;
}

static gboolean
need (Rescue *rescue, gsize bytes, GError **error)
{
    while (rescue->input->len < bytes) {
        gboolean is_closed = rescue->n_fds > 1 && rescue->fds[1] < 0;
        if (is_late (rescue) || is_closed || rescue->input->len > INPUT_MAX)
            return gw_fail (error, GW_CAUSE_MIGRATION_FAILED,
                            "the source's QEMU says nothing of use (it is '%s')",
                            rescue->local->migration_status);
        turn (rescue);
    }
    return TRUE;
}

static gboolean
send_all (Rescue *rescue, const uint8_t *bytes, gsize len, GError **error)
{
    while (len > 0) {
        ssize_t n = send (rescue->fds[1], bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return gw_fail (error, GW_CAUSE_MIGRATION_FAILED,
                            "the source's QEMU closed its migration: %s", g_strerror (errno));
        if (is_late (rescue))
            return gw_fail (error, GW_CAUSE_TIMED_OUT, "the source's QEMU takes no answer");
        if (n < 0)
            turn (rescue);
        bytes += MAX (n, 0);
        len -= (gsize) MAX (n, 0);
    }
    return TRUE;
}

/* --- what a content destination says -------------------------------------------------------------------------------- */

static gboolean
send_number (Rescue *rescue, uint16_t type, uint32_t value, GError **error)
{
    uint8_t message[8];
    gw_store_be16 (message, type);
    gw_store_be16 (message + 2, 4);
    gw_store_be32 (message + 4, value);
    return send_all (rescue, message, sizeof message, error);
}

static const GwRamBlock *
find_block (const Rescue *rescue, const char *name)
{
    const GPtrArray *blocks = rescue->local->vm->ram_blocks;
    for (guint i = 0; i < blocks->len; i++)
        if (strcmp (((const GwRamBlock *) blocks->pdata[i])->name, name) == 0)
            return blocks->pdata[i];
    return NULL;
}

/* Every page of the block has come. */
static gboolean
send_bitmap (Rescue *rescue, const uint8_t *name, guint len, GError **error)
{
    g_autofree char *text = g_strndup ((const char *) name, len);
    const GwRamBlock *block = find_block (rescue, text);
    if (block == NULL)
        return gw_fail (error, GW_CAUSE_MIGRATION_FAILED, "QEMU asks for RAM '%s', which it had not",
                        text);
    gint64 pages = (block->used_bytes + rescue->page_bytes - 1) / rescue->page_bytes;
    gint64 bytes = (pages + 63) / 64 * 8;
    g_assert (bytes < BITMAP_MAX);
    g_autoptr (GByteArray) message = g_byte_array_new ();
    g_byte_array_set_size (message, (guint) (5 + len + 8 + bytes + 8));
    gw_store_be16 (message->data, REPLY_RECV_BITMAP);
    gw_store_be16 (message->data + 2, (uint16_t) (1 + len));
    message->data[4] = (uint8_t) len;
    memcpy (message->data + 5, name, len);
    gw_store_be64 (message->data + 5 + len, (uint64_t) bytes);
    memset (message->data + 13 + len, 0xff, (gsize) bytes);
    gw_store_be64 (message->data + 13 + len + bytes, BITMAP_END);
    return send_all (rescue, message->data, message->len, error);
}

static gboolean
answer_command (Rescue *rescue, uint16_t command, const uint8_t *payload, guint len, GError **error)
{
    if (command == COMMAND_RECV_BITMAP && len > 0 && payload[0] == len - 1)
        return send_bitmap (rescue, payload + 1, len - 1, error);
    if (command != COMMAND_RESUME)
        return TRUE;
    rescue->is_resumed = TRUE;
    return send_number (rescue, REPLY_RESUME_ACK, 1, error) &&
           send_number (rescue, REPLY_SHUT, 0, error);
}

/* Before it resumes QEMU sends commands and nothing else. */
static gboolean
answer (Rescue *rescue, GError **error)
{
    while (!rescue->is_resumed) {
        if (!need (rescue, 5, error))
            return FALSE;
        const uint8_t *head = rescue->input->data;
        guint len = gw_load_be16 (head + 3);
        if (head[0] != TYPE_COMMAND)
            return gw_fail (error, GW_CAUSE_MIGRATION_FAILED,
                            "the source's QEMU recovers with a section of type %u", head[0]);
        if (!need (rescue, 5 + len, error) ||
            !answer_command (rescue, gw_load_be16 (rescue->input->data + 1), rescue->input->data + 5,
                             len, error))
            return FALSE;
        g_byte_array_remove_range (rescue->input, 0, 5 + len);
    }
    return TRUE;
}

static gboolean
await_end (Rescue *rescue, GError **error)
{
    const LocalHost *local = rescue->local;
    while (g_strcmp0 (local->migration_status, "completed") != 0 &&
           g_strcmp0 (local->migration_status, "failed") != 0) {
        if (is_late (rescue))
            return gw_fail (error, GW_CAUSE_MIGRATION_FAILED,
                            "the source's QEMU does not end its postcopy: it is '%s'",
                            local->migration_status);
        turn (rescue);
    }
    return TRUE;
}

/* --- the whole ------------------------------------------------------------------------------------------------------- */

static gboolean
run (Rescue *rescue, const char *path, GCancellable *cancellable, GError **error)
{
    LocalHost *local = rescue->local;
    g_autofree char *uri = g_strconcat ("unix:", path, NULL);
    g_autoptr (GwMigration) m = gw_local_query_migrate (local, cancellable, error);
    if (m == NULL || (rescue->fds[0] = listen_at (path, error)) < 0)
        return FALSE;
    rescue->page_bytes = m->page_bytes > 0 ? m->page_bytes : 4096;
    return gw_local_qmp (local, GW_QMP_MIGRATE, gw_json_new ("uri:s", uri, "resume:b", TRUE, NULL),
                         cancellable, error) &&
           answer (rescue, error) && await_end (rescue, error);
}

gboolean
gw_local_rescue (LocalHost *local, GCancellable *cancellable, GError **error)
{
    g_autofree char *path = g_build_filename (local->job_dir, "rescue.sock", NULL);
    Rescue rescue = { .local = local, .fds = { -1, -1, -1 }, .n_fds = 1,
                      .deadline_us = gw_deadline_ms (RESCUE_MS) };
    g_clear_pointer (&local->courier, gw_courier_free);
    if (!gw_local_pause_postcopy (local, cancellable, error))
        return FALSE;
    rescue.input = g_byte_array_new ();
    gboolean ok = run (&rescue, path, cancellable, error);
    for (guint i = 0; i < SOCKETS; i++)
        gw_fd_clear (&rescue.fds[i]);
    g_byte_array_unref (rescue.input);
    (void) unlink (path);
    if (!ok)
        g_prefix_error (error, "the way back from postcopy: ");
    return ok;
}
