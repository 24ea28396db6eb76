/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is made in the file system, and that nothing of others is ever removed. */
#include "test-host-dir.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A socket nobody listens on, as QEMU makes it: what was there is removed. */
static void
make_socket (const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_assert_cmpuint (strlen (path), <, sizeof address.sun_path);
    strcpy (address.sun_path, path);
    (void) unlink (path);
    g_auto (GwFd) fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_no_errno (bind (fd, (struct sockaddr *) &address, sizeof address));
}

static void
make_file (const char *path)
{
    g_assert_true (g_file_set_contents_full (path, "x", 1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

typedef void (*Make) (const char *path);

/* The journal has the identity of what is ours, and of nothing else. */
static void
assert_written (const Dir *dir, const GwCreated *created, const char *path)
{
    g_autoptr (GError) error = NULL;
    struct stat st;
    g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, &error);
    g_assert_no_error (error);
    g_assert_true (gw_created_write (created, journal, "gw-1", &error));
    g_autoptr (JsonArray) list =
        gw_journal_list_objects (journal, "gw-1", GW_SIDE_DESTINATION, &error);
    g_assert_no_error (error);
    for (guint i = 0; i < json_array_get_length (list); i++) {
        JsonObject *object = json_array_get_object_element (list, i);
        gint64 ino = gw_json_peek_int (object, "ino", -1);
        g_assert_cmpstr (gw_json_peek_string (object, "path", NULL), ==, path);
        g_assert_true (ino == 0 || (lstat (path, &st) == 0 && (gint64) st.st_ino == ino &&
                                    (gint64) st.st_dev == gw_json_peek_int (object, "dev", 0)));
    }
}

/* Plays a launch: what is there before, what QEMU makes, what another makes afterwards. */
static void
assert_outcome (Make before, Make qemu, Make after, gboolean is_there)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autofree char *path = dir_path (dir, "x");
    const char *const paths[] = { path, NULL };
    if (before != NULL)
        before (path);
    GwCreated *created = gw_created_new (paths);
    if (qemu != NULL)
        qemu (path);
    gw_created_note (created);
    assert_written (dir, created, path);
    if (after != NULL) {
        g_autofree char *aside = g_strconcat (path, ".aside", NULL);
        g_assert_no_errno (rename (path, aside)); /* keeps the inode from being used again */
        after (path);
    }
    gw_created_remove (created);
    gw_created_free (created);
    g_assert_true (g_file_test (path, G_FILE_TEST_EXISTS) == is_there);
}

static void
make_directory (const char *path)
{
    g_assert_no_errno (mkdir (path, 0700));
}

static void
make_symlink (const char *path)
{
    g_assert_no_errno (symlink ("/etc/passwd", path));
}

static void
test_created (void)
{
    assert_outcome (NULL, make_socket, NULL, FALSE);
    assert_outcome (NULL, make_file, NULL, FALSE);
    assert_outcome (NULL, NULL, NULL, FALSE);
    assert_outcome (make_file, NULL, NULL, TRUE);
    assert_outcome (make_file, make_file, NULL, TRUE);
    assert_outcome (make_socket, make_socket, NULL, FALSE);
    assert_outcome (make_socket, NULL, NULL, TRUE);
    assert_outcome (NULL, make_socket, make_socket, TRUE);
    assert_outcome (NULL, make_file, make_file, TRUE);
    assert_outcome (NULL, make_directory, NULL, TRUE);
    assert_outcome (NULL, make_symlink, NULL, TRUE);
    assert_outcome (make_symlink, make_file, NULL, TRUE);
}

/* QEMU goes on writing into what it made. */
static void
test_written_later (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autofree char *path = dir_path (dir, "log");
    const char *const paths[] = { path, NULL };
    GwCreated *created = gw_created_new (paths);
    make_file (path);
    gw_created_note (created);
    g_autoptr (GFile) file = g_file_new_for_path (path);
    g_autoptr (GFileOutputStream) out = g_file_append_to (file, G_FILE_CREATE_NONE, NULL, NULL);
    g_assert_true (g_output_stream_write_all (G_OUTPUT_STREAM (out), "more", 4, NULL, NULL, NULL));
    gw_created_remove (created);
    gw_created_free (created);
    g_assert_false (g_file_test (path, G_FILE_TEST_EXISTS));
    gw_created_free (NULL);
    gw_created_free (gw_created_new (NULL));
}

/* --- directories ----------------------------------------------------------------------------------- */

static void
test_job_ids (void)
{
    g_autofree char *longest = g_strnfill (64, 'j');
    g_autofree char *too_long = g_strnfill (65, 'j');
    const char *const good[] = { "a", "gw-1234abCD", "0", longest };
    const char *const bad[] = { NULL, "", "-a", ".", "..", "a/b", "a.b", "a b", "a\n", "\xc3\xa4",
                                "a_b", too_long };
    for (guint i = 0; i < G_N_ELEMENTS (good); i++)
        g_assert_true (gw_job_id_is_valid (good[i]));
    for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
        g_assert_false (gw_job_id_is_valid (bad[i]));
}

static void
test_directory_names (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autofree char *source = gw_directory_for_job (dir->config, "gw-1", GW_SIDE_SOURCE);
    g_autofree char *destination = gw_directory_for_job (dir->config, "gw-1", GW_SIDE_DESTINATION);
    g_autofree char *vm = gw_directory_for_vm (dir->config, "gw-1");
    g_assert_true (g_str_has_suffix (source, "/jobs/gw-1-src"));
    g_assert_true (g_str_has_suffix (destination, "/jobs/gw-1-dst"));
    g_assert_true (g_str_has_suffix (vm, "/vms/gw-1"));
    g_assert_true (g_str_has_prefix (vm, dir->path));
}

/* A socket in a job's directory must fit into 107 bytes, wherever the state directory is. */
static void
test_long_state_directory (void)
{
    g_autofree char *name = g_strnfill (120, 'd');
    g_autofree char *long_path = g_strconcat ("/var/", name, NULL);
    g_autofree char *other_path = g_strconcat (long_path, "2", NULL);
    g_autoptr (GwHostConfig) config = gw_host_config_new (long_path);
    g_autoptr (GwHostConfig) other = gw_host_config_new (other_path);
    g_autofree char *dir = gw_directory_for_job (config, "gw-12345678", GW_SIDE_DESTINATION);
    g_assert_cmpstr (config->state_dir, ==, long_path);
    g_assert_cmpstr (config->runtime_dir, !=, other->runtime_dir);
    g_assert_cmpuint (strlen (dir) + strlen ("/multifd-15.sock"), <=, 107);
}

static void
test_directories (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    struct stat st;
    g_autofree char *path = g_build_filename (dir->path, "p", "q", "x", NULL);
    g_autofree char *parent = g_path_get_dirname (path);
    g_assert_true (gw_directory_make (path, NULL, &error));
    g_assert_true (gw_directory_make (path, NULL, &error));
    g_assert_no_error (error);
    g_assert_no_errno (stat (path, &st));
    g_assert_cmpuint (st.st_mode & 0777, ==, 0700);
    g_assert_no_errno (stat (parent, &st));
    g_assert_cmpuint (st.st_mode & 0777 & ~0711u, ==, 0);

    dir_write (dir, "p/q/x/file", "", 0);
    gw_directory_remove (path);
    g_assert_false (g_file_test (path, G_FILE_TEST_EXISTS));
    gw_directory_remove (path);

    dir_write (dir, "file", "", 0);
    g_autofree char *below_file = g_build_filename (dir->path, "file", "x", NULL);
    g_assert_false (gw_directory_make (below_file, NULL, &error));
    assert_error (&error, GW_CAUSE_HOST_IO, "cannot make directory");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/created/ours-and-others", test_created);
    g_test_add_func ("/created/written-later", test_written_later);
    g_test_add_func ("/directories/job-ids", test_job_ids);
    g_test_add_func ("/directories/names", test_directory_names);
    g_test_add_func ("/directories/long-state-directory", test_long_state_directory);
    g_test_add_func ("/directories/make-and-remove", test_directories);
    return g_test_run ();
}
