/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing the main stream, record by record. */
#include "internal.h"

#include <string.h>

static void
put_byte (GByteArray *out, uint8_t v)
{
    g_byte_array_append (out, &v, 1);
}

static void
put_be16 (GByteArray *out, uint16_t v)
{
    uint8_t p[2];
    gw_store_be16 (p, v);
    g_byte_array_append (out, p, 2);
}

static void
put_be32 (GByteArray *out, uint32_t v)
{
    uint8_t p[4];
    gw_store_be32 (p, v);
    g_byte_array_append (out, p, 4);
}

static void
put_be64 (GByteArray *out, uint64_t v)
{
    uint8_t p[8];
    gw_store_be64 (p, v);
    g_byte_array_append (out, p, 8);
}

static void
put_bytes (GByteArray *out, const void *data, gsize len)
{
    if (len > 0)
        g_byte_array_append (out, data, (guint) len);
}

static void
put_name (GByteArray *out, const char *name)
{
    gsize n = strlen (name);
    g_assert (n <= 255);
    put_byte (out, (uint8_t) n);
    put_bytes (out, name, n);
}

/* --- header, configuration, sections ----------------------------------------------------------- */

void
gw_stream_put_header (GByteArray *out)
{
    put_be32 (out, GW_STREAM_MAGIC);
    put_be32 (out, GW_STREAM_VERSION);
}

static void
put_machine (GByteArray *out, const char *machine, gsize len)
{
    put_byte (out, GW_STREAM_BYTE_CONFIGURATION);
    put_be32 (out, (uint32_t) len);
    put_bytes (out, machine, len);
}

void
gw_stream_put_configuration (GByteArray *out, const char *machine)
{
    g_assert (strlen (machine) <= GW_STREAM_MACHINE_MAX);
    put_machine (out, machine, strlen (machine));
}

static void
put_subsection (GByteArray *out, const char *name)
{
    put_byte (out, GW_STREAM_BYTE_SUBSECTION);
    put_name (out, name);
    put_be32 (out, 1);
}

void
gw_stream_put_section (GByteArray *out, GwStreamByte type, const GwStreamSection *section)
{
    put_byte (out, (uint8_t) type);
    put_be32 (out, section->id);
    if (type == GW_STREAM_BYTE_PART || type == GW_STREAM_BYTE_END)
        return;
    put_name (out, section->name);
    put_be32 (out, section->instance);
    put_be32 (out, section->version);
}

void
gw_stream_put_footer (GByteArray *out, uint32_t section_id)
{
    put_byte (out, GW_STREAM_BYTE_FOOTER);
    put_be32 (out, section_id);
}

/* --- RAM --------------------------------------------------------------------------------------- */

static void
put_block (GByteArray *out, const GwStreamBlock *block, uint64_t page_size)
{
    put_name (out, block->name);
    put_be64 (out, block->used_length);
    if (block->has_page_size)
        put_be64 (out, block->page_size);
    if (block->has_address)
        put_be64 (out, block->address);
    if (!block->has_mapped)
        return;
    put_be32 (out, 1);
    put_be64 (out, page_size);
    put_be64 (out, block->bitmap_offset);
    put_be64 (out, block->pages_offset);
}

void
gw_stream_put_ram_list (GByteArray *out, const GwStreamBlock *const *blocks, unsigned n)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < n; i++)
        total += blocks[i]->used_length;
    put_be64 (out, total | GW_RAM_MEM_SIZE);
    for (unsigned i = 0; i < n; i++)
        put_block (out, blocks[i], 4096);
}

void
gw_stream_put_ram_flag (GByteArray *out, uint64_t flag)
{
    put_be64 (out, flag);
}

static void
put_page_head (GByteArray *out, const char *block, uint64_t offset, uint64_t flag)
{
    put_be64 (out, offset | flag | (block == NULL ? GW_RAM_CONTINUE : 0));
    if (block != NULL)
        put_name (out, block);
}

void
gw_stream_put_ram_page (GByteArray *out, const char *block, uint64_t offset, const uint8_t *data,
                        gsize page_size)
{
    put_page_head (out, block, offset, data != NULL ? GW_RAM_PAGE : GW_RAM_ZERO);
    if (data != NULL)
        put_bytes (out, data, page_size);
    else
        put_byte (out, 0);
}

