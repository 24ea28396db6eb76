/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * courier: the program godwit-courier, the data plane of one job at one side.
 *
 * Theory
 * ------
 * Life.  The agent starts the program with a control socket, the job's secret and, on the
 * destination, listening TCP sockets.  First the two couriers meet: the source dials every address,
 * the destination accepts, and each connection on which both ends proved the secret and exchanged
 * hellos becomes a path of the session (dial.c, paths.c).  From the first path on the local programs
 * are carried (lane.c, lanes.c) until every lane has ended in both directions, or the agent says so, or
 * the session's deadline passes without a path (relay.c).  Paths come and go all the while: the
 * source redials for as long as the session lives, the destination's sockets stay open.
 *
 * One thread, one poll().  A turn of the loop takes what each lane's program has written as far as
 * the session has room, what each path has brought, and gives each path what the session chooses for
 * it.  All queues, their bounds and their order are the session's (session.h); bytes outwards are read
 * into the blocks from which they are encrypted, bytes inwards are written from the decrypted records.
 * Lanes of guest memory go through the RAM codec between the program and the session (ramlane.h); its
 * compression alone is done by other threads (crew.h).
 *
 * Ends.  A half-close is carried as EOF, a reader that went away as STOP (the far program's next write
 * fails with EPIPE), and a broken socket as RESET.  A unix socket cannot pass a reset on as such: the
 * far program sees its socket closed in both directions.
 *
 * The agent.  A courier obeys the agent that started it, and ends when that goes; unless it was given a
 * lease (control.c): then it carries on for that long, in the same sandbox and within the same bounds, and obeys
 * the next agent of the same user that comes for it.
 *
 * The dialer.  The courier parses what strangers send, so it shall not be able to reach anything.
 * Before it reads the first of their bytes a child is forked that does nothing but make sockets: it
 * connects to the addresses and listens or connects at the paths of the command line (and to those
 * that the agent adds on --dialer-fd), and hands them over (dialer.c, dialer_child.c).  The courier
 * itself then gives up everything else (sandbox.c).  The child outlives it by a moment, to remove the
 * sockets that it made.
 */
#ifndef GW_COURIER_H
#define GW_COURIER_H

#include "pack.h"
#include "path.h"
#include "ramlane.h"
#include "redial.h"

#include <json-glib/json-glib.h>
#include <poll.h>

enum { GW_COURIER_OK = 0, GW_COURIER_USAGE = 2, GW_COURIER_FAILED = 3 }; /* exit statuses */

#define GW_COURIER_LISTENERS 16
#define GW_COURIER_TARGET_MAX 300 /* bytes of what the dialer is asked for */

/* --- options.c ---------------------------------------------------------------------------------- */

#define GW_LANE_CLASSES 8

typedef struct {
    char *name;
    char *path;       /* of the unix socket */
    gboolean accepts; /* listens at `path`; otherwise connects to it */
    gboolean is_packed; /* from who accepts to who connects in blocks (pack.h) */
    gint64 codec_bytes; /* likewise by the RAM codec (ramlane.h), with so much memory; 0: not */
    gboolean is_resumed; /* of the codec: what comes goes on after a recovery */
    gboolean is_verified; /* of the codec: it outlives the lane, for gw_courier_verify() */
    GwLinkClass classes[GW_LANE_CLASSES]; /* of the first, second ... connection; the last repeats */
    guint n_classes;
} GwLaneOption;

typedef struct {
    GwSide side;
    int control_fd;
    int secret_fd;
    int dialer_fd;     /* -1 for none */
    int listen_fds[GW_COURIER_LISTENERS]; /* destination */
    guint n_listen_fds;
    char *job;
    GPtrArray *addresses; /* of text, as gw_courier_address_parse() makes it; source */
    GArray *lanes;        /* GwLaneOption */
    gint64 memory_bytes, spool_bytes, renew_bytes;
    guint paths, deadline_s, silence_ms, epoch;
    char *title; /* the memory of the command line, for the child to write its name to */
    gsize title_size;
} GwCourierOptions;

/* Reads the command line.  FALSE with GW_CAUSE_USAGE. */
gboolean gw_courier_options_parse (GwCourierOptions *options, int argc, char **argv,
                                   GError **error);
void gw_courier_options_clear (GwCourierOptions *options);

/* Reads the secret from `options->secret_fd`, which must hold exactly that many bytes, and closes
 * it.  FALSE with GW_CAUSE_USAGE. */
