/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the first question to a destination that waits. */
#include "job-internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define PREEMPT_MAJOR 8

gboolean
gw_step_connect (GwJob *job, GwSide *blame, GError **error)
{
    GError *failure = NULL;
    *blame = GW_SIDE_DESTINATION;
    job->source.host = gw_host_new_local (job->config, job->context);
    gw_job_watch (&job->source);
    job->destination.host =
        gw_host_open_remote (job->plan->destination, gw_job_link_patience_s (job), job->context,
                             job->cancellable, &failure);
    if (job->destination.host == NULL) {
        if (gw_error_get_cause (failure) == GW_CAUSE_CERTIFICATE) /* ours */
            *blame = GW_SIDE_SOURCE;
        g_propagate_error (error, failure);
        return FALSE;
    }
    gw_job_watch (&job->destination);
    return gw_host_get_clock_offset (job->destination.host, &job->destination.clock_offset_us,
                                     &job->destination.clock_error_us, error);
}

gboolean
gw_step_adopt (GwJob *job, GwSide *blame, GError **error)
{
    *blame = GW_SIDE_SOURCE;
    job->vm = gw_host_adopt (job->source.host, job->plan->vm, job->cancellable, error);
    if (job->vm == NULL)
        return FALSE;
    job->derived = gw_host_derive (job->source.host, (const char *const *) job->plan->maps,
                                   job->cancellable, error);
    return job->derived != NULL;
}

static GStrv
collect_paths (const GwDerived *derived, gboolean of_source)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    for (guint i = 0; i < derived->needs->len; i++) {
        const GwNeed *need = derived->needs->pdata[i];
        g_strv_builder_add (builder, of_source && need->source_path != NULL ? need->source_path
                                                                            : need->path);
    }
    return g_strv_builder_end (builder);
}

gboolean
gw_step_facts (GwJob *job, GwSide *blame, GError **error)
{
    g_autofree char *qemu = g_path_get_basename (job->vm->binary);
    g_auto (GStrv) here = collect_paths (job->derived, TRUE);
    g_auto (GStrv) there = collect_paths (job->derived, FALSE);
    *blame = GW_SIDE_SOURCE;
    job->source_facts = gw_host_get_facts (job->source.host, NULL, NULL, (const char *const *) here,
                                           job->cancellable, error);
    if (job->source_facts == NULL)
        return FALSE;
    *blame = GW_SIDE_DESTINATION;
    job->destination_facts = gw_host_get_facts (
        job->destination.host, qemu, job->vm->machine, (const char *const *) there, job->cancellable,
        error);
    if (job->destination_facts == NULL)
        return FALSE;
    job->destination_facts->clock_offset_us = job->destination.clock_offset_us;
    return gw_job_try_tokens (job, error) && gw_job_compare_media (job, error);
}

/* A refusal about what the VM is or does is the source's; about what is missing there, the
 * destination's. */
static GwSide
refusing_side (GwCause cause)
{
    static const GwCause of_source[] = { GW_CAUSE_VM_STATE,          GW_CAUSE_VM_BUSY,
                                         GW_CAUSE_MIGRATION_BLOCKED, GW_CAUSE_UNSUPPORTED,
                                         GW_CAUSE_USAGE,             GW_CAUSE_MIGRATION_SETTINGS,
                                         GW_CAUSE_QEMU_BUG };
    for (guint i = 0; i < G_N_ELEMENTS (of_source); i++)
        if (of_source[i] == cause)
            return GW_SIDE_SOURCE;
    return GW_SIDE_DESTINATION;
}

gboolean
gw_step_check (GwJob *job, GwSide *blame, GError **error)
{
    GwCheckInput input = { job->plan, job->vm, job->derived, job->source_facts,
                           job->destination_facts };
    job->checks = gw_check_run (&input);
    job->disks = gw_check_plan_disks (&input);
    const GwCheckResult *refusal = gw_check_find_refusal (job->checks);
    if (refusal == NULL)
        return TRUE;
    *blame = refusing_side (refusal->cause);
    return gw_fail (error, refusal->cause, "%s", refusal->text);
}

/* Greater than any that either host has heard of: a VM may have been started anew by hand meanwhile, or an attempt
 * may have been refused. */
static gboolean
choose_epoch (GwJob *job, GwSide *blame, GError **error)
{
    gint64 here, there;
    g_autofree char *given_away = NULL;
    g_autofree char *returned = NULL; /* what was given away there has come here since */
    *blame = GW_SIDE_SOURCE;
    if (!gw_host_get_epoch (job->source.host, job->vm->uuid, &here, &given_away, job->cancellable, error))
        return FALSE;
    if (given_away != NULL)
        return gw_fail (error, GW_CAUSE_VM_ELSEWHERE, "the VM was handed over in job %s, and it is not known whether it "
                        "runs elsewhere; 'godwit reconcile %s' settles that", given_away, given_away);
    *blame = GW_SIDE_DESTINATION;
    if (!gw_host_get_epoch (job->destination.host, job->vm->uuid, &there, &returned, job->cancellable, error))
        return FALSE;
    job->epoch = MAX (MAX (here, there), job->vm->epoch) + 1;
    return TRUE;
}

