/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <errno.h>
#include <inttypes.h>

#define LAST_EVENT_MS 1000 /* for the agent to take the last event */

/* The courier's descriptors in poll()'s array. */
enum { POLL_CONTROL, POLL_SIGNAL, POLL_REST };
G_STATIC_ASSERT (GW_DIAL_POLLS >= GW_CARRY_POLLS);

enum {
    LIFE_MEETING,  /* `dial` is valid; its own limit */
    LIFE_CARRYING, /* the link is up; until the lanes have ended or it is lost */
    LIFE_WAITING,  /* the lanes ended, some of them not cleanly; until the agent says quit */
    LIFE_OVER      /* `status` is valid */
};
#define BIT(state) (1u << (state))
static const GwState life_states[] = {
    [LIFE_MEETING] = { "meeting", BIT (LIFE_CARRYING) | BIT (LIFE_OVER), GW_STATE_INITIAL },
    [LIFE_CARRYING] = { "carrying", BIT (LIFE_WAITING) | BIT (LIFE_OVER), 0 },
    [LIFE_WAITING] = { "waiting", BIT (LIFE_OVER), 0 },
    [LIFE_OVER] = { "over", 0, GW_STATE_FINAL },
};
static const GwMachineTable life_table = { "courier", life_states, G_N_ELEMENTS (life_states) };

typedef struct {
    const GwCourierOptions *options;
    GwControl *control;
    GwMachine machine;
    GwDial *dial;
    GwCarry carry;
    int status;
    gboolean wants_probe; /* asked for before the link was up */
} Courier;

static void
end (Courier *courier, int status)
{
    courier->status = status;
    gw_machine_move (&courier->machine, LIFE_OVER);
}

/* --- what the agent asks ---------------------------------------------------------------------------- */

static void
say_stats (Courier *courier)
{
    const GwCarry *carry = &courier->carry;
    static const GwLinkCounters none;
    const GwLinkCounters *wire =
        carry->tls != NULL ? gw_link_tls_get_counters (carry->tls) : &none;
    uint64_t queued = carry->tls != NULL ? gw_link_tls_get_queued (carry->tls) : 0;
    g_autoptr (GString) json = g_string_new ("{\"event\":\"stats\",\"lanes\":{");
    for (guint i = 0; i < carry->n_lanes; i++) {
        const GwLane *lane = &carry->lanes[i];
        g_string_append_printf (json, "%s\"%s\":{\"out_bytes\":%" PRIu64 ",\"in_bytes\":%" PRIu64 "}",
                                i > 0 ? "," : "", lane->option->name, lane->out_bytes,
                                lane->in_bytes);
        queued += gw_lane_get_queued (lane);
    }
    g_string_append_printf (json,
                            "},\"wire_out_bytes\":%" PRIu64 ",\"wire_in_bytes\":%" PRIu64
                            ",\"queued_bytes\":%" PRIu64 ",\"rtt_us\":%u,\"rekeys\":%" PRIu64 "}",
                            wire->out_bytes, wire->in_bytes, queued,
                            carry->tls != NULL ? gw_link_tls_get_rtt_us (carry->tls) : 0,
                            wire->rekeys);
    gw_control_say_json (courier->control, json->str);
}

static gboolean
obey (Courier *courier, GError **error)
{
    GwCommand command;
    while ((command = gw_control_next (courier->control)) != GW_COMMAND_NONE) {
        switch (command) {
        case GW_COMMAND_STATS:
            say_stats (courier);
            break;
        case GW_COMMAND_PROBE:
            courier->wants_probe = courier->machine.state == LIFE_MEETING;
            if (!gw_carry_probe (&courier->carry, error))
                return FALSE;
            break;
        case GW_COMMAND_SPOOL:
            gw_control_say (courier->control, "spool", "state", "off", NULL);
            break;
        case GW_COMMAND_QUIT:
            gw_carry_abandon (&courier->carry);
            end (courier, GW_COURIER_OK);
            return TRUE;
        default:
            g_assert_not_reached ();
        }
    }
    return TRUE;
}

/* --- the turns of each state -------------------------------------------------------------------------- */

