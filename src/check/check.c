/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check-internal.h"

static const struct {
    const char *name;
    GwCause cause;
    void (*run) (const GwCheckInput *input, GwCheckSink *sink);
} rows[] = {
#define X(id, name, cause, about) { name, GW_CAUSE_##cause, gw_check_##id },
#include "checks.def"
#undef X
};

static void
result_free (gpointer data)
{
    GwCheckResult *result = data;
    g_free (result->text);
    g_free (result);
}

static void
add (GwCheckSink *sink, GwVerdict verdict, GwCause cause, const char *format, va_list args)
{
    GwCheckResult *result = g_new0 (GwCheckResult, 1);
    result->check = sink->check;
    result->verdict = verdict;
    result->cause = verdict == GW_VERDICT_REFUSED ? cause : GW_CAUSE_NONE;
    result->text = g_strdup_vprintf (format, args);
    g_ptr_array_add (sink->results, result);
}

void
gw_check_add (GwCheckSink *sink, GwVerdict verdict, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    add (sink, verdict, sink->cause, format, args);
    va_end (args);
}

void
gw_check_add_cause (GwCheckSink *sink, GwCause cause, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    add (sink, GW_VERDICT_REFUSED, cause, format, args);
    va_end (args);
}

void
gw_check_append (GPtrArray *results, const char *check, GwVerdict verdict, GwCause cause,
                 const char *text)
{
    GwCheckResult *result = g_new0 (GwCheckResult, 1);
    *result = (GwCheckResult) { check, verdict,
                                verdict == GW_VERDICT_REFUSED ? cause : GW_CAUSE_NONE,
                                g_strdup (text) };
    g_ptr_array_add (results, result);
}

GPtrArray *
gw_check_results_new (void)
{
    return g_ptr_array_new_with_free_func (result_free);
}

GPtrArray *
gw_check_run (const GwCheckInput *input)
{
    GPtrArray *results = gw_check_results_new ();
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        GwCheckSink sink = { rows[i].name, rows[i].cause, results };
        guint before = results->len;
        rows[i].run (input, &sink);
        g_assert (results->len > before); /* a check always says something */
    }
    return results;
}

const GwCheckResult *
gw_check_find_refusal (const GPtrArray *results)
{
    for (guint i = 0; i < results->len; i++) {
        const GwCheckResult *result = results->pdata[i];
        if (result->verdict == GW_VERDICT_REFUSED)
            return result;
    }
    return NULL;
}

const char *
gw_verdict_name (GwVerdict verdict)
{
    static const char *const names[] = { "ok", "warning", "refused" };
    return names[verdict];
}

JsonArray *
gw_check_to_json (const GPtrArray *results)
{
    JsonArray *list = json_array_new ();
    for (guint i = 0; results != NULL && i < results->len; i++) {
        const GwCheckResult *result = results->pdata[i];
        json_array_add_object_element (
            list, gw_json_new ("check:s", result->check, "verdict:s",
                               gw_verdict_name (result->verdict), "cause:s",
                               result->cause != GW_CAUSE_NONE
                                   ? gw_cause_get_info (result->cause)->code
                                   : NULL,
                               "text:s", result->text, NULL));
    }
    return list;
}
