/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tables of fields of every struct, in the order of model.h. */
#include "model.h"

#define STR(s, m) { #m, GW_FIELD_STR, G_STRUCT_OFFSET (s, m), NULL, 0, 0, FALSE }
#define REQ(s, m) { #m, GW_FIELD_STR, G_STRUCT_OFFSET (s, m), NULL, 0, 0, TRUE }
#define STRV(s, m) { #m, GW_FIELD_STRV, G_STRUCT_OFFSET (s, m), NULL, 0, 0, FALSE }
#define BOOL(s, m) { #m, GW_FIELD_BOOL, G_STRUCT_OFFSET (s, m), NULL, 0, 0, FALSE }
/* A missing one is 0, so it is required where 0 is out of range. */
#define INT(s, m, lo, hi) { #m, GW_FIELD_INT, G_STRUCT_OFFSET (s, m), NULL, lo, hi, (lo) > 0 }
#define NUM(s, m) INT (s, m, 0, G_MAXINT64)
#define ANY(s, m) INT (s, m, G_MININT64, G_MAXINT64)
#define ARRAY(s, m, t) { #m, GW_FIELD_ARRAY, G_STRUCT_OFFSET (s, m), &t, 0, 0, FALSE }
#define TYPE(var, s, fields)                                                                       \
    const GwStructType var = { #s, sizeof (s), fields, G_N_ELEMENTS (fields) }
#define FREE(name, s, type)                                                                        \
    void name (s *data)                                                                            \
    {                                                                                              \
        gw_struct_free (&type, data);                                                              \
    }

static const GwField ram_block_fields[] = {
    REQ (GwRamBlock, name),
    NUM (GwRamBlock, used_bytes),
    NUM (GwRamBlock, max_bytes),
    NUM (GwRamBlock, page_bytes),
};
static TYPE (ram_block_type, GwRamBlock, ram_block_fields);

static const GwField device_fields[] = {
    REQ (GwDevice, path), STR (GwDevice, id),    REQ (GwDevice, type),
    STR (GwDevice, bus),  STRV (GwDevice, pins), BOOL (GwDevice, is_hotplugged),
};
static TYPE (device_type, GwDevice, device_fields);

static const GwField backing_fields[] = {
    REQ (GwBacking, name), STR (GwBacking, path), STR (GwBacking, format),
};
static TYPE (backing_type, GwBacking, backing_fields);

static const GwField disk_fields[] = {
    REQ (GwDisk, device), STR (GwDisk, node),   REQ (GwDisk, driver), STR (GwDisk, path),
    STR (GwDisk, url),    NUM (GwDisk, bytes),  ANY (GwDisk, st_dev), ANY (GwDisk, st_ino),
    BOOL (GwDisk, is_read_only), BOOL (GwDisk, is_unflushed),
    ARRAY (GwDisk, backing, backing_type), NUM (GwDisk, allocated_bytes),
    STR (GwDisk, options), STR (GwDisk, obstacle),
};
static TYPE (disk_type, GwDisk, disk_fields);

static const GwField chardev_fields[] = { REQ (GwChardev, label), STR (GwChardev, filename) };
static TYPE (chardev_type, GwChardev, chardev_fields);

static const GwField vm_fields[] = {
    STR (GwVm, name),
    REQ (GwVm, uuid),
    STR (GwVm, qmp_path),
    INT (GwVm, pid, 1, G_MAXINT32),
    NUM (GwVm, start_time),
    INT (GwVm, uid, 0, G_MAXUINT32),
    STR (GwVm, user),
    REQ (GwVm, binary),
    REQ (GwVm, cwd),
    STRV (GwVm, argv),
    INT (GwVm, version_major, 0, 1000),
    INT (GwVm, version_minor, 0, 1000),
    INT (GwVm, version_micro, 0, 1000),
    STR (GwVm, version_package),
    REQ (GwVm, machine),
    STR (GwVm, cpu_type),
    STR (GwVm, accel),
    INT (GwVm, n_cpus, 1, 65536),
    NUM (GwVm, ram_bytes),
    ARRAY (GwVm, ram_blocks, ram_block_type),
    ARRAY (GwVm, devices, device_type),
    STRV (GwVm, device_types),
    ARRAY (GwVm, disks, disk_type),
    ARRAY (GwVm, chardevs, chardev_type),
    STRV (GwVm, netdevs),
    STRV (GwVm, objects),
    STRV (GwVm, block_names),
    STRV (GwVm, extras),
    REQ (GwVm, run_state),
    BOOL (GwVm, is_running),
    STR (GwVm, migration_status),
    STRV (GwVm, blocked_reasons),
    STRV (GwVm, capabilities),
    STR (GwVm, tls_creds),
    NUM (GwVm, epoch),
};
TYPE (gw_vm_type, GwVm, vm_fields);
FREE (gw_vm_free, GwVm, gw_vm_type)

char *
gw_vm_get_label (const GwVm *vm)
{
    if (vm->name != NULL && *vm->name != '\0')
        return g_strdup (vm->name);
    if (vm->uuid != NULL && g_strcmp0 (vm->uuid, "00000000-0000-0000-0000-000000000000") != 0)
        return g_strdup (vm->uuid);
    return g_strdup_printf ("pid-%" G_GINT64_FORMAT, vm->pid);
}

static const GwField part_fields[] = {
    REQ (GwPart, type),  STR (GwPart, id),    REQ (GwPart, bus),
    REQ (GwPart, place), STR (GwPart, model), INT (GwPart, n_queues, -1, G_MAXUINT32),
    INT (GwPart, n_vectors, -1, G_MAXUINT32),
};
static TYPE (part_type, GwPart, part_fields);

static const GwField cpu_word_fields[] = {
    REQ (GwCpuWord, word),
    NUM (GwCpuWord, bits),
    NUM (GwCpuWord, withheld),
};
static TYPE (cpu_word_type, GwCpuWord, cpu_word_fields);

static const GwField inventory_fields[] = {
    STR (GwInventory, cpu_type),
    ARRAY (GwInventory, cpu_words, cpu_word_type),
    ARRAY (GwInventory, ram_blocks, ram_block_type),
    ARRAY (GwInventory, parts, part_type),
};
TYPE (gw_inventory_type, GwInventory, inventory_fields);
FREE (gw_inventory_free, GwInventory, gw_inventory_type)

static const GwField rewrite_fields[] = {
    STR (GwRewrite, option),
    STR (GwRewrite, from),
    STR (GwRewrite, to),
    STR (GwRewrite, why),
};
static TYPE (rewrite_type, GwRewrite, rewrite_fields);

static const GwField need_fields[] = {
    REQ (GwNeed, path),
    REQ (GwNeed, kind),
    STR (GwNeed, source_path),
};
static TYPE (need_type, GwNeed, need_fields);

static const GwField derived_fields[] = {
    STRV (GwDerived, argv),
    ARRAY (GwDerived, rewrites, rewrite_type),
    ARRAY (GwDerived, needs, need_type),
    STRV (GwDerived, warnings),
};
TYPE (gw_derived_type, GwDerived, derived_fields);
FREE (gw_derived_free, GwDerived, gw_derived_type)

static const GwField qemu_facts_fields[] = {
    REQ (GwQemuFacts, identity),
    STR (GwQemuFacts, version),
    STRV (GwQemuFacts, machines),
    STRV (GwQemuFacts, devices),
};
TYPE (gw_qemu_facts_type, GwQemuFacts, qemu_facts_fields);
FREE (gw_qemu_facts_free, GwQemuFacts, gw_qemu_facts_type)

static const GwField vm_state_fields[] = {
    REQ (GwVmState, type),
    NUM (GwVmState, version),
    NUM (GwVmState, minimum),
};
static TYPE (vm_state_type, GwVmState, vm_state_fields);

static const GwField vm_states_fields[] = {
    REQ (GwVmStates, identity),
    REQ (GwVmStates, machine),
    ARRAY (GwVmStates, states, vm_state_type),
};
TYPE (gw_vm_states_type, GwVmStates, vm_states_fields);
FREE (gw_vm_states_free, GwVmStates, gw_vm_states_type)

static const GwField lock_holder_fields[] = {
    INT (GwLockHolder, pid, 1, G_MAXINT32),
    STR (GwLockHolder, name),
};
static TYPE (lock_holder_type, GwLockHolder, lock_holder_fields);

static const GwField path_facts_fields[] = {
    REQ (GwPathFacts, path),   BOOL (GwPathFacts, exists), BOOL (GwPathFacts, is_live),
    ANY (GwPathFacts, st_dev), ANY (GwPathFacts, st_ino),  NUM (GwPathFacts, bytes),
    BOOL (GwPathFacts, is_forbidden),
    BOOL (GwPathFacts, is_device), BOOL (GwPathFacts, has_directory),
    BOOL (GwPathFacts, is_partial),
    BOOL (GwPathFacts, takes_images), ANY (GwPathFacts, fs_dev), NUM (GwPathFacts, free_bytes),
    STR (GwPathFacts, real_path),
    STR (GwPathFacts, content),
    BOOL (GwPathFacts, has_token),
    STR (GwPathFacts, device_identity),
    ARRAY (GwPathFacts, holders, lock_holder_type),
    STR (GwPathFacts, certificate),
    NUM (GwPathFacts, certificate_ends_s),
};
TYPE (gw_path_facts_type, GwPathFacts, path_facts_fields);

static const GwField huge_pages_fields[] = {
    INT (GwHugePages, page_bytes, 1, G_MAXINT64),
    NUM (GwHugePages, n_total),
    NUM (GwHugePages, n_free),
};
static TYPE (huge_pages_type, GwHugePages, huge_pages_fields);

static const GwField interface_fields[] = { REQ (GwInterface, name), NUM (GwInterface, mtu) };
static TYPE (interface_type, GwInterface, interface_fields);

static const GwField other_vm_fields[] = {
    INT (GwOtherVm, pid, 1, G_MAXINT32),
    NUM (GwOtherVm, start_time),
    STR (GwOtherVm, name),
    STR (GwOtherVm, uuid),
};
static TYPE (other_vm_type, GwOtherVm, other_vm_fields);

static const GwField host_facts_fields[] = {
    REQ (GwHostFacts, hostname),
    REQ (GwHostFacts, boot_id),
    STR (GwHostFacts, kernel),
    NUM (GwHostFacts, mem_total_bytes),
    NUM (GwHostFacts, mem_available_bytes),
    STR (GwHostFacts, qemu_binary),
    STR (GwHostFacts, qemu_error),
    STR (GwHostFacts, qemu_version),
    STRV (GwHostFacts, machines),
    STRV (GwHostFacts, device_types),
    ARRAY (GwHostFacts, vm_states, vm_state_type),
    STRV (GwHostFacts, data_addresses),
    ARRAY (GwHostFacts, paths, gw_path_facts_type),
    ARRAY (GwHostFacts, interfaces, interface_type),
    STRV (GwHostFacts, addresses),
    ARRAY (GwHostFacts, qemus, other_vm_type),
    ANY (GwHostFacts, clock_offset_us),
    NUM (GwHostFacts, now_s),
    ARRAY (GwHostFacts, huge_pages, huge_pages_type),
    BOOL (GwHostFacts, has_userfaultfd),
    STR (GwHostFacts, userfaultfd_error),
    BOOL (GwHostFacts, has_seccomp),
    BOOL (GwHostFacts, has_stable_tsc),
    STR (GwHostFacts, cpu_model),
    STR (GwHostFacts, clock_source),
    STRV (GwHostFacts, jobs),
    INT (GwHostFacts, uid, 0, G_MAXUINT32),
};
TYPE (gw_host_facts_type, GwHostFacts, host_facts_fields);
FREE (gw_host_facts_free, GwHostFacts, gw_host_facts_type)

static const GwField plan_fields[] = {
    REQ (GwPlan, vm),
    REQ (GwPlan, destination),
    INT (GwPlan, max_downtime_ms, 1, 2000000),
    INT (GwPlan, timeout_s, 0, G_MAXINT32),
    REQ (GwPlan, on_timeout),
    REQ (GwPlan, postcopy),
    NUM (GwPlan, max_bandwidth_bps),
    NUM (GwPlan, throttle_disks_bps),
    INT (GwPlan, n_paths, 1, 8),
    INT (GwPlan, link_deadline_s, 1, 31536000),
    INT (GwPlan, settle_s, 0, 10),
    STRV (GwPlan, data_addresses),
    STRV (GwPlan, maps),
    REQ (GwPlan, disks),
    BOOL (GwPlan, overwrites_images),
    BOOL (GwPlan, resumes_disks),
    REQ (GwPlan, verify),
    REQ (GwPlan, codec),
    REQ (GwPlan, guest_clock),
    BOOL (GwPlan, is_rehearsed),
    INT (GwPlan, rehearse_budget_ms, 0, 60000),
    BOOL (GwPlan, keeps_source),
    STRV (GwPlan, accepted_risks),
    BOOL (GwPlan, is_check_only),
};
TYPE (gw_plan_type, GwPlan, plan_fields);
FREE (gw_plan_free, GwPlan, gw_plan_type)

GwPlan *
gw_plan_new (void)
{
    GwPlan *plan = gw_struct_new (&gw_plan_type);
    plan->max_downtime_ms = 300;
    plan->on_timeout = g_strdup ("postcopy");
    plan->postcopy = g_strdup ("auto");
    plan->n_paths = 1;
    plan->link_deadline_s = 300;
    plan->settle_s = 1;
    plan->disks = g_strdup ("auto");
    plan->verify = g_strdup ("auto");
    plan->codec = g_strdup ("auto");
    plan->guest_clock = g_strdup ("auto");
    plan->is_rehearsed = TRUE;
    plan->rehearse_budget_ms = 200;
    return plan;
}

static const GwField disk_plan_fields[] = {
    REQ (GwDiskPlan, name),
    STR (GwDiskPlan, node),
    REQ (GwDiskPlan, action),
    REQ (GwDiskPlan, reason),
    STR (GwDiskPlan, cause),
    STR (GwDiskPlan, path),
    STR (GwDiskPlan, target),
    STR (GwDiskPlan, format),
    STR (GwDiskPlan, options),
    STR (GwDiskPlan, backing),
    STR (GwDiskPlan, backing_format),
    BOOL (GwDiskPlan, is_top),
    BOOL (GwDiskPlan, overwrites),
    BOOL (GwDiskPlan, resumes),
    BOOL (GwDiskPlan, is_kept),
    BOOL (GwDiskPlan, is_unsure),
    NUM (GwDiskPlan, bytes),
    NUM (GwDiskPlan, allocated_bytes),
};
static TYPE (disk_plan_type, GwDiskPlan, disk_plan_fields);

static const GwField disk_plans_fields[] = { ARRAY (GwDiskPlans, disks, disk_plan_type) };
TYPE (gw_disk_plans_type, GwDiskPlans, disk_plans_fields);
FREE (gw_disk_plans_free, GwDiskPlans, gw_disk_plans_type)

gboolean
gw_disk_plan_is (const GwDiskPlan *plan, const char *action)
{
    return g_strcmp0 (plan->action, action) == 0;
}

guint
gw_disk_plans_count_copies (const GwDiskPlans *plans)
{
    guint n = 0;
    for (guint i = 0; plans != NULL && i < plans->disks->len; i++)
        n += gw_disk_plan_is (plans->disks->pdata[i], "copy") ? 1 : 0;
    return n;
}

static const GwField mirror_fields[] = {
    REQ (GwMirror, name),        REQ (GwMirror, status),     STR (GwMirror, error),
    NUM (GwMirror, total_bytes), NUM (GwMirror, done_bytes), ANY (GwMirror, rate_bps),
    ANY (GwMirror, eta_ms),
};
static TYPE (mirror_type, GwMirror, mirror_fields);

static const GwField mirrors_fields[] = { ARRAY (GwMirrors, mirrors, mirror_type) };
TYPE (gw_mirrors_type, GwMirrors, mirrors_fields);
FREE (gw_mirrors_free, GwMirrors, gw_mirrors_type)

static const GwField migration_fields[] = {
    REQ (GwMigration, status),
    STR (GwMigration, error_desc),
    NUM (GwMigration, total_bytes),
    NUM (GwMigration, remaining_bytes),
    NUM (GwMigration, transferred_bytes),
    NUM (GwMigration, normal_bytes),
    NUM (GwMigration, dirty_bps),
    NUM (GwMigration, rate_bps),
    NUM (GwMigration, rounds),
    NUM (GwMigration, page_bytes),
    NUM (GwMigration, expected_downtime_ms),
    NUM (GwMigration, downtime_ms),
    NUM (GwMigration, total_ms),
    NUM (GwMigration, setup_ms),
    NUM (GwMigration, throttle_percent),
    NUM (GwMigration, postcopy_requests),
};
TYPE (gw_migration_type, GwMigration, migration_fields);
FREE (gw_migration_free, GwMigration, gw_migration_type)

/* QEMU's megabits a second are a double (or an integer when they are whole). */
static gint64
bits_to_bps (JsonObject *ram)
{
    JsonNode *node = json_object_get_member (ram, "mbps");
    double mbps = node != NULL && JSON_NODE_HOLDS_VALUE (node) ? json_node_get_double (node) : 0;
    return mbps > 0 && mbps < 1e9 ? (gint64) (mbps * 1e6 / 8) : 0;
}

static gint64
not_negative (JsonObject *object, const char *name)
{
    return MAX (gw_json_peek_int (object, name, 0), 0);
}

GwMigration *
gw_migration_from_qmp (JsonObject *reply)
{
    GwMigration *m = gw_struct_new (&gw_migration_type);
    JsonObject *ram = gw_json_peek_object (reply, "ram");
    m->status = g_strdup (gw_json_peek_string (reply, "status", "none"));
    m->error_desc = g_strdup (gw_json_peek_string (reply, "error-desc", NULL));
    m->expected_downtime_ms = not_negative (reply, "expected-downtime");
    m->downtime_ms = not_negative (reply, "downtime");
    m->total_ms = not_negative (reply, "total-time");
    m->setup_ms = not_negative (reply, "setup-time");
    m->throttle_percent = not_negative (reply, "cpu-throttle-percentage");
    if (ram == NULL)
        return m;
    m->total_bytes = not_negative (ram, "total");
    m->remaining_bytes = not_negative (ram, "remaining");
    m->transferred_bytes = not_negative (ram, "transferred");
    m->normal_bytes = not_negative (ram, "normal-bytes");
    m->page_bytes = not_negative (ram, "page-size");
    m->rounds = not_negative (ram, "dirty-sync-count");
    m->rate_bps = bits_to_bps (ram);
    m->postcopy_requests = not_negative (ram, "postcopy-requests");
    gint64 pages = not_negative (ram, "dirty-pages-rate");
    m->dirty_bps = pages < G_MAXINT32 && m->page_bytes < G_MAXINT32 ? pages * m->page_bytes : 0;
    return m;
}

static const GwField progress_fields[] = {
    STR (GwProgress, job),
    STR (GwProgress, vm),
    STR (GwProgress, phase),
    ANY (GwProgress, at_us),
    ANY (GwProgress, elapsed_ms),
    ANY (GwProgress, total_bytes),
    ANY (GwProgress, remaining_bytes),
    ANY (GwProgress, transferred_bytes),
    ANY (GwProgress, rate_bps),
    ANY (GwProgress, dirty_bps),
    ANY (GwProgress, rounds),
    ANY (GwProgress, percent),
    ANY (GwProgress, eta_ms),
    ANY (GwProgress, downtime_ms),
    STR (GwProgress, note),
    ARRAY (GwProgress, disks, mirror_type),
    BOOL (GwProgress, is_done),
};
TYPE (gw_progress_type, GwProgress, progress_fields);
FREE (gw_progress_free, GwProgress, gw_progress_type)
