/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "allow_look.h"
#include "host-internal.h"

#include <string.h>

gboolean
gw_look_refuse (const GwLook *look, const char *why, GError **error)
{
    g_autofree char *arg = gw_text_clean (look->option->arg != NULL ? look->option->arg : "", -1, 200);
    return gw_fail (error, GW_CAUSE_NOT_ALLOWED, "'%s %s' is refused by this host's configuration: %s",
                    look->option->name, arg, why);
}

gboolean
gw_look_direct (const GwLook *look, GError **error)
{
    return gw_allow_direct (look->config, look->option->arg != NULL ? look->option->arg : look->option->name, error);
}

gboolean
gw_look_is_one_of (const char *word, const char *const *list)
{
    return word != NULL && g_strv_contains (list, word);
}

gboolean
gw_look_is_on (const GwOptStr *opt, const char *key)
{
    static const char *const yes[] = { "on", "yes", "true", "y", NULL };
    g_auto (GStrv) values = gw_optstr_get_all (opt, key);
    g_autofree char *no = g_strconcat ("no", key, NULL);
    for (gsize i = 0; values[i] != NULL; i++)
        if (!gw_look_is_one_of (values[i], yes))
            return FALSE;
    return gw_optstr_has (opt, key) && !gw_optstr_has_flag (opt, no);
}

/* --- what a path is for ---------------------------------------------------------------------------------------- */

/* One that may not be written, nor any node below it.  -drive has two words for it. */
static gboolean
is_read_only (const GwOptStr *opt)
{
    static const char *const keys[] = { "read-only", "readonly" };
    gboolean is_on = FALSE;
    for (guint i = 0; i < G_N_ELEMENTS (keys); i++) {
        g_auto (GStrv) values = gw_optstr_get_all (opt, keys[i]);
        gboolean is_this_on = gw_look_is_on (opt, keys[i]);
        if (*values != NULL && !is_this_on)
            return FALSE;
        is_on |= is_this_on;
    }
    return is_on;
}

/* The last word of "file.filename" and of "lists.0". */
static char *
last_word (const char *key)
{
    g_auto (GStrv) words = g_strsplit (key, ".", -1);
    guint n = g_strv_length (words);
    while (n > 1 && strspn (words[n - 1], "0123456789") == strlen (words[n - 1]))
        n--;
    return g_strdup (n > 0 ? words[n - 1] : "");
}

/* Whatever an object or device does with other paths is taken for writing. */
static GwAllowKind
find_kind_of_property (const GwLook *look, const char *word)
{
    static const struct {
        const char *type, *key; /* type NULL: any */
        GwAllowKind kind;
    } known[] = {
        { "secret", "file", GW_ALLOW_FILE },          { "rng-random", "filename", GW_ALLOW_FILE },
        { "authz-list-file", "filename", GW_ALLOW_FILE }, { "tls-creds-x509", "dir", GW_ALLOW_FILE },
        { "tls-creds-psk", "dir", GW_ALLOW_FILE },    { "input-linux", "evdev", GW_ALLOW_FILE },
        { "sev-guest", "sev-device", GW_ALLOW_FILE }, { "sev-guest", "dh-cert-file", GW_ALLOW_FILE },
        { "sev-guest", "session-file", GW_ALLOW_FILE },
        { "loader", "file", GW_ALLOW_FILE },          { "guest-loader", "kernel", GW_ALLOW_FILE },
        { "guest-loader", "initrd", GW_ALLOW_FILE },  { "usb-mtp", "rootdir", GW_ALLOW_IMAGE },
        { NULL, "romfile", GW_ALLOW_FILE },           { NULL, "sdrfile", GW_ALLOW_FILE },
        { NULL, "frudatafile", GW_ALLOW_FILE },       { NULL, "vhostdev", GW_ALLOW_FILE },
    };
    const char *type = gw_optstr_get_first (
        look->opt, look->option->info->action == GW_OPTION_OBJECT ? "qom-type" : "driver");
    for (guint i = 0; i < G_N_ELEMENTS (known); i++)
        if (strcmp (word, known[i].key) == 0 && (known[i].type == NULL || g_strcmp0 (type, known[i].type) == 0))
            return known[i].kind;
    return GW_ALLOW_SOCKET;
}

