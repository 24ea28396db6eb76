/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether images are the same on both hosts, tried out with tokens. */
#include "job-internal.h"

#include <string.h>

/* What to make of it is the checks' business. */
static void
take_found (GwJob *job, const guint *needs, guint n, const char *const *found)
{
    for (guint i = 0; i < n && found[i] != NULL; i++) {
        if (needs[i] >= job->destination_facts->paths->len)
            continue;
        GwPathFacts *there = job->destination_facts->paths->pdata[needs[i]];
        there->has_token = *found[i] != '\0';
    }
}

static gboolean
is_writable_image (const GwJob *job, const GwNeed *need)
{
    if (strcmp (need->kind, "image") != 0 || need->source_path == NULL)
        return FALSE;
    for (guint i = 0; i < job->vm->disks->len; i++) {
        const GwDisk *disk = job->vm->disks->pdata[i];
        if (g_strcmp0 (disk->path, need->source_path) == 0 && !disk->is_read_only)
            return TRUE;
    }
    return FALSE;
}

gboolean
gw_job_try_tokens (GwJob *job, GError **error)
{
    const GPtrArray *needs = job->derived->needs;
    g_autofree guint *of = g_new0 (guint, needs->len + 1);
    g_autoptr (GStrvBuilder) here = g_strv_builder_new (), there = g_strv_builder_new ();
    guint n = 0;
    for (guint i = 0; i < needs->len; i++) {
        const GwNeed *need = needs->pdata[i];
        if (!is_writable_image (job, need))
            continue;
        g_strv_builder_add (here, need->source_path);
        g_strv_builder_add (there, need->path);
        of[n++] = i;
    }
    if (n == 0)
        return TRUE;
    g_auto (GStrv) paths = g_strv_builder_end (here), paths_there = g_strv_builder_end (there);
    g_auto (GStrv) tokens = gw_host_put_tokens (job->source.host, job->journal != NULL ? job->id : NULL,
                                                (const char *const *) paths, job->cancellable, error);
    if (tokens == NULL)
        return FALSE;
    g_auto (GStrv) found =
        gw_host_find_tokens (job->destination.host, (const char *const *) paths_there,
                             (const char *const *) tokens, job->cancellable, error);
    gboolean is_clean = gw_host_drop_tokens (job->source.host, found != NULL ? error : NULL);
    if (found == NULL || !is_clean)
        return FALSE;
    take_found (job, of, n, (const char *const *) found);
    return TRUE;
}
