/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session: two of them, joined by hand. What comes of many faults is for tests/sim. */
#include "session.h"

#include <string.h>

typedef struct {
    GwSession *ends[2];
    int path[2];
    gint64 now_us;
    guint n_dropped;
} Joint;

static void
release_copy (gpointer memory)
{
    g_free (memory);
}

static GwLinkRecord
copy_record (const uint8_t *bytes, gsize len)
{
    uint8_t *copy = g_memdup2 (bytes, len);
    return (GwLinkRecord){ .packet = copy, .release = release_copy, .data = copy, .len = len };
}

static void
joint_init (Joint *joint, gsize memory_bytes)
{
    *joint = (Joint){ .now_us = 1000000 };
    for (int i = 0; i < 2; i++) {
        GwSessionConfig config = { .side = i == 0 ? GW_SIDE_SOURCE : GW_SIDE_DESTINATION,
                                   .memory_bytes = memory_bytes,
                                   .silence_ms = 2000,
                                   .ping_ms = 250,
                                   .renew_bytes = GW_LINK_REKEY_BYTES,
                                   .renew_records = GW_LINK_REKEY_RECORDS,
                                   .deadline_ms = 60000 };
        joint->ends[i] = gw_session_new (&config);
    }
    for (int i = 0; i < 2; i++)
        joint->path[i] = gw_session_path_up (joint->ends[i], 1, joint->now_us);
}

static void
joint_clear (Joint *joint)
{
    gw_session_free (joint->ends[0]);
    gw_session_free (joint->ends[1]);
}

/* Moves frames both ways until there are none; a millisecond a round. */
static void
joint_settle (Joint *joint)
{
    guint n_idle = 0;
    while (n_idle < 3) {
        gboolean moved = FALSE;
        joint->now_us += 1000;
        for (int i = 0; i < 2; i++) {
            GwSessionFrame frame;
            (void) gw_session_tick (joint->ends[i], joint->now_us); /* time goes on by itself */
            while (gw_session_send (joint->ends[i], joint->path[i], joint->now_us, &frame)) {
                g_autoptr (GError) error = NULL;
                GwLinkRecord record = copy_record (frame.record, frame.len);
                gw_session_receive (joint->ends[!i], joint->path[!i], &record, joint->now_us,
                                    &error);
                g_assert_no_error (error);
                moved = TRUE;
            }
        }
        n_idle = moved ? 0 : n_idle + 1;
    }
}

static void
joint_cut (Joint *joint)
{
    for (int i = 0; i < 2; i++)
        gw_session_path_down (joint->ends[i], joint->path[i], "cut", joint->now_us);
    for (int i = 0; i < 2; i++)
        joint->path[i] = gw_session_path_up (joint->ends[i], 2, joint->now_us);
}

static GwSessionEvent
expect_event (GwSession *session, GwSessionEventType type)
{
    GwSessionEvent event;
    g_assert_true (gw_session_next_event (session, &event));
    g_assert_cmpint (event.type, ==, type);
    return event;
}

static void
expect_no_event (GwSession *session)
{
    GwSessionEvent event;
    g_assert_false (gw_session_next_event (session, &event));
}

/* Writes as much of `text` as the lane takes. */
static gsize
put (GwSession *session, GwSessionLane *lane, const uint8_t *bytes, gsize len)
{
    struct iovec pieces[4];
    gsize done = 0;
    guint n = gw_session_reserve (session, lane, pieces, G_N_ELEMENTS (pieces));
    for (guint i = 0; i < n && done < len; i++) {
        gsize part = MIN (pieces[i].iov_len, len - done);
        memcpy (pieces[i].iov_base, bytes + done, part);
        done += part;
    }
    gw_session_commit (session, lane, done);
    return done;
}

static void
expect_bytes (GwSession *session, GwSessionLane *lane, const char *text)
{
    struct iovec pieces[16];
    g_autoptr (GString) got = g_string_new (NULL);
    guint n = gw_session_peek (session, lane, pieces, G_N_ELEMENTS (pieces));
    for (guint i = 0; i < n; i++)
        g_string_append_len (got, pieces[i].iov_base, (gssize) pieces[i].iov_len);
    g_assert_cmpstr (got->str, ==, text);
    gw_session_consume (session, lane, got->len);
}

#define PUT(joint, i, lane, text)                                                                  \
    g_assert_cmpuint (put ((joint)->ends[i], lane, (const uint8_t *) (text), strlen (text)), ==,   \
                      strlen (text))

