/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the kernel killed a process for want of memory.  Nothing in its exit status says so.  The
 * kernel's log names the process; where it may not be read, the control group counts such kills.
 */
#include "host-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define RECORD_MAX 8192 /* of /dev/kmsg, by the kernel's own limit */
#define RECORDS_MAX 20000

struct _GwOomWatch {
    pid_t pid;
    GwFd log;           /* -1: not readable */
    char *counter_path; /* NULL: none */
    gint64 counter;     /* when the watch began */
};

/* --- control groups -------------------------------------------------------------------------------- */

/* The file that counts, by the line of /proc/PID/cgroup: "0::/a/b" or "4:memory:/a/b". */
static char *
counter_path (const char *line)
{
    static const struct {
        const char *controller, *root, *file;
    } kinds[] = {
        { "", "/sys/fs/cgroup", "memory.events" },
        { "memory", "/sys/fs/cgroup/memory", "memory.oom_control" },
    };
    g_auto (GStrv) parts = g_strsplit (line, ":", 3);
    for (guint i = 0; g_strv_length (parts) == 3 && i < G_N_ELEMENTS (kinds); i++) {
        if (strcmp (parts[1], kinds[i].controller) != 0)
            continue;
        g_autofree char *path = g_build_filename (kinds[i].root, parts[2], kinds[i].file, NULL);
        if (g_file_test (path, G_FILE_TEST_IS_REGULAR))
            return g_steal_pointer (&path);
    }
    return NULL;
}

static char *
find_counter (pid_t pid)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/cgroup", (int) pid);
    g_autofree char *text = NULL;
    if (!g_file_get_contents (path, &text, NULL, NULL))
        return NULL;
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    char *found = NULL;
    for (gsize i = 0; lines[i] != NULL && found == NULL; i++)
        found = counter_path (lines[i]);
    return found;
}

static gint64
read_counter (const char *path)
{
    g_autofree char *text = NULL;
    if (path == NULL || !g_file_get_contents (path, &text, NULL, NULL))
        return 0;
    const char *at = g_str_has_prefix (text, "oom_kill ") ? text : strstr (text, "\noom_kill ");
    return at != NULL ? g_ascii_strtoll (strchr (at, ' '), NULL, 10) : 0;
}

/* --- the kernel's log --------------------------------------------------------------------------------- */

gboolean
gw_oom_record_names (const char *record, pid_t pid)
{
    const char *at = strstr (record, "Killed process ");
    return at != NULL && g_ascii_strtoll (at + strlen ("Killed process "), NULL, 10) == pid;
}

/* One record a read(); EPIPE: some were overwritten. */
static gboolean
log_names (GwOomWatch *watch)
{
    char record[RECORD_MAX + 1];
    gboolean is_named = FALSE;
    for (guint i = 0; watch->log >= 0 && i < RECORDS_MAX; i++) {
        ssize_t n = read (watch->log, record, RECORD_MAX);
        if (n < 0 && errno == EPIPE)
            continue;
        if (n <= 0)
            break;
        record[n] = '\0';
        is_named |= gw_oom_record_names (record, watch->pid);
    }
    return is_named;
}

/* --- the watch ------------------------------------------------------------------------------------------ */

GwOomWatch *
gw_oom_watch_new (pid_t pid)
{
    GwOomWatch *watch = g_new0 (GwOomWatch, 1);
    watch->pid = pid;
    watch->log = open ("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (watch->log >= 0)
        (void) lseek (watch->log, 0, SEEK_END);
    watch->counter_path = find_counter (pid);
    watch->counter = read_counter (watch->counter_path);
    return watch;
}

gboolean
gw_oom_watch_has_killed (GwOomWatch *watch)
{
    if (log_names (watch))
        return TRUE;
    return watch->log < 0 && read_counter (watch->counter_path) > watch->counter;
}

void
gw_oom_watch_free (GwOomWatch *watch)
{
    if (watch == NULL)
        return;
    gw_fd_clear (&watch->log);
    g_free (watch->counter_path);
    g_free (watch);
}
