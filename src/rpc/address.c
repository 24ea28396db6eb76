/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

#include <string.h>

/* What stands in an address ends in ssh's argument list and in messages, so names are what RFC 1123
 * and useradd(8) allow and no more; in particular none begins with '-'. */

#define HOST_MAX 253
#define USER_MAX 64

static gboolean
is_name (const char *text, const char *extra, gsize max)
{
    gsize len = strlen (text);
    if (len == 0 || len > max || text[0] == '-')
        return FALSE;
    for (const char *p = text; *p != '\0'; p++)
        if (!g_ascii_isalnum (*p) && strchr (extra, *p) == NULL)
            return FALSE;
    return TRUE;
}

static gboolean
fail_address (const char *what, const char *part, GError **error)
{
    g_autofree char *clean = gw_text_clean (part, -1, 200);
    return gw_fail (error, GW_CAUSE_USAGE, "%s '%s'", what, clean);
}

/* An IPv6 address, perhaps with a zone. */
static gboolean
is_ipv6 (const char *text)
{
    g_auto (GStrv) parts = g_strsplit (text, "%", 2);
    if (parts[0] == NULL || (parts[1] != NULL && !is_name (parts[1], "-._", 15)))
        return FALSE;
    g_autoptr (GInetAddress) address = g_inet_address_new_from_string (parts[0]);
    return address != NULL && g_inet_address_get_family (address) == G_SOCKET_FAMILY_IPV6;
}

static gboolean
take_port (const char *text, guint16 *ret_port, GError **error)
{
    guint64 port;
    if (!g_ascii_string_to_unsigned (text, 10, 1, G_MAXUINT16, &port, NULL))
        return fail_address ("not a port from 1 to 65535:", text, error);
    *ret_port = (guint16) port;
    return TRUE;
}

/* "[V6]" or "[V6]:PORT" */
static gboolean
take_bracketed (GwRpcAddress *address, const char *text, GError **error)
{
    const char *end = strchr (text, ']');
    if (end == NULL || (end[1] != '\0' && end[1] != ':'))
        return fail_address ("not an IPv6 address in brackets:", text, error);
    address->host = g_strndup (text + 1, (gsize) (end - text - 1));
    if (!is_ipv6 (address->host))
        return fail_address ("not an IPv6 address:", address->host, error);
    return end[1] == '\0' || take_port (end + 2, &address->port, error);
}

/* "HOST" or "HOST:PORT" */
static gboolean
take_host (GwRpcAddress *address, const char *text, GError **error)
{
    if (text[0] == '[')
        return take_bracketed (address, text, error);
    const char *colon = strchr (text, ':');
    address->host = colon != NULL ? g_strndup (text, (gsize) (colon - text)) : g_strdup (text);
    if (!is_name (address->host, "-._", HOST_MAX))
        return fail_address ("not a host name:", address->host, error);
    return colon == NULL || take_port (colon + 1, &address->port, error);
}

static gboolean
take_unix (GwRpcAddress *address, const char *rest, GError **error)
{
    address->path = g_strdup (rest);
    return gw_rpc_check_unix_path (rest, GW_CAUSE_USAGE, error);
}

static gboolean
take_ssh (GwRpcAddress *address, const char *rest, GError **error)
{
    const char *at = strrchr (rest, '@');
    if (at == NULL)
        return take_host (address, rest, error);
    address->user = g_strndup (rest, (gsize) (at - rest));
    if (!is_name (address->user, "-._+", USER_MAX))
        return fail_address ("not a user name:", address->user, error);
    return take_host (address, at + 1, error);
}

static const struct {
    const char *prefix;
    GwDestKind kind;
    gboolean (*take) (GwRpcAddress *address, const char *rest, GError **error);
} schemes[] = {
    { "unix:", GW_DEST_UNIX, take_unix },
    { "ssh://", GW_DEST_SSH, take_ssh },
    { "godwit://", GW_DEST_GODWIT, take_host },
};

GwRpcAddress *
gw_rpc_address_parse (const char *text, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS (schemes); i++) {
        if (!g_str_has_prefix (text, schemes[i].prefix))
            continue;
        g_autoptr (GwRpcAddress) address = g_new0 (GwRpcAddress, 1);
        address->kind = schemes[i].kind;
        address->text = g_strdup (text);
        if (schemes[i].take (address, text + strlen (schemes[i].prefix), error))
            return g_steal_pointer (&address);
        g_autofree char *clean = gw_text_clean (text, -1, 300);
        g_prefix_error (error, "address '%s': ", clean);
        return NULL;
    }
    (void) fail_address ("an address is unix:PATH, ssh://[USER@]HOST[:PORT] or "
                         "godwit://HOST[:PORT], not",
                         text, error);
    return NULL;
}

void
gw_rpc_address_free (GwRpcAddress *address)
{
    if (address == NULL)
        return;
    g_free (address->path);
    g_free (address->user);
    g_free (address->host);
    g_free (address->text);
    g_free (address);
}
