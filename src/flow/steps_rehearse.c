/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rehearsal: what the move would find out at its very end is found out before it begins.
 *
 * It refuses the move when the destination's QEMU rejects the VM.  When it cannot be done it says
 * why, and the move goes on: it is a check, not a part of the move.
 */
#include "job-internal.h"

#include <string.h>

#define ATTEMPTS_MAX 3
#define PAGES_MAX 1024 /* asked for by one load */

typedef struct {
    GwJob *job;
    JsonArray *asked;  /* {"block", "offset"}: pages that were read while the guest ran */
    gint64 stop_us;    /* of all attempts together */
    gint64 last_stop_us, stopped_us; /* when the last one began, the source's clock */
    gint64 state_bytes, load_us, n_pages;
    guint n_attempts;
    gboolean has_postcopy;
    char *words; /* of QEMU, though it loaded */
} Rehearsal;

static void
rehearsal_clear (Rehearsal *r)
{
    g_clear_pointer (&r->asked, json_array_unref);
    g_free (r->words);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Rehearsal, rehearsal_clear)

static gboolean
launch (Rehearsal *r, GError **error)
{
    GwJob *job = r->job;
    gint64 begin_us = g_get_monotonic_time ();
    g_autoptr (JsonObject) there = gw_host_rehearse_launch (job->destination.host, job->vm,
                                                            job->derived, job->cancellable, error);
    job->launch_us = g_get_monotonic_time () - begin_us;
    if (there == NULL)
        return FALSE;
    r->has_postcopy = gw_json_peek_bool (there, "postcopy", FALSE);
    if (!r->has_postcopy)
        gw_job_note (job, GW_SIDE_DESTINATION, "rehearse-without-userfaultfd", "%s",
                     gw_json_peek_string (there, "why", ""));
    JsonObject *object = gw_json_get_object (there, "inventory", error);
    g_autoptr (GwInventory) inventory =
        object != NULL ? gw_struct_from_json (&gw_inventory_type, object, error) : NULL;
    return inventory != NULL && gw_job_compare (job, inventory, error);
}

static gboolean
check_budget (const Rehearsal *r, gint64 next_us, GError **error)
{
    gint64 budget_us = r->job->plan->rehearse_budget_ms * 1000;
    if (r->stop_us + next_us <= budget_us)
        return TRUE;
    return gw_fail (error, GW_CAUSE_TIMED_OUT,
                    "the guest stood still for %.1f ms%s, and --rehearse-budget is %" G_GINT64_FORMAT
                    " ms",
                    (double) r->stop_us / 1000, next_us > 0 ? " and would have to do so again" : "",
                    r->job->plan->rehearse_budget_ms);
}

static gboolean
save (Rehearsal *r, GError **error)
{
    GwJob *job = r->job;
    if (r->n_attempts > 1 && !check_budget (r, r->last_stop_us, error))
        return FALSE;
    g_autoptr (JsonObject) saved =
        gw_host_rehearse_save (job->source.host, r->asked, !r->has_postcopy, job->cancellable, error);
    if (saved == NULL)
        return FALSE;
    r->stopped_us = gw_json_peek_int (saved, "stopped_us", 0);
    r->last_stop_us = gw_json_peek_int (saved, "stop_us", 0);
    r->stop_us += r->last_stop_us;
    r->state_bytes = gw_json_peek_int (saved, "bytes", 0);
    gw_job_note (job, GW_SIDE_SOURCE, "rehearse-saved",
                 "%" G_GINT64_FORMAT " bytes of device state, the guest stood still for %.1f ms",
                 r->state_bytes, (double) r->last_stop_us / 1000);
    return check_budget (r, 0, error) &&
           gw_host_rehearse_put (job->destination.host, saved, job->cancellable, error);
}

static gboolean
give_page (Rehearsal *r, const char *block, gint64 offset, GError **error)
{
    GwJob *job = r->job;
    if (json_array_get_length (r->asked) >= PAGES_MAX)
        return gw_fail (error, GW_CAUSE_TIMED_OUT, "loading asks for more than %u pages", PAGES_MAX);
    json_array_add_object_element (r->asked,
                                   gw_json_new ("block:s", block, "offset:i", offset, NULL));
    g_autoptr (JsonObject) page =
        gw_host_rehearse_read (job->source.host, block, offset, job->cancellable, error);
    return page != NULL &&
           gw_host_rehearse_put (job->destination.host, page, job->cancellable, error);
}

