/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `info qtree`: what devices a QEMU has, on which bus and at which place of it, and how many queues
 * and vectors they have.  Devices of the board that sit on no bus differ between versions of QEMU
 * without harm and are left out.  Pure.
 */
#include "inventory.h"

#include <string.h>

#define DEPTH_MAX 32
#define NONE G_MAXUINT

typedef struct {
    guint indent;
    char *name;  /* of a bus */
    guint owner; /* the part that it belongs to; NONE: the board */
} Level;

typedef struct {
    Level levels[DEPTH_MAX];
    guint depth;
    guint part;       /* being read; NONE: none that counts */
    GPtrArray *parts; /* GwPart */
    GPtrArray *netdevs; /* GwPartNetdev */
} Tree;

static void
pop_to (Tree *tree, guint indent)
{
    while (tree->depth > 0 && tree->levels[tree->depth - 1].indent >= indent)
        g_free (tree->levels[--tree->depth].name);
}

static void
begin_bus (Tree *tree, guint indent, const char *name)
{
    guint owner = tree->part;
    pop_to (tree, indent);
    if (tree->depth < DEPTH_MAX)
        tree->levels[tree->depth++] = (Level) { indent, g_strdup (name), owner };
}

static const Level *
innermost (const Tree *tree)
{
    return tree->depth > 0 ? &tree->levels[tree->depth - 1] : NULL;
}

/* "virtio-net-pci, id \"net0\"" */
static void
begin_device (Tree *tree, guint indent, const char *text)
{
    pop_to (tree, indent);
    const Level *bus = innermost (tree);
    tree->part = NONE;
    if (bus == NULL || strcmp (bus->name, "main-system-bus") == 0 || tree->parts->len >= GW_ARRAY_MAX)
        return;
    const char *id = strstr (text, ", id \"");
    GwPart *part = g_new0 (GwPart, 1);
    part->type = g_strndup (text, id != NULL ? (gsize) (id - text) : strlen (text));
    id = id != NULL ? id + strlen (", id \"") : "";
    part->id = *id != '\0' && *id != '"' ? g_strndup (id, strcspn (id, "\"")) : NULL;
    part->bus = g_strdup (bus->name);
    part->place = g_strdup ("");
    part->n_queues = part->n_vectors = -1;
    tree->part = tree->parts->len;
    g_ptr_array_add (tree->parts, part);
}

/* A virtio device is two in the tree: the one on the PCI bus has the name, and on a bus of its own
 * the other, which has the queues. */
static GwPart *
find_visible (const Tree *tree)
{
    const Level *bus = innermost (tree);
    gboolean is_inner = g_str_has_prefix (bus->name, "virtio-") && bus->owner != NONE;
    return tree->parts->pdata[is_inner ? bus->owner : tree->part];
}

/* Every property that says where on its bus a device is, as it stands there. */
static void
take_place (GwPart *part, const char *text)
{
    static const char *const places[] = { "addr = ", "nr = ",   "port = ",   "scsi-id = ",
                                          "lun = ",  "unit = ", "iobase = ", "channel = " };
    for (guint i = 0; i < G_N_ELEMENTS (places); i++)
        if (g_str_has_prefix (text, places[i])) {
            char *place = g_strconcat (part->place, *part->place != '\0' ? " " : "", text, NULL);
            g_free (part->place);
            part->place = place;
        }
    const char *model = g_str_has_prefix (text, "class ") ? strstr (text, "pci id ") : NULL;
    if (model != NULL && part->model == NULL)
        part->model = g_strndup (model + strlen ("pci id "), strcspn (model + strlen ("pci id "), " "));
}

/* "vectors = 4 (0x4)"; all bits set say that the device has not decided. */
static void
take_number (gint64 *number, const char *text, const char *const *names)
{
    for (guint i = 0; names[i] != NULL; i++) {
        gsize len = strlen (names[i]);
        if (strncmp (text, names[i], len) != 0 || strncmp (text + len, " = ", 3) != 0)
            continue;
        gint64 value = g_ascii_strtoll (text + len + 3, NULL, 10);
        if (value >= 0 && value < G_MAXUINT32)
            *number = value;
    }
}

static void
take_property (Tree *tree, const char *text)
{
    static const char *const queues[] = { "num_queues", "num-queues", "max_ioqpairs", "max_ports",
                                          NULL };
    static const char *const vectors[] = { "vectors", "msix_qsize", NULL };
    if (tree->part == NONE)
        return;
    take_place (tree->parts->pdata[tree->part], text);
    GwPart *visible = find_visible (tree);
    take_number (&visible->n_queues, text, queues);
    take_number (&visible->n_vectors, text, vectors);
    if (g_str_has_prefix (text, "netdev = \"") && text[strlen ("netdev = \"")] != '"') {
        GwPartNetdev *netdev = g_new0 (GwPartNetdev, 1);
        netdev->part = visible;
        netdev->name = g_strdup (text + strlen ("netdev = \""));
        netdev->name[strcspn (netdev->name, "\"")] = '\0';
        g_ptr_array_add (tree->netdevs, netdev);
    }
}

static void
take_line (Tree *tree, const char *line)
{
    gsize indent = strspn (line, " ");
    const char *text = line + indent;
    if (g_str_has_prefix (text, "bus: "))
        begin_bus (tree, (guint) indent, text + strlen ("bus: "));
    else if (g_str_has_prefix (text, "dev: "))
        begin_device (tree, (guint) indent, text + strlen ("dev: "));
    else
        take_property (tree, text);
}

static void
netdev_free (gpointer data)
{
    GwPartNetdev *netdev = data;
    g_free (netdev->name);
    g_free (netdev);
}

GPtrArray *
gw_parse_qtree (const char *text, GPtrArray *parts)
{
    Tree tree = { .part = NONE, .parts = parts };
    tree.netdevs = g_ptr_array_new_with_free_func (netdev_free);
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++)
        take_line (&tree, g_strchomp (lines[i]));
    pop_to (&tree, 0);
    return tree.netdevs;
}

/* "n0: index=1,type=tap,...", alone, below its card or below a hub: a line a queue. */
void
gw_count_netdev_queues (const char *network, const GPtrArray *netdevs)
{
    g_auto (GStrv) lines = g_strsplit (network, "\n", -1);
    for (guint i = 0; i < netdevs->len; i++) {
        GwPartNetdev *netdev = netdevs->pdata[i];
        g_autofree char *start = g_strdup_printf ("%s: index=", netdev->name);
        gint64 n = 0;
        for (gsize k = 0; lines[k] != NULL; k++)
            n += g_str_has_prefix (lines[k] + strspn (lines[k], " \\"), start);
        if (n > 0)
            netdev->part->n_queues = n;
    }
}
