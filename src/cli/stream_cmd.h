/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `godwit stream`: inspect, check, diff.  Reads files and standard input with src/stream and prints.
 * Nothing else of the command is needed; gw_cli_stream() is all that it has to call.
 */
#ifndef GW_CLI_STREAM_CMD_H
#define GW_CLI_STREAM_CMD_H

#include "stream.h"

/* The subcommand with its own arguments; argv[0] is "stream".  Returns the exit status. */
int gw_cli_stream (int argc, char **argv);

/* --- what a stream was found to hold (stream_cmd_load.c) ---------------------------------------- */

#define GW_STREAM_KEPT_MAX (256u << 20) /* bytes of device sections kept for decoding */

typedef enum {
    GW_ITEM_SECTION, /* a FULL section, or an iterator at its START */
    GW_ITEM_COMMAND,
} GwStreamItemType;

typedef struct {
    GwStreamItemType type;
    unsigned depth;
    uint64_t offset, length; /* of the body; of the command */
    const GwStreamSection *section;
    GBytes *body; /* NULL: none, or not kept */
    char *text;   /* of a command, in words */
} GwStreamItem;

typedef struct {
    const GwStreamBlock *block;
    uint64_t zero, normal, xbzrle, compressed; /* records */
    GHashTable *pages; /* page number -> content (NULL: zero); only when RAM is kept */
} GwStreamBlockSum;

typedef struct {
    char *node, *name;
    uint32_t granularity;
    uint64_t chunks;
} GwStreamBitmapSum;

typedef struct {
    GwStreamReader *reader; /* owns sections and blocks */
    char *file;
    char *machine;
    GError *error; /* the first fault, or NULL */
    uint64_t bytes; /* of valid stream */
    gboolean is_complete;
    gboolean keeps_ram;
    gsize kept_bytes;
    uint64_t n_records, n_parts, n_flushes;
    GPtrArray *items;   /* GwStreamItem, in order */
    GPtrArray *blocks;  /* GwStreamBlockSum, by index */
    GPtrArray *bitmaps; /* GwStreamBitmapSum */
    GBytes *json;       /* the vmdesc as it stands; NULL: none */
    GwVmdesc *vmdesc;
} GwStreamSummary;

typedef struct {
    gboolean keeps_bodies;
    gboolean keeps_ram;
    uint32_t page_size;
} GwStreamLoadOptions;

/* Reads the whole of `file` ("-": standard input).  A fault of the stream is in the summary; NULL
 * with an error when the file itself cannot be read. */
GwStreamSummary *gw_stream_summary_load (const char *file, const GwStreamLoadOptions *options,
                                         GError **error);
void gw_stream_summary_free (GwStreamSummary *summary);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwStreamSummary, gw_stream_summary_free)

/* The decoded body of an item; when the vmdesc does not fit it, the body as one buffer. */
GwField *gw_stream_item_decode (const GwStreamSummary *summary, const GwStreamItem *item);

/* --- printing (stream_cmd_print.c) -------------------------------------------------------------- */

/* The value of a leaf: "0x1f", "-1", "true", "00 01 02 .. (4096 bytes)".  (transfer full) */
char *gw_field_to_text (const GwField *field, gsize max_bytes);
void gw_field_print (const GwField *field, unsigned indent);
JsonNode *gw_field_to_json (const GwField *field);
/* One object on standard output.  Takes `root`. */
void gw_stream_json_print (JsonNode *root);
JsonNode *gw_summary_to_json (const GwStreamSummary *summary, const char *only);
void gw_stream_json_add_error (JsonBuilder *builder, const GError *error);

/* --- the subcommands; argv[0] is their name ------------------------------------------------------ */

int gw_cli_stream_inspect (int argc, char **argv);
int gw_cli_stream_check (int argc, char **argv);
int gw_cli_stream_diff (int argc, char **argv);

/* "godwit stream: MESSAGE" on standard error; returns the exit status of the cause. */
int gw_cli_stream_fail (const GError *error);
/* Parses options; FALSE with GW_CAUSE_USAGE.  After it argc counts the files. */
gboolean gw_cli_stream_parse (const GOptionEntry *entries, const char *operands, int *argc,
                              char ***argv, GError **error);

#endif
