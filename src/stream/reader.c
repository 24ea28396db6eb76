/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The main stream's reader: its life, its states, its errors. */
#include "internal.h"

#include <string.h>

#define M(state) (1u << GW_READ_##state)
#define AFTER_BODY (M (FOOTER) | M (TYPE))

static const GwState read_states[] = {
    [GW_READ_IDLE] = { "idle", M (HEADER) | M (TYPE) | M (RAM), GW_STATE_INITIAL },
    [GW_READ_HEADER] = { "header", M (FIRST), 0 },
    [GW_READ_FIRST] = { "first", M (CONFIG) | M (TYPE), 0 },
    [GW_READ_CONFIG] = { "config", M (TYPE), 0 },
    [GW_READ_TYPE] = { "type", M (RAM) | M (BITMAP) | M (DEVICE) | M (AFTER_EOF), 0 },
    [GW_READ_RAM] = { "ram", M (RAM_BLOCKS) | AFTER_BODY, 0 },
    [GW_READ_RAM_BLOCKS] = { "ram-blocks", M (RAM) | M (RAM_MAPPED), 0 },
    [GW_READ_RAM_MAPPED] = { "ram-mapped", M (RAM_BLOCKS), 0 },
    [GW_READ_BITMAP] = { "bitmap", AFTER_BODY, 0 },
    [GW_READ_DEVICE] = { "device", AFTER_BODY, 0 },
    [GW_READ_FOOTER] = { "footer", M (TYPE), 0 },
    [GW_READ_AFTER_EOF] = { "after-eof", M (DONE), 0 },
    [GW_READ_DONE] = { "done", 0, GW_STATE_FINAL },
};
static const GwMachineTable read_table = { "stream-reader", read_states,
                                           G_N_ELEMENTS (read_states) };

#define P(state) (1u << GW_POSTCOPY_##state)
static const GwState postcopy_states[] = {
    [GW_POSTCOPY_NONE] = { "none", P (ADVISED), GW_STATE_INITIAL },
    [GW_POSTCOPY_ADVISED] = { "advised", P (DISCARD) | P (LISTEN), 0 },
    [GW_POSTCOPY_DISCARD] = { "discard", P (LISTEN), 0 },
    [GW_POSTCOPY_LISTEN] = { "listen", P (RUN), 0 },
    [GW_POSTCOPY_RUN] = { "run", 0, GW_STATE_FINAL },
};
static const GwMachineTable postcopy_table = { "stream-postcopy", postcopy_states,
                                               G_N_ELEMENTS (postcopy_states) };

static const char *const record_names[] = {
    [GW_STREAM_HEADER] = "header",
    [GW_STREAM_CONFIGURATION] = "configuration",
    [GW_STREAM_CONFIG_PAGE_BITS] = "configuration-page-bits",
    [GW_STREAM_CONFIG_CAPABILITIES] = "configuration-capabilities",
    [GW_STREAM_CONFIG_UUID] = "configuration-uuid",
    [GW_STREAM_SECTION] = "section",
    [GW_STREAM_FOOTER] = "footer",
    [GW_STREAM_DEVICE] = "device",
    [GW_STREAM_RAM_LIST] = "ram-list",
    [GW_STREAM_RAM_BLOCK] = "ram-block",
    [GW_STREAM_RAM_MAPPED] = "ram-mapped",
    [GW_STREAM_RAM_ZERO] = "ram-zero",
    [GW_STREAM_RAM_PAGE] = "ram-page",
    [GW_STREAM_RAM_XBZRLE] = "ram-xbzrle",
    [GW_STREAM_RAM_COMPRESSED] = "ram-compressed",
    [GW_STREAM_RAM_FLUSH] = "ram-flush",
    [GW_STREAM_RAM_EOS] = "ram-eos",
    [GW_STREAM_BITMAP] = "dirty-bitmap",
    [GW_STREAM_COMMAND] = "command",
    [GW_STREAM_PACKAGE_END] = "package-end",
    [GW_STREAM_EOF] = "eof",
    [GW_STREAM_VMDESC] = "vmdesc",
};
G_STATIC_ASSERT (G_N_ELEMENTS (record_names) == GW_STREAM_N_RECORDS);

const char *
gw_stream_record_name (GwStreamRecordType type)
{
    return (unsigned) type < GW_STREAM_N_RECORDS ? record_names[type] : "unknown";
}

void
gw_stream_params_init (GwStreamParams *params)
{
    *params = (GwStreamParams){
        .kind = GW_STREAM_MAIN,
        .page_size = 4096,
        .has_footers = TRUE,
        .checks_vmdesc = TRUE,
        .max_section_bytes = 64 << 20,
        .max_vmdesc_bytes = 64 << 20,
        .max_bitmap_bytes = 64 << 20,
    };
}

