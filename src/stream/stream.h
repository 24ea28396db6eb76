/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stream: QEMU's migration stream, read, checked, written and put into words.
 *
 * Theory
 * ------
 * A migration has up to three kinds of byte streams, and each has a reader here.  The *main* stream
 * goes from source to destination: a header, a configuration, then sections and commands, an end
 * mark and, in precopy, a description of the devices in JSON (vmdesc).  The *return path* is the
 * other direction of the same socket: pongs, page requests, the final "shut".  A *multifd* channel
 * carries packets of pages.  docs/stream.md has every byte.
 *
 * Push.  A reader is fed chunks of any size and calls its sink for each record that is complete.
 * It never waits, reads no clock and does no I/O.  A record that lies whole within a chunk is
 * handed out as slices of that chunk; only one that crosses a border is assembled in a buffer.  So
 * reading RAM costs one copy a chunk, not one a page, and nothing is allocated for a page.
 *
 * Tiling.  The records tile the stream: each has the offset of its first byte and its length, the
 * next one starts where it ends, and gw_stream_put_record() of all of them gives the stream again,
 * byte for byte.  The content of a PACKAGED command is a run of ordinary records of depth 1.
 *
 * What the bytes do not say.  RAM records, dirty bitmaps, commands and the configuration delimit
 * themselves, a device section does not: its length depends on code on both sides.  The reader
 * looks for a footer (0x7e and the section's own number) that is followed by a beginning which is
 * possible at that place (a section with a new number and a printable name, a part of a known
 * iterator, a known command of the right length, the end mark).  When the vmdesc arrives, its list
 * of devices must be the list of sections that were seen, in order.  A guest that writes such a
 * pattern into a device's memory can make that fail, never pass unseen; a caller that has the
 * whole stream takes the vmdesc from its tail first (gw_vmdesc_find()) and gives it as a parameter:
 * then lengths are known and nothing is searched.  What else the bytes do not say, the channel's
 * kind and the page size, is a parameter too; capabilities that the stream itself declares are
 * taken from it.  The page-size word of a block list, which only postcopy with huge pages has, can
 * be told from what may stand in its place: a name is not empty, a RAM record has a flag set.
 *
 * Trust.  Every number is foreign.  Nothing is allocated by a number from the stream: buffers grow
 * with the bytes that arrive and stop at the limits of the parameters.  The first fault ends the
 * reading; the error says the offset, the section, what was expected and what was found, and each
 * later push gives the same error again.
 *
 * A reader and what it handed out belong to one thread.  A record and all it points to are valid
 * until the sink returns, except GwStreamSection and GwStreamBlock, which live as long as the
 * reader.
 */
#ifndef GW_STREAM_H
#define GW_STREAM_H

#include "base.h"

#include <json-glib/json-glib.h>

/* --- limits --------------------------------------------------------------------------------- */

#define GW_STREAM_PAGE_MIN 1024u
#define GW_STREAM_PAGE_MAX 65536u
#define GW_STREAM_SECTIONS_MAX 16384u    /* different section numbers of one stream */
#define GW_STREAM_BLOCKS_MAX 4096u       /* RAM blocks */
#define GW_STREAM_MACHINE_MAX 256u       /* bytes of a machine type's name */
#define GW_STREAM_CAPABILITIES_MAX 256u  /* names in the configuration */
#define GW_STREAM_DISCARDS_MAX 12u       /* ranges of one discard command */
#define GW_STREAM_BITMAP_CHUNK_MAX 10240 /* bytes of bitmap in one chunk, as QEMU's receiver has it */
#define GW_STREAM_JSON_DEPTH_MAX 64u

/* --- parameters ----------------------------------------------------------------------------- */

typedef enum {
    GW_STREAM_MAIN,     /* from the header to the end */
    GW_STREAM_SECTIONS, /* a bare run of sections and commands: the inside of a package, or what
                         * follows on a new connection after a postcopy recovery */
    GW_STREAM_PREEMPT,  /* RAM records alone: the urgent channel of postcopy */
} GwStreamKind;

typedef struct _GwVmdesc GwVmdesc;

typedef struct {
    GwStreamKind kind;
    uint32_t page_size;         /* of the target, until the configuration says otherwise */
    gboolean has_footers;       /* send-section-footer; FALSE needs a vmdesc for device sections */
    gboolean has_ignore_shared; /* x-ignore-shared, when no configuration tells */
    gboolean has_mapped_ram;    /* mapped-ram, when no configuration tells */
    gboolean checks_vmdesc;     /* parse the vmdesc and compare it with the sections seen */
    const char *machine;        /* the machine type that must be there; NULL: any.  Borrowed */
    const GwVmdesc *vmdesc;     /* known beforehand; NULL: not.  Borrowed */
    gsize max_section_bytes;    /* of one device section */
    gsize max_vmdesc_bytes;
    gsize max_bitmap_bytes;     /* of one RECV_BITMAP on the return path */
} GwStreamParams;

/* x86's page size, footers, 64 MiB a section, a vmdesc and a bitmap, everything checked. */
void gw_stream_params_init (GwStreamParams *params);

/* --- records of the main stream -------------------------------------------------------------- */

#define GW_STREAM_MAGIC 0x5145564du /* "QEVM" */
#define GW_STREAM_VERSION 3u

typedef enum {
    GW_STREAM_BYTE_EOF = 0x00,
    GW_STREAM_BYTE_START = 0x01,
    GW_STREAM_BYTE_PART = 0x02,
    GW_STREAM_BYTE_END = 0x03,
    GW_STREAM_BYTE_FULL = 0x04,
    GW_STREAM_BYTE_SUBSECTION = 0x05,
    GW_STREAM_BYTE_VMDESC = 0x06,
    GW_STREAM_BYTE_CONFIGURATION = 0x07,
    GW_STREAM_BYTE_COMMAND = 0x08,
    GW_STREAM_BYTE_FOOTER = 0x7e,
} GwStreamByte;

enum {
    GW_RAM_ZERO = 0x002,
    GW_RAM_MEM_SIZE = 0x004,
    GW_RAM_PAGE = 0x008,
    GW_RAM_EOS = 0x010,
    GW_RAM_CONTINUE = 0x020,
    GW_RAM_XBZRLE = 0x040,
    GW_RAM_COMPRESS = 0x100,
    GW_RAM_FLUSH = 0x200,
};

enum {
    GW_BITMAP_EOS = 0x01,
    GW_BITMAP_ZEROES = 0x02,
    GW_BITMAP_BITMAP_NAME = 0x04,
    GW_BITMAP_DEVICE_NAME = 0x08,
    GW_BITMAP_START = 0x10,
    GW_BITMAP_COMPLETE = 0x20,
    GW_BITMAP_BITS = 0x40,
    GW_BITMAP_EXTENDED = 0x80,
};

typedef enum {
#define X(id, number, name, least, most) GW_COMMAND_##id = number,
#include "commands.def"
#undef X
} GwStreamCommand;

/* The name of a command or of a message of the return path; "unknown" for other numbers. */
const char *gw_stream_command_name (unsigned command);
const char *gw_return_message_name (unsigned message);

typedef enum {
    GW_STREAM_HEADER,
    GW_STREAM_CONFIGURATION,     /* .configuration.machine */
    GW_STREAM_CONFIG_PAGE_BITS,  /* .configuration.page_bits */
    GW_STREAM_CONFIG_CAPABILITIES, /* .data: the count and names as they stand */
    GW_STREAM_CONFIG_UUID,       /* .data: 16 bytes */
    GW_STREAM_SECTION,           /* start, part, end or full: .section_type */
    GW_STREAM_FOOTER,
    GW_STREAM_DEVICE,            /* .data: the whole body of a section that is not RAM or bitmap */
    GW_STREAM_RAM_LIST,          /* .ram.total: bytes of all blocks that follow */
    GW_STREAM_RAM_BLOCK,         /* .block */
    GW_STREAM_RAM_MAPPED,        /* .ram: a piece of a mapped-ram area, as it stands */
    GW_STREAM_RAM_ZERO,          /* .ram */
    GW_STREAM_RAM_PAGE,
    GW_STREAM_RAM_XBZRLE,
    GW_STREAM_RAM_COMPRESSED,
    GW_STREAM_RAM_FLUSH,
    GW_STREAM_RAM_EOS,
    GW_STREAM_BITMAP,            /* .bitmap: one chunk */
    GW_STREAM_COMMAND,           /* .command */
    GW_STREAM_PACKAGE_END,       /* of no length, after the last record of depth 1 */
    GW_STREAM_EOF,
    GW_STREAM_VMDESC,            /* .data: the JSON */
    GW_STREAM_N_RECORDS
} GwStreamRecordType;

/* "header", "ram-page"... */
const char *gw_stream_record_name (GwStreamRecordType type);

typedef struct {
    uint32_t id;
    uint32_t instance;
    uint32_t version;
    gboolean is_iterator; /* came with START, so parts may follow */
    char *name;           /* "ram", "0000:00:02.0/virtio-net" */
} GwStreamSection;

typedef struct {
    unsigned index;
    uint64_t used_length;  /* bytes; 0 when only the name is known (urgent channel) */
    uint64_t page_size;    /* of the block; 0 when not sent */
    uint64_t address;      /* guest-physical, with ignore-shared */
    uint64_t bitmap_offset, pages_offset; /* with mapped-ram */
    gboolean has_page_size, has_address, has_mapped;
    gsize name_length;
    char *name;
} GwStreamBlock;

typedef struct {
    uint64_t start, length; /* bytes */
} GwStreamRange;

typedef struct {
    GwStreamRecordType type;
    unsigned depth;                 /* 1 within a package */
    uint64_t offset;                /* of the first byte, from the start of the stream */
    uint64_t length;                /* of this record alone */
    uint32_t page_size;             /* of the target, as far as it is known here */
    const GwStreamSection *section; /* SECTION to FOOTER; else NULL */
    const uint8_t *data;            /* payload, where the type has one */
    gsize data_length;
    union {
        uint8_t section_type; /* GwStreamByte */
        struct {
            const char *machine; /* not terminated */
            uint32_t machine_length;
            uint32_t page_bits;
        } configuration;
        struct {
            uint64_t total;
            const GwStreamBlock *block;
            uint64_t offset; /* of the page in the block, bytes */
            uint8_t fill;    /* of a zero page, 0 but for very old senders */
            gboolean is_continued; /* the block was not named, it is that of the record before */
        } ram;
        const GwStreamBlock *block;
        struct {
            uint8_t flags;        /* GW_BITMAP_* */
            const char *node;     /* in force, also when not in this chunk */
            const char *name;
            uint32_t granularity; /* START */
            uint8_t start_flags;
            uint64_t start_sector; /* BITS */
            uint32_t n_sectors;
        } bitmap;
        struct {
            uint16_t number;      /* GwStreamCommand */
            uint32_t value;       /* of a ping; bytes of a package */
            uint64_t page_summary, page_size; /* of an advise, when data_length is 16 */
            const char *block;    /* of a discard or a bitmap request */
            const GwStreamRange *ranges; /* of a discard */
            unsigned n_ranges;
        } command;
    };
} GwStreamRecord;

/* Called for each record, in order.  FALSE with an error ends the reading. */
typedef gboolean (*GwStreamSink) (const GwStreamRecord *record, gpointer user_data, GError **error);

/* --- reader.c: the main stream ---------------------------------------------------------------- */

typedef struct _GwStreamReader GwStreamReader;

/* `params` is copied, but not what it borrows.  A page size that is no power of two within the
 * limits is our own mistake. */
GwStreamReader *gw_stream_reader_new (const GwStreamParams *params, GwStreamSink sink,
                                      gpointer user_data);
void gw_stream_reader_free (GwStreamReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwStreamReader, gw_stream_reader_free)

/* Takes `len` bytes.  FALSE with a GW_CAUSE_STREAM_* (or the sink's error), now and ever after. */
gboolean gw_stream_reader_push (GwStreamReader *reader, const uint8_t *data, gsize len,
                                GError **error);
/* The stream is over: FALSE with GW_CAUSE_STREAM_TRUNCATED when it should not be. */
gboolean gw_stream_reader_finish (GwStreamReader *reader, GError **error);

/* Makes a RAM block known that was announced on another channel.  TRUE unless the table is full. */
gboolean gw_stream_reader_add_block (GwStreamReader *reader, const char *name, uint64_t used_length,
                                     GError **error);
/* Postcopy recovery: what comes next comes from a new connection, which starts without a header.
 * Offsets start anew at 0; sections and blocks stay known. */
void gw_stream_reader_reconnect (GwStreamReader *reader);

/* The offset of the first byte that no record has covered yet.  A relay that forwards the bytes
 * itself has to hold back nothing when gw_stream_reader_holds_ram() is FALSE. */
uint64_t gw_stream_reader_get_offset (const GwStreamReader *reader);
/* Whether the bytes taken but not covered yet are the beginning of a RAM record. */
gboolean gw_stream_reader_holds_ram (const GwStreamReader *reader);
/* Whether the end mark was read, and the vmdesc when there is one. */
gboolean gw_stream_reader_is_complete (const GwStreamReader *reader);
uint32_t gw_stream_reader_get_page_size (const GwStreamReader *reader);
unsigned gw_stream_reader_get_n_blocks (const GwStreamReader *reader);
const GwStreamBlock *gw_stream_reader_get_block (const GwStreamReader *reader, unsigned index);
/* The section whose bytes are being read, or NULL. */
const GwStreamSection *gw_stream_reader_get_section (const GwStreamReader *reader);

/* --- return_path.c ----------------------------------------------------------------------------- */

typedef enum {
#define X(id, number, name, least, most) GW_RETURN_##id = number,
#include "return_path.def"
#undef X
} GwReturnMessage;

#define GW_RETURN_BITMAP_END 0x0123456789abcdefull

typedef struct {
    uint16_t type; /* GwReturnMessage */
    uint64_t offset, length;
    uint32_t value;        /* SHUT: 0 is success; PONG; RESUME_ACK */
    uint64_t start;        /* of a page request, bytes in the block */
    uint32_t wanted;       /* bytes wanted */
    const char *block;     /* REQ_PAGES: that of the last REQ_PAGES_ID; RECV_BITMAP */
    const uint8_t *bitmap; /* RECV_BITMAP: little-endian, bit set = page received */
    gsize bitmap_length;
} GwReturnRecord;

typedef gboolean (*GwReturnSink) (const GwReturnRecord *record, gpointer user_data, GError **error);
typedef struct _GwReturnReader GwReturnReader;

/* Of `params` only max_bitmap_bytes is used. */
GwReturnReader *gw_return_reader_new (const GwStreamParams *params, GwReturnSink sink,
                                      gpointer user_data);
void gw_return_reader_free (GwReturnReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwReturnReader, gw_return_reader_free)
gboolean gw_return_reader_push (GwReturnReader *reader, const uint8_t *data, gsize len,
                                GError **error);
gboolean gw_return_reader_finish (GwReturnReader *reader, GError **error);
uint64_t gw_return_reader_get_offset (const GwReturnReader *reader);
void gw_return_put_record (GByteArray *out, const GwReturnRecord *record);

/* --- multifd.c --------------------------------------------------------------------------------- */

#define GW_MULTIFD_MAGIC 0x11223344u
#define GW_MULTIFD_VERSION 1u
#define GW_MULTIFD_INIT_BYTES 64u
#define GW_MULTIFD_PACKET_BYTES (512u * 1024u) /* of pages in one packet */
#define GW_MULTIFD_NAME_BYTES 256u
#define GW_MULTIFD_PIECE_BYTES 65536u          /* most of a payload in one record */

enum {
    GW_MULTIFD_SYNC = 1 << 0,
    GW_MULTIFD_METHOD_MASK = 0x1f << 1,
    GW_MULTIFD_NONE = 0,
    GW_MULTIFD_ZLIB = 1 << 1,
    GW_MULTIFD_ZSTD = 2 << 1,
    GW_MULTIFD_QPL = 4 << 1,
    GW_MULTIFD_UADK = 8 << 1,
    GW_MULTIFD_QATZIP = 16 << 1,
    GW_MULTIFD_DEVICE_STATE = 32 << 1,
};

typedef enum {
    GW_MULTIFD_INIT,         /* .init */
    GW_MULTIFD_PACKET,       /* .packet */
    GW_MULTIFD_PAGE,         /* .page_offset, .data: one page as it is, of the packet before */
    GW_MULTIFD_PAYLOAD,      /* .data: a piece of the compressed pages of the packet before */
    GW_MULTIFD_DEVICE,       /* .device: the head of a packet of device state (10.0) */
    GW_MULTIFD_DEVICE_DATA,  /* .data: a piece of it */
} GwMultifdRecordType;

typedef struct {
    uint32_t flags;
    uint32_t pages_alloc, n_normal, n_zero;
    uint32_t next_size;      /* bytes of payload; stale when n_normal is 0 */
    uint64_t number;
    const uint8_t *head;     /* the packet as it stands, offsets included */
    const char *block;       /* stale, and perhaps not terminated, in a packet without pages */
} GwMultifdPacket;

typedef struct {
    GwMultifdRecordType type;
    uint64_t offset, length;
    const uint8_t *data;
    gsize data_length;
    uint64_t page_offset;
    uint8_t channel;           /* INIT */
    const uint8_t *uuid;       /* INIT: 16 bytes */
    GwMultifdPacket packet;    /* PACKET, and for PAGE and PAYLOAD that of the packet they are of */
    const char *device;        /* DEVICE: name of the section */
    uint32_t instance;
} GwMultifdRecord;

typedef gboolean (*GwMultifdSink) (const GwMultifdRecord *record, gpointer user_data,
                                   GError **error);
typedef struct _GwMultifdReader GwMultifdReader;

/* Of `params` only page_size is used. */
GwMultifdReader *gw_multifd_reader_new (const GwStreamParams *params, GwMultifdSink sink,
                                        gpointer user_data);
void gw_multifd_reader_free (GwMultifdReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwMultifdReader, gw_multifd_reader_free)
gboolean gw_multifd_reader_push (GwMultifdReader *reader, const uint8_t *data, gsize len,
                                 GError **error);
gboolean gw_multifd_reader_finish (GwMultifdReader *reader, GError **error);
uint64_t gw_multifd_reader_get_offset (const GwMultifdReader *reader);
/* The offset in the block of page `index` of the packet: first n_normal pages, then n_zero. */
uint64_t gw_multifd_packet_get_page (const GwMultifdPacket *packet, unsigned index);
void gw_multifd_put_record (GByteArray *out, const GwMultifdRecord *record);

/* --- xbzrle.c ---------------------------------------------------------------------------------- */

/* Applies the `len` bytes of an XBZRLE record to `page`, which holds the earlier content.  FALSE
 * with GW_CAUSE_STREAM_XBZRLE when the encoding is broken; `page` may be half changed then. */
gboolean gw_xbzrle_apply (const uint8_t *data, gsize len, uint8_t *page, gsize page_size,
                          GError **error);

/* --- writer.c ---------------------------------------------------------------------------------- */
/* Each appends to `out`; names longer than a length byte can say are our own mistake. */

void gw_stream_put_header (GByteArray *out);
void gw_stream_put_configuration (GByteArray *out, const char *machine);
void gw_stream_put_section (GByteArray *out, GwStreamByte type, const GwStreamSection *section);
void gw_stream_put_footer (GByteArray *out, uint32_t section_id);
/* The MEM_SIZE list of `n` blocks; has_page_size and has_address say which words. */
void gw_stream_put_ram_list (GByteArray *out, const GwStreamBlock *const *blocks, unsigned n);
/* A page record; `block` NULL is CONTINUE.  `data` is `page_size` bytes; NULL is a zero page. */
void gw_stream_put_ram_page (GByteArray *out, const char *block, uint64_t offset,
                             const uint8_t *data, gsize page_size);
void gw_stream_put_ram_flag (GByteArray *out, uint64_t flag);
void gw_stream_put_command (GByteArray *out, GwStreamCommand command, const uint8_t *payload,
                            gsize len);
void gw_stream_put_ping (GByteArray *out, uint32_t value);
void gw_stream_put_advise (GByteArray *out, uint64_t page_summary, uint64_t page_size);
/* At most GW_STREAM_DISCARDS_MAX ranges. */
void gw_stream_put_discard (GByteArray *out, const char *block, const GwStreamRange *ranges,
                            unsigned n);
void gw_stream_put_packaged (GByteArray *out, const uint8_t *sections, gsize len);
void gw_stream_put_eof (GByteArray *out);
void gw_stream_put_vmdesc (GByteArray *out, const char *json, gsize len);
/* Any record that a reader emitted, as it was. */
void gw_stream_put_record (GByteArray *out, const GwStreamRecord *record);

/* --- rehearsal.c: an incoming stream of device state alone ------------------------------------- */

typedef struct {
    const char *block;
    uint64_t offset;
    const uint8_t *data; /* one target page */
} GwStreamPage;

typedef struct {
    const char *machine;
    const GwStreamBlock *const *blocks; /* all of them: name and used_length */
    unsigned n_blocks;
    uint32_t page_size;
    const uint8_t *saved; /* the file that xen-save-devices-state wrote */
    gsize saved_length;
} GwStreamRehearsal;

#define GW_REHEARSAL_PING_LOADED 3u /* its pong says that every device has loaded */

/* Appends a stream that brings a QEMU with postcopy-ram to load the saved device state with all RAM
 * still missing; it asks for the pages that its devices touch, each to be answered by
 * gw_stream_put_rehearsal_pages().  FALSE with GW_CAUSE_STREAM_* when the file is none. */
gboolean gw_stream_put_rehearsal_postcopy (GByteArray *out, const GwStreamRehearsal *rehearsal,
                                           GError **error);
/* The same for a QEMU without postcopy: `pages` are all that it gets, the rest reads as zero. */
gboolean gw_stream_put_rehearsal_precopy (GByteArray *out, const GwStreamRehearsal *rehearsal,
                                          const GwStreamPage *pages, unsigned n_pages,
                                          GError **error);
/* The answer to a page request: one part of the RAM section. */
void gw_stream_put_rehearsal_pages (GByteArray *out, const GwStreamPage *pages, unsigned n_pages,
                                    uint32_t page_size);

/* --- filter.c ---------------------------------------------------------------------------------- */

typedef struct {
    const char *machine;            /* insert this configuration if there is none; NULL: do not */
    const char *const *left_out;    /* names of device sections, NULL at the end; NULL: none */
} GwStreamFilterRules;

typedef struct _GwStreamFilter GwStreamFilter;

/* Copies a stream to `out`, section by section.  A name of `rules` (copied) is that of a section or
 * its part after the last '/'.  When a section was left out, so is the vmdesc, which would speak of
 * it; QEMU does without.  `ram` and `dirty-bitmap` cannot be left out. */
GwStreamFilter *gw_stream_filter_new (const GwStreamParams *params,
                                      const GwStreamFilterRules *rules, GByteArray *out);
void gw_stream_filter_free (GwStreamFilter *filter);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwStreamFilter, gw_stream_filter_free)
gboolean gw_stream_filter_push (GwStreamFilter *filter, const uint8_t *data, gsize len,
                                GError **error);
