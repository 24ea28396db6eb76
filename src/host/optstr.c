/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The argument of a QEMU option: "first,key=value,key2=value2" with doubled commas, or JSON.
 * Both are kept in the form they came in, so that what is not rewritten stays as it was.
 */
#include "host-internal.h"

#include <string.h>

typedef struct {
    char *key; /* NULL: no '=' in this part (the implied first key, or a flag) */
    char *value;
} Pair;

struct _GwOptStr {
    GPtrArray *pairs; /* Pair; NULL when JSON */
    JsonObject *json; /* NULL when pairs */
};

static void
pair_free (gpointer data)
{
    Pair *pair = data;
    g_free (pair->key);
    g_free (pair->value);
    g_free (pair);
}

/* The next part of `*text` up to a single comma, with doubled commas undone. */
static char *
next_part (const char **text)
{
    GString *out = g_string_new (NULL);
    const char *p = *text;
    for (; *p != '\0'; p++) {
        if (*p == ',' && p[1] != ',')
            break;
        if (*p == ',')
            p++;
        g_string_append_c (out, *p);
    }
    *text = *p == ',' ? p + 1 : p;
    return g_string_free (out, FALSE);
}

static Pair *
pair_new (const char *part)
{
    Pair *pair = g_new0 (Pair, 1);
    const char *equals = strchr (part, '=');
    /* "file:/a=b" or "/dev/x=y": a key is a word */
    gsize word = strspn (part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
    if (equals != NULL && (gsize) (equals - part) == word) {
        pair->key = g_strndup (part, word);
        pair->value = g_strdup (equals + 1);
    } else {
        pair->value = g_strdup (part);
    }
    return pair;
}

GwOptStr *
gw_optstr_parse_pairs (const char *text)
{
    GwOptStr *opt = g_new0 (GwOptStr, 1);
    opt->pairs = g_ptr_array_new_with_free_func (pair_free);
    while (*text != '\0') {
        g_autofree char *part = next_part (&text);
        g_ptr_array_add (opt->pairs, pair_new (part));
    }
    return opt;
}

/* After a backslash.  What JSON does not have QEMU refuses, and other parsers take in ways of their own. */
static gboolean
is_json_escape (const char *p)
{
    gsize n_digits = 0;
    while (*p == 'u' && n_digits < 4 && g_ascii_isxdigit (p[1 + n_digits]))
        n_digits++;
    return *p == 'u' ? n_digits == 4 : strchr ("\"\\/bfnrt", *p) != NULL;
}

/* The end of a text in quotes, with quotes as RFC 8259 has them. */
static const char *
append_text (GString *out, const char *p)
{
    char quote = *p++;
    g_string_append_c (out, '"');
    for (; *p != '\0' && *p != quote; p++) {
        gboolean is_escape = *p == '\\' && p[1] != '\0';
        p += is_escape;
        if ((is_escape && is_json_escape (p)) || *p == '"')
            g_string_append_c (out, '\\');
        g_string_append_c (out, *p);
    }
    if (*p == '\0')
        return p;
    g_string_append_c (out, '"');
    return p + 1;
}

char *
gw_optstr_to_plain_json (const char *text)
{
    GString *out = g_string_new (NULL);
    while (*text != '\0') {
        if (*text == '"' || *text == '\'')
            text = append_text (out, text);
        else
            g_string_append_c (out, *text++);
    }
    return g_string_free (out, FALSE);
}

GwOptStr *
gw_optstr_parse (const char *text)
{
    if (*text != '{')
        return gw_optstr_parse_pairs (text);
    g_autofree char *plain = gw_optstr_to_plain_json (text);
    JsonObject *json = gw_json_parse (plain, -1, NULL);
    if (json == NULL)
        return gw_optstr_parse_pairs (text);
    GwOptStr *opt = g_new0 (GwOptStr, 1);
    opt->json = json;
    return opt;
}

void
gw_optstr_free (GwOptStr *opt)
{
    if (opt == NULL)
        return;
    g_clear_pointer (&opt->pairs, g_ptr_array_unref);
    g_clear_pointer (&opt->json, json_object_unref);
    g_free (opt);
}

static void
append_escaped (GString *out, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == ',')
            g_string_append_c (out, ',');
        g_string_append_c (out, *value);
    }
}

