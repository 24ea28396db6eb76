/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Known bugs of QEMU, and settings of its migration that do not go with godwit. */
#include "check-internal.h"

#include <stdio.h>
#include <string.h>

#define TCG_DIRTY_BYTES (256 * 1024)

/* Versions as one number each, 7.2.22 is 7002022; destination 0: not known. */
typedef struct {
    const GwCheckInput *input;
    gint64 source, destination;
} Case;

#define VERSION(major, minor, micro) (((gint64) (major) * 1000 + (minor)) * 1000 + (micro))

static gint64
parse_version (const char *text)
{
    int major = 0, minor = 0, micro = 0;
    if (text == NULL || sscanf (text, "%3d.%3d.%3d", &major, &minor, &micro) < 2)
        return 0;
    return VERSION (major, minor, micro);
}

static gboolean
has_capability (const GwVm *vm, const char *name)
{
    return vm->capabilities != NULL &&
           g_strv_contains ((const char *const *) vm->capabilities, name);
}

static gboolean
uses_tls (const GwVm *vm)
{
    return vm->tls_creds != NULL && *vm->tls_creds != '\0';
}

/* --- one function a row of bugs.def ------------------------------------------------------------ */

/* The guest's RAM, as opposed to ROMs and what devices have for themselves. */
static gboolean
is_guest_ram (const GwVm *vm, const char *name)
{
    return g_str_has_suffix (name, ".ram") || g_str_has_prefix (name, "/objects/") ||
           (vm->objects != NULL && g_strv_contains ((const char *const *) vm->objects, name));
}

static gboolean
has_ram_of_multiples (const GwVm *vm, gint64 bytes)
{
    for (guint i = 0; i < vm->ram_blocks->len; i++) {
        const GwRamBlock *block = vm->ram_blocks->pdata[i];
        if (block->used_bytes % bytes == 0 && is_guest_ram (vm, block->name))
            return TRUE;
    }
    return vm->ram_blocks->len == 0 && vm->ram_bytes % bytes == 0;
}

/* cpu_physical_memory_sync_dirty_bitmap() takes a short way for blocks that begin and end at multiples
 * of 64 pages, and does not reset the TLB of TCG there. */
static gboolean
bug_tcg_dirty (const Case *c)
{
    const GwVm *vm = c->input->vm;
    return g_strcmp0 (vm->accel, "tcg") == 0 && c->source < VERSION (9, 0, 0) &&
           has_ram_of_multiples (vm, TCG_DIRTY_BYTES);
}

static gboolean
bug_multifd_9_2 (const Case *c)
{
    return c->source >= VERSION (7, 1, 0) && c->source < VERSION (8, 0, 0) &&
           c->destination >= VERSION (9, 2, 0) && c->destination < VERSION (10, 0, 0) &&
           has_capability (c->input->vm, "multifd");
}

static gboolean
bug_tls_rekey (const Case *c)
{
    return c->source < VERSION (10, 1, 0) && uses_tls (c->input->vm);
}

static gboolean
bug_inactive_twice (const Case *c)
{
    gboolean is_old = c->source < VERSION (8, 1, 0) &&
                      (c->source < VERSION (7, 2, 3) || c->source >= VERSION (8, 0, 0));
    return is_old && g_strcmp0 (c->input->vm->migration_status, "failed") == 0;
}

static gboolean
bug_cpu_ht (const Case *c)
{
    const gint64 since = VERSION (10, 1, 0);
    return c->destination != 0 && c->input->vm->n_cpus > 1 &&
           (c->source < since) != (c->destination < since) &&
           g_str_has_prefix (c->input->vm->machine, "pc-");
}

