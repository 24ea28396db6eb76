/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations of the source: a mirror a disk, to the destination's image behind the link.
 *
 * The jobs are never dismissed by QEMU itself: one that has ended stays with its error until it was
 * looked at, so nothing depends on an event that came early, late or not at all.  A mirror counts as
 * done only when it was READY, was ended with the guest stopped by a soft cancel, and is then
 * `concluded` without an error.
 *
 * A copy that is resumed is only followed (sync=none); what differs is found and sent by the comparison
 * (proof.c).
 *
 * A QEMU that can change the mode of a mirror (8.2) begins in the background and changes when the
 * guest writes faster than the copy follows; an older one writes every block to both from the start.
 */
#include "host-internal.h"

#include <string.h>

#define CANCEL_MS 8000       /* for the jobs to end by themselves */
#define BREAK_MS 8000        /* ... and after the link was taken from them */
#define ANSWER_MS 4000       /* QEMU's monitor, when a disk may hang */
#define POLL_MS 4
#define RATE_US 500000       /* at least, between two looks at the rate */
#define BEHIND_BYTES (4 << 20) /* READY, but not in step */
#define BEHIND_US (3 * G_USEC_PER_SEC)

typedef struct {
    char *name, *job, *target; /* name for people; QEMU's block job and node */
    gboolean has_target, has_job;
    gboolean is_blocking; /* every write goes to both */
    char *status, *error;
    gint64 total_bytes, done_bytes;
    gint64 looked_us, looked_bytes, rate_bps; /* rate: -1 not known */
    gint64 behind_us;                         /* since when it is not in step; 0: it is */
} Mirror;

struct _GwMirrorSet {
    GPtrArray *list; /* Mirror */
    gboolean can_change;
};

static void
mirror_free (gpointer data)
{
    Mirror *mirror = data;
    g_free (mirror->name);
    g_free (mirror->job);
    g_free (mirror->target);
    g_free (mirror->status);
    g_free (mirror->error);
    g_free (mirror);
}

void
gw_mirror_set_free (GwMirrorSet *set)
{
    if (set == NULL)
        return;
    g_ptr_array_unref (set->list);
    g_free (set);
}

static gboolean
need_mirrors (LocalHost *local, GError **error)
{
    return local->mirrors != NULL ||
           gw_fail (error, GW_CAUSE_RPC_INVALID, "no disk is being copied");
}

/* --- starting ------------------------------------------------------------------------------------------------ */

/* An abort waits for QEMU's answer to what makes something: only then is it known what to take back. */
static gboolean
add_target (LocalHost *local, Mirror *mirror, guint index, GError **error)
{
    g_autofree char *socket = gw_disk_socket (local->job_dir, index);
    JsonObject *server = gw_json_new ("type:s", "unix", "path:s", socket, NULL);
    JsonObject *args =
        gw_json_new ("driver:s", "nbd", "node-name:s", mirror->target, "export:s", GW_DISK_EXPORT,
                     "discard:s", "unmap", "server:o", server, NULL);
    mirror->has_target = gw_local_qmp (local, GW_QMP_BLOCKDEV_ADD, args, NULL, error);
    return mirror->has_target;
}

static gboolean
start_job (LocalHost *local, Mirror *mirror, const GwDiskPlan *plan, gint64 speed_bps, GError **error)
{
    g_autofree char *filter = g_strconcat (mirror->target, "-m", NULL);
    JsonObject *args = gw_json_new (
        "job-id:s", mirror->job, "device:s", plan->node, "target:s", mirror->target, "sync:s",
        plan->resumes ? "none" : plan->is_top ? "top" : "full", "copy-mode:s", mirror->is_blocking ? "write-blocking" : "background",
        "on-source-error:s", "report", "on-target-error:s", "report", "filter-node-name:s", filter,
        "auto-dismiss:b", FALSE, NULL);
    if (speed_bps > 0)
        json_object_set_int_member (args, "speed", speed_bps);
    mirror->has_job = gw_local_qmp (local, GW_QMP_BLOCKDEV_MIRROR, args, NULL, error);
    return mirror->has_job;
}

