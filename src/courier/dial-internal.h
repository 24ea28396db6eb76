/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the dial share, by owning file.
 *
 * Each connection that has not proved itself has a slot (dial_slot.c), which takes it from connecting
 * over the handshake to the hello, or drops it.  Which address is dialled when is the redial's
 * (redial.h); what the addresses are, and how they answered before the first path, is kept in
 * dial_address.c.
 */
#ifndef GW_COURIER_DIAL_INTERNAL_H
#define GW_COURIER_DIAL_INTERNAL_H

#include "courier.h"

#define GW_DIAL_ACCEPT_MS 300000 /* the destination waits: its QEMU may start slowly meanwhile */

enum { SLOT_IDLE, SLOT_CONNECTING, SLOT_HANDSHAKE, SLOT_PROVED, SLOT_HELLO };

/* A place for one connection. */
typedef struct {
    GwMachine machine;
    int address; /* source: of the redial; -1 at the destination */
    char *peer;  /* "ADDR:PORT" */
    GwFd fd;     /* while connecting */
    GwLinkTls *tls;
    GwLinkHello hello; /* source: what was said */
    gint64 hello_us;   /* when; while in SLOT_HELLO */
    gint64 at_us;      /* the limit of the state */
} Slot;

/* An address of the source, and how it did before the first path. */
typedef struct {
    char *text; /* NULL: none */
    guint n_errors;
    gboolean is_hopeless;
    GError *error; /* of the last attempt */
} Address;

struct _GwDial {
    const GwCourierOptions *options;
    GwLinkKey *key;
    GwDialer *dialer;
    GwRedial *redial; /* NULL at the destination */
    Address addresses[GW_REDIAL_ADDRESSES];
    Slot slots[GW_DIAL_SLOTS];
    GwLinkHello ours;
    GwLinkPeer peer;
    gint64 deadline_us; /* for the first path */
    guint n_dropped, n_refused;
    guint places[GW_COURIER_LISTENERS]; /* of the listening sockets, in this turn */
    gboolean has_met;
};

/* --- dial_slot.c ---------------------------------------------------------------------------------- */

void gw_dial_slot_init (Slot *slot);
void gw_dial_slot_clear (Slot *slot);
/* Starts with `fd` (transfer full) that was accepted. */
void gw_dial_slot_accept (GwDial *dial, int fd);
/* Starts to connect to address `number`. */
void gw_dial_slot_connect (GwDial *dial, int number);
/* Goes on.  TRUE when it has become a path. */
gboolean gw_dial_slot_step (GwDial *dial, Slot *slot, GwMet *ret_met);
void gw_dial_slot_fill (Slot *slot, GwPolls *polls);

/* --- dial_address.c --------------------------------------------------------------------------------- */

void gw_dial_addresses_clear (GwDial *dial);
/* An attempt at address `number` failed before the first path; `error` is taken over. */
void gw_dial_address_failed (GwDial *dial, int number, GError *error);
/* It is not to be tried before there was a path. */
gboolean gw_dial_address_is_hopeless (const GwDial *dial, int number);

#endif
