/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The event "stats"; godwit-courier(8) names its members. */
#include "courier.h"

static void
set_number (JsonBuilder *builder, const char *key, uint64_t value)
{
    json_builder_set_member_name (builder, key);
    json_builder_add_int_value (builder, (gint64) value);
}

static void
set_text (JsonBuilder *builder, const char *key, const char *value)
{
    json_builder_set_member_name (builder, key);
    json_builder_add_string_value (builder, value);
}

/* --- lanes -------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t out_bytes, in_bytes, resent_bytes, duplicate_bytes, plain_bytes;
    uint64_t unsent_bytes, unacked_bytes, waiting_bytes;
    GwRamOutCounters codec;
    guint n_open;
} Sum;

/* What waits here: not yet encrypted, or not yet taken by the program. */
static uint64_t
get_queued (const Sum *sum)
{
    return sum->unsent_bytes + sum->waiting_bytes;
}

static Sum
add_up (const GwCourier *courier, const GwLaneGroup *group)
{
    Sum sum = { .out_bytes = group->out_bytes, .in_bytes = group->in_bytes,
                .resent_bytes = group->resent_bytes, .duplicate_bytes = group->duplicate_bytes,
                .plain_bytes = group->plain_bytes, .codec = group->codec };
    for (guint i = 0; i < courier->lanes->len; i++) {
        GwLane *lane = g_ptr_array_index (courier->lanes, i);
        GwLaneCounters counters;
        if (lane->group != group)
            continue;
        gw_session_lane_get_counters (lane->carried, &counters);
        sum.out_bytes += counters.out_bytes;
        sum.in_bytes += lane->in_bytes;
        sum.plain_bytes += lane->plain_bytes;
        sum.resent_bytes += counters.resent_bytes;
        sum.duplicate_bytes += counters.duplicate_bytes;
        sum.unsent_bytes += counters.unsent_bytes;
        sum.unacked_bytes += counters.unacked_bytes;
        sum.waiting_bytes += counters.waiting_bytes;
        gw_courier_lane_add_codec (lane, &sum.codec);
        sum.n_open++;
    }
    return sum;
}

static void
add_waits (JsonBuilder *builder, const GwPageWaits *waits)
{
    GwPageWaitCounters counters;
    gw_page_waits_get_counters (waits, &counters);
    json_builder_set_member_name (builder, "page_waits");
    json_builder_begin_object (builder);
    set_number (builder, "requests", counters.requests);
    set_number (builder, "answered", counters.answered);
    set_number (builder, "mean_us", (uint64_t) counters.sum_us / MAX (counters.answered, 1));
    set_number (builder, "p50_us", (uint64_t) counters.p50_us);
    set_number (builder, "p99_us", (uint64_t) counters.p99_us);
    set_number (builder, "max_us", (uint64_t) counters.max_us);
    json_builder_end_object (builder);
}

static void
add_class (JsonBuilder *builder, const char *name, const GwRamGain *gain)
{
    json_builder_set_member_name (builder, name);
    json_builder_begin_object (builder);
    set_number (builder, "pages", gain->pages);
    set_number (builder, "in_bytes", gain->input);
    set_number (builder, "out_bytes", gain->output);
    json_builder_end_object (builder);
}

static void
add_codec (JsonBuilder *builder, const GwRamOutCounters *codec)
{
    json_builder_set_member_name (builder, "codec");
    json_builder_begin_object (builder);
    set_number (builder, "in_bytes", codec->encoder.input);
    set_number (builder, "acked_in_bytes", codec->acked_input);
    set_number (builder, "plain_bytes", codec->plain);
    set_number (builder, "out_bytes", codec->wire);
    set_number (builder, "groups", codec->groups);
    set_number (builder, "packed_groups", codec->packed_groups);
    set_number (builder, "light_pages", codec->encoder.light);
    set_number (builder, "memory_bytes", codec->encoder.index_bytes + codec->encoder.cache_bytes);
    json_builder_set_member_name (builder, "classes");
    json_builder_begin_object (builder);
    for (guint i = 0; i < GW_RAM_N_CLASSES; i++)
        add_class (builder, gw_ram_class_name ((GwRamClass) i), &codec->encoder.classes[i]);
    json_builder_end_object (builder);
    json_builder_end_object (builder);
}

/* Returns the bytes that wait. */
static uint64_t
add_lanes (JsonBuilder *builder, const GwCourier *courier)
{
    uint64_t queued = 0;
    json_builder_set_member_name (builder, "lanes");
    json_builder_begin_object (builder);
    for (guint i = 0; i < courier->groups->len; i++) {
        const GwLaneGroup *group = g_ptr_array_index (courier->groups, i);
        Sum sum = add_up (courier, group);
        json_builder_set_member_name (builder, group->option.name);
        json_builder_begin_object (builder);
        set_number (builder, "out_bytes", sum.out_bytes);
        set_number (builder, "in_bytes", sum.in_bytes);
        if (group->option.is_packed)
            set_number (builder, "plain_bytes", sum.plain_bytes);
        set_number (builder, "resent_bytes", sum.resent_bytes);
        set_number (builder, "duplicate_bytes", sum.duplicate_bytes);
        set_number (builder, "unsent_bytes", sum.unsent_bytes);
        set_number (builder, "unacked_bytes", sum.unacked_bytes);
        set_number (builder, "waiting_bytes", sum.waiting_bytes);
        set_number (builder, "opened", group->n_opened);
        set_number (builder, "open", sum.n_open);
        if (group->option.codec_bytes > 0 && group->option.accepts)
            add_codec (builder, &sum.codec);
        if (group->waits != NULL)
            add_waits (builder, group->waits);
        json_builder_end_object (builder);
        queued += get_queued (&sum);
    }
    json_builder_end_object (builder);
    return queued;
}

