/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test-host-dir.h"

#include <string.h>

static gboolean
load (const Dir *dir, const char *text, GwHostConfig *config, GError **error)
{
    g_autofree char *path = g_build_filename (dir->path, "conf", NULL);
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
    return gw_host_config_load (config, path, error);
}

static void
test_takes_all_types (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    gboolean ok = load (dir,
                        "# a comment\n[disks]\ndirectories = /srv/vm;/data\n\n[networks]\ndirect=false\n"
                        "[limits]\nconnections=7\n[qemu]\nusers=vm\n[agent]\nsocket=/run/x\n"
                        "[listen]\naddresses=192.0.2.1;[::1]:99\n[peers]\nnames=*.test\nnetworks=10.0.0.0/8\n"
                        "[sockets]\ndirectories=/run/vm\n[files]\ndirectories=/usr/share\n",
                        dir->config, &error);
    g_assert_no_error (error);
    g_assert_true (ok);
    g_autoptr (GwHostConfig) copy = gw_host_config_copy (dir->config);
    g_assert_cmpstr (copy->image_dirs[1], ==, "/data");
    g_assert_cmpint (copy->connections, ==, 7);
    g_assert_false (copy->is_direct);
    g_assert_cmpstr (copy->socket, ==, "/run/x");
    g_assert_cmpstr (copy->listen[1], ==, "[::1]:99");
    g_assert_true (gw_host_config_is_confined (copy));
}

static void
test_says_where_it_is_wrong (void)
{
    static const struct {
        const char *text, *words;
    } table[] = {
        { "x=1\n", "line 1: 'x' stands before" },
        { "[disk]\n", "line 1: unknown group [disk]" },
        { "[disks\n", "line 1: '[disks' is not a group" },
        { "[disks]\n\ndirectory=/x\n", "line 3: unknown key 'directory' in group [disks]" },
        { "[disks]\ndirectories=/x\n[qemu]\n[disks]\ndirectories=/y\n", "line 5: [disks] directories stands in line 2" },
        { "[disks]\nnonsense\n", "line 2: 'nonsense' is neither" },
        { "[disks]\ndirectories=srv\n", "line 2: [disks] directories: 'srv' is not an absolute path" },
        { "[limits]\njobs=0\n", "line 2: [limits] jobs: '0' is not a number from 1 to 1024" },
        { "[limits]\n#\njobs=ten\n", "line 3: [limits] jobs: 'ten' is not" },
        { "[networks]\ndirect=maybe\n", "line 2: [networks] direct: 'maybe' is not true or false" },
        { "[listen]\naddresses=host:1\n", "'host:1' is not an IP address" },
        { "[listen]\naddresses=192.0.2.1:0\n", "'192.0.2.1:0' is not an IP address" },
        { "[peers]\nnetworks=10.0.0.1/8\n", "'10.0.0.1/8' is not a network" },
        { "[listen]\naddresses=::1\n", "line 2: [listen] addresses needs [peers] names" },
        { "[listen]\naddresses=::1\n[peers]\nnames=a\n[disks]\ndirectories=/x\n", "needs [sockets] directories" },
        { "[disks]\ndirectories=srv\\q;/x\n", "line 2: [disks] directories holds a backslash" }, /* GLib gives the list, and an error */
        { "[agent]\nstate=/x\\q\n", "line 2: [agent] state holds a backslash" },
        { "[agent]\nstate=relative\n", "'relative' is not an absolute path" },
        { "\xff\n", "not a text in UTF-8" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (table); i++) {
        g_autoptr (Dir) dir = dir_new ();
        g_autoptr (GError) error = NULL;
        g_assert_false (load (dir, table[i].text, dir->config, &error));
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_USAGE);
        if (strstr (error->message, table[i].words) == NULL || strstr (error->message, "/conf'") == NULL)
            g_error ("'%s' is not in '%s'", table[i].words, error->message);
    }
}

static void
test_state_directory (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_setenv ("GODWIT_STATE", "/env", TRUE);
    g_assert_true (load (dir, "[agent]\nstate=/file\n", dir->config, NULL));
    g_assert_cmpstr (dir->config->state_dir, ==, dir->path);
    g_unsetenv ("GODWIT_STATE");
    g_assert_true (load (dir, "[agent]\nstate=/file\n", dir->config, NULL));
    g_assert_cmpstr (dir->config->state_dir, ==, "/file");
    g_assert_cmpstr (dir->config->runtime_dir, ==, "/file");
}

/* An agent that reads its file again goes on with what it has acted on. */
static void
test_read_again (void)
{
    static const char before[] = "[listen]\naddresses=::1\n[peers]\nnames=a\nnetworks=10.0.0.0/8\n[disks]\ndirectories=/x\n"
                                 "[sockets]\ndirectories=/x\n[files]\ndirectories=/x\n[agent]\nsocket=/run/a\n"
                                 "[limits]\njobs=3\nconnections=7\nconnections-per-address=2\n";
    static const char after[] = "[listen]\naddresses=::1;::2\ncertificates=/c\n[peers]\nnames=b;c\n[disks]\ndirectories=/y\n"
                                "[sockets]\ndirectories=/x\n[files]\ndirectories=/x\n[agent]\nsocket=/run/b\nstate=/s\n"
                                "[limits]\njobs=4\nconnections=8\nconnections-per-address=2\n[networks]\ndirect=false\n";
    g_autoptr (Dir) dir = dir_new ();
    g_autoptr (GError) error = NULL;
    g_autoptr (GwHostConfig) fresh = gw_host_config_new (NULL), silent = gw_host_config_new (NULL);
    g_assert_true (load (dir, before, dir->config, NULL));
    g_assert_true (load (dir, after, fresh, NULL));
    g_auto (GStrv) kept = gw_host_config_keep_started (fresh, dir->config, &error);
    g_assert_no_error (error);
    g_autofree char *names = g_strjoinv (", ", kept);
    g_assert_cmpstr (names, ==, "[agent] socket, [agent] state, [listen] addresses, [listen] certificates, "
                                "[limits] connections");
    g_assert_cmpstr (fresh->socket, ==, "/run/a");
    g_assert_cmpstr (fresh->state_dir, ==, dir->path);
    g_assert_null (fresh->listen[1]);
    g_assert_cmpstr (fresh->certificates, ==, GW_HOST_CERTIFICATES);
    g_assert_cmpint (fresh->connections, ==, 7);
    g_assert_cmpstr (fresh->peer_names[1], ==, "c");
    g_assert_null (fresh->peer_networks[0]);
    g_assert_cmpstr (fresh->image_dirs[0], ==, "/y");
    g_assert_cmpint (fresh->max_jobs, ==, 4);
    g_assert_false (fresh->is_direct);
    /* what keeps peers within bounds is asked for in a file with [listen] only */
    g_assert_null (gw_host_config_keep_started (silent, dir->config, &error));
    assert_error (&error, GW_CAUSE_USAGE, "no [listen] addresses any more");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/config/takes-all-types", test_takes_all_types);
    g_test_add_func ("/config/says-where-it-is-wrong", test_says_where_it_is_wrong);
    g_test_add_func ("/config/state-directory", test_state_directory);
    g_test_add_func ("/config/read-again", test_read_again);
    return g_test_run ();
}
