/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* src/rpc through ssh.  GODWIT_SSH names a script that stands for ssh: it fails, lacks the agent,
 * talks too much, hangs, or runs this very program as the agent of the far side. */
#include "test-rpc-peers.h"

#include <errno.h>
#include <gio/gunixinputstream.h>
#include <gio/gunixoutputstream.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVE_ARGUMENT "--serve-stdio"

typedef struct {
    char *dir;
    char *script;
    char *pid_path; /* where the script writes its process id */
    GMainContext *context;
    GwRpcAddress *address;
    GwRpc *rpc;
} Far;

/* A far side whose ssh is a shell script with this body. */
static void
far_init (Far *far, const char *body)
{
    g_autoptr (GError) error = NULL;
    far->dir = g_dir_make_tmp ("test-rpc-XXXXXX", &error);
    g_assert_no_error (error);
    far->script = g_build_filename (far->dir, "fake ssh", NULL);
    far->pid_path = g_build_filename (far->dir, "pid", NULL);
    g_autofree char *text
        = g_strdup_printf ("#!/bin/sh\necho $$ > '%s'\n%s\n", far->pid_path, body);
    g_assert_true (g_file_set_contents (far->script, text, -1, NULL));
    g_assert_cmpint (chmod (far->script, 0700), ==, 0);
    g_autofree char *quoted = g_shell_quote (far->script);
    g_setenv ("GODWIT_SSH", quoted, TRUE);
    g_unsetenv ("GODWIT_REMOTE_AGENT");
    far->context = g_main_context_new ();
    far->address = gw_rpc_address_parse ("ssh://root@hostb:2222", NULL);
}

static void
far_connect (Far *far)
{
    g_autoptr (GError) error = NULL;
    far->rpc = gw_rpc_connect (far->address, far->context, NULL, &error);
    g_assert_no_error (error);
}

static void
remove_dir (const char *path)
{
    g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
    for (const char *name; (name = g_dir_read_name (dir)) != NULL;) {
        g_autofree char *file = g_build_filename (path, name, NULL);
        g_assert_cmpint (g_unlink (file), ==, 0);
    }
    g_assert_cmpint (g_rmdir (path), ==, 0);
}

static void
far_clear (Far *far)
{
    g_clear_pointer (&far->rpc, gw_rpc_free);
    remove_dir (far->dir);
    g_free (far->pid_path);
    g_free (far->script);
    g_free (far->dir);
    gw_rpc_address_free (far->address);
    g_main_context_unref (far->context);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Far, far_clear)

/* The process that the script wrote down; waits for it. */
static pid_t
far_pid (Far *far)
{
    gint64 deadline_us = gw_deadline_ms (TEST_MS);
    for (;;) {
        g_autofree char *text = NULL;
        if (g_file_get_contents (far->pid_path, &text, NULL, NULL) && strchr (text, '\n') != NULL)
            return (pid_t) g_ascii_strtoll (text, NULL, 10);
        g_assert_cmpint (g_get_monotonic_time (), <, deadline_us);
        (void) gw_wait_ms (far->context, 5, NULL, NULL);
    }
}

static gboolean
group_exists (pid_t pid)
{
    return kill (-pid, 0) == 0 || errno != ESRCH;
}

/* Orphans of the script are init's to reap, which may take a moment. */
static void
expect_group_gone (pid_t pid)
{
    gint64 deadline_us = gw_deadline_ms (TEST_MS);
    g_assert_cmpint (kill (pid, 0), ==, -1); /* ours: gone, and no zombie */
    while (group_exists (pid)) {
        g_assert_cmpint (g_get_monotonic_time (), <, deadline_us);
        g_usleep (5000);
    }
}

static GError *
fail_hello (Far *far)
{
    GError *error = NULL;
    far_connect (far);
    g_assert_false (gw_rpc_hello (far->rpc, "test", NULL, NULL, &error));
    g_assert_nonnull (error);
    return error;
}

static void
test_permission_denied (void)
{
    g_auto (Far) far = { 0 };
    far_init (&far, "echo 'Warning: added hostb' >&2\n"
                    "echo 'root@hostb: Permission denied (publickey).' >&2\nexit 255");
    g_autoptr (GError) error = fail_hello (&far);
    assert_cause (error, GW_CAUSE_SSH_FAILED, "ended with exit status 255");
    assert_cause (error, GW_CAUSE_SSH_FAILED,
                  "Warning: added hostb / root@hostb: Permission denied (publickey).");
    assert_cause (error, GW_CAUSE_SSH_FAILED,
                  "fake ssh' -oBatchMode=yes -oConnectTimeout=10 -oServerAliveInterval=5 "
                  "-oServerAliveCountMax=6 -T -p 2222 -l root -- hostb 'godwitd --stdio'");
    assert_cause (error, GW_CAUSE_SSH_FAILED, "ssh://root@hostb:2222");
    expect_group_gone (far_pid (&far)); /* reaped already, without gw_rpc_free() */
}

