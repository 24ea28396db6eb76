/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    char *path;
    dev_t dev;
    ino_t ino;
    gboolean is_ours; /* it was not there before, and this is what came */
} Item;

struct _GwCreated {
    GArray *items; /* Item */
};

static void
item_clear (gpointer data)
{
    g_free (((Item *) data)->path);
}

GwCreated *
gw_created_new (const char *const *paths)
{
    GwCreated *created = g_new0 (GwCreated, 1);
    created->items = g_array_new (FALSE, TRUE, sizeof (Item));
    g_array_set_clear_func (created->items, item_clear);
    for (gsize i = 0; paths != NULL && paths[i] != NULL; i++) {
        struct stat st;
        if (lstat (paths[i], &st) == 0 && !S_ISSOCK (st.st_mode))
            continue; /* it belongs to somebody; a socket, by contrast, is made anew */
        Item item = { .path = g_strdup (paths[i]) };
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
        item->dev = st.st_dev;
        item->ino = st.st_ino;
        item->is_ours = TRUE;
    }
}

void
gw_created_remove (const GwCreated *created)
{
    for (guint i = 0; i < created->items->len; i++) {
        const Item *item = &g_array_index (created->items, Item, i);
        struct stat st;
        if (item->is_ours && lstat (item->path, &st) == 0 && st.st_dev == item->dev &&
            st.st_ino == item->ino)
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
