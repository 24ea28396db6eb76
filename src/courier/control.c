/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_MAX_BYTES (16 * 1024) /* of a command */
#define OUT_MAX_BYTES (256 * 1024) /* events that the agent did not read */

struct _GwControl {
    int fd;
    GString *out;
    char in[LINE_MAX_BYTES];
    gsize in_len;
    GQueue commands; /* Command */
    GwFd passed_fd;  /* the last that came with a line; -1: none */

    /* the lease (courier.h) */
    GwFd lease_fd;       /* where the next agent comes; -1: none */
    guint lease_s;       /* how long there may be none; 0: not at all */
    gint64 away_us;      /* since when there is none; 0: there is one */
    gboolean is_midline; /* the agent has the beginning of the first line of `out` */
    uid_t uid;           /* ours */
};

typedef struct {
    GwCommand command;
    JsonObject *line;
} Command;

static const struct {
    const char *name;
    GwCommand command;
} command_table[] = {
    { "stats", GW_COMMAND_STATS },
    { "probe", GW_COMMAND_PROBE },
    { "spool", GW_COMMAND_SPOOL },
    { "deadline", GW_COMMAND_DEADLINE },
    { "lane", GW_COMMAND_LANE },
    { "class", GW_COMMAND_CLASS },
    { "verify", GW_COMMAND_VERIFY },
    { "path-add", GW_COMMAND_PATH_ADD },
    { "path-remove", GW_COMMAND_PATH_REMOVE },
    { "lease", GW_COMMAND_LEASE },
    { "quit", GW_COMMAND_QUIT },
};

GwControl *
gw_control_new (int fd)
{
    GwControl *control = g_new0 (GwControl, 1);
    control->fd = fd;
    control->passed_fd = control->lease_fd = -1;
    control->uid = geteuid ();
    control->out = g_string_new (NULL);
    g_queue_init (&control->commands);
    return control;
}

static void
command_free (gpointer data)
{
    Command *command = data;
    json_object_unref (command->line);
    g_free (command);
}

void
gw_control_free (GwControl *control)
{
    if (control == NULL)
        return;
    gw_fd_clear (&control->fd);
    gw_fd_clear (&control->passed_fd);
    gw_fd_clear (&control->lease_fd);
    g_string_free (control->out, TRUE);
    g_queue_clear_full (&control->commands, command_free);
    g_free (control);
}

int
gw_control_get_fd (const GwControl *control)
{
    return control->fd >= 0 ? control->fd : control->lease_fd;
}

short
gw_control_get_events (const GwControl *control)
{
    gboolean has_words = control->fd >= 0 && control->out->len > 0;
    return (short) (POLLIN | (has_words ? POLLOUT : 0));
}

/* --- commands ------------------------------------------------------------------------------------ */

static GwCommand
find_command (const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS (command_table); i++)
        if (g_strcmp0 (command_table[i].name, name) == 0)
            return command_table[i].command;
    return GW_COMMAND_NONE;
}

static gboolean
take_line (GwControl *control, const char *line, gsize len, GError **error)
{
    g_autoptr (JsonParser) parser = json_parser_new ();
    if (!json_parser_load_from_data (parser, line, (gssize) len, NULL) ||
        !JSON_NODE_HOLDS_OBJECT (json_parser_get_root (parser)))
        return gw_fail (error, GW_CAUSE_AGENT_LOST, "the agent sent a line that is no JSON object");
    JsonObject *object = json_node_get_object (json_parser_get_root (parser));
    const char *name = gw_control_get_text (object, "command");
    GwCommand command = find_command (name);
    if (command == GW_COMMAND_NONE) {
        gw_control_say (control, "unknown-command", "command", name, NULL);
        return TRUE;
    }
    Command *queued = g_new (Command, 1);
    *queued = (Command){ command, json_object_ref (object) };
    g_queue_push_tail (&control->commands, queued);
    return TRUE;
}

