/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the session share, by owning file.
 *
 * A lane's outward direction is a list of chunks, lowest unit first: acknowledged ones leave at its
 * head, new ones join at its tail, and `cursor` is the first that waits to be sent (for the first
 * time or again).  Its inward direction is a list of what is ready for the program, in order and
 * without gaps, and a list of what came too early.
 */
#ifndef GW_SESSION_INTERNAL_H
#define GW_SESSION_INTERNAL_H

#include "session.h"

#define BIT(state) (1u << (state))

#define ACK_BYTES (64 * 1024)    /* an ack is due after as many bytes of chunks on a path */
#define ACK_US 1000              /* and after as long */
#define WINDOW_FLOOR (32 * 1024) /* a lane's window is never less: two full chunks */
#define FLIGHT_CHUNKS 4096       /* chunks of a lane that are sent and not acknowledged */
#define WINDOW_PATH_RATE 131      /* bytes a microsecond: a path's window is never less than 1 Gbit/s' */
#define LINGER_MS 3000           /* without a path, when only the peer's last word is missing */
#define NOTES 64                 /* short answers that wait to be said */
#define SAMPLES 128              /* round trips kept */
#define MARKS 64                 /* sent and not acknowledged, of a path */
#define SMALL_BLOCK 4096         /* small payloads that wait for the program are put together */
#define SMALL_PAYLOAD 1024

/* --- pool.c: blocks of one size -------------------------------------------------------------------- */

typedef struct {
    gsize size;     /* of a block */
    guint max_kept; /* free blocks that are kept */
    guint n_kept;
    guint n_used;
    gpointer kept; /* each block's first word is the next */
} GwPool;

void gw_pool_init (GwPool *pool, gsize size, guint max_kept);
void gw_pool_clear (GwPool *pool); /* every block must be back */
gpointer gw_pool_take (GwPool *pool);
void gw_pool_give (GwPool *pool, gpointer block);

/* --- session_chunk.c: what is kept until it is acknowledged ------------------------------------------ */

enum { CHUNK_WAITS = -1, CHUNK_LIMBO = GW_SESSION_PATHS }; /* values of `path` */

typedef struct _GwChunk GwChunk;
struct _GwChunk {
    GwChunk *next;
    uint64_t start; /* first unit */
    uint32_t units;
    uint32_t len; /* of the frame, head included */
    int path;     /* on which it was sent last, CHUNK_WAITS, or CHUNK_LIMBO: on one that was left */
    uint8_t type; /* GwLinkType */
    gboolean was_sent;
    gboolean is_spooled; /* outside of the bound of memory */
    gboolean is_overdue; /* it was sent when reminders were looked for; OPEN and EOF */
    uint8_t frame[];     /* GW_LINK_RECORD bytes for DATA */
};

/* A free DATA chunk; NULL when the lane may have none now.  `more` bytes are reserved already. */
GwChunk *gw_chunk_new (GwSession *session, GwSessionLane *lane, gsize more);
void gw_chunk_free (GwSession *session, GwSessionLane *lane, GwChunk *chunk);
/* Appends a chunk; its `type`, `units` and `len` are set. */
void gw_chunk_append (GwSessionLane *lane, GwChunk *chunk);
/* Appends an OPEN with the lane's name, or an EOF. */
void gw_chunk_append_unit (GwSessionLane *lane, GwLinkType type);
/* Forgets those that end at or before `ack`.  FALSE when it lies within one. */
gboolean gw_chunk_acknowledge (GwSession *session, GwSessionLane *lane, uint64_t ack);
/* Forgets those from the first that was never sent on. */
void gw_chunk_truncate (GwSession *session, GwSessionLane *lane);
void gw_chunk_drop_all (GwSession *session, GwSessionLane *lane);
/* All but OPEN, which was not acknowledged. */
void gw_chunk_keep_open (GwSession *session, GwSessionLane *lane);
/* What was last sent on `path` waits again; ends of lanes too, when `has_lost`.  Returns bytes. */
uint64_t gw_chunk_requeue (GwSession *session, int path, gboolean has_lost);
/* The lane's OPEN and EOF wait again if they were out at the last call, too.  TRUE while one is out. */
gboolean gw_chunk_remind (GwSession *session, GwSessionLane *lane);
/* Those in `from` are said to be in `to` instead. */
void gw_chunk_move (GwSession *session, int from, int to);
/* The next of the lane that may be sent, or NULL. */
GwChunk *gw_chunk_next (const GwSession *session, const GwSessionLane *lane);
void gw_chunk_sent (GwSession *session, GwSessionLane *lane, GwChunk *chunk, int path);

/* --- session_lane.c ------------------------------------------------------------------------------------ */

enum { /* outwards */
    OUT_OPENING, /* the peer has not accepted it */
    OUT_FLOWING,
    OUT_ENDING, /* EOF is a chunk */
    OUT_ENDED,  /* and was acknowledged */
    OUT_BROKEN  /* by a reset */
};

