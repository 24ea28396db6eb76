/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the encoder share. */
#ifndef GW_RAMCODEC_ENCODE_H
#define GW_RAMCODEC_ENCODE_H

#include "internal.h"

enum {
    GW_ENCODE_PRECOPY,  /* everything is allowed */
    GW_ENCODE_CLOSING,  /* a device section was seen: nothing is left out any more */
    GW_ENCODE_POSTCOPY, /* zero and literal only */
    GW_ENCODE_PASSING,  /* the reader does not understand the lane: raw bytes only */
};

struct _GwRamEncoder {
    GwRamParams params;
    GwMachine machine;
    GwStreamReader *reader;
    GError *fault;

    uint64_t passed;     /* offset of the first byte that is in no group */
    GByteArray *held;    /* bytes from there up to the chunk */
    const uint8_t *data; /* the chunk */
    uint64_t base;       /* its offset */
    gboolean is_light;
    uint64_t light_bytes; /* of pages that went with the bytes around them */
    gboolean has_control; /* the chunk had records that QEMU's other side may answer */

    gboolean has_ram;              /* the block list was seen */
    const GwStreamBlock *out_block; /* the last named */
    GwRamKey *key;
    GwRamIndex index;
    GwRamStock stock;
    GwRamCache *cache; /* NULL: none */
    uint8_t *runs, *words; /* scratch of a delta, a page each */

    GwRamBuilder builder;
    GwRamCounters counters;
};

/* --- encoder.c ------------------------------------------------------------------------------------ */

/* Raw bytes up to `offset`, from what is held and from the chunk. */
void gw_ram_encoder_pass_until (GwRamEncoder *encoder, uint64_t offset);

/* --- encode_page.c -------------------------------------------------------------------------------- */

/* A record of a page, of whatever kind. */
void gw_ram_encoder_take_page (GwRamEncoder *encoder, const GwStreamRecord *record);

/* --- encode_section.c ----------------------------------------------------------------------------- */

/* The sink of the stream's reader. */
gboolean gw_ram_encoder_take_record (const GwStreamRecord *record, gpointer user_data, GError **error);
/* From here on zero and literal only, in small groups. */
void gw_ram_encoder_begin_postcopy (GwRamEncoder *encoder);

#endif
