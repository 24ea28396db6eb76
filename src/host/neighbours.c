/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What else is on the host: its interfaces and addresses, and the QEMUs that run beside. */
#include "host-internal.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- interfaces -------------------------------------------------------------------------------- */

static gint64
read_mtu (int fd, const char *name)
{
    struct ifreq request = { 0 };
    g_strlcpy (request.ifr_name, name, sizeof request.ifr_name);
    return ioctl (fd, SIOCGIFMTU, &request) == 0 ? MAX (request.ifr_mtu, 0) : 0;
}

static void
read_interfaces (GwHostFacts *facts)
{
    g_auto (GwFd) fd = socket (AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct if_nameindex *list = if_nameindex ();
    for (guint i = 0; list != NULL && list[i].if_index != 0 && i < GW_ARRAY_MAX; i++) {
        GwInterface *interface = g_new0 (GwInterface, 1);
        interface->name = g_strdup (list[i].if_name);
        interface->mtu = read_mtu (fd, list[i].if_name);
        g_ptr_array_add (facts->interfaces, interface);
    }
    if (list != NULL)
        if_freenameindex (list);
}

static void
read_addresses (GwHostFacts *facts)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    struct ifaddrs *list = NULL;
    guint n = 0;
    if (getifaddrs (&list) != 0)
        return;
    for (const struct ifaddrs *at = list; at != NULL && n < GW_ARRAY_MAX; at = at->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        int family = at->ifa_addr != NULL ? at->ifa_addr->sa_family : AF_UNSPEC;
        const void *address =
            family == AF_INET    ? (const void *) &((const struct sockaddr_in *) at->ifa_addr)->sin_addr
            : family == AF_INET6 ? (const void *) &((const struct sockaddr_in6 *) at->ifa_addr)->sin6_addr
                                 : NULL;
        if (address == NULL || inet_ntop (family, address, text, sizeof text) == NULL)
            continue;
        g_strv_builder_add (builder, text);
        n++;
    }
    freeifaddrs (list);
    facts->addresses = g_strv_builder_end (builder);
}

/* --- QEMUs ------------------------------------------------------------------------------------- */

/* "guest=web1,debug-threads=on" or "web1" */
static char *
parse_name (const char *text)
{
    g_autoptr (GwOptStr) opt = gw_optstr_parse (text);
    return g_strdup (gw_optstr_get_first (opt, "guest"));
}

GwOtherVm *
gw_parse_other_vm (const char *const *argv)
{
    g_autofree char *program = argv[0] != NULL ? g_path_get_basename (argv[0]) : NULL;
    if (program == NULL || !g_str_has_prefix (program, "qemu-") || argv[1] == NULL)
        return NULL;
    GwOtherVm *vm = g_new0 (GwOtherVm, 1);
    for (gsize i = 1; argv[i] != NULL && argv[i + 1] != NULL; i++) {
        const char *option = argv[i] + (g_str_has_prefix (argv[i], "--") ? 1 : 0);
        if (strcmp (option, "-uuid") == 0 && vm->uuid == NULL)
            vm->uuid = g_strdup (argv[i + 1]);
        else if (strcmp (option, "-name") == 0 && vm->name == NULL)
            vm->name = parse_name (argv[i + 1]);
    }
    return vm;
}

static char *
read_namespace (const char *pid)
{
    g_autofree char *path = g_strdup_printf ("/proc/%s/ns/net", pid);
    return g_file_read_link (path, NULL);
}

/* A process of another network namespace belongs to what counts as another host. */
static void
add_process (GwHostFacts *facts, const char *pid_text, const char *own)
{
    gint64 pid = g_ascii_strtoll (pid_text, NULL, 10);
    g_auto (GStrv) argv = pid > 0 ? gw_procfs_read_argv ((pid_t) pid, NULL) : NULL;
    GwOtherVm *vm = argv != NULL ? gw_parse_other_vm ((const char *const *) argv) : NULL;
    if (vm == NULL)
        return;
    g_autofree char *namespace = read_namespace (pid_text);
    vm->pid = pid;
    vm->start_time = gw_procfs_get_start_time ((pid_t) pid);
    if (vm->start_time != 0 && own != NULL && g_strcmp0 (namespace, own) == 0) {
        g_ptr_array_add (facts->qemus, vm);
        return;
    }
    g_free (vm->name);
    g_free (vm->uuid);
    g_free (vm);
}

static void
read_qemus (GwHostFacts *facts)
{
    g_autofree char *own = read_namespace ("self");
    g_autoptr (GDir) processes = g_dir_open ("/proc", 0, NULL);
    const char *name;
    while (processes != NULL && facts->qemus->len < GW_ARRAY_MAX &&
           (name = g_dir_read_name (processes)) != NULL)
        if (g_ascii_isdigit (*name))
            add_process (facts, name, own);
}

void
gw_read_neighbours (GwHostFacts *facts)
{
    read_interfaces (facts);
    read_addresses (facts);
    read_qemus (facts);
}
