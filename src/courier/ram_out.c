/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ramlane.h"

#define SPARE_TASKS 4u /* under way beyond two a thread */

/* A group that has left. */
typedef struct {
    uint64_t wire;  /* bytes of the link up to its end */
    uint64_t input; /* bytes of the program that are there with it */
} Mark;

struct _GwRamOut {
    GwCrew *crew; /* borrowed */
    GwRamEncoder *encoder;
    GwRamLevels levels;
    uint8_t *room;      /* GW_RAM_OUT_ROOM */
    GQueue tasks;       /* GwCrewTask, in order */
    gsize at;           /* bytes of the first one that have left */
    gint64 open_us;     /* since when the open group is */
    GArray *marks;      /* Mark, in order; the first n_arrived are of no more use */
    guint n_arrived;
    uint64_t input;     /* bytes pushed */
    uint64_t acked;     /* the last mark that arrived */
    uint64_t plain, wire, groups, packed_groups;
};

GwRamOut *
gw_ram_out_new (GwCrew *crew, const GwRamParams *params)
{
    GwRamOut *out = g_new0 (GwRamOut, 1);
    out->crew = crew;
    out->encoder = gw_ram_encoder_new (params);
    out->room = g_malloc (GW_RAM_OUT_ROOM);
    out->marks = g_array_new (FALSE, FALSE, sizeof (Mark));
    g_queue_init (&out->tasks);
    return out;
}

void
gw_ram_out_free (GwRamOut *out)
{
    GwCrewTask *task;
    if (out == NULL)
        return;
    while ((task = g_queue_pop_head (&out->tasks)) != NULL)
        gw_crew_task_free (out->crew, task);
    gw_ram_encoder_free (out->encoder);
    g_array_unref (out->marks);
    g_free (out->room);
    g_free (out);
}

/* --- groups ------------------------------------------------------------------------------------------ */

/* Each new group on its way to be packed. */
static void
hand_in (GwRamOut *out, const GwRamOutLink *link)
{
    GwRamGroup *group;
    double cores = MAX (1u, gw_crew_get_n_threads (out->crew));
    while ((group = gw_ram_encoder_take (out->encoder)) != NULL) {
        GwCrewTask *task = gw_crew_task_new (group);
        task->is_packing = TRUE;
        task->mark = out->input;
        task->level = link->is_busy ? gw_ram_levels_choose (&out->levels, link->rate, cores)
                                    : GW_RAM_LEVEL_NONE;
        g_queue_push_tail (&out->tasks, task);
        if (task->level != GW_RAM_LEVEL_NONE)
            gw_crew_submit (out->crew, task);
        else
            task->state = GW_CREW_DONE; /* nobody else knows it yet */
    }
}

static void
count_group (GwRamOut *out, const GwCrewTask *task)
{
    gsize len;
    (void) gw_ram_group_get_bytes (task->group, &len);
    gw_ram_levels_note (&out->levels, task->level, task->plain, len, task->took_us);
    out->plain += task->plain;
    out->wire += len;
    out->groups++;
    out->packed_groups += gw_ram_group_is_packed (task->group);
    const Mark mark = { out->wire, task->mark };
    g_array_append_val (out->marks, mark);
}

uint8_t *
gw_ram_out_get_room (GwRamOut *out)
{
    guint most = 2 * gw_crew_get_n_threads (out->crew) + SPARE_TASKS;
    return out->tasks.length < most ? out->room : NULL;
}

void
gw_ram_out_push (GwRamOut *out, gsize len, const GwRamOutLink *link, gint64 now_us)
{
    gw_ram_encoder_push (out->encoder, out->room, len);
    out->input += len;
    hand_in (out, link);
    (void) gw_ram_out_tick (out, link, now_us); /* asked again before anybody waits */
}

void
gw_ram_out_finish (GwRamOut *out, const GwRamOutLink *link)
{
    gw_ram_encoder_finish (out->encoder);
    hand_in (out, link);
}

gint64
gw_ram_out_tick (GwRamOut *out, const GwRamOutLink *link, gint64 now_us)
{
    GwRamUrgency urgency;
    if (!gw_ram_encoder_get_waiting (out->encoder, &urgency)) {
        out->open_us = 0;
        return G_MAXINT64;
    }
    if (out->open_us == 0)
        out->open_us = now_us;
    if (urgency == GW_RAM_BULK && now_us - out->open_us < GW_RAM_OUT_WAIT_US)
        return out->open_us + GW_RAM_OUT_WAIT_US;
    out->open_us = 0;
    gw_ram_encoder_flush (out->encoder);
    hand_in (out, link);
    return G_MAXINT64;
}

/* --- what leaves ------------------------------------------------------------------------------------- */

const uint8_t *
gw_ram_out_peek (GwRamOut *out, gsize *ret_len)
{
    GwCrewTask *task = g_queue_peek_head (&out->tasks);
    *ret_len = 0;
    if (task == NULL || !gw_crew_task_is_done (task))
        return NULL;
    const uint8_t *bytes = gw_ram_group_get_bytes (task->group, ret_len);
    *ret_len -= out->at;
    return bytes + out->at;
}

void
gw_ram_out_consume (GwRamOut *out, gsize len)
{
    GwCrewTask *task = g_queue_peek_head (&out->tasks);
    gsize whole;
    if (len == 0)
        return;
    (void) gw_ram_group_get_bytes (task->group, &whole);
    out->at += len;
    g_assert (out->at <= whole);
    if (out->at < whole)
        return;
    count_group (out, task);
    out->at = 0;
    gw_crew_task_free (out->crew, g_queue_pop_head (&out->tasks));
}

gboolean
gw_ram_out_is_empty (const GwRamOut *out)
{
    GwRamUrgency urgency;
    return out->tasks.length == 0 && !gw_ram_encoder_get_waiting (out->encoder, &urgency);
}

/* --- figures ------------------------------------------------------------------------------------------ */

void
gw_ram_out_note_acked (GwRamOut *out, uint64_t wire)
{
    while (out->n_arrived < out->marks->len) {
        const Mark *mark = &g_array_index (out->marks, Mark, out->n_arrived);
        if (mark->wire > wire)
            break;
        out->acked = mark->input;
        out->n_arrived++;
    }
    if (out->n_arrived == out->marks->len && gw_ram_out_is_empty (out))
        out->acked = out->input; /* what was left out since has nothing to wait for */
    if (out->n_arrived * 2 > out->marks->len) {
        g_array_remove_range (out->marks, 0, out->n_arrived);
        out->n_arrived = 0;
    }
}

void
gw_ram_out_get_counters (const GwRamOut *out, GwRamOutCounters *ret)
{
    *ret = (GwRamOutCounters){ .plain = out->plain, .wire = out->wire, .groups = out->groups,
                               .packed_groups = out->packed_groups, .acked_input = out->acked };
    gw_ram_encoder_get_counters (out->encoder, &ret->encoder);
    if (out->plain > 0 && ret->encoder.again_input > 0)
        ret->again_permille = 1 + (uint64_t) ((double) gw_ram_encoder_estimate (out->encoder, 1000) *
                                         (double) out->wire / (double) out->plain);
}

GwRamVerdict
gw_ram_out_check (const GwRamOut *out, const char *block, uint64_t offset, const uint8_t *page)
{
    return gw_ram_encoder_check (out->encoder, block, offset, page);
}

const GError *
gw_ram_out_get_fault (const GwRamOut *out)
{
    return gw_ram_encoder_get_fault (out->encoder);
}