const char *
gw_control_get_text (JsonObject *line, const char *key)
{
    JsonNode *node = json_object_get_member (line, key);
    return node != NULL && JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;
}

gint64
gw_control_get_number (JsonObject *line, const char *key, gint64 otherwise)
{
    JsonNode *node = json_object_get_member (line, key);
    return node != NULL && json_node_get_value_type (node) == G_TYPE_INT64 ? json_node_get_int (node)
                                                                          : otherwise;
}

static gboolean
take_lines (GwControl *control, GError **error)
{
    char *newline;
    while ((newline = memchr (control->in, '\n', control->in_len)) != NULL) {
        gsize len = (gsize) (newline - control->in);
        if (!take_line (control, control->in, len, error))
            return FALSE;
        control->in_len -= len + 1;
        memmove (control->in, newline + 1, control->in_len);
    }
    if (control->in_len == sizeof control->in)
        return gw_fail (error, GW_CAUSE_AGENT_LOST, "the agent sent a line of more than %d bytes",
                        LINE_MAX_BYTES);
    return TRUE;
}

int
gw_control_steal_fd (GwControl *control)
{
    return gw_fd_steal (&control->passed_fd);
}

static void
take_fd (GwControl *control, struct msghdr *message)
{
    struct cmsghdr *head = CMSG_FIRSTHDR (message);
    if (head == NULL || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS ||
        head->cmsg_len != CMSG_LEN (sizeof (int)))
        return;
    gw_fd_clear (&control->passed_fd);
    memcpy (&control->passed_fd, CMSG_DATA (head), sizeof (int));
}

/* There is room for one descriptor; the kernel closes what is beyond. */
static gssize
receive (GwControl *control)
{
    struct iovec piece = { control->in + control->in_len, sizeof control->in - control->in_len };
    union {
        char bytes[CMSG_SPACE (sizeof (int))];
        struct cmsghdr align;
    } extra;
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = extra.bytes,
                              .msg_controllen = CMSG_LEN (sizeof (int)) }; /* the union has room for two */
    gssize n = recvmsg (control->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n > 0)
        take_fd (control, &message);
    return n;
}

static gboolean
read_lines (GwControl *control, GError **error)
{
    gssize n = receive (control);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return TRUE;
    if (n <= 0)
        return gw_fail (error, GW_CAUSE_AGENT_LOST, "the agent closed the control socket");
    control->in_len += (gsize) n;
    return take_lines (control, error);
}

/* FALSE when the agent reads no more. */
static gboolean
write_lines (GwControl *control)
{
    while (control->fd >= 0 && control->out->len > 0) {
        gssize n = send (control->fd, control->out->str, control->out->len,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        control->is_midline = n > 0 && control->out->str[n - 1] != '\n';
        g_string_erase (control->out, 0, n);
    }
    return TRUE;
}

static gboolean
talk (GwControl *control, GError **error)
{
    if (!read_lines (control, error))
        return FALSE;
    if (!write_lines (control) || control->out->len > OUT_MAX_BYTES)
        return gw_fail (error, GW_CAUSE_AGENT_LOST, "the agent does not read the control socket");
    return TRUE;
}

/* --- the lease ----------------------------------------------------------------------------------- */

static void
drop_line (GwControl *control)
{
    gsize len = strcspn (control->out->str, "\n");
    g_string_erase (control->out, 0, (gssize) MIN (len + 1, control->out->len));
}

/* A line of which a part has gone is lost: the next agent begins with the next one. */
static void
detach (GwControl *control)
{
    gw_fd_clear (&control->fd);
    control->in_len = 0;
    if (control->is_midline)
        drop_line (control);
    control->is_midline = FALSE;
    control->away_us = g_get_monotonic_time ();
}

static gboolean
is_ours (const GwControl *control, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    return getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == 0 || peer.uid == control->uid);
}

