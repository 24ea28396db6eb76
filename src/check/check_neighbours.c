/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the destination has besides the VM: interfaces, addresses, other VMs, its clock. */
#include "check-internal.h"

#include <string.h>

#define CLOCK_WARN_MS 1000
#define CLOCK_REFUSE_MS (60 * 60 * 1000)

/* --- interfaces -------------------------------------------------------------------------------- */

static const GwInterface *
find_interface (const GwHostFacts *facts, const char *name)
{
    for (guint i = 0; name != NULL && i < facts->interfaces->len; i++) {
        const GwInterface *interface = facts->interfaces->pdata[i];
        if (strcmp (interface->name, name) == 0)
            return interface;
    }
    return NULL;
}

static void
check_interface (const GwCheckInput *input, const GwNeed *need, GwCheckSink *sink)
{
    const GwInterface *here = find_interface (input->source, need->source_path);
    const GwInterface *there = find_interface (input->destination, need->path);
    if (there == NULL)
        gw_check_add (sink, GW_VERDICT_REFUSED,
                      "the VM has the %s '%s', and the destination has no interface '%s'", need->kind,
                      need->source_path, need->path);
    else if (here != NULL && there->mtu < here->mtu)
        gw_check_add (sink, GW_VERDICT_WARNING,
                      "frames of %" G_GINT64_FORMAT " bytes pass through %s '%s', on the destination only "
                      "%" G_GINT64_FORMAT " through '%s'; longer ones will be lost",
                      here->mtu, need->kind, here->name, there->mtu, there->name);
    else
        gw_check_add (sink, GW_VERDICT_OK, "%s '%s' is there, MTU %" G_GINT64_FORMAT, need->kind,
                      need->path, there->mtu);
}

void
gw_check_network (const GwCheckInput *input, GwCheckSink *sink)
{
    guint before = sink->results->len;
    gboolean is_known = input->destination->interfaces->len > 0;
    for (guint i = 0; is_known && i < input->derived->needs->len; i++) {
        const GwNeed *need = input->derived->needs->pdata[i];
        if (strcmp (need->kind, "tap") == 0 || strcmp (need->kind, "bridge") == 0)
            check_interface (input, need, sink);
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "the VM needs no interface of the host by name");
}

/* --- addresses --------------------------------------------------------------------------------- */

/* Names are not looked up: who does that here may get another answer than the source. */
static gboolean
is_foreign (const GwHostFacts *facts, const char *address)
{
    return g_hostname_is_ip_address (address) && facts->addresses != NULL &&
           facts->addresses[0] != NULL &&
           !g_strv_contains ((const char *const *) facts->addresses, address);
}

void
gw_check_data_address (const GwCheckInput *input, GwCheckSink *sink)
{
    const GwHostFacts *there = input->destination;
    gboolean is_asked = input->plan->data_addresses != NULL && input->plan->data_addresses[0] != NULL;
    GStrv list = is_asked ? input->plan->data_addresses : there->data_addresses;
    guint before = sink->results->len;
    for (gsize i = 0; list != NULL && list[i] != NULL; i++) {
        if (!is_foreign (there, list[i]))
            continue;
        g_autofree char *own = g_strjoinv (", ", there->addresses);
        gw_check_add (sink, GW_VERDICT_REFUSED, "%s (%s) is none of the destination's addresses, which are %s",
                      list[i], is_asked ? "--data-address" : "of its configuration", own);
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "%u addresses are given, none is another host's",
                      list != NULL ? g_strv_length (list) : 0);
}

/* --- other VMs --------------------------------------------------------------------------------- */

static gboolean
is_source_itself (const GwCheckInput *input, const GwOtherVm *other)
{
    return g_strcmp0 (input->source->boot_id, input->destination->boot_id) == 0 &&
           other->pid == input->vm->pid && other->start_time == input->vm->start_time;
}

static gboolean
is_same_text (const char *a, const char *b)
{
    return a != NULL && *a != '\0' && b != NULL && g_ascii_strcasecmp (a, b) == 0;
}

void
gw_check_other_vm (const GwCheckInput *input, GwCheckSink *sink)
{
    static const char none[] = "00000000-0000-0000-0000-000000000000";
    const GwVm *vm = input->vm;
    guint before = sink->results->len;
    for (guint i = 0; i < input->destination->qemus->len; i++) {
        const GwOtherVm *other = input->destination->qemus->pdata[i];
        if (is_source_itself (input, other))
            continue;
        if (is_same_text (vm->uuid, other->uuid) && strcmp (vm->uuid, none) != 0)
            gw_check_add (sink, GW_VERDICT_REFUSED,
                          "the VM's UUID %s is that of a QEMU on the destination, pid %" G_GINT64_FORMAT
                          " ('%s')",
                          vm->uuid, other->pid, other->name != NULL ? other->name : "no name");
        else if (is_same_text (vm->name, other->name))
            gw_check_add (sink, GW_VERDICT_WARNING,
                          "the destination has another VM named '%s', pid %" G_GINT64_FORMAT, vm->name,
                          other->pid);
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "%u QEMUs on the destination, none is this VM",
                      input->destination->qemus->len);
}

/* --- clocks ------------------------------------------------------------------------------------ */

void
gw_check_clock (const GwCheckInput *input, GwCheckSink *sink)
{
    gint64 ms = input->destination->clock_offset_us / 1000;
    gint64 apart = ABS (ms);
    GwVerdict verdict = apart >= CLOCK_REFUSE_MS ? GW_VERDICT_REFUSED
                        : apart >= CLOCK_WARN_MS ? GW_VERDICT_WARNING
                                                 : GW_VERDICT_OK;
    gw_check_add (sink, verdict, "the destination's clock is %" G_GINT64_FORMAT " ms %s%s", apart,
                  ms < 0 ? "behind" : "ahead",
                  verdict == GW_VERDICT_OK ? "" : "; a guest that asks its host for the time sees it jump");
}
