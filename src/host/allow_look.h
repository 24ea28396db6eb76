/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What allow_*.c share: one option of a command line while it is looked at.
 *
 * QEMU has four parsers, and a later value of a key goes over an earlier one, a flag "noKEY" too.  So a key that makes
 * things safe has to be safe wherever it stands (gw_look_is_on()), one that makes them unsafe is found at any depth, and
 * where QEMU reads a list of names, the list is refused.
 */
#ifndef GW_ALLOW_LOOK_H
#define GW_ALLOW_LOOK_H

#include "allow.h"
#include "cmdline.h"

typedef struct {
    const GwHostConfig *config;
    const GwOption *option;
    const char *name;    /* of the option, without dashes */
    const GwOptStr *opt; /* its argument taken apart as QEMU does it */
    GError *error;       /* of the first value that is not allowed */
} GwLook;

typedef gboolean (*GwLookFn) (GwLook *look, GError **error);

/* --- allow_values.c: what options have in common ---------------------------------------------------------------- */

gboolean gw_look_refuse (const GwLook *look, const char *why, GError **error);
/* GW_CAUSE_NOT_ALLOWED for what would use the network by itself. */
gboolean gw_look_direct (const GwLook *look, GError **error);
gboolean gw_look_is_one_of (const char *word, const char *const *list);
/* Whether every value of `key` says so, and there is one. */
gboolean gw_look_is_on (const GwOptStr *opt, const char *key);
/* The path `text` under `key`, by what QEMU does with it. */
gboolean gw_look_path (GwLook *look, const char *key, const char *text, GError **error);
gboolean gw_look_values (GwLook *look, GError **error);

/* --- allow_backends.c: options with a type -------------------------------------------------------------------------- */

gboolean gw_look_block (GwLook *look, GError **error);
gboolean gw_look_chardev (GwLook *look, GError **error);
gboolean gw_look_net (GwLook *look, GError **error);
gboolean gw_look_object (GwLook *look, GError **error);
gboolean gw_look_device (GwLook *look, GError **error);
gboolean gw_look_audio (GwLook *look, GError **error);

/* --- allow_charspec.c: "unix:PATH,server=on", and displays, which have them -------------------------------------------- */

gboolean gw_look_charspec (GwLook *look, GError **error);
gboolean gw_look_display (GwLook *look, GError **error);

#endif
