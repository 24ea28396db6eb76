/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tables of fields: both ways, and every way in which a member of foreign JSON can be wrong. */
#include "model.h"

#include <string.h>

static const GwStructType *const types[] = { &gw_vm_type,   &gw_derived_type,   &gw_host_facts_type,
                                             &gw_plan_type, &gw_migration_type, &gw_progress_type };

#define FIELD(type, data, field) ((type *) ((char *) (data) + (field)->offset))

static void
assert_error (GError **error, GwCause cause, const char *part)
{
    g_assert_nonnull (*error);
    g_assert_cmpint (gw_error_get_cause (*error), ==, cause);
    if (strstr ((*error)->message, part) == NULL)
        g_error ("'%s' does not say '%s'", (*error)->message, part);
    g_clear_error (error);
}

/* --- both ways ----------------------------------------------------------------------------------- */

static gpointer fill (const GwStructType *type);

static void
fill_field (const GwField *field, gpointer data)
{
    const char *const list[] = { field->name, "", "a,b=c \"\xc3\xa4\"", NULL };
    switch (field->kind) {
    case GW_FIELD_STR:
        *FIELD (char *, data, field) = g_strdup (field->name);
        break;
    case GW_FIELD_STRV:
        *FIELD (GStrv, data, field) = g_strdupv ((char **) list);
        break;
    case GW_FIELD_INT:
        *FIELD (gint64, data, field) = MAX (field->min, field->max - (gint64) (field->offset % 64));
        break;
    case GW_FIELD_BOOL:
        *FIELD (gboolean, data, field) = TRUE;
        break;
    case GW_FIELD_ARRAY:
        for (guint i = 0; i < 2; i++)
            g_ptr_array_add (*FIELD (GPtrArray *, data, field), fill (field->type));
        break;
    case GW_FIELD_OBJECT:
        *FIELD (gpointer, data, field) = fill (field->type);
        break;
    }
}

/* A struct none of whose fields is at its default. */
static gpointer
fill (const GwStructType *type)
{
    gpointer data = gw_struct_new (type);
    for (guint i = 0; i < type->n_fields; i++)
        fill_field (&type->fields[i], data);
    return data;
}

static JsonObject *
fill_json (const GwStructType *type)
{
    gpointer data = fill (type);
    JsonObject *json = gw_struct_to_json (type, data);
    gw_struct_free (type, data);
    return json;
}

static void
assert_same (const GwStructType *type, gconstpointer a, gconstpointer b)
{
    for (guint i = 0; i < type->n_fields; i++) {
        const GwField *field = &type->fields[i];
        if (field->kind == GW_FIELD_STR)
            g_assert_cmpstr (*FIELD (char *, a, field), ==, *FIELD (char *, b, field));
        else if (field->kind == GW_FIELD_STRV)
            g_assert_cmpstrv (*FIELD (GStrv, a, field), *FIELD (GStrv, b, field));
        else if (field->kind == GW_FIELD_INT)
            g_assert_cmpint (*FIELD (gint64, a, field), ==, *FIELD (gint64, b, field));
        else if (field->kind == GW_FIELD_BOOL)
            g_assert_cmpint (*FIELD (gboolean, a, field), ==, *FIELD (gboolean, b, field));
        else if (field->kind == GW_FIELD_OBJECT)
            assert_same (field->type, *FIELD (gpointer, a, field), *FIELD (gpointer, b, field));
        for (guint k = 0; field->kind == GW_FIELD_ARRAY && k < 2; k++) {
            g_assert_cmpuint ((*FIELD (GPtrArray *, a, field))->len, ==, 2);
            assert_same (field->type, (*FIELD (GPtrArray *, a, field))->pdata[k],
                         (*FIELD (GPtrArray *, b, field))->pdata[k]);
        }
    }
}

