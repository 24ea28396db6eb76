/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An incoming stream around the device state that xen-save-devices-state saved.
 *
 * The file is a header, a FULL section for each device and the end mark: no configuration, no RAM.
 * Devices read guest memory while they load (virtio its rings, the TPR its option ROM), so the
 * receiver must have those pages.  In postcopy it asks for them, and for nothing else.  One DISCARD
 * has to come before LISTEN: without any, QEMU 7.2 prepares the discard only in LISTEN, which sets
 * its state back, and the pages are then copied where nobody is woken.
 */
#include "stream.h"

#include <string.h>

#define SAVED_HEAD_BYTES 8u /* magic and version */
#define RAM_ID 0xffff0000u  /* of the RAM section; QEMU numbers from 0 upwards */
#define RAM_VERSION 4u

static const GwStreamSection ram_section = {
    .id = RAM_ID, .version = RAM_VERSION, .is_iterator = TRUE, .name = (char *) "ram",
};

/* The sections of the file, without header and end mark. */
static gboolean
find_sections (const GwStreamRehearsal *r, const uint8_t **ret_sections, gsize *ret_length,
               GError **error)
{
    g_autoptr (GByteArray) head = g_byte_array_new ();
    gw_stream_put_header (head);
    g_assert (head->len == SAVED_HEAD_BYTES);
    if (r->saved_length < SAVED_HEAD_BYTES || memcmp (r->saved, head->data, head->len) != 0)
        return gw_fail (error, GW_CAUSE_STREAM_MAGIC,
                        "the saved device state (%zu bytes) does not begin as one", r->saved_length);
    if (r->saved_length < SAVED_HEAD_BYTES + 2 ||
        r->saved[SAVED_HEAD_BYTES] != GW_STREAM_BYTE_FULL ||
        r->saved[r->saved_length - 1] != GW_STREAM_BYTE_EOF)
        return gw_fail (error, GW_CAUSE_STREAM_TRUNCATED,
                        "the saved device state (%zu bytes) is not whole", r->saved_length);
    if (r->saved_length > G_MAXUINT32)
        return gw_fail (error, GW_CAUSE_STREAM_LIMIT, "the saved device state has %zu bytes",
                        r->saved_length);
    *ret_sections = r->saved + SAVED_HEAD_BYTES;
    *ret_length = r->saved_length - SAVED_HEAD_BYTES - 1;
    return TRUE;
}

static void
put_ram_start (GByteArray *out, const GwStreamRehearsal *r)
{
    gw_stream_put_section (out, GW_STREAM_BYTE_START, &ram_section);
    gw_stream_put_ram_list (out, r->blocks, r->n_blocks);
    gw_stream_put_ram_flag (out, GW_RAM_EOS);
    gw_stream_put_footer (out, RAM_ID);
}

static void
put_package (GByteArray *out, const uint8_t *sections, gsize length)
{
    g_autoptr (GByteArray) package = g_byte_array_new ();
    gw_stream_put_command (package, GW_COMMAND_POSTCOPY_LISTEN, NULL, 0);
    g_byte_array_append (package, sections, (guint) length);
    gw_stream_put_ping (package, GW_REHEARSAL_PING_LOADED);
    gw_stream_put_command (package, GW_COMMAND_POSTCOPY_RUN, NULL, 0);
    gw_stream_put_packaged (out, package->data, package->len);
}

gboolean
gw_stream_put_rehearsal_postcopy (GByteArray *out, const GwStreamRehearsal *r, GError **error)
{
    const uint8_t *sections;
    gsize length;
    g_assert (r->n_blocks > 0);
    if (!find_sections (r, &sections, &length, error))
        return FALSE;
    const GwStreamRange first = { 0, r->page_size };
    gw_stream_put_header (out);
    gw_stream_put_configuration (out, r->machine);
    gw_stream_put_command (out, GW_COMMAND_OPEN_RETURN_PATH, NULL, 0);
    gw_stream_put_ping (out, 1);
    gw_stream_put_advise (out, r->page_size, r->page_size);
    put_ram_start (out, r);
    gw_stream_put_discard (out, r->blocks[0]->name, &first, 1);
    put_package (out, sections, length);
    return TRUE;
}

static void
put_pages (GByteArray *out, GwStreamByte type, const GwStreamPage *pages, unsigned n_pages,
           uint32_t page_size)
{
    gw_stream_put_section (out, type, &ram_section);
    for (unsigned i = 0; i < n_pages; i++)
        gw_stream_put_ram_page (out, pages[i].block, pages[i].offset, pages[i].data, page_size);
    gw_stream_put_ram_flag (out, GW_RAM_EOS);
    gw_stream_put_footer (out, RAM_ID);
}

void
gw_stream_put_rehearsal_pages (GByteArray *out, const GwStreamPage *pages, unsigned n_pages,
                               uint32_t page_size)
{
    put_pages (out, GW_STREAM_BYTE_PART, pages, n_pages, page_size);
}

gboolean
gw_stream_put_rehearsal_precopy (GByteArray *out, const GwStreamRehearsal *r,
                                 const GwStreamPage *pages, unsigned n_pages, GError **error)
{
    const uint8_t *sections;
    gsize length;
    if (!find_sections (r, &sections, &length, error))
        return FALSE;
    gw_stream_put_header (out);
    gw_stream_put_configuration (out, r->machine);
    gw_stream_put_command (out, GW_COMMAND_OPEN_RETURN_PATH, NULL, 0);
    gw_stream_put_ping (out, 1);
    put_ram_start (out, r);
    put_pages (out, GW_STREAM_BYTE_END, pages, n_pages, r->page_size);
    g_byte_array_append (out, sections, (guint) length);
    gw_stream_put_ping (out, GW_REHEARSAL_PING_LOADED);
    gw_stream_put_eof (out);
    return TRUE;
}
