/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interfaces, addresses, other VMs and the clock of the destination; images below the disks. */
#include "check-internal.h"

#include <string.h>

typedef struct {
    GwPlan *plan;
    GwVm *vm;
    GwDerived *derived;
    GwHostFacts *source, *destination;
} Facts;

static Facts *
facts_new (void)
{
    Facts *f = g_new0 (Facts, 1);
    f->plan = gw_plan_new ();
    f->vm = gw_struct_new (&gw_vm_type);
    f->derived = gw_struct_new (&gw_derived_type);
    f->source = gw_struct_new (&gw_host_facts_type);
    f->destination = gw_struct_new (&gw_host_facts_type);
    f->vm->name = g_strdup ("web1");
    f->vm->uuid = g_strdup ("11111111-2222-3333-4444-555555555555");
    f->vm->pid = 100;
    f->vm->start_time = 7;
    f->source->boot_id = g_strdup ("a");
    f->destination->boot_id = g_strdup ("a");
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

static void
assert_check (const Facts *f, void (*check) (const GwCheckInput *, GwCheckSink *), GwVerdict verdict,
              GwCause cause, const char *part, const char *other)
{
    g_autoptr (GPtrArray) results = g_ptr_array_new ();
    const GwCheckInput input = { f->plan, f->vm, f->derived, f->source, f->destination };
    GwCheckSink sink = { "x", GW_CAUSE_PATH_IN_USE, results };
    check (&input, &sink);
    g_assert_cmpuint (results->len, ==, 1);
    GwCheckResult *result = results->pdata[0];
    if (strstr (result->text, part) == NULL || (other != NULL && !strstr (result->text, other)))
        g_error ("'%s' does not say '%s' and '%s'", result->text, part, other);
    g_assert_cmpstr (gw_verdict_name (result->verdict), ==, gw_verdict_name (verdict));
    g_assert_cmpint (result->cause, ==, cause);
    g_free (result->text);
    g_free (result);
}

#define OK GW_VERDICT_OK, GW_CAUSE_NONE
#define WARNING GW_VERDICT_WARNING, GW_CAUSE_NONE
#define REFUSED GW_VERDICT_REFUSED, GW_CAUSE_PATH_IN_USE

static void
add_interface (GwHostFacts *facts, const char *name, gint64 mtu)
{
    GwInterface *interface = g_new0 (GwInterface, 1);
    interface->name = g_strdup (name);
    interface->mtu = mtu;
    g_ptr_array_add (facts->interfaces, interface);
}

static void
add_need (Facts *f, const char *kind, const char *from, const char *to)
{
    GwNeed *need = g_new0 (GwNeed, 1);
    need->kind = g_strdup (kind);
    need->source_path = g_strdup (from);
    need->path = g_strdup (to);
    g_ptr_array_add (f->derived->needs, need);
}

static void
test_network (void)
{
    g_autoptr (Facts) f = facts_new ();
    add_interface (f->source, "tap0", 9000);
    assert_check (f, gw_check_network, OK, "no interface", NULL);
    add_need (f, "tap", "tap0", "tap7");
    assert_check (f, gw_check_network, OK, "no interface", NULL); /* an agent that does not tell */
    add_interface (f->destination, "tap0", 9000);
    assert_check (f, gw_check_network, REFUSED, "tap 'tap0'", "no interface 'tap7'");
    add_interface (f->destination, "tap7", 9000);
    assert_check (f, gw_check_network, OK, "'tap7' is there", "9000");
    ((GwInterface *) f->destination->interfaces->pdata[1])->mtu = 1500;
    assert_check (f, gw_check_network, WARNING, "9000", "1500");
}

static void
test_data_address (void)
{
    char *asked[] = { (char *) "10.0.0.9", NULL };
    char *named[] = { (char *) "host.example", NULL };
    char *own[] = { (char *) "127.0.0.1", (char *) "10.0.0.2", NULL };
    g_autoptr (Facts) f = facts_new ();
    assert_check (f, gw_check_data_address, OK, "0 addresses", NULL);
    f->plan->data_addresses = g_strdupv (asked);
    assert_check (f, gw_check_data_address, OK, "1 addresses", NULL); /* an agent that does not tell */
    f->destination->addresses = g_strdupv (own);
    assert_check (f, gw_check_data_address, REFUSED, "10.0.0.9 (--data-address)", "10.0.0.2");
    g_strfreev (f->plan->data_addresses);
    f->plan->data_addresses = NULL;
    f->destination->data_addresses = g_strdupv (asked);
    assert_check (f, gw_check_data_address, REFUSED, "configuration", "10.0.0.9");
    f->plan->data_addresses = g_strdupv (own);
    assert_check (f, gw_check_data_address, OK, "2 addresses", NULL);
    g_strfreev (f->plan->data_addresses);
    f->plan->data_addresses = g_strdupv (named);
    assert_check (f, gw_check_data_address, OK, "1 addresses", NULL);
}

static void
test_other_vm (void)
{
    g_autoptr (Facts) f = facts_new ();
    assert_check (f, gw_check_other_vm, OK, "0 QEMUs", NULL);
    GwOtherVm *other = g_new0 (GwOtherVm, 1);
    other->pid = 100;
    other->start_time = 7;
    other->name = g_strdup ("web1");
    other->uuid = g_ascii_strup (f->vm->uuid, -1);
    g_ptr_array_add (f->destination->qemus, other);
    assert_check (f, gw_check_other_vm, OK, "1 QEMUs", NULL); /* the source's own, on one machine */
    other->start_time = 8;
    assert_check (f, gw_check_other_vm, REFUSED, f->vm->uuid, "pid 100");
    other->start_time = 7;
    f->destination->boot_id[0] = 'b';
    assert_check (f, gw_check_other_vm, REFUSED, f->vm->uuid, "pid 100");
    g_clear_pointer (&other->uuid, g_free);
    assert_check (f, gw_check_other_vm, WARNING, "another VM named 'web1'", NULL);
    other->name[0] = 'W';
    other->name[1] = 'x';
    assert_check (f, gw_check_other_vm, OK, "1 QEMUs", NULL);
    /* QEMU's answer when it was given none */
    g_free (f->vm->uuid);
    f->vm->uuid = g_strdup ("00000000-0000-0000-0000-000000000000");
    other->uuid = g_strdup (f->vm->uuid);
    assert_check (f, gw_check_other_vm, OK, "1 QEMUs", NULL);
}

static void
test_clock (void)
{
    g_autoptr (Facts) f = facts_new ();
    f->destination->clock_offset_us = 999 * 1000;
    assert_check (f, gw_check_clock, OK, "999 ms ahead", NULL);
    f->destination->clock_offset_us = -1000 * 1000;
    assert_check (f, gw_check_clock, WARNING, "1000 ms behind", NULL);
    f->destination->clock_offset_us = (gint64) 3600 * 1000 * 1000;
    assert_check (f, gw_check_clock, REFUSED, "3600000 ms ahead", NULL);
}

static void
add_path (GwHostFacts *facts, const char *path, gboolean exists, gint64 bytes)
{
    GwPathFacts *entry = gw_struct_new (&gw_path_facts_type);
    entry->path = g_strdup (path);
    entry->exists = exists;
    entry->bytes = bytes;
    g_ptr_array_add (facts->paths, entry);
}

static void
test_backing (void)
{
    g_autoptr (Facts) f = facts_new ();
    assert_check (f, gw_check_backing, OK, "0 images", NULL);
    add_need (f, "backing", "/s/base", "/d/base");
    add_path (f->destination, "/d/base", TRUE, 1);
    assert_check (f, gw_check_backing, OK, "1 images", NULL);
    ((GwPathFacts *) f->destination->paths->pdata[0])->exists = FALSE;
    assert_check (f, gw_check_backing, REFUSED, "'/s/base'", "'/d/base' does not exist");
}

/* What --disks shared does not make right. */
static void
test_disks (void)
{
    g_autoptr (Facts) f = facts_new ();
    GwDisk *disk = g_new0 (GwDisk, 1);
    disk->device = g_strdup ("d0");
    disk->driver = g_strdup ("raw");
    disk->path = g_strdup ("/s/a");
    disk->st_ino = 5;
    g_ptr_array_add (f->vm->disks, disk);
    g_free (f->plan->disks);
    f->plan->disks = g_strdup ("shared");
    add_need (f, "image", "/s/a", "/d/a");
    add_path (f->source, "/s/a", TRUE, 4096);
    add_path (f->destination, "/d/a", TRUE, 4096);
    assert_check (f, gw_check_disks, OK, "--disks shared", NULL);
    ((GwPathFacts *) f->destination->paths->pdata[0])->bytes = 4095;
    assert_check (f, gw_check_disks, GW_VERDICT_REFUSED, GW_CAUSE_DISK_SMALL, "4095", "4096");
    disk->driver[0] = 'R'; /* an image format has no such size */
    assert_check (f, gw_check_disks, OK, "--disks shared", NULL);
    disk->is_unflushed = TRUE;
    assert_check (f, gw_check_disks, GW_VERDICT_REFUSED, GW_CAUSE_DISK_CACHE, "'/s/a'", "cache=unsafe");
    disk->is_unflushed = FALSE;
    g_free (disk->path);
    disk->path = g_strdup ("/var/tmp/vl.aB3xYz");
    assert_check (f, gw_check_disks, OK, "--disks shared", NULL); /* it is there: no temporary one */
    disk->st_ino = 0;
    assert_check (f, gw_check_disks, GW_VERDICT_REFUSED, GW_CAUSE_DISK_TEMPORARY, "temporary", "'d0'");
}

static void
add_state (GPtrArray *states, const char *type, gint64 version, gint64 minimum)
{
    GwVmState *state = g_new0 (GwVmState, 1);
    state->type = g_strdup (type);
    state->version = version;
    state->minimum = minimum;
    g_ptr_array_add (states, state);
}

static void
test_vm_states (void)
{
    g_autoptr (Facts) f = facts_new ();
    f->vm->device_types = g_strsplit ("no-state e1000", " ", -1);
    assert_check (f, gw_check_vm_states, OK, "the source's QEMU does not tell", NULL);
    add_state (f->source->vm_states, "e1000", 3, 1);
    add_state (f->source->vm_states, "other", 3, 1); /* the VM has none */
    assert_check (f, gw_check_vm_states, OK, "the destination's QEMU does not tell", NULL);
    add_state (f->destination->vm_states, "other", 1, 1);
    assert_check (f, gw_check_vm_states, WARNING, "'e1000'", "does not list");
    add_state (f->destination->vm_states, "e1000", 3, 3);
    assert_check (f, gw_check_vm_states, OK, "1 types of devices", NULL);
    GwVmState *there = f->destination->vm_states->pdata[1];
    there->version = there->minimum = 2;
    assert_check (f, gw_check_vm_states, REFUSED, "'e1000' sends its state in version 3", "2 to 2");
    there->version = there->minimum = 4;
    assert_check (f, gw_check_vm_states, REFUSED, "version 3", "4 to 4");
}

static void
test_device_types (void)
{
    g_autoptr (Facts) f = facts_new ();
    GwDevice *device = g_new0 (GwDevice, 1);
    device->path = g_strdup ("/machine/peripheral-anon/device[0]");
    device->type = g_strdup ("e1000");
    g_ptr_array_add (f->vm->devices, device);
    f->destination->qemu_version = g_strdup ("7.2.22");
    assert_check (f, gw_check_device_types, OK, "1 devices", "not compared");
    f->destination->device_types = g_strsplit ("e1000e rtl8139", " ", -1);
    assert_check (f, gw_check_device_types, REFUSED, "device[0]' (e1000)", "7.2.22 knows no 'e1000'");
    device->id = g_strdup ("net0");
    assert_check (f, gw_check_device_types, REFUSED, "'net0' (e1000)", NULL);
    g_strfreev (f->destination->device_types);
    f->destination->device_types = g_strsplit ("e1000e e1000", " ", -1);
    assert_check (f, gw_check_device_types, OK, "1 devices, all", NULL);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/check/network", test_network);
    g_test_add_func ("/check/data-address", test_data_address);
    g_test_add_func ("/check/other-vm", test_other_vm);
    g_test_add_func ("/check/clock", test_clock);
    g_test_add_func ("/check/backing", test_backing);
    g_test_add_func ("/check/disks", test_disks);
    g_test_add_func ("/check/device-types", test_device_types);
    g_test_add_func ("/check/vm-states", test_vm_states);
    return g_test_run ();
}