static void
test_both_ways (void)
{
    for (guint i = 0; i < G_N_ELEMENTS (types); i++) {
        g_autoptr (GError) error = NULL;
        gpointer data = fill (types[i]);
        g_autoptr (JsonObject) json = gw_struct_to_json (types[i], data);
        g_autofree char *text = gw_json_to_text (json, i % 2 == 0);
        g_autoptr (JsonObject) read = gw_json_parse (text, -1, &error);
        g_assert_no_error (error);
        gpointer again = gw_struct_from_json (types[i], read, &error);
        g_assert_no_error (error);
        assert_same (types[i], again, data);
        gw_struct_free (types[i], data);
        gw_struct_free (types[i], again);
    }
}

/* The names on the wire are a contract with other versions. */
static void
test_wire_names (void)
{
    g_autoptr (GwVm) vm = gw_struct_new (&gw_vm_type);
    GwDisk *disk = g_new0 (GwDisk, 1);
    disk->device = g_strdup ("d0");
    disk->driver = g_strdup ("raw");
    disk->is_read_only = TRUE;
    g_ptr_array_add (vm->disks, disk);
    vm->machine = g_strdup ("pc-q35-7.2");
    vm->ram_bytes = 5;
    g_autoptr (JsonObject) json = gw_struct_to_json (&gw_vm_type, vm);
    g_assert_cmpstr (gw_json_peek_string (json, "machine", NULL), ==, "pc-q35-7.2");
    g_assert_cmpint (gw_json_peek_int (json, "ram_bytes", 0), ==, 5);
    g_assert_false (json_object_has_member (json, "name"));
    g_assert_cmpuint (json_array_get_length (gw_json_peek_array (json, "argv")), ==, 0);
    JsonObject *first = json_array_get_object_element (gw_json_peek_array (json, "disks"), 0);
    g_assert_cmpstr (gw_json_peek_string (first, "device", NULL), ==, "d0");
    g_assert_true (gw_json_peek_bool (first, "is_read_only", FALSE));
}

static void
test_plan_defaults (void)
{
    g_autoptr (GwPlan) plan = gw_plan_new ();
    g_assert_cmpint (plan->max_downtime_ms, ==, 300);
    g_assert_cmpint (plan->timeout_s, ==, 0);
    g_assert_cmpint (plan->n_paths, ==, 1);
    g_assert_cmpint (plan->max_bandwidth_bps, ==, 0);
    g_assert_cmpstr (plan->on_timeout, ==, "postcopy");
    g_assert_cmpstr (plan->postcopy, ==, "auto");
    g_assert_cmpstr (plan->disks, ==, "auto");
    g_assert_cmpstr (plan->codec, ==, "auto");
    g_assert_true (plan->is_rehearsed && !plan->keeps_source && !plan->is_check_only);
}

/* --- bad members ----------------------------------------------------------------------------------- */

/* Reads the full struct with `node` (transfer full) in place of one member. */
static gpointer
read_with (const GwStructType *type, const char *member, JsonNode *node, GError **error)
{
    g_autoptr (JsonObject) json = fill_json (type);
    json_object_set_member (json, member, node);
    return gw_struct_from_json (type, json, error);
}

static void
assert_refused (const GwStructType *type, const char *member, JsonNode *node)
{
    GError *error = NULL;
    g_autofree char *part = g_strdup_printf ("%s: member '%s' is not ", type->name, member);
    g_assert_null (read_with (type, member, node, &error));
    assert_error (&error, GW_CAUSE_RPC_INVALID, part);
}

static JsonNode *
text_node (const char *json)
{
    g_autoptr (GError) error = NULL;
    JsonNode *node = json_from_string (json, &error);
    g_assert_no_error (error);
    return node;
}

