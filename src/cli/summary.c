/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli.h"

#include <string.h>

/* as wide as the columns before the detail */
#define STORY_INDENT "                                     "

static char *
seconds (gint64 ms)
{
    return g_strdup_printf ("%" G_GINT64_FORMAT ".%" G_GINT64_FORMAT " s", ms / 1000, ms % 1000 / 100);
}

static void
append_figures (GString *out, JsonObject *report)
{
    g_autofree char *total = seconds (gw_json_peek_int (report, "total_ms", 0));
    g_autofree char *wire = gw_text_bytes ((guint64) gw_json_peek_int (report, "wire_bytes", 0));
    g_string_append_printf (out,
                            "  total %s, downtime %" G_GINT64_FORMAT " ms, %" G_GINT64_FORMAT
                            " rounds, %s over the link\n",
                            total, gw_json_peek_int (report, "downtime_ms", 0),
                            gw_json_peek_int (report, "rounds", 0), wire);
}

static void
append_clock (GString *out, JsonObject *report)
{
    JsonObject *clock = gw_json_peek_object (report, "guest_clock");
    if (clock == NULL || !json_object_has_member (clock, "behind_ms"))
        return;
    g_string_append_printf (out, "  the guest's clock was %" G_GINT64_FORMAT " ms behind, %s\n",
                            gw_json_peek_int (clock, "behind_ms", 0),
                            gw_json_peek_bool (clock, "corrected", FALSE)
                                ? "and was set"
                                : gw_json_peek_string (clock, "why", "and was left so"));
}

static void
append_list (GString *out, JsonObject *object, const char *member, const char *prefix)
{
    g_auto (GStrv) list = gw_json_peek_strv (object, member);
    for (gsize i = 0; list[i] != NULL; i++)
        g_string_append_printf (out, "%s%s\n", prefix, list[i]);
}

static void
append_cause (GString *out, JsonObject *cause)
{
    g_auto (GStrv) evidence = gw_json_peek_strv (cause, "evidence");
    const char *side = gw_json_peek_string (cause, "side", "none");
    gboolean has_side = strcmp (side, "none") != 0;
    g_string_append_printf (out, "  why: %s (%s%s%s)\n", gw_json_peek_string (cause, "title", ""),
                            gw_json_peek_string (cause, "code", ""), has_side ? ", " : "",
                            has_side ? side : "");
    for (gsize i = 0; evidence[i] != NULL; i++)
        g_string_append_printf (out, "       %s\n", evidence[i]);
    g_string_append_printf (out, "  what to do: %s\n", gw_json_peek_string (cause, "remedy", ""));
}

static void
append_place (GString *out, JsonObject *report)
{
    const char *vm = gw_json_peek_string (report, "vm", "the VM");
    const char *result = gw_json_peek_string (report, "result", "");
    const char *runs_on = gw_json_peek_string (report, "runs_on", "");
    if (strcmp (result, "moved") == 0 && strcmp (runs_on, "nowhere") == 0)
        g_string_append_printf (out, "%s has moved to %s, and does not run any more\n", vm,
                                gw_json_peek_string (report, "destination", "the destination"));
    else if (strcmp (result, "moved") == 0)
        g_string_append_printf (out, "%s has moved: it is '%s' on %s\n", vm,
                                gw_json_peek_string (report, "state", "unknown"),
                                gw_json_peek_string (report, "destination", "the destination"));
    else if (strcmp (result, "undecided") == 0)
        g_string_append_printf (out,
                                "%s is stopped on the source; it is not known whether the destination "
                                "started it\n",
                                vm);
    else if (strcmp (result, "lost") == 0)
        g_string_append_printf (out, "%s is lost: it does not run anywhere any more\n", vm);
    else if (strcmp (runs_on, "nowhere") == 0)
        g_string_append_printf (out, "%s did not move, and does not run any more\n", vm);
    else if (gw_json_peek_string (report, "uuid", NULL) == NULL) /* not even looked at */
        g_string_append_printf (out, "%s did not move: nothing was done to it\n", vm);
    else
        g_string_append_printf (out, "%s did not move: it is on the source, as before\n", vm);
}

/* What the checks warned of; they are no warnings of the move itself (exit status 4). */
static void
append_notes (GString *out, JsonObject *report)
{
    JsonArray *checks = gw_json_peek_array (report, "checks");
    for (guint i = 0; checks != NULL && i < json_array_get_length (checks); i++) {
        JsonObject *check = json_array_get_object_element (checks, i);
        if (strcmp (gw_json_peek_string (check, "verdict", ""), "warning") == 0)
            g_string_append_printf (out, "  note: %s\n", gw_json_peek_string (check, "text", ""));
    }
}

