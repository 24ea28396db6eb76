/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Static compatibility: two outputs of -dump-vmstate.
 *
 * What counts is the order of the fields on the wire.  A structure within a structure leaves no
 * trace there, so both descriptions are flattened to their leaves before they are compared: a field
 * that moved into a sub-structure is no difference.  The source sends the fields of its version;
 * the destination, told that version, expects those of its own that are not newer.  Within a
 * structure each side goes by its own version, as no version is sent there.  The dump does not say
 * which optional fields and subsections will be there, nor how long arrays are, so that differences
 * in what is optional are warnings.
 */
#include "internal.h"

#include <string.h>

static const GwCompatInfo infos[] = {
#define X(id, code, severity, title) { code, GW_COMPAT_##severity, title },
#include "compat.def"
#undef X
};
G_STATIC_ASSERT (G_N_ELEMENTS (infos) == GW_N_COMPAT);

const GwCompatInfo *
gw_compat_get_info (GwCompatVerdict verdict)
{
    g_assert ((unsigned) verdict < GW_N_COMPAT);
    return &infos[verdict];
}

void
gw_compat_finding_free (GwCompatFinding *finding)
{
    g_free (finding->device);
    g_free (finding->where);
    g_free (finding->detail);
    g_free (finding);
}

static void add_finding (GPtrArray *findings, GwCompatVerdict verdict, const char *device,
                         const char *where, const char *format, ...) G_GNUC_PRINTF (5, 6);

static void
add_finding (GPtrArray *findings, GwCompatVerdict verdict, const char *device, const char *where,
             const char *format, ...)
{
    va_list args;
    GwCompatFinding *finding = g_new0 (GwCompatFinding, 1);
    finding->verdict = verdict;
    finding->device = g_strdup (device);
    finding->where = g_strdup (where);
    va_start (args, format);
    finding->detail = g_strdup_vprintf (format, args);
    va_end (args);
    g_ptr_array_add (findings, finding);
}

/* --- flattening -------------------------------------------------------------------------------- */

typedef struct {
    const char *name; /* borrowed from the JSON */
    uint64_t size;
    gboolean is_optional;
} Leaf;

typedef struct {
    GArray *leaves;         /* Leaf */
    GPtrArray *subsections; /* JsonObject, borrowed */
} Flat;

static void
flat_clear (Flat *flat)
{
    g_array_unref (flat->leaves);
    g_ptr_array_unref (flat->subsections);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Flat, flat_clear)

static uint64_t
get_version (JsonObject *object, const char *name)
{
    uint64_t version = 0;
    (void) gw_stream_json_get_uint (object, name, G_MAXUINT32, &version); /* 0 when absent */
    return version;
}

static gboolean
is_optional (JsonObject *field)
{
    JsonNode *node = json_object_get_member (field, "field_exists");
    return node != NULL && JSON_NODE_HOLDS_VALUE (node)
           && json_node_get_value_type (node) == G_TYPE_BOOLEAN && json_node_get_boolean (node);
}

static void flatten (Flat *flat, JsonObject *description, uint64_t version, gboolean is_sometimes);

static void
flatten_field (Flat *flat, JsonObject *field, uint64_t version, gboolean is_sometimes)
{
    JsonObject *inner = gw_stream_json_get_object (field, "Description");
    if (get_version (field, "version_id") > version)
        return;
    is_sometimes = is_sometimes || is_optional (field);
    if (inner != NULL && gw_stream_json_get_array (inner, "Fields") != NULL) {
        flatten (flat, inner, get_version (inner, "version_id"), is_sometimes);
        return;
    }
    Leaf leaf = { .name = gw_stream_json_get_string (field, "field"), .is_optional = is_sometimes };
    (void) gw_stream_json_get_uint (field, "size", G_MAXUINT32, &leaf.size); /* 0: not said */
    if (leaf.name != NULL)
        g_array_append_val (flat->leaves, leaf);
}

