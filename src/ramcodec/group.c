/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The head of a group, and the group as an object. */
#include "internal.h"

#include <string.h>

/* Offsets in the head; docs/ram-codec.md. */
enum { AT_VERSION = 0, AT_FLAGS = 1, AT_URGENCY = 2, AT_PAGE_BITS = 3, AT_BODY = 4, AT_PARTS = 8,
       AT_OUTPUT = 24, AT_NUMBER = 28, AT_DIGEST = 32 };
G_STATIC_ASSERT (AT_PARTS + 4 * GW_RAM_N_PARTS == AT_OUTPUT);
G_STATIC_ASSERT (AT_DIGEST + 8 == GW_RAM_HEAD);

gsize
gw_ram_head_get_plain (const GwRamHeadFields *head)
{
    gsize sum = 0;
    for (guint i = 0; i < GW_RAM_N_PARTS; i++)
        sum += head->part[i];
    return sum;
}

GwRamGroup *
gw_ram_group_new (gsize size)
{
    GwRamGroup *group = g_new0 (GwRamGroup, 1);
    group->bytes = g_malloc (size);
    group->size = size;
    group->len = GW_RAM_HEAD;
    return group;
}

void
gw_ram_group_free (GwRamGroup *group)
{
    if (group == NULL)
        return;
    g_free (group->bytes);
    g_free (group);
}

void
gw_ram_group_seal (GwRamGroup *group)
{
    const GwRamHeadFields *head = &group->head;
    uint8_t *p = group->bytes;
    p[AT_VERSION] = GW_RAM_VERSION;
    p[AT_FLAGS] = head->flags;
    p[AT_URGENCY] = head->urgency;
    p[AT_PAGE_BITS] = head->page_bits;
    gw_store_be32 (p + AT_BODY, head->body);
    for (guint i = 0; i < GW_RAM_N_PARTS; i++)
        gw_store_be32 (p + AT_PARTS + 4 * i, head->part[i]);
    gw_store_be32 (p + AT_OUTPUT, head->output);
    gw_store_be32 (p + AT_NUMBER, head->number);
    gw_store_be64 (p + AT_DIGEST, head->digest);
    group->len = GW_RAM_HEAD + head->body;
}

/* A flag that tells more of another one stands with that only. */
static gboolean
are_flags_good (uint8_t flags)
{
    gboolean is_packed = (flags & GW_RAM_PACKED) != 0, is_chained = (flags & GW_RAM_CHAINED) != 0;
    return (flags & ~GW_RAM_PACKING) == 0 && (is_packed || !is_chained) &&
           (is_chained || (flags & (GW_RAM_BEGINS | GW_RAM_CHAIN_BITS)) == 0);
}

/* The numbers of a head, in bounds of their own but not yet of each other. */
static gboolean
load_fields (const uint8_t *p, GwRamHeadFields *head, GError **error)
{
    *head = (GwRamHeadFields){ .flags = p[AT_FLAGS], .urgency = p[AT_URGENCY],
                               .page_bits = p[AT_PAGE_BITS], .body = gw_load_be32 (p + AT_BODY),
                               .output = gw_load_be32 (p + AT_OUTPUT),
                               .number = gw_load_be32 (p + AT_NUMBER),
                               .digest = gw_load_be64 (p + AT_DIGEST) };
    if (p[AT_VERSION] != GW_RAM_VERSION || !are_flags_good (head->flags) || head->urgency > GW_RAM_URGENT)
        return gw_fail (error, GW_CAUSE_CODEC_INVALID,
                        "expected a group of version %u, found version %u, flags 0x%02x, urgency %u",
                        GW_RAM_VERSION, p[AT_VERSION], head->flags, head->urgency);
    for (guint i = 0; i < GW_RAM_N_PARTS; i++) {
        head->part[i] = gw_load_be32 (p + AT_PARTS + 4 * i);
        if (head->part[i] > GW_RAM_GROUP_MAX)
            return gw_fail (error, GW_CAUSE_CODEC_INVALID,
                            "group %u: expected at most %u bytes of part %u, found %u", head->number,
                            GW_RAM_GROUP_MAX, i, head->part[i]);
    }
    return TRUE;
}

