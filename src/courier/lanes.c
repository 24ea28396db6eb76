/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "courier.h"

#include <string.h>
#include <sys/socket.h>

static GwLaneGroup *
find_group (const GwCourier *courier, const char *name)
{
    for (guint i = 0; i < courier->groups->len; i++) {
        GwLaneGroup *group = g_ptr_array_index (courier->groups, i);
        if (strcmp (group->option.name, name) == 0)
            return group;
    }
    return NULL;
}

gboolean
gw_lanes_check (const GwCourier *courier, GError **error)
{
    for (guint i = 0; i < courier->lanes->len; i++) {
        const GwLane *lane = g_ptr_array_index (courier->lanes, i);
        if (lane->failure != NULL) {
            g_propagate_error (error, g_error_copy (lane->failure));
            return FALSE;
        }
    }
    return TRUE;
}

GwLane *
gw_lanes_find (const GwCourier *courier, const char *name)
{
    for (guint i = 0; i < courier->lanes->len; i++) {
        GwLane *lane = g_ptr_array_index (courier->lanes, i);
        if (strcmp (lane->group->option.name, name) == 0)
            return lane;
    }
    return NULL;
}

gboolean
gw_lanes_add (GwCourier *courier, const GwLaneOption *option, GError **error)
{
    g_autofree char *target = gw_lane_option_target (option);
    GwFd listen_fd = -1;
    if (find_group (courier, option->name) != NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "lane '%s' is given twice", option->name);
    if (courier->groups->len >= GW_SESSION_LANES)
        return gw_fail (error, GW_CAUSE_USAGE, "more than %d lanes", GW_SESSION_LANES);
    if (option->accepts) {
        listen_fd = gw_dialer_open (courier->dialer, target, error);
        if (listen_fd < 0) {
            g_prefix_error (error, "lane '%s': cannot listen at '%s': ", option->name, option->path);
            return FALSE;
        }
    }
    GwLaneGroup *group = g_new0 (GwLaneGroup, 1);
    group->option = *option;
    group->option.name = g_strdup (option->name);
    group->option.path = g_strdup (option->path);
    group->listen_fd = listen_fd;
    if (!option->accepts && strcmp (option->name, "ram") == 0)
        group->waits = gw_page_waits_new ();
    g_ptr_array_add (courier->groups, group);
    return TRUE;
}

/* --- opening ------------------------------------------------------------------------------------------ */

static void
say_failed (GwCourier *courier, const char *name, const char *message)
{
    gw_control_say (courier->control, "lane-failed", "lane", name, "message", message, NULL);
}

static void
start (GwCourier *courier, GwLane *lane, int fd, GwSessionLane *carried)
{
    gw_courier_lane_start (lane, fd, carried);
    courier->is_stocking_up = TRUE;
    if (courier->spool_bytes > 0 && lane->group->option.accepts)
        gw_session_spool (courier->session, carried, courier->spool_bytes);
}

static void
accept_one (GwCourier *courier, GwLaneGroup *group)
{
    g_auto (GwFd) fd = accept4 (group->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return; /* who waited has gone; poll() tells when to look again */
    GwLane *lane = gw_courier_lane_new (group, courier->session, courier->control, courier->crew);
    GwSessionLane *carried = gw_session_open (courier->session, group->option.name,
                                              gw_courier_lane_get_class (lane), lane);
    if (carried == NULL) {
        say_failed (courier, group->option.name, "too many lanes are open");
        gw_courier_lane_free (lane);
        return;
    }
    g_ptr_array_add (courier->lanes, lane);
    start (courier, lane, gw_fd_steal (&fd), carried);
}

/* The peer's program connected: ours is called.  -1 when it does not answer. */
static int
call_program (GwCourier *courier, const GwLaneGroup *group)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *target = gw_lane_option_target (&group->option);
    int fd = gw_dialer_open (courier->dialer, target, &error);
    if (fd < 0) {
        g_prefix_error (&error, "lane '%s': cannot connect to '%s': ", group->option.name,
                        group->option.path);
        say_failed (courier, group->option.name, error->message);
    }
    return fd;
}

static void
take_offer (GwCourier *courier, GwSessionLane *carried)
{
    GwLaneGroup *group = find_group (courier, gw_session_lane_name (carried));
    if (group == NULL || group->option.accepts) {
        gw_session_reset (courier->session, carried, "there is no such lane");
        return;
    }
    GwLane *lane = gw_courier_lane_new (group, courier->session, courier->control, courier->crew);
    int fd = call_program (courier, group);
    if (fd >= 0) {
        g_ptr_array_add (courier->lanes, lane);
        gw_session_accept (courier->session, carried, gw_courier_lane_get_class (lane), lane);
        start (courier, lane, fd, carried);
        return;
    }
    gw_session_reset (courier->session, carried, "the local program does not accept connections");
    gw_courier_lane_break (lane);
    gw_courier_lane_free (lane);
    courier->is_unclean = TRUE;
}

/* --- turns ----------------------------------------------------------------------------------------------- */

