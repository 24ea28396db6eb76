/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

#define DIAL_MS 10000         /* the source gives up */
#define ACCEPT_MS 300000      /* the destination gives up; its QEMU may start slowly meanwhile */
#define CONNECT_MS 2000       /* one attempt at one address */
#define PROVE_MS 5000         /* handshake and hello of one connection */
#define RETRY_MS 250          /* between attempts at one address */
#define ATTEMPTS 3            /* at an address that answers with an error */
#define ACCEPTS_A_STEP 16     /* connections taken from the listener at once */
#define DROPS_LOGGED 10       /* each connection that failed to prove itself is a line, up to this */

/* One address (source) or one place for a connection (destination). */
enum { SLOT_IDLE, SLOT_CONNECTING, SLOT_HANDSHAKE, SLOT_HELLO, SLOT_CHOSEN, SLOT_FAILED };
#define BIT(state) (1u << (state))
static const GwState slot_states[] = {
    /* source: until `at_us` comes; destination: free */
    [SLOT_IDLE] = { "idle", BIT (SLOT_CONNECTING) | BIT (SLOT_HANDSHAKE) | BIT (SLOT_FAILED),
                    GW_STATE_INITIAL },
    /* `fd` is valid; CONNECT_MS */
    [SLOT_CONNECTING] = { "connecting", BIT (SLOT_IDLE) | BIT (SLOT_HANDSHAKE) | BIT (SLOT_FAILED), 0 },
    /* `tls` is valid from here on; PROVE_MS with the next one */
    [SLOT_HANDSHAKE] = { "handshake", BIT (SLOT_IDLE) | BIT (SLOT_HELLO) | BIT (SLOT_FAILED), 0 },
    [SLOT_HELLO] = { "hello", BIT (SLOT_IDLE) | BIT (SLOT_CHOSEN) | BIT (SLOT_FAILED), 0 },
    [SLOT_CHOSEN] = { "chosen", 0, GW_STATE_FINAL },
    /* source: `error` says why; no further attempt */
    [SLOT_FAILED] = { "failed", 0, GW_STATE_FINAL | GW_STATE_FAILURE },
};
static const GwMachineTable slot_table = { "dial", slot_states, G_N_ELEMENTS (slot_states) };

typedef struct {
    GwMachine machine;
    GSocketAddress *address; /* borrowed; source */
    char *peer;              /* "ADDR:PORT" */
    GwFd fd;                 /* while connecting */
    GwLinkTls *tls;          /* from the handshake on */
    gint64 at_us;            /* idle: the next attempt; else: the limit of the state */
    guint n_attempts;
    uint32_t serial; /* of its hello */
    GError *error; /* of the last attempt */
} Slot;

struct _GwDial {
    const GwCourierOptions *options;
    GwLinkKey *key;
    gint64 deadline_us;
    Slot *slots;
    guint n_slots;
    guint n_dropped;
    uint32_t n_hellos; /* the source's, so far */
    GwLinkHello hello; /* ours */
    GwLinkPeer peer;
};

static char *
address_to_text (GSocketAddress *address)
{
    return g_socket_connectable_to_string (G_SOCKET_CONNECTABLE (address));
}

GwDial *
gw_dial_new (const GwCourierOptions *options, GwLinkKey *key)
{
    GwDial *dial = g_new0 (GwDial, 1);
    gboolean is_source = options->side == GW_SIDE_SOURCE;
    dial->options = options;
    dial->key = key;
    dial->hello = (GwLinkHello){ .side = options->side };
    g_strlcpy (dial->hello.job, options->job, sizeof dial->hello.job);
    for (guint i = 0; i < GW_LINK_SESSION_ID; i++)
        dial->hello.session[i] = (uint8_t) g_random_int_range (1, 256);
    dial->deadline_us = gw_deadline_ms (is_source ? DIAL_MS : ACCEPT_MS);
    dial->n_slots = is_source ? options->addresses->len : GW_DIAL_HANDSHAKES;
    dial->slots = g_new0 (Slot, dial->n_slots);
    for (guint i = 0; i < dial->n_slots; i++) {
        Slot *slot = &dial->slots[i];
        gw_machine_init (&slot->machine, &slot_table, NULL, NULL);
        slot->fd = -1;
        if (is_source) {
            slot->address = g_ptr_array_index (options->addresses, i);
            slot->peer = address_to_text (slot->address);
        }
    }
    if (!is_source)
        (void) fcntl (options->listen_fd, F_SETFL, O_NONBLOCK); /* it is checked to be a socket */
    return dial;
}

