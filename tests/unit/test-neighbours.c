/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What else is on the host. */
#include "host-internal.h"

#include <string.h>

static void
test_parse (void)
{
    static const struct {
        const char *line, *name, *uuid; /* name "-": no QEMU */
    } rows[] = {
        { "/usr/bin/qemu-system-x86_64 -name web1 -uuid 1-2", "web1", "1-2" },
        { "qemu-system-x86_64 --uuid 1-2 --name guest=web1,debug-threads=on", "web1", "1-2" },
        { "qemu-kvm -m 64 -name debug-threads=on,guest=a", "a", NULL },
        { "qemu-system-x86_64 -m -uuid", NULL, NULL },
        { "qemu-system-x86_64", "-", NULL },
        { "/bin/sh -name x", "-", NULL },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_auto (GStrv) argv = g_strsplit (rows[i].line, " ", -1);
        GwOtherVm *vm = gw_parse_other_vm ((const char *const *) argv);
        g_assert_true ((vm == NULL) == (g_strcmp0 (rows[i].name, "-") == 0));
        if (vm == NULL)
            continue;
        g_assert_cmpstr (vm->name, ==, rows[i].name);
        g_assert_cmpstr (vm->uuid, ==, rows[i].uuid);
        g_free (vm->name);
        g_free (vm->uuid);
        g_free (vm);
    }
}

/* Every network namespace has a loopback interface; its MTU is the kernel's default. */
static void
test_interfaces (void)
{
    g_autoptr (GwHostFacts) facts = gw_struct_new (&gw_host_facts_type);
    gw_read_neighbours (facts);
    const GwInterface *loopback = NULL;
    for (guint i = 0; i < facts->interfaces->len; i++) {
        const GwInterface *interface = facts->interfaces->pdata[i];
        if (strcmp (interface->name, "lo") == 0)
            loopback = interface;
    }
    g_assert_nonnull (loopback);
    g_assert_cmpint (loopback->mtu, >=, 1500);
    g_assert_nonnull (facts->addresses);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/neighbours/parse", test_parse);
    g_test_add_func ("/neighbours/interfaces", test_interfaces);
    return g_test_run ();
}
