/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What tells read-only media apart. */
#include "host-internal.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    char *directory;
} Place;

static void
place_set_up (Place *place, gconstpointer data)
{
    place->directory = g_dir_make_tmp ("godwit-contents-XXXXXX", NULL);
    g_assert_nonnull (place->directory);
}

static void
place_tear_down (Place *place, gconstpointer data)
{
    g_assert_cmpint (g_rmdir (place->directory), ==, 0);
    g_free (place->directory);
}

static char *
read_one (const char *path)
{
    const char *const paths[] = { path, NULL };
    g_autoptr (JsonObject) params = gw_json_new ("paths:v", paths, NULL);
    g_autoptr (GwHostConfig) config = gw_host_config_new ("/nowhere");
    LocalHost local = { .config = config };
    g_autoptr (JsonObject) result = gw_local_read_contents (&local, params, NULL, NULL);
    g_assert_nonnull (result);
    g_auto (GStrv) contents = gw_json_peek_strv (result, "contents");
    g_assert_cmpuint (g_strv_length (contents), ==, 1);
    return g_strdup (contents[0]);
}

/* The hash of a file of zeroes but for one byte; it is gone afterwards. */
static char *
hash_with (const Place *place, gint64 bytes, gint64 at, char byte)
{
    g_autofree char *path = g_build_filename (place->directory, "medium", NULL);
    g_auto (GwFd) fd = open (path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    g_assert_cmpint (ftruncate (fd, bytes), ==, 0);
    g_assert_cmpint (pwrite (fd, &byte, 1, at), ==, 1);
    char *content = read_one (path);
    g_assert_cmpint (g_unlink (path), ==, 0);
    return content;
}

static void
assert_differs (const Place *place, gint64 bytes, gint64 at)
{
    g_autofree char *one = hash_with (place, bytes, at, 1), *again = hash_with (place, bytes, at, 1);
    g_autofree char *other = hash_with (place, bytes, at, 2);
    g_assert_cmpuint (strlen (one), ==, 32);
    g_assert_cmpstr (one, ==, again);
    g_assert_cmpstr (one, !=, other);
}

static void
test_whole (Place *place, gconstpointer data)
{
    gint64 bytes = (3 << 20) + 5;
    assert_differs (place, 1, 0);
    for (gint64 at = 0; at < bytes; at += 700000)
        assert_differs (place, bytes, at);
    assert_differs (place, bytes, bytes - 1);
}

static void
test_large (Place *place, gconstpointer data)
{
    gint64 bytes = ((gint64) 3 << 29) + 5;
    assert_differs (place, bytes, 0);
    assert_differs (place, bytes, bytes - 1);
}

static void
test_no_medium (Place *place, gconstpointer data)
{
    g_autofree char *none = g_build_filename (place->directory, "none", NULL);
    const char *const paths[] = { none, place->directory, "/dev/null" };
    for (guint i = 0; i < G_N_ELEMENTS (paths); i++) {
        g_autofree char *content = read_one (paths[i]);
        g_assert_cmpstr (content, ==, "");
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add ("/contents/whole", Place, NULL, place_set_up, test_whole, place_tear_down);
    g_test_add ("/contents/large", Place, NULL, place_set_up, test_large, place_tear_down);
    g_test_add ("/contents/no-medium", Place, NULL, place_set_up, test_no_medium, place_tear_down);
    return g_test_run ();
}
