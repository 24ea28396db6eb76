/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a QEMU program said is remembered for as long as its file is the same. */
#include "test-host-dir.h"

#include <sys/stat.h>
#include <utime.h>

/* The only file below STATE/qemu, NULL when there is none.  (transfer full) */
static char *
find_kept (const Dir *dir)
{
    g_autofree char *path = g_build_filename (dir->path, "qemu", NULL);
    g_autoptr (GDir) list = g_dir_open (path, 0, NULL);
    const char *name = list != NULL ? g_dir_read_name (list) : NULL;
    char *found = name != NULL ? g_build_filename (path, name, NULL) : NULL;
    g_assert_true (list == NULL || g_dir_read_name (list) == NULL);
    return found;
}

/* Puts a version of its own into what is kept, so that reading shows where it came from. */
static void
forge (const char *kept)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *text = NULL;
    g_assert_true (g_file_get_contents (kept, &text, NULL, &error));
    g_autoptr (JsonObject) object = gw_json_parse (text, -1, &error);
    g_assert_no_error (error);
    json_object_set_string_member (object, "version", "forged");
    g_autofree char *forged = gw_json_to_text (object, FALSE);
    g_assert_true (g_file_set_contents (kept, forged, -1, &error));
}

static char *
copy_qemu (const Dir *dir)
{
    g_autofree char *qemu = g_find_program_in_path ("qemu-system-x86_64");
    if (qemu == NULL)
        return NULL;
    char *copy = dir_path (dir, "bin/qemu-system-x86_64");
    g_autoptr (GFile) from = g_file_new_for_path (qemu);
    g_autoptr (GFile) to = g_file_new_for_path (copy);
    g_autoptr (GError) error = NULL;
    g_assert_true (g_file_copy (from, to, G_FILE_COPY_NONE, NULL, NULL, NULL, &error));
    return copy;
}

static void
assert_version (const Dir *dir, const char *path, gboolean is_forged)
{
    g_autoptr (GwQemuFacts) facts = gw_qemu_read_facts (dir->config, dir->context, path);
    g_assert_nonnull (facts->version);
    g_assert_true ((strcmp (facts->version, "forged") == 0) == is_forged);
    g_assert_cmpuint (g_strv_length (facts->machines), >, 1);
}

static void
test_kept (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autofree char *qemu = copy_qemu (dir);
    if (qemu == NULL) {
        g_test_skip ("qemu-system-x86_64 is not installed (scripts/deps)");
        return;
    }
    assert_version (dir, qemu, FALSE);
    g_autofree char *kept = find_kept (dir);
    g_assert_nonnull (kept);
    forge (kept);
    assert_version (dir, qemu, TRUE);
    /* another file of the same name, size and content */
    g_assert_no_errno (utime (qemu, &(struct utimbuf){ 1, 1 }));
    assert_version (dir, qemu, FALSE);
    /* what is damaged is asked anew and mended */
    g_assert_true (g_file_set_contents (kept, "{\"identity\":1}", -1, NULL));
    assert_version (dir, qemu, FALSE);
    forge (kept);
    assert_version (dir, qemu, TRUE);
}

static void
test_vm_states (void)
{
    static const struct {
        const char *text;
        guint n;
    } rows[] = {
        { "{\"vmschkmachine\":{\"Name\":\"pc\"},\"e1000\":{\"Name\":\"e1000\",\"version_id\":3,"
          "\"minimum_version_id\":1}}", 1 },
        { "{\"vmschkmachine\":{\"Name\":\"pc\"}}", 0 },
        { "{\"a\":1,\"b\":null,\"c\":[]}", 0 },
        { "[1]", 0 },
        { "qemu: no such machine", 0 },
        { "", 0 },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GwVmStates) states = gw_struct_new (&gw_vm_states_type);
        g_assert_true (gw_vm_states_parse (states, rows[i].text, -1) == (rows[i].n > 0));
        g_assert_cmpuint (states->states->len, ==, rows[i].n);
        if (rows[i].n == 0)
            continue;
        const GwVmState *state = states->states->pdata[0];
        g_assert_cmpstr (state->type, ==, "e1000");
        g_assert_cmpint (state->version, ==, 3);
        g_assert_cmpint (state->minimum, ==, 1);
    }
}

/* Those of a real QEMU, and the second time those that were kept. */
static void
test_vm_states_kept (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autofree char *qemu = copy_qemu (dir);
    if (qemu == NULL) {
        g_test_skip ("qemu-system-x86_64 is not installed (scripts/deps)");
        return;
    }
    g_autoptr (GwVmStates) states = gw_qemu_read_vm_states (dir->config, dir->context, qemu, "q35");
    g_assert_nonnull (states);
    g_assert_cmpuint (states->states->len, >, 100);
    g_autofree char *kept = find_kept (dir);
    g_autofree char *text = NULL;
    g_assert_true (g_file_get_contents (kept, &text, NULL, NULL));
    g_autoptr (GString) forged = g_string_new (text);
    g_string_replace (forged, "\"e1000\"", "\"forged\"", 0);
    g_assert_true (g_file_set_contents (kept, forged->str, -1, NULL));
    g_autoptr (GwVmStates) again = gw_qemu_read_vm_states (dir->config, dir->context, qemu, "q35");
    gboolean is_forged = FALSE;
    for (guint i = 0; i < again->states->len; i++)
        is_forged = is_forged || !strcmp (((GwVmState *) again->states->pdata[i])->type, "forged");
    g_assert_true (is_forged);
    g_assert_null (gw_qemu_read_vm_states (dir->config, dir->context, qemu, "no-such-machine"));
}

/* The program behind a script may change without it. */
static void
test_script (void)
{
    g_autoptr (Dir) dir = dir_new ();
    g_autofree char *path = dir_path (dir, "bin/qemu-test");
    const char *text = "#!/bin/sh\necho 'QEMU emulator version 1.2'\necho 'a  b'\necho 'c  d'\n";
    g_assert_true (g_file_set_contents_full (path, text, -1, G_FILE_SET_CONTENTS_NONE, 0755, NULL));
    assert_version (dir, path, FALSE);
    g_autofree char *kept = find_kept (dir);
    g_assert_null (kept);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/qemu-facts/kept", test_kept);
    g_test_add_func ("/qemu-facts/vm-states", test_vm_states);
    g_test_add_func ("/qemu-facts/vm-states/kept", test_vm_states_kept);
    g_test_add_func ("/qemu-facts/script", test_script);
    return g_test_run ();
}
