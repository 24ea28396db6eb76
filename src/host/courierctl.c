/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting, watching and asking the courier of this side; godwit-courier(8) has the control protocol. */
#include "host-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONTROL_LINE_MAX (64 * 1024)
#define READY_MS 20000
#define END_MS 2000
#define ANSWER_MS 2000
#define PROOF_MS 100000    /* of all the memory */
#define PROBE_SLACK_MS 200 /* for the courier to say that there was no answer */

struct _GwCourierControl {
    GwHost *host; /* borrowed */
    GMainContext *context;
    GwProcess *process;
    char *socket_path; /* of the lane that the courier listens on; NULL on the destination */
    GwFd control;
    GSource *source;
    GString *input;
    gboolean is_ready, is_done, is_ended, is_stopping; /* is_done: every lane ended cleanly */
    gboolean has_probe, is_spooling; /* the answers to these have come */
    gint64 probe_rtt_us;             /* -1: the link did not answer */
    GError *failure;   /* what it said before it ended */
    JsonObject *stats; /* the last answer */
    JsonObject *proof; /* the answer to that; NULL: none so far */
    char *refusal;     /* of a command; NULL: none */
};

/* --- what it says ------------------------------------------------------------------------------------ */

static void
on_failed (GwCourierControl *courier, JsonObject *message)
{
    GwCause cause = gw_cause_from_code (gw_json_peek_string (message, "cause", NULL));
    const char *text = gw_json_peek_string (message, "message", "the courier failed");
    if (courier->failure == NULL)
        gw_fail (&courier->failure, cause != GW_CAUSE_NONE ? cause : GW_CAUSE_COURIER_DIED, "%s",
                 text);
    g_autofree char *detail = g_strdup_printf (
        "%s: %s", gw_cause_get_info (gw_error_get_cause (courier->failure))->code, text);
    if (!courier->is_stopping)
        gw_host_emit (courier->host, 0, "courier-failed", detail);
}

static void
on_stats (GwCourierControl *courier, JsonObject *message)
{
    g_clear_pointer (&courier->stats, json_object_unref);
    courier->stats = json_object_ref (message);
}

static void
on_verified (GwCourierControl *courier, JsonObject *message)
{
    g_clear_pointer (&courier->proof, json_object_unref);
    courier->proof = json_object_ref (message);
}

static void
on_refused (GwCourierControl *courier, JsonObject *message)
{
    g_free (courier->refusal);
    courier->refusal = g_strdup (gw_json_peek_string (message, "message", "it refuses"));
}

static void
on_ready (GwCourierControl *courier, JsonObject *message)
{
    courier->is_ready = TRUE;
}

static void
on_done (GwCourierControl *courier, JsonObject *message)
{
    courier->is_done = TRUE;
}

static void
on_probe (GwCourierControl *courier, JsonObject *message)
{
    courier->has_probe = TRUE;
    courier->probe_rtt_us = MAX (gw_json_peek_int (message, "rtt_us", 0), 0);
}

static void
on_probe_failed (GwCourierControl *courier, JsonObject *message)
{
    courier->has_probe = TRUE;
    courier->probe_rtt_us = -1;
}

static void
on_spooling (GwCourierControl *courier, JsonObject *message)
{
    courier->is_spooling = TRUE;
}

/* What the courier says that concerns this file; the flow is told everything but `is_ours`. */
static const struct {
    const char *event;
    void (*fn) (GwCourierControl *courier, JsonObject *message);
    gboolean is_ours;
} meanings[] = {
    { "stats", on_stats, TRUE },
    { "ready", on_ready, TRUE },
    { "done", on_done, FALSE },
    { "failed", on_failed, TRUE },
    { "probe", on_probe, FALSE },
    { "probe-failed", on_probe_failed, FALSE },
    { "spooling", on_spooling, FALSE },
    { "verified", on_verified, FALSE },
    { "refused", on_refused, FALSE },
    { "unknown-command", NULL, TRUE },
};

