/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * courier: the program godwit-courier, the data plane of one job at one side.
 *
 * Theory
 * ------
 * Life.  The agent starts the program with a control socket, the job's secret and, on the
 * destination, a listening TCP socket.  First the two couriers meet (dial.c): the source dials every
 * address, the destination accepts, and the first connection on which both ends proved the secret
 * and exchanged hellos becomes the link.  Then bytes are carried (carry.c) until every lane has ended in
 * both directions, the link is lost, or the agent says so (relay.c).
 *
 * One thread, one poll().  A courier waits for a handful of descriptors: control, signals, the
 * link, its lanes.  A turn of the loop moves at most one batch (GW_LINK_BATCH records) a lane and
 * direction, so no lane and no command waits for long.
 *
 * Bytes outwards: readv() from the lane's socket into the staging area, which leaves a gap for the
 * head of a frame before each payload; each frame is encrypted from there into the link's buffer.
 * Bytes inwards: decrypted records are queued as they are, and written with one writev().  Nothing
 * else is copied, nothing is allocated by us.
 *
 * Bounds.  Whatever waits in a courier when the guest is stopped adds to its downtime.  Outwards
 * there is one batch plus TCP_NOTSENT_LOWAT; inwards a lane's queue is GW_LANE_QUEUE records, and
 * when it is full the link is not read, so TCP holds the sender back.
 *
 * Ends.  Each direction of a lane is a machine of the state kit (lane.c).  A half-close is carried
 * as EOF, a reader that went away as STOP (the far program's next write fails with EPIPE), and a
 * broken socket as RESET.  A unix socket cannot pass a reset on as such: the far program sees its
 * socket closed in both directions.
 */
#ifndef GW_COURIER_H
#define GW_COURIER_H

#include "link.h"

#include <poll.h>

enum { GW_COURIER_OK = 0, GW_COURIER_USAGE = 2, GW_COURIER_FAILED = 3 }; /* exit statuses */

#define GW_COURIER_LANES 16     /* lanes of one courier */
#define GW_COURIER_ADDRESSES 16 /* addresses given to --connect */

/* --- options.c ---------------------------------------------------------------------------------- */

typedef struct {
    char *name;
    char *path;       /* of the unix socket */
    gboolean accepts; /* listens at `path`; otherwise connects to it */
} GwLaneOption;

typedef struct {
    GwSide side;
    int control_fd;
    int secret_fd;
    int listen_fd; /* destination; -1 on the source */
    char *job;
    GPtrArray *addresses; /* GSocketAddress; source */
    GArray *lanes;        /* GwLaneOption */
    gint64 memory_bytes;
} GwCourierOptions;

/* Reads the command line.  FALSE with GW_CAUSE_USAGE. */
gboolean gw_courier_options_parse (GwCourierOptions *options, int argc, char **argv,
                                   GError **error);
void gw_courier_options_clear (GwCourierOptions *options);

/* Reads the secret from `options->secret_fd`, which must hold exactly that many bytes, and closes
 * it.  FALSE with GW_CAUSE_USAGE. */
gboolean gw_courier_read_secret (GwCourierOptions *options,
                                 uint8_t ret_secret[static GW_LINK_SECRET], GError **error);

/* --- control.c: the agent's socket --------------------------------------------------------------- */

typedef enum {
    GW_COMMAND_NONE,
    GW_COMMAND_STATS,
    GW_COMMAND_PROBE,
    GW_COMMAND_SPOOL,
    GW_COMMAND_QUIT
} GwCommand;

typedef struct _GwControl GwControl;

GwControl *gw_control_new (int fd);
void gw_control_free (GwControl *control);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwControl, gw_control_free)

void gw_control_fill (const GwControl *control, struct pollfd *ret_poll);

/* Reads and writes what is ready.  FALSE with GW_CAUSE_AGENT_LOST when the agent is gone, does not
 * read, or sends what is no line of JSON. */
