/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Splitter and classifier of src/rpc.  The first byte of the input is the size of the pieces in
 * which the rest is fed; the result may not depend on it. */
#include "rpc-private.h"

#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* What came out: a hash over all messages, and whether the stream was refused in the end. */
typedef struct {
    guint n_messages;
    guint hash;
    gboolean is_refused;
} Outcome;

static void
check_message (const char *text, gsize len)
{
    g_auto (GwRpcMessage) message = { 0 };
    g_autoptr (GError) error = NULL;
    if (!gw_rpc_message_parse (text, len, &message, &error)) {
        g_assert (gw_error_get_cause (error) == GW_CAUSE_RPC_INVALID);
        return;
    }
    gboolean is_call = message.kind == GW_RPC_MESSAGE_REQUEST
                       || message.kind == GW_RPC_MESSAGE_NOTIFICATION;
    gboolean is_bad = message.kind == GW_RPC_MESSAGE_ERROR
                      || message.kind == GW_RPC_MESSAGE_INVALID;
    g_assert (is_call == (message.params != NULL));
    g_assert (is_bad == (message.error != NULL));
    g_assert ((message.kind == GW_RPC_MESSAGE_RESULT) == (message.result != NULL));
    g_assert (message.id >= -1);
    if (message.result == NULL)
        return;
    /* What was read can be written again, but for a number such as 1e22, see generate(). */
    gsize n;
    g_autofree char *again = gw_rpc_message_build_result (message.id, message.result, &n, NULL);
    g_assert (again != NULL || memchr (text, 'e', len) != NULL || memchr (text, 'E', len) != NULL
              || memchr (text, '.', len) != NULL);
}

static void
take (Outcome *outcome, const char *text, gsize len)
{
    for (gsize i = 0; i < len; i++)
        outcome->hash = outcome->hash * 31 + (guchar) text[i];
    outcome->hash = outcome->hash * 31 + 256;
    outcome->n_messages++;
}

static Outcome
run (const uint8_t *data, size_t size, size_t step, gboolean is_checked)
{
    Outcome outcome = { 0 };
    GwRpcFrame frame;
    gw_rpc_frame_init (&frame);
    for (size_t i = 0; i < size && !outcome.is_refused; i += step) {
        const char *text;
        gsize len;
        gw_rpc_frame_push (&frame, data + i, MIN (step, size - i));
        while ((outcome.is_refused = !gw_rpc_frame_next (&frame, &text, &len, NULL)) == FALSE
               && text != NULL) {
            take (&outcome, text, len);
            if (is_checked)
                check_message (text, len);
        }
    }
    gw_rpc_frame_clear (&frame);
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
    g_assert (pieces.is_refused == whole.is_refused);
    return 0;
}
