/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * link: the connection between the two couriers of a job.
 *
 * Theory
 * ------
 * A link carries *lanes* over *paths*.  A lane is a byte stream in both directions with a name
 * ("ram"), which stands for one local socket of QEMU on either host.  A path is one TCP connection.
 *
 * Frames.  What travels on a path is a row of frames.  A frame is a head of GW_LINK_HEAD bytes
 * (type, flags, lane, length, sequence; big endian) and its payload, and it fills exactly one TLS
 * record: so a frame is whole and authentic when it arrives, and nothing has to be put together.
 * For data, `sequence` is the offset of the payload's first byte in its lane and direction, for the
 * end of a direction it is the number of bytes before it; a receiver that misses or sees twice a
 * single byte knows.
 *
 * The directions of a lane end apart.  EOF: the program at this end wrote its last byte.  STOP: the
 * program at this end reads no more.  RESET: the lane is over in both directions, now.
 *
 * Keys.  Both couriers of a job get the same 32 random bytes.  They are the PSK of TLS 1.3 with an
 * ephemeral key exchange (X25519 or P-256) and AES-128-GCM, so a recorded job stays secret even if
 * its key is found later, and whoever lacks the key gets no further than the handshake.  The PSK
 * identity names the protocol version and the job.  There is no plaintext and no other cipher.
 * A path has carried enough under its keys after GW_LINK_REKEY_BYTES or GW_LINK_REKEY_RECORDS in one
 * direction: then another one with a fresh handshake takes its place (session.h, "Renewal").
 *
 * TLS as a transformer.  GwLinkTls owns a non-blocking socket but never waits.  While the handshake
 * runs it reads and writes the socket directly.  After gw_link_tls_start() sent records are
 * encrypted into a buffer of fixed size, so sending never fails half-way: the caller asks for room
 * before and flushes after.  Received records are handed out without a copy.
 *
 * Threads.  Nothing here is shared: one thread uses one GwLinkTls.
 */
#ifndef GW_LINK_H
#define GW_LINK_H

#include "base.h"

/* --- frame.c: frames -------------------------------------------------------------------------- */

#define GW_LINK_VERSION 2
#define GW_LINK_HEAD 16                                /* bytes before the payload */
#define GW_LINK_RECORD 16384                           /* bytes of a full TLS record */
#define GW_LINK_PAYLOAD (GW_LINK_RECORD - GW_LINK_HEAD) /* bytes of a full frame's payload */
#define GW_LINK_NAME_MAX 32                            /* bytes of a lane's name */
#define GW_LINK_JOB_MAX 64                             /* bytes of a job's name */
#define GW_LINK_TEXT_MAX 200                           /* bytes of a RESET's text */
#define GW_LINK_ACK_ENTRY 18                           /* bytes: lane, ack, limit */
#define GW_LINK_ACK_ENTRIES 40                         /* in one frame */

typedef enum {
    GW_LINK_HELLO = 1, /* first frame each way: who, for which job, which path */
    GW_LINK_OPEN,      /* lane: the program at the sender's end connected; payload: lane's name */
    GW_LINK_DATA,      /* lane: bytes */
    GW_LINK_EOF,       /* lane: no more bytes from the sender */
    GW_LINK_STOP,      /* lane: the sender's program reads no more */
    GW_LINK_RESET,     /* lane: over in both directions; payload: why, for people */
    GW_LINK_PING,      /* sequence: the sender's session clock */
    GW_LINK_PONG,      /* sequence: of the ping; payload: our clock when it came, and now */
    GW_LINK_BYE,       /* every lane of the sender has ended, and none will be opened */
    GW_LINK_ACK,       /* sequence: bytes of chunks that came on this path; payload: entries */
    GW_LINK_LEAVE,     /* the sender's last frame on this path */
    GW_LINK_N_TYPES
} GwLinkType;