gboolean gw_courier_read_secret (GwCourierOptions *options,
                                 uint8_t ret_secret[static GW_LINK_SECRET], GError **error);

/* "198.18.0.2:49152" or "[fd00::2]:49152": no names, so that no resolver runs here.  Returns the
 * address and, in `ret_text`, its one spelling (both transfer full).  NULL with GW_CAUSE_USAGE. */
GSocketAddress *gw_courier_address_parse (const char *text, char **ret_text, GError **error);

/* --- lane_option.c ------------------------------------------------------------------------------ */

#define GW_LANE_SYNTAX \
    "NAME=accept|connect:PATH[:class=CLASS[,...]][:pack][:codec=BYTES][:resumed][:verify]"

/* GW_LANE_SYNTAX.  FALSE with GW_CAUSE_USAGE. */
gboolean gw_lane_option_parse (GwLaneOption *ret_option, const char *text, GwSide side,
                               GError **error);
void gw_lane_option_clear (GwLaneOption *option);
/* What the dialer is asked for: "accept PATH" or "connect PATH".  (transfer full) */
char *gw_lane_option_target (const GwLaneOption *option);

/* --- dialer.c, dialer_child.c: who makes sockets ---------------------------------------------------- */

typedef struct _GwDialer GwDialer;

/* Forks the child.  It may make what `options` names: "tcp ADDR:PORT", "accept PATH", "connect PATH",
 * and what comes as lines of such texts on the dialer's descriptor.  Call it first of all: the child
 * keeps what is in memory.  NULL with GW_CAUSE_HOST_IO. */
GwDialer *gw_dialer_new (const GwCourierOptions *options, GError **error);

/* The child removes the sockets that it made and ends; waits for it, at most a second. */
void gw_dialer_free (GwDialer *dialer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwDialer, gw_dialer_free)

/* The child's socket for poll(): readable when it has gone; -1 from then on. */
int gw_dialer_get_fd (const GwDialer *dialer);
/* Call when that is readable.  TRUE once, when the child has gone. */
gboolean gw_dialer_has_died (GwDialer *dialer);

/* A socket for `target`: listening, connected (unix), or connecting (TCP).  It is non-blocking.
 * Takes microseconds, as the child never waits.  -1 with GW_CAUSE_HOST_IO. */
int gw_dialer_open (GwDialer *dialer, const char *target, GError **error);

/* The child's program; never returns. */
_Noreturn void gw_dialer_child_run (const GwCourierOptions *options, int fd);

/* --- control.c: the agent's socket --------------------------------------------------------------- */

typedef enum {
    GW_COMMAND_NONE,
    GW_COMMAND_STATS,
    GW_COMMAND_PROBE,
    GW_COMMAND_SPOOL,
    GW_COMMAND_DEADLINE,
    GW_COMMAND_LANE,
    GW_COMMAND_CLASS,
    GW_COMMAND_VERIFY,
    GW_COMMAND_PATH_ADD,
    GW_COMMAND_PATH_REMOVE,
    GW_COMMAND_LEASE,
    GW_COMMAND_QUIT
} GwCommand;

typedef struct _GwControl GwControl;

GwControl *gw_control_new (int fd);
void gw_control_free (GwControl *control);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwControl, gw_control_free)

int gw_control_get_fd (const GwControl *control);
short gw_control_get_events (const GwControl *control);

/* Reads and writes what is ready.  FALSE with GW_CAUSE_AGENT_LOST when the agent is gone, does not
 * read, or sends what is no line of JSON. */
gboolean gw_control_step (GwControl *control, GError **error);

/* The next command that was read, with the line's object (transfer full); NONE when there is none.
 * Unknown ones are answered here. */
GwCommand gw_control_next (GwControl *control, JsonObject **ret_line);

/* A member of a command's line, or the default where it is missing or of another type. */
const char *gw_control_get_text (JsonObject *line, const char *key);
gint64 gw_control_get_number (JsonObject *line, const char *key, gint64 otherwise);

/* The descriptor that came with the last line that had one (transfer full); -1: none. */
int gw_control_steal_fd (GwControl *control);

/* The lease: without an agent there may be a courier for so long, as a job goes on whose agent is started
 * again.  The agent hands over a socket at which the next one comes, which must be of the same user or
 * root; there is one agent at a time.  Without a lease the end of the agent ends the courier at once.  What
 * the courier says meanwhile waits for the next agent, the newest of it when it is too much.
 *
 * `fd` (transfer full) -1: the socket that it has; FALSE when there is none.  `seconds` 0: no lease, until there is another
 * number. */