/* Opens a lane from end 0; both ends of it. */
static void
open_lane (Joint *joint, const char *name, GwSessionLane *lanes[2])
{
    lanes[0] = gw_session_open (joint->ends[0], name, GW_CLASS_BULK, NULL);
    joint_settle (joint);
    lanes[1] = expect_event (joint->ends[1], GW_SESSION_LANE_OFFERED).lane;
    g_assert_cmpstr (gw_session_lane_name (lanes[1]), ==, name);
    expect_no_event (joint->ends[0]);
    gw_session_accept (joint->ends[1], lanes[1], GW_CLASS_RETURN, NULL);
    joint_settle (joint);
    g_assert_true (expect_event (joint->ends[0], GW_SESSION_LANE_ACCEPTED).lane == lanes[0]);
}

static void
finish (Joint *joint, gboolean is_clean)
{
    for (int i = 0; i < 2; i++)
        gw_session_finish (joint->ends[i]);
    joint_settle (joint);
    for (int i = 0; i < 2; i++) {
        GwSessionEvent event = expect_event (joint->ends[i], GW_SESSION_OVER);
        g_assert_cmpint (event.is_clean, ==, is_clean);
    }
    joint_clear (joint);
}

static void
test_half_close (void)
{
    Joint joint;
    GwSessionLane *lanes[2];
    joint_init (&joint, 4 << 20);
    open_lane (&joint, "ram", lanes);
    PUT (&joint, 0, lanes[0], "hello");
    gw_session_end (joint.ends[0], lanes[0]);
    joint_settle (&joint);
    g_assert_false (gw_session_is_at_end (lanes[1]));
    expect_bytes (joint.ends[1], lanes[1], "hello");
    g_assert_true (gw_session_is_at_end (lanes[1]));
    expect_no_event (joint.ends[0]);
    PUT (&joint, 1, lanes[1], "still here");
    joint_settle (&joint);
    expect_bytes (joint.ends[0], lanes[0], "still here");
    gw_session_end (joint.ends[1], lanes[1]);
    joint_settle (&joint);
    for (int i = 0; i < 2; i++) {
        expect_event (joint.ends[i], GW_SESSION_LANE_OVER);
        gw_session_close (joint.ends[i], lanes[i]);
    }
    finish (&joint, TRUE);
}

static void
test_stop (void)
{
    Joint joint;
    GwSessionLane *lanes[2];
    joint_init (&joint, 4 << 20);
    open_lane (&joint, "nbd", lanes);
    gw_session_stop (joint.ends[1], lanes[1]);
    PUT (&joint, 0, lanes[0], "nobody reads this");
    joint_settle (&joint);
    expect_event (joint.ends[0], GW_SESSION_LANE_STOPPED);
    struct iovec piece;
    g_assert_cmpuint (gw_session_reserve (joint.ends[0], lanes[0], &piece, 1), ==, 0);
    gw_session_end (joint.ends[1], lanes[1]);
    joint_settle (&joint);
    for (int i = 0; i < 2; i++) {
        expect_event (joint.ends[i], GW_SESSION_LANE_OVER);
        gw_session_close (joint.ends[i], lanes[i]);
    }
    finish (&joint, FALSE);
}

/* Whichever end resets, and also before the peer has answered the OPEN. */
static void
test_reset (void)
{
    for (int who = 0; who < 3; who++) {
        Joint joint;
        GwSessionLane *lanes[2] = { NULL };
        joint_init (&joint, 4 << 20);
        if (who < 2)
            open_lane (&joint, "ram", lanes);
        else
            lanes[0] = gw_session_open (joint.ends[0], "ram", GW_CLASS_BULK, NULL);
        PUT (&joint, 0, lanes[0], "lost");
        gw_session_reset (joint.ends[who % 2], lanes[who % 2], "gone\001");
        joint_settle (&joint);
        int other = !(who % 2);
        if (who == 2)
            lanes[1] = expect_event (joint.ends[1], GW_SESSION_LANE_OFFERED).lane;
        GwSessionEvent event = expect_event (joint.ends[other], GW_SESSION_LANE_RESET);
        g_assert_cmpstr (event.text, ==, "gone\\x01");
        gw_session_accept (joint.ends[1], lanes[1], GW_CLASS_RETURN, NULL); /* too late: harmless */
        for (int i = 0; i < 2; i++) {
            expect_event (joint.ends[i], GW_SESSION_LANE_OVER);
            gw_session_close (joint.ends[i], lanes[i]);
        }
        finish (&joint, FALSE);
    }
}

