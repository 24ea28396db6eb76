/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every check, with made-up facts: what it says when all is well, and what makes it differ. */
#include "check.h"

#include <string.h>

/* The facts of a move that nothing speaks against. */
typedef struct {
    GwPlan *plan;
    GwVm *vm;
    GwDerived *derived;
    GwHostFacts *source, *destination;
} Facts;

static void
set (char **field, const char *value)
{
    g_free (*field);
    *field = g_strdup (value);
}

static Facts *
facts_new (void)
{
    const char *const machines[] = { "pc-i440fx-7.2", "pc-q35-7.2", NULL };
    Facts *f = g_new0 (Facts, 1);
    f->plan = gw_plan_new ();
    f->vm = gw_struct_new (&gw_vm_type);
    f->derived = gw_struct_new (&gw_derived_type);
    f->source = gw_struct_new (&gw_host_facts_type);
    f->destination = gw_struct_new (&gw_host_facts_type);
    set (&f->vm->run_state, "running");
    set (&f->vm->machine, "pc-q35-7.2");
    set (&f->vm->accel, "kvm");
    f->vm->version_major = 7;
    f->vm->version_minor = 2;
    f->vm->ram_bytes = 1 << 30;
    set (&f->source->boot_id, "boot-a");
    set (&f->destination->boot_id, "boot-b");
    set (&f->destination->qemu_binary, "/usr/bin/qemu-system-x86_64");
    set (&f->destination->qemu_version, "7.2.22 (Debian)");
    f->destination->machines = g_strdupv ((char **) machines);
    f->destination->mem_available_bytes = (gint64) 2 << 30;
    f->source->has_seccomp = f->destination->has_seccomp = TRUE;
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

static GPtrArray *
run (const Facts *f)
{
    const GwCheckInput input = { f->plan, f->vm, f->derived, f->source, f->destination };
    return gw_check_run (&input);
}

/* The check says just this; `part` and `other` (which may be NULL) stand in its sentence.  With
 * `cause` it refuses, and is the first that does. */
static void
assert_check (const Facts *f, const char *check, GwVerdict verdict, GwCause cause, const char *part,
              const char *other)
{
    g_autoptr (GPtrArray) results = run (f);
    guint found = 0;
    for (guint i = 0; i < results->len; i++) {
        const GwCheckResult *result = results->pdata[i];
        if (strcmp (result->check, check) != 0)
            continue;
        found++;
        g_assert_cmpstr (gw_verdict_name (result->verdict), ==, gw_verdict_name (verdict));
        g_assert_cmpint (result->cause, ==, cause);
        if (strstr (result->text, part) == NULL || (other != NULL && !strstr (result->text, other)))
            g_error ("'%s' does not say '%s' and '%s'", result->text, part, other);
    }
    g_assert_cmpuint (found, ==, 1);
    const GwCheckResult *refusal = gw_check_find_refusal (results);
    g_assert_true ((refusal != NULL) == (cause != GW_CAUSE_NONE));
    if (refusal != NULL)
        g_assert_cmpstr (refusal->check, ==, check);
}

static void
assert_ok (const Facts *f, const char *check, const char *part, const char *other)
{
    assert_check (f, check, GW_VERDICT_OK, GW_CAUSE_NONE, part, other);
}

static void
assert_warning (const Facts *f, const char *check, const char *part, const char *other)
{
    assert_check (f, check, GW_VERDICT_WARNING, GW_CAUSE_NONE, part, other);
}

/* --- the whole --------------------------------------------------------------------------------------- */

/* All rows in their order, one sentence each. */
static void
test_all_is_well (void)
{
    static const char *const names[] = {
#define X(id, name, cause, about) name,
#include "checks.def"
#undef X
    };
    g_autoptr (Facts) f = facts_new ();
    g_autoptr (GPtrArray) results = run (f);
    g_assert_null (gw_check_find_refusal (results));
    g_assert_cmpuint (results->len, ==, G_N_ELEMENTS (names));
    for (guint i = 0; i < results->len; i++) {
        const GwCheckResult *result = results->pdata[i];
        g_assert_cmpstr (result->check, ==, names[i]);
        g_assert_cmpint (result->verdict, ==, GW_VERDICT_OK);
        g_assert_true (*result->text != '\0');
    }
}

static void
test_json (void)
{
    g_autoptr (Facts) f = facts_new ();
    set (&f->vm->run_state, "inmigrate");
    g_autoptr (GPtrArray) results = run (f);
    g_autoptr (JsonArray) list = gw_check_to_json (results);
    g_assert_cmpuint (json_array_get_length (list), ==, results->len);
    JsonObject *ok = json_array_get_object_element (list, 0);
    g_assert_cmpstr (gw_json_peek_string (ok, "check", NULL), ==, "options");
    g_assert_cmpstr (gw_json_peek_string (ok, "verdict", NULL), ==, "ok");
    g_assert_false (json_object_has_member (ok, "cause"));
    JsonObject *refused = json_array_get_object_element (list, 1);
    g_assert_cmpstr (gw_json_peek_string (refused, "check", NULL), ==, "vm-state");
    g_assert_cmpstr (gw_json_peek_string (refused, "verdict", NULL), ==, "refused");
    g_assert_cmpstr (gw_json_peek_string (refused, "cause", NULL), ==, "vm-state");
    g_assert_nonnull (strstr (gw_json_peek_string (refused, "text", ""), "'inmigrate'"));
    g_autoptr (JsonArray) none = gw_check_to_json (NULL);
    g_assert_cmpuint (json_array_get_length (none), ==, 0);
}

/* --- the plan and the VM --------------------------------------------------------------------------------- */

static void
test_options (void)
{
    static const struct {
        const char *postcopy, *disks, *on_timeout;
        gint64 timeout_s;
        const char *part; /* NULL: ok */
    } rows[] = {
        { "now", "auto", "stop", 0, NULL },
        { "never", "copy", "stop", 0, NULL },
        { "auto", "auto", "throttle", 5, NULL },
        { "auto", "shared", "throttle", 0, NULL },
        { "auto", "auto", "postcopy", 5, NULL },
        { "auto", "auto", "abort", 5, NULL },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (Facts) f = facts_new ();
        set (&f->plan->postcopy, rows[i].postcopy);
        set (&f->plan->disks, rows[i].disks);
        set (&f->plan->on_timeout, rows[i].on_timeout);
        f->plan->timeout_s = rows[i].timeout_s;
        if (rows[i].part != NULL)
            assert_check (f, "options", GW_VERDICT_REFUSED, GW_CAUSE_UNSUPPORTED, rows[i].part,
                          NULL);
        else
            assert_ok (f, "options", "nothing", NULL);
    }
}

static void
test_vm_state (void)
{
    static const char *const good[] = { "running", "paused", "suspended", "prelaunch", "io-error",
                                        "watchdog", "debug" };
    static const char *const bad[] = {"inmigrate", "postmigrate",    "finish-migrate",
                                      "shutdown",  "internal-error", "guest-panicked",
                                      "save-vm",   "unknown",        ""};
    for (guint i = 0; i < G_N_ELEMENTS (good); i++) {
        g_autoptr (Facts) f = facts_new ();
        set (&f->vm->run_state, good[i]);
        assert_ok (f, "vm-state", good[i], NULL);
    }
    for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
        g_autoptr (Facts) f = facts_new ();
        set (&f->vm->run_state, bad[i]);
        g_autofree char *quoted = g_strdup_printf ("'%s'", bad[i]);
        assert_check (f, "vm-state", GW_VERDICT_REFUSED, GW_CAUSE_VM_STATE, quoted,
                      "running or paused");
    }
}

