/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The agent: its jobs, its threads. */
#include "agent-internal.h"

#include <unistd.h>

struct _GwAgent {
    GCancellable *stopping;

    GMutex lock; /* guards what follows, as far as n_jobs */
    GCond changed;
    GwHostConfig *config; /* replaced when the file is read again */
    GPtrArray *jobs;     /* GwJob, in the order of starting */
    guint n_threads;     /* of jobs and connections */
    guint n_connections; /* of this host */
    guint n_jobs;        /* that run here, or that a peer or command has opened here */

    char *socket_path;
    GSocket *listener;
    GThread *acceptor;
    GwPeers *peers; /* NULL: it does not listen for them */
};

GwAgent *
gw_agent_new (const GwHostConfig *config)
{
    GwAgent *agent = g_new0 (GwAgent, 1);
    agent->config = gw_host_config_copy (config);
    agent->stopping = g_cancellable_new ();
    agent->jobs = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_job_unref);
    g_mutex_init (&agent->lock);
    g_cond_init (&agent->changed);
    return agent;
}

GwHostConfig *
gw_agent_copy_config (GwAgent *agent)
{
    g_mutex_lock (&agent->lock);
    GwHostConfig *copy = gw_host_config_copy (agent->config);
    g_mutex_unlock (&agent->lock);
    return copy;
}

gboolean
gw_agent_set_config (GwAgent *agent, const GwHostConfig *fresh, GError **error)
{
    g_autoptr (GwHostConfig) now = gw_agent_copy_config (agent), next = gw_host_config_copy (fresh);
    g_auto (GStrv) kept = gw_host_config_keep_started (next, now, error);
    if (kept == NULL)
        return FALSE;
    g_mutex_lock (&agent->lock);
    GwHostConfig *old = agent->config;
    agent->config = g_steal_pointer (&next);
    g_mutex_unlock (&agent->lock);
    gw_host_config_free (old);
    for (gsize i = 0; kept[i] != NULL; i++)
        g_message ("%s has changed, which takes effect when the agent is started again", kept[i]);
    return TRUE;
}

/* --- threads ------------------------------------------------------------------------------------------- */

void
gw_agent_enter_thread (GwAgent *agent)
{
    g_mutex_lock (&agent->lock);
    agent->n_threads++;
    g_mutex_unlock (&agent->lock);
}

void
gw_agent_leave_thread (GwAgent *agent)
{
    g_mutex_lock (&agent->lock);
    agent->n_threads--;
    g_cond_broadcast (&agent->changed);
    g_mutex_unlock (&agent->lock);
}

/* --- jobs ------------------------------------------------------------------------------------------------ */

/* With the lock held. */
static gboolean
count_job (GwAgent *agent, GError **error)
{
    if (agent->n_jobs >= agent->config->max_jobs)
        return gw_fail (error, GW_CAUSE_AGENT_FULL, "%u jobs run here, which is as many as [limits] jobs allows",
                        agent->n_jobs);
    agent->n_jobs++;
    return TRUE;
}

gboolean
gw_agent_enter_job (GwAgent *agent, GError **error)
{
    g_mutex_lock (&agent->lock);
    gboolean ok = count_job (agent, error);
    g_mutex_unlock (&agent->lock);
    return ok;
}

void
gw_agent_leave_job (GwAgent *agent)
{
    g_mutex_lock (&agent->lock);
    agent->n_jobs--;
    g_mutex_unlock (&agent->lock);
}

typedef struct {
    GwAgent *agent;
    GwJob *job;
} JobThread;

static gpointer
run_job (gpointer user_data)
{
    g_autofree JobThread *thread = user_data;
    gw_job_run (thread->job);
    gw_job_unref (thread->job);
    gw_agent_leave_job (thread->agent);
    gw_agent_leave_thread (thread->agent);
    return NULL;
}

static gboolean
is_done (GwJob *job)
{
    g_autoptr (JsonObject) report = gw_job_get_report (job);
    return report != NULL;
}

/* With the lock held: forgets the oldest finished jobs. */
static void
trim_jobs (GwAgent *agent)
{
    for (guint i = 0; agent->jobs->len > GW_AGENT_JOBS_KEPT && i < agent->jobs->len;) {
        if (is_done (agent->jobs->pdata[i]))
            g_ptr_array_remove_index (agent->jobs, i);
        else
            i++;
    }
}