enum { /* inwards */
    IN_OFFERED, /* by the peer; our program is not there yet */
    IN_FLOWING,
    IN_STOPPED,  /* our program reads no more; EOF has not come */
    IN_DRAINING, /* EOF has come, the program has not taken all */
    IN_ENDED,
    IN_BROKEN
};

/* What arrived and waits: a record as it is, or a block of small payloads. */
typedef struct _GwPiece GwPiece;
struct _GwPiece {
    GwPiece *next;
    uint64_t start; /* first unit; of held ones */
    uint32_t len;   /* bytes for the program; 0 for EOF */
    uint32_t taken;
    uint8_t type;
    GwLinkRecord record; /* empty for a block */
    uint8_t block[];     /* SMALL_BLOCK bytes */
};

struct _GwSessionLane {
    uint16_t id;
    char name[GW_LINK_NAME_MAX + 1];
    GwLinkClass class;
    gpointer user_data;
    gboolean is_ours;
    uint32_t index;          /* among those of the side that opened it */
    gboolean is_known;       /* to the peer: its OPEN was acknowledged, or it is the peer's */
    gboolean is_accepted;    /* by the peer; of ours */
    GwMachine out, in;
    gboolean is_over;        /* the event was given */
    gboolean has_lost;       /* bytes, in either direction */

    /* outwards */
    GwChunk *head, *tail, *cursor;
    GwChunk *spare; /* reserved, not committed */
    gboolean is_tail_reserved;
    uint64_t end;        /* first unit after the last chunk */
    uint64_t sent_end;   /* and after the last that was ever sent */
    uint64_t acked;
    uint64_t peer_limit;
    guint n_flight;      /* chunks sent and not acknowledged */
    guint n_blocks;      /* of the bounded memory */
    gsize unsent_bytes;  /* never sent */
    gsize spool_bytes, spool_used;

    /* inwards */
    GwPiece *ready, *ready_tail, *held, *held_tail;
    guint n_held;
    gsize ready_bytes, held_bytes;
    uint64_t next;       /* first unit that has not come */
    uint64_t consumed;
    gsize window;
    uint64_t said_limit;
    gint64 round_us;     /* start of the measurement of the window */
    uint64_t round_next; /* `next` then */

    /* to be said */
    gboolean must_ack, must_stop, must_reset;
    gboolean is_reset_by_us;
    gboolean is_reset_overdue; /* it was out when reminders were looked for */
    char *why;

    GwLaneCounters counters;
};

/* The lane with that id that is open, or NULL. */
GwSessionLane *gw_lane_find (GwSession *session, uint16_t id);
GwSessionLane *gw_lane_new (GwSession *session, const char *name, gsize len, gboolean is_ours);
void gw_lane_free (GwSession *session, GwSessionLane *lane);
/* The answers of the peer. */
void gw_lane_accepted (GwSession *session, GwSessionLane *lane);
void gw_lane_stopped (GwSession *session, GwSessionLane *lane);
/* Ends both directions; drops everything. */
void gw_lane_break (GwSession *session, GwSessionLane *lane);
/* Says OVER when both directions have ended. */
void gw_lane_check_over (GwSession *session, GwSessionLane *lane);
void gw_lane_known (GwSession *session, GwSessionLane *lane);
/* How far the peer may send. */
uint64_t gw_lane_limit (const GwSessionLane *lane);
void gw_lane_measure (GwSession *session, GwSessionLane *lane, gint64 now_us);

/* --- session_receive.c ------------------------------------------------------------------------------------ */

void gw_piece_free (GwSession *session, GwPiece *piece);

/* --- session_path.c ----------------------------------------------------------------------------------------- */

enum {
    PATH_DOWN,
    PATH_UP,
    PATH_WANTING, /* as UP; wants a successor */
    PATH_LEAVING, /* as UP until another path is there, then LEAVE is said */
    PATH_LEFT,    /* LEAVE is said: only receives */
    PATH_OVER,    /* both have left */
    PATH_DEAD     /* silent; waits for path_down */
};

typedef struct {
    uint64_t end, delivered;
    gint64 sent_us, delivered_us;
} GwMark;

typedef struct {
    GwMachine machine;
    guint serial;
    guint n_chunks; /* last sent on it */
    gboolean has_peer_left;

    uint64_t out_bytes, out_records, in_bytes, in_records;
    uint64_t out_chunk_bytes, acked_chunk_bytes, in_chunk_bytes;

    gboolean must_ack;    /* even if there is nothing new */
    gsize ack_bytes;      /* of chunks since the last ack */
    gint64 ack_at_us;     /* when one is due; 0 is never */

    gboolean must_ping, must_pong;
    gint64 ping_wait_us;  /* since when a PING is due or out; 0 for not */
    gint64 ping_us;       /* stamp of the one that is out; 0 for none */
    gint64 next_ping_us;
    gint64 heard_us;
    uint64_t pong_t1;
    gint64 pong_t2;
    gboolean has_answered; /* the probe */

    GwMark marks[MARKS];
    guint first_mark, n_marks;
    uint64_t last_mark;
    gint64 delivered_us;
    uint64_t rate_max[2];   /* this period, the one before */
    gint64 rate_turn_us;
    gboolean is_told;       /* of the socket: */
    gsize unacked_bytes;    /* in it when it was told */
    uint64_t told_at;       /* `out_chunk_bytes` then */
    gint64 span_us;         /* start of a sample of the rate */
    uint64_t span_bytes;    /* acknowledged then */
    gboolean was_limited;   /* by the window or the socket, in this period */
    uint64_t round_end, full_rate;
    guint n_flat_rounds;    /* in which the rate did not grow; 3 end the start */
    gint64 rtt_min[2];      /* this period, the one before; 0 for none */
    gint64 rtt_turn_us, drain_until_us;
    guint rtt_us, rtt_least;
    guint samples[SAMPLES];
    guint n_samples;

    gint64 clock_offset_us, clock_error_us; /* -1 for none */
} GwSessionPath;