static void
put_ram_record (GByteArray *out, const GwStreamRecord *record)
{
    static const uint64_t flags[] = {
        [GW_STREAM_RAM_ZERO] = GW_RAM_ZERO,
        [GW_STREAM_RAM_PAGE] = GW_RAM_PAGE,
        [GW_STREAM_RAM_XBZRLE] = GW_RAM_XBZRLE,
        [GW_STREAM_RAM_COMPRESSED] = GW_RAM_COMPRESS,
    };
    put_page_head (out, record->ram.is_continued ? NULL : record->ram.block->name,
                   record->ram.offset, flags[record->type]);
    if (record->type == GW_STREAM_RAM_ZERO) {
        put_byte (out, record->ram.fill);
    } else if (record->type == GW_STREAM_RAM_XBZRLE) {
        put_byte (out, 0x01);
        put_be16 (out, (uint16_t) record->data_length);
    } else if (record->type == GW_STREAM_RAM_COMPRESSED) {
        put_be32 (out, (uint32_t) record->data_length);
    }
    put_bytes (out, record->data, record->data_length);
}

static void
put_bitmap (GByteArray *out, const GwStreamRecord *record)
{
    uint8_t flags = record->bitmap.flags;
    put_byte (out, flags);
    if (flags & GW_BITMAP_DEVICE_NAME)
        put_name (out, record->bitmap.node);
    if (flags & GW_BITMAP_BITMAP_NAME)
        put_name (out, record->bitmap.name);
    if (flags & GW_BITMAP_START) {
        put_be32 (out, record->bitmap.granularity);
        put_byte (out, record->bitmap.start_flags);
    }
    if ((flags & GW_BITMAP_BITS) == 0)
        return;
    put_be64 (out, record->bitmap.start_sector);
    put_be32 (out, record->bitmap.n_sectors);
    if (flags & GW_BITMAP_ZEROES)
        return;
    put_be64 (out, record->data_length);
    put_bytes (out, record->data, record->data_length);
}

/* --- commands ---------------------------------------------------------------------------------- */

void
gw_stream_put_command (GByteArray *out, GwStreamCommand command, const uint8_t *payload, gsize len)
{
    g_assert (gw_command_fits (command, len));
    put_byte (out, GW_STREAM_BYTE_COMMAND);
    put_be16 (out, (uint16_t) command);
    put_be16 (out, (uint16_t) len);
    put_bytes (out, payload, len);
}

void
gw_stream_put_ping (GByteArray *out, uint32_t value)
{
    uint8_t payload[4];
    gw_store_be32 (payload, value);
    gw_stream_put_command (out, GW_COMMAND_PING, payload, sizeof payload);
}

void
gw_stream_put_advise (GByteArray *out, uint64_t page_summary, uint64_t page_size)
{
    uint8_t payload[16];
    gw_store_be64 (payload, page_summary);
    gw_store_be64 (payload + 8, page_size);
    gw_stream_put_command (out, GW_COMMAND_POSTCOPY_ADVISE, payload, sizeof payload);
}

void
gw_stream_put_discard (GByteArray *out, const char *block, const GwStreamRange *ranges, unsigned n)
{
    g_autoptr (GByteArray) payload = g_byte_array_new ();
    g_assert (n >= 1 && n <= GW_STREAM_DISCARDS_MAX);
    put_byte (payload, 0);
    put_name (payload, block);
    put_byte (payload, 0);
    for (unsigned i = 0; i < n; i++) {
        put_be64 (payload, ranges[i].start);
        put_be64 (payload, ranges[i].length);
    }
    gw_stream_put_command (out, GW_COMMAND_POSTCOPY_RAM_DISCARD, payload->data, payload->len);
}

static void
put_package_head (GByteArray *out, uint32_t len)
{
    uint8_t payload[4];
    gw_store_be32 (payload, len);
    gw_stream_put_command (out, GW_COMMAND_PACKAGED, payload, sizeof payload);
}

void
gw_stream_put_packaged (GByteArray *out, const uint8_t *sections, gsize len)
{
    g_assert (len > 0 && len <= G_MAXUINT32);
    put_package_head (out, (uint32_t) len);
    put_bytes (out, sections, len);
}

static void
put_recv_bitmap (GByteArray *out, const char *block)
{
    g_autoptr (GByteArray) payload = g_byte_array_new ();
    put_name (payload, block);
    gw_stream_put_command (out, GW_COMMAND_RECV_BITMAP, payload->data, payload->len);
}