/* A slow program holds back its lane, up to the window; the rest comes when it reads. */
static void
test_window (void)
{
    Joint joint;
    GwSessionLane *lanes[2];
    joint_init (&joint, 64 << 20);
    open_lane (&joint, "ram", lanes);
    g_autofree uint8_t *bytes = g_malloc0 (65536);
    gsize total = 0;
    for (int i = 0; i < 2000; i++) {
        gsize done = put (joint.ends[0], lanes[0], bytes, 65536);
        total += done;
        joint_settle (&joint);
    }
    GwLaneCounters out, in;
    gw_session_lane_get_counters (lanes[0], &out);
    gw_session_lane_get_counters (lanes[1], &in);
    g_assert_cmpuint (in.waiting_bytes, >=, GW_SESSION_WINDOW_MIN - GW_LINK_RECORD);
    g_assert_cmpuint (in.waiting_bytes, <=, 48 << 20);
    g_assert_cmpuint (out.unsent_bytes, >=, GW_SESSION_UNSENT);
    g_assert_cmpuint (out.unsent_bytes, <=, GW_SESSION_UNSENT + 5 * GW_LINK_RECORD);
    g_assert_cmpuint (out.unsent_bytes + in.waiting_bytes, ==, total);
    gw_session_spool (joint.ends[0], lanes[0], 1 << 20);
    for (int i = 0; i < 100; i++)
        total += put (joint.ends[0], lanes[0], bytes, 65536);
    gw_session_lane_get_counters (lanes[0], &out);
    g_assert_cmpuint (out.unsent_bytes, >=, GW_SESSION_UNSENT + (1 << 20) - 2 * GW_LINK_RECORD);
    g_assert_cmpuint (out.unsent_bytes, <=, GW_SESSION_UNSENT + (1 << 20) + 5 * GW_LINK_RECORD);
    gsize read = 0;
    while (read < total) {
        struct iovec piece;
        g_assert_cmpuint (gw_session_peek (joint.ends[1], lanes[1], &piece, 1), ==, 1);
        gw_session_consume (joint.ends[1], lanes[1], piece.iov_len);
        read += piece.iov_len;
        joint_settle (&joint);
    }
    joint_clear (&joint);
}

/* Everything in flight is lost, then sent again on the next path. */
static void
test_cut (void)
{
    Joint joint;
    GwSessionLane *lanes[2];
    joint_init (&joint, 4 << 20);
    open_lane (&joint, "ram", lanes);
    PUT (&joint, 0, lanes[0], "abc");
    GwSessionFrame frame;
    g_assert_true (gw_session_send (joint.ends[0], joint.path[0], joint.now_us, &frame));
    PUT (&joint, 0, lanes[0], "def");
    joint.now_us += 5000;
    joint_cut (&joint);
    expect_event (joint.ends[0], GW_SESSION_OUTAGE);
    GwSessionEvent event = expect_event (joint.ends[0], GW_SESSION_RESUMED);
    g_assert_cmpuint (event.bytes, ==, 3);
    joint_settle (&joint);
    expect_bytes (joint.ends[1], lanes[1], "abcdef");
    GwSessionCounters counters;
    gw_session_get_counters (joint.ends[0], &counters);
    g_assert_cmpuint (counters.outages, ==, 1);
    g_assert_cmpuint (counters.resent_bytes, ==, 3);
    joint_clear (&joint);
}

static void
test_silence_and_deadline (void)
{
    Joint joint;
    joint_init (&joint, 4 << 20);
    joint_settle (&joint);
    gint64 start_us = joint.now_us, now_us = joint.now_us;
    GwSessionEvent event;
    for (;;) {
        gint64 next_us = gw_session_tick (joint.ends[0], now_us);
        if (gw_session_next_event (joint.ends[0], &event))
            break;
        now_us = MAX (next_us, now_us + 1);
        g_assert_cmpint (now_us, <, start_us + 3000000);
    }
    g_assert_cmpint (event.type, ==, GW_SESSION_PATH_DEAD);
    g_assert_cmpint (now_us - start_us, >=, 2000000);
    expect_event (joint.ends[0], GW_SESSION_OUTAGE);
    gw_session_path_down (joint.ends[0], joint.path[0], event.text, now_us);
    gint64 end_us = gw_session_tick (joint.ends[0], now_us);
    g_assert_cmpint (end_us, <=, now_us + 60000000);
    expect_no_event (joint.ends[0]);
    (void) gw_session_tick (joint.ends[0], end_us); /* the event is what counts */
    expect_event (joint.ends[0], GW_SESSION_EXPIRED);
    joint_clear (&joint);
}

