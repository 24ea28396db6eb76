/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-internal.h"

#include <string.h>

#define MEMORY_LEAST (4 * 1024 * 1024)
#define KEPT_CHUNKS 256 /* free blocks */
#define KEPT_PIECES 1024
#define KEPT_SMALLS 64

static const GwState session_states[] = {
    [SESSION_ACTIVE] = { "active", BIT (SESSION_FINISHING) | BIT (SESSION_EXPIRED),
                         GW_STATE_INITIAL },
    /* says BYE once all lanes are closed; ends when each side knows that the other has */
    [SESSION_FINISHING] = { "finishing", BIT (SESSION_OVER) | BIT (SESSION_EXPIRED), 0 },
    [SESSION_OVER] = { "over", 0, GW_STATE_FINAL },
    [SESSION_EXPIRED] = { "expired", 0, GW_STATE_FINAL | GW_STATE_FAILURE },
};
static const GwMachineTable session_table = { "session", session_states,
                                              G_N_ELEMENTS (session_states) };

/* The source mostly sends and the destination mostly receives, so each gets three quarters for
 * that; the rest is at least what each lane needs to go on. */
static void
share_memory (GwSession *session)
{
    gsize bytes = MAX (session->config.memory_bytes, MEMORY_LEAST);
    gsize less = MAX (bytes / 4, MEMORY_LEAST / 2);
    gsize out_bytes = session->config.side == GW_SIDE_SOURCE ? bytes - less : less;
    session->max_out_blocks = (guint) MIN (out_bytes / GW_LINK_RECORD, G_MAXINT);
    session->in_budget = bytes - out_bytes;
}

GwSession *
gw_session_new (const GwSessionConfig *config)
{
    GwSession *session = g_new0 (GwSession, 1);
    session->config = *config;
    session->network_us = GW_SESSION_NETWORK_US;
    gw_machine_init (&session->machine, &session_table, NULL, NULL);
    share_memory (session);
    gw_pool_init (&session->chunks, sizeof (GwChunk) + GW_LINK_RECORD, KEPT_CHUNKS);
    gw_pool_init (&session->pieces, sizeof (GwPiece), KEPT_PIECES);
    gw_pool_init (&session->smalls, sizeof (GwPiece) + SMALL_BLOCK, KEPT_SMALLS);
    g_queue_init (&session->events);
    return session;
}

void
gw_session_free (GwSession *session)
{
    if (session == NULL)
        return;
    while (session->n_lanes > 0)
        gw_lane_free (session, session->lanes[0]);
    g_assert (session->in_bytes == 0 && session->out_blocks == 0 && session->spooled_bytes == 0);
    gw_pool_clear (&session->chunks);
    gw_pool_clear (&session->pieces);
    gw_pool_clear (&session->smalls);
    g_queue_clear_full (&session->events, g_free);
    g_free (session);
}

/* --- events ------------------------------------------------------------------------------------------- */

GwSessionEvent *
gw_session_emit (GwSession *session, GwSessionEventType type)
{
    GwSessionEvent *event = g_new0 (GwSessionEvent, 1);
    event->type = type;
    event->path = -1;
    g_queue_push_tail (&session->events, event);
    return event;
}

gboolean
gw_session_next_event (GwSession *session, GwSessionEvent *ret_event)
{
    g_autofree GwSessionEvent *event = g_queue_pop_head (&session->events);
    if (event == NULL)
        return FALSE;
    *ret_event = *event;
    return TRUE;
}

/* --- notes -------------------------------------------------------------------------------------------- */

void
gw_session_note (GwSession *session, GwNote note)
{
    for (guint i = 0; i < session->n_notes; i++) {
        GwNote *other = &session->notes[i];
        if (other->type != note.type || other->lane != note.lane || other->flags != note.flags)
            continue;
        other->ack = MAX (other->ack, note.ack);
        return;
    }
    if (session->n_notes == NOTES)
        session->has_too_many_notes = TRUE;
    else
        session->notes[session->n_notes++] = note;
}

/* --- the end ------------------------------------------------------------------------------------------ */

void
gw_session_check_bye (GwSession *session)
{
    if (session->machine.state == SESSION_FINISHING && session->n_lanes == 0 &&
        !session->has_said_bye)
        session->must_bye = TRUE;
    gw_session_check_over (session);
}

static void
end_session (GwSession *session)
{
    gw_machine_move (&session->machine, SESSION_OVER);
    gw_session_emit (session, GW_SESSION_OVER)->is_clean = !session->is_unclean &&
                                                           !session->peer_unclean;
}

/* Each knows that the other knows. */
void
gw_session_check_over (GwSession *session)
{
    if (session->machine.state == SESSION_FINISHING && session->n_lanes == 0 &&
        session->peer_seen && session->has_said_seen)
        end_session (session);
}

void
gw_session_finish (GwSession *session)
{
    if (session->machine.state == SESSION_ACTIVE)
        gw_machine_move (&session->machine, SESSION_FINISHING);
    gw_session_check_bye (session);
}

