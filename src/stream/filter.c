/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copying a stream while putting a configuration in or leaving device sections out. */
#include "internal.h"

#include <string.h>

struct _GwStreamFilter {
    GwStreamReader *reader;
    GByteArray *out;
    GByteArray *package; /* collects the content of a package, whose length may change; or NULL */
    char *machine;       /* to be inserted before the next record; NULL: not (any more) */
    char **left_out;
    unsigned n_left_out;
    gboolean skips; /* the records are those of a section left out */
};

static gboolean
is_left_out (const GwStreamFilter *filter, const GwStreamSection *section)
{
    const char *slash = strrchr (section->name, '/');
    if (filter->left_out == NULL || section->is_iterator)
        return FALSE;
    return g_strv_contains ((const char *const *) filter->left_out, section->name)
           || (slash != NULL
               && g_strv_contains ((const char *const *) filter->left_out, slash + 1));
}

static void
insert_configuration (GwStreamFilter *filter, const GwStreamRecord *record)
{
    if (filter->machine == NULL || record->type == GW_STREAM_HEADER)
        return;
    if (record->type != GW_STREAM_CONFIGURATION)
        gw_stream_put_configuration (filter->out, filter->machine);
    g_clear_pointer (&filter->machine, g_free);
}

static void
copy_record (GwStreamFilter *filter, const GwStreamRecord *record)
{
    if (record->type == GW_STREAM_COMMAND && record->command.number == GW_COMMAND_PACKAGED) {
        filter->package = g_byte_array_new ();
    } else if (record->type == GW_STREAM_PACKAGE_END) {
        if (filter->package->len > 0)
            gw_stream_put_packaged (filter->out, filter->package->data, filter->package->len);
        g_clear_pointer (&filter->package, g_byte_array_unref);
    } else {
        gw_stream_put_record (filter->package != NULL ? filter->package : filter->out, record);
    }
}

static gboolean
on_record (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    GwStreamFilter *filter = user_data;
    insert_configuration (filter, record);
    if (record->type == GW_STREAM_SECTION && is_left_out (filter, record->section)) {
        filter->skips = TRUE;
        filter->n_left_out++;
    } else if (record->section == NULL || record->type == GW_STREAM_SECTION) {
        filter->skips = FALSE;
    }
    if (filter->skips || (record->type == GW_STREAM_VMDESC && filter->n_left_out > 0))
        return TRUE;
    copy_record (filter, record);
    return TRUE;
}

GwStreamFilter *
gw_stream_filter_new (const GwStreamParams *params, const GwStreamFilterRules *rules,
                      GByteArray *out)
{
    GwStreamFilter *filter = g_new0 (GwStreamFilter, 1);
    filter->out = g_byte_array_ref (out);
    filter->machine = g_strdup (rules->machine);
    filter->left_out = g_strdupv ((char **) rules->left_out);
    filter->reader = gw_stream_reader_new (params, on_record, filter);
    return filter;
}

void
gw_stream_filter_free (GwStreamFilter *filter)
{
    if (filter == NULL)
        return;
    gw_stream_reader_free (filter->reader);
    g_clear_pointer (&filter->package, g_byte_array_unref);
    g_byte_array_unref (filter->out);
    g_strfreev (filter->left_out);
    g_free (filter->machine);
    g_free (filter);
}

gboolean
gw_stream_filter_push (GwStreamFilter *filter, const uint8_t *data, gsize len, GError **error)
{
    return gw_stream_reader_push (filter->reader, data, len, error);
}

gboolean
gw_stream_filter_finish (GwStreamFilter *filter, GError **error)
{
    return gw_stream_reader_finish (filter->reader, error);
}

unsigned
gw_stream_filter_get_n_left_out (const GwStreamFilter *filter)
{
    return filter->n_left_out;
}
