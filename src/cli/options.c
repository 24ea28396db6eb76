/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options of migrate and check: from words to a plan. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

#define NOT_GIVEN G_MININT64

/* What the option parser fills in before it is checked. */
typedef struct {
    gint64 max_downtime, timeout, paths, link_deadline, rehearse_budget, settle;
    char *on_timeout, *postcopy, *max_bandwidth, *throttle_disks, *data_address, *disks, *verify, *codec;
    char *guest_clock, *progress, *agent;
    char **maps, **risks;
    gboolean no_rehearse, keep_source, overwrite, resume, json, detach;
} Raw;

static void
raw_clear (Raw *raw)
{
    g_free (raw->on_timeout);
    g_free (raw->postcopy);
    g_free (raw->max_bandwidth);
    g_free (raw->throttle_disks);
    g_free (raw->data_address);
    g_free (raw->disks);
    g_free (raw->verify);
    g_free (raw->codec);
    g_free (raw->guest_clock);
    g_free (raw->progress);
    g_free (raw->agent);
    g_strfreev (raw->maps);
    g_strfreev (raw->risks);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Raw, raw_clear)

static gboolean
bad_value (GError **error, const char *option, const char *value, const char *expected)
{
    return gw_fail (error, GW_CAUSE_USAGE, "%s '%s' is not %s", option, value, expected);
}

/* Takes `value` over the default in `*field` when it is one of `words` ("auto|copy|shared"). */
static gboolean
take_word (char **field, char **value, const char *option, const char *words, GError **error)
{
    if (*value == NULL)
        return TRUE;
    g_auto (GStrv) list = g_strsplit (words, "|", -1);
    if (!g_strv_contains ((const char *const *) list, *value))
        return bad_value (error, option, *value, words);
    g_free (*field);
    *field = g_steal_pointer (value);
    return TRUE;
}

/* "100M", "1G", "12500000", with an optional "/s": bytes a second; K, M and G are powers of 1024. */
static gboolean
parse_bandwidth (const char *option, const char *text, gint64 *ret_bps, GError **error)
{
    static const char units[] = "KMGT";
    char *end;
    double value = g_ascii_strtod (text, &end);
    gboolean is_number = end != text && value >= 0; /* "nan" is not */
    const char *unit = *end != '\0' ? strchr (units, g_ascii_toupper (*end)) : NULL;
    gint64 factor = 1;
    if (unit != NULL) {
        factor = (gint64) 1 << (10 * (unit - units + 1));
        end++;
    }
    if (!is_number || value * (double) factor > 1e18 ||
        (*end != '\0' && strcmp (end, "/s") != 0))
        return bad_value (error, option, text, "a number of bytes a second, such as 100M");
    *ret_bps = (gint64) (value * (double) factor);
    return TRUE;
}

static gboolean
take_number (gint64 *field, gint64 value, gint64 min, gint64 max, const char *option, GError **error)
{
    if (value == NOT_GIVEN)
        return TRUE;
    if (value < min || value > max)
        return gw_fail (error, GW_CAUSE_USAGE,
                        "%s %" G_GINT64_FORMAT " is not from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT,
                        option, value, min, max);
    *field = value;
    return TRUE;
}

static gboolean
take_progress (GwRunOptions *options, const char *text, GError **error)
{
    static const char *const words[] = { "auto", "plain", "json", "none" };
    for (guint i = 0; i < G_N_ELEMENTS (words); i++) {
        if (text == NULL || strcmp (words[i], text) == 0) {
            options->progress = (GwProgressMode) i;
            return TRUE;
        }
    }
    return bad_value (error, "--progress", text, "auto|plain|json|none");
}

