/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VMs that godwit launched: found while they live, forgotten when they are gone. */
#include "test-host-dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UUID "11111111-2222-3333-4444-555555555555"

/* The file of a VM whose process is this one. */
static char *
launch (const Dir *dir, const char *job, const char *name, pid_t pid)
{
    g_autoptr (GError) error = NULL;
    GwHostJob spec = { job, GW_SIDE_DESTINATION, name, UUID, 7 };
    char *vm_dir = gw_directory_for_vm (dir->config, job);
    g_assert_true (gw_directory_make (vm_dir, NULL, &error));
    g_assert_true (gw_vm_file_write (vm_dir, &spec, pid, &error));
    g_assert_no_error (error);
    return vm_dir;
}

static void
assert_found (const Dir *dir, const char *name, const char *expected)
{
    g_autofree char *found = gw_vm_file_find (dir->config, name);
    g_assert_cmpstr (found, ==, expected);
}

static void
test_find (void)
{
    g_autoptr (Dir) dir = dir_new ();
    assert_found (dir, "web1", NULL);
    g_autofree char *vm_dir = launch (dir, "gw-1", "web1", getpid ());
    assert_found (dir, "web1", vm_dir);
    assert_found (dir, UUID, vm_dir);
    assert_found (dir, "gw-1", vm_dir);
    assert_found (dir, "web", NULL);
    assert_found (dir, "", NULL);
}

static pid_t
start_and_end_child (gint64 *ret_start)
{
    int hold[2];
    char byte;
    g_assert_no_errno (pipe2 (hold, O_CLOEXEC));
    pid_t child = fork ();
    g_assert_cmpint (child, >=, 0);
    if (child == 0) {
        close (hold[1]);
        _exit ((int) read (hold[0], &byte, 1));
    }
    *ret_start = gw_procfs_get_start_time (child);
    close (hold[0]);
    close (hold[1]);
    g_assert_cmpint (waitpid (child, NULL, 0), ==, child);
    return child;
}

/* A process that is gone, or another one with the same pid: the remains are removed. */
static void
test_gone (void)
{
    g_autoptr (Dir) dir = dir_new ();
    gint64 start;
    pid_t gone = start_and_end_child (&start);
    g_assert_cmpint (start, >, 0);
    g_assert_cmpint (gw_procfs_get_start_time (gone), ==, 0);
    g_autofree char *text = g_strdup_printf (
        "{\"job\":\"gw-2\",\"name\":\"web2\",\"pid\":%d,\"start_time\":%" G_GINT64_FORMAT "}",
        (int)gone, start);
    g_autofree char *other = g_strdup_printf (
        "{\"job\":\"gw-3\",\"name\":\"web3\",\"pid\":%d,\"start_time\":1}", (int) getpid ());
    dir_write (dir, "vms/gw-2/vm.json", text, -1);
    dir_write (dir, "vms/gw-2/qemu.log", "", 0);
    dir_write (dir, "vms/gw-3/vm.json", other, -1);
    assert_found (dir, "web2", NULL);
    assert_found (dir, "web3", NULL);
    g_autofree char *top = g_build_filename (dir->path, "vms", NULL);
    g_assert_no_errno (rmdir (top)); /* empty by now */
}

/* Without a readable file a VM is being launched just now, or the file is damaged: left alone. */
static void
test_unreadable (void)
{
    static const char *const texts[] = { "", "{\"pid\":", "[]", "{\"pid\":\"1\"" };
    g_autoptr (Dir) dir = dir_new ();
    g_free (dir_path (dir, "vms/gw-9/qemu.log"));
    for (guint i = 0; i < G_N_ELEMENTS (texts); i++) {
        dir_write (dir, "vms/gw-9/vm.json", texts[i], -1);
        assert_found (dir, "gw-9", NULL);
        g_autofree char *kept = dir_read (dir, "vms/gw-9/vm.json", NULL);
        g_assert_cmpstr (kept, ==, texts[i]);
    }
    static const char *const dead[] = {"{\"pid\":0,\"start_time\":1}",
                                       "{\"pid\":-1,\"start_time\":1}",
                                       "{\"pid\":4294967297,\"start_time\":1}", "{}"};
    for (guint i = 0; i < G_N_ELEMENTS (dead); i++) {
        dir_write (dir, "vms/gw-9/vm.json", dead[i], -1);
        assert_found (dir, "gw-9", NULL);
        g_autofree char *path = g_build_filename (dir->path, "vms", "gw-9", NULL);
        g_assert_false (g_file_test (path, G_FILE_TEST_EXISTS));
    }
}