static void
slot_close (Slot *slot)
{
    gw_fd_clear (&slot->fd);
    g_clear_pointer (&slot->tls, gw_link_tls_free);
}

void
gw_dial_free (GwDial *dial)
{
    if (dial == NULL)
        return;
    for (guint i = 0; i < dial->n_slots; i++) {
        slot_close (&dial->slots[i]);
        g_free (dial->slots[i].peer);
        g_clear_error (&dial->slots[i].error);
    }
    g_free (dial->slots);
    g_free (dial);
}

/* --- what a slot does ----------------------------------------------------------------------------- */

/* The slot's attempt failed with `error` (transfer full).  An address that answers wrongly is not
 * tried again; one that is silent is tried until the deadline. */
static void
slot_give_up (GwDial *dial, Slot *slot, GError *error)
{
    slot_close (slot);
    g_prefix_error (&error, "%s: ", slot->peer);
    g_clear_error (&slot->error);
    slot->error = error;
    if (slot->address != NULL) {
        gboolean is_silent = gw_error_get_cause (error) == GW_CAUSE_TIMED_OUT;
        slot->n_attempts += is_silent ? 0 : 1;
        gboolean is_over =
            gw_error_get_cause (error) == GW_CAUSE_LINK_AUTH || slot->n_attempts >= ATTEMPTS;
        slot->at_us = gw_deadline_ms (RETRY_MS);
        gw_machine_move (&slot->machine, is_over ? SLOT_FAILED : SLOT_IDLE);
        return;
    }
    dial->n_dropped++;
    if (dial->n_dropped <= DROPS_LOGGED)
        (void) fprintf (stderr, "godwit-courier: dropped a connection from %s%s\n", error->message,
                        dial->n_dropped == DROPS_LOGGED ? " (further ones are not logged)" : "");
    gw_machine_move (&slot->machine, SLOT_IDLE);
}

static void
slot_start_handshake (GwDial *dial, Slot *slot)
{
    GError *error = NULL;
    gw_link_socket_tune (slot->fd);
    slot->tls = gw_link_tls_new (dial->key, gw_fd_steal (&slot->fd), &error);
    slot->at_us = gw_deadline_ms (PROVE_MS);
    if (slot->tls == NULL)
        slot_give_up (dial, slot, error);
    else
        gw_machine_move (&slot->machine, SLOT_HANDSHAKE);
}

