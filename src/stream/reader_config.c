/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration section: the machine type and three subsections. */
#include "internal.h"

#include <string.h>

#define SUBSECTION_VERSION 1u
#define UUID_BYTES 16u

/* QEMU compares only the bytes that were sent, so that a prefix of the name passes. */
static gboolean
machine_fits (const GwStreamReader *r, const uint8_t *name, gsize len)
{
    return r->params.machine == NULL || strncmp (r->params.machine, (const char *) name, len) == 0;
}

gssize
gw_reader_step_config (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    GwStreamRecord record = { 0 };
    if (p[0] != GW_STREAM_BYTE_CONFIGURATION) {
        gw_machine_move (&r->machine, GW_READ_TYPE);
        return gw_reader_step_section (r, p, avail, error);
    }
    if (avail < 5)
        return gw_reader_need (r, 5);
    gsize len = gw_load_be32 (p + 1);
    if (len == 0 || len > GW_STREAM_MACHINE_MAX)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_CONFIGURATION, 1,
                              "expected a machine type of 1 to %u bytes, found %zu",
                              GW_STREAM_MACHINE_MAX, len);
    if (avail < 5 + len)
        return gw_reader_need (r, 5 + len);
    if (!gw_stream_is_printable (p + 5, len) || !machine_fits (r, p + 5, len)) {
        g_autofree char *name = gw_text_clean ((const char *) p + 5, (gssize) len, 80);
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_CONFIGURATION, 5,
                              "expected machine type '%s', found '%s'",
                              r->params.machine ? r->params.machine : "(printable)", name);
    }
    record.configuration.machine = (const char *) p + 5;
    record.configuration.machine_length = (uint32_t) len;
    gw_machine_move (&r->machine, GW_READ_CONFIG);
    return gw_reader_emit (r, &record, GW_STREAM_CONFIGURATION, 5 + len, error);
}

/* Each gets the body at `p + head` and is the step for the whole subsection. */
static gssize
step_page_bits (GwStreamReader *r, const uint8_t *p, gsize avail, gsize head, GError **error)
{
    GwStreamRecord record = { 0 };
    if (avail < head + 4)
        return gw_reader_need (r, head + 4);
    uint32_t bits = gw_load_be32 (p + head);
    if (bits < 10 || bits > 16)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_CONFIGURATION, head,
                              "expected 10 to 16 bits of page offset, found %u", bits);
    r->page_mask = (1u << bits) - 1;
    record.configuration.page_bits = bits;
    return gw_reader_emit (r, &record, GW_STREAM_CONFIG_PAGE_BITS, head + 4, error);
}

static void
note_capability (GwStreamReader *r, const uint8_t *name, gsize len)
{
    r->has_ignore_shared |= len == 15 && memcmp (name, "x-ignore-shared", 15) == 0;
    r->has_mapped_ram |= len == 10 && memcmp (name, "mapped-ram", 10) == 0;
}

static gssize
step_capabilities (GwStreamReader *r, const uint8_t *p, gsize avail, gsize head, GError **error)
{
    GwStreamRecord record = { 0 };
    gsize pos = head + 4;
    if (avail < pos)
        return gw_reader_need (r, pos);
    uint32_t count = gw_load_be32 (p + head);
    if (count > GW_STREAM_CAPABILITIES_MAX)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_LIMIT, head,
                              "expected at most %u capabilities, found %u",
                              GW_STREAM_CAPABILITIES_MAX, count);
    for (uint32_t i = 0; i < count; i++) {
        if (avail < pos + 1 || avail < pos + 1 + p[pos])
            return gw_reader_need (r, avail < pos + 1 ? pos + 1 : pos + 1 + p[pos]);
        pos += 1 + (gsize) p[pos];
    }
    for (gsize at = head + 4; at < pos; at += 1 + (gsize) p[at])
        note_capability (r, p + at + 1, p[at]);
    record.data = p + head;
    record.data_length = pos - head;
    return gw_reader_emit (r, &record, GW_STREAM_CONFIG_CAPABILITIES, pos, error);
}

static gssize
step_uuid (GwStreamReader *r, const uint8_t *p, gsize avail, gsize head, GError **error)
{
    GwStreamRecord record = { 0 };
    if (avail < head + UUID_BYTES)
        return gw_reader_need (r, head + UUID_BYTES);
    record.data = p + head;
    record.data_length = UUID_BYTES;
    return gw_reader_emit (r, &record, GW_STREAM_CONFIG_UUID, head + UUID_BYTES, error);
}

static const struct {
    const char *name;
    gssize (*step) (GwStreamReader *r, const uint8_t *p, gsize avail, gsize head, GError **error);
} parts[] = {
    { "configuration/target-page-bits", step_page_bits },
    { "configuration/capabilities", step_capabilities },
    { "configuration/uuid", step_uuid },
};

gssize
gw_reader_step_config_part (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    if (p[0] != GW_STREAM_BYTE_SUBSECTION) {
        gw_machine_move (&r->machine, GW_READ_TYPE);
        return gw_reader_step_section (r, p, avail, error);
    }
    if (avail < 2 || avail < 6 + (gsize) p[1])
        return gw_reader_need (r, avail < 2 ? 2 : 6 + (gsize) p[1]);
    gsize n = p[1];
    uint32_t version = gw_load_be32 (p + 2 + n);
    if (version != SUBSECTION_VERSION)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_CONFIGURATION, 2 + n,
                              "expected version %u of a subsection, found %u", SUBSECTION_VERSION,
                              version);
    for (gsize i = 0; i < G_N_ELEMENTS (parts); i++)
        if (strlen (parts[i].name) == n && memcmp (parts[i].name, p + 2, n) == 0)
            return parts[i].step (r, p, avail, 6 + n, error);
    g_autofree char *name = gw_text_clean ((const char *) p + 2, (gssize) n, 255);
    return gw_reader_bad (r, error, GW_CAUSE_STREAM_CONFIGURATION, 2,
                          "expected a known subsection of the configuration, found '%s'", name);
}
