/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The encoder: what is not a page, as far as it says what may be done with pages. */
#include "encode.h"

#include <string.h>

#define SMALL_BLOCKS 16u        /* RAM blocks for whose rounding up the index has room */

/* Memory is shared out when the size of the guest is known: first the index, then the cache. */
static void
on_list (GwRamEncoder *e, const GwStreamRecord *record)
{
    unsigned page_bits = e->builder.page_bits;
    uint64_t memory = e->params.memory_bytes;
    e->has_ram = TRUE;
    if (e->key == NULL || e->machine.state != GW_ENCODE_PRECOPY)
        return;
    uint64_t spare = gw_ram_index_measure (page_bits, 1) * SMALL_BLOCKS;
    uint64_t index = MIN (gw_ram_index_measure (page_bits, record->ram.total)
                              + MIN (spare, memory / 16),
                          memory / 2);
    uint64_t slots = (memory - index) / gw_ram_cache_measure (e->params.page_size);
    gw_ram_index_clear (&e->index);
    gw_ram_index_init (&e->index, page_bits, index);
    gw_ram_cache_free (e->cache);
    e->cache = gw_ram_cache_new ((uint32_t) MIN (slots, INT32_MAX), &e->stock);
}

/* Where it ends is the reader's guess, and what lies in it can be the guest's choice. */
static gboolean
is_guessed (const GwStreamSection *section)
{
    return !section->is_iterator
           || (strcmp (section->name, "ram") != 0 && strcmp (section->name, "dirty-bitmap") != 0);
}

static void
on_section (GwRamEncoder *e, const GwStreamRecord *record)
{
    e->has_control |= record->section_type != GW_STREAM_BYTE_PART;
    if (e->machine.state == GW_ENCODE_PRECOPY && e->has_ram && is_guessed (record->section))
        gw_machine_move (&e->machine, GW_ENCODE_CLOSING);
}

void
gw_ram_encoder_begin_postcopy (GwRamEncoder *e)
{
    gw_ram_builder_close (&e->builder);
    e->builder.most = GW_RAM_URGENT_MAX;
    e->builder.urgency = GW_RAM_URGENT;
    gw_machine_move (&e->machine, GW_ENCODE_POSTCOPY);
}

static void
on_command (GwRamEncoder *e, const GwStreamRecord *record)
{
    uint16_t number = record->command.number;
    gboolean ends_precopy = number == GW_COMMAND_POSTCOPY_RAM_DISCARD
                            || number == GW_COMMAND_POSTCOPY_LISTEN
                            || number == GW_COMMAND_ENABLE_COLO;
    e->has_control = TRUE;
    if (ends_precopy && e->machine.state < GW_ENCODE_POSTCOPY)
        gw_ram_encoder_begin_postcopy (e);
}

gboolean
gw_ram_encoder_take_record (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    GwRamEncoder *e = user_data;
    switch (record->type) {
    case GW_STREAM_RAM_PAGE:
    case GW_STREAM_RAM_ZERO:
    case GW_STREAM_RAM_XBZRLE:
    case GW_STREAM_RAM_COMPRESSED:
        gw_ram_encoder_take_page (e, record);
        break;
    case GW_STREAM_RAM_LIST:
        on_list (e, record);
        break;
    case GW_STREAM_RAM_BLOCK:
        if (e->key != NULL)
            gw_ram_index_add_block (&e->index, record->block->index, record->block->used_length);
        break;
    case GW_STREAM_SECTION:
        on_section (e, record);
        break;
    case GW_STREAM_COMMAND:
        on_command (e, record);
        break;
    case GW_STREAM_RAM_EOS:
    case GW_STREAM_RAM_FLUSH:
    case GW_STREAM_FOOTER:
        break;
    default:
        e->has_control = TRUE;
        break;
    }
    return TRUE;
}
