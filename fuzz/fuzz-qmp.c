/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Scanner and classifier of src/qmp.  The first byte of the input is the size of the pieces in which
 * the rest is fed; the result may not depend on it. */
#include "qmp-internal.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* What came out: a hash over all messages, and how the stream ended. */
typedef struct {
    guint n_messages;
    guint hash;
    GwCause refusal;
} Outcome;

static guint depth_of (JsonNode *node);

static void
max_depth_of_member (JsonObject *object, const char *name, JsonNode *node, gpointer user_data)
{
    guint *depth = user_data;
    *depth = MAX (*depth, depth_of (node));
}

static void
max_depth_of_element (JsonArray *array, guint index, JsonNode *node, gpointer user_data)
{
    max_depth_of_member (NULL, NULL, node, user_data);
}

static guint
depth_of (JsonNode *node)
{
    guint depth = 0;
    if (JSON_NODE_HOLDS_VALUE (node) || JSON_NODE_HOLDS_NULL (node))
        return 0;
    if (JSON_NODE_HOLDS_OBJECT (node))
        json_object_foreach_member (json_node_get_object (node), max_depth_of_member, &depth);
    else
        json_array_foreach_element (json_node_get_array (node), max_depth_of_element, &depth);
    return depth + 1;
}

/* The deepest point of the frame's bytes, counted apart from the scanner's own code. */
static guint
depth_of_text (const char *text, gsize len)
{
    guint depth = 0, deepest = 0;
    gboolean is_string = FALSE;
    for (gsize i = 0; i < len; i++) {
        if (is_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            is_string = !is_string;
        else if (!is_string && (text[i] == '{' || text[i] == '['))
            deepest = MAX (deepest, ++depth);
        else if (!is_string && (text[i] == '}' || text[i] == ']'))
            depth--;
    }
    return deepest;
}

static void
check_message (const char *text, gsize len)
{
    g_auto (GwQmpMessage) message = { 0 };
    g_autoptr (GError) error = NULL;
    if (!gw_qmp_message_parse (text, len, &message, &error)) {
        g_assert (gw_error_get_cause (error) == GW_CAUSE_QMP_INVALID);
        return;
    }
    /* The JSON library saw no bracket that the scanner did not count. */
    g_assert (depth_of (message.root) <= depth_of_text (text, len));
    g_assert (message.type != GW_QMP_MESSAGE_RETURN || message.value != NULL);
    g_assert (message.type == GW_QMP_MESSAGE_RETURN || message.type == GW_QMP_MESSAGE_GREETING ||
              message.name != NULL);
    g_assert (message.at_us >= 0);
}

static Outcome
run (const uint8_t *data, size_t size, size_t step, gboolean is_checked)
{
    Outcome outcome = { 0 };
    GwQmpFrame frame;
    g_autoptr (GError) error = NULL;
    gw_qmp_frame_init (&frame, 2048);
    for (size_t i = 0, used; i < size && error == NULL; i += used) {
        if (gw_qmp_frame_feed (&frame, (const char *) data + i, MIN (step, size - i), &used,
                               &error) != GW_QMP_FRAME_MESSAGE)
            continue;
        for (gsize k = 0; k < frame.len; k++)
            outcome.hash = outcome.hash * 31 + (guchar) frame.data[k];
        outcome.hash = outcome.hash * 31 + 256;
        outcome.n_messages++;
        if (is_checked)
            check_message (frame.data, frame.len);
    }
    outcome.refusal = gw_error_get_cause (error);
    gw_qmp_frame_clear (&frame);
    return outcome;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    Outcome pieces = run (data + 1, size - 1, (size_t) data[0] % 64 + 1, TRUE);
    Outcome whole = run (data + 1, size - 1, size, FALSE);
    g_assert (pieces.n_messages == whole.n_messages && pieces.hash == whole.hash);
    g_assert (pieces.refusal == whole.refusal);
    return 0;
}