/* A successor comes up; both leave the old one. */
static void
test_leave (void)
{
    Joint joint;
    GwSessionLane *lanes[2];
    joint_init (&joint, 4 << 20);
    open_lane (&joint, "ram", lanes);
    gw_session_path_leave (joint.ends[0], joint.path[0], joint.now_us);
    joint_settle (&joint);
    expect_no_event (joint.ends[0]);
    int old[2] = { joint.path[0], joint.path[1] };
    int new[2];
    for (int i = 0; i < 2; i++)
        new[i] = gw_session_path_up (joint.ends[i], 2, joint.now_us);
    for (int round = 0; round < 4; round++) { /* each path in turn */
        for (int i = 0; i < 2; i++)
            joint.path[i] = round % 2 == 0 ? old[i] : new[i];
        joint_settle (&joint);
    }
    for (int i = 0; i < 2; i++) {
        g_assert_cmpint (expect_event (joint.ends[i], GW_SESSION_PATH_LEFT).path, ==, old[i]);
        gw_session_path_down (joint.ends[i], old[i], "left", joint.now_us);
        expect_no_event (joint.ends[i]);
    }
    joint_clear (&joint);
}

static void
test_probe (void)
{
    Joint joint;
    joint_init (&joint, 4 << 20);
    joint_settle (&joint);
    gw_session_probe (joint.ends[0], 100, joint.now_us);
    joint_settle (&joint);
    g_assert_cmpint (expect_event (joint.ends[0], GW_SESSION_PROBED).duration_us, <=, 2000);
    gw_session_probe (joint.ends[0], 100, joint.now_us);
    (void) gw_session_tick (joint.ends[0], joint.now_us + 100000); /* the event is what counts */
    expect_event (joint.ends[0], GW_SESSION_PROBE_FAILED);
    joint_clear (&joint);
}

/* --- foreign frames ------------------------------------------------------------------------------------ */

/* What an end that holds one accepted lane (id 0, opened by the peer) says to a frame. */
static void
expect_refusal (GwLinkFrame frame, const uint8_t *payload, const char *says)
{
    Joint joint;
    GwSessionLane *lanes[2];
    uint8_t record[GW_LINK_HEAD + 64] = { 0 };
    joint_init (&joint, 4 << 20);
    open_lane (&joint, "ram", lanes);
    gw_link_frame_store (record, &frame);
    if (payload != NULL)
        memcpy (record + GW_LINK_HEAD, payload, frame.length);
    g_autoptr (GError) error = NULL;
    GwLinkRecord copy = copy_record (record, GW_LINK_HEAD + frame.length);
    gboolean ok = gw_session_receive (joint.ends[1], joint.path[1], &copy, joint.now_us, &error);
    g_assert_cmpint (ok, ==, says == NULL);
    g_assert_true (ok || g_pattern_match_simple (says, error->message));
    g_assert_true (ok || gw_error_get_cause (error) == GW_CAUSE_LINK_LOST);
    g_assert_null (copy.packet);
    joint_clear (&joint);
}

