/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MEMORY_MIN (G_GINT64_CONSTANT (4) << 20)
#define MEMORY_MAX (G_GINT64_CONSTANT (16) << 30)
#define RENEW_MIN (G_GINT64_CONSTANT (64) << 10)

/* What GOption fills in, before it is understood. */
typedef struct {
    char *side, *job, *connect;
    char **lanes, **listen_fds;
    int control_fd, secret_fd, dialer_fd;
    gint64 memory, spool, renew, paths, deadline, silence, epoch;
} Raw;

static void
raw_clear (Raw *raw)
{
    g_free (raw->side);
    g_free (raw->job);
    g_free (raw->connect);
    g_strfreev (raw->lanes);
    g_strfreev (raw->listen_fds);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Raw, raw_clear)

static void
clear_lane (gpointer data)
{
    gw_lane_option_clear (data);
}

static gboolean
raw_parse (Raw *raw, int argc, char **argv, GError **error)
{
    enum { HIDDEN = G_OPTION_FLAG_HIDDEN };
    const GOptionEntry entries[] = {
        { "side", 0, 0, G_OPTION_ARG_STRING, &raw->side, "Which side this is",
          "source|destination" },
        { "control-fd", 0, 0, G_OPTION_ARG_INT, &raw->control_fd, "Connected socket of the agent",
          "N" },
        { "secret-fd", 0, 0, G_OPTION_ARG_INT, &raw->secret_fd, "File with the 32 bytes of the job",
          "N" },
        { "dialer-fd", 0, 0, G_OPTION_ARG_INT, &raw->dialer_fd, "Socket that allows more targets",
          "N" },
        { "job", 0, 0, G_OPTION_ARG_STRING, &raw->job, "Name of the job", "ID" },
        { "epoch", 0, 0, G_OPTION_ARG_INT64, &raw->epoch, "Epoch of the VM", "N" },
        { "connect", 0, 0, G_OPTION_ARG_STRING, &raw->connect, "Source: where to connect",
          "ADDR:PORT[,...]" },
        { "listen-fd", 0, 0, G_OPTION_ARG_STRING_ARRAY, &raw->listen_fds,
          "Destination: listening TCP socket (repeatable)", "N" },
        { "lane", 0, 0, G_OPTION_ARG_STRING_ARRAY, &raw->lanes, "A local socket to carry",
          GW_LANE_SYNTAX },
        { "paths", 0, 0, G_OPTION_ARG_INT64, &raw->paths, "Source: paths to keep up", "N" },
        { "memory", 0, 0, G_OPTION_ARG_INT64, &raw->memory, "Bound of the memory for data",
          "BYTES" },
        { "spool", 0, 0, G_OPTION_ARG_INT64, &raw->spool, "Further memory once told to spool",
          "BYTES" },
        { "deadline", 0, 0, G_OPTION_ARG_INT64, &raw->deadline,
          "Longest time without any path; 0 is for ever", "SECONDS" },
        { "silence", 0, HIDDEN, G_OPTION_ARG_INT64, &raw->silence, "A silent path is dead", "MS" },
        { "renew", 0, HIDDEN, G_OPTION_ARG_INT64, &raw->renew, "Bytes before a path is renewed",
          "BYTES" },
        G_OPTION_ENTRY_NULL
    };
    g_autoptr (GOptionContext) context = g_option_context_new (NULL);
    g_option_context_set_summary (context, "Carries the data of one godwit job; started by godwitd.");
    g_option_context_add_main_entries (context, entries, NULL);
    if (!g_option_context_parse (context, &argc, &argv, error))
        return gw_error_adopt (error, GW_CAUSE_USAGE);
    if (argc > 1)
        return gw_fail (error, GW_CAUSE_USAGE, "unknown argument '%s'", argv[1]);
    return TRUE;
}

/* --- numbers ------------------------------------------------------------------------------------ */

