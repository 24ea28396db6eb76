/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The field of type "virtio", which QEMU writes by hand (hw/virtio/virtio.c:virtio_save, 7.2 to
 * 10.2), for devices on PCI:
 *
 *   be32 version, config space (256 or 4096 bytes), 4 x be32 irq state,
 *   with MSI-X: table (16 bytes a vector), pending bits, be16 config vector
 *   u8 status, u8 isr, be16 queue_sel, be32 features, be32 n + n bytes config, be32 queues
 *   a queue: be32 num, be64 desc, be16 last_avail_idx, with MSI-X: be16 vector
 *   what the device itself writes
 *   subsections virtio/...
 *
 * The size of the config space is not said, but a device has the large one when it has the PCI
 * Express capability.  What does not make sense (MMIO, another bus) stays a buffer.
 */
#include "internal.h"

#include <string.h>

#define QUEUES_MAX 1024u
#define RING_MAX 32768u
#define CONFIG_MAX 65536u

typedef struct {
    gsize config;       /* bytes of config space */
    gsize n_vectors;    /* 0: no MSI-X */
    gsize status;       /* offset of the status byte */
    gsize device_config, device_config_length;
    gsize queues;       /* offset of the first */
    gsize n_queues, queue_bytes;
    gsize rest;         /* offset of what the device itself writes */
} Layout;

/* --- layout ------------------------------------------------------------------------------------ */

static gboolean
queues_make_sense (const uint8_t *p, const Layout *layout)
{
    for (gsize i = 0; i < layout->n_queues; i++) {
        uint32_t num = gw_load_be32 (p + layout->queues + i * layout->queue_bytes);
        if (num == 0 || num > RING_MAX)
            return FALSE;
    }
    return TRUE;
}

static gboolean
find_layout (const uint8_t *p, gsize len, Layout *layout)
{
    if (len < 4 + 256)
        return FALSE;
    gsize config = gw_pci_find_capability (p + 4, 256, 0x10) > 0 ? 4096 : 256;
    *layout = (Layout){ .config = config };
    gsize pos = 4 + config + 16;
    if (len < pos)
        return FALSE;
    gsize msix = gw_pci_find_capability (p + 4, config, 0x11);
    if (msix > 0) {
        layout->n_vectors = ((p[4 + msix + 2] | (gsize) p[4 + msix + 3] << 8) & 0x7ff) + 1;
        pos += layout->n_vectors * 16 + (layout->n_vectors + 7) / 8 + 2;
    }
    layout->status = pos;
    layout->device_config = pos + 12;
    if (len < layout->device_config)
        return FALSE;
    layout->device_config_length = gw_load_be32 (p + pos + 8);
    if (layout->device_config_length > CONFIG_MAX)
        return FALSE;
    pos = layout->device_config + layout->device_config_length;
    if (len < pos + 4 || gw_load_be32 (p + pos) > QUEUES_MAX)
        return FALSE;
    layout->n_queues = gw_load_be32 (p + pos);
    layout->queues = pos + 4;
    layout->queue_bytes = 14 + (msix > 0 ? 2 : 0);
    layout->rest = layout->queues + layout->n_queues * layout->queue_bytes;
    return len >= layout->rest && queues_make_sense (p, layout);
}

/* --- subsections ------------------------------------------------------------------------------- */

/* Those of one value, or of one a queue. */
static const struct {
    const char *name;
    gsize size;  /* bytes of a value */
    gsize count; /* values */
} subsections[] = {
    { "virtio/device_endian", 1, 1 },
    { "virtio/64bit_features", 8, 1 },
    { "virtio/virtqueues", 16, QUEUES_MAX },
    { "virtio/ringsize", 4, QUEUES_MAX },
    { "virtio/broken", 1, 1 },
    { "virtio/started", 1, 1 },
    { "virtio/packed_virtqueues", 10, QUEUES_MAX },
    { "virtio/disabled", 1, 1 },
};

/* The next "05, length, virtio/..." at or after `from`, or `len`. */
static gsize
find_subsection (const uint8_t *p, gsize len, gsize from)
{
    for (gsize i = from; i + 9 <= len; i++)
        if (p[i] == GW_STREAM_BYTE_SUBSECTION && p[i + 1] >= 8
            && memcmp (p + i + 2, "virtio/", 7) == 0 && i + 6 + p[i + 1] <= len)
            return i;
    return len;
}

/* Ring addresses stand in a subsection of their own, for all queues that there could be. */
static void
add_rings (GwField *queues, const uint8_t *p)
{
    for (guint i = 0; queues->children != NULL && i < queues->children->len; i++) {
        GwField *queue = g_ptr_array_index (queues->children, i);
        gw_field_add_text (queue, "avail", "0x%" G_GINT64_MODIFIER "x", gw_load_be64 (p + 16 * i));
        gw_field_add_text (queue, "used", "0x%" G_GINT64_MODIFIER "x",
                           gw_load_be64 (p + 16 * i + 8));
    }
}

