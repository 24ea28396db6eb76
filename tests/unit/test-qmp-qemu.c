/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The QMP client against the QEMU that is installed; skipped where there is none. */
#include "base.h"
#include "qmp.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_MS 30000

/* A QEMU without a guest: four monitors in a directory of its own. */
typedef struct {
    GPid pid;
    char *directory, *qmp, *pretty, *hmp;
} Qemu;

static char *
monitor (const Qemu *qemu, const char *name)
{
    return g_build_filename (qemu->directory, name, NULL);
}

/* A test that fails leaves no QEMU behind. */
static void
die_with_parent (gpointer user_data)
{
    (void) prctl (PR_SET_PDEATHSIG, SIGKILL); /* cannot fail with this argument */
}

static gboolean
listens (const char *path)
{
    g_autoptr (GSocketClient) client = g_socket_client_new ();
    g_autoptr (GSocketAddress) address = g_unix_socket_address_new (path);
    g_autoptr (GSocketConnection) connection =
        g_socket_client_connect (client, G_SOCKET_CONNECTABLE (address), NULL, NULL);
    return connection != NULL;
}

static void
spawn (Qemu *qemu)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *qmp = g_strdup_printf ("unix:%s,server=on,wait=off", qemu->qmp);
    g_autofree char *pretty =
        g_strdup_printf ("socket,id=pretty,path=%s,server=on,wait=off", qemu->pretty);
    g_autofree char *hmp = g_strdup_printf ("unix:%s,server=on,wait=off", qemu->hmp);
    const char *argv[] = {
        "qemu-system-x86_64", "-accel", "tcg", "-machine", "none", "-nodefaults", "-display",
        "none", "-qmp", qmp, "-chardev", pretty, "-mon", "chardev=pretty,mode=control,pretty=on",
        "-monitor", hmp, NULL,
    };
    g_spawn_async (NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                   die_with_parent, NULL, &qemu->pid, &error);
    g_assert_no_error (error);
    /* The monitors are made in the order of the command line; a socket that is there need not listen yet. */
    gint64 deadline_us = gw_deadline_ms (LIMIT_MS);
    while (!listens (qemu->hmp)) {
        g_assert_cmpint (g_get_monotonic_time (), <, deadline_us);
        gw_wait_ms (NULL, 5, NULL, NULL);
    }
}

static gboolean
qemu_start (Qemu *qemu)
{
    g_autofree char *program = g_find_program_in_path ("qemu-system-x86_64");
    if (program == NULL) {
        g_test_skip ("qemu-system-x86_64 is not installed");
        return FALSE;
    }
    qemu->directory = g_dir_make_tmp ("godwit-qemu-XXXXXX", NULL);
    qemu->qmp = monitor (qemu, "qmp");
    qemu->pretty = monitor (qemu, "pretty");
    qemu->hmp = monitor (qemu, "hmp");
    spawn (qemu);
    return TRUE;
}

static void
qemu_clear (Qemu *qemu)
{
    if (qemu->pid > 0) {
        (void) kill (qemu->pid, SIGKILL); /* it may have ended */
        (void) waitpid (qemu->pid, NULL, 0);
    }
    char *const paths[] = { qemu->qmp, qemu->pretty, qemu->hmp };
    for (guint i = 0; i < G_N_ELEMENTS (paths); i++)
        if (paths[i] != NULL)
            (void) g_unlink (paths[i]);
    if (qemu->directory != NULL)
        g_assert_no_errno (g_rmdir (qemu->directory));
    g_free (qemu->directory);
    g_free (qemu->qmp);
    g_free (qemu->pretty);
    g_free (qemu->hmp);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Qemu, qemu_clear)

static GwQmp *
connect_to (const char *path)
{
    g_autoptr (GError) error = NULL;
    GwQmp *qmp = gw_qmp_connect (path, NULL, LIMIT_MS, NULL, &error);
    g_assert_no_error (error);
    return qmp;
}

