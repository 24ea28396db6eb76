/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory of its own for each test, and what it holds.  Who needs more in a Dir than its path defines
 * TEST_DIR_MORE, a list of members, and makes and frees it himself. */
#ifndef TEST_STATE_DIR_H
#define TEST_STATE_DIR_H

#include "base.h"

#include <glib/gstdio.h>
#include <string.h>

typedef struct {
    char *path;
#ifdef TEST_DIR_MORE
    TEST_DIR_MORE
#endif
} Dir;

static inline void
dir_remove_tree (const char *path)
{
    g_autoptr (GDir) list = g_file_test (path, G_FILE_TEST_IS_SYMLINK) ? NULL
                                                                       : g_dir_open (path, 0, NULL);
    const char *name;
    while (list != NULL && (name = g_dir_read_name (list)) != NULL) {
        g_autofree char *child = g_build_filename (path, name, NULL);
        dir_remove_tree (child);
    }
    g_assert_cmpint (g_remove (path), ==, 0);
}

static inline Dir *
dir_make (void)
{
    g_autoptr (GError) error = NULL;
    Dir *dir = g_new0 (Dir, 1);
    dir->path = g_dir_make_tmp ("godwit-test-XXXXXX", &error);
    g_assert_no_error (error);
    return dir;
}

#ifndef TEST_DIR_MORE
static inline Dir *
dir_new (void)
{
    return dir_make ();
}

static inline void
dir_free (Dir *dir)
{
    dir_remove_tree (dir->path);
    g_free (dir->path);
    g_free (dir);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Dir, dir_free)
#endif

/* `name` below the directory, whose parents are made.  (transfer full) */
static inline char *
dir_path (const Dir *dir, const char *name)
{
    char *path = g_build_filename (dir->path, name, NULL);
    g_autofree char *parent = g_path_get_dirname (path);
    g_assert_cmpint (g_mkdir_with_parents (parent, 0700), ==, 0);
    return path;
}

static inline void
dir_write (const Dir *dir, const char *name, const char *text, gssize len)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *path = dir_path (dir, name);
    g_file_set_contents (path, text, len, &error);
    g_assert_no_error (error);
}

static inline char *
dir_read (const Dir *dir, const char *name, gsize *ret_len)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *path = dir_path (dir, name);
    char *text = NULL;
    g_file_get_contents (path, &text, ret_len, &error);
    g_assert_no_error (error);
    return text;
}

static inline void
assert_error (GError **error, GwCause cause, const char *part)
{
    g_assert_nonnull (*error);
    g_assert_cmpint (gw_error_get_cause (*error), ==, cause);
    if (strstr ((*error)->message, part) == NULL)
        g_error ("'%s' does not say '%s'", (*error)->message, part);
    g_clear_error (error);
}

#endif
