/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The source's part of a rehearsal: see rehearse.h. */
#include "rehearse.h"

#include <glib/gstdio.h>
#include <string.h>

#define RANGES_MAX (GW_QMP_BATCH_MAX - 3) /* read in the stop */
#define RANGE_BYTES_MAX (64u << 10)
#define READ_GAP_BYTES (4 * GW_REHEARSAL_PAGE_BYTES) /* read rather than left out */
#define ROMS_FIRST 0xc0000u
#define ROMS_END 0x100000u
#define HOLDER_SECONDS "20"
#define SAVE_MS 310000 /* longer than the limit of any of the commands */

typedef struct {
    guint64 address, bytes;
} Range;

typedef struct {
    LocalHost *local;
    GArray *map;     /* GwRamRange */
    GArray *rings;   /* GwRingPage */
    GArray *ranges;  /* Range, read in the stop */
    char *state_path;
    guint n_open;    /* commands without an answer */
    GError *failure; /* the first, of a command that matters */
} Save;

static void
save_clear (Save *save)
{
    g_clear_pointer (&save->map, g_array_unref);
    g_clear_pointer (&save->rings, g_array_unref);
    g_clear_pointer (&save->ranges, g_array_unref);
    g_clear_error (&save->failure);
    if (save->state_path != NULL)
        (void) g_unlink (save->state_path);
    g_free (save->state_path);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Save, save_clear)

static gboolean
need_source (LocalHost *local, GError **error)
{
    if (local->vm == NULL || local->job_dir == NULL || local->side != GW_SIDE_SOURCE)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "no job is open here as source");
    if (local->qmp == NULL)
        return gw_fail (error, GW_CAUSE_QMP_GONE, "there is no QEMU to ask");
    return TRUE;
}

static GArray *
read_map (LocalHost *local, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) arguments = gw_json_new ("command-line:s", "info mtree -f", NULL);
    g_autoptr (JsonNode) reply =
        gw_qmp_call (local->qmp, GW_QMP_HUMAN_MONITOR_COMMAND, arguments, cancellable, error);
    if (reply == NULL)
        return NULL;
    if (!JSON_NODE_HOLDS_VALUE (reply) || json_node_get_value_type (reply) != G_TYPE_STRING) {
        gw_fail (error, GW_CAUSE_QMP_INVALID, "info mtree: the reply is no text");
        return NULL;
    }
    return gw_parse_ram_map (json_node_get_string (reply));
}

/* --- pages ------------------------------------------------------------------------------------------ */

static char *
range_path (const LocalHost *local, guint index)
{
    return g_strdup_printf ("%s/pages-%u", local->job_dir, index);
}

static JsonObject *
read_arguments (const Range *range, const char *path)
{
    return gw_json_new ("val:i", (gint64) range->address, "size:i", (gint64) range->bytes,
                        "filename:s", path, NULL);
}

static void
add_page (JsonArray *pages, const char *block, guint64 offset, const guint8 *data)
{
    g_autofree char *text = g_base64_encode (data, GW_REHEARSAL_PAGE_BYTES);
    json_array_add_object_element (pages, gw_json_new ("block:s", block, "offset:i", (gint64) offset,
                                                       "data:s", text, NULL));
}

/* Takes what QEMU wrote to `path`, if it did; an address that is no RAM is no failure. */
static void
take_range (const Save *save, const Range *range, const char *path, JsonArray *pages)
{
    g_autofree char *data = NULL;
    gsize len = 0;
    gboolean has_read = g_file_get_contents (path, &data, &len, NULL);
    (void) g_unlink (path);
    for (guint64 at = 0; has_read && at + GW_REHEARSAL_PAGE_BYTES <= len;
         at += GW_REHEARSAL_PAGE_BYTES) {
        const char *block;
        guint64 offset;
        if (gw_ram_map_find_page (save->map, save->local->vm, range->address + at, &block, &offset))
            add_page (pages, block, offset, (const guint8 *) data + at);
    }
}

