/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a disk image really is: the file behind its name, the identity of its device, and who has
 * locked it.
 */
#include "host-internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define HOLDERS_MAX 16

/* --- identity ------------------------------------------------------------------------------------ */

/* Of a block device: what its maker, or LVM, gave it and nobody else has.  (transfer full) */
static char *
read_device_identity (dev_t device)
{
    static const char *const names[] = { "wwid", "device/wwid", "dm/uuid", "serial",
                                         "device/serial" };
    for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
        g_autofree char *path = g_strdup_printf ("/sys/dev/block/%u:%u/%s", major (device),
                                                 minor (device), names[i]);
        g_autofree char *text = NULL;
        if (g_file_get_contents (path, &text, NULL, NULL) && *g_strstrip (text) != '\0')
            return g_strdup_printf ("%s %s", names[i], text);
    }
    return NULL;
}

/* --- locks ----------------------------------------------------------------------------------------- */

/* "1: OFDLCK  ADVISORY  READ -1 08:01:1234 201 201"; the device there is not always that of stat(). */
static gboolean
names_lock_of (const char *text, const struct stat *st)
{
    g_autofree char *file = g_strdup_printf (":%" G_GUINT64_FORMAT " ", (guint64) st->st_ino);
    return strstr (text, file) != NULL;
}

static gboolean
holds_lock (const char *pid, const struct stat *st)
{
    g_autofree char *directory = g_strdup_printf ("/proc/%s/fd", pid);
    g_autoptr (GDir) fds = g_dir_open (directory, 0, NULL);
    const char *name;
    while (fds != NULL && (name = g_dir_read_name (fds)) != NULL) {
        g_autofree char *link = g_build_filename (directory, name, NULL);
        g_autofree char *info = g_strdup_printf ("/proc/%s/fdinfo/%s", pid, name);
        g_autofree char *text = NULL;
        struct stat other;
        if (stat (link, &other) == 0 && other.st_ino == st->st_ino && other.st_dev == st->st_dev &&
            g_file_get_contents (info, &text, NULL, NULL) && names_lock_of (text, st))
            return TRUE;
    }
    return FALSE;
}

static void
add_holder (GPtrArray *holders, const char *pid)
{
    g_autofree char *path = g_strdup_printf ("/proc/%s/comm", pid);
    g_autofree char *name = NULL;
    GwLockHolder *holder = g_new0 (GwLockHolder, 1);
    holder->pid = g_ascii_strtoll (pid, NULL, 10);
    holder->name = g_file_get_contents (path, &name, NULL, NULL) ? g_strdup (g_strstrip (name))
                                                                : g_strdup ("");
    g_ptr_array_add (holders, holder);
}

/* A lock that another host holds is not seen here. */
static void
read_holders (GPtrArray *holders, const struct stat *st)
{
    g_autofree char *locks = NULL;
    if (g_file_get_contents ("/proc/locks", &locks, NULL, NULL) && !names_lock_of (locks, st))
        return;
    g_autoptr (GDir) processes = g_dir_open ("/proc", 0, NULL);
    const char *name;
    while (processes != NULL && holders->len < HOLDERS_MAX &&
           (name = g_dir_read_name (processes)) != NULL)
        if (g_ascii_isdigit (*name) && holds_lock (name, st))
            add_holder (holders, name);
}

/* --- all ---------------------------------------------------------------------------------------------- */

void
gw_read_image_facts (GwPathFacts *facts)
{
    struct stat st;
    if (stat (facts->path, &st) != 0 || (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode)))
        return;
    char *real = realpath (facts->path, NULL);
    facts->real_path = g_strdup (real);
    free (real);
    if (S_ISBLK (st.st_mode))
        facts->device_identity = read_device_identity (st.st_rdev);
    read_holders (facts->holders, &st);
}
