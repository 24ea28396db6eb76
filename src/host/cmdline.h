/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's command line: taken apart, and put together anew for the destination and for a rehearsal. */
#ifndef GW_CMDLINE_H
#define GW_CMDLINE_H

#include "host-service.h"

/* --- optstr.c: the argument of one option ------------------------------------------------------- */

typedef struct _GwOptStr GwOptStr;

/* Never fails: what is not understood is kept as it is. */
GwOptStr *gw_optstr_parse (const char *text);
/* The same where QEMU does not take JSON. */
GwOptStr *gw_optstr_parse_pairs (const char *text);
/* QEMU's JSON also has '...'; this is what it means as RFC 8259 has it.  An escape
 * that JSON does not have is a letter.  (transfer full) */
char *gw_optstr_to_plain_json (const char *text);
void gw_optstr_free (GwOptStr *opt);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwOptStr, gw_optstr_free)
char *gw_optstr_to_text (const GwOptStr *opt);
/* The value of `key`, or NULL; of several the last, as QEMU does. */
const char *gw_optstr_get (const GwOptStr *opt, const char *key);
gboolean gw_optstr_has (const GwOptStr *opt, const char *key);
/* The value of `implied_key`, which may stand first without its name. */
const char *gw_optstr_get_first (const GwOptStr *opt, const char *implied_key);
void gw_optstr_set (GwOptStr *opt, const char *key, const char *value);
void gw_optstr_set_first (GwOptStr *opt, const char *implied_key, const char *value);
gboolean gw_optstr_has_flag (const GwOptStr *opt, const char *flag);
void gw_optstr_remove_flag (GwOptStr *opt, const char *flag);
/* Calls `fn` for every string value with the last word of its key; what it returns (transfer full)
 * replaces the value, NULL keeps it. */
typedef char *(*GwOptVisitFn) (const char *key, const char *value, gpointer user_data);
void gw_optstr_visit (GwOptStr *opt, GwOptVisitFn fn, gpointer user_data);

/* Calls `fn` for every value with the whole of its key ("file.filename"; the elements of a list have that of the list,
 * and a part without one has ""). */
typedef void (*GwOptEachFn) (const char *key, const char *value, gpointer user_data);
void gw_optstr_foreach (const GwOptStr *opt, GwOptEachFn fn, gpointer user_data);
/* All values of keys whose last word is `key`, however deep.  (transfer full) */
GStrv gw_optstr_get_all (const GwOptStr *opt, const char *key);

/* --- cmdline.c: the list of options ---------------------------------------------------------------- */

typedef enum {
    GW_OPTION_KEEP,
    GW_OPTION_FLAG,
    GW_OPTION_DROP,
    GW_OPTION_DROP_FLAG,
    GW_OPTION_PATH,
    GW_OPTION_CREATES,
    GW_OPTION_IMAGE,
    GW_OPTION_KEYED,
    GW_OPTION_DRIVE,
    GW_OPTION_BLOCKDEV,
    GW_OPTION_CHARDEV,
    GW_OPTION_NETDEV,
    GW_OPTION_OBJECT,
    GW_OPTION_DEVICE,
    GW_OPTION_MACHINE,
    GW_OPTION_MON,
    GW_OPTION_CHARSPEC,
    GW_OPTION_DISPLAY,
    GW_OPTION_DISPLAY_FLAG,
    GW_OPTION_REFUSE,
    GW_OPTION_REFUSE_FLAG,
} GwOptionAction;

typedef struct {
    const char *name; /* without dashes */
    GwOptionAction action;
    const char *keys; /* separated by blanks */
} GwOptionInfo;

typedef struct {
    char *name; /* as written, "-drive"; "" for a bare disk image */
    char *arg;  /* NULL when it takes none */
    const GwOptionInfo *info;
} GwOption;

const GwOptionInfo *gw_option_get_info (const char *name);
GwOption *gw_option_new (const char *name, const char *arg);
void gw_option_free (GwOption *option);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwOption, gw_option_free)
/* argv[0] is the program and is left out.  GPtrArray of GwOption. */
GPtrArray *gw_cmdline_parse (const char *const *argv, GError **error);
GStrv gw_cmdline_to_argv (const GPtrArray *options);

/* --- derive.c ------------------------------------------------------------------------------------------ */

/* The command line that makes `vm` on another host, paths mapped by `maps` ("SOURCE=DESTINATION").
 * Pure.  NULL with GW_CAUSE_OPTION_UNSUPPORTED, GW_CAUSE_DEVICE_UNDERIVABLE or GW_CAUSE_USAGE. */
GwDerived *gw_derive_command_line (const GwVm *vm, const char *const *maps, GError **error);

/* --- rehearse_argv.c ------------------------------------------------------------------------------------ */

/* The arguments of a throw-away QEMU with the devices of `derived`, and in `*ret_obstacles` why there
 * can be none; an empty list: it can.  Pure.  (transfer full) */
GStrv gw_derive_rehearsal (const GwVm *vm, const GwDerived *derived, GStrv *ret_obstacles,
                           GError **error);

#endif
