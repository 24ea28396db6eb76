/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-internal.h"

#include <string.h>
#include <unistd.h>

/* jobs/gw-12345678-dst/multifd-15.sock below it must fit into a unix socket's 107 bytes */
#define STATE_DIR_MAX 70

static char *
default_state_dir (void)
{
    const char *given = g_getenv ("GODWIT_STATE");
    if (given != NULL && *given != '\0')
        return g_strdup (given);
    if (geteuid () == 0)
        return g_strdup ("/var/lib/godwit");
    return g_build_filename (g_get_user_state_dir (), "godwit", NULL);
}

/* A short directory that belongs to this state directory and no other. */
static char *
runtime_dir_for (const char *state_dir)
{
    if (strlen (state_dir) <= STATE_DIR_MAX)
        return g_strdup (state_dir);
    g_autofree char *sum = g_compute_checksum_for_string (G_CHECKSUM_SHA256, state_dir, -1);
    sum[8] = '\0';
    const char *base = geteuid () == 0 ? "/run" : g_get_user_runtime_dir ();
    return g_build_filename (base, "godwit", sum, NULL);
}

/* The courier lies beside the program that starts it, or where it is installed. */
static char *
find_courier (void)
{
    g_autofree char *self = g_file_read_link ("/proc/self/exe", NULL);
    g_autofree char *dir = g_path_get_dirname (self != NULL ? self : ".");
    char *beside = g_build_filename (dir, "godwit-courier", NULL);
    if (g_file_test (beside, G_FILE_TEST_IS_EXECUTABLE))
        return beside;
    g_free (beside);
    char *found = g_find_program_in_path ("godwit-courier");
    return found != NULL ? found : g_strdup ("/usr/libexec/godwit/godwit-courier");
}

GwHostConfig *
gw_host_config_new (const char *state_dir)
{
    static const char *const qemu_dirs[] = { "/usr/bin", "/usr/local/bin", "/usr/libexec", NULL };
    static const char *const image_dirs[] = { "/", NULL };
    GwHostConfig *config = g_new0 (GwHostConfig, 1);
    config->state_dir = state_dir != NULL ? g_canonicalize_filename (state_dir, NULL)
                                          : default_state_dir ();
    config->runtime_dir = runtime_dir_for (config->state_dir);
    config->data_addresses = g_new0 (char *, 1);
    config->qemu_dirs = g_strdupv ((char **) qemu_dirs);
    config->image_dirs = g_strdupv ((char **) image_dirs);
    config->courier = find_courier ();
    return config;
}

GwHostConfig *
gw_host_config_copy (const GwHostConfig *config)
{
    GwHostConfig *copy = g_new0 (GwHostConfig, 1);
    copy->state_dir = g_strdup (config->state_dir);
    copy->runtime_dir = g_strdup (config->runtime_dir);
    copy->data_addresses = g_strdupv (config->data_addresses);
    copy->qemu_dirs = g_strdupv (config->qemu_dirs);
    copy->image_dirs = g_strdupv (config->image_dirs);
    copy->courier = g_strdup (config->courier);
    return copy;
}

void
gw_host_config_free (GwHostConfig *config)
{
    if (config == NULL)
        return;
    g_free (config->state_dir);
    g_free (config->runtime_dir);
    g_strfreev (config->data_addresses);
    g_strfreev (config->qemu_dirs);
    g_strfreev (config->image_dirs);
    g_free (config->courier);
    g_free (config);
}

/* The keys of the configuration file, all lists of strings. */
static const struct {
    const char *group, *key;
    gsize offset;
} keys[] = {
    { "data", "addresses", G_STRUCT_OFFSET (GwHostConfig, data_addresses) },
    { "disks", "directories", G_STRUCT_OFFSET (GwHostConfig, image_dirs) },
    { "qemu", "directories", G_STRUCT_OFFSET (GwHostConfig, qemu_dirs) },
};

static gboolean
is_known (const char *group, const char *key)
{
    for (guint i = 0; i < G_N_ELEMENTS (keys); i++)
        if (strcmp (keys[i].group, group) == 0 && strcmp (keys[i].key, key) == 0)
            return TRUE;
    return FALSE;
}

static gboolean
check_known (GKeyFile *file, const char *path, GError **error)
{
    g_auto (GStrv) groups = g_key_file_get_groups (file, NULL);
    for (gsize g = 0; groups[g] != NULL; g++) {
        g_auto (GStrv) names = g_key_file_get_keys (file, groups[g], NULL, NULL);
        for (gsize k = 0; names != NULL && names[k] != NULL; k++)
            if (!is_known (groups[g], names[k]))
                return gw_fail (error, GW_CAUSE_USAGE, "'%s': unknown key '%s' in group [%s]",
                                path, names[k], groups[g]);
    }
    return TRUE;
}

gboolean
gw_host_config_load (GwHostConfig *config, const char *path, GError **error)
{
    g_autoptr (GKeyFile) file = g_key_file_new ();
    if (!g_key_file_load_from_file (file, path, G_KEY_FILE_NONE, error)) {
        gw_error_adopt (error, GW_CAUSE_USAGE);
        g_prefix_error (error, "'%s': ", path);
        return FALSE;
    }
    if (!check_known (file, path, error))
        return FALSE;
    for (guint i = 0; i < G_N_ELEMENTS (keys); i++) {
        GStrv value = g_key_file_get_string_list (file, keys[i].group, keys[i].key, NULL, NULL);
        GStrv *field = (GStrv *) ((char *) config + keys[i].offset);
        if (value == NULL)
            continue;
        g_strfreev (*field);
        *field = value;
    }
    return TRUE;
}
