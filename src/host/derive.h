/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What derive*.c and hotplug.c share: a command line while it is being derived. */
#ifndef GW_DERIVE_H
#define GW_DERIVE_H

#include "host-internal.h"

/* Devices without an id, by when QEMU makes them. */
typedef enum {
    GW_ANONYMOUS_NONE,
    GW_ANONYMOUS_PLAIN,
    GW_ANONYMOUS_DRIVE,
    GW_ANONYMOUS_JSON,
    GW_N_ANONYMOUS
} GwAnonymous;

typedef struct {
    const GwVm *vm;
    const char *const *maps;
    GPtrArray *options; /* GwOption, the result */
    GwDerived *out;
    guint n_anonymous; /* devices without an id on the command line */
    guint next_anonymous[GW_N_ANONYMOUS];
    guint index; /* of the option at hand among the devices without an id */
    gboolean has_machine;
} GwDerive;

/* All return what becomes of the option's argument (transfer full); NULL without an error: it is left
 * out.  What was changed, and what the destination must have, goes into `d->out`. */

/* --- derive.c ---------------------------------------------------------------------------------- */

/* Adds the option as it is, but with `arg`, to the result. */
void gw_derive_keep (GwDerive *d, const GwOption *option, const char *arg);
/* Adds what becomes of `option` to the result. */
gboolean gw_derive_option (GwDerive *d, const GwOption *option, GError **error);

/* --- derive_path.c ----------------------------------------------------------------------------- */

/* GW_CAUSE_USAGE for a map that is not SOURCE=DESTINATION. */
gboolean gw_derive_check_maps (const char *const *maps, GError **error);
void gw_derive_add_rewrite (GwDerive *d, const char *option, const char *from, const char *to,
                            const char *why);
void gw_derive_add_need (GwDerive *d, const char *kind, const char *source_path, const char *path);
/* The path for the destination: absolute and mapped, noted as a need of `kind`.  With `is_lookup` a bare
 * name, which QEMU looks up in its own directories, stays.  NULL: `path` is no local path. */
char *gw_derive_move_path (GwDerive *d, const char *option, const char *kind, const char *path,
                           gboolean is_lookup);
/* Moves the paths among the values of `opt` as the row of `option` says; `kind` is that of the
 * needs (GwNeed). */
void gw_derive_move_keys (GwDerive *d, const GwOption *option, GwOptStr *opt, const char *kind);
/* The images below `disk`. */
void gw_derive_need_backing (GwDerive *d, const GwDisk *disk);

/* --- derive_device.c --------------------------------------------------------------------------- */

GwAnonymous gw_derive_anonymous_kind (const GwOption *option);
/* Before the first option: the number with which each kind begins. */
void gw_derive_number_anonymous (GwDerive *d, const GPtrArray *options);
GwOptStr *gw_derive_device (GwDerive *d, const GwOption *option, GError **error);
GwOptStr *gw_derive_machine (GwDerive *d, const GwOption *option, GError **error);

/* --- derive_backend.c -------------------------------------------------------------------------- */

/* TRUE, and noted, for an `id` that is not among those `present` (NULL: none is). */
gboolean gw_derive_is_gone (GwDerive *d, const GwOption *option, const char *id,
                            const char *const *present);
gboolean gw_derive_refuse_fd (const GwOption *option, const GwOptStr *opt, GError **error);
GwOptStr *gw_derive_drive (GwDerive *d, const GwOption *option, GError **error);
GwOptStr *gw_derive_blockdev (GwDerive *d, const GwOption *option, GError **error);
GwOptStr *gw_derive_netdev (GwDerive *d, const GwOption *option, GError **error);
GwOptStr *gw_derive_object (GwDerive *d, const GwOption *option, GError **error);
GwOptStr *gw_derive_keyed (GwDerive *d, const GwOption *option, GError **error);

/* --- derive_chardev.c -------------------------------------------------------------------------- */

GwOptStr *gw_derive_chardev (GwDerive *d, const GwOption *option, GError **error);
GwOptStr *gw_derive_mon (GwDerive *d, const GwOption *option, GError **error);
/* "unix:PATH,server=on,wait=off", "mon:telnet::4444,server=on", "file:PATH" ... */
char *gw_derive_charspec (GwDerive *d, const GwOption *option);

/* --- hotplug.c --------------------------------------------------------------------------------- */

/* Adds what the VM has and its command line does not.  To be called after all options. */
gboolean gw_derive_add_hotplugged (GwDerive *d, GError **error);

#endif
