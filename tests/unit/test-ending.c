/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How processes ended that are not watched by their parent's means: signal, status, words, reason. */
#include "host-internal.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 10000

typedef struct {
    GMainContext *context;
    gboolean has_ended;
} Rig;

static gboolean
on_exit_seen (gpointer user_data)
{
    ((Rig *) user_data)->has_ended = TRUE;
    return G_SOURCE_REMOVE;
}

static gboolean
has_ended (gpointer user_data)
{
    return ((Rig *) user_data)->has_ended;
}

/* A child that waits for `go`, says something and ends by `signal`, or with status 3 for 0. */
static pid_t
start_child (int go, const char *log, int signal_number)
{
    pid_t pid = fork ();
    if (pid != 0)
        return pid;
    char byte;
    int fd = open (log, O_WRONLY | O_APPEND);
    if (fd < 0 || dup2 (fd, STDERR_FILENO) < 0)
        _exit (9);
    while (read (go, &byte, 1) < 0)
        continue;
    if (write (STDERR_FILENO, "last word\n", 10) == 10 && signal_number != 0)
        raise (signal_number);
    _exit (3);
}

static char *
watch_child (int signal_number)
{
    Rig rig = { g_main_context_new (), FALSE };
    int go[2];
    g_autofree char *log = NULL;
    int fd = g_file_open_tmp ("godwit-ending-XXXXXX", &log, NULL);
    g_assert_cmpint (write (fd, "before\n", 7), ==, 7);
    g_assert_cmpint (pipe (go), ==, 0);
    pid_t pid = start_child (go[0], log, signal_number);
    g_usleep (100000); /* its standard error is looked at now */
    GwPidWatch *watch = gw_pid_watch_new (pid, rig.context, on_exit_seen, &rig);
    g_assert_nonnull (watch);
    g_assert_cmpstr (gw_pid_watch_describe_end (watch), ==, "still runs");
    g_assert_cmpint (write (go[1], "g", 1), ==, 1);
    g_assert_true (gw_wait_until (rig.context, has_ended, &rig, gw_deadline_ms (WAIT_MS), NULL, NULL));
    char *how = g_strdup (gw_pid_watch_describe_end (watch));
    gw_pid_watch_free (watch);
    (void) waitpid (pid, NULL, 0);
    (void) unlink (log);
    (void) close (fd);
    (void) close (go[0]);
    (void) close (go[1]);
    g_main_context_unref (rig.context);
    return how;
}

static void
test_zombie (void)
{
    g_autofree char *killed = watch_child (SIGKILL);
    g_assert_cmpstr (killed, ==, "was killed by signal 9 (Killed); its last words: last word");
    g_autofree char *exited = watch_child (0);
    g_assert_cmpstr (exited, ==, "exited with status 3; its last words: last word");
}

/* A parent that looks at once: only newer kernels tell then. */
static void
test_reaped (void)
{
    (void) signal (SIGCHLD, SIG_IGN);
    g_autofree char *killed = watch_child (SIGTERM);
    (void) signal (SIGCHLD, SIG_DFL);
    if (g_str_has_prefix (killed, "has ended"))
        g_test_skip ("this kernel does not tell how a reaped process ended");
    else
        g_assert_cmpstr (killed, ==, "was killed by signal 15 (Terminated); its last words: last word");
}

static void
test_memory (void)
{
    g_autofree char *how = gw_ending_describe (SIGKILL, TRUE, NULL);
    g_assert_cmpstr (how, ==, "was killed by signal 9 (Killed), killed by the kernel for want of memory");
    g_assert_true (gw_oom_record_names ("3,1,2,-;Memory cgroup out of memory: Killed process 4242 "
                                        "(qemu-system-x86) total-vm:1kB", 4242));
    g_assert_false (gw_oom_record_names ("3,1,2,-;Out of memory: Killed process 42421 (x)", 4242));
    g_assert_false (gw_oom_record_names ("6,1,2,-;eth0: link up", 4242));
    GwOomWatch *watch = gw_oom_watch_new (getpid ());
    g_assert_false (gw_oom_watch_has_killed (watch));
    gw_oom_watch_free (watch);
}

/* --- what made it, when that was a disk ------------------------------------------------------------------------ */

static void
add_disk (GwVm *vm, const char *device, const char *path, const char *url)
{
    GwDisk *disk = g_new0 (GwDisk, 1);
    disk->device = g_strdup (device);
    disk->path = g_strdup (path);
    disk->url = g_strdup (url);
    g_ptr_array_add (vm->disks, disk);
}

static void
test_disks (void)
{
    g_autoptr (GwVm) vm = gw_struct_new (&gw_vm_type);
    g_autofree char *none = gw_disks_describe_trouble (vm);
    g_assert_cmpstr (none, ==, "");
    add_disk (vm, "well", "/proc/self/exe", NULL);
    add_disk (vm, "other", NULL, "null-co://");
    add_disk (vm, "gone", "/nonexistent/image", NULL);
    add_disk (vm, "served", NULL, "nbd+unix:///x?socket=/nonexistent/nbd.sock");
    g_autofree char *text = gw_disks_describe_trouble (vm);
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    g_assert_cmpuint (g_strv_length (lines), ==, 2);
    g_assert_true (g_str_has_prefix (lines[0], "disk 'gone': '/nonexistent/image' cannot be found: "));
    g_assert_true (g_str_has_prefix (lines[1], "disk 'served': its server at 'nbd+unix:"));
}

static void
test_rejection (void)
{
    static const struct {
        const char *how;
        gboolean is_rejection;
    } cases[] = {
        { "exited with status 1; its last words: Unknown savevm section", TRUE },
        { "exited with status 0", FALSE },
        { "was killed by signal 9 (Killed)", FALSE },
        { "was killed by signal 9 (Killed); its last words: warning: TCG lacks a feature", FALSE },
        { "was killed by signal 6 (Aborted); its last words: Unknown savevm section or instance 'hpet' 0\n"
          "load of migration failed: Invalid argument\n"
          "../../util/oslib-posix.c:233: qemu_socket_set_nonblock: Assertion `f == 0' failed.", TRUE },
        { "was killed by signal 11 (Segmentation fault); its last words: "
          "load of migration failed: Input/output error", FALSE },
    };
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
        g_assert_cmpint (gw_ending_tells_rejection (cases[i].how), ==, cases[i].is_rejection);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/ending/zombie", test_zombie);
    g_test_add_func ("/ending/reaped", test_reaped);
    g_test_add_func ("/ending/memory", test_memory);
    g_test_add_func ("/ending/disks", test_disks);
    g_test_add_func ("/ending/rejection", test_rejection);
    return g_test_run ();
}
