/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device sections, whose length the stream does not say. */
#include "internal.h"

#include <string.h>

static gssize
emit_body (GwStreamReader *r, const uint8_t *p, gsize len, GError **error)
{
    GwStreamRecord record = { .data = p, .data_length = len };
    gssize emitted = gw_reader_emit (r, &record, GW_STREAM_DEVICE, len, error);
    r->scan = 0;
    gw_reader_end_body (r);
    return emitted;
}

static gboolean
footer_is_at (const GwStreamReader *r, const uint8_t *p)
{
    return p[0] == GW_STREAM_BYTE_FOOTER && gw_load_be32 (p + 1) == r->section->id;
}

/* An empty body is no progress for GwPush: it is emitted together with the footer's step. */
static gssize
end_at (GwStreamReader *r, const uint8_t *p, gsize len, gsize avail, GError **error)
{
    if (len > 0)
        return emit_body (r, p, len, error);
    if (emit_body (r, p, 0, error) == GW_STEP_FAILED)
        return GW_STEP_FAILED;
    return gw_reader_step_footer (r, p, avail, error);
}

/* The length that a vmdesc given beforehand says, or FALSE. */
static gboolean
is_described (GwStreamReader *r, gsize *ret_len)
{
    if (r->params.vmdesc == NULL || r->section->is_iterator)
        return FALSE;
    const GwVmdescDevice *device = gw_vmdesc_find_device (r->params.vmdesc, r->section->name,
                                                          r->section->instance);
    if (device == NULL || !device->has_size || device->size > r->params.max_section_bytes)
        return FALSE;
    *ret_len = (gsize) device->size;
    return TRUE;
}

static gssize
too_long (GwStreamReader *r, GError **error)
{
    return gw_reader_bad (r, error, GW_CAUSE_STREAM_LIMIT, r->params.max_section_bytes,
                          "expected the section's footer within %zu bytes, found none",
                          r->params.max_section_bytes);
}

static gssize
search_footer (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    while (avail >= r->scan + 5) {
        const uint8_t *q = memchr (p + r->scan, GW_STREAM_BYTE_FOOTER, avail - 4 - r->scan);
        r->scan = q != NULL ? (gsize) (q - p) : avail - 4;
        if (q == NULL || r->scan > r->params.max_section_bytes)
            break;
        int verdict = footer_is_at (r, q) ? gw_reader_can_follow (r, q + 5, avail - r->scan - 5)
                                          : 0;
        if (verdict > 0)
            return end_at (r, p, r->scan, avail, error);
        if (verdict < 0)
            break;
        r->scan++;
    }
    if (r->scan > r->params.max_section_bytes)
        return too_long (r, error);
    return gw_push_need (&r->push, avail + 1, avail + GW_PUSH_AHEAD);
}

gssize
gw_reader_step_device (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    gsize len;
    if (!is_described (r, &len)) {
        if (r->params.has_footers)
            return search_footer (r, p, avail, error);
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_SECTION, 0,
                              "expected a vmdesc that tells the length of a section without footer");
    }
    gsize need = r->params.has_footers ? len + 5 : MAX (len, 1);
    if (avail < need)
        return gw_push_need (&r->push, need, need);
    if (!r->params.has_footers) {
        if (emit_body (r, p, len, error) == GW_STEP_FAILED)
            return GW_STEP_FAILED;
        return len > 0 ? (gssize) len : gw_reader_step_section (r, p, avail, error);
    }
    if (footer_is_at (r, p + len))
        return end_at (r, p, len, avail, error);
    return gw_reader_bad (r, error, GW_CAUSE_STREAM_FOOTER, len,
                          "expected the footer after the %zu bytes that the vmdesc says, found "
                          "0x%02x", len, p[len]);
}