char *
gw_summary_of_report (JsonObject *report)
{
    GString *out = g_string_new (NULL);
    JsonObject *cause = gw_json_peek_object (report, "cause");
    append_place (out, report);
    if (strcmp (gw_json_peek_string (report, "result", ""), "moved") == 0) {
        append_figures (out, report);
        append_clock (out, report);
    }
    if (cause != NULL)
        append_cause (out, cause);
    append_list (out, report, "warnings", "  warning: ");
    append_notes (out, report);
    g_string_append_printf (out, "  job %s\n", gw_json_peek_string (report, "job", "?"));
    return g_string_free (out, FALSE);
}

char *
gw_summary_of_checks (JsonObject *report)
{
    GString *out = g_string_new (NULL);
    JsonArray *rewrites = gw_json_peek_array (report, "rewrites");
    JsonArray *checks = gw_json_peek_array (report, "checks");
    JsonObject *cause = gw_json_peek_object (report, "cause");
    for (guint i = 0; rewrites != NULL && i < json_array_get_length (rewrites); i++) {
        JsonObject *r = json_array_get_object_element (rewrites, i);
        const char *to = gw_json_peek_string (r, "to", "");
        g_string_append_printf (out, "plan     %-9s %s -> %s (%s)\n",
                                gw_json_peek_string (r, "option", ""),
                                gw_json_peek_string (r, "from", ""), *to != '\0' ? to : "left out",
                                gw_json_peek_string (r, "why", ""));
    }
    for (guint i = 0; checks != NULL && i < json_array_get_length (checks); i++) {
        JsonObject *check = json_array_get_object_element (checks, i);
        g_string_append_printf (out, "%-8s %-18s %s\n", gw_json_peek_string (check, "verdict", ""),
                                gw_json_peek_string (check, "check", ""),
                                gw_json_peek_string (check, "text", ""));
    }
    if (cause != NULL) {
        g_string_append_printf (out, "%s cannot move; nothing was touched\n",
                                gw_json_peek_string (report, "vm", "the VM"));
        append_cause (out, cause);
    } else {
        g_string_append_printf (out, "%s can move; nothing was touched\n",
                                gw_json_peek_string (report, "vm", "the VM"));
    }
    return g_string_free (out, FALSE);
}

/* Shorter ones, such as the number of a pass, stand in many a message. */
#define DETAIL_MIN 8

/* Whether the cause was told by this event; what a job notes of itself comes later. */
static gboolean
is_first_fault (JsonObject *event, JsonObject *cause)
{
    static const char *const own[] = { "step", "undo", "failed", "warning", NULL };
    const char *detail = gw_json_peek_string (event, "detail", "");
    const char *message = cause != NULL ? gw_json_peek_string (cause, "message", "") : "";
    return strlen (detail) >= DETAIL_MIN && *message != '\0' &&
           !g_strv_contains (own, gw_json_peek_string (event, "event", "")) &&
           (strstr (message, detail) != NULL || strstr (detail, message) != NULL);
}

/* A detail of several lines stays in its column. */
static void
append_event (GString *out, JsonObject *event, gboolean is_marked)
{
    g_auto (GStrv) lines = g_strsplit (gw_json_peek_string (event, "detail", ""), "\n", -1);
    g_autofree char *detail = g_strjoinv ("\n" STORY_INDENT, lines);
    g_string_append_printf (out, "%c%7" G_GINT64_FORMAT "  %-11s %-14s %s\n",
                            is_marked ? '>' : ' ',
                            gw_json_peek_int (event, "at_ms", 0),
                            gw_json_peek_string (event, "side", ""),
                            gw_json_peek_string (event, "event", ""), detail);
}

char *
gw_summary_of_story (JsonObject *report)
{
    g_autofree char *head = gw_summary_of_report (report);
    GString *out = g_string_new (head);
    JsonArray *timeline = gw_json_peek_array (report, "timeline");
    JsonObject *cause = gw_json_peek_object (report, "cause");
    g_string_append_printf (out, "What happened (ms since %s%s):\n",
                            gw_json_peek_string (report, "started", "the start"),
                            cause != NULL ? "; > is the first fault" : "");
    gboolean is_found = FALSE;
    for (guint i = 0; timeline != NULL && i < json_array_get_length (timeline); i++) {
        JsonObject *event = json_array_get_object_element (timeline, i);
        gboolean is_marked = !is_found && is_first_fault (event, cause);
        append_event (out, event, is_marked);
        is_found |= is_marked;
    }
    return g_string_free (out, FALSE);
}