static gboolean
take_values (GwRunOptions *options, Raw *raw, GError **error)
{
    GwPlan *plan = options->plan;
    return take_number (&plan->max_downtime_ms, raw->max_downtime, 1, 2000000, "--max-downtime",
                        error) &&
           take_number (&plan->timeout_s, raw->timeout, 0, 31536000, "--timeout", error) &&
           take_number (&plan->n_paths, raw->paths, 1, 8, "--paths", error) &&
           take_number (&plan->link_deadline_s, raw->link_deadline, 1, 31536000, "--link-deadline",
                        error) &&
           take_number (&plan->rehearse_budget_ms, raw->rehearse_budget, 1, 60000,
                        "--rehearse-budget", error) &&
           take_number (&plan->settle_s, raw->settle, 0, 10, "--settle", error) &&
           take_word (&plan->on_timeout, &raw->on_timeout, "--on-timeout",
                      "postcopy|throttle|stop|abort", error) &&
           take_word (&plan->postcopy, &raw->postcopy, "--postcopy", "auto|never|now", error) &&
           take_word (&plan->disks, &raw->disks, "--disks", "auto|copy|shared", error) &&
           take_word (&plan->verify, &raw->verify, "--verify", "auto|full|none|ram|all", error) &&
           take_word (&plan->codec, &raw->codec, "--codec", "auto|off", error) &&
           take_word (&plan->guest_clock, &raw->guest_clock, "--guest-clock", "auto|off", error) &&
           (raw->max_bandwidth == NULL ||
            parse_bandwidth ("--max-bandwidth", raw->max_bandwidth, &plan->max_bandwidth_bps, error)) &&
           (raw->throttle_disks == NULL ||
            parse_bandwidth ("--throttle-disks", raw->throttle_disks, &plan->throttle_disks_bps, error)) &&
           take_progress (options, raw->progress, error);
}

static gboolean
take_maps (GwPlan *plan, Raw *raw, GError **error)
{
    for (gsize i = 0; raw->maps != NULL && raw->maps[i] != NULL; i++) {
        const char *equals = strchr (raw->maps[i], '=');
        if (equals == NULL || equals == raw->maps[i] || equals[1] == '\0')
            return bad_value (error, "--map", raw->maps[i], "SOURCE=DESTINATION");
    }
    plan->maps = raw->maps != NULL ? g_steal_pointer (&raw->maps) : g_new0 (char *, 1);
    return TRUE;
}

static gboolean
take_names (GwPlan *plan, char **argv, GError **error)
{
    plan->vm = g_strdup (argv[0]);
    plan->destination = g_strdup (argv[1]);
    if (strcmp (argv[0], "qmp:") == 0 || *argv[0] == '\0')
        return bad_value (error, "VM", argv[0], "qmp:PATH or a name");
    if (g_str_has_prefix (argv[0], "qmp:")) { /* the job may run in another directory */
        g_free (plan->vm);
        g_autofree char *path = g_canonicalize_filename (argv[0] + strlen ("qmp:"), NULL);
        plan->vm = g_strconcat ("qmp:", path, NULL);
    }
    g_autoptr (GwRpcAddress) address = gw_rpc_address_parse (argv[1], error);
    if (address == NULL)
        return FALSE;
    if (address->kind == GW_DEST_UNIX) {
        g_free (plan->destination);
        g_autofree char *path = g_canonicalize_filename (address->path, NULL);
        plan->destination = g_strconcat ("unix:", path, NULL);
    }
    return TRUE;
}

static gboolean
finish (GwRunOptions *options, Raw *raw, char **argv, GError **error)
{
    GwPlan *plan = options->plan;
    if (!take_values (options, raw, error) || !take_maps (plan, raw, error) ||
        !take_names (plan, argv, error))
        return FALSE;
    plan->data_addresses = raw->data_address != NULL ? g_strsplit (raw->data_address, ",", -1)
                                                     : g_new0 (char *, 1);
    plan->accepted_risks = raw->risks != NULL ? g_steal_pointer (&raw->risks) : g_new0 (char *, 1);
    plan->is_rehearsed = !raw->no_rehearse;
    plan->keeps_source = raw->keep_source;
    plan->overwrites_images = raw->overwrite;
    plan->resumes_disks = raw->resume;
    options->is_json = raw->json;
    options->is_detached = raw->detach;
    const char *agent = raw->agent != NULL ? raw->agent : g_getenv ("GODWIT_AGENT");
    options->agent = agent != NULL && *agent != '\0' ? g_strdup (agent) : NULL;
    if (options->is_detached && options->agent == NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "--detach needs --agent: the job would end with the "
                        "command");
    return TRUE;
}

