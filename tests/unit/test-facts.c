/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Facts of a host: the QEMU that may be started, and paths. */
#include "test-host-dir.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A program in `name` of which the configuration allows the directories a and b. */
static void
add_program (Dir *dir, const char *name, const char *script)
{
    g_autofree char *text = g_strconcat ("#!/bin/sh\n", script, NULL);
    g_autofree char *path = dir_path (dir, name);
    g_assert_true (
        g_file_set_contents_full (path, text, -1, G_FILE_SET_CONTENTS_NONE, 0755, NULL));
    g_strfreev (dir->config->qemu_dirs);
    dir->config->qemu_dirs = g_new0 (char *, 3);
    dir->config->qemu_dirs[0] = g_build_filename (dir->path, "a", NULL);
    dir->config->qemu_dirs[1] = g_build_filename (dir->path, "b", NULL);
}

static void
test_find_qemu (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    add_program (dir, "b/qemu-system-test", "");
    add_program (dir, "c/qemu-system-not-allowed", "");
    add_program (dir, "a/another", "");
    dir_write (dir, "a/qemu-system-not-executable", "", 0);
    g_free (dir_path (dir, "a/qemu-system-dir/x")); /* a directory of that name */
    g_autofree char *found = gw_find_qemu (dir->config, "qemu-system-test", &error);
    g_assert_no_error (error);
    g_assert_true (g_str_has_suffix (found, "/b/qemu-system-test"));
    add_program (dir, "a/qemu-system-test", "");
    g_autofree char *first = gw_find_qemu (dir->config, "qemu-system-test", &error);
    g_assert_true (g_str_has_suffix (first, "/a/qemu-system-test"));

    static const char *const names[] = { "/bin/qemu-system-test", "../c/qemu-system-not-allowed", "",
                                         "./qemu-system-test", ".qemu", "another" };
    for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
        g_assert_null (gw_find_qemu (dir->config, names[i], &error));
        assert_error (&error, GW_CAUSE_BINARY_MISSING, "is not the name of a QEMU program");
    }
    g_assert_null (gw_find_qemu (dir->config, NULL, &error));
    assert_error (&error, GW_CAUSE_BINARY_MISSING, "is not the name of a QEMU program");
    static const char *const absent[] = { "qemu-system-not-allowed", "qemu-system-not-executable", "qemu-system-dir",
                                          "qemu-system-nowhere" };
    for (guint i = 0; i < G_N_ELEMENTS (absent); i++) {
        g_assert_null (gw_find_qemu (dir->config, absent[i], &error));
        assert_error (&error, GW_CAUSE_BINARY_MISSING, dir->config->qemu_dirs[1]);
    }
}

static GwHostFacts *
read_facts (Dir *dir, const char *qemu, const char *const *paths)
{
    return gw_read_host_facts (dir->config, dir->context, qemu, paths, NULL);
}

static void
test_qemu (void)
{
    g_autoptr (Dir) dir = dir_new ();
    add_program (
        dir, "a/qemu-system-facts",
        "if [ \"$1\" = -version ]; then\n"
        "echo 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)'\n"
        "echo 'Copyright (c) version 9'\n"
        "elif [ \"$1 $2\" = '-machine help' ]; then\n"
        "echo 'Supported machines are:'\n"
        "echo 'microvm              microvm (i386)'\n"
        "echo 'pc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-7.2)'\n"
        "echo 'pc-i440fx-7.2        Standard PC (i440FX + PIIX, 1996) (default)'\n"
        "echo 'pc-q35-2.4           Standard PC (Q35 + ICH9, 2009) (deprecated)'\n"
        "fi\n");
    const char *const machines[] = { "microvm", "pc-i440fx-7.2", "pc-q35-2.4", NULL };
    g_autoptr (GwHostFacts) facts = read_facts (dir, "qemu-system-facts", NULL);
    g_assert_true (g_str_has_suffix (facts->qemu_binary, "/a/qemu-system-facts"));
    g_assert_cmpstr (facts->qemu_version, ==, "7.2.22 (Debian 1:7.2+dfsg-7)");
    g_assert_cmpstrv (facts->machines, machines);
    g_assert_null (facts->qemu_error);
}