/* --- errors and records ------------------------------------------------------------------------ */

gssize
gw_reader_bad (GwStreamReader *r, GError **error, GwCause cause, gsize at, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autofree char *what = g_strdup_vprintf (format, args);
    va_end (args);
    uint64_t offset = r->push.offset + at;
    if (r->section == NULL) {
        gw_fail (error, cause, "offset %" G_GUINT64_FORMAT ": %s", offset, what);
    } else {
        g_autofree char *name = gw_text_clean (r->section->name, -1, 255);
        gw_fail (error, cause, "offset %" G_GUINT64_FORMAT ", section '%s' (id %u, instance %u): %s",
                 offset, name, r->section->id, r->section->instance, what);
    }
    return GW_STEP_FAILED;
}

gssize
gw_reader_emit (GwStreamReader *r, GwStreamRecord *record, GwStreamRecordType type, gsize length,
                GError **error)
{
    record->type = type;
    record->depth = r->depth;
    record->offset = r->push.offset;
    record->length = length;
    record->page_size = r->page_mask + 1;
    record->section = r->section;
    if (r->sink (record, r->user_data, error))
        return (gssize) length;
    g_assert (error == NULL || *error != NULL);
    return GW_STEP_FAILED;
}

gssize
gw_reader_need (GwStreamReader *r, gsize need)
{
    return gw_push_need (&r->push, need, need);
}

void
gw_reader_end_body (GwStreamReader *r)
{
    if (r->params.has_footers) {
        gw_machine_move (&r->machine, GW_READ_FOOTER);
    } else {
        gw_machine_move (&r->machine, GW_READ_TYPE);
        r->section = NULL;
    }
}

/* --- header and end ---------------------------------------------------------------------------- */

static gssize
step_header (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    GwStreamRecord record = { 0 };
    if (avail < 8)
        return gw_reader_need (r, 8);
    if (gw_load_be32 (p) != GW_STREAM_MAGIC)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_MAGIC, 0,
                              "expected the magic 0x%08x, found 0x%08x", GW_STREAM_MAGIC,
                              gw_load_be32 (p));
    if (gw_load_be32 (p + 4) != GW_STREAM_VERSION)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_MAGIC, 4,
                              "expected stream version %u, found %u", GW_STREAM_VERSION,
                              gw_load_be32 (p + 4));
    gw_machine_move (&r->machine, GW_READ_FIRST);
    return gw_reader_emit (r, &record, GW_STREAM_HEADER, 8, error);
}

/* The devices of the vmdesc must be the FULL sections seen, in order. */
static gboolean
check_vmdesc (GwStreamReader *r, const uint8_t *json, gsize len, GError **error)
{
    g_autoptr (GwVmdesc) vmdesc = gw_vmdesc_parse ((const char *) json, len, error);
    if (vmdesc == NULL) {
        g_prefix_error (error, "offset %" G_GUINT64_FORMAT ": ", r->push.offset + 5);
        return FALSE;
    }
    unsigned n = gw_vmdesc_get_n_devices (vmdesc);
    for (unsigned i = 0; i < MIN (n, r->devices->len); i++) {
        const GwVmdescDevice *expected = gw_vmdesc_get_device (vmdesc, i);
        const GwStreamSection *found = g_ptr_array_index (r->devices, i);
        if (strcmp (expected->name, found->name) == 0 && expected->instance == found->instance)
            continue;
        g_autofree char *a = gw_text_clean (expected->name, -1, 255);
        g_autofree char *b = gw_text_clean (found->name, -1, 255);
        return gw_fail (error, GW_CAUSE_STREAM_VMDESC,
                        "offset %" G_GUINT64_FORMAT ": device %u: expected section '%s' instance "
                        "%u, found '%s' instance %u",
                        r->push.offset, i, a, expected->instance, b, found->instance);
    }
    if (n != r->devices->len)
        return gw_fail (error, GW_CAUSE_STREAM_VMDESC,
                        "offset %" G_GUINT64_FORMAT ": expected %u devices, found %u sections",
                        r->push.offset, n, r->devices->len);
    return TRUE;
}

