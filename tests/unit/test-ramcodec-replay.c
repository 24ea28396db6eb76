/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sends recorded lanes through the codec: test-ramcodec-replay main|preempt FILE...  With nothing left
 * out the bytes must be the same, otherwise the memory; at several splits and budgets.
 */
#include "test-ramcodec-lane.h"

static GByteArray *
read_file (const char *path)
{
    g_autoptr (GError) error = NULL;
    char *data;
    gsize len;
    if (!g_file_get_contents (path, &data, &len, &error))
        g_error ("%s", error->message);
    return g_byte_array_new_take ((guint8 *) data, len);
}

static void
replay (const GByteArray *stream, const Trip *trip)
{
    Arrival arrival = trip_go (trip, stream->data, stream->len);
    g_assert_false (arrival.is_passing);
    if (!trip->params.can_leave_out)
        g_assert_cmpmem (arrival.out->data, arrival.out->len, stream->data, stream->len);
    else if (trip->params.kind == GW_STREAM_MAIN)
        assert_equivalent (stream, arrival.out);
    for (guint i = 0; i < GW_RAM_N_CLASSES; i++)
        g_print ("%s %" G_GUINT64_FORMAT " ", gw_ram_class_name (i), arrival.counters.classes[i].pages);
    g_print ("urgent %zu wire %zu of %u\n", arrival.n_urgent, arrival.wire, stream->len);
    arrival_clear (&arrival);
}

int
main (int argc, char **argv)
{
    static const struct {
        gsize most;
        uint64_t memory;
        gboolean can_leave_out, is_chained;
    } rows[] = {
        { 0, 32 << 20, FALSE, FALSE },     { 70000, 32 << 20, FALSE, TRUE }, { 500, 1 << 20, FALSE, FALSE },
        { 100000, 32 << 20, TRUE, TRUE }, { 33000, 100000, TRUE, FALSE },   { 100000, 0, TRUE, TRUE },
    };
    if (argc < 3)
        return 1;
    for (int i = 2; i < argc; i++) {
        g_autoptr (GByteArray) stream = read_file (argv[i]);
        for (guint k = 0; k < G_N_ELEMENTS (rows); k++) {
            Trip trip;
            trip_init (&trip);
            trip.seed = k;
            trip.most = rows[k].most;
            trip.params.memory_bytes = rows[k].memory;
            trip.params.can_leave_out = rows[k].can_leave_out;
            trip.is_chained = rows[k].is_chained;
            trip.params.kind = strcmp (argv[1], "preempt") == 0 ? GW_STREAM_PREEMPT : GW_STREAM_MAIN;
            replay (stream, &trip);
        }
    }
    return 0;
}
