/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base: what every other folder stands on.
 *
 * Theory
 * ------
 * Errors.  Everything that can fail returns gboolean or a pointer and takes `GError **error` last.
 * The error's domain is GW_ERROR and its code is a row of causes.def: a *cause*.  A cause has a
 * stable name ("link-lost"), an exit status of the command, a title, a meaning and a remedy; the
 * message of the GError says what happened this time, on which object, with the numbers.  Errors
 * of other libraries are turned into ours at the place where they enter (gw_error_adopt()).  The
 * same names travel over RPC and stand in reports, so a cause keeps its name for ever.
 *
 * Sides.  A migration has a source, a destination and a link between them.  Every event and every
 * verdict names one of these; GW_SIDE_NONE is for what happens before there are sides.
 *
 * States.  Whatever has more than two states is a machine of the state kit: a table of states, each
 * with the mask of those that may follow.  Only gw_machine_move() changes a state; a move that the
 * table does not allow is our own mistake and aborts the process.
 *
 * Timeline.  A bounded, ordered list of what happened: time (microseconds of the wall clock), side,
 * event, detail.  The report shows it and the verdict is found in it.
 *
 * Waiting.  Control code runs in threads that each own one GMainContext.  A wait iterates that
 * context until a condition holds, a deadline passes or a GCancellable fires; there is no other way
 * to wait, so no wait is without a deadline.  gw_wait_until() may be called only by the owner of
 * the context and never from a source callback of it.
 *
 * Wire.  Integers from foreign bytes are read by gw_load_be*() and written by gw_store_be*(), never
 * by casting a struct.
 */
#ifndef GW_BASE_H
#define GW_BASE_H

#include <gio/gio.h>
#include <stdint.h>

/* --- error.c: causes ------------------------------------------------------------------------ */

#define GW_ERROR (gw_error_quark ())

typedef enum {
    GW_CAUSE_NONE = 0,
#define X(id, code, exit_status, title, meaning, remedy) GW_CAUSE_##id,
#include "causes.def"
#undef X
    GW_N_CAUSES
} GwCause;

typedef struct {
    const char *code;    /* stable name, as in reports and `godwit explain` */
    int exit_status;     /* of the command, see godwit(1) */
    const char *title;   /* half a line */
    const char *meaning; /* a sentence or two */
    const char *remedy;  /* what to do */
} GwCauseInfo;

/* The error domain.  Codes are GwCause. */
GQuark gw_error_quark (void);

/* The row of `cause`; never NULL.  GW_CAUSE_NONE and values out of range give the row of INTERNAL. */
const GwCauseInfo *gw_cause_get_info (GwCause cause);

/* The cause whose code is `code`, or GW_CAUSE_NONE when there is none.  `code` may be NULL. */
GwCause gw_cause_from_code (const char *code);

/* The cause of `error`: its code when it is of our domain, GW_CAUSE_INTERNAL otherwise,
 * GW_CAUSE_NONE for NULL. */
GwCause gw_error_get_cause (const GError *error);

/* Sets `*error` (which may be NULL) to `cause` with a printf message, and returns FALSE, so that a
 * function can end in `return gw_fail (error, ...)`. */
gboolean gw_fail (GError **error, GwCause cause, const char *format, ...) G_GNUC_PRINTF (3, 4);

/* Turns an error of a foreign domain in `*error` into ours with `cause`, keeping its message; an
 * error that is ours already keeps its cause.  Returns FALSE. */
gboolean gw_error_adopt (GError **error, GwCause cause);

/* --- side ----------------------------------------------------------------------------------- */

typedef enum { GW_SIDE_NONE, GW_SIDE_SOURCE, GW_SIDE_DESTINATION, GW_SIDE_LINK } GwSide;

/* "source", "destination", "link" or "none". */
const char *gw_side_name (GwSide side);
/* The side with that name; GW_SIDE_NONE for any other text and for NULL. */
GwSide gw_side_from_name (const char *name);

/* --- state.c: the state kit ------------------------------------------------------------------ */

enum { GW_STATE_INITIAL = 1 << 0, GW_STATE_FINAL = 1 << 1, GW_STATE_FAILURE = 1 << 2 };

typedef struct {
    const char *name;
    uint32_t next; /* mask: bit i set means that state i may follow */
    uint32_t flags;
} GwState;

typedef struct {
    const char *name;
    const GwState *states; /* at most 32 */
    guint n_states;
} GwMachineTable;

typedef void (*GwMachineTrace) (const char *machine, const char *from, const char *to,
                                gpointer user_data);

typedef struct {
    const GwMachineTable *table;
    guint state;
    GwMachineTrace trace; /* may be NULL; called after each move */
    gpointer trace_data;
} GwMachine;

/* Checks the table (one initial state, every state reachable, final states without successors) and
 * starts the machine in its initial state.  A bad table aborts. */
void gw_machine_init (GwMachine *machine, const GwMachineTable *table, GwMachineTrace trace,
                      gpointer trace_data);