static gssize
step_after_eof (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    GwStreamRecord record = { 0 };
    if (p[0] != GW_STREAM_BYTE_VMDESC)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_TRAILING, 0,
                              "expected a vmdesc (0x06) or the end, found 0x%02x", p[0]);
    if (avail < 5)
        return gw_reader_need (r, 5);
    gsize len = gw_load_be32 (p + 1);
    if (len > r->params.max_vmdesc_bytes)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_LIMIT, 1,
                              "expected a vmdesc of at most %zu bytes, found %zu",
                              r->params.max_vmdesc_bytes, len);
    if (avail < 5 + len)
        return gw_reader_need (r, 5 + len);
    if (r->params.checks_vmdesc && !check_vmdesc (r, p + 5, len, error))
        return GW_STEP_FAILED;
    record.data = p + 5;
    record.data_length = len;
    gw_machine_move (&r->machine, GW_READ_DONE);
    return gw_reader_emit (r, &record, GW_STREAM_VMDESC, 5 + len, error);
}

static gssize
step_done (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    return gw_reader_bad (r, error, GW_CAUSE_STREAM_TRAILING, 0,
                          "expected the end, found 0x%02x", p[0]);
}

/* --- the step ---------------------------------------------------------------------------------- */

typedef gssize (*ReaderStep) (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error);

static const ReaderStep steps[] = {
    [GW_READ_HEADER] = step_header,
    [GW_READ_FIRST] = gw_reader_step_config,
    [GW_READ_CONFIG] = gw_reader_step_config_part,
    [GW_READ_TYPE] = gw_reader_step_section,
    [GW_READ_RAM] = gw_reader_step_ram,
    [GW_READ_RAM_BLOCKS] = gw_reader_step_ram_block,
    [GW_READ_RAM_MAPPED] = gw_reader_step_mapped,
    [GW_READ_BITMAP] = gw_reader_step_bitmap,
    [GW_READ_DEVICE] = gw_reader_step_device,
    [GW_READ_FOOTER] = gw_reader_step_footer,
    [GW_READ_AFTER_EOF] = step_after_eof,
    [GW_READ_DONE] = step_done,
};
G_STATIC_ASSERT (G_N_ELEMENTS (steps) == G_N_ELEMENTS (read_states));

/* After `n` bytes were consumed within a package: is it over? */
static gboolean
end_package (GwStreamReader *r, gsize n, GError **error)
{
    GwStreamRecord record = { 0 };
    if (r->push.offset + n < r->package_end)
        return TRUE;
    if (r->machine.state != GW_READ_TYPE) {
        gw_reader_bad (r, error, GW_CAUSE_STREAM_TRUNCATED, n,
                       "the package ends within a section (state %s)",
                       gw_machine_state_name (&r->machine));
        return FALSE;
    }
    r->depth = 0;
    r->push.offset += n;
    gssize emitted = gw_reader_emit (r, &record, GW_STREAM_PACKAGE_END, 0, error);
    r->push.offset -= n;
    return emitted != GW_STEP_FAILED;
}

static gssize
step_in_package (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    uint64_t left = r->package_end - r->push.offset;
    r->is_bounded = avail >= left;
    gsize seen = r->is_bounded ? (gsize) left : avail;
    gssize n = steps[r->machine.state](r, p, seen, error);
    if (n == GW_STEP_MORE && r->push.need > left)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_TRUNCATED, 0,
                              "expected %zu bytes more, but the package has only %" G_GUINT64_FORMAT,
                              r->push.need, left);
    if (n > 0 && !end_package (r, (gsize) n, error))
        return GW_STEP_FAILED;
    return n;
}

static gssize
step_reader (gpointer reader, const uint8_t *p, gsize avail, GError **error)
{
    GwStreamReader *r = reader;
    if (r->depth > 0)
        return step_in_package (r, p, avail, error);
    return steps[r->machine.state](r, p, avail, error);
}

/* --- life -------------------------------------------------------------------------------------- */

void
gw_stream_section_free (GwStreamSection *section)
{
    g_free (section->name);
    g_free (section);
}

void
gw_stream_block_free (GwStreamBlock *block)
{
    g_free (block->name);
    g_free (block);
}

static void
start (GwStreamReader *r)
{
    static const guint first[] = {
        [GW_STREAM_MAIN] = GW_READ_HEADER,
        [GW_STREAM_SECTIONS] = GW_READ_TYPE,
        [GW_STREAM_PREEMPT] = GW_READ_RAM,
    };
    gw_machine_init (&r->machine, &read_table, NULL, NULL);
    gw_machine_move (&r->machine, first[r->params.kind]);
}