static void
flatten (Flat *flat, JsonObject *description, uint64_t version, gboolean is_sometimes)
{
    JsonArray *fields = gw_stream_json_get_array (description, "Fields");
    JsonArray *subsections = gw_stream_json_get_array (description, "Subsections");
    for (guint i = 0; fields != NULL && i < json_array_get_length (fields); i++) {
        JsonNode *node = json_array_get_element (fields, i);
        if (JSON_NODE_HOLDS_OBJECT (node))
            flatten_field (flat, json_node_get_object (node), version, is_sometimes);
    }
    for (guint i = 0; subsections != NULL && i < json_array_get_length (subsections); i++) {
        JsonNode *node = json_array_get_element (subsections, i);
        if (JSON_NODE_HOLDS_OBJECT (node))
            g_ptr_array_add (flat->subsections, json_node_get_object (node));
    }
}

static void
flat_init (Flat *flat, JsonObject *description, uint64_t version)
{
    flat->leaves = g_array_new (FALSE, FALSE, sizeof (Leaf));
    flat->subsections = g_ptr_array_new ();
    flatten (flat, description, version, FALSE);
}

/* --- comparing --------------------------------------------------------------------------------- */

typedef struct {
    GPtrArray *findings;
    const char *device;
    const char *where;
} Place;

static const Leaf *
leaf_at (const Flat *flat, guint i)
{
    return &g_array_index (flat->leaves, Leaf, i);
}

/* The index of the leaf with that name at or after `from`, or the number of leaves. */
static guint
find_leaf (const Flat *flat, guint from, const char *name)
{
    guint i = from;
    while (i < flat->leaves->len && strcmp (leaf_at (flat, i)->name, name) != 0)
        i++;
    return i;
}

static void
report_lonely (const Place *place, const Flat *flat, guint from, guint to, GwCompatVerdict verdict)
{
    for (guint i = from; i < to; i++) {
        const Leaf *leaf = leaf_at (flat, i);
        add_finding (place->findings, leaf->is_optional ? GW_COMPAT_FIELD_OPTIONAL : verdict,
                     place->device, place->where, "field '%s' of %" G_GUINT64_FORMAT " bytes is %s",
                     leaf->name, leaf->size,
                     verdict == GW_COMPAT_FIELD_MISSING ? "sent but not expected"
                                                        : "expected but not sent");
    }
}

static gboolean
is_unused (const Leaf *leaf)
{
    return strcmp (leaf->name, "unused") == 0;
}

/* How many leaves from `from` on take as much room as the padding `unused`; 0 when none do. */
static guint
count_padded (const Flat *flat, guint from, const Leaf *unused)
{
    uint64_t size = 0;
    for (guint i = from; i < flat->leaves->len && size < unused->size; i++) {
        size += leaf_at (flat, i)->size;
        if (size == unused->size)
            return i + 1 - from;
    }
    return 0;
}

static void
compare_pair (const Place *place, const Leaf *a, const Leaf *b)
{
    gboolean same = strcmp (a->name, b->name) == 0;
    if (a->size != b->size)
        add_finding (place->findings,
                     is_unused (a) || is_unused (b) ? GW_COMPAT_FIELD_UNUSED
                     : same                         ? GW_COMPAT_FIELD_SIZE
                                                    : GW_COMPAT_FIELD_CHANGED,
                     place->device, place->where,
                     "source sends '%s' of %" G_GUINT64_FORMAT " bytes, destination expects '%s' of "
                     "%" G_GUINT64_FORMAT, a->name, a->size, b->name, b->size);
    else if (!same && !is_unused (a) && !is_unused (b))
        add_finding (place->findings, GW_COMPAT_FIELD_RENAMED, place->device, place->where,
                     "'%s' of the source is '%s' on the destination", a->name, b->name);
}