gboolean gw_stream_filter_finish (GwStreamFilter *filter, GError **error);
unsigned gw_stream_filter_get_n_left_out (const GwStreamFilter *filter);

/* --- vmdesc.c ---------------------------------------------------------------------------------- */

typedef struct {
    const char *name; /* of the section */
    uint32_t instance;
    uint32_t version;
    gboolean has_size;
    uint64_t size;      /* of the body, bytes */
    JsonObject *object; /* borrowed */
} GwVmdescDevice;

/* FALSE with GW_CAUSE_STREAM_VMDESC. */
GwVmdesc *gw_vmdesc_parse (const char *json, gsize len, GError **error);
/* The vmdesc at the end of `data`, which may be only the tail of a stream; NULL when there is none. */
GwVmdesc *gw_vmdesc_find (const uint8_t *data, gsize len);
void gw_vmdesc_free (GwVmdesc *vmdesc);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwVmdesc, gw_vmdesc_free)
uint32_t gw_vmdesc_get_page_size (const GwVmdesc *vmdesc);
unsigned gw_vmdesc_get_n_devices (const GwVmdesc *vmdesc);
const GwVmdescDevice *gw_vmdesc_get_device (const GwVmdesc *vmdesc, unsigned index);
const GwVmdescDevice *gw_vmdesc_find_device (const GwVmdesc *vmdesc, const char *name,
                                             uint32_t instance);
