/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <errno.h>
#include <inttypes.h>

#define STOCK_TURN_US 500
#define LAST_EVENT_MS 1000 /* for the agent to take the last event */
#define LEAVE_S 60         /* for the other side's lanes to end after ours, at least */
#define PART_MS 3000       /* for the other courier's good-bye, beyond the silence that ends a path */
#define NO_LIMIT G_MAXINT64

enum {
    LIFE_MEETING,  /* no path yet; the dial's limit */
    LIFE_CARRYING, /* until the lanes have ended or the session's deadline passes */
    LIFE_LEAVING,  /* our lanes have ended; until the other side's have; `end_us` */
    /* All ended in order and both know it.  Until the other courier closes; should that be lost with
     * the connection, until `end_us`: by then the other is over too (see LINGER_MS of the session). */
    LIFE_PARTING,
    LIFE_WAITING,  /* the lanes ended, some of them not cleanly; until the agent says quit */
    LIFE_OVER      /* `status` is valid */
};
#define BIT(state) (1u << (state))
static const GwState life_states[] = {
    [LIFE_MEETING] = { "meeting", BIT (LIFE_CARRYING) | BIT (LIFE_OVER), GW_STATE_INITIAL },
    [LIFE_CARRYING] = { "carrying", BIT (LIFE_LEAVING) | BIT (LIFE_OVER), 0 },
    [LIFE_LEAVING] = { "leaving", BIT (LIFE_PARTING) | BIT (LIFE_WAITING) | BIT (LIFE_OVER), 0 },
    [LIFE_PARTING] = { "parting", BIT (LIFE_OVER), 0 },
    [LIFE_WAITING] = { "waiting", BIT (LIFE_OVER), 0 },
    [LIFE_OVER] = { "over", 0, GW_STATE_FINAL },
};
static const GwMachineTable life_table = { "courier", life_states, G_N_ELEMENTS (life_states) };

static void
end (GwCourier *courier, int status)
{
    courier->status = status;
    gw_machine_move (&courier->machine, LIFE_OVER);
}

/* --- events of the session about the whole ---------------------------------------------------------- */

static void
take_outage (GwCourier *courier)
{
    const GwOutage outage = { .at_us = g_get_real_time (), .for_us = -1 };
    if (courier->outages->len < GW_COURIER_OUTAGES)
        g_array_append_val (courier->outages, outage);
    courier->down_us = g_get_monotonic_time ();
    if (!gw_machine_is_final (&courier->machine) && courier->machine.state <= LIFE_LEAVING)
        gw_control_say (courier->control, "outage", NULL);
}

static void
take_resumed (GwCourier *courier, const GwSessionEvent *event)
{
    guint last = courier->outages->len;
    if (last > 0 && g_array_index (courier->outages, GwOutage, last - 1).for_us < 0)
        g_array_index (courier->outages, GwOutage, last - 1).for_us = event->duration_us;
    courier->down_us = 0;
    gw_control_say_format (courier->control,
                           "{\"event\":\"resumed\",\"for_ms\":%" PRId64 ",\"resent_bytes\":%" PRIu64
                           "}",
                           (int64_t) event->duration_us / 1000, event->bytes);
}

static void
take_probe (GwCourier *courier, const GwSessionEvent *event)
{
    if (event->type == GW_SESSION_PROBED)
        gw_control_say_format (courier->control, "{\"event\":\"probe\",\"rtt_us\":%" PRId64 "}",
                               (int64_t) event->duration_us);
    else
        gw_control_say_format (courier->control, "{\"event\":\"probe-failed\",\"within_ms\":%u}",
                               courier->probe_ms);
}

/* The path that all traffic has left is closed; where it went to somebody else is told. */
static void
take_left (GwCourier *courier, int number)
{
    GwCourierPath *path = &courier->paths[number];
    if (path->path == NULL)
        return;
    gw_control_say_of_path (courier->control, "renewed", path->serial, NULL);
    gw_link_path_shut (path->path);
    gw_paths_end (courier, number, "left for another");
}

static void
take_over (GwCourier *courier, const GwSessionEvent *event)
{
    courier->is_unclean = courier->is_unclean || !event->is_clean;
    if (courier->machine.state != LIFE_LEAVING)
        return;
    if (courier->is_unclean) {
        gw_machine_move (&courier->machine, LIFE_WAITING);
        return;
    }
    gw_machine_move (&courier->machine, LIFE_PARTING);
    courier->end_us = gw_deadline_ms (courier->options->silence_ms + PART_MS);
    gw_courier_say_stats (courier); /* the final counters: nobody can ask any more */
    gw_control_say (courier->control, "done", NULL);
    gw_paths_send (courier); /* what the other side still needs to know the same */
    gw_paths_shut (courier);
}