static GwAllowKind
find_kind_of_option (const GwLook *look, const char *word)
{
    static const struct {
        const char *name, *key; /* key NULL: any */
        GwAllowKind kind;
    } known[] = {
        { "fsdev", "socket", GW_ALLOW_SOCKET }, { "virtfs", "socket", GW_ALLOW_SOCKET },
        { "fsdev", NULL, GW_ALLOW_IMAGE },      { "virtfs", NULL, GW_ALLOW_IMAGE }, /* the guest writes there */
        { "trace", NULL, GW_ALLOW_SOCKET },     { "audiodev", NULL, GW_ALLOW_SOCKET },
        { "audio", NULL, GW_ALLOW_SOCKET },     { "tpmdev", NULL, GW_ALLOW_SOCKET },
        { "mem-path", NULL, GW_ALLOW_SOCKET },  { "icount", NULL, GW_ALLOW_SOCKET },
        { "spice", "addr", GW_ALLOW_SOCKET },   { "machine", "dumpdtb", GW_ALLOW_SOCKET },
        { "M", "dumpdtb", GW_ALLOW_SOCKET },    { "global", "romfile", GW_ALLOW_FILE },
        { "global", NULL, GW_ALLOW_SOCKET },    { "display", "rendernode", GW_ALLOW_FILE },
        { "display", NULL, GW_ALLOW_SOCKET },
    };
    for (guint i = 0; i < G_N_ELEMENTS (known); i++)
        if (strcmp (look->name, known[i].name) == 0 && (known[i].key == NULL || strcmp (word, known[i].key) == 0))
            return known[i].kind;
    return GW_ALLOW_FILE;
}

/* What QEMU does with a path in the argument of such an option, under such a key. */
static GwAllowKind
find_kind (const GwLook *look, const char *word)
{
    switch (look->option->info->action) {
    case GW_OPTION_IMAGE:
        return GW_ALLOW_IMAGE;
    case GW_OPTION_DRIVE:
    case GW_OPTION_BLOCKDEV:
        return is_read_only (look->opt) ? GW_ALLOW_BASE : GW_ALLOW_IMAGE;
    case GW_OPTION_CHARDEV:
    case GW_OPTION_CHARSPEC:
    case GW_OPTION_NETDEV:
    case GW_OPTION_CREATES:
        return GW_ALLOW_SOCKET;
    case GW_OPTION_OBJECT:
    case GW_OPTION_DEVICE:
        return find_kind_of_property (look, word);
    default:
        return find_kind_of_option (look, word);
    }
}

/* --- one value -------------------------------------------------------------------------------------------------- */

/* "nbd:host:10809": a block driver's own notation. */
static gboolean
is_network_storage (const char *text)
{
    static const char *const schemes[] = { "nbd:", "nbd://", "iscsi://", "http://", "https://", "ssh://", "nfs://" };
    for (guint i = 0; i < G_N_ELEMENTS (schemes); i++)
        if (g_str_has_prefix (text, schemes[i]))
            return strstr (text, "unix") == NULL;
    return FALSE;
}

/* QEMU makes no directories; and "FILE:/OTHER", which some options take for two, is none. */
static gboolean
look_at_absolute (GwLook *look, const char *word, const char *path, GError **error)
{
    g_autofree char *directory = g_path_get_dirname (path);
    return gw_allow_path (look->config, find_kind (look, word), path, error) &&
           (g_file_test (directory, G_FILE_TEST_IS_DIR) || gw_look_refuse (look, "its directory is not there", error));
}