static JsonNode *
call (GwQmp *qmp, GwQmpCommand command)
{
    g_autoptr (GError) error = NULL;
    JsonNode *reply = gw_qmp_call (qmp, command, NULL, NULL, &error);
    g_assert_no_error (error);
    return reply;
}

static void
test_greeting (void)
{
    g_auto (Qemu) qemu = { 0 };
    if (!qemu_start (&qemu))
        return;
    g_autoptr (GwQmp) qmp = connect_to (qemu.qmp);
    g_assert_cmpint (gw_qmp_get_peer_pid (qmp), ==, qemu.pid);
    g_assert_cmpint (gw_qmp_get_peer_uid (qmp), ==, getuid ());
    g_assert_true (gw_qmp_has_oob (qmp));

    g_autoptr (JsonNode) reply = call (qmp, GW_QMP_QUERY_VERSION);
    JsonObject *version = json_node_get_object (reply);
    JsonObject *numbers = json_object_get_object_member (version, "qemu");
    const GwQmpVersion *greeted = gw_qmp_get_version (qmp);
    g_assert_cmpint (greeted->major, ==, json_object_get_int_member (numbers, "major"));
    g_assert_cmpint (greeted->minor, ==, json_object_get_int_member (numbers, "minor"));
    g_assert_cmpint (greeted->micro, ==, json_object_get_int_member (numbers, "micro"));
    g_assert_cmpstr (greeted->package, ==, json_object_get_string_member (version, "package"));
}

static GHashTable *
query_names (GwQmp *qmp)
{
    g_autoptr (JsonNode) reply = call (qmp, GW_QMP_QUERY_COMMANDS);
    JsonArray *commands = json_node_get_array (reply);
    GHashTable *names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < json_array_get_length (commands); i++) {
        JsonObject *command = json_array_get_object_element (commands, i);
        g_hash_table_add (names, g_strdup (json_object_get_string_member (command, "name")));
    }
    return names;
}

/* The rows of commands.def against what this QEMU says that it has. */
static void
test_table (void)
{
    g_auto (Qemu) qemu = { 0 };
    if (!qemu_start (&qemu))
        return;
    g_autoptr (GwQmp) qmp = connect_to (qemu.qmp);
    g_autoptr (GHashTable) names = query_names (qmp);
    for (int i = 0; i < GW_N_QMP_COMMANDS; i++) {
        const GwQmpCommandInfo *info = gw_qmp_command_get_info ((GwQmpCommand) i);
        gboolean is_there = g_hash_table_contains (names, info->name);
        gboolean is_due = gw_qmp_has_command (qmp, (GwQmpCommand) i);
        /* query-commands leaves out what the state of the session does not allow any more */
        if (i == GW_QMP_QMP_CAPABILITIES || (is_due && info->flags & GW_QMP_OPTIONAL))
            continue;
        if (is_there != is_due)
            g_error ("'%s': the row says %d, QEMU says %d", info->name, is_due, is_there);
    }
}

static gboolean
allows_oob (JsonArray *schema, const char *name)
{
    for (guint i = 0; i < json_array_get_length (schema); i++) {
        JsonObject *entity = json_array_get_object_element (schema, i);
        if (g_strcmp0 (json_object_get_string_member (entity, "meta-type"), "command") == 0 &&
            g_strcmp0 (json_object_get_string_member (entity, "name"), name) == 0)
            return json_object_get_boolean_member_with_default (entity, "allow-oob", FALSE);
    }
    return FALSE;
}

static void
test_table_oob (void)
{
    g_auto (Qemu) qemu = { 0 };
    if (!qemu_start (&qemu))
        return;
    g_autoptr (GwQmp) qmp = connect_to (qemu.qmp);
    g_autoptr (JsonNode) schema = call (qmp, GW_QMP_QUERY_QMP_SCHEMA);
    for (int i = 0; i < GW_N_QMP_COMMANDS; i++) {
        const GwQmpCommandInfo *info = gw_qmp_command_get_info ((GwQmpCommand) i);
        if (gw_qmp_has_command (qmp, (GwQmpCommand) i))
            g_assert_true (((info->flags & GW_QMP_OOB) != 0) ==
                           allows_oob (json_node_get_array (schema), info->name));
    }
}