gboolean gw_control_set_lease (GwControl *control, int fd, guint seconds);
/* When to look again; gw_control_check() then says whether the lease has run out (GW_CAUSE_AGENT_LOST). */
gint64 gw_control_get_due_us (const GwControl *control);
gboolean gw_control_check (const GwControl *control, GError **error);

/* Queues {"event":EVENT, ...}: pairs of key and string follow, ended by NULL; a NULL value leaves
 * its pair out. */
void gw_control_say (GwControl *control, const char *event, ...) G_GNUC_NULL_TERMINATED;

/* The same, with the number of a path as "path". */
void gw_control_say_of_path (GwControl *control, const char *event, guint path,
                             ...) G_GNUC_NULL_TERMINATED;

/* Queues a line of ready JSON without its newline. */
void gw_control_say_json (GwControl *control, const char *json);
void gw_control_say_format (GwControl *control, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* Writes what is queued, waiting at most `ms`. */
void gw_control_drain (GwControl *control, guint ms);

/* --- polls.c: the descriptors of one turn ----------------------------------------------------------- */

/* What poll() is asked in one turn; who adds a descriptor keeps its place to look at later. */
typedef struct {
    GArray *entries; /* struct pollfd */
    gint64 due_us;   /* when to look again at the latest */
    gboolean is_quiet; /* nothing was ready the last time */
} GwPolls;

void gw_polls_init (GwPolls *polls);
void gw_polls_clear (GwPolls *polls);
void gw_polls_reset (GwPolls *polls);
/* Returns the place; `fd` -1 is never ready. */
guint gw_polls_add (GwPolls *polls, int fd, short events);
void gw_polls_add_due (GwPolls *polls, gint64 due_us);
short gw_polls_get (const GwPolls *polls, guint place);
/* FALSE with GW_CAUSE_INTERNAL. */
gboolean gw_polls_wait (GwPolls *polls, GError **error);

/* --- dial.c, dial_slot.c, dial_address.c: how the couriers meet --------------------------------------- */

typedef struct _GwDial GwDial;

/* Starts to dial (source) or to accept (destination).  `key` and `dialer` must outlive it. */
GwDial *gw_dial_new (const GwCourierOptions *options, GwLinkKey *key, GwDialer *dialer);
void gw_dial_free (GwDial *dial);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwDial, gw_dial_free)

#define GW_DIAL_SLOTS 64 /* connections at once that have not proved the secret */

void gw_dial_fill (GwDial *dial, GwPolls *polls);

/* A connection on which both hellos were exchanged. */
typedef struct {
    GwLinkTls *tls; /* transfer full, as are the texts */
    char *peer, *local;
    int address; /* of the source's redial; -1 at the destination */
    guint serial;
    int64_t wall_clock_us; /* the peer's, less its session clock */
} GwMet;

/* Goes on with every connection, and takes new ones where poll() saw some.  TRUE when one is ready: call
 * again. */
gboolean gw_dial_step (GwDial *dial, const GwPolls *polls, GwMet *ret_met);

/* Before the first path: FALSE with GW_CAUSE_LINK_AUTH or GW_CAUSE_LINK_CONNECT when there will be
 * none. */
gboolean gw_dial_check (const GwDial *dial, GError **error);

/* A path has ended, or is to have a successor. */
void gw_dial_path_down (GwDial *dial, int address);
void gw_dial_path_retire (GwDial *dial, int address);

/* Source.  FALSE with GW_CAUSE_USAGE; the second: when it is not there. */
gboolean gw_dial_add_address (GwDial *dial, const char *text, GError **error);
gboolean gw_dial_remove_address (GwDial *dial, const char *text, int *ret_address, GError **error);

int64_t gw_dial_get_wall_clock_us (const GwDial *dial); /* ours, less our session clock */
guint gw_dial_get_refused (const GwDial *dial); /* hellos that did not fit */
guint gw_dial_get_dropped (const GwDial *dial); /* connections that never became paths */

/* --- paths.c: the paths that are up ------------------------------------------------------------------ */

typedef struct _GwCourier GwCourier;

