/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether images are the same on both hosts, tried out with tokens, and whether read-only media have the same content. */
#include "job-internal.h"

#include <string.h>

/* Images of both sides, by the place that their need has among the others. */
typedef struct {
    GArray *needs; /* guint */
    GPtrArray *here, *there; /* paths, borrowed; NULL-terminated */
} Pairs;

static void
pairs_clear (Pairs *pairs)
{
    g_array_unref (pairs->needs);
    g_ptr_array_unref (pairs->here);
    g_ptr_array_unref (pairs->there);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Pairs, pairs_clear)

static gboolean
is_image_of_disk (const GwJob *job, const GwNeed *need, gboolean is_read_only)
{
    if (strcmp (need->kind, "image") != 0 || need->source_path == NULL)
        return FALSE;
    for (guint i = 0; i < job->vm->disks->len; i++) {
        const GwDisk *disk = job->vm->disks->pdata[i];
        if (g_strcmp0 (disk->path, need->source_path) == 0 && disk->is_read_only == is_read_only)
            return TRUE;
    }
    return FALSE;
}

static GwPathFacts *
find_facts (const GwHostFacts *facts, guint need)
{
    return need < facts->paths->len ? facts->paths->pdata[need] : NULL;
}

/* Media of different sizes are different, and those that are missing need no look. */
static gboolean
may_be_alike (const GwJob *job, guint need)
{
    const GwPathFacts *here = find_facts (job->source_facts, need);
    const GwPathFacts *there = find_facts (job->destination_facts, need);
    return here != NULL && there != NULL && here->exists && there->exists && here->bytes == there->bytes;
}

static void
collect (const GwJob *job, gboolean is_read_only, Pairs *pairs)
{
    *pairs = (Pairs) { g_array_new (FALSE, FALSE, sizeof (guint)), g_ptr_array_new (), g_ptr_array_new () };
    for (guint i = 0; i < job->derived->needs->len; i++) {
        const GwNeed *need = job->derived->needs->pdata[i];
        if (!is_image_of_disk (job, need, is_read_only) || (is_read_only && !may_be_alike (job, i)))
            continue;
        g_array_append_val (pairs->needs, i);
        g_ptr_array_add (pairs->here, need->source_path);
        g_ptr_array_add (pairs->there, need->path);
    }
    g_ptr_array_add (pairs->here, NULL);
    g_ptr_array_add (pairs->there, NULL);
}

/* --- tokens --------------------------------------------------------------------------------------------------- */

/* What to make of it is the checks' business. */
static void
take_found (GwJob *job, const Pairs *pairs, const char *const *found)
{
    for (guint i = 0; i < pairs->needs->len && found[i] != NULL; i++) {
        GwPathFacts *there = find_facts (job->destination_facts, g_array_index (pairs->needs, guint, i));
        if (there != NULL)
            there->has_token = *found[i] != '\0';
    }
}

gboolean
gw_job_try_tokens (GwJob *job, GError **error)
{
    g_auto (Pairs) pairs;
    collect (job, FALSE, &pairs);
    if (pairs.needs->len == 0)
        return TRUE;
    g_auto (GStrv) tokens =
        gw_host_put_tokens (job->source.host, job->journal != NULL ? job->id : NULL,
                            (const char *const *) pairs.here->pdata, job->cancellable, error);
    if (tokens == NULL)
        return FALSE;
    g_auto (GStrv) found =
        gw_host_find_tokens (job->destination.host, (const char *const *) pairs.there->pdata,
                             (const char *const *) tokens, job->cancellable, error);
    gboolean is_clean = gw_host_drop_tokens (job->source.host, found != NULL ? error : NULL);
    if (found == NULL || !is_clean)
        return FALSE;
    take_found (job, &pairs, (const char *const *) found);
    return TRUE;
}

/* --- media ---------------------------------------------------------------------------------------------------- */

static gboolean
read_media (GwHost *host, GwHostFacts *facts, const Pairs *pairs, const GPtrArray *paths,
            GCancellable *cancellable, GError **error)
{
    g_auto (GStrv) contents =
        gw_host_read_contents (host, (const char *const *) paths->pdata, cancellable, error);
    for (guint i = 0; contents != NULL && i < pairs->needs->len && contents[i] != NULL; i++) {
        GwPathFacts *medium = find_facts (facts, g_array_index (pairs->needs, guint, i));
        g_free (medium->content);
        medium->content = *contents[i] != '\0' ? g_strdup (contents[i]) : NULL;
    }
    return contents != NULL;
}

gboolean
gw_job_compare_media (GwJob *job, GError **error)
{
    g_auto (Pairs) pairs;
    collect (job, TRUE, &pairs);
    return pairs.needs->len == 0 || strcmp (job->plan->verify, "none") == 0 ||
           (read_media (job->source.host, job->source_facts, &pairs, pairs.here, job->cancellable, error) &&
            read_media (job->destination.host, job->destination_facts, &pairs, pairs.there, job->cancellable,
                        error));
}