static void
test_error_class (void)
{
    static const struct {
        GwQmpCommand command;
        const char *arguments, *class, *part;
    } rows[] = {
        { GW_QMP_DEVICE_DEL, "{\"id\": \"nope\"}", "DeviceNotFound", "device_del: DeviceNotFound: " },
        { GW_QMP_QOM_GET, "{\"path\": \"/nope\", \"property\": \"x\"}", "DeviceNotFound", "/nope" },
        { GW_QMP_MIGRATE, "{}", "GenericError", "'uri'" },
        { GW_QMP_GETFD, "{\"fdname\": \"x\"}", "GenericError", "getfd: GenericError: " },
        { GW_QMP_QMP_CAPABILITIES, "{}", "CommandNotFound", "already" },
    };
    g_auto (Qemu) qemu = { 0 };
    if (!qemu_start (&qemu))
        return;
    g_autoptr (GwQmp) qmp = connect_to (qemu.qmp);
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GError) error = NULL;
        g_autoptr (JsonNode) arguments = json_from_string (rows[i].arguments, NULL);
        g_assert_null (gw_qmp_call (qmp, rows[i].command, json_node_get_object (arguments), NULL,
                                    &error));
        g_test_message ("%s", error->message);
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_QMP_COMMAND);
        g_assert_cmpstr (gw_qmp_get_error_class (error), ==, rows[i].class);
        g_assert_nonnull (strstr (error->message, rows[i].part));
    }
}

/* QEMU cannot parse this; what it then answers would be taken for answers to later commands. */
static void
test_not_utf8 (void)
{
    g_auto (Qemu) qemu = { 0 };
    if (!qemu_start (&qemu))
        return;
    g_autoptr (GwQmp) qmp = connect_to (qemu.qmp);
    g_autoptr (JsonObject) arguments = json_object_new ();
    g_autoptr (GError) error = NULL;
    json_object_set_string_member (arguments, "path", "/\xff");
    json_object_set_string_member (arguments, "property", "x");
    g_assert_null (gw_qmp_call (qmp, GW_QMP_QOM_GET, arguments, NULL, &error));
    g_test_message ("%s", error->message);
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_UNSUPPORTED);
    g_autoptr (JsonNode) reply = call (qmp, GW_QMP_QUERY_STATUS);
    g_assert_nonnull (reply);
}

static void
test_fd (void)
{
    g_auto (Qemu) qemu = { 0 };
    if (!qemu_start (&qemu))
        return;
    g_autoptr (GwQmp) qmp = connect_to (qemu.qmp);
    g_autoptr (JsonObject) arguments = json_object_new ();
    g_autoptr (GError) error = NULL;
    json_object_set_int_member (arguments, "fdset-id", 7);
    g_autoptr (JsonNode) reply =
        gw_qmp_call_fd (qmp, GW_QMP_ADD_FD, arguments, STDIN_FILENO, NULL, &error);
    g_assert_no_error (error);
    g_assert_nonnull (reply);
    g_autoptr (JsonNode) sets = call (qmp, GW_QMP_QUERY_FDSETS);
    JsonObject *set = json_array_get_object_element (json_node_get_array (sets), 0);
    g_assert_cmpint (json_object_get_int_member (set, "fdset-id"), ==, 7);
}

static void
assert_no_connection (const char *path, guint timeout_ms, GwCause cause, const char *part)
{
    g_autoptr (GError) error = NULL;
    g_assert_null (gw_qmp_connect (path, NULL, timeout_ms, NULL, &error));
    g_test_message ("%s", error->message);
    g_assert_cmpint (gw_error_get_cause (error), ==, cause);
    g_assert_nonnull (strstr (error->message, part));
}

