/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Character devices, in both of their notations, and the monitors on them. */
#include "derive.h"

#include <string.h>

static gboolean
is_chardev_gone (GwDerive *d, const GwOption *option, const char *id)
{
    for (guint i = 0; i < d->vm->chardevs->len; i++)
        if (g_strcmp0 (((GwChardev *) d->vm->chardevs->pdata[i])->label, id) == 0)
            return FALSE;
    return gw_derive_is_gone (d, option, id, NULL);
}

/* A server that waits for its first client would keep the destination's QEMU from starting. */
static void
do_not_wait (GwDerive *d, const GwOption *option, GwOptStr *opt)
{
    const char *server = gw_optstr_get (opt, "server");
    gboolean is_server =
        (server != NULL && strcmp (server, "off") != 0) || gw_optstr_has_flag (opt, "server");
    const char *wait = gw_optstr_get (opt, "wait");
    gboolean waits = wait != NULL ? strcmp (wait, "off") != 0 : !gw_optstr_has_flag (opt, "nowait");
    if (!is_server || !waits)
        return;
    gw_optstr_remove_flag (opt, "wait");
    gw_optstr_set (opt, "wait", "off");
    gw_derive_add_rewrite (d, option->name, "wait=on", "wait=off", "nobody is connected yet");
}

/* What QEMU does with the path of a character device of that backend. */
static const char *
chardev_need_kind (const GwOptStr *opt, const char *backend)
{
    if (g_strcmp0 (backend, "file") == 0)
        return "file";
    if (g_strcmp0 (backend, "socket") != 0)
        return "input";
    const char *server = gw_optstr_get (opt, "server");
    gboolean is_server =
        server != NULL ? strcmp (server, "off") != 0 : gw_optstr_has_flag (opt, "server");
    return is_server ? "socket" : "peer";
}

GwOptStr *
gw_derive_chardev (GwDerive *d, const GwOption *option, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    const char *id = gw_optstr_get (opt, "id");
    if (id != NULL && g_str_has_prefix (id, "godwit-"))
        return NULL; /* our own monitor of an earlier move */
    if (is_chardev_gone (d, option, id) || !gw_derive_refuse_fd (option, opt, error))
        return NULL;
    const char *backend = gw_optstr_get_first (opt, "backend");
    gw_derive_move_keys (d, option, opt, chardev_need_kind (opt, backend));
    do_not_wait (d, option, opt);
    /* the directory may be shared: keep what is there */
    if (g_strcmp0 (backend, "file") == 0 && !gw_optstr_has (opt, "append"))
        gw_optstr_set (opt, "append", "on");
    if (gw_optstr_has (opt, "logfile") && !gw_optstr_has (opt, "logappend"))
        gw_optstr_set (opt, "logappend", "on");
    return g_steal_pointer (&opt);
}

GwOptStr *
gw_derive_mon (GwDerive *d, const GwOption *option, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg);
    const char *chardev = gw_optstr_get_first (opt, "chardev");
    if (chardev != NULL && g_str_has_prefix (chardev, "godwit-"))
        return NULL;
    return g_steal_pointer (&opt);
}

/* Old style character devices that have a path or options; QEMU takes what follows "file:" and
 * "pipe:" as it stands. */
static const struct {
    const char *prefix;
    gboolean has_path, has_options;
} charspecs[] = {
    { "unix:", TRUE, TRUE },       { "file:", TRUE, FALSE },   { "pipe:", TRUE, FALSE },
    { "tcp:", FALSE, TRUE },       { "telnet:", FALSE, TRUE }, { "tn3270:", FALSE, TRUE },
    { "websocket:", FALSE, TRUE },
};

static char *
derive_charspec_path (GwDerive *d, const GwOption *option, const char *prefix, const char *path)
{
    char *moved =
        gw_derive_move_path (d, option->name, *prefix == 'f' ? "file" : "input", path, FALSE);
    return moved != NULL ? moved : g_strdup (path);
}

static char *
derive_charspec_options (GwDerive *d, const GwOption *option, gboolean has_path, const char *text)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (text);
    const char *path = has_path ? gw_optstr_get_first (opt, "path") : NULL;
    gboolean is_vnc = strcmp (option->info->name, "vnc") == 0; /* always a server */
    g_autofree char *moved =
        path != NULL ? gw_derive_move_path (d, option->name,
                                            is_vnc ? "socket" : chardev_need_kind (opt, "socket"),
                                            path, FALSE)
                     : NULL;
    if (moved != NULL)
        gw_optstr_set_first (opt, "path", moved);
    do_not_wait (d, option, opt);
    return gw_optstr_to_text (opt);
}

/* "unix:PATH,server=on,wait=off", "mon:telnet::4444,server=on", "file:PATH" ... */
char *
gw_derive_charspec (GwDerive *d, const GwOption *option)
{
    gsize at = g_str_has_prefix (option->arg, "mon:") ? strlen ("mon:") : 0;
    for (guint i = 0; i < G_N_ELEMENTS (charspecs); i++) {
        if (!g_str_has_prefix (option->arg + at, charspecs[i].prefix))
            continue;
        at += strlen (charspecs[i].prefix);
        g_autofree char *head = g_strndup (option->arg, at);
        g_autofree char *rest =
            charspecs[i].has_options
                ? derive_charspec_options (d, option, charspecs[i].has_path, option->arg + at)
                : derive_charspec_path (d, option, charspecs[i].prefix, option->arg + at);
        return g_strconcat (head, rest, NULL);
    }
    return g_strdup (option->arg);
}
