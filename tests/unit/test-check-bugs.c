/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Known bugs of QEMU, the risks that may be accepted, and settings of its migration. */
#include "check-internal.h"

#include <string.h>

typedef struct {
    const char *accel;
    gint64 major, minor, micro, ram_bytes, n_cpus;
    const char *destination, *capability, *tls, *status, *accepted;
} Case;

typedef struct {
    GwVerdict verdict;
    const char *part, *other;
} Expected;

static void
fill (GwVm *vm, const Case *c)
{
    vm->accel = g_strdup (c->accel);
    vm->machine = g_strdup ("pc-q35-7.2");
    vm->version_major = c->major;
    vm->version_minor = c->minor;
    vm->version_micro = c->micro;
    vm->ram_bytes = c->ram_bytes != 0 ? c->ram_bytes : 4096;
    vm->n_cpus = c->n_cpus != 0 ? c->n_cpus : 1;
    vm->migration_status = g_strdup (c->status);
    vm->tls_creds = g_strdup (c->tls);
    vm->capabilities = g_strsplit (c->capability != NULL ? c->capability : "events", " ", -1);
}

/* The check says one thing, and that. */
static void
assert_case (void (*check) (const GwCheckInput *, GwCheckSink *), const Case *c, const Expected *e)
{
    g_autoptr (GwPlan) plan = gw_plan_new ();
    g_autoptr (GwVm) vm = gw_struct_new (&gw_vm_type);
    g_autoptr (GwHostFacts) host = gw_struct_new (&gw_host_facts_type);
    g_autoptr (GPtrArray) results = g_ptr_array_new ();
    fill (vm, c);
    host->qemu_version = g_strdup (c->destination);
    if (c->accepted != NULL)
        plan->accepted_risks = g_strsplit (c->accepted, " ", -1);
    const GwCheckInput input = { plan, vm, NULL, NULL, host };
    GwCheckSink sink = { "x", GW_CAUSE_QEMU_BUG, results };
    check (&input, &sink);
    g_assert_cmpuint (results->len, ==, 1);
    GwCheckResult *result = results->pdata[0];
    if (strstr (result->text, e->part) == NULL || (e->other && !strstr (result->text, e->other)))
        g_error ("'%s' does not say '%s' and '%s'", result->text, e->part, e->other);
    g_assert_cmpstr (gw_verdict_name (result->verdict), ==, gw_verdict_name (e->verdict));
    g_free (result->text);
    g_free (result);
}

#define NONE { GW_VERDICT_OK, "none of the", NULL }
#define RAM (64 << 20)
#define CASE(a, x, y, z, ram, cpus, there)                                                         \
    .accel = a, .major = x, .minor = y, .micro = z, .ram_bytes = ram, .n_cpus = cpus,              \
    .destination = there

static void
test_tcg_dirty (void)
{
    static const char risk[] = "--accept-risk tcg-dirty-pages";
    static const struct {
        Case c;
        Expected e;
    } rows[] = {
        { { CASE ("tcg", 7, 2, 22, RAM, 1, "7.2.22") }, { GW_VERDICT_REFUSED, "7.2.22 (tcg, 64.0", risk } },
        { { CASE ("tcg", 8, 2, 0, RAM, 1, "10.0.2") }, { GW_VERDICT_REFUSED, "to 10.0.2", risk } },
        { { CASE ("tcg", 8, 2, 0, RAM, 1, NULL) }, { GW_VERDICT_REFUSED, "unknown version", risk } },
        { { CASE ("tcg", 7, 2, 0, RAM, 1, "7.2"), .accepted = "tcg-dirty-pages" },
          { GW_VERDICT_WARNING, "accepted by --accept-risk", "03bfc2188f" } },
        { { CASE ("tcg", 7, 2, 0, RAM, 1, "7.2"), .accepted = "tls-rekey" },
          { GW_VERDICT_REFUSED, "03bfc2188f", risk } },
        { { CASE ("tcg", 9, 0, 0, RAM, 1, "9.0.0") }, NONE },
        { { CASE ("kvm", 7, 2, 0, RAM, 1, "7.2.22") }, NONE },
        { { CASE ("tcg", 7, 2, 0, RAM + 4096, 1, "7.2.22") }, NONE },
        { { CASE (NULL, 7, 2, 0, RAM, 1, "7.2.22") }, NONE },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        assert_case (gw_check_bugs, &rows[i].c, &rows[i].e);
}

/* It is the size of each block that counts, and of guest RAM only. */
static void
test_tcg_dirty_blocks (void)
{
    static const struct {
        const char *name;
        gint64 bytes;
        gboolean is_concerned;
    } rows[] = {
        { "pc.ram", 64 << 20, TRUE },      { "pc.ram", (64 << 20) + 4096, FALSE },
        { "/objects/m0", 1 << 18, TRUE },  { "m0", 1 << 18, TRUE },
        { "pc.bios", 1 << 18, FALSE },     { "0000:00:01.0/vga.vram", 16 << 20, FALSE },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GwPlan) plan = gw_plan_new ();
        g_autoptr (GwVm) vm = gw_struct_new (&gw_vm_type);
        g_autoptr (GwHostFacts) host = gw_struct_new (&gw_host_facts_type);
        g_autoptr (GPtrArray) results = g_ptr_array_new ();
        const Case c = { .accel = "tcg", .major = 7, .ram_bytes = rows[i].is_concerned ? 4096 : RAM };
        fill (vm, &c);
        vm->objects = g_strsplit ("m0", " ", -1);
        GwRamBlock *block = g_new0 (GwRamBlock, 1);
        block->name = g_strdup (rows[i].name);
        block->used_bytes = rows[i].bytes;
        g_ptr_array_add (vm->ram_blocks, block);
        const GwCheckInput input = { plan, vm, NULL, NULL, host };
        GwCheckSink sink = { "x", GW_CAUSE_QEMU_BUG, results };
        gw_check_bugs (&input, &sink);
        GwCheckResult *result = results->pdata[0];
        g_assert_true ((result->verdict == GW_VERDICT_REFUSED) == rows[i].is_concerned);
        g_free (result->text);
        g_free (result);
    }
}