static gboolean
start_mirror (LocalHost *local, const GwDiskPlan *plan, gint64 speed_bps, GError **error)
{
    GwMirrorSet *set = local->mirrors;
    Mirror *mirror = g_new0 (Mirror, 1);
    guint index = set->list->len;
    mirror->name = g_strdup (plan->name);
    mirror->job = g_strdup_printf ("%s-%u", local->job, index);
    mirror->target = g_strdup_printf ("%s-%u-t", local->job, index);
    mirror->is_blocking = plan->resumes || !set->can_change;
    mirror->rate_bps = -1;
    mirror->total_bytes = plan->bytes;
    g_ptr_array_add (set->list, mirror);
    if (add_target (local, mirror, index, error) && start_job (local, mirror, plan, speed_bps, error))
        return TRUE;
    g_prefix_error (error, "disk '%s': ", plan->name);
    return FALSE;
}

JsonObject *
gw_local_start_mirrors (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 speed_bps;
    g_autoptr (GwDiskPlans) plans = gw_struct_from_json (&gw_disk_plans_type, params, error);
    if (plans == NULL || !gw_json_get_int (params, "speed_bps", 0, G_MAXINT64, &speed_bps, error))
        return NULL;
    if (local->vm == NULL || local->job_dir == NULL || local->mirrors != NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no VM is open here whose disks could be copied");
        return NULL;
    }
    gw_local_sweep_mirrors (local);
    local->mirrors = g_new0 (GwMirrorSet, 1);
    local->mirrors->list = g_ptr_array_new_with_free_func (mirror_free);
    local->mirrors->can_change = gw_qmp_has_command (local->qmp, GW_QMP_BLOCK_JOB_CHANGE);
    for (guint i = 0; i < plans->disks->len; i++) {
        const GwDiskPlan *plan = plans->disks->pdata[i];
        if (gw_disk_plan_is (plan, "copy") &&
            !start_mirror (local, plan, speed_bps, error))
            return NULL; /* what was begun is taken back by the undo */
    }
    return json_object_new ();
}

/* --- looking -------------------------------------------------------------------------------------------------- */

static Mirror *
find_mirror (const GwMirrorSet *set, const char *job)
{
    for (guint i = 0; i < set->list->len; i++)
        if (g_strcmp0 (((const Mirror *) set->list->pdata[i])->job, job) == 0)
            return set->list->pdata[i];
    return NULL;
}

static void
measure (Mirror *mirror)
{
    gint64 now = g_get_monotonic_time ();
    gboolean is_behind = mirror->total_bytes - mirror->done_bytes > BEHIND_BYTES;
    mirror->behind_us = !is_behind ? 0 : mirror->behind_us != 0 ? mirror->behind_us : now;
    if (mirror->looked_us != 0 && now - mirror->looked_us < RATE_US)
        return;
    if (mirror->looked_us != 0)
        mirror->rate_bps = MAX (mirror->done_bytes - mirror->looked_bytes, 0) * G_USEC_PER_SEC /
                           (now - mirror->looked_us);
    mirror->looked_us = now;
    mirror->looked_bytes = mirror->done_bytes;
}

static void
take_job (GwMirrorSet *set, JsonObject *job)
{
    Mirror *mirror = find_mirror (set, gw_json_peek_string (job, "id", ""));
    if (mirror == NULL)
        return;
    g_free (mirror->status);
    g_free (mirror->error);
    mirror->status = g_strdup (gw_json_peek_string (job, "status", "unknown"));
    mirror->error = g_strdup (gw_json_peek_string (job, "error", NULL));
    mirror->total_bytes = MAX (gw_json_peek_int (job, "total-progress", 0), 0);
    mirror->done_bytes = CLAMP (gw_json_peek_int (job, "current-progress", 0), 0, mirror->total_bytes);
    measure (mirror);
}

static gboolean
look (LocalHost *local, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonNode) reply =
        gw_qmp_call_timeout (local->qmp, GW_QMP_QUERY_JOBS, NULL, ANSWER_MS, cancellable, error);
    if (reply == NULL)
        return FALSE;
    if (!JSON_NODE_HOLDS_ARRAY (reply))
        return gw_fail (error, GW_CAUSE_QMP_INVALID, "query-jobs: the reply is no array");
    JsonArray *jobs = json_node_get_array (reply);
    for (guint i = 0; i < json_array_get_length (jobs); i++)
        take_job (local->mirrors, json_array_get_object_element (jobs, i));
    return TRUE;
}

static gboolean
is_over (const Mirror *mirror)
{
    return g_strcmp0 (mirror->status, "concluded") == 0 || g_strcmp0 (mirror->status, "null") == 0;
}