int
gw_cli_parse_run (const char *name, gboolean is_check, int argc, char **argv, GwRunOptions *options)
{
    g_auto (Raw) raw = { .max_downtime = NOT_GIVEN, .timeout = NOT_GIVEN, .paths = NOT_GIVEN,
                        .settle = NOT_GIVEN, .link_deadline = NOT_GIVEN,
                        .rehearse_budget = NOT_GIVEN };
    g_autoptr (GError) error = NULL;
    const GOptionEntry entries[] = {
        { "agent", 0, 0, G_OPTION_ARG_STRING, &raw.agent,
          "Run the job in this agent of the source (GODWIT_AGENT)", "unix:PATH" },
        { "max-downtime", 0, 0, G_OPTION_ARG_INT64, &raw.max_downtime,
          "The guest may stand still this long (300)", "MS" },
        { "timeout", 0, 0, G_OPTION_ARG_INT64, &raw.timeout,
          "Time for the whole move (no limit)", "SECONDS" },
        { "on-timeout", 0, 0, G_OPTION_ARG_STRING, &raw.on_timeout,
          "What then: postcopy, throttle, stop or abort (postcopy)", "ACTION" },
        { "postcopy", 0, 0, G_OPTION_ARG_STRING, &raw.postcopy, "auto, never or now (auto)",
          "WHEN" },
        { "max-bandwidth", 0, 0, G_OPTION_ARG_STRING, &raw.max_bandwidth,
          "Use no more than this, such as 100M (no limit)", "BYTES/S" },
        { "paths", 0, 0, G_OPTION_ARG_INT64, &raw.paths, "Connections between the hosts (1)", "N" },
        { "settle", 0, 0, G_OPTION_ARG_INT64, &raw.settle,
          "The moved VM is watched so long before the source's copy goes, 0 to 10 (1)", "SECONDS" },
        { "link-deadline", 0, 0, G_OPTION_ARG_INT64, &raw.link_deadline,
          "The link may be down this long while the guest runs (300)", "SECONDS" },
        { "data-address", 0, 0, G_OPTION_ARG_STRING, &raw.data_address,
          "Addresses of the destination to send to (its own choice)", "ADDR[,ADDR]" },
        { "map", 0, 0, G_OPTION_ARG_STRING_ARRAY, &raw.maps,
          "A path, directory or interface has another name there; may be repeated", "SRC=DST" },
        { "disks", 0, 0, G_OPTION_ARG_STRING, &raw.disks, "auto, copy or shared (auto)", "MODE" },
        { "overwrite-images", 0, 0, G_OPTION_ARG_NONE, &raw.overwrite,
          "A copied disk may replace an image that is there already", NULL },
        { "resume-disks", 0, 0, G_OPTION_ARG_NONE, &raw.resume,
          "Keep what was copied of the disks if the move fails, and go on with it", NULL },
        { "throttle-disks", 0, 0, G_OPTION_ARG_STRING, &raw.throttle_disks,
          "Hold the guest's writes to a copied disk back if need be, to no less than this (not at all)",
          "BYTES/S" },
        { "verify", 0, 0, G_OPTION_ARG_STRING, &raw.verify,
          "What is compared: auto, full or none for copied disks; ram: memory too; all: both in full (auto)",
          "MODE" },
        { "codec", 0, 0, G_OPTION_ARG_STRING, &raw.codec, "auto or off (auto)", "MODE" },
        { "guest-clock", 0, 0, G_OPTION_ARG_STRING, &raw.guest_clock,
          "Set the guest's clock after the move, by its agent: auto or off (auto)", "MODE" },
        { "accept-risk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &raw.risks,
          "Move in spite of this known bug of QEMU; may be repeated", "NAME" },
        { "no-rehearse", 0, 0, G_OPTION_ARG_NONE, &raw.no_rehearse,
          "Do not try out the load of the device state first", NULL },
        { "rehearse-budget", 0, 0, G_OPTION_ARG_INT64, &raw.rehearse_budget,
          "The guest may stand still this long for that (200)", "MS" },
        { "keep-source", 0, 0, G_OPTION_ARG_NONE, &raw.keep_source,
          "Leave the source's QEMU, stopped, after the move", NULL },
        { "detach", 0, 0, G_OPTION_ARG_NONE, &raw.detach,
          "With --agent: print the job and return", NULL },
        { "json", 0, 0, G_OPTION_ARG_NONE, &raw.json, "Print the report as JSON", NULL },
        { "progress", 0, 0, G_OPTION_ARG_STRING, &raw.progress, "auto, plain, json or none (auto)",
          "MODE" },
        { NULL, 0, 0, 0, NULL, NULL, NULL },
    };
    int status = gw_cli_parse (name, entries, &argc, &argv, 2, 2);
    if (status >= 0)
        return status;
    options->plan = gw_plan_new ();
    options->plan->is_check_only = is_check;
    if (finish (options, &raw, argv, &error))
        return -1;
    fprintf (stderr, "godwit: %s\nTry 'godwit %s --help'.\n", error->message, name);
    return gw_cause_get_info (gw_error_get_cause (error))->exit_status;
}

void
gw_run_options_clear (GwRunOptions *options)
{
    g_clear_pointer (&options->plan, gw_plan_free);
    g_clear_pointer (&options->agent, g_free);
}
