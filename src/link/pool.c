/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-internal.h"

void
gw_pool_init (GwPool *pool, gsize size, guint max_kept)
{
    g_assert (size >= sizeof (gpointer));
    *pool = (GwPool){ .size = size, .max_kept = max_kept };
}

void
gw_pool_clear (GwPool *pool)
{
    g_assert (pool->n_used == 0);
    while (pool->kept != NULL) {
        gpointer block = pool->kept;
        pool->kept = *(gpointer *) block;
        g_free (block);
    }
    pool->n_kept = 0;
}

gpointer
gw_pool_take (GwPool *pool)
{
    gpointer block = pool->kept;
    pool->n_used++;
    if (block == NULL)
        return g_malloc (pool->size);
    pool->kept = *(gpointer *) block;
    pool->n_kept--;
    return block;
}

void
gw_pool_give (GwPool *pool, gpointer block)
{
    g_assert (pool->n_used > 0);
    pool->n_used--;
    if (pool->n_kept >= pool->max_kept) {
        g_free (block);
        return;
    }
    *(gpointer *) block = pool->kept;
    pool->kept = block;
    pool->n_kept++;
}