gboolean
gw_look_path (GwLook *look, const char *key, const char *text, GError **error)
{
    g_autofree char *word = last_word (key);
    const char *path = g_str_has_prefix (text, "file:") || g_str_has_prefix (text, "unix:") ? text + 5 : text;
    if (*path == '/')
        return look_at_absolute (look, word, path, error);
    if (is_network_storage (path))
        return gw_allow_direct (look->config, path, error);
    if (strchr (path, '/') == NULL && strchr (path, ':') == NULL) /* in the VM's own directory, or QEMU's */
        return strcmp (path, "..") != 0 || gw_look_refuse (look, "it leads out of the VM's directory", error);
    return gw_look_refuse (look, "it cannot be told where its path leads", error);
}

/* Names and texts for the guest, which QEMU does not open. */
static gboolean
is_text (const GwLook *look, const char *word)
{
    static const char *const of_fw_cfg[] = { "name", "string", "", NULL };
    static const char *const of_files[] = { "file", "path", NULL };
    static const char *const of_devices[] = { "serial", "wwn", "product", "vendor", "model", "name", NULL };
    static const char *const of_nets[] = { "net", "ipv6-net", "bootfile", NULL };
    if (strcmp (look->name, "fw_cfg") == 0)
        return gw_look_is_one_of (word, of_fw_cfg);
    if (strcmp (look->name, "smbios") == 0)
        return !gw_look_is_one_of (word, of_files);
    if (look->option->info->action == GW_OPTION_MACHINE)
        return strcmp (word, "append") == 0;
    if (look->option->info->action == GW_OPTION_NETDEV)
        return gw_look_is_one_of (word, of_nets);
    return look->option->info->action == GW_OPTION_DEVICE && gw_look_is_one_of (word, of_devices);
}

/* Also where it stands in a list, or with more words behind it: in JSON "guestfwd" is [{"str": ...}]. */
static gboolean
has_word (const char *key, const char *const *list)
{
    g_auto (GStrv) words = g_strsplit (key, ".", -1);
    for (gsize i = 0; words[i] != NULL; i++)
        if (g_strv_contains (list, words[i]))
            return TRUE;
    return FALSE;
}

static gboolean
is_path (const GwLook *look, const char *key, const char *value)
{
    g_autofree char *word = last_word (key);
    g_auto (GStrv) keys = g_strsplit (look->option->info->keys, " ", -1);
    return strchr (value, '/') != NULL || g_strv_contains ((const char *const *) keys, word);
}

static gboolean
look_at_value (GwLook *look, const char *key, const char *value, GError **error)
{
    static const char *const programs[] = { "script", "downscript", "helper", NULL };
    static const char *const interfaces[] = { "ifname", "br", NULL };
    static const char *const ways[] = { "guestfwd", "hostfwd", "smb", NULL };
    static const char *const inherited[] = { "fd", "fds", "vhostfd", "vhostfds", "sock_fd", NULL };
    gboolean is_net = look->option->info->action == GW_OPTION_NETDEV;
    g_autofree char *word = last_word (key);
    if (is_text (look, word))
        return TRUE;
    if (has_word (key, programs))
        return strcmp (value, "no") == 0 || *value == '\0' || gw_allow_helper (look->config, value, error);
    if (has_word (key, interfaces))
        return gw_allow_interface (look->config, value, error);
    if (is_net && has_word (key, ways))
        return gw_look_refuse (look, "a guest's way through the host is not carried over", error);
    if (has_word (key, inherited))
        return gw_look_refuse (look, "there is no such file descriptor", error);
    if (strcmp (word, "abstract") == 0 && strcmp (value, "off") != 0)
        return gw_look_refuse (look, "an abstract socket is in no directory", error);
    if (*key == '\0' && strchr (value, ',') != NULL)
        return gw_look_refuse (look, "a comma where QEMU may see the next key", error);
    return !is_path (look, key, value) || gw_look_path (look, key, value, error);
}

static void
visit (const char *key, const char *value, gpointer user_data)
{
    GwLook *look = user_data;
    if (look->error == NULL)
        (void) look_at_value (look, key, value, &look->error); /* it is in look->error */
}

gboolean
gw_look_values (GwLook *look, GError **error)
{
    gw_optstr_foreach (look->opt, visit, look);
    if (look->error == NULL)
        return TRUE;
    g_propagate_error (error, g_steal_pointer (&look->error));
    return FALSE;
}
