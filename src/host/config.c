/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

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

void
gw_host_config_set_state_dir (GwHostConfig *config, const char *state_dir)
{
    char *made = state_dir != NULL ? g_canonicalize_filename (state_dir, NULL) : default_state_dir ();
    g_free (config->state_dir);
    g_free (config->runtime_dir);
    config->state_dir = made;
    config->runtime_dir = runtime_dir_for (made);
}

static GStrv
words_new (const char *text)
{
    return g_strsplit (text, ";", -1);
}

GwHostConfig *
gw_host_config_new (const char *state_dir)
{
    GwHostConfig *config = g_new0 (GwHostConfig, 1);
    gw_host_config_set_state_dir (config, state_dir);
    config->socket = g_strdup (GW_HOST_SOCKET);
    config->data_addresses = words_new ("");
    config->qemu_dirs = words_new ("/usr/bin;/usr/local/bin;/usr/libexec");
    config->qemu_programs = words_new ("qemu-system-*;qemu-kvm");
    config->qemu_helpers = words_new ("");
    config->image_dirs = words_new ("/");
    config->interfaces = words_new ("*");
    config->is_direct = TRUE;
    config->listen = words_new ("");
    config->certificates = g_strdup (GW_HOST_CERTIFICATES);
    config->peer_names = words_new ("");
    config->peer_networks = words_new ("");
    config->connections = 64;
    config->per_address = 16;
    config->max_jobs = 32;
    config->handshake_s = 10;
    config->silence_s = 600;
    config->grace_s = GW_HOST_GRACE_S;
    config->nice = GW_HOST_NICE;
    config->courier = find_courier ();
    return config;
}

/* --- copies, by the table of keys --------------------------------------------------------------------------- */

static void
copy_text (gpointer to, gconstpointer from)
{
    *(char **) to = g_strdup (*(char *const *) from);
}

static void
copy_list (gpointer to, gconstpointer from)
{
    *(GStrv *) to = g_strdupv (*(const GStrv *) from);
}

static gboolean
equal_texts (gconstpointer a, gconstpointer b)
{
    return g_strcmp0 (*(char *const *) a, *(char *const *) b) == 0;
}

static gboolean
equal_lists (gconstpointer a, gconstpointer b)
{
    const char *const *one = *(const char *const *const *) a, *const *other = *(const char *const *const *) b;
    return one == other || (one != NULL && other != NULL && g_strv_equal (one, other));
}

static gboolean
equal_flags (gconstpointer a, gconstpointer b)
{
    return *(const gboolean *) a == *(const gboolean *) b;
}

static gboolean
equal_numbers (gconstpointer a, gconstpointer b)
{
    return *(const gint64 *) a == *(const gint64 *) b;
}

static void
free_text (gpointer field)
{
    g_free (*(char **) field);
}

static void
free_list (gpointer field)
{
    g_strfreev (*(GStrv *) field);
}

static const struct {
    void (*copy) (gpointer to, gconstpointer from); /* NULL: the bytes are all of it */
    void (*free) (gpointer field);
    gboolean (*equal) (gconstpointer a, gconstpointer b);
} kinds[] = {
    [GW_CONFIG_PATH] = { copy_text, free_text, equal_texts },
    [GW_CONFIG_LIST] = { copy_list, free_list, equal_lists },
    [GW_CONFIG_PATHS] = { copy_list, free_list, equal_lists },
    [GW_CONFIG_ADDRESSES] = { copy_list, free_list, equal_lists },
    [GW_CONFIG_NETWORKS] = { copy_list, free_list, equal_lists },
    [GW_CONFIG_FLAG] = { NULL, NULL, equal_flags },
    [GW_CONFIG_NUMBER] = { NULL, NULL, equal_numbers },
};

void
gw_config_clear_field (GwHostConfig *config, const GwConfigKey *key)
{
    if (kinds[key->type].free != NULL)
        kinds[key->type].free (gw_config_field (config, key));
}

/* A field that holds nothing yet, or what belongs to another configuration. */
static void
copy_field (GwHostConfig *to, const GwHostConfig *from, const GwConfigKey *key)
{
    if (kinds[key->type].copy != NULL)
        kinds[key->type].copy (gw_config_field (to, key), (const char *) from + key->offset);
}

GwHostConfig *
gw_host_config_copy (const GwHostConfig *config)
{
    GwHostConfig *copy = g_memdup2 (config, sizeof *config);
    copy->state_dir = g_strdup (config->state_dir);
    copy->runtime_dir = g_strdup (config->runtime_dir);
    copy->courier = g_strdup (config->courier);
    for (guint i = 0; i < GW_N_CONFIG_KEYS; i++)
        copy_field (copy, config, &gw_config_keys[i]);
    return copy;
}

/* The bytes of a number or flag, and what else belongs to the field. */
static void
take_back (GwHostConfig *fresh, const GwHostConfig *now, const GwConfigKey *key)
{
    static const gsize sizes[] = { [GW_CONFIG_FLAG] = sizeof (gboolean), [GW_CONFIG_NUMBER] = sizeof (gint64) };
    gw_config_clear_field (fresh, key);
    if (kinds[key->type].copy == NULL)
        memcpy (gw_config_field (fresh, key), (const char *) now + key->offset, sizes[key->type]);
    copy_field (fresh, now, key);
}

GStrv
gw_host_config_keep_started (GwHostConfig *fresh, const GwHostConfig *now, GError **error)
{
    g_autoptr (GStrvBuilder) kept = g_strv_builder_new ();
    if (*now->listen != NULL && *fresh->listen == NULL) {
        /* without [listen] the file needs no lists for peers, and there are some */
        gw_fail (error, GW_CAUSE_USAGE, "the agent serves peers, and the file has no [listen] addresses any more");
        return NULL;
    }
    for (guint i = 0; i < GW_N_CONFIG_KEYS; i++) {
        const GwConfigKey *key = &gw_config_keys[i];
        g_autofree char *name = g_strdup_printf ("[%s] %s", key->group, key->key);
        if (key->when != GW_CONFIG_START ||
            kinds[key->type].equal (gw_config_field (fresh, key), (const char *) now + key->offset))
            continue;
        take_back (fresh, now, key);
        g_strv_builder_add (kept, name);
    }
    gw_host_config_set_state_dir (fresh, now->state_dir);
    return g_strv_builder_end (kept);
}

void
gw_host_config_free (GwHostConfig *config)
{
    if (config == NULL)
        return;
    for (guint i = 0; i < GW_N_CONFIG_KEYS; i++)
        gw_config_clear_field (config, &gw_config_keys[i]);
    g_free (config->state_dir);
    g_free (config->runtime_dir);
    g_free (config->courier);
    g_free (config);
}
