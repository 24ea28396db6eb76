/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a courier cannot do any more once it has locked itself in; each row in a process of its own. */
#include "courier.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REFUSED = 40, DONE = 41 };

static void
try_open (void)
{
    _exit (open ("/etc/hostname", O_RDONLY | O_CLOEXEC) < 0 ? REFUSED : DONE);
}

static void
try_create (void)
{
    _exit (open ("/tmp/gw-sandbox-test", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) < 0 ? REFUSED : DONE);
}

static void
try_exec (void)
{
    (void) execl ("/bin/true", "true", NULL);
    _exit (REFUSED);
}

static void
try_fork (void)
{
    _exit (fork () < 0 ? REFUSED : DONE);
}

static void
try_socket (void)
{
    _exit (socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0 ? REFUSED : DONE);
}

static int unconnected; /* made before the sandbox */

static void
try_connect (void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/tmp/gw-sandbox-none" };
    _exit (connect (unconnected, (struct sockaddr *) &address, sizeof address) < 0 ? REFUSED : DONE);
}

static void
try_kill (void)
{
    _exit (kill (getppid (), 0) != 0 ? REFUSED : DONE);
}

/* Neither allowed nor deadly. */
static void
try_chdir (void)
{
    _exit (chdir ("/") != 0 ? REFUSED : DONE);
}

/* What it lives on still works. */
static void
try_work (void)
{
    g_autofree char *memory = g_malloc0 (8 << 20);
    struct pollfd p = { .fd = unconnected, .events = POLLOUT };
    (void) g_get_monotonic_time ();
    _exit (poll (&p, 1, 0) >= 0 && memory[4 << 20] == 0 ? DONE : REFUSED);
}

/* A thread that was there before, as those of the crew are, and what it has allocated: on a heap of its own. */
static GThread *other;
static gint has_other_begun, is_other_to_go; /* atomic */
static char *blocks[48];

static gpointer
run_other (gpointer user_data)
{
    for (guint i = 0; i < G_N_ELEMENTS (blocks); i++)
        blocks[i] = g_malloc0 (1 << 20);
    g_atomic_int_set (&has_other_begun, TRUE);
    while (!g_atomic_int_get (&is_other_to_go))
        (void) poll (NULL, 0, 1);
    try_socket ();
    return NULL;
}

static void
try_other_thread (void)
{
    g_atomic_int_set (&is_other_to_go, TRUE);
    (void) g_thread_join (other);
}

static void
try_free (void)
{
    for (guint i = 0; i < G_N_ELEMENTS (blocks); i++)
        g_free (blocks[G_N_ELEMENTS (blocks) - 1 - i]);
    _exit (DONE);
}

static const struct {
    const char *name;
    void (*run) (void);
    gboolean is_allowed, is_deadly;
} rows[] = {
    { "open", try_open, FALSE, TRUE },       { "create", try_create, FALSE, TRUE },
    { "exec", try_exec, FALSE, TRUE },       { "fork", try_fork, FALSE, TRUE },
    { "socket", try_socket, FALSE, TRUE },   { "connect", try_connect, FALSE, TRUE },
    { "kill", try_kill, FALSE, TRUE },       { "chdir", try_chdir, FALSE, FALSE },
    { "work", try_work, TRUE, FALSE },       { "thread", try_other_thread, FALSE, TRUE },
    { "free", try_free, TRUE, FALSE },
};

/* Says by exit status 77 that there is no seccomp here. */
_Noreturn static void
run_locked_in (guint row)
{
    unconnected = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    gw_courier_keep_heap ();
    g_autofree char *landlock = gw_sandbox_enter_files ();
    other = g_thread_new ("other", run_other, NULL);
    while (!g_atomic_int_get (&has_other_begun)) /* to begin takes more than is allowed later */
        (void) poll (NULL, 0, 1);
    char *seccomp = gw_sandbox_enter_calls ();
    g_assert_nonnull (landlock);
    if (strcmp (seccomp, "on") != 0)
        _exit (77);
    rows[row].run ();
    _exit (DONE);
}

static void
test_row (gconstpointer data)
{
    guint row = GPOINTER_TO_UINT (data);
    int status;
    pid_t pid = fork ();
    if (pid == 0)
        run_locked_in (row);
    g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
    if (WIFEXITED (status) && WEXITSTATUS (status) == 77) {
        g_test_skip ("this kernel has no seccomp, or this is a build with a sanitizer");
        return;
    }
    if (rows[row].is_deadly) {
        g_assert_true (WIFSIGNALED (status));
        g_assert_cmpint (WTERMSIG (status), ==, SIGSYS);
    } else {
        g_assert_true (WIFEXITED (status));
        g_assert_cmpint (WEXITSTATUS (status), ==, rows[row].is_allowed ? DONE : REFUSED);
    }
}

/* Without seccomp landlock alone keeps files out of reach. */
static void
test_landlock_alone (void)
{
    int status;
    pid_t pid = fork ();
    if (pid == 0) {
        char *landlock = gw_sandbox_enter_landlock ();
        if (strcmp (landlock, "on") != 0)
            _exit (77);
        try_open ();
    }
    g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
    g_assert_true (WIFEXITED (status));
    if (WEXITSTATUS (status) == 77)
        g_test_skip ("this kernel has no landlock (5.13, lsm=landlock)");
    else
        g_assert_cmpint (WEXITSTATUS (status), ==, REFUSED);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autofree char *path = g_strdup_printf ("/courier/sandbox/%s", rows[i].name);
        g_test_add_data_func (path, GUINT_TO_POINTER (i), test_row);
    }
    g_test_add_func ("/courier/sandbox/landlock-alone", test_landlock_alone);
    return g_test_run ();
}
