/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guestagent.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PORT_NAME "\"org.qemu.guest_agent.0\""
#define READ_MS 1000   /* for the guest to tell its time: it may be busy, but not more */
#define SET_MS 5000    /* qemu-ga has hwclock set the hardware's too, which waits for a full second */
#define SLACK_US 10000 /* less than that is left alone */
#define CLOSE_US 100000 /* a busy guest sets a time that is over by then */

/* --- where it is -------------------------------------------------------------------------------------- */

/* The value of `name = "value"` in the lines up to `end`, quotes included.  (transfer full) */
static char *
find_property (const char *text, const char *end, const char *name)
{
    g_autofree char *wanted = g_strdup_printf (" %s = ", name);
    const char *at = g_strstr_len (text, end - text, wanted);
    if (at == NULL)
        return NULL;
    at += strlen (wanted);
    return g_strndup (at, strcspn (at, "\r\n"));
}

char *
gw_guest_agent_find_chardev (const char *qtree)
{
    static const char head[] = "dev: virtserialport";
    const char *at = qtree != NULL ? strstr (qtree, head) : NULL;
    while (at != NULL) {
        const char *next = strstr (at + strlen (head), "dev: ");
        const char *end = next != NULL ? next : at + strlen (at);
        g_autofree char *name = find_property (at, end, "name");
        g_autofree char *chardev = find_property (at, end, "chardev");
        if (g_strcmp0 (name, PORT_NAME) == 0 && chardev != NULL && strlen (chardev) > 2)
            return g_strndup (chardev + 1, strlen (chardev) - 2);
        at = strstr (end, head);
    }
    return NULL;
}

char *
gw_guest_agent_find_socket (JsonArray *chardevs, const char *label, const char **ret_why)
{
    static const char free_server[] = "disconnected:unix:";
    *ret_why = "its port has no chardev";
    for (guint i = 0; chardevs != NULL && i < json_array_get_length (chardevs); i++) {
        JsonNode *node = json_array_get_element (chardevs, i);
        JsonObject *chardev = JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
        if (chardev == NULL || strcmp (gw_json_peek_string (chardev, "label", ""), label) != 0)
            continue;
        const char *file = gw_json_peek_string (chardev, "filename", "");
        const char *options = strrchr (file, ',');
        *ret_why = !gw_json_peek_bool (chardev, "frontend-open", FALSE) ? "no agent runs in the guest"
                   : g_str_has_prefix (file, "unix:")                   ? "somebody else is connected to it"
                                                      : "its chardev is no unix socket that QEMU listens on";
        if (!gw_json_peek_bool (chardev, "frontend-open", FALSE) || options == NULL ||
            !g_str_has_prefix (file, free_server) || strstr (options, "server") == NULL)
            return NULL;
        const char *path = file + strlen (free_server);
        return *path == '/' ? g_strndup (path, (gsize) (options - path)) : NULL;
    }
    return NULL;
}

/* --- what it says ----------------------------------------------------------------------------------------- */

char *
gw_guest_agent_take_line (GByteArray *buffer, gboolean delimited)
{
    const guint8 *mark = delimited && buffer->len > 0 ? memrchr (buffer->data, 0xff, buffer->len) : NULL;
    if (mark != NULL)
        g_byte_array_remove_range (buffer, 0, (guint) (mark - buffer->data) + 1);
    const guint8 *end = buffer->len > 0 ? memchr (buffer->data, '\n', buffer->len) : NULL;
    if (end == NULL || (delimited && mark == NULL)) {
        if (buffer->len > GW_GUEST_AGENT_LINE_MAX)
            g_byte_array_set_size (buffer, 0);
        return NULL;
    }
    gsize len = (gsize) (end - buffer->data);
    char *line = g_strndup ((const char *) buffer->data, len);
    g_byte_array_remove_range (buffer, 0, (guint) len + 1);
    return line;
}

gboolean
gw_guest_agent_read_number (const char *line, gint64 *ret_number)
{
    g_autoptr (JsonObject) answer = gw_json_parse (line, -1, NULL);
    return answer != NULL && gw_json_get_int (answer, "return", G_MININT64, G_MAXINT64, ret_number, NULL);
}

/* --- the talk ----------------------------------------------------------------------------------------------- */

typedef struct {
    int fd;
    gint64 deadline_us;
    GByteArray *received;
} Talk;

static gboolean
wait_for (const Talk *talk, short events)
{
    struct pollfd poll_fd = { talk->fd, events, 0 };
    guint left_ms = gw_deadline_left_ms (talk->deadline_us);
    return left_ms > 0 && poll (&poll_fd, 1, (int) left_ms) > 0;
}

