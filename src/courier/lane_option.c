/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A lane as the command line and the agent name it. */
#include "courier.h"

#include <string.h>
#include <sys/un.h>

#define CODEC_MIN (1u << 20)

void
gw_lane_option_clear (GwLaneOption *option)
{
    g_clear_pointer (&option->name, g_free);
    g_clear_pointer (&option->path, g_free);
}

/* QEMU's migration connects once for the stream, and with preempt a second time for the pages that
 * the guest waits for; what comes back is the return path. */
static void
set_default_classes (GwLaneOption *option, GwSide side)
{
    gboolean is_ram = strcmp (option->name, "ram") == 0;
    option->n_classes = 1;
    if (!is_ram) {
        option->classes[0] = GW_CLASS_DISK;
    } else if (side == GW_SIDE_DESTINATION) {
        option->classes[0] = GW_CLASS_RETURN;
    } else {
        option->classes[0] = GW_CLASS_BULK;
        option->classes[1] = GW_CLASS_URGENT;
        option->n_classes = 2;
    }
}

static gboolean
parse_classes (GwLaneOption *option, const char *text, GError **error)
{
    g_auto (GStrv) names = g_strsplit (text, ",", GW_LANE_CLASSES + 1);
    option->n_classes = g_strv_length (names);
    if (option->n_classes == 0 || option->n_classes > GW_LANE_CLASSES)
        return gw_fail (error, GW_CAUSE_USAGE, "'%s' is not 1 to %d classes", text, GW_LANE_CLASSES);
    for (guint i = 0; i < option->n_classes; i++) {
        option->classes[i] = gw_link_class_from_name (names[i]);
        if (option->classes[i] == GW_N_CLASSES || option->classes[i] == GW_CLASS_CONTROL)
            return gw_fail (error, GW_CAUSE_USAGE, "'%s' is no class of a lane", names[i]);
    }
    return TRUE;
}

static gboolean
check_lane (const GwLaneOption *option, const char *verb, GError **error)
{
    if (!option->accepts && strcmp (verb, "connect") != 0)
        return gw_fail (error, GW_CAUSE_USAGE, "'%s' is neither accept nor connect", verb);
    if (strlen (option->name) > GW_LINK_NAME_MAX || !gw_link_job_is_valid (option->name))
        return gw_fail (error, GW_CAUSE_USAGE, "'%s' is no name for a lane", option->name);
    if (option->path[0] == '\0')
        return gw_fail (error, GW_CAUSE_USAGE, "lane '%s' has no path", option->name);
    if (option->codec_bytes == 0 && (option->is_resumed || option->is_verified))
        return gw_fail (error, GW_CAUSE_USAGE, "lane '%s': 'resumed' and 'verify' need 'codec='", option->name);
    if (option->codec_bytes > 0 && option->is_packed)
        return gw_fail (error, GW_CAUSE_USAGE, "lane '%s' has both 'pack' and 'codec='", option->name);
    if (strlen (option->path) >= sizeof ((struct sockaddr_un *) NULL)->sun_path)
        return gw_fail (error, GW_CAUSE_USAGE, "the path '%s' is too long for a unix socket",
                        option->path);
    return TRUE;
}

static gboolean
parse_pack (GwLaneOption *option, const char *value, GError **error)
{
    option->is_packed = TRUE;
    return TRUE;
}

static gboolean
parse_codec (GwLaneOption *option, const char *value, GError **error)
{
    return g_ascii_string_to_signed (value, 10, CODEC_MIN, GW_RAM_MEMORY_MAX, &option->codec_bytes, NULL) ||
           gw_fail (error, GW_CAUSE_USAGE, "'%s' is not a number of bytes from %u to %" G_GUINT64_FORMAT,
                    value, CODEC_MIN, GW_RAM_MEMORY_MAX);
}

static gboolean
parse_resumed (GwLaneOption *option, const char *value, GError **error)
{
    option->is_resumed = TRUE;
    return TRUE;
}

static gboolean
parse_verify (GwLaneOption *option, const char *value, GError **error)
{
    option->is_verified = TRUE;
    return TRUE;
}

/* What may stand behind the path; one that ends in '=' has a value. */
static const struct {
    const char *word;
    gboolean (*parse) (GwLaneOption *option, const char *value, GError **error);
} lane_words[] = {
    { "class=", parse_classes },
    { "pack", parse_pack },
    { "codec=", parse_codec },
    { "resumed", parse_resumed },
    { "verify", parse_verify },
};

/* Which word `text` is; -1 for none: then it belongs to the path. */
static int
find_word (const char *text)
{
    for (guint i = 0; i < G_N_ELEMENTS (lane_words); i++) {
        const char *word = lane_words[i].word;
        gboolean has_value = g_str_has_suffix (word, "=");
        if (has_value ? g_str_has_prefix (text, word) : strcmp (text, word) == 0)
            return (int) i;
    }
    return -1;
}

/* Takes the words off the end of `rest`, which is the path then. */
static gboolean
take_words (GwLaneOption *option, char *rest, GError **error)
{
    char *last;
    while ((last = strrchr (rest, ':')) != NULL) {
        int found = find_word (last + 1);
        if (found < 0)
            break;
        *last = '\0';
        const char *value = strchr (last + 1, '=');
        if (!lane_words[found].parse (option, value != NULL ? value + 1 : NULL, error))
            return FALSE;
    }
    return TRUE;
}

gboolean
gw_lane_option_parse (GwLaneOption *ret_option, const char *text, GwSide side, GError **error)
{
    const char *equals = strchr (text, '=');
    const char *colon = equals != NULL ? strchr (equals, ':') : NULL;
    if (colon == NULL)
        return gw_fail (error, GW_CAUSE_USAGE, "'%s' is not " GW_LANE_SYNTAX, text);
    g_autofree char *rest = g_strdup (colon + 1);
    g_autofree char *verb = g_strndup (equals + 1, (gsize) (colon - equals - 1));
    GwLaneOption option = { .name = g_strndup (text, (gsize) (equals - text)),
                            .accepts = strcmp (verb, "accept") == 0 };
    set_default_classes (&option, side);
    gboolean ok = take_words (&option, rest, error);
    option.path = g_strdup (rest);
    ok = ok && check_lane (&option, verb, error);
    if (ok)
        *ret_option = option;
    else
        gw_lane_option_clear (&option);
    return ok;
}

char *
gw_lane_option_target (const GwLaneOption *option)
{
    return g_strdup_printf ("%s %s", option->accepts ? "accept" : "connect", option->path);
}
