/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MEMORY_MIN (1 << 20)
#define MEMORY_MAX (G_GINT64_CONSTANT (16) << 30)

/* What GOption fills in, before it is understood. */
typedef struct {
    char *side, *job, *connect, *memory;
    char **lanes;
    int control_fd, secret_fd, listen_fd;
} Raw;

static void
raw_clear (Raw *raw)
{
    g_free (raw->side);
    g_free (raw->job);
    g_free (raw->connect);
    g_free (raw->memory);
    g_strfreev (raw->lanes);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Raw, raw_clear)

static void
lane_option_clear (gpointer data)
{
    GwLaneOption *lane = data;
    g_free (lane->name);
    g_free (lane->path);
}

static gboolean
raw_parse (Raw *raw, int argc, char **argv, GError **error)
{
    const GOptionEntry entries[] = {
        { "side", 0, 0, G_OPTION_ARG_STRING, &raw->side, "Which side this is",
          "source|destination" },
        { "control-fd", 0, 0, G_OPTION_ARG_INT, &raw->control_fd, "Connected socket of the agent",
          "N" },
        { "secret-fd", 0, 0, G_OPTION_ARG_INT, &raw->secret_fd, "File with the 32 bytes of the job",
          "N" },
        { "job", 0, 0, G_OPTION_ARG_STRING, &raw->job, "Name of the job", "ID" },
        { "connect", 0, 0, G_OPTION_ARG_STRING, &raw->connect, "Source: where to connect",
          "ADDR:PORT[,...]" },
        { "listen-fd", 0, 0, G_OPTION_ARG_INT, &raw->listen_fd, "Destination: listening TCP socket",
          "N" },
        { "lane", 0, 0, G_OPTION_ARG_STRING_ARRAY, &raw->lanes, "A local socket to carry",
          "NAME=accept|connect:PATH" },
        { "memory", 0, 0, G_OPTION_ARG_STRING, &raw->memory, "Bound of the memory for data",
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

/* "198.18.0.2:49152" or "[fd00::2]:49152"; no names, so that no resolver runs here. */
static GSocketAddress *
parse_address (const char *text, GError **error)
{
    const char *colon = strrchr (text, ':');
    guint64 port;
    if (colon == NULL || !g_ascii_string_to_unsigned (colon + 1, 10, 1, 65535, &port, NULL)) {
        gw_fail (error, GW_CAUSE_USAGE, "--connect: '%s' is not ADDR:PORT", text);
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
        gw_fail (error, GW_CAUSE_USAGE, "--connect: '%s' is not an IP address", host);
    return address;
}

static gboolean
parse_addresses (GwCourierOptions *options, const char *text, GError **error)
{
    g_auto (GStrv) parts = g_strsplit (text, ",", GW_COURIER_ADDRESSES + 1);
    if (g_strv_length (parts) > GW_COURIER_ADDRESSES)
        return gw_fail (error, GW_CAUSE_USAGE, "--connect: more than %d addresses",
                        GW_COURIER_ADDRESSES);
    for (guint i = 0; parts[i] != NULL; i++) {
        GSocketAddress *address = parse_address (parts[i], error);
        if (address == NULL)
            return FALSE;
        g_ptr_array_add (options->addresses, address);
    }
    return TRUE;
}

/* "ram=accept:/path" */
static gboolean
parse_lane (GwCourierOptions *options, const char *text, GError **error)
{
    const char *equals = strchr (text, '=');
    const char *colon = equals != NULL ? strchr (equals, ':') : NULL;
    if (colon == NULL || equals == text || colon[1] == '\0')
        return gw_fail (error, GW_CAUSE_USAGE, "--lane: '%s' is not NAME=accept|connect:PATH", text);
    g_autofree char *name = g_strndup (text, (gsize) (equals - text));
    g_autofree char *verb = g_strndup (equals + 1, (gsize) (colon - equals - 1));
    gboolean accepts = strcmp (verb, "accept") == 0;
    if (!accepts && strcmp (verb, "connect") != 0)
        return gw_fail (error, GW_CAUSE_USAGE, "--lane: '%s' is neither accept nor connect", verb);
    if (strlen (name) > GW_LINK_NAME_MAX || !gw_link_job_is_valid (name))
        return gw_fail (error, GW_CAUSE_USAGE, "--lane: '%s' is no name for a lane", name);
    if (strlen (colon + 1) >= sizeof ((struct sockaddr_un *) NULL)->sun_path)
        return gw_fail (error, GW_CAUSE_USAGE, "--lane: the path '%s' is too long for a unix socket",
                        colon + 1);
    for (guint i = 0; i < options->lanes->len; i++)
        if (strcmp (g_array_index (options->lanes, GwLaneOption, i).name, name) == 0)
            return gw_fail (error, GW_CAUSE_USAGE, "--lane: '%s' is given twice", name);
    GwLaneOption lane = { g_steal_pointer (&name), g_strdup (colon + 1), accepts };
    g_array_append_val (options->lanes, lane);
    return TRUE;
}

static gboolean
parse_lanes (GwCourierOptions *options, char **texts, GError **error)
{
    if (texts == NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "--lane is missing");
    if (g_strv_length (texts) > GW_COURIER_LANES)
        return gw_fail (error, GW_CAUSE_USAGE, "more than %d lanes", GW_COURIER_LANES);
    for (guint i = 0; texts[i] != NULL; i++)
        if (!parse_lane (options, texts[i], error))
            return FALSE;
    return TRUE;
}

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
parse_side (GwCourierOptions *options, const Raw *raw, GError **error)
{
    options->side = gw_side_from_name (raw->side);
    if (options->side == GW_SIDE_SOURCE) {
        if (raw->connect == NULL || raw->listen_fd >= 0)
            return gw_fail (error, GW_CAUSE_USAGE, "the source needs --connect and no --listen-fd");
        return parse_addresses (options, raw->connect, error);
    }
    if (options->side != GW_SIDE_DESTINATION)
        return gw_fail (error, GW_CAUSE_USAGE, "--side is neither source nor destination");
    if (raw->connect != NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "the destination needs --listen-fd and no --connect");
    return check_fd ("--listen-fd", raw->listen_fd, SOCK_STREAM, error);
}

gboolean
gw_courier_options_parse (GwCourierOptions *options, int argc, char **argv, GError **error)
{
    g_auto (Raw) raw = { .control_fd = -1, .secret_fd = -1, .listen_fd = -1 };
    *options = (GwCourierOptions){ .addresses = g_ptr_array_new_with_free_func (g_object_unref),
                                   .lanes = g_array_new (FALSE, TRUE, sizeof (GwLaneOption)),
                                   .memory_bytes = MEMORY_MIN };
    g_array_set_clear_func (options->lanes, lane_option_clear);
    if (!raw_parse (&raw, argc, argv, error) ||
        !check_fd ("--control-fd", raw.control_fd, SOCK_STREAM, error) ||
        !check_fd ("--secret-fd", raw.secret_fd, 0, error) || !parse_side (options, &raw, error) ||
        !parse_lanes (options, raw.lanes, error))
        return FALSE;
    if (raw.job == NULL || !gw_link_job_is_valid (raw.job))
        return gw_fail (error, GW_CAUSE_USAGE, "--job is missing or is no name for a job");
    if (raw.memory != NULL &&
        !g_ascii_string_to_signed (raw.memory, 10, MEMORY_MIN, MEMORY_MAX, &options->memory_bytes,
                                   NULL))
        return gw_fail (error, GW_CAUSE_USAGE, "--memory '%s' is not a number from %d to %" PRId64,
                        raw.memory, MEMORY_MIN, (int64_t) MEMORY_MAX);
    options->control_fd = raw.control_fd;
    options->secret_fd = raw.secret_fd;
    options->listen_fd = raw.listen_fd;
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