static void
test_not_installed (void)
{
    g_auto (Far) far = { 0 };
    far_init (&far, "echo 'bash: line 1: godwitd: command not found' >&2\nexit 127");
    g_autoptr (GError) error = fail_hello (&far);
    assert_cause (error, GW_CAUSE_SSH_FAILED, "godwit is not installed there");
    assert_cause (error, GW_CAUSE_SSH_FAILED, "command not found");
}

static void
test_killed (void)
{
    g_auto (Far) far = { 0 };
    far_init (&far, "kill -9 $$");
    g_autoptr (GError) error = fail_hello (&far);
    assert_cause (error, GW_CAUSE_SSH_FAILED, "was killed by signal 9 and said: nothing");
}

/* Startup files that print: said in a way that a person can act on, and not waited for. */
static void
test_noise (void)
{
    g_auto (Far) far = { 0 };
    far_init (&far, "echo 'Welcome to hostb'\nexec cat > /dev/null");
    g_autoptr (GError) error = fail_hello (&far);
    assert_cause (error, GW_CAUSE_SSH_FAILED, "it says: 'Welcome to hostb'");
    assert_cause (error, GW_CAUSE_SSH_FAILED, "must print nothing");
}

/* An ssh that hangs is not waited for longer than hello, and what it said is told. */
static void
test_hangs (void)
{
    g_auto (Far) far = { 0 };
    g_autoptr (GError) error = NULL;
    far_init (&far, "echo 'Connecting through the bastion' >&2\nexec sleep 60");
    far_connect (&far);
    pid_t pid = far_pid (&far);
    g_assert_false (gw_rpc_hello_within (far.rpc, "test", 300, NULL, NULL, &error));
    assert_cause (error, GW_CAUSE_SSH_FAILED, "did not answer 'hello' within 300 ms; ssh has not "
                                              "ended");
    assert_cause (error, GW_CAUSE_SSH_FAILED, "through the bastion");
    g_clear_pointer (&far.rpc, gw_rpc_free);
    expect_group_gone (pid);
}

/* The end of the process counts, even when a child of it keeps our socket open. */
static void
test_child_holds_the_socket (void)
{
    g_auto (Far) far = { 0 };
    far_init (&far, "exec 3<&0\nsetsid cat <&3 3<&- > /dev/null 2>&1 &\n"
                    "sleep 0.2\nexit 3"); /* not before setsid ran */
    gint64 from_us = g_get_monotonic_time ();
    g_autoptr (GError) error = fail_hello (&far);
    assert_cause (error, GW_CAUSE_SSH_FAILED, "ended with exit status 3");
    g_assert_cmpint (g_get_monotonic_time () - from_us, <, 4 * G_USEC_PER_SEC);
}

static void
test_only_the_last_words (void)
{
    g_auto (Far) far = { 0 };
    far_init (&far, "i=0; while [ $i -lt 3000 ]; do echo \"debug line $i\" >&2; i=$((i+1)); done\n"
                    "printf 'bell \\007\\n' >&2\nexit 255");
    g_autoptr (GError) error = fail_hello (&far);
    assert_cause (error, GW_CAUSE_SSH_FAILED, "debug line 2999 / bell \\x07");
    g_assert_null (strstr (error->message, "debug line 2900"));
    g_assert_cmpuint (strlen (error->message), <, 1500);
}

static void
test_no_such_program (void)
{
    g_auto (Far) far = { 0 };
    g_autoptr (GError) error = NULL;
    far_init (&far, "");
    g_setenv ("GODWIT_SSH", "/no/such/ssh -v", TRUE);
    g_assert_null (gw_rpc_connect (far.address, far.context, NULL, &error));
    assert_cause (error, GW_CAUSE_SSH_FAILED, "cannot run '/no/such/ssh -v -oBatchMode");
    g_clear_error (&error);
    g_setenv ("GODWIT_SSH", "ssh 'unbalanced", TRUE);
    g_assert_null (gw_rpc_connect (far.address, far.context, NULL, &error));
    assert_cause (error, GW_CAUSE_SSH_FAILED, "GODWIT_SSH is not a command line");
}

/* --- an agent on the far side --- */

/* Runs the last argument as sshd does, which is how GODWIT_REMOTE_AGENT gets here. */
static const char run_remote[] = "for last; do :; done\nexec sh -c \"$last\"";
/* The same with pipes in place of the socket. */
static const char run_remote_by_pipes[] = "for last; do :; done\ncat | sh -c \"$last\" | cat";

