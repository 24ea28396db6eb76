/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Character devices in the old notation: "unix:PATH,server=on", "file:PATH", "mon:stdio", "none", "chardev:NAME",
 * "tcp::4444,server=on"; and displays: "unix:PATH,password=on", ":1".
 *
 * What follows the first comma QEMU reads as options of the device (qemu_chr_parse_compat() of 7.2 and 10.0), of which
 * a log file, another path, another backend or a second address may be one.  So only the keys below are taken.
 */
#include "allow_look.h"
#include "host-internal.h"

#include <string.h>

typedef struct {
    const char *const *keys;
    gboolean is_first, is_bad;
} Keys;

static gboolean
knows (const Keys *known, const char *key)
{
    return g_strv_contains (known->keys, key) ||
           (g_str_has_prefix (key, "no") && g_strv_contains (known->keys, key + strlen ("no")));
}

static void
look_at_key (const char *key, const char *value, gpointer user_data)
{
    Keys *known = user_data;
    gboolean is_flag = *key == '\0';
    known->is_bad |= !(is_flag && known->is_first) && !knows (known, is_flag ? value : key);
    known->is_first = FALSE;
}

/* `text` is what comes behind the prefix; with `has_address` its first part has no key. */
static gboolean
look_at_rest (GwLook *look, const char *text, gboolean has_address, const char *const *keys, GError **error)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse_pairs (text);
    GwLook rest = { look->config, look->option, look->name, opt, NULL };
    Keys known = { keys, has_address, FALSE };
    gw_optstr_foreach (opt, look_at_key, &known);
    if (known.is_bad)
        return gw_look_refuse (look, "a key of it is not known", error);
    return gw_look_values (&rest, error);
}

/* --- character devices ------------------------------------------------------------------------------------------ */

static const char *const socket_keys[] = { "server", "wait", "reconnect", "reconnect-ms", "telnet", "tn3270",
                                           "websocket", "logfile", "logappend", "mux", "nodelay", "delay", "ipv4",
                                           "ipv6", "keep-alive", "to", "tls-creds", "tls-authz", NULL };

static gboolean
look_at_nothing (GwLook *look, const char *text, GError **error)
{
    return strchr (text, '/') == NULL || gw_look_refuse (look, "it cannot be told where its path leads", error);
}

static gboolean
look_at_file (GwLook *look, const char *path, GError **error)
{
    return *path == '/' ? gw_look_path (look, "path", path, error)
                        : gw_look_refuse (look, "its path is not absolute", error);
}

static gboolean
look_at_unix (GwLook *look, const char *text, GError **error)
{
    return *text == '/' ? look_at_rest (look, text, TRUE, socket_keys, error)
                        : gw_look_refuse (look, "its path is not absolute", error);
}

static gboolean
look_at_network (GwLook *look, const char *text, GError **error)
{
    return gw_look_direct (look, error) &&
           look_at_rest (look, text + strcspn (text, ",") + (strchr (text, ',') != NULL), FALSE, socket_keys, error);
}

static const struct {
    const char *prefix;
    gboolean (*look) (GwLook *look, const char *text, GError **error); /* with what comes behind it */
} prefixes[] = {
    { "unix:", look_at_unix },      { "file:", look_at_file },        { "pipe:", look_at_file },
    { "pty:", look_at_file },       { "tcp:", look_at_network },      { "telnet:", look_at_network },
    { "tn3270:", look_at_network }, { "websocket:", look_at_network }, { "udp:", look_at_network },
    { "chardev:", look_at_nothing }, { "vc:", look_at_nothing },
};

static gboolean
look_at_chardev (GwLook *look, const char *text, GError **error)
{
    static const char *const local[] = { "none", "null", "stdio", "pty", "msmouse", "ringbuf", "vc", "", NULL };
    if (gw_look_is_one_of (text, local))
        return TRUE;
    if (*text == '/') /* a device, all of it */
        return look_at_file (look, text, error);
    for (guint i = 0; i < G_N_ELEMENTS (prefixes); i++)
        if (g_str_has_prefix (text, prefixes[i].prefix))
            return prefixes[i].look (look, text + strlen (prefixes[i].prefix), error);
    return gw_look_refuse (look, "it is not known what this type does", error);
}

/* --- displays ----------------------------------------------------------------------------------------------------- */

/* A second address may stand in "vnc" and "websocket". */
static gboolean
look_at_vnc (GwLook *look, const char *text, GError **error)
{
    static const char *const keys[] = { "password", "password-secret", "sasl", "tls-creds", "tls-authz", "sasl-authz",
                                        "share", "lossy", "non-adaptive", "reverse", "to", "ipv4", "ipv6",
                                        "audiodev", "id", "head", "display", "power-control", "key-delay-ms",
                                        "connections", "lock-key-sync", "websocket", NULL };
    g_autoptr (GwOptStr) opt = gw_optstr_parse_pairs (text);
    gboolean is_unix = g_str_has_prefix (text, "unix:/");
    gboolean has_websocket = gw_optstr_has (opt, "websocket") || gw_optstr_has_flag (opt, "websocket");
    if (strcmp (text, "none") == 0)
        return TRUE;
    if ((!is_unix || has_websocket) && !gw_look_direct (look, error))
        return FALSE;
    return look_at_rest (look, text, TRUE, keys, error);
}

gboolean
gw_look_charspec (GwLook *look, GError **error)
{
    const char *text = look->option->arg;
    if (strcmp (look->name, "vnc") == 0)
        return look_at_vnc (look, text, error);
    return look_at_chardev (look, text + (g_str_has_prefix (text, "mon:") ? strlen ("mon:") : 0), error);
}

/* "default" may be VNC on a port. */
gboolean
gw_look_display (GwLook *look, GError **error)
{
    static const char *const local[] = { "none", "egl-headless", "sdl", "gtk", "curses", NULL };
    static const char *const network[] = { "dbus", "default", NULL };
    const char *text = look->option->arg;
    if (g_str_has_prefix (text, "vnc="))
        return look_at_vnc (look, text + strlen ("vnc="), error);
    const char *type = gw_optstr_get_first (look->opt, "type");
    if (gw_look_is_one_of (type, network) && !gw_look_direct (look, error))
        return FALSE;
    if (!gw_look_is_one_of (type, local) && !gw_look_is_one_of (type, network))
        return gw_look_refuse (look, "it is not known what this type does", error);
    return gw_look_values (look, error);
}