static gboolean
load_head (const uint8_t *p, GwRamHeadFields *head, GError **error)
{
    if (!load_fields (p, head, error))
        return FALSE;
    gsize plain = gw_ram_head_get_plain (head);
    gboolean is_packed = (head->flags & GW_RAM_PACKED) != 0;
    if (plain <= GW_RAM_GROUP_MAX && head->output <= GW_RAM_GROUP_MAX
        && (is_packed ? head->body > 0 && head->body < plain : head->body == plain))
        return TRUE;
    return gw_fail (error, GW_CAUSE_CODEC_INVALID,
                    "group %u: expected at most %u bytes, found %u%s of %zu for %u of output",
                    head->number, GW_RAM_GROUP_MAX, head->body, is_packed ? " packed" : "", plain,
                    head->output);
}

gboolean
gw_ram_group_measure (const uint8_t head[static GW_RAM_HEAD], gsize *ret_len, GError **error)
{
    GwRamHeadFields fields;
    if (!load_head (head, &fields, error))
        return FALSE;
    *ret_len = GW_RAM_HEAD + fields.body;
    return TRUE;
}

GwRamGroup *
gw_ram_group_begin (const uint8_t head[static GW_RAM_HEAD], GError **error)
{
    GwRamHeadFields fields;
    if (!load_head (head, &fields, error))
        return NULL;
    GwRamGroup *group = gw_ram_group_new (GW_RAM_HEAD + (gsize) fields.body);
    group->head = fields;
    group->len = GW_RAM_HEAD;
    group->plain = GW_RAM_HEAD + gw_ram_head_get_plain (&fields);
    memcpy (group->bytes, head, GW_RAM_HEAD);
    return group;
}

static gsize
get_whole (const GwRamGroup *group)
{
    return GW_RAM_HEAD + (gsize) group->head.body;
}

gsize
gw_ram_group_fill (GwRamGroup *group, const uint8_t *data, gsize len)
{
    gsize missing = get_whole (group) - group->len, n = MIN (missing, len);
    memcpy (group->bytes + group->len, data, n);
    group->len += n;
    return n;
}

gboolean
gw_ram_group_is_whole (const GwRamGroup *group)
{
    return group->len == get_whole (group);
}

GwRamGroup *
gw_ram_group_load (const uint8_t *data, gsize len, GError **error)
{
    if (len < GW_RAM_HEAD) {
        gw_fail (error, GW_CAUSE_CODEC_INVALID, "expected the %u bytes of a group's head, found %zu",
                 GW_RAM_HEAD, len);
        return NULL;
    }
    g_autoptr (GwRamGroup) group = gw_ram_group_begin (data, error);
    if (group == NULL)
        return NULL;
    if (len != get_whole (group)) {
        gw_fail (error, GW_CAUSE_CODEC_INVALID, "group %u: expected %u bytes of body, found %zu",
                 group->head.number, group->head.body, len - GW_RAM_HEAD);
        return NULL;
    }
    (void) gw_ram_group_fill (group, data + GW_RAM_HEAD, len - GW_RAM_HEAD); /* all of it */
    return g_steal_pointer (&group);
}

const uint8_t *
gw_ram_group_get_bytes (const GwRamGroup *group, gsize *ret_len)
{
    *ret_len = group->len;
    return group->bytes;
}

GwRamUrgency
gw_ram_group_get_urgency (const GwRamGroup *group)
{
    return group->head.urgency;
}

gsize
gw_ram_group_get_output (const GwRamGroup *group)
{
    return group->head.output;
}

gsize
gw_ram_group_get_plain (const GwRamGroup *group)
{
    return group->plain;
}

gboolean
gw_ram_group_is_packed (const GwRamGroup *group)
{
    return (group->head.flags & GW_RAM_PACKED) != 0;
}

gboolean
gw_ram_group_is_chained (const GwRamGroup *group)
{
    return (group->head.flags & GW_RAM_CHAINED) != 0;
}

guint
gw_ram_group_get_chain (const GwRamGroup *group)
{
    return (group->head.flags & GW_RAM_CHAIN_BITS) >> GW_RAM_CHAIN_SHIFT;
}
