/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What derive.c and hotplug.c share: a command line while it is being derived. */
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
    gboolean has_machine;
} GwDerive;

/* --- derive.c ---------------------------------------------------------------------------------- */

void gw_derive_add_rewrite (GwDerive *d, const char *option, const char *from, const char *to,
                            const char *why);
/* Moves the paths among the values of `opt` as the row of `option` says; `kind` is that of the
 * needs (GwNeed). */
void gw_derive_move_keys (GwDerive *d, const GwOption *option, GwOptStr *opt, const char *kind);
/* Adds the option as it is, but with `arg`, to the result. */
void gw_derive_keep (GwDerive *d, const GwOption *option, const char *arg);
/* Adds what becomes of `option` to the result. */
gboolean gw_derive_option (GwDerive *d, const GwOption *option, GError **error);

/* --- hotplug.c --------------------------------------------------------------------------------- */

/* Adds what the VM has and its command line does not.  To be called after all options. */
gboolean gw_derive_add_hotplugged (GwDerive *d, GError **error);

#endif
