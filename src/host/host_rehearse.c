/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The types of the operations of a rehearsal. */
#include "host-internal.h"

#include <string.h>

#define CHUNKS_A_MESSAGE 12
#define PAGES_A_MESSAGE 64

JsonObject *
gw_host_rehearse_save (GwHost *host, JsonArray *more, gboolean is_blind, GCancellable *cancellable,
                       GError **error)
{
    JsonObject *params = gw_json_new ("blind:b", is_blind, NULL);
    if (more != NULL)
        json_object_set_array_member (params, "pages", json_array_ref (more));
    return gw_host_call (host, GW_RPC_REHEARSE_SAVE, params, cancellable, error);
}

JsonObject *
gw_host_rehearse_read (GwHost *host, const char *block, gint64 offset, GCancellable *cancellable,
                       GError **error)
{
    return gw_host_call (host, GW_RPC_REHEARSE_READ,
                         gw_json_new ("block:s", block, "offset:i", offset, NULL), cancellable,
                         error);
}

JsonObject *
gw_host_rehearse_launch (GwHost *host, const GwVm *vm, const GwDerived *derived,
                         GCancellable *cancellable, GError **error)
{
    g_auto (GStrv) obstacles = NULL;
    g_auto (GStrv) argv = gw_derive_rehearsal (vm, derived, &obstacles, error);
    if (argv == NULL)
        return NULL;
    if (obstacles[0] != NULL) {
        g_autofree char *list = g_strjoinv ("; ", obstacles);
        gw_fail (error, GW_CAUSE_UNSUPPORTED, "%s", list);
        return NULL;
    }
    g_autofree char *program = g_path_get_basename (vm->binary);
    return gw_host_call (host, GW_RPC_REHEARSE_LAUNCH,
                         gw_json_new ("qemu:s", program, "cwd:s", vm->cwd, "user:s", vm->user,
                                      "argv:v", argv, NULL),
                         cancellable, error);
}

static gboolean
put (GwHost *host, JsonObject *params, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_REHEARSE_PUT, params, cancellable, error);
    return result != NULL;
}

static gboolean
put_pages (GwHost *host, JsonArray *pages, GCancellable *cancellable, GError **error)
{
    guint n = pages != NULL ? json_array_get_length (pages) : 0;
    for (guint from = 0; from < n; from += PAGES_A_MESSAGE) {
        JsonArray *some = json_array_new ();
        JsonObject *params = json_object_new ();
        for (guint i = from; i < n && i < from + PAGES_A_MESSAGE; i++)
            json_array_add_object_element (some,
                                           json_object_ref (json_array_get_object_element (pages, i)));
        json_object_set_array_member (params, "pages", some);
        if (!put (host, params, cancellable, error))
            return FALSE;
    }
    return TRUE;
}

gboolean
gw_host_rehearse_put (GwHost *host, JsonObject *given, GCancellable *cancellable, GError **error)
{
    g_auto (GStrv) state = gw_json_peek_strv (given, "state");
    gsize n = g_strv_length (state);
    for (gsize at = 0; at < n; at += CHUNKS_A_MESSAGE) {
        const char *some[CHUNKS_A_MESSAGE + 1] = { NULL };
        memcpy (some, state + at, MIN (CHUNKS_A_MESSAGE, n - at) * sizeof *some);
        if (!put (host, gw_json_new ("state:v", some, NULL), cancellable, error))
            return FALSE;
    }
    return put_pages (host, gw_json_peek_array (given, "pages"), cancellable, error);
}

JsonObject *
gw_host_rehearse_load (GwHost *host, const GwVm *vm, GCancellable *cancellable, GError **error)
{
    JsonArray *blocks = json_array_new ();
    for (guint i = 0; i < vm->ram_blocks->len; i++) {
        const GwRamBlock *block = vm->ram_blocks->pdata[i];
        json_array_add_object_element (blocks, gw_json_new ("name:s", block->name, "used_bytes:i",
                                                            block->used_bytes, NULL));
    }
    JsonObject *params = gw_json_new ("machine:s", vm->machine, NULL);
    json_object_set_array_member (params, "blocks", blocks);
    return gw_host_call (host, GW_RPC_REHEARSE_LOAD, params, cancellable, error);
}

gboolean
gw_host_rehearse_end (GwHost *host, GCancellable *cancellable, GError **error)
{
    g_autoptr (JsonObject) result =
        gw_host_call (host, GW_RPC_REHEARSE_END, NULL, cancellable, error);
    return result != NULL;
}
