/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Command lines through gw_allow_arguments().  A line of the input is an argument.
 *
 * What is allowed must not lead to /secret, which is in no list.  That is judged by a reading of its own, of either notation:
 * every text in it, with its escapes or doubled commas undone, that begins with that path, or has it behind what may part two
 * paths, unless it is one of those that QEMU never opens.
 */
#include "allow.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static const char secret[] = "/secret";

static gboolean
is_text_option (const char *name)
{
    static const char *const texts[] = { "append", "name", "uuid", "prom-env", "smbios", "fw_cfg", NULL };
    return g_strv_contains (texts, name + strspn (name, "-"));
}

static gboolean
is_text_key (const char *key)
{
    static const char *const texts[] = { "serial", "wwn",      "product",  "vendor", "model", "name",
                                         "net",    "ipv6-net", "bootfile", "append", NULL };
    const char *dot = strrchr (key, '.');
    return g_strv_contains (texts, dot != NULL ? dot + 1 : key);
}

static gboolean
leads_there (const char *text)
{
    for (const char *p = strstr (text, secret); p != NULL; p = strstr (p + 1, secret))
        if (p == text || strchr (",:= ", p[-1]) != NULL)
            return TRUE;
    return FALSE;
}

/* --- key=value,key=value ------------------------------------------------------------------------------------- */

static gboolean
pairs_lead_there (const char *p)
{
    while (*p != '\0') {
        g_autoptr (GString) part = g_string_new (NULL);
        for (; *p != '\0' && (*p != ',' || p[1] == ','); p++) {
            p += *p == ',';
            g_string_append_c (part, *p);
        }
        p += *p == ',';
        gsize len = strcspn (part->str, "=");
        gboolean has_key = part->str[len] == '=';
        g_autofree char *key = g_strndup (part->str, has_key ? len : 0);
        if (!is_text_key (key) && leads_there (part->str + (has_key ? len + 1 : 0)))
            return TRUE;
    }
    return FALSE;
}

/* --- JSON as QEMU has it ---------------------------------------------------------------------------------------- */

static char *
read_escape (const char **at)
{
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    const char *p = *at;
    char *out = g_new0 (char, 8);
    const char *named = *p != '\0' ? strchr (names, *p) : NULL;
    if (*p == 'u') {
        gunichar c = 0;
        gsize i = 1;
        for (; i <= 4 && g_ascii_isxdigit (p[i]); i++)
            c = c << 4 | (gunichar) g_ascii_xdigit_value (p[i]);
        (void) g_unichar_to_utf8 (c, out); /* a half of a pair is no path */
        *at = p + i;
        return out;
    }
    out[0] = named != NULL ? values[named - names] : *p;
    *at = *p != '\0' ? p + 1 : p;
    return out;
}

/* The text in quotes at `*at`. */
static char *
read_text (const char **at)
{
    g_autoptr (GString) out = g_string_new (NULL);
    char quote = *(*at)++;
    while (**at != '\0' && **at != quote) {
        if (**at != '\\') {
            g_string_append_c (out, *(*at)++);
            continue;
        }
        (*at)++;
        g_autofree char *c = read_escape (at);
        g_string_append (out, c);
    }
    *at += **at != '\0';
    return g_string_free (g_steal_pointer (&out), FALSE);
}

static gboolean
json_leads_there (const char *p)
{
    g_autofree char *before = g_strdup ("");
    while (*p != '\0') {
        if (*p != '"' && *p != '\'') {
            p++;
            continue;
        }
        g_autofree char *text = read_text (&p);
        gboolean is_key = p[strspn (p, " \t\r\n")] == ':';
        if (!is_key && !is_text_key (before) && leads_there (text))
            return TRUE;
        g_free (before);
        before = g_steal_pointer (&text);
    }
    return FALSE;
}

/* --- all ---------------------------------------------------------------------------------------------------------- */

static gboolean
takes_json (const char *name)
{
    static const char *const takers[] = { "blockdev", "device", "netdev", "object", "display", "audiodev", NULL };
    return g_strv_contains (takers, name + strspn (name, "-"));
}

/* Of QEMU 7.2 and 10.0; what follows any other option belongs to it, also when it looks like an option. */
static gboolean
is_flag (const char *name)
{
    static const char *const flags[] = { "nodefaults", "nographic", "no-user-config", "S", "s", "enable-kvm", "no-reboot",
                                         "no-shutdown", "no-acpi", "no-hpet", "no-fd-bootchk", "daemonize", "snapshot",
                                         "usb", "nodefconfig", "curses", "full-screen", "win2k-hack", "singlestep",
                                         "preconfig", "mem-prealloc", "only-migratable", "show-cursor", "g3a", "h", NULL };
    return g_strv_contains (flags, name + strspn (name, "-"));
}

static void
check (char *const *args)
{
    for (gsize i = 0; args[i] != NULL; i++) {
        gboolean is_option = args[i][0] == '-';
        const char *arg = is_option && args[i + 1] != NULL ? args[i + 1] : args[i];
        if (is_option && is_text_option (args[i]))
            i++;
        else if (*arg == '{' && takes_json (args[i]) ? json_leads_there (arg) : pairs_lead_there (arg)) {
            g_printerr ("'%s %s' is allowed\n", args[i], arg);
            abort (); /* g_error() would trap, which leaves no sample */
        } else if (is_option && !is_flag (args[i]) && args[i + 1] != NULL && args[i + 1][0] == '-')
            i++;
    }
}

static GwHostConfig *
make_config (void)
{
    GwHostConfig *config = gw_host_config_new ("/nowhere");
    g_strfreev (config->image_dirs);
    g_strfreev (config->interfaces);
    config->image_dirs = g_strsplit ("/usr", ";", -1);
    config->socket_dirs = g_strsplit ("/tmp", ";", -1);
    config->file_dirs = g_strsplit ("/usr;/tmp", ";", -1);
    config->interfaces = g_strsplit ("vm-*;br0", ";", -1);
    config->is_direct = FALSE; /* a path behind "nbd:" is not of this host */
    return config;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    static GwHostConfig *config;
    g_autofree char *text = g_strndup ((const char *) data, size);
    g_auto (GStrv) args = g_strsplit (text, "\n", 64);
    if (config == NULL)
        config = make_config ();
    if (gw_allow_arguments (config, (const char *const *) args, NULL))
        check (args);
    return 0;
}
