/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reader of the main stream, in each of its kinds.  The first byte chooses parameters and how the rest is cut. */
#include "fuzz-stream-common.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static gboolean
on_record (const GwStreamRecord *record, gpointer user_data, GError **error)
{
    FuzzLog *log = user_data;
    fuzz_log_add (log, record->type, record->offset, record->length);
    gw_stream_put_record (log->again, record);
    return TRUE;
}

static void
run (const GwStreamParams *params, const uint8_t *data, size_t size, size_t piece, FuzzLog *log,
     GError **error)
{
    g_autoptr (GwStreamReader) reader = gw_stream_reader_new (params, on_record, log);
    fuzz_log_init (log);
    while (size > 0) {
        size_t n = piece > 0 && piece < size ? piece : size;
        if (!gw_stream_reader_push (reader, data, n, error))
            return;
        data += n;
        size -= n;
    }
    (void) gw_stream_reader_finish (reader, error); /* the error is what is compared */
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    g_autoptr (GError) first = NULL, second = NULL;
    FuzzLog whole, pieces;
    GwStreamParams params;
    if (size == 0)
        return 0;
    gw_stream_params_init (&params);
    params.page_size = (data[0] & 0x80) ? 1024 : 4096;
    params.kind = (GwStreamKind) ((data[0] >> 5 & 3) % 3);
    params.has_footers = (data[0] & 0x1f) != 0x1f;
    params.max_section_bytes = 8192;
    params.max_bitmap_bytes = 4096;
    run (&params, data + 1, size - 1, 0, &whole, &first);
    run (&params, data + 1, size - 1, 1 + (data[0] & 0x1f), &pieces, &second);
    fuzz_log_check (&whole, data + 1, size - 1);
    fuzz_compare (&whole, first, &pieces, second);
    fuzz_log_clear (&whole);
    fuzz_log_clear (&pieces);
    return 0;
}
