/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rows of compare.def, and those about devices: the parts of both QEMUs, matched with each other. */
#include "check-internal.h"

#include <string.h>

#define SHOWN_MAX 6 /* refusals of one row */

static const struct {
    const char *name;
    GwCause cause;
    void (*run) (const GwComparison *comparison, GwCheckSink *sink);
} rows[] = {
#define X(id, name, cause, about) { name, GW_CAUSE_##cause, gw_compare_##id },
#include "compare.def"
#undef X
};

void
gw_compare_refuse (GwCheckSink *sink, guint *n, const char *format, ...)
{
    va_list args;
    if (++*n > SHOWN_MAX)
        return;
    va_start (args, format);
    g_autofree char *text = g_strdup_vprintf (format, args);
    va_end (args);
    gw_check_add (sink, GW_VERDICT_REFUSED, "%s", text);
}

/* --- matching ------------------------------------------------------------------------------------ */

static gboolean
is_same_kind (const GwPart *a, const GwPart *b)
{
    return strcmp (a->type, b->type) == 0 && g_strcmp0 (a->id, b->id) == 0;
}

static gboolean
is_same_place (const GwPart *a, const GwPart *b)
{
    return is_same_kind (a, b) && strcmp (a->bus, b->bus) == 0 && strcmp (a->place, b->place) == 0;
}

static void
match (GwComparison *c, gboolean (*fits) (const GwPart *, const GwPart *))
{
    for (guint i = 0; i < c->source->parts->len; i++)
        for (guint k = 0; c->twin_of[i] < 0 && k < c->destination->parts->len; k++)
            if (!c->is_taken[k] && fits (c->source->parts->pdata[i], c->destination->parts->pdata[k])) {
                c->twin_of[i] = (int) k;
                c->is_taken[k] = TRUE;
            }
}

static const GwPart *
get_twin (const GwComparison *c, guint i)
{
    return c->twin_of[i] >= 0 ? c->destination->parts->pdata[c->twin_of[i]] : NULL;
}

/* "'net0' (virtio-net-pci)", "a virtio-rng-pci" */
static char *
name (const GwPart *part)
{
    return part->id != NULL ? g_strdup_printf ("'%s' (%s)", part->id, part->type)
                            : g_strdup_printf ("a %s", part->type);
}

/* "'net0' (virtio-net-pci)", "a virtio-rng-pci at pcie.0 addr = 04.0" */
static char *
describe (const GwPart *part)
{
    g_autofree char *text = name (part);
    if (part->id != NULL)
        return g_steal_pointer (&text);
    return g_strdup_printf ("%s at %s%s%s", text, part->bus, *part->place != '\0' ? " " : "",
                            part->place);
}

/* --- rows ------------------------------------------------------------------------------------------ */

/* The inner half of a virtio device says nothing that the outer one does not. */
static gboolean
is_inner (const GwPart *part)
{
    return part->id == NULL && g_str_has_prefix (part->bus, "virtio-");
}

static void
refuse_one_sided (const GwPart *part, const char *has, const char *lacks, GwCheckSink *sink, guint *n)
{
    g_autofree char *what = name (part);
    if (!is_inner (part))
        gw_compare_refuse (sink, n, "%s has %s at %s %s, and %s has no such device", has, what,
                           part->bus, part->place, lacks);
}

void
gw_compare_parts (const GwComparison *c, GwCheckSink *sink)
{
    guint n = 0;
    for (guint i = 0; i < c->source->parts->len; i++) {
        const GwPart *part = c->source->parts->pdata[i], *twin = get_twin (c, i);
        g_autofree char *what = describe (part);
        if (twin == NULL)
            refuse_one_sided (part, "the VM", "the destination", sink, &n);
        else if (g_strcmp0 (part->model, twin->model) != 0)
            gw_compare_refuse (sink, &n, "%s is PCI device %s in the VM and %s on the destination", what,
                               part->model, twin->model);
    }
    for (guint k = 0; k < c->destination->parts->len; k++)
        if (!c->is_taken[k])
            refuse_one_sided (c->destination->parts->pdata[k], "the destination", "the VM", sink, &n);
    if (n == 0)
        gw_check_add (sink, GW_VERDICT_OK, "%u devices, the same on both sides", c->source->parts->len);
}

