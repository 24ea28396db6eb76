/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whose journal it is: this machine's, and this very file.  A copy, or a file that was restored from a backup, lacks
 * what the original has written since, and must not be asked who owns a VM.
 */
#include "journal-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define MACHINE_ID "/etc/machine-id"

/* "" on a machine that has none: then the file alone tells. */
static char *
read_machine_id (void)
{
    char *text = NULL;
    if (!g_file_get_contents (MACHINE_ID, &text, NULL, NULL))
        return g_strdup ("");
    g_strstrip (text);
    if (strlen (text) > 64 || !g_str_is_ascii (text))
        *text = '\0';
    return text;
}

static gboolean
compare (GwJournal *journal, JsonObject *row, const char *machine, gint64 ino, GError **error)
{
    if (strcmp (gw_json_peek_string (row, "machine", ""), machine) != 0)
        return gw_fail (error, GW_CAUSE_JOURNAL_FOREIGN, "journal '%s' belongs to machine '%s', this one is '%s'",
                        journal->path, gw_json_peek_string (row, "machine", ""), machine);
    if (gw_json_peek_int (row, "ino", 0) != ino)
        return gw_fail (error, GW_CAUSE_JOURNAL_FOREIGN, "journal '%s' is a copy: it was inode %" G_GINT64_FORMAT
                        ", the file is %" G_GINT64_FORMAT, journal->path, gw_json_peek_int (row, "ino", 0), ino);
    return TRUE;
}

gboolean
gw_journal_verify_host (GwJournal *journal, GError **error)
{
    static const GwColumn columns[] = { { "machine", GW_COLUMN_TEXT, 0, 64 },
                                        { "ino", GW_COLUMN_INT, G_MININT64, G_MAXINT64 } };
    struct stat st;
    g_autofree char *machine = read_machine_id ();
    if (stat (journal->path, &st) != 0)
        return gw_fail (error, GW_CAUSE_JOURNAL_IO, "'%s': %s", journal->path, g_strerror (errno));
    g_autoptr (JsonArray) rows = gw_journal_collect (
        journal, gw_journal_query (journal, error, "SELECT machine, ino FROM host", ""), columns, error);
    if (rows == NULL)
        return FALSE;
    if (json_array_get_length (rows) > 0)
        return compare (journal, json_array_get_object_element (rows, 0), machine, (gint64) st.st_ino, error);
    return gw_journal_run (journal, error, "INSERT INTO host VALUES (1, ?1, ?2) ON CONFLICT DO NOTHING", "si",
                           machine, (gint64) st.st_ino);
}
