/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How fast the main stream's reader goes over a plain RAM stream in memory, beside a memcpy of the
 * same bytes in the same run, and how often it allocates.
 *
 *   bench-stream [MIB [ROUNDS]]      default 512 5
 *
 * Prints the median of the rounds in GB/s.  "read" only looks at each record; "read+copy" also
 * copies each page to its place in an image, as a receiver would.  The last line is the figure to
 * hold against: read / memcpy, 0.5 or more.
 */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 4096u
#define BLOCK "pc.ram"

/* --- counting allocations ----------------------------------------------------------------------- */

extern void *__libc_malloc (size_t size);
extern void *__libc_calloc (size_t n, size_t size);
extern void *__libc_realloc (void *p, size_t size);

static uint64_t n_allocations;

void *
malloc (size_t size)
{
    n_allocations++;
    return __libc_malloc (size);
}

void *
calloc (size_t n, size_t size)
{
    n_allocations++;
    return __libc_calloc (n, size);
}

void *
realloc (void *p, size_t size)
{
    n_allocations++;
    return __libc_realloc (p, size);
}

/* --- the stream --------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *image; /* NULL: pages are not copied */
    uint64_t pages;
    uint64_t sum; /* so that nothing is optimised away */
} Sink;

static gboolean
on_record (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    Sink *sink = user_data;
    if (record->type != GW_STREAM_RAM_PAGE)
        return TRUE;
    sink->pages++;
    sink->sum += record->data[0] + record->ram.offset;
    if (sink->image != NULL)
        memcpy (sink->image + record->ram.offset, record->data, PAGE);
    return TRUE;
}

/* PARTs of 1000 pages of text-like bytes. */
static GByteArray *
build (guint64 n_pages)
{
    const GwStreamBlock block = { .name = (char *) BLOCK, .used_length = n_pages * PAGE };
    const GwStreamBlock *list[] = { &block };
    const GwStreamSection ram = { .id = 2, .version = 4, .name = (char *) "ram" };
    GByteArray *out = g_byte_array_sized_new ((guint) (n_pages * (PAGE + 10)));
    uint8_t page[PAGE];
    gw_stream_put_header (out);
    gw_stream_put_configuration (out, "pc-q35-7.2");
    gw_stream_put_section (out, GW_STREAM_BYTE_START, &ram);
    gw_stream_put_ram_list (out, list, 1);
    for (guint64 i = 0; i < n_pages; i++) {
        if (i % 1000 == 0) {
            gw_stream_put_ram_flag (out, GW_RAM_EOS);
            gw_stream_put_footer (out, ram.id);
            gw_stream_put_section (out, GW_STREAM_BYTE_PART, &ram);
        }
        memset (page, (int) (i % 251), sizeof page);
        gw_stream_put_ram_page (out, i == 0 ? BLOCK : NULL, i * PAGE, page, PAGE);
    }
    gw_stream_put_ram_flag (out, GW_RAM_EOS);
    gw_stream_put_footer (out, ram.id);
    gw_stream_put_eof (out);
    return out;
}

/* --- measuring ---------------------------------------------------------------------------------- */

static double
read_once (const GByteArray *stream, gsize chunk, Sink *sink)
{
    GwStreamParams params;
    g_autoptr (GError) error = NULL;
    gw_stream_params_init (&params);
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (&params, on_record, sink);
    gint64 start = g_get_monotonic_time ();
    for (gsize at = 0; at < stream->len; at += chunk)
        if (!gw_stream_reader_push (reader, stream->data + at, MIN (chunk, stream->len - at), &error))
            g_error ("%s", error->message);
    if (!gw_stream_reader_finish (reader, &error))
        g_error ("%s", error->message);
    return stream->len / (double) (g_get_monotonic_time () - start) / 1000;
}

static double
copy_once (const GByteArray *stream, uint8_t *to)
{
    gint64 start = g_get_monotonic_time ();
    memcpy (to, stream->data, stream->len);
    return stream->len / (double) (g_get_monotonic_time () - start) / 1000;
}

static int
compare_doubles (const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return x < y ? -1 : x > y;
}

static double
median (double *values, guint n)
{
    qsort (values, n, sizeof *values, compare_doubles);
    return values[n / 2];
}

static double
bench_read (const char *name, const GByteArray *stream, gsize chunk, guint rounds, uint8_t *image)
{
    g_autofree double *speed = g_new0 (double, rounds);
    Sink sink = { .image = image };
    n_allocations = 0;
    for (guint i = 0; i < rounds; i++)
        speed[i] = read_once (stream, chunk, &sink);
    uint64_t allocations = n_allocations;
    double middle = median (speed, rounds);
    g_print ("%-10s %4zu KiB chunks %7.2f GB/s (%.2f to %.2f), %.4f allocations a page\n", name,
             chunk / 1024, middle, speed[0], speed[rounds - 1], (double) allocations / sink.pages);
    return middle;
}

int
main (int argc, char **argv)
{
    guint64 mib = argc > 1 ? g_ascii_strtoull (argv[1], NULL, 10) : 512;
    guint rounds = argc > 2 ? (guint) g_ascii_strtoull (argv[2], NULL, 10) : 5;
    if (mib < 1 || mib > 2048 || rounds < 1 || rounds > 1000) {
        g_printerr ("usage: %s [MIB (1 to 2048) [ROUNDS]]\n", argv[0]);
        return 1;
    }
    guint64 n_pages = mib * 256;
    g_autoptr (GByteArray) stream = build (n_pages);
    g_autofree uint8_t *copy = g_malloc (stream->len);
    g_autofree double *speed = g_new0 (double, rounds);
    memset (copy, 1, stream->len);
    g_print ("%" G_GUINT64_FORMAT " pages, %u bytes, median of %u\n", n_pages, stream->len, rounds);
    for (guint i = 0; i < rounds; i++)
        speed[i] = copy_once (stream, copy);
    double memcpy_speed = median (speed, rounds);
    g_print ("%-10s %4s            %7.2f GB/s (%.2f to %.2f)\n", "memcpy", "", memcpy_speed, speed[0],
             speed[rounds - 1]);
    double read_speed = bench_read ("read", stream, 1 << 20, rounds, NULL);
    bench_read ("read", stream, 32 << 10, rounds, NULL);
    bench_read ("read+copy", stream, 1 << 20, rounds, copy);
    bench_read ("read+copy", stream, 32 << 10, rounds, copy);
    g_print ("read / memcpy = %.2f\n", read_speed / memcpy_speed);
    return 0;
}
