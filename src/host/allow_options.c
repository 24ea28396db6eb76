/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A whole command line, against the lists: by the table of options, and nothing passes that is not known. */
#include "allow.h"

#include "cmdline.h"
#include "host-internal.h"

#include <string.h>

typedef struct {
    const GwHostConfig *config;
    const GwOption *option;
    const GwOptStr *opt; /* its argument taken apart; NULL: it is none that is */
    GError *error;       /* of the first value that is not allowed */
} Look;

typedef gboolean (*LookFn) (Look *look, GError **error);

static gboolean
refuse (const Look *look, const char *why, GError **error)
{
    g_autofree char *arg = gw_text_clean (look->option->arg != NULL ? look->option->arg : "", -1, 200);
    return gw_fail (error, GW_CAUSE_NOT_ALLOWED, "'%s %s' is refused by this host's configuration: %s",
                    look->option->name, arg, why);
}

static gboolean
is_one_of (const char *word, const char *const *list)
{
    return word != NULL && g_strv_contains (list, word);
}

static gboolean
is_on (const GwOptStr *opt, const char *key)
{
    static const char *const yes[] = { "on", "yes", "true", NULL };
    return is_one_of (gw_optstr_get (opt, key), yes);
}

/* --- one value -------------------------------------------------------------------------------------------------- */

/* What QEMU does with a path in the argument of such an option, under such a key. */
static GwAllowKind
find_kind (const Look *look, const char *key)
{
    static const char *const written[] = { "mem-path", "file", "logfile", NULL };
    static const char *const writing[] = { "trace", "audiodev", "tpmdev", "mem-path", NULL };
    switch (look->option->info->action) {
    case GW_OPTION_IMAGE:
        return GW_ALLOW_IMAGE;
    case GW_OPTION_DRIVE:
    case GW_OPTION_BLOCKDEV:
        return is_on (look->opt, "readonly") || is_on (look->opt, "read-only") ? GW_ALLOW_BASE : GW_ALLOW_IMAGE;
    case GW_OPTION_CHARDEV:
    case GW_OPTION_CHARSPEC:
    case GW_OPTION_NETDEV:
    case GW_OPTION_CREATES:
        return GW_ALLOW_SOCKET;
    case GW_OPTION_OBJECT:
        return is_one_of (key, written) ? GW_ALLOW_SOCKET : GW_ALLOW_FILE;
    default:
        break;
    }
    const char *name = look->option->name + strspn (look->option->name, "-");
    if (strcmp (name, "fsdev") == 0 || strcmp (name, "virtfs") == 0)
        return GW_ALLOW_IMAGE; /* the guest writes there */
    return is_one_of (name, writing) ? GW_ALLOW_SOCKET : GW_ALLOW_FILE;
}

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

static gboolean
look_at_path (Look *look, const char *key, const char *text, GError **error)
{
    const char *path = g_str_has_prefix (text, "file:") || g_str_has_prefix (text, "unix:") ? text + 5 : text;
    if (*path == '/')
        return gw_allow_path (look->config, find_kind (look, key), path, error);
    if (is_network_storage (path))
        return gw_allow_direct (look->config, path, error);
    if (strchr (path, '/') == NULL && strchr (path, ':') == NULL) /* in the VM's own directory, or QEMU's */
        return strcmp (path, "..") != 0 || refuse (look, "it leads out of the VM's directory", error);
    return refuse (look, "it cannot be told where its path leads", error);
}

/* Names and texts for the guest, which QEMU does not open. */
static gboolean
is_text (const Look *look, const char *key)
{
    static const char *const of_fw_cfg[] = { "name", "string", NULL };
    static const char *const of_files[] = { "file", "path", NULL };
    static const char *const of_devices[] = { "serial", "wwn", "product", "vendor", "model", NULL };
    const char *name = look->option->name + strspn (look->option->name, "-");
    if (strcmp (name, "fw_cfg") == 0)
        return is_one_of (key, of_fw_cfg);
    if (strcmp (name, "smbios") == 0)
        return !is_one_of (key, of_files);
    return look->option->info->action == GW_OPTION_DEVICE && is_one_of (key, of_devices);
}

static gboolean
look_at_value (Look *look, const char *key, const char *value, GError **error)
{
    static const char *const programs[] = { "script", "downscript", "helper", NULL };
    static const char *const interfaces[] = { "ifname", "br", NULL };
    static const char *const forwards[] = { "guestfwd", "hostfwd", NULL };
    if (is_text (look, key))
        return TRUE;
    if (is_one_of (key, programs))
        return strcmp (value, "no") == 0 || *value == '\0' || gw_allow_helper (look->config, value, error);
    if (is_one_of (key, interfaces))
        return gw_allow_interface (look->config, value, error);
    if (is_one_of (key, forwards))
        return refuse (look, "a guest's way through the host is not carried over", error);
    g_auto (GStrv) keys = g_strsplit (look->option->info->keys, " ", -1);
    gboolean is_path = strchr (value, '/') != NULL || g_strv_contains ((const char *const *) keys, key);
    return !is_path || look_at_path (look, key, value, error);
}