static void
on_message (GwCourierControl *courier, const char *line)
{
    g_autoptr (JsonObject) message = gw_json_parse (line, -1, NULL);
    const char *event = message != NULL ? gw_json_peek_string (message, "event", "") : "";
    gboolean is_ours = *event == '\0';
    for (guint i = 0; i < G_N_ELEMENTS (meanings); i++) {
        if (strcmp (meanings[i].event, event) != 0)
            continue;
        is_ours = meanings[i].is_ours;
        if (meanings[i].fn != NULL)
            meanings[i].fn (courier, message);
    }
    if (!is_ours)
        gw_host_emit (courier->host, 0, "courier", line);
}

static void
split_lines (GwCourierControl *courier)
{
    char *newline;
    while ((newline = strchr (courier->input->str, '\n')) != NULL) {
        g_autofree char *line = g_strndup (courier->input->str,
                                           (gsize) (newline - courier->input->str));
        g_string_erase (courier->input, 0, newline - courier->input->str + 1);
        on_message (courier, line);
    }
}

static gboolean
on_control (gint fd, GIOCondition condition, gpointer user_data)
{
    GwCourierControl *courier = user_data;
    char buffer[4096];
    ssize_t n = read (fd, buffer, sizeof buffer);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    if (n <= 0 || courier->input->len + (gsize) n > CONTROL_LINE_MAX) {
        courier->is_ended = TRUE;
        return G_SOURCE_REMOVE;
    }
    g_string_append_len (courier->input, buffer, n);
    split_lines (courier);
    return G_SOURCE_CONTINUE;
}

/* Its end may be noticed before its last words are read, and "done" is among them. */
static void
hear_out (GwCourierControl *courier)
{
    struct pollfd more = { .fd = courier->control, .events = POLLIN };
    while (!courier->is_ended && poll (&more, 1, 0) > 0)
        (void) on_control (courier->control, G_IO_IN, courier); /* at its end is_ended is set */
}

static void
on_courier_exit (GwProcess *process, gpointer user_data)
{
    GwCourierControl *courier = user_data;
    hear_out (courier);
    courier->is_ended = TRUE;
    if (courier->is_stopping || courier->is_done || courier->failure != NULL)
        return;
    g_autofree char *how = gw_process_describe_end (process);
    gw_host_emit (courier->host, 0, "courier-exit", how);
}

/* --- starting -------------------------------------------------------------------------------------------- */