static void
test_list (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autofree char *a = launch (dir, "gw-a", "web1", getpid ());
    g_autofree char *b = launch (dir, "gw-b", NULL, getpid ());
    g_autoptr (JsonArray) list = gw_host_list_vms (dir->config);
    g_assert_cmpuint (json_array_get_length (list), ==, 2);
    for (guint i = 0; i < 2; i++) {
        JsonObject *vm = json_array_get_object_element (list, i);
        gboolean is_a = strcmp (gw_json_peek_string (vm, "job", ""), "gw-a") == 0;
        g_autofree char *qmp = g_build_filename (is_a ? a : b, "qmp.sock", NULL);
        g_assert_cmpstr (gw_json_peek_string (vm, "name", NULL), ==, is_a ? "web1" : "");
        g_assert_cmpstr (gw_json_peek_string (vm, "uuid", NULL), ==, UUID);
        g_assert_cmpstr (gw_json_peek_string (vm, "qmp", NULL), ==, qmp);
        g_assert_cmpint (gw_json_peek_int (vm, "pid", 0), ==, getpid ());
        g_assert_cmpint (gw_json_peek_int (vm, "epoch", 0), ==, 7);
    }
}

/* A VM is ours when its own command line leads to a file that names its process. */
static void
test_find_launched (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autofree char *vm_dir = launch (dir, "gw-1", "web1", getpid ());
    g_autofree char *chardev =
        g_strdup_printf ("socket,id=godwit-qmp,path=%s/qmp.sock,server=on,wait=off", vm_dir);
    const char *const argv[] = { "qemu", "-chardev", "null,id=other", "-chardev", chardev, NULL };
    g_autoptr (GwVm) vm = gw_struct_new (&gw_vm_type);
    vm->argv = g_strdupv ((char **) argv);
    vm->pid = getpid ();
    vm->start_time = gw_procfs_get_start_time (getpid ());
    gint64 epoch = -1;
    g_autofree char *found = gw_vm_file_find_launched (vm, &epoch);
    g_assert_cmpstr (found, ==, vm_dir);
    g_assert_cmpint (epoch, ==, 7);

    vm->start_time++;
    g_assert_null (gw_vm_file_find_launched (vm, &epoch));
    g_assert_cmpint (epoch, ==, 0);
    vm->start_time--;
    vm->pid++;
    g_assert_null (gw_vm_file_find_launched (vm, &epoch));
    vm->pid--;
    vm->argv[3][0] = 'x'; /* "xchardev" is a disk */
    g_assert_null (gw_vm_file_find_launched (vm, &epoch));
}

static void
test_no_directory (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    GwHostJob spec = { "gw-1", GW_SIDE_DESTINATION, "web1", UUID, 7 };
    g_autofree char *nowhere = g_build_filename (dir->path, "nowhere", NULL);
    g_assert_false (gw_vm_file_write (nowhere, &spec, getpid (), &error));
    assert_error (&error, GW_CAUSE_HOST_IO, "nowhere");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vmfile/find", test_find);
    g_test_add_func ("/vmfile/gone", test_gone);
    g_test_add_func ("/vmfile/unreadable", test_unreadable);
    g_test_add_func ("/vmfile/list", test_list);
    g_test_add_func ("/vmfile/find-launched", test_find_launched);
    g_test_add_func ("/vmfile/no-directory", test_no_directory);
    return g_test_run ();
}