gboolean gw_machine_can (const GwMachine *machine, guint to);
/* Moves to `to`; aborts when the table does not allow it. */
void gw_machine_move (GwMachine *machine, guint to);
const char *gw_machine_state_name (const GwMachine *machine);
gboolean gw_machine_is_final (const GwMachine *machine);

/* --- timeline.c ------------------------------------------------------------------------------ */

#define GW_TIMELINE_MAX 2000 /* events kept; later ones are counted, not kept */
#define GW_DETAIL_MAX 2000   /* bytes of a detail kept */

typedef struct {
    gint64 at_us; /* wall clock, microseconds since 1970 */
    GwSide side;
    char *event;  /* short name, "qemu-exit" */
    char *detail; /* may be "" */
} GwEvent;

typedef struct _GwTimeline GwTimeline;

GwTimeline *gw_timeline_new (void);
void gw_timeline_free (GwTimeline *timeline);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwTimeline, gw_timeline_free)

/* Adds an event; bytes that are not printable UTF-8 are escaped, a long detail is cut.  `at_us` 0
 * means now. */
void gw_timeline_add (GwTimeline *timeline, gint64 at_us, GwSide side, const char *event,
                      const char *detail);
guint gw_timeline_get_length (const GwTimeline *timeline);
const GwEvent *gw_timeline_get (const GwTimeline *timeline, guint index);
guint gw_timeline_get_dropped (const GwTimeline *timeline);

/* --- wait.c ---------------------------------------------------------------------------------- */

typedef gboolean (*GwWaitFn) (gpointer user_data);

/* Iterates `context` until `done (user_data)` is true.  FALSE with GW_CAUSE_TIMED_OUT when the
 * monotonic clock passes `deadline_us` first, with GW_CAUSE_ABORTED when `cancellable` (may be
 * NULL) fires first.  The condition is looked at before either. */
gboolean gw_wait_until (GMainContext *context, GwWaitFn done, gpointer user_data,
                        gint64 deadline_us, GCancellable *cancellable, GError **error);

/* Iterates `context` for `ms` milliseconds or until `cancellable` fires.  FALSE with
 * GW_CAUSE_ABORTED in the second case. */
gboolean gw_wait_ms (GMainContext *context, guint ms, GCancellable *cancellable, GError **error);

/* The monotonic time `ms` milliseconds from now. */
gint64 gw_deadline_ms (guint ms);
/* Milliseconds left until `deadline_us`, 0 when it has passed. */
guint gw_deadline_left_ms (gint64 deadline_us);

/* --- bytes ----------------------------------------------------------------------------------- */

static inline uint16_t
gw_load_be16 (const uint8_t *p)
{
    return (uint16_t) ((p[0] << 8) | p[1]);
}

static inline uint32_t
gw_load_be32 (const uint8_t *p)
{
    return ((uint32_t) p[0] << 24) | ((uint32_t) p[1] << 16) | ((uint32_t) p[2] << 8) | p[3];
}

static inline uint64_t
gw_load_be64 (const uint8_t *p)
{
    return ((uint64_t) gw_load_be32 (p) << 32) | gw_load_be32 (p + 4);
}

static inline void
gw_store_be16 (uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t) (v >> 8);
    p[1] = (uint8_t) v;
}

static inline void
gw_store_be32 (uint8_t *p, uint32_t v)
{
    gw_store_be16 (p, (uint16_t) (v >> 16));
    gw_store_be16 (p + 2, (uint16_t) v);
}

static inline void
gw_store_be64 (uint8_t *p, uint64_t v)
{
    gw_store_be32 (p, (uint32_t) (v >> 32));
    gw_store_be32 (p + 4, (uint32_t) v);
}

/* --- text.c ---------------------------------------------------------------------------------- */

/* A copy of at most `max` bytes of `text` in which everything but printable UTF-8 is written as
 * \xNN; for whatever a peer, a guest or a QEMU said and a person will read.  (transfer full) */
char *gw_text_clean (const char *text, gssize len, gsize max);

/* 1536 -> "1.5 KiB".  (transfer full) */
char *gw_text_bytes (guint64 bytes);

/* --- point.c --------------------------------------------------------------------------------- */

/* The program reaches "KIND:NAME": a test may stop it here, or (TRUE) wants an answer to be lost.  Any thread. */
gboolean gw_point (const char *kind, const char *name);

/* --- fd.c ------------------------------------------------------------------------------------ */

/* A file descriptor that is closed when it goes out of scope; -1 is none (g_autofd is GLib 2.76). */
typedef int GwFd;
void gw_fd_clear (GwFd *fd);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (GwFd, gw_fd_clear)
/* Gives the calling process a table of descriptors that need not grow before it has a thousand.  To let one grow that several
 * threads share, the kernel waits until none of them reads the old one (expand_fdtable() of fs/file.c): 10 to 30 ms in which
 * the thread that opens something stands still.  It is free as long as there is one thread, and stays over exec().
 * Async-signal-safe. */
void gw_fd_make_table (void);
static inline int
gw_fd_steal (GwFd *fd)
{
    int stolen = *fd;
    *fd = -1;
    return stolen;
}

#endif