static gboolean
start_connect (Slot *slot, GError **error)
{
    struct sockaddr_storage native;
    if (!g_socket_address_to_native (slot->address, &native, sizeof native, error))
        return gw_error_adopt (error, GW_CAUSE_LINK_CONNECT);
    slot->fd = socket (native.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len = (socklen_t) g_socket_address_get_native_size (slot->address);
    if (slot->fd < 0 ||
        (connect (slot->fd, (struct sockaddr *) &native, len) != 0 && errno != EINPROGRESS))
        return gw_fail (error, GW_CAUSE_LINK_CONNECT, "%s", g_strerror (errno));
    return TRUE;
}

static void
slot_step_idle (GwDial *dial, Slot *slot)
{
    GError *error = NULL;
    if (slot->address == NULL || g_get_monotonic_time () < slot->at_us)
        return;
    gw_machine_move (&slot->machine, SLOT_CONNECTING);
    slot->at_us = gw_deadline_ms (CONNECT_MS);
    if (!start_connect (slot, &error))
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
send_hello (GwDial *dial, Slot *slot, GError **error)
{
    uint8_t record[GW_LINK_HELLO_MAX];
    if (dial->options->side == GW_SIDE_SOURCE)
        slot->serial = ++dial->n_hellos;
    dial->hello.serial = slot->serial;
    gsize len = gw_link_hello_store (record, &dial->hello);
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
    if (step == GW_LINK_DONE) {
        gw_link_tls_start (slot->tls);
        gw_machine_move (&slot->machine, SLOT_HELLO);
        if (dial->options->side == GW_SIDE_DESTINATION || send_hello (dial, slot, &error))
            return;
    }
    slot_give_up (dial, slot, error);
}

/* The source says hello first; the destination answers only the connection that it chooses, so both
 * choose the same one. */
static void
slot_step_hello (GwDial *dial, Slot *slot)
{
    GError *error = NULL;
    GwLinkRecord record = { 0 };
    if (gw_link_tls_flush (slot->tls, &error) == GW_LINK_FAILED) {
        slot_give_up (dial, slot, error);
        return;
    }
    GwLinkStep step = gw_link_tls_receive (slot->tls, &record, &error);
    if (step == GW_LINK_AGAIN)
        return;
    GwLinkHello theirs = { 0 };
    dial->hello.serial = slot->serial;
    gboolean is_good = step == GW_LINK_DONE &&
                       gw_link_hello_check (&dial->peer, &dial->hello, record.data, record.len,
                                            &theirs, &error);
    slot->serial = is_good ? theirs.serial : slot->serial;
    is_good = is_good &&
              (dial->options->side == GW_SIDE_SOURCE || send_hello (dial, slot, &error));
    gw_link_record_clear (&record);
    if (is_good) {
        gw_machine_move (&slot->machine, SLOT_CHOSEN);
        return;
    }
    if (error == NULL)
        gw_fail (&error, GW_CAUSE_LINK_CONNECT, "the other end closed it before its hello");
    slot_give_up (dial, slot, error);
}

static void
slot_step (GwDial *dial, Slot *slot)
{
    static void (*const steps[]) (GwDial *, Slot *) = {
        [SLOT_IDLE] = slot_step_idle,
        [SLOT_CONNECTING] = slot_step_connecting,
        [SLOT_HANDSHAKE] = slot_step_handshake,
        [SLOT_HELLO] = slot_step_hello,
    };
    /* each step that moves on enables the next one at once */
    for (guint before = SLOT_FAILED; before != slot->machine.state;) {
        before = slot->machine.state;
        if (before >= G_N_ELEMENTS (steps))
            return;
        if (before != SLOT_IDLE && g_get_monotonic_time () >= slot->at_us)
            slot_give_up (dial, slot,
                          g_error_new (GW_ERROR, GW_CAUSE_TIMED_OUT, "no answer (%s) within %d ms",
                                       gw_machine_state_name (&slot->machine),
                                       before == SLOT_CONNECTING ? CONNECT_MS : PROVE_MS));
        else
            steps[before] (dial, slot);
    }
}

/* --- destination: connections --------------------------------------------------------------------- */

/* A free slot, or else that of the connection which has had most time to prove itself. */
static Slot *
find_slot (GwDial *dial)
{
    Slot *oldest = &dial->slots[0];
    for (guint i = 0; i < dial->n_slots; i++) {
        Slot *slot = &dial->slots[i];
        if (slot->machine.state == SLOT_IDLE)
            return slot;
        if (slot->at_us < oldest->at_us)
            oldest = slot;
    }
    slot_give_up (dial, oldest,
                  g_error_new (GW_ERROR, GW_CAUSE_LINK_AUTH, "too many connections (%u) at once",
                               dial->n_slots));
    return oldest;
}

static char *
peer_to_text (int fd)
{
    struct sockaddr_storage native;
    socklen_t len = sizeof native;
    if (getpeername (fd, (struct sockaddr *) &native, &len) != 0)
        return g_strdup ("unknown");
    g_autoptr (GSocketAddress) address = g_socket_address_new_from_native (&native, len);
    return address != NULL ? address_to_text (address) : g_strdup ("unknown");
}

static void
accept_some (GwDial *dial)
{
    for (guint i = 0; i < ACCEPTS_A_STEP; i++) {
        int fd = accept4 (dial->options->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return; /* nobody waits, or who waited has gone; poll() tells when to look again */
        Slot *slot = find_slot (dial);
        g_free (slot->peer);
        slot->peer = peer_to_text (fd);
        slot->fd = fd;
        slot_start_handshake (dial, slot);
    }
}

/* --- public ---------------------------------------------------------------------------------------- */

guint
gw_dial_fill (const GwDial *dial, struct pollfd *ret_polls, int *ret_timeout_ms)
{
    guint n = 0;
    gint64 next_us = dial->deadline_us;
    if (dial->options->side == GW_SIDE_DESTINATION)
        ret_polls[n++] = (struct pollfd){ .fd = dial->options->listen_fd, .events = POLLIN };
    for (guint i = 0; i < dial->n_slots; i++) {
        const Slot *slot = &dial->slots[i];
        gboolean is_free = slot->machine.state == SLOT_IDLE && slot->address == NULL;
        if (is_free || gw_machine_is_final (&slot->machine))
            continue;
        next_us = MIN (next_us, slot->at_us);
        if (slot->tls != NULL)
            ret_polls[n++] = (struct pollfd){ .fd = gw_link_tls_get_fd (slot->tls),
                                              .events = gw_link_tls_get_events (slot->tls) };
        else if (slot->fd >= 0)
            ret_polls[n++] = (struct pollfd){ .fd = slot->fd, .events = POLLOUT };
    }
    *ret_timeout_ms = (int) gw_deadline_left_ms (next_us) + 1;
    return n;
}

/* Fails when the deadline has passed or no address is left to try.  What an address answered says
 * more than its silence, and a wrong answer more than a refusal. */
static GwLinkStep
judge (const GwDial *dial, GError **error)
{
    const GError *worst = NULL;
    gboolean is_hopeless = dial->options->side == GW_SIDE_SOURCE;
    for (guint i = 0; i < dial->n_slots; i++) {
        const Slot *slot = &dial->slots[i];
        is_hopeless = is_hopeless && slot->machine.state == SLOT_FAILED;
        if (slot->error != NULL &&
            (worst == NULL || gw_error_get_cause (slot->error) == GW_CAUSE_LINK_AUTH))
            worst = slot->error;
    }
    if (!is_hopeless && g_get_monotonic_time () < dial->deadline_us)
        return GW_LINK_AGAIN;
    if (dial->options->side == GW_SIDE_DESTINATION)
        gw_fail (error, GW_CAUSE_LINK_CONNECT,
                 "the source did not connect within %d s (%u other connections were dropped)",
                 ACCEPT_MS / 1000, dial->n_dropped);
    else
        gw_fail (error,
                 gw_error_get_cause (worst) == GW_CAUSE_LINK_AUTH ? GW_CAUSE_LINK_AUTH
                                                                  : GW_CAUSE_LINK_CONNECT,
                 "no connection to any of %u addresses: %s", dial->n_slots,
                 worst != NULL ? worst->message : "no answer");
    return GW_LINK_FAILED;
}

GwLinkStep
gw_dial_step (GwDial *dial, GwLinkTls **ret_tls, char **ret_peer, GError **error)
{
    if (dial->options->side == GW_SIDE_DESTINATION)
        accept_some (dial);
    for (guint i = 0; i < dial->n_slots; i++) {
        Slot *slot = &dial->slots[i];
        slot_step (dial, slot);
        if (slot->machine.state == SLOT_CHOSEN) {
            *ret_tls = g_steal_pointer (&slot->tls);
            *ret_peer = g_strdup (slot->peer);
            return GW_LINK_DONE;
        }
    }
    return judge (dial, error);
}
