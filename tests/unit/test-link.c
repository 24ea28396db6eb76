/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The link folder: frame heads, hello, and a TLS session over a socket pair. */
#include "link.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
test_frame (void)
{
    uint8_t record[GW_LINK_HEAD + 3] = { 0 };
    GwLinkFrame in = { GW_LINK_DATA, 0, 0x1234, 3, G_GUINT64_CONSTANT (0x0102030405060708) }, out;
    gw_link_frame_store (record, &in);
    static const uint8_t expected[GW_LINK_HEAD] = { 3, 0, 0x12, 0x34, 0, 0, 0, 3,
                                                    1, 2, 3,    4,    5, 6, 7, 8 };
    g_assert_cmpmem (record, GW_LINK_HEAD, expected, GW_LINK_HEAD);
    g_assert_true (gw_link_frame_load (record, sizeof record, &out, NULL));
    g_assert_cmpint (out.lane, ==, 0x1234);
    g_assert_cmpint (out.length, ==, 3);
    g_assert_true (out.sequence == in.sequence);
}

static void
test_frame_bad (void)
{
    static const struct {
        GwLinkFrame frame;
        gsize len;
        const char *says;
    } rows[] = {
        { { GW_LINK_DATA, 0, 0, 4, 0 }, GW_LINK_HEAD - 1, "*too short*" },
        { { 0, 0, 0, 0, 0 }, GW_LINK_HEAD, "*unknown type 0*" },
        { { GW_LINK_N_TYPES, 0, 0, 0, 0 }, GW_LINK_HEAD, "*unknown type*" },
        { { GW_LINK_DATA, 0, 0, 4, 0 }, GW_LINK_HEAD + 3, "*says 4 bytes*" },
        { { GW_LINK_DATA, 0, 0, 0, 0 }, GW_LINK_HEAD, "*says 0 bytes*" },
        { { GW_LINK_DATA, 0, 0, 0xffffffff, 0 }, GW_LINK_HEAD, "*4294967295*" },
        { { GW_LINK_OPEN, 0, 0, 33, 0 }, GW_LINK_HEAD + 33, "*1 to 32*" },
        { { GW_LINK_EOF, 0, 0, 1, 0 }, GW_LINK_HEAD + 1, "*0 to 0*" },
        { { GW_LINK_DATA, 1, 0, 4, 0 }, GW_LINK_HEAD + 4, "*flags 0x01*" },
        { { GW_LINK_ACK, 0, 0, 19, 0 }, GW_LINK_HEAD + 19, "*no multiple of 18*" },
        { { GW_LINK_LEAVE, 0, 0, 1, 0 }, GW_LINK_HEAD + 1, "*0 to 0*" },
        { { GW_LINK_PONG, 0, 0, 0, 0 }, GW_LINK_HEAD, "*16 to 16*" },
        { { GW_LINK_BYE, 4, 0, 0, 0 }, GW_LINK_HEAD, "*flags 0x04*" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GError) error = NULL;
        uint8_t record[GW_LINK_HEAD + 64] = { 0 };
        GwLinkFrame out;
        gw_link_frame_store (record, &rows[i].frame);
        g_assert_false (gw_link_frame_load (record, rows[i].len, &out, &error));
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_LINK_LOST);
        g_assert_true (g_pattern_match_simple (rows[i].says, error->message));
    }
}

static GwLinkHello
make_hello (GwSide side, const char *job, uint32_t epoch, uint8_t session, uint32_t serial)
{
    GwLinkHello hello = { .side = side, .epoch = epoch, .serial = serial, .wall_clock_us = -5 };
    memset (hello.session, session, sizeof hello.session);
    g_strlcpy (hello.job, job, sizeof hello.job);
    return hello;
}

