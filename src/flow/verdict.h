/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verdict: which of the things that went wrong was the first.
 *
 * Theory
 * ------
 * One fault makes others: a killed QEMU ends its lane, the QEMU at the other end of it starves and
 * says "load of migration failed", the source's says "failed", the step that waited fails.  What is told
 * first is chance, and the stamps of two hosts can be compared only up to the error of the clock's
 * estimate.  So time is the second argument.  The first is causality: a table of which sign is explained
 * by which other (causality.def).  The cause is the earliest fault that nothing explains; among those
 * whose order is not certain, signs.def decides.
 *
 * QEMU's words tell apart what would be the same sign (words.def): a QEMU that exits because its stream
 * ended, and one that exits because it does not like what is in it.
 *
 * Everything here is pure.
 */
#ifndef GW_VERDICT_H
#define GW_VERDICT_H

#include "base.h"

typedef enum {
#define X(id, weight) GW_SIGN_##id,
#include "signs.def"
#undef X
    GW_N_SIGNS
} GwSignKind;

/* Clearly before: longer than what lies between an event and somebody's noticing it. */
#define GW_VERDICT_CLEAR_US 1000000
/* What a stamp of one's own clock may be late. */
#define GW_VERDICT_LATE_US 50000
/* A clock that nobody has compared is taken to be right to this. */
#define GW_VERDICT_ERROR_MAX_US (60 * G_USEC_PER_SEC)

typedef struct {
    GwSignKind kind;
    GwSide side;
    gint64 at_us;    /* our clock */
    gint64 error_us; /* by how much `at_us` may be wrong: of the other host's clock; 0 for ours */
    GwCause cause;
    char *text;
} GwSign;

GwSign *gw_sign_new (GwSignKind kind, GwSide side, gint64 at_us, gint64 error_us, GwCause cause,
                     const char *text);
void gw_sign_free (GwSign *sign);
/* Whether it ends a job. */
gboolean gw_sign_is_fault (GwSignKind kind);
/* Whether it can be the cause of a job's end. */
gboolean gw_sign_can_be_cause (GwSignKind kind);

/* Whether `effect` is explained by `cause`. */
gboolean gw_verdict_explains (const GwSign *cause, const GwSign *effect);

/* Index of the sign that caused the others; `signs` (GwSign) must hold one that can be. */
guint gw_verdict_find_first (const GPtrArray *signs);

/* Brings `signs` into the order in which they happened: by time, but what another explains after it,
 * as far as the clocks leave room for that.  Times are moved by so much. */
void gw_verdict_order (GPtrArray *signs);

/* --- words.c: what QEMU's own words mean ------------------------------------------------------------------ */

/* `cause`, or the one that `words` give more exactly: of "No space left on device", disk-full. */
GwCause gw_words_refine_cause (GwCause cause, const char *words);
/* Whether QEMU ended or gave up only because the stream to or from the other one did. */
gboolean gw_words_tell_stream_end (const char *words);
/* The lines of `text`, at most `max` and the last of them, without empty ones.  (transfer full) */
GStrv gw_words_split (const char *text, guint max);

#endif
