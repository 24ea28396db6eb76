/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A TCP proxy on the loopback address that can do to connections what networks do; one thread of the
 * test's own. */
#ifndef GW_TEST_COURIER_PROXY_H
#define GW_TEST_COURIER_PROXY_H

#include <glib.h>

#define PROXY_PAIRS 64

typedef enum {
    PROXY_PASS,
    PROXY_STALL,   /* nothing moves, both ends stay connected */
    PROXY_ONE_WAY, /* what the near end (that connected to the proxy) says is lost; answers pass */
    PROXY_FLIP,    /* the next bytes of the near end have a bit flipped, once */
    PROXY_RESET    /* both ends are closed by a reset */
} ProxyFault;

typedef struct {
    int near, far;
    ProxyFault fault;
} ProxyPair;

typedef struct {
    int listener;
    guint port, target;
    ProxyPair pairs[PROXY_PAIRS];
    guint n_pairs;
    GThread *thread;
    gint order;     /* atomic; 1 + a ProxyFault, 0 for none */
    gint new_fault; /* atomic; of connections to come */
    gint n_accepted, must_end; /* atomic */
} Proxy;

/* In front of 127.0.0.1:`target`. */
void proxy_start (Proxy *proxy, guint target);
/* Closes everything by resets. */
void proxy_end (Proxy *proxy);

/* From now on what is connected has `fault`; PROXY_PASS heals it.  It is so when this returns. */
void proxy_order (Proxy *proxy, ProxyFault fault);
/* And what connects later. */
void proxy_order_new (Proxy *proxy, ProxyFault fault);

#endif
