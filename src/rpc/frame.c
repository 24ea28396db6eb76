/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

#include <string.h>

#define BUFFER_KEEP_BYTES (256 * 1024) /* a buffer that grew larger is given back when empty */
#define EXCERPT_BYTES 120              /* of a foreign stream, for the message */

void
gw_rpc_frame_init (GwRpcFrame *frame)
{
    *frame = (GwRpcFrame){ .buffer = g_byte_array_new () };
}

void
gw_rpc_frame_clear (GwRpcFrame *frame)
{
    g_clear_pointer (&frame->buffer, g_byte_array_unref);
}

/* Drops what was given out.  What is left then is the beginning of one message, so nothing is
 * moved twice. */
static void
drop_used (GwRpcFrame *frame)
{
    if (frame->begin == 0)
        return;
    if (frame->begin == frame->buffer->len && frame->begin > BUFFER_KEEP_BYTES) {
        g_byte_array_unref (frame->buffer);
        frame->buffer = g_byte_array_new ();
    } else {
        g_byte_array_remove_range (frame->buffer, 0, (guint) frame->begin);
    }
    frame->scanned -= frame->begin;
    frame->begin = 0;
}

void
gw_rpc_frame_push (GwRpcFrame *frame, const guint8 *data, gsize len)
{
    g_assert (len <= GW_RPC_MESSAGE_MAX);
    drop_used (frame);
    g_byte_array_append (frame->buffer, data, (guint) len);
}

static gsize
bytes_left (const GwRpcFrame *frame)
{
    return frame->buffer->len - frame->begin;
}

static const char *
first_byte (const GwRpcFrame *frame)
{
    return (const char *) frame->buffer->data + frame->begin;
}

static void
consume (GwRpcFrame *frame, gsize len)
{
    frame->begin += len;
    frame->scanned = frame->begin;
}

static gboolean
fail_with_excerpt (const GwRpcFrame *frame, const char *what, GError **error)
{
    g_autofree char *excerpt
        = gw_text_clean (first_byte (frame), (gssize) MIN (bytes_left (frame), EXCERPT_BYTES),
                         EXCERPT_BYTES);
    g_strchomp (excerpt);
    return gw_fail (error, GW_CAUSE_RPC_INVALID, "%s: '%s'", what, excerpt);
}

static gboolean
fail_too_big (gsize bytes, GError **error)
{
    return gw_fail (error, GW_CAUSE_RPC_INVALID,
                    "a message of %zu bytes or more is larger than the %d accepted", bytes,
                    GW_RPC_MESSAGE_MAX);
}

static void
skip_white_space (GwRpcFrame *frame)
{
    while (bytes_left (frame) > 0 && g_ascii_isspace (*first_byte (frame)))
        consume (frame, 1);
}

static gboolean
detect_framing (GwRpcFrame *frame, GError **error)
{
    skip_white_space (frame);
    if (bytes_left (frame) == 0)
        return TRUE;
    char c = *first_byte (frame);
    if (c == '{' || c == '[')
        frame->framing = GW_RPC_FRAMING_LINES;
    else if (c == 'C' || c == 'c')
        frame->framing = GW_RPC_FRAMING_HEADER;
    else
        return fail_with_excerpt (frame, "what answers does not speak JSON-RPC, it says", error);
    return TRUE;
}

static gboolean
next_line (GwRpcFrame *frame, const char **ret_text, gsize *ret_len, GError **error)
{
    skip_white_space (frame);
    if (bytes_left (frame) == 0)
        return TRUE;
    const char *end = memchr (frame->buffer->data + frame->scanned, '\n',
                              frame->buffer->len - frame->scanned);
    gsize len = end != NULL ? (gsize) (end - first_byte (frame)) : bytes_left (frame);
    if (len > GW_RPC_MESSAGE_MAX)
        return fail_too_big (len, error);
    frame->scanned = frame->buffer->len;
    if (end == NULL)
        return TRUE;
    *ret_text = first_byte (frame);
    *ret_len = len;
    consume (frame, len + 1);
    return TRUE;
}

