/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GW_CHECK_INTERNAL_H
#define GW_CHECK_INTERNAL_H

#include "check.h"

/* The results of one row; the functions below fill in its name and cause. */
typedef struct {
    const char *check;
    GwCause cause;
    GPtrArray *results;
} GwCheckSink;

void gw_check_add (GwCheckSink *sink, GwVerdict verdict, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
void gw_check_add_cause (GwCheckSink *sink, GwCause cause, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* One function a row of checks.def. */
#define X(id, name, cause, about) void gw_check_##id (const GwCheckInput *input, GwCheckSink *sink);
#include "checks.def"
#undef X

/* --- disk_proof.c: whether an image is the same on both hosts ---------------------------------------- */

/* The need that the image at `path` of the source is on the destination, NULL when there is none; its
 * facts there, NULL when they are not known. */
const GwNeed *gw_disk_find_need (const GwCheckInput *input, const char *path,
                                 const GwPathFacts **ret_there);
/* The facts of a path of the source, or NULL. */
const GwPathFacts *gw_disk_find_here (const GwCheckInput *input, const char *path);
/* How it is proven that both hosts have the same image; NULL: it is not.  A path proves nothing, and
 * numbers of devices and inodes only on one machine, or where a token was seen.  `st_*`: what QEMU has
 * open on the source. */
const char *gw_disk_find_proof (const GwCheckInput *input, gint64 st_dev, gint64 st_ino,
                                const GwPathFacts *here, const GwPathFacts *there);
/* QEMU's null drivers; a node with options has no name of its own but "json:{...}". */
gboolean gw_disk_is_null (const GwDisk *disk);

/* Two QEMUs, and which part of the one is which of the other. */
typedef struct {
    const GwInventory *source, *destination;
    int *twin_of;       /* by part of the source: index of the destination's, -1: it has none */
    gboolean *is_taken; /* by part of the destination */
} GwComparison;

/* A refusal, of the first few of a row; `n` counts them all. */
void gw_compare_refuse (GwCheckSink *sink, guint *n, const char *format, ...) G_GNUC_PRINTF (3, 4);

/* One function a row of compare.def. */
#define X(id, name, cause, about) void gw_compare_##id (const GwComparison *c, GwCheckSink *sink);
#include "compare.def"
#undef X

#endif