static gint
by_address (gconstpointer a, gconstpointer b)
{
    const GwRingPage *x = a, *y = b;
    return x->address < y->address ? -1 : x->address > y->address;
}

/* The pages of rings, busy or not, as ranges of the most that fit. */
static GArray *
plan_ranges (GArray *rings, gboolean is_busy, guint max)
{
    GArray *ranges = g_array_new (FALSE, FALSE, sizeof (Range));
    g_array_sort (rings, by_address);
    for (guint i = 0; i < rings->len; i++) {
        const GwRingPage *page = &g_array_index (rings, GwRingPage, i);
        Range *last = ranges->len > 0 ? &g_array_index (ranges, Range, ranges->len - 1) : NULL;
        guint64 end = page->address + GW_REHEARSAL_PAGE_BYTES;
        if (page->is_busy != is_busy)
            continue;
        if (last != NULL && page->address <= last->address + last->bytes + READ_GAP_BYTES &&
            end - last->address <= RANGE_BYTES_MAX) {
            last->bytes = end - last->address;
        } else if (ranges->len < max) {
            Range range = { page->address, GW_REHEARSAL_PAGE_BYTES };
            g_array_append_val (ranges, range);
        }
    }
    return ranges;
}

/* Reads while the guest runs. */
static gboolean
read_range (const Save *save, const Range *range, JsonArray *pages, GCancellable *cancellable,
            GError **error)
{
    g_autofree char *path = range_path (save->local, G_MAXUINT);
    g_autoptr (GError) failure = NULL;
    if (!gw_local_qmp (save->local, GW_QMP_PMEMSAVE, read_arguments (range, path), cancellable,
                       &failure) &&
        gw_error_get_cause (failure) != GW_CAUSE_QMP_COMMAND) {
        g_propagate_error (error, g_steal_pointer (&failure));
        return FALSE;
    }
    take_range (save, range, path, pages);
    return TRUE;
}

/* --- the stop --------------------------------------------------------------------------------------- */

static void
on_answer (JsonNode *reply, const GError *error, gpointer user_data)
{
    Save *save = user_data;
    save->n_open--;
    if (error != NULL && save->failure == NULL)
        save->failure = g_error_copy (error);
}

static void
on_page_answer (JsonNode *reply, const GError *error, gpointer user_data)
{
    ((Save *) user_data)->n_open--; /* a range that is no RAM is left out */
}

static gboolean
all_answered (gpointer user_data)
{
    return ((Save *) user_data)->n_open == 0;
}

static void
add_order (GArray *orders, GwQmpCommand command, JsonObject *arguments, GwQmpReplyFn fn, Save *save)
{
    GwQmpOrder order = { command, arguments, fn, save };
    g_array_append_val (orders, order);
}

static GArray *
make_orders (Save *save)
{
    GArray *orders = g_array_new (FALSE, FALSE, sizeof (GwQmpOrder));
    if (save->local->vm->is_running)
        add_order (orders, GW_QMP_STOP, NULL, on_answer, save);
    add_order (orders, GW_QMP_XEN_SAVE_DEVICES_STATE,
               gw_json_new ("filename:s", save->state_path, "live:b", FALSE, NULL), on_answer, save);
    for (guint i = 0; i < save->ranges->len; i++) {
        g_autofree char *path = range_path (save->local, i);
        add_order (orders, GW_QMP_PMEMSAVE,
                   read_arguments (&g_array_index (save->ranges, Range, i), path), on_page_answer,
                   save);
    }
    if (save->local->vm->is_running)
        add_order (orders, GW_QMP_CONT, NULL, on_answer, save);
    return orders;
}

static gboolean
send_orders (Save *save, GError **error)
{
    g_autoptr (GArray) orders = make_orders (save);
    save->n_open = orders->len;
    gboolean ok = gw_qmp_send_batch (save->local->qmp, (const GwQmpOrder *) (gpointer) orders->data,
                                     orders->len, error);
    for (guint i = 0; i < orders->len; i++)
        if (g_array_index (orders, GwQmpOrder, i).arguments != NULL)
            json_object_unref (g_array_index (orders, GwQmpOrder, i).arguments);
    if (!ok)
        save->n_open = 0;
    return ok;
}