gboolean gw_control_step (GwControl *control, GError **error);

/* The next command that was read; NONE when there is none.  Unknown ones are answered here. */
GwCommand gw_control_next (GwControl *control);

/* Queues {"event":EVENT, ...}: pairs of key and string follow, ended by NULL; a NULL value leaves
 * its pair out. */
void gw_control_say (GwControl *control, const char *event, ...) G_GNUC_NULL_TERMINATED;

/* Queues a line of ready JSON without its newline. */
void gw_control_say_json (GwControl *control, const char *json);

/* Writes what is queued, waiting at most `ms`. */
void gw_control_drain (GwControl *control, guint ms);

/* --- dial.c: how the couriers meet ---------------------------------------------------------------- */

typedef struct _GwDial GwDial;

/* Starts to dial (source) or to accept (destination).  `key` must outlive it. */
GwDial *gw_dial_new (const GwCourierOptions *options, GwLinkKey *key);
void gw_dial_free (GwDial *dial);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwDial, gw_dial_free)

#define GW_DIAL_HANDSHAKES 64               /* connections at once that have not proved the secret */
#define GW_DIAL_POLLS (GW_DIAL_HANDSHAKES + 1)

/* Fills up to GW_DIAL_POLLS entries; returns how many, and in how many ms the next limit passes. */
guint gw_dial_fill (const GwDial *dial, struct pollfd *ret_polls, int *ret_timeout_ms);

/* Goes on with every connection.  DONE once: the session and its peer's address pass to the caller.
 * FAILED with GW_CAUSE_LINK_AUTH or GW_CAUSE_LINK_CONNECT. */
GwLinkStep gw_dial_step (GwDial *dial, GwLinkTls **ret_tls, char **ret_peer, GError **error);

/* --- lane.c -------------------------------------------------------------------------------------- */

#define GW_LANE_QUEUE 32 /* records that wait for the local program */

enum {
    GW_LANE_IDLE,     /* no local socket yet */
    GW_LANE_OPEN,     /* bytes flow */
    GW_LANE_DRAINING, /* inwards: EOF arrived, the queue is not empty; ends with the queue */
    GW_LANE_DEAF,     /* inwards: the local program reads no more; ends with EOF or a byte */
    GW_LANE_ENDED,    /* every byte was carried, and the end too */
    GW_LANE_BROKEN    /* ended by a reset, or with bytes that nobody took */
};

typedef struct {
    const GwLaneOption *option; /* borrowed */
    uint16_t id;                /* on the link, once open */
    GwFd listen_fd;             /* -1 when not listening */
    GwFd fd;                    /* the local program's socket, -1 when not open */
    GwMachine out, in;          /* outwards: program to link; inwards: link to program */
    uint64_t out_bytes;         /* handed to the link */
    uint64_t arrived_bytes;     /* taken from the link */
    uint64_t in_bytes;          /* handed to the program */
    gboolean has_hung_up;       /* poll() said so; it would say it for ever */
    GwLinkRecord queue[GW_LANE_QUEUE];
    guint first, n_queued;
    gsize first_offset; /* bytes of the first record that are written already, head included */
} GwLane;

void gw_lane_init (GwLane *lane, const GwLaneOption *option);
/* Closes its sockets and removes the one that it listens at. */
void gw_lane_clear (GwLane *lane);

/* Starts to listen if the lane accepts.  FALSE with GW_CAUSE_HOST_IO. */
gboolean gw_lane_listen (GwLane *lane, GError **error);

/* Accepts the local program, if one waits.  DONE, AGAIN, or FAILED with GW_CAUSE_HOST_IO. */
GwLinkStep gw_lane_accept (GwLane *lane, uint16_t id, GError **error);

/* Connects to the local program.  FALSE with GW_CAUSE_HOST_IO. */
gboolean gw_lane_connect (GwLane *lane, uint16_t id, GError **error);

