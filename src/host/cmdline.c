/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A QEMU command line as a list of options, by the table in options.def. */
#include "host-internal.h"

#include <string.h>

static const GwOptionInfo option_table[] = {
#define X(name, action, keys) { name, GW_OPTION_##action, keys },
#include "options.def"
#undef X
};

static const GwOptionInfo unknown_option = { "", GW_OPTION_KEEP, "" };
static const GwOptionInfo image_argument = { "", GW_OPTION_IMAGE, "" };

const GwOptionInfo *
gw_option_get_info (const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS (option_table); i++)
        if (strcmp (option_table[i].name, name) == 0)
            return &option_table[i];
    return &unknown_option;
}

static gboolean
takes_argument (GwOptionAction action)
{
    return action != GW_OPTION_FLAG && action != GW_OPTION_DROP_FLAG &&
           action != GW_OPTION_DISPLAY_FLAG && action != GW_OPTION_REFUSE_FLAG;
}

void
gw_option_free (GwOption *option)
{
    if (option == NULL)
        return;
    g_free (option->name);
    g_free (option->arg);
    g_free (option);
}

GwOption *
gw_option_new (const char *name, const char *arg)
{
    GwOption *option = g_new0 (GwOption, 1);
    option->name = g_strdup (name);
    option->arg = g_strdup (arg);
    option->info = gw_option_get_info (name + strspn (name, "-"));
    return option;
}

GPtrArray *
gw_cmdline_parse (const char *const *argv, GError **error)
{
    g_autoptr (GPtrArray) options = g_ptr_array_new_with_free_func ((GDestroyNotify) gw_option_free);
    for (gsize i = argv[0] != NULL ? 1 : 0; argv[i] != NULL; i++) {
        if (argv[i][0] != '-') { /* a bare argument is the first hard disk */
            GwOption *option = gw_option_new ("", argv[i]);
            option->info = &image_argument;
            g_ptr_array_add (options, option);
            continue;
        }
        GwOption *option = gw_option_new (argv[i], NULL);
        g_ptr_array_add (options, option);
        if (!takes_argument (option->info->action))
            continue;
        if (argv[i + 1] == NULL) {
            gw_fail (error, GW_CAUSE_OPTION_UNSUPPORTED,
                     "the VM's command line ends after '%s', which needs an argument", argv[i]);
            return NULL;
        }
        option->arg = g_strdup (argv[++i]);
    }
    return g_steal_pointer (&options);
}

GStrv
gw_cmdline_to_argv (const GPtrArray *options)
{
    g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
    for (guint i = 0; i < options->len; i++) {
        const GwOption *option = options->pdata[i];
        if (*option->name != '\0')
            g_strv_builder_add (builder, option->name);
        if (option->arg != NULL)
            g_strv_builder_add (builder, option->arg);
    }
    return g_strv_builder_end (builder);
}
