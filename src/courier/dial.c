/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dial-internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#define DIAL_MS 10000     /* the source gives up, before the first path */
#define ACCEPTS_A_STEP 16 /* connections taken from one listener at once */

/* --- beginning and end ------------------------------------------------------------------------------- */

static void
make_hello (GwDial *dial)
{
    GwLinkHello *ours = &dial->ours;
    *ours = (GwLinkHello){ .side = dial->options->side,
                           .epoch = dial->options->epoch,
                           .wall_clock_us = g_get_real_time () - g_get_monotonic_time () };
    g_strlcpy (ours->job, dial->options->job, sizeof ours->job);
    /* cannot fail for so few bytes; zero would be refused by the peer, not taken for another */
    (void) !getrandom (ours->session, sizeof ours->session, 0);
}

static void
start_source (GwDial *dial)
{
    dial->redial = gw_redial_new (dial->options->paths, g_random_int ());
    for (guint i = 0; i < dial->options->addresses->len; i++)
        (void) gw_dial_add_address (dial, g_ptr_array_index (dial->options->addresses, i), NULL);
    dial->deadline_us = gw_deadline_ms (DIAL_MS);
}

static void
start_destination (GwDial *dial)
{
    for (guint i = 0; i < dial->options->n_listen_fds; i++)
        (void) fcntl (dial->options->listen_fds[i], F_SETFL, O_NONBLOCK); /* checked to be a socket */
    dial->deadline_us = gw_deadline_ms (GW_DIAL_ACCEPT_MS);
}

GwDial *
gw_dial_new (const GwCourierOptions *options, GwLinkKey *key, GwDialer *dialer)
{
    GwDial *dial = g_new0 (GwDial, 1);
    dial->options = options;
    dial->key = key;
    dial->dialer = dialer;
    make_hello (dial);
    for (guint i = 0; i < GW_DIAL_SLOTS; i++)
        gw_dial_slot_init (&dial->slots[i]);
    if (options->side == GW_SIDE_SOURCE)
        start_source (dial);
    else
        start_destination (dial);
    return dial;
}

void
gw_dial_free (GwDial *dial)
{
    if (dial == NULL)
        return;
    for (guint i = 0; i < GW_DIAL_SLOTS; i++)
        gw_dial_slot_clear (&dial->slots[i]);
    gw_dial_addresses_clear (dial);
    gw_redial_free (dial->redial);
    g_free (dial);
}

/* --- turns ------------------------------------------------------------------------------------------------ */

static void
accept_some (GwDial *dial, int listen_fd)
{
    for (guint i = 0; i < ACCEPTS_A_STEP; i++) {
        int fd = accept4 (listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return; /* nobody waits, or who waited has gone; poll() tells when to look again */
        gw_dial_slot_accept (dial, fd);
    }
}

static void
dial_some (GwDial *dial)
{
    int number;
    while ((number = gw_redial_next (dial->redial, g_get_monotonic_time ())) >= 0) {
        if (gw_dial_address_is_hopeless (dial, number))
            gw_redial_dropped (dial->redial, number);
        else
            gw_dial_slot_connect (dial, number);
    }
}

gboolean
gw_dial_step (GwDial *dial, const GwPolls *polls, GwMet *ret_met)
{
    for (guint i = 0; i < dial->options->n_listen_fds; i++)
        if (gw_polls_get (polls, dial->places[i]) != 0)
            accept_some (dial, dial->options->listen_fds[i]);
    if (dial->redial != NULL)
        dial_some (dial);
    for (guint i = 0; i < GW_DIAL_SLOTS; i++)
        if (gw_dial_slot_step (dial, &dial->slots[i], ret_met))
            return TRUE;
    return FALSE;
}

void
gw_dial_fill (GwDial *dial, GwPolls *polls)
{
    if (!dial->has_met)
        gw_polls_add_due (polls, dial->deadline_us);
    if (dial->redial != NULL)
        gw_polls_add_due (polls, gw_redial_get_due (dial->redial));
    for (guint i = 0; i < dial->options->n_listen_fds; i++)
        dial->places[i] = gw_polls_add (polls, dial->options->listen_fds[i], POLLIN);
    for (guint i = 0; i < GW_DIAL_SLOTS; i++)
        gw_dial_slot_fill (&dial->slots[i], polls);
}

/* --- later ---------------------------------------------------------------------------------------------------- */

void
gw_dial_path_down (GwDial *dial, int address)
{
    if (dial->redial != NULL)
        gw_redial_down (dial->redial, address, g_get_monotonic_time ());
}

void
gw_dial_path_retire (GwDial *dial, int address)
{
    if (dial->redial != NULL)
        gw_redial_retire (dial->redial, address, g_get_monotonic_time ());
}

int64_t
gw_dial_get_wall_clock_us (const GwDial *dial)
{
    return dial->ours.wall_clock_us;
}

guint
gw_dial_get_refused (const GwDial *dial)
{
    return dial->n_refused;
}

guint
gw_dial_get_dropped (const GwDial *dial)
{
    return dial->n_dropped;
}
