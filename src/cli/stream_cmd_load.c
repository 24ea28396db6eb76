/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a stream into a summary. */
#include "stream_cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_BYTES (256u * 1024u)

/* --- records ------------------------------------------------------------------------------------ */

static void
item_free (GwStreamItem *item)
{
    g_clear_pointer (&item->body, g_bytes_unref);
    g_free (item->text);
    g_free (item);
}

static GwStreamItem *
add_item (GwStreamSummary *s, GwStreamItemType type, const GwStreamRecord *record)
{
    GwStreamItem *item = g_new0 (GwStreamItem, 1);
    item->type = type;
    item->depth = record->depth;
    item->offset = record->offset;
    item->length = record->length;
    item->section = record->section;
    g_ptr_array_add (s->items, item);
    return item;
}

static void
on_section (GwStreamSummary *s, const GwStreamRecord *record)
{
    if (record->section_type == GW_STREAM_BYTE_PART || record->section_type == GW_STREAM_BYTE_END)
        s->n_parts++;
    else
        add_item (s, GW_ITEM_SECTION, record)->length = 0;
}

/* The body belongs to the item that its header made; parts of iterators have none. */
static void
on_body (GwStreamSummary *s, const GwStreamRecord *record, gboolean keeps_bodies)
{
    GwStreamItem *item = s->items->len > 0 ? g_ptr_array_index (s->items, s->items->len - 1) : NULL;
    if (item == NULL || item->section != record->section || item->length > 0)
        return;
    item->offset = record->offset;
    item->length = record->length;
    if (!keeps_bodies || s->kept_bytes + record->data_length > GW_STREAM_KEPT_MAX)
        return;
    s->kept_bytes += record->data_length;
    item->body = g_bytes_new (record->data, record->data_length);
}

static char *
command_text (const GwStreamRecord *record)
{
    const char *name = gw_stream_command_name (record->command.number);
    switch (record->command.number) {
    case GW_COMMAND_PING:
        return g_strdup_printf ("%s 0x%x", name, record->command.value);
    case GW_COMMAND_PACKAGED:
        return g_strdup_printf ("%s, %u bytes", name, record->command.value);
    case GW_COMMAND_POSTCOPY_ADVISE:
        if (record->data_length == 0)
            return g_strdup_printf ("%s, no RAM", name);
        return g_strdup_printf ("%s, pages 0x%" G_GINT64_MODIFIER "x of 0x%" G_GINT64_MODIFIER "x",
                                name, record->command.page_summary, record->command.page_size);
    case GW_COMMAND_POSTCOPY_RAM_DISCARD:
        return g_strdup_printf ("%s '%s', %u ranges", name, record->command.block,
                                record->command.n_ranges);
    case GW_COMMAND_RECV_BITMAP:
        return g_strdup_printf ("%s '%s'", name, record->command.block);
    default:
        return g_strdup (name);
    }
}

static GwStreamBlockSum *
get_block (GwStreamSummary *s, const GwStreamBlock *block)
{
    while (s->blocks->len <= block->index) {
        GwStreamBlockSum *sum = g_new0 (GwStreamBlockSum, 1);
        sum->pages = s->keeps_ram ? g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, g_free)
                                  : NULL;
        g_ptr_array_add (s->blocks, sum);
    }
    GwStreamBlockSum *sum = g_ptr_array_index (s->blocks, block->index);
    sum->block = block;
    return sum;
}

static void
keep_page (GwStreamBlockSum *sum, const GwStreamRecord *record)
{
    gint64 number = (gint64) (record->ram.offset / record->page_size);
    uint8_t *page = record->data_length > 0 ? g_memdup2 (record->data, record->data_length) : NULL;
    g_hash_table_replace (sum->pages, g_memdup2 (&number, sizeof number), page);
}

static gboolean
patch_page (GwStreamBlockSum *sum, const GwStreamRecord *record, GError **error)
{
    gint64 number = (gint64) (record->ram.offset / record->page_size);
    uint8_t *page = g_malloc0 (record->page_size);
    const uint8_t *before = g_hash_table_lookup (sum->pages, &number);
    if (before != NULL)
        memcpy (page, before, record->page_size);
    g_hash_table_replace (sum->pages, g_memdup2 (&number, sizeof number), page);
    return gw_xbzrle_apply (record->data, record->data_length, page, record->page_size, error);
}

/* Without the page as it was before, only the form of the encoding can be checked. */
static gboolean
check_xbzrle (const GwStreamRecord *record, GError **error)
{
    uint8_t page[GW_STREAM_PAGE_MAX];
    return gw_xbzrle_apply (record->data, record->data_length, page, record->page_size, error);
}

