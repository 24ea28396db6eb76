/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The proof that the memory that was sent is the memory that there is.
 *
 * QEMU stands still and has sent everything.  Its memory is read once, page by page, and each page's hash is
 * compared with that of what was last sent for it.  One that differs has changed without being sent again: a
 * dirty page that QEMU lost.
 */
#include "ramlane.h"

#include <errno.h>
#include <unistd.h>

#define SLICE_BYTES (1u << 20)
#define PAGE_BYTES 4096u

struct _GwRamCheck {
    GwCrew *crew;        /* borrowed, as is */
    const GwRamOut *out;
    GwFd memory_fd;
    GArray *blocks;      /* GwRamCheckBlock */
    GPtrArray *tasks;    /* GwCrewTask; all do the same */
    gint64 begin_us;
    gint next;           /* atomic: the first slice that nobody has taken */
    GMutex lock;         /* guards what follows */
    GwRamCheckResult sum;
    GString *named;
    guint n_named;
};

static void
block_clear (gpointer data)
{
    g_free (((GwRamCheckBlock *) data)->name);
}

/* The place of a slice; FALSE when there are fewer. */
static gboolean
find_slice (const GwRamCheck *check, guint64 number, const GwRamCheckBlock **ret_block, uint64_t *ret_offset)
{
    for (guint i = 0; i < check->blocks->len; i++) {
        const GwRamCheckBlock *block = &g_array_index (check->blocks, GwRamCheckBlock, i);
        guint64 n = (block->bytes + SLICE_BYTES - 1) / SLICE_BYTES;
        if (number < n) {
            *ret_block = block;
            *ret_offset = number * SLICE_BYTES;
            return TRUE;
        }
        number -= n;
    }
    return FALSE;
}

/* How much of it could be read. */
static gsize
read_slice (const GwRamCheck *check, uint64_t address, uint8_t *bytes, gsize len)
{
    gsize done = 0;
    while (done < len) {
        gssize n = pread (check->memory_fd, bytes + done, len - done, (off_t) (address + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (gsize) n;
    }
    return done;
}

static void
name_page (GwRamCheck *check, const char *block, uint64_t offset)
{
    g_mutex_lock (&check->lock);
    if (check->n_named++ < GW_RAM_CHECK_NAMED)
        g_string_append_printf (check->named, "%s%s+0x%" G_GINT64_MODIFIER "x", check->named->len > 0 ? " " : "",
                                block, offset);
    g_mutex_unlock (&check->lock);
}

static void
check_slice (GwRamCheck *check, const GwRamCheckBlock *block, uint64_t offset, uint8_t *bytes,
             GwRamCheckResult *sum)
{
    gsize len = (gsize) MIN (block->bytes - offset, SLICE_BYTES);
    gsize has = read_slice (check, block->address + offset, bytes, len);
    sum->unread += (len - has + PAGE_BYTES - 1) / PAGE_BYTES;
    for (gsize at = 0; at + PAGE_BYTES <= has; at += PAGE_BYTES) {
        GwRamVerdict verdict = gw_ram_out_check (check->out, block->name, offset + at, bytes + at);
        sum->pages++;
        sum->unknown += verdict == GW_RAM_UNKNOWN;
        if (verdict != GW_RAM_DIFFERENT)
            continue;
        sum->different++;
        name_page (check, block->name, offset + at);
    }
}

static void
check_slices (gpointer data)
{
    GwRamCheck *check = data;
    GwRamCheckResult sum = { 0 };
    const GwRamCheckBlock *block;
    uint64_t offset;
    g_autofree uint8_t *bytes = g_malloc (SLICE_BYTES);
    while (find_slice (check, (guint64) g_atomic_int_add (&check->next, 1), &block, &offset))
        check_slice (check, block, offset, bytes, &sum);
    g_mutex_lock (&check->lock);
    check->sum.pages += sum.pages;
    check->sum.different += sum.different;
    check->sum.unknown += sum.unknown;
    check->sum.unread += sum.unread;
    check->sum.took_us = g_get_monotonic_time () - check->begin_us;
    g_mutex_unlock (&check->lock);
}

GwRamCheck *
gw_ram_check_start (GwCrew *crew, const GwRamOut *out, int memory_fd, GArray *blocks)
{
    GwRamCheck *check = g_new0 (GwRamCheck, 1);
    guint n = gw_crew_get_n_threads (crew);
    check->crew = crew;
    check->out = out;
    check->memory_fd = memory_fd;
    check->blocks = blocks;
    check->tasks = g_ptr_array_new ();
    check->begin_us = g_get_monotonic_time ();
    check->named = g_string_new (NULL);
    g_mutex_init (&check->lock);
    g_array_set_clear_func (blocks, block_clear);
    for (guint i = 0; i < MAX (n, 1); i++) {
        GwCrewTask *task = gw_crew_task_new_run (check_slices, check);
        g_ptr_array_add (check->tasks, task);
        gw_crew_submit (crew, task);
    }
    return check;
}

void
gw_ram_check_free (GwRamCheck *check)
{
    if (check == NULL)
        return;
    for (guint i = 0; i < check->tasks->len; i++)
        gw_crew_task_free (check->crew, check->tasks->pdata[i]);
    g_ptr_array_unref (check->tasks);
    gw_fd_clear (&check->memory_fd);
    g_array_unref (check->blocks);
    g_string_free (check->named, TRUE);
    g_mutex_clear (&check->lock);
    g_free (check);
}

gboolean
gw_ram_check_is_done (const GwRamCheck *check)
{
    for (guint i = 0; i < check->tasks->len; i++)
        if (!gw_crew_task_is_done (check->tasks->pdata[i]))
            return FALSE;
    return TRUE;
}

void
gw_ram_check_get_result (const GwRamCheck *check, GwRamCheckResult *ret)
{
    g_assert (gw_ram_check_is_done (check));
    *ret = check->sum;
    ret->named = check->named->str;
}
