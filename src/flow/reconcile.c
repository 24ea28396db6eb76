/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking both hosts, doing what the table says, and telling it. */
#include "reconcile.h"

#include <string.h>

#define ROUNDS 3 /* a refusal may find that the VM was started; then nothing changes any more */

/* One look at everything, and what it leads to. */
typedef struct {
    const GwReconcile *spec;
    JsonObject *source, *destination; /* answers; NULL: none */
    char *source_why, *destination_why;
    GwDecision decision;
    GPtrArray *done; /* char *: what was done, for people */
    char *failure;   /* NULL, or what could not be done */
} Look;

/* --- evidence --------------------------------------------------------------------------------------------------- */

static GwQemuState
read_qemu (JsonObject *evidence)
{
    static const struct {
        const char *name;
        GwQemuState state;
    } names[] = { { "gone", GW_QEMU_GONE },       { "stands", GW_QEMU_STANDS }, { "runs", GW_QEMU_RUNS },
                  { "untouched", GW_QEMU_RUNS },  { "deaf", GW_QEMU_DEAF },     { "held", GW_QEMU_HELD },
                  { "fetches", GW_QEMU_FETCHES } };
    const char *name = evidence != NULL ? gw_json_peek_string (evidence, "qemu", "") : "";
    for (guint i = 0; i < G_N_ELEMENTS (names); i++)
        if (strcmp (names[i].name, name) == 0)
            return names[i].state;
    return GW_QEMU_UNKNOWN;
}

static GwSourceRecord
read_source (JsonObject *evidence)
{
    static const char *const results[] = { [GW_SOURCE_STAYED] = "stayed", [GW_SOURCE_MOVED] = "moved",
                                           [GW_SOURCE_LOST] = "lost" };
    if (evidence == NULL || !gw_json_peek_bool (evidence, "known", FALSE))
        return GW_SOURCE_UNKNOWN;
    const char *result = gw_json_peek_string (evidence, "result", "");
    for (guint i = 0; i < G_N_ELEMENTS (results); i++)
        if (results[i] != NULL && strcmp (results[i], result) == 0)
            return (GwSourceRecord) i;
    return strcmp (gw_json_peek_string (evidence, "record", ""), "none") == 0 ? GW_SOURCE_NONE : GW_SOURCE_RELEASED;
}

/* A job that came as far as RELEASED has left a trace at its destination: a host that knows nothing of it is another one,
 * or has lost its journal. */
static GwDestinationRecord
read_destination (JsonObject *evidence)
{
    const char *record = evidence != NULL ? gw_json_peek_string (evidence, "record", "") : "";
    gboolean is_known = evidence != NULL && gw_json_peek_bool (evidence, "known", FALSE);
    if (strcmp (record, "started") == 0)
        return strcmp (gw_json_peek_string (evidence, "result", ""), "") == 0 ? GW_DESTINATION_STARTED
                                                                             : GW_DESTINATION_ARRIVED;
    if (strcmp (record, "refused") == 0)
        return GW_DESTINATION_REFUSED;
    return strcmp (record, "none") == 0 && is_known ? GW_DESTINATION_NONE : GW_DESTINATION_UNKNOWN;
}

static JsonObject *
ask (const GwReconcile *spec, GwSide side, char **why)
{
    g_autoptr (GError) error = NULL;
    gboolean is_source = side == GW_SIDE_SOURCE;
    GwHost *host = is_source ? spec->source : spec->destination;
    const char *silence = is_source ? spec->source_why : spec->destination_why;
    JsonObject *answer = host != NULL ? gw_host_get_evidence (host, spec->job, side, spec->cancellable, &error) : NULL;
    g_free (*why);
    *why = answer != NULL ? NULL : g_strdup (error != NULL ? error->message : silence);
    return answer;
}

