/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guestram.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define PAGE_BYTES 4096
#define LATEST_MS 5000 /* for the last reading */
#define BLOCK_BYTES_MIN (1 << 20) /* smaller ones are ROMs and tables */
#define HAS_MEMORY (3ull << 62)   /* /proc/PID/pagemap: present or swapped */

/* --- where it is ------------------------------------------------------------------------------------ */

static gboolean
parse_mapping (const char *line, GwGuestRange *range)
{
    guint64 start, end;
    char mode[5];
    if (sscanf (line, "%" G_GINT64_MODIFIER "x-%" G_GINT64_MODIFIER "x %4s", &start, &end, mode) != 3 ||
        end <= start || mode[0] != 'r')
        return FALSE;
    *range = (GwGuestRange) { start, end - start };
    return TRUE;
}

static GArray *
parse_mappings (const char *maps)
{
    GArray *mappings = g_array_new (FALSE, FALSE, sizeof (GwGuestRange));
    for (const char *line = maps; line != NULL && *line != '\0';) {
        GwGuestRange range;
        if (parse_mapping (line, &range) && range.length >= BLOCK_BYTES_MIN)
            g_array_append_val (mappings, range);
        line = strchr (line, '\n');
        if (line != NULL)
            line++;
    }
    return mappings;
}

/* The one that fits best is taken out of `mappings`. */
static gboolean
take_mapping (GArray *mappings, guint64 bytes, GwGuestRange *ret)
{
    guint best = G_MAXUINT;
    for (guint i = 0; i < mappings->len; i++) {
        guint64 length = g_array_index (mappings, GwGuestRange, i).length;
        if (length >= bytes &&
            (best == G_MAXUINT || length < g_array_index (mappings, GwGuestRange, best).length))
            best = i;
    }
    if (best == G_MAXUINT)
        return FALSE;
    *ret = (GwGuestRange) { g_array_index (mappings, GwGuestRange, best).start, bytes };
    g_array_remove_index_fast (mappings, best);
    return TRUE;
}

GArray *
gw_guestram_find_ranges (const char *maps, const GPtrArray *blocks)
{
    g_autoptr (GArray) mappings = parse_mappings (maps);
    GArray *ranges = g_array_new (FALSE, FALSE, sizeof (GwGuestRange));
    for (guint i = 0; i < blocks->len; i++) {
        const GwRamBlock *block = blocks->pdata[i];
        GwGuestRange range;
        if (block->used_bytes >= BLOCK_BYTES_MIN &&
            take_mapping (mappings, (guint64) block->used_bytes & ~(guint64) (PAGE_BYTES - 1), &range))
            g_array_append_val (ranges, range);
    }
    return ranges;
}

/* --- samples ---------------------------------------------------------------------------------------- */

typedef struct {
    guint64 address;
    guint64 hash; /* at first; 0: it holds nothing */
} Sample;

typedef struct {
    guint64 address;
    guint64 words[PAGE_BYTES / sizeof (guint64)]; /* at first */
} Kept;

struct _GwGuestRam {
    GwFd memory, pagemap;
    GArray *samples; /* Sample */
    GArray *kept;    /* Kept: of samples that hold something */
    GThread *thread;
    GMutex lock; /* guards is_ending */
    GCond end;
    gboolean is_ending;
    GwGuestRamFigures figures;
    guint64 hash_of_zeros;
};

/* One page of each of as many equal parts. */
static void
pick_samples (GwGuestRam *ram, const GArray *ranges)
{
    guint64 n_pages = 0;
    for (guint i = 0; i < ranges->len; i++)
        n_pages += g_array_index (ranges, GwGuestRange, i).length / PAGE_BYTES;
    guint64 n = MIN (n_pages, GW_GUESTRAM_SAMPLES), at = 0, done = 0;
    ram->figures.ram_bytes = (gint64) (n_pages * PAGE_BYTES);
    ram->figures.n_samples = (gint64) n;
    for (guint i = 0; i < ranges->len; i++) {
        const GwGuestRange *range = &g_array_index (ranges, GwGuestRange, i);
        guint64 end = at + range->length / PAGE_BYTES;
        for (; done < n && n_pages * done / n < end; done++) {
            Sample sample = { range->start + (n_pages * done / n - at) * PAGE_BYTES, 0 };
            g_array_append_val (ram->samples, sample);
        }
        at = end;
    }
}