static void
test_busy (void)
{
    g_auto (Qemu) qemu = { 0 };
    if (!qemu_start (&qemu))
        return;
    g_autofree char *pid = g_strdup_printf ("process %d", (int) qemu.pid);
    GwQmp *qmp = connect_to (qemu.qmp);
    assert_no_connection (qemu.qmp, 500, GW_CAUSE_QMP_BUSY, pid);
    gw_qmp_free (qmp);
    g_autoptr (GwQmp) again = connect_to (qemu.qmp); /* the monitor is free again */
    g_assert_true (gw_qmp_is_open (again));
}

static void
test_hmp (void)
{
    g_auto (Qemu) qemu = { 0 };
    if (!qemu_start (&qemu))
        return;
    assert_no_connection (qemu.hmp, LIMIT_MS, GW_CAUSE_QMP_NOT_QMP, "'QEMU ");
}

static void
test_pretty (void)
{
    g_auto (Qemu) qemu = { 0 };
    if (!qemu_start (&qemu))
        return;
    g_autoptr (GwQmp) qmp = connect_to (qemu.pretty);
    g_autoptr (GHashTable) names = query_names (qmp);
    g_assert_true (g_hash_table_contains (names, "migrate"));
}

static void
count_event (const char *event, JsonObject *data, gint64 at_us, gpointer user_data)
{
    g_assert_cmpint (ABS (at_us - g_get_real_time ()), <, 60 * G_USEC_PER_SEC);
    g_string_append_printf (user_data, "%s ", event);
}

static void
note_closed (const GError *why, gpointer user_data)
{
    g_assert_cmpint (gw_error_get_cause (why), ==, GW_CAUSE_QMP_GONE);
    g_string_append (user_data, "closed ");
}

static gboolean
has_closed (gpointer user_data)
{
    return g_str_has_suffix (((GString *) user_data)->str, "closed ");
}

static void
wait_closed (GString *log)
{
    g_autoptr (GError) error = NULL;
    gw_wait_until (NULL, has_closed, log, gw_deadline_ms (LIMIT_MS), NULL, &error);
    g_assert_no_error (error);
}

static void
test_events_and_quit (void)
{
    g_auto (Qemu) qemu = { 0 };
    if (!qemu_start (&qemu))
        return;
    g_autoptr (GString) log = g_string_new (NULL);
    g_autoptr (GwQmp) qmp = connect_to (qemu.qmp);
    gw_qmp_set_event_fn (qmp, count_event, log);
    gw_qmp_set_closed_fn (qmp, note_closed, log);
    static const GwQmpCommand commands[] = { GW_QMP_STOP, GW_QMP_CONT, GW_QMP_QUIT };
    for (guint i = 0; i < G_N_ELEMENTS (commands); i++) {
        g_autoptr (JsonNode) reply = call (qmp, commands[i]);
        g_assert_cmpint (json_object_get_size (json_node_get_object (reply)), ==, 0);
    }
    wait_closed (log);
    g_assert_cmpstr (log->str, ==, "STOP RESUME SHUTDOWN closed ");
}

static void
note_gone (JsonNode *reply, const GError *error, gpointer user_data)
{
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_QMP_GONE);
    g_assert_true (g_str_has_prefix (error->message, "query-pci: "));
    g_string_append (user_data, "gone ");
}

static void
test_killed (void)
{
    g_auto (Qemu) qemu = { 0 };
    if (!qemu_start (&qemu))
        return;
    g_autoptr (GString) log = g_string_new (NULL);
    g_autoptr (GwQmp) qmp = connect_to (qemu.qmp);
    gw_qmp_set_closed_fn (qmp, note_closed, log);
    g_assert_no_errno (kill (qemu.pid, SIGSTOP)); /* so that it cannot answer first */
    gw_qmp_send (qmp, GW_QMP_QUERY_PCI, NULL, note_gone, log);
    g_assert_no_errno (kill (qemu.pid, SIGKILL));
    wait_closed (log);
    g_assert_cmpstr (log->str, ==, "gone closed ");
}