static gboolean
check_numbers (const Raw *raw, GError **error)
{
    const struct {
        const char *option;
        gint64 value, min, max;
    } rows[] = {
        { "--memory", raw->memory, MEMORY_MIN, MEMORY_MAX },
        { "--spool", raw->spool, 0, MEMORY_MAX },
        { "--renew", raw->renew, RENEW_MIN, GW_LINK_REKEY_BYTES },
        { "--paths", raw->paths, 1, GW_SESSION_PATHS / 2 }, /* each may have its successor */
        { "--deadline", raw->deadline, 0, 24 * 3600 },
        { "--silence", raw->silence, 50, 600000 },
        { "--epoch", raw->epoch, 0, G_MAXUINT32 },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        if (rows[i].value < rows[i].min || rows[i].value > rows[i].max)
            return gw_fail (error, GW_CAUSE_USAGE,
                            "%s %" PRId64 " is not a number from %" PRId64 " to %" PRId64,
                            rows[i].option, (int64_t) rows[i].value, (int64_t) rows[i].min,
                            (int64_t) rows[i].max);
    return TRUE;
}

static void
take_numbers (GwCourierOptions *options, const Raw *raw)
{
    options->memory_bytes = raw->memory;
    options->spool_bytes = raw->spool;
    options->renew_bytes = raw->renew;
    options->paths = (guint) raw->paths;
    options->deadline_s = (guint) raw->deadline;
    options->silence_ms = (guint) raw->silence;
    options->epoch = (guint) raw->epoch;
}

/* --- addresses ---------------------------------------------------------------------------------- */

GSocketAddress *
gw_courier_address_parse (const char *text, char **ret_text, GError **error)
{
    const char *colon = strrchr (text, ':');
    guint64 port;
    if (colon == NULL || !g_ascii_string_to_unsigned (colon + 1, 10, 1, 65535, &port, NULL)) {
        gw_fail (error, GW_CAUSE_USAGE, "'%s' is not ADDR:PORT", text);
        return NULL;
    }
    g_autofree char *host = g_strndup (text, (gsize) (colon - text));
    gsize len = strlen (host);
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        memmove (host, host + 1, len - 1);
    }
    GSocketAddress *address = g_inet_socket_address_new_from_string (host, (guint) port);
    if (address == NULL)
        gw_fail (error, GW_CAUSE_USAGE, "'%s' is not an IP address", host);
    else
        *ret_text = g_socket_connectable_to_string (G_SOCKET_CONNECTABLE (address));
    return address;
}

static gboolean
parse_addresses (GwCourierOptions *options, const char *text, GError **error)
{
    g_auto (GStrv) parts = g_strsplit (text, ",", GW_REDIAL_ADDRESSES + 1);
    if (g_strv_length (parts) > GW_REDIAL_ADDRESSES)
        return gw_fail (error, GW_CAUSE_USAGE, "--connect: more than %d addresses",
                        GW_REDIAL_ADDRESSES);
    for (guint i = 0; parts[i] != NULL; i++) {
        char *canonical = NULL;
        g_autoptr (GSocketAddress) address = gw_courier_address_parse (parts[i], &canonical, error);
        if (address == NULL) {
            g_prefix_error (error, "--connect: ");
            return FALSE;
        }
        g_ptr_array_add (options->addresses, canonical);
    }
    return TRUE;
}

/* --- lanes -------------------------------------------------------------------------------------- */

static gboolean
parse_lane (GwCourierOptions *options, const char *text, GError **error)
{
    GwLaneOption option;
    if (!gw_lane_option_parse (&option, text, options->side, error))
        return FALSE;
    for (guint i = 0; i < options->lanes->len; i++)
        if (strcmp (g_array_index (options->lanes, GwLaneOption, i).name, option.name) == 0) {
            gw_fail (error, GW_CAUSE_USAGE, "'%s' is given twice", option.name);
            gw_lane_option_clear (&option);
            return FALSE;
        }
    g_array_append_val (options->lanes, option);
    return TRUE;
}

static gboolean
parse_lanes (GwCourierOptions *options, char **texts, GError **error)
{
    if (texts == NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "--lane is missing");
    if (g_strv_length (texts) > GW_SESSION_LANES)
        return gw_fail (error, GW_CAUSE_USAGE, "more than %d lanes", GW_SESSION_LANES);
    for (guint i = 0; texts[i] != NULL; i++)
        if (!parse_lane (options, texts[i], error)) {
            g_prefix_error (error, "--lane: ");
            return FALSE;
        }
    return TRUE;
}

/* --- descriptors -------------------------------------------------------------------------------- */

/* A descriptor of the wanted kind; `type` 0 is anything that is open. */
static gboolean
check_fd (const char *option, int fd, int type, GError **error)
{
    struct stat st;
    int actual = 0;
    socklen_t len = sizeof actual;
    if (fd < 0 || fstat (fd, &st) != 0)
        return gw_fail (error, GW_CAUSE_USAGE, "%s is missing or is not an open descriptor", option);
    if (type != 0 && (getsockopt (fd, SOL_SOCKET, SO_TYPE, &actual, &len) != 0 || actual != type))
        return gw_fail (error, GW_CAUSE_USAGE, "%s %d is not a stream socket", option, fd);
    return TRUE;
}

