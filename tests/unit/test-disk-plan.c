/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What becomes of a disk that is not the same file on both hosts. */
#include "check.h"

#include <string.h>

#define MIB (1 << 20)

/* A VM with one qcow2 disk of 8 MiB on /s/base, which the destination has not. */
typedef struct {
    GwPlan *plan;
    GwVm *vm;
    GwDerived *derived;
    GwHostFacts *source, *destination;
    GwDisk *disk;
    GwPathFacts *here, *there, *below_here, *below_there;
    GwNeed *below;
} Facts;

static GwPathFacts *
add_facts (GwHostFacts *facts, const char *path, gboolean exists, gint64 st_ino)
{
    GwPathFacts *item = gw_struct_new (&gw_path_facts_type);
    item->path = g_strdup (path);
    item->exists = exists;
    item->st_ino = st_ino;
    item->st_dev = item->fs_dev = 1;
    item->bytes = 8 * MIB;
    item->has_directory = item->takes_images = TRUE;
    item->free_bytes = (gint64) 1000 * MIB;
    g_ptr_array_add (facts->paths, item);
    return item;
}

static GwNeed *
add_need (GwDerived *derived, const char *kind, const char *from, const char *to)
{
    GwNeed *need = g_new0 (GwNeed, 1);
    need->kind = g_strdup (kind);
    need->source_path = g_strdup (from);
    need->path = g_strdup (to);
    g_ptr_array_add (derived->needs, need);
    return need;
}

static GwDisk *
add_disk (GwVm *vm, const char *name, const char *path)
{
    GwDisk *disk = g_new0 (GwDisk, 1);
    disk->device = g_strdup (name);
    disk->node = g_strdup (name);
    disk->driver = g_strdup ("qcow2");
    disk->path = g_strdup (path);
    disk->bytes = 8 * MIB;
    disk->allocated_bytes = 2 * MIB;
    disk->backing = g_ptr_array_new ();
    g_ptr_array_add (vm->disks, disk);
    return disk;
}

static Facts *
facts_new (void)
{
    Facts *f = g_new0 (Facts, 1);
    f->plan = gw_plan_new ();
    f->vm = gw_struct_new (&gw_vm_type);
    f->derived = gw_struct_new (&gw_derived_type);
    f->source = gw_struct_new (&gw_host_facts_type);
    f->destination = gw_struct_new (&gw_host_facts_type);
    f->source->boot_id = g_strdup ("x");
    f->destination->boot_id = g_strdup ("x");
    f->disk = add_disk (f->vm, "d0", "/s/a");
    GwBacking *backing = g_new0 (GwBacking, 1);
    backing->name = g_strdup ("base");
    backing->path = g_strdup ("/s/base");
    g_ptr_array_add (f->disk->backing, backing);
    add_need (f->derived, "image", "/s/a", "/d/a");
    f->below = add_need (f->derived, "backing", "/s/base", "/d/base");
    f->here = add_facts (f->source, "/s/a", TRUE, 11);
    f->there = add_facts (f->destination, "/d/a", FALSE, 0);
    f->below_here = add_facts (f->source, "/s/base", TRUE, 12);
    f->below_there = add_facts (f->destination, "/d/base", FALSE, 0);
    return f;
}

static void
facts_free (Facts *f)
{
    gw_plan_free (f->plan);
    gw_vm_free (f->vm);
    gw_derived_free (f->derived);
    gw_host_facts_free (f->source);
    gw_host_facts_free (f->destination);
    g_free (f);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Facts, facts_free)

/* The last disk's plan is this, and its reason says `part`; a refusal has `cause`. */
static void
assert_plan (const Facts *f, const char *action, GwCause cause, const char *part)
{
    const GwCheckInput input = { f->plan, f->vm, f->derived, f->source, f->destination };
    g_autoptr (GwDiskPlans) plans = gw_check_plan_disks (&input);
    g_assert_cmpuint (plans->disks->len, ==, f->vm->disks->len);
    const GwDiskPlan *plan = plans->disks->pdata[plans->disks->len - 1];
    g_assert_cmpstr (plan->action, ==, action);
    g_assert_cmpint (gw_cause_from_code (plan->cause), ==, cause);
    if (strstr (plan->reason, part) == NULL)
        g_error ("'%s' does not say '%s'", plan->reason, part);
}

/* The first disk is copied on top of that image there, without what is in it if `is_top`. */
static void
assert_base (const Facts *f, const char *backing, gboolean is_top)
{
    const GwCheckInput input = { f->plan, f->vm, f->derived, f->source, f->destination };
    g_autoptr (GwDiskPlans) plans = gw_check_plan_disks (&input);
    const GwDiskPlan *plan = plans->disks->pdata[0];
    g_assert_cmpstr (plan->action, ==, "copy");
    g_assert_cmpstr (plan->backing, ==, backing);
    g_assert_cmpint (plan->is_top, ==, is_top);
}

static void
set (char **field, const char *value)
{
    g_free (*field);
    *field = g_strdup (value);
}

static void
test_place (void)
{
    g_autoptr (Facts) f = facts_new ();
    assert_plan (f, "copy", GW_CAUSE_NONE, "copied to '/d/a'");
    f->there->has_directory = FALSE;
    assert_plan (f, "refuse", GW_CAUSE_DISK_SPACE, "no directory '/d'");
    f->there->has_directory = TRUE;
    f->there->takes_images = FALSE;
    assert_plan (f, "refuse", GW_CAUSE_DISK_SPACE, "takes no images in '/d'");
}

