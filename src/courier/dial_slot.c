/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One connection on its way to become a path. */
#include "dial-internal.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#define CONNECT_MS 2000       /* one attempt at one address */
#define PROVE_MS 5000         /* handshake and hello of one connection */
#define TURN_MS 1000          /* the next connection may say hello though this one has no answer */
#define DROPS_LOGGED 10       /* each connection that failed to prove itself is a line, up to this */

#define BIT(state) (1u << (state))
static const GwState slot_states[] = {
    [SLOT_IDLE] = { "idle", BIT (SLOT_CONNECTING) | BIT (SLOT_HANDSHAKE), GW_STATE_INITIAL },
    /* `fd` is valid; CONNECT_MS */
    [SLOT_CONNECTING] = { "connecting", BIT (SLOT_IDLE) | BIT (SLOT_HANDSHAKE), 0 },
    /* `tls` is valid from here on; PROVE_MS for all that follows */
    [SLOT_HANDSHAKE] = { "handshake", BIT (SLOT_IDLE) | BIT (SLOT_PROVED), 0 },
    /* source: waits for its turn to say hello */
    [SLOT_PROVED] = { "proved", BIT (SLOT_IDLE) | BIT (SLOT_HELLO), 0 },
    [SLOT_HELLO] = { "hello", BIT (SLOT_IDLE), 0 },
};
static const GwMachineTable slot_table = { "dial", slot_states, G_N_ELEMENTS (slot_states) };

void
gw_dial_slot_init (Slot *slot)
{
    gw_machine_init (&slot->machine, &slot_table, NULL, NULL);
    slot->fd = slot->address = -1;
}

void
gw_dial_slot_clear (Slot *slot)
{
    gw_fd_clear (&slot->fd);
    g_clear_pointer (&slot->tls, gw_link_tls_free);
    g_clear_pointer (&slot->peer, g_free);
    slot->address = -1;
    if (slot->machine.state != SLOT_IDLE)
        gw_machine_move (&slot->machine, SLOT_IDLE);
}

/* --- connections that do not become paths ----------------------------------------------------------- */

static void
log_drop (GwDial *dial, const GError *error)
{
    if (dial->n_dropped <= DROPS_LOGGED)
        (void) fprintf (stderr, "godwit-courier: dropped a connection: %s%s\n", error->message,
                        dial->n_dropped == DROPS_LOGGED ? " (further ones are not logged)" : "");
}

/* The slot's attempt failed with `error` (transfer full). */
static void
slot_give_up (GwDial *dial, Slot *slot, GError *error)
{
    int number = slot->address;
    gboolean is_silent = gw_error_get_cause (error) == GW_CAUSE_TIMED_OUT;
    g_prefix_error (&error, "%s: ", slot->peer);
    dial->n_dropped++;
    if (gw_error_get_cause (error) == GW_CAUSE_LINK_AUTH && slot->machine.state == SLOT_HELLO)
        dial->n_refused++;
    if (number < 0 || dial->has_met)
        log_drop (dial, error);
    gw_dial_slot_clear (slot);
    if (number >= 0 && is_silent)
        gw_redial_dropped (dial->redial, number);
    else if (number >= 0)
        gw_redial_failed (dial->redial, number, g_get_monotonic_time ());
    if (number >= 0 && !dial->has_met && dial->addresses[number].text != NULL)
        gw_dial_address_failed (dial, number, error);
    else
        g_error_free (error);
}

/* A place that is free, or else that of the connection which has had most time to prove itself. */
static Slot *
find_slot (GwDial *dial)
{
    Slot *oldest = &dial->slots[0];
    for (guint i = 0; i < GW_DIAL_SLOTS; i++) {
        Slot *slot = &dial->slots[i];
        if (slot->machine.state == SLOT_IDLE)
            return slot;
        if (slot->at_us < oldest->at_us)
            oldest = slot;
    }
    slot_give_up (dial, oldest,
                  g_error_new (GW_ERROR, GW_CAUSE_LINK_AUTH, "too many connections (%d) at once",
                               GW_DIAL_SLOTS));
    return oldest;
}

/* --- what a slot does --------------------------------------------------------------------------------- */

static void
slot_start_handshake (GwDial *dial, Slot *slot)
{
    GError *error = NULL;
    gw_link_socket_tune (slot->fd);
    gw_machine_move (&slot->machine, SLOT_HANDSHAKE);
    slot->at_us = gw_deadline_ms (PROVE_MS);
    slot->tls = gw_link_tls_new (dial->key, gw_fd_steal (&slot->fd), &error);
    if (slot->tls == NULL)
        slot_give_up (dial, slot, error);
}

