/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands of the main stream, and the order that postcopy gives them. */
#include "internal.h"

#include <string.h>

#define HEAD_BYTES 5u /* type, number, length */
#define RANGE_BYTES 16u

typedef struct {
    unsigned number;
    const char *name;
    gsize least, most;
} NumberRow;

static const NumberRow commands[] = {
#define X(id, number, name, least, most) { number, name, least, most },
#include "commands.def"
#undef X
};

static const NumberRow messages[] = {
#define X(id, number, name, least, most) { number, name, least, most },
#include "return_path.def"
#undef X
};

/* Both tables are in the order of their numbers, which start at 1. */
static const NumberRow *
find_row (const NumberRow *rows, gsize n, unsigned number)
{
    return number >= 1 && number <= n ? &rows[number - 1] : NULL;
}

const char *
gw_stream_command_name (unsigned command)
{
    const NumberRow *row = find_row (commands, G_N_ELEMENTS (commands), command);
    return row != NULL ? row->name : "unknown";
}

const char *
gw_return_message_name (unsigned message)
{
    const NumberRow *row = find_row (messages, G_N_ELEMENTS (messages), message);
    return row != NULL ? row->name : "unknown";
}

gboolean
gw_command_fits (unsigned number, gsize len)
{
    const NumberRow *row = find_row (commands, G_N_ELEMENTS (commands), number);
    if (row == NULL || len < row->least || len > row->most)
        return FALSE;
    return number != GW_COMMAND_POSTCOPY_ADVISE || len == 0 || len == 16;
}

/* --- order ------------------------------------------------------------------------------------- */

/* Moves postcopy along; FALSE when the command may not come now.  A stream that starts in the
 * middle (a package alone, a recovery) is not held to an order. */
static gboolean
move_postcopy (GwStreamReader *r, unsigned number)
{
    static const guint to[] = {
        [GW_COMMAND_POSTCOPY_ADVISE] = GW_POSTCOPY_ADVISED,
        [GW_COMMAND_POSTCOPY_LISTEN] = GW_POSTCOPY_LISTEN,
        [GW_COMMAND_POSTCOPY_RUN] = GW_POSTCOPY_RUN,
        [GW_COMMAND_POSTCOPY_RAM_DISCARD] = GW_POSTCOPY_DISCARD,
    };
    if (r->params.kind != GW_STREAM_MAIN || number >= G_N_ELEMENTS (to) || to[number] == 0)
        return TRUE;
    if (to[number] == GW_POSTCOPY_DISCARD && r->postcopy.state == GW_POSTCOPY_DISCARD)
        return TRUE;
    if (!gw_machine_can (&r->postcopy, to[number]))
        return FALSE;
    gw_machine_move (&r->postcopy, to[number]);
    return TRUE;
}

static gboolean
check_order (GwStreamReader *r, unsigned number, GError **error)
{
    const char *name = gw_stream_command_name (number);
    if (number == GW_COMMAND_PACKAGED && r->depth > 0)
        gw_reader_bad (r, error, GW_CAUSE_STREAM_ORDER, 0,
                       "expected no package within a package, found one");
    else if (number == GW_COMMAND_PING && r->params.kind == GW_STREAM_MAIN && !r->has_return_path)
        gw_reader_bad (r, error, GW_CAUSE_STREAM_ORDER, 0,
                       "expected '%s' first, found '%s'",
                       gw_stream_command_name (GW_COMMAND_OPEN_RETURN_PATH), name);
    else if (!move_postcopy (r, number))
        gw_reader_bad (r, error, GW_CAUSE_STREAM_ORDER, 0,
                       "expected what may follow in postcopy state '%s', found '%s'",
                       gw_machine_state_name (&r->postcopy), name);
    else
        return TRUE;
    return FALSE;
}

/* --- payloads ---------------------------------------------------------------------------------- */

typedef struct {
    char block[256];
    GwStreamRange ranges[GW_STREAM_DISCARDS_MAX];
} CommandParts;

