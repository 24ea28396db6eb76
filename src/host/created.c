/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <sys/stat.h>
#include <unistd.h>

/* A file, told from one that took its name and its inode later. */
typedef struct {
    dev_t dev;
    ino_t ino;
    struct timespec changed;
} Identity;

typedef struct {
    char *path;
    Identity found;   /* a socket that was there before; zero: none */
    Identity made;    /* what came in its place */
    gboolean is_ours; /* something came */
} Item;

struct _GwCreated {
    GArray *items; /* Item */
};

static void
item_clear (gpointer data)
{
    g_free (((Item *) data)->path);
}

static Identity
identify (const struct stat *st)
{
    return (Identity){ st->st_dev, st->st_ino, st->st_ctim };
}

static gboolean
is_same (const Identity *a, const Identity *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec;
}

GwCreated *
gw_created_new (const char *const *paths)
{
    GwCreated *created = g_new0 (GwCreated, 1);
    created->items = g_array_new (FALSE, TRUE, sizeof (Item));
    g_array_set_clear_func (created->items, item_clear);
    for (gsize i = 0; paths != NULL && paths[i] != NULL; i++) {
        struct stat st;
        gboolean is_there = lstat (paths[i], &st) == 0;
        if (is_there && !S_ISSOCK (st.st_mode))
            continue; /* it belongs to somebody; a socket, by contrast, is made anew */
        Item item = { .path = g_strdup (paths[i]) };
        if (is_there)
            item.found = identify (&st);
        g_array_append_val (created->items, item);
    }
    return created;
}

void
gw_created_note (GwCreated *created)
{
    for (guint i = 0; i < created->items->len; i++) {
        Item *item = &g_array_index (created->items, Item, i);
        struct stat st;
        if (lstat (item->path, &st) != 0 || (!S_ISSOCK (st.st_mode) && !S_ISREG (st.st_mode)))
            continue;
        item->made = identify (&st);
        item->is_ours = !is_same (&item->made, &item->found);
    }
}

static gint64
to_ns (const struct timespec *time)
{
    return (gint64) time->tv_sec * 1000000000 + time->tv_nsec;
}

gboolean
gw_created_write (const GwCreated *created, GwJournal *journal, const char *job, GError **error)
{
    g_autoptr (GArray) objects = g_array_new (FALSE, TRUE, sizeof (GwJournalObject));
    for (guint i = 0; i < created->items->len; i++) {
        const Item *item = &g_array_index (created->items, Item, i);
        GwJournalObject object = { .kind = "file", .path = item->path };
        if (item->is_ours) {
            object.dev = (gint64) item->made.dev;
            object.ino = (gint64) item->made.ino;
            object.changed_ns = to_ns (&item->made.changed);
        }
        g_array_append_val (objects, object);
    }
    return gw_journal_put_objects (journal, job, GW_SIDE_DESTINATION, (GwJournalObject *) objects->data,
                                   objects->len, error);
}

void
gw_created_remove (const GwCreated *created)
{
    for (guint i = 0; i < created->items->len; i++) {
        const Item *item = &g_array_index (created->items, Item, i);
        struct stat st;
        if (item->is_ours && lstat (item->path, &st) == 0 && st.st_dev == item->made.dev &&
            st.st_ino == item->made.ino) /* a file has changed since: QEMU wrote into it */
            (void) unlink (item->path); /* what cannot be removed is not worth a failure here */
    }
}

void
gw_created_free (GwCreated *created)
{
    if (created == NULL)
        return;
    g_array_unref (created->items);
    g_free (created);
}