/* Refuses JSON that nests deeper than GW_STREAM_JSON_DEPTH_MAX, which json-glib 1.6 does not. */
JsonNode *gw_stream_parse_json (const char *json, gsize len, GError **error);

/* --- decode.c: the body of a device section as a tree ------------------------------------------ */

typedef enum {
    GW_FIELD_STRUCT,     /* children */
    GW_FIELD_ARRAY,      /* children, all of one name */
    GW_FIELD_SUBSECTION, /* children; name is the subsection's */
    GW_FIELD_UNSIGNED,
    GW_FIELD_SIGNED,
    GW_FIELD_BOOL,
    GW_FIELD_NULL,   /* a null pointer in an array of pointers */
    GW_FIELD_BUFFER, /* bytes; may have children that say the same in words */
    GW_FIELD_TEXT,   /* a word: of no bytes of its own */
} GwFieldKind;

typedef struct _GwField GwField;
struct _GwField {
    char *name;
    char *type; /* as the vmdesc has it */
    GwFieldKind kind;
    gsize offset, size;  /* in the body */
    uint64_t value;      /* of the numbers; two's complement when signed */
    char *text;          /* TEXT, and what a number or buffer means, or NULL */
    const uint8_t *data; /* of a buffer: within the body that was decoded */
    GPtrArray *children; /* of GwField; NULL when none */
};

