/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "link.h"

#include <string.h>

typedef struct {
    const char *name;
    uint32_t min, max; /* bytes of payload */
    uint8_t flags;     /* that may be set */
} TypeRow;

static const TypeRow types[] = {
    [GW_LINK_HELLO] = { "hello", 5, 4 + GW_LINK_JOB_MAX, 0 },
    [GW_LINK_OPEN] = { "open", 1, GW_LINK_NAME_MAX, 0 },
    [GW_LINK_DATA] = { "data", 1, GW_LINK_PAYLOAD, 0 },
    [GW_LINK_EOF] = { "eof", 0, 0, 0 },
    [GW_LINK_STOP] = { "stop", 0, 0, 0 },
    [GW_LINK_RESET] = { "reset", 0, 200, 0 },
    [GW_LINK_PING] = { "ping", 0, 0, 0 },
    [GW_LINK_PONG] = { "pong", 0, 0, 0 },
    [GW_LINK_BYE] = { "bye", 0, 0, GW_LINK_UNCLEAN },
};
G_STATIC_ASSERT (G_N_ELEMENTS (types) == GW_LINK_N_TYPES);

void
gw_link_frame_store (uint8_t head[static GW_LINK_HEAD], const GwLinkFrame *frame)
{
    head[0] = frame->type;
    head[1] = frame->flags;
    gw_store_be16 (head + 2, frame->lane);
    gw_store_be32 (head + 4, frame->length);
    gw_store_be64 (head + 8, frame->sequence);
}

gboolean
gw_link_frame_load (const uint8_t *record, gsize len, GwLinkFrame *ret_frame, GError **error)
{
    if (len < GW_LINK_HEAD)
        return gw_fail (error, GW_CAUSE_LINK_LOST, "a record of %zu bytes is too short for a frame",
                        len);
    GwLinkFrame frame = { .type = record[0],
                          .flags = record[1],
                          .lane = gw_load_be16 (record + 2),
                          .length = gw_load_be32 (record + 4),
                          .sequence = gw_load_be64 (record + 8) };
    if (frame.type == 0 || frame.type >= GW_LINK_N_TYPES)
        return gw_fail (error, GW_CAUSE_LINK_LOST, "a frame of unknown type %u", frame.type);
    const TypeRow *row = &types[frame.type];
    if (frame.length != len - GW_LINK_HEAD || frame.length < row->min || frame.length > row->max)
        return gw_fail (error, GW_CAUSE_LINK_LOST,
                        "a %s frame that says %u bytes in a record of %zu (%u to %u allowed)",
                        row->name, frame.length, len, row->min, row->max);
    if ((frame.flags & ~row->flags) != 0)
        return gw_fail (error, GW_CAUSE_LINK_LOST, "a %s frame with unknown flags 0x%02x",
                        row->name, frame.flags);
    *ret_frame = frame;
    return TRUE;
}

const char *
gw_link_type_name (guint type)
{
    return type != 0 && type < GW_LINK_N_TYPES ? types[type].name : "unknown";
}

gboolean
gw_link_job_is_valid (const char *job)
{
    gsize len = strlen (job);
    if (len == 0 || len > GW_LINK_JOB_MAX)
        return FALSE;
    for (gsize i = 0; i < len; i++)
        if (!g_ascii_isalnum (job[i]) && strchr ("._-", job[i]) == NULL)
            return FALSE;
    return TRUE;
}

/* The payload of HELLO: version (16 bits), side (8 bits), 0, job. */
gsize
gw_link_hello_store (uint8_t record[static GW_LINK_HELLO_MAX], GwSide side, const char *job)
{
    g_assert (gw_link_job_is_valid (job));
    gsize job_len = strlen (job);
    GwLinkFrame frame = { .type = GW_LINK_HELLO, .length = (uint32_t) (4 + job_len) };
    gw_link_frame_store (record, &frame);
    gw_store_be16 (record + GW_LINK_HEAD, GW_LINK_VERSION);
    record[GW_LINK_HEAD + 2] = (uint8_t) side;
    record[GW_LINK_HEAD + 3] = 0;
    memcpy (record + GW_LINK_HEAD + 4, job, job_len);
    return GW_LINK_HEAD + 4 + job_len;
}

gboolean
gw_link_hello_check (const uint8_t *record, gsize len, GwSide side, const char *job, GError **error)
{
    GwLinkFrame frame;
    if (!gw_link_frame_load (record, len, &frame, error) || frame.type != GW_LINK_HELLO) {
        g_clear_error (error);
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer's first frame is no hello");
    }
    const uint8_t *hello = record + GW_LINK_HEAD;
    if (gw_load_be16 (hello) != GW_LINK_VERSION)
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer speaks version %u of the link, not %u",
                        gw_load_be16 (hello), GW_LINK_VERSION);
    GwSide other = side == GW_SIDE_SOURCE ? GW_SIDE_DESTINATION : GW_SIDE_SOURCE;
    if (hello[2] != other)
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer says it is side %u, not the %s",
                        hello[2], gw_side_name (other));
    if (frame.length - 4 != strlen (job) || memcmp (hello + 4, job, strlen (job)) != 0)
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer belongs to another job than '%s'", job);
    return TRUE;
}
