/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The destination's part of a rehearsal: see rehearse.h. */
#include "inventory.h"
#include "allow.h"
#include "rehearse.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LAUNCH_MS 45000
#define CONNECT_MS 5000
#define LOAD_MS 20000 /* without any sign from QEMU */
#define END_MS 3000   /* for its last words, when it gives up */
#define WORDS_MAX 1500

typedef struct _GwRehearsal GwRehearsal;
struct _GwRehearsal {
    GwProcess *qemu;
    GwQmp *qmp;
    GwFeed *feed;
    GByteArray *saved;
    char *log_path, *qmp_path;
    gboolean has_postcopy;
    gboolean is_started;
};

static void
rehearsal_free (GwRehearsal *r)
{
    g_clear_pointer (&r->qmp, gw_qmp_free);
    g_clear_pointer (&r->feed, gw_feed_free);
    if (r->qemu != NULL)
        gw_process_stop (r->qemu, 0);
    gw_process_free (r->qemu);
    if (r->qmp_path != NULL)
        (void) unlink (r->qmp_path);
    if (r->log_path != NULL)
        (void) unlink (r->log_path);
    g_byte_array_unref (r->saved);
    g_free (r->qmp_path);
    g_free (r->log_path);
    g_free (r);
}

void
gw_local_drop_rehearsal (LocalHost *local)
{
    g_clear_pointer (&local->rehearsal, rehearsal_free);
}

static gboolean
need_job (LocalHost *local, gboolean has_rehearsal, GError **error)
{
    if (local->job_dir == NULL || local->side != GW_SIDE_DESTINATION)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "no job is open here as destination");
    if ((local->rehearsal != NULL) != has_rehearsal)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "%s rehearsal is under way here",
                        has_rehearsal ? "no" : "a");
    return TRUE;
}

/* --- launching ---------------------------------------------------------------------------------------- */

static GStrv
complete_argv (const GwRehearsal *r, const char *program, const char *const *argv)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    g_autofree char *chardev =
        g_strdup_printf ("socket,id=godwit-qmp,path=%s,server=on,wait=off", r->qmp_path);
    const char *const ours[] = { "-S",    "-incoming", "defer", "-chardev", chardev, "-mon",
                                 "chardev=godwit-qmp,mode=control", NULL };
    g_strv_builder_add (builder, program);
    g_strv_builder_addv (builder, (const char **) argv);
    g_strv_builder_addv (builder, (const char **) ours);
    return g_strv_builder_end (builder);
}

static gboolean
spawn_qemu (LocalHost *local, GwRehearsal *r, JsonObject *params, GError **error)
{
    g_autofree char *program =
        gw_find_qemu (local->config, gw_json_peek_string (params, "qemu", NULL), error);
    if (program == NULL)
        return FALSE;
    g_auto (GStrv) given = gw_json_peek_strv (params, "argv");
    const char *user = gw_json_peek_string (params, "user", NULL);
    if (!gw_allow_launch (local->config, (const char *const *) given, user, error))
        return FALSE;
    g_auto (GStrv) argv = complete_argv (r, program, (const char *const *) given);
    GwProcessSpec spec = {
        .argv = (const char *const *) argv,
        .cwd = gw_allow_choose_cwd (local->config, gw_json_peek_string (params, "cwd", "/"), local->job_dir),
        .log_path = r->log_path,
        .user = gw_qemu_changes_user ((const char *const *) argv) ? NULL : user,
        .dies_with_us = TRUE,
    };
    r->qemu = gw_process_spawn (&spec, local->context, NULL, NULL, error);
    return r->qemu != NULL;
}

static gboolean
wait_for_monitor (LocalHost *local, GwRehearsal *r, GCancellable *cancellable, GError **error)
{
    gint64 deadline = gw_deadline_ms (LAUNCH_MS);
    for (;;) {
        g_autoptr (GError) failure = NULL;
        r->qmp = gw_qmp_connect (r->qmp_path, local->context,
                                 MIN (gw_deadline_left_ms (deadline), CONNECT_MS), cancellable,
                                 &failure);
        if (r->qmp != NULL)
            return TRUE;
        if (gw_error_get_cause (failure) == GW_CAUSE_ABORTED) {
            g_propagate_error (error, g_steal_pointer (&failure));
            return FALSE;
        }
        (void) gw_process_wait (r->qemu, 5, NULL);
        if (!gw_process_is_running (r->qemu)) {
            g_autofree char *how = gw_process_describe_end (r->qemu);
            return gw_fail (error, GW_CAUSE_REHEARSAL_LAUNCH,
                            "the QEMU of the rehearsal on the destination %s", how);
        }
        if (g_get_monotonic_time () > deadline)
            return gw_fail (error, GW_CAUSE_TIMED_OUT,
                            "the QEMU of the rehearsal runs but its monitor does not answer: %s",
                            failure->message);
    }
}

