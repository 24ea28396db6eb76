/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting, watching and asking the courier of this side; godwit-courier(8) has the control protocol. */
#include "courierctl.h"

#include "process.h"

#include <errno.h>
#include <glib-unix.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONTROL_LINE_MAX (64 * 1024)
#define END_MS 2000
#define ANSWER_MS 2000
#define PROOF_MS 100000    /* of all the memory */
#define PROBE_SLACK_MS 200 /* for the courier to say that there was no answer */


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
    courier->n_stats++;
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
    /* what it has to do yet is to give its memory back, some ten milliseconds, while the guest is about to start */
    if (courier->process != NULL)
        gw_priority_reset (gw_process_get_pid (courier->process));
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
on_leased (GwCourierControl *courier, JsonObject *message)
{
    courier->is_leased = TRUE;
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
    { "leased", on_leased, TRUE },
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

void
gw_courier_on_exit (GwProcess *process, gpointer user_data)
{
    GwCourierControl *courier = user_data;
    hear_out (courier);
    courier->is_ended = TRUE;
    if (courier->is_stopping || courier->is_done || courier->failure != NULL)
        return;
    g_autofree char *how = gw_process_describe_end (process);
    gw_host_emit (courier->host, 0, "courier-exit", how);
}

GwProcess *
gw_courier_get_process (const GwCourierControl *courier)
{
    return courier->process;
}

GwCourierControl *
gw_courier_new (const GwCourierSpec *spec, int control)
{
    GwCourierControl *courier = g_new0 (GwCourierControl, 1);
    courier->host = spec->host;
    courier->context = spec->context;
    courier->control = control;
    courier->input = g_string_new (NULL);
    if (spec->side == GW_SIDE_SOURCE)
        courier->socket_path = gw_courier_ram_path (spec->job_dir, spec->attempt);
    courier->source = g_unix_fd_source_new (control, G_IO_IN | G_IO_HUP | G_IO_ERR);
    g_source_set_callback (courier->source, G_SOURCE_FUNC (on_control), courier, NULL);
    g_source_attach (courier->source, spec->context);
    return courier;
}

/* --- asking and ending -------------------------------------------------------------------------------------- */

void
gw_courier_send (GwCourierControl *courier, JsonObject *command)
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
    gw_courier_send (courier, gw_json_new ("command:s", "deadline", "seconds:i", seconds, NULL));
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
    gw_courier_send (courier,
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
    gw_courier_send (courier, gw_json_new ("command:s", "spool", NULL));
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

void
gw_courier_send_with_fd (GwCourierControl *courier, JsonObject *command, int fd)
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
    g_clear_pointer (&courier->proof, json_object_unref); /* one that came too late for whoever asked before */
    gw_courier_send_with_fd (courier, owned, memory_fd);
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

/* A courier that ends sends its final counters first, and then answers no more: they stay for whoever asks. */
static gboolean
has_new_stats (gpointer user_data)
{
    GwCourierControl *courier = user_data;
    return courier->n_stats != courier->n_stats_before || courier->is_done || courier->is_ended;
}

JsonObject *
gw_courier_get_stats (GwCourierControl *courier, GCancellable *cancellable, GError **error)
{
    courier->n_stats_before = courier->n_stats;
    if (!courier->is_done)
        gw_courier_send (courier, gw_json_new ("command:s", "stats", NULL));
    if (!gw_wait_until (courier->context, has_new_stats, courier, gw_deadline_ms (ANSWER_MS), cancellable, error))
        return NULL;
    if (courier->stats != NULL && (courier->is_done || courier->n_stats != courier->n_stats_before))
        return json_object_ref (courier->stats);
    gw_fail (error, GW_CAUSE_COURIER_DIED, "the courier has ended");
    return NULL;
}

static void
release (GwCourierControl *courier)
{
    g_source_destroy (courier->source);
    g_source_unref (courier->source);
    gw_fd_clear (&courier->control);
    g_free (courier->socket_path);
    g_string_free (courier->input, TRUE);
    g_clear_error (&courier->failure);
    g_clear_pointer (&courier->stats, json_object_unref);
    g_clear_pointer (&courier->proof, json_object_unref);
    g_free (courier->refusal);
    g_free (courier);
}

void
gw_courier_free (GwCourierControl *courier)
{
    if (courier == NULL)
        return;
    courier->is_stopping = TRUE;
    if (courier->process != NULL) {
        gw_courier_send (courier, gw_json_new ("command:s", "quit", NULL));
        if (!gw_process_wait (courier->process, END_MS, NULL))
            gw_process_stop (courier->process, 500);
        gw_process_free (courier->process);
    }
    if (courier->socket_path != NULL)
        (void) unlink (courier->socket_path); /* it is gone already unless the courier was killed */
    release (courier);
}

void
gw_courier_forget (GwCourierControl *courier)
{
    gw_process_free (courier->process);
    release (courier);
}
