/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images of a job whose process has ended: kept for a day, and what was put aside for them comes back. */
#include "test-wreck.h"

#include "test-db.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

/* An image of the job, which knows its inode or (0) not; what `name` would be for the file itself. */
static void
journal_image (const Dir *dir, const char *kind, const char *name, gboolean has_inode)
{
    g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, NULL);
    g_autofree char *path = dir_path (dir, name);
    struct stat st;
    g_assert_no_errno (stat (path, &st));
    const GwJournalObject object = { .kind = kind, .path = path, .dev = has_inode ? (gint64) st.st_dev : 0,
                                     .ino = has_inode ? (gint64) st.st_ino : 0 };
    g_assert_true (gw_journal_put_objects (journal, JOB, GW_SIDE_DESTINATION, &object, 1, NULL));
}

static guint
sweep (const Dir *dir, GwSweep how)
{
    g_autoptr (GwJournal) journal = gw_journal_open (dir->path, GW_JOURNAL_QUICK, NULL);
    g_autoptr (JsonArray) told = json_array_new ();
    g_assert_true (gw_quarantine_sweep (journal, how, told, NULL));
    return json_array_get_length (told);
}

/* They are kept for a day, and what was put aside for them comes back. */
static void
test_images (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    dir_write (dir, "d.img", "new", 3);
    dir_write (dir, "d.img.before-" JOB, "older", 5);
    journal_image (dir, "image", "d.img", TRUE);
    journal_image (dir, "aside", "d.img.before-" JOB, TRUE);
    mend (dir);
    g_autofree char *image = dir_path (dir, "d.img"), *kept = dir_path (dir, ".godwit-quarantine/" JOB "-d.img");
    struct stat st;
    g_assert_no_errno (stat (image, &st));
    g_assert_cmpint (st.st_size, ==, 5);
    g_assert_no_errno (stat (kept, &st));
    g_assert_cmpint (st.st_size, ==, 3);
    mend (dir);
    g_assert_cmpuint (sweep (dir, GW_SWEEP_DRY), ==, 1);
    g_assert_cmpuint (sweep (dir, GW_SWEEP_OVER), ==, 1);
    g_assert_true (is_there (kept));
    g_assert_cmpuint (sweep (dir, GW_SWEEP_ALL), ==, 1);
    g_assert_false (is_there (kept));
    g_assert_cmpuint (sweep (dir, GW_SWEEP_DRY), ==, 0);
}

/* Somebody has put another file there, or it never came to be the job's. */
static void
test_other_images (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    dir_write (dir, "d.img", "new", 3);
    dir_write (dir, "e.img", "no name on it", 13);
    journal_image (dir, "image", "d.img", TRUE);
    journal_image (dir, "image", "e.img", FALSE);
    g_autofree char *image = dir_path (dir, "d.img"), *aside = dir_path (dir, "aside.img");
    g_autofree char *other = dir_path (dir, "e.img");
    g_assert_no_errno (rename (image, aside)); /* keeps the inode from being used again */
    dir_write (dir, "d.img", "somebody's", 10);
    mend (dir);
    g_assert_true (is_there (image) && is_there (other) && is_there (aside));
    g_assert_cmpuint (sweep (dir, GW_SWEEP_DRY), ==, 0);
}

/* Who may write beside the image says where it goes, if a link is taken for the quarantine. */
static void
test_planted_link (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    g_autofree char *image = dir_path (dir, "d.img"), *target = dir_path (dir, "elsewhere");
    g_autofree char *link = dir_path (dir, ".godwit-quarantine"), *moved = dir_path (dir, "elsewhere/" JOB "-d.img");
    dir_write (dir, "d.img", "new", 3);
    journal_image (dir, "image", "d.img", TRUE);
    g_assert_no_errno (symlink (target, link));
    g_test_expect_message (NULL, G_LOG_LEVEL_WARNING, "*as a directory*stays open*");
    mend (dir);
    g_test_assert_expected_messages ();
    g_assert_true (is_there (image) && !is_there (moved));
    g_assert_cmpuint (sweep (dir, GW_SWEEP_DRY), ==, 0);
}

/* FALSE: this file system has no such thing, or we have no right to it. */
static gboolean
set_immutable (const char *path, int flag)
{
    g_auto (GwFd) fd = open (path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && ioctl (fd, FS_IOC_SETFLAGS, &flag) == 0;
}

/* It stays, and the others go. */
static void
test_unremovable (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    dir_write (dir, "d.img", "new", 3);
    dir_write (dir, "e.img", "too", 3);
    journal_image (dir, "image", "d.img", TRUE);
    journal_image (dir, "image", "e.img", TRUE);
    mend (dir);
    g_autofree char *first = dir_path (dir, ".godwit-quarantine/" JOB "-d.img");
    g_autofree char *second = dir_path (dir, ".godwit-quarantine/" JOB "-e.img");
    if (!set_immutable (first, FS_IMMUTABLE_FL)) {
        g_test_skip ("needs a file that cannot be removed (chattr +i)");
        return;
    }
    g_assert_cmpuint (sweep (dir, GW_SWEEP_ALL), ==, 2);
    gboolean stays = is_there (first) && !is_there (second);
    g_assert_true (set_immutable (first, 0));
    g_assert_true (stays);
    g_assert_cmpuint (sweep (dir, GW_SWEEP_ALL), ==, 1);
    g_assert_false (is_there (first));
}

/* A day later it goes, unless another file is there. */
static void
test_day (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_auto (Wreck) wreck = { 0 };
    make_wreck (dir, &wreck, GONE, NULL, NULL);
    dir_write (dir, "d.img", "new", 3);
    journal_image (dir, "image", "d.img", TRUE);
    mend (dir);
    g_autofree char *kept = dir_path (dir, ".godwit-quarantine/" JOB "-d.img");
    g_assert_true (is_there (kept));
    dir_edit (dir, "UPDATE objects SET changed_ns = changed_ns - 86401000000000");
    mend (dir);
    g_assert_false (is_there (kept));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/mend/images", test_images);
    g_test_add_func ("/mend/other-images", test_other_images);
    g_test_add_func ("/mend/planted-link", test_planted_link);
    g_test_add_func ("/mend/unremovable", test_unremovable);
    g_test_add_func ("/mend/day", test_day);
    return g_test_run ();
}
