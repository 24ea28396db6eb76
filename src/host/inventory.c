/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "inventory.h"

#include <string.h>

/* NULL where QEMU refused. */
typedef struct {
    JsonNode *qtree, *network, *ramblock, *cpus, *cpu_type, *words, *withheld;
} Answers;

static void
answers_clear (Answers *a)
{
    JsonNode **all = (JsonNode **) a;
    for (gsize i = 0; i < sizeof *a / sizeof *all; i++)
        g_clear_pointer (&all[i], json_node_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Answers, answers_clear)

static void
ask_human (GwQmpSet *set, const char *command, JsonNode **slot)
{
    gw_qmp_set_ask (set, GW_QMP_HUMAN_MONITOR_COMMAND, gw_json_new ("command-line:s", command, NULL),
                    gw_qmp_keep_answer, slot);
}

static void
ask_property (GwQmpSet *set, const char *path, const char *property, JsonNode **slot)
{
    gw_qmp_set_ask (set, GW_QMP_QOM_GET, gw_json_new ("path:s", path, "property:s", property, NULL),
                    gw_qmp_keep_answer, slot);
}

static gboolean
ask_all (GwQmp *qmp, GMainContext *context, Answers *a, GCancellable *cancellable, GError **error)
{
    GwQmpSet *set = gw_qmp_set_new (qmp);
    ask_human (set, "info qtree", &a->qtree);
    ask_human (set, "info network", &a->network);
    ask_human (set, "info ramblock", &a->ramblock);
    gw_qmp_set_ask (set, GW_QMP_QUERY_CPUS_FAST, NULL, gw_qmp_keep_answer, &a->cpus);
    if (!gw_qmp_set_finish (set, context, cancellable, error))
        return FALSE;
    JsonArray *cpus = gw_qmp_answer_array (a->cpus);
    if (cpus == NULL || json_array_get_length (cpus) == 0)
        return TRUE;
    const char *cpu =
        gw_json_peek_string (json_array_get_object_element (cpus, 0), "qom-path", "");
    set = gw_qmp_set_new (qmp);
    ask_property (set, cpu, "type", &a->cpu_type);
    ask_property (set, cpu, "feature-words", &a->words);
    ask_property (set, cpu, "filtered-features", &a->withheld);
    return gw_qmp_set_finish (set, context, cancellable, error);
}

static char *
name_word (JsonObject *word)
{
    return g_strdup_printf ("0x%" G_GINT64_MODIFIER "x/%" G_GINT64_FORMAT " %s",
                            (guint64) gw_json_peek_int (word, "cpuid-input-eax", 0),
                            gw_json_peek_int (word, "cpuid-input-ecx", 0),
                            gw_json_peek_string (word, "cpuid-register", "?"));
}

/* Both lists have the same words, those that this QEMU knows. */
static void
take_words (GwInventory *inventory, JsonArray *words, JsonArray *withheld)
{
    for (guint i = 0; words != NULL && i < json_array_get_length (words); i++) {
        JsonObject *word = json_array_get_object_element (words, i);
        JsonObject *lacking = withheld != NULL && i < json_array_get_length (withheld)
                                  ? json_array_get_object_element (withheld, i)
                                  : NULL;
        GwCpuWord *fact = g_new0 (GwCpuWord, 1);
        fact->word = name_word (word);
        fact->bits = MAX (gw_json_peek_int (word, "features", 0), 0);
        fact->withheld = lacking != NULL ? MAX (gw_json_peek_int (lacking, "features", 0), 0) : 0;
        g_ptr_array_add (inventory->cpu_words, fact);
    }
}

GwInventory *
gw_read_inventory (GwQmp *qmp, GMainContext *context, GCancellable *cancellable, GError **error)
{
    g_auto (Answers) a = { .qtree = NULL };
    if (!ask_all (qmp, context, &a, cancellable, error))
        return NULL;
    GwInventory *inventory = gw_struct_new (&gw_inventory_type);
    g_autoptr (GPtrArray) netdevs = gw_parse_qtree (gw_qmp_answer_text (a.qtree), inventory->parts);
    gw_count_netdev_queues (gw_qmp_answer_text (a.network), netdevs);
    g_ptr_array_unref (inventory->ram_blocks);
    inventory->ram_blocks = gw_adopt_parse_ramblocks (gw_qmp_answer_text (a.ramblock));
    inventory->cpu_type = g_strdup (gw_qmp_answer_text (a.cpu_type));
    take_words (inventory, gw_qmp_answer_array (a.words), gw_qmp_answer_array (a.withheld));
    return inventory;
}

JsonObject *
gw_local_take_inventory (LocalHost *local, JsonObject *params, GCancellable *cancellable,
                         GError **error)
{
    if (local->qmp == NULL) {
        gw_fail (error, GW_CAUSE_QMP_GONE, "there is no QEMU to ask");
        return NULL;
    }
    g_autoptr (GwInventory) inventory =
        gw_read_inventory (local->qmp, local->context, cancellable, error);
    return inventory != NULL ? gw_struct_to_json (&gw_inventory_type, inventory) : NULL;
}
