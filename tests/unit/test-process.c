/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What processes of ours are given on their way, beside their priority. */
#include "host-internal.h"

#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define LIMIT_MS 10000

/* The number after `key` in a file of the process; `fallback` where it says no such thing. */
static int
read_number (pid_t pid, const char *name, const char *key, int fallback)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/%s", (int) pid, name);
    g_autofree char *text = NULL;
    if (!g_file_get_contents (path, &text, NULL, NULL))
        return fallback;
    const char *at = strstr (text, key);
    return at != NULL ? atoi (at + strlen (key)) : fallback;
}

/* --- descriptors ----------------------------------------------------------------------------------------------- */

static gboolean
is_sleep (gpointer user_data)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/comm", (int) gw_process_get_pid (user_data));
    g_autofree char *name = NULL;
    return g_file_get_contents (path, &name, NULL, NULL) && strcmp (name, "sleep\n") == 0;
}

/* The highest number of a descriptor that it has open; -1: none. */
static int
find_last_fd (pid_t pid)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/fd", (int) pid);
    g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
    const char *name;
    int last = -1;
    g_assert_nonnull (dir);
    while ((name = g_dir_read_name (dir)) != NULL)
        last = MAX (last, atoi (name));
    return last;
}

/* It keeps the table over exec(), and of what made it so large nothing is open. */
static void
test_table (void)
{
    static const char *const argv[] = { "sleep", "60", NULL };
    const GwProcessSpec spec = { .argv = argv };
    g_autoptr (GError) error = NULL;
    g_autoptr (GMainContext) context = g_main_context_new ();
    struct rlimit limit;
    g_assert_cmpint (getrlimit (RLIMIT_NOFILE, &limit), ==, 0);
    GwProcess *process = gw_process_spawn (&spec, context, NULL, NULL, &error);
    g_assert_no_error (error);
    g_assert_true (gw_wait_until (context, is_sleep, process, gw_deadline_ms (LIMIT_MS), NULL, NULL));
    if (limit.rlim_cur >= 1024)
        g_assert_cmpint (read_number (gw_process_get_pid (process), "status", "FDSize:", 0), >=, 1024);
    /* the loader of the new program has one open for a moment */
    gint64 deadline_us = gw_deadline_ms (LIMIT_MS);
    int last;
    while ((last = find_last_fd (gw_process_get_pid (process))) > 2 && g_get_monotonic_time () < deadline_us)
        g_usleep (1000);
    g_assert_cmpint (last, ==, 2);
    gw_process_stop (process, 1000);
    gw_process_free (process);
}

/* --- a courier's last moments ---------------------------------------------------------------------------------- */

/* In the courier's place: it is ready, and done when a file comes to be. */
static const char courier[] = "#!/bin/sh\n"
                              "echo '{\"event\":\"ready\"}' >&3\n"
                              "while [ ! -e \"$0.go\" ]; do sleep 0.02; done\n"
                              "echo '{\"event\":\"done\"}' >&3\n"
                              "exec sleep 60\n";

typedef struct {
    pid_t pid;
    int nice; /* of its threads */
} Wanted;

static gboolean
has_nice (gpointer user_data)
{
    const Wanted *wanted = user_data;
    int ours = getpriority (PRIO_PROCESS, 0);
    return getpriority (PRIO_PROCESS, (id_t) wanted->pid) == gw_priority_add (ours, wanted->nice) &&
           read_number (wanted->pid, "autogroup", " nice ", wanted->nice) == wanted->nice;
}

/* It goes first while it carries, and gives its memory back as one of many. */
static void
test_done (void)
{
    static const char *const addresses[] = { "127.0.0.1:9", NULL };
    g_autoptr (GError) error = NULL;
    g_autoptr (GMainContext) context = g_main_context_new ();
    g_autofree char *dir = g_dir_make_tmp ("godwit-test-XXXXXX", NULL);
    g_autofree char *program = g_build_filename (dir, "courier", NULL), *go = g_strconcat (program, ".go", NULL);
    g_autofree char *secret = g_strnfill (2 * GW_HOST_SECRET_BYTES, 'a');
    g_autoptr (GwHostConfig) config = gw_host_config_new (dir);
    GwHost host = { 0 };
    if (geteuid () != 0) {
        g_test_skip ("a nice value can be lowered by root only");
        return;
    }
    g_assert_true (g_file_set_contents (program, courier, -1, NULL));
    g_assert_cmpint (g_chmod (program, 0700), ==, 0);
    g_free (config->courier);
    config->courier = g_strdup (program);
    const GwCourierSpec spec = { .host = &host, .config = config, .context = context, .job = "gw-1", .job_dir = dir,
                                 .side = GW_SIDE_SOURCE, .secret_hex = secret, .addresses = addresses, .n_paths = 1 };
    g_main_context_push_thread_default (context);
    GwCourierControl *control = gw_courier_start (&spec, NULL, NULL, &error);
    g_assert_no_error (error);
    Wanted wanted = { gw_process_get_pid (gw_courier_get_process (control)), -10 };
    g_assert_true (has_nice (&wanted));
    g_assert_true (g_file_set_contents (go, "", -1, NULL));
    wanted.nice = 0;
    g_assert_true (gw_wait_until (context, has_nice, &wanted, gw_deadline_ms (LIMIT_MS), NULL, NULL));
    gw_courier_free (control);
    g_main_context_pop_thread_default (context);
    gw_directory_remove (dir);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/process/descriptors", test_table);
    g_test_add_func ("/process/courier-done", test_done);
    return g_test_run ();
}
