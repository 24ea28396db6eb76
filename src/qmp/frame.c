/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scanner.  It looks at every byte once and keeps what it needs between calls, so a message may
 * come in any pieces.  It knows strings, escapes and brackets, and finds the end of a message by
 * the bracket that closes it: QEMU started with pretty=on sends messages of many lines.  QEMUs
 * without that send one message a line, and there a line that ends in the middle of a message is
 * an error that is told at once; which of the two it is, the first message shows.
 *
 * What the scanner lets pass must mean the same to json-glib, which also takes comments, 'x' and
 * broken escapes: were a bracket a part of a string here and not there, nesting would not be
 * bounded.  So outside of strings only the characters that JSON uses are allowed, and inside only
 * whole escapes.
 */
#include "qmp-internal.h"

#include <string.h>

/* Not a machine of the state kit: it moves at every byte. */
enum { AT_GAP, AT_OUTSIDE, AT_STRING, AT_ESCAPE, AT_HEX, AT_END };

#define FRAME_FIRST_SIZE 4096
#define FRAME_KEEP_SIZE (1u << 20) /* a larger buffer is given back after its message */
#define QUOTE_BEFORE 30            /* bytes shown around a fault */
#define QUOTE_AFTER 50

enum { CH_BAD, CH_PLAIN, CH_SPACE, CH_LINE, CH_OPEN, CH_CLOSE, CH_COMMA, CH_QUOTE };

/* clang-format off */
static const guint8 class_outside[256] = {
    [' '] = CH_SPACE, ['\t'] = CH_SPACE, ['\r'] = CH_LINE, ['\n'] = CH_LINE,
    ['{'] = CH_OPEN, ['['] = CH_OPEN, ['}'] = CH_CLOSE, [']'] = CH_CLOSE,
    [','] = CH_COMMA, ['"'] = CH_QUOTE, [':'] = CH_PLAIN,
    ['0' ... '9'] = CH_PLAIN, ['-'] = CH_PLAIN, ['+'] = CH_PLAIN, ['.'] = CH_PLAIN,
    ['a' ... 'z'] = CH_PLAIN, ['E'] = CH_PLAIN,
};
/* clang-format on */

void
gw_qmp_frame_init (GwQmpFrame *frame, gsize max)
{
    *frame = (GwQmpFrame) { .max = max, .is_first = TRUE };
}

void
gw_qmp_frame_clear (GwQmpFrame *frame)
{
    g_clear_pointer (&frame->data, g_free);
    frame->len = frame->size = 0;
}

/* Forgets the message that was handed out. */
static void
start_next (GwQmpFrame *frame)
{
    if (frame->size > FRAME_KEEP_SIZE)
        gw_qmp_frame_clear (frame);
    frame->len = 0;
    frame->values = 0;
    frame->is_first = FALSE;
    frame->at = AT_GAP;
}

static const char *
open_bracket (GwQmpFrame *frame, guchar c)
{
    if (frame->depth == GW_QMP_DEPTH_MAX)
        return "it is nested too deep";
    guint8 bit = (guint8) (1u << (frame->depth % 8));
    guint8 *byte = &frame->is_object[frame->depth / 8];
    *byte = (guint8) (c == '{' ? *byte | bit : *byte & ~bit);
    frame->depth++;
    frame->values++;
    return NULL;
}

static const char *
close_bracket (GwQmpFrame *frame, guchar c)
{
    frame->depth--;
    gboolean is_object = (frame->is_object[frame->depth / 8] >> (frame->depth % 8)) & 1;
    if (is_object != (c == '}'))
        return "a closing bracket does not fit";
    if (frame->depth == 0)
        frame->at = AT_END;
    return NULL;
}

static const char *
end_line (GwQmpFrame *frame)
{
    if (frame->is_first)
        frame->is_pretty = TRUE;
    return frame->is_pretty ? NULL : "the line ends in the middle of the message";
}

static const char *
scan_outside (GwQmpFrame *frame, guchar c)
{
    switch (class_outside[c]) {
    case CH_PLAIN:
    case CH_SPACE:
        return NULL;
    case CH_LINE:
        return end_line (frame);
    case CH_OPEN:
        return open_bracket (frame, c);
    case CH_CLOSE:
        return close_bracket (frame, c);
    case CH_COMMA:
        frame->values++;
        return NULL;
    case CH_QUOTE:
        frame->at = AT_STRING;
        return NULL;
    default:
        return "a character does not belong there";
    }
}

