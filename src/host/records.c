/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define RECORD_FILE_MAX (64 * 1024)

struct _GwRecord {
    GwFd fd;
    char *path;
    GwMachine machine; /* states are GwRecordKind */
};

/* A source writes only RELEASED.  A destination writes STARTED or REFUSED; a STARTED whose QEMU
 * refused to run is taken back while the lock is held, so nobody has seen it (docs/handover.md). */
static const GwState states[] = {
    [GW_RECORD_NONE] = { "none",
                         1u << GW_RECORD_RELEASED | 1u << GW_RECORD_STARTED |
                             1u << GW_RECORD_REFUSED,
                         GW_STATE_INITIAL },
    [GW_RECORD_RELEASED] = { "released", 0, GW_STATE_FINAL },
    [GW_RECORD_STARTED] = { "started", 1u << GW_RECORD_REFUSED, 0 },
    [GW_RECORD_REFUSED] = { "refused", 0, GW_STATE_FINAL },
};
static const GwMachineTable table = { "record", states, G_N_ELEMENTS (states) };

const char *
gw_record_kind_name (GwRecordKind kind)
{
    g_assert ((guint) kind < G_N_ELEMENTS (states));
    return states[kind].name;
}

gboolean
gw_record_kind_from_name (const char *name, GwRecordKind *ret_kind, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS (states); i++) {
        if (strcmp (states[i].name, name) == 0) {
            *ret_kind = (GwRecordKind) i;
            return TRUE;
        }
    }
    return gw_fail (error, GW_CAUSE_RPC_INVALID, "'%s' is no record", name);
}

static gboolean
lock (GwRecord *record, GMainContext *context, guint timeout_ms, GError **error)
{
    gint64 deadline = gw_deadline_ms (timeout_ms);
    while (flock (record->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return gw_fail (error, GW_CAUSE_HOST_IO, "cannot lock '%s': %s", record->path,
                            g_strerror (errno));
        if (g_get_monotonic_time () > deadline)
            return gw_fail (error, GW_CAUSE_TIMED_OUT,
                            "'%s' is locked: the job is being decided by another process",
                            record->path);
        (void) gw_wait_ms (context, 20, NULL, NULL);
    }
    return TRUE;
}

static gboolean
replay_line (GwRecord *record, const char *line, gssize len, GError **error)
{
    g_autoptr (GError) failure = NULL;
    g_autoptr (JsonObject) object = gw_json_parse (line, len, &failure);
    const char *name = object != NULL ? gw_json_get_string (object, "record", &failure) : NULL;
    GwRecordKind kind;
    if (name == NULL || !gw_record_kind_from_name (name, &kind, &failure))
        return gw_fail (error, GW_CAUSE_HOST_IO, "'%s' is damaged: %s", record->path,
                        failure->message);
    if (!gw_machine_can (&record->machine, kind))
        return gw_fail (error, GW_CAUSE_HOST_IO, "'%s' is damaged: '%s' after '%s'", record->path,
                        name, gw_machine_state_name (&record->machine));
    gw_machine_move (&record->machine, kind);
    return TRUE;
}

static gboolean
replay (GwRecord *record, GError **error)
{
    g_autofree char *text = NULL;
    gsize len;
    if (!g_file_get_contents (record->path, &text, &len, error))
        return gw_error_adopt (error, GW_CAUSE_HOST_IO);
    if (len > RECORD_FILE_MAX)
        return gw_fail (error, GW_CAUSE_HOST_IO, "'%s' is damaged: %" G_GSIZE_FORMAT " bytes",
                        record->path, len);
    const char *line = text, *last = text + len;
    for (const char *end; (end = memchr (line, '\n', (gsize) (last - line))) != NULL;
         line = end + 1)
        if (!replay_line (record, line, end - line, error))
            return FALSE;
    /* A torn line at the end, which a crash may have left as zeros, was never acknowledged: cut it
     * off. */
    if (line != last && ftruncate (record->fd, line - text) != 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "'%s': %s", record->path, g_strerror (errno));
    return TRUE;
}

static gboolean
sync_directory (const char *path, GError **error)
{
    g_autofree char *dir = g_path_get_dirname (path);
    g_auto (GwFd) fd = open (dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync (fd) != 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "'%s': %s", dir, g_strerror (errno));
    return TRUE;
}

GwRecord *
gw_record_open (const GwHostConfig *config, const char *job, GwSide side, GMainContext *context,
                guint timeout_ms, GError **error)
{
    g_assert (gw_job_id_is_valid (job));
    g_autoptr (GwRecord) record = g_new0 (GwRecord, 1);
    record->fd = -1;
    g_autofree char *dir = g_build_filename (config->state_dir, "records", NULL);
    g_autofree char *name = g_strdup_printf ("%s-%s", job, gw_side_name (side));
    record->path = g_build_filename (dir, name, NULL);
    if (!gw_directory_make (dir, NULL, error))
        return NULL;
    record->fd = open (record->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (record->fd < 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "'%s': %s", record->path, g_strerror (errno));
        return NULL;
    }
    gw_machine_init (&record->machine, &table, NULL, NULL);
    if (!lock (record, context, timeout_ms, error) || !replay (record, error) ||
        !sync_directory (record->path, error))
        return NULL;
    return g_steal_pointer (&record);
}

GwRecordKind
gw_record_get_kind (const GwRecord *record)
{
    return (GwRecordKind) record->machine.state;
}

gboolean
gw_record_append (GwRecord *record, GwRecordKind kind, gint64 epoch, const char *vm, GError **error)
{
    g_assert (gw_machine_can (&record->machine, kind));
    g_autoptr (JsonObject) object =
        gw_json_new ("record:s", gw_record_kind_name (kind), "epoch:i", epoch, "vm:s", vm,
                     "at_us:i", g_get_real_time (), NULL);
    g_autofree char *text = gw_json_to_text (object, FALSE);
    g_autofree char *line = g_strconcat (text, "\n", NULL);
    off_t before = lseek (record->fd, 0, SEEK_END);
    ssize_t n = write (record->fd, line, strlen (line));
    gboolean is_short = n >= 0 && n != (ssize_t) strlen (line);
    if (n < 0 || is_short || fdatasync (record->fd) != 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "cannot write '%s' to '%s': %s",
                 gw_record_kind_name (kind), record->path,
                 is_short ? "no space left" : g_strerror (errno));
        (void) !ftruncate (record->fd, before); /* else the torn line is cut off by the next reader */
        return FALSE;
    }
    gw_machine_move (&record->machine, kind);
    return TRUE;
}

void
gw_record_close (GwRecord *record)
{
    if (record == NULL)
        return;
    gw_fd_clear (&record->fd); /* and the lock with it */
    g_free (record->path);
    g_free (record);
}