/* With the lock held. */
static gboolean
is_moving (GwAgent *agent, const char *vm)
{
    for (guint i = 0; i < agent->jobs->len; i++) {
        GwJob *job = agent->jobs->pdata[i];
        if (!is_done (job) && g_strcmp0 (gw_job_get_vm (job), vm) == 0)
            return TRUE;
    }
    return FALSE;
}

/* With the lock held: an attempt to go on with it that ended is of no interest any more. */
static void
forget_attempt (GwAgent *agent, const char *id)
{
    for (guint i = agent->jobs->len; i > 0; i--)
        if (g_strcmp0 (gw_job_get_id (agent->jobs->pdata[i - 1]), id) == 0)
            g_ptr_array_remove_index (agent->jobs, i - 1);
}

/* With the lock held.  A guest that fetches its memory may be lost without its job, so that is not limited. */
static gboolean
add_job (GwAgent *agent, GwJob *job, const char *vm, GError **error)
{
    if (is_moving (agent, vm))
        return gw_fail (error, GW_CAUSE_VM_BUSY, "'%s' is being moved already", vm);
    if (gw_job_fetches (job))
        agent->n_jobs++;
    else if (!count_job (agent, error))
        return FALSE;
    forget_attempt (agent, gw_job_get_id (job));
    trim_jobs (agent);
    g_ptr_array_add (agent->jobs, gw_job_ref (job));
    agent->n_threads++;
    return TRUE;
}

static void
start_thread (GwAgent *agent, GwJob *job)
{
    JobThread *thread = g_new0 (JobThread, 1);
    *thread = (JobThread) { agent, gw_job_ref (job) };
    g_thread_unref (g_thread_new ("job", run_job, thread));
}

static void
take_up (GwAgent *agent, GwJob *job)
{
    g_autoptr (GError) error = NULL;
    g_mutex_lock (&agent->lock);
    gboolean ok = add_job (agent, job, gw_job_get_vm (job), &error);
    g_mutex_unlock (&agent->lock);
    if (ok)
        start_thread (agent, job);
    else if (gw_error_get_cause (error) != GW_CAUSE_VM_BUSY) /* else it goes on already */
        g_warning ("job %s waits for this agent: %s; %s", gw_job_get_id (job), error->message,
                   gw_job_fetches (job) ? "it is tried again" : "it ends by itself");
}

void
gw_agent_take_up_jobs (GwAgent *agent)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwHostConfig) config = gw_agent_copy_config (agent);
    g_autoptr (GPtrArray) jobs = gw_job_find_waiting (config, &error);
    for (guint i = 0; jobs != NULL && i < jobs->len; i++)
        take_up (agent, jobs->pdata[i]);
    if (error != NULL)
        g_warning ("jobs that wait for this agent: %s", error->message);
}

GwJob *
gw_agent_start_job (GwAgent *agent, const GwPlan *plan, GwJobProgressFn fn, gpointer user_data,
                    GError **error)
{
    g_autoptr (GwHostConfig) config = gw_agent_copy_config (agent);
    g_autoptr (GwJob) job = gw_job_new (plan, config);
    gw_job_set_progress_fn (job, fn, user_data);
    g_mutex_lock (&agent->lock);
    gboolean ok = add_job (agent, job, plan->vm, error);
    g_mutex_unlock (&agent->lock);
    if (!ok)
        return NULL;
    start_thread (agent, job);
    return g_steal_pointer (&job);
}

GPtrArray *
gw_agent_list_jobs (GwAgent *agent)
{
    GPtrArray *list = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_job_unref);
    g_mutex_lock (&agent->lock);
    for (guint i = 0; i < agent->jobs->len; i++)
        g_ptr_array_add (list, gw_job_ref (agent->jobs->pdata[i]));
    g_mutex_unlock (&agent->lock);
    return list;
}

GwJob *
gw_agent_find_job (GwAgent *agent, const char *id)
{
    g_autoptr (GPtrArray) jobs = gw_agent_list_jobs (agent);
    for (guint i = 0; i < jobs->len; i++)
        if (g_strcmp0 (gw_job_get_id (jobs->pdata[i]), id) == 0)
            return gw_job_ref (jobs->pdata[i]);
    return NULL;
}

/* --- connections -------------------------------------------------------------------------------------------- */

typedef struct {
    GwAgent *agent;
    GIOStream *stream;
} ConnectionThread;

static gboolean
enter_connection (GwAgent *agent)
{
    g_mutex_lock (&agent->lock);
    gboolean ok = agent->n_connections < GW_AGENT_CONNECTIONS_MAX;
    agent->n_connections += ok;
    agent->n_threads += ok;
    g_mutex_unlock (&agent->lock);
    return ok;
}