/* Reads up to `n` payloads of GW_LINK_PAYLOAD bytes into `staging`, at GW_LINK_HEAD in every
 * GW_LINK_RECORD bytes.  Returns bytes, 0 for the end, -1 with errno. */
gssize gw_lane_read (GwLane *lane, uint8_t *staging, guint n);

/* Takes a data record (transfer full on TRUE).  FALSE when the queue is full. */
gboolean gw_lane_queue (GwLane *lane, GwLinkRecord *record);

/* Writes what is queued.  DONE when the queue is empty, AGAIN, or FAILED: the program reads no
 * more. */
GwLinkStep gw_lane_write (GwLane *lane);

/* Forgets what is queued. */
void gw_lane_drop (GwLane *lane);

gsize gw_lane_get_queued (const GwLane *lane);
gboolean gw_lane_has_ended (const GwLane *lane);  /* both directions, in whatever way */
gboolean gw_lane_is_clean (const GwLane *lane);   /* neither direction is broken */

/* --- carry.c: lanes over the link ------------------------------------------------------------------ */

#define GW_CARRY_POLLS (1 + GW_COURIER_LANES)

enum {
    GW_CARRY_ACTIVE,  /* lanes may open, carry and end */
    GW_CARRY_LEAVING, /* ours have ended and BYE is sent; waits for the peer's, GW_CARRY_LEAVE_MS */
    GW_CARRY_OVER     /* both said BYE */
};

#define GW_CARRY_LEAVE_MS 60000

typedef struct {
    GwControl *control; /* borrowed; for events */
    GwSide side;
    GwLinkTls *tls; /* owned; NULL until gw_carry_start() */
    GwMachine machine;
    gint64 leave_deadline_us; /* while leaving */
    GwLane lanes[GW_COURIER_LANES];
    guint n_lanes;
    uint16_t n_opened;    /* by us; makes the ids */
    uint8_t *staging;     /* GW_LINK_BATCH records */
    GwLinkRecord held;    /* arrived for a lane whose queue is full; the link is not read meanwhile */
    gboolean has_more;    /* the last turn left records that poll() does not see */
    gboolean peer_left;   /* its BYE arrived */
    gboolean is_unclean;  /* some lane, here or there, was reset or lost bytes */
    uint64_t probe_token; /* of the last PING */
    gint64 probe_us;      /* when it was sent; 0 when none is out */
} GwCarry;

/* Makes the lanes and listens where they accept.  FALSE with GW_CAUSE_HOST_IO. */
gboolean gw_carry_init (GwCarry *carry, const GwCourierOptions *options, GwControl *control,
                        GError **error);
void gw_carry_clear (GwCarry *carry);

/* Lanes may open from now on.  `tls` (transfer full). */
void gw_carry_start (GwCarry *carry, GwLinkTls *tls);

/* Fills GW_CARRY_POLLS entries; lowers `*timeout_ms` (-1 is for ever) where needed. */
void gw_carry_fill (const GwCarry *carry, struct pollfd *ret_polls, int *timeout_ms);

/* Moves what is ready.  FALSE with GW_CAUSE_LINK_LOST or GW_CAUSE_HOST_IO. */
gboolean gw_carry_turn (GwCarry *carry, const struct pollfd *polls, GError **error);

/* Sends a PING; its PONG becomes an event "probe".  One is out at a time. */
gboolean gw_carry_probe (GwCarry *carry, GError **error);

/* Tells the other courier that this one ends before the lanes have; best effort. */
void gw_carry_abandon (GwCarry *carry);

/* --- relay.c: the courier's life --------------------------------------------------------------------- */

/* Meets the other courier, carries, obeys.  Returns the exit status; unless that is OK, the error
 * has the last words.  `signal_fd` is a signalfd of the signals that end it. */
int gw_courier_run (const GwCourierOptions *options, GwLinkKey *key, GwControl *control,
                    int signal_fd, GError **error);

#endif
