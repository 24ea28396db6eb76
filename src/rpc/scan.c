/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc-private.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* A pushdown automaton: what may come next, and for each open container one bit that says whether
 * it is an object.  json-glib reads the text again afterwards, but only what is JSON, and never
 * more values than it has memory for: it takes some 150 bytes for each. */
enum {
    EXPECT_ROOT,
    EXPECT_VALUE,
    EXPECT_VALUE_OR_END,
    EXPECT_KEY,
    EXPECT_KEY_OR_END,
    EXPECT_COLON,
    EXPECT_COMMA_OR_END,
    EXPECT_NOTHING,
};

enum {
    TOKEN_OPEN = 1 << 0,
    TOKEN_CLOSE = 1 << 1,
    TOKEN_COMMA = 1 << 2,
    TOKEN_COLON = 1 << 3,
    TOKEN_STRING = 1 << 4,
    TOKEN_NUMBER = 1 << 5,
    TOKEN_WORD = 1 << 6,
    TOKEN_ANY_VALUE = TOKEN_OPEN | TOKEN_STRING | TOKEN_NUMBER | TOKEN_WORD,
};

static const guint allowed_tokens[] = {
    [EXPECT_ROOT] = TOKEN_OPEN,
    [EXPECT_VALUE] = TOKEN_ANY_VALUE,
    [EXPECT_VALUE_OR_END] = TOKEN_ANY_VALUE | TOKEN_CLOSE,
    [EXPECT_KEY] = TOKEN_STRING,
    [EXPECT_KEY_OR_END] = TOKEN_STRING | TOKEN_CLOSE,
    [EXPECT_COLON] = TOKEN_COLON,
    [EXPECT_COMMA_OR_END] = TOKEN_COMMA | TOKEN_CLOSE,
    [EXPECT_NOTHING] = 0,
};

typedef struct {
    const char *begin;
    const char *p;
    const char *end;
    int expect;
    guint depth;
    guint64 objects; /* bit n: the container at depth n + 1 is an object */
    guint n_values;
} Scan;

G_STATIC_ASSERT (GW_RPC_DEPTH_MAX <= 64);

static gboolean
scan_fail (const Scan *scan, const char *what, GError **error)
{
    return gw_fail (error, GW_CAUSE_RPC_INVALID, "not JSON that is accepted: %s at byte %zu", what,
                    (gsize) (scan->p - scan->begin));
}

static guint
token_of (char c)
{
    switch (c) {
    case '{':
    case '[':
        return TOKEN_OPEN;
    case '}':
    case ']':
        return TOKEN_CLOSE;
    case ',':
        return TOKEN_COMMA;
    case ':':
        return TOKEN_COLON;
    case '"':
        return TOKEN_STRING;
    case 't':
    case 'f':
    case 'n':
        return TOKEN_WORD;
    default:
        return c == '-' || g_ascii_isdigit (c) ? TOKEN_NUMBER : 0;
    }
}

/* The four digits of \uXXXX at p, or -1. */
static int
hex4 (const char *p, const char *end)
{
    int value = 0;
    if (end - p < 4)
        return -1;
    for (guint i = 0; i < 4; i++) {
        if (!g_ascii_isxdigit (p[i]))
            return -1;
        value = value * 16 + g_ascii_xdigit_value (p[i]);
    }
    return value;
}

/* p is after a \u.  The number of bytes that belong to it, 0 when it names no character: NUL would
 * end a C string, and half a surrogate pair is none. */
static gsize
unicode_escape_length (const char *p, const char *end)
{
    int first = hex4 (p, end);
    if (first <= 0 || (first >= 0xdc00 && first <= 0xdfff))
        return 0;
    if (first < 0xd800 || first > 0xdbff)
        return 4;
    if (end - p < 10 || p[4] != '\\' || p[5] != 'u')
        return 0;
    int second = hex4 (p + 6, end);
    return second >= 0xdc00 && second <= 0xdfff ? 10 : 0;
}

static gboolean
scan_escape (Scan *scan)
{
    if (++scan->p == scan->end)
        return FALSE;
    char c = *scan->p++;
    if (c != 'u')
        return c != '\0' && strchr ("\"\\/bfnrt", c) != NULL;
    gsize len = unicode_escape_length (scan->p, scan->end);
    scan->p += len;
    return len > 0;
}

static gboolean
scan_string (Scan *scan, GError **error)
{
    scan->p++;
    while (scan->p < scan->end && *scan->p != '"') {
        if ((guchar) *scan->p < 0x20)
            return scan_fail (scan, "control character in a string", error);
        if (*scan->p != '\\')
            scan->p++;
        else if (!scan_escape (scan))
            return scan_fail (scan, "bad escape in a string", error);
    }
    if (scan->p == scan->end)
        return scan_fail (scan, "string without end", error);
    scan->p++;
    return TRUE;
}

static guint
skip_digits (Scan *scan)
{
    const char *from = scan->p;
    while (scan->p < scan->end && g_ascii_isdigit (*scan->p))
        scan->p++;
    return (guint) (scan->p - from);
}

static gboolean
skip_char (Scan *scan, const char *any_of)
{
    if (scan->p == scan->end || *scan->p == '\0' || strchr (any_of, *scan->p) == NULL)
        return FALSE;
    scan->p++;
    return TRUE;
}

