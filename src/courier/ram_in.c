/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ramlane.h"

#include <string.h>

#define SPARE_TASKS 4u /* under way beyond two a thread */

struct _GwRamIn {
    GwCrew *crew; /* borrowed */
    GwRamDecoder *decoder;
    uint8_t head[GW_RAM_HEAD]; /* of the group that comes, */
    gsize n_head;      /* bytes of it that have come, */
    GwRamGroup *group; /* and the group once its head is there; NULL: it is not */
    GwCrewChain chains[GW_RAM_CHAINS]; /* each made when first needed */
    GQueue tasks;      /* GwCrewTask, in order */
    GByteArray *plain; /* of the last group that was applied */
    gsize at;          /* bytes of it that were consumed */
    GError *failed;    /* the first error, for ever */
};

GwRamIn *
gw_ram_in_new (GwCrew *crew, const GwRamParams *params)
{
    GwRamIn *in = g_new0 (GwRamIn, 1);
    in->crew = crew;
    in->decoder = gw_ram_decoder_new (params);
    in->plain = g_byte_array_new ();
    g_queue_init (&in->tasks);
    return in;
}

void
gw_ram_in_free (GwRamIn *in)
{
    GwCrewTask *task;
    if (in == NULL)
        return;
    while ((task = g_queue_pop_head (&in->tasks)) != NULL)
        gw_crew_task_free (in->crew, task);
    for (guint i = 0; i < GW_RAM_CHAINS; i++)
        gw_ram_chain_free (in->chains[i].chain);
    gw_ram_decoder_free (in->decoder);
    g_byte_array_unref (in->plain);
    g_clear_error (&in->failed);
    gw_ram_group_free (in->group);
    g_free (in);
}

gboolean
gw_ram_in_stock_up (GwRamIn *in)
{
    return gw_ram_decoder_stock_up (in->decoder);
}

static gboolean
fail (GwRamIn *in, GError **error)
{
    g_propagate_error (error, g_error_copy (in->failed));
    return FALSE;
}

/* --- what comes -------------------------------------------------------------------------------------- */

static GwCrewChain *
find_chain (GwRamIn *in, const GwRamGroup *group)
{
    if (!gw_ram_group_is_chained (group))
        return NULL;
    guint number = gw_ram_group_get_chain (group);
    if (in->chains[number].chain == NULL)
        in->chains[number].chain = gw_ram_chain_new (number, GW_RAM_LEVEL_NONE);
    return &in->chains[number];
}

/* The group is whole. */
static void
take_group (GwRamIn *in)
{
    GwCrewTask *task = gw_crew_task_new (g_steal_pointer (&in->group));
    task->chain = find_chain (in, task->group);
    in->n_head = 0;
    g_queue_push_tail (&in->tasks, task);
    if (gw_ram_group_is_packed (task->group))
        gw_crew_submit (in->crew, task);
    else
        task->state = GW_CREW_DONE; /* nobody else knows it yet */
}

/* Bytes of the head; it makes the group once it is all there. */
static gboolean
gather_head (GwRamIn *in, const uint8_t *data, gsize len, gsize *ret_taken)
{
    gsize missing = GW_RAM_HEAD - in->n_head;
    *ret_taken = MIN (missing, len);
    memcpy (in->head + in->n_head, data, *ret_taken);
    in->n_head += *ret_taken;
    if (in->n_head == GW_RAM_HEAD)
        in->group = gw_ram_group_begin (in->head, &in->failed);
    return in->failed == NULL;
}

/* Bytes up to the next border: the end of a head or of a group. */
static gboolean
put_some (GwRamIn *in, const uint8_t *data, gsize len, gsize *taken)
{
    gsize n = 0;
    if (in->group == NULL && !gather_head (in, data, len, &n))
        return FALSE;
    if (in->group != NULL)
        n += gw_ram_group_fill (in->group, data + n, len - n);
    *taken += n;
    if (in->group != NULL && gw_ram_group_is_whole (in->group))
        take_group (in);
    return TRUE;
}

gboolean
gw_ram_in_put (GwRamIn *in, const uint8_t *data, gsize len, gsize *ret_taken, GError **error)
{
    guint most = 2 * gw_crew_get_n_threads (in->crew) + SPARE_TASKS;
    *ret_taken = 0;
    while (in->failed == NULL && *ret_taken < len && in->tasks.length < most)
        if (!put_some (in, data + *ret_taken, len - *ret_taken, ret_taken))
            break;
    return in->failed == NULL || fail (in, error);
}

/* --- what goes to the program ------------------------------------------------------------------------- */

static gboolean
has_next (const GwRamIn *in)
{
    const GwCrewTask *task = g_queue_peek_head ((GQueue *) &in->tasks);
    return task != NULL && gw_crew_task_is_done (task);
}

static gboolean
apply_next (GwRamIn *in)
{
    GwCrewTask *task = g_queue_pop_head (&in->tasks);
    in->failed = g_steal_pointer (&task->error);
    if (in->failed == NULL) {
        g_byte_array_set_size (in->plain, 0);
        in->at = 0;
        (void) gw_ram_decoder_apply (in->decoder, task->group, in->plain, &in->failed);
    }
    gw_crew_task_free (in->crew, task);
    return in->failed == NULL;
}

gboolean
gw_ram_in_peek (GwRamIn *in, const uint8_t **ret_data, gsize *ret_len, GError **error)
{
    while (in->failed == NULL && in->at == in->plain->len && has_next (in))
        if (!apply_next (in))
            break;
    if (in->failed != NULL)
        return fail (in, error);
    *ret_len = in->plain->len - in->at;
    *ret_data = *ret_len > 0 ? in->plain->data + in->at : NULL;
    return TRUE;
}

void
gw_ram_in_consume (GwRamIn *in, gsize len)
{
    g_assert (len <= in->plain->len - in->at);
    in->at += len;
}

gboolean
gw_ram_in_is_empty (const GwRamIn *in)
{
    return in->tasks.length == 0 && in->at == in->plain->len;
}

gboolean
gw_ram_in_is_between_groups (const GwRamIn *in)
{
    return in->n_head == 0;
}
