/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Backends: disks, networks, objects.  One that went at run time is left out. */
#include "derive.h"

#include <string.h>

gboolean
gw_derive_is_gone (GwDerive *d, const GwOption *option, const char *id, const char *const *present)
{
    if (id == NULL || (present != NULL && g_strv_contains (present, id)))
        return FALSE;
    gw_derive_add_rewrite (d, option->name, id, "", "removed from the VM at run time");
    return TRUE;
}

gboolean
gw_derive_refuse_fd (const GwOption *option, const GwOptStr *opt, GError **error)
{
    static const char *const keys[] = { "fd", "fds", "vhostfd", "vhostfds", "sock_fd" };
    for (guint i = 0; i < G_N_ELEMENTS (keys); i++)
        if (gw_optstr_has (opt, keys[i]))
            return gw_fail (error, GW_CAUSE_OPTION_UNSUPPORTED,
                            "'%s %s': a file descriptor (%s=) of the source's parent process "
                            "cannot be had on another host",
                            option->name, option->arg, keys[i]);
    return TRUE;
}

GwOptStr *
gw_derive_drive (GwDerive *d, const GwOption *option, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    const char *id = gw_optstr_get (opt, "id");
    gboolean is_backend = g_strcmp0 (gw_optstr_get (opt, "if"), "none") == 0;
    if (is_backend && gw_derive_is_gone (d, option, id, (const char *const *) d->vm->block_names))
        return NULL;
    gw_derive_move_keys (d, option, opt, "image");
    return g_steal_pointer (&opt);
}

GwOptStr *
gw_derive_blockdev (GwDerive *d, const GwOption *option, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    if (gw_derive_is_gone (d, option, gw_optstr_get (opt, "node-name"),
                           (const char *const *) d->vm->block_names))
        return NULL;
    gw_derive_move_keys (d, option, opt, "image");
    return g_steal_pointer (&opt);
}

/* A tap that no script makes, and the bridge of a helper, must be there before QEMU is. */
static void
need_interface (GwDerive *d, const GwOption *option, const GwOptStr *opt)
{
    g_autoptr (GwOptStr) before = gw_optstr_parse (option->arg);
    const char *type = gw_optstr_get_first (opt, "type");
    const char *script = gw_optstr_get (opt, "script");
    gboolean is_bridge = g_strcmp0 (type, "bridge") == 0;
    const char *key = is_bridge || gw_optstr_has (opt, "helper") ? "br" : "ifname";
    const char *from = gw_optstr_get (before, key), *to = gw_optstr_get (opt, key);
    if (strcmp (key, "br") == 0)
        gw_derive_add_need (d, "bridge", from != NULL ? from : "br0", to != NULL ? to : "br0");
    else if (g_strcmp0 (type, "tap") == 0 && to != NULL && g_strcmp0 (script, "no") == 0)
        gw_derive_add_need (d, "tap", from, to);
}

GwOptStr *
gw_derive_netdev (GwDerive *d, const GwOption *option, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    gboolean is_netdev = strcmp (option->info->name, "netdev") == 0;
    if (is_netdev && gw_derive_is_gone (d, option, gw_optstr_get (opt, "id"),
                                        (const char *const *) d->vm->netdevs))
        return NULL;
    if (!gw_derive_refuse_fd (option, opt, error))
        return NULL;
    gw_derive_move_keys (d, option, opt, "input");
    need_interface (d, option, opt);
    return g_steal_pointer (&opt);
}

GwOptStr *
gw_derive_object (GwDerive *d, const GwOption *option, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    if (gw_derive_is_gone (d, option, gw_optstr_get (opt, "id"),
                           (const char *const *) d->vm->objects) ||
        !gw_derive_refuse_fd (option, opt, error))
        return NULL;
    gw_derive_move_keys (d, option, opt, "input");
    return g_steal_pointer (&opt);
}

GwOptStr *
gw_derive_keyed (GwDerive *d, const GwOption *option, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    if (!gw_derive_refuse_fd (option, opt, error))
        return NULL;
    gw_derive_move_keys (d, option, opt, "input");
    return g_steal_pointer (&opt);
}