static gboolean
take_expired (GwCourier *courier, GError **error)
{
    if (courier->machine.state > LIFE_LEAVING)
        return TRUE;
    return gw_fail (error, GW_CAUSE_LINK_LOST, "no path to the other courier for %d s",
                    (int) ((g_get_monotonic_time () - courier->down_us) / G_USEC_PER_SEC));
}

static gboolean
take_event (GwCourier *courier, const GwSessionEvent *event, GError **error)
{
    switch (event->type) {
    case GW_SESSION_PATH_DEAD:
        gw_paths_end (courier, event->path, event->text);
        return TRUE;
    case GW_SESSION_PATH_LEFT:
        take_left (courier, event->path);
        return TRUE;
    case GW_SESSION_PATH_WANTED:
        gw_paths_retire (courier, event->path);
        return TRUE;
    case GW_SESSION_OUTAGE:
        take_outage (courier);
        return TRUE;
    case GW_SESSION_RESUMED:
        take_resumed (courier, event);
        return TRUE;
    case GW_SESSION_PROBED:
    case GW_SESSION_PROBE_FAILED:
        take_probe (courier, event);
        return TRUE;
    case GW_SESSION_OVER:
        take_over (courier, event);
        return TRUE;
    case GW_SESSION_EXPIRED:
        return take_expired (courier, error);
    default:
        gw_lanes_take_event (courier, event);
        return TRUE;
    }
}

static gboolean
take_events (GwCourier *courier, GError **error)
{
    GwSessionEvent event;
    while (gw_session_next_event (courier->session, &event))
        if (!take_event (courier, &event, error))
            return FALSE;
    return TRUE;
}

/* --- meeting ------------------------------------------------------------------------------------------ */

/* As many as processors: they work only while the link is what everybody waits for, and the loop hardly does then. */
static guint
count_threads (const GwCourierOptions *options)
{
    gboolean has_codec = FALSE;
    for (guint i = 0; i < options->lanes->len; i++)
        has_codec |= g_array_index (options->lanes, GwLaneOption, i).codec_bytes > 0;
    return has_codec ? CLAMP (g_get_num_processors (), 1, GW_CREW_MAX) : 0;
}

/* The crew can be made neither before the one nor after the other. */
static void
enter_sandbox (GwCourier *courier)
{
    g_autofree char *landlock = gw_sandbox_enter_files ();
    courier->crew = gw_crew_new (count_threads (courier->options));
    g_autofree char *seccomp = gw_sandbox_enter_calls ();
    gw_control_say (courier->control, "sandbox", "seccomp", seccomp, "landlock", landlock, NULL);
}

static void
start_carrying (GwCourier *courier, const char *peer)
{
    gw_machine_move (&courier->machine, LIFE_CARRYING);
    gw_session_set_deadline (courier->session, courier->options->deadline_s * 1000);
    gw_control_say (courier->control, "connected", "peer", peer, NULL);
    if (courier->options->side == GW_SIDE_SOURCE)
        gw_control_say (courier->control, "ready", "detail", "the link is up, the lanes listen",
                        NULL);
    if (courier->wants_probe)
        gw_session_probe (courier->session, courier->probe_ms, g_get_monotonic_time ());
}

static gboolean
turn_dial (GwCourier *courier, GError **error)
{
    GwMet met;
    while (gw_dial_step (courier->dial, &courier->polls, &met)) {
        g_autofree char *peer = g_strdup (met.peer);
        gw_paths_add (courier, &met);
        if (courier->machine.state == LIFE_MEETING)
            start_carrying (courier, peer);
    }
    return gw_dial_check (courier->dial, error);
}

/* --- leaving ------------------------------------------------------------------------------------------- */

static gint64
make_limit (const GwCourier *courier)
{
    guint limit_s = MAX (courier->options->deadline_s, LEAVE_S);
    return courier->options->deadline_s == 0 ? NO_LIMIT : gw_deadline_ms (limit_s * 1000);
}

