/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "link.h"

#include <string.h>

typedef struct {
    const char *name;
    uint32_t min, max; /* bytes of payload */
    uint8_t flags;     /* that may be set */
} TypeRow;

static const TypeRow types[] = {
    [GW_LINK_HELLO] = { "hello", GW_LINK_HELLO_FIXED + 1, GW_LINK_HELLO_FIXED + GW_LINK_JOB_MAX, 0 },
    [GW_LINK_OPEN] = { "open", 1, GW_LINK_NAME_MAX, 0 },
    [GW_LINK_DATA] = { "data", 1, GW_LINK_PAYLOAD, 0 },
    [GW_LINK_EOF] = { "eof", 0, 0, 0 },
    [GW_LINK_STOP] = { "stop", 0, 0, 0 },
    [GW_LINK_RESET] = { "reset", 0, GW_LINK_TEXT_MAX, GW_LINK_ANSWER },
    [GW_LINK_PING] = { "ping", 0, 0, 0 },
    [GW_LINK_PONG] = { "pong", 16, 16, 0 },
    [GW_LINK_BYE] = { "bye", 0, 0, GW_LINK_UNCLEAN | GW_LINK_SEEN },
    [GW_LINK_ACK] = { "ack", 0, GW_LINK_ACK_ENTRIES * GW_LINK_ACK_ENTRY, 0 },
    [GW_LINK_LEAVE] = { "leave", 0, 0, 0 },
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
    if (frame.type == GW_LINK_ACK && frame.length % GW_LINK_ACK_ENTRY != 0)
        return gw_fail (error, GW_CAUSE_LINK_LOST, "an ack frame of %u bytes, no multiple of %u",
                        frame.length, GW_LINK_ACK_ENTRY);
    if ((frame.flags & ~row->flags) != 0)
        return gw_fail (error, GW_CAUSE_LINK_LOST, "a %s frame with unknown flags 0x%02x",
                        row->name, frame.flags);
    *ret_frame = frame;
    return TRUE;
}

void
gw_link_record_clear (GwLinkRecord *record)
{
    if (record->packet != NULL)
        record->release (record->packet);
    *record = (GwLinkRecord){ 0 };
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

/* --- hello --------------------------------------------------------------------------------------- */

/* The payload of HELLO. */
enum { AT_VERSION = 0, AT_SIDE = 2, AT_EPOCH = 4, AT_SESSION = 8, AT_SERIAL = 24, AT_CLOCK = 28 };
G_STATIC_ASSERT (AT_CLOCK + 8 == GW_LINK_HELLO_FIXED);

static const uint8_t no_session[GW_LINK_SESSION_ID];

gsize
gw_link_hello_store (uint8_t record[static GW_LINK_HELLO_MAX], const GwLinkHello *hello)
{
    g_assert (gw_link_job_is_valid (hello->job));
    gsize job_len = strlen (hello->job);
    GwLinkFrame frame = { .type = GW_LINK_HELLO,
                          .length = (uint32_t) (GW_LINK_HELLO_FIXED + job_len) };
    gw_link_frame_store (record, &frame);
    uint8_t *payload = record + GW_LINK_HEAD;
    gw_store_be16 (payload + AT_VERSION, GW_LINK_VERSION);
    gw_store_be16 (payload + AT_SIDE, (uint16_t) (hello->side << 8));
    gw_store_be32 (payload + AT_EPOCH, hello->epoch);
    memcpy (payload + AT_SESSION, hello->session, GW_LINK_SESSION_ID);
    gw_store_be32 (payload + AT_SERIAL, hello->serial);
    gw_store_be64 (payload + AT_CLOCK, (uint64_t) hello->wall_clock_us);
    memcpy (payload + GW_LINK_HELLO_FIXED, hello->job, job_len);
    return GW_LINK_HEAD + GW_LINK_HELLO_FIXED + job_len;
}

/* The version is looked at before the length, which another version may have changed. */
static gboolean
load_hello (const uint8_t *record, gsize len, GwLinkHello *ret_hello, GError **error)
{
    GwLinkFrame frame;
    if (len < GW_LINK_HEAD + 2 || record[0] != GW_LINK_HELLO)
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer's first frame is no hello");
    const uint8_t *payload = record + GW_LINK_HEAD;
    if (gw_load_be16 (payload + AT_VERSION) != GW_LINK_VERSION)
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer speaks version %u of the link, not %u",
                        gw_load_be16 (payload + AT_VERSION), GW_LINK_VERSION);
    if (!gw_link_frame_load (record, len, &frame, error)) {
        g_clear_error (error);
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer's hello of %zu bytes is malformed", len);
    }
    GwLinkHello hello = { .side = payload[AT_SIDE],
                          .epoch = gw_load_be32 (payload + AT_EPOCH),
                          .serial = gw_load_be32 (payload + AT_SERIAL),
                          .wall_clock_us = (int64_t) gw_load_be64 (payload + AT_CLOCK) };
    memcpy (hello.session, payload + AT_SESSION, GW_LINK_SESSION_ID);
    memcpy (hello.job, payload + GW_LINK_HELLO_FIXED, frame.length - GW_LINK_HELLO_FIXED);
    if (strlen (hello.job) != frame.length - GW_LINK_HELLO_FIXED)
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer's hello names its job with a zero byte");
    *ret_hello = hello;
    return TRUE;
}

