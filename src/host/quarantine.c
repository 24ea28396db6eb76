/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images of a job that died are not deleted on the word of the journal: they are put into a directory beside
 * them, `.godwit-quarantine`, for a day.  The journal says which file that is (an object of the kind "quarantine"), and a
 * file that is another one by then stays.
 */
#include "host-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY ".godwit-quarantine"
#define DAY_NS (G_GINT64_CONSTANT (86400) * 1000000000)

gboolean
gw_object_is_at (JsonObject *object, struct stat *ret_st)
{
    gint64 ino = gw_json_peek_int (object, "ino", 0);
    return ino != 0 && lstat (gw_json_peek_string (object, "path", ""), ret_st) == 0 && S_ISREG (ret_st->st_mode) &&
           (gint64) ret_st->st_ino == ino && (gint64) ret_st->st_dev == gw_json_peek_int (object, "dev", 0);
}

/* --- into it ---------------------------------------------------------------------------------------------------- */

static char *
choose_place (const GwWreck *wreck, const char *path, GError **error)
{
    g_autofree char *parent = g_path_get_dirname (path);
    g_autofree char *base = g_path_get_basename (path);
    g_autofree char *directory = g_build_filename (parent, DIRECTORY, NULL);
    if (mkdir (directory, 0700) != 0 && errno != EEXIST) {
        gw_fail (error, GW_CAUSE_HOST_IO, "cannot make '%s': %s", directory, g_strerror (errno));
        return NULL;
    }
    return g_strdup_printf ("%s/%s-%s", directory, wreck->job, base);
}

gboolean
gw_wreck_quarantine (const GwWreck *wreck, JsonObject *object, GError **error)
{
    const char *path = gw_json_peek_string (object, "path", "");
    struct stat st;
    if (!gw_object_is_at (object, &st))
        return TRUE; /* it is gone, or another one by now */
    g_autofree char *place = choose_place (wreck, path, error);
    const GwJournalObject kept = { .kind = GW_OBJECT_QUARANTINE, .path = place, .dev = (gint64) st.st_dev,
                                   .ino = (gint64) st.st_ino, .changed_ns = g_get_real_time () * 1000 };
    /* written first: what nobody knows of would stay for ever */
    if (place == NULL || !gw_journal_put_objects (wreck->journal, wreck->job, wreck->side, &kept, 1, error))
        return FALSE;
    return renameat2 (AT_FDCWD, path, AT_FDCWD, place, RENAME_NOREPLACE) == 0 ||
           gw_fail (error, GW_CAUSE_HOST_IO, "cannot move '%s' to '%s': %s", path, place, g_strerror (errno));
}

/* --- out of it ---------------------------------------------------------------------------------------------------- */

static gboolean
is_over (JsonObject *object)
{
    return g_get_real_time () * 1000 - gw_json_peek_int (object, "changed_ns", 0) > DAY_NS;
}

static gboolean
remove_kept (GwJournal *journal, JsonObject *object, GError **error)
{
    const char *path = gw_json_peek_string (object, "path", "");
    g_autofree char *directory = g_path_get_dirname (path);
    struct stat st;
    if (gw_object_is_at (object, &st) && unlink (path) != 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "cannot remove '%s': %s", path, g_strerror (errno));
    (void) rmdir (directory); /* others may be in it */
    return gw_journal_drop_object (journal, gw_json_peek_string (object, "job", ""),
                                   gw_side_from_name (gw_json_peek_string (object, "side", "")), GW_OBJECT_QUARANTINE,
                                   path, error);
}

static void
tell (JsonArray *told, JsonObject *object, const char *action)
{
    struct stat st;
    gint64 until_us = (gw_json_peek_int (object, "changed_ns", 0) + DAY_NS) / 1000;
    gint64 bytes = gw_object_is_at (object, &st) ? (gint64) st.st_blocks * 512 : -1;
    json_array_add_object_element (
        told, gw_json_new ("job:s", gw_json_peek_string (object, "job", ""), "path:s",
                           gw_json_peek_string (object, "path", ""), "action:s", action, "until_us:i", until_us,
                           "bytes:i", bytes, NULL));
}

gboolean
gw_quarantine_sweep (GwJournal *journal, GwSweep how, JsonArray *told, GError **error)
{
    g_autoptr (JsonArray) kept = gw_journal_list_kind (journal, GW_OBJECT_QUARANTINE, error);
    for (guint i = 0; kept != NULL && i < json_array_get_length (kept); i++) {
        JsonObject *object = json_array_get_object_element (kept, i);
        gboolean goes = how == GW_SWEEP_ALL || is_over (object);
        if (told != NULL)
            tell (told, object, !goes ? "stays" : how == GW_SWEEP_DRY ? "would be removed" : "removed");
        if (goes && how != GW_SWEEP_DRY && !remove_kept (journal, object, error))
            return FALSE;
    }
    return kept != NULL;
}
