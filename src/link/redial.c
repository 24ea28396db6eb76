/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "redial.h"

typedef struct {
    gboolean is_used;
    guint n_dialing, n_up;
    guint backoff_ms; /* of the next failure */
    gint64 due_us;    /* not before */
    gint64 up_us;     /* when the newest path came up */
} Address;

struct _GwRedial {
    guint wanted;
    GRand *random;
    Address addresses[GW_REDIAL_ADDRESSES];
};

GwRedial *
gw_redial_new (guint wanted, guint32 seed)
{
    GwRedial *redial = g_new0 (GwRedial, 1);
    redial->wanted = wanted;
    redial->random = g_rand_new_with_seed (seed);
    return redial;
}

void
gw_redial_free (GwRedial *redial)
{
    if (redial == NULL)
        return;
    g_rand_free (redial->random);
    g_free (redial);
}

static Address *
get_address (GwRedial *redial, int address)
{
    g_assert (address >= 0 && address < GW_REDIAL_ADDRESSES);
    Address *found = &redial->addresses[address];
    return found->is_used ? found : NULL;
}

int
gw_redial_add (GwRedial *redial, gint64 now_us)
{
    for (int i = 0; i < GW_REDIAL_ADDRESSES; i++)
        if (!redial->addresses[i].is_used) {
            redial->addresses[i] = (Address){ .is_used = TRUE,
                                              .backoff_ms = GW_REDIAL_FIRST_MS,
                                              .due_us = now_us };
            return i;
        }
    return -1;
}

void
gw_redial_remove (GwRedial *redial, int address)
{
    Address *removed = get_address (redial, address);
    if (removed != NULL)
        *removed = (Address){ .is_used = FALSE };
}

/* --- what is missing ------------------------------------------------------------------------------- */

typedef struct {
    guint up, dialing;
} Sum;

static Sum
add_up (const GwRedial *redial)
{
    Sum sum = { 0, 0 };
    for (guint i = 0; i < GW_REDIAL_ADDRESSES; i++) {
        sum.up += redial->addresses[i].n_up;
        sum.dialing += redial->addresses[i].n_dialing;
    }
    return sum;
}

gboolean
gw_redial_is_wanted (const GwRedial *redial)
{
    return add_up (redial).up < redial->wanted;
}

/* Dials that are out do not count as paths: each may be on a way that leads nowhere. */
static gboolean
may_dial (const GwRedial *redial, const Address *address)
{
    return address->is_used && address->n_dialing < GW_REDIAL_AT_ONCE &&
           gw_redial_is_wanted (redial);
}

static gboolean
is_better (const Address *a, const Address *b)
{
    return b == NULL || a->n_up + a->n_dialing < b->n_up + b->n_dialing;
}

/* The address with the fewest paths whose time has come. */
static int
choose (const GwRedial *redial, gint64 now_us)
{
    int best = -1;
    for (int i = 0; i < GW_REDIAL_ADDRESSES; i++) {
        const Address *address = &redial->addresses[i];
        if (may_dial (redial, address) && address->due_us <= now_us &&
            is_better (address, best < 0 ? NULL : &redial->addresses[best]))
            best = i;
    }
    return best;
}

int
gw_redial_next (GwRedial *redial, gint64 now_us)
{
    int next = choose (redial, now_us);
    if (next >= 0) {
        redial->addresses[next].n_dialing++;
        redial->addresses[next].due_us = now_us + GW_REDIAL_AGAIN_MS * 1000;
    }
    return next;
}

gint64
gw_redial_get_due (const GwRedial *redial)
{
    gint64 due_us = G_MAXINT64;
    for (guint i = 0; i < GW_REDIAL_ADDRESSES; i++)
        if (may_dial (redial, &redial->addresses[i]))
            due_us = MIN (due_us, redial->addresses[i].due_us);
    return due_us;
}

/* --- what happened ----------------------------------------------------------------------------------- */

/* From half of the backoff to all of it, so that two couriers do not keep in step. */
static void
delay (GwRedial *redial, Address *address, gint64 now_us)
{
    gint64 us = (gint64) address->backoff_ms * 500;
    us += g_rand_int_range (redial->random, 0, (gint32) us + 1);
    address->due_us = MAX (address->due_us, now_us + us);
    address->backoff_ms = MIN (2 * address->backoff_ms, GW_REDIAL_LAST_MS);
}

static Address *
end_dial (GwRedial *redial, int address)
{
    Address *dialed = get_address (redial, address);
    if (dialed == NULL || dialed->n_dialing == 0)
        return NULL; /* it was removed meanwhile */
    dialed->n_dialing--;
    return dialed;
}

void
gw_redial_failed (GwRedial *redial, int address, gint64 now_us)
{
    Address *dialed = end_dial (redial, address);
    if (dialed == NULL)
        return;
    dialed->due_us = MIN (dialed->due_us, now_us);
    delay (redial, dialed, now_us);
}

void
gw_redial_dropped (GwRedial *redial, int address)
{
    (void) end_dial (redial, address); /* nothing follows from it */
}

void
gw_redial_up (GwRedial *redial, int address, gint64 now_us)
{
    Address *dialed = end_dial (redial, address);
    if (dialed == NULL)
        return;
    dialed->n_up++;
    dialed->up_us = now_us;
    dialed->due_us = now_us + GW_REDIAL_OTHERS_MS * 1000;
}

void
gw_redial_down (GwRedial *redial, int address, gint64 now_us)
{
    Address *ended = get_address (redial, address);
    if (ended == NULL || ended->n_up == 0)
        return;
    ended->n_up--;
    if (now_us - ended->up_us >= GW_REDIAL_LAST_MS * 1000)
        ended->backoff_ms = GW_REDIAL_FIRST_MS;
    delay (redial, ended, now_us);
}

void
gw_redial_retire (GwRedial *redial, int address, gint64 now_us)
{
    Address *retired = get_address (redial, address);
    if (retired == NULL || retired->n_up == 0)
        return;
    retired->n_up--;
    retired->due_us = MIN (retired->due_us, now_us);
}
