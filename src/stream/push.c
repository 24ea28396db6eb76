/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Feeding a step function with chunks of any size. */
#include "internal.h"

void
gw_push_init (GwPush *push, GwPushStep step, gpointer reader)
{
    *push = (GwPush){ .step = step, .reader = reader, .carry = g_byte_array_new () };
    push->need = push->want = 1;
}

void
gw_push_clear (GwPush *push)
{
    g_clear_pointer (&push->carry, g_byte_array_unref);
    g_clear_error (&push->failed);
}

gssize
gw_push_need (GwPush *push, gsize need, gsize want)
{
    push->need = need;
    push->want = MAX (need, want);
    return GW_STEP_MORE;
}

gboolean
gw_push_fail (GwPush *push, GError **error)
{
    if (error != NULL && push->failed == NULL)
        push->failed = g_error_copy (*error);
    return FALSE;
}

/* Steps over the `len` bytes at `p` until the rest is too short.  Returns the bytes consumed, or
 * GW_STEP_FAILED. */
static gssize
run (GwPush *push, const uint8_t *p, gsize len, GError **error)
{
    gsize done = 0;
    while (done < len) {
        gssize n = push->step (push->reader, p + done, len - done, error);
        if (n == GW_STEP_FAILED)
            return GW_STEP_FAILED;
        if (n == GW_STEP_MORE) {
            g_assert (push->need > len - done);
            return (gssize) done;
        }
        g_assert ((gsize) n <= len - done);
        done += (gsize) n;
        push->offset += (gsize) n;
        push->need = push->want = 1;
    }
    return (gssize) done;
}

/* Moves bytes from the chunk to the carry and steps over them.  What is left of them goes back to
 * the chunk when it all came from there.  Returns the bytes of the chunk used up. */
static gssize
run_carry (GwPush *push, const uint8_t *data, gsize len, GError **error)
{
    GByteArray *carry = push->carry;
    gsize taken = MIN (len, push->want - carry->len);
    g_byte_array_append (carry, data, (guint) taken);
    if (carry->len < push->need)
        return (gssize) taken;
    gssize done = run (push, carry->data, carry->len, error);
    if (done == GW_STEP_FAILED)
        return GW_STEP_FAILED;
    gsize left = carry->len - (gsize) done;
    if (done > 0 && left <= taken) {
        g_byte_array_set_size (carry, 0);
        return (gssize) (taken - left);
    }
    if (done > 0)
        g_byte_array_remove_range (carry, 0, (guint) done);
    return (gssize) taken;
}

gboolean
gw_push_feed (GwPush *push, const uint8_t *data, gsize len, GError **error)
{
    g_autoptr (GError) local = NULL;
    if (push->failed != NULL) {
        g_propagate_error (error, g_error_copy (push->failed));
        return FALSE;
    }
    while (len > 0) {
        gboolean is_direct = push->carry->len == 0 && len >= push->need;
        gssize n = is_direct ? run (push, data, len, &local)
                             : run_carry (push, data, len, &local);
        if (n == GW_STEP_FAILED) {
            push->failed = g_steal_pointer (&local);
            g_propagate_error (error, g_error_copy (push->failed));
            return FALSE;
        }
        data += n;
        len -= (gsize) n;
    }
    return TRUE;
}
