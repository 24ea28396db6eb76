/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the destination's kernel and processor offer, and what is promised for a time: certificates. */
#include "check-internal.h"

#include <string.h>

#define SMALL_PAGE_BYTES 4096
#define CERTIFICATE_MIN_S (24 * 3600)      /* less is not enough for a move and the time after it */
#define CERTIFICATE_WARN_S (14 * 24 * 3600)

/* --- huge pages ---------------------------------------------------------------------------------- */

static const GwHugePages *
find_pages (const GwHostFacts *facts, gint64 page_bytes)
{
    static const GwHugePages none = { 0, 0, 0 };
    for (guint i = 0; i < facts->huge_pages->len; i++) {
        const GwHugePages *pages = facts->huge_pages->pdata[i];
        if (pages->page_bytes == page_bytes)
            return pages;
    }
    return &none;
}

/* How many pages of that size the VM's RAM takes. */
static gint64
count_pages (const GwVm *vm, gint64 page_bytes)
{
    gint64 n = 0;
    for (guint i = 0; i < vm->ram_blocks->len; i++) {
        const GwRamBlock *block = vm->ram_blocks->pdata[i];
        if (block->page_bytes == page_bytes)
            n += block->used_bytes / page_bytes;
    }
    return n;
}

void
gw_check_huge_pages (const GwCheckInput *input, GwCheckSink *sink)
{
    guint before = sink->results->len;
    for (gint64 size = 2 * SMALL_PAGE_BYTES; size <= G_GINT64_CONSTANT (1) << 40; size *= 2) {
        gint64 need = count_pages (input->vm, size);
        gint64 have = find_pages (input->destination, size)->n_free;
        g_autofree char *text = gw_text_bytes ((guint64) size);
        if (need > 0)
            gw_check_add (sink, need > have ? GW_VERDICT_REFUSED : GW_VERDICT_OK,
                          "the VM's RAM is in %" G_GINT64_FORMAT " pages of %s, the destination has %"
                          G_GINT64_FORMAT " free", need, text, have);
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "the VM's RAM is in small pages");
}

/* --- the kernel ------------------------------------------------------------------------------------ */

void
gw_check_kernel (const GwCheckInput *input, GwCheckSink *sink)
{
    const GwHostFacts *d = input->destination;
    gboolean confines = input->source->has_seccomp && d->has_seccomp;
    gw_check_add (sink, confines ? GW_VERDICT_OK : GW_VERDICT_WARNING,
                  "%s on the source and %s on the destination; seccomp %s, userfaultfd on the destination %s%s",
                  input->source->kernel, d->kernel,
                  confines            ? "on both"
                  : !d->has_seccomp ? "not on the destination: its courier is not confined"
                                    : "not on the source: its courier is not confined",
                  d->has_userfaultfd ? "yes" : "no: ",
                  d->has_userfaultfd || d->userfaultfd_error == NULL ? "" : d->userfaultfd_error);
}

/* With KVM the guest's clock is the host's; an emulated processor has one of its own. */
void
gw_check_clock_source (const GwCheckInput *input, GwCheckSink *sink)
{
    const GwHostFacts *s = input->source, *d = input->destination;
    const char *here = s->clock_source != NULL ? s->clock_source : "unknown";
    const char *there = d->clock_source != NULL ? d->clock_source : "unknown";
    gboolean is_kvm = g_strcmp0 (input->vm->accel, "kvm") == 0;
    gboolean is_worse = strcmp (here, "tsc") == 0 && strcmp (there, "tsc") != 0;
    if (is_kvm && is_worse)
        gw_check_add (sink, GW_VERDICT_WARNING, "the source's clock is '%s' and the destination's '%s': the "
                      "guest's kvm-clock will be slow to read there", here, there);
    else if (is_kvm && s->has_stable_tsc && !d->has_stable_tsc)
        gw_check_add (sink, GW_VERDICT_WARNING, "the time stamp counter is steady on the source ('%s') and not on "
                      "the destination ('%s')", s->cpu_model, d->cpu_model);
    else
        gw_check_add (sink, GW_VERDICT_OK, "'%s' on the source, '%s' on the destination", here, there);
}

/* --- certificates ---------------------------------------------------------------------------------- */

static void
check_certificate (const GwPathFacts *facts, const char *side, gint64 now_s, GwCheckSink *sink, guint *n)
{
    if (facts->certificate == NULL)
        return;
    gint64 left_s = facts->certificate_ends_s - now_s;
    g_autoptr (GDateTime) end = g_date_time_new_from_unix_utc (facts->certificate_ends_s);
    g_autofree char *text = end != NULL ? g_date_time_format (end, "%F %R UTC") : g_strdup ("?");
    GwVerdict verdict = left_s < CERTIFICATE_MIN_S    ? GW_VERDICT_REFUSED
                        : left_s < CERTIFICATE_WARN_S ? GW_VERDICT_WARNING
                                                      : GW_VERDICT_OK;
    ++*n;
    gw_check_add (sink, verdict, "'%s' on the %s %s %s", facts->certificate, side,
                  left_s < 0 ? "ended at" : "ends at", text);
}

void
gw_check_certificates (const GwCheckInput *input, GwCheckSink *sink)
{
    guint n = 0;
    for (guint i = 0; i < input->source->paths->len; i++)
        check_certificate (input->source->paths->pdata[i], "source", input->source->now_s, sink, &n);
    for (guint i = 0; i < input->destination->paths->len; i++)
        check_certificate (input->destination->paths->pdata[i], "destination", input->destination->now_s,
                           sink, &n);
    if (n == 0)
        gw_check_add (sink, GW_VERDICT_OK, "the VM's QEMU uses none");
}

/* --- jobs ------------------------------------------------------------------------------------------ */

void
gw_check_jobs (const GwCheckInput *input, GwCheckSink *sink)
{
    guint here = input->source->jobs != NULL ? g_strv_length (input->source->jobs) : 0;
    guint there = input->destination->jobs != NULL ? g_strv_length (input->destination->jobs) : 0;
    gw_check_add (sink, GW_VERDICT_OK, "%u other jobs are open on the source, %u on the destination", here,
                  there);
}