/* Is it the peer of our job at all? */
static gboolean
check_kin (const GwLinkHello *ours, const GwLinkHello *hello, GError **error)
{
    GwSide other = ours->side == GW_SIDE_SOURCE ? GW_SIDE_DESTINATION : GW_SIDE_SOURCE;
    if (hello->side != other)
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer says it is side %u, not the %s",
                        hello->side, gw_side_name (other));
    if (strcmp (hello->job, ours->job) != 0)
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer belongs to another job than '%s'",
                        ours->job);
    if (hello->epoch != ours->epoch)
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer is at epoch %u, not %u", hello->epoch,
                        ours->epoch);
    return TRUE;
}

/* Is it the same one as before, and is it new? */
static gboolean
check_fresh (const GwLinkPeer *peer, const GwLinkHello *ours, const GwLinkHello *hello,
             GError **error)
{
    if (memcmp (hello->session, no_session, GW_LINK_SESSION_ID) == 0)
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer's hello has no session");
    if (peer->is_known && memcmp (hello->session, peer->session, GW_LINK_SESSION_ID) != 0)
        return gw_fail (error, GW_CAUSE_LINK_AUTH,
                        "the peer has lost its session: this is another one than before");
    if (ours->side == GW_SIDE_SOURCE && hello->serial != ours->serial)
        return gw_fail (error, GW_CAUSE_LINK_AUTH, "the peer's hello is for path %u, not %u",
                        hello->serial, ours->serial);
    if (ours->side == GW_SIDE_DESTINATION && hello->serial <= peer->serial)
        return gw_fail (error, GW_CAUSE_LINK_AUTH,
                        "the peer's hello is stale: path %u, when path %u was there already",
                        hello->serial, peer->serial);
    return TRUE;
}

gboolean
gw_link_hello_check (GwLinkPeer *peer, const GwLinkHello *ours, const uint8_t *record, gsize len,
                     GwLinkHello *ret_hello, GError **error)
{
    GwLinkHello hello = { 0 };
    if (!load_hello (record, len, &hello, error) || !check_kin (ours, &hello, error) ||
        !check_fresh (peer, ours, &hello, error))
        return FALSE;
    memcpy (peer->session, hello.session, GW_LINK_SESSION_ID);
    peer->is_known = TRUE;
    peer->serial = MAX (peer->serial, hello.serial);
    *ret_hello = hello;
    return TRUE;
}
