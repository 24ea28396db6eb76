/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The vmdesc, the tree of fields, PCI and virtio in words, and the comparison of vmstate dumps. */
#include "test-stream-samples.h"

/* --- vmdesc ------------------------------------------------------------------------------------------ */

static void
test_vmdesc (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwVmdesc) vmdesc = gw_vmdesc_parse (PLAIN_JSON, strlen (PLAIN_JSON), &error);
    g_assert_no_error (error);
    g_assert_cmpuint (gw_vmdesc_get_page_size (vmdesc), ==, 1024);
    g_assert_cmpuint (gw_vmdesc_get_n_devices (vmdesc), ==, 2);
    const GwVmdescDevice *timer = gw_vmdesc_find_device (vmdesc, "timer", 0);
    g_assert_true (timer->has_size);
    g_assert_cmpuint (timer->size, ==, TIMER_BYTES);
    g_assert_cmpuint (timer->version, ==, 1);
    g_assert_true (timer == gw_vmdesc_get_device (vmdesc, 0));
    g_assert_null (gw_vmdesc_find_device (vmdesc, "timer", 1));
    g_assert_null (gw_vmdesc_get_device (vmdesc, 2));
}

static void
test_vmdesc_faults (void)
{
    static const char *const bad[] = {
        "", "x", "[]", "{}", "{\"devices\":1}", "{\"devices\":[1]}", "{\"devices\":[{}]}",
        "{\"devices\":[{\"name\":1,\"instance_id\":0}]}",
        "{\"devices\":[{\"name\":\"a\",\"instance_id\":\"0\"}]}",
        "{\"devices\":[{\"name\":\"a\",\"instance_id\":-1}]}",
        "{\"devices\":[{\"name\":\"a\",\"instance_id\":4294967296}]}",
        "{\"devices\":[{\"name\":[],\"instance_id\":{}}]}",
        "\"\\\"{{{\"",
    };
    for (gsize i = 0; i < G_N_ELEMENTS (bad); i++) {
        g_autoptr (GError) error = NULL;
        g_assert_null (gw_vmdesc_parse (bad[i], strlen (bad[i]), &error));
        g_assert_error (error, GW_ERROR, GW_CAUSE_STREAM_VMDESC);
    }
    g_autofree char *deep = g_strnfill (GW_STREAM_JSON_DEPTH_MAX + 1, '[');
    g_autoptr (GError) error = NULL;
    g_assert_null (gw_vmdesc_parse (deep, strlen (deep), &error));
    g_assert_nonnull (strstr (error->message, "at most 64 levels"));
    gw_vmdesc_free (NULL);
}

static void
test_too_many_devices (void)
{
    g_autoptr (GString) json = g_string_new ("{\"devices\":[");
    g_autoptr (GError) error = NULL;
    for (unsigned i = 0; i <= GW_STREAM_SECTIONS_MAX; i++)
        g_string_append_printf (json, "%s{\"name\":\"a\",\"instance_id\":%u}", i > 0 ? "," : "", i);
    g_string_append (json, "]}");
    g_assert_null (gw_vmdesc_parse (json->str, json->len, &error));
    g_assert_error (error, GW_ERROR, GW_CAUSE_STREAM_LIMIT);
}

/* A description that does not tell a size is no error: the section's end is searched. */
static void
test_sizes_not_told (void)
{
    static const char *const devices[] = {
        "", ",\"fields\":[1]", ",\"fields\":[{}]", ",\"fields\":[{\"size\":-1}]",
        ",\"fields\":[{\"size\":4294967295,\"array_len\":4294967295}]",
        ",\"fields\":[{\"size\":1,\"array_len\":\"x\"}]", ",\"fields\":[],\"subsections\":[1]",
        ",\"fields\":[],\"subsections\":[{}]", ",\"fields\":[],\"subsections\":[{\"vmsd_name\":\"x\"}]",
    };
    for (gsize i = 0; i < G_N_ELEMENTS (devices); i++) {
        g_autofree char *json = g_strdup_printf ("{\"devices\":[{\"name\":\"a\",\"instance_id\":0%s}]}",
                                                 devices[i]);
        g_autoptr (GwVmdesc) vmdesc = gw_vmdesc_parse (json, strlen (json), NULL);
        g_assert_nonnull (vmdesc);
        g_assert_false (gw_vmdesc_get_device (vmdesc, 0)->has_size);
    }
}