static gboolean
on_page (GwStreamSummary *s, const GwStreamRecord *record, GError **error)
{
    GwStreamBlockSum *sum = get_block (s, record->ram.block);
    switch (record->type) {
    case GW_STREAM_RAM_XBZRLE:
        sum->xbzrle++;
        return s->keeps_ram ? patch_page (sum, record, error) : check_xbzrle (record, error);
    case GW_STREAM_RAM_COMPRESSED:
        sum->compressed++;
        return TRUE;
    case GW_STREAM_RAM_ZERO:
        sum->zero++;
        break;
    default:
        sum->normal++;
    }
    if (s->keeps_ram)
        keep_page (sum, record);
    return TRUE;
}

static void
on_bitmap (GwStreamSummary *s, const GwStreamRecord *record)
{
    GwStreamBitmapSum *sum = NULL;
    if (record->bitmap.flags == GW_BITMAP_EOS)
        return;
    for (guint i = 0; i < s->bitmaps->len; i++) {
        GwStreamBitmapSum *known = g_ptr_array_index (s->bitmaps, i);
        if (strcmp (known->node, record->bitmap.node) == 0
            && strcmp (known->name, record->bitmap.name) == 0)
            sum = known;
    }
    if (sum == NULL) {
        sum = g_new0 (GwStreamBitmapSum, 1);
        sum->node = g_strdup (record->bitmap.node);
        sum->name = g_strdup (record->bitmap.name);
        g_ptr_array_add (s->bitmaps, sum);
    }
    if (record->bitmap.flags & GW_BITMAP_START)
        sum->granularity = record->bitmap.granularity;
    sum->chunks++;
}

typedef struct {
    GwStreamSummary *summary;
    const GwStreamLoadOptions *options;
} Loading;

static gboolean
on_record (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    Loading *loading = user_data;
    GwStreamSummary *s = loading->summary;
    s->n_records++;
    switch (record->type) {
    case GW_STREAM_CONFIGURATION:
        s->machine = g_strndup (record->configuration.machine, record->configuration.machine_length);
        return TRUE;
    case GW_STREAM_SECTION:
        on_section (s, record);
        return TRUE;
    case GW_STREAM_DEVICE:
        on_body (s, record, loading->options->keeps_bodies);
        return TRUE;
    case GW_STREAM_RAM_BLOCK:
        get_block (s, record->block);
        return TRUE;
    case GW_STREAM_RAM_ZERO:
    case GW_STREAM_RAM_PAGE:
    case GW_STREAM_RAM_XBZRLE:
    case GW_STREAM_RAM_COMPRESSED:
        return on_page (s, record, error);
    case GW_STREAM_RAM_FLUSH:
        s->n_flushes++;
        return TRUE;
    case GW_STREAM_BITMAP:
        on_bitmap (s, record);
        return TRUE;
    case GW_STREAM_COMMAND:
        add_item (s, GW_ITEM_COMMAND, record)->text = command_text (record);
        return TRUE;
    case GW_STREAM_VMDESC:
        s->json = g_bytes_new (record->data, record->data_length);
        return TRUE;
    default:
        return TRUE;
    }
}

/* --- files -------------------------------------------------------------------------------------- */

static void
block_sum_free (GwStreamBlockSum *sum)
{
    g_clear_pointer (&sum->pages, g_hash_table_unref);
    g_free (sum);
}

static void
bitmap_sum_free (GwStreamBitmapSum *sum)
{
    g_free (sum->node);
    g_free (sum->name);
    g_free (sum);
}

void
gw_stream_summary_free (GwStreamSummary *s)
{
    if (s == NULL)
        return;
    g_clear_pointer (&s->vmdesc, gw_vmdesc_free);
    g_clear_pointer (&s->json, g_bytes_unref);
    g_clear_pointer (&s->items, g_ptr_array_unref);
    g_clear_pointer (&s->blocks, g_ptr_array_unref);
    g_clear_pointer (&s->bitmaps, g_ptr_array_unref);
    g_clear_pointer (&s->reader, gw_stream_reader_free);
    g_clear_error (&s->error);
    g_free (s->machine);
    g_free (s->file);
    g_free (s);
}

static GwStreamSummary *
summary_new (const char *file, gboolean keeps_ram)
{
    GwStreamSummary *s = g_new0 (GwStreamSummary, 1);
    s->file = g_strdup (file);
    s->keeps_ram = keeps_ram;
    s->items = g_ptr_array_new_with_free_func ((GDestroyNotify) item_free);
    s->blocks = g_ptr_array_new_with_free_func ((GDestroyNotify) block_sum_free);
    s->bitmaps = g_ptr_array_new_with_free_func ((GDestroyNotify) bitmap_sum_free);
    return s;
}