/* Every field of every struct, with a member of each type that is not its own. */
static void
test_wrong_types (void)
{
    static const char *const values[] = { "\"x\"", "[\"x\"]", "1", "true", "[{}]", "{}",
                                          "1.5",   "[1]",     "[null]" };
    static const char *const fits[] = {
        [GW_FIELD_STR] = "\"x\"", [GW_FIELD_STRV] = "[\"x\"]", [GW_FIELD_INT] = "1",
        [GW_FIELD_BOOL] = "true", [GW_FIELD_ARRAY] = "[{}]",   [GW_FIELD_OBJECT] = "{}",
    };
    for (guint t = 0; t < G_N_ELEMENTS (types); t++) {
        for (guint f = 0; f < types[t]->n_fields; f++) {
            const GwField *field = &types[t]->fields[f];
            for (guint v = 0; v < G_N_ELEMENTS (values); v++)
                if (strcmp (values[v], fits[field->kind]) != 0 &&
                    !(field->kind == GW_FIELD_ARRAY && *values[v] == '['))
                    assert_refused (types[t], field->name, text_node (values[v]));
        }
    }
    assert_refused (&gw_vm_type, "devices", text_node ("[1]"));
    assert_refused (&gw_vm_type, "devices", text_node ("[null]"));
    assert_refused (&gw_vm_type, "devices", text_node ("[[]]"));
}

/* The error of an element names the element's struct and member. */
static void
test_bad_element (void)
{
    GError *error = NULL;
    JsonNode *node = text_node ("[{\"path\":\"/a\",\"type\":\"t\"},{\"path\":\"/b\"}]");
    g_assert_null (read_with (&gw_vm_type, "devices", node, &error));
    assert_error (&error, GW_CAUSE_RPC_INVALID, "GwDevice: member 'type' is not there");
}

static void
test_integer_range (void)
{
    for (guint t = 0; t < G_N_ELEMENTS (types); t++) {
        for (guint f = 0; f < types[t]->n_fields; f++) {
            const GwField *field = &types[t]->fields[f];
            if (field->kind != GW_FIELD_INT)
                continue;
            const gint64 good[] = { field->min, field->max };
            for (guint i = 0; i < 2; i++) {
                g_autoptr (GError) error = NULL;
                gpointer data =
                    read_with (types[t], field->name,
                               json_node_init_int (json_node_alloc (), good[i]), &error);
                g_assert_no_error (error);
                g_assert_cmpint (*FIELD (gint64, data, field), ==, good[i]);
                gw_struct_free (types[t], data);
            }
            if (field->min > G_MININT64)
                assert_refused (types[t], field->name,
                                json_node_init_int (json_node_alloc (), field->min - 1));
            if (field->max < G_MAXINT64)
                assert_refused (types[t], field->name,
                                json_node_init_int (json_node_alloc (), field->max + 1));
        }
    }
    GError *error = NULL;
    g_assert_null (read_with (&gw_plan_type, "n_paths", text_node ("9"), &error));
    assert_error (&error, GW_CAUSE_RPC_INVALID, "is not an integer from 1 to 8");
}

static void
test_bounds (void)
{
    g_autofree char *longest = g_strnfill (GW_STRING_MAX, 'x');
    g_autofree char *too_long = g_strnfill (GW_STRING_MAX + 1, 'x');
    g_autoptr (GError) error = NULL;
    g_autoptr (GwPlan) plan = read_with (
        &gw_plan_type, "vm", json_node_init_string (json_node_alloc (), longest), &error);
    g_assert_no_error (error);
    g_assert_cmpuint (strlen (plan->vm), ==, GW_STRING_MAX);
    assert_refused (&gw_plan_type, "vm", json_node_init_string (json_node_alloc (), too_long));

    for (guint i = 0; i < 2; i++) {
        JsonArray *array = json_array_new (), *strings = json_array_new ();
        for (guint n = 0; n < GW_ARRAY_MAX + i; n++) {
            json_array_add_object_element (array, gw_json_new ("label:s", "l", NULL));
            json_array_add_string_element (strings, "s");
        }
        JsonNode *node = json_node_init_array (json_node_alloc (), array);
        JsonNode *texts = json_node_init_array (json_node_alloc (), strings);
        json_array_unref (array);
        json_array_unref (strings);
        if (i > 0) {
            assert_refused (&gw_vm_type, "chardevs", node);
            assert_refused (&gw_vm_type, "argv", texts);
            continue;
        }
        g_autoptr (GwVm) vm = read_with (&gw_vm_type, "chardevs", node, &error);
        g_assert_no_error (error);
        g_assert_cmpuint (vm->chardevs->len, ==, GW_ARRAY_MAX);
        g_autoptr (GwVm) other = read_with (&gw_vm_type, "argv", texts, &error);
        g_assert_cmpuint (g_strv_length (other->argv), ==, GW_ARRAY_MAX);
    }
}

