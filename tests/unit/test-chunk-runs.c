/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs of chunks: each chunk is kept, there are never too many runs, and none from a peer leaves its disk. */
#include "host-internal.h"

#define MIB GW_CHUNK_BYTES

static GArray *
make (const char *text)
{
    GArray *runs = gw_chunk_runs_new (NULL);
    g_auto (GStrv) words = g_strsplit (text, " ", -1);
    for (guint i = 0; words[i] != NULL && *words[i] != '\0'; i++) {
        g_auto (GStrv) parts = g_strsplit (words[i], "+", 2);
        g_auto (GStrv) place = g_strsplit (parts[0], ":", 2);
        GwChunkRun run = { (guint) g_ascii_strtoull (place[0], NULL, 10),
                           g_ascii_strtoll (place[1], NULL, 10), g_ascii_strtoll (parts[1], NULL, 10) };
        g_array_append_val (runs, run);
    }
    return runs;
}

static char *
tell (const GArray *runs)
{
    GString *text = g_string_new (NULL);
    for (guint i = 0; i < runs->len; i++) {
        const GwChunkRun *run = &g_array_index (runs, GwChunkRun, i);
        g_string_append_printf (text, "%s%u:%" G_GINT64_FORMAT "+%" G_GINT64_FORMAT, i > 0 ? " " : "",
                                run->disk, run->first, run->count);
    }
    return g_string_free (text, FALSE);
}

/* disk:first+count */
static void
test_merge (void)
{
    static const struct {
        const char *runs, *merged;
        guint most;
    } rows[] = {
        { "", "", 4 },
        { "0:5+1 0:3+2 1:0+1 0:4+3", "0:3+4 1:0+1", 9 },
        { "0:0+9 0:2+1", "0:0+9", 9 },
        { "0:0+1 0:2+1", "0:0+1 0:2+1", 2 },
        { "0:0+1 0:2+1", "0:0+3", 1 },
        { "0:0+1 0:2+1 0:100+1 0:102+1", "0:0+3 0:100+3", 3 },     /* the smallest gaps go first */
        { "0:0+1 0:100+1 1:0+1 1:100+1", "0:0+101 1:0+101", 2 },   /* never over two disks */
        { "0:0+1 0:100+1 1:0+1 1:100+1", "0:0+101 1:0+101", 1 },   /* a run a disk is the least */
        { "0:0+1 0:8796093022207+1", "0:0+8796093022208", 1 },     /* the ends of the largest disk */
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GArray) runs = make (rows[i].runs);
        gw_chunk_runs_merge (runs, rows[i].most);
        g_autofree char *text = tell (runs);
        g_assert_cmpstr (text, ==, rows[i].merged);
    }
}

/* A guest that writes everywhere on a huge disk. */
static void
test_scattered (void)
{
    g_autoptr (GArray) runs = gw_chunk_runs_new (NULL);
    g_autoptr (GArray) disks = gw_chunk_disks_new (NULL);
    g_autoptr (GError) error = NULL;
    gw_chunk_disks_add (disks, 3000000 * MIB);
    for (gint64 i = 0; i < 1000000; i++)
        gw_chunk_runs_add (runs, 0, 3 * i, 1);
    gw_chunk_runs_merge (runs, GW_CHUNK_RUNS_MAX);
    g_assert_cmpuint (runs->len, <=, GW_CHUNK_RUNS_MAX);
    g_autoptr (JsonArray) list = gw_chunk_runs_to_json (runs);
    g_autoptr (GArray) back = gw_chunk_runs_from_json (list, disks, &error);
    g_assert_no_error (error);
    g_assert_cmpint (gw_chunk_runs_count (back), ==, gw_chunk_runs_count (runs));
}

static void
test_appended (void)
{
    g_autoptr (GArray) runs = gw_chunk_runs_new (NULL);
    gw_chunk_runs_add (runs, 0, 4, 2);
    gw_chunk_runs_add (runs, 0, 5, 1);
    gw_chunk_runs_add (runs, 0, 6, 1);
    gw_chunk_runs_add (runs, 1, 7, 1);
    gw_chunk_runs_add (runs, 1, 2, 1);
    g_autofree char *text = tell (runs);
    g_assert_cmpstr (text, ==, "0:4+3 1:7+1 1:2+1");
}

static void
test_disks (void)
{
    g_autoptr (GArray) disks = gw_chunk_disks_new (NULL);
    gw_chunk_disks_add (disks, 0);
    gw_chunk_disks_add (disks, MIB);
    gw_chunk_disks_add (disks, MIB + 1);
    gw_chunk_disks_add (disks, G_MAXINT64);
    g_autoptr (GArray) runs = gw_chunk_runs_new (disks);
    g_autofree char *text = tell (runs);
    g_assert_cmpstr (text, ==, "0:0+0 1:0+1 2:0+2 3:0+8796093022208");
    g_assert_cmpint (g_array_index (disks, gint64, 3), ==, GW_CHUNKS_MAX);
}

