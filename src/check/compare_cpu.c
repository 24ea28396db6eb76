/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The processor that the guest sees on both sides, by the words of CPUID that QEMU tells. */
#include "check-internal.h"

#include <string.h>

static const struct {
    const char *word, *names;
} words[] = {
#define X(word, names) { word, names },
#include "cpuid.def"
#undef X
};

static const GwCpuWord *
find_word (const GwInventory *inventory, const char *word)
{
    for (guint i = 0; i < inventory->cpu_words->len; i++) {
        const GwCpuWord *fact = inventory->cpu_words->pdata[i];
        if (strcmp (fact->word, word) == 0)
            return fact;
    }
    return NULL;
}

/* "avx2, bmi2, bit 40" */
char *
gw_check_name_cpu_bits (const char *word, gint64 bits)
{
    GString *out = g_string_new (NULL);
    const char *list = "";
    for (guint i = 0; i < G_N_ELEMENTS (words); i++)
        if (strcmp (words[i].word, word) == 0)
            list = words[i].names;
    g_auto (GStrv) names = g_strsplit (list, " ", -1);
    guint n = g_strv_length (names);
    for (guint bit = 0; bit < 63; bit++) {
        if ((bits >> bit & 1) == 0)
            continue;
        g_string_append (out, out->len > 0 ? ", " : "");
        if (bit < n && strcmp (names[bit], ".") != 0)
            g_string_append (out, names[bit]);
        else
            g_string_append_printf (out, "bit %u", bit);
    }
    return g_string_free (out, FALSE);
}

static void
compare_word (const GwCpuWord *here, const GwCpuWord *there, GwCheckSink *sink, guint *n)
{
    gint64 lacks = here->bits & ~there->bits, extra = there->bits & ~here->bits;
    g_autofree char *lacking = gw_check_name_cpu_bits (here->word, lacks);
    g_autofree char *added = gw_check_name_cpu_bits (here->word, extra);
    if (lacks != 0)
        gw_compare_refuse (sink, n, "the destination's processor lacks %s%s (CPUID %s is 0x%" G_GINT64_MODIFIER
                           "x in the VM and 0x%" G_GINT64_MODIFIER "x on the destination)", lacking,
                           (there->withheld & lacks) != 0 ? ", which its host cannot give" : "", here->word,
                           here->bits, there->bits);
    else if (extra != 0)
        gw_check_add (sink, GW_VERDICT_WARNING, "the guest would find a processor with %s, which it does not "
                      "have now (CPUID %s is 0x%" G_GINT64_MODIFIER "x in the VM and 0x%" G_GINT64_MODIFIER
                      "x on the destination)", added, here->word, here->bits, there->bits);
}

void
gw_compare_cpu (const GwComparison *c, GwCheckSink *sink)
{
    static const GwCpuWord nothing = { NULL, 0, 0 };
    const char *type = c->source->cpu_type, *type_there = c->destination->cpu_type;
    guint before = sink->results->len, n = 0;
    if (g_strcmp0 (type, type_there) != 0)
        gw_compare_refuse (sink, &n, "the processor is a '%s' in the VM and a '%s' on the destination", type,
                           type_there);
    for (guint i = 0; i < c->source->cpu_words->len; i++) {
        const GwCpuWord *here = c->source->cpu_words->pdata[i];
        const GwCpuWord *there = find_word (c->destination, here->word);
        compare_word (here, there != NULL ? there : &nothing, sink, &n);
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "'%s', the same features on both sides", type);
}