static void
look (Look *look)
{
    const GwReconcile *spec = look->spec;
    g_clear_pointer (&look->source, json_object_unref);
    g_clear_pointer (&look->destination, json_object_unref);
    look->source = ask (spec, GW_SIDE_SOURCE, &look->source_why);
    look->destination = ask (spec, GW_SIDE_DESTINATION, &look->destination_why);
    const GwEvidence evidence = {
        .source = read_source (look->source),
        .destination = read_destination (look->destination),
        .source_qemu = read_qemu (look->source),
        .destination_qemu = read_qemu (look->destination),
        .statements = spec->statements,
        .is_worked_on = look->source != NULL && gw_json_peek_bool (look->source, "worked_on", FALSE),
    };
    look->decision = gw_reconcile_decide (&evidence);
}

/* --- acts --------------------------------------------------------------------------------------------------------- */

/* What allows the act, for the host that checks it again. */
static const char *
find_proof (const Look *look, GwSide side)
{
    const char *record = look->destination != NULL ? gw_json_peek_string (look->destination, "record", "") : "";
    if (look->decision.outcome == GW_OUTCOME_MOVED)
        return "started";
    if (side == GW_SIDE_DESTINATION)
        return "stayed";
    if (look->decision.destination == GW_ACT_REFUSE || strcmp (record, "refused") == 0)
        return "refused";
    return look->spec->statements & GW_DESTINATION_IS_DEAD ? "destination-is-dead" : "";
}