static void
compare_order (const GwComparison *c, GwCheckSink *sink, guint *n)
{
    guint n_parts = c->source->parts->len;
    for (guint i = 0; i + 1 < n_parts; i++) {
        const GwPart *first = c->source->parts->pdata[i], *second = c->source->parts->pdata[i + 1];
        if (is_inner (first) || get_twin (c, i) == NULL || get_twin (c, i + 1) == NULL ||
            strcmp (first->bus, second->bus) != 0 || *first->place != '\0' || *second->place != '\0' ||
            c->twin_of[i] < c->twin_of[i + 1])
            continue;
        g_autofree char *a = describe (first), *b = describe (second);
        gw_compare_refuse (sink, n, "%s comes before %s in the VM and behind it on the destination", a, b);
    }
}

void
gw_compare_places (const GwComparison *c, GwCheckSink *sink)
{
    guint n = 0;
    for (guint i = 0; i < c->source->parts->len; i++) {
        const GwPart *part = c->source->parts->pdata[i], *twin = get_twin (c, i);
        if (twin == NULL || is_same_place (part, twin))
            continue;
        g_autofree char *what = name (part);
        gw_compare_refuse (sink, &n, "%s is at %s %s in the VM and at %s %s on the destination", what,
                           part->bus, part->place, twin->bus, twin->place);
    }
    compare_order (c, sink, &n);
    if (n == 0)
        gw_check_add (sink, GW_VERDICT_OK, "every device is where the VM has it");
}

static void
compare_numbers (const GwComparison *c, gsize offset, const char *what, GwCheckSink *sink)
{
    guint n = 0, n_equal = 0;
    for (guint i = 0; i < c->source->parts->len; i++) {
        const GwPart *part = c->source->parts->pdata[i], *twin = get_twin (c, i);
        gint64 here = G_STRUCT_MEMBER (gint64, part, offset);
        gint64 there = twin != NULL ? G_STRUCT_MEMBER (gint64, twin, offset) : -1;
        g_autofree char *text = describe (part);
        if (here < 0 || there < 0)
            continue; /* an older QEMU does not tell */
        if (here != there)
            gw_compare_refuse (sink, &n, "%s has %" G_GINT64_FORMAT " %s in the VM and %" G_GINT64_FORMAT
                               " on the destination", text, here, what, there);
        n_equal++;
    }
    if (n == 0)
        gw_check_add (sink, GW_VERDICT_OK, "%u devices with %s, as many on both sides", n_equal, what);
}

void
gw_compare_queues (const GwComparison *c, GwCheckSink *sink)
{
    compare_numbers (c, G_STRUCT_OFFSET (GwPart, n_queues), "queues", sink);
}

void
gw_compare_vectors (const GwComparison *c, GwCheckSink *sink)
{
    compare_numbers (c, G_STRUCT_OFFSET (GwPart, n_vectors), "interrupt vectors", sink);
}

/* --- all rows ---------------------------------------------------------------------------------------- */

static void
remove_rows (GPtrArray *results)
{
    for (guint i = results->len; i-- > 0;)
        for (guint k = 0; k < G_N_ELEMENTS (rows); k++)
            if (((GwCheckResult *) results->pdata[i])->check == rows[k].name) {
                g_ptr_array_remove_index (results, i);
                break;
            }
}

const GwCheckResult *
gw_check_compare (GPtrArray *results, const GwInventory *source, const GwInventory *destination)
{
    g_autofree int *twin_of = g_new (int, source->parts->len + 1);
    g_autofree gboolean *is_taken = g_new0 (gboolean, destination->parts->len + 1);
    GwComparison c = { source, destination, twin_of, is_taken };
    for (guint i = 0; i < source->parts->len; i++)
        twin_of[i] = -1;
    match (&c, is_same_place);
    match (&c, is_same_kind);
    remove_rows (results);
    guint first = results->len;
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        GwCheckSink sink = { rows[i].name, rows[i].cause, results };
        rows[i].run (&c, &sink);
    }
    for (guint i = first; i < results->len; i++)
        if (((GwCheckResult *) results->pdata[i])->verdict == GW_VERDICT_REFUSED)
            return results->pdata[i];
    return NULL;
}