static gboolean
bad_form (GwStreamReader *r, unsigned number, gsize len, GError **error)
{
    gw_reader_bad (r, error, GW_CAUSE_STREAM_COMMAND, 1,
                   "expected a payload of the form of '%s', found %zu other bytes",
                   gw_stream_command_name (number), len);
    return FALSE;
}

static gboolean
take_discard (GwStreamReader *r, GwStreamRecord *record, CommandParts *parts, GError **error)
{
    const uint8_t *p = record->data;
    gsize len = record->data_length, n = p[1];
    if (p[0] != 0 || n == 0 || len < 3 + n + RANGE_BYTES || !gw_stream_is_printable (p + 2, n) || (len - 3 - n) % RANGE_BYTES != 0
        || p[2 + n] != 0 || (len - 3 - n) / RANGE_BYTES > GW_STREAM_DISCARDS_MAX)
        return bad_form (r, record->command.number, len, error);
    gw_stream_copy_name (parts->block, p + 2, n);
    record->command.n_ranges = (unsigned) ((len - 3 - n) / RANGE_BYTES);
    for (unsigned i = 0; i < record->command.n_ranges; i++) {
        const uint8_t *range = p + 3 + n + i * RANGE_BYTES;
        parts->ranges[i].start = gw_load_be64 (range);
        parts->ranges[i].length = gw_load_be64 (range + 8);
    }
    record->command.block = parts->block;
    record->command.ranges = parts->ranges;
    return TRUE;
}

static gboolean
take_payload (GwStreamReader *r, GwStreamRecord *record, CommandParts *parts, GError **error)
{
    const uint8_t *p = record->data;
    switch (record->command.number) {
    case GW_COMMAND_PING:
    case GW_COMMAND_PACKAGED:
        record->command.value = gw_load_be32 (p);
        return TRUE;
    case GW_COMMAND_POSTCOPY_ADVISE:
        if (record->data_length == 0)
            return TRUE;
        record->command.page_summary = gw_load_be64 (p);
        record->command.page_size = gw_load_be64 (p + 8);
        r->has_page_sizes = TRUE;
        return TRUE;
    case GW_COMMAND_POSTCOPY_RAM_DISCARD:
        return take_discard (r, record, parts, error);
    case GW_COMMAND_RECV_BITMAP:
        if (record->data_length != 1 + (gsize) p[0] || !gw_stream_is_printable (p + 1, p[0]))
            return bad_form (r, record->command.number, record->data_length, error);
        gw_stream_copy_name (parts->block, p + 1, p[0]);
        record->command.block = parts->block;
        return TRUE;
    case GW_COMMAND_OPEN_RETURN_PATH:
        r->has_return_path = TRUE;
        return TRUE;
    default:
        return TRUE;
    }
}

gssize
gw_reader_step_command (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error)
{
    GwStreamRecord record = { 0 };
    CommandParts parts;
    if (avail < HEAD_BYTES)
        return gw_reader_need (r, HEAD_BYTES);
    unsigned number = gw_load_be16 (p + 1);
    gsize len = gw_load_be16 (p + 3);
    if (!gw_command_fits (number, len))
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_COMMAND, 1,
                              "expected a known command of its length, found %u ('%s') of %zu bytes",
                              number, gw_stream_command_name (number), len);
    if (avail < HEAD_BYTES + len)
        return gw_reader_need (r, HEAD_BYTES + len);
    record.command.number = (uint16_t) number;
    record.data = p + HEAD_BYTES;
    record.data_length = len;
    if (!check_order (r, number, error) || !take_payload (r, &record, &parts, error))
        return GW_STEP_FAILED;
    if (number == GW_COMMAND_PACKAGED && record.command.value == 0)
        return gw_reader_bad (r, error, GW_CAUSE_STREAM_LIMIT, HEAD_BYTES,
                              "expected a package of at least one byte, found none");
    gssize emitted = gw_reader_emit (r, &record, GW_STREAM_COMMAND, HEAD_BYTES + len, error);
    if (number == GW_COMMAND_PACKAGED) {
        r->depth = 1;
        r->package_end = r->push.offset + HEAD_BYTES + len + record.command.value;
    }
    return emitted;
}
