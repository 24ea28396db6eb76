/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#define PROBE_MS 10000

static char *
read_line (const char *path)
{
    char *text = NULL;
    if (!g_file_get_contents (path, &text, NULL, NULL))
        return g_strdup ("unknown");
    return g_strstrip (text);
}

/* "MemAvailable:   23456 kB" of /proc/meminfo */
static gint64
meminfo (const char *text, const char *name)
{
    const char *line = strstr (text, name);
    return line != NULL ? g_ascii_strtoll (line + strlen (name), NULL, 10) * 1024 : 0;
}

static void
read_memory (GwHostFacts *facts)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents ("/proc/meminfo", &text, NULL, NULL))
        return;
    facts->mem_total_bytes = meminfo (text, "MemTotal:");
    facts->mem_available_bytes = meminfo (text, "MemAvailable:");
}

/* --- paths ------------------------------------------------------------------------------------------------ */

/* Whether somebody listens on the unix socket: a connection is made and dropped at once. */
static gboolean
has_listener (const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen (path) >= sizeof address.sun_path)
        return FALSE;
    memcpy (address.sun_path, path, strlen (path));
    g_auto (GwFd) fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && connect (fd, (struct sockaddr *) &address, sizeof address) == 0;
}

static GwPathFacts *
read_path (const char *path)
{
    GwPathFacts *facts = g_new0 (GwPathFacts, 1);
    struct stat st;
    facts->path = g_strdup (path);
    if (stat (path, &st) != 0)
        return facts;
    facts->exists = TRUE;
    facts->bytes = st.st_size;
    facts->st_dev = (gint64) (S_ISBLK (st.st_mode) ? st.st_rdev : st.st_dev);
    facts->st_ino = (gint64) (S_ISBLK (st.st_mode) ? 1 : st.st_ino);
    facts->is_live = S_ISSOCK (st.st_mode) && has_listener (path);
    return facts;
}

/* --- QEMU ---------------------------------------------------------------------------------------------------- */

char *
gw_find_qemu (const GwHostConfig *config, const char *qemu, GError **error)
{
    /* a base name only: the directories are this host's choice */
    if (qemu == NULL || *qemu == '\0' || *qemu == '.' || strchr (qemu, '/') != NULL ||
        strstr (qemu, "qemu") == NULL) {
        gw_fail (error, GW_CAUSE_BINARY_MISSING, "'%s' is not the name of a QEMU program",
                 qemu != NULL ? qemu : "");
        return NULL;
    }
    for (gsize i = 0; config->qemu_dirs[i] != NULL; i++) {
        char *path = g_build_filename (config->qemu_dirs[i], qemu, NULL);
        if (g_file_test (path, G_FILE_TEST_IS_EXECUTABLE) && !g_file_test (path, G_FILE_TEST_IS_DIR))
            return path;
        g_free (path);
    }
    g_autofree char *dirs = g_strjoinv (", ", config->qemu_dirs);
    gw_fail (error, GW_CAUSE_BINARY_MISSING, "there is no program '%s' in %s", qemu, dirs);
    return NULL;
}

/* One run of QEMU that prints something and ends. */
typedef struct {
    GSubprocess *child;
    char *output;
    gboolean is_done;
} Probe;

static void
on_output (GObject *object, GAsyncResult *result, gpointer user_data)
{
    Probe *probe = user_data;
    (void) g_subprocess_communicate_utf8_finish (G_SUBPROCESS (object), result, &probe->output,
                                                 NULL, NULL);
    probe->is_done = TRUE;
}

static gboolean
is_done (gpointer user_data)
{
    Probe *probes = user_data;
    return probes[0].is_done && probes[1].is_done;
}

static void
start_probe (Probe *probe, const char *qemu, const char *option, const char *argument)
{
    const char *argv[] = { qemu, option, argument, NULL };
    probe->child = g_subprocess_newv (
        argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE, NULL);
    if (probe->child != NULL)
        g_subprocess_communicate_utf8_async (probe->child, NULL, NULL, on_output, probe);
    else
        probe->is_done = TRUE;
}

/* A probe that outlives its time is killed, and its callback then comes at once. */
static void
finish_probes (Probe probes[static 2], GMainContext *context)
{
    if (gw_wait_until (context, is_done, probes, gw_deadline_ms (PROBE_MS), NULL, NULL))
        return;
    for (guint i = 0; i < 2; i++)
        if (!probes[i].is_done)
            g_subprocess_force_exit (probes[i].child);
    (void) gw_wait_until (context, is_done, probes, G_MAXINT64, NULL, NULL);
}

/* "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n..." -> "7.2.22 (Debian 1:7.2+dfsg-7)" */
static char *
parse_version (const char *text)
{
    const char *start = text != NULL ? strstr (text, "version ") : NULL;
    if (start == NULL)
        return NULL;
    start += strlen ("version ");
    return g_strndup (start, strcspn (start, "\n"));
}

/* "pc-q35-7.2           Standard PC (Q35 + ICH9, 2009)"; aliases say so */
static GStrv
parse_machines (const char *text)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    g_auto (GStrv) lines = g_strsplit (text != NULL ? text : "", "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        gsize len = strcspn (lines[i], " ");
        if (len == 0 || lines[i][len] == '\0' || strstr (lines[i], "(alias of ") != NULL ||
            g_str_has_prefix (lines[i], "Supported machines"))
            continue;
        g_autofree char *name = g_strndup (lines[i], len);
        g_strv_builder_add (builder, name);
    }
    return g_strv_builder_end (builder);
}

static void
probe_qemu (GwHostFacts *facts, GMainContext *context)
{
    Probe probes[2] = { 0 };
    g_main_context_push_thread_default (context);
    start_probe (&probes[0], facts->qemu_binary, "-version", NULL);
    start_probe (&probes[1], facts->qemu_binary, "-machine", "help");
    finish_probes (probes, context);
    g_main_context_pop_thread_default (context);
    facts->qemu_version = parse_version (probes[0].output);
    facts->machines = parse_machines (probes[1].output);
    if (facts->qemu_version == NULL)
        facts->qemu_error = g_strdup_printf ("'%s -version' does not print a version",
                                             facts->qemu_binary);
    for (guint i = 0; i < 2; i++) {
        g_clear_object (&probes[i].child);
        g_free (probes[i].output);
    }
}

GwHostFacts *
gw_read_host_facts (const GwHostConfig *config, GMainContext *context, const char *qemu,
                    const char *const *paths, GCancellable *cancellable)
{
    GwHostFacts *facts = gw_struct_new (&gw_host_facts_type);
    g_autoptr (GError) error = NULL;
    struct utsname uts;
    facts->hostname = g_strdup (g_get_host_name ());
    facts->boot_id = read_line ("/proc/sys/kernel/random/boot_id");
    facts->kernel = g_strdup (uname (&uts) == 0 ? uts.release : NULL);
    facts->data_addresses = g_strdupv (config->data_addresses);
    facts->uid = geteuid ();
    read_memory (facts);
    for (gsize i = 0; paths != NULL && paths[i] != NULL; i++)
        g_ptr_array_add (facts->paths, read_path (paths[i]));
    if (qemu == NULL)
        return facts;
    facts->qemu_binary = gw_find_qemu (config, qemu, &error);
    if (facts->qemu_binary != NULL)
        probe_qemu (facts, context);
    else
        facts->qemu_error = g_strdup (error->message);
    return facts;
}
