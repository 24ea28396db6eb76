/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration file: read line by line for what is wrong and where, then by GKeyFile for the values. */
#include "config.h"

#include <string.h>
#include <unistd.h>

#define FILE_BYTES_MAX (1u << 20)
#define LIST_MAX 256 /* words of a list */

const GwConfigKey gw_config_keys[GW_N_CONFIG_KEYS] = {
#define X(group, key, type, field, min, max, when)                                                                 \
    { group, key, GW_CONFIG_##type, G_STRUCT_OFFSET (GwHostConfig, field), min, max, GW_CONFIG_##when },
#include "config.def"
#undef X
};

/* --- the lines ------------------------------------------------------------------------------------------- */

typedef struct {
    const char *path;
    char *group;                  /* that the line is in; NULL: none yet */
    guint lines[GW_N_CONFIG_KEYS]; /* where each key stands; 0: nowhere */
    guint line;
} Scan;

static gboolean
fail_line (const Scan *scan, GError **error, const char *format, ...) G_GNUC_PRINTF (3, 4);

static gboolean
fail_line (const Scan *scan, GError **error, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autofree char *what = g_strdup_vprintf (format, args);
    va_end (args);
    g_autofree char *clean = gw_text_clean (what, -1, 400);
    return gw_fail (error, GW_CAUSE_USAGE, "'%s', line %u: %s", scan->path, scan->line, clean);
}

static gboolean
is_known_group (const char *group)
{
    for (guint i = 0; i < GW_N_CONFIG_KEYS; i++)
        if (strcmp (gw_config_keys[i].group, group) == 0)
            return TRUE;
    return FALSE;
}

static gboolean
take_group (Scan *scan, const char *text, GError **error)
{
    gsize len = strlen (text);
    if (len < 3 || text[len - 1] != ']')
        return fail_line (scan, error, "'%s' is not a group like [disks]", text);
    g_free (scan->group);
    scan->group = g_strndup (text + 1, len - 2);
    return is_known_group (scan->group) || fail_line (scan, error, "unknown group [%s]", scan->group);
}

static gboolean
take_key (Scan *scan, const char *text, GError **error)
{
    const char *equals = strchr (text, '=');
    if (equals == NULL || equals == text)
        return fail_line (scan, error, "'%s' is neither KEY=VALUE nor [GROUP] nor a comment", text);
    g_autofree char *key = g_strchomp (g_strndup (text, (gsize) (equals - text)));
    if (scan->group == NULL)
        return fail_line (scan, error, "'%s' stands before the first [GROUP]", key);
    for (guint i = 0; i < GW_N_CONFIG_KEYS; i++) {
        if (strcmp (gw_config_keys[i].group, scan->group) != 0 || strcmp (gw_config_keys[i].key, key) != 0)
            continue;
        if (scan->lines[i] != 0)
            return fail_line (scan, error, "[%s] %s stands in line %u already", scan->group, key, scan->lines[i]);
        scan->lines[i] = scan->line;
        return TRUE;
    }
    return fail_line (scan, error, "unknown key '%s' in group [%s]", key, scan->group);
}

static gboolean
scan_lines (Scan *scan, const char *text, GError **error)
{
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    for (guint i = 0; lines[i] != NULL; i++) {
        const char *line = g_strstrip (lines[i]);
        scan->line = i + 1;
        if (*line == '\0' || *line == '#')
            continue;
        if (!(*line == '[' ? take_group (scan, line, error) : take_key (scan, line, error)))
            return FALSE;
    }
    return TRUE;
}

/* --- the values ------------------------------------------------------------------------------------------- */

typedef struct {
    GKeyFile *file;
    const GwConfigKey *key;
    const Scan *scan;
} Value;

static gboolean
fail_value (const Value *value, const char *text, const char *what, GError **error)
{
    return fail_line (value->scan, error, "[%s] %s: '%s' is not %s", value->key->group, value->key->key, text, what);
}

static gboolean
is_absolute (const char *text)
{
    return g_path_is_absolute (text);
}

static gboolean
is_word (const char *text)
{
    return *text != '\0';
}

static gboolean
is_address (const char *text)
{
    return gw_rpc_endpoint_parse (text, NULL, NULL);
}

static gboolean
is_network (const char *text)
{
    g_autoptr (GInetAddressMask) mask = g_inet_address_mask_new_from_string (text, NULL);
    return mask != NULL;
}

/* Of one word. */
static const struct {
    gboolean (*is_good) (const char *text);
    const char *what;
} words[] = {
    [GW_CONFIG_PATH] = { is_absolute, "an absolute path" },
    [GW_CONFIG_LIST] = { is_word, "a word" },
    [GW_CONFIG_PATHS] = { is_absolute, "an absolute path" },
    [GW_CONFIG_ADDRESSES] = { is_address, "an IP address, or ADDRESS:PORT" },
    [GW_CONFIG_NETWORKS] = { is_network, "a network like 192.0.2.0/24 (no bits set behind its length)" },
    [GW_CONFIG_FLAG] = { NULL, "true or false" },
    [GW_CONFIG_NUMBER] = { NULL, NULL },
};

/* GLib gives a value with an escape sequence that it does not know, and says so in the error as well. */
static gboolean
fail_escape (const Value *value, GError **error)
{
    return fail_line (value->scan, error, "[%s] %s holds a backslash that is no escape sequence", value->key->group,
                      value->key->key);
}

static gboolean
read_text (const Value *value, gpointer field, GError **error)
{
    g_autoptr (GError) failure = NULL;
    g_autofree char *text = g_key_file_get_string (value->file, value->key->group, value->key->key, &failure);
    if (failure != NULL)
        return fail_escape (value, error);
    if (!words[value->key->type].is_good (text))
        return fail_value (value, text, words[value->key->type].what, error);
    g_free (*(char **) field);
    *(char **) field = g_steal_pointer (&text);
    return TRUE;
}

static gboolean
read_list (const Value *value, gpointer field, GError **error)
{
    gsize n = 0;
    g_autoptr (GError) failure = NULL;
    g_auto (GStrv) list = g_key_file_get_string_list (value->file, value->key->group, value->key->key, &n, &failure);
    if (failure != NULL)
        return fail_escape (value, error);
    if (n > LIST_MAX)
        return fail_line (value->scan, error, "[%s] %s has more than %d words", value->key->group, value->key->key,
                          LIST_MAX);
    for (gsize i = 0; i < n; i++) {
        g_strstrip (list[i]);
        if (!words[value->key->type].is_good (list[i]))
            return fail_value (value, list[i], words[value->key->type].what, error);
    }
    g_strfreev (*(GStrv *) field);
    *(GStrv *) field = g_steal_pointer (&list);
    return TRUE;
}

static gboolean
read_flag (const Value *value, gpointer field, GError **error)
{
    g_autofree char *text = g_key_file_get_value (value->file, value->key->group, value->key->key, NULL);
    gboolean is_true = g_strcmp0 (text, "true") == 0;
    if (!is_true && g_strcmp0 (text, "false") != 0)
        return fail_value (value, text != NULL ? text : "", words[GW_CONFIG_FLAG].what, error);
    *(gboolean *) field = is_true;
    return TRUE;
}

static gboolean
read_number (const Value *value, gpointer field, GError **error)
{
    const GwConfigKey *key = value->key;
    g_autofree char *text = g_key_file_get_value (value->file, key->group, key->key, NULL);
    g_autofree char *what =
        g_strdup_printf ("a number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, key->min, key->max);
    if (text == NULL || !g_ascii_string_to_signed (text, 10, key->min, key->max, (gint64 *) field, NULL))
        return fail_value (value, text != NULL ? text : "", what, error);
    return TRUE;
}

static gboolean (*const readers[]) (const Value *value, gpointer field, GError **error) = {
    [GW_CONFIG_PATH] = read_text,
    [GW_CONFIG_LIST] = read_list,
    [GW_CONFIG_PATHS] = read_list,
    [GW_CONFIG_ADDRESSES] = read_list,
    [GW_CONFIG_NETWORKS] = read_list,
    [GW_CONFIG_FLAG] = read_flag,
    [GW_CONFIG_NUMBER] = read_number,
};

static gboolean
read_values (GwHostConfig *config, GKeyFile *file, Scan *scan, GError **error)
{
    for (guint i = 0; i < GW_N_CONFIG_KEYS; i++) {
        const Value value = { file, &gw_config_keys[i], scan };
        scan->line = scan->lines[i];
        if (scan->lines[i] != 0 && !readers[value.key->type](&value, gw_config_field (config, value.key), error))
            return FALSE;
    }
    return TRUE;
}

/* --- what belongs together ---------------------------------------------------------------------------------- */

/* Without limits a peer that is let in can do what root can. */
static gboolean
check_listening (const GwHostConfig *config, Scan *scan, GError **error)
{
    static const guint needed[] = { GW_CONFIG_KEY_peer_names, GW_CONFIG_KEY_image_dirs, GW_CONFIG_KEY_socket_dirs,
                                    GW_CONFIG_KEY_file_dirs };
    scan->line = scan->lines[GW_CONFIG_KEY_listen];
    for (guint i = 0; *config->listen != NULL && i < G_N_ELEMENTS (needed); i++)
        if (scan->lines[needed[i]] == 0)
            return fail_line (scan, error, "[listen] addresses needs [%s] %s", gw_config_keys[needed[i]].group,
                              gw_config_keys[needed[i]].key);
    return TRUE;
}

gboolean
gw_host_config_is_confined (const GwHostConfig *config)
{
    return config->socket_dirs != NULL || config->file_dirs != NULL;
}

gboolean
gw_host_config_load (GwHostConfig *config, const char *path, GError **error)
{
    g_autofree char *text = NULL;
    gsize len = 0;
    Scan scan = { .path = path };
    g_autoptr (GKeyFile) file = g_key_file_new ();
    if (!g_file_get_contents (path, &text, &len, error)) {
        gw_error_adopt (error, GW_CAUSE_USAGE);
        return FALSE;
    }
    if (len > FILE_BYTES_MAX || strlen (text) != len || !g_utf8_validate (text, (gssize) len, NULL))
        return gw_fail (error, GW_CAUSE_USAGE, "'%s' is not a text in UTF-8 of at most %u bytes", path, FILE_BYTES_MAX);
    gboolean ok = scan_lines (&scan, text, error);
    g_free (scan.group);
    if (!ok)
        return FALSE;
    if (!g_key_file_load_from_data (file, text, len, G_KEY_FILE_NONE, error)) {
        gw_error_adopt (error, GW_CAUSE_USAGE);
        g_prefix_error (error, "'%s': ", path);
        return FALSE;
    }
    if (!read_values (config, file, &scan, error) || !check_listening (config, &scan, error))
        return FALSE;
    if (config->file_state_dir != NULL && g_getenv ("GODWIT_STATE") == NULL)
        gw_host_config_set_state_dir (config, config->file_state_dir);
    return TRUE;
}

gboolean
gw_host_config_load_default (GwHostConfig *config, GError **error)
{
    if (geteuid () != 0 || !g_file_test (GW_HOST_CONFIG_FILE, G_FILE_TEST_EXISTS))
        return TRUE;
    return gw_host_config_load (config, GW_HOST_CONFIG_FILE, error);
}