/* The guest writes faster than the background copy follows: from now on each write goes to both. */
static gboolean
change_mode (LocalHost *local, Mirror *mirror)
{
    g_autoptr (GError) error = NULL;
    if (!local->mirrors->can_change || mirror->is_blocking || is_over (mirror))
        return FALSE;
    mirror->is_blocking = TRUE; /* tried once */
    JsonObject *args = gw_json_new ("id:s", mirror->job, "type:s", "mirror", "copy-mode:s",
                                    "write-blocking", NULL);
    gboolean ok = gw_local_qmp (local, GW_QMP_BLOCK_JOB_CHANGE, args, NULL, &error);
    g_autofree char *detail = g_strdup_printf ("%s: every write goes to both%s%s", mirror->name,
                                               ok ? "" : " - refused: ", ok ? "" : error->message);
    gw_host_emit (&local->host, 0, "disk-mode", detail);
    return ok;
}

gboolean
gw_mirror_set_block (LocalHost *local)
{
    gboolean is_changed = FALSE;
    for (guint i = 0; i < local->mirrors->list->len; i++)
        is_changed |= change_mode (local, local->mirrors->list->pdata[i]);
    return is_changed;
}

static gboolean
falls_behind (const Mirror *mirror)
{
    return mirror->behind_us != 0 && g_strcmp0 (mirror->status, "ready") == 0 &&
           g_get_monotonic_time () - mirror->behind_us >= BEHIND_US;
}

static GwMirror *
describe (const Mirror *mirror)
{
    GwMirror *out = g_new0 (GwMirror, 1);
    gint64 left = mirror->total_bytes - mirror->done_bytes;
    out->name = g_strdup (mirror->name);
    out->status = g_strdup (mirror->status != NULL ? mirror->status : "created");
    out->error = g_strdup (mirror->error);
    out->total_bytes = mirror->total_bytes;
    out->done_bytes = mirror->done_bytes;
    out->rate_bps = mirror->rate_bps;
    out->eta_ms = mirror->rate_bps > 0 ? (gint64) ((double) left / (double) mirror->rate_bps * 1000.0)
                                       : -1;
    return out;
}

JsonObject *
gw_local_get_mirrors (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    g_autoptr (GError) failure = NULL;
    if (!need_mirrors (local, error))
        return NULL;
    if (!look (local, cancellable, &failure)) {
        if (gw_error_get_cause (failure) == GW_CAUSE_QMP_TIMEOUT)
            (void) gw_local_give_copies_up (local, "QEMU gave no answer", ANSWER_MS, error);
        else
            g_propagate_error (error, g_steal_pointer (&failure));
        return NULL;
    }
    g_autoptr (GwMirrors) mirrors = gw_struct_new (&gw_mirrors_type);
    for (guint i = 0; i < local->mirrors->list->len; i++) {
        Mirror *mirror = local->mirrors->list->pdata[i];
        if (falls_behind (mirror))
            (void) change_mode (local, mirror); /* where it cannot, the copy goes on as it is */
        g_ptr_array_add (mirrors->mirrors, describe (mirror));
    }
    return gw_struct_to_json (&gw_mirrors_type, mirrors);
}

/* --- ending ----------------------------------------------------------------------------------------------------- */

static gboolean
cancel_job (LocalHost *local, const Mirror *mirror, gboolean is_forced, GError **error)
{
    g_autoptr (JsonObject) args =
        gw_json_new ("device:s", mirror->job, "force:b", is_forced, NULL);
    g_autoptr (JsonNode) reply = gw_qmp_call_timeout (local->qmp, GW_QMP_BLOCK_JOB_CANCEL, args,
                                                      ANSWER_MS, NULL, error);
    return reply != NULL;
}

/* A failure that nobody can do anything about here: what stays is seen by the next look. */
static void
dismiss (LocalHost *local, Mirror *mirror)
{
    if (mirror->has_job && is_over (mirror) &&
        gw_local_qmp (local, GW_QMP_JOB_DISMISS, gw_json_new ("id:s", mirror->job, NULL), NULL, NULL))
        mirror->has_job = FALSE;
    if (!mirror->has_job && mirror->has_target &&
        gw_local_qmp (local, GW_QMP_BLOCKDEV_DEL, gw_json_new ("node-name:s", mirror->target, NULL),
                      NULL, NULL))
        mirror->has_target = FALSE;
}