static gboolean
parse_secret (const char *hex, uint8_t secret[static GW_HOST_SECRET_BYTES])
{
    if (hex == NULL || strlen (hex) != 2 * GW_HOST_SECRET_BYTES)
        return FALSE;
    for (guint i = 0; i < GW_HOST_SECRET_BYTES; i++) {
        int high = g_ascii_xdigit_value (hex[2 * i]), low = g_ascii_xdigit_value (hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return FALSE;
        secret[i] = (uint8_t) (high << 4 | low);
    }
    return TRUE;
}

/* The secret in a sealed memory file: never on a disk or a command line. */
static int
make_secret_fd (const char *hex, GError **error)
{
    uint8_t secret[GW_HOST_SECRET_BYTES];
    if (!parse_secret (hex, secret)) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "the job's secret is not %u bytes in hexadecimal",
                 GW_HOST_SECRET_BYTES);
        return -1;
    }
    g_auto (GwFd) fd = memfd_create ("godwit-secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    gboolean ok = fd >= 0 && write (fd, secret, sizeof secret) == (ssize_t) sizeof secret &&
                  lseek (fd, 0, SEEK_SET) == 0 &&
                  fcntl (fd, F_ADD_SEALS,
                         F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0;
    explicit_bzero (secret, sizeof secret);
    if (!ok) {
        gw_fail (error, GW_CAUSE_HOST_IO, "cannot keep the job's secret: %s", g_strerror (errno));
        return -1;
    }
    return gw_fd_steal (&fd);
}

typedef struct {
    GPtrArray *argv; /* owns its strings, NULL-terminated when done */
    int fds[2 + GW_DATA_ADDRESSES]; /* become 3, 4, 5 ... */
    guint n_fds;
} Launch;

static void
add_arg (Launch *launch, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
add_arg (Launch *launch, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_ptr_array_add (launch->argv, g_strdup_vprintf (format, args));
    va_end (args);
}

static void
add_fd (Launch *launch, const char *option, int fd)
{
    add_arg (launch, "%s", option);
    add_arg (launch, "%u", launch->n_fds + 3);
    launch->fds[launch->n_fds++] = fd;
}

static gboolean
add_listeners (Launch *launch, const GwCourierSpec *spec, GStrv *ret_addresses, GError **error)
{
    g_autoptr (GArray) fds = gw_data_listen (spec->addresses, spec->reached_at, ret_addresses, error);
    for (guint i = 0; fds != NULL && i < fds->len; i++)
        add_fd (launch, "--listen-fd", gw_fd_steal (&g_array_index (fds, int, i)));
    return fds != NULL;
}

char *
gw_courier_ram_path (const char *job_dir, gint64 attempt)
{
    if (attempt == 0)
        return g_build_filename (job_dir, "ram.sock", NULL);
    g_autofree char *name = g_strdup_printf ("ram-%" G_GINT64_FORMAT ".sock", attempt);
    return g_build_filename (job_dir, name, NULL);
}

#define CODEC_MIN (G_GINT64_CONSTANT (1) << 20)
#define CODEC_MAX (G_GINT64_CONSTANT (1) << 30)
#define CODEC_SHARE 4 /* of the memory that is available */

gint64
gw_codec_bound (gint64 wanted)
{
    gint64 spare = gw_facts_read_available () / CODEC_SHARE;
    gint64 bytes = MIN (MIN (wanted, CODEC_MAX), spare);
    return bytes >= CODEC_MIN ? bytes : 0;
}

/* What follows the path of the RAM lane.  (transfer full) */
static char *
make_codec_words (const GwCourierSpec *spec)
{
    return spec->codec_bytes == 0
               ? g_strdup ("")
               : g_strdup_printf (":codec=%" G_GINT64_FORMAT "%s%s", spec->codec_bytes,
                                  spec->attempt > 0 ? ":resumed" : "", spec->is_verified ? ":verify" : "");
}

/* The side's own part of the command line. */
static gboolean
add_side (Launch *launch, const GwCourierSpec *spec, GStrv *ret_addresses, GError **error)
{
    gboolean is_source = spec->side == GW_SIDE_SOURCE;
    if (is_source) {
        g_autofree char *list = g_strjoinv (",", (char **) spec->addresses);
        add_arg (launch, "--connect");
        add_arg (launch, "%s", list);
        add_arg (launch, "--paths");
        add_arg (launch, "%" G_GINT64_FORMAT, spec->n_paths);
    } else if (!add_listeners (launch, spec, ret_addresses, error)) {
        return FALSE;
    }
    g_autofree char *path = gw_courier_ram_path (spec->job_dir, spec->attempt);
    add_arg (launch, "--lane");
    g_autofree char *codec = make_codec_words (spec);
    add_arg (launch, "ram=%s:%s%s", is_source ? "accept" : "connect", path, codec);
    for (guint i = 0; i < spec->n_disks; i++) {
        g_autofree char *socket = gw_disk_socket (spec->job_dir, i);
        add_arg (launch, "--lane");
        add_arg (launch, "nbd-%u=%s:%s%s", i, is_source ? "accept" : "connect", socket,
                 spec->is_packed ? ":pack" : "");
    }
    return TRUE;
}

static gboolean
fill_launch (Launch *launch, const GwCourierSpec *spec, int control_fd, GStrv *ret_addresses,
             GError **error)
{
    add_arg (launch, "%s", spec->config->courier);
    add_arg (launch, "--side");
    add_arg (launch, "%s", gw_side_name (spec->side));
    add_arg (launch, "--job");
    add_arg (launch, "%s", spec->job);
    add_fd (launch, "--control-fd", control_fd);
    int secret_fd = make_secret_fd (spec->secret_hex, error);
    if (secret_fd < 0)
        return FALSE;
    add_fd (launch, "--secret-fd", secret_fd);
    return add_side (launch, spec, ret_addresses, error);
}

static gboolean
launch_process (GwCourierControl *courier, const GwCourierSpec *spec, int control_fd,
                GStrv *ret_addresses, GError **error)
{
    g_autoptr (GPtrArray) argv = g_ptr_array_new_with_free_func (g_free);
    g_autofree char *log = g_build_filename (spec->job_dir, "courier.log", NULL);
    Launch launch = { .argv = argv };
    if (!fill_launch (&launch, spec, control_fd, ret_addresses, error)) {
        for (guint i = 0; i < launch.n_fds; i++)
            (void) close (launch.fds[i]);
        return FALSE;
    }
    g_ptr_array_add (argv, NULL);
    GwProcessSpec process = { .argv = (const char *const *) argv->pdata, .log_path = log,
                              .fds = launch.fds, .n_fds = launch.n_fds };
    courier->process = gw_process_spawn (&process, spec->context, on_courier_exit, courier, error);
    return courier->process != NULL;
}

static gboolean
is_ready_or_ended (gpointer user_data)
{
    GwCourierControl *courier = user_data;
    return courier->is_ready || courier->is_ended || courier->failure != NULL;
}

static gboolean
wait_ready (GwCourierControl *courier, GCancellable *cancellable, GError **error)
{
    if (!gw_wait_until (courier->context, is_ready_or_ended, courier, gw_deadline_ms (READY_MS),
                        cancellable, error)) {
        g_prefix_error (error, "the courier is not ready: ");
        return FALSE;
    }
    if (courier->is_ready)
        return TRUE;
    /* its own words may still be on their way */
    (void) gw_process_wait (courier->process, 1000, NULL);
    if (courier->failure != NULL)
        g_propagate_error (error, g_error_copy (courier->failure));
    else {
        g_autofree char *how = gw_process_describe_end (courier->process);
        gw_fail (error, GW_CAUSE_COURIER_DIED, "the courier %s", how);
    }
    return FALSE;
}

GwCourierControl *
gw_courier_start (const GwCourierSpec *spec, GStrv *ret_addresses, GCancellable *cancellable,
                  GError **error)
{
    int pair[2];
    if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "socketpair: %s", g_strerror (errno));
        return NULL;
    }
    GwCourierControl *courier = g_new0 (GwCourierControl, 1);
    courier->host = spec->host;
    courier->context = spec->context;
    courier->control = pair[0];
    courier->input = g_string_new (NULL);
    if (spec->side == GW_SIDE_SOURCE)
        courier->socket_path = gw_courier_ram_path (spec->job_dir, spec->attempt);
    courier->source = g_unix_fd_source_new (pair[0], G_IO_IN | G_IO_HUP | G_IO_ERR);
    g_source_set_callback (courier->source, G_SOURCE_FUNC (on_control), courier, NULL);
    g_source_attach (courier->source, spec->context);
    if (!launch_process (courier, spec, pair[1], ret_addresses, error) ||
        !wait_ready (courier, cancellable, error)) {
        gw_courier_free (courier);
        return NULL;
    }
    gw_courier_set_deadline (courier, spec->deadline_s);
    return courier;
}

