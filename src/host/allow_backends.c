/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options that make something of a type: types that are not known to be harmless are refused. */
#include "allow_look.h"
#include "host-internal.h"

#include <string.h>

/* `type` is local, or uses the network, which may be allowed; others may do anything. */
static gboolean
look_at_type (GwLook *look, const char *type, const char *const *local, const char *const *network, GError **error)
{
    if (gw_look_is_one_of (type, local))
        return TRUE;
    if (gw_look_is_one_of (type, network))
        return gw_look_direct (look, error);
    return gw_look_refuse (look, "it is not known what this type does", error);
}

/* --- disks ------------------------------------------------------------------------------------------------------ */

static gboolean
look_at_driver (GwLook *look, const char *driver, GError **error)
{
    static const char *const local[] = { "raw", "qcow2", "qcow", "qed", "vdi", "vmdk", "vhdx", "vpc", "parallels",
                                         "luks", "dmg", "bochs", "cloop", "file", "host_device", "host_cdrom",
                                         "throttle", "null-co", "null-aio", "copy-on-read", "preallocate",
                                         "compress", "quorum", "replication", "copy-before-write",
                                         "snapshot-access", "blkdebug", "blkverify", "blklogwrites", NULL };
    static const char *const network[] = { "nbd", "iscsi", "http", "https", "ftp", "ftps", "ssh", "nfs", "rbd",
                                           "gluster", NULL };
    return look_at_type (look, driver, local, network, error);
}

/* "format" is what -drive calls the driver of its topmost node. */
gboolean
gw_look_block (GwLook *look, GError **error)
{
    gboolean is_drive = look->option->info->action == GW_OPTION_DRIVE;
    g_auto (GStrv) drivers = gw_optstr_get_all (look->opt, "driver");
    g_auto (GStrv) formats = gw_optstr_get_all (look->opt, "format");
    const char *first = is_drive ? "raw" : gw_optstr_get_first (look->opt, "driver");
    if (!look_at_driver (look, first, error))
        return FALSE;
    for (gsize i = 0; drivers[i] != NULL; i++)
        if (!look_at_driver (look, drivers[i], error))
            return FALSE;
    for (gsize i = 0; is_drive && formats[i] != NULL; i++)
        if (!look_at_driver (look, formats[i], error))
            return FALSE;
    return gw_look_values (look, error);
}

/* --- character devices -------------------------------------------------------------------------------------------- */

gboolean
gw_look_chardev (GwLook *look, GError **error)
{
    static const char *const local[] = { "null", "ringbuf", "memory", "vc", "pty", "stdio", "mux", "hub", "file",
                                         "pipe", "socket", "spicevmc", "spiceport", "serial", "tty", "parallel",
                                         "parport", "testdev", "msmouse", "wctablet", "qemu-vdagent", NULL };
    static const char *const network[] = { "udp", NULL };
    const char *backend = gw_optstr_get_first (look->opt, "backend");
    gboolean is_tcp = g_strcmp0 (backend, "socket") == 0 && !gw_optstr_has (look->opt, "path");
    gboolean is_direct = is_tcp || gw_optstr_has (look->opt, "host");
    return look_at_type (look, backend, local, network, error) && (!is_direct || gw_look_direct (look, error)) &&
           gw_look_values (look, error);
}

/* --- networks ----------------------------------------------------------------------------------------------------- */

/* Without script= QEMU starts its own. */
static gboolean
look_at_tap (GwLook *look, GError **error)
{
    if (gw_optstr_has (look->opt, "helper"))
        return TRUE;
    return (gw_optstr_has (look->opt, "script") || gw_allow_helper (look->config, "/etc/qemu-ifup", error)) &&
           (gw_optstr_has (look->opt, "downscript") || gw_allow_helper (look->config, "/etc/qemu-ifdown", error));
}