void
gw_lanes_fill (GwCourier *courier, GwPolls *polls)
{
    for (guint i = 0; i < courier->groups->len; i++) {
        GwLaneGroup *group = g_ptr_array_index (courier->groups, i);
        group->place = gw_polls_add (polls, group->listen_fd, POLLIN);
    }
    for (guint i = 0; i < courier->lanes->len; i++)
        gw_courier_lane_fill (g_ptr_array_index (courier->lanes, i), polls);
}

void
gw_lanes_read (GwCourier *courier, const GwPolls *polls)
{
    /* those that accept_one() adds have no place yet */
    for (guint i = 0, n = courier->lanes->len; i < n; i++) {
        GwLane *lane = g_ptr_array_index (courier->lanes, i);
        short events = gw_polls_get (polls, lane->place);
        if (events != 0)
            gw_courier_lane_read (lane, events);
    }
    for (guint i = 0; i < courier->groups->len; i++) {
        GwLaneGroup *group = g_ptr_array_index (courier->groups, i);
        if (group->listen_fd >= 0 && (gw_polls_get (polls, group->place) & POLLIN) != 0)
            accept_one (courier, group);
    }
}

void
gw_lanes_write (GwCourier *courier)
{
    for (guint i = 0; i < courier->lanes->len; i++)
        gw_courier_lane_write (g_ptr_array_index (courier->lanes, i));
}

/* --- events of the session ---------------------------------------------------------------------------- */

static void
add_counters (GwLane *lane)
{
    GwLaneCounters counters;
    GwLaneGroup *group = lane->group;
    gw_session_lane_get_counters (lane->carried, &counters);
    group->out_bytes += counters.out_bytes;
    group->in_bytes += lane->in_bytes;
    group->plain_bytes += lane->plain_bytes;
    gw_courier_lane_add_codec (lane, &group->codec);
    group->resent_bytes += counters.resent_bytes;
    group->duplicate_bytes += counters.duplicate_bytes;
}

/* Both directions have ended for the session; what is left here ends with them. */
static void
take_over (GwCourier *courier, GwSessionLane *carried)
{
    GwLane *lane = gw_session_lane_data (carried);
    if (lane != NULL) {
        gw_courier_lane_write (lane);
        if (lane->failure != NULL)
            return; /* found by gw_lanes_check() */
        gw_courier_lane_break (lane); /* nothing, when both directions have ended in order */
        courier->is_unclean = courier->is_unclean || !gw_courier_lane_is_clean (lane);
        add_counters (lane);
        if (lane->group->option.is_verified && lane->index == 0)
            lane->group->kept = g_steal_pointer (&lane->ram_out);
        (void) g_ptr_array_remove (courier->lanes, lane); /* and frees it */
    }
    gw_session_close (courier->session, carried);
}

void
gw_lanes_take_event (GwCourier *courier, const GwSessionEvent *event)
{
    GwLane *lane = NULL;
    if (event->type != GW_SESSION_LANE_OFFERED)
        lane = gw_session_lane_data (event->lane);
    switch (event->type) {
    case GW_SESSION_LANE_OFFERED:
        take_offer (courier, event->lane);
        break;
    case GW_SESSION_LANE_STOPPED:
        if (lane != NULL)
            gw_courier_lane_stop (lane);
        break;
    case GW_SESSION_LANE_RESET:
        if (lane == NULL)
            break;
        gw_courier_lane_write (lane); /* a last chance for what arrived before the reset */
        gw_courier_lane_break (lane);
        break;
    case GW_SESSION_LANE_OVER:
        take_over (courier, event->lane);
        break;
    default: /* an accepted lane: its bytes flow by themselves */
        break;
    }
}

gboolean
gw_lanes_stock_up (GwCourier *courier)
{
    for (guint i = 0; i < courier->lanes->len; i++)
        if (gw_courier_lane_stock_up (g_ptr_array_index (courier->lanes, i)))
            return TRUE;
    return FALSE;
}

void
gw_lanes_have_room (GwCourier *courier)
{
    for (guint i = 0; i < courier->lanes->len; i++)
        ((GwLane *) g_ptr_array_index (courier->lanes, i))->is_full = FALSE;
}

/* --- the whole ------------------------------------------------------------------------------------------ */

gboolean
gw_lanes_have_ended (const GwCourier *courier)
{
    for (guint i = 0; i < courier->groups->len; i++) {
        const GwLaneGroup *group = g_ptr_array_index (courier->groups, i);
        if (group->n_opened == 0)
            return FALSE;
    }
    for (guint i = 0; i < courier->lanes->len; i++) {
        const GwLane *lane = g_ptr_array_index (courier->lanes, i);
        if (!gw_courier_lane_has_ended (lane))
            return FALSE;
    }
    return TRUE;
}

void
gw_lanes_set_spool (GwCourier *courier, gsize bytes)
{
    courier->spool_bytes = bytes;
    for (guint i = 0; i < courier->lanes->len; i++) {
        GwLane *lane = g_ptr_array_index (courier->lanes, i);
        if (lane->carried != NULL && lane->out.state == GW_LANE_OPEN)
            gw_session_spool (courier->session, lane->carried, bytes);
    }
    gw_lanes_have_room (courier);
}