static gboolean
send_all (Talk *talk, const char *text)
{
    for (gsize at = 0, len = strlen (text); at < len;) {
        ssize_t n = wait_for (talk, POLLOUT)
                        ? send (talk->fd, text + at, len - at, MSG_NOSIGNAL | MSG_DONTWAIT)
                        : -1;
        if (n <= 0)
            return FALSE;
        at += (gsize) n;
    }
    return TRUE;
}

/* NULL: nothing within the time.  (transfer full) */
static char *
receive_line (Talk *talk, gboolean delimited)
{
    for (;;) {
        char *line = gw_guest_agent_take_line (talk->received, delimited);
        if (line != NULL)
            return line;
        guint8 bytes[512];
        ssize_t n = wait_for (talk, POLLIN) ? recv (talk->fd, bytes, sizeof bytes, MSG_DONTWAIT) : -1;
        if (n <= 0)
            return NULL;
        g_byte_array_append (talk->received, bytes, (guint) n);
    }
}

static gboolean
synchronize (Talk *talk)
{
    gint64 id = (gint64) g_random_int (), got = -1;
    g_autofree char *question =
        g_strdup_printf ("\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%" G_GINT64_FORMAT
                         "}}\n", id);
    if (!send_all (talk, question))
        return FALSE;
    g_autofree char *line = receive_line (talk, TRUE);
    return line != NULL && gw_guest_agent_read_number (line, &got) && got == id;
}

/* How far the guest's clock is ahead of the host's, and how long the answer took. */
static gboolean
read_offset (Talk *talk, gint64 *ret_offset_us, gint64 *ret_took_us)
{
    gint64 before_us = g_get_real_time (), time_ns;
    if (!send_all (talk, "{\"execute\":\"guest-get-time\"}\n"))
        return FALSE;
    g_autofree char *line = receive_line (talk, FALSE);
    gint64 after_us = g_get_real_time ();
    if (line == NULL || !gw_guest_agent_read_number (line, &time_ns) || time_ns < 0)
        return FALSE;
    *ret_took_us = after_us - before_us;
    *ret_offset_us = time_ns / 1000 - (before_us + *ret_took_us / 2);
    return TRUE;
}

/* Whatever is answered: the clock is read again, and that counts. */
static gboolean
set_clock (Talk *talk, gint64 aim_us, gint64 took_us)
{
    gint64 time_ns = (g_get_real_time () + aim_us + took_us / 2) * 1000;
    g_autofree char *question = g_strdup_printf (
        "{\"execute\":\"guest-set-time\",\"arguments\":{\"time\":%" G_GINT64_FORMAT "}}\n", time_ns);
    g_autofree char *line = send_all (talk, question) ? receive_line (talk, FALSE) : NULL;
    return line != NULL;
}

static const char *
speak (Talk *talk, gboolean sets, gint64 aim_us, GwGuestClock *clock)
{
    gint64 took_us;
    if (!synchronize (talk))
        return "it does not answer";
    if (!read_offset (talk, &clock->offset_us, &took_us))
        return "it does not tell the time";
    clock->has_answered = TRUE;
    clock->left_us = aim_us - clock->offset_us;
    if (!sets || clock->left_us <= SLACK_US + took_us / 2)
        return NULL;
    gint64 offset_us;
    talk->deadline_us += SET_MS * 1000;
    if (!set_clock (talk, aim_us, took_us) || !read_offset (talk, &offset_us, &took_us))
        return "it did not set the clock";
    clock->left_us = aim_us - offset_us;
    clock->is_set = ABS (clock->left_us) <= CLOSE_US + took_us;
    return clock->is_set ? NULL : "it did not set the clock";
}

void
gw_guest_agent_talk (const char *path, gboolean sets, gint64 aim_us, GwGuestClock *ret_clock)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    Talk talk = { socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                  gw_deadline_ms (READ_MS), g_byte_array_new () };
    const char *why = "its socket does not take a connection";
    *ret_clock = (GwGuestClock) { .offset_us = 0 };
    if (strlen (path) < sizeof address.sun_path) {
        memcpy (address.sun_path, path, strlen (path));
        if (talk.fd >= 0 && connect (talk.fd, (struct sockaddr *) &address, sizeof address) == 0)
            why = speak (&talk, sets, aim_us, ret_clock);
    }
    ret_clock->why = g_strdup (why);
    if (talk.fd >= 0)
        (void) close (talk.fd);
    g_byte_array_unref (talk.received);
}
