/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether what was sent of the program's memory is what it has: asked by the agent when it stands still. */
#include "courier.h"

static GwLaneGroup *
find_verified (const GwCourier *courier)
{
    for (guint i = 0; i < courier->groups->len; i++) {
        GwLaneGroup *group = g_ptr_array_index (courier->groups, i);
        if (group->option.is_verified && group->option.accepts)
            return group;
    }
    return NULL;
}

/* Of its first connection, open or not. */
static const GwRamOut *
find_out (const GwCourier *courier)
{
    const GwLaneGroup *group = find_verified (courier);
    if (group == NULL || group->kept != NULL)
        return group != NULL ? group->kept : NULL;
    for (guint i = 0; i < courier->lanes->len; i++) {
        const GwLane *lane = g_ptr_array_index (courier->lanes, i);
        if (lane->group == group && lane->index == 0)
            return lane->ram_out;
    }
    return NULL;
}

gboolean
gw_courier_awaits_verify (const GwCourier *courier)
{
    return find_verified (courier) != NULL && !courier->is_checked;
}

/* --- asked ------------------------------------------------------------------------------------------- */

static gboolean
take_block (JsonObject *object, GwRamCheckBlock *ret)
{
    const char *name = gw_control_get_text (object, "name");
    gint64 address = gw_control_get_number (object, "address", -1);
    gint64 bytes = gw_control_get_number (object, "bytes", 0);
    if (name == NULL || address < 0 || bytes <= 0 || bytes > G_MAXINT64 - address ||
        bytes % GW_PAGE_WAIT_BYTES != 0)
        return FALSE;
    *ret = (GwRamCheckBlock){ g_strdup (name), (uint64_t) address, (uint64_t) bytes };
    return TRUE;
}

/* (transfer full) */
static GArray *
read_blocks (JsonObject *line, GError **error)
{
    JsonNode *node = json_object_get_member (line, "blocks");
    JsonArray *list = node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
    guint n = list != NULL ? json_array_get_length (list) : 0;
    g_autoptr (GArray) blocks = g_array_new (FALSE, FALSE, sizeof (GwRamCheckBlock));
    gboolean ok = n > 0 && n <= GW_RAM_CHECK_BLOCKS;
    for (guint i = 0; ok && i < n; i++) {
        GwRamCheckBlock block;
        JsonNode *element = json_array_get_element (list, i);
        ok = JSON_NODE_HOLDS_OBJECT (element) && take_block (json_node_get_object (element), &block);
        if (ok)
            g_array_append_val (blocks, block);
    }
    if (ok)
        return g_steal_pointer (&blocks);
    for (guint i = 0; i < blocks->len; i++)
        g_free (g_array_index (blocks, GwRamCheckBlock, i).name);
    (void) gw_fail (error, GW_CAUSE_USAGE, "\"blocks\" is not a list of 1 to %u blocks of memory",
                    GW_RAM_CHECK_BLOCKS);
    return NULL;
}

gboolean
gw_courier_verify (GwCourier *courier, JsonObject *line, GError **error)
{
    g_auto (GwFd) memory_fd = gw_control_steal_fd (courier->control);
    const GwRamOut *out = find_out (courier);
    const GError *fault = out != NULL ? gw_ram_out_get_fault (out) : NULL;
    courier->is_checked = courier->check == NULL; /* whatever comes of it, there is no second one */
    if (out == NULL || courier->check != NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "there is no lane to be verified");
    if (fault != NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "the stream was not understood: %s", fault->message);
    if (memory_fd < 0)
        return gw_fail (error, GW_CAUSE_USAGE, "no descriptor came with it");
    GArray *blocks = read_blocks (line, error);
    if (blocks == NULL)
        return FALSE;
    courier->is_checked = FALSE;
    courier->check = gw_ram_check_start (courier->crew, out, gw_fd_steal (&memory_fd), blocks);
    gw_courier_turn_verify (courier); /* without threads it is done */
    return TRUE;
}

/* --- answered ---------------------------------------------------------------------------------------- */

void
gw_courier_turn_verify (GwCourier *courier)
{
    GwRamCheckResult result;
    if (courier->check == NULL || !gw_ram_check_is_done (courier->check))
        return;
    gw_ram_check_get_result (courier->check, &result);
    g_autoptr (JsonObject) object = json_object_new ();
    json_object_set_string_member (object, "event", "verified");
    json_object_set_int_member (object, "pages", (gint64) result.pages);
    json_object_set_int_member (object, "different", (gint64) result.different);
    json_object_set_int_member (object, "unknown", (gint64) result.unknown);
    json_object_set_int_member (object, "unread", (gint64) result.unread);
    json_object_set_int_member (object, "us", result.took_us);
    json_object_set_string_member (object, "named", result.named);
    g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), object);
    g_autofree char *json = json_to_string (node, FALSE);
    gw_control_say_json (courier->control, json);
    g_clear_pointer (&courier->check, gw_ram_check_free);
    courier->is_checked = TRUE;
}