static void
put_command_record (GByteArray *out, const GwStreamRecord *record)
{
    switch (record->command.number) {
    case GW_COMMAND_PING:
        gw_stream_put_ping (out, record->command.value);
        return;
    case GW_COMMAND_PACKAGED:
        put_package_head (out, record->command.value);
        return;
    case GW_COMMAND_POSTCOPY_RAM_DISCARD:
        gw_stream_put_discard (out, record->command.block, record->command.ranges,
                               record->command.n_ranges);
        return;
    case GW_COMMAND_RECV_BITMAP:
        put_recv_bitmap (out, record->command.block);
        return;
    case GW_COMMAND_POSTCOPY_ADVISE:
        if (record->data_length > 0) {
            gw_stream_put_advise (out, record->command.page_summary, record->command.page_size);
            return;
        }
        break;
    default:
        break;
    }
    gw_stream_put_command (out, (GwStreamCommand) record->command.number, NULL, 0);
}

/* --- end --------------------------------------------------------------------------------------- */

void
gw_stream_put_eof (GByteArray *out)
{
    put_byte (out, GW_STREAM_BYTE_EOF);
}

void
gw_stream_put_vmdesc (GByteArray *out, const char *json, gsize len)
{
    g_assert (len <= G_MAXUINT32);
    put_byte (out, GW_STREAM_BYTE_VMDESC);
    put_be32 (out, (uint32_t) len);
    put_bytes (out, json, len);
}

/* --- any record -------------------------------------------------------------------------------- */

static void
put_config_part (GByteArray *out, const GwStreamRecord *record)
{
    if (record->type == GW_STREAM_CONFIG_PAGE_BITS) {
        put_subsection (out, "configuration/target-page-bits");
        put_be32 (out, record->configuration.page_bits);
        return;
    }
    put_subsection (out, record->type == GW_STREAM_CONFIG_UUID ? "configuration/uuid"
                                                               : "configuration/capabilities");
    put_bytes (out, record->data, record->data_length);
}

void
gw_stream_put_record (GByteArray *out, const GwStreamRecord *record)
{
    switch (record->type) {
    case GW_STREAM_HEADER:
        gw_stream_put_header (out);
        break;
    case GW_STREAM_CONFIGURATION:
        put_machine (out, record->configuration.machine, record->configuration.machine_length);
        break;
    case GW_STREAM_CONFIG_PAGE_BITS:
    case GW_STREAM_CONFIG_CAPABILITIES:
    case GW_STREAM_CONFIG_UUID:
        put_config_part (out, record);
        break;
    case GW_STREAM_SECTION:
        gw_stream_put_section (out, (GwStreamByte) record->section_type, record->section);
        break;
    case GW_STREAM_FOOTER:
        gw_stream_put_footer (out, record->section->id);
        break;
    case GW_STREAM_DEVICE:
    case GW_STREAM_RAM_MAPPED:
        put_bytes (out, record->data, record->data_length);
        break;
    case GW_STREAM_RAM_LIST:
        put_be64 (out, record->ram.total | GW_RAM_MEM_SIZE);
        break;
    case GW_STREAM_RAM_BLOCK:
        put_block (out, record->block, record->page_size);
        break;
    case GW_STREAM_RAM_ZERO:
    case GW_STREAM_RAM_PAGE:
    case GW_STREAM_RAM_XBZRLE:
    case GW_STREAM_RAM_COMPRESSED:
        put_ram_record (out, record);
        break;
    case GW_STREAM_RAM_FLUSH:
        gw_stream_put_ram_flag (out, GW_RAM_FLUSH);
        break;
    case GW_STREAM_RAM_EOS:
        gw_stream_put_ram_flag (out, GW_RAM_EOS);
        break;
    case GW_STREAM_BITMAP:
        put_bitmap (out, record);
        break;
    case GW_STREAM_COMMAND:
        put_command_record (out, record);
        break;
    case GW_STREAM_EOF:
        gw_stream_put_eof (out);
        break;
    case GW_STREAM_VMDESC:
        gw_stream_put_vmdesc (out, (const char *) record->data, record->data_length);
        break;
    case GW_STREAM_PACKAGE_END:
    case GW_STREAM_N_RECORDS:
        break;
    }
}