static void
test_refusals (void)
{
    static const uint8_t too_much[18] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 9 };
    static const uint8_t no_lane[18] = { 0, 1 };
    static const struct {
        GwLinkFrame frame;
        const uint8_t *payload;
        const char *says;
    } rows[] = {
        { { GW_LINK_DATA, 0, 0, 5, 1 }, NULL, NULL },
        { { GW_LINK_DATA, 0, 0, 5, 100 }, NULL, NULL }, /* early: held */
        { { GW_LINK_DATA, 0, 0, 5, 0 }, NULL, "*cut in another way*" },
        { { GW_LINK_DATA, 0, 0, 5, 1 << 30 }, NULL, "*beyond the limit*" },
        { { GW_LINK_DATA, 0, 0, 5, UINT64_MAX }, NULL, "*beyond the limit*" },
        { { GW_LINK_DATA, 0, 2, 5, 1 }, NULL, "*never opened*" },
        { { GW_LINK_EOF, 0, 1, 0, 1 }, NULL, "*never opened*" },
        { { GW_LINK_OPEN, 0, 1, 1, 0 }, (const uint8_t *) "x", "*not the peer's*" },
        { { GW_LINK_OPEN, 0, 4, 1, 0 }, (const uint8_t *) "x", "*out of turn*" },
        { { GW_LINK_OPEN, 0, 2, 1, 7 }, (const uint8_t *) "x", "*not the peer's*" },
        { { GW_LINK_OPEN, 0, 2, 1, 0 }, (const uint8_t *) "\0", "*zero byte*" },
        { { GW_LINK_ACK, 0, 0, 0, 1 << 20 }, NULL, "*more than the path*" },
        { { GW_LINK_ACK, 0, 0, 18, 0 }, too_much, "*what was not sent*" },
        { { GW_LINK_ACK, 0, 0, 18, 0 }, no_lane, "*never opened*" },
        { { GW_LINK_RESET, GW_LINK_ANSWER, 0, 0, 0 }, NULL, "*answers nothing*" },
        { { GW_LINK_BYE, GW_LINK_SEEN, 0, 0, 0 }, NULL, "*what was not said*" },
        { { GW_LINK_HELLO, 0, 0, 40, 0 }, NULL, "*said before*" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        expect_refusal (rows[i].frame, rows[i].payload, rows[i].says);
}

/* The lanes' ends at both sides, read and closed. */
static void
end_and_close (Joint *joint, GwSessionLane *lanes[2])
{
    for (int i = 0; i < 2; i++)
        gw_session_end (joint->ends[i], lanes[i]);
    joint_settle (joint);
    for (int i = 0; i < 2; i++) {
        expect_event (joint->ends[i], GW_SESSION_LANE_OVER);
        gw_session_close (joint->ends[i], lanes[i]);
    }
}

/* A slow path brings an OPEN for the second time when the lane has ended: that is no lane to refuse. */
static void
test_late_open (void)
{
    Joint joint;
    GwSessionLane *lanes[2];
    GwSessionFrame frame;
    uint8_t open[GW_LINK_HEAD + 3] = { 0 };
    const GwLinkFrame head = { .type = GW_LINK_OPEN, .length = 3 };
    joint_init (&joint, 4 << 20);
    open_lane (&joint, "ram", lanes);
    end_and_close (&joint, lanes);
    gw_link_frame_store (open, &head);
    memcpy (open + GW_LINK_HEAD, "ram", 3);
    GwLinkRecord record = copy_record (open, sizeof open);
    g_assert_true (gw_session_receive (joint.ends[1], joint.path[1], &record, joint.now_us, NULL));
    guint n = 0;
    for (; gw_session_send (joint.ends[1], joint.path[1], joint.now_us, &frame); n++)
        g_assert_cmpuint (frame.record[0], !=, GW_LINK_RESET);
    g_assert_cmpuint (n, >=, 1);
    joint_clear (&joint);
}

/* The answer to an EOF or a RESET went on a path that had ended at our side only: we ask again. */
static void
test_lost_answer (gconstpointer data)
{
    gboolean is_reset = GPOINTER_TO_INT (data);
    Joint joint;
    GwSessionLane *lanes[2];
    GwSessionFrame frame;
    joint_init (&joint, 4 << 20);
    open_lane (&joint, "ram", lanes);
    if (is_reset)
        gw_session_reset (joint.ends[0], lanes[0], "gone");
    else
        gw_session_end (joint.ends[0], lanes[0]);
    while (gw_session_send (joint.ends[0], joint.path[0], joint.now_us, &frame))
        ; /* as if it had come and the answer had not */
    for (int i = 0; i < 50; i++) {
        joint_settle (&joint);
        joint.now_us += 100000;
    }
    if (is_reset)
        expect_event (joint.ends[1], GW_SESSION_LANE_RESET);
    else
        g_assert_true (gw_session_is_at_end (lanes[1]));
    joint_clear (&joint);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/link-session/half-close", test_half_close);
    g_test_add_func ("/link-session/stop", test_stop);
    g_test_add_func ("/link-session/reset", test_reset);
    g_test_add_func ("/link-session/window", test_window);
    g_test_add_func ("/link-session/cut", test_cut);
    g_test_add_func ("/link-session/silence-and-deadline", test_silence_and_deadline);
    g_test_add_func ("/link-session/leave", test_leave);
    g_test_add_func ("/link-session/probe", test_probe);
    g_test_add_func ("/link-session/late-open", test_late_open);
    g_test_add_data_func ("/link-session/lost-answer/end", GINT_TO_POINTER (0), test_lost_answer);
    g_test_add_data_func ("/link-session/lost-answer/reset", GINT_TO_POINTER (1), test_lost_answer);
    g_test_add_func ("/link-session/refusals", test_refusals);
    return g_test_run ();
}