static void
test_hello (void)
{
    GwLinkHello hello = make_hello (GW_SIDE_SOURCE, "j", 0x01020304, 0xaa, 0x05060708), out;
    GwLinkHello ours = make_hello (GW_SIDE_DESTINATION, "j", 0x01020304, 0xbb, 0);
    uint8_t record[GW_LINK_HELLO_MAX];
    static const uint8_t expected[] = {
        1,    0,    0,    0,    0,    0,    0,    37,   0,    0,    0,    0,    0,    0, 0, 0, 0, 2,
        1,    0,    1,    2,    3,    4,    0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
        0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 5,    6,    7,    8,    0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xfb, 'j'
    };
    gsize len = gw_link_hello_store (record, &hello);
    g_assert_cmpmem (record, len, expected, sizeof expected);
    GwLinkPeer peer = { 0 };
    g_assert_true (gw_link_hello_check (&peer, &ours, record, len, &out, NULL));
    g_assert_true (peer.is_known);
    g_assert_cmpuint (peer.serial, ==, 0x05060708);
    g_assert_cmpmem (&out, sizeof out, &hello, sizeof hello);
}

/* Each row differs in one thing from what is expected. */
static void
test_hello_bad (void)
{
    GwLinkHello good = make_hello (GW_SIDE_SOURCE, "job-1", 7, 1, 5);
    const struct {
        GwLinkHello hello;
        const char *says;
    } rows[] = {
        { make_hello (GW_SIDE_DESTINATION, "job-1", 7, 1, 6), "*not the source*" },
        { make_hello (GW_SIDE_SOURCE, "job-2", 7, 1, 6), "*another job*" },
        { make_hello (GW_SIDE_SOURCE, "job-11", 7, 1, 6), "*another job*" },
        { make_hello (GW_SIDE_SOURCE, "job-1", 8, 1, 6), "*epoch 8, not 7*" },
        { make_hello (GW_SIDE_SOURCE, "job-1", 7, 0, 6), "*no session*" },
        { make_hello (GW_SIDE_SOURCE, "job-1", 7, 2, 6), "*another one than before*" },
        { make_hello (GW_SIDE_SOURCE, "job-1", 7, 1, 5), "*stale*" },
        { make_hello (GW_SIDE_SOURCE, "job-1", 7, 1, 4), "*stale*" },
        { make_hello (GW_SIDE_SOURCE, "job-1", 7, 1, 6), NULL },
    };
    GwLinkHello ours = make_hello (GW_SIDE_DESTINATION, "job-1", 7, 9, 0), out;
    uint8_t record[GW_LINK_HELLO_MAX];
    GwLinkPeer peer = { 0 };
    gsize len = gw_link_hello_store (record, &good);
    g_assert_true (gw_link_hello_check (&peer, &ours, record, len, &out, NULL));
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GError) error = NULL;
        len = gw_link_hello_store (record, &rows[i].hello);
        gboolean ok = gw_link_hello_check (&peer, &ours, record, len, &out, &error);
        g_assert_cmpint (ok, ==, rows[i].says == NULL);
        g_assert_true (ok || g_pattern_match_simple (rows[i].says, error->message));
        g_assert_true (ok || gw_error_get_cause (error) == GW_CAUSE_LINK_AUTH);
    }
    gw_store_be16 (record + GW_LINK_HEAD, GW_LINK_VERSION + 1);
    g_autoptr (GError) error = NULL;
    g_assert_false (gw_link_hello_check (&peer, &ours, record, len, &out, &error));
    g_assert_true (g_pattern_match_simple ("*version 3*", error->message));
    record[0] = GW_LINK_BYE;
    g_assert_false (gw_link_hello_check (&peer, &ours, record, len, &out, NULL));
}

/* The destination says the path's serial again. */
static void
test_hello_answer (void)
{
    GwLinkHello ours = make_hello (GW_SIDE_SOURCE, "j", 7, 1, 5), out;
    uint8_t record[GW_LINK_HELLO_MAX];
    GwLinkPeer peer = { 0 };
    static const uint32_t serials[] = { 6, 5, 4, 3 };
    for (guint i = 0; i < G_N_ELEMENTS (serials); i++) { /* the answers may come in any order */
        GwLinkHello theirs = make_hello (GW_SIDE_DESTINATION, "j", 7, 2, serials[i]);
        gsize len = gw_link_hello_store (record, &theirs);
        ours.serial = i == 0 ? 5 : serials[i];
        g_assert_cmpint (gw_link_hello_check (&peer, &ours, record, len, &out, NULL), ==, i > 0);
    }
}