/* Whoever else comes has no business here: its connection is closed. */
static void
take_agent (GwControl *control)
{
    g_auto (GwFd) fd = accept4 (control->lease_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 || !is_ours (control, fd))
        return;
    control->fd = gw_fd_steal (&fd);
    control->away_us = 0;
    (void) write_lines (control); /* an agent that has gone again is noticed by the next step */
}

gboolean
gw_control_step (GwControl *control, GError **error)
{
    g_autoptr (GError) failure = NULL;
    if (control->fd < 0)
        take_agent (control);
    else if (!talk (control, &failure) && control->lease_s > 0)
        detach (control);
    else if (failure != NULL) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return FALSE;
    }
    return TRUE;
}

gboolean
gw_control_set_lease (GwControl *control, int fd, guint seconds)
{
    if (fd < 0 && control->lease_fd < 0 && seconds > 0)
        return FALSE;
    if (fd >= 0) {
        gw_fd_clear (&control->lease_fd);
        control->lease_fd = fd;
    }
    control->lease_s = seconds;
    return TRUE;
}

gint64
gw_control_get_due_us (const GwControl *control)
{
    return control->away_us != 0 ? control->away_us + control->lease_s * G_USEC_PER_SEC : G_MAXINT64;
}

gboolean
gw_control_check (const GwControl *control, GError **error)
{
    return g_get_monotonic_time () < gw_control_get_due_us (control) ||
           gw_fail (error, GW_CAUSE_AGENT_LOST, "no agent has come back for %u s", control->lease_s);
}

GwCommand
gw_control_next (GwControl *control, JsonObject **ret_line)
{
    g_autofree Command *first = g_queue_pop_head (&control->commands);
    if (first == NULL)
        return GW_COMMAND_NONE;
    *ret_line = first->line;
    return first->command;
}

/* --- events -------------------------------------------------------------------------------------- */

/* `path` 0 is none. */
static void
say_pairs (GwControl *control, const char *event, guint path, va_list pairs)
{
    g_autoptr (JsonObject) object = json_object_new ();
    g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
    const char *key;
    json_object_set_string_member (object, "event", event);
    if (path != 0)
        json_object_set_int_member (object, "path", path);
    while ((key = va_arg (pairs, const char *)) != NULL) {
        const char *value = va_arg (pairs, const char *);
        if (value != NULL)
            json_object_set_string_member (object, key, value);
    }
    json_node_set_object (node, object);
    g_autofree char *json = json_to_string (node, FALSE);
    gw_control_say_json (control, json);
}

void
gw_control_say (GwControl *control, const char *event, ...)
{
    va_list pairs;
    va_start (pairs, event);
    say_pairs (control, event, 0, pairs);
    va_end (pairs);
}

void
gw_control_say_of_path (GwControl *control, const char *event, guint path, ...)
{
    va_list pairs;
    va_start (pairs, path);
    say_pairs (control, event, path, pairs);
    va_end (pairs);
}

void
gw_control_say_json (GwControl *control, const char *json)
{
    while (control->fd < 0 && control->out->len > 0 && control->out->len + strlen (json) >= OUT_MAX_BYTES)
        drop_line (control); /* nobody reads: the newest are worth most */
    g_string_append (control->out, json);
    g_string_append_c (control->out, '\n');
    (void) write_lines (control); /* the next step notices a dead agent */
}

void
gw_control_say_format (GwControl *control, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autofree char *json = g_strdup_vprintf (format, args);
    va_end (args);
    gw_control_say_json (control, json);
}

void
gw_control_drain (GwControl *control, guint ms)
{
    gint64 deadline_us = gw_deadline_ms (ms);
    while (control->fd >= 0 && write_lines (control) && control->out->len > 0) {
        struct pollfd p = { .fd = control->fd, .events = POLLOUT };
        guint left_ms = gw_deadline_left_ms (deadline_us);
        if (left_ms == 0 || poll (&p, 1, (int) left_ms) < 0)
            return;
    }
}
