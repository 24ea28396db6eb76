/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A whole command line, against the lists: by the table of options, and nothing passes that is not known. */
#include "allow_look.h"
#include "host-internal.h"

#include <string.h>

/* --- options without ------------------------------------------------------------------------------------------------ */

/* Of those that the table of options does not have. */
static gboolean
look_at_other (GwLook *look, GError **error)
{
    static const char *const texts[] = { "append", "name", "uuid", "prom-env", NULL };
    static const char *const lists[] = { "accel", "action", "audio", "audiodev", "boot", "compat", "cpu", "d", "global",
                                         "icount", "k", "m", "msg", "numa", "overcommit", "rtc", "sandbox", "smp",
                                         "soundhw", "tb-size", "vga", "watchdog", "watchdog-action", NULL };
    if (gw_look_is_one_of (look->name, texts))
        return TRUE;
    if (!gw_look_is_one_of (look->name, lists))
        return gw_look_refuse (look, "it is not known what the option may do", error);
    return g_str_has_prefix (look->name, "audio") ? gw_look_audio (look, error) : gw_look_values (look, error);
}

static gboolean
look_at_flag (GwLook *look, GError **error)
{
    if (strcmp (look->name, "s") == 0)
        return gw_allow_direct (look->config, "-s", error);
    return strcmp (look->name, "semihosting") != 0 ||
           gw_look_refuse (look, "the guest would open files of this host", error);
}

/* The name of an option ROM may have keys behind it. */
static gboolean
look_at_argument (GwLook *look, GError **error)
{
    static const char *const dangerous[] = { "readconfig", "chroot", NULL };
    if (gw_look_is_one_of (look->name, dangerous))
        return gw_look_refuse (look, "it is not known what the file says", error);
    return strcmp (look->name, "option-rom") == 0 ? gw_look_values (look, error)
                                                  : gw_look_path (look, "", look->option->arg, error);
}

static gboolean
is_spice_local (const GwOptStr *opt)
{
    return gw_look_is_on (opt, "unix") && !gw_optstr_has (opt, "port") && !gw_optstr_has (opt, "tls-port");
}

static gboolean
look_at_keyed (GwLook *look, GError **error)
{
    gboolean is_tpm = strcmp (look->name, "tpmdev") == 0;
    if (strcmp (look->name, "spice") == 0 && !is_spice_local (look->opt) && !gw_look_direct (look, error))
        return FALSE;
    if (is_tpm && g_strcmp0 (gw_optstr_get_first (look->opt, "type"), "emulator") != 0)
        return gw_look_refuse (look, "a device of this host's own", error);
    return gw_look_values (look, error);
}

static gboolean
pass (GwLook *look, GError **error)
{
    return TRUE;
}

static gboolean
look_at_refused (GwLook *look, GError **error)
{
    return gw_look_refuse (look, "a peer may not give this option", error);
}

static const GwLookFn looks[] = {
    [GW_OPTION_KEEP] = look_at_other,       [GW_OPTION_FLAG] = look_at_flag,
    [GW_OPTION_DROP] = look_at_refused,     [GW_OPTION_DROP_FLAG] = look_at_refused,
    [GW_OPTION_PATH] = look_at_argument,    [GW_OPTION_CREATES] = look_at_argument,
    [GW_OPTION_IMAGE] = look_at_argument,   [GW_OPTION_KEYED] = look_at_keyed,
    [GW_OPTION_DRIVE] = gw_look_block,      [GW_OPTION_BLOCKDEV] = gw_look_block,
    [GW_OPTION_CHARDEV] = gw_look_chardev,  [GW_OPTION_NETDEV] = gw_look_net,
    [GW_OPTION_OBJECT] = gw_look_object,    [GW_OPTION_DEVICE] = gw_look_device,
    [GW_OPTION_MACHINE] = gw_look_values,   [GW_OPTION_MON] = gw_look_values,
    [GW_OPTION_CHARSPEC] = gw_look_charspec, [GW_OPTION_DISPLAY] = gw_look_display,
    [GW_OPTION_DISPLAY_FLAG] = pass,        [GW_OPTION_REFUSE] = look_at_refused,
    [GW_OPTION_REFUSE_FLAG] = look_at_refused,
};

/* --- all of them ------------------------------------------------------------------------------------------------------ */

static gboolean
look_at_option (const GwHostConfig *config, const GwOption *option, GError **error)
{
    static const char *const takes_json[] = { "device", "object", "blockdev", "netdev", "display", "audiodev", NULL };
    const char *arg = option->arg != NULL ? option->arg : "";
    GwLook look = { config, option, option->name + strspn (option->name, "-"), NULL, NULL };
    gboolean is_json = *arg == '{' && gw_look_is_one_of (look.name, takes_json);
    g_autofree char *plain = gw_optstr_to_plain_json (arg);
    g_autoptr (JsonObject) json = is_json ? gw_json_parse (arg, -1, NULL) : NULL;
    g_autoptr (GwOptStr) opt = json != NULL ? gw_optstr_parse (arg) : gw_optstr_parse_pairs (arg);
    look.opt = opt;
    if (is_json && (json == NULL || strcmp (plain, arg) != 0 || strstr (arg, "\\u0000") != NULL))
        return gw_look_refuse (&look, "it is JSON that others may read in another way", error);
    return looks[option->info->action](&look, error);
}

static gboolean
has_one_of (const GPtrArray *options, const char *const *names)
{
    for (guint i = 0; i < options->len; i++) {
        const GwOption *option = options->pdata[i];
        if (gw_look_is_one_of (option->name + strspn (option->name, "-"), names))
            return TRUE;
    }
    return FALSE;
}

/* A QEMU that is not told otherwise makes a user mode network, and VNC on a port where it has no window. */
static gboolean
look_at_defaults (const GwHostConfig *config, const GPtrArray *options, GError **error)
{
    static const char *const nets[] = { "nodefaults", "nic", "net", "netdev", NULL };
    static const char *const displays[] = { "display", "nographic", "vnc", "spice", "curses", "sdl", NULL };
    return (has_one_of (options, nets) || gw_allow_direct (config, "the network without -nodefaults and -nic", error)) &&
           (has_one_of (options, displays) || gw_allow_direct (config, "the screen without -display", error));
}

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
    for (guint i = 0; options != NULL && i < options->len; i++)
        if (!look_at_option (config, options->pdata[i], error))
            return FALSE;
    return options != NULL && look_at_defaults (config, options, error);
}

gboolean
gw_allow_launch (const GwHostConfig *config, const char *const *args, const char *user, GError **error)
{
    return gw_allow_user (config, user, error) && gw_allow_arguments (config, args, error);
}