/* Missing and null are the same: refused where the member is required, the default elsewhere. */
static void
test_missing (void)
{
    for (guint t = 0; t < G_N_ELEMENTS (types); t++) {
        for (guint f = 0; f < types[t]->n_fields; f++) {
            const GwField *field = &types[t]->fields[f];
            g_autoptr (GError) error = NULL;
            g_autoptr (JsonObject) json = fill_json (types[t]);
            json_object_remove_member (json, field->name);
            gpointer data = gw_struct_from_json (types[t], json, &error);
            gpointer with_null = read_with (types[t], field->name, text_node ("null"), NULL);
            g_assert_true ((data == NULL) == field->is_required);
            g_assert_true ((with_null == NULL) == field->is_required);
            if (field->is_required)
                assert_error (&error, GW_CAUSE_RPC_INVALID, "is not there");
            else if (field->kind == GW_FIELD_INT) /* in the range that a reader asks for */
                g_assert_true (field->min <= 0 && *FIELD (gint64, data, field) == 0);
            else if (field->kind == GW_FIELD_ARRAY)
                g_assert_cmpuint ((*FIELD (GPtrArray *, data, field))->len, ==, 0);
            else if (field->kind != GW_FIELD_BOOL)
                g_assert_null (*FIELD (gpointer, data, field));
            gw_struct_free (types[t], data);
            gw_struct_free (types[t], with_null);
        }
    }
}

static void
test_unknown_members (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwProgress) progress =
        read_with (&gw_progress_type, "of_a_newer_peer", text_node ("{\"a\":[1,2]}"), &error);
    g_assert_no_error (error);
    g_assert_cmpstr (progress->phase, ==, "phase");
}

static void
test_label (void)
{
    g_autoptr (GwVm) vm = gw_struct_new (&gw_vm_type);
    vm->pid = 77;
    vm->uuid = g_strdup ("00000000-0000-0000-0000-000000000000");
    g_autofree char *by_pid = gw_vm_get_label (vm);
    g_assert_cmpstr (by_pid, ==, "pid-77");
    vm->uuid[0] = '1';
    g_autofree char *by_uuid = gw_vm_get_label (vm);
    g_assert_cmpstr (by_uuid, ==, "10000000-0000-0000-0000-000000000000");
    vm->name = g_strdup ("");
    g_autofree char *still_uuid = gw_vm_get_label (vm);
    g_assert_cmpstr (still_uuid, ==, by_uuid);
    g_free (vm->name);
    vm->name = g_strdup ("web1");
    g_autofree char *by_name = gw_vm_get_label (vm);
    g_assert_cmpstr (by_name, ==, "web1");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/model/both-ways", test_both_ways);
    g_test_add_func ("/model/wire-names", test_wire_names);
    g_test_add_func ("/model/plan-defaults", test_plan_defaults);
    g_test_add_func ("/model/wrong-types", test_wrong_types);
    g_test_add_func ("/model/bad-element", test_bad_element);
    g_test_add_func ("/model/integer-range", test_integer_range);
    g_test_add_func ("/model/bounds", test_bounds);
    g_test_add_func ("/model/missing", test_missing);
    g_test_add_func ("/model/unknown-members", test_unknown_members);
    g_test_add_func ("/model/label", test_label);
    return g_test_run ();
}