typedef struct {
    GwLinkPath *path; /* NULL: none */
    char *peer, *local;
    int address;
    guint serial;
    gint64 up_us;
    int64_t peer_wall_clock_us;
    gboolean is_retired; /* it has or will have a successor */
    gboolean is_new;     /* it has no place yet */
    gboolean has_peer_left; /* the other courier said good-bye on it */
    guint place;
} GwCourierPath;

/* The connection becomes a path; says so. */
void gw_paths_add (GwCourier *courier, GwMet *met);
void gw_paths_fill (GwCourier *courier, GwPolls *polls);
/* Receives on what is readable. */
void gw_paths_receive (GwCourier *courier, const GwPolls *polls);
/* Sends on each. */
void gw_paths_send (GwCourier *courier);
/* Ends path `number`; says so with the reason. */
void gw_paths_end (GwCourier *courier, int number, const char *reason);
/* Asks for a successor of it. */
void gw_paths_retire (GwCourier *courier, int number);
/* Leaves all that go to `address`, once there is another. */
void gw_paths_leave (GwCourier *courier, int address);
/* Says good-bye on each. */
void gw_paths_shut (GwCourier *courier);
/* Before the paths are cleared at the end: waits a moment for the other courier to close too. */
void gw_paths_linger (GwCourier *courier);
/* Differs from before when anything was sent or received: then the session may have room again. */
uint64_t gw_paths_get_activity (const GwCourier *courier);
guint gw_paths_count (const GwCourier *courier);
void gw_paths_clear (GwCourier *courier);

/* --- pagewaits.c: what postcopy's guest waits for ------------------------------------------------------ */

#define GW_PAGE_WAIT_BYTES 4096u /* of a page of the target */

typedef struct {
    guint64 requests, answered; /* pages asked for; those that were then seen to come */
    gint64 sum_us, p50_us, p99_us, max_us; /* of the answered: p50 and p99 are at most an eighth too high */
} GwPageWaitCounters;

typedef struct _GwPageWaits GwPageWaits;

GwPageWaits *gw_page_waits_new (void);
void gw_page_waits_free (GwPageWaits *waits);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwPageWaits, gw_page_waits_free)
/* Bytes that the destination's QEMU wrote on its return path, in order. */
void gw_page_waits_take_requests (GwPageWaits *waits, const uint8_t *data, gsize len, gint64 now_us);
/* Bytes that were given to it, in order; `number` 0 is the migration's first connection, 1 that for
 * urgent pages. */
void gw_page_waits_take_pages (GwPageWaits *waits, guint number, const uint8_t *data, gsize len,
                               gint64 now_us);
void gw_page_waits_get_counters (const GwPageWaits *waits, GwPageWaitCounters *ret_counters);

/* --- lane.c: one local program ------------------------------------------------------------------------ */

enum {
    GW_LANE_IDLE,   /* no local socket yet */
    GW_LANE_OPEN,   /* bytes flow */
    GW_LANE_DEAF,   /* inwards: the local program reads no more; ends with the peer's end */
    GW_LANE_ENDED,  /* every byte was carried, and the end too */
    GW_LANE_BROKEN  /* ended by a reset, or with bytes that nobody took */
};

/* All connections of one --lane. */
typedef struct {
    GwLaneOption option;
    GwFd listen_fd; /* -1 when not listening */
    guint n_opened;
    uint64_t out_bytes, in_bytes, resent_bytes, duplicate_bytes, plain_bytes; /* of lanes that are closed */
    GwRamOutCounters codec; /* likewise */
    GwRamOut *kept; /* of its first lane, when that is closed and a check is to come; else NULL */
    GwPageWaits *waits; /* the destination's RAM; else NULL */
    guint place;
} GwLaneGroup;

typedef struct {
    GwLaneGroup *group;      /* borrowed */
    GwSession *session;      /* borrowed */
    GwControl *control;      /* borrowed */
    GwCrew *crew;            /* borrowed */
    GwSessionLane *carried;  /* the session's; NULL once closed */
    GwFd fd;                 /* the local program's socket, -1 when not open */
    GwMachine out, in;       /* outwards: program to link; inwards: link to program */
    guint index;             /* how many of its group came before */
    uint64_t in_bytes;       /* handed to the program */
    GwPacker *packer;        /* outwards; NULL: bytes as they are */
    GwUnpacker *unpacker;    /* inwards, likewise */
    gsize in_debt;           /* inwards: of a block that the program has not taken whole yet */
    uint64_t plain_bytes;    /* that went into `packer` or `ram_out` */
    GwRamOut *ram_out;       /* outwards, in their place */
    GwRamProbe probe;        /* of `ram_out` */
    GwRamIn *ram_in;         /* inwards, likewise */
    gboolean is_ending;      /* outwards: the program's last byte has come */
    gint64 due_us;           /* when to come again without being called */
    GError *failure;         /* of `ram_in`: ends the courier */
    gboolean is_held;        /* inwards: the program's socket is full */
    gboolean is_full;        /* outwards: the session had no room */
    gboolean has_hung_up;    /* poll() said so; it would say it for ever */
    char *reset_why;         /* its socket broke; the far program is told once it has what was read */
    gint64 reset_us;         /* or at this time */
    guint place;
} GwLane;