static const Mirror *
find_unfinished (const GwMirrorSet *set)
{
    for (guint i = 0; i < set->list->len; i++) {
        const Mirror *mirror = set->list->pdata[i];
        if (mirror->has_job && !is_over (mirror))
            return mirror;
    }
    return NULL;
}

/* Waits until every job has ended.  FALSE with the first that has not. */
static gboolean
wait_over (LocalHost *local, gint64 deadline_us, GError **error)
{
    const Mirror *mirror;
    do {
        if (!look (local, NULL, error))
            return FALSE;
        mirror = find_unfinished (local->mirrors);
        if (mirror == NULL)
            return TRUE;
        (void) gw_wait_ms (local->context, POLL_MS, NULL, NULL);
    } while (g_get_monotonic_time () < deadline_us);
    return gw_fail (error, GW_CAUSE_DISK_SYNC,
                    "disk '%s': its mirror is still '%s', %" G_GINT64_FORMAT " bytes are not copied",
                    mirror->name, mirror->status, mirror->total_bytes - mirror->done_bytes);
}

static gboolean
fail_mirror (const Mirror *mirror, GError **error)
{
    return gw_fail (error, GW_CAUSE_DISK_COPY, "disk '%s': QEMU gave its copy up: %s", mirror->name,
                    mirror->error != NULL ? mirror->error : "it gives no reason");
}

/* With the guest stopped, every one must have been in step before: a soft cancel of another is a
 * forced one. */
static gboolean
end_softly (LocalHost *local, GError **error)
{
    const GPtrArray *list = local->mirrors->list;
    if (!look (local, NULL, error))
        return FALSE;
    for (guint i = 0; i < list->len; i++) {
        const Mirror *mirror = list->pdata[i];
        if (is_over (mirror))
            return fail_mirror (mirror, error);
        if (g_strcmp0 (mirror->status, "ready") != 0)
            return gw_fail (error, GW_CAUSE_DISK_SYNC, "disk '%s': its mirror is '%s', not in step",
                            mirror->name, mirror->status);
    }
    for (guint i = 0; i < list->len; i++)
        if (!cancel_job (local, list->pdata[i], FALSE, error))
            return FALSE;
    return TRUE;
}

JsonObject *
gw_local_finish_mirrors (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gint64 within_ms;
    if (!need_mirrors (local, error) ||
        !gw_json_get_int (params, "within_ms", 1, 3600000, &within_ms, error))
        return NULL;
    gint64 deadline = gw_deadline_ms ((guint) within_ms);
    if (!end_softly (local, error))
        return NULL;
    if (!wait_over (local, deadline, NULL)) {
        (void) gw_local_give_copies_up (local, "the copying did not end", (guint) within_ms, error);
        return NULL;
    }
    for (guint i = 0; i < local->mirrors->list->len; i++) {
        const Mirror *mirror = local->mirrors->list->pdata[i];
        if (mirror->error != NULL) {
            fail_mirror (mirror, error);
            return NULL;
        }
    }
    for (guint i = 0; i < local->mirrors->list->len; i++)
        dismiss (local, local->mirrors->list->pdata[i]);
    gw_local_release_disks (local);
    return json_object_new ();
}

/* --- taking back -------------------------------------------------------------------------------------------------- */

static void
cancel_all (LocalHost *local)
{
    for (guint i = 0; i < local->mirrors->list->len; i++) {
        const Mirror *mirror = local->mirrors->list->pdata[i];
        if (mirror->has_job && !is_over (mirror))
            (void) cancel_job (local, mirror, TRUE, NULL); /* one that hangs is dealt with below */
    }
}

/* A job whose writes hang in the link does not end by itself, and a QEMU that drains its disks does not
 * even answer: without a courier they fail at once. */
JsonObject *
gw_local_undo_mirrors (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    if (local->mirrors == NULL || local->qmp == NULL)
        return json_object_new ();
    (void) look (local, NULL, NULL);
    cancel_all (local);
    if (!wait_over (local, gw_deadline_ms (CANCEL_MS), NULL)) {
        g_clear_pointer (&local->courier, gw_courier_free);
        if (!wait_over (local, gw_deadline_ms (BREAK_MS), error))
            return NULL;
    }
    for (guint i = 0; i < local->mirrors->list->len; i++)
        dismiss (local, local->mirrors->list->pdata[i]);
    gw_local_release_disks (local);
    g_clear_pointer (&local->mirrors, gw_mirror_set_free);
    return json_object_new ();
}
