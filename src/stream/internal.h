/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of stream share.
 *
 * A reader is a GwPush and a step function.  The step looks at the `avail` bytes at `p`, which are
 * the first that no record has covered, and
 *   - returns how many it consumed (at least one), having emitted what they say, or
 *   - returns GW_STEP_MORE after gw_push_need(): it can do nothing with fewer than `need` bytes, or
 *   - returns GW_STEP_FAILED with an error.
 * GwPush feeds it from the chunk where it can and from the carry buffer where a record crosses the
 * border of a chunk.
 */
#ifndef GW_STREAM_INTERNAL_H
#define GW_STREAM_INTERNAL_H

#include "stream.h"

/* --- push.c ---------------------------------------------------------------------------------- */

enum { GW_STEP_MORE = 0, GW_STEP_FAILED = -1 };
#define GW_PUSH_AHEAD 65536u /* bytes that are taken into the carry at once for a search */

typedef gssize (*GwPushStep) (gpointer reader, const uint8_t *p, gsize avail, GError **error);

typedef struct {
    GwPushStep step;
    gpointer reader;
    GByteArray *carry; /* bytes taken, not consumed */
    uint64_t offset;   /* of the first byte not consumed */
    gsize need;        /* bytes without which the step can do nothing */
    gsize want;        /* bytes that it can use at once; at least `need` */
    GError *failed;    /* the first error, for ever */
} GwPush;

void gw_push_init (GwPush *push, GwPushStep step, gpointer reader);
void gw_push_clear (GwPush *push);
gboolean gw_push_feed (GwPush *push, const uint8_t *data, gsize len, GError **error);
/* Says that `need` bytes are needed and that up to `want` can be used; returns GW_STEP_MORE. */
gssize gw_push_need (GwPush *push, gsize need, gsize want);
/* Makes `*error` the error that every later push gives, and returns FALSE. */
gboolean gw_push_fail (GwPush *push, GError **error);

/* --- the main reader: reader.c and its parts ----------------------------------------------------- */

/* States; the table is in reader.c.  The comment says what the next byte must be. */
enum {
    GW_READ_IDLE,       /* nothing: the kind of stream decides where it starts */
    GW_READ_HEADER,     /* the magic */
    GW_READ_FIRST,      /* the first type byte after the header: CONFIGURATION may stand here */
    GW_READ_CONFIG,     /* a subsection of the configuration, or a type byte */
    GW_READ_TYPE,       /* a type byte */
    GW_READ_RAM,        /* a RAM record */
    GW_READ_RAM_BLOCKS, /* an entry of the block list; left_bytes says how much RAM is to come */
    GW_READ_RAM_MAPPED, /* bytes of a mapped-ram area, up to mapped_end */
    GW_READ_BITMAP,     /* a dirty bitmap chunk */
    GW_READ_DEVICE,     /* the body of a device section */
    GW_READ_FOOTER,     /* a section footer */
    GW_READ_AFTER_EOF,  /* the vmdesc, or nothing */
    GW_READ_DONE,       /* nothing */
};

/* Postcopy, as the commands have it. */
enum { GW_POSTCOPY_NONE, GW_POSTCOPY_ADVISED, GW_POSTCOPY_DISCARD, GW_POSTCOPY_LISTEN,
       GW_POSTCOPY_RUN };

struct _GwStreamReader {
    GwPush push;
    GwStreamParams params;
    GwStreamSink sink;
    gpointer user_data;
    GwMachine machine;
    GwMachine postcopy;

    GHashTable *sections; /* id -> GwStreamSection, owned */
    GPtrArray *devices;   /* GwStreamSection of FULL sections in order, borrowed */
    const GwStreamSection *section;

    GPtrArray *blocks;      /* GwStreamBlock, owned */
    GHashTable *block_names; /* name -> GwStreamBlock, borrowed */
    const GwStreamBlock *block; /* the last named, for CONTINUE */
    uint32_t page_mask;     /* page size - 1 */
    uint64_t left_bytes;    /* RAM_BLOCKS: of the list */
    uint64_t mapped_end;    /* RAM_MAPPED: offset in the stream */
    gboolean has_ignore_shared, has_mapped_ram, has_return_path, has_page_sizes;

    char bitmap_node[256], bitmap_name[256]; /* in force */

