/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rehearse_feed.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream.h"

typedef struct {
    char *block;
    guint64 offset;
    gboolean is_served;
} Wanted;

struct _GwFeed {
    int fd;
    GMainContext *context;
    GSource *readable, *writable; /* writable: NULL when there is nothing to write */
    GByteArray *out;
    gsize written; /* bytes of `out` */
    GwReturnReader *reader;
    GHashTable *pages; /* "BLOCK@OFFSET": GBytes of one page */
    GPtrArray *wanted; /* Wanted, in the order of the requests */
    guint n_served;
    gboolean is_loaded, has_ended;
    gint64 started_us, loaded_us;
};

static void
wanted_free (gpointer data)
{
    Wanted *wanted = data;
    g_free (wanted->block);
    g_free (wanted);
}

static void
detach (GSource **source)
{
    if (*source != NULL)
        g_source_destroy (*source);
    g_clear_pointer (source, g_source_unref);
}

static char *
page_key (const char *block, guint64 offset)
{
    return g_strdup_printf ("%s@%" G_GUINT64_FORMAT, block, offset);
}

/* --- out ------------------------------------------------------------------------------------------ */

static gboolean flush (GwFeed *feed);

static gboolean
on_writable (gint fd, GIOCondition condition, gpointer user_data)
{
    return flush (user_data) ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

static GSource *
watch (GwFeed *feed, GIOCondition condition, GUnixFDSourceFunc fn)
{
    GSource *source = g_unix_fd_source_new (feed->fd, condition);
    g_source_set_callback (source, G_SOURCE_FUNC (fn), feed, NULL);
    g_source_attach (source, feed->context);
    return source;
}

/* TRUE when nothing is left, or nobody reads it any more. */
static gboolean
flush (GwFeed *feed)
{
    while (feed->written < feed->out->len) {
        gssize n = send (feed->fd, feed->out->data + feed->written, feed->out->len - feed->written,
                         MSG_NOSIGNAL);
        if (n > 0) {
            feed->written += (gsize) n;
        } else if (n < 0 && errno == EAGAIN) {
            if (feed->writable == NULL)
                feed->writable = watch (feed, G_IO_OUT, on_writable);
            return FALSE;
        } else if (n < 0 && errno != EINTR) {
            break; /* the reader sees the end */
        }
    }
    g_byte_array_set_size (feed->out, 0);
    feed->written = 0;
    detach (&feed->writable);
    return TRUE;
}

/* --- pages ---------------------------------------------------------------------------------------- */

static void
serve (GwFeed *feed)
{
    for (guint i = 0; i < feed->wanted->len; i++) {
        Wanted *wanted = feed->wanted->pdata[i];
        if (wanted->is_served)
            continue;
        g_autofree char *key = page_key (wanted->block, wanted->offset);
        GBytes *bytes = g_hash_table_lookup (feed->pages, key);
        if (bytes == NULL)
            continue;
        GwStreamPage page = { wanted->block, wanted->offset, g_bytes_get_data (bytes, NULL) };
        gw_stream_put_rehearsal_pages (feed->out, &page, 1, GW_REHEARSAL_PAGE_BYTES);
        wanted->is_served = TRUE;
        feed->n_served++;
    }
    (void) flush (feed); /* the rest goes when the socket takes it */
}

gboolean
gw_feed_add_page (GwFeed *feed, const char *block, guint64 offset,
                  const guint8 data[static GW_REHEARSAL_PAGE_BYTES], GError **error)
{
    if (g_hash_table_size (feed->pages) >= GW_REHEARSAL_PAGES_MAX)
        return gw_fail (error, GW_CAUSE_RPC_INVALID, "a rehearsal holds at most %u pages",
                        GW_REHEARSAL_PAGES_MAX);
    (void) g_hash_table_insert (feed->pages, page_key (block, offset),
                                g_bytes_new (data, GW_REHEARSAL_PAGE_BYTES));
    serve (feed);
    return TRUE;
}

static gboolean
want (GwFeed *feed, const GwReturnRecord *record, GError **error)
{
    for (guint64 at = 0; at < record->wanted; at += GW_REHEARSAL_PAGE_BYTES) {
        if (feed->wanted->len >= GW_REHEARSAL_PAGES_MAX)
            return gw_fail (error, GW_CAUSE_STREAM_LIMIT,
                            "the rehearsal's QEMU asks for more than %u pages",
                            GW_REHEARSAL_PAGES_MAX);
        Wanted *wanted = g_new0 (Wanted, 1);
        wanted->block = g_strdup (record->block);
        wanted->offset = record->start + at;
        g_ptr_array_add (feed->wanted, wanted);
    }
    serve (feed);
    return TRUE;
}

/* --- in ------------------------------------------------------------------------------------------- */

static gboolean
take_record (const GwReturnRecord *record, gpointer user_data, GError **error)
{
    GwFeed *feed = user_data;
    switch ((GwReturnMessage) record->type) {
    case GW_RETURN_PONG:
        if (record->value != GW_REHEARSAL_PING_LOADED)
            return TRUE;
        feed->is_loaded = TRUE;
        feed->loaded_us = g_get_monotonic_time ();
        return TRUE;
    case GW_RETURN_REQ_PAGES:
    case GW_RETURN_REQ_PAGES_ID:
        return want (feed, record, error);
    default:
        return TRUE;
    }
}

static gboolean
on_readable (gint fd, GIOCondition condition, gpointer user_data)
{
    GwFeed *feed = user_data;
    guint8 buffer[4096];
    gssize n = read (feed->fd, buffer, sizeof buffer);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    if (n > 0 && gw_return_reader_push (feed->reader, buffer, (gsize) n, NULL))
        return G_SOURCE_CONTINUE;
    feed->has_ended = TRUE;
    return G_SOURCE_REMOVE;
}

/* --- life ------------------------------------------------------------------------------------------ */

GwFeed *
gw_feed_new (int fd, GMainContext *context)
{
    GwStreamParams params;
    GwFeed *feed = g_new0 (GwFeed, 1);
    gw_stream_params_init (&params);
    feed->fd = fd;
    feed->context = g_main_context_ref (context);
    feed->out = g_byte_array_new ();
    feed->pages = g_hash_table_new_full (g_str_hash, g_str_equal, g_free,
                                         (GDestroyNotify) g_bytes_unref);
    feed->wanted = g_ptr_array_new_with_free_func (wanted_free);
    feed->reader = gw_return_reader_new (&params, take_record, feed);
    (void) g_unix_set_fd_nonblocking (fd, TRUE, NULL); /* a connected socket always can */
    feed->readable = watch (feed, G_IO_IN | G_IO_HUP, on_readable);
    return feed;
}

void
gw_feed_free (GwFeed *feed)
{
    if (feed == NULL)
        return;
    detach (&feed->readable);
    detach (&feed->writable);
    gw_return_reader_free (feed->reader);
    g_byte_array_unref (feed->out);
    g_hash_table_unref (feed->pages);
    g_ptr_array_unref (feed->wanted);
    g_main_context_unref (feed->context);
    (void) close (feed->fd);
    g_free (feed);
}

/* The pages that are known, for a QEMU that cannot ask. */
static GArray *
list_pages (const GwFeed *feed, GPtrArray *names)
{
    GArray *pages = g_array_new (FALSE, FALSE, sizeof (GwStreamPage));
    GHashTableIter iter;
    gpointer key, value;
    g_hash_table_iter_init (&iter, feed->pages);
    while (g_hash_table_iter_next (&iter, &key, &value)) {
        const char *at = strrchr (key, '@');
        char *block = g_strndup (key, (gsize) (at - (const char *) key));
        GwStreamPage page = { block, g_ascii_strtoull (at + 1, NULL, 10),
                              g_bytes_get_data (value, NULL) };
        g_ptr_array_add (names, block);
        g_array_append_val (pages, page);
    }
    return pages;
}

static gboolean
put_stream (GwFeed *feed, const GwStreamRehearsal *rehearsal, gboolean has_postcopy, GError **error)
{
    if (has_postcopy)
        return gw_stream_put_rehearsal_postcopy (feed->out, rehearsal, error);
    g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
    g_autoptr (GArray) pages = list_pages (feed, names);
    feed->n_served = pages->len;
    return gw_stream_put_rehearsal_precopy (feed->out, rehearsal,
                                            (const GwStreamPage *) (gpointer) pages->data,
                                            pages->len, error);
}

gboolean
gw_feed_start (GwFeed *feed, const GwFeedSpec *spec, GError **error)
{
    g_assert (spec->n_blocks > 0 && feed->started_us == 0);
    g_autofree GwStreamBlock *blocks = g_new0 (GwStreamBlock, spec->n_blocks);
    g_autofree const GwStreamBlock **list = g_new0 (const GwStreamBlock *, spec->n_blocks);
    for (guint i = 0; i < spec->n_blocks; i++) {
        blocks[i].name = (char *) spec->blocks[i].name; /* only read */
        blocks[i].used_length = spec->blocks[i].used_bytes;
        list[i] = &blocks[i];
    }
    GwStreamRehearsal rehearsal = { spec->machine, list,        spec->n_blocks,
                                    GW_REHEARSAL_PAGE_BYTES, spec->saved, spec->saved_length };
    feed->started_us = g_get_monotonic_time ();
    if (!put_stream (feed, &rehearsal, spec->has_postcopy, error))
        return FALSE;
    (void) flush (feed); /* the rest goes when the socket takes it */
    return TRUE;
}

gboolean
gw_feed_get_wanted (const GwFeed *feed, const char **ret_block, guint64 *ret_offset)
{
    for (guint i = 0; i < feed->wanted->len; i++) {
        const Wanted *wanted = feed->wanted->pdata[i];
        if (wanted->is_served)
            continue;
        *ret_block = wanted->block;
        *ret_offset = wanted->offset;
        return TRUE;
    }
    return FALSE;
}

gboolean
gw_feed_is_loaded (const GwFeed *feed)
{
    return feed->is_loaded;
}

gboolean
gw_feed_has_ended (const GwFeed *feed)
{
    return feed->has_ended;
}

guint
gw_feed_get_n_served (const GwFeed *feed)
{
    return feed->n_served;
}

gint64
gw_feed_get_load_us (const GwFeed *feed)
{
    return feed->is_loaded ? feed->loaded_us - feed->started_us : 0;
}
