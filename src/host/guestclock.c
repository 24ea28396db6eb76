/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest's clock, on the host where it runs: finds its agent and has a thread speak to it. */
#include "guestagent.h"
#include "host-internal.h"

typedef struct {
    GMainContext *context; /* of who waits */
    const char *path;
    gboolean sets;
    gint64 aim_us;
    GwGuestClock clock;
    gboolean is_done; /* atomic */
} Question;

static gpointer
run_talk (gpointer user_data)
{
    Question *question = user_data;
    gw_guest_agent_talk (question->path, question->sets, question->aim_us, &question->clock);
    g_atomic_int_set (&question->is_done, TRUE);
    g_main_context_wakeup (question->context);
    return NULL;
}

static gboolean
is_answered (gpointer user_data)
{
    return g_atomic_int_get (&((Question *) user_data)->is_done);
}

/* NULL and `*ret_why`: there is no agent to speak to. */
static char *
find_agent (LocalHost *local, const char **ret_why, GCancellable *cancellable)
{
    g_autoptr (JsonNode) tree = NULL;
    g_autoptr (JsonNode) chardevs = NULL;
    GwQmpSet *set = gw_qmp_set_new (local->qmp);
    gw_qmp_set_ask (set, GW_QMP_HUMAN_MONITOR_COMMAND, gw_json_new ("command-line:s", "info qtree", NULL),
                    gw_qmp_keep_answer, &tree);
    gw_qmp_set_ask (set, GW_QMP_QUERY_CHARDEV, NULL, gw_qmp_keep_answer, &chardevs);
    *ret_why = "QEMU does not tell";
    if (!gw_qmp_set_finish (set, local->context, cancellable, NULL))
        return NULL;
    g_autofree char *label = gw_guest_agent_find_chardev (gw_qmp_answer_text (tree));
    *ret_why = "the VM has no port for it";
    return label != NULL
               ? gw_guest_agent_find_socket (gw_qmp_answer_array (chardevs), label, ret_why)
               : NULL;
}

JsonObject *
gw_local_guest_clock (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    const char *why;
    Question question = { .context = local->context, .sets = gw_json_peek_bool (params, "sets", FALSE) };
    if (local->qmp == NULL) {
        gw_fail (error, GW_CAUSE_QMP_GONE, "there is no QEMU to ask");
        return NULL;
    }
    if (question.sets &&
        !gw_json_get_int (params, "aim_us", -GW_GUEST_CLOCK_MAX_US, GW_GUEST_CLOCK_MAX_US, &question.aim_us, error))
        return NULL;
    g_autofree char *path = find_agent (local, &why, cancellable);
    if (path == NULL)
        return gw_json_new ("answers:b", FALSE, "why:s", why, NULL);
    question.path = path;
    GThread *thread = g_thread_new ("guest-clock", run_talk, &question);
    /* it ends by itself in time, also when this is cancelled */
    (void) gw_wait_until (local->context, is_answered, &question, gw_deadline_ms (10000), NULL, NULL);
    g_thread_join (thread);
    g_autofree char *reason = question.clock.why;
    return gw_json_new ("answers:b", question.clock.has_answered, "why:s", reason, "offset_us:i",
                        question.clock.offset_us, "is_set:b", question.clock.is_set, "left_us:i",
                        question.clock.left_us, NULL);
}