    gsize scan;           /* DEVICE: bytes of the body searched */
    unsigned depth;       /* 1 within a package */
    uint64_t package_end; /* offset; valid when depth is 1 */
    gboolean is_bounded;  /* the bytes in sight end where the package does */
    gboolean is_ending;   /* the bytes in sight end where the stream does */
};

/* Emits `record` of `type` and `length`, filling in what all records have; returns `length`, or
 * GW_STEP_FAILED when the sink does not want to go on. */
gssize gw_reader_emit (GwStreamReader *r, GwStreamRecord *record, GwStreamRecordType type,
                       gsize length, GError **error);
/* Sets an error that says where: `at` bytes after the first byte not consumed. */
gssize gw_reader_bad (GwStreamReader *r, GError **error, GwCause cause, gsize at,
                      const char *format, ...) G_GNUC_PRINTF (5, 6);
gssize gw_reader_need (GwStreamReader *r, gsize need);
/* The state after the body of a section. */
void gw_reader_end_body (GwStreamReader *r);
/* Whether the `avail` bytes at `p` can be what comes after a section: 1 yes, 0 no, -1 more bytes
 * would tell. */
int gw_reader_can_follow (GwStreamReader *r, const uint8_t *p, gsize avail);

/* reader_section.c, reader_device.c, reader_ram.c, reader_bitmap.c, reader_command.c */
gssize gw_reader_step_section (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error);
gssize gw_reader_step_footer (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error);
gssize gw_reader_step_config (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error);
gssize gw_reader_step_config_part (GwStreamReader *r, const uint8_t *p, gsize avail,
                                   GError **error);
gssize gw_reader_step_device (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error);
gssize gw_reader_step_ram (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error);
gssize gw_reader_step_ram_block (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error);
gssize gw_reader_step_mapped (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error);
gssize gw_reader_step_bitmap (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error);
gssize gw_reader_step_command (GwStreamReader *r, const uint8_t *p, gsize avail, GError **error);

GwStreamBlock *gw_reader_add_block (GwStreamReader *r, const char *name, gsize len);
void gw_stream_section_free (GwStreamSection *section);
void gw_stream_block_free (GwStreamBlock *block);
/* Copies `len` (at most 255) bytes and a NUL. */
void gw_stream_copy_name (char out[static 256], const uint8_t *p, gsize len);
/* Whether `len` bytes are printable ASCII. */
gboolean gw_stream_is_printable (const uint8_t *p, gsize len);
/* Whether `len` bytes of payload are possible for command or message `number` of the table. */
gboolean gw_command_fits (unsigned number, gsize len);

/* --- vmdesc.c: members of an object, checked for presence, type and range ------------------------- */

gboolean gw_stream_json_get_uint (JsonObject *object, const char *name, uint64_t most, uint64_t *ret);
const char *gw_stream_json_get_string (JsonObject *object, const char *name); /* or NULL */
JsonArray *gw_stream_json_get_array (JsonObject *object, const char *name);   /* or NULL */
JsonObject *gw_stream_json_get_object (JsonObject *object, const char *name); /* or NULL */

/* --- decode.c and its parts ---------------------------------------------------------------------- */

GwField *gw_field_new (const char *name, const char *type, GwFieldKind kind, gsize offset,
                       gsize size);
GwField *gw_field_add (GwField *parent, GwField *child);
/* Adds a child of kind TEXT. */
void gw_field_add_text (GwField *parent, const char *name, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
/* Adds the big-endian number, or the bytes, that stand at `offset` of `body`. */
GwField *gw_field_add_number (GwField *parent, const char *name, const uint8_t *body, gsize offset,
                              gsize size);
GwField *gw_field_add_buffer (GwField *parent, const char *name, const uint8_t *body, gsize offset,
                              gsize size);
uint64_t gw_stream_load (const uint8_t *p, gsize size); /* big-endian, 1 to 8 bytes */
/* decode_pci.c: children of `field` that put its `size` bytes of config space in words. */
void gw_decode_pci_config (GwField *field);
/* The place of capability `id` in `size` bytes of config space, or 0. */
gsize gw_pci_find_capability (const uint8_t *config, gsize size, unsigned id);
/* decode_virtio.c: children of `field`, which holds what virtio writes by hand. */
void gw_decode_virtio (GwField *field, const uint8_t *body);

#endif
