/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ramlane.h"

#define SPARE_TASKS 4u      /* under way beyond two a thread */
#define HELD_TASKS 64u      /* ... while they are held back */
#define CHAINED_TASKS 1u      /* one thread does them, and finds the next one there */
#define READY_SECONDS 0.003 /* of the link, waiting for it beside what the session has */
#define PACK_EASY ((uint64_t) 16 << 20)   /* bytes of pages that nobody waited for, before they go as they are, */
#define LIGHT_LEAST ((uint64_t) 24 << 20) /* before pages are light, */
#define LIGHT_MOST ((uint64_t) 4 << 30)   /* and after that has turned out wrong again and again */
#define LIGHT_RATE 180e6     /* of a link, when first asked: the encoder takes a core that others need, */
#define LIGHT_MEASURED 140e6 /* and over a while */
#define RATE_US 100000       /* ... of which this much in which the link is waited for */

/* A group that has left. */
typedef struct {
    uint64_t wire;  /* bytes of the link up to its end */
    uint64_t input; /* bytes of the program that are there with it */
} Mark;

struct _GwRamOut {
    GwCrew *crew; /* borrowed */
    GwRamEncoder *encoder;
    GwRamLevels levels;
    GwCrewChain chains[GW_RAM_CHAINS]; /* each made when first needed */
    uint8_t *room;      /* GW_RAM_OUT_ROOM */
    GQueue tasks;       /* GwCrewTask, in order */
    gsize at;           /* bytes of the first one that have left */
    gint64 open_us;     /* since when the open group is */
    double rate;        /* of the link when last seen */
    struct {
        gboolean link, crew;
    } waited_for;       /* by the program, since the last group was handed in */
    gsize held_most;    /* bytes that may be ready nevertheless, as they are held back; 0: they are not */
    gboolean is_urgent; /* all of it: what the crew has to do for others is not waited for */
    gboolean is_late;   /* the guest runs at the other side, and may wait for any page that is here */
    uint64_t easy;      /* bytes of pages as they are since the link was last waited for */
    uint64_t light_at;  /* of these, from which on pages are light */
    uint64_t sent;      /* bytes that have left */
    gint64 span_us;     /* since when the link is waited for; 0: it is not */
    uint64_t span_sent; /* what had left then */
    double measured;    /* bytes a second that the link took while it was waited for; 0: not known */
    GArray *marks;      /* Mark, in order; the first n_arrived are of no more use */
    guint n_arrived;
    uint64_t covered;   /* bytes pushed that are in groups that are closed */
    uint64_t acked;     /* the last mark that arrived */
    uint64_t plain, wire, groups, packed_groups;
};

GwRamOut *
gw_ram_out_new (GwCrew *crew, const GwRamParams *params)
{
    GwRamOut *out = g_new0 (GwRamOut, 1);
    out->crew = crew;
    out->encoder = gw_ram_encoder_new (params);
    out->is_urgent = params->kind == GW_STREAM_PREEMPT;
    out->room = g_malloc (GW_RAM_OUT_ROOM);
    out->light_at = LIGHT_LEAST;
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
    for (guint i = 0; i < GW_RAM_CHAINS; i++)
        gw_ram_chain_free (out->chains[i].chain);
    gw_ram_encoder_free (out->encoder);
    g_array_unref (out->marks);
    g_free (out->room);
    g_free (out);
}

/* --- groups ------------------------------------------------------------------------------------------ */

/* What is in closed groups, and what was left out, which waits for nothing. */
static uint64_t
count_covered (const GwRamOut *out)
{
    GwRamCounters counters;
    gw_ram_encoder_get_counters (out->encoder, &counters);
    return out->covered + counters.classes[GW_RAM_UNCHANGED].input;
}

/* While it is waited for, the link tells what it takes. */
static void
measure (GwRamOut *out, const GwRamOutLink *link, gint64 now_us)
{
    if (link->is_busy && out->span_us != 0 && now_us - out->span_us < RATE_US)
        return;
    if (link->is_busy && out->span_us != 0) {
        double rate = (double) (out->sent - out->span_sent) * G_USEC_PER_SEC / (double) (now_us - out->span_us);
        out->measured = out->measured > 0 ? (3 * out->measured + rate) / 4 : rate;
    }
    out->span_us = link->is_busy ? now_us : 0;
    out->span_sent = out->sent;
}

static double
get_rate (const GwRamOut *out, const GwRamOutLink *link)
{
    if (out->measured <= 0 || link->rate <= 0)
        return MAX (out->measured, link->rate);
    return MIN (out->measured, link->rate);
}

static gboolean
is_link_slow (const GwRamOutLink *link)
{
    return link->rate < LIGHT_RATE; /* 0 as well: not known */
}

/* A link that carries pages as they are is not worth the work on them.  That it carries what is left of them says
 * nothing; so only groups that are mostly as they were count. */
static void
weigh (GwRamOut *out, const GwRamOutLink *link)
{
    double rate = out->measured > 0 ? out->measured : link->rate;
    gboolean is_slow = is_link_slow (link) || (link->is_busy && rate < LIGHT_MEASURED);
    if (is_slow && out->easy >= out->light_at)
        out->light_at = MIN (2 * out->light_at, LIGHT_MOST);
    if (is_slow)
        out->easy = 0;
    gw_ram_encoder_set_light (out->encoder, out->easy >= out->light_at);
}

/* Of what is left of pages that were sent before there is little, and it is not like what came before it. */
static gboolean
is_of_pages_as_they_are (const GwCrewTask *task)
{
    return 2 * task->plain >= gw_ram_group_get_output (task->group);
}