static gboolean
turn_ends (GwCourier *courier, GError **error)
{
    guint state = courier->machine.state;
    gboolean is_late = g_get_monotonic_time () >= courier->end_us;
    if (state == LIFE_CARRYING && gw_lanes_have_ended (courier) && !gw_courier_awaits_verify (courier)) {
        gw_session_finish (courier->session);
        courier->end_us = make_limit (courier);
        gw_machine_move (&courier->machine, LIFE_LEAVING);
        return TRUE;
    }
    if (state == LIFE_LEAVING && courier->has_peer_left && courier->is_unclean) {
        gw_machine_move (&courier->machine, LIFE_WAITING); /* it has nothing better to tell */
        return TRUE;
    }
    if (state <= LIFE_LEAVING && courier->has_peer_left)
        return gw_fail (error, GW_CAUSE_LINK_LOST,
                        "the other courier left before the lanes had ended");
    if (state == LIFE_LEAVING && is_late)
        return gw_fail (error, GW_CAUSE_LINK_LOST, "the other courier's lanes did not end");
    if (state == LIFE_PARTING && (courier->has_peer_left || is_late))
        end (courier, GW_COURIER_OK);
    return TRUE;
}

/* --- turns ------------------------------------------------------------------------------------------------ */

typedef struct {
    guint control, signal, dialer;
} Places;

static Places
fill (GwCourier *courier, int signal_fd)
{
    GwPolls *polls = &courier->polls;
    gint64 due_us = polls->due_us;
    gw_polls_reset (polls);
    gw_polls_add_due (polls, due_us);
    Places places = { .control = gw_polls_add (polls, gw_control_get_fd (courier->control),
                                               gw_control_get_events (courier->control)),
                      .signal = gw_polls_add (polls, signal_fd, POLLIN),
                      .dialer = gw_polls_add (polls, gw_dialer_get_fd (courier->dialer), POLLIN) };
    gw_polls_add_due (polls, gw_control_get_due_us (courier->control));
    gw_dial_fill (courier->dial, polls);
    gw_paths_fill (courier, polls);
    if (courier->machine.state != LIFE_MEETING)
        gw_lanes_fill (courier, polls);
    courier->crew_place = gw_polls_add (polls, gw_crew_get_fd (courier->crew), POLLIN);
    if (courier->machine.state == LIFE_LEAVING || courier->machine.state == LIFE_PARTING)
        gw_polls_add_due (polls, courier->end_us);
    return places;
}

/* What does not concern the data.  FALSE also for the end by quit. */
static gboolean
turn_rest (GwCourier *courier, const Places *places, GError **error)
{
    const GwPolls *polls = &courier->polls;
    if (gw_polls_get (polls, places->signal) != 0) {
        gw_paths_shut (courier);
        return gw_fail (error, GW_CAUSE_ABORTED, "ended by a signal");
    }
    if (gw_polls_get (polls, places->dialer) != 0 && gw_dialer_has_died (courier->dialer))
        gw_control_say (courier->control, "dialer-lost", "detail",
                        "no further connections can be made", NULL);
    gboolean is_called = gw_polls_get (polls, places->control) != 0;
    if ((is_called && !gw_control_step (courier->control, error)) ||
        !gw_control_check (courier->control, error)) {
        gw_paths_shut (courier);
        return FALSE;
    }
    if (!is_called)
        return TRUE;
    if (!gw_courier_obey (courier)) {
        gw_paths_shut (courier);
        end (courier, GW_COURIER_OK);
    }
    return TRUE;
}

/* The session's time passes last, as it says when to look again. */
static gboolean
turn_session (GwCourier *courier, GError **error)
{
    if (!take_events (courier, error))
        return FALSE;
    gw_lanes_write (courier);
    if (courier->machine.state < LIFE_PARTING)
        (void) gw_session_tick (courier->session, g_get_monotonic_time ()); /* asked again below */
    gw_paths_send (courier);
    gint64 due_us = courier->machine.state < LIFE_PARTING
                        ? gw_session_tick (courier->session, g_get_monotonic_time ())
                        : NO_LIMIT;
    courier->polls.due_us = due_us;
    GwSessionEvent event;
    while (gw_session_next_event (courier->session, &event)) {
        courier->polls.due_us = 0; /* what follows from it is for the next turn */
        if (!take_event (courier, &event, error))
            return FALSE;
    }
    uint64_t activity = gw_paths_get_activity (courier);
    if (activity != courier->activity)
        gw_lanes_have_room (courier);
    courier->activity = activity;
    return TRUE;
}

/* For half of the time at most: QEMU prepares meanwhile, on the other processor if there are two. */
static void
stock_up (GwCourier *courier)
{
    gint64 begin_us = g_get_monotonic_time (), now_us = begin_us;
    if (!courier->polls.is_quiet || begin_us < courier->stock_us)
        return;
    while (now_us - begin_us < STOCK_TURN_US && (courier->is_stocking_up = gw_lanes_stock_up (courier)))
        now_us = g_get_monotonic_time ();
    courier->stock_us = now_us + (now_us - begin_us);
}

