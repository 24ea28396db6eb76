/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Command lines through gw_derive_command_line().  A line of the input is an argument, or with a '=' in
 * front of it a map.  What comes out must be a command line, and itself when it is derived again. */
#include "host-internal.h"

#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
add_device (GwVm *vm, const char *id, const char *path, const char *bus, gboolean is_hotplugged)
{
    GwDevice *device = g_new0 (GwDevice, 1);
    device->id = g_strdup (id);
    device->path = g_strconcat ("/machine/", path, NULL);
    device->type = g_strdup ("e1000");
    device->bus = g_strdup (bus);
    device->pins = g_strsplit ("addr=02.0 bus=pcie.0 romfile=r", " ", -1);
    device->is_hotplugged = is_hotplugged;
    g_ptr_array_add (vm->devices, device);
}

/* `is_first` leaves out what a VM that was made from a derived command line has no more. */
static GwVm *
vm_new (const char *const *argv, gboolean is_first)
{
    GwVm *vm = gw_struct_new (&gw_vm_type);
    GwChardev *chardev = g_new0 (GwChardev, 1);
    chardev->label = g_strdup ("c0");
    g_ptr_array_add (vm->chardevs, chardev);
    vm->machine = g_strdup ("pc-q35-7.2");
    vm->cwd = g_strdup ("/cwd");
    vm->argv = g_strdupv ((char **) argv);
    vm->netdevs = g_strsplit ("n0", " ", -1);
    vm->objects = g_strsplit ("o0", " ", -1);
    vm->block_names = g_strsplit ("d0", " ", -1);
    vm->extras = g_strsplit (is_first ? "-netdev user,id=n0" : "", " ", -1);
    add_device (vm, "a", "peripheral/a", "pcie.0", FALSE);
    add_device (vm, "b", "peripheral/b", "h.0", is_first);
    add_device (vm, "h", "peripheral/h", "a", is_first);
    return vm;
}

static gboolean
has_json (const char *const *argv)
{
    for (gsize i = 0; argv[i] != NULL; i++)
        if (argv[i][0] == '{')
            return TRUE;
    return FALSE;
}

/* The derived arguments with a program in front. */
static GStrv
with_program (GStrv arguments)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    g_strv_builder_add (builder, "qemu");
    g_strv_builder_addv (builder, (const char **) arguments);
    return g_strv_builder_end (builder);
}

static void
check_derived (const GwDerived *derived, gboolean is_mapped)
{
    g_autoptr (GError) error = NULL;
    g_auto (GStrv) argv = with_program (derived->argv);
    g_autoptr (GPtrArray) options = gw_cmdline_parse ((const char *const *) argv, &error);
    g_assert (options != NULL);
    for (guint i = 0; i < derived->needs->len; i++) {
        const GwNeed *need = derived->needs->pdata[i];
        g_assert (need->kind != NULL && need->path != NULL && *need->source_path == '/');
    }
    if (is_mapped || has_json ((const char *const *) argv))
        return; /* maps may be applied to what they gave; numbers in JSON may be written otherwise */
    g_autoptr (GwVm) vm = vm_new ((const char *const *) argv, FALSE);
    g_autoptr (GwDerived) again = gw_derive_command_line (vm, NULL, &error);
    g_assert_no_error (error);
    g_assert (g_strv_equal ((const char *const *) again->argv, (const char *const *) derived->argv));
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    (void) g_log_set_always_fatal (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING);
    g_autofree char *text = g_strndup ((const char *) data, size);
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    g_autoptr (GStrvBuilder) words = g_strv_builder_new ();
    g_autoptr (GStrvBuilder) mapped = g_strv_builder_new ();
    g_autoptr (GError) error = NULL;
    g_strv_builder_add (words, "qemu");
    for (gsize i = 0; lines[i] != NULL; i++)
        g_strv_builder_add (lines[i][0] == '=' ? mapped : words, lines[i] + (lines[i][0] == '='));
    g_auto (GStrv) argv = g_strv_builder_end (words);
    g_auto (GStrv) maps = g_strv_builder_end (mapped);
    g_autoptr (GwVm) vm = vm_new ((const char *const *) argv, TRUE);
    g_autoptr (GwDerived) derived =
        gw_derive_command_line (vm, (const char *const *) maps, &error);
    g_assert ((derived == NULL) == (error != NULL));
    if (derived != NULL)
        check_derived (derived, maps[0] != NULL);
    else
        g_assert (gw_error_get_cause (error) == GW_CAUSE_OPTION_UNSUPPORTED ||
                  gw_error_get_cause (error) == GW_CAUSE_USAGE);
    return 0;
}