static gboolean
is_worth_packing (GwRamOut *out, const GwCrewTask *task, const GwRamOutLink *link)
{
    if (out->is_urgent)
        return FALSE;
    if (out->is_late)
        return link->is_busy; /* it is not to be held up */
    if (!is_of_pages_as_they_are (task))
        return link->is_busy || is_link_slow (link);
    out->easy += task->plain;
    return out->easy < PACK_EASY;
}

static GwCrewChain *
find_chain (GwRamOut *out, const GwCrewTask *task)
{
    const GwRamWay *way = &gw_ram_ways[task->way];
    if (way->chain < 0 || out->is_late || !is_of_pages_as_they_are (task))
        return NULL;
    GwCrewChain *chain = &out->chains[way->chain];
    if (chain->chain == NULL)
        chain->chain = gw_ram_chain_new ((guint) way->chain, way->level);
    return chain;
}

static guint
choose_way (GwRamOut *out, const GwRamOutLink *link)
{
    if (is_link_slow (link))
        return gw_ram_levels_press (&out->levels, link->is_busy || out->waited_for.link, out->waited_for.crew);
    return gw_ram_levels_choose (&out->levels, get_rate (out, link), MAX (1u, gw_crew_get_n_threads (out->crew)));
}

/* Each new group on its way to be packed. */
static void
hand_in (GwRamOut *out, const GwRamOutLink *link)
{
    GwRamGroup *group;
    out->rate = link->rate;
    while ((group = gw_ram_encoder_take (out->encoder)) != NULL) {
        GwCrewTask *task = gw_crew_task_new (group);
        out->is_late = gw_ram_group_get_urgency (group) == GW_RAM_URGENT;
        task->is_packing = TRUE;
        out->covered += gw_ram_group_get_output (group);
        task->mark = count_covered (out);
        task->way = is_worth_packing (out, task, link) ? choose_way (out, link) : 0;
        task->chain = find_chain (out, task);
        g_queue_push_tail (&out->tasks, task);
        out->waited_for.link = out->waited_for.crew = FALSE;
        if (task->way != 0)
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
    if ((task->chain != NULL) == (gw_ram_ways[task->way].chain >= 0)) /* it was done in that way */
        gw_ram_levels_note (&out->levels, task->way, task->plain, len, task->took_us);
    if (task->way != 0)
        gw_ram_encoder_note_packed (out->encoder, task->group);
    out->plain += task->plain;
    out->wire += len;
    out->groups++;
    out->packed_groups += gw_ram_group_is_packed (task->group);
    const Mark mark = { out->wire, task->mark };
    g_array_append_val (out->marks, mark);
}

/* Groups that wait for the crew, and bytes that wait for the link alone. */
typedef struct {
    guint packing, chained; /* of the first, the second */
    gsize bytes;
} Waiting;

static Waiting
count_waiting (const GwRamOut *out)
{
    Waiting waiting = { 0 };
    gsize len;
    for (const GList *l = out->tasks.head; l != NULL; l = l->next) {
        GwCrewTask *task = (GwCrewTask *) l->data;
        if (gw_crew_task_is_done (task)) {
            (void) gw_ram_group_get_bytes (task->group, &len);
            waiting.bytes += len;
        } else {
            waiting.packing++;
            waiting.chained += task->chain != NULL;
        }
    }
    waiting.bytes -= out->at;
    return waiting;
}

gboolean
gw_ram_out_stock_up (GwRamOut *out)
{
    return gw_ram_encoder_stock_up (out->encoder);
}

/* What is read here stands before whatever QEMU writes next, its device state and the pages that a stopped
 * guest asks for among it: no more than keeps the link and the crew at work. */
uint8_t *
gw_ram_out_get_room (GwRamOut *out, gsize *ret_len)
{
    guint threads = gw_crew_get_n_threads (out->crew);
    gsize most = out->is_late ? 0 : (gsize) (out->rate * READY_SECONDS);
    const Waiting waiting = count_waiting (out);
    gboolean has_link = waiting.bytes <= MAX (most, out->held_most);
    gboolean has_crew = waiting.packing <= threads && waiting.chained <= CHAINED_TASKS;
    out->waited_for.link |= !has_link;
    out->waited_for.crew |= has_link && !has_crew;
    gboolean has_room = has_link && has_crew &&
                        out->tasks.length < (out->held_most > 0 ? HELD_TASKS : 2 * threads + SPARE_TASKS);
    *ret_len = out->is_late ? GW_RAM_URGENT_MAX : GW_RAM_OUT_ROOM;
    return has_room ? out->room : NULL;
}

gboolean
gw_ram_out_is_late (const GwRamOut *out)
{
    return out->is_late;
}

void
gw_ram_out_push (GwRamOut *out, gsize len, const GwRamOutLink *link, gint64 now_us)
{
    measure (out, link, now_us);
    weigh (out, link);
    gw_ram_encoder_push (out->encoder, out->room, len);
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
    out->sent += len;
    g_assert (out->at <= whole);
    if (out->at < whole)
        return;
    count_group (out, task);
    out->at = 0;
    gw_crew_task_free (out->crew, g_queue_pop_head (&out->tasks));
}

void
gw_ram_out_get_ready (const GwRamOut *out, GwRamOutReady *ret)
{
    *ret = (GwRamOutReady){ .bytes = count_waiting (out).bytes, .may_wait = !out->is_late };
    for (const GList *l = out->tasks.head; l != NULL; l = l->next) {
        const GwCrewTask *task = l->data;
        gboolean is_bulk = gw_ram_group_get_urgency (task->group) == GW_RAM_BULK;
        ret->may_wait &= is_bulk;
        ret->has_pages |= is_bulk && is_of_pages_as_they_are (task);
    }
}

void
gw_ram_out_set_held (GwRamOut *out, gsize most)
{
    out->held_most = most;
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
        out->acked = count_covered (out);
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