static gboolean
turn_meeting (Courier *courier, GError **error)
{
    GwLinkTls *tls;
    g_autofree char *peer = NULL;
    GwLinkStep step = gw_dial_step (courier->dial, &tls, &peer, error);
    if (step != GW_LINK_DONE)
        return step == GW_LINK_AGAIN;
    g_clear_pointer (&courier->dial, gw_dial_free); /* drops all other connections */
    gw_carry_start (&courier->carry, tls);
    gw_machine_move (&courier->machine, LIFE_CARRYING);
    gw_control_say (courier->control, "connected", "peer", peer, NULL);
    if (courier->options->side == GW_SIDE_SOURCE)
        gw_control_say (courier->control, "ready", "detail", "the link is up, the lanes listen",
                        NULL);
    return !courier->wants_probe || gw_carry_probe (&courier->carry, error);
}

static gboolean
turn_carrying (Courier *courier, const struct pollfd *polls, GError **error)
{
    if (!gw_carry_turn (&courier->carry, polls, error))
        return FALSE;
    if (courier->carry.machine.state != GW_CARRY_OVER)
        return TRUE;
    if (courier->carry.is_unclean) {
        gw_machine_move (&courier->machine, LIFE_WAITING);
        return TRUE;
    }
    say_stats (courier); /* the final counters: nobody can ask any more */
    gw_control_say (courier->control, "done", NULL);
    end (courier, GW_COURIER_OK);
    return TRUE;
}

static guint
fill (Courier *courier, int signal_fd, struct pollfd *polls, int *ret_timeout_ms)
{
    *ret_timeout_ms = -1; /* the agent's socket ends every wait: see the command "quit" */
    gw_control_fill (courier->control, &polls[POLL_CONTROL]);
    polls[POLL_SIGNAL] = (struct pollfd){ .fd = signal_fd, .events = POLLIN };
    if (courier->machine.state == LIFE_MEETING)
        return POLL_REST + gw_dial_fill (courier->dial, polls + POLL_REST, ret_timeout_ms);
    gw_carry_fill (&courier->carry, polls + POLL_REST, ret_timeout_ms);
    return POLL_REST + GW_CARRY_POLLS;
}

static gboolean
turn (Courier *courier, int signal_fd, GError **error)
{
    struct pollfd polls[POLL_REST + GW_DIAL_POLLS];
    int timeout_ms;
    guint n = fill (courier, signal_fd, polls, &timeout_ms);
    if (poll (polls, n, timeout_ms) < 0 && errno != EINTR)
        return gw_fail (error, GW_CAUSE_INTERNAL, "poll: %s", g_strerror (errno));
    if (polls[POLL_SIGNAL].revents != 0) {
        gw_carry_abandon (&courier->carry);
        return gw_fail (error, GW_CAUSE_ABORTED, "ended by a signal");
    }
    if (polls[POLL_CONTROL].revents != 0 &&
        (!gw_control_step (courier->control, error) || !obey (courier, error)))
        return FALSE;
    if (courier->machine.state == LIFE_MEETING)
        return turn_meeting (courier, error);
    if (courier->machine.state == LIFE_CARRYING)
        return turn_carrying (courier, polls + POLL_REST, error);
    return TRUE;
}

/* --- life ------------------------------------------------------------------------------------------------ */

static gboolean
live (Courier *courier, GwLinkKey *key, int signal_fd, GError **error)
{
    if (!gw_carry_init (&courier->carry, courier->options, courier->control, error))
        return FALSE;
    courier->dial = gw_dial_new (courier->options, key);
    if (courier->options->side == GW_SIDE_DESTINATION)
        gw_control_say (courier->control, "ready", "detail", "accepting the source", NULL);
    while (!gw_machine_is_final (&courier->machine))
        if (!turn (courier, signal_fd, error))
            return FALSE;
    return TRUE;
}

int
gw_courier_run (const GwCourierOptions *options, GwLinkKey *key, GwControl *control, int signal_fd,
                GError **error)
{
    Courier courier = { .options = options, .control = control };
    g_autoptr (GError) local = NULL;
    gw_machine_init (&courier.machine, &life_table, NULL, NULL);
    if (!live (&courier, key, signal_fd, &local)) {
        GwCause cause = gw_error_get_cause (local);
        if (cause != GW_CAUSE_AGENT_LOST)
            gw_control_say (control, "failed", "cause", gw_cause_get_info (cause)->code, "message",
                            local->message, NULL);
        courier.status = GW_COURIER_FAILED;
        g_propagate_error (error, g_steal_pointer (&local));
    }
    gw_dial_free (courier.dial);
    gw_carry_clear (&courier.carry);
    gw_control_drain (control, LAST_EVENT_MS);
    return courier.status;
}
