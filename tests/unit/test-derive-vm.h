/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A VM for the tests of command lines.  Lists are words separated by blanks. */
#ifndef TEST_DERIVE_VM_H
#define TEST_DERIVE_VM_H

#include "host-internal.h"

#include <string.h>

static inline GStrv
words (const char *text)
{
    return text != NULL && *text != '\0' ? g_strsplit (text, " ", -1) : g_new0 (char *, 1);
}

/* On "pc-q35-7.2", in "/cwd"; has a netdev "n0", a chardev "c0", an object "o0" and a disk "d0". */
static inline GwVm *
vm_new (const char *arguments)
{
    GwVm *vm = gw_struct_new (&gw_vm_type);
    g_autofree char *line =
        g_strconcat ("/usr/bin/qemu-system-x86_64", *arguments != '\0' ? " " : "", arguments, NULL);
    GwChardev *chardev = g_new0 (GwChardev, 1);
    chardev->label = g_strdup ("c0");
    g_ptr_array_add (vm->chardevs, chardev);
    vm->machine = g_strdup ("pc-q35-7.2");
    vm->cwd = g_strdup ("/cwd");
    vm->argv = words (line);
    vm->netdevs = words ("n0");
    vm->objects = words ("o0");
    vm->block_names = words ("d0");
    return vm;
}

/* A device with an id, or the anonymous one of that number ("#0"). */
static inline GwDevice *
vm_add_device (GwVm *vm, const char *id, const char *type, const char *bus, const char *pins)
{
    GwDevice *device = g_new0 (GwDevice, 1);
    gboolean is_anonymous = *id == '#';
    device->id = is_anonymous ? NULL : g_strdup (id);
    device->path = is_anonymous ? g_strdup_printf ("/machine/peripheral-anon/device[%s]", id + 1)
                                : g_strconcat ("/machine/peripheral/", id, NULL);
    device->type = g_strdup (type);
    device->bus = g_strdup (bus);
    device->pins = words (pins);
    g_ptr_array_add (vm->devices, device);
    return device;
}

/* The derived arguments as one line; maps may be NULL.  Aborts when it fails. */
static inline char *
derive_line (const GwVm *vm, const char *maps, GwDerived **ret_derived)
{
    g_autoptr (GError) error = NULL;
    g_auto (GStrv) list = words (maps);
    g_autoptr (GwDerived) derived =
        gw_derive_command_line (vm, (const char *const *) list, &error);
    g_assert_no_error (error);
    char *line = g_strjoinv (" ", derived->argv);
    if (ret_derived != NULL)
        *ret_derived = g_steal_pointer (&derived);
    return line;
}

/* Deriving fails so. */
static inline void
assert_underivable (const GwVm *vm, const char *maps, GwCause cause, const char *part)
{
    g_autoptr (GError) error = NULL;
    g_auto (GStrv) list = words (maps);
    g_assert_null (gw_derive_command_line (vm, (const char *const *) list, &error));
    g_assert_cmpint (gw_error_get_cause (error), ==, cause);
    if (strstr (error->message, part) == NULL)
        g_error ("'%s' does not say '%s'", error->message, part);
}

#endif