/* One line of a header.  FALSE when it is none or has a second or a bad length. */
static gboolean
parse_header_line (const char *line, guint64 *length)
{
    static const char name[] = "Content-Length:";
    if (g_ascii_strncasecmp (line, name, sizeof name - 1) != 0)
        return strchr (line, ':') != NULL;
    g_autofree char *value = g_strstrip (g_strdup (line + sizeof name - 1));
    return *length == 0 && g_ascii_string_to_unsigned (value, 10, 1, G_MAXUINT32, length, NULL);
}

/* The length that the header at the beginning of `text` gives, 0 when it is malformed. */
static guint64
parse_header (const char *text, gsize len)
{
    g_autofree char *copy = g_strndup (text, len);
    if (strlen (copy) != len)
        return 0;
    g_auto (GStrv) lines = g_strsplit (copy, "\r\n", -1);
    guint64 length = 0;
    for (guint i = 0; lines[i] != NULL; i++)
        if (!parse_header_line (lines[i], &length))
            return 0;
    return length;
}

/* Reads the header at `begin` when it is complete: then `body_bytes` is set. */
static gboolean
take_header (GwRpcFrame *frame, GError **error)
{
    static const char blank[] = { '\r', '\n', '\r', '\n' };
    gsize from = MAX (frame->begin, frame->scanned >= 3 ? frame->scanned - 3 : 0);
    const char *end
        = memmem (frame->buffer->data + from, frame->buffer->len - from, blank, sizeof blank);
    frame->scanned = frame->buffer->len;
    gsize len = end != NULL ? (gsize) (end - first_byte (frame)) : bytes_left (frame);
    if (len > GW_RPC_HEADER_MAX - sizeof blank)
        return fail_with_excerpt (frame, "a header without end", error);
    if (end == NULL)
        return TRUE;
    guint64 length = parse_header (first_byte (frame), len);
    if (length == 0)
        return fail_with_excerpt (frame, "a malformed header", error);
    if (length > GW_RPC_MESSAGE_MAX)
        return fail_too_big ((gsize) length, error);
    frame->body_bytes = (gsize) length;
    consume (frame, len + sizeof blank);
    return TRUE;
}

static gboolean
next_after_header (GwRpcFrame *frame, const char **ret_text, gsize *ret_len, GError **error)
{
    if (frame->body_bytes == 0 && !take_header (frame, error))
        return FALSE;
    if (frame->body_bytes == 0 || bytes_left (frame) < frame->body_bytes)
        return TRUE;
    *ret_text = first_byte (frame);
    *ret_len = frame->body_bytes;
    consume (frame, frame->body_bytes);
    frame->body_bytes = 0;
    return TRUE;
}

gboolean
gw_rpc_frame_next (GwRpcFrame *frame, const char **ret_text, gsize *ret_len, GError **error)
{
    *ret_text = NULL;
    *ret_len = 0;
    if (frame->framing == GW_RPC_FRAMING_UNKNOWN && !detect_framing (frame, error))
        return FALSE;
    switch (frame->framing) {
    case GW_RPC_FRAMING_LINES:
        return next_line (frame, ret_text, ret_len, error);
    case GW_RPC_FRAMING_HEADER:
        return next_after_header (frame, ret_text, ret_len, error);
    default:
        return TRUE;
    }
}

gboolean
gw_rpc_frame_is_empty (const GwRpcFrame *frame)
{
    return frame->body_bytes == 0 && bytes_left (frame) == 0;
}

GBytes *
gw_rpc_frame_wrap (GwRpcFraming framing, const char *text, gsize len)
{
    GString *out = g_string_sized_new (len + 64);
    if (framing == GW_RPC_FRAMING_HEADER)
        g_string_append_printf (out, "Content-Length: %zu\r\n\r\n", len);
    g_string_append_len (out, text, (gssize) len);
    if (framing != GW_RPC_FRAMING_HEADER)
        g_string_append_c (out, '\n');
    return g_string_free_to_bytes (out);
}