static void
test_qemu_that_fails (void)
{
    static const char *const scripts[] = { "exit 1\n", "echo no words\n", "kill -9 $$\n" };
    for (guint i = 0; i < G_N_ELEMENTS (scripts); i++) {
        g_autoptr (Dir) dir = dir_new ();
        add_program (dir, "a/qemu-system-facts", scripts[i]);
        g_autoptr (GwHostFacts) facts = read_facts (dir, "qemu-system-facts", NULL);
        g_assert_null (facts->qemu_version);
        g_assert_nonnull (strstr (facts->qemu_error, "does not print a version"));
    }
    g_autoptr (Dir) dir = dir_new ();
    add_program (dir, "a/qemu-system-facts", "");
    g_autoptr (GwHostFacts) facts = read_facts (dir, "qemu-system-other", NULL);
    g_assert_null (facts->qemu_binary);
    g_assert_nonnull (strstr (facts->qemu_error, "there is no program 'qemu-system-other'"));
}

/* What is told can be sent. */
static void
test_host (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    g_autoptr (GwHostFacts) facts = read_facts (dir, NULL, NULL);
    g_autoptr (JsonObject) json = gw_struct_to_json (&gw_host_facts_type, facts);
    g_autoptr (GwHostFacts) again = gw_struct_from_json (&gw_host_facts_type, json, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (again->hostname, ==, facts->hostname);
    g_assert_cmpuint (strlen (facts->boot_id), ==, 36);
    g_assert_cmpint (facts->mem_total_bytes, >, 0);
    g_assert_cmpint (facts->mem_available_bytes, >, 0);
    g_assert_cmpint (facts->mem_available_bytes, <=, facts->mem_total_bytes);
    g_assert_cmpint (facts->uid, ==, geteuid ());
    g_assert_true (facts->qemu_binary == NULL && facts->qemu_error == NULL);
}

static int
make_socket (const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_assert_cmpuint (strlen (path), <, sizeof address.sun_path);
    strcpy (address.sun_path, path);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_no_errno (bind (fd, (struct sockaddr *) &address, sizeof address));
    return fd;
}

static void
test_paths (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autofree char *file = dir_path (dir, "file");
    g_autofree char *missing = dir_path (dir, "missing");
    g_autofree char *live = dir_path (dir, "live");
    g_autofree char *dead = dir_path (dir, "dead");
    dir_write (dir, "file", "12345", -1);
    g_auto (GwFd) listener = make_socket (live);
    g_assert_no_errno (listen (listener, 4));
    gw_fd_clear (&(GwFd){ make_socket (dead) });
    const char *const paths[] = { file, missing, live, dead, "/dev/null", NULL };
    g_autoptr (GwHostFacts) facts = read_facts (dir, NULL, paths);
    struct stat st;
    g_assert_no_errno (stat (file, &st));
    for (guint i = 0; i < 5; i++) {
        const GwPathFacts *path = facts->paths->pdata[i];
        g_assert_cmpstr (path->path, ==, paths[i]);
        g_assert_true (path->exists == (i != 1));
        g_assert_true (path->is_live == (i == 2));
    }
    const GwPathFacts *first = facts->paths->pdata[0];
    g_assert_cmpint (first->bytes, ==, 5);
    g_assert_cmpint (first->st_ino, ==, (gint64) st.st_ino);
    g_assert_cmpint (first->st_dev, ==, (gint64) st.st_dev);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/facts/find-qemu", test_find_qemu);
    g_test_add_func ("/facts/qemu", test_qemu);
    g_test_add_func ("/facts/qemu-that-fails", test_qemu_that_fails);
    g_test_add_func ("/facts/host", test_host);
    g_test_add_func ("/facts/paths", test_paths);
    return g_test_run ();
}