char *
gw_optstr_to_text (const GwOptStr *opt)
{
    if (opt->json != NULL)
        return gw_json_to_text (opt->json, FALSE);
    GString *out = g_string_new (NULL);
    for (guint i = 0; i < opt->pairs->len; i++) {
        const Pair *pair = opt->pairs->pdata[i];
        if (i > 0)
            g_string_append_c (out, ',');
        if (pair->key != NULL)
            g_string_append_printf (out, "%s=", pair->key);
        append_escaped (out, pair->value);
    }
    return g_string_free (out, FALSE);
}

static Pair *
find_pair (const GwOptStr *opt, const char *key)
{
    for (guint i = opt->pairs->len; i > 0; i--) { /* the last one counts */
        Pair *pair = opt->pairs->pdata[i - 1];
        if (pair->key != NULL && strcmp (pair->key, key) == 0)
            return pair;
    }
    return NULL;
}

const char *
gw_optstr_get (const GwOptStr *opt, const char *key)
{
    if (opt->json != NULL)
        return gw_json_peek_string (opt->json, key, NULL);
    const Pair *pair = find_pair (opt, key);
    return pair != NULL ? pair->value : NULL;
}

gboolean
gw_optstr_has (const GwOptStr *opt, const char *key)
{
    return opt->json != NULL ? json_object_has_member (opt->json, key)
                             : find_pair (opt, key) != NULL;
}

const char *
gw_optstr_get_first (const GwOptStr *opt, const char *implied_key)
{
    const char *value = gw_optstr_get (opt, implied_key);
    if (value != NULL || opt->json != NULL || opt->pairs->len == 0)
        return value;
    const Pair *pair = opt->pairs->pdata[0];
    return pair->key == NULL ? pair->value : NULL;
}

/* JSON has types: numbers stay numbers, save where QEMU's property is a string of digits. */
static void
set_json (JsonObject *json, const char *key, const char *value)
{
    gboolean is_number = *value != '\0' && strspn (value, "0123456789") == strlen (value) &&
                         strcmp (key, "port") != 0 && strcmp (key, "addr") != 0;
    if (is_number)
        json_object_set_int_member (json, key, g_ascii_strtoll (value, NULL, 10));
    else
        json_object_set_string_member (json, key, value);
}

void
gw_optstr_set (GwOptStr *opt, const char *key, const char *value)
{
    if (opt->json != NULL) {
        set_json (opt->json, key, value);
        return;
    }
    Pair *pair = find_pair (opt, key);
    if (pair == NULL) {
        pair = g_new0 (Pair, 1);
        pair->key = g_strdup (key);
        g_ptr_array_add (opt->pairs, pair);
    }
    g_free (pair->value);
    pair->value = g_strdup (value);
}

void
gw_optstr_set_first (GwOptStr *opt, const char *implied_key, const char *value)
{
    if (opt->json == NULL && opt->pairs->len > 0 && ((Pair *) opt->pairs->pdata[0])->key == NULL) {
        Pair *pair = opt->pairs->pdata[0];
        g_free (pair->value);
        pair->value = g_strdup (value);
        return;
    }
    gw_optstr_set (opt, implied_key, value);
}

gboolean
gw_optstr_has_flag (const GwOptStr *opt, const char *flag)
{
    for (guint i = 0; opt->json == NULL && i < opt->pairs->len; i++) {
        const Pair *pair = opt->pairs->pdata[i];
        if (pair->key == NULL && strcmp (pair->value, flag) == 0)
            return TRUE;
    }
    return FALSE;
}

void
gw_optstr_remove_flag (GwOptStr *opt, const char *flag)
{
    for (guint i = opt->json == NULL ? opt->pairs->len : 0; i > 0; i--) {
        const Pair *pair = opt->pairs->pdata[i - 1];
        if (pair->key == NULL && strcmp (pair->value, flag) == 0)
            g_ptr_array_remove_index (opt->pairs, i - 1);
    }
}

/* "file.filename" names the key "filename" */
static const char *
last_word (const char *key)
{
    const char *dot = strrchr (key, '.');
    return dot != NULL ? dot + 1 : key;
}

static void visit_node (const char *key, JsonNode *node, GwOptVisitFn fn, gpointer user_data);

