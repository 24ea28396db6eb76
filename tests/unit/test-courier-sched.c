/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Turns that a page request does not wait for: the thread that carries has short ones, no other. */
#include "courier.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* struct sched_attr of sched_getattr(2); its runtime is the slice of an ordinary task, 0 before Linux 6.12 */
typedef struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
} Attr;

static uint64_t
get_slice_ns (void)
{
    Attr attr;
    memset (&attr, 0, sizeof attr);
    g_assert_cmpint (syscall (SYS_sched_getattr, 0, &attr, sizeof attr, 0), ==, 0);
    g_assert_cmpuint (attr.policy, ==, 0); /* an ordinary task, before and after */
    return attr.runtime_ns;
}

static gpointer
get_slice_of_thread (gpointer ret_slice_ns)
{
    *(uint64_t *) ret_slice_ns = get_slice_ns ();
    return NULL;
}

static void
test_slices (void)
{
    uint64_t usual = get_slice_ns (), later = 0;
    if (usual == 0) {
        g_test_skip ("this kernel has no slices of a task's own (Linux 6.12 has)");
        return;
    }
    gw_courier_schedule ();
    g_assert_cmpuint (get_slice_ns (), <, usual);
    g_thread_join (g_thread_new ("later", get_slice_of_thread, &later));
    g_assert_cmpuint (later, ==, usual);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/courier/sched/slices", test_slices);
    return g_test_run ();
}
