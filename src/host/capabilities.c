/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <string.h>

/* late-block-activate is without effect from 10.0 on.  xbzrle does what the RAM codec does, worse, and hides from
 * it what pages contain. */
static const struct {
    const char *name;
    guint when;
} capabilities[] = {
    { "events", GW_CAPABILITY_ALWAYS },
    { "return-path", GW_CAPABILITY_ALWAYS },
    { "pause-before-switchover", GW_CAPABILITY_ALWAYS },
    { "late-block-activate", GW_CAPABILITY_ALWAYS },
    { "postcopy-ram", GW_CAPABILITY_POSTCOPY },
    { "postcopy-preempt", GW_CAPABILITY_PREEMPT },
    { "postcopy-blocktime", GW_CAPABILITY_BLOCKTIME },
    { "auto-converge", GW_CAPABILITY_THROTTLE },
    { "xbzrle", GW_CAPABILITY_NEVER },
};

static gboolean
send_list (LocalHost *local, JsonArray *list, GCancellable *cancellable, GError **error)
{
    JsonNode *node = json_node_init_array (json_node_alloc (), list);
    return gw_local_qmp (local, GW_QMP_MIGRATE_SET_CAPABILITIES,
                         gw_json_new ("capabilities:n", node, NULL), cancellable, error);
}

/* When it is to be on; 0: it is none of ours. */
static guint
find_when (const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS (capabilities); i++)
        if (strcmp (capabilities[i].name, name) == 0)
            return capabilities[i].when;
    return 0;
}

/* Those that are ours to decide, as this QEMU has them, as they were. */
static gboolean
remember (LocalHost *local, GCancellable *cancellable, GError **error)
{
    if (local->old_capabilities != NULL)
        return TRUE;
    g_autoptr (JsonNode) reply =
        gw_qmp_call (local->qmp, GW_QMP_QUERY_MIGRATE_CAPABILITIES, NULL, cancellable, error);
    if (reply == NULL)
        return FALSE;
    if (!JSON_NODE_HOLDS_ARRAY (reply))
        return gw_fail (error, GW_CAUSE_QMP_INVALID,
                        "query-migrate-capabilities: the reply is no array");
    JsonArray *now = json_node_get_array (reply);
    local->old_capabilities = json_array_new ();
    for (guint i = 0; i < json_array_get_length (now); i++) {
        JsonObject *item = json_array_get_object_element (now, i);
        if (find_when (gw_json_peek_string (item, "capability", "")) != 0)
            json_array_add_object_element (local->old_capabilities, json_object_ref (item));
    }
    return TRUE;
}

gboolean
gw_local_set_capabilities (LocalHost *local, guint which, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonArray) list = json_array_new ();
    if (!remember (local, cancellable, error))
        return FALSE;
    /* off too, where it is on: by somebody's default, or by a job of ours that was killed */
    for (guint i = 0; i < json_array_get_length (local->old_capabilities); i++) {
        const char *name = gw_json_peek_string (
            json_array_get_object_element (local->old_capabilities, i), "capability", "");
        gboolean is_on = (find_when (name) & (which | GW_CAPABILITY_ALWAYS)) != 0;
        json_array_add_object_element (list, gw_json_new ("capability:s", name, "state:b", is_on, NULL));
    }
    return send_list (local, list, cancellable, error);
}

void
gw_local_restore_capabilities (LocalHost *local)
{
    g_autoptr (JsonArray) old = g_steal_pointer (&local->old_capabilities);
    /* a QEMU that is gone or does not answer has nothing to restore */
    if (old != NULL && json_array_get_length (old) > 0 && local->qmp != NULL)
        (void) send_list (local, old, NULL, NULL);
}

gboolean
gw_local_clear_capabilities (LocalHost *local, const char *const *on, GError **error)
{
    g_autoptr (JsonArray) list = json_array_new ();
    for (gsize i = 0; on != NULL && on[i] != NULL; i++)
        if (find_when (on[i]) != 0)
            json_array_add_object_element (
                list, gw_json_new ("capability:s", on[i], "state:b", FALSE, NULL));
    return json_array_get_length (list) == 0 || send_list (local, list, NULL, error);
}

gboolean
gw_local_assume_capabilities (LocalHost *local, GError **error)
{
    if (!remember (local, NULL, error))
        return FALSE;
    for (guint i = 0; i < json_array_get_length (local->old_capabilities); i++)
        json_object_set_boolean_member (json_array_get_object_element (local->old_capabilities, i), "state", FALSE);
    return TRUE;
}

gboolean
gw_local_reset_capabilities (LocalHost *local, GError **error)
{
    g_autoptr (GStrvBuilder) on = g_strv_builder_new ();
    if (!remember (local, NULL, error))
        return FALSE;
    g_autoptr (JsonArray) now = g_steal_pointer (&local->old_capabilities);
    for (guint i = 0; i < json_array_get_length (now); i++) {
        JsonObject *item = json_array_get_object_element (now, i);
        if (gw_json_peek_bool (item, "state", FALSE))
            g_strv_builder_add (on, gw_json_peek_string (item, "capability", ""));
    }
    g_auto (GStrv) names = g_strv_builder_end (on);
    return gw_local_clear_capabilities (local, (const char *const *) names, error);
}
