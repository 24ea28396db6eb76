/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the RAM codec of the couriers did for the memory's way, for decisions and for the report. */
#include "job-internal.h"

#include <string.h>

#define MEMORY_SHARE 4 /* the codec's part of the guest's RAM: one in so many */
#define PROOF_BYTES_A_MS (2 << 20) /* that are read and hashed: an estimate on the safe side */
#define MEMORY_MAX (G_GINT64_CONSTANT (1) << 30)
#define PAGE_BYTES 4096
#define PROOF_BYTES_A_PAGE 52 /* an entry of the index and its share of the table, in half of the memory */

static const char *const classes[] = { "zero", "unchanged", "copy", "delta", "first", "again", "other" };
G_STATIC_ASSERT (G_N_ELEMENTS (classes) == GW_JOB_CODEC_CLASSES);

gint64
gw_job_get_codec_bytes (const GwJob *job)
{
    if (job->is_trial || strcmp (job->plan->codec, "auto") != 0)
        return 0; /* a trial tells what the link carries */
    return MIN (job->vm->ram_bytes / MEMORY_SHARE, MEMORY_MAX);
}

static gint64
get_number (JsonObject *object, const char *name)
{
    gint64 value = gw_json_peek_int (object, name, 0);
    return MAX (value, 0);
}

gboolean
gw_job_peek_credit (JsonObject *ram, gint64 *ret_acked, gint64 *ret_queued)
{
    JsonObject *codec = gw_json_peek_object (ram, "codec");
    if (codec == NULL)
        return FALSE;
    gint64 in_bytes = get_number (codec, "in_bytes");
    *ret_acked = get_number (codec, "acked_in_bytes");
    *ret_queued = MAX (in_bytes - *ret_acked, 0);
    return TRUE;
}

void
gw_job_take_codec (GwJob *job, JsonObject *ram)
{
    JsonObject *codec = gw_json_peek_object (ram, "codec");
    if (codec == NULL) {
        job->guest_bytes += get_number (ram, "out_bytes");
        return;
    }
    JsonObject *by_class = gw_json_peek_object (codec, "classes");
    GwJobCodec *sum = &job->codec;
    sum->is_on = TRUE;
    sum->in_bytes += get_number (codec, "in_bytes");
    sum->out_bytes += get_number (codec, "out_bytes");
    gint64 memory_bytes = get_number (codec, "memory_bytes");
    sum->memory_bytes = MAX (sum->memory_bytes, memory_bytes);
    job->guest_bytes += get_number (codec, "in_bytes");
    for (guint i = 0; by_class != NULL && i < GW_JOB_CODEC_CLASSES; i++) {
        JsonObject *one = gw_json_peek_object (by_class, classes[i]);
        if (one == NULL)
            continue;
        sum->classes[i].pages += get_number (one, "pages");
        sum->classes[i].in_bytes += get_number (one, "in_bytes");
        sum->classes[i].out_bytes += get_number (one, "out_bytes");
    }
}

/* --- --verify ram ---------------------------------------------------------------------------------- */

gboolean
gw_job_wants_ram_proof (const GwJob *job)
{
    return strcmp (job->plan->verify, "ram") == 0 || strcmp (job->plan->verify, "all") == 0;
}

/* Found before the guest is stopped rather than by pages that the codec does not know afterwards. */
gboolean
gw_job_can_prove_ram (const GwJob *job, gint64 codec_bytes, GError **error)
{
    gint64 needed = job->vm->ram_bytes / PAGE_BYTES * PROOF_BYTES_A_PAGE;
    if (!gw_job_wants_ram_proof (job) || job->is_trial)
        return TRUE;
    if (codec_bytes == 0)
        return gw_fail (error, GW_CAUSE_RAM_UNPROVEN, "--verify %s needs the RAM codec, which %s", job->plan->verify,
                        strcmp (job->plan->codec, "auto") == 0 ? "one of the hosts cannot or has no memory for"
                                                               : "--codec off forbids");
    return codec_bytes >= needed ||
           gw_fail (error, GW_CAUSE_RAM_UNPROVEN,
                    "--verify %s needs %" G_GINT64_FORMAT " MiB for the RAM codec to know every page, and has %"
                    G_GINT64_FORMAT " MiB", job->plan->verify, needed >> 20, codec_bytes >> 20);
}

gint64
gw_job_estimate_proof_ms (const GwJob *job)
{
    return gw_job_wants_ram_proof (job) ? job->vm->ram_bytes / PROOF_BYTES_A_MS : 0;
}

/* Whoever knows of a page that was lost must not let it be missed. */
gboolean
gw_job_prove_ram (GwJob *job, GError **error)
{
    if (!gw_job_wants_ram_proof (job))
        return TRUE;
    JsonObject *proof = gw_host_verify_ram (job->source.host, job->cancellable, error);
    if (proof == NULL)
        return FALSE;
    g_clear_pointer (&job->ram_proof, json_object_unref);
    job->ram_proof = proof;
    gint64 n_different = get_number (proof, "different"), n_pages = get_number (proof, "pages");
    gint64 n_unknown = get_number (proof, "unknown"), n_open = n_unknown + get_number (proof, "unread");
    gw_job_note (job, GW_SIDE_SOURCE, "memory-compared",
                 "%" G_GINT64_FORMAT " pages in %" G_GINT64_FORMAT " ms, %" G_GINT64_FORMAT
                 " differ from what was sent, %" G_GINT64_FORMAT " could not be compared",
                 n_pages, get_number (proof, "us") / 1000, n_different, n_open);
    if (n_different > 0)
        return gw_fail (error, GW_CAUSE_RAM_UNSENT,
                        "%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " pages have changed since they were sent: %s",
                        n_different, n_pages, gw_json_peek_string (proof, "named", ""));
    return (n_pages > 0 && n_unknown == 0) ||
           gw_fail (error, GW_CAUSE_RAM_UNPROVEN,
                    "of %" G_GINT64_FORMAT " pages of the guest's memory the codec cannot tell for %"
                    G_GINT64_FORMAT " what was sent", n_pages, n_unknown);
}

/* --- the report ------------------------------------------------------------------------------------- */

JsonObject *
gw_job_report_codec (const GwJob *job)
{
    const GwJobCodec *sum = &job->codec;
    JsonObject *by_class = json_object_new ();
    for (guint i = 0; i < GW_JOB_CODEC_CLASSES; i++)
        json_object_set_object_member (
            by_class, classes[i],
            gw_json_new ("pages:i", sum->classes[i].pages, "in_bytes:i", sum->classes[i].in_bytes,
                         "out_bytes:i", sum->classes[i].out_bytes, NULL));
    JsonObject *codec = gw_json_new (
        "mode:s", sum->is_on ? "pages" : "off", "in_bytes:i", sum->in_bytes, "out_bytes:i",
        sum->out_bytes, "memory_bytes:i", sum->memory_bytes, "disks:s",
        job->disks_are_packed ? "zstd" : "off", "disk_plain_bytes:i", job->disk_plain_bytes, NULL);
    if (sum->out_bytes > 0)
        json_object_set_double_member (codec, "gain", (double) sum->in_bytes / (double) sum->out_bytes);
    else
        json_object_set_null_member (codec, "gain");
    json_object_set_object_member (codec, "classes", by_class);
    return codec;
}
