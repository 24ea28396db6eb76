/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a VM that comes to this host may have there, by the lists of godwitd.conf(5).  All of these give
 * GW_CAUSE_NOT_ALLOWED with what it was and which key would allow it.
 *
 * A path is judged by where it leads: it is opened (O_PATH) and the kernel asked for its name, so that neither a
 * symbolic link nor ".." leads out of a list.  Who may write into an allowed directory of this host can still
 * change what a name means between the look and QEMU's own open; a peer cannot.
 */
#ifndef GW_ALLOW_H
#define GW_ALLOW_H

#include "host-service.h"

typedef enum {
    GW_ALLOW_IMAGE,  /* [disks]: an image that is written */
    GW_ALLOW_BASE,   /* [disks] or [files]: one that is only read */
    GW_ALLOW_SOCKET, /* [sockets]: a socket, or a file that is written */
    GW_ALLOW_FILE,   /* [files]: a file that is read */
} GwAllowKind;

/* --- allow.c: one thing ------------------------------------------------------------------------------------- */

/* `path` without links, as far as it exists.  NULL when it cannot be told: it is not absolute, or it ends in a link
 * to nowhere.  (transfer full) */
char *gw_allow_resolve (const char *path);
gboolean gw_allow_path (const GwHostConfig *config, GwAllowKind kind, const char *path, GError **error);
/* Whether any of the lists has the path, or the interface of that name. */
gboolean gw_allow_knows (const GwHostConfig *config, const char *path);
gboolean gw_allow_interface (const GwHostConfig *config, const char *name, GError **error);
/* A program that QEMU starts itself. */
gboolean gw_allow_helper (const GwHostConfig *config, const char *path, GError **error);
/* As whom a QEMU runs; NULL: as whoever we are. */
gboolean gw_allow_user (const GwHostConfig *config, const char *user, GError **error);
/* Whether it may use the network by itself. */
gboolean gw_allow_direct (const GwHostConfig *config, const char *what, GError **error);
/* The options with which qemu-img makes an image. */
gboolean gw_allow_image_options (const GwHostConfig *config, const char *options, GError **error);

/* The directory in which it is started: `cwd` if that is there; `own`, the VM's, when its paths are limited. */
const char *gw_allow_choose_cwd (const GwHostConfig *config, const char *cwd, const char *own);

/* --- allow_options.c: a whole command line ---------------------------------------------------------------------- */

/* The arguments of a QEMU, without the program.  Nothing is looked at when the paths are not limited
 * (gw_host_config_is_confined()); else whatever is not known to be harmless is refused. */
gboolean gw_allow_arguments (const GwHostConfig *config, const char *const *args, GError **error);
/* That, and as whom. */
gboolean gw_allow_launch (const GwHostConfig *config, const char *const *args, const char *user, GError **error);

#endif