static gboolean
has_memory (const GwGuestRam *ram, guint64 address)
{
    guint64 entry = 0;
    return pread (ram->pagemap, &entry, sizeof entry,
                  (off_t) (address / PAGE_BYTES * sizeof entry)) == sizeof entry &&
           (entry & HAS_MEMORY) != 0;
}

static gboolean
read_page (const GwGuestRam *ram, guint64 address, gpointer page)
{
    return has_memory (ram, address) && pread (ram->memory, page, PAGE_BYTES, (off_t) address) == PAGE_BYTES;
}

static guint64
read_sample (const GwGuestRam *ram, guint64 address)
{
    char page[PAGE_BYTES];
    if (!read_page (ram, address, page))
        return 0;
    guint64 hash = XXH3_64bits (page, sizeof page);
    return hash == ram->hash_of_zeros ? 0 : hash;
}

/* Of those that hold something, some. */
static void
keep_samples (GwGuestRam *ram)
{
    guint step = MAX (ram->samples->len / GW_GUESTRAM_KEPT, 1u);
    for (guint i = 0; i < ram->samples->len; i += step) {
        const Sample *sample = &g_array_index (ram->samples, Sample, i);
        Kept kept = { .address = sample->address };
        if (sample->hash != 0 && ram->kept->len < GW_GUESTRAM_KEPT && read_page (ram, kept.address, kept.words))
            g_array_append_val (ram->kept, kept);
    }
}

/* With zlib's fastest, which comes near what the codec's does. */
static gint64
measure_packed (const GwGuestRam *ram)
{
    g_autoptr (GConverter) zlib = G_CONVERTER (g_zlib_compressor_new (G_ZLIB_COMPRESSOR_FORMAT_RAW, 1));
    g_autoptr (GOutputStream) sink = g_memory_output_stream_new_resizable ();
    g_autoptr (GOutputStream) stream = g_converter_output_stream_new (sink, zlib);
    gboolean ok = ram->kept->len > 0;
    for (guint i = 0; ok && i < ram->kept->len; i++)
        ok = g_output_stream_write_all (stream, g_array_index (ram->kept, Kept, i).words, PAGE_BYTES, NULL, NULL, NULL);
    if (!ok || !g_output_stream_close (stream, NULL, NULL))
        return -1;
    gsize packed = g_memory_output_stream_get_data_size (G_MEMORY_OUTPUT_STREAM (sink));
    return (gint64) (packed * 1000 / ((gsize) ram->kept->len * PAGE_BYTES));
}

/* Words that are new, with what it takes to say where they are. */
static gint64
measure_again (const GwGuestRam *ram)
{
    guint64 page[G_N_ELEMENTS (((Kept *) 0)->words)];
    gint64 n_pages = 0, n_words = 0;
    for (guint i = 0; i < ram->kept->len; i++) {
        const Kept *kept = &g_array_index (ram->kept, Kept, i);
        gint64 before = n_words;
        if (!read_page (ram, kept->address, page))
            continue;
        for (guint k = 0; k < G_N_ELEMENTS (page); k++)
            n_words += page[k] != kept->words[k];
        n_pages += n_words > before;
    }
    return n_pages > 0 ? MIN (n_words * 10 * 1000 / (n_pages * PAGE_BYTES) + 3, 1000) : -1;
}

static gint64
scale (const GwGuestRam *ram, gint64 n)
{
    return (gint64) ((double) ram->figures.ram_bytes * (double) n / (double) ram->figures.n_samples);
}

/* The first time; how many hold something. */
static gint64
read_first (GwGuestRam *ram)
{
    gint64 n_filled = 0;
    for (guint i = 0; i < ram->samples->len; i++) {
        Sample *sample = &g_array_index (ram->samples, Sample, i);
        sample->hash = read_sample (ram, sample->address);
        n_filled += sample->hash != 0;
    }
    return n_filled;
}

static gint64
count_changed (const GwGuestRam *ram)
{
    gint64 n = 0;
    for (guint i = 0; i < ram->samples->len; i++) {
        const Sample *sample = &g_array_index (ram->samples, Sample, i);
        n += read_sample (ram, sample->address) != sample->hash;
    }
    return n;
}

