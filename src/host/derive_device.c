/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The machine and its devices: pinned to the version and the addresses that the VM has. */
#include "derive.h"

#include <string.h>

static const GwDevice *
find_device (const GwVm *vm, const char *id, const char *path)
{
    for (guint i = 0; i < vm->devices->len; i++) {
        const GwDevice *device = vm->devices->pdata[i];
        if (id != NULL ? g_strcmp0 (device->id, id) == 0 : strcmp (device->path, path) == 0)
            return device;
    }
    return NULL;
}

/* QEMU numbers the devices that have no id as it makes them: first the plain ones and those of
 * -virtfs as they stand, then the disks of -drive if=virtio, then the devices in JSON (qemu_init()
 * and qemu_create_cli_devices() of 7.2). */
GwAnonymous
gw_derive_anonymous_kind (const GwOption *option)
{
    g_autoptr (GwOptStr) opt = option->arg != NULL ? gw_optstr_parse (option->arg) : NULL;
    if (strcmp (option->info->name, "virtfs") == 0)
        return GW_ANONYMOUS_PLAIN;
    if (option->info->action == GW_OPTION_DRIVE)
        return g_strcmp0 (gw_optstr_get (opt, "if"), "virtio") == 0 ? GW_ANONYMOUS_DRIVE
                                                                    : GW_ANONYMOUS_NONE;
    if (option->info->action != GW_OPTION_DEVICE || gw_optstr_get (opt, "id") != NULL)
        return GW_ANONYMOUS_NONE;
    return *option->arg == '{' ? GW_ANONYMOUS_JSON : GW_ANONYMOUS_PLAIN;
}

/* The number with which each kind begins. */
void
gw_derive_number_anonymous (GwDerive *d, const GPtrArray *options)
{
    guint count[GW_N_ANONYMOUS] = { 0 };
    for (guint i = 0; i < options->len; i++)
        count[gw_derive_anonymous_kind (options->pdata[i])]++;
    for (guint kind = GW_ANONYMOUS_PLAIN; kind < GW_N_ANONYMOUS; kind++) {
        d->next_anonymous[kind] = d->n_anonymous;
        d->n_anonymous += count[kind];
    }
}

static void
add_pins (GwDerive *d, const GwOption *option, GwOptStr *opt, const GwDevice *device)
{
    for (gsize i = 0; device->pins != NULL && device->pins[i] != NULL; i++) {
        const char *equals = strchr (device->pins[i], '=');
        g_autofree char *key = g_strndup (device->pins[i], (gsize) (equals - device->pins[i]));
        if (gw_optstr_has (opt, key))
            continue;
        gw_optstr_set (opt, key, equals + 1);
        gw_derive_add_rewrite (d, option->name, device->id != NULL ? device->id : device->type,
                               device->pins[i], "pinned to where the VM has it");
    }
}

GwOptStr *
gw_derive_device (GwDerive *d, const GwOption *option, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    const char *id = gw_optstr_get (opt, "id");
    g_autofree char *path = NULL;
    if (id == NULL)
        path = g_strdup_printf ("/machine/peripheral-anon/device[%u]", d->index);
    const GwDevice *device = find_device (d->vm, id, path);
    if (device == NULL || device->is_hotplugged) { /* another one may have come by the same id */
        gw_derive_add_rewrite (d, option->name, option->arg, "", "removed from the VM at run time");
        return NULL;
    }
    if (!gw_derive_refuse_fd (option, opt, error))
        return NULL;
    add_pins (d, option, opt, device);
    gw_derive_move_keys (d, option, opt, "input");
    return g_steal_pointer (&opt);
}

GwOptStr *
gw_derive_machine (GwDerive *d, const GwOption *option, GError **error)
{
    GwOptStr *opt = gw_optstr_parse (option->arg);
    const char *type = gw_optstr_get_first (opt, "type");
    if (type == NULL)
        return opt;
    d->has_machine = TRUE;
    if (strcmp (type, d->vm->machine) != 0) {
        gw_derive_add_rewrite (d, option->name, type, d->vm->machine,
                               "machine type pinned to its version");
        gw_optstr_set_first (opt, "type", d->vm->machine);
    }
    return opt;
}