static void
test_job (void)
{
    g_assert_true (gw_link_job_is_valid ("20260101T000000Z-web1.a_b"));
    g_assert_false (gw_link_job_is_valid (""));
    g_assert_false (gw_link_job_is_valid ("a/b"));
    g_assert_false (gw_link_job_is_valid ("a b"));
    g_autofree char *longest = g_strnfill (GW_LINK_JOB_MAX, 'a');
    g_autofree char *longer = g_strnfill (GW_LINK_JOB_MAX + 1, 'a');
    g_assert_true (gw_link_job_is_valid (longest));
    g_assert_false (gw_link_job_is_valid (longer));
}

/* --- a pair of sessions -------------------------------------------------------------------------- */

typedef struct {
    GwLinkKey *key[2];
    GwLinkTls *tls[2]; /* source, destination */
} Pair;

static void
pair_init (Pair *pair, const char *job_a, uint8_t secret_a, const char *job_b, uint8_t secret_b)
{
    const char *jobs[] = { job_a, job_b };
    uint8_t bytes[] = { secret_a, secret_b };
    int fds[2];
    g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), ==, 0);
    for (int i = 0; i < 2; i++) {
        g_autoptr (GError) error = NULL;
        uint8_t secret[GW_LINK_SECRET];
        memset (secret, bytes[i], sizeof secret);
        GwSide side = i == 0 ? GW_SIDE_SOURCE : GW_SIDE_DESTINATION;
        pair->key[i] = gw_link_key_new (secret, jobs[i], side, &error);
        g_assert_no_error (error);
        pair->tls[i] = gw_link_tls_new (pair->key[i], fds[i], &error);
        g_assert_no_error (error);
    }
}

static void
pair_clear (Pair *pair)
{
    for (int i = 0; i < 2; i++) {
        gw_link_tls_free (pair->tls[i]);
        gw_link_key_free (pair->key[i]);
    }
}

/* Runs both handshakes to their ends; the first error of either side is given back. */
static GError *
pair_shake (Pair *pair)
{
    GwLinkStep step[2] = { GW_LINK_AGAIN, GW_LINK_AGAIN };
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 2; i++) {
            GError *error = NULL;
            if (step[i] == GW_LINK_AGAIN)
                step[i] = gw_link_tls_handshake (pair->tls[i], &error);
            if (step[i] == GW_LINK_FAILED)
                return error;
        }
        if (step[0] == GW_LINK_DONE && step[1] == GW_LINK_DONE)
            return NULL;
    }
    g_assert_not_reached ();
}

static void
test_tls_wrong_key (void)
{
    static const struct {
        const char *job_a, *job_b;
        uint8_t a, b;
    } rows[] = { { "j", "j", 1, 2 }, { "j", "k", 1, 1 } };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        Pair pair;
        pair_init (&pair, rows[i].job_a, rows[i].a, rows[i].job_b, rows[i].b);
        g_autoptr (GError) error = pair_shake (&pair);
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_LINK_AUTH);
        pair_clear (&pair);
    }
}

/* Sends one record from `from`, takes what arrives at the other side, compares. */
static void
pass_record (Pair *pair, int from, const uint8_t *bytes, gsize len)
{
    g_autoptr (GError) error = NULL;
    g_assert_true (gw_link_tls_send (pair->tls[from], bytes, len, &error));
    g_assert_no_error (error);
    GwLinkRecord record = { 0 };
    GwLinkStep step;
    do {
        g_assert_cmpint (gw_link_tls_flush (pair->tls[from], &error), !=, GW_LINK_FAILED);
        step = gw_link_tls_receive (pair->tls[!from], &record, &error);
    } while (step == GW_LINK_AGAIN);
    g_assert_no_error (error);
    g_assert_cmpint (step, ==, GW_LINK_DONE);
    g_assert_cmpmem (record.data, record.len, bytes, len);
    gw_link_record_clear (&record);
}