static void
visit_json (JsonObject *object, GwOptVisitFn fn, gpointer user_data)
{
    g_autoptr (GList) names = json_object_get_members (object);
    for (GList *l = names; l != NULL; l = l->next)
        visit_node (l->data, json_object_get_member (object, l->data), fn, user_data);
}

/* The elements of a list have the key of the list. */
static void
visit_node (const char *key, JsonNode *node, GwOptVisitFn fn, gpointer user_data)
{
    if (JSON_NODE_HOLDS_OBJECT (node)) {
        visit_json (json_node_get_object (node), fn, user_data);
    } else if (JSON_NODE_HOLDS_ARRAY (node)) {
        JsonArray *array = json_node_get_array (node);
        for (guint i = 0; i < json_array_get_length (array); i++)
            visit_node (key, json_array_get_element (array, i), fn, user_data);
    } else if (JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING) {
        g_autofree char *value = g_strdup (json_node_get_string (node));
        g_autofree char *changed = fn (last_word (key), value, user_data);
        if (changed != NULL)
            json_node_set_string (node, changed);
    }
}

void
gw_optstr_visit (GwOptStr *opt, GwOptVisitFn fn, gpointer user_data)
{
    if (opt->json != NULL) {
        visit_json (opt->json, fn, user_data);
        return;
    }
    for (guint i = 0; i < opt->pairs->len; i++) {
        Pair *pair = opt->pairs->pdata[i];
        if (pair->key == NULL)
            continue;
        char *changed = fn (last_word (pair->key), pair->value, user_data);
        if (changed != NULL) {
            g_free (pair->value);
            pair->value = changed;
        }
    }
}

static void tell_node (const char *key, JsonNode *node, GwOptEachFn fn, gpointer user_data);

/* "on" and "off" as the other notation has them. */
static void
tell_value (const char *key, JsonNode *node, GwOptEachFn fn, gpointer user_data)
{
    GType type = json_node_get_value_type (node);
    if (type == G_TYPE_STRING) {
        fn (key, json_node_get_string (node), user_data);
    } else if (type == G_TYPE_BOOLEAN) {
        fn (key, json_node_get_boolean (node) ? "on" : "off", user_data);
    } else {
        g_autofree char *number = json_to_string (node, FALSE);
        fn (key, number, user_data);
    }
}

static void
tell_json (const char *above, JsonObject *object, GwOptEachFn fn, gpointer user_data)
{
    g_autoptr (GList) names = json_object_get_members (object);
    for (GList *l = names; l != NULL; l = l->next) {
        g_autofree char *key = g_strconcat (above, *above != '\0' ? "." : "", l->data, NULL);
        tell_node (key, json_object_get_member (object, l->data), fn, user_data);
    }
}

static void
tell_node (const char *key, JsonNode *node, GwOptEachFn fn, gpointer user_data)
{
    if (JSON_NODE_HOLDS_OBJECT (node)) {
        tell_json (key, json_node_get_object (node), fn, user_data);
    } else if (JSON_NODE_HOLDS_ARRAY (node)) {
        JsonArray *array = json_node_get_array (node);
        for (guint i = 0; i < json_array_get_length (array); i++)
            tell_node (key, json_array_get_element (array, i), fn, user_data);
    } else if (JSON_NODE_HOLDS_VALUE (node)) {
        tell_value (key, node, fn, user_data);
    }
}

void
gw_optstr_foreach (const GwOptStr *opt, GwOptEachFn fn, gpointer user_data)
{
    if (opt->json != NULL)
        tell_json ("", opt->json, fn, user_data);
    for (guint i = 0; opt->json == NULL && i < opt->pairs->len; i++) {
        const Pair *pair = opt->pairs->pdata[i];
        fn (pair->key != NULL ? pair->key : "", pair->value, user_data);
    }
}

typedef struct {
    GStrvBuilder *values;
    const char *key;
} Wanted;

static void
collect (const char *key, const char *value, gpointer user_data)
{
    const Wanted *wanted = user_data;
    if (strcmp (last_word (key), wanted->key) == 0)
        g_strv_builder_add (wanted->values, value);
}

GStrv
gw_optstr_get_all (const GwOptStr *opt, const char *key)
{
    g_autoptr (GStrvBuilder) values = g_strv_builder_new ();
    Wanted wanted = { values, key };
    gw_optstr_foreach (opt, collect, &wanted);
    return g_strv_builder_end (values);
}
