/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * session: lanes over paths, without I/O.
 *
 * Theory
 * ------
 * A session lasts as long as the job; its paths come and go.  It is pure: no socket, no clock, no
 * thread, no randomness.  The caller tells it what happened (a path came up, a record arrived, the
 * program wrote), passes the time, and asks it what to do next (which frame to send on this path,
 * which bytes to give to the program, when to look again).  So the courier and the simulation in
 * tests/sim run the same code.
 *
 * Sequence.  Each direction of a lane is a row of units: OPEN is one, each byte of data is one, EOF
 * is one.  A receiver takes units in order and exactly once, whatever the paths do.  It says how far
 * it has come (ack) and how far the other may go (limit); both only grow.  The sender keeps a chunk,
 * which is one frame with its head, until it is acknowledged.  A chunk is cut once and never cut
 * again, so a unit that comes twice comes in the same frame.
 *
 * Loss.  Paths are TCP, so only their end loses anything.  When a path ends, each chunk that was
 * last sent on it and is not acknowledged goes back to be sent, lowest first.  What is not a chunk
 * (acks, STOP, RESET, BYE) is a state, not a message: it is marked to be said again.  At most what
 * was in flight on that path is sent twice.
 *
 * Flow control.  A lane's limit starts at 1, so that OPEN alone may come; accepting the lane raises
 * it to the lane's window.  The window grows to twice what arrives in a round trip, between
 * GW_SESSION_WINDOW_MIN and what the memory allows.  A receiver therefore always has room for what
 * is under way, and a path is always read: a program that does not read holds back its own lane only.
 *
 * Order.  The next frame of a path is that of the highest class which has one: control, return path,
 * urgent, device state, disks, bulk; lanes of one class take turns.  Classes from GW_CLASS_DISK down
 * are also held to the path's window of bytes in flight: rate times (5/4 of the least round trip +
 * GW_SESSION_NETWORK_US), so that the queue they build in the network stays below a millisecond and
 * whatever is urgent passes it.  A program that works for some milliseconds between two turns would leave the
 * link idle with that, and its rate, which the window follows, would fall again and again: it asks for more
 * while nothing urgent is about (gw_session_set_network_us()).  In flight is what the far kernel has not acknowledged, if the caller
 * knows that; what the far session has not may be more, as that also waits for its turn of the
 * processor.  Rate and round trip come from the path acks; the rate is forgotten only while the window
 * or the socket is what limits it.
 *
 * Silence.  A path that has been silent for `silence_ms` while a PING is out is dead.  A new path
 * needs no old one: HELLO (see link.h) ties it to the session, and the first frame each way is an
 * ACK of all lanes.
 *
 * Renewal.  A path whose direction has used up `renew_bytes` or `renew_records` asks for a
 * successor with a fresh handshake (event WANTED).  Once that is up, each side sends LEAVE as its
 * last frame on the old path, and when both have, it is closed with nothing lost.  At twice the limits
 * nothing more is sent on a path.
 *
 * Spool.  A lane may be told to take whatever the program writes, up to a bound of its own; see
 * gw_session_spool().
 *
 * Memory.  Chunks are blocks of one size from a pool with one bound for both directions; a quarter
 * is kept for classes above GW_CLASS_DISK.
 */
#ifndef GW_SESSION_H
#define GW_SESSION_H

#include "link.h"

#include <sys/uio.h>

#define GW_SESSION_LANES 64   /* open at once */
#define GW_SESSION_PATHS 16   /* up at once */
#define GW_SESSION_WINDOW_MIN (1024 * 1024)
#define GW_SESSION_UNSENT (256 * 1024) /* read from a program ahead of the paths, without spool */
#define GW_SESSION_NETWORK_US 500 /* of bulk that the far kernel has not acknowledged, beyond its way */
#define GW_SESSION_NETWORK_BUSY_US 4000 /* likewise, of a sender that has more to do than to send */
#define GW_SESSION_LOOP_US 8000   /* of bulk that the far session has not, in that case; */
#define GW_SESSION_QUEUE_US 1000  /* where the first is not known */

/* Who goes first; the order of the names is the order of sending. */
typedef enum {
    GW_CLASS_CONTROL, /* frames that are no lane's data */
    GW_CLASS_RETURN,  /* the return path */
    GW_CLASS_URGENT,  /* requested pages, the preempt lane */
    GW_CLASS_DEVICE,  /* device state */
    GW_CLASS_DISK,
    GW_CLASS_BULK,
    GW_N_CLASSES
} GwLinkClass;

