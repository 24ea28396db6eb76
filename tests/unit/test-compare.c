/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two QEMUs that are compared: each difference is refused with its own cause and both values. */
#include "check.h"

#include <string.h>

static void
add_part (GwInventory *to, const char *type, const char *id, const char *place, gint64 n_queues)
{
    GwPart *part = g_new0 (GwPart, 1);
    part->type = g_strdup (type);
    part->id = g_strdup (id);
    part->bus = g_strdup ("pcie.0");
    part->place = g_strdup (place);
    part->model = g_strdup ("1af4:1000");
    part->n_queues = n_queues;
    part->n_vectors = n_queues < 0 ? -1 : 2 * n_queues + 2;
    g_ptr_array_add (to->parts, part);
}

static void
add_block (GwInventory *to, const char *name, gint64 used, gint64 max)
{
    GwRamBlock *block = g_new0 (GwRamBlock, 1);
    *block = (GwRamBlock) { g_strdup (name), used, max, 4096 };
    g_ptr_array_add (to->ram_blocks, block);
}

static void
add_word (GwInventory *to, const char *word, gint64 bits)
{
    GwCpuWord *fact = g_new0 (GwCpuWord, 1);
    *fact = (GwCpuWord) { g_strdup (word), bits, 0 };
    g_ptr_array_add (to->cpu_words, fact);
}

static GwInventory *
inventory_new (void)
{
    GwInventory *inventory = gw_struct_new (&gw_inventory_type);
    inventory->cpu_type = g_strdup ("qemu64-x86_64-cpu");
    add_part (inventory, "virtio-net-pci", "net0", "addr = 02.0", 2);
    add_part (inventory, "virtio-rng-pci", NULL, "addr = 03.0", -1);
    add_part (inventory, "virtio-rng-pci", NULL, "addr = 04.0", -1);
    add_part (inventory, "isa-debugcon", "a", "", -1);
    add_part (inventory, "isa-debugcon", "b", "", -1);
    add_block (inventory, "pc.ram", 1 << 20, 1 << 20);
    add_block (inventory, "/rom@etc/acpi/tables", 131072, 2097152);
    add_block (inventory, "0000:00:02.0/virtio-net-pci.rom", 262144, 262144);
    add_word (inventory, "0x7/0 EBX", 0x128);
    add_word (inventory, "0x1/0 ECX", 1);
    return inventory;
}

static void
set_text (char **field, const char *text)
{
    g_free (*field);
    *field = g_strdup (text);
}

#define PART(i) ((GwPart *) there->parts->pdata[i])
#define BLOCK(i) ((GwRamBlock *) there->ram_blocks->pdata[i])
#define WORD(i) ((GwCpuWord *) there->cpu_words->pdata[i])

static void spoil_nothing (GwInventory *there) {}
static void spoil_extra (GwInventory *there) { add_part (there, "e1000", "net9", "addr = 09.0", -1); }
static void spoil_type (GwInventory *there) { set_text (&PART (0)->type, "e1000"); }
static void spoil_model (GwInventory *there) { set_text (&PART (0)->model, "1af4:1041"); }
static void spoil_place (GwInventory *there) { set_text (&PART (0)->place, "addr = 1d.0"); }
static void spoil_bus (GwInventory *there) { set_text (&PART (1)->bus, "pci.1"); }
static void spoil_queues (GwInventory *there) { PART (0)->n_queues = 4; }
static void spoil_vectors (GwInventory *there) { PART (0)->n_vectors = 10; }
static void spoil_ram (GwInventory *there) { BLOCK (0)->used_bytes = BLOCK (0)->max_bytes = 2 << 20; }
static void spoil_name (GwInventory *there) { set_text (&BLOCK (0)->name, "pc.ram.1"); }
static void spoil_pages (GwInventory *there) { BLOCK (0)->page_bytes = 2 << 20; }
static void spoil_tables (GwInventory *there) { BLOCK (1)->max_bytes = 65536; }
static void resize_tables (GwInventory *there) { BLOCK (1)->used_bytes = 65536; }
static void spoil_rom (GwInventory *there) { BLOCK (2)->used_bytes = BLOCK (2)->max_bytes = 524288; }
static void spoil_cpu (GwInventory *there) { WORD (0)->bits = 0x108; WORD (0)->withheld = 0x20; }
static void spoil_cpu_type (GwInventory *there) { set_text (&there->cpu_type, "max-x86_64-cpu"); }

static void
spoil_order (GwInventory *there)
{
    gpointer first = there->parts->pdata[3];
    there->parts->pdata[3] = there->parts->pdata[4];
    there->parts->pdata[4] = first;
}