/* Without br= it is br0, and without helper= QEMU's own, wherever it was installed. */
static gboolean
look_at_bridge (GwLook *look, gboolean has_helper, GError **error)
{
    static const char own[] = "qemu-bridge-helper";
    if (!gw_optstr_has (look->opt, "br") && !gw_allow_interface (look->config, "br0", error))
        return FALSE;
    for (gsize i = 0; !has_helper && look->config->qemu_helpers[i] != NULL; i++) {
        g_autofree char *base = g_path_get_basename (look->config->qemu_helpers[i]);
        has_helper = strcmp (base, own) == 0;
    }
    return has_helper || gw_allow_helper (look->config, own, error);
}

gboolean
gw_look_net (GwLook *look, GError **error)
{
    static const char *const local[] = { "nic", "none", "tap", "bridge", "hubport", "vhost-user", "vhost-vdpa", NULL };
    static const char *const network[] = { "user", "socket", "stream", "dgram", "l2tpv3", "vde", "netmap", "af-xdp",
                                           NULL };
    const char *type = gw_optstr_get_first (look->opt, "type");
    gboolean is_walled = g_strcmp0 (type, "user") == 0 && gw_look_is_on (look->opt, "restrict");
    gboolean has_helper = gw_optstr_has (look->opt, "helper");
    if (!is_walled && !look_at_type (look, type, local, network, error))
        return FALSE;
    if (g_strcmp0 (type, "tap") == 0 && !look_at_tap (look, error))
        return FALSE;
    if ((g_strcmp0 (type, "bridge") == 0 || has_helper) && !look_at_bridge (look, has_helper, error))
        return FALSE;
    return gw_look_values (look, error);
}

/* --- objects and devices -------------------------------------------------------------------------------------------- */

gboolean
gw_look_object (GwLook *look, GError **error)
{
    static const char *const local[] = {
        "memory-backend-ram", "memory-backend-file", "memory-backend-memfd", "memory-backend-shm",
        "memory-backend-epc", "secret", "secret_keyring", "tls-creds-anon", "tls-creds-psk", "tls-creds-x509",
        "tls-cipher-suites", "authz-simple", "authz-list", "authz-list-file", "authz-pam", "rng-builtin",
        "rng-random", "rng-egd", "iothread", "main-loop", "thread-context", "throttle-group", "cryptodev-backend",
        "cryptodev-backend-builtin", "cryptodev-backend-lkcf", "cryptodev-vhost-user", "vhost-user-backend",
        "filter-buffer", "filter-dump", "filter-mirror", "filter-redirector", "filter-replay", "filter-rewriter",
        "colo-compare", "can-bus", "can-host-socketcan", "input-linux", "pr-manager-helper", "sev-guest", NULL };
    static const char *const network[] = { "input-barrier", "dbus-vmstate", NULL };
    const char *type = gw_optstr_get_first (look->opt, "qom-type");
    const char *interface = gw_optstr_get (look->opt, "if");
    return look_at_type (look, type, local, network, error) &&
           (interface == NULL || gw_allow_interface (look->config, interface, error)) && gw_look_values (look, error);
}

/* Hardware of this host, and its kernel's own targets. */
gboolean
gw_look_device (GwLook *look, GError **error)
{
    static const char *const hardware[] = { "vfio", "usb-host", "vhost-scsi", "u2f-passthru", "ccid-card-passthru",
                                            "xen-pci-passthrough", "kvm-pci-assign" };
    const char *driver = gw_optstr_get_first (look->opt, "driver");
    if (driver == NULL)
        return gw_look_refuse (look, "it does not say which device", error);
    for (guint i = 0; i < G_N_ELEMENTS (hardware); i++)
        if (g_str_has_prefix (driver, hardware[i]))
            return gw_look_refuse (look, "a device of this host's own", error);
    return gw_look_values (look, error);
}

/* PulseAudio's and JACK's may be on another host. */
gboolean
gw_look_audio (GwLook *look, GError **error)
{
    return (!gw_optstr_has (look->opt, "server") || gw_look_direct (look, error)) && gw_look_values (look, error);
}
