/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Type bytes, section headers and footers, the configuration, and what may follow a section. */
#include "internal.h"

#include <string.h>

#define VERSION_MAX 0xffffu /* no section of QEMU comes near it */
#define RAM_VERSION 4u

void
gw_stream_copy_name (char out[static 256], const uint8_t *p, gsize len)
{
    g_assert (len < 256);
    memcpy (out, p, len);
    out[len] = '\0';
}

gboolean
gw_stream_is_printable (const uint8_t *p, gsize len)
{
    for (gsize i = 0; i < len; i++)
        if (p[i] < 0x20 || p[i] > 0x7e)
            return FALSE;
    return TRUE;
}

static GwStreamSection *
find_section (GwStreamReader *r, uint32_t id)
{
    return g_hash_table_lookup (r->sections, GUINT_TO_POINTER (id));
}

/* --- what may follow a section ------------------------------------------------------------------ */

static int
can_be_end (GwStreamReader *r, const uint8_t *p, gsize avail)
{
    if (r->depth > 0)
        return 0;
    if (avail == 1)
        return r->is_ending ? 1 : -1;
    if (p[1] != GW_STREAM_BYTE_VMDESC)
        return 0;
    if (avail < 7)
        return -1;
    return gw_load_be32 (p + 2) <= r->params.max_vmdesc_bytes && p[6] == '{';
}

static int
can_be_section (GwStreamReader *r, const uint8_t *p, gsize avail)
{
    if (avail < 6)
        return -1;
    gsize n = p[5];
    if (n == 0 || find_section (r, gw_load_be32 (p + 1)) != NULL)
        return 0;
    if (!gw_stream_is_printable (p + 6, MIN (n, avail - 6)))
        return 0;
    if (avail < 6 + n + 8)
        return -1;
    return gw_load_be32 (p + 6 + n + 4) <= VERSION_MAX;
}

static int
can_be_part (GwStreamReader *r, const uint8_t *p, gsize avail)
{
    if (avail < 5)
        return -1;
    const GwStreamSection *section = find_section (r, gw_load_be32 (p + 1));
    return section != NULL && section->is_iterator;
}

static int
can_follow (GwStreamReader *r, const uint8_t *p, gsize avail)
{
    if (avail == 0)
        return -1;
    switch (p[0]) {
    case GW_STREAM_BYTE_EOF:
        return can_be_end (r, p, avail);
    case GW_STREAM_BYTE_START:
    case GW_STREAM_BYTE_FULL:
        return can_be_section (r, p, avail);
    case GW_STREAM_BYTE_PART:
    case GW_STREAM_BYTE_END:
        return can_be_part (r, p, avail);
    case GW_STREAM_BYTE_COMMAND:
        return avail < 5 ? -1 : gw_command_fits (gw_load_be16 (p + 1), gw_load_be16 (p + 3));
    default:
        return 0;
    }
}

int
gw_reader_can_follow (GwStreamReader *r, const uint8_t *p, gsize avail)
{
    gboolean is_last = r->depth > 0 ? r->is_bounded : r->is_ending;
    if (avail == 0 && is_last)
        return r->depth > 0 || r->params.kind == GW_STREAM_SECTIONS;
    int verdict = can_follow (r, p, avail);
    return verdict < 0 && is_last ? 0 : verdict;
}

/* --- headers and footers ------------------------------------------------------------------------ */

static guint
body_state (const GwStreamSection *section)
{
    if (section->is_iterator && strcmp (section->name, "ram") == 0)
        return GW_READ_RAM;
    if (section->is_iterator && strcmp (section->name, "dirty-bitmap") == 0)
        return GW_READ_BITMAP;
    return GW_READ_DEVICE;
}

static gssize
begin_body (GwStreamReader *r, const GwStreamSection *section, uint8_t type, gsize len,
            GError **error)
{
    GwStreamRecord record = { .section_type = type };
    r->section = section;
    r->scan = 0;
    gw_machine_move (&r->machine, body_state (section));
    return gw_reader_emit (r, &record, GW_STREAM_SECTION, len, error);
}

static gboolean
check_section (GwStreamReader *r, const uint8_t *p, gsize name_length, GError **error)
{
    uint32_t id = gw_load_be32 (p + 1), version = gw_load_be32 (p + 6 + name_length + 4);
    if (find_section (r, id) != NULL)
        gw_reader_bad (r, error, GW_CAUSE_STREAM_SECTION, 1,
                       "expected a new section id, found %u again", id);
    else if (g_hash_table_size (r->sections) >= GW_STREAM_SECTIONS_MAX)
        gw_reader_bad (r, error, GW_CAUSE_STREAM_LIMIT, 1, "expected at most %u sections",
                       GW_STREAM_SECTIONS_MAX);
    else if (!gw_stream_is_printable (p + 6, name_length))
        gw_reader_bad (r, error, GW_CAUSE_STREAM_SECTION, 6,
                       "expected a printable name of %zu bytes", name_length);
    else if (version > VERSION_MAX)
        gw_reader_bad (r, error, GW_CAUSE_STREAM_SECTION, 6 + name_length + 4,
                       "expected a version of at most %u, found %u", VERSION_MAX, version);
    else if (p[0] == GW_STREAM_BYTE_START && name_length == 3 && memcmp (p + 6, "ram", 3) == 0
             && version != RAM_VERSION)
        gw_reader_bad (r, error, GW_CAUSE_STREAM_RAM, 6 + name_length + 4,
                       "expected version %u of section 'ram', found %u", RAM_VERSION, version);
    else
        return TRUE;
    return FALSE;
}

