/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the agent may ask for; godwit-courier(8) has the list. */
#include "courier.h"

#define PROBE_MS 1000
#define DEADLINE_MAX_S (24 * 3600)
#define LEASE_MAX_S (7 * 24 * 3600)

static gboolean
set_deadline (GwCourier *courier, JsonObject *line, GError **error)
{
    gint64 seconds = gw_control_get_number (line, "seconds", -1);
    if (seconds < 0 || seconds > DEADLINE_MAX_S)
        return gw_fail (error, GW_CAUSE_USAGE, "\"seconds\" is not from 0 to %d", DEADLINE_MAX_S);
    courier->options->deadline_s = (guint) seconds;
    gw_session_set_deadline (courier->session, (guint) seconds * 1000);
    return TRUE;
}

/* The socket at which the next agent comes is passed beside the line, once. */
static gboolean
set_lease (GwCourier *courier, JsonObject *line, GError **error)
{
    gint64 seconds = gw_control_get_number (line, "seconds", -1);
    g_auto (GwFd) fd = gw_control_steal_fd (courier->control);
    if (seconds < 0 || seconds > LEASE_MAX_S)
        return gw_fail (error, GW_CAUSE_USAGE, "\"seconds\" is not from 0 to %d", LEASE_MAX_S);
    if (!gw_control_set_lease (courier->control, gw_fd_steal (&fd), (guint) seconds))
        return gw_fail (error, GW_CAUSE_USAGE, "no socket came with the line, or with one before");
    gw_control_say_format (courier->control, "{\"event\":\"leased\",\"seconds\":%" G_GINT64_FORMAT "}", seconds);
    return TRUE;
}

static gboolean
start_spool (GwCourier *courier, JsonObject *line, GError **error)
{
    gint64 bytes = gw_control_get_number (line, "bytes", courier->options->spool_bytes);
    if (bytes < 0 || bytes > courier->options->spool_bytes)
        return gw_fail (error, GW_CAUSE_USAGE, "\"bytes\" is more than --spool allows");
    gw_lanes_set_spool (courier, (gsize) bytes);
    gw_control_say_format (courier->control,
                           "{\"event\":\"spooling\",\"bytes\":%" G_GINT64_FORMAT "}", bytes);
    return TRUE;
}

static gboolean
start_probe (GwCourier *courier, JsonObject *line, GError **error)
{
    courier->probe_ms = (guint) CLAMP (gw_control_get_number (line, "within_ms", PROBE_MS), 1, 60000);
    courier->wants_probe = TRUE; /* for when the first path comes up */
    if (gw_paths_count (courier) > 0 || courier->down_us != 0)
        gw_session_probe (courier->session, courier->probe_ms, g_get_monotonic_time ());
    return TRUE;
}

static gboolean
add_lane (GwCourier *courier, JsonObject *line, GError **error)
{
    GwLaneOption option;
    const char *spec = gw_control_get_text (line, "spec");
    if (spec == NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "\"spec\" is missing");
    if (!gw_lane_option_parse (&option, spec, courier->options->side, error))
        return FALSE;
    gboolean ok = gw_lanes_add (courier, &option, error);
    gw_lane_option_clear (&option);
    return ok;
}

static gboolean
set_class (GwCourier *courier, JsonObject *line, GError **error)
{
    const char *name = gw_control_get_text (line, "lane");
    const char *class_name = gw_control_get_text (line, "class");
    GwLinkClass class = class_name != NULL ? gw_link_class_from_name (class_name) : GW_N_CLASSES;
    if (class == GW_N_CLASSES || class == GW_CLASS_CONTROL)
        return gw_fail (error, GW_CAUSE_USAGE, "\"class\" is no class of a lane");
    GwLane *lane = name != NULL ? gw_lanes_find (courier, name) : NULL;
    if (lane == NULL || lane->carried == NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "no lane '%s' is open", name != NULL ? name : "");
    gw_session_lane_set_class (courier->session, lane->carried, class);
    return TRUE;
}

static gboolean
add_path (GwCourier *courier, JsonObject *line, GError **error)
{
    const char *address = gw_control_get_text (line, "address");
    if (address == NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "\"address\" is missing");
    return gw_dial_add_address (courier->dial, address, error);
}

static gboolean
remove_path (GwCourier *courier, JsonObject *line, GError **error)
{
    int number;
    const char *address = gw_control_get_text (line, "address");
    if (address == NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "\"address\" is missing");
    if (!gw_dial_remove_address (courier->dial, address, &number, error))
        return FALSE;
    gw_paths_leave (courier, number);
    return TRUE;
}

static gboolean
say_stats (GwCourier *courier, JsonObject *line, GError **error)
{
    gw_courier_say_stats (courier);
    return TRUE;
}

typedef gboolean (*Handler) (GwCourier *courier, JsonObject *line, GError **error);

static const struct {
    const char *name;
    Handler run;
    gboolean has_answer; /* of its own; otherwise "ok" */
} handlers[] = {
    [GW_COMMAND_STATS] = { "stats", say_stats, TRUE },
    [GW_COMMAND_PROBE] = { "probe", start_probe, TRUE },
    [GW_COMMAND_SPOOL] = { "spool", start_spool, TRUE },
    [GW_COMMAND_DEADLINE] = { "deadline", set_deadline, FALSE },
    [GW_COMMAND_LEASE] = { "lease", set_lease, TRUE },
    [GW_COMMAND_LANE] = { "lane", add_lane, FALSE },
    [GW_COMMAND_CLASS] = { "class", set_class, FALSE },
    [GW_COMMAND_VERIFY] = { "verify", gw_courier_verify, TRUE },
    [GW_COMMAND_PATH_ADD] = { "path-add", add_path, FALSE },
    [GW_COMMAND_PATH_REMOVE] = { "path-remove", remove_path, FALSE },
};

gboolean
gw_courier_obey (GwCourier *courier)
{
    JsonObject *next;
    GwCommand command;
    while ((command = gw_control_next (courier->control, &next)) != GW_COMMAND_NONE) {
        g_autoptr (JsonObject) line = next;
        g_autoptr (GError) error = NULL;
        if (command == GW_COMMAND_QUIT)
            return FALSE;
        g_assert (command < G_N_ELEMENTS (handlers));
        if (!handlers[command].run (courier, line, &error))
            gw_control_say (courier->control, "refused", "command", handlers[command].name,
                            "message", error->message, NULL);
        else if (!handlers[command].has_answer)
            gw_control_say (courier->control, "ok", "command", handlers[command].name, NULL);
    }
    return TRUE;
}