static gboolean
load (Rehearsal *r, GError **error)
{
    GwJob *job = r->job;
    for (;;) {
        g_autoptr (JsonObject) answer =
            gw_host_rehearse_load (job->destination.host, job->vm, job->cancellable, error);
        if (answer == NULL)
            return FALSE;
        if (gw_json_peek_bool (answer, "loaded", FALSE)) {
            r->load_us = gw_json_peek_int (answer, "load_us", 0);
            r->n_pages = gw_json_peek_int (answer, "pages", 0);
            g_free (r->words);
            r->words = g_strdup (gw_json_peek_string (answer, "words", NULL));
            return TRUE;
        }
        if (!give_page (r, gw_json_peek_string (answer, "block", ""),
                        gw_json_peek_int (answer, "offset", 0), error))
            return FALSE;
    }
}

static gboolean
attempt (Rehearsal *r, GError **error)
{
    r->n_attempts++;
    gboolean ok = launch (r, error) && save (r, error) && load (r, error);
    (void) gw_host_rehearse_end (r->job->destination.host, NULL, NULL); /* closing the job ends it too */
    return ok;
}

/* A load may fail because a page that it asked for had changed since the stop.  Then it is done again
 * with that page read in the stop; when it still fails, that is QEMU's word. */
static gboolean
rehearse (Rehearsal *r, GError **error)
{
    guint n_known = 0;
    for (;;) {
        GError *failure = NULL;
        if (attempt (r, &failure))
            return TRUE;
        guint n_asked = json_array_get_length (r->asked);
        gboolean is_final = gw_error_get_cause (failure) != GW_CAUSE_REHEARSAL_REJECTED ||
                            n_asked == n_known || r->n_attempts >= ATTEMPTS_MAX;
        if (is_final) {
            g_propagate_error (error, failure);
            return FALSE;
        }
        gw_job_note (r->job, GW_SIDE_DESTINATION, "rehearse-again", "%s", failure->message);
        g_error_free (failure);
        n_known = n_asked;
    }
}

/* --- what it says ----------------------------------------------------------------------------------- */

static gboolean
is_refusal (const GwJob *job, GwCause cause)
{
    const GwCheckResult *refusal = gw_check_find_refusal (job->checks); /* of the comparison */
    return cause == GW_CAUSE_REHEARSAL_REJECTED || cause == GW_CAUSE_REHEARSAL_LAUNCH ||
           (refusal != NULL && cause == refusal->cause);
}

static void
conclude (Rehearsal *r, const char *result, GwVerdict verdict, GwCause cause, const char *text)
{
    r->job->rehearsal = gw_json_new (
        "result:s", result, "text:s", text, "stop_us:i", r->stop_us, "stopped_us:i",
        r->stopped_us, "attempts:i", (gint64) r->n_attempts, "state_bytes:i", r->state_bytes, "load_us:i", r->load_us, "pages:i",
        r->n_pages, "way:s", r->has_postcopy ? "postcopy" : "precopy", "words:s", r->words, NULL);
    gw_check_append (r->job->checks, "rehearsal", verdict, cause, text);
    gw_job_note (r->job, GW_SIDE_NONE, "rehearsal", "%s: %s", result, text);
}

static void
conclude_done (Rehearsal *r)
{
    g_autofree char *text = g_strdup_printf (
        "a QEMU on the destination loaded the state of the devices (%" G_GINT64_FORMAT
        " bytes, in %.1f ms); the guest stood still for %.1f ms",
        r->state_bytes, (double) r->load_us / 1000, (double) r->stop_us / 1000);
    conclude (r, "done", GW_VERDICT_OK, GW_CAUSE_NONE, text);
}

gboolean
gw_step_rehearse (GwJob *job, GwSide *blame, GError **error)
{
    g_auto (Rehearsal) r = { .job = job };
    g_autoptr (GError) failure = NULL;
    *blame = GW_SIDE_DESTINATION;
    if (!job->plan->is_rehearsed)
        return TRUE;
    r.asked = json_array_new ();
    if (rehearse (&r, &failure)) {
        conclude_done (&r);
        return TRUE;
    }
    GwCause cause = gw_error_get_cause (failure);
    if (cause == GW_CAUSE_ABORTED) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return FALSE;
    }
    if (is_refusal (job, cause)) {
        conclude (&r, "refused", GW_VERDICT_REFUSED, cause, failure->message);
        g_propagate_error (error, g_steal_pointer (&failure));
        return FALSE;
    }
    g_autofree char *text = g_strdup_printf ("there was no rehearsal: %s", failure->message);
    conclude (&r, "not-done", GW_VERDICT_WARNING, GW_CAUSE_NONE, text);
    return TRUE;
}
