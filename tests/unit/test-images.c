/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images of copied disks: what is made, what is kept, and what comes back. */
#include "host-internal.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES 1048576

typedef struct {
    char *dir, *path;
    GwHostConfig *config;
    GwDiskPlan plan;
    GwImageSpec spec;
} Place;

static void
place_setup (Place *p, gconstpointer data)
{
    p->dir = g_dir_make_tmp ("godwit-images-XXXXXX", NULL);
    p->path = g_build_filename (p->dir, "d.img", NULL);
    p->config = gw_host_config_new (p->dir);
    p->plan = (GwDiskPlan) { .name = (char *) "d0", .format = (char *) "raw", .target = p->path,
                             .bytes = BYTES };
    p->spec = (GwImageSpec) { p->config, NULL, "gw-1", p->dir, NULL, &p->plan, NULL };
}

static void
place_teardown (Place *p, gconstpointer data)
{
    (void) g_unlink (p->path);
    g_assert_cmpint (g_rmdir (p->dir), ==, 0); /* nothing else is there */
    gw_host_config_free (p->config);
    g_free (p->path);
    g_free (p->dir);
}

static gint64
size_of (const char *path)
{
    struct stat st;
    return stat (path, &st) == 0 ? (gint64) st.st_size : -1;
}

static GwImage *
make (Place *p)
{
    g_autoptr (GError) error = NULL;
    GwImage *image = gw_image_new (&p->spec, &error);
    g_assert_no_error (error);
    g_assert_nonnull (image);
    return image;
}

static void
test_made_and_gone (Place *p, gconstpointer data)
{
    GwImage *image = make (p);
    struct stat st;
    g_assert_cmpint (stat (p->path, &st), ==, 0);
    g_assert_cmpint (st.st_size, ==, BYTES);
    g_assert_cmpint (st.st_blocks, <=, 8); /* a hole */
    g_assert_cmpint (st.st_mode & 0777, ==, 0600);
    gw_image_discard (image);
    g_assert_cmpint (size_of (p->path), ==, -1);
}

