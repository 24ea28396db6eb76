/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a QEMU program says of itself.
 *
 * Starting it three times to ask costs tens of milliseconds of every move, so the answers are kept in
 * `STATE/qemu/`, one file a program, with the identity of the program's file.  A script says nothing
 * about the program that it runs, so that only an ELF file is remembered.
 */
#include "host-internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROBE_MS 10000
#define N_PROBES 3

/* --- asking ----------------------------------------------------------------------------------- */

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
    const Probe *probes = user_data;
    for (guint i = 0; i < N_PROBES; i++)
        if (!probes[i].is_done)
            return FALSE;
    return TRUE;
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
finish_probes (Probe probes[static N_PROBES], GMainContext *context)
{
    if (gw_wait_until (context, is_done, probes, gw_deadline_ms (PROBE_MS), NULL, NULL))
        return;
    for (guint i = 0; i < N_PROBES; i++)
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

/* "name \"virtio-net-pci\", bus PCI, alias \"virtio-net\"" */
static GStrv
parse_devices (const char *text)
{
    static const char start[] = "name \"";
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    g_auto (GStrv) lines = g_strsplit (text != NULL ? text : "", "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        if (!g_str_has_prefix (lines[i], start))
            continue;
        const char *at = lines[i] + strlen (start);
        g_autofree char *name = g_strndup (at, strcspn (at, "\""));
        g_strv_builder_add (builder, name);
    }
    return g_strv_builder_end (builder);
}

static void
ask (GwQemuFacts *facts, const char *path, GMainContext *context)
{
    Probe probes[N_PROBES] = { 0 };
    g_main_context_push_thread_default (context);
    start_probe (&probes[0], path, "-version", NULL);
    start_probe (&probes[1], path, "-machine", "help");
    start_probe (&probes[2], path, "-device", "help");
    finish_probes (probes, context);
    g_main_context_pop_thread_default (context);
    facts->version = parse_version (probes[0].output);
    facts->machines = parse_machines (probes[1].output);
    facts->devices = parse_devices (probes[2].output);
    for (guint i = 0; i < N_PROBES; i++) {
        g_clear_object (&probes[i].child);
        g_free (probes[i].output);
    }
}

/* --- remembering ------------------------------------------------------------------------------ */

static gboolean
is_elf (int fd)
{
    char magic[4];
    return pread (fd, magic, sizeof magic, 0) == sizeof magic && memcmp (magic, "\177ELF", 4) == 0;
}

char *
gw_qemu_identify (const char *path)
{
    struct stat st;
    g_auto (GwFd) fd = open (path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat (fd, &st) != 0 || !is_elf (fd))
        return NULL;
    return g_strdup_printf ("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT ":%" G_GINT64_FORMAT
                            ":%" G_GINT64_FORMAT ".%09ld:%" G_GINT64_FORMAT ".%09ld",
                            (guint64) st.st_dev, (guint64) st.st_ino, (gint64) st.st_size,
                            (gint64) st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                            (gint64) st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

char *
gw_qemu_cache_path (const GwHostConfig *config, const char *path, const char *subject)
{
    g_autofree char *key = g_strconcat (path, "\n", subject, NULL);
    g_autofree char *sum = g_compute_checksum_for_string (G_CHECKSUM_SHA256, key, -1);
    g_autofree char *name = g_strdup_printf ("%.16s.json", sum);
    return g_build_filename (config->state_dir, "qemu", name, NULL);
}

gpointer
gw_qemu_recall (const char *file, const char *identity, const GwStructType *type)
{
    g_autofree char *text = NULL;
    gsize len;
    if (identity == NULL || !g_file_get_contents (file, &text, &len, NULL))
        return NULL;
    g_autoptr (JsonObject) object = gw_json_parse (text, (gssize) len, NULL);
    if (object == NULL || strcmp (gw_json_peek_string (object, "identity", ""), identity) != 0)
        return NULL;
    return gw_struct_from_json (type, object, NULL);
}

void
gw_qemu_remember (const char *file, gconstpointer data, const GwStructType *type)
{
    g_autofree char *directory = g_path_get_dirname (file);
    g_autoptr (JsonObject) object = gw_struct_to_json (type, data);
    g_autofree char *text = gw_json_to_text (object, FALSE);
    if (gw_directory_make (directory, NULL, NULL))
        (void) g_file_set_contents_full (file, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600,
                                         NULL);
}

GwQemuFacts *
gw_qemu_read_facts (const GwHostConfig *config, GMainContext *context, const char *path)
{
    g_autofree char *file = gw_qemu_cache_path (config, path, "");
    g_autofree char *identity = gw_qemu_identify (path);
    g_autoptr (GwQemuFacts) facts = gw_qemu_recall (file, identity, &gw_qemu_facts_type);
    if (facts != NULL && facts->devices != NULL && facts->devices[0] != NULL)
        return g_steal_pointer (&facts);
    gw_qemu_facts_free (facts);
    facts = gw_struct_new (&gw_qemu_facts_type);
    facts->identity = g_strdup (identity);
    ask (facts, path, context);
    /* an answer that is not whole is not kept */
    if (identity != NULL && facts->version != NULL && facts->machines[0] != NULL)
        gw_qemu_remember (file, facts, &gw_qemu_facts_type);
    return g_steal_pointer (&facts);
}