static gboolean
turn (GwCourier *courier, int signal_fd, GError **error)
{
    Places places = fill (courier, signal_fd);
    if (courier->is_stocking_up)
        gw_polls_add_due (&courier->polls, courier->stock_us);
    if (!gw_polls_wait (&courier->polls, error) || !turn_rest (courier, &places, error))
        return FALSE;
    if (gw_machine_is_final (&courier->machine))
        return TRUE;
    if (courier->is_stocking_up)
        stock_up (courier);
    if (gw_polls_get (&courier->polls, courier->crew_place) != 0)
        gw_crew_note (courier->crew); /* what is done is looked for in every turn */
    if (courier->machine.state != LIFE_MEETING)
        gw_lanes_read (courier, &courier->polls);
    gw_paths_receive (courier, &courier->polls);
    gw_courier_turn_verify (courier);
    return turn_dial (courier, error) && turn_session (courier, error) &&
           gw_lanes_check (courier, error) && turn_ends (courier, error);
}

/* --- life ------------------------------------------------------------------------------------------------ */

static gboolean
start (GwCourier *courier, GwLinkKey *key, GError **error)
{
    const GwCourierOptions *options = courier->options;
    for (guint i = 0; i < options->lanes->len; i++)
        if (!gw_lanes_add (courier, &g_array_index (options->lanes, GwLaneOption, i), error))
            return FALSE;
    courier->dial = gw_dial_new (options, key, courier->dialer);
    enter_sandbox (courier);
    if (options->side == GW_SIDE_DESTINATION)
        gw_control_say (courier->control, "ready", "detail", "accepting the source", NULL);
    return TRUE;
}

static gboolean
live (GwCourier *courier, GwLinkKey *key, int signal_fd, GError **error)
{
    if (!start (courier, key, error))
        return FALSE;
    while (!gw_machine_is_final (&courier->machine))
        if (!turn (courier, signal_fd, error))
            return FALSE;
    return TRUE;
}

static void
group_free (gpointer data)
{
    GwLaneGroup *group = data;
    gw_lane_option_clear (&group->option);
    gw_fd_clear (&group->listen_fd);
    gw_page_waits_free (group->waits);
    gw_ram_out_free (group->kept);
    g_free (group);
}

static void
lane_free (gpointer data)
{
    gw_courier_lane_free (data);
}

static void
init (GwCourier *courier)
{
    const GwCourierOptions *options = courier->options;
    const GwSessionConfig config = { .side = options->side,
                                     .memory_bytes = (gsize) options->memory_bytes,
                                     .silence_ms = options->silence_ms,
                                     .ping_ms = MIN (250, options->silence_ms / 4),
                                     .renew_bytes = (uint64_t) options->renew_bytes,
                                     .renew_records = GW_LINK_REKEY_RECORDS };
    courier->session = gw_session_new (&config);
    courier->groups = g_ptr_array_new_with_free_func (group_free);
    courier->lanes = g_ptr_array_new_with_free_func (lane_free);
    courier->outages = g_array_new (FALSE, TRUE, sizeof (GwOutage));
    courier->end_us = NO_LIMIT;
    gw_polls_init (&courier->polls);
    gw_machine_init (&courier->machine, &life_table, NULL, NULL);
}

static void
clear (GwCourier *courier)
{
    gw_paths_linger (courier);
    gw_paths_clear (courier);
    gw_dial_free (courier->dial);
    gw_ram_check_free (courier->check);
    g_ptr_array_unref (courier->lanes);
    g_ptr_array_unref (courier->groups);
    gw_crew_free (courier->crew);
    gw_session_free (courier->session);
    g_array_unref (courier->outages);
    gw_polls_clear (&courier->polls);
}

int
gw_courier_run (GwCourierOptions *options, GwLinkKey *key, GwControl *control, GwDialer *dialer,
                int signal_fd, GError **error)
{
    GwCourier courier = { .options = options, .control = control, .dialer = dialer };
    g_autoptr (GError) local = NULL;
    init (&courier);
    if (!live (&courier, key, signal_fd, &local)) {
        GwCause cause = gw_error_get_cause (local);
        if (cause != GW_CAUSE_AGENT_LOST)
            gw_control_say (control, "failed", "cause", gw_cause_get_info (cause)->code, "message",
                            local->message, NULL);
        courier.status = GW_COURIER_FAILED;
        g_propagate_error (error, g_steal_pointer (&local));
    }
    clear (&courier);
    gw_control_drain (control, LAST_EVENT_MS);
    return courier.status;
}