static void
test_find_in_the_tail (void)
{
    g_autoptr (GByteArray) stream = sample_new (SAMPLE_PLAIN);
    g_autoptr (GwVmdesc) whole = gw_vmdesc_find (stream->data, stream->len);
    g_assert_cmpuint (gw_vmdesc_get_n_devices (whole), ==, 2);
    gsize at = stream->len - strlen (PLAIN_JSON) - 5;
    g_autoptr (GwVmdesc) tail = gw_vmdesc_find (stream->data + at, stream->len - at);
    g_assert_nonnull (tail);
    g_assert_null (gw_vmdesc_find (stream->data + at + 1, stream->len - at - 1));
    g_assert_null (gw_vmdesc_find (stream->data, stream->len - 1));
    g_assert_null (gw_vmdesc_find (stream->data, 3));
    g_assert_null (gw_vmdesc_find ((const uint8_t *) "\6\0\0\0\2{x", 7)); /* no JSON */
    g_assert_null (gw_vmdesc_find ((const uint8_t *) "\6\0\0\0\2[]", 7));
}

/* --- fields ------------------------------------------------------------------------------------------ */

/* Decodes `body` as the only device of a vmdesc with these fields. */
static GwField *
decode (const char *fields, const void *body, gsize len, GError **error)
{
    static GwVmdesc *vmdesc;
    g_autofree char *json = g_strdup_printf ("{\"devices\":[{\"name\":\"d\",\"instance_id\":0,%s}]}",
                                             fields);
    g_clear_pointer (&vmdesc, gw_vmdesc_free);
    vmdesc = gw_vmdesc_parse (json, strlen (json), error);
    g_assert_nonnull (vmdesc);
    return gw_stream_decode (gw_vmdesc_get_device (vmdesc, 0), "d", body, len, error);
}

static void
test_tree (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwVmdesc) vmdesc = gw_vmdesc_parse (PLAIN_JSON, strlen (PLAIN_JSON), NULL);
    g_autoptr (GwField) root = gw_stream_decode (gw_vmdesc_get_device (vmdesc, 0), "timer",
                                                 (const uint8_t *) TIMER_BODY, TIMER_BYTES, &error);
    g_assert_no_error (error);
    g_assert_cmpint ((gint64) gw_field_get_child (root, "a")->value, ==, 5);
    const GwField *b = gw_field_get_child (root, "b");
    g_assert_cmpint (b->kind, ==, GW_FIELD_ARRAY);
    g_assert_cmpuint (b->children->len, ==, 2);
    g_assert_cmpuint (b->offset, ==, 8);
    g_assert_cmpuint (b->size, ==, 4);
    const GwField *second = g_ptr_array_index (b->children, 1);
    g_assert_cmpuint (gw_field_get_child (second, "x")->value, ==, 2);
    const GwField *q = gw_field_get_child (root, "timer/q");
    g_assert_cmpint (q->kind, ==, GW_FIELD_SUBSECTION);
    g_assert_cmpuint (q->value, ==, 1); /* its version */
    g_assert_cmpint (gw_field_get_child (q, "k")->kind, ==, GW_FIELD_BOOL);
    g_assert_null (gw_field_get_child (root, "z"));
    g_assert_null (gw_field_get_child (gw_field_get_child (root, "a"), "z"));
    gw_field_free (NULL);
}