void gw_field_free (GwField *field);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwField, gw_field_free)
const GwField *gw_field_get_child (const GwField *field, const char *name);

/* Decodes `body` with the description of its device.  Without one (`device` NULL) the tree is one
 * buffer.  `body` must outlive the tree.  FALSE with GW_CAUSE_STREAM_VMDESC when they do not fit. */
GwField *gw_stream_decode (const GwVmdescDevice *device, const char *name, const uint8_t *body,
                           gsize len, GError **error);

/* --- compat.c: two -dump-vmstate files --------------------------------------------------------- */

typedef enum { GW_COMPAT_NOTE, GW_COMPAT_WARN, GW_COMPAT_BLOCK } GwCompatSeverity;

typedef enum {
#define X(id, code, severity, title) GW_COMPAT_##id,
#include "compat.def"
#undef X
    GW_N_COMPAT
} GwCompatVerdict;

typedef struct {
    const char *code; /* stable, "device-missing" */
    GwCompatSeverity severity;
    const char *title;
} GwCompatInfo;

const GwCompatInfo *gw_compat_get_info (GwCompatVerdict verdict);

typedef struct {
    GwCompatVerdict verdict;
    char *device; /* the driver's name */
    char *where;  /* path of descriptions and fields, may be "" */
    char *detail; /* with the numbers */
} GwCompatFinding;

void gw_compat_finding_free (GwCompatFinding *finding);

/* Whether `json` is the output of -dump-vmstate. */
gboolean gw_compat_is_dump (const char *json, gsize len);
/* What would fail when a VM goes from the QEMU that dumped `source` to that of `destination`:
 * GwCompatFinding, the worst first; empty when all is well.  `devices` (NULL: all of them) limits
 * it to the drivers that a VM has.  NULL with GW_CAUSE_STREAM_DUMP when a file is no such dump. */
GPtrArray *gw_compat_compare (const char *source, gsize source_len, const char *destination,
                              gsize destination_len, const char *const *devices, GError **error);

#endif
