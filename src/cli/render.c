/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PLAIN_US G_USEC_PER_SEC /* one line a second */
#define WIDTH_DEFAULT 80
#define TEXT_MAX 200 /* bytes of a name */

struct _GwRender {
    GwProgressMode mode; /* AUTO: a live line on a terminal */
    gint64 last_us;
    char *last_phase;
    gboolean has_line; /* a live line stands on the terminal */
};

GwRender *
gw_render_new (GwProgressMode mode)
{
    GwRender *render = g_new0 (GwRender, 1);
    render->mode = mode == GW_PROGRESS_AUTO && !isatty (STDERR_FILENO) ? GW_PROGRESS_PLAIN : mode;
    return render;
}

/* --- the text ------------------------------------------------------------------------------------------- */

/* A text that leaves the terminal alone: the names in a progress may come from elsewhere. */
static char *
one_line (const char *text)
{
    char *clean = gw_text_clean (text != NULL ? text : "", -1, TEXT_MAX);
    return g_strdelimit (clean, "\n\t", ' ');
}

static void
append_memory (GString *line, const GwProgress *p)
{
    g_autofree char *left = g_format_size_full ((guint64) p->remaining_bytes, G_FORMAT_SIZE_IEC_UNITS);
    g_autofree char *rate = g_format_size_full ((guint64) p->rate_bps, G_FORMAT_SIZE_IEC_UNITS);
    g_autofree char *dirty = g_format_size_full ((guint64) p->dirty_bps, G_FORMAT_SIZE_IEC_UNITS);
    if (p->percent >= 0)
        g_string_append_printf (line, "  %3" G_GINT64_FORMAT "%%", p->percent);
    g_string_append_printf (line, "  %s left  %s/s", left, rate);
    if (p->rounds > 1)
        g_string_append_printf (line, "  dirty %s/s  round %" G_GINT64_FORMAT, dirty, p->rounds);
    if (p->eta_ms >= 0)
        g_string_append_printf (line, "  ETA %" G_GINT64_FORMAT " s", (p->eta_ms + 999) / 1000);
    if (p->downtime_ms >= 0 && p->rounds > 1)
        g_string_append_printf (line, "  downtime ~%" G_GINT64_FORMAT " ms", p->downtime_ms);
}

char *
gw_render_line (const GwProgress *p)
{
    GString *line = g_string_new (NULL);
    g_autofree char *vm = one_line (p->vm);
    g_autofree char *phase = one_line (p->phase);
    g_string_append_printf (line, "%s: %s", vm, phase);
    if (p->total_bytes > 0 && !p->is_done)
        append_memory (line, p);
    if (p->note != NULL) {
        g_autofree char *note = one_line (p->note);
        g_string_append_printf (line, "  (%s)", note);
    }
    return g_string_free (line, FALSE);
}

/* --- where it goes ------------------------------------------------------------------------------------------ */

static int
terminal_width (void)
{
    struct winsize size;
    return ioctl (STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 10 ? size.ws_col
                                                                              : WIDTH_DEFAULT;
}

static void
show_live (GwRender *render, const GwProgress *progress)
{
    g_autofree char *line = gw_render_line (progress);
    g_autofree char *cut = g_utf8_substring (
        line, 0, MIN (g_utf8_strlen (line, -1), (glong) terminal_width () - 1));
    fprintf (stderr, "\r\033[K%s", cut);
    fflush (stderr);
    render->has_line = TRUE;
}

static char *
time_stamp (gint64 at_us)
{
    g_autoptr (GDateTime) time = g_date_time_new_from_unix_utc (at_us / G_USEC_PER_SEC);
    return g_date_time_format (time, "%Y-%m-%dT%H:%M:%SZ");
}

static void
show_plain (const GwProgress *p)
{
    g_autofree char *stamp = time_stamp (p->at_us);
    g_autofree char *job = one_line (p->job);
    g_autofree char *vm = one_line (p->vm);
    g_autofree char *phase = one_line (p->phase);
    g_autofree char *note = one_line (p->note);
    fprintf (stderr,
             "%s job=%s vm=%s phase=\"%s\" percent=%" G_GINT64_FORMAT " left_bytes=%" G_GINT64_FORMAT
             " rate_bps=%" G_GINT64_FORMAT " dirty_bps=%" G_GINT64_FORMAT " round=%" G_GINT64_FORMAT
             " eta_ms=%" G_GINT64_FORMAT " downtime_ms=%" G_GINT64_FORMAT "%s%s%s\n",
             stamp, job, vm, phase, p->percent, p->remaining_bytes, p->rate_bps,
             p->dirty_bps, p->rounds, p->eta_ms, p->downtime_ms, *note != '\0' ? " note=\"" : "",
             note, *note != '\0' ? "\"" : "");
}

static void
show_json (const GwProgress *progress)
{
    g_autoptr (JsonObject) object = gw_struct_to_json (&gw_progress_type, progress);
    g_autofree char *text = gw_json_to_text (object, FALSE);
    fprintf (stderr, "%s\n", text);
}

void
gw_render_show (GwRender *render, const GwProgress *progress)
{
    gboolean is_new_phase = g_strcmp0 (render->last_phase, progress->phase) != 0;
    if (render->mode == GW_PROGRESS_NONE)
        return;
    if (render->mode == GW_PROGRESS_AUTO) {
        show_live (render, progress);
        return;
    }
    if (!is_new_phase && progress->at_us - render->last_us < PLAIN_US)
        return;
    render->last_us = progress->at_us;
    g_free (render->last_phase);
    render->last_phase = g_strdup (progress->phase);
    if (render->mode == GW_PROGRESS_PLAIN)
        show_plain (progress);
    else
        show_json (progress);
}

void
gw_render_say (GwRender *render, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autofree char *text = g_strdup_vprintf (format, args);
    va_end (args);
    fprintf (stderr, "%sgodwit: %s\n", render->has_line ? "\r\033[K" : "", text);
    render->has_line = FALSE;
}

void
gw_render_free (GwRender *render)
{
    if (render == NULL)
        return;
    if (render->has_line)
        fprintf (stderr, "\r\033[K");
    g_free (render->last_phase);
    g_free (render);
}