static void
leave_connection (GwAgent *agent)
{
    g_mutex_lock (&agent->lock);
    agent->n_connections--;
    g_mutex_unlock (&agent->lock);
    gw_agent_leave_thread (agent);
}

static gpointer
serve_connection (gpointer user_data)
{
    g_autofree ConnectionThread *thread = user_data;
    gw_agent_serve (thread->agent, thread->stream, NULL);
    g_object_unref (thread->stream);
    leave_connection (thread->agent);
    return NULL;
}

static void
start_connection (GwAgent *agent, GSocketConnection *connection)
{
    if (!enter_connection (agent)) {
        g_warning ("%u connections are open; refusing one more", GW_AGENT_CONNECTIONS_MAX);
        return; /* the caller's unref closes it */
    }
    ConnectionThread *thread = g_new0 (ConnectionThread, 1);
    *thread = (ConnectionThread) { agent, G_IO_STREAM (g_object_ref (connection)) };
    g_thread_unref (g_thread_new ("connection", serve_connection, thread));
}

static gpointer
accept_connections (gpointer user_data)
{
    GwAgent *agent = user_data;
    g_autoptr (GMainContext) context = g_main_context_new ();
    g_main_context_push_thread_default (context);
    while (!g_cancellable_is_cancelled (agent->stopping)) {
        g_autoptr (GError) error = NULL;
        g_autoptr (GSocketConnection) connection =
            gw_rpc_accept (agent->listener, context, G_MAXINT64, agent->stopping, &error);
        if (connection != NULL)
            start_connection (agent, connection);
        else if (gw_error_get_cause (error) != GW_CAUSE_ABORTED) {
            g_warning ("%s", error->message);
            (void) gw_wait_ms (context, 50, agent->stopping, NULL); /* out of descriptors, perhaps */
        }
    }
    g_main_context_pop_thread_default (context);
    return NULL;
}

gboolean
gw_agent_listen (GwAgent *agent, const char *path, guint mode, GError **error)
{
    g_assert (agent->listener == NULL);
    g_autofree char *dir = g_path_get_dirname (path);
    if (g_mkdir_with_parents (dir, 0711) != 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "cannot make directory '%s'", dir);
    agent->listener = gw_rpc_listen_unix (path, mode, error);
    if (agent->listener == NULL)
        return FALSE;
    agent->socket_path = g_strdup (path);
    agent->acceptor = g_thread_new ("acceptor", accept_connections, agent);
    return TRUE;
}

gboolean
gw_agent_listen_peers (GwAgent *agent, GError **error)
{
    GError *failure = NULL;
    agent->peers = gw_peers_new (agent, &failure);
    if (failure != NULL)
        g_propagate_error (error, failure);
    return failure == NULL;
}

/* --- the end -------------------------------------------------------------------------------------------------- */

void
gw_agent_stop (GwAgent *agent)
{
    g_autoptr (GPtrArray) jobs = gw_agent_list_jobs (agent);
    g_cancellable_cancel (agent->stopping);
    if (agent->acceptor != NULL)
        g_thread_join (g_steal_pointer (&agent->acceptor));
    if (agent->peers != NULL)
        gw_peers_stop (agent->peers);
    if (agent->socket_path != NULL)
        (void) unlink (agent->socket_path); /* it may have been removed by somebody already */
    g_clear_pointer (&agent->socket_path, g_free);
    for (guint i = 0; i < jobs->len; i++)
        if (!gw_job_leave (jobs->pdata[i]))
            (void) gw_job_abort (jobs->pdata[i]); /* one that is past the turn is finished first */
    /* every step of a job and every request has a time limit of its own */
    g_mutex_lock (&agent->lock);
    while (agent->n_threads > 0)
        g_cond_wait (&agent->changed, &agent->lock);
    g_mutex_unlock (&agent->lock);
}

void
gw_agent_free (GwAgent *agent)
{
    if (agent == NULL)
        return;
    gw_agent_stop (agent);
    gw_peers_free (agent->peers);
    g_clear_object (&agent->listener);
    g_ptr_array_unref (agent->jobs);
    g_object_unref (agent->stopping);
    gw_host_config_free (agent->config);
    g_mutex_clear (&agent->lock);
    g_cond_clear (&agent->changed);
    g_free (agent);
}

GCancellable *
gw_agent_get_stopping (GwAgent *agent)
{
    return agent->stopping;
}