static void
test_vm_busy (void)
{
    static const char *const idle[] = { "none", "completed", "failed", "cancelled", NULL };
    static const char *const busy[] = { "active", "setup", "pre-switchover", "cancelling", "colo" };
    for (guint i = 0; i < G_N_ELEMENTS (idle); i++) {
        g_autoptr (Facts) f = facts_new ();
        set (&f->vm->migration_status, idle[i]);
        assert_ok (f, "vm-busy", "no other migration", NULL);
    }
    for (guint i = 0; i < G_N_ELEMENTS (busy); i++) {
        g_autoptr (Facts) f = facts_new ();
        set (&f->vm->migration_status, busy[i]);
        assert_check (f, "vm-busy", GW_VERDICT_REFUSED, GW_CAUSE_VM_BUSY, busy[i], NULL);
    }
}

/* Each of QEMU's reasons is told. */
static void
test_blockers (void)
{
    const char *const reasons[] = { "The qcow format does not", "VirtFS is mounted", NULL };
    g_autoptr (Facts) f = facts_new ();
    f->vm->blocked_reasons = g_strdupv ((char **) reasons);
    g_autoptr (GPtrArray) results = run (f);
    guint n = 0;
    for (guint i = 0; i < results->len; i++) {
        const GwCheckResult *result = results->pdata[i];
        if (result->verdict != GW_VERDICT_REFUSED)
            continue;
        g_assert_cmpint (result->cause, ==, GW_CAUSE_MIGRATION_BLOCKED);
        g_assert_nonnull (strstr (result->text, reasons[n++]));
    }
    g_assert_cmpuint (n, ==, 2);
    g_strfreev (f->vm->blocked_reasons);
    f->vm->blocked_reasons = g_new0 (char *, 1);
    assert_ok (f, "migration-blockers", "nothing against", NULL);
}