static void
test_others (void)
{
    static const struct {
        Case c;
        Expected e;
    } rows[] = {
        { { CASE ("kvm", 7, 2, 0, RAM, 1, "9.2.0"), .capability = "events multifd" },
          { GW_VERDICT_REFUSED, "2720", "to 9.2.0" } },
        { { CASE ("kvm", 7, 1, 0, RAM, 1, "9.2.3"), .capability = "multifd" }, { GW_VERDICT_REFUSED, "2720", NULL } },
        { { CASE ("kvm", 7, 2, 0, RAM, 1, "9.2.0") }, NONE },
        { { CASE ("kvm", 8, 0, 0, RAM, 1, "9.2.0"), .capability = "multifd" }, NONE },
        { { CASE ("kvm", 7, 2, 0, RAM, 1, "10.0.0"), .capability = "multifd" }, NONE },
        { { CASE ("kvm", 7, 2, 5, RAM, 1, "7.2.5"), .tls = "tls0" }, { GW_VERDICT_REFUSED, "1937", NULL } },
        { { CASE ("kvm", 10, 1, 0, RAM, 1, "10.1.0"), .tls = "tls0" }, NONE },
        { { CASE ("kvm", 7, 2, 5, RAM, 1, "7.2.5"), .tls = "" }, NONE },
        { { CASE ("kvm", 7, 2, 2, RAM, 1, "7.2"), .status = "failed" },
          { GW_VERDICT_WARNING, "403d18ae38", NULL } },
        { { CASE ("kvm", 8, 0, 2, RAM, 1, "8.0"), .status = "failed" },
          { GW_VERDICT_WARNING, "403d18ae38", NULL } },
        { { CASE ("kvm", 7, 2, 3, RAM, 1, "7.2"), .status = "failed" }, NONE },
        { { CASE ("kvm", 7, 2, 2, RAM, 1, "7.2"), .status = "cancelled" }, NONE },
        { { CASE ("kvm", 10, 0, 0, RAM, 2, "10.1.0") }, { GW_VERDICT_WARNING, "3153", "'ht'" } },
        { { CASE ("kvm", 10, 1, 0, RAM, 2, "10.0.9") }, { GW_VERDICT_WARNING, "3153", NULL } },
        { { CASE ("kvm", 10, 0, 0, RAM, 1, "10.1.0") }, NONE },
        { { CASE ("kvm", 10, 1, 0, RAM, 2, NULL) }, NONE },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        assert_case (gw_check_bugs, &rows[i].c, &rows[i].e);
}

static void
test_risks (void)
{
    static const struct {
        const char *accepted;
        Expected e;
    } rows[] = {
        { NULL, { GW_VERDICT_OK, "0 risks", NULL } },
        { "tls-rekey tcg-dirty-pages", { GW_VERDICT_OK, "2 risks", NULL } },
        { "tcg-dirty-pages tcg-dirty", { GW_VERDICT_REFUSED, "--accept-risk tcg-dirty:", NULL } },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        const Case c = { .accepted = rows[i].accepted };
        assert_case (gw_check_risks, &c, &rows[i].e);
    }
}

static void
test_settings (void)
{
    static const struct {
        Case c;
        Expected e;
    } rows[] = {
        { { .capability = "events return-path auto-converge" }, { GW_VERDICT_OK, "no settings", NULL } },
        { { .capability = "events multifd" }, { GW_VERDICT_REFUSED, "'multifd'", "set-capabilities" } },
        { { .capability = "x-ignore-shared" }, { GW_VERDICT_REFUSED, "'x-ignore-shared'", NULL } },
        { { .tls = "tls0" }, { GW_VERDICT_REFUSED, "tls-creds 'tls0'", "set-parameters" } },
        { { .tls = "" }, { GW_VERDICT_OK, "no settings", NULL } },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        assert_case (gw_check_settings, &rows[i].c, &rows[i].e);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/check/bugs/tcg-dirty-pages", test_tcg_dirty);
    g_test_add_func ("/check/bugs/tcg-dirty-pages/blocks", test_tcg_dirty_blocks);
    g_test_add_func ("/check/bugs/others", test_others);
    g_test_add_func ("/check/risks", test_risks);
    g_test_add_func ("/check/settings", test_settings);
    return g_test_run ();
}
