/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The destination's images of disks that are copied: made, kept or taken away again. */
#include "allow.h"
#include "host-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define TAG "user.godwit.job" /* extended attribute of an image that is not complete */
#define CREATE_MS 60000       /* qemu-img has made an image, also on slow storage */

struct _GwImage {
    char *path;
    char *old_path; /* where the file that it replaces waits; NULL: none */
    dev_t dev;
    ino_t ino;
    gboolean is_device; /* not ours to remove */
    gboolean is_kept;   /* for another try */
};

gboolean
gw_images_are_allowed_at (const GwHostConfig *config, const char *path)
{
    g_autoptr (GError) why = NULL;
    g_autofree char *directory = g_path_get_dirname (path);
    return g_file_test (directory, G_FILE_TEST_IS_DIR) && gw_allow_path (config, GW_ALLOW_IMAGE, path, &why);
}

char *
gw_disk_socket (const char *job_dir, guint index)
{
    return g_strdup_printf ("%s/nbd-%u.sock", job_dir, index);
}

/* --- making ---------------------------------------------------------------------------------------------- */

static gboolean
fail_errno (GError **error, const char *what, const char *path)
{
    return gw_fail (error, errno == ENOSPC ? GW_CAUSE_DISK_SPACE : GW_CAUSE_DISK_IMAGE,
                    "cannot %s '%s': %s", what, path, g_strerror (errno));
}

/* Before it is there and when it is: whoever finds the job interrupted has to know (wreck.c). */
static gboolean
journal_file (const GwImageSpec *spec, const char *kind, const char *path, const struct stat *st, GError **error)
{
    const GwJournalObject object = { .kind = kind, .path = path, .dev = st != NULL ? (gint64) st->st_dev : 0,
                                     .ino = st != NULL ? (gint64) st->st_ino : 0 };
    return spec->journal == NULL ||
           gw_journal_put_objects (spec->journal, spec->job, GW_SIDE_DESTINATION, &object, 1, error);
}

/* A file that may be replaced steps aside until the move has succeeded. */
static gboolean
put_aside (GwImage *image, const GwImageSpec *spec, GError **error)
{
    struct stat st;
    g_autofree char *aside = g_strdup_printf ("%s.before-%s", image->path, spec->job);
    if (lstat (image->path, &st) != 0)
        return fail_errno (error, "look at", image->path);
    if (!journal_file (spec, "aside", aside, &st, error))
        return FALSE;
    if (rename (image->path, aside) != 0)
        return fail_errno (error, "put aside", image->path);
    image->old_path = g_steal_pointer (&aside);
    return TRUE;
}

/* The VM's QEMU must be able to open it. */
static gboolean
give_to (int fd, const char *path, const char *user, GError **error)
{
    char buffer[4096];
    struct passwd entry, *found = NULL;
    if (user == NULL || geteuid () != 0)
        return TRUE;
    if (getpwnam_r (user, &entry, buffer, sizeof buffer, &found) != 0 || found == NULL)
        return gw_fail (error, GW_CAUSE_DISK_IMAGE, "there is no user '%s' to own '%s'", user, path);
    return fchown (fd, found->pw_uid, found->pw_gid) == 0 || fail_errno (error, "give away", path);
}

/* An empty file that was not there before, with the job's name on it. */
static gboolean
make_file (GwImage *image, const GwImageSpec *spec, GError **error)
{
    struct stat st;
    const char *kind = spec->plan->is_kept ? "kept-image" : "image";
    if (!journal_file (spec, kind, image->path, NULL, error))
        return FALSE;
    g_auto (GwFd) fd = open (image->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fstat (fd, &st) != 0)
        return fail_errno (error, "make", image->path);
    image->dev = st.st_dev;
    image->ino = st.st_ino;
    /* a file system without attributes: the name in the job's memory is enough for the cleanup */
    (void) fsetxattr (fd, TAG, spec->job, strlen (spec->job), 0);
    if (!journal_file (spec, kind, image->path, &st, error))
        return FALSE;
    if (ftruncate (fd, strcmp (spec->plan->format, "raw") == 0 ? spec->plan->bytes : 0) != 0)
        return fail_errno (error, "size", image->path);
    return give_to (fd, image->path, spec->user, error);
}

