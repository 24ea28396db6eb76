/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "process.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- another process, which makes threads -------------------------------------------------------------------- */

typedef struct {
    pid_t pid;
    int order, answer; /* a byte there makes a thread, which says a byte here */
} Child;

static gpointer
sleep_on (gpointer user_data)
{
    (void) !write (*(int *) user_data, "x", 1);
    for (;;)
        pause ();
    return NULL;
}

static G_GNUC_NORETURN void
be_child (gboolean has_session, int order, int answer)
{
    char byte;
    if (has_session)
        (void) setsid ();
    while (read (order, &byte, 1) == 1)
        g_thread_unref (g_thread_new ("another", sleep_on, &answer));
    _exit (0);
}

static void
make_thread (const Child *child)
{
    char byte = 'x';
    g_assert_cmpint (write (child->order, &byte, 1), ==, 1);
    g_assert_cmpint (read (child->answer, &byte, 1), ==, 1);
}

/* With two threads. */
static Child
start_child (gboolean has_session)
{
    int orders[2], answers[2];
    g_assert_cmpint (pipe (orders), ==, 0);
    g_assert_cmpint (pipe (answers), ==, 0);
    Child child = { .pid = fork (), .order = orders[1], .answer = answers[0] };
    g_assert_cmpint (child.pid, >=, 0);
    if (child.pid == 0) {
        (void) close (orders[1]);
        be_child (has_session, orders[0], answers[1]);
    }
    (void) close (orders[0]);
    (void) close (answers[1]);
    make_thread (&child);
    return child;
}

static void
end_child (const Child *child)
{
    (void) kill (child->pid, SIGKILL);
    g_assert_cmpint (waitpid (child->pid, NULL, 0), ==, child->pid);
    (void) close (child->order);
    (void) close (child->answer);
}

/* --- what the kernel says ----------------------------------------------------------------------------------------- */

/* So many threads have the value, and no other has it. */
static void
assert_threads (pid_t pid, int nice, guint wanted)
{
    g_autoptr (GArray) threads = gw_priority_list_threads (pid);
    guint n = 0;
    for (guint i = 0; i < threads->len; i++)
        n += getpriority (PRIO_PROCESS, (id_t) g_array_index (threads, pid_t, i)) == nice;
    g_assert_cmpuint (n, ==, wanted);
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
    Child child = start_child (TRUE);
    pid_t pid = child.pid;
    gw_priority_set (pid, wanted);
    assert_threads (pid, gw_priority_add (ours, wanted), 2);
    assert_group (pid, wanted);
    gw_priority_reset (pid);
    assert_threads (pid, ours, 2);
    assert_group (pid, 0);
    end_child (&child);
}

static void
test_zero_is_hands_off (void)
{
    int ours = getpriority (PRIO_PROCESS, 0);
    Child child = start_child (TRUE);
    pid_t pid = child.pid;
    g_assert_cmpint (setpriority (PRIO_PROCESS, (id_t) pid, ours + 1), ==, 0);
    gw_priority_set (pid, 0);
    g_assert_cmpint (getpriority (PRIO_PROCESS, (id_t) pid), ==, ours + 1);
    end_child (&child);
}

/* The session is that of others, too. */
static void
test_a_session_of_others (void)
{
    int before;
    Child child = start_child (FALSE);
    pid_t pid = child.pid;
    if (!get_group_nice (pid, &before)) {
        g_test_skip ("this kernel has no autogroups");
    } else {
        gw_priority_set (pid, 3);
        assert_group (pid, before);
    }
    end_child (&child);
}

static void
test_nobody (void)
{
    Child child = start_child (TRUE);
    pid_t pid = child.pid;
    end_child (&child);
    gw_priority_set (pid, -5);
    gw_priority_reset (pid);
}

/* What was there before stays as it is, what has come since goes first, and in the end all are alike again. */
static void
test_haste (void)
{
    int ours = getpriority (PRIO_PROCESS, 0);
    if (geteuid () != 0) {
        g_test_skip ("a nice value can be lowered by root only");
        return;
    }
    Child child = start_child (TRUE);
    GwHaste *haste = gw_haste_new (child.pid);
    gw_haste_begin (haste, -5);
    assert_threads (child.pid, ours, 2);
    make_thread (&child);
    make_thread (&child);
    gw_haste_begin (haste, 0);
    assert_threads (child.pid, ours, 4);
    gw_haste_begin (haste, -5);
    assert_threads (child.pid, ours, 2);
    assert_threads (child.pid, gw_priority_add (ours, -5), 2);
    gw_haste_begin (haste, -5); /* not twice */
    assert_threads (child.pid, gw_priority_add (ours, -5), 2);
    gw_haste_free (haste);
    assert_threads (child.pid, ours, 4);
    end_child (&child);
}

static void
test_haste_of_nobody (void)
{
    Child child = start_child (TRUE);
    GwHaste *haste = gw_haste_new (child.pid);
    make_thread (&child);
    gw_haste_begin (haste, 1);
    end_child (&child);
    gw_haste_begin (haste, 1);
    gw_haste_free (haste);
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
    g_test_add_func ("/priority/haste", test_haste);
    g_test_add_func ("/priority/haste-of-nobody", test_haste_of_nobody);
    return g_test_run ();
}