static void
wait_until_end (GwGuestRam *ram, gint64 deadline_us)
{
    g_mutex_lock (&ram->lock);
    while (!ram->is_ending && g_cond_wait_until (&ram->end, &ram->lock, deadline_us))
        ;
    g_mutex_unlock (&ram->lock);
}

/* Each page is read as long after its first reading as every other. */
static gpointer
measure (gpointer user_data)
{
    GwGuestRam *ram = user_data;
    GwGuestRamFigures *f = &ram->figures;
    gint64 first_us = g_get_monotonic_time ();
    f->filled_bytes = scale (ram, read_first (ram));
    keep_samples (ram);
    wait_until_end (ram, first_us + GW_GUESTRAM_WINDOW_MS * 1000);
    f->changed_us = g_get_monotonic_time () - first_us;
    f->changed_bytes = scale (ram, count_changed (ram));
    wait_until_end (ram, first_us + LATEST_MS * 1000);
    f->later_us = g_get_monotonic_time () - first_us;
    f->later_bytes = scale (ram, count_changed (ram));
    f->again_permille = measure_again (ram);
    f->packed_permille = measure_packed (ram);
    return NULL;
}

static void
end_thread (GwGuestRam *ram)
{
    if (ram->thread == NULL)
        return;
    g_mutex_lock (&ram->lock);
    ram->is_ending = TRUE;
    g_cond_signal (&ram->end);
    g_mutex_unlock (&ram->lock);
    g_thread_join (g_steal_pointer (&ram->thread));
}

void
gw_guestram_free (GwGuestRam *ram)
{
    if (ram == NULL)
        return;
    end_thread (ram);
    g_mutex_clear (&ram->lock);
    g_cond_clear (&ram->end);
    gw_fd_clear (&ram->memory);
    gw_fd_clear (&ram->pagemap);
    g_array_unref (ram->samples);
    g_array_unref (ram->kept);
    g_free (ram);
}
static int
open_of (gint64 pid, const char *name)
{
    g_autofree char *path = g_strdup_printf ("/proc/%" G_GINT64_FORMAT "/%s", pid, name);
    return open (path, O_RDONLY | O_CLOEXEC);
}

GwGuestRam *
gw_guestram_start (gint64 pid, const GPtrArray *blocks, GError **error)
{
    g_autofree char *path = g_strdup_printf ("/proc/%" G_GINT64_FORMAT "/maps", pid);
    g_autofree char *maps = NULL;
    g_autoptr (GwGuestRam) ram = g_new0 (GwGuestRam, 1);
    static const char zeros[PAGE_BYTES];
    g_mutex_init (&ram->lock);
    g_cond_init (&ram->end);
    ram->samples = g_array_new (FALSE, FALSE, sizeof (Sample));
    ram->kept = g_array_new (FALSE, FALSE, sizeof (Kept));
    ram->memory = open_of (pid, "mem");
    ram->pagemap = open_of (pid, "pagemap");
    ram->hash_of_zeros = XXH3_64bits (zeros, sizeof zeros);
    if (ram->memory < 0 || ram->pagemap < 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "the memory of process %" G_GINT64_FORMAT ": %s", pid,
                 g_strerror (errno));
        return NULL;
    }
    if (!g_file_get_contents (path, &maps, NULL, error)) {
        gw_error_adopt (error, GW_CAUSE_HOST_IO);
        return NULL;
    }
    g_autoptr (GArray) ranges = gw_guestram_find_ranges (maps, blocks);
    pick_samples (ram, ranges);
    if (ram->samples->len == 0) {
        gw_fail (error, GW_CAUSE_HOST_IO, "the guest's RAM is not found in %s", path);
        return NULL;
    }
    ram->thread = g_thread_new ("guest-ram", measure, ram);
    return g_steal_pointer (&ram);
}

gboolean
gw_guestram_finish (GwGuestRam *ram, GwGuestRamFigures *ret)
{
    end_thread (ram);
    *ret = ram->figures;
    gw_guestram_free (ram);
    return ret->filled_bytes > 0; /* a guest whose memory holds nothing at all cannot be read */
}