static gssize
step_start (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    if (avail < 6)
        return gw_reader_need (r, 6);
    gsize n = p[5], len = 6 + n + 8;
    if (n == 0)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_SECTION, 5, "expected a name, found none");
    if (avail < len)
        return gw_reader_need (r, len);
    if (!check_section (r, p, n, error))
        return GW_STEP_FAILED;
    GwStreamSection *section = g_new0 (GwStreamSection, 1);
    section->id = gw_load_be32 (p + 1);
    section->name = g_strndup ((const char *) p + 6, n);
    section->instance = gw_load_be32 (p + 6 + n);
    section->version = gw_load_be32 (p + 6 + n + 4);
    section->is_iterator = p[0] == GW_STREAM_BYTE_START;
    g_hash_table_insert (r->sections, GUINT_TO_POINTER (section->id), section);
    if (!section->is_iterator)
        g_ptr_array_add (r->devices, section);
    return begin_body (r, section, p[0], len, error);
}

/* After a recovery the section of RAM goes on whose start was on another connection.  QEMU forgets then which block it
 * named last (7.2: ram_state_resume_prepare()), so the first page names one.  1 yes, 0 no, -1 `*ret_need` bytes tell. */
static int
goes_on_with_ram (const GwStreamReader *r, const uint8_t *p, gsize avail, gsize *ret_need)
{
    *ret_need = 5 + 9;
    if (avail < *ret_need)
        return -1;
    uint64_t flags = gw_load_be64 (p + 5) & r->page_mask;
    gsize n = p[13];
    if ((flags != GW_RAM_PAGE && flags != GW_RAM_ZERO) || n == 0)
        return 0;
    *ret_need += n;
    return avail < *ret_need ? -1 : gw_stream_is_printable (p + 14, n);
}

static const GwStreamSection *
add_ram (GwStreamReader *r, uint32_t id)
{
    GwStreamSection *section = g_new0 (GwStreamSection, 1);
    section->id = id;
    section->name = g_strdup ("ram");
    section->version = RAM_VERSION;
    section->is_iterator = TRUE;
    g_hash_table_insert (r->sections, GUINT_TO_POINTER (id), section);
    return section;
}

static gssize
step_part (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    gsize need;
    if (avail < 5)
        return gw_reader_need (r, 5);
    const GwStreamSection *section = find_section (r, gw_load_be32 (p + 1));
    gboolean is_resumed = r->params.kind == GW_STREAM_SECTIONS && r->depth == 0 &&
                          g_hash_table_size (r->sections) < GW_STREAM_SECTIONS_MAX;
    if (section == NULL && is_resumed) {
        int is_ram = goes_on_with_ram (r, p, avail, &need);
        if (is_ram < 0)
            return gw_reader_need (r, need);
        section = is_ram > 0 ? add_ram (r, gw_load_be32 (p + 1)) : NULL;
    }
    if (section == NULL)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_SECTION, 1,
                              "expected the id of a section that was started, found %u",
                              gw_load_be32 (p + 1));
    if (!section->is_iterator)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_ORDER, 1,
                              "expected a part of an iterator, found one of '%s' (id %u)",
                              section->name, section->id);
    return begin_body (r, section, p[0], 5, error);
}

static gssize
step_eof (GwStreamReader *r, GError **error)
{
    GwStreamRecord record = { 0 };
    if (r->depth > 0)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_ORDER, 0,
                              "expected a section or a command, found the end mark in a package");
    gw_machine_move (&r->machine, GW_READ_AFTER_EOF);
    return gw_reader_emit (r, &record, GW_STREAM_EOF, 1, error);
}

gssize
gw_reader_step_section (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    switch (p[0]) {
    case GW_STREAM_BYTE_EOF:
        return step_eof (r, error);
    case GW_STREAM_BYTE_START:
    case GW_STREAM_BYTE_FULL:
        return step_start (r, p, avail, error);
    case GW_STREAM_BYTE_PART:
    case GW_STREAM_BYTE_END:
        return step_part (r, p, avail, error);
    case GW_STREAM_BYTE_COMMAND:
        return gw_reader_step_command (r, p, avail, error);
    case GW_STREAM_BYTE_SUBSECTION:
    case GW_STREAM_BYTE_VMDESC:
    case GW_STREAM_BYTE_CONFIGURATION:
    case GW_STREAM_BYTE_FOOTER:
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_ORDER, 0,
                              "expected a section, a command or the end mark, found type 0x%02x",
                              p[0]);
    default:
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_TYPE, 0,
                              "expected a type (0x00 to 0x04 or 0x08), found 0x%02x", p[0]);
    }
}

gssize
gw_reader_step_footer (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    GwStreamRecord record = { 0 };
    if (p[0] != GW_STREAM_BYTE_FOOTER)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_FOOTER, 0,
                              "expected a footer (0x7e), found 0x%02x", p[0]);
    if (avail < 5)
        return gw_reader_need (r, 5);
    if (gw_load_be32 (p + 1) != r->section->id)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_FOOTER, 1,
                              "expected the footer of id %u, found that of %u", r->section->id,
                              gw_load_be32 (p + 1));
    gw_machine_move (&r->machine, GW_READ_TYPE);
    gssize emitted = gw_reader_emit (r, &record, GW_STREAM_FOOTER, 5, error);
    r->section = NULL;
    return emitted;
}
