/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The checks that look at paths of the destination: disks, and sockets that the VM would make. */
#include "check-internal.h"

#include <string.h>

typedef enum { UNKNOWN, MISSING, OTHER_FILE, SAME_FILE, LIVE } There;

typedef struct {
    const char *kind, *source_path, *path; /* of the need; kind NULL: none */
    There there;
} Path;

typedef struct {
    const char *device, *node, *path, *url;
    gboolean is_read_only;
    const char *driver; /* NULL: "raw" */
} Disk;

typedef struct {
    GwVerdict verdict;
    const char *part, *other;
} Expected;

static void
add_path (GwDerived *derived, GwHostFacts *destination, const Path *path)
{
    GwNeed *need = g_new0 (GwNeed, 1);
    need->kind = g_strdup (path->kind);
    need->path = g_strdup (path->path);
    need->source_path = g_strdup (path->source_path);
    g_ptr_array_add (derived->needs, need);
    if (path->there == UNKNOWN)
        return;
    GwPathFacts *facts = gw_struct_new (&gw_path_facts_type);
    facts->path = g_strdup (path->path);
    facts->exists = path->there != MISSING;
    facts->is_live = path->there == LIVE;
    facts->st_dev = 1;
    facts->st_ino = path->there == SAME_FILE ? 11 : 12;
    facts->has_directory = facts->takes_images = TRUE;
    facts->free_bytes = 1 << 30;
    g_ptr_array_add (destination->paths, facts);
}

static void
add_disk (GwVm *vm, const Disk *spec)
{
    GwDisk *disk = g_new0 (GwDisk, 1);
    disk->device = g_strdup (spec->device);
    disk->node = g_strdup (spec->node);
    disk->driver = g_strdup (spec->driver != NULL ? spec->driver : "raw");
    disk->path = g_strdup (spec->path);
    disk->url = g_strdup (spec->url);
    disk->is_read_only = spec->is_read_only;
    disk->st_dev = 1;
    disk->st_ino = 11;
    disk->bytes = 1 << 20;
    g_ptr_array_add (vm->disks, disk);
}

typedef struct {
    const Disk *disk; /* NULL: none */
    const Path *path; /* NULL: none */
    const char *disks; /* --disks */
    gboolean is_one_host;
} Case;

/* Runs one check alone on the case; the result must be the only one. */
static void
assert_case (void (*check) (const GwCheckInput *, GwCheckSink *), const Case *c, const Expected *e)
{
    g_autoptr (GwPlan) plan = gw_plan_new ();
    g_autoptr (GwVm) vm = gw_struct_new (&gw_vm_type);
    g_autoptr (GwDerived) derived = gw_struct_new (&gw_derived_type);
    g_autoptr (GwHostFacts) source = gw_struct_new (&gw_host_facts_type);
    g_autoptr (GwHostFacts) destination = gw_struct_new (&gw_host_facts_type);
    g_autoptr (GPtrArray) results = g_ptr_array_new ();
    source->boot_id = g_strdup ("a");
    destination->boot_id = g_strdup (c->is_one_host ? "a" : "b");
    if (c->disks != NULL) {
        g_free (plan->disks);
        plan->disks = g_strdup (c->disks);
    }
    if (c->disk != NULL)
        add_disk (vm, c->disk);
    if (c->path != NULL)
        add_path (derived, destination, c->path);
    const GwCheckInput input = { plan, vm, derived, source, destination };
    GwCheckSink sink = { "x", GW_CAUSE_PATH_IN_USE, results };
    check (&input, &sink);
    g_assert_cmpuint (results->len, ==, 1);
    GwCheckResult *result = results->pdata[0];
    g_assert_cmpstr (gw_verdict_name (result->verdict), ==, gw_verdict_name (e->verdict));
    g_assert_true ((result->cause != GW_CAUSE_NONE) == (e->verdict == GW_VERDICT_REFUSED));
    if (strstr (result->text, e->part) == NULL ||
        (e->other != NULL && !strstr (result->text, e->other)))
        g_error ("'%s' does not say '%s' and '%s'", result->text, e->part, e->other);
    g_free (result->text);
    g_free (result);
}

static const Disk disk = { "d0", "n0", "/s/a", NULL, FALSE, NULL };
static const Disk cdrom = { "cd0", NULL, "/s/a", NULL, TRUE, NULL };