const char *gw_link_class_name (guint class);
/* GW_N_CLASSES for a name that is none. */
GwLinkClass gw_link_class_from_name (const char *name);

typedef struct {
    GwSide side;
    gsize memory_bytes;     /* of chunks, both directions; at least 4 MiB */
    guint silence_ms;       /* 2000 */
    guint ping_ms;          /* 250; a path with nothing to say says this */
    uint64_t renew_bytes;   /* a path and direction; GW_LINK_REKEY_BYTES */
    uint64_t renew_records; /* GW_LINK_REKEY_RECORDS */
    guint deadline_ms;      /* without any path, before the session is over; 0 is for ever */
} GwSessionConfig;

typedef struct _GwSession GwSession;

/* `config` is copied.  Never fails. */
GwSession *gw_session_new (const GwSessionConfig *config);
void gw_session_free (GwSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwSession, gw_session_free)

/* All times are microseconds of one monotonic clock of the caller's. */

/* --- session_path.c: paths --------------------------------------------------------------------- */

/* A path on which both hellos are exchanged.  Returns its number (0..GW_SESSION_PATHS-1), -1 when
 * there are too many.  `serial` names it in events and counters. */
int gw_session_path_up (GwSession *session, guint serial, gint64 now_us);

/* It has ended, however; `reason` for people.  What it carried is sent again elsewhere. */
void gw_session_path_down (GwSession *session, int path, const char *reason, gint64 now_us);

/* Sends nothing more on it once another path is up; ends with event PATH_LEFT.  For removing an
 * address at run time and for renewal. */
void gw_session_path_leave (GwSession *session, int path, gint64 now_us);

/* Takes a record that arrived (transfer full, also on FALSE).  FALSE with GW_CAUSE_LINK_LOST when it
 * is against the protocol: the caller closes the path (and says path_down). */
gboolean gw_session_receive (GwSession *session, int path, GwLinkRecord *record, gint64 now_us,
                             GError **error);

typedef struct {
    const uint8_t *record; /* head and payload; valid until the next call to the session */
    gsize len;
    GwLinkClass class;
} GwSessionFrame;

/* The next frame for `path`, taken as sent.  FALSE when there is none now. */
gboolean gw_session_send (GwSession *session, int path, gint64 now_us, GwSessionFrame *ret_frame);

/* `bytes` of what was sent on `path` wait here or are not acknowledged by the far kernel.  Said before
 * frames are taken it tells the network's queue from a far courier that has no processor. */
void gw_session_path_unacked (GwSession *session, int path, gsize bytes);

/* How much of bulk may wait in the network beyond its way: GW_SESSION_NETWORK_US (so it begins) to
 * GW_SESSION_LOOP_US. */
void gw_session_set_network_us (GwSession *session, guint us);

/* The socket of `path` takes no more now: so its rate is that of the way, not that of the programs. */
void gw_session_path_full (GwSession *session, int path);

/* Does what time asks for (pings, dead paths, deadline).  Returns when to call again at the latest,
 * G_MAXINT64 for never. */
gint64 gw_session_tick (GwSession *session, gint64 now_us);

/* --- session_lane.c: lanes ---------------------------------------------------------------------- */

typedef struct _GwSessionLane GwSessionLane; /* owned by the session until gw_session_close() */

/* Opens a lane: the program at this end has connected.  NULL when there are GW_SESSION_LANES.  The
 * peer sees lanes of one session in the order of their opening. */
GwSessionLane *gw_session_open (GwSession *session, const char *name, GwLinkClass class,
                                gpointer user_data);

/* Answers event LANE_OFFERED.  `class` is that of this side's direction. */
void gw_session_accept (GwSession *session, GwSessionLane *lane, GwLinkClass class,
                        gpointer user_data);

const char *gw_session_lane_name (const GwSessionLane *lane);
gpointer gw_session_lane_data (const GwSessionLane *lane);
void gw_session_lane_set_class (GwSession *session, GwSessionLane *lane, GwLinkClass class);

/* Outwards.  Memory for up to `n` pieces to read the program's bytes into; 0 when the lane has no
 * room now.  Then say how many bytes it was (0 is allowed), before any other call. */
guint gw_session_reserve (GwSession *session, GwSessionLane *lane, struct iovec *pieces, guint n);
void gw_session_commit (GwSession *session, GwSessionLane *lane, gsize bytes);
/* The program wrote its last byte. */
void gw_session_end (GwSession *session, GwSessionLane *lane);