/* 64 MiB stay free, and copies on the same file system count together. */
static void
test_space (void)
{
    g_autoptr (Facts) f = facts_new ();
    f->there->free_bytes = (gint64) 66 * MIB;
    assert_plan (f, "copy", GW_CAUSE_NONE, "MiB in use");
    f->there->free_bytes--;
    assert_plan (f, "refuse", GW_CAUSE_DISK_SPACE, "its copy needs");
    f->there->free_bytes = (gint64) 100 * MIB;
    (void) add_disk (f->vm, "d1", "/s/b");
    (void) add_need (f->derived, "image", "/s/b", "/d/b");
    (void) add_facts (f->source, "/s/b", TRUE, 13);
    GwPathFacts *second = add_facts (f->destination, "/d/b", FALSE, 0);
    second->free_bytes = (gint64) 68 * MIB;
    assert_plan (f, "copy", GW_CAUSE_NONE, "copied");
    second->free_bytes--;
    assert_plan (f, "refuse", GW_CAUSE_DISK_SPACE, "MiB are free");
    second->fs_dev = 2;
    assert_plan (f, "copy", GW_CAUSE_NONE, "copied");
}

static void
test_what_is_there (void)
{
    g_autoptr (Facts) f = facts_new ();
    f->there->exists = TRUE;
    f->there->st_ino = 99;
    assert_plan (f, "refuse", GW_CAUSE_DISK_NOT_SHARED, "--overwrite-images");
    f->plan->overwrites_images = TRUE;
    assert_plan (f, "copy", GW_CAUSE_NONE, "in place of what is there");
    set (&f->disk->driver, "raw");
    f->there->is_device = TRUE;
    f->there->bytes = 8 * MIB - 512;
    assert_plan (f, "refuse", GW_CAUSE_DISK_SMALL, "8388096 bytes on the destination");
    f->there->bytes = 8 * MIB;
    f->there->free_bytes = 0; /* a device needs none */
    assert_plan (f, "copy", GW_CAUSE_NONE, "in place of what is there");
    f->there->has_token = TRUE; /* all devices of a host are in one directory */
    f->there->st_ino = f->disk->st_ino = 1;
    assert_plan (f, "copy", GW_CAUSE_NONE, "in place of what is there");
    f->there->st_ino = 11;
    f->disk->st_ino = 11;
    f->disk->st_dev = 1;
    assert_plan (f, "shared", GW_CAUSE_NONE, "same on both hosts");
}

/* A copy that was not finished is no disk. */
static void
test_partial (void)
{
    g_autoptr (Facts) f = facts_new ();
    f->there->exists = f->there->is_partial = TRUE;
    f->there->st_ino = 99;
    assert_plan (f, "copy", GW_CAUSE_NONE, "in place of what is there");
    f->plan->resumes_disks = TRUE;
    assert_plan (f, "copy", GW_CAUSE_NONE, "with what an earlier try left there");
    set (&f->plan->disks, "shared");
    assert_plan (f, "refuse", GW_CAUSE_DISK_NOT_SHARED, "not finished");
}

static void
test_format (void)
{
    g_autoptr (Facts) f = facts_new ();
    f->disk->obstacle = g_strdup ("its image is encrypted");
    assert_plan (f, "refuse", GW_CAUSE_DISK_FORMAT, "encrypted");
}

/* On which image the copy is built, and what it leaves out. */
static void
test_backing (void)
{
    g_autoptr (Facts) f = facts_new ();
    assert_base (f, NULL, FALSE);
    f->below_there->exists = TRUE;
    f->below_there->st_ino = 77; /* another file: the copy has everything itself */
    assert_base (f, NULL, FALSE);
    f->below_there->st_ino = 12;
    assert_base (f, "/d/base", TRUE);
    set (&f->below->kind, "image"); /* the command line names it */
    f->below_there->st_ino = 77;
    assert_base (f, "/d/base", FALSE);
    f->below_there->exists = FALSE;
    assert_plan (f, "refuse", GW_CAUSE_BACKING_MISSING, "'/d/base' does not exist");
}

static void
test_no_file (void)
{
    g_autoptr (Facts) f = facts_new ();
    g_clear_pointer (&f->disk->path, g_free);
    f->disk->url = g_strdup ("nbd://storage/x");
    assert_plan (f, "shared", GW_CAUSE_NONE, "both hosts must reach it");
    set (&f->plan->disks, "copy");
    assert_plan (f, "refuse", GW_CAUSE_DISK_FORMAT, "no local file");
}

static void
test_read_only_size (void)
{
    g_autoptr (Facts) f = facts_new ();
    f->disk->is_read_only = TRUE;
    assert_plan (f, "refuse", GW_CAUSE_DISK_NOT_SHARED, "does not exist");
    f->there->exists = TRUE;
    f->there->st_ino = 99;
    assert_plan (f, "recreate", GW_CAUSE_NONE, "not compared");
    set (&f->there->content, "0123");
    assert_plan (f, "recreate", GW_CAUSE_NONE, "not compared");
    set (&f->here->content, "0123");
    assert_plan (f, "recreate", GW_CAUSE_NONE, "'/d/a' has the same content");
    set (&f->here->content, "0124");
    assert_plan (f, "refuse", GW_CAUSE_DISK_NOT_SHARED, "another medium");
    f->there->bytes = 1;
    assert_plan (f, "refuse", GW_CAUSE_DISK_SMALL, "has 1 bytes on the destination");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/disk-plan/place", test_place);
    g_test_add_func ("/disk-plan/space", test_space);
    g_test_add_func ("/disk-plan/what-is-there", test_what_is_there);
    g_test_add_func ("/disk-plan/partial", test_partial);
    g_test_add_func ("/disk-plan/format", test_format);
    g_test_add_func ("/disk-plan/backing", test_backing);
    g_test_add_func ("/disk-plan/no-file", test_no_file);
    g_test_add_func ("/disk-plan/read-only", test_read_only_size);
    return g_test_run ();
}