static const struct {
    const char *name;
    GwVerdict verdict;
    const char *reference, *text;
    gboolean (*concerns) (const Case *c);
} bugs[] = {
#define X(id, name, verdict, reference, text)                                                      \
    { name, GW_VERDICT_##verdict, reference, text, bug_##id },
#include "bugs.def"
#undef X
};

/* --- the checks -------------------------------------------------------------------------------- */

static gboolean
is_accepted (const GwPlan *plan, const char *name)
{
    return plan->accepted_risks != NULL &&
           g_strv_contains ((const char *const *) plan->accepted_risks, name);
}

static void
report_bug (const GwCheckInput *input, guint i, GwCheckSink *sink)
{
    const GwVm *vm = input->vm;
    const char *there = input->destination->qemu_version;
    gboolean is_refused = bugs[i].verdict == GW_VERDICT_REFUSED;
    gboolean is_taken = is_refused && is_accepted (input->plan, bugs[i].name);
    g_autofree char *ram = gw_text_bytes ((guint64) vm->ram_bytes);
    g_autofree char *how = is_taken     ? g_strdup ("accepted by --accept-risk")
                           : is_refused ? g_strdup_printf ("or --accept-risk %s", bugs[i].name)
                                        : g_strdup_printf ("known as %s", bugs[i].name);
    gw_check_add (sink, is_taken ? GW_VERDICT_WARNING : bugs[i].verdict,
                  "QEMU %" G_GINT64_FORMAT ".%" G_GINT64_FORMAT ".%" G_GINT64_FORMAT " (%s, %s of RAM) "
                  "to %s: %s; %s (%s)",
                  vm->version_major, vm->version_minor, vm->version_micro, vm->accel, ram,
                  there != NULL ? there : "an unknown version", bugs[i].text, how, bugs[i].reference);
}

void
gw_check_bugs (const GwCheckInput *input, GwCheckSink *sink)
{
    const GwVm *vm = input->vm;
    const Case c = { input, VERSION (vm->version_major, vm->version_minor, vm->version_micro),
                     parse_version (input->destination->qemu_version) };
    guint before = sink->results->len;
    for (guint i = 0; i < G_N_ELEMENTS (bugs); i++)
        if (bugs[i].concerns (&c))
            report_bug (input, i, sink);
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "none of the %zu known bugs of QEMU concerns this move",
                      G_N_ELEMENTS (bugs));
}

/* A name that nobody knows is a slip of the pen, and what it was to allow is not allowed. */
void
gw_check_risks (const GwCheckInput *input, GwCheckSink *sink)
{
    GStrv names = input->plan->accepted_risks;
    guint before = sink->results->len;
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        gboolean is_known = FALSE;
        for (guint k = 0; k < G_N_ELEMENTS (bugs); k++)
            is_known = is_known || strcmp (bugs[k].name, names[i]) == 0;
        if (!is_known)
            gw_check_add (sink, GW_VERDICT_REFUSED, "--accept-risk %s: no risk has that name", names[i]);
    }
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "%u risks accepted",
                      names != NULL ? g_strv_length (names) : 0);
}

/* Capabilities that change the stream or the number of connections, so that they would have to be on
 * at both ends and carried by the link.  Those that godwit uses itself it sets as it needs them. */
void
gw_check_settings (const GwCheckInput *input, GwCheckSink *sink)
{
    static const char *const foreign[] = {
        "multifd", "compress", "block", "x-ignore-shared", "x-colo",
        "dirty-bitmaps", "background-snapshot", "zero-copy-send", "mapped-ram", "switchover-ack",
    };
    guint before = sink->results->len;
    for (guint i = 0; i < G_N_ELEMENTS (foreign); i++)
        if (has_capability (input->vm, foreign[i]))
            gw_check_add (sink, GW_VERDICT_REFUSED,
                          "the source's QEMU has the migration capability '%s' on, the destination's "
                          "will have it off; switch it off with migrate-set-capabilities",
                          foreign[i]);
    if (uses_tls (input->vm))
        gw_check_add (sink, GW_VERDICT_REFUSED,
                      "the source's QEMU has the migration parameter tls-creds '%s', the destination's "
                      "will have none; set it to \"\" with migrate-set-parameters",
                      input->vm->tls_creds);
    if (sink->results->len == before)
        gw_check_add (sink, GW_VERDICT_OK, "QEMU's migration has no settings of somebody else");
}
