/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where guest memory is: QEMU's map of it, and the pages of virtio's rings. */
#include "rehearse.h"

#include <string.h>

#define DEVICES_MAX 256
#define QUEUES_MAX 1024 /* of all devices together */

/* --- the map ------------------------------------------------------------------------------------- */

/* "  0000000000100000-0000000007ffdfff (prio 0, ram): pc.ram @0000000000100000 KVM" */
#define RANGE_LINE                                                                                 \
    "^\\s+([0-9a-f]{16})-([0-9a-f]{16}) \\(prio -?\\d+, (?:ram|rom|ramd|romd|nv-ram)\\): (\\S+)"    \
    "(?: @([0-9a-f]{16}))?"

static void
range_clear (gpointer data)
{
    g_free (((GwRamRange *) data)->region);
}

static guint64
match_hex (const GMatchInfo *match, gint group)
{
    g_autofree char *text = g_match_info_fetch (match, group);
    return text != NULL ? g_ascii_strtoull (text, NULL, 16) : 0;
}

static void
take_range (GArray *ranges, const GRegex *regex, const char *line)
{
    g_autoptr (GMatchInfo) match = NULL;
    if (!g_regex_match (regex, line, 0, &match))
        return;
    GwRamRange range = { match_hex (match, 1), match_hex (match, 2), match_hex (match, 4),
                         g_match_info_fetch (match, 3) };
    g_array_append_val (ranges, range);
}

/* The view of the address space "memory"; each view begins with the spaces that have it. */
GArray *
gw_parse_ram_map (const char *mtree)
{
    GArray *ranges = g_array_new (FALSE, FALSE, sizeof (GwRamRange));
    g_array_set_clear_func (ranges, range_clear);
    g_autoptr (GRegex) regex = g_regex_new (RANGE_LINE, G_REGEX_RAW, 0, NULL);
    g_assert (regex != NULL);
    g_auto (GStrv) lines = g_strsplit (mtree, "\n", -1);
    gboolean is_memory = FALSE;
    for (gsize i = 0; lines[i] != NULL; i++) {
        if (g_str_has_prefix (lines[i], "FlatView"))
            is_memory = FALSE;
        else if (strstr (lines[i], " AS \"memory\"") != NULL)
            is_memory = TRUE;
        else if (is_memory)
            take_range (ranges, regex, lines[i]);
    }
    return ranges;
}

/* A block is called as its region, behind the path of the device that it belongs to. */
static gboolean
is_block_of (const char *block, const char *region)
{
    gsize n = strlen (block), m = strlen (region);
    return strcmp (block, region) == 0 ||
           (n > m && block[n - m - 1] == '/' && strcmp (block + n - m, region) == 0);
}

gboolean
gw_ram_map_find_address (const GArray *map, const char *block, guint64 offset, guint64 *ret_address)
{
    for (guint i = 0; i < map->len; i++) {
        const GwRamRange *range = &g_array_index (map, GwRamRange, i);
        if (!is_block_of (block, range->region) || offset < range->offset ||
            offset - range->offset > range->last - range->first)
            continue;
        *ret_address = range->first + (offset - range->offset);
        return TRUE;
    }
    return FALSE;
}

gboolean
gw_ram_map_find_page (const GArray *map, const GwVm *vm, guint64 address, const char **ret_block,
                      guint64 *ret_offset)
{
    for (guint i = 0; i < map->len; i++) {
        const GwRamRange *range = &g_array_index (map, GwRamRange, i);
        if (address < range->first || address > range->last)
            continue;
        for (guint k = 0; k < vm->ram_blocks->len; k++) {
            const GwRamBlock *block = vm->ram_blocks->pdata[k];
            if (!is_block_of (block->name, range->region))
                continue;
            *ret_block = block->name;
            *ret_offset = range->offset + (address - range->first);
            return TRUE;
        }
    }
    return FALSE;
}

/* --- rings ----------------------------------------------------------------------------------------- */

typedef struct {
    GArray *pages; /* GwRingPage */
    guint n_queues;
} Rings;

static void
add_page (Rings *rings, gint64 address, gboolean is_busy)
{
    GwRingPage page = { (guint64) address & ~(guint64) (GW_REHEARSAL_PAGE_BYTES - 1), is_busy };
    if (address <= 0)
        return;
    for (guint i = 0; i < rings->pages->len; i++) {
        GwRingPage *known = &g_array_index (rings->pages, GwRingPage, i);
        if (known->address != page.address)
            continue;
        known->is_busy |= is_busy;
        return;
    }
    g_array_append_val (rings->pages, page);
}

static JsonObject *
as_object (JsonNode *node)
{
    return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

/* Loading reads the index of the available and that of the used ring, both at byte 2. */
static void
take_queue (JsonNode *reply, gpointer user_data)
{
    JsonObject *queue = as_object (reply);
    if (queue == NULL || gw_json_peek_int (queue, "vring-desc", 0) == 0)
        return;
    gboolean is_busy = gw_json_peek_int (queue, "last-avail-idx", 0) != 0;
    add_page (user_data, gw_json_peek_int (queue, "vring-avail", 0) + 2, is_busy);
    add_page (user_data, gw_json_peek_int (queue, "vring-used", 0) + 2, is_busy);
}

static void
take_node (JsonNode *reply, gpointer user_data)
{
    JsonNode **slot = user_data;
    *slot = reply != NULL ? json_node_copy (reply) : NULL;
}

static gboolean
ask_queues (GwQmp *qmp, GMainContext *context, const char *path, Rings *rings,
            GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonNode) status = NULL;
    GwQmpSet *set = gw_qmp_set_new (qmp);
    gw_qmp_set_ask (set, GW_QMP_QUERY_VIRTIO_STATUS, gw_json_new ("path:s", path, NULL), take_node,
                    &status);
    if (!gw_qmp_set_finish (set, context, cancellable, error))
        return FALSE;
    JsonObject *object = as_object (status);
    gint64 n = object != NULL ? gw_json_peek_int (object, "num-vqs", 0) : 0;
    set = gw_qmp_set_new (qmp);
    for (gint64 i = 0; i < n && i < GW_QMP_QUEUE_MAX / 2 && rings->n_queues < QUEUES_MAX; i++) {
        rings->n_queues++;
        gw_qmp_set_ask (set, GW_QMP_QUERY_VIRTIO_QUEUE_STATUS,
                        gw_json_new ("path:s", path, "queue:i", i, NULL), take_queue, rings);
    }
    return gw_qmp_set_finish (set, context, cancellable, error);
}

GArray *
gw_find_rings (GwQmp *qmp, GMainContext *context, GCancellable *cancellable, GError **error)
{
    g_autoptr (GArray) pages = g_array_new (FALSE, FALSE, sizeof (GwRingPage));
    g_autoptr (JsonNode) devices = NULL;
    Rings rings = { pages, 0 };
    GwQmpSet *set = gw_qmp_set_new (qmp);
    gw_qmp_set_ask (set, GW_QMP_QUERY_VIRTIO, NULL, take_node, &devices);
    if (!gw_qmp_set_finish (set, context, cancellable, error))
        return NULL;
    JsonArray *list = devices != NULL && JSON_NODE_HOLDS_ARRAY (devices)
                          ? json_node_get_array (devices)
                          : NULL;
    for (guint i = 0; list != NULL && i < json_array_get_length (list) && i < DEVICES_MAX; i++) {
        const char *path =
            gw_json_peek_string (json_array_get_object_element (list, i), "path", NULL);
        if (path != NULL && !ask_queues (qmp, context, path, &rings, cancellable, error))
            return NULL;
    }
    return g_steal_pointer (&pages);
}