static void
test_tls_records (void)
{
    Pair pair;
    g_autoptr (GError) error = NULL;
    pair_init (&pair, "j", 7, "j", 7);
    g_assert_null (pair_shake (&pair));
    gw_link_tls_start (pair.tls[0]);
    gw_link_tls_start (pair.tls[1]);
    g_assert_cmpuint (gw_link_tls_get_room (pair.tls[0]), ==, GW_LINK_BATCH);
    g_autofree uint8_t *bytes = g_malloc (GW_LINK_RECORD);
    for (guint i = 0; i < GW_LINK_RECORD; i++)
        bytes[i] = (uint8_t) (i * 31 + (i >> 8));
    for (guint i = 0; i < 40; i++)
        pass_record (&pair, i % 2, bytes, 1 + (i * 977) % GW_LINK_RECORD);
    GwLinkRecord record;
    g_assert_true (gw_link_tls_shut (pair.tls[0], &error));
    g_assert_cmpint (gw_link_tls_flush (pair.tls[0], &error), ==, GW_LINK_DONE);
    g_assert_cmpint (gw_link_tls_receive (pair.tls[1], &record, &error), ==, GW_LINK_CLOSED);
    pair_clear (&pair);
}

/* A full batch and the control frames after it fit, whatever the reader does. */
static void
test_tls_room (void)
{
    Pair pair;
    g_autoptr (GError) error = NULL;
    pair_init (&pair, "j", 7, "j", 7);
    g_assert_null (pair_shake (&pair));
    gw_link_tls_start (pair.tls[0]);
    g_autofree uint8_t *bytes = g_malloc0 (GW_LINK_RECORD);
    do {
        while (gw_link_tls_get_room (pair.tls[0]) > 0)
            g_assert_true (gw_link_tls_send (pair.tls[0], bytes, GW_LINK_RECORD, &error));
    } while (gw_link_tls_flush (pair.tls[0], &error) == GW_LINK_DONE);
    guint small = 0;
    while (gw_link_tls_can_send_small (pair.tls[0])) {
        g_assert_true (gw_link_tls_send (pair.tls[0], bytes, 256, &error));
        small++;
    }
    g_assert_cmpuint (small, >=, 15);
    pair_clear (&pair);
}

/* A flipped bit, a cut connection and garbage are told apart from an orderly end. */
static void
test_tls_broken (void)
{
    for (int how = 0; how < 2; how++) {
        Pair pair;
        g_autoptr (GError) error = NULL;
        pair_init (&pair, "j", 7, "j", 7);
        g_assert_null (pair_shake (&pair));
        gw_link_tls_start (pair.tls[1]);
        if (how == 0)
            g_assert_cmpint (shutdown (gw_link_tls_get_fd (pair.tls[0]), SHUT_WR), ==, 0);
        else
            g_assert_cmpint (write (gw_link_tls_get_fd (pair.tls[0]),
                                    "\x17\x03\x03\0\x20"
                                    "0123456789abcdef0123456789abcdef",
                                    37), ==, 37);
        GwLinkRecord record;
        g_assert_cmpint (gw_link_tls_receive (pair.tls[1], &record, &error), ==, GW_LINK_FAILED);
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_LINK_LOST);
        pair_clear (&pair);
    }
}

static void
test_tls_garbage (void)
{
    Pair pair;
    pair_init (&pair, "j", 7, "j", 7);
    int fd = gw_link_tls_get_fd (pair.tls[0]);
    g_assert_cmpint (write (fd, "GET / HTTP/1.1\r\n\r\n", 18), ==, 18);
    g_autoptr (GError) error = NULL;
    g_assert_cmpint (gw_link_tls_handshake (pair.tls[1], &error), ==, GW_LINK_FAILED);
    g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_LINK_AUTH);
    pair_clear (&pair);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/link/frame", test_frame);
    g_test_add_func ("/link/frame-bad", test_frame_bad);
    g_test_add_func ("/link/hello", test_hello);
    g_test_add_func ("/link/hello-bad", test_hello_bad);
    g_test_add_func ("/link/hello-answer", test_hello_answer);
    g_test_add_func ("/link/job", test_job);
    g_test_add_func ("/link/tls/wrong-key", test_tls_wrong_key);
    g_test_add_func ("/link/tls/records", test_tls_records);
    g_test_add_func ("/link/tls/room", test_tls_room);
    g_test_add_func ("/link/tls/broken", test_tls_broken);
    g_test_add_func ("/link/tls/garbage", test_tls_garbage);
    return g_test_run ();
}