/* Fits into what json-glib keeps numbers in?  The text of a number is short or it does not. */
static gboolean
is_representable (const char *from, gsize len, gboolean is_integer)
{
    char text[64];
    if (len >= sizeof text)
        return FALSE;
    memcpy (text, from, len);
    text[len] = '\0';
    errno = 0;
    if (!is_integer)
        return isfinite (g_ascii_strtod (text, NULL));
    (void) g_ascii_strtoll (text, NULL, 10); /* only errno matters */
    return errno == 0;
}

static gboolean
scan_number (Scan *scan, GError **error)
{
    const char *from = scan->p;
    gboolean is_integer = TRUE;
    (void) skip_char (scan, "-"); /* may be missing */
    gboolean is_zero = scan->p < scan->end && *scan->p == '0';
    guint n = skip_digits (scan);
    if (n == 0 || (is_zero && n > 1))
        return scan_fail (scan, "bad number", error);
    if (skip_char (scan, ".")) {
        is_integer = FALSE;
        if (skip_digits (scan) == 0)
            return scan_fail (scan, "bad number", error);
    }
    if (skip_char (scan, "eE")) {
        is_integer = FALSE;
        (void) skip_char (scan, "+-"); /* may be missing */
        if (skip_digits (scan) == 0)
            return scan_fail (scan, "bad number", error);
    }
    if (!is_representable (from, (gsize) (scan->p - from), is_integer))
        return scan_fail (scan, "number out of range", error);
    return TRUE;
}

static gboolean
scan_word (Scan *scan, GError **error)
{
    static const char *const words[] = { "true", "false", "null" };
    gsize left = (gsize) (scan->end - scan->p);
    for (guint i = 0; i < G_N_ELEMENTS (words); i++) {
        gsize len = strlen (words[i]);
        if (left >= len && memcmp (scan->p, words[i], len) == 0) {
            scan->p += len;
            return TRUE;
        }
    }
    return scan_fail (scan, "unknown word", error);
}

static gboolean
is_in_object (const Scan *scan)
{
    return scan->depth > 0 && (scan->objects >> (scan->depth - 1) & 1) != 0;
}

/* What may come after a complete value. */
static int
expect_after_value (const Scan *scan)
{
    return scan->depth > 0 ? EXPECT_COMMA_OR_END : EXPECT_NOTHING;
}

static gboolean
scan_open (Scan *scan, GError **error)
{
    gboolean is_object = *scan->p == '{';
    if (scan->depth == GW_RPC_DEPTH_MAX)
        return gw_fail (error, GW_CAUSE_RPC_INVALID,
                        "JSON nested deeper than %d levels at byte %zu", GW_RPC_DEPTH_MAX,
                        (gsize) (scan->p - scan->begin));
    guint64 bit = (guint64) 1 << scan->depth++;
    scan->objects = is_object ? scan->objects | bit : scan->objects & ~bit;
    scan->expect = is_object ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END;
    scan->p++;
    return TRUE;
}

static gboolean
scan_close (Scan *scan, GError **error)
{
    if (is_in_object (scan) != (*scan->p == '}'))
        return scan_fail (scan, "wrong closing bracket", error);
    scan->depth--;
    scan->expect = expect_after_value (scan);
    scan->p++;
    return TRUE;
}

static gboolean
scan_token (Scan *scan, guint token, GError **error)
{
    gboolean is_key = scan->expect == EXPECT_KEY || scan->expect == EXPECT_KEY_OR_END;
    switch (token) {
    case TOKEN_OPEN:
        return scan_open (scan, error);
    case TOKEN_CLOSE:
        return scan_close (scan, error);
    case TOKEN_COMMA:
        scan->expect = is_in_object (scan) ? EXPECT_KEY : EXPECT_VALUE;
        scan->p++;
        return TRUE;
    case TOKEN_COLON:
        scan->expect = EXPECT_VALUE;
        scan->p++;
        return TRUE;
    case TOKEN_STRING:
        scan->expect = is_key ? EXPECT_COLON : expect_after_value (scan);
        return scan_string (scan, error);
    case TOKEN_NUMBER:
        scan->expect = expect_after_value (scan);
        return scan_number (scan, error);
    default:
        scan->expect = expect_after_value (scan);
        return scan_word (scan, error);
    }
}

gboolean
gw_rpc_scan_json (const char *text, gsize len, GError **error)
{
    Scan scan = { .begin = text, .p = text, .end = text + len, .expect = EXPECT_ROOT };
    const char *bad;
    if (!g_utf8_validate_len (text, len, &bad)) {
        scan.p = bad;
        return scan_fail (&scan, "a byte that is not UTF-8 text", error);
    }
    while (scan.p < scan.end) {
        if (strchr (" \t\r\n", *scan.p) != NULL) {
            scan.p++;
            continue;
        }
        guint token = token_of (*scan.p);
        if ((allowed_tokens[scan.expect] & token) == 0)
            return scan_fail (&scan, "unexpected character", error);
        if ((token & TOKEN_ANY_VALUE) != 0 && ++scan.n_values > GW_RPC_VALUES_MAX)
            return gw_fail (error, GW_CAUSE_RPC_INVALID, "JSON of more than %d values",
                            GW_RPC_VALUES_MAX);
        if (!scan_token (&scan, token, error))
            return FALSE;
    }
    if (scan.expect != EXPECT_NOTHING)
        return scan_fail (&scan, "end of text", error);
    return TRUE;
}