static void
test_never_over_a_file (Place *p, gconstpointer data)
{
    g_autoptr (GError) error = NULL;
    g_assert_true (g_file_set_contents (p->path, "precious", -1, NULL));
    g_assert_null (gw_image_new (&p->spec, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_DISK_IMAGE);
    g_assert_cmpint (size_of (p->path), ==, 8);
}

/* What is replaced comes back when the move fails, and goes when it succeeds. */
static void
test_replaced (Place *p, gconstpointer data)
{
    g_assert_true (g_file_set_contents (p->path, "precious", -1, NULL));
    p->plan.overwrites = TRUE;
    GwImage *image = make (p);
    g_assert_cmpint (size_of (p->path), ==, BYTES);
    gw_image_discard (image);
    g_assert_cmpint (size_of (p->path), ==, 8);
    GwImage *second = make (p);
    g_assert_true (gw_image_complete (second, NULL));
    gw_image_keep (second);
    g_assert_cmpint (size_of (p->path), ==, BYTES);
    g_assert_false (gw_image_is_partial (p->path));
}

/* Only the very file that was made: another one of its name stays. */
static void
test_not_ours (Place *p, gconstpointer data)
{
    GwImage *image = make (p);
    g_autofree char *other = g_strconcat (p->path, ".x", NULL);
    g_assert_true (g_file_set_contents (other, "another", -1, NULL));
    g_assert_cmpint (g_rename (other, p->path), ==, 0);
    gw_image_discard (image);
    g_assert_cmpint (size_of (p->path), ==, 7);
}

static void
test_kept_for_another_try (Place *p, gconstpointer data)
{
    g_autoptr (GError) error = NULL;
    p->plan.is_kept = TRUE;
    gw_image_discard (make (p));
    if (!gw_image_is_partial (p->path)) {
        g_test_skip ("the file system has no extended attributes");
        return;
    }
    p->plan.resumes = TRUE;
    gw_image_discard (make (p));
    p->plan.bytes += 512;
    g_assert_null (gw_image_new (&p->spec, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_DISK_IMAGE);
    p->plan.bytes -= 512;
    GwImage *last = make (p);
    g_assert_true (gw_image_complete (last, NULL));
    gw_image_keep (last);
    g_assert_false (gw_image_is_partial (p->path));
    g_clear_error (&error);
    g_assert_null (gw_image_new (&p->spec, &error)); /* it is somebody's disk now */
    g_assert_error (error, GW_ERROR, GW_CAUSE_DISK_IMAGE);
}

static void
test_directories (Place *p, gconstpointer data)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *sibling = g_strconcat (p->dir, "x", NULL);
    const char *const others[] = { "/nowhere", sibling, NULL };
    g_assert_true (gw_images_are_allowed_at (p->config, p->path));
    g_assert_false (gw_images_are_allowed_at (p->config, "/nowhere/d.img"));
    g_strfreev (p->config->image_dirs);
    p->config->image_dirs = g_strdupv ((char **) others);
    g_assert_null (gw_image_new (&p->spec, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_NOT_ALLOWED);
    g_strfreev (p->config->image_dirs);
    const char *const own[] = { p->dir, NULL };
    p->config->image_dirs = g_strdupv ((char **) own);
    gw_image_discard (make (p));
}

/* --- what QEMU says of an image ------------------------------------------------------------------------ */

static void
assert_image (const char *driver, const char *text, const char *options, const char *obstacle)
{
    g_autoptr (JsonObject) image = gw_json_parse (text, -1, NULL);
    g_autoptr (GwVm) vm = gw_struct_new (&gw_vm_type);
    GwDisk *disk = g_new0 (GwDisk, 1);
    g_ptr_array_add (vm->disks, disk);
    disk->device = g_strdup ("");
    disk->driver = g_strdup (driver);
    gw_disk_read_image (disk, image);
    g_assert_cmpstr (disk->options, ==, options);
    if (obstacle == NULL)
        g_assert_null (disk->obstacle);
    else
        g_assert_nonnull (strstr (disk->obstacle, obstacle));
}

static void
test_image_info (void)
{
    assert_image ("raw", "{\"virtual-size\":512}", NULL, NULL);
    assert_image ("vmdk", "{\"virtual-size\":512}", NULL, "'vmdk'");
    assert_image ("qcow2",
                  "{\"cluster-size\":32768,\"format-specific\":{\"type\":\"qcow2\",\"data\":{\"compat\":"
                  "\"1.1\",\"lazy-refcounts\":true,\"compression-type\":\"zstd\",\"extended-l2\":true}}}",
                  "compat=1.1,cluster_size=32768,lazy_refcounts=on,extended_l2=on,compression_type=zstd",
                  NULL);
    assert_image ("qcow2", "{\"encrypted\":true,\"format-specific\":{\"data\":{}}}", NULL, "encrypted");
    assert_image ("qcow2", "{\"format-specific\":{\"data\":{\"data-file\":\"x\"}}}", NULL, "another file");
    assert_image ("qcow2", "{\"format-specific\":{\"data\":{\"corrupt\":true}}}", NULL, "corrupt");
}

/* The chain below, and what all of it takes. */
static void
test_chain (void)
{
    g_autoptr (JsonObject) image = gw_json_parse (
        "{\"virtual-size\":1024,\"actual-size\":100,\"backing-filename\":\"b\","
        "\"full-backing-filename\":\"/x/b\",\"backing-image\":{\"format\":\"qcow2\",\"actual-size\":20,"
        "\"backing-filename\":\"c\",\"full-backing-filename\":\"/x/c\",\"backing-image\":{\"format\":"
        "\"raw\",\"actual-size\":3}}}",
        -1, NULL);
    g_autoptr (GwVm) vm = gw_struct_new (&gw_vm_type);
    GwDisk *disk = g_new0 (GwDisk, 1);
    g_ptr_array_add (vm->disks, disk);
    disk->device = g_strdup ("");
    disk->driver = g_strdup ("raw");
    gw_disk_read_image (disk, image);
    g_assert_cmpint (disk->bytes, ==, 1024);
    g_assert_cmpint (disk->allocated_bytes, ==, 123);
    g_assert_cmpuint (disk->backing->len, ==, 2);
    g_assert_cmpstr (((GwBacking *) disk->backing->pdata[0])->format, ==, "qcow2");
    g_assert_cmpstr (((GwBacking *) disk->backing->pdata[1])->path, ==, "/x/c");
    g_assert_cmpstr (((GwBacking *) disk->backing->pdata[1])->format, ==, "raw");
}

#define ADD(name, fn) g_test_add ("/images/" name, Place, NULL, place_setup, fn, place_teardown)

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    ADD ("made-and-gone", test_made_and_gone);
    ADD ("never-over-a-file", test_never_over_a_file);
    ADD ("replaced", test_replaced);
    ADD ("not-ours", test_not_ours);
    ADD ("kept-for-another-try", test_kept_for_another_try);
    ADD ("directories", test_directories);
    g_test_add_func ("/images/info", test_image_info);
    g_test_add_func ("/images/chain", test_chain);
    return g_test_run ();
}