/* Pushes all of `fd`.  FALSE only when reading fails; a fault of the stream goes to `*fault`. */
static gboolean
push_file (int fd, const char *file, GwStreamReader *reader, GError **fault, GError **error)
{
    g_autofree uint8_t *chunk = g_malloc (CHUNK_BYTES);
    for (;;) {
        gssize n = read (fd, chunk, CHUNK_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return gw_fail (error, GW_CAUSE_HOST_IO, "%s: %s", file, g_strerror (errno));
        if (n == 0) {
            (void) gw_stream_reader_finish (reader, fault); /* the fault is looked at by the caller */
            return TRUE;
        }
        if (!gw_stream_reader_push (reader, chunk, (gsize) n, fault))
            return TRUE;
    }
}

/* The vmdesc at the end of a regular file: with it, no end of a section has to be searched. */
static GwVmdesc *
find_vmdesc (int fd)
{
    struct stat st;
    if (fstat (fd, &st) != 0 || !S_ISREG (st.st_mode) || st.st_size <= 0)
        return NULL;
    gsize len = (gsize) st.st_size;
    uint8_t *map = mmap (NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return NULL;
    gsize tail = MIN (len, 64u << 20);
    GwVmdesc *vmdesc = gw_vmdesc_find (map + len - tail, tail);
    munmap (map, len);
    return vmdesc;
}

static GwStreamSummary *
load_fd (int fd, const char *file, const GwStreamLoadOptions *options, const GwVmdesc *vmdesc,
         GError **error)
{
    g_autoptr (GwStreamSummary) s = summary_new (file, options->keeps_ram);
    Loading loading = { s, options };
    GwStreamParams params;
    gw_stream_params_init (&params);
    params.vmdesc = vmdesc;
    if (options->page_size > 0)
        params.page_size = options->page_size;
    s->reader = gw_stream_reader_new (&params, on_record, &loading);
    if (!push_file (fd, file, s->reader, &s->error, error))
        return NULL;
    s->bytes = gw_stream_reader_get_offset (s->reader);
    s->is_complete = gw_stream_reader_is_complete (s->reader);
    if (s->json != NULL)
        s->vmdesc = gw_vmdesc_parse (g_bytes_get_data (s->json, NULL), g_bytes_get_size (s->json),
                                     NULL);
    return g_steal_pointer (&s);
}

/* A guest can write what looks like the end of a section into a device.  When the search is misled,
 * the lengths of the vmdesc at the end of the file are used; they alone are not, as QEMU before 10.0
 * describes arrays with null pointers wrongly. */
static GwStreamSummary *
load_again (int fd, const char *file, const GwStreamLoadOptions *options, GwStreamSummary *first,
            GError **error)
{
    g_autoptr (GwStreamSummary) before = first;
    g_autoptr (GwVmdesc) vmdesc = find_vmdesc (fd);
    if (vmdesc == NULL || lseek (fd, 0, SEEK_SET) != 0)
        return g_steal_pointer (&before);
    g_autoptr (GwStreamSummary) again = load_fd (fd, file, options, vmdesc, error);
    if (again == NULL || again->error != NULL)
        return g_steal_pointer (&before);
    return g_steal_pointer (&again);
}

GwStreamSummary *
gw_stream_summary_load (const char *file, const GwStreamLoadOptions *options, GError **error)
{
    gboolean is_stdin = strcmp (file, "-") == 0;
    g_auto (GwFd) opened = is_stdin ? -1 : open (file, O_RDONLY | O_CLOEXEC);
    if (!is_stdin && opened < 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "%s: %s", file, g_strerror (errno));
        return NULL;
    }
    int fd = is_stdin ? STDIN_FILENO : opened;
    GwStreamSummary *s = load_fd (fd, file, options, NULL, error);
    if (s == NULL || s->error == NULL)
        return s;
    return load_again (fd, file, options, s, error);
}

GwField *
gw_stream_item_decode (const GwStreamSummary *s, const GwStreamItem *item)
{
    gsize len;
    const uint8_t *body = g_bytes_get_data (item->body, &len);
    const GwStreamSection *section = item->section;
    const GwVmdescDevice *device = s->vmdesc != NULL
                                       ? gw_vmdesc_find_device (s->vmdesc, section->name,
                                                                section->instance)
                                       : NULL;
    GwField *field = device != NULL ? gw_stream_decode (device, section->name, body, len, NULL)
                                    : NULL;
    return field != NULL ? field : gw_stream_decode (NULL, section->name, body, len, NULL);
}
