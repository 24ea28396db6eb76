/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the VM as it runs to the command line that makes the same VM on another host.
 *
 * The source's own command line is the base, because QEMU cannot tell all that was asked of it.
 * What it does not say, or says in words that another QEMU may read differently, comes from the
 * running VM: the machine type with its version, the address of every device, devices and backends
 * that came or went at run time.  What names a resource of the host goes through the path map.
 * Pure.
 */
#include "derive.h"

#include <string.h>

void
gw_derive_keep (GwDerive *d, const GwOption *option, const char *arg)
{
    g_ptr_array_add (d->options, gw_option_new (option->name, arg));
}

static void
keep_opt (GwDerive *d, const GwOption *option, GwOptStr *opt)
{
    if (opt == NULL)
        return; /* left out */
    g_autofree char *arg = gw_optstr_to_text (opt);
    gw_derive_keep (d, option, arg);
    gw_optstr_free (opt);
}

static void
keep_path (GwDerive *d, const GwOption *option, const char *kind)
{
    g_autofree char *moved = gw_derive_move_path (
        d, option->name, kind, option->arg,
        strcmp (option->info->name, "bios") == 0 || strcmp (option->info->name, "option-rom") == 0);
    gw_derive_keep (d, option, moved != NULL ? moved : option->arg);
}

static void
keep_display (GwDerive *d, const GwOption *option)
{
    static const char *const windows[] = { "gtk", "sdl", "curses", "cocoa", "spice-app", NULL };
    g_auto (GStrv) parts = option->arg != NULL ? g_strsplit (option->arg, ",", 2) : NULL;
    if (parts != NULL && (parts[0] == NULL || !g_strv_contains (windows, parts[0]))) {
        gw_derive_keep (d, option, option->arg);
        return;
    }
    gw_derive_add_rewrite (d, option->name, option->arg != NULL ? option->arg : "", "-display none",
                           "a window of the source's screen");
    g_ptr_array_add (d->options, gw_option_new ("-display", "none"));
}

static void
keep_as_it_is (GwDerive *d, const GwOption *option)
{
    gw_derive_keep (d, option, option->arg);
}

static void
leave_out (GwDerive *d, const GwOption *option)
{
}

static void
keep_input (GwDerive *d, const GwOption *option)
{
    keep_path (d, option, "input");
}

static void
keep_file (GwDerive *d, const GwOption *option)
{
    keep_path (d, option, "file");
}

static void
keep_image (GwDerive *d, const GwOption *option)
{
    keep_path (d, option, "image");
}

static void
keep_charspec (GwDerive *d, const GwOption *option)
{
    g_autofree char *arg = gw_derive_charspec (d, option);
    gw_derive_keep (d, option, arg);
}

static GwOptStr *
refuse (GwDerive *d, const GwOption *option, GError **error)
{
    gw_fail (error, GW_CAUSE_OPTION_UNSUPPORTED,
             "the VM was started with '%s', which cannot be carried to another host", option->name);
    return NULL;
}

/* One of the two. */
static const struct {
    GwOptStr *(*derive) (GwDerive *d, const GwOption *option, GError **error);
    void (*keep) (GwDerive *d, const GwOption *option);
} actions[] = {
    [GW_OPTION_KEEP] = { NULL, keep_as_it_is },
    [GW_OPTION_FLAG] = { NULL, keep_as_it_is },
    [GW_OPTION_DROP] = { NULL, leave_out },
    [GW_OPTION_DROP_FLAG] = { NULL, leave_out },
    [GW_OPTION_PATH] = { NULL, keep_input },
    [GW_OPTION_CREATES] = { NULL, keep_file },
    [GW_OPTION_IMAGE] = { NULL, keep_image },
    [GW_OPTION_KEYED] = { gw_derive_keyed, NULL },
    [GW_OPTION_DRIVE] = { gw_derive_drive, NULL },
    [GW_OPTION_BLOCKDEV] = { gw_derive_blockdev, NULL },
    [GW_OPTION_CHARDEV] = { gw_derive_chardev, NULL },
    [GW_OPTION_NETDEV] = { gw_derive_netdev, NULL },
    [GW_OPTION_OBJECT] = { gw_derive_object, NULL },
    [GW_OPTION_DEVICE] = { gw_derive_device, NULL },
    [GW_OPTION_MACHINE] = { gw_derive_machine, NULL },
    [GW_OPTION_MON] = { gw_derive_mon, NULL },
    [GW_OPTION_CHARSPEC] = { NULL, keep_charspec },
    [GW_OPTION_DISPLAY] = { NULL, keep_display },
    [GW_OPTION_DISPLAY_FLAG] = { NULL, keep_display },
    [GW_OPTION_REFUSE] = { refuse, NULL },
    [GW_OPTION_REFUSE_FLAG] = { refuse, NULL },
};

gboolean
gw_derive_option (GwDerive *d, const GwOption *option, GError **error)
{
    GError *failure = NULL;
    GwOptionAction action = option->info->action;
    d->index = d->next_anonymous[gw_derive_anonymous_kind (option)]++;
    if (actions[action].derive != NULL)
        keep_opt (d, option, actions[action].derive (d, option, &failure));
    else
        actions[action].keep (d, option);
    if (failure != NULL)
        g_propagate_error (error, failure);
    return failure == NULL;
}

static gboolean
derive_all (GwDerive *d, const GPtrArray *options, GError **error)
{
    gw_derive_number_anonymous (d, options);
    for (guint i = 0; i < options->len; i++)
        if (!gw_derive_option (d, options->pdata[i], error))
            return FALSE;
    if (!d->has_machine) {
        gw_derive_add_rewrite (d, "-machine", "", d->vm->machine,
                               "QEMU's default, pinned to its version");
        g_ptr_array_insert (d->options, 0, gw_option_new ("-machine", d->vm->machine));
    }
    if (!gw_derive_add_hotplugged (d, error))
        return FALSE;
    for (guint i = 0; i < d->vm->disks->len; i++)
        gw_derive_need_backing (d, d->vm->disks->pdata[i]);
    return TRUE;
}

GwDerived *
gw_derive_command_line (const GwVm *vm, const char *const *maps, GError **error)
{
    if (!gw_derive_check_maps (maps, error))
        return NULL;
    g_autoptr (GPtrArray) options = gw_cmdline_parse ((const char *const *) vm->argv, error);
    if (options == NULL)
        return NULL;
    g_autoptr (GwDerived) out = gw_struct_new (&gw_derived_type);
    g_autoptr (GPtrArray) result = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_option_free);
    GwDerive d = { .vm = vm, .maps = maps, .options = result, .out = out };
    if (!derive_all (&d, options, error))
        return NULL;
    out->argv = gw_cmdline_to_argv (result);
    return g_steal_pointer (&out);
}
