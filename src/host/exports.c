/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations of the destination: the images of copied disks, each served by a qemu-nbd on a socket in
 * the job's directory.
 *
 * Not by the destination's QEMU: its images are open but inactive until it starts, as with shared
 * storage, so nothing that it holds can be older than the copy; a program of our own discards zeroes
 * whatever the guest's command line says of the image, and when it has ended with status 0, everything
 * is written and nobody holds a lock.
 */
#include "allow.h"
#include "disk_nbd.h"
#include "host-internal.h"

#include <string.h>
#include <unistd.h>

#define SERVE_MS 10000  /* for qemu-nbd to open the image and listen */
#define CLOSE_MS 20000  /* for it to write out what it has and to end */
#define PUSH_MS 1000
#define DISKS_MAX 32

typedef struct {
    GwImage *image;
    GwProcess *server;
    char *name, *socket;
    gint64 bytes; /* of the disk */
    gboolean is_kept; /* it must be whole when the server has ended */
    gboolean is_adopted; /* the server is not our child */
} Export;

struct _GwExports {
    GwHost *host; /* borrowed */
    GMainContext *context;
    GPtrArray *list; /* Export */
    GSource *push;
    gboolean is_closing;
};

/* --- one image and its server ------------------------------------------------------------------------------ */

static void
export_free (gpointer data)
{
    Export *export = data;
    if (export->server != NULL) {
        gw_process_stop (export->server, export->is_kept ? CLOSE_MS : 0);
        gw_process_free (export->server);
    }
    if (export->image != NULL)
        gw_image_discard (export->image);
    if (export->socket != NULL)
        (void) unlink (export->socket);
    g_free (export->name);
    g_free (export->socket);
    g_free (export);
}

static void
on_server_exit (GwProcess *process, gpointer user_data)
{
    GwExports *exports = user_data;
    if (exports->is_closing)
        return;
    g_autofree char *how = gw_process_describe_end (process);
    gw_host_emit (exports->host, 0, "disk-server-exit", how);
}

/* It does not end by itself when this agent is killed (wreck.c), so it is known before it is there. */
static gboolean
journal_server (const GwImageSpec *spec, const Export *export, GError **error)
{
    pid_t pid = export->server != NULL ? gw_process_get_pid (export->server) : 0;
    const GwJournalObject server = { .kind = "server", .path = export->socket, .pid = pid,
                                     .start_time = pid != 0 ? gw_procfs_get_start_time (pid) : 0 };
    return spec->journal == NULL ||
           gw_journal_put_objects (spec->journal, spec->job, GW_SIDE_DESTINATION, &server, 1, error);
}

static gboolean
start_server (GwExports *exports, Export *export, const GwImageSpec *spec, GError **error)
{
    g_autofree char *program = gw_find_qemu_tool (spec->config, "qemu-nbd", error);
    g_autofree char *log = g_strconcat (export->socket, ".log", NULL);
    const char *const argv[] = { program, "--socket", export->socket, "--format", spec->plan->format,
                                 "--persistent", "--shared=8", "--discard=unmap",
                                 "--detect-zeroes=unmap", "--cache=writeback", "--export-name",
                                 GW_DISK_EXPORT, "--", spec->plan->target, NULL };
    GwProcessSpec process = { .argv = argv, .log_path = log, .user = spec->user };
    if (program == NULL || !journal_server (spec, export, error))
        return FALSE;
    export->server = gw_process_spawn (&process, spec->context, on_server_exit, exports, error);
    return export->server != NULL && journal_server (spec, export, error);
}

static gboolean
wait_server (GwExports *exports, Export *export, GError **error)
{
    gint64 deadline = gw_deadline_ms (SERVE_MS);
    while (!gw_path_has_listener (export->socket)) {
        if (gw_process_is_running (export->server) && g_get_monotonic_time () < deadline) {
            (void) gw_process_wait (export->server, 5, NULL);
            continue;
        }
        g_autofree char *how = gw_process_describe_end (export->server);
        return gw_fail (error, GW_CAUSE_DISK_IMAGE, "disk '%s': qemu-nbd %s", export->name, how);
    }
    return TRUE;
}

static gboolean
add_export (GwExports *exports, const GwImageSpec *spec, GError **error)
{
    Export *export = g_new0 (Export, 1);
    export->name = g_strdup (spec->plan->name);
    export->bytes = spec->plan->bytes;
    export->is_kept = spec->plan->is_kept;
    export->socket = gw_disk_socket (spec->job_dir, exports->list->len);
    g_ptr_array_add (exports->list, export);
    export->image = gw_image_new (spec, error);
    return export->image != NULL && start_server (exports, export, spec, error) &&
           wait_server (exports, export, error);
}

