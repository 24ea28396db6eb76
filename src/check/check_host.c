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
