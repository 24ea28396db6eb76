/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-courier while its connections break: the local programs notice nothing. */
#include "test-courier-proxy.h"
#include "test-courier-rig.h"

#include <string.h>
#include <unistd.h>

#define SECRET "0123456789abcdef0123456789abcdef"
#define MIB ((gsize) 1 << 20)

/* --- tests ------------------------------------------------------------------------------------------ */

static void
start (Rig *rig, const char *const *source, const char *const *destination)
{
    rig_start (rig, GW_SIDE_DESTINATION, SECRET, GW_LINK_SECRET, destination);
    g_free (rig_expect (&rig->destination, "\"event\":\"ready\""));
    rig_start (rig, GW_SIDE_SOURCE, SECRET, GW_LINK_SECRET, source);
    g_free (rig_expect (&rig->source, "\"event\":\"ready\""));
}

/* --- bytes both ways --------------------------------------------------------------------------------- */

typedef struct {
    int fd;
    guint32 seed;
    gsize n_bytes;
    gint is_done; /* atomic */
} Reader;

static gpointer
read_all (gpointer data)
{
    Reader *reader = data;
    reader->n_bytes = rig_read (reader->fd, reader->seed, G_MAXSIZE);
    g_atomic_int_set (&reader->is_done, 1);
    return NULL;
}

/* What is done to the proxy meanwhile. */
typedef struct {
    Proxy *proxy; /* NULL: nothing */
    ProxyFault fault;
    guint n_left, every_ms;
    gint64 at_us;
} Harm;

static void
do_harm (Harm *harm)
{
    if (harm->proxy == NULL || harm->n_left == 0 || g_get_monotonic_time () < harm->at_us)
        return;
    proxy_order (harm->proxy, harm->fault);
    harm->at_us = gw_deadline_ms (harm->every_ms);
    harm->n_left--;
}

static void
expect_done (RigSide *side)
{
    g_free (rig_expect (side, "\"event\":\"done\""));
    g_assert_cmpint (rig_wait (side), ==, 0);
}

/* Both directions at once, compared by SHA-256; ends both couriers in order. */
static void
carry (Rig *rig, gsize bytes, Harm harm)
{
    int fds[2];
    rig_open_lane (rig, &fds[0], &fds[1]);
    GThread *writers[] = { rig_write (fds[0], 1, bytes, TRUE), rig_write (fds[1], 2, bytes, TRUE) };
    Reader readers[] = { { .fd = fds[0], .seed = 2 }, { .fd = fds[1], .seed = 1 } };
    GThread *threads[] = { g_thread_new ("reader", read_all, &readers[0]),
                           g_thread_new ("reader", read_all, &readers[1]) };
    harm.at_us = gw_deadline_ms (60); /* in the middle of it, wherever that is */
    while (!g_atomic_int_get (&readers[0].is_done) || !g_atomic_int_get (&readers[1].is_done)) {
        rig_drain (&rig->source); /* each renewal is a few events */
        rig_drain (&rig->destination);
        do_harm (&harm);
        g_usleep (2000);
    }
    for (guint i = 0; i < 2; i++) {
        g_thread_join (threads[i]);
        g_thread_join (writers[i]);
        g_assert_cmpuint (readers[i].n_bytes, ==, bytes);
    }
    expect_done (&rig->source);
    expect_done (&rig->destination);
    close (fds[0]);
    close (fds[1]);
}

/* --- tests --------------------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    ProxyFault fault;
    guint n, every_ms;
    const char *why; /* what the destination says of the path */
    const char *words; /* of the lane */
} Row;

static const Row rows[] = {
    { "/courier-link/resets", PROXY_RESET, 10, 60, "the connection broke", NULL },
    { "/courier-link/resets-packed", PROXY_RESET, 10, 60, "the connection broke", ":pack" },
    { "/courier-link/resets-codec", PROXY_RESET, 10, 60, "the connection broke", ":codec=8388608" },
    { "/courier-link/stalls", PROXY_STALL, 2, 700, "silent for 300 ms", NULL },
    { "/courier-link/one-way", PROXY_ONE_WAY, 2, 700, "silent for 300 ms", NULL },
    { "/courier-link/flipped-bits", PROXY_FLIP, 6, 60, "the connection broke", NULL },
};

static void
test_fault (gconstpointer data)
{
    const Row *row = data;
    Rig rig;
    Proxy proxy;
    rig_init (&rig);
    rig.words = row->words;
    proxy_start (&proxy, rig.port);
    g_autofree char *address = g_strdup_printf ("127.0.0.1:%u", proxy.port);
    const char *source[] = { "--connect", address, "--silence", "300", NULL };
    const char *destination[] = { "--silence", "300", NULL };
    start (&rig, source, destination);
    carry (&rig, 60 * MIB, (Harm){ &proxy, row->fault, row->n, row->every_ms, 0 });
    g_autofree char *down = g_strdup_printf ("\"reason\":\"%s", row->why);
    g_free (rig_expect (&rig.destination, down));
    g_free (rig_expect (&rig.source, "\"event\":\"path-down\""));
    g_free (rig_expect (&rig.source, "\"event\":\"outage\""));
    g_free (rig_expect (&rig.source, "\"event\":\"resumed\""));
    proxy_end (&proxy);
    rig_clear (&rig);
}

static guint64
read_number (const char *stats, const char *name)
{
    g_autofree char *member = g_strdup_printf ("\"%s\":", name);
    const char *at = strstr (stats, member);
    g_assert_nonnull (at);
    return g_ascii_strtoull (at + strlen (member), NULL, 10);
}

/* GW_RENEW_MIB each way under load (`make soak`: 1024), a renewal every MiB. */
static void
test_renewals (void)
{
    Rig rig;
    const char *extra[] = { "--renew", "1048576", NULL };
    const char *mib = g_getenv ("GW_RENEW_MIB");
    gsize n_mib = mib != NULL ? (gsize) g_ascii_strtoull (mib, NULL, 10) : 64;
    rig_init (&rig);
    start (&rig, extra, extra);
    carry (&rig, n_mib * MIB, (Harm){ .proxy = NULL });
    g_autofree char *stats = rig_expect (&rig.source, "\"event\":\"stats\"");
    guint64 n = read_number (stats, "renewals"), n_paths = read_number (stats, "paths_seen");
    g_test_message ("%" G_GUINT64_FORMAT " renewals and %" G_GUINT64_FORMAT " paths for %zu MiB each way", n, n_paths, n_mib);
    g_assert_cmpuint (n_paths, >=, n_mib * 2 / 5); /* at twice as much nothing more goes, but for a record */
    g_assert_cmpuint (n, >=, n_mib / 8); /* a path that the other side has closed before is none */
    rig_clear (&rig);
}

static void
test_several_paths (void)
{
    Rig rig;
    const char *extra[] = { "--paths", "3", NULL };
    rig_init (&rig);
    start (&rig, extra, NULL);
    for (guint i = 0; i < 3; i++)
        g_free (rig_expect (&rig.destination, "\"event\":\"path-up\""));
    carry (&rig, 30 * MIB, (Harm){ .proxy = NULL });
    rig_clear (&rig);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        g_test_add_data_func (rows[i].name, &rows[i], test_fault);
    g_test_add_func ("/courier-link/renewals", test_renewals);
    g_test_add_func ("/courier-link/several-paths", test_several_paths);
    return g_test_run ();
}
