/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tokens: the proof that a directory of the source is a directory of the destination.  The source
 * writes a small file of random name and content beside an image, the destination looks for it
 * beside what it takes for that image, and the source removes it.  No image is opened for it.
 */
#include "allow.h"
#include "host-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX ".godwit-token-"
#define HALF_BYTES 16 /* of randomness: for the name, and for the content */
#define TOKEN_LEN (2 * 2 * HALF_BYTES)

/* `name` in the directory that `image` really lies in.  (transfer full) */
static char *
beside (const char *image, const char *name)
{
    char *real = realpath (image, NULL);
    if (real == NULL)
        return NULL;
    g_autofree char *directory = g_path_get_dirname (real);
    free (real);
    return g_build_filename (directory, name, NULL);
}

/* The file of a token, whose first half is the name; NULL when it is none. */
static char *
token_path (const char *image, const char *token)
{
    if (strlen (token) != TOKEN_LEN || strspn (token, "0123456789abcdef") != TOKEN_LEN)
        return NULL;
    g_autofree char *name = g_strdup_printf (PREFIX "%.*s", TOKEN_LEN / 2, token);
    return beside (image, name);
}

static char *
token_new (void)
{
    guint8 bytes[2 * HALF_BYTES];
    if (getrandom (bytes, sizeof bytes, 0) != (ssize_t) sizeof bytes)
        return NULL;
    GString *text = g_string_new (NULL);
    for (guint i = 0; i < sizeof bytes; i++)
        g_string_append_printf (text, "%02x", bytes[i]);
    return g_string_free (text, FALSE);
}

static gboolean
write_token (const char *path, const char *token)
{
    gsize len = strlen (token);
    g_auto (GwFd) fd = open (path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd >= 0 && write (fd, token, len) == (ssize_t) len && fsync (fd) == 0;
}

static gboolean
is_disk_of (const GwVm *vm, const char *path)
{
    for (guint i = 0; i < vm->disks->len; i++)
        if (g_strcmp0 (((GwDisk *) vm->disks->pdata[i])->path, path) == 0)
            return TRUE;
    return FALSE;
}

static gboolean
is_open_file (const LocalHost *local, const char *path)
{
    struct stat st;
    return stat (path, &st) == 0 && S_ISREG (st.st_mode) && gw_procfs_has_open ((pid_t) local->vm->pid, path);
}

/* Whoever finds the job interrupted removes it. */
static gboolean
journal_token (LocalHost *local, const char *job, const char *path)
{
    const GwJournalObject object = { .kind = "token", .path = path };
    return gw_job_id_is_valid (job) && gw_local_need_journal (local, NULL) &&
           gw_journal_put_objects (local->journal, job, GW_SIDE_SOURCE, &object, 1, NULL);
}

void
gw_token_remove (JsonObject *object)
{
    const char *path = gw_json_peek_string (object, "path", "");
    g_autofree char *base = g_path_get_basename (path);
    if (g_str_has_prefix (base, PREFIX) && strlen (base) == strlen (PREFIX) + TOKEN_LEN / 2)
        (void) unlink (path); /* nobody else has that name */
}

/* "" where there can be none, which is no failure: the directory may be read-only.  Beside a device it
 * would say nothing: all devices of a host are in one directory. */
static char *
put_token (LocalHost *local, const char *job, const char *image)
{
    g_autofree char *token = token_new ();
    g_autofree char *path =
        token != NULL && is_disk_of (local->vm, image) && is_open_file (local, image) ? token_path (image, token) : NULL;
    if (path == NULL || (job != NULL && !journal_token (local, job, path)))
        return g_strdup ("");
    gboolean ok = write_token (path, token);
    g_ptr_array_add (local->tokens, g_steal_pointer (&path)); /* half written it goes away too */
    return ok ? g_steal_pointer (&token) : g_strdup ("");
}

void
gw_local_drop_token_files (LocalHost *local)
{
    for (guint i = 0; local->tokens != NULL && i < local->tokens->len; i++)
        (void) unlink (local->tokens->pdata[i]);
    g_clear_pointer (&local->tokens, g_ptr_array_unref);
}

JsonObject *
gw_local_put_tokens (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    g_auto (GStrv) paths = gw_json_peek_strv (params, "paths");
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    if (local->vm == NULL) {
        gw_fail (error, GW_CAUSE_RPC_INVALID, "no VM is adopted here");
        return NULL;
    }
    gw_local_drop_token_files (local);
    local->tokens = g_ptr_array_new_with_free_func (g_free);
    for (gsize i = 0; paths[i] != NULL; i++) {
        g_autofree char *token = put_token (local, gw_json_peek_string (params, "job", NULL), paths[i]);
        g_strv_builder_add (builder, token);
    }
    g_auto (GStrv) tokens = g_strv_builder_end (builder);
    return gw_json_new ("tokens:v", tokens, NULL);
}

static gboolean
sees_token (const char *image, const char *token)
{
    g_autofree char *path = token_path (image, token);
    char text[TOKEN_LEN + 1] = { 0 };
    g_auto (GwFd) fd = path != NULL ? open (path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
    return fd >= 0 && read (fd, text, TOKEN_LEN) == TOKEN_LEN && strcmp (text, token) == 0;
}

static gboolean
is_for_telling (const LocalHost *local, const char *path)
{
    return !gw_host_config_is_confined (local->config) || gw_allow_knows (local->config, path);
}

JsonObject *
gw_local_find_tokens (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    g_auto (GStrv) paths = gw_json_peek_strv (params, "paths");
    g_auto (GStrv) tokens = gw_json_peek_strv (params, "tokens");
    g_autoptr (GStrvBuilder) found = g_strv_builder_new ();
    for (gsize i = 0; paths[i] != NULL && tokens[i] != NULL; i++)
        g_strv_builder_add (found, is_for_telling (local, paths[i]) && sees_token (paths[i], tokens[i]) ? "seen" : "");
    g_auto (GStrv) list = g_strv_builder_end (found);
    return gw_json_new ("found:v", list, NULL);
}

JsonObject *
gw_local_drop_tokens (LocalHost *local, JsonObject *params, GCancellable *cancellable, GError **error)
{
    gw_local_drop_token_files (local);
    return json_object_new ();
}