GwStreamReader *
gw_stream_reader_new (const GwStreamParams *params, GwStreamSink sink, gpointer user_data)
{
    g_assert (params->page_size >= GW_STREAM_PAGE_MIN && params->page_size <= GW_STREAM_PAGE_MAX);
    g_assert ((params->page_size & (params->page_size - 1)) == 0);
    GwStreamReader *r = g_new0 (GwStreamReader, 1);
    r->params = *params;
    r->sink = sink;
    r->user_data = user_data;
    r->page_mask = params->page_size - 1;
    r->has_ignore_shared = params->has_ignore_shared;
    r->has_mapped_ram = params->has_mapped_ram;
    r->sections = g_hash_table_new_full (NULL, NULL, NULL, (GDestroyNotify) gw_stream_section_free);
    r->devices = g_ptr_array_new ();
    r->blocks = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_stream_block_free);
    r->block_names = g_hash_table_new (g_str_hash, g_str_equal);
    gw_machine_init (&r->postcopy, &postcopy_table, NULL, NULL);
    gw_push_init (&r->push, step_reader, r);
    start (r);
    return r;
}

void
gw_stream_reader_free (GwStreamReader *r)
{
    if (r == NULL)
        return;
    gw_push_clear (&r->push);
    g_hash_table_unref (r->block_names);
    g_ptr_array_unref (r->blocks);
    g_ptr_array_unref (r->devices);
    g_hash_table_unref (r->sections);
    g_free (r);
}

void
gw_stream_reader_reconnect (GwStreamReader *r)
{
    gw_push_clear (&r->push);
    gw_push_init (&r->push, step_reader, r);
    r->params.kind = r->params.kind == GW_STREAM_PREEMPT ? GW_STREAM_PREEMPT : GW_STREAM_SECTIONS;
    r->section = NULL;
    r->block = NULL;
    r->depth = 0;
    r->scan = 0;
    r->has_return_path = TRUE;
    start (r);
}

gboolean
gw_stream_reader_push (GwStreamReader *r, const uint8_t *data, gsize len, GError **error)
{
    return gw_push_feed (&r->push, data, len, error);
}

static gboolean
may_end (const GwStreamReader *r)
{
    if (r->push.carry->len > 0 || r->depth > 0)
        return FALSE;
    switch (r->machine.state) {
    case GW_READ_AFTER_EOF:
    case GW_READ_DONE:
        return TRUE;
    case GW_READ_RAM:
    case GW_READ_TYPE:
        return r->params.kind == (r->machine.state == GW_READ_RAM ? GW_STREAM_PREEMPT
                                                                   : GW_STREAM_SECTIONS);
    default:
        return FALSE;
    }
}

/* A device section whose footer and end mark are the very last bytes waits for what follows. */
static gboolean
finish_carry (GwStreamReader *r, GError **error)
{
    r->is_ending = TRUE;
    while (r->push.carry->len > 0 && r->depth == 0) {
        gssize n = step_reader (r, r->push.carry->data, r->push.carry->len, error);
        if (n == GW_STEP_FAILED)
            return FALSE;
        if (n == GW_STEP_MORE)
            break;
        r->push.offset += (gsize) n;
        g_byte_array_remove_range (r->push.carry, 0, (guint) n);
    }
    return TRUE;
}

gboolean
gw_stream_reader_finish (GwStreamReader *r, GError **error)
{
    g_autoptr (GError) local = NULL;
    if (r->push.failed == NULL && finish_carry (r, &local) && !may_end (r))
        gw_reader_bad (r, &local, GW_CAUSE_STREAM_TRUNCATED, r->push.carry->len,
                       "the stream ends (state %s, %u bytes of the record are there)",
                       gw_machine_state_name (&r->machine), r->push.carry->len);
    if (r->push.failed == NULL)
        r->push.failed = g_steal_pointer (&local);
    if (r->push.failed == NULL)
        return TRUE;
    g_propagate_error (error, g_error_copy (r->push.failed));
    return FALSE;
}

/* --- what it knows ----------------------------------------------------------------------------- */

uint64_t
gw_stream_reader_get_offset (const GwStreamReader *r)
{
    return r->push.offset;
}

gboolean
gw_stream_reader_holds_ram (const GwStreamReader *r)
{
    return r->machine.state == GW_READ_RAM && r->push.carry->len > 0;
}

gboolean
gw_stream_reader_is_complete (const GwStreamReader *r)
{
    return r->machine.state == GW_READ_AFTER_EOF || r->machine.state == GW_READ_DONE;
}

uint32_t
gw_stream_reader_get_page_size (const GwStreamReader *r)
{
    return r->page_mask + 1;
}

unsigned
gw_stream_reader_get_n_blocks (const GwStreamReader *r)
{
    return r->blocks->len;
}

const GwStreamBlock *
gw_stream_reader_get_block (const GwStreamReader *r, unsigned index)
{
    return index < r->blocks->len ? g_ptr_array_index (r->blocks, index) : NULL;
}

const GwStreamSection *
gw_stream_reader_get_section (const GwStreamReader *r)
{
    return r->section;
}