GwLane *gw_courier_lane_new (GwLaneGroup *group, GwSession *session, GwControl *control, GwCrew *crew);
/* Closes its socket; the session's lane stays. */
void gw_courier_lane_free (GwLane *lane);

/* The class of this side's direction. */
GwLinkClass gw_courier_lane_get_class (const GwLane *lane);
/* Bytes flow from now on between `fd` (transfer full) and `carried`. */
void gw_courier_lane_start (GwLane *lane, int fd, GwSessionLane *carried);
void gw_courier_lane_fill (GwLane *lane, GwPolls *polls);
/* Takes what the program wrote, after poll() said `events`. */
void gw_courier_lane_read (GwLane *lane, short events);
/* Gives it what has arrived. */
void gw_courier_lane_write (GwLane *lane);
/* The peer's program reads no more. */
void gw_courier_lane_stop (GwLane *lane);
/* Both directions are over, now. */
void gw_courier_lane_break (GwLane *lane);
gboolean gw_courier_lane_has_ended (const GwLane *lane); /* both directions, in whatever way */
gboolean gw_courier_lane_is_clean (const GwLane *lane);  /* neither direction is broken */
/* The program was given these bytes. */
void gw_courier_lane_note_pages (GwLane *lane, const struct iovec *pieces, gsize len);
/* Hands bytes to the local program: DONE, with `*ret_given` of them gone (none when a signal came), AGAIN, or FAILED when
 * it reads no more. */
GwLinkStep gw_courier_lane_give (GwLane *lane, const uint8_t *data, gsize len, gsize *ret_given);

/* --- lane_pack.c: the same in blocks --------------------------------------------------------------------- */

/* Copies as much as fits, and says how much that is. */
gsize gw_courier_copy_to_pieces (const uint8_t *data, gsize len, const struct iovec *pieces, guint n);
/* Gives what is packed to the session as far as it has room. */
void gw_courier_lane_flush_packed (GwLane *lane);
/* Returns what read() did, 1 when there was no room for anything. */
gssize gw_courier_lane_read_packed (GwLane *lane);
/* DONE when nothing waits, AGAIN, or FAILED: the program reads no more. */
GwLinkStep gw_courier_lane_write_unpacked (GwLane *lane);

/* --- lane_ram.c: the same by the RAM codec ------------------------------------------------------------------ */

/* The direction to who connects goes through the codec. */
void gw_courier_lane_start_codec (GwLane *lane);
/* Prepares for pages while there is nothing to do; FALSE when there is no need, or they have come. */
gboolean gw_courier_lane_stock_up (GwLane *lane);
/* Whether more may be read. */
gboolean gw_courier_lane_has_ram_room (GwLane *lane);
/* Whether bytes wait that could leave. */
gboolean gw_courier_lane_has_ram_ready (GwLane *lane);
gssize gw_courier_lane_read_ram (GwLane *lane);
/* The program's last byte has come. */
void gw_courier_lane_finish_ram (GwLane *lane);
/* Closes what is open for long enough, and gives to the session what can leave.  Returns when to look
 * again. */
gint64 gw_courier_lane_flush_ram (GwLane *lane);
/* As write_unpacked; with bytes that do not decode `lane->failure` is set. */
GwLinkStep gw_courier_lane_write_ram (GwLane *lane);
/* Adds what the lane's codec counts; nothing when it has none. */
void gw_courier_lane_add_codec (GwLane *lane, GwRamOutCounters *sum);

/* --- lanes.c: all of them -------------------------------------------------------------------------------- */