/* --- the destination ---------------------------------------------------------------------------------------- */

static void
test_binary (void)
{
    g_autoptr (Facts) f = facts_new ();
    assert_ok (f, "qemu-binary", "'/usr/bin/qemu-system-x86_64'", "7.2.22");
    set (&f->destination->qemu_version, NULL);
    set (&f->destination->qemu_error, "'qemu -version' does not print a version");
    assert_check (f, "qemu-binary", GW_VERDICT_REFUSED, GW_CAUSE_BINARY_MISSING,
                  "destination: 'qemu -version'", NULL);
    set (&f->destination->qemu_binary, NULL);
    set (&f->destination->qemu_error, NULL);
    assert_check (f, "qemu-binary", GW_VERDICT_REFUSED, GW_CAUSE_BINARY_MISSING, "no QEMU", NULL);
}

static void
test_machine (void)
{
    g_autoptr (Facts) f = facts_new ();
    assert_ok (f, "machine-type", "'pc-q35-7.2'", NULL);
    set (&f->vm->machine, "pc-q35-9.0");
    assert_check (f, "machine-type", GW_VERDICT_REFUSED, GW_CAUSE_MACHINE_MISSING, "'pc-q35-9.0'",
                  "(version 7.2.22 (Debian))");
    g_clear_pointer (&f->destination->machines, g_strfreev);
    assert_warning (f, "machine-type", "does not list", NULL);
}

static void
test_version (void)
{
    static const struct {
        gint64 major, minor; /* of the source */
        const char *destination;
        GwVerdict verdict;
        const char *part, *other;
    } rows[] = {
        { 7, 2, "7.2.22 (Debian)", GW_VERDICT_OK, "7.2 to 7.2", NULL },
        { 7, 2, "10.0.13", GW_VERDICT_OK, "7.2 to 10.0", NULL },
        { 10, 0, "9.2.1", GW_VERDICT_WARNING, "10.0", "9.2" },
        { 7, 2, "7.1.0", GW_VERDICT_WARNING, "7.2", "7.1" },
        { 7, 2, "6.9", GW_VERDICT_WARNING, "7.2", "6.9" },
        { 7, 2, "unknown", GW_VERDICT_WARNING, "not known", NULL },
        { 7, 2, "7", GW_VERDICT_WARNING, "not known", NULL },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (Facts) f = facts_new ();
        f->vm->version_major = rows[i].major;
        f->vm->version_minor = rows[i].minor;
        set (&f->destination->qemu_version, rows[i].destination);
        assert_check (f, "qemu-version", rows[i].verdict, GW_CAUSE_NONE, rows[i].part,
                      rows[i].other);
    }
}

static void
test_memory (void)
{
    g_autoptr (Facts) f = facts_new ();
    assert_ok (f, "memory", "1.0\xc2\xa0GiB of RAM", "2.0\xc2\xa0GiB available");
    f->destination->mem_available_bytes = f->vm->ram_bytes;
    assert_ok (f, "memory", "1.0\xc2\xa0GiB of RAM", "1.0\xc2\xa0GiB available");
    f->destination->mem_available_bytes = 512 << 20;
    assert_check (f, "memory", GW_VERDICT_REFUSED, GW_CAUSE_MEMORY_SHORT, "1.0\xc2\xa0GiB",
                  "512.0\xc2\xa0MiB");
    f->destination->mem_available_bytes = 0;
    assert_warning (f, "memory", "does not tell", NULL);
}

/* --- kernel, clocks, certificates --------------------------------------------------------------------------- */