enum {
    GW_LINK_UNCLEAN = 1, /* of BYE: a lane did not end by EOF in both directions */
    GW_LINK_SEEN = 2,    /* of BYE: the sender has the receiver's BYE */
    GW_LINK_ANSWER = 1   /* of RESET: it answers one, and wants no answer */
};

typedef struct {
    uint8_t type; /* GwLinkType */
    uint8_t flags;
    uint16_t lane;
    uint32_t length; /* of the payload */
    uint64_t sequence;
} GwLinkFrame;

void gw_link_frame_store (uint8_t head[static GW_LINK_HEAD], const GwLinkFrame *frame);

/* Reads the head of the frame that fills `record`.  FALSE with GW_CAUSE_LINK_LOST when the record
 * is not exactly one frame of a known type with a length and flags that its type allows. */
gboolean gw_link_frame_load (const uint8_t *record, gsize len, GwLinkFrame *ret_frame,
                             GError **error);

/* "data", "stop"; "unknown" for values out of range. */
const char *gw_link_type_name (guint type);

#define GW_LINK_SESSION_ID 16 /* bytes */
#define GW_LINK_HELLO_FIXED 36 /* bytes of the payload before the job */
#define GW_LINK_HELLO_MAX (GW_LINK_HEAD + GW_LINK_HELLO_FIXED + GW_LINK_JOB_MAX)

/* What a side says of itself at the beginning of each path. */
typedef struct {
    GwSide side;
    uint32_t epoch;                      /* of the VM, at which the job began */
    uint8_t session[GW_LINK_SESSION_ID]; /* the sender's; random, never zero */
    uint32_t serial;      /* of the path: the source counts from 1, the destination says it again */
    int64_t wall_clock_us; /* the sender's wall clock less its session clock */
    char job[GW_LINK_JOB_MAX + 1];
} GwLinkHello;

/* Writes the HELLO frame.  Returns its length. */
gsize gw_link_hello_store (uint8_t record[static GW_LINK_HELLO_MAX], const GwLinkHello *hello);

/* What a side knows of its peer, over all paths.  Set up `is_known` FALSE and `serial` 0. */
typedef struct {
    uint8_t session[GW_LINK_SESSION_ID]; /* while `is_known` */
    gboolean is_known;
    uint32_t serial; /* at the destination: the highest that came */
} GwLinkPeer;

/* Checks that `record` is the HELLO that a peer may say to `ours`, and notes it in `peer`.  `ours`
 * is, at the source, what was sent on this path; at the destination, what will be (its serial is
 * not looked at).  FALSE with GW_CAUSE_LINK_AUTH: other version, side, job, epoch; a session id of
 * zero or other than before; at the destination a serial that is not above all that came (a hello
 * that was delayed or replayed); at the source one that is not ours. */
gboolean gw_link_hello_check (GwLinkPeer *peer, const GwLinkHello *ours, const uint8_t *record,
                              gsize len, GwLinkHello *ret_hello, GError **error);

/* TRUE when `job` may name a job: 1..GW_LINK_JOB_MAX bytes of [A-Za-z0-9._-]. */
gboolean gw_link_job_is_valid (const char *job);

/* --- tls.c: one path --------------------------------------------------------------------------- */

#define GW_LINK_SECRET 32                             /* bytes of a job's secret */
#define GW_LINK_BATCH 4                               /* full records that fit between flushes */
#define GW_LINK_REKEY_BYTES (G_GUINT64_CONSTANT (16) << 30)
#define GW_LINK_REKEY_RECORDS (G_GUINT64_CONSTANT (1) << 23)

/* A job's credentials at one side. */
typedef struct _GwLinkKey GwLinkKey;

/* Copies `secret`; the caller wipes its own.  NULL with GW_CAUSE_INTERNAL when GnuTLS refuses. */
GwLinkKey *gw_link_key_new (const uint8_t secret[static GW_LINK_SECRET], const char *job,
                            GwSide side, GError **error);
void gw_link_key_free (GwLinkKey *key);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwLinkKey, gw_link_key_free)