static const char *
scan_string (GwQmpFrame *frame, guchar c)
{
    if (c == '"')
        frame->at = AT_OUTSIDE;
    else if (c == '\\')
        frame->at = AT_ESCAPE;
    else if (c < 0x20)
        return "a control character is in a string";
    return NULL;
}

static const char *
scan_escape (GwQmpFrame *frame, guchar c)
{
    if (c == 0 || strchr ("\"\\/bfnrtu", c) == NULL)
        return "an escape is unknown";
    frame->at = c == 'u' ? AT_HEX : AT_STRING;
    frame->hex_left = 4;
    return NULL;
}

static const char *
scan_hex (GwQmpFrame *frame, guchar c)
{
    if (!g_ascii_isxdigit ((char) c))
        return "an escape is broken";
    if (--frame->hex_left == 0)
        frame->at = AT_STRING;
    return NULL;
}

/* Takes one byte of a message.  Returns what is wrong with it, or NULL. */
static const char *
scan_byte (GwQmpFrame *frame, guchar c)
{
    switch (frame->at) {
    case AT_GAP:
        if (c != '{')
            return "it does not begin with '{'";
        frame->at = AT_OUTSIDE;
        return open_bracket (frame, c);
    case AT_OUTSIDE:
        return scan_outside (frame, c);
    case AT_STRING:
        return scan_string (frame, c);
    case AT_ESCAPE:
        return scan_escape (frame, c);
    case AT_HEX:
        return scan_hex (frame, c);
    default:
        g_assert_not_reached ();
    }
}

static gboolean
append (GwQmpFrame *frame, const char *bytes, gsize len, GError **error)
{
    gsize need = frame->len + len;
    if (need > frame->size) {
        gsize size = MAX (MIN (MAX (frame->size * 2, FRAME_FIRST_SIZE), frame->max), need);
        char *data = g_try_realloc (frame->data, size);
        if (data == NULL)
            return gw_fail (error, GW_CAUSE_QMP_TOO_BIG,
                            "no memory for a QMP message of %" G_GSIZE_FORMAT " bytes", need);
        frame->data = data;
        frame->size = size;
    }
    if (len > 0)
        memcpy (frame->data + frame->len, bytes, len);
    frame->len = need;
    return TRUE;
}

/* `rest` begins with the byte at fault; what came before it is in the frame already. */
static void
fail_invalid (GwQmpFrame *frame, const char *what, const char *rest, gsize len, GError **error)
{
    gsize offset = frame->len;
    if (!append (frame, rest, MIN (len, QUOTE_AFTER), error))
        return;
    gsize from = offset > QUOTE_BEFORE ? offset - QUOTE_BEFORE : 0;
    g_autofree char *quote =
        gw_qmp_quote (frame->data + from, frame->len - from, QUOTE_BEFORE + QUOTE_AFTER);
    gw_fail (error, GW_CAUSE_QMP_INVALID,
             "the QMP message is invalid at byte %" G_GSIZE_FORMAT ": %s: '%s'", offset, what,
             quote);
}

static gboolean
check_size (const GwQmpFrame *frame, gboolean is_full, GError **error)
{
    if (is_full)
        return gw_fail (error, GW_CAUSE_QMP_TOO_BIG,
                        "a QMP message is larger than %" G_GSIZE_FORMAT " bytes", frame->max);
    if (frame->values > GW_QMP_VALUES_MAX)
        return gw_fail (error, GW_CAUSE_QMP_TOO_BIG, "a QMP message has more than %u values",
                        GW_QMP_VALUES_MAX);
    return TRUE;
}

GwQmpFrameStatus
gw_qmp_frame_feed (GwQmpFrame *frame, const char *bytes, gsize len, gsize *ret_used,
                   GError **error)
{
    if (frame->at == AT_END)
        start_next (frame);
    gsize start = 0;
    if (frame->at == AT_GAP)
        while (start < len && g_ascii_isspace (bytes[start]))
            start++;
    gsize stop = start + MIN (len - start, frame->max - frame->len);
    const char *what = NULL;
    gsize i = start;
    for (; i < stop && frame->at != AT_END; i++)
        if ((what = scan_byte (frame, (guchar) bytes[i])) != NULL)
            break;
    gboolean is_full = what == NULL && frame->at != AT_END && stop < len;
    *ret_used = i;
    if (!append (frame, bytes + start, i - start, error))
        return GW_QMP_FRAME_BAD;
    if (what != NULL)
        fail_invalid (frame, what, bytes + i, len - i, error);
    if (what != NULL || !check_size (frame, is_full, error))
        return GW_QMP_FRAME_BAD;
    return frame->at == AT_END ? GW_QMP_FRAME_MESSAGE : GW_QMP_FRAME_MORE;
}
