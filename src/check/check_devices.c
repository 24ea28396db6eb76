/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a QEMU on the destination made of the VM, against what the VM has. */
#include "check-internal.h"

#include <string.h>

#define SHOWN_MAX 6

/* What is in `a` more often than in `b`, as text; NULL when nothing is. */
static char *
list_surplus (const char *const *a, const char *const *b)
{
    g_autoptr (GHashTable) count = g_hash_table_new (g_str_hash, g_str_equal);
    GString *out = NULL;
    guint n = 0;
    for (gsize i = 0; b[i] != NULL; i++)
        g_hash_table_insert (count, (gpointer) b[i],
                             GINT_TO_POINTER (
                                 GPOINTER_TO_INT (g_hash_table_lookup (count, b[i])) + 1));
    for (gsize i = 0; a[i] != NULL; i++) {
        gint left = GPOINTER_TO_INT (g_hash_table_lookup (count, a[i]));
        g_hash_table_insert (count, (gpointer) a[i], GINT_TO_POINTER (left - 1));
        if (left > 0)
            continue;
        if (out == NULL)
            out = g_string_new (NULL);
        if (++n <= SHOWN_MAX)
            g_string_append_printf (out, "%s'%s'", n > 1 ? ", " : "", a[i]);
    }
    if (n > SHOWN_MAX)
        g_string_append_printf (out, " and %u more", n - SHOWN_MAX);
    return out != NULL ? g_string_free (out, FALSE) : NULL;
}

char *
gw_check_compare_devices (const char *const *source, const char *const *destination)
{
    g_autofree char *lacks = list_surplus (source, destination);
    g_autofree char *extra = list_surplus (destination, source);
    if (lacks == NULL && extra == NULL)
        return NULL;
    return g_strdup_printf ("%s%s%s%s%s", lacks != NULL ? "only the VM has " : "",
                            lacks != NULL ? lacks : "", lacks != NULL && extra != NULL ? "; " : "",
                            extra != NULL ? "only the destination has " : "",
                            extra != NULL ? extra : "");
}

/* "cpuid 0x7/0 EBX=0x8c01": its length up to '=' and its bits. */
static guint64
read_word (const char *line, gsize *ret_name_length)
{
    const char *equals = strrchr (line, '=');
    *ret_name_length = equals != NULL ? (gsize) (equals - line) : strlen (line);
    return equals != NULL ? g_ascii_strtoull (equals + 1, NULL, 0) : 0;
}

static guint64
find_word (const char *const *words, const char *name, gsize length)
{
    for (gsize i = 0; words[i] != NULL; i++) {
        gsize n;
        guint64 bits = read_word (words[i], &n);
        if (n == length && strncmp (words[i], name, n) == 0)
            return bits;
    }
    return 0;
}

char *
gw_check_compare_cpu (const char *const *source, const char *const *destination)
{
    GString *out = NULL;
    for (gsize i = 0; source[i] != NULL; i++) {
        gsize n;
        guint64 has = read_word (source[i], &n);
        guint64 there = find_word (destination, source[i], n);
        if ((has & ~there) == 0)
            continue;
        if (out == NULL)
            out = g_string_new (NULL);
        g_string_append_printf (out,
                                "%s%.*s lacks 0x%" G_GINT64_MODIFIER "x: the VM has 0x%" G_GINT64_MODIFIER
                                "x, the destination 0x%" G_GINT64_MODIFIER "x",
                                out->len > 0 ? "; " : "", (int) n, source[i], has & ~there, has,
                                there);
    }
    return out != NULL ? g_string_free (out, FALSE) : NULL;
}
