/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "process.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- another process, with a thread beside its first ---------------------------------------------------------- */

static gpointer
sleep_on (gpointer user_data)
{
    (void) !write (*(int *) user_data, "x", 1);
    for (;;)
        pause ();
    return NULL;
}

static G_GNUC_NORETURN void
be_child (gboolean has_session, int fd)
{
    if (has_session)
        (void) setsid ();
    g_thread_join (g_thread_new ("second", sleep_on, &fd));
    abort ();
}

static pid_t
start_child (gboolean has_session)
{
    int fds[2];
    char byte;
    g_assert_cmpint (pipe (fds), ==, 0);
    pid_t pid = fork ();
    g_assert_cmpint (pid, >=, 0);
    if (pid == 0)
        be_child (has_session, fds[1]);
    g_assert_cmpint (read (fds[0], &byte, 1), ==, 1); /* both threads are there */
    (void) close (fds[0]);
    (void) close (fds[1]);
    return pid;
}

static void
end_child (pid_t pid)
{
    (void) kill (pid, SIGKILL);
    g_assert_cmpint (waitpid (pid, NULL, 0), ==, pid);
}

/* --- what the kernel says ----------------------------------------------------------------------------------------- */

static void
assert_threads (pid_t pid, int nice)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/task", (int) pid);
    g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
    const char *name;
    guint n = 0;
    while ((name = g_dir_read_name (dir)) != NULL) {
        g_assert_cmpint (getpriority (PRIO_PROCESS, (id_t) atoi (name)), ==, nice);
        n++;
    }
    g_assert_cmpuint (n, ==, 2);
}

/* "/autogroup-12 nice 0"; FALSE where the kernel has no such groups. */
static gboolean
get_group_nice (pid_t pid, int *ret_nice)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/autogroup", (int) pid);
    g_autofree char *text = NULL;
    const char *at = g_file_get_contents (path, &text, NULL, NULL) ? strstr (text, " nice ") : NULL;
    if (at == NULL)
        return FALSE;
    *ret_nice = atoi (at + strlen (" nice "));
    return TRUE;
}

static void
assert_group (pid_t pid, int nice)
{
    int group;
    if (get_group_nice (pid, &group))
        g_assert_cmpint (group, ==, nice);
    else
        g_test_message ("this kernel has no autogroups");
}

/* --- the tests ------------------------------------------------------------------------------------------------------ */

static void
test_there_and_back (gconstpointer data)
{
    int wanted = GPOINTER_TO_INT (data), ours = getpriority (PRIO_PROCESS, 0);
    if (geteuid () != 0) {
        g_test_skip ("a nice value can be lowered by root only");
        return;
    }
    pid_t pid = start_child (TRUE);
    gw_priority_set (pid, wanted);
    assert_threads (pid, CLAMP (ours + wanted, GW_NICE_MIN, GW_NICE_MAX));
    assert_group (pid, wanted);
    gw_priority_reset (pid);
    assert_threads (pid, ours);
    assert_group (pid, 0);
    end_child (pid);
}

static void
test_zero_is_hands_off (void)
{
    int ours = getpriority (PRIO_PROCESS, 0);
    pid_t pid = start_child (TRUE);
    g_assert_cmpint (setpriority (PRIO_PROCESS, (id_t) pid, ours + 1), ==, 0);
    gw_priority_set (pid, 0);
    g_assert_cmpint (getpriority (PRIO_PROCESS, (id_t) pid), ==, ours + 1);
    end_child (pid);
}

/* The session is that of others, too. */
static void
test_a_session_of_others (void)
{
    int before;
    pid_t pid = start_child (FALSE);
    if (!get_group_nice (pid, &before)) {
        g_test_skip ("this kernel has no autogroups");
    } else {
        gw_priority_set (pid, 3);
        assert_group (pid, before);
    }
    end_child (pid);
}

static void
test_nobody (void)
{
    pid_t pid = start_child (TRUE);
    end_child (pid);
    gw_priority_set (pid, -5);
    gw_priority_reset (pid);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_data_func ("/priority/first", GINT_TO_POINTER (-10), test_there_and_back);
    g_test_add_data_func ("/priority/last", GINT_TO_POINTER (7), test_there_and_back);
    g_test_add_func ("/priority/zero", test_zero_is_hands_off);
    g_test_add_func ("/priority/session-of-others", test_a_session_of_others);
    g_test_add_func ("/priority/nobody", test_nobody);
    return g_test_run ();
}