static void
test_types (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GwField) root
        = decode ("\"fields\":["
                  "{\"name\":\"i8\",\"type\":\"int8\",\"size\":1},"
                  "{\"name\":\"i16\",\"type\":\"int16\",\"size\":2},"
                  "{\"name\":\"i32\",\"type\":\"int32 le\",\"size\":4},"
                  "{\"name\":\"i64\",\"type\":\"timer\",\"size\":8},"
                  "{\"name\":\"u32\",\"type\":\"uint32 equal\",\"size\":4},"
                  "{\"name\":\"odd\",\"type\":\"uint32\",\"size\":3},"
                  "{\"name\":\"n\",\"index\":0,\"type\":\"nullptr\",\"size\":1},"
                  "{\"name\":\"n\",\"index\":1,\"type\":\"uint8\",\"size\":1},"
                  "{\"name\":\"n\",\"type\":\"uint8\",\"size\":1},"
                  "{\"name\":\"t\",\"type\":\"tmp\",\"fields\":[{\"name\":\"x\",\"type\":\"uint8\","
                  "\"size\":1}],\"size\":1},"
                  "{\"name\":\"w\",\"type\":\"tmp\",\"size\":1}]",
                  "\377\377\376\177\377\377\377\377\377\377\377\377\377\377\377\0\0\0\7abc0\1\2\3\4", 27,
                  &error);
    g_assert_no_error (error);
    g_assert_cmpint ((gint64) gw_field_get_child (root, "i8")->value, ==, -1);
    g_assert_cmpint ((gint64) gw_field_get_child (root, "i16")->value, ==, -2);
    g_assert_cmpint ((gint64) gw_field_get_child (root, "i32")->value, ==, 0x7fffffff);
    g_assert_cmpint ((gint64) gw_field_get_child (root, "i64")->value, ==, -1);
    g_assert_cmpuint (gw_field_get_child (root, "u32")->value, ==, 7);
    g_assert_cmpint (gw_field_get_child (root, "odd")->kind, ==, GW_FIELD_BUFFER);
    const GwField *n = gw_field_get_child (root, "n");
    g_assert_cmpuint (n->children->len, ==, 3); /* QEMU 10.0 leaves the last index out */
    g_assert_cmpint (((GwField *) n->children->pdata[0])->kind, ==, GW_FIELD_NULL);
    g_assert_cmpuint (gw_field_get_child (gw_field_get_child (root, "t"), "x")->value, ==, 3);
    g_assert_cmpint (gw_field_get_child (root, "w")->kind, ==, GW_FIELD_BUFFER);
}

static void
test_tree_faults (void)
{
    static const char *const bad[] = {
        "\"fields\":[1]",
        "\"fields\":[{\"name\":\"a\"}]",
        "\"fields\":[{\"name\":\"a\",\"size\":1}]",
        "\"fields\":[{\"name\":\"a\",\"type\":\"uint8\",\"size\":2}]",
        "\"fields\":[{\"name\":\"a\",\"type\":\"uint8\",\"size\":9}]",
        "\"fields\":[{\"name\":\"a\",\"type\":\"uint8\",\"size\":1,\"array_len\":9}]",
        "\"fields\":[{\"name\":\"a\",\"type\":\"uint8\",\"size\":1,\"array_len\":9999999}]",
        "\"fields\":[{\"name\":\"a\",\"type\":\"x\",\"size\":0,\"array_len\":2000000},"
        "{\"name\":\"b\",\"type\":\"x\",\"size\":0,\"array_len\":2}]",
        "\"fields\":[{\"name\":\"a\",\"type\":\"struct\",\"size\":1,\"struct\":{\"fields\":["
        "{\"name\":\"b\",\"type\":\"uint16\",\"size\":2}]}}]",
        "\"fields\":[{\"name\":\"a\",\"type\":\"struct\",\"size\":1,\"struct\":{\"fields\":[1]}}]",
        "\"fields\":[],\"subsections\":[1]",
        "\"fields\":[],\"subsections\":[{}]",
        "\"fields\":[],\"subsections\":[{\"vmsd_name\":\"a\"}]",
        "\"fields\":[],\"subsections\":[{\"vmsd_name\":\"abcdefgh\"}]",
        "\"fields\":[],\"subsections\":[{\"vmsd_name\":\"\",\"fields\":[1]}]",
    };
    for (gsize i = 0; i < G_N_ELEMENTS (bad); i++) {
        g_autoptr (GError) error = NULL;
        g_test_message ("%zu", i);
        g_assert_null (decode (bad[i], "\5\0\0\0\0\1\0", 7, &error));
        g_assert_error (error, GW_ERROR, GW_CAUSE_STREAM_VMDESC);
    }
}

