/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit stream diff: two streams device by device, or two -dump-vmstate files. */
#include "stream_cmd.h"

#include <stdio.h>
#include <string.h>

#define DIFFERENT 2             /* exit status */
#define DUMP_MAX (64u << 20)    /* bytes of a -dump-vmstate file */

typedef struct {
    GPtrArray *lines; /* of char *: what differs */
} Differences;

static void add_line (Differences *d, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
add_line (Differences *d, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_ptr_array_add (d->lines, g_strdup_vprintf (format, args));
    va_end (args);
}

static int
finish (Differences *d, gboolean as_json)
{
    g_autoptr (JsonBuilder) b = json_builder_new ();
    int status = d->lines->len > 0 ? DIFFERENT : 0;
    json_builder_begin_object (b);
    json_builder_set_member_name (b, "equal");
    json_builder_add_boolean_value (b, status == 0);
    json_builder_set_member_name (b, "differences");
    json_builder_begin_array (b);
    for (guint i = 0; i < d->lines->len; i++) {
        const char *line = g_ptr_array_index (d->lines, i);
        if (!as_json)
            g_print ("%s\n", line);
        json_builder_add_string_value (b, line);
    }
    json_builder_end_array (b);
    json_builder_end_object (b);
    if (as_json)
        gw_stream_json_print (json_builder_get_root (b));
    else if (status == 0)
        g_print ("no difference\n");
    return status;
}

/* --- fields ------------------------------------------------------------------------------------- */

static void compare_fields (Differences *d, const char *path, const GwField *a, const GwField *b);

static void
compare_buffers (Differences *d, const char *path, const GwField *a, const GwField *b)
{
    if (a->size != b->size) {
        add_line (d, "%s: %zu bytes | %zu bytes", path, a->size, b->size);
        return;
    }
    for (gsize i = 0; i < a->size; i++) {
        gsize start = i;
        while (i < a->size && a->data[i] != b->data[i])
            i++;
        if (i == start)
            continue;
        GwField x = *a, y = *b;
        x.data += start;
        y.data += start;
        x.size = y.size = i - start;
        g_autofree char *left = gw_field_to_text (&x, 16), *right = gw_field_to_text (&y, 16);
        add_line (d, "%s[0x%zx..0x%zx]: %s | %s", path, start, i - 1, left, right);
    }
}

static void
compare_children (Differences *d, const char *path, const GwField *a, const GwField *b)
{
    guint n = a->children != NULL ? a->children->len : 0;
    guint m = b->children != NULL ? b->children->len : 0;
    for (guint i = 0; i < MIN (n, m); i++) {
        const GwField *x = g_ptr_array_index (a->children, i);
        const GwField *y = g_ptr_array_index (b->children, i);
        g_autofree char *inner = a->kind == GW_FIELD_ARRAY
                                     ? g_strdup_printf ("%s[%u]", path, i)
                                     : g_strdup_printf ("%s.%s", path, x->name);
        if (strcmp (x->name, y->name) != 0) {
            add_line (d, "%s: '%s' | '%s'", path, x->name, y->name);
            return;
        }
        compare_fields (d, inner, x, y);
    }
    if (n != m)
        add_line (d, "%s: %u elements | %u elements", path, n, m);
}

static void
compare_fields (Differences *d, const char *path, const GwField *a, const GwField *b)
{
    if (a->kind != b->kind) {
        add_line (d, "%s: type '%s' | '%s'", path, a->type, b->type);
        return;
    }
    if (a->children != NULL || b->children != NULL)
        compare_children (d, path, a, b);
    if (a->kind == GW_FIELD_BUFFER) {
        if (a->children == NULL || b->children == NULL || strcmp (a->type, "virtio") != 0)
            compare_buffers (d, path, a, b);
        return;
    }
    g_autofree char *x = gw_field_to_text (a, 16), *y = gw_field_to_text (b, 16);
    if (strcmp (x, y) != 0)
        add_line (d, "%s: %s | %s", path, x, y);
}

/* --- devices ------------------------------------------------------------------------------------ */

static const GwStreamItem *
find_item (const GwStreamSummary *s, const GwStreamSection *section)
{
    for (guint i = 0; i < s->items->len; i++) {
        const GwStreamItem *item = g_ptr_array_index (s->items, i);
        if (item->section != NULL && item->section->instance == section->instance
            && strcmp (item->section->name, section->name) == 0)
            return item;
    }
    return NULL;
}

static void
compare_items (Differences *d, const GwStreamSummary *a, const GwStreamItem *x,
               const GwStreamSummary *b, const GwStreamItem *y)
{
    const char *name = x->section->name;
    if (x->section->version != y->section->version)
        add_line (d, "%s: version %u | %u", name, x->section->version, y->section->version);
    if (x->body == NULL || y->body == NULL || g_bytes_equal (x->body, y->body))
        return;
    g_autoptr (GwField) left = gw_stream_item_decode (a, x);
    g_autoptr (GwField) right = gw_stream_item_decode (b, y);
    compare_fields (d, name, left, right);
}

/* Devices of `a`; with `b` compared, or, the other way round, only looked for. */
static void
compare_devices (Differences *d, const GwStreamSummary *a, const GwStreamSummary *b)
{
    for (guint i = 0; i < a->items->len; i++) {
        const GwStreamItem *x = g_ptr_array_index (a->items, i);
        const GwStreamItem *y = x->section != NULL ? find_item (b, x->section) : NULL;
        if (y != NULL)
            compare_items (d, a, x, b, y);
        else if (x->section != NULL)
            add_line (d, "%s instance %u: only in %s", x->section->name, x->section->instance,
                      a->file);
    }
    for (guint i = 0; i < b->items->len; i++) {
        const GwStreamItem *y = g_ptr_array_index (b->items, i);
        if (y->section != NULL && find_item (a, y->section) == NULL)
            add_line (d, "%s instance %u: only in %s", y->section->name, y->section->instance,
                      b->file);
    }
}

/* --- RAM ---------------------------------------------------------------------------------------- */

/* A page that was never sent is not the same as one that was, even as zero. */
static gboolean
pages_are_equal (const GwStreamBlockSum *a, const GwStreamBlockSum *b, gint64 number, gsize size)
{
    gpointer x, y;
    gboolean in_a = g_hash_table_lookup_extended (a->pages, &number, NULL, &x);
    gboolean in_b = g_hash_table_lookup_extended (b->pages, &number, NULL, &y);
    if (!in_a || !in_b)
        return in_a == in_b;
    if (x == NULL || y == NULL)
        return x == y;
    return memcmp (x, y, size) == 0;
}

static void
compare_blocks (Differences *d, const GwStreamBlockSum *a, const GwStreamBlockSum *b, gsize page_size)
{
    uint64_t different = 0;
    uint64_t n = MAX (a->block->used_length, b->block->used_length) / page_size;
    for (uint64_t i = 0; i < n; i++)
        different += !pages_are_equal (a, b, (gint64) i, page_size);
    if (a->compressed > 0 || b->compressed > 0)
        add_line (d, "ram %s: has pages of the 'compress' capability, which are not compared",
                  a->block->name);
    if (a->block->used_length != b->block->used_length)
        add_line (d, "ram %s: %" G_GUINT64_FORMAT " bytes | %" G_GUINT64_FORMAT, a->block->name,
                  a->block->used_length, b->block->used_length);
    if (different > 0)
        add_line (d, "ram %s: %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " pages differ",
                  a->block->name, different, n);
}

static const GwStreamBlockSum *
find_block (const GwStreamSummary *s, const char *name)
{
    for (guint i = 0; i < s->blocks->len; i++) {
        const GwStreamBlockSum *sum = g_ptr_array_index (s->blocks, i);
        if (strcmp (sum->block->name, name) == 0)
            return sum;
    }
    return NULL;
}

static void
compare_ram (Differences *d, const GwStreamSummary *a, const GwStreamSummary *b)
{
    gsize page_size = gw_stream_reader_get_page_size (a->reader);
    if (page_size != gw_stream_reader_get_page_size (b->reader)) {
        add_line (d, "ram: page size %zu | %u", page_size, gw_stream_reader_get_page_size (b->reader));
        return;
    }
    for (guint i = 0; i < a->blocks->len; i++) {
        const GwStreamBlockSum *x = g_ptr_array_index (a->blocks, i);
        const GwStreamBlockSum *y = find_block (b, x->block->name);
        if (y == NULL)
            add_line (d, "ram %s: only in %s", x->block->name, a->file);
        else
            compare_blocks (d, x, y, page_size);
    }
    for (guint i = 0; i < b->blocks->len; i++) {
        const GwStreamBlockSum *y = g_ptr_array_index (b->blocks, i);
        if (find_block (a, y->block->name) == NULL)
            add_line (d, "ram %s: only in %s", y->block->name, b->file);
    }
}

/* --- the command -------------------------------------------------------------------------------- */

static int
diff_streams (const char *first, const char *second, gboolean with_ram, gboolean as_json,
              GError **error)
{
    GwStreamLoadOptions options = { .keeps_bodies = TRUE, .keeps_ram = with_ram };
    g_autoptr (GPtrArray) lines = g_ptr_array_new_with_free_func (g_free);
    Differences d = { lines };
    g_autoptr (GwStreamSummary) a = gw_stream_summary_load (first, &options, error);
    g_autoptr (GwStreamSummary) b = a ? gw_stream_summary_load (second, &options, error) : NULL;
    if (b == NULL)
        return gw_cli_stream_fail (*error);
    const GwStreamSummary *bad = a->error != NULL ? a : b;
    if (bad->error != NULL) {
        g_prefix_error (&((GwStreamSummary *) bad)->error, "%s: ", bad->file);
        return gw_cli_stream_fail (bad->error);
    }
    if (g_strcmp0 (a->machine, b->machine) != 0)
        add_line (&d, "machine: %s | %s", a->machine, b->machine);
    compare_devices (&d, a, b);
    if (with_ram)
        compare_ram (&d, a, b);
    return finish (&d, as_json);
}

static int
diff_dumps (const char *source, gsize source_len, const char *destination, gsize destination_len,
            gboolean as_json)
{
    static const char *const severities[] = { "note", "warn", "block" };
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) lines = g_ptr_array_new_with_free_func (g_free);
    Differences d = { lines };
    g_autoptr (GPtrArray) findings = gw_compat_compare (source, source_len, destination,
                                                        destination_len, NULL, &error);
    if (findings == NULL)
        return gw_cli_stream_fail (error);
    for (guint i = 0; i < findings->len; i++) {
        const GwCompatFinding *finding = g_ptr_array_index (findings, i);
        const GwCompatInfo *info = gw_compat_get_info (finding->verdict);
        add_line (&d, "%s %s: %s%s%s: %s", severities[info->severity], info->code, finding->device,
                  finding->where[0] != '\0' ? "/" : "", finding->where, finding->detail);
    }
    return finish (&d, as_json);
}