static void
slot_step_connecting (GwDial *dial, Slot *slot)
{
    struct pollfd p = { .fd = slot->fd, .events = POLLOUT };
    int failure = 0;
    socklen_t len = sizeof failure;
    if (poll (&p, 1, 0) <= 0)
        return;
    if (getsockopt (slot->fd, SOL_SOCKET, SO_ERROR, &failure, &len) != 0)
        failure = errno;
    if (failure == 0)
        slot_start_handshake (dial, slot);
    else
        slot_give_up (dial, slot, g_error_new (GW_ERROR, GW_CAUSE_LINK_CONNECT, "%s",
                                               g_strerror (failure)));
}

static gboolean
send_hello (Slot *slot, const GwLinkHello *hello, GError **error)
{
    uint8_t record[GW_LINK_HELLO_MAX];
    gsize len = gw_link_hello_store (record, hello);
    return gw_link_tls_send (slot->tls, record, len, error) &&
           gw_link_tls_flush (slot->tls, error) != GW_LINK_FAILED;
}

static void
slot_step_handshake (GwDial *dial, Slot *slot)
{
    GError *error = NULL;
    GwLinkStep step = gw_link_tls_handshake (slot->tls, &error);
    if (step == GW_LINK_AGAIN)
        return;
    if (step != GW_LINK_DONE) {
        slot_give_up (dial, slot, error);
        return;
    }
    gw_link_tls_start (slot->tls);
    gw_machine_move (&slot->machine, SLOT_PROVED);
    if (dial->options->side == GW_SIDE_DESTINATION)
        gw_machine_move (&slot->machine, SLOT_HELLO);
}

/* TRUE when another connection has said hello and may still get its answer. */
static gboolean
is_saying_hello (const GwDial *dial)
{
    for (guint i = 0; i < GW_DIAL_SLOTS; i++) {
        const Slot *slot = &dial->slots[i];
        if (slot->machine.state == SLOT_HELLO &&
            g_get_monotonic_time () - slot->hello_us < TURN_MS * 1000)
            return TRUE;
    }
    return FALSE;
}

/* Source: hellos are said one after the other, as the destination takes growing serials only; and
 * only by a connection that is still needed. */
static void
slot_step_proved (GwDial *dial, Slot *slot)
{
    GError *error = NULL;
    if (is_saying_hello (dial))
        return;
    if (!gw_redial_is_wanted (dial->redial)) {
        gw_redial_dropped (dial->redial, slot->address);
        gw_dial_slot_clear (slot);
        return;
    }
    slot->hello = dial->ours;
    slot->hello.serial = ++dial->ours.serial;
    slot->hello_us = g_get_monotonic_time ();
    gw_machine_move (&slot->machine, SLOT_HELLO);
    if (!send_hello (slot, &slot->hello, &error))
        slot_give_up (dial, slot, error);
}

/* The destination answers with the serial that it took. */
static gboolean
take_hello (GwDial *dial, Slot *slot, const GwLinkRecord *record, GwLinkHello *ret_hello,
            GError **error)
{
    gboolean is_source = dial->options->side == GW_SIDE_SOURCE;
    const GwLinkHello *ours = is_source ? &slot->hello : &dial->ours;
    if (!gw_link_hello_check (&dial->peer, ours, record->data, record->len, ret_hello, error))
        return FALSE;
    if (is_source)
        return TRUE;
    slot->hello = dial->ours;
    slot->hello.serial = ret_hello->serial;
    return send_hello (slot, &slot->hello, error);
}

static char *
address_to_text (const struct sockaddr_storage *native, socklen_t len)
{
    g_autoptr (GSocketAddress) address = g_socket_address_new_from_native ((gpointer) native, len);
    return address != NULL ? g_socket_connectable_to_string (G_SOCKET_CONNECTABLE (address))
                           : g_strdup ("unknown");
}

static char *
peer_to_text (int fd)
{
    struct sockaddr_storage native = { 0 };
    socklen_t len = sizeof native;
    return getpeername (fd, (struct sockaddr *) &native, &len) == 0 ? address_to_text (&native, len)
                                                                     : g_strdup ("unknown");
}

static char *
local_to_text (int fd)
{
    struct sockaddr_storage native = { 0 };
    socklen_t len = sizeof native;
    return getsockname (fd, (struct sockaddr *) &native, &len) == 0 ? address_to_text (&native, len)
                                                                     : g_strdup ("unknown");
}