static void
test_without_description (void)
{
    g_autoptr (GwField) root = gw_stream_decode (NULL, "x", (const uint8_t *) "abc", 3, NULL);
    g_assert_cmpmem (gw_field_get_child (root, "data")->data, 3, "abc", 3);
}

/* --- PCI and virtio ---------------------------------------------------------------------------------- */

static void
put_le32 (uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t) (v >> (8 * i));
}

/* A virtio-net device with an MSI-X and a virtio capability; PCI Express when asked. */
static void
fill_config (uint8_t *c, gboolean is_express)
{
    put_le32 (c, 0x10001af4);
    c[4] = 7;
    c[5] = 4;
    c[6] = 0x10;
    put_le32 (c + 16, 0xc001);                   /* io */
    put_le32 (c + 20, 0xfeb00000);               /* memory, 32 bits */
    put_le32 (c + 32, 0xfe00000c);               /* memory, 64 bits, prefetchable */
    put_le32 (c + 36, 0x1);
    put_le32 (c + 44, 0x00011af4);
    c[52] = 0x40;
    memcpy (c + 0x40, "\x11\x50\x01\x80\1\0\0\0\0\0\0\0", 12); /* two vectors, enabled */
    memcpy (c + 0x50, "\x09\x70\x10\1\4\0\0\0\0\0\0\0\0\x10\0\0", 16);
    c[0x70] = is_express ? 0x10 : 0x42;
    c[0x71] = 0x40; /* a loop */
    if (is_express) {
        put_le32 (c + 0x100, 0x14820001);
        put_le32 (c + 0x148, 0x0001ffff);
    }
}

static const char *
text_of (const GwField *field, const char *name)
{
    const GwField *child = gw_field_get_child (field, name);
    return child != NULL ? child->text : NULL;
}

static void
test_pci_config (void)
{
    uint8_t config[4096] = { 0 };
    g_autoptr (GError) error = NULL;
    fill_config (config, TRUE);
    g_autoptr (GwField) root = decode ("\"fields\":[{\"name\":\"c\",\"type\":\"pci config\",\"size\":4096}]",
                                       config, 4096, &error);
    const GwField *c = gw_field_get_child (root, "c");
    g_assert_cmpstr (text_of (c, "id"), ==, "vendor 0x1af4 device 0x1000 revision 0x00");
    g_assert_cmpstr (text_of (c, "command"), ==, "0x0407 io memory master no-intx");
    g_assert_cmpstr (text_of (c, "bar 0"), ==, "io 0xc000");
    g_assert_cmpstr (text_of (c, "bar 1"), ==, "memory 0xfeb00000 32-bit");
    g_assert_cmpstr (text_of (c, "bar 4"), ==, "memory 0x1fe000000 64-bit prefetchable");
    g_assert_null (text_of (c, "bar 5"));
    g_assert_cmpstr (text_of (c, "subsystem"), ==, "vendor 0x1af4 device 0x0001");
    g_assert_cmpstr (text_of (c, "capability 0x40"), ==,
                     "MSI-X: 2 vectors, enabled, table in bar 1 at 0x0");
    g_assert_cmpstr (text_of (c, "capability 0x50"), ==, "virtio common: bar 4, 0x1000 bytes at 0x0");
    g_assert_cmpstr (text_of (c, "capability 0x70"), ==, "PCI Express (0x10)");
    g_assert_cmpstr (text_of (c, "extended capability 0x100"), ==,
                     "advanced error reporting (0x0001) version 2");
    g_assert_cmpstr (text_of (c, "extended capability 0x148"), ==, "unknown (0xffff) version 1");
}