/* --- asking and ending -------------------------------------------------------------------------------------- */

/* `command` (transfer full) */
static void
send_command (GwCourierControl *courier, JsonObject *command)
{
    g_autoptr (JsonObject) owned = command;
    g_autofree char *text = gw_json_to_text (owned, FALSE);
    g_autofree char *line = g_strconcat (text, "\n", NULL);
    /* a courier that does not read is noticed by whoever waits for its answer */
    (void) !send (courier->control, line, strlen (line), MSG_NOSIGNAL);
}

void
gw_courier_set_deadline (GwCourierControl *courier, gint64 seconds)
{
    send_command (courier, gw_json_new ("command:s", "deadline", "seconds:i", seconds, NULL));
}

static gboolean
has_probe_or_ended (gpointer user_data)
{
    GwCourierControl *courier = user_data;
    return courier->has_probe || courier->is_ended;
}

gboolean
gw_courier_probe (GwCourierControl *courier, guint within_ms, gint64 *ret_rtt_us,
                  GCancellable *cancellable, GError **error)
{
    g_autoptr (GError) failure = NULL;
    courier->has_probe = FALSE;
    send_command (courier,
                  gw_json_new ("command:s", "probe", "within_ms:i", (gint64) within_ms, NULL));
    if (!gw_wait_until (courier->context, has_probe_or_ended, courier,
                        gw_deadline_ms (within_ms + PROBE_SLACK_MS), cancellable, &failure) &&
        gw_error_get_cause (failure) != GW_CAUSE_TIMED_OUT) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return FALSE;
    }
    if (!courier->has_probe || courier->probe_rtt_us < 0)
        return gw_fail (error, GW_CAUSE_LINK_LOST, "the link did not answer within %u ms", within_ms);
    *ret_rtt_us = courier->probe_rtt_us;
    return TRUE;
}

