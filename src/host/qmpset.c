/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

struct _GwQmpSet {
    GwQmp *qmp; /* borrowed */
    guint n_open;
    GError *error; /* the first that was not QEMU's refusal */
};

typedef struct {
    GwQmpSet *set;
    GwQmpSetFn fn;
    gpointer user_data;
} Question;

GwQmpSet *
gw_qmp_set_new (GwQmp *qmp)
{
    GwQmpSet *set = g_new0 (GwQmpSet, 1);
    set->qmp = qmp;
    return set;
}

static void
on_reply (JsonNode *reply, const GError *error, gpointer user_data)
{
    g_autofree Question *question = user_data;
    GwQmpSet *set = question->set;
    set->n_open--;
    if (error != NULL && gw_error_get_cause (error) != GW_CAUSE_QMP_COMMAND &&
        gw_error_get_cause (error) != GW_CAUSE_QEMU_TOO_OLD) {
        if (set->error == NULL)
            set->error = g_error_copy (error);
        return;
    }
    question->fn (reply, question->user_data);
}

void
gw_qmp_set_ask (GwQmpSet *set, GwQmpCommand command, JsonObject *arguments, GwQmpSetFn fn,
                gpointer user_data)
{
    Question *question = g_new0 (Question, 1);
    *question = (Question) { set, fn, user_data };
    set->n_open++;
    gw_qmp_send (set->qmp, command, arguments, on_reply, question);
    if (arguments != NULL)
        json_object_unref (arguments);
}

static gboolean
all_answered (gpointer user_data)
{
    return ((GwQmpSet *) user_data)->n_open == 0;
}

gboolean
gw_qmp_set_finish (GwQmpSet *set, GMainContext *context, GCancellable *cancellable, GError **error)
{
    /* Every question has a time limit of its own, so the wait ends; it is not cut short by
     * `cancellable`, because the answers would then come to freed memory. */
    (void) gw_wait_until (context, all_answered, set, G_MAXINT64, NULL, NULL);
    g_autoptr (GError) failure = set->error;
    g_free (set);
    if (failure != NULL) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return FALSE;
    }
    if (g_cancellable_is_cancelled (cancellable))
        return gw_fail (error, GW_CAUSE_ABORTED, "aborted while asking QEMU");
    return TRUE;
}

void
gw_qmp_keep_answer (JsonNode *reply, gpointer user_data)
{
    if (reply != NULL)
        *(JsonNode **) user_data = json_node_ref (reply);
}

const char *
gw_qmp_answer_text (JsonNode *node)
{
    return node != NULL && JSON_NODE_HOLDS_VALUE (node) &&
                   json_node_get_value_type (node) == G_TYPE_STRING
               ? json_node_get_string (node)
               : "";
}

JsonArray *
gw_qmp_answer_array (JsonNode *node)
{
    return node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
}