gboolean
gw_step_prepare (GwJob *job, GwSide *blame, GError **error)
{
    if (!choose_epoch (job, blame, error))
        return FALSE;
    g_autofree char *label = gw_vm_get_label (job->vm);
    GwHostJob spec = { job->id, GW_SIDE_SOURCE, label, job->vm->uuid, job->epoch };
    *blame = GW_SIDE_SOURCE;
    if (!gw_job_name_in_journal (job, label, spec.epoch, error) ||
        !gw_host_open_job (job->source.host, &spec, job->cancellable, error))
        return FALSE;
    spec.side = *blame = GW_SIDE_DESTINATION;
    return gw_host_open_job (job->destination.host, &spec, job->cancellable, error);
}

void
gw_undo_close_jobs (GwJob *job)
{
    GwJobSide *const sides[] = { &job->destination, &job->source };
    job->link_is_up = FALSE;
    gw_job_give_back (job);
    for (guint i = 0; i < G_N_ELEMENTS (sides); i++) {
        g_autoptr (GError) error = NULL;
        if (sides[i]->host != NULL && gw_host_is_open (sides[i]->host) &&
            !gw_host_close_job (sides[i]->host, NULL, &error))
            gw_job_note (job, sides[i]->side, "cleanup-failed", "%s", error->message);
    }
}

gboolean
gw_step_launch (GwJob *job, GwSide *blame, GError **error)
{
    *blame = GW_SIDE_DESTINATION;
    gw_job_read_guest_clock (job);
    return gw_host_launch (job->destination.host, job->vm, job->derived, job->cancellable, error);
}

gboolean
gw_job_start_couriers (GwJob *job, gint64 attempt, GCancellable *cancellable, GwSide *blame,
                       GError **error)
{
    /* those of a recovery carry memory alone: the disks were done before postcopy began */
    gint64 n_disks = attempt == 0 ? gw_disk_plans_count_copies (job->disks) : 0;
    *blame = GW_SIDE_SOURCE;
    if (getrandom (job->secret, sizeof job->secret, 0) != (ssize_t) sizeof job->secret)
        return gw_fail (error, GW_CAUSE_INTERNAL, "no random numbers: %s", g_strerror (errno));
    GwHostLink link = { job->secret, (const char *const *) job->plan->data_addresses,
                        job->plan->n_paths, job->plan->link_deadline_s, attempt, n_disks,
                        strcmp (job->plan->codec, "auto") == 0, gw_job_wants_ram_proof (job),
                        gw_job_get_codec_bytes (job) };
    g_clear_pointer (&job->link_addresses, g_strfreev);
    *blame = GW_SIDE_DESTINATION;
    if (!gw_host_accept_courier (job->destination.host, &link, &job->link_addresses, cancellable,
                                 error))
        return FALSE;
    link.addresses = (const char *const *) job->link_addresses;
    job->disks_are_packed = job->disks_are_packed || (link.is_packed && n_disks > 0);
    if (!gw_job_can_prove_ram (job, link.codec_bytes, error))
        return FALSE;
    *blame = GW_SIDE_SOURCE;
    if (!gw_host_connect_courier (job->source.host, &link, cancellable, error))
        return FALSE;
    explicit_bzero (job->secret, sizeof job->secret);
    job->link_is_up = TRUE;
    return TRUE;
}

gboolean
gw_job_connect_link (GwJob *job, GwSide *blame, GError **error)
{
    g_autoptr (GError) failure = NULL;
    if (gw_job_start_couriers (job, 0, job->cancellable, blame, &failure))
        return TRUE;
    *blame = gw_job_blame_cause (*blame, gw_error_get_cause (failure));
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
}

gboolean
gw_step_couriers (GwJob *job, GwSide *blame, GError **error)
{
    GwLinkTrial trial;
    if (job->plan->is_rehearsed) {
        if (!gw_job_try_link (job, &trial, blame, error))
            return FALSE;
        gw_job_predict (job, &trial);
    }
    return gw_job_connect_link (job, blame, error);
}

/* The preempt connection came with 7.1, and both ends must have it.  Before 8.0 it is made beside the
 * beginning of the migration: when that fails meanwhile, the source's QEMU aborts (util/yank.c:
 * yank_register_function(), "Assertion `entry' failed"), and the guest is lost with it. */
static gboolean
has_preempt (const GwJob *job)
{
    int major = 0;
    const char *there = job->destination_facts->qemu_version;
    return there != NULL && sscanf (there, "%d.", &major) == 1 && major >= PREEMPT_MAJOR &&
           job->vm->version_major >= PREEMPT_MAJOR;
}

gboolean
gw_step_incoming (GwJob *job, GwSide *blame, GError **error)
{
    g_autofree char *why = NULL;
    *blame = GW_SIDE_DESTINATION;
    gw_job_start_health (job);
    job->postcopy.is_on = job->vm->is_running && strcmp (job->plan->postcopy, "never") != 0 &&
                          !gw_job_wants_ram_proof (job);
    job->postcopy.has_preempt = job->postcopy.is_on && has_preempt (job);
    if (!gw_host_set_incoming (job->destination.host, &job->postcopy, &why, job->cancellable, error))
        return FALSE;
    if (why == NULL)
        return TRUE;
    if (strcmp (job->plan->postcopy, "now") == 0)
        return gw_fail (error, GW_CAUSE_POSTCOPY_UNAVAILABLE, "the destination: %s", why);
    gw_job_note (job, GW_SIDE_DESTINATION, "no-postcopy", "%s", why);
    return TRUE;
}