/* --- paths --------------------------------------------------------------------------------------------- */

static void
add_path (JsonBuilder *builder, const GwCourier *courier, int number)
{
    const GwCourierPath *path = &courier->paths[number];
    GwPathCounters counters = { 0 };
    (void) gw_session_path_get_counters (courier->session, number, &counters); /* it is up */
    gint64 clocks_us = path->peer_wall_clock_us - gw_dial_get_wall_clock_us (courier->dial);
    json_builder_begin_object (builder);
    set_number (builder, "path", path->serial);
    set_text (builder, "peer", path->peer);
    set_text (builder, "local", path->local);
    set_number (builder, "up_ms", (uint64_t) (g_get_monotonic_time () - path->up_us) / 1000);
    set_number (builder, "out_bytes", counters.out_bytes);
    set_number (builder, "in_bytes", counters.in_bytes);
    set_number (builder, "rtt_us", counters.rtt_us);
    set_number (builder, "min_rtt_us", counters.min_rtt_us);
    set_number (builder, "p50_rtt_us", counters.p50_rtt_us);
    set_number (builder, "p99_rtt_us", counters.p99_rtt_us);
    set_number (builder, "rate_bps", counters.rate);
    set_number (builder, "flight_bytes", counters.flight_bytes);
    set_number (builder, "clock_offset_us", (uint64_t) (counters.clock_offset_us + clocks_us));
    set_number (builder, "clock_error_us", (uint64_t) counters.clock_error_us);
    json_builder_end_object (builder);
}

static void
add_paths (JsonBuilder *builder, const GwCourier *courier)
{
    json_builder_set_member_name (builder, "paths");
    json_builder_begin_array (builder);
    for (int i = 0; i < GW_SESSION_PATHS; i++)
        if (courier->paths[i].path != NULL)
            add_path (builder, courier, i);
    json_builder_end_array (builder);
}

/* Sums over all paths there were, and the shortest round trip of those that are. */
static void
add_wire (JsonBuilder *builder, const GwCourier *courier, uint64_t queued)
{
    uint64_t out = courier->wire_out_bytes, in = courier->wire_in_bytes;
    guint rtt_us = 0;
    for (guint i = 0; i < GW_SESSION_PATHS; i++) {
        if (courier->paths[i].path == NULL)
            continue;
        const GwLinkTls *tls = gw_link_path_get_tls (courier->paths[i].path);
        out += gw_link_tls_get_counters (tls)->out_bytes;
        in += gw_link_tls_get_counters (tls)->in_bytes;
        queued += gw_link_tls_get_queued (tls);
        guint one_us = gw_link_tls_get_rtt_us (tls);
        rtt_us = rtt_us == 0 ? one_us : MIN (rtt_us, one_us);
    }
    set_number (builder, "wire_out_bytes", out);
    set_number (builder, "wire_in_bytes", in);
    set_number (builder, "queued_bytes", queued);
    set_number (builder, "rtt_us", rtt_us);
}

/* --- the whole ------------------------------------------------------------------------------------------ */

static void
add_outages (JsonBuilder *builder, const GwCourier *courier)
{
    json_builder_set_member_name (builder, "outages");
    json_builder_begin_array (builder);
    for (guint i = 0; i < courier->outages->len; i++) {
        const GwOutage *outage = &g_array_index (courier->outages, GwOutage, i);
        gint64 for_us = outage->for_us >= 0 ? outage->for_us : g_get_real_time () - outage->at_us;
        json_builder_begin_object (builder);
        set_number (builder, "at_ms", (uint64_t) outage->at_us / 1000);
        set_number (builder, "for_ms", (uint64_t) for_us / 1000);
        json_builder_end_object (builder);
    }
    json_builder_end_array (builder);
}

static void
add_session (JsonBuilder *builder, const GwCourier *courier)
{
    GwSessionCounters counters;
    gw_session_get_counters (courier->session, &counters);
    set_number (builder, "rekeys", counters.renewals);
    set_number (builder, "renewals", counters.renewals);
    set_number (builder, "resent_bytes", counters.resent_bytes);
    set_number (builder, "paths_seen", counters.paths);
    set_number (builder, "outage_count", counters.outages);
    set_number (builder, "outage_ms", counters.outage_us / 1000);
    set_number (builder, "down_ms",
                courier->down_us == 0
                    ? 0
                    : (uint64_t) (g_get_monotonic_time () - courier->down_us) / 1000);
    set_number (builder, "memory_bytes", counters.memory_bytes);
    set_number (builder, "memory_peak_bytes", counters.memory_peak_bytes);
    set_number (builder, "refused_hellos", gw_dial_get_refused (courier->dial));
    set_number (builder, "dropped_connections", gw_dial_get_dropped (courier->dial));
}

void
gw_courier_say_stats (GwCourier *courier)
{
    g_autoptr (JsonBuilder) builder = json_builder_new ();
    json_builder_begin_object (builder);
    set_text (builder, "event", "stats");
    uint64_t queued = add_lanes (builder, courier);
    add_wire (builder, courier, queued);
    add_session (builder, courier);
    add_paths (builder, courier);
    add_outages (builder, courier);
    json_builder_end_object (builder);
    g_autoptr (JsonNode) root = json_builder_get_root (builder);
    g_autofree char *json = json_to_string (root, FALSE);
    gw_control_say_json (courier->control, json);
}
