/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Texts as JSON, and as every struct of src/model: what was read must be read alike when it is written. */
#include "model.h"

#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static const GwStructType *const types[] = { &gw_vm_type,   &gw_derived_type,   &gw_host_facts_type,
                                             &gw_plan_type, &gw_migration_type, &gw_progress_type };

static void
check_type (const GwStructType *type, JsonObject *json)
{
    g_autoptr (GError) error = NULL;
    gpointer read = gw_struct_from_json (type, json, &error);
    if (read == NULL) {
        g_assert (gw_error_get_cause (error) == GW_CAUSE_RPC_INVALID);
        return;
    }
    g_autoptr (JsonObject) written = gw_struct_to_json (type, read);
    g_autofree char *text = gw_json_to_text (written, FALSE);
    g_autoptr (JsonObject) parsed = gw_json_parse (text, -1, &error);
    g_assert_no_error (error);
    gpointer again = gw_struct_from_json (type, parsed, &error);
    g_assert_no_error (error);
    g_autoptr (JsonObject) rewritten = gw_struct_to_json (type, again);
    g_autofree char *same = gw_json_to_text (rewritten, FALSE);
    g_assert (strcmp (text, same) == 0);
    gw_struct_free (type, read);
    gw_struct_free (type, again);
}

static void
check_migration (JsonObject *json)
{
    g_autoptr (GwMigration) m = gw_migration_from_qmp (json);
    g_assert (m->status != NULL && m->rate_bps >= 0 && m->dirty_bps >= 0 && m->total_bytes >= 0);
    check_type (&gw_migration_type, json);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    (void) g_log_set_always_fatal (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING);
    g_autoptr (JsonObject) json = gw_json_parse ((const char *) data, (gssize) size, NULL);
    if (json == NULL)
        return 0;
    for (guint i = 0; i < G_N_ELEMENTS (types); i++)
        check_type (types[i], json);
    check_migration (json);
    return 0;
}
