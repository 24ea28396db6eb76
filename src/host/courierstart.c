/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting the courier of this side; godwit-courier(8) has its options. */
#include "courierctl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define READY_MS 20000

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
    courier->process = gw_process_spawn (&process, spec->context, gw_courier_on_exit, courier, error);
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
    GwCourierControl *courier = gw_courier_new (spec, pair[0]);
    if (!launch_process (courier, spec, pair[1], ret_addresses, error) ||
        !wait_ready (courier, cancellable, error)) {
        gw_courier_free (courier);
        return NULL;
    }
    gw_priority_set (gw_process_get_pid (courier->process), spec->config->nice);
    gw_courier_set_deadline (courier, spec->deadline_s);
    return courier;
}
