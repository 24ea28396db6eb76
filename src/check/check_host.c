/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The destination against the VM: program, machine type, version, memory, paths. */
#include "check-internal.h"

#include <stdio.h>
#include <string.h>

void
gw_check_binary (const GwCheckInput *input, GwCheckSink *sink)
{
    const GwHostFacts *d = input->destination;
    if (d->qemu_binary == NULL || d->qemu_version == NULL)
        gw_check_add (sink, GW_VERDICT_REFUSED, "destination: %s",
                      d->qemu_error != NULL ? d->qemu_error : "no QEMU");
    else
        gw_check_add (sink, GW_VERDICT_OK, "'%s', version %s", d->qemu_binary, d->qemu_version);
}

void
gw_check_machine (const GwCheckInput *input, GwCheckSink *sink)
{
    const GwHostFacts *d = input->destination;
    const char *machine = input->vm->machine;
    if (d->machines == NULL || d->machines[0] == NULL)
        gw_check_add (sink, GW_VERDICT_WARNING, "the destination's QEMU does not list its machine "
                      "types");
    else if (g_strv_contains ((const char *const *) d->machines, machine))
        gw_check_add (sink, GW_VERDICT_OK, "'%s' on both sides", machine);
    else
        gw_check_add (sink, GW_VERDICT_REFUSED,
                      "the VM has machine type '%s', which the destination's QEMU (version %s) does "
                      "not have",
                      machine, d->qemu_version != NULL ? d->qemu_version : "unknown");
}

void
gw_check_version (const GwCheckInput *input, GwCheckSink *sink)
{
    const GwVm *vm = input->vm;
    const char *text = input->destination->qemu_version;
    int major = 0, minor = 0;
    if (text == NULL || sscanf (text, "%d.%d", &major, &minor) != 2)
        gw_check_add (sink, GW_VERDICT_WARNING, "the destination's QEMU version is not known");
    else if (major < vm->version_major ||
             (major == vm->version_major && minor < vm->version_minor))
        gw_check_add (sink, GW_VERDICT_WARNING,
                      "the destination's QEMU %d.%d is older than the source's %" G_GINT64_FORMAT
                      ".%" G_GINT64_FORMAT "; QEMU promises only moves to the same or a newer one",
                      major, minor, vm->version_major, vm->version_minor);
    else
        gw_check_add (sink, GW_VERDICT_OK, "%" G_GINT64_FORMAT ".%" G_GINT64_FORMAT " to %d.%d",
                      vm->version_major, vm->version_minor, major, minor);
}

void
gw_check_memory (const GwCheckInput *input, GwCheckSink *sink)
{
    gint64 available = input->destination->mem_available_bytes;
    g_autofree char *need = gw_text_bytes ((guint64) input->vm->ram_bytes);
    g_autofree char *have = gw_text_bytes ((guint64) available);
    if (available == 0)
        gw_check_add (sink, GW_VERDICT_WARNING, "the destination does not tell its free memory");
    else if (available < input->vm->ram_bytes)
        gw_check_add (sink, GW_VERDICT_REFUSED, "the VM has %s of RAM, the destination has %s left",
                      need, have);
    else
        gw_check_add (sink, GW_VERDICT_OK, "%s of RAM, %s available", need, have);
}

/* The facts of the i-th need on a host. */
static const GwPathFacts *
path_facts (const GwHostFacts *facts, guint i)
{
    return i < facts->paths->len ? facts->paths->pdata[i] : NULL;
}

void
gw_check_allowed (const GwCheckInput *input, GwCheckSink *sink)
{
    guint before = sink->results->len;
    for (guint i = 0; i < input->derived->needs->len; i++) {
        const GwNeed *need = input->derived->needs->pdata[i];
        const GwPathFacts *there = path_facts (input->destination, i);
        if (there != NULL && there->is_forbidden)
            gw_check_add (sink, GW_VERDICT_REFUSED,
                          "the destination's godwitd.conf has '%s' in none of its lists; allow it there, or give it "
                          "another path with --map",
                          need->path);
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "nothing that the destination's configuration forbids is known");
}

void
gw_check_paths (const GwCheckInput *input, GwCheckSink *sink)
{
    guint before = sink->results->len;
    for (guint i = 0; i < input->derived->needs->len; i++) {
        const GwNeed *need = input->derived->needs->pdata[i];
        const GwPathFacts *there = path_facts (input->destination, i);
        if (there != NULL && strcmp (need->kind, "socket") == 0 && there->is_live)
            gw_check_add (sink, GW_VERDICT_REFUSED,
                          "the VM would listen on '%s', where another process of the destination "
                          "listens; give it another path with --map",
                          need->path);
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "%u paths, none in use", input->derived->needs->len);
}

void
gw_check_device_types (const GwCheckInput *input, GwCheckSink *sink)
{
    GStrv there = input->destination->device_types;
    guint before = sink->results->len;
    gboolean is_known = there != NULL && there[0] != NULL;
    for (guint i = 0; is_known && i < input->vm->devices->len; i++) {
        const GwDevice *device = input->vm->devices->pdata[i];
        if (!g_strv_contains ((const char *const *) there, device->type))
            gw_check_add (sink, GW_VERDICT_REFUSED,
                          "the VM has the device '%s' (%s), and the destination's QEMU %s knows no '%s'",
                          device->id != NULL ? device->id : device->path, device->type,
                          input->destination->qemu_version, device->type);
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK,
                      is_known ? "%u devices, all of types that the destination's QEMU has"
                               : "%u devices, not compared: the destination does not list its own",
                      input->vm->devices->len);
}

static const GwVmState *
find_state (const GPtrArray *states, const char *type)
{
    for (guint i = 0; i < states->len; i++) {
        const GwVmState *state = states->pdata[i];
        if (strcmp (state->type, type) == 0)
            return state;
    }
    return NULL;
}

/* vmstate_load_state() takes the versions from its minimum to its own. */
static void
compare_state (const GwVmState *here, const GwVmState *there, GwCheckSink *sink)
{
    if (there == NULL)
        gw_check_add (sink, GW_VERDICT_WARNING,
                      "device '%s' has a state, which the destination's QEMU does not list", here->type);
    else if (here->version > there->version || here->version < there->minimum)
        gw_check_add (sink, GW_VERDICT_REFUSED,
                      "device '%s' sends its state in version %" G_GINT64_FORMAT
                      ", the destination reads versions %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT,
                      here->type, here->version, there->minimum, there->version);
}

void
gw_check_vm_states (const GwCheckInput *input, GwCheckSink *sink)
{
    const GPtrArray *here = input->source->vm_states, *there = input->destination->vm_states;
    GStrv types = input->vm->device_types;
    guint before = sink->results->len, n = 0;
    if (here->len == 0 || there->len == 0) {
        gw_check_add (sink, GW_VERDICT_OK, "not compared: the %s's QEMU does not tell them",
                      here->len == 0 ? "source" : "destination");
        return;
    }
    for (gsize i = 0; types != NULL && types[i] != NULL; i++) {
        const GwVmState *state = find_state (here, types[i]);
        if (state == NULL)
            continue;
        compare_state (state, find_state (there, types[i]), sink);
        n++;
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "%u types of devices, all in versions that both have", n);
}