static void
test_pci_bridge_and_others (void)
{
    uint8_t config[256] = { 0 };
    const char *fields = "\"fields\":[{\"name\":\"c\",\"type\":\"pci config\",\"size\":256}]";
    config[14] = 0x81;
    config[25] = 3;
    put_le32 (config + 20, 0xfe00000c); /* the last word of a bridge cannot be 64 bits wide */
    g_autoptr (GwField) bridge = decode (fields, config, 256, NULL);
    g_assert_cmpstr (text_of (gw_field_get_child (bridge, "c"), "buses"), ==,
                     "primary 0 secondary 3 subordinate 0");
    g_assert_cmpstr (text_of (gw_field_get_child (bridge, "c"), "bar 1"), ==,
                     "memory 0xfe000000 32-bit prefetchable");
    config[14] = 2;
    g_autoptr (GwField) other = decode (fields, config, 256, NULL);
    g_assert_null (text_of (gw_field_get_child (other, "c"), "bar 1"));
    g_autoptr (GwField) odd = decode ("\"fields\":[{\"name\":\"c\",\"type\":\"pci config\",\"size\":9}]",
                                      config, 9, NULL);
    g_assert_null (gw_field_get_child (odd, "c")->children);
}

typedef struct {
    gboolean is_express, has_msix, has_rest;
    uint32_t ring, n_queues, config_length;
} Virtio;

static GByteArray *
virtio_body (const Virtio *v)
{
    GByteArray *out = g_byte_array_new ();
    uint8_t config[4096] = { 0 };
    static const uint8_t rings[16 * 1024] = { 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x30, 0 };
    fill_config (config, v->is_express);
    if (!v->has_msix)
        config[52] = v->is_express ? 0x70 : 0;
    if (!v->has_msix && v->is_express)
        config[0x71] = 0;
    put_number (out, 2, 4);
    put (out, config, v->is_express ? 4096 : 256);
    put_number (out, 0, 8);
    put_number (out, 0, 8);
    for (int i = 0; v->has_msix && i < 35; i++)
        put_number (out, 0, 1);
    put (out, "\x4f\1\0\3\0\0\0\5", 8);
    put_number (out, v->config_length, 4);
    put (out, "cfg!", 4);
    put_number (out, v->n_queues, 4);
    for (uint32_t i = 0; i < v->n_queues && i < 2; i++) {
        put_number (out, v->ring, 4);
        put_number (out, 0x1000, 8);
        put_number (out, 7, 2);
        if (v->has_msix)
            put_number (out, 1, 2);
    }
    if (!v->has_rest)
        return out;
    put (out, "device", 6);
    put_config_part (out, "virtio/64bit_features", "\0\0\0\1\0\0\0\0", 8);
    put_config_part (out, "virtio/virtqueues", rings, sizeof rings);
    put_config_part (out, "virtio/extra_state", "xyz", 3);
    put_config_part (out, "virtio/started", "\1", 1);
    return out;
}

static GwField *
decode_virtio (const GByteArray *body)
{
    g_autofree char *fields = g_strdup_printf ("\"fields\":[{\"name\":\"v\",\"type\":\"virtio\",\"size\":%u}]",
                                               body->len);
    return decode (fields, body->data, body->len, NULL);
}

static void
test_virtio (void)
{
    for (int i = 0; i < 4; i++) {
        const Virtio v = { (i & 1) != 0, (i & 2) != 0, TRUE, 256, 2, 4 };
        g_autoptr (GByteArray) body = virtio_body (&v);
        g_autoptr (GwField) root = decode_virtio (body);
        const GwField *field = gw_field_get_child (root, "v");
        g_assert_cmpstr (gw_field_get_child (field, "status")->text, ==,
                         "acknowledge driver driver-ok features-ok needs-reset");
        g_assert_cmpuint (gw_field_get_child (field, "guest_features_lo")->value, ==, 5);
        const GwField *queues = gw_field_get_child (field, "queues");
        g_assert_cmpuint (queues->children->len, ==, 2);
        const GwField *queue = g_ptr_array_index (queues->children, 0);
        g_assert_cmpuint (gw_field_get_child (queue, "desc")->value, ==, 0x1000);
        g_assert_cmpstr (text_of (queue, "avail"), ==, "0x2000");
        g_assert_cmpstr (text_of (queue, "used"), ==, "0x3000");
        g_assert_cmpint (gw_field_get_child (queue, "vector") != NULL, ==, v.has_msix);
        g_assert_cmpuint (gw_field_get_child (field, "device")->size, ==, 6);
        const GwField *features = gw_field_get_child (field, "virtio/64bit_features");
        g_assert_cmpuint (gw_field_get_child (features, "value")->value, ==, 1ull << 32);
        const GwField *extra = gw_field_get_child (field, "virtio/extra_state");
        g_assert_cmpuint (gw_field_get_child (extra, "data")->size, ==, 3);
        g_assert_nonnull (gw_field_get_child (field, "virtio/started"));
    }
}

