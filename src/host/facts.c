/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "allow.h"
#include "host-internal.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

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

gint64
gw_facts_read_available (void)
{
    g_autofree char *text = NULL;
    return g_file_get_contents ("/proc/meminfo", &text, NULL, NULL) ? meminfo (text, "MemAvailable:") : 0;
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

gboolean
gw_path_has_listener (const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen (path) >= sizeof address.sun_path)
        return FALSE;
    memcpy (address.sun_path, path, strlen (path));
    g_auto (GwFd) fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && connect (fd, (struct sockaddr *) &address, sizeof address) == 0;
}

/* 0: not known */
static gint64
block_device_bytes (const char *path)
{
    guint64 bytes = 0;
    g_auto (GwFd) fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || ioctl (fd, BLKGETSIZE64, &bytes) != 0 || bytes > G_MAXINT64)
        return 0;
    return (gint64) bytes;
}

/* What an image could be made in: the file system of the path's directory. */
static void
read_directory (GwPathFacts *facts, const GwHostConfig *config)
{
    struct stat st;
    struct statvfs fs;
    g_autofree char *directory = g_path_get_dirname (facts->path);
    facts->has_directory = stat (directory, &st) == 0 && S_ISDIR (st.st_mode);
    facts->takes_images = gw_images_are_allowed_at (config, facts->path);
    if (!facts->has_directory || statvfs (directory, &fs) != 0)
        return;
    facts->fs_dev = (gint64) st.st_dev;
    facts->free_bytes = (gint64) MIN ((guint64) fs.f_bavail * fs.f_frsize, (guint64) G_MAXINT64);
}

static GwPathFacts *
read_path (const GwHostConfig *config, const char *path)
{
    GwPathFacts *facts = gw_struct_new (&gw_path_facts_type);
    struct stat st;
    facts->path = g_strdup (path);
    facts->is_forbidden = gw_host_config_is_confined (config) && !gw_allow_knows (config, path);
    if (facts->is_forbidden) /* nor is anybody told what is there */
        return facts;
    read_directory (facts, config);
    gw_read_image_facts (facts);
    if (stat (path, &st) != 0)
        return facts;
    facts->exists = TRUE;
    facts->is_device = S_ISBLK (st.st_mode);
    facts->is_partial = gw_image_is_partial (path);
    facts->bytes = st.st_size;
    facts->st_dev = (gint64) (S_ISBLK (st.st_mode) ? st.st_rdev : st.st_dev);
    facts->st_ino = (gint64) (S_ISBLK (st.st_mode) ? 1 : st.st_ino);
    if (S_ISBLK (st.st_mode))
        facts->bytes = block_device_bytes (path);
    facts->is_live = S_ISSOCK (st.st_mode) && gw_path_has_listener (path);
    if (S_ISDIR (st.st_mode))
        gw_read_certificate_facts (facts);
    return facts;
}

/* --- QEMU ---------------------------------------------------------------------------------------------------- */

static gboolean
is_program (const GwHostConfig *config, const char *name)
{
    for (gsize i = 0; config->qemu_programs[i] != NULL; i++)
        if (g_pattern_match_simple (config->qemu_programs[i], name))
            return TRUE;
    return FALSE;
}

static char *
find_in_directories (const GwHostConfig *config, const char *name)
{
    for (gsize i = 0; config->qemu_dirs[i] != NULL; i++) {
        char *path = g_build_filename (config->qemu_dirs[i], name, NULL);
        if (g_file_test (path, G_FILE_TEST_IS_EXECUTABLE) && !g_file_test (path, G_FILE_TEST_IS_DIR))
            return path;
        g_free (path);
    }
    return NULL;
}

char *
gw_find_qemu (const GwHostConfig *config, const char *qemu, GError **error)
{
    /* a base name only: the directories are this host's choice */
    if (qemu == NULL || *qemu == '\0' || *qemu == '.' || strchr (qemu, '/') != NULL || !is_program (config, qemu)) {
        g_autofree char *clean = gw_text_clean (qemu != NULL ? qemu : "", -1, 100);
        g_autofree char *patterns = g_strjoinv (", ", config->qemu_programs);
        gw_fail (error, GW_CAUSE_BINARY_MISSING, "'%s' is not the name of a QEMU program (%s)", clean, patterns);
        return NULL;
    }
    char *found = find_in_directories (config, qemu);
    if (found != NULL)
        return found;
    g_autofree char *dirs = g_strjoinv (", ", config->qemu_dirs);
    gw_fail (error, GW_CAUSE_BINARY_MISSING, "there is no program '%s' in %s", qemu, dirs);
    return NULL;
}

char *
gw_find_qemu_tool (const GwHostConfig *config, const char *name, GError **error)
{
    char *path = find_in_directories (config, name);
    if (path == NULL)
        path = g_find_program_in_path (name);
    if (path == NULL)
        gw_fail (error, GW_CAUSE_DISK_IMAGE, "there is no program '%s' on the destination", name);
    return path;
}

static void
read_qemu (GwHostFacts *facts, const GwHostConfig *config, GMainContext *context)
{
    g_autoptr (GwQemuFacts) qemu = gw_qemu_read_facts (config, context, facts->qemu_binary);
    facts->qemu_version = g_steal_pointer (&qemu->version);
    facts->machines = g_steal_pointer (&qemu->machines);
    facts->device_types = g_steal_pointer (&qemu->devices);
    if (facts->qemu_version == NULL)
        facts->qemu_error = g_strdup_printf ("'%s -version' does not print a version",
                                             facts->qemu_binary);
}

void
gw_add_vm_states (GwHostFacts *facts, const GwHostConfig *config, GMainContext *context,
                  const char *path, const char *machine)
{
    const char *program = path != NULL ? path : facts->qemu_binary;
    g_autoptr (GwVmStates) states =
        program != NULL && machine != NULL
            ? gw_qemu_read_vm_states (config, context, program, machine)
            : NULL;
    if (states == NULL)
        return;
    g_ptr_array_unref (facts->vm_states);
    facts->vm_states = g_steal_pointer (&states->states);
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
    gw_read_neighbours (facts);
    gw_read_kernel_facts (facts);
    facts->now_s = g_get_real_time () / G_USEC_PER_SEC;
    facts->jobs = gw_directory_list_jobs (config);
    for (gsize i = 0; paths != NULL && paths[i] != NULL; i++)
        g_ptr_array_add (facts->paths, read_path (config, paths[i]));
    if (qemu == NULL)
        return facts;
    facts->qemu_binary = gw_find_qemu (config, qemu, &error);
    if (facts->qemu_binary != NULL)
        read_qemu (facts, config, context);
    else
        facts->qemu_error = g_strdup (error->message);
    return facts;
}