static void
test_writable (void)
{
    static const Path same = { "image", "/s/a", "/d/a", SAME_FILE };
    static const Path other = { "image", "/s/a", "/d/a", OTHER_FILE };
    static const Path missing = { "image", "/s/a", "/d/a", MISSING };
    static const Path unknown = { "image", "/s/a", "/d/a", UNKNOWN };
    static const Path input = { "input", "/s/a", "/d/a", SAME_FILE };
    static const Path of_another = { "image", "/s/b", "/d/b", SAME_FILE };
    static const struct {
        Case c;
        Expected e;
    } rows[] = {
        {{&disk, &same, NULL, TRUE}, {GW_VERDICT_OK, "disk 'd0': '/d/a' is the same on both hosts", NULL}},
        {{&disk, &same, NULL, FALSE}, {GW_VERDICT_REFUSED, "'/d/a' on the destination", "'/s/a'"}},
        {{&disk, &other, NULL, TRUE}, {GW_VERDICT_REFUSED, "not proven", "'/s/a'"}},
        {{&disk, &other, NULL, FALSE}, {GW_VERDICT_REFUSED, "not proven", "'/d/a'"}},
        {{&disk, &other, "shared", FALSE}, {GW_VERDICT_OK, "--disks shared", "'d0'"}},
        {{&disk, &missing, NULL, TRUE}, {GW_VERDICT_OK, "copied to '/d/a'", "'d0'"}},
        {{&disk, &missing, "copy", FALSE}, {GW_VERDICT_OK, "copied to '/d/a'", "MiB, 0 bytes in use"}},
        {{&disk, &unknown, NULL, TRUE}, {GW_VERDICT_REFUSED, "not proven", "'/d/a'"}},
        {{&disk, &input, NULL, TRUE}, {GW_VERDICT_REFUSED, "not proven", "'/s/a'"}},
        {{&disk, &of_another, NULL, TRUE}, {GW_VERDICT_REFUSED, "not proven", "'/s/a'"}},
        {{&disk, NULL, NULL, TRUE}, {GW_VERDICT_REFUSED, "not proven", "'/s/a'"}},
        {{NULL, NULL, NULL, FALSE}, {GW_VERDICT_OK, "no disks", NULL}},
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        assert_case (gw_check_disks, &rows[i].c, &rows[i].e);
}

/* Without an identity nothing is the same file, whatever the numbers are. */
static void
test_no_identity (void)
{
    GwDisk unread = { .device = (char *) "d0", .path = (char *) "/s/a" };
    g_autoptr (GwDerived) derived = gw_struct_new (&gw_derived_type);
    g_autoptr (GwHostFacts) host = gw_struct_new (&gw_host_facts_type);
    g_autoptr (GwPlan) plan = gw_plan_new ();
    g_autoptr (GPtrArray) disks = g_ptr_array_new ();
    g_autoptr (GPtrArray) results = g_ptr_array_new ();
    static const Path path = { "image", "/s/a", "/s/a", OTHER_FILE };
    host->boot_id = g_strdup ("a");
    add_path (derived, host, &path);
    GwPathFacts *there = host->paths->pdata[0];
    there->st_ino = there->st_dev = 0;
    g_ptr_array_add (disks, &unread);
    const GwVm vm = { .disks = disks };
    const GwCheckInput input = { plan, &vm, derived, host, host };
    GwCheckSink sink = { "x", GW_CAUSE_DISK_NOT_SHARED, results };
    gw_check_disks (&input, &sink);
    GwCheckResult *result = results->pdata[0];
    g_assert_cmpint (result->verdict, ==, GW_VERDICT_REFUSED);
    g_free (result->text);
    g_free (result);
}

/* What is set in the facts of the disk on the source, and of its path on the destination. */
typedef struct {
    const char *real_path, *real_path_there, *identity, *identity_there;
    gboolean has_token, is_same_inode;
    const char *disks;
    GwCause cause;
    const char *part;
} Proof;

static void
assert_proof (const Proof *proof)
{
    g_autoptr (GwPlan) plan = gw_plan_new ();
    g_autoptr (GwVm) vm = gw_struct_new (&gw_vm_type);
    g_autoptr (GwDerived) derived = gw_struct_new (&gw_derived_type);
    g_autoptr (GwHostFacts) source = gw_struct_new (&gw_host_facts_type);
    g_autoptr (GwHostFacts) destination = gw_struct_new (&gw_host_facts_type);
    g_autoptr (GPtrArray) results = gw_check_results_new ();
    Path path = { "image", "/s/a", "/d/a", proof->is_same_inode ? SAME_FILE : OTHER_FILE };
    GwPathFacts *here = gw_struct_new (&gw_path_facts_type);
    add_disk (vm, &disk);
    add_path (derived, destination, &path);
    GwPathFacts *there = destination->paths->pdata[0];
    source->boot_id = g_strdup ("a");
    destination->boot_id = g_strdup ("b");
    here->path = g_strdup ("/s/a");
    here->exists = TRUE;
    here->real_path = g_strdup (proof->real_path);
    here->device_identity = g_strdup (proof->identity);
    there->real_path = g_strdup (proof->real_path_there);
    there->device_identity = g_strdup (proof->identity_there);
    there->has_token = proof->has_token;
    g_ptr_array_add (source->paths, here);
    if (proof->disks != NULL) {
        g_free (plan->disks);
        plan->disks = g_strdup (proof->disks);
    }
    const GwCheckInput input = { plan, vm, derived, source, destination };
    GwCheckSink sink = { "x", GW_CAUSE_DISK_NOT_SHARED, results };
    gw_check_disks (&input, &sink);
    GwCheckResult *result = results->pdata[0];
    g_assert_cmpint (result->cause, ==, proof->cause);
    g_assert_nonnull (strstr (result->text, proof->part));
}

static void
test_proofs (void)
{
    static const Proof proofs[] = {
        { "/r/a", "/q/a", NULL, NULL, TRUE, FALSE, NULL, GW_CAUSE_NONE, "a token" },
        { "/r/a", "/q/b", NULL, NULL, TRUE, TRUE, NULL, GW_CAUSE_NONE, "a token" },
        { "/r/a", "/q/b", NULL, NULL, TRUE, FALSE, NULL, GW_CAUSE_DISK_NOT_SHARED, "not proven" },
        { "/r/a", "/q/a", NULL, NULL, FALSE, TRUE, NULL, GW_CAUSE_DISK_NOT_SHARED, "not proven" },
        { NULL, NULL, "wwid 1", "wwid 1", FALSE, FALSE, NULL, GW_CAUSE_NONE, "identity of the device" },
        { NULL, NULL, "wwid 1", "wwid 2", FALSE, FALSE, NULL, GW_CAUSE_DISK_NOT_SHARED, "not proven" },
        { NULL, NULL, "wwid 1", NULL, FALSE, FALSE, NULL, GW_CAUSE_DISK_NOT_SHARED, "not proven" },
        { "/r/a", "/q/a", NULL, NULL, TRUE, FALSE, "copy", GW_CAUSE_DISK_ONTO_ITSELF, "'/s/a'" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (proofs); i++)
        assert_proof (&proofs[i]);
}

static void
assert_lock (gint64 pid, gboolean is_one_host, GwVerdict verdict, const char *part)
{
    g_autoptr (GwVm) vm = gw_struct_new (&gw_vm_type);
    g_autoptr (GwDerived) derived = gw_struct_new (&gw_derived_type);
    g_autoptr (GwHostFacts) source = gw_struct_new (&gw_host_facts_type);
    g_autoptr (GwHostFacts) destination = gw_struct_new (&gw_host_facts_type);
    g_autoptr (GPtrArray) results = gw_check_results_new ();
    static const Path path = { "image", "/s/a", "/d/a", SAME_FILE };
    GwLockHolder *holder = g_new0 (GwLockHolder, 1);
    vm->pid = 7;
    source->boot_id = g_strdup ("a");
    destination->boot_id = g_strdup (is_one_host ? "a" : "b");
    add_disk (vm, &disk);
    add_path (derived, destination, &path);
    holder->pid = pid;
    holder->name = g_strdup ("qemu-nbd");
    g_ptr_array_add (((GwPathFacts *) destination->paths->pdata[0])->holders, holder);
    const GwCheckInput input = { NULL, vm, derived, source, destination };
    GwCheckSink sink = { "x", GW_CAUSE_DISK_LOCKED, results };
    gw_check_locks (&input, &sink);
    const GwCheckResult *result = results->pdata[0];
    g_assert_cmpint (result->verdict, ==, verdict);
    g_assert_nonnull (strstr (result->text, part));
}

/* The VM's own QEMU is seen on the destination when both are one machine. */
static void
test_locks (void)
{
    assert_lock (7, TRUE, GW_VERDICT_OK, "nobody else");
    assert_lock (7, FALSE, GW_VERDICT_REFUSED, "process 7 (qemu-nbd)");
    assert_lock (8, TRUE, GW_VERDICT_REFUSED, "(pid 7)");
}

static void
test_read_only (void)
{
    static const Path other = { "image", "/s/a", "/d/a", OTHER_FILE };
    static const Path missing = { "image", "/s/a", "/d/a", MISSING };
    static const struct {
        Case c;
        Expected e;
    } rows[] = {
        {{&cdrom, &other, NULL, FALSE},
         {GW_VERDICT_WARNING, "'cd0': read-only, and '/d/a' is there; its content was not compared", NULL}},
        {{&cdrom, &missing, NULL, FALSE}, {GW_VERDICT_REFUSED, "'/d/a' does not exist", "'cd0'"}},
        {{&cdrom, &missing, "shared", FALSE}, {GW_VERDICT_REFUSED, "does not exist", NULL}},
        {{&cdrom, NULL, NULL, FALSE}, {GW_VERDICT_WARNING, "not known whether '/s/a'", "'cd0'"}},
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        assert_case (gw_check_disks, &rows[i].c, &rows[i].e);
}

static void
test_remote (void)
{
    static const Disk null = { "d0", NULL, NULL, "null-co://", FALSE, NULL };
    static const Disk node = { "", "n1", NULL, "json:{...}", FALSE, "null-co" };
    static const Disk nbd = { "", "n0", NULL, "nbd://h/x", FALSE, NULL };
    static const Disk nothing = { "", NULL, NULL, NULL, FALSE, NULL };
    static const struct {
        Case c;
        Expected e;
    } rows[] = {
        {{&null, NULL, NULL, FALSE}, {GW_VERDICT_OK, "'d0': it (null-co://) holds nothing", NULL}},
        {{&node, NULL, NULL, FALSE}, {GW_VERDICT_OK, "'n1'", "holds nothing"}},
        {{&nbd, NULL, NULL, FALSE}, {GW_VERDICT_WARNING, "'n0': it (nbd://h/x)", "both hosts"}},
        {{&nothing, NULL, NULL, FALSE}, {GW_VERDICT_WARNING, "'unnamed': it (no file)", NULL}},
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        assert_case (gw_check_disks, &rows[i].c, &rows[i].e);
}

static void
test_paths (void)
{
    static const Path live = { "socket", "/s/q", "/d/q", LIVE };
    static const Path stale = { "socket", "/s/q", "/d/q", OTHER_FILE };
    static const Path missing = { "socket", "/s/q", "/d/q", MISSING };
    static const Path unknown = { "socket", "/s/q", "/d/q", UNKNOWN };
    static const Path peer = { "peer", "/s/q", "/d/q", LIVE };
    static const struct {
        Case c;
        Expected e;
    } rows[] = {
        { { NULL, &live, NULL, FALSE }, { GW_VERDICT_REFUSED, "'/d/q'", "--map" } },
        { { NULL, &stale, NULL, FALSE }, { GW_VERDICT_OK, "1 paths, none in use", NULL } },
        { { NULL, &missing, NULL, FALSE }, { GW_VERDICT_OK, "1 paths, none in use", NULL } },
        { { NULL, &unknown, NULL, FALSE }, { GW_VERDICT_OK, "1 paths, none in use", NULL } },
        { { NULL, &peer, NULL, FALSE }, { GW_VERDICT_OK, "1 paths, none in use", NULL } },
        { { NULL, NULL, NULL, FALSE }, { GW_VERDICT_OK, "0 paths", NULL } },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        assert_case (gw_check_paths, &rows[i].c, &rows[i].e);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/check/disks/writable", test_writable);
    g_test_add_func ("/check/disks/no-identity", test_no_identity);
    g_test_add_func ("/check/disks/proofs", test_proofs);
    g_test_add_func ("/check/disks/locks", test_locks);
    g_test_add_func ("/check/disks/read-only", test_read_only);
    g_test_add_func ("/check/disks/remote", test_remote);
    g_test_add_func ("/check/paths", test_paths);
    return g_test_run ();
}
