/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is wrong with the disks of a VM, seen from outside.  QEMU gives a migration up without a word when it
 * cannot flush an image, so after such a failure the places are looked at where its disks are.
 */
#include "host-internal.h"

#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CONNECT_S 2
#define NBD_PORT 10809

/* --- servers ---------------------------------------------------------------------------------------- */

/* "nbd+unix:///NAME?socket=PATH" and "nbd://HOST:PORT/NAME"; NULL for what is no NBD server. */
static GSocketConnectable *
find_server (const char *url)
{
    const char *socket = strstr (url, "socket=");
    if (g_str_has_prefix (url, "nbd+unix:") && socket != NULL) {
        g_autofree char *path = g_uri_unescape_string (socket + strlen ("socket="), NULL);
        return path != NULL ? G_SOCKET_CONNECTABLE (g_unix_socket_address_new (path)) : NULL;
    }
    return g_str_has_prefix (url, "nbd://") ? g_network_address_parse_uri (url, NBD_PORT, NULL) : NULL;
}

static char *
look_at_server (const char *url)
{
    g_autoptr (GSocketConnectable) server = find_server (url);
    g_autoptr (GError) error = NULL;
    if (server == NULL)
        return NULL;
    g_autoptr (GSocketClient) client = g_socket_client_new ();
    g_socket_client_set_timeout (client, CONNECT_S);
    g_autoptr (GSocketConnection) connection =
        g_socket_client_connect (client, server, NULL, &error);
    return connection == NULL
               ? g_strdup_printf ("its server at '%s' does not answer: %s", url, error->message)
               : NULL;
}

/* --- files -------------------------------------------------------------------------------------------- */

static char *
look_at_file (const char *path)
{
    struct statvfs st;
    if (access (path, F_OK) != 0)
        return g_strdup_printf ("'%s' cannot be found: %s", path, g_strerror (errno));
    if (statvfs (path, &st) == 0 && st.f_bavail == 0 && st.f_blocks > 0)
        return g_strdup_printf ("the file system of '%s' is full: %s", path, g_strerror (ENOSPC));
    return NULL;
}

char *
gw_disks_describe_trouble (const GwVm *vm)
{
    GString *out = g_string_new (NULL);
    for (guint i = 0; i < vm->disks->len; i++) {
        const GwDisk *disk = vm->disks->pdata[i];
        g_autofree char *trouble = disk->path != NULL  ? look_at_file (disk->path)
                                   : disk->url != NULL ? look_at_server (disk->url)
                                                       : NULL;
        if (trouble != NULL)
            g_string_append_printf (out, "%sdisk '%s': %s", out->len > 0 ? "\n" : "",
                                    *disk->device != '\0' ? disk->device : disk->node, trouble);
    }
    return g_string_free (out, FALSE);
}