static gboolean
run_qemu_img (const GwImageSpec *spec, const char *const *argv, GError **error)
{
    g_autofree char *log = g_build_filename (spec->job_dir, "qemu-img.log", NULL);
    GwProcessSpec process = { .argv = argv, .log_path = log };
    (void) unlink (log); /* of the disk before */
    g_autoptr (GwProcess) child = gw_process_spawn (&process, spec->context, NULL, NULL, error);
    if (child == NULL)
        return FALSE;
    gboolean is_over = gw_process_wait (child, CREATE_MS, NULL);
    gw_process_stop (child, 0);
    g_autofree char *how = gw_process_describe_end (child);
    if (is_over && strncmp (how, "exited with status 0", strlen ("exited with status 0")) == 0)
        return TRUE;
    return gw_fail (error, GW_CAUSE_DISK_IMAGE, "cannot make '%s': qemu-img %s", spec->plan->target,
                    is_over ? how : "does not end");
}

static gboolean
format_qcow2 (const GwImageSpec *spec, GError **error)
{
    const GwDiskPlan *plan = spec->plan;
    g_autofree char *program = gw_find_qemu_tool (spec->config, "qemu-img", error);
    g_autofree char *bytes = g_strdup_printf ("%" G_GINT64_FORMAT, plan->bytes);
    const char *argv[] = { program, "create", "-q", "-f", "qcow2", "-o",
                           plan->options != NULL ? plan->options : "compat=1.1",
                           "--", plan->target, bytes, NULL, NULL, NULL, NULL, NULL, NULL };
    if (program == NULL)
        return FALSE;
    if (plan->backing != NULL) { /* -u: it is not opened, so nothing waits for its lock */
        const char *const below[] = { "-u", "-b", plan->backing, "-F", plan->backing_format, "--",
                                      plan->target, bytes, NULL };
        for (guint i = 0; i < G_N_ELEMENTS (below); i++)
            argv[7 + i] = below[i];
    }
    return run_qemu_img (spec, argv, error);
}

gboolean
gw_image_is_partial (const char *path)
{
    return getxattr (path, TAG, NULL, 0) > 0;
}

gboolean
gw_image_is_of (const char *path, const char *job, struct stat *ret_st)
{
    char name[65] = { 0 };
    ssize_t len = getxattr (path, TAG, name, sizeof name - 1);
    return len > 0 && strcmp (name, job) == 0 && lstat (path, ret_st) == 0 && S_ISREG (ret_st->st_mode);
}

void
gw_image_keep_partial (const char *path)
{
    (void) setxattr (path, TAG, "-", 1, 0); /* without it the copy begins again */
}

/* What an earlier job left of the same disk, and nothing else. */
static gboolean
take_partial (GwImage *image, const GwImageSpec *spec, GError **error)
{
    struct stat st;
    gboolean is_raw = strcmp (spec->plan->format, "raw") == 0;
    if (!gw_image_is_partial (image->path) || lstat (image->path, &st) != 0 || !S_ISREG (st.st_mode))
        return gw_fail (error, GW_CAUSE_DISK_IMAGE, "'%s' is no copy that could be resumed", image->path);
    if (is_raw && st.st_size != spec->plan->bytes)
        return gw_fail (error, GW_CAUSE_DISK_IMAGE,
                        "'%s' has %" G_GINT64_FORMAT " bytes, the disk has %" G_GINT64_FORMAT,
                        image->path, (gint64) st.st_size, spec->plan->bytes);
    image->dev = st.st_dev;
    image->ino = st.st_ino;
    return TRUE;
}

static gboolean
is_device_at (const char *path)
{
    struct stat st;
    return stat (path, &st) == 0 && S_ISBLK (st.st_mode);
}

/* Also the image below it, and what else its options could name. */
static gboolean
is_allowed (const GwImageSpec *spec, GError **error)
{
    const GwDiskPlan *plan = spec->plan;
    if (!gw_allow_path (spec->config, GW_ALLOW_IMAGE, plan->target, error) ||
        !gw_allow_image_options (spec->config, plan->options, error))
        return FALSE;
    gboolean is_relative = plan->backing != NULL && !g_path_is_absolute (plan->backing);
    g_autofree char *directory = g_path_get_dirname (plan->target);
    g_autofree char *backing = is_relative ? g_canonicalize_filename (plan->backing, directory)
                                           : g_strdup (plan->backing);
    return backing == NULL || !gw_host_config_is_confined (spec->config) ||
           gw_allow_path (spec->config, GW_ALLOW_BASE, backing, error);
}