static gboolean
parse_listen_fds (GwCourierOptions *options, char **texts, GError **error)
{
    if (texts == NULL || g_strv_length (texts) > GW_COURIER_LISTENERS)
        return gw_fail (error, GW_CAUSE_USAGE, "the destination needs 1 to %d --listen-fd",
                        GW_COURIER_LISTENERS);
    for (guint i = 0; texts[i] != NULL; i++) {
        gint64 fd;
        if (!g_ascii_string_to_signed (texts[i], 10, 0, G_MAXINT, &fd, NULL))
            return gw_fail (error, GW_CAUSE_USAGE, "--listen-fd '%s' is no number", texts[i]);
        if (!check_fd ("--listen-fd", (int) fd, SOCK_STREAM, error))
            return FALSE;
        options->listen_fds[options->n_listen_fds++] = (int) fd;
    }
    return TRUE;
}

static gboolean
parse_side (GwCourierOptions *options, const Raw *raw, GError **error)
{
    options->side = gw_side_from_name (raw->side);
    if (options->side == GW_SIDE_SOURCE) {
        if (raw->connect == NULL || raw->listen_fds != NULL)
            return gw_fail (error, GW_CAUSE_USAGE, "the source needs --connect and no --listen-fd");
        return parse_addresses (options, raw->connect, error);
    }
    if (options->side != GW_SIDE_DESTINATION)
        return gw_fail (error, GW_CAUSE_USAGE, "--side is neither source nor destination");
    if (raw->connect != NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "the destination needs --listen-fd and no --connect");
    return parse_listen_fds (options, raw->listen_fds, error);
}

gboolean
gw_courier_options_parse (GwCourierOptions *options, int argc, char **argv, GError **error)
{
    g_auto (Raw) raw = { .control_fd = -1, .secret_fd = -1, .dialer_fd = -1,
                         .memory = G_GINT64_CONSTANT (64) << 20,
                         .spool = G_GINT64_CONSTANT (512) << 20,
                         .renew = GW_LINK_REKEY_BYTES,
                         .paths = 1, .deadline = 300, .silence = 2000 };
    *options = (GwCourierOptions){ .addresses = g_ptr_array_new_with_free_func (g_free),
                                   .lanes = g_array_new (FALSE, TRUE, sizeof (GwLaneOption)),
                                   .dialer_fd = -1,
                                   .title = argv[0] };
    options->title_size = (gsize) (argv[argc - 1] + strlen (argv[argc - 1]) - argv[0]);
    g_array_set_clear_func (options->lanes, clear_lane);
    if (!raw_parse (&raw, argc, argv, error) ||
        !check_fd ("--control-fd", raw.control_fd, SOCK_STREAM, error) ||
        !check_fd ("--secret-fd", raw.secret_fd, 0, error) || !parse_side (options, &raw, error) ||
        !parse_lanes (options, raw.lanes, error) || !check_numbers (&raw, error))
        return FALSE;
    if (raw.dialer_fd >= 0 && !check_fd ("--dialer-fd", raw.dialer_fd, SOCK_STREAM, error))
        return FALSE;
    if (raw.job == NULL || !gw_link_job_is_valid (raw.job))
        return gw_fail (error, GW_CAUSE_USAGE, "--job is missing or is no name for a job");
    take_numbers (options, &raw);
    options->control_fd = raw.control_fd;
    options->secret_fd = raw.secret_fd;
    options->dialer_fd = raw.dialer_fd;
    options->job = g_steal_pointer (&raw.job);
    return TRUE;
}

void
gw_courier_options_clear (GwCourierOptions *options)
{
    g_clear_pointer (&options->addresses, g_ptr_array_unref);
    g_clear_pointer (&options->lanes, g_array_unref);
    g_clear_pointer (&options->job, g_free);
}

gboolean
gw_courier_read_secret (GwCourierOptions *options, uint8_t ret_secret[static GW_LINK_SECRET],
                        GError **error)
{
    /* one byte more than there may be; pread() as the offset is shared with who wrote it */
    uint8_t bytes[GW_LINK_SECRET + 1];
    ssize_t n = pread (options->secret_fd, bytes, sizeof bytes, 0);
    int saved = errno;
    g_auto (GwFd) fd = options->secret_fd;
    options->secret_fd = -1;
    if (n == GW_LINK_SECRET)
        memcpy (ret_secret, bytes, GW_LINK_SECRET);
    explicit_bzero (bytes, sizeof bytes);
    if (n < 0)
        return gw_fail (error, GW_CAUSE_USAGE, "--secret-fd %d cannot be read: %s", fd,
                        g_strerror (saved));
    if (n != GW_LINK_SECRET)
        return gw_fail (error, GW_CAUSE_USAGE, "--secret-fd %d does not hold exactly %d bytes", fd,
                        GW_LINK_SECRET);
    return TRUE;
}
