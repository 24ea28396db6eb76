/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * redial: which address to dial next, and when.
 *
 * Theory
 * ------
 * The source keeps `wanted` paths up for as long as the session lives.  This is the part of it that
 * decides; it is pure, and the caller dials.  As long as a path is missing every address is dialled,
 * that with the fewest paths first, and one that has just got a path waits GW_REDIAL_OTHERS_MS for
 * the others: so an outage ends with whoever answers first, and several paths take several ways.
 *
 * A dial that gets no answer is no reason to wait for it: the network may be back already while TCP
 * still waits to send its SYN again.  So an address is dialled anew every GW_REDIAL_AGAIN_MS, with
 * up to GW_REDIAL_AT_ONCE dials out.  A dial that is refused delays the next one at its address by a
 * jittered backoff that doubles from GW_REDIAL_FIRST_MS to GW_REDIAL_LAST_MS, and that a path which
 * stays up for GW_REDIAL_LAST_MS resets: a peer that accepts and drops at once is not hammered.
 */
#ifndef GW_REDIAL_H
#define GW_REDIAL_H

#include "base.h"

#define GW_REDIAL_ADDRESSES 16
#define GW_REDIAL_AT_ONCE 4
#define GW_REDIAL_AGAIN_MS 500
#define GW_REDIAL_OTHERS_MS 100
#define GW_REDIAL_FIRST_MS 50
#define GW_REDIAL_LAST_MS 1000 /* an outage must not end more than this before it is noticed */

typedef struct _GwRedial GwRedial;

/* `seed` is of the jitter. */
GwRedial *gw_redial_new (guint wanted, guint32 seed);
void gw_redial_free (GwRedial *redial);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwRedial, gw_redial_free)

/* Adds an address, which may be dialled at once.  Returns its number, which stays its own until it
 * is removed; -1 when there are GW_REDIAL_ADDRESSES. */
int gw_redial_add (GwRedial *redial, gint64 now_us);
/* It is dialled no more; dials and paths of it that are out no longer count. */
void gw_redial_remove (GwRedial *redial, int address);

/* The address to dial now, taken as being dialled; -1 when there is none.  Call until then. */
int gw_redial_next (GwRedial *redial, gint64 now_us);
/* When gw_redial_next() may have one again, G_MAXINT64 for not before something happens. */
gint64 gw_redial_get_due (const GwRedial *redial);

/* Whether a connection that got through is still needed. */
gboolean gw_redial_is_wanted (const GwRedial *redial);

/* Each dial ends in one of these: it was refused, it got no answer or was not needed any more, it
 * is a path. */
void gw_redial_failed (GwRedial *redial, int address, gint64 now_us);
void gw_redial_dropped (GwRedial *redial, int address);
void gw_redial_up (GwRedial *redial, int address, gint64 now_us);

/* Each path ends in one of these: it broke, or it is to have a successor and counts no more. */
void gw_redial_down (GwRedial *redial, int address, gint64 now_us);
void gw_redial_retire (GwRedial *redial, int address, gint64 now_us);

#endif