/* What makes no sense stays a buffer, cut anywhere. */
static void
test_virtio_nonsense (void)
{
    const Virtio bad[] = {
        { FALSE, TRUE, TRUE, 0, 1, 4 },      { FALSE, TRUE, TRUE, 32769, 1, 4 },
        { FALSE, TRUE, TRUE, 256, 1025, 4 }, { FALSE, TRUE, FALSE, 256, 3, 4 },
        { FALSE, TRUE, TRUE, 256, 1, 65537 }, { FALSE, TRUE, FALSE, 256, 1, 60000 },
    };
    for (gsize i = 0; i < G_N_ELEMENTS (bad); i++) {
        g_autoptr (GByteArray) body = virtio_body (&bad[i]);
        g_autoptr (GwField) root = decode_virtio (body);
        g_assert_null (gw_field_get_child (root, "v")->children);
    }
    const Virtio good = { TRUE, TRUE, TRUE, 256, 2, 4 };
    g_autoptr (GByteArray) whole = virtio_body (&good);
    for (guint len = 1; len < whole->len; len += len < 4200 || len + 300 > whole->len ? 1 : 997) {
        g_autoptr (GByteArray) cut = g_byte_array_new ();
        put (cut, whole->data, len);
        g_autoptr (GwField) root = decode_virtio (cut);
        g_assert_nonnull (root);
    }
}

/* --- compat ------------------------------------------------------------------------------------------ */

#define DUMP(devices) "{\"vmschkmachine\":{\"Name\":\"pc-7.2\"}," devices "}"
#define DEVICE(name, version, least, fields)                                                       \
    "\"" name "\":{\"Name\":\"" name "\",\"version_id\":" #version ",\"minimum_version_id\":" #least \
    ",\"Description\":{\"name\":\"" name "\",\"version_id\":" #version                             \
    ",\"minimum_version_id\":" #least ",\"Fields\":[" fields "]}}"
#define FIELD(name, size)                                                                          \
    "{\"field\":\"" name "\",\"version_id\":0,\"field_exists\":false,\"size\":" #size "}"
#define OPTIONAL(name, size)                                                                       \
    "{\"field\":\"" name "\",\"version_id\":0,\"field_exists\":true,\"size\":" #size "}"
#define SINCE(name, version)                                                                       \
    "{\"field\":\"" name "\",\"version_id\":" #version ",\"field_exists\":false,\"size\":4}"
#define STRUCT(name, fields)                                                                       \
    "{\"field\":\"" name "\",\"version_id\":0,\"field_exists\":false,\"size\":99,\"Description\":"  \
    "{\"name\":\"s\",\"version_id\":1,\"minimum_version_id\":1,\"Fields\":[" fields "]}}"
#define WITH_SUB(name, sub)                                                                        \
    "\"" name "\":{\"Name\":\"" name "\",\"version_id\":1,\"Description\":{\"name\":\"" name         \
    "\",\"version_id\":1,\"Fields\":[],\"Subsections\":[" sub "]}}"
#define SUB(name, version, fields)                                                                 \
    "{\"name\":\"" name "\",\"version_id\":" #version ",\"Fields\":[" fields "]}"