/* Makes a group and listens if it accepts.  FALSE with GW_CAUSE_HOST_IO or GW_CAUSE_USAGE. */
gboolean gw_lanes_add (GwCourier *courier, const GwLaneOption *option, GError **error);
void gw_lanes_fill (GwCourier *courier, GwPolls *polls);
/* Accepts and reads. */
void gw_lanes_read (GwCourier *courier, const GwPolls *polls);
/* Writes what has arrived. */
void gw_lanes_write (GwCourier *courier);
/* gw_courier_lane_stock_up() of one that needs it; FALSE when none does. */
gboolean gw_lanes_stock_up (GwCourier *courier);
/* The session may have room again. */
void gw_lanes_have_room (GwCourier *courier);
/* Events of the session about lanes. */
void gw_lanes_take_event (GwCourier *courier, const GwSessionEvent *event);
/* TRUE when each group had a lane and all have ended. */
gboolean gw_lanes_have_ended (const GwCourier *courier);
GwLane *gw_lanes_find (const GwCourier *courier, const char *name);
void gw_lanes_set_spool (GwCourier *courier, gsize bytes);
/* FALSE with the error of a lane that cannot be carried on. */
gboolean gw_lanes_check (const GwCourier *courier, GError **error);

/* --- heap.c ------------------------------------------------------------------------------------- */

/* First of all. */
void gw_courier_keep_heap (void);

/* --- relay.c: the courier's life --------------------------------------------------------------------- */

#define GW_COURIER_OUTAGES 100 /* kept for the statistics */

typedef struct {
    gint64 at_us, for_us; /* wall clock; -1 while it lasts */
} GwOutage;

struct _GwCourier {
    GwCourierOptions *options;
    GwControl *control;
    GwDialer *dialer;
    GwSession *session;
    GwMachine machine;
    GwDial *dial;
    GwCrew *crew;
    guint crew_place;
    GwCourierPath paths[GW_SESSION_PATHS];
    GPtrArray *groups; /* GwLaneGroup */
    GPtrArray *lanes;  /* GwLane */
    GwPolls polls;
    GArray *outages;   /* GwOutage */
    gint64 down_us;    /* when the last path went; 0 while there is one */
    gint64 end_us;     /* the limit of the state that waits for the peer's end */
    gsize spool_bytes; /* 0 before it was asked for */
    uint64_t wire_out_bytes, wire_in_bytes; /* of paths that have ended */
    gboolean is_unclean; /* some lane, here or there, was reset or lost bytes */
    gboolean wants_probe;
    guint probe_ms;
    gboolean has_peer_left; /* the other courier said that it ends */
    gboolean is_stocking_up; /* a lane may do so in a quiet turn, */
    gint64 stock_us;         /* from this time on */
    GwRamCheck *check;      /* NULL: none is under way */
    gboolean is_checked;    /* no check is to come */
    uint64_t activity;      /* of the paths, when the lanes were last told of room */
    int status;
};

/* Asks the kernel for short and therefore prompt turns for the calling thread, not for those it makes later.
 * What the kernel does not know it ignores.  Any thread. */
void gw_courier_schedule (void);

/* Meets the other courier, carries, obeys.  Returns the exit status; unless that is OK, the error
 * has the last words.  `signal_fd` is a signalfd of the signals that end it. */
int gw_courier_run (GwCourierOptions *options, GwLinkKey *key, GwControl *control,
                    GwDialer *dialer, int signal_fd, GError **error);

/* --- commands.c, stats.c ------------------------------------------------------------------------------- */

/* Does what the agent asks for, but for quit: returns FALSE for that. */
gboolean gw_courier_obey (GwCourier *courier);
void gw_courier_say_stats (GwCourier *courier);

/* --- verify.c: the end of a lane that is_verified ----------------------------------------------------------- */

/* Obeys "verify".  FALSE with GW_CAUSE_USAGE. */
gboolean gw_courier_verify (GwCourier *courier, JsonObject *line, GError **error);
/* Says what came of it, once it is done. */
void gw_courier_turn_verify (GwCourier *courier);
/* Whether the agent has not asked yet, or not been answered. */
gboolean gw_courier_awaits_verify (const GwCourier *courier);

/* --- sandbox.c ------------------------------------------------------------------------------------------ */

/* Each gives something up for good and returns "on", or why it did not (transfer full).  First the files,
 * for this thread and those that it makes. */
char *gw_sandbox_enter_files (void);
/* Then programs, new sockets, processes and threads, and whatever else is not in the list; for all threads. */
char *gw_sandbox_enter_calls (void);
/* The files, sanitizer or not. */
char *gw_sandbox_enter_landlock (void);

#endif