static gsize
value_bytes (const char *name, gsize *ret_size)
{
    for (gsize i = 0; i < G_N_ELEMENTS (subsections); i++)
        if (strcmp (subsections[i].name, name) == 0) {
            *ret_size = subsections[i].size;
            return subsections[i].size * subsections[i].count;
        }
    *ret_size = 0;
    return 0;
}

/* Adds the subsection at `at` of the field; returns where it ends. */
static gsize
add_subsection (GwField *field, GwField *queues, const uint8_t *body, gsize at)
{
    const uint8_t *p = body + field->offset;
    gsize n = p[at + 1], start = at + 6 + n, each;
    g_autofree char *name = g_strndup ((const char *) p + at + 2, n);
    gsize len = value_bytes (name, &each);
    if (len == 0 || start + len > field->size)
        len = find_subsection (p, field->size, start) - start;
    GwField *sub = gw_field_add (field, gw_field_new (name, "subsection", GW_FIELD_SUBSECTION,
                                                      field->offset + at, 6 + n + len));
    if (len == each && each > 0)
        gw_field_add_number (sub, "value", body, field->offset + start, len);
    else
        gw_field_add_buffer (sub, "data", body, field->offset + start, len);
    if (strcmp (name, "virtio/virtqueues") == 0 && each > 0 && len == each * QUEUES_MAX)
        add_rings (queues, p + start);
    return start + len;
}

/* --- parts ------------------------------------------------------------------------------------- */

static void
add_pci (GwField *field, const uint8_t *body, const Layout *layout)
{
    gsize pos = field->offset;
    GwField *pci = gw_field_add (field, gw_field_new ("pci", "struct", GW_FIELD_STRUCT, pos,
                                                      layout->status));
    gw_field_add_number (pci, "version_id", body, pos, 4);
    GwField *config = gw_field_add_buffer (pci, "config", body, pos + 4, layout->config);
    gw_decode_pci_config (config);
    pos += 4 + layout->config;
    gw_field_add_buffer (pci, "irq_state", body, pos, 16);
    pos += 16;
    if (layout->n_vectors == 0)
        return;
    gw_field_add_buffer (pci, "msix_table", body, pos, layout->n_vectors * 16);
    pos += layout->n_vectors * 16;
    gw_field_add_buffer (pci, "msix_pba", body, pos, (layout->n_vectors + 7) / 8);
    gw_field_add_number (pci, "config_vector", body, field->offset + layout->status - 2, 2);
}

static void
name_status (GwField *status)
{
    static const char *const names[] = { "acknowledge", "driver", "driver-ok", "features-ok", "",
                                         "", "needs-reset", "failed" };
    GString *text = g_string_new (NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS (names); i++)
        if ((status->value & (1u << i)) && names[i][0] != '\0')
            g_string_append_printf (text, "%s%s", text->len > 0 ? " " : "", names[i]);
    status->text = g_string_free (text, FALSE);
}

static GwField *
add_queues (GwField *field, const uint8_t *body, const Layout *layout)
{
    gsize pos = field->offset + layout->queues;
    GwField *queues = gw_field_add (field, gw_field_new ("queues", "array", GW_FIELD_ARRAY, pos,
                                                         layout->rest - layout->queues));
    for (gsize i = 0; i < layout->n_queues; i++, pos += layout->queue_bytes) {
        GwField *queue = gw_field_add (queues, gw_field_new ("queue", "struct", GW_FIELD_STRUCT,
                                                             pos, layout->queue_bytes));
        gw_field_add_number (queue, "num", body, pos, 4);
        gw_field_add_number (queue, "desc", body, pos + 4, 8);
        gw_field_add_number (queue, "last_avail_idx", body, pos + 12, 2);
        if (layout->n_vectors > 0)
            gw_field_add_number (queue, "vector", body, pos + 14, 2);
    }
    return queues;
}

void
gw_decode_virtio (GwField *field, const uint8_t *body)
{
    const uint8_t *p = body + field->offset;
    Layout layout;
    if (!find_layout (p, field->size, &layout))
        return;
    gsize status = field->offset + layout.status;
    add_pci (field, body, &layout);
    name_status (gw_field_add_number (field, "status", body, status, 1));
    gw_field_add_number (field, "isr", body, status + 1, 1);
    gw_field_add_number (field, "queue_sel", body, status + 2, 2);
    gw_field_add_number (field, "guest_features_lo", body, status + 4, 4);
    gw_field_add_buffer (field, "config", body, field->offset + layout.device_config,
                         layout.device_config_length);
    GwField *queues = add_queues (field, body, &layout);
    gsize at = find_subsection (p, field->size, layout.rest);
    if (at > layout.rest)
        gw_field_add_buffer (field, "device", body, field->offset + layout.rest, at - layout.rest);
    while (at < field->size)
        at = add_subsection (field, queues, body, at);
}