typedef enum {
    GW_LINK_DONE,   /* it happened */
    GW_LINK_AGAIN,  /* not yet: poll for gw_link_tls_get_events() */
    GW_LINK_CLOSED, /* the peer ended the session in order; nothing follows */
    GW_LINK_FAILED  /* the error is set */
} GwLinkStep;

typedef struct {
    gpointer packet;             /* whose memory it is; NULL is no record */
    void (*release) (gpointer);  /* gives `packet` back */
    const uint8_t *data;
    gsize len;
} GwLinkRecord;

/* Gives the memory back; harmless on an empty one. */
void gw_link_record_clear (GwLinkRecord *record);

typedef struct {
    uint64_t out_bytes, in_bytes; /* on the wire, without TCP/IP */
    uint64_t out_records, in_records;
} GwLinkCounters;

typedef struct _GwLinkTls GwLinkTls;

/* A TLS session on `fd`, a connected non-blocking TCP socket (transfer full).  The source is the
 * client.  `key` must outlive it. */
GwLinkTls *gw_link_tls_new (GwLinkKey *key, int fd, GError **error);

/* Closes the socket; says no good-bye (see gw_link_tls_shut()). */
void gw_link_tls_free (GwLinkTls *tls);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GwLinkTls, gw_link_tls_free)

int gw_link_tls_get_fd (const GwLinkTls *tls);

/* What to poll the socket for: POLLIN, and POLLOUT while something waits to be sent. */
short gw_link_tls_get_events (const GwLinkTls *tls);

/* Goes on with the handshake.  DONE once.  FAILED with GW_CAUSE_LINK_AUTH when the peer does not
 * speak TLS or does not know the secret, with GW_CAUSE_LINK_CONNECT when the connection ended. */
GwLinkStep gw_link_tls_handshake (GwLinkTls *tls, GError **error);

/* Call once after the handshake, before the functions below. */
void gw_link_tls_start (GwLinkTls *tls);

/* How many full records gw_link_tls_send() takes now: GW_LINK_BATCH when nothing waits to be sent.
 * A small record for control fits beyond that, see gw_link_tls_can_send_small(). */
guint gw_link_tls_get_room (const GwLinkTls *tls);
gboolean gw_link_tls_can_send_small (const GwLinkTls *tls);

/* Encrypts one record of 1..GW_LINK_RECORD bytes.  There must be room (asserted).  FALSE with
 * GW_CAUSE_LINK_LOST when GnuTLS fails; the session is then of no more use. */
gboolean gw_link_tls_send (GwLinkTls *tls, const uint8_t *record, gsize len, GError **error);

/* Gives the socket what waits.  DONE when nothing is left. */
GwLinkStep gw_link_tls_flush (GwLinkTls *tls, GError **error);

/* The next record.  DONE fills `ret_record`: its memory is its own and may outlive `tls`, so bytes
 * that wait for a program survive the path on which they came. */
GwLinkStep gw_link_tls_receive (GwLinkTls *tls, GwLinkRecord *ret_record, GError **error);

/* Says that nothing more will be sent; there must be room for a small record.  Flush after. */
gboolean gw_link_tls_shut (GwLinkTls *tls, GError **error);

const GwLinkCounters *gw_link_tls_get_counters (const GwLinkTls *tls);

/* Bytes encrypted or in the socket that the network has not taken yet. */
gsize gw_link_tls_get_queued (const GwLinkTls *tls);

/* Bytes encrypted or in the socket that the far kernel has not acknowledged. */
gsize gw_link_tls_get_unacked (const GwLinkTls *tls);

/* The kernel's smoothed round-trip time, 0 when unknown. */
guint gw_link_tls_get_rtt_us (const GwLinkTls *tls);

/* Sets the options of a connected TCP socket: no Nagle, small unsent part, keep-alive.  No
 * TCP_USER_TIMEOUT: it would also end a connection whose reader is slow. */
void gw_link_socket_tune (int fd);

#endif