static gboolean
set_capability (GwRehearsal *r, const char *name, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonArray) list = json_array_new ();
    json_array_add_object_element (list,
                                   gw_json_new ("capability:s", name, "state:b", TRUE, NULL));
    g_autoptr (JsonObject) arguments =
        gw_json_new ("capabilities:n", json_node_init_array (json_node_alloc (), list), NULL);
    g_autoptr (JsonNode) reply =
        gw_qmp_call (r->qmp, GW_QMP_MIGRATE_SET_CAPABILITIES, arguments, cancellable, error);
    return reply != NULL;
}

/* QEMU refuses postcopy-ram where the kernel, or its user's rights, give no userfaultfd. */
static void
choose_way (GwRehearsal *r, GCancellable *cancellable, char **ret_why)
{
    g_autoptr (GError) error = NULL;
    r->has_postcopy = set_capability (r, "postcopy-ram", cancellable, &error);
    if (r->has_postcopy)
        return;
    *ret_why = g_strdup (error->message);
    (void) set_capability (r, "return-path", cancellable, NULL); /* seen when it loads */
}

static gboolean
launch (LocalHost *local, GwRehearsal *r, JsonObject *params, GCancellable *cancellable,
        GError **error)
{
    const char *user = gw_json_peek_string (params, "user", NULL);
    return gw_directory_make (local->job_dir, user, error) &&
           spawn_qemu (local, r, params, error) && wait_for_monitor (local, r, cancellable, error);
}

JsonObject *
gw_local_rehearse_launch (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                          GError **error)
{
    if (!need_job (local, FALSE, error))
        return NULL;
    GwRehearsal *r = g_new0 (GwRehearsal, 1);
    local->rehearsal = r;
    r->saved = g_byte_array_new ();
    r->qmp_path = g_build_filename (local->job_dir, "rehearse.sock", NULL);
    r->log_path = g_build_filename (local->job_dir, "rehearse.log", NULL);
    if (!launch (local, r, params, cancellable, error)) {
        gw_local_drop_rehearsal (local);
        return NULL;
    }
    g_autoptr (GwInventory) inventory =
        gw_read_inventory (r->qmp, local->context, cancellable, error);
    if (inventory == NULL) {
        gw_local_drop_rehearsal (local);
        return NULL;
    }
    g_autofree char *why = NULL;
    choose_way (r, cancellable, &why);
    return gw_json_new ("inventory:o", gw_struct_to_json (&gw_inventory_type, inventory),
                        "postcopy:b", r->has_postcopy, "why:s", why, NULL);
}

/* --- taking ------------------------------------------------------------------------------------------- */

static gboolean
connect_feed (LocalHost *local, GwRehearsal *r, GCancellable *cancellable, GError **error)
{
    int pair[2];
    if (r->feed != NULL)
        return TRUE;
    if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "socketpair: %s", g_strerror (errno));
    r->feed = gw_feed_new (pair[0], local->context);
    g_auto (GwFd) theirs = pair[1];
    g_autoptr (JsonObject) name = gw_json_new ("fdname:s", "rehearsal", NULL);
    g_autoptr (JsonNode) reply =
        gw_qmp_call_fd (r->qmp, GW_QMP_GETFD, name, theirs, cancellable, error);
    if (reply == NULL)
        return FALSE;
    g_autoptr (JsonObject) uri = gw_json_new ("uri:s", "fd:rehearsal", NULL);
    g_autoptr (JsonNode) begun =
        gw_qmp_call (r->qmp, GW_QMP_MIGRATE_INCOMING, uri, cancellable, error);
    return begun != NULL;
}

static gboolean
take_page (GwRehearsal *r, JsonObject *page, GError **error)
{
    gint64 offset;
    gsize len = 0;
    const char *block = gw_json_get_string (page, "block", error);
    const char *text = block != NULL ? gw_json_get_string (page, "data", error) : NULL;
    if (text == NULL || !gw_json_get_int (page, "offset", 0, G_MAXINT64, &offset, error))
        return FALSE;
    g_autofree guchar *data = g_base64_decode (text, &len);
    if (len != GW_REHEARSAL_PAGE_BYTES || strlen (block) > 255)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "a page of the rehearsal has %zu bytes", len);
    return gw_feed_add_page (r->feed, block, (guint64) offset, data, error);
}

static gboolean
take_state (GwRehearsal *r, const char *text, GError **error)
{
    gsize len = 0;
    g_autofree guchar *data = g_base64_decode (text, &len);
    if (r->saved->len + len > GW_REHEARSAL_STATE_MAX)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "the device state is over %u bytes",
                        GW_REHEARSAL_STATE_MAX);
    g_byte_array_append (r->saved, data, (guint) len);
    return TRUE;
}