/* Padding on one side against fields of the same room on the other: no difference. */
static gboolean
skip_padding (const Flat *source, guint *i, const Flat *destination, guint *j)
{
    const Leaf *a = leaf_at (source, *i), *b = leaf_at (destination, *j);
    guint from_source = is_unused (b) && !is_unused (a) ? count_padded (source, *i, b) : 0;
    guint from_destination = is_unused (a) && !is_unused (b) ? count_padded (destination, *j, a) : 0;
    if (from_source == 0 && from_destination == 0)
        return FALSE;
    *i += MAX (from_source, 1);
    *j += MAX (from_destination, 1);
    return TRUE;
}

static void
compare_leaves (const Place *place, const Flat *source, const Flat *destination)
{
    guint i = 0, j = 0;
    guint n = source->leaves->len, m = destination->leaves->len;
    while (i < n && j < m) {
        if (skip_padding (source, &i, destination, &j))
            continue;
        const Leaf *a = leaf_at (source, i), *b = leaf_at (destination, j);
        guint in_destination = find_leaf (destination, j, a->name);
        guint in_source = find_leaf (source, i, b->name);
        if (in_destination > j && in_destination < m && in_source == n) {
            report_lonely (place, destination, j, in_destination, GW_COMPAT_FIELD_ADDED);
            j = in_destination;
        } else if (in_source > i && in_source < n && in_destination == m) {
            report_lonely (place, source, i, in_source, GW_COMPAT_FIELD_MISSING);
            i = in_source;
        } else {
            compare_pair (place, a, b);
            i++;
            j++;
        }
    }
    report_lonely (place, source, i, n, GW_COMPAT_FIELD_MISSING);
    report_lonely (place, destination, j, m, GW_COMPAT_FIELD_ADDED);
}

static void
compare_version (const Place *place, JsonObject *source, JsonObject *destination)
{
    uint64_t sent = get_version (source, "version_id");
    uint64_t newest = get_version (destination, "version_id");
    uint64_t oldest = get_version (destination, "minimum_version_id");
    if (sent > newest)
        add_finding (place->findings, GW_COMPAT_VERSION_NEWER, place->device, place->where,
                     "version %" G_GUINT64_FORMAT " is sent, at most %" G_GUINT64_FORMAT " is read",
                     sent, newest);
    if (sent < oldest)
        add_finding (place->findings, GW_COMPAT_VERSION_OLDER, place->device, place->where,
                     "version %" G_GUINT64_FORMAT " is sent, at least %" G_GUINT64_FORMAT " is read",
                     sent, oldest);
}

static void compare_descriptions (const Place *place, JsonObject *source, JsonObject *destination);

static void
compare_subsection (const Place *place, JsonObject *source, const Flat *destination)
{
    const char *name = gw_stream_json_get_string (source, "name");
    for (guint i = 0; name != NULL && i < destination->subsections->len; i++) {
        JsonObject *other = g_ptr_array_index (destination->subsections, i);
        if (g_strcmp0 (name, gw_stream_json_get_string (other, "name")) != 0)
            continue;
        Place inner = { place->findings, place->device, name };
        compare_descriptions (&inner, source, other);
        return;
    }
    add_finding (place->findings, GW_COMPAT_SUBSECTION_MISSING, place->device, place->where,
                 "subsection '%s' is unknown to the destination", name != NULL ? name : "");
}

static void
compare_descriptions (const Place *place, JsonObject *source, JsonObject *destination)
{
    uint64_t version = get_version (source, "version_id");
    g_auto (Flat) a = { 0 }, b = { 0 };
    compare_version (place, source, destination);
    flat_init (&a, source, version);
    flat_init (&b, destination, version);
    compare_leaves (place, &a, &b);
    for (guint i = 0; i < a.subsections->len; i++)
        compare_subsection (place, g_ptr_array_index (a.subsections, i), &b);
}