static void
set_remote_agent (const char *suffix)
{
    g_autofree char *self = g_file_read_link ("/proc/self/exe", NULL);
    g_autofree char *quoted = g_shell_quote (self);
    g_autofree char *remote = g_strdup_printf ("%s " SERVE_ARGUMENT "%s", quoted, suffix);
    g_setenv ("GODWIT_REMOTE_AGENT", remote, TRUE);
}

static void
check_agent (const char *body)
{
    g_auto (Far) far = { 0 };
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonObject) peer = NULL;
    far_init (&far, body);
    set_remote_agent ("");
    far_connect (&far);
    gw_rpc_hello (far.rpc, "test", &peer, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (json_object_get_string_member (peer, "program"), ==, "test-rpc-ssh");
    pid_t pid = far_pid (&far);
    /* more than a pipe and a socket hold, each way */
    g_autofree char *filler = g_strnfill (900 * 1000, 'x');
    g_autoptr (JsonObject) params = json_object_new ();
    json_object_set_string_member (params, "a", filler);
    g_autoptr (JsonNode) echo = gw_rpc_call (far.rpc, GW_RPC_HOST_FACTS, params, NULL, &error);
    g_assert_no_error (error);
    g_assert_nonnull (echo);
    g_autoptr (JsonNode) end = gw_rpc_call (far.rpc, GW_RPC_JOB_ABORT, NULL, NULL, &error);
    g_assert_no_error (error);
    g_assert_nonnull (end);
    g_clear_pointer (&far.rpc, gw_rpc_free);
    expect_group_gone (pid);
}

static void
test_agent (void)
{
    check_agent (run_remote);
}

static void
test_agent_behind_pipes (void)
{
    check_agent (run_remote_by_pipes);
}

/* Ctrl-C goes to the foreground process group, in which ssh must not be. */
static void
test_own_session (void)
{
    g_auto (Far) far = { 0 };
    g_autoptr (GError) error = NULL;
    far_init (&far, run_remote);
    set_remote_agent ("");
    far_connect (&far);
    g_assert_true (gw_rpc_hello (far.rpc, "test", NULL, NULL, &error));
    pid_t pid = far_pid (&far);
    g_assert_cmpint (getsid (pid), ==, pid);
    g_assert_cmpint (getpgid (pid), ==, pid);
}

static void
test_lost_in_use (void)
{
    g_auto (Far) far = { 0 };
    g_autoptr (GError) error = NULL;
    far_init (&far, run_remote);
    set_remote_agent ("; echo 'client_loop: send disconnect: Broken pipe' >&2; exit 255");
    far_connect (&far);
    g_assert_true (gw_rpc_hello (far.rpc, "test", NULL, NULL, &error));
    g_assert_null (gw_rpc_call (far.rpc, GW_RPC_JOB_CLOSE, NULL, NULL, &error));
    assert_cause (error, GW_CAUSE_AGENT_LOST, "'job.close' got no answer");
    assert_cause (error, GW_CAUSE_AGENT_LOST, "exit status 255 and said: client_loop");
}

/* --- ssh and sshd themselves --- */

static void
count_events (GwRpcMethod method, JsonObject *params, gpointer user_data)
{
    (*(guint *) user_data)++;
}

static gboolean
run (const char *command)
{
    int status = -1;
    g_autofree char *errors = NULL;
    return g_spawn_command_line_sync (command, NULL, &errors, &status, NULL)
           && g_spawn_check_wait_status (status, NULL);
}

static void
write_file (const char *dir, const char *name, const char *format, ...) G_GNUC_PRINTF (3, 4);