static void
test_stopped (void)
{
    g_auto (Qemu) qemu = { 0 };
    if (!qemu_start (&qemu))
        return;
    g_autoptr (GwQmp) qmp = connect_to (qemu.qmp);
    g_autoptr (GError) error = NULL;
    g_assert_no_errno (kill (qemu.pid, SIGSTOP));
    g_assert_null (gw_qmp_call_timeout (qmp, GW_QMP_QUERY_PCI, NULL, 200, NULL, &error));
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_QMP_TIMEOUT);
    g_assert_no_errno (kill (qemu.pid, SIGCONT));
    g_autoptr (JsonNode) reply = call (qmp, GW_QMP_QUERY_STATUS);
    g_assert_true (JSON_NODE_HOLDS_OBJECT (reply));
}

/* A listener whose queue is full: a QEMU that connects to it hangs. */
typedef struct {
    int listener, client;
    char *path;
} Trap;

static void
trap_set (Trap *trap, const Qemu *qemu)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    trap->path = monitor (qemu, "trap");
    strcpy (address.sun_path, trap->path);
    trap->listener = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    trap->client = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_no_errno (bind (trap->listener, (struct sockaddr *) &address, sizeof address));
    g_assert_no_errno (listen (trap->listener, 0));
    g_assert_no_errno (connect (trap->client, (struct sockaddr *) &address, sizeof address));
}

static void
trap_clear (Trap *trap)
{
    (void) g_unlink (trap->path);
    (void) close (trap->listener);
    (void) close (trap->client);
    g_free (trap->path);
}

/* With the main loop hanging and more commands given up than QEMU queues, the out-of-band command
 * is still answered; and when the main loop comes back, so is everything else. */
static void
test_main_loop_hangs (void)
{
    g_auto (Qemu) qemu = { 0 };
    Trap trap;
    if (!qemu_start (&qemu))
        return;
    g_autoptr (GwQmp) qmp = connect_to (qemu.qmp);
    trap_set (&trap, &qemu);
    g_autofree char *text = g_strdup_printf (
        "{\"id\": \"t\", \"backend\": {\"type\": \"socket\", \"data\": {\"server\": false, \"addr\": "
        "{\"type\": \"unix\", \"data\": {\"path\": \"%s\"}}}}}", trap.path);
    g_autoptr (JsonNode) arguments = json_from_string (text, NULL);
    gw_qmp_send (qmp, GW_QMP_CHARDEV_ADD, json_node_get_object (arguments), NULL, NULL);
    for (guint i = 0; i < 12; i++) {
        g_autoptr (GError) error = NULL;
        g_assert_null (gw_qmp_call_timeout (qmp, GW_QMP_QUERY_STATUS, NULL, 30, NULL, &error));
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_QMP_TIMEOUT);
    }
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonNode) yanks = gw_qmp_call_oob (qmp, GW_QMP_QUERY_YANK, NULL, NULL, &error);
    g_assert_no_error (error);
    g_assert_true (JSON_NODE_HOLDS_ARRAY (yanks));
    trap_clear (&trap);
    g_autoptr (JsonNode) status = call (qmp, GW_QMP_QUERY_STATUS);
    g_assert_true (JSON_NODE_HOLDS_OBJECT (status));
}

static const struct {
    const char *path;
    GTestFunc fn;
} tests[] = {
    { "/qmp/qemu/greeting", test_greeting },
    { "/qmp/qemu/table", test_table },
    { "/qmp/qemu/table-oob", test_table_oob },
    { "/qmp/qemu/error-class", test_error_class },
    { "/qmp/qemu/not-utf8", test_not_utf8 },
    { "/qmp/qemu/fd", test_fd },
    { "/qmp/qemu/busy", test_busy },
    { "/qmp/qemu/hmp", test_hmp },
    { "/qmp/qemu/pretty", test_pretty },
    { "/qmp/qemu/events-and-quit", test_events_and_quit },
    { "/qmp/qemu/killed", test_killed },
    { "/qmp/qemu/stopped", test_stopped },
    { "/qmp/qemu/main-loop-hangs", test_main_loop_hangs },
};

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (tests); i++)
        g_test_add_func (tests[i].path, tests[i].fn);
    return g_test_run ();
}