/* Inwards.  Up to `n` pieces of what has arrived in order; 0 when nothing has. */
guint gw_session_peek (GwSession *session, GwSessionLane *lane, struct iovec *pieces, guint n);
/* The program took `bytes` of them. */
void gw_session_consume (GwSession *session, GwSessionLane *lane, gsize bytes);
/* TRUE once everything before the peer's EOF was consumed. */
gboolean gw_session_is_at_end (const GwSessionLane *lane);
/* The program reads no more: what arrives is dropped, the peer's program shall get EPIPE. */
void gw_session_stop (GwSession *session, GwSessionLane *lane);

/* Over in both directions, now; also the answer to LANE_OFFERED when the program cannot be reached. */
void gw_session_reset (GwSession *session, GwSessionLane *lane, const char *why);

/* Gives the lane back once both directions have ended (event LANE_OVER). */
void gw_session_close (GwSession *session, GwSessionLane *lane);

/* From now on the lane takes up to `bytes` from the program beyond what the paths take, outside the
 * bound of memory.  0 ends that. */
void gw_session_spool (GwSession *session, GwSessionLane *lane, gsize bytes);

/* --- session.c: the whole ------------------------------------------------------------------------ */

/* No lane will be opened any more; when all have ended here and there, event OVER. */
void gw_session_finish (GwSession *session);

/* Measures a round trip on each path that is up; event PROBED when every one answered, or when one
 * did and `within_ms` has passed; event PROBE_FAILED when none did. */
void gw_session_probe (GwSession *session, guint within_ms, gint64 now_us);

void gw_session_set_deadline (GwSession *session, guint deadline_ms);

typedef enum {
    GW_SESSION_NONE,
    GW_SESSION_LANE_OFFERED,  /* lane; the peer's program connected: accept or reset */
    GW_SESSION_LANE_ACCEPTED, /* lane; the peer accepted ours */
    GW_SESSION_LANE_STOPPED,  /* lane; the peer's program reads no more: nothing more is taken here */
    GW_SESSION_LANE_RESET,    /* lane, text; by the peer */
    GW_SESSION_LANE_OVER,     /* lane; ended in both directions and acknowledged: close it */
    GW_SESSION_PATH_DEAD,     /* path, text; by silence: close the socket and say path_down */
    GW_SESSION_PATH_LEFT,     /* path; both have left it: close it in order and say path_down */
    GW_SESSION_PATH_WANTED,   /* path; it wants a successor */
    GW_SESSION_OUTAGE,        /* the last path has gone */
    GW_SESSION_RESUMED,       /* duration_us of the outage; bytes that are sent again */
    GW_SESSION_PROBED,        /* duration_us: the worst round trip of the paths that answered */
    GW_SESSION_PROBE_FAILED,
    GW_SESSION_OVER,          /* both sides have finished; the flag says whether all was clean */
    GW_SESSION_EXPIRED        /* the deadline passed without a path */
} GwSessionEventType;

typedef struct {
    GwSessionEventType type;
    GwSessionLane *lane;
    int path;
    gint64 duration_us;
    uint64_t bytes;
    gboolean is_clean;
    char text[200];
} GwSessionEvent;

/* The next event, oldest first.  FALSE when there is none. */
gboolean gw_session_next_event (GwSession *session, GwSessionEvent *ret_event);

/* --- figures -------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t out_bytes, acked_bytes, in_bytes; /* the program's bytes */
    uint64_t resent_bytes, duplicate_bytes;
    gsize unsent_bytes, unacked_bytes, waiting_bytes; /* here, under way, for the program */
} GwLaneCounters;

typedef struct {
    uint64_t out_bytes, in_bytes, out_records, in_records; /* frames with heads */
    guint rtt_us, min_rtt_us, p50_rtt_us, p99_rtt_us;      /* 0 when not known */
    gint64 clock_offset_us;                                /* peer's session clock less ours */
    gint64 clock_error_us;                                 /* half the round trip it was found in */
    uint64_t rate;                                         /* delivered bytes a second */
    gsize flight_bytes;
    guint serial;
} GwPathCounters;

typedef struct {
    uint64_t outages, outage_us, resent_bytes, renewals, paths;
    gsize memory_bytes, memory_peak_bytes; /* of chunks */
} GwSessionCounters;

void gw_session_lane_get_counters (const GwSessionLane *lane, GwLaneCounters *ret_counters);
/* FALSE when that path is not up. */
gboolean gw_session_path_get_counters (const GwSession *session, int path,
                                       GwPathCounters *ret_counters);
void gw_session_get_counters (const GwSession *session, GwSessionCounters *ret_counters);

#endif