gboolean gw_path_can_send (const GwSessionPath *path);
/* Paths that can send, without `except`. */
guint gw_path_count (const GwSession *session, int except);
/* Those of them, without `except`, that are not about to be left. */
guint gw_path_count_staying (const GwSession *session, int except);
void gw_path_check_left (GwSession *session, int number);
gint64 gw_paths_tick (GwSession *session, gint64 now_us);
void gw_path_check_renewal (GwSession *session, int number);

/* --- session_rate.c ----------------------------------------------------------------------------------------- */

void gw_path_sent_chunk (GwSessionPath *path, gsize len, gint64 now_us);
void gw_path_acknowledge (GwSessionPath *path, uint64_t bytes, gint64 now_us);
void gw_path_pong (GwSession *session, GwSessionPath *path, const uint8_t *payload, gint64 now_us);
/* What fits the way and `queue_us` more at the path's rate; never less than `least_us` of WINDOW_PATH_RATE. */
gsize gw_path_window (const GwSessionPath *path, gint64 queue_us, gint64 least_us, gint64 now_us);
gint64 gw_path_min_rtt (const GwSessionPath *path);
/* Bytes a second, 0 when not known. */
uint64_t gw_path_rate (const GwSessionPath *path);

/* --- session.c ------------------------------------------------------------------------------------------------ */

enum {
    SESSION_ACTIVE,
    SESSION_FINISHING, /* no lane of ours will be opened */
    SESSION_OVER,
    SESSION_EXPIRED
};

/* Something short about a lane that is no more. */
typedef struct {
    uint8_t type; /* RESET or ACK */
    uint8_t flags;
    uint16_t lane;
    uint64_t ack;
    const char *why; /* a literal or NULL */
} GwNote;

struct _GwSession {
    GwSessionConfig config;
    GwMachine machine;
    GwPool chunks, pieces, smalls;
    guint out_blocks;     /* DATA chunks of the bounded memory that are used */
    guint max_out_blocks;
    gsize in_budget, in_reserved;
    gsize in_bytes;       /* that wait in lanes */
    gsize spooled_bytes;

    GwSessionLane *lanes[GW_SESSION_LANES];
    guint n_lanes;
    guint network_us;     /* of bulk in the network, beyond its way */
    uint32_t n_opened[2]; /* lanes ever: the peer's, ours */
    uint32_t n_known;     /* of ours, whose OPEN was acknowledged */
    uint32_t refused;     /* 1 + index of the peer's lane that was refused last; 0 for none.  It opens the
                           * next one only when it knows of that, so one is enough. */
    guint turn[GW_N_CLASSES];

    GwSessionPath paths[GW_SESSION_PATHS];
    gint64 remind_at_us;  /* when what has no answer is said again; 0 for nothing is out */
    gint64 limbo_at_us;   /* when chunks in limbo are sent again; 0 for none */
    gint64 outage_us;     /* since when there is no path; 0 for there is one, or never was */
    uint64_t outage_bytes;

    GwNote notes[NOTES];
    guint n_notes;
    gboolean has_too_many_notes; /* the next frame of the peer is refused */
    gboolean must_bye, has_said_bye, has_said_seen, peer_bye, peer_seen, is_unclean;
    gboolean peer_unclean;

    gint64 probe_us, probe_deadline_us; /* 0 for none */
    gint64 probe_worst_us;

    GQueue events; /* GwSessionEvent */
    GwSessionCounters counters;
    uint8_t scratch[GW_LINK_HEAD + GW_LINK_ACK_ENTRIES * GW_LINK_ACK_ENTRY];
};

GwSessionEvent *gw_session_emit (GwSession *session, GwSessionEventType type);
void gw_session_note_memory (GwSession *session);
/* Counts when there are too many, which only a peer that does not read can bring about. */
void gw_session_note (GwSession *session, GwNote note);
void gw_session_check_bye (GwSession *session);
void gw_session_check_over (GwSession *session);
void gw_session_check_outage (GwSession *session, gint64 now_us);
void gw_session_check_probe (GwSession *session, gint64 now_us);

#endif