static gboolean
make (GwImage *image, const GwImageSpec *spec, GError **error)
{
    const char *path = spec->plan->target;
    if (!is_allowed (spec, error))
        return FALSE;
    if (spec->plan->resumes)
        return take_partial (image, spec, error);
    image->is_device = spec->plan->overwrites && is_device_at (path);
    if (!image->is_device) {
        if (spec->plan->overwrites && access (path, F_OK) == 0 &&
            !put_aside (image, spec, error))
            return FALSE;
        if (!make_file (image, spec, error))
            return FALSE;
    }
    return strcmp (spec->plan->format, "raw") == 0 || format_qcow2 (spec, error);
}

GwImage *
gw_image_new (const GwImageSpec *spec, GError **error)
{
    GwImage *image = g_new0 (GwImage, 1);
    image->path = g_strdup (spec->plan->target);
    if (make (image, spec, error)) {
        image->is_kept = spec->plan->is_kept;
        return image;
    }
    gw_image_discard (image);
    return NULL;
}

/* --- of an agent that has ended ---------------------------------------------------------------------------------- */

static JsonObject *
find_object (JsonArray *objects, const char *kind, const char *path)
{
    for (guint i = 0; i < json_array_get_length (objects); i++) {
        JsonObject *object = json_array_get_object_element (objects, i);
        if (strcmp (gw_json_peek_string (object, "kind", ""), kind) == 0 &&
            strcmp (gw_json_peek_string (object, "path", ""), path) == 0)
            return object;
    }
    return NULL;
}

/* The plan comes from the peer again: the journal says what was made for it. */
static gboolean
recognise (GwImage *image, const GwImageSpec *spec, JsonArray *objects, GError **error)
{
    struct stat st;
    const char *path = spec->plan->target;
    g_autofree char *aside = g_strdup_printf ("%s.before-%s", path, spec->job);
    JsonObject *made = find_object (objects, spec->plan->is_kept ? "kept-image" : "image", path);
    if (spec->plan->resumes)
        return take_partial (image, spec, error);
    image->is_device = spec->plan->overwrites && is_device_at (path);
    if (image->is_device)
        return TRUE;
    if (made == NULL || !gw_object_is_at (made, &st))
        return gw_fail (error, GW_CAUSE_DISK_IMAGE, "'%s' is not the image that this job has made", path);
    image->dev = st.st_dev;
    image->ino = st.st_ino;
    if (find_object (objects, "aside", aside) != NULL)
        image->old_path = g_steal_pointer (&aside);
    return TRUE;
}

GwImage *
gw_image_adopt (const GwImageSpec *spec, JsonArray *objects, GError **error)
{
    GwImage *image = g_new0 (GwImage, 1);
    image->path = g_strdup (spec->plan->target);
    image->is_kept = spec->plan->is_kept;
    if (is_allowed (spec, error) && recognise (image, spec, objects, error))
        return image;
    gw_image_forget (image);
    return NULL;
}

/* --- the end -------------------------------------------------------------------------------------------------- */

static void
image_free (GwImage *image)
{
    g_free (image->path);
    g_free (image->old_path);
    g_free (image);
}

void
gw_image_forget (GwImage *image)
{
    if (image != NULL)
        image_free (image);
}

void
gw_image_keep (GwImage *image)
{
    if (image->old_path != NULL)
        (void) unlink (image->old_path); /* what stays is only space */
    image_free (image);
}

/* Only the very file that was made here. */
void
gw_image_discard (GwImage *image)
{
    struct stat st;
    gboolean is_kept = image->is_kept && setxattr (image->path, TAG, "-", 1, 0) == 0;
    if (!is_kept && !image->is_device && image->ino != 0 && lstat (image->path, &st) == 0 &&
        st.st_dev == image->dev && st.st_ino == image->ino)
        (void) unlink (image->path);
    if (image->old_path != NULL && access (image->path, F_OK) != 0)
        (void) rename (image->old_path, image->path); /* it keeps its other name then */
    image_free (image);
}

/* Starts to write out what the page cache holds, without waiting. */
void
gw_image_push_out (const GwImage *image)
{
    g_auto (GwFd) fd = open (image->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        (void) sync_file_range (fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

gboolean
gw_image_complete (const GwImage *image, GError **error)
{
    g_auto (GwFd) fd = open (image->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fdatasync (fd) != 0)
        return fail_errno (error, "write out", image->path);
    (void) fremovexattr (fd, TAG); /* a device has none */
    return TRUE;
}