/* Two disks of 10 and 4 chunks. */
static void
test_from_a_peer (void)
{
    static const struct {
        const char *text;
        gboolean is_good;
    } rows[] = {
        { "[]", TRUE },
        { "[0,0,10,1,0,4]", TRUE },
        { "[0,0,5,0,5,5]", TRUE },
        { "[0,10,0]", TRUE },
        { "[0,0]", FALSE },
        { "[2,0,1]", FALSE },
        { "[-1,0,1]", FALSE },
        { "[4294967296,0,1]", FALSE },
        { "[0,-1,1]", FALSE },
        { "[0,0,-1]", FALSE },
        { "[0,11,0]", FALSE },
        { "[1,1,4]", FALSE },
        { "[0,9223372036854775807,9223372036854775807]", FALSE },
        { "[0,0,10,0,0,1]", FALSE },    /* more than the disk has */
        { "[0,0,6,1,0,1,0,0,6]", FALSE },
        { "[0,\"0\",1]", FALSE },
        { "[0,{\"a\":1},1]", FALSE },
        { "[0,[1],1]", FALSE },
        { "[0,null,1]", FALSE },
        { "[0,0.5,1]", FALSE },
    };
    g_autoptr (GArray) disks = gw_chunk_disks_new (NULL);
    gw_chunk_disks_add (disks, 10 * MIB);
    gw_chunk_disks_add (disks, 4 * MIB - 1);
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GError) error = NULL;
        g_autoptr (JsonNode) node = json_from_string (rows[i].text, NULL);
        g_autoptr (GArray) runs = gw_chunk_runs_from_json (json_node_get_array (node), disks, &error);
        g_assert_true ((runs != NULL) == rows[i].is_good);
        g_assert_cmpint (gw_error_get_cause (error), ==,
                         rows[i].is_good ? GW_CAUSE_NONE : GW_CAUSE_RPC_INVALID);
    }
}

static void
test_too_many_or_none (void)
{
    g_autoptr (GArray) disks = gw_chunk_disks_new (NULL);
    g_autoptr (JsonArray) list = json_array_new ();
    g_autoptr (GError) error = NULL;
    gw_chunk_disks_add (disks, G_MAXINT64);
    for (guint i = 0; i < 3 * (GW_CHUNK_RUNS_MAX + 1); i++)
        json_array_add_int_element (list, 0);
    g_assert_null (gw_chunk_runs_from_json (list, disks, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_RPC_INVALID);
    g_clear_error (&error);
    g_assert_null (gw_chunk_runs_from_json (NULL, disks, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_RPC_INVALID);
}

/* --- a peer that says more than it was asked --- */

static JsonObject *
answer_three (GwHost *host, GwRpcMethod method, JsonObject *params, GCancellable *cancellable, GError **error)
{
    return gw_json_new ("done:b", FALSE, "hashes:s",
                        "00000000000000010000000000000002ffffffffffffffff", NULL);
}

static void
test_hashes (void)
{
    const GwHostOps ops = { .call = answer_three };
    GwHost host = { .ops = &ops };
    g_autoptr (GArray) hashes = g_array_new (FALSE, FALSE, sizeof (guint64));
    g_autoptr (GError) error = NULL;
    gboolean is_done = TRUE;
    g_assert_true (gw_host_get_hashes (&host, 5, hashes, &is_done, NULL, &error));
    g_assert_no_error (error);
    g_assert_cmpuint (hashes->len, ==, 3);
    g_assert_cmpuint (g_array_index (hashes, guint64, 2), ==, G_MAXUINT64);
    g_assert_false (is_done);
    g_assert_false (gw_host_get_hashes (&host, 5, hashes, &is_done, NULL, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_RPC_INVALID);
    g_assert_cmpuint (hashes->len, ==, 3);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/chunk-runs/merge", test_merge);
    g_test_add_func ("/chunk-runs/scattered", test_scattered);
    g_test_add_func ("/chunk-runs/appended", test_appended);
    g_test_add_func ("/chunk-runs/disks", test_disks);
    g_test_add_func ("/chunk-runs/from-a-peer", test_from_a_peer);
    g_test_add_func ("/chunk-runs/too-many-or-none", test_too_many_or_none);
    g_test_add_func ("/chunk-runs/hashes", test_hashes);
    return g_test_run ();
}