/* --- one of an agent that has ended -------------------------------------------------------------------------------- */

static GwProcess *
find_server (GwExports *exports, const Export *export, JsonArray *objects)
{
    g_autofree char *log = g_strconcat (export->socket, ".log", NULL);
    for (guint i = 0; i < json_array_get_length (objects); i++) {
        JsonObject *object = json_array_get_object_element (objects, i);
        if (strcmp (gw_json_peek_string (object, "kind", ""), "server") == 0 &&
            strcmp (gw_json_peek_string (object, "path", ""), export->socket) == 0)
            return gw_process_adopt ((pid_t) gw_json_peek_int (object, "pid", 0),
                                     gw_json_peek_int (object, "start_time", 0), log, exports->context,
                                     on_server_exit, exports);
    }
    return NULL;
}

static gboolean
adopt_export (GwExports *exports, const GwImageSpec *spec, JsonArray *objects, GError **error)
{
    Export *export = g_new0 (Export, 1);
    export->name = g_strdup (spec->plan->name);
    export->bytes = spec->plan->bytes;
    export->is_kept = spec->plan->is_kept;
    export->is_adopted = TRUE;
    export->socket = gw_disk_socket (spec->job_dir, exports->list->len);
    g_ptr_array_add (exports->list, export);
    export->image = gw_image_adopt (spec, objects, error);
    if (export->image == NULL)
        return FALSE;
    export->server = find_server (exports, export, objects);
    return export->server != NULL ||
           gw_fail (error, GW_CAUSE_DISK_IMAGE, "disk '%s': its qemu-nbd has ended while there was no agent",
                    export->name);
}

/* How a process that is not ours has ended can often not be told: all of it is in the image before it is to end. */
static gboolean
flush_adopted (const Export *export, GError **error)
{
    const GwDiskSource source = { export->socket, (char *) GW_DISK_EXPORT, export->bytes };
    if (!export->is_adopted || export->server == NULL)
        return TRUE;
    struct nbd_handle *nbd = gw_nbd_connect (&source, "base:allocation", error);
    if (nbd == NULL)
        return FALSE;
    gint64 cookie = nbd_aio_flush (nbd, NBD_NULL_COMPLETION, 0);
    gboolean ok = gw_nbd_wait (nbd, cookie, gw_deadline_ms (CLOSE_MS), NULL, NULL, error);
    nbd_close (nbd);
    return ok;
}

/* The copy must not wait for the storage at the very end, when the guest stands still. */
static gboolean
push_out (gpointer user_data)
{
    GwExports *exports = user_data;
    for (guint i = 0; i < exports->list->len; i++)
        gw_image_push_out (((const Export *) exports->list->pdata[i])->image);
    return G_SOURCE_CONTINUE;
}

/* --- all of them --------------------------------------------------------------------------------------------- */

static GwExports *
exports_new (LocalHost *local)
{
    GwExports *exports = g_new0 (GwExports, 1);
    exports->host = &local->host;
    exports->context = local->context;
    exports->list = g_ptr_array_new_with_free_func (export_free);
    exports->push = g_timeout_source_new (PUSH_MS);
    g_source_set_callback (exports->push, push_out, exports, NULL);
    return exports;
}

void
gw_exports_free (GwExports *exports)
{
    if (exports == NULL)
        return;
    exports->is_closing = TRUE;
    g_source_destroy (exports->push);
    g_source_unref (exports->push);
    g_ptr_array_unref (exports->list);
    g_free (exports);
}

void
gw_exports_forget (GwExports *exports)
{
    if (exports == NULL)
        return;
    for (guint i = 0; i < exports->list->len; i++) {
        Export *export = exports->list->pdata[i];
        g_clear_pointer (&export->server, gw_process_free);
        g_clear_pointer (&export->image, gw_image_forget);
        g_clear_pointer (&export->socket, g_free);
    }
    gw_exports_free (exports);
}

void
gw_exports_keep (GwExports *exports)
{
    for (guint i = 0; i < exports->list->len; i++) {
        Export *export = exports->list->pdata[i];
        gw_image_keep (g_steal_pointer (&export->image));
    }
    gw_exports_free (exports);
}