static void
visit (const char *key, const char *value, gpointer user_data)
{
    Look *look = user_data;
    if (look->error == NULL)
        (void) look_at_value (look, key, value, &look->error); /* it is in look->error */
}

static gboolean
look_at_values (Look *look, GError **error)
{
    gw_optstr_foreach (look->opt, visit, look);
    if (look->error == NULL)
        return TRUE;
    g_propagate_error (error, g_steal_pointer (&look->error));
    return FALSE;
}

/* --- options with a type ------------------------------------------------------------------------------------------ */

static gboolean
look_at_block (Look *look, GError **error)
{
    static const char *const local[] = { "raw", "qcow2", "qcow", "qed", "vdi", "vmdk", "vhdx", "vpc", "parallels",
                                         "luks", "dmg", "bochs", "cloop", "file", "host_device", "host_cdrom",
                                         "throttle", "null-co", "null-aio", "copy-on-read", "preallocate",
                                         "compress", NULL };
    g_auto (GStrv) drivers = gw_optstr_get_all (look->opt, "driver");
    for (gsize i = 0; drivers[i] != NULL; i++)
        if (!is_one_of (drivers[i], local) && !gw_allow_direct (look->config, drivers[i], error))
            return FALSE;
    return look_at_values (look, error);
}

static gboolean
look_at_chardev (Look *look, GError **error)
{
    static const char *const local[] = { "null", "ringbuf", "memory", "vc", "pty", "stdio", "mux", "hub", "file",
                                         "pipe", "socket", "spicevmc", "spiceport", "serial", "tty", "parallel",
                                         "parport", "testdev", "msmouse", NULL };
    const char *backend = gw_optstr_get_first (look->opt, "backend");
    gboolean is_tcp = g_strcmp0 (backend, "socket") == 0 && !gw_optstr_has (look->opt, "path");
    if ((!is_one_of (backend, local) || is_tcp || gw_optstr_has (look->opt, "host")) &&
        !gw_allow_direct (look->config, look->option->arg, error))
        return FALSE;
    return look_at_values (look, error);
}

/* Without script= QEMU starts its own. */
static gboolean
look_at_tap (Look *look, GError **error)
{
    if (gw_optstr_has (look->opt, "helper"))
        return TRUE;
    return (gw_optstr_has (look->opt, "script") || gw_allow_helper (look->config, "/etc/qemu-ifup", error)) &&
           (gw_optstr_has (look->opt, "downscript") || gw_allow_helper (look->config, "/etc/qemu-ifdown", error));
}

static gboolean
look_at_net (Look *look, GError **error)
{
    static const char *const local[] = { "nic", "none", "tap", "bridge", "hubport", "vhost-user", "vhost-vdpa", NULL };
    const char *type = gw_optstr_get_first (look->opt, "type");
    gboolean is_walled = g_strcmp0 (type, "user") == 0 && is_on (look->opt, "restrict");
    if (!is_one_of (type, local) && !is_walled && !gw_allow_direct (look->config, look->option->arg, error))
        return FALSE;
    if (g_strcmp0 (type, "tap") == 0 && !look_at_tap (look, error))
        return FALSE;
    if (g_strcmp0 (type, "bridge") == 0 && !gw_optstr_has (look->opt, "br") &&
        !gw_allow_interface (look->config, "br0", error))
        return FALSE;
    return look_at_values (look, error);
}

/* Hardware of this host, and its kernel's own targets. */
static gboolean
look_at_device (Look *look, GError **error)
{
    static const char *const hardware[] = { "vfio-", "usb-host", "vhost-scsi", "u2f-passthru", "ccid-card-passthru" };
    const char *driver = gw_optstr_get_first (look->opt, "driver");
    for (guint i = 0; driver != NULL && i < G_N_ELEMENTS (hardware); i++)
        if (g_str_has_prefix (driver, hardware[i]))
            return refuse (look, "a device of this host's own", error);
    return look_at_values (look, error);
}

/* "unix:PATH,server=on", "file:PATH", "mon:stdio", "none", "chardev:NAME", "tcp::4444", ":1" */
static gboolean
look_at_charspec (Look *look, GError **error)
{
    static const char *const local[] = { "none", "null", "stdio", "pty", "msmouse", "ringbuf", NULL };
    static const char *const with_path[] = { "unix:", "file:", "pipe:" };
    const char *text = look->option->arg;
    text += g_str_has_prefix (text, "mon:") ? strlen ("mon:") : 0;
    g_autofree char *first = g_strndup (text, strcspn (text, ","));
    if (is_one_of (first, local) || g_str_has_prefix (first, "chardev:") || strcmp (first, "vc") == 0 ||
        g_str_has_prefix (first, "vc:"))
        return strchr (text, '/') == NULL || refuse (look, "it cannot be told where its path leads", error);
    for (guint i = 0; i < G_N_ELEMENTS (with_path); i++)
        if (g_str_has_prefix (text, with_path[i])) {
            g_autoptr (GwOptStr) opt = gw_optstr_parse (text + strlen (with_path[i]));
            const char *path = *with_path[i] == 'u' ? gw_optstr_get_first (opt, "path") : text + strlen (with_path[i]);
            return path != NULL && *path == '/' ? gw_allow_path (look->config, GW_ALLOW_SOCKET, path, error)
                                                : refuse (look, "its path is not absolute", error);
        }
    if (*text == '/')
        return gw_allow_path (look->config, GW_ALLOW_SOCKET, first, error);
    return gw_allow_direct (look->config, look->option->arg, error);
}