static void
write_file (const char *dir, const char *name, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autofree char *text = g_strdup_vprintf (format, args);
    g_autofree char *path = g_build_filename (dir, name, NULL);
    va_end (args);
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

/* Keys and configuration with which ssh finds an sshd at the other end of a pipe.  sshd insists on
 * /run/sshd, so it gets a /run of its own.  FALSE: this machine cannot. */
static gboolean
set_up_sshd (const char *dir)
{
    g_autofree char *sshd = g_find_program_in_path ("sshd");
    g_autofree char *keygen = g_strdup_printf ("ssh-keygen -q -t ed25519 -N '' -f %s/key", dir);
    if (geteuid () != 0 || sshd == NULL || !run ("unshare -m mount -t tmpfs none /run")
        || !run (keygen))
        return FALSE;
    write_file (dir, "sshd_config",
                "HostKey %s/key\nAuthorizedKeysFile %s/key.pub\nPermitRootLogin yes\n"
                "StrictModes no\nUsePAM no\nPidFile none\n", dir, dir);
    write_file (dir, "ssh_config",
                "Host *\n  IdentityFile %s/key\n  IdentitiesOnly yes\n"
                "  UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n"
                "  ProxyCommand unshare -m sh -c 'mount -t tmpfs none /run && mkdir /run/sshd && "
                "exec %s -i -f %s/sshd_config'\n", dir, sshd, dir);
    return TRUE;
}

static void
test_sshd (void)
{
    g_auto (Far) far = { 0 };
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonObject) peer = NULL;
    guint n_events = 0;
    far_init (&far, "exit 1");
    if (!set_up_sshd (far.dir)) {
        g_test_skip ("needs root, sshd, ssh-keygen and unshare");
        return;
    }
    g_autofree char *ssh = g_strdup_printf ("ssh -F %s/ssh_config", far.dir);
    g_setenv ("GODWIT_SSH", ssh, TRUE);
    g_autoptr (GError) missing = fail_hello (&far);
    assert_cause (missing, GW_CAUSE_SSH_FAILED, "exit status 127");
    assert_cause (missing, GW_CAUSE_SSH_FAILED, "godwit is not installed there");
    g_assert_null (strstr (missing->message, "\\x0d"));
    g_clear_pointer (&far.rpc, gw_rpc_free);
    set_remote_agent ("");
    far_connect (&far);
    gw_rpc_hello (far.rpc, "test", &peer, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (json_object_get_string_member (peer, "program"), ==, "test-rpc-ssh");
    gw_rpc_set_notify_fn (far.rpc, count_events, &n_events);
    g_autoptr (JsonObject) params = object_int ("n", 1000);
    g_autoptr (JsonNode) result = gw_rpc_call (far.rpc, GW_RPC_JOB_WATCH, params, NULL, &error);
    g_assert_no_error (error);
    g_assert_nonnull (result);
    g_assert_cmpuint (n_events, ==, 1000);
}

/* --- its end --- */

static void
check_free (const char *body, gint64 max_ms)
{
    g_auto (Far) far = { 0 };
    far_init (&far, body);
    far_connect (&far);
    pid_t pid = far_pid (&far);
    gint64 from_us = g_get_monotonic_time ();
    g_clear_pointer (&far.rpc, gw_rpc_free);
    g_assert_cmpint (g_get_monotonic_time () - from_us, <, max_ms * 1000);
    expect_group_gone (pid);
}

static void
test_ends_with_its_input (void)
{
    check_free ("exec cat > /dev/null", 900);
}

static void
test_ends_by_term (void)
{
    check_free ("sleep 60", 1400);
}

static void
test_ends_by_kill (void)
{
    check_free ("trap '' TERM\nwhile :; do sleep 60; done", 2000);
}

/* --- both roles in one program --- */

static int
serve_stdio (void)
{
    g_autoptr (GInputStream) in = g_unix_input_stream_new (0, FALSE);
    g_autoptr (GOutputStream) out = g_unix_output_stream_new (1, FALSE);
    g_autoptr (GIOStream) stream = g_simple_io_stream_new (in, out);
    g_set_prgname ("test-rpc-ssh");
    serve (stream, NULL);
    return 0;
}

int
main (int argc, char **argv)
{
    if (argc > 1 && strcmp (argv[1], SERVE_ARGUMENT) == 0)
        return serve_stdio ();
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/rpc/ssh/permission-denied", test_permission_denied);
    g_test_add_func ("/rpc/ssh/not-installed", test_not_installed);
    g_test_add_func ("/rpc/ssh/killed", test_killed);
    g_test_add_func ("/rpc/ssh/noise", test_noise);
    g_test_add_func ("/rpc/ssh/hangs", test_hangs);
    g_test_add_func ("/rpc/ssh/child-holds-the-socket", test_child_holds_the_socket);
    g_test_add_func ("/rpc/ssh/last-words", test_only_the_last_words);
    g_test_add_func ("/rpc/ssh/no-such-program", test_no_such_program);
    g_test_add_func ("/rpc/ssh/agent", test_agent);
    g_test_add_func ("/rpc/ssh/agent-behind-pipes", test_agent_behind_pipes);
    g_test_add_func ("/rpc/ssh/own-session", test_own_session);
    g_test_add_func ("/rpc/ssh/lost-in-use", test_lost_in_use);
    g_test_add_func ("/rpc/ssh/sshd", test_sshd);
    g_test_add_func ("/rpc/ssh/ends-with-its-input", test_ends_with_its_input);
    g_test_add_func ("/rpc/ssh/ends-by-term", test_ends_by_term);
    g_test_add_func ("/rpc/ssh/ends-by-kill", test_ends_by_kill);
    return g_test_run ();
}
