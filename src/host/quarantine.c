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

/* Who may write beside the image may have put a link there, or put it there between two looks: so the directory is opened
 * once.  One of somebody else's is as good; on NFS even ours is. */
static GwFd
open_place (int parent, const char *parent_path, GError **error)
{
    if (mkdirat (parent, DIRECTORY, 0700) != 0 && errno != EEXIST) {
        gw_fail (error, GW_CAUSE_HOST_IO, "cannot make '%s/%s': %s", parent_path, DIRECTORY, g_strerror (errno));
        return -1;
    }
    g_auto (GwFd) fd = openat (parent, DIRECTORY, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        gw_fail (error, GW_CAUSE_HOST_IO, "cannot open '%s/%s' as a directory: %s", parent_path, DIRECTORY,
                 g_strerror (errno));
    return gw_fd_steal (&fd);
}

/* What was moved is the file that was looked at, or goes back. */
static gboolean
move (int parent, const char *base, int place, const char *name, JsonObject *object, GError **error)
{
    const char *path = gw_json_peek_string (object, "path", "");
    struct stat st;
    if (renameat2 (parent, base, place, name, RENAME_NOREPLACE) != 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "cannot move '%s' into quarantine: %s", path, g_strerror (errno));
    if (fstatat (place, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        (gint64) st.st_ino == gw_json_peek_int (object, "ino", 0) &&
        (gint64) st.st_dev == gw_json_peek_int (object, "dev", 0))
        return TRUE;
    (void) renameat2 (place, name, parent, base, RENAME_NOREPLACE); /* what it is, is somebody else's to say */
    return gw_fail (error, GW_CAUSE_HOST_IO, "'%s' became another file while it was moved", path);
}

gboolean
gw_wreck_quarantine (const GwWreck *wreck, JsonObject *object, GError **error)
{
    const char *path = gw_json_peek_string (object, "path", "");
    struct stat st;
    if (!gw_object_is_at (object, &st))
        return TRUE; /* it is gone, or another one by now */
    g_autofree char *parent_path = g_path_get_dirname (path), *base = g_path_get_basename (path);
    g_autofree char *name = g_strdup_printf ("%s-%s", wreck->job, base);
    g_autofree char *kept_path = g_build_filename (parent_path, DIRECTORY, name, NULL);
    const GwJournalObject kept = { .kind = GW_OBJECT_QUARANTINE, .path = kept_path, .dev = (gint64) st.st_dev,
                                   .ino = (gint64) st.st_ino, .changed_ns = g_get_real_time () * 1000 };
    g_auto (GwFd) parent = open (parent_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return gw_fail (error, GW_CAUSE_HOST_IO, "cannot open '%s': %s", parent_path, g_strerror (errno));
    g_auto (GwFd) place = open_place (parent, parent_path, error);
    /* written first: what nobody knows of would stay for ever */
    return place >= 0 && gw_journal_put_objects (wreck->journal, wreck->job, wreck->side, &kept, 1, error) &&
           move (parent, base, place, name, object, error);
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
tell (JsonArray *told, JsonObject *object, gint64 bytes, const char *action)
{
    gint64 until_us = (gw_json_peek_int (object, "changed_ns", 0) + DAY_NS) / 1000;
    json_array_add_object_element (
        told, gw_json_new ("job:s", gw_json_peek_string (object, "job", ""), "path:s",
                           gw_json_peek_string (object, "path", ""), "action:s", action, "until_us:i", until_us,
                           "bytes:i", bytes, NULL));
}

/* What is done with it; one that cannot be removed is no reason to leave the others. */
static const char *
sweep_one (GwJournal *journal, GwSweep how, JsonObject *object)
{
    g_autoptr (GError) failure = NULL;
    if (how != GW_SWEEP_ALL && !is_over (object))
        return "stays";
    if (how == GW_SWEEP_DRY)
        return "would be removed";
    if (remove_kept (journal, object, &failure))
        return "removed";
    g_debug ("%s", failure->message);
    return "cannot be removed";
}

gboolean
gw_quarantine_sweep (GwJournal *journal, GwSweep how, JsonArray *told, GError **error)
{
    g_autoptr (JsonArray) kept = gw_journal_list_kind (journal, GW_OBJECT_QUARANTINE, error);
    for (guint i = 0; kept != NULL && i < json_array_get_length (kept); i++) {
        JsonObject *object = json_array_get_object_element (kept, i);
        struct stat st;
        gint64 bytes = gw_object_is_at (object, &st) ? (gint64) st.st_blocks * 512 : -1;
        const char *action = sweep_one (journal, how, object);
        if (told != NULL)
            tell (told, object, bytes, action);
    }
    return kept != NULL;
}