static void
compare_device (GPtrArray *findings, const char *name, JsonObject *source, JsonObject *destination)
{
    JsonObject *a = gw_stream_json_get_object (source, "Description");
    JsonObject *b = gw_stream_json_get_object (destination, "Description");
    Place place = { findings, name, "" };
    if (a == NULL)
        return;
    const char *sent = gw_stream_json_get_string (a, "name");
    const char *known = b != NULL ? gw_stream_json_get_string (b, "name") : NULL;
    if (g_strcmp0 (sent, known) != 0) {
        add_finding (findings, GW_COMPAT_NAME_DIFFERS, name, "",
                     "the source sends '%s', the destination has '%s'", sent, known);
        return;
    }
    compare_descriptions (&place, a, b);
}

/* --- files ------------------------------------------------------------------------------------- */

static JsonNode *
load_dump (const char *json, gsize len, const char *side, GError **error)
{
    g_autoptr (GError) local = NULL;
    g_autoptr (JsonNode) root = gw_stream_parse_json (json, len, &local);
    if (root != NULL && JSON_NODE_HOLDS_OBJECT (root)
        && gw_stream_json_get_object (json_node_get_object (root), "vmschkmachine") != NULL)
        return g_steal_pointer (&root);
    gw_fail (error, GW_CAUSE_STREAM_DUMP, "%s: %s", side,
             local != NULL ? local->message : "expected a member 'vmschkmachine', found none");
    return NULL;
}

gboolean
gw_compat_is_dump (const char *json, gsize len)
{
    while (len > 0 && g_ascii_isspace (*json)) {
        json++;
        len--;
    }
    return len > 0 && *json == '{';
}

static gint
compare_findings (gconstpointer a, gconstpointer b)
{
    const GwCompatFinding *x = *(GwCompatFinding *const *) a, *y = *(GwCompatFinding *const *) b;
    if (infos[x->verdict].severity != infos[y->verdict].severity)
        return infos[x->verdict].severity > infos[y->verdict].severity ? -1 : 1;
    return strcmp (x->device, y->device);
}

static void
compare_machines (GPtrArray *findings, JsonObject *source, JsonObject *destination)
{
    const char *a = gw_stream_json_get_string (gw_stream_json_get_object (source, "vmschkmachine"), "Name");
    const char *b = gw_stream_json_get_string (gw_stream_json_get_object (destination, "vmschkmachine"), "Name");
    if (g_strcmp0 (a, b) != 0)
        add_finding (findings, GW_COMPAT_MACHINE_DIFFERS, "vmschkmachine", "",
                     "the source's dump is of '%s', the destination's of '%s'", a, b);
}

GPtrArray *
gw_compat_compare (const char *source, gsize source_len, const char *destination,
                   gsize destination_len, const char *const *devices, GError **error)
{
    g_autoptr (JsonNode) a = load_dump (source, source_len, "source", error);
    g_autoptr (JsonNode) b = a ? load_dump (destination, destination_len, "destination", error)
                               : NULL;
    if (b == NULL)
        return NULL;
    JsonObject *from = json_node_get_object (a), *to = json_node_get_object (b);
    GPtrArray *findings = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_compat_finding_free);
    compare_machines (findings, from, to);
    g_autoptr (GList) names = json_object_get_members (from);
    for (GList *l = names; l != NULL; l = l->next) {
        const char *name = l->data;
        JsonObject *device = gw_stream_json_get_object (from, name);
        if (strcmp (name, "vmschkmachine") == 0 || device == NULL
            || (devices != NULL && !g_strv_contains (devices, name)))
            continue;
        JsonObject *other = gw_stream_json_get_object (to, name);
        if (other != NULL)
            compare_device (findings, name, device, other);
        else
            add_finding (findings, GW_COMPAT_DEVICE_MISSING, name, "",
                         "the destination's dump has no '%s'", name);
    }
    g_ptr_array_sort (findings, compare_findings);
    return findings;
}