static const struct {
    const char *source, *destination;
    const char *expected; /* codes, blank after each */
} dumps[] = {
    { DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4))), DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4))), "" },
    { DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4))), DUMP (DEVICE ("b", 1, 1, "")), "device-missing " },
    { DUMP (DEVICE ("a", 2, 1, "")), DUMP (DEVICE ("a", 1, 1, "")), "version-newer " },
    { DUMP (DEVICE ("a", 1, 1, "")), DUMP (DEVICE ("a", 3, 2, "")), "version-older " },
    { DUMP ("\"a\":{\"Name\":\"a\",\"Description\":{\"name\":\"n\"}}"),
      DUMP ("\"a\":{\"Name\":\"a\",\"Description\":{\"name\":\"m\"}}"), "name-differs " },
    { DUMP ("\"a\":{\"Name\":\"a\",\"Description\":{\"name\":\"n\"}}"), DUMP ("\"a\":{\"Name\":\"a\"}"),
      "name-differs " },
    { DUMP ("\"a\":{\"Name\":\"a\"},\"c\":1"), DUMP ("\"a\":{\"Name\":\"a\"}"), "" },
    { DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4) "," FIELD ("y", 4))),
      DUMP (DEVICE ("a", 1, 1, FIELD ("y", 4))), "field-missing " },
    { DUMP (DEVICE ("a", 1, 1, FIELD ("y", 4))),
      DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4) "," FIELD ("y", 4))), "field-added " },
    { DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4) "," OPTIONAL ("y", 4))),
      DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4))), "field-optional " },
    { DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4))), DUMP (DEVICE ("a", 1, 1, FIELD ("x", 8))),
      "field-size " },
    { DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4))), DUMP (DEVICE ("a", 1, 1, FIELD ("z", 8))),
      "field-changed " },
    { DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4))), DUMP (DEVICE ("a", 1, 1, FIELD ("z", 4))),
      "field-renamed " },
    /* a field that moved into a structure */
    { DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4) "," FIELD ("y", 2))),
      DUMP (DEVICE ("a", 1, 1, STRUCT ("s", FIELD ("x", 4)) "," FIELD ("y", 2))), "" },
    /* a field that the destination expects only of newer versions */
    { DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4))),
      DUMP (DEVICE ("a", 2, 1, FIELD ("x", 4) "," SINCE ("new", 2))), "" },
    /* padding */
    { DUMP (DEVICE ("a", 1, 1, FIELD ("unused", 8) "," FIELD ("z", 1))),
      DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4) "," FIELD ("y", 4) "," FIELD ("z", 1))), "" },
    { DUMP (DEVICE ("a", 1, 1, FIELD ("x", 4) "," FIELD ("y", 4))),
      DUMP (DEVICE ("a", 1, 1, FIELD ("unused", 8))), "" },
    { DUMP (DEVICE ("a", 1, 1, FIELD ("x", 3))), DUMP (DEVICE ("a", 1, 1, FIELD ("unused", 8))),
      "field-unused " },
    { DUMP (DEVICE ("a", 1, 1, FIELD ("x", 9))), DUMP (DEVICE ("a", 1, 1, FIELD ("unused", 8))),
      "field-unused " },
    /* subsections */
    { DUMP (WITH_SUB ("a", SUB ("a/s", 1, FIELD ("x", 1)))),
      DUMP (WITH_SUB ("a", SUB ("a/r", 1, "") "," SUB ("a/s", 1, FIELD ("x", 2)))), "field-size " },
    { DUMP (WITH_SUB ("a", SUB ("a/s", 2, ""))), DUMP (WITH_SUB ("a", SUB ("a/s", 1, ""))),
      "version-newer " },
    { DUMP (WITH_SUB ("a", SUB ("a/s", 1, "") ",{},1")), DUMP (WITH_SUB ("a", "")),
      "subsection-missing subsection-missing " },
    { DUMP (DEVICE ("a", 1, 1, "1,{}," FIELD ("x", 1))), DUMP (DEVICE ("a", 1, 1, FIELD ("x", 1))), "" },
    { "{\"vmschkmachine\":{\"Name\":\"pc-8.0\"}}", "{\"vmschkmachine\":{\"Name\":\"pc-7.2\"}}",
      "machine-differs " },
    { DUMP (DEVICE ("b", 1, 1, FIELD ("x", 4)) "," DEVICE ("a", 1, 1, FIELD ("x", 4)) ","
            DEVICE ("c", 1, 1, "")),
      DUMP (DEVICE ("b", 1, 1, FIELD ("z", 4)) "," DEVICE ("a", 1, 1, FIELD ("x", 8))),
      "field-size device-missing field-renamed " },
};