/* --- options without ------------------------------------------------------------------------------------------------ */

/* Of those that the table of options does not have. */
static gboolean
look_at_other (Look *look, GError **error)
{
    static const char *const texts[] = { "append", "name", "uuid", "prom-env", NULL };
    static const char *const lists[] = { "accel", "action", "audio", "audiodev", "boot", "compat", "cpu", "d", "global",
                                         "icount", "k", "m", "msg", "numa", "overcommit", "rtc", "sandbox", "smp",
                                         "soundhw", "tb-size", "vga", "watchdog", "watchdog-action", NULL };
    const char *name = look->option->name + strspn (look->option->name, "-");
    if (is_one_of (name, texts))
        return TRUE;
    return is_one_of (name, lists) ? look_at_values (look, error)
                                   : refuse (look, "it is not known what the option may do", error);
}

static gboolean
look_at_flag (Look *look, GError **error)
{
    const char *name = look->option->name + strspn (look->option->name, "-");
    if (strcmp (name, "s") == 0)
        return gw_allow_direct (look->config, "-s", error);
    return strcmp (name, "semihosting") != 0 || refuse (look, "the guest would open files of this host", error);
}

static gboolean
look_at_argument (Look *look, GError **error)
{
    static const char *const dangerous[] = { "readconfig", "chroot", NULL };
    const char *name = look->option->name + strspn (look->option->name, "-");
    if (is_one_of (name, dangerous))
        return refuse (look, "it is not known what the file says", error);
    return look_at_path (look, "", look->option->arg, error);
}

static gboolean
look_at_keyed (Look *look, GError **error)
{
    const char *name = look->option->name + strspn (look->option->name, "-");
    if (strcmp (name, "spice") == 0 && !is_on (look->opt, "unix") && !gw_allow_direct (look->config, "-spice", error))
        return FALSE;
    return look_at_values (look, error);
}

static gboolean
pass (Look *look, GError **error)
{
    return TRUE;
}

static gboolean
look_at_refused (Look *look, GError **error)
{
    return refuse (look, "a peer may not give this option", error);
}

static const LookFn looks[] = {
    [GW_OPTION_KEEP] = look_at_other,       [GW_OPTION_FLAG] = look_at_flag,
    [GW_OPTION_DROP] = look_at_refused,     [GW_OPTION_DROP_FLAG] = look_at_refused,
    [GW_OPTION_PATH] = look_at_argument,    [GW_OPTION_CREATES] = look_at_argument,
    [GW_OPTION_IMAGE] = look_at_argument,   [GW_OPTION_KEYED] = look_at_keyed,
    [GW_OPTION_DRIVE] = look_at_block,      [GW_OPTION_BLOCKDEV] = look_at_block,
    [GW_OPTION_CHARDEV] = look_at_chardev,  [GW_OPTION_NETDEV] = look_at_net,
    [GW_OPTION_OBJECT] = look_at_values,    [GW_OPTION_DEVICE] = look_at_device,
    [GW_OPTION_MACHINE] = look_at_values,   [GW_OPTION_MON] = look_at_values,
    [GW_OPTION_CHARSPEC] = look_at_charspec, [GW_OPTION_DISPLAY] = look_at_values,
    [GW_OPTION_DISPLAY_FLAG] = pass,        [GW_OPTION_REFUSE] = look_at_refused,
    [GW_OPTION_REFUSE_FLAG] = look_at_refused,
};

gboolean
gw_allow_arguments (const GwHostConfig *config, const char *const *args, GError **error)
{
    if (!gw_host_config_is_confined (config))
        return TRUE;
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    g_strv_builder_add (builder, "qemu");
    g_strv_builder_addv (builder, (const char **) args);
    g_auto (GStrv) argv = g_strv_builder_end (builder);
    g_autoptr (GPtrArray) options = gw_cmdline_parse ((const char *const *) argv, error);
    for (guint i = 0; options != NULL && i < options->len; i++) {
        const GwOption *option = options->pdata[i];
        g_autoptr (GwOptStr) opt = gw_optstr_parse (option->arg != NULL ? option->arg : "");
        Look look = { config, option, opt, NULL };
        if (!looks[option->info->action](&look, error))
            return FALSE;
    }
    return options != NULL;
}

gboolean
gw_allow_launch (const GwHostConfig *config, const char *const *args, const char *user, GError **error)
{
    return gw_allow_user (config, user, error) && gw_allow_arguments (config, args, error);
}