static gboolean
is_spooling_or_ended (gpointer user_data)
{
    GwCourierControl *courier = user_data;
    return courier->is_spooling || courier->is_ended;
}

gboolean
gw_courier_spool (GwCourierControl *courier, GCancellable *cancellable, GError **error)
{
    send_command (courier, gw_json_new ("command:s", "spool", NULL));
    if (!gw_wait_until (courier->context, is_spooling_or_ended, courier, gw_deadline_ms (ANSWER_MS),
                        cancellable, error))
        return FALSE;
    return courier->is_spooling ||
           gw_fail (error, GW_CAUSE_COURIER_DIED, "the courier has ended");
}

static gboolean
has_proof (gpointer user_data)
{
    GwCourierControl *courier = user_data;
    return courier->proof != NULL || courier->refusal != NULL || courier->is_ended;
}

/* The line with the descriptor beside it. */
static void
send_with_fd (GwCourierControl *courier, JsonObject *command, int fd)
{
    g_autofree char *text = gw_json_to_text (command, FALSE);
    g_autofree char *line = g_strconcat (text, "\n", NULL);
    union {
        char bytes[CMSG_SPACE (sizeof (int))];
        struct cmsghdr align;
    } extra = { 0 };
    struct iovec piece = { line, strlen (line) };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = extra.bytes,
                              .msg_controllen = sizeof extra.bytes };
    struct cmsghdr *head = CMSG_FIRSTHDR (&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN (sizeof (int));
    memcpy (CMSG_DATA (head), &fd, sizeof fd);
    /* a courier that does not read is noticed by the missing answer */
    (void) !sendmsg (courier->control, &message, MSG_NOSIGNAL);
}

JsonObject *
gw_courier_verify (GwCourierControl *courier, JsonObject *command, int memory_fd,
                   GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) owned = command;
    g_clear_pointer (&courier->refusal, g_free);
    send_with_fd (courier, owned, memory_fd);
    if (!gw_wait_until (courier->context, has_proof, courier, gw_deadline_ms (PROOF_MS), cancellable,
                        error)) {
        g_prefix_error (error, "the memory is being compared: ");
        return NULL;
    }
    if (courier->proof != NULL)
        return g_steal_pointer (&courier->proof);
    gw_fail (error, courier->refusal != NULL ? GW_CAUSE_RAM_UNPROVEN : GW_CAUSE_COURIER_DIED, "%s",
             courier->refusal != NULL ? courier->refusal : "the courier has ended");
    return NULL;
}

/* A courier that ends sends its final counters first. */
static gboolean
has_stats (gpointer user_data)
{
    GwCourierControl *courier = user_data;
    return courier->stats != NULL || courier->is_ended;
}

JsonObject *
gw_courier_get_stats (GwCourierControl *courier, GCancellable *cancellable, GError **error)
{
    if (courier->is_done && courier->stats != NULL)
        return json_object_ref (courier->stats); /* the final ones */
    g_clear_pointer (&courier->stats, json_object_unref);
    send_command (courier, gw_json_new ("command:s", "stats", NULL));
    if (!gw_wait_until (courier->context, has_stats, courier, gw_deadline_ms (ANSWER_MS),
                        cancellable, error))
        return NULL;
    if (courier->stats == NULL)
        gw_fail (error, GW_CAUSE_COURIER_DIED, "the courier has ended");
    return g_steal_pointer (&courier->stats);
}

void
gw_courier_free (GwCourierControl *courier)
{
    if (courier == NULL)
        return;
    courier->is_stopping = TRUE;
    if (courier->process != NULL) {
        send_command (courier, gw_json_new ("command:s", "quit", NULL));
        if (!gw_process_wait (courier->process, END_MS, NULL))
            gw_process_stop (courier->process, 500);
        gw_process_free (courier->process);
    }
    g_source_destroy (courier->source);
    g_source_unref (courier->source);
    gw_fd_clear (&courier->control);
    if (courier->socket_path != NULL)
        (void) unlink (courier->socket_path); /* it is gone already unless the courier was killed */
    g_free (courier->socket_path);
    g_string_free (courier->input, TRUE);
    g_clear_error (&courier->failure);
    g_clear_pointer (&courier->stats, json_object_unref);
    g_free (courier);
}