/* Holds the monitor's socket open for a while, whatever becomes of us: QEMU forgets the commands of
 * a client that is gone, `cont` among them. */
static GwProcess *
start_holder (LocalHost *local, GError **error)
{
    static const char *const argv[] = { "sleep", HOLDER_SECONDS, NULL };
    int fd = gw_qmp_dup_socket (local->qmp);
    if (fd < 0) {
        gw_fail (error, GW_CAUSE_QMP_GONE, "the connection to QEMU's monitor is closed");
        return NULL;
    }
    GwProcessSpec spec = { .argv = argv, .fds = &fd, .n_fds = 1 };
    return gw_process_spawn (&spec, local->context, NULL, NULL, error);
}

/* Whether the guest still runs, so that `cont` takes back our stop and nobody else's. */
static gboolean
check_running (LocalHost *local, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonNode) reply =
        gw_qmp_call (local->qmp, GW_QMP_QUERY_STATUS, NULL, cancellable, error);
    if (reply == NULL)
        return FALSE;
    gboolean is_running = JSON_NODE_HOLDS_OBJECT (reply) &&
                          gw_json_peek_bool (json_node_get_object (reply), "running", FALSE);
    if (is_running != local->vm->is_running)
        return gw_fail (error, GW_CAUSE_VM_STATE, "the guest was %s when it was adopted and %s now",
                        local->vm->is_running ? "running" : "stopped",
                        is_running ? "runs" : "does not run");
    return TRUE;
}

static gboolean
stop_and_save (Save *save, GError **error)
{
    LocalHost *local = save->local;
    g_autoptr (GwProcess) holder = start_holder (local, error);
    if (holder == NULL)
        return FALSE;
    local->stopped_us = local->resumed_us = 0;
    /* not cut short: the answers would come to freed memory.  Each has a limit of its own. */
    gboolean ok = send_orders (save, error) &&
                  gw_wait_until (local->context, all_answered, save, gw_deadline_ms (SAVE_MS), NULL,
                                 error);
    g_assert (save->n_open == 0); /* QEMU answers, or the client does in its place */
    gw_process_stop (holder, 500);
    if (ok && save->failure != NULL) {
        g_propagate_error (error, g_steal_pointer (&save->failure));
        return FALSE;
    }
    return ok;
}

/* --- operations ------------------------------------------------------------------------------------- */

/* Where option ROMs and their shadows lie; loading looks for the one that the TPR patches. */
static void
add_roms (GArray *pages)
{
    for (guint64 at = ROMS_FIRST; at < ROMS_END; at += GW_REHEARSAL_PAGE_BYTES) {
        GwRingPage page = { at, FALSE };
        g_array_append_val (pages, page);
    }
}

static gboolean
prepare_save (Save *save, JsonObject *params, GCancellable *cancellable, GError **error)
{
    LocalHost *local = save->local;
    JsonArray *more = gw_json_peek_array (params, "pages");
    save->map = read_map (local, cancellable, error);
    if (save->map == NULL)
        return FALSE;
    save->rings = gw_find_rings (local->qmp, local->context, cancellable, error);
    if (save->rings == NULL)
        return FALSE;
    for (guint i = 0; more != NULL && i < json_array_get_length (more); i++) {
        JsonObject *page = json_array_get_object_element (more, i);
        GwRingPage known = { 0, TRUE };
        if (gw_ram_map_find_address (save->map, gw_json_peek_string (page, "block", ""),
                                     (guint64) gw_json_peek_int (page, "offset", 0), &known.address))
            g_array_append_val (save->rings, known);
    }
    if (gw_json_peek_bool (params, "blind", FALSE))
        add_roms (save->rings);
    save->ranges = plan_ranges (save->rings, TRUE, RANGES_MAX);
    return check_running (local, cancellable, error);
}