static char *
compare (const char *source, const char *destination, const char *const *devices)
{
    g_autoptr (GError) error = NULL;
    GString *codes = g_string_new (NULL);
    g_autoptr (GPtrArray) findings = gw_compat_compare (source, strlen (source), destination,
                                                        strlen (destination), devices, &error);
    g_assert_no_error (error);
    for (guint i = 0; i < findings->len; i++) {
        const GwCompatFinding *finding = g_ptr_array_index (findings, i);
        g_string_append_printf (codes, "%s ", gw_compat_get_info (finding->verdict)->code);
        g_assert_cmpstr (finding->detail, !=, "");
    }
    return g_string_free (codes, FALSE);
}

static void
test_compat (void)
{
    const char *const only[] = { "c", NULL };
    for (gsize i = 0; i < G_N_ELEMENTS (dumps); i++) {
        g_autofree char *codes = compare (dumps[i].source, dumps[i].destination, NULL);
        g_test_message ("row %zu", i);
        g_assert_cmpstr (codes, ==, dumps[i].expected);
    }
    const gsize last = G_N_ELEMENTS (dumps) - 1;
    g_autofree char *codes = compare (dumps[last].source, dumps[last].destination, only);
    g_assert_cmpstr (codes, ==, "device-missing ");
}

static void
test_compat_files (void)
{
    static const char *const bad[] = { "", "x", "[]", "{}", "{\"vmschkmachine\":1}" };
    const char *good = DUMP (DEVICE ("a", 1, 1, ""));
    for (gsize i = 0; i < G_N_ELEMENTS (bad); i++)
        for (int j = 0; j < 2; j++) {
            g_autoptr (GError) error = NULL;
            const char *a = j ? good : bad[i], *b = j ? bad[i] : good;
            g_assert_null (gw_compat_compare (a, strlen (a), b, strlen (b), NULL, &error));
            g_assert_error (error, GW_ERROR, GW_CAUSE_STREAM_DUMP);
            g_assert_true (g_str_has_prefix (error->message, j ? "destination: " : "source: "));
        }
    g_assert_true (gw_compat_is_dump ("\n {", 3));
    g_assert_false (gw_compat_is_dump ("QEVM", 4));
    g_assert_false (gw_compat_is_dump (" ", 1));
}

static void
test_compat_table (void)
{
    for (int i = 0; i < GW_N_COMPAT; i++) {
        const GwCompatInfo *info = gw_compat_get_info ((GwCompatVerdict) i);
        g_assert_true (info->code[0] != '\0' && info->title[0] != '\0');
        for (int j = 0; j < i; j++)
            g_assert_cmpstr (info->code, !=, gw_compat_get_info ((GwCompatVerdict) j)->code);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vmdesc/devices", test_vmdesc);
    g_test_add_func ("/vmdesc/faults", test_vmdesc_faults);
    g_test_add_func ("/vmdesc/too-many", test_too_many_devices);
    g_test_add_func ("/vmdesc/sizes", test_sizes_not_told);
    g_test_add_func ("/vmdesc/tail", test_find_in_the_tail);
    g_test_add_func ("/decode/tree", test_tree);
    g_test_add_func ("/decode/types", test_types);
    g_test_add_func ("/decode/faults", test_tree_faults);
    g_test_add_func ("/decode/without", test_without_description);
    g_test_add_func ("/decode/pci", test_pci_config);
    g_test_add_func ("/decode/bridge", test_pci_bridge_and_others);
    g_test_add_func ("/decode/virtio", test_virtio);
    g_test_add_func ("/decode/virtio-nonsense", test_virtio_nonsense);
    g_test_add_func ("/compat/findings", test_compat);
    g_test_add_func ("/compat/files", test_compat_files);
    g_test_add_func ("/compat/table", test_compat_table);
    return g_test_run ();
}
