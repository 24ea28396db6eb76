/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PCI configuration space in words (PCI Local Bus 3.0 section 6, PCI Express 3.0 section 7). */
#include "internal.h"

#include <string.h>

#define CONVENTIONAL_BYTES 256u
#define EXPRESS_BYTES 4096u
#define CAPABILITIES_MAX 48u /* more than fit into the space, so that a loop ends */

typedef struct {
    unsigned id;
    const char *name;
} IdName;

static const IdName capabilities[] = {
    { 0x01, "power management" }, { 0x03, "vital product data" }, { 0x04, "slot id" },
    { 0x05, "MSI" },              { 0x09, "vendor specific" },    { 0x0c, "hot-plug" },
    { 0x0d, "subsystem" },        { 0x10, "PCI Express" },        { 0x11, "MSI-X" },
    { 0x12, "SATA" },             { 0x13, "advanced features" },
};

static const IdName extended[] = {
    { 0x0001, "advanced error reporting" }, { 0x0003, "serial number" },
    { 0x000d, "access control" },           { 0x000e, "alternative routing" },
    { 0x000f, "address translation" },      { 0x0010, "single root virtualization" },
    { 0x0018, "latency tolerance" },        { 0x001b, "process address space" },
};

/* virtio 1.1 section 4.1.4 */
static const IdName virtio_parts[] = {
    { 1, "common" }, { 2, "notify" }, { 3, "isr" }, { 4, "device" }, { 5, "pci access" },
};

static const char *
find_name (const IdName *rows, gsize n, unsigned id)
{
    for (gsize i = 0; i < n; i++)
        if (rows[i].id == id)
            return rows[i].name;
    return "unknown";
}

static unsigned
le16 (const uint8_t *p)
{
    return p[0] | (unsigned) p[1] << 8;
}

static uint32_t
le32 (const uint8_t *p)
{
    return le16 (p) | (uint32_t) le16 (p + 2) << 16;
}

static void
add_ids (GwField *field, const uint8_t *c)
{
    gw_field_add_text (field, "id", "vendor 0x%04x device 0x%04x revision 0x%02x", le16 (c),
                       le16 (c + 2), c[8]);
    gw_field_add_text (field, "class", "0x%02x%02x%02x", c[11], c[10], c[9]);
    gw_field_add_text (field, "command", "0x%04x%s%s%s%s", le16 (c + 4),
                       (c[4] & 1) ? " io" : "", (c[4] & 2) ? " memory" : "",
                       (c[4] & 4) ? " master" : "", (c[5] & 4) ? " no-intx" : "");
    gw_field_add_text (field, "status", "0x%04x", le16 (c + 6));
    if ((c[14] & 0x7f) == 0)
        gw_field_add_text (field, "subsystem", "vendor 0x%04x device 0x%04x", le16 (c + 44),
                           le16 (c + 46));
    gw_field_add_text (field, "interrupt", "line %u pin %u", c[60], c[61]);
}

/* One base address register; returns how many of the 32-bit words it takes. */
static unsigned
add_bar (GwField *field, const uint8_t *c, unsigned index, unsigned n_bars)
{
    g_autofree char *name = g_strdup_printf ("bar %u", index);
    uint32_t low = le32 (c + 16 + 4 * index);
    gboolean is_wide = (low & 7) == 4 && index + 1 < n_bars;
    uint64_t high = is_wide ? le32 (c + 20 + 4 * index) : 0;
    if (low == 0 && high == 0)
        return 1;
    if (low & 1)
        gw_field_add_text (field, name, "io 0x%x", low & ~3u);
    else
        gw_field_add_text (field, name, "memory 0x%" G_GINT64_MODIFIER "x%s%s",
                           high << 32 | (low & ~15u), is_wide ? " 64-bit" : " 32-bit",
                           (low & 8) ? " prefetchable" : "");
    return is_wide ? 2 : 1;
}

static void
add_bars (GwField *field, const uint8_t *c)
{
    unsigned type = c[14] & 0x7f;
    unsigned n = type == 0 ? 6 : type == 1 ? 2 : 0;
    for (unsigned i = 0; i < n;)
        i += add_bar (field, c, i, n);
    if (type == 1)
        gw_field_add_text (field, "buses", "primary %u secondary %u subordinate %u", c[24], c[25],
                           c[26]);
}

static void
add_capability (GwField *field, const uint8_t *c, gsize at)
{
    g_autofree char *name = g_strdup_printf ("capability 0x%02zx", at);
    const char *what = find_name (capabilities, G_N_ELEMENTS (capabilities), c[at]);
    if (c[at] == 0x11 && at + 12 <= CONVENTIONAL_BYTES)
        gw_field_add_text (field, name, "%s: %u vectors%s, table in bar %u at 0x%x", what,
                           (le16 (c + at + 2) & 0x7ff) + 1, (c[at + 3] & 0x80) ? ", enabled" : "",
                           c[at + 4] & 7, le32 (c + at + 4) & ~7u);
    else if (c[at] == 0x09 && at + 16 <= CONVENTIONAL_BYTES && le16 (c) == 0x1af4)
        gw_field_add_text (field, name, "virtio %s: bar %u, 0x%x bytes at 0x%x",
                           find_name (virtio_parts, G_N_ELEMENTS (virtio_parts), c[at + 3]),
                           c[at + 4], le32 (c + at + 12), le32 (c + at + 8));
    else
        gw_field_add_text (field, name, "%s (0x%02x)", what, c[at]);
}

static void
add_capabilities (GwField *field, const uint8_t *c)
{
    if ((c[6] & 0x10) == 0)
        return;
    gsize at = c[52] & ~3u;
    for (unsigned i = 0; i < CAPABILITIES_MAX && at >= 64 && at + 4 <= CONVENTIONAL_BYTES; i++) {
        add_capability (field, c, at);
        at = c[at + 1] & ~3u;
    }
}

static void
add_extended (GwField *field, const uint8_t *c)
{
    gsize at = CONVENTIONAL_BYTES;
    for (unsigned i = 0; i < CAPABILITIES_MAX; i++) {
        if (at < CONVENTIONAL_BYTES || at + 4 > EXPRESS_BYTES || le32 (c + at) == 0)
            return;
        g_autofree char *name = g_strdup_printf ("extended capability 0x%03zx", at);
        gw_field_add_text (field, name, "%s (0x%04x) version %u",
                           find_name (extended, G_N_ELEMENTS (extended), le16 (c + at)),
                           le16 (c + at), le16 (c + at + 2) & 15);
        at = le16 (c + at + 2) >> 4;
    }
}

gsize
gw_pci_find_capability (const uint8_t *c, gsize size, unsigned id)
{
    if (size < CONVENTIONAL_BYTES || (c[6] & 0x10) == 0)
        return 0;
    gsize at = c[52] & ~3u;
    for (unsigned i = 0; i < CAPABILITIES_MAX && at >= 64 && at + 4 <= CONVENTIONAL_BYTES; i++) {
        if (c[at] == id)
            return at;
        at = c[at + 1] & ~3u;
    }
    return 0;
}

void
gw_decode_pci_config (GwField *field)
{
    if (field->size != CONVENTIONAL_BYTES && field->size != EXPRESS_BYTES)
        return;
    add_ids (field, field->data);
    add_bars (field, field->data);
    add_capabilities (field, field->data);
    if (field->size == EXPRESS_BYTES)
        add_extended (field, field->data);
}
