/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Backends and devices that came at run time, those that offer a bus before those that sit on it. */
#include "derive.h"

#include <stdio.h>
#include <string.h>

static gboolean
offers_bus (const GwDevice *device, const char *bus)
{
    gsize len = device->id != NULL ? strlen (device->id) : 0;
    return len > 0 && bus != NULL && strncmp (bus, device->id, len) == 0 &&
           (bus[len] == '.' || bus[len] == '\0');
}

static gboolean
waits_for_other (const GPtrArray *left, const GwDevice *device)
{
    for (guint i = 0; i < left->len; i++)
        if (left->pdata[i] != device && offers_bus (left->pdata[i], device->bus))
            return TRUE;
    return FALSE;
}

static void
add_hotplugged_device (GwDerive *d, const GwDevice *device)
{
    GString *arg = g_string_new (device->type);
    if (device->id != NULL)
        g_string_append_printf (arg, ",id=%s", device->id);
    g_autoptr (GwOptStr) opt = gw_optstr_parse (arg->str);
    for (gsize i = 0; device->pins != NULL && device->pins[i] != NULL; i++) {
        const char *equals = strchr (device->pins[i], '=');
        g_autofree char *key = g_strndup (device->pins[i], (gsize) (equals - device->pins[i]));
        gw_optstr_set (opt, key, equals + 1);
    }
    g_autoptr (GwOption) option = gw_option_new ("-device", NULL);
    gw_derive_move_keys (d, option, opt, "input");
    g_autofree char *text = gw_optstr_to_text (opt);
    gw_derive_add_rewrite (d, "-device", "", text, "added to the VM at run time");
    gw_derive_keep (d, option, text);
    g_string_free (arg, TRUE);
}

/* Whether the source's own command line made the device: then it is there already. */
static gboolean
is_on_cmdline (const GwDerive *d, const GwDevice *device)
{
    unsigned index;
    if (device->id == NULL)
        return sscanf (device->path, "/machine/peripheral-anon/device[%u]", &index) == 1 &&
               index < d->n_anonymous;
    for (guint i = 0; i < d->options->len; i++) {
        const GwOption *option = d->options->pdata[i];
        if (option->info->action != GW_OPTION_DEVICE)
            continue;
        g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
        if (g_strcmp0 (gw_optstr_get (opt, "id"), device->id) == 0)
            return TRUE;
    }
    return FALSE;
}

gboolean
gw_derive_add_hotplugged (GwDerive *d, GError **error)
{
    g_autoptr (GPtrArray) left = g_ptr_array_new ();
    for (guint i = 0; i < d->vm->devices->len; i++) {
        GwDevice *device = d->vm->devices->pdata[i];
        if (device->is_hotplugged && !is_on_cmdline (d, device))
            g_ptr_array_add (left, device);
    }
    for (gsize i = 0; d->vm->extras != NULL && d->vm->extras[i] != NULL; i += 2) {
        g_autoptr (GwOption) option = gw_option_new (d->vm->extras[i], d->vm->extras[i + 1]);
        gw_derive_add_rewrite (d, option->name, "", option->arg, "added to the VM at run time");
        if (!gw_derive_option (d, option, error))
            return FALSE;
    }
    while (left->len > 0) {
        guint before = left->len;
        for (guint i = 0; i < left->len; i++) {
            if (waits_for_other (left, left->pdata[i]))
                continue;
            add_hotplugged_device (d, left->pdata[i]);
            g_ptr_array_remove_index (left, i--);
        }
        if (left->len == before)
            return gw_fail (error, GW_CAUSE_DEVICE_UNDERIVABLE,
                            "hot-plugged device '%s' sits on a bus that is nowhere",
                            ((GwDevice *) left->pdata[0])->path);
    }
    return TRUE;
}
