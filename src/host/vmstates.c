/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The versions of the devices' states, as `qemu -machine TYPE -dump-vmstate` tells them. */
#include "host-internal.h"

#include <string.h>

#define DUMP_MS 10000
#define DUMP_MAX (16 * 1024 * 1024)

gboolean
gw_vm_states_parse (GwVmStates *states, const char *text, gssize len)
{
    g_autoptr (JsonObject) dump = len <= DUMP_MAX ? gw_json_parse (text, len, NULL) : NULL;
    g_autoptr (GList) types = dump != NULL ? json_object_get_members (dump) : NULL;
    for (const GList *at = types; at != NULL && states->states->len < GW_ARRAY_MAX; at = at->next) {
        JsonObject *device = gw_json_peek_object (dump, at->data);
        if (device == NULL || !json_object_has_member (device, "version_id"))
            continue; /* the dump's head */
        GwVmState *state = g_new0 (GwVmState, 1);
        state->type = g_strdup (at->data);
        state->version = MAX (gw_json_peek_int (device, "version_id", 0), 0);
        state->minimum = MAX (gw_json_peek_int (device, "minimum_version_id", 0), 0);
        g_ptr_array_add (states->states, state);
    }
    return states->states->len > 0;
}

typedef struct {
    GBytes *output;
    gboolean is_done;
} Dump;

static void
on_output (GObject *object, GAsyncResult *result, gpointer user_data)
{
    Dump *dump = user_data;
    (void) g_subprocess_communicate_finish (G_SUBPROCESS (object), result, &dump->output, NULL, NULL);
    dump->is_done = TRUE;
}

static gboolean
is_done (gpointer user_data)
{
    return ((const Dump *) user_data)->is_done;
}

/* The text, NULL when it does not come in time. */
static GBytes *
run (const char *path, const char *machine, GMainContext *context)
{
    const char *argv[] = { path, "-machine", machine, "-dump-vmstate", "/dev/stdout", NULL };
    Dump dump = { 0 };
    g_main_context_push_thread_default (context);
    g_autoptr (GSubprocess) child = g_subprocess_newv (
        argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_SILENCE, NULL);
    if (child != NULL) {
        g_subprocess_communicate_async (child, NULL, NULL, on_output, &dump);
        if (!gw_wait_until (context, is_done, &dump, gw_deadline_ms (DUMP_MS), NULL, NULL)) {
            g_subprocess_force_exit (child); /* its callback then comes at once */
            (void) gw_wait_until (context, is_done, &dump, G_MAXINT64, NULL, NULL);
        }
    }
    g_main_context_pop_thread_default (context);
    return dump.output;
}

GwVmStates *
gw_qemu_read_vm_states (const GwHostConfig *config, GMainContext *context, const char *path,
                        const char *machine)
{
    g_autofree char *file = gw_qemu_cache_path (config, path, machine);
    g_autofree char *identity = gw_qemu_identify (path);
    GwVmStates *known = gw_qemu_recall (file, identity, &gw_vm_states_type);
    if (known != NULL)
        return known;
    g_autoptr (GwVmStates) states = gw_struct_new (&gw_vm_states_type);
    g_autoptr (GBytes) output = run (path, machine, context);
    gsize len = 0;
    const char *text = output != NULL ? g_bytes_get_data (output, &len) : NULL;
    if (len == 0 || !gw_vm_states_parse (states, text, (gssize) len))
        return NULL;
    states->identity = g_strdup (identity);
    states->machine = g_strdup (machine);
    if (identity != NULL)
        gw_qemu_remember (file, states, &gw_vm_states_type);
    return g_steal_pointer (&states);
}