/* For people; NULL: nothing worth telling. */
static const char *
describe (GwSide side, const char *result)
{
    static const struct {
        GwSide side;
        const char *result, *words;
    } rows[] = {
        { GW_SIDE_SOURCE, "stayed", "the source's migration was undone, and its guest is as it was" },
        { GW_SIDE_SOURCE, "moved", "the source's copy was ended" },
        { GW_SIDE_SOURCE, "lost", "the source's job was closed" },
        { GW_SIDE_DESTINATION, "refused", "the destination refuses the VM, and nothing of it is left there" },
        { GW_SIDE_DESTINATION, "ended", "the destination's copy was ended; images that had arrived stay there" },
        { GW_SIDE_DESTINATION, "arrived", "the destination's guest goes on" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
        if (rows[i].side == side && strcmp (rows[i].result, result) == 0)
            return rows[i].words;
    return NULL;
}

/* FALSE: what follows must not be done; `look->failure` says why, unless the VM was found to be started. */
static gboolean
act (Look *look, GwSide side)
{
    static const char *const names[] = { [GW_ACT_REFUSE] = "refuse", [GW_ACT_RUN] = "run", [GW_ACT_RESUME] = "resume",
                                         [GW_ACT_END] = "end" };
    gboolean is_source = side == GW_SIDE_SOURCE;
    GwAct act = is_source ? look->decision.source : look->decision.destination;
    GwHost *host = is_source ? look->spec->source : look->spec->destination;
    g_autoptr (GError) error = NULL;
    if (act == GW_ACT_NONE)
        return TRUE;
    g_autofree char *result =
        gw_host_reconcile (host, look->spec->job, side, names[act], find_proof (look, side), look->spec->cancellable,
                           &error);
    if (result == NULL) {
        look->failure = g_strdup_printf ("%s: %s", gw_side_name (side), error->message);
        return FALSE;
    }
    if (describe (side, result) != NULL)
        g_ptr_array_add (look->done, g_strdup (describe (side, result)));
    /* somebody was faster, perhaps to another end, or QEMU ended meanwhile; a guest that has arrived goes on anyway */
    return !(act != GW_ACT_RUN && strcmp (result, "settled") == 0) &&
           !(act == GW_ACT_REFUSE && strcmp (result, "started") == 0) &&
           !(act == GW_ACT_RESUME && strcmp (result, "lost") == 0);
}

/* TRUE: another look is needed. */
static gboolean
carry_out (Look *look)
{
    GwSide first = gw_reconcile_first (&look->decision);
    GwSide second = first == GW_SIDE_SOURCE ? GW_SIDE_DESTINATION : GW_SIDE_SOURCE;
    return !(act (look, first) && act (look, second)) && look->failure == NULL;
}

/* --- telling ------------------------------------------------------------------------------------------------------- */

static JsonObject *
describe_side (JsonObject *evidence, const char *name, const char *why)
{
    JsonObject *told = gw_json_new ("host:s", name, "answers:b", evidence != NULL, "why:s", why, NULL);
    static const char *const texts[] = { "record", "result", "qemu", "run_state", "migration", "why" };
    for (guint i = 0; evidence != NULL && i < G_N_ELEMENTS (texts); i++) {
        const char *text = gw_json_peek_string (evidence, texts[i], NULL);
        if (text != NULL)
            json_object_set_string_member (told, texts[i], text);
    }
    if (evidence != NULL) {
        json_object_set_boolean_member (told, "known", gw_json_peek_bool (evidence, "known", FALSE));
        json_object_set_int_member (told, "epoch", gw_json_peek_int (evidence, "epoch", 0));
        json_object_set_int_member (told, "pid", gw_json_peek_int (evidence, "pid", 0));
    }
    return told;
}

static const char *
find_place (const Look *look)
{
    static const char *const places[] = { [GW_OUTCOME_MOVED] = "destination", [GW_OUTCOME_STAYED] = "source",
                                          [GW_OUTCOME_LOST] = "nowhere", [GW_OUTCOME_UNDECIDED] = "unknown" };
    gboolean has_ended = read_qemu (look->destination) == GW_QEMU_GONE;
    return look->decision.outcome == GW_OUTCOME_MOVED && has_ended ? "nowhere" : places[look->decision.outcome];
}

static void
add_needs (JsonObject *report, guint needs)
{
    JsonArray *list = json_array_new ();
    if (needs & GW_SOURCE_IS_DEAD)
        json_array_add_string_element (list, "--source-is-dead");
    if (needs & GW_DESTINATION_IS_DEAD)
        json_array_add_string_element (list, "--destination-is-dead");
    json_object_set_array_member (report, "needs", list);
}

static JsonObject *
tell (const Look *look, JsonObject *source, JsonObject *destination)
{
    gboolean is_settled = look->decision.outcome != GW_OUTCOME_UNDECIDED && look->failure == NULL;
    GwCause cause = GW_CAUSE_UNDECIDED;
    JsonObject *known = look->source != NULL && gw_json_peek_bool (look->source, "known", FALSE) ? look->source
                                                                                                : look->destination;
    JsonObject *report = gw_json_new (
        "job:s", look->spec->job, "vm:s", known != NULL ? gw_json_peek_string (known, "vm", "") : "", "result:s",
        is_settled ? gw_outcome_name (look->decision.outcome) : "undecided", "runs_on:s",
        is_settled ? find_place (look) : "unknown", "exit:i",
        is_settled ? (gint64) 0 : (gint64) gw_cause_get_info (cause)->exit_status, "why:s", look->decision.why,
        "failure:s", look->failure, "source:o", source, "destination:o", destination, NULL);
    g_auto (GStrv) done = g_new0 (char *, look->done->len + 1);
    for (guint i = 0; i < look->done->len; i++)
        done[i] = g_strdup (look->done->pdata[i]);
    gw_json_set_strv (report, "done", (const char *const *) done);
    add_needs (report, look->decision.needs);
    return report;
}

JsonObject *
gw_reconcile_job (const GwReconcile *reconcile)
{
    Look all = { .spec = reconcile, .done = g_ptr_array_new_with_free_func (g_free) };
    JsonObject *source = NULL, *destination = NULL;
    gboolean is_over = FALSE;
    for (guint round = 0; round < ROUNDS && !is_over; round++) {
        look (&all);
        g_clear_pointer (&source, json_object_unref);
        g_clear_pointer (&destination, json_object_unref);
        source = describe_side (all.source, reconcile->source_name, all.source_why);
        destination = describe_side (all.destination, reconcile->destination_name, all.destination_why);
        is_over = !carry_out (&all);
    }
    if (!is_over)
        all.failure = g_strdup ("others settle the job at the same time; run this again");
    JsonObject *report = tell (&all, source, destination);
    g_clear_pointer (&all.source, json_object_unref);
    g_clear_pointer (&all.destination, json_object_unref);
    g_ptr_array_unref (all.done);
    g_free (all.source_why);
    g_free (all.destination_why);
    g_free (all.failure);
    return report;
}