static void
test_differences (void)
{
    static const struct {
        void (*spoil) (GwInventory *there);
        GwCause cause;
        const char *words[3];
    } cases[] = {
        { spoil_nothing, GW_CAUSE_NONE, { NULL } },
        { resize_tables, GW_CAUSE_NONE, { NULL } },
        { spoil_extra, GW_CAUSE_DEVICES_DIFFER, { "the destination has 'net9' (e1000)", "the VM has no" } },
        { spoil_type, GW_CAUSE_DEVICES_DIFFER, { "the VM has 'net0' (virtio-net-pci)", "addr = 02.0" } },
        { spoil_model, GW_CAUSE_DEVICES_DIFFER, { "'net0'", "1af4:1000", "1af4:1041" } },
        { spoil_place, GW_CAUSE_DEVICE_MOVED, { "'net0'", "pcie.0 addr = 02.0", "pcie.0 addr = 1d.0" } },
        { spoil_bus, GW_CAUSE_DEVICE_MOVED, { "a virtio-rng-pci", "pcie.0 addr = 03.0", "pci.1" } },
        { spoil_order, GW_CAUSE_DEVICE_MOVED, { "'a'", "before 'b'" } },
        { spoil_queues, GW_CAUSE_QUEUES_DIFFER, { "'net0'", "2 queues", "4 on the destination" } },
        { spoil_vectors, GW_CAUSE_VECTORS_DIFFER, { "'net0'", "6 interrupt vectors", "10 on" } },
        { spoil_ram, GW_CAUSE_RAM_DIFFERS, { "'pc.ram'", "1048576", "2097152" } },
        { spoil_name, GW_CAUSE_RAM_DIFFERS, { "the VM has 'pc.ram' of 1048576" } },
        { spoil_pages, GW_CAUSE_RAM_DIFFERS, { "'pc.ram'", "4096", "2097152" } },
        { spoil_tables, GW_CAUSE_ROM_DIFFERS, { "131072", "at most 65536" } },
        { spoil_rom, GW_CAUSE_ROM_DIFFERS, { "virtio-net-pci.rom", "262144", "524288" } },
        { spoil_cpu, GW_CAUSE_CPU_DIFFERS, { "lacks avx2, which its host", "0x128", "0x108" } },
        { spoil_cpu_type, GW_CAUSE_CPU_DIFFERS, { "qemu64-x86_64-cpu", "max-x86_64-cpu" } },
    };
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
        g_autoptr (GPtrArray) results = gw_check_results_new ();
        g_autoptr (GwInventory) here = inventory_new (), there = inventory_new ();
        cases[i].spoil (there);
        const GwCheckResult *refusal = gw_check_compare (results, here, there);
        g_test_message ("case %u: %s", i, refusal != NULL ? refusal->text : "nothing");
        g_assert_cmpint (refusal != NULL ? refusal->cause : GW_CAUSE_NONE, ==, cases[i].cause);
        for (guint k = 0; k < 3 && cases[i].words[k] != NULL; k++)
            g_assert_nonnull (strstr (refusal->text, cases[i].words[k]));
    }
}

/* A guest that would gain a feature may move, and it is said. */
static void
test_more_features (void)
{
    g_autoptr (GPtrArray) results = gw_check_results_new ();
    g_autoptr (GwInventory) here = inventory_new (), there = inventory_new ();
    ((GwCpuWord *) there->cpu_words->pdata[1])->bits = 3;
    g_assert_null (gw_check_compare (results, here, there));
    const GwCheckResult *last = results->pdata[results->len - 1];
    g_assert_cmpint (last->verdict, ==, GW_VERDICT_WARNING);
    g_assert_nonnull (strstr (last->text, "pclmulqdq"));
}

/* A second comparison stands in place of the first, other checks stay. */
static void
test_again (void)
{
    g_autoptr (GPtrArray) results = gw_check_results_new ();
    g_autoptr (GwInventory) here = inventory_new (), there = inventory_new ();
    gw_check_append (results, "memory", GW_VERDICT_OK, GW_CAUSE_NONE, "enough");
    g_assert_null (gw_check_compare (results, here, there));
    guint n = results->len;
    g_assert_cmpuint (n, ==, 8);
    g_assert_null (gw_check_compare (results, here, there));
    g_assert_cmpuint (results->len, ==, n);
    g_assert_cmpstr (((GwCheckResult *) results->pdata[0])->check, ==, "memory");
}

static void
test_names_of_bits (void)
{
    static const struct {
        const char *word;
        gint64 bits;
        const char *names;
    } cases[] = {
        { "0x1/0 EDX", 1 | G_GINT64_CONSTANT (1) << 31, "fpu, pbe" },
        { "0x1/0 ECX", 1 << 28 | 1 << 30, "avx, rdrand" },
        { "0x7/0 EBX", 1 << 5 | 1 << 12, "avx2, bit 12" },
        { "0x7/0 EDX", G_GINT64_CONSTANT (1) << 26 | G_GINT64_CONSTANT (1) << 31, "spec-ctrl, ssbd" },
        { "0x7/0 ECX", 1 << 22 | G_GINT64_CONSTANT (1) << 31, "rdpid, pks" },
        { "0x80000001/0 EDX", 1 << 20 | 1 << 29, "nx, lm" },
        { "0x80000001/0 ECX", 1 << 6, "sse4a" },
        { "0x99/0 EAX", 2, "bit 1" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
        g_autofree char *names = gw_check_name_cpu_bits (cases[i].word, cases[i].bits & G_MAXUINT32);
        g_assert_cmpstr (names, ==, cases[i].names);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/compare/differences", test_differences);
    g_test_add_func ("/compare/more-features", test_more_features);
    g_test_add_func ("/compare/again", test_again);
    g_test_add_func ("/compare/names-of-bits", test_names_of_bits);
    return g_test_run ();
}