/* --- probes ------------------------------------------------------------------------------------------- */

void
gw_session_probe (GwSession *session, guint within_ms, gint64 now_us)
{
    session->probe_us = now_us;
    session->probe_deadline_us = now_us + within_ms * G_GINT64_CONSTANT (1000);
    session->probe_worst_us = 0;
    for (guint i = 0; i < GW_SESSION_PATHS; i++) {
        session->paths[i].has_answered = FALSE;
        session->paths[i].must_ping = TRUE;
    }
}

void
gw_session_check_probe (GwSession *session, gint64 now_us)
{
    guint n_asked = 0, n_answered = 0;
    if (session->probe_us == 0)
        return;
    for (guint i = 0; i < GW_SESSION_PATHS; i++) {
        n_asked += gw_path_can_send (&session->paths[i]);
        n_answered += gw_path_can_send (&session->paths[i]) && session->paths[i].has_answered;
    }
    gboolean is_late = now_us >= session->probe_deadline_us;
    if (n_answered > 0 && (n_answered == n_asked || is_late))
        gw_session_emit (session, GW_SESSION_PROBED)->duration_us = session->probe_worst_us;
    else if (is_late)
        gw_session_emit (session, GW_SESSION_PROBE_FAILED);
    else
        return;
    session->probe_us = 0;
}

/* --- time --------------------------------------------------------------------------------------------- */

void
gw_session_check_outage (GwSession *session, gint64 now_us)
{
    if (session->outage_us != 0 || gw_path_count (session, -1) > 0)
        return;
    session->outage_us = now_us;
    session->counters.outages++;
    gw_session_emit (session, GW_SESSION_OUTAGE);
}

/* Without a path: how long yet?  When only the peer's word is missing that it has heard our BYE,
 * there is nothing left to lose. */
static gint64
tick_outage (GwSession *session, gint64 now_us)
{
    if (session->outage_us == 0 || gw_machine_is_final (&session->machine))
        return G_MAXINT64;
    gboolean lingers = session->peer_bye && session->has_said_bye && session->n_lanes == 0;
    guint limit_ms = lingers ? LINGER_MS : session->config.deadline_ms;
    if (limit_ms == 0)
        return G_MAXINT64;
    gint64 end_us = session->outage_us + limit_ms * G_GINT64_CONSTANT (1000);
    if (now_us < end_us)
        return end_us;
    if (lingers) {
        end_session (session);
        return G_MAXINT64;
    }
    gw_machine_move (&session->machine, SESSION_EXPIRED);
    GwSessionEvent *event = gw_session_emit (session, GW_SESSION_EXPIRED);
    event->duration_us = now_us - session->outage_us;
    return G_MAXINT64;
}

static gboolean
remind_of_reset (GwSessionLane *lane)
{
    if (!lane->is_reset_by_us)
        return FALSE;
    lane->must_reset = lane->must_reset || lane->is_reset_overdue;
    lane->is_reset_overdue = !lane->must_reset;
    return TRUE;
}

/* Who has forgotten a lane answers OPEN, EOF and RESET once, on any path, and that may have ended at our
 * side only.  So what has no answer for `silence_ms` is said again. */
static gint64
tick_reminders (GwSession *session, gint64 now_us)
{
    gboolean is_out = FALSE;
    if (now_us < session->remind_at_us)
        return session->remind_at_us;
    for (guint i = 0; i < session->n_lanes; i++) {
        is_out = gw_chunk_remind (session, session->lanes[i]) || is_out;
        is_out = remind_of_reset (session->lanes[i]) || is_out;
    }
    session->remind_at_us =
        is_out ? now_us + session->config.silence_ms * G_GINT64_CONSTANT (1000) : 0;
    return is_out ? session->remind_at_us : G_MAXINT64;
}

gint64
gw_session_tick (GwSession *session, gint64 now_us)
{
    gint64 next_us = gw_paths_tick (session, now_us);
    gw_session_check_probe (session, now_us);
    if (session->probe_us != 0)
        next_us = MIN (next_us, session->probe_deadline_us);
    gint64 remind_us = tick_reminders (session, now_us);
    gint64 outage_us = tick_outage (session, now_us);
    return MIN (MIN (next_us, remind_us), outage_us);
}

void
gw_session_set_deadline (GwSession *session, guint deadline_ms)
{
    session->config.deadline_ms = deadline_ms;
}

/* --- figures ------------------------------------------------------------------------------------------ */

static gsize
get_memory (const GwSession *session)
{
    return (gsize) session->out_blocks * GW_LINK_RECORD + session->in_bytes +
           session->spooled_bytes;
}

void
gw_session_note_memory (GwSession *session)
{
    gsize bytes = get_memory (session);
    session->counters.memory_peak_bytes = MAX (session->counters.memory_peak_bytes, bytes);
}

void
gw_session_get_counters (const GwSession *session, GwSessionCounters *ret_counters)
{
    *ret_counters = session->counters;
    ret_counters->memory_bytes = get_memory (session);
}