JsonObject *
gw_local_rehearse_put (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                       GError **error)
{
    if (!need_job (local, TRUE, error) ||
        !connect_feed (local, local->rehearsal, cancellable, error))
        return NULL;
    g_auto (GStrv) state = gw_json_peek_strv (params, "state");
    JsonArray *pages = gw_json_peek_array (params, "pages");
    for (gsize i = 0; state[i] != NULL; i++)
        if (!take_state (local->rehearsal, state[i], error))
            return NULL;
    for (guint i = 0; pages != NULL && i < json_array_get_length (pages); i++) {
        JsonNode *page = json_array_get_element (pages, i);
        if (!JSON_NODE_HOLDS_OBJECT (page)) {
            gw_fail (error, GW_CAUSE_RPC_INVALID, "a page of the rehearsal is no object");
            return NULL;
        }
        if (!take_page (local->rehearsal, json_node_get_object (page), error))
            return NULL;
    }
    return json_object_new ();
}

/* --- loading -------------------------------------------------------------------------------------------- */

static gboolean
start_feed (GwRehearsal *r, JsonObject *params, GError **error)
{
    const char *machine = gw_json_get_string (params, "machine", error);
    JsonArray *list = gw_json_peek_array (params, "blocks");
    guint n = list != NULL ? json_array_get_length (list) : 0;
    if (machine == NULL)
        return FALSE;
    if (n == 0 || n > GW_ARRAY_MAX || strlen (machine) > 255)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "the rehearsal has %u RAM blocks", n);
    g_autofree GwFeedBlock *blocks = g_new0 (GwFeedBlock, n);
    for (guint i = 0; i < n; i++) {
        JsonNode *node = json_array_get_element (list, i);
        JsonObject *block = JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
        blocks[i].name = block != NULL ? gw_json_peek_string (block, "name", NULL) : NULL;
        blocks[i].used_bytes =
            block != NULL ? (guint64) gw_json_peek_int (block, "used_bytes", 0) : 0;
        if (blocks[i].name == NULL || strlen (blocks[i].name) > 255)
            return gw_fail (error, GW_CAUSE_RPC_INVALID, "RAM block %u has no name", i);
    }
    GwFeedSpec spec = { machine,       blocks,        n, r->saved->data, r->saved->len,
                        r->has_postcopy };
    r->is_started = TRUE;
    return gw_feed_start (r->feed, &spec, error);
}

static gboolean
has_news (gpointer user_data)
{
    GwRehearsal *r = user_data;
    const char *block;
    guint64 offset;
    return gw_feed_is_loaded (r->feed) || gw_feed_has_ended (r->feed) ||
           !gw_process_is_running (r->qemu) || gw_feed_get_wanted (r->feed, &block, &offset);
}

static JsonObject *
load_failed (GwRehearsal *r, GError **error)
{
    (void) gw_process_wait (r->qemu, END_MS, NULL); /* QEMU 7.2 ends after it has said why */
    g_autofree char *how = gw_process_describe_end (r->qemu);
    gw_fail (error,
             gw_ending_tells_rejection (how) ? GW_CAUSE_REHEARSAL_REJECTED : GW_CAUSE_QEMU_DIED,
             "the QEMU of the rehearsal on the destination could not load the device state: it %s",
             how);
    return NULL;
}

static JsonObject *
tell_loaded (GwRehearsal *r)
{
    g_autofree char *words = gw_process_read_log (r->log_path, WORDS_MAX);
    return gw_json_new ("loaded:b", TRUE, "load_us:i", gw_feed_get_load_us (r->feed), "pages:i",
                        (gint64) gw_feed_get_n_served (r->feed), "words:s", words, NULL);
}

JsonObject *
gw_local_rehearse_load (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                        GError **error)
{
    const char *block;
    guint64 offset;
    if (!need_job (local, TRUE, error))
        return NULL;
    GwRehearsal *r = local->rehearsal;
    if (!connect_feed (local, r, cancellable, error) ||
        (!r->is_started && !start_feed (r, params, error)))
        return NULL;
    if (!gw_wait_until (local->context, has_news, r, gw_deadline_ms (LOAD_MS), cancellable, error)) {
        g_prefix_error (error, "the QEMU of the rehearsal loads the device state: ");
        return NULL;
    }
    if (gw_feed_is_loaded (r->feed))
        return tell_loaded (r);
    if (gw_feed_get_wanted (r->feed, &block, &offset) && gw_process_is_running (r->qemu) &&
        !gw_feed_has_ended (r->feed))
        return gw_json_new ("loaded:b", FALSE, "block:s", block, "offset:i", (gint64) offset, NULL);
    return load_failed (r, error);
}

JsonObject *
gw_local_rehearse_end (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                       GError **error)
{
    gw_local_drop_rehearsal (local);
    return json_object_new ();
}