static void
slot_meet (GwDial *dial, Slot *slot, const GwLinkHello *hello, GwMet *ret_met)
{
    char *local = local_to_text (gw_link_tls_get_fd (slot->tls));
    *ret_met = (GwMet){ .local = local,
                        .tls = g_steal_pointer (&slot->tls),
                        .peer = g_steal_pointer (&slot->peer),
                        .address = slot->address,
                        .serial = hello->serial,
                        .wall_clock_us = hello->wall_clock_us };
    if (slot->address >= 0)
        gw_redial_up (dial->redial, slot->address, g_get_monotonic_time ());
    gw_dial_slot_clear (slot);
    dial->has_met = TRUE;
}

/* TRUE when it has become a path. */
static gboolean
slot_step_hello (GwDial *dial, Slot *slot, GwMet *ret_met)
{
    GError *error = NULL;
    GwLinkHello hello;
    GwLinkRecord record = { 0 };
    GwLinkStep step = gw_link_tls_flush (slot->tls, &error);
    if (step != GW_LINK_FAILED)
        step = gw_link_tls_receive (slot->tls, &record, &error);
    if (step == GW_LINK_AGAIN)
        return FALSE;
    gboolean is_good = step == GW_LINK_DONE && take_hello (dial, slot, &record, &hello, &error);
    gw_link_record_clear (&record);
    if (is_good) {
        slot_meet (dial, slot, &hello, ret_met);
        return TRUE;
    }
    if (error == NULL)
        gw_fail (&error, GW_CAUSE_LINK_CONNECT, "the other end closed it before its hello");
    slot_give_up (dial, slot, error);
    return FALSE;
}

static gboolean
slot_step_once (GwDial *dial, Slot *slot, GwMet *ret_met)
{
    guint state = slot->machine.state;
    if (state != SLOT_IDLE && g_get_monotonic_time () >= slot->at_us) {
        slot_give_up (dial, slot,
                      g_error_new (GW_ERROR, GW_CAUSE_TIMED_OUT, "no answer (%s) within %d ms",
                                   gw_machine_state_name (&slot->machine),
                                   state == SLOT_CONNECTING ? CONNECT_MS : PROVE_MS));
        return FALSE;
    }
    if (state == SLOT_CONNECTING)
        slot_step_connecting (dial, slot);
    else if (state == SLOT_HANDSHAKE)
        slot_step_handshake (dial, slot);
    else if (state == SLOT_PROVED)
        slot_step_proved (dial, slot);
    else if (state == SLOT_HELLO)
        return slot_step_hello (dial, slot, ret_met);
    return FALSE;
}

/* Each step that moves on enables the next one at once. */
gboolean
gw_dial_slot_step (GwDial *dial, Slot *slot, GwMet *ret_met)
{
    guint before;
    do {
        before = slot->machine.state;
        if (slot_step_once (dial, slot, ret_met))
            return TRUE;
    } while (slot->machine.state != before && slot->machine.state != SLOT_IDLE);
    return FALSE;
}

/* --- beginnings ------------------------------------------------------------------------------------------ */

void
gw_dial_slot_accept (GwDial *dial, int fd)
{
    Slot *slot = find_slot (dial);
    slot->peer = peer_to_text (fd);
    slot->fd = fd;
    slot_start_handshake (dial, slot);
}

void
gw_dial_slot_connect (GwDial *dial, int number)
{
    GError *error = NULL;
    Slot *slot = find_slot (dial);
    g_autofree char *target = g_strdup_printf ("tcp %s", dial->addresses[number].text);
    slot->address = number;
    slot->peer = g_strdup (dial->addresses[number].text);
    slot->at_us = gw_deadline_ms (CONNECT_MS);
    slot->fd = gw_dialer_open (dial->dialer, target, &error);
    gw_machine_move (&slot->machine, SLOT_CONNECTING);
    if (slot->fd >= 0)
        return;
    if (gw_dialer_get_fd (dial->dialer) >= 0)
        error->code = GW_CAUSE_LINK_CONNECT; /* what the network said at once */
    slot_give_up (dial, slot, error);
}

void
gw_dial_slot_fill (Slot *slot, GwPolls *polls)
{
    if (slot->machine.state == SLOT_IDLE)
        return;
    gw_polls_add_due (polls, slot->at_us);
    if (slot->machine.state == SLOT_PROVED) /* until the one before it has its answer, or not */
        gw_polls_add_due (polls, g_get_monotonic_time () + 10000);
    else if (slot->tls != NULL)
        gw_polls_add (polls, gw_link_tls_get_fd (slot->tls), gw_link_tls_get_events (slot->tls));
    else
        gw_polls_add (polls, slot->fd, POLLOUT);
}
