/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit stream inspect and check. */
#include "stream_cmd.h"

#include <string.h>

static int
exit_status (const GwStreamSummary *s)
{
    return s->error == NULL ? 0 : gw_cli_stream_fail (s->error);
}

/* Loads the one operand, "-" when there is none; NULL with an error. */
static GwStreamSummary *
load_operand (int argc, char **argv, const GwStreamLoadOptions *options, GError **error)
{
    if (argc > 2) {
        gw_fail (error, GW_CAUSE_USAGE, "expected one file, found %d", argc - 1);
        return NULL;
    }
    return gw_stream_summary_load (argc == 2 ? argv[1] : "-", options, error);
}

/* --- inspect ------------------------------------------------------------------------------------ */

static void
print_block (const GwStreamBlockSum *sum)
{
    g_print ("  block %s: %" G_GUINT64_FORMAT " KiB, %" G_GUINT64_FORMAT " pages, %" G_GUINT64_FORMAT
             " zero", sum->block->name, sum->block->used_length / 1024, sum->normal, sum->zero);
    if (sum->xbzrle > 0)
        g_print (", %" G_GUINT64_FORMAT " xbzrle", sum->xbzrle);
    if (sum->compressed > 0)
        g_print (", %" G_GUINT64_FORMAT " compressed", sum->compressed);
    if (sum->block->has_page_size)
        g_print (", of pages of %" G_GUINT64_FORMAT, sum->block->page_size);
    g_print ("\n");
}

static void
print_iterator (const GwStreamSummary *s, const GwStreamSection *section)
{
    if (strcmp (section->name, "ram") == 0) {
        for (guint i = 0; i < s->blocks->len; i++)
            print_block (g_ptr_array_index (s->blocks, i));
        if (s->n_flushes > 0)
            g_print ("  %" G_GUINT64_FORMAT " multifd flushes\n", s->n_flushes);
        return;
    }
    for (guint i = 0; strcmp (section->name, "dirty-bitmap") == 0 && i < s->bitmaps->len; i++) {
        const GwStreamBitmapSum *sum = g_ptr_array_index (s->bitmaps, i);
        g_print ("  bitmap %s of node %s: granularity %u, %" G_GUINT64_FORMAT " chunks\n", sum->name,
                 sum->node, sum->granularity, sum->chunks);
    }
}

static void
print_item (const GwStreamSummary *s, const GwStreamItem *item)
{
    unsigned indent = item->depth * 2;
    if (item->type == GW_ITEM_COMMAND) {
        g_print ("%*scommand %s\n", (int) indent, "", item->text);
        return;
    }
    g_print ("%*ssection %u '%s' instance %u version %u", (int) indent, "", item->section->id,
             item->section->name, item->section->instance, item->section->version);
    if (item->section->is_iterator) {
        g_print (" (iterator)\n");
        print_iterator (s, item->section);
        return;
    }
    g_print (", %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT "\n", item->length, item->offset);
    if (item->body == NULL)
        return;
    g_autoptr (GwField) field = gw_stream_item_decode (s, item);
    for (guint i = 0; field->children != NULL && i < field->children->len; i++)
        gw_field_print (g_ptr_array_index (field->children, i), indent + 2);
}

static void
print_summary (const GwStreamSummary *s, const char *only)
{
    if (only == NULL)
        g_print ("%s: %" G_GUINT64_FORMAT " bytes, %" G_GUINT64_FORMAT " records, machine %s, pages "
                 "of %u\n", s->file, s->bytes, s->n_records, s->machine != NULL ? s->machine : "unknown",
                 gw_stream_reader_get_page_size (s->reader));
    for (guint i = 0; i < s->items->len; i++) {
        const GwStreamItem *item = g_ptr_array_index (s->items, i);
        if (only == NULL || (item->section != NULL && strstr (item->section->name, only) != NULL))
            print_item (s, item);
    }
    if (only == NULL && s->is_complete)
        g_print ("end%s\n", s->json != NULL ? " and vmdesc" : "");
}

int
gw_cli_stream_inspect (int argc, char **argv)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *only = NULL;
    gboolean as_json = FALSE;
    const GOptionEntry entries[] = {
        { "json", 0, 0, G_OPTION_ARG_NONE, &as_json, "print one JSON object", NULL },
        { "section", 0, 0, G_OPTION_ARG_STRING, &only, "only sections whose name has NAME", "NAME" },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };
    GwStreamLoadOptions options = { .keeps_bodies = TRUE };
    if (!gw_cli_stream_parse (entries, "[FILE]", &argc, &argv, &error))
        return gw_cli_stream_fail (error);
    g_autoptr (GwStreamSummary) s = load_operand (argc, argv, &options, &error);
    if (s == NULL)
        return gw_cli_stream_fail (error);
    if (as_json)
        gw_stream_json_print (gw_summary_to_json (s, only));
    else
        print_summary (s, only);
    return exit_status (s);
}

/* --- check -------------------------------------------------------------------------------------- */

static guint
count_sections (const GwStreamSummary *s)
{
    guint n = 0;
    for (guint i = 0; i < s->items->len; i++)
        n += ((const GwStreamItem *) g_ptr_array_index (s->items, i))->type == GW_ITEM_SECTION;
    return n;
}

static void
print_check_json (const GwStreamSummary *s)
{
    g_autoptr (JsonBuilder) b = json_builder_new ();
    json_builder_begin_object (b);
    json_builder_set_member_name (b, "file");
    json_builder_add_string_value (b, s->file);
    json_builder_set_member_name (b, "valid");
    json_builder_add_boolean_value (b, s->error == NULL);
    gw_stream_json_add_error (b, s->error);
    json_builder_set_member_name (b, "bytes");
    json_builder_add_int_value (b, (gint64) s->bytes);
    json_builder_set_member_name (b, "records");
    json_builder_add_int_value (b, (gint64) s->n_records);
    json_builder_set_member_name (b, "sections");
    json_builder_add_int_value (b, count_sections (s));
    json_builder_set_member_name (b, "confirmed");
    json_builder_add_boolean_value (b, s->vmdesc != NULL);
    json_builder_end_object (b);
    gw_stream_json_print (json_builder_get_root (b));
}

int
gw_cli_stream_check (int argc, char **argv)
{
    g_autoptr (GError) error = NULL;
    gboolean as_json = FALSE;
    const GOptionEntry entries[] = {
        { "json", 0, 0, G_OPTION_ARG_NONE, &as_json, "print one JSON object", NULL },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };
    GwStreamLoadOptions options = { .keeps_bodies = FALSE };
    if (!gw_cli_stream_parse (entries, "[FILE]", &argc, &argv, &error))
        return gw_cli_stream_fail (error);
    g_autoptr (GwStreamSummary) s = load_operand (argc, argv, &options, &error);
    if (s == NULL)
        return gw_cli_stream_fail (error);
    if (as_json)
        print_check_json (s);
    else if (s->error == NULL)
        g_print ("%s: valid, %" G_GUINT64_FORMAT " bytes, %" G_GUINT64_FORMAT " records, %u sections, %s\n",
                 s->file, s->bytes, s->n_records, count_sections (s),
                 s->vmdesc != NULL ? "confirmed by the vmdesc" : "no vmdesc");
    return exit_status (s);
}