GArray *
gw_exports_list (const GwExports *exports)
{
    GArray *sources = gw_disk_sources_new ();
    for (guint i = 0; i < exports->list->len; i++) {
        const Export *export = exports->list->pdata[i];
        GwDiskSource source = { g_strdup (export->socket), g_strdup (GW_DISK_EXPORT), export->bytes };
        g_array_append_val (sources, source);
    }
    return sources;
}

static gboolean
take_plans (JsonObject *params, GwDiskPlans **ret_plans, GError **error)
{
    *ret_plans = gw_struct_from_json (&gw_disk_plans_type, params, error);
    if (*ret_plans == NULL)
        return FALSE;
    return (*ret_plans)->disks->len <= DISKS_MAX ||
           gw_fail (error, GW_CAUSE_RPC_INVALID, "more than %d disks", DISKS_MAX);
}

JsonObject *
gw_local_make_images (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    g_autoptr (GwDiskPlans) plans = NULL;
    const char *user = gw_json_peek_string (params, "user", NULL);
    if (local->job_dir == NULL || local->side != GW_SIDE_DESTINATION || local->exports != NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no job is open here that could take images");
        return NULL;
    }
    if (!take_plans (params, &plans, error) || !gw_allow_user (local->config, user, error) ||
        !gw_directory_make (local->job_dir, user, error))
        return NULL;
    local->exports = exports_new (local);
    for (guint i = 0; i < plans->disks->len; i++) {
        const GwImageSpec spec = { local->config, local->context, local->job, local->job_dir, user,
                                   plans->disks->pdata[i], local->journal };
        if (gw_disk_plan_is (spec.plan, "copy") && !add_export (local->exports, &spec, error)) {
            g_clear_pointer (&local->exports, gw_exports_free);
            return NULL;
        }
    }
    g_source_attach (local->exports->push, local->context);
    return json_object_new ();
}

static gboolean
adopt_all (LocalHost *local, const GwDiskPlans *plans, const char *user, JsonArray *objects, GError **error)
{
    for (guint i = 0; i < plans->disks->len; i++) {
        const GwImageSpec spec = { local->config, local->context, local->job, local->job_dir, user,
                                   plans->disks->pdata[i], local->journal };
        if (gw_disk_plan_is (spec.plan, "copy") && !adopt_export (local->exports, &spec, objects, error))
            return FALSE;
    }
    return TRUE;
}

gboolean
gw_local_adopt_images (LocalHost *local, JsonObject *params, GError **error)
{
    g_autoptr (GwDiskPlans) plans = NULL;
    g_autoptr (JsonArray) objects = gw_journal_list_objects (local->journal, local->job, local->side, error);
    if (objects == NULL || !take_plans (params, &plans, error))
        return FALSE;
    local->exports = exports_new (local);
    if (!adopt_all (local, plans, gw_json_peek_string (params, "user", NULL), objects, error)) {
        g_clear_pointer (&local->exports, gw_exports_forget);
        return FALSE;
    }
    g_source_attach (local->exports->push, local->context);
    return TRUE;
}

/* Every byte is in the image, and nobody but the destination's QEMU will open it. */
static gboolean
close_export (Export *export, GError **error)
{
    if (export->server == NULL)
        return TRUE;
    if (!gw_process_wait (export->server, CLOSE_MS, NULL))
        return gw_fail (error, GW_CAUSE_DISK_SYNC, "disk '%s': qemu-nbd does not end", export->name);
    g_autofree char *how = gw_process_describe_end (export->server);
    gboolean is_well = g_str_has_prefix (how, "exited with status 0") ||
                       (export->is_adopted && g_str_has_prefix (how, "has ended"));
    if (!is_well)
        return gw_fail (error, GW_CAUSE_DISK_IMAGE, "disk '%s': qemu-nbd %s", export->name, how);
    g_clear_pointer (&export->server, gw_process_free);
    return gw_image_complete (export->image, error);
}

JsonObject *
gw_local_close_images (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    if (local->exports == NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "the job has no images");
        return NULL;
    }
    for (guint i = 0; i < local->exports->list->len; i++)
        if (!flush_adopted (local->exports->list->pdata[i], error))
            return NULL;
    local->exports->is_closing = TRUE;
    for (guint i = 0; i < local->exports->list->len; i++)
        gw_process_terminate (((Export *) local->exports->list->pdata[i])->server);
    for (guint i = 0; i < local->exports->list->len; i++)
        if (!close_export (local->exports->list->pdata[i], error))
            return NULL;
    return json_object_new ();
}