/* Of a page that is there twice the last one counts: that which was read in the stop. */
static JsonArray *
collect_pages (Save *save, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonArray) pages = json_array_new ();
    g_autoptr (GArray) idle = plan_ranges (save->rings, FALSE, G_MAXUINT);
    for (guint i = 0; i < idle->len; i++)
        if (!read_range (save, &g_array_index (idle, Range, i), pages, cancellable, error))
            return NULL;
    for (guint i = 0; i < save->ranges->len; i++) {
        g_autofree char *path = range_path (save->local, i);
        take_range (save, &g_array_index (save->ranges, Range, i), path, pages);
    }
    return g_steal_pointer (&pages);
}

static GStrv
encode_chunks (const guchar *data, gsize len)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    for (gsize at = 0; at < len; at += GW_REHEARSAL_CHUNK_BYTES) {
        g_autofree char *text =
            g_base64_encode (data + at, MIN (GW_REHEARSAL_CHUNK_BYTES, len - at));
        g_strv_builder_add (builder, text);
    }
    return g_strv_builder_end (builder);
}

static JsonObject *
make_result (Save *save, JsonArray *pages, GError **error)
{
    g_autofree char *state = NULL;
    gsize len = 0;
    g_autoptr (GError) failure = NULL;
    if (!g_file_get_contents (save->state_path, &state, &len, &failure) ||
        len > GW_REHEARSAL_STATE_MAX) {
        gw_fail (error, GW_CAUSE_HOST_IO, "the saved device state (%zu bytes): %s", len,
                 failure != NULL ? failure->message : "it is too large");
        return NULL;
    }
    g_auto (GStrv) chunks = encode_chunks ((const guchar *) state, len);
    LocalHost *local = save->local;
    gint64 stop_us = local->stopped_us != 0 && local->resumed_us > local->stopped_us
                         ? local->resumed_us - local->stopped_us
                         : 0;
    JsonObject *result = gw_json_new ("state:v", chunks, "bytes:i", (gint64) len, "stop_us:i", stop_us,
                                      "stopped_us:i", local->stopped_us, NULL);
    json_object_set_array_member (result, "pages", json_array_ref (pages));
    return result;
}

JsonObject *
gw_local_rehearse_save (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                        GError **error)
{
    g_auto (Save) save = { .local = local };
    if (!need_source (local, error) || !prepare_save (&save, params, cancellable, error))
        return NULL;
    save.state_path = g_build_filename (local->job_dir, "device-state", NULL);
    if (!stop_and_save (&save, error))
        return NULL;
    g_autoptr (JsonArray) pages = collect_pages (&save, cancellable, error);
    return pages != NULL ? make_result (&save, pages, error) : NULL;
}

JsonObject *
gw_local_rehearse_read (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                        GError **error)
{
    g_auto (Save) save = { .local = local };
    const char *block = gw_json_get_string (params, "block", error);
    gint64 offset;
    Range range = { 0, GW_REHEARSAL_PAGE_BYTES };
    if (block == NULL || !gw_json_get_int (params, "offset", 0, G_MAXINT64, &offset, error) ||
        !need_source (local, error))
        return NULL;
    save.map = read_map (local, cancellable, error);
    if (save.map == NULL)
        return NULL;
    g_autoptr (JsonArray) pages = json_array_new ();
    if (gw_ram_map_find_address (save.map, block, (guint64) offset, &range.address) &&
        !read_range (&save, &range, pages, cancellable, error))
        return NULL;
    if (json_array_get_length (pages) == 0) { /* nothing that the guest can see */
        static const guint8 zero[GW_REHEARSAL_PAGE_BYTES];
        add_page (pages, block, (guint64) offset, zero);
    }
    JsonObject *result = json_object_new ();
    json_object_set_array_member (result, "pages", json_array_ref (pages));
    return result;
}