static void
test_huge_pages (void)
{
    g_autoptr (Facts) f = facts_new ();
    GwRamBlock *block = g_new0 (GwRamBlock, 1);
    *block = (GwRamBlock) { g_strdup ("mem"), 1 << 30, 1 << 30, 2 << 20 };
    assert_ok (f, "huge-pages", "small pages", NULL);
    g_ptr_array_add (f->vm->ram_blocks, block);
    assert_check (f, "huge-pages", GW_VERDICT_REFUSED, GW_CAUSE_HUGE_PAGES_SHORT, "512 pages of 2.0\xc2\xa0MiB",
                  "has 0 free");
    GwHugePages *pages = g_new0 (GwHugePages, 1);
    *pages = (GwHugePages) { 2 << 20, 600, 511 };
    g_ptr_array_add (f->destination->huge_pages, pages);
    assert_check (f, "huge-pages", GW_VERDICT_REFUSED, GW_CAUSE_HUGE_PAGES_SHORT, "512 pages", "511 free");
    pages->n_free = 512;
    assert_ok (f, "huge-pages", "512 pages", "512 free");
}

static void
test_kernel (void)
{
    g_autoptr (Facts) f = facts_new ();
    set (&f->destination->userfaultfd_error, "Operation not permitted");
    assert_ok (f, "kernel", "seccomp on both", "no: Operation not permitted");
    f->destination->has_userfaultfd = TRUE;
    assert_ok (f, "kernel", "userfaultfd on the destination yes", NULL);
    f->destination->has_seccomp = FALSE;
    assert_warning (f, "kernel", "not on the destination", "not confined");
    f->destination->has_seccomp = TRUE;
    f->source->has_seccomp = FALSE;
    assert_warning (f, "kernel", "not on the source", NULL);
}

static void
test_clock_source (void)
{
    g_autoptr (Facts) f = facts_new ();
    f->vm->version_major = 10; /* an emulated processor of 7.2 is refused for another reason */
    set (&f->destination->qemu_version, "10.2.0");
    set (&f->source->clock_source, "tsc");
    set (&f->destination->clock_source, "hpet");
    assert_warning (f, "clock-source", "'tsc'", "'hpet'");
    set (&f->vm->accel, "tcg");
    assert_ok (f, "clock-source", "'tsc' on the source", "'hpet' on the destination");
    set (&f->vm->accel, "kvm");
    set (&f->destination->clock_source, "tsc");
    f->source->has_stable_tsc = TRUE;
    set (&f->source->cpu_model, "A");
    set (&f->destination->cpu_model, "B");
    assert_warning (f, "clock-source", "('A')", "('B')");
}

static void
test_certificates (void)
{
    g_autoptr (Facts) f = facts_new ();
    GwPathFacts *path = gw_struct_new (&gw_path_facts_type);
    set (&path->path, "/etc/pki/qemu");
    set (&path->certificate, "/etc/pki/qemu/ca-cert.pem");
    g_ptr_array_add (f->destination->paths, path);
    f->destination->now_s = 1700000000;
    path->certificate_ends_s = 1700000000 + 30 * 86400;
    assert_ok (f, "certificates", "on the destination ends at 2023-12-14 22:13 UTC", "ca-cert.pem");
    path->certificate_ends_s = 1700000000 + 86400;
    assert_warning (f, "certificates", "ends at 2023-11-15", NULL);
    path->certificate_ends_s = 1700000000 + 86399;
    assert_check (f, "certificates", GW_VERDICT_REFUSED, GW_CAUSE_CERTIFICATE_ENDS, "ends at 2023-11-15", NULL);
    path->certificate_ends_s = 1699999999;
    assert_check (f, "certificates", GW_VERDICT_REFUSED, GW_CAUSE_CERTIFICATE_ENDS, "ended at 2023-11-14", NULL);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/check/all-is-well", test_all_is_well);
    g_test_add_func ("/check/json", test_json);
    g_test_add_func ("/check/options", test_options);
    g_test_add_func ("/check/vm-state", test_vm_state);
    g_test_add_func ("/check/vm-busy", test_vm_busy);
    g_test_add_func ("/check/blockers", test_blockers);
    g_test_add_func ("/check/binary", test_binary);
    g_test_add_func ("/check/machine", test_machine);
    g_test_add_func ("/check/version", test_version);
    g_test_add_func ("/check/memory", test_memory);
    g_test_add_func ("/check/huge-pages", test_huge_pages);
    g_test_add_func ("/check/kernel", test_kernel);
    g_test_add_func ("/check/clock-source", test_clock_source);
    g_test_add_func ("/check/certificates", test_certificates);
    return g_test_run ();
}