/* The content of a -dump-vmstate file, NULL when it is none (or cannot be read: the stream reader
 * will say why). */
static char *
read_dump (const char *file, gsize *len)
{
    g_autofree char *text = NULL;
    char first[64];
    FILE *f = fopen (file, "re");
    gsize n = f != NULL ? fread (first, 1, sizeof first, f) : 0;
    if (f != NULL)
        fclose (f);
    if (!gw_compat_is_dump (first, n) || !g_file_get_contents (file, &text, len, NULL)
        || *len > DUMP_MAX)
        return NULL;
    return g_steal_pointer (&text);
}

int
gw_cli_stream_diff (int argc, char **argv)
{
    g_autoptr (GError) error = NULL;
    gboolean as_json = FALSE, with_ram = FALSE;
    gsize len_a = 0, len_b = 0;
    const GOptionEntry entries[] = {
        { "json", 0, 0, G_OPTION_ARG_NONE, &as_json, "print one JSON object", NULL },
        { "ram", 0, 0, G_OPTION_ARG_NONE, &with_ram, "compare the content of RAM too", NULL },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };
    if (!gw_cli_stream_parse (entries, "A B", &argc, &argv, &error))
        return gw_cli_stream_fail (error);
    if (argc != 3) {
        gw_fail (&error, GW_CAUSE_USAGE, "expected two files, found %d", argc - 1);
        return gw_cli_stream_fail (error);
    }
    g_autofree char *a = read_dump (argv[1], &len_a);
    g_autofree char *b = a != NULL ? read_dump (argv[2], &len_b) : NULL;
    if (b != NULL)
        return diff_dumps (a, len_a, b, len_b, as_json);
    return diff_streams (argv[1], argv[2], with_ram, as_json, &error);
}
